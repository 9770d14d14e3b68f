"""
=======================================
Odd rows of a table and their odd cells
=======================================

Which rows of a table do not look like the others, and which of their values is wrong? In
this made-up table of used cars, with categories, levels and numbers, some cars have the
value of another car in one column. Each value alone remains plausible. It can only be
detected by the columns that it depends on.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import RocCurveDisplay
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skrbm import MixedRBMEstimator

rng = np.random.default_rng(0)
n = 3000
kinds = np.array(["small car", "family car", "van", "sports car"])
fuels = np.array(["diesel", "electric", "petrol"])
fuel_of_kind = np.array([[0.1, 0.3, 0.6], [0.4, 0.2, 0.4], [0.9, 0.1, 0], [0, 0.1, 0.9]])
kind, age = rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1]), rng.uniform(0, 15, n)
fuel = (rng.random((n, 1)) > fuel_of_kind[kind].cumsum(axis=1)).sum(axis=1)
distance = rng.lognormal(np.log([10, 18, 30, 8])[kind] + np.log(age + 0.5), 0.3)
new_price = np.array([18, 35, 40, 70])[kind] + 8 * (fuel == 1)
price = new_price * 0.87**age * np.exp(-distance / 400) * rng.lognormal(0, 0.1, n)
owners = (1 + rng.poisson(age / 5)).clip(max=4)
table = pd.DataFrame(
    {
        "kind": kinds[kind],
        "fuel": fuels[fuel],
        "automatic": rng.random(n) < np.where(fuel == 1, 1.0, 0.3),
        "age": age,
        "log km": np.log10(1000 * distance),
        "log price": np.log10(1000 * price),
        "owners": pd.Categorical(owners, ordered=True),
    }
)
print(table.head(3).round(2))

# %%
# Wrong values
# ------------
# In every other test row, one value is replaced by a different value of the same column.
# Replaced numbers differ by at least half of a standard deviation.

train, test = table[:2000], table[2000:].reset_index(drop=True)
least = table.select_dtypes("float").std() / 2
wrong_column = np.full(len(test), -1)
for row in range(0, len(test), 2):
    while wrong_column[row] < 0:
        column, other = rng.integers(test.shape[1]), rng.integers(len(table))
        name, old = test.columns[column], test.iat[row, column]
        new = table.iat[other, column]
        if abs(new - old) > least[name] if name in least else new != old:
            test.iat[row, column], wrong_column[row] = new, column
is_wrong = wrong_column >= 0

# %%
# Detection of rows
# -----------------
# The score of a cell compares its probability, given all other cells, with that of the most
# probable value. The sum over the columns is the score of a row. A row is suspicious if its
# score is below those of 98 % of the training rows.

rbm = MixedRBMEstimator(random_state=0).fit(train)
threshold = np.quantile(rbm.score_cells(train).sum(axis=1), 0.02)
suspicious = rbm.score_cells(test).sum(axis=1) < threshold

print(f"suspicious: {suspicious[is_wrong].mean():.0%} of the rows with a wrong value,")
print(f"            {suspicious[~is_wrong].mean():.0%} of the others")

# %%
# An isolation forest splits single columns, and barely sees how columns depend on each
# other.

encoder = make_column_transformer(
    (StandardScaler(), make_column_selector(dtype_include="float")),
    remainder=OneHotEncoder(sparse_output=False),
)
forest = make_pipeline(encoder, IsolationForest(random_state=0)).fit(train)
cells = rbm.score_cells(test)
detectors = {
    "sum of score_cells": cells.sum(axis=1),
    "score_samples": rbm.score_samples(test),
    "IsolationForest": forest.score_samples(test),
}
_, ax = plt.subplots(layout="constrained")
for name, scores in detectors.items():
    RocCurveDisplay.from_predictions(is_wrong, -scores, name=name, ax=ax)
ax.plot([0, 1], [0, 1], "k:")
ax.set(title="Rows with a wrong value")
plt.show()

# %%
# The odd cells
# -------------
# The cell with the lowest score is the odd one. Naming fails if a wrong value is as
# plausible as the right one, given the other cells.

named = np.nanargmin(cells[is_wrong], axis=1) == wrong_column[is_wrong]
found = named[suspicious[is_wrong]]
print(f"named: {named.mean():.0%} of the wrong values,")
print(f"       {found.mean():.0%} in suspicious rows")

# %%
# What should be there? ``conditional_proba`` gives the distribution of a column, given the
# others.

for row in cells.sum(axis=1).argsort()[:5]:
    name = test.columns[np.nanargmin(cells[row])]
    expected = rbm.conditional_proba(test.iloc[[row]], name)
    if rbm.feature_types_[name] == "real":
        expected = f"{expected.mean[0]:.2f} +- {expected.std[0]:.2f}"
    else:
        expected = rbm.categories_[name][expected[0].argmax()]
    print(test.iloc[[row]].round(2).to_string())
    print(f"{name}: expected {expected}\n")
