"""Models of tables, against sums over all rows and hidden states written out in full."""

import importlib.util
import itertools
import pickle
import pickletools
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import PLAIN, assert_distributed, centered, state_at, states
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, softmax
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from skrbm import MixedRBMEstimator, ParallelRBM, _binary_rows, _gaps
from skrbm._data import DataSet
from skrbm._model import RBM
from skrbm._phases import BinaryPhases
from skrbm._step import Counts, Learner
from skrbm._units import gaussian
from skrbm._units.gaussian import VARIANCE_RATE
from skrbm._units.mixed import MixedUnits
from skrbm.likelihood import (
    LogLikelihoodTracker,
    log_likelihood,
    log_partition,
    mean_log_likelihood,
    pseudo_log_likelihood,
)
from skrbm.metrics import log_likelihood_scorer, pseudo_likelihood_scorer
from skrbm.plotting import (
    ActivationsDisplay,
    ChainsDisplay,
    FiltersDisplay,
    SamplesDisplay,
    TrainingDisplay,
)
from skrbm.sampling import ModelLadder, diagnose, draw_chains, sample_conditional

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
        lists = engine == "lists" and model.may_use_core
        assert isinstance(learner.phases, BinaryPhases) == lists
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
    rbm = make(solver=solver, n_iter=20, weight_decay=1e-4, **few)
    options = {"n_iter": 1, "learning_rate": 1e-9, "weight_decay": 0}
    independent = clone(rbm).set_params(**options).fit(X)
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


# Tables ----------------------------------------------------------------------------------

N = 60
NUMBERS = np.random.default_rng(0).standard_normal(N)
LETTERS = np.tile(list("abc"), N // 3)
BITS = np.tile([True, False], N // 2)
# Columns of pandas, and the types that are inferred.
PANDAS = {
    "bool": (BITS, "binary"),
    "boolean": (pd.array(BITS, dtype="boolean"), "binary"),
    "objects that are booleans": (pd.Series(BITS, dtype=object), "binary"),
    "two numbers": (np.where(BITS, 5, 9), "real"),
    "integers": (np.arange(N), "real"),
    "Int64": (pd.array(np.arange(N), dtype="Int64"), "real"),
    "float32": (NUMBERS.astype(np.float32), "real"),
    "float64": (NUMBERS, "real"),
    "Float32": (pd.array(NUMBERS, dtype="Float32"), "real"),
    "objects": (pd.Series(LETTERS, dtype=object), "categorical"),
    "string": (pd.array(LETTERS, dtype="string"), "categorical"),
    "string of Python": (pd.array(LETTERS, dtype="string[python]"), "categorical"),
    "category": (pd.Categorical(LETTERS, categories=list("cbad")), "categorical"),
    "category of numbers": (pd.Categorical(np.tile([7, 3, 9], N // 3)), "categorical"),
    "category of two": (pd.Categorical(np.where(BITS, "x", "y")), "binary"),
    "category of one": (pd.Categorical(["x"] * N), "categorical"),
    "ordered": (pd.Categorical(LETTERS, categories=list("bca"), ordered=True), "ordinal"),
}


@pytest.mark.parametrize("name", PANDAS)
def test_columns_of_pandas_are_returned_as_they_came(name):
    values, expected = PANDAS[name]
    X = pd.DataFrame({"other": BITS, "column": values})
    X.index = [f"row {number}" for number in range(N)]
    rbm = make().fit(X)
    assert rbm.feature_types_ == {"other": "binary", "column": expected}
    drawn, few = rbm.sample(20), X[10:15]
    one_by_one = rbm.gibbs(few), rbm.reconstruct(few)
    given_hidden = rbm.inverse_transform(rbm.transform(few))
    for frame in (drawn, *one_by_one, given_hidden, rbm.sample(5, init=few)):
        assert list(frame) == ["other", "column"]
        assert frame["other"].dtype == bool
        if X.dtypes["column"].kind in "iu" and expected == "real":
            assert frame.dtypes["column"].kind == "f"
        else:
            assert frame.dtypes["column"] == X.dtypes["column"]
        assert frame["column"].notna().all()
        if expected != "real":
            assert frame["column"].isin(X["column"]).all() or name == "category"
        assert np.isfinite(rbm.score_samples(frame)).all()
    for frame in one_by_one:
        assert frame.index.equals(few.index)


def polars_frame():
    pl = pytest.importorskip("polars", reason="polars is not installed")
    return pl.DataFrame(
        {
            "flag": BITS,
            "letter": LETTERS,
            "level": pl.Series(LETTERS, dtype=pl.Enum(list("cba"))),
            "kind": pl.Series(LETTERS, dtype=pl.Categorical),
            "whole": np.arange(N),
            "small": NUMBERS.astype(np.float32),
            "large": NUMBERS,
        }
    )


def test_frames_of_polars_are_returned_as_they_came():
    X = polars_frame()
    rbm = make(covariance_type="diag").fit(X)
    types = ["binary", "categorical", "ordinal", "categorical", "real", "real", "real"]
    assert list(rbm.feature_types_.values()) == types
    few = X[10:15]
    for frame in (rbm.sample(5), rbm.gibbs(few), rbm.reconstruct(few)):
        assert type(frame) is type(X)
        assert frame.drop("whole").schema == X.drop("whole").schema
        assert frame["whole"].dtype.is_float()
    same = pd.DataFrame(few.to_dict(as_series=False))
    assert_array_equal(rbm.transform(same), rbm.transform(few))


@pytest.mark.parametrize(
    ("X", "types"),
    [
        (np.column_stack([BITS, ~BITS]), ["binary", "binary"]),
        (np.column_stack([BITS, ~BITS]).astype(np.uint8), ["binary", "binary"]),
        (np.column_stack([BITS, NUMBERS]), ["binary", "real"]),
        (np.column_stack([BITS, NUMBERS]).astype(np.float32), ["binary", "real"]),
        (np.column_stack([BITS, np.arange(N)]), ["binary", "real"]),
        (np.column_stack([LETTERS, BITS]), ["categorical", "binary"]),
        (np.array([LETTERS, NUMBERS, BITS], object).T, ["categorical", "real", "binary"]),
    ],
    ids=["bool", "uint8", "float64", "float32", "int", "str", "object"],
)
@pytest.mark.parametrize("form", [np.array, np.ndarray.tolist])
def test_arrays_are_returned_as_they_came(X, types, form):
    rbm = make().fit(form(X))
    assert rbm.feature_types_ == types
    assert [values is None for values in rbm.categories_] == [t == "real" for t in types]
    drawn = rbm.sample(5)
    dtypes = {"U": np.dtype(object), "i": np.dtype(np.float64)}
    expected = np.asarray(form(X)).dtype if X.dtype.kind != "O" else X.dtype
    if expected.kind != "i" or "real" in types:
        expected = dtypes.get(expected.kind, expected)
    assert drawn.dtype == expected
    for place, values in enumerate(rbm.categories_):
        if values is not None:
            assert set(drawn[:, place]) <= set(values)
    row = rbm.gibbs(drawn[0])
    assert row.shape == drawn[0].shape
    assert row.dtype == drawn.dtype
    assert rbm.sample_hidden(drawn[0]).shape == (3,)
    assert np.isfinite(rbm.score_samples(drawn)).all()


def test_precision_follows_arrays():
    """That of frames and strings is float32, as is that of bits in small dtypes."""
    eye = np.eye(4)
    for X, dtype in [
        (eye, np.float64),
        (eye.astype(int), np.float64),
        (eye.astype(np.float32), np.float32),
        (eye.astype(bool), np.float32),
        (np.where(eye, "a", "b"), np.float32),
        (pd.DataFrame(eye), np.float32),
        (np.random.default_rng(0).random((5, 2)), np.float64),
    ]:
        rbm = make(n_iter=1).fit(X)
        assert rbm.components_.dtype == dtype
        assert rbm.h_samples_.dtype == dtype


@pytest.mark.parametrize("n_components", [3, 14])
def test_precision_of_results_does_not_depend_on_gaps(n_components):
    """It is that of the model, whatever rows are given, unless numbers are more precise."""
    bits = np.random.default_rng(0).integers(2, size=(50, 4))
    for X in (bits, bits.astype(np.uint8), bits.astype(np.float32), pd.DataFrame(bits)):
        rbm = make(n_components=n_components, n_iter=1).fit(X)
        for dtype in (np.uint8, np.float32, np.float64):
            rows = bits.astype(dtype)
            assert rbm.transform(rows).dtype == rbm.components_.dtype
            if dtype != np.uint8:
                rows[0, 0] = np.nan
                assert rbm.transform(rows).dtype == rbm.components_.dtype


def test_sparse_rows_are_dense_ones():
    X = np.random.default_rng(0).standard_normal((50, 4))
    X[:, :2] = X[:, :2] > 1
    X = sp.csr_array(np.where(X > 0, X, 0))
    one, other = make().fit(X), make().fit(X.toarray())
    assert_array_equal(one.components_, other.components_)
    assert_array_equal(one.transform(X[:5]), other.transform(X[:5].toarray()))
    assert_array_equal(one.sample(3), other.sample(3))


def test_numbers_far_from_0_keep_their_precision():
    """Training is in single precision, on standardized numbers."""
    X = pd.DataFrame({"x": 1e9 + NUMBERS, "flag": BITS})
    near = X.assign(x=X["x"] - 1e9)
    rbm, other = (make(n_components=1, n_iter=20).fit(each) for each in (X, near))
    assert_allclose(rbm.score_samples(X), other.score_samples(near), rtol=1e-3)
    drawn = rbm.sample(2000, random_state=0)["x"] - 1e9
    assert_allclose(drawn.std(), NUMBERS.std(), rtol=0.1)
    assert drawn.nunique() > 1900
    gappy = X.assign(flag=[None, *BITS[1:]])
    filled = sample_conditional(rbm, gappy, random_state=0)
    assert_array_equal(filled["x"], X["x"])


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output(container):
    """It is about the transformed rows, and about tables that were arrays."""
    pytest.importorskip(container, reason=f"{container} is not installed")
    frame = table(CODES)
    rbm = make().set_output(transform=container).fit(frame)
    H = rbm.transform(frame[3:8])
    assert type(H).__module__.startswith(container)
    assert list(H.columns) == rbm.get_feature_names_out().tolist()
    if container == "pandas":
        assert H.index.equals(frame.index[3:8])
        assert rbm.gibbs(frame[3:8]).index.equals(frame.index[3:8])
    assert isinstance(rbm.sample(3), pd.DataFrame)
    drawn = rbm.fit(frame.to_numpy()).sample(3)
    assert type(drawn).__module__.startswith(container)
    assert list(drawn.columns) == ["x0", "x1", "x2"]


def test_names_and_numbers_of_columns():
    X = table(CODES)
    rbm = make().fit(X)
    assert rbm.feature_names_in_.tolist() == list(X)
    assert rbm.n_features_in_ == 3
    for wrong in (X[["mood", "pet", "color"]], X[["pet"]], X.assign(more=1)):
        with pytest.raises(ValueError, match="feature names should match"):
            rbm.transform(wrong)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        by_place = rbm.transform(X.to_numpy())
    assert_array_equal(by_place, rbm.transform(X))
    unnamed = make().fit(X.set_axis([3, 1, 2], axis=1))
    assert unnamed.feature_types_ == ["binary", "ordinal", "categorical"]
    assert not hasattr(unnamed, "feature_names_in_")
    assert list(unnamed.sample(1)) == [3, 1, 2]
    assert not hasattr(rbm.fit(X.to_numpy()), "feature_names_in_")


@pytest.mark.parametrize(
    "given",
    [
        {"pet": "categorical", "mood": "categorical"},
        ["categorical", "categorical", "infer"],
        ("categorical", "categorical", "infer"),
        np.array(["categorical", "categorical", "infer"]),
        pd.Series(["categorical", "categorical", "infer"]),
    ],
    ids=str,
)
def test_declared_types(given):
    rbm = make(feature_types=given).fit(table(CODES))
    assert list(rbm.feature_types_.values()) == ["categorical"] * 3
    assert rbm.components_.shape[1] == 2 + 3 + 3
    assert rbm.categories_["mood"].tolist() == MOODS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("auto", "'feature_types' parameter .* must be"),
        (1, "'feature_types' parameter .* must be"),
        (("binary",), "has 1 types, but X has 3 columns"),
        (["binary"], "has 1 types, but X has 3 columns"),
        ({"pet": "nominal"}, "must be one of 'binary', .* 'nominal' for column 'pet'"),
        ({"size": "real"}, "must refer to names of columns of X, but has 'size'"),
        ({"color": "binary"}, "declared as binary, but its values are 'blue', 'green'"),
        (
            {"color": "ordinal"},
            "strings such as '.*' have no order",
        ),
        ({"color": "real"}, "is real, but has values that are not numbers, such as"),
    ],
    ids=str,
)
def test_wrong_types_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        make(feature_types=given).fit(table(CODES))


def one_hot(n=300, seed=0):
    """Return a frame with three exclusive columns, another bit and a number."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(np.eye(3, dtype=int)[rng.integers(3, size=n)], columns=list("abc"))
    return X.assign(d=rng.integers(2, size=n), x=rng.standard_normal(n))


@pytest.mark.parametrize(
    "groups",
    [
        "auto",
        [["a", "b", "c"]],
        [("c", "a", "b")],
        (pd.Index(list("abc")),),
        np.array([list("abc")]),
    ],
    ids=str,
)
def test_groups_are_read_and_written_as_bits(groups):
    X = one_hot()
    rbm = make(groups=groups).fit(X)
    grouped, alone = rbm.components_.shape[1], make().fit(X).components_.shape[1]
    assert grouped == alone == 5
    assert list(rbm.feature_types_.values()) == ["binary"] * 4 + ["real"]
    drawn = rbm.sample(200, random_state=0)
    assert (drawn[["a", "b", "c"]].sum(axis=1) == 1).all()
    assert (drawn.dtypes == X.dtypes).all()
    assert_allclose(drawn[["a", "b", "c"]].mean(), 1 / 3, atol=0.15)
    as_one = X.assign(letter=np.array(list("abc"))[X[["a", "b", "c"]].to_numpy().argmax(1)])
    # The same model, whose columns are in another order.
    other = make().fit(as_one[["letter", "d", "x"]])
    scores = other.score_samples(as_one[["letter", "d", "x"]])
    if list(groups[0]) != ["c", "a", "b"]:
        assert_allclose(rbm.score_samples(X), scores, rtol=1e-4)


def test_rows_that_groups_exclude_have_no_probability():
    X = one_hot()
    rbm, impossible = make(groups="auto").fit(X), X.copy()
    impossible.loc[0, ["a", "b"]] = 1
    impossible.loc[1, ["a", "b", "c"]] = 0
    weights = np.arange(len(X)) > 1
    for score in (rbm.score_samples, rbm.log_likelihood):
        expected = np.where(weights, score(X), -np.inf)
        assert_array_equal(score(impossible), expected)
    expected = np.where(weights, rbm.free_energy(X), np.inf)
    assert_array_equal(rbm.free_energy(impossible), expected)
    assert rbm.score(impossible) == -np.inf
    expected = rbm.score(X[2:])
    assert_allclose(rbm.score(impossible, sample_weight=weights), expected)
    given = make(groups=[["a", "b"]])
    for method in (rbm.transform, rbm.gibbs, rbm.partial_fit, given.fit):
        with pytest.raises(ValueError, match=r"Row 0 .* at most one may be on"):
            method(impossible)
    with pytest.raises(ValueError, match="has none of the columns 'a', 'b', 'c' on"):
        rbm.transform(impossible[1:])
    may_be_off = make(groups=[["a", "b"]]).fit(X)
    assert np.isfinite(may_be_off.score_samples(impossible[1:])).all()
    assert may_be_off.sample(200, random_state=0)[["a", "b"]].sum(axis=1).min() == 0


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("all", "'groups' parameter .* must be"),
        ([["a"]], "at least two columns"),
        (["ab"], "must be a list of lists of columns, .* it has 'ab'"),
        ([0, 1], "must be a list of lists of columns, .* it has 0"),
        ([["a", "b"], ["b", "c"]], "in more than one group"),
        ([["a", "x"]], "'x' .* is not binary"),
        ([["a", "z"]], "must refer to names of columns of X, but has 'z'"),
        ([["a", "d"]], "at most one may be on in the group of 'a', 'd'"),
    ],
    ids=str,
)
def test_wrong_groups_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        make(groups=groups).fit(one_hot())


def test_categories_that_were_not_seen():
    X = pd.DataFrame({"a": ["x"] * 59 + ["once"]})
    rbm = make().fit(X)
    for method in (rbm.transform, rbm.score_samples, rbm.gibbs, rbm.partial_fit):
        with pytest.raises(
            ValueError, match=r"not have in training: 'new'. .* 'once', 'x'"
        ):
            method(pd.DataFrame({"a": ["x", "new"]}))
    declared = pd.DataFrame({"a": pd.Categorical(["x", "y", "x"], list("xyz"))})
    rbm = make().fit(declared)
    assert rbm.categories_["a"].tolist() == list("xyz")
    scores = rbm.score_samples(pd.DataFrame({"a": list("xyz")}))
    assert_allclose(np.exp(scores).sum(), 1, rtol=1e-5)
    assert (scores > -10).all()


def test_columns_with_many_categories_or_one_value():
    many = [f"number {n}" for n in range(300)]
    X = pd.DataFrame(
        {"many": many * 2, "false": False, "one": "x", "flag": [True, False] * 300}
    )
    rbm = make().fit(X)
    assert rbm.components_.shape == (3, 2 + 300 + 1)
    assert np.isfinite(rbm.score_samples(X)).all()
    drawn = rbm.sample(200, random_state=0)
    assert (drawn["one"] == "x").all()
    assert drawn["many"].nunique() > 100
    assert drawn["false"].mean() < 0.05
    scores = make().fit(X[["one"]]).score_samples(X[["one"]])
    assert_allclose(scores, 0, atol=1e-6)


def test_columns_without_information():
    with pytest.warns(UserWarning, match="X is constant in feature 'x'. .* declare it as"):
        rbm = make().fit(pd.DataFrame({"x": [3.5] * N, "flag": BITS}))
    assert np.isfinite(rbm.score_samples(pd.DataFrame({"x": [3.5], "flag": [True]}))).all()
    for nothing in ([None] * N, [np.nan] * N):
        with pytest.raises(ValueError, match="Column 'x' of X has no observed value"):
            make().fit(pd.DataFrame({"x": nothing, "flag": BITS}))
    with pytest.raises(ValueError, match=r"dtype datetime64.* numbers of days"):
        make().fit(pd.DataFrame({"x": pd.date_range("2020", periods=N)}))
    with pytest.raises(ValueError, match="infinity or a value too large"):
        make().fit(pd.DataFrame({"x": [np.inf, *NUMBERS]}))


def test_a_number_with_few_values_is_named(monkeypatch):
    monkeypatch.setattr(gaussian, "SMALLEST_VARIANCE", 0.2)
    X = pd.DataFrame({"x": np.tile([0.0, 1.0, 2.0], 200)})
    with pytest.warns(ConvergenceWarning, match="variance of feature 'x' given the hidden"):
        rbm = make(n_iter=100).fit(X)
    assert np.isfinite(rbm.score_samples(X)).all()


# Gaps ------------------------------------------------------------------------------------


def with_gaps(frame, share=0.3, seed=7):
    """Return a copy of a frame in which cells are missing at random."""
    rng = np.random.default_rng(seed)
    return frame.apply(lambda column: column.mask(rng.random(len(frame)) < share))


def completions(row):
    """Yield frames of one row each, in which the gaps but that of the number are filled."""
    names = {"pet": PETS, "mood": MOODS, "color": COLORS}
    values = [names[c] if pd.isna(row[c].iloc[0]) else list(row[c]) for c in names]
    for pet, mood, color in itertools.product(*values):
        yield table([[PETS.index(pet), MOODS.index(mood), COLORS.index(color)]])


def test_rows_with_gaps_are_sums_over_their_values(rbm, real, monkeypatch):
    truth, X = Truth.of(rbm), with_gaps(some_rows(real, 40))
    expected = []
    for place in range(len(X)):
        row, joint = X[place : place + 1], 0
        for complete in completions(row):
            terms = truth.p_h * truth.p_of_codes_given[:, number(complete)[0]]
            if real and row["size"].notna().all():
                terms = terms * norm.pdf(row["size"], truth.mean, np.sqrt(truth.variance))
            joint = joint + terms
        expected.append(joint)
    expected = np.array(expected)
    assert_allclose(rbm.log_likelihood(X), np.log(expected.sum(axis=1)), atol=1e-4)
    mean_hidden = expected @ truth.h / expected.sum(axis=1, keepdims=True)
    assert_allclose(rbm.transform(X), mean_hidden, atol=1e-4)
    monkeypatch.setattr(_gaps, "LARGEST_EXACT_MEANS", 0)  # by chains
    assert_allclose(rbm.transform(X), mean_hidden, atol=0.12)
    assert_allclose(rbm.transform(X).mean(axis=0), mean_hidden.mean(axis=0), atol=0.05)


def test_gaps_are_filled_given_the_other_values(rbm, real):
    truth = Truth.of(rbm)
    X = truth.draw(30_000)
    gappy = X.assign(pet=None, mood=X["mood"].mask(np.arange(len(X)) % 2 == 0))
    filled = sample_conditional(rbm, gappy, n_gibbs_steps=20, random_state=0)
    truth.assert_drawn(filled)
    assert (filled.dtypes == X.dtypes).all()
    kept = gappy.notna()
    assert (filled[kept] == X[kept]).where(kept, other=True).all(axis=None)
    likely = sample_conditional(rbm, gappy[:50], output="probabilities", random_state=0)
    assert likely["pet"].isin(PETS).all()


def test_gaps_in_training(real):
    truth = Truth.of(teacher(real))
    X = with_gaps(truth.draw(1500))
    X.loc[7] = None
    rbm = make(n_iter=20).fit(X)
    assert truth.divergence(Truth.of(rbm)) < 0.025
    assert np.isfinite(rbm.score_samples(X)).all()
    stopped = make(early_stopping=True).fit(X)
    assert np.isfinite(stopped.validation_scores_).all()
    streamed = make().partial_fit(X[:100]).partial_fit(X[100:])
    assert np.isfinite(streamed.score(X))
    for name in ("gibbs", "sample_hidden"):
        with pytest.raises(ValueError, match=r"Input v contains NaN\. Impute"):
            getattr(rbm, name)(X)
    with pytest.raises(ValueError, match=r"Input init contains NaN\. Impute"):
        rbm.sample(len(X), init=X)


# Estimators ------------------------------------------------------------------------------


def rows_of(n=200, seed=1):
    """Return a frame with a dependence, whose column "target" is no part of the model."""
    rng = np.random.default_rng(seed)
    target = rng.integers(2, size=n)
    return pd.DataFrame(
        {
            "letter": np.array(list("abc"))[target + rng.integers(2, size=n)],
            "flag": rng.random(n) < 0.2 + 0.6 * target,
            "x": 3 * target + rng.standard_normal(n),
            "target": target,
        }
    )


X, TARGET = rows_of().drop(columns="target"), rows_of()["target"]
FITTED = "components_", "intercept_visible_", "intercept_hidden_", "h_samples_"


def assert_same(one, other):
    for name in FITTED:
        assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.feature_types_ == other.feature_types_
    assert one.sample(5, random_state=0).equals(other.sample(5, random_state=0))


def test_partial_fit_keeps_the_columns_of_the_first_call():
    stream = make(batch_size=10)
    for start in range(20, 200, 60):
        stream.partial_fit(X[start : start + 60])
    again = make(batch_size=10).partial_fit(X[20:80]).partial_fit(X[80:])
    assert_same(stream, again)
    with pytest.raises(ValueError, match="did not have in training: 'd'"):
        stream.partial_fit(X.assign(letter="d"))
    assert_same(stream, again)
    declared = X.assign(letter=pd.Categorical(X["letter"], list("abcd")))
    later = declared.assign(letter=pd.Categorical(["d"] * len(X), list("abcd")))
    rbm = make().partial_fit(declared)
    before = rbm.score(later)
    assert rbm.partial_fit(later).score(later) > before + 0.5
    assert rbm.categories_["letter"].tolist() == list("abcd")


def test_warm_starts_keep_the_columns():
    rbm = make(n_iter=5, warm_start=True).fit(X)
    once = rbm.score(X)
    assert rbm.set_params(n_iter=20).fit(X[X["letter"] != "c"]).score(X) != once
    assert rbm.categories_["letter"].tolist() == list("abc")
    for wrong in (X.assign(letter="d"), X[["x", "flag", "letter"]], X[["x"]]):
        with pytest.raises(ValueError, match=r"in training|feature names should match"):
            rbm.fit(wrong)
    assert rbm.set_params(warm_start=False).fit(X[["x"]]).n_features_in_ == 1


@pytest.mark.parametrize("form", [pd.DataFrame, pd.DataFrame.to_numpy])
def test_types_and_groups_are_those_of_the_model_to_continue(form):
    a = np.arange(len(X)) % 2
    rows = form(X[["letter"]].assign(level=np.arange(len(X)) % 3, a=a, b=1 - a))
    level, pair = ("level", ["a", "b"]) if form is pd.DataFrame else (1, [2, 3])
    first = {"feature_types": {level: "ordinal"}, "groups": [pair]}
    rbm = make(n_iter=2, warm_start=True, **first).fit(rows)
    learned, given = {"feature_types": rbm.feature_types_}, {"groups": [tuple(pair)]}
    for same in (first, learned, given):
        rbm.set_params(**same).fit(rows).partial_fit(rows)
    for name, others in [
        ("feature_types", ["infer", {level: "real"}]),
        ("groups", [None, "auto", [pair[::-1]]]),
    ]:
        for other in others:
            rbm.set_params(**first).set_params(**{name: other})
            for method in (rbm.fit, rbm.partial_fit):
                with pytest.raises(ValueError, match=f"{name} has .* Reset {name} or, to"):
                    method(rows)
            again = make(n_iter=2, warm_start=True, **{name: other}).fit(rows)
            again.fit(rows).partial_fit(rows)


def test_failed_fits_change_nothing():
    rbm = make().fit(X)
    again = pickle.loads(pickle.dumps(rbm))
    for wrong in (X.assign(x=np.inf), X.assign(x=None), X[:0]):
        with pytest.raises(ValueError, match=r"infinity|no observed value|0 sample"):
            rbm.fit(wrong)
    assert_same(rbm, again)


def test_weights_of_rows():
    weights = np.repeat([0, 1, 2], [50, 100, 50])
    rbm = make().fit(X, sample_weight=weights)
    assert_same(rbm, make().fit(X[50:], sample_weight=weights[50:]))
    assert rbm.score(X) != make().fit(X).score(X)


@pytest.mark.parametrize("columns", [["letter", "x", "a", "b"], ["letter", "a", "b"]])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_rows_of_weight_0_tell_nothing_of_the_columns(columns, method):
    a = np.arange(len(X)) % 2
    counted = X.assign(a=a, b=1 - a)[columns]
    others = X[:20].assign(letter="new", x=1e6, a=1, b=1)[columns]
    both, weights = pd.concat([others, counted]), np.repeat([0, 1], [20, len(X)])
    rbm = make(groups=[["a", "b"]])
    expected = getattr(clone(rbm), method)(counted)
    assert_same(getattr(rbm, method)(both, sample_weight=weights), expected)
    assert rbm.categories_["letter"].tolist() == list("abc")
    rbm.partial_fit(both, sample_weight=weights)
    assert_same(rbm, expected.partial_fit(counted))
    parallel = ParallelRBM(clone(rbm), n_shards=1, n_jobs=1)
    getattr(parallel, method)(both, sample_weight=weights)
    assert parallel.estimator_.categories_["letter"].tolist() == list("abc")
    for refused in (rbm, parallel):
        with pytest.raises(ValueError, match=r"in training: 'new'|at most one may be on"):
            getattr(refused, method)(both, sample_weight=weights + 1)


def test_early_stopping():
    for columns, name in [(X, "log_likelihood"), (X[["letter"]], "pseudo_log_likelihood")]:
        rbm = make(n_iter=8, early_stopping=True).fit(columns)
        assert len(rbm.validation_scores_) == rbm.n_iter_ <= 8
        assert len(rbm.history_[name]) == rbm.n_iter_


def test_pipelines_and_searches():
    features = make_pipeline(make(n_iter=20), LogisticRegression())
    assert cross_val_score(features, X, TARGET, cv=3).mean() > 0.8
    search = GridSearchCV(
        make(), {"n_components": [1, 2], "feature_types": ["infer"]}, cv=2
    )
    search.fit(X)
    best = clone(make(n_components=search.best_params_["n_components"])).fit(X)
    assert_same(search.best_estimator_, best)
    assert_allclose(log_likelihood_scorer(search, X), best.log_likelihood(X).mean())
    scores = cross_val_score(make(), X, cv=2, scoring=log_likelihood_scorer)
    assert_allclose(scores, cross_val_score(make(), X, cv=2))
    types, groups = {"letter": "ordinal"}, [["a", "b"]]
    copied = clone(make(feature_types=types, groups=groups)).get_params()
    assert copied["feature_types"] == types
    assert copied["groups"] == groups


@pytest.mark.parametrize("solver", ["pcd", "cd", "pt"])
@pytest.mark.parametrize("columns", [["letter", "flag"], ["letter", "flag", "x"]])
def test_pickles_go_on_training(solver, columns):
    rbm = make(solver=solver, warm_start=True).fit(X[columns])
    data = pickle.dumps(rbm, protocol=2)
    globals_ = {name for op, name, _ in pickletools.genops(data) if op.name == "GLOBAL"}
    ours = {name for name in globals_ if name.startswith(("skrbm", "pandas"))}
    assert ours == {"skrbm._mixed MixedRBMEstimator"}
    again = pickle.loads(data)
    assert_same(rbm, again)
    assert_same(rbm.fit(X[columns]), again.fit(X[columns]))
    assert_same(rbm.partial_fit(X[columns]), again.partial_fit(X[columns]))
    assert_array_equal(rbm.score_samples(X[columns]), again.score_samples(X[columns]))


def test_verbose_and_representation(capsys):
    rbm = make(verbose=1, feature_types={"flag": "categorical"}).fit(X)
    assert "[MixedRBMEstimator] Iteration 2, log-likelihood = " in capsys.readouterr().out
    assert "feature_types={'flag': 'categorical'}" in repr(rbm)
    assert "feature_types" in rbm._repr_html_()
    if importlib.util.find_spec("sklearn.callback"):  # since 1.9, fitted attributes as well
        assert "feature_types_" in rbm._repr_html_()
        assert "categories_" in rbm._repr_html_()


# Functions and callbacks -----------------------------------------------------------------


@pytest.fixture(
    scope="module", params=[["letter", "flag"], ["letter", "flag", "x"]], ids=str
)
def rows(request):
    return X[request.param]


@pytest.fixture(scope="module")
def fitted(rows):
    return make(n_iter=10).fit(rows)


def test_functions_of_likelihoods(fitted, rows):
    expected = fitted.log_likelihood(rows)
    assert_allclose(log_likelihood(fitted, rows), expected)
    assert_allclose(mean_log_likelihood(fitted, rows).value, expected.mean())
    assert_allclose(log_likelihood_scorer(fitted, rows), expected.mean())
    assert_allclose(LogLikelihoodTracker(rows).update(fitted).value, expected.mean())
    log_z = fitted.log_partition()
    assert_array_equal(fitted.log_likelihood(rows, log_partition=log_z), expected)
    if "x" in rows:
        for function in (pseudo_log_likelihood, pseudo_likelihood_scorer):
            with pytest.raises(ValueError, match="only available for models of bits"):
                function(fitted, rows)
        return
    expected = fitted.score_samples(rows)
    assert_allclose(pseudo_log_likelihood(fitted, rows), expected)
    assert_allclose(pseudo_likelihood_scorer(fitted, rows), expected.mean())
    one = pseudo_log_likelihood(fitted, rows, n_flips=1) / 2  # the term of a column
    assert (one < 0).all()
    assert (expected - one < 0).all()


def test_impossible_rows_in_functions():
    X = one_hot()
    rbm, impossible = make(groups="auto").fit(X), X.copy()
    impossible.loc[0, ["a", "b"]] = 1
    for function in (log_likelihood, pseudo_log_likelihood):
        if function is pseudo_log_likelihood:
            rbm, impossible = (
                clone(rbm).fit(X.drop(columns="x")),
                impossible.drop(columns="x"),
            )
        scores = function(rbm, impossible)
        assert scores[0] == -np.inf
        assert np.isfinite(scores[1:]).all()
    assert log_likelihood_scorer(rbm, impossible) == -np.inf
    with pytest.raises(ValueError, match=r"Row 0 of init .* at most one may be on"):
        draw_chains(rbm, 300, 1, init=impossible)


def test_functions_of_chains(fitted, rows):
    """Their draws are coded rows."""
    options = {"n_gibbs_steps": 3, "random_state": 0}
    chains = draw_chains(fitted, 4, 50, init=rows[:4], **options)
    assert chains.shape == (4, 50, len(rows.columns))
    assert np.isin(chains[..., 0], [0, 1, 2]).all()
    diagnostics = diagnose(fitted, chains)
    names = [f"feature {place}" for place in range(len(rows.columns))]
    assert diagnostics.statistics[0] == "free energy"
    assert sorted(diagnostics.statistics[1:]) == names
    assert np.isfinite(diagnostics.r_hat).all()
    assert diagnose(fitted, chains, n_features=1).free_energy.shape == (4, 50)
    assert ChainsDisplay.from_estimator(fitted, chains).lines_
    n_components, n_encoded = fitted.components_.shape
    arrays = (2, n_components, n_encoded), (2, n_encoded), (2, n_components)
    with pytest.raises(ValueError, match="only available for binary visible units"):
        draw_chains(fitted, ladder=ModelLadder(*map(np.zeros, arrays)))


def test_displays(fitted, rows):
    assert TrainingDisplay.from_estimator(fitted).lines_
    assert ActivationsDisplay.from_estimator(fitted, rows).bars_
    for display in (FiltersDisplay, SamplesDisplay):
        with pytest.raises(TypeError, match="models tables, whose columns are no pixels"):
            display.from_estimator(fitted)
    plt.close("all")


def test_a_single_row(fitted, rows):
    """It is an array of values, whatever the table was."""
    for row in (rows.iloc[3], rows.iloc[3].to_numpy(), rows.iloc[3].tolist()):
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            values = fitted.gibbs(row, random_state=0)
        assert values.shape == (len(rows.columns),)
        assert values[0] in list("abc")
    values = fitted.sample_visible(fitted.h_samples_[0])
    assert values[0] in list("abc")


def test_parameters_that_are_set_by_hand_need_a_table(fitted, rows):
    """The columns are not known before a fit."""
    rbm = clone(fitted)
    with pytest.raises(NotFittedError):
        rbm.transform(rows)
    for name in FITTED:
        setattr(rbm, name, getattr(fitted, name))
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        rbm.sample(3)


def test_callbacks(rows, tmp_path):
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")
    from skrbm import callbacks

    whole = make(n_iter=4).fit(rows)
    monitor = callbacks.LikelihoodMonitor(rows[:50], random_state=0)
    path = tmp_path / "rbm.ckpt"
    rbm = make(n_iter=4)
    rbm.set_callbacks(monitor, callbacks.Checkpoint(path, every=2), StopAfter(2)).fit(rows)
    assert monitor.history_["epoch"] == [1, 2]
    assert_allclose(
        monitor.history_["log_likelihood"][-1], rbm.log_likelihood(rows[:50]).mean()
    )
    resumed = callbacks.resume(path, rows)
    assert_same(resumed, whole)
    assert_array_equal(resumed.feature_names_in_, rows.columns)
    assert list(resumed.categories_["letter"]) == list("abc")
    with pytest.raises(ValueError, match="used other rows"):
        callbacks.resume(path, rows[::-1])
    with pytest.raises(ValueError, match=r"X of LikelihoodMonitor has values .* 'q'"):
        make().set_callbacks(callbacks.LikelihoodMonitor(rows.assign(letter="q"))).fit(rows)
    with pytest.raises(TypeError, match="TrajectoryLadder only supports binary"):
        make().set_callbacks(callbacks.TrajectoryLadder()).fit(rows)


class StopAfter:
    """Callback that stops a training after some epochs."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def setup(self, estimator, context):
        pass

    on_fit_task_begin = teardown = setup

    def on_fit_task_end(self, estimator, context):
        return context.task_name == "epoch" and estimator._training.n_done == self.n_epochs


# Any table -------------------------------------------------------------------------------

TEXTS = st.sampled_from(["", "a", "b", "ä", "1", "None", "long " * 20])
CELLS = {
    "bool": st.booleans(),
    "string": TEXTS,
    "category": TEXTS,
    "ordered": TEXTS,
    "int": st.integers(-3, 3),
    "float": st.floats(-1e3, 1e3, width=32),
    "float with few values": st.sampled_from([0.0, 1.0, 2.5]),
}


@st.composite
def tables(draw):
    """Frames of all types of columns, and arrays, with gaps."""
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=5))
    n_rows = draw(st.integers(1, 12))
    columns = {}
    for place, kind in enumerate(kinds):
        cells = draw(st.lists(CELLS[kind], min_size=n_rows, max_size=n_rows))
        values = pd.Series(cells)
        if kind in ("category", "ordered"):
            categories = draw(st.permutations(sorted({*cells, "unused"})))
            values = pd.Series(pd.Categorical(cells, categories, ordered=kind == "ordered"))
        gaps = draw(st.sets(st.integers(1, n_rows)))  # not in the first row
        if draw(st.booleans()):
            values = values.mask(values.index.isin(gaps))
        columns[f"{kind} {place}"] = values
    frame = pd.DataFrame(columns)
    return frame.to_numpy() if draw(st.booleans()) else frame


@settings(max_examples=60, deadline=None)
@given(X=tables(), solver=st.sampled_from(["pcd", "cd"]), n_components=st.integers(1, 4))
def test_any_table_is_modeled(X, solver, n_components):
    """Training, samples, scores and features of any table are sound."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # What few rows may lead to.
        for message in ("X is constant in", "The variance of", "Training did not converge"):
            warnings.filterwarnings("ignore", message)
        rbm = MixedRBMEstimator(n_components, solver=solver, n_iter=2, random_state=0).fit(
            X
        )
        drawn, reconstructed = rbm.sample(7), rbm.reconstruct(X)
        assert drawn.shape == (7, X.shape[1])
        assert reconstructed.shape == X.shape
        if isinstance(X, np.ndarray):  # in which means of bits are probabilities
            reconstructed = drawn
        for rows in (drawn, reconstructed, rbm.gibbs(drawn), sample_conditional(rbm, X)):
            values = pd.DataFrame(rows)
            assert values.notna().all(axis=None)
            for place, known in enumerate(categories_of(rbm)):
                assert known is None or values.iloc[:, place].isin(known).all()
        for rows in (X, drawn):
            assert np.isfinite(rbm.score_samples(rows)).all()
            assert np.isfinite(rbm.log_likelihood(rows)).all()
            H = rbm.transform(rows)
            assert ((H >= 0) & (H <= 1)).all()
        again = pickle.loads(pickle.dumps(rbm))
        assert_array_equal(again.score_samples(X), rbm.score_samples(X))


def categories_of(rbm):
    """Return the categories of each column, or None."""
    known = rbm.categories_
    return list(known.values()) if isinstance(known, dict) else known


def test_numbers_far_from_zero_are_precise_whatever_the_hidden_rows():
    X = 1e9 + np.random.default_rng(0).normal(size=(100, 2))
    rbm = MixedRBMEstimator(4, n_iter=2, random_state=0).fit(X)
    H = rbm.transform(X).astype(np.float32)
    means = rbm.inverse_transform(H)
    assert means.dtype == np.float64
    assert_allclose(means, rbm.inverse_transform(H.astype(np.float64)), rtol=1e-14)
    assert len(np.unique(rbm.sample_visible(H > 0.5, random_state=0))) == X.size


def test_a_new_fit_leaves_no_attributes_of_the_last_one():
    numbers = np.random.default_rng(0).normal(size=(30, 2))
    rbm = MixedRBMEstimator(2, n_iter=1, random_state=0).fit(numbers)
    assert hasattr(rbm, "axes_")
    rbm.fit(numbers[:, :1])
    assert hasattr(rbm, "noise_variance_")
    assert not hasattr(rbm, "axes_")
    assert not hasattr(rbm, "axes_variance_")
    rbm.fit(numbers > 0)
    assert not hasattr(rbm, "noise_variance_")
    assert not hasattr(rbm, "visible_variance_")


def test_groups_are_told():
    rng = np.random.default_rng(0)
    bits = np.eye(3)[rng.integers(3, size=500)]
    frame = pd.DataFrame(np.column_stack([bits, rng.normal(size=500)]), columns=[*"abcx"])
    rbm = MixedRBMEstimator(2, groups="auto", n_iter=1)
    assert rbm.fit(frame).groups_ == [["a", "b", "c"]]
    assert rbm.fit(frame.to_numpy()).groups_ == [[0, 1, 2]]
    assert rbm.set_params(groups=None).fit(frame).groups_ == []
