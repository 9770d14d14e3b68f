"""Log-likelihoods of trained machines, of any library: exact for small ones, else by AIS.

A machine is given by its three arrays: weights (n_features, n_components), visible bias and
hidden bias, of the energy ``E(v, h) = - b . v - c . h - v W h``.
"""

import itertools

import numpy as np
from scipy.special import logsumexp

# The temperatures of Salakhutdinov and Murray (2008): 14501 of them.
BETAS = np.r_[
    np.arange(0, 500) / 1e3, np.arange(5000, 9000) / 1e4, np.arange(90_000, 100_001) / 1e5
]


def free_energy(rbm, v):
    weights, visible_bias, hidden_bias = rbm
    return -(v @ visible_bias) - _softplus_sum(v @ weights + hidden_bias)


def mean_log_likelihood(rbm, X, log_partition):
    """Return the mean log-likelihood of the rows of `X`, in nats."""
    blocks = np.array_split(np.arange(X.shape[0]), -(-X.shape[0] // 1000))
    rows = (X[block].astype(np.float32) for block in blocks)
    total = sum(float(free_energy(rbm, v).sum(dtype=np.float64)) for v in rows)
    return -total / X.shape[0] - log_partition


def exact_log_partition(rbm):
    """Return log Z, by the sum over all states of the smaller side (20 units or so)."""
    weights, visible_bias, hidden_bias = (np.asarray(a, dtype=np.float64) for a in rbm)
    if weights.shape[0] < weights.shape[1]:
        weights, visible_bias, hidden_bias = weights.T, hidden_bias, visible_bias
    n = len(hidden_bias)
    low = (np.arange(1 << min(n, 12))[:, None] >> np.arange(min(n, 12))) & 1
    terms = []
    for high in range(1 << max(0, n - 12)):
        h = np.concatenate(
            [low, np.tile((high >> np.arange(n - low.shape[1])) & 1, (len(low), 1))], axis=1
        )
        terms.append(
            logsumexp(h @ hidden_bias + _softplus_sum(h @ weights.T + visible_bias))
        )
    return float(logsumexp(terms))


def ais_log_partition(rbm, base_mean, *, betas=BETAS, n_runs=100, seed=0):
    """Estimate log Z by annealed importance sampling.

    From independent features of mean `base_mean`, and hidden units that are fair coins, to
    the machine; at inverse temperature beta the energy is ``(1 - beta) E_base + beta E``.

    Returns
    -------
    log_partition : float
    low, high : float
        The logarithm of the mean weight less and plus three standard errors, as the authors
        report them.

    References
    ----------
    Salakhutdinov, R. and Murray, I. (2008). On the quantitative analysis of deep belief
    networks. ICML 2008, 872-879.
    """
    path = _Path(rbm, base_mean, seed)
    v = path.draw(np.tile(path.base_bias, (n_runs, 1)))
    log_weights = path.anneal(v, betas)
    log_weights += path.log_partition_base
    estimate = logsumexp(log_weights) - np.log(n_runs)
    spread = 3 * np.exp(log_weights - estimate).std() / np.sqrt(n_runs)
    low = estimate + np.log1p(-spread) if spread < 1 else -np.inf
    return float(estimate), float(low), float(estimate + np.log1p(spread))


def reverse_ais_log_partition(rbm, base_mean, v, *, betas=BETAS, seed=0):
    """Estimate log Z by annealing the other way, from rows `v` that the machine drew.

    Where forward estimates are too low, because their runs miss modes, reverse estimates
    are too high, if the rows are true samples: log Z lies between.

    Returns
    -------
    log_partition : float

    References
    ----------
    Burda, Y., Grosse, R. and Salakhutdinov, R. (2015). Accurate and conservative estimates
    of MRF log-likelihood using reverse annealing. AISTATS 2015, 102-110.
    """
    path = _Path(rbm, base_mean, seed)
    log_weights = path.anneal(v.astype(np.float32), betas[::-1])
    return float(path.log_partition_base - logsumexp(log_weights) + np.log(len(v)))


class _Path:
    """The distributions between independent features and a machine, in float32."""

    def __init__(self, rbm, base_mean, seed):
        self.rng = np.random.Generator(np.random.SFC64(seed))
        self.weights, self.visible_bias, self.hidden_bias = (
            np.ascontiguousarray(a, dtype=np.float32) for a in rbm
        )
        base_mean = np.clip(np.asarray(base_mean, dtype=np.float64), 1e-4, 1 - 1e-4)
        base_bias = np.log(base_mean / (1 - base_mean))
        n_components = len(self.hidden_bias)
        self.log_partition_base = (
            np.logaddexp(0, base_bias).sum() + np.log(2) * n_components
        )
        self.base_bias = base_bias.astype(np.float32)

    def draw(self, log_odds):
        u = self.rng.random(log_odds.shape, dtype=np.float32)
        return (u < _logistic(log_odds)).astype(np.float32)

    def anneal(self, v, betas):
        """Take rows from the first temperature to the last; return their log-weights."""
        log_weights = np.zeros(len(v))
        betas, hidden_input = betas.tolist(), None
        for beta, after in itertools.pairwise(betas):
            if hidden_input is not None:  # at first v is a sample already
                v = self.gibbs(hidden_input, beta)
            hidden_input = v @ self.weights + self.hidden_bias
            log_weights += (after - beta) * (v @ (self.visible_bias - self.base_bias))
            log_weights += _softplus_sum(after * hidden_input)
            log_weights -= _softplus_sum(beta * hidden_input)
        return log_weights

    def gibbs(self, hidden_input, beta):
        """Return the visible rows after one Gibbs step, which keeps the distribution."""
        h = self.draw(beta * hidden_input)
        log_odds = h @ self.weights.T
        log_odds += self.visible_bias
        log_odds *= beta
        log_odds += (1 - beta) * self.base_bias
        return self.draw(log_odds)


def _logistic(x):
    """Logistic function by tanh, which numpy vectorises."""
    x *= 0.5
    np.tanh(x, out=x)
    x += 1
    x *= 0.5
    return x


def _softplus_sum(x):
    """Return ``sum_j log(1 + exp(x_j))`` of each row."""
    terms = np.exp(-np.abs(x))
    terms += 1
    np.log(terms, out=terms)
    terms += np.maximum(x, 0)
    return terms.sum(axis=1, dtype=np.float64)
