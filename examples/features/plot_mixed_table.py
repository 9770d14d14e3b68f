"""
=================================
A table of numbers and categories
=================================

Most tables are not binary. This example turns one with numbers and a category into binary
columns, with scikit-learn's own transformers: ``KBinsDiscretizer`` gives each bin of a
number a column, and ``OneHotEncoder`` each category. For numbers only, consider
:class:`~skrbm.GaussianRBMEstimator`, which needs no bins.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler

from skrbm import BernoulliRBMEstimator

data = load_breast_cancer(as_frame=True)
table = data.data.iloc[:, :10]  # the means of ten measurements of each tumour
table = table.assign(diagnosis=data.target_names[data.target])
print(table.iloc[:3, [0, 1, 2, -1]])

# %%
# Features for a classifier
# -------------------------
# The pipeline takes the table as it is. All steps, including the bins, are fitted on the
# training rows of each fold only.

numbers = make_column_selector(dtype_include="number")
categories = make_column_selector(dtype_exclude="number")
# float32 trains faster than float64.
bins = KBinsDiscretizer(5, encode="onehot-dense", dtype=np.float32)
one_hot = OneHotEncoder(sparse_output=False, handle_unknown="ignore", dtype=np.float32)
to_binary = make_column_transformer((bins, numbers), (one_hot, categories))
to_numbers = make_column_transformer((StandardScaler(), numbers), (one_hot, categories))
rbm = BernoulliRBMEstimator(50, random_state=0)
classifier = LogisticRegression(max_iter=2000)
X, y = table.drop(columns="diagnosis"), table["diagnosis"]
pipelines = {
    "numbers": make_pipeline(to_numbers, classifier),
    "bins": make_pipeline(to_binary, classifier),
    "bins and RBM": make_pipeline(to_binary, rbm, classifier),
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

binary, rows = to_binary.fit(train), to_numbers.fit(train)
rbm.fit(binary.transform(train))
forest = IsolationForest(random_state=0).fit(rows.transform(train))
neighbors = LocalOutlierFactor(novelty=True).fit(rows.transform(train))
detectors = {
    "RBM, free energy": lambda table: rbm.free_energy(binary.transform(table)),
    "LocalOutlierFactor": lambda table: -neighbors.score_samples(rows.transform(table)),
    "IsolationForest": lambda table: -forest.score_samples(rows.transform(table)),
}
areas = {
    name: roc_auc_score(
        np.repeat([0, 1], len(test)), np.concatenate([detector(test), detector(changed)])
    )
    for name, detector in detectors.items()
}

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
energies = [detectors["RBM, free energy"](rows) for rows in (test, changed)]
left.hist(energies, bins=30, histtype="step", label=["intact", "one entry changed"])
left.set(xlabel="free energy, nats", ylabel="rows of the test table")
left.legend()
bars = right.barh(list(areas), list(areas.values()), color=["C0", "0.7", "0.7"])
right.bar_label(bars, fmt="%.2f", padding=2)
right.axvline(0.5, color="k", linestyle=":")
right.set(xlim=(0.45, 0.8), xlabel="area under the ROC curve (dotted: chance)")
right.invert_yaxis()
plt.show()
