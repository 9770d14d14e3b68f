/* Learning steps on rows of independent bits, with nothing between them.
 *
 * They do what `Learner` and the solvers do by single calls, in the same order and with the
 * same results; see there for the reasons. Jumps of chains are between calls. Nothing here
 * depends on the number of steps in a call.
 */

typedef struct {
    index_t *indptr;
    int32_t *indices;
} lists;

/* A model, with work arrays for at most so many rows of both phases. */
typedef struct {
    index_t n_features, n_components, stride, padded, n_chains, most_rows;
    REAL *weights, *visible_bias, *hidden_bias;
    lists visible, hidden; /* rows of both phases; hidden rows that visible ones are given */
    uint8_t *v, *h;        /* states of visible rows; of hidden rows that are drawn */
    REAL *work;            /* for each thread, as in `visible` */
    index_t work_stride;
    int most_threads;
    index_t work_per_thread;
    const uint64_t *keys; /* those that are left */
    /* hidden means; their shares in the update, and those of positive rows in their mean */
    REAL *mean, *shares, *parts;
    REAL *vectors, *dv, *of_rows; /* as in `update` */
    REAL *decays, *input;         /* as in `shrink` */
    index_t *starts;
    int32_t *rows;
    uint32_t *bits;
} machine;

/* Take memory for n elements of some size, aligned. If `memory` is NULL, only count. */
static void *take(char *memory, index_t *n_bytes, index_t n, size_t size) {
    void *taken = memory ? memory + *n_bytes : NULL;
    *n_bytes += (n * (index_t)size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return taken;
}

/* Lay out the work arrays of a machine; return how many bytes they need. */
static index_t lay_out(machine *m, char *memory) {
    index_t n_bytes = 0;
    const index_t n_rows = m->most_rows, n = m->n_features, k = m->n_components;
#define TAKE(count, type) take(memory, &n_bytes, count, sizeof(type))
    const index_t n_blocks = k / BATCH + 1;
    m->padded = (n_blocks + (n_blocks % 4 == 0)) * BATCH; /* as in _binary_rows.py */
    m->work_stride = m->padded * BATCH;
    m->visible = (lists){TAKE(n_rows + 1, index_t), TAKE(n_rows * n + SLACK, int32_t)};
    m->hidden = (lists){TAKE(n_rows + 1, index_t), TAKE(n_rows * k + SLACK, int32_t)};
    m->v = TAKE(n_rows * n, uint8_t);
    m->h = TAKE(n_rows * k, uint8_t);
    m->work = TAKE(m->most_threads * m->work_stride, REAL);
    m->mean = TAKE(n_rows * m->padded, REAL);
    m->shares = TAKE(n_rows, REAL);
    m->parts = TAKE(n_rows, REAL);
    m->of_rows = TAKE(n_rows, REAL);
    m->vectors = TAKE(3 * m->padded, REAL);
    m->dv = TAKE(n, REAL);
    m->input = TAKE(n, REAL);
    m->decays = TAKE(n, REAL);
    m->starts = TAKE(n + 1, index_t);
    m->rows = TAKE(n_rows * n, int32_t);
    m->bits = TAKE(MAX(n_rows * count_words(MAX(n, k)), n * count_words(n_rows)), uint32_t);
    return n_bytes;
#undef TAKE
}

/* The number of threads that so many rows are worth, as in _binary_rows.py. */
static int threads_for(const machine *m, index_t n_rows) {
    const index_t n = n_rows * m->n_features * m->n_components / m->work_per_thread;
    return n < 2 ? 1 : (int)MIN(n, m->most_threads);
}

/* Write states of a row whose values, clipped to [0, 1], are probabilities of a 1. Only values
 * between 0 and 1 use random numbers, so that rows need not be dense. */
static void draw_row(const REAL *x, index_t n, uint64_t key, index_t row, uint8_t *states) {
    uint32_t words[BATCH];
    int n_words = 0;
    stream g;
    seed(&g, key, ROW_STREAMS + (uint64_t)row);
    for (index_t i = 0; i < n; i++) {
        states[i] = x[i] >= 1;
        if (!(x[i] > 0 && x[i] < 1)) continue;
        if (!n_words) next(&g, words), n_words = BATCH;
        states[i] = (int32_t)(words[--n_words] & 0x7fffffff) < (int32_t)(x[i] * (REAL)CERTAIN);
    }
}

void EXPORT(draw_rows)(const Py_buffer *a) {
    const index_t *indptr = a[DRAW_INDPTR].buf;
    for (index_t r = 0; r + 1 < a[DRAW_INDPTR].shape[0]; r++)
        draw_row((const REAL *)a[DRAW_VALUES].buf + indptr[r], indptr[r + 1] - indptr[r],
                 *(const uint64_t *)a[DRAW_KEY].buf, r,
                 (uint8_t *)a[DRAW_STATES].buf + indptr[r]);
}

/* A single key for all rows. */
static const index_t NO_STOP = (index_t)1 << 62;

/* Visible rows from `first` on, drawn given the first n hidden rows, and listed. */
static void draw_visible(machine *m, index_t first, index_t n_rows, const uint64_t *key) {
    const visible_job job = {
        .indptr = m->hidden.indptr,
        .indices = m->hidden.indices,
        .weights = m->weights,
        .bias = m->visible_bias,
        .drawn = {.n_rows = n_rows, .stops = &NO_STOP, .keys = key},
        .states = m->v,
        .work = m->work,
        .dense =
            find_dense(m->hidden.indptr, m->hidden.indices, n_rows, m->n_components, m->bits),
        .n_rows = n_rows,
        .n_features = m->n_features,
        .n_components = m->n_components,
        .stride = m->stride,
        .work_stride = m->work_stride,
    };
    run_tiles(run_visible, &job, (m->n_features + BATCH - 1) / BATCH, threads_for(m, n_rows));
    list_bytes(m->v, n_rows, m->n_features, m->visible.indptr + first, m->visible.indices);
}

/* The hidden units given visible rows from `first` on: their means, where they are wanted,
 * and draws of the last rows. */
static void infer(machine *m, index_t first, index_t n_rows, REAL *mean, index_t n_drawn,
                  const uint64_t *key) {
    const hidden_job job = {
        .indptr = m->visible.indptr + first,
        .indices = m->visible.indices,
        .dense = find_dense(m->visible.indptr + first, m->visible.indices, n_rows,
                            m->n_features, m->bits),
        .weights = m->weights,
        .bias = m->hidden_bias,
        .drawn = {.n_rows = n_drawn, .stops = &NO_STOP, .keys = key},
        .mean = mean,
        .states = n_drawn ? m->h : NULL,
        .n_rows = n_rows,
        .n_components = m->n_components,
        .stride = m->stride,
        .mean_stride = m->padded,
    };
    run_tiles(run_hidden, &job, (m->n_components + TILE - 1) / TILE, threads_for(m, n_rows));
}

static void list_hidden(machine *m, index_t n_rows) {
    m->hidden.indptr[0] = 0;
    list_bytes(m->h, n_rows, m->n_components, m->hidden.indptr, m->hidden.indices);
}

/* Gibbs steps h -> v -> h of the hidden states in `h`. */
static void gibbs(machine *m, index_t n_rows, index_t n_steps) {
    for (index_t step = 0; step < n_steps; step++, m->keys += 2) {
        list_hidden(m, n_rows);
        m->visible.indptr[0] = 0;
        draw_visible(m, 0, n_rows, m->keys);
        infer(m, 0, n_rows, NULL, n_rows, m->keys + 1);
    }
}

/* Learning -------------------------------------------------------------------------------- */

/* Shrink each row of W by its part. `input` and `dc` become what this takes from the units of
 * both sides, whose other side is at the offsets. */
static void shrink(REAL *weights, index_t n_features, index_t n, index_t stride,
                   const REAL *parts, const REAL *mu, const REAL *lam, REAL *input, REAL *dc) {
    memset(dc, 0, (size_t)n * sizeof *dc);
    for (index_t i = 0; i < n_features; i++, weights += stride) {
        const REAL part = parts[i], of_mu = part * mu[i], kept = 1 - part;
        input[i] = part * dot(weights, lam, n);
        for (index_t j = 0; j < n; j++) dc[j] += of_mu * weights[j];
        for (index_t j = 0; j < n; j++) weights[j] *= kept;
    }
}

void EXPORT(shrink)(const Py_buffer *a) {
    const Py_buffer *weights = a + SHRINK_WEIGHTS;
    shrink(weights->buf, weights->shape[0], weights->shape[1], STRIDE(weights),
           a[SHRINK_PARTS].buf, a[SHRINK_MU].buf, a[SHRINK_LAM].buf, a[SHRINK_INPUT].buf,
           a[SHRINK_DC].buf);
}

static void move_towards(REAL *average, const REAL *x, index_t n, REAL share) {
    for (index_t k = 0; k < n; k++) average[k] += (x[k] - average[k]) * share;
}

/* List a row of the data after `visible.indptr[r]`. Values between 0 and 1 are probabilities
 * of a 1 if there is a key. */
static void list_row(machine *m, const Py_buffer *a, index_t r, index_t row,
                     const uint64_t *key) {
    const Py_buffer *x = a + STEPS_X;
    const index_t n = m->n_features;
    index_t *indptr = m->visible.indptr + r;
    int32_t *indices = m->visible.indices;
    if (!x->obj) {
        const index_t *of_data = (const index_t *)a[STEPS_X_INDPTR].buf + row;
        const index_t n_on = of_data[1] - of_data[0];
        memcpy(indices + indptr[0], (const int32_t *)a[STEPS_X_INDICES].buf + of_data[0],
               (size_t)n_on * sizeof *indices);
        indptr[1] = indptr[0] + n_on;
        return;
    }
    const char *values = (const char *)x->buf + row * x->strides[0];
    if (key) {
        draw_row((const REAL *)values, n, *key, r, m->v);
        list_bytes(m->v, 1, n, indptr, indices);
    } else if (x->itemsize == 1) {
        list_bytes((const uint8_t *)values, 1, n, indptr, indices);
    } else if (x->itemsize == sizeof(float)) {
        list_reals_float((const float *)values, 1, n, indptr, indices);
    } else {
        list_reals_double((const double *)values, 1, n, indptr, indices);
    }
}

/* List positive rows, and set the shares of the rows of both phases. */
static void load_rows(machine *m, const Py_buffer *a, const index_t *order, index_t n_positive,
                      index_t n_negative, double total, const uint64_t *key) {
    const double *of_data = a[STEPS_ROW_WEIGHTS].buf, n = (double)n_positive;
    const int paired = !a[STEPS_MEANS].obj;
    m->visible.indptr[0] = 0;
    for (index_t r = 0; r < n_positive; r++) {
        const double weight = of_data ? of_data[order[r]] : 1;
        list_row(m, a, r, order[r], key);
        m->parts[r] = (REAL)(weight / total);
        m->shares[r] = (REAL)(weight / n);
    }
    for (index_t r = 0; r < n_negative; r++)
        m->shares[n_positive + r] =
            -(paired ? m->shares[r] : (REAL)(total / n / (double)n_negative));
}

/* Store the hidden means of the positive rows for jumps. */
static void remember(const machine *m, const Py_buffer *means, index_t n_positive,
                     index_t *n_means) {
    const index_t place = *n_means % means->shape[0], n = m->n_components;
    const index_t n_rows = MIN(n_positive, means->shape[0] - place);
    for (index_t r = 0; r < n_rows; r++)
        memcpy((REAL *)means->buf + (place + r) * n, m->mean + r * m->padded,
               (size_t)n * sizeof(REAL));
    *n_means += n_rows;
}

/* Move the hidden offset towards the mean of the positive rows. */
static void follow_hidden_mean(const machine *m, REAL *offset, index_t n_positive,
                               double rate) {
    REAL *mean = m->vectors;
    const REAL share = (REAL)MIN(1.0, rate);
    combine(m->mean, n_positive, m->n_components, m->padded, m->parts, mean);
    for (index_t j = 0; j < m->n_components; j++) offset[j] += share * (mean[j] - offset[j]);
}

static void decay(const machine *m, const Py_buffer *a, REAL part) {
    const index_t n = m->n_features, k = m->n_components;
    REAL *dc = m->vectors + 2 * m->padded;
    for (index_t i = 0; i < n; i++) m->decays[i] = part;
    shrink(m->weights, n, k, m->stride, m->decays, a[STEPS_MU].buf, a[STEPS_HIDDEN_MEAN].buf,
           m->input, dc);
    for (index_t i = 0; i < n; i++) m->visible_bias[i] += m->input[i];
    for (index_t j = 0; j < k; j++) m->hidden_bias[j] += dc[j];
}

static void learn(const machine *m, const Py_buffer *a, index_t n_rows) {
    REAL *dh = m->vectors, *lam = dh + m->padded;
    memcpy(lam, a[STEPS_HIDDEN_MEAN].buf, (size_t)m->n_components * sizeof *lam);
    update_job job = {
        .indptr = m->visible.indptr,
        .indices = m->visible.indices,
        .weights = m->weights,
        .visible_bias = m->visible_bias,
        .hidden_bias = m->hidden_bias,
        .s = m->mean,
        .shares = m->shares,
        .mu = a[STEPS_MU].buf,
        .dh = dh,
        .lam = lam,
        .dc = lam + m->padded,
        .dv = m->dv,
        .of_rows = m->of_rows,
        .n_rows = n_rows,
        .n_features = m->n_features,
        .n_components = m->n_components,
        .stride = m->stride,
        .s_stride = m->padded,
    };
    update(&job, m->starts, m->rows, m->bits, threads_for(m, n_rows));
}

static void add_to_average(const machine *m, const Py_buffer *a, REAL share) {
    const Py_buffer *weights = a + STEPS_AVERAGE_WEIGHTS;
    for (index_t i = 0; i < m->n_features; i++)
        move_towards((REAL *)weights->buf + i * STRIDE(weights), m->weights + i * m->stride,
                     m->n_components, share);
    move_towards(a[STEPS_AVERAGE_VISIBLE_BIAS].buf, m->visible_bias, m->n_features, share);
    move_towards(a[STEPS_AVERAGE_HIDDEN_BIAS].buf, m->hidden_bias, m->n_components, share);
}

/* Take a step: Gibbs steps of the chains first, for which the lists of visible rows are still
 * free. Without means to remember, the chains start at the positive rows instead. */
static void take_step(machine *m, const Py_buffer *a, const index_t *order, index_t n_positive,
                      index_t *n_means, const double *schedule) {
    const index_t *numbers = a[STEPS_NUMBERS].buf, n_steps = numbers[N_GIBBS_STEPS] - 1;
    const uint64_t *of_rows = numbers[DRAWS_ROWS] ? m->keys++ : NULL;
    const int paired = !a[STEPS_MEANS].obj;
    const index_t n_negative = paired ? n_positive : m->n_chains;
    const double total = schedule[TOTAL_WEIGHT];
    if (paired) {
        load_rows(m, a, order, n_positive, n_negative, total, of_rows);
        infer(m, 0, n_positive, m->mean, n_positive, m->keys++);
        gibbs(m, n_negative, n_steps);
        if (n_steps) load_rows(m, a, order, n_positive, n_negative, total, of_rows);
    } else {
        gibbs(m, n_negative, n_steps);
        load_rows(m, a, order, n_positive, n_negative, total, of_rows);
    }
    const uint64_t *key = m->keys++;
    const index_t n_rows = n_positive + n_negative;
    list_hidden(m, n_negative);
    draw_visible(m, n_positive, n_negative, key);
    if (paired)
        infer(m, n_positive, n_negative, m->mean + n_positive * m->padded, 0, NULL);
    else
        infer(m, 0, n_rows, m->mean, n_negative, key);
    if (!paired) remember(m, a + STEPS_MEANS, n_positive, n_means);
    if (schedule[HIDDEN_MEAN_RATE])
        follow_hidden_mean(m, a[STEPS_HIDDEN_MEAN].buf, n_positive,
                           schedule[HIDDEN_MEAN_RATE] * total / (double)n_positive);
    for (index_t r = 0; r < n_rows; r++) m->shares[r] *= (REAL)schedule[RATE];
    weigh(m->mean, n_rows, m->n_components, m->padded, m->shares, m->vectors);
    if (schedule[DECAY]) decay(m, a, (REAL)schedule[DECAY]);
    learn(m, a, n_rows);
    if (schedule[SHARE_IN_AVERAGE]) add_to_average(m, a, (REAL)schedule[SHARE_IN_AVERAGE]);
}

index_t EXPORT(size_for_steps)(index_t n_features, index_t n_components, index_t most_rows,
                               int most_threads) {
    machine m = {.n_features = n_features,
                 .n_components = n_components,
                 .most_rows = most_rows,
                 .most_threads = most_threads};
    return lay_out(&m, NULL);
}

void EXPORT(steps)(const Py_buffer *a, int n_threads) {
    const index_t *numbers = a[STEPS_NUMBERS].buf, *order = a[STEPS_ORDER].buf;
    const index_t *stops = a[STEPS_STOPS].buf, size = numbers[BATCH_SIZE];
    const double *schedule = a[STEPS_SCHEDULE].buf;
    index_t n_means = numbers[N_MEANS];
    REAL *chains = a[STEPS_CHAINS].buf;
    machine m = {
        .n_features = a[STEPS_WEIGHTS].shape[0],
        .n_components = a[STEPS_WEIGHTS].shape[1],
        .stride = STRIDE(a + STEPS_WEIGHTS),
        .n_chains = a[STEPS_CHAINS].shape[0],
        .most_rows = size + MAX(size, a[STEPS_CHAINS].shape[0]),
        .weights = a[STEPS_WEIGHTS].buf,
        .visible_bias = a[STEPS_VISIBLE_BIAS].buf,
        .hidden_bias = a[STEPS_HIDDEN_BIAS].buf,
        .keys = a[STEPS_KEYS].buf,
        .most_threads = n_threads,
        .work_per_thread = numbers[WORK_PER_THREAD],
    };
    lay_out(&m, a[STEPS_WORK].buf);
    const index_t n_states = m.n_chains * m.n_components;
    for (index_t k = 0; k < n_states; k++) m.h[k] = chains[k] != 0;
    for (index_t s = 0, first = 0; s < a[STEPS_STOPS].shape[0]; first = stops[s++])
        take_step(&m, a, order + first, stops[s] - first, &n_means, schedule + s * N_SCHEDULE);
    for (index_t k = 0; k < n_states; k++) chains[k] = m.h[k];
}
