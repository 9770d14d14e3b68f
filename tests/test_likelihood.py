"""Partition functions and likelihoods, compared with enumeration and with each other."""

import copy
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import DIGITS, Enumerated, bernoulli_rbm, by_hand, rungs, states, tiny_rbm
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from sklearn.base import clone

from skrbm import (
    BernoulliRBMEstimator,
    GaussianRBMEstimator,
    MixedRBMEstimator,
    _annealing,
    _attributes,
    _inputs,
    _partition,
)
from skrbm._annealing import TemperaturePath
from skrbm._ladders import ModelPath, ladder_of
from skrbm._model import RBM
from skrbm._units import VisibleUnits
from skrbm._verdict import Verdict
from skrbm.likelihood import (
    LogLikelihoodTracker,
    LogPartition,
    log_likelihood,
    log_partition,
    mean_log_likelihood,
    pseudo_log_likelihood,
)

DATA = os.environ.get("SKRBM_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="SKRBM_DATA is not set")


# Estimates of log Z ---------------------------------------------------------------------


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_progress(capsys):
    rbm = by_hand(tiny_rbm(3, 2))
    log_partition(rbm, method="ais", betas=101, n_runs=2, verbose=1, random_state=0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("[log_partition] AIS: 101 of 101 temperatures")


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
    model = bernoulli_rbm(np.full((20, 25), 2.0), np.full(20, -25.2), np.full(25, -20.0))
    rbm = by_hand(model)
    settings = {"method": "both", "betas": 500, "n_runs": 300, "base_mean": 0.5}
    log_partition(rbm, random_state=0, **settings)
    with pytest.warns(UserWarning, match="is below the forward one") as record:
        result = log_partition(rbm, init=np.ones((1, 20)), random_state=0, **settings)
    assert len(record) == 1
    forward, reverse = result.parts
    assert reverse.value < forward.value
    assert result.lower == reverse.lower < log_partition(rbm).value < result.upper


# Likelihoods ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.array, sp.csr_array, sp.csc_matrix, np.uint8, bool])
def test_log_likelihood(form):
    model = tiny_rbm(6, 4)
    exact = Enumerated(*model.arrays)
    X = states(6)[[3, 3, 60, 1]]
    given = X.astype(form) if form in (np.uint8, bool) else form(X)
    expected = exact.log_likelihood(X)
    assert_allclose(log_likelihood(by_hand(model), given), expected, rtol=1e-10)
    assert_allclose(by_hand(model).log_likelihood(given), expected, rtol=1e-10)
    log_z = by_hand(model).log_partition(random_state=0)
    rows = log_likelihood(by_hand(model), given, log_partition=log_z)
    assert_allclose(rows, expected, rtol=1e-10)
    assert_allclose(log_likelihood(by_hand(model), given, log_partition=log_z.value), rows)


@pytest.mark.slow
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
def test_log_partitions_of_other_models_are_refused(function):
    X = DIGITS[:300, 20:28]
    rbm = BernoulliRBMEstimator(3, random_state=0).fit(X)
    log_z = pickle.loads(pickle.dumps(log_partition(rbm)))
    function(pickle.loads(pickle.dumps(rbm)), X, log_partition=log_z)
    by_hand_in_float32 = by_hand(
        bernoulli_rbm(
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
    rows = Enumerated(*model.arrays).log_likelihood(X)
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
    assert repr(result).endswith(f"(log Z = {z:.2f}, ais)")
    assert len(repr(result)) < 160
    assert mean_log_likelihood(by_hand(model), X[:1]).standard_error == np.inf
    given = mean_log_likelihood(by_hand(model), X, log_partition=z)
    assert_allclose(given.value, rows.mean())
    assert repr(given).endswith(", given)")
    assert "between" not in repr(given)
    assert pickle.loads(pickle.dumps(result)).value == result.value
    assert result != mean_log_likelihood(by_hand(model), X, log_partition=bounds)
    assert len({result, bounds}) == 2


def test_pseudo_log_likelihood_is_what_the_estimator_scores(digits_rbm):
    for n_flips in (None, 5):
        assert_array_equal(
            pseudo_log_likelihood(digits_rbm, DIGITS, n_flips=n_flips),
            digits_rbm.score_samples(DIGITS, n_flips=n_flips),
        )


@pytest.mark.parametrize("function", [log_likelihood, mean_log_likelihood])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_rows_that_refute_log_z(function, form):
    """Their probabilities add up to more than 1."""
    model = tiny_rbm(6, 3, scale=2.0)
    rbm, all_rows = by_hand(model), states(6)
    log_z, v = log_partition(rbm).value, form(all_rows[::2])
    function(rbm, v, log_partition=log_z)
    half = logsumexp(-model.free_energy(all_rows[::2]))
    too_high = rf"at least .* log_partition was given as {half - 2:.2f}\. Pass None"
    with pytest.warns(UserWarning, match=too_high):
        function(rbm, v, log_partition=half - 2)
    with pytest.warns(UserWarning, match="Log-likelihoods are too high"):
        function(rbm, v[:1], log_partition=-model.free_energy(all_rows[:1])[0] - 0.5)
    gaps = all_rows.copy()
    gaps[:, 0] = np.nan
    function(rbm, gaps, log_partition=-100.0)  # probabilities of parts of rows


def test_0_leaves_out_log_z():
    model = tiny_rbm(6, 3, scale=2.0)
    without = log_likelihood(by_hand(model), states(6), log_partition=0)
    assert_allclose(without, -model.free_energy(states(6)))


def test_rows_of_tables_and_real_values_refute_log_z():
    rng = np.random.default_rng(0)
    table = np.c_[rng.standard_normal(300), rng.integers(3, size=300)]
    mixed = MixedRBMEstimator(3, n_iter=3, feature_types=["real", "categorical"])
    for rbm in (mixed.fit(table), GaussianRBMEstimator(3, n_iter=3).fit(table[:, :1])):
        X = table[:, : rbm.n_features_in_]
        log_z = rbm.log_partition().value
        rbm.log_likelihood(X, log_partition=log_z)
        with pytest.warns(UserWarning, match="rows of X show that log Z is at least"):
            rbm.log_likelihood(X[:1], log_partition=log_z - 30)


def modes_without_chains():
    """Model of 60 features that are all off or, e^20 times as probable, all on."""
    rbm = by_hand(tiny_rbm(60, 25, scale=0.0))
    rbm.components_[0], rbm.intercept_visible_[...] = 12.0, -6.0
    rbm.intercept_hidden_[0] = 20 - 6.0 * 60
    rbm.h_samples_, rbm.visible_mean_ = np.zeros((100, 25)), np.full(60, 0.01)
    off = 60 * np.log1p(np.exp(-6.0)) + 24 * np.log(2)
    return rbm, off, off + 20 + np.log1p(np.exp(-20.0))


def test_estimates_that_states_refute():
    """Annealed runs and chains agree, but a given row is in another mode."""
    rbm, off, log_z = modes_without_chains()
    settings = {"method": "both", "betas": 50, "random_state": 0}
    assert abs(log_partition(rbm, **settings).value - off) < 0.1
    X = np.zeros((100, 60))
    X[0] = 1
    with pytest.warns(UserWarning, match="This bound is used instead"):
        found = log_partition(rbm, init=X, **settings)
    assert_allclose([found.value, found.lower], log_z, atol=1e-3)
    assert (found.upper, found.converged) == (np.inf, False)
    assert repr(found).startswith(f"log Z >= {log_z:.2f}, as states of the model prove (")
    missed = "it was estimated to be .* They are in a mode of the model that the estimate"
    with pytest.warns(UserWarning, match=missed):
        log_likelihood(rbm, X, log_partition=found.parts[0])


def test_estimates_that_the_training_rows_refute():
    """The bound that `fit` has found holds for the model that it has found it for."""
    rbm, off, log_z = modes_without_chains()
    of = _partition.projections(_attributes.model_of(rbm))
    rbm.verdict_ = Verdict(log_partition_bound=log_z, of=of)
    settings = {"method": "ais", "betas": 50, "random_state": 0}
    for betas in (50, None):
        with pytest.warns(UserWarning, match=f"log Z is at least {log_z:.2f}"):
            found = log_partition(rbm, **settings | {"betas": betas})
        assert (found.value, found.converged) == (log_z, False)
        assert "prove (annealed importance sampling, 100 runs, " in repr(found)
        assert "too few" not in repr(found)
    rbm.intercept_hidden_[0] -= 1
    assert abs(log_partition(rbm, **settings).value - off) < 0.1


@pytest.mark.parametrize("log_z", [np.nan, "auto", (1, 2)])
def test_malformed_log_partitions_are_refused(log_z):
    rbm = by_hand(tiny_rbm(6, 4))
    for function in (log_likelihood, mean_log_likelihood):
        with pytest.raises(ValueError, match="must be a LogPartition returned"):
            function(rbm, states(6), log_partition=log_z)


# Tracker --------------------------------------------------------------------------------


@pytest.mark.slow
def test_tracker_follows_the_exact_value():
    """Every estimate is accurate while training changes the model a lot."""
    rbm = BernoulliRBMEstimator(22, learning_rate=0.4, random_state=0)
    watched = clone(rbm)
    tracker = LogLikelihoodTracker(DIGITS[1500:], random_state=0)
    off, values = [], []
    for _ in range(8):
        look = tracker.update(watched.partial_fit(DIGITS[:1500]))
        rbm.partial_fit(DIGITS[:1500])
        exact = log_partition(rbm, method="exact")
        off.append(look.log_partition.value - exact.value)
        values.append(look.value)
        rows = log_likelihood(rbm, DIGITS[1500:], log_partition=look.log_partition)
        assert_allclose(look.value, rows.mean(), rtol=1e-6)
    assert_array_equal(rbm.components_, watched.components_)
    assert np.abs(off).max() < 0.6
    assert values[-1] > values[0] + 1


def test_tracker_draws_runs_anew():
    """If models change abruptly, few runs keep weight, but estimates stay accurate."""
    models = [tiny_rbm(24, 22, scale=0.4, seed=seed) for seed in range(4)]
    tracker = LogLikelihoodTracker(np.eye(24), n_runs=400, n_betas=50, random_state=0)
    anew = 0
    for model in models:
        look = tracker.update(by_hand(model)).log_partition
        anew += look.effective_sample_size < 200
        exact = log_partition(by_hand(model), method="exact").value
        assert abs(look.value - exact) < 0.5
        assert look.lower < exact < look.upper
    assert anew > 0


def test_an_interrupted_update_leaves_the_tracker_as_it_was(monkeypatch):
    models = [tiny_rbm(24, 22, scale=0.4, seed=seed) for seed in range(2)]
    tracker = LogLikelihoodTracker(np.eye(24), n_runs=400, n_betas=50, random_state=0)
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
                look = tracker.update(by_hand(model)).log_partition
            except KeyboardInterrupt:
                interrupted += 1
        exact = log_partition(by_hand(model), method="exact").value
        assert abs(look.value - exact) < 0.5
    assert interrupted == 2


def test_tracker_of_small_models_is_exact():
    tracker = LogLikelihoodTracker(states(6))
    look = tracker.update(by_hand(tiny_rbm(6, 4)))
    assert look.log_partition.method == "exact"
    expected = Enumerated(*tiny_rbm(6, 4).arrays).log_likelihood(states(6)).mean()
    assert_allclose(look.value, expected)


def test_tracker_refuses_models_of_another_shape():
    tracker = LogLikelihoodTracker(np.eye(24), n_betas=1, random_state=0)
    tracker.update(by_hand(tiny_rbm(24, 22, scale=0.1)))
    with pytest.raises(ValueError, match=r"\(24, 23\) .*one tracker per model"):
        tracker.update(by_hand(tiny_rbm(24, 23)))
    with pytest.raises(ValueError, match="n_betas"):
        LogLikelihoodTracker(np.eye(3), n_betas=0)
    with pytest.raises(ValueError, match=r"from 0 to 0\.5: binarize them"):
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


def test_results_are_pickled_under_their_public_name():
    assert pickle.loads(b"cskrbm.likelihood\nLogPartition\n.") is LogPartition
    assert b"skrbm.likelihood" in pickle.dumps(log_partition(by_hand(tiny_rbm(3, 2))))
    assert log_partition.__module__ == LogPartition.__module__ == "skrbm.likelihood"


def paths():
    model = tiny_rbm(5, 3, np.float32)
    return [TemperaturePath(model, np.full(5, 0.3)), ModelPath(rungs(5, 3))]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("fraction", [0.2, [0.2, 0.6]])
def test_log_ratios_move_the_hidden_input(number, fraction):
    """That of all paths is the one at the second place afterwards."""
    path, v = paths()[number], states(5).astype(np.float32)
    place, after = path.at(fraction), path.at(np.add(fraction, 0.3))
    hidden_input = path.hidden_input(v, place)
    there = path.log_ratio(v, hidden_input, place, after)
    assert_allclose(hidden_input, path.hidden_input(v, after), rtol=1e-5)
    back = path.log_ratio(v, hidden_input, after, place)
    assert_allclose(there, -back, atol=1e-5)
    assert_allclose(hidden_input, path.hidden_input(v, place), rtol=1e-5)


def test_paths_sum_over_states_only_if_asked(monkeypatch):
    """Training by parallel tempering makes a path for each minibatch, and never asks."""
    expected = [path.base_log_partition for path in paths()]
    with monkeypatch.context() as patch:
        patch.delattr(VisibleUnits, "log_normalizer")
        made = paths()
    assert [path.base_log_partition for path in made] == expected


def test_progress_names_direction_attempt_and_places(monkeypatch, capsys):
    """All temperatures are counted, although there is one step fewer."""
    monkeypatch.setattr(_annealing, "effective_number", lambda log_weights: 1.0)
    monkeypatch.setattr(_annealing, "MOST_STEPS", 1000)
    rbm, settings = by_hand(tiny_rbm(3, 2)), {"n_runs": 2, "verbose": True}
    log_partition(rbm, method="both", random_state=0, **settings)
    lines = capsys.readouterr().out.splitlines()
    ends = [line.rsplit(",", 1)[0] for line in lines[9::10]]
    assert ends == [
        f"[log_partition] {way}, attempt {attempt}: {n} of {n} temperatures"
        for way in ("AIS", "reverse AIS")
        for attempt, n in ((1, 501), (2, 1001))
    ]
    models = rungs(3, 2)
    settings |= {"betas": 20, "ladder": ladder_of(models)}
    log_partition(by_hand(models[-1]), method="ais", random_state=0, **settings)
    assert "[log_partition] AIS: 20 of 20 models, " in capsys.readouterr().out


@pytest.mark.parametrize("verbose", [-1, "yes", None])
def test_bad_verbose(verbose):
    with pytest.raises((TypeError, ValueError), match="verbose"):
        log_partition(by_hand(tiny_rbm(3, 2)), verbose=verbose)


def test_chains_set_by_hand_as_a_list():
    rbm = by_hand(tiny_rbm(24, 22, scale=0.1))
    settings = {"method": "reverse_ais", "betas": 20, "n_runs": 4, "base_mean": 0.5}
    rbm.h_samples_ = np.eye(3, 22)
    expected = log_partition(rbm, random_state=0, **settings)
    rbm.h_samples_ = rbm.h_samples_.tolist()
    result = log_partition(rbm, random_state=0, **settings)
    assert result.init == expected.init == "chains"
    assert_array_equal(result.log_weights, expected.log_weights)


def count(monkeypatch, module, name):
    """Count the calls of a function, in a list."""
    function, calls = getattr(module, name), []

    def counting(*args, **options):
        calls.append(name)
        return function(*args, **options)

    monkeypatch.setattr(module, name, counting)
    return calls


def test_likelihoods_do_nothing_twice(monkeypatch):
    """One model, one check of its rows, and nothing to compare a number with."""
    rbm = by_hand(tiny_rbm(6, 4))
    calls = [
        count(monkeypatch, module, name)
        for module, name in [
            (_attributes, "kind_of"),
            (_inputs, "fitting_rows"),
            (_partition, "projections"),
        ]
    ]
    mean_log_likelihood(rbm, states(6), log_partition=30.0)
    assert [len(c) for c in calls] == [1, 1, 1]
    rbm.log_likelihood(states(6), log_partition=30.0)
    assert [len(c) for c in calls] == [2, 2, 2]
