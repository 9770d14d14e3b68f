"""Searches on a dask cluster and data in dask arrays; skipped without dask."""

import contextlib
import itertools
import os
import signal
import threading
import time

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer
from threadpoolctl import threadpool_info

from skrbm import BernoulliRBMEstimator
from skrbm.callbacks import LikelihoodMonitor

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask.array is not installed")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")

# Warnings from dask and its dependencies are not ours to fix.
pytestmark = pytest.mark.filterwarnings("default")

GRAY = load_digits().data
X = (GRAY > 7).astype(np.float32)


def make():
    return BernoulliRBMEstimator(8, n_iter=3, random_state=0)


@contextlib.contextmanager
def two_workers():
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**settings) as local, distributed.Client(local) as client:
        yield client


@pytest.fixture(scope="module")
def cluster():
    with two_workers() as client:
        yield client


@pytest.mark.parametrize(
    ("search", "options"),
    [
        (GridSearchCV, {}),
        (RandomizedSearchCV, {"n_iter": 2, "random_state": 0}),
        (HalvingGridSearchCV, {"resource": "n_samples", "random_state": 0}),
    ],
)
def test_searches(cluster, search, options):
    pipeline = make_pipeline(Binarizer(threshold=7), make())
    grid = {"bernoullirbmestimator__learning_rate": [0.01, 0.1, 0.4]}
    here = search(pipeline, grid, cv=2, **options).fit(GRAY)
    there = search(pipeline, grid, cv=2, **options)
    with joblib.parallel_config("dask"):
        there.fit(GRAY)
    scores = (s.cv_results_["mean_test_score"] for s in (here, there))
    assert_allclose(*scores, rtol=1e-4)


def test_callbacks_travel(cluster):
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")
    rbm = make().set_callbacks(LikelihoodMonitor(X[:100], random_state=0))
    search = GridSearchCV(rbm, {"n_iter": [1, 3]}, cv=2)
    with joblib.parallel_config("dask"):
        search.fit(X)
    (monitor,) = search.best_estimator_._skl_callbacks
    assert monitor.history_["epoch"] == [1, 2, 3]


def n_threads(rbm, X, y=None):
    """Scorer that returns the number of BLAS threads of a worker."""
    rbm.score_samples(X)
    return max(pool["num_threads"] for pool in threadpool_info())


def test_workers_keep_to_their_share_of_the_cores(cluster):
    search = GridSearchCV(make(), {"n_iter": [1, 2]}, cv=2, scoring=n_threads, refit=False)
    with joblib.parallel_config("dask"):
        search.fit(X)
    assert (search.cv_results_["mean_test_score"] == 1).all()


def test_a_worker_that_is_killed_loses_nothing():
    """With the data kept on both workers, as recommended in the user guide."""
    folds = list(KFold(3).split(X))
    grid = {"learning_rate": [0.05, 0.1, 0.2, 0.4]}
    rbm = make().set_params(n_iter=20)
    here = GridSearchCV(rbm, grid, cv=folds).fit(X)
    there = GridSearchCV(rbm, grid, cv=folds)
    keep = {"distributed.scheduler.active-memory-manager.start": False}
    with dask.config.set(keep), two_workers() as client:
        killed = []

        def kill_a_worker():
            while not killed:
                busy = [worker for worker, tasks in client.processing().items() if tasks]
                time.sleep(0.2)
                if busy:
                    (pid,) = client.run(os.getpid, workers=busy[:1]).values()
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

        thread = threading.Thread(target=kill_a_worker)
        with joblib.parallel_config("dask", scatter=[X, *itertools.chain(*folds)]):
            thread.start()
            there.fit(X)
        thread.join()
    assert len(killed) == 1
    scores = (s.cv_results_["mean_test_score"] for s in (here, there))
    assert_allclose(*scores, rtol=1e-4)


def test_annealed_runs_on_the_cluster(cluster):
    rbm = make().fit(X)
    settings = {"method": "ais", "betas": 30, "random_state": 0}
    with joblib.parallel_config("dask"):
        there = rbm.log_partition(n_jobs=2, **settings)
    assert_allclose(there.value, rbm.log_partition(**settings).value, rtol=1e-5)


def test_data_in_blocks():
    """Process data out of core, block by block, with `partial_fit` and `map_blocks`."""
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
