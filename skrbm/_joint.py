"""The joint model of rows and their labels: its rows, its training, its predictions.

Labels are columns of categories in front of those of the features. A model is trained in
two stages: on the features alone, and with the labels, from there on.
"""

import functools
import warnings
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from skrbm import _kernels, _rules, likelihood
from skrbm._attributes import model_of
from skrbm._base import BaseRBM
from skrbm._data import DataSet, spread
from skrbm._fitting import Call, Fit, PartialFit
from skrbm._gaps import mean_hidden
from skrbm._random import generator
from skrbm._units.labelled import LabelledUnits

# Share of the generative objective if all labels are known, and if some are not, and the
# shares that are compared.
SHARE, SHARE_IF_UNKNOWN = 0.01, 0.1
SHARES = SHARE, SHARE_IF_UNKNOWN, 1.0
# Factor of the learning rate if that share is small.
LARGEST_FACTOR = 5.0
# Inverse strengths of the penalty on the first weights of labels: those that are compared,
# and the one used if some labels are not known. Drawn labels would wash out small weights.
PENALTY, OTHER_PENALTY, PENALTY_IF_UNKNOWN = 10.0, 0.1, 100.0
# Largest number of rows that the first weights of labels are found from.
MOST_TO_START = 10_000
# Numbers of labelled rows for which settings are compared, and the part of them that is
# held out to do so.
FEWEST_TO_COMPARE, MOST_TO_COMPARE, HELD_OUT = 100, 20_000, 0.2


def rate_factor(share):
    """Return the factor of the learning rate for a share of the generative objective.

    The gradient of the rest, the discriminative objective, is small: it is that of rows
    whose labels are not predicted yet, and needs no chains, which could not follow.
    """
    return min(LARGEST_FACTOR, 1 / max(share, 1 / LARGEST_FACTOR))


class JointRBM(BaseRBM):
    """Joint model of rows and their labels.

    It has the parameters of the estimator that reads the rows.

    Parameters
    ----------
    estimator : BaseRBM
        Fitted estimator of the features, or at least of their columns.
    n_states : list of int
        Number of classes of each label.
    generative : float
        Share of the generative objective.
    seed : int
        Seed of the training.

    Attributes
    ----------
    rate : float
        Learning rate, before the factor of the share is applied.
    """

    _units = LabelledUnits

    def __init__(self, estimator, n_states, generative, seed):
        self.estimator, self.n_states, self.generative = estimator, n_states, generative
        self.seed, self.rate = seed, _rules.STREAM_RATE
        self.set_given(estimator)

    def set_given(self, estimator):
        """Set the parameters to those of an estimator of the features.

        Where the learning rate or the weight decay is "auto", the present one is kept.
        """
        given = estimator.get_params(deep=False)
        if given["learning_rate"] == "auto":
            given["learning_rate"] = self.rate
        if given["weight_decay"] == "auto":
            given["weight_decay"] = vars(self).get("weight_decay", "auto")
        self.__dict__.update(given)
        self.rate = given["learning_rate"]
        self.learning_rate = self.rate * rate_factor(self.generative)
        self.warm_start, self.early_stopping, self.random_state = True, False, self.seed

    # What training asks for -------------------------------------------------------------

    @property
    def _binarizes(self):
        return self.estimator._binarizes

    @property
    def _solvers(self):  # type: ignore[override]  # the instance answers
        return self.estimator._solvers

    def _fixed_settings(self, summary):
        return self.estimator._fixed_settings(summary) | {"generative": self.generative}

    def _untrained(self, data, dtype):
        n = sum(self.n_states) if data.is_sparse else len(self.n_states)
        features = DataSet(data.X[:, n:], data.rows, data.row_weights)
        units = self.estimator._untrained(features, dtype)
        return LabelledUnits.with_labels(units, self.n_states)

    def _template(self, dtype):
        """Return units like those of the model."""
        if hasattr(self, "_learning"):
            return self._learning.model.visible
        return LabelledUnits.with_labels(model_of(self.estimator).visible, self.n_states)

    # Rows with labels -------------------------------------------------------------------

    def rows_with_labels(self, data, codes):
        """Return a data set of rows with labels in front, for rows that count.

        Parameters
        ----------
        data : DataSet
            The features, not encoded.
        codes : int ndarray of shape (n_rows_of_X, n_labels)
            Codes of the labels, -1 if they are not known.
        """
        X, weights = data.X, data.row_weights
        if data.counted is not None:
            X, weights, codes = X[data.counted], weights[data.counted], codes[data.counted]
        n_states, unknown = np.array(self.n_states), codes < 0
        codes = _with_guesses(codes, unknown)
        if data.is_sparse:
            codes = codes + np.cumsum(n_states) - n_states
            indptr = np.arange(0, codes.size + 1, codes.shape[1])
            ones, shape = np.ones(codes.size, X.dtype), (len(codes), n_states.sum())
            on = sp.csr_array((ones, codes.ravel(), indptr), shape=shape)
            X = sp.hstack([on, X], format="csr")
        else:
            largest = np.min_scalar_type(n_states.max() - 1)
            dtype = np.result_type(np.uint8 if X.dtype == bool else X.dtype, largest)
            X = np.hstack([codes.astype(dtype), X.astype(dtype, copy=False)])
        rows = DataSet(X, None, weights)
        rows.summary = data.summary  # of the features
        rows.unlabelled = unknown if unknown.any() else None
        return rows

    def label_probabilities(self, data):
        """Return the probabilities of the classes of each label, given the features.

        These are given features alone: if there are several labels, none is known.
        """
        model = model_of(self).for_rows(len(data))
        blocks = _kernels.row_blocks(len(data), data.n_features, 16 * _kernels.BLOCK_SIZE)
        parts = [self._probabilities_of(model, data.X[rows]) for rows in blocks]
        return [np.concatenate(of_label) for of_label in zip(*parts, strict=True)]

    def _probabilities_of(self, model, X):
        labels = list(range(len(self.n_states)))
        if sp.issparse(X) and len(labels) > 1:  # only dense rows have gaps
            X = X.toarray()
        codes = np.zeros((X.shape[0], len(labels)), dtype=int)
        rows = self.rows_with_labels(DataSet(X), codes)
        if len(labels) > 1:
            X = rows.X.astype(np.result_type(np.float32, rows.X))
            X[:, labels] = np.nan
            rows = DataSet(X)
        rows = rows.encode(model.visible.encoder)
        found = likelihood._conditionals(self, model, rows, labels)
        return [found[label] for label in labels]


def _with_guesses(codes, unknown):
    """Return codes of labels with those of other rows in place of unknown ones."""
    if not unknown.any():
        return codes
    codes = codes.copy()
    for column, missing in zip(codes.T, unknown.T, strict=True):
        known = generator(0).permutation(column[~missing])
        column[missing] = np.resize(known, missing.sum()) if len(known) else 0
    return codes


# Training -------------------------------------------------------------------------------


class _CallWithLabels(Call):
    """What the calls below have in common: rows that are a data set, with labels."""

    rows: DataSet

    def read(self, reset):
        return self.rows

    def units(self, data):
        return model_of(self.rbm).visible if self.is_set_by_hand else super().units(data)

    @property
    def clip(self):
        return self.rbm.estimator._units.clip if self.rbm._binarizes else None


class FitWithLabels(_CallWithLabels, Fit):
    """Training of a joint model with all rows, from the attributes that it has."""

    def __init__(self, joint, rows):
        super().__init__(joint, None)
        self.rows = rows


class PartialFitWithLabels(_CallWithLabels, PartialFit):
    """One pass of a joint model over some rows."""

    def __init__(self, joint, rows):
        super().__init__(joint, None, None)
        self.rows = rows


class Choice(NamedTuple):
    """Settings of the training with labels.

    Attributes
    ----------
    share : float
        That of the generative objective.
    decay : float
        Factor of the weight decay of the model of the features.
    penalty : float
        Inverse strength of the penalty on the first weights of labels.
    """

    share: float
    decay: float
    penalty: float


class Plan:
    """How labels are learned, given a trained model of the features.

    Parameters
    ----------
    estimator : BaseRBM
        The model of the features.
    data : DataSet
        All rows that it was trained on. Some of them may not count.
    codes : int ndarray of shape (n_rows_of_X, n_labels)
        Codes of the labels, -1 if they are not known.
    n_states : list of int
        Number of classes of each label.
    generative : float or "auto"
        Share of the generative objective.
    seed : int
        Seed of the training.
    """

    def __init__(self, estimator, data, codes, n_states, generative, seed):
        self.estimator, self.data, self.codes = estimator, data, codes
        self.n_states, self.generative, self.seed = n_states, generative, seed
        counted = np.arange(len(data)) if data.counted is None else data.counted
        is_known = codes[counted] >= 0
        self.known, self.all_known = counted[is_known.any(axis=1)], bool(is_known.all())
        if not len(self.known):
            raise ValueError(
                "All rows that have a label have weight 0. At least one label must count."
            )

    def run(self):
        """Return the joint model."""
        default = self._default()
        if self.is_compared:
            choice, is_trained = self._compare(default)
        else:
            choice, is_trained = default, True
        joint = self.start(choice, self.codes)
        return self.train(joint, choice, self.codes) if is_trained else joint

    def untrained(self):
        """Return the joint model before training, with the first weights of labels."""
        return self.start(self._default(), self.codes)

    @property
    def is_compared(self):
        """Whether there are labels enough to compare settings, and not too many."""
        return FEWEST_TO_COMPARE <= len(self.known) <= MOST_TO_COMPARE

    def _default(self):
        """Return the settings without a comparison.

        Weight decay is a part of the generative objective, unless rows are so few, and all
        have labels, that the other one needs it more.
        """
        share, penalty = SHARE, PENALTY
        if not self.all_known:
            share, penalty = SHARE_IF_UNKNOWN, PENALTY_IF_UNKNOWN
        if self.generative != "auto":
            share = float(self.generative)
        needed = self.decay_is_given or len(self.known) < FEWEST_TO_COMPARE
        return Choice(share, 1.0 if needed and self.all_known else share, penalty)

    @property
    def decay_is_given(self):
        return self.estimator.weight_decay != "auto"

    def _compare(self, default):
        """Return the settings that are best for labels held out, and whether to train.

        Otherwise, the first weights of labels are better.
        """
        order = generator(self.seed).permutation(self.known)
        held_out = np.sort(order[: int(np.ceil(HELD_OUT * len(order)))])
        codes = self.codes.copy()
        codes[held_out] = -1
        penalties = list(dict.fromkeys([default.penalty, PENALTY, OTHER_PENALTY]))
        starts = [self._first_weights(penalty, codes) for penalty in penalties]
        scores = [self.score(self._joint(default.share, x), held_out) for x in starts]
        best = int(np.argmax(scores))
        shares = SHARES if self.generative == "auto" else [default.share]
        pairs = [(share, decay) for share in shares for decay in (share, 1.0)]
        if self.decay_is_given:
            pairs = [(share, 1.0 if self.all_known else share) for share in shares]
        choices = [Choice(*pair, penalties[best]) for pair in dict.fromkeys(pairs)]
        after = []
        for choice in choices:
            joint = self._joint(choice.share, starts[best])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.train(joint, choice, codes, to_compare=True)
            after.append(self.score(joint, held_out))
        is_trained = self.generative != "auto" or scores[best] < max(after)
        return choices[int(np.argmax(after))], is_trained

    def score(self, joint, places):
        """Return the mean log-likelihood of known labels of rows, given the features."""
        found = joint.label_probabilities(DataSet(self.data.X[places]))
        logs, weights = np.zeros(len(places)), self.data.row_weights
        for p, codes in zip(found, self.codes[places].T, strict=True):
            own = np.where(codes < 0, 1, p[np.arange(len(p)), codes])
            logs += np.log(np.maximum(own, 1e-300))
        return np.average(logs, weights=None if weights is None else weights[places])

    # First weights ----------------------------------------------------------------------

    @functools.cached_property
    def _hidden(self):
        """Places of rows with labels, and the means of their hidden units."""
        model, mean = model_of(self.estimator), self.estimator.visible_mean_
        some = self.data.select(self.known[spread(len(self.known), MOST_TO_START)])
        means = some.encode(model.visible.encoder).apply(
            lambda v: mean_hidden(model, v, mean),
            model,
            n_columns=len(model.hidden_bias),
        )
        return some.rows, means

    def start(self, choice, codes):
        """Return a joint model before training."""
        return self._joint(choice.share, self._first_weights(choice.penalty, codes))

    def _first_weights(self, penalty, codes):
        """Return biases and weights of labels, those of logistic regressions, side by side.

        As far as the weights of a class are small, its log-odds are linear in the means of
        the hidden units, which are those of the model of the features.
        """
        places, hidden = self._hidden
        row_weights, results = self.data.row_weights, []
        for column, n_states in zip(codes[places].T, self.n_states, strict=True):
            some = column >= 0
            weights = None if row_weights is None else row_weights[places[some]]
            arguments = hidden[some], column[some], n_states, penalty, weights
            results.append(_regression(*arguments))
        return np.concatenate(results)

    def _joint(self, share, first):
        """Return a joint model with these biases and weights of labels, side by side."""
        bias, weights = first[:, 0], first[:, 1:]
        features = self.estimator
        joint = JointRBM(features, self.n_states, share, self.seed)
        joint.rate = features.learning_rate_
        joint.learning_rate = joint.rate * rate_factor(share)
        fitted = {k: v for k, v in vars(features).items() if k.endswith("_")}
        joint.__dict__.update(fitted)
        even = np.concatenate([np.full(n, 1 / n) for n in self.n_states])
        joint.components_ = np.hstack(
            [weights.T.astype(features.components_.dtype), features.components_]
        )
        joint.intercept_visible_ = np.append(bias, features.intercept_visible_)
        joint.visible_mean_ = np.append(even, features.visible_mean_)
        return joint

    def train(self, joint, choice, codes, to_compare=False):
        """Train a joint model, and return it."""
        features = self.estimator
        joint.weight_decay = features.weight_decay_ * choice.decay
        joint.n_iter, joint.n_gibbs_steps = features.n_iter_, features.n_gibbs_steps_
        joint.verbose = 0 if to_compare else features.verbose
        fit = FitWithLabels(joint, joint.rows_with_labels(self.data, codes))
        fit.run()
        if fit.interrupted and to_compare:
            raise KeyboardInterrupt
        return joint


def _regression(hidden, codes, n_states, penalty, sample_weight) -> Any:
    """Return intercepts and coefficients of all classes by logistic regression.

    The first column has the intercepts. All columns sum to 0.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import

    result, found = np.zeros((n_states, 1 + hidden.shape[1])), np.unique(codes)
    if len(found) < 2:
        return result
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it need not converge
        model = LogisticRegression(C=penalty, max_iter=300)
        model.fit(hidden, codes, sample_weight)
    of_found = np.column_stack([model.intercept_, model.coef_])
    if len(found) == 2:
        of_found = np.concatenate([-of_found, of_found]) / 2
    result[:, 0] = of_found[:, 0].min() - 1  # of classes without rows
    result[found] = of_found
    return result - result.mean(axis=0)
