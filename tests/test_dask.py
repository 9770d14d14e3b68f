"""Training and searches on a dask cluster, and data in dask collections.

Skipped without dask.
"""

import contextlib
import doctest
import itertools
import os
import pickle
import signal
import threading
import time
import warnings
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import Watch, exit_code, with_callbacks
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
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

from skrbm import BernoulliRBMEstimator, GaussianRBMEstimator, ParallelRBM
from skrbm.callbacks import LikelihoodMonitor
from skrbm.metrics import log_likelihood_scorer

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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing():
    """With the data kept on both workers, as recommended in the user guide."""
    folds = list(KFold(2).split(X))
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


# One model on many workers ---------------------------------------------------------------


def distributed_rbm(n_shards=3, client=None, **parameters):
    from skrbm.dask import DaskRBM

    rbm = make().set_params(**parameters)
    return DaskRBM(rbm, n_shards=n_shards, n_local_steps=10, client=client)


def on_joblib(parallel, X, **fit_params):
    options = {"n_shards": parallel.n_shards, "n_local_steps": 10}
    return ParallelRBM(parallel.estimator, **options).fit(X, **fit_params)


def assert_same(one, other):
    one, other = one.estimator_, other.estimator_
    names = ["components_", "intercept_visible_", "intercept_hidden_", "h_samples_"]
    if isinstance(one, GaussianRBMEstimator):
        names += ["axes_", "axes_variance_", "visible_mean_", "visible_variance_"]
    for name in names:
        assert_array_equal(getattr(one, name), getattr(other, name))


def as_blocks(X, n):
    """Dask array whose blocks are those that a joblib executor has for `n` shards."""
    parts = [X[i::n] for i in range(n)]
    blocks = [da.from_delayed(dask.delayed(p), p.shape, p.dtype) for p in parts]
    return da.concatenate(blocks)


WEIGHTS = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)


def test_same_bits_as_by_joblib_in_memory_and_in_blocks(cluster):
    parallel = distributed_rbm()
    expected = on_joblib(parallel, X, sample_weight=WEIGHTS)
    assert_same(expected, clone(parallel).fit(X, sample_weight=WEIGHTS))
    weights = as_blocks(WEIGHTS, 3)
    for form in (np.asarray, sp.csr_array, np.uint8):
        blocks = as_blocks(form(X), 3)
        assert_same(expected, clone(parallel).fit(blocks, sample_weight=weights))


def test_the_same_bits_with_missing_values_as_by_joblib(cluster):
    gappy = np.where(np.random.default_rng(0).random(X.shape) < 0.2, np.nan, X)
    parallel = distributed_rbm(early_stopping=True)
    expected = on_joblib(parallel, gappy)
    blocks = as_blocks(gappy, 3)
    assert_same(expected, parallel.fit(blocks))
    values = [one.estimator_._learning.gaps.values for one in (expected, parallel)]
    assert_array_equal(*values)
    H = parallel.transform(blocks).compute()  # with other random numbers for each block
    assert np.abs(H - expected.transform(blocks.compute())).mean() < 0.02
    assert parallel.score(blocks) < 0


def distributed_density(n_components=4, **parameters):
    from skrbm.dask import DaskRBM

    settings = {"n_iter": 2, "random_state": 0} | parameters
    rbm = GaussianRBMEstimator(n_components, **settings)
    return DaskRBM(rbm, n_shards=3, n_local_steps=10)


WINE = load_wine().data


@pytest.mark.parametrize("options", [{}, {"solver": "cd", "early_stopping": True}])
def test_the_same_bits_on_real_values_as_by_joblib(cluster, options):
    weights = WEIGHTS[: len(WINE)]
    parallel = distributed_density(**options)
    expected = on_joblib(parallel, WINE, sample_weight=weights)
    assert_same(expected, clone(parallel).fit(WINE, sample_weight=weights))
    blocks, weights = as_blocks(WINE, 3), as_blocks(weights, 3)
    parallel.fit(blocks, sample_weight=weights)
    assert_same(expected, parallel)
    for both in (parallel, expected):
        rows = blocks if both is parallel else WINE
        both.set_params(estimator__warm_start=True).fit(rows).partial_fit(rows)
    assert_same(expected, parallel)


def test_scores_of_real_values_need_no_log_z_on_workers(cluster):
    """It is estimated once, by the client, and not for each block."""
    parallel = distributed_density(24).fit(WINE)
    expected = parallel.estimator_.score_samples(WINE)
    del parallel.estimator_._log_partition
    blocks = da.from_array(WINE, chunks=(50, 13))
    cluster.run(exec, "from skrbm import likelihood; likelihood.log_partition = None")
    try:
        assert_allclose(parallel.score(blocks), expected.mean())
        del parallel.estimator_._log_partition
        assert_allclose(parallel.score_samples(blocks).compute(), expected)
        assert_allclose(parallel.transform(blocks).compute(), parallel.transform(WINE))
    finally:
        restore = "likelihood.log_partition = _partition.log_partition"
        cluster.run(exec, f"from skrbm import _partition, likelihood; {restore}")


@pytest.mark.parametrize("n_shards", [1, 9])
def test_many_or_few_blocks_and_none_empty(cluster, n_shards):
    """Also with unknown sizes, and with more shards than results merged at once."""
    blocks = da.from_array(X, chunks=((0, 5, 700, 300, 792), (64,)))
    parallel = distributed_rbm(n_shards, n_iter=1).fit(blocks)
    assert parallel.n_shards_ == n_shards
    assert_allclose(parallel.estimator_._learning.counts.n_rows_seen, len(X))
    some = blocks[blocks[:, 20] > 0]  # of unknown size
    parallel.fit(some)
    rows = X[X[:, 20] > 0]
    assert_allclose(parallel.estimator_._learning.counts.visible_sum, rows.sum(axis=0))
    hidden = parallel.transform(some)
    assert_allclose(hidden.compute(), parallel.transform(rows), rtol=1e-5)


def test_results_are_lazy_arrays(cluster):
    blocks = da.from_array(X, chunks=(400, 64))
    parallel = distributed_rbm().partial_fit(blocks).partial_fit(blocks)
    rbm = pickle.loads(pickle.dumps(parallel)).estimator_
    assert type(rbm) is BernoulliRBMEstimator
    for name in ("transform", "score_samples", "free_energy"):
        result, expected = getattr(parallel, name)(blocks), getattr(rbm, name)(X)
        assert isinstance(result, da.Array)
        assert result.shape == expected.shape
        assert result.dtype == expected.dtype
        assert_allclose(result.compute(), expected, rtol=1e-4)
        assert_array_equal(getattr(parallel, name)(X), expected)
    weights = da.from_array(WEIGHTS, chunks=400)
    assert_allclose(parallel.score(blocks), rbm.score(X), rtol=1e-5)
    score = parallel.score(blocks, sample_weight=weights)
    assert_allclose(score, rbm.score(X, sample_weight=WEIGHTS), rtol=1e-5)


def test_scores_are_of_valid_weights(cluster):
    """As in memory, also with blocks that have no rows or no weight."""
    blocks = da.from_array(X, chunks=((0, 400, 400, 997), (64,)))
    parallel = distributed_rbm(n_iter=1).fit(X)
    weights = WEIGHTS * (np.arange(len(X)) >= 400)
    expected = parallel.estimator_.score(X, sample_weight=weights)
    assert_allclose(parallel.score(blocks, sample_weight=weights), expected, rtol=1e-5)
    for wrong, message in [
        (np.where(np.arange(len(X)) == 7, -50, WEIGHTS), "negative"),
        (np.zeros(len(X)), "greater than 0|at least one non-zero"),
        (np.ones(1), "same chunks of rows"),
        (2.0, "same chunks of rows"),
    ]:
        with pytest.raises(ValueError, match=message):
            parallel.score(blocks, sample_weight=wrong)


def test_errors_of_scores_are_those_in_memory(cluster):
    parallel = distributed_rbm(n_iter=1).fit(X)
    with_inf = np.where(np.arange(len(X))[:, None] == 7, -np.inf, X)
    first = da.from_array((np.arange(len(X)) >= 400) * 1.0, chunks=400)
    blocks = da.from_array(with_inf, chunks=(400, 64))
    for weights in (None, first):
        with pytest.raises(ValueError, match=r"^Input X contains infinity"):
            parallel.score(blocks, sample_weight=weights)
    for empty in (blocks[:0], blocks[blocks[:, 0] > 99]):
        with pytest.raises(ValueError, match=r"^Found array with 0 sample\(s\)"):
            parallel.score(empty)


def test_data_frames(cluster):
    dd = pytest.importorskip("dask.dataframe", reason="dask.dataframe is not installed")
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    parts = dd.from_pandas(frame, npartitions=3)
    parallel = distributed_rbm(n_iter=1).fit(parts)
    assert list(parallel.feature_names_in_) == list(frame.columns)
    assert parallel.transform(parts).compute().shape == (len(X), 8)
    with pytest.raises(ValueError, match="feature names"):
        parallel.transform(parts[frame.columns[::-1]])
    weights = da.from_array(WEIGHTS, chunks=599)
    with pytest.raises(ValueError, match=r"to_dask_array\(lengths=True\)"):
        parallel.fit(parts, sample_weight=weights)
    parallel.fit(parts.to_dask_array(lengths=True), sample_weight=weights)


def test_values_outside_the_range_are_warned_about_once(cluster):
    shifted = GRAY + 1
    blocks = da.from_array(shifted, chunks=(400, 64))
    parallel = distributed_rbm(n_iter=1)
    with pytest.warns(UserWarning, match="X has values") as record:
        parallel.fit(blocks)
    assert len(record) == 1
    message = str(record[0].message)
    assert "values from 1 to 17 and dtype float64" in message
    assert "makes features 1, 2, 3, 4, 5, ... (61 of 64) constant. Divide" in message
    with pytest.warns(UserWarning, match="X has values") as record:
        score = parallel.score(blocks)
    assert len(record) == 1
    assert "(61 of 64) constant. Divide" in str(record[0].message)
    with pytest.warns(UserWarning, match="X has values"):
        assert_allclose(score, parallel.estimator_.score(shifted), rtol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hidden = parallel.transform(blocks).compute(scheduler="synchronous")
    assert np.isfinite(hidden).all()
    small = blocks.astype(np.uint8)
    with pytest.raises(ValueError, match="values from 1 to 17 and dtype uint8"):
        parallel.fit(small)
    advice = r"\. Compare counts with a threshold, and ratings with several\.$"
    zeros = da.zeros((400, 64), chunks=(400, 64), dtype=np.uint8)
    for dtype in (np.uint8, np.int16):
        larger = da.concatenate([zeros, small]).astype(dtype)
        given = f"has values from 0 to 17 and dtype {larger.dtype}, .*{advice}"
        with pytest.raises(ValueError, match=f"^X {given}"):
            parallel.score(larger)
        hidden = parallel.transform(larger)
        with pytest.raises(ValueError, match=f"^A block of X {given}".replace("0", "1", 1)):
            hidden.compute(scheduler="synchronous")


def test_features_of_the_training_data(cluster):
    for rows in (X, da.from_array(X, chunks=(400, 64))):
        parallel = distributed_rbm(n_iter=1)
        hidden = parallel.fit_transform(rows)
        assert type(hidden) is type(rows)
        assert_array_equal(hidden, parallel.transform(rows))


@pytest.mark.parametrize("model_dtype", [np.float32, np.float64])
def test_lazy_features_have_the_dtype_they_announce(model_dtype):
    """Without a cluster, since nothing is trained on one."""
    parallel = distributed_rbm()
    parallel.estimator_ = make().fit(X[:100].astype(model_dtype))
    for dtype in ["float16", "float32", "float64", "bool", "uint8", "int8", "int64"]:
        rows = X[:10].astype(dtype)
        hidden = parallel.transform(da.from_array(rows, chunks=(5, 64)))
        assert hidden.dtype == parallel.transform(rows).dtype
        assert hidden.compute(scheduler="synchronous").dtype == hidden.dtype


def test_clones_keep_the_client_and_the_configuration():
    client = object()
    with config_context(enable_metadata_routing=True):
        parallel = distributed_rbm(client=client).set_fit_request(sample_weight=True)
        other = clone(parallel.set_output(transform="pandas"))
        assert other.get_metadata_routing().fit.requests == {"sample_weight": True}
    assert other._sklearn_output_config == {"transform": "pandas"}
    assert other.client is parallel.client is client
    assert other.estimator is not parallel.estimator


@pytest.mark.slow
def test_searches_and_fits_at_once(cluster):
    blocks = da.from_array(X, chunks=(400, 64)).persist()
    expected = [distributed_rbm(random_state=seed).fit(blocks) for seed in (0, 1)]
    there = [distributed_rbm(random_state=seed, client=cluster) for seed in (0, 1)]
    threads = [threading.Thread(target=one.fit, args=(blocks,)) for one in there]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(expected, there, strict=True):
        assert_same(one, other)
    grid = {"estimator__learning_rate": [1e-6, 0.2]}
    search = GridSearchCV(distributed_rbm(client=cluster), grid, cv=2).fit(X)
    assert search.best_params_["estimator__learning_rate"] == 0.2
    # Inside a task, where another task needs the same thread.
    inside = cluster.submit(distributed_rbm().fit, X).result()
    assert_same(inside, on_joblib(inside, X))


def broken(block):
    raise FileNotFoundError("this block cannot be read")


def test_errors_reach_the_user(cluster):
    blocks = da.from_array(X, chunks=(400, 64))
    parallel = distributed_rbm()
    with pytest.raises(FileNotFoundError, match="cannot be read"):
        parallel.fit(blocks.map_blocks(broken, dtype=X.dtype, meta=np.empty((0, 0))))
    with pytest.raises(ValueError, match=r"contains infinity"):
        parallel.fit(da.where(blocks == blocks[500, 20], np.inf, blocks))
    with pytest.raises(ValueError, match=r"rechunk\(\{1: -1\}\)"):
        parallel.fit(blocks.rechunk((400, 32)))
    with pytest.raises(ValueError, match="same chunks of rows"):
        parallel.fit(blocks, sample_weight=da.from_array(WEIGHTS, chunks=300))
    with pytest.raises(ValueError, match="negative"):
        parallel.fit(blocks, sample_weight=-WEIGHTS)
    with pytest.raises(ValueError, match="no rows"):
        parallel.fit(blocks, sample_weight=0 * WEIGHTS)
    assert not hasattr(parallel, "estimator_")
    with pytest.warns(UserWarning, match=r"DaskRBM trains on its blocks"):
        make().fit(blocks)


def test_other_collections_are_refused_with_a_way_out(cluster):
    bags = pytest.importorskip("dask.bag", reason="dask.bag is not installed")
    parallel = distributed_rbm(2, n_iter=1).fit(X)
    parts = X[:900], X[900:]
    lazy = [dask.delayed(part) for part in parts]
    bag = bags.from_sequence(parts, npartitions=2)
    for wrong, message in [
        (lazy, r"got a list of blocks, 2 in number, .*dask.array.from_delayed"),
        ([da.from_array(part) for part in parts], r"dask\.array\.concatenate\(X\)"),
        (list(parts), r"type ndarray\. Join them by numpy\.concatenate"),
        (lazy[0], r"got Delayed\. .*from_delayed\(block, "),
        (bag, r"got Bag\. .*to_dataframe\(\).* part in X\.to_delayed"),
        (da.from_array(X[:, 0]), r"got an array of shape \(1797,\)"),
    ]:
        for method in (parallel.fit, parallel.partial_fit, parallel.transform):
            with pytest.raises(ValueError, match=f"^X must be a .*{message}"):
                method(wrong)
    # As the messages say.
    shape, dtype = (np.nan, 64), X.dtype
    one = da.concatenate([da.from_delayed(block, shape, dtype) for block in lazy])
    join = dask.delayed(np.concatenate)
    other = da.concatenate(
        [da.from_delayed(join(part), shape, dtype) for part in bag.to_delayed()]
    )
    assert_same(parallel.fit(one), clone(parallel).fit(other))


def test_sparse_blocks_among_dense_ones_are_refused(cluster):
    n = 3
    for first, other, message in [
        (np.asarray, sp.csr_array, "^Block 1 of X is sparse, but block 0 is dense"),
        (sp.csr_array, np.asarray, "^Block 1 of X is dense, but block 0 is sparse"),
    ]:
        parts = [form(X[i::n]) for i, form in enumerate([first, other, first])]
        blocks = da.concatenate(
            [da.from_delayed(dask.delayed(part), part.shape, part.dtype) for part in parts]
        )
        parallel = distributed_rbm(n, n_iter=1)
        for fit in (parallel.fit, parallel.partial_fit):
            with pytest.raises(ValueError, match=message):
                fit(blocks)
        parallel.fit(blocks.map_blocks(sp.csr_array))  # as the message says
        assert_same(on_joblib(parallel, X), parallel)
        empty = da.from_delayed(dask.delayed(other(X[:0])), (0, 64), X.dtype)
        parallel.fit(da.concatenate([empty, da.from_array(first(X), chunks=(599, 64))]))


def at_round(number, function):
    """Return a callback that calls a function after some round."""
    return Watch(lambda n_done: function() if n_done == number else None)


def kill(pids):
    """Kill processes, a moment later, when the next round has begun."""
    timer = threading.Timer(0.01, lambda: [os.kill(pid, signal.SIGKILL) for pid in pids])
    timer.start()


def without_hanging(function, *arguments):
    """Call a function in a thread, and give up after ten minutes."""
    results = []
    thread = threading.Thread(
        target=lambda: results.append(function(*arguments)), daemon=True
    )
    thread.start()
    thread.join(timeout=600)
    assert results, "no result"
    return results[0]


@pytest.mark.slow
def test_killed_and_late_workers_leave_the_bits(cluster):
    """Kill one of two workers, then both; the nannies start others in their place."""
    in_memory = distributed_rbm(n_iter=6)
    expected = on_joblib(in_memory, X)
    for data, n_killed in ((X, 1), (as_blocks(X, 3), 2)):
        pids = list(cluster.run(os.getpid).values())[:n_killed]
        callback = at_round(2 + n_killed, lambda pids=pids: kill(pids))
        parallel = with_callbacks(clone(in_memory), callback)
        assert_same(expected, without_hanging(parallel.fit, data))
        assert not set(pids) & set(cluster.run(os.getpid).values())


def test_another_worker_joins(cluster):
    blocks = as_blocks(X, 3)
    parallel = distributed_rbm(n_iter=6)
    join = at_round(2, lambda: cluster.cluster.scale(3))
    with_callbacks(parallel, join).fit(blocks)
    assert_same(on_joblib(distributed_rbm(n_iter=6), X), parallel)
    cluster.cluster.scale(2)


def lose_a_worker(number):
    """Return a function that makes the scheduler lose a worker in a call of scatter."""

    def patch(dask_scheduler):
        from distributed import scheduler

        real, n_calls = scheduler.scatter_to_workers, itertools.count(1)

        async def scatter(workers, data, rpc):
            keys, who_has, nbytes = await real(workers, data, rpc=rpc)
            if next(n_calls) == number:
                scheduler.scatter_to_workers = real
                (address,) = next(iter(who_has.values()))
                await dask_scheduler.remove_worker(address, stimulus_id="test")
            return keys, who_has, nbytes

        scheduler.scatter_to_workers = scatter

    return patch


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_a_worker_is_lost_while_it_receives_data(number):
    """Arguments of tasks, or blocks in memory."""
    parallel = distributed_rbm(n_iter=1)
    with two_workers() as client:
        client.run_on_scheduler(lose_a_worker(number))
        without_hanging(parallel.fit, X)
        assert len(client.nthreads()) == 1
    assert_same(on_joblib(parallel, X), parallel)


def close_workers(client):
    client.cluster.scale(0)
    while client.nthreads():
        time.sleep(0.05)


@pytest.mark.slow
def test_waiting_for_workers_ends(monkeypatch):
    monkeypatch.setattr("skrbm.dask._WARNED_WAIT", 0.3)
    monkeypatch.setattr("skrbm.dask._LONGEST_WAIT", 0.7)
    with two_workers() as client:
        parallel = with_callbacks(
            distributed_rbm(), at_round(2, lambda: close_workers(client))
        )
        with (
            pytest.warns(UserWarning, match="Waiting for workers: .* none for 0.3 seconds"),
            pytest.raises(TimeoutError, match=r"losses in a row: 1\).*memory_limit"),
        ):
            parallel.fit(X)
        for n_shards in (None, 2):
            with (
                pytest.warns(UserWarning, match="Waiting for workers"),
                pytest.raises(TimeoutError, match=r"no running worker for 0.7 seconds\. S"),
            ):
                distributed_rbm(n_shards).fit(X)
        parallel.estimator_ = make().fit(X)
        with (
            pytest.warns(UserWarning, match="Waiting for workers"),
            pytest.raises(TimeoutError, match="no running worker"),
        ):
            parallel.score(da.from_array(X))


def deadly(block):
    os._exit(1)


@pytest.mark.slow
def test_a_block_that_kills_its_workers_ends_the_fit(monkeypatch):
    monkeypatch.setattr("skrbm.dask._MOST_LOSSES", 2)
    blocks = da.from_array(X, chunks=(400, 64))
    blocks = blocks.map_blocks(deadly, dtype=X.dtype, meta=np.empty((0, 0)))
    with (
        two_workers(),
        pytest.raises(RuntimeError, match=r"lost 2 times in a row, .*memory_limit"),
    ):
        distributed_rbm().fit(blocks)


def tasks_of(client):
    return set(client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks)))


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (OSError("of a task"), OSError, "of a task"),
        (
            distributed.KilledWorker("load", SimpleNamespace(address="tcp://worker"), 3),
            RuntimeError,
            "lost 4 times in a row",
        ),
    ],
)
def test_errors_of_tasks_are_not_repeated(cluster, error, kind, message):
    """Also those of a type that the loss of a worker has. They leave nothing behind."""

    def fail(block):
        raise error

    before = tasks_of(cluster)
    blocks = da.from_array(X, chunks=(400, 64))
    blocks = blocks.map_blocks(fail, dtype=X.dtype, meta=np.empty((0, 0)))
    with pytest.raises(kind, match=message) as kept:
        distributed_rbm().fit(blocks)
    assert kept.value.__traceback__ is not None
    left, end = {None}, time.monotonic() + 60
    while left and time.monotonic() < end:
        left = tasks_of(cluster) - before
    assert not left


CLIENT = """
import os, sys
sys.path.insert(0, {folder!r})
import distributed
from skrbm.callbacks import Checkpoint
from conftest import with_callbacks
from test_dask import X, at_round, distributed_rbm

client = distributed.Client({address!r})
callbacks = Checkpoint({path!r}), at_round(4, lambda: os._exit(7))
with_callbacks(distributed_rbm(n_iter=6), *callbacks).fit(X)
"""


def test_a_client_that_is_not_the_default(cluster, monkeypatch):
    monkeypatch.setattr(distributed.client, "_get_global_client", lambda: None)
    with distributed.Client(cluster.scheduler.address, set_as_default=False) as client:
        parallel = distributed_rbm(n_iter=1, client=client).fit(X)
    assert_same(on_joblib(parallel, X), parallel)


@pytest.mark.slow
def test_a_killed_client_is_resumed_with_the_same_bits(cluster, tmp_path):
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")
    parallel, path = distributed_rbm(n_iter=6), tmp_path / "rbm.ckpt"
    folder, address = os.path.dirname(__file__), cluster.scheduler.address
    assert exit_code(CLIENT.format(folder=folder, address=address, path=str(path))) == 7
    assert_same(on_joblib(parallel, X), parallel.resume(path, X))


@pytest.mark.slow
def test_examples_of_the_docstrings():
    # pytest does not collect them, because the module cannot be imported without dask.
    import skrbm.dask as module

    result = doctest.testmod(module)
    assert result.attempted > 0 == result.failed


def test_likelihood_of_a_model_trained_on_a_cluster(cluster):
    parallel = distributed_rbm().fit(X)
    expected = log_likelihood_scorer(parallel.estimator_, X)
    assert log_likelihood_scorer(parallel, X) == expected
