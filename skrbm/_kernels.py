"""Array primitives for the inner loops.

This module works on arrays and random bits only and does not depend on scikit-learn.
Results are written into arrays owned by the caller. Chains of elementwise operations run
block by block, so that their temporaries stay in cache.

`np.tanh` is used instead of `scipy.special.expit` because it is vectorized and much faster
in float32. Raw 32-bit words are used instead of `Generator.random` because they are cheaper
than float draws.
"""

from typing import NamedTuple

import numpy as np

from skrbm._compat.scipy import csc_matvecs, csr_matvecs

# Number of elements in a block of elementwise operations: 128 kB in float32, so that a few
# temporaries fit into a typical L2 cache.
BLOCK_SIZE = 1 << 15

# Number of features that are drawn together for all rows.
FEATURE_BLOCK = 1 << 10

# Number of elements in the work arrays of long sums: 16 MB in float32.
WORK_SIZE = 1 << 22


def row_blocks(n_rows, row_size, block_size=BLOCK_SIZE):
    """Yield slices of bounded size that cover `n_rows` rows of `row_size` elements.

    All slices but the last have an even number of rows. Each random word gives two draws,
    so the draws do not depend on the block size.
    """
    step = max(2, block_size // max(1, row_size) // 2 * 2)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def feature_blocks(n_features):
    """Yield slices of at most `FEATURE_BLOCK` features."""
    for start in range(0, n_features, FEATURE_BLOCK):
        yield slice(start, min(start + FEATURE_BLOCK, n_features))


def _flat(out):
    """Return a view of an array, into which results are to be written, as a vector."""
    if not out.flags.c_contiguous:
        raise ValueError(
            "The output must be C-contiguous, but the strides of this array of shape "
            f"{out.shape} are {out.strides}. Pass a contiguous array, and copy the result."
        )
    return out.reshape(-1)


class SparseRows(NamedTuple):
    """Arrays of a CSR matrix, with the two products needed for training.

    The checks and copies that scipy makes for each slice and product take longer than the
    product of a block.
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
        """Return the 0/1 matrix of a C-contiguous boolean array."""
        n_rows, n_columns = mask.shape
        flat = np.flatnonzero(mask)
        starts = np.arange(n_rows + 1) * n_columns
        indptr = np.searchsorted(flat, starts).astype(np.int32)
        flat -= np.repeat(starts[:-1], np.diff(indptr))
        data = np.ones(flat.size, dtype=dtype)
        return cls(indptr, flat.astype(np.int32), data, n_columns)

    def block(self, rows):
        """Return a slice of the rows, without copying the data."""
        return self._replace(indptr=self.indptr[rows.start : rows.stop + 1])

    def add_product(self, b, out):
        """Add the product with `b` in place to the C-contiguous array `out`."""
        shape = len(self.indptr) - 1, self.n_columns
        self._add(csr_matvecs, shape, b, out)

    def add_transposed_product(self, b, out):
        """Add the product of the transpose with `b` in place to the C-contiguous `out`."""
        shape = self.n_columns, len(self.indptr) - 1
        self._add(csc_matvecs, shape, b, out)

    def _add(self, matvecs, shape, b, out):
        arrays = self.indptr, self.indices, self.data
        matvecs(*shape, b.size // len(b), *arrays, b.reshape(-1), _flat(out))


# OpenBLAS uses a single thread for products with fewer multiplications than this.
_ONE_THREAD = 1 << 19
# Up to this number of multiplications, a second thread barely helps. On a busy machine it
# costs much time, because OpenBLAS threads spin even while one of them has no core.
_GAINS_NO_THREAD = 1 << 21


def product(a, b, out=None, alone=False):
    """Write ``a @ b`` into `out`, in pieces if a second thread would not help.

    With `alone`, it is always in pieces, for the few large products of computations that
    otherwise wake no threads of OpenBLAS. It uses a single thread for each piece. Limiting
    its number of threads would have the same effect, but for the whole process. Pieces
    whose number of columns is a multiple of 16 are the fastest.
    """
    out = np.empty((len(a), b.shape[1]), a.dtype) if out is None else out
    n_rows, n_columns = out.shape
    n_multiplications = a.size * n_columns
    small, large = n_multiplications < _ONE_THREAD, n_multiplications > _GAINS_NO_THREAD
    if small or (large and not alone):
        return np.matmul(a, b, out=out)
    height, width = n_rows, (_ONE_THREAD - 1) * n_columns // n_multiplications // 16 * 16
    if not width:
        width = min(n_columns, 64)
        height = max(1, (_ONE_THREAD - 1) // (a.shape[1] * width))
    for start in range(0, n_rows, height):
        rows = slice(start, start + height)
        for first in range(0, n_columns, width):
            columns = slice(first, first + width)
            np.matmul(a[rows], b[:, columns], out=out[rows, columns])
    return out


def product_with_transpose(a, b, out):
    """Write ``a @ b.T`` into `out`, for C-contiguous arrays.

    If `a` has few rows, computing ``b @ a.T`` is faster. With many rows, transposing the
    result would cost as much as is gained.
    """
    if len(a) < 48:
        out[...] = product(b, a.T, np.empty((len(b), len(a)), dtype=out.dtype)).T
        return out
    return product(a, b.T, out)


def logistic(x):
    """Compute ``1 / (1 + exp(-x))`` in place, as ``(1 + tanh(x / 2)) / 2``."""
    x *= 0.5
    np.tanh(x, out=x)
    x *= 0.5
    x += 0.5
    return x


def move_towards(x, target, share):
    """Add ``share * (target - x)`` to `x` in place; `x` must be C-contiguous."""
    x, target = _flat(x), target.reshape(-1)
    for start in range(0, x.size, BLOCK_SIZE):
        block = slice(start, start + BLOCK_SIZE)
        difference = target[block] - x[block]
        difference *= share
        x[block] += difference


def shrink(weights, parts, mu, lam):
    """Shrink each row of the weights in place by its part.

    Return what this takes from the inputs of the units of both sides, if the units of the
    other side are at their offsets.
    """
    of_visible, of_hidden = parts * (weights @ lam), (parts * mu) @ weights
    weights *= (1 - parts)[:, None]
    return of_visible, of_hidden


def softplus(x):
    """Return ``log(1 + exp(x))`` without overflow."""
    result = np.abs(x)
    np.negative(result, out=result)
    np.exp(result, out=result)
    np.log1p(result, out=result)
    result += np.maximum(x, 0)
    return result


def softplus_changes(x, before, after):
    """Return the sum of ``softplus(after * x) - softplus(before * x)`` over each row.

    It is computed as ::

        (after - before) max(x, 0) + log((1 + exp(-after |x|)) / (1 + exp(-before |x|)))
    """
    linear = np.maximum(x, 0).sum(axis=1)
    size = np.abs(x)
    ratio = np.exp(size * -after)
    ratio += 1
    size *= -before
    np.exp(size, out=size)
    size += 1
    ratio /= size
    np.log(ratio, out=ratio)
    change = np.asarray(after - before, dtype=np.float64).reshape(-1)
    return change * linear + ratio.sum(axis=1)


def log_sums(x):
    """Return ``log sum exp(x)`` over the last axis, of finite numbers.

    For small arrays, the checks of `scipy.special.logsumexp` take ten times as long.
    """
    largest = x.max(axis=-1)
    weights = np.exp(x - largest[..., None])
    return np.log(weights.sum(axis=-1)) + largest


def _just_above(x):
    """Return the next float above `x`, for each float dtype."""
    types = np.float32, np.float64
    return {np.dtype(kind): np.nextafter(kind(x), kind(np.inf)) for kind in types}


# In float32 a random integer may be rounded up to 2^31, so the threshold for probability 1
# must be above that.
_SCALE = _just_above(2.0**31)
_DOUBLE_SCALE = _just_above(2.0**32)


def _random_int32(n, rng):
    """Draw `n` random 32-bit integers, two from each 64-bit word of `rng`."""
    return rng.bit_generator.random_raw((n + 1) // 2).view(np.int32)[:n]


def bernoulli(mean, rng, out):
    """Draw each element of `out` as 1 with probability `mean`, else 0.

    `out` must be C-contiguous and have the shape of `mean`. They may be the same array.
    Probabilities are resolved to 32 bits in float64 and to 24 bits in float32.
    """
    flat_mean, flat_out = mean.reshape(-1), _flat(out)
    for start in range(0, mean.size, BLOCK_SIZE):
        block = slice(start, start + BLOCK_SIZE)
        threshold = flat_mean[block] * _DOUBLE_SCALE[mean.dtype]
        threshold -= 2.0**31
        draw = _random_int32(threshold.size, rng).astype(mean.dtype)
        np.less(draw, threshold, out=flat_out[block])
    return out


def bernoulli_from_log_odds(x, bias, rng, out):
    """Draw each element of `out` as 1 with probability ``logistic(x + bias)``, else 0.

    `x`, of shape (n_rows, len(bias)), is overwritten. `out` may be `x` itself or a boolean
    array. Features are drawn block by block, so drawing each block in a separate call gives
    the same states.
    """
    for features in feature_blocks(len(bias)):
        for rows in row_blocks(len(x), features.stop - features.start):
            block = x[rows, features]
            block += bias[features]
            block *= 0.5
            bernoulli_from_half_log_odds(block, rng, out=out[rows, features])
    return out


def bernoulli_from_half_log_odds(x, rng, out):
    """Draw each element of `out` as 1 with probability ``logistic(2 x)``, else 0.

    `x` is overwritten. For u uniform on [0, 1), ``u < logistic(2 x)`` is equivalent to
    ``2 u - 1 < tanh(x)``, so the probability itself is not computed.
    """
    np.tanh(x, out=x)
    x *= _SCALE[x.dtype]
    draw = _random_int32(x.size, rng).astype(x.dtype)
    return np.less(draw.reshape(x.shape), x, out=out)


def _cumulate(x, starts):
    """Return the cumulative sums of each row within each group of columns, as float64."""
    sums = np.cumsum(x, axis=1, dtype=np.float64)
    before, sizes = sums[:, starts[1:-1] - 1], np.diff(starts)
    sums[:, sizes[0] :] -= np.repeat(before, sizes[1:], axis=1)
    return sums


def _state_weights(total, starts, thermometer):
    """Return the weights of the states of each group, the largest 1, and their starts.

    `total` is overwritten. Unless groups are thermometers, the weights are written there.
    """
    if thermometer:
        total = np.insert(_cumulate(total, starts), starts[:-1], 0, axis=1)
        starts = starts + np.arange(len(starts))
    largest = np.maximum.reduceat(total, starts[:-1], axis=1)
    total -= np.repeat(largest, np.diff(starts), axis=1)
    return np.exp(total, out=total), starts


@np.errstate(over="ignore", invalid="ignore")
def group_means(total, starts, thermometer):
    """Overwrite the inputs of groups of units with the means of the units.

    For groups, and the arguments, see `_binary_rows.groups`. Means of thermometers have an
    absolute error like that of `logistic`, even where they are tiny.
    """
    for rows in row_blocks(*total.shape):
        weights, states = _state_weights(total[rows], starts, thermometer)
        if thermometer:
            sums, last = _cumulate(weights, states), states[1:] - 1
            whole = np.repeat(sums[:, last], np.diff(states), axis=1)
            total[rows] = np.delete((whole - sums) / whole, last, axis=1)
        else:
            sums = np.add.reduceat(weights, states[:-1], axis=1)
            weights /= np.repeat(sums, np.diff(states), axis=1)
    return total


@np.errstate(over="ignore", invalid="ignore")
def draw_groups(total, starts, thermometer, rng, out):
    """Draw states of groups of units, given their inputs, which are overwritten.

    For groups, and the first arguments, see `_binary_rows.groups`. `out` may be `total`
    itself, or have another dtype. Probabilities are resolved to 32 bits. A group whose
    inputs are not finite is in any of its states.
    """
    sizes = np.diff(starts)
    places = np.arange(starts[-1]) - np.repeat(starts[:-1], sizes)
    for rows in row_blocks(*total.shape):
        weights, states = _state_weights(total[rows], starts, thermometer)
        sums = _cumulate(weights, states)
        whole = sums[:, states[1:] - 1]
        u = _random_int32(whole.size, rng) * 2.0**-32 + 0.5
        least = np.repeat(u.reshape(whole.shape) * whole, np.diff(states), axis=1)
        passed = np.add.reduceat(~(sums > least), states[:-1], axis=1, dtype=np.intp)
        drawn = np.repeat(np.minimum(passed, np.diff(states) - 1), sizes, axis=1)
        out[rows] = places < drawn if thermometer else places == drawn
    return out
