"""Real values with a covariance matrix given the hidden units.

The marginal distribution of the features is a mixture of Gaussians that share it, so that
everything, with and without gaps, can be compared with scipy's densities.
"""

import pickle
import warnings

import numpy as np
import pytest
from conftest import states
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf
from sklearn.datasets import load_diabetes, load_wine
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skrbm import (
    GaussianRBMEstimator,
    MixedRBMEstimator,
    ParallelRBM,
    RBMImputer,
    _gaps,
)
from skrbm._attributes import attributes_of, model_of
from skrbm._data import DataSet
from skrbm._model import RBM
from skrbm._units.correlated import CorrelatedUnits
from skrbm._units.covariance import SHRINKAGES, axes_of
from skrbm.sampling import sample_conditional

WINE = load_wine().data
LOCATION, SCALE = np.array([5.0, -20, 100, 0]), np.array([0.1, 3, 10, 1])


def make(n_components=4, **parameters):
    return GaussianRBMEstimator(n_components, **{"random_state": 0} | parameters)


def autoregressive(n=400, n_features=12, seed=0):
    rows = np.random.default_rng(seed).standard_normal((n, n_features))
    for i in range(1, n_features):
        rows[:, i] = 0.9 * rows[:, i - 1] + np.sqrt(1 - 0.9**2) * rows[:, i]
    return rows


def with_gaps(X, share=0.4, seed=1):
    """Rows of which some have no value, and some have all."""
    missing = np.random.default_rng(seed).random(X.shape) < share
    missing[0], missing[1] = True, False
    return np.where(missing, np.nan, X)


def model_by_hand(n_components=3, size=1.0, dtype=np.float64, seed=0):
    """An estimator of four features whose parameters are set by hand."""
    rng = np.random.default_rng(seed)
    axes = np.eye(4) + rng.normal(0, 0.5, (4, 4))
    bias, log_variance = 0.3 * rng.standard_normal((2, 4)).astype(dtype)
    units = CorrelatedUnits(
        bias, log_variance, LOCATION, SCALE, axes=axes, added=np.zeros(4)
    )
    weights = (size * rng.standard_normal((4, n_components))).astype(dtype)
    hidden_bias = (rng.standard_normal(n_components) - 1).astype(dtype)
    rbm = make(n_components)
    model = RBM(weights, units, hidden_bias)
    vars(rbm).update(attributes_of(model) | units.data_attributes(None))
    rbm.n_features_in_ = 4
    return rbm


class Mixture:
    """Distribution of a fitted estimator, as a mixture over all hidden states.

    Before real columns, there may be a column of bits.
    """

    def __init__(self, rbm):
        b, c = rbm.intercept_visible_, rbm.intercept_hidden_
        self.h = states(len(c))
        inputs = b + self.h @ np.asarray(rbm.components_, np.float64)
        b, n_bits = b[-len(rbm.axes_) :], len(b) - len(rbm.axes_)
        self.bits, self.means = inputs[:, :n_bits], inputs[:, n_bits:]
        self.covariance = (rbm.axes_.T * rbm.axes_variance_) @ rbm.axes_
        precision = np.linalg.inv(self.covariance)
        squares = [mean @ precision @ mean for mean in self.means]
        log_p = self.h @ c + 0.5 * (np.array(squares) - b @ precision @ b)
        log_p += np.logaddexp(0, self.bits).sum(axis=1)
        self.log_p = log_p - logsumexp(log_p)

    def given(self, row):
        """The density of observed cells, means of hidden units, and means of gaps."""
        bits, row = np.split(row, [self.bits.shape[1]])
        o, m = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
        among, across = self.covariance[np.ix_(o, o)], self.covariance[np.ix_(m, o)]
        seen = ~np.isnan(bits)
        log_odds = (2 * bits[seen] - 1) * self.bits[:, seen]
        log_p = self.log_p - np.logaddexp(0, -log_odds).sum(axis=1)
        if o.size:
            densities = [multivariate_normal(mean[o], among) for mean in self.means]
            log_p += [density.logpdf(row[o]) for density in densities]
        p = np.exp(log_p - logsumexp(log_p))
        means = [u[m] + across @ np.linalg.solve(among, row[o] - u[o]) for u in self.means]
        filled = row.copy()
        filled[m] = p @ means
        return logsumexp(log_p), p @ self.h, filled

    def given_rows(self, rows):
        return tuple(map(np.array, zip(*map(self.given, rows), strict=True)))

    def draw(self, n, rng):
        numbers = rng.choice(len(self.h), n, p=np.exp(self.log_p))
        noise = rng.multivariate_normal(np.zeros(len(self.covariance)), self.covariance, n)
        return self.means[numbers] + noise


# A given model --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_model_is_a_mixture(dtype):
    rbm = model_by_hand(dtype=dtype)
    truth = Mixture(rbm)
    X = truth.draw(50, np.random.default_rng(1))
    log_p, hidden, _ = truth.given_rows(X)
    rtol = 1e-4 if dtype == np.float32 else 1e-9
    assert_allclose(rbm.score_samples(X), log_p, rtol=rtol)
    assert_allclose(rbm.log_likelihood(X), log_p, rtol=rtol)
    assert_allclose(rbm.transform(X), hidden, rtol=100 * rtol)
    h = rbm.sample_hidden(X[:3], random_state=0)
    expected = rbm.intercept_visible_ + h @ rbm.components_
    assert_allclose(rbm.inverse_transform(h), expected, rtol=rtol)
    if dtype == np.float64:
        estimate = rbm.log_partition(method="ais", betas=1000, random_state=0)
        assert_allclose(estimate.value, rbm.log_partition().value, atol=0.2)


def test_draws_have_the_moments_of_the_mixture():
    rbm = model_by_hand(size=0.5)
    expected = Mixture(rbm).draw(100_000, np.random.default_rng(1))
    expected = (expected - LOCATION) / SCALE
    for betas in None, 3:
        drawn = rbm.sample(20_000, n_gibbs_steps=50, betas=betas, random_state=0)
        drawn = (drawn - LOCATION) / SCALE
        assert_allclose(drawn.mean(axis=0), expected.mean(axis=0), atol=0.05)
        assert_allclose(np.cov(drawn.T), np.cov(expected.T), atol=0.15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_with_gaps(dtype):
    rbm = model_by_hand(dtype=dtype)
    truth = Mixture(rbm)
    X = with_gaps(truth.draw(40, np.random.default_rng(1)))
    log_p, hidden, filled = truth.given_rows(X)
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-8}
    assert_allclose(rbm.score_samples(X)[1:], log_p[1:], **tolerance)
    assert_allclose(rbm.score_samples(X)[0], 0, atol=1e-4)
    assert_allclose(rbm.transform(X), hidden, **tolerance)
    means = sample_conditional(
        rbm, X, output="probabilities", n_gibbs_steps=1000, random_state=0
    )
    assert_allclose(means / SCALE, filled / SCALE, atol=0.2)


def test_rows_with_gaps_by_chains(monkeypatch):
    """As for more hidden units than can be enumerated."""
    rbm = model_by_hand(size=0.6)
    truth = Mixture(rbm)
    X = with_gaps(truth.draw(60, np.random.default_rng(1)))
    log_p, hidden, _ = truth.given_rows(X)
    monkeypatch.setattr(_gaps, "LARGEST_EXACT", 0)
    monkeypatch.setattr(_gaps, "LARGEST_EXACT_MEANS", 0)
    assert_allclose(rbm.transform(X), hidden, atol=0.1)
    error = rbm.score_samples(X) - log_p
    assert abs(error.mean()) < 0.05
    assert error.std() < 0.2


def test_without_weights_it_is_a_gaussian():
    rbm = model_by_hand(size=0)
    truth = Mixture(rbm)
    X = with_gaps(truth.draw(30, np.random.default_rng(1)))
    gaussian = multivariate_normal(rbm.intercept_visible_, truth.covariance)
    assert_allclose(rbm.score_samples(X[1:2]), gaussian.logpdf(X[1]))
    log_p, _, filled = truth.given_rows(X)
    assert_allclose(rbm.score_samples(X), log_p, rtol=1e-6, atol=1e-6)
    means = sample_conditional(rbm, X, output="probabilities", random_state=0)
    assert_allclose(means, filled, rtol=1e-6, atol=1e-6)


def test_draws_given_other_cells():
    """They have the conditional mean and covariance, with a single step."""
    rbm = model_by_hand(size=0)
    truth = Mixture(rbm)
    row = np.array([5.1, np.nan, 90, np.nan])
    rows = np.tile(row, (20_000, 1))
    drawn = sample_conditional(rbm, rows, n_gibbs_steps=1, random_state=0)[:, [1, 3]]
    covariance = truth.covariance
    among, across = covariance[np.ix_([0, 2], [0, 2])], covariance[np.ix_([1, 3], [0, 2])]
    expected = covariance[np.ix_([1, 3], [1, 3])]
    expected = expected - across @ np.linalg.solve(among, across.T)
    units = SCALE[[1, 3]]
    assert_allclose(
        drawn.mean(axis=0) / units, truth.given(row)[2][[1, 3]] / units, atol=0.03
    )
    scaled = np.cov(drawn.T) / np.outer(units, units)
    assert_allclose(scaled, expected / np.outer(units, units), atol=0.05)


def test_a_model_is_its_attributes():
    rbm = model_by_hand()
    X = Mixture(rbm).draw(10, np.random.default_rng(1))
    scores = rbm.score_samples(X)
    again = attributes_of(model_of(rbm))
    for name, array in again.items():
        assert_allclose(array, getattr(rbm, name), rtol=1e-9)
    for name in "visible_mean_", "visible_variance_":  # which only standardize rows
        delattr(rbm, name)
        assert_allclose(rbm.score_samples(X), scores, rtol=1e-6)
    rbm.axes_ = rbm.axes_[:2]
    with pytest.raises(ValueError, match=r"axes_ must have the shape \(4, 4\), but has"):
        rbm.score_samples(X)
    rbm.axes_ = np.ones((4, 4))
    with pytest.raises(ValueError, match=r"axes_ .* singular"):
        rbm.score_samples(X)
    rbm = model_by_hand()
    rbm.axes_variance_ = -rbm.axes_variance_
    with pytest.raises(ValueError, match="axes_variance_ must have one value greater than"):
        rbm.score_samples(X)
    del rbm.axes_variance_
    with pytest.raises(NotFittedError, match="has no axes_variance_"):
        rbm.score_samples(X)


def test_encoded_rows():
    """Whole rows are whitened, and those with gaps have standardized cells."""
    units = model_of(model_by_hand()).visible
    X = with_gaps(Mixture(model_by_hand()).draw(6, np.random.default_rng(1)))
    v = DataSet(X).encode(units.encoder).copy_rows(np.float64)
    whole = ~np.isnan(X).any(axis=1)
    standard = (X - LOCATION) / SCALE
    assert_allclose(v[whole] @ units.axes, standard[whole])
    assert_array_equal(v[~whole], standard[~whole])
    assert_allclose(units.decode(v[whole]), X[whole])
    assert_allclose(units.cells(v[whole]), standard[whole])


# Before the first step ------------------------------------------------------------------


def test_shrinkage_is_that_of_the_largest_likelihood_of_other_rows():
    """Little is shrunk if there are many rows, and much if there are few."""
    few, many = autoregressive(15), autoregressive(5000)
    nothing = np.zeros(12, dtype=bool)
    others = autoregressive(5000, seed=1)

    def covariance(rows):
        axes = axes_of(rows, np.full(len(rows), 1 / len(rows)), nothing)
        return axes.T @ axes

    assert_allclose(covariance(many), many.T @ many / 5000, atol=0.01)
    scores = [
        multivariate_normal(cov=(1 - w) * few.T @ few / 15 + w * np.eye(12)).logpdf(others)
        for w in SHRINKAGES
    ]
    found = multivariate_normal(cov=covariance(few)).logpdf(others).mean()
    assert found > np.mean(scores, axis=1).max() - 1
    noise = np.random.default_rng(0).standard_normal((30, 40))
    axes = axes_of(noise, np.full(30, 1 / 30), np.zeros(40, dtype=bool))
    assert np.linalg.eigvalsh(axes.T @ axes).min() > 0.3


def test_rows_count_by_their_weights():
    X = autoregressive(60, 4)
    weights = np.random.default_rng(0).integers(0, 3, 60)
    a = make().fit(X, sample_weight=weights)
    b = make().fit(X, sample_weight=10 * weights)
    assert_allclose(a.axes_, b.axes_)
    c = make().fit(X[weights > 0], sample_weight=weights[weights > 0])
    assert_allclose(a.axes_, c.axes_)
    assert not np.allclose(a.axes_, make().fit(X).axes_)


def test_covariances_of_rows_with_gaps():
    X = autoregressive(1000, 5)
    a, b = (
        CorrelatedUnits.untrained(DataSet(rows), np.float64) for rows in (X, with_gaps(X))
    )
    whole, gappy = (
        (units.axes.T @ units.axes) * np.outer(units.scale, units.scale) for units in (a, b)
    )
    assert_allclose(gappy, whole, atol=0.15)


def test_training_keeps_what_shrinkage_adds():
    """The variance of encoded rows and what is added to it are in balance at 1."""
    X = autoregressive(10)
    units = CorrelatedUnits.untrained(DataSet(X), np.float64)
    v = DataSet(X).encode(units.encoder).copy_rows(np.float64)
    assert units.added.max() > 0.9
    total = np.square(v).mean(axis=0) + units.added
    assert_allclose(total[units.added > 0], 1)
    negative = np.random.default_rng(0).standard_normal((7, 12))
    shares = np.append(np.full(10, 1 / 10), np.full(7, -1 / 7))
    of_v, of_square = units.differences(np.concatenate([v, negative]), shares)
    assert_allclose(of_v, v.mean(axis=0) - negative.mean(axis=0))
    assert_allclose(of_square, total - np.square(negative).mean(axis=0))


# Training -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("X", [load_diabetes().data, autoregressive(), WINE])
def test_models_are_better_than_a_gaussian(X):
    order = np.random.default_rng(0).permutation(len(X))
    rows, others = np.split(X[order], [int(0.7 * len(X))])
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    covariance = ledoit_wolf((rows - mean) / scale)[0]
    full = multivariate_normal(cov=covariance).logpdf((others - mean) / scale).mean()
    full -= np.log(scale).sum()
    scores = [make(16, covariance_type=t).fit(rows).score(others) for t in ("full", "diag")]
    assert scores[0] > max(full, scores[1]) - 0.2


@pytest.mark.slow
def test_training_with_gaps_learns_the_same():
    X, others = autoregressive(1000, 5), autoregressive(1000, 5, seed=1)
    settings = {"n_iter": 40, "learning_rate": 0.1, "weight_decay": 0}
    whole, gappy = (make(**settings).fit(rows) for rows in (X, with_gaps(X, 0.3)))
    assert_allclose(gappy.score(others), whole.score(others), atol=0.1)
    rows = with_gaps(others)
    filled = RBMImputer(make(**settings), random_state=0).fit(X).transform(rows)
    truth = multivariate_normal(cov=np.cov(X.T))
    errors = (filled - others)[np.isnan(rows)]
    assert errors.std() < 0.6  # that of means is 1
    assert truth.logpdf(others).mean() < whole.score(others) + 0.1


@pytest.mark.parametrize("gaps", [False, True])
def test_streams_shards_and_pickles(gaps):
    X = autoregressive(200, 4)
    rows = with_gaps(X) if gaps else X
    stream = make().partial_fit(rows[:100]).partial_fit(rows[100:])
    assert_array_equal(stream.axes_, make().partial_fit(rows[:100]).axes_)
    copied = pickle.loads(pickle.dumps(stream))
    for rbm in stream, copied:
        rbm.partial_fit(rows)
    assert_array_equal(stream.components_, copied.components_)
    parallel = ParallelRBM(make(n_iter=20), n_shards=2).fit(rows)
    single = make(n_iter=20).fit(rows)
    assert_allclose(parallel.score(X), single.score(X), atol=0.3)
    again = make(n_iter=2, warm_start=True).fit(rows).fit(rows)
    assert np.isfinite(again.score(rows))
    assert len(make(early_stopping=True, n_iter=5).fit(rows).validation_scores_) == 5


def test_few_rows_and_features_that_depend_on_others():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 3))
    constant = np.column_stack([X, np.full(30, 7.0)])
    collinear = np.column_stack([X, X @ [1, 2, -1]])
    for rows in X[:1], X[:2], rng.standard_normal((5, 9)), constant, collinear:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rbm = make(n_iter=20).fit(rows)
        assert np.isfinite(rbm.score_samples(rows)).all()
        assert np.isfinite(rbm.sample(10)).all()
    assert_allclose(rbm.sample(9) @ [1, 2, -1, -1], 0, atol=0.1)
    with pytest.warns(ConvergenceWarning, match="combination of features 0, 1, .* bound"):
        make(n_iter=20).fit(collinear)


def test_models_are_continued_by_their_type_only():
    rbm = make(covariance_type="diag", warm_start=True, n_iter=2).fit(WINE)
    assert not hasattr(rbm, "axes_")
    rbm.covariance_type = "full"
    for method in rbm.fit, rbm.partial_fit:
        with pytest.raises(
            ValueError, match=r"is 'full', but the model to continue .*'diag'"
        ):
            method(WINE)
    rbm.set_params(warm_start=False).fit(WINE)
    assert not hasattr(rbm, "noise_variance_")
    by_hand = make(warm_start=True)
    for name in "components_", "intercept_visible_", "intercept_hidden_":
        setattr(by_hand, name, getattr(rbm, name))
    by_hand.noise_variance_ = np.ones(13)
    with pytest.raises(ValueError, match="Set this or"):
        by_hand.fit(WINE)
    with pytest.raises(ValueError, match="'covariance_type' parameter"):
        make(covariance_type="tied").fit(WINE)


def test_gaps_begin_given_the_other_cells():
    """Otherwise, they may be far from all rows along axes of little variance."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 2))
    X = np.column_stack([X, X.sum(axis=1) + 0.01 * rng.standard_normal(1000)])
    units = CorrelatedUnits.untrained(DataSet(X), np.float64)
    rows = np.where(np.arange(3) == 1, np.nan, X)
    data = DataSet(rows).encode(units.encoder)
    gaps = _gaps.Gaps.at(_gaps.places_of_gaps(data), np.zeros(3))
    cells = units.encoder.compact(rows, np.float64)
    drawn = gaps.read(gaps.places(slice(0, 1000)), cells, units.encoder, units, rng)
    drawn = drawn * units.scale[1] + units.location[1]
    assert_allclose(np.std(drawn - X[:, 1]), np.sqrt(2) * 0.01, rtol=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gappy = make(64, n_iter=10).fit(np.where(rng.random(X.shape) < 0.3, np.nan, X))
    assert gappy.score(X) > make(64, covariance_type="diag", n_iter=10).fit(X).score(X)


# Tables ---------------------------------------------------------------------------------


def table(n=300):
    rng = np.random.default_rng(0)
    bit = rng.random(n) < 0.4
    X = autoregressive(n, 3) + np.outer(bit, [1.0, 1.0, 0])
    return np.column_stack([bit, 100 + X * [1, 5, 0.1]])


def test_real_columns_of_a_table():
    X = table()
    rbm = MixedRBMEstimator(3, n_iter=10, random_state=0).fit(X)
    truth = Mixture(rbm)
    rows = with_gaps(X[:60])
    log_p, hidden, filled = truth.given_rows(rows)
    assert_allclose(rbm.score_samples(rows)[1:], log_p[1:], rtol=1e-6)
    assert_allclose(rbm.transform(rows), hidden, rtol=1e-5)
    assert_allclose(rbm.score_samples(X[:5]), truth.given_rows(X[:5])[0], rtol=1e-6)
    means = sample_conditional(rbm, rows, output="probabilities", random_state=0)[:, 1:]
    assert_allclose(means / [1, 5, 0.1], filled / [1, 5, 0.1], atol=0.3)
    drawn = rbm.sample(5000, random_state=0)[:, 1:]
    assert_allclose(np.corrcoef(drawn.T), np.corrcoef(X[:, 1:].T), atol=0.1)


def test_training_on_tables_with_gaps():
    X, gappy = table(), with_gaps(table(), 0.2)
    whole, diag = (
        MixedRBMEstimator(4, covariance_type=name, n_iter=30, random_state=0).fit(X)
        for name in ("full", "diag")
    )
    assert whole.score(X) > diag.score(X) + 0.5
    assert not hasattr(diag, "axes_")
    trained = MixedRBMEstimator(4, n_iter=30, random_state=0).fit(gappy)
    assert abs(trained.score(X) - whole.score(X)) < 0.3
    copied = pickle.loads(pickle.dumps(trained))
    assert_array_equal(
        trained.partial_fit(gappy).components_, copied.partial_fit(gappy).components_
    )
    parallel = ParallelRBM(MixedRBMEstimator(4, n_iter=30, random_state=0), n_shards=2)
    assert abs(parallel.fit(gappy).score(X) - whole.score(X)) < 0.4
    diag.covariance_type = "full"
    with pytest.raises(ValueError, match="but the model to continue has"):
        diag.partial_fit(X)


def test_a_single_real_column_has_no_axes():
    X = table()[:, :2]
    rbm = MixedRBMEstimator(2, n_iter=1, warm_start=True, random_state=0).fit(X)
    assert rbm.noise_variance_.shape == (1,)
    rbm.fit(X)
