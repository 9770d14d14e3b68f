"""Do two checkouts train the same models, bit for bit?

::

    python benchmarks/fingerprints.py > after.txt            # in one checkout
    python benchmarks/fingerprints.py > before.txt           # in the other
    diff before.txt after.txt

Each line is the name of a training and a digest of its results: parameters, chains, number
of epochs, and rows sampled afterwards. Digests depend on NumPy, its BLAS and the number of
threads: compare on one computer, with ``OPENBLAS_NUM_THREADS=1``. Needs scikit-learn 1.9,
for its callbacks.
"""

import itertools
import tempfile
import warnings
from pathlib import Path

import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_digits

from skrbm import BernoulliRBMEstimator
from skrbm.callbacks import Checkpoint, resume

GRAY = load_digits().data[:230] / 16
BINARY = GRAY > 0.4
WIDE = sp.random(90, 2100, density=0.02, format="csr", random_state=0, data_rvs=np.ones)
WEIGHTS = np.random.default_rng(0).integers(0, 4, len(GRAY)).astype(float)

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
}
OPTIONS = {
    "momentum, decay": {"momentum": 0.5, "weight_decay": 1e-3},
    "plain": {"centering": False, "averaging": False, "schedule": "constant"},
    "in order": {"shuffle": False, "batch_size": 7},
    "early stopping": {"early_stopping": True, "n_iter": 30, "n_iter_no_change": 2},
    "as they are": {"stochastic_binarization": False},
}


def make(**parameters):
    settings = {"n_components": 30, "n_iter": 4, "random_state": 0} | parameters
    return BernoulliRBMEstimator(**settings)


def digest(rbm):
    arrays = [rbm.components_, rbm.intercept_visible_, rbm.intercept_hidden_]
    arrays += [rbm.visible_mean_, rbm.h_samples_, rbm.sample(5)]
    return joblib.hash([np.ascontiguousarray(a) for a in arrays] + [rbm.n_iter_])


def stream(X, weights, **parameters):
    rbm = make(**parameters)
    rbm.n_iter_ = 0
    for start in range(0, X.shape[0], 60):
        rows = slice(start, start + 60)
        rbm.partial_fit(X[rows], sample_weight=None if weights is None else weights[rows])
    return rbm


class StopAfterTwo:
    """Callback that stops training after the second epoch."""

    def setup(self, estimator, context):
        pass

    on_fit_task_begin = teardown = setup

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        return context.task_name == "epoch" and fitted_estimator.n_iter_ == 2


def resumed(X, weights, **parameters):
    """Stop after the second epoch, and resume training from its checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rbm.ckpt"
        rbm = make(**parameters).set_callbacks(Checkpoint(path), StopAfterTwo())
        rbm.fit(X, sample_weight=weights)
        return resume(path, X, sample_weight=weights)


def trainings():
    """Yield the name of each training and a function that runs it."""
    pairs = itertools.product(DATA.items(), SOLVERS.items())
    for (data, X), (solver, parameters) in pairs:
        yield f"{data}, {solver}", lambda X=X, p=parameters: make(**p).fit(X)
    pairs = itertools.product(("float32", "gray", "gray csr"), OPTIONS, SOLVERS)
    for data, option, solver in pairs:
        X, parameters = DATA[data], OPTIONS[option] | SOLVERS[solver]
        ways = {
            "fit": lambda X, w, p: make(**p).fit(X, sample_weight=w),
            "warm": lambda X, w, p: (
                make(**p, warm_start=True).fit(X).fit(X, sample_weight=w)
            ),
            "resume": lambda X, w, p: resumed(X, w, **p),
            "partial_fit": lambda X, w, p: stream(X, w, **p),
        }
        for way, train in ways.items():
            for weights in (None, WEIGHTS):
                name = f"{data}, {option}, {solver}, {way}"
                if weights is not None:
                    name += ", weights"
                yield name, lambda X=X, w=weights, p=parameters, t=train: t(X, w, p)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for name, train in trainings():
        print(f"{name}: {digest(train())}", flush=True)
