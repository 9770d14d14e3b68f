"""Paths from independent features to a model: annealed runs and replica exchange.

At inverse temperature beta in [0, 1], a model with Bernoulli units has the distribution ::

    p_beta(v) = exp(((1 - beta) b0 + beta b) . v) prod_j (1 + exp(beta a_j(v))) / Z(beta)

with a(v) = v W + c. At beta = 0 the features are independent with log-odds b0, and at
beta = 1 the distribution is that of the model. Another path, through several models, is in
`_ladders`. This module does not depend on scikit-learn. User input is validated by the
callers.
"""

import abc
import dataclasses
import functools
import itertools
import time

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from scipy.special import logsumexp

from skrbm._binary_rows import softplus_changes
from skrbm._random import draw_seeds, generator, new_generator

# Maximum number of runs per random generator. Up to rounding, results depend on the seed,
# but not on how the runs are shared among jobs.
RUNS_TO_A_GENERATOR = 25
# Numbers of steps between temperatures that `anneal_until_even` starts and ends with, and
# the number of equal parts of a path whose share of the spread of weights it measures.
FEWEST_STEPS, MOST_STEPS, N_PARTS = 500, 8000, 20


class Path(abc.ABC):
    """Path of distributions from independent features to a model.

    Fractions of the way go from 0 to 1. The method `at` turns them into what the other
    methods take as places: one place for all rows, or several, each for an equal share of
    the rows. All computations use float32, which is accurate enough for drawing states and
    faster than float64. Callers accumulate log-weights in float64.

    Parameters
    ----------
    model : RBM
        The model at the end.
    base : VisibleUnits
        The independent features at the start.

    Attributes
    ----------
    base : VisibleUnits
        The independent features at the start, in float32.
    n_rungs : int or None
        Number of models that the path leads through; None for temperatures.
    """

    n_rungs: int | None = None

    def __init__(self, model, base):
        self.model = model.astype(np.float32)
        self.base, self._exact_base = base.map(lambda array: array.astype(np.float32)), base

    @functools.cached_property
    def base_log_partition(self):
        """Log Z at the start, where the hidden units are unbiased."""
        base = self._exact_base.map(lambda array: array.astype(np.float64))
        normalizer = base.log_normalizer(np.zeros((1, len(base))))[0]
        return float(normalizer + np.log(2) * len(self.model.hidden_bias))

    def draw_base(self, n, rng):
        """Draw `n` rows of independent features."""
        v = np.zeros((n, len(self.base)), dtype=np.float32)
        return self.base.sample(v, rng, v)

    @abc.abstractmethod
    def at(self, fractions):
        """Return the place, or the places, at a fraction of the way, or at several."""

    @abc.abstractmethod
    def hidden_input(self, v, place, out=None):
        """Return the hidden input of rows at a place."""

    @abc.abstractmethod
    def log_ratio(self, v, hidden_input, place, after):
        """Return the log of ``p_after(v) / p_place(v)`` without the partition functions.

        `hidden_input` is that of the rows at `place`, and is overwritten by that at
        `after`.
        """

    @abc.abstractmethod
    def gibbs(self, v, hidden_input, place, generators):
        """Take one Gibbs step for rows. They and `hidden_input` are overwritten.

        `hidden_input` is that of the rows at `place`. `generators` are pairs (slice of
        rows, generator for these rows). With several places, there is only one, for all
        rows.
        """


class TemperaturePath(Path):
    """Temperatures between independent features with given means and a model.

    Places are inverse temperatures: a number, or a column of several. Hidden inputs do not
    depend on them.

    Parameters
    ----------
    model : RBM
    base_mean : ndarray of shape (n_features,)
        Means of the independent features.
    """

    def __init__(self, model, base_mean):
        super().__init__(model, model.visible.independent(base_mean, np.float64))

    def at(self, fractions):
        if np.ndim(fractions) == 0:
            return fractions
        return np.asarray(fractions, dtype=np.float32)[:, None]

    def hidden_input(self, v, place, out=None):
        return self.model.hidden_input(v, out)

    def log_ratio(self, v, hidden_input, place, after):
        place, after = (_for_rows(beta, len(v)) for beta in (place, after))
        change = np.asarray(after - place, dtype=np.float64).reshape(-1)
        ratio = change * self.model.visible.log_ratio_to(self.base, v)
        return ratio + softplus_changes(hidden_input, place, after)

    def gibbs(self, v, hidden_input, place, generators):
        beta = _for_rows(place, len(v))
        self.model.gibbs_between(self.base, v, hidden_input, beta, generators)


def _for_rows(beta, n_rows):
    """Repeat a column for equal shares of the rows, and return a number as it is."""
    return beta if np.ndim(beta) == 0 else np.repeat(beta, n_rows // len(beta), axis=0)


def independent(model, base):
    """Return a model of this shape in which the visible units `base` are independent."""
    return dataclasses.replace(model.map(np.zeros_like), visible=base)


def interpolate(model, other, part):
    """Return the model at a part of the way from one model to the other."""
    return model.map(lambda a, b: a + part * (b - a), other).align()


# Annealed runs --------------------------------------------------------------------------


def usual_betas(n_betas):
    """Return `n_betas` inverse temperatures from 0 to 1, with the usual spacing for AIS.

    Of 14500 steps, 500 lead to 0.5, the next 4000 to 0.9 and the last 10000 to 1, as in
    Salakhutdinov, R. and Murray, I. (2008). On the quantitative analysis of deep belief
    networks. ICML 2008.
    """
    return np.interp(
        np.linspace(0, 1, n_betas), [0, 500 / 14_500, 4500 / 14_500, 1], [0, 0.5, 0.9, 1]
    )


def anneal(path, betas, seeds, init=None, tick=None, n_parts=None):
    """Run AIS from the first temperature to the last, with one Gibbs step at each.

    Parameters
    ----------
    path : Path
    betas : sequence of float
        Fractions of the way: inverse temperatures, if the path is one of temperatures.
    seeds : list of pairs (n_runs, seed)
    init : ndarray of shape (sum of n_runs, n_features), default=None
        Draws of the distribution at the first temperature. None draws them at beta = 0.
    tick : callable, default=None
        Called after each step with its index.
    n_parts : int, default=None
        Number of parts, with equally many steps, to sum the log-weights over.

    Returns
    -------
    log_weights : float64 ndarray of shape (sum of n_runs,) or (sum of n_runs, n_parts)
    v : float32 ndarray of shape (sum of n_runs, n_features)
        Final states of the runs. No Gibbs step is taken at the last temperature.
    """
    ends = np.cumsum([n for n, _ in seeds])
    generators = [
        (slice(end - n, end), generator(seed))
        for end, (n, seed) in zip(ends, seeds, strict=True)
    ]
    if init is None:
        v = np.concatenate(
            [path.draw_base(rows.stop - rows.start, rng) for rows, rng in generators]
        )
    else:
        v = np.array(init, dtype=np.float32)
    hidden_input = None
    parts = np.zeros((len(v), n_parts or 1))
    part_of = np.arange(len(betas) - 1) * parts.shape[1] // (len(betas) - 1)
    for number, (place, after) in enumerate(itertools.pairwise(map(path.at, betas))):
        if number > 0:
            path.gibbs(v, hidden_input, place, generators)
        hidden_input = path.hidden_input(v, place, out=hidden_input)
        parts[:, part_of[number]] += path.log_ratio(v, hidden_input, place, after)
        if tick is not None:
            tick(number)
    return parts if n_parts else parts[:, 0], v


def anneal_in_jobs(
    path,
    betas,
    n_runs,
    random_state,
    *,
    init=None,
    n_jobs=None,
    title=None,
    n_parts=None,
):
    """Call `anneal` in parallel jobs; return log-weights and final states of all runs.

    If there is a `title`, progress is printed under it.
    """
    n_generators = -(-n_runs // RUNS_TO_A_GENERATOR)
    shares = np.diff(np.linspace(0, n_runs, n_generators + 1).astype(int)).tolist()
    seeds = draw_seeds(n_generators, random_state)
    n_jobs_now = min(effective_n_jobs(n_jobs), n_generators)
    cuts = np.linspace(0, n_generators, n_jobs_now + 1).astype(int).tolist()
    rows = np.r_[0, np.cumsum(shares)]
    betas = betas.tolist()
    calls = []
    for start, stop in itertools.pairwise(cuts):
        part = list(zip(shares, seeds, strict=True))[start:stop]
        begin = None if init is None else init[rows[start] : rows[stop]]
        tick = None
        if title is not None and start == 0:
            tick = _Printer(title, len(betas), path)
        calls.append(delayed(anneal)(path, betas, part, begin, tick, n_parts))
    parts = Parallel(n_jobs=n_jobs_now)(calls)
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def anneal_until_even(path, n_runs, random_state, *, init=None, title=None, **options):
    """Run AIS with more and more temperatures, until a third of the runs count.

    Each attempt doubles the number of steps, from `FEWEST_STEPS` to at most `MOST_STEPS`,
    until the effective number of runs is at least a third of their number, and at least 2.
    A single run does not show how much the weights differ. The weights of earlier
    attempts are only used to place the temperatures: the variance of the log-weight over a
    part of the path is inversely proportional to the number of steps in it, so the variance
    of the sum is smallest if all steps contribute equally.

    Parameters
    ----------
    path, n_runs, random_state, title, options
        As for `anneal_in_jobs`.
    init : ndarray of shape (n_runs, n_features), default=None
        Draws of the model, from which to run in reverse.

    Returns
    -------
    log_weights : float64 ndarray of shape (n_runs,)
    n_betas : int
        Number of temperatures of the last attempt.
    even : bool
        Whether the effective number of its runs is that large.
    """
    order = 1 if init is None else -1
    options |= {"init": init, "n_parts": N_PARTS}
    betas = np.linspace(0, 1, FEWEST_STEPS + 1)
    for attempt in itertools.count(1):
        if title is not None:
            options["title"] = f"{title}, attempt {attempt}"
        parts, _ = anneal_in_jobs(path, betas[::order], n_runs, random_state, **options)
        log_weights, n_steps = parts.sum(axis=1), len(betas) - 1
        even = effective_number(log_weights) >= max(n_runs / 3, 2)
        if even or n_steps == MOST_STEPS:
            return log_weights, len(betas), even
        spread = parts.std(axis=0)[::order] + 1e-6
        betas = respaced(betas[:: n_steps // N_PARTS], spread, 2 * n_steps + 1)


class _Printer:
    """Progress printer with one line at each tenth of the temperatures, or models."""

    def __init__(self, title, n_betas, path):
        self.title, self.n_betas = title, n_betas
        self.places = "temperatures" if path.n_rungs is None else "models"
        self.start = time.perf_counter()

    def __call__(self, number):
        done = number + 2  # a step leads from one temperature to the next
        if done * 10 // self.n_betas > (done - 1) * 10 // self.n_betas:
            seconds = time.perf_counter() - self.start
            print(
                f"[log_partition] {self.title}: {done} of {self.n_betas} {self.places}, "
                f"{seconds:.1f}s",
                flush=True,
            )


def settled_chains(model, n, random_state):
    """Run chains from the uniform distribution, by annealing and then Gibbs sampling.

    Annealing uses 1000 temperatures and is followed by 1000 Gibbs steps. Return the final
    hidden states, and the mean of the visible units over the second half of the steps.
    """
    path = TemperaturePath(model, np.full(len(model.visible), 0.5))
    model = path.model
    _, v = anneal_in_jobs(path, usual_betas(1000), n, random_state, n_jobs=1)
    rng = new_generator(random_state)
    h = model.sample_hidden(v, rng)
    model.gibbs(h, 500, rng)
    mean = np.zeros(len(model.visible))
    for _ in range(500):
        model.gibbs(h, 1, rng)
        mean += model.mean_visible(h).mean(axis=0)
    return h, mean / 500


# Importance weights ---------------------------------------------------------------------


def log_mean(log_weights):
    """Return the log of the mean of weights."""
    return float(logsumexp(log_weights) - np.log(len(log_weights)))


def effective_number(log_weights):
    """Return the effective number of runs, ``(sum w)^2 / sum w^2``."""
    return float(np.exp(2 * logsumexp(log_weights) - logsumexp(2 * log_weights)))


def standard_error(log_weights):
    """Return the standard error of the log of the mean weight, by the delta method.

    The variance of the weights divided by their squared mean is
    ``n / effective_number - 1``. For n > 1 the result is finite for all weights, unlike
    ``log(mean - 3 * error)``, where error is the standard error of the mean weight.
    """
    n = len(log_weights)
    if n == 1:
        return np.inf
    return float(np.sqrt(max(0.0, n / effective_number(log_weights) - 1) / (n - 1)))


def _redraw(log_weights, rng):
    """Return indices of resampled runs, in proportion to their weights up to rounding.

    This is systematic resampling: Kitagawa, G. (1996). Monte Carlo filter and smoother for
    non-Gaussian nonlinear state space models. Journal of Computational and Graphical
    Statistics, 5(1), 1-25.
    """
    cumulated = np.cumsum(np.exp(log_weights - log_weights.max()))
    places = (np.arange(len(log_weights)) + rng.random()) / len(log_weights)
    return np.searchsorted(cumulated, places * cumulated[-1])


class FollowingRuns:
    """AIS runs that move from model to model during training.

    When few runs have most of the weight, the runs are resampled according to their
    weights: Del Moral, P., Doucet, A. and Jasra, A. (2006). Sequential Monte Carlo
    samplers. Journal of the Royal Statistical Society B, 68(3), 411-436.

    Parameters
    ----------
    path : Path
        Path from independent features to the first model. The runs start at the
        independent features.
    n_runs : int
    rng : numpy.random.Generator

    Attributes
    ----------
    model : RBM
        Model that the runs have reached.
    """

    def __init__(self, path, n_runs, rng):
        self.model = independent(path.model, path.base)
        self._rng = rng
        self._v = path.draw_base(n_runs, rng)
        self._log_weights = np.zeros(n_runs)
        self._log_partition, self._variance = path.base_log_partition, 0.0

    def move_to(self, model, n_steps):
        """Move the runs to a float32 model; return log Z, its error and the log-weights.

        If the call is interrupted, the runs remain at the previous model.
        """
        before, present = self.model, self.model
        v, log_weights = self._v.copy(), self._log_weights.copy()
        for part in np.linspace(0, 1, n_steps + 1)[1:].astype(np.float32):
            following = interpolate(before, model, part)
            log_weights += present.free_energy(v) - following.free_energy(v)
            hidden = following.sample_hidden(v, self._rng)
            following.sample_visible(hidden, self._rng, out=v)
            present = following
        value = self._log_partition + log_mean(log_weights)
        variance = self._variance + standard_error(log_weights) ** 2
        result = value, float(np.sqrt(variance)), log_weights.copy()
        if effective_number(log_weights) < len(v) / 2:
            self._log_partition, self._variance = value, variance
            v = v[_redraw(log_weights, self._rng)]
            log_weights[:] = 0
        self.model, self._v, self._log_weights = model, v, log_weights
        return result


# Replica exchange ------------------------------------------------------------------------


class TemperedChains:
    """Chains at all temperatures, for parallel tempering.

    With n chains, row k n + i has the state of chain i at temperature k. Swaps compare
    visible states, with the hidden units summed out.

    Parameters
    ----------
    path : Path
    betas : ndarray of shape (n_betas,)
        Increasing inverse temperatures.
    h : ndarray of shape (n_chains, n_components)
        Initial hidden states, the same at all temperatures.
    rng : numpy.random.Generator
    """

    def __init__(self, path, betas, h, rng):
        self.path, self.places = path, path.at(betas)
        self.n_chains, self.rng = len(h), rng
        v = path.model.sample_visible(h.astype(np.float32), rng)
        self.v = np.tile(v, (len(betas), 1))
        self._hidden_input = path.hidden_input(self.v, self.places)
        self._accept = np.ones((len(betas) - 1, len(h)))
        self._odd = False

    def step(self):
        """Take a Gibbs step at each temperature and swap; return acceptance probabilities.

        Even and odd pairs of adjacent temperatures swap in alternate steps. The
        probabilities, of shape (n_betas - 1, n_chains), are the latest ones of all pairs.
        """
        path, v, a, places = self.path, self.v, self._hidden_input, self.places
        path.gibbs(v, a, places, [(slice(None), self.rng)])
        path.hidden_input(v, places, out=a)
        swapped = slice(int(self._odd), None, 2)
        self._accept[swapped] = swap_pairs(path, places, v, a, swapped.start, self.rng)
        self._odd = not self._odd
        return self._accept.copy()

    def coldest(self):
        """Return the states at the last temperature, that of the model itself."""
        return self.v[-self.n_chains :]


def swap_pairs(path, places, v, hidden_input, first, rng):
    """Swap states between every second pair of adjacent places, overwriting them.

    Parameters
    ----------
    path : Path
    places : list or ndarray
        Places along the path, as returned by ``path.at``.
    v : ndarray of shape (n_places * n_chains, n_features)
        The states. Those at the same place are in adjacent rows.
    hidden_input : ndarray of shape (n_places * n_chains, n_components)
        Their hidden input.
    first : int
        0 or 1, the lower place of the first pair.
    rng : numpy.random.Generator

    Returns
    -------
    accept : ndarray of shape (n_pairs, n_chains)
        Acceptance probabilities.
    """
    n = len(v) // len(places)
    numbers = range(first, len(places) - 1, 2)
    accept = np.empty((len(numbers), n))
    for pair, k in enumerate(numbers):
        rows = slice(k * n, (k + 1) * n), slice((k + 1) * n, (k + 2) * n)
        low, high = places[k : k + 1], places[k + 1 : k + 2]
        (v_low, v_high), (a_low, a_high) = ([x[i] for i in rows] for x in (v, hidden_input))
        raised, lowered = a_low.copy(), a_high.copy()
        ratio = path.log_ratio(v_low, raised, low, high)
        ratio += path.log_ratio(v_high, lowered, high, low)
        np.exp(np.minimum(ratio, 0), out=accept[pair])
        swap = np.flatnonzero(rng.random(n) < accept[pair])
        v_low[swap], v_high[swap] = v_high[swap], v_low[swap]
        a_low[swap], a_high[swap] = lowered[swap], raised[swap]
    return accept


def respaced(betas, share, n_betas):
    """Return `n_betas` inverse temperatures with equal parts of the sum of `share`.

    `share` has one value for each pair of neighbors in `betas`, for example its rejection
    rate.
    """
    total = np.r_[0, np.cumsum(share)]
    betas = np.interp(np.linspace(0, total[-1], n_betas), total, betas)
    betas[0], betas[-1] = 0, 1
    return betas


def betas_of_equal_swaps(path, h, rng, n_betas=None, *, acceptance=0.5, n_first=16):
    """Return inverse temperatures at which all adjacent pairs swap equally often.

    The sum of all rejection rates depends little on the temperatures at which it is
    measured, so each step between temperatures should contribute an equal part of it. If
    `n_betas` is None, the number of steps is such that swaps have the given acceptance: by
    default it is twice this sum, which is close to optimal. `n_first` temperatures are
    tried first.

    Syed, S., Bouchard-Cote, A., Deligiannidis, G. and Doucet, A. (2022). Non-reversible
    parallel tempering: a scalable highly parallel MCMC scheme. Journal of the Royal
    Statistical Society B, 84(2), 321-350.
    """
    h = h[rng.integers(len(h), size=16)]
    betas = np.linspace(0, 1, n_betas or n_first)
    for n_steps in (100, 200, 400):
        tempered = TemperedChains(path, betas, h, rng)
        accept = [tempered.step() for _ in range(n_steps)][n_steps // 2 :]
        rejected = 1 - np.mean(accept, axis=(0, 2)) + 1e-6
        n_next = n_betas or max(2, int(np.ceil(rejected.sum() / (1 - acceptance))) + 1)
        betas = respaced(betas, rejected, n_next)
    return betas
