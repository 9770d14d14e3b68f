"""Between independent features and a machine: intermediate distributions, and their chains.

At inverse temperature beta, from 0 to 1, the distribution is ::

    p_beta(v) = exp(((1 - beta) b0 + beta b) . v) prod_j (1 + exp(beta a_j(v))) / Z(beta)

with a(v) = v W + c: at 0 independent features with log-odds b0, at 1 the machine. What
annealed importance sampling and tempered chains have in common is here.
"""

import itertools
import time
from numbers import Integral

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.utils import check_scalar

from skrbm import _kernels
from skrbm._model import RBM

# Runs that share a generator: a result depends on the seed, not on how runs are shared out.
RUNS_TO_A_GENERATOR = 25
# Means of features are kept this far from 0 and 1: where the machine allows a feature that
# the independent features never have, no weight could make up for it.
SMALLEST_MEAN = 1e-3


class Path:
    """The distributions between independent features of given means and a machine.

    All is computed in float32: to draw states that is as good as float64, and twice as
    fast. Log-weights are added up in float64 by those who use it.
    """

    def __init__(self, model, base_mean):
        self.model = RBM(*(np.ascontiguousarray(a, dtype=np.float32) for a in model))
        mean = np.clip(np.asarray(base_mean, np.float64), SMALLEST_MEAN, 1 - SMALLEST_MEAN)
        log_odds = np.log(mean / (1 - mean))
        self.base_bias = log_odds.astype(np.float32)
        self.base_log_partition = float(
            np.logaddexp(0, log_odds).sum() + np.log(2) * len(self.model.hidden_bias)
        )

    def draw_base(self, n, rng):
        """Draw `n` rows of independent features."""
        v = np.zeros((n, len(self.base_bias)), dtype=np.float32)
        return _kernels.bernoulli_from_log_odds(v, self.base_bias, rng, out=v)

    def log_ratio(self, v, hidden_input, beta, after):
        """Return the log of ``p_after(v) / p_beta(v)``, partition functions left out.

        `beta` and `after` are numbers, or columns with one for each row. With x the hidden
        input, the difference of softplus(after x) and softplus(beta x) is ::

            (after - beta) max(x, 0) + log((1 + exp(-after |x|)) / (1 + exp(-beta |x|)))
        """
        linear = v @ (self.model.visible_bias - self.base_bias)
        linear += np.maximum(hidden_input, 0).sum(axis=1)
        size = np.abs(hidden_input)
        ratio = np.exp(size * -after)
        ratio += 1
        size *= -beta
        np.exp(size, out=size)
        size += 1
        ratio /= size
        np.log(ratio, out=ratio)
        change = np.asarray(after - beta, dtype=np.float64).reshape(-1)
        return change * linear + ratio.sum(axis=1)

    def gibbs(self, v, hidden_input, beta, generators):
        """Take rows one Gibbs step further, in place; the hidden input is overwritten.

        `generators` are pairs of a slice of rows and the generator that draws them.
        """
        h, half = hidden_input, 0.5 * beta
        h *= half
        for rows, rng in generators:
            _kernels.bernoulli_from_half_log_odds(h[rows], rng, out=h[rows])
        _kernels.product_with_transpose(h, self.model.weights, v)
        v *= half
        v += half * (self.model.visible_bias - self.base_bias) + 0.5 * self.base_bias
        for rows, rng in generators:
            _kernels.bernoulli_from_half_log_odds(v[rows], rng, out=v[rows])


def anneal(path, betas, seeds, starts=None, tick=None):
    """Take runs from the first temperature to the last, with one Gibbs step at each.

    Parameters
    ----------
    path : Path
    betas : sequence of float
    seeds : list of pairs (n_runs, seed)
    starts : ndarray of shape (sum of n_runs, n_features), default=None
        Draws of the distribution at the first temperature; None draws them, at 0.
    tick : callable, default=None
        Called at each temperature with its number.

    Returns
    -------
    log_weights : float64 ndarray of shape (sum of n_runs,)
    v : float32 ndarray of shape (sum of n_runs, n_features)
        Where the runs have ended, one step short of the last temperature.
    """
    ends = np.cumsum([n for n, _ in seeds])
    generators = [
        (slice(end - n, end), np.random.Generator(np.random.SFC64(seed)))
        for end, (n, seed) in zip(ends, seeds, strict=True)
    ]
    if starts is None:
        v = np.concatenate(
            [path.draw_base(rows.stop - rows.start, rng) for rows, rng in generators]
        )
    else:
        v = np.array(starts, dtype=np.float32)
    hidden_input = path.model.hidden_input(v)
    log_weights = np.zeros(len(v))
    for number, (beta, after) in enumerate(itertools.pairwise(betas)):
        if number > 0:
            path.gibbs(v, hidden_input, beta, generators)
            path.model.hidden_input(v, out=hidden_input)
        log_weights += path.log_ratio(v, hidden_input, beta, after)
        if tick is not None:
            tick(number)
    return log_weights, v


def run_jobs(path, betas, n_runs, starts, n_jobs, random_state, verbose):
    """Anneal runs, shared out to jobs; return log-weights and last states of all."""
    n_generators = -(-n_runs // RUNS_TO_A_GENERATOR)
    shares = np.diff(np.linspace(0, n_runs, n_generators + 1).astype(int)).tolist()
    seeds = random_state.randint(np.iinfo(np.int32).max, size=n_generators).tolist()
    n_jobs_now = min(effective_n_jobs(n_jobs), n_generators)
    cuts = np.linspace(0, n_generators, n_jobs_now + 1).astype(int).tolist()
    rows = np.r_[0, np.cumsum(shares)]
    betas = betas.tolist()
    calls = []
    for start, stop in itertools.pairwise(cuts):
        part = list(zip(shares, seeds, strict=True))[start:stop]
        begin = None if starts is None else starts[rows[start] : rows[stop]]
        tick = _Progress(len(betas) - 1) if verbose and start == 0 else None
        calls.append(delayed(anneal)(path, betas, part, begin, tick))
    parts = Parallel(n_jobs=n_jobs_now)(calls)
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


class _Progress:
    """Prints a line at each tenth of the temperatures."""

    def __init__(self, n_steps):
        self.n_steps = n_steps
        self.start = time.perf_counter()

    def __call__(self, number):
        done = number + 1
        if done * 10 // self.n_steps > number * 10 // self.n_steps:
            seconds = time.perf_counter() - self.start
            print(
                f"[log_partition] {done} of {self.n_steps} temperatures, {seconds:.1f}s",
                flush=True,
            )


def check_betas(betas):
    """Return the temperatures as an array of float64, from 0 to 1."""
    if betas is None:
        betas = 14_501
    if isinstance(betas, Integral):
        check_scalar(betas, "betas", Integral, min_val=2)
        # 500 of 14500 steps to 0.5, 4000 to 0.9, 10000 to 1
        return np.interp(
            np.linspace(0, 1, betas), [0, 500 / 14_500, 4500 / 14_500, 1], [0, 0.5, 0.9, 1]
        )
    given = betas
    betas = np.asarray(betas if not isinstance(betas, str) else np.nan, dtype=np.float64)
    right = betas.ndim == 1 and len(betas) > 1 and betas[0] == 0 and betas[-1] == 1
    if not right or not (np.diff(betas) >= 0).all():
        raise ValueError(
            "betas must be how many temperatures to take, or inverse temperatures that "
            f"begin with 0, never fall and end with 1, but got {given!r}."
        )
    return betas


def check_base_mean(rbm, model, base_mean, random_state):
    n_features = len(model.visible_bias)
    if base_mean is None:
        base_mean = getattr(rbm, "visible_mean_", None)
        if base_mean is None:
            base_mean = settled_chains(model, 100, random_state)[1]
        # Training may have taken values outside as they are.
        base_mean = np.clip(base_mean, 0, 1)
    mean = np.asarray(base_mean, dtype=np.float64)
    if mean.shape not in ((), (n_features,)):
        raise ValueError(
            f"base_mean must be a number or have shape ({n_features},), a mean for each "
            f"feature, but has shape {mean.shape}."
        )
    if not ((mean >= 0) & (mean <= 1)).all():
        raise ValueError("base_mean must have values from 0 to 1 only.")
    return np.broadcast_to(mean, n_features)


def settled_chains(model, n, random_state):
    """Run chains from independent coins, tempered at first; return where they end.

    After 1000 temperatures there are 1000 steps; returned are hidden states, and the mean
    of the visible units over the second half of the steps.
    """
    path = Path(model, np.full(len(model.visible_bias), 0.5))
    model = path.model
    _, v = run_jobs(path, check_betas(1000), n, None, 1, random_state, 0)
    rng = np.random.Generator(np.random.SFC64(random_state.randint(2**31 - 1)))
    h = model.sample_hidden(v, rng)
    model.gibbs(h, 500, rng)
    mean = np.zeros(len(model.visible_bias))
    for _ in range(500):
        model.gibbs(h, 1, rng)
        mean += model.mean_visible(h).mean(axis=0)
    return h, mean / 500
