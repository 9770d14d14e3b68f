"""Draw chains that stay in a mode next to tempered chains that move."""

import matplotlib.pyplot as plt
import numpy as np

from skrbm import BernoulliRBMEstimator
from skrbm.sampling import diagnose, draw_chains

rng = np.random.default_rng(0)
center = rng.integers(2, size=20)
centers = np.array([center, 1 - center])
cluster = (rng.random(2000) < 0.3).astype(int)
X = centers[cluster] ^ (rng.random((2000, 20)) < 0.1)
rbm = BernoulliRBMEstimator(8, random_state=0).fit(X)

plt.rcParams.update({"font.size": 13, "axes.titlesize": 13})
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained", sharey=True)
for ax, betas, name in (
    (axes[0], None, "Gibbs steps stay in a mode"),
    (axes[1], "auto", 'betas="auto" moves between them'),
):
    chains = draw_chains(rbm, 4, 500, thinning=20, init=X[:4], betas=betas, random_state=0)
    r_hat = diagnose(rbm, chains).r_hat.max()
    similarity = (chains == centers[1]).mean(axis=2)
    for place, chain in enumerate(similarity[:2]):
        ax.plot(chain[:100], label=f"chain {place + 1}")
    ax.set_title(f"{name}\n(split R-hat {r_hat:.2f})")
    ax.set_xlabel("draw")
axes[0].set_ylabel("share of features\nlike mode 2")
axes[0].legend(loc="center right")
plt.show()
