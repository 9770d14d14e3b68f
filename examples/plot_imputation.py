"""
==============
Missing pixels
==============

:class:`~skrbm.RBMImputer` learns a model of the data, gaps and all, and fills each gap from
the distribution that the model gives to what is missing, given what is known. On digits of
which three tenths of the pixels are gone, beside the imputers of scikit-learn.
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
# How many are filled in right
# ----------------------------
# Where the filled-in value is a probability, a half is where it is cut; log-loss says how
# good the probabilities are themselves.

rbm = BernoulliRBMEstimator(100, random_state=0)
imputers = {
    "most frequent value": SimpleImputer(strategy="mean", keep_empty_features=True),
    "nearest neighbours": KNNImputer(n_neighbors=10, keep_empty_features=True),
    "RBMImputer": RBMImputer(rbm, random_state=0),
}
filled = {}
print("                         right     log-loss     seconds")
for name, imputer in imputers.items():
    start = time.perf_counter()
    filled[name] = imputer.fit_transform(gappy)
    seconds = time.perf_counter() - start
    p = filled[name][missing].clip(0.01, 0.99)
    truth = X[missing] == 1
    loss = -np.log(np.where(truth, p, 1 - p)).mean()
    print(f"{name:22s}{((p > 0.5) == truth).mean():8.1%}{loss:13.3f}{seconds:12.1f}")

# %%
# Rows that were not trained on
# -----------------------------
# A machine that is trained already fills in as well: here, digits of which the lower half
# is not known. One probability for each pixel, and three draws: each is a whole digit, one
# that the upper half allows.

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
