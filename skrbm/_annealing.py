"""Between independent features and a machine: intermediate distributions, and their chains.

At inverse temperature beta, from 0 to 1, the distribution is ::

    p_beta(v) = exp(((1 - beta) b0 + beta b) . v) prod_j (1 + exp(beta a_j(v))) / Z(beta)

with a(v) = v W + c: at 0 independent features with log-odds b0, at 1 the machine. What
annealed importance sampling and tempered chains have in common is here.
"""

import itertools

import numpy as np

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
