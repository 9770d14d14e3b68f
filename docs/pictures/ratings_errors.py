"""Errors of predicted ratings, and the predictions against the hidden ratings."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.impute import KNNImputer

from skrbm import MixedRBMEstimator, RBMImputer

rng = np.random.default_rng(0)
tastes, items = rng.standard_normal((500, 2)), rng.standard_normal((2, 30))
mean, noise = rng.normal(3.3, 0.5, 30), rng.normal(0, 0.6, (500, 30))
ratings = (mean + tastes @ items / 1.4 + noise).round().clip(1, 5)
ratings[rng.random(ratings.shape) > 0.4] = np.nan
hidden = rng.random(ratings.shape) < 0.1 * ~np.isnan(ratings)
seen = np.where(hidden, np.nan, ratings)

table = pd.DataFrame(seen).astype(pd.CategoricalDtype([1, 2, 3, 4, 5], ordered=True))
rbm = MixedRBMEstimator(32)
imputer = RBMImputer(rbm, random_state=0).fit(table)
probabilities = imputer.impute_proba(table).values()
expected = np.stack([p @ [1, 2, 3, 4, 5] for p in probabilities], axis=1)


def factorized(ratings, rank=2, penalty=1.0):
    """Return predictions of a matrix factorization by alternating least squares."""
    known, mean = ~np.isnan(ratings), np.nanmean(ratings, axis=0)
    rest = np.where(known, ratings - mean, 0)
    left, right = np.zeros((len(ratings), rank)), rng.standard_normal((rank, len(mean)))
    ridge = penalty * np.eye(rank)
    for _ in range(20):
        for user, k in enumerate(known):
            a = right[:, k]
            left[user] = np.linalg.solve(a @ a.T + ridge, a @ rest[user, k])
        for item, k in enumerate(known.T):
            a = left[k]
            right[:, item] = np.linalg.solve(a.T @ a + ridge, a.T @ rest[k, item])
    return mean + left @ right


predictions = {
    "means of items": np.broadcast_to(np.nanmean(seen, axis=0), seen.shape),
    "KNNImputer": KNNImputer(n_neighbors=20).fit_transform(seen),
    "RBMImputer": expected,
    "factorization": factorized(seen),
}
errors = {
    name: np.sqrt(np.mean((predicted - ratings)[hidden] ** 2))
    for name, predicted in predictions.items()
}

plt.rcParams["font.size"] = 12
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
bars = left.barh(list(errors), list(errors.values()), color=["0.7", "0.7", "C0", "0.7"])
left.bar_label(bars, fmt="%.2f", padding=2)
left.set(xlim=(0, 1.3), title="Root mean square error")
left.invert_yaxis()
groups = [expected[hidden & (ratings == stars)] for stars in range(1, 6)]
right.boxplot(groups, showfliers=False, medianprops={"color": "C0", "linewidth": 2})
right.set(xlabel="hidden rating", ylabel="expected rating", ylim=(1, 5))
right.set_title("RBMImputer")
plt.show()
