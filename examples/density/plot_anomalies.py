"""
==================================
Anomaly detection with free energy
==================================

Improbable rows are anomalies. The free energy of an RBM is high where the probability is
low, and no partition function is needed to compare rows under one model. This example
detects digits that were corrupted in several ways, and compares with scikit-learn's
detectors. All of them learn from other, intact digits.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import LocalOutlierFactor

from skrbm import BernoulliRBMEstimator

X, y = load_digits(return_X_y=True)
X = (X > 7).astype(np.float32)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0)

# %%
# Corrupted digits
# ----------------

rng = np.random.default_rng(0)


def flipped(X, n_pixels):
    """Return rows with `n_pixels` random pixels inverted in each."""
    order = rng.random(X.shape).argsort(axis=1)
    return np.where(order < n_pixels, 1 - X, X)


images = X_test.reshape(-1, 8, 8)
spoilt = {
    "4 pixels flipped": flipped(X_test, 4),
    "8 pixels flipped": flipped(X_test, 8),
    "flipped vertically": images[:, ::-1].reshape(-1, 64),
    "flipped horizontally": images[:, :, ::-1].reshape(-1, 64),
}

# %%
# Comparison of detectors
# -----------------------
# The area under the ROC curve is the probability that a corrupted digit gets a higher
# anomaly score than an intact one. It cannot reach 1 for mirrored digits, since a mirrored
# 8 is still an 8.

rbm = BernoulliRBMEstimator(100, random_state=0).fit(X_train)
forest = IsolationForest(random_state=0).fit(X_train)
neighbors = LocalOutlierFactor(novelty=True).fit(X_train)
detectors = {
    "free energy": rbm.free_energy,
    "pseudo-likelihood": lambda X: -rbm.score_samples(X),
    "LocalOutlierFactor": lambda X: -neighbors.score_samples(X),
    "IsolationForest": lambda X: -forest.score_samples(X),
}


def auc(good, bad):
    """Return the area under the ROC curve, given the scores of good and bad rows."""
    labels = np.repeat([0, 1], [len(good), len(bad)])
    return roc_auc_score(labels, np.concatenate([good, bad]))


print(f"{'':20s}{''.join(f'{name:>20s}' for name in detectors)}")
for name, bad in spoilt.items():
    areas = [auc(detector(X_test), detector(bad)) for detector in detectors.values()]
    print(f"{name:20s}{''.join(f'{area:20.3f}' for area in areas)}")

# %%
# Next, two detectors learn without one of the ten digits, and have to detect this digit
# among the others.

for digit in (0, 4, 8):
    known = X_train[y_train != digit]
    energy = BernoulliRBMEstimator(100, random_state=0).fit(known).free_energy(X_test)
    usual = LocalOutlierFactor(novelty=True).fit(known).score_samples(X_test)
    is_new = y_test == digit
    by_energy = auc(energy[~is_new], energy[is_new])
    by_neighbors = auc(-usual[~is_new], -usual[is_new])
    print(f"without {digit}: free energy {by_energy:.3f}, neighbors {by_neighbors:.3f}")

# %%
# Choosing a threshold
# --------------------
# Set the threshold such that one in a hundred training rows exceeds it (dotted line).

threshold = np.quantile(rbm.free_energy(X_train), 0.99)
_, ax = plt.subplots(figsize=(8, 4), layout="constrained")
bins = np.linspace(-60, 10, 50)
for name, rows in {"intact": X_test, **spoilt}.items():
    ax.hist(rbm.free_energy(rows), bins=bins, histtype="step", linewidth=1.5, label=name)
ax.axvline(threshold, color="k", linestyle=":", label="threshold")
ax.set(xlabel="free energy, nats", ylabel="digits")
ax.legend()
plt.show()

# %%
# Among the intact digits, these are the most and the least probable ones.

order = np.argsort(rbm.free_energy(X_test))
extremes = X_test[np.r_[order[:12], order[-12:]]].reshape(2, 12, 8, 8)
tiles = np.pad(extremes, ((0, 0), (0, 0), (1, 1), (1, 1)))
_, ax = plt.subplots(figsize=(8, 1.6), layout="constrained")
ax.imshow(tiles.transpose(0, 2, 1, 3).reshape(20, 120), cmap="gray_r")
ax.set_xticks([])
ax.set_yticks([4.5, 14.5], ["most probable", "least probable"])
plt.show()
