"""How fast is training, compared with BernoulliRBM, torch loops and matrix products?

    python benchmarks/bench_fit.py [--data DIR] [--only TABLE ...] [--quick] [--json FILE]

Tables:

fit      Time of an epoch. The floor is the time of a step's matrix products alone, with
         nothing between them, in the faster of two forms: five products, or three that
         stack both phases. For sparse data, both visible sides are sparse. BernoulliRBM
         converts uint8 to float64. Rows of 784 features are binarized MNIST, if --data or
         SKRBM_DATA is given, else random bits.
defaults An epoch of each estimator at its defaults on digits and on rows of 784 features.
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
         BernoulliRBMEstimator on the same rows as 200 bits, of which a fifth are on, with
         and without a third of the cells missing, with and without the compiled core.

The entries of a line are measured in turns, in one run. A ratio is the median of the
rounds' ratios, a time the median of the rounds' times. Compare the ratios, as the times
depend on the load of the computer. The time of an epoch is the difference between fits of
one and of several epochs, so that validation, initialization and the additional work of the
first epoch do not count. If another process occupies a core, matrix products with two
threads may take several times as long as otherwise: OPENBLAS_NUM_THREADS=1 then gives
steadier ratios.

All tables but "busy" and "categories" use the compiled core if it is installed;
SKRBM_COMPILED=0 switches it off. To compare with one thread, set OPENBLAS_NUM_THREADS=1 and
OMP_NUM_THREADS=1.
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
from bench_quality import RbmsPCD, TorchPCD
from bench_tables import categories as frame_of
from joblib import cpu_count, parallel_config
from results import add_option, record, save
from sklearn.datasets import load_digits
from sklearn.neural_network import BernoulliRBM
from threadpoolctl import threadpool_info

from skrbm import BernoulliRBMEstimator, MixedRBMEstimator

# n_features, n_components, batch_size, rows, density; sparse below 0.1.
SHAPES = [
    (64, 100, 10, 4000, 0.3),
    (784, 500, 10, 2000, 0.2),
    (784, 500, 64, 12_800, 0.2),
    (784, 500, 256, 20_480, 0.2),
    (10_000, 256, 10, 400, 0.01),
    (10_000, 256, 100, 3200, 0.01),
    (50_000, 256, 100, 1600, 0.002),
]


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


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def mnist_bits(n_rows, dtype):
    """Return rows of binarized MNIST, or None if there are no data."""
    path = Path(os.environ.get("SKRBM_DATA", ".")) / "binarized_mnist.npz"
    if not path.exists():
        return None
    with np.load(path) as archive:
        return np.ascontiguousarray(archive["X_train"][:n_rows], dtype=dtype)


def make_data(n_features, n_rows, density, dtype):
    if n_features == 784 and (X := mnist_bits(n_rows, dtype)) is not None:
        return X
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


def step_floor(X, n_components, batch_size, n_repeats):
    """Return the mean time of a step's matrix products in seconds, in the faster form."""
    X = X if X.dtype.kind == "f" else X[: 2 * batch_size].astype(np.float32)
    rng = np.random.default_rng(0)
    dtype, n_features = X.dtype, X.shape[1]
    weights = rng.standard_normal((n_features, n_components)).astype(dtype)
    hidden = rng.random((2 * batch_size, n_components)).astype(dtype)
    h = hidden[:batch_size]
    both = X[np.arange(2 * batch_size) % X.shape[0]]
    v = both[:batch_size]
    down = np.empty((n_features, batch_size), dtype)

    def five():
        v @ weights
        np.matmul(weights, h.T, out=down)
        v @ weights
        v.T @ h
        v.T @ h

    def three():
        np.matmul(weights, h.T, out=down)
        both @ weights
        both.T @ hidden

    return min(np.mean([seconds(form) for _ in range(n_repeats)]) for form in (five, three))


def epoch_seconds(estimator, X, n_epochs):
    def fit(n_iter):
        estimator.n_iter = n_iter
        estimator.fit(X)

    few, more = (seconds(lambda n=n: fit(n)) for n in (1, 1 + n_epochs))
    return (more - few) / n_epochs


def in_turn(functions, n_rounds):
    """Call all functions in each round; return an array of results per function."""
    rounds = [[function() for function in functions.values()] for _ in range(n_rounds)]
    return dict(zip(functions, np.array(rounds).T, strict=True))


def ratio(a, b):
    return np.median(a / b)


def make_estimators(n_components, batch_size):
    """Return BernoulliRBM, and our solvers with as many chains as it has."""
    common = {
        "n_components": n_components,
        "batch_size": batch_size,
        "learning_rate": 0.01,
        "random_state": 0,
    }
    ours = common | {"n_gibbs_steps": 1}
    return {
        "incumbent": BernoulliRBM(**common),
        "pcd": BernoulliRBMEstimator(solver="pcd", n_chains=batch_size, **ours),
        "cd": BernoulliRBMEstimator(solver="cd", **ours),
    }


def contenders(X, n_components, batch_size, n_epochs, estimators):
    n_steps = -(-X.shape[0] // batch_size)
    floor = {"floor": lambda: n_steps * step_floor(X, n_components, batch_size, n_steps)}
    return floor | {
        name: lambda estimator=estimator: epoch_seconds(estimator, X, n_epochs)
        for name, estimator in estimators.items()
    }


def fit(quick, picture):
    n_rounds, n_epochs = (1, 1) if quick else (5, 2)
    print(
        "features  hidden  batch  data          epoch, ms:  floor  Bernoulli-   skrbm   "
        "skrbm    pcd to  cd to   RBM to\n"
        f"{'':56}RBM     pcd      cd     floor  floor  skrbm pcd"
    )
    for shape in SHAPES:
        n_features, n_components, batch_size, n_rows, density = shape
        dtypes = ["float32", "float64"]
        if shape[:3] == (784, 500, 64):
            dtypes.append("uint8")
        for dtype in dtypes:
            X = make_data(n_features, n_rows, density, dtype)
            estimators = make_estimators(n_components, batch_size)
            functions = contenders(X, n_components, batch_size, n_epochs, estimators)
            result = in_turn(functions, n_rounds)
            form = f"{dtype}, sparse" if sp.issparse(X) else dtype
            ms = {name: 1e3 * np.median(times) for name, times in result.items()}
            pcd, cd = (ratio(result[name], result["floor"]) for name in ("pcd", "cd"))
            gain = ratio(result["incumbent"], result["pcd"])
            print(
                f"{n_features:8d}{n_components:8d}{batch_size:7d}  {form:15s}"
                f"{ms['floor']:15.1f}{ms['incumbent']:12.1f}{ms['pcd']:8.1f}"
                f"{ms['cd']:8.1f}{pcd:10.2f}{cd:7.2f}{gain:9.2f}",
                flush=True,
            )
            size = f"{n_features} x {n_components}, {batch_size}"
            record(
                "fit",
                **{"shape": f"{size}; {form}"},
                **{f"{name}, ms": round(value, 1) for name, value in ms.items()},
                **{"BernoulliRBM / skrbm": round(gain, 2)},
                **{"skrbm / products": round(pcd, 2), "CD / products": round(cd, 2)},
            )


def defaults(quick, picture):
    print("  defaults of both, float32        epoch, ms: BernoulliRBM   skrbm   ratio")
    digits = (load_digits().data > 7).astype(np.float32)
    wide = make_data(784, 6000, 0.2, "float32")
    kind = "random bits, 784 features" if mnist_bits(1, "float32") is None else "MNIST"
    for name, X in (("digits", digits), (kind, wide)):
        estimators = {"theirs": BernoulliRBM(random_state=0)}
        estimators["ours"] = BernoulliRBMEstimator(random_state=0)
        functions = {
            key: lambda rbm=rbm, X=X: epoch_seconds(rbm, X, 2)
            for key, rbm in estimators.items()
        }
        result = in_turn(functions, 1 if quick else 5)
        theirs, ours = (1e3 * np.median(result[key]) for key in ("theirs", "ours"))
        gain = ratio(result["theirs"], result["ours"])
        print(f"  {name:32s}{theirs:26.0f}{ours:8.0f}{gain:8.2f}", flush=True)
        record(
            "defaults",
            **{"data": name, "BernoulliRBM, ms": round(theirs), "skrbm, ms": round(ours)},
            **{"BernoulliRBM / skrbm": round(gain, 2)},
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
        estimators["torch by hand, PCD-1"] = TorchPCD(500, batch_size=64)
        estimators["torch, textbook CD-1"] = TextbookCD(500)
    if importlib.util.find_spec("rbms"):
        estimators[f"rbms {version('rbms')}, PCD-1"] = RbmsPCD(500, batch_size=64)
    functions = contenders(X, 500, 64, 1 if quick else 2, estimators)
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
                lambda: in_threads(lambda: ours.score_samples(X))
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
    for library in threadpool_info():
        if library["user_api"] == "blas":
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
