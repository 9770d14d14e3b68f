"""Draw the table "anytime" of the results as curves of quality against time.

    python benchmarks/picture.py [FILE]

Without FILE, the picture is that of the README, ``docs/_static/anytime.png``. At each time,
a curve shows the best model of a package whose training has ended by then. It ends with the
longest training.
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

FOLDER = Path(__file__).parent
PICTURE = FOLDER.parent / "docs" / "_static" / "anytime.png"
COLORS = {
    "skrbm": "tab:red",
    "torch": "tab:blue",
    "rbms": "tab:green",
    "BernoulliRBM": "tab:gray",
}


def best_so_far(rows):
    """Return times, and the log-likelihood of the best model by each of them.

    Of both estimates of a log-likelihood, the lower one counts.
    """
    times, values = [], []
    for row in sorted(rows, key=lambda row: row["seconds"]):
        value = min(row["log_likelihood"], row.get("reverse", row["log_likelihood"]))
        if not values or value > values[-1]:
            times.append(row["seconds"])
            values.append(value)
    return times, values


@plt.rc_context({"font.size": 9})
def draw(rows, path):
    """Draw the curves of all packages, the first data set larger than the others."""
    titles = list(dict.fromkeys(row["data"] for row in rows))
    figure = plt.figure(figsize=(7.5, 4.2), layout="constrained")
    grid = figure.add_gridspec(max(1, len(titles) - 1), 5)
    places = [grid[:, :3], *(grid[i, 3:] for i in range(len(titles) - 1))]
    for title, place in zip(titles, places, strict=True):
        ax = figure.add_subplot(place)
        here = [row for row in rows if row["data"] == title]
        seconds = [row["seconds"] for row in here]
        for package, color in COLORS.items():
            times, values = best_so_far(row for row in here if row["package"] == package)
            if times:
                longest = max(row["seconds"] for row in here if row["package"] == package)
                times, values = [*times, longest], [*values, values[-1]]
                ax.step(times, values, where="post", color=color, label=package)
                ax.plot(times, values, ".", color=color)
            if package == "skrbm":  # models far below its first one are not shown
                ax.set_ylim(bottom=values[-1] - 1.6 * (values[-1] - values[0]))
        ax.set(xscale="log", xlim=(min(seconds) / 1.3, 1.3 * max(seconds)), title=title)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.grid(color="0.9")
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4
    )
    figure.axes[0].set_ylabel("mean test log-likelihood, nats (higher is better)")
    figure.supxlabel("seconds of training in one thread (log scale)", fontsize="medium")
    figure.savefig(path, dpi=160)


if __name__ == "__main__":
    results = json.loads((FOLDER / "results.json").read_text())
    draw(results["anytime"]["rows"], *sys.argv[1:] or [PICTURE])
