"""Behavior of the estimator that users rely on."""

import pickle
import threading
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import (
    BINARY,
    FITTED,
    GRAY,
    SOLVER_NAMES,
    assert_same_model,
    bars_and_stripes,
    enumerated,
    make_rbm,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import BernoulliRBM
from sklearn.utils import check_random_state
from threadpoolctl import threadpool_info

from skrbm import BernoulliRBMEstimator, _binary_rows, _fitting
from skrbm._model import RBM
from skrbm._record import Record, Validation
from skrbm._step import Learner
from skrbm._training import Training

DATA = {"gray": GRAY, "bool": BINARY, "csr": sp.csr_array(GRAY)}


# Interface of BernoulliRBM ------------------------------------------------------------


@pytest.mark.parametrize("cls", [BernoulliRBM, BernoulliRBMEstimator])
def test_drop_in(cls):
    """The same script works with both classes."""
    rbm = cls(n_components=5, learning_rate=0.05, batch_size=7, n_iter=2, random_state=0)
    H = rbm.fit_transform(GRAY)
    assert H.shape == (60, 5)
    assert rbm.components_.shape == (5, 64)
    assert rbm.intercept_hidden_.shape == (5,)
    assert rbm.intercept_visible_.shape == (64,)
    assert rbm.h_samples_.shape[1] == 5
    assert set(np.unique(rbm.h_samples_)) <= {0, 1}
    assert rbm.gibbs(BINARY).shape == (60, 64)
    assert rbm.score_samples(BINARY).shape == (60,)
    assert_allclose(rbm.transform(GRAY), H)
    names = rbm.get_feature_names_out()
    assert_array_equal(names, [f"{cls.__name__.lower()}{i}" for i in range(5)])
    frame = rbm.set_output(transform="pandas").transform(GRAY)
    assert_array_equal(frame.columns, names)
    z = GRAY @ rbm.components_.T + rbm.intercept_hidden_
    assert_allclose(H, 1 / (1 + np.exp(-z)), rtol=1e-6)


@pytest.mark.slow
def test_better_model_than_the_incumbent():
    """The exact likelihood is better for the same data, sizes and learning rates."""
    X = (load_digits().data > 7)[:, 18:46:2].astype(float)  # 14 pixels: 2**14 states
    ours, theirs = [], []
    for learning_rate in (0.01, 0.1):
        common = {"n_components": 8, "learning_rate": learning_rate, "random_state": 0}
        for cls, scores in ((BernoulliRBMEstimator, ours), (BernoulliRBM, theirs)):
            scores.append(log_likelihood(cls(**common).fit(X), X))
    assert ours[0] > theirs[0]
    assert ours[1] > theirs[1]


def log_likelihood(rbm, X):
    """Mean exact log-likelihood, from the sum over all states of the hidden units."""
    h = np.array(list(np.ndindex(*(2,) * len(rbm.components_))))
    z = h @ rbm.components_ + rbm.intercept_visible_
    log_terms = h @ rbm.intercept_hidden_ + np.logaddexp(0, z).sum(axis=1)
    log_partition = np.logaddexp.reduce(log_terms)
    hidden = np.logaddexp(0, X @ rbm.components_.T + rbm.intercept_hidden_)
    return (X @ rbm.intercept_visible_ + hidden.sum(axis=1)).mean() - log_partition


# fit, partial_fit, warm_start ---------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("solver", SOLVER_NAMES)
@pytest.mark.parametrize(
    "X", [GRAY, BINARY, sp.csr_array(GRAY)], ids=["gray", "bool", "csr"]
)
def test_partial_fit_is_fit_however_the_stream_is_cut(X, solver, momentum):
    parameters = {
        "solver": solver,
        "momentum": momentum,
        "batch_size": 7,
        "n_chains": 5,
        "schedule": "constant",
        "learning_rate": 0.2,
        "weight_decay": 1e-3,
    }
    expected = make_rbm(n_iter=1, shuffle=False, **parameters).fit(X)
    whole = make_rbm(**parameters)
    assert whole.partial_fit(X) is whole
    pieces = make_rbm(**parameters)
    for start, stop in ((0, 7), (7, 28), (28, 60)):
        pieces.partial_fit(X[start:stop])
    for result in (whole, pieces):
        assert_same_model(result, expected, rtol=1e-5, atol=1e-6)


def test_momentum_that_was_put_off_is_forgotten():
    rbm = make_rbm(momentum=0.9, learning_rate=0.5, averaging=False).partial_fit(GRAY)
    rbm.set_params(momentum=0.0, learning_rate=1e-9).partial_fit(GRAY)
    before = rbm.components_.copy()
    rbm.set_params(momentum=0.9).partial_fit(GRAY)
    assert_allclose(rbm.components_, before, atol=1e-6)


def test_partial_fit_ignores_the_schedule():
    a = make_rbm(schedule="linear").partial_fit(GRAY)
    assert_same_model(a, make_rbm(schedule="constant").partial_fit(GRAY))


def test_partial_fit_keeps_the_dtype_of_the_first_call():
    rbm = make_rbm().partial_fit(GRAY.astype(np.float32)).partial_fit(GRAY)
    assert rbm.components_.dtype == np.float32


@pytest.mark.slow
def test_partial_fit_after_fit_goes_on():
    """It starts a new average, so that a long previous fit does not slow it down."""
    rbm = make_rbm(n_iter=1000).fit(GRAY)
    before = rbm.components_.copy()
    rbm.set_params(learning_rate=0.02)
    for _ in range(50):
        rbm.partial_fit(1 - GRAY)
    assert rbm.score(1 - GRAY) > rbm.score(GRAY) + 5
    assert 0 < np.abs(rbm.components_ - before).max() < 10


@pytest.mark.slow
@pytest.mark.parametrize("n_rows", [1, 9, 30])
def test_learning_does_not_depend_on_the_chunk_size(n_rows):
    """Unlike in BernoulliRBM, chunks of any size give a good model."""
    rbm = make_rbm(n_components=16, batch_size=10, learning_rate=0.02)
    for _ in range(20):
        for start in range(0, len(GRAY), n_rows):
            rbm.partial_fit(BINARY[start : start + n_rows])
    mean = rbm.sample(500).mean(axis=0)
    assert np.abs(mean - BINARY.mean(axis=0)).max() < 0.25
    assert rbm.score(BINARY) > -30


def test_fit_starts_anew_and_warm_start_goes_on():
    rbm = make_rbm(momentum=0.5).fit(GRAY)
    first = clone(rbm).fit(GRAY)
    assert_same_model(rbm.fit(GRAY), first)
    rbm.set_params(warm_start=True).fit(GRAY)
    assert np.abs(rbm.components_ - first.components_).max() > 0
    assert_same_model(make_rbm(momentum=0.5, warm_start=True).fit(GRAY), first)


def test_warm_start_goes_on_where_the_last_fit_ended():
    """Two fits of one epoch at a constant rate equal one fit of two epochs."""
    common = {"schedule": "constant", "shuffle": False, "momentum": 0.5, "averaging": False}
    expected = make_rbm(n_iter=2, **common).fit(BINARY)
    result = make_rbm(n_iter=1, warm_start=True, **common).fit(BINARY).fit(BINARY)
    assert_same_model(result, expected)


@pytest.mark.parametrize("averaging", [True, False])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_parameters_that_are_changed_by_hand_are_not_trained_on(method, averaging):
    rbm = getattr(make_rbm(averaging=averaging), method)(GRAY)
    expected = clone(rbm)
    getattr(expected, method)(GRAY).partial_fit(GRAY[:20])
    rbm.components_ *= 3
    rbm.intercept_visible_ += 1
    rbm.intercept_hidden_ -= 1
    rbm.visible_mean_ += 0.1
    assert_same_model(rbm.partial_fit(GRAY[:20]), expected)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_resuming_needs_the_same_shape(method):
    rbm = make_rbm(warm_start=True).fit(GRAY)
    with pytest.raises(ValueError, match="X has 3 features, but BernoulliRBMEst"):
        getattr(rbm, method)(GRAY[:, :3])
    rbm.set_params(n_components=9)
    with pytest.raises(ValueError, match="n_components is 9, but the model"):
        getattr(rbm, method)(GRAY)


@pytest.mark.parametrize("n_chains", [3, 25])
def test_number_of_chains_may_change(n_chains):
    rbm = make_rbm().fit(GRAY)
    rbm.set_params(n_chains=n_chains).partial_fit(GRAY)
    assert rbm.h_samples_.shape == (n_chains, 8)


@pytest.mark.parametrize("solver", SOLVER_NAMES)
@pytest.mark.parametrize("batch_size", [1, 7, 60, 1000])
@pytest.mark.parametrize("n_chains", [1, 100])
def test_sizes(batch_size, n_chains, solver):
    rbm = make_rbm(solver=solver, batch_size=batch_size, n_chains=n_chains).fit(GRAY)
    assert rbm.n_iter_ == 3
    if solver != "cd":
        assert len(rbm.h_samples_) == n_chains
    assert np.isfinite(rbm.components_).all()


def test_parameters_have_an_effect():
    base = make_rbm().fit(GRAY)
    for change in (
        {"solver": "cd"},
        {"solver": "pt"},
        {"n_gibbs_steps": 2},
        {"n_chains": 3},
        {"learning_rate": 0.05},
        {"schedule": "constant"},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
        {"centering": False},
        {"averaging": False},
        {"batch_size": 11},
        {"n_iter": 4},
        {"shuffle": False},
        {"early_stopping": True},
        {"early_stopping": True, "validation_fraction": 0.5},
        {"early_stopping": True, "n_iter": 50, "n_iter_no_change": 1, "tol": 0.5},
        {"stochastic_binarization": False},
        {"random_state": 1},
    ):
        other = make_rbm(**change).fit(GRAY)
        assert not np.array_equal(other.components_, base.components_), change


def test_random_states():
    assert_same_model(make_rbm().fit(GRAY), make_rbm().fit(GRAY))
    a, b = (make_rbm(random_state=np.random.RandomState(3)).fit(GRAY) for _ in range(2))
    assert_same_model(a, b)
    a, b = (make_rbm(random_state=None).fit(GRAY) for _ in range(2))
    assert not np.array_equal(a.components_, b.components_)


def test_training_leaves_the_global_generator_alone():
    global_generator = check_random_state(None)
    before = global_generator.get_state()[1].copy()
    make_rbm().fit(GRAY).partial_fit(GRAY).sample(2)
    assert_array_equal(global_generator.get_state()[1], before)


@pytest.mark.parametrize("random_state", [0, "instance"])
def test_verbose_prints_and_changes_nothing(random_state, capsys):
    def seeded():
        return np.random.RandomState(0) if random_state == "instance" else 0

    silent = make_rbm(random_state=seeded()).fit(GRAY)
    assert capsys.readouterr().out == ""
    loud = make_rbm(random_state=seeded(), verbose=1).fit(GRAY)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("[BernoulliRBMEstimator] Iteration 1, pseudo-log-")
    assert_same_model(silent, loud)
    make_rbm(early_stopping=True, verbose=1).fit(GRAY)
    assert "validation score = -" in capsys.readouterr().out.splitlines()[0]


def test_partial_fit_after_fit_starts_a_new_average():
    """After the first step, the average is that of a single model."""
    averaged, plain = (
        make_rbm(averaging=averaging).fit(GRAY) for averaging in (True, False)
    )
    assert (averaged.components_ != plain.components_).any()
    for rbm in (averaged, plain):
        rbm.partial_fit(GRAY[: rbm.batch_size])
    assert_same_model(averaged, plain, rtol=1e-12)


# Scores and draws ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    """Well-trained model with nine visible units, small enough to enumerate."""
    X = np.tile(bars_and_stripes(), (10, 1))
    return make_rbm(n_iter=100, learning_rate=0.3, solver="cd", n_gibbs_steps=5).fit(X)


def test_scores_are_exact(small):
    truth = enumerated(small)
    score = small.score_samples(truth.v)
    assert_allclose(score, truth.pseudo_log_likelihood(truth.v), rtol=1e-9)
    assert_allclose(small.score(truth.v), score.mean())
    assert isinstance(small.score(truth.v), float)
    log_partition = np.log(truth.partition)
    log_likelihood = truth.log_likelihood(truth.v)
    assert_allclose(-small.free_energy(truth.v) - log_partition, log_likelihood)


@pytest.mark.parametrize("n_flips", [None, 3, 9, 50])
def test_a_row_scores_the_same_in_any_company(small, n_flips):
    X = bars_and_stripes()
    scores = small.score_samples(X, n_flips=n_flips)
    assert_array_equal(scores, small.score_samples(X, n_flips=n_flips))
    assert_allclose(scores[::-1], small.score_samples(X[::-1], n_flips=n_flips))
    alone = [small.score_samples(row[None], n_flips=n_flips)[0] for row in X]
    assert_allclose(scores, alone)
    if n_flips != 3:
        assert_allclose(scores, small.score_samples(X))


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_scores_in_threads(monkeypatch, n_jobs):
    """Blocks of rows scored in threads give the same scores in the same order."""
    X = np.random.default_rng(0).random((1200, 900)) < 0.2
    rbm = make_rbm(n_iter=1, batch_size=100).fit(X)
    expected = rbm.score_samples(X)
    used = set()

    def spy(model, v, columns, score=RBM.pseudo_log_likelihood):
        used.add(threading.get_ident())
        assert all(
            library["num_threads"] == 1
            for library in threadpool_info()
            if library["user_api"] == "blas"
        )
        return score(model, v, columns)

    monkeypatch.setattr(RBM, "pseudo_log_likelihood", spy)
    with joblib.parallel_config("threading", n_jobs=n_jobs):
        scores = rbm.score_samples(X)
    assert_allclose(scores, expected, rtol=1e-5)
    assert used
    if n_jobs > 1:  # -1 may mean a single core
        assert threading.get_ident() not in used


def test_n_flips_estimates_the_score():
    rbm = make_rbm().fit(GRAY)
    errors = [
        abs(rbm.score_samples(BINARY, n_flips=n).mean() / rbm.score(BINARY) - 1)
        for n in (4, 60)
    ]
    assert errors[1] < 0.2
    assert errors[0] < 1


@pytest.mark.slow
def test_samples_have_the_model_distribution(small):
    truth = enumerated(small)
    draws = small.sample(10_000, n_gibbs_steps=200, random_state=0)
    frequency = np.bincount(truth.index(draws), minlength=len(truth.v)) / len(draws)
    patterns = truth.p_v > 0.01
    assert patterns.sum() >= 10
    assert_allclose(frequency[patterns], truth.p_v[patterns], atol=0.03)


def test_chains_start_where_they_are_told(small):
    X = bars_and_stripes()
    one_step = small.sample(16_000, n_gibbs_steps=1, init=X, random_state=0)
    agreement = (one_step == np.tile(X, (1000, 1))).mean()
    assert agreement > 0.8
    after = small.gibbs(np.tile(X, (1000, 1)), random_state=0)
    assert_array_equal(after, one_step)
    starts = small.sample(3, init=X[:2], n_gibbs_steps=2, random_state=0)
    assert starts.shape == (3, 9)


def test_each_call_draws_anew_and_seeds_repeat(small):
    v = bars_and_stripes()
    for draw in (lambda **kw: small.gibbs(v, **kw), lambda **kw: small.sample(50, **kw)):
        assert not np.array_equal(draw(), draw())
        assert_array_equal(draw(random_state=3), draw(random_state=3))
        assert not np.array_equal(draw(random_state=3), draw(random_state=4))
    a, b = make_rbm().fit(GRAY), make_rbm().fit(GRAY)
    for _ in range(2):
        assert_array_equal(a.sample(4), b.sample(4))


@pytest.mark.parametrize("solver", SOLVER_NAMES)
def test_draws_do_not_touch_training(solver):
    a, b = make_rbm(solver=solver).fit(GRAY), make_rbm(solver=solver).fit(GRAY)
    chains = a.h_samples_.copy()
    a.sample(20)
    a.gibbs(BINARY, n_gibbs_steps=3)
    a.score(GRAY)
    assert_array_equal(a.h_samples_, chains)
    assert_same_model(a.partial_fit(GRAY), b.partial_fit(GRAY))


def test_inverse_transform(small):
    truth = enumerated(small)
    assert_allclose(small.inverse_transform(truth.h), truth.mean_v_given_h, atol=1e-12)
    X = bars_and_stripes()
    error = np.abs(small.inverse_transform(small.transform(X)) - X).mean()
    assert error < 0.2


# Failures and interrupts --------------------------------------------------------------


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("warm_start", [False, True])
def test_a_failed_fit_leaves_the_estimator_as_it_was(method, warm_start, monkeypatch):
    rbm = make_rbm(warm_start=warm_start).fit(pd.DataFrame(BINARY).add_prefix("pixel"))
    before = pickle.dumps(vars(rbm))
    bad = pd.DataFrame(GRAY[:, :3]).add_prefix("other")
    bad.iloc[0, 0] = np.inf
    with pytest.raises(ValueError, match=r"feature names|contains infinity"):
        getattr(rbm, method)(bad)
    assert pickle.dumps(vars(rbm)) == before

    def failing(function):
        """Let the third call of a function fail, after it has done something."""
        calls = []

        def fails(self, *args, **options):
            calls.append(function(self, *args, **options))
            if len(calls) == 3:
                raise MemoryError
            return calls[-1]

        return fails

    # Steps are single where rows are counted, and else may be in the core.
    monkeypatch.setattr(Learner, "_step", failing(Learner._step))
    monkeypatch.setattr(_binary_rows.Steps, "take", failing(_binary_rows.Steps.take))
    with pytest.raises(MemoryError):
        getattr(rbm, method)(pd.DataFrame(BINARY).add_prefix("pixel"))
    assert pickle.dumps(vars(rbm)) == before


@pytest.mark.parametrize("solver", SOLVER_NAMES)
@pytest.mark.parametrize("learning_rate", [1e4, 1e30, 1e300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_divergence_in_fit(dtype, learning_rate, solver):
    rbm = make_rbm(solver=solver, learning_rate=learning_rate, weight_decay=0)
    with pytest.warns(ConvergenceWarning, match="in epoch 1: ") as record:
        rbm.fit(GRAY.astype(dtype))
    assert len(record) == 1
    message = str(record[0].message)
    assert (
        f"The untrained model is kept. Lower learning_rate (currently {learning_rate:.4g})."
        in (message)
    )
    assert rbm.n_iter_ == 0
    assert all(np.isfinite(getattr(rbm, name)).all() for name in FITTED)
    assert np.isfinite(rbm.score(GRAY))


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("X", DATA.values(), ids=DATA.keys())
def test_rate_and_decay_from_the_variances(X, momentum):
    rbm = make_rbm(momentum=momentum, stochastic_binarization=False).fit(X)
    dense = X.toarray() if sp.issparse(X) else X.astype(float)
    eigenvalues = np.linalg.eigvalsh(np.cov(dense.T, bias=True))
    assert_allclose(rbm.learning_rate_, (1 - momentum) / (1 + eigenvalues[-1]), rtol=5e-3)
    decay = 0.003 * 8 * np.sqrt(eigenvalues.sum()) / 60 / (1 - momentum)
    assert_allclose(rbm.weight_decay_, decay, rtol=5e-3)
    assert rbm.history_["learning_rate"][0] < rbm.learning_rate_
    rbm = make_rbm(momentum=momentum).fit(X)
    given = {"learning_rate": rbm.learning_rate_, "weight_decay": rbm.weight_decay_}
    again = make_rbm(momentum=momentum, **given).fit(X)
    assert_same_model(rbm, again, rtol=0)
    assert (again.learning_rate_, again.weight_decay_) == tuple(given.values())


def test_rate_and_decay_of_gray_levels_are_those_of_drawn_rows():
    X = np.full((300, 50), 0.5)
    gray = make_rbm(n_iter=1).fit(X)
    binary = make_rbm(n_iter=1).fit(np.random.default_rng(0).random(X.shape) < X)
    assert_allclose(gray.learning_rate_, binary.learning_rate_, rtol=0.1)
    assert_allclose(gray.weight_decay_, binary.weight_decay_, rtol=0.1)
    unchanged = make_rbm(stochastic_binarization=False).fit(X)
    assert (unchanged.learning_rate_, unchanged.weight_decay_) == (1, 0)


def test_rate_and_decay_of_a_stream():
    """The rows to come are not known, so that both do not depend on the first ones."""
    rbm = make_rbm(momentum=0.5).partial_fit(GRAY[:20])
    assert (rbm.learning_rate_, rbm.weight_decay_) == (0.1, 0)
    given = make_rbm(momentum=0.5, learning_rate=0.1, weight_decay=0).partial_fit(GRAY[:20])
    assert_same_model(rbm, given, rtol=0)


def test_partial_fit_keeps_the_values_of_fit():
    coin = np.repeat(np.arange(40) % 2, 300).reshape(40, 300)  # all columns are equal
    rbm = make_rbm().fit(coin)
    chosen = rbm.learning_rate_, rbm.weight_decay_, rbm.n_gibbs_steps_
    assert chosen[0] < 0.02
    rbm.partial_fit(coin)
    assert (rbm.learning_rate_, rbm.weight_decay_, rbm.n_gibbs_steps_) == chosen


def test_the_decay_is_never_too_large_for_the_rate():
    few = {"n_components": 5000, "n_iter": 1}
    for given in ({}, {"learning_rate": 1.9}, {"momentum": 0.5}):
        rbm = make_rbm(**few, **given).fit(BINARY[:10])
        assert_allclose(rbm.learning_rate_ * rbm.weight_decay_, 0.1)
    rbm = make_rbm(**few, learning_rate=0.001).fit(BINARY[:10])
    assert rbm.learning_rate_ * rbm.weight_decay_ < 0.01


def test_rows_of_little_weight_hardly_count():
    weights = np.where(np.arange(60) < 30, 1.0, 1e-9)
    faint = make_rbm().fit(BINARY, sample_weight=weights)
    without = make_rbm().fit(BINARY[:30])
    assert_allclose(faint.learning_rate_, without.learning_rate_, rtol=1e-2)
    assert_allclose(faint.weight_decay_, without.weight_decay_, rtol=1e-2)


def test_rate_and_decay_of_rows_outside_the_range():
    with pytest.warns(UserWarning, match="values above 1 as 1"):
        rbm = make_rbm().fit(255.0 * BINARY)
    inside = make_rbm().fit(1.0 * BINARY)
    assert rbm.learning_rate_ == inside.learning_rate_
    assert rbm.weight_decay_ == inside.weight_decay_


def test_gibbs_steps_from_the_variances():
    """Chains take more steps where many features change together."""
    narrow = np.repeat([[0] * 4, [1] * 4], 50, axis=0)  # variance 1
    wide = np.repeat([[0] * 6, [1] * 6], 50, axis=0)  # variance 1.5
    wider = np.repeat([[0] * 22, [1] * 22], 50, axis=0)  # variance 5.5
    widest = np.repeat([[0] * 28, [1] * 28], 50, axis=0)  # variance 7
    assert make_rbm().fit(narrow).n_gibbs_steps_ == 1
    assert make_rbm().fit(wide).n_gibbs_steps_ == 2
    assert make_rbm().fit(wider).n_gibbs_steps_ == 3
    assert make_rbm().fit(widest).n_gibbs_steps_ == 5
    assert make_rbm().fit(wide)._learning.solver.n_gibbs_steps == 2
    assert make_rbm().partial_fit(wide).n_gibbs_steps_ == 1
    assert make_rbm(solver="cd").fit(wide).n_gibbs_steps_ == 1
    assert make_rbm(solver="pt").fit(wide).n_gibbs_steps_ == 1
    given = make_rbm(n_gibbs_steps=3).fit(wide)
    assert (given.n_gibbs_steps_, given._learning.solver.n_gibbs_steps) == (3, 3)
    warm = make_rbm(warm_start=True).fit(wide[:1])
    assert warm.n_gibbs_steps_ == 1
    assert warm.fit(wide)._learning.solver.n_gibbs_steps == 2


def test_divergence_keeps_the_epochs_before(monkeypatch):
    verdicts = iter([True, True, False])
    monkeypatch.setattr(_fitting, "is_sound", lambda model: next(verdicts))
    rbm = make_rbm(schedule="constant", n_iter=5)
    with pytest.warns(ConvergenceWarning, match=r"in epoch 3: .* The model of epoch 2 is"):
        rbm.fit(GRAY)
    assert rbm.n_iter_ == len(rbm.history_["seconds"]) == 2
    monkeypatch.undo()
    assert_same_model(rbm, make_rbm(schedule="constant", n_iter=2).fit(GRAY))


def test_divergence_in_partial_fit():
    """Model, chains, momentum and offsets are unchanged."""
    rbm, other = (make_rbm(momentum=0.5).partial_fit(BINARY) for _ in range(2))
    rbm.set_params(learning_rate=1e30, weight_decay=0.5)
    with pytest.warns(ConvergenceWarning, match=r"previous model is .* or weight_dec"):
        assert rbm.partial_fit(BINARY) is rbm
    assert_same_model(rbm, other)
    rbm.set_params(learning_rate=1e-9, weight_decay=0.0)
    other.set_params(learning_rate=1e-9)
    rbm.partial_fit(BINARY)
    other.partial_fit(BINARY)
    for name in FITTED[:3]:
        assert_allclose(getattr(rbm, name), getattr(other, name), atol=1e-6)
    offsets = [estimator._learning.learned.hidden_mean for estimator in (rbm, other)]
    assert_allclose(*offsets, atol=0.02)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_divergence_after_fit_keeps_the_average(method):
    rbm = make_rbm(schedule="constant", warm_start=True).fit(BINARY)
    before = pickle.dumps([getattr(rbm, name) for name in FITTED])
    rbm.set_params(learning_rate=1e30)
    with pytest.warns(ConvergenceWarning, match="The previous model is kept"):
        getattr(rbm, method)(BINARY)
    assert pickle.dumps([getattr(rbm, name) for name in FITTED]) == before


def test_divergence_with_early_stopping_keeps_the_best(monkeypatch):
    scores = iter([-20.0, -10.0, -30.0, -40.0])
    monkeypatch.setattr(Validation, "score", lambda self, model, log_z: next(scores))
    sound = iter([True, True, True, False])
    monkeypatch.setattr(_fitting, "is_sound", lambda model: next(sound))
    rbm = make_rbm(n_iter=9, early_stopping=True, schedule="constant")
    with pytest.warns(ConvergenceWarning, match="The model of the best epoch so far is k"):
        rbm.fit(GRAY)
    scores, sound = iter([-20.0, -10.0]), iter([True, True])
    assert_same_model(
        rbm, make_rbm(n_iter=2, early_stopping=True, schedule="constant").fit(GRAY)
    )


def test_keyboard_interrupt_keeps_the_finished_epochs(monkeypatch):
    rbm = make_rbm(n_iter=50, schedule="constant", weight_decay=1e-3)
    add = Record.add

    def interrupting(self, *args):
        improved = add(self, *args)
        if len(self.history["seconds"]) == 5:
            raise KeyboardInterrupt
        return improved

    monkeypatch.setattr(Record, "add", interrupting)
    with pytest.warns(UserWarning, match="interrupted by the user after 4 of 50 epochs"):
        rbm.fit(GRAY)
    monkeypatch.undo()
    assert rbm.n_iter_ == len(rbm.history_["seconds"]) == 4
    assert_same_model(rbm, clone(rbm).set_params(n_iter=4).fit(GRAY))


def test_an_interrupt_of_the_verdict_loses_nothing(monkeypatch):
    def interrupted(self, state):
        raise KeyboardInterrupt

    monkeypatch.setattr(Record, "shortfall", interrupted)
    rbm = make_rbm(n_iter=3)
    with pytest.warns(UserWarning, match="interrupted by the user after 3 of 3 epochs"):
        rbm.fit(GRAY)
    monkeypatch.undo()
    assert_same_model(rbm, make_rbm(n_iter=3).fit(GRAY))


def test_a_second_interrupt_loses_nothing(monkeypatch):
    """The score of the last epoch is not due, so it is computed after training."""

    def interrupted(self, model, log_partition):
        raise KeyboardInterrupt

    def interrupting(self, epoch):
        add(self, epoch)
        if epoch.number == 17:
            monkeypatch.setattr(Record, "score", interrupted)
            raise KeyboardInterrupt

    add = Training.add
    monkeypatch.setattr(Training, "add", interrupting)
    monkeypatch.setattr(Record, "LENGTH", 10)
    rbm = make_rbm(n_iter=50)
    with pytest.warns(UserWarning, match="after 17 of 50 epochs"):
        rbm.fit(GRAY[:20])
    assert rbm.n_iter_ == 17
    assert rbm.history_["epoch"][-1] == 15


def test_an_interrupt_does_not_hide_a_divergence(monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "complete_record", interrupted)
    with pytest.warns(ConvergenceWarning, match="diverged in epoch 1"):
        make_rbm(learning_rate=1e6, n_iter=5).fit(GRAY)


def test_fitted_model_survives_pickling():
    rbm = make_rbm(momentum=0.5).fit(GRAY)
    other = pickle.loads(pickle.dumps(rbm))
    assert_array_equal(other.transform(GRAY), rbm.transform(GRAY))
    assert_array_equal(other.sample(5), rbm.sample(5))
    assert_same_model(other.partial_fit(GRAY), rbm.partial_fit(GRAY))


def test_no_warning_in_ordinary_use():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rbm = make_rbm().fit(GRAY)
        rbm.score(rbm.sample(3))
        rbm.partial_fit(BINARY).transform(sp.csr_array(BINARY))
