"""
======================================
Couplings: which columns are connected
======================================

Correlated columns need not be connected: both may depend on a third one. In the Ising
model, each spin on a lattice tends to point in the direction of its neighbors. Other spins
have no direct influence, but all spins are correlated. This example finds the neighbors
from rows of spins alone.
"""

# sphinx_gallery_thumbnail_number = 2

import matplotlib.pyplot as plt
import numpy as np

from skrbm import BernoulliRBMEstimator
from skrbm.inspection import effective_couplings
from skrbm.plotting import CouplingsDisplay

side, coupling = 5, 0.4
places = np.array([(x, y) for x in range(side) for y in range(side)])
distances = np.abs(places[:, None] - places).sum(axis=2)
neighbors = distances == 1

# %%
# Rows of spins
# -------------
# Each row is the end of its own Gibbs chain. The chains draw all spins on the black squares
# of a chessboard, then all on the white ones, and so on.

rng = np.random.default_rng(0)
spins = rng.choice([-1.0, 1.0], size=(5000, side**2))
for step in range(500):
    color = np.flatnonzero(places.sum(axis=1) % 2 == step % 2)
    log_odds = 2 * coupling * spins @ neighbors[:, color]
    up = rng.random(log_odds.shape) < 1 / (1 + np.exp(-log_odds))
    spins[:, color] = np.where(up, 1, -1)
X = (spins + 1) / 2

# %%
# Correlations and couplings
# --------------------------
# The couplings of a restricted Boltzmann machine (RBM) are averaged over some of the rows.
# Those of spins that are not neighbors are close to 0.

rbm = BernoulliRBMEstimator(random_state=0).fit(X)
couplings = effective_couplings(rbm, X[:500])
correlations = np.corrcoef(X.T)

figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
axes[0].imshow(correlations - np.eye(side**2), cmap="RdBu_r", vmin=-0.6, vmax=0.6)
axes[0].set_title("Correlations")
CouplingsDisplay(couplings).plot(axes[1])
plt.show()

# %%
# Correlations fall slowly with the distance, couplings at once. The true coupling of
# neighbors is 0.4. Weight decay makes the estimate smaller.

print("distance  correlation  coupling")
for distance in range(1, 5):
    pairs = distances == distance
    print(
        f"{distance:8}{correlations[pairs].mean():13.2f}"
        f"{couplings.strengths[pairs].mean():10.2f}"
    )

# %%
# The lattice
# -----------
# The lattice has 40 pairs of neighbors. Draw the 40 strongest couplings as lines between
# the spins, whose places the model does not know. Pairs that are not neighbors would be
# red.

figure, ax = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
for first, second, strength in couplings.strongest(40):
    color = "C0" if neighbors[first, second] else "C3"
    ax.plot(*places[[first, second]].T, color=color, linewidth=10 * strength)
ax.scatter(*places.T, s=150, color="black", zorder=2)
ax.set(title="The 40 strongest couplings", xticks=[], yticks=[], aspect="equal")
plt.show()
