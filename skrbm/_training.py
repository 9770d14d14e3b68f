"""The epochs of `fit`, and the one pass of `partial_fit`.

This room knows no scikit-learn: it neither warns nor prints.
"""

import time
from typing import NamedTuple

import numpy as np

from skrbm._step import Learner, is_sound

# The factor of the learning rate, as a function of the part of the updates that is done.
SCHEDULES = {
    "linear": lambda done: 1.0 - done,
    "constant": lambda done: 1.0,
}


class Epoch(NamedTuple):
    """What `train` tells of an epoch that is over."""

    number: int  # from 1
    learning_rate: float  # of the last step
    seconds: float


def train(state, settings, data, *, n_epochs, schedule, shuffle, n_done=0):
    """Change `state` epoch by epoch, and yield an `Epoch` after each.

    The first epoch of a new model follows the visible mean; a model that goes on has it
    already. `n_done` epochs of the `n_epochs` are over before this training begins.
    """
    new = state.counts.n_rows_seen == 0
    learner = Learner(state, settings, data)
    n_steps = -(-len(data) // settings.batch_size)
    factor = SCHEDULES[schedule]
    for number in range(n_done + 1, n_epochs + 1):
        start = time.perf_counter()
        done = ((number - 1) * n_steps + np.arange(n_steps)) / (n_epochs * n_steps)
        rates = [settings.learning_rate * factor(part) for part in done.tolist()]
        order = data.order(state.rng if shuffle else None)
        learner.epoch(rates, order, follow_mean=new and number == 1)
        yield Epoch(number, rates[-1], time.perf_counter() - start)


def train_on_chunk(state, settings, data):
    """Run one unshuffled pass at a constant rate; return whether the model is sound."""
    rates = [settings.learning_rate] * -(-len(data) // settings.batch_size)
    Learner(state, settings, data).epoch(rates, data.order(), follow_mean=True)
    return is_sound(state.model)


class Training:
    """How far a training has got: all that it needs to go on.

    When it is pickled its data are left out, and are to be given to `go_on`.

    Parameters
    ----------
    data : DataSet
        The rows to train on.
    state : TrainingState
        What epochs change.
    record : Record
    n_epochs : int
        The number of epochs that there are to be.

    Attributes
    ----------
    kept : TrainingState
        A copy of the state after the last sound epoch, or after the one with the best
        validation score.
    last : Epoch
        The last epoch that is over; None before the first is.
    shape : tuple
        Of the array that the rows are of.
    """

    def __init__(self, data, state, record, n_epochs):
        self.data = data
        self.state = state
        self.record = record
        self.n_epochs = n_epochs
        self.shape = data.X.shape
        self.kept = state.copy()
        self.last = None

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "data"}

    def go_on(self, data, validation):
        """Take the data that a training which was pickled had, or refuse others."""
        self.data = data
        self.record = self.record.go_on(data, validation)

    def add(self, epoch):
        """Enter an epoch into the record, and keep its model if there is none better."""
        if self.record.add(self.state.result, epoch):
            self.kept = self.state.copy()
        self.last = epoch

    @property
    def n_done(self):
        """The number of epochs that are over."""
        return 0 if self.last is None else self.last.number

    def end(self):
        """Complete the record; return the state that is kept.

        What that draws from now on, training has not drawn before.
        """
        if self.last is not None:
            self.record.end(self.kept.result, self.last)
        self.kept.rng = self.state.rng
        return self.kept


def enough_epochs(n_rows, batch_size):
    """Return the number of epochs that trains a model of most data well.

    As many as make 20 000 updates, but no more than 50, as small data are learned by heart;
    unless those would be fewer than 5 000 updates.
    """
    n_steps = -(-n_rows // batch_size)
    n_updates = min(max(50 * n_steps, 5_000), 20_000)
    return -(-n_updates // n_steps)
