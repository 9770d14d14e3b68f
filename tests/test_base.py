"""Public methods of a fitted model."""

import copy

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from conftest import BINARY, make_rbm
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.exceptions import NotFittedError

from skrbm import BernoulliRBMEstimator, GaussianRBMEstimator
from skrbm.likelihood import log_likelihood, log_partition
from skrbm.plotting import SamplesDisplay
from skrbm.sampling import diagnose, draw_chains


@pytest.fixture(scope="module")
def rbm():
    return make_rbm().fit(BINARY)


# Names of arguments -------------------------------------------------------------------

CALLS = {
    "transform": ("X", lambda rbm, X: rbm.transform(X)),
    "score": ("X", lambda rbm, X: rbm.score(X)),
    "fit": ("X", lambda rbm, X: make_rbm(warm_start=True).fit(BINARY).fit(X)),
    "log_likelihood": ("X", lambda rbm, X: rbm.log_likelihood(X)),
    "likelihood.log_likelihood": ("X", log_likelihood),
    "gibbs": ("v", lambda rbm, X: rbm.gibbs(X)),
    "sample": ("init", lambda rbm, X: rbm.sample(60, init=X)),
    "draw_chains": ("init", lambda rbm, X: draw_chains(rbm, 60, 1, init=X)),
    "log_partition": (
        "init",
        lambda rbm, X: log_partition(rbm, method="reverse_ais", init=X, random_state=0),
    ),
    "diagnose": ("chains", lambda rbm, X: diagnose(rbm, X[None])),
}


# The calls that accept missing values.
ALLOW_NAN = ["transform", "score", "fit", "log_likelihood", "likelihood.log_likelihood"]


@pytest.mark.parametrize("call", CALLS)
def test_errors_name_the_argument(rbm, call):
    name, function = CALLS[call]
    X = BINARY.astype(float)
    X[3, 5] = np.nan
    if call not in ALLOW_NAN:
        message = f"Input {name} contains NaN. Impute the missing"
        with pytest.raises(ValueError, match=message):
            function(rbm, X)
    X[3, 5] = np.inf
    with pytest.raises(ValueError, match=f"Input {name} contains infinity"):
        function(rbm, X)
    X = np.ma.masked_array(BINARY, BINARY > 0)
    with pytest.raises(TypeError, match=f"^{name} is a masked array"):
        function(rbm, X)
    with pytest.raises(ValueError, match=f"^{name} has 63 features"):
        function(rbm, BINARY[:, 1:])


def test_errors_of_sparse_rows_and_frames_name_the_argument(rbm):
    X = sp.csr_array(BINARY.astype(float))
    X.indices[3] = 64
    with pytest.raises(ValueError, match=r"^v is not a valid sparse array"):
        rbm.gibbs(X)
    with pytest.raises(ValueError, match=r"^v must be a single array or data frame"):
        rbm.gibbs([BINARY, BINARY])
    names = [f"pixel {i}" for i in range(64)]
    gaps = np.where(np.arange(64) == 5, np.nan, BINARY)
    for frame, key in (pd.DataFrame, "columns"), (pl.DataFrame, "schema"):
        fitted = make_rbm().fit(frame(data=BINARY, **{key: names}))
        with pytest.raises(ValueError, match=r"^Input v contains NaN. Impute the missing"):
            fitted.gibbs(frame(data=gaps, **{key: names}))


# Single rows --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.float64, int])
def test_gibbs_from_a_single_row(rbm, dtype):
    rows = BINARY[:1].astype(dtype)
    expected = rbm.gibbs(rows, n_gibbs_steps=3, random_state=0)
    v = rbm.gibbs(rows[0], n_gibbs_steps=3, random_state=0)
    assert v.shape == (64,)
    assert v.dtype == expected.dtype
    assert_array_equal(v, expected[0])
    assert_array_equal(rbm.gibbs(rows[0].tolist(), random_state=0).shape, (64,))
    series = pd.Series(rows[0])
    assert_array_equal(rbm.gibbs(series, n_gibbs_steps=3, random_state=0), v)


def test_gibbs_refuses_a_wrong_single_row(rbm):
    row = BINARY[0].astype(float)
    with pytest.raises(ValueError, match=r"^v has 63 features"):
        rbm.gibbs(row[1:])
    with pytest.raises(ValueError, match=r"^Input v contains NaN"):
        rbm.gibbs(np.where(BINARY[0], np.nan, 0))
    with pytest.raises(TypeError, match=r"^v is a masked array"):
        rbm.gibbs(np.ma.masked_array(row, row > 0))
    with pytest.raises(ValueError, match=r"n_gibbs_steps == 0"):
        rbm.gibbs(row, n_gibbs_steps=0)


@pytest.mark.parametrize("estimator", [BernoulliRBMEstimator, GaussianRBMEstimator])
def test_gibbs_of_few_rows_has_the_distribution_of_the_model(estimator):
    """One step from many copies of a row, in calls of few rows and in one call."""
    rbm = estimator(4, n_iter=5, random_state=0).fit(BINARY[:, 26:30].astype(float))
    row = BINARY[:1, 26:30].astype(float)
    few = [rbm.gibbs(np.repeat(row, 200, axis=0), random_state=s) for s in range(20)]
    few, many = np.concatenate(few), rbm.gibbs(np.repeat(row, 4000, axis=0))
    error = np.sqrt(2 * many.var(axis=0) / 4000)
    assert (np.abs(few.mean(axis=0) - many.mean(axis=0)) < 5 * error + 1e-3).all()
    assert_array_equal(rbm.gibbs(row, random_state=0), rbm.gibbs(row, random_state=0))


def test_small_arrays_that_need_no_check_are_as_others(rbm):
    """They skip scikit-learn's checks, whose results do not depend on it."""
    row = BINARY[:1].astype(float)
    expected = rbm.transform(row)
    for same in row.tolist(), np.asfortranarray(row), row.astype(">f8"), row.astype("i8"):
        assert_allclose(rbm.transform(same), expected, rtol=1e-12)
    assert rbm.transform(row.astype(np.float32)).dtype == np.float32
    names = [f"pixel {i}" for i in range(64)]
    fitted = make_rbm().fit(pd.DataFrame(BINARY, columns=names))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.transform(row)
    with pytest.raises(ValueError, match="0 sample"):
        rbm.transform(row[:0])
    with pytest.raises(NotFittedError):
        make_rbm().gibbs(row)


# Half-steps ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_half_steps_draw_from_the_means(dtype):
    rbm = BernoulliRBMEstimator(3, n_iter=5, random_state=0).fit(BINARY[:, 26:30])
    v = np.repeat(BINARY[:1, 26:30].astype(dtype), 20_000, axis=0)
    h = rbm.sample_hidden(v, random_state=0)
    assert h.dtype == dtype
    assert set(np.unique(h)) == {0, 1}
    assert_allclose(h.mean(axis=0), rbm.transform(v[:1])[0], atol=0.02)
    h = np.repeat(h[:1], 20_000, axis=0)
    v = rbm.sample_visible(h, random_state=0)
    assert v.dtype == dtype
    assert set(np.unique(v)) == {0, 1}
    assert_allclose(v.mean(axis=0), rbm.inverse_transform(h[:1])[0], atol=0.02)


def test_half_steps_of_real_values():
    X = np.random.default_rng(0).normal([5, -3], [2, 0.1], size=(200, 2))
    rbm = GaussianRBMEstimator(2, n_iter=5, random_state=0).fit(X)
    h = rbm.sample_hidden(X, random_state=0)
    v = rbm.sample_visible(h, random_state=0)
    assert_allclose(v.mean(axis=0), X.mean(axis=0), atol=0.7)
    assert_allclose(v.std(axis=0), X.std(axis=0), rtol=0.3)


@pytest.mark.parametrize("method", ["sample_hidden", "sample_visible"])
def test_half_steps_of_rows_in_any_form(rbm, method):
    rows = BINARY[:3] if method == "sample_hidden" else BINARY[:3, :8]
    draw = getattr(rbm, method)
    expected = draw(rows.astype(float), random_state=0)
    assert_array_equal(draw(rows.tolist(), random_state=0), expected)
    single = draw(rows[0].astype(float), random_state=0)
    assert_array_equal(single, draw(rows[:1].astype(float), random_state=0)[0])
    assert draw(rows).dtype == rbm.components_.dtype
    with pytest.raises(ValueError, match=r"^[vh] has \d+ (features|columns)"):
        draw(rows[:, 1:])
    with pytest.raises(ValueError, match=r"^Input [vh] contains NaN. Impute the missing"):
        draw(np.where(rows, np.nan, 0))
    with pytest.raises(NotFittedError):
        getattr(make_rbm(), method)(rows)
    if method == "sample_hidden":
        sparse = sp.csr_array(rows.astype(float))
        assert_array_equal(draw(sparse, random_state=0), expected)
    else:
        with pytest.raises(TypeError, match="Sparse data was passed"):
            draw(sp.csr_array(rows.astype(float)))


# Containers ---------------------------------------------------------------------------

CONTAINERS = {"pandas": pd.DataFrame, "polars": pl.DataFrame}
DRAWS = {
    "sample": lambda rbm, v, h: rbm.sample(5, random_state=0),
    "gibbs": lambda rbm, v, h: rbm.gibbs(v, random_state=0),
    "sample_visible": lambda rbm, v, h: rbm.sample_visible(h, random_state=0),
    "inverse_transform": lambda rbm, v, h: rbm.inverse_transform(h),
    "reconstruct": lambda rbm, v, h: rbm.reconstruct(v),
    "sample_hidden": lambda rbm, v, h: rbm.sample_hidden(v, random_state=0),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", DRAWS)
def test_rows_are_returned_in_the_container_of_set_output(rbm, name, container):
    draw, v, h = DRAWS[name], BINARY[:5].astype(float), BINARY[:5, :8].astype(float)
    expected = draw(rbm, v, h)
    assert isinstance(expected, np.ndarray)
    names = [f"x{i}" for i in range(64)]
    if name == "sample_hidden":
        names = list(rbm.get_feature_names_out())
    ours = copy.deepcopy(rbm).set_output(transform=container)
    with config_context(transform_output=container):
        of_both = draw(rbm, v, h), draw(ours, v, h)
    for frame in (*of_both, draw(ours, v, h)):
        assert isinstance(frame, CONTAINERS[container])
        assert list(frame.columns) == names
        assert_array_equal(frame.to_numpy(), expected)
    if name == "gibbs":
        assert isinstance(ours.gibbs(v[0]), np.ndarray)


@pytest.mark.parametrize("name", DRAWS)
def test_frames_have_the_names_of_fit_and_the_index_of_the_rows(name):
    names = [f"pixel {i}" for i in range(64)]
    frame = pd.DataFrame(BINARY, columns=names, index=range(100, 160))
    rbm = make_rbm().fit(frame).set_output(transform="pandas")
    drawn = DRAWS[name](rbm, frame[:5], rbm.transform(frame[:5]))
    assert list(drawn.index) == (
        list(range(5)) if name == "sample" else list(frame.index[:5])
    )
    if name != "sample_hidden":
        assert list(drawn.columns) == names


def test_displays_accept_estimators_that_return_frames(rbm):
    frames = copy.deepcopy(rbm).set_output(transform="pandas")
    display = SamplesDisplay.from_estimator(frames, BINARY, random_state=0)
    assert_array_equal(
        display.images["samples"],
        SamplesDisplay.from_estimator(rbm, BINARY, random_state=0).images["samples"],
    )
    plt.close("all")


# Values -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_values_of_rows_of_weight_0_do_not_matter(method):
    X = BINARY.astype(np.uint8)
    X[3] = 255
    weights = np.where(np.arange(60) == 3, 0, 1)
    expected = getattr(make_rbm(), method)(BINARY, sample_weight=weights)
    for rows in X, X.astype(float), sp.csr_array(X):
        rbm = getattr(make_rbm(), method)(rows, sample_weight=weights)
        assert_allclose(rbm.score(BINARY), expected.score(BINARY), rtol=0.1)
    X[4] = 7
    with pytest.raises(ValueError, match="X has values from 0 to 7 and dtype uint8"):
        getattr(make_rbm(), method)(X, sample_weight=weights)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_integers_that_become_constant_are_refused(method, dtype):
    answers = np.random.default_rng(0).integers(1, 6, size=(50, 4)).astype(dtype)
    message = r"1 to 5 and dtype int.*All features would become constant\. (Model|Make)"
    for X in answers, sp.csr_array(answers), pd.DataFrame(answers).rename(columns=str):
        with pytest.raises(ValueError, match=message):
            getattr(make_rbm(), method)(X)
    with pytest.warns(UserWarning, match="X has values from 1 to 5"):
        getattr(make_rbm(stochastic_binarization=False, learning_rate=1e-3), method)(
            answers
        )
    answers[:, 0] -= 1
    with pytest.warns(UserWarning, match="which makes features 1, 2, 3"):
        getattr(make_rbm(), method)(answers)
    getattr(GaussianRBMEstimator(2, n_iter=1), method)(answers)
