"""How accurate and how fast are the estimates of partition functions?

    python benchmarks/bench_likelihood.py [--only TABLE ...] [--quick] [--data DIR]
                                          [--json FILE]

Tables:

published  Two models from the literature: one of 784 x 15 whose partition function is known
           exactly, and CD25(500) of Salakhutdinov and Murray (2008), for which they report
           log Z 451.28 (451.19 to 451.37) by annealed importance sampling and a mean test
           log-likelihood of -86.34. Needs --data or SKRBM_DATA.
sandwich   Exact, forward and reverse estimates on digits for a growing number of
           temperatures. Forward estimates approach log Z from below, reverse ones from
           above.
speed      100 runs on 784 x 500 with the same number of temperatures for the matrix
           products alone, for skrbm, and for the package rbms if it is installed. Also the
           exact sum over the 2^25 hidden states of a model of 784 x 25.

The times of a line are measured in turns, in one run. A ratio is the median of the rounds'
ratios.
"""

import argparse
import importlib.util
import os
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from bench_fit import in_turn, print_versions, ratio, seconds
from results import add_option, record, save
from sklearn.datasets import load_digits

from skrbm import BernoulliRBMEstimator
from skrbm.likelihood import log_partition, mean_log_likelihood


def published(data, quick):
    if data is None:
        print("  needs --data DIR")
        return
    with np.load(data / "binarized_mnist.npz") as archive:
        X_train, X_test = archive["X_train"], archive["X_test"]
    n_betas = 2000 if quick else 14_501
    pylearn2 = "784 x 15 (test model of pylearn2)"
    cd25 = "CD25(500) of Salakhutdinov and Murray (2008)"
    for name, title, known, test in (
        ("rbm15_pylearn2", pylearn2, "215.138406", -172.573601),
        ("salakhutdinov_murray_cd25_500", cd25, "451.28 (AIS)", -86.34),
    ):
        with np.load(data / "fixtures" / f"{name}.npz") as arrays:
            rbm = SimpleNamespace(
                components_=arrays["W"].T,
                intercept_visible_=arrays["b"].ravel(),
                intercept_hidden_=arrays["c"].ravel(),
            )
        print(f"  {title}: log Z {known}, test log-likelihood {test}")
        annealed = {"betas": n_betas, "base_mean": X_train.mean(axis=0), "random_state": 0}
        methods = [{"method": "ais"} | annealed, {"method": "reverse_ais"} | annealed]
        methods.append({"method": "ais"} | annealed | {"base_mean": None})
        if len(rbm.intercept_hidden_) <= 20:
            methods.insert(0, {"method": "exact"})
        for arguments in methods:
            start = time.perf_counter()
            log_z = log_partition(rbm, **arguments)
            took = time.perf_counter() - start
            mean = mean_log_likelihood(rbm, X_test, log_partition=log_z)
            print(f"    {log_z}")
            print(
                f"      test log-likelihood {mean.value:.6f}, standard error "
                f"{mean.standard_error:.2f}; {took:.1f} s",
                flush=True,
            )
            uniform = arguments.get("base_mean", X_train) is None
            record(
                "published",
                model=title,
                method=log_z.method + ", uniform base" * uniform,
                **{"published log Z": known, "log Z": round(log_z.value, 6)},
                **{"published log-likelihood": test},
                **{"log-likelihood": round(mean.value, 6), "seconds": round(took, 1)},
            )


def sandwich(data, quick):
    X = load_digits().data > 7
    rbm = BernoulliRBMEstimator(16, random_state=0).fit(X)
    exact = log_partition(rbm).value
    print("  digits, 16 hidden units; estimate less exact value (effective sample size)")
    print("  temperatures               forward                 reverse")
    for n_betas in (10, 30, 100, 300, 1000, 3000):
        line, row = f"  {n_betas:12d}", {"temperatures": n_betas}
        for method in ("ais", "reverse_ais"):
            result = log_partition(rbm, method=method, betas=n_betas, random_state=0)
            ess = f"({result.effective_sample_size:.1f})"
            line += f"{result.value - exact:16.3f} {ess:>7s}"
            row[method] = round(result.value - exact, 3)
        print(line, flush=True)
        record("sandwich", **row)


def speed(data, quick):
    n_betas = 200 if quick else 2000
    rng = np.random.default_rng(0)
    weights = (0.1 * rng.standard_normal((784, 500))).astype(np.float32)
    rbm = SimpleNamespace(
        components_=weights.T,
        intercept_visible_=np.full(784, -2, np.float32),
        intercept_hidden_=np.full(500, -1, np.float32),
    )
    v = (rng.random((100, 784)) < 0.2).astype(np.float32)
    h = (rng.random((100, 500)) < 0.2).astype(np.float32)
    hidden, visible = np.empty_like(h), np.empty_like(v)

    def products():
        for _ in range(n_betas):
            np.matmul(v, weights, out=hidden)
            np.matmul(h, weights.T, out=visible)

    def ours():
        log_partition(rbm, method="ais", betas=n_betas, base_mean=0.2, random_state=0)

    functions = {"its products alone": products, "skrbm": ours}
    if importlib.util.find_spec("rbms"):
        functions[f"rbms {version('rbms')}"] = by_rbms(rbm, n_betas)
    functions = {name: lambda f=f: seconds(f) for name, f in functions.items()}
    for function in functions.values():
        function()
    times = in_turn(functions, 1 if quick else 5)
    print(f"  AIS, 784 x 500, 100 runs, {n_betas} temperatures   ms each   to the products")
    for name, took in times.items():
        over = ratio(took, times["its products alone"])
        ms = 1e3 * np.median(took) / n_betas
        print(f"  {name:46s}{ms:10.2f}{over:18.2f}")
        row = {"ms per temperature": round(ms, 2), "to the products": round(over, 2)}
        record("speed", what=name, **row)

    for n_components in (15, 20) if quick else (15, 20, 25):
        small = SimpleNamespace(
            components_=weights[:, :n_components].T,
            intercept_visible_=rbm.intercept_visible_,
            intercept_hidden_=rbm.intercept_hidden_[:n_components],
        )
        took = seconds(lambda small=small: log_partition(small, method="exact"))
        print(f"  exact, 784 x {n_components}: {took:.2f} s", flush=True)
        record("speed", what=f"exact sum, 784 x {n_components}", seconds=round(took, 2))


def by_rbms(rbm, n_betas):
    """Return AIS by the package rbms, with equally spaced temperatures."""
    import torch
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from rbms.partition_function.ais import compute_partition_function_ais

    weights, visible, hidden = (
        torch.from_numpy(np.array(a))
        for a in (rbm.components_.T, rbm.intercept_visible_, rbm.intercept_hidden_)
    )
    theirs = BBRBM(weights, visible, hidden)
    return lambda: compute_partition_function_ais(100, n_betas, theirs)


TABLES = {"published": published, "sandwich": sandwich, "speed": speed}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--quick", action="store_true", help="fewer temperatures")
    parser.add_argument("--data", type=Path, default=os.environ.get("SKRBM_DATA"))
    add_option(parser)
    arguments = parser.parse_args()
    print_versions()
    for name in arguments.only:
        print(f"\n{name}")
        TABLES[name](arguments.data, arguments.quick)
    if arguments.json:
        save(arguments.json, ["--quick"] * arguments.quick)


if __name__ == "__main__":
    main()
