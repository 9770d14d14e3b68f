"""Log partition function, log-likelihood and pseudo-log-likelihood of a model.

The likelihood of a row v is ``p(v) = exp(-F(v)) / Z``. The free energy F has a closed form.
The partition function Z is a sum over all states. It is computed exactly for models with
few hidden or few visible units, and estimated otherwise.

The functions accept any object with `components_`, `intercept_visible_` and
`intercept_hidden_`, for example a fitted :class:`skrbm.BernoulliRBMEstimator`, a fitted
:class:`sklearn.neural_network.BernoulliRBM`, or an object whose arrays you set yourself.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from skrbm import _annealing, _gaps, _inputs
from skrbm._attributes import model_of
from skrbm._bounds import N_ROWS, log_partition_bound
from skrbm._partition import (
    LARGEST_EXACT_AUTO,
    LogPartition,
    Number,
    belongs_to,
    check_base_mean,
    estimate,
    is_too_low,
    log_partition,
    without_error,
)
from skrbm._random import new_generator
from skrbm._typing import MatrixLike, RandomStateLike

__all__ = [
    "LogLikelihoodTracker",
    "LogPartition",
    "MeanLogLikelihood",
    "log_likelihood",
    "log_partition",
    "mean_log_likelihood",
    "pseudo_log_likelihood",
]

# The name under which results are pickled is the public one.
LogPartition.__module__ = log_partition.__module__ = __name__


def log_likelihood(
    rbm: Any,
    X: MatrixLike,
    *,
    log_partition: LogPartition | float | None = None,
    random_state: RandomStateLike = None,
) -> np.ndarray:
    """Compute the log-likelihood of each row, ``-F(v) - log Z``.

    Use it to compare models on the same rows, or to find rows that are improbable.

    Parameters
    ----------
    rbm : estimator
        A fitted estimator, as for :func:`log_partition`.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows to score. For a model of binary data, all values must be 0 or 1. NaN stands for
        a missing value, which is summed out.

    log_partition : LogPartition or float, default=None
        Log Z of the model. None computes it with :func:`log_partition`. Compute it once and
        pass it if you score several sets of rows. Pass 0 to leave log Z out.

    random_state : int, RandomState instance or None, default=None
        Controls the draws if log Z is estimated. Pass an int for reproducible results
        across calls.

    Returns
    -------
    log_likelihood : float64 ndarray of shape (n_samples,)
        Log-likelihoods, in nats.

    Raises
    ------
    ValueError
        If the model is one of binary data and `X` has values other than 0 and 1, if `X` and
        the model have different numbers of features, or if `log_partition` belongs to
        another model.
    NotFittedError
        If `rbm` has no parameters.

    Warns
    -----
    UserWarning
        If rows of `X` prove that log Z is larger than its estimate, or than a given number
        other than 0. For example, no row of bits has a log-probability above 0.

    Notes
    -----
    By default, log Z is exact if the smaller layer has at most 20 units. Otherwise it is
    estimated by annealed importance sampling, which takes longer, and log-likelihoods tend
    to be too high.

    Missing values are summed out exactly if the model has at most 20 hidden units.
    Otherwise annealed runs for each row estimate the sum. They always use the same random
    numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.likelihood import log_likelihood
    >>> X = np.array([[0, 0], [1, 1]] * 100)
    >>> rbm = BernoulliRBMEstimator(n_components=2, n_iter=100, random_state=0).fit(X)
    >>> states = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> float(np.exp(log_likelihood(rbm, states)).sum().round(6))
    1.0
    """
    model = model_of(rbm)
    data = _inputs.check_rows(model, X, rbm, to_score=True)
    return _log_likelihood(rbm, model, data, log_partition, random_state)


def _log_likelihood(rbm, model, data, log_partition, random_state):
    """Implement `log_likelihood` for validated rows."""
    rows = _minus_free_energy(model, data)
    log_z = _checked_log_partition(rbm, model, log_partition, random_state)
    _warn_if_too_low(model, data, rows, log_z)
    return rows - log_z.value


def _minus_free_energy(model, data):
    """Return the log-likelihoods of validated rows without log Z."""
    _check_states(data, model.visible)
    return _log_marginals(model.for_rows(len(data)), data)


def _log_marginals(model, data):
    """Return minus the free energy of rows, of their observed cells if they have gaps."""
    rows = data.apply(functools.partial(_gaps.log_marginals, model), model)
    return _without_impossible(rows, data)


def _without_impossible(scores, data):
    """Return the scores of rows, with -inf for impossible rows."""
    if data.impossible is None:
        return scores
    impossible = data.impossible if data.rows is None else data.impossible[data.rows]
    return np.where(impossible.reshape(-1, *[1] * (scores.ndim - 1)), -np.inf, scores)


def _check_states(data, units):
    """Raise an error if rows have values that are not states of the visible units."""
    summary = data.summary
    if not units.are_states(summary):
        raise ValueError(
            f"The log-likelihood requires rows of the values {units.states}, but X has "
            f"values other than {units.states}, from {summary.low:g} to "
            f"{summary.high:g}: {units.advice_on_states}. The pseudo-log-likelihood "
            "(score_samples) accepts values between them."
        )


def _checked_log_partition(rbm, model, given, random_state):
    """Return what the user gave as log Z as a LogPartition; compute it if it is None."""
    if given is None:
        return log_partition(rbm, random_state=random_state)
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value):
        raise ValueError(
            "log_partition must be a LogPartition returned by log_partition(), or a finite "
            f"number in nats, but got {given!r}."
        )
    if not isinstance(given, LogPartition):
        return without_error(value, "given", model)
    if not belongs_to(given.of, model):
        raise ValueError(
            "log_partition belongs to another model, or to this model before it was "
            "trained further: call log_partition() again."
        )
    return given


def _warn_if_too_low(model, data, rows, log_z):
    """Warn if rows refute log Z. Their negative free energies are `rows`."""
    complete = np.isfinite(rows)
    complete[data.gappy()] = False
    left_out = log_z.method == "given" and log_z.value == 0
    if log_z.method == "exact" or left_out or not complete.any():
        return
    order = np.argsort(np.where(complete, -rows, np.inf), kind="stable")
    places = order[: min(N_ROWS, np.count_nonzero(complete))]
    v = data.select(places if data.rows is None else data.rows[places])
    v = v.copy_rows(model.dtype)
    bound = log_partition_bound(model, v.toarray() if data.is_sparse else v)
    if not is_too_low(log_z, bound):
        return
    if log_z.method == "given":
        reason = "log_partition was given as"
        advice = "Pass None to compute it, or 0 for minus the free energy."
    else:
        reason = "it was estimated to be"
        advice = (
            "They are in a mode of the model that the estimate lacks. Often the training "
            "has missed it as well, and the model is not one of the data: see verdict_ of "
            "the estimator, if it has one."
        )
    warnings.warn(
        f"Log-likelihoods are too high, by at least {bound - log_z.value:.2f} nats: rows "
        f"of X show that log Z is at least {bound:.2f}, but {reason} {log_z.value:.2f}. "
        f"{advice}"
    )


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class MeanLogLikelihood(Number):
    """Mean log-likelihood of rows, as returned by `mean_log_likelihood`.

    Parameters
    ----------
    value : float
        Mean log-likelihood, in nats per row. ``float(result)`` and ``f"{result:.2f}"`` use
        this value.

    standard_error : float
        Standard error of the mean over the rows, in nats. It measures how much the mean
        would vary between samples of rows, and is infinite for a single row.

    lower, upper : float
        Bounds of the mean that follow from the bounds of log Z, in nats. The upper bound of
        log Z gives `lower`.

    n_samples : int
        Number of rows.

    log_partition : LogPartition
        The log partition function used.
    """

    value: float
    standard_error: float
    lower: float
    upper: float
    n_samples: int
    log_partition: LogPartition

    def __repr__(self) -> str:
        log_z, bounds = self.log_partition, ""
        if log_z.lower < log_z.upper:
            bounds = f", between {self.lower:.3f} and {self.upper:.3f}"
        return (
            f"mean log-likelihood = {self.value:.3f} nats{bounds}, standard error "
            f"{self.standard_error:.3f} over {self.n_samples} rows "
            f"(log Z = {log_z.value:.2f}, {log_z.method})"
        )


def mean_log_likelihood(
    rbm: Any,
    X: MatrixLike,
    *,
    log_partition: LogPartition | float | None = None,
    random_state: RandomStateLike = None,
) -> MeanLogLikelihood:
    """Compute the mean log-likelihood of rows and its uncertainty.

    Use it on held-out rows to say how good a model is.

    Parameters
    ----------
    rbm : estimator
        A fitted estimator, as for :func:`log_partition`.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows to score. For a model of binary data, all values must be 0 or 1. NaN stands for
        a missing value, which is summed out.

    log_partition : LogPartition or float, default=None
        Log Z of the model, as for :func:`log_likelihood`. Compute it once and pass it if
        you score several sets of rows.

    random_state : int, RandomState instance or None, default=None
        Controls the draws if log Z is estimated. Pass an int for reproducible results
        across calls.

    Returns
    -------
    result : MeanLogLikelihood
        The mean and its errors, in nats.

    Raises
    ------
    ValueError
        As for :func:`log_likelihood`.
    NotFittedError
        If `rbm` has no parameters.

    Warns
    -----
    UserWarning
        As for :func:`log_likelihood`, if rows of `X` prove that log Z is too low.

    Notes
    -----
    Missing values and log Z are treated as described for :func:`log_likelihood`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.likelihood import mean_log_likelihood
    >>> X = load_digits().data > 7
    >>> rbm = BernoulliRBMEstimator(n_components=10, n_iter=5, random_state=0).fit(X)
    >>> result = mean_log_likelihood(rbm, X)
    >>> result.lower == result.value == result.upper
    True
    """
    model = model_of(rbm)
    data = _inputs.check_rows(model, X, rbm, to_score=True)
    rows = _minus_free_energy(model, data)
    log_z = _checked_log_partition(rbm, model, log_partition, random_state)
    _warn_if_too_low(model, data, rows, log_z)
    mean = float(rows.mean())
    error = float(rows.std(ddof=1) / np.sqrt(len(rows))) if len(rows) > 1 else np.inf
    return MeanLogLikelihood(
        value=mean - log_z.value,
        standard_error=error,
        lower=mean - log_z.upper,
        upper=mean - log_z.lower,
        n_samples=len(rows),
        log_partition=log_z,
    )


def pseudo_log_likelihood(
    rbm: Any, X: MatrixLike, *, n_flips: int | None = None
) -> np.ndarray:
    """Compute the pseudo-log-likelihood of each row.

    The pseudo-log-likelihood of a row adds up, over all features, the log-probability of
    the feature's value given all other features [1]_. It is fast because it needs no
    partition function. But it evaluates the model only near the data. A model with a high
    pseudo-log-likelihood may still put most of its probability elsewhere.

    Parameters
    ----------
    rbm : estimator
        A fitted estimator, as for :func:`log_partition`.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows to score. Values between 0 and 1 are allowed. NaN stands for a missing value,
        whose term is left out, see :meth:`skrbm.BernoulliRBMEstimator.score_samples`.

    n_flips : int, default=None
        Number of features from which the sum is estimated. None uses all features, so that
        the sum is exact. Pass a smaller number than `n_features` to save time.

    Returns
    -------
    score : float64 ndarray of shape (n_samples,)
        Pseudo-log-likelihoods, in nats.

    Raises
    ------
    ValueError
        If `X` and the model have different numbers of features, if `n_flips` is not
        positive, or if `X` has integers other than 0 and 1 in a dtype other than int32 and
        int64.
    NotFittedError
        If `rbm` has no parameters.

    Warns
    -----
    UserWarning
        If `X` has floating-point, int32 or int64 values outside [0, 1].

    Notes
    -----
    For a value v between 0 and 1, the log-probabilities of 1 and 0 are averaged with
    weights v and 1 - v. Values below 0 count as 0, and values above 1 count as 1.

    With `n_flips`, the same features are used for all rows and in every call.

    References
    ----------
    .. [1] Besag, J. (1975). Statistical analysis of non-lattice data. The
       Statistician, 24(3), 179-195.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neural_network import BernoulliRBM
    >>> from skrbm.likelihood import pseudo_log_likelihood
    >>> X = np.array([[0, 0, 1], [1, 1, 0]] * 100)
    >>> theirs = BernoulliRBM(n_components=2, random_state=0).fit(X)
    >>> pseudo_log_likelihood(theirs, X).shape
    (200,)
    """
    model = model_of(rbm)
    if model.visible.score != "pseudo_log_likelihood":
        raise ValueError(
            "The pseudo-log-likelihood is only available for models of bits, categories "
            "and ordered levels. Use the log-likelihood."
        )
    data = _inputs.check_rows_and_values(model, X, rbm, to_score=True, clips=True)
    return _score_rows(rbm, model.for_rows(len(data)), data, n_flips)


def _score_rows(rbm, model, data, n_flips):
    """Implement `pseudo_log_likelihood` for validated rows."""
    columns = None
    if n_flips is not None:
        n_features, encoder = model.visible.n_features, model.visible.encoder
        _inputs.check_integer(n_flips, "n_flips", 1)
        if n_flips < n_features:
            order = np.random.RandomState(0).permutation(n_features)
            columns = np.sort(order[:n_flips])
            if encoder is not None:
                columns = np.flatnonzero(np.isin(encoder.feature_of, columns))
    clip, mean = model.visible.clip, getattr(rbm, "visible_mean_", 0.5)
    scores = data.apply(
        lambda v: _gaps.pseudo_log_likelihood(model, clip(v), columns, mean),
        model,
        threads=True,
    )
    return _without_impossible(scores, data)


def _score_cells(rbm, model, data, relative):
    """Return the log-probabilities of the cells of valid rows, which are NaN in gaps."""
    clip, mean = model.visible.clip, getattr(rbm, "visible_mean_", 0.5)
    cells = data.apply(
        lambda v: _gaps.score_cells(model, clip(v), relative, mean),
        model,
        n_columns=data.n_features,
        threads=True,
    )
    if data.has_gaps:
        cells[np.isnan(data.X)] = np.nan
    return cells


class ConditionalMoments(NamedTuple):
    """Means and standard deviations of a column of numbers, one for each row."""

    mean: np.ndarray
    std: np.ndarray


def _conditionals(rbm, model, data, features):
    """Return the distributions of columns given all others, by column, for valid rows.

    The numbers of a column do not change its own distribution by rounding, however large
    they are.
    """
    clip, mean = model.visible.clip, getattr(rbm, "visible_mean_", 0.5)
    n_states = model.visible.n_states

    def values(data, features, n_columns):
        return data.apply(
            lambda v: _gaps.conditionals(model, clip(v), features, mean),
            model,
            n_columns=n_columns,
            threads=True,
        )

    found: dict[int, Any] = {
        number: ConditionalMoments(*values(data.hide(number), [number], 2).T)
        for number in features
        if not n_states[number]
    }
    with_states = [feature for feature in features if n_states[feature]]
    if with_states:
        stops = np.cumsum(n_states[with_states])
        p = values(data, with_states, stops[-1])
        found |= zip(with_states, np.split(p, stops[:-1], axis=1), strict=True)
    return found


# During training ------------------------------------------------------------------------


class LogLikelihoodTracker:
    """Log-likelihood of a model during training.

    Create a tracker before training, and call :meth:`update` now and then. An update takes
    a fraction of the time of :func:`log_partition`.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Held-out rows. For a model of binary data, all values must be 0 or 1.

    n_betas : int, default=100
        Number of temperatures from one model to the next. Use more if updates are far
        apart, because the model then changes more between them.

    n_runs : int, default=100
        Number of runs of annealed importance sampling. More runs reduce the error and take
        more time.

    random_state : int, RandomState instance or None, default=None
        Controls the draws. The random generators of the estimator are not used, so tracking
        does not change the training.

    Notes
    -----
    With at most 20 units in the smaller layer, log Z is computed exactly. Otherwise, runs
    of annealed importance sampling (AIS) go from independent features to the model of the
    first update, with ten times `n_betas` temperatures, and then from each model to the
    next. Successive models are close to each other, so few temperatures suffice. When few
    runs have most of the weight, the runs are resampled according to their weights [1]_.

    References
    ----------
    .. [1] Del Moral, P., Doucet, A. and Jasra, A. (2006). Sequential Monte Carlo samplers.
       Journal of the Royal Statistical Society B, 68(3), 411-436.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.likelihood import LogLikelihoodTracker
    >>> X = load_digits().data > 7
    >>> rbm = BernoulliRBMEstimator(n_components=30, random_state=0)
    >>> tracker = LogLikelihoodTracker(X[1500:], random_state=0)
    >>> results = [tracker.update(rbm.partial_fit(X[:1500])) for _ in range(5)]
    >>> results[-1].value > results[0].value
    True
    """

    def __init__(
        self,
        X: MatrixLike,
        *,
        n_betas: int = 100,
        n_runs: int = 100,
        random_state: RandomStateLike = None,
    ) -> None:
        _inputs.check_integer(n_betas, "n_betas", 1)
        _inputs.check_integer(n_runs, "n_runs", 2)
        source = _inputs.stand_in(type(self).__name__)
        _inputs.check_table(X, source, reset=True)  # values wait for the estimator
        self.X = X
        self.n_betas = n_betas
        self.n_runs = n_runs
        self.random_state = random_state
        self._runs: _annealing.FollowingRuns | None = None

    def update(self, rbm: Any) -> MeanLogLikelihood:
        """Compute the mean log-likelihood under the current model.

        Parameters
        ----------
        rbm : estimator
            A fitted estimator, with parameters of the same shapes in every call.

        Returns
        -------
        result : MeanLogLikelihood
            Mean log-likelihood of the rows, in nats, with log Z or its estimate.
        """
        model = model_of(rbm)
        if model.n_enumerated <= LARGEST_EXACT_AUTO:
            log_z = log_partition(rbm)
        else:
            log_z = self._follow(rbm, model.map(lambda a: a.astype(np.float32)))
        return mean_log_likelihood(rbm, self.X, log_partition=log_z)

    def _follow(self, rbm, model):
        runs, n_betas = self._runs, self.n_betas
        if runs is None:
            random_state = check_random_state(self.random_state)
            path = _annealing.TemperaturePath(
                model, check_base_mean(rbm, model, None, random_state)
            )
            rng = new_generator(random_state)
            runs, n_betas = _annealing.FollowingRuns(path, self.n_runs, rng), 10 * n_betas
        elif model.weights.shape != runs.model.weights.shape:
            raise ValueError(
                f"The model has {model.weights.shape} visible and hidden units, but the "
                f"previous one had {runs.model.weights.shape}: use one tracker per model."
            )
        value, error, log_weights = runs.move_to(model, n_betas)
        self._runs = runs
        return estimate(
            value=value,
            error=error,
            model=model,
            log_weights=log_weights,
            method="ais",
            n_betas=n_betas,
        )
