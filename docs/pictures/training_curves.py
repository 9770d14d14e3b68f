"""Scores of held-out digits, by the length of a training and by the hidden units."""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skrbm import BernoulliRBMEstimator

X = (load_digits().data > 7).astype(np.float32)
X_train, X_test = train_test_split(X, train_size=200, test_size=400, random_state=0)

# A stream, of which the number of rows is unknown, has no weight decay.
epochs = [1, 2, 3, 5, 8, 13, 20, 32, 50, 80, 120, 180, 270, 400]
stream = BernoulliRBMEstimator(64, random_state=0)
of_train, of_test = [], []
for epoch in range(1, epochs[-1] + 1):
    stream.partial_fit(X_train)
    if epoch in epochs:
        of_train.append(stream.score(X_train))
        of_test.append(stream.score(X_test))

sizes = [1, 4, 16, 64, 128]
by_size = [
    BernoulliRBMEstimator(n, random_state=0).fit(X_train).score(X_test) for n in sizes
]

plt.rcParams["font.size"] = 13
figure, (left, right) = plt.subplots(
    1, 2, figsize=(9, 4.2), sharey=True, layout="constrained", width_ratios=[1.3, 1]
)
default = by_size[sizes.index(64)]
left.axvspan(1, 25, color="C0", alpha=0.08, linewidth=0)
left.axvspan(150, 400, color="C3", alpha=0.08, linewidth=0)
left.axhline(default, color="C1", linestyle="--", linewidth=2)
left.plot(epochs, of_train, ":", color="C0", linewidth=2.5)
left.plot(epochs, of_test, color="C0", linewidth=2.5)
left.text(1.3, default + 0.3, "held-out rows, defaults", color="C1")
left.text(32, -10.2, "training\nrows", color="C0", ha="center")
left.text(1.2, -23, "held-out\nrows", color="C0")
for x, text in ((5, "too short"), (60, "right"), (246, "too\nlong")):
    left.text(x, 0, text, ha="center", va="top")
left.set_xscale("log")
left.set_xlim(1, 400)
left.set_xticks([1, 10, 100], ["1", "10", "100"])
left.minorticks_off()
left.set_ylim(-27, 0.5)
left.set_xlabel("epochs")
left.set_ylabel("score, nats a row")
left.set_title("Training without weight decay")

right.plot(sizes, by_size, "o-", color="C1", linewidth=2.5)
right.set_xscale("log")
right.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"])
right.minorticks_off()
right.set_xlabel("n_components")
right.set_title("The defaults, held-out rows")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
plt.show()
