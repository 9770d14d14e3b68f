"""How good is a model? Log partition function, log-likelihood, pseudo-log-likelihood.

The likelihood of a restricted Boltzmann machine is ``p(v) = exp(-F(v)) / Z``. The free
energy F is a formula; the partition function Z is a sum over all states, which is exact for
machines with few hidden, or few visible, units, and estimated for others.

The functions take anything that has `components_`, `intercept_visible_` and
`intercept_hidden_`: a fitted :class:`skrbm.BernoulliRBMEstimator`,
:class:`sklearn.neural_network.BernoulliRBM`, or an estimator whose arrays were set by hand.
"""

import dataclasses
import warnings
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_random_state

from skrbm import _annealing, _inputs
from skrbm._data import DataSet
from skrbm._enumeration import exact_draws, exact_log_partition
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

# Units of the smaller side up to which an exact sum is possible, and taken by default.
LARGEST_EXACT = 25
LARGEST_EXACT_AUTO = 20

INITS = {
    "exact": "exact draws",
    "chains": "draws of chains",
    "given": "given rows",
}
METHODS = {
    "exact": "exact sum",
    "ais": "annealed importance sampling",
    "reverse_ais": "reverse annealed importance sampling",
    "both": "forward and reverse annealed importance sampling",
}


# Partition function ---------------------------------------------------------------------


class _Number:
    """Something that is, first of all, its `value`."""

    value: float

    def __float__(self) -> float:
        return self.value

    def __format__(self, format_spec: str) -> str:
        return format(self.value, format_spec) if format_spec else repr(self)


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class LogPartition(_Number):
    """The logarithm of a partition function: what `log_partition` returns.

    Parameters
    ----------
    value : float
        Log Z, or the estimate of it, in nats. `float()` and formats, ``.2f`` say, take it.

    lower, upper : float
        The estimate less and plus three standard errors, in nats; the value itself where it
        is exact. They say how much other runs would scatter, not whether all runs miss
        something.

    method : {"exact", "ais", "reverse_ais", "both", "given"}
        How it was found; "given" is a number from elsewhere.

    of : tuple of float
        Projections of the parameters of the model that it is of, by which it is known
        again: no other model is judged by it.

    log_weights : float64 ndarray of shape (n_runs,) or None
        The logarithms of the importance weights, None where it is exact, or of two
        estimates.

    effective_sample_size : float or None
        ``(sum w)^2 / sum w^2``, the number of runs of equal weight that would be worth as
        much, None where it is exact; the smaller one of two estimates.

    n_betas : int or None
        Number of temperatures, None where it is exact.

    init : str or None
        Where reverse runs started: "exact" draws of the model, "chains" that have run
        for a while, or rows that were "given"; None for other methods.

    parts : tuple of LogPartition or None
        The forward and the reverse estimate, if `method` is "both".
    """

    value: float
    lower: float
    upper: float
    method: str
    of: tuple[float, ...]
    log_weights: np.ndarray | None = None
    effective_sample_size: float | None = None
    n_betas: int | None = None
    init: str | None = None
    parts: tuple["LogPartition", "LogPartition"] | None = None

    def __repr__(self) -> str:
        if self.parts is not None:
            return (
                f"log Z = {self.value:.2f}, between {self.lower:.2f} and {self.upper:.2f} "
                f"(forward: {self.parts[0]!r}; reverse: {self.parts[1]!r})"
            )
        if self.log_weights is None:
            return f"log Z = {self.value:.6f} ({self.method})"
        init = f" from {INITS[self.init]}" if self.init else ""
        return (
            f"log Z = {self.value:.2f}, 3 sigma: {self.lower:.2f} to {self.upper:.2f} "
            f"({METHODS[self.method]}, {len(self.log_weights)} runs{init}, "
            f"{self.n_betas} temperatures, effective sample size "
            f"{self.effective_sample_size:.1f})"
        )


def log_partition(
    rbm: Any,
    *,
    method: Literal["auto", "exact", "ais", "reverse_ais", "both"] = "auto",
    betas: int | ArrayLike | None = None,
    n_runs: int = 100,
    base_mean: ArrayLike | None = None,
    init: MatrixLike | None = None,
    n_jobs: int | None = None,
    random_state: RandomStateLike = None,
    verbose: int = 0,
) -> LogPartition:
    """Compute or estimate the log partition function.

    Annealed importance sampling (AIS) [1]_ takes runs from independent features to the
    model through many temperatures. The mean of their weights is an unbiased estimate of Z;
    that of log Z is therefore, with high probability, **too low**, and the log-likelihood
    that follows from it **too high**: by little if there are enough temperatures, by much
    if all runs miss a mode of the model. Reverse AIS [2]_ takes draws of the model the
    other way, and errs the other way. Log Z lies, with high probability, between the two,
    provided that what the reverse runs started from are draws of the model. Judge a model
    by both.

    Parameters
    ----------
    rbm : estimator
        A fitted estimator, or one with `components_`, `intercept_visible_` and
        `intercept_hidden_` set by hand.

    method : {"auto", "exact", "ais", "reverse_ais", "both"}, default="auto"
        "exact" sums over all states of the hidden or the visible units, whichever are
        fewer, of which there may be 25. "auto" does so up to 20, and takes "ais" for more.
        What belongs to AIS has no effect on an exact sum. "both" runs "ais" and
        "reverse_ais": its value lies halfway between the two, its bounds are the outer
        ones, and it warns where the two contradict each other.

    betas : int or array-like of shape (n_betas,), default=None
        Inverse temperatures of AIS, from 0 to 1, not falling. A number spreads as many as
        in [1]_, most of them close to 1: a thirtieth of the way takes them to 0.5, three
        tenths to 0.9. None means 14501.

    n_runs : int, default=100
        Number of runs of AIS.

    base_mean : float or array-like of shape (n_features,), default=None
        Means of the independent features that AIS goes from. Those of the training data
        are best; None takes them from the estimator, if it has kept them
        (`visible_mean_`), and else from chains of the model. 0.5, the uniform
        distribution, needs far more temperatures. They are kept 0.001 away from 0 and 1.

    init : array-like of shape (n_rows, n_features), default=None
        Rows for the runs of reverse AIS to start from, in turn; they should be draws of
        the model. None draws them: exactly, if the smaller side has at most 20 units, and
        else by 1000 Gibbs steps from the training's chains (`h_samples_`) or, if there are
        none, from where runs of AIS have ended.

    n_jobs : int, default=None
        Number of jobs that share the runs of AIS, as for joblib. None means 1, unless
        `joblib.parallel_config` says otherwise. Matrix products use threads anyway.

    random_state : int, RandomState instance or None, default=None
        Source of the draws. An int gives the same result at each call.

    verbose : int, default=0
        Whether to print how far AIS is, at each tenth of the temperatures.

    Returns
    -------
    result : LogPartition
        The value and its error, in nats.

    Raises
    ------
    ValueError
        If the machine is too large for an exact sum, its parameters do not fit together or
        are not finite, or an argument is out of range.
    NotFittedError
        If `rbm` has no parameters.

    Warns
    -----
    UserWarning
        If nearly all weight is on one of many runs, or the reverse estimate is below the
        forward one by more than their errors: neither is to be trusted.

    References
    ----------
    .. [1] Salakhutdinov, R. and Murray, I. (2008). On the quantitative analysis of deep
       belief networks. ICML 2008, 872-879.
    .. [2] Burda, Y., Grosse, R. and Salakhutdinov, R. (2015). Accurate and conservative
       estimates of MRF log-likelihood using reverse annealing. AISTATS 2015, 102-110.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.likelihood import log_partition
    >>> X = load_digits().data > 7
    >>> rbm = BernoulliRBMEstimator(n_components=10, n_iter=5, random_state=0).fit(X)
    >>> exact = log_partition(rbm)
    >>> exact.method
    'exact'
    >>> ais = log_partition(rbm, method="ais", betas=1000, random_state=0)
    >>> abs(ais.value - exact.value) < 0.5
    True
    """
    model = _inputs.model_of(rbm)
    _inputs.check_option("method", method, ("auto", *METHODS))
    if init is not None and method not in ("reverse_ais", "both"):
        raise ValueError(
            f"init is for method='reverse_ais' and method='both', but method is {method!r}."
        )
    _inputs.check_n_jobs(n_jobs)
    _inputs.check_integer(n_runs, "n_runs", 1)
    ladder = _inputs.check_betas(_annealing.N_BETAS if betas is None else betas)
    if isinstance(ladder, Integral):
        ladder = _annealing.ladder(ladder)
    if method == "auto":
        method = "exact" if min(model.weights.shape) <= LARGEST_EXACT_AUTO else "ais"
    if method == "exact":
        return _exact(model)
    source = check_random_state(random_state)

    def annealed(method: str) -> LogPartition:
        mean = _inputs.check_base_mean(rbm, model, base_mean, source)
        path = _annealing.Path(model, mean)
        starts = method == "reverse_ais" and _model_draws(rbm, path, init, n_runs, source)
        return _annealed(path, model, ladder, n_runs, source, starts, n_jobs, verbose)

    if method == "both":
        return _both(annealed("ais"), annealed("reverse_ais"))
    return annealed(method)


def _exact(model):
    """Return log Z as a sum over all states of the smaller side."""
    n_visible, n_hidden = model.weights.shape
    if min(n_visible, n_hidden) > LARGEST_EXACT:
        raise ValueError(
            f"An exact sum is possible up to {LARGEST_EXACT} units on the smaller side, "
            f"but this model has {n_visible} visible and {n_hidden} hidden ones. Use "
            "method='ais', and 'reverse_ais' for the other side."
        )
    value = float(exact_log_partition(model))
    return LogPartition(value, value, value, "exact", _projections(model))


def _annealed(path, model, ladder, n_runs, source, starts, n_jobs, verbose):
    """Return log Z by annealed runs, which are reverse ones if they have starts."""
    init, kind = starts or (None, None)
    log_weights, _ = _annealing.anneal_in_jobs(
        path,
        ladder[::-1] if starts else ladder,
        n_runs,
        source,
        init=init,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    log_mean = _annealing.log_mean(log_weights)
    value = float(path.base_log_partition + (-log_mean if starts else log_mean))
    error = _annealing.standard_error(log_weights)
    method = "reverse_ais" if starts else "ais"
    result = _estimate(value, error, method, model, log_weights, len(ladder), kind)
    if result.effective_sample_size < 2 <= n_runs / 5:
        warnings.warn(
            f"The estimate of log Z rests on one of {n_runs} runs: it may be wrong by much "
            "more than its error says. Take more temperatures (betas), more runs, or means "
            "of features closer to the model's (base_mean)."
        )
    return result


def _estimate(value, error, method, model, log_weights, n_betas, init=None):
    """Return what was estimated by annealed runs."""
    bounds = value - 3 * error, value + 3 * error
    size = _annealing.effective_number(log_weights)
    of = _projections(model)
    return LogPartition(value, *bounds, method, of, log_weights, size, n_betas, init)


def _both(forward, reverse):
    """Return the estimate that lies between a forward and a reverse one."""
    error = np.hypot(forward.upper - forward.value, reverse.upper - reverse.value)
    if reverse.value < forward.value - error:
        warnings.warn(
            f"The reverse estimate of log Z, {reverse.value:.2f}, is below the forward "
            f"one, {forward.value:.2f}, by more than their errors, {error:.2f}: the rows "
            "that the reverse runs started from are no draws of the model, or its chains "
            "do not mix. Trust neither; pass init, rows drawn with "
            "draw_chains(betas='auto') for instance, or train a model that mixes."
        )
    sizes = forward.effective_sample_size, reverse.effective_sample_size
    return dataclasses.replace(
        reverse,
        value=(forward.value + reverse.value) / 2,
        lower=min(forward.lower, reverse.lower),
        upper=max(forward.upper, reverse.upper),
        method="both",
        log_weights=None,
        effective_sample_size=min(sizes),
        parts=(forward, reverse),
    )


def _projections(model):
    """Return a projection of each array of the parameters, to know a model again by.

    Of random directions, always the same; unlike norms they see signs, and order.
    """
    rng = np.random.RandomState(0)
    visible, hidden = (rng.uniform(-1, 1, size=n) for n in model.weights.shape)
    weighted = model.weights @ hidden.astype(model.dtype)
    parts = (weighted, visible), (model.visible_bias, visible), (model.hidden_bias, hidden)
    return tuple(float(array @ direction) for array, direction in parts)


def _model_draws(rbm, path, init, n, random_state):
    """Return `n` rows that are draws of the model as nearly as can be, and their kind."""
    model = path.model
    if init is not None:
        rows = _inputs.check_rows(model, init)
        if not model.visible.are_states(rows.summary):
            raise ValueError("init must have values 0 and 1 only: draws of the model.")
        rows = rows.X[np.resize(np.arange(len(rows)), n)]
        return (rows if isinstance(rows, np.ndarray) else rows.toarray()), "given"
    rng = _annealing.generator(random_state.randint(2**31 - 1))
    if min(model.weights.shape) <= LARGEST_EXACT_AUTO:
        return exact_draws(model, n, rng), "exact"
    chains = getattr(rbm, "h_samples_", np.empty((0, 0)))
    if chains.shape[1:] == model.hidden_bias.shape and len(chains):
        h = np.resize(rng.permutation(len(chains)), n)
        h = chains[h].astype(np.float32)
        model.gibbs(h, 1000, rng)
    else:
        h, _ = _annealing.settled_chains(model, n, random_state)
    return model.sample_visible(h, rng), "chains"


# Likelihood -----------------------------------------------------------------------------


def log_likelihood(
    rbm: Any,
    X: MatrixLike,
    *,
    log_partition: LogPartition | float | None = None,
    random_state: RandomStateLike = None,
) -> np.ndarray:
    """Compute the log-likelihood of each row, ``-F(v) - log Z``.

    Parameters
    ----------
    rbm : estimator
        A fitted estimator, as for :func:`log_partition`.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows to judge, of values 0 and 1.

    log_partition : LogPartition or float, default=None
        Log Z of the model. None finds it, by :func:`log_partition`: exactly if the smaller
        side has at most 20 units, else by annealed importance sampling, which takes a while
        and makes the likelihood rather too high than too low.

    random_state : int, RandomState instance or None, default=None
        Source of the draws, where log Z is estimated.

    Returns
    -------
    log_likelihood : float64 ndarray of shape (n_samples,)
        Log-likelihoods, in nats.

    Raises
    ------
    ValueError
        If `X` has other values than 0 and 1, or not as many features as the model, or
        `log_partition` is that of another model.
    NotFittedError
        If `rbm` has no parameters.

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
    model = _inputs.model_of(rbm)
    data = _inputs.check_rows(model, X, rbm)
    _check_binary(data)
    log_z = _checked_log_partition(rbm, model, log_partition, random_state)
    return -data.apply(model.free_energy, model) - log_z.value


def _check_binary(data):
    summary = data.summary
    if not summary.binary:
        raise ValueError(
            "The model is one of binary rows, and X has other values than 0 and 1, from "
            f"{summary.low:g} to {summary.high:g}: make it binary, with "
            "sklearn.preprocessing.Binarizer(threshold=...) for instance. The "
            "pseudo-log-likelihood, score_samples, takes values between 0 and 1."
        )


def _checked_log_partition(rbm, model, log_partition, random_state):
    """Return what was given as one, after a check, or estimate it."""
    if log_partition is None:
        return _log_partition(rbm, random_state=random_state)
    given = log_partition
    if not isinstance(log_partition, LogPartition):
        try:
            value = float(log_partition)
        except (TypeError, ValueError):
            value = np.nan
        log_partition = LogPartition(value, value, value, "given", of=_projections(model))
    if not np.isfinite(log_partition.value):
        raise ValueError(
            "log_partition must be what log_partition() returned, or a finite number in "
            f"nats, but got {given!r}."
        )
    changes = np.abs(np.subtract(log_partition.of, _projections(model)))
    if not (changes <= [1e-5 * np.linalg.norm(array) for array in model]).all():
        raise ValueError(
            "log_partition is that of another model, or of this one before it was trained "
            "further: call log_partition again."
        )
    return log_partition


# For functions that have an argument of this name.
_log_partition = log_partition


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class MeanLogLikelihood(_Number):
    """The mean log-likelihood of rows: what `mean_log_likelihood` returns.

    Parameters
    ----------
    value : float
        The mean, in nats a row. `float()` and formats, ``.2f`` say, take it.

    standard_error : float
        Standard error of the mean over the rows, in nats: how far the mean of other rows
        of the same kind may be. Infinite for one row.

    lower, upper : float
        The mean for the upper and the lower bound of log Z, in nats.

    n_samples : int
        Number of rows.

    log_partition : LogPartition
        What it was computed with.
    """

    value: float
    standard_error: float
    lower: float
    upper: float
    n_samples: int
    log_partition: LogPartition

    def __repr__(self) -> str:
        return (
            f"mean log-likelihood = {self.value:.3f} nats, standard error "
            f"{self.standard_error:.3f} over {self.n_samples} rows; {self.lower:.3f} to "
            f"{self.upper:.3f} by {self.log_partition!r}"
        )


def mean_log_likelihood(
    rbm: Any,
    X: MatrixLike,
    *,
    log_partition: LogPartition | float | None = None,
    random_state: RandomStateLike = None,
) -> MeanLogLikelihood:
    """Compute the mean log-likelihood of rows, and how sure it is.

    Parameters
    ----------
    rbm : estimator
        A fitted estimator, as for :func:`log_partition`.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows to judge, of values 0 and 1.

    log_partition : LogPartition or float, default=None
        As for :func:`log_likelihood`.

    random_state : int, RandomState instance or None, default=None
        Source of the draws, where log Z is estimated.

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
    rows = log_likelihood(rbm, X, log_partition=0)  # checks the rows
    model = _inputs.model_of(rbm)
    log_z = _checked_log_partition(rbm, model, log_partition, random_state)
    mean = float(rows.mean())
    error = float(rows.std(ddof=1) / np.sqrt(len(rows))) if len(rows) > 1 else np.inf
    value, lower, upper = (mean - z for z in (log_z.value, log_z.upper, log_z.lower))
    return MeanLogLikelihood(value, error, lower, upper, len(rows), log_z)


def pseudo_log_likelihood(
    rbm: Any, X: MatrixLike, *, n_flips: int | None = None
) -> np.ndarray:
    """Compute the pseudo-log-likelihood of each row.

    The sum over all features of the log-probability of the feature's value given all
    other features [1]_. It needs no partition function, but sees the model only where the
    data are: a model may have it high and put most of its probability elsewhere.

    Parameters
    ----------
    rbm : estimator
        A fitted estimator, as for :func:`log_partition`.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows to score. Of a value v between 0 and 1 it is the mean of the two
        log-probabilities, of weight v and 1 - v. Values below 0 count as 0, above 1 as 1.

    n_flips : int, default=None
        Estimate the sum from this many features, the same for all rows and in every call,
        instead of from all. None, or as many as there are, is exact.

    Returns
    -------
    score : float64 ndarray of shape (n_samples,)
        Pseudo-log-likelihoods, in nats.

    Raises
    ------
    ValueError
        If `X` has not as many features as the model, or `n_flips` is not positive.
    NotFittedError
        If `rbm` has no parameters.

    Warns
    -----
    UserWarning
        If `X` has values outside [0, 1].

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
    model = _inputs.model_of(rbm)
    return score_rows(model, _inputs.check_rows(model, X, rbm), n_flips)


def score_rows(model, data, n_flips):
    """Do what `pseudo_log_likelihood` does, for checked rows."""
    _inputs.warn_of_range(
        data, model.visible, "Values below 0 count as 0 and values above 1 as 1."
    )
    columns = None
    if n_flips is not None:
        n_features = len(model.visible)
        _inputs.check_integer(n_flips, "n_flips", 1)
        if n_flips < n_features:
            order = np.random.RandomState(0).permutation(n_features)
            columns = np.sort(order[:n_flips])
    clip = model.visible.clip
    return data.apply(
        lambda v: model.pseudo_log_likelihood(clip(v), columns), model, threads=True
    )


# During training ------------------------------------------------------------------------


class LogLikelihoodTracker:
    """Follow the log-likelihood of a model while it is trained.

    Where the machine is too large for an exact sum, runs of annealed importance sampling go
    from independent features to the first model that is shown, and from there on from each
    model to the next. Models that are near each other need few temperatures, so that each
    look takes a fraction of what :func:`log_partition` takes. When few runs have most of
    the weight, runs are drawn anew by their weights [1]_.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows to judge by, of values 0 and 1; rows that the model is not trained on.

    n_betas : int, default=100
        Number of temperatures from one model to the next; from independent features to the
        first model there are ten times as many.

    n_runs : int, default=100
        Number of runs.

    random_state : int, RandomState instance or None, default=None
        Source of the draws; nothing is drawn from the model's own generators, so that a
        training that is watched is the same as one that is not.

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
    >>> monitor = LogLikelihoodTracker(X[1500:], random_state=0)
    >>> looks = [monitor.update(rbm.partial_fit(X[:1500])) for _ in range(5)]
    >>> looks[-1].value > looks[0].value
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
        rows = check_array(X, accept_sparse="csr", dtype=_inputs.DTYPES)
        _check_binary(DataSet(rows))  # now, not after a long training
        self.X = X
        self.n_betas = n_betas
        self.n_runs = n_runs
        self.random_state = random_state
        self._runs = None

    def update(self, rbm: Any) -> MeanLogLikelihood:
        """Judge the model as it is now.

        Parameters
        ----------
        rbm : estimator
            A fitted estimator, of the same shape in every call.

        Returns
        -------
        result : MeanLogLikelihood
            Mean log-likelihood of the rows, in nats, with the estimate of log Z.
        """
        model = _inputs.model_of(rbm)
        if min(model.weights.shape) <= LARGEST_EXACT_AUTO:
            log_z = _log_partition(rbm)
        else:
            log_z = self._follow(rbm, model.map(lambda a: a.astype(np.float32)))
        return mean_log_likelihood(rbm, self.X, log_partition=log_z)

    def _follow(self, rbm, model):
        runs, n_betas = self._runs, self.n_betas
        if runs is None:
            random_state = check_random_state(self.random_state)
            path = _annealing.Path(
                model, _inputs.check_base_mean(rbm, model, None, random_state)
            )
            rng = _annealing.generator(random_state.randint(np.iinfo(np.int32).max))
            runs, n_betas = _annealing.FollowingRuns(path, self.n_runs, rng), 10 * n_betas
        elif model.weights.shape != runs.model.weights.shape:
            raise ValueError(
                f"The model has {model.weights.shape} visible and hidden units, but the "
                f"one before had {runs.model.weights.shape}: make a monitor for each."
            )
        value, error, log_weights = runs.move_to(model, n_betas)
        self._runs = runs
        return _estimate(value, error, "ais", model, log_weights, n_betas)
