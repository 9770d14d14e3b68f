"""Columns given all other columns, against sums over all states written out in full."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import Enumerated, by_hand, states, tiny_rbm
from count_units import CountRBM
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import logsumexp, softmax
from sklearn.exceptions import NotFittedError
from test_covariance import LOCATION, SCALE, Mixture, model_by_hand
from test_groups_of_units import N_STATES, ROWS, Truth, encoded, model_of
from test_mixed import COLORS, MOODS, PETS, make, some_rows, teacher
from test_mixed import Truth as TruthOfTables

from skrbm import BernoulliRBMEstimator, GaussianRBMEstimator, _gaps
from skrbm._attributes import attributes_of
from skrbm._model import RBM
from skrbm._units.gaussian import GaussianUnits

BITS = states(5)
VALUES = {"pet": PETS, "mood": MOODS, "color": COLORS}


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


def tolerance(dtype):
    return {"atol": 1e-5 if dtype == np.float32 else 1e-9}


def given_others(exact, X, column):
    """Probability of a 1 in each row, given its other cells, of which some are missing."""
    p = []
    for row in X:
        row = np.where(np.arange(len(row)) == column, np.nan, row)
        weights = exact.p_v * ((exact.v == row) | np.isnan(row)).all(axis=1)
        p.append(weights @ exact.v[:, column] / weights.sum())
    return np.stack([1 - np.array(p), p], axis=1)


# States -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.array, sp.csr_array, sp.csc_array])
@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_bits(scale, form, dtype):
    """Also with weights whose exponentials overflow."""
    rbm = by_hand(tiny_rbm(5, 3, dtype, scale))
    exact, X = Enumerated(*tiny_rbm(5, 3, dtype, scale).arrays), form(BITS.astype(dtype))
    many = rbm.conditional_proba(X, [4, 0, 2])
    assert list(many) == [4, 0, 2]
    for column, p in many.items():
        assert p.dtype == np.float64
        expected = given_others(exact, BITS, column)
        assert_allclose(p, expected, atol=1e-4 if scale > 1 else 1e-5)
        assert_allclose(rbm.conditional_proba(X, column), p, **tolerance(dtype))


def test_expectations_of_bits():
    """The probability of a bit does not depend on its value, even if that is no state."""
    rbm = by_hand(tiny_rbm(5, 3))
    X = np.random.default_rng(0).random((20, 5))
    p = rbm.conditional_proba(X, 2)
    for value in (0, 1, 0.3, np.nan):
        X[:, 2] = value
        assert_allclose(rbm.conditional_proba(X, 2), p, rtol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 150.0])
def test_columns_with_states(scale, dtype):
    """In any order, with scores that sum to the pseudo-log-likelihood."""
    model = model_of(dtype=dtype)
    model.weights[...] *= scale
    with np.errstate(divide="ignore"):
        truth, v = Truth(model), encoded(model)
    grid, features = truth.p_v.reshape(N_STATES), np.array([3, 0, 2, 1])
    found = list(model.conditionals(v, features))
    for feature, conditional in zip(features, found, strict=True):
        p = np.moveaxis(grid, feature, -1)
        codes = np.delete(ROWS, feature, axis=1).astype(int)
        with np.errstate(invalid="ignore"):
            p = (p / p.sum(axis=-1, keepdims=True))[tuple(codes.T)]
        known = np.isfinite(p).all(axis=1)  # the others are possible, up to rounding
        assert conditional.log_p.dtype == np.float64
        assert conditional.log_p.shape == (len(ROWS), N_STATES[feature])
        assert_allclose(np.exp(conditional.log_p)[known], p[known], atol=1e-4)
        assert_allclose(np.exp(conditional.log_p).sum(axis=1), 1)
        own = ROWS[:, feature].astype(int)
        expected = conditional.log_p[np.arange(len(ROWS)), own]
        assert_allclose(conditional.score, expected, rtol=1e-5, atol=1e-5)
    total = sum(each.score for each in found)
    assert_allclose(model.pseudo_log_likelihood(v), total, rtol=1e-5, atol=1e-4)
    assert_array_equal(model.visible.n_states, N_STATES)


def test_states_of_a_table(real, rbm):
    X, truth = some_rows(real, 30), TruthOfTables.of(rbm)
    found = rbm.conditional_proba(X, list(VALUES))
    for name, values in VALUES.items():
        dtype = X[name].dtype
        others = [X.assign(**{name: pd.Series(len(X) * [v], dtype=dtype)}) for v in values]
        density = np.transpose([truth.density(each) for each in others])
        p = density / density.sum(axis=1, keepdims=True)
        order = [list(values).index(value) for value in rbm.categories_[name]]
        assert_allclose(found[name], p[:, order], atol=1e-5)
        alone = rbm.conditional_proba(X.assign(**{name: None}), name)
        assert_allclose(alone, found[name], atol=1e-6)


@pytest.fixture(params=[False, True], ids=["states", "states and a number"])
def real(request):
    return request.param


@pytest.fixture
def rbm(real):
    return teacher(real)


# Numbers ----------------------------------------------------------------------------------


def gaussian_by_hand(dtype=np.float64, size=1.0, seed=0):
    """An estimator of independent units, with parameters that are set by hand."""
    rng = np.random.default_rng(seed)
    units = GaussianUnits(*rng.normal(0, 0.3, (2, 4)).astype(dtype), LOCATION, SCALE)
    weights = (size * rng.standard_normal((4, 3))).astype(dtype)
    rbm = GaussianRBMEstimator(3, covariance_type="diag")
    model = RBM(weights, units, rng.normal(-1, 1, 3).astype(dtype))
    vars(rbm).update(attributes_of(model) | units.data_attributes(None))
    rbm.n_features_in_ = 4
    return rbm


class IndependentMixture(Mixture):
    """The same distribution as that of correlated units with these axes."""

    def __init__(self, rbm):
        rbm.axes_, rbm.axes_variance_ = np.eye(4), rbm.noise_variance_
        super().__init__(rbm)
        del rbm.axes_, rbm.axes_variance_


def moments_by_quadrature(mixture, row, column):
    """Mean, deviation and log-density of a cell of a row given the others."""
    precision = np.linalg.inv(mixture.covariance)

    def log_density(x):
        errors = np.where(np.arange(len(row)) == column, x, row) - mixture.means
        return logsumexp(mixture.log_p - 0.5 * ((errors @ precision) * errors).sum(axis=1))

    points = mixture.means[:, column]
    level = max(map(log_density, points))
    margin = 30 * np.sqrt(mixture.covariance[column, column])
    ends = points.min() - margin, points.max() + margin
    options = {"points": points, "limit": 500, "epsabs": 0, "epsrel": 1e-9}

    def integral(power):
        def function(x):
            return np.exp(log_density(x) - level) * (x - row[column]) ** power

        return quad(function, *ends, **options)[0]

    total = integral(0)
    mean, square = integral(1) / total, integral(2) / total
    log_p = log_density(row[column]) - level - np.log(total)
    return row[column] + mean, np.sqrt(square - mean**2), log_p


@pytest.mark.parametrize("size", [1.0, 4.0])
@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_numbers(covariance_type, size, dtype):
    if covariance_type == "diag":
        rbm = gaussian_by_hand(dtype, size)
        mixture = IndependentMixture(rbm)
    else:
        rbm = model_by_hand(size=size, dtype=dtype)
        mixture = Mixture(rbm)
    rows = rbm.sample(3, random_state=0).astype(np.float64)
    found = rbm.conditional_proba(rows, range(4))
    rtol = 1e-4 if dtype == np.float32 else 1e-6
    for column, moments in found.items():
        expected = [moments_by_quadrature(mixture, row, column)[:2] for row in rows]
        mean, std = np.transpose(expected)
        assert_allclose(moments.mean, mean, atol=rtol * SCALE[column])
        assert_allclose(moments.std, std, rtol=rtol)
        other = rows.copy()
        other[:, column] += 3 * SCALE[column]
        again = rbm.conditional_proba(other, column)
        assert_allclose(again.mean, mean, atol=rtol * SCALE[column])
        other[:, column] = np.nan
        again = rbm.conditional_proba(other, column)
        assert_allclose(again.mean, mean, atol=rtol * SCALE[column])
        assert_allclose(again.std, std, rtol=rtol)


@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_numbers_that_are_far_off(covariance_type, dtype):
    """Their distribution given the others is that of other rows."""
    full = covariance_type == "full"
    rbm = (model_by_hand if full else gaussian_by_hand)(dtype=dtype)
    X = rbm.sample(2, random_state=0).astype(np.float64)
    X[1] = X[0]
    X[1, 2] = 1e20
    mean, std = rbm.conditional_proba(X, [1, 2])[2]
    assert_allclose(mean[1], mean[0], rtol=1e-6)
    assert_allclose(std[1], std[0], rtol=1e-6)


@pytest.mark.parametrize("size", [1.0, 1e3])
def test_grids_of_numbers(size, monkeypatch):
    """Few points at once make no difference, nor do means far apart."""
    model, rng = gaussian_by_hand(np.float64, size), np.random.default_rng(0)
    X = LOCATION + SCALE * rng.standard_normal((50, 4))
    expected = model.conditional_proba(X, 2)
    monkeypatch.setattr("skrbm._units.gaussian.POINTS_AT_ONCE", 6)
    found = model.conditional_proba(X, 2)
    assert_allclose(found.mean, expected.mean, rtol=1e-9)
    assert_allclose(found.std, expected.std, rtol=1e-6)


def test_a_number_among_states():
    rbm = teacher(True)
    X, truth = some_rows(True, 5), TruthOfTables.of(rbm)
    grid = np.linspace(60, 280, 4401)
    p = [
        truth.density(X.iloc[[row] * len(grid)].assign(size=grid)) for row in range(len(X))
    ]
    p = np.array(p) / np.sum(p, axis=1, keepdims=True)
    for given in (X, X.assign(size=None)):
        mean, std = rbm.conditional_proba(given, "size")
        assert_allclose(mean, p @ grid, rtol=1e-6)
        assert_allclose(std, np.sqrt(p @ grid**2 - (p @ grid) ** 2), rtol=1e-5)


# Gaps -------------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["exact", "by chains"])
def exact(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(_gaps, "LARGEST_EXACT_MEANS", 2)
        monkeypatch.setattr(_gaps, "N_CHAINS", 1000)
    return request.param


def test_bits_given_the_observed_ones(exact):
    rbm, truth = by_hand(tiny_rbm(5, 3)), Enumerated(*tiny_rbm(5, 3).arrays)
    X = np.where(np.random.default_rng(0).random(BITS.shape) < 0.4, np.nan, BITS)
    X[0] = np.nan
    for column in range(5):
        expected = given_others(truth, X, column)
        p = rbm.conditional_proba(X, column)
        assert_allclose(p, expected, atol=1e-6 if exact else 0.01)
        some = rbm.conditional_proba(X[[7]], column)
        assert_allclose(some, p[[7]], rtol=1e-6)


def test_a_table_given_the_observed_cells(exact, real, rbm):
    """Against sums over the values of a missing cell."""
    X, truth = some_rows(real, 4), TruthOfTables.of(rbm)
    grid, colors = np.linspace(60, 280, 441), np.repeat(COLORS, 2)
    for row in range(len(X)):
        many = X.iloc[[row] * 6].assign(color=colors, pet=np.tile(PETS, 3))
        p = truth.density(many).reshape(3, 2).sum(axis=0)
        given = X.iloc[[row]].assign(color=None)
        found = rbm.conditional_proba(given, "pet")
        assert_allclose(found, [p / p.sum()], atol=1e-5 if exact else 0.02)
        if not real:
            continue
        given = X.iloc[[row]].assign(mood=None)
        moods = [pd.Series([m] * len(grid), dtype=X["mood"].dtype).array for m in MOODS]
        many = X.iloc[[row] * len(grid)].assign(size=grid)
        p = sum(truth.density(many.assign(mood=mood)) for mood in moods)
        p /= p.sum()
        (mean,), (std,) = rbm.conditional_proba(given, "size")
        atol = 1e-4 if exact else 0.3
        assert_allclose(mean, p @ grid, atol=atol)
        assert_allclose(std, np.sqrt(p @ grid**2 - (p @ grid) ** 2), atol=atol)


@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_numbers_given_observed_ones(covariance_type, exact):
    """Moments are those of the mixture of all hidden states."""
    full = covariance_type == "full"
    rbm = (model_by_hand if full else gaussian_by_hand)()
    mixture = (Mixture if full else IndependentMixture)(rbm)
    X = rbm.sample(4, random_state=1)
    X[np.arange(4), np.arange(4)] = X[3] = X[1, 2] = np.nan
    for column in range(4):
        found = rbm.conditional_proba(X, column)
        for row, mean, std in zip(X, *found, strict=True):
            seen = np.flatnonzero(~np.isnan(row) & (np.arange(4) != column))
            among = mixture.covariance[np.ix_(seen, seen)]
            gains = np.linalg.solve(among, mixture.covariance[seen, column])
            errors = row[seen] - mixture.means[:, seen]
            log_p = mixture.log_p - 0.5 * (errors @ np.linalg.inv(among) * errors).sum(1)
            p, means = softmax(log_p), mixture.means[:, column] + errors @ gains
            variance = mixture.covariance[column, column]
            variance -= gains @ mixture.covariance[seen, column]
            variance += p @ (means - p @ means) ** 2
            atol = (1e-6 if exact else 0.06) * SCALE[column]
            assert_allclose(mean, p @ means, atol=atol)
            assert_allclose(std**2, variance, rtol=1e-5 if exact else 0.1)


def test_rows_do_not_change_each_other():
    X = np.random.default_rng(0).normal(0, 1, (40, 4))
    X[:, 0] = X[:, 1] > 0
    X[::3, 1], X[::4, 2], X[::5, 0] = np.nan, np.nan, np.nan
    rbm = make(n_components=16, n_iter=5).fit(X)
    for column in (0, 3):
        all_rows = np.asarray(rbm.conditional_proba(X, column)).reshape(2, -1)
        for few in ([12], [5, 12, 0]):
            found = rbm.conditional_proba(X[few], column)
            if column == 0:
                p = rbm.conditional_proba(X, column)[few]
                assert_allclose(found, p, rtol=1e-4)
            else:
                assert_allclose(np.asarray(found), all_rows[:, few], rtol=1e-4, atol=1e-5)


# Scores of cells --------------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_scores_of_bits(scale, form, dtype):
    """They sum to the pseudo-log-likelihood, as the compiled core sums it."""
    rbm = by_hand(tiny_rbm(5, 3, dtype, scale))
    X = form(BITS.astype(dtype))
    cells, relative = rbm.score_cells(X, relative=False), rbm.score_cells(X)
    assert cells.dtype == np.float64
    assert_allclose(cells.sum(axis=1), rbm.score_samples(X), rtol=1e-4, atol=1e-4)
    for column in range(5):
        log_p = np.log(rbm.conditional_proba(X, column) + 1e-300)
        own = log_p[np.arange(len(BITS)), BITS[:, column].astype(int)]
        probable = own > -30
        assert_allclose(cells[probable, column], own[probable], atol=1e-4)
        expected = (own - log_p.max(axis=1))[probable]
        assert_allclose(relative[probable, column], expected, atol=1e-4)
    assert relative.max() <= 0


def test_scores_of_expectations():
    """Values beyond [0, 1] are clipped, with a warning."""
    rbm, X = by_hand(tiny_rbm(5, 3)), np.random.default_rng(0).random((20, 5))
    cells = rbm.score_cells(X, relative=False)
    assert_allclose(cells.sum(axis=1), rbm.score_samples(X))
    p = rbm.conditional_proba(X, 1)
    expected = ((1 - X[:, 1]) * np.log(p[:, 0])) + X[:, 1] * np.log(p[:, 1])
    assert_allclose(cells[:, 1], expected)
    with pytest.warns(UserWarning, match="Values below 0 count as 0"):
        wild = rbm.score_cells(1.5 * X - 0.2)
    assert_allclose(wild, rbm.score_cells((1.5 * X - 0.2).clip(0, 1)))


def test_scores_of_a_table(real, rbm):
    """The relative one is the gain in log-likelihood if a cell is corrected."""
    X, truth = some_rows(real, 30), TruthOfTables.of(rbm)
    cells, relative = rbm.score_cells(X, relative=False), rbm.score_cells(X)
    assert cells.shape == X.shape
    if not real:
        assert_allclose(cells.sum(axis=1), rbm.score_samples(X), rtol=1e-5)
    for name, values in VALUES.items():
        dtype, place = X[name].dtype, X.columns.get_loc(name)
        others = [X.assign(**{name: pd.Series(len(X) * [v], dtype=dtype)}) for v in values]
        density = np.transpose([truth.density(each) for each in others])
        expected = np.log(truth.density(X) / density.sum(axis=1))
        assert_allclose(cells[:, place], expected, atol=1e-4)
        expected = np.log(truth.density(X) / density.max(axis=1))
        assert_allclose(relative[:, place], expected, atol=1e-4)


@pytest.mark.parametrize("size", [1.0, 4.0])
@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_scores_of_numbers(covariance_type, size, dtype):
    full = covariance_type == "full"
    rbm = (model_by_hand if full else gaussian_by_hand)(size=size, dtype=dtype)
    mixture = (Mixture if full else IndependentMixture)(rbm)
    rows = rbm.sample(2, random_state=0).astype(np.float64)
    rows[1, 2] += 4 * SCALE[2]
    cells, relative = rbm.score_cells(rows, relative=False), rbm.score_cells(rows)
    assert (relative <= 0).all()
    for column in range(4):
        expected = [moments_by_quadrature(mixture, row, column)[2] for row in rows]
        atol = 1e-3 if dtype == np.float32 else 1e-6
        assert_allclose(cells[:, column], expected, atol=atol, rtol=1e-5)
        found = []
        for row in rows:
            spread = 8 * np.sqrt(mixture.covariance[column, column])
            ends = mixture.means[:, column].min(), mixture.means[:, column].max()
            grid = np.linspace(ends[0] - spread, ends[1] + spread, 20_001)
            many = np.tile(row, (len(grid), 1))
            many[:, column] = grid
            found.append(rbm.log_likelihood(many, log_partition=0).max())
        gain = rbm.log_likelihood(rows, log_partition=0) - found
        assert_allclose(relative[:, column], gain, atol=0.03)


def test_scores_of_rows_with_gaps(real, rbm, monkeypatch):
    X = some_rows(real, 20)
    X.loc[::2, "mood"] = X.loc[5:9, "pet"] = X.loc[3] = None
    cells = rbm.score_cells(X, relative=False)
    assert_array_equal(np.isnan(cells), X.isna())
    if not real:
        assert_allclose(np.nansum(cells, axis=1), rbm.score_samples(X), rtol=1e-5)
    assert_array_equal(np.isnan(rbm.score_cells(X)), X.isna())
    assert_allclose(rbm.score_cells(X.iloc[[2]], relative=False), cells[[2]], rtol=1e-4)
    monkeypatch.setattr(_gaps, "N_CHAINS", 2000)
    cells, truth = rbm.score_cells(X, relative=False), TruthOfTables.of(rbm)
    others = [
        X.iloc[[2] * 2].assign(mood=pd.Series([mood] * 2, dtype=X["mood"].dtype).array)
        for mood in MOODS
    ]
    p = np.array([truth.density(each.assign(pet=PETS)) for each in others])
    own = PETS.index(X["pet"][2])
    expected = (p[:, own] / p[:, own].sum()) @ np.log(p[:, own] / p.sum(axis=1))
    assert_allclose(cells[2, X.columns.get_loc("pet")], expected, atol=0.05)


def test_scores_of_groups():
    """They sum to those of rows, and impossible rows have none."""
    kinds = np.random.default_rng(0).integers(0, 4, 300)
    X = np.column_stack([np.eye(4)[kinds][:, :3], kinds % 2, kinds > 1]).astype(int)
    rbm = make(groups=[[2, 0, 1]], n_iter=20).fit(X)
    cells = rbm.score_cells(X, relative=False)
    assert_allclose(cells.sum(axis=1), rbm.score_samples(X), rtol=1e-5)
    some = X[:, :3].any(axis=1)
    assert_array_equal(cells[some, :3] != 0, X[some, :3] == 1)
    assert_array_equal(cells[~some, 0], cells[~some, 2])
    impossible = np.vstack([[1, 1, 0, 0, 0], X[:1]])
    assert_array_equal(rbm.score_cells(impossible)[0], -np.inf)
    assert_allclose(rbm.score_cells(impossible)[1], rbm.score_cells(X[:1])[0])


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_scores_in_frames(container):
    pytest.importorskip(container, reason=f"{container} is not installed")
    for rbm in (BernoulliRBMEstimator(2, n_iter=2), make()):
        X = pd.DataFrame(BITS, columns=list("abcde"), index=range(7, 39))
        rbm.fit(X)
        assert isinstance(rbm.score_cells(X), np.ndarray)
        frame = rbm.set_output(transform=container).score_cells(X)
        assert list(frame.columns) == list("abcde")
        assert type(frame).__module__.startswith(container)
        if container == "pandas":
            assert_array_equal(frame.index, X.index)


def test_an_odd_cell_is_named():
    rng = np.random.default_rng(0)
    size = rng.normal(0, 1, 400)
    X = pd.DataFrame(
        {"x": size, "y": 100 * size + rng.normal(0, 10, 400), "large": size > 0}
    )
    X["large"] = X["large"].map({True: "yes", False: "no"})
    rbm = make(n_components=8, n_iter="auto").fit(X)
    odd = pd.DataFrame({"x": [1.5, 1.5, -1.5], "y": [150.0, -150, -150], "large": "yes"})
    cells = rbm.score_cells(odd)
    assert cells[0].min() > -3
    assert_array_equal(cells[1:].argmin(axis=1), [1, 2])
    with pytest.raises(NotFittedError):
        make().score_cells(X)


# Columns ----------------------------------------------------------------------------------


def test_columns_of_groups():
    """Each is given the columns outside of its group, which need not be known."""
    kinds = np.random.default_rng(0).integers(0, 4, 300)
    X = np.column_stack([np.eye(4)[kinds][:, :3], kinds % 2, kinds > 1]).astype(int)
    rbm = make(groups=[[2, 0, 1]], n_iter=20).fit(X)
    found = rbm.conditional_proba(X, [0, 1, 2, 3])
    on = np.column_stack([found[i][:, 1] for i in range(3)])
    assert (on.sum(axis=1) < 1).all()
    X_open = X.astype(object)
    X_open[:, 1], X_open[0, :3] = None, [1, 1, 0]
    assert_allclose(rbm.conditional_proba(X_open, 0), found[0], atol=1e-6)
    # Rows that differ in the group alone.
    bits = np.vstack([np.eye(3), np.zeros(3)]).astype(int)
    rows = np.column_stack([bits, np.tile(X[0, 3:], (4, 1))])
    p = np.exp(rbm.log_likelihood(rows))
    expected = np.stack([1 - p[:3] / p.sum(), p[:3] / p.sum()], axis=1)
    for place in range(3):
        assert_allclose(found[place][0], expected[place], atol=1e-5)
    with pytest.raises(ValueError, match="missing values of 1"):
        rbm.conditional_proba(X_open[1:], 3)


def test_values_of_the_column_may_be_unknown():
    rbm, X = teacher(False), some_rows(False, 6)
    expected = rbm.conditional_proba(X, "color")
    p = rbm.conditional_proba(X.assign(color="pink"), "color")
    assert_allclose(p, expected, atol=1e-6)
    with pytest.raises(ValueError, match="did not have in training: 'pink'"):
        rbm.conditional_proba(X.assign(color="pink"), "pet")


def test_names_and_indices():
    X = np.random.default_rng(0).random((30, 3)) < 0.5
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    rbm = BernoulliRBMEstimator(2, n_iter=2, random_state=0).fit(frame)
    several = rbm.conditional_proba(frame, ["c", "a"])
    assert list(several) == ["c", "a"]
    alone = rbm.conditional_proba(frame, "c")
    assert_allclose(several["c"], alone, atol=1e-6)
    assert_array_equal(rbm.conditional_proba(frame, np.array(["c"]))["c"], alone)
    for wrong in (2, "d", ["a", "d"], ("a", "b")):
        with pytest.raises(ValueError, match="column must refer to names of columns of X"):
            rbm.conditional_proba(frame, wrong)
    with pytest.raises(ValueError, match=r"but has 'd'\. X has the columns a, b, c\."):
        rbm.conditional_proba(frame, "d")
    rbm.fit(X)
    for wrong in (3, -1, "a", True, {}.get, [0, 3]):
        with pytest.raises(ValueError, match="indices of columns of X, below 3, but has"):
            rbm.conditional_proba(X, wrong)
    assert rbm.conditional_proba(X, []) == {}
    assert rbm.conditional_proba(X, np.int64(1)).shape == (30, 2)
    for unfitted in (BernoulliRBMEstimator(), GaussianRBMEstimator(), make()):
        with pytest.raises(NotFittedError):
            unfitted.conditional_proba(X, 0)
    with pytest.raises(ValueError, match="X has 2 features"):
        rbm.conditional_proba(X[:, :2], 0)
    counts = CountRBM(2, n_iter=1).fit(X)
    with pytest.raises(NotImplementedError, match="BoundedPoissonUnits, the kind"):
        counts.conditional_proba(X, 0)


def test_names_of_columns_of_tables():
    X = pd.DataFrame({3: [0, 1] * 20, ("a", 1): ["x", "y"] * 20})
    rbm = make().fit(X)
    assert rbm.conditional_proba(X, ("a", 1)).shape == (40, 2)
    assert rbm.conditional_proba(X, 3).shape == (40, 2)
    with pytest.raises(ValueError, match="column must refer to labels of columns of X"):
        rbm.conditional_proba(X, 0)
