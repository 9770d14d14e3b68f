"""The check of a trained model: on models made by hand, and at the end of a fit."""

import dataclasses
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import BINARY, Enumerated, make_rbm, state_at, states, tiny_rbm
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from skrbm import (
    BernoulliRBMEstimator,
    GaussianRBMEstimator,
    MixedRBMEstimator,
    _fitting,
    _verdict,
)
from skrbm._data import DataSet
from skrbm._enumeration import exact_draws
from skrbm._model import RBM
from skrbm._units.gaussian import GaussianUnits
from skrbm._verdict import Verdict, judge


def trained(model, chains, mean):
    """State of a training that has led to a model, with these chains and means of rows."""
    state = state_at(model, np.asarray(chains, dtype=float))
    state.counts.visible_sum, state.counts.n_rows_seen = np.asarray(mean, float), 1.0
    return state


def one_switch(n_features, n_components, *, on):
    """Model of rows that are all off, or all on with log-odds of about `on`.

    The first hidden unit turns all features on. Single flips do not lead there. Returns the
    model and log Z.
    """
    model = tiny_rbm(n_features, n_components, scale=0.0)
    model.weights[:, 0], model.visible.bias[...] = 12.0, -6.0
    model.hidden_bias[0] = on - 6.0 * n_features
    off = n_features * np.log1p(np.exp(-6.0))
    log_z = np.logaddexp(off, off + on) + np.log(2) * (n_components - 1)
    return model, log_z


def independent(rows):
    mean = rows.mean(axis=0).clip(1e-9, 1 - 1e-9)
    return (rows @ np.log(mean) + (1 - rows) @ np.log(1 - mean)).mean()


def repeated(n, shares, n_features):
    """Rows that are all on, in the first part of the rows, or all off."""
    return np.repeat(
        [[1.0] * n_features, [0.0] * n_features], [shares * n, n - shares * n], 0
    )


@pytest.mark.parametrize("exact", [True, False])
def test_modes_that_only_rows_are_in(exact, monkeypatch):
    """Chains and annealed runs are where features are off, and log Z elsewhere."""
    monkeypatch.setattr(_verdict, "N_TERMS", 1 << 24 if exact else 0)
    n = 12
    model, log_z = one_switch(n, 3, on=30.0)
    assert_allclose(log_z, np.log(Enumerated(*model.arrays).partition))
    rows = repeated(1000, 0.01, n)
    verdict = judge(trained(model, np.zeros((100, 3)), rows.mean(axis=0)), DataSet(rows))
    assert verdict.problem == "unvisited modes"
    assert_allclose(verdict.log_partition_bound, log_z, atol=1e-4)
    assert_allclose(verdict.log_partition_gap, 30, atol=0.1)
    of_rows = -model.free_energy(rows).mean() - log_z
    assert_allclose(verdict.shortfall, independent(rows) - of_rows, atol=0.2)
    assert "exceeds their estimate by 30.0 nats, and training rows" in str(verdict)


def test_modes_that_only_annealed_runs_find():
    """All units are off in one mode and on in the other, which is e^5 times as probable."""
    model, _ = one_switch(6, 1, on=5.0)
    for rows in (None, DataSet(np.zeros((9, 6)))):
        visited = judge(trained(model, np.ones((100, 1)), np.full(6, 0.5)), rows)
        missed = judge(trained(model, np.zeros((100, 1)), np.full(6, 0.5)), rows)
        assert visited.log_partition_gap < 1 < 2 < missed.log_partition_gap
        assert missed.problem == "unvisited modes"
    assert np.isnan(judge(trained(model, np.zeros((100, 1)), np.full(6, 0.5))).shortfall)


def relative_entropy(q, p):
    return q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("q", [0.5, 0.2])
def test_modes_in_wrong_proportions(q, exact, monkeypatch):
    """The loss is the relative entropy of the shares of two modes."""
    monkeypatch.setattr(_verdict, "N_TERMS", 1 << 24 if exact else 0)
    model, log_z = one_switch(6, 4, on=2.0)
    on = np.exp(2 - np.logaddexp(0, 2))  # without noise
    chains = np.zeros((100, 4))
    chains[: round(100 * on), 0] = 1
    rows = repeated(1000, q, 6)
    verdict = judge(trained(model, chains, np.full(6, on)), DataSet(rows))
    assert (verdict.problem, verdict.unit) == ("wrong proportions", 0)
    assert_allclose(
        [verdict.of_rows, verdict.of_draws], [q, on], atol=0.01 if exact else 0.15
    )
    loss = relative_entropy(q, verdict.of_draws)
    # Without what may be due to chance; there are more draws if they are exact.
    assert (0.8 if exact else 0.6) * loss < verdict.imbalance < loss
    # It is at most what the exact log-likelihood is below the best possible.
    best = q * np.log(q) + (1 - q) * np.log(1 - q)
    assert relative_entropy(q, on) <= best + model.free_energy(rows).mean() + log_z
    assert f"hidden unit 0 is on in {q:.1%} of the training rows" in str(verdict)
    right = repeated(1000, round(on, 3), 6)
    assert judge(trained(model, chains, np.full(6, on)), DataSet(right)).problem is None


def test_a_unit_that_no_draw_turns_on_is_not_taken_to_be_impossible():
    """What excludes a probability of p is that n draws without it have (1 - p)^n."""
    n, hidden = 1000, np.zeros((1000, 5))
    p = 1 - (_verdict.CHANCE / 10) ** (1 / n)  # for 5 units, and two directions
    for q in (0.5 * p, 2 * p, 0.5):
        found = _verdict._imbalance(np.full(5, q), hidden, np.zeros(n))["imbalance"]
        assert_allclose(found, relative_entropy(q, p) if q > p else 0, atol=1e-9)
    assert _verdict._imbalance(np.full(5, 0.5), hidden, np.full(n, np.nan)) == {}


@pytest.mark.parametrize("p", [0.002, 0.1, 0.5])
def test_the_loss_is_hardly_ever_less_than_is_said(p):
    """Of draws whose unit is on with probability p, where few rows or many are on."""
    rng = np.random.default_rng(0)
    for q in (0.001, 0.01, 0.6):
        draws = rng.random((300, 1000, 1)) < p
        found = [
            _verdict._imbalance(np.array([q]), hidden, np.zeros(1000))["imbalance"]
            for hidden in draws
        ]
        assert np.mean(found > relative_entropy(q, p) + 1e-9) <= _verdict.CHANCE


def test_worse_than_independent_features():
    model = tiny_rbm(30, 3, scale=0.0)
    rows = (np.random.default_rng(0).random((500, 30)) < 0.1).astype(float)
    verdict = judge(trained(model, states(3), rows.mean(axis=0)), DataSet(rows))
    assert verdict.problem == "worse than independent features"
    assert_allclose(verdict.shortfall, independent(rows) + 30 * np.log(2), atol=0.1)
    assert np.isnan(verdict.log_partition_gap)  # of 8 chains, too few to tell
    model.visible.bias[...] = np.log(rows.mean(axis=0) / (1 - rows.mean(axis=0)))
    assert (
        judge(trained(model, states(3), rows.mean(axis=0)), DataSet(rows)).problem is None
    )


def entropies(X):
    """Entropy of each column of states, as a sum."""
    counts = [np.unique(column, return_counts=True)[1] / len(X) for column in X.T]
    return -sum((p * np.log(p)).sum() for p in counts)


def check_independent(rbm, before, X, expected):
    """Independent features are those of the rows of the last fit, not of the first."""
    state = rbm.set_params(n_iter=1).fit(before)._learning
    visible, data = state.model.visible, DataSet(X)
    if visible.encoder is not None:
        data = data.encode(visible.encoder)
    units = _verdict._independent(visible, data, state.visible_mean)
    log_z = units.log_normalizer(np.zeros((1, len(units))))
    found = (units.minus_energy(data.copy_rows(np.float64)) - log_z).mean()
    assert_allclose(found, expected, atol=0.01)


def test_independent_features_have_the_moments_of_the_training_rows():
    rng = np.random.default_rng(0)
    few, many = (rng.random((2000, 8)) < p for p in (0.1, 0.7))
    single = np.zeros((2000, 8))
    single[[0, 1], [0, 1]] = 1
    for X in (many * 1.0, single):
        check_independent(make_rbm(), few * 1.0, X, -entropies(X))
    codes = rng.integers(3, size=(2000, 2)), rng.integers(3, size=(2000, 2)) ** 2 // 2
    real = rng.standard_normal((2000, 3)) @ rng.standard_normal((3, 3))
    other = 5 * real[:1000] - 3
    log_variance = np.log(2 * np.pi * np.e * other.var(axis=0)).sum()
    log_volume = np.linalg.slogdet(2 * np.pi * np.e * np.cov(other.T))[1]
    for options, log_size in (("diag", log_variance), ("full", log_volume)):
        rbm = GaussianRBMEstimator(2, covariance_type=options)
        check_independent(rbm, real, other, -log_size / 2)
    types = ["categorical", "ordinal", *["real"] * 3, "binary"]
    first, second = (
        np.c_[codes, real, on[:2000, 0]]
        for codes, on in zip(codes, (few, many), strict=True)
    )
    second = np.c_[second[:1000, :2], other, second[:1000, 5]]
    rbm = MixedRBMEstimator(2, feature_types=types, covariance_type="diag")
    expected = -entropies(second[:, [0, 1, 5]]) - log_variance / 2
    check_independent(rbm, first, second, expected)


def test_a_sample_of_rows_has_no_moments_of_its_own():
    """Its rows stand for more, which have been counted."""

    class Sample(DataSet):
        effective_size = 10_000

    rows, units = np.eye(9), tiny_rbm(9, 1).visible
    units = _verdict._independent(units, Sample(rows), np.full(9, 0.25))
    assert_allclose(units.bias, np.log(0.25 / 0.75))


def test_many_hidden_states_are_not_enumerated(monkeypatch):
    monkeypatch.delattr(_verdict, "exact_log_partition")
    monkeypatch.delattr(_verdict, "exact_draws")
    model = gaussian(1, 17, seed=0)
    rows = np.random.default_rng(0).standard_normal((100, 1))
    verdict = judge(trained(model, np.zeros((50, 17)), np.zeros(1)), DataSet(rows))
    assert np.isfinite(verdict.log_partition_bound)


def test_what_is_not_finite_is_not_known(monkeypatch):
    monkeypatch.setattr(_verdict, "N_TERMS", 0)
    mean = _verdict._log_mean
    monkeypatch.setattr(_verdict, "_log_mean", lambda weights: mean(np.nan * weights))
    model, rows = tiny_rbm(8, 6, scale=0.0), DataSet(states(8))
    state = trained(model, np.zeros((50, 6)), np.full(8, 0.5))
    unknown = "it is not known whether the persistent chains have visited all modes."
    verdict = judge(state, rows)
    assert np.isfinite([verdict.log_partition_bound, verdict.shortfall]).all()
    assert str(verdict).endswith(unknown)
    monkeypatch.undo()
    monkeypatch.setattr(_verdict, "exact_log_partition", lambda model: np.inf)
    assert np.isnan(judge(state, rows).shortfall)
    assert ", nor whether the model is better than" in str(judge(state))


def gaussian(n_features, n_components, seed):
    model, units = tiny_rbm(n_features, n_components, seed=seed), np.ones(n_features)
    zeros = np.zeros(n_features)
    visible = GaussianUnits(model.visible.bias, zeros, location=zeros, scale=units)
    return RBM(model.weights, visible, model.hidden_bias)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("make", [tiny_rbm, gaussian])
def test_good_models_have_no_problem(make, exact, monkeypatch):
    """Rows and chains are exact draws."""
    monkeypatch.setattr(_verdict, "N_TERMS", 1 << 24 if exact else 0)
    for seed in range(20):
        model, rng = make(8, 6, seed=seed), np.random.default_rng(seed)
        rows = exact_draws(model, 1000, rng)
        chains = model.sample_hidden(exact_draws(model, 100, rng), rng)
        verdict = judge(trained(model, chains, rows.mean(axis=0)), DataSet(rows))
        assert verdict.problem is None, verdict
        assert str(verdict) == "No problem was found."
        assert verdict.imbalance < 0.1
        assert verdict.shortfall < 0.1


def test_forms_of_rows():
    """Sparse rows, repeated ones, and values to draw states from give the same verdict."""
    model, _ = one_switch(6, 4, on=2.0)
    state = trained(model, np.ones((50, 4)), np.full(6, 0.5))
    rows = np.random.default_rng(0).integers(2, size=(60, 6)).astype(float)
    expected = judge(state, DataSet(rows))
    assert judge(state, DataSet(sp.csr_array(rows))) == expected
    weights = np.r_[2.0, 0.0, np.ones(58)]
    weighted = judge(state, DataSet(rows).weigh(weights))
    twice = judge(state, DataSet(rows[np.r_[0, 0, 2:60]]))
    assert_allclose(dataclasses.astuple(weighted)[:-1], dataclasses.astuple(twice)[:-1])
    gray = np.where(rows == 1, 0.999, rows)
    assert judge(state, DataSet(gray)).problem == expected.problem
    rows[:, 0] = np.nan
    assert np.isfinite(judge(state, DataSet(rows)).shortfall)


# At the end of a fit ------------------------------------------------------------------


@pytest.fixture
def soon(monkeypatch):
    """Also judge models after few updates."""
    monkeypatch.setattr(_fitting, "_UPDATES_FOR_VERDICT", 10)


def say(monkeypatch, **found):
    verdict = Verdict(log_partition_bound=0.0, of=(), **found)
    monkeypatch.setattr(_fitting, "judge", lambda state, data: verdict)


def test_rare_columns_that_are_equal_are_reported(without_jumps):
    """A fast training turns them on in a mode that no chain and no annealed run knows."""
    on = np.random.default_rng(0).random((2000, 1)) < 0.01
    rbm = make_rbm(n_components=256, learning_rate=0.9, n_iter=50)
    with pytest.warns(ConvergenceWarning, match="has modes that its persistent chains"):
        rbm.set_params(batch_size=10).fit(on * np.ones((1, 18)))
    verdict = rbm.verdict_
    assert verdict.log_partition_gap == rbm.log_partition_gap_ > 10
    assert verdict.shortfall > 10
    copy = pickle.loads(pickle.dumps(rbm))
    assert repr(copy.verdict_) == repr(verdict)
    assert copy.verdict_.of == verdict.of


@pytest.mark.parametrize(
    ("parameters", "has_gap"),
    [({"n_chains": 20}, True), ({"n_chains": 19}, False), ({"solver": "cd"}, False)],
)
def test_without_enough_persistent_chains_there_is_no_gap(parameters, has_gap, soon):
    rbm = make_rbm(n_iter=5, **parameters).fit(BINARY)
    assert hasattr(rbm, "log_partition_gap_") == has_gap
    assert np.isnan(rbm.verdict_.log_partition_gap) != has_gap
    rbm.partial_fit(BINARY)  # another model now
    assert not hasattr(rbm, "log_partition_gap_")
    assert rbm.verdict_ is None


def test_short_fits_have_no_verdict():
    rbm = make_rbm(n_iter=5).fit(BINARY)
    assert rbm.verdict_ is None
    assert pickle.loads(pickle.dumps(rbm)).verdict_ is None


def test_values_that_are_no_states_are_no_rows_of_the_model(soon):
    X = np.random.default_rng(0).random((60, 5))
    drawn, used = (
        make_rbm(n_iter=5, stochastic_binarization=draws).fit(X) for draws in (True, False)
    )
    assert np.isfinite(drawn.verdict_.shortfall)
    assert np.isnan(used.verdict_.shortfall)


def advice(rbm, X=BINARY):
    """What a fit advises after it has said what is wrong."""
    with pytest.warns(ConvergenceWarning) as caught:
        rbm.set_params(n_iter=5).fit(X)
    return str(caught[-1].message).removeprefix(f"{rbm.verdict_} ")


def test_advice(soon, monkeypatch):
    nevertheless = "The pseudo-log-likelihood may be good nevertheless. "
    real = np.random.default_rng(0).standard_normal((60, 3))
    auto = f"{make_rbm(learning_rate='auto').fit(BINARY).learning_rate_:.4g}"
    say(monkeypatch, log_partition_gap=9.0)
    lower = f"Try to lower learning_rate (currently {auto})"
    rbm = make_rbm(learning_rate="auto")
    assert advice(rbm) == f"{nevertheless}{lower} or to set solver='pt'."
    assert advice(make_rbm(learning_rate="auto", solver="pt")) == f"{nevertheless}{lower}."
    lower = f"Try to lower learning_rate (currently 0.001; 'auto' is {auto})"
    assert lower in advice(make_rbm(learning_rate=0.001))
    fast, slow = {"learning_rate": 0.9}, {"learning_rate": 0.001}
    say(monkeypatch, shortfall=0.5)
    raise_it = f"raise learning_rate (currently 0.001; 'auto' is {auto})"
    more = f"Try to increase n_iter or to {raise_it}."
    lower = f"Try to lower learning_rate (currently 0.9; 'auto' is {auto})"
    assert advice(make_rbm(**slow)) == f"{nevertheless}{more}"
    assert advice(make_rbm(**slow, solver="cd")) == f"{nevertheless}{more}"
    assert advice(make_rbm(**fast)) == f"{nevertheless}{lower}."
    assert advice(make_rbm(**fast, solver="cd")).endswith(f"{lower} or to set solver='pt'.")
    of_auto = f"Try to lower learning_rate (currently {auto})."
    assert advice(make_rbm(learning_rate="auto")).endswith(of_auto)
    outliers = "Clip outliers and transform heavy tails, if there are any. Otherwise, "
    for solver, change in [("pcd", ""), ("cd", " or to set solver='pcd'")]:
        rbm = GaussianRBMEstimator(2, solver=solver)
        said = advice(rbm, real)
        rate = f"learning_rate (currently {rbm.learning_rate_:.4g})"
        assert said == f"{outliers}try to lower {rate}{change}."
    say(monkeypatch, imbalance=0.5, unit=7, of_rows=0.5, of_draws=0.1)
    assert advice(make_rbm(**slow)) == f"{nevertheless}{more}"
    either = f"{lower} or to increase n_iter or to set solver='pt'."
    assert advice(make_rbm(**fast)).endswith(either)
    with pytest.warns(ConvergenceWarning, match="hidden unit 7 is on in 50.0%"):
        make_rbm(n_iter=5).fit(BINARY)
    say(monkeypatch, log_partition_gap=-3.0)
    assert "annealed runs were too short" in str(make_rbm(n_iter=5).fit(BINARY).verdict_)


def test_a_model_that_a_warm_start_does_not_change_is_worse(soon):
    """Rows of other moments are compared with independent features like them."""
    rare = (np.random.default_rng(0).random((400, 20)) < 0.1) * 1.0
    rows = repeated(400, 0.5, 20)
    rbm = make_rbm(n_components=4, n_iter=20, warm_start=True).fit(rare)
    with pytest.warns(ConvergenceWarning, match=r"Try to increase n_iter or to raise"):
        rbm.set_params(learning_rate=1e-6).fit(rows)
    expected = independent(rows) - rbm.log_likelihood(rows).mean()
    assert expected > 1
    assert_allclose(rbm.verdict_.shortfall, expected, atol=0.01)


def test_modes_of_exclusive_columns_are_modeled_as_categories(soon, monkeypatch):
    """The warning says so of binary data with such columns, and not of others."""
    say(monkeypatch, log_partition_gap=9.0)
    rng = np.random.default_rng(0)
    one_hot = np.eye(4)[rng.integers(4, size=(400, 2))].reshape(400, 8)
    rbm = make_rbm(n_iter=2)
    advice = r"8 of 8 columns .* in any of \d+ rows\. .* MixedRBMEstimator\(groups='auto'\)"
    with pytest.warns(ConvergenceWarning, match=advice):
        rbm.fit(one_hot)
    with pytest.warns(ConvergenceWarning, match=r"set solver='pt'\.$"):
        rbm.fit(rng.integers(2, size=(400, 8)))


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_advice_on_modes_reads_some_of_the_selected_rows(form):
    """Rows of weight 0 do not count, and many rows are not read as a whole."""
    letters = np.eye(4)[np.random.default_rng(0).integers(4, size=(20_000, 2))]
    X = letters.reshape(-1, 8)
    advice = BernoulliRBMEstimator()._advice_on_modes(DataSet(form(X)))
    assert "8 of 8 columns are in 2 groups" in advice
    assert "in any of 5000 rows" in advice
    X[::2] = 1
    weighted = DataSet(form(X)).weigh(np.arange(len(X)) % 2.0)
    assert BernoulliRBMEstimator()._advice_on_modes(weighted) == advice
    assert BernoulliRBMEstimator()._advice_on_modes(DataSet(form(X))) == ""
