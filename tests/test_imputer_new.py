"""Tests of the imputer, which belong to tests/test_imputer.py."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skrbm import BernoulliRBMEstimator, RBMImputer


def make(**parameters):
    rbm = BernoulliRBMEstimator(4, n_iter=3, random_state=0)
    return RBMImputer(rbm, **{"n_gibbs_steps": 20, "random_state": 0} | parameters)


def test_a_feature_without_observed_values():
    answers = {"smokes": [1.0, 0, 1, 0], "drinks": [1.0, 0, 0, 0]}
    X = pd.DataFrame(answers | {"income": [np.nan] * 4})
    X = pd.concat([X] * 20, ignore_index=True)
    imputer = make(n_rounds=1)
    with pytest.warns(UserWarning, match=r"no observed values of feature 'income'\. ") as w:
        imputer.fit(X)
    assert len(w) == 1
    expected = clone(imputer.rbm).fit(X.fillna(0.375).to_numpy())  # the overall mean
    assert_array_equal(imputer.rbm_.components_, expected.components_)
    filled = imputer.transform(X)[:, 2]
    assert len(np.unique(filled)) > 1  # those of the model, which depend on the row
    assert ((filled > 0) & (filled < 1)).all()
    with pytest.warns(UserWarning, match=r"no observed values of features 1, 2\. "):
        imputer.fit(X.assign(drinks=np.nan).to_numpy())


@pytest.mark.parametrize("missing_values", [np.nan, pd.NA])
@pytest.mark.parametrize("form", [lambda frame: frame, pd.DataFrame.to_numpy])
def test_pandas_na_among_objects(form, missing_values):
    frame = pd.DataFrame({"a": [1, 0, pd.NA, None, np.nan], "b": [0, 1, 1, 0.0, 1]})
    frame = pd.concat([frame] * 6, ignore_index=True)
    assert frame["a"].dtype == object
    imputer = make(missing_values=missing_values)
    filled = imputer.fit_transform(form(frame))
    assert filled.dtype == np.float64
    floats = frame.mask(frame.isna(), np.nan).to_numpy(dtype=float)
    assert_array_equal(filled, imputer.fit_transform(floats))


@pytest.mark.parametrize(
    ("missing_values", "form"),
    [(-1, pd.DataFrame), (None, pd.DataFrame), ("?", np.array), (np.nan, list)],
)
def test_pandas_na_that_is_not_expected(missing_values, form):
    X = [[1, 0], [0, pd.NA]] * 5
    imputer = make(missing_values=missing_values)
    with pytest.raises(ValueError, match=r"Set missing_values=pandas\.NA"):
        imputer.fit(form(X))
    assert imputer.set_params(missing_values=pd.NA).fit(form(X)).n_features_in_ == 2


@pytest.mark.parametrize("missing_values", [np.nan, None, "?"])
def test_infinite_objects_are_refused(missing_values):
    X = np.array([[1, 0], [0, 1]] * 5, dtype=object)
    imputer = make(missing_values=missing_values).fit(X)
    X[3, 0] = np.inf
    with pytest.raises(ValueError, match="X contains infinity"):
        imputer.transform(X)
