"""Which columns depend on each other, according to a fitted model.

The function accepts any object with `components_`, `intercept_visible_` and
`intercept_hidden_`, like the functions of :mod:`skrbm.likelihood`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from skrbm import _inputs, _kernels
from skrbm._attributes import model_of
from skrbm._typing import MatrixLike
from skrbm._units.softplus import softplus_changes

__all__ = ["EffectiveCouplings", "effective_couplings"]

# HIGHEST_FREQUENCY: sums over frequencies w end where the spectrum of softplus,
# ``pi / (w sinh(pi w))``, is below 1e-10. MARGIN: periods overlap where softplus differs
# from max(x, 0) by less than 1e-12. N_NORMS: by Hoeffding's inequality, the input of a
# hidden unit is this far from its mean with a probability below 1e-10. The unit of this
# distance is the norm of the largest effects of all columns.
HIGHEST_FREQUENCY, MARGIN, N_NORMS = 7.5, 30.0, 7.0


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class EffectiveCouplings:
    """Fields and couplings of columns, as returned by `effective_couplings`.

    Parameters
    ----------
    feature_names : list
        Names of the columns, or their indices if they have no names. A group of columns of
        a MixedRBMEstimator counts as one column. Its name is the tuple of their names.

    states : dict of ndarray
        States of each column, keyed by its name. They are 0 and 1 for bits, and the
        `categories_` for a MixedRBMEstimator. A real column has the states -1 and 1, in
        standard deviations from the mean.

    fields : dict of float64 ndarray
        Fields of the states of each column, in nats, keyed by its name. The fields of a
        column sum to 0.

    couplings : float64 ndarray of shape (n_states, n_states)
        Couplings of all pairs of states, in nats, in the order of `states`. Their sum over
        the states of either column is 0. Two states of the same column have the coupling 0.

    strengths : float64 ndarray of shape (n_features, n_features)
        Strengths of the couplings of pairs of columns, in nats. For two columns with two
        states each, this is the coupling of their second states. It is positive if the
        columns tend to be in the same state. For other columns, it is the root mean square
        of the couplings of their states, which has no sign.

    n_samples : int or None
        Number of rows in the average. None if the average is over all states.
    """

    feature_names: list[Hashable]
    states: dict[Hashable, np.ndarray]
    fields: dict[Hashable, np.ndarray]
    couplings: np.ndarray
    strengths: np.ndarray
    n_samples: int | None

    def between(self, first: Hashable, second: Hashable) -> np.ndarray:
        """Return the couplings of the states of two columns.

        Parameters
        ----------
        first, second : hashable
            Names of the columns, as in `feature_names`.

        Returns
        -------
        couplings : float64 ndarray of shape (n_states_of_first, n_states_of_second)
            Couplings, in nats, in the order of `states`.
        """
        for name in (first, second):
            if name not in self.states:
                raise ValueError(
                    f"There is no column {name!r}: the names are those in feature_names."
                )
        sizes = [len(states) for states in self.states.values()]
        ends = dict(zip(self.states, np.cumsum(sizes), strict=True))
        rows, columns = (
            slice(ends[name] - len(self.states[name]), ends[name])
            for name in (first, second)
        )
        return self.couplings[rows, columns]

    def strongest(self, n: int = 10) -> list[tuple[Hashable, Hashable, float]]:
        """Return the pairs of columns that are coupled most strongly.

        Parameters
        ----------
        n : int, default=10
            Maximum number of pairs to return.

        Returns
        -------
        pairs : list of tuples
            Names of two columns and the strength of their coupling, in nats, with the
            largest absolute values first. You can pass the pairs to
            ``networkx.Graph().add_weighted_edges_from``.
        """
        _inputs.check_integer(n, "n", 1)
        rows, columns = np.triu_indices(len(self.strengths), 1)
        values = self.strengths[rows, columns]
        order = np.argsort(-np.abs(values), kind="stable")[:n]
        names = self.feature_names
        return [(names[rows[k]], names[columns[k]], float(values[k])) for k in order]

    def __repr__(self) -> str:
        over = "all states" if self.n_samples is None else f"{self.n_samples} rows"
        lines = [f"couplings of {len(self.feature_names)} columns, averaged over {over}"]
        pairs = self.strongest(5)
        for a, b, value in pairs:
            has_sign = len(self.states[a]) == len(self.states[b]) == 2
            lines.append(f"{value:{'+' if has_sign else ''}8.3f}  {a!r}, {b!r}")
        return "\n".join(lines)


def effective_couplings(rbm: Any, X: MatrixLike | None = None) -> EffectiveCouplings:
    """Compute the fields and pair couplings of the columns of a model.

    Use it to find out which columns depend directly on each other. A coupling is the part
    of the dependence of two columns that the other columns do not explain [1]_. A
    correlation includes what the other columns explain.

    Parameters
    ----------
    rbm : estimator
        A fitted estimator, as for :func:`skrbm.likelihood.log_partition`.

    X : {data frame, array-like, sparse matrix} of shape (n_samples, n_features), \
default=None
        Rows without missing values, over which couplings are averaged. None averages over
        all states of the other columns with equal weights, which is faster. Pass rows of
        the data, a few hundred are enough, if most combinations of states never occur, as
        in sparse data.

    Returns
    -------
    result : EffectiveCouplings
        Fields, couplings and their strengths, in nats.

    Raises
    ------
    ValueError
        If `X` has missing values, values that are not states of the columns, or columns
        that the model does not have.
    TypeError
        If the columns of the model have no states.
    NotFittedError
        If `rbm` has no parameters.

    Notes
    -----
    Summing out the hidden units leaves a model of the columns alone. In it, groups of
    columns of any size interact. Its log-probability is a sum with one term for each group,
    and the mean of each term over the states of any of its columns is 0. The terms of
    single columns are the fields. The terms of pairs are the couplings, as in an Ising
    model with spins -1 and 1, or in a Potts model [2]_. Without `X`, couplings are exactly
    these terms, and states that never occur together count as much as any other. With `X`,
    a coupling is the mean over rows of the coupling of two columns given all others.

    The coupling of two bits is a quarter of their log odds ratio given the other columns::

        log [p(1, 1 | rest) p(0, 0 | rest) / (p(1, 0 | rest) p(0, 1 | rest))] / 4

    The field of a bit is half of its log odds where its couplings to other columns cancel
    out. A real column counts as a column of two states, one standard deviation below and
    above its mean.

    A mean over rows takes a time proportional to ``n_samples * n_features**2 *
    n_components``, for example a second for 1000 rows, 100 columns and 100 hidden units.
    The mean over all states is computed in the frequency domain, because the characteristic
    function of the input of a hidden unit is a product over columns. It only has rounding
    errors, unlike a normal approximation.

    References
    ----------
    .. [1] Decelle, A., Furtlehner, C., Navas Gomez, A. J. and Seoane, B. (2024). Inferring
       effective couplings with restricted Boltzmann machines. SciPost Physics, 16, 095.
    .. [2] Decelle, A., Navas Gomez, A. J. and Seoane, B. (2025). Inferring higher-order
       couplings with neural networks. arXiv:2501.06108.

    Examples
    --------
    >>> import numpy as np
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.inspection import effective_couplings
    >>> X = np.random.default_rng(0).integers(2, size=(500, 3))
    >>> X[:400, 2] = X[:400, 0]
    >>> rbm = BernoulliRBMEstimator(n_components=4, random_state=0).fit(X)
    >>> first, second, strength = effective_couplings(rbm, X).strongest(1)[0]
    >>> first, second, strength > 0.5
    (0, 2, True)
    """
    model = model_of(rbm).map(lambda a: np.asarray(a, np.float64))
    units = model.visible
    effects = units.effects(model.weights)
    if len(effects) < units.n_features:
        raise TypeError(
            f"The columns of a {type(rbm).__name__} have no states, between which "
            "couplings could be computed."
        )
    columns = _Columns([len(effects[i]) for i in range(units.n_features)])
    effects = columns.stack(effects)
    if X is None:
        n_samples = None
        fields, couplings = _over_states(columns, effects, model.hidden_bias)
    else:
        data = _inputs.check_rows(model, X, rbm)
        n_samples = len(data)
        _check_states(data, units)
        fields, couplings = _over_rows(columns, effects, model, data)
    biases = columns.stack(units.effects(units.coefficients[:, None]))
    fields += columns.center(biases)[:, 0]
    if units.precision is not None:
        signs = np.where(columns.is_first, -1, 1)
        of_states = units.precision[np.ix_(columns.of_state, columns.of_state)]
        couplings -= of_states * np.outer(signs, signs)
    columns.clear_own(couplings)
    names, states = _names_and_states(rbm, units)
    return EffectiveCouplings(
        feature_names=names,
        states=dict(zip(names, states, strict=True)),
        fields=dict(zip(names, np.split(fields, columns.starts[1:]), strict=True)),
        couplings=couplings,
        strengths=columns.strengths(couplings),
        n_samples=n_samples,
    )


def _check_states(data, units):
    """Raise an error if rows have values that are not states of the visible units."""
    if not units.are_states(data.summary):
        raise ValueError(
            f"Couplings are averaged over rows of the values {units.states}, but X has "
            f"values other than {units.states}, from {data.summary.low:g} to "
            f"{data.summary.high:g}: {units.advice_on_states}."
        )


def _names_and_states(rbm, units):
    """Return the names of columns, and their states in the values of the data."""
    if _inputs.reads_frames(rbm):
        names, states = rbm._columns
    else:
        names = getattr(rbm, "feature_names_in_", range(units.n_features))
        states = [units.value_limits] * units.n_features
    of_real = np.array([-1.0, 1.0])
    return list(names), [of_real if s is None else np.asarray(s) for s in states]


class _Columns:
    """The states of all columns, one column after the other.

    Parameters
    ----------
    sizes : list of int
        Number of states of each column.
    """

    def __init__(self, sizes):
        self.sizes = np.array(sizes)
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.of_state = np.repeat(np.arange(len(sizes)), sizes)
        self.is_first = np.isin(np.arange(len(self.of_state)), self.starts)
        # Orthonormal contrasts of the states of each column, one fewer than its states.
        # Values that sum to zero are combinations of them.
        self.contrasts = sp.block_diag(
            [scipy.linalg.helmert(size) for size in sizes], format="csr"
        )
        self.of_contrast = np.repeat(np.arange(len(sizes)), self.sizes - 1)

    def stack(self, of_columns, axis=0):
        """Return the arrays of all columns as one, along the axis of their states."""
        return np.concatenate([of_columns[i] for i in range(len(self.sizes))], axis)

    def mean(self, values):
        """Return the mean over the states of each column."""
        sizes = self.sizes.reshape(-1, *[1] * (values.ndim - 1))
        return np.add.reduceat(values, self.starts, axis=0) / sizes

    def center(self, values):
        """Subtract the mean over the states of each column."""
        return values - self.mean(values)[self.of_state]

    def clear_own(self, couplings):
        """Set couplings between states of the same column to 0, in place."""
        couplings[self.of_state[:, None] == self.of_state] = 0

    def strengths(self, couplings):
        """Return the strengths of couplings."""
        squares = self.mean(self.mean(np.square(couplings)).T).T
        last = self.starts + self.sizes - 1
        both = np.outer(self.sizes == 2, self.sizes == 2)
        return np.where(both, couplings[np.ix_(last, last)], np.sqrt(squares))


def _over_states(columns, effects, hidden_bias):
    """Return fields and couplings by the hidden units, averaged over all states.

    Let x be the input of a hidden unit. The second derivative of softplus(x) is the
    logistic density. This density is the integral of ``phi(w) exp(i w x) / (2 pi)`` over
    frequencies w, with ``phi(w) = pi w / sinh(pi w)``. The mean of ``exp(i w x)`` over the
    states of all columns but two is a product of means over the states of single columns.
    The sum over frequencies and hidden units is therefore a matrix product. Frequencies are
    spaced so that the inputs fit into a period.
    """
    centered, contrasts = columns.center(effects), columns.contrasts
    center = hidden_bias + columns.mean(effects).sum(axis=0)
    largest = np.maximum.reduceat(np.abs(centered), columns.starts, axis=0)
    norm = np.sqrt(np.square(largest).sum(axis=0))
    width = np.minimum(largest.sum(axis=0), N_NORMS * norm)
    period = np.abs(center) + width + MARGIN
    fields = contrasts @ centered.sum(axis=1) / 2
    couplings = np.zeros((contrasts.shape[0],) * 2)
    for unit, step in enumerate(2 * np.pi / period):
        n_frequencies = int(HIGHEST_FREQUENCY / step) + 1
        for block in _kernels.row_blocks(n_frequencies, len(effects), _kernels.WORK_SIZE):
            frequencies = (np.arange(block.start, block.stop) + 0.5) * step
            waves = np.exp(1j * frequencies * centered[:, unit, None])
            means = columns.mean(waves)
            means[np.abs(means) < 1e-30] = 1e-30  # cancels out unless several are tiny
            ratios = contrasts @ waves / (means[columns.of_contrast] * frequencies)
            spectrum = step * frequencies / np.sinh(np.pi * frequencies)
            factors = np.exp(1j * frequencies * center[unit]) * means.prod(axis=0)
            factors *= -spectrum
            fields += (ratios @ (factors / frequencies)).real
            # The real part of a product of complex matrices.
            couplings += (ratios * factors).view(float) @ ratios.conj().view(float).T
    return contrasts.T @ fields, contrasts.T @ couplings @ contrasts


def _over_rows(columns, effects, model, data):
    """Return fields and couplings by the hidden units, averaged over rows.

    In each row, the couplings of two columns are second differences of the log-probability
    of the row, when both columns change to other states.
    """
    n_states = len(effects)
    fields, couplings = np.zeros(n_states), np.zeros((n_states, n_states))
    mean, units = np.zeros(n_states), model.visible
    for _, v in data.blocks(model):
        inputs = model.hidden_input(v)
        v = v.toarray() if sp.issparse(v) else v
        coordinates = columns.stack(units.coordinates(v), axis=1)
        for row, factors in zip(inputs, coordinates, strict=True):
            now = np.add.reduceat(factors[:, None] * effects, columns.starts, axis=0)
            changes = effects - now[columns.of_state]
            (other,) = np.nonzero(changes.any(axis=1))
            changes = changes[other]
            terms = softplus_changes(np.vstack([row, row + changes]), changes)
            fields[other] += terms[0]
            couplings[np.ix_(other, other)] += terms[1:] - terms[0]
        mean += coordinates.sum(axis=0)
    couplings = columns.center(columns.center(couplings / len(data)).T).T
    columns.clear_own(couplings)
    return columns.center(fields / len(data)) - couplings @ (mean / len(data)), couplings
