/* Gaps of rows of correlated normal units, given their observed cells. Included by double.c. */

/* Eliminate below the diagonal of a positive definite matrix. Only its upper triangle is read
 * and overwritten. */
static void eliminate(double *a, index_t n) {
    for (index_t j = 0; j < n; j++)
        for (index_t i = j + 1; i < n; i++) {
            const double part = a[j * n + i] / a[j * n + j];
            for (index_t k = i; k < n; k++) a[i * n + k] -= part * a[j * n + k];
        }
}

/* Replace b by the solution of a linear system whose matrix has been eliminated. */
static void solve(const double *a, index_t n, double *b) {
    for (index_t j = 0; j < n; j++) {
        b[j] /= a[j * n + j];
        for (index_t i = j + 1; i < n; i++) b[i] -= b[j] * a[j * n + i];
    }
    for (index_t j = n - 1; j >= 0; j--) {
        double sum = 0;
        for (index_t i = j + 1; i < n; i++) sum += a[j * n + i] * b[i];
        b[j] -= sum / a[j * n + j];
    }
}

/* Give rows that are drawn as a whole the observed cells, and their gaps the regression on the
 * errors of these. Rows whose gaps are those of the row before share its elimination. */
void complete(const Py_buffer *a) {
    double *row = a[COMPLETE_ROWS].buf;
    const double *cells = a[COMPLETE_CELLS].buf, *precision = a[COMPLETE_PRECISION].buf;
    const uint8_t *missing = a[COMPLETE_MISSING].buf;
    index_t *gaps = a[COMPLETE_GAPS].buf, n_gaps = 0;
    const index_t n_rows = a[COMPLETE_ROWS].shape[0], n = a[COMPLETE_ROWS].shape[1];
    double *errors = a[COMPLETE_WORK].buf, *changes = errors + n, *matrix = changes + n;
    for (index_t r = 0; r < n_rows; r++, row += n, cells += n, missing += n) {
        if (r == 0 || memcmp(missing, missing - n, (size_t)n)) {
            n_gaps = 0;
            for (index_t i = 0; i < n; i++)
                if (missing[i]) gaps[n_gaps++] = i;
            for (index_t j = 0; j < n_gaps; j++)
                for (index_t i = j; i < n_gaps; i++)
                    matrix[j * n_gaps + i] = precision[gaps[j] * n + gaps[i]];
            eliminate(matrix, n_gaps);
        }
        for (index_t i = 0; i < n; i++) {
            errors[i] = missing[i] ? 0 : row[i] - cells[i];
            if (!missing[i]) row[i] = cells[i];
        }
        for (index_t j = 0; j < n_gaps; j++)
            changes[j] = dot(precision + gaps[j] * n, errors, n);
        solve(matrix, n_gaps, changes);
        for (index_t j = 0; j < n_gaps; j++) row[gaps[j]] += changes[j];
    }
}
