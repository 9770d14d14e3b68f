"""
========================================
A tour: features, new digits, table gaps
========================================

This is what ``make demo`` runs. A restricted Boltzmann machine (RBM) makes features for a
classifier, draws new images, and fills the gaps of a table.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.ndimage import shift
from sklearn.datasets import load_digits, load_wine
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from skrbm import BernoulliRBMEstimator, RBMImputer

# %%
# Features for a classifier
# -------------------------
# The data are scikit-learn's digits. As in its example of ``BernoulliRBM``, each is there
# five times: unchanged, and shifted by one pixel in each direction. The features of an RBM
# feed a logistic regression in a pipeline. ``BernoulliRBM`` has the learning rate of that
# example and twice its epochs, and its features need a weaker penalty (``C=1000``), which
# help it. A support vector machine needs no features, and is better on small images like
# these, in less time.


def nudged(X):
    """Return images of 8 x 8 gray levels five times, unchanged and shifted."""
    moves = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
    images = [shift(x, move, order=0) for move in moves for x in X.reshape(-1, 8, 8)]
    return np.reshape(images, (-1, 64))


X, y = load_digits(return_X_y=True)
X = X / 16  # gray levels in [0, 1]
X_train, X_test = nudged(X[:1000]), nudged(X[1000:])
y_train, y_test = np.tile(y[:1000], 5), np.tile(y[1000:], 5)

rbm = BernoulliRBMEstimator(200, random_state=0)
sklearn_rbm = BernoulliRBM(200, learning_rate=0.06, n_iter=20, random_state=0)
nystroem = Nystroem(gamma=0.05, n_components=200, random_state=0)
regression = LogisticRegression(C=100, max_iter=2000)
weaker = LogisticRegression(C=1000, max_iter=2000)
models = {
    "pixels, logistic regression": make_pipeline(regression),
    "BernoulliRBM of scikit-learn, the same": make_pipeline(sklearn_rbm, weaker),
    "skrbm, the same": make_pipeline(rbm, regression),
    "Nystroem, the same": make_pipeline(nystroem, regression),
    "pixels, support vector machine": make_pipeline(SVC()),
}
print(f"1. Which digit is it? {len(X_train)} images for training, {len(X_test)} for tests.")
print("                                          accuracy   seconds of fit")
for name, model in models.items():
    start = time.perf_counter()
    model.fit(X_train, y_train)
    seconds = time.perf_counter() - start
    print(f"   {name:39s}{model.score(X_test, y_test):8.3f}{seconds:13.1f}", flush=True)

# %%
# New digits
# ----------
# The RBM of the pipeline is a model of the images as well, and draws new ones. The picture
# also shows the weights of some hidden units. Of a drawn image, it shows the probabilities
# of the pixels given its mean hidden units.

samples = rbm.inverse_transform(rbm.transform(rbm.sample(60, random_state=0)))
panels = {
    "Digits of the data": (X_train[:60], "gray_r"),
    "Drawn from the model\n(probabilities of pixels)": (samples, "gray_r"),
    "Weights of 60 hidden units\n(red: positive)": (rbm.components_[:60], "RdBu_r"),
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
print("\n2. New digits: drawn by the same model, in digits.png.")

# %%
# A table with gaps
# -----------------
# The table has 12 measurements of wines, their color as a level, and their cultivar. A
# fifth of the cells is hidden. :class:`~skrbm.RBMImputer` fills them in without any
# encoding. The simple guess is the mean of a number, and the most frequent category.

data = load_wine(as_frame=True)
wines = data.data.assign(cultivar=data.target_names[data.target])
levels = ["pale", "medium", "dark"]
wines["color"] = pd.cut(wines.pop("color_intensity"), [0, 3.5, 5.5, 20], labels=levels)
hidden = pd.DataFrame(
    np.random.default_rng(0).random(wines.shape) < 0.2, wines.index, wines.columns
)
gappy = wines.mask(hidden)
start = time.perf_counter()
imputer = RBMImputer(random_state=0)
filled = imputer.fit_transform(gappy)
seconds = time.perf_counter() - start
guess = gappy.copy()
for name in guess:
    is_number = name in data.data
    guess[name] = gappy[name].fillna(
        gappy[name].mean() if is_number else gappy[name].mode()[0]
    )

print(
    f"\n3. A table with gaps: {len(wines)} wines, {hidden.to_numpy().sum()} hidden cells."
)
print(f"                                            simple guess   skrbm ({seconds:.1f} s)")
for name, kind in {"cultivar": "category", "color": "level"}.items():
    shares = [
        (table[name] == wines[name])[hidden[name]].mean() for table in (guess, filled)
    ]
    print(f"   accuracy of {name + ', a ' + kind:29s}{shares[0]:12.2f}{shares[1]:16.2f}")
numbers = wines.select_dtypes("number").columns
errors = [
    ((table[numbers] - wines[numbers]) / wines[numbers].std()).to_numpy()[hidden[numbers]]
    for table in (guess, filled)
]
rmse = [np.sqrt(np.mean(error**2)) for error in errors]
print(f"   error of numbers, in standard deviations {rmse[0]:12.2f}{rmse[1]:16.2f}")

# %%
# Each filled cell comes with probabilities.

proba = imputer.impute_proba(gappy)["color"]
print("   Probabilities of hidden colors    " + "".join(f"{name:>8s}" for name in levels))
for i in np.flatnonzero(hidden["color"])[:3]:
    values = "".join(f"{p:8.2f}" for p in proba[i])
    print(f"     wine {i:3d}, in truth {wines['color'][i]:14s}{values}")
