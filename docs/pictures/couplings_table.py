"""Draw associations and couplings of the columns of a table that was made up."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats.contingency import association

from skrbm import MixedRBMEstimator
from skrbm.inspection import effective_couplings

rng = np.random.default_rng(0)
home = rng.choice(["country", "suburb", "town"], 2000)
usual = {"country": "car", "suburb": "train", "town": "bike"}
other = rng.choice(["bike", "car", "train"], 2000)
commute = np.where(rng.random(2000) < 0.7, [usual[at] for at in home], other)
likes = rng.random(2000) < np.where(commute == "bike", 0.9, 0.3)
table = pd.DataFrame({"home": home, "commute": commute, "likes": likes})
shuffled = table.apply(rng.permutation).astype(table.dtypes)


def couplings(rows):
    """Return the strengths of all pairs of columns, by their names."""
    rbm = MixedRBMEstimator(n_components=8, random_state=0).fit(rows)
    strongest = effective_couplings(rbm, rows[:500]).strongest()
    return {(first, second): strength for first, second, strength in strongest}


strengths = couplings(table)
chance = max(map(abs, couplings(shuffled).values()))
pairs = list(strengths)
associations = [association(pd.crosstab(table[a], table[b])) for a, b in pairs]

plt.rcParams.update({"font.size": 13, "axes.titlesize": 13})
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained", sharey=True)
axes[0].barh(range(len(pairs)), associations, color="0.6")
axes[0].set_title("Each pair on its own")
axes[0].set_xlabel("association (Cramér's V)")
axes[0].set_yticks(range(len(pairs)), [f"{a}, {b}" for a, b in pairs])
axes[0].invert_yaxis()
axes[1].barh(range(len(pairs)), strengths.values(), color="C0")
axes[1].axvline(chance, color="C3", linestyle="--", label="shuffled columns")
axes[1].set_title("Each pair, given the third column")
axes[1].set_xlabel("strength of the coupling (nats)")
axes[1].legend(loc="lower right")
plt.show()
