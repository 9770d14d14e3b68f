"""
=====================
Hyperparameter search
=====================

Find good parameters of an RBM, without labels or with them. Successive halving trains many
settings briefly, and the good ones for longer. Optuna stops bad settings during training.
Without labels, both use the score of the estimator, the pseudo-log-likelihood. In a
pipeline with a classifier, search the parameters of the RBM like those of any other step.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform
from sklearn.datasets import load_digits
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    train_test_split,
)
from sklearn.pipeline import Pipeline

from skrbm import BernoulliRBMEstimator
from skrbm.metrics import log_likelihood_scorer

X, y = load_digits(return_X_y=True)
X = (X > 7).astype(np.float32)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0)

# %%
# Successive halving
# ------------------
# The resource is the number of epochs. The learning rate decreases to 0 in short fits, too,
# so that fits of the same length compare fairly.

settings = {
    "learning_rate": loguniform(0.02, 1),
    "weight_decay": loguniform(1e-5, 1e-1),
    "n_components": [25, 50, 100, 200],
}
halving = HalvingRandomSearchCV(
    BernoulliRBMEstimator(random_state=0),
    settings,
    resource="n_iter",
    min_resources=5,
    max_resources=80,
    factor=2,
    cv=3,
    n_jobs=2,
    random_state=0,
).fit(X_train)
results = halving.cv_results_
for n_iter in np.unique(results["n_resources"]):
    scores = results["mean_test_score"][results["n_resources"] == n_iter]
    print(
        f"{n_iter:3d} epochs: {len(scores):2d} settings, the best {scores.max():.2f} nats"
    )
print("best:", ", ".join(f"{name}={x:.3g}" for name, x in halving.best_params_.items()))

# %%
# You can pass another scorer. The log-likelihood takes longer, but measures the whole
# model. Compare the best settings with the defaults on test digits:

plain = BernoulliRBMEstimator(random_state=0).fit(X_train)
for name, rbm in {"defaults": plain, "best": halving.best_estimator_}.items():
    likelihood = log_likelihood_scorer(rbm, X_test)
    print(
        f"{name:10s} pseudo-log-likelihood {rbm.score(X_test):7.2f}, "
        f"log-likelihood {likelihood:7.2f}"
    )

# %%
# Features for a classifier
# -------------------------
# The score is now the accuracy of the pipeline.

pipeline = Pipeline(
    [
        ("rbm", BernoulliRBMEstimator(100, n_iter=20, random_state=0)),
        ("classifier", LogisticRegression(max_iter=3000)),
    ]
)
settings = {
    "rbm__learning_rate": loguniform(0.02, 1),
    "classifier__C": loguniform(0.01, 100),
}
search = RandomizedSearchCV(pipeline, settings, n_iter=8, cv=3, n_jobs=2, random_state=0)
search.fit(X_train, y_train)
print("best:", ", ".join(f"{name}={x:.3g}" for name, x in search.best_params_.items()))
print(f"accuracy {search.score(X_test, y_test):.3f}")

# %%
# Optuna, with pruning
# --------------------
# Each call of `partial_fit` is an epoch, after which the trial reports its score. The
# pruner stops a trial that is worse than the median of earlier trials at that epoch. The
# fitted parameters are a running average, so the score means something at any time. Install
# Optuna by ``pip install optuna``.

import optuna  # noqa: E402, only needed from here on

X_fit, X_valid = train_test_split(X_train, test_size=0.3, random_state=0)


def objective(trial):
    rbm = BernoulliRBMEstimator(
        trial.suggest_int("n_components", 25, 200, log=True),
        learning_rate=trial.suggest_float("learning_rate", 0.02, 1, log=True),
        weight_decay=trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
        random_state=0,
    )
    rng = np.random.default_rng(0)
    for epoch in range(20):
        rbm.partial_fit(rng.permutation(X_fit))
        trial.report(rbm.score(X_valid), epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return rbm.score(X_valid)


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(
    direction="maximize",
    sampler=optuna.samplers.TPESampler(seed=0),
    pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
)
study.optimize(objective, n_trials=25)
pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
print(f"best {study.best_value:.2f} nats; {pruned} of {len(study.trials)} trials pruned")
print("best:", ", ".join(f"{name}={x:.3g}" for name, x in study.best_params.items()))

# %%
# Validation scores of all trials by epoch. Pruned trials end early.

figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
for trial in study.trials:
    is_best = trial.number == study.best_trial.number
    scores = list(trial.intermediate_values.values())
    ax.plot(
        range(1, len(scores) + 1),
        scores,
        color="C3" if is_best else "0.6",
        zorder=2 + is_best,
    )
best = study.best_value
ax.set(xlabel="epoch", ylabel="validation score, nats", ylim=(best - 9, best + 0.5))
ax.set_title("Optuna trials, best one in color")
plt.show()
