"""Training that begins at parameters set by hand."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import Enumerated, by_hand, states, tiny_rbm
from numpy.testing import assert_allclose, assert_array_equal

from skrbm import BernoulliRBMEstimator, GaussianRBMEstimator, ParallelRBM

ROWS = states(6)[[0, 3, 3, 17, 40, 40, 40, 63, 21, 22]]
PLAIN = {
    "n_components": 4,
    "batch_size": 10,
    "learning_rate": 0.1,
    "weight_decay": 0,
    "n_gibbs_steps": 1,
    "random_state": 0,
}


def train(rbm, how, X=ROWS, **options):
    """Train by one pass over the rows."""
    if how == "partial_fit":
        return rbm.partial_fit(X, **options)
    once = {"warm_start": True, "n_iter": 1, "schedule": "constant"}
    getattr(rbm, "estimator", rbm).set_params(**once)
    return rbm.fit(X, **options)


def estimator(**parameters):
    return by_hand(tiny_rbm(6, 4)).set_params(**PLAIN | parameters)


def parallel(rbm):
    """Meta-estimator whose model is that of `rbm`."""
    meta = ParallelRBM(rbm, n_shards=2, n_local_steps=1)
    meta.estimator_ = rbm
    return meta


HOW = pytest.mark.parametrize("how", ["partial_fit", "fit"])


@HOW
def test_the_first_step_is_that_of_the_model(how):
    """One step, with many chains that have reached the distribution of the model."""
    model = tiny_rbm(6, 4, scale=0.5)
    plain = {"centering": False, "averaging": False, "n_chains": 40_000}
    rbm = by_hand(model).set_params(**PLAIN | plain | {"n_gibbs_steps": 20})
    train(rbm, how)
    exact = Enumerated(*(np.copy(a) for a in model.arrays)).gradient(ROWS)
    steps = (
        rbm.components_.T - model.weights,
        rbm.intercept_visible_ - model.visible.bias,
        rbm.intercept_hidden_ - model.hidden_bias,
    )
    for step, gradient in zip(steps, exact, strict=True):
        assert_allclose(step / 0.1, gradient, atol=0.02)


@HOW
@pytest.mark.parametrize("meta", [lambda rbm: rbm, parallel], ids=["alone", "parallel"])
def test_rows_are_counted_once(how, meta):
    weights = np.arange(1, 11) / 5.5
    for options in {}, {"sample_weight": weights}:
        model = train(meta(estimator()), how, **options)
        rbm = getattr(model, "estimator_", model)
        new = BernoulliRBMEstimator(**PLAIN).partial_fit(ROWS, **options)
        assert_allclose(rbm.visible_mean_, new.visible_mean_)
        more = states(6)[20:50]
        model.partial_fit(more)
        rbm = getattr(model, "estimator_", model)
        assert_allclose(rbm.visible_mean_, new.partial_fit(more).visible_mean_)


@HOW
@pytest.mark.parametrize("meta", [lambda rbm: rbm, parallel], ids=["alone", "parallel"])
def test_little_training_leaves_the_model_near(how, meta):
    rbm = estimator(learning_rate=1e-6)
    before = rbm.components_.copy(), rbm.intercept_visible_.copy()
    model = train(meta(rbm), how)
    rbm = getattr(model, "estimator_", model)
    assert_allclose(rbm.components_, before[0], atol=1e-5)
    assert_allclose(rbm.intercept_visible_, before[1], atol=1e-5)
    assert rbm.n_features_in_ == 6
    assert rbm.inverse_transform(rbm.transform(ROWS)).shape == ROWS.shape


@HOW
def test_sparse_rows_and_names(how):
    dense, sparse = train(estimator(), how), train(estimator(), how, sp.csr_array(ROWS))
    assert_allclose(dense.components_, sparse.components_)
    named = train(estimator(), how, pd.DataFrame(ROWS, columns=list("abcdef")))
    assert list(named.feature_names_in_) == list("abcdef")
    assert_array_equal(named.components_, dense.components_)


@HOW
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_real_values(how, covariance_type):
    rng = np.random.default_rng(0)
    X = rng.normal([5, -3, 0], [2, 0.1, 1], size=(300, 3))
    options = {"covariance_type": covariance_type, "random_state": 0}
    trained = GaussianRBMEstimator(2, n_iter=20, **options).fit(X)
    names = ["components_", "intercept_visible_", "intercept_hidden_"]
    names += (
        ["noise_variance_"] if covariance_type == "diag" else ["axes_", "axes_variance_"]
    )
    rbm = GaussianRBMEstimator(2, learning_rate=1e-6, **options)
    for name in names:
        setattr(rbm, name, getattr(trained, name))
    train(rbm, how, X)
    assert_allclose(rbm.score(X), trained.score(X), atol=1e-3)
    for name in names:
        assert_allclose(getattr(rbm, name), getattr(trained, name), rtol=1e-3, atol=1e-3)


def test_a_model_improves_by_training():
    rng = np.random.default_rng(0)
    X = np.repeat(rng.random((400, 2)) < 0.5, 3, axis=1).astype(float)
    rbm = estimator(learning_rate=0.1, n_iter=100, warm_start=True, batch_size=20)
    before = rbm.log_likelihood(X).mean()
    assert rbm.fit(X).log_likelihood(X).mean() > before + 1


def test_without_a_warm_start_a_new_model_is_trained():
    for n_components in 4, 3:
        rbm = estimator(n_components=n_components, n_iter=2)
        new = BernoulliRBMEstimator(**PLAIN | {"n_components": n_components, "n_iter": 2})
        assert_array_equal(rbm.fit(ROWS).components_, new.fit(ROWS).components_)


@HOW
@pytest.mark.parametrize("meta", [lambda rbm: rbm, parallel], ids=["alone", "parallel"])
def test_mismatches_are_refused(how, meta):
    rbm = estimator()
    with pytest.raises(ValueError, match="X has 5 features, but the model has 6"):
        train(meta(rbm), how, states(5))
    assert not hasattr(rbm, "n_features_in_")
    rbm.set_params(n_components=3)
    with pytest.raises(ValueError, match=r"n_components is 3, but the model .* has 4"):
        train(meta(rbm), how)


@HOW
def test_transposed_parameters(how):
    rbm = estimator(n_components=6)
    rbm.components_ = rbm.components_.T
    with pytest.raises(ValueError, match=r"shapes of the parameters do not match"):
        train(rbm, how)
