"""Annealed runs and tempered chains, compared with enumeration."""

import numpy as np
import pytest
from conftest import (
    Enumerated,
    assert_tempered_chains_keep,
    bernoulli_rbm,
    by_hand,
    states,
    tiny_rbm,
)
from numpy.testing import assert_allclose

from skrbm import _annealing
from skrbm._annealing import (
    TemperaturePath,
    TemperedChains,
    _redraw,
    anneal,
    anneal_in_jobs,
    anneal_until_even,
    betas_of_equal_swaps,
    usual_betas,
)
from skrbm._enumeration import exact_draws
from skrbm.likelihood import log_partition

# Runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_path_of_temperatures(beta, rng):
    """Log-ratios match the explicit distributions, which Gibbs steps leave invariant."""
    model = tiny_rbm(4, 3, scale=1.5)
    base_mean = np.array([0.2, 0.5, 0.7, 0.4])
    path = TemperaturePath(model, base_mean)
    v = states(4).astype(np.float32)

    def log_p(beta):
        b0 = np.log(base_mean / (1 - base_mean))
        bias = (1 - beta) * b0 + beta * model.visible.bias
        inputs = beta * (v @ model.weights + model.hidden_bias)
        return v @ bias + np.log1p(np.exp(inputs)).sum(axis=1)

    hidden_input = path.model.hidden_input(v)
    for after in (0.0, 0.31, 1.0):
        ratio = path.log_ratio(v, hidden_input, beta, after)
        assert_allclose(ratio, log_p(after) - log_p(beta), rtol=1e-5, atol=1e-5)
    column = np.full((16, 1), beta, dtype=np.float32)
    ratio = path.log_ratio(v, hidden_input, column, column + np.float32(0.2))
    assert_allclose(ratio, log_p(beta + 0.2) - log_p(beta), rtol=1e-4, atol=1e-5)

    assert_allclose(path.base_log_partition, np.log(np.exp(log_p(0)).sum()), rtol=1e-6)
    p = np.exp(log_p(beta))
    p /= p.sum()
    n = 100_000
    rows = v[np.random.default_rng(0).choice(16, size=n, p=p)]
    half = [(slice(0, n // 2), rng), (slice(n // 2, n), rng)]
    path.gibbs(rows, path.model.hidden_input(rows), beta, half)
    index = rows.astype(int) @ [8, 4, 2, 1]
    assert_allclose(np.bincount(index, minlength=16) / n, p, atol=5 * np.sqrt(0.25 / n))


@pytest.mark.parametrize("method", ["ais", "reverse_ais"])
def test_importance_weights_are_unbiased(method):
    """With few temperatures weights vary a lot, but their mean is still unbiased."""
    model = tiny_rbm(5, 4, scale=0.8)
    expected = np.log(Enumerated(*model.arrays).partition)
    result = log_partition(
        by_hand(model), method=method, betas=5, n_runs=20_000, base_mean=0.4, random_state=0
    )
    error = (result.upper - result.lower) / 2
    assert 0 < error < 0.2
    assert abs(result.value - expected) < 1.5 * error
    # The reported error matches the spread over other seeds.
    values = [
        log_partition(
            by_hand(model),
            method=method,
            betas=5,
            n_runs=200,
            base_mean=0.4,
            random_state=i,
        )
        for i in range(100)
    ]
    z = [(r.value - expected) / ((r.upper - r.lower) / 6) for r in values]
    assert 0.6 < np.std(z) < 1.6


def test_estimates_lie_around_the_truth(digits_rbm):
    exact = log_partition(digits_rbm)
    ais = log_partition(digits_rbm, method="ais", betas=1000, random_state=0)
    reverse = log_partition(digits_rbm, method="reverse_ais", betas=1000, random_state=0)
    assert exact.method == "exact"
    assert reverse.init == "exact"
    assert "100 runs from exact draws, 1000 temperatures" in repr(reverse)
    for estimate in (ais, reverse):
        assert abs(estimate.value - exact.value) < 0.5
        assert estimate.lower < exact.value < estimate.upper
        assert 1 < estimate.effective_sample_size <= 100
        assert estimate.log_weights.shape == (100,)
        assert estimate.n_betas == 1000


@pytest.mark.slow
def test_few_temperatures_err_to_either_side(digits_rbm):
    exact = log_partition(digits_rbm).value
    few = {"betas": 15, "n_runs": 2}
    for method, sign in (("ais", -1), ("reverse_ais", 1)):
        errors = [
            log_partition(digits_rbm, method=method, random_state=seed, **few).value - exact
            for seed in range(100)
        ]
        assert sign * np.mean(errors) > 3 * np.std(errors) / 10


def test_error_when_one_run_has_all_weight():
    """The error stays finite, and a warning says that it is unreliable."""
    model = tiny_rbm(8, 6, scale=12.0)
    with pytest.warns(UserWarning, match="dominated by one of 20 runs"):
        result = log_partition(
            by_hand(model), method="ais", betas=2, n_runs=20, base_mean=0.5, random_state=0
        )
    assert np.isfinite([result.value, result.lower, result.upper]).all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [0.0, 80.0])
@pytest.mark.parametrize("shape", [(5, 1), (1, 5), (5, 3)])
def test_extreme_models(shape, scale, dtype):
    """The estimate is exact for zero weights and finite for large ones."""
    model = tiny_rbm(*shape, dtype, scale=scale)
    exact = log_partition(by_hand(model)).value
    for method in ("ais", "reverse_ais"):
        result = log_partition(by_hand(model), method=method, betas=1500, random_state=0)
        assert np.isfinite([result.value, result.lower, result.upper]).all()
        if scale == 0:
            assert_allclose(result.value, exact, rtol=1e-5)
            assert result.effective_sample_size > 99
        else:
            assert abs(result.value - exact) < 3 + 1e-4 * abs(exact)


def test_anneal_shares_runs_among_generators():
    """Each group of runs uses its own random numbers, wherever it is executed."""
    path = TemperaturePath(tiny_rbm(5, 3), np.full(5, 0.5))
    betas = np.linspace(0, 1, 10).tolist()
    together, _ = anneal(path, betas, [(3, 7), (2, 8)])
    apart = [anneal(path, betas, [group])[0] for group in ((3, 7), (2, 8))]
    assert_allclose(together, np.concatenate(apart), atol=1e-5)


def test_runs_are_drawn_anew_by_weight():
    rng = np.random.default_rng(0)
    for _ in range(20):
        log_weights = rng.normal(scale=3, size=100) + rng.normal(scale=1000)
        shares = np.exp(log_weights - log_weights.max())
        expected = 100 * shares / shares.sum()
        times = np.bincount(_redraw(log_weights, rng), minlength=100)
        assert np.abs(times - expected).max() < 1


# Numbers of temperatures --------------------------------------------------------------


def test_published_temperatures():
    betas = usual_betas(14_501)
    published = [np.arange(500) / 1e3, np.arange(5000, 9000) / 1e4]
    published += [np.arange(90_000, 100_001) / 1e5]
    assert_allclose(betas, np.concatenate(published), atol=1e-12)
    rbm = by_hand(tiny_rbm(3, 2))
    result = log_partition(rbm, method="ais", betas=[0, 0.5, 0.9, 1], random_state=0)
    assert result.n_betas == 4


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ais", "reverse_ais"])
@pytest.mark.parametrize("scale", [0.0, 0.05, 0.5, 2.0, 5.0])
def test_chosen_temperatures(scale, method):
    """The error is as small as promised, and as large as the distance from the truth."""
    for seed in range(4):
        rbm = by_hand(tiny_rbm(20, 10, np.float32, scale, seed))
        settings = {"method": method, "base_mean": 0.5, "random_state": seed}
        exact, result = log_partition(rbm).value, log_partition(rbm, **settings)
        assert result.converged
        assert result.effective_sample_size >= 100 / 3
        error = (result.upper - result.value) / 3
        assert error < 0.15
        assert abs(result.value - exact) < 4 * error + 1e-4
        assert log_partition(rbm, **settings).value == result.value
        assert f"{result.n_betas} temperatures (chosen), effective" in repr(result)


@pytest.mark.filterwarnings("ignore:The estimate of log Z is dominated by one")
def test_too_few_temperatures(monkeypatch):
    """The base has hardly any row of the main mode, from which the reverse runs come."""
    monkeypatch.setattr(_annealing, "MOST_STEPS", 1000)
    model = bernoulli_rbm(np.full((20, 25), 1.0), np.full(20, -12.3), np.full(25, -10.0))
    settings = {"base_mean": 0.2, "random_state": 0}
    result = log_partition(by_hand(model), method="reverse_ais", **settings)
    assert result.converged is False
    assert "1001 temperatures (the most tried, too few)" in repr(result)
    both = log_partition(by_hand(model), method="both", **settings)
    assert [part.converged for part in both.parts] == [True, False]
    assert (both.converged, both.n_betas) == (False, 1001)


def test_few_runs_cannot_tell_whether_temperatures_are_enough(monkeypatch):
    monkeypatch.setattr(_annealing, "MOST_STEPS", 1000)
    rbm = by_hand(tiny_rbm(20, 10, np.float32, 2.0))
    for n_runs, expected in ((1, False), (100, True)):
        result = log_partition(
            rbm, method="ais", n_runs=n_runs, base_mean=0.5, random_state=0
        )
        assert result.converged is expected
        assert result.n_betas == (501 if expected else 1001)


@pytest.mark.parametrize("reverse", [False, True])
def test_chosen_temperatures_share_the_variance(monkeypatch, reverse, rng):
    parts = []

    def recording(*args, **options):
        result = anneal_in_jobs(*args, **options)
        parts.append(result[0])
        return result

    monkeypatch.setattr(_annealing, "anneal_in_jobs", recording)
    monkeypatch.setattr(_annealing, "effective_number", lambda log_weights: 1.0)
    monkeypatch.setattr(_annealing, "MOST_STEPS", 1000)
    model = tiny_rbm(8, 4, np.float32, scale=3.0)
    path, source = TemperaturePath(model, np.full(8, 0.1)), np.random.RandomState(0)
    init = exact_draws(model, 400, rng).astype(np.float32) if reverse else None
    log_weights, n_betas, even = anneal_until_even(path, 400, source, init=init)
    assert [n_betas, even] == [1001, False]
    assert_allclose(parts[-1].sum(axis=1), log_weights)
    spread = [np.std(part, axis=0) for part in parts]
    assert spread[0].max() > 2 * spread[0].min()
    assert spread[1].max() < 1.6 * spread[1].min()


# Tempered chains ----------------------------------------------------------------------


@pytest.mark.parametrize("betas", [[0.0, 0.4, 1.0], [0.5, 1.0]])
def test_tempered_chains_do_not_drift(betas):
    model = tiny_rbm(4, 3, scale=1.5)
    mean = np.array([0.2, 0.5, 0.7, 0.4])
    v = states(4)
    p = []
    for beta in betas:
        bias = (1 - beta) * np.log(mean / (1 - mean)) + beta * model.visible.bias
        inputs = beta * (v @ model.weights + model.hidden_bias)
        log_p = v @ bias + np.log1p(np.exp(inputs)).sum(axis=1)
        p.append(np.exp(log_p) / np.exp(log_p).sum())
    assert_tempered_chains_keep(TemperaturePath(model, mean), betas, p)


def test_swaps_move_states_between_temperatures():
    """With equal distributions at all temperatures, every alternating swap is accepted."""
    path = TemperaturePath(tiny_rbm(3, 2, scale=0.0), np.full(3, 0.5))
    rng = np.random.Generator(np.random.SFC64(0))
    tempered = TemperedChains(path, np.array([0, 0.5, 1.0]), np.zeros((2, 2)), rng)
    moves = []

    def mark(v, *_):
        v[...] = np.arange(6)[:, None]

    tempered.path = type("Marked", (), {"gibbs": staticmethod(mark)})()
    tempered.path.hidden_input, tempered.path.log_ratio = path.hidden_input, path.log_ratio
    for _ in range(2):
        assert_allclose(tempered.step(), 1)
        moves.append(tempered.v[:, 0].astype(int).tolist())
    assert moves == [[2, 3, 0, 1, 4, 5], [0, 1, 4, 5, 2, 3]]


def test_temperatures_are_chosen_by_acceptance():
    """All neighbors swap about equally often, and more often with more temperatures."""
    model = tiny_rbm(12, 6, scale=2.0)
    path = TemperaturePath(model, np.full(12, 0.5))
    rng = np.random.Generator(np.random.SFC64(0))
    least = []
    for n_betas in (3, 6):
        betas = betas_of_equal_swaps(path, np.zeros((4, 6)), rng, n_betas)
        assert len(betas) == n_betas
        assert (betas[0], betas[-1]) == (0, 1)
        assert (np.diff(betas) > 0).all()
        tempered = TemperedChains(path, betas, np.zeros((200, 6)), rng)
        accept = np.mean([tempered.step() for _ in range(200)][100:], axis=(0, 2))
        assert np.ptp(accept) < 0.15
        least.append(accept.min())
    assert least[0] < least[1]
