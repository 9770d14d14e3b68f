"""Row weights act as repetitions of the row in both phases of the gradient."""

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import (
    PLAIN,
    Enumerated,
    bars_and_stripes,
    centered,
    learner_on,
    state_at,
    tiny_rbm,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skrbm import BernoulliRBMEstimator, ParallelRBM, _step
from skrbm._data import DataSet
from skrbm._fitting import Fit
from skrbm.metrics import log_likelihood_scorer, pseudo_likelihood_scorer

ROWS = np.random.default_rng(3).integers(2, size=(8, 5)).astype(float)
WEIGHTS = np.array([1, 3, 2, 1, 5, 1, 4, 1])


def make(**parameters):
    defaults = {"n_components": 6, "n_iter": 5, "n_chains": 20, "random_state": 0}
    return BernoulliRBMEstimator(**defaults | parameters)


def same_model(one, other, **tolerance):
    for name in ("components_", "intercept_visible_", "intercept_hidden_", "visible_mean_"):
        assert_allclose(getattr(one, name), getattr(other, name), **tolerance)


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
def test_weights_are_repetitions(form, without_jumps):
    """PCD on full batches draws no random numbers per row, so training is identical.

    This holds between jumps, which draw some of the rows.
    """
    rbm = tiny_rbm(5, 3)
    chains = np.random.default_rng(0).integers(2, size=(30, 3))
    repeated, weighted = state_at(rbm, chains), state_at(rbm, chains)
    settings = PLAIN._replace(
        batch_size=50, centering=True, averaging=True, momentum=0.5, weight_decay=0.01
    )
    rows = form(np.repeat(ROWS, WEIGHTS, axis=0))
    of_repeated = learner_on(rows, repeated, settings)
    of_weighted = learner_on(form(ROWS), weighted, settings, WEIGHTS / WEIGHTS.mean())
    for _ in range(100):
        of_repeated.epoch([0.1])
        of_weighted.epoch([0.1])
    for one, other in zip(weighted.result.arrays, repeated.result.arrays, strict=True):
        assert_allclose(one, other, rtol=1e-9)
    assert_allclose(weighted.learned.hidden_mean, repeated.learned.hidden_mean)
    assert_array_equal(weighted.solver.chains, repeated.solver.chains)
    alike = state_at(rbm, chains)
    learner = learner_on(form(ROWS), alike, settings)
    for _ in range(100):
        learner.epoch([0.1])
    assert np.abs(alike.result.weights - repeated.result.weights).max() > 0.1


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
def test_the_visible_mean_is_weighted(form):
    weights = WEIGHTS / WEIGHTS.mean()
    state = state_at(tiny_rbm(5, 3), np.zeros((4, 3)))
    settings = PLAIN._replace(batch_size=3)
    learner = learner_on(form(ROWS), state, settings, weights)
    learner.epoch([1e-300] * 3, follow_mean=True)
    assert_allclose(state.counts.visible_sum, weights @ ROWS)
    assert_allclose(state.counts.n_rows_seen, weights.sum())


@pytest.mark.slow
@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize(("solver", "centering"), [("pcd", True), ("cd", False)])
def test_the_expected_step_is_the_weighted_gradient(
    solver, centering, batch_size, form, monkeypatch
):
    """The mean step over all minibatches, each from the same model, is the exact gradient.

    CD takes enough Gibbs steps for its chains to become independent of the data rows.
    """
    monkeypatch.setattr(_step, "HIDDEN_MEAN_RATE", 0.0)  # keeps the offsets below
    rbm = tiny_rbm(5, 3, scale=0.7)
    weights = WEIGHTS / WEIGHTS.mean()
    exact = Enumerated(*rbm.arrays)
    n_repeats = 20
    copies = 450 if solver == "cd" else 1
    X, w = np.tile(ROWS, (copies, 1)), np.tile(weights, copies)
    batch_size *= copies
    settings = PLAIN._replace(
        solver=solver, n_gibbs_steps=25, batch_size=batch_size, centering=centering
    )
    n_chains = batch_size if solver == "cd" else 2000
    offsets = np.full(5, 0.3), np.full(3, 0.4)
    change = [0, 0, 0]
    for seed in range(n_repeats):
        rng = np.random.default_rng(seed)
        for start in range(0, len(X), batch_size):
            rows = slice(start, min(start + batch_size, len(X)))
            h = exact.h[rng.choice(len(exact.h), size=n_chains, p=exact.p_h)]
            state = state_at(rbm, h, seed, settings)
            learner = learner_on(form(X), state, settings, w)
            if centering:
                learner.offsets = offsets
            learner.steps([rows], [1.0])
            share = (rows.stop - rows.start) / len(X) / n_repeats
            for i, (after, before) in enumerate(
                zip(state.model.arrays, rbm.arrays, strict=True)
            ):
                change[i] += (after - before) * share
    gradient = exact.gradient(np.repeat(ROWS, WEIGHTS, axis=0))
    if centering:
        gradient = centered(gradient, *offsets)
    for mean_change, expected in zip(change, gradient, strict=True):
        assert_allclose(mean_change, expected, atol=0.025)


def test_chains_of_cd_have_the_weight_of_their_rows():
    """If chains cannot leave their rows, both phases are equal, with or without weights."""
    rbm = tiny_rbm(4, 4, scale=0.0)
    rbm.weights[...] = 200 * np.eye(4)
    rbm.visible.bias[...] = rbm.hidden_bias[...] = -100
    rows = np.random.default_rng(0).integers(2, size=(6, 4)).astype(float)
    settings = PLAIN._replace(solver="cd", batch_size=6)
    state = state_at(rbm, np.zeros((6, 4)), settings=settings)
    learner_on(rows, state, settings, np.arange(1.0, 7)).epoch([1.0])
    for after, before in zip(state.model.arrays, rbm.arrays, strict=True):
        assert_allclose(after, before, atol=1e-12)


def test_the_hidden_offset_moves_by_weight():
    rbm = tiny_rbm(5, 3)
    state = state_at(rbm, np.zeros((4, 3)))
    settings = PLAIN._replace(batch_size=4, centering=True)
    weights = np.array([2.0, 1, 0.5, 0.1])
    learner_on(ROWS[:4], state, settings, weights).steps([slice(0, 4)], [0.1])
    mean = np.average(rbm.mean_hidden(ROWS[:4]), axis=0, weights=weights)
    share = _step.HIDDEN_MEAN_RATE * weights.mean()
    assert_allclose(state.learned.hidden_mean, 0.5 + share * (mean - 0.5))
    state = state_at(rbm, np.zeros((4, 3)))
    learner_on(ROWS[:4], state, settings, 1e6 * weights).steps([slice(0, 4)], [1e-9])
    assert_allclose(state.learned.hidden_mean, mean)


@pytest.mark.parametrize("weight", [1, 0.3, 7.0, 1e300, 1e-300])
@pytest.mark.parametrize("solver", ["pcd", "cd", "pt"])
def test_equal_weights_change_nothing_in_fit(solver, weight):
    X = bars_and_stripes()
    plain = make(solver=solver, early_stopping=True).fit(X)
    weighted = clone(plain).fit(X, sample_weight=np.full(len(X), weight))
    for name in ("components_", "intercept_visible_", "history_", "validation_scores_"):
        one, other = (vars(rbm)[name] for rbm in (plain, weighted))
        if name == "history_":
            one, other = ([v for k, v in h.items() if k != "seconds"] for h in (one, other))
        assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", ["pcd", "cd", "pt"])
def test_rows_of_no_weight_are_left_out(solver, early_stopping, form):
    X = np.vstack([bars_and_stripes(), bars_and_stripes()])
    weights = np.random.default_rng(0).integers(3, size=len(X))
    some = weights > 0
    n_iter = "auto" if solver == "pcd" and form is np.array else 8
    rbm = make(solver=solver, early_stopping=early_stopping, n_iter=n_iter, batch_size=3)
    with_zeros = clone(rbm).fit(form(X), sample_weight=weights)
    without = clone(rbm).fit(form(X[some]), sample_weight=weights[some])
    assert with_zeros.n_iter_ == without.n_iter_
    same_model(with_zeros, without, rtol=0)
    rbm.set_params(early_stopping=False)
    with_zeros = clone(rbm).partial_fit(form(X), sample_weight=weights)
    without = clone(rbm).partial_fit(form(X[some]), sample_weight=weights[some])
    same_model(with_zeros, without, rtol=0)


@pytest.mark.parametrize("solver", ["pcd", "cd", "pt"])
def test_partial_fit_takes_weights_as_they_are(solver):
    X = np.vstack([bars_and_stripes()] * 2)
    weights = np.random.default_rng(0).random(len(X))
    weights /= weights.mean()
    given = {"schedule": "constant", "learning_rate": 0.2, "weight_decay": 1e-3}
    rbm = make(solver=solver, n_iter=1, shuffle=False, batch_size=4, **given)
    fitted = clone(rbm).fit(X, sample_weight=17 * weights)
    whole = clone(rbm).partial_fit(X, sample_weight=weights)
    pieces = clone(rbm)
    for rows in (slice(0, 8), slice(8, 20), slice(20, len(X))):
        pieces.partial_fit(X[rows], sample_weight=weights[rows])
    same_model(whole, fitted, rtol=1e-10)
    same_model(whole, pieces, rtol=0)
    twice = clone(rbm).partial_fit(X, sample_weight=2 * weights)
    ones = 2 * (weights @ X)
    imaginary = (ones.sum() + 0.5) / (2 * X.size + 1)
    assert_allclose(twice.visible_mean_, (ones + imaginary) / (2 * len(X) + 1), rtol=1e-10)
    assert np.abs(twice.components_ - whole.components_).max() > 0.01


def test_weights_count_in_scores():
    X = bars_and_stripes()
    rbm = make().fit(X)
    weights = np.arange(len(X))
    expected = np.average(rbm.score_samples(X), weights=weights)
    assert rbm.score(X, sample_weight=weights) == expected
    assert pseudo_likelihood_scorer(rbm, X, sample_weight=weights) == expected
    expected = np.average(rbm.log_likelihood(X), weights=weights)
    assert_allclose(log_likelihood_scorer(rbm, X, sample_weight=weights), expected)


def test_weights_count_in_early_stopping_and_history():
    X = np.vstack([bars_and_stripes()] * 4)
    X = X[np.random.default_rng(0).permutation(len(X))]
    weights = np.random.default_rng(1).integers(1, 9, size=len(X))
    rbm = make(early_stopping=True, n_iter=1, validation_fraction=0.5)
    rbm.fit(X, sample_weight=weights)
    expected = [
        rbm.score(X[rows], sample_weight=weights[rows])
        for rows in (rbm_rows(rbm, X)[1], rbm_rows(rbm, X)[0])
    ]
    assert_allclose(rbm.validation_scores_, expected[:1], rtol=1e-5)
    assert_allclose(rbm.history_["pseudo_log_likelihood"], expected[1:], rtol=1e-5)
    train, held_out = (
        np.average(rbm.free_energy(X[rows]), weights=weights[rows])
        for rows in rbm_rows(rbm, X)
    )
    assert_allclose(rbm.history_["free_energy_gap"], [held_out - train], rtol=1e-4)


def rbm_rows(rbm, X):
    """Training rows and held-out rows."""
    data, validation = Fit(rbm, X)._hold_out(DataSet(X))
    return data.rows, validation.rows


@pytest.mark.parametrize("method", ["fit", "partial_fit", "score"])
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -1] * 8, "[Nn]egative.*sample_weight"),
        (np.zeros(16), "[Ss]ample.weight.*(zero|are 0)"),
        ([1.0, 2], "sample_weight.shape"),
        ([np.nan] * 16, "sample_weight contains NaN"),
    ],
)
def test_bad_weights(weights, message, method):
    X = bars_and_stripes()
    rbm = make().fit(X)
    before = rbm.components_.copy()
    with pytest.raises(ValueError, match=message):
        getattr(rbm, method)(X, sample_weight=weights)
    assert_array_equal(rbm.components_, before)


def test_heavy_rows_are_named_when_training_diverges():
    with pytest.warns(Warning, match=r"or sample_weight \(on average 1e\+06\)\."):
        make().partial_fit(bars_and_stripes(), sample_weight=np.full(16, 1e6))


SCORERS = [
    pseudo_likelihood_scorer,
    log_likelihood_scorer,
]


@pytest.mark.parametrize("weight", [1e2, 1e4])
@pytest.mark.parametrize("seed", range(3))
def test_a_heavy_row_is_learned(weight, seed):
    """It has most of the probability, and the others keep theirs."""
    X = (np.random.default_rng(seed).random((300, 8)) < 0.3).astype(float)
    weights = np.ones(len(X))
    weights[0] = weight
    rbm = make(n_iter=100, weight_decay=1e-3, random_state=seed)
    rbm.fit(X, sample_weight=weights)
    p = weights / weights.sum()
    assert abs(np.exp(rbm.log_likelihood(X[:1]))[0] - p[0]) < 0.1
    mean = (p @ X).clip(1e-9, 1 - 1e-9)
    independent = mean @ np.log(mean) + (1 - mean) @ np.log(1 - mean)
    assert p @ rbm.log_likelihood(X) > independent


@pytest.mark.parametrize("solver", ["cd", "pcd", "pt"])
def test_more_rows_than_before_in_a_minibatch(solver):
    """One minibatch contains all rows, and copies of a heavy one."""
    X = bars_and_stripes()
    weights = np.ones(len(X))
    weights[3] = 50
    rbm = make(solver=solver, batch_size=1000, n_iter=2).fit(X, sample_weight=weights)
    assert np.isfinite(rbm.partial_fit(X, sample_weight=weights).score(X))
    parallel = ParallelRBM(make(solver=solver, n_iter=2, batch_size=1000), n_shards=3)
    assert np.isfinite(parallel.fit(X, sample_weight=weights).score(X))


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.__name__)
def test_metadata_routing_of_scorers(scorer, n_jobs):
    X = np.vstack([bars_and_stripes()] * 4)
    weights = np.random.default_rng(0).integers(3, size=len(X))
    halves = slice(0, len(X) // 2), slice(len(X) // 2, None)
    rbm = make(n_iter=3)
    fitted = clone(rbm).fit(X[halves[1]], sample_weight=weights[halves[1]])
    weighted = scorer(fitted, X[halves[0]], sample_weight=weights[halves[0]])
    unweighted = scorer(fitted, X[halves[0]])
    assert abs(weighted - unweighted) > 1e-4

    def first_scores(scorer):
        for scoring in (scorer, {"a": scorer}):
            search = GridSearchCV(
                rbm, {"n_iter": [3]}, scoring=scoring, cv=2, refit=False, n_jobs=n_jobs
            )
            results = search.fit(X, sample_weight=weights).cv_results_
            yield from (v[0] for k, v in results.items() if k.startswith("split0_test_"))

    one, of_many = first_scores(scorer)
    assert one == of_many
    assert one in (weighted, unweighted)  # older scikit-learn does not pass weights
    with config_context(enable_metadata_routing=True):
        rbm.set_fit_request(sample_weight=True)
        assert list(first_scores(scorer)) == [weighted] * 2
        if not hasattr(scorer, "set_score_request"):
            return
        declining = clone(scorer, safe=False).set_score_request(sample_weight=False)
        assert list(first_scores(declining)) == [unweighted] * 2
        assert list(first_scores(scorer)) == [weighted] * 2


def test_metadata_routing():
    X = np.vstack([bars_and_stripes()] * 4)
    y = np.arange(len(X)) % 2
    weights = np.random.default_rng(0).integers(3, size=len(X))
    with config_context(enable_metadata_routing=True):
        rbm = make().set_fit_request(sample_weight=True)
        rbm.set_score_request(sample_weight=True).set_partial_fit_request(
            sample_weight=True
        )
        search = GridSearchCV(rbm, {"n_components": [2, 6]}, cv=2)
        search.fit(X, sample_weight=weights)
        best = clone(rbm).set_params(**search.best_params_)
        same_model(search.best_estimator_, best.fit(X, sample_weight=weights), rtol=0)
        first = search.cv_results_["split0_test_score"][search.best_index_]
        half = len(X) // 2
        best.fit(X[half:], sample_weight=weights[half:])
        assert first == best.score(X[:half], sample_weight=weights[:half])

        pipe = Pipeline([("rbm", rbm), ("clf", LogisticRegression())])
        pipe["clf"].set_fit_request(sample_weight=False)
        pipe.fit(X, y, sample_weight=weights)
        same_model(pipe["rbm"], clone(rbm).fit(X, sample_weight=weights), rtol=0)
    pipe.fit(X, y, rbm__sample_weight=weights)
    same_model(pipe["rbm"], clone(rbm).fit(X, sample_weight=weights), rtol=0)
