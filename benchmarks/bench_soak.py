"""Does memory grow over thousands of fits in one process?

``python benchmarks/bench_soak.py`` fits, updates, scores, samples, saves and imputes with
random parameters on small data of all formats. After each tenth of the rounds it prints the
resident memory and the number of objects. Growth until the end is a leak; caches and thread
pools fill up in the first tenth. The 3000 rounds take about ten minutes; ``--quick`` runs a
tenth of them. Linux only.
"""

import argparse
import gc
import os
import pickle
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from skrbm import BernoulliRBMEstimator, RBMImputer
from skrbm.likelihood import LogLikelihoodTracker
from skrbm.sampling import diagnose, draw_chains

FORMS = [np.asarray, np.asfortranarray, sp.csr_array, sp.csc_matrix, np.float32, np.bool_]


def resident():
    """Return the resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def one_round(rng):
    """Call most methods of an estimator with random parameters on random data."""
    n_rows, n_features = rng.integers(20, 400), rng.integers(3, 120)
    dense = (rng.random((n_rows, n_features)) < 0.3).astype(float)
    X = FORMS[rng.integers(len(FORMS))](dense)
    rbm = BernoulliRBMEstimator(
        int(rng.integers(1, 64)),
        solver=rng.choice(["cd", "pcd"]),
        momentum=rng.choice([0.0, 0.5]),
        averaging=bool(rng.integers(2)),
        centering=bool(rng.integers(2)),
        early_stopping=bool(rng.integers(2)),
        n_iter=int(rng.integers(1, 8)),
        warm_start=bool(rng.integers(2)),
        random_state=int(rng.integers(2**31)),
    )
    rbm.fit(X, sample_weight=rng.random(n_rows) if rng.integers(2) else None)
    rbm.fit(X).partial_fit(X[: n_rows // 2])
    rbm.transform(X)
    rbm.score(X)
    rbm.free_energy(X)
    rbm.sample(50)
    rbm.log_partition(betas=20, n_runs=10)
    monitor = LogLikelihoodTracker(dense, n_betas=3, n_runs=10)
    monitor.update(rbm)
    monitor.update(rbm.partial_fit(X))
    diagnose(rbm, draw_chains(rbm, 4, 20))
    pickle.loads(pickle.dumps(rbm)).fit(X)
    gappy = np.where(rng.random(dense.shape) < 0.1, np.nan, dense)
    RBMImputer(rbm, n_gibbs_steps=10).fit_transform(gappy)
    try:
        rbm.set_params(learning_rate=-1).fit(X)
    except ValueError:
        rbm.transform(X)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    n_rounds = 300 if parser.parse_args().quick else 3000
    rng = np.random.default_rng(0)
    warnings.simplefilter(
        "ignore"
    )  # on tiny data, some models end up worse than they started
    print("rounds    resident, MB     objects     seconds")
    start = time.perf_counter()
    for number in range(n_rounds + 1):
        if number % (n_rounds // 10) == 0:
            gc.collect()
            seconds = time.perf_counter() - start
            n_objects = len(gc.get_objects())
            print(
                f"{number:6d}{resident():16.1f}{n_objects:12d}{seconds:12.0f}", flush=True
            )
        one_round(rng)


if __name__ == "__main__":
    main()
