/* Sums over rows, as free energies need them. */

/* A batch of values, in as many vectors as it takes. */
typedef union {
    vec v[BATCH / LANES];
    REAL x[BATCH];
} batch;

/* Values of a row from j on, plus those of a bias, and `rest` where the row has ended. */
INLINE batch load_batch(const REAL *x, const REAL *bias, index_t j, index_t n, REAL rest) {
    batch b;
    const int count = (int)MIN(BATCH, n - j);
    if (count < BATCH)
        for (int k = 0; k < BATCH; k++) b.x[k] = rest;
    memcpy(b.x, x + j, (size_t)count * sizeof *x);
    if (bias)
        for (int k = 0; k < count; k++) b.x[k] += bias[j + k];
    return b;
}

/* log(1 + exp(x)) is max(x, 0) + log(1 + exp(-|x|)). Logs are taken of products of many of the
 * latter factors, which are between 1 and 2. */
enum { FACTORS = 32 };

static double softplus_sum(const REAL *x, const REAL *bias, index_t n) {
    double total = 0;
    for (index_t start = 0; start < n; start += FACTORS * BATCH) {
        const index_t end = MIN(n, start + FACTORS * BATCH);
        batch sum = {0}, product;
        for (int k = 0; k < BATCH; k++) product.x[k] = 1;
        for (index_t j = start; j < end; j += BATCH) {
            batch b = load_batch(x, bias, j, end, 2 * (REAL)LOWEST);
            UNROLL_FOR(int q = 0; q < BATCH / LANES; q++) {
                vec_bits negative = (vec_bits)(b.v[q] < 0);
                product.v[q] *= 1 + exponential(choose(negative, b.v[q], -b.v[q]));
                sum.v[q] += choose(negative, (vec){0}, b.v[q]); /* NaN stays NaN */
            }
        }
        double of_all = 1;
        for (int k = 0; k < BATCH; k++)
            total += (double)sum.x[k], of_all *= (double)product.x[k];
        total += log(of_all);
    }
    return total;
}

/* The log of the mean of exp(x). */
static double log_mean_exp(const REAL *x, index_t n) {
    batch sum = {0}, most = load_batch(x, NULL, 0, n, x[0]);
    for (index_t j = BATCH; j < n; j += BATCH) {
        batch b = load_batch(x, NULL, j, n, x[0]);
        UNROLL_FOR(int q = 0; q < BATCH / LANES; q++)
            most.v[q] = choose((vec_bits)(b.v[q] > most.v[q]), b.v[q], most.v[q]);
    }
    REAL largest = most.x[0];
    for (int k = 1; k < BATCH; k++) largest = MAX(largest, most.x[k]);
    for (index_t j = 0; j < n; j += BATCH) {
        batch b = load_batch(x, NULL, j, n, -(REAL)INFINITY);
        UNROLL_FOR(int q = 0; q < BATCH / LANES; q++) sum.v[q] += weight(b.v[q] - largest);
    }
    double total = 0;
    for (int k = 0; k < BATCH; k++) total += (double)sum.x[k];
    return (double)largest + log(total / (double)n);
}

void EXPORT(softplus_sums)(const Py_buffer *a) {
    const Py_buffer *x = a + OF_ROWS_X;
    double *out = a[OF_ROWS_OUT].buf;
    for (index_t r = 0; r < x->shape[0]; r++)
        out[r] = softplus_sum((const REAL *)x->buf + r * STRIDE(x), a[OF_ROWS_BIAS].buf,
                              x->shape[1]);
}

void EXPORT(log_mean_exps)(const Py_buffer *a) {
    const Py_buffer *x = a + OF_ROWS_X;
    double *out = a[OF_ROWS_OUT].buf;
    for (index_t r = 0; r < x->shape[0]; r++)
        out[r] = log_mean_exp((const REAL *)x->buf + r * STRIDE(x), x->shape[1]);
}
