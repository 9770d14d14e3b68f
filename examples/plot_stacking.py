"""
=====================
A deep belief network
=====================

Two machines in a pipeline, the second trained on the hidden units of the first: a deep
belief network (Hinton, Osindero and Teh, 2006). In `Pipeline` that is two steps. Upwards
it makes features; downwards it draws: chains run in the second machine, and the first one
turns their states into pixels.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
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
# Upwards: features
# -----------------
# A linear classifier on pixels, on the first machine's hidden units, and on the second's.

stacks = {
    "pixels": [],
    "one machine": [("first", first)],
    "two machines": [("first", first), ("second", second)],
}
for name, steps in stacks.items():
    pipeline = Pipeline([*steps, ("classifier", classifier)]).fit(X_train, y_train)
    print(f"{name:15s}{pipeline.score(X_test, y_test):.3f}")

# %%
# On as few and as small digits as these, one layer is enough for the classifier; the second
# shows in what is drawn.
#
# Downwards: draws
# ----------------
# The steps before the last are a `Pipeline` as well, whose `inverse_transform` leads from
# hidden units back to pixels.

stack = clone(Pipeline(stacks["two machines"])).fit(X_train)
top = stack["second"].sample(60, n_gibbs_steps=1000, random_state=0)
deep = stack[:-1].inverse_transform(top)
flat = stack["first"].sample(60, n_gibbs_steps=1000, output="probabilities", random_state=0)

panels = {"data": X_train[:60], "one machine": flat, "two machines": deep}
figure, axes = plt.subplots(1, 3, figsize=(9, 5), layout="constrained")
for ax, (name, images) in zip(axes, panels.items(), strict=True):
    tiles = np.pad(images.reshape(10, 6, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)))
    ax.imshow(tiles.transpose(0, 2, 1, 3).reshape(100, 60), cmap="gray_r")
    ax.set(title=name, xticks=[], yticks=[])
plt.show()
