"""Filled numbers with their deviations, and how often filled categories are right."""

import matplotlib.pyplot as plt
import numpy as np
from commuters import make_table

from skrbm import MixedRBMEstimator, RBMImputer

rng = np.random.default_rng(0)
truth = make_table(rng, 2000).drop(columns="garden")
missing = rng.random(truth.shape) < 0.2
table = truth.mask(missing)
rbm = MixedRBMEstimator(n_components=16)
imputer = RBMImputer(rbm, random_state=0).fit(table)
rbm = imputer.rbm_

plt.rcParams["font.size"] = 12
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")

mean, std = rbm.conditional_proba(table, "minutes")
gaps = missing[:, 2]
x, mean, std = truth["minutes"][gaps].to_numpy(), mean[gaps], std[gaps]
reached = np.abs(x - mean) < std
some = slice(0, 60)
style = {"fmt": "o", "ms": 3, "lw": 1}
for ok, color in ((True, "C0"), (False, "C1")):
    k = np.flatnonzero(reached[some] == ok)
    left.errorbar(x[k], mean[k], std[k], color=color, **style)
left.axline((35, 35), slope=1, color="k", lw=1)
left.set(xlabel="hidden value of minutes", ylabel="mean given the row")
left.set_title(f"{reached.mean():.0%} of the bars reach the line")

certainty, right_ones = [], []
for name, p in imputer.impute_proba(table).items():
    gaps = missing[:, list(truth).index(name)]
    guess = rbm.categories_[name][p[gaps].argmax(axis=1)]
    certainty.append(p[gaps].max(axis=1))
    right_ones.append(guess == truth[name][gaps].to_numpy())
certainty, right_ones = np.concatenate(certainty), np.concatenate(right_ones)
edges = np.array([0.3, 0.5, 0.65, 0.8, 0.9, 1.001])
group = np.digitize(certainty, edges)
for k in np.unique(group):
    inside = group == k
    n, share = inside.sum(), right_ones[inside].mean()
    error = np.sqrt(share * (1 - share) / n)
    right.errorbar(certainty[inside].mean(), share, error, fmt="o", color="C0")
right.axline((0.5, 0.5), slope=1, color="k", lw=1)
right.set(xlim=(0.35, 1.02), ylim=(0.35, 1.02), xlabel="probability of the filled category")
right.set(ylabel="share that is right")
right.set_title("Probabilities can be trusted")
plt.show()
