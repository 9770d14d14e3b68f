"""Training history, early stopping, and the score of a model during training.

This module does not use the generator of the training, so recording does not change the
trained model.
"""

import functools

import joblib
import numpy as np
import scipy.sparse as sp

from skrbm import _annealing, _labels
from skrbm._data import spread
from skrbm._enumeration import exact_log_partition
from skrbm._gaps import LARGEST_EXACT_TO_SCORE, filled, log_marginals
from skrbm._random import generator


def row_scores(model, v, log_partition=None, columns=None):
    """Return the score of each row, in nats.

    If the model has labels, this is their log-likelihood given the rest of the row. Else it
    is that of the row if `log_partition` is given, or the pseudo-log-likelihood.
    The free energy alone would not do because it lacks the log partition function, which
    changes from epoch to epoch. Missing cells do not count.
    """
    if log_partition is None:
        v, missing = filled(model, model.visible.clip(v))
        if model.visible.labels is not None:
            return _labels.log_likelihood(model, v)
        return model.pseudo_log_likelihood(v, columns, missing)
    return log_marginals(model, v, to_score=True) - log_partition


class Validation:
    """Early stopping on the score of held-out rows.

    Parameters
    ----------
    data : DataSet
        The held-out rows.
    tol : float
        Minimum gain that counts as an improvement, in nats.
    patience : int
        Number of consecutive epochs that may gain less than `tol`.

    Attributes
    ----------
    scores : list of float
        Mean score of the held-out rows after each epoch, in nats.
    n_no_change : int
        Number of consecutive epochs that have gained less than `tol`.
    """

    def __init__(self, data, tol, patience):
        self.data = data
        self.tol = tol
        self.patience = patience
        self.scores = []
        self.n_no_change = 0

    def update(self, model, log_partition=None):
        """Append the score of `model` and return whether it is the best so far."""
        best = max(self.scores, default=-np.inf)
        score = self.score(model, log_partition)
        self.scores.append(score)
        self.n_no_change = 0 if score >= best + self.tol else self.n_no_change + 1
        return score > best

    def score(self, model, log_partition=None):
        """Return the mean score of the held-out rows, in nats."""
        return self.data.mean(lambda v: row_scores(model, v, log_partition), model)

    @property
    def exhausted(self):
        """Whether more than `patience` consecutive epochs have gained less than `tol`."""
        return self.n_no_change > self.patience


def draw_states(model, v, rng):
    """Return rows of states, drawn from values as in training."""
    v = v.copy()
    model.visible.draw_states(v.data if sp.issparse(v) else v, rng)
    return v


def free_energy_gap(model, held_out, trained_on, *, binarize):
    """Return the mean free energy of held-out rows minus that of training rows, in nats.

    The training rows are as many evenly spread rows as there are held-out rows, or all of
    them if there are fewer. If `binarize` is True, states are drawn from the values as in
    training, always with the same random numbers, as are missing cells.
    """

    def mean_free_energy(data):
        rng = generator(0)

        def free_energy(v):
            v = draw_states(model, v, rng) if binarize else v
            return model.free_energy(filled(model, v)[0])

        return data.mean(free_energy, model)

    return mean_free_energy(held_out) - mean_free_energy(trained_on.spread(len(held_out)))


class Record:
    """Record of a training run, scored on a few rows and columns of the data.

    Only observed cells are scored.

    Parameters
    ----------
    data : DataSet
        The training rows.
    start : TrainingState
        The state before the first epoch. It is copied.
    n_epochs : int
        Total number of epochs.
    validation : Validation, default=None
        Early stopping with its held-out rows.
    binarize : bool, default=False
        Whether training draws states from values between 0 and 1.
    per_epoch : int, default=1
        Number of parts of an epoch that are reported separately. `n_epochs` is the total
        number of parts. Held-out rows are scored after whole epochs.

    Attributes
    ----------
    name : {"pseudo_log_likelihood", "label_log_likelihood", "log_likelihood"}
        Name of the score, which depends on the kind of visible units. The log partition
        function that the log-likelihood needs is exact for few hidden units. For more, it
        is estimated by annealed runs that follow the model.
    history : dict of lists
        Lists "epoch", "learning_rate", the score (nats) and "seconds", and
        with held-out rows also "free_energy_gap" (nats). With held-out rows there is an
        entry for each epoch, otherwise for at most `length` evenly spread epochs.
    """

    SIZE = 64  # number of rows, and of columns
    _scores: tuple[list[float], int]  # of the validation, in unpickled records only
    # Number of entries, and that of entries for which log Z is estimated. With few training
    # rows, scoring takes longer than an epoch.
    LENGTH, LENGTH_OF_ESTIMATES = 100, 25
    # Largest number of hidden units for which the log partition function is exact.
    EXACT = LARGEST_EXACT_TO_SCORE
    # Number of annealed runs, and of their steps between epochs that are scored.
    N_RUNS, N_STEPS = 50, 40

    def __init__(
        self,
        data,
        start,
        n_epochs,
        validation=None,
        *,
        binarize=False,
        per_epoch=1,
    ):
        self.start = start.copy()
        self.n_epochs = n_epochs
        self.per_epoch = per_epoch
        self.validation = validation
        self.binarize = binarize
        visible = start.model.visible
        self.name = visible.score if visible.labels is None else "label_log_likelihood"
        self._runs = None
        names = ["epoch", "learning_rate", self.name, "seconds"]
        if validation is not None:
            names.append("free_energy_gap")
        self.history: dict[str, list[float]] = {name: [] for name in names}
        self._columns = spread(data.n_encoded, self.SIZE)
        self._few = data.with_known_labels.spread(self.SIZE)
        self._v = self._few.copy_rows(start.model.dtype)
        self._data = data

    def __getstate__(self):
        """Exclude everything that refers to the data, except for its fingerprint."""
        left_out = {"_data", "_few", "_v", "validation"}
        kept = {name: value for name, value in vars(self).items() if name not in left_out}
        kept["fingerprint"] = self.fingerprint
        if self.validation is not None:
            kept["_scores"] = self.validation.scores, self.validation.n_no_change
        return kept

    def attach(self, data, validation):
        """Return this record with `data` and `validation` attached, after unpickling.

        Raises
        ------
        ValueError
            If `data` is not the data set that the record was created with.
        """
        record = type(self)(
            data,
            self.start,
            self.n_epochs,
            validation,
            binarize=self.binarize,
            per_epoch=self.per_epoch,
        )
        if record.fingerprint != self.fingerprint:
            raise ValueError(
                "The training to resume used other rows or other weights. Pass the same X "
                "and sample_weight, in the same order."
            )
        record.history, record._runs = self.history, self._runs
        if validation is not None:
            validation.scores, validation.n_no_change = self._scores
        return record

    @functools.cached_property
    def fingerprint(self):
        """Hash of the scored rows and of all row weights, which identifies the data."""
        v = sp.csr_array(self._v, copy=True)
        v.eliminate_zeros()
        v.sort_indices()
        X, weights = self._few.X, self._few.row_weights
        rows = np.arange(len(self._few)) if self._few.rows is None else self._few.rows
        positions = [array.astype(np.int64) for array in (rows, v.indptr, v.indices)]
        weights = np.ones(X.shape[0]) if weights is None else weights
        return joblib.hash([*positions, v.data, weights])

    def score(self, model, log_partition=None):
        """Return the mean score of the scored rows, in nats."""
        scores = row_scores(model, self._v, log_partition, self._columns)
        return float(np.average(scores, weights=self._few.weights))

    def log_partition(self, model):
        """Return log Z of a model, or its estimate; None if the score does not need it."""
        if self.name != "log_likelihood":
            return None
        if model.n_enumerated <= self.EXACT:
            return exact_log_partition(model)
        model, n_steps = model.map(lambda a: a.astype(np.float32)), self.N_STEPS
        if self._runs is None:
            path = _annealing.TemperaturePath(model, self.start.visible_mean)
            rng = generator(0)
            self._runs = _annealing.FollowingRuns(path, self.N_RUNS, rng)
            n_steps *= 10
        return self._runs.move_to(model, n_steps)[0]

    @property
    def length(self):
        """Largest number of entries without held-out rows."""
        exact = self.start.model.n_enumerated <= self.EXACT
        estimated = self.name == "log_likelihood" and not exact
        return self.LENGTH_OF_ESTIMATES if estimated else self.LENGTH

    def is_due(self, number):
        """Return whether to record this epoch, counted from 1."""
        if self.validation is not None:
            return number % self.per_epoch == 0
        if self.n_epochs <= self.length:
            return True
        done, before = (self.length * n // self.n_epochs for n in (number, number - 1))
        return done > before

    def add(self, model, epoch):
        """Record a finished epoch and return whether to keep its model."""
        if not self.is_due(epoch.number):
            return self.validation is None or not self.validation.scores
        log_z = self.log_partition(model)
        improved = self.validation is None or self.validation.update(model, log_z)
        self._enter(model, epoch, log_z)
        return improved

    def _enter(self, model, epoch, log_z):
        score = self.score(model, log_z)
        entries = [epoch.number, epoch.learning_rate, score, epoch.seconds]
        if self.validation is not None:
            held_out = self.validation.data
            entries.append(
                free_energy_gap(model, held_out, self._data, binarize=self.binarize)
            )
        for entered, entry in zip(self.history.values(), entries, strict=True):
            entered.append(entry)

    def end(self, model, epoch):
        """End the history with this epoch; `model` is the model after it."""
        self.history = self._history_until(epoch.number)
        scored = self.validation is not None  # all entries that belong to a score exist
        if not scored and epoch.number not in self.history["epoch"]:
            self._enter(model, epoch, self.log_partition(model))

    @property
    def exhausted(self):
        """Whether training should stop early."""
        return self.validation is not None and self.validation.exhausted

    def course(self, n_epochs):
        """Return copies of history and validation scores of the first `n_epochs` epochs."""
        history, scores = self._history_until(n_epochs), None
        if self.per_epoch > 1:
            history["epoch"] = [number / self.per_epoch for number in history["epoch"]]
        if self.validation is not None:
            scores = self.validation.scores[: n_epochs // self.per_epoch]
        return history, scores

    def _history_until(self, number):
        length = int(np.searchsorted(self.history["epoch"], number, side="right"))
        return {name: entries[:length] for name, entries in self.history.items()}

    def shortfall(self, state):
        """Return the score of the initial model minus that of the trained model.

        The difference is in nats per feature and is negative if training improved the
        model. The visible bias of the initial model is first shifted to the means of the
        data.
        """
        log_z, first = self.log_partition(state.result), self.start.model.copy()
        first.visible.follow_mean(self.start.visible_mean, state.visible_mean)
        self._runs = None  # the first model is not close to the last one
        loss = self.score(first, self.log_partition(first)) - self.score(
            state.result, log_z
        )
        return loss / first.visible.n_features
