"""Sums over all states of the smaller side, and exact draws."""

import numpy as np
import pytest
from conftest import Enumerated, bernoulli_rbm, by_hand, tiny_rbm
from numpy.testing import assert_allclose

from skrbm._enumeration import exact_draws
from skrbm.likelihood import log_partition


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [0.0, 1.0, 60.0])
@pytest.mark.parametrize("shape", [(6, 4), (4, 7), (1, 1), (1, 6), (8, 1)])
def test_exact_partition_function(shape, scale, dtype):
    model = tiny_rbm(*shape, dtype, scale=scale)
    minus_energy = -Enumerated(*model.arrays).energy
    expected = minus_energy.max() + np.log(np.exp(minus_energy - minus_energy.max()).sum())
    result = log_partition(by_hand(model))
    assert result.method == "exact"
    assert_allclose(result.value, expected, rtol=1e-12)
    assert result.lower == result.value == result.upper == float(result)


@pytest.mark.parametrize("scale", [0.5, 200.0, 5000.0])
@pytest.mark.parametrize("turned", [False, True])
def test_exact_sum_over_many_states(turned, scale):
    """With more states than fit into a block; Z is a product for independent units."""
    n, m = 17, 40
    rng = np.random.default_rng(0)
    weights = np.zeros((m, n))
    weights[:n] = np.diag(scale * rng.standard_normal(n))
    b, c = rng.standard_normal(m), rng.standard_normal(n)
    pairs = np.logaddexp.reduce(
        [np.zeros(n), b[:n], c, b[:n] + c + np.diag(weights[:n])], axis=0
    )
    expected = pairs.sum() + np.logaddexp(0, b[n:]).sum()
    model = bernoulli_rbm(weights, b, c)
    if turned:
        model = bernoulli_rbm(np.ascontiguousarray(weights.T), c, b)
    assert_allclose(log_partition(by_hand(model), method="exact").value, expected)


def test_too_large_for_an_exact_sum():
    rbm = by_hand(tiny_rbm(30, 26))
    with pytest.raises(ValueError, match=r"up to 25 units.* 30 visible and 26 hidden.*ais"):
        log_partition(rbm, method="exact")
    assert log_partition(rbm, betas=10).method == "ais"


@pytest.mark.parametrize("shape", [(4, 3), (3, 5)])
def test_exact_draws(shape, rng):
    model = tiny_rbm(*shape, scale=1.5)
    exact = Enumerated(*model.arrays)
    n = 100_000
    v = exact_draws(model, n, rng)
    frequencies = np.bincount(exact.index(v), minlength=len(exact.p_v)) / n
    assert_allclose(frequencies, exact.p_v, atol=5 * np.sqrt(0.25 / n))
