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
