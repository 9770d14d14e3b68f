"""
=======================
Imputing missing pixels
=======================

:class:`~skrbm.RBMImputer` trains a model on data with missing values and fills them in from
the distribution of the missing values given the observed ones. This example compares it
with scikit-learn's imputers on digits with 30 % of the pixels missing.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.impute import KNNImputer, SimpleImputer

from skrbm import BernoulliRBMEstimator, RBMImputer
from skrbm.sampling import sample_conditional

X = (load_digits().data > 7).astype(np.float32)
missing = np.random.default_rng(0).random(X.shape) < 0.3
gappy = np.where(missing, np.nan, X)

# %%
# Accuracy
# --------
# The imputed values are probabilities of a 1. For the accuracy they are rounded to 0 or 1;
# the log-loss measures the quality of the probabilities themselves.

rbm = BernoulliRBMEstimator(100, random_state=0)
imputers = {
    "mean": SimpleImputer(strategy="mean", keep_empty_features=True),
    "nearest neighbours": KNNImputer(n_neighbors=10, keep_empty_features=True),
    "RBMImputer": RBMImputer(rbm, random_state=0),
}
filled = {}
print("                      accuracy     log-loss     seconds")
for name, imputer in imputers.items():
    start = time.perf_counter()
    filled[name] = imputer.fit_transform(gappy)
    seconds = time.perf_counter() - start
    p = filled[name][missing].clip(0.01, 0.99)
    truth = X[missing] == 1
    loss = -np.log(np.where(truth, p, 1 - p)).mean()
    print(f"{name:22s}{((p > 0.5) == truth).mean():8.1%}{loss:13.3f}{seconds:12.1f}")

# %%
# Imputing with a fitted RBM
# --------------------------
# :func:`~skrbm.sampling.sample_conditional` fills in rows with an RBM that is already
# fitted. Here, the lower half of new digits is missing. The probabilities average over all
# digits that are compatible with the upper half, whereas each draw is one of these digits.

rbm.fit(X[:1500])
upper = X[1500:1512].copy()
upper[:, 32:] = np.nan
lines = {
    "upper half": np.where(np.isnan(upper), 0.5, upper),
    "probabilities": sample_conditional(rbm, upper, output="probabilities", random_state=0),
}
for seed in range(3):
    lines[f"draw {seed + 1}"] = sample_conditional(rbm, upper, random_state=seed)
lines["truth"] = X[1500:1512]

figure, axes = plt.subplots(len(lines), 12, figsize=(9, 4.8), layout="constrained")
for row, (name, images) in zip(axes, lines.items(), strict=True):
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, image in zip(row, images.reshape(-1, 8, 8), strict=True):
        ax.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
plt.show()
