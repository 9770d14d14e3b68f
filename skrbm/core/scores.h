/* Sums of logarithms of sums of exponentials, for one type of numbers.
 *
 * Factors are multiplied, with the exponents of products kept apart, so that there is a single
 * logarithm for many of them.
 */

#if MANTISSA == 23
#define INT int32_t
#else
#define INT int64_t
#endif
#define LN2 0.69314718055994530942

enum { EXPONENT_BIAS = MANTISSA == 23 ? 127 : 1023 };
/* exp(W) times a probability that rounds to 0 must be below the rounding error of 1. */
#define MOST_GROWTH (-LOWEST - MANTISSA * (REAL)LN2 - 1)

typedef union {
    vec v[BATCH / LANES];
    vec_bits bits[BATCH / LANES];
    REAL x[BATCH];
    UINT word[BATCH];
    INT number[BATCH];
} batch;

INLINE vec magnitude(vec x) { return (vec)((vec_bits)x & ~(vec_bits)(-(vec){0})); }

/* Move the exponent of a product of positive numbers to a sum of exponents. */
INLINE void split_exponent(vec *product, vec_bits *exponent) {
    const vec_bits word = (vec_bits)*product, one = (vec_bits)((vec){0} + 1);
    const vec mantissa = (vec)((word & (((UINT)1 << MANTISSA) - 1)) | one);
    *exponent += (word >> MANTISSA) - EXPONENT_BIAS;
    *product = choose((vec_bits)(*product > 0), mantissa, *product); /* NaN stays NaN */
}

/* Changes of temperature -------------------------------------------------------------------
 *
 *     sums[r] = sum_j log (1 + exp(after[r] x_rj)) / (1 + exp(before[r] x_rj))
 *
 * where 1 + exp(beta x) is exp(beta max(x, 0)) (1 + exp(-beta |x|)), and all beta >= 0.
 */

enum { ROWS = 8, MOST_FACTORS = 64 /* of at most 2 */ };

typedef struct {
    index_t n_rows, n_components, stride;
    const REAL *total, *before, *after;
    double *sums;
} change_job;

static void run_changes(const void *arguments, index_t number, int thread) {
    const change_job *job = arguments;
    const index_t n = job->n_components;
    (void)thread;
    for (index_t r = number * ROWS; r < MIN((number + 1) * ROWS, job->n_rows); r++) {
        const REAL *x = job->total + r * job->stride;
        const vec before = (vec){0} - job->before[r], after = (vec){0} - job->after[r];
        batch product, exponent = {0};
        double linear = 0, power = 0, factor = 1;
        for (int q = 0; q < BATCH / LANES; q++) product.v[q] = (vec){0} + 1;
        for (index_t first = 0; first < n; first += MOST_FACTORS * BATCH) {
            const index_t end = MIN(n, first + MOST_FACTORS * BATCH);
            batch sum;
            for (int q = 0; q < BATCH / LANES; q++) {
                vec p = product.v[q], d = (vec){0} + 1, s = {0};
                for (index_t j = first + q * LANES; j < end; j += BATCH) {
                    vec a = {0};
                    memcpy(&a, x + j, (size_t)MIN(LANES, end - j) * sizeof(REAL));
                    const vec size = magnitude(a);
                    s += a + size;
                    p *= 1 + exponential(after * size);
                    d *= 1 + exponential(before * size);
                }
                product.v[q] = p / d, sum.v[q] = s;
                split_exponent(product.v + q, exponent.bits + q);
            }
            for (int k = 0; k < BATCH; k++) linear += sum.x[k];
        }
        for (int k = 0; k < BATCH; k++)
            factor *= product.x[k], power += (double)exponent.number[k];
        job->sums[r] = ((double)job->after[r] - job->before[r]) * (0.5 * linear) + log(factor) +
                       power * LN2;
    }
}

void EXPORT(changes)(const Py_buffer *a, int n_threads) {
    const change_job job = {
        .n_rows = a[CHANGES_TOTAL].shape[0],
        .n_components = a[CHANGES_TOTAL].shape[1],
        .stride = STRIDE(a + CHANGES_TOTAL),
        .total = a[CHANGES_TOTAL].buf,
        .before = a[CHANGES_BEFORE].buf,
        .after = a[CHANGES_AFTER].buf,
        .sums = a[CHANGES_SUMS].buf,
    };
    run_tiles(run_changes, &job, (job.n_rows + ROWS - 1) / ROWS, n_threads);
}

/* Log-probabilities of visible bits given all other units ----------------------------------
 *
 * With p = logistic(a) and q = logistic(-a) of the hidden inputs a of the complete row, the
 * probability of the other state of bit i is x / (1 + x), where ::
 *
 *     x = exp(s b_i) prod_j (q_j + p_j exp(s W_ij))        s = 1 if the bit is off, else -1
 *
 * so that its log-probability is -log(1 + x). There is no logarithm and no exponential of a
 * row and a bit, and the 1 + x of 16 bits are multiplied as well. A tile has 16 bits, whose
 * exp(W) are computed once for all rows.
 */

enum { INPUTS = 1 << 12 }; /* hidden inputs in a tile of `run_chances` */
/* 1 + x is a product of its own in double, of 16 factors below 2^63. */
enum { LEAST_EXPONENT = -1000, MOST_EXPONENT = 60 };

typedef struct {
    index_t n_rows, n_units, n_components, stride, n_tiles, work_stride;
    const REAL *total, *weights, *bias, *values;
    const uint8_t *states;
    REAL *on, *off, *work;
    double *logs;
} score_job;

/* Compute p and q of some hidden inputs. */
static void run_chances(const void *arguments, index_t number, int thread) {
    const score_job *job = arguments;
    const index_t first = number * INPUTS;
    const index_t end = MIN(first + INPUTS, job->n_rows * job->n_components);
    (void)thread;
    for (index_t i = first; i < end; i += LANES) {
        const size_t size = (size_t)MIN(LANES, end - i) * sizeof(REAL);
        vec a = {0};
        memcpy(&a, job->total + i, size);
        const vec p = logistic(a), q = logistic(-a);
        memcpy(job->on + i, &p, size);
        memcpy(job->off + i, &q, size);
    }
}

/* Replace a tile of transposed weights by exp(W), and write the bits in which exp(-W) differs
 * unless `flip` is NULL; return the largest absolute value, or NaN. */
INLINE REAL grow(REAL *growth, REAL *flip, index_t n_components) {
    batch largest = {0};
    for (index_t k = 0; k < n_components * BATCH; k += LANES) {
        const vec w = load(growth + k), size = magnitude(w);
        const vec less = exponential(-size), more = 1 / less;
        const vec_bits negative = (vec_bits)(w < 0);
        const vec change = choose(negative, less, more);
        *(vec *)(growth + k) = change;
        if (flip)
            *(vec *)(flip + k) =
                (vec)((vec_bits)change ^ (vec_bits)choose(negative, more, less));
        vec_bits *most = largest.bits + k / LANES % (BATCH / LANES);
        const vec_bits word = (vec_bits)size; /* in the order of sizes, and NaN is the last */
        *most = (vec_bits)choose((vec_bits)(word > *most), size, (vec)*most);
    }
    for (int k = 1; k < BATCH; k++)
        if (largest.word[k] > largest.word[0]) largest.word[0] = largest.word[k];
    return largest.x[0];
}

/* Return the sum of log(1 + x) over bits that are not left out, given x without exp(b) as
 * products m 2^e, and exp(b) = f 2^k. */
INLINE double sum_of_logs(const batch *m, const batch *e, const uint8_t *states,
                          const double *f, const int32_t *k) {
    double y[BATCH];
    int64_t excess[BATCH];
    for (int i = 0; i < BATCH; i++) {
        const int64_t own = e->number[i] + (states[i] ? -k[i] : k[i]);
        const int64_t most = MIN(own, MOST_EXPONENT);
        const int64_t kept = most < LEAST_EXPONENT ? LEAST_EXPONENT : most;
        const uint64_t word = (uint64_t)(kept + 1023) << 52;
        double power;
        memcpy(&power, &word, sizeof power);
        const double x = (states[i] ? m->x[i] / f[i] : m->x[i] * f[i]) * power;
        y[i] = 1 + (states[i] > 1 ? 0 : x);
        excess[i] = states[i] > 1 ? 0 : own - most;
    }
    for (int n = BATCH / 2; n; n /= 2)
        for (int i = 0; i < n; i++) y[i] *= y[i + n], excess[i] += excess[i + n];
    return log(y[0]) + (double)excess[0] * LN2;
}

static void run_scores(const void *arguments, index_t number, int thread) {
    const score_job *job = arguments;
    enum { WIDTH = BATCH / LANES, TOGETHER = ACCUMULATORS / WIDTH };
    const index_t first = number * BATCH, n = job->n_components;
    const index_t width = (n + BATCH - 1) / BATCH * BATCH;
    const int count = (int)MIN(BATCH, job->n_units - first);
    REAL *growth = job->work + thread * job->work_stride, *flip = growth + width * BATCH;
    transpose(job->weights + first * job->stride, count, job->stride, n, growth);
    const REAL largest = grow(growth, flip, n);
    const int in_range = largest < MOST_GROWTH; /* not if it is NaN */
    const index_t n_factors = in_range ? (index_t)(-LOWEST / (largest < 1 ? 1 : largest)) : n;
    double f[BATCH] = {0};
    int32_t k[BATCH] = {0};
    for (int i = 0; i < count; i++) {
        const double b = job->bias[first + i];
        k[i] = (int32_t)rint(fmax(fmin(b, 1e6), -1e6) * 1.44269504088896340736);
        f[i] = exp(b - k[i] * LN2);
    }
    for (index_t r = 0; r < job->n_rows; r += TOGETHER) {
        batch product[TOGETHER], exponent[TOGETHER] = {0}, is_on[TOGETHER];
        const REAL *on[TOGETHER], *off[TOGETHER];
        uint8_t states[TOGETHER][BATCH];
        UNROLL_FOR(int u = 0; u < TOGETHER; u++) { /* the last row may be there several times */
            const index_t row = MIN(r + u, job->n_rows - 1);
            on[u] = job->on + row * n, off[u] = job->off + row * n;
            memset(states[u] + count, 2, (size_t)(BATCH - count));
            memcpy(states[u], job->states + row * job->n_units + first, (size_t)count);
            for (int i = 0; i < BATCH; i++) is_on[u].word[i] = -(UINT)(states[u][i] == 1);
            UNROLL_FOR(int q = 0; q < WIDTH; q++) product[u].v[q] = (vec){0} + 1;
        }
        for (index_t j = 0; j < n;) {
            vec a[TOGETHER][WIDTH];
            UNROLL_FOR(int u = 0; u < TOGETHER; u++)
                UNROLL_FOR(int q = 0; q < WIDTH; q++) a[u][q] = product[u].v[q];
            for (const index_t stop = MIN(n, j + n_factors); j < stop; j++)
                UNROLL_FOR(int q = 0; q < WIDTH; q++) {
                    const vec_bits change = (vec_bits)load(growth + j * BATCH + q * LANES);
                    const vec_bits other = (vec_bits)load(flip + j * BATCH + q * LANES);
                    UNROLL_FOR(int u = 0; u < TOGETHER; u++) {
                        const vec factor = (vec)(change ^ (other & is_on[u].bits[q]));
                        a[u][q] *= off[u][j] + on[u][j] * factor;
                    }
                }
            UNROLL_FOR(int u = 0; u < TOGETHER; u++)
                UNROLL_FOR(int q = 0; q < WIDTH; q++) {
                    product[u].v[q] = a[u][q];
                    split_exponent(product[u].v + q, exponent[u].bits + q);
                }
        }
        for (int u = 0; u < MIN(TOGETHER, job->n_rows - r); u++)
            job->logs[(r + u) * job->n_tiles + number] =
                in_range ? sum_of_logs(product + u, exponent + u, states[u], f, k) : NAN;
    }
}

/* Log-odds of visible values given all other units -----------------------------------------
 *
 *     odds = b_i + sum_j log (q_j + p_j exp((1 - v) W_ij)) / (q_j + p_j exp(-v W_ij))
 *
 * of unit i with a value v between 0 and 1, which stays in the inputs of the hidden units. The
 * score of the value is v odds - log(1 + exp(odds)).
 */

INLINE vec grown(vec x) {
    const vec less = exponential(-magnitude(x));
    return choose((vec_bits)(x < 0), less, 1 / less);
}

static void run_values(const void *arguments, index_t number, int thread) {
    const score_job *job = arguments;
    enum { WIDTH = BATCH / LANES };
    const index_t first = number * BATCH, n = job->n_components;
    const index_t width = (n + BATCH - 1) / BATCH * BATCH;
    const int count = (int)MIN(BATCH, job->n_units - first);
    REAL *growth = job->work + thread * job->work_stride, *tile = growth + width * BATCH;
    transpose(job->weights + first * job->stride, count, job->stride, n, tile);
    memcpy(growth, tile, (size_t)(n * BATCH) * sizeof(REAL));
    const REAL largest = grow(growth, NULL, n);
    const int in_range = largest < MOST_GROWTH; /* not if it is NaN */
    const index_t n_factors = in_range ? (index_t)(-LOWEST / (largest < 1 ? 1 : largest)) : n;
    for (index_t r = 0; r < job->n_rows; r++) {
        const REAL *on = job->on + r * n, *off = job->off + r * n;
        batch v = {0}, up, down, power_up = {0}, power_down = {0};
        memcpy(v.x, job->values + r * job->n_units + first, (size_t)count * sizeof(REAL));
        UNROLL_FOR(int q = 0; q < WIDTH; q++) up.v[q] = down.v[q] = (vec){0} + 1;
        for (index_t j = 0; j < n;) {
            vec a[WIDTH], b[WIDTH];
            UNROLL_FOR(int q = 0; q < WIDTH; q++) a[q] = up.v[q], b[q] = down.v[q];
            for (const index_t stop = MIN(n, j + n_factors); j < stop; j++)
                UNROLL_FOR(int q = 0; q < WIDTH; q++) {
                    const vec w = load(tile + j * BATCH + q * LANES);
                    const vec without = on[j] * grown(-(v.v[q] * w));
                    b[q] *= off[j] + without;
                    a[q] *= off[j] + without * load(growth + j * BATCH + q * LANES);
                }
            UNROLL_FOR(int q = 0; q < WIDTH; q++) {
                up.v[q] = a[q], down.v[q] = b[q];
                split_exponent(up.v + q, power_up.bits + q);
                split_exponent(down.v + q, power_down.bits + q);
            }
        }
        double sum = 0;
        for (int i = 0; i < count; i++) {
            if (!(v.x[i] >= 0 && v.x[i] <= 1)) continue; /* left out */
            const double power = (double)power_up.number[i] - (double)power_down.number[i];
            const double odds = (double)job->bias[first + i] + power * LN2 +
                                log((double)up.x[i] / (double)down.x[i]);
            const double of_zero = (odds > 0 ? odds : 0) + log1p(exp(-fabs(odds)));
            sum += of_zero - (double)v.x[i] * odds;
        }
        job->logs[r * job->n_tiles + number] = in_range ? sum : NAN;
    }
}

void EXPORT(scores)(const Py_buffer *a, int n_threads) {
    const Py_buffer *weights = a + SCORES_WEIGHTS, *work = a + SCORES_WORK;
    score_job job = {
        .n_rows = a[SCORES_TOTAL].shape[0],
        .n_units = weights->shape[0],
        .n_components = weights->shape[1],
        .stride = STRIDE(weights),
        .n_tiles = a[SCORES_LOGS].shape[1],
        .work_stride = STRIDE(work),
        .total = a[SCORES_TOTAL].buf,
        .weights = weights->buf,
        .bias = a[SCORES_BIAS].buf,
        .states = a[SCORES_STATES].buf,
        .values = a[SCORES_VALUES].buf,
        .on = a[SCORES_CHANCES].buf,
        .work = work->buf,
        .logs = a[SCORES_LOGS].buf,
    };
    const index_t size = job.n_rows * job.n_components;
    job.off = job.on + size;
    n_threads = (int)MIN(n_threads, work->shape[0]); /* each has a row of the work space */
    run_tiles(run_chances, &job, (size + INPUTS - 1) / INPUTS, n_threads);
    run_tiles(job.states ? run_scores : run_values, &job, job.n_tiles, n_threads);
}

/* Sums over rows ---------------------------------------------------------------------------
 *
 * log(1 + exp(x)) is max(x, 0) + log(1 + exp(-|x|)), and the last factor is between 1 and 2.
 */

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

static double softplus_sum(const REAL *x, const REAL *bias, index_t n) {
    double total = 0;
    for (index_t start = 0; start < n; start += MOST_FACTORS / 2 * BATCH) {
        const index_t end = MIN(n, start + MOST_FACTORS / 2 * BATCH);
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
