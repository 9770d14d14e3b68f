"""Rows of a data set, a few at a time, as the model wants them.

A data set is an ndarray (a memory map too) or a CSR array, of bool, uint8, float32 or
float64. It is never copied or made dense as a whole: what is cast, gathered or binarised
is one minibatch or one block.
"""

import contextlib
import mmap
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from skrbm import _kernels


class MappedPages:
    """Gives the pages of a large memory map back once they have been read.

    Pages that were touched count as memory of the process: a pass over a file of any size
    would end with all of it resident. The system keeps what it can of them in its cache, so
    that to read them again costs little. Only maps that cannot be written to are treated
    so; on anything else nothing happens.
    """

    LIMIT = 1 << 26  # bytes
    # A read of one row may bring in a huge page.
    LARGEST_PAGE = 1 << 21

    def __init__(self, X):
        while isinstance(X, np.ndarray) and not isinstance(X, np.memmap):
            X = X.base
        self._map = None
        self._n_bytes = 0
        if not isinstance(X, np.memmap):
            return
        # Of some columns of wide rows, the pages of all columns are read.
        self._row_size = max(X.nbytes // max(1, len(X)), abs(X.strides[0]))
        if X.mode == "r":
            while isinstance(X, np.ndarray):
                X = X.base
            large = isinstance(X, mmap.mmap) and len(X) > self.LIMIT
            if large and hasattr(mmap, "MADV_DONTNEED"):
                self._map = X

    def have_read(self, n_rows, scattered=False):
        """Count rows that have been read, one after the other or here and there."""
        if self._map is None:
            return
        self._n_bytes += n_rows * (self.LARGEST_PAGE if scattered else self._row_size)
        if self._n_bytes > self.LIMIT:
            self.give_back()

    def give_back(self):
        """Give back what has been read: a large map may be read in small slices."""
        if self._n_bytes:
            with contextlib.suppress(OSError):  # locked pages; it is a hint only
                self._map.madvise(mmap.MADV_DONTNEED)
            self._n_bytes = 0


class Summary(NamedTuple):
    """What one pass over the values of a data set finds."""

    low: float
    high: float
    binary: bool

    @property
    def in_range(self):
        """Whether all values are in [0, 1]."""
        return self.low >= 0 and self.high <= 1


def canonical(X):
    """Return the data set as a plain ndarray or a CSR array without duplicate entries.

    Shares memory with `X`, unless the indices of a row are not sorted, or not unique.
    """
    if not sp.issparse(X):
        return np.asarray(X)
    X = sp.csr_array(X)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def summarize(X):
    """Find the range of the values, and whether all of them are 0 or 1."""
    if X.dtype == bool:
        return Summary(0.0, 1.0, True)
    low, high, binary = np.inf, -np.inf, True
    values = X.data.reshape(-1, 1) if sp.issparse(X) else X
    pages = MappedPages(values)
    for rows in _kernels.row_blocks(*values.shape):
        block = values[rows]
        pages.have_read(len(block))
        low = min(low, float(block.min()))
        high = max(high, float(block.max()))
        binary = binary and bool(((block == 0) | (block == 1)).all())
    pages.give_back()
    if sp.issparse(X) and X.nnz < X.shape[0] * X.shape[1]:
        low, high = min(low, 0.0), max(high, 0.0)
    return Summary(low, high, binary)


def blocks(X, dtype, row_size, order=None):
    """Yield ``(rows, v)``: slices of rows, and those rows in `dtype`, dense or CSR.

    Of all rows, or of those in `order`. A block has at most `BLOCK_SIZE` times 16 elements
    of `row_size` to the row: enough for products to run at full speed, little enough to
    bound memory.
    """
    n_rows = X.shape[0] if order is None else len(order)
    pages = MappedPages(X)
    for rows in _kernels.row_blocks(n_rows, row_size, 16 * _kernels.BLOCK_SIZE):
        v = X[rows if order is None else order[rows]]
        pages.have_read(v.shape[0], scattered=order is not None)
        yield rows, v.astype(dtype, copy=False)
    pages.give_back()


def clip(v):
    """Return rows with values below 0 set to 0, and above 1 to 1."""
    if not sp.issparse(v):
        return v.clip(0, 1)
    return sp.csr_array((v.data.clip(0, 1), v.indices, v.indptr), shape=v.shape)


def minibatches(n_rows, batch_size, order=None):
    """Yield what selects the rows of each minibatch: slices, or pieces of `order`."""
    for start in range(0, n_rows, batch_size):
        rows = slice(start, min(start + batch_size, n_rows))
        yield rows if order is None else order[rows]


def take_dense(X, rows, out):
    """Copy rows of a dense data set into the first rows of `out`; return those."""
    if isinstance(rows, slice):
        out = out[: rows.stop - rows.start]
        out[...] = X[rows]
    else:
        out = out[: len(rows)]
        if X.dtype == out.dtype and X.flags.c_contiguous and X.flags.aligned:
            X.take(rows, axis=0, out=out, mode="clip")  # "raise" would buffer
        else:  # here take would copy all of X first
            out[...] = X[rows]
    return out


def take_sparse(X, rows, dtype):
    """Return rows of a CSR data set as a CSR array whose values may be written to."""
    batch = X[rows]
    data = np.array(batch.data, dtype=dtype)
    return sp.csr_array((data, batch.indices, batch.indptr), shape=batch.shape)


def binarize(values, rng):
    """Overwrite values, taken as probabilities of a 1, with draws of 0 or 1.

    Only values strictly between 0 and 1 use random numbers, in the order of the rows: a
    dense minibatch and its sparse twin become the same states. What lies below 0 becomes
    0, above 1 becomes 1.
    """
    np.clip(values, 0, 1, out=values)
    flat = values.reshape(-1)
    uncertain = np.flatnonzero((flat > 0) & (flat < 1))
    draws = flat[uncertain]
    flat[uncertain] = _kernels.bernoulli(draws, rng, out=draws)
