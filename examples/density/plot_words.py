"""
===========================
Text: words and their units
===========================

Train a restricted Boltzmann machine (RBM) on sparse data: the words in the docstrings of
scikit-learn. The model tells how probable a text is, which words occur together, and which
texts are similar.
"""

# sphinx_gallery_thumbnail_number = 2

import inspect

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import train_test_split
from sklearn.utils.discovery import all_estimators, all_functions

from skrbm import BernoulliRBMEstimator
from skrbm.plotting import TopFeaturesDisplay

texts = {name: inspect.getdoc(thing) for name, thing in all_estimators() + all_functions()}
texts = {name: text for name, text in texts.items() if text}
vectorizer = CountVectorizer(
    binary=True, stop_words="english", min_df=8, max_df=0.3, token_pattern=r"\b[a-z]{4,}\b"
)
X = vectorizer.fit_transform(texts.values()).astype(np.float32)
words = vectorizer.get_feature_names_out()
print(
    f"{X.shape[0]} texts, {X.shape[1]} words, {100 * X.nnz / np.prod(X.shape):.1f} % ones."
)

# %%
# Pseudo-log-likelihood
# ---------------------
# The rows stay sparse. Compare the RBM with a model of independent words on test texts:

X_train, X_test = train_test_split(X, test_size=0.25, random_state=0)
rbm = BernoulliRBMEstimator(60, random_state=0).fit(X_train)
p = (X_train.sum(axis=0).A1 + 0.5) / (X_train.shape[0] + 1)
independent = (X_test @ np.log(p / (1 - p))).mean() + np.log1p(-p).sum()
print(f"independent words    {independent:8.1f} nats per text")
print(f"60 hidden units      {rbm.score(X_test):8.1f}")

# %%
# Words of each hidden unit
# -------------------------
# A hidden unit that is on makes words with large weights more probable. The units whose
# probabilities vary most tell the texts apart best. Here are the main words of eight such
# units. They are not the topics of ``LatentDirichletAllocation``: several are on in each
# text, and negative weights exclude words.

hidden = rbm.transform(X)
units = np.argsort(-hidden.std(axis=0))[:8]
display = TopFeaturesDisplay.from_estimator(rbm, words, units=units, n_features=8)
for ax, unit in zip(display.axes_, units, strict=True):
    ax.set_title(f"unit {unit}, on in {hidden[:, unit].mean():.0%}", fontsize="medium")
plt.show()

# %%
# Related words
# -------------
# Which words become more probable if a certain word occurs? Draws of the model tell.

draws = rbm.sample(4000, n_chains=200, random_state=0)
for word in ("kernel", "tree", "cluster"):
    column = list(words).index(word)
    with_word = draws[draws[:, column] == 1]
    gain = np.log((with_word.mean(axis=0) + 1e-2) / (draws.mean(axis=0) + 1e-2))
    gain[column] = -np.inf
    print(f"{word}: {' '.join(words[np.argsort(-gain)[:8]])}")

# %%
# Similar texts
# -------------
# The hidden units are features of a text. Similar texts need not share words.

names = list(texts)
similar = cosine_similarity(hidden)
for name in ("Ridge", "KMeans", "roc_auc_score", "StandardScaler"):
    nearest = np.argsort(-similar[names.index(name)])[1:5]
    print(f"{name}: {', '.join(names[i] for i in nearest)}")

# %%
# All texts, by the first two principal components of their hidden units.

x, y = PCA(2).fit_transform(hidden).T
is_class = np.array([name[0].isupper() for name in names])
figure, ax = plt.subplots(figsize=(8, 6), layout="constrained")
for kind, label in ((is_class, "classes"), (~is_class, "functions")):
    ax.scatter(x[kind], y[kind], s=12, label=label)
for name in (
    "Ridge",
    "KMeans",
    "PCA",
    "SVC",
    "roc_auc_score",
    "load_digits",
    "StandardScaler",
):
    i = names.index(name)
    ax.plot(x[i], y[i], "ko", markersize=5)
    ax.annotate(name, (x[i], y[i]), (4, 4), textcoords="offset points", weight="bold")
ax.set(xticks=[], yticks=[], title="Principal components of the hidden units")
ax.legend()
plt.show()
