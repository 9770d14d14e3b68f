"""How fast is training, compared with BernoulliRBM, torch loops and matrix products?

    python benchmarks/bench_fit.py [--data DIR] [--only TABLE ...] [--quick] [--json FILE]

Tables:

fit      Time of an epoch. The floor is the time of a step's matrix products alone, with
         nothing between them, in the faster of two forms: five products, or three that
         stack both phases. For sparse data, both visible sides are sparse. BernoulliRBM
         converts uint8 to float64. Rows of 784 features are binarized MNIST, if --data or
         SKRBM_DATA is given, else random bits. Of "coins", half are on. Normal values
         are learned by GaussianRBMEstimator.
defaults Each estimator at its defaults on digits and on rows of 784 features: an epoch, and
         whole fits with the mean log-likelihood of test rows, forward and reverse.
busy     Time of a fit with the default number of threads, relative to one thread, beside
         0, 1 and 2 busy processes, on binary and on gray rows, with and without the
         compiled core; and the longest of ten fits, relative to the median of one thread.
peers    An epoch of 784 x 500 with minibatches of 64, compared with hand-written torch, the
         textbook implementation with automatic differentiation, and the package rbms, if
         they are installed (``pip install ".[bench]"``).
apply    `transform`, `score_samples`, `free_energy`, and `partial_fit` on a stream.
memory   Memory that a fit needs in addition to its data, each measured in a process of its
         own from the peak that Linux reports. For a memory map, this includes its resident
         pages.
scale    Time of an epoch per row, against the number of rows, features and components.
categories
         An epoch of MixedRBMEstimator on 40 columns of five states, and of
         BernoulliRBMEstimator on the same rows as 200 bits. A fifth of these are on. With
         and without a third of the cells missing, with and without the compiled core.

The entries of a line are measured in turns, in one run. A ratio is the median of the
rounds' ratios, a time the median of the rounds' times. Compare the ratios, as the times
depend on the load of the computer. The time of an epoch is that in a running training, so
that neither validation and initialization nor the additional work of the first steps
counts: for skrbm the mean of epochs after at least 480 steps, which a callback measures
(they need scikit-learn 1.9), for others the difference between fits of one and of several
epochs.

All tables but "busy" and "categories" use the compiled core if it is installed;
SKRBM_COMPILED=0 switches it off. With OPENBLAS_NUM_THREADS=1 and OMP_NUM_THREADS=1, there
is one thread, and times are those of the processor, which depend less on other processes.
The products and the other packages also depend on the kernels that OpenBLAS takes, which
are printed: OPENBLAS_CORETYPE chooses others, such as SkylakeX for AVX-512.
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import sklearn
from bench_quality import RbmsPCD, TorchPCD, log_likelihoods
from bench_tables import categories as frame_of
from joblib import cpu_count, parallel_config
from results import add_option, blas, record, save
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMEstimator, GaussianRBMEstimator, MixedRBMEstimator

# n_features, n_components, batch_size, n_chains, rows, and what they are: a density, sparse
# below 0.1, or "normal" values.
SHAPES = [
    (64, 100, 10, 10, 4000, 0.3),
    (784, 500, 10, 10, 2000, 0.2),
    (784, 500, 20, 100, 5000, 0.2),
    (784, 500, 64, 64, 12_800, 0.2),
    (784, 500, 256, 256, 20_480, 0.2),
    (784, 500, 64, 64, 12_800, 0.5),
    (10_000, 256, 10, 10, 400, 0.01),
    (10_000, 256, 100, 100, 3200, 0.01),
    (100, 256, 64, 64, 12_800, "normal"),
    (784, 500, 64, 64, 6400, "normal"),
]
# Steps after which the average of skrbm takes only every sixteenth of them.
STEPS_BEFORE = 480


class TextbookCD:
    """Textbook CD-1 in torch, with the gradient of free energies by autograd."""

    def __init__(self, n_components, learning_rate=0.01, batch_size=64, n_iter=1):
        self.n_components, self.learning_rate = n_components, learning_rate
        self.batch_size, self.n_iter = batch_size, n_iter

    def fit(self, X):
        import torch
        from torch.nn.functional import linear, softplus

        torch.manual_seed(0)
        X = torch.from_numpy(X)
        weights = (0.01 * torch.randn(self.n_components, X.shape[1])).requires_grad_()
        visible_bias = torch.zeros(X.shape[1], requires_grad=True)
        hidden_bias = torch.zeros(self.n_components, requires_grad=True)
        parameters = [weights, visible_bias, hidden_bias]
        optimizer = torch.optim.SGD(parameters, lr=self.learning_rate)

        def free_energy(v):
            hidden = softplus(linear(v, weights, hidden_bias)).sum(1)
            return (-(v @ visible_bias) - hidden).mean()

        for _ in range(self.n_iter):
            for rows in torch.randperm(len(X)).split(self.batch_size):
                v = X[rows]
                with torch.no_grad():
                    h = torch.bernoulli(torch.sigmoid(linear(v, weights, hidden_bias)))
                    mean = torch.sigmoid(linear(h, weights.t(), visible_bias))
                    model_v = torch.bernoulli(mean)
                loss = free_energy(v) - free_energy(model_v)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return self


# Processor time, which depends less on other processes, if there is one thread.
one_thread = all(library["num_threads"] == 1 for library in blas())
clock = time.process_time if one_thread else time.perf_counter


def seconds(function, *arguments, clock=clock):
    start = clock()
    function(*arguments)
    return clock() - start


def mnist_path():
    return Path(os.environ.get("SKRBM_DATA", ".")) / "binarized_mnist.npz"


def mnist_bits(n_rows, dtype):
    """Return rows of binarized MNIST, or None if there are no data."""
    if not mnist_path().exists():
        return None
    with np.load(mnist_path()) as archive:
        return np.ascontiguousarray(archive["X_train"][:n_rows], dtype=dtype)


def make_data(n_features, n_rows, density, dtype):
    mnist_like = n_features == 784 and density == 0.2
    if mnist_like and (X := mnist_bits(n_rows, dtype)) is not None:
        return X
    if density == "normal":
        return np.random.default_rng(0).standard_normal((n_rows, n_features), dtype)
    if density < 0.1:
        X = sp.random(n_rows, n_features, density, dtype=np.float64, random_state=0)
        X.data[:] = 1
        return X.tocsr().astype(dtype)
    X = np.empty((n_rows, n_features), dtype=dtype)
    rng = np.random.default_rng(0)
    for start in range(0, n_rows, 10_000):
        block = X[start : start + 10_000]
        block[...] = rng.random(block.shape, dtype=np.float32) < density
    return X


def step_floor(X, n_components, batch_size, n_chains, n_repeats):
    """Return the mean time of a step's matrix products in seconds, in the faster form."""
    n = batch_size + n_chains
    X = X if X.dtype.kind == "f" else X[:n].astype(np.float32)
    rng = np.random.default_rng(0)
    dtype, n_features = X.dtype, X.shape[1]
    weights = rng.standard_normal((n_features, n_components)).astype(dtype)
    hidden = rng.random((n, n_components)).astype(dtype)
    both = X[np.arange(n) % X.shape[0]]
    (v, h), (chains, of_chains) = (
        (both[part], hidden[part]) for part in (slice(batch_size), slice(batch_size, None))
    )
    down = np.empty((n_features, n_chains), dtype)

    def five():
        v @ weights
        np.matmul(weights, of_chains.T, out=down)
        chains @ weights
        v.T @ h
        chains.T @ of_chains

    def three():
        np.matmul(weights, of_chains.T, out=down)
        both @ weights
        both.T @ hidden

    return min(np.mean([seconds(form) for _ in range(n_repeats)]) for form in (five, three))


class Laps:
    """Callback that notes the time at the end of each epoch."""

    def setup(self, estimator, context):
        self.times = []

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, **fitted):
        if context.task_name == "epoch":
            self.times.append(clock())

    def teardown(self, estimator, context):
        pass


def epoch_seconds(estimator, X, n_epochs):
    """Return the time of an epoch, the mean of some in a running training."""

    def fit(n_iter):
        estimator.n_iter = n_iter
        estimator.fit(X)

    if not hasattr(estimator, "set_callbacks"):
        return (seconds(fit, 1 + n_epochs) - seconds(fit, 1)) / n_epochs
    laps = Laps()
    estimator.set_callbacks(laps)
    first = -(-STEPS_BEFORE * estimator.batch_size // X.shape[0])
    fit(first + n_epochs)
    return (laps.times[-1] - laps.times[first - 1]) / n_epochs


def in_turn(functions, n_rounds):
    """Call all functions in each round; return an array of results per function."""
    rounds = [[function() for function in functions.values()] for _ in range(n_rounds)]
    return dict(zip(functions, np.array(rounds).T, strict=True))


def ratio(a, b):
    return np.median(a / b)


def make_estimators(n_components, batch_size, n_chains=None, cls=BernoulliRBMEstimator):
    """Return our solvers and, for binary data, BernoulliRBM.

    By default, there are as many chains as rows in a minibatch, as BernoulliRBM has.
    """
    common = {
        "n_components": n_components,
        "batch_size": batch_size,
        "learning_rate": 0.01,
        "random_state": 0,
    }
    ours = common | {"n_gibbs_steps": 1}
    estimators = {
        "pcd": cls(solver="pcd", n_chains=n_chains or batch_size, **ours),
        "cd": cls(solver="cd", **ours),
    }
    if cls is BernoulliRBMEstimator:
        return {"incumbent": BernoulliRBM(**common)} | estimators
    return estimators


def contenders(X, estimators, n_epochs):
    """Return functions that time an epoch of each estimator, and of the products."""
    rbm = estimators["pcd"]
    n_steps = -(-X.shape[0] // rbm.batch_size)
    sizes = X, rbm.n_components, rbm.batch_size, rbm.n_chains, n_steps
    floor = {"floor": lambda: n_steps * step_floor(*sizes)}
    return floor | {
        name: lambda estimator=estimator: epoch_seconds(estimator, X, n_epochs)
        for name, estimator in estimators.items()
    }


def fit(quick, picture):
    n_rounds, n_epochs = (1, 1) if quick else (5, 2)
    print(
        "features  hidden  batch, chains  data             epoch, ms:  floor  Bernoulli-"
        "   skrbm   skrbm    pcd to  cd to   RBM to\n"
        f"{'':66}RBM     pcd      cd     floor  floor  skrbm pcd"
    )
    for n_features, n_components, batch_size, n_chains, n_rows, kind in SHAPES:
        dtypes = ["float32"]
        if (batch_size, kind) == (64, 0.2):
            dtypes += ["float64", "uint8"]
        cls = GaussianRBMEstimator if kind == "normal" else BernoulliRBMEstimator
        for dtype in dtypes:
            X = make_data(n_features, n_rows, kind, dtype)
            estimators = make_estimators(n_components, batch_size, n_chains, cls)
            result = in_turn(contenders(X, estimators, n_epochs), n_rounds)
            what = {0.5: ", coins", "normal": ", normal"}.get(kind, "")
            form = dtype + (", sparse" if sp.issparse(X) else what)
            ms = {name: 1e3 * np.median(times) for name, times in result.items()}
            pcd, cd = (ratio(result[name], result["floor"]) for name in ("pcd", "cd"))
            gain = {}
            if "incumbent" in result:
                gain["BernoulliRBM / skrbm"] = ratio(result["incumbent"], result["pcd"])
            print(
                f"{n_features:8d}{n_components:8d}{batch_size:7d}{n_chains:8d}  {form:17s}"
                f"{ms['floor']:15.1f}{ms.get('incumbent', np.nan):12.1f}{ms['pcd']:8.1f}"
                f"{ms['cd']:8.1f}{pcd:10.2f}{cd:7.2f}{sum(gain.values()):9.2f}",
                flush=True,
            )
            size = f"{n_features} x {n_components}, {batch_size}"
            size += f" with {n_chains} chains" * (n_chains != batch_size)
            record(
                "fit",
                **{"shape": f"{size}; {form}"},
                **{f"{name}, ms": round(value, 1) for name, value in ms.items()},
                **{key: round(value, 2) for key, value in gain.items()},
                **{"skrbm / products": round(pcd, 2), "CD / products": round(cd, 2)},
            )


def defaults(quick, picture):
    """Time epochs on 6000 rows at most, and whole fits, which have a likelihood."""
    rows = {}
    digits = (load_digits().data > 7).astype(np.float32)
    rows["digits"] = train_test_split(digits, test_size=500, random_state=0)
    if (path := mnist_path()).exists():
        with np.load(path) as archive:
            X, X_test = (archive[key].astype(np.float32) for key in ("X_train", "X_test"))
        rows["MNIST"] = (X[:6000] if quick else X), X_test
    print(
        "defaults of both, float32           epoch, ms   ratio     fit, s   log-lik.   "
        "reverse"
    )
    for name, (X, X_test) in rows.items():
        few = len(X) < 6000
        estimators = {
            "BernoulliRBM": BernoulliRBM(random_state=0),
            "skrbm": BernoulliRBMEstimator(random_state=0),
        }
        functions = {
            key: partial(epoch_seconds, clone(rbm), X[:6000], 2)
            for key, rbm in estimators.items()
        }
        epochs = in_turn(functions, 1 if quick else 5)
        fits = in_turn(
            {key: partial(seconds, partial(x.fit, X)) for key, x in estimators.items()},
            5 if few and not quick else 1,
        )
        for key, rbm in estimators.items():
            values = log_likelihoods(rbm, X_test, X.mean(axis=0), 1000)
            ms, s = 1e3 * np.median(epochs[key]), np.median(fits[key])
            over = ratio(epochs[key], epochs["skrbm"])
            cells = "".join(f"{value:11.2f}" for value in values.values())
            print(f"  {name:8s}{key:24s}{ms:11.1f}{over:8.2f}{s:11.2f}{cells}", flush=True)
            record(
                "defaults",
                **{"data": f"{name}, {len(X)} rows", "package": key},
                **{"epoch, ms": round(ms, 1)},
                **{"to skrbm": round(over, 2), "fit, s": round(s, 2)},
                **{key: round(value, 2) for key, value in values.items()},
            )


BUSY = """
import sys, time
import numpy as np
from skrbm import BernoulliRBMEstimator

n_rows, n_features, n_components, n_iter = map(int, sys.argv[2:])
rng = np.random.default_rng(0)
X = (rng.random((n_rows, n_features)) < 0.2).astype(np.float32)
if sys.argv[1] == "gray":
    X *= rng.random(X.shape, np.float32)
rbm = BernoulliRBMEstimator(n_components, n_iter=n_iter, random_state=0)
rbm.set_params(n_iter=1).fit(X[:100])
start = time.perf_counter()
rbm.set_params(n_iter=n_iter).fit(X)
print(time.perf_counter() - start)
"""


@contextlib.contextmanager
def busy_processes(n):
    processes = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def busy(quick, picture):
    one = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment = {name: value for name, value in os.environ.items() if name not in one}

    def fit_seconds(rows, shape, **variables):
        command = [sys.executable, "-c", BUSY, rows, *map(str, shape)]
        variables = environment | variables
        output = subprocess.run(command, env=variables, check=True, capture_output=True)
        return float(output.stdout)

    print("  core      rows    shape     beside   s, one thread   default   ratio   worst")
    shapes = (7000, 64, 100, 5), (6000, 784, 500, 3)
    for compiled, rows, shape in itertools.product("10", ("binary", "gray"), shapes):
        core = "compiled" if compiled == "1" else "NumPy"
        name = "{} x {}, {} hidden units, {} epochs".format(*shape)
        row = {"fit": f"{name}; {rows}; {core}"}
        fit = partial(fit_seconds, rows, shape, SKRBM_COMPILED=compiled)
        functions = {"one": partial(fit, **one), "all": fit}
        for n_busy in (0, 1, 2):
            with busy_processes(n_busy):
                result = in_turn(functions, 1 if quick else 10)
            medians = {name: np.median(times) for name, times in result.items()}
            over = ratio(result["all"], result["one"])
            worst = max(result["all"]) / medians["one"]
            row[f"{n_busy} busy processes"] = round(over, 2)
            row[f"worst of {len(result['all'])} beside {n_busy}"] = round(worst, 2)
            print(
                f"  {core:10s}{rows:8s}{shape[1]} x {shape[2]:<8d}{n_busy:4d}"
                f"{medians['one']:16.2f}{medians['all']:10.2f}{over:8.2f}{worst:8.2f}",
                flush=True,
            )
        record("busy", **row)


def peers(quick, picture):
    X = make_data(784, 12_800, 0.2, "float32")
    estimators = make_estimators(500, 64)
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(max(library["num_threads"] for library in blas()))
        estimators["torch by hand, PCD-1"] = TorchPCD(500, batch_size=64)
        estimators["torch, textbook CD-1"] = TextbookCD(500)
    if importlib.util.find_spec("rbms"):
        estimators[f"rbms {version('rbms')}, PCD-1"] = RbmsPCD(500, batch_size=64)
    functions = contenders(X, estimators, 1 if quick else 2)
    for function in functions.values():
        function()  # imports and compiles
    result = in_turn(functions, 1 if quick else 5)
    print("784 x 500, minibatches of 64, float32      epoch, ms   to skrbm pcd")
    names = {"floor": "products", "incumbent": "BernoulliRBM"}
    names |= {"pcd": "skrbm, PCD-1", "cd": "skrbm, CD-1"}
    for key, times in result.items():
        over = ratio(times, result["pcd"])
        ms = 1e3 * np.median(times)
        name = names.get(key, key)
        print(f"  {name:38s}{ms:12.1f}{over:15.2f}")
        record("peers", package=name, **{"ms": round(ms, 1), "to skrbm": round(over, 2)})


def logaddexp_by_column(rbm, X, columns):
    """Compute the pseudo-log-likelihood naively, from the free energy after each flip."""
    total = np.zeros(len(X))
    hidden_input = X @ rbm.components_.T + rbm.intercept_hidden_
    free = np.logaddexp(0, hidden_input).sum(axis=1)
    for i in columns:
        change = 1 - 2 * X[:, i]
        flipped = hidden_input + change[:, None] * rbm.components_[:, i]
        log_odds = change * rbm.intercept_visible_[i]
        log_odds += np.logaddexp(0, flipped).sum(axis=1) - free
        total -= np.logaddexp(0, log_odds)
    return total


def by_column_seconds(rbm, X):
    """Extrapolate the time of all 784 columns from 8 of them; the set-up counts once."""
    before = seconds(lambda: logaddexp_by_column(rbm, X, []))
    eight = seconds(lambda: logaddexp_by_column(rbm, X, range(0, 784, 98)))
    return before + 98 * (eight - before)


def in_threads(function):
    with parallel_config("threading", n_jobs=cpu_count()):
        function()


def apply(quick, picture):
    n_rows = 2000 if quick else 10_000
    X = make_data(784, n_rows, 0.13, "float32")
    ours = make_estimators(500, 64)["pcd"].set_params(n_iter=2).fit(X)
    incumbent = make_estimators(500, 64)["incumbent"].set_params(n_iter=2).fit(X)
    weights = np.ascontiguousarray(ours.components_.T)
    wide = make_data(10_000, 1000, 0.01, "float32")
    on_wide = make_estimators(256, 100)["pcd"].set_params(n_iter=1).fit(wide)
    few = X[:1000]

    def stream():
        rbm = make_estimators(500, 64)["pcd"]
        for start in range(0, n_rows, 640):
            rbm.partial_fit(X[start : start + 640])

    result = in_turn(
        {
            "its product alone": lambda: seconds(lambda: X @ weights),
            "transform": lambda: seconds(lambda: ours.transform(X)),
            "transform, BernoulliRBM": lambda: seconds(lambda: incumbent.transform(X)),
            "free_energy": lambda: seconds(lambda: ours.free_energy(X)),
            "score_samples, exact": lambda: seconds(lambda: ours.score_samples(X)),
            f"the same in {cpu_count()} threads of joblib": lambda: seconds(
                in_threads, lambda: ours.score_samples(X), clock=time.perf_counter
            ),
            "by logaddexp, column by column": lambda: (
                by_column_seconds(ours, few) * (n_rows / len(few))
            ),
            "an epoch of fit": lambda: epoch_seconds(make_estimators(500, 64)["pcd"], X, 2),
            "partial_fit, by chunks of 640": lambda: seconds(stream),
            "score_samples, sparse 10000 x 256": lambda: (
                seconds(lambda: on_wide.score_samples(wide)) * (n_rows / wide.shape[0])
            ),
        },
        1 if quick else 5,
    )
    print("784 x 500, float32                            us per row   to an epoch's")
    for name, times in result.items():
        us, over = 1e6 * np.median(times) / n_rows, ratio(times, result["an epoch of fit"])
        print(f"  {name:42s}{us:12.2f}{over:15.2f}")
        row = {"us per row": round(us, 2), "to an epoch of fit": round(over, 2)}
        record("apply", method=name, **row)


MEMORY = """
import sys
import numpy as np
from skrbm import BernoulliRBMEstimator

def peak():  # not by getrusage, whose peak includes the parent process
    status = dict(line.split(":") for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) / 1024

path, mode = sys.argv[1:]
X = np.load(path, mmap_mode=mode or None)
rbm = BernoulliRBMEstimator(64 if mode else 500, batch_size=100, n_iter=1)
before = peak()
rbm.fit(X)
model = rbm.components_.nbytes / 2**20
print(f"{before:10.0f}{peak():10.0f}{peak() - before - model:10.0f}")
"""


def memory(quick, picture):
    print("fit, uint8 of 784 features          MB, resident: before      peak      more")
    with tempfile.TemporaryDirectory() as folder:
        for n_rows, mode in ((60_000, ""), (200_000 if quick else 2_000_000, "r")):
            path = Path(folder) / f"{n_rows}.npy"
            X = np.lib.format.open_memmap(path, "w+", np.uint8, (n_rows, 784))
            rng = np.random.default_rng(0)
            for start in range(0, n_rows, 10_000):
                block = X[start : start + 10_000]
                block[...] = rng.random(block.shape, dtype=np.float32) < 0.2
            del X, block
            command = [sys.executable, "-c", MEMORY, str(path), mode]
            output = subprocess.run(command, check=True, capture_output=True, text=True)
            name = f"{n_rows} rows, " + ("in a memory map" if mode else "in memory")
            print(f"  {name:40s}{output.stdout.rstrip()}", flush=True)
            sizes = zip(("before", "peak", "more"), output.stdout.split(), strict=True)
            record("memory", fit=name, **{f"{key}, MB": int(size) for key, size in sizes})


def scale(quick, picture):
    """Time an epoch per row on uint8 data, while one of the three sizes grows."""
    wide = [50, 200, 1000, 4000, 16_000]
    cases = {
        "rows (64 features, 64 components)": [
            (n, 64, 64) for n in (1000, 10_000, 100_000, 2_000_000)
        ],
        "features (100 components)": [(4000, n, 100) for n in wide],
        "components (100 features)": [(4000, 100, n) for n in wide],
    }
    curves = {}
    for axis, (name, sizes) in enumerate(cases.items()):
        print(f"{name:40s}us per row of an epoch")
        for size in sizes[:-1] if quick else sizes:
            n_rows, n_features, n_components = size
            X = make_data(n_features, n_rows, 0.2, "uint8")
            estimator = make_estimators(n_components, 100)["pcd"]
            n_epochs = max(1, 20_000 // n_rows)
            times = [epoch_seconds(estimator, X, n_epochs) for _ in range(3)]
            us = 1e6 * np.median(times) / n_rows
            curves.setdefault(name, []).append((size[axis], us))
            print(f"{size[axis]:12d}{us:40.2f}", flush=True)
            record(
                "scale", **{"what": name, "size": size[axis], "us per row": round(us, 2)}
            )
    if picture:
        draw(curves, picture)


def categories_in_turn(quick):
    """Return the seconds of epochs on bits and on categories, with and without gaps."""
    n_rows, n_states = 2000 if quick else 10_000, 5
    rng = np.random.default_rng(0)
    codes = rng.integers(n_states, size=(n_rows, 40))
    missing = rng.random(codes.shape) < 1 / 3
    bits = np.eye(n_states, dtype=np.float32)[codes]
    rows = {
        "bits": bits.reshape(n_rows, -1),
        "bits, gaps": np.where(missing[:, :, None], np.nan, bits).reshape(n_rows, -1),
        "categories": frame_of(codes),
        "categories, gaps": frame_of(np.where(missing, -1, codes)),
    }
    common = {"n_components": 256, "batch_size": 100, "n_chains": 100, "n_gibbs_steps": 1}
    common |= {"learning_rate": 0.01, "random_state": 0}
    kinds = {"bits": BernoulliRBMEstimator, "categories": MixedRBMEstimator}
    functions = {
        name: partial(epoch_seconds, kinds[name.split(",")[0]](**common), X, 4)
        for name, X in rows.items()
    }
    result = in_turn(functions, 1 if quick else 5)
    return {name: times.tolist() for name, times in result.items()}


def categories(quick, picture):
    code = "import json, bench_fit; print(json.dumps(bench_fit.categories_in_turn(%r)))"
    command = [sys.executable, "-c", code % quick]
    print("  core      rows               epoch, ms   with gaps   ratio   to bits")
    for compiled, core in (("1", "compiled"), ("0", "NumPy")):
        output = subprocess.run(
            command,
            cwd=Path(__file__).parent,
            env=os.environ | {"SKRBM_COMPILED": compiled},
            check=True,
            stdout=subprocess.PIPE,
        )
        result = {name: np.array(x) for name, x in json.loads(output.stdout).items()}
        for name in ("bits", "categories"):
            without, gaps = result[name], result[f"{name}, gaps"]
            ms, with_gaps = (1e3 * np.median(times) for times in (without, gaps))
            of_gaps, to_bits = ratio(gaps, without), ratio(without, result["bits"])
            print(
                f"  {core:10s}{name:16s}{ms:12.1f}{with_gaps:12.1f}{of_gaps:8.2f}"
                f"{to_bits:10.2f}",
                flush=True,
            )
            record(
                "categories",
                **{"core": core, "rows": name, "ms": round(ms, 1)},
                **{"with gaps, ms": round(with_gaps, 1), "gaps / none": round(of_gaps, 2)},
                **{"to bits": round(to_bits, 2)},
            )


def draw(curves, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(12, 3.8), layout="constrained")
    for ax, (name, points) in zip(axes, curves.items(), strict=True):
        sizes, times = np.transpose(points)
        ax.loglog(sizes, times, "o-", label="measured")
        slope = 0 if name.startswith("rows") else 1
        label = "linear" if slope else "constant"
        ax.loglog(sizes, times[-1] * (sizes / sizes[-1]) ** slope, "k:", label=label)
        ax.set_ylim(min(times) / 3, max(times) * 3)
        ax.set_xlabel(name)
        ax.set_ylabel("microseconds per row and epoch")
        ax.grid(alpha=0.3)
        ax.legend()
    figure.savefig(path, dpi=120)
    print(f"Saved the curves as {path}.")


TABLES = {
    "fit": fit,
    "defaults": defaults,
    "busy": busy,
    "peers": peers,
    "apply": apply,
    "memory": memory,
    "scale": scale,
    "categories": categories,
}


def print_versions():
    print(f"numpy {np.__version__}, scikit-learn {sklearn.__version__}")
    for library in blas():
        print(
            f"{library['internal_api']} {library['version']}, kernels "
            f"{library.get('architecture')}, {library['num_threads']} threads"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of binarized_mnist.npz")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--picture", help="file to draw the table 'scale' into")
    add_option(parser)
    arguments = parser.parse_args()
    if arguments.data:
        os.environ["SKRBM_DATA"] = arguments.data
    print_versions()
    for name in arguments.only:
        print(f"\n{name}")
        TABLES[name](arguments.quick, arguments.picture)
    if arguments.json:
        save(arguments.json, ["--quick"] * arguments.quick)


if __name__ == "__main__":
    main()
