"""Two models of digits with nearly equal scores, and what they draw."""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMEstimator
from skrbm.likelihood import log_partition, mean_log_likelihood, pseudo_log_likelihood
from skrbm.sampling import draw_chains

X = (load_digits().data > 7).astype(np.float32)
X_train, X_test = train_test_split(X, test_size=0.25, random_state=0)
models = {
    "skrbm": BernoulliRBMEstimator(100, random_state=0),
    "BernoulliRBM": BernoulliRBM(100, learning_rate=0.05, n_iter=100, random_state=0),
}

plt.rcParams["font.size"] = 13
figure, panels = plt.subplots(
    1, 3, figsize=(9, 3.4), layout="constrained", width_ratios=[1.25, 1, 1]
)
for number, (name, rbm) in enumerate(models.items()):
    rbm.fit(X_train)
    log_z = log_partition(
        rbm, method="ais", betas=1000, base_mean=X_train.mean(axis=0), random_state=0
    )
    values = [
        pseudo_log_likelihood(rbm, X_test).mean(),
        mean_log_likelihood(rbm, X_test, log_partition=log_z).value,
    ]
    places = np.arange(2) + 0.42 * number - 0.21
    bars = panels[0].barh(places, values, 0.4, label=name, color=f"C{number}")
    panels[0].bar_label(bars, [f"{value:.1f}" for value in values], padding=-40, color="w")
    chains = draw_chains(rbm, 25, 1, init="noise", n_gibbs_steps=2000, random_state=0)
    images = np.pad(chains[:, -1].reshape(5, 5, 8, 8), [(0, 0)] * 2 + [(1, 1)] * 2)
    panels[number + 1].imshow(images.transpose(0, 2, 1, 3).reshape(50, 50), cmap="gray_r")
    panels[number + 1].set_title(f"{name} draws", fontsize=13, color=f"C{number}")
    panels[number + 1].set_xticks([])
    panels[number + 1].set_yticks([])
panels[0].invert_yaxis()
panels[0].set_yticks([0, 1], ["score", "log-\nlikelihood"])
panels[0].set_xlabel("nats a row, held out")
panels[0].spines[["top", "right"]].set_visible(False)
plt.show()
