"""Training on rows with missing cells, and such rows under a fitted model."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import (
    BINARY,
    PLAIN,
    SOLVER_NAMES,
    Enumerated,
    assert_same_model,
    bars_and_stripes,
    by_hand,
    enumerated,
    make_rbm,
    state_at,
    states,
    tiny_rbm,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

from skrbm import (
    BernoulliRBMEstimator,
    GaussianRBMEstimator,
    MixedRBMEstimator,
    ParallelRBM,
    _binary_rows,
    _gaps,
    likelihood,
)
from skrbm._data import DataSet
from skrbm._gaps import Gaps, places_of_gaps
from skrbm._step import Learner
from skrbm.callbacks import Checkpoint, resume

MASK = np.random.default_rng(0).random(BINARY.shape) < 0.3
MASK[4] = True  # a row without any value
MASK[7] = False
GAPPY = np.where(MASK, np.nan, BINARY)
# Real values, with the same gaps.
REAL = GAPPY + np.random.default_rng(1).standard_normal(MASK.shape)
DATA = {BernoulliRBMEstimator: GAPPY, GaussianRBMEstimator: REAL}


def gaps_of(X, dtype=np.float64, mean=0.5):
    """Gaps of all rows that have not been presented yet."""
    return Gaps.at(places_of_gaps(DataSet(X)), np.full(X.shape[1], mean, dtype))


def completions(row):
    """All complete rows with the values of this one."""
    v = states(len(row))
    return v[((v == row) | np.isnan(row)).all(axis=1)]


# The learning step ----------------------------------------------------------------------


def exact_gradient(exact, X):
    """Gradient of the mean log-probability of the observed cells, from sums over states.

    It is that of complete rows, averaged over the missing cells given the others.
    """
    total = [0, 0, 0]
    for row in X:
        v = completions(row)
        p = exact.p_v[exact.index(v)]
        for weight, complete in zip(p / p.sum(), v, strict=True):
            for i, part in enumerate(exact.gradient(complete[None])):
                total[i] = total[i] + weight / len(X) * part
    return total


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_step_is_the_exact_gradient(dtype, compiled, weighted):
    """Once chains and missing cells follow the model, steps follow the likelihood."""
    rbm = tiny_rbm(5, 3, dtype)
    few = np.array([[0, 1, np.nan, np.nan, 1], [np.nan] * 5, [1, 0, 0, 1, 1]])
    weights = np.array([2.0, 0.5, 1.0]) if weighted else np.ones(3)
    n_repeats = 10_000
    X = np.repeat(few, n_repeats, axis=0).astype(dtype)
    settings = PLAIN._replace(batch_size=len(X), compiled=compiled)
    exact = Enumerated(*rbm.arrays)
    chains = exact.h[np.random.default_rng(0).choice(8, 30_000, p=exact.p_h)]
    change = [0, 0, 0]
    for seed in range(4):
        state = state_at(rbm, chains, seed, settings)
        state.gaps = gaps_of(X, dtype)
        row_weights = np.repeat(weights, n_repeats) if weighted else None
        data = DataSet(X, None, row_weights)
        Learner(state, settings, data, steps_of_gaps=40).epoch([0.25])
        for i, (after, before) in enumerate(
            zip(state.model.arrays, rbm.arrays, strict=True)
        ):
            change[i] += (after.astype(float) - before) / 0.25 / 4
    gradients = [exact_gradient(exact, row[None]) for row in few]
    for i, mean_change in enumerate(change):
        expected = sum(w * g[i] for w, g in zip(weights, gradients, strict=True)) / 3
        assert_allclose(mean_change, expected, atol=0.02)


@pytest.mark.parametrize("compiled", [False, True])
def test_missing_cells_are_chains_that_keep_their_distribution(compiled):
    """One step at each presentation: those that follow the model still do afterwards."""
    rbm = tiny_rbm(4, 3)
    exact, row = Enumerated(*rbm.arrays), np.array([np.nan, 1, np.nan, 0])
    v = completions(row)
    p = exact.p_v[exact.index(v)]
    X = np.tile(row, (40_000, 1))
    start = np.random.default_rng(0).choice(len(v), len(X), p=p / p.sum())
    settings = PLAIN._replace(compiled=compiled, batch_size=8000)
    state = state_at(rbm, np.zeros((10, 3)), settings=settings)
    state.gaps = gaps_of(X)
    state.gaps.values[:] = v[start][:, [0, 2]].ravel()
    order = np.random.default_rng(1).permutation(len(X))
    before = state.gaps.values.copy()
    for _ in range(2):
        Learner(state, settings, DataSet(X)).epoch([1e-9] * 5, order)
    drawn = state.gaps.values.reshape(-1, 2)
    assert (drawn.ravel() != before).mean() > 0.1
    places = (drawn @ [2, 1]).astype(int)
    assert_allclose(np.bincount(places, minlength=4) / len(X), p / p.sum(), atol=0.015)


@pytest.mark.parametrize("form", [np.float32, np.float64, "Fortran", "strided"])
@pytest.mark.parametrize("solver", SOLVER_NAMES)
def test_paths_agree_on_what_they_keep(solver, form):
    """Known cells are never changed, and missing ones become states, kept by rows."""
    X = GAPPY
    if form == "Fortran":
        X = np.asfortranarray(X)
    elif form == "strided":
        X = np.repeat(X, 2, axis=1)[:, ::2]
    else:
        X = X.astype(form)
    before = X.copy()
    rbm = make_rbm(solver=solver, n_iter=2).fit(X)
    assert_array_equal(X, before)
    gaps = rbm._learning.gaps
    assert gaps.values.dtype == rbm.components_.dtype
    assert set(np.unique(gaps.values)) == {0, 1}
    assert_array_equal(np.diff(gaps.starts), np.isnan(X).sum(axis=1))
    same = make_rbm(solver=solver, n_iter=2).fit(np.ascontiguousarray(X))
    assert_same_model(rbm, same)


def test_engines_learn_the_same(without_core):
    """Without the core as with it, up to random numbers: the first means are equal."""
    rbm = make_rbm(n_iter=30).fit(GAPPY)
    mean = np.nanmean(GAPPY, axis=0)
    assert np.abs(rbm.visible_mean_ - mean).max() < 0.25
    assert _binary_rows.core is None
    assert_allclose(rbm.visible_mean_.mean(), mean.mean(), atol=0.02)


def test_rows_of_a_slice_and_of_an_array():
    gaps = gaps_of(GAPPY)
    gaps.values[:] = np.arange(len(gaps.values))
    by_row = np.split(gaps.values, gaps.starts[1:-1])
    assert [len(values) for values in by_row] == np.isnan(GAPPY).sum(axis=1).tolist()
    rows = np.array([9, 7, 4, 30])  # of which row 7 has none
    expected = np.concatenate([by_row[row] for row in rows])
    assert_array_equal(gaps.values[gaps.places(rows)], expected)
    some = gaps.select(rows)
    assert_array_equal(some.values, expected)
    assert_array_equal(np.diff(some.starts), [len(by_row[row]) for row in rows])
    part = gaps.values[gaps.places(slice(5, 9))]
    assert_array_equal(part, np.concatenate(by_row[5:9]))


def test_the_first_mean_is_that_of_the_observed_cells():
    X = (np.random.default_rng(0).random((4000, 3)) < [0.05, 0.5, 0.9]).astype(float)
    X[np.random.default_rng(1).random(X.shape) < 0.5] = np.nan
    rbm = BernoulliRBMEstimator(30, n_iter=1, random_state=0).fit(X)
    assert_allclose(rbm.visible_mean_, np.nanmean(X, axis=0), atol=0.03)


def test_gray_values_beside_gaps():
    """Values between 0 and 1 are drawn at each presentation, and gaps are states."""
    X = np.where(MASK, np.nan, 0.3 + 0.4 * BINARY)
    for binarize in (True, False):
        rbm = make_rbm(stochastic_binarization=binarize).fit(X)
        assert set(np.unique(rbm._learning.gaps.values)) == {0, 1}
        assert np.isfinite(rbm.components_).all()


@pytest.mark.parametrize("form", [BernoulliRBMEstimator, GaussianRBMEstimator])
def test_weights_and_memory_maps(tmp_path, form):
    X = DATA[form]
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    rbm = form(6, n_iter=3, random_state=0)
    expected = copy.deepcopy(rbm).fit(X)
    assert_array_equal(copy.deepcopy(rbm).fit(mapped).components_, expected.components_)
    # Rows of weight 0 do not count, whatever is missing in them.
    weights = np.r_[np.ones(60), np.zeros(3)]
    odd = np.full((3, 64), np.nan)
    odd[0] = 1e6 if form is GaussianRBMEstimator else 1
    weighted = copy.deepcopy(rbm).fit(np.vstack([X, odd]), sample_weight=weights)
    assert_array_equal(weighted.components_, expected.components_)


def test_missing_cells_do_not_bias_a_model_that_is_known():
    """The model learned from rows with gaps is as close to the true one as from others."""
    true = tiny_rbm(6, 2, scale=1.5)
    exact, rng = Enumerated(*true.arrays), np.random.default_rng(0)
    X = exact.v[rng.choice(64, 4000, p=exact.p_v)]
    gappy = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    divergences = []
    for rows in (X, gappy):
        rbm = BernoulliRBMEstimator(4, n_iter=60, random_state=0).fit(rows)
        log_p = np.log(enumerated(rbm).p_v)
        divergences.append(exact.p_v @ (np.log(exact.p_v) - log_p))
    # About (number of parameters) / (2 * number of rows), with twice as few observations.
    assert max(divergences) < 0.02


@pytest.mark.slow
def test_gaussian_model_with_gaps():
    rng = np.random.default_rng(0)
    z = rng.choice([-2.0, 2.0], 3000)
    X = z[:, None] * [1, 2, -1] + rng.standard_normal((3000, 3)) + [5, 0, -100]
    gappy = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    make = {"n_components": 4, "n_iter": 30, "random_state": 0}
    full, part = (GaussianRBMEstimator(**make).fit(rows) for rows in (X, gappy))
    assert_allclose(part.visible_mean_, np.nanmean(gappy, axis=0))
    assert_allclose(part.visible_variance_, np.nanvar(gappy, axis=0))
    assert part.score(X) > full.score(X) - 0.1


# The state of training --------------------------------------------------------------------


class Stop:
    """Callback that stops training after the second epoch."""

    def setup(self, estimator, context):
        pass

    on_fit_task_begin = teardown = setup

    def on_fit_task_end(self, estimator, context):
        return context.task_name == "epoch" and estimator._training.n_done == 2


@pytest.mark.parametrize("options", [{}, {"early_stopping": True, "shuffle": False}])
@pytest.mark.parametrize("kind", [BernoulliRBMEstimator, GaussianRBMEstimator])
def test_a_checkpoint_is_resumed_with_the_same_bits(tmp_path, kind, options):
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")
    X = DATA[kind]
    rbm = kind(5, n_iter=5, random_state=0, **options)
    expected = copy.deepcopy(rbm).fit(X)
    rbm.set_callbacks(Checkpoint(tmp_path / "c"), Stop()).fit(X)
    resumed = resume(tmp_path / "c", X)
    assert_same_model(resumed, expected)
    gaps = [one._learning.gaps.values for one in (resumed, expected)]
    assert_array_equal(*gaps)
    other = X.copy()
    other[50, np.flatnonzero(~MASK[50])[0]] = np.nan
    with pytest.raises(ValueError, match=r"other (missing values|rows)"):
        resume(tmp_path / "c", other)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_warm_start_continues_the_missing_cells(again):
    rbm = make_rbm(warm_start=True).fit(GAPPY)
    before = rbm._learning.gaps.values.copy()
    other = again(rbm)
    assert_array_equal(other._learning.gaps.values, before)
    assert_same_model(rbm.fit(GAPPY), other.fit(GAPPY))
    assert_array_equal(rbm._learning.gaps.values, other._learning.gaps.values)
    assert (rbm._learning.gaps.values != before).any()
    rbm.fit(GAPPY[:50])  # other rows begin anew
    assert len(rbm._learning.gaps.values) == MASK[:50].sum()
    assert rbm.fit(BINARY)._learning.gaps is None


def test_a_pickle_from_before_there_were_gaps():
    rbm = make_rbm(warm_start=True).fit(BINARY)
    state = rbm.__getstate__()
    del state["_learning"]["gaps"]
    other = make_rbm()
    other.__setstate__(state)
    assert other._learning.gaps is None
    assert other.fit(GAPPY)._learning.gaps is not None


def test_rows_without_gaps_use_no_other_random_numbers():
    """A row of weight 0 may have gaps, and changes nothing."""
    X = np.vstack([BINARY, np.full((1, 64), np.nan)])
    weights = np.r_[np.ones(60), 0]
    rbm = make_rbm().fit(X, sample_weight=weights)
    assert_same_model(rbm, make_rbm().fit(BINARY.astype(float)))
    assert rbm._learning.gaps is None


@pytest.mark.parametrize("kind", [BernoulliRBMEstimator, GaussianRBMEstimator])
def test_partial_fit_draws_gaps_for_one_pass(kind):
    rbm = kind(5, random_state=0).partial_fit(DATA[kind])
    assert rbm._learning.gaps is None
    column = np.where(np.arange(64) == 3, np.nan, DATA[kind])  # none of this chunk
    rbm.partial_fit(column)
    assert np.isfinite(rbm.components_).all()
    first = kind(5, random_state=0)
    if kind is GaussianRBMEstimator:
        with pytest.raises(ValueError, match="no observed values of feature 3 in"):
            first.partial_fit(column)
    else:
        first.partial_fit(column)


def test_partial_fit_learns_the_means():
    X = (np.random.default_rng(0).random((8000, 3)) < [0.05, 0.5, 0.9]).astype(float)
    X[np.random.default_rng(1).random(X.shape) < 0.5] = np.nan
    rbm = BernoulliRBMEstimator(10, random_state=0)
    for start in range(0, len(X), 100):
        rbm.partial_fit(X[start : start + 100])
    assert_allclose(rbm.visible_mean_, np.nanmean(X, axis=0), atol=0.03)
    drawn = rbm.sample(2000, random_state=0)
    assert_allclose(drawn.mean(axis=0), [0.05, 0.5, 0.9], atol=0.1)


def test_a_model_set_by_hand():
    model = tiny_rbm(9, 3)
    X = np.where(np.random.default_rng(0).random((16, 9)) < 0.3, np.nan, bars_and_stripes())
    rbm = by_hand(model).set_params(n_components=3, n_iter=2, warm_start=True)
    rbm.set_params(random_state=0).fit(X)
    assert_allclose(rbm._learning.counts.visible_sum, 16 * np.nanmean(X, axis=0))


# Shards -----------------------------------------------------------------------------------


def shards(kind=BernoulliRBMEstimator, n_jobs=1, n_shards=3, **parameters):
    rbm = kind(5, n_iter=3, random_state=0, batch_size=5, **parameters)
    return ParallelRBM(rbm, n_shards=n_shards, n_local_steps=2, n_jobs=n_jobs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [BernoulliRBMEstimator, GaussianRBMEstimator])
def test_shards_on_one_and_two_workers(kind):
    one, two = (shards(kind, n_jobs).fit(DATA[kind]) for n_jobs in (1, 2))
    assert_same_model(one.estimator_, two.estimator_)
    gaps = [parallel.estimator_._learning.gaps for parallel in (one, two)]
    assert_array_equal(gaps[0].values, gaps[1].values)
    assert not np.isnan(gaps[0].values).any()
    assert len(gaps[0].values) == MASK.sum()


def test_shards_keep_the_gaps_of_each_row():
    """Known rows come back to their places: a column that copies another one shows it."""
    X = np.repeat(np.random.default_rng(0).random((60, 1)) < 0.5, 8, axis=1).astype(float)
    X[:, 5] = np.where(np.arange(60) % 3, np.nan, X[:, 5])
    parallel = shards(n_shards=2).set_params(estimator__n_iter=300)
    gaps = parallel.fit(X).estimator_._learning.gaps
    # The blocks of joblib are every n-th row; places are those of all blocks, in turn.
    n_blocks = 2
    ordered = np.concatenate([X[i::n_blocks] for i in range(n_blocks)])
    missing = np.isnan(ordered[:, 5])
    assert (gaps.values == ordered[missing, 0]).mean() > 0.9


def test_moments_and_means_of_shards_are_those_of_the_observed_cells():
    weights = np.random.default_rng(0).integers(0, 3, 60).astype(float)
    parallel = shards(GaussianRBMEstimator).fit(REAL, sample_weight=weights)
    rbm = GaussianRBMEstimator(5, n_iter=1, random_state=0).fit(REAL, sample_weight=weights)
    for name in ("visible_mean_", "visible_variance_"):
        assert_allclose(getattr(parallel.estimator_, name), getattr(rbm, name))
    counts = shards().fit(GAPPY, sample_weight=weights).estimator_._learning.counts
    w, known = weights[:, None] * ~MASK, np.where(MASK, 0, GAPPY)
    mean = (w * known).sum(axis=0) / w.sum(axis=0)
    assert_allclose(counts.visible_sum / counts.n_rows_seen, mean)


def test_shards_go_on(tmp_path):
    parallel = shards(warm_start=True).fit(GAPPY)
    other = copy.deepcopy(parallel)
    assert_same_model(parallel.fit(GAPPY).estimator_, other.fit(GAPPY).estimator_)
    assert parallel.partial_fit(GAPPY).estimator_._learning.gaps is None
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")
    expected = shards().fit(GAPPY)
    stopped = shards()
    stopped.estimator.set_callbacks(Checkpoint(tmp_path / "c"), Stop())
    stopped.fit(GAPPY)
    resumed = shards().resume(tmp_path / "c", GAPPY)
    assert_same_model(resumed.estimator_, expected.estimator_)
    other = GAPPY.copy()
    other[50, np.flatnonzero(~MASK[50])[0]] = np.nan
    with pytest.raises(ValueError, match=r"other (missing values|rows)"):
        shards().resume(tmp_path / "c", other)


def test_shards_name_features_without_values():
    X = np.where(np.arange(64) == 3, np.nan, BINARY)
    with pytest.raises(ValueError, match="no observed values of feature 3 in"):
        shards().fit(X)


# Scores during training ---------------------------------------------------------------


def test_scores_are_those_of_observed_cells():
    """Scoring draws from no generator of training, and stopping early works."""
    options = {"early_stopping": True, "n_iter": 12, "n_iter_no_change": 12}
    one, other = (make_rbm(**options).fit(GAPPY) for _ in range(2))
    assert one.validation_scores_ == other.validation_scores_
    for key in ("pseudo_log_likelihood", "free_energy_gap"):
        assert one.history_[key] == other.history_[key]
    fits = (make_rbm(**options, random_state=seed).fit(GAPPY) for seed in range(1, 5))
    assert sum(max(s) - s[0] for s in (rbm.validation_scores_ for rbm in fits)) > 0
    # About as many terms as there are values.
    full = make_rbm(**options).fit(BINARY)
    assert max(one.validation_scores_) > 0.9 * max(full.validation_scores_)


@pytest.mark.parametrize("n_components", [4, 16])
def test_scores_of_real_values(n_components, monkeypatch):
    """Sums over 2^16 states would take longer than the epochs."""
    if n_components == 16:
        monkeypatch.delattr(_gaps, "given_observed")
    make = {"early_stopping": True, "n_iter": 3, "random_state": 0}
    rbm = GaussianRBMEstimator(n_components, **make).fit(REAL)
    assert np.isfinite(rbm.validation_scores_).all()
    assert np.isfinite(rbm.history_["log_likelihood"]).all()


# The fitted model -----------------------------------------------------------------------


ROWS = np.array([[0, np.nan, 1, np.nan], [np.nan] * 4, [1, 0, 0, 1], [1, 1, np.nan, 0]])


def exact_marginals(exact, X):
    """Log-probabilities of the observed cells, and the mean hidden units given them."""
    log_p, means = [], []
    for row in X:
        v = completions(row)
        p = exact.p_v[exact.index(v)]
        log_p.append(np.log(p.sum()))
        means.append(p / p.sum() @ exact.mean_h_given_v[exact.index(v)])
    return np.array(log_p), np.array(means)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_marginals_against_enumeration(dtype):
    model = tiny_rbm(4, 3)
    rbm, exact = by_hand(model), Enumerated(*model.arrays)
    log_p, _ = exact_marginals(exact, ROWS)
    X = ROWS.astype(dtype)
    rtol = 1e-5 if dtype == np.float32 else 1e-9
    assert_allclose(rbm.log_likelihood(X), log_p, rtol=rtol, atol=1e-6)
    assert_allclose(likelihood.log_likelihood(rbm, X), log_p, rtol=rtol, atol=1e-6)
    mean = likelihood.mean_log_likelihood(rbm, X)
    assert_allclose(mean.value, log_p.mean(), rtol=1e-5)
    assert_allclose(rbm.free_energy(X), -log_p - np.log(exact.partition), rtol=1e-5)
    assert_array_equal(rbm.free_energy(X)[2:3], rbm.free_energy(X[2:3]))


def test_marginals_of_real_values():
    """The density of the observed cells, by a sum over hidden states."""
    X = np.random.default_rng(0).normal([3, -2, 100], [1, 5, 0.1], (200, 3))
    settings = {"covariance_type": "diag", "n_iter": 5, "random_state": 0}
    rbm = GaussianRBMEstimator(3, **settings).fit(X)
    h = states(3)
    means = h @ rbm.components_ + rbm.intercept_visible_
    deviation = np.sqrt(rbm.noise_variance_)
    log_p_h = rbm.intercept_hidden_ @ h.T
    log_p_h = log_p_h + (means**2 / (2 * deviation**2)).sum(axis=1)
    log_p_h = log_p_h - logsumexp(log_p_h)
    gappy = np.where(np.random.default_rng(1).random(X.shape) < 0.4, np.nan, X)
    gappy[0] = np.nan
    expected = []
    for row in gappy:
        known = ~np.isnan(row)
        z = (row - means)[:, known] / deviation[known]
        log_density = -0.5 * z**2 - np.log(deviation[known]) - 0.5 * np.log(2 * np.pi)
        expected.append(logsumexp(log_p_h + log_density.sum(axis=1)))
    assert_allclose(rbm.score_samples(gappy), expected, rtol=1e-4, atol=1e-6)
    assert_allclose(rbm.log_likelihood(gappy), expected, rtol=1e-4, atol=1e-6)


def test_transform_against_enumeration(monkeypatch):
    model = tiny_rbm(4, 3)
    rbm = by_hand(model)
    _, means = exact_marginals(Enumerated(*model.arrays), ROWS)
    assert_allclose(rbm.transform(ROWS), means, rtol=1e-6)
    assert_array_equal(rbm.transform(ROWS)[2], rbm.transform(ROWS[2:3])[0])
    assert rbm.transform(ROWS.astype(np.float32)).dtype == np.float32
    v = rbm.reconstruct(ROWS)
    assert_allclose(v, rbm.inverse_transform(means), rtol=1e-6)
    monkeypatch.setattr(_gaps, "LARGEST_EXACT_MEANS", 2)  # by chains
    assert_allclose(rbm.transform(ROWS), means, atol=0.06)
    monkeypatch.setattr(_gaps, "N_CHAINS", 2000)
    assert_allclose(rbm.transform(ROWS), means, atol=0.006)


def test_pseudo_log_likelihood_of_observed_cells(monkeypatch):
    """The mean over the missing cells given the others, without their terms."""
    model = tiny_rbm(4, 3)
    rbm, exact = by_hand(model), Enumerated(*model.arrays)
    expected, deviations = [], []
    for row in ROWS:
        v = completions(row)
        p = exact.p_v[exact.index(v)]
        terms = np.zeros(len(v))
        for i in np.flatnonzero(~np.isnan(row)):
            flipped = v.copy()
            flipped[:, i] = 1 - v[:, i]
            terms += np.log(p / (p + exact.p_v[exact.index(flipped)]))
        expected.append(p / p.sum() @ terms)
        deviations.append(np.sqrt(p / p.sum() @ np.square(terms - expected[-1])))
    expected, deviations = np.array(expected), np.array(deviations)
    scores = rbm.score_samples(ROWS)
    error = np.abs(scores - expected)
    assert (error < 1e-6 + 4 * deviations / np.sqrt(_gaps.N_CHAINS)).all()
    assert scores[1] == 0
    assert np.isfinite(rbm.score(ROWS))
    some = rbm.score_samples(ROWS, n_flips=2)
    complete = model.pseudo_log_likelihood(ROWS[2:3], np.flatnonzero([0, 0, 1, 1]))
    assert some.shape == (4,)
    assert np.isfinite(complete).all()
    monkeypatch.setattr(_gaps, "N_CHAINS", 40_000)
    assert_allclose(rbm.score_samples(ROWS), expected, atol=0.02)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", ["bits", "gray", "numbers", "categories", "table"])
def test_results_of_a_row_do_not_depend_on_others(kind, compiled, request, monkeypatch):
    """However the hidden units are averaged: alone, in another order, or beside copies."""
    if not compiled:
        request.getfixturevalue("without_core")
    letters = pd.DataFrame(np.where(MASK, None, np.where(BINARY, "a", "b"))[:, :40])
    rbm, X = {
        "bits": (make_rbm(n_components=8), GAPPY),
        "gray": (make_rbm(n_components=8), np.where(MASK, np.nan, 0.3 + 0.4 * BINARY)),
        "numbers": (GaussianRBMEstimator(8, n_iter=5, random_state=0), REAL),
        "categories": (MixedRBMEstimator(8, n_iter=5, random_state=0), letters),
        "table": (
            MixedRBMEstimator(8, n_iter=5, random_state=0),
            letters.assign(x=REAL[:, 0]).set_axis(range(41), axis=1),
        ),
    }[kind]
    X = pd.DataFrame(X)
    rbm.fit(X)
    order = np.random.default_rng(0).permutation(len(X))[:50]
    for exact in (0, 8):
        monkeypatch.setattr(_gaps, "LARGEST_EXACT_MEANS", exact)
        H = rbm.transform(X)
        tolerance = {"rtol": 1e-6 if exact else 1e-12, "atol": 1e-9}
        assert_allclose(rbm.transform(X.iloc[order]), H[order], **tolerance)
        assert_allclose(rbm.transform(X.iloc[[9]]), H[[9]], **tolerance)
        assert_allclose(rbm.transform(X.iloc[[9] * 70]), H[[9] * 70], **tolerance)
    if kind not in ("numbers", "table"):
        scores = rbm.score_samples(X)
        assert_allclose(rbm.score_samples(X.iloc[order]), scores[order], rtol=1e-4)
        assert_allclose(rbm.score_samples(X.iloc[[9]]), scores[[9]], rtol=1e-4)


def test_wide_rows_use_independent_draws(without_core):
    """One row at a time, of which draws take several blocks of kernels."""
    X = (np.random.default_rng(0).random((40, 3000)) < 0.5).astype(float)
    rbm = BernoulliRBMEstimator(20, n_iter=1, random_state=0).fit(X)
    X[:2] = np.nan
    H = rbm.transform(X)
    assert_array_equal(H[0], H[1])
    assert_array_equal(H, rbm.transform(X))
    assert_allclose(H[0], rbm.transform(rbm.sample(200)).mean(axis=0), atol=0.15)


@pytest.mark.parametrize("kind", ["bits", "numbers", "table"])
def test_annealed_runs_agree_with_exact_sums(kind, monkeypatch):
    """In models for which both are possible, and as if the exact ones were not."""
    X, gappy = (REAL, REAL) if kind == "numbers" else (BINARY, GAPPY)
    estimators = {
        "bits": make_rbm(n_components=5, n_iter=30),
        "numbers": GaussianRBMEstimator(5, n_iter=30, random_state=0),
        "table": MixedRBMEstimator(5, n_iter=30, random_state=0),
    }
    if kind == "table":
        X, gappy = (np.column_stack([a[:, 6:40], REAL[: len(a)]]) for a in (X, gappy))
    rbm = estimators[kind].fit(X)
    exact = rbm.log_likelihood(gappy)
    monkeypatch.setattr(_gaps, "LARGEST_EXACT", 4)
    estimated = rbm.log_likelihood(gappy)
    has_gaps = np.isnan(gappy).any(axis=1)
    assert has_gaps.any()
    assert (estimated != exact)[has_gaps].any()
    assert_allclose(estimated[~has_gaps], exact[~has_gaps], atol=1e-3)
    assert abs((estimated - exact).mean()) < 0.05
    assert np.abs(estimated - exact).max() < 1
    assert_array_equal(estimated, rbm.log_likelihood(gappy))


# Input ----------------------------------------------------------------------------------


FORMS = {
    "frame": pd.DataFrame,
    "nullable": lambda X: pd.DataFrame(X).convert_dtypes(),
    "boolean": lambda X: pd.DataFrame(X).astype("boolean"),
    "objects": lambda X: np.where(np.isnan(X), None, X.astype(object)),
    "frame of objects": lambda X: pd.DataFrame(np.where(np.isnan(X), None, X > 0)),
    "NA": lambda X: np.where(np.isnan(X), pd.NA, X.astype(object)),
    "list": lambda X: np.where(np.isnan(X), None, X.astype(object)).tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_missing_values(form):
    X = FORMS[form](GAPPY)
    expected = make_rbm(n_components=4).fit(GAPPY)
    rbm = make_rbm(n_components=4).fit(X)
    assert_same_model(rbm, expected)
    assert_same_model(
        make_rbm(n_components=4).partial_fit(X), make_rbm(n_components=4).partial_fit(GAPPY)
    )
    for method in ("transform", "score_samples", "log_likelihood", "free_energy"):
        assert_array_equal(getattr(rbm, method)(X), getattr(expected, method)(GAPPY))


def test_errors():
    X = GAPPY.copy()
    X[:, [3, 8]] = np.nan
    with pytest.raises(ValueError, match="no observed values of features 3, 8 in the"):
        make_rbm().fit(X)
    frame = pd.DataFrame(X).add_prefix("p")
    with pytest.raises(ValueError, match="no observed values of features 'p3', 'p8' in"):
        make_rbm().fit(frame)
    with pytest.raises(ValueError, match="All values of X are missing"):
        make_rbm().fit(X * np.nan)
    X = GAPPY.copy()
    X[3, 3] = np.inf
    with pytest.raises(ValueError, match="Input X contains infinity"):
        make_rbm().fit(X)
    with pytest.raises(ValueError, match=r"contains NaN"):
        make_rbm().fit(sp.csr_array(GAPPY))
    with pytest.warns(UserWarning, match=r"values from 0 to 2"):
        make_rbm().fit(np.where(MASK, np.nan, 2.0 * BINARY))


def test_statistics_leave_gaps_out():
    X = REAL
    for data in (DataSet(X), DataSet(X.astype(np.float32)), DataSet(np.tile(X, (40, 30)))):
        assert data.has_gaps
        rows = data.X
        assert data.limits() == (np.nanmin(rows), np.nanmax(rows))
        assert data.summary == (np.nanmin(rows), np.nanmax(rows), False, False)
        ranges = data.ranges()
        assert_array_equal(ranges.low, np.nanmin(rows, axis=0))
        assert_array_equal(ranges.high, np.nanmax(rows, axis=0))
    assert DataSet(GAPPY).summary == (0, 1, True, False)
    assert DataSet(GAPPY).ranges().whole
    assert not DataSet(BINARY.astype(float)).has_gaps
    assert DataSet(np.full((3, 2), np.nan)).limits() == (np.inf, -np.inf)
    weights = np.random.default_rng(0).integers(1, 4, 60).astype(float)
    mean, variance = DataSet(X, None, weights).moments()
    repeated = np.repeat(X, weights.astype(int), axis=0)
    assert_allclose(mean, np.nanmean(repeated, axis=0))
    assert_allclose(variance, np.nanvar(repeated, axis=0))
    empty = np.where(np.arange(64) == 3, np.nan, X)
    assert_array_equal(DataSet(empty).unseen(), [3])


def test_variances_do_not_depend_on_how_much_is_missing():
    """Covariances and variances of the observed cells estimate those of all of them."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 1)) * np.linspace(1, 2, 30)
    X += rng.standard_normal(X.shape) * 0.3
    full = DataSet(X).variances(lambda values: None)
    gappy = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    part = DataSet(gappy).variances(lambda values: None)
    assert_allclose(part, full, rtol=0.1)
