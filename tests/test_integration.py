"""Integration with scikit-learn: pipelines, searches, joblib, clone, set_output."""

import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from joblib.externals import loky
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_info

import skrbm
from skrbm import BernoulliRBMEstimator, RBMImputer
from skrbm.metrics import pseudo_likelihood_scorer
from skrbm.sampling import sample_conditional

digits = load_digits()
X, y = digits.data[:300] / 16, digits.target[:300]


def make(**parameters):
    defaults = {"n_components": 16, "n_iter": 30, "random_state": 0}
    return BernoulliRBMEstimator(**defaults | parameters)


def test_pipeline_with_a_classifier():
    pipeline = Pipeline(
        [("rbm", make(n_components=64)), ("clf", LogisticRegression(max_iter=2000))]
    )
    assert pipeline.fit(X[:200], y[:200]).score(X[200:], y[200:]) > 0.65


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search_over_a_pipeline(n_jobs):
    pipeline = Pipeline([("rbm", make()), ("clf", LogisticRegression(max_iter=2000))])
    grid = {"rbm__n_components": [2, 32], "rbm__solver": ["cd", "pcd"]}
    search = GridSearchCV(pipeline, grid, n_jobs=n_jobs, cv=3).fit(X, y)
    assert search.best_params_["rbm__n_components"] == 32
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("y", [None, y], ids=["without y", "with y"])
@pytest.mark.parametrize(
    "scoring",
    [
        None,
        pseudo_likelihood_scorer,
    ],
)
def test_grid_search_by_its_own_score(scoring, y):
    search = GridSearchCV(make(), {"n_components": [1, 24]}, scoring=scoring, cv=3)
    search.fit(X > 0.5, y)
    assert search.best_params_ == {"n_components": 24}
    scores = search.cv_results_["mean_test_score"]
    assert (scores < 0).all()


@pytest.mark.slow
def test_scores_of_a_search_agree():
    """scoring=None and the scorer give the same results."""
    scores = [
        cross_val_score(make(), X > 0.5, scoring=scoring, cv=3)
        for scoring in (None, pseudo_likelihood_scorer)
    ]
    assert_array_equal(*scores)


def test_sparse_words():
    texts = [
        "the cat sat on the mat",
        "a cat and a dog",
        "stocks fell and bonds fell",
        "bonds and stocks rose",
    ] * 10
    pipeline = make_pipeline(CountVectorizer(binary=True, dtype=np.uint8), make())
    H = pipeline.fit_transform(texts)
    assert H.shape == (40, 16)
    assert H.dtype == np.float32
    assert np.isfinite(pipeline.score(texts))


def test_stacked():
    """Two stacked estimators form a deep belief network."""
    stack = make_pipeline(make(), make(n_components=4))
    assert stack.fit_transform(X).shape == (300, 4)
    assert stack.inverse_transform(stack.transform(X)).shape == X.shape


def test_clone_forgets_the_fit():
    rbm = make(momentum=0.3, n_chains=5).fit(X)
    other = clone(rbm)
    assert other.get_params() == rbm.get_params()
    assert not hasattr(other, "components_")


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_set_output(form, library):
    rbm = make().set_output(transform=library)
    frame = rbm.fit_transform(form(X))
    assert type(frame).__module__.startswith(library)
    assert_array_equal(frame.to_numpy(), make().fit_transform(form(X)))
    assert list(frame.columns) == [f"bernoullirbmestimator{i}" for i in range(16)]
    # The methods that use the hidden units still work on arrays.
    assert rbm.score_samples(form(X)).shape == (300,)
    assert rbm.sample(2).shape == (2, 64)


@pytest.mark.parametrize("dtype", [pl.Boolean, pl.UInt8, pl.Float32, pl.Float64])
def test_polars_keeps_its_type(dtype):
    frame = pl.DataFrame((X > 0.5).astype(float), schema=[f"pixel{i}" for i in range(64)])
    frame = frame.with_columns(pl.all().cast(dtype))
    double = dtype == pl.Float64
    rbm = make(n_iter=2).fit(frame)
    assert rbm.components_.dtype == (np.float64 if double else np.float32)
    assert rbm.transform(frame).dtype == rbm.components_.dtype
    assert sample_conditional(rbm, frame).dtype == rbm.components_.dtype
    assert_array_equal(rbm.feature_names_in_, frame.columns)
    imputed = RBMImputer(make(n_iter=2)).fit_transform(frame)
    assert imputed.dtype == (np.float64 if double else np.float32)
    with pytest.raises(ValueError, match="feature names should match"):
        rbm.transform(frame[:, ::-1])
    gap = frame.with_columns(pixel3=pl.lit(None, dtype=dtype))
    with pytest.raises(ValueError, match="contains NaN"):
        rbm.gibbs(gap)
    same = frame.cast(pl.Float64).with_columns(pixel3=pl.lit(None, dtype=pl.Float64))
    assert_allclose(rbm.transform(gap), rbm.transform(same), rtol=1e-5)


def test_polars_in():
    frame = pl.DataFrame(X, schema=[f"pixel{i}" for i in range(64)])
    rbm = make().fit(frame)
    assert_array_equal(rbm.feature_names_in_, frame.columns)
    plain = make().fit(X)
    assert_array_equal(rbm.transform(frame), plain.transform(X))
    assert_array_equal(rbm.log_likelihood(frame > 0.5), plain.log_likelihood(X > 0.5))


@pytest.mark.parametrize("estimator", [make(), make().fit(X), RBMImputer(make())])
def test_html_repr(estimator):
    html = estimator._repr_html_()
    assert type(estimator).__name__ in html
    with config_context(display="text"):
        assert repr(estimator) == str(estimator)


def busy_threads(rbm, X, y=None):
    """Scorer that returns the number of BLAS threads of a job."""
    rbm.score_samples(X)
    return max(pool["num_threads"] for pool in threadpool_info())


@pytest.mark.slow
def test_jobs_share_the_cores(monkeypatch):
    """Jobs in processes use no more threads in total than there are cores."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)  # these would set the number
    loky.get_reusable_executor().shutdown()
    search = GridSearchCV(
        make(n_iter=1), {"batch_size": [5, 10]}, scoring=busy_threads, cv=2, n_jobs=2
    )
    search.fit(X)
    most = search.cv_results_["mean_test_score"].max()
    assert 2 * most <= max(2, joblib.cpu_count())


def test_feature_names():
    frame = pd.DataFrame(X).add_prefix("pixel")
    rbm = make().fit(frame)
    assert_array_equal(rbm.feature_names_in_, frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        rbm.transform(frame[frame.columns[::-1]])


IMPORTING = """
import sys, skrbm
for name in ('inspection', 'metrics', 'likelihood', 'sampling'):
    assert getattr(skrbm, name).__name__ == f'skrbm.{name}'
print([name for name in ('matplotlib', 'torch', 'dask', 'sklearn.model_selection')
       if name in sys.modules])
for name in ('callbacks', 'plotting'):
    assert getattr(skrbm, name).__name__ == f'skrbm.{name}'
"""


@pytest.mark.slow
def test_public_modules_are_attributes_and_bring_in_nothing_heavy():
    command = [sys.executable, "-c", IMPORTING]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr
    assert result.returncode == 0, result.stderr
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        skrbm.nothing  # noqa: B018, reading it raises
