"""
=============================================
Pseudo-log-likelihood, likelihood and samples
=============================================

A model can have a good score and still be bad. This example compares three models of digits
by four measures:

- the pseudo-log-likelihood of held-out rows, which is what ``score`` returns,
- their log-likelihood, with log Z from annealed importance sampling (AIS),
- the same from reverse AIS, which errs the other way,
- rows drawn from the model.

By the score, one model is nearly as good as the best. By the other measures, it is far
worse. The score only looks at rows of the data, not at where else a model puts its
probability. See :doc:`/how_good`.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMEstimator
from skrbm.likelihood import log_partition, mean_log_likelihood, pseudo_log_likelihood
from skrbm.sampling import diagnose, draw_chains

X = (load_digits().data > 7).astype(np.float32)
X_train, X_test = train_test_split(X, test_size=0.25, random_state=0)

models = {
    "BernoulliRBM": BernoulliRBM(100, random_state=0),
    "BernoulliRBM, tuned by pseudo-likelihood": BernoulliRBM(
        100, learning_rate=0.05, n_iter=100, random_state=0
    ),
    "skrbm": BernoulliRBMEstimator(100, random_state=0),
}

# %%
# Four measures
# -------------
# The functions also accept scikit-learn's estimator. AIS starts from independent features
# with the means `base_mean`. The estimator of skrbm stores these means during training, but
# scikit-learn's does not.

figures, samples = {}, {}
for name, rbm in models.items():
    rbm.fit(X_train)
    common = {"betas": 3000, "base_mean": X_train.mean(axis=0), "random_state": 0}
    forward = log_partition(rbm, method="ais", **common)
    reverse = log_partition(rbm, method="reverse_ais", **common)
    by_forward = mean_log_likelihood(rbm, X_test, log_partition=forward)
    by_reverse = mean_log_likelihood(rbm, X_test, log_partition=reverse)
    pseudo = pseudo_log_likelihood(rbm, X_test).mean()
    figures[name] = pseudo, by_forward.value, by_reverse.value
    chains = draw_chains(
        rbm, 40, 500, n_gibbs_steps=1000, thinning=20, init="noise", random_state=0
    )
    samples[name] = chains[:, -1]
    print(f"\n{name}")
    print(f"  pseudo-log-likelihood              {pseudo:8.2f} nats per row")
    print(f"  log-likelihood, AIS                {by_forward.value:8.2f}")
    print(f"  log-likelihood, reverse AIS        {by_reverse.value:8.2f}")
    print(f"  standard error over the rows       {by_forward.standard_error:8.2f}")
    print(f"  {diagnose(rbm, chains).verdict}")

# %%
# How many temperatures?
# ----------------------
# With more temperatures, forward estimates of log Z rise and reverse estimates fall. There
# are enough temperatures when the two meet. The uniform distribution is far from the data,
# so starting there needs more of them. With far too few, one run has nearly all the weight,
# and a warning is issued.

warnings.simplefilter("ignore", UserWarning)
rbm = models["skrbm"]
numbers = [30, 100, 300, 1000, 3000]
curves = {
    f"{name}, from {base}": [
        log_partition(
            rbm, method=method, betas=n, n_runs=100, base_mean=mean, random_state=0
        ).value
        for n in numbers
    ]
    for base, mean in (("the means of the data", None), ("the uniform distribution", 0.5))
    for name, method in (("forward", "ais"), ("reverse", "reverse_ais"))
}

# %%
# Results
# -------

figure = plt.figure(figsize=(11, 6.2), layout="constrained")
upper, lower = figure.subfigures(2, 1, height_ratios=[1.7, 1])
bars, lines = upper.subplots(1, 2)
measures = [
    "pseudo-log-\nlikelihood",
    "log-likelihood,\nAIS",
    "log-likelihood,\nreverse AIS",
]
for number, (name, values) in enumerate(figures.items()):
    places = np.arange(3) + 0.27 * (number - 1)
    drawn = bars.bar(places, np.array(values) + 30, 0.25, bottom=-30, label=name)
    bars.bar_label(drawn, [f"{value:.1f}" for value in values], fontsize=7)
bars.set_xticks(range(3), measures)
bars.set_ylim(-30, -8)
bars.set_ylabel("nats per held-out row")
bars.legend(fontsize=7, loc="upper center", ncols=1)
for number, (name, values) in enumerate(curves.items()):
    style = ("-", "--")[number // 2]
    lines.plot(
        numbers, values, style, marker="o", markersize=3, label=name, color=f"C{number % 2}"
    )
lines.set_xscale("log")
lines.set_xlabel("temperatures")
lines.set_ylabel("log Z of the skrbm model, nats")
lines.legend(fontsize=7)
panels = lower.subplots(1, 4)
for axes, (name, rows) in zip(
    panels, {"data": X_test[:40], **samples}.items(), strict=True
):
    image = rows[:40].reshape(5, 8, 8, 8)
    image = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=0.5)
    axes.imshow(image.transpose(0, 2, 1, 3).reshape(50, 80), cmap="gray_r")
    axes.set_title(name.replace(", ", ",\n"), fontsize=8)
    axes.set_axis_off()
lower.suptitle("Held-out digits, and samples of each model from noise", fontsize=9)
plt.show()
