/* Half-steps on binary rows: sums of rows of W instead of matrix products.
 *
 * A row of states 0 and 1 is stored as the list of its units that are on. Its product with
 * the weights W, of shape (n_features, n_components), is the sum of these rows of W. Lists
 * have the structure of a CSR matrix: the units of row r that are on are indices[indptr[r]]
 * to indices[indptr[r + 1] - 1]. Rows of W are aligned and padded with zeros to whole
 * vectors.
 *
 * Nothing is allocated here. module.c checks types, shapes and layouts of all arrays, lists
 * and keys. The range of indices is checked in Python, where rows come from the user. Every
 * sum is in the same order at each vector size, so that all instruction sets give the same
 * bits.
 */
#ifndef SKRBM_CORE_H
#define SKRBM_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL_FOR(...) _Pragma("GCC unroll 16") for (__VA_ARGS__)
#undef MIN
#undef MAX
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define STRIDE(a) ((a)->strides[0] / (a)->itemsize)

typedef int64_t index_t;

/* Size of vectors in bytes, and number of vectors that are summed at the same time: a larger
 * product of the two would not fit the registers. */
#ifdef __AVX512F__
enum { VECTOR = 64, ACCUMULATORS = 4 };
#else
enum { VECTOR = 32, ACCUMULATORS = 8 };
#endif
enum { BATCH = 16 };     /* random numbers drawn together; visible units in a tile */
enum { FEATURES = 128 }; /* features in a tile of the update */
enum { ALIGNMENT = 64 }; /* of padded rows, in bytes */
enum { SLACK = 8 };      /* entries that `append` may write behind a list */
enum { WORD = 32 };      /* units in a word of bits */
enum { CHUNK = 128 };    /* dense rows that are summed together */
enum { FEW = 3 };        /* with fewer dense rows, tables of sums do not pay */

/* threads.c: run a task for each tile, with at most `n_threads` threads. */
typedef void (*tile_task)(const void *job, index_t tile, int thread);
void run_tiles(tile_task run, const void *job, index_t n_tiles, int n_threads);
int prepare_threads(void);

/* The positions of arrays among the arguments of each function: see module.c. */
enum {
    HIDDEN_INDPTR,
    HIDDEN_INDICES,
    HIDDEN_WEIGHTS,
    HIDDEN_BIAS,
    HIDDEN_SCALE,
    HIDDEN_KEYS,
    HIDDEN_STOPS,
    HIDDEN_TOTAL,
    HIDDEN_MEAN,
    HIDDEN_STATES,
    HIDDEN_BITS,
    N_HIDDEN
};
enum {
    VISIBLE_INDPTR,
    VISIBLE_INDICES,
    VISIBLE_WEIGHTS,
    VISIBLE_BIAS,
    VISIBLE_BASE,
    VISIBLE_SCALE,
    VISIBLE_KEYS,
    VISIBLE_STOPS,
    VISIBLE_TOTAL,
    VISIBLE_MEAN,
    VISIBLE_STATES,
    VISIBLE_WORK,
    VISIBLE_BITS,
    N_VISIBLE
};
enum {
    UPDATE_INDPTR,
    UPDATE_INDICES,
    UPDATE_STARTS,
    UPDATE_ROWS,
    UPDATE_WEIGHTS,
    UPDATE_VISIBLE_BIAS,
    UPDATE_HIDDEN_BIAS,
    UPDATE_HIDDEN,
    UPDATE_SHARES,
    UPDATE_MU,
    UPDATE_VECTORS,
    UPDATE_DV,
    UPDATE_OF_ROWS,
    UPDATE_BITS,
    N_UPDATE
};
enum { /* of one_hot and thermometer */
       GROUPS_TOTAL,
       GROUPS_STARTS,
       GROUPS_BASE,
       GROUPS_SCALE,
       GROUPS_KEYS,
       GROUPS_STOPS,
       GROUPS_MEAN,
       GROUPS_STATES,
       GROUPS_WORK,
       N_GROUPS
};
enum { SHRINK_WEIGHTS, SHRINK_PARTS, SHRINK_MU, SHRINK_LAM, SHRINK_INPUT, SHRINK_DC, N_SHRINK };
enum { OF_ROWS_X, OF_ROWS_BIAS, OF_ROWS_OUT, N_OF_ROWS };
enum { DRAW_VALUES, DRAW_INDPTR, DRAW_KEY, DRAW_STATES, N_DRAW };
enum {
    STEPS_X,
    STEPS_X_INDPTR,
    STEPS_X_INDICES,
    STEPS_ROW_WEIGHTS,
    STEPS_ORDER,
    STEPS_STOPS,
    STEPS_SCHEDULE,
    STEPS_NUMBERS,
    STEPS_KEYS,
    STEPS_CHAINS,
    STEPS_MEANS,
    STEPS_WEIGHTS,
    STEPS_VISIBLE_BIAS,
    STEPS_HIDDEN_BIAS,
    STEPS_MU,
    STEPS_HIDDEN_MEAN,
    STEPS_AVERAGE_WEIGHTS,
    STEPS_AVERAGE_VISIBLE_BIAS,
    STEPS_AVERAGE_HIDDEN_BIAS,
    STEPS_WORK,
    N_STEPS
};
/* The entries of STEPS_NUMBERS, and the columns of STEPS_SCHEDULE, with a row for each step. */
enum { BATCH_SIZE, N_GIBBS_STEPS, DRAWS_ROWS, N_MEANS, WORK_PER_THREAD, N_NUMBERS };
enum { RATE, DECAY, SHARE_IN_AVERAGE, HIDDEN_MEAN_RATE, TOTAL_WEIGHT, N_SCHEDULE };
enum { CHANGES_TOTAL, CHANGES_BEFORE, CHANGES_AFTER, CHANGES_SUMS, N_CHANGES };
enum {
    SCORES_TOTAL,
    SCORES_WEIGHTS,
    SCORES_BIAS,
    SCORES_STATES,
    SCORES_VALUES,
    SCORES_CHANCES,
    SCORES_WORK,
    SCORES_LOGS,
    N_SCORES
};
enum {
    LOGISTIC_TOTAL,
    LOGISTIC_BIAS,
    LOGISTIC_SCALE,
    LOGISTIC_KEYS,
    LOGISTIC_STOPS,
    LOGISTIC_MEAN,
    LOGISTIC_STATES,
    N_LOGISTIC
};
enum {
    NORMAL_TOTAL,
    NORMAL_BIAS,
    NORMAL_VARIANCE,
    NORMAL_KEYS,
    NORMAL_STOPS,
    NORMAL_STATES,
    N_NORMAL
};
enum {
    COMPLETE_ROWS,
    COMPLETE_CELLS,
    COMPLETE_MISSING,
    COMPLETE_PRECISION,
    COMPLETE_GAPS,
    COMPLETE_WORK,
    N_COMPLETE
};
enum { SUM_ROWS, SUM_COEFFICIENTS, SUM_TOTAL, N_SUM }; /* of weigh and combine */

/* Compiled for float and for double. */
typedef void half_step(const Py_buffer *, int n_threads);
typedef void sum_of_rows(const Py_buffer *);
half_step hidden_float, hidden_double, visible_float, visible_double, one_hot_float,
    one_hot_double, thermometer_float, thermometer_double, update_float, update_double,
    steps_float, steps_double, scores_float, scores_double, changes_float, changes_double,
    logistic_float, logistic_double, normal_float, normal_double;
sum_of_rows weigh_float, weigh_double, combine_float, combine_double, shrink_float,
    shrink_double, softplus_sums_float, softplus_sums_double, log_mean_exps_float,
    log_mean_exps_double, draw_rows_float, draw_rows_double;
index_t size_for_steps_float(index_t, index_t, index_t, int);
index_t size_for_steps_double(index_t, index_t, index_t, int);
void complete(const Py_buffer *); /* gaps.h */
int list_reals_float(const float *, index_t, index_t, index_t *, int32_t *);
int list_reals_double(const double *, index_t, index_t, index_t *, int32_t *);

/* Random numbers -------------------------------------------------------------------------
 *
 * xoshiro128++ (Blackman, D. and Vigna, S. (2021). Scrambled linear pseudorandom number
 * generators. ACM TOMS 47(4)), 16 generators side by side. Each tile of units has a stream
 * of its own, seeded by splitmix64 from a key and the number of the tile, so that draws do
 * not depend on the number of threads.
 */

typedef struct {
    uint32_t s[4][BATCH];
} stream;

INLINE uint64_t splitmix(uint64_t *x) {
    uint64_t z = *x += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline void seed(stream *g, uint64_t key, uint64_t tile) {
    uint64_t x = splitmix(&key) + tile * 0xd1342543de82ef95u;
    uint32_t *words = &g->s[0][0];
    for (int k = 0; k < 2 * BATCH; k++) {
        uint64_t z = splitmix(&x);
        words[2 * k] = (uint32_t)z;
        words[2 * k + 1] = (uint32_t)(z >> 32);
    }
}

INLINE uint32_t rotate(uint32_t x, int k) { return x << k | x >> (32 - k); }

INLINE void next(stream *g, uint32_t *out) {
    uint32_t *a = g->s[0], *b = g->s[1], *c = g->s[2], *d = g->s[3];
    for (int k = 0; k < BATCH; k++) {
        uint32_t t = b[k] << 9;
        out[k] = rotate(a[k] + d[k], 7) + a[k];
        c[k] ^= a[k];
        d[k] ^= b[k];
        b[k] ^= c[k];
        a[k] ^= d[k];
        c[k] ^= t;
        d[k] = rotate(d[k], 11);
    }
}

/* The streams of tiles of groups have numbers from this on, and others have smaller ones. */
#define GROUP_STREAMS ((uint64_t)1 << 32)
/* And those of single rows of data. */
#define ROW_STREAMS ((uint64_t)1 << 33)

/* Rows drawn from one stream after the other: rows up to stops[g] use keys[g]. */
typedef struct {
    index_t n_rows;
    const int64_t *stops;
    const uint64_t *keys;
} row_keys;

/* Lists of the units that are on ---------------------------------------------------------- */

typedef int32_t four_int32 __attribute__((vector_size(16), aligned(4), may_alias));

/* Append the units of 8 bytes of 0 and 1 that are on; the first is number `first`. Without
 * branches, which would depend on random states. Both fours of bytes index a table of the
 * units that are on. They are stored in any case, up to SLACK entries behind the list. */
INLINE int32_t *append(int32_t *list, uint64_t bytes, index_t first) {
    static const int32_t on[16][4] = {
        {0}, {0},    {1},    {0, 1},    {2},    {0, 2},    {1, 2},    {0, 1, 2},
        {3}, {0, 3}, {1, 3}, {0, 1, 3}, {2, 3}, {0, 2, 3}, {1, 2, 3}, {0, 1, 2, 3}};
    const uint64_t bits = bytes * 0x0102040810204080u >> 56; /* one from each byte */
    const uint64_t counts = bytes * 0x0101010101010101u;     /* of bytes up to each one */
    *(four_int32 *)list = *(const four_int32 *)on[bits & 15] + (int32_t)first;
    *(four_int32 *)(list + (counts >> 24 & 7)) =
        *(const four_int32 *)on[bits >> 4] + (int32_t)(first + 4);
    return list + (counts >> 56);
}

/* List the units of rows of bytes that are on, from indices[indptr[0]]; return whether all
 * bytes are 0 or 1. */
static inline int list_bytes(const uint8_t *x, index_t n_rows, index_t n, index_t *indptr,
                             int32_t *indices) {
    int32_t *list = indices + indptr[0];
    uint64_t other = 0;
    for (index_t r = 0; r < n_rows; r++, x += n) {
        for (index_t i = 0; i < n; i += 8) {
            uint64_t bytes = 0;
            if (i + 8 <= n)
                memcpy(&bytes, x + i, 8);
            else
                memcpy(&bytes, x + i, (size_t)(n - i));
            other |= bytes & ~(uint64_t)0x0101010101010101;
            list = append(list, bytes & 0x0101010101010101, i);
        }
        indptr[r + 1] = list - indices;
    }
    return !other;
}

/* Rows in which many units are on, in words of bits: the first unit is the lowest bit. Whether
 * a row is dense does not depend on other rows, so that neither do its sums. */
typedef struct {
    const uint32_t *bits;
    index_t n_rows, n_units;
} dense_rows;

INLINE int is_dense(index_t n_on, index_t n) { return 8 * n_on > 3 * n; }
INLINE index_t count_words(index_t n_units) { return (n_units + WORD - 1) / WORD; }

/* Write the list of a row as bits. */
static inline void write_bits(const int32_t *list, index_t n_on, index_t n_units,
                              uint32_t *words) {
    uint32_t at = 0, word = 0;
    memset(words, 0, (size_t)count_words(n_units) * sizeof *words);
    for (index_t k = 0; k < n_on; k++) {
        const uint32_t unit = (uint32_t)list[k];
        if (unit / WORD != at) { /* seldom: lists are sorted */
            words[at] |= word;
            at = unit / WORD, word = 0;
        }
        word |= (uint32_t)1 << unit % WORD;
    }
    words[at] |= word;
}

/* Write the dense ones among listed rows as bits. */
static inline dense_rows find_dense(const index_t *indptr, const int32_t *indices,
                                    index_t n_rows, index_t n_units, uint32_t *bits) {
    dense_rows dense = {bits, 0, n_units};
    for (index_t r = 0; r < n_rows; r++) {
        const index_t n_on = indptr[r + 1] - indptr[r];
        if (!is_dense(n_on, n_units)) continue;
        write_bits(indices + indptr[r], n_on, n_units,
                   bits + dense.n_rows++ * count_words(n_units));
    }
    return dense;
}

/* Transpose lists: list the rows in which each feature is on. */
static inline void list_by_feature(const index_t *indptr, const int32_t *indices,
                                   index_t n_rows, index_t n_features, index_t *starts,
                                   int32_t *rows) {
    const index_t end = indptr[n_rows];
    memset(starts, 0, (size_t)(n_features + 1) * sizeof *starts);
    for (index_t k = indptr[0]; k < end; k++) starts[indices[k] + 1]++;
    for (index_t i = 0; i < n_features; i++) starts[i + 1] += starts[i];
    for (index_t r = 0, k = indptr[0]; r < n_rows; r++)
        for (const index_t stop = indptr[r + 1]; k < stop; k++)
            rows[starts[indices[k]]++] = (int32_t)r;
    memmove(starts + 1, starts, (size_t)n_features * sizeof *starts);
    starts[0] = 0;
}

#endif
