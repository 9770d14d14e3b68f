"""Partition functions and likelihoods, compared with enumeration and with each other."""

import copy
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import Enumerated, states, tiny_rbm
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline

from skrbm import BernoulliRBMEstimator, ParallelRBM, _annealing
from skrbm._annealing import Path as AnnealingPath
from skrbm._annealing import (
    _redraw,
    anneal,
    anneal_in_jobs,
    anneal_until_even,
    independent,
    ladder,
)
from skrbm._enumeration import exact_draws
from skrbm._ladders import ladder_of
from skrbm._model import RBM
from skrbm.likelihood import (
    LogLikelihoodTracker,
    LogPartition,
    log_likelihood,
    log_partition,
    mean_log_likelihood,
    pseudo_log_likelihood,
)
from skrbm.sampling import sample_conditional

DIGITS = load_digits().data > 7
DATA = os.environ.get("SKRBM_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="SKRBM_DATA is not set")


def by_hand(model):
    """Estimator that has only its parameters, set by hand."""
    rbm = BernoulliRBMEstimator()
    rbm.components_ = model.weights.T
    rbm.intercept_visible_, rbm.intercept_hidden_ = model.visible_bias, model.hidden_bias
    return rbm


def rungs(n_features, n_components, dtype=np.float32, scale=1.5):
    """Three models: independent features, another one, and `tiny_rbm`."""
    shape = n_features, n_components
    other = tiny_rbm(*shape, dtype, scale=2 * scale / 3, seed=1)
    model = tiny_rbm(*shape, dtype, scale=scale)
    return [independent(model, other.visible), other, model]


@pytest.fixture(scope="module")
def digits_rbm():
    return BernoulliRBMEstimator(12, n_iter=20, random_state=0).fit(DIGITS)


# Exact ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [0.0, 1.0, 60.0])
@pytest.mark.parametrize("shape", [(6, 4), (4, 7), (1, 1), (1, 6), (8, 1)])
def test_exact_partition_function(shape, scale, dtype):
    model = tiny_rbm(*shape, dtype, scale=scale)
    minus_energy = -Enumerated(*model).energy
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
    model = RBM.bernoulli(weights, b, c)
    if turned:
        model = RBM.bernoulli(np.ascontiguousarray(weights.T), c, b)
    assert_allclose(log_partition(by_hand(model), method="exact").value, expected)


def test_too_large_for_an_exact_sum():
    rbm = by_hand(tiny_rbm(30, 26))
    with pytest.raises(ValueError, match=r"up to 25 units.* 30 visible and 26 hidden.*ais"):
        log_partition(rbm, method="exact")
    assert log_partition(rbm, betas=10).method == "ais"


@pytest.mark.parametrize("shape", [(4, 3), (3, 5)])
def test_exact_draws(shape, rng):
    model = tiny_rbm(*shape, scale=1.5)
    exact = Enumerated(*model)
    n = 100_000
    v = exact_draws(model, n, rng)
    frequencies = np.bincount(exact.index(v), minlength=len(exact.p_v)) / n
    assert_allclose(frequencies, exact.p_v, atol=5 * np.sqrt(0.25 / n))


# Annealed -------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_path(beta, rng):
    """Log-ratios match the explicit distributions, which Gibbs steps leave invariant."""
    model = tiny_rbm(4, 3, scale=1.5)
    base_mean = np.array([0.2, 0.5, 0.7, 0.4])
    path = AnnealingPath(model, base_mean)
    v = states(4).astype(np.float32)

    def log_p(beta):
        b0 = np.log(base_mean / (1 - base_mean))
        bias = (1 - beta) * b0 + beta * model.visible_bias
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
    expected = np.log(Enumerated(*model).partition)
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


def test_few_temperatures_err_to_either_side(digits_rbm):
    exact = log_partition(digits_rbm).value
    few = {"betas": 15, "n_runs": 2}
    for method, sign in (("ais", -1), ("reverse_ais", 1)):
        errors = [
            log_partition(digits_rbm, method=method, random_state=seed, **few).value - exact
            for seed in range(100)
        ]
        assert sign * np.mean(errors) > 3 * np.std(errors) / 10


def test_starts_of_reverse_runs(digits_rbm):
    settings = {"method": "reverse_ais", "betas": 300, "random_state": 0}
    exact = log_partition(digits_rbm).value
    given = log_partition(digits_rbm, init=digits_rbm.sample(40), **settings)
    assert given.init == "given"
    assert abs(given.value - exact) < 1.5
    wide = BernoulliRBMEstimator(24, n_iter=10, random_state=0).fit(DIGITS)
    chains = log_partition(wide, **settings)
    assert chains.init == "chains"
    truth = log_partition(wide, method="exact").value
    assert abs(chains.value - truth) < 1.5
    for name in ("h_samples_", "visible_mean_"):  # keep only the parameters
        delattr(wide, name)
    chains = log_partition(wide, **settings)
    assert chains.init == "chains"
    assert abs(chains.value - truth) < 1.5


@pytest.mark.parametrize("n_runs", [1, 7, 60])
def test_seeds_and_jobs(n_runs):
    rbm = by_hand(tiny_rbm(6, 3))
    settings = {"method": "ais", "betas": 20, "n_runs": n_runs, "random_state": 3}
    one = log_partition(rbm, **settings)
    assert_array_equal(one.log_weights, log_partition(rbm, **settings).log_weights)
    two = log_partition(rbm, n_jobs=2, **settings)
    assert_allclose(one.log_weights, two.log_weights, atol=1e-5)
    other = log_partition(rbm, **settings | {"random_state": 4})
    assert one.value != other.value
    assert np.isfinite(one.upper) == (n_runs > 1)
    assert not np.isnan([one.lower, one.upper]).any()


def test_error_when_one_run_has_all_weight():
    """The error stays finite, and a warning says that it is unreliable."""
    model = tiny_rbm(8, 6, scale=12.0)
    with pytest.warns(UserWarning, match="dominated by one of 20 runs"):
        result = log_partition(
            by_hand(model), method="ais", betas=2, n_runs=20, base_mean=0.5, random_state=0
        )
    assert np.isfinite([result.value, result.lower, result.upper]).all()


def test_betas():
    betas = ladder(14_501)
    published = [np.arange(500) / 1e3, np.arange(5000, 9000) / 1e4]
    published += [np.arange(90_000, 100_001) / 1e5]
    assert_allclose(betas, np.concatenate(published), atol=1e-12)
    rbm = by_hand(tiny_rbm(3, 2))
    result = log_partition(rbm, method="ais", betas=[0, 0.5, 0.9, 1], random_state=0)
    assert result.n_betas == 4


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
    model = RBM.bernoulli(np.full((20, 25), 1.0), np.full(20, -12.3), np.full(25, -10.0))
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
    path, source = AnnealingPath(model, np.full(8, 0.1)), np.random.RandomState(0)
    init = exact_draws(model, 400, rng).astype(np.float32) if reverse else None
    log_weights, n_betas, even = anneal_until_even(path, 400, source, init=init)
    assert [n_betas, even] == [1001, False]
    assert_allclose(parts[-1].sum(axis=1), log_weights)
    spread = [np.std(part, axis=0) for part in parts]
    assert spread[0].max() > 2 * spread[0].min()
    assert spread[1].max() < 1.6 * spread[1].min()


def test_progress(capsys):
    rbm = by_hand(tiny_rbm(3, 2))
    log_partition(rbm, method="ais", betas=101, n_runs=2, verbose=1, random_state=0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("[log_partition] 100 of 100 temperatures")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [0.0, 80.0])
@pytest.mark.parametrize("shape", [(5, 1), (1, 5), (5, 3)])
def test_extreme_models(shape, scale, dtype):
    """The estimate is exact for zero weights and finite for large ones."""
    model = tiny_rbm(*shape, dtype, scale=scale)
    exact = log_partition(by_hand(model)).value
    for method in ("ais", "reverse_ais"):
        result = log_partition(by_hand(model), method=method, betas=5000, random_state=0)
        assert np.isfinite([result.value, result.lower, result.upper]).all()
        if scale == 0:
            assert_allclose(result.value, exact, rtol=1e-5)
            assert result.effective_sample_size > 99
        else:
            assert abs(result.value - exact) < 3 + 1e-4 * abs(exact)


# On a ladder ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ais", "reverse_ais", "both"])
@pytest.mark.parametrize(("shape", "scale"), [((5, 4), 1.0), ((30, 20), 0.5)])
def test_log_partition_on_a_ladder(shape, scale, method):
    models = rungs(*shape, scale=scale)
    rbm = by_hand(models[-1])
    settings = {"method": method, "betas": 500, "ladder": ladder_of(models)}
    result = log_partition(rbm, random_state=0, **settings)
    assert result.lower < log_partition(rbm).value < result.upper
    assert 0 < result.upper - result.lower < 1
    assert result.effective_sample_size > 20
    assert (result.n_betas, result.n_rungs) == (500, 3)
    assert "500 models on a ladder of 3 rungs" in repr(result)
    assert result.value != rbm.log_partition(random_state=1, **settings).value


@pytest.mark.parametrize("method", ["ais", "reverse_ais"])
def test_importance_weights_on_a_ladder_are_unbiased(method):
    """With few steps weights vary a lot, but their mean is still unbiased."""
    models = rungs(5, 4, scale=0.8)
    expected = np.log(Enumerated(*models[-1]).partition)
    result = log_partition(
        by_hand(models[-1]),
        method=method,
        betas=[0, 0.3, 0.9, 1],
        ladder=ladder_of(models),
        n_runs=20_000,
        random_state=0,
    )
    error = (result.upper - result.lower) / 2
    assert 0.01 < error < 0.2
    assert abs(result.value - expected) < 1.5 * error


def test_jobs_on_a_ladder():
    models = rungs(6, 3)
    settings = {"method": "ais", "betas": 20, "n_runs": 60, "random_state": 3}
    settings["ladder"] = ladder_of(models)
    one, two = (log_partition(by_hand(models[-1]), n_jobs=n, **settings) for n in (1, 2))
    assert_allclose(one.log_weights, two.log_weights, atol=1e-5)


def test_a_ladder_has_a_base_of_its_own():
    models = rungs(6, 3)
    with pytest.raises(ValueError, match="base_mean has no effect on a ladder"):
        log_partition(by_hand(models[-1]), base_mean=0.5, ladder=ladder_of(models))


# Likelihoods ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.array, sp.csr_array, sp.csc_matrix, np.uint8, bool])
def test_log_likelihood(form):
    model = tiny_rbm(6, 4)
    exact = Enumerated(*model)
    X = states(6)[[3, 3, 60, 1]]
    given = X.astype(form) if form in (np.uint8, bool) else form(X)
    expected = exact.log_likelihood(X)
    assert_allclose(log_likelihood(by_hand(model), given), expected, rtol=1e-10)
    assert_allclose(by_hand(model).log_likelihood(given), expected, rtol=1e-10)
    log_z = by_hand(model).log_partition(random_state=0)
    rows = log_likelihood(by_hand(model), given, log_partition=log_z)
    assert_allclose(rows, expected, rtol=1e-10)
    assert_allclose(log_likelihood(by_hand(model), given, log_partition=log_z.value), rows)


def test_a_model_of_values_beyond_1():
    """Means beyond 1 are no probabilities, but annealed runs can start from them."""
    X = 1.5 * (np.random.default_rng(0).random((200, 30)) < 0.9)
    rbm = BernoulliRBMEstimator(25, n_iter=2, stochastic_binarization=False)
    with pytest.warns(UserWarning, match="used unchanged"):
        rbm.set_params(learning_rate=0.01, random_state=0).fit(X)
    assert rbm.visible_mean_.max() > 1
    log_z = rbm.log_partition(method="ais", betas=2000, random_state=0)
    exact = rbm.log_partition(method="exact")
    assert log_z.lower < exact.value < log_z.upper
    assert np.isfinite(rbm.sample(5, betas=4, n_gibbs_steps=10)).all()


@pytest.mark.parametrize("function", [log_likelihood, mean_log_likelihood])
def test_a_log_partition_is_of_one_model(function):
    X = DIGITS[:300, 20:28]
    rbm = BernoulliRBMEstimator(3, random_state=0).fit(X)
    log_z = pickle.loads(pickle.dumps(log_partition(rbm)))
    function(pickle.loads(pickle.dumps(rbm)), X, log_partition=log_z)
    by_hand_in_float32 = by_hand(
        RBM.bernoulli(
            rbm.components_.T.astype(np.float32),
            rbm.intercept_visible_.astype(np.float32),
            rbm.intercept_hidden_.astype(np.float32),
        )
    )
    function(by_hand_in_float32, X, log_partition=log_z)
    mirrored, turned = copy.deepcopy(rbm), copy.deepcopy(rbm)
    mirrored.components_ *= -1
    turned.intercept_hidden_ = rbm.intercept_hidden_[::-1]
    for other in (mirrored, turned, rbm.partial_fit(X)):
        with pytest.raises(ValueError, match="belongs to another model"):
            function(other, X, log_partition=log_z)


def test_mean_log_likelihood():
    model = tiny_rbm(6, 4)
    X = states(6)[[3, 3, 60, 1]]
    rows = Enumerated(*model).log_likelihood(X)
    z = log_partition(by_hand(model)).value
    of = log_partition(by_hand(model)).of
    bounds = LogPartition(z, z - 1, z + 2, "ais", of, np.zeros(3), 3.0, 10)
    result = mean_log_likelihood(by_hand(model), X, log_partition=bounds)
    assert_allclose(float(result), rows.mean())
    assert f"{result:.2f}" == f"{result.value:.2f}"
    assert f"{result}" == repr(result)
    assert_allclose(result.standard_error, rows.std(ddof=1) / 2)
    assert_allclose([result.lower, result.upper], [rows.mean() - 2, rows.mean() + 1])
    assert result.n_samples == 4
    assert "over 4 rows" in repr(result)
    assert "3 runs" in repr(result)
    assert mean_log_likelihood(by_hand(model), X[:1]).standard_error == np.inf
    given = mean_log_likelihood(by_hand(model), X, log_partition=z)
    assert_allclose(given.value, rows.mean())
    assert repr(given).endswith("(given)")
    assert pickle.loads(pickle.dumps(result)).value == result.value
    assert result != mean_log_likelihood(by_hand(model), X, log_partition=bounds)
    assert len({result, bounds}) == 2


def test_pseudo_log_likelihood_is_what_the_estimator_scores(digits_rbm):
    for n_flips in (None, 5):
        assert_array_equal(
            pseudo_log_likelihood(digits_rbm, DIGITS, n_flips=n_flips),
            digits_rbm.score_samples(DIGITS, n_flips=n_flips),
        )


def test_any_estimator_will_do():
    theirs = BernoulliRBM(6, n_iter=2, random_state=0).fit(DIGITS[:100])
    model = SimpleNamespace(
        components_=theirs.components_.tolist(),
        intercept_visible_=theirs.intercept_visible_.tolist(),
        intercept_hidden_=theirs.intercept_hidden_,
    )
    for rbm in (theirs, model):
        rows = log_likelihood(rbm, DIGITS[:5])
        free = theirs._free_energy(DIGITS[:5])
        assert_allclose(rows, -free - log_partition(rbm).value)
        assert_allclose(rows, log_likelihood(theirs, DIGITS[:5]))
    small = BernoulliRBM(3, n_iter=2, random_state=0).fit(DIGITS[:100, 20:26])
    p = Enumerated(
        small.components_.T, small.intercept_visible_, small.intercept_hidden_
    ).pseudo_log_likelihood(states(6))
    assert_allclose(pseudo_log_likelihood(small, states(6)), p)


def test_an_estimator_with_parameters_set_by_hand():
    rbm = by_hand(tiny_rbm(6, 4))
    assert rbm.transform(states(6)).shape == (64, 4)
    assert rbm.score_samples(states(6)).shape == (64,)
    assert rbm.gibbs(states(6), random_state=0).shape == (64, 6)
    with pytest.raises(ValueError, match="5 features, but the model has 6 visible"):
        rbm.transform(states(5))
    with pytest.raises(ValueError, match=r"set by hand.* no training to continue"):
        rbm.set_params(n_components=4).partial_fit(states(6))
    with pytest.raises(ValueError, match=r"set by hand.* no training to continue"):
        rbm.set_params(warm_start=True, early_stopping=True).fit(states(6))
    expected = rbm.transform(states(6))
    rbm.components_ = rbm.components_.tolist()
    assert_array_equal(rbm.transform(states(6)), expected)


def test_columns_in_another_order_are_refused():
    frame = pd.DataFrame(states(6), columns=list("abcdef"))
    rbm = BernoulliRBMEstimator(2, n_iter=1, random_state=0).fit(frame)
    expected = rbm.log_likelihood(frame)
    assert_array_equal(log_likelihood(rbm, frame), expected)
    other = frame[list("fedcba")]
    for function in (log_likelihood, pseudo_log_likelihood, sample_conditional):
        with pytest.raises(ValueError, match=r"a, b, c, d, e, \.\.\., but X has f, e"):
            function(rbm, other)


@pytest.mark.parametrize("log_z", [np.nan, "auto", (1, 2)])
def test_what_is_no_partition_function(log_z):
    rbm = by_hand(tiny_rbm(6, 4))
    for function in (log_likelihood, mean_log_likelihood):
        with pytest.raises(ValueError, match="must be a LogPartition returned"):
            function(rbm, states(6), log_partition=log_z)


# Monitor --------------------------------------------------------------------------------


def test_monitor_follows_the_exact_value():
    """Every estimate is accurate while training changes the model a lot."""
    rbm = BernoulliRBMEstimator(22, learning_rate=0.4, random_state=0)
    watched = clone(rbm)
    monitor = LogLikelihoodTracker(DIGITS[1500:], random_state=0)
    off, values = [], []
    for _ in range(8):
        look = monitor.update(watched.partial_fit(DIGITS[:1500]))
        rbm.partial_fit(DIGITS[:1500])
        exact = log_partition(rbm, method="exact")
        off.append(look.log_partition.value - exact.value)
        values.append(look.value)
        rows = log_likelihood(rbm, DIGITS[1500:], log_partition=look.log_partition)
        assert_allclose(look.value, rows.mean(), rtol=1e-6)
    assert_array_equal(rbm.components_, watched.components_)
    assert np.abs(off).max() < 0.6
    assert values[-1] > values[0] + 1


def test_runs_are_drawn_anew_by_weight():
    rng = np.random.default_rng(0)
    for _ in range(20):
        log_weights = rng.normal(scale=3, size=100) + rng.normal(scale=1000)
        shares = np.exp(log_weights - log_weights.max())
        expected = 100 * shares / shares.sum()
        times = np.bincount(_redraw(log_weights, rng), minlength=100)
        assert np.abs(times - expected).max() < 1


def test_monitor_draws_runs_anew():
    """If models change abruptly, few runs keep weight, but estimates stay accurate."""
    models = [tiny_rbm(24, 22, scale=0.4, seed=seed) for seed in range(4)]
    monitor = LogLikelihoodTracker(np.eye(24), n_runs=400, n_betas=50, random_state=0)
    anew = 0
    for model in models:
        look = monitor.update(by_hand(model)).log_partition
        anew += look.effective_sample_size < 200
        exact = log_partition(by_hand(model), method="exact").value
        assert abs(look.value - exact) < 0.5
        assert look.lower < exact < look.upper
    assert anew > 0


def test_an_interrupted_look_leaves_the_monitor_as_it_was(monkeypatch):
    models = [tiny_rbm(24, 22, scale=0.4, seed=seed) for seed in range(2)]
    monitor = LogLikelihoodTracker(np.eye(24), n_runs=400, n_betas=50, random_state=0)
    free_energy, calls = RBM.free_energy, []

    def interrupting(model, v):
        calls.append(1)
        if len(calls) in (300, 1350):
            raise KeyboardInterrupt
        return free_energy(model, v)

    monkeypatch.setattr(RBM, "free_energy", interrupting)
    interrupted = 0
    for model in models:
        for _ in range(2):
            try:
                look = monitor.update(by_hand(model)).log_partition
            except KeyboardInterrupt:
                interrupted += 1
        exact = log_partition(by_hand(model), method="exact").value
        assert abs(look.value - exact) < 0.5
    assert interrupted == 2


def test_tracker_of_small_models_is_exact():
    monitor = LogLikelihoodTracker(states(6))
    look = monitor.update(by_hand(tiny_rbm(6, 4)))
    assert look.log_partition.method == "exact"
    expected = Enumerated(*tiny_rbm(6, 4)).log_likelihood(states(6)).mean()
    assert_allclose(look.value, expected)


def test_monitor_of_one_shape():
    monitor = LogLikelihoodTracker(np.eye(24), n_betas=1, random_state=0)
    monitor.update(by_hand(tiny_rbm(24, 22, scale=0.1)))
    with pytest.raises(ValueError, match=r"\(24, 23\) .*one tracker per model"):
        monitor.update(by_hand(tiny_rbm(24, 23)))
    with pytest.raises(ValueError, match="n_betas"):
        LogLikelihoodTracker(np.eye(3), n_betas=0)
    with pytest.raises(ValueError, match=r"from 0 to 0\.5: binarize X"):
        LogLikelihoodTracker(np.eye(3) / 2).update(by_hand(tiny_rbm(3, 2)))


# Bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"method": "exactly"},
            "method must be one of 'auto', 'exact', 'ais', 'reverse_ais'",
        ),
        ({"method": "ais", "betas": 1}, "betas"),
        ({"method": "ais", "betas": 0.5}, "the number of temperatures.* but got 0.5"),
        ({"method": "ais", "betas": "many"}, "the number of temperatures.* but got 'many'"),
        ({"method": "ais", "betas": [0, 0.5]}, "begin with 0, never fall and end with 1"),
        ({"method": "ais", "betas": [0, 0.6, 0.5, 1]}, "never fall"),
        ({"method": "ais", "betas": [0.1, 1]}, "begin with 0"),
        ({"method": "ais", "n_runs": 0}, "n_runs"),
        ({"method": "ais", "base_mean": [0.5, 0.5]}, r"shape \(4,\)"),
        ({"method": "ais", "base_mean": 1.5}, "from 0 to 1"),
        ({"method": "ais", "base_mean": np.nan}, "from 0 to 1"),
        ({"method": "ais", "init": np.ones((1, 4))}, "reverse_ais"),
        ({"init": np.ones((1, 4))}, "reverse_ais"),
        ({"n_runs": 0}, "n_runs"),
        ({"betas": [1, 0]}, "never fall"),
        ({"method": ["ais"]}, "method must be"),
        ({"method": "reverse_ais", "init": np.ones((1, 3))}, "3 features"),
        ({"method": "reverse_ais", "init": np.full((1, 4), 0.5)}, "0 and 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        log_partition(by_hand(tiny_rbm(4, 3)), **arguments)


def test_bad_rows_and_bad_models():
    rbm = by_hand(tiny_rbm(4, 3))
    with pytest.raises(ValueError, match=r"values other than 0 and 1.*Binarizer"):
        log_likelihood(rbm, [[0.5, 0, 0, 1]])
    with pytest.raises(ValueError, match="3 features, but the model has 4"):
        log_likelihood(rbm, [[1, 0, 1]])
    with pytest.raises(ValueError, match="NaN"):
        log_likelihood(rbm, [[np.nan, 0, 0, 1]])
    for function in (log_partition, lambda rbm: log_likelihood(rbm, [[0, 1]])):
        with pytest.raises(NotFittedError, match="no components_"):
            function(clone(rbm))
    with pytest.raises(NotFittedError):
        clone(rbm).log_partition()
    search = GridSearchCV(BernoulliRBMEstimator(2, n_iter=1), {}, cv=2).fit(states(4))
    parallel = ParallelRBM(search.estimator, n_shards=2).fit(states(4))
    others = [
        (
            LogisticRegression(),
            r"LogisticRegression: pass a Bern.*, a GaussianRBMEstimator",
        ),
        (parallel, r"a ParallelRBM: pass its estimator_"),
        (LogisticRegression().fit([[0], [1]], [0, 1]), r"a LogisticRegression: pass a Ber"),
        (search, r"a GridSearchCV: pass its best_estimator_"),
    ]
    for other, match in others:
        with pytest.raises(TypeError, match=match):
            log_partition(other)
    rbm.intercept_visible_ = np.zeros(3)
    with pytest.raises(ValueError, match=r"parameters do not match.*components_ \(3, 4\)"):
        log_partition(rbm)
    rbm.intercept_visible_ = np.full(4, np.inf)
    with pytest.raises(ValueError, match="NaN or infinite"):
        log_partition(rbm)


def test_a_pipeline_is_told_to_pass_its_last_step():
    pipeline = make_pipeline(BernoulliRBMEstimator(2, n_iter=1)).fit(DIGITS)
    with pytest.raises(TypeError, match=r"pipeline\[-1\]"):
        log_partition(pipeline)


def test_anneal_shares_runs_among_generators():
    """Each group of runs uses its own random numbers, wherever it is executed."""
    path = AnnealingPath(tiny_rbm(5, 3), np.full(5, 0.5))
    betas = np.linspace(0, 1, 10).tolist()
    together, _ = anneal(path, betas, [(3, 7), (2, 8)])
    apart = [anneal(path, betas, [group])[0] for group in ((3, 7), (2, 8))]
    assert_allclose(together, np.concatenate(apart), atol=1e-5)


# Published models -----------------------------------------------------------------------


@needs_data
def test_published_exact_value():
    arrays = np.load(Path(DATA) / "fixtures" / "rbm15_pylearn2.npz")
    model = SimpleNamespace(
        components_=arrays["W"].T,
        intercept_visible_=arrays["b"],
        intercept_hidden_=arrays["c"],
    )
    X = np.load(Path(DATA) / "binarized_mnist.npz")["X_test"]
    log_z = log_partition(model)
    assert_allclose(log_z.value, 215.1384055253, atol=1e-7)
    mean = mean_log_likelihood(model, X, log_partition=log_z).value
    assert_allclose(mean, -172.573601, atol=1e-4)


def test_forward_and_reverse_in_one():
    rbm = by_hand(tiny_rbm(6, 4))
    settings = {"betas": 300, "n_runs": 50, "base_mean": 0.4}
    result = log_partition(rbm, method="both", random_state=0, **settings)
    source = np.random.RandomState(0)
    forward, reverse = (
        log_partition(rbm, method=method, random_state=source, **settings)
        for method in ("ais", "reverse_ais")
    )
    assert [part.value for part in result.parts] == [forward.value, reverse.value]
    assert result.value == (forward.value + reverse.value) / 2
    assert result.lower == min(forward.lower, reverse.lower)
    assert result.upper == max(forward.upper, reverse.upper)
    assert result.lower < log_partition(rbm).value < result.upper
    assert (result.method, result.log_weights, result.init) == ("both", None, "exact")
    assert "forward: log Z = " in repr(result)
    assert "reverse: log Z = " in repr(result)
    likelihood = mean_log_likelihood(rbm, np.eye(6), log_partition=result)
    assert likelihood.lower < likelihood.value < likelihood.upper


def test_estimates_that_contradict_each_other_warn():
    """Model with two modes, all off and all on, and draws from the rarer mode only."""
    model = RBM.bernoulli(np.full((20, 25), 2.0), np.full(20, -25.2), np.full(25, -20.0))
    rbm = by_hand(model)
    settings = {"method": "both", "betas": 500, "n_runs": 300, "base_mean": 0.5}
    log_partition(rbm, random_state=0, **settings)
    with pytest.warns(UserWarning, match="is below the forward one") as record:
        result = log_partition(rbm, init=np.ones((1, 20)), random_state=0, **settings)
    assert len(record) == 1
    forward, reverse = result.parts
    assert reverse.value < forward.value
    assert result.lower == reverse.lower < log_partition(rbm).value < result.upper
