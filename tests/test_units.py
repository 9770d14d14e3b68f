"""Formulas of Bernoulli units; those that depend on weights are in `test_model.py`."""

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import states
from numpy.testing import assert_allclose, assert_array_equal

from skrbm._data import DataSet
from skrbm._units.bernoulli import BernoulliUnits


def test_values_are_drawn_as_probabilities(rng):
    p = np.array([-1, 0, 0.1, 0.5, 0.9, 1, 3])
    values = np.tile(p, (100_000, 1))
    BernoulliUnits.draw_states(values, rng)
    assert set(np.unique(values)) == {0, 1}
    assert_allclose(values.mean(axis=0), p.clip(0, 1), atol=0.01)
    assert_array_equal(values[:, [0, 1, 5, 6]].std(axis=0), 0)


def test_drawing_leaves_the_stream_to_uncertain_values():
    """Zeros, stored or implicit, and ones use no random numbers."""
    X = np.random.default_rng(0).random((30, 8)).round(1)
    dense, sparse = X.copy(), sp.csr_array(X)
    for values in (dense, sparse.data):
        BernoulliUnits.draw_states(values, np.random.Generator(np.random.SFC64(5)))
    assert_array_equal(dense, sparse.toarray())


def test_formulas_match_enumeration():
    units = BernoulliUnits(np.array([-1.0, 0.5, 2.0]))
    x = np.random.default_rng(0).standard_normal((4, 3))
    v = states(3)
    weights = np.exp(units.minus_energy(v) + x @ v.T)
    assert_allclose(units.log_normalizer(x), np.log(weights.sum(axis=1)))
    expected = weights @ v / weights.sum(axis=1, keepdims=True)
    assert_allclose(units.mean(x.copy()), expected)


def test_independent_units_have_the_means():
    mean = np.array([0.0, 0.2, 0.7, 1.0])
    units = BernoulliUnits(np.zeros(4)).independent(mean, np.float64)
    assert_allclose(units.mean(np.zeros((1, 4)))[0], mean.clip(1e-3, 1 - 1e-3))


def test_following_a_mean():
    units = BernoulliUnits(np.array([0.3, -2.0]))
    units.follow_mean(np.array([0.5, 0.5]), np.array([0.25, 0.9]))
    assert_allclose(units.bias, [0.3 + np.log(1 / 3), -2 + np.log(9)])


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_states_between_a_base_and_a_model(beta, rng):
    units, base = (
        BernoulliUnits(np.array([1.0, -1.0])),
        BernoulliUnits(np.array([-2.0, 0.5])),
    )
    x = np.array([0.7, -0.4])
    rows = np.tile(x, (100_000, 1))
    units.sample_between(base, rows, beta, [(slice(None), rng)])
    log_odds = (1 - beta) * base.bias + beta * (units.bias + x)
    assert_allclose(rows.mean(axis=0), 1 / (1 + np.exp(-log_odds)), atol=0.01)
    v = states(2)
    expected = v @ units.bias - v @ base.bias
    assert_allclose(units.log_ratio_to(base, v), expected)


@pytest.mark.parametrize(
    ("values", "are_states", "are_in_range"),
    [
        ([0, 1], True, True),
        ([0, 0.5], False, True),
        ([0, 2], False, False),
        ([-1, 0], False, False),
    ],
)
def test_allowed_values(values, are_states, are_in_range):
    summary = DataSet(np.array([values], dtype=float)).summary
    assert BernoulliUnits.are_states(summary) == are_states
    assert BernoulliUnits.are_in_range(summary) == are_in_range
    for form in (np.array, sp.csr_array):
        clipped = BernoulliUnits.clip(form(np.array([values], dtype=float)))
        clipped = clipped.toarray() if sp.issparse(clipped) else clipped
        assert_array_equal(clipped, np.clip([values], 0, 1))
