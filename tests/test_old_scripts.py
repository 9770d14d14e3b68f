"""Scripts for BernoulliRBM, with another class."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMEstimator
from skrbm.likelihood import pseudo_log_likelihood

DIGITS = load_digits().data / 16


def customers(rng):
    Z = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 6)) + rng.normal(0, 0.5, (500, 6))
    return np.median(Z, axis=0) <= Z


def windows(rng):
    phase = rng.uniform(0, 10, (490, 1)) + 0.6 * np.arange(10)
    return np.sin(phase) + rng.normal(0, 0.3, phase.shape) > 0


def likes(rng):
    x = rng.normal(size=(300, 3)) @ rng.normal(0, 1.5, (3, 50)) - 1
    return rng.random(x.shape) < 1 / (1 + np.exp(-x))


def lattices(rng):
    """Spins on a ring of 30, by Gibbs steps at a temperature of 1."""
    spins = rng.choice([-1, 1], (300, 30))
    for i in np.tile(np.arange(30), 20):
        field = spins[:, i - 1] + spins[:, (i + 1) % 30]
        spins[:, i] = np.where(rng.random(300) < 1 / (1 + np.exp(-2 * field)), 1, -1)
    return spins > 0


SCRIPTS = {
    "customers": (customers, {"n_components": 4, "learning_rate": 0.08, "n_iter": 25}),
    "windows": (windows, {"n_components": 2, "learning_rate": 0.1, "n_iter": 10}),
    "likes": (likes, {"n_components": 20, "learning_rate": 0.01, "n_iter": 50}),
    "lattices": (lattices, {"n_components": 30, "learning_rate": 0.001, "n_iter": 100}),
    "digits": (
        lambda rng: rng.permutation(DIGITS)[:900],
        {"n_components": 100, "learning_rate": 0.06, "n_iter": 10},
    ),
    "stacked": (
        lambda rng: rng.permutation(DIGITS)[:300],
        {"n_components": 50, "learning_rate": 0.001, "n_iter": 60},
    ),
}


@pytest.mark.parametrize(("draw", "numbers"), SCRIPTS.values(), ids=SCRIPTS)
def test_no_worse_than_with_bernoulli_rbm(draw, numbers):
    """With the settings that the guide names, and better without any numbers."""

    def score(make):
        scores = []
        for seed in range(2):
            X = draw(np.random.default_rng(seed)).astype(float)
            rbm = make(random_state=seed).fit(X)
            scores.append(pseudo_log_likelihood(rbm, X > 0.5).mean())
        return np.mean(scores)

    size = {"n_components": numbers["n_components"]}
    theirs = score(lambda **seed: BernoulliRBM(**numbers, **seed))
    options = {"batch_size": 10, "schedule": "constant"}
    assert score(lambda **seed: BernoulliRBMEstimator(**numbers, **options, **seed)) > (
        theirs - 0.03 * abs(theirs)
    )
    assert score(lambda **seed: BernoulliRBMEstimator(**size, **seed)) > theirs
