"""Contours of models of two tables of clusters, by which to choose between them."""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.mixture import GaussianMixture

from skrbm import GaussianRBMEstimator

rng = np.random.default_rng(0)
centers = np.repeat([[-4.0, -2.5], [4.0, -2.5], [0.0, 4.0]], 300, axis=0)
spread = np.repeat([[2.0, 0.3], [0.4, 1.8], [1.4, 0.3]], 300, axis=0)
noise = rng.normal(size=(900, 2))
alike, different = centers + noise, centers + noise * spread
rbm = GaussianRBMEstimator(n_components=8, random_state=0)
mixture = GaussianMixture(n_components=3, random_state=0)
panels = [
    ("Equal shapes:\nthe RBM fits", alike, rbm),
    ("Unequal shapes:\nit is too wide", different, rbm),
    ("Unequal shapes:\na mixture fits", different, mixture),
]

plt.rcParams["font.size"] = 17
x, y = np.meshgrid(np.linspace(-9, 9, 90), np.linspace(-7, 8, 90))
grid = np.column_stack([x.ravel(), y.ravel()])
figure, axes = plt.subplots(
    1, 3, figsize=(8, 3.6), sharex=True, sharey=True, layout="constrained"
)
for ax, (title, X, model) in zip(axes, panels, strict=True):
    train, test = X[::2], X[1::2]
    density = model.fit(train).score_samples(grid).reshape(x.shape)
    ax.scatter(*train.T, s=5, color="0.6")
    levels = np.quantile(model.score_samples(train), [0.05, 0.4, 0.8])
    ax.contour(x, y, density, levels=levels, colors="C0", linestyles="solid")
    ax.set_title(title, fontsize=17)
    ax.set_xlabel(f"{model.score(test):.1f} nats a row")
    ax.set(xticks=[], yticks=[])
plt.show()
