"""Half-steps on rows of 0 and 1, compiled: sums of rows of the weights, without products.

A row of states is stored as the list of its units that are on. The functions of this module
need the compiled core, see `skrbm._native`, except for those of groups and for sums of
logarithms. Where there is none, `lists` returns None, and callers multiply matrices
instead. States are arrays of uint8.

Visible rows may have other values after the bits, the *rest*, in an array. There are few of
them, so that their products with the weights are small. The hidden units receive these as
biases of each row.

Draws use streams of random numbers of their own, one for each tile of units, seeded from a
key that is drawn from the caller's generator. Results therefore do not depend on the number
of threads or on the instruction set.
"""

import math
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from skrbm import _kernels
from skrbm._compat.openmp import n_threads_allowed
from skrbm._native import core
from skrbm._random import Repeated

# Rows of aligned arrays start at multiples of this number of elements and of bytes.
_LANES = 16
_ALIGNMENT = 64
_NO_STOP = np.array([1 << 62])
_NO_KEYS = None, None
# The core may write a few entries more than it lists.
_SLACK = 8
# With less to do for each thread than a matrix product of this many multiplications,
# waking another thread takes longer.
_WORK_PER_THREAD = 1 << 22
# A unit of a group takes as long as this number of multiplications.
_WORK_PER_GROUPED_UNIT = 16


def _stride(n_columns):
    """Return the number of elements from the start of an aligned row to that of the next.

    It is not a multiple of 64, because the same columns of many rows would then compete for
    few places in a cache.
    """
    n_blocks = n_columns // _LANES + 1
    return (n_blocks + (n_blocks % 4 == 0)) * _LANES


def aligned_zeros(shape, dtype):
    """Return zeros whose rows are aligned, and padded in memory with zeros.

    Rows are always padded, so that these arrays can be told from others.
    """
    *n_rows, n_columns = shape
    stride = _stride(n_columns)
    n_bytes = math.prod(n_rows) * stride * np.dtype(dtype).itemsize
    memory = np.zeros(n_bytes + _ALIGNMENT, dtype=np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    padded = memory[start : start + n_bytes].view(dtype).reshape(*n_rows, stride)
    return padded[..., :n_columns]


def in_order(array):
    """Return an array, or a copy that is C-contiguous and at addresses for its type."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.array(array, order="C")


def is_aligned(weights):
    """Return whether the rows of a two-dimensional array are aligned."""
    stride = _stride(weights.shape[1])
    strides = stride * weights.itemsize, weights.itemsize
    address = weights.__array_interface__["data"][0]
    return weights.strides == strides and address % _ALIGNMENT == 0


def align(weights):
    """Return a copy whose rows are aligned."""
    aligned = aligned_zeros(weights.shape, weights.dtype)
    aligned[...] = weights
    return aligned


def with_padding(array):
    """Return an aligned array with its padding, and any other array as it is."""
    if array.flags.c_contiguous:
        return array
    shape = len(array), array.strides[0] // array.itemsize
    return np.lib.stride_tricks.as_strided(array, shape)


class Lists(NamedTuple):
    """Lists of the units that are on, as in a CSR matrix without its data."""

    indptr: np.ndarray
    indices: np.ndarray
    n_units: int

    def rows(self, start, stop):
        """Return some of the rows; the indices are shared."""
        return Lists(self.indptr[start : stop + 1], self.indices, self.n_units)


def empty_lists(n_rows, n_units):
    """Return lists with room for rows, in which all units may be on."""
    indices = np.empty(n_rows * n_units + _SLACK, dtype=np.int32)
    return Lists(np.zeros(n_rows + 1, dtype=np.int64), indices, n_units)


def list_rows(x, out):
    """List the rows of `x` in lists of as many rows; return whether all are binary.

    Indices are written from where ``out.indptr[0]`` points to.
    """
    return core.list_rows(x, out.indptr, out.indices)


def lists(x):
    """Return lists of binary rows, dense or CSR; None of others, or without a core."""
    if core is None:
        return None
    if sp.issparse(x):
        if not x.data.all() or not x.has_canonical_format:
            x = x.copy()
            x.sum_duplicates()
            x.eliminate_zeros()
        if not (x.data == 1).all():
            return None
        indices = in_order(np.asarray(x.indices, np.int32))
        return Lists(x.indptr.astype(np.int64), indices, x.shape[1])
    if x.dtype == bool:
        x = x.view(np.uint8)
    result = empty_lists(*x.shape)
    return result if list_rows(in_order(x), result) else None


def draw_rows(x, rng):
    """Replace values, taken as probabilities of a 1, with draws of 0 or 1, in place.

    `x` are dense or CSR rows of the dtype of a model. Values are clipped to [0, 1]. Dense
    and sparse rows become the same states.
    """
    if sp.issparse(x):
        values, indptr = x.data, x.indptr.astype(np.int64)
    else:
        values, indptr = x.reshape(-1), np.arange(len(x) + 1) * x.shape[1]
    states = np.empty(values.shape, dtype=np.uint8)
    core.draw_rows(values, indptr, draw_key(rng).words, states)
    values[...] = states


class Keys(NamedTuple):
    """Keys for rows: words, and the number of rows up to which each of them is for.

    Pairs (slice of rows, generator) are for draws that the core does not make itself.
    """

    words: np.ndarray
    stops: np.ndarray
    generators: list


def draw_key(rng):
    """Return a key for all rows.

    If `rng` is `Repeated`, there is the same one for each of its blocks.
    """
    generators = [(slice(None), rng)]
    if isinstance(rng, Repeated):
        words = np.full(rng.n_blocks, rng.random_raw(), dtype=np.uint64)
        stops = rng.n_rows * np.arange(1, rng.n_blocks + 1)
        return Keys(words, stops, generators)
    word = np.array([rng.bit_generator.random_raw()], dtype=np.uint64)
    return Keys(word, _NO_STOP, generators)


def draw_keys(generators):
    """Return keys for the rows of each of these pairs."""
    stops = [_NO_STOP[0] if rows.stop is None else rows.stop for rows, _ in generators]
    words = [rng.bit_generator.random_raw() for _, rng in generators]
    return Keys(np.array(words, np.uint64), np.array(stops, np.int64), generators)


def _bits(n_rows, n_units):
    """Return memory for a bit for each unit of each row, in words."""
    return np.empty(n_rows * -(-n_units // 32), np.uint32)


def _n_threads(n_rows, n_per_row):
    n_multiplications = n_rows * n_per_row
    if n_multiplications < 2 * _WORK_PER_THREAD:
        return 1
    return min(n_threads_allowed(), n_multiplications // _WORK_PER_THREAD)


def hidden(
    rows,
    weights,
    bias,
    *,
    rest=None,
    scale=None,
    keys=None,
    total=None,
    mean=None,
    states=None,
):
    """Compute the hidden units given visible rows.

    Parameters
    ----------
    rows : Lists
    weights : ndarray of shape (n_features, n_components)
        Aligned.
    bias : ndarray of shape (n_components,) or (n_rows, n_components)
    rest : ndarray of shape (n_rows, n_features - n_units), default=None
        Values of the features after those that are listed.
    scale : ndarray of shape (n_rows,), default=None
        Inverse temperatures, by which means and states differ from those of the model.
    keys : Keys, default=None
        Needed for draws.
    total : ndarray of shape (n_rows, n_components), default=None
        If given, set to ``v W + c``.
    mean : ndarray of shape (n_rows, n_components), default=None
        If given, set to ``logistic(scale * (v W + c))``.
    states : uint8 ndarray of shape (n, n_components), default=None
        If given, set to draws of the last `n` rows.
    """
    if rest is not None:
        of_rows = np.empty((len(rest), weights.shape[1]), weights.dtype)
        bias = _kernels.product(rest, weights[rows.n_units :], of_rows) + bias
        weights = weights[: rows.n_units]
    n_rows = len(rows.indptr) - 1
    core.hidden(
        rows.indptr,
        rows.indices,
        weights,
        bias,
        scale,
        *(keys or _NO_KEYS)[:2],
        total,
        mean,
        states,
        _bits(n_rows, len(weights)),
        _n_threads(n_rows, weights.size),
    )


def draw_hidden(total, weights, scale, keys):
    """Return hidden states drawn from ``logistic(scale * total)``."""
    states = np.empty(total.shape, dtype=np.uint8)
    rows = empty_lists(len(total), 0)
    hidden(rows, weights, total, scale=scale, keys=keys, states=states)
    return states


class Steps:
    """Steps of training on rows of independent bits, many of them in a single call.

    They do what `Learner` and the solvers do, with the same results.

    Parameters
    ----------
    X : {ndarray, CSR array} of shape (n_rows, n_features)
        All rows, see `suit`.
    row_weights : float64 ndarray of shape (n_rows,) or None
    binarize : bool
        Whether values are probabilities of states, which are drawn in each step.
    batch_size, n_gibbs_steps : int
    chains : ndarray of shape (n_chains, n_components)
    """

    def __init__(self, X, row_weights, binarize, batch_size, n_gibbs_steps, chains):
        if sp.issparse(X):
            self._rows = None, X.indptr.astype(np.int64), X.indices
        else:
            self._rows = X, None, None
        self._row_weights = row_weights
        self._numbers = np.array(
            [batch_size, n_gibbs_steps, binarize, 0, _WORK_PER_THREAD], dtype=np.int64
        )
        self._n_keys = 2 * n_gibbs_steps - 1 + binarize
        self._n_threads = n_threads_allowed()
        n_rows = batch_size + max(batch_size, len(chains))
        shape = X.shape[1], chains.shape[1], n_rows, self._n_threads
        n_bytes = core.size_for_steps(*shape, chains.itemsize)
        self._work = aligned_zeros((n_bytes,), np.uint8)

    @staticmethod
    def suit(X, binarize, dtype):
        """Return whether these rows can be read by the core, as they are in memory."""
        if sp.issparse(X):
            return not binarize and X.indices.dtype == np.int32 and (X.data == 1).all()
        contiguous = X.shape[1] < 2 or X.strides[1] == X.itemsize
        types = [dtype] if binarize else [bool, np.uint8, np.float32, np.float64]
        native = X.dtype in types and X.dtype.isnative
        return native and contiguous and X.flags.aligned

    def take(self, batches, schedule, solver, model, offsets, average, rng):
        """Take a step for each minibatch.

        Parameters
        ----------
        batches : list of slices or of ndarrays of int
            The rows of each minibatch.
        schedule : float64 ndarray of shape (n_steps, 4)
            For each step, the rate, the part by which the weights shrink, the share of the
            model in the average, and the rate at which the hidden offset follows the mean.
        solver : Solver
            The chains and, if these do not start at the rows, the `means` to remember.
        model, average : RBM
            Aligned, changed in place. There may be no average.
        offsets : tuple of ndarrays
            Of the visible and of the hidden units. Those of the hidden units change.
        rng : Generator
        """
        rows = [np.arange(b.start, b.stop) if isinstance(b, slice) else b for b in batches]
        stops = np.cumsum([len(row) for row in rows])
        if self._row_weights is None:
            totals = [len(row) for row in rows]
        else:
            totals = [self._row_weights[row].sum() for row in rows]
        self._numbers[3] = solver.n_means
        n_keys = self._n_keys + (solver.means is None)
        core.steps(
            *self._rows,
            self._row_weights,
            np.concatenate(rows),
            stops,
            np.column_stack([schedule, totals]),
            self._numbers,
            rng.bit_generator.random_raw(len(rows) * n_keys),
            solver.chains,
            solver.means,
            *model.arrays,
            *offsets,
            *((None, None, None) if average is None else average.arrays),
            self._work,
            self._n_threads,
        )


def work_space(weights, n_threads=None):
    """Return the work space of `visible`, by default for all threads that there may be."""
    n_threads = n_threads_allowed() if n_threads is None else n_threads
    width = weights.strides[0] // weights.itemsize
    return aligned_zeros((n_threads, width * _LANES), weights.dtype)


def visible(
    rows,
    weights,
    bias,
    *,
    base=None,
    scale=None,
    keys=None,
    total=None,
    mean=None,
    states=None,
    work=None,
):
    """Compute the visible units given hidden rows.

    Parameters
    ----------
    rows : Lists
    weights : ndarray of shape (n_features, n_components)
        Aligned.
    bias : ndarray of shape (n_features,)
    base : ndarray of shape (n_features,), default=None
    scale : ndarray of shape (n_rows,), default=None
        The log-odds are ``base + scale * (h W' + b)``.
    keys : Keys, default=None
        Needed for draws.
    total : ndarray of shape (n_rows, n_features), default=None
        If given, set to ``h W' + b``.
    mean : ndarray of shape (n_rows, n_features), default=None
        If given, set to the means.
    states : uint8 ndarray of shape (n_rows, n_features), default=None
        If given, set to draws.
    work : ndarray, default=None
        The `work_space`. None allocates it.
    """
    n_rows = len(rows.indptr) - 1
    n_threads = _n_threads(n_rows, weights.size)
    work = work_space(weights, n_threads) if work is None else work
    core.visible(
        rows.indptr,
        rows.indices,
        weights,
        bias,
        base,
        scale,
        *(keys or _NO_KEYS)[:2],
        total,
        mean,
        states,
        work,
        _bits(n_rows, weights.shape[1]),
        n_threads,
    )


def softplus_changes(total, before, after):
    """Return the sum of ``softplus(after * x) - softplus(before * x)`` over each row x.

    Parameters
    ----------
    total : ndarray of shape (n_rows, n_units)
        Rows must be contiguous.
    before, after : float or ndarray of shape (n_rows, 1)
        Inverse temperatures.

    Returns
    -------
    sums : float64 ndarray of shape (n_rows,)
    """
    if core is None:
        return _kernels.softplus_changes(total, before, after)
    betas, sums = np.empty((2, len(total)), total.dtype), np.empty(len(total))
    for row, beta in zip(betas, (before, after), strict=True):
        row[...] = np.asarray(beta).reshape(-1)
    n_threads = _n_threads(len(total), total.shape[1] * _WORK_PER_GROUPED_UNIT)
    core.changes(total, *betas, sums, n_threads)
    return sums


def scores(states, total, weights, bias):
    """Return the sum over bits of the log-probability of each given all other units.

    Parameters
    ----------
    states : ndarray of shape (n_rows, n_units)
        The bits as uint8, where values above 1 leave one out, or in the dtype of `weights`,
        where others than those between 0 and 1 do. Log-probabilities of 1 and 0 are
        averaged by such a value, which is part of the hidden inputs.
    total : ndarray of shape (n_rows, n_components)
        Hidden input of the complete rows, C-contiguous.
    weights : ndarray of shape (n_units, n_components)
        Aligned; those of the bits.
    bias : ndarray of shape (n_units,)
        Biases of the bits.

    Returns
    -------
    scores : float64 ndarray of shape (n_rows,)
        NaN where the exp of a weight would overflow.
    """
    n_rows, n_units = states.shape
    n_threads = _n_threads(n_rows, weights.size)
    width = -(-weights.shape[1] // _LANES) * _LANES
    logs = np.empty((n_rows, -(-n_units // _LANES)))
    core.scores(
        total,
        weights,
        bias,
        *((states, None) if states.dtype == np.uint8 else (None, states)),
        np.empty((2 * n_rows, weights.shape[1]), total.dtype),
        aligned_zeros((n_threads, 2 * width * _LANES), total.dtype),
        logs,
        n_threads,
    )
    return -logs.sum(axis=1)


def groups(
    total,
    starts,
    *,
    thermometer,
    base=None,
    scale=None,
    keys=None,
    mean=None,
    states=None,
):
    """Compute groups of visible units, some of whose states are impossible.

    In a one-hot group, one unit is on, and the log-odds of two units are the difference of
    their inputs. In a thermometer, the units that are on are the first ones, and the
    log-odds of having one more of them are the input of that unit. So a thermometer of one
    unit is an independent bit.

    Parameters
    ----------
    total : ndarray of shape (n_rows, n_units)
        Inputs of the units plus their biases. As in `mean` and `states`, rows must be
        contiguous, but there may be gaps between them.
    starts : int64 ndarray of shape (n_groups + 1,)
        The first unit of each group, and `n_units`.
    thermometer : bool
        Whether groups are thermometers. Otherwise, they are one-hot.
    base : ndarray of shape (n_units,), default=None
    scale : ndarray of shape (n_rows,), default=None
        The inputs are ``base + scale * total``.
    keys : Keys, default=None
        Needed for draws.
    mean : ndarray of shape (n_rows, n_units), default=None
        If given, set to the means. It may be `total`.
    states : uint8 ndarray of shape (n_rows, n_units), default=None
        If given, set to draws.
    """
    n_rows, n_units = total.shape
    n_threads = _n_threads(n_rows, n_units * _WORK_PER_GROUPED_UNIT)
    work = np.empty((n_threads, 2 * _LANES * (n_units + _LANES)), total.dtype)
    half_step = core.thermometer if thermometer else core.one_hot
    half_step(
        total,
        starts,
        base,
        scale,
        *(keys or _NO_KEYS)[:2],
        mean,
        states,
        work,
        n_threads,
    )


def group_means(total, starts, thermometer):
    """Overwrite the inputs of groups of units with the means of the units."""
    if core is None:
        return _kernels.group_means(total, starts, thermometer)
    groups(total, starts, thermometer=thermometer, mean=total)
    return total


def draw_groups(total, starts, thermometer, rng, out):
    """Draw states of groups of units, given their inputs, which may be overwritten.

    `out` may be `total` itself, or have another dtype.
    """
    if core is None:
        return _kernels.draw_groups(total, starts, thermometer, rng, out)
    states = out if out.dtype == np.uint8 else np.empty(out.shape, np.uint8)
    groups(total, starts, thermometer=thermometer, keys=draw_key(rng), states=states)
    if states is not out:
        out[...] = states
    return out


def softplus_sums(x, bias=None):
    """Return the sums of ``log(1 + exp(x + bias))`` over each row, as float64."""
    if core is None:
        return _kernels.softplus(x if bias is None else x + bias).sum(axis=1, dtype=float)
    sums = np.empty(len(x))
    core.softplus_sums(x, bias, sums)
    return sums


def log_mean_exps(x):
    """Return ``log(mean(exp(x)))`` of each row, as float64."""
    if core is None:
        return _kernels.log_sums(x) - np.log(x.shape[1])
    result = np.empty(len(x))
    core.log_mean_exps(x, None, result)
    return result


def combine(rows, coefficients):
    """Return the sum of rows, each times its coefficient, without BLAS."""
    total = np.empty(rows.shape[1], dtype=rows.dtype)
    core.combine(rows, coefficients, total)
    return total


def shrink(weights, parts, mu, lam):
    """Shrink each row of the weights in place by its part.

    Return what this takes from the inputs of the units of both sides, if the units of the
    other side are at their offsets.
    """
    of_visible, of_hidden = np.empty_like(mu), np.empty_like(lam)
    core.shrink(weights, parts, mu, lam, of_visible, of_hidden)
    return of_visible, of_hidden


class Update:
    """The centered gradient of rows that begin with bits, with its work space.

    Parameters
    ----------
    lists : Lists
        With room for the largest number of rows.
    model : RBM
    """

    def __init__(self, lists, model):
        n_rows, n_components = len(lists.indptr) - 1, len(model.hidden_bias)
        self._starts = np.empty(lists.n_units + 1, dtype=np.int64)
        self._rows = np.empty(len(lists.indices), dtype=np.int32)
        self._dv = np.empty(lists.n_units, dtype=model.dtype)
        self._of_rows = np.empty(n_rows, dtype=model.dtype)
        self._bits = _bits(lists.n_units, n_rows)
        self._vectors = aligned_zeros((3, n_components), model.dtype)
        self._dh, self._lam, _ = self._vectors

    def weigh(self, hidden, shares):
        """Multiply hidden rows by their shares."""
        self._hidden, self._shares = hidden, shares
        core.weigh(hidden, shares, self._dh)

    def add_to(self, model, lists, offsets, rest=None):
        """Add the gradient to the parameters of `model`, in place.

        `rest` are the values after the bits, as for `hidden`.
        """
        mu, self._lam[...] = offsets
        n, weights = lists.n_units, model.align().weights
        core.update(
            lists.indptr,
            lists.indices,
            self._starts,
            self._rows,
            weights[:n],
            model.visible.bias[:n],
            model.hidden_bias,
            self._hidden,
            self._shares,
            mu[:n],
            self._vectors,
            self._dv,
            self._of_rows,
            self._bits,
            _n_threads(len(lists.indptr) - 1, weights.size),
        )
        if rest is not None:
            self._add_to_rest(weights[n:], model.visible.rest, rest)
        if weights is not model.weights:
            model.weights[...] = weights

    def _add_to_rest(self, weights, visible, values):
        """Add the gradient to the parameters of the units after the bits.

        Their visible offsets are 0, so that the biases of the hidden units are unaffected.
        """
        differences = visible.differences(values, self._shares)
        of_weights = _kernels.product(
            values.T, self._hidden, np.empty(weights.shape, weights.dtype)
        )
        of_weights -= differences[0][:, None] * self._lam
        weights += of_weights
        visible.add_gradient(differences[0] - of_weights @ self._lam, differences)
