/* The Python module: arrays are passed as buffers, and nothing else of Python is known. */
#include "core.h"

/* Acquire the buffers of arrays: 'r' to read, 'w' to write, capitals also accept None. */
static int acquire(PyObject *const *args, const char *modes, Py_buffer *a) {
    int n = 0;
    for (; modes[n]; n++) {
        const int optional = modes[n] < 'a', write = (modes[n] | 32) == 'w';
        if (optional && args[n] == Py_None) {
            memset(a + n, 0, sizeof *a);
            continue;
        }
        if (PyObject_GetBuffer(args[n], a + n, PyBUF_STRIDES | (write ? PyBUF_WRITABLE : 0))) {
            while (n--) PyBuffer_Release(a + n);
            return 0;
        }
    }
    return n;
}

static void release(Py_buffer *a, int n) {
    while (n--) PyBuffer_Release(a + n);
}

/* Say whether an array has this shape; of optional arrays, None has. */
static int has_shape(const Py_buffer *a, index_t n_rows, index_t n_columns) {
    return !a->buf || (a->ndim == 2 && a->shape[0] == n_rows && a->shape[1] == n_columns &&
                       (n_columns < 2 || a->strides[1] == a->itemsize));
}

static int has_length(const Py_buffer *a, index_t n) {
    return !a->buf ||
           (a->ndim == 1 && a->shape[0] == n && (n < 2 || a->strides[0] == a->itemsize));
}

/* Say whether an array has this shape, and no gaps between its rows. */
static int is_whole(const Py_buffer *a, index_t n_rows, index_t n_columns) {
    return has_shape(a, n_rows, n_columns) &&
           (!a->buf || n_rows < 2 || a->strides[0] == n_columns * a->itemsize);
}

/* Say whether rows are padded to whole vectors. Of a single row, Python drops the stride. */
static int is_padded(const Py_buffer *a, index_t n_rows, index_t n_columns) {
    return has_shape(a, n_rows, n_columns) && (n_rows < 2 || STRIDE(*a) % BATCH == 0);
}

static int are_weights(const Py_buffer *w) {
    return is_padded(w, w->shape[0], w->ndim == 2 ? w->shape[1] : -1) &&
           (w->itemsize == sizeof(float) || w->itemsize == sizeof(double));
}

/* Say whether lists are contiguous arrays of the types that are expected. */
static int are_lists(const Py_buffer *indptr, const Py_buffer *indices) {
    return indptr->itemsize == sizeof(index_t) && indices->itemsize == sizeof(int32_t) &&
           has_length(indptr, indptr->shape[0]) && has_length(indices, indices->shape[0]);
}

/* Say whether some of the arrays have numbers of the same type as others. */
static int have_type(const Py_buffer *a, const char *which, Py_ssize_t itemsize) {
    for (; *which; which++) {
        const Py_buffer *b = a + (*which - 'a');
        if (b->buf && b->itemsize != itemsize) return 0;
    }
    return 1;
}

static int hidden_fits(const Py_buffer *a) {
    const index_t n_rows = a[0].shape[0] - 1, n = a[2].shape[1];
    return are_lists(a, a + 1) && are_weights(a + 2) && have_type(a, "dehi", a[2].itemsize) && (has_length(a + 3, n) || has_shape(a + 3, n_rows, n)) &&
           has_length(a + 4, n_rows) && (!a[9].buf || (a[5].buf && a[6].buf)) &&
           has_shape(a + 7, n_rows, n) && has_shape(a + 8, n_rows, n) &&
           (!a[9].buf || (is_whole(a + 9, a[9].shape[0], n) && a[9].shape[0] <= n_rows));
}

static int visible_fits(const Py_buffer *a) {
    const index_t n_rows = a[0].shape[0] - 1, n = a[2].shape[0];
    return are_lists(a, a + 1) && are_weights(a + 2) && have_type(a, "dehijl", a[2].itemsize) &&
           has_length(a + 3, n) && has_length(a + 4, n_rows) &&
           (!a[10].buf || (a[5].buf && a[6].buf)) && is_whole(a + 8, n_rows, n) &&
           is_whole(a + 9, n_rows, n) && is_whole(a + 10, n_rows, n) &&
           has_length(a + 11, n) && a[7].ndim == 2 &&
           a[7].shape[0] > 0 && a[7].shape[1] >= STRIDE(a[2]) * BATCH;
}

static int update_fits(const Py_buffer *a) {
    const index_t n_rows = a[0].shape[0] - 1, n = a[4].shape[1], n_features = a[4].shape[0];
    return are_lists(a, a + 1) && are_lists(a + 2, a + 3) && are_weights(a + 4) &&
           have_type(a, "fghijklmno", a[4].itemsize) && has_length(a + 2, n_features + 1) &&
           has_length(a + 5, n_features) && has_length(a + 6, n) &&
           is_padded(a + 7, n_rows, n) && has_length(a + 8, n_rows) && has_length(a + 9, n) &&
           has_length(a + 10, n_features) && has_length(a + 11, n) &&
           has_length(a + 12, n_features) && a[13].shape[0] >= n_rows && has_length(a + 14, n);
}

static int weigh_fits(const Py_buffer *a) {
    return has_shape(a, a[0].shape[0], a[0].shape[1]) && has_length(a + 1, a[0].shape[0]) &&
           has_length(a + 2, a[0].shape[1]);
}

static PyObject *do_not_fit(void) {
    PyErr_SetString(PyExc_ValueError, "the shapes of the arrays do not fit together");
    return NULL;
}

/* Call a function on buffers and a number of threads, without the GIL. */
static PyObject *call(PyObject *const *args, Py_ssize_t n_args, const char *modes, int reals,
                      int (*fits)(const Py_buffer *), half_step on_floats,
                      half_step on_doubles) {
    Py_buffer a[16];
    const int expected = (int)strlen(modes);
    if (n_args != expected + 1)
        return PyErr_Format(PyExc_TypeError, "expected %d arguments", expected + 1);
    const int n_threads = (int)PyLong_AsLong(args[expected]);
    if (PyErr_Occurred() || !acquire(args, modes, a)) return NULL;
    if (!fits(a)) {
        release(a, expected);
        return do_not_fit();
    }
    const int single = a[reals].itemsize == sizeof(float);
    Py_BEGIN_ALLOW_THREADS
    (single ? on_floats : on_doubles)(a, n_threads);
    Py_END_ALLOW_THREADS
    release(a, expected);
    Py_RETURN_NONE;
}

static PyObject *py_hidden(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return call(args, n, "rrrrRRRWWW", 2, hidden_fits, hidden_float, hidden_double);
}

static PyObject *py_visible(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return call(args, n, "rrrrRRRwWWWR", 2, visible_fits, visible_float, visible_double);
}

static PyObject *py_update(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return call(args, n, "rrwwwwwrrrrrwww", 4, update_fits, update_float, update_double);
}

static PyObject *py_weigh(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return call(args, n, "wrw", 0, weigh_fits, weigh_float, weigh_double);
}

static PyObject *py_combine(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    (void)self;
    return call(args, n, "rrw", 0, weigh_fits, combine_float, combine_double);
}

static PyObject *py_list_rows(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    Py_buffer a[3];
    int binary;
    (void)self;
    if (n != 3) return PyErr_Format(PyExc_TypeError, "expected 3 arguments");
    if (!acquire(args, "rww", a)) return NULL;
    const index_t n_rows = a[0].shape[0], n_units = a[0].ndim == 2 ? a[0].shape[1] : -1;
    const index_t start = a[1].shape[0] ? *(index_t *)a[1].buf : 0;
    if ((a[0].itemsize != 1 && a[0].itemsize != sizeof(float) &&
         a[0].itemsize != sizeof(double)) ||
        !are_lists(a + 1, a + 2) || !has_shape(a, n_rows, n_units) || STRIDE(a[0]) != n_units ||
        !has_length(a + 1, n_rows + 1) || a[2].shape[0] < start + n_rows * n_units + 8) {
        release(a, 3);
        return do_not_fit();
    }
    Py_BEGIN_ALLOW_THREADS
    if (a[0].itemsize == 1)
        binary = list_bytes(a[0].buf, n_rows, n_units, a[1].buf, a[2].buf);
    else if (a[0].itemsize == sizeof(float))
        binary = list_reals_float(a[0].buf, n_rows, n_units, a[1].buf, a[2].buf);
    else
        binary = list_reals_double(a[0].buf, n_rows, n_units, a[1].buf, a[2].buf);
    Py_END_ALLOW_THREADS
    release(a, 3);
    return PyBool_FromLong(binary);
}

static PyObject *py_random_words(PyObject *self, PyObject *const *args, Py_ssize_t n) {
    Py_buffer a[1];
    stream g;
    (void)self;
    if (n != 3) return PyErr_Format(PyExc_TypeError, "expected 3 arguments");
    const uint64_t key = PyLong_AsUnsignedLongLong(args[0]);
    const uint64_t tile = PyLong_AsUnsignedLongLong(args[1]);
    if (PyErr_Occurred() || !acquire(args + 2, "w", a)) return NULL;
    seed(&g, key, tile);
    for (index_t k = 0; k + BATCH <= a[0].shape[0]; k += BATCH) next(&g, (uint32_t *)a[0].buf + k);
    release(a, 1);
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

static PyMethodDef methods[] = {FAST(list_rows), FAST(hidden),  FAST(visible),
                                FAST(update),    FAST(weigh),   FAST(combine),
                                FAST(random_words),
                                {"levels", py_levels, METH_NOARGS, NULL},
                                {NULL, NULL, 0, NULL}};

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
