/* The Python module: arrays are passed as buffers, and the rest of the core does not know
 * Python. */
#include "core.h"

/* A type of numbers, and the letters for it in the formats of buffers. The formats of numbers
 * in another byte order have a second letter. */
typedef struct {
    const char *name, *letters;
    Py_ssize_t size; /* in bytes; 0 if the letter tells */
} number_type;

static const number_type UINT8 = {"uint8", "B", 1}, INT32 = {"int32", "il", 4},
                         UINT32 = {"uint32", "IL", 4}, INT64 = {"int64", "lq", 8},
                         UINT64 = {"uint64", "LQ", 8}, FLOAT64 = {"float64", "d", 8},
                         REALS = {"float32 or float64, as the others", "fd", 0},
                         VALUES = {"bool, uint8, float32 or float64", "?Bfd", 0};

/* An array among the arguments, which may be None if it is OPTIONAL. */
enum { READ = 0, WRITE = 1, OPTIONAL = 2 };
typedef struct {
    const char *name;
    const number_type *type;
    int access;
    const char *layout; /* for the message, if it does not fit */
} parameter;

/* The arrays of a function. That at `reals` tells the type of all REALS. `misfit` returns the
 * position of an array that does not fit the others, or -1. */
typedef struct {
    const parameter *parameters;
    int n, reals;
    int (*misfit)(const Py_buffer *);
} signature;

enum { MOST_ARRAYS = 24 };
#define EXPECT(position, condition)                                                            \
    if (!(condition)) return position

static void release(Py_buffer *a, int n) {
    while (n--) PyBuffer_Release(a + n);
}

static int has_type(const Py_buffer *a, const number_type *type) {
    return a->format && a->format[0] && !a->format[1] && strchr(type->letters, a->format[0]) &&
           (!type->size || a->itemsize == type->size) &&
           (uintptr_t)a->buf % (size_t)a->itemsize == 0;
}

static int refuse_type(const parameter *p, const Py_buffer *a) {
    PyErr_Format(PyExc_TypeError, "%s must be aligned and of type %s, but its format is '%s'",
                 p->name, p->type->name, a->format ? a->format : "unknown");
    return 0;
}

/* Get the buffer of an array, of the type of its parameter. */
static int get_array(PyObject *array, const parameter *p, Py_buffer *a) {
    const int write = p->access & WRITE;
    if (array == Py_None && p->access & OPTIONAL) {
        memset(a, 0, sizeof *a);
        return 1;
    }
    if (PyObject_GetBuffer(array, a, write ? PyBUF_RECORDS : PyBUF_RECORDS_RO)) {
        PyErr_Format(PyExc_TypeError, "%s must be an array of type %s%s, not a %R", p->name,
                     p->type->name, write ? " that can be written to" : "", Py_TYPE(array));
        return 0;
    }
    if (has_type(a, p->type)) return 1;
    refuse_type(p, a);
    PyBuffer_Release(a);
    return 0;
}

/* Return whether arrays have the same type of real numbers and fit together. */
static int fit(const signature *s, const Py_buffer *a) {
    for (int k = 0; k < s->n; k++)
        if (s->parameters[k].type == &REALS && a[k].obj &&
            a[k].itemsize != a[s->reals].itemsize)
            return refuse_type(s->parameters + k, a + k);
    const int k = s->misfit(a);
    if (k < 0) return 1;
    PyErr_Format(PyExc_ValueError, "%s must be %s", s->parameters[k].name,
                 s->parameters[k].layout);
    return 0;
}

static int get_arrays(PyObject *const *args, const signature *s, Py_buffer *a) {
    int k = 0;
    while (k < s->n && get_array(args[k], s->parameters + k, a + k)) k++;
    if (k == s->n && fit(s, a)) return 1;
    release(a, k);
    return 0;
}

static int is_count(Py_ssize_t n_args, int expected) {
    if (n_args == expected) return 1;
    PyErr_Format(PyExc_TypeError, "expected %d arguments, not %zd", expected, n_args);
    return 0;
}

/* Layouts. An optional array that is None passes for any of them. */

static int is_vector(const Py_buffer *a) {
    return !a->obj || (a->ndim == 1 && (a->shape[0] < 2 || a->strides[0] == a->itemsize));
}

static int has_length(const Py_buffer *a, index_t n) {
    return !a->obj || (is_vector(a) && a->shape[0] == n);
}

/* Return whether an array has two dimensions, and no gaps within its rows. */
static int has_rows(const Py_buffer *a) {
    return !a->obj || (a->ndim == 2 && a->strides[0] % a->itemsize == 0 &&
                       (a->shape[1] < 2 || a->strides[1] == a->itemsize));
}

static int has_shape(const Py_buffer *a, index_t n_rows, index_t n_columns) {
    return !a->obj || (has_rows(a) && a->shape[0] == n_rows && a->shape[1] == n_columns);
}

/* Return whether an array has this shape, and no gaps between its rows. */
static int is_whole(const Py_buffer *a, index_t n_rows, index_t n_columns) {
    return has_shape(a, n_rows, n_columns) && (!a->obj || n_rows < 2 || STRIDE(a) == n_columns);
}

/* Return whether rows are aligned and padded to whole vectors. Buffers do not tell the stride
 * of a single row: that it is padded is up to the caller, but as it is aligned, no vector
 * crosses into memory that does not exist. */
static int is_padded(const Py_buffer *a) {
    return has_rows(a) && (uintptr_t)a->buf % ALIGNMENT == 0 &&
           (a->shape[0] < 2 || (STRIDE(a) % BATCH == 0 && STRIDE(a) >= a->shape[1]));
}

/* Return whether `indptr` points into an array of indices, forwards. */
static int is_indptr(const Py_buffer *indptr, const Py_buffer *indices) {
    if (!is_vector(indptr) || indptr->shape[0] < 1) return 0;
    const index_t *p = indptr->buf, n_rows = indptr->shape[0] - 1;
    int forwards = p[0] >= 0;
    for (index_t r = 0; r < n_rows; r++) forwards &= p[r] <= p[r + 1];
    return forwards && p[n_rows] <= indices->shape[0];
}

/* Return whether there is room for bits of rows, each in whole words. */
static int has_bits(const Py_buffer *a, index_t n_rows, index_t n_units) {
    return is_vector(a) && a->shape[0] >= n_rows * count_words(n_units);
}

/* Return whether there is a stop for each key, in order, and the last covers all rows. */
static int are_stops(const Py_buffer *stops, const Py_buffer *keys, index_t n_rows) {
    if (!keys->obj || !stops->obj) return !keys->obj && !stops->obj;
    if (!has_length(stops, keys->shape[0])) return 0;
    const index_t *stop = stops->buf;
    index_t last = 0;
    for (index_t k = 0; k < keys->shape[0]; last = stop[k++])
        if (stop[k] < last) return 0;
    return last >= n_rows;
}

/* Return whether these are starts of groups that are not empty, and the end of the last. */
static int are_starts(const Py_buffer *starts, index_t n_units) {
    if (!is_vector(starts) || starts->shape[0] < 1) return 0;
    const index_t *start = starts->buf, n_groups = starts->shape[0] - 1;
    for (index_t g = 0; g < n_groups; g++)
        if (start[g] >= start[g + 1]) return 0;
    return start[0] == 0 && start[n_groups] == n_units;
}

#define VECTOR_LAYOUT "a contiguous vector"
#define INDPTR_LAYOUT "of shape (n_rows + 1,), not negative or decreasing, and within indices"
#define STOPS_LAYOUT "as long as keys, not negative or decreasing, and cover all rows drawn"
#define KEYS_LAYOUT "a contiguous vector, and is needed to draw states"
#define BITS_LAYOUT "a contiguous vector with a bit for each unit of each row, in words"
#define WEIGHTS_LAYOUT "a matrix whose rows are aligned and padded"

static const parameter hidden_parameters[] = {
    [HIDDEN_INDPTR] = {"indptr", &INT64, READ, INDPTR_LAYOUT},
    [HIDDEN_INDICES] = {"indices", &INT32, READ, VECTOR_LAYOUT},
    [HIDDEN_WEIGHTS] = {"weights", &REALS, READ, WEIGHTS_LAYOUT},
    [HIDDEN_BIAS] = {"bias", &REALS, READ,
                     "of shape (n_components,) or (n_rows, n_components)"},
    [HIDDEN_SCALE] = {"scale", &REALS, OPTIONAL, "of shape (n_rows,)"},
    [HIDDEN_KEYS] = {"keys", &UINT64, OPTIONAL, KEYS_LAYOUT},
    [HIDDEN_STOPS] = {"stops", &INT64, OPTIONAL, STOPS_LAYOUT},
    [HIDDEN_TOTAL] = {"total", &REALS, WRITE | OPTIONAL, "of shape (n_rows, n_components)"},
    [HIDDEN_MEAN] = {"mean", &REALS, WRITE | OPTIONAL, "of shape (n_rows, n_components)"},
    [HIDDEN_STATES] = {"states", &UINT8, WRITE | OPTIONAL,
                       "C-contiguous, of shape (n, n_components), and n at most n_rows"},
    [HIDDEN_BITS] = {"bits", &UINT32, WRITE, BITS_LAYOUT},
};

static int hidden_misfit(const Py_buffer *a) {
    EXPECT(HIDDEN_INDICES, is_vector(a + HIDDEN_INDICES));
    EXPECT(HIDDEN_INDPTR, is_indptr(a + HIDDEN_INDPTR, a + HIDDEN_INDICES));
    EXPECT(HIDDEN_WEIGHTS, is_padded(a + HIDDEN_WEIGHTS));
    const index_t n_rows = a[HIDDEN_INDPTR].shape[0] - 1, n = a[HIDDEN_WEIGHTS].shape[1];
    EXPECT(HIDDEN_BIAS,
           has_length(a + HIDDEN_BIAS, n) || has_shape(a + HIDDEN_BIAS, n_rows, n));
    EXPECT(HIDDEN_SCALE, has_length(a + HIDDEN_SCALE, n_rows));
    EXPECT(HIDDEN_TOTAL, has_shape(a + HIDDEN_TOTAL, n_rows, n));
    EXPECT(HIDDEN_MEAN, has_shape(a + HIDDEN_MEAN, n_rows, n));
    const Py_buffer *states = a + HIDDEN_STATES;
    const index_t n_drawn = states->obj && states->ndim ? states->shape[0] : 0;
    EXPECT(HIDDEN_STATES, is_whole(states, n_drawn, n) && n_drawn <= n_rows);
    EXPECT(HIDDEN_KEYS, is_vector(a + HIDDEN_KEYS) && (a[HIDDEN_KEYS].obj || !states->obj));
    EXPECT(HIDDEN_STOPS, are_stops(a + HIDDEN_STOPS, a + HIDDEN_KEYS, n_drawn));
    EXPECT(HIDDEN_BITS, has_bits(a + HIDDEN_BITS, n_rows, a[HIDDEN_WEIGHTS].shape[0]));
    return -1;
}
static const signature hidden_signature = {hidden_parameters, N_HIDDEN, HIDDEN_WEIGHTS,
                                           hidden_misfit};

static const parameter visible_parameters[] = {
    [VISIBLE_INDPTR] = {"indptr", &INT64, READ, INDPTR_LAYOUT},
    [VISIBLE_INDICES] = {"indices", &INT32, READ, VECTOR_LAYOUT},
    [VISIBLE_WEIGHTS] = {"weights", &REALS, READ, WEIGHTS_LAYOUT},
    [VISIBLE_BIAS] = {"bias", &REALS, READ, "of shape (n_features,)"},
    [VISIBLE_BASE] = {"base", &REALS, OPTIONAL, "of shape (n_features,)"},
    [VISIBLE_SCALE] = {"scale", &REALS, OPTIONAL, "of shape (n_rows,)"},
    [VISIBLE_KEYS] = {"keys", &UINT64, OPTIONAL, KEYS_LAYOUT},
    [VISIBLE_STOPS] = {"stops", &INT64, OPTIONAL, STOPS_LAYOUT},
    [VISIBLE_TOTAL] = {"total", &REALS, WRITE | OPTIONAL,
                       "C-contiguous, of shape (n_rows, n_features)"},
    [VISIBLE_MEAN] = {"mean", &REALS, WRITE | OPTIONAL,
                      "C-contiguous, of shape (n_rows, n_features)"},
    [VISIBLE_STATES] = {"states", &UINT8, WRITE | OPTIONAL,
                        "C-contiguous, of shape (n_rows, n_features)"},
    [VISIBLE_WORK] = {"work", &REALS, WRITE, "the work space for weights of this shape"},
    [VISIBLE_BITS] = {"bits", &UINT32, WRITE, BITS_LAYOUT},
};

static int visible_misfit(const Py_buffer *a) {
    EXPECT(VISIBLE_INDICES, is_vector(a + VISIBLE_INDICES));
    EXPECT(VISIBLE_INDPTR, is_indptr(a + VISIBLE_INDPTR, a + VISIBLE_INDICES));
    EXPECT(VISIBLE_WEIGHTS, is_padded(a + VISIBLE_WEIGHTS));
    const index_t n_rows = a[VISIBLE_INDPTR].shape[0] - 1, n = a[VISIBLE_WEIGHTS].shape[0];
    const index_t width = (a[VISIBLE_WEIGHTS].shape[1] + BATCH - 1) / BATCH * BATCH;
    EXPECT(VISIBLE_BIAS, has_length(a + VISIBLE_BIAS, n));
    EXPECT(VISIBLE_BASE, has_length(a + VISIBLE_BASE, n));
    EXPECT(VISIBLE_SCALE, has_length(a + VISIBLE_SCALE, n_rows));
    EXPECT(VISIBLE_TOTAL, is_whole(a + VISIBLE_TOTAL, n_rows, n));
    EXPECT(VISIBLE_MEAN, is_whole(a + VISIBLE_MEAN, n_rows, n));
    const Py_buffer *states = a + VISIBLE_STATES, *work = a + VISIBLE_WORK;
    EXPECT(VISIBLE_STATES, is_whole(states, n_rows, n));
    EXPECT(VISIBLE_KEYS, is_vector(a + VISIBLE_KEYS) && (a[VISIBLE_KEYS].obj || !states->obj));
    EXPECT(VISIBLE_STOPS,
           are_stops(a + VISIBLE_STOPS, a + VISIBLE_KEYS, states->obj ? n_rows : 0));
    EXPECT(VISIBLE_WORK,
           is_padded(work) && work->shape[0] > 0 && work->shape[1] >= width * BATCH);
    EXPECT(VISIBLE_BITS, has_bits(a + VISIBLE_BITS, n_rows, a[VISIBLE_WEIGHTS].shape[1]));
    return -1;
}
static const signature visible_signature = {visible_parameters, N_VISIBLE, VISIBLE_WEIGHTS,
                                            visible_misfit};

static const parameter groups_parameters[] = {
    [GROUPS_TOTAL] = {"total", &REALS, READ, "a matrix without gaps within its rows"},
    [GROUPS_STARTS] = {"starts", &INT64, READ,
                       "of shape (n_groups + 1,), and increase from 0 to n_units"},
    [GROUPS_BASE] = {"base", &REALS, OPTIONAL, "of shape (n_units,)"},
    [GROUPS_SCALE] = {"scale", &REALS, OPTIONAL, "of shape (n_rows,)"},
    [GROUPS_KEYS] = {"keys", &UINT64, OPTIONAL, KEYS_LAYOUT},
    [GROUPS_STOPS] = {"stops", &INT64, OPTIONAL, STOPS_LAYOUT},
    [GROUPS_MEAN] = {"mean", &REALS, WRITE | OPTIONAL,
                     "of shape (n_rows, n_units), without gaps within its rows"},
    [GROUPS_STATES] = {"states", &UINT8, WRITE | OPTIONAL,
                       "of shape (n_rows, n_units), without gaps within its rows"},
    [GROUPS_WORK] = {"work", &REALS, WRITE,
                     "C-contiguous, of shape (n_threads, 32 * (n_units + 16)) at least"},
};

static int groups_misfit(const Py_buffer *a) {
    EXPECT(GROUPS_TOTAL, has_rows(a + GROUPS_TOTAL));
    const Py_buffer *starts = a + GROUPS_STARTS, *states = a + GROUPS_STATES;
    const Py_buffer *work = a + GROUPS_WORK;
    const index_t n_rows = a[GROUPS_TOTAL].shape[0], n = a[GROUPS_TOTAL].shape[1];
    EXPECT(GROUPS_STARTS, are_starts(starts, n));
    EXPECT(GROUPS_BASE, has_length(a + GROUPS_BASE, n));
    EXPECT(GROUPS_SCALE, has_length(a + GROUPS_SCALE, n_rows));
    EXPECT(GROUPS_MEAN, has_shape(a + GROUPS_MEAN, n_rows, n));
    EXPECT(GROUPS_STATES, has_shape(states, n_rows, n));
    EXPECT(GROUPS_KEYS, is_vector(a + GROUPS_KEYS) && (a[GROUPS_KEYS].obj || !states->obj));
    EXPECT(GROUPS_STOPS,
           are_stops(a + GROUPS_STOPS, a + GROUPS_KEYS, states->obj ? n_rows : 0));
    EXPECT(GROUPS_WORK, has_rows(work) && is_whole(work, work->shape[0], work->shape[1]) &&
                            work->shape[0] > 0 && work->shape[1] >= 2 * BATCH * (n + BATCH));
    return -1;
}
static const signature groups_signature = {groups_parameters, N_GROUPS, GROUPS_TOTAL,
                                           groups_misfit};

static const parameter logistic_parameters[] = {
    [LOGISTIC_TOTAL] = {"total", &REALS, READ, "a matrix without gaps within its rows"},
    [LOGISTIC_BIAS] = {"bias", &REALS, OPTIONAL, "of shape (n_units,)"},
    [LOGISTIC_SCALE] = {"scale", &REALS, OPTIONAL, "of shape (n_rows,)"},
    [LOGISTIC_KEYS] = {"keys", &UINT64, OPTIONAL, KEYS_LAYOUT},
    [LOGISTIC_STOPS] = {"stops", &INT64, OPTIONAL, STOPS_LAYOUT},
    [LOGISTIC_MEAN] = {"mean", &REALS, WRITE | OPTIONAL,
                       "of shape (n_rows, n_units), without gaps within its rows"},
    [LOGISTIC_STATES] = {"states", &REALS, WRITE | OPTIONAL,
                         "of shape (n, n_units), without gaps within its rows, and n at most "
                         "n_rows"},
};

static int logistic_misfit(const Py_buffer *a) {
    EXPECT(LOGISTIC_TOTAL, has_rows(a + LOGISTIC_TOTAL));
    const index_t n_rows = a[LOGISTIC_TOTAL].shape[0], n = a[LOGISTIC_TOTAL].shape[1];
    EXPECT(LOGISTIC_BIAS, has_length(a + LOGISTIC_BIAS, n));
    EXPECT(LOGISTIC_SCALE, has_length(a + LOGISTIC_SCALE, n_rows));
    EXPECT(LOGISTIC_MEAN, has_shape(a + LOGISTIC_MEAN, n_rows, n));
    const Py_buffer *states = a + LOGISTIC_STATES, *keys = a + LOGISTIC_KEYS;
    const index_t n_drawn = states->obj && states->ndim ? states->shape[0] : 0;
    EXPECT(LOGISTIC_STATES, has_shape(states, n_drawn, n) && n_drawn <= n_rows);
    EXPECT(LOGISTIC_KEYS, is_vector(keys) && (keys->obj || !states->obj));
    EXPECT(LOGISTIC_STOPS, are_stops(a + LOGISTIC_STOPS, keys, n_drawn));
    return -1;
}
static const signature logistic_signature = {logistic_parameters, N_LOGISTIC, LOGISTIC_TOTAL,
                                             logistic_misfit};

static const parameter normal_parameters[] = {
    [NORMAL_TOTAL] = {"total", &REALS, READ, "a matrix without gaps within its rows"},
    [NORMAL_BIAS] = {"bias", &REALS, OPTIONAL, "of shape (n_units,)"},
    [NORMAL_VARIANCE] = {"variance", &REALS, READ, "of shape (n_units,) or (n_rows, n_units)"},
    [NORMAL_KEYS] = {"keys", &UINT64, READ, VECTOR_LAYOUT},
    [NORMAL_STOPS] = {"stops", &INT64, READ, STOPS_LAYOUT},
    [NORMAL_STATES] = {"states", &REALS, WRITE,
                       "of shape (n_rows, n_units), without gaps within its rows"},
};

static int normal_misfit(const Py_buffer *a) {
    EXPECT(NORMAL_TOTAL, has_rows(a + NORMAL_TOTAL));
    const index_t n_rows = a[NORMAL_TOTAL].shape[0], n = a[NORMAL_TOTAL].shape[1];
    EXPECT(NORMAL_BIAS, has_length(a + NORMAL_BIAS, n));
    EXPECT(NORMAL_VARIANCE,
           has_length(a + NORMAL_VARIANCE, n) || has_shape(a + NORMAL_VARIANCE, n_rows, n));
    EXPECT(NORMAL_STATES, has_shape(a + NORMAL_STATES, n_rows, n));
    EXPECT(NORMAL_KEYS, is_vector(a + NORMAL_KEYS));
    EXPECT(NORMAL_STOPS, are_stops(a + NORMAL_STOPS, a + NORMAL_KEYS, n_rows));
    return -1;
}
static const signature normal_signature = {normal_parameters, N_NORMAL, NORMAL_TOTAL,
                                           normal_misfit};

static const parameter update_parameters[] = {
    [UPDATE_INDPTR] = {"indptr", &INT64, READ, INDPTR_LAYOUT},
    [UPDATE_INDICES] = {"indices", &INT32, READ, VECTOR_LAYOUT},
    [UPDATE_STARTS] = {"starts", &INT64, WRITE, "of shape (n_features + 1,)"},
    [UPDATE_ROWS] = {"rows", &INT32, WRITE, "a contiguous vector with room for all indices"},
    [UPDATE_WEIGHTS] = {"weights", &REALS, WRITE, WEIGHTS_LAYOUT},
    [UPDATE_VISIBLE_BIAS] = {"visible_bias", &REALS, WRITE, "of shape (n_features,)"},
    [UPDATE_HIDDEN_BIAS] = {"hidden_bias", &REALS, WRITE, "of shape (n_components,)"},
    [UPDATE_HIDDEN] = {"hidden", &REALS, READ,
                       "of shape (n_rows, n_components), with aligned and padded rows"},
    [UPDATE_SHARES] = {"shares", &REALS, READ, "of shape (n_rows,)"},
    [UPDATE_MU] = {"mu", &REALS, READ, "of shape (n_features,)"},
    [UPDATE_VECTORS] = {"vectors", &REALS, WRITE,
                        "of shape (3, n_components), with aligned and padded rows"},
    [UPDATE_DV] = {"dv", &REALS, WRITE, "of shape (n_features,)"},
    [UPDATE_OF_ROWS] = {"of_rows", &REALS, WRITE, "a contiguous vector with room for n_rows"},
    [UPDATE_BITS] = {"bits", &UINT32, WRITE,
                     "a contiguous vector with a bit for each row of each feature, in words"},
};

static int update_misfit(const Py_buffer *a) {
    EXPECT(UPDATE_INDICES, is_vector(a + UPDATE_INDICES));
    EXPECT(UPDATE_INDPTR, is_indptr(a + UPDATE_INDPTR, a + UPDATE_INDICES));
    EXPECT(UPDATE_WEIGHTS, is_padded(a + UPDATE_WEIGHTS));
    const index_t *indptr = a[UPDATE_INDPTR].buf, n_rows = a[UPDATE_INDPTR].shape[0] - 1;
    const index_t n_features = a[UPDATE_WEIGHTS].shape[0], n = a[UPDATE_WEIGHTS].shape[1];
    EXPECT(UPDATE_STARTS, has_length(a + UPDATE_STARTS, n_features + 1));
    EXPECT(UPDATE_ROWS,
           is_vector(a + UPDATE_ROWS) && a[UPDATE_ROWS].shape[0] >= indptr[n_rows] - indptr[0]);
    EXPECT(UPDATE_VISIBLE_BIAS, has_length(a + UPDATE_VISIBLE_BIAS, n_features));
    EXPECT(UPDATE_HIDDEN_BIAS, has_length(a + UPDATE_HIDDEN_BIAS, n));
    EXPECT(UPDATE_HIDDEN,
           has_shape(a + UPDATE_HIDDEN, n_rows, n) && is_padded(a + UPDATE_HIDDEN));
    EXPECT(UPDATE_SHARES, has_length(a + UPDATE_SHARES, n_rows));
    EXPECT(UPDATE_MU, has_length(a + UPDATE_MU, n_features));
    EXPECT(UPDATE_VECTORS,
           has_shape(a + UPDATE_VECTORS, 3, n) && is_padded(a + UPDATE_VECTORS));
    EXPECT(UPDATE_DV, has_length(a + UPDATE_DV, n_features));
    EXPECT(UPDATE_OF_ROWS,
           is_vector(a + UPDATE_OF_ROWS) && a[UPDATE_OF_ROWS].shape[0] >= n_rows);
    EXPECT(UPDATE_BITS, has_bits(a + UPDATE_BITS, n_features, n_rows));
    return -1;
}
static const signature update_signature = {update_parameters, N_UPDATE, UPDATE_WEIGHTS,
                                           update_misfit};

static const parameter changes_parameters[] = {
    [CHANGES_TOTAL] = {"total", &REALS, READ, "a matrix without gaps within its rows"},
    [CHANGES_BEFORE] = {"before", &REALS, READ, "of shape (n_rows,)"},
    [CHANGES_AFTER] = {"after", &REALS, READ, "of shape (n_rows,)"},
    [CHANGES_SUMS] = {"sums", &FLOAT64, WRITE, "of shape (n_rows,)"},
};

static int changes_misfit(const Py_buffer *a) {
    EXPECT(CHANGES_TOTAL, has_rows(a + CHANGES_TOTAL));
    for (int k = CHANGES_BEFORE; k < N_CHANGES; k++)
        EXPECT(k, has_length(a + k, a[CHANGES_TOTAL].shape[0]));
    return -1;
}
static const signature changes_signature = {changes_parameters, N_CHANGES, CHANGES_TOTAL,
                                            changes_misfit};

static const parameter scores_parameters[] = {
    [SCORES_TOTAL] = {"total", &REALS, READ, "C-contiguous, of shape (n_rows, n_components)"},
    [SCORES_WEIGHTS] = {"weights", &REALS, READ, WEIGHTS_LAYOUT},
    [SCORES_BIAS] = {"bias", &REALS, READ, "of shape (n_units,)"},
    [SCORES_STATES] = {"states", &UINT8, OPTIONAL,
                       "C-contiguous, of shape (n_rows, n_units), unless there are values"},
    [SCORES_VALUES] = {"values", &REALS, OPTIONAL, "C-contiguous, of shape (n_rows, n_units)"},
    [SCORES_CHANCES] = {"chances", &REALS, WRITE,
                        "C-contiguous, of shape (2 * n_rows, n_components)"},
    [SCORES_WORK] = {"work", &REALS, WRITE, "twice the work space for weights of this shape"},
    [SCORES_LOGS] = {"logs", &FLOAT64, WRITE,
                     "C-contiguous, of shape (n_rows, ceil(n_units / 16))"},
};

static int scores_misfit(const Py_buffer *a) {
    EXPECT(SCORES_WEIGHTS, is_padded(a + SCORES_WEIGHTS));
    const index_t n_units = a[SCORES_WEIGHTS].shape[0], n = a[SCORES_WEIGHTS].shape[1];
    EXPECT(SCORES_TOTAL, has_rows(a + SCORES_TOTAL));
    const index_t n_rows = a[SCORES_TOTAL].shape[0], width = (n + BATCH - 1) / BATCH * BATCH;
    EXPECT(SCORES_TOTAL, is_whole(a + SCORES_TOTAL, n_rows, n));
    EXPECT(SCORES_BIAS, has_length(a + SCORES_BIAS, n_units));
    const Py_buffer *states = a + SCORES_STATES, *values = a + SCORES_VALUES;
    EXPECT(SCORES_STATES, is_whole(states, n_rows, n_units) && (states->obj || values->obj));
    EXPECT(SCORES_VALUES, is_whole(values, n_rows, n_units));
    EXPECT(SCORES_CHANCES, is_whole(a + SCORES_CHANCES, 2 * n_rows, n));
    const Py_buffer *work = a + SCORES_WORK;
    EXPECT(SCORES_WORK,
           is_padded(work) && work->shape[0] > 0 && work->shape[1] >= 2 * width * BATCH);
    EXPECT(SCORES_LOGS, is_whole(a + SCORES_LOGS, n_rows, (n_units + BATCH - 1) / BATCH));
    return -1;
}
static const signature scores_signature = {scores_parameters, N_SCORES, SCORES_WEIGHTS,
                                           scores_misfit};

static const parameter weigh_parameters[] = {
    [SUM_ROWS] = {"hidden", &REALS, WRITE, "a matrix"},
    [SUM_COEFFICIENTS] = {"shares", &REALS, READ, "as long as there are rows"},
    [SUM_TOTAL] = {"dh", &REALS, WRITE, "as long as the rows"},
};
static const parameter combine_parameters[] = {
    [SUM_ROWS] = {"rows", &REALS, READ, "a matrix"},
    [SUM_COEFFICIENTS] = {"coefficients", &REALS, READ, "as long as there are rows"},
    [SUM_TOTAL] = {"total", &REALS, WRITE, "as long as the rows"},
};

static int sum_misfit(const Py_buffer *a) {
    EXPECT(SUM_ROWS, has_rows(a + SUM_ROWS));
    EXPECT(SUM_COEFFICIENTS, has_length(a + SUM_COEFFICIENTS, a[SUM_ROWS].shape[0]));
    EXPECT(SUM_TOTAL, has_length(a + SUM_TOTAL, a[SUM_ROWS].shape[1]));
    return -1;
}
static const signature weigh_signature = {weigh_parameters, N_SUM, SUM_ROWS, sum_misfit};
static const signature combine_signature = {combine_parameters, N_SUM, SUM_ROWS, sum_misfit};

static const parameter shrink_parameters[] = {
    [SHRINK_WEIGHTS] = {"weights", &REALS, WRITE, "a matrix"},
    [SHRINK_PARTS] = {"parts", &REALS, READ, "of shape (n_features,)"},
    [SHRINK_MU] = {"mu", &REALS, READ, "of shape (n_features,)"},
    [SHRINK_LAM] = {"lam", &REALS, READ, "of shape (n_components,)"},
    [SHRINK_INPUT] = {"input", &REALS, WRITE, "of shape (n_features,)"},
    [SHRINK_DC] = {"dc", &REALS, WRITE, "of shape (n_components,)"},
};

static int shrink_misfit(const Py_buffer *a) {
    EXPECT(SHRINK_WEIGHTS, has_rows(a + SHRINK_WEIGHTS));
    const index_t n_features = a[SHRINK_WEIGHTS].shape[0], n = a[SHRINK_WEIGHTS].shape[1];
    EXPECT(SHRINK_PARTS, has_length(a + SHRINK_PARTS, n_features));
    EXPECT(SHRINK_MU, has_length(a + SHRINK_MU, n_features));
    EXPECT(SHRINK_LAM, has_length(a + SHRINK_LAM, n));
    EXPECT(SHRINK_INPUT, has_length(a + SHRINK_INPUT, n_features));
    EXPECT(SHRINK_DC, has_length(a + SHRINK_DC, n));
    return -1;
}
static const signature shrink_signature = {shrink_parameters, N_SHRINK, SHRINK_WEIGHTS,
                                           shrink_misfit};

static const parameter of_rows_parameters[] = {
    [OF_ROWS_X] = {"x", &REALS, READ, "a matrix without gaps within its rows, not empty"},
    [OF_ROWS_BIAS] = {"base", &REALS, READ | OPTIONAL, "as long as the rows"},
    [OF_ROWS_OUT] = {"out", &FLOAT64, WRITE, "of shape (n_rows,)"},
};

static int of_rows_misfit(const Py_buffer *a) {
    EXPECT(OF_ROWS_X, has_rows(a + OF_ROWS_X) && a[OF_ROWS_X].shape[1] > 0);
    EXPECT(OF_ROWS_BIAS, has_length(a + OF_ROWS_BIAS, a[OF_ROWS_X].shape[1]));
    EXPECT(OF_ROWS_OUT, has_length(a + OF_ROWS_OUT, a[OF_ROWS_X].shape[0]));
    return -1;
}
static const signature of_rows_signature = {of_rows_parameters, N_OF_ROWS, OF_ROWS_X,
                                            of_rows_misfit};

static const parameter draw_parameters[] = {
    [DRAW_VALUES] = {"values", &REALS, READ, VECTOR_LAYOUT},
    [DRAW_INDPTR] = {"indptr", &INT64, READ, INDPTR_LAYOUT},
    [DRAW_KEY] = {"key", &UINT64, READ, "of shape (1,)"},
    [DRAW_STATES] = {"states", &UINT8, WRITE, "as long as the values"},
};

static int draw_misfit(const Py_buffer *a) {
    EXPECT(DRAW_VALUES, is_vector(a + DRAW_VALUES));
    EXPECT(DRAW_INDPTR, is_indptr(a + DRAW_INDPTR, a + DRAW_VALUES));
    EXPECT(DRAW_KEY, has_length(a + DRAW_KEY, 1));
    EXPECT(DRAW_STATES, has_length(a + DRAW_STATES, a[DRAW_VALUES].shape[0]));
    return -1;
}
static const signature draw_signature = {draw_parameters, N_DRAW, DRAW_VALUES, draw_misfit};

static const parameter steps_parameters[] = {
    [STEPS_X] = {"X", &VALUES, READ | OPTIONAL,
                 "of shape (n_rows, n_features), without gaps within its rows, and of the "
                 "type of the weights if states are drawn"},
    [STEPS_X_INDPTR] = {"X_indptr", &INT64, READ | OPTIONAL,
                        "that of sparse rows, and None if rows are dense"},
    [STEPS_X_INDICES] = {"X_indices", &INT32, READ | OPTIONAL, VECTOR_LAYOUT},
    [STEPS_ROW_WEIGHTS] = {"row_weights", &FLOAT64, READ | OPTIONAL, "of shape (n_rows,)"},
    [STEPS_ORDER] = {"order", &INT64, READ, "a contiguous vector of places of rows of X"},
    [STEPS_STOPS] = {"stops", &INT64, READ,
                     "a contiguous vector that divides the order into minibatches that are "
                     "neither empty nor larger than the batch size"},
    [STEPS_SCHEDULE] = {"schedule", &FLOAT64, READ, "of shape (n_steps, 5)"},
    [STEPS_NUMBERS] = {"numbers", &INT64, READ, "five numbers, with sizes that are not 0"},
    [STEPS_KEYS] = {"keys", &UINT64, READ, "a contiguous vector with all keys of the steps"},
    [STEPS_CHAINS] = {"chains", &REALS, WRITE, "of shape (n_chains, n_components)"},
    [STEPS_MEANS] = {"means", &REALS, WRITE | OPTIONAL, "of shape (n, n_components)"},
    [STEPS_WEIGHTS] = {"weights", &REALS, WRITE, WEIGHTS_LAYOUT},
    [STEPS_VISIBLE_BIAS] = {"visible_bias", &REALS, WRITE, "of shape (n_features,)"},
    [STEPS_HIDDEN_BIAS] = {"hidden_bias", &REALS, WRITE, "of shape (n_components,)"},
    [STEPS_MU] = {"mu", &REALS, READ, "of shape (n_features,)"},
    [STEPS_HIDDEN_MEAN] = {"hidden_mean", &REALS, WRITE, "of shape (n_components,)"},
    [STEPS_AVERAGE_WEIGHTS] = {"average_weights", &REALS, WRITE | OPTIONAL,
                               "of the shape of the weights"},
    [STEPS_AVERAGE_VISIBLE_BIAS] = {"average_visible_bias", &REALS, WRITE | OPTIONAL,
                                    "of shape (n_features,)"},
    [STEPS_AVERAGE_HIDDEN_BIAS] = {"average_hidden_bias", &REALS, WRITE | OPTIONAL,
                                   "of shape (n_components,)"},
    [STEPS_WORK] = {"work", &UINT8, WRITE, "aligned, and of the size for these steps"},
};

/* Return whether these are places of rows, of at most `n_features` units that are on. */
static int are_places(const Py_buffer *order, index_t n_rows, const Py_buffer *indptr,
                      index_t n_features) {
    const index_t *place = order->buf, *start = indptr->buf;
    for (index_t k = 0; k < order->shape[0]; k++) {
        if (place[k] < 0 || place[k] >= n_rows) return 0;
        if (start && start[place[k] + 1] - start[place[k]] > n_features) return 0;
    }
    return 1;
}

/* Return whether stops divide n rows into parts that are not empty or larger than `size`. */
static int divides(const Py_buffer *stops, index_t n, index_t size) {
    const index_t *stop = stops->buf;
    index_t last = 0;
    for (index_t k = 0; k < stops->shape[0]; last = stop[k++])
        if (stop[k] <= last || stop[k] > last + size) return 0;
    return last == n;
}

static int steps_misfit(const Py_buffer *a) {
    const Py_buffer *x = a + STEPS_X, *indptr = a + STEPS_X_INDPTR, *means = a + STEPS_MEANS;
    EXPECT(STEPS_WEIGHTS, is_padded(a + STEPS_WEIGHTS));
    const index_t n_features = a[STEPS_WEIGHTS].shape[0], n = a[STEPS_WEIGHTS].shape[1];
    const index_t *numbers = a[STEPS_NUMBERS].buf;
    EXPECT(STEPS_NUMBERS, has_length(a + STEPS_NUMBERS, N_NUMBERS) && numbers[BATCH_SIZE] > 0 &&
                              numbers[BATCH_SIZE] <= INT32_MAX &&
                              numbers[N_GIBBS_STEPS] <= INT32_MAX &&
                              numbers[N_GIBBS_STEPS] > 0 && numbers[N_MEANS] >= 0 &&
                              numbers[WORK_PER_THREAD] > 0);
    EXPECT(STEPS_X_INDICES, is_vector(a + STEPS_X_INDICES));
    EXPECT(STEPS_X_INDPTR,
           !indptr->obj == !!x->obj &&
               (x->obj || (a[STEPS_X_INDICES].obj && is_indptr(indptr, a + STEPS_X_INDICES))));
    EXPECT(STEPS_X,
           !x->obj || (has_shape(x, x->ndim ? x->shape[0] : 0, n_features) &&
                       (!numbers[DRAWS_ROWS] || x->format[0] == a[STEPS_WEIGHTS].format[0])));
    const index_t n_rows = x->obj ? x->shape[0] : indptr->shape[0] - 1;
    EXPECT(STEPS_ROW_WEIGHTS, has_length(a + STEPS_ROW_WEIGHTS, n_rows));
    EXPECT(STEPS_ORDER, is_vector(a + STEPS_ORDER) &&
                            are_places(a + STEPS_ORDER, n_rows, indptr, n_features));
    EXPECT(STEPS_STOPS,
           is_vector(a + STEPS_STOPS) &&
               divides(a + STEPS_STOPS, a[STEPS_ORDER].shape[0], numbers[BATCH_SIZE]));
    const index_t n_steps = a[STEPS_STOPS].shape[0];
    EXPECT(STEPS_SCHEDULE, is_whole(a + STEPS_SCHEDULE, n_steps, N_SCHEDULE));
    const index_t n_keys = !!numbers[DRAWS_ROWS] + !means->obj + 2 * numbers[N_GIBBS_STEPS] - 1;
    EXPECT(STEPS_KEYS, has_length(a + STEPS_KEYS, n_steps * n_keys));
    const Py_buffer *chains = a + STEPS_CHAINS;
    EXPECT(STEPS_CHAINS, has_rows(chains) && is_whole(chains, chains->shape[0], n));
    EXPECT(STEPS_MEANS, !means->obj || (has_rows(means) && means->shape[0] > 0 &&
                                        is_whole(means, means->shape[0], n)));
    EXPECT(STEPS_VISIBLE_BIAS, has_length(a + STEPS_VISIBLE_BIAS, n_features));
    EXPECT(STEPS_HIDDEN_BIAS, has_length(a + STEPS_HIDDEN_BIAS, n));
    EXPECT(STEPS_MU, has_length(a + STEPS_MU, n_features));
    EXPECT(STEPS_HIDDEN_MEAN, has_length(a + STEPS_HIDDEN_MEAN, n));
    const Py_buffer *average = a + STEPS_AVERAGE_WEIGHTS;
    EXPECT(STEPS_AVERAGE_WEIGHTS, has_shape(average, n_features, n));
    EXPECT(STEPS_AVERAGE_VISIBLE_BIAS,
           !a[STEPS_AVERAGE_VISIBLE_BIAS].obj == !average->obj &&
               has_length(a + STEPS_AVERAGE_VISIBLE_BIAS, n_features));
    EXPECT(STEPS_AVERAGE_HIDDEN_BIAS, !a[STEPS_AVERAGE_HIDDEN_BIAS].obj == !average->obj &&
                                          has_length(a + STEPS_AVERAGE_HIDDEN_BIAS, n));
    return -1;
}
static const signature steps_signature = {steps_parameters, N_STEPS, STEPS_WEIGHTS,
                                          steps_misfit};

static const parameter complete_parameters[] = {
    [COMPLETE_ROWS] = {"rows", &FLOAT64, WRITE, "a C-contiguous matrix"},
    [COMPLETE_CELLS] = {"cells", &FLOAT64, READ, "C-contiguous, of the shape of rows"},
    [COMPLETE_MISSING] = {"missing", &UINT8, READ, "C-contiguous, of the shape of rows"},
    [COMPLETE_PRECISION] = {"precision", &FLOAT64, READ,
                            "C-contiguous, of shape (n_units, n_units)"},
    [COMPLETE_GAPS] = {"gaps", &INT64, WRITE, "of shape (n_units,)"},
    [COMPLETE_WORK] = {"work", &FLOAT64, WRITE, "of shape (n_units * (n_units + 2),)"},
};

static int complete_misfit(const Py_buffer *a) {
    EXPECT(COMPLETE_ROWS, has_rows(a + COMPLETE_ROWS));
    const index_t n_rows = a[COMPLETE_ROWS].shape[0], n = a[COMPLETE_ROWS].shape[1];
    EXPECT(COMPLETE_ROWS, is_whole(a + COMPLETE_ROWS, n_rows, n));
    EXPECT(COMPLETE_CELLS, is_whole(a + COMPLETE_CELLS, n_rows, n));
    EXPECT(COMPLETE_MISSING, is_whole(a + COMPLETE_MISSING, n_rows, n));
    EXPECT(COMPLETE_PRECISION, is_whole(a + COMPLETE_PRECISION, n, n));
    EXPECT(COMPLETE_GAPS, has_length(a + COMPLETE_GAPS, n));
    EXPECT(COMPLETE_WORK, has_length(a + COMPLETE_WORK, n * (n + 2)));
    return -1;
}
static const signature complete_signature = {complete_parameters, N_COMPLETE, COMPLETE_ROWS,
                                             complete_misfit};

enum { LIST_X, LIST_INDPTR, LIST_INDICES, N_LIST };
static const parameter list_parameters[] = {
    [LIST_X] = {"x", &VALUES, READ, "a C-contiguous matrix"},
    [LIST_INDPTR] = {"indptr", &INT64, WRITE, "of shape (n_rows + 1,), from 0 or more"},
    [LIST_INDICES] = {"indices", &INT32, WRITE,
                      "a contiguous vector with room for all units and 8 more"},
};

static int list_misfit(const Py_buffer *a) {
    EXPECT(LIST_X, has_rows(a + LIST_X) &&
                       is_whole(a + LIST_X, a[LIST_X].shape[0], a[LIST_X].shape[1]));
    const index_t n_rows = a[LIST_X].shape[0], n_units = a[LIST_X].shape[1];
    EXPECT(LIST_INDPTR, has_length(a + LIST_INDPTR, n_rows + 1) &&
                            *(const index_t *)a[LIST_INDPTR].buf >= 0);
    const index_t start = *(const index_t *)a[LIST_INDPTR].buf;
    EXPECT(LIST_INDICES, is_vector(a + LIST_INDICES) &&
                             a[LIST_INDICES].shape[0] - start >= n_rows * n_units + SLACK);
    return -1;
}
static const signature list_signature = {list_parameters, N_LIST, LIST_X, list_misfit};

enum { WORDS, N_WORDS };
static const parameter words_parameters[] = {
    [WORDS] = {"words", &UINT32, WRITE, VECTOR_LAYOUT}};

static int words_misfit(const Py_buffer *a) {
    EXPECT(WORDS, is_vector(a + WORDS));
    return -1;
}
static const signature words_signature = {words_parameters, N_WORDS, WORDS, words_misfit};

/* Functions, which run without the GIL. */

static PyObject *run_half_step(PyObject *const *args, Py_ssize_t n_args, const signature *s,
                               half_step on_floats, half_step on_doubles) {
    Py_buffer a[MOST_ARRAYS];
    if (!is_count(n_args, s->n + 1)) return NULL;
    const int n_threads = (int)PyLong_AsLong(args[s->n]);
    if (PyErr_Occurred() || !get_arrays(args, s, a)) return NULL;
    half_step *run = a[s->reals].itemsize == sizeof(float) ? on_floats : on_doubles;
    Py_BEGIN_ALLOW_THREADS
    run(a, n_threads);
    Py_END_ALLOW_THREADS
    release(a, s->n);
    Py_RETURN_NONE;
}

static PyObject *run_sum(PyObject *const *args, Py_ssize_t n_args, const signature *s,
                         sum_of_rows on_floats, sum_of_rows on_doubles) {
    Py_buffer a[MOST_ARRAYS];
    if (!is_count(n_args, s->n) || !get_arrays(args, s, a)) return NULL;
    sum_of_rows *run = a[s->reals].itemsize == sizeof(float) ? on_floats : on_doubles;
    Py_BEGIN_ALLOW_THREADS
    run(a);
    Py_END_ALLOW_THREADS
    release(a, s->n);
    Py_RETURN_NONE;
}

static PyObject *py_hidden(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_half_step(args, n, &hidden_signature, hidden_float, hidden_double);
}

static PyObject *py_visible(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_half_step(args, n, &visible_signature, visible_float, visible_double);
}

static PyObject *py_one_hot(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_half_step(args, n, &groups_signature, one_hot_float, one_hot_double);
}

static PyObject *py_thermometer(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_half_step(args, n, &groups_signature, thermometer_float, thermometer_double);
}

static PyObject *py_logistic(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_half_step(args, n, &logistic_signature, logistic_float, logistic_double);
}

static PyObject *py_normal(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_half_step(args, n, &normal_signature, normal_float, normal_double);
}

static PyObject *py_update(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_half_step(args, n, &update_signature, update_float, update_double);
}

static PyObject *py_changes(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_half_step(args, n, &changes_signature, changes_float, changes_double);
}

static PyObject *py_scores(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_half_step(args, n, &scores_signature, scores_float, scores_double);
}

static PyObject *py_draw_rows(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_sum(args, n, &draw_signature, draw_rows_float, draw_rows_double);
}

static PyObject *py_weigh(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_sum(args, n, &weigh_signature, weigh_float, weigh_double);
}

static PyObject *py_combine(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_sum(args, n, &combine_signature, combine_float, combine_double);
}

static PyObject *py_shrink(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_sum(args, n, &shrink_signature, shrink_float, shrink_double);
}

static index_t size_for_steps(index_t n_features, index_t n_components, index_t n_rows,
                              int n_threads, Py_ssize_t itemsize) {
    return (itemsize == sizeof(float) ? size_for_steps_float : size_for_steps_double)(
        n_features, n_components, n_rows, n_threads);
}

static PyObject *py_softplus_sums(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_sum(args, n, &of_rows_signature, softplus_sums_float, softplus_sums_double);
}

static PyObject *py_log_mean_exps(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_sum(args, n, &of_rows_signature, log_mean_exps_float, log_mean_exps_double);
}

/* Return the size in bytes of the work space for steps. */
static PyObject *py_size_for_steps(PyObject *self, PyObject *args) {
    Py_ssize_t n_features, n_components, n_rows, itemsize;
    int n_threads;
    (void)self;
    if (!PyArg_ParseTuple(args, "nnnin", &n_features, &n_components, &n_rows, &n_threads,
                          &itemsize))
        return NULL;
    return PyLong_FromSsize_t(
        size_for_steps(n_features, n_components, n_rows, n_threads, itemsize));
}

static PyObject *py_steps(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    Py_buffer a[MOST_ARRAYS];
    (void)self;
    if (!is_count(n, N_STEPS + 1)) return NULL;
    const int n_threads = (int)PyLong_AsLong(args[N_STEPS]);
    if (PyErr_Occurred() || !get_arrays(args, &steps_signature, a)) return NULL;
    const Py_buffer *weights = a + STEPS_WEIGHTS, *work = a + STEPS_WORK;
    const index_t size = *(const index_t *)a[STEPS_NUMBERS].buf;
    const index_t n_rows = size + MAX(size, a[STEPS_CHAINS].shape[0]);
    const index_t n_bytes = size_for_steps(weights->shape[0], weights->shape[1], n_rows,
                                           n_threads, weights->itemsize);
    /* Nearly all of it is for a row and a unit: this tells whether the size overflows. */
    const double n_units = (double)(weights->shape[0] + weights->shape[1] + BATCH);
    const int fits = n_threads > 0 && (double)n_rows * n_units < 1e16 && is_vector(work) &&
                     work->shape[0] >= n_bytes && (uintptr_t)work->buf % ALIGNMENT == 0;
    if (fits) {
        half_step *run = weights->itemsize == sizeof(float) ? steps_float : steps_double;
        Py_BEGIN_ALLOW_THREADS
        run(a, n_threads);
        Py_END_ALLOW_THREADS
    } else {
        PyErr_Format(PyExc_ValueError,
                     "work must be aligned and of %zd bytes, and n_threads positive", n_bytes);
    }
    release(a, N_STEPS);
    return fits ? Py_NewRef(Py_None) : NULL;
}

static PyObject *py_complete(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return run_sum(args, n, &complete_signature, NULL, complete); /* of doubles only */
}

static PyObject *py_list_rows(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    Py_buffer a[N_LIST];
    int binary;
    (void)self;
    if (!is_count(n, N_LIST) || !get_arrays(args, &list_signature, a)) return NULL;
    const Py_buffer *x = a + LIST_X;
    const index_t n_rows = x->shape[0], n_units = x->shape[1];
    index_t *indptr = a[LIST_INDPTR].buf;
    int32_t *indices = a[LIST_INDICES].buf;
    Py_BEGIN_ALLOW_THREADS
    if (x->itemsize == 1)
        binary = list_bytes(x->buf, n_rows, n_units, indptr, indices);
    else if (x->itemsize == sizeof(float))
        binary = list_reals_float(x->buf, n_rows, n_units, indptr, indices);
    else
        binary = list_reals_double(x->buf, n_rows, n_units, indptr, indices);
    Py_END_ALLOW_THREADS
    release(a, N_LIST);
    return PyBool_FromLong(binary);
}

/* Write the first words of a stream. Only the tests use it. */
static PyObject *py_random_words(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    Py_buffer a[N_WORDS];
    stream g;
    (void)self;
    if (!is_count(n, N_WORDS + 2)) return NULL;
    const uint64_t key = PyLong_AsUnsignedLongLong(args[N_WORDS]);
    if (PyErr_Occurred()) return NULL;
    const uint64_t tile = PyLong_AsUnsignedLongLong(args[N_WORDS + 1]);
    if (PyErr_Occurred() || !get_arrays(args, &words_signature, a)) return NULL;
    uint32_t *words = a[WORDS].buf;
    seed(&g, key, tile);
    for (index_t k = 0; k + BATCH <= a[WORDS].shape[0]; k += BATCH) next(&g, words + k);
    release(a, N_WORDS);
    Py_RETURN_NONE;
}

/* The suffixes of the modules that this processor can run, the fastest first. */
static PyObject *py_levels(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return Py_BuildValue("(sss)", "_avx512", "_avx2", "");
    if (__builtin_cpu_supports("avx2")) return Py_BuildValue("(ss)", "_avx2", "");
#endif
    return Py_BuildValue("(s)", "");
}

#define FAST(name) {#name, (PyCFunction)(void (*)(void))py_##name, METH_FASTCALL, NULL}

static PyMethodDef methods[] = {
    FAST(hidden),
    FAST(visible),
    FAST(one_hot),
    FAST(thermometer),
    FAST(logistic),
    FAST(normal),
    FAST(update),
    FAST(weigh),
    FAST(combine),
    FAST(list_rows),
    FAST(shrink),
    FAST(draw_rows),
    FAST(scores),
    FAST(changes),
    FAST(softplus_sums),
    FAST(log_mean_exps),
    FAST(steps),
    {"size_for_steps", py_size_for_steps, METH_VARARGS, NULL},
    FAST(complete),
    FAST(random_words),
    {"levels", py_levels, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module) {
    (void)module;
    return prepare_threads() ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute},
#ifdef Py_mod_gil
                                   {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
                                   {0, NULL}};

#define NAME_(name) #name
#define NAME(name) NAME_(name)
#define INIT_(name) PyInit_##name
#define INIT(name) INIT_(name)

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, NAME(MODULE), NULL, 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC INIT(MODULE)(void) { return PyModuleDef_Init(&definition); }
