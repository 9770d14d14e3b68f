"""
========================================
Features, model selection and new digits
========================================

Three uses of a restricted Boltzmann machine (RBM) on scikit-learn's digits: features for a
linear classifier in a pipeline and a grid search, a density model tuned by its own score,
and new digits drawn from the model.

As in scikit-learn's example for `BernoulliRBM`, the data contain each digit five times,
unchanged and shifted by one pixel in each direction.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import shift
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit, train_test_split
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import Pipeline, make_pipeline

from skrbm import BernoulliRBMEstimator


def nudged(X):
    """Return images of 8 x 8 gray levels five times, unchanged and shifted."""
    moves = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
    images = [shift(x, move, order=0) for move in moves for x in X.reshape(-1, 8, 8)]
    return np.reshape(images, (-1, 64))


X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)  # gray levels in [0, 1]
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.2, stratify=y, random_state=0
)
X_train, X_test = nudged(X_train), nudged(X_test)
y_train, y_test = np.tile(y_train, 5), np.tile(y_test, 5)
print(f"Nudged digits: {len(X_train)} training rows, {len(X_test)} test rows.", flush=True)

# %%
# Features for a classifier
# -------------------------
# A logistic regression is trained on raw pixels, on the features of scikit-learn's RBM with
# the settings of scikit-learn's example, and on those of skrbm's RBM, each with 100 hidden
# units. `C` is chosen for each on a quarter of the training digits.

digit = np.tile(np.arange(len(X_train) // 5), 5)  # keep shifted copies in the same split
split = GroupShuffleSplit(1, test_size=0.25, random_state=0)
classifier = LogisticRegression(solver="newton-cholesky", tol=0.01)  # in float64
models = {
    "raw pixels": "passthrough",
    "sklearn BernoulliRBM": BernoulliRBM(
        100, learning_rate=0.06, n_iter=10, random_state=0
    ),
    "skrbm": BernoulliRBMEstimator(100, random_state=0),
}
print(
    "\nLogistic regression on features of    test accuracy      C   seconds to train the "
    "RBM"
)
for name, rbm in models.items():
    start = time.perf_counter()
    model = make_pipeline(rbm).fit(X_train)
    seconds = time.perf_counter() - start
    search = GridSearchCV(classifier, {"C": [10, 100, 1000]}, cv=split, n_jobs=2)
    search.fit(model.transform(X_train).astype(np.float64), y_train, groups=digit)
    accuracy = search.score(model.transform(X_test), y_test)
    C = search.best_params_["C"]
    print(f"  {name:36s}{accuracy:13.3f}{C:7d}{seconds:15.1f}", flush=True)

# %%
# A grid search over the pipeline
# -------------------------------
# The parameters of the RBM are searched like those of any other step.

n = len(X_train) // 5  # the unshifted digits
rbm = BernoulliRBMEstimator(random_state=0)
pipeline = Pipeline([("rbm", rbm), ("clf", LogisticRegression(C=10, max_iter=1000))])
grid = {"rbm__n_components": [25, 50, 100]}
print(f"\nGrid search over the pipeline, {n} rows ...", flush=True)
search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(X_train[:n], y_train[:n])
print("  cross-validated accuracy")
for parameters, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    best = "   <- best" if parameters == search.best_params_ else ""
    print(f"  n_components={parameters['rbm__n_components']:<10}{score:10.3f}{best}")

# %%
# A density model tuned by its own score
# --------------------------------------
# This needs neither labels nor `scoring`: the score of the estimator is the exact
# pseudo-log-likelihood, which is computed here on held-out rows. The learning rates are
# multiples of the default, which is chosen from the data. Other measures of a model may
# disagree with this one (see "Evaluating a model" in the user guide).

rbm = BernoulliRBMEstimator(100, random_state=0)
print("\nGrid search by its own score ...", flush=True)
rate = rbm.fit(X_train[:n]).learning_rate_
grid = {"learning_rate": [rate / 5, rate, 5 * rate]}
search = GridSearchCV(rbm, grid, cv=3, n_jobs=2).fit(X_train[:n])
print("  pseudo-log-likelihood, nats per image")
for parameters, score in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    best = "   <- best" if parameters == search.best_params_ else ""
    print(f"  learning_rate={parameters['learning_rate']:<9.2f}{score:10.2f}{best}")
best = search.best_estimator_
below = search.best_score_ - search.cv_results_["mean_test_score"][1]
print(f"  The default, {rate:.2f}, is {below:.2f} nats below the best.")

# %%
# Samples and weights
# -------------------
# The picture shows digits of the data, digits drawn from the model (the probabilities of
# the pixels given the mean hidden units of a sample), and the weights of some hidden units.

samples = best.inverse_transform(best.transform(best.sample(60)))
panels = {
    "Digits of the data": (X_train[:60], "gray_r"),
    "Drawn from the model\n(probabilities of pixels)": (samples, "gray_r"),
    "Weights of 60 hidden units\n(red: positive)": (best.components_[:60], "RdBu_r"),
}
figure, axes = plt.subplots(1, 3, figsize=(12, 5.2), layout="constrained")
for ax, (title, (images, cmap)) in zip(axes, panels.items(), strict=True):
    tiles = np.pad(images.reshape(10, 6, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)))
    limit = np.percentile(np.abs(images), 99)
    ax.imshow(
        tiles.transpose(0, 2, 1, 3).reshape(100, 60),
        cmap=cmap,
        vmin=-limit if cmap == "RdBu_r" else 0,
        vmax=limit,
    )
    ax.set_title(title)
    ax.set_axis_off()
figure.savefig("digits.png", dpi=100)
print("\nSaved digits.png: data, samples and weights.")
