"""Models of tables, against sums over all rows and hidden states written longhand."""

import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import PLAIN, assert_distributed, centered, state_at, states
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, softmax
from scipy.stats import norm
from sklearn.base import clone

from skrbm import MixedRBMEstimator, _binary_rows
from skrbm._data import DataSet
from skrbm._model import RBM
from skrbm._phases import BinaryPhases
from skrbm._step import Counts, Learner
from skrbm._units.gaussian import VARIANCE_RATE
from skrbm._units.mixed import MixedUnits
from skrbm.likelihood import log_partition

# The exact distribution ------------------------------------------------------------------

PETS, MOODS, COLORS = ["cat", "dog"], ["low", "fair", "high"], ["blue", "green", "red"]
# Coded rows without the number, which is the first column.
CODES = np.array(list(itertools.product(range(2), range(3), range(3))))
N_STATES = [2, 3, 3]


class Truth:
    """The model of a table with a number, a pet, a mood and a color, as a mixture.

    The components are the hidden states h. Encoded columns are the pet, the three colors,
    the upper two moods, and the number, whose energy is ``(x - b)^2 / 2s^2 - x W h / s^2``.
    Without `variance`, there is no number.

    Attributes
    ----------
    h, p_h : ndarray of shape (n_states, n_components), (n_states,)
        Hidden states and their probabilities.
    p_given : list of ndarray of shape (n_states, n_codes)
        Probabilities of pets, moods and colors given the hidden state.
    mean, variance : ndarray of shape (n_states,) and float, or None
        Of the number given the hidden state.
    """

    def __init__(self, components, bias, hidden_bias, variance=None):
        components, bias = (np.asarray(a, dtype=np.float64) for a in (components, bias))
        self.h = states(len(hidden_bias))
        x = self.h @ components + bias
        nothing = np.zeros(len(x))
        logits = [
            np.stack([nothing, x[:, 0]], axis=1),
            np.stack([nothing, x[:, 4], x[:, 4] + x[:, 5]], axis=1),
            x[:, 1:4],
        ]
        log_h = self.h @ np.asarray(hidden_bias, np.float64)
        log_h += sum(logsumexp(each, axis=1) for each in logits)
        self.p_given = [softmax(each, axis=1) for each in logits]
        self.mean = self.variance = None
        if variance is not None:
            self.mean, (self.variance,) = x[:, 6], np.asarray(variance, np.float64)
            log_h += (self.mean**2 - bias[6] ** 2) / (2 * self.variance)
            log_h += 0.5 * np.log(2 * np.pi * self.variance)
        self.log_partition = logsumexp(log_h)
        self.p_h = np.exp(log_h - self.log_partition)
        pairs = zip(self.p_given, CODES.T, strict=True)
        self.p_of_codes_given = np.prod([p[:, codes] for p, codes in pairs], axis=0)
        self.p_of_codes = self.p_h @ self.p_of_codes_given

    @classmethod
    def of(cls, rbm):
        parameters = rbm.components_, rbm.intercept_visible_, rbm.intercept_hidden_
        return cls(*parameters, getattr(rbm, "noise_variance_", None))

    def joint(self, frame):
        """Probability densities of each row together with each hidden state."""
        joint = self.p_h * self.p_of_codes_given[:, number(frame)].T
        if self.variance is not None:
            deviation = np.sqrt(self.variance)
            joint = joint * norm.pdf(frame[["size"]], self.mean, deviation)
        return joint

    def density(self, frame):
        return self.joint(frame).sum(axis=1)

    def mean_hidden(self, frame):
        joint = self.joint(frame)
        return joint @ self.h / joint.sum(axis=1, keepdims=True)

    def pseudo_log_likelihood(self, frame):
        """Of rows without a number."""
        grid = self.p_of_codes.reshape(N_STATES)
        terms = [np.log(grid / grid.sum(axis=k, keepdims=True)) for k in range(3)]
        return sum(terms).reshape(-1)[number(frame)]

    def draw(self, n, seed=0):
        """Return independent draws."""
        rng = np.random.default_rng(seed)
        h = rng.choice(len(self.h), n, p=self.p_h)
        cumulated = np.cumsum(self.p_of_codes_given, axis=1)[h]
        codes = CODES[(cumulated > rng.random((n, 1)) * cumulated[:, -1:]).argmax(axis=1)]
        numbers = None
        if self.variance is not None:
            numbers = self.mean[h] + np.sqrt(self.variance) * rng.standard_normal(n)
        return table(codes, numbers)

    def cells(self, edges=None):
        """Probabilities of the codes or, with edges, also of intervals of the number."""
        if self.variance is None:
            return self.p_of_codes
        below = norm.cdf(edges, self.mean[:, None], np.sqrt(self.variance))
        within = np.diff(below, prepend=0, append=1)
        return np.einsum("h,hc,hi->ci", self.p_h, self.p_of_codes_given, within).reshape(-1)

    def assert_drawn(self, frame):
        """Assert that rows have the distribution of the model."""
        if self.variance is None:
            assert_distributed(number(frame), self.cells())
            return
        spread = np.sqrt(self.variance + self.mean.var())
        edges = self.p_h @ self.mean + spread * np.array([-1.5, -0.5, 0, 0.5, 1.5])
        places = np.searchsorted(edges, frame["size"])
        assert_distributed(number(frame) * (len(edges) + 1) + places, self.cells(edges))

    def divergence(self, other, seed=1):
        """Divergence of another model from this one, in nats, estimated from draws."""
        frame = self.draw(20_000, seed)
        return np.mean(np.log(self.density(frame)) - np.log(other.density(frame)))


def table(codes, numbers=None):
    """Return a frame of these codes and numbers."""
    pet, mood, color = np.transpose(codes)
    columns = {} if numbers is None else {"size": np.asarray(numbers, dtype=np.float64)}
    return pd.DataFrame(
        columns
        | {
            "pet": np.array(PETS)[pet],
            "mood": pd.Categorical.from_codes(mood, MOODS, ordered=True),
            "color": np.array(COLORS)[color],
        }
    )


def number(frame):
    """Return the number of each row among `CODES`."""
    names = [("pet", PETS), ("mood", MOODS), ("color", COLORS)]
    codes = [frame[name].map(list(values).index) for name, values in names]
    return np.ravel_multi_index(np.array(codes, dtype=int), N_STATES)


def make(**parameters):
    defaults = {"n_components": 3, "n_iter": 2, "random_state": 0}
    return MixedRBMEstimator(**defaults | parameters)


def teacher(real, scale=1.0, seed=0, **parameters):
    """Estimator of a table with parameters that are set by hand after a fit."""
    rng = np.random.default_rng(seed)
    codes = np.tile(CODES, (4, 1))
    numbers = 170 + 10 * rng.standard_normal(len(codes)) if real else None
    rbm = make(**parameters).fit(table(codes, numbers))
    n_encoded = 6 + real
    components = scale * rng.normal(0, 0.9, (rbm.n_components, n_encoded))
    bias = rng.normal(0, 0.5, n_encoded)
    hidden_bias = rng.normal(0, 0.5, rbm.n_components)
    if real:
        rbm.noise_variance_ = np.array([40.0])
        components[:, 6] *= 10
        bias[6] = 166
        hidden_bias -= components[:, 6] * 166 / 40
    rbm.components_ = components.astype(np.float32)
    rbm.intercept_visible_, rbm.intercept_hidden_ = bias, hidden_bias
    return rbm


@pytest.fixture(params=[False, True], ids=["states", "states and a number"])
def real(request):
    return request.param


@pytest.fixture
def rbm(real):
    return teacher(real)


@pytest.fixture(params=[True, False], ids=["core", "NumPy"])
def compiled(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(_binary_rows, "core", None)
    elif _binary_rows.core is None:
        pytest.skip("the compiled core is not installed or switched off")
    return request.param


def some_rows(real, n=200, seed=3):
    rng = np.random.default_rng(seed)
    numbers = 170 + 12 * rng.standard_normal(n) if real else None
    return table(CODES[rng.integers(len(CODES), size=n)], numbers)


def test_the_density_sums_to_one(rbm, real):
    """Over all codes and, on a fine grid, over all numbers."""
    if not real:
        total = np.exp(rbm.log_likelihood(table(CODES))).sum()
    else:
        grid = np.linspace(60, 280, 2201)
        X = table(np.repeat(CODES, len(grid), axis=0), np.tile(grid, len(CODES)))
        total = np.exp(rbm.log_likelihood(X)).sum() * (grid[1] - grid[0])
    assert_allclose(total, 1, rtol=1e-4)


def test_scores(rbm, real):
    X, truth = some_rows(real), Truth.of(rbm)
    log_likelihood = np.log(truth.density(X))
    assert_allclose(rbm.log_likelihood(X), log_likelihood, rtol=1e-4)
    expected = log_likelihood if real else truth.pseudo_log_likelihood(X)
    assert_allclose(rbm.score_samples(X), expected, rtol=1e-4)
    assert_allclose(rbm.score(X), expected.mean(), rtol=1e-4)
    weights = np.arange(len(X))
    expected = np.average(expected, weights=weights)
    assert_allclose(rbm.score(X, sample_weight=weights), expected, rtol=1e-4)
    free_energy = rbm.free_energy(X)
    expected = -log_likelihood - truth.log_partition
    assert_allclose(free_energy, expected, rtol=1e-4, atol=1e-3)


def test_hidden_units_given_a_row(rbm, real):
    X, truth = some_rows(real), Truth.of(rbm)
    expected = truth.mean_hidden(X)
    assert_allclose(rbm.transform(X), expected, atol=1e-4)
    n = 20_000
    drawn = rbm.sample_hidden(X.iloc[np.zeros(n, dtype=int)], random_state=0)
    assert_allclose(drawn.mean(axis=0), expected[0], atol=0.02)


def test_columns_given_hidden_units(rbm, real):
    truth = Truth.of(rbm)
    X = rbm.inverse_transform(truth.h)
    most_probable = table(np.transpose([p.argmax(axis=1) for p in truth.p_given]))
    assert_array_equal(number(X), number(most_probable))
    if real:
        assert_allclose(X["size"], truth.mean, rtol=1e-5)
    drawn = rbm.sample_visible(np.tile(truth.h[5], (40_000, 1)), random_state=0)
    assert_distributed(number(drawn), truth.p_of_codes_given[5])
    if real:
        assert_allclose(drawn["size"].mean(), truth.mean[5], atol=0.2)
        assert_allclose(drawn["size"].var(), truth.variance, rtol=0.05)


def test_log_partition(rbm):
    expected = Truth.of(rbm).log_partition
    exact = rbm.log_partition()
    assert exact.method == "exact"
    assert_allclose(exact.value, expected, rtol=1e-5)
    for method in ("ais", "reverse_ais", "both"):
        options = {"method": method, "betas": 300, "n_runs": 300, "random_state": 0}
        estimate = log_partition(rbm, **options)
        assert estimate.lower - 0.01 < expected < estimate.upper + 0.01
        assert estimate.upper - estimate.lower < 0.2


def test_annealing_without_the_core(rbm, without_core):
    options = {"method": "both", "betas": 300, "n_runs": 300, "random_state": 0}
    estimate = log_partition(rbm, **options)
    assert abs(estimate.value - Truth.of(rbm).log_partition) < 0.1


def test_gibbs_steps_keep_the_distribution(rbm, compiled):
    truth = Truth.of(rbm)
    X = truth.draw(40_000)
    truth.assert_drawn(X)
    for few in (1, 3):
        moved = rbm.gibbs(X, n_gibbs_steps=few, random_state=0)
        truth.assert_drawn(moved)
        assert (moved != X).any(axis=None)


@pytest.mark.parametrize(
    "options",
    [{"init": "noise"}, {"init": "chains"}, {"betas": 3}, {"betas": "auto"}, {"init": 7}],
    ids=str,
)
def test_samples(rbm, real, options, compiled):
    if options.get("init") == 7:
        options = {"init": some_rows(real, 7)}
    truth, n = Truth.of(rbm), 5000
    truth.assert_drawn(rbm.sample(n, n_gibbs_steps=30, random_state=0, **options))


def test_most_probable_values_of_samples(rbm, real):
    """Samples of probabilities are the values that a draw would most probably have."""
    options = {"n_gibbs_steps": 1, "init": some_rows(real, 3), "random_state": 0}
    X = rbm.sample(3, output="probabilities", **options)
    possible = rbm.inverse_transform(states(3))
    assert set(number(X)) <= set(number(possible))
    if real:
        numbers = X["size"].to_numpy()[:, None]
        differences = np.abs(numbers - possible["size"].to_numpy())
        assert (differences.min(axis=1) < 1e-3).all()


# Learning --------------------------------------------------------------------------------

ENGINES = ["lists", "products", "NumPy"]


def slopes_of(function, arrays):
    """Derivatives of a function of arrays, by finite differences."""
    slopes = []
    for array in arrays:
        slope = np.empty_like(array)
        for at in np.ndindex(array.shape):
            kept, ends = array[at], []
            for step in (1e-5, -1e-5):
                array[at] = kept + step
                ends.append(function(*arrays))
            array[at] = kept
            slope[at] = (ends[0] - ends[1]) / 2e-5
        slopes.append(slope)
    return slopes


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("centering", [False, True])
def test_a_step_is_the_exact_gradient(real, centering, engine, monkeypatch):
    """With many chains in equilibrium. Of numbers, it is in standardized units.

    States of hidden units in place of their means would scatter more than is allowed.
    """
    if engine == "NumPy":
        monkeypatch.setattr(_binary_rows, "core", None)
    rng = np.random.default_rng(0)
    types, n_states = ["binary", "ordinal", "categorical"], [2, 3, 3]
    if real:
        types, n_states = ["real", *types], [0, *n_states]
    units = MixedUnits.for_columns(types, n_states, np.float64)
    units = units.map(lambda array: rng.normal(0, 0.5, array.shape))
    model = RBM(rng.normal(0, 0.6, (len(units), 3)), units, rng.normal(0, 0.5, 3))

    def truth_of(weights, bias, *others):
        *log_variance, hidden_bias = others
        components, variance = weights.T.copy(), None
        if real:
            variance = np.exp(log_variance[0])
            components[:, 6] *= variance
        return Truth(components, bias, hidden_bias, variance)

    truth = truth_of(*model.arrays)
    X = some_rows(real, 9)
    if real:
        X["size"] = rng.standard_normal(9)
    slopes = slopes_of(
        lambda *arrays: np.log(truth_of(*arrays).density(X)).mean(),
        [array.copy() for array in model.arrays],
    )
    coded = np.column_stack([*([X["size"]] if real else []), CODES[number(X)]])
    data = DataSet(coded).encode(units.encoder)
    n_chains, n_repeats, rate = 20_000, 5, 0.1
    settings = PLAIN._replace(
        batch_size=9, centering=centering, compiled=engine != "products"
    )
    change = [0.0 for _ in model.arrays]
    for seed in range(n_repeats):
        p = np.random.default_rng(seed).choice(len(truth.h), n_chains, p=truth.p_h)
        state = state_at(model, truth.h[p], seed, settings)
        state.counts = Counts(np.linspace(1, 8, len(units)), 9)
        learner = Learner(state, settings, data)
        assert isinstance(learner.phases, BinaryPhases) == (engine == "lists" and not real)
        learner.epoch([rate])
        arrays = zip(state.model.arrays, model.arrays, strict=True)
        change = [
            total + (after - before) / rate / n_repeats
            for total, (after, before) in zip(change, arrays, strict=True)
        ]
    of_weights, of_bias, *of_log_variance, of_hidden = slopes
    scale = np.ones(len(units))  # steps of means are taken in b / s^2
    if real:
        scale[6] = np.exp(units.arrays[1][0])
    if centering:
        mu = units.center(state.visible_mean)
        lam = state.learned.hidden_mean
        plain = of_weights, scale * of_bias, of_hidden
        of_weights, of_bias, of_hidden = centered(plain, mu, lam)
        of_bias = scale * of_bias
    else:
        of_bias = scale**2 * of_bias
    of_log_variance = [VARIANCE_RATE * slope for slope in of_log_variance]
    expected = of_weights, of_bias, *of_log_variance, of_hidden
    for got, slope in zip(change, expected, strict=True):
        assert_allclose(got, slope, atol=6 / np.sqrt(n_chains * n_repeats))


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["pcd", "cd", "pt"])
def test_a_teacher_is_learned(real, solver):
    """As well as so many rows allow: with 27 parameters, by about 0.007 nats."""
    truth = Truth.of(teacher(real))
    X = truth.draw(2000)
    few = {"n_gibbs_steps": 5} if solver == "cd" else {"n_chains": 20}
    rbm = make(solver=solver, n_iter=20, **few)
    independent = clone(rbm).set_params(n_iter=1, learning_rate=1e-9).fit(X)
    assert truth.divergence(Truth.of(independent)) > 0.2
    assert truth.divergence(Truth.of(rbm.fit(X))) < 0.02


def test_training_without_the_core_learns_the_same(real, without_core):
    truth = Truth.of(teacher(real))
    X = truth.draw(500)
    rbm = make(n_iter=1, learning_rate=1e-9)
    before = truth.divergence(Truth.of(rbm.fit(X)))
    after = truth.divergence(Truth.of(rbm.set_params(n_iter=20, learning_rate=0.2).fit(X)))
    assert after < 0.3 * before


def groups_of(rbm):
    """Encoded columns of each categorical column, as in the examples here."""
    ends = np.cumsum([len(c) for c in rbm.categories_.values() if c is not None])
    return [slice(*pair) for pair in itertools.pairwise([0, *ends])]


@pytest.mark.parametrize("solver", ["pcd", "cd", "pt"])
@pytest.mark.parametrize("call", ["fit", "fit again", "partial_fit"])
def test_weights_and_biases_of_categories_sum_to_zero(solver, call):
    """Of the forms of a model that give the same likelihoods, training keeps this one."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {name: rng.choice(list("abcdefgh")[:n], 300) for name, n in [("x", 3), ("y", 8)]}
    )
    X["y"] = X["y"].mask(X["x"] == "a", "c")
    rbm = make(solver=solver, n_iter=5, weight_decay=0.01, warm_start=True)
    if call == "partial_fit":
        rbm.partial_fit(X[:200]).partial_fit(X[200:])
    else:
        rbm.fit(X)
        if call == "fit again":
            rbm.fit(X)
    assert np.abs(rbm.components_).max() > 0.5
    for group in groups_of(rbm):
        assert_allclose(rbm.components_[:, group].sum(axis=1), 0, atol=1e-4)
        assert_allclose(rbm.intercept_visible_[group].sum(), 0, atol=1e-4)


def test_what_categories_have_in_common_changes_no_likelihood():
    rbm, X = teacher(False), table(CODES)
    common = np.array([0.5, -1.0, 2.0])
    before = rbm.log_likelihood(X), rbm.score_samples(X), rbm.transform(X)
    rbm.components_[:, 1:4] += common[:, None]
    rbm.intercept_hidden_ -= common
    rbm.intercept_visible_[1:4] += 7
    after = rbm.log_likelihood(X), rbm.score_samples(X), rbm.transform(X)
    for one, other in zip(before, after, strict=True):
        assert_allclose(one, other, rtol=1e-4)


def test_training_starts_at_smoothed_log_frequencies():
    """Those of the data and one imaginary row, in which all states are as probable."""
    mood = pd.Categorical.from_codes([0] * 6 + [1] * 3, [*MOODS, "never"], ordered=True)
    X = pd.DataFrame({"color": ["red"] * 5 + ["blue"] * 3 + ["green"], "mood": mood})
    rbm = make(n_iter=1, learning_rate=1e-9).fit(X)
    of_colors = np.log([3 + 1 / 3, 1 + 1 / 3, 5 + 1 / 3])  # in their order
    of_moods = np.log([6.25, 3.25, 0.25, 0.25])
    expected = [*(of_colors - of_colors.mean()), *np.diff(of_moods)]
    assert_allclose(rbm.intercept_visible_, expected, atol=1e-5)
