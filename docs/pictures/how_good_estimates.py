"""Forward and reverse estimates of a log-likelihood, by the number of temperatures."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skrbm import BernoulliRBMEstimator
from skrbm.likelihood import log_partition, mean_log_likelihood

X = (load_digits().data > 7).astype(np.float32)
X_train, X_test = train_test_split(X, train_size=300, test_size=300, random_state=1)
models = {
    "Defaults: trust it from 100 on": BernoulliRBMEstimator(100, random_state=0),
    "Strong weights: trust it from 1000 on": BernoulliRBMEstimator(
        100, learning_rate=0.5, weight_decay=0, n_iter=500, random_state=0
    ),
}
methods = {"ais": ("forward", "C0", "o"), "reverse_ais": ("reverse", "C1", "s")}
numbers = np.array([30, 100, 300, 1000, 3000])
warnings.simplefilter("ignore", UserWarning)  # of too few temperatures

plt.rcParams["font.size"] = 13
figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for axes, (title, rbm) in zip(panels, models.items(), strict=True):
    rbm.fit(X_train)
    for place, (method, (name, color, marker)) in enumerate(methods.items()):
        for n in numbers:
            log_z = log_partition(rbm, method=method, betas=int(n), random_state=0)
            mean = mean_log_likelihood(rbm, X_test, log_partition=log_z)
            axes.errorbar(
                n * (0.93, 1.07)[place],
                mean.value,
                [[log_z.upper - log_z.value], [log_z.value - log_z.lower]],
                color=color,
                marker=marker,
                markersize=8,
                linewidth=2,
                capsize=4,
                label=name if n == numbers[0] else None,
            )
    middle = mean.value
    axes.set_ylim(middle - 3.2, middle + 2.4)
    axes.set_xscale("log")
    axes.set_xticks(numbers, [str(n) for n in numbers])
    axes.minorticks_off()
    axes.set_xlabel("temperatures")
    axes.set_title(title, fontsize=13)
    axes.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("log-likelihood, nats a row")
panels[0].legend(frameon=False)
plt.show()
