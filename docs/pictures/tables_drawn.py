"""Distributions of the columns of a table, and of rows drawn from a model of it."""

import matplotlib.pyplot as plt
import numpy as np
from commuters import make_table

from skrbm import MixedRBMEstimator

table = make_table(np.random.default_rng(0), 1500)
rbm = MixedRBMEstimator(n_components=8, random_state=0).fit(table[:1000])
drawn = rbm.sample(1500, random_state=0)

homes = ["town", "suburb", "country"]
colors = dict(zip(homes, ["C0", "C1", "C2"], strict=True))
plt.rcParams["font.size"] = 12
figure, axes = plt.subplots(1, 3, figsize=(8, 3.2), layout="constrained")
bins = np.arange(5, 66, 3)
for home in homes:
    for rows, style in ((drawn, {"alpha": 0.4}), (table, {"histtype": "step", "lw": 2})):
        x = rows["minutes"][rows["home"] == home]
        axes[0].hist(x, bins, color=colors[home], label=home, **style)
axes[0].set(title="minutes", ylabel="rows")

for ax, column, order in (
    (axes[1], "commute", ["bike", "train", "car"]),
    (axes[2], "liked", ["yes", "so-so", "no"]),
):
    for i, home in enumerate(homes):
        for rows, style in ((drawn, {"alpha": 0.4}), (table, {"fill": False, "lw": 2})):
            counts = rows[column][rows["home"] == home].value_counts()
            heights = [counts.get(value, 0) for value in order]
            at = np.arange(3) + 0.28 * (i - 1)
            ax.bar(at, heights, 0.25, color=colors[home], edgecolor=colors[home], **style)
    ax.set(title=column, xticks=range(3), xticklabels=order)
handles = [plt.Rectangle((0, 0), 1, 1, color=color) for color in colors.values()]
figure.legend(handles, homes, loc="outside lower center", ncols=3, frameon=False)
plt.show()
