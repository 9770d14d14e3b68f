"""Real-valued data: formulas against mixtures of Gaussians, training, and bad input.

The marginal distribution of the features is a mixture with one Gaussian for each state of
the hidden units, so that everything can be compared with scipy's densities.
"""

import pickle
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import PLAIN, learner_on, state_at, states
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import train_test_split

from skrbm import (
    BernoulliRBMEstimator,
    GaussianRBMEstimator,
    RBMImputer,
    _annealing,
)
from skrbm._attributes import attributes_of, model_of
from skrbm._enumeration import exact_draws, exact_log_partition
from skrbm._model import RBM
from skrbm._units import gaussian
from skrbm._units.bernoulli import BernoulliUnits
from skrbm._units.correlated import CorrelatedUnits
from skrbm._units.gaussian import SMALLEST_VARIANCE, VARIANCE_RATE, GaussianUnits
from skrbm.likelihood import (
    LogLikelihoodTracker,
    log_likelihood,
    log_partition,
    mean_log_likelihood,
    pseudo_log_likelihood,
)
from skrbm.metrics import log_likelihood_scorer
from skrbm.plotting import ChainsDisplay, FiltersDisplay, SamplesDisplay, TrainingDisplay
from skrbm.sampling import ModelLadder, diagnose, draw_chains, sample_conditional

WINE = load_wine().data


def make(n_components=6, **parameters):
    settings = {"n_iter": 5, "random_state": 0} | parameters
    return GaussianRBMEstimator(n_components, **settings)


def tiny(n_features=3, n_components=4, dtype=np.float64, scale=0.7, seed=0):
    """Return a model of standardized rows."""
    rng = np.random.default_rng(seed)
    bias, log_variance = 0.5 * scale * rng.standard_normal((2, n_features))
    location, spread = 10 * rng.standard_normal(n_features), rng.uniform(0.1, 9, n_features)
    units = GaussianUnits(bias.astype(dtype), log_variance.astype(dtype), location, spread)
    weights = scale * rng.standard_normal((n_features, n_components))
    hidden_bias = rng.standard_normal(n_components) - 1
    return RBM(weights.astype(dtype), units, hidden_bias.astype(dtype))


def by_hand(model):
    """Return an estimator whose parameters are set by hand."""
    rbm = GaussianRBMEstimator(random_state=0)
    vars(rbm).update(attributes_of(model) | model.visible.data_attributes(None))
    rbm.n_features_in_ = len(model.visible)
    return rbm


class Mixture:
    """Distribution of a fitted estimator, as a mixture over all hidden states."""

    def __init__(self, rbm):
        weights, noise = np.asarray(rbm.components_, np.float64).T, rbm.noise_variance_
        b, c = rbm.intercept_visible_, rbm.intercept_hidden_
        self.h = states(len(c))
        self.means = b + self.h @ weights.T
        self.noise = noise
        # Completing the square in the energy.
        gain = (self.means**2 - b**2) / (2 * noise)
        self.log_weights = self.h @ c + gain.sum(axis=1)
        self.log_partition = (
            logsumexp(self.log_weights) + 0.5 * np.log(2 * np.pi * noise).sum()
        )
        self.p_h = np.exp(self.log_weights - logsumexp(self.log_weights))

    def log_joint(self, v):
        densities = [multivariate_normal(mean, np.diag(self.noise)) for mean in self.means]
        logs = np.transpose([density.logpdf(v) for density in densities])
        return logs + np.log(self.p_h)

    def log_density(self, v):
        return logsumexp(self.log_joint(v), axis=1)

    def mean_hidden(self, v):
        return np.exp(self.log_joint(v) - self.log_density(v)[:, None]) @ self.h

    def draw(self, n, rng):
        numbers = rng.choice(len(self.h), n, p=self.p_h)
        noise = np.sqrt(self.noise) * rng.standard_normal((n, len(self.noise)))
        return self.h[numbers], self.means[numbers] + noise


def clusters(n=1000, seed=0):
    rng = np.random.default_rng(seed)
    means = np.array([[-4.0, 0, 1], [4.0, 1, -1]])
    return means[rng.integers(2, size=n)] + rng.standard_normal((n, 3))


# Formulas -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_density_is_that_of_a_mixture(dtype):
    model = tiny(dtype=dtype)
    rbm = by_hand(model)
    truth = Mixture(rbm)
    _, v = truth.draw(50, np.random.default_rng(1))
    rtol = 1e-4 if dtype == np.float32 else 1e-9
    assert_allclose(log_likelihood(rbm, v), truth.log_density(v), rtol=rtol)
    assert_allclose(rbm.score_samples(v), truth.log_density(v), rtol=rtol)
    assert_allclose(rbm.log_partition().value, truth.log_partition, rtol=rtol)
    assert_allclose(rbm.transform(v), truth.mean_hidden(v), rtol=10 * rtol)
    expected = -truth.log_density(v) - truth.log_partition
    assert_allclose(rbm.free_energy(v), expected, rtol=10 * rtol)


def test_the_formulas_of_the_docstring():
    rbm = by_hand(tiny())
    _, v = Mixture(rbm).draw(20, np.random.default_rng(0))
    logits = rbm.intercept_hidden_ + (v / rbm.noise_variance_) @ rbm.components_.T
    assert_allclose(rbm.transform(v), 1 / (1 + np.exp(-logits)))
    h = states(4)
    expected = rbm.intercept_visible_ + h @ rbm.components_
    assert_allclose(rbm.inverse_transform(h), expected)
    assert_allclose(rbm.reconstruct(v), rbm.inverse_transform(rbm.transform(v)))


@pytest.mark.parametrize("n_components", [1, 5, 14])
def test_the_exact_partition_function(n_components):
    """More than 12 hidden units are summed in blocks."""
    model = tiny(3, n_components)
    assert_allclose(exact_log_partition(model), Mixture(by_hand(model)).log_partition)


def test_a_unit_is_normalized():
    units = tiny(1, 1).visible
    for x in (-1.0, 0.3):

        def density(v, x=x):
            return np.exp(units.minus_energy(np.array([[v]]))[0] + x * v)

        expected = np.log(units.scale[0] * quad(density, -20, 20)[0])
        assert_allclose(units.log_normalizer(np.array([[x]])), expected)


def test_a_model_is_its_attributes():
    """Whatever rows are standardized with, the distribution is the same."""
    rbm = by_hand(tiny())
    before = rbm.score_samples(WINE[:20, :3])
    again = attributes_of(model_of(rbm))
    for name, value in again.items():
        assert_allclose(value, getattr(rbm, name))
    rbm.visible_mean_, rbm.visible_variance_ = np.full(3, 7.0), np.full(3, 50.0)
    assert_allclose(rbm.score_samples(WINE[:20, :3]), before)
    del rbm.visible_mean_, rbm.visible_variance_
    assert_allclose(rbm.score_samples(WINE[:20, :3]), before)
    assert rbm.sample(3).shape == (3, 3)
    rbm.noise_variance_ = np.array([1.0, 0.0, 2.0])
    with pytest.raises(ValueError, match=r"noise_variance_ must have .* greater than 0"):
        rbm.transform(WINE[:, :3])


def test_variances_are_needed():
    """Without them, the estimator would be one of binary data."""
    rbm = by_hand(tiny())
    del rbm.noise_variance_
    with pytest.raises(NotFittedError, match=r"has no noise_variance_: .*, noise_variance"):
        rbm.transform(WINE[:, :3])


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_between_independent_features_and_a_model(beta, rng):
    model = tiny(2, 1)
    units, base = model.visible, model.visible.independent(None, np.float64)
    x = np.array([0.7, -0.4])
    rows = np.tile(x, (100_000, 1))
    at = np.full((len(rows), 1), beta)
    units.sample_between(base, rows, at, [(slice(None), rng)])
    precision = (1 - beta) + beta / units.variance
    mean = beta * (units.bias / units.variance + x) / precision
    assert_allclose(rows.mean(axis=0), mean, atol=0.02)
    assert_allclose(rows.var(axis=0), 1 / precision, rtol=0.02)
    v = np.array([[0.0, 0.0], [1.5, -2.0]])
    ratio = [
        multivariate_normal(units.bias, np.diag(units.variance)).logpdf(v),
        multivariate_normal(np.zeros(2), np.eye(2)).logpdf(v),
    ]
    got = units.log_ratio_to(base, v)
    assert_allclose(np.diff(got), np.diff(ratio[0] - ratio[1]))


def test_the_gradient():
    """A step follows the slope of the exact log-likelihood, by finite differences."""
    model = tiny(2, 3)
    v = np.random.default_rng(2).standard_normal((40, 2))
    lam = np.array([0.2, 0.5, 0.3])

    def mean_log_likelihood(weights, bias, log_variance, hidden_bias):
        units = GaussianUnits(bias, log_variance, np.zeros(2), np.ones(2))
        changed = RBM(weights, units, hidden_bias)
        return -changed.free_energy(v).mean() - exact_log_partition(changed)

    # In coordinates in which the gradient of the bias is that of b / s^2, and the centered
    # gradient is the plain one: E = ... - (b / s^2) v - v W (h - lambda).
    def in_coordinates(weights, natural, log_variance, hidden_bias):
        bias = (natural - weights @ lam) * np.exp(log_variance)
        return mean_log_likelihood(weights, bias, log_variance, hidden_bias)

    units = model.visible
    natural = units.bias / units.variance + model.weights @ lam
    point = [model.weights, natural, units.log_variance, model.hidden_bias]
    slopes = []
    for number, array in enumerate(point):
        slope = np.empty_like(array)
        for at in np.ndindex(array.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [a.copy() for a in point]
                moved[number][at] += step
                ends.append(in_coordinates(*moved))
            slope[at] = (ends[0] - ends[1]) / 2e-5
        slopes.append(slope)
    truth = Mixture(by_hand(model))
    chains, _ = truth.draw(400_000, np.random.default_rng(3))
    standardized = GaussianUnits(units.bias, units.log_variance, np.zeros(2), np.ones(2))
    start = RBM(model.weights, standardized, model.hidden_bias)
    state = state_at(start, chains)
    settings = PLAIN._replace(batch_size=40, centering=True, compiled=False)
    learner = learner_on(v, state, settings)
    state.learned.hidden_mean[...] = lam
    rate = 1e-3
    learner.offsets = np.zeros(2), lam
    learner.steps([slice(0, 40)], [rate])
    change = [(a - b) / rate for a, b in zip(state.model.arrays, start.arrays, strict=True)]
    assert_allclose(change[0], slopes[0], atol=0.02)
    assert_allclose(change[1], units.variance * (slopes[1] - slopes[0] @ lam), atol=0.02)
    assert_allclose(change[3], slopes[3], atol=0.02)


def test_the_gradient_of_the_variances():
    """It is that at a fixed bias and fixed weights of the standardized rows."""
    model = tiny(2, 3)
    v = np.random.default_rng(2).standard_normal((40, 2))
    truth = Mixture(by_hand(model))
    second = truth.p_h @ (
        ((truth.means - model.visible.location) / model.visible.scale) ** 2
    )
    second += model.visible.variance
    first = truth.p_h @ ((truth.means - model.visible.location) / model.visible.scale)
    differences = v.mean(axis=0) - first, (v**2).mean(axis=0) - second

    def mean_log_likelihood(log_variance):
        units = GaussianUnits(model.visible.bias, log_variance, np.zeros(2), np.ones(2))
        changed = RBM(model.weights, units, model.hidden_bias)
        return -changed.free_energy(v).mean() - exact_log_partition(changed)

    expected = []
    for i in range(2):
        step = 1e-5 * np.eye(2)[i]
        ends = [mean_log_likelihood(model.visible.log_variance + s) for s in (step, -step)]
        expected.append((ends[0] - ends[1]) / 2e-5)
    units = model.visible.map(np.copy)
    rate = 1e-3
    units.add_gradient(np.zeros(2), [rate * d for d in differences])
    change = (units.log_variance - model.visible.log_variance) / rate
    assert_allclose(change, VARIANCE_RATE * np.array(expected), rtol=1e-6)


def test_variances_keep_their_bounds():
    units = GaussianUnits(*np.zeros((2, 3)), np.zeros(3), np.ones(3))
    big = np.array([1e9, -1e9, 0.0])
    units.add_gradient(np.zeros(3), [np.zeros(3), big])
    assert_allclose(units.log_variance, [0.1, -0.1, 0.0])
    for _ in range(100):
        units.add_gradient(np.zeros(3), [np.zeros(3), -np.abs(big)])
    assert_allclose(units.variance[:2], SMALLEST_VARIANCE)


# Sampling -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gibbs_sampling_keeps_the_distribution(rng, dtype):
    model = tiny(2, 3, dtype)
    truth = Mixture(by_hand(model))
    h, _ = truth.draw(100_000, np.random.default_rng(0))
    h = h.astype(dtype)
    model.gibbs(h, 3, rng)
    numbers = (h @ [4, 2, 1]).astype(int)
    shares = np.bincount(numbers, minlength=8) / len(h)
    assert_allclose(shares, truth.p_h, atol=5 * np.sqrt(0.25 / len(h)))
    v = model.visible.decode(model.sample_visible(h, rng))
    means = truth.p_h @ truth.means
    variances = truth.p_h @ (truth.means - means) ** 2 + truth.noise
    assert_allclose(v.mean(axis=0), means, atol=5 * np.sqrt(variances.max() / len(h)))
    assert_allclose(v.var(axis=0), variances, rtol=0.05)


def test_exact_draws(rng):
    model = tiny(2, 3)
    truth = Mixture(by_hand(model))
    v = model.visible.decode(exact_draws(model, 100_000, rng))
    _, expected = truth.draw(100_000, np.random.default_rng(0))
    assert_allclose(v.mean(axis=0), expected.mean(axis=0), atol=0.1)
    assert_allclose(np.cov(v.T), np.cov(expected.T), rtol=0.05, atol=0.3)


@pytest.mark.parametrize("method", ["ais", "reverse_ais", "both"])
def test_annealing_agrees_with_the_exact_sum(method):
    rbm = by_hand(tiny(8, 12, scale=0.5))
    exact = log_partition(rbm)
    assert exact.method == "exact"
    estimate = log_partition(rbm, method=method, betas=500, random_state=0)
    assert abs(estimate.value - exact.value) < 0.1


@pytest.mark.slow
def test_tempered_chains():
    """Chains that start in one of two distant clusters find the other one."""
    rbm = make(2, n_iter=50).fit(clusters())
    settings = {"n_gibbs_steps": 200, "init": clusters()[:1], "random_state": 0}
    v = rbm.sample(400, betas=8, **settings)
    assert 0.3 < (v[:, 0] > 0).mean() < 0.7


def test_conditional_draws_follow_the_conditional_distribution():
    rbm = by_hand(tiny(2, 2))
    truth = Mixture(rbm)
    known = truth.means.mean(axis=0)[0]
    X = np.full((4000, 2), [known, np.nan])
    drawn = sample_conditional(rbm, X, random_state=0)
    assert_array_equal(drawn[:, 0], known)
    joint = truth.p_h * np.exp(-((known - truth.means[:, 0]) ** 2) / 2 / truth.noise[0])
    weights = joint / joint.sum()
    mean = weights @ truth.means[:, 1]
    variance = weights @ (truth.means[:, 1] - mean) ** 2 + truth.noise[1]
    assert_allclose(drawn[:, 1].mean(), mean, atol=5 * np.sqrt(variance / 4000))
    assert_allclose(drawn[:, 1].var(), variance, rtol=0.15)
    means = sample_conditional(rbm, X[:200], output="probabilities", random_state=0)
    assert_allclose(means[:, 1].mean(), mean, atol=0.05 * np.sqrt(variance))


# Training -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["pcd", "cd"])
def test_a_student_learns_the_teacher(solver):
    teacher = by_hand(tiny(3, 2, scale=1.0))
    truth = Mixture(teacher)
    _, X = truth.draw(4000, np.random.default_rng(0))
    _, test = truth.draw(4000, np.random.default_rng(1))
    student = make(4, solver=solver, n_iter=25, n_gibbs_steps=1).fit(X)
    assert student.score(test) > teacher.score(test) - 0.05


@pytest.mark.slow
def test_a_density_better_than_a_gaussian():
    X = clusters()
    rbm = make(4, n_iter="auto").fit(X)
    gaussian = multivariate_normal(X.mean(axis=0), np.cov(X.T))
    assert rbm.score(clusters(seed=1)) > gaussian.logpdf(clusters(seed=1)).mean() + 0.3
    assert rbm.log_partition_gap_ < 1


def test_scales_and_locations_do_not_matter():
    scale = np.logspace(-12, 9, WINE.shape[1])
    a = make().fit(WINE)
    b = make().fit(WINE * scale + 3 * scale)
    assert_allclose(a.transform(WINE), b.transform((WINE + 3) * scale), rtol=1e-5)
    scores = a.score_samples(WINE) - np.log(scale).sum()
    assert_allclose(b.score_samples((WINE + 3) * scale), scores, rtol=1e-5)
    assert_allclose(b.components_, a.components_ * scale, rtol=1e-4)
    assert_allclose(b.axes_ / scale, a.axes_, rtol=1e-4, atol=1e-5)
    assert_allclose(b.axes_variance_, a.axes_variance_, rtol=1e-4)


def test_learning_does_not_depend_on_the_batch_size():
    """Gradients and their bounds are those of means over rows, so repeating rows is no
    change, except that there are more chains.
    """
    settings = {"solver": "cd", "n_gibbs_steps": 1, "schedule": "constant", "n_iter": 10}
    settings |= {"shuffle": False, "weight_decay": 0, "covariance_type": "diag"}

    def learned(size, learning_rate):
        rows = np.repeat(WINE, size, axis=0)
        rbm = make(batch_size=len(rows), learning_rate=learning_rate, **settings).fit(rows)
        assert_allclose(rbm.visible_mean_, WINE.mean(axis=0))
        weights = rbm.components_ / WINE.std(axis=0)
        return np.vstack([weights, np.log(rbm.noise_variance_ / WINE.var(axis=0))])

    one, ten = learned(1, 0.1), learned(10, 0.1)
    assert_allclose(one, ten, atol=0.02)
    for other in (learned(1, 1e-9), learned(1, 0.13)):  # it would be seen
        assert np.abs(one - other).max() > 0.025


def test_rows_without_weight_are_ignored():
    weights = np.arange(len(WINE)) % 2
    a = make().fit(WINE, sample_weight=weights)
    b = make().fit(WINE[1::2])
    assert_allclose(a.visible_mean_, b.visible_mean_)
    assert_allclose(a.visible_variance_, b.visible_variance_)
    assert_allclose(a.components_, b.components_, rtol=1e-6)


def test_a_stream_is_the_same_however_it_is_cut_after_the_first_call():
    """The first call sets location and scale."""
    a, b, c = make(), make(), make()
    a.partial_fit(WINE[:80]).partial_fit(WINE[80:160])
    b.partial_fit(WINE[:80]).partial_fit(WINE[80:100]).partial_fit(WINE[100:160])
    assert_array_equal(a.components_, b.components_)
    for rbm in (a, b):
        assert_allclose(rbm.visible_mean_, WINE[:80].mean(axis=0))
        assert_allclose(rbm.visible_variance_, WINE[:80].var(axis=0))
    c.partial_fit(WINE[:60]).partial_fit(WINE[60:160])
    assert_allclose(c.visible_mean_, WINE[:60].mean(axis=0))
    assert not np.allclose(c.components_, a.components_)
    assert a.learning_rate_ == 0.2


def test_further_training():
    rbm = make(warm_start=True).fit(WINE)
    before = rbm.score(WINE)
    mean = rbm.visible_mean_
    rbm.fit(WINE + 1).fit(WINE)
    assert_array_equal(rbm.visible_mean_, mean)
    assert rbm.score(WINE) > before
    other = pickle.loads(pickle.dumps(rbm))
    assert_array_equal(
        other.partial_fit(WINE).components_, rbm.partial_fit(WINE).components_
    )


@pytest.mark.slow
def test_early_stopping_keeps_the_best_model():
    rbm = make(30, early_stopping=True, n_iter=400, weight_decay=0).fit(WINE)
    scores = rbm.validation_scores_
    assert len(scores) == rbm.n_iter_ < 400
    assert len(rbm.history_["log_likelihood"]) == rbm.n_iter_
    assert "free_energy_gap" in rbm.history_


@pytest.mark.parametrize("weights", [np.ones(len(WINE)), np.arange(len(WINE)) % 3])
def test_held_out_rows_do_not_set_the_scale(weights):
    rbm = make(early_stopping=True, warm_start=True, n_iter=1)
    rbm.fit(WINE, sample_weight=weights)
    rows = np.flatnonzero(weights)
    n_held_out = int(np.ceil(0.1 * len(rows)))
    rows, held_out = train_test_split(
        rows, test_size=n_held_out, random_state=rbm._split_seed
    )
    mean = np.average(WINE[rows], axis=0, weights=weights[rows])
    assert_allclose(rbm.visible_mean_, mean)
    variance = np.average((WINE[rows] - mean) ** 2, axis=0, weights=weights[rows])
    assert_allclose(rbm.visible_variance_, variance)
    score = rbm.score_samples(WINE[held_out])
    score = np.average(score, weights=weights[held_out])
    assert_allclose(rbm.validation_scores_[-1], score, rtol=1e-6)
    rbm.fit(WINE + 1)  # a warm start keeps them
    assert_allclose(rbm.visible_mean_, mean)


@pytest.mark.parametrize("n_components", [6, 14])
def test_the_history_has_log_likelihoods(n_components):
    """They are exact up to 10 hidden units, and estimates for more."""
    rbm = make(n_components, n_iter=30).fit(WINE[:60])
    atol = 1e-8 if n_components == 6 else 0.3
    assert_allclose(rbm.history_["log_likelihood"][-1], rbm.score(WINE[:60]), atol=atol)


@pytest.mark.slow
def test_the_score_follows_the_model():
    rbm = make(24).fit(WINE)
    first = rbm.score_samples(WINE)
    assert_array_equal(rbm.score_samples(WINE), first)
    assert_allclose(rbm.score_samples(WINE[5:9]), first[5:9])
    z = log_partition(rbm, betas=1000, random_state=1)
    assert_allclose(first.mean(), (-rbm.free_energy(WINE)).mean() - z.value, atol=0.2)
    rbm.partial_fit(WINE)
    z = log_partition(rbm, betas=1000, random_state=1)
    expected = (-rbm.free_energy(WINE)).mean() - z.value
    assert_allclose(rbm.score(WINE), expected, atol=0.2)
    assert_allclose(log_likelihood_scorer(rbm, WINE), rbm.score(WINE))


@pytest.mark.slow
@pytest.mark.parametrize("n_components", [6, 24])
def test_the_score_follows_the_scales(n_components):
    """log Z depends on the scales, though the standardized model does not."""
    rbm = make(n_components).fit(WINE)
    score, z = rbm.score(WINE), rbm.log_partition(betas=50, random_state=0)
    rbm.fit(1000 * WINE)
    expected = score - WINE.shape[1] * np.log(1000)
    assert_allclose(rbm.score(1000 * WINE), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="log_partition belongs to another model"):
        log_likelihood(rbm, 1000 * WINE, log_partition=z)
    binary = BernoulliRBMEstimator(2, n_iter=1).fit(np.eye(4))
    with pytest.raises(ValueError, match="log_partition belongs to another model"):
        log_likelihood(binary, np.eye(4), log_partition=z)


def test_progress_is_printed(capsys):
    make(n_iter=2, verbose=1).fit(WINE)
    assert (
        "[GaussianRBMEstimator] Iteration 2, log-likelihood = " in capsys.readouterr().out
    )


@pytest.mark.slow
@pytest.mark.parametrize("n_components", [4, 24])
def test_tracking(n_components):
    rbm = make(n_components).fit(WINE)
    tracker = LogLikelihoodTracker(WINE, random_state=0)
    for _ in range(2):
        look = tracker.update(rbm.partial_fit(WINE))
    assert_allclose(look.value, rbm.score(WINE), atol=0.3)


def test_callbacks(tmp_path):
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")
    from skrbm.callbacks import Checkpoint, LikelihoodMonitor, TrajectoryLadder, resume

    monitor = LikelihoodMonitor(WINE)
    rbm = make(14, early_stopping=True, weight_decay=1e-3).set_callbacks(
        monitor, Checkpoint(tmp_path / "rbm.ckpt")
    )
    rbm.fit(WINE)
    assert_allclose(monitor.history_["log_likelihood"][-1], rbm.score(WINE), atol=1e-6)
    resumed = resume(tmp_path / "rbm.ckpt", WINE)
    assert_array_equal(resumed.components_, rbm.components_)
    assert resumed.history_["log_likelihood"] == rbm.history_["log_likelihood"]
    with pytest.raises(TypeError, match="only supports binary visible units"):
        make().set_callbacks(TrajectoryLadder()).fit(WINE)


@pytest.mark.slow
def test_missing_values():
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((400, 1))
    X = factor * [1, -2, 3, 1] + 0.3 * rng.standard_normal((400, 4)) + 50
    missing = rng.random(X.shape) < 0.2
    gappy = np.where(missing, np.nan, X)
    imputer = RBMImputer(make(8, n_iter=40), random_state=0)
    filled = imputer.fit_transform(gappy)
    assert_array_equal(filled[~missing], X[~missing])
    by_mean = np.where(missing, np.nanmean(gappy, axis=0), X)
    error, of_mean = (np.abs(f - X)[missing].mean() for f in (filled, by_mean))
    assert error < 0.5 * of_mean
    assert_allclose(imputer.rbm_.reconstruct(gappy[:9]).shape, (9, 4))
    drawn = RBMImputer(make(8), strategy="draw", random_state=0).fit_transform(gappy)
    assert np.isfinite(drawn).all()
    assert_array_equal(imputer.set_params(strategy="mode").transform(gappy), filled)


@pytest.mark.parametrize("form", [np.float32, np.uint8, np.asfortranarray])
def test_forms_of_data(form):
    X = form(WINE[:, :4])
    rbm = make().fit(X)
    assert rbm.components_.dtype == (np.float64 if X.dtype == np.float64 else np.float32)
    assert np.isfinite(rbm.score_samples(X)).all()
    assert rbm.sample(5).dtype == rbm.components_.dtype
    assert rbm.gibbs(X[:3]).shape == (3, 4)


def test_displays():
    rbm = make().fit(WINE[:, :9])
    assert_array_equal(
        np.sort(FiltersDisplay.from_estimator(rbm).filters.ravel()),
        np.sort(rbm.components_.ravel()),
    )
    curves = TrainingDisplay.from_estimator(rbm).curves
    assert list(curves) == ["log-likelihood, training rows"]
    display = SamplesDisplay.from_estimator(rbm, WINE[:, :9], random_state=0)
    values = np.stack(list(display.images.values()))
    for image in display.ims_:
        assert_allclose(image.get_clim(), (values.min(), values.max()))
    plt.close("all")


def test_chains_are_diagnosed():
    scale = np.array([1e6, 1.0, 1e-3])
    rbm = by_hand(tiny())
    chains = draw_chains(rbm, 4, 30, random_state=0)
    chains[:, :, 2] += 9 * rbm.visible_variance_[2] ** 0.5 * (-1) ** np.arange(30)
    found = diagnose(rbm, chains, n_features=1)
    assert found.statistics == ["free energy", "feature 2"]
    rbm.components_, rbm.intercept_visible_ = (
        rbm.components_ * scale,
        rbm.intercept_visible_ * scale,
    )
    rbm.noise_variance_, rbm.visible_mean_ = (
        rbm.noise_variance_ * scale**2,
        rbm.visible_mean_ * scale,
    )
    rbm.visible_variance_ = rbm.visible_variance_ * scale**2
    assert diagnose(rbm, chains * scale, n_features=1).statistics == found.statistics
    display = ChainsDisplay.from_estimator(rbm, chains * scale)
    expected = [rbm.free_energy(chain * scale) for chain in chains]
    assert_allclose(display.diagnostics.free_energy, expected)
    plt.close("all")


# Bad input ------------------------------------------------------------------------------


def test_functions_for_binary_units_are_refused():
    rbm = make().fit(WINE)
    with pytest.raises(ValueError, match="only available for models of bits"):
        pseudo_log_likelihood(rbm, WINE)
    ladder = ModelLadder(np.zeros((2, 6, 13)), np.zeros((2, 13)), np.zeros((2, 6)))
    with pytest.raises(ValueError, match="ladder of models is only available for binary"):
        draw_chains(rbm, ladder=ladder)
    with pytest.raises(ValueError, match="base_mean has no effect"):
        log_partition(rbm, method="ais", base_mean=0.5)
    with pytest.raises(ValueError, match="'solver' parameter"):
        make(solver="pt").fit(WINE)


@pytest.mark.parametrize(
    "call",
    [
        lambda rbm, X: rbm.fit(X),
        lambda rbm, X: rbm.transform(X),
        lambda rbm, X: rbm.score(X),
        lambda rbm, X: mean_log_likelihood(rbm, X),
        lambda rbm, X: rbm.sample(200, init=X),
    ],
)
def test_sparse_data_are_refused(call):
    with pytest.raises(TypeError, match=r"[Dd]ense data is required"):
        call(make().fit(WINE), sp.csr_array(WINE))


def test_other_bad_input():
    with pytest.raises(ValueError, match=r"no observed values of features 4, 12 in the"):
        make().fit(np.where(WINE > 20, np.nan, WINE))
    with pytest.raises(ValueError, match="infinity"):
        make().fit(np.where(WINE > 20, np.inf, WINE))
    with pytest.raises(ValueError, match="too large"):
        make().fit(WINE * 1e200)
    rbm = make().fit(WINE)
    with pytest.raises(ValueError, match="3 features"):
        rbm.transform(WINE[:, :3])


def test_a_constant_feature():
    X = WINE.copy()
    X[:, 3] = 0.1
    with pytest.warns(UserWarning, match="constant in feature 3"):
        rbm = make().fit(X)
    assert np.isfinite(rbm.score_samples(X)).all()
    assert rbm.visible_variance_[3] == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rbm.partial_fit(X[:50])  # only the first rows set the scale
    with pytest.warns(UserWarning, match="constant in feature 'd'"):
        make().partial_fit(pd.DataFrame(X[:, :5], columns=list("abcde")))


def test_a_feature_that_is_constant_among_the_rows_with_weight():
    X, weights = WINE.copy(), np.ones(len(WINE))
    X[:100, 3], weights[100:] = 0.1, 0
    with pytest.warns(UserWarning, match="constant in feature 3"):
        make().fit(X, sample_weight=weights)


def test_a_feature_with_few_values_is_named(monkeypatch):
    """Its variance given the hidden units goes to 0, and its density would be infinite."""
    monkeypatch.setattr(gaussian, "SMALLEST_VARIANCE", 0.1)
    rng = np.random.default_rng(0)
    X = {"a": rng.standard_normal(300), "b": rng.integers(2, size=300)}
    frame = pd.DataFrame(X)
    with pytest.warns(ConvergenceWarning, match="variance of feature 'b' given"):
        rbm = make(4, covariance_type="diag", n_iter=200, weight_decay=1e-3).fit(frame)
    assert np.isfinite(rbm.score_samples(frame)).all()
    assert_allclose(rbm.noise_variance_[1], 0.1 * rbm.visible_variance_[1], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["pcd", "cd"])
def test_odd_data_never_give_nan(solver):
    rng = np.random.default_rng(0)
    outlier = rng.standard_normal((300, 3))
    outlier[7, 1] = 1e6
    twice = np.repeat(rng.standard_normal((200, 2)), 2, axis=1)
    for X in (outlier, twice, 1e-12 * twice, twice[:5], twice[:1]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rbm = make(8, n_iter=60, solver=solver).fit(X)
        assert np.isfinite(rbm.score_samples(X)).all()
        assert np.isfinite(rbm.sample(10)).all()


def test_divergence_keeps_a_model():
    with pytest.warns(ConvergenceWarning, match="diverged"):
        rbm = make(30, learning_rate=1e4).fit(WINE)
    assert np.isfinite(rbm.score_samples(WINE)).all()


def test_binary_models_are_no_gaussian_ones():
    """Attributes decide which units an estimator has."""
    rbm = BernoulliRBMEstimator(2, n_iter=1).fit(np.eye(4))
    assert type(model_of(rbm).visible) is BernoulliUnits
    for name, kind in [("diag", GaussianUnits), ("full", CorrelatedUnits)]:
        real = model_of(make(covariance_type=name).fit(WINE))
        assert type(real.visible) is kind
        assert type(_annealing.TemperaturePath(real, None).base) is kind


def test_large_offsets_are_subtracted_in_the_precision_of_the_rows():
    """A float32 model of float64 rows far from 0, set by hand."""
    offset, X = 1e9, np.random.default_rng(0).standard_normal((3, 2))
    rbm = GaussianRBMEstimator(2)
    rbm.components_ = np.ones((2, 2), np.float32)
    rbm.intercept_visible_ = np.full(2, offset)
    rbm.intercept_hidden_ = np.full(2, -2 * offset - 1)
    rbm.noise_variance_ = np.ones(2)
    energy = rbm.free_energy(X + offset)
    rbm.components_ = rbm.components_.astype(np.float64)
    assert_allclose(energy, rbm.free_energy(X + offset), rtol=1e-4)


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_steps_are_shorter_with_outliers(rate):
    """The input of hidden units for an outlier changes by less than it would do."""
    rng = np.random.default_rng(0)
    usual = rng.normal(size=(20, 3))
    units = GaussianUnits(*np.zeros((2, 3)), np.zeros(3), np.ones(3))
    start = RBM(rng.normal(size=(3, 4)) / 10, units, np.zeros(4))

    def change(v, rate):
        state = state_at(start.copy(), np.zeros((20, 4)))
        settings = PLAIN._replace(n_chains=20, batch_size=20)
        learner_on(v, state, settings).steps([slice(0, len(v))], [rate])
        return state.model.weights - start.weights

    ratio = change(usual, rate) / change(usual, 1e-3)
    assert_allclose(ratio, rate / 1e-3, rtol=1e-6)
    outlier = usual.copy()
    outlier[7] *= 40
    ratio = change(outlier, rate) / change(outlier, 1e-5)
    squares = (outlier**2).sum(axis=1)
    expected = 20 / (squares.max() - squares.mean())
    assert expected < rate / 10
    assert_allclose(ratio, expected / 1e-5, rtol=1e-6)
