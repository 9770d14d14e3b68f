"""Kinds of visible units: what a model assumes of the values of its data.

Everything that is Bernoulli by formula stands here, in one class, so that another kind is
another class with the same methods. A kind holds the parameters of its units and knows
nothing of weights or hidden units: what comes down to the visible units from a hidden state
h is their *input*, the rows ``h W'``, and what goes up from them is their values.
"""

import dataclasses
from typing import Self

import numpy as np
import scipy.sparse as sp

from skrbm import _kernels

# Means of independent features are kept this far from 0 and 1 where they are the base of
# annealing: where the model allows a value that the base never has, no importance weight
# could make up for it.
SMALLEST_BASE_MEAN = 1e-3


def log_odds(mean, margin=1e-9):
    """Return ``log(mean / (1 - mean))``, of means kept `margin` away from 0 and 1."""
    mean = np.clip(mean, margin, 1 - margin)
    return np.log(mean / (1 - mean))


@dataclasses.dataclass(frozen=True, eq=False)
class BernoulliUnits:
    """Units with the states 0 and 1, of energy ``-b v``.

    Attributes
    ----------
    bias : ndarray of shape (n_features,)
    """

    bias: np.ndarray

    # What the values of data may be, in words: for states, and for expectations of states.
    STATES = "0 and 1"
    RANGE = "[0, 1]"

    def __len__(self):
        return len(self.bias)

    @property
    def arrays(self):
        """All parameters, each an array."""
        return (self.bias,)

    def map(self, function, *others) -> Self:
        """Return units whose parameters are a function of these and of other units'."""
        return type(self)(function(self.bias, *(other.bias for other in others)))

    # Values ---------------------------------------------------------------------------

    @staticmethod
    def are_states(summary):
        """Say whether data with this summary have no other values than states."""
        return summary.binary

    @staticmethod
    def are_in_range(summary):
        """Say whether data with this summary are states, or expectations of states."""
        return summary.low >= 0 and summary.high <= 1

    @staticmethod
    def clip(v):
        """Return rows with values below 0 set to 0, and above 1 to 1."""
        if not sp.issparse(v):
            return v.clip(0, 1)
        return sp.csr_array((v.data.clip(0, 1), v.indices, v.indptr), shape=v.shape)

    @staticmethod
    def draw_states(values, rng):
        """Overwrite values, taken as probabilities of a 1, with draws of 0 or 1.

        Only values strictly between 0 and 1 use random numbers, in the order of the rows:
        a dense minibatch and its sparse twin become the same states. What lies below 0
        becomes 0, above 1 becomes 1.
        """
        np.clip(values, 0, 1, out=values)
        flat = values.reshape(-1)
        uncertain = np.flatnonzero((flat > 0) & (flat < 1))
        draws = flat[uncertain]
        flat[uncertain] = _kernels.bernoulli(draws, rng, out=draws)

    # Conditional distribution given the hidden units ----------------------------------

    def mean(self, x):
        """Overwrite the input `x` with the mean of each unit."""
        x += self.bias
        return _kernels.logistic(x)

    def sample(self, x, rng, out, units=slice(None)):
        """Draw states from the input `x`, which is overwritten, of all or of some units."""
        return _kernels.bernoulli_from_log_odds(x, self.bias[units], rng, out)

    def log_normalizer(self, x):
        """Return ``sum_i log sum_v exp(-E_i(v) + x_i v)`` for each row of the input."""
        return np.logaddexp(0, x + self.bias).sum(axis=1)

    def minus_energy(self, v):
        """Return ``b . v``, minus the energy of the visible units alone, of each row."""
        return v @ self.bias

    # Means of the data ----------------------------------------------------------------

    def follow_mean(self, before, after):
        """Shift the parameters, in place, as the mean of the data has shifted."""
        bias = self.bias
        bias += log_odds(after) - log_odds(before)

    @classmethod
    def independent(cls, mean, dtype):
        """Return the units of independent features with these means."""
        return cls(log_odds(np.asarray(mean, np.float64), SMALLEST_BASE_MEAN).astype(dtype))

    # Between independent features and a model -----------------------------------------

    def log_ratio_to(self, base, v):
        """Return the log of how much likelier rows are by these units than by `base`."""
        return v @ (self.bias - base.bias)

    def sample_between(self, base, x, beta, generators):
        """Overwrite the input `x` with states at inverse temperature `beta`.

        Their log-odds are ``(1 - beta) b_base + beta (b + x)``. `beta` is a number, or a
        column with one for each row; `generators` are pairs of a slice of rows and the
        generator that draws them.
        """
        half = 0.5 * beta
        x *= half
        x += half * (self.bias - base.bias) + 0.5 * base.bias
        for rows, rng in generators:
            _kernels.bernoulli_from_half_log_odds(x[rows], rng, out=x[rows])

    # Conditional distribution given all other units -----------------------------------

    def conditional_log_odds(self, v, hidden_input, weights, columns=None):
        """Yield columns of `v`, a block at a time, and the log-odds of their units.

        For unit i, with a the hidden input of the row *without* unit i::

            log p(v_i = 1 | rest) / p(v_i = 0 | rest)
                = b_i + sum_j [softplus(a_j + W_ij) - softplus(a_j)]

        For a binary row this is ``F(v with v_i = 0) - F(v with v_i = 1)``; a value between
        0 and 1 enters the hidden input of the others as it is.

        Parameters
        ----------
        v : {ndarray, CSR array} of shape (n_rows, n_features)
        hidden_input : ndarray of shape (n_rows, n_components)
            Of the whole rows.
        weights : ndarray of shape (n_features, n_components)
        columns : ndarray of int, default=None
            The units that are asked for; None means all.

        Yields
        ------
        part : {ndarray, CSC array} of shape (n_rows, n_units)
        log_odds : float64 ndarray of shape (n_rows, n_units)
        """
        bias = self.bias
        if columns is not None:
            v, weights, bias = v[:, columns], weights[columns], bias[columns]
        if sp.issparse(v):
            v = v.tocsc()  # to be cut into columns
        largest = float(np.abs(weights).max(initial=0.0))
        overflows = largest >= exponent_limit(weights.dtype)  # exp(W) would
        changes = None if overflows else SoftplusChanges(hidden_input, largest)
        for units in _unit_blocks(*weights.shape):
            part = v[:, units]
            odds = _log_odds_without_bias(part, hidden_input, weights[units], changes)
            odds += bias[units]
            yield part, odds

    def pseudo_log_likelihood(self, v, hidden_input, weights, columns=None):
        """Return the pseudo-log-likelihood of each row, in nats, as float64.

        ``PL(v) = sum_i [v_i log p_i + (1 - v_i) log(1 - p_i)]`` with
        ``p_i = p(v_i = 1 | all other units)``; given `columns`, the sum over them alone,
        scaled up to all units.
        """
        total, n_units = np.zeros(v.shape[0]), 0
        blocks = self.conditional_log_odds(v, hidden_input, weights, columns)
        for part, odds in blocks:
            total -= _kernels.softplus(odds).sum(axis=1)
            if sp.issparse(part):
                total += part.multiply(odds).sum(axis=1)
            else:
                total += np.einsum("ij,ij->i", part, odds)
            n_units += odds.shape[1]
        return total * (len(self) / n_units)


# Sums of changes of softplus -------------------------------------------------------------

# The number of factors that are multiplied out. Of 784 x 500 in float32, 668 rows took 45,
# 50 and 60 ms with 4, 5 and 6; few rows take longer with 4 than with 2 or 3.
_SUBSETS_OF = 4
# Where more entries than this part are not 0, it is quicker to treat them all alike than
# to pick those that are 1.
_MANY = 1 / 16


def exponent_limit(dtype):
    """Return the bound on |W| under which exp(W) stays finite and above zero."""
    return 80.0 if dtype == np.float32 else 700.0


def _nonzero(v):
    """Return row indices, column indices and values of the entries that are not 0."""
    if sp.issparse(v):
        v = v.tocoo()
        return v.row, v.col, v.data
    flat = np.flatnonzero(v)
    return *np.divmod(flat, v.shape[1]), v.reshape(-1)[flat]


def _on_and_off(inputs):
    """Return ``sigma(a)`` and ``sigma(-a)``, of which neither is 1 less the other."""
    return np.exp(-_kernels.softplus(-inputs)), np.exp(-_kernels.softplus(inputs))


def _unit_blocks(n_units, n_components):
    """Cut visible units into slices for which `SoftplusChanges` needs bounded memory."""
    row_size = 2**_SUBSETS_OF * n_components // _SUBSETS_OF
    row_size = max(row_size, _kernels.WORK_SIZE // _kernels.FEATURE_BLOCK)
    return _kernels.row_blocks(n_units, row_size, _kernels.WORK_SIZE)


class SoftplusChanges:
    """Computes ``sum_j [softplus(a_j + W_ij) - softplus(a_j)]`` for all rows and units.

    With p = sigma(a) and q = 1 - p, the sum is ``log prod_j (q_j + p_j exp(W_ij))``, whose
    terms are positive: nothing cancels. The product of a few factors is a sum over the
    subsets of their hidden units, of a number that belongs to the row times one that
    belongs to the unit: a matrix product. exp is taken of W alone, and log once of as many
    factors as cannot overflow.

    Parameters
    ----------
    inputs : ndarray of shape (n_rows, n_components)
        The numbers a, of each row.
    largest : float
        The largest absolute value of the weights, under `exponent_limit`.
    """

    def __init__(self, inputs, largest):
        n_factors = int(exponent_limit(inputs.dtype) / max(largest, 1.0))
        self._size = min(_SUBSETS_OF, n_factors)
        self._step = n_factors // self._size
        p, q = _on_and_off(inputs)
        terms = _subset_products(q.T, p.T, self._size)
        self._of_rows = np.ascontiguousarray(terms.swapaxes(1, 2))

    def __call__(self, weights):
        """Return the sums for units of these weights, (n_rows, n_units), in float64."""
        n_rows = self._of_rows.shape[1]
        change = np.empty((n_rows, len(weights)))
        for units in _unit_blocks(*weights.shape):
            growth = np.exp(weights[units].T)
            of_units = _subset_products(np.ones_like(growth), growth, self._size)
            block = change[:, units]
            block[...] = 0
            total, factor = np.empty((2, *block.shape), dtype=weights.dtype)
            for start in range(0, len(of_units), self._step):
                np.matmul(self._of_rows[start], of_units[start], out=total)
                for i in range(start + 1, min(start + self._step, len(of_units))):
                    total *= np.matmul(self._of_rows[i], of_units[i], out=factor)
                block += np.log(total, out=total)
        return change


def _log_odds_without_bias(v, inputs, weights, changes):
    """Return the log-odds of units, without their biases; `changes` is None on overflow."""
    if changes is not None:
        rows, units, values = _nonzero(v)
        ones = values == 1
        some_states = ones.any() or len(rows) < v.shape[0] * v.shape[1]
        odds = changes(weights) if some_states else np.empty(v.shape)
        at = rows[ones], units[ones]
        if len(rows) > odds.size * _MANY:
            odds[at] = -changes(-weights)[at]
        else:
            odds[at] = -_change_if_off(inputs, weights, *at)
        rows, units, values = rows[~ones], units[~ones], values[~ones]
    else:  # every entry goes the slow way
        odds = np.empty(v.shape)
        rows, units = np.indices(v.shape).reshape(2, -1)
        values = (v.toarray() if sp.issparse(v) else v).reshape(-1)
    change_from = _change_from_safely if changes is None else _change_from
    odds[rows, units] = change_from(values, inputs, weights, rows, units)
    return odds


def _subset_products(off, on, size):
    """Return the terms of products of ``off_j + on_j``, taken over groups of `size` units.

    Parameters
    ----------
    off, on : ndarray of shape (n_components, n)
    size : int

    Returns
    -------
    terms : ndarray of shape (n_groups, 2 ** size, n)
        A term for each subset of the group: the product of ``on_j`` of its units and of
        ``off_j`` of the others.
    """
    n_components, n = on.shape
    n_groups = -(-n_components // size)
    padded = np.zeros((2, n_groups * size, n), dtype=on.dtype)
    padded[0] = 1
    padded[:, :n_components] = off, on
    off, on = padded.reshape(2, n_groups, size, 1, n)
    terms = np.ones((n_groups, 2**size, n), dtype=on.dtype)
    for k in range(size):
        with_k, without_k = terms[:, 2**k : 2 ** (k + 1)], terms[:, : 2**k]
        np.multiply(without_k, on[:, k], out=with_k)
        without_k *= off[:, k]
    return terms


def _change_if_off(inputs, weights, rows, units):
    """Return ``sum_j [softplus(a_j - W_ij) - softplus(a_j)]`` for pairs (row, unit)."""
    p, q = _on_and_off(inputs)
    change = np.empty(len(rows))
    for block in _kernels.row_blocks(len(rows), weights.shape[1]):
        terms = np.exp(-weights[units[block]])
        terms *= p[rows[block]]
        terms += q[rows[block]]
        change[block] = np.log(terms, out=terms).sum(axis=1)
    return change


def _change_from(values, inputs, weights, rows, units):
    """Return ``sum_j [softplus(a_j + W_ij) - softplus(a_j)]`` for pairs (row, unit).

    Here a is the hidden input less the contribution of the unit at its present value v.
    With p and q of the whole hidden input, as for `SoftplusChanges`, it is the sum of
    ``log (q_j + p_j exp(-v W_ij) exp(W_ij)) / (q_j + p_j exp(-v W_ij))``.
    """
    p, q = _on_and_off(inputs)
    growth = np.exp(weights)
    largest = float(np.abs(weights).max(initial=1.0))
    n_factors = int(exponent_limit(inputs.dtype) / largest)
    change = np.empty(len(rows))
    for block in _kernels.row_blocks(len(rows), weights.shape[1]):
        of_row, of_unit = rows[block], units[block]
        off = weights[of_unit]
        off *= -values[block, None]
        np.exp(off, out=off)
        off *= p[of_row]
        on = off * growth[of_unit]
        for terms in (on, off):
            terms += q[of_row]
        on /= off
        change[block] = _log_of_product(on, n_factors)
    return change


def _log_of_product(factors, n_factors):
    """Return the log of the product of each row, of which so many factors cannot overflow.

    Half as many logarithms each time that one half of the columns is multiplied into the
    other. Overwrites `factors`.
    """
    while n_factors > 1 and factors.shape[1] % 2 == 0:
        half = factors.shape[1] // 2
        left = factors[:, :half]
        left *= factors[:, half:]
        factors, n_factors = left, n_factors // 2
    return np.log(factors).sum(axis=1)


def _change_from_safely(values, inputs, weights, rows, units):
    """Return what `_change_from` does, for weights of which exp would overflow."""
    change = np.empty(len(rows))
    for block in _kernels.row_blocks(len(rows), weights.shape[1]):
        weight = weights[units[block]]
        without = inputs[rows[block]] - values[block, None] * weight
        terms = _kernels.softplus(without + weight) - _kernels.softplus(without)
        change[block] = terms.sum(axis=1)
    return change
