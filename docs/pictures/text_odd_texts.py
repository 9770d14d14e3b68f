"""Draw the scores of docstrings against their lengths, before and after division."""

import inspect

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn import datasets, metrics
from sklearn.feature_extraction.text import CountVectorizer

from skrbm import BernoulliRBMEstimator

texts = [
    inspect.getdoc(getattr(module, name))
    for module in (datasets, metrics)
    for name in module.__all__
]
vectorizer = CountVectorizer(binary=True, dtype="uint8", stop_words="english", min_df=5)
X = vectorizer.fit_transform(texts)
rbm = BernoulliRBMEstimator(n_components=20, n_iter=50, random_state=0).fit(X)
p = rbm.visible_mean_
independent = X @ np.log(p / (1 - p)) + np.log1p(-p).sum()
gain = rbm.score_samples(X) - independent
lengths = np.asarray(X.sum(axis=1)).ravel()

plt.rcParams.update({"font.size": 13, "axes.titlesize": 13})
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
for ax, values, title, unit in (
    (axes[0], gain, "The gain grows with the length", "gain (nats)"),
    (axes[1], gain / -independent, "The share does not", "gain / -independent"),
):
    odd = np.argsort(values)[:8]
    correlation = spearmanr(values, lengths)[0]
    ax.plot(lengths, values, "o", markersize=5, alpha=0.5)
    ax.plot(lengths[odd], values[odd], "o", markersize=6, color="C3", label="8 lowest")
    ax.set_title(f"{title}\n(rank correlation {correlation:.1f})")
    ax.set_xlabel("number of different words")
    ax.set_ylabel(unit)
axes[0].legend(loc="upper left")
plt.show()
