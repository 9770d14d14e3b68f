"""The record of a training: its history, when to stop early, and a verdict at the end.

Nothing here draws: a training that is recorded is the same as one that is not.
"""

import functools

import joblib
import numpy as np
import scipy.sparse as sp

from skrbm._data import spread


class Validation:
    """When to stop early: the pseudo-log-likelihood of rows that are held out.

    Not their free energy, from which the log partition function is missing, that moves from
    epoch to epoch.

    Parameters
    ----------
    data : DataSet
        The rows that are held out.
    tol : float
        The gain that counts as one, in nats.
    patience : int
        How many epochs in succession may gain less.

    Attributes
    ----------
    scores : list of float
        Mean pseudo-log-likelihood of the rows after each epoch, in nats.
    n_no_change : int
        How many epochs in succession have gained less than `tol`.
    """

    def __init__(self, data, tol, patience):
        self.data = data
        self.tol = tol
        self.patience = patience
        self.scores = []
        self.n_no_change = 0

    def update(self, model):
        """Enter the score of a model; return whether it is the best one so far."""
        best = max(self.scores, default=-np.inf)
        score = self.score(model)
        self.scores.append(score)
        self.n_no_change = 0 if score >= best + self.tol else self.n_no_change + 1
        return score > best

    def score(self, model):
        """Return the mean pseudo-log-likelihood of the rows, in nats."""
        clip = model.visible.clip
        return self.data.mean(lambda v: model.pseudo_log_likelihood(clip(v)), model)

    @property
    def exhausted(self):
        """Whether more than `patience` epochs in succession gained less than `tol`."""
        return self.n_no_change > self.patience


def free_energy_gap(model, held_out, trained_on, *, binarize):
    """Return by how many nats the free energy of rows held out exceeds that of the others.

    The mean over all rows held out, less that over as many rows trained on, evenly spread,
    or over all, if those are fewer; rows as training sees them, drawn as states if
    `binarize`, always with the same random numbers.
    """

    def free_energy(v):
        v = v.copy()
        if binarize:
            rng = np.random.Generator(np.random.SFC64(0))
            model.visible.draw_states(v.data if sp.issparse(v) else v, rng)
        return model.free_energy(v)

    held_out_mean = held_out.mean(free_energy, model)
    return held_out_mean - trained_on.spread(len(held_out)).mean(free_energy, model)


class Record:
    """What became of the model, on a few rows and columns of the data.

    Parameters
    ----------
    data : DataSet
        The rows to train on.
    start : TrainingState
        The state before the first epoch, which is copied.
    n_epochs : int
        How many epochs there are to be.
    validation : Validation, default=None
        Rows that are held out.
    binarize : bool, default=False
        Whether training draws values between 0 and 1.

    Attributes
    ----------
    history : dict of lists
        "epoch", "learning_rate", "pseudo_log_likelihood" (nats) and "seconds" of some
        epochs: of all if rows are held out, else of at most `LENGTH`, evenly spread. With
        rows that are held out, "free_energy_gap".
    """

    SIZE = 64  # rows, and columns
    # A model is trained on few rows in less time than it takes to score these.
    LENGTH = 100

    def __init__(self, data, start, n_epochs, validation=None, *, binarize=False):
        self.start = start.copy()
        self.n_epochs = n_epochs
        self.validation = validation
        self.binarize = binarize
        names = ["epoch", "learning_rate", "pseudo_log_likelihood", "seconds"]
        if validation is not None:
            names.append("free_energy_gap")
        self.history = {name: [] for name in names}
        self._columns = spread(data.n_features, self.SIZE)
        self._few = data.spread(self.SIZE)
        self._v = start.model.visible.clip(self._few.copy_rows(start.model.dtype))
        self._data = data

    def __getstate__(self):
        """Leave out what belongs to the data set, and keep its fingerprint."""
        left_out = {"_data", "_few", "_v", "validation"}
        kept = {name: value for name, value in vars(self).items() if name not in left_out}
        kept["fingerprint"] = self.fingerprint
        if self.validation is not None:
            kept["_scores"] = self.validation.scores, self.validation.n_no_change
        return kept

    def go_on(self, data, validation):
        """Return this record, with the data set that it was made on.

        Raises
        ------
        ValueError
            If the data set cannot be that one.
        """
        record = type(self)(
            data, self.start, self.n_epochs, validation, binarize=self.binarize
        )
        if record.fingerprint != self.fingerprint:
            raise ValueError(
                "The training to go on with was on other rows, or with other weights: pass "
                "the same X and sample_weight, in the same order."
            )
        record.history = self.history
        if validation is not None:
            validation.scores, validation.n_no_change = self._scores
        return record

    @functools.cached_property
    def fingerprint(self):
        """A digest of the few rows and of all weights, by which to know the data again."""
        v = sp.csr_array(self._v, copy=True)
        v.eliminate_zeros()
        v.sort_indices()
        X, weights = self._few.X, self._few.row_weights
        rows = np.arange(len(self._few)) if self._few.rows is None else self._few.rows
        positions = [array.astype(np.int64) for array in (rows, v.indptr, v.indices)]
        weights = np.ones(X.shape[0]) if weights is None else weights
        return joblib.hash([*positions, v.data, weights])

    def score(self, model):
        """Return the mean pseudo-log-likelihood of the rows, from the columns."""
        scores = model.pseudo_log_likelihood(self._v, self._columns)
        return float(np.average(scores, weights=self._few.weights))

    def is_due(self, number):
        """Say whether this epoch, counted from 1, is one to enter."""
        if self.validation is not None or self.n_epochs <= self.LENGTH:
            return True
        done, before = (self.LENGTH * n // self.n_epochs for n in (number, number - 1))
        return done > before

    def add(self, model, epoch):
        """Enter an epoch that is over; return whether its model is one to keep."""
        if not self.is_due(epoch.number):
            return True
        improved = self.validation is None or self.validation.update(model)
        self._enter(model, epoch)
        return improved

    def _enter(self, model, epoch):
        entries = [epoch.number, epoch.learning_rate, self.score(model), epoch.seconds]
        if self.validation is not None:
            held_out = self.validation.data
            entries.append(
                free_energy_gap(model, held_out, self._data, binarize=self.binarize)
            )
        for entered, entry in zip(self.history.values(), entries, strict=True):
            entered.append(entry)

    def end(self, model, epoch):
        """Let the history end with this epoch, which `model` is the model after."""
        self.history, _ = self.course(epoch.number)
        if epoch.number not in self.history["epoch"]:
            self._enter(model, epoch)

    @property
    def exhausted(self):
        """Whether training is to stop early."""
        return self.validation is not None and self.validation.exhausted

    def course(self, n_epochs):
        """Return copies of the history and the validation scores of `n_epochs` epochs."""
        length = int(np.searchsorted(self.history["epoch"], n_epochs, side="right"))
        history = {name: entries[:length] for name, entries in self.history.items()}
        scores = None if self.validation is None else self.validation.scores[:n_epochs]
        return history, scores

    def shortfall(self, state):
        """Return by how much the model of `state` is worse than the first one was.

        In nats per feature; negative if it is better, as a model should be. The first
        model is taken with the visible bias that the means of the data alone give it.
        """
        first = self.start.model.copy()
        first.visible.follow_mean(self.start.counts.visible_mean, state.counts.visible_mean)
        return (self.score(first) - self.score(state.result)) / len(first.visible)
