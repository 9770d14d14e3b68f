"""Training of one model by several workers: quality, time, faults and memory.

::

    python benchmarks/bench_dask.py --data DIR [--only TABLE ...] [--quick]

DIR, or the environment variable SKRBM_DATA, is the folder with ``binarized_mnist.npz``.
The table "large" needs 1.6 GB of disk in the folder for temporary files. Needs the extra
``dask``. Tables:

quality
    Test log-likelihood by forward and reverse AIS after 10 epochs, for one process and for
    1 to 32 shards, which are simulated in one process.
time
    Time of the same training by one process with one and two threads, by joblib and by
    Dask, with one thread for each worker.
rounds
    Processor time of a round: the steps of all shards in one process, and with Dask that of
    a worker, and of the client and the scheduler together.
kill
    Time that a killed worker costs.
large
    Training from files that are larger than the memory limit of the workers.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # also on the workers

import dask.array as da
import distributed
import numpy as np
import threadpoolctl

from skrbm import BernoulliRBMEstimator, ParallelRBM
from skrbm.dask import DaskRBM


def mnist_bits(data):
    with np.load(Path(data) / "binarized_mnist.npz") as archive:
        return [archive[key].reshape(-1, 784) for key in ("X_train", "X_test")]


def cluster(n_workers, **options):
    options = {"threads_per_worker": 1, "dashboard_address": ":0"} | options
    return distributed.LocalCluster(n_workers=n_workers, **options)


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def quality(data, quick):
    X, X_test = mnist_bits(data)
    rbm = BernoulliRBMEstimator(500, n_iter=1 if quick else 10, random_state=0)
    base_mean = X.mean(axis=0)
    print("MNIST bits, 500 units      successive steps   seconds   forward   reverse")
    for n_shards in (None, 1, 2, 4, 8, 16, 32):
        estimator, start = rbm, time.perf_counter()
        if n_shards is None:
            fitted = estimator.fit(X)
            n_steps = fitted.n_iter_ * -(-len(X) // fitted.batch_size)
        else:
            parallel = ParallelRBM(estimator, n_shards=n_shards).fit(X)
            fitted = parallel.estimator_
            n_steps = fitted._learning.n_rounds * parallel.n_local_steps_
        took = time.perf_counter() - start
        values = []
        for method in ("ais", "reverse_ais"):
            options = {"betas": 3000, "base_mean": base_mean, "random_state": 0}
            log_z = fitted.log_partition(method=method, **options)
            values.append(fitted.log_likelihood(X_test, log_partition=log_z).mean())
        name = "one process" if n_shards is None else f"{n_shards} shards"
        print(
            f"  {name:24s}{n_steps:17.0f}{took:10.0f}{values[0]:10.2f}{values[1]:10.2f}",
            flush=True,
        )


def fit_seconds(meta, X):
    """Time of all rounds, without the survey and without checks of the fitted model."""
    with threadpoolctl.threadpool_limits(1):  # if there are no worker processes
        return sum(meta.fit(X).estimator_.history_["seconds"])


def timing(data, quick):
    X = mnist_bits(data)[0][: 6000 if quick else 20_000]
    rbm = BernoulliRBMEstimator(500, n_iter=1, random_state=0)
    functions = {}

    def in_threads(n):
        with threadpoolctl.threadpool_limits(n, user_api="openmp"):
            return sum(rbm.fit(X).history_["seconds"])

    for n in (1, 2):
        functions[f"one process, {n} threads"] = lambda n=n: in_threads(n)
    for n in (1, 2):
        functions[f"joblib, 2 shards, {n} processes"] = lambda n=n: fit_seconds(
            ParallelRBM(rbm, n_shards=2, n_jobs=n), X
        )
    with cluster(1) as one, cluster(2) as two:
        clients = [distributed.Client(c, set_as_default=False) for c in (one, two)]
        for n, client in enumerate(clients, 1):
            functions[f"Dask, 2 shards, {n} workers"] = lambda client=client: fit_seconds(
                DaskRBM(rbm, n_shards=2, client=client), X
            )
        times = {name: [] for name in functions}
        for _ in range(1 if quick else 5):
            for name, function in functions.items():
                times[name].append(function())
        for client in clients:
            client.close()
    first = np.median(times["one process, 1 threads"])
    print("an epoch of 784 x 500           seconds    to one thread")
    for name, values in times.items():
        median = np.median(values)
        print(f"  {name:30s}{median:9.2f}{median / first:17.2f}", flush=True)


class Clocks:
    """Callback that reads clocks after the first and the last round."""

    def __init__(self, *clocks):
        self.clocks, self.readings = clocks, []

    def setup(self, estimator, context):
        pass

    on_fit_task_begin = teardown = setup

    def on_fit_task_end(self, estimator, context):
        if context.task_name != "epoch":
            return
        training = estimator._training
        if training.n_done in (1, training.n_epochs):
            self.readings.append([clock() for clock in self.clocks])
            self.n_rounds = training.n_epochs - 1

    def ms_per_round(self):
        first, last = self.readings
        return 1e3 * np.subtract(last, first) / self.n_rounds


def rounds(data, quick):
    """Compare processor times, which do not depend on other processes."""
    X = mnist_bits(data)[0]
    print("784 features          ms a round:  steps   Dask: worker   client and scheduler")
    with cluster(1) as local, distributed.Client(local) as client:

        def on_worker():
            return sum(client.run(time.process_time).values())

        for n_components in (16, 500) if quick else (16, 100, 500, 2000):
            for n_shards in (2, 4, 16):
                rows = X[: (4 if quick else 10) * 25 * 20 * n_shards]
                options = {"n_shards": n_shards, "n_local_steps": 25}
                times = []
                for kind, clocks in (
                    (ParallelRBM, [time.process_time]),
                    (DaskRBM, [on_worker, time.process_time]),
                ):
                    callback = Clocks(*clocks)
                    rbm = BernoulliRBMEstimator(n_components, n_iter=1, random_state=0)
                    rbm.set_callbacks(callback)
                    kind(rbm, **options).fit(rows)
                    times.extend(callback.ms_per_round())
                print(
                    f"  {n_components:5d} units, {n_shards:2d} shards{times[0]:22.1f}"
                    f"{times[1]:16.1f}{times[2]:23.1f}",
                    flush=True,
                )


class KillAtRound:
    """Callback that kills a worker shortly after a round."""

    def __init__(self, number, pid):
        self.number, self.pid = number, pid

    def setup(self, estimator, context):
        pass

    on_fit_task_begin = teardown = setup

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch" and estimator._training.n_done == self.number:
            threading.Timer(0.02, os.kill, (self.pid, signal.SIGKILL)).start()


def kill(data, quick):
    X = da.from_array(mnist_bits(data)[0][:20_000], chunks=(2500, 784))
    print("20000 rows in 8 blocks, 500 units      seconds   longest round   same bits")
    models = []
    with cluster(2) as local, distributed.Client(local) as client:
        for n_killed in (0, 0, *[1] * (1 if quick else 5)):
            rbm = BernoulliRBMEstimator(500, n_iter=1, random_state=0)
            pids = list(client.run(os.getpid).values())
            number = int(np.random.default_rng().integers(1, 5))
            if n_killed:
                rbm.set_callbacks(KillAtRound(number, pids[0]))
            meta = DaskRBM(rbm, n_shards=4)
            took = seconds(lambda meta=meta: meta.fit(X))
            models.append(meta.estimator_.components_)
            longest = max(meta.estimator_.history_["seconds"])
            name = f"a worker killed in round {number + 1}" if n_killed else "none killed"
            same = (models[-1] == models[0]).all()
            print(f"  {name:36s}{took:10.2f}{longest:16.2f}{same!s:>12s}", flush=True)
            client.wait_for_workers(2)


LARGE = """
import sys, time
import dask, dask.array as da, distributed, numpy as np
from pathlib import Path
from skrbm import BernoulliRBMEstimator
from skrbm.dask import DaskRBM

def peak(name):
    status = dict(line.split(":") for line in open("/proc/self/status"))
    return int(status[name].split()[0]) / 1024

if __name__ == "__main__":
    paths = sorted(Path(sys.argv[1]).glob("*.npy"))
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(memory_limit="500MiB", **options) as cluster,
        distributed.Client(cluster),
    ):
        n_rows = len(np.load(paths[0], mmap_mode="r"))
        blocks = [
            da.from_delayed(dask.delayed(np.load)(path), (n_rows, 784), np.uint8)
            for path in paths
        ]
        X = da.concatenate(blocks)
        rbm = BernoulliRBMEstimator(64, batch_size=100, n_iter=1, random_state=0)
        before, start = peak("VmRSS"), time.perf_counter()
        meta = DaskRBM(rbm, n_shards=2, n_local_steps=200).fit(X)
        took = time.perf_counter() - start
        score = meta.score(X[:n_rows])
        print(f"{len(X):10d} rows, {X.nbytes / 2**20:.0f} MB: {took:.0f} s, mean score "
              f"{score:.2f}; client {before:.0f} MB before, {peak('VmHWM'):.0f} MB at most")
"""


def large(data, quick):
    n_files, n_rows = (5 if quick else 40), 50_000
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        probabilities = rng.random(784, dtype=np.float32)
        for i in range(n_files):
            block = rng.random((n_rows, 784), dtype=np.float32) < probabilities
            np.save(Path(folder) / f"{i:02d}.npy", block.astype(np.uint8))
        script = Path(folder) / "large.py"
        script.write_text(LARGE)
        print("two workers with a limit of 500 MiB each", flush=True)
        subprocess.run([sys.executable, str(script), folder], check=True)


TABLES = {
    "quality": quality,
    "time": timing,
    "rounds": rounds,
    "kill": kill,
    "large": large,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SKRBM_DATA"))
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--quick", action="store_true", help="fewer and smaller fits")
    arguments = parser.parse_args()
    for name in arguments.only:
        print(f"\n{name}")
        TABLES[name](arguments.data, arguments.quick)


if __name__ == "__main__":
    main()
