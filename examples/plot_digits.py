"""
========================================
Features, tuning and samples from digits
========================================

What a restricted Boltzmann machine is for, on scikit-learn's bundled digits: features for a
linear classifier, in a pipeline and in a grid search; a density model, tuned by its own
score; and new digits, drawn from it.

The data are those of scikit-learn's own example for `BernoulliRBM`: each digit five times,
as it is and moved by one pixel in each direction.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import shift
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import Pipeline

from skrbm import BernoulliRBMEstimator


def nudged_digits():
    """Return each digit five times, with grey levels in [0, 1], and the labels."""
    X, y = load_digits(return_X_y=True)
    moves = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
    images = [shift(x, move) for move in moves for x in X.reshape(-1, 8, 8) / 16]
    return np.clip(images, 0, 1).reshape(-1, 64), np.tile(y, len(moves))


X, y = nudged_digits()
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0)
print(f"Nudged digits: {len(X_train)} rows to train on, {len(X_test)} to test on.")

# %%
# Features for a classifier
# -------------------------
# A machine of 100 hidden units in a pipeline with a logistic regression, beside the raw
# pixels, and beside scikit-learn's machine with the parameters of scikit-learn's example.

classifier = LogisticRegression(C=100, max_iter=5000)
machines = {
    "raw pixels": None,
    "sklearn BernoulliRBM": BernoulliRBM(100, learning_rate=0.06, random_state=0),
    "skrbm, defaults": BernoulliRBMEstimator(100, random_state=0),
}
print("\nLogistic regression on           test accuracy   seconds: rbm   pipeline")
for name, rbm in machines.items():
    start = time.perf_counter()
    if rbm is not None:
        clone(rbm).fit(X_train)
    rbm_fitted = time.perf_counter()
    pipeline = Pipeline([("rbm", rbm or "passthrough"), ("clf", classifier)])
    accuracy = pipeline.fit(X_train, y_train).score(X_test, y_test)
    fitted = time.perf_counter()
    print(f"  {name:31s}{accuracy:13.3f}{rbm_fitted - start:15.1f}", end="")
    print(f"{fitted - rbm_fitted:11.1f}", flush=True)

# %%
# A grid search over the pipeline
# -------------------------------
# The machine's parameters are searched like any others.

pipeline = Pipeline([("rbm", BernoulliRBMEstimator(random_state=0)), ("clf", classifier)])
grid = {"rbm__n_components": [50, 100], "rbm__learning_rate": [0.05, 0.2]}
search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(X_train[:2000], y_train[:2000])
print("\nGrid search over the pipeline (2000 rows)      accuracy in cross-validation")
for parameters, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    text = ", ".join(f"{key[5:]}={value}" for key, value in parameters.items())
    best = "   <- best" if parameters == search.best_params_ else ""
    print(f"  {text:43s}{score:14.3f}{best}")

# %%
# A density model, tuned by its own score
# ---------------------------------------
# Without labels and without `scoring`: the score is the exact pseudo-log-likelihood of
# rows that were not trained on.

rbm = BernoulliRBMEstimator(100, solver="pcd", n_iter=50, random_state=0)
grid = {"learning_rate": [0.01, 0.1, 0.5]}
search = GridSearchCV(rbm, grid, cv=2, n_jobs=2).fit(X_train)
print("\nGrid search by its own score            pseudo-log-likelihood, nats per image")
for parameters, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    best = "   <- best" if parameters == search.best_params_ else ""
    print(f"  learning_rate={parameters['learning_rate']:<29}{score:14.2f}{best}")
best = search.best_estimator_

# %%
# What it has learned
# -------------------
# Digits of the data, digits drawn from the model (the probabilities of the pixels, given
# the hidden units of a sample), and the weights of the hidden units with the largest ones.

samples = best.inverse_transform(best.transform(best.sample(60)))
largest = np.argsort(-np.abs(best.components_).max(axis=1))[:60]
panels = {
    "Digits of the data": (X_train[:60], "gray_r"),
    "Digits drawn from the model": (samples, "gray_r"),
    "Weights of the hidden units": (best.components_[largest], "RdBu_r"),
}
figure, axes = plt.subplots(1, 3, figsize=(12, 5.2), layout="constrained")
for ax, (title, (images, cmap)) in zip(axes, panels.items(), strict=True):
    tiles = np.pad(images.reshape(10, 6, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)))
    limit = np.abs(tiles).max()
    ax.imshow(
        tiles.transpose(0, 2, 1, 3).reshape(100, 60),
        cmap=cmap,
        vmin=-limit if cmap == "RdBu_r" else 0,
        vmax=limit,
    )
    ax.set_title(title)
    ax.set_axis_off()
figure.savefig("digits.png", dpi=100)
print("\nThe picture is in digits.png: data, samples and learned filters.")
