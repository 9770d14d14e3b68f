"""The classifier: labels as users have them, predictions by enumeration, and training."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import DIGITS, GRAY
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from test_labels import log_p_in_full

from skrbm import (
    BernoulliRBMEstimator,
    GaussianRBMEstimator,
    MixedRBMEstimator,
    RBMClassifier,
    _joint,
)
from skrbm._attributes import model_of
from skrbm._classifier import Labels
from skrbm._data import DataSet

Y = load_digits().target


def bits(**parameters):
    given = {"n_components": 4, "n_iter": 3, "random_state": 0} | parameters
    return BernoulliRBMEstimator(**given)


def clusters(n=300, n_columns=12, seed=0):
    """Rows of bits of three kinds, and the kind."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    p = np.random.default_rng(9).choice([0.1, 0.9], size=(3, n_columns))
    return (rng.random((n, n_columns)) < p[y]).astype(np.float32), y


def table(n=300, seed=0):
    """Table with gaps, whose columns tell the label."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    X = pd.DataFrame(
        {
            "color": np.where(rng.random(n) < 0.1 + 0.8 * y, "red", "blue"),
            "size": rng.normal(3 * y),
            "pet": rng.choice(["cat", "dog", "eel"], size=n),
        }
    )
    for number, column in enumerate(X):
        X.loc[rng.random(n) < 0.1 * number, column] = None
    return X, np.where(y, "yes", "no")


# Labels -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "classes", "codes"),
    [
        ([3, 1, 3], [1, 3], [1, 0, 1]),
        ([-1, 1, -1], [-1, 1], [0, 1, 0]),
        ([-1, 0, 1], [0, 1], [-1, 0, 1]),
        ([-1, -2, 5, 7], [-2, 5, 7], [-1, 0, 1, 2]),
        ([0.0, np.nan, 1.0], [0, 1], [0, -1, 1]),
        (["b", None, "a"], ["a", "b"], [1, -1, 0]),
        (pd.Series(["b", pd.NA, "a"], dtype="string"), ["a", "b"], [1, -1, 0]),
        ([True, False], [False, True], [1, 0]),
        ([None, True, False], [False, True], [-1, 1, 0]),
        (["b", -1, "a"], ["a", "b"], [1, -1, 0]),
        ([None, 0, 1, -1, 2], [0, 1, 2], [-1, 0, 1, -1, 2]),
        (pd.Series([True, pd.NA, False], dtype="boolean"), [False, True], [1, -1, 0]),
    ],
)
def test_labels(y, classes, codes):
    y = np.array(y, dtype=object) if isinstance(y, list) and (None in y or -1 in y) else y
    labels = Labels.read(y)
    assert not labels.several
    assert_array_equal(labels.classes[0], classes)
    assert_array_equal(labels.codes[:, 0], codes)


def test_several_labels():
    labels = Labels.read(pd.DataFrame({"a": [0, 1, 2], "b": ["x", None, "y"]}))
    assert [list(each) for each in labels.classes] == [[0, 1, 2], ["x", "y"]]
    assert_array_equal(labels.codes, [[0, 0], [1, -1], [2, 1]])
    labels = Labels.read(np.array([[0, 5], [-1, 6], [1, 7]]))
    assert labels.several
    assert [list(each) for each in labels.classes] == [[0, 1], [5, 6, 7]]
    assert_array_equal(labels.codes, [[0, 0], [-1, 1], [1, 2]])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1, 1, 1], "at least two classes, but it has 1 class"),
        ([np.nan, np.nan], "at least two classes, but it has 0 classes"),
        ([0.1, 0.2, 0.35], "Unknown label type: continuous"),
        ([0.0, np.inf], "Input y contains infinity"),
        (np.zeros((2, 2, 2)), "dim 3"),
    ],
)
def test_bad_labels(y, message):
    with pytest.raises(ValueError, match=message):
        RBMClassifier(bits()).fit(np.eye(len(y)), y)


@pytest.mark.parametrize(
    ("y", "classes", "message"),
    [
        ([0, 1], [[0, 1], [0, 1]], "y has 1 columns of labels, but .* those of 2"),
        ([[0, 1], [1, 0]], [0, 1, 2], "y has 2 columns of labels, but .* those of 1"),
        (["a", "b"], [0, 1], "y has the label 'a', which is not among"),
        ([0, 1], {0}, "at least two classes"),
    ],
)
def test_labels_of_other_classes(y, classes, message):
    y = np.array(y, dtype=object)
    with pytest.raises(ValueError, match=message):
        RBMClassifier(bits()).partial_fit(np.eye(2), y, classes=classes)


def test_rows_and_labels_of_different_numbers():
    classifier = RBMClassifier(bits())
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classifier.fit(np.eye(4), [0, 1, 0])
    with pytest.raises(ValueError, match="requires y to be passed"):
        classifier.fit(np.eye(4), None)
    with pytest.raises(NotFittedError):
        classifier.predict(np.eye(4))
    with pytest.raises(ValueError, match="All rows that have a label have weight 0"):
        classifier.fit(np.eye(4), [0, 1, np.nan, np.nan], [0, 0, 1, 1])


# Predictions ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
def test_probabilities_by_enumeration(form):
    X, y = clusters(n_columns=4)
    rbm = BernoulliRBMEstimator(3, n_iter=3, random_state=0)
    classifier = RBMClassifier(rbm, generative=0.3).fit(form(X), y)
    model = model_of(classifier._joint)
    rows = np.column_stack([y, X]).astype(np.float64)[:20]
    expected = log_p_in_full(model, rows, 0, [3])
    found = classifier.predict_log_proba(form(X[:20]))
    assert_allclose(found, expected, atol=1e-4)
    assert_allclose(classifier.predict_proba(form(X[:20])), np.exp(expected), atol=1e-4)
    assert_array_equal(classifier.predict(form(X[:20])), expected.argmax(axis=1))


def test_several_labels_are_given_features_alone():
    """The probabilities of one label are sums over the classes of the others."""
    X, y = clusters(n_columns=4)
    both = np.column_stack([y, X[:, 0] > 0])
    rbm = BernoulliRBMEstimator(3, n_iter=3, random_state=0)
    classifier = RBMClassifier(rbm, generative=0.3).fit(X[:, 1:], both)
    model = model_of(classifier._joint)
    found = classifier.predict_proba(X[:20, 1:])
    total = []
    for other in (0, 1):
        rows = np.column_stack([np.zeros(20), np.full(20, other), X[:20, 1:]])
        unnormalized = []
        for code in range(3):
            rows[:, 0] = code
            v = DataSet(rows).encode(model.visible.encoder).copy_rows(model.dtype)
            unnormalized.append(np.exp(-model.free_energy(v)))
        total.append(np.stack(unnormalized, axis=1))
    joint = np.stack(total, axis=2)
    joint /= joint.sum(axis=(1, 2), keepdims=True)
    assert_allclose(found[0], joint.sum(axis=2), atol=1e-4)
    assert_allclose(found[1], joint.sum(axis=1), atol=1e-4)
    sparse = classifier.predict_proba(sp.csr_array(X[:20, 1:]))
    for of_dense, of_sparse in zip(found, sparse, strict=True):
        assert_allclose(of_sparse, of_dense, atol=1e-6)
    predicted = classifier.predict(X[:20, 1:])
    assert_array_equal(predicted[:, 0], found[0].argmax(axis=1))


def test_rows_do_not_influence_each_other():
    X, y = table()
    rbm = MixedRBMEstimator(20, n_iter=5, random_state=0)
    classifier = RBMClassifier(rbm, generative=0.3).fit(X, y)
    p = classifier.predict_proba(X[:30])
    assert_allclose(classifier.predict_proba(X[10:20]), p[10:20], atol=1e-5)
    assert_allclose(p.sum(axis=1), 1)


# Training ---------------------------------------------------------------------------------


@pytest.mark.parametrize("generative", [0, 0.1, 1, "auto"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_digits(generative, dtype):
    X = (load_digits().data / 16).astype(dtype)
    rbm = BernoulliRBMEstimator(50, n_iter=20, random_state=0)
    classifier = RBMClassifier(rbm, generative=generative, random_state=0)
    assert classifier.fit(X[:1000], Y[:1000]).score(X[1000:], Y[1000:]) > 0.88
    if generative != "auto":
        assert classifier.generative_ == generative
    p = classifier.predict_proba(X[1000:])
    assert p.dtype == np.float64
    assert_allclose(p.sum(axis=1), 1)


@pytest.mark.parametrize("form", ["dense", "sparse", "uint8", "gray"])
def test_few_labels_and_many_rows(form):
    """One label of each kind is enough if rows without label show the kinds."""
    X, y = clusters()
    change = {
        "dense": lambda X: X,
        "sparse": sp.csr_array,
        "uint8": lambda X: X.astype(np.uint8),
        "gray": lambda X: 0.05 + 0.9 * X,
    }[form]
    known = [np.flatnonzero(y == k)[:3] for k in range(3)]
    marked = np.full(len(y), -1)
    marked[np.concatenate(known)] = y[np.concatenate(known)]
    rbm = BernoulliRBMEstimator(12, n_iter=40, random_state=0)
    classifier = RBMClassifier(rbm, random_state=0).fit(change(X), marked)
    assert_array_equal(classifier.classes_, range(3))
    assert classifier.generative_ == _joint.SHARE_IF_UNKNOWN
    assert classifier.score(change(X), y) > 0.9


def test_tables_with_gaps():
    X, y = table()
    classifier = RBMClassifier(MixedRBMEstimator(8, n_iter=20), random_state=0)
    classifier.fit(X[:200], y[:200])
    assert classifier.score(X[200:], y[200:]) > 0.85
    assert_array_equal(classifier.classes_, ["no", "yes"])
    assert_array_equal(classifier.feature_names_in_, X.columns)
    assert isinstance(RBMClassifier().fit(X[:30], y[:30]).estimator_, MixedRBMEstimator)


def test_numbers():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=300)
    X = rng.normal(size=(300, 3)) + 2 * y[:, None] * [1, 0, -1]
    classifier = RBMClassifier(GaussianRBMEstimator(8, n_iter=20), random_state=0)
    classifier.fit(X[:200], y[:200])
    assert classifier.score(X[200:], y[200:]) > 0.9


def test_the_best_of_several_settings_is_chosen(monkeypatch):
    """Also the model before the second stage."""
    X, y = clusters()
    scores = iter([-3.0, -1.0, *range(-9, -4)])
    monkeypatch.setattr(_joint.Plan, "score", lambda *_: next(scores))
    classifier = RBMClassifier(bits(), random_state=0).fit(X, y)
    assert not hasattr(classifier._joint, "_learning")
    scores = iter([-3.0, -1.0, -0.5, *range(-9, -5)])
    classifier = RBMClassifier(bits(), random_state=0).fit(X, y)
    assert hasattr(classifier._joint, "_learning")
    assert classifier.generative_ == _joint.SHARE


def test_held_out_labels_are_not_used(monkeypatch):
    X, y = clusters()
    plans = []
    monkeypatch.setattr(
        _joint.Plan, "score", lambda self, joint, places: plans.append((self, places)) or 0
    )
    seen = []
    train = _joint.Plan.train

    def spy(self, joint, choice, codes, **options):
        seen.append(codes.copy())
        return train(self, joint, choice, codes, **options)

    monkeypatch.setattr(_joint.Plan, "train", spy)
    RBMClassifier(bits(), generative=0.1, random_state=0).fit(X, y)
    held_out = plans[0][1]
    assert len(held_out) == 60
    for codes in seen[:-1]:
        assert (codes[held_out] == -1).all()
    assert (seen[-1] >= 0).all()


def test_rows_of_weight_0_are_ignored():
    X, y = clusters()
    weights = np.ones(len(y))
    weights[200:] = 0
    wrong = np.where(weights > 0, y, 2 - y)
    rbm = BernoulliRBMEstimator(4, n_iter=3, random_state=0)
    found = [
        RBMClassifier(rbm, generative=g, random_state=0)
        .fit(X, labels, sample_weight=weights)
        .predict_proba(X)
        for g in (0.3, 1)
        for labels in (y, wrong)
    ]
    assert_array_equal(found[0], found[1])
    assert_array_equal(found[2], found[3])
    assert_allclose(
        found[0],
        RBMClassifier(rbm, generative=0.3, random_state=0)
        .fit(X[:200], y[:200])
        .predict_proba(X),
        atol=1e-5,
    )


def test_partial_fit():
    rbm = BernoulliRBMEstimator(40, random_state=0)
    classifier = RBMClassifier(rbm, generative=0.1, random_state=0)
    with pytest.raises(ValueError, match="classes must be passed in the first call"):
        classifier.partial_fit(DIGITS[:100], Y[:100])
    for _ in range(10):
        classifier.partial_fit(DIGITS[:1000], Y[:1000], classes=np.arange(10))
    assert classifier.score(DIGITS[1000:], Y[1000:]) > 0.85
    with pytest.raises(ValueError, match="which is not among the classes"):
        classifier.partial_fit(DIGITS[:2], [3, 11])
    with pytest.raises(ValueError, match="but those of the first call"):
        classifier.partial_fit(DIGITS[:2], [3, 1], classes=[0, 1, 3])
    before = classifier.predict_proba(DIGITS)
    classifier.partial_fit(DIGITS[:50], np.full(50, -1))
    assert not np.array_equal(classifier.predict_proba(DIGITS), before)


def test_partial_fit_uses_the_parameters_that_are_set():
    X, y = clusters(60)
    classifier = RBMClassifier(bits(), generative=0.3, random_state=0)
    classifier.partial_fit(X, y, classes=range(3))
    slow = clone(classifier.estimator).set_params(learning_rate=1e-4)
    before = classifier._joint._learning.model.weights.copy()
    classifier.set_params(estimator=slow, generative=1.0).partial_fit(X, y)
    assert classifier.generative_ == 1
    change = classifier._joint._learning.model.weights - before
    assert 0 < np.abs(change).max() < 1e-3
    with pytest.raises(ValueError, match="n_components is 7"):
        classifier.set_params(estimator=bits(n_components=7)).partial_fit(X, y)
    with pytest.raises(ValueError, match="'solver' parameter"):
        classifier.set_params(estimator=bits(solver="foo")).partial_fit(X, y)
    with pytest.raises(ValueError, match="was trained by a BernoulliRBMEstimator"):
        classifier.set_params(estimator=GaussianRBMEstimator(4)).partial_fit(X, y)
    with pytest.raises(ValueError, match="'learning_rate' parameter"):
        RBMClassifier(bits(learning_rate=-1)).partial_fit(X, y, classes=range(3))


def test_partial_fit_with_several_labels():
    X, y = clusters(200)
    both = np.column_stack([y, X[:, 0]])
    both[::3, 0] = -1
    classifier = RBMClassifier(BernoulliRBMEstimator(20, random_state=0), random_state=0)
    for _ in range(10):
        classifier.partial_fit(X, both, classes=[[0, 1, 2], [0, 1]])
    predicted = classifier.predict(X)
    assert predicted.shape == (200, 2)
    assert (predicted[:, 0] == y).mean() > 0.8


def test_labels_that_no_row_has_together():
    X, y = clusters(200)
    both = np.column_stack([y, X[:, 0]]).astype(float)
    both[:100, 0] = both[100:, 1] = np.nan
    rbm = BernoulliRBMEstimator(12, n_iter=20, random_state=0)
    classifier = RBMClassifier(rbm, generative=0.3, random_state=0).fit(X, both)
    found = classifier.predict(X) == np.column_stack([y, X[:, 0]])
    assert (found.mean(axis=0) > 0.8).all()
    assert np.isfinite(classifier._joint.history_["label_log_likelihood"]).all()


def test_settings_of_the_second_stage(monkeypatch):
    """The decay and the penalty that are chosen, weights of rows, and no check."""
    X, y = clusters(90)
    penalties, weighted = [], []
    regression = _joint._regression

    def spy(hidden, codes, n_states, penalty, sample_weight):
        penalties.append(penalty)
        weighted.append(sample_weight)
        return regression(hidden, codes, n_states, penalty, sample_weight)

    monkeypatch.setattr(_joint, "_regression", spy)
    weights = np.linspace(1, 2, 90)
    rbm = bits(weight_decay=0.01, n_iter=1200)
    classifier = RBMClassifier(rbm, generative=1, random_state=0).fit(X, y, weights)
    assert penalties == [_joint.PENALTY]
    assert_allclose(weighted[0] / weighted[0].mean(), weights / weights.mean())
    assert classifier._joint.weight_decay_ == 0.01
    assert classifier.estimator_.verdict_ is not None
    assert classifier._joint.verdict_ is None
    scores = iter([-1.0, -2.0, -3.0, -0.5])
    monkeypatch.setattr(_joint.Plan, "score", lambda *_: next(scores))
    X, y = clusters()
    classifier = RBMClassifier(bits(), generative=0.5, random_state=0).fit(X, y)
    assert penalties[-1] == _joint.PENALTY
    assert classifier._joint.weight_decay_ == classifier.estimator_.weight_decay_


def test_sparse_and_dense_rows_without_label_give_the_same_model():
    X, y = clusters(100)
    y = np.where(np.arange(100) % 3, y, -1)
    rbm = BernoulliRBMEstimator(8, n_iter=5, random_state=0)
    p = [
        RBMClassifier(rbm, random_state=0).fit(form(X), y).predict_proba(form(X))
        for form in (np.array, sp.csr_array)
    ]
    assert_allclose(p[0], p[1], atol=1e-4)


def test_partial_fit_goes_on_from_fit():
    X, y = clusters()
    classifier = RBMClassifier(bits(n_iter=10), random_state=0).fit(X, y)
    before = classifier._joint.components_.copy()
    classifier.partial_fit(X[:20], y[:20])
    change = np.abs(classifier._joint.components_ - before).max()
    assert 0 < change < 1


@pytest.mark.parametrize("estimator", [bits(), GaussianRBMEstimator(4, n_iter=3)])
def test_pickles(estimator):
    X, y = clusters()
    classifier = RBMClassifier(estimator, generative=0.3, random_state=0).fit(X, y)
    loaded = pickle.loads(pickle.dumps(classifier))
    assert_array_equal(loaded.predict_proba(X), classifier.predict_proba(X))
    for each in (classifier, loaded):
        each.partial_fit(X, y)
    assert_array_equal(loaded.predict_proba(X), classifier.predict_proba(X))


def test_the_same_seed_gives_the_same_model():
    X, y = clusters()
    rbm = BernoulliRBMEstimator(4, n_iter=3)
    models = [RBMClassifier(rbm, random_state=seed).fit(X, y) for seed in (0, 0, 1)]
    first, same, other = (model.predict_proba(X) for model in models)
    assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_scores_are_of_rows_with_a_label():
    X, y = clusters()
    rbm = BernoulliRBMEstimator(8, n_iter=10, random_state=0)
    classifier = RBMClassifier(rbm, generative=0.3, random_state=0).fit(X, y)
    right = classifier.predict(X) == y
    assert classifier.score(X, y) == pytest.approx(right.mean())
    some = np.arange(300) % 4 > 0
    weights = np.linspace(1, 2, 300)
    for mark in (-1, np.nan, None):
        marked = np.where(some, y, mark)
        assert classifier.score(X, marked) == pytest.approx(right[some].mean())
        expected = np.average(right[some], weights=weights[some])
        assert classifier.score(X, marked, weights) == pytest.approx(expected)
    others = np.where(some, y, 7)
    assert classifier.score(X, others) == pytest.approx((right & some).mean())
    with pytest.raises(ValueError, match="y has no label"):
        classifier.score(X, np.full(300, -1))
    both = np.column_stack([y, X[:, 0]])
    classifier.fit(X, both)
    right = classifier.predict(X) == both
    assert classifier.score(X, both) == pytest.approx(right.all(axis=1).mean())
    both[::2, 1] = -1
    right[::2, 1] = True
    assert classifier.score(X, both) == pytest.approx(right.all(axis=1).mean())


def test_searches_and_pipelines():
    X, y = clusters()
    pipeline = make_pipeline(MinMaxScaler(), RBMClassifier(bits()))
    grid = {"rbmclassifier__estimator__n_components": [2, 4]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert search.best_score_ > 0.5
    clone(search.best_estimator_)


def test_a_failed_fit_leaves_the_classifier_as_it_was():
    X, y = clusters()
    classifier = RBMClassifier(bits(), random_state=0).fit(X, y)
    before = classifier.predict_proba(X)
    with pytest.raises(ValueError, match="at least two classes"):
        classifier.fit(X, np.zeros(len(y)))
    with pytest.raises(ValueError, match="12 features"):
        classifier.predict(X[:, :3])
    assert_array_equal(classifier.predict_proba(X), before)


@pytest.mark.filterwarnings("ignore:Training was interrupted by")
@pytest.mark.parametrize("stage", [1, 2])
def test_an_interrupted_fit_can_be_used(stage, monkeypatch):
    """An interrupt of the first stage leaves out the second one."""
    X, y = clusters(90)
    n_fits = []
    train = _joint.Fit._train

    def interrupted(self, callbacks):
        n_fits.append(self)
        if len(n_fits) == stage:
            self.interrupted = True
            outcome = train(self, callbacks)
            return type(outcome).INTERRUPTED
        return train(self, callbacks)

    monkeypatch.setattr(_joint.Fit, "_train", interrupted)
    if stage == 1:
        with pytest.warns(UserWarning, match="interrupted before the second stage"):
            classifier = RBMClassifier(bits(), random_state=0).fit(X, y)
        assert classifier.generative_ is None
    else:
        classifier = RBMClassifier(bits(), random_state=0).fit(X, y)
    assert len(n_fits) == stage
    assert classifier.predict_proba(X).shape == (90, 3)


def test_an_interrupted_comparison_stops_the_fit(monkeypatch):
    X, y = clusters()
    classifier = RBMClassifier(bits(), random_state=0).fit(X, y)
    before = classifier.predict_proba(X)
    run = _joint.FitWithLabels.run

    def interrupted(self):
        run(self)
        self.interrupted = True

    monkeypatch.setattr(_joint.FitWithLabels, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        classifier.fit(X, y)
    assert_array_equal(classifier.predict_proba(X), before)


def test_gray_levels_are_read_as_probabilities():
    rbm = BernoulliRBMEstimator(10, n_iter=3, random_state=0)
    classifier = RBMClassifier(rbm, generative=0.3, random_state=0).fit(GRAY, Y[:60])
    joint = classifier._joint
    assert joint.components_.shape == (10, 10 + 64)
    mean = joint._learning.visible_mean
    assert_allclose(mean[10:], GRAY.mean(axis=0), atol=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier.predict(GRAY)
    with pytest.warns(UserWarning, match="X has values from"):
        classifier.predict(2 * GRAY)
