"""A scikit-learn compatible classifier: its parameters, and how it reads labels."""

from __future__ import annotations

import copy
import warnings
from numbers import Real
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    assert_all_finite,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from skrbm import _inputs
from skrbm._base import BaseRBM
from skrbm._compat.sklearn import Interval, StrOptions, _fit_context
from skrbm._data import DataSet
from skrbm._fitting import Fit, PartialFit, unchanged_on_error
from skrbm._frames import missing_cells
from skrbm._imputer import suited_to
from skrbm._joint import SHARE, JointRBM, PartialFitWithLabels, Plan
from skrbm._mixed import MixedRBMEstimator
from skrbm._random import draw_seeds
from skrbm._typing import MatrixLike, RandomStateLike


class RBMClassifier(ClassifierMixin, BaseEstimator):
    """Classifier for rows with few labels or with gaps.

    It learns from rows with a label and from rows without one, which helps if labels are
    few. Rows may have missing values, and may be binary, real-valued or tables, as
    `estimator` chooses. There may be several labels. With a single one, the probabilities
    of its classes are exact in rows without missing values.

    If all rows have a label, try a faster classifier first, such as a logistic regression.

    Parameters
    ----------
    estimator : estimator, default=None
        Estimator with the parameters of the model; it is cloned. It also says which kind of
        features there are. Pass one to set the number of hidden units or the length of the
        training. If None, it has default parameters and suits the data: a
        :class:`MixedRBMEstimator` for data frames, and for arrays a
        :class:`BernoulliRBMEstimator` if all values are in [0, 1] or it is sparse, a
        :class:`GaussianRBMEstimator` if all columns are other numbers, and otherwise a
        :class:`MixedRBMEstimator`.

    generative : float or "auto", default="auto"
        Weight, from 0 to 1, of modeling whole rows instead of only the label given the
        features (see Notes). Larger weights keep the classifier from overfitting if labels
        are few. "auto" compares 0.01, 0.1 and 1 on held-out labels. To train only once,
        pass a number here and as the `weight_decay` of `estimator`. The weight used is
        stored in `generative_`.

    random_state : int, RandomState instance or None, default=None
        Controls the training, also that of `estimator` if it has no `random_state` of its
        own. Pass an int for reproducible results across calls of `fit`.

    Attributes
    ----------
    estimator_ : estimator
        The model of the features alone, after the first stage of the training. After
        `partial_fit` without `fit`, it is not fitted, and only knows the columns.

    classes_ : ndarray of shape (n_classes,) or list of ndarray
        The classes, sorted; a list with those of each label if there are several.

    generative_ : float or None
        The weight of the log-likelihood of whole rows, a number even if `generative` is
        "auto". None if the model before the second stage was best.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if all of them are strings.

    See Also
    --------
    BernoulliRBMEstimator : Features for a classifier of your choice.
    sklearn.semi_supervised.SelfTrainingClassifier : Another classifier that learns from
        rows without label.
    sklearn.pipeline.Pipeline : Joins an estimator, as a transformer, and a classifier.

    Notes
    -----
    The model is a restricted Boltzmann machine. Its visible units are those of the features
    and, for each label, a softmax unit of its classes [1]_.

    **Two stages.** The first stage trains `estimator` on the features of all rows. The
    second stage begins at the coefficients of logistic regressions on the hidden units of
    the first. From there on, a joint model learns from rows and labels. It maximizes the
    weighted sum of two objectives [2]_: with weight `generative`, the log-likelihood of
    whole rows, in which the label is one more column, and with the remaining weight the
    log-probability of the label given the features, whose gradient is exact and needs no
    chains. So 0 is discriminative, 1 is generative, and values between are hybrid. In each
    presentation of a row, a missing label is drawn from its distribution given the
    features.

    **The weight "auto".** With 100 to 20000 labeled rows, a fifth of these are held out.
    By their labels, the weights 0.01, 0.1 and 1 are compared with each other and with the
    model before the second stage. Otherwise the weight is 0.01, or 0.1 if some labels are
    missing, without a comparison. In `partial_fit`, "auto" keeps the weight, and is 0.01 at
    first.

    **Parameters of the estimator.** Both stages use its `batch_size`, `n_chains` and
    `solver`, the number of epochs of the first stage, and the learning rate and the weight
    decay that it used. In the second stage, the learning rate is multiplied by
    ``1 / generative``, but by 5 at most. If `weight_decay` is "auto", the decay of the
    second stage is that of the first or `generative` times as much. The two are compared in
    the same way as weights, even if `generative` is a number. Without a comparison, the
    decay is `generative` times that of the first stage, but the same as there if all rows
    have a label and there are fewer than 100. A `weight_decay` that is a number is used
    unchanged, or `generative` times as much if some labels are missing. Where several
    settings are compared, training takes several times as long.

    Early stopping, callbacks and the check of the model (`verdict_`) are those of the first
    stage, and `warm_start` has no effect. Lines that are printed with `verbose` name a
    JointRBM in the second stage. The rows are copied once, together with their labels.

    References
    ----------
    .. [1] Larochelle, H., Mandel, M., Pascanu, R. and Bengio, Y. (2012). Learning
       algorithms for the classification restricted Boltzmann machine. Journal of Machine
       Learning Research, 13, 643-669.
    .. [2] Larochelle, H. and Bengio, Y. (2008). Classification using discriminative
       restricted Boltzmann machines. ICML 2008, 536-543.

    Examples
    --------
    Half of the rows have no label, marked by -1:

    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator, RBMClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X, known = X / 16, y.copy()
    >>> known[500:1000] = -1
    >>> rbm = BernoulliRBMEstimator(n_components=50, n_iter=10)
    >>> clf = RBMClassifier(rbm, random_state=0).fit(X[:1000], known[:1000])
    >>> print(f"{clf.score(X[1000:], y[1000:]):.1f}")
    0.9
    >>> clf.predict_proba(X[:2]).shape
    (2, 10)
    """

    estimator_: BaseRBM
    classes_: np.ndarray | list[np.ndarray]
    generative_: float | None
    n_features_in_: int
    feature_names_in_: np.ndarray

    _parameter_constraints: dict = {
        "estimator": [BaseRBM, None],
        "generative": [Interval(Real, 0, 1, closed="both"), StrOptions({"auto"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: BaseRBM | None = None,
        *,
        generative: float | Literal["auto"] = "auto",
        random_state: RandomStateLike = None,
    ) -> None:
        self.estimator = estimator
        self.generative = generative
        self.random_state = random_state

    # Training ---------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Fit the model to rows and their labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows that `estimator` takes, with NaN for missing values.

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels: classes, of any type that can be sorted. NaN, None, pandas.NA and the
            number -1 mark rows without label. If there is only one other class, -1 is a
            class and not a mark, so that -1 and 1 are two classes.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows. Only their ratios matter. If None, all rows
            have the same weight.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If a parameter is out of range, if a label has fewer than two classes or is a
            number that is not a class, if `X` and `y` have different numbers of rows, or as
            for the `fit` of `estimator`.

        Warns
        -----
        UserWarning, ConvergenceWarning
            As for the `fit` of `estimator`, in both stages.
        """
        with unchanged_on_error(self):
            self._check_lengths(X, y)
            labels = Labels.read(y)
            estimator, seed = self._new_estimator(X)
            first = Fit(estimator, X, None, sample_weight)
            estimator._run(first)
            trained_on = first.training.data
            data = DataSet(trained_on.X, None, trained_on.row_weights)
            data.counted = trained_on.counted
            arguments = data, labels.codes, labels.n_states, self.generative, seed
            plan = Plan(estimator, *arguments)
            joint = plan.untrained() if first.interrupted else plan.run()
            self._set(estimator, labels, joint)
        if first.interrupted:
            warnings.warn(
                "Training was interrupted before the second stage, so that the labels were "
                "only learned by logistic regressions on the hidden units."
            )
        return self

    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        classes: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Update the model with one pass over rows and their labels, in order.

        There is no first stage: a new model learns from rows and labels from the beginning,
        and a fitted one is trained further. The learning rate is constant. If you passed an
        `estimator`, lower it towards the end by
        ``set_params(estimator__learning_rate=...)``. After `fit`, whose rate ends at 0, a
        single call at the first rate makes a model worse.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows, as for the `partial_fit` of `estimator`.

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels, as for `fit`. -1 marks rows without label unless it is one of the
            classes.

        classes : array-like of shape (n_classes,) or list of these, default=None
            All classes, in a list for each label if there are several. Only needed in the
            first call.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows, as for the `partial_fit` of `estimator`.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If `classes` are missing in the first call, if they differ from those of the
            first call, or if `y` has other values. Otherwise as for `fit`.

        Warns
        -----
        UserWarning, ConvergenceWarning
            As for the `partial_fit` of `estimator`.
        """
        self._validate_params()
        with unchanged_on_error(self):
            self._check_lengths(X, y)
            joint, known = getattr(self, "_joint", None), getattr(self, "classes_", classes)
            if known is None:
                raise ValueError("classes must be passed in the first call of partial_fit.")
            labels = Labels.read(y, known)
            if classes is not None:
                labels.check_same(classes)
            if joint is None:
                estimator, seed = self._new_estimator(X)
                estimator._validate_params()
                share = SHARE if self.generative == "auto" else float(self.generative)
                joint = JointRBM(estimator, labels.n_states, share, seed)
            else:
                joint = self._same_joint(joint)
            data = PartialFit(joint.estimator, X, sample_weight).read(
                reset=not hasattr(joint, "components_")
            )
            rows = joint.rows_with_labels(data, labels.codes)
            PartialFitWithLabels(joint, rows).run()
            self._set(joint.estimator, labels, joint)
        return self

    def _check_lengths(self, X, y):
        """Raise an error unless there is a label for each row."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        check_consistent_length(X, y)

    def _same_joint(self, joint):
        """Return a copy of the joint model with the parameters that are set now."""
        joint = copy.copy(joint)
        if self.generative != "auto":
            joint.generative = float(self.generative)
        if self.estimator is not None:
            if type(self.estimator) is not type(joint.estimator):
                raise ValueError(
                    f"estimator is a {type(self.estimator).__name__}, but the model to "
                    f"continue was trained by a {type(joint.estimator).__name__}. To train "
                    "a new model, clone the classifier."
                )
            self.estimator._validate_params()
            joint.set_given(self.estimator)
        return joint

    def _new_estimator(self, X):
        """Return an estimator to train, and a seed for the training with labels."""
        seed, of_estimator = draw_seeds(2, check_random_state(self.random_state))
        if self.estimator is None:
            name = type(self).__name__
            table = _inputs.check_table(X, _inputs.stand_in(name), reset=True)
            estimator = suited_to(table, name)
        else:
            estimator = clone(self.estimator)
        if estimator.random_state is None:
            estimator.set_params(random_state=of_estimator)
        return estimator, seed

    def _set(self, estimator, labels, joint):
        """Set the fitted attributes."""
        self.estimator_, self._joint = estimator, joint
        self.classes_ = labels.classes if labels.several else labels.classes[0]
        self.generative_ = joint.generative if hasattr(joint, "_learning") else None
        self.n_features_in_ = estimator.n_features_in_
        self.__dict__.pop("feature_names_in_", None)
        if hasattr(estimator, "feature_names_in_"):
            self.feature_names_in_ = estimator.feature_names_in_

    # Prediction -------------------------------------------------------------------------

    def predict_proba(self, X: MatrixLike) -> Any:
        """Compute the probabilities of the classes given the features.

        They are exact for rows without missing values if there is one label. Otherwise they
        are averages over what is missing in the row, as by the `conditional_proba` of
        `estimator`, and over the other labels, which are all taken to be unknown.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows, with NaN for missing values.

        Returns
        -------
        proba : float64 ndarray of shape (n_samples, n_classes), or list of these
            Probabilities, in the order of `classes_`; a list of arrays if there are several
            labels.

        Raises
        ------
        ValueError
            As for the `score_samples` of `estimator`.

        Warns
        -----
        UserWarning
            As for the `score_samples` of `estimator`.
        """
        check_is_fitted(self)
        found = self._joint.label_probabilities(self._read(X))
        return found if isinstance(self.classes_, list) else found[0]

    def _read(self, X):
        """Return rows of features as a data set, after checking them."""
        reader = self.estimator_
        data = DataSet(reader._validate(X, allow_nan=True))
        _inputs.check_values(reader._units, data, X, reader, clips=True)
        return data

    def predict_log_proba(self, X: MatrixLike) -> Any:
        """Compute the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows, as for `predict_proba`.

        Returns
        -------
        log_proba : float64 ndarray of shape (n_samples, n_classes), or list of these
            Log-probabilities, in nats, in the form of `predict_proba`.
        """
        found = self.predict_proba(X)
        if isinstance(found, list):
            return [_log(p) for p in found]
        return _log(found)

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows, as for `predict_proba`.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
            Classes.
        """
        found = self.predict_proba(X)
        if not isinstance(self.classes_, list):
            return self.classes_[found.argmax(axis=1)]
        pairs = zip(self.classes_, found, strict=True)
        return np.stack([classes[p.argmax(axis=1)] for classes, p in pairs], axis=1)

    def score(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the accuracy of `predict`, in rows that have a label.

        If there are several labels, all labels that a row has must be right.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows, as for `predict_proba`.

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels. Missing ones are marked as in `fit`.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows. If None, all rows have the same weight.

        Returns
        -------
        score : float
            Share of the rows with a label that are classified correctly.

        Raises
        ------
        ValueError
            If no row has a label, or as for `predict`.
        """
        self._check_lengths(X, y)
        predicted = self.predict(X).reshape(len(np.asarray(y)), -1)
        given = np.asarray(y).reshape(len(predicted), -1)
        classes = self.classes_ if isinstance(self.classes_, list) else [self.classes_]
        columns = zip(given.T, classes, strict=True)
        missing = np.stack([_missing_labels(*column) for column in columns], axis=1)
        some = ~missing.all(axis=1)
        if not some.any():
            raise ValueError("y has no label, so that there is nothing to score.")
        right = (missing | (predicted == given)).all(axis=1)[some]
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight)[some]
        return _inputs.weighted_mean(right, sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator or MixedRBMEstimator()).input_tags
        tags.classifier_tags.multi_label = tags.target_tags.multi_output = True
        return tags


def _log(p):
    return np.log(np.maximum(p, np.finfo(p.dtype).tiny))


class Labels(NamedTuple):
    """Labels of rows.

    Attributes
    ----------
    classes : list of ndarray
        The classes of each label, in the order of their codes.
    codes : int ndarray of shape (n_samples, n_labels)
        Codes of the classes that rows have, -1 if they are not known.
    several : bool
        Whether the labels were passed as several columns.
    """

    classes: list[np.ndarray]
    codes: np.ndarray
    several: bool

    @property
    def n_states(self):
        return [len(classes) for classes in self.classes]

    @classmethod
    def read(cls, y, classes=None) -> Self:
        """Return the labels of `y`, which have these classes if they are given.

        `classes` are an array, or a list of arrays if there are several labels.
        """
        y = y.toarray() if sp.issparse(y) else np.asarray(y)
        several = y.ndim == 2 and y.shape[1] > 1
        y = y if several else column_or_1d(y, warn=True)[:, None]
        all_classes = [None] * y.shape[1] if classes is None else _by_label(classes)
        if len(all_classes) != y.shape[1]:
            raise ValueError(
                f"y has {y.shape[1]} columns of labels, but the classes are those of "
                f"{len(all_classes)}. Pass the same labels in each call, and an array of "
                "classes or, if there are several labels, a list of arrays."
            )
        pairs = [_read_label(*pair) for pair in zip(y.T, all_classes, strict=True)]
        codes = np.stack([codes for _, codes in pairs], axis=1)
        return cls([classes for classes, _ in pairs], codes, several)

    def check_same(self, classes):
        """Raise an error if the classes that are passed are others than those known."""
        given = [np.unique(each) for each in _by_label(classes)]
        same = len(given) == len(self.classes) and all(
            map(np.array_equal, given, self.classes)
        )
        if not same:
            raise ValueError(
                f"classes are {[each.tolist() for each in given]}, but those of the first "
                f"call were {[each.tolist() for each in self.classes]}. Leave them out, or "
                "pass the same."
            )


def _by_label(classes):
    """Return the classes of each label, given an array or a list of arrays of them."""
    classes = list(classes)
    if classes and np.ndim(classes[0]) == 1:
        return [np.asarray(each) for each in classes]
    return [np.array(classes)]


def _read_label(y, classes):
    """Return the classes of a label, and the codes of values, -1 if they are not known."""
    missing = _missing_labels(y, classes)
    known = _plain(y[~missing])
    if known.dtype.kind == "f":
        assert_all_finite(known, input_name="y")
    if classes is None:
        if len(known):
            check_classification_targets(known)
        classes = known
    classes = np.unique(classes)
    if len(classes) < 2:
        number = "1 class" if len(classes) == 1 else "0 classes"
        raise ValueError(
            f"y must have at least two classes, but it has {number}: {classes.tolist()}."
        )
    codes = np.full(len(y), -1)
    place_of = {value: place for place, value in enumerate(classes.tolist())}
    places = [place_of.get(value, -1) for value in known.tolist()]
    if -1 in places:
        other = known.tolist()[places.index(-1)]
        raise ValueError(
            f"y has the label {other!r}, which is not among the classes "
            f"{classes.tolist()}. Pass all classes in the first call of partial_fit."
        )
    codes[~missing] = places
    return classes, codes


def _plain(values):
    """Return an array of numbers or booleans if objects are these."""
    if values.dtype.kind == "O":
        array = np.array(values.tolist())
        values = array if array.dtype.kind in "biuf" else values
    return values


def _missing_labels(y, classes=None):
    """Return where a label is missing: marked by NaN, None or NA, or by -1.

    -1 is not a mark if it is one of the classes or, where these are not known, one of two.
    """
    missing = missing_cells(y[:, None])[:, 0]
    known = _plain(y[~missing])
    if known.dtype.kind in "iufO":
        marked = np.array([not isinstance(x, str) and x == -1 for x in known], bool)
        others = known[~marked] if classes is None else classes
        n_others = len(set(others.tolist() if classes is None else others))
        among = n_others < 2 if classes is None else -1 in list(classes)
        if not among:
            missing[~missing] = marked
    return missing
