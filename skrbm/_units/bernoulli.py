"""Units with states 0 and 1."""

import dataclasses

import numpy as np
import scipy.sparse as sp

from skrbm import _binary_rows, _kernels
from skrbm._units.base import ConditionalStates, VisibleUnits
from skrbm._units.softplus import (
    SoftplusChanges,
    exponent_limit,
    log_odds_without_bias,
    unit_blocks,
)
from skrbm._units.unit_interval import are_in_range, check_range

# Initial bias of the hidden units, which gives an activation probability of about 1/8. A
# lower bias leads to more discriminative features, but to slower learning at first.
INITIAL_HIDDEN_BIAS = -2.0
# Minimum distance from 0 and 1 of the means of independent features used as the base of
# annealing. Importance weights cannot correct for values that the base never takes.
SMALLEST_BASE_MEAN = 1e-3


def log_odds(mean, margin=1e-9):
    """Return ``log(mean / (1 - mean))``, with means clipped to `margin` from 0 and 1."""
    mean = np.clip(mean, margin, 1 - margin)
    return np.log(mean / (1 - mean))


def _states_or_values(v, missing):
    """Return dense rows for `_binary_rows.scores`; None if values are not within [0, 1]."""
    states = np.ascontiguousarray(v == 1)
    known = v == states
    if (known if missing is None else known | missing).all():
        states = states.view(np.uint8)
        if missing is not None:
            states[missing] = 2
        return states
    known = (v >= 0) & (v <= 1)
    if not (known if missing is None else known | missing).all():
        return None
    if missing is not None:
        v = np.where(missing, v.dtype.type(2), v)
    return np.ascontiguousarray(v)


@dataclasses.dataclass(frozen=True, eq=False)
class BernoulliUnits(VisibleUnits):
    """Units with states 0 and 1 and energy ``-b v``.

    Values between 0 and 1 are expectations of states.
    """

    rows_are_bits = sparse = enumerable = True
    score = "pseudo_log_likelihood"
    has_ladders = has_base_mean = True
    value_limits = 0.0, 1.0
    states = "0 and 1"
    advice_on_states = (
        "binarize them, for instance with sklearn.preprocessing.Binarizer(threshold=...)"
    )

    # Columns and rows -----------------------------------------------------------------

    @property
    def n_states(self):
        return np.full(len(self), 2)

    @classmethod
    def check(cls, limits, ranges, X, names_of, **options):
        check_range(limits, ranges, X, names_of, **options)

    @staticmethod
    def are_states(summary):
        return summary.binary

    @staticmethod
    def are_in_range(summary):
        return are_in_range(summary.low, summary.high)

    @staticmethod
    def clip(v):
        if not sp.issparse(v):
            return v.clip(0, 1)
        return sp.csr_array((v.data.clip(0, 1), v.indices, v.indptr), shape=v.shape)

    @staticmethod
    def draw_states(values, rng):
        """Replace values, taken as probabilities of a 1, with draws of 0 or 1, in place.

        `values` are dense rows, or the stored values of sparse ones. Only values strictly
        between 0 and 1 use random numbers, in row order, so that dense and sparse
        minibatches give the same states. Values are clipped to [0, 1] first.
        """
        np.clip(values, 0, 1, out=values)
        flat = values.reshape(-1)
        uncertain = np.flatnonzero((flat > 0) & (flat < 1))
        draws = flat[uncertain]
        flat[uncertain] = _kernels.bernoulli(draws, rng, out=draws)

    def mode(self, rows):
        return (rows > 0.5).astype(rows.dtype)

    def probabilities(self, v):
        return {i: np.stack([1 - p, p], axis=1) for i, p in enumerate(self.clip(v).T)}

    def fill_in(self, mean, shape, rng):
        return (rng.random(shape, dtype=np.float32) < mean).astype(self.bias.dtype)

    # Given the hidden units -----------------------------------------------------------

    def mean(self, x):
        x += self.bias
        return _kernels.logistic(x)

    def sample(self, x, rng, out, units=slice(None)):
        return _kernels.bernoulli_from_log_odds(x, self.bias[units], rng, out)

    def from_lists(self, rows, weights, *, base=None, scale=None, **outputs):
        bias, base_bias = self.bias, None
        if base is not None:
            bias, base_bias = self.bias - base.bias, base.bias
        _binary_rows.visible(rows, weights, bias, base=base_bias, scale=scale, **outputs)

    def constant_input(self, base):
        return self.bias if base is None else self.bias - base.bias

    def from_inputs(self, x, *, base=None, **options):
        base_bias, starts = None if base is None else base.bias, np.arange(len(self) + 1)
        _binary_rows.groups(x, starts, thermometer=True, base=base_bias, **options)

    def log_normalizers(self, x):
        return _kernels.softplus(x + self.bias)

    def log_normalizer(self, x):
        return _binary_rows.softplus_sums(x, self.bias)

    def log_normalizer_changes(self, x, changes):
        largest = float(np.abs(changes).max())
        return SoftplusChanges(x + self.bias, largest)(changes)

    @property
    def largest_change(self):
        return exponent_limit(self.bias.dtype)

    def exchange(self, weights, hidden_bias):
        return np.ascontiguousarray(weights.T), type(self)(hidden_bias), self.bias

    def conditional_log_odds(self, v, hidden_input, weights, columns=None):
        """Yield blocks of columns of `v` with the log-odds of their units.

        For unit i, where a is the hidden input of the row *without* unit i::

            log p(v_i = 1 | rest) / p(v_i = 0 | rest)
                = b_i + sum_j [softplus(a_j + W_ij) - softplus(a_j)]

        For a binary row this is ``F(v with v_i = 0) - F(v with v_i = 1)``. A value between
        0 and 1 enters the hidden input of the other units unchanged.

        Parameters
        ----------
        v : {ndarray, CSR array} of shape (n_rows, n_features)
            Visible rows.
        hidden_input : ndarray of shape (n_rows, n_components)
            Hidden input of the complete rows.
        weights : ndarray of shape (n_features, n_components)
            Weights of the model.
        columns : ndarray of int, default=None
            Indices of the requested units. If None, all units are used.

        Yields
        ------
        part : {ndarray, CSC array} of shape (n_rows, n_units)
            Columns of `v`.
        log_odds : float64 ndarray of shape (n_rows, n_units)
            Log-odds of the units of these columns.
        """
        bias = self.bias
        if columns is not None:
            v, weights, bias = v[:, columns], weights[columns], bias[columns]
        if sp.issparse(v):
            v = v.tocsc()  # for slicing columns
        largest = float(np.abs(weights).max(initial=0.0))
        overflows = largest >= exponent_limit(weights.dtype)  # in exp(W)
        changes = None if overflows else SoftplusChanges(hidden_input, largest)
        for units in unit_blocks(*weights.shape):
            part = v[:, units]
            odds = log_odds_without_bias(part, hidden_input, weights[units], changes)
            odds += bias[units]
            yield part, odds

    def conditionals(self, v, hidden_input, weights, features):
        blocks = self.conditional_log_odds(v, hidden_input, weights, features)
        for part, odds in blocks:
            values = part.toarray() if sp.issparse(part) else part
            log_p = -_kernels.softplus(np.stack([odds, -odds], axis=-1))
            score = values * odds + log_p[..., 0]
            yield from map(ConditionalStates, log_p.swapaxes(0, 1), score.T)

    def pseudo_log_likelihood(self, v, hidden_input, weights, columns=None, missing=None):
        """Return the pseudo-log-likelihood of each row, in nats, as float64.

        ``PL(v) = sum_i [v_i log p_i + (1 - v_i) log(1 - p_i)]`` with
        ``p_i = p(v_i = 1 | all other units)``. If `columns` is given, the sum is taken over
        these units only and scaled up to all units. Terms of `missing` values of dense rows
        are left out.
        """
        n_units = len(self) if columns is None else len(columns)
        if missing is not None and columns is not None:
            missing = missing[:, columns]
        total = self._score_by_core(v, hidden_input, weights, columns, missing)
        if total is None:
            total = self._score_by_products(v, hidden_input, weights, columns, missing)
        return total * (len(self) / n_units)

    def _score_by_core(self, v, hidden_input, weights, columns, missing):
        """Return the sum over units by the compiled core; None if it cannot compute it."""
        if _binary_rows.core is None:
            return None
        bias = self.bias
        if columns is not None:
            v, weights, bias = v[:, columns], weights[columns], bias[columns]
        v = v.tocsc() if sp.issparse(v) else v  # for slicing columns
        if not _binary_rows.is_aligned(weights):
            weights = _binary_rows.align(weights)
        total, hidden_input = np.zeros(v.shape[0]), _binary_rows.in_order(hidden_input)
        for units in _kernels.row_blocks(len(bias), len(total), _kernels.WORK_SIZE):
            part = v[:, units]
            part = part.toarray(order="C") if sp.issparse(part) else part
            rows = _states_or_values(part, None if missing is None else missing[:, units])
            if rows is None:
                return None
            total += _binary_rows.scores(rows, hidden_input, weights[units], bias[units])
        return total if np.isfinite(total).all() else None

    def _score_by_products(self, v, hidden_input, weights, columns, missing):
        """Return the sum over units, whose values may be between 0 and 1."""
        total, n_units = np.zeros(v.shape[0]), 0
        blocks = self.conditional_log_odds(v, hidden_input, weights, columns)
        for part, odds in blocks:
            of_zero = _kernels.softplus(odds)
            if missing is not None:
                left_out = missing[:, n_units : n_units + odds.shape[1]]
                of_zero[left_out] = 0
                part = np.where(left_out, 0, part)
            total -= of_zero.sum(axis=1)
            if sp.issparse(part):
                total += part.multiply(odds).sum(axis=1)
            else:
                total += np.einsum("ij,ij->i", part, odds)
            n_units += odds.shape[1]
        return total

    # Learning, and paths to a model ---------------------------------------------------

    @classmethod
    def with_states(cls, n_states, dtype):
        """Return untrained units for columns with two states each."""
        return cls(np.zeros(len(n_states), dtype=dtype))

    def first_weights(self, n_components, rng):
        """Return weights, bias and mean of the hidden units before the first step.

        Weights are normal with variance ``1 / n_features``, so that the initial
        differences between hidden units do not depend on the number of features. With the
        customary standard deviation of 0.01, learning is slow on small data.
        """
        weights = rng.standard_normal((len(self), n_components)) / np.sqrt(len(self))
        hidden_mean = 1 / (1 + np.exp(-INITIAL_HIDDEN_BIAS))
        return weights, np.full(n_components, INITIAL_HIDDEN_BIAS), hidden_mean

    def mean_of_rows(self, total, n_rows):
        """Return the mean of `n_rows` rows and one imaginary row, given their sum.

        All values of the imaginary row equal the smoothed mean of all values seen.
        Therefore no mean is 0 or 1, and features that have not been on yet are assumed to
        be as rare as the others.
        """
        imaginary = (total.sum() + 0.5) / (n_rows * len(total) + 1)
        return (total + imaginary) / (n_rows + 1)

    def follow_mean(self, before, after):
        """Shift the bias in place by the change of the log-odds of the data mean."""
        bias = self.bias
        bias += log_odds(after) - log_odds(before)

    def independent(self, mean, dtype):
        mean = np.broadcast_to(np.asarray(mean, np.float64), len(self))
        return type(self)(log_odds(mean, SMALLEST_BASE_MEAN).astype(dtype))

    def log_ratio_to(self, base, v):
        return v @ (self.bias - base.bias)

    def sample_between(self, base, x, beta, generators):
        half = 0.5 * beta
        x *= half
        x += half * (self.bias - base.bias) + 0.5 * base.bias
        for rows, rng in generators:
            _kernels.bernoulli_from_half_log_odds(x[rows], rng, out=x[rows])

    # Couplings of columns -------------------------------------------------------------

    def effects(self, x):
        return {i: np.stack([0 * of_unit, of_unit]) for i, of_unit in enumerate(x)}
