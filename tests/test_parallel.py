"""One model trained by several workers of joblib."""

import pickle

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from conftest import (
    Enumerated,
    Watch,
    bars_and_stripes,
    enumerated,
    states,
    tiny_rbm,
    with_callbacks,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from skrbm import (
    BernoulliRBMEstimator,
    GaussianRBMEstimator,
    ParallelRBM,
    _binary_rows,
    _rounds,
)
from skrbm._data import DataSet
from skrbm._executors import JoblibExecutor
from skrbm._fitting import Fit
from skrbm._parallel import load
from skrbm._shards import Reading, Sample, survey_blocks
from skrbm.callbacks import Checkpoint, resume

X = np.tile(bars_and_stripes(), (20, 1)).astype(np.float32)  # 320 rows of 9 features


def make(n_shards=2, n_local_steps=2, n_jobs=None, **parameters):
    parameters = {"n_components": 5, "n_iter": 3, "random_state": 0} | parameters
    rbm = BernoulliRBMEstimator(**parameters)
    return ParallelRBM(rbm, n_shards=n_shards, n_local_steps=n_local_steps, n_jobs=n_jobs)


def assert_same(one, other):
    one, other = one.estimator_, other.estimator_
    names = ["components_", "intercept_visible_", "intercept_hidden_", "h_samples_"]
    if isinstance(one, GaussianRBMEstimator):
        names += ["axes_", "axes_variance_", "visible_mean_", "visible_variance_"]
    for name in names:
        assert_array_equal(getattr(one, name), getattr(other, name))


# Quality ---------------------------------------------------------------------------------


def draws_of_a_teacher(n):
    teacher = Enumerated(*tiny_rbm(8, 3, scale=1.5).arrays)
    rng = np.random.default_rng(0)
    return teacher, teacher.v[rng.choice(len(teacher.v), size=n, p=teacher.p_v)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Each of 4 shards takes only 2000 successive steps")
@pytest.mark.parametrize("n_shards", [1, 4])
def test_a_teacher_is_learned_as_by_a_single_process(n_shards):
    teacher, rows = draws_of_a_teacher(4000)
    options = {"n_components": 3, "n_iter": 40}
    parallel = make(n_shards, 10, **options).fit(rows.astype(np.float32))
    plain = clone(parallel.estimator).fit(rows.astype(np.float32))

    def divergence(rbm):
        log_p = enumerated(rbm).log_likelihood(states(8))
        return teacher.p_v @ (np.log(teacher.p_v) - log_p)

    independent = rows.mean(axis=0)
    terms = teacher.v * independent + (1 - teacher.v) * (1 - independent)
    trivial = teacher.p_v @ (np.log(teacher.p_v) - np.log(terms).sum(axis=1))
    assert divergence(parallel.estimator_) < divergence(plain) + 0.05 * trivial
    assert divergence(parallel.estimator_) < 0.2 * trivial


def test_values_for_auto_come_from_all_rows():
    """Also where the rows are sorted, so that no part of them resembles the whole."""
    ordered = X[np.lexsort(X.T)]
    parallel = make(n_shards=4).fit(ordered).estimator_
    plain = clone(parallel).fit(ordered)
    assert_allclose(parallel.learning_rate_, plain.learning_rate_, rtol=0.01)
    assert_allclose(parallel.weight_decay_, plain.weight_decay_, rtol=0.01)
    assert_allclose(parallel.visible_mean_, plain.visible_mean_, rtol=1e-6)
    few = clone(parallel).set_params(n_iter="auto")
    assert Fit(few, X).n_epochs(320, 9) == 313  # of 16 updates, 5000 in total


def test_few_steps_in_a_row_are_reported():
    """There are as many in all as one process would take."""
    parallel = make(n_shards=4, n_iter=80, batch_size=4, n_components=2)
    with pytest.warns(
        ConvergenceWarning, match=r"Each of 4 shards .* 1600 .* n_iter=250 or"
    ):
        parallel.fit(X)
    parallel.set_params(estimator__n_iter=40).fit(X)  # few in one process, too
    parallel.set_params(n_shards=1, estimator__n_iter=80).fit(X)


# The same bits ---------------------------------------------------------------------------


@pytest.mark.slow
def test_same_bits_by_any_workers_and_in_any_form():
    first = make(3).fit(X)
    assert_same(first, make(3, n_jobs=2).fit(X))
    with joblib.parallel_config("threading", n_jobs=2):
        assert_same(first, make(3).fit(X))
    for dtype in (np.uint8, bool):
        assert_same(first, make(3).fit(X.astype(dtype)))
    tolerance = 0 if _binary_rows.core else 1e-4  # sums in another order
    for form in (sp.csr_array, sp.csr_matrix):
        sparse = make(3).fit(form(X)).estimator_
        for name in ("components_", "intercept_visible_", "intercept_hidden_"):
            expected = getattr(first.estimator_, name)
            assert_allclose(getattr(sparse, name), expected, rtol=0, atol=tolerance)


def test_only_the_ratios_of_weights_matter_and_rows_of_weight_0_do_not():
    weights = np.random.default_rng(0).integers(0, 3, len(X))
    other = X.copy()
    other[weights == 0] = 1
    first = make().fit(X, sample_weight=weights)
    assert_same(first, make().fit(other, sample_weight=4.0 * weights))
    assert_allclose(
        first.estimator_.visible_mean_, np.average(X, axis=0, weights=weights), atol=0.01
    )


def test_workers_set_the_default_number_of_shards():
    assert make(None).fit(X).n_shards_ == 1
    with joblib.parallel_config("threading", n_jobs=3):
        assert make(None).fit(X).n_shards_ == 3


def test_more_shards_than_rows():
    parallel = make(7).fit(X[:5])
    assert parallel.n_shards_ == 7
    assert np.isfinite(parallel.score(X))


# The training ----------------------------------------------------------------------------


def test_each_round_is_recorded(capsys):
    parallel = make(n_local_steps=4, verbose=1).fit(X)
    rbm = parallel.estimator_
    assert parallel.n_local_steps_ == 4
    assert rbm.n_iter_ == 3
    assert rbm.history_["epoch"] == [0.5, 1, 1.5, 2, 2.5, 3]
    output = capsys.readouterr().out
    assert "[BernoulliRBMEstimator] Iteration 0.5, pseudo-log-likelihood = -" in output
    assert len(output.splitlines()) == 6


def test_early_stopping_scores_held_out_rows_after_each_epoch():
    parallel = make(early_stopping=True, n_iter=60, n_iter_no_change=2, tol=0.1).fit(X)
    rbm = parallel.estimator_
    assert len(rbm.validation_scores_) == rbm.n_iter_ < 60
    assert rbm.history_["epoch"] == list(range(1, rbm.n_iter_ + 1))
    assert max(rbm.validation_scores_[:-1]) > rbm.validation_scores_[0]


def test_early_stopping_with_as_many_shards_as_rows():
    parallel = make(40, early_stopping=True, n_iter=1).fit(X[:40])
    assert parallel.estimator_._learning.counts.n_rows_seen == 36
    weights = np.arange(40) == 5
    with pytest.raises(ValueError, match="no rows of 40 blocks are held out"):
        make(40, early_stopping=True).fit(X[:40], sample_weight=weights)


@pytest.mark.parametrize("options", [{}, {"early_stopping": True, "momentum": 0.5}])
def test_checkpoints_are_resumed_with_the_same_bits(tmp_path, options):
    path = tmp_path / "rbm.ckpt"
    whole = make(**options).fit(X)
    n_rounds = 3 * round(whole.estimator_._learning.n_rounds / 3)
    for last in (1, n_rounds - 2):
        stopped = with_callbacks(
            make(**options), Checkpoint(path), Watch(lambda n, last=last: n == last)
        )
        stopped.fit(X)
        again = make(n_shards=5).resume(path, X)
        assert_same(whole, again)
        assert again.n_shards_ == 2
        assert again.estimator_.history_["epoch"] == whole.estimator_.history_["epoch"]
    with pytest.raises(ValueError, match="used other rows"):
        make().resume(path, X[::-1])
    with pytest.raises(ValueError, match="method resume of ParallelRBM"):
        resume(path, X)
    with_callbacks(make(), Checkpoint(path)).estimator.fit(X)
    with pytest.raises(ValueError, match=r"skrbm\.callbacks\.resume"):
        make().resume(path, X)


def test_an_interrupt_keeps_the_finished_rounds():
    def interrupt(n_done):
        if n_done == 4:
            raise KeyboardInterrupt

    parallel = with_callbacks(make(), Watch(interrupt))
    with pytest.warns(UserWarning, match=r"after 1 of 3 epochs") as record:
        parallel.fit(X)
    assert len(record) == 1
    assert parallel.estimator_.history_["epoch"] == [0.25, 0.5, 0.75, 1]


def test_a_failed_fit_changes_nothing():
    parallel = make().fit(X)
    before = vars(parallel).copy()
    parallel.n_local_steps = 7
    for wrong in (np.full((4, 9), np.nan), X[:, :0], [["a"]]):
        with pytest.raises(ValueError, match=r"missing|minimum of 1|convert|features"):
            parallel.partial_fit(wrong)
    parallel.n_local_steps = 2
    assert vars(parallel) == before
    with pytest.raises(ValueError, match="n_shards"):
        make(0).fit(X)
    with pytest.raises(ValueError, match="estimator"):
        ParallelRBM(None).fit(X)
    with pytest.raises(ValueError, match="hold out fewer"):
        make(early_stopping=True, validation_fraction=0.99).fit(X[:3])


def test_divergence_keeps_the_last_sound_round():
    rbm = make(learning_rate=1e6)
    with pytest.warns(ConvergenceWarning, match="diverged in epoch 1"):
        rbm.fit(X, sample_weight=np.arange(len(X)))
    assert np.isfinite(rbm.score(X))
    with pytest.warns(ConvergenceWarning, match="diverged"):
        make(learning_rate=1e6).partial_fit(X)


def test_streams():
    parallel = make().partial_fit(X).partial_fit(X)
    assert parallel.estimator_._learning.n_rounds == 8
    assert_allclose(parallel.estimator_._learning.counts.n_rows_seen, 640)
    assert_allclose(parallel.estimator_.visible_mean_, X.mean(axis=0), atol=0.01)
    assert parallel.score(X) > make().partial_fit(X).score(X)
    assert not hasattr(parallel.estimator_, "history_")
    # One process can go on, and several again.
    parallel.estimator_.partial_fit(X)
    before = parallel.estimator_.components_
    parallel.partial_fit(X)
    assert parallel.estimator_._learning.n_rounds == 4
    assert (parallel.estimator_.components_ != before).any()


@pytest.mark.parametrize("n_shards", [2, 3])
def test_warm_starts_continue_the_model(n_shards):
    parallel = make(n_iter=30, warm_start=True).fit(X)
    first, before = parallel.score(X), parallel.estimator_
    parallel.set_params(n_shards=n_shards, estimator__n_iter=1).fit(X)
    assert parallel.estimator_ is not before
    assert parallel.score(X) > first - 0.5
    assert parallel.estimator_.n_iter_ == 1


def test_warm_starts_use_the_present_callbacks_and_configuration():
    parallel = make(warm_start=True).fit(X)
    parallel.estimator.set_output(transform="pandas")
    numbers = []
    with_callbacks(parallel, Watch(numbers.append)).fit(X)
    assert numbers == list(range(1, 13))
    assert type(parallel.estimator_.transform(X)).__name__ == "DataFrame"
    with config_context(enable_metadata_routing=True):
        parallel.estimator.set_callbacks().set_fit_request(sample_weight=True)
    parallel.partial_fit(X).fit(X)
    assert len(numbers) == 12
    assert parallel.estimator_._metadata_request.fit.requests == {"sample_weight": True}


def test_streams_after_fit_keep_the_steps_and_the_chains_of_shards():
    def numbers(parallel):
        rbm = parallel.estimator_
        n_chains = len(rbm._learning.solvers[0].chains.bits)
        return rbm.n_gibbs_steps_, n_chains, len(rbm.h_samples_)

    parallel = make(2, n_iter=1, n_chains=10).fit(X)
    assert numbers(parallel) == (1, 10, 10)
    parallel.set_params(estimator__n_gibbs_steps=3)
    assert numbers(parallel.partial_fit(X)) == (3, 10, 10)
    parallel.set_params(estimator__n_gibbs_steps="auto", estimator__warm_start=True)
    assert numbers(parallel.partial_fit(X)) == (3, 10, 10)
    assert numbers(parallel.fit(X)) == (1, 10, 10)


@pytest.mark.parametrize(
    ("solver", "parameter"), [("pcd", "n_chains"), ("pt", "n_chains"), ("cd", "batch_size")]
)
def test_the_number_of_chains_may_change_between_calls(solver, parameter):
    for n_shards in (1, 2):
        parallel = make(n_shards, n_iter=1, warm_start=True, solver=solver)
        for n_chains in (4, 10, 30):
            parallel.estimator.set_params(**{parameter: n_chains})
            assert parallel.fit(X).estimator_.h_samples_.shape == (n_chains, 5)
        parallel.estimator.set_params(**{parameter: 40})
        assert parallel.partial_fit(X).estimator_.h_samples_.shape == (40, 5)


@pytest.mark.slow
def test_the_meta_estimator_in_searches_and_pickles():
    parallel = make().fit(X)
    loaded = pickle.loads(pickle.dumps(parallel))
    rbm = pickle.loads(pickle.dumps(parallel.estimator_))
    for other in (loaded, rbm):
        assert_array_equal(other.transform(X), parallel.transform(X))
    for name in ("transform", "free_energy", "score_samples"):
        expected = getattr(parallel.estimator_, name)(X)
        assert_array_equal(getattr(parallel, name)(X), expected)
    grid = {"estimator__learning_rate": [1e-6, 0.2], "n_shards": [2]}
    search = GridSearchCV(make(n_iter=20), grid, cv=2).fit(X)
    assert search.best_params_["estimator__learning_rate"] == 0.2


def test_rules():
    """The default of n_local_steps, the chains of shards, and momentum."""
    parallel = make(2, "auto", n_chains=10, n_iter=1).fit(X)
    assert parallel.n_local_steps_ == 8  # all of an epoch
    assert len(parallel.estimator_._learning.solvers[0].chains.bits) == 10
    assert parallel.estimator_.h_samples_.shape == (10, 5)
    assert [_rounds.suitable_local_steps(n) for n in (50, 3000, 10**5)] == [25, 30, 100]
    for rate in (1.0, 0.5, 1e-9):
        momenta = [_rounds.outer_momentum(n, rate, 0.0) for n in range(1, 100)]
        assert momenta == sorted(momenta)
        assert momenta[:2] == [0, 0.5]  # as fast as one process
        assert rate / (1 - momenta[-1]) <= _rounds.LARGEST_SPEED + 1e-9
        assert _rounds.outer_momentum(99, rate, 0.9) == 0.5


def test_lists_of_blocks_are_refused():
    parallel = make(n_iter=1).fit(X.tolist())  # a list of rows
    for blocks, kind in [
        ([X[:9], X[9:]], "ndarray"),
        ((sp.csr_array(X), sp.csr_array(X)), "csr_array"),
    ]:
        for method in (parallel.fit, parallel.partial_fit, parallel.transform):
            with pytest.raises(ValueError, match=f"2 in number, of type {kind}. Join them"):
                method(blocks)


# Real values -----------------------------------------------------------------------------


SCALES = np.array([1e-3, 1, 1e3])


def clusters(n_rows, seed=0):
    """Rows of three clusters, whose features have very different scales."""
    rng = np.random.default_rng(seed)
    centers = np.array([[0, 0, 0], [4, 0, 3], [0, 5, 3]])
    rows = centers[rng.integers(3, size=n_rows)] + rng.standard_normal((n_rows, 3))
    return rows * SCALES + [0, -7, 1e5]


REAL = clusters(300)


def make_real(n_shards=2, n_jobs=None, **parameters):
    parameters = {"n_components": 4, "n_iter": 3, "random_state": 0} | parameters
    rbm = GaussianRBMEstimator(**parameters)
    return ParallelRBM(rbm, n_shards=n_shards, n_local_steps=2, n_jobs=n_jobs)


@pytest.mark.slow
def test_a_density_is_learned_as_by_a_single_process():
    """By one shard, which has all rows, but for the noise of seeds; by four, nearly so."""
    train, test = clusters(1000), clusters(2000, seed=1)
    options = {
        "n_components": 5,
        "n_iter": 30,
        "weight_decay": 1e-3,
        "covariance_type": "diag",
    }
    plain, shard, shards = (
        [make(seed).fit(train).score(test) for seed in range(3)]
        for make in (
            lambda seed: GaussianRBMEstimator(**options, random_state=seed),
            lambda seed: make_real(1, **options, random_state=seed),
            lambda seed: make_real(4, **options, random_state=seed),
        )
    )
    train, test = train / SCALES, test / SCALES  # the product of the scales is 1
    single = multivariate_normal(train.mean(axis=0), np.cov(train.T)).logpdf(test).mean()
    gain = np.mean(plain) - single
    assert gain > 0.3
    assert abs(np.mean(shard) - np.mean(plain)) < 0.05 * gain
    assert np.mean(shards) > np.mean(plain) - 0.15 * gain


@pytest.mark.parametrize("held_out", [0.0, 0.3])
@pytest.mark.parametrize("scale", [1.0, 1e300])
def test_moments_of_many_blocks_are_those_of_all_rows(held_out, scale):
    """With weights, blocks of different sizes, and some without any row of weight > 0."""
    rows = clusters(500) + np.array([0, 0, 1e7])
    weights = np.random.default_rng(1).exponential(size=500) * scale
    weights[[*range(7), *range(60, 90)]] = 0
    stops = [0, 3, 3, 7, 60, 90, 91, 400, 500]
    starts = [0, *stops[:-1]]
    pieces = [slice(*ends) for ends in zip(starts, stops, strict=True)]
    blocks = [(rows[piece], weights[piece]) for piece in pieces]
    reading = Reading(3.0, held_out, np.inf, 5, moments=True)
    with JoblibExecutor(blocks, load, None) as executor:
        found = survey_blocks(executor, len(blocks), reading)
    kept = [reading.split(load(block), number)[1] for number, block in enumerate(blocks)]
    X = np.concatenate([data.copy_rows(np.float64) for data in kept])
    w = np.concatenate([data.weights for data in kept])
    mean = np.average(X, axis=0, weights=w / w.max())
    variance = np.average(np.square(X - mean), axis=0, weights=w / w.max())
    moments = Sample(found).moments()
    assert moments[0].dtype == moments[1].dtype == np.float64
    assert_allclose(moments[0], mean, rtol=1e-10)
    assert_allclose(moments[1], variance, rtol=1e-10)
    assert (len(X) < 400) == bool(held_out)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_standardized_by_the_moments_of_all_blocks(dtype):
    """Those of sorted rows differ much."""
    rows = np.sort(REAL, axis=0).astype(dtype)
    weights = np.random.default_rng(1).integers(0, 3, len(rows))
    parallel = make_real(4).fit(rows, sample_weight=weights).estimator_
    plain = clone(parallel).fit(rows, sample_weight=weights)
    for name in ("visible_mean_", "visible_variance_"):
        assert_allclose(getattr(parallel, name), getattr(plain, name), rtol=1e-10)
    for name in ("learning_rate_", "weight_decay_"):
        assert_allclose(getattr(parallel, name), getattr(plain, name), rtol=0.01)
    assert parallel.components_.dtype == plain.components_.dtype == dtype
    assert_allclose(parallel._learning.visible_mean, 0, atol=1e-4)


@pytest.mark.slow
def test_the_same_bits_on_real_values_by_any_workers():
    weights = np.random.default_rng(1).integers(0, 3, len(REAL))
    for options in ({}, {"solver": "cd"}, {"early_stopping": True}):
        first = make_real(3, **options).fit(REAL, sample_weight=weights)
        again = make_real(3, n_jobs=2, **options).fit(REAL, sample_weight=4.0 * weights)
        assert_same(first, again)


def test_scales_do_not_matter_to_shards():
    """By powers of two, the same bits."""
    scale = 2.0 ** np.array([10, -3, 0])
    one, other = make_real().fit(REAL), make_real().fit(REAL * scale)
    assert_array_equal(other.estimator_.components_, one.estimator_.components_ * scale)
    assert_array_equal(other.transform(REAL * scale), one.transform(REAL))


def test_warm_starts_and_streams_of_real_values_keep_their_moments():
    for first in ("fit", "partial_fit"):
        parallel = getattr(make_real(n_iter=30, warm_start=True), first)(REAL)
        mean, variance = REAL.mean(axis=0), REAL.var(axis=0)
        before, score = parallel.estimator_, parallel.score(REAL)
        parallel.estimator.set_params(n_iter=1)
        for method in (parallel.fit, parallel.partial_fit):
            rbm = method(REAL[:150] + SCALES / 4).estimator_
            assert rbm is not before
            assert_allclose(rbm.visible_mean_, mean, rtol=1e-10)
            assert_allclose(rbm.visible_variance_, variance, rtol=1e-10)
        assert parallel.score(REAL) > score - 0.5
    parallel.estimator_.partial_fit(REAL)  # one process can go on, and several again
    assert np.isfinite(parallel.partial_fit(REAL).score(REAL))


def test_streams_of_real_values_learn():
    parallel = make_real(learning_rate=0.1).partial_fit(REAL)
    score = parallel.score(REAL)
    for _ in range(20):
        parallel.partial_fit(REAL)
    assert parallel.score(REAL) > score + 0.1


def test_early_stopping_scores_held_out_real_values():
    options = {"early_stopping": True, "n_iter": 60, "n_iter_no_change": 2, "tol": 0.05}
    rbm = make_real(3, **options).fit(REAL).estimator_
    assert len(rbm.validation_scores_) == rbm.n_iter_ < 60
    reading = Reading(0, 0.1, np.inf, int(rbm._split_seed))
    blocks = [reading.split(DataSet(REAL[i::3]), i) for i in range(3)]
    held_out, kept = (
        np.concatenate([part[which].copy_rows(np.float64) for part in blocks])
        for which in (0, 1)
    )
    assert len(held_out) == 30
    assert_allclose(rbm.score(held_out), max(rbm.validation_scores_), rtol=1e-6)
    assert_allclose(rbm.visible_mean_, kept.mean(axis=0), rtol=1e-10)


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}])
def test_checkpoints_of_real_values_are_resumed_with_the_same_bits(tmp_path, options):
    path = tmp_path / "rbm.ckpt"
    whole = make_real(**options).fit(REAL)
    stopped = with_callbacks(
        make_real(**options), Checkpoint(path), Watch(lambda n: n == 4)
    )
    stopped.fit(REAL)
    assert (stopped.estimator_.components_ != whole.estimator_.components_).any()
    again = make_real(n_shards=5).resume(path, REAL)
    assert_same(whole, again)
    assert again.estimator_.history_["epoch"] == whole.estimator_.history_["epoch"]
    with pytest.raises(ValueError, match="used other rows"):
        make_real().resume(path, REAL[::-1])


def test_warnings_of_real_values_on_shards():
    constant = np.column_stack([REAL, np.full(len(REAL), 3.0)])
    with pytest.warns(UserWarning, match="X is constant in feature 3") as record:
        parallel = make_real().fit(constant)
    assert len(record) == 1
    assert parallel.estimator_.visible_variance_[3] == 1
    with pytest.raises(ValueError, match="too large: the variance of a feature"):
        make_real().fit(REAL * 1e300)
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        make_real().fit(sp.csr_array(REAL))


def test_a_model_of_other_units_is_not_continued():
    parallel = ParallelRBM(GaussianRBMEstimator(3, n_iter=1), n_shards=2).fit(REAL)
    parallel.set_params(estimator=BernoulliRBMEstimator(3, n_iter=1, warm_start=True))
    for call in (parallel.partial_fit, parallel.fit):
        with pytest.raises(ValueError, match="estimator of other visible units"):
            call(X)


@pytest.mark.parametrize("shards", [False, True])
def test_a_divergence_leaves_an_untrained_model(shards):
    """Its rows are not counted, so that the next call begins like a first one."""
    rbm = BernoulliRBMEstimator(3, learning_rate=1e9, random_state=0)
    rbm = ParallelRBM(rbm, n_shards=2) if shards else rbm
    with pytest.warns(ConvergenceWarning, match="The untrained model is kept"):
        rbm.partial_fit(X)
    kept = rbm.estimator_ if shards else rbm
    assert kept._learning.counts.n_rows_seen == 0
    assert_array_equal(kept.intercept_visible_, np.zeros(X.shape[1]))


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_values_in_rows_of_weight_0_do_not_count(form):
    """On shards as in one process, where they are refused if their weight is not 0."""
    rows, weights = X.astype(np.uint8), np.ones(len(X))
    rows[5], weights[5] = 255, 0
    rbm = BernoulliRBMEstimator(3, n_iter=1, random_state=0)
    for model in (rbm, ParallelRBM(rbm, n_shards=2)):
        clone(model).fit(form(rows), sample_weight=weights)
        clone(model).partial_fit(form(rows), sample_weight=weights)
        with pytest.raises(ValueError, match="values from 0 to 255"):
            model.fit(form(rows), sample_weight=weights + 1)
