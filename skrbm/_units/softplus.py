"""Sums of changes of softplus, from which conditional log-odds are computed."""

import numpy as np
import scipy.sparse as sp

from skrbm import _kernels

# Number of factors that are multiplied out. More are slower for many rows, and fewer would
# be faster only for few rows.
_SUBSETS_OF = 4
# If a larger fraction of the entries is nonzero, computing all entries is faster than
# picking those that are 1.
_MANY = 1 / 16


def exponent_limit(dtype):
    """Return the bound on |W| below which exp(W) is finite and positive."""
    return 80.0 if dtype == np.float32 else 700.0


def _nonzero(v):
    """Return row indices, column indices and values of the nonzero entries."""
    if sp.issparse(v):
        v = v.tocoo()
        return v.row, v.col, v.data
    flat = np.flatnonzero(v)
    return *np.divmod(flat, v.shape[1]), v.reshape(-1)[flat]


def on_and_off(inputs):
    """Return ``sigma(a)`` and ``sigma(-a)``, neither computed as 1 minus the other."""
    return np.exp(-_kernels.softplus(-inputs)), np.exp(-_kernels.softplus(inputs))


def unit_blocks(n_units, n_components):
    """Yield slices of visible units that bound the memory of `SoftplusChanges`."""
    row_size = 2**_SUBSETS_OF * n_components // _SUBSETS_OF
    row_size = max(row_size, _kernels.WORK_SIZE // _kernels.FEATURE_BLOCK)
    return _kernels.row_blocks(n_units, row_size, _kernels.WORK_SIZE)


class SoftplusChanges:
    """Callable for ``sum_j [softplus(a_j + W_ij) - softplus(a_j)]`` of all rows and units.

    With p = sigma(a) and q = 1 - p, the sum is ``log prod_j (q_j + p_j exp(W_ij))``. All
    terms are positive, so there is no cancellation. The product of a few factors expands
    into a sum over the subsets of their hidden units. Each summand is a number that depends
    on the row times a number that depends on the unit, so that the sum is a matrix product.
    exp is evaluated for W only, and log once for as many factors as cannot overflow.

    Parameters
    ----------
    inputs : ndarray of shape (n_rows, n_components)
        The hidden inputs a of each row.
    largest : float
        The largest absolute value of the weights, below `exponent_limit`.
    """

    def __init__(self, inputs, largest):
        p, q = on_and_off(inputs)
        self._expand(p, q, largest)

    @classmethod
    def after(cls, on_and_off, part, largest):
        """Return the sums for inputs without a part of them, up to a number for each row.

        Parameters
        ----------
        on_and_off : tuple of two ndarray of shape (n_rows, n_components)
            ``sigma(a)`` and ``sigma(-a)`` of the complete inputs.
        part : ndarray of shape (n_rows, n_components)
            What is taken off the inputs.
        largest : float
            Bound on the sums of weights and parts, below `exponent_limit`.
        """
        p, q = on_and_off
        changes = cls.__new__(cls)
        changes._expand(p * np.exp(-part), q, largest)
        return changes

    def _expand(self, p, q, largest):
        n_factors = int(exponent_limit(p.dtype) / max(largest, 1.0))
        self._size = min(_SUBSETS_OF, n_factors)
        self._step = n_factors // self._size
        terms = _subset_products(q.T, p.T, self._size)
        self._of_rows = np.ascontiguousarray(terms.swapaxes(1, 2))

    def __call__(self, weights):
        """Return the sums for units with these weights, float64, (n_rows, n_units)."""
        n_rows = self._of_rows.shape[1]
        change = np.empty((n_rows, len(weights)))
        for units in unit_blocks(*weights.shape):
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


def sums_of_softplus(inputs, changes):
    """Return ``sum_j softplus(a_j + w_j)`` of rows a and changes w, whatever their size."""
    sums = [_kernels.softplus(inputs + change).sum(axis=1) for change in changes]
    return np.stack(sums, axis=1)


def softplus_changes(inputs, changes):
    """Return ``sum_j [softplus(a_j + w_j) - softplus(a_j)]`` of rows a and changes w."""
    largest = float(np.abs(changes).max(initial=0.0))
    if largest < exponent_limit(inputs.dtype):
        return SoftplusChanges(inputs, largest)(changes)
    alone = _kernels.softplus(inputs).sum(axis=1)
    return sums_of_softplus(inputs, changes) - alone[:, None]


def log_odds_without_bias(v, inputs, weights, changes):
    """Return log-odds of units without their biases; `changes` is None on overflow."""
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
    else:  # use the slow method for all entries
        odds = np.empty(v.shape)
        rows, units = np.indices(v.shape).reshape(2, -1)
        values = (v.toarray() if sp.issparse(v) else v).reshape(-1)
    change_from = _change_from_safely if changes is None else _change_from
    odds[rows, units] = change_from(values, inputs, weights, rows, units)
    return odds


def _subset_products(off, on, size):
    """Return the terms of the products of ``off_j + on_j`` over groups of `size` units.

    Parameters
    ----------
    off, on : ndarray of shape (n_components, n)
        The two terms of each factor.
    size : int
        Number of units in a group.

    Returns
    -------
    terms : ndarray of shape (n_groups, 2 ** size, n)
        One term for each subset of a group, the product of ``on_j`` of the units in the
        subset and ``off_j`` of the others.
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
    p, q = on_and_off(inputs)
    change = np.empty(len(rows))
    for block in _kernels.row_blocks(len(rows), weights.shape[1]):
        terms = np.exp(-weights[units[block]])
        terms *= p[rows[block]]
        terms += q[rows[block]]
        change[block] = np.log(terms, out=terms).sum(axis=1)
    return change


def _change_from(values, inputs, weights, rows, units):
    """Return ``sum_j [softplus(a_j + W_ij) - softplus(a_j)]`` for pairs (row, unit).

    Here a is the hidden input minus the contribution of the unit with its current value v.
    With p and q computed from the complete hidden input as in `SoftplusChanges`, the result
    is the sum of ``log (q_j + p_j exp(-v W_ij) exp(W_ij)) / (q_j + p_j exp(-v W_ij))``.
    """
    p, q = on_and_off(inputs)
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
    """Return the logarithm of the product of each row; overwrites `factors`.

    Products of `n_factors` factors must not overflow. Multiplying one half of the columns
    into the other halves the number of logarithms.
    """
    while n_factors > 1 and factors.shape[1] % 2 == 0:
        half = factors.shape[1] // 2
        left = factors[:, :half]
        left *= factors[:, half:]
        factors, n_factors = left, n_factors // 2
    return np.log(factors).sum(axis=1)


def _change_from_safely(values, inputs, weights, rows, units):
    """Compute `_change_from` for weights whose exp would overflow."""
    change = np.empty(len(rows))
    for block in _kernels.row_blocks(len(rows), weights.shape[1]):
        weight = weights[units[block]]
        without = inputs[rows[block]] - values[block, None] * weight
        terms = _kernels.softplus(without + weight) - _kernels.softplus(without)
        change[block] = terms.sum(axis=1)
    return change
