import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KernelDensity
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, MinMaxScaler

from skrbm import BernoulliRBMEstimator, ParallelRBM
from skrbm.likelihood import mean_log_likelihood, pseudo_log_likelihood
from skrbm.metrics import log_likelihood_scorer, pseudo_likelihood_scorer

X = load_digits().data[:80]
BINARY = (X > 7).astype(float)


@pytest.fixture(scope="module")
def rbm():
    return BernoulliRBMEstimator(n_components=6, n_iter=2, random_state=0).fit(BINARY)


def test_agrees_with_score(rbm):
    assert pseudo_likelihood_scorer(rbm, BINARY) == rbm.score(BINARY)
    assert pseudo_likelihood_scorer(rbm, BINARY, y=np.zeros(80)) == rbm.score(BINARY)


@pytest.mark.parametrize("nested", [False, True])
def test_pipelines(rbm, nested):
    """Rows are transformed by the previous steps and then scored."""
    steps = MinMaxScaler(), Binarizer(threshold=0.45)
    last = BernoulliRBMEstimator(n_components=6, n_iter=2, random_state=0)
    if nested:
        pipeline = make_pipeline(steps[0], make_pipeline(steps[1], last))
    else:
        pipeline = make_pipeline(*steps, last)
    pipeline.fit(X)
    Z = steps[1].fit_transform(steps[0].fit_transform(X))
    assert_allclose(pseudo_likelihood_scorer(pipeline, X), last.fit(Z).score(Z))
    assert_allclose(pipeline.score(X), last.score(Z))
    alone = make_pipeline(rbm)
    assert pseudo_likelihood_scorer(alone, BINARY) == rbm.score(BINARY)


@pytest.mark.parametrize("in_a_pipeline", [False, True])
def test_a_search_scores_as_its_best_estimator(in_a_pipeline):
    rbm = BernoulliRBMEstimator(n_iter=2, random_state=0)
    grid, data = {"n_components": [1, 4]}, BINARY
    if in_a_pipeline:
        rbm, data = make_pipeline(MinMaxScaler(clip=True), rbm), X
        grid = {"bernoullirbmestimator__n_components": [1, 4]}
    search = GridSearchCV(rbm, grid, cv=2)
    scores = cross_val_score(search, data, scoring=pseudo_likelihood_scorer, cv=2)
    assert (scores < 0).all()
    search.fit(data)
    expected = pseudo_likelihood_scorer(search.best_estimator_, data)
    assert pseudo_likelihood_scorer(search, data) == expected


def test_needs_an_rbm():
    pipeline = make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=1000))
    pipeline.fit(X, np.arange(80) % 2)
    with pytest.raises(TypeError, match="last step is one, but got LogisticRegression"):
        pseudo_likelihood_scorer(pipeline, X)


@pytest.mark.parametrize(
    "estimator", [PCA(2), KernelDensity(), make_pipeline(KernelDensity())], ids=str
)
@pytest.mark.parametrize("scorer", [pseudo_likelihood_scorer, log_likelihood_scorer])
def test_needs_an_rbm_even_of_what_scores_samples(scorer, estimator):
    with pytest.raises(TypeError, match=r"last step is one, but got (PCA|KernelDensity)"):
        scorer(estimator.fit(BINARY), BINARY)


@pytest.mark.parametrize("scorer", [pseudo_likelihood_scorer, log_likelihood_scorer])
def test_needs_a_fitted_rbm(scorer):
    with pytest.raises(NotFittedError, match=r"not fitted yet|call fit"):
        scorer(BernoulliRBMEstimator(), BINARY)


@pytest.mark.parametrize("scorer", [pseudo_likelihood_scorer, log_likelihood_scorer])
@pytest.mark.parametrize(
    ("weights", "match"),
    [
        (np.ones(3), r"\(3,\)"),
        (-np.ones(80), "(?i)negative"),
        (np.zeros(80), "at least one"),
        (np.full(80, np.nan), "NaN"),
    ],
)
def test_bad_weights(rbm, scorer, weights, match):
    with pytest.raises(ValueError, match=match):
        scorer(rbm, BINARY, sample_weight=weights)


@pytest.mark.parametrize("scorer", [pseudo_likelihood_scorer, log_likelihood_scorer])
def test_huge_weights(rbm, scorer):
    expected = scorer(rbm, BINARY)
    assert_allclose(scorer(rbm, BINARY, sample_weight=np.full(80, 1e308)), expected)


@pytest.mark.slow
def test_log_likelihood_scorer(rbm):
    expected = mean_log_likelihood(rbm, BINARY).value
    assert_allclose(log_likelihood_scorer(rbm, BINARY), expected)
    pipeline = make_pipeline(Binarizer(threshold=7), rbm)
    assert_allclose(log_likelihood_scorer(pipeline, X), expected)
    wide = BernoulliRBMEstimator(21, n_iter=2, random_state=0).fit(BINARY)
    score = log_likelihood_scorer(wide, BINARY)
    assert score == log_likelihood_scorer(wide, BINARY)
    exact = wide.log_partition(method="exact")
    truth = mean_log_likelihood(wide, BINARY, log_partition=exact).value
    assert abs(score - truth) < 0.3
    for other in (LogisticRegression(), PCA(2).fit(BINARY)):
        with pytest.raises(TypeError, match=r"but got (LogisticRegression|PCA)"):
            log_likelihood_scorer(other, BINARY)


def test_scorers_take_bernoulli_rbm():
    theirs = BernoulliRBM(6, n_iter=2, random_state=0).fit(BINARY)
    expected = pseudo_log_likelihood(theirs, BINARY).mean()
    assert_allclose(pseudo_likelihood_scorer(theirs, BINARY), expected)
    assert log_likelihood_scorer(theirs, BINARY) < 0
    with pytest.raises(NotFittedError):
        log_likelihood_scorer(BernoulliRBM(), BINARY)


@pytest.mark.slow
def test_search_by_log_likelihood():
    search = GridSearchCV(
        BernoulliRBMEstimator(6, random_state=0),
        {"n_iter": [1, 60]},
        scoring=log_likelihood_scorer,
        cv=2,
        n_jobs=2,
    ).fit(BINARY)
    assert search.best_params_ == {"n_iter": 60}


@pytest.mark.parametrize("scorer", [pseudo_likelihood_scorer, log_likelihood_scorer])
def test_models_trained_by_several_workers(scorer):
    parallel = ParallelRBM(BernoulliRBMEstimator(4, n_iter=2, random_state=0), n_shards=2)
    folds = cross_val_score(parallel, BINARY, scoring=scorer, cv=2)
    assert (folds < 0).all()
    pipeline = make_pipeline(Binarizer(threshold=7), parallel)
    assert_allclose(cross_val_score(pipeline, X, scoring=scorer, cv=2), folds)
    search = GridSearchCV(pipeline, {"parallelrbm__n_shards": [1, 2]}, scoring=scorer, cv=2)
    search.fit(X)
    inner = search.best_estimator_[-1].estimator_
    assert_allclose(scorer(search, X), scorer(inner, BINARY))
    with pytest.raises(NotFittedError):
        scorer(parallel, BINARY)
