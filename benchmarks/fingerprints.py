"""Do two checkouts train the same models, bit for bit?

::

    python benchmarks/fingerprints.py > after.txt            # in one checkout
    python benchmarks/fingerprints.py > before.txt           # in the other
    diff before.txt after.txt
    python benchmarks/fingerprints.py gaussian "pt, resume"  # only names with one of these

Each line is the name of a training and a digest of its results: parameters, chains, scores
during training, rows sampled afterwards, and rows filled in by an imputer. Digests depend
on NumPy, its BLAS and the number of threads: compare on one computer, with
``OPENBLAS_NUM_THREADS=1``. Needs scikit-learn 1.9, for its callbacks.
"""

import functools
import itertools
import sys
import tempfile
import warnings
from pathlib import Path

import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_digits, load_wine

from skrbm import BernoulliRBMEstimator, GaussianRBMEstimator, ParallelRBM, RBMImputer
from skrbm.callbacks import Checkpoint, resume

RNG = np.random.default_rng(0)
GRAY = load_digits().data[:230] / 16
BINARY = GRAY > 0.4
WIDE = sp.random(90, 2100, density=0.02, format="csr", random_state=0, data_rvs=np.ones)
WEIGHTS = RNG.integers(0, 4, len(GRAY)).astype(float)
WINE = load_wine().data
NOISY = (GRAY + RNG.normal(scale=0.1, size=GRAY.shape)).astype(np.float32)
GAPS = RNG.random(GRAY.shape) < 0.2

DATA = {
    "float64": BINARY.astype(np.float64),
    "float32": BINARY.astype(np.float32),
    "bool": BINARY,
    "uint8": BINARY.astype(np.uint8),
    "gray": GRAY,
    "gray float32": GRAY.astype(np.float32),
    "csr": sp.csr_array(BINARY.astype(np.float32)),
    "gray csr": sp.csr_array(GRAY),
    "wide csr": WIDE,
    "wide csr float32": WIDE.astype(np.float32),
    "wide": WIDE.toarray(),
    "Fortran": np.asfortranarray(GRAY),
}
SOLVERS = {
    "pcd": {},
    "pcd-3": {"n_gibbs_steps": 3, "n_chains": 17},
    "cd": {"solver": "cd"},
    "cd-2": {"solver": "cd", "n_gibbs_steps": 2},
    "pt": {"solver": "pt", "n_chains": 11},
}
EARLY_STOPPING = {"early_stopping": True, "n_iter": 30, "n_iter_no_change": 2}
OPTIONS = {
    "momentum, decay": {"momentum": 0.5, "weight_decay": 1e-3},
    "plain": {"centering": False, "averaging": False, "schedule": "constant"},
    "in order": {"shuffle": False, "batch_size": 7},
    "early stopping": EARLY_STOPPING,
    "as they are": {"stochastic_binarization": False},
}

GAUSSIAN_DATA = {
    "float64": WINE,
    "float32": NOISY,
    "Fortran": np.asfortranarray(WINE, dtype=np.float32),
}
GAUSSIAN_SOLVERS = {name: SOLVERS[name] for name in ("pcd", "pcd-3", "cd")}
GAUSSIAN_OPTIONS = {
    "default": {},
    "rate, decay": {"learning_rate": 0.02, "weight_decay": 1e-3, "schedule": "constant"},
    "in order": OPTIONS["in order"],
    "early stopping": EARLY_STOPPING,
}

PARALLEL_DATA = ("float64", "float32", "uint8", "gray", "csr", "gray csr", "wide csr")
PARALLEL_SOLVERS = {name: SOLVERS[name] for name in ("pcd", "cd", "pt")}
PARALLEL_OPTIONS = {
    "momentum": OPTIONS["momentum, decay"],
    "early stopping": EARLY_STOPPING,
}

IMPUTED = {
    "float64": (BernoulliRBMEstimator, np.where(GAPS, np.nan, BINARY)),
    "gray float32": (BernoulliRBMEstimator, np.where(GAPS, np.nan, DATA["gray float32"])),
    "empty": (
        BernoulliRBMEstimator,
        np.where(GAPS | (np.arange(64) == 30), np.nan, BINARY),
    ),
    "complete": (BernoulliRBMEstimator, DATA["uint8"]),
    "gaussian": (GaussianRBMEstimator, np.where(GAPS[: len(WINE), :13], np.nan, WINE)),
    "gaussian float32": (GaussianRBMEstimator, np.where(GAPS, np.nan, NOISY)),
}

LEARNED = (
    "components_",
    "intercept_visible_",
    "intercept_hidden_",
    "noise_variance_",
    "axes_",
    "axes_variance_",
    "visible_mean_",
    "visible_variance_",
    "h_samples_",
    "n_iter_",
    "learning_rate_",
    "weight_decay_",
    "n_gibbs_steps_",
    "validation_scores_",
    "log_partition_gap_",
)


def bernoulli(**parameters):
    settings = {"n_components": 30, "n_iter": 4, "random_state": 0} | parameters
    return BernoulliRBMEstimator(**settings)


def gaussian(**parameters):
    settings = {"n_components": 12, "n_iter": 4, "random_state": 0} | parameters
    return GaussianRBMEstimator(**settings)


def parallel(n_shards, n_jobs=1, **parameters):
    rbm = bernoulli(**parameters)
    return ParallelRBM(rbm, n_shards=n_shards, n_local_steps=2, n_jobs=n_jobs)


def warm(make, X, weights):
    model = make(warm_start=True)
    return model.fit(X).fit(X, sample_weight=weights)


def stream(model, X, weights):
    for start in range(0, X.shape[0], 60):
        rows = slice(start, start + 60)
        model.partial_fit(X[rows], sample_weight=None if weights is None else weights[rows])
    return model


class StopAfterTwo:
    """Callback that stops training after the second epoch."""

    def setup(self, estimator, context):
        pass

    on_fit_task_begin = teardown = setup

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        return context.task_name == "epoch" and fitted_estimator.n_iter_ == 2


def resumed(make, X, weights):
    """Stop after the second epoch, and resume training from its checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rbm.ckpt"
        model = make()
        rbm, again = model, resume
        if isinstance(model, ParallelRBM):
            rbm, again = model.estimator, make().resume
        rbm.set_callbacks(Checkpoint(path), StopAfterTwo())
        model.fit(X, sample_weight=weights)
        return again(path, X, sample_weight=weights)


WAYS = {
    "fit": lambda make, X, weights: make().fit(X, sample_weight=weights),
    "warm": warm,
    "resume": resumed,
    "partial_fit": lambda make, X, weights: stream(make(), X, weights),
    "fit, partial_fit": lambda make, X, weights: stream(make().fit(X), X, weights),
}


def in_all_ways(name, make, X):
    """Yield the name of each way to train on `X` and a function that trains."""
    for way, train in WAYS.items():
        yield f"{name}, {way}", functools.partial(train, make, X, None)
        weights = WEIGHTS[: X.shape[0]]
        yield f"{name}, {way}, weights", functools.partial(train, make, X, weights)


def bernoulli_trainings():
    for (data, X), (solver, p) in itertools.product(DATA.items(), SOLVERS.items()):
        yield f"bernoulli, {data}, {solver}", functools.partial(bernoulli(**p).fit, X)
    pairs = itertools.product(("float32", "gray", "gray csr"), OPTIONS, SOLVERS)
    for data, option, solver in pairs:
        make = functools.partial(bernoulli, **OPTIONS[option] | SOLVERS[solver])
        yield from in_all_ways(f"bernoulli, {data}, {option}, {solver}", make, DATA[data])
    long = bernoulli(n_iter=420, n_components=8, n_chains=20)
    yield "bernoulli, uint8, 5040 updates", functools.partial(long.fit, DATA["uint8"])


def gaussian_trainings():
    pairs = itertools.product(GAUSSIAN_DATA, GAUSSIAN_OPTIONS, GAUSSIAN_SOLVERS)
    for data, option, solver in pairs:
        make = functools.partial(
            gaussian, **GAUSSIAN_OPTIONS[option] | GAUSSIAN_SOLVERS[solver]
        )
        name = f"gaussian, {data}, {option}, {solver}"
        yield from in_all_ways(name, make, GAUSSIAN_DATA[data])


def parallel_trainings():
    for data, n_shards in itertools.product(PARALLEL_DATA, (1, 2, 3)):
        train = parallel(n_shards).fit
        yield f"parallel, {data}, {n_shards}", functools.partial(train, DATA[data])
    pairs = itertools.product(
        ("float32", "gray csr"), PARALLEL_OPTIONS, PARALLEL_SOLVERS, (1, 2, 3)
    )
    for data, option, solver, n_shards in pairs:
        parameters = PARALLEL_OPTIONS[option] | PARALLEL_SOLVERS[solver]
        make = functools.partial(parallel, n_shards, **parameters)
        name = f"parallel, {data}, {option}, {solver}, {n_shards}"
        yield from in_all_ways(name, make, DATA[data])
    for data in ("gray", "csr"):
        train = parallel(3, n_jobs=2, early_stopping=True).fit
        yield f"parallel, {data}, two processes", functools.partial(train, DATA[data])


def imputer_trainings():
    """Yield training runs of an imputer on rows, which it then fills in."""
    strategies = ("probability", "mode", "draw")
    pairs = itertools.product(IMPUTED.items(), strategies, (False, True))
    for (data, (estimator, X)), strategy, warm_start in pairs:
        if strategy == "mode" and estimator is GaussianRBMEstimator:
            continue
        imputer = RBMImputer(
            estimator(12, n_iter=4, warm_start=warm_start),
            strategy=strategy,
            n_gibbs_steps=20,
            random_state=0,
        )
        name = f"imputer, {data}, {strategy}{', warm' if warm_start else ''}"
        yield name, functools.partial(imputer.fit, X), X


def digest(model, gappy=None):
    """Return a digest of what a model has learned, and of how it fills in gaps if any."""
    filled = [] if gappy is None else [model.transform(gappy)]
    rbm = getattr(model, "estimator_", getattr(model, "rbm_", model))
    rows = rbm.sample(5)
    arrays = [getattr(rbm, name) for name in LEARNED if hasattr(rbm, name)]
    arrays += [rows, rbm.transform(rows), rbm.score_samples(rows), *filled]
    history = getattr(rbm, "history_", {})
    arrays += [history[name] for name in sorted(history) if name != "seconds"]
    return joblib.hash([np.ascontiguousarray(array) for array in arrays])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    trainings = itertools.chain(
        bernoulli_trainings(),
        gaussian_trainings(),
        parallel_trainings(),
        imputer_trainings(),
    )
    for name, train, *gappy in trainings:
        if any(part in name for part in sys.argv[1:] or [""]):
            print(f"{name}: {digest(train(), *gappy)}", flush=True)
