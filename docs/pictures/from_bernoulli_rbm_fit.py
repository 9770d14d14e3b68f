"""Draw the test likelihood of two estimators against their epochs."""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMEstimator
from skrbm.likelihood import mean_log_likelihood

X = (load_digits().data > 7).astype("float32")
X, X_test = train_test_split(X, test_size=0.3, random_state=0)
n_iter = [5, 10, 20, 40]
models = {
    "BernoulliRBM, rate 0.1": BernoulliRBM(16, random_state=0),
    "BernoulliRBM, rate 0.01": BernoulliRBM(16, learning_rate=0.01, random_state=0),
    "BernoulliRBMEstimator": BernoulliRBMEstimator(16, random_state=0),
}
plt.rcParams.update({"font.size": 13, "axes.titlesize": 13})
figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
for (name, model), style in zip(models.items(), ("s--", "s-", "o-"), strict=True):
    fits = []
    for n in n_iter:
        model.set_params(n_iter=n).fit(X)
        fits.append(mean_log_likelihood(model, X_test).value)
    color = "C1" if "Estimator" in name else "C0"
    ax.semilogx(n_iter, fits, style, color=color, label=name, markersize=8)
ax.set_xticks(n_iter, map(str, n_iter))
ax.minorticks_off()
ax.set_title("Binary digits, 16 hidden units")
ax.set_xlabel("epochs of a fit")
ax.set_ylabel("log-likelihood\nof test rows (nats)")
figure.legend(fontsize=11, loc="outside lower center", ncols=3)
plt.show()
