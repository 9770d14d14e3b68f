"""Searches on a dask cluster, and data in dask arrays; skips without dask."""

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer

from skrbm import BernoulliRBMEstimator

da = pytest.importorskip("dask.array", reason="dask is not installed")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")

# What dask and its friends warn of is theirs to mend.
pytestmark = pytest.mark.filterwarnings("default")

GREY = load_digits().data
X = (GREY > 7).astype(np.float32)


def make():
    return BernoulliRBMEstimator(8, n_iter=3, random_state=0)


@pytest.fixture(scope="module")
def cluster():
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**settings) as local, distributed.Client(local) as client:
        yield client


@pytest.mark.parametrize("search", [GridSearchCV, RandomizedSearchCV])
def test_searches(cluster, search):
    pipeline = make_pipeline(Binarizer(threshold=7), make())
    grid = {"bernoullirbmestimator__learning_rate": [0.01, 0.1, 0.4]}
    options = {"n_iter": 2, "random_state": 0} if search is RandomizedSearchCV else {}
    here = search(pipeline, grid, cv=2, **options).fit(GREY)
    there = search(pipeline, grid, cv=2, **options)
    with joblib.parallel_config("dask"):
        there.fit(GREY)
    scores = (s.cv_results_["mean_test_score"] for s in (here, there))
    assert_allclose(*scores, rtol=1e-4)


def test_annealed_runs_on_the_cluster(cluster):
    rbm = make().fit(X)
    settings = {"method": "ais", "betas": 30, "random_state": 0}
    with joblib.parallel_config("dask"):
        there = rbm.log_partition(n_jobs=2, **settings)
    assert_allclose(there.value, rbm.log_partition(**settings).value, rtol=1e-5)


def test_data_in_blocks():
    """Out of core: one block after the other, by `partial_fit` and by `map_blocks`."""
    blocks = da.from_array(X, chunks=(400, 64))
    rbm, whole = make(), make().partial_fit(X)
    for block in blocks.blocks:
        rbm.partial_fit(block.compute())
    assert_allclose(rbm.components_, whole.components_, rtol=1e-5)
    chunks = blocks.chunks[0], (8,)
    hidden = blocks.map_blocks(rbm.transform, dtype=np.float32, chunks=chunks)
    assert_allclose(hidden.compute(), rbm.transform(X), rtol=1e-5)
    scores = blocks.map_blocks(rbm.score_samples, dtype=np.float64, drop_axis=1)
    assert_allclose(scores.compute(), rbm.score_samples(X), rtol=1e-4)
