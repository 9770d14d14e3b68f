"""The epochs of `fit` and the single pass of `partial_fit`.

This module does not depend on scikit-learn and neither warns nor prints.
"""

import time
from typing import NamedTuple

import numpy as np

from skrbm._gaps import STEPS_TO_LEARN
from skrbm._step import Learner, is_sound

# Factor of the learning rate as a function of the fraction of the updates done.
SCHEDULES = {
    "linear": lambda done: 1.0 - done,
    "constant": lambda done: 1.0,
}


class Epoch(NamedTuple):
    """A finished epoch, as yielded by `train`."""

    number: int  # from 1
    learning_rate: float  # of the last step
    seconds: float


def train(state, settings, data, *, n_epochs, schedule, shuffle, n_done=0):
    """Train `state` in place and yield an `Epoch` after each epoch.

    The first epoch of a new model updates the visible mean, which a model that is trained
    further already has. `n_done` of the `n_epochs` epochs are already finished.
    """
    new, data = state.counts.n_rows_seen == 0, data.divide_heavy()
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


def train_on_chunk(state, settings, data, *, follow_mean=True):
    """Run one unshuffled pass at a constant learning rate; return `is_sound` after it.

    The missing cells of a chunk are drawn for this pass only.
    """
    data = data.divide_heavy()
    rates = [settings.learning_rate] * -(-len(data) // settings.batch_size)
    learner = Learner(state, settings, data, steps_of_gaps=STEPS_TO_LEARN)
    learner.epoch(rates, data.order(), follow_mean=follow_mean)
    state.gaps = None
    return is_sound(state.model)


class Training:
    """Progress of a training run, with everything needed to resume it.

    Pickling leaves out the data. Pass them to `attach` after unpickling.

    Parameters
    ----------
    data : DataSet
        The training rows.
    state : TrainingState
        The current state, changed by each epoch.
    record : Record
        The record of this training.
    settings : Settings
        The settings of the learning step.
    n_epochs : int
        Total number of epochs.

    Attributes
    ----------
    per_epoch : int
        Number of parts of an epoch that are reported and can be resumed separately. Where
        it is not 1, as in training on shards, these parts take the place of epochs in
        `n_epochs`, `n_done` and `last`.
    kept : TrainingState
        Copy of the state after the last sound epoch, or after the epoch with the best
        validation score.
    last : Epoch or None
        The last finished epoch. None if there is none.
    shape : tuple
        Shape of the array that the rows belong to.
    """

    per_epoch = 1

    def __init__(self, data, state, record, settings, n_epochs):
        self.data = data
        self.state = state
        self.record = record
        self.settings = settings
        self.n_epochs = n_epochs
        self.shape = data.X.shape
        self.kept = state.copy()
        self.last = None

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "data"}

    def attach(self, data, validation):
        """Attach the data after unpickling; raise ValueError if they are other data."""
        self.data = data
        self.record = self.record.attach(data, validation)

    def epochs(self, schedule, shuffle):
        """Run the epochs that are left and yield an `Epoch` after each."""
        return train(
            self.state,
            self.settings,
            self.data,
            n_epochs=self.n_epochs,
            schedule=schedule,
            shuffle=shuffle,
            n_done=self.n_done,
        )

    def add(self, epoch):
        """Add an epoch to the record and keep its state unless an earlier one is better."""
        if self.record.add(self.state.result, epoch):
            self.kept = self.state.copy()
        self.last = epoch

    @property
    def n_done(self):
        """Number of finished epochs."""
        return 0 if self.last is None else self.last.number

    @property
    def epochs_done(self):
        """Number of finished epochs, which may be a fraction if epochs have parts."""
        return self.n_done if self.per_epoch == 1 else self.n_done / self.per_epoch

    @property
    def n_updates(self):
        """Number of updates so far, without those that copies of heavy rows add."""
        return self.n_done * -(-len(self.data) // self.settings.batch_size)

    def end(self):
        """Return the kept state.

        It gets the current generator, so that later draws do not repeat draws of training.
        """
        self.kept.rng = self.state.rng
        return self.kept

    def complete_record(self):
        """Make the last epoch the last entry of the history."""
        if self.last is not None:
            self.record.end(self.kept.result, self.last)
