"""The array primitives that hot loops are made of.

This room knows arrays, random bits and nothing else: no energy, no training, no
scikit-learn. Everything is written into arrays that the caller owns, and chains of
elementwise operations run block by block, so that their temporaries stay in cache.

Why not `scipy.special.expit` and `Generator.random`: in float32 `np.tanh` is vectorised
and about ten times faster than `expit`, and raw 32-bit words cost half of a float draw.
"""

from typing import NamedTuple

import numpy as np

from skrbm._compat.scipy import csc_matvecs, csr_matvecs

# Elements in a block of an elementwise chain: 128 kB of float32, so that a few temporaries
# fit a common L2 cache.
BLOCK_SIZE = 1 << 15

# Features that are drawn together, for all rows, before the next ones.
FEATURE_BLOCK = 1 << 10

# Elements in an array that a long sum works on: 16 MB of float32.
WORK_SIZE = 1 << 22


def row_blocks(n_rows, row_size, block_size=BLOCK_SIZE):
    """Cut `n_rows` rows of `row_size` elements into slices of bounded size.

    All but the last have an even number of rows: blocks of any size then use up a stream of
    random words, two draws to the word, in the same way.
    """
    step = max(2, block_size // max(1, row_size) // 2 * 2)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def feature_blocks(n_features):
    """Cut features into slices of `FEATURE_BLOCK`."""
    for start in range(0, n_features, FEATURE_BLOCK):
        yield slice(start, min(start + FEATURE_BLOCK, n_features))


class SparseRows(NamedTuple):
    """The arrays of a CSR matrix, with the two products that training needs.

    scipy's own objects check and copy more at each slice and product than the product of
    a block takes.
    """

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray
    n_columns: int

    @classmethod
    def from_csr(cls, a):
        return cls(a.indptr, a.indices, a.data, a.shape[1])

    @classmethod
    def from_bool(cls, mask, dtype):
        """Take the 0/1 matrix of a C-contiguous boolean array."""
        n_rows, n_columns = mask.shape
        flat = np.flatnonzero(mask)
        starts = np.arange(n_rows + 1) * n_columns
        indptr = np.searchsorted(flat, starts).astype(np.int32)
        flat -= np.repeat(starts[:-1], np.diff(indptr))
        data = np.ones(flat.size, dtype=dtype)
        return cls(indptr, flat.astype(np.int32), data, n_columns)

    def block(self, rows):
        """Return some of the rows, sharing the arrays."""
        return self._replace(indptr=self.indptr[rows.start : rows.stop + 1])

    def add_product(self, b, out):
        """Add the product with `b` to the C-contiguous array `out`, in place."""
        shape = len(self.indptr) - 1, self.n_columns
        self._add(csr_matvecs, shape, b, out)

    def add_transposed_product(self, b, out):
        """Add the product of the transpose with `b` to `out`, in place."""
        shape = self.n_columns, len(self.indptr) - 1
        self._add(csc_matvecs, shape, b, out)

    def _add(self, matvecs, shape, b, out):
        arrays = self.indptr, self.indices, self.data
        matvecs(*shape, b.size // len(b), *arrays, b.reshape(-1), out.reshape(-1))


# OpenBLAS gives a product one thread below so many multiplications, whatever it may have.
_ONE_THREAD = 1 << 19
# Up to so many a second thread gains next to nothing, and loses much beside other work: the
# threads wait actively for each other, also while one of them has no core.
_GAINS_NO_THREAD = 1 << 22


def product(a, b, out):
    """Write ``a @ b`` into `out`, piece by piece if it gains nothing from a second thread.

    A limit on the threads of the BLAS would do as well, but would be one for the whole
    process. Pieces of 16, 32 .. columns are the fastest.
    """
    n_rows, n_columns = out.shape
    n_multiplications = a.size * n_columns
    if not _ONE_THREAD <= n_multiplications <= _GAINS_NO_THREAD:
        return np.matmul(a, b, out=out)
    step = (_ONE_THREAD - 1) * n_columns // n_multiplications // 16 * 16
    if step:
        for start in range(0, n_columns, step):
            columns = slice(start, start + step)
            np.matmul(a, b[:, columns], out=out[:, columns])
    else:
        step = max(1, (_ONE_THREAD - 1) * n_rows // n_multiplications)
        for start in range(0, n_rows, step):
            rows = slice(start, start + step)
            np.matmul(a[rows], b, out=out[rows])
    return out


def product_with_transpose(a, b, out):
    """Write ``a @ b.T`` into `out`, for C-contiguous arrays.

    For few rows matrix libraries take half as long for ``b @ a.T``; for many, that is lost
    again in transposing the result.
    """
    if len(a) < 48:
        out[...] = product(b, a.T, np.empty((len(b), len(a)), dtype=out.dtype)).T
        return out
    return product(a, b.T, out)


def logistic(x):
    """Overwrite `x` with ``1 / (1 + exp(-x))``, computed as ``(1 + tanh(x / 2)) / 2``."""
    x *= 0.5
    np.tanh(x, out=x)
    x *= 0.5
    x += 0.5
    return x


def move_towards(x, target, share):
    """Add to `x` that share of its difference from `target`; both C-contiguous."""
    x, target = x.reshape(-1), target.reshape(-1)
    for start in range(0, x.size, BLOCK_SIZE):
        block = slice(start, start + BLOCK_SIZE)
        difference = target[block] - x[block]
        difference *= share
        x[block] += difference


def softplus(x):
    """Return ``log(1 + exp(x))`` without overflow."""
    result = np.abs(x)
    np.negative(result, out=result)
    np.exp(result, out=result)
    np.log1p(result, out=result)
    result += np.maximum(x, 0)
    return result


def _just_above(x):
    """Return the next larger number, for each float type."""
    types = np.float32, np.float64
    return {np.dtype(kind): np.nextafter(kind(x), kind(np.inf)) for kind in types}


# In float32 a random integer may be rounded up to 2^31, and what is certain to be drawn
# needs a threshold above that.
_SCALE = _just_above(2.0**31)
_DOUBLE_SCALE = _just_above(2.0**32)


def _random_int32(n, rng):
    """Draw `n` integers of 32 random bits, two from each 64-bit word of `rng`."""
    return rng.bit_generator.random_raw((n + 1) // 2).view(np.int32)[:n]


def bernoulli(mean, rng, out):
    """Write into `out` a 1 with probability `mean`, else 0, for every element.

    `mean` and `out` are C-contiguous and of one shape; they may be the same array. The
    resolution is that of 32 random bits, or in float32 of the 24 it can hold.
    """
    flat_mean, flat_out = mean.reshape(-1), out.reshape(-1)
    for start in range(0, mean.size, BLOCK_SIZE):
        block = slice(start, start + BLOCK_SIZE)
        threshold = flat_mean[block] * _DOUBLE_SCALE[mean.dtype]
        threshold -= 2.0**31
        draw = _random_int32(threshold.size, rng).astype(mean.dtype)
        np.less(draw, threshold, out=flat_out[block])
    return out


def bernoulli_from_log_odds(x, bias, rng, out):
    """Write into `out` a 1 with probability ``logistic(x + bias)``, else 0.

    `x`, of shape (n_rows, len(bias)), is overwritten; `out` may be `x`, or an array of
    bool. Blocks of features are drawn one after the other, so that drawing them one at a
    time comes to the same.
    """
    for features in feature_blocks(len(bias)):
        for rows in row_blocks(len(x), features.stop - features.start):
            block = x[rows, features]
            block += bias[features]
            block *= 0.5
            bernoulli_from_half_log_odds(block, rng, out=out[rows, features])
    return out


def bernoulli_from_half_log_odds(x, rng, out):
    """Write into `out` a 1 with probability ``logistic(2 x)``, else 0; overwrites `x`.

    ``u < logistic(2 x)`` for u uniform on [0, 1) is ``2 u - 1 < tanh(x)``: the probability
    itself is never formed.
    """
    np.tanh(x, out=x)
    x *= _SCALE[x.dtype]
    draw = _random_int32(x.size, rng).astype(x.dtype)
    return np.less(draw.reshape(x.shape), x, out=out)
