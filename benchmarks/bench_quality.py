"""How good are the models, and how long does training take?

Prints one table per data set: seconds of training, mean test log-likelihood (exact if one
side has at most 20 units, else by annealed importance sampling, forward and reverse: trust
it where both agree), mean test pseudo-log-likelihood, all in nats per row, and the test
accuracy of a logistic regression on the features. skrbm is trained with its defaults and
with a stated recipe, scikit-learn's BernoulliRBM with its defaults and with the best
learning rate and batch size of a grid. The best is chosen on the test data, which favours
BernoulliRBM; the number of epochs is its default of ten unless stated otherwise. A
hand-written loop in torch and the package rbms are included if they are installed
(``pip install ".[bench]"``).

    python benchmarks/bench_quality.py --data DIR [--only TABLE ...] [--quick]
                                       [--json FILE]

DIR, or the environment variable SKRBM_DATA, is the folder with the archives ``mnist.npz``,
``binarized_mnist.npz``, ``news20_w1000_counts_csr.npz``, ``debd/*.npz`` and
``networks/*.npz``, the folder ``tables`` and the file ``bfi.csv.gz``. Tables whose data are
missing are skipped; "bars", "one_hot", "clusters", "digits", "gaussian" and "gaps" need
none. "gaussian" compares GaussianRBMEstimator, at its defaults but for the number of hidden
units where it is stated, with other density models of real-valued data, each at its best
number of components on the test data. "anytime" compares all packages by fits of growing
length, from a thirtieth of an epoch on, in processor seconds of one thread; ``picture.py``
draws its curves. The tables of categories, of mixed columns, of gaps and of anomalies are
described and written in ``bench_tables.py``.
``--long`` adds a recipe that takes 25 minutes to "mnist".
"""

import argparse
import importlib.util
import os
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import bench_classifier
import bench_tables
import numpy as np
import scipy.sparse as sp
from results import add_option, record, save
from scipy.ndimage import shift
from scipy.special import expit, logsumexp
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_sample_images, load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, ShuffleSplit, train_test_split
from sklearn.neural_network import BernoulliRBM
from sklearn.preprocessing import minmax_scale
from threadpoolctl import threadpool_limits

from skrbm import BernoulliRBMEstimator, GaussianRBMEstimator
from skrbm.likelihood import log_partition, mean_log_likelihood, pseudo_log_likelihood
from skrbm.metrics import log_likelihood_scorer

# Mean test log-likelihoods in nats: of the Chow-Liu tree, computed on these splits, of
# LearnSPN, as published by Gens and Domingos (2013), and of the hidden Chow-Liu tree (HCLT)
# of Liu and Van den Broeck (2021), the mean of the five runs in the logs of its authors.
# Larochelle and Murray (2011) report -96.74 for an RBM with 23 hidden units on dna.
DENSITY_SETS = {
    "nltcs": {"Chow-Liu tree": -6.76, "LearnSPN": -6.11, "HCLT": -6.00},
    "plants": {"Chow-Liu tree": -16.52, "LearnSPN": -12.98, "HCLT": -14.26},
    "jester": {"Chow-Liu tree": -58.23, "LearnSPN": -53.48, "HCLT": -52.46},
    "accidents": {"Chow-Liu tree": -33.19, "LearnSPN": -30.04, "HCLT": -26.74},
    "dna": {"Chow-Liu tree": -87.66, "LearnSPN": -82.52, "HCLT": -79.06},
    "kosarek": {"Chow-Liu tree": -11.49, "LearnSPN": -10.99, "HCLT": -10.67},
    "msweb": {"Chow-Liu tree": -10.19, "LearnSPN": -10.25, "HCLT": -9.99},
    "c20ng": {"Chow-Liu tree": -164.13, "LearnSPN": -155.93, "HCLT": -153.40},
    "pumsb_star": {"Chow-Liu tree": -30.81, "HCLT": -23.65},
    "caltech_silhouettes": {"Chow-Liu tree": -150.7},
}

# The best settings found by trial, where they are not the defaults.
BARS_RECIPE = {"n_gibbs_steps": 5, "learning_rate": 0.05, "weight_decay": 0.0}
DENSITY_RECIPE = {"n_gibbs_steps": 5}  # twice the epochs, and the best of three decays
MNIST_RECIPE = (
    {"n_iter": 20, "warm_start": True},
    {"n_iter": 170, "n_chains": 500, "batch_size": 100},
)
MNIST_GRAY = {"n_gibbs_steps": 1, "learning_rate": 0.2, "weight_decay": 0.0}
GRAY_RECIPE = {"n_iter": 20, "learning_rate": 0.4}

# The changes from the defaults in the table "parameters".
CHANGES = [
    {},
    {"learning_rate": 0.05},
    {"learning_rate": 0.2},
    {"learning_rate": 0.4},
    {"n_chains": 20},
    {"n_chains": 300},
    {"batch_size": 10},
    {"batch_size": 100},
    {"averaging": False},
    {"schedule": "constant"},
    {"schedule": "constant", "averaging": False},
    {"centering": False},
    {"n_gibbs_steps": 3},
    {"solver": "cd"},
    {"solver": "cd", "n_gibbs_steps": 5},
    {"momentum": 0.5, "learning_rate": 0.1},
    {"weight_decay": 0.0},
    {"weight_decay": 1e-3},
]

# Part of the rows, and epochs, of the fits in the table "anytime", and for each data set
# the file and how many of these fits there are.
PARTS = 1 / 30, 1 / 18, 1 / 10, 1 / 3, 1
AMOUNTS = [(part, 1) for part in PARTS] + [(1, 3), (1, 10), (1, 30)]
ANYTIME = {
    "Binarized MNIST": ("binarized_mnist.npz", 7),
    "plants": ("debd/plants.npz", 8),
    "nltcs": ("debd/nltcs.npz", 8),
}

# Ways to spend more time on data with clusters, in the table "clusters".
CLUSTER_SETTINGS = [
    {},
    {"n_iter": 400},
    {"n_gibbs_steps": 20},
    {"solver": "pt"},
]


def log_likelihoods(rbm, X_test, base_mean, betas):
    """Return the mean log-likelihood, by AIS with its reverse unless it is exact."""
    log_z = log_partition(
        rbm,
        method="exact" if min(rbm.components_.shape) <= 20 else "both",
        betas=betas,
        base_mean=base_mean,
        random_state=0,
    )
    parts = zip(("log_likelihood", "reverse"), log_z.parts or (log_z,), strict=False)
    return {
        key: mean_log_likelihood(rbm, X_test, log_partition=part).value
        for key, part in parts
    }


class Table:
    """Train models on one data set, print a line for each and record it.

    Parameters
    ----------
    title : str
    X, X_test : {ndarray, CSR array}
        Training rows, and binary test rows; None leaves out the likelihoods.
    labels : tuple of (F, y, F_test, y_test), default=None
        Rows to compute features from, and their labels; None leaves out the accuracy.
    C : float, default=1.0
        Inverse regularization strength of the logistic regression.
    n_betas : int, default=3000
        Number of temperatures of annealed importance sampling.
    """

    running = None  # the table of the results that lines are recorded in, if any

    def __init__(self, title, X, X_test, labels=None, *, C=1.0, n_betas=3000):
        self.title = title.split(" (")[0]
        self.X, self.X_test, self.labels, self.C = X, X_test, labels, C
        self.betas = n_betas
        self.base_mean = np.asarray(X.mean(axis=0)).ravel()
        print(
            f"\n{title}\n{'':48s}seconds  log-lik.   reverse  pseudo-l.  accuracy",
            flush=True,
        )

    def row(self, name, estimator, X=None, betas=None):
        """Train and evaluate an estimator, print its line and return the measures."""
        measures = self.train(estimator, X, betas)
        self.print(name, measures)
        return measures

    def best_of(self, name, estimators):
        """Train several estimators and print the one that is best on the test data."""
        candidates = [self.train(estimator) for estimator in estimators]
        measure = "accuracy" if self.X_test is None else "log_likelihood"
        best = max(candidates, key=lambda measures: measures[measure])
        settings = ", ".join(
            f"{getattr(best['estimator'], name):g}"
            for name in ("learning_rate", "batch_size")
        )
        self.print(f"{name}, best of {len(candidates)}: {settings}", best)
        return best

    def mean_of(self, name, estimators):
        """Train several estimators and print the means of their measures."""
        runs = [self.train(estimator) for estimator in estimators]
        keys = [key for key in runs[0] if isinstance(runs[0][key], float)]
        self.print(name, {key: np.mean([run[key] for run in runs]) for key in keys})

    def train(self, estimator, X=None, betas=None):
        start = time.perf_counter()
        estimator.fit(self.X if X is None else X)
        estimator = getattr(estimator, "best_estimator_", estimator)
        measures = {"estimator": estimator, "seconds": time.perf_counter() - start}
        if self.X_test is not None:
            measures |= log_likelihoods(
                estimator, self.X_test, self.base_mean, betas or self.betas
            )
            v = self.X_test[:: -(-self.X_test.shape[0] // 1000)]
            measures["pseudo"] = float(pseudo_log_likelihood(estimator, v).mean())
        if self.labels is not None:
            F, y, F_test, y_test = self.labels
            classifier = LogisticRegression(C=self.C, max_iter=2000)
            F, F_test = (
                expit(rows @ estimator.components_.T + estimator.intercept_hidden_)
                for rows in (F, F_test)
            )
            classifier.fit(F, y)
            measures["accuracy"] = classifier.score(F_test, y_test)
        return measures

    def print(self, name, measures):
        columns = {
            "log_likelihood": "10.2f",
            "reverse": "10.2f",
            "pseudo": "11.2f",
            "accuracy": "10.4f",
        }
        values = "".join(
            format(measures[key], form)
            if key in measures
            else " " * int(form.split(".")[0])
            for key, form in columns.items()
        )
        print(f"  {name:46s}{measures['seconds']:7.1f}{values}", flush=True)
        if Table.running:
            kept = [key for key in ("seconds", *columns) if key in measures]
            row = {key: round(float(measures[key]), 4) for key in kept}
            record(Table.running, data=self.title, model=name, **row)


def longer_training(rbm):
    """Return the recipe for an estimator that was fitted with the defaults.

    It trains for twice as many epochs with more Gibbs steps, and chooses the weight decay,
    around the default, by the likelihood of held-out rows.
    """
    decay = rbm.weight_decay_
    return GridSearchCV(
        clone(rbm).set_params(**DENSITY_RECIPE, n_iter=2 * rbm.n_iter_),
        {"weight_decay": [decay / 3, decay, 3 * decay]},
        scoring=log_likelihood_scorer,
        cv=ShuffleSplit(1, test_size=0.1, random_state=0),
        n_jobs=-1,
    )


class InStages(BernoulliRBMEstimator):
    """Train with the defaults first, then with many chains to reduce the noise."""

    def fit(self, X, y=None):
        for settings in MNIST_RECIPE:
            self.set_params(**settings)
            super().fit(X)
        return self


class TorchPCD:
    """Hand-written PCD-1 in torch with minibatches of 100 and a linearly falling rate."""

    def __init__(self, n_components, learning_rate=0.05, batch_size=100, n_iter=10):
        self.n_components, self.learning_rate = n_components, learning_rate
        self.batch_size, self.n_iter = batch_size, n_iter

    def fit(self, X):
        import torch

        torch.manual_seed(0)
        X = torch.from_numpy(X)
        n_rows, n_features = X.shape
        weights = 0.01 * torch.randn(n_features, self.n_components)
        visible_bias = torch.logit(X.mean(0).clamp(1e-3, 1 - 1e-3))
        hidden_bias = torch.zeros(self.n_components)
        hidden = torch.bernoulli(torch.full((self.batch_size, self.n_components), 0.5))
        n_steps, step = self.n_iter * (n_rows // self.batch_size), 0
        for _ in range(self.n_iter):
            order = torch.randperm(n_rows)
            for rows in order[: n_rows // self.batch_size * self.batch_size].split(
                self.batch_size
            ):
                rate = self.learning_rate * (1 - step / n_steps) / self.batch_size
                v = X[rows]
                h = torch.sigmoid(v @ weights + hidden_bias)
                model_v = torch.bernoulli(torch.sigmoid(hidden @ weights.T + visible_bias))
                model_h = torch.sigmoid(model_v @ weights + hidden_bias)
                hidden = torch.bernoulli(model_h)
                weights += rate * (v.T @ h - model_v.T @ model_h)
                visible_bias += rate * (v - model_v).sum(0)
                hidden_bias += rate * (h - model_h).sum(0)
                step += 1
        self.components_ = weights.T.numpy()
        self.intercept_visible_ = visible_bias.numpy()
        self.intercept_hidden_ = hidden_bias.numpy()
        return self


class RbmsPCD:
    """Centred PCD-1 of the package rbms 0.5 or 0.6 at a constant learning rate.

    The gradient is scaled to unit length, which 0.5 always does and 0.6 with its option
    ``--normalize_grad``, so the rate is the length of a step.
    """

    def __init__(self, n_components, learning_rate=0.1, batch_size=100, n_iter=10):
        self.n_components, self.learning_rate = n_components, learning_rate
        self.batch_size, self.n_iter = batch_size, n_iter

    def fit(self, X):
        import torch
        from rbms.bernoulli_bernoulli.classes import BBRBM

        torch.manual_seed(0)
        X = torch.from_numpy(X)

        class Data:
            data = X

        rbm = BBRBM.init_parameters(self.n_components, Data, "cpu", torch.float32)
        for parameter in rbm.parameters():
            parameter.grad = torch.zeros_like(parameter)
        chains = rbm.init_chains(self.batch_size)
        optimizer = torch.optim.SGD(rbm.parameters(), self.learning_rate, maximize=True)
        with torch.no_grad():
            for _ in range(self.n_iter):
                for rows in torch.randperm(len(X)).split(self.batch_size):
                    optimizer.zero_grad(set_to_none=False)
                    batch = rbm.init_chains(len(rows), start_v=X[rows])
                    chains = rbm.sample_state(chains, n_steps=1)
                    rbm.compute_gradient(batch, chains)
                    gradients = [parameter.grad for parameter in rbm.parameters()]
                    length = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
                    for gradient in gradients:
                        gradient /= length
                    optimizer.step()
        self.components_ = rbm.weight_matrix.T.numpy()
        self.intercept_visible_ = rbm.vbias.numpy()
        self.intercept_hidden_ = rbm.hbias.numpy()
        return self


def installed(name):
    return importlib.util.find_spec(name) is not None


def incumbents(n_components, rates=(0.1, 0.03, 0.01), sizes=(10, 100), n_iter=10):
    """Return a grid of BernoulliRBM over learning rates and batch sizes."""
    return [
        BernoulliRBM(
            n_components, learning_rate=r, batch_size=b, n_iter=n_iter, random_state=0
        )
        for r in rates
        for b in sizes
    ]


def bars(data, quick):
    """4 x 4 bars and stripes: 32 rows; the blank and the full one occur twice."""
    patterns = (np.arange(16)[:, None] >> np.arange(4)) & 1
    X = np.concatenate([np.repeat(patterns, 4, 1), np.tile(patterns, (1, 4))])
    X = X.astype(np.float32)
    table = Table("Bars and stripes, 16 hidden units (ceiling -3.379)", X, X)
    table.row("skrbm", BernoulliRBMEstimator(16, random_state=0))
    n_iter = 1000 if quick else 20_000
    recipe = BernoulliRBMEstimator(16, **BARS_RECIPE, n_iter=n_iter, random_state=0)
    table.row(f"skrbm: {BARS_RECIPE}", recipe)
    table.row("BernoulliRBM", BernoulliRBM(16, random_state=0))
    table.best_of("BernoulliRBM", incumbents(16, n_iter=n_iter))


def one_hot(data, quick):
    """One of eight features is on in each row, which single flips cannot move between."""
    X = np.tile(np.eye(8, dtype=np.float32), (40, 1))
    table = Table("One-hot rows of 8, 16 hidden units (ceiling -2.079)", X, X)
    table.row("skrbm", BernoulliRBMEstimator(16, random_state=0))
    table.row("BernoulliRBM", BernoulliRBM(16, random_state=0))
    table.best_of("BernoulliRBM", incumbents(16, n_iter=100 if quick else 1000))


def clusters(data, quick):
    """Rows in distant clusters: exact likelihoods, and the best that are possible."""
    rng = np.random.default_rng(0)
    centers = rng.integers(2, size=(10, 200)) * 0.9 + 0.05
    for title, shares in [
        ("Ten clusters", np.full(10, 0.1)),
        ("Not equally frequent", np.arange(1, 11) / 55),
    ]:
        which = rng.choice(10, 3000, p=shares)
        v = (rng.random((3000, 200)) < centers[which]).astype(np.float32)
        given = v[2000:] @ np.log(centers.T) + (1 - v[2000:]) @ np.log(1 - centers.T)
        best = logsumexp(given + np.log(shares), axis=1).mean()
        compare_on_clusters(title, 16, v[:2000], v[2000:], best, quick)
    coins = rng.integers(2, size=(2000, 10)).astype(np.float32).repeat(5, axis=1)
    best = -10 * np.log(2)
    compare_on_clusters("Ten coins", 20, coins[:1000], coins[1000:], best, quick)


def compare_on_clusters(title, n_components, X, X_test, best, quick):
    title = f"{title}, {n_components} hidden units; means over seeds"
    table = Table(f"{title} (best possible: {best:.1f})", X, X_test)
    for settings in CLUSTER_SETTINGS:
        estimators = [
            BernoulliRBMEstimator(n_components, random_state=seed, **settings)
            for seed in range(1 if quick else 3)
        ]
        table.mean_of(f"{settings or 'defaults'}", estimators)


def nudged_digits():
    """Return a table for the nudged digits of scikit-learn's RBM example."""
    X, y = load_digits(return_X_y=True)
    moves = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
    images = X.reshape(-1, 8, 8)
    X = np.concatenate([shift(images, (0, *move), order=0) for move in moves])
    X = minmax_scale(X.reshape(-1, 64)).astype(np.float32)
    F, F_test, y, y_test = train_test_split(X, np.tile(y, 5), test_size=0.2, random_state=0)
    title = "Nudged digits, 100 hidden units; accuracy at C = 100; means over seeds"
    return Table(title, F, None, (F, y, F_test, y_test), C=100)


def digits(data, quick):
    table = nudged_digits()
    seeds = range(1 if quick else 5)
    table.mean_of("skrbm", [BernoulliRBMEstimator(100, random_state=i) for i in seeds])
    for n_iter in (10, 100):
        theirs = [
            BernoulliRBM(100, learning_rate=0.06, n_iter=n_iter, random_state=seed)
            for seed in seeds
        ]
        table.mean_of(f"BernoulliRBM (0.06, 10), {n_iter} epochs", theirs)


def parameters(data, quick):
    """Change one parameter at a time from its default."""
    table = nudged_digits()
    seeds = range(1 if quick else 5)
    for change in CHANGES:
        estimators = [BernoulliRBMEstimator(100, random_state=i, **change) for i in seeds]
        table.mean_of(f"{change or 'defaults'}", estimators)
    with np.load(data / "binarized_mnist.npz") as archive:
        X, X_test = (archive[key].astype(np.float32) for key in ("X_train", "X_test"))
    if quick:
        X = X[:5000]
    table = Table("Binarised MNIST, 500 hidden units, 10000 updates", X, X_test)
    for change in CHANGES:
        batch_size = change.get("batch_size", 20)
        n_iter = max(1, 10_000 * batch_size // len(X))
        estimator = BernoulliRBMEstimator(500, n_iter=n_iter, random_state=0, **change)
        table.row(f"{change or 'defaults'}", estimator)


def density(data, quick):
    """Nine benchmark sets of Lowd and Davis (2010), and Caltech 101 silhouettes."""
    Table.running = None  # one row for each data set instead
    for name, others in DENSITY_SETS.items():
        if not (data / "debd" / f"{name}.npz").exists():
            continue
        with np.load(data / "debd" / f"{name}.npz") as sets:
            X, X_test = (sets[key].astype(np.float32) for key in ("X_train", "X_test"))
        n_components = min(4 * X.shape[1], 500)
        published = ", ".join(f"{model} {value}" for model, value in others.items())
        table = Table(
            f"{name}: {X.shape[0]} rows of {X.shape[1]}, {n_components} hidden units "
            f"({published})",
            X,
            X_test,
            n_betas=1000 if quick else 3000,
        )
        row = {"data": name, "rows x features": f"{X.shape[0]} x {X.shape[1]}"}
        first = table.row("skrbm", BernoulliRBMEstimator(n_components, random_state=0))
        row["seconds"] = round(first["seconds"], 1)
        row["skrbm, forward"] = round(first["log_likelihood"], 2)
        if "reverse" in first:
            row["reverse"] = round(first["reverse"], 2)
        if not quick:
            settings = f"{DENSITY_RECIPE}, twice the epochs, best of 3 decays"
            best = table.row(f"skrbm: {settings}", longer_training(first["estimator"]))
            print(f"    weight_decay={best['estimator'].weight_decay:.3g}")
            table.row("BernoulliRBM", BernoulliRBM(n_components, random_state=0))
            grid = incumbents(n_components, sizes=(10,))
            theirs = table.best_of("BernoulliRBM", grid)
            row["BernoulliRBM"] = round(theirs["log_likelihood"], 2)
        record("density", **row, **others)


def flipped(data, quick):
    """Thresholded MNIST and its complement, 16 hidden units, 50 epochs."""
    with np.load(data / "mnist.npz") as mnist:
        X, X_test = (mnist[key].reshape(-1, 784) > 127 for key in ("X_train", "X_test"))
    for title, flip in (("", False), (", flipped", True)):
        table = Table(f"Thresholded MNIST{title}, 16 hidden units", X ^ flip, X_test ^ flip)
        n_iter = 5 if quick else 50
        table.row(
            f"skrbm, {n_iter} epochs",
            BernoulliRBMEstimator(16, n_iter=n_iter, random_state=0),
        )
        table.row("skrbm", BernoulliRBMEstimator(16, random_state=0))


def news(data, quick):
    """20 newsgroups: presence of 1000 words, sparse."""
    with np.load(data / "news20_w1000_counts_csr.npz") as archive:
        (X, y), (X_test, y_test) = (
            (
                sp.csr_array(
                    tuple(
                        archive[f"{part}_{key}"] for key in ("data", "indices", "indptr")
                    ),
                    shape=tuple(archive[f"{part}_shape"]),
                ),
                archive[f"y_{part}"],
            )
            for part in ("train", "test")
        )
    X, X_test = (A.astype(bool).astype(np.float32) for A in (X, X_test))
    table = Table(
        "20 newsgroups, 1000 words, 256 hidden units; accuracy at C = 1",
        X,
        X_test,
        (X, y, X_test, y_test),
    )
    table.row("skrbm", BernoulliRBMEstimator(random_state=0))
    table.row("BernoulliRBM", BernoulliRBM(random_state=0))
    if not quick:
        table.best_of("BernoulliRBM", incumbents(256, sizes=(10,)))


def mnist(data, quick, long=False):
    """Binarised MNIST, 500 hidden units."""
    with np.load(data / "binarized_mnist.npz") as archive:
        X, X_test = (archive[key].astype(np.float32) for key in ("X_train", "X_test"))
        labels = archive["y_train"], archive["y_test"]
    labels = X[:10_000], labels[0][:10_000], X_test, labels[1]
    table = Table(
        "Binarised MNIST, 500 hidden units; accuracy from 10000 labelled rows",
        X,
        X_test,
        labels,
        n_betas=1000 if quick else 3000,
    )
    betas = table.betas if quick else 14_501  # as many as in the literature

    def in_epochs(name, estimator, betas=None):
        for n_iter in [1] if quick else [1, 3, 10]:
            estimator.n_iter = n_iter
            table.row(f"{name}, {n_iter} epoch{'s' * (n_iter > 1)}", estimator, betas=betas)

    if not quick:
        table.row("skrbm", BernoulliRBMEstimator(500, random_state=0), betas=betas)
    one_step = BernoulliRBMEstimator(500, n_gibbs_steps=1, random_state=0)
    in_epochs("skrbm, one Gibbs step", one_step, betas)
    if (data / "mnist.npz").exists() and not quick:
        with np.load(data / "mnist.npz") as archive:
            gray = archive["X_train"].reshape(-1, 784).astype(np.float32) / 255
        rbm = BernoulliRBMEstimator(500, n_iter=25, random_state=0, **MNIST_GRAY)
        table.row("skrbm, gray levels, 25 epochs", rbm, gray, betas)
        if long:
            recipe = InStages(500, random_state=0, **MNIST_GRAY)
            table.row("skrbm, gray levels, in two stages", recipe, gray, betas)
    if not quick:
        table.row("BernoulliRBM", BernoulliRBM(500, random_state=0))
        grid = incumbents(500, rates=(0.05, 0.02, 0.005), sizes=(10, 100))
        table.best_of("BernoulliRBM", grid)
    for name, package, cls in (
        ("by hand", "torch", TorchPCD),
        ("steps of 0.1", "rbms", RbmsPCD),
    ):
        if installed(package):
            cls(8, n_iter=1).fit(X[:200])  # imports and compiles
            in_epochs(f"{package} {version(package)}, {name}", cls(500))
        else:
            print(f"  ({package} is not installed)")


def packages():
    """Return estimators of each installed package, with the settings to compare.

    skrbm has its defaults. The others have some learning rates and minibatches. Which are
    the best differs between data sets, and between short and long fits.
    """
    compared = {
        "skrbm": [BernoulliRBMEstimator(random_state=0)],
        "BernoulliRBM": [
            BernoulliRBM(learning_rate=rate, batch_size=size, random_state=0)
            for rate, size in ((0.02, 100), (0.1, 100), (0.01, 10))
        ],
    }
    if installed("torch"):
        compared["torch"] = [TorchPCD(8, rate) for rate in (0.1, 0.2)]
    if installed("rbms"):
        compared["rbms"] = [RbmsPCD(8, rate) for rate in (0.3, 0.1, 1.0)]
    return compared


def seconds_to_fit(estimator, X):
    """Return the processor seconds of a fit, of short ones the median of three."""
    times = []
    while not times or (len(times) < 3 and times[0] < 1):
        start = time.process_time()
        estimator.fit(X)
        times.append(time.process_time() - start)
    return np.median(times)


def anytime(data, quick):
    """Quality against time: fits of growing length by several packages, in one thread."""
    if installed("torch"):
        import torch

        torch.set_num_threads(1)
    for name, (archive, most) in ANYTIME.items():
        with np.load(data / archive) as sets:
            X, X_test = (sets[key].astype(np.float32) for key in ("X_train", "X_test"))
        n_components, base_mean = min(4 * X.shape[1], 500), X.mean(axis=0)
        title = f"{name}, {n_components} hidden units"
        print(
            f"\n{title}: {len(X)} x {X.shape[1]}\n"
            f"{'':36s}rows  epochs    seconds  log-lik.   reverse",
            flush=True,
        )
        for package, estimators in packages().items():
            for estimator in estimators[:1] if quick else estimators:
                estimator.n_components, estimator.n_iter = n_components, 1
                estimator.fit(X[:100])  # imports and compiles
                settings = f"{estimator.learning_rate}, {estimator.batch_size}"
                for part, n_iter in AMOUNTS[: 5 if quick else most]:
                    rows = X[: round(part * len(X))]
                    estimator.n_iter = n_iter
                    with threadpool_limits(1), warnings.catch_warnings():
                        warnings.simplefilter("ignore", UserWarning)  # some fits are short
                        seconds = seconds_to_fit(estimator, rows)
                        values = log_likelihoods(estimator, X_test, base_mean, 1000)
                    cells = "".join(f"{value:10.2f}" for value in values.values())
                    print(
                        f"  {package:14s}{settings:16s}{len(rows):8d}{n_iter:8d}"
                        f"{seconds:11.3f}{cells}",
                        flush=True,
                    )
                    record(
                        "anytime",
                        **{"data": title, "package": package, "settings": settings},
                        **{"rows": len(rows), "epochs": n_iter},
                        **{"seconds": round(seconds, 3)},
                        **{key: round(value, 3) for key, value in values.items()},
                    )


def gray(data, quick):
    """Gray-level MNIST, 1000 hidden units: features for a linear classifier."""
    with np.load(data / "mnist.npz") as archive:
        X, X_test = (
            archive[key].reshape(-1, 784).astype(np.float32) / 255
            for key in ("X_train", "X_test")
        )
        y, y_test = archive["y_train"], archive["y_test"]
    if quick:
        X, y = X[:5000], y[:5000]
    table = Table(
        f"Gray MNIST, {len(X)} rows, 1000 hidden units; accuracy at C = 1",
        X,
        None,
        (X, y, X_test, y_test),
    )
    table.row("skrbm", BernoulliRBMEstimator(1000, random_state=0))
    recipe = BernoulliRBMEstimator(1000, random_state=0, **GRAY_RECIPE)
    table.row(f"skrbm: {GRAY_RECIPE}", recipe)
    table.row(
        "BernoulliRBM (0.01, 10)", BernoulliRBM(1000, learning_rate=0.01, random_state=0)
    )


def laplace(n, rng):
    """Two independent Laplace sources, mixed linearly."""
    return rng.laplace(size=(n, 2)) @ [[1.0, 0.3], [0.6, 1.0]]


def three_gaussians(n, rng, deviations):
    """Three clusters in two dimensions, as in Liao et al. (2022)."""
    means = np.array([[-5, -5], [5, -5], [0, 5]])
    number = rng.choice(3, n, p=[0.33, 0.33, 0.34])
    return means[number] + np.array(deviations)[number] * rng.standard_normal((n, 2))


def patches(image, n, seed):
    """Gray patches of 14 x 14 pixels without their mean."""
    rows = extract_patches_2d(
        image.mean(axis=2), (14, 14), max_patches=n, random_state=seed
    )
    rows = rows.reshape(n, 196)
    return rows - rows.mean(axis=1, keepdims=True)


def whitened(X, X_test):
    """Whiten by ZCA, leaving out directions without variance."""
    mean = X.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(X.T))
    kept = values > 1e-9 * values[-1]
    whiten = (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T
    return (X - mean) @ whiten, (X_test - mean) @ whiten


def real_valued_sets(quick):
    """Yield title, training and test rows, and parameters of the RBM."""
    rng = np.random.default_rng(0)
    yield (
        "Two Laplace sources, mixed and whitened (PyDeep -2.736, ICA -2.736)",
        *whitened(laplace(10_000, rng), laplace(100_000, rng)),
        [{"n_components": 4}, {}],
    )
    for name, deviations, bound in (
        ("round", [[1, 1]] * 3, -3.936),
        ("stretched", [[1.25, 0.5], [1.25, 0.5], [0.5, 1.25]], -3.466),
    ):
        yield (
            f"Three {name} Gaussians in two dimensions (entropy bound {bound})",
            three_gaussians(1000, rng, deviations),
            three_gaussians(10_000, rng, deviations),
            [{}, {"random_state": 1}, {"random_state": 2}],
        )
    tables = {"wine": load_wine, "breast cancer": load_breast_cancer, "digits": load_digits}
    for name, load in tables.items():
        X = load().data
        if name == "digits":
            X = X + rng.random(X.shape)
        rows = train_test_split(X, test_size=0.25, random_state=0)
        title = f"{name}{' with uniform noise' if name == 'digits' else ''}"
        small = {"n_components": 16}
        yield title, *rows, [small, small | {"solver": "cd"}, {}, {"n_components": 256}]
    images = load_sample_images().images
    parts = [[image[:, :400] for image in images], [image[:, 414:] for image in images]]
    n = 2000 if quick else 20_000
    X, X_test = (
        np.concatenate([patches(image, n // 2, seed) for seed, image in enumerate(part)])
        for part in parts
    )
    title = "Whitened patches of 14 x 14 of two photographs (PyDeep on other images -270.8)"
    settings = {"n_components": 196, "covariance_type": "diag"}
    yield title, *whitened(X, X_test), [settings]


def record_gaussian(title, X, name, seconds, values):
    measures = zip(("train", "test", "reverse"), values, strict=False)
    row = {key: round(float(value), 3) for key, value in measures}
    data = f"{title.split(' (')[0]}, {len(X)} x {X.shape[1]}"
    record("gaussian", data=data, model=name, seconds=round(seconds, 1), **row)


def gaussian(data, quick):
    """Real values: mean log-likelihoods, exact or by AIS."""
    for title, X, X_test, settings in real_valued_sets(quick):
        print(
            f"\n{title}: {len(X)} rows of {X.shape[1]}\n"
            f"{'':48s}seconds     train      test   reverse",
            flush=True,
        )
        for parameters in settings:
            start = time.perf_counter()
            rbm = GaussianRBMEstimator(**{"random_state": 0} | parameters).fit(X)
            seconds = time.perf_counter() - start
            exact = len(rbm.components_) <= 20
            method = "exact" if exact else "both"
            log_z = log_partition(rbm, method=method, betas=2000, random_state=0)
            forward, reverse = log_z.parts or (log_z, log_z)
            train, test = (-rbm.free_energy(v).mean() for v in (X, X_test))
            values = (train - forward.value, test - forward.value, test - reverse.value)
            name = ", ".join(["skrbm", *(f"{key}={x}" for key, x in parameters.items())])
            print(
                f"  {name:46s}{seconds:7.1f}" + "".join(f"{x:10.3f}" for x in values),
                flush=True,
            )
            record_gaussian(title, X, name, seconds, values)
        scale, n_most = X.std(axis=0), min(10, X.shape[1] - 1)
        others = {
            "Gaussian": [GaussianMixture()],
            "GaussianMixture": [GaussianMixture(k, random_state=0) for k in (2, 4, 8)],
            "PCA": [PCA(k) for k in range(1, n_most + 1)],
            "FactorAnalysis": [FactorAnalysis(k) for k in range(1, n_most + 1)],
        }
        for name, models in others.items():
            start = time.perf_counter()
            best = max(
                (model.fit(X / scale) for model in models),
                key=lambda model: model.score(X_test / scale),
            )
            seconds = time.perf_counter() - start
            scores = [best.score(v / scale) - np.log(scale).sum() for v in (X, X_test)]
            print(
                f"  {name:46s}{seconds:7.1f}{scores[0]:10.3f}{scores[1]:10.3f}", flush=True
            )
            record_gaussian(title, X, name, seconds, scores)


# The tables and the archives they need.
TABLES = (
    {
        "bars": (bars, []),
        "one_hot": (one_hot, []),
        "clusters": (clusters, []),
        "digits": (digits, []),
        "gaussian": (gaussian, []),
        "parameters": (parameters, ["binarized_mnist.npz"]),
        "density": (density, ["debd"]),
        "flipped": (flipped, ["mnist.npz"]),
        "news": (news, ["news20_w1000_counts_csr.npz"]),
        "gray": (gray, ["mnist.npz"]),
        "mnist": (mnist, ["binarized_mnist.npz"]),
        "anytime": (anytime, [archive for archive, _ in ANYTIME.values()]),
    }
    | bench_tables.TABLES
    | bench_classifier.TABLES
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the archives")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--quick", action="store_true", help="rough figures, in minutes")
    parser.add_argument("--long", action="store_true", help="add the recipe of 25 minutes")
    add_option(parser)
    arguments = parser.parse_args()
    data = arguments.data or Path(os.environ.get("SKRBM_DATA", "."))
    for name in arguments.only:
        table, archives = TABLES[name]
        missing = [archive for archive in archives if not (data / archive).exists()]
        if missing:
            print(f"\n{name}: skipped, no {', '.join(missing)} in {data}")
            continue
        options = {"long": arguments.long} if name == "mnist" else {}
        Table.running = name
        table(data, arguments.quick, **options)
    if arguments.json:
        save(
            arguments.json,
            ["--quick"] * arguments.quick,
            mnist=["--long"] * arguments.long,
        )


if __name__ == "__main__":
    main()
