"""How fast is training? Seconds per epoch, against the incumbent and against the floor.

The floor is what a step cannot do without: its matrix products alone, with nothing between
them, in the quicker of two forms: five products, or three where those of both phases are
taken together. For sparse data both visible sides are sparse in it.

Everything is measured in one run and in turn. A ratio is the median of the rounds' ratios,
a time the median of the rounds' times: compare the ratios, not the times. An epoch takes
the difference between fits of one and of more epochs: validation and initialisation do not
count.

    python benchmarks/bench_fit.py [--quick]
"""

import argparse
import time

import numpy as np
import scipy.sparse as sp
import sklearn
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMEstimator

# n_features, n_components, batch_size, rows, density; sparse below 0.1.
SHAPES = [
    (64, 100, 10, 2000, 0.3),
    (784, 500, 10, 1000, 0.2),
    (784, 500, 64, 6400, 0.2),
    (784, 500, 256, 10240, 0.2),
    (10_000, 256, 10, 200, 0.01),
    (10_000, 256, 100, 1600, 0.01),
]


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def make_data(n_features, n_rows, density, dtype):
    if density < 0.1:
        X = sp.random(n_rows, n_features, density, dtype=dtype, random_state=0)
        X.data[:] = 1
        return X.tocsr()
    rng = np.random.default_rng(0)
    return (rng.random((n_rows, n_features)) < density).astype(dtype)


def step_floor(X, n_components, batch_size, n_repeats):
    """Mean seconds of a step's matrix products, of the quicker form."""
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
    few, more = (
        seconds(lambda n=n: estimator.set_params(n_iter=n).fit(X))
        for n in (1, 1 + n_epochs)
    )
    return (more - few) / n_epochs


def measure(shape, dtype, n_rounds, n_epochs):
    n_features, n_components, batch_size, n_rows, density = shape
    X = make_data(n_features, n_rows, density, dtype)
    common = {
        "n_components": n_components,
        "batch_size": batch_size,
        "learning_rate": 0.01,
        "random_state": 0,
    }
    contenders = {
        "incumbent": BernoulliRBM(**common),
        "pcd": BernoulliRBMEstimator(solver="pcd", n_chains=batch_size, **common),
        "cd": BernoulliRBMEstimator(solver="cd", **common),
    }
    times = {name: [] for name in ["floor", *contenders]}
    n_steps = n_rows // batch_size
    for _ in range(n_rounds):
        floor = step_floor(X, n_components, batch_size, n_repeats=n_steps)
        times["floor"].append(floor * n_steps)
        for name, estimator in contenders.items():
            times[name].append(epoch_seconds(estimator, X, n_epochs))
    return {name: np.array(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round")
    quick = parser.parse_args().quick
    n_rounds, n_epochs = (1, 2) if quick else (5, 3)

    print(f"numpy {np.__version__}, scikit-learn {sklearn.__version__}")
    print(
        "features  hidden  batch  data          epoch, ms:  floor  Bernoulli-   skrbm   "
        "skrbm    pcd to  cd to   RBM to\n"
        f"{'':56}RBM     pcd      cd     floor  floor  skrbm pcd"
    )
    for shape in SHAPES:
        for dtype in ("float32", "float64"):
            result = measure(shape, dtype, n_rounds, n_epochs)
            form = f"{dtype}, sparse" if shape[4] < 0.1 else dtype
            ms = {name: 1e3 * np.median(times) for name, times in result.items()}
            over_floor = [np.median(result[x] / result["floor"]) for x in ("pcd", "cd")]
            gain = np.median(result["incumbent"] / result["pcd"])
            print(
                f"{shape[0]:8d}{shape[1]:8d}{shape[2]:7d}  {form:15s}"
                f"{ms['floor']:15.1f}{ms['incumbent']:12.1f}{ms['pcd']:8.1f}"
                f"{ms['cd']:8.1f}{over_floor[0]:10.2f}{over_floor[1]:7.2f}{gain:9.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
