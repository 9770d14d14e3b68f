"""Couplings, against sums over all states of models with a few columns."""

import itertools
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import by_hand, states, tiny_rbm
from count_units import CountRBM
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import BernoulliRBM

from skrbm import (
    BernoulliRBMEstimator,
    GaussianRBMEstimator,
    MixedRBMEstimator,
    _kernels,
)
from skrbm.inspection import effective_couplings

TYPES = ["real", "binary", "categorical", "ordinal", "real", "categorical"]
N_VALUES = [0, 2, 3, 4, 0, 1]


def with_other_parameters(rbm, scale=1.0, seed=1):
    """Estimator with larger weights and biases than training gives."""
    rng = np.random.default_rng(seed)
    for name in ("components_", "intercept_visible_", "intercept_hidden_"):
        values = getattr(rbm, name)
        values = values + scale * rng.standard_normal(values.shape)
        setattr(rbm, name, values.astype(getattr(rbm, name).dtype))
    return rbm


def table(n=60, seed=0):
    """Rows of numbers, whose columns have the types above."""
    rng = np.random.default_rng(seed)
    columns = [rng.integers(max(n_values, 1), size=n) for n_values in N_VALUES]
    columns[0] = rng.normal(3, 2, n)
    columns[4] = columns[0] - 2 * columns[1] + rng.normal(0, 1, n)
    return np.column_stack(columns).astype(float)


def mixed_rbm(covariance_type="full", **parameters):
    rbm = MixedRBMEstimator(
        3,
        feature_types=TYPES,
        covariance_type=covariance_type,
        n_iter=1,
        random_state=0,
    )
    return with_other_parameters(rbm.fit(table()), **parameters)


def gaussian_rbm(**parameters):
    rbm = GaussianRBMEstimator(3, n_iter=1, random_state=0)
    return with_other_parameters(rbm.fit(table()[:, [0, 4]]), **parameters)


def bernoulli_rbm(dtype=np.float64, **parameters):
    return by_hand(tiny_rbm(5, 3, dtype, **parameters))


def values_of_states(rbm):
    """Values of the states of each column, in the data."""
    if isinstance(rbm, BernoulliRBMEstimator):
        return [[0.0, 1.0]] * 5
    moments = rbm.visible_mean_[-2:], np.sqrt(rbm.visible_variance_)
    ends = [[mean - s, mean + s] for mean, s in zip(*moments, strict=True)]
    if isinstance(rbm, GaussianRBMEstimator):
        return ends
    values = [list(range(n)) for n in N_VALUES]
    values[0], values[4] = ends
    return values


def log_weights(rbm, rest, columns):
    """Log-weights of all states of some columns, given a row of the others.

    There is an axis for each of the columns.
    """
    values = [values_of_states(rbm)[i] for i in columns]
    rows = np.tile(rest, (int(np.prod([len(v) for v in values])), 1))
    rows[:, columns] = list(itertools.product(*values))
    return -rbm.free_energy(rows).reshape([len(v) for v in values])


def centered(values):
    """Values of which the means along all axes have been subtracted."""
    for axis in range(values.ndim):
        values = values - values.mean(axis, keepdims=True)
    return values


def assert_couplings(result, fields, couplings):
    """Assert all fields and couplings, which are keyed by columns."""
    for i, field in fields.items():
        assert_allclose(result.fields[i], field, atol=1e-6)
    for (i, j), of_states in couplings.items():
        assert_allclose(result.between(i, j), of_states, atol=1e-6)
        assert_allclose(result.between(j, i), of_states.T, atol=1e-6)
        strength = np.sqrt(np.square(of_states).mean())
        if of_states.shape == (2, 2):
            strength = of_states[1, 1]
        assert_allclose(result.strengths[i, j], strength, atol=1e-6)


MODELS = pytest.mark.parametrize(
    "rbm",
    [
        bernoulli_rbm(),
        bernoulli_rbm(np.float32),
        bernoulli_rbm(scale=6.0),
        mixed_rbm(),
        mixed_rbm("diag"),
        gaussian_rbm(),
    ],
    ids=["bits", "float32", "large weights", "table", "diag", "real"],
)


@MODELS
def test_terms_of_the_expansion(rbm):
    n = len(values_of_states(rbm))
    logs = log_weights(rbm, np.zeros(n), range(n))
    couplings = {
        (i, j): centered(logs.mean(axis=tuple(set(range(n)) - {i, j})))
        for i, j in itertools.combinations(range(n), 2)
    }
    fields = {i: centered(logs.mean(axis=tuple(set(range(n)) - {i}))) for i in range(n)}
    result = effective_couplings(rbm)
    assert result.n_samples is None
    assert_couplings(result, fields, couplings)


def rows_for(rbm, n=7):
    if isinstance(rbm, BernoulliRBMEstimator):
        return states(5)[np.random.default_rng(0).integers(32, size=n)]
    X = table(n, seed=2)
    return X[:, [0, 4]] if isinstance(rbm, GaussianRBMEstimator) else X


def shares(rbm, X):
    """Mean over rows of the states of each column; a real value is between the two."""
    result = []
    for i, values in enumerate(values_of_states(rbm)):
        if isinstance(values[0], float) and values != [0.0, 1.0]:
            upper = (X[:, i] - values[0]).mean() / (values[1] - values[0])
            result.append(np.array([1 - upper, upper]))
        else:
            result.append((X[:, [i]] == values).mean(axis=0))
    return result


@MODELS
def test_means_over_rows(rbm):
    X = rows_for(rbm)
    n = X.shape[1]
    couplings = {
        (i, j): centered(np.mean([log_weights(rbm, row, [i, j]) for row in X], axis=0))
        for i, j in itertools.permutations(range(n), 2)
    }
    of_states = shares(rbm, X)
    fields = {
        i: centered(np.mean([log_weights(rbm, row, [i]) for row in X], axis=0))
        - sum(couplings[i, j] @ of_states[j] for j in range(n) if j != i)
        for i in range(n)
    }
    result = effective_couplings(rbm, X)
    assert result.n_samples == len(X)
    assert_couplings(result, fields, couplings)


def test_rows_of_all_states_give_the_mean_over_states():
    rbm = bernoulli_rbm()
    over_rows, over_states = (effective_couplings(rbm, X) for X in (states(5), None))
    assert_allclose(over_rows.couplings, over_states.couplings, atol=1e-9)
    for i in range(5):
        assert_allclose(over_rows.fields[i], over_states.fields[i], atol=1e-9)


def test_the_log_odds_ratio():
    """The coupling of two bits is a quarter of it, and the field half of the log odds."""
    rbm = by_hand(tiny_rbm(2, 3))
    p = np.exp(-rbm.free_energy(states(2))).reshape(2, 2)
    for X in (None, states(2)[:1]):
        result = effective_couplings(rbm, X)
        ratio = p[1, 1] * p[0, 0] / (p[1, 0] * p[0, 1])
        assert_allclose(result.strengths[0, 1], np.log(ratio) / 4)
        odds = p[1] / p[0]
        assert_allclose(result.fields[0][1], np.log(odds).mean() / 2)
        assert_allclose(result.fields[0][0], -result.fields[0][1])


@pytest.mark.parametrize("with_rows", [False, True])
def test_the_gauge(with_rows):
    result = effective_couplings(mixed_rbm(), table() if with_rows else None)
    assert_array_equal(np.diag(result.strengths), 0)
    assert_allclose(result.strengths, result.strengths.T, atol=1e-12)
    assert_allclose(result.couplings, result.couplings.T, atol=1e-12)
    for i, j in itertools.product(range(6), repeat=2):
        for axis in (0, 1):
            assert_allclose(result.between(i, j).sum(axis=axis), 0, atol=1e-10)
    for field in result.fields.values():
        assert_allclose(field.sum(), 0, atol=1e-10)


@pytest.mark.parametrize("X", [None, states(5)[3:9]])
def test_independent_columns(X):
    rbm = bernoulli_rbm()
    rbm.components_[:, [0, 1]] = 0  # these depend on nothing
    rbm.components_[1:, 2:] = 0
    rbm.components_[0, 3:] = 0  # the only unit left has a single column
    result = effective_couplings(rbm, X)
    assert_allclose(result.strengths, 0, atol=1e-12)
    single = np.logaddexp(0, rbm.intercept_hidden_[0] + [0, rbm.components_[0, 2]])
    expected = rbm.intercept_visible_ / 2
    expected[2] += np.diff(single)[0] / 2
    assert_allclose([field[1] for field in result.fields.values()], expected)


@pytest.mark.parametrize("X", [None, states(5)[3:9]])
def test_hidden_units_that_are_always_on_couple_nothing(X):
    rbm = bernoulli_rbm()
    rbm.intercept_hidden_[...] = 60
    result = effective_couplings(rbm, X)
    assert_allclose(result.strengths, 0, atol=1e-9)
    expected = (rbm.intercept_visible_ + rbm.components_.sum(axis=0)) / 2
    assert_allclose([field[1] for field in result.fields.values()], expected)


def test_weights_whose_exponentials_overflow():
    rbm = bernoulli_rbm()
    rbm.components_ *= 1000
    X = rows_for(rbm)
    logs = [log_weights(rbm, row, [0, 1]) for row in X]
    result = effective_couplings(rbm, X).between(0, 1)
    assert_allclose(result, centered(np.mean(logs, axis=0)), rtol=1e-6)


@pytest.mark.parametrize("n_columns", [2, 8, 100])
def test_equal_weights(n_columns, monkeypatch):
    """The number of other columns that are on has a binomial distribution.

    At some frequencies, the characteristic functions of all columns vanish.
    """
    rbm = SimpleNamespace(
        components_=np.full((1, n_columns), 2.0),
        intercept_visible_=np.zeros(n_columns),
        intercept_hidden_=np.array([-n_columns / 1.2]),
    )
    n_on = np.arange(n_columns - 1)
    p = binom.pmf(n_on, n_columns - 2, 0.5)
    logs = np.logaddexp(0, 2 * np.add.outer(range(3), n_on) - n_columns / 1.2) @ p
    expected = (logs[2] - 2 * logs[1] + logs[0]) / 4 * (1 - np.eye(n_columns))
    assert_allclose(effective_couplings(rbm).strengths, expected, atol=1e-10)
    monkeypatch.setattr(_kernels, "WORK_SIZE", 64)
    assert_allclose(effective_couplings(rbm).strengths, expected, atol=1e-10)


def test_forms_of_rows():
    rbm, X = bernoulli_rbm(), rows_for(bernoulli_rbm())
    expected = effective_couplings(rbm, X).couplings
    for form in (sp.csr_array, np.ndarray.tolist, lambda X: X.astype(bool)):
        assert_allclose(effective_couplings(rbm, form(X)).couplings, expected, atol=1e-12)
    theirs = BernoulliRBM(3, n_iter=1, random_state=0).fit(X)
    assert effective_couplings(theirs, X).strengths.shape == (5, 5)


def test_names_and_states_of_frames():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "pet": rng.choice(["cat", "dog", "fish"], 200),
            "size": rng.normal(0, 1, 200),
            "a": rng.integers(2, size=200),
            "b": 0,
        }
    )
    X["b"] = np.where(rng.random(200) < 0.5, 1 - X["a"], 0)
    rbm = MixedRBMEstimator(3, groups=[["a", "b"]], n_iter=1, random_state=0).fit(X)
    result = effective_couplings(rbm, X)
    assert result.feature_names == ["pet", "size", ("a", "b")]
    assert result.states["pet"].tolist() == ["cat", "dog", "fish"]
    assert result.states["size"].tolist() == [-1, 1]
    assert result.states["a", "b"].tolist() == ["a", "b", None]
    assert result.between("pet", ("a", "b")).shape == (3, 3)
    bits = X[["a", "b"]]
    named = BernoulliRBMEstimator(2, n_iter=1).fit(bits)
    assert effective_couplings(named, bits).feature_names == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        effective_couplings(named, bits[["b", "a"]])


def test_the_strongest():
    rbm = bernoulli_rbm()
    result = effective_couplings(rbm)
    pairs = result.strongest()
    assert len(pairs) == 10
    values = [value for _, _, value in pairs]
    assert_array_equal(np.argsort(-np.abs(values), kind="stable"), np.arange(10))
    for i, j, value in pairs:
        assert value == result.strengths[i, j]
    assert result.strongest(2) == pairs[:2]
    first, second, value = pairs[0]
    lines = repr(result).splitlines()
    assert lines[0] == "couplings of 5 columns, averaged over all states"
    assert lines[1].split("  ")[-1] == f"{first}, {second}"
    assert f"{value:+.3f}" in lines[1]
    assert len(lines) == 6
    assert "over 4 rows" in repr(effective_couplings(rbm, states(5)[:4]))


def test_errors():
    rbm, X = bernoulli_rbm(), rows_for(bernoulli_rbm())
    with pytest.raises(ValueError, match="rows of the values 0 and 1, but X has values"):
        effective_couplings(rbm, X / 2)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        effective_couplings(rbm, np.where(X == 1, np.nan, X))
    with pytest.raises(ValueError, match="X has 4 features, but the model has 5"):
        effective_couplings(rbm, X[:, :4])
    with pytest.raises(NotFittedError):
        effective_couplings(BernoulliRBMEstimator())
    counts = CountRBM(2, n_iter=1, random_state=0).fit(states(3))
    with pytest.raises(TypeError, match="The columns of a CountRBM have no states"):
        effective_couplings(counts)
    result = effective_couplings(rbm)
    with pytest.raises(ValueError, match="no column 'a': the names are those in feature"):
        result.between(0, "a")
    with pytest.raises(ValueError, match=re.escape("n == 0, must be >= 1")):
        result.strongest(0)
