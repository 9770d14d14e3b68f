"""Scores of cars with and without a wrong cell, and of the cells of some cars."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skrbm import MixedRBMEstimator

rng = np.random.default_rng(0)
kind, age = rng.integers(3, size=1500), rng.uniform(0, 12, 1500)
price = np.array([15, 30, 60])[kind] * 0.87**age * rng.lognormal(0, 0.1, 1500)
cars = pd.DataFrame(
    {
        "kind": np.array(["small", "family", "sports"])[kind],
        "seats": np.array(["four", "five", "two"])[kind],
        "diesel": rng.random(1500) < np.array([0.1, 0.8, 0.05])[kind],
        "age": age,
        "log_price": np.log10(price),
    }
)
rbm = MixedRBMEstimator(n_components=8, random_state=0).fit(cars[:1000])
normal = cars[1000:].reset_index(drop=True)
wrong, other = normal.copy(), normal.sample(frac=1, random_state=0).reset_index(drop=True)
column = rng.integers(5, size=500)
for k, name in enumerate(cars):
    wrong[name] = wrong[name].where(column != k, other[name])
is_changed = (wrong != normal).any(axis=1).to_numpy()
wrong, column = wrong[is_changed], column[is_changed]

cells, of_normal = rbm.score_cells(wrong), rbm.score_cells(normal)
threshold = np.quantile(of_normal.sum(axis=1), 0.02)

plt.rcParams["font.size"] = 12
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
bins = np.linspace(-30, 0, 31)
for scores, label in ((of_normal, "normal"), (cells, "a wrong cell")):
    left.hist(scores.sum(axis=1).clip(-30), bins, alpha=0.6, label=label)
left.axvline(threshold, color="k", ls="--", label="threshold")
left.set(xlabel="score, nats", ylabel="cars", title="Rows", yscale="log")
left.legend()

some = slice(0, 8)
image = right.imshow(cells[some], cmap="inferno", vmin=-12, vmax=0, aspect="auto")
for row, k in enumerate(column[some]):
    frame = plt.Rectangle((k - 0.45, row - 0.42), 0.9, 0.84, fill=False, ec="C0", lw=2.5)
    right.add_patch(frame)
right.set(title="Cells (frames: wrong)", yticks=[], ylabel="cars")
right.set_xticks(range(5), ["kind", "seats", "diesel", "age", "price"], rotation=30)
figure.colorbar(image, label="score, nats")
plt.show()
