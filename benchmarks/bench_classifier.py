"""The tables of bench_quality.py on classifiers.

classifiers  Gray digits, MNIST and 20 newsgroups with all labels: test error and mean
             log-loss, in nats, of RBMClassifier, and of logistic regressions on the same
             features and on hidden units. Seconds are those of the processor.
few_labels   20 newsgroups, where 60 rows have a label, three of each class, in ten splits.
             The inverse strength of the penalty of each logistic regression is the best one
             for the test rows. This flatters all but RBMClassifier, which is at its
             defaults.
labels       A column of each of six tables with gaps as the label, in three splits.
features     Gray digits in five splits and 6000 posts of 20 newsgroups in three: accuracy
             on other rows of a logistic regression of features, and of classifiers, with
             all labels and with few. Features are learned from all training rows, also
             LabelSpreading and RBMClassifier use them all. Settings and the penalty are
             chosen by cross-validation on the rows with a label, for all methods but
             RBMClassifier, which is at its defaults and compares settings itself. Seconds
             are those of the processor for the chosen settings and all labels.
"""

import time

import numpy as np
import pandas as pd
import scipy.sparse as sp
from bench_tables import Lines
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF, PCA, TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    ParameterGrid,
    StratifiedKFold,
    train_test_split,
)
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import SVC

from skrbm import BernoulliRBMEstimator, MixedRBMEstimator, RBMClassifier

PENALTIES = 0.03, 0.1, 0.3, 1, 3, 10, 30, 100
# The column of each table that is the label, and others that tell it at once.
LABELS = {
    "survey": ("Sex", []),
    "chile": ("vote", []),
    "schooling": ("black", []),
    "hdma": ("deny", []),
    "benefits": ("ui", []),
    "pd": ("pd", ["diag", "comments"]),
}


def news(data):
    """Return words as bits and classes of training and test rows, and their counts."""
    with np.load(data / "news20_w1000_counts_csr.npz", allow_pickle=True) as archive:
        parts = []
        for part in ("train", "test"):
            arrays = [archive[f"{part}_{name}"] for name in ("data", "indices", "indptr")]
            counts = sp.csr_array(tuple(arrays), shape=tuple(archive[f"{part}_shape"]))
            bits = sp.csr_array((counts > 0).astype(np.float32))
            parts.append((bits, archive[f"y_{part}"].ravel(), counts))
    return parts


class Seconds:
    """Processor time of a block."""

    def __enter__(self):
        self.start = time.process_time()
        return self

    def __exit__(self, *_):
        self.value = time.process_time() - self.start


def evaluate(model, X, y, X_test, y_test):
    """Train a classifier; return its seconds, test error in percent, and log-loss."""
    with Seconds() as seconds:
        model.fit(X, y)
    p = model.predict_proba(X_test)
    error = 100 * np.mean(model.classes_[p.argmax(axis=1)] != y_test)
    return seconds.value, error, log_loss(y_test, p, labels=model.classes_)


def classifiers(data, quick):
    columns = "seconds", "error", "log-loss"
    lines = Lines("classifiers", "Classifiers, errors in per cent", columns, 3)
    digits = load_digits()
    parts = train_test_split(
        (digits.data / 16).astype(np.float32),
        digits.target,
        test_size=0.3,
        random_state=0,
        stratify=digits.target,
    )
    sets = {"digits": ([parts[i] for i in (0, 2, 1, 3)], 100, {})}
    if (data / "news20_w1000_counts_csr.npz").exists():
        (X, y, _), (X_test, y_test, _) = news(data)
        sets["20 newsgroups"] = (X, y, X_test, y_test), 100, {}
    if (data / "mnist.npz").exists() and not quick:
        with np.load(data / "mnist.npz") as archive:
            X, X_test = (
                (archive[name] / 255).astype(np.float32) for name in ("X_train", "X_test")
            )
            y, y_test = archive["y_train"].astype(int), archive["y_test"].astype(int)
        given = {"n_iter": 20, "batch_size": 50, "learning_rate": 0.3}
        sets["MNIST"] = (X, y, X_test, y_test), 1000, given
    for name, (rows, n_components, given) in sets.items():
        X, y, X_test, y_test = rows
        regression = LogisticRegression(C=0.1 if X.shape[1] > 64 else 1, max_iter=500)
        lines.add(*evaluate(regression, *rows), data=name, method="logistic regression")
        rbm = BernoulliRBMEstimator(n_components, random_state=0)
        pipeline = make_pipeline(rbm, LogisticRegression(C=10, max_iter=500))
        lines.add(*evaluate(pipeline, *rows), data=name, method="and hidden units")
        models = {"defaults": {}} | ({"20 epochs": given} if given else {})
        for method, parameters in models.items():
            rbm = BernoulliRBMEstimator(n_components, **parameters)
            model = RBMClassifier(rbm, random_state=0)
            method = f"RBMClassifier, {method}"
            lines.add(*evaluate(model, *rows), data=name, method=method)


def best_regression(features, labelled, y, test, y_test):
    """Return the largest test accuracy of logistic regressions of rows with a label."""
    models = [LogisticRegression(C=C, max_iter=300) for C in PENALTIES]
    fitted = [model.fit(features[labelled], y[labelled]) for model in models]
    return max(model.score(test, y_test) for model in fitted)


def marked(y, labelled):
    """Return the labels of some rows, and -1 for the others."""
    few = np.full(len(y), -1)
    few[labelled] = y[labelled]
    return few


def few_labels(data, quick):
    (X, y, counts), (X_test, y_test, test_counts) = news(data)
    n = 2 if quick else 10
    features = {"binary words": (X, X_test)}
    tfidf = TfidfTransformer(sublinear_tf=True).fit(counts)
    weighted = [tfidf.transform(each) for each in (counts, test_counts)]
    features["tf-idf"] = weighted
    models = {
        "tf-idf, SVD": (TruncatedSVD(100, random_state=0), weighted),
        "tf-idf, NMF": (NMF(100, init="nndsvda", max_iter=100, random_state=0), weighted),
        "BernoulliRBM": (
            BernoulliRBM(100, learning_rate=0.01, random_state=0),
            (X, X_test),
        ),
        "BernoulliRBMEstimator": (
            BernoulliRBMEstimator(100, random_state=0),
            (X, X_test),
        ),
    }
    for name, (model, (rows, test)) in models.items():
        features[name] = model.fit(rows).transform(rows), model.transform(test)
    accuracy = {f"{name}, logistic regression": [] for name in features}
    accuracy["RBMClassifier"] = []
    for split in range(n):
        rng = np.random.default_rng(split)
        labelled = np.concatenate(
            [rng.choice(np.flatnonzero(y == k), 3, replace=False) for k in np.unique(y)]
        )
        for name, (rows, test) in features.items():
            found = best_regression(rows, labelled, y, test, y_test)
            accuracy[f"{name}, logistic regression"].append(found)
        model = RBMClassifier(BernoulliRBMEstimator(100), random_state=split)
        model.fit(X, marked(y, labelled))
        accuracy["RBMClassifier"].append(model.score(X_test, y_test))
        print(split, {name: round(each[-1], 3) for name, each in accuracy.items()})
    title = f"20 newsgroups with 60 labels, {n} splits: accuracy"
    lines = Lines("few_labels", title, ("mean", "lowest", "highest", "best in"), 3)
    best = np.argmax(list(accuracy.values()), axis=0)
    for number, (name, found) in enumerate(accuracy.items()):
        lines.add(
            np.mean(found), min(found), max(found), np.sum(best == number), method=name
        )


def labels(data, quick):
    columns = "boosting", "regression", "RBM"
    title = "A column of a table as the label: accuracies and log-losses"
    lines = Lines(
        "labels", title, [f"{c} {x}" for c in columns for x in ("acc", "loss")], 3
    )
    for name, (label, others) in LABELS.items():
        table = pd.read_csv(data / "tables" / f"{name}.csv.gz")
        table = table[table[label].notna()].drop(columns=others)
        X, y = table.drop(columns=label), table[label].astype(str).to_numpy()
        numbers = [c for c in X if X[c].dtype.kind in "iuf" and X[c].nunique() > 2]
        for column in X.columns.difference(numbers):
            known = X[column].notna()
            X[column] = X[column].astype(str).where(known).astype("category")
        results = []
        for split in range(1 if quick else 3):
            parts = train_test_split(X, y, test_size=0.3, random_state=split, stratify=y)
            rows = [parts[i] for i in (0, 2, 1, 3)]
            boosting = HistGradientBoostingClassifier(
                categorical_features="from_dtype", random_state=0
            )
            dense = pd.get_dummies(X, dtype=float)
            one_hot = [dense.loc[rows[0].index], rows[1], dense.loc[rows[2].index], rows[3]]
            regression = make_pipeline(
                SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=1000)
            )
            rbm = RBMClassifier(MixedRBMEstimator(64), random_state=split)
            found = [
                evaluate(boosting, *rows),
                evaluate(regression, *one_hot),
                evaluate(rbm, *rows),
            ]
            results.append([x for _, e, loss in found for x in (1 - e / 100, loss)])
        lines.add(*np.mean(results, axis=0), data=f"{name}, {label}")


FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)
UNITS = [100, 300]
REGRESSION = LogisticRegression(max_iter=300), {"C": [0.1, 1, 10, 100, 1000]}
KERNEL_MACHINE = SVC(), {"C": [1, 10, 100], "gamma": [0.02, 0.05, 0.1, 0.2]}
NEIGHBORS = 5, 7, 10, 20


def feature_methods(is_text):
    """Return transformers and grids of their settings for digits or text."""
    unchanged = FunctionTransformer(), {}
    rbms = {
        "BernoulliRBM": (
            BernoulliRBM(random_state=0),
            {
                "n_components": UNITS,
                "learning_rate": [0.01, 0.1],
                "n_iter": [10] if is_text else [10, 40],
            },
        ),
        "BernoulliRBMEstimator": (
            BernoulliRBMEstimator(random_state=0),
            {"n_components": UNITS},
        ),
    }
    nystroem = Nystroem(random_state=0)
    if not is_text:
        grid = {"n_components": [*UNITS, 1000], "gamma": [0.02, 0.05, 0.1, 0.2]}
        return {
            "pixels": unchanged,
            "PCA": (PCA(random_state=0), {"n_components": [16, 32, 48]}),
            "Nystroem": (nystroem, grid),
        } | rbms
    return {
        "binary words": unchanged,
        "tf-idf": unchanged,
        "tf-idf, SVD": (TruncatedSVD(random_state=0), {"n_components": UNITS}),
        "tf-idf, Nystroem": (nystroem, {"n_components": UNITS, "gamma": [0.3, 1]}),
        "tf-idf, NMF": (
            NMF(init="nndsvda", max_iter=100, random_state=0),
            {"n_components": [50, 100]},
        ),
    } | rbms


def searched(classifier, grid, X, y):
    """Return the best score in cross-validation, the best settings, and the seconds."""
    search = GridSearchCV(classifier, grid, cv=FOLDS, refit=False).fit(X, y)
    with Seconds() as seconds:
        model = clone(classifier).set_params(**search.best_params_).fit(X, y)
    return search.best_score_, model, seconds.value


def best_features(transformer, grid, rows, y, test, y_test, labelled):
    """Return accuracies with all labels and with few, and the seconds with all."""
    best = {}
    for parameters in ParameterGrid(grid):
        with Seconds() as seconds:
            model = clone(transformer).set_params(**parameters)
            features = model.fit_transform(rows)
        test_features = model.transform(test)
        for labels, at in (("all", slice(None)), ("few", labelled)):
            score, regression, more = searched(*REGRESSION, features[at], y[at])
            if labels not in best or score > best[labels][0]:
                accuracy = regression.score(test_features, y_test)
                best[labels] = score, accuracy, seconds.value + more
    return best["all"][1], best["few"][1], best["all"][2]


def spread(rows, y, labelled):
    """Return the label spreading whose number of neighbors is best, and its seconds."""
    best = -1.0, None
    for n_neighbors in NEIGHBORS:
        model = LabelSpreading(kernel="knn", n_neighbors=n_neighbors)
        scores = []
        for kept, hidden in FOLDS.split(labelled, y[labelled]):
            model.fit(rows, marked(y, labelled[kept]))
            scores.append(
                np.mean(model.transduction_[labelled[hidden]] == y[labelled[hidden]])
            )
        best = max(best, (np.mean(scores), n_neighbors), key=lambda found: found[0])
    with Seconds() as seconds:
        model = LabelSpreading(kernel="knn", n_neighbors=best[1])
        model.fit(rows, marked(y, labelled))
    return model, seconds.value


def feature_sets(data, quick):
    """Yield a name, the number of the split, rows for each kind of method, and labels."""
    digits = load_digits()
    for split in range(2 if quick else 5):
        at = train_test_split(
            np.arange(len(digits.target)),
            test_size=0.3,
            random_state=split,
            stratify=digits.target,
        )
        X = (digits.data / 16).astype(np.float32)
        yield "digits", split, [X[i] for i in at], None, [digits.target[i] for i in at], 5
    parts = news(data)
    bits, counts = (sp.vstack([part[k] for part in parts], "csr") for k in (0, 2))
    y = np.concatenate([part[1] for part in parts])
    for split in range(1 if quick else 3):
        at = np.split(np.random.default_rng(split).permutation(len(y))[:12_000], 2)
        tfidf = TfidfTransformer(sublinear_tf=True).fit(counts[at[0]])
        weighted = [tfidf.transform(counts[i]) for i in at]
        yield "20 newsgroups", split, [bits[i] for i in at], weighted, [y[i] for i in at], 3


def features(data, quick):
    found = {}
    for name, split, rows, weighted, (y, y_test), n_each in feature_sets(data, quick):
        rng = np.random.default_rng(split)
        labelled = np.concatenate(
            [
                rng.choice(np.flatnonzero(y == k), n_each, replace=False)
                for k in np.unique(y)
            ]
        )
        results = {}
        for method, (transformer, grid) in feature_methods(weighted is not None).items():
            X, X_test = weighted if method.startswith("tf-idf") else rows
            results[method] = best_features(
                transformer, grid, X, y, X_test, y_test, labelled
            )
        if weighted is None:
            X, X_test = rows
            _, svc, seconds = searched(*KERNEL_MACHINE, X, y)
            _, of_few, _ = searched(*KERNEL_MACHINE, X[labelled], y[labelled])
            accuracies = [model.score(X_test, y_test) for model in (svc, of_few)]
            results["SVC of the pixels"] = *accuracies, seconds
        X, X_test = weighted or rows
        few, _ = spread(X, y, labelled)
        model, seconds = spread(X, y, np.arange(len(y)))
        accuracies = [each.score(X_test, y_test) for each in (model, few)]
        results["LabelSpreading"] = *accuracies, seconds
        X, X_test = rows
        accuracies = []
        for target in (marked(y, labelled), y):
            model = RBMClassifier(BernoulliRBMEstimator(100), random_state=split)
            with Seconds() as seconds:
                model.fit(X, target)
            accuracies.insert(0, model.score(X_test, y_test))
        results["RBMClassifier"] = *accuracies, seconds.value
        for method, values in results.items():
            found.setdefault((name, method), []).append(values)
            print(f"{split} {name}, {method}: {np.round(values, 3)}", flush=True)
    columns = "all labels", "its std", "few labels", "std of few", "seconds"
    lines = Lines("features", "Features: accuracies of other rows", columns, 3)
    for (name, method), values in found.items():
        (accuracy, few, seconds), (deviation, of_few, _) = (
            np.mean(values, axis=0),
            np.std(values, axis=0),
        )
        lines.add(accuracy, deviation, few, of_few, seconds, data=name, method=method)


# The tables and the archives they need.
TABLES = {
    "classifiers": (classifiers, []),
    "few_labels": (few_labels, ["news20_w1000_counts_csr.npz"]),
    "labels": (labels, ["tables"]),
    "features": (features, ["news20_w1000_counts_csr.npz"]),
}
