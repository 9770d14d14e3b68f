"""
======================================
MNIST: the textbook run, then defaults
======================================

Most introductions to restricted Boltzmann machines train one on MNIST, images of
handwritten digits: 784 pixels, 500 hidden units, contrastive divergence with one Gibbs step
(CD-1), minibatches of 64 rows, a learning rate of 0.1 and ten epochs. This example trains
with these settings, and then with the defaults of :class:`~skrbm.BernoulliRBMEstimator`.
In both, each use of a digit draws its gray levels as bits. The first weights and biases are
those of skrbm: normal weights of standard deviation 1/28, and hidden biases of -2.

.. image:: /_static/mnist_digits.png
   :alt: Four grids of digits: real ones, reconstructions by the textbook model, draws of
      the textbook model, most of them short strokes, and draws of the default model, most
      of them legible digits

The textbook model copies digits well, but most of what it draws on its own are strokes. The
default model draws digits.

.. image:: /_static/mnist_loss.png
   :alt: The loss of the textbook run rises from -10 to -1 in ten epochs. Its log-likelihood
      improves until epoch 3, then moves up and down between -104 and -110 nats, far below
      the defaults at -86

It prints ::

    Test log-likelihood in nats     forward   reverse   seconds of training
      textbook                        -103.3    -103.6                     9
      defaults                         -86.2     -85.9                    36
    The defaults are better by 17 nats for each test digit.

The whole run took 88 seconds on two cores of an AMD EPYC with one BLAS thread (100
seconds of processor time). The defaults take four times as long as the textbook run: 9
epochs of smaller minibatches, with three Gibbs steps each.

The example needs data, so it is not run when these pages are built. To run it yourself::

    python examples/sampling/plot_mnist.py

The first run downloads MNIST (about 15 MB) with scikit-learn, which keeps it and needs
pandas to read it. Without a network, pass a file: ``--data mnist.npz``. It may be the file
that Keras distributes. MNIST is by Y. LeCun, C. Cortes and C. J. C. Burges.
"""

# sphinx_gallery_thumbnail_path = '_static/mnist_digits.png'

import argparse
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import fetch_openml

from skrbm import BernoulliRBMEstimator
from skrbm.likelihood import log_partition, mean_log_likelihood

parser = argparse.ArgumentParser(description="MNIST: the textbook run, then defaults.")
parser.add_argument("--data", help="file of MNIST (.npz), instead of a download")
parser.add_argument("--pictures", default=".", help="folder for the pictures")


def read(path):
    """Return training and test digits of a file with the arrays x_train and x_test."""
    with np.load(path) as archive:
        names = {name.lower(): name for name in archive}
        if not {"x_train", "x_test"} <= set(names):
            raise SystemExit(
                f"{path} has no arrays x_train and x_test, but {sorted(names)}."
            )
        return archive[names["x_train"]], archive[names["x_test"]]


def download():
    """Return the same from OpenML, where the last 10000 digits are those for tests."""
    print("Reading MNIST. The first time, it is downloaded ...", flush=True)
    try:
        digits = fetch_openml("mnist_784", version=1, as_frame=False).data
    except OSError as error:
        raise SystemExit(
            f"MNIST could not be downloaded ({error}). Run this again with a network, or "
            "pass a file of it as --data mnist.npz, for example the one of Keras."
        ) from error
    return digits[:60000], digits[60000:]


arguments = parser.parse_args()
X, X_test = (
    (digits.reshape(len(digits), 784) / 255).astype(np.float32)
    for digits in (read(arguments.data) if arguments.data else download())
)
rng = np.random.default_rng(0)
bits, test_bits = (
    (rng.random(rows.shape) < rows).astype(np.float32) for rows in (X[:10000], X_test)
)
print(f"{len(X)} digits for training, {len(X_test)} for tests.\n")

# %%
# The textbook run
# ----------------
# Each call of ``partial_fit`` is an epoch. The loss is the one that tutorials plot: the
# mean free energy of digits minus that of their reconstructions after one Gibbs step. Here
# it is computed after each epoch, from the first 10000 training digits. Next to it is a
# quick estimate of the log-likelihood of the test digits.

textbook = BernoulliRBMEstimator(
    500,
    solver="cd",
    n_gibbs_steps=1,
    batch_size=64,
    learning_rate=0.1,
    schedule="constant",
    weight_decay=0,
    centering=False,
    averaging=False,
    random_state=0,
)
seconds = {"textbook": 0.0}
losses, likelihoods = [], []
print("Textbook run   loss   test log-likelihood in nats")
for epoch in range(1, 11):
    start = time.perf_counter()
    textbook.partial_fit(X[rng.permutation(len(X))])
    seconds["textbook"] += time.perf_counter() - start
    energy = textbook.free_energy(bits).mean()
    reconstructed = textbook.gibbs(bits, random_state=epoch)
    losses.append(energy - textbook.free_energy(reconstructed).mean())
    with warnings.catch_warnings():
        # One of the runs may have nearly all the weight, since the estimate is a quick one.
        warnings.filterwarnings("ignore", "The estimate of log Z is dominated")
        log_z = log_partition(textbook, betas=3000, random_state=0)
    likelihoods.append(mean_log_likelihood(textbook, test_bits, log_partition=log_z))
    print(f"  epoch {epoch:2d}{losses[-1]:10.1f}{likelihoods[-1]:13.0f}", flush=True)

# %%
# The defaults
# ------------
# The defaults are persistent chains, the centered gradient, a learning rate that decreases
# to 0, weight decay and averaged parameters. ``fit`` chooses the values from the data.

start = time.perf_counter()
print("\nTraining with the defaults ...", flush=True)
defaults = BernoulliRBMEstimator(500, random_state=0).fit(X)
seconds["defaults"] = time.perf_counter() - start
print(
    f"  {defaults.n_iter_} epochs, minibatches of {defaults.batch_size}, "
    f"{defaults.n_gibbs_steps_} Gibbs steps, "
    f"a rate of {defaults.learning_rate_:.2f} that decreases to 0"
)

# %%
# Which model is better?
# ----------------------
# The log-likelihood needs log Z, which is estimated in two ways: forward annealed
# importance sampling tends to make the log-likelihood too high, and reverse annealing too
# low. Differences of a few tenths are noise. The gray levels of the test digits are drawn
# as bits once, for both models.

models = {"textbook": textbook, "defaults": defaults}
print("\nTest log-likelihood in nats     forward   reverse   seconds of training")
best = {}
for name, rbm in models.items():
    estimates = []
    for method in ("ais", "reverse_ais"):
        log_z = log_partition(rbm, method=method, random_state=0)
        estimates.append(mean_log_likelihood(rbm, test_bits, log_partition=log_z).value)
    best[name] = min(estimates)
    values = "".join(f"{value:10.1f}" for value in estimates)
    print(f"  {name:28s}{values}{seconds[name]:22.0f}", flush=True)
gain = best["defaults"] - best["textbook"]
print(f"The defaults are better by {gain:.0f} nats for each test digit.")

# %%
# Digits of both models
# ---------------------
# Tutorials often show reconstructions. These start at real digits, so that they say little
# about the model. Here, both models also draw digits from chains that start at noise and
# take 2000 Gibbs steps. The noise has the mean of each pixel. The pictures show the
# probabilities of the pixels.


def shown(rbm, rows):
    """Return the probabilities of pixels given the mean hidden units of rows."""
    return rbm.inverse_transform(rbm.transform(rows))


n_rows, n_columns = 6, 8
n = n_rows * n_columns
noise = (rng.random((n, 784)) < X.mean(axis=0)).astype(np.float32)
draws = {
    name: shown(rbm, rbm.sample(n, init=noise, n_gibbs_steps=2000, random_state=0))
    for name, rbm in models.items()
}
panels = {
    "Real digits\n": X_test[:n],
    "Textbook: real digits\nafter one Gibbs step": shown(textbook, test_bits[:n]),
    "Textbook:\ndrawn from noise": draws["textbook"],
    "Defaults:\ndrawn from noise": draws["defaults"],
}
folder = Path(arguments.pictures)
figure, axes = plt.subplots(1, 4, figsize=(12, 3), layout="constrained")
for ax, (title, images) in zip(axes, panels.items(), strict=True):
    tiles = images.reshape(n_rows, n_columns, 28, 28).transpose(0, 2, 1, 3)
    ax.imshow(tiles.reshape(n_rows * 28, -1), cmap="gray_r", vmin=0, vmax=1)
    ax.set_title(title, fontsize=13)
    ax.set_axis_off()
figure.savefig(folder / "mnist_digits.png", dpi=100)

# %%
# What the loss tells
# -------------------
# A loss near 0 only says that digits and their reconstructions are equally likely on
# average. It compares the model with itself one step away from the data, and cannot see
# what the model does elsewhere.

epochs = np.arange(1, 11)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
left.plot(epochs, losses, "o-")
left.axhline(0, color="0.6", lw=1)
left.set_title("The loss of the textbook run approaches 0")
left.set_ylabel("free energy of digits\nminus reconstructions")
right.plot(epochs, likelihoods, "o-", label="textbook")
right.axhline(best["defaults"], color="C1", label="defaults, after training")
right.set_title("Its model does not keep improving")
right.set_ylabel("test log-likelihood in nats")
right.legend(loc="upper right", bbox_to_anchor=(1, 0.85))
for ax in (left, right):
    ax.set_xlabel("epoch")
    ax.set_xticks(epochs)
figure.savefig(folder / "mnist_loss.png", dpi=100)
print(f"\nPictures: {folder / 'mnist_digits.png'} and {folder / 'mnist_loss.png'}.")
plt.show()
