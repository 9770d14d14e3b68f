"""
===========================
Completing half of an image
===========================

:func:`~skrbm.sampling.sample_conditional` fills in the missing values of rows with an RBM
that is already fitted. Here, the lower half of new digits is missing. The model was trained
on whole digits.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skrbm import BernoulliRBMEstimator
from skrbm.sampling import sample_conditional

X = (load_digits().data > 7).astype(np.float32)
rbm = BernoulliRBMEstimator(100, random_state=0).fit(X[:1500])

# %%
# Probabilities or draws
# ----------------------
# Several digits may have the same upper half. Probabilities average over all of them and
# look blurred. Each draw is one of them.

upper = X[1500:1508].copy()
upper[:, 32:] = np.nan
lines = {
    "upper half": np.where(np.isnan(upper), 0.5, upper),
    "probabilities": sample_conditional(rbm, upper, output="probabilities", random_state=0),
}
for seed in range(3):
    lines[f"draw {seed + 1}"] = sample_conditional(rbm, upper, random_state=seed)
lines["truth"] = X[1500:1508]

figure, axes = plt.subplots(len(lines), 8, figsize=(7, 4.8), layout="constrained")
for row, (name, images) in zip(axes, lines.items(), strict=True):
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, image in zip(row, images.reshape(-1, 8, 8), strict=True):
        ax.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
plt.show()

# %%
# To train on rows with missing values, and to fill them in, use :class:`~skrbm.RBMImputer`.
