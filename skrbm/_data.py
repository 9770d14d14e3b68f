"""Data sets of validated rows, and iteration over their minibatches and blocks.

A data set is an ndarray (including memory maps) or a CSR array of dtype bool, uint8,
float32 or float64, optionally with a selection of its rows and with row weights. It is
never copied or made dense as a whole, unless a caller wants rows together. Only one
minibatch or one block is cast or gathered at a time.

A gap, a missing cell, is NaN in dense rows, as are all encoded columns of its feature.
Statistics of the data leave gaps out.
"""

import contextlib
import copy
import functools
import mmap
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from skrbm import _kernels
from skrbm._random import generator
from skrbm._units import Encoder

# Largest weight of a row in a minibatch, if the mean weight is 1. Otherwise a single step
# could be that many times as large as others.
LARGEST_WEIGHT = 4.0


def _memory_map(X):
    """Return the memory map that an array is a view of, or None."""
    while isinstance(X, np.ndarray) and not isinstance(X, np.memmap):
        X = X.base
    return X if isinstance(X, np.memmap) else None


def with_rows_together(X):
    """Return dense rows in C order, as a copy if columns are contiguous in memory instead.

    Reading minibatches of such an array takes up to ten times as long. A memory map is not
    copied, and neither are rows with gaps between them.
    """
    columns_first = (
        isinstance(X, np.ndarray) and abs(X.strides[0]) < abs(X.strides[1]) and len(X) > 1
    )
    if not columns_first or _memory_map(X) is not None:
        return X
    return np.ascontiguousarray(X)


class MappedPages:
    """Counter of rows read that releases the pages of a large memory map.

    Pages that have been read count as memory of the process, so a pass over a file would
    leave the whole file resident. The operating system keeps released pages in its cache as
    far as possible, so reading them again is cheap. Only read-only maps are handled. For
    any other array this class does nothing.
    """

    LIMIT = 1 << 26  # bytes
    # Reading a single row may load a huge page.
    LARGEST_PAGE = 1 << 21

    def __init__(self, X):
        X = _memory_map(X)
        self._map: mmap.mmap | None = None
        self._n_bytes = 0
        if X is None:
            return
        # Reading a subset of the columns loads the pages of whole rows.
        self._row_size = max(X.nbytes // max(1, len(X)), abs(X.strides[0]))
        if X.mode == "r":
            while isinstance(X, np.ndarray):
                X = X.base
            large = isinstance(X, mmap.mmap) and len(X) > self.LIMIT
            if large and hasattr(mmap, "MADV_DONTNEED"):
                self._map = X

    def have_read(self, n_rows: int, scattered: bool = False) -> None:
        """Count rows that have been read, either contiguous or scattered ones."""
        if self._map is None:
            return
        self._n_bytes += n_rows * (self.LARGEST_PAGE if scattered else self._row_size)
        if self._n_bytes > self.LIMIT:
            self.give_back()

    def n_rows_left(self, scattered: bool = False) -> int:
        """Return how many rows can be read until pages are released."""
        if self._map is None:
            return sys.maxsize
        row_size = self.LARGEST_PAGE if scattered else self._row_size
        return int((self.LIMIT - self._n_bytes) // row_size)

    def give_back(self) -> None:
        """Release the pages read so far."""
        if self._map is not None and self._n_bytes:
            with contextlib.suppress(OSError):  # pages are locked; this is only a hint
                self._map.madvise(mmap.MADV_DONTNEED)
            self._n_bytes = 0


class Summary(NamedTuple):
    """Range of the values of a data set, and whether all of them are 0 or 1.

    `complete` says that there are no gaps.
    """

    low: float
    high: float
    binary: bool
    complete: bool = True

    @classmethod
    def merge(cls, summaries) -> Self:
        low, high, binary, complete = zip(*summaries, strict=True)
        return cls(min(low), max(high), all(binary), all(complete))


class Ranges(NamedTuple):
    """Smallest and largest value of each feature, and whether all values are integers.

    Where a feature has no values, the smallest one is infinite and the largest minus that.
    """

    low: np.ndarray
    high: np.ndarray
    whole: bool

    @classmethod
    def merge(cls, ranges) -> Self:
        low, high, whole = zip(*ranges, strict=True)
        return cls(np.min(low, axis=0), np.max(high, axis=0), all(whole))


class Variances(NamedTuple):
    """Trace and largest eigenvalue of the covariance matrix of the rows of a data set."""

    total: float
    largest: float


def canonical(X):
    """Return `X` as a plain ndarray or as a CSR array without duplicate entries.

    The result shares memory with `X`, unless the indices of a row are unsorted or contain
    duplicates.
    """
    if not sp.issparse(X):
        return np.asarray(X)
    X = sp.csr_array(X)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


class Unencoded(Encoder):
    """The encoder of rows that need none: casts."""

    def __init__(self, n_features):
        self.n_encoded, self.feature_of = n_features, np.arange(n_features)

    def compact(self, rows, dtype):
        with np.errstate(over="ignore"):
            return rows.astype(dtype)

    def expand(self, values, out):
        out[...] = values

    def compress(self, v):
        return v

    def encode(self, rows, out):
        with np.errstate(over="ignore"):
            out[...] = rows


class DataSet:
    """All or some rows of an array, optionally with row weights.

    Parameters
    ----------
    X : {ndarray, CSR array} of shape (n_rows_of_X, n_features)
        Data validated by the caller: finite, or NaN for gaps if dense, and of dtype bool,
        uint8, float32 or float64.
    rows : ndarray of int, default=None
        Indices of the selected rows of `X`. If None, all rows are selected.
    row_weights : float64 ndarray of shape (n_rows_of_X,), default=None
        Weights of the rows of `X`. If None, all weights are 1.

    Attributes
    ----------
    encoder : object or None
        What rows are encoded by when they are read, see `encode`.
    counted : ndarray of int or None
        Indices of the rows of `X` whose weight is not 0, see `weigh`. None if all count.
    impossible : ndarray of bool or None
        Which rows of `X` to score have no probability, whatever the model. None if none.
    unlabelled : ndarray of bool of shape (n_rows_of_X, n_labels) or None
        Which labels of rows of `X` are not known. None if all are, or there are no labels.
    hidden : int or None
        Feature that is missing in all rows as they are encoded, see `hide`. None if none.
    """

    encoder: Any = None
    counted: np.ndarray | None = None
    impossible: np.ndarray | None = None
    unlabelled: np.ndarray | None = None
    hidden: int | None = None

    def __init__(self, X, rows=None, row_weights=None):
        self.X = canonical(X)
        self.rows = rows
        self.row_weights = row_weights

    def __len__(self) -> int:
        return self.X.shape[0] if self.rows is None else len(self.rows)

    @property
    def n_features(self) -> int:
        """Number of columns of the data."""
        return self.X.shape[1]

    @property
    def n_encoded(self) -> int:
        """Number of columns of the encoded rows, which is that of visible units."""
        return self.n_features if self.encoder is None else self.encoder.n_encoded

    @property
    def is_sparse(self) -> bool:
        return sp.issparse(self.X)

    @property
    def weights(self) -> np.ndarray | None:
        """Weights of the selected rows, or None if all weights are 1."""
        if self.row_weights is None or self.rows is None:
            return self.row_weights
        return self.row_weights[self.rows]

    @property
    def coder(self):
        """The encoder, or one that does nothing."""
        return Unencoded(self.n_features) if self.encoder is None else self.encoder

    @functools.cached_property
    def summary(self) -> Summary:
        """Range of the values that count, and whether all of them are 0 or 1."""
        if self.X.dtype == bool:
            return Summary(0.0, 1.0, True)
        low, high, binary, complete = np.inf, -np.inf, True, True
        for block in self._read_values():
            values = _observed(block)
            complete = complete and values is block
            if not values.size:
                continue
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            binary = binary and bool(((values == 0) | (values == 1)).all())
        low, high = self._with_zeros(low, high)
        return Summary(low, high, binary, complete)

    def limits(self) -> tuple[float, float]:
        """Return the range of the values that count, sooner than the summary does."""
        if self.X.dtype == bool or "summary" in vars(self):
            return self.summary[:2]
        low, high = np.inf, -np.inf
        if (
            not self.is_sparse
            and self.counted is None
            and self.X.size <= _kernels.BLOCK_SIZE
        ):
            low, high = float(self.X.min()), float(self.X.max())
            if low == low:  # there is no NaN
                return low, high
            low, high = np.inf, -np.inf
        for block in map(_observed, self._read_values(4 * _kernels.BLOCK_SIZE)):
            if block.size:
                low, high = min(low, float(block.min())), max(high, float(block.max()))
        return self._with_zeros(low, high)

    @functools.cached_property
    def has_gaps(self) -> bool:
        """Whether cells of rows that count are missing."""
        if self.is_sparse or self.X.dtype.kind != "f":
            return False
        if "summary" in vars(self):
            return not self.summary.complete
        blocks = self._read_values(4 * _kernels.BLOCK_SIZE)
        return any(np.isnan(block.min()) for block in blocks)

    def _read_values(self, size=_kernels.BLOCK_SIZE):
        """Yield blocks of the values that count, without zeros that `X` does not store."""
        if self.is_sparse:
            X = self.X if self.counted is None else self.X[self.counted]
            rows = DataSet(X.data.reshape(-1, 1))
        else:
            rows = DataSet(self.X, self.counted)
        return (block for _, block in rows.read_blocks(rows.n_features, size))

    def read_blocks(self, row_size, size=_kernels.BLOCK_SIZE):
        """Yield ``(places, rows)``: a slice of the data set, and its rows of `X`.

        `size` bounds the number of values in a block of rows of `row_size` values. Pages of
        a memory map are given back.
        """
        pages = self.mapped_pages()
        for places in _kernels.row_blocks(len(self), row_size, size):
            rows = self.X[self._at(places)]
            pages.have_read(rows.shape[0], scattered=self.rows is not None)
            yield places, rows
        pages.give_back()

    def _with_zeros(self, low, high):
        """Return the range of values and of the zeros that sparse `X` does not store."""
        if self.is_sparse and self.X.nnz < self.X.shape[0] * self.X.shape[1]:
            return min(low, 0.0), max(high, 0.0)
        return low, high

    def ranges(self) -> Ranges:
        """Return the `Ranges` of the features, in rows that count."""
        X = self.X
        n = X.shape[1]
        ranges = Ranges(np.full(n, np.inf), np.full(n, -np.inf), True)
        row_size = X.nnz // max(1, X.shape[0]) if self.is_sparse else n
        for _, block in DataSet(X, self.counted).read_blocks(row_size):
            values = block.data if self.is_sparse else _observed(block)
            if values is block or self.is_sparse:
                ends = block.min(axis=0), block.max(axis=0)
            else:
                missing = np.isnan(block)
                ends = (
                    block.min(axis=0, initial=np.inf, where=~missing),
                    block.max(axis=0, initial=-np.inf, where=~missing),
                )
            low, high = (x.toarray().ravel() if self.is_sparse else x for x in ends)
            whole = values.dtype.kind != "f" or bool((values == np.floor(values)).all())
            ranges = Ranges.merge([ranges, Ranges(low, high, whole)])
        return ranges

    def variances(self, prepare: Callable[[np.ndarray], None]) -> Variances:
        """Return the `Variances` of the encoded rows, estimated from at most 500 of them.

        These rows are drawn in proportion to their weights, always with the same random
        numbers, and passed to `prepare`, which may change them in place. The matrix of
        products of the centered rows has the same trace and largest eigenvalue as the
        covariance matrix. The results are rounded, since rows in another form are
        multiplied in another order.

        Columns with gaps are divided by the part of them that is observed. The covariances
        then have the right expectation if cells are missing at random. Variances would be
        too large, so that the trace is computed separately.
        """
        few, shares = self.draw(500)
        v = few.copy_rows(np.float64)
        prepare(v.data if self.is_sparse else v)
        scale, parts = np.sqrt(shares)[:, None], 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            if self.has_gaps:
                missing = np.isnan(v)
                parts = np.maximum(shares @ ~missing, 1e-9)
                v[missing] = 0
                v -= (shares @ v) / parts
                v[missing] = 0
                v /= parts
            mean = shares @ v
            if not self.is_sparse:
                v -= mean
                v *= scale
                total = (np.square(v).sum(axis=0) * parts).sum()
            else:
                total = shares @ v.multiply(v).sum(axis=1) - mean @ mean

            alone = functools.partial(_kernels.product, alone=True)

            def multiply(x):
                if not self.is_sparse:
                    return alone(v, alone(v.T, x))
                x = scale * x
                x = v.T @ x - np.outer(mean, x.sum(axis=0))
                return scale * (v @ x - mean @ x)

            if not np.isfinite(total):  # training diverges whatever the rate
                return Variances(0.0, 0.0)
            values = total, _largest_eigenvalue(multiply, len(shares))
        return Variances(*(float(f"{v:.3g}") if v > 1e-9 else 0.0 for v in values))

    def draw(self, size: int) -> tuple[Self, np.ndarray]:
        """Return at most `size` rows, drawn by their weights, and the share of each."""
        n, p = len(self), None
        if self.weights is not None:
            p = self.weights / self.weights.sum()
        if n <= size:
            return self, np.full(n, 1 / n) if p is None else p
        rng = generator(0)
        places = rng.choice(n, size, replace=p is not None, p=p)
        return self.select(self._at(np.sort(places))), np.full(size, 1 / size)

    @property
    def mean_weight(self) -> float:
        """Mean of the weights, however large they are."""
        if (weights := self.weights) is None:
            return 1.0
        largest = float(weights.max())
        return largest * float((weights / largest).mean())

    @property
    def effective_size(self) -> float:
        """Number of rows of equal weight that would be as diverse.

        This is the Hill number of order 1/2, which a few heavy rows do not make as small as
        that of order 2, the effective size for a mean: Hill, M. O. (1973). Diversity and
        evenness: a unifying notation and its consequences. Ecology, 54(2), 427-432.
        """
        weights = self.weights
        if weights is None:
            return len(self)
        shares = weights / weights.max()
        return float(np.sqrt(shares).sum() ** 2 / shares.sum())

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the weighted mean and variance of each column of dense rows.

        Both are 0 where a column has no values.
        """
        weights = np.ones(len(self)) if self.weights is None else self.weights
        # By a power of two, which keeps sums finite and does not change a bit otherwise.
        weights = np.ldexp(weights, -np.frexp(weights.max())[1])
        mean, variance = np.zeros((2, self.n_encoded))
        total = weights.sum()
        if self.has_gaps:
            total = self.sums(weights)[1]
            total[total == 0] = 1
        with np.errstate(over="ignore", invalid="ignore"):
            for places, v in self.copied_blocks():
                if self.has_gaps:
                    v[np.isnan(v)] = 0
                mean += weights[places] @ v
            mean /= total
            for places, v in self.copied_blocks():
                v -= mean
                if self.has_gaps:
                    v[np.isnan(v)] = 0
                variance += weights[places] @ np.square(v)
            variance /= total
        return mean, variance

    def sums(self, weights=None, clip=None) -> tuple[np.ndarray, np.ndarray]:
        """Return the weighted sum of each encoded column, and the sum of its weights.

        Parameters
        ----------
        weights : ndarray of shape (n_rows,), default=None
            If None, they are the weights of the rows.
        clip : callable, default=None
            What encoded rows are clipped by first.
        """
        if weights is None:
            weights = np.ones(len(self)) if self.weights is None else self.weights
        total, observed = np.zeros((2, self.n_encoded))
        with np.errstate(over="ignore", invalid="ignore"):
            for places, v in self.copied_blocks():
                v = v if clip is None else clip(v)
                if self.has_gaps:
                    missing = np.isnan(v)
                    v = np.where(missing, 0, v)
                    observed += ~missing.T @ weights[places]
                else:
                    observed += weights[places].sum()
                total += v.T @ weights[places]
        return total, observed

    def gappy(self) -> np.ndarray:
        """Return the positions of the rows with gaps."""
        if not self.has_gaps:
            return np.empty(0, dtype=np.intp)
        blocks = self.read_blocks(self.n_features)
        return np.flatnonzero(
            np.concatenate([np.isnan(rows).any(axis=1) for _, rows in blocks])
        )

    def unseen(self) -> np.ndarray:
        """Return the indices of the features that have no values in any row."""
        seen = np.zeros(self.n_features, dtype=bool)
        for _, rows in self.read_blocks(self.n_features):
            seen |= ~np.isnan(rows).all(axis=0)
        return np.flatnonzero(~seen)

    # Selections of rows -------------------------------------------------------------------

    def _at(self, places):
        """Return the row indices into `X` of these positions in the data set."""
        return places if self.rows is None else self.rows[places]

    def select(self, rows: np.ndarray | None) -> Self:
        """Return a data set with these rows of `X`."""
        selected = copy.copy(self)
        selected.rows = rows
        return selected

    def weigh(self, row_weights: np.ndarray) -> Self:
        """Return a weighted data set of all rows of `X` whose weight is not 0.

        The values of the others do not count, whatever rows are selected of it.
        """
        if row_weights.all():
            weighted = self.select(None)
        else:
            weighted = self.select(np.flatnonzero(row_weights))
            weighted.counted = weighted.rows
            for name in ("summary", "has_gaps"):
                vars(weighted).pop(name, None)
        weighted.row_weights = row_weights
        return weighted

    def divide_heavy(self) -> Self:
        """Return a data set with copies of heavy rows, which share the weight of the row.

        Their weights are at most `LARGEST_WEIGHT`, or this many times the mean weight if
        that is more than 1. Copies of a row are evenly spread.
        """
        if self.row_weights is None:
            return self
        n, rows = len(self), self._at(np.arange(len(self)))
        largest = LARGEST_WEIGHT * max(1.0, self.mean_weight)
        n_copies = np.maximum(1, np.ceil(self.row_weights[rows] / largest)).astype(np.int64)
        if n_copies.max() == 1:
            return self
        places = np.repeat(np.arange(n), n_copies)
        number = np.arange(len(places)) - (np.cumsum(n_copies) - n_copies)[places]
        position = (number + (places + 0.5) / n) / n_copies[places]
        divided = self.select(rows[places[np.argsort(position, kind="stable")]])
        divided.row_weights = self.row_weights.copy()
        divided.row_weights[rows] /= n_copies
        return divided

    @property
    def with_known_labels(self) -> Self:
        """The rows with labels: with all if any have, else with some, or all rows."""
        if self.unlabelled is None:
            return self
        rows = self._at(np.arange(len(self)))
        unlabelled = self.unlabelled[rows]
        some, every = (~unlabelled).any(axis=1), (~unlabelled).all(axis=1)
        return self.select(rows[every if every.any() else some])

    def spread(self, size: int) -> Self:
        """Return a data set of at most `size` evenly spread rows."""
        return self.select(self._at(spread(len(self), size)))

    def shard(self, i: int, n: int) -> Self:
        """Return every `n`-th row, from row `i` on."""
        return self if n == 1 else self.select(self._at(np.arange(i, len(self), n)))

    def split(self, n: int, rng: np.random.Generator) -> tuple[Self, ...]:
        """Return two data sets: `n` rows drawn at random, and all other rows."""
        places = rng.permutation(len(self))
        return tuple(
            self.select(self._at(np.sort(part))) for part in (places[:n], places[n:])
        )

    @classmethod
    def stack(cls, data_sets) -> Self:
        """Return a data set with copies of the rows of several data sets."""
        arrays = []
        for data in data_sets:
            pages = data.mapped_pages()
            arrays.append(data.X if data.rows is None else data.X[data.rows])
            pages.have_read(len(data), scattered=data.rows is not None)
            pages.give_back()
        stack = sp.vstack if data_sets[0].is_sparse else np.concatenate
        weights = [data.weights for data in data_sets]
        stacked = cls(
            stack(arrays),
            row_weights=None if weights[0] is None else np.concatenate(weights),
        )
        return stacked.encode(data_sets[0].encoder)

    def encode(self, encoder) -> Self:
        """Return a data set whose rows are encoded when they are read.

        Parameters
        ----------
        encoder : object or None
            Follows the protocol of `Unencoded`, which None stands for. Sparse rows are
            never encoded.
        """
        if encoder is self.encoder or self.is_sparse:
            return self
        encoded = copy.copy(self)
        encoded.encoder = encoder
        return encoded

    def hide(self, feature: int) -> Self:
        """Return a data set in which a feature is missing in all encoded rows."""
        hiding = copy.copy(self)
        hiding.hidden, hiding.has_gaps = feature, True
        return hiding

    def mapped_pages(self) -> MappedPages:
        """Return a `MappedPages` instance for `X`."""
        return MappedPages(self.X)

    # Iteration ----------------------------------------------------------------------------

    def order(self, rng=None):
        """Return the order of the rows for `minibatches`, shuffled if `rng` is given."""
        if rng is None:
            return self.rows
        return rng.permutation(len(self) if self.rows is None else self.rows)

    def minibatches(self, batch_size, order=None):
        """Yield the rows of `X` of each minibatch, as slices or as pieces of `order`."""
        order = self.rows if order is None else order
        n_rows = len(self) if order is None else len(order)
        for start in range(0, n_rows, batch_size):
            rows = slice(start, min(start + batch_size, n_rows))
            yield rows if order is None else order[rows]

    def take_dense(self, rows, out):
        """Write encoded rows of dense `X` into the first rows of `out`; return these."""
        X = self.X
        out = out[: rows.stop - rows.start if isinstance(rows, slice) else len(rows)]
        if self.encoder is not None:
            self._encode(X[rows], out)
        elif isinstance(rows, slice):
            out[...] = X[rows]
        elif X.dtype == out.dtype and X.flags.c_contiguous and X.flags.aligned:
            X.take(rows, axis=0, out=out, mode="clip")  # "raise" would buffer
        else:  # X.take would copy all of X first
            out[...] = X[rows]
        return out

    def take_sparse(self, rows, dtype):
        """Return rows of sparse `X` as a CSR array with a writable copy of the values."""
        batch = self.X[rows]
        data = np.array(batch.data, dtype=dtype)
        return sp.csr_array((data, batch.indices, batch.indptr), shape=batch.shape)

    def copy_rows(self, dtype):
        """Return a copy of the encoded rows of a small data set, C-contiguous or CSR."""
        if self.is_sparse:
            rows = slice(0, len(self)) if self.rows is None else self.rows
            return self.take_sparse(rows, dtype)
        copied = np.empty((len(self), self.n_encoded), dtype)
        for places, rows in self.read_blocks(self.n_encoded):  # gives pages back
            copied[places] = self._encoded(rows, dtype)
        return copied

    def copied_blocks(self):
        """Yield ``(places, v)``: a slice of the rows, and a float64 copy of these."""
        for places, rows in self.read_blocks(self.n_encoded):
            yield places, self._encoded(rows, np.float64, copy=True)

    def blocks(self, model):
        """Yield ``(places, v)``: a slice of the rows, and these rows, dense or CSR.

        Rows are encoded, and cast to the dtype of the model. A block has at most ``16 *
        BLOCK_SIZE`` values, which is enough for fast matrix products and still bounds
        memory.
        """
        row_size = model.row_size(self.is_sparse, self.has_gaps)
        for places, rows in self.read_blocks(row_size, 16 * _kernels.BLOCK_SIZE):
            yield places, self._encoded(rows, model.dtype)

    def _encoded(self, rows, dtype, copy=False):
        """Return encoded rows in a dtype."""
        if self.encoder is None:
            with np.errstate(over="ignore"):
                return rows.astype(dtype, copy=copy)
        out = np.empty((len(rows), self.n_encoded), dtype)
        self._encode(rows, out)
        return out

    def _encode(self, rows, out):
        """Write encoded rows into `out`, with NaN in all columns of a missing cell."""
        if not self.has_gaps:
            self.encoder.encode(rows, out)
            return
        values = self.encoder.compact(rows, out.dtype)
        if self.hidden is not None:
            values[:, self.hidden] = np.nan
        self.encoder.expand_observed(values, out)

    def apply(self, function, model, *, n_columns=None, dtype=np.float64, threads=False):
        """Apply a function of the model to all rows, in bounded memory.

        Parameters
        ----------
        function : callable
            Called with a block of rows, in the dtype of the model.
        model : RBM
            The model that `function` evaluates.
        n_columns : int, default=None
            Number of values per row in the result. If None, the result is one-dimensional.
        dtype : dtype, default=float64
            Data type of the result.
        threads : bool, default=False
            Whether to process the blocks in threads, as many as set by
            `joblib.parallel_config`, each with a single BLAS thread. This pays off for
            functions that do more than multiply matrices.
        """
        shape = (len(self),) if n_columns is None else (len(self), n_columns)
        out = np.empty(shape, dtype)

        def fill(places, v):
            with np.errstate(over="ignore", invalid="ignore"):
                out[places] = function(v)
            if not np.isfinite(out[places]).all():
                largest = max(-self.summary.low, self.summary.high)
                raise ValueError(
                    f"X has values up to {largest:g}, which are too large and cause "
                    "numerical overflow. Scale X, for example with "
                    "sklearn.preprocessing.MinMaxScaler."
                )

        parallel = Parallel(require="sharedmem") if threads else None
        if parallel is None or parallel.n_jobs == 1:
            for block in self.blocks(model):
                fill(*block)
        else:  # the limit is global to the process, so calls must not overlap
            with _limiting.lock, threadpool_limits(1, user_api="blas"):
                parallel(delayed(fill)(*block) for block in self.blocks(model))
        return out

    def mean(self, function, model):
        """Return the weighted mean over all rows of a function as in `apply`."""
        return float(np.average(self.apply(function, model), weights=self.weights))


class _Limiting:
    """Lock that must be held while the number of BLAS threads is limited."""

    def __init__(self):
        self.renew()
        if hasattr(os, "register_at_fork"):
            # A forked child would wait forever for a lock held by a thread of its parent.
            os.register_at_fork(after_in_child=self.renew)

    def renew(self):
        self.lock = threading.Lock()


_limiting = _Limiting()


def _largest_eigenvalue(multiply, n, block_size=4, n_blocks=10):
    """Return the largest eigenvalue of a symmetric matrix with n rows.

    `multiply` multiplies it by a matrix. This is exact for few rows. For many, it is that
    in the space of powers of the matrix times a few vectors, a lower bound that is too low
    by about 1e-2 at most, if there is no gap between eigenvalues, and much closer
    otherwise: Golub, G. H. and Underwood, R. (1977). The block Lanczos method for computing
    eigenvalues. In Mathematical Software III, 361-377. Academic Press.
    """
    if n <= block_size * n_blocks:  # too few for threads of LAPACK, too
        return np.linalg.eigvalsh(multiply(np.eye(n)))[-1]
    block = generator(0).standard_normal((n, block_size))
    basis = image = np.empty((n, 0))
    for _ in range(n_blocks):
        norms = np.sqrt(np.square(block).sum(axis=0))
        block, left = np.linalg.qr(block - basis @ (basis.T @ block))
        block = block[:, np.abs(np.diag(left)) > 1e-6 * norms]  # without rounding errors
        basis, block = np.hstack([basis, block]), multiply(block)
        image = np.hstack([image, block])
    return np.linalg.eigvalsh(_kernels.product(basis.T, image, alone=True))[-1]


def spread(n, size):
    """Return at most `size` evenly spread indices out of ``range(n)``."""
    return np.linspace(0, n - 1, min(n, size)).astype(int)


def _observed(values):
    """Return values without NaN, as a vector if there is any."""
    if values.dtype.kind != "f" or not values.size or not np.isnan(values.min()):
        return values
    return values[~np.isnan(values)]


def dtype_for(model, X):
    """Return the dtype of results for `X`: its own if it is floating, else the model's."""
    return X.dtype if X.dtype.kind == "f" else model.dtype
