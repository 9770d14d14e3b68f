"""Draw the accuracies of features with all labels and with few, from the benchmarks."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

RESULTS = Path("../../benchmarks/results.json")  # the directive runs this in its folder
SHOWN = {
    "digits": {
        "pixels": "pixels",
        "Nystroem": "Nystroem",
        "SVC of the pixels": "SVC",
        "LabelSpreading": "LabelSpreading",
        "BernoulliRBMEstimator": "hidden units",
        "RBMClassifier": "RBMClassifier",
    },
    "20 newsgroups": {
        "binary words": "words",
        "tf-idf": "tf-idf",
        "tf-idf, SVD": "SVD of tf-idf",
        "LabelSpreading": "LabelSpreading",
        "BernoulliRBMEstimator": "hidden units",
        "RBMClassifier": "RBMClassifier",
    },
}
TITLES = {
    "digits": "1257 digits, few = 50",
    "20 newsgroups": "6000 posts, few = 60",
}

table = json.loads(RESULTS.read_text())["features"]["rows"]
plt.rcParams.update({"font.size": 13, "axes.titlesize": 13})
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
for ax, (data, names) in zip(axes, SHOWN.items(), strict=True):
    rows = {row["method"]: row for row in table if row["data"] == data}
    for place, method in enumerate(names):
        row, color = rows[method], "C1" if "RBM" in method else "C0"
        style = {"fmt": "o", "color": color, "markersize": 9}
        ax.errorbar(row["few labels"], place, xerr=row["std of few"], mfc="w", **style)
        ax.errorbar(row["all labels"], place, xerr=row["its std"], **style)
    ax.set_yticks(range(len(names)), names.values())
    ax.set_xlabel("accuracy on other rows")
    ax.set_title(TITLES[data])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="x", alpha=0.4)
handles = [
    Line2D([], [], color="0.3", marker="o", linestyle="", markersize=9, mfc=face)
    for face in ("w", "0.3")
]
names = ["few rows have a label", "all rows have a label"]
figure.legend(handles, names, loc="outside lower center", ncols=2)
plt.show()
