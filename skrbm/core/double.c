#define REAL double
#define UINT uint64_t
#define CERTAIN 2147483647
#define LOWEST -707.5            /* exp of less would not be a normal number */
#define MAGIC 6755399441055744.0 /* 1.5 * 2^52: adding it rounds to an integer */
#define MANTISSA 52
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define DEGREE 13
#define LOG_TERMS 11
#define CIRCLE_TERMS 9
#define ROOT_START 0x5fe6eb50c7b537a9
#define ROOT_STEPS 4
#include "half_steps.h"
#include "steps.h"
#include "scores.h"
#include "real_rows.h"
#include "gaps.h"
