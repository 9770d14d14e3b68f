"""Public methods of a fitted model."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from conftest import BINARY, make_rbm
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from skrbm import BernoulliRBMEstimator, GaussianRBMEstimator
from skrbm.likelihood import log_likelihood, log_partition
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


@pytest.mark.parametrize("call", CALLS)
def test_errors_name_the_argument(rbm, call):
    name, function = CALLS[call]
    X = BINARY.astype(float)
    X[3, 5] = np.nan
    with pytest.raises(ValueError, match=f"Input {name} contains NaN. Impute the missing"):
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
