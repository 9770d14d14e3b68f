"""A kind of visible units, and its estimator, that the package does not know.

Units count from 0 to `LARGEST`. With bias b and input x, the probability of the value v is
that of a Poisson distribution with mean ``exp(b + x)``, given that it is not larger::

    log p(v) = (b + x) v - log v! - log sum_k exp((b + x) k - log k!)
"""

import dataclasses

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp

from skrbm._base import BaseRBM
from skrbm._compat.sklearn import StrOptions
from skrbm._units import VisibleUnits

LARGEST = 4
VALUES = np.arange(LARGEST + 1)
LOG_FACTORIALS = gammaln(VALUES + 1)


def mean_at(log_rate):
    """Mean of a count with this ``b + x``."""
    log_weights = log_rate * VALUES - LOG_FACTORIALS
    return float(np.exp(log_weights - logsumexp(log_weights)) @ VALUES)


@dataclasses.dataclass(frozen=True, eq=False)
class BoundedPoissonUnits(VisibleUnits):
    """Counts from 0 to `LARGEST`. Values between them are expectations of counts."""

    value_limits = 0.0, float(LARGEST)
    states = f"0, 1, ..., {LARGEST}"
    advice_on_states = f"use min(count, {LARGEST})"

    @classmethod
    def check(cls, limits, ranges, X, names_of, **options):
        low, high, *_ = limits()
        if low < 0 or high > LARGEST:
            raise ValueError(f"Expected counts from 0 to {LARGEST}.")

    @staticmethod
    def are_states(summary):
        return summary.low >= 0 and summary.high <= LARGEST

    are_in_range = are_states

    @staticmethod
    def clip(v):
        return v.clip(0, LARGEST)

    def _probabilities(self, x, units=slice(None)):
        log_weights = (x + self.bias[units])[..., None] * VALUES - LOG_FACTORIALS
        return np.exp(log_weights - logsumexp(log_weights, axis=-1, keepdims=True))

    def mean(self, x):
        x[...] = self._probabilities(x) @ VALUES
        return x

    def sample(self, x, rng, out, units=slice(None)):
        below = self._probabilities(x, units).cumsum(axis=-1)[..., :-1]
        out[...] = (rng.random(x.shape)[..., None] > below).sum(axis=-1)
        return out

    def log_normalizers(self, x):
        log_weights = (x + self.bias)[..., None] * VALUES - LOG_FACTORIALS
        return logsumexp(log_weights, axis=-1)

    def minus_energy(self, v):
        return v @ self.bias - gammaln(v + 1).sum(axis=1)

    def first_weights(self, n_components, rng):
        weights = 0.1 * rng.standard_normal((len(self), n_components))
        return weights, np.zeros(n_components), 0.5

    def independent(self, mean, dtype):
        means = np.broadcast_to(mean, len(self)).clip(0.01, LARGEST - 0.01)
        bias = [brentq(lambda b, m=m: mean_at(b) - m, -20, 20) for m in means]
        return type(self)(np.array(bias, dtype=dtype))


class CountRBM(BaseRBM):
    """Restricted Boltzmann machine of counts."""

    _units = BoundedPoissonUnits
    _solvers = "pcd", "cd"
    _parameter_constraints: dict = BaseRBM._parameter_constraints | {
        "solver": [StrOptions(set(_solvers))],
    }

    def __init__(
        self,
        n_components=2,
        *,
        solver="pcd",
        n_gibbs_steps=1,
        n_chains=100,
        learning_rate=0.05,
        schedule="linear",
        weight_decay=0.0,
        batch_size=20,
        n_iter=20,
        shuffle=True,
        early_stopping=False,
        validation_fraction=0.2,
        n_iter_no_change=10,
        tol=1e-4,
        warm_start=False,
        verbose=0,
        random_state=None,
    ):
        self.n_components = n_components
        self.solver = solver
        self.n_gibbs_steps = n_gibbs_steps
        self.n_chains = n_chains
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    def score_samples(self, X):
        return self._score_samples(X)
