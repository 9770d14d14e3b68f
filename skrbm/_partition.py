"""Log partition functions: exact sums and estimates by annealed importance sampling.

The public part belongs to :mod:`skrbm.likelihood`.
"""

from __future__ import annotations

import dataclasses
import warnings
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state, check_scalar

from skrbm import _annealing, _inputs
from skrbm._attributes import model_of
from skrbm._bounds import log_partition_bound
from skrbm._enumeration import exact_draws, exact_log_partition
from skrbm._ladders import ModelLadder, check_ladder
from skrbm._random import new_generator
from skrbm._typing import MatrixLike, RandomStateLike

# Largest size of the smaller layer for which an exact sum is possible, and for which
# method="auto" uses it.
_LARGEST_EXACT = 25
LARGEST_EXACT_AUTO = 20

# Number of temperatures for scores, which do not depend on chance.
N_BETAS_OF_SCORES = 2000

_INITS = {
    "exact": "exact draws",
    "chains": "draws of chains",
    "given": "given rows",
}
_METHODS = {
    "exact": "exact sum",
    "ais": "annealed importance sampling",
    "reverse_ais": "reverse annealed importance sampling",
    "both": "forward and reverse annealed importance sampling",
}


class Number:
    """Result that converts and formats like its `value`."""

    value: float

    def __float__(self) -> float:
        return self.value

    def __format__(self, format_spec: str) -> str:
        return format(self.value, format_spec) if format_spec else repr(self)


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class LogPartition(Number):
    """Log partition function and its error, as returned by `log_partition`.

    Before you trust an estimate, look at `converged` and at the distance from `lower` to
    `upper`.

    Parameters
    ----------
    value : float
        Log Z or its estimate, in nats. ``float(result)`` and ``f"{result:.2f}"`` use this
        value.

    lower, upper : float
        Bounds of log Z, in nats: three standard errors below and above `value`, and equal
        to it if it is exact. If `method` is "both", they are the outer bounds of the two
        estimates. If states of the model prove that the runs missed something, `lower` is
        the bound that they prove, and `upper` is infinite.

    method : {"exact", "ais", "reverse_ais", "both", "given"}
        How `value` was obtained. "given" means that the user passed a number.

    of : tuple of float
        Projections of the model's parameters. They identify the model, so that the value
        cannot be used for another one by mistake.

    log_weights : float64 ndarray of shape (n_runs,) or None
        Logarithms of the importance weights. None unless `method` is "ais" or
        "reverse_ais".

    effective_sample_size : float or None
        Effective number of runs. If `method` is "both", it is the smaller one of the two
        estimates. None if there were no runs.

    n_betas : int or None
        Number of temperatures, or of models on a ladder. None if there were no runs.

    init : str or None
        Start of the reverse runs: "exact" draws of the model, draws from "chains", or rows
        that were "given". None if there were no reverse runs.

    parts : tuple of LogPartition or None
        The forward and the reverse estimate. None unless `method` is "both".

    n_rungs : int or None
        Number of rungs of the ladder that the runs moved along. None if there was none.

    converged : bool or None
        Whether the number of temperatures that was chosen is large enough. False if even
        8001 temperatures were too few, or if states of the model prove the estimate wrong.
        None if the user chose the number, or if there were no runs.

    Notes
    -----
    The bounds and `converged` describe how much the runs differ. They cannot show what all
    runs miss.

    The effective number of runs with weights w is ``(sum w)^2 / sum w^2``. The number of
    temperatures is large enough if this is at least a third of the number of runs, and at
    least 2.
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
    parts: tuple[LogPartition, LogPartition] | None = None
    n_rungs: int | None = None
    converged: bool | None = None

    def __repr__(self) -> str:
        refuted = self.lower == self.value < self.upper
        bound = f"log Z >= {self.value:.2f}, as states of the model prove"
        if self.parts is not None:
            between = f"between {self.lower:.2f} and {self.upper:.2f}"
            return (
                f"{bound if refuted else f'log Z = {self.value:.2f}, {between}'} "
                f"(forward: {self.parts[0]!r}; reverse: {self.parts[1]!r})"
            )
        if self.log_weights is None:
            return f"log Z = {self.value:.6f} ({self.method})"
        init = f" from {_INITS[self.init]}" if self.init else ""
        ladder = f" on a ladder of {self.n_rungs} rungs" if self.n_rungs else ""
        places = f"{self.n_betas} {'models' if ladder else 'temperatures'}{ladder}"
        if self.converged is not None and not refuted:
            places += " (chosen)" if self.converged else " (the most tried, too few)"
        sigma = f"3 sigma: {self.lower:.2f} to {self.upper:.2f}"
        return (
            f"{bound if refuted else f'log Z = {self.value:.2f}, {sigma}'} "
            f"({_METHODS[self.method]}, {len(self.log_weights)} runs{init}, "
            f"{places}, effective sample size {self.effective_sample_size:.1f})"
        )


def log_partition(
    rbm: Any,
    *,
    method: Literal["auto", "exact", "ais", "reverse_ais", "both"] = "auto",
    betas: int | ArrayLike | None = None,
    n_runs: int = 100,
    base_mean: ArrayLike | None = None,
    ladder: ModelLadder | None = None,
    init: MatrixLike | None = None,
    n_jobs: int | None = None,
    random_state: RandomStateLike = None,
    verbose: int = 0,
) -> LogPartition:
    """Compute or estimate the log partition function.

    Log-likelihoods need it: the log-likelihood of a row is minus its free energy, minus
    log Z. The value is exact for small models. For larger ones, use ``method="both"``
    before you report a log-likelihood, and distrust it unless the two estimates agree.

    Parameters
    ----------
    rbm : estimator
        A fitted estimator, or one with `components_`, `intercept_visible_` and
        `intercept_hidden_` set by hand.

    method : {"auto", "exact", "ais", "reverse_ais", "both"}, default="auto"
        "exact" is a sum over all states of the smaller layer, for up to 25 units. "ais" and
        "reverse_ais" are estimates by annealed importance sampling, forward and in reverse.
        "auto" uses "exact" for up to 20 units and "ais" for more. Use "both" to check an
        estimate: it runs the two and warns if they contradict each other.

    betas : int or array-like of shape (n_betas,), default=None
        Inverse temperatures of AIS, non-decreasing from 0 to 1, or their number. None
        starts with 501 and doubles the number until the runs agree well enough, up to 8001.
        Pass a larger number if `converged` of the result is False.

    n_runs : int, default=100
        Number of AIS runs. Increase it to reduce the standard error. The time grows in
        proportion.

    base_mean : float or array-like of shape (n_features,), default=None
        Means of the independent features at which AIS starts, from 0 to 1. None uses the
        means of the training data (`visible_mean_`). Pass these means if the estimator does
        not have them. Only a model of an array of bits accepts other values than None.

    ladder : ModelLadder, default=None
        Models that the runs move through instead of temperatures [3]_, ending with the
        model of `rbm`. :class:`skrbm.callbacks.TrajectoryLadder` collects them. Use a
        ladder if the training was slow.

    init : array-like of shape (n_rows, n_features), default=None
        Rows at which the reverse AIS runs start, used cyclically. None draws them from the
        model. Pass better draws if its chains do not mix, for example those of parallel
        tempering.

    n_jobs : int, default=None
        Number of joblib jobs that share the AIS runs. None means 1 unless in a
        `joblib.parallel_config` context. Matrix products use threads in any case.

    random_state : int, RandomState instance or None, default=None
        Controls the draws. Pass an int for reproducible results across calls.

    verbose : int, default=0
        If not 0, print the progress of AIS at each tenth of the temperatures, in each
        attempt to find their number.

    Returns
    -------
    result : LogPartition
        Log Z and its error, in nats.

    Raises
    ------
    ValueError
        If the model is too large for an exact sum, its parameters have inconsistent shapes
        or are not finite, or an argument is out of range. Also if `ladder` belongs to
        another model, or if both `base_mean` and `ladder` are given.
    NotFittedError
        If `rbm` has no parameters.

    Warns
    -----
    UserWarning
        If one of 10 or more runs has nearly all the weight, or if the reverse estimate is
        below the forward one by more than their errors. The estimates are then unreliable.
        Also if rows prove that the estimate is too low. These are training rows, by the
        bound that `fit` has found (`verdict_`), or the rows at which the reverse runs
        start. The result is then this bound, `upper` is infinite, and `converged` is False.

    See Also
    --------
    mean_log_likelihood : Mean log-likelihood of rows with its error.
    skrbm.sampling.draw_chains : Chains to look at, if the estimates disagree.

    Notes
    -----
    **Exact sums.** Only a model of an array of bits has a sum over the states of the
    visible layer. For all other models, the smaller layer always means the hidden one. The
    parameters other than `method` have no effect on an exact sum.

    **Direction of the errors.** Annealed importance sampling [1]_ moves runs from
    independent features to the model through many temperatures. The mean of the importance
    weights is an unbiased estimate of Z. The estimate of log Z is therefore, with high
    probability, **too low**, and the log-likelihood **too high**: slightly if there are
    enough temperatures, considerably if all runs miss a mode of the model. Reverse AIS [2]_
    starts from draws of the model and errs in the opposite direction. With high
    probability, log Z lies between the two estimates, if the reverse runs start from draws
    of the model. "both" returns the midpoint of the two estimates with their outer bounds.

    **Temperatures.** If `betas` is None, 501, 1001, 2001, 4001 and 8001 temperatures are
    tried until the effective sample size is at least ``n_runs / 3``, and at least 2. The
    standard error is then at most ``sqrt(2 / (n_runs - 1))``, 0.14 nats for 100 runs. The
    first temperatures are evenly spaced. The weights of each attempt tell where to place
    those of the next, and the result is that of the last attempt alone. If `betas` is an
    int, the temperatures are spaced as in [1]_, most of them close to 1: about 1/30 of them
    are below 0.5, and 3/10 below 0.9.

    **Start.** From 0.5, the uniform distribution, AIS needs far more temperatures than from
    the means of the data. If the estimator does not have these, the means of chains of the
    model replace them. All means are clipped to [0.001, 0.999]. For real-valued features,
    AIS starts at a Gaussian with the means and the covariances or variances of the training
    data.

    **Draws for reverse runs** are exact if the smaller layer has at most 20 units.
    Otherwise, they are made by 1000 Gibbs steps from the persistent chains of training
    (`h_samples_`) or, if there are none, from the final states of AIS runs.

    **Ladders.** The first rung of a ladder has independent features, which replace
    `base_mean`. With a ladder, `betas` are fractions of the way along it, and an int places
    them evenly. Parameters are interpolated between the rungs. A step costs one and a half
    times as much as a step between temperatures.

    **Bounds.** Z is at least the sum of ``exp(-F)`` over any set of different rows of bits,
    where F is the free energy. For real values, there is a similar bound.

    References
    ----------
    .. [1] Salakhutdinov, R. and Murray, I. (2008). On the quantitative analysis of deep
       belief networks. ICML 2008, 872-879.
    .. [2] Burda, Y., Grosse, R. and Salakhutdinov, R. (2015). Accurate and conservative
       estimates of MRF log-likelihood using reverse annealing. AISTATS 2015, 102-110.
    .. [3] Bereux, N., Decelle, A., Furtlehner, C., Rosset, L. and Seoane, B. (2025). Fast
       training and sampling of restricted Boltzmann machines. ICLR 2025.

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
    model = model_of(rbm)
    _inputs.check_option("method", method, ("auto", *_METHODS))
    if init is not None and method not in ("reverse_ais", "both"):
        raise ValueError(
            "init is only used by method='reverse_ais' and method='both', but got "
            f"method={method!r}."
        )
    if base_mean is not None and ladder is not None:
        raise ValueError(
            "base_mean has no effect on a ladder, which starts at features of its own: "
            "pass only one of them."
        )
    _inputs.check_n_jobs(n_jobs)
    _inputs.check_integer(n_runs, "n_runs", 1)
    check_scalar(verbose, "verbose", Integral, min_val=0)
    if betas is not None:
        betas = _inputs.check_betas(betas)
    if isinstance(betas, Integral):
        evenly = ladder is not None
        betas = np.linspace(0, 1, betas) if evenly else _annealing.usual_betas(betas)
    if method == "auto":
        method = "exact" if model.n_enumerated <= LARGEST_EXACT_AUTO else "ais"
    path = None if ladder is None else check_ladder(ladder, model)
    if method == "exact":
        return _exact(model)
    source = check_random_state(random_state)
    if path is None:
        base_mean = check_base_mean(rbm, model, base_mean, source)
        path = _annealing.TemperaturePath(model, base_mean)
    options = {"betas": betas, "n_runs": n_runs, "n_jobs": n_jobs, "verbose": verbose}
    estimates, bound = [], _bound_of_training(rbm, model)
    if method in ("ais", "both"):
        estimates.append(_annealed(path, model, source, **options))
    if method in ("reverse_ais", "both"):
        draws, origin = _model_draws(rbm, path.model, init, n_runs, source)
        options |= {"draws": draws, "origin": origin}
        estimates.append(_annealed(path, model, source, **options))
        bound = max(bound, log_partition_bound(path.model, draws))
    result = _both(*estimates) if method == "both" else estimates[0]
    if is_too_low(result, bound):
        warnings.warn(
            f"The estimate of log Z, {result.value:.2f}, is too low: states of the model "
            f"show that log Z is at least {bound:.2f}. This bound is used instead, and "
            "log-likelihoods may still be too high. The runs have missed a mode of the "
            "model, which its training may have missed as well."
        )
        bounds = {"value": bound, "lower": bound, "upper": np.inf}
        result = dataclasses.replace(result, **bounds, converged=False)
    return result


def is_too_low(log_z, bound):
    """Return whether log Z is below a lower bound by more than its error and rounding."""
    return bound > log_z.upper + 0.1 + 1e-5 * abs(bound)


def _bound_of_training(rbm, model):
    """Return the bound on log Z that `fit` has found, or -inf if the model has changed."""
    verdict = getattr(rbm, "verdict_", None)
    if verdict is None or not belongs_to(verdict.of, model):
        return -np.inf
    return verdict.log_partition_bound


def check_base_mean(rbm, model, base_mean, random_state):
    """Return the means of independent features, the base distribution of annealing.

    These are `base_mean` if given, else the means of the training data, else the means of
    chains of the model. Chains are not run for visible units whose means users may not
    choose. If these have no means of training data, 0.5 is passed as a guess to
    `VisibleUnits.independent`.
    """
    n_features = len(model.visible)
    if not model.visible.has_base_mean:
        if base_mean is not None:
            raise ValueError(
                "base_mean has no effect on features that are not binary, for which "
                "annealing starts at independent features with the moments of the "
                "training data: do not pass it."
            )
        return getattr(rbm, "visible_mean_", 0.5)
    if base_mean is None:
        base_mean = getattr(rbm, "visible_mean_", None)
        if base_mean is None:
            base_mean = _annealing.settled_chains(model, 100, random_state)[1]
        # It may be outside [0, 1] if training used such values unchanged.
        base_mean = np.clip(base_mean, 0, 1)
    mean = np.asarray(base_mean, dtype=np.float64)
    if mean.shape not in ((), (n_features,)):
        raise ValueError(
            f"base_mean must be a number or have shape ({n_features},), one mean per "
            f"feature, but has shape {mean.shape}."
        )
    if not ((mean >= 0) & (mean <= 1)).all():
        raise ValueError("base_mean must only have values from 0 to 1.")
    return np.broadcast_to(mean, n_features)


def _exact(model):
    """Return log Z as a sum over all states of the smaller layer."""
    n_visible, n_hidden = model.weights.shape
    if model.n_enumerated > _LARGEST_EXACT:
        raise ValueError(
            f"method='exact' supports up to {_LARGEST_EXACT} units in the smaller layer, "
            f"but the model has {n_visible} visible and {n_hidden} hidden units. Use "
            "method='ais', and method='reverse_ais' to check it."
        )
    value = float(exact_log_partition(model))
    return without_error(value, "exact", model)


def without_error(value, method, model):
    """Return log Z of a model for which the value is taken to be exact."""
    return LogPartition(
        value=value, lower=value, upper=value, method=method, of=projections(model)
    )


def _annealed(
    path, model, source, *, betas, n_runs, n_jobs, verbose, draws=None, origin=None
):
    """Return log Z estimated by AIS, or by reverse AIS from draws of the model."""
    reverse, converged = draws is not None, None
    options = {"init": draws, "n_jobs": n_jobs}
    if verbose:
        options["title"] = "reverse AIS" if reverse else "AIS"
    if betas is None:
        runs = _annealing.anneal_until_even(path, n_runs, source, **options)
        log_weights, n_betas, converged = runs
    else:
        log_weights, _ = _annealing.anneal_in_jobs(
            path, betas[::-1] if reverse else betas, n_runs, source, **options
        )
        n_betas = len(betas)
    log_mean = _annealing.log_mean(log_weights)
    result = estimate(
        value=float(path.base_log_partition + (-log_mean if reverse else log_mean)),
        error=_annealing.standard_error(log_weights),
        model=model,
        log_weights=log_weights,
        method="reverse_ais" if reverse else "ais",
        n_betas=n_betas,
        init=origin,
        n_rungs=path.n_rungs,
        converged=converged,
    )
    if n_runs >= 10 and result.effective_sample_size < 2:
        closer = "a base_mean closer to the means of the model"
        if path.n_rungs is not None:
            closer = "a ladder with more rungs"
        warnings.warn(
            f"The estimate of log Z is dominated by one of {n_runs} runs, so it may be off "
            "by much more than its error. Use more temperatures (betas, which were "
            f"{n_betas}), more runs (n_runs), or {closer}."
        )
    return result


def estimate(*, value, error, model, log_weights, **others):
    """Return an AIS estimate with its bounds, diagnostics and other fields."""
    return LogPartition(
        value=value,
        lower=value - 3 * error,
        upper=value + 3 * error,
        of=projections(model),
        log_weights=log_weights,
        effective_sample_size=_annealing.effective_number(log_weights),
        **others,
    )


def _both(forward, reverse):
    """Combine a forward and a reverse estimate; warn if they contradict each other."""
    error = np.hypot(forward.upper - forward.value, reverse.upper - reverse.value)
    if reverse.value < forward.value - error:
        warnings.warn(
            f"The reverse estimate of log Z, {reverse.value:.2f}, is below the forward "
            f"one, {forward.value:.2f}, by more than their errors, {error:.2f}: either "
            "the reverse runs did not start from draws of the model, or its chains do not "
            "mix. Neither estimate is reliable. Pass draws of the model as init, for "
            "example rbm.sample(100, betas='auto'), or train a model that mixes."
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
        n_betas=max(forward.n_betas, reverse.n_betas),
        converged=forward.converged and reverse.converged,
    )


def projections(model):
    """Return one projection of each parameter array, to identify the model.

    The directions are random but fixed. Unlike norms, projections depend on the signs and
    the order of the values.
    """
    rng = np.random.RandomState(0)
    visible, hidden = (rng.uniform(-1, 1, size=n) for n in model.weights.shape)
    weighted = model.weights @ hidden.astype(model.dtype)
    arrays = weighted, *model.visible.arrays_of_partition
    of_visible = [float(array @ visible[: len(array)]) for array in arrays]
    return *of_visible, float(model.hidden_bias @ hidden)


def belongs_to(of, model):
    """Return whether these are the projections of this model, up to rounding."""
    of_model = projections(model)
    if len(of) != len(of_model):
        return False
    arrays = model.weights, *model.visible.arrays_of_partition, model.hidden_bias
    limits = [1e-5 * np.linalg.norm(array) + 1e-12 for array in arrays]
    return bool((np.abs(np.subtract(of, of_model)) <= limits).all())


def training_chains(rbm, model, n, rng):
    """Return hidden states of `n` persistent chains of training in random order, or None.

    They are repeated if there are fewer. The result is None if the estimator has no chains
    whose shape is that of the hidden layer.
    """
    chains = np.asarray(getattr(rbm, "h_samples_", ()))
    if len(chains) == 0 or chains.shape[1:] != model.hidden_bias.shape:
        return None
    return chains[np.resize(rng.permutation(len(chains)), n)].astype(model.dtype)


def _model_draws(rbm, model, init, n, random_state):
    """Return `n` (approximate) draws of a float32 model and how they were obtained."""
    if init is not None:
        rows = _inputs.check_rows(model, init, rbm, name="init")
        if not model.visible.are_states(rows.summary):
            raise ValueError(
                f"init must be draws of the model, with values {model.visible.states} only."
            )
        rows = rows.select(np.resize(np.arange(len(rows)), n)).copy_rows(np.float32)
        return (rows if isinstance(rows, np.ndarray) else rows.toarray()), "given"
    rng = new_generator(random_state)
    if model.n_enumerated <= LARGEST_EXACT_AUTO:
        return exact_draws(model, n, rng), "exact"
    h = training_chains(rbm, model, n, rng)
    if h is None:
        h, _ = _annealing.settled_chains(model, n, random_state)
    else:
        model.gibbs(h, 1000, rng)
    return model.sample_visible(h, rng), "chains"
