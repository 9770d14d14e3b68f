"""
===============
Skipped answers
===============

Respondents answer the questions of a survey by yes or no, and skip some of them.
:class:`~skrbm.RBMImputer` fills in the skipped answers. This example compares it with
scikit-learn's imputers. How well do they predict the skipped answers, and do the
correlations between questions survive?

The survey is simulated, so the skipped answers are known. Each respondent has two traits,
and the log-odds of a yes to each question are a linear function of them (a two-parameter
logistic model with two factors, not an RBM). No imputer can be expected to reach the
log-loss of the true probabilities, the "bound".
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.metrics import accuracy_score, log_loss

from skrbm import RBMImputer

rng = np.random.default_rng(0)
n_respondents, n_questions = 1000, 24
traits = rng.standard_normal((n_respondents, 2))
loadings = rng.normal(scale=1.5, size=(2, n_questions))
p_yes = expit(traits @ loadings + rng.standard_normal(n_questions))
answers = (rng.random(p_yes.shape) < p_yes).astype(np.float32)
skipped = rng.random(answers.shape) < 0.3
X = np.where(skipped, np.nan, answers)

# %%
# Predicting the skipped answers
# ------------------------------
# Each imputer fills in a number between 0 and 1. Take it as the probability of a yes. With
# few neighbors, ``KNNImputer`` is too sure of itself. Here, 50 neighbors are better than 5
# or 20.

imputers = {
    "SimpleImputer": SimpleImputer(),
    "KNNImputer, 5 neighbors": KNNImputer(n_neighbors=5),
    "KNNImputer, 50 neighbors": KNNImputer(n_neighbors=50),
    "RBMImputer": RBMImputer(random_state=0),
}
predictions = {name: imputer.fit_transform(X) for name, imputer in imputers.items()}
predictions["bound"] = p_yes
losses = {}
print(f"{'':26s}log-loss   accuracy")
for name, filled in predictions.items():
    p = filled[skipped].clip(0.01, 0.99)
    losses[name] = log_loss(answers[skipped], p)
    accuracy = accuracy_score(answers[skipped], p > 0.5)
    print(f"{name:26s}{losses[name]:8.3f}{accuracy:11.3f}")

_, ax = plt.subplots(figsize=(7, 3), layout="constrained")
colors = ["C0", "C1", "C1", "C2", "0.7"]
bars = ax.barh(list(losses), list(losses.values()), color=colors)
ax.bar_label(bars, fmt="%.3f", padding=2)
ax.set(xlim=(0.4, 0.75), title="Log-loss of skipped answers")
ax.invert_yaxis()
plt.show()

# %%
# Keeping the correlations
# ------------------------
# In an analysis of the completed table, answers should vary as much as real ones. Means of
# a question pull correlations towards 0. Means over neighbors pull them towards 1 or -1.
# With ``strategy="draw"``, the imputer draws each answer from its distribution, given the
# other answers of the respondent. Repeated calls of ``transform`` differ. For multiple
# imputation, ``impute_draws`` returns several tables at once.

imputers["RBMImputer"].set_params(strategy="draw")
completed = {
    "SimpleImputer": predictions["SimpleImputer"],
    "KNNImputer, 50 neighbors": predictions["KNNImputer, 50 neighbors"],
    "RBMImputer, draws": imputers["RBMImputer"].transform(X),
}
pairs = np.triu_indices(n_questions, 1)
true_correlations = np.corrcoef(answers.T)[pairs]

figure, axes = plt.subplots(1, 3, figsize=(10, 3.8), layout="constrained")
for ax, color, (name, filled) in zip(
    axes, ["C0", "C1", "C2"], completed.items(), strict=True
):
    correlations = np.corrcoef(filled.T)[pairs]
    error = np.sqrt(np.mean((correlations - true_correlations) ** 2))
    ax.axline((0, 0), slope=1, color="0.7", linewidth=1)
    ax.scatter(true_correlations, correlations, s=6, color=color)
    ax.set_title(f"{name}\nroot mean squared error {error:.3f}", fontsize=10)
    ax.set(xlim=(-0.7, 0.7), ylim=(-0.7, 0.7), aspect="equal")
    ax.set_xlabel("correlation, all answers")
axes[0].set_ylabel("correlation, imputed answers")
plt.show()
