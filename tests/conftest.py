"""Tiny models, for which every quantity can be enumerated."""

import itertools

import numpy as np
import pytest

from skrbm._model import RBM


def states(n):
    """All 2**n binary states, one per row, as float64."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


class Enumerated:
    """Exact distribution of a model, computed from the energy by loops over all states."""

    def __init__(self, weights, visible_bias, hidden_bias):
        weights, visible_bias, hidden_bias = (
            np.asarray(a, dtype=np.float64) for a in (weights, visible_bias, hidden_bias)
        )
        self.v, self.h = states(len(visible_bias)), states(len(hidden_bias))
        self.energy = np.array(
            [
                [-v @ visible_bias - h @ hidden_bias - v @ weights @ h for h in self.h]
                for v in self.v
            ]
        )
        joint = np.exp(-self.energy)
        self.partition = joint.sum()
        self.joint = joint / self.partition
        self.p_v, self.p_h = self.joint.sum(axis=1), self.joint.sum(axis=0)
        self.mean_h_given_v = self.joint @ self.h / self.p_v[:, None]
        self.mean_v_given_h = self.joint.T @ self.v / self.p_h[:, None]

    def index(self, v):
        """Index of each row among the visible states."""
        n = self.v.shape[1]
        return np.asarray(v, dtype=int) @ (2 ** np.arange(n - 1, -1, -1))

    def log_likelihood(self, v):
        return np.log(self.p_v[self.index(v)])

    def pseudo_log_likelihood(self, v):
        total = np.zeros(len(v))
        for i in range(v.shape[1]):
            flipped = v.copy()
            flipped[:, i] = 1 - flipped[:, i]
            p, q = self.p_v[self.index(v)], self.p_v[self.index(flipped)]
            total += np.log(p / (p + q))
        return total

    def gradient(self, v):
        """Exact gradient of the mean log-likelihood: weights, visible and hidden bias."""
        h = self.mean_h_given_v[self.index(v)]
        weights = v.T @ h / len(v) - self.v.T @ self.joint @ self.h
        visible = v.mean(axis=0) - self.p_v @ self.v
        return weights, visible, h.mean(axis=0) - self.p_h @ self.h


def tiny_rbm(n_features, n_components, dtype=np.float64, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return RBM.bernoulli(
        (scale * rng.standard_normal((n_features, n_components))).astype(dtype),
        (0.5 * scale * rng.standard_normal(n_features)).astype(dtype),
        (0.5 * scale * rng.standard_normal(n_components)).astype(dtype),
    )


@pytest.fixture
def rng():
    return np.random.Generator(np.random.SFC64(0))


def exact(estimator):
    """Exact distribution of a fitted estimator."""
    return Enumerated(
        estimator.components_.T,
        estimator.intercept_visible_,
        estimator.intercept_hidden_,
    )


def bars_and_stripes(side=3):
    """All images made of full rows and all images made of full columns."""
    patterns = states(side)
    bars = np.repeat(patterns, side, axis=1)
    stripes = np.tile(patterns, side)
    return np.vstack([bars, stripes])
