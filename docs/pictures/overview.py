"""The picture of the front page: a table filled in and checked, and digits drawn.

``python docs/pictures/overview.py --save docs/_static/overview.png`` is for the README.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from skrbm import BernoulliRBMEstimator, MixedRBMEstimator, RBMImputer
from skrbm.sampling import sample_conditional


def make_table(rng, n_rows):
    """Return where people live, how they go to work, how long it takes, if they like it."""
    home = rng.choice(["country", "suburb", "town"], n_rows)
    usual = {"country": "car", "suburb": "train", "town": "bike"}
    minutes = rng.normal([{"country": 50, "suburb": 35, "town": 20}[at] for at in home], 3)
    commute = [usual[at] if rng.random() < 0.95 else "car" for at in home]
    liked = np.where(rng.random(n_rows) < np.where(minutes < 30, 0.9, 0.1), "yes", "no")
    columns = {"home": home, "commute": commute, "minutes": minutes, "liked": liked}
    return pd.DataFrame(columns)


def show_table(ax):
    """Draw rows: cells that were missing are blue, the one that fits worst is red."""
    rng = np.random.default_rng(2)
    table = make_table(rng, 1000)
    table.loc[4, ["home", "commute", "minutes"]] = ["town", "train", 36.0]
    missing = rng.random(table.shape) < 0.12
    missing[:7] = False
    missing[[0, 1, 2, 3, 5, 6], [1, 2, 3, 0, 1, 2]] = True
    rbm = MixedRBMEstimator(n_components=8, n_iter=60, random_state=0)
    imputer = RBMImputer(rbm, random_state=0).fit(table.mask(missing))
    rows = table.mask(missing)[:7]
    filled, proba = imputer.transform(rows), imputer.impute_proba(rows)
    std = imputer.rbm_.conditional_proba(rows, "minutes")[1]
    cells = filled.assign(minutes=[f"{value:.0f}" for value in filled["minutes"]])
    cells = cells.to_numpy(dtype=object)
    colors = np.full(cells.shape, "0.25", dtype=object)
    for i, j in np.argwhere(missing[:7]):
        name = table.columns[j]
        sure = f"± {std[i]:.0f}" if name == "minutes" else f"{proba[name][i].max():.0%}"
        cells[i, j] += f" {sure}"
        colors[i, j] = "#1f77b4"
    scores = imputer.rbm_.score_cells(filled)
    colors[np.unravel_index(scores.argmin(), scores.shape)] = "#d62728"
    drawn = ax.table(cells, colLabels=table.columns, cellLoc="center", bbox=[0, 0, 1, 1])
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(12)
    for (i, _), cell in drawn.get_celld().items():
        cell.set_edgecolor("0.85")
        cell.set_text_props(weight="bold" if i == 0 else "normal")
    for (i, j), color in np.ndenumerate(colors):
        weight = "normal" if color == "0.25" else "bold"
        drawn[i + 1, j].set_text_props(color=color, weight=weight)


def show_digits(ax):
    """Draw lower halves given the upper ones, and new digits."""
    X = (load_digits().data / 16).astype(np.float32)
    rbm = BernoulliRBMEstimator(200, random_state=0).fit(X[:1500])
    upper, known = X[1500:1507].copy(), (X[1500:1507] > 0.5).astype(np.float32)
    known[:, 32:] = np.nan
    whole = sample_conditional(rbm, known, output="probabilities", random_state=0)
    whole[:, :32], upper[:, 32:] = upper[:, :32], 0
    drawn = rbm.inverse_transform(rbm.transform(rbm.sample(7, random_state=0)))
    images = np.concatenate([upper, whole, drawn]).reshape(21, 8, 8)
    tiles = np.pad(images, ((0, 0), (1, 1), (1, 1))).reshape(3, 7, 10, 10)
    ax.imshow(tiles.transpose(0, 2, 1, 3).reshape(30, 70), cmap="gray_r", vmin=0, vmax=1)
    ax.hlines([9.5, 19.5], -0.5, 69.5, color="0.85")
    ax.set_xticks([])
    ax.set_yticks([5, 15, 25], ["upper half", "filled in", "new"])
    ax.tick_params(length=0)
    ax.spines[:].set_color("0.85")


figure, (left, right) = plt.subplots(1, 2, figsize=(12, 2.9), layout="constrained")
left.set_axis_off()
show_table(left)
left.set_title("A table: gaps filled in (blue), and a cell that does not fit (red)")
show_digits(right)
right.set_title("Images: lower halves filled in, and new digits")
if sys.argv[1:2] == ["--save"]:
    figure.savefig(sys.argv[2], dpi=100)
