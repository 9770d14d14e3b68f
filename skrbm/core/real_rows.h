/* Units given their inputs, which products of matrices have computed, for rows of reals.
 *
 * Included after half_steps.h, whose functions it uses, for one type of numbers.
 */

/* Read or write some units of a row; whole vectors are not copied by a call. */
INLINE void read_units(const REAL *row, index_t count, const int n_vectors, vec *out) {
    if (count == n_vectors * LANES)
        UNROLL_FOR(int q = 0; q < n_vectors; q++) out[q] = load(row + q * LANES);
    else
        memcpy(out, row, (size_t)count * sizeof(REAL));
}

INLINE void write_units(const vec *x, index_t count, const int n_vectors, REAL *row) {
    if (count == n_vectors * LANES)
        UNROLL_FOR(int q = 0; q < n_vectors; q++) *(vec *)(row + q * LANES) = x[q];
    else
        memcpy(row, x, (size_t)count * sizeof(REAL));
}

typedef struct {
    index_t n_rows, n_units, total_stride, variance_stride, mean_stride, states_stride;
    const REAL *total, *bias, *scale, *variance;
    row_keys drawn;
    REAL *mean, *states;
} inputs_job;

/* Binary units: means logistic(scale[r] (total[r] + bias)), and draws of the last rows. */

INLINE void logistic_tile(const inputs_job *job, index_t tile, const int n_vectors) {
    const index_t first = tile * TILE, count = MIN(TILE, job->n_units - first);
    const index_t first_drawn = job->n_rows - job->drawn.n_rows;
    vec x[ACCUMULATORS] = {0}, bias[ACCUMULATORS] = {0};
    int32_t threshold[TILE] = {0};
    uint8_t on[TILE] = {0};
    stream g;
    index_t group = 0, stop = 0;
    if (job->bias) read_units(job->bias + first, count, n_vectors, bias);
    for (index_t r = 0; r < job->n_rows; r++) {
        read_units(job->total + r * job->total_stride + first, count, n_vectors, x);
        UNROLL_FOR(int q = 0; q < n_vectors; q++) {
            x[q] += bias[q];
            if (job->scale) x[q] *= job->scale[r];
            x[q] = logistic(x[q]);
        }
        if (job->mean)
            write_units(x, count, n_vectors, job->mean + r * job->mean_stride + first);
        const index_t drawn = r - first_drawn;
        if (!job->states || drawn < 0) continue;
        for (; drawn == stop; stop = job->drawn.stops[group++])
            seed(&g, job->drawn.keys[group], 2 * (uint64_t)tile);
        UNROLL_FOR(int q = 0; q < n_vectors; q++) thresholds(x[q], threshold + q * LANES);
        for (int k = 0; k < n_vectors * LANES; k += BATCH)
            draw(threshold + k, CERTAIN, &g, on + k);
        REAL *states = job->states + drawn * job->states_stride + first;
        for (index_t k = 0; k < count; k++) states[k] = on[k];
    }
}

static void run_logistic(const void *job, index_t tile, int thread) {
    (void)thread;
#define CALL(n_vectors) logistic_tile(job, tile, n_vectors)
    FOR_WIDTH(((const inputs_job *)job)->n_units - tile * TILE, CALL)
#undef CALL
}

void EXPORT(logistic)(const Py_buffer *a, int n_threads) {
    const Py_buffer *total = a + LOGISTIC_TOTAL, *mean = a + LOGISTIC_MEAN;
    const Py_buffer *states = a + LOGISTIC_STATES;
    inputs_job job = {
        .total = total->buf,
        .bias = a[LOGISTIC_BIAS].buf,
        .scale = a[LOGISTIC_SCALE].buf,
        .drawn = {.n_rows = states->buf ? states->shape[0] : 0,
                  .stops = a[LOGISTIC_STOPS].buf,
                  .keys = a[LOGISTIC_KEYS].buf},
        .mean = mean->buf,
        .states = states->buf,
        .n_rows = total->shape[0],
        .n_units = total->shape[1],
        .total_stride = STRIDE(total),
        .mean_stride = mean->buf ? STRIDE(mean) : 0,
        .states_stride = states->buf ? STRIDE(states) : 0,
    };
    run_tiles(run_logistic, &job, (job.n_units + TILE - 1) / TILE, n_threads);
}

/* Normal units: draws with mean variance total[r] + bias.
 *
 * A number u, uniform in (0, 1], gives the length sqrt(-2 log u) of a vector of two independent
 * normal numbers, and another one its direction: Box, G. E. P. and Muller, M. E. (1958). A note
 * on the generation of random normal deviates. Annals of Mathematical Statistics, 29(2),
 * 610-611. Float has lengths up to 6.6, double up to 9.3. A tile of units takes a batch of
 * vectors for each row.
 */

enum { PAIRS = BATCH / LANES, NORMAL_TILE = 2 * BATCH, WORDS = MANTISSA > 31 ? 3 : 2 };

/* The sum of coefficients[k] x^k. */
INLINE vec polynomial(const REAL *coefficients, const int n, vec x) {
    vec sum = (vec){0} + coefficients[n - 1];
    UNROLL_FOR(int k = n - 2; k >= 0; k--) sum = sum * x + coefficients[k];
    return sum;
}

/* log(u) = n log(2) + 2 artanh(s) for 0 < u <= 1, which is 2^n (1 + s) / (1 - s), by the Taylor
 * series of artanh(s) / s in s^2; (1 + s) / (1 - s) is between sqrt(1 / 2) and sqrt(2). */
INLINE vec logarithm(vec u) {
    static const REAL inverse_odd[] = {1,        1.0 / 3,  1.0 / 5,  1.0 / 7,
                                       1.0 / 9,  1.0 / 11, 1.0 / 13, 1.0 / 15,
                                       1.0 / 17, 1.0 / 19, 1.0 / 21};
    const union {
        REAL x[3];
        UINT bits[3];
    } of = {{(REAL)0.70710678118654752440, 1, MAGIC}};
    vec_bits bits = (vec_bits)u + (of.bits[1] - of.bits[0]);
    vec_bits mantissa = (bits & (((UINT)1 << MANTISSA) - 1)) + of.bits[0];
    vec n = (vec)((bits >> MANTISSA) + (of.bits[2] - (of.bits[1] >> MANTISSA))) - MAGIC;
    vec s = ((vec)mantissa - 1) / ((vec)mantissa + 1);
    return n * (REAL)0.69314718055994530942 + 2 * s * polynomial(inverse_odd, LOG_TERMS, s * s);
}

/* sqrt(x), by Newton's method for 1 / sqrt(x), from half of the exponent of x. */
INLINE vec root(vec x) {
    vec inverse = (vec)(ROOT_START - ((vec_bits)x >> 1));
    UNROLL_FOR(int k = 0; k < ROOT_STEPS; k++)
        inverse *= (REAL)1.5 - (REAL)0.5 * x * inverse * inverse;
    return x * inverse;
}

/* Directions: both coordinates, from words. Two bits of a word choose one of the quadrants that
 * are centered at the axes; the rest is the angle to the axis, between -pi / 4 and pi / 4. */
INLINE void directions(vec_int32 words, vec *first, vec *second) {
    /* clang-format off */
    static const REAL cosine[] = {
        1, -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600,
        -1.0 / 87178291200, 1.0 / 20922789888000};
    static const REAL sine[] = {
        1, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800,
        -1.0 / 1307674368000, 1.0 / 355687428096000};
    /* clang-format on */
    vec x = __builtin_convertvector(words & -4, vec) * (REAL)(0.78539816339744830962 * 0x1p-31);
    vec_bits quadrant = __builtin_convertvector(words & 3, vec_bits);
    vec_bits exchanged = -(quadrant & 1), sign = quadrant >> 1 << (8 * sizeof(REAL) - 1);
    vec along = (vec)((vec_bits)polynomial(cosine, CIRCLE_TERMS, x * x) ^ sign);
    vec across = x * polynomial(sine, CIRCLE_TERMS, x * x);
    *first = choose(exchanged, across, along);
    *second = choose(exchanged, along, across);
}

INLINE void normal_numbers(stream *g, vec *out) {
    uint32_t words[WORDS][BATCH];
    for (int k = 0; k < WORDS; k++) next(g, words[k]);
    UNROLL_FOR(int q = 0; q < PAIRS; q++) {
        vec u = (vec){0} + (REAL)0.5, first, second;
        UNROLL_FOR(int k = WORDS - 1; k > 0; k--) {
            vec_int32 bits = *(const vec_int32 *)(words[k] + q * LANES) & 0x7fffffff;
            u = (__builtin_convertvector(bits, vec) + u) * (REAL)0x1p-31;
        }
        vec length = root(-2 * logarithm(u));
        directions(*(const vec_int32 *)(words[0] + q * LANES), &first, &second);
        out[q] = length * first;
        out[PAIRS + q] = length * second;
    }
}

static void run_normal(const void *arguments, index_t tile, int thread) {
    const inputs_job *job = arguments;
    const index_t first = tile * NORMAL_TILE, count = MIN(NORMAL_TILE, job->n_units - first);
    vec x[2 * PAIRS] = {0}, bias[2 * PAIRS] = {0}, variance[2 * PAIRS] = {0};
    vec deviation[2 * PAIRS], numbers[2 * PAIRS];
    stream g;
    index_t group = 0, stop = 0;
    (void)thread;
    if (job->bias) read_units(job->bias + first, count, 2 * PAIRS, bias);
    for (index_t r = 0; r < job->n_rows; r++) {
        for (; r == stop; stop = job->drawn.stops[group++])
            seed(&g, job->drawn.keys[group], 2 * (uint64_t)tile + 1);
        normal_numbers(&g, numbers);
        if (r == 0 || job->variance_stride) {
            read_units(job->variance + r * job->variance_stride + first, count, 2 * PAIRS,
                       variance);
            UNROLL_FOR(int q = 0; q < 2 * PAIRS; q++) deviation[q] = root(variance[q]);
        }
        read_units(job->total + r * job->total_stride + first, count, 2 * PAIRS, x);
        UNROLL_FOR(int q = 0; q < 2 * PAIRS; q++)
            x[q] = (x[q] * variance[q] + bias[q]) + deviation[q] * numbers[q];
        write_units(x, count, 2 * PAIRS, job->states + r * job->states_stride + first);
    }
}

void EXPORT(normal)(const Py_buffer *a, int n_threads) {
    const Py_buffer *total = a + NORMAL_TOTAL, *variance = a + NORMAL_VARIANCE;
    inputs_job job = {
        .total = total->buf,
        .bias = a[NORMAL_BIAS].buf,
        .variance = variance->buf,
        .drawn = {.n_rows = total->shape[0],
                  .stops = a[NORMAL_STOPS].buf,
                  .keys = a[NORMAL_KEYS].buf},
        .states = a[NORMAL_STATES].buf,
        .n_rows = total->shape[0],
        .n_units = total->shape[1],
        .total_stride = STRIDE(total),
        .variance_stride = variance->ndim == 2 ? STRIDE(variance) : 0,
        .states_stride = STRIDE(a + NORMAL_STATES),
    };
    run_tiles(run_normal, &job, (job.n_units + NORMAL_TILE - 1) / NORMAL_TILE, n_threads);
}
