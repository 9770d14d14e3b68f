#define REAL float
#define UINT uint32_t
#define CERTAIN 2147483520 /* the largest float below 2^31 */
#define LOWEST -86.5f      /* exp of less would not be a normal number */
#define MAGIC 12582912.0f  /* 1.5 * 2^23: adding it rounds to an integer */
#define MANTISSA 23
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#define DEGREE 7
#define LOG_TERMS 5
#define CIRCLE_TERMS 5
#define ROOT_START 0x5f3759df
#define ROOT_STEPS 3
#include "half_steps.h"
#include "steps.h"
#include "scores.h"
#include "real_rows.h"
