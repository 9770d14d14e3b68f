"""
==============================================
Drawing digits: textbook settings and defaults
==============================================

Do the defaults draw better digits than the settings of textbooks? The defaults are
persistent chains, a centered gradient, a decreasing learning rate, weight decay and
averaged parameters. Textbooks use contrastive divergence (CD) with one or a few Gibbs
steps, minibatches of 10, and a constant learning rate of 0.1. All models have 100 hidden
units.

Chains that start from noise show whether a model has learned what digits look like.
Contrastive divergence only looks at the model a few steps away from the data. Elsewhere,
the model is left to chance.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skrbm import BernoulliRBMEstimator
from skrbm.likelihood import log_partition, mean_log_likelihood

X = (load_digits().data / 16).astype(np.float32)
X_train, X_test = train_test_split(X, test_size=0.25, random_state=0)
X_test = (X_test > 0.5).astype(np.float32)  # likelihoods are those of binary rows

# %%
# Models
# ------

defaults = BernoulliRBMEstimator(100, random_state=0).fit(X_train)
textbook = {
    "solver": "cd",
    "batch_size": 10,
    "learning_rate": 0.1,
    "schedule": "constant",
    "weight_decay": 0,
    "centering": False,
    "averaging": False,
    "random_state": 0,
}
models = {
    "CD-1, 10 epochs": BernoulliRBMEstimator(
        100, n_gibbs_steps=1, n_iter=10, **textbook
    ).fit(X_train),
    "CD-5, 10 epochs": BernoulliRBMEstimator(
        100, n_gibbs_steps=5, n_iter=10, **textbook
    ).fit(X_train),
    f"CD-1, {defaults.n_iter_} epochs": BernoulliRBMEstimator(
        100, n_gibbs_steps=1, n_iter=defaults.n_iter_, **textbook
    ).fit(X_train),
    f"defaults, {defaults.n_iter_} epochs": defaults,
}

# %%
# Chains from noise
# -----------------
# Each chain starts at a row of independent pixels with the means of the data and takes 1000
# Gibbs steps. The picture shows the probabilities of the pixels at the end. The titles have
# the mean log-likelihoods of binary test digits, by annealed importance sampling.
#
# After ten epochs the digits are blurred. Most of the difference is the length of the
# training: after as many epochs as the defaults take, CD-1 draws sharp digits and comes
# within a nat. On larger images, a larger difference remains, see "Benchmarks".

n_rows, n_columns = 8, 6
rng = np.random.default_rng(0)
noise = rng.random((n_rows * n_columns, X.shape[1])) < X_train.mean(axis=0)
panels = {"data": X[: len(noise)]}
for name, rbm in models.items():
    rows = rbm.sample(len(noise), init=noise, n_gibbs_steps=1000, random_state=0)
    log_z = log_partition(rbm, betas=1000, random_state=0)
    likelihood = mean_log_likelihood(rbm, X_test, log_partition=log_z).value
    panels[f"{name}\n{likelihood:.1f} nats"] = rbm.inverse_transform(rbm.transform(rows))

figure, axes = plt.subplots(1, len(panels), figsize=(12, 3.7), layout="constrained")
for ax, (name, images) in zip(axes, panels.items(), strict=True):
    tiles = images.reshape(n_rows, n_columns, 8, 8)
    tiles = np.pad(tiles, ((0, 0), (0, 0), (1, 1), (1, 1))).transpose(0, 2, 1, 3)
    ax.imshow(tiles.reshape(n_rows * 10, n_columns * 10), cmap="gray_r", vmin=0, vmax=1)
    ax.set_title(name, fontsize=10)
    ax.set_axis_off()
plt.show()
