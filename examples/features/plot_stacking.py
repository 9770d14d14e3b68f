"""
=====================
A deep belief network
=====================

A deep belief network (Hinton, Osindero and Teh, 2006) is a stack of RBMs. Each one is
trained on the hidden units of the one below, so a `Pipeline` of two RBMs is such a network.
`transform` computes features. To draw rows, run chains of the second RBM, and let the first
one convert their states to pixels.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline

from skrbm import BernoulliRBMEstimator

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    (X / 16).astype(np.float32), y, test_size=0.4, stratify=y, random_state=0
)

first = BernoulliRBMEstimator(200, learning_rate=0.4, random_state=0)
second = BernoulliRBMEstimator(200, learning_rate=0.4, random_state=1)
classifier = LogisticRegression(C=10, max_iter=3000)

# %%
# Features
# --------
# Train a linear classifier on pixels, on the hidden units of the first RBM, and on those of
# the second.

stacks = {
    "pixels": [],
    "one RBM": [("first", first)],
    "two RBMs": [("first", first), ("second", second)],
}
for name, steps in stacks.items():
    pipeline = Pipeline([*steps, ("classifier", classifier)]).fit(X_train, y_train)
    print(f"{name:15s}{pipeline.score(X_test, y_test):.3f}")

# %%
# One layer is enough for the classifier on such a small data set. The second layer improves
# the samples.
#
# Samples
# -------
# The steps before the classifier are a fitted `Pipeline`, too. The `inverse_transform` of
# its first step converts hidden units to pixels.

stack = pipeline[:-1]
top = stack["second"].sample(60, n_gibbs_steps=1000, random_state=0)
deep = stack[:-1].inverse_transform(top)
flat = stack["first"].sample(60, n_gibbs_steps=1000, output="probabilities", random_state=0)

panels = {"data": X_train[:60], "one RBM": flat, "two RBMs": deep}
figure, axes = plt.subplots(1, 3, figsize=(9, 5), layout="constrained")
for ax, (name, images) in zip(axes, panels.items(), strict=True):
    tiles = np.pad(images.reshape(10, 6, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)))
    ax.imshow(tiles.transpose(0, 2, 1, 3).reshape(100, 60), cmap="gray_r")
    ax.set(title=name, xticks=[], yticks=[])
plt.show()
