"""
===========================================
Drawing digits: textbook, and the defaults
===========================================

The run that textbooks describe: 784 visible and 500 hidden units, contrastive divergence
with 1 and with 5 Gibbs steps, minibatches of 64, a learning rate of 0.1, ten epochs, grey
levels drawn as bits at each presentation (only the initial weights and biases are those of
this package). Beside it the defaults of this package:
persistent chains, the centred gradient, a rate that falls, averaged parameters.

Whether a model has learned what digits look like, chains that start at noise will show.
Contrastive divergence only ever looks one or a few steps away from the data, and what lies
beyond is left to chance.

The images are those of MNIST: of ``mnist.npz`` in the folder given by ``--data`` (or by the
variable SKRBM_DATA), else from OpenML, else scikit-learn's small digits take their place.
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
    """Return images as rows of grey levels in [0, 1], and say where they are from."""
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
            source = f"scikit-learn's digits of 8 x 8, as MNIST cannot be had ({error})"
    print(f"{len(X)} images: {source}.")
    return X.astype(np.float32) / 255


parser = argparse.ArgumentParser(description="Draw digits from three machines.")
parser.add_argument("--data", default=os.environ.get("SKRBM_DATA"), help="has mnist.npz")
X = load_images(parser.parse_args().data)
side = int(np.sqrt(X.shape[1]))

# %%
# Three machines
# --------------

textbook = {
    "solver": "cd",
    "batch_size": 64,
    "learning_rate": 0.1,
    "schedule": "constant",
    "n_iter": 10,
    "centering": False,
    "averaging": False,
}
machines = {
    "CD-1, textbook": BernoulliRBMEstimator(500, **textbook, random_state=0),
    "CD-5, textbook": BernoulliRBMEstimator(
        500, n_gibbs_steps=5, **textbook, random_state=0
    ),
    "defaults": BernoulliRBMEstimator(500, random_state=0),
}

# %%
# Chains from noise
# -----------------
# Each chain starts at a row whose pixels are on as often as in the data, but independently,
# and takes a thousand Gibbs steps. Shown are the probabilities of the pixels, given the
# means of the hidden units at the end.

n_rows, n_columns = 10, 8
rng = np.random.default_rng(0)
noise = rng.random((n_rows * n_columns, X.shape[1])) < X.mean(axis=0)
panels = {"data": X[: len(noise)]}
for name, rbm in machines.items():
    start = time.perf_counter()
    rbm.fit(X)
    seconds = time.perf_counter() - start
    v = rbm.sample(len(noise), init=noise, n_gibbs_steps=1000, random_state=0)
    panels[name] = rbm.inverse_transform(rbm.transform(v))
    print(
        f"{name:16s} {rbm.n_iter_:3d} epochs in {seconds:6.1f} s;  of the pixels "
        f"{X.mean():.3f} are on in the data, {v.mean():.3f} in the samples",
        flush=True,
    )

figure, axes = plt.subplots(1, len(panels), figsize=(13, 4.6), layout="constrained")
for ax, (name, images) in zip(axes, panels.items(), strict=True):
    tiles = images.reshape(n_rows, n_columns, side, side).transpose(0, 2, 1, 3)
    ax.imshow(tiles.reshape(n_rows * side, n_columns * side), cmap="gray_r", vmin=0, vmax=1)
    ax.set_title(name)
    ax.set_axis_off()
figure.savefig("mnist_generation.png", dpi=100)
print("The picture is in mnist_generation.png: data, and samples of the three machines.")
