/* Lists, half-steps and the gradient for one type of numbers: float.c and double.c. */
#include "core.h"

#define NAME_(name, type) name##_##type
#define NAME(name, type) NAME_(name, type)
#define EXPORT(name) NAME(name, REAL)
#define LANES (VECTOR / (int)sizeof(REAL))
#define TILE (ACCUMULATORS * LANES) /* hidden units in a tile */

/* Two vectors interleaved: their first and their second halves. */
#if defined(__AVX512F__) && MANTISSA == 23
#define FIRST_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define SECOND_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif !defined(__AVX512F__) && MANTISSA == 52
#define FIRST_HALVES 0, 4, 1, 5
#define SECOND_HALVES 2, 6, 3, 7
#else
#define FIRST_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define SECOND_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#endif

typedef REAL vec __attribute__((vector_size(VECTOR), aligned(sizeof(REAL)), may_alias));
typedef UINT vec_bits __attribute__((vector_size(VECTOR)));
typedef int32_t vec_int32
    __attribute__((vector_size(4 * VECTOR / sizeof(REAL)), aligned(4), may_alias));
typedef REAL eight_reals __attribute__((vector_size(8 * sizeof(REAL))));
typedef UINT eight_bits __attribute__((vector_size(8 * sizeof(REAL))));

enum { HALF = BATCH / 2 };
typedef int32_t half_int32 __attribute__((vector_size(4 * HALF), aligned(4), may_alias));
typedef uint8_t half_bytes __attribute__((vector_size(4 * HALF)));
typedef uint8_t batch_bytes __attribute__((vector_size(BATCH)));
typedef uint8_t eight_bytes __attribute__((vector_size(8)));

/* Write a batch of bytes, each 1 with probability threshold / 2^31, or surely if `certain`. */
INLINE void draw(const int32_t *threshold, int32_t certain, stream *g, uint8_t *out) {
    uint32_t random[BATCH];
    half_bytes on[2];
    next(g, random);
    for (int k = 0; k < 2; k++) {
        half_int32 t = *(const half_int32 *)(threshold + k * HALF);
        half_int32 word = *(const half_int32 *)(random + k * HALF) & 0x7fffffff;
        on[k] = (half_bytes)(((word < t) | (t == certain)) & 1);
    }
    batch_bytes result = __builtin_shufflevector(on[0], on[1], 0, 4, 8, 12, 16, 20, 24, 28, 32,
                                                 36, 40, 44, 48, 52, 56, 60);
    memcpy(out, &result, BATCH);
}

INLINE vec load(const REAL *p) { return *(const vec *)p; }

/* Each element of a where `chosen` is all ones, and of b where it is 0. */
INLINE vec choose(vec_bits chosen, vec a, vec b) {
    return (vec)(((vec_bits)a & chosen) | ((vec_bits)b & ~chosen));
}

/* exp(x) for x <= 0, and exp(LOWEST) if x is less or NaN: 2^n exp(r), r in
 * [-log(2) / 2, log(2) / 2], and exp(r) by its Taylor series. */
INLINE vec exponential(vec x) {
    /* clang-format off */
    static const REAL inverse_factorials[] = {
        1, 1, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320,
        1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
    /* clang-format on */
    x = choose((vec_bits)(x > LOWEST), x, (vec){0} + LOWEST);
    vec shifted = x * (REAL)1.44269504088896340736 + MAGIC, n = shifted - MAGIC;
    vec r = (x - n * LN2_HIGH) - n * LN2_LOW;
    vec terms[DEGREE + 1]; /* Estrin's scheme, whose terms need not wait for one another */
    UNROLL_FOR(int k = 0; k <= DEGREE; k++) terms[k] = (vec){0} + inverse_factorials[k];
    UNROLL_FOR(int count = DEGREE + 1; count > 1; count = (count + 1) / 2) {
        UNROLL_FOR(int k = 0; k < count / 2; k++)
            terms[k] = terms[2 * k] + terms[2 * k + 1] * r;
        if (count % 2) terms[count / 2] = terms[count - 1];
        r *= r;
    }
    return (vec)((vec_bits)terms[0] + ((vec_bits)shifted << MANTISSA));
}

/* 1 / (1 + exp(-x)), also where it is tiny: by exp(-|x|). */
INLINE vec logistic(vec x) {
    vec_bits negative = (vec_bits)(x < 0);
    vec power = exponential(choose(negative, x, -x));
    vec numerator = choose(negative, power, (vec){0} + 1);
    return (vec)((vec_bits)(numerator / (1 + power)) | (vec_bits)(x != x)); /* NaN stays NaN */
}

/* Write thresholds for `draw`. */
INLINE void thresholds(vec p, int32_t *out) {
    *(vec_int32 *)out = __builtin_convertvector(p * (REAL)CERTAIN, vec_int32);
}

/* Do what list_bytes does, for rows of float or double. */
int EXPORT(list_reals)(const REAL *x, index_t n_rows, index_t n, index_t *indptr,
                       int32_t *indices) {
    int32_t *list = indices + indptr[0];
    eight_bits other = {0};
    for (index_t r = 0; r < n_rows; r++, x += n) {
        for (index_t i = 0; i < n; i += 8) {
            eight_reals v = {0};
            if (i + 8 <= n)
                memcpy(&v, x + i, sizeof v);
            else
                memcpy(&v, x + i, (size_t)(n - i) * sizeof *x);
            eight_bits on = (eight_bits)(v == 1);
            other |= ~(on | (eight_bits)(v == 0));
            eight_bytes on_bytes = __builtin_convertvector(on & 1, eight_bytes);
            uint64_t bytes;
            memcpy(&bytes, &on_bytes, sizeof bytes);
            list = append(list, bytes, i);
        }
        indptr[r + 1] = list - indices;
    }
    for (int k = 0; k < 8; k++)
        if (other[k]) return 0;
    return 1;
}

/* The number of vectors is a constant in each case, for sums in registers. */
#define FOR_WIDTH(count, call)                                                                 \
    switch ((count + LANES - 1) / LANES) {                                                     \
        case 1: call(1); break;                                                                \
        case 2: call(2); break;                                                                \
        case 3: call(3); break;                                                                \
        case 4: call(4); break;                                                                \
        case 5: call(MIN(5, ACCUMULATORS)); break;                                             \
        case 6: call(MIN(6, ACCUMULATORS)); break;                                             \
        case 7: call(MIN(7, ACCUMULATORS)); break;                                             \
        default: call(ACCUMULATORS);                                                           \
    }

/* Dense rows -------------------------------------------------------------------------------
 *
 *     sums[r] = sum of the rows i of a matrix for which unit i of row r is on
 *
 * is a sum over groups of 4 units. The 16 possible sums of a group are made once for all rows,
 * which then need one addition for 4 units (Arlazarov, V. L. et al. (1970). On economical
 * construction of the transitive closure of a directed graph. Soviet Math. Dokl. 11, known as
 * the method of four Russians). The tables of a word of units stay in the L1 cache.
 */

enum { GROUP = 4, GROUPS = WORD / GROUP, N_SUMS = 1 << GROUP };
#define ALIGNED __attribute__((aligned(ALIGNMENT)))

INLINE void sum_with_tables(const uint32_t *bits, index_t n_rows, index_t n_units,
                            const REAL *matrix, index_t stride, vec *sums,
                            const int n_vectors) {
    vec table[GROUPS][N_SUMS][ACCUMULATORS] ALIGNED;
    const index_t n_words = count_words(n_units);
    memset(sums, 0, (size_t)(n_rows * n_vectors) * sizeof *sums);
    for (index_t w = 0; w < n_words; w++, matrix += WORD * stride) {
        for (int g = 0; g < GROUPS; g++)
            for (int q = 0; q < n_vectors; q++) {
                vec rows[GROUP] = {0}, t[N_SUMS] = {0};
                UNROLL_FOR(int k = 0; k < GROUP; k++) {
                    const index_t i = g * GROUP + k;
                    if (w * WORD + i < n_units) rows[k] = load(matrix + i * stride + q * LANES);
                }
                UNROLL_FOR(int n = 1; n < N_SUMS; n++) {
                    const int last = 31 - __builtin_clz((unsigned)n);
                    t[n] = t[n - (1 << last)] + rows[last];
                }
                UNROLL_FOR(int n = 0; n < N_SUMS; n++) table[g][n][q] = t[n];
            }
        for (index_t r = 0; r < n_rows; r++) {
            const uint32_t word = bits[r * n_words + w];
            vec a[ACCUMULATORS], *sum = sums + r * n_vectors;
            UNROLL_FOR(int q = 0; q < n_vectors; q++) a[q] = sum[q];
            UNROLL_FOR(int g = 0; g < GROUPS; g++)
                UNROLL_FOR(int q = 0; q < n_vectors; q++)
                    a[q] += table[g][word >> g * GROUP & (N_SUMS - 1)][q];
            UNROLL_FOR(int q = 0; q < n_vectors; q++) sum[q] = a[q];
        }
    }
}

/* Once for each number of vectors, whoever calls it. */
static void sum_dense(const uint32_t *bits, index_t n_rows, index_t n_units, const REAL *matrix,
                      index_t stride, vec *sums, int n){
#define CALL(n_vectors) sum_with_tables(bits, n_rows, n_units, matrix, stride, sums, n_vectors)
    FOR_WIDTH(n * LANES, CALL)
#undef CALL
}

/* The same sum for a single row, without tables. */
INLINE void sum_with_masks(const uint32_t *bits, index_t n_units, const REAL *matrix,
                           index_t stride, vec *sum, const int n_vectors) {
    vec a[ACCUMULATORS] = {0};
    for (index_t i = 0; i < n_units; i += GROUP) {
        const uint32_t states = bits[i / WORD] >> i % WORD;
        vec b[ACCUMULATORS] = {0};
        UNROLL_FOR(int k = 0; k < GROUP; k++) {
            const REAL *row = matrix + MIN(i + k, n_units - 1) * stride;
            const UINT mask = -(UINT)(states >> k & 1);
            UNROLL_FOR(int q = 0; q < n_vectors; q++)
                b[q] += (vec)((vec_bits)load(row + q * LANES) & mask);
        }
        UNROLL_FOR(int q = 0; q < n_vectors; q++) a[q] += b[q];
    }
    UNROLL_FOR(int q = 0; q < n_vectors; q++) sum[q] = a[q];
}

/* The sum of dense row r, in sums of a chunk of them. Rows are asked for one after the other. */
INLINE const vec *sum_of(const dense_rows *dense, index_t r, const REAL *matrix, index_t stride,
                         vec *sums, const int n_vectors) {
    const uint32_t *bits = dense->bits + r * count_words(dense->n_units);
    if (dense->n_rows < FEW) {
        sum_with_masks(bits, dense->n_units, matrix, stride, sums, n_vectors);
        return sums;
    }
    if (r % CHUNK == 0)
        sum_dense(bits, MIN(CHUNK, dense->n_rows - r), dense->n_units, matrix, stride, sums,
                  n_vectors);
    return sums + r % CHUNK * n_vectors;
}

/* Hidden units given visible rows ----------------------------------------------------------
 *
 *     total[r] = c + sum of W[i] over the units i of row r that are on
 *
 * means logistic(scale[r] total[r]), and draws of the last rows. Tile by tile of hidden
 * units, whose columns of W stay in the L2 cache for all rows. The sums of a row and tile
 * stay in registers: with twice as many, they would not, and take four times as long.
 */

typedef struct {
    const index_t *indptr;
    const int32_t *indices;
    dense_rows dense;
    index_t n_rows, n_components, stride, bias_stride, total_stride, mean_stride;
    const REAL *weights, *bias, *scale;
    row_keys drawn;
    REAL *total, *mean;
    uint8_t *states;
} hidden_job;

INLINE void hidden_tile(const hidden_job *job, index_t tile, const int n_vectors) {
    const index_t first = tile * TILE, first_drawn = job->n_rows - job->drawn.n_rows;
    const index_t count = MIN(TILE, job->n_components - first);
    const size_t size = (size_t)count * sizeof(REAL);
    union {
        vec v[ACCUMULATORS];
        REAL x[TILE];
    } bias = {0}, out;
    int32_t threshold[TILE] = {0};
    uint8_t states[TILE];
    stream g;
    index_t group = 0, stop = 0, n_dense = 0;
    vec sums[CHUNK * ACCUMULATORS] ALIGNED;
    const REAL *weights = job->weights + first;
    if (!job->bias_stride) memcpy(bias.x, job->bias + first, size);
    for (index_t r = 0; r < job->n_rows; r++) {
        if (job->bias_stride) memcpy(bias.x, job->bias + r * job->bias_stride + first, size);
        vec a[ACCUMULATORS];
        UNROLL_FOR(int q = 0; q < n_vectors; q++) a[q] = bias.v[q];
        const int32_t *list = job->indices + job->indptr[r];
        const index_t n_on = job->indptr[r + 1] - job->indptr[r];
        if (is_dense(n_on, job->dense.n_units)) {
            const vec *sum =
                sum_of(&job->dense, n_dense++, weights, job->stride, sums, n_vectors);
            UNROLL_FOR(int q = 0; q < n_vectors; q++) a[q] += sum[q];
        } else {
            for (index_t k = 0; k < n_on; k++)
                UNROLL_FOR(int q = 0; q < n_vectors; q++)
                    a[q] += load(weights + list[k] * job->stride + q * LANES);
        }
        if (job->total) {
            UNROLL_FOR(int q = 0; q < n_vectors; q++) out.v[q] = a[q];
            memcpy(job->total + r * job->total_stride + first, out.x, size);
        }
        if (!job->mean && !job->states) continue;
        if (job->scale)
            UNROLL_FOR(int q = 0; q < n_vectors; q++) a[q] *= job->scale[r];
        UNROLL_FOR(int q = 0; q < n_vectors; q++) out.v[q] = logistic(a[q]);
        if (job->mean) memcpy(job->mean + r * job->mean_stride + first, out.x, size);
        const index_t drawn = r - first_drawn;
        if (!job->states || drawn < 0) continue;
        for (; drawn == stop; stop = job->drawn.stops[group++])
            seed(&g, job->drawn.keys[group], 2 * (uint64_t)tile);
        UNROLL_FOR(int q = 0; q < n_vectors; q++) thresholds(out.v[q], threshold + q * LANES);
        for (int k = 0; k < n_vectors * LANES; k += BATCH)
            draw(threshold + k, CERTAIN, &g, states + k);
        memcpy(job->states + drawn * job->n_components + first, states, (size_t)count);
    }
}

static void run_hidden(const void *job, index_t tile, int thread) {
    (void)thread;
#define CALL(n_vectors) hidden_tile(job, tile, n_vectors)
    FOR_WIDTH(((const hidden_job *)job)->n_components - tile * TILE, CALL)
#undef CALL
}

void EXPORT(hidden)(const Py_buffer *a, int n_threads) {
    const Py_buffer *total = a + HIDDEN_TOTAL, *mean = a + HIDDEN_MEAN;
    const Py_buffer *states = a + HIDDEN_STATES;
    hidden_job job = {
        .indptr = a[HIDDEN_INDPTR].buf,
        .indices = a[HIDDEN_INDICES].buf,
        .weights = a[HIDDEN_WEIGHTS].buf,
        .bias = a[HIDDEN_BIAS].buf,
        .scale = a[HIDDEN_SCALE].buf,
        .drawn = {.n_rows = states->buf ? states->shape[0] : 0,
                  .stops = a[HIDDEN_STOPS].buf,
                  .keys = a[HIDDEN_KEYS].buf},
        .total = total->buf,
        .mean = mean->buf,
        .states = states->buf,
        .n_rows = a[HIDDEN_INDPTR].shape[0] - 1,
        .n_components = a[HIDDEN_WEIGHTS].shape[1],
        .stride = STRIDE(a + HIDDEN_WEIGHTS),
        .bias_stride = a[HIDDEN_BIAS].ndim == 2 ? STRIDE(a + HIDDEN_BIAS) : 0,
        .total_stride = total->buf ? STRIDE(total) : 0,
        .mean_stride = mean->buf ? STRIDE(mean) : 0,
    };
    job.dense = find_dense(job.indptr, job.indices, job.n_rows, a[HIDDEN_WEIGHTS].shape[0],
                           a[HIDDEN_BITS].buf);
    run_tiles(run_hidden, &job, (job.n_components + TILE - 1) / TILE, n_threads);
}

/* Visible units given hidden rows ----------------------------------------------------------
 *
 *     total[r] = b + sum of W[:, j] over the units j of row r that are on
 *
 * means logistic(base + scale[r] total[r]), and draws. A tile of 16 visible units is
 * transposed once, serves all rows from the L1 cache, and is as wide as a batch of random
 * numbers.
 */

typedef struct {
    const index_t *indptr;
    const int32_t *indices;
    dense_rows dense;
    index_t n_rows, n_features, n_components, stride, work_stride;
    const REAL *weights, *bias, *scale, *base;
    row_keys drawn;
    REAL *total, *mean, *work;
    uint8_t *states;
} visible_job;

/* Write the transpose of a tile, of whole vectors of columns. A block of LANES x LANES is
 * transposed in registers, by interleaving its first and second half log2(LANES) times. */
INLINE void transpose(const REAL *weights, index_t n_units, index_t stride, index_t n_columns,
                      REAL *out) {
    for (int i = 0; i < BATCH; i += LANES)
        for (index_t j = 0; j < n_columns; j += LANES) {
            vec a[LANES], b[LANES];
            UNROLL_FOR(int k = 0; k < LANES; k++)
                a[k] = i + k < n_units ? load(weights + (i + k) * stride + j) : (vec){0};
            UNROLL_FOR(int round = 1; round < LANES; round *= 2) {
                UNROLL_FOR(int k = 0; k < LANES / 2; k++) {
                    vec x = a[k], y = a[k + LANES / 2];
                    b[2 * k] = __builtin_shufflevector(x, y, FIRST_HALVES);
                    b[2 * k + 1] = __builtin_shufflevector(x, y, SECOND_HALVES);
                }
                UNROLL_FOR(int k = 0; k < LANES; k++) a[k] = b[k];
            }
            UNROLL_FOR(int k = 0; k < LANES; k++) *(vec *)(out + (j + k) * BATCH + i) = a[k];
        }
}

static void run_visible(const void *arguments, index_t number, int thread) {
    const visible_job *job = arguments;
    enum { WIDTH = BATCH * sizeof(REAL) / VECTOR, SUMS = ACCUMULATORS / WIDTH };
    const index_t first = number * BATCH;
    const int count = (int)MIN(BATCH, job->n_features - first);
    const size_t size = (size_t)count * sizeof(REAL);
    REAL *columns = job->work + thread * job->work_stride;
    transpose(job->weights + first * job->stride, count, job->stride, job->n_components,
              columns);
    union {
        vec v[WIDTH];
        REAL x[BATCH];
    } bias = {0}, base = {0}, total, mean;
    memcpy(bias.x, job->bias + first, size);
    if (job->base) memcpy(base.x, job->base + first, size);
    stream g;
    index_t group = 0, stop = 0, n_dense = 0;
    vec sums[CHUNK * WIDTH] ALIGNED;
    int32_t threshold[BATCH] = {0};
    uint8_t states[BATCH];
    for (index_t r = 0; r < job->n_rows; r++) {
        vec a[SUMS][WIDTH] = {0}; /* several sums, so that additions need not wait */
        const int32_t *list = job->indices + job->indptr[r];
        const index_t n_on = job->indptr[r + 1] - job->indptr[r];
        UNROLL_FOR(int q = 0; q < WIDTH; q++) a[0][q] = bias.v[q];
        if (is_dense(n_on, job->n_components)) {
            const vec *sum = sum_of(&job->dense, n_dense++, columns, BATCH, sums, WIDTH);
            UNROLL_FOR(int q = 0; q < WIDTH; q++) a[0][q] += sum[q];
        } else {
            index_t k = 0;
            for (; k + SUMS <= n_on; k += SUMS)
                UNROLL_FOR(int u = 0; u < SUMS; u++)
                    UNROLL_FOR(int q = 0; q < WIDTH; q++)
                        a[u][q] += load(columns + (index_t)list[k + u] * BATCH + q * LANES);
            for (; k < n_on; k++)
                UNROLL_FOR(int q = 0; q < WIDTH; q++)
                    a[0][q] += load(columns + (index_t)list[k] * BATCH + q * LANES);
            UNROLL_FOR(int u = 1; u < SUMS; u++)
                UNROLL_FOR(int q = 0; q < WIDTH; q++) a[0][q] += a[u][q];
        }
        const index_t at = r * job->n_features + first;
        if (job->total) {
            UNROLL_FOR(int q = 0; q < WIDTH; q++) total.v[q] = a[0][q];
            memcpy(job->total + at, total.x, size);
        }
        if (!job->mean && !job->states) continue;
        UNROLL_FOR(int q = 0; q < WIDTH; q++) {
            if (job->scale) a[0][q] *= job->scale[r];
            mean.v[q] = logistic(a[0][q] + base.v[q]);
        }
        if (job->mean) memcpy(job->mean + at, mean.x, size);
        if (!job->states) continue;
        for (; r == stop; stop = job->drawn.stops[group++])
            seed(&g, job->drawn.keys[group], 2 * (uint64_t)number + 1);
        UNROLL_FOR(int q = 0; q < WIDTH; q++) thresholds(mean.v[q], threshold + q * LANES);
        draw(threshold, CERTAIN, &g, states);
        memcpy(job->states + at, states, (size_t)count);
    }
}

void EXPORT(visible)(const Py_buffer *a, int n_threads) {
    const Py_buffer *work = a + VISIBLE_WORK;
    const index_t n_rows = a[VISIBLE_INDPTR].shape[0] - 1;
    visible_job job = {
        .indptr = a[VISIBLE_INDPTR].buf,
        .indices = a[VISIBLE_INDICES].buf,
        .weights = a[VISIBLE_WEIGHTS].buf,
        .bias = a[VISIBLE_BIAS].buf,
        .base = a[VISIBLE_BASE].buf,
        .scale = a[VISIBLE_SCALE].buf,
        .drawn = {.n_rows = n_rows, .stops = a[VISIBLE_STOPS].buf, .keys = a[VISIBLE_KEYS].buf},
        .total = a[VISIBLE_TOTAL].buf,
        .mean = a[VISIBLE_MEAN].buf,
        .states = a[VISIBLE_STATES].buf,
        .work = work->buf,
        .n_rows = n_rows,
        .n_features = a[VISIBLE_WEIGHTS].shape[0],
        .n_components = a[VISIBLE_WEIGHTS].shape[1],
        .stride = STRIDE(a + VISIBLE_WEIGHTS),
        .work_stride = STRIDE(work),
    };
    n_threads = (int)MIN(n_threads, work->shape[0]); /* each has a row of the work space */
    job.dense =
        find_dense(job.indptr, job.indices, n_rows, job.n_components, a[VISIBLE_BITS].buf);
    run_tiles(run_visible, &job, (job.n_features + BATCH - 1) / BATCH, n_threads);
}

/* Groups of visible units ------------------------------------------------------------------
 *
 * The units of a group depend on each other: it has states, with probabilities in proportion
 * to their weights. One-hot, each unit is a state, with weight exp(y), for
 *
 *     y = base + scale[r] total[r]
 *
 * A thermometer of n units has n + 1 states, in which 0 to n of its first units are on. Their
 * weights are the products of exp(y) over the units that are on. Weights are divided by the
 * largest, which leaves those below exp(LOWEST) at 0.
 *
 * A number u, uniform in (0, 1), draws the last state for which the sum of the weights, from
 * the state to the end of the group, exceeds u times the sum of all. Tile by tile of groups,
 * for a batch of rows at a time. These are transposed, so that each element of a vector is of
 * another row, and has a number u of its own.
 */

enum { PER_UNIT = BATCH / LANES }; /* vectors for each unit of a batch of rows */

typedef struct {
    const index_t *starts;
    index_t n_rows, n_groups, total_stride, mean_stride, states_stride, work_stride;
    const REAL *total, *base, *scale;
    row_keys drawn;
    REAL *mean, *work;
    uint8_t *states;
} groups_job;

/* Transpose some rows of n units, for a batch of rows. */
static void read_columns(const REAL *rows, index_t n_rows, index_t stride, index_t n,
                         REAL *columns) {
    REAL rest[BATCH * BATCH];
    for (; n >= BATCH; n -= BATCH, rows += BATCH, columns += BATCH * BATCH)
        transpose(rows, n_rows, stride, BATCH, columns);
    if (!n) return;
    for (index_t r = 0; r < n_rows; r++)
        memcpy(rest + r * BATCH, rows + r * stride, (size_t)n * sizeof(REAL));
    transpose(rest, n_rows, BATCH, n, columns);
}

/* Transpose back to rows of means. */
static void write_means(const REAL *columns, index_t n_rows, index_t stride, index_t n,
                        REAL *rows) {
    REAL block[BATCH * BATCH];
    for (; n > 0; n -= BATCH, rows += BATCH, columns += BATCH * BATCH) {
        const index_t width = MIN(n, BATCH);
        transpose(columns, width, BATCH, BATCH, block);
        for (index_t r = 0; r < n_rows; r++)
            memcpy(rows + r * stride, block + r * BATCH, (size_t)width * sizeof(REAL));
    }
}

/* Transpose back to rows of states, from 0 and 1 in the bits of reals. */
static void write_states(const REAL *columns, index_t n_rows, index_t stride, index_t n,
                         uint8_t *rows) {
    union {
        REAL x[BATCH * BATCH];
        UINT bits[BATCH * BATCH];
    } block;
    uint8_t bytes[BATCH];
    for (; n > 0; n -= BATCH, rows += BATCH, columns += BATCH * BATCH) {
        const index_t width = MIN(n, BATCH);
        transpose(columns, width, BATCH, BATCH, block.x);
        for (index_t r = 0; r < n_rows; r++) {
            for (int k = 0; k < BATCH; k++) bytes[k] = (uint8_t)block.bits[r * BATCH + k];
            memcpy(rows + r * stride, bytes, (size_t)width);
        }
    }
}

/* Uniform numbers in (0, 1). Their product with a number is less than it, also if rounded. */
INLINE void uniform(stream *g, REAL *out) {
    uint32_t random[BATCH];
    next(g, random);
    for (int k = 0; k < BATCH; k++)
        out[k] = ((REAL)(int32_t)(random[k] >> 1) + (REAL)0.5) * ((REAL)CERTAIN * 0x1p-62f);
}

/* exp(x) for x <= 0, and 0 where it would not be a normal number. */
INLINE vec weight(vec x) {
    vec_bits power = (vec_bits)exponential(x) & (vec_bits)(x > LOWEST);
    return (vec)(power | (vec_bits)(x != x)); /* NaN stays NaN */
}

/* Replace the totals y of a group, in a vector of rows, by the means, and draw states. Where
 * y is not finite, all comparisons are false, and the first state is drawn. */
INLINE void group_of_rows(const groups_job *job, index_t group, vec *y, vec *states, vec scale,
                          vec u, const int thermometer) {
    const index_t first = job->starts[group], n = job->starts[group + 1] - first;
    vec largest = {0}, sum = {0};
    if (!thermometer) largest -= (REAL)INFINITY;
    for (index_t i = 0; i < n; i++) {
        vec x = y[i * PER_UNIT] * scale;
        if (job->base) x += job->base[first + i];
        if (thermometer) x = sum += x;
        y[i * PER_UNIT] = x;
        largest = choose((vec_bits)(x > largest), x, largest);
    }
    sum = (vec){0};
    for (index_t i = n; i-- > 0;) {
        vec x = weight(y[i * PER_UNIT] - largest);
        sum += x;
        y[i * PER_UNIT] = x;
        if (thermometer) y[i * PER_UNIT] = sum;
    }
    if (thermometer) sum += weight(-largest);
    const vec share = 1 / sum, least = u * sum;
    if (job->states && thermometer) {
        for (index_t i = 0; i < n; i++)
            states[i * PER_UNIT] = (vec)((vec_bits)(least < y[i * PER_UNIT]) & 1);
    } else if (job->states) {
        vec_bits later = {0};
        sum = (vec){0};
        for (index_t i = n; --i > 0;) {
            sum += y[i * PER_UNIT];
            vec_bits reached = (vec_bits)(least < sum);
            states[i * PER_UNIT] = (vec)(reached & ~later & 1);
            later = reached;
        }
        states[0] = (vec)(~later & 1);
    }
    if (job->mean)
        for (index_t i = 0; i < n; i++) y[i * PER_UNIT] *= share;
}

INLINE void groups_tile(const groups_job *job, index_t tile, int thread,
                        const int thermometer) {
    const index_t first = tile * BATCH, end = MIN(first + BATCH, job->n_groups);
    const index_t unit = job->starts[first], n = job->starts[end] - unit;
    REAL *columns = job->work + thread * job->work_stride;
    REAL *states = columns + job->work_stride / 2;
    union {
        vec v[PER_UNIT];
        REAL x[BATCH];
    } scale, u = {0};
    for (int k = 0; k < BATCH; k++) scale.x[k] = 1;
    stream g;
    index_t key = 0, stop = job->states ? 0 : job->n_rows, n_rows;
    for (index_t r = 0; r < job->n_rows; r += n_rows) {
        for (; r == stop; stop = job->drawn.stops[key++])
            seed(&g, job->drawn.keys[key], GROUP_STREAMS + (uint64_t)tile);
        n_rows = MIN(BATCH, MIN(stop, job->n_rows) - r);
        read_columns(job->total + r * job->total_stride + unit, n_rows, job->total_stride, n,
                     columns);
        if (job->scale) memcpy(scale.x, job->scale + r, (size_t)n_rows * sizeof(REAL));
        for (index_t group = first; group < end; group++) {
            const index_t at = (job->starts[group] - unit) * BATCH;
            if (job->states) uniform(&g, u.x);
            for (int q = 0; q < PER_UNIT; q++)
                group_of_rows(job, group, (vec *)(columns + at) + q, (vec *)(states + at) + q,
                              scale.v[q], u.v[q], thermometer);
        }
        if (job->mean)
            write_means(columns, n_rows, job->mean_stride, n,
                        job->mean + r * job->mean_stride + unit);
        if (job->states)
            write_states(states, n_rows, job->states_stride, n,
                         job->states + r * job->states_stride + unit);
    }
}

static void run_one_hot(const void *job, index_t tile, int thread) {
    groups_tile(job, tile, thread, 0);
}

static void run_thermometer(const void *job, index_t tile, int thread) {
    groups_tile(job, tile, thread, 1);
}

static void run_groups(const Py_buffer *a, int n_threads, tile_task run) {
    const Py_buffer *total = a + GROUPS_TOTAL, *mean = a + GROUPS_MEAN;
    const Py_buffer *states = a + GROUPS_STATES, *work = a + GROUPS_WORK;
    groups_job job = {
        .starts = a[GROUPS_STARTS].buf,
        .total = total->buf,
        .base = a[GROUPS_BASE].buf,
        .scale = a[GROUPS_SCALE].buf,
        .drawn = {.n_rows = total->shape[0],
                  .stops = a[GROUPS_STOPS].buf,
                  .keys = a[GROUPS_KEYS].buf},
        .mean = mean->buf,
        .states = states->buf,
        .work = work->buf,
        .n_rows = total->shape[0],
        .n_groups = a[GROUPS_STARTS].shape[0] - 1,
        .total_stride = STRIDE(total),
        .mean_stride = mean->buf ? STRIDE(mean) : 0,
        .states_stride = states->buf ? STRIDE(states) : 0,
        .work_stride = STRIDE(work),
    };
    n_threads = (int)MIN(n_threads, work->shape[0]); /* each has a row of the work space */
    run_tiles(run, &job, (job.n_groups + BATCH - 1) / BATCH, n_threads);
}

void EXPORT(one_hot)(const Py_buffer *a, int n_threads) {
    run_groups(a, n_threads, run_one_hot);
}

void EXPORT(thermometer)(const Py_buffer *a, int n_threads) {
    run_groups(a, n_threads, run_thermometer);
}

/* The gradient -----------------------------------------------------------------------------
 *
 * See _phases.py for the formulas. Hidden rows s have been multiplied by their shares.
 */

/* Multiply each row of s by its share; dh becomes the sum of the rows. */
static void weigh(REAL *s, index_t n_rows, index_t n, index_t stride, const REAL *shares,
                  REAL *dh) {
    memset(dh, 0, (size_t)n * sizeof *dh);
    for (index_t r = 0; r < n_rows; r++, s += stride)
        for (index_t j = 0; j < n; j++) dh[j] += s[j] *= shares[r];
}

/* out becomes the sum of the rows of s, each times its coefficient. */
static void combine(const REAL *s, index_t n_rows, index_t n, index_t stride,
                    const REAL *coefficients, REAL *out) {
    memset(out, 0, (size_t)n * sizeof *out);
    for (index_t r = 0; r < n_rows; r++, s += stride)
        for (index_t j = 0; j < n; j++) out[j] += coefficients[r] * s[j];
}

void EXPORT(weigh)(const Py_buffer *a) {
    const Py_buffer *rows = a + SUM_ROWS;
    weigh(rows->buf, rows->shape[0], rows->shape[1], STRIDE(rows), a[SUM_COEFFICIENTS].buf,
          a[SUM_TOTAL].buf);
}

void EXPORT(combine)(const Py_buffer *a) {
    const Py_buffer *rows = a + SUM_ROWS;
    combine(rows->buf, rows->shape[0], rows->shape[1], STRIDE(rows), a[SUM_COEFFICIENTS].buf,
            a[SUM_TOTAL].buf);
}

typedef struct {
    const index_t *indptr, *starts;
    const int32_t *indices, *rows;
    index_t n_rows, n_features, n_components, stride, s_stride;
    REAL *weights, *visible_bias, *hidden_bias;
    const REAL *s, *shares, *dh, *mu, *lam;
    REAL *dv, *of_rows, *dc;
    const uint32_t *bits;
} update_job;

/* Return whether features of a tile are on in so many rows that tables of sums pay. */
INLINE int is_dense_tile(const update_job *job, index_t start) {
    const index_t stop = MIN(start + FEATURES, job->n_features);
    const index_t n_on = job->starts[stop] - job->starts[start];
    return job->n_rows >= 2 * WORD && is_dense(n_on, (stop - start) * job->n_rows);
}

/* Write the rows in which features are on as bits, for dense tiles. */
static void write_dense_tiles(const update_job *job, uint32_t *bits) {
    for (index_t i = 0; i < job->n_features; i++, bits += count_words(job->n_rows))
        if (is_dense_tile(job, i / FEATURES * FEATURES))
            write_bits(job->rows + job->starts[i], job->starts[i + 1] - job->starts[i],
                       job->n_rows, bits);
}

/* dW[i] = sum of s[r] over the rows r with feature i on - mu[i] dh - dv[i] lambda
 *
 * Tile by tile of hidden units, for which s stays in the L1 cache, and of features. */
INLINE void update_tile(const update_job *job, index_t start, index_t stop, index_t first,
                        const int n_vectors) {
    vec a[ACCUMULATORS], sums[FEATURES * ACCUMULATORS] ALIGNED;
    const REAL *s = job->s + first;
    const int dense = is_dense_tile(job, start);
    if (dense)
        sum_dense(job->bits + start * count_words(job->n_rows), stop - start, job->n_rows, s,
                  job->s_stride, sums, n_vectors);
    for (index_t i = start; i < stop; i++) {
        UNROLL_FOR(int q = 0; q < n_vectors; q++)
            a[q] = load(job->dh + first + q * LANES) * -job->mu[i] -
                   load(job->lam + first + q * LANES) * job->dv[i];
        if (dense) {
            UNROLL_FOR(int q = 0; q < n_vectors; q++) a[q] += sums[(i - start) * n_vectors + q];
        } else {
            for (index_t k = job->starts[i]; k < job->starts[i + 1]; k++)
                UNROLL_FOR(int q = 0; q < n_vectors; q++)
                    a[q] += load(s + job->rows[k] * job->s_stride + q * LANES);
        }
        vec *weights = (vec *)(job->weights + i * job->stride + first);
        UNROLL_FOR(int q = 0; q < n_vectors; q++) weights[q] += a[q];
    }
}

static void run_update(const void *arguments, index_t number, int thread) {
    const update_job *job = arguments;
    const index_t n_blocks = (job->n_features + FEATURES - 1) / FEATURES;
    const index_t first = number / n_blocks * TILE, start = number % n_blocks * FEATURES;
    const index_t stop = MIN(start + FEATURES, job->n_features);
    (void)thread;
#define CALL(n_vectors) update_tile(job, start, stop, first, n_vectors)
    FOR_WIDTH(job->n_components - first, CALL)
#undef CALL
}

/* The sum of products, in BATCH partial sums. */
static REAL dot(const REAL *x, const REAL *y, index_t n) {
    REAL sums[BATCH] = {0}, total = 0;
    index_t j = 0;
    for (; j + BATCH <= n; j += BATCH)
        for (int k = 0; k < BATCH; k++) sums[k] += x[j + k] * y[j + k];
    for (; j < n; j++) total += x[j] * y[j];
    for (int k = 0; k < BATCH; k++) total += sums[k];
    return total;
}

/* The sum of the numbers at these places, in 4 partial sums. */
INLINE REAL sum_at(const REAL *x, const int32_t *places, index_t n) {
    REAL sums[4] = {0};
    index_t k = 0;
    for (; k + 4 <= n; k += 4)
        UNROLL_FOR(int u = 0; u < 4; u++) sums[u] += x[places[k + u]];
    for (; k < n; k++) sums[0] += x[places[k]];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* db = dv - dW lambda and dc = dh - dW' mu, without forming dW. Leaves dv for `update`. */
static void update_biases(const update_job *job) {
    const index_t n = job->n_components;
    const REAL dh_lam = dot(job->dh, job->lam, n), lam_lam = dot(job->lam, job->lam, n);
    const REAL mu_mu = dot(job->mu, job->mu, job->n_features);
    for (index_t r = 0; r < job->n_rows; r++) /* s lambda */
        job->of_rows[r] = dot(job->s + r * job->s_stride, job->lam, n);
    for (index_t i = 0; i < job->n_features; i++) {
        const int32_t *list = job->rows + job->starts[i];
        const index_t n_on = job->starts[i + 1] - job->starts[i];
        const REAL dv = sum_at(job->shares, list, n_on), mu = job->mu[i];
        const REAL dv_lam = sum_at(job->of_rows, list, n_on);
        job->dv[i] = dv;
        job->visible_bias[i] += dv - dv_lam + mu * dh_lam + dv * lam_lam;
    }
    const REAL mu_dv = dot(job->mu, job->dv, job->n_features);
    for (index_t r = 0; r < job->n_rows; r++) /* v mu */
        job->of_rows[r] =
            sum_at(job->mu, job->indices + job->indptr[r], job->indptr[r + 1] - job->indptr[r]);
    combine(job->s, job->n_rows, n, job->s_stride, job->of_rows, job->dc);
    for (index_t j = 0; j < n; j++)
        job->hidden_bias[j] += job->dh[j] * (1 + mu_mu) - job->dc[j] + job->lam[j] * mu_dv;
}

/* Update all parameters. `starts` and `rows` become the lists of rows by feature, and those of
 * dense tiles become bits. */
static void update(update_job *job, index_t *starts, int32_t *rows, uint32_t *bits,
                   int n_threads) {
    const index_t n_tiles = (job->n_components + TILE - 1) / TILE;
    const index_t n_blocks = (job->n_features + FEATURES - 1) / FEATURES;
    list_by_feature(job->indptr, job->indices, job->n_rows, job->n_features, starts, rows);
    job->starts = starts, job->rows = rows, job->bits = bits;
    update_biases(job);
    write_dense_tiles(job, bits);
    run_tiles(run_update, job, n_tiles * n_blocks, n_threads);
}

void EXPORT(update)(const Py_buffer *a, int n_threads) {
    const Py_buffer *vectors = a + UPDATE_VECTORS;
    REAL *dh = vectors->buf;
    update_job job = {
        .indptr = a[UPDATE_INDPTR].buf,
        .indices = a[UPDATE_INDICES].buf,
        .weights = a[UPDATE_WEIGHTS].buf,
        .visible_bias = a[UPDATE_VISIBLE_BIAS].buf,
        .hidden_bias = a[UPDATE_HIDDEN_BIAS].buf,
        .s = a[UPDATE_HIDDEN].buf,
        .shares = a[UPDATE_SHARES].buf,
        .mu = a[UPDATE_MU].buf,
        .dh = dh,
        .lam = dh + STRIDE(vectors),
        .dc = dh + 2 * STRIDE(vectors),
        .dv = a[UPDATE_DV].buf,
        .of_rows = a[UPDATE_OF_ROWS].buf,
        .n_rows = a[UPDATE_INDPTR].shape[0] - 1,
        .n_features = a[UPDATE_WEIGHTS].shape[0],
        .n_components = a[UPDATE_WEIGHTS].shape[1],
        .stride = STRIDE(a + UPDATE_WEIGHTS),
        .s_stride = STRIDE(a + UPDATE_HIDDEN),
    };
    update(&job, a[UPDATE_STARTS].buf, a[UPDATE_ROWS].buf, a[UPDATE_BITS].buf, n_threads);
}
