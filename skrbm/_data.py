"""Rows of a data set, checked once, and all ways to walk through them.

A data set is an ndarray (a memory map too) or a CSR array, of bool, uint8, float32 or
float64, with the choice of some of its rows and with weights of rows. It is never copied or
made dense as a whole: what is cast or gathered is one minibatch or one block.
"""

import contextlib
import copy
import functools
import mmap
import os
import threading
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

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


def canonical(X):
    """Return an array as a plain ndarray or a CSR array without duplicate entries.

    Shares memory with `X`, unless the indices of a row are not sorted, or not unique.
    """
    if not sp.issparse(X):
        return np.asarray(X)
    X = sp.csr_array(X)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


class DataSet:
    """Rows of an array, all of them or some, with weights or without.

    Parameters
    ----------
    X : {ndarray, CSR array} of shape (n_rows_of_X, n_features)
        Checked by the caller: finite, of one of the four dtypes.
    rows : ndarray of int, default=None
        Which rows of `X` there are; None means all.
    row_weights : float64 ndarray of shape (n_rows_of_X,), default=None
        Weights of the rows of `X`; None is 1 for all.
    """

    def __init__(self, X, rows=None, row_weights=None):
        self.X = canonical(X)
        self.rows = rows
        self.row_weights = row_weights

    def __len__(self):
        return self.X.shape[0] if self.rows is None else len(self.rows)

    @property
    def n_features(self):
        return self.X.shape[1]

    @property
    def is_sparse(self):
        return sp.issparse(self.X)

    @property
    def weights(self):
        """Weights of the rows of this data set; None is 1 for all."""
        if self.row_weights is None or self.rows is None:
            return self.row_weights
        return self.row_weights[self.rows]

    @functools.cached_property
    def summary(self):
        """The range of the values of `X`, and whether all of them are 0 or 1."""
        X = self.X
        if X.dtype == bool:
            return Summary(0.0, 1.0, True)
        low, high, binary = np.inf, -np.inf, True
        values = X.data.reshape(-1, 1) if self.is_sparse else X
        pages = MappedPages(values)
        for rows in _kernels.row_blocks(*values.shape):
            block = values[rows]
            pages.have_read(len(block))
            low = min(low, float(block.min()))
            high = max(high, float(block.max()))
            binary = binary and bool(((block == 0) | (block == 1)).all())
        pages.give_back()
        if self.is_sparse and X.nnz < X.shape[0] * X.shape[1]:
            low, high = min(low, 0.0), max(high, 0.0)
        return Summary(low, high, binary)

    # Some of the rows ---------------------------------------------------------------------

    def _at(self, places):
        """Return the rows of `X` at these places of the data set."""
        return places if self.rows is None else self.rows[places]

    def select(self, rows):
        """Return the data set of these rows of `X`."""
        selected = copy.copy(self)
        selected.rows = rows
        return selected

    def weigh(self, row_weights):
        """Return the data set with weights of all rows of `X`, without rows of weight 0."""
        rows = np.flatnonzero(row_weights)
        weighted = self.select(None if len(rows) == len(row_weights) else rows)
        weighted.row_weights = row_weights
        return weighted

    def spread(self, size):
        """Return the data set of at most `size` of the rows, evenly spread."""
        return self.select(self._at(spread(len(self), size)))

    def shard(self, i, n):
        """Return part `i` of the rows, cut into `n` parts of as equal a size as can be."""
        start, stop = (len(self) * end // n for end in (i, i + 1))
        return self.select(self._at(np.arange(start, stop)))

    def mapped_pages(self):
        """Return what is told how many rows of `X` have been read."""
        return MappedPages(self.X)

    # Walks --------------------------------------------------------------------------------

    def order(self, rng=None):
        """Return the order of the rows for `minibatches`: as they are, or drawn."""
        if rng is None:
            return self.rows
        return rng.permutation(len(self) if self.rows is None else self.rows)

    def minibatches(self, batch_size, order=None):
        """Yield what selects the rows of each minibatch: slices, or pieces of `order`."""
        n_rows = self.X.shape[0] if order is None else len(order)
        for start in range(0, n_rows, batch_size):
            rows = slice(start, min(start + batch_size, n_rows))
            yield rows if order is None else order[rows]

    def take_dense(self, rows, out):
        """Copy rows of dense `X` into the first rows of `out`; return those."""
        X = self.X
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

    def take_sparse(self, rows, dtype):
        """Return rows of sparse `X` as a CSR array whose values may be written to."""
        batch = self.X[rows]
        data = np.array(batch.data, dtype=dtype)
        return sp.csr_array((data, batch.indices, batch.indptr), shape=batch.shape)

    def copy_rows(self, dtype):
        """Return all rows, which are few, as a C-contiguous or CSR array of their own."""
        rows = slice(0, len(self)) if self.rows is None else self.rows
        if self.is_sparse:
            return self.take_sparse(rows, dtype)
        return self.take_dense(rows, np.empty((len(self), self.n_features), dtype))

    def blocks(self, model):
        """Yield ``(places, v)``: slices of the rows, and those rows, dense or CSR.

        In the dtype of the model, and with at most 16 times `BLOCK_SIZE` values of it to a
        block: enough for products to run at full speed, little enough to bound memory.
        """
        X, row_size = self.X, model.row_size(self.is_sparse)
        pages = self.mapped_pages()
        n_values = 16 * _kernels.BLOCK_SIZE
        for places in _kernels.row_blocks(len(self), row_size, n_values):
            v = X[self._at(places)]
            pages.have_read(v.shape[0], scattered=self.rows is not None)
            yield places, v.astype(model.dtype, copy=False)
        pages.give_back()

    def apply(self, function, model, *, n_columns=None, dtype=np.float64, threads=False):
        """Apply a function of a model to all rows, in bounded memory.

        Parameters
        ----------
        function : callable
            Called with a block of rows, in the dtype of the model.
        model : RBM
            The model that the function is of.
        n_columns : int, default=None
            Length of the result for a row; None is one number.
        dtype : dtype, default=float64
            Of the result.
        threads : bool, default=False
            For functions that do more than multiply matrices: blocks go to as many threads
            as `joblib.parallel_config` asks for, with a thread each for their products.
        """
        shape = (len(self),) if n_columns is None else (len(self), n_columns)
        out = np.empty(shape, dtype)

        def fill(places, v):
            with np.errstate(over="ignore", invalid="ignore"):
                out[places] = function(v)
            if np.isnan(out[places]).any():
                raise ValueError(
                    f"X has values up to {np.abs(v).max():g}, which are too large to "
                    "compute with: scale X, with MinMaxScaler of sklearn.preprocessing "
                    "for instance."
                )

        parallel = Parallel(require="sharedmem") if threads else None
        if parallel is None or parallel.n_jobs == 1:
            for block in self.blocks(model):
                fill(*block)
        else:  # the limit is one of the process: two calls may not overlap in setting it
            with _limiting.lock, threadpool_limits(1, user_api="blas"):
                parallel(delayed(fill)(*block) for block in self.blocks(model))
        return out

    def mean(self, function, model):
        """Return the mean over all rows, by their weights, of a function as for `apply`."""
        return float(np.average(self.apply(function, model), weights=self.weights))


class _Limiting:
    """Holds the lock under which the number of threads of a BLAS is limited."""

    def __init__(self):
        self.renew()
        if hasattr(os, "register_at_fork"):
            # A child would wait for ever for a lock that a thread of its parent holds.
            os.register_at_fork(after_in_child=self.renew)

    def renew(self):
        self.lock = threading.Lock()


_limiting = _Limiting()


def spread(n, size):
    """Return at most `size` of `n` indices, evenly spread."""
    return np.linspace(0, n - 1, min(n, size)).astype(int)
