"""
=================================
A table of numbers and categories
=================================

:class:`~skrbm.MixedRBMEstimator` models all columns of a table together. This example uses
its hidden units as features, and its density to find wrong entries. Numbers are modeled as
they are, and as the levels of ``KBinsDiscretizer``.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler

from skrbm import MixedRBMEstimator

data = load_breast_cancer(as_frame=True)
table = data.data.iloc[:, :10]  # the means of ten measurements of each tumour
table = np.log(table + 0.01)  # sizes vary by factors
table = table.assign(diagnosis=data.target_names[data.target])
print(table.iloc[:3, [0, 1, 2, -1]])

# %%
# Features for a classifier
# -------------------------
# The RBM takes the table as it is. All steps are fitted on the training rows of each fold
# only.

X, y = table.drop(columns="diagnosis"), table["diagnosis"]
rbm = MixedRBMEstimator(50, n_iter=100, random_state=0)
levels = KBinsDiscretizer(5, encode="ordinal").set_output(transform="pandas")
of_levels = clone(rbm).set_params(feature_types=dict.fromkeys(X, "ordinal"))
classifier = LogisticRegression(max_iter=2000)
pipelines = {
    "numbers": make_pipeline(StandardScaler(), classifier),
    "RBM of numbers": make_pipeline(rbm, classifier),
    "RBM of levels": make_pipeline(levels, of_levels, classifier),
}
print("cross-validated accuracy")
for name, pipeline in pipelines.items():
    scores = cross_val_score(pipeline, X, y, cv=3)
    print(f"  {name:15s}{scores.mean():.3f} +- {scores.std():.3f}")

# %%
# This diagnosis is close to a linear function of the numbers, and a linear classifier needs
# no other features. What the RBM adds to such a table is a model of all its columns.
#
# Wrong entries
# -------------
# In each row of a copy of the test table, one entry is replaced by that of another row, so
# that each entry alone remains plausible. Do the changed rows get a lower density than the
# intact ones? The area under the ROC curve is the probability that a changed row is found
# more anomalous than an intact one. It cannot come near 1, since many of the changes are
# small.

train, test = train_test_split(table, test_size=0.4, random_state=0)
rng = np.random.default_rng(0)
other = test.iloc[rng.permutation(len(test))].set_index(test.index)
change = rng.integers(table.shape[1], size=(len(test), 1)) == np.arange(table.shape[1])
changed = test.mask(change, other)

levels.fit(train[list(X)])


def in_levels(table):
    """Return the table with the levels of its numbers."""
    return levels.transform(table[list(X)]).assign(diagnosis=table["diagnosis"])


one_hot = OneHotEncoder(sparse_output=False), make_column_selector(dtype_exclude="number")
to_numbers = make_column_transformer(one_hot, remainder=StandardScaler())
rows = to_numbers.fit_transform(train)
rbm.fit(train)
of_levels.fit(in_levels(train))
forest = IsolationForest(random_state=0).fit(rows)
neighbors = LocalOutlierFactor(novelty=True).fit(rows)
detectors = {
    "RBM of numbers": rbm.free_energy,
    "RBM of levels": lambda table: of_levels.free_energy(in_levels(table)),
    "LocalOutlierFactor": lambda table: (
        -neighbors.score_samples(to_numbers.transform(table))
    ),
    "IsolationForest": lambda table: -forest.score_samples(to_numbers.transform(table)),
}
areas = {
    name: roc_auc_score(
        np.repeat([0, 1], len(test)), np.concatenate([detector(test), detector(changed)])
    )
    for name, detector in detectors.items()
}

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
energies = [detectors["RBM of levels"](rows) for rows in (test, changed)]
left.hist(energies, bins=30, histtype="step", label=["intact", "one entry changed"])
left.set(xlabel="free energy, nats (RBM of levels)", ylabel="rows of the test table")
left.legend()
bars = right.barh(list(areas), list(areas.values()), color=["C0", "C0", "0.7", "0.7"])
right.bar_label(bars, fmt="%.2f", padding=2)
right.axvline(0.5, color="k", linestyle=":")
right.set(xlim=(0.45, 0.8), xlabel="area under the ROC curve (dotted: chance)")
right.invert_yaxis()
plt.show()

# %%
# Radius, perimeter and area are nearly functions of one another. Numbers with independent
# noise are a poor model of that, and levels a better one here. They also need no
# logarithms. Each changed entry is a usual value in an unusual place. Extreme values are
# usual levels, if levels hold equally many rows, and are found by models of numbers only.
