"""
=======================
Drawing rows of a table
=======================

:class:`~skrbm.MixedRBMEstimator` draws new rows of a table, with its columns, dtypes and
categories. Are they good? This example asks two questions. Does a classifier learn as much
from drawn rows as from real ones? And can a classifier tell drawn rows from real ones? The
table has 13 measurements of wines and their cultivar.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict, train_test_split

from skrbm import MixedRBMEstimator

data = load_wine(as_frame=True)
table = data.data.assign(cultivar=data.target_names[data.target].astype(str))
train, test = train_test_split(table, test_size=0.5, random_state=0)

# %%
# Rows
# ----
# For comparison, other rows are made of values that are drawn from each column of the
# training table independently.

rbm = MixedRBMEstimator(32, random_state=0).fit(train)
rng = np.random.default_rng(0)
drawn = {
    "drawn by RBM": rbm.sample(1000, random_state=0),
    "independent columns": train.apply(lambda column: rng.choice(column, 1000)),
}
print(drawn["drawn by RBM"].iloc[:5, [0, 1, 12, 13]].round(1))

# %%
# What they are good for
# ----------------------
# First, trees learn the cultivar from drawn rows, and predict the cultivar of real wines
# that the RBM has not seen. Second, other trees try to tell drawn rows from these real
# ones. If they cannot, the area under the ROC curve is 0.5.

trees = ExtraTreesClassifier(300, min_samples_leaf=3, random_state=0)


def accuracy(rows):
    """Return the accuracy on real rows of trees that learned from other rows."""
    trees.fit(rows.drop(columns="cultivar"), rows["cultivar"])
    return trees.score(test.drop(columns="cultivar"), test["cultivar"])


def detection(rows):
    """Return how well trees tell rows from as many real ones."""
    both = pd.get_dummies(pd.concat([test, rows[: len(test)]]))
    is_drawn = np.repeat([0, 1], len(test))
    p = cross_val_predict(trees, both, is_drawn, cv=5, method="predict_proba")
    return roc_auc_score(is_drawn, p[:, 1])


print(f"{'':22s}accuracy   ROC AUC")
for name, rows in {"training rows": train, **drawn}.items():
    print(f"{name:22s}{accuracy(rows):8.3f}{detection(rows):10.3f}")

# %%
# Columns together
# ----------------
# The cultivar of a drawn wine fits its measurements. Without the dependence between
# columns, it does not.

x, y = "flavanoids", "color_intensity"
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharex=True, sharey=True)
figure.set_layout_engine("constrained")
for ax, (name, rows) in zip(axes, {"real rows": table, **drawn}.items(), strict=True):
    for cultivar, wines in rows[: len(table)].groupby("cultivar"):
        ax.scatter(wines[x], wines[y], s=9, label=cultivar)
    ax.set(title=name, xlabel=x)
axes[0].set_ylabel(y)
axes[0].legend(title="cultivar")
plt.show()
