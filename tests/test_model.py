"""All formulas compared with enumeration, for dense and sparse data and both dtypes."""

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import Enumerated, states, tiny_rbm
from numpy.testing import assert_allclose

CASES = [
    pytest.param(dtype, form, id=f"{np.dtype(dtype).name}-{form.__name__}")
    for dtype in (np.float32, np.float64)
    for form in (np.array, sp.csr_array)
]


def visible_log_odds(rbm, v, columns=None):
    hidden_input = rbm.hidden_input(v)
    blocks = rbm.visible.conditional_log_odds(v, hidden_input, rbm.weights, columns)
    return np.hstack([odds for _, odds in blocks])


def tolerance(dtype):
    return {"rtol": 2e-5 if dtype == np.float32 else 1e-10, "atol": 1e-6}


@pytest.mark.parametrize(("dtype", "form"), CASES)
@pytest.mark.parametrize("shape", [(6, 4), (4, 7), (1, 1), (5, 1), (1, 5)])
def test_conditionals_and_free_energies(shape, dtype, form):
    rbm = tiny_rbm(*shape, dtype)
    exact = Enumerated(*rbm.arrays)
    v, h = form(exact.v.astype(dtype)), exact.h.astype(dtype)

    mean = rbm.mean_hidden(v)
    assert mean.dtype == dtype
    assert_allclose(mean, exact.mean_h_given_v, **tolerance(dtype))
    assert_allclose(rbm.mean_visible(h), exact.mean_v_given_h, **tolerance(dtype))

    log_marginal = -np.log(np.exp(-exact.energy).sum(axis=1))
    assert_allclose(rbm.free_energy(v), log_marginal, **tolerance(dtype))
    log_marginal = -np.log(np.exp(-exact.energy).sum(axis=0))
    assert_allclose(rbm.hidden_free_energy(h), log_marginal, **tolerance(dtype))


@pytest.mark.parametrize(("dtype", "form"), CASES)
@pytest.mark.parametrize("scale", [0.01, 1.0, 6.0])
@pytest.mark.parametrize("shape", [(6, 4), (3, 9), (1, 1)])
def test_pseudo_log_likelihood(shape, scale, dtype, form):
    rbm = tiny_rbm(*shape, dtype, scale=scale)
    exact = Enumerated(*rbm.arrays)
    score = rbm.pseudo_log_likelihood(form(exact.v.astype(dtype)))
    assert score.dtype == np.float64
    expected = exact.pseudo_log_likelihood(exact.v)
    single = dtype == np.float32
    assert_allclose(score, expected, rtol=5e-5 if single else 1e-9, atol=1e-12)


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
def test_pseudo_log_likelihood_of_some_columns(form):
    rbm = tiny_rbm(6, 4)
    v = form(states(6))
    every = [rbm.pseudo_log_likelihood(v, np.array([i])) for i in range(6)]
    assert_allclose(np.mean(every, axis=0), rbm.pseudo_log_likelihood(v))
    some = rbm.pseudo_log_likelihood(v, np.array([1, 4]))
    assert_allclose(some, (every[1] + every[4]) / 2)


@pytest.mark.parametrize(("dtype", "form"), CASES)
@pytest.mark.parametrize("n_components", [1, 3, 8, 24])
@pytest.mark.parametrize("scale", [1.0, 5.0])
@pytest.mark.parametrize("some_states", [True, False])
def test_log_odds_of_values_between_0_and_1(some_states, scale, n_components, dtype, form):
    """Log-odds follow the formula for any values of the other units."""
    rbm = tiny_rbm(5, n_components, dtype, scale=scale)
    v = np.random.default_rng(0).random((40, 5)).astype(dtype)
    if some_states:
        v[::3] = v[::3] > 0.5
    expected = np.empty(v.shape)
    for i in range(5):
        without = np.delete(v, i, axis=1) @ np.delete(rbm.weights, i, axis=0)
        without = (without + rbm.hidden_bias).astype(np.float64)
        change = np.logaddexp(0, without + rbm.weights[i]) - np.logaddexp(0, without)
        expected[:, i] = rbm.visible.bias[i] + change.sum(axis=1)
    atol = 1e-5 * scale * n_components
    assert_allclose(visible_log_odds(rbm, form(v)), expected, rtol=1e-4, atol=atol)


@pytest.mark.parametrize(("dtype", "form"), CASES)
@pytest.mark.parametrize("size", [30.0, 75.0, 300.0, 3000.0])
def test_huge_weights_give_no_overflow(size, dtype, form):
    rng = np.random.default_rng(0)
    rbm = tiny_rbm(6, 40, dtype)
    rbm.weights[...] = size * rng.choice([-1, 0, 1], size=(6, 40))
    rbm.weights[0] = -size
    v = states(6)
    a = v @ rbm.weights.astype(float) + rbm.hidden_bias
    expected = np.empty(v.shape)
    for i in range(6):
        without = a - v[:, [i]] * rbm.weights[i]
        change = np.logaddexp(0, without + rbm.weights[i]) - np.logaddexp(0, without)
        expected[:, i] = rbm.visible.bias[i] + change.sum(axis=1)
    result = visible_log_odds(rbm, form(v.astype(dtype)))
    assert_allclose(result, expected, rtol=1e-4, atol=1e-4)
    assert np.isfinite(rbm.free_energy(form(v.astype(dtype)))).all()


@pytest.mark.parametrize("n_rows", [1, 1000])
@pytest.mark.parametrize("n_features", [3, 2500])
def test_many_rows_and_features_go_by_blocks(n_rows, n_features):
    """Blocks of rows and of visible units are assembled correctly."""
    rbm = tiny_rbm(n_features, 5, scale=3.0)
    v = (np.random.default_rng(0).random((n_rows, n_features)) < 0.3).astype(float)
    free_energy = rbm.free_energy(v)
    for i in (0, n_features - 1):
        on, off = v.copy(), v.copy()
        on[:, i], off[:, i] = 1, 0
        expected = rbm.free_energy(off) - rbm.free_energy(on)
        result = visible_log_odds(rbm, v, np.array([i]))[:, 0]
        assert_allclose(result, expected, rtol=1e-8, atol=1e-8)
    assert free_energy.shape == (n_rows,)
    assert_allclose(
        visible_log_odds(rbm, v)[:, [0, -1]],
        visible_log_odds(rbm, v, np.array([0, n_features - 1])),
    )
