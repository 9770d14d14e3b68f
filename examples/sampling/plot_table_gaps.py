"""
=================================
Filling the gaps of a mixed table
=================================

:class:`~skrbm.RBMImputer` fills the gaps of tables with numbers, categories and ordered
answers, without encoding. This example hides a fifth of the cells of two tables and fills
them in again. It compares the errors with those of scikit-learn's ``IterativeImputer``,
which predicts one column after the other, by linear regression or by trees.
"""

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

from skrbm import RBMImputer

# %%
# Two tables
# ----------
# The first table is a simulated survey. Each person has two traits. Five choices among four
# answers, five answers on a scale and five numbers depend on them. The second table has the
# sizes of tumors and a diagnosis. Radius, perimeter and area are nearly functions of one
# another, and linear ones in logarithms.

rng = np.random.default_rng(0)
traits = rng.standard_normal((1000, 2))
usual = ["never", "rarely", "sometimes", "often", "always"]
columns = {}
for k in range(5):
    utilities = traits @ rng.normal(0, 1.2, (2, 4)) + rng.gumbel(size=(1000, 4))
    columns[f"choice {k}"] = np.array(list("abcd"))[utilities.argmax(axis=1)]
    level = np.digitize(
        traits @ rng.normal(size=2) + rng.normal(0, 0.8, 1000), [-1, 0, 1, 2]
    )
    columns[f"scale {k}"] = pd.Categorical.from_codes(level, usual, ordered=True)
    columns[f"number {k}"] = traits @ rng.normal(size=2) + rng.normal(0, 0.7, 1000)
data = load_breast_cancer(as_frame=True)
tumors = np.log(data.data.iloc[:, :10] + 0.01)
tables = {
    "survey": pd.DataFrame(columns),
    "tumors": tumors.assign(diagnosis=data.target_names[data.target].astype(str)),
}

# %%
# Imputers
# --------
# ``IterativeImputer`` needs numbers. So categories are coded, predicted as if they were
# measurements, and rounded to the nearest code. The imputer warns if its values still
# change in the last round, as they do with trees.

warnings.simplefilter("ignore", ConvergenceWarning)


class Iterative:
    """IterativeImputer for tables, with an estimator of numbers."""

    def __init__(self, estimator=None, max_iter=10):
        self.imputer = IterativeImputer(estimator, max_iter=max_iter, random_state=0)

    def fit_transform(self, table):
        coded = table.copy()
        categories = {}
        for name in table.select_dtypes(exclude="number"):
            x = table[name].astype("category")
            categories[name] = x.cat.categories
            coded[name] = x.cat.codes.where(x.notna())
        filled = pd.DataFrame(
            self.imputer.fit_transform(coded.astype(float)), columns=table.columns
        )
        for name, known in categories.items():
            codes = filled[name].round().clip(0, len(known) - 1)
            filled[name] = known.to_numpy()[codes.astype(int)]
        return filled


imputers = {
    "RBMImputer": RBMImputer(random_state=0),
    "IterativeImputer, linear": Iterative(),
    "IterativeImputer, trees": Iterative(
        ExtraTreesRegressor(50, min_samples_leaf=3, random_state=0), max_iter=4
    ),
}

# %%
# Hidden cells
# ------------
# Two scores: the share of hidden categories and levels that are filled in correctly, and
# the root mean squared error of hidden numbers, in standard deviations.


def scores(truth, filled, hidden):
    """Return the accuracy of categories and the error of numbers, of hidden cells."""
    correct, errors = [], []
    for name, gaps in zip(truth, hidden.T, strict=True):
        x, guess = truth[name][gaps], filled[name][gaps]
        if pd.api.types.is_numeric_dtype(x):
            errors.extend((guess - x) / truth[name].std())
        else:
            correct.extend(guess.astype(str) == x.astype(str))
    return np.mean(correct), np.sqrt(np.mean(np.square(errors)))


results = {}
print(f"{'':36s}accuracy   error   seconds")
for table, truth in tables.items():
    hidden = rng.random(truth.shape) < 0.2
    for name, imputer in imputers.items():
        start = time.perf_counter()
        filled = imputer.fit_transform(truth.mask(hidden))
        seconds = time.perf_counter() - start
        results[table, name] = accuracy, error = scores(truth, filled, hidden)
        print(f"{table:9s}{name:27s}{accuracy:8.3f}{error:8.3f}{seconds:10.1f}")

figure, axes = plt.subplots(2, 2, figsize=(10, 4), layout="constrained", sharey=True)
for row, table in zip(axes, tables, strict=True):
    for ax, k in zip(row, range(2), strict=True):
        values = [results[table, name][k] for name in imputers]
        bars = ax.barh(list(imputers), values, color=["C0", "0.7", "0.7"])
        ax.bar_label(bars, fmt="%.2f", padding=2)
        ax.set(xlim=(0, 1.15 * max(values)))
    row[0].set_title(f"{table}: accuracy of categories", fontsize=10)
    row[1].set_title(f"{table}: error of numbers", fontsize=10)
axes[0, 0].invert_yaxis()
plt.show()

# %%
# In the survey, the joint model is much better at categories, whose codes have no order.
# The numbers are linear functions of the traits, so nothing is much better than linear
# regression. The same holds for the sizes, whose covariance matrix the RBM learns. On
# tables with numbers that are other functions of one another, trees have smaller errors:
# see :doc:`/benchmarks`.
