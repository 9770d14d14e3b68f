"""A restricted Boltzmann machine: columns below, hidden units above, weights between."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

columns = ["bread", "butter", "jam", "milk", "crisps", "beer", "wine"]
row = np.array([1, 1, 0, 1, 0, 0, 0])
weights = np.array(
    [
        [1.5, 2.6, 2.2, 0.9, -0.4, -1.0, -0.3],
        [-0.3, -0.9, 0.3, 2.2, 1.6, -1.5, -0.9],
        [-0.5, -0.4, -1.0, -1.3, 2.2, 2.6, 1.7],
    ]
)
biases = np.array([-2.0, -1.5, -2.0])
probabilities = 1 / (1 + np.exp(-(weights @ row + biases)))

blue, red, dark = "#2166ac", "#d6604d", "#222222"
lower = [(x, 0.0) for x in np.linspace(0, 9, len(columns))]
upper = [(x, 2.6) for x in (1.6, 4.5, 7.4)]

figure, axes = plt.subplots(figsize=(7.5, 4.3), layout="constrained")
for j, (x_hidden, y_hidden) in enumerate(upper):
    for i, (x_visible, y_visible) in enumerate(lower):
        weight = weights[j, i]
        axes.plot(
            [x_visible, x_hidden],
            [y_visible, y_hidden],
            color=blue if weight > 0 else red,
            linewidth=2.6 * abs(weight),
            alpha=min(1, 0.25 + 0.3 * abs(weight)),
            solid_capstyle="butt",
            zorder=1,
        )


def draw_unit(place, share, text, radius):
    """Draw a unit, the darker the more probable it is to be on."""
    color = tuple(1 - share * (1 - np.array([0.20, 0.30, 0.42])))
    axes.add_patch(
        plt.Circle(place, radius, facecolor=color, edgecolor=dark, linewidth=1.6, zorder=2)
    )
    axes.text(
        *place,
        text,
        ha="center",
        va="center",
        fontsize=13,
        color="white" if share > 0.5 else dark,
        zorder=3,
    )


for place, value, column in zip(lower, row, columns, strict=True):
    draw_unit(place, value, str(value), 0.4)
    axes.text(place[0], -0.6, column, ha="center", va="top", fontsize=14, color=dark)
for place, share in zip(upper, probabilities, strict=True):
    draw_unit(place, share, f"{share:.2f}", 0.5)

axes.text(4.5, 3.35, "Hidden units: how likely each is on", ha="center", fontsize=14)
axes.text(4.5, -1.6, "Visible units: a row of the table", ha="center", fontsize=14)
axes.legend(
    [Line2D([], [], color=color, linewidth=4) for color in (blue, red)],
    ["positive weight: on together", "negative weight: one or the other"],
    loc="upper center",
    bbox_to_anchor=(0.5, 0.1),
    ncols=2,
    frameon=False,
    fontsize=12,
    columnspacing=1.5,
)
axes.set_xlim(-0.8, 9.8)
axes.set_ylim(-2.3, 3.75)
axes.set_aspect("equal")
axes.set_axis_off()
plt.show()
