"""Visible units, which define the distribution of the data given the hidden units.

There is one class for each kind of units, with the same methods. A class of units stores
the parameters of the units, but no weights and no hidden units. The visible units receive
their *input* from a hidden state h, the rows ``h W'``, and pass on their values.
"""

import dataclasses
import warnings
from typing import Self

import numpy as np
import scipy.sparse as sp

from skrbm import _binary_rows, _kernels

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


@dataclasses.dataclass(frozen=True, eq=False)
class BernoulliUnits:
    """Units with states 0 and 1 and energy ``-b v``.

    Attributes
    ----------
    bias : ndarray of shape (n_features,)
        Biases of the units.
    """

    bias: np.ndarray

    # Whether the states are 0 and 1, so that they can be enumerated and compiled.
    binary = True
    # What is recorded during training, and decides early stopping.
    SCORE = "pseudo_log_likelihood"
    # Parameters larger than this mean that training has diverged.
    LARGEST_PARAMETER = 1e3

    def __len__(self):
        return len(self.bias)

    @property
    def arrays(self):
        """All parameter arrays."""
        return (self.bias,)

    # All arrays on which the partition function depends.
    arrays_of_partition = arrays

    def map(self, function, *others) -> Self:
        """Apply a function to the parameters of these and other units; return new units."""
        return type(self)(function(self.bias, *(other.bias for other in others)))

    # Start of training ----------------------------------------------------------------

    @classmethod
    def untrained(cls, data, dtype, names_of) -> Self:
        """Return the units before the first step of training."""
        return cls(np.zeros(data.n_features, dtype=dtype))

    def first_weights(self, n_components, rng):
        """Return weights, bias and mean of the hidden units before the first step.

        Initial weights are normal with variance ``1 / n_features``, so that the initial
        differences between hidden units do not depend on the number of features. With the
        customary standard deviation of 0.01, learning is slow on small data.
        """
        weights = rng.standard_normal((len(self), n_components)) / np.sqrt(len(self))
        hidden_mean = 1 / (1 + np.exp(-INITIAL_HIDDEN_BIAS))
        return weights, np.full(n_components, INITIAL_HIDDEN_BIAS), hidden_mean

    # Values ---------------------------------------------------------------------------

    @staticmethod
    def are_states(summary):
        """Return whether data with this summary contain only states."""
        return summary.binary

    @staticmethod
    def are_in_range(summary):
        """Return whether data with this summary are states or expectations of states."""
        return summary.low >= 0 and summary.high <= 1

    @staticmethod
    def encode(data):
        """Return a data set with the rows that the model works on."""
        return data

    @staticmethod
    def decode(v):
        """Return rows of the model in the units of the data."""
        return v

    def data_attributes(self, mean):
        """Return the fitted attributes that describe the data, given their mean."""
        return {"visible_mean_": mean}

    @staticmethod
    def clip(v):
        """Return rows with values clipped to [0, 1]."""
        if not sp.issparse(v):
            return v.clip(0, 1)
        return sp.csr_array((v.data.clip(0, 1), v.indices, v.indptr), shape=v.shape)

    @staticmethod
    def draw_states(values, rng):
        """Replace values, taken as probabilities of a 1, with draws of 0 or 1, in place.

        Only values strictly between 0 and 1 use random numbers, in row order, so that dense
        and sparse minibatches give the same states. Values are clipped to [0, 1] first.
        """
        np.clip(values, 0, 1, out=values)
        flat = values.reshape(-1)
        uncertain = np.flatnonzero((flat > 0) & (flat < 1))
        draws = flat[uncertain]
        flat[uncertain] = _kernels.bernoulli(draws, rng, out=draws)

    def draw_alone(self, mean, shape, rng):
        """Draw rows of independent features with these means."""
        return (rng.random(shape, dtype=np.float32) < mean).astype(self.bias.dtype)

    # Conditional distribution given the hidden units ----------------------------------

    def mean(self, x):
        """Overwrite the input `x` with the mean of each unit."""
        x += self.bias
        return _kernels.logistic(x)

    def sample(self, x, rng, out, units=slice(None)):
        """Draw states of all or some units from their input `x`, which is overwritten."""
        return _kernels.bernoulli_from_log_odds(x, self.bias[units], rng, out)

    def from_lists(self, rows, weights, *, base=None, scale=None, **outputs):
        """Compute means or draw states given listed hidden states, by the compiled core.

        If `base` is given, they are those at the inverse temperatures `scale`, as in
        `sample_between`. For the other arguments, see `_binary_rows.visible`.
        """
        bias, base_bias = self.bias, None
        if base is not None:
            bias, base_bias = self.bias - base.bias, base.bias
        _binary_rows.visible(rows, weights, bias, base=base_bias, scale=scale, **outputs)

    def log_normalizer(self, x):
        """Return ``sum_i log sum_v exp(-E_i(v) + x_i v)`` for each row of the input."""
        return np.logaddexp(0, x + self.bias).sum(axis=1)

    def log_normalizer_changes(self, x, changes):
        """Return how the log normalizer of each row of `x` changes with each of `changes`.

        Parameters
        ----------
        x : ndarray of shape (n_rows, n_features)
        changes : ndarray of shape (n_changes, n_features)
            Rows that are added to the input, below `largest_change` in absolute value.

        Returns
        -------
        change : float64 ndarray of shape (n_rows, n_changes)
        """
        largest = float(np.abs(changes).max())
        return SoftplusChanges(x + self.bias, largest)(changes)

    @property
    def largest_change(self):
        """Bound on the changes of `log_normalizer_changes`."""
        return exponent_limit(self.bias.dtype)

    def minus_energy(self, v):
        """Return ``b . v`` of each row, the negative energy of the visible units alone."""
        return v @ self.bias

    # Learning -------------------------------------------------------------------------

    def add_gradient(self, of_bias, differences):
        """Add the gradient of the parameters in place.

        `differences` are those of the means of v, and of v^2 unless the units are binary.
        """
        np.add(self.bias, of_bias, out=self.bias)

    def add_input(self, x):
        """Add a constant input in place, by changing the bias."""
        np.add(self.bias, x, out=self.bias)

    @staticmethod
    def center(mean):
        """Return the visible offset of centering, given the mean of the data."""
        return mean

    def follow_mean(self, before, after):
        """Shift the bias in place by the change of the log-odds of the data mean."""
        bias = self.bias
        bias += log_odds(after) - log_odds(before)

    # Between independent features and a model -----------------------------------------

    @classmethod
    def independent(cls, mean, dtype):
        """Return units that model independent features with these means."""
        return cls(log_odds(np.asarray(mean, np.float64), SMALLEST_BASE_MEAN).astype(dtype))

    def log_ratio_to(self, base, v):
        """Return the log-ratio ``(b - b_base) . v`` of these units to `base`, per row."""
        return v @ (self.bias - base.bias)

    def sample_between(self, base, x, beta, generators):
        """Replace the input `x` with states drawn at inverse temperature `beta`, in place.

        The log-odds are ``(1 - beta) b_base + beta (b + x)``. `beta` is a number or a
        column with one value per row. `generators` yields pairs of a slice of rows and the
        generator used to draw them.
        """
        half = 0.5 * beta
        x *= half
        x += half * (self.bias - base.bias) + 0.5 * base.bias
        for rows, rng in generators:
            _kernels.bernoulli_from_half_log_odds(x[rows], rng, out=x[rows])

    # Conditional distribution given all other units -----------------------------------

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
        for units in _unit_blocks(*weights.shape):
            part = v[:, units]
            odds = _log_odds_without_bias(part, hidden_input, weights[units], changes)
            odds += bias[units]
            yield part, odds

    def pseudo_log_likelihood(self, v, hidden_input, weights, columns=None):
        """Return the pseudo-log-likelihood of each row, in nats, as float64.

        ``PL(v) = sum_i [v_i log p_i + (1 - v_i) log(1 - p_i)]`` with
        ``p_i = p(v_i = 1 | all other units)``. If `columns` is given, the sum is taken over
        these units only and scaled up to all units.
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


# Smallest conditional variance of a Gaussian unit, relative to the variance of the data.
SMALLEST_VARIANCE = 1e-3
# Learning rate of the log variances relative to that of the other parameters, and largest
# change of a log variance in a step.
VARIANCE_RATE = 0.3
LARGEST_VARIANCE_STEP = 0.1
# Initial conditional variance of a Gaussian unit, relative to the variance of the data.
# From 1 on, training may not leave a model without weights.
INITIAL_VARIANCE = 0.5
# Length of the initial weights of a hidden unit, in units of the deviation s. And how
# probable the component of the mixture in which only this unit is on is at first, compared
# to that in which none is.
INITIAL_LENGTH, INITIAL_ODDS = 1.5, 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianUnits:
    """Real-valued units with energy ``(v - b)^2 / (2 s^2)`` of the standardized value v.

    The model works on standardized rows ``(X - location) / scale``, so that neither the
    training nor rounding depends on the scales of the features. Energies, free energies and
    densities are those of the data: integrals over v are multiplied by the scales. The
    weights of the model couple the standardized values to the hidden units, so that the
    mean of a unit with input x is ``b + s^2 x`` and its variance is s^2.

    Attributes
    ----------
    bias : ndarray of shape (n_features,)
        Means b of the units without input.
    log_variance : ndarray of shape (n_features,)
        Logarithms of the conditional variances s^2.
    location, scale : float64 ndarray of shape (n_features,)
        Mean and standard deviation of the data. They are not trained.
    """

    bias: np.ndarray
    log_variance: np.ndarray
    location: np.ndarray
    scale: np.ndarray

    binary = False
    SCORE = "log_likelihood"
    LARGEST_PARAMETER = 1e6
    # Bound on the changes of `log_normalizer_changes`.
    largest_change = np.inf

    def __len__(self):
        return len(self.bias)

    @property
    def arrays(self):
        """All parameter arrays that are trained."""
        return self.bias, self.log_variance

    @property
    def arrays_of_partition(self):
        """All arrays on which the partition function depends."""
        return *self.arrays, np.log(self.scale)

    @property
    def variance(self):
        """Conditional variances s^2 of the standardized values."""
        return np.exp(self.log_variance)

    def map(self, function, *others) -> Self:
        """Apply a function to the parameters of these and other units; return new units."""
        bias, log_variance = (
            function(*arrays)
            for arrays in zip(self.arrays, *(other.arrays for other in others), strict=True)
        )
        return dataclasses.replace(self, bias=bias, log_variance=log_variance)

    # Start of training ----------------------------------------------------------------

    @classmethod
    def untrained(cls, data, dtype, names_of) -> Self:
        """Return units with the means and variances of the data.

        The scale of a constant feature is 1. There is a warning of such features, in which
        `names_of` names an array of their indices.
        """
        mean, variance = data.moments()
        if not (np.isfinite(mean) & np.isfinite(variance)).all():
            raise ValueError(
                "X has values that are too large: the variance of a feature is not finite. "
                "Scale X."
            )
        constant = is_constant(mean, variance, data.X.dtype)
        if constant.any():
            warnings.warn(
                f"X is constant in {names_of(np.flatnonzero(constant))}. The density of "
                "such a feature is arbitrary: drop it, for example with sklearn."
                "feature_selection.VarianceThreshold."
            )
        scale = np.where(constant, 1.0, np.sqrt(variance))
        zeros = np.zeros(data.n_features, dtype=dtype)
        log_variance = np.full(data.n_features, np.log(INITIAL_VARIANCE), dtype=dtype)
        return cls(zeros, log_variance, mean, scale)

    def first_weights(self, n_components, rng):
        """Return weights, bias and mean of the hidden units before the first step.

        The weights of hidden units point in pairs of opposite directions, which form sets
        of orthogonal directions as far as possible, so that all directions of the data have
        units. The weights of the second set are half as long as those of the first, and so
        on, so that all of them together do not make the variances large. The biases do not
        let long weights make a unit more probable: Melchior, J., Wang, N. and Wiskott, L.
        (2017). Gaussian-binary restricted Boltzmann machines for modeling natural image
        statistics. PLoS ONE, 12(2), e0171015.
        """
        n_pairs, n_features = -(-n_components // 2), len(self)
        sets = [
            np.linalg.qr(rng.standard_normal((n_features, min(n_features, n_pairs - n))))[0]
            / (1 + n // n_features)
            for n in range(0, n_pairs, n_features)
        ]
        half = INITIAL_LENGTH * np.concatenate(sets, axis=1)
        whitened = np.stack([half, -half], axis=2).reshape(n_features, -1)[:, :n_components]
        bias = np.log(INITIAL_ODDS) - 0.5 * np.square(whitened).sum(axis=0)
        weights = np.ascontiguousarray(whitened / np.sqrt(INITIAL_VARIANCE))
        return weights, bias, INITIAL_ODDS / (1 + INITIAL_ODDS)

    # Values ---------------------------------------------------------------------------

    @staticmethod
    def are_states(summary):
        """Return whether data with this summary contain only states."""
        return True

    are_in_range = are_states

    def encode(self, data):
        """Return a data set with the rows that the model works on."""
        return data.standardize(self.location, self.scale)

    def decode(self, v):
        """Return rows of the model in the units of the data."""
        return (v * self.scale + self.location).astype(v.dtype)

    def data_attributes(self, mean):
        """Return the fitted attributes that describe the data."""
        return {"visible_mean_": self.location, "visible_variance_": self.scale**2}

    @staticmethod
    def clip(v):
        """Return rows as they are, since all values are allowed."""
        return v

    draw_states = None  # values are not probabilities

    def draw_alone(self, mean, shape, rng):
        """Draw rows of independent features with the moments of the data."""
        return rng.standard_normal(shape, dtype=self.bias.dtype)

    # Conditional distribution given the hidden units ----------------------------------

    def mean(self, x):
        """Overwrite the input `x` with the mean of each unit."""
        x *= self.variance
        x += self.bias
        return x

    def sample(self, x, rng, out, units=slice(None)):
        """Draw values of all or some units from their input `x`, which is overwritten."""
        variance = self.variance[units]
        noise = rng.standard_normal(x.shape, dtype=x.dtype)
        noise *= np.sqrt(variance)
        x *= variance
        x += self.bias[units]
        return np.add(x, noise, out=out)

    def log_normalizer(self, x):
        """Return ``sum_i log integral exp(-E_i(v) + x_i v)`` for each row of the input."""
        quadratic = self.bias * x + 0.5 * self.variance * np.square(x)
        volume = np.log(2 * np.pi) + self.log_variance + 2 * np.log(self.scale)
        return quadratic.sum(axis=1) + 0.5 * volume.sum()

    def log_normalizer_changes(self, x, changes):
        """Return how the log normalizer of each row of `x` changes with each of `changes`.

        Parameters
        ----------
        x : ndarray of shape (n_rows, n_features)
        changes : ndarray of shape (n_changes, n_features)
            Rows that are added to the input.

        Returns
        -------
        change : float64 ndarray of shape (n_rows, n_changes)
        """
        variance = self.variance
        alone = self.bias * changes + 0.5 * variance * np.square(changes)
        return (x * variance) @ changes.T + alone.sum(axis=1)

    def minus_energy(self, v):
        """Return the negative energy of the visible units alone, for each row."""
        standard = (v - self.bias) * np.exp(-0.5 * self.log_variance)
        return -0.5 * np.square(standard, out=standard).sum(axis=1, dtype=np.float64)

    # Learning -------------------------------------------------------------------------

    def add_gradient(self, of_bias, differences):
        """Add the gradient of the parameters in place.

        `differences` are those of the means of v and of v^2. The gradient of the bias is
        that of ``b / s^2``, the coefficient of v in the energy. The log variance changes
        more slowly than the other parameters, is bounded below, and changes little in a
        step: Melchior et al. (2017), as in `first_weights`, and Cho, K., Ilin, A. and
        Raiko, T. (2011). Improved learning of Gaussian-Bernoulli restricted Boltzmann
        machines. ICANN 2011, 10-17.
        """
        variance = self.variance
        of_v, of_square = differences
        change = of_square / (2 * variance) - self.bias / variance * of_v
        change *= VARIANCE_RATE
        np.clip(change, -LARGEST_VARIANCE_STEP, LARGEST_VARIANCE_STEP, out=change)
        self.bias[...] += variance * of_bias
        self.log_variance[...] += change
        lowest = np.log(SMALLEST_VARIANCE)
        np.maximum(self.log_variance, lowest, out=self.log_variance)

    def add_input(self, x):
        """Add a constant input in place, by changing the bias."""
        self.bias[...] += self.variance * x

    def center(self, mean):
        """Return the visible offset of centering, 0 because rows are standardized."""
        return np.zeros(len(self))

    def follow_mean(self, before, after):
        """Do nothing, since the location is the mean of the data."""

    # Between independent features and a model -----------------------------------------

    def independent(self, mean, dtype):
        """Return units that model independent features with the moments of the data."""
        return self.map(lambda array: np.zeros(len(array), dtype=dtype))

    def log_ratio_to(self, base, v):
        """Return the log-ratio of the densities, up to constants, to `base`, per row."""
        return self.minus_energy(v) - base.minus_energy(v)

    def sample_between(self, base, x, beta, generators):
        """Replace the input `x` with values drawn at inverse temperature `beta`, in place.

        The energy is ``(1 - beta) E_base + beta (E - x v)``. `beta` is a number or a column
        with one value per row. `generators` yields pairs of a slice of rows and the
        generator used to draw them.
        """
        precision, of_base = 1 / self.variance, 1 / base.variance
        x += precision * self.bias - of_base * base.bias
        x *= beta
        x += of_base * base.bias
        variance = 1 / (of_base + beta * (precision - of_base))
        x *= variance
        deviation = np.broadcast_to(np.sqrt(variance), x.shape)
        for rows, rng in generators:
            noise = rng.standard_normal(x[rows].shape, dtype=x.dtype)
            noise *= deviation[rows]
            x[rows] += noise


def is_constant(mean, variance, dtype):
    """Return which features do not vary by more than rounding errors."""
    precision = np.finfo(dtype if dtype.kind == "f" else np.float64).eps
    return np.sqrt(variance) <= 10 * precision * np.abs(mean)


# Sums of changes of softplus -------------------------------------------------------------

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


def _on_and_off(inputs):
    """Return ``sigma(a)`` and ``sigma(-a)``, neither computed as 1 minus the other."""
    return np.exp(-_kernels.softplus(-inputs)), np.exp(-_kernels.softplus(inputs))


def _unit_blocks(n_units, n_components):
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
        n_factors = int(exponent_limit(inputs.dtype) / max(largest, 1.0))
        self._size = min(_SUBSETS_OF, n_factors)
        self._step = n_factors // self._size
        p, q = _on_and_off(inputs)
        terms = _subset_products(q.T, p.T, self._size)
        self._of_rows = np.ascontiguousarray(terms.swapaxes(1, 2))

    def __call__(self, weights):
        """Return the sums for units with these weights, float64, (n_rows, n_units)."""
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

    Here a is the hidden input minus the contribution of the unit with its current value v.
    With p and q computed from the complete hidden input as in `SoftplusChanges`, the result
    is the sum of ``log (q_j + p_j exp(-v W_ij) exp(W_ij)) / (q_j + p_j exp(-v W_ij))``.
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
