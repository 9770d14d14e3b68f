"""The restricted Boltzmann machine itself: pure mathematics on three arrays.

With visible states v and hidden states h in {0, 1}, weights W, visible bias b and hidden
bias c, the energy is::

    E(v, h) = - b . v - c . h - v . W . h,        p(v, h) = exp(-E(v, h)) / Z

This room knows no data set, no training and no scikit-learn. Rows are samples; visible
rows are dense or CSR, in the model's dtype; random draws come from the generator that is
passed in.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from skrbm import _kernels


class RBM(NamedTuple):
    """Parameters of a Bernoulli restricted Boltzmann machine.

    Attributes
    ----------
    weights : ndarray of shape (n_features, n_components)
        C-contiguous, so that dense and sparse products both read it in order.
    visible_bias : ndarray of shape (n_features,)
    hidden_bias : ndarray of shape (n_components,)
    """

    weights: np.ndarray
    visible_bias: np.ndarray
    hidden_bias: np.ndarray

    @property
    def dtype(self):
        return self.weights.dtype

    def _empty(self, n_rows, n_columns):
        return np.empty((n_rows, n_columns), dtype=self.dtype)

    def hidden_input(self, v, out=None):
        """Return ``v W + c``, the log-odds of each hidden unit."""
        out = self._empty(v.shape[0], len(self.hidden_bias)) if out is None else out
        if sp.issparse(v):
            out[...] = self.hidden_bias
            _kernels.SparseRows.from_csr(v).add_product(self.weights, out)
        else:
            np.matmul(v, self.weights, out=out)
            out += self.hidden_bias
        return out

    def mean_hidden(self, v, out=None):
        """Return ``p(h_j = 1 | v)``."""
        return _kernels.logistic(self.hidden_input(v, out))

    def mean_visible(self, h):
        """Return ``p(v_i = 1 | h)``."""
        mean = h @ self.weights.T
        mean += self.visible_bias
        return _kernels.logistic(mean)

    def sample_hidden(self, v, rng, out=None):
        """Draw ``h ~ p(h | v)``."""
        mean = self.mean_hidden(v, out)
        return _kernels.bernoulli(mean, rng, out=mean)

    def sample_visible(self, h, rng, out=None):
        """Draw ``v ~ p(v | h)``."""
        out = self._empty(len(h), len(self.visible_bias)) if out is None else out
        _kernels.product_with_transpose(h, self.weights, out)
        return _kernels.bernoulli_from_log_odds(out, self.visible_bias, rng, out)

    def gibbs(self, h, n_steps, rng):
        """Run chains of hidden states through `n_steps` steps h -> v -> h, in place."""
        for _ in range(n_steps):
            self.sample_hidden(self.sample_visible(h, rng), rng, out=h)

    def energy(self, v, h):
        """Return ``E(v, h)`` of each pair of rows, in nats."""
        coupled = np.einsum("ij,ij->i", h, self.hidden_input(v))
        return -(v @ self.visible_bias) - coupled

    def free_energy(self, v):
        """Return ``F(v) = -log sum_h exp(-E(v, h))`` of each row, in nats, as float64.

        ``F(v) = - b . v - sum_j log(1 + exp(c_j + (v W)_j))``
        """
        hidden = _kernels.softplus(self.hidden_input(v))
        return -(v @ self.visible_bias) - hidden.sum(axis=1, dtype=np.float64)

    def pseudo_log_likelihood(self, v, columns=None):
        """Return the pseudo-log-likelihood of each row, in nats, as float64.

        ``PL(v) = sum_i [v_i log p_i + (1 - v_i) log(1 - p_i)]`` with
        ``p_i = p(v_i = 1 | all other units)``; given `columns`, the sum over them alone,
        scaled up to all units.
        """
        total, n_units = np.zeros(v.shape[0]), 0
        for part, log_odds in self._log_odds_by_units(v, columns):
            total -= _kernels.softplus(log_odds).sum(axis=1)
            if sp.issparse(part):
                total += part.multiply(log_odds).sum(axis=1)
            else:
                total += np.einsum("ij,ij->i", part, log_odds)
            n_units += log_odds.shape[1]
        return total * (len(self.visible_bias) / n_units)

    def visible_log_odds(self, v, columns=None):
        """Return the log-odds of visible units, each given all the others.

        For unit i, with a the hidden input of the row *without* unit i::

            log p(v_i = 1 | rest) / p(v_i = 0 | rest)
                = b_i + sum_j [softplus(a_j + W_ij) - softplus(a_j)]

        For a binary row this is ``F(v with v_i = 0) - F(v with v_i = 1)``; a value between
        0 and 1 enters the hidden input of the others as it is.

        Parameters
        ----------
        v : {ndarray, CSR array} of shape (n_rows, n_features)
        columns : ndarray of int, default=None
            The units that are asked for; None means all.

        Returns
        -------
        log_odds : float64 ndarray of shape (n_rows, n_columns)
        """
        return np.hstack([odds for _, odds in self._log_odds_by_units(v, columns)])

    def _log_odds_by_units(self, v, columns):
        """Yield columns of the rows, a block at a time, and the log-odds of their units."""
        inputs = self.hidden_input(v)
        weights, bias = self.weights, self.visible_bias
        if columns is not None:
            v, weights, bias = v[:, columns], weights[columns], bias[columns]
        if sp.issparse(v):
            v = v.tocsc()  # to be cut into columns
        largest = float(np.abs(weights).max(initial=0.0))
        overflows = largest >= exponent_limit(self.dtype)  # exp(W) would
        changes = None if overflows else SoftplusChanges(inputs, largest)
        for units in _unit_blocks(*weights.shape):
            part = v[:, units]
            log_odds = _log_odds(part, inputs, weights[units], changes)
            log_odds += bias[units]
            yield part, log_odds

    def row_size(self, rows):
        """Return how many values a row takes in memory, while something is computed of it.

        A row of visible or of hidden states, dense or sparse.
        """
        if sp.issparse(rows):
            return max(len(self.hidden_bias), _LARGEST_BLOCK)
        return max(self.weights.shape)


def exponent_limit(dtype):
    """Return the bound on |W| under which exp(W) stays finite and above zero."""
    return 80.0 if dtype == np.float32 else 700.0


# The number of factors that are multiplied out. Of 784 x 500 in float32, 668 rows took 45,
# 50 and 60 ms with 4, 5 and 6; few rows take longer with 4 than with 2 or 3.
_SUBSETS_OF = 4
# Bounds of a block of visible units: how many, and how many terms of theirs.
_LARGEST_BLOCK = 1 << 10
_BLOCK_SIZE = 1 << 22
# Where more entries than this part are not 0, it is quicker to treat them all alike than
# to pick those that are 1.
_MANY = 1 / 16


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
    row_size = max(row_size, _BLOCK_SIZE // _LARGEST_BLOCK)
    return _kernels.row_blocks(n_units, row_size, _BLOCK_SIZE)


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


def _log_odds(v, inputs, weights, changes):
    """Return the log-odds of units, without their biases; `changes` is None on overflow."""
    if changes is not None:
        log_odds = changes(weights)
        rows, units, values = _nonzero(v)
        ones = values == 1
        at = rows[ones], units[ones]
        if len(rows) > log_odds.size * _MANY:
            log_odds[at] = -changes(-weights)[at]
        else:
            log_odds[at] = -_change_if_off(inputs, weights, *at)
        rows, units, values = rows[~ones], units[~ones], values[~ones]
    else:  # every entry goes the slow way
        log_odds = np.empty(v.shape)
        rows, units = np.indices(v.shape).reshape(2, -1)
        values = (v.toarray() if sp.issparse(v) else v).reshape(-1)
    log_odds[rows, units] = _change_from(values, inputs, weights, rows, units)
    return log_odds


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

    Here a is the hidden input less the contribution of the unit at its present value.
    """
    change = np.empty(len(rows))
    for block in _kernels.row_blocks(len(rows), weights.shape[1]):
        weight = weights[units[block]]
        without = inputs[rows[block]] - values[block, None] * weight
        terms = _kernels.softplus(without + weight) - _kernels.softplus(without)
        change[block] = terms.sum(axis=1)
    return change
