"""
================================================
Generating digits: textbook settings vs defaults
================================================

This example compares the default settings (persistent chains, centered gradient,
decreasing learning rate, averaged parameters) with the settings of textbooks: contrastive
divergence (CD) with 1 and with 5 Gibbs steps, minibatches of 64, a learning rate of 0.1 and
ten epochs. All models have 784 visible and 500 hidden units, start from the same initial
weights and biases, and draw gray levels as 0 or 1 each time a row is presented.

Chains that start from noise show whether a model has learned what digits look like.
Contrastive divergence only sees the model one or a few steps away from the data, and leaves
it undetermined elsewhere.

The images are those of MNIST, from ``mnist.npz`` in the folder given by ``--data``
(default: the environment variable SKRBM_DATA) or from OpenML. If neither is available,
scikit-learn's small digits are used instead.
"""

import argparse
import os
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import fetch_openml, load_digits

from skrbm import BernoulliRBMEstimator


def load_images(folder):
    """Return images as rows of gray levels in [0, 1], and print their source."""
    if folder and (Path(folder) / "mnist.npz").exists():
        with np.load(Path(folder) / "mnist.npz") as archive:
            X = archive["X_train"].reshape(-1, 784)
        source = f"MNIST, from {Path(folder) / 'mnist.npz'}"
    else:
        try:
            X = fetch_openml("mnist_784", version=1, as_frame=False).data[:60_000]
            source = "MNIST, from OpenML"
        except OSError as error:
            X = load_digits().data * (255 / 16)
            source = f"scikit-learn's 8 x 8 digits, as MNIST is not available ({error})"
    print(f"{len(X)} images: {source}")
    return X.astype(np.float32) / 255


parser = argparse.ArgumentParser(description="Draw digits from three models.")
parser.add_argument("--data", default=os.environ.get("SKRBM_DATA"), help="has mnist.npz")
X = load_images(parser.parse_args().data)
side = int(np.sqrt(X.shape[1]))

# %%
# Three models
# ------------

textbook = {
    "solver": "cd",
    "batch_size": 64,
    "learning_rate": 0.1,
    "schedule": "constant",
    "n_iter": 10,
    "centering": False,
    "averaging": False,
}
models = {
    "CD-1, textbook": BernoulliRBMEstimator(500, **textbook, random_state=0),
    "CD-5, textbook": BernoulliRBMEstimator(
        500, n_gibbs_steps=5, **textbook, random_state=0
    ),
    "defaults": BernoulliRBMEstimator(500, random_state=0),
}

# %%
# Chains from noise
# -----------------
# Each chain starts at a row of independent pixels with the means of the data and takes 1000
# Gibbs steps. The picture shows the probabilities of the pixels given the mean hidden units
# at the end.

n_rows, n_columns = 10, 8
rng = np.random.default_rng(0)
noise = rng.random((n_rows * n_columns, X.shape[1])) < X.mean(axis=0)
panels = {"data": X[: len(noise)]}
for name, rbm in models.items():
    start = time.perf_counter()
    rbm.fit(X)
    seconds = time.perf_counter() - start
    v = rbm.sample(len(noise), init=noise, n_gibbs_steps=1000, random_state=0)
    panels[name] = rbm.inverse_transform(rbm.transform(v))
    print(
        f"{name:16s} {rbm.n_iter_:3d} epochs in {seconds:6.1f} s; mean pixel: "
        f"data {X.mean():.3f}, samples {v.mean():.3f}",
        flush=True,
    )

figure, axes = plt.subplots(1, len(panels), figsize=(13, 4.6), layout="constrained")
for ax, (name, images) in zip(axes, panels.items(), strict=True):
    tiles = images.reshape(n_rows, n_columns, side, side).transpose(0, 2, 1, 3)
    ax.imshow(tiles.reshape(n_rows * side, n_columns * side), cmap="gray_r", vmin=0, vmax=1)
    ax.set_title(name)
    ax.set_axis_off()
figure.savefig("mnist_generation.png", dpi=100)
print("Saved mnist_generation.png: data, and samples of the three models.")
