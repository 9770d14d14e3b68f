"""The epochs of `fit` and the single pass of `partial_fit`.

This module does not depend on scikit-learn and neither warns nor prints.
"""

import math
import time
from typing import NamedTuple

import numpy as np

from skrbm._step import Learner, is_sound

# Factor of the learning rate as a function of the fraction of the updates done.
SCHEDULES = {
    "linear": lambda done: 1.0 - done,
    "constant": lambda done: 1.0,
}
# Learning rate for a stream of rows, of which the variances are not known.
STREAM_RATE = 0.2
# Numbers of Gibbs steps, and the largest variances above which they are taken.
GIBBS_STEPS = {5: 6.0, 3: 1.2}
# Largest part of a weight that the decay removes in a step.
LARGEST_DECAY = 0.1
# Precision of the prior on weights, for one hidden unit and a distance of 1.
PRECISION = 0.003


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
    """Run one unshuffled pass at a constant learning rate; return `is_sound` after it."""
    rates = [settings.learning_rate] * -(-len(data) // settings.batch_size)
    Learner(state, settings, data).epoch(rates, data.order(), follow_mean=True)
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
        """Number of updates of the model so far."""
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


def enough_epochs(n_rows, batch_size, n_weights):
    """Return a number of epochs that works well for most data.

    This is the number of epochs for 20 000 updates, but at most 50, because more would
    overfit small data. If 50 epochs give fewer than 5 000 updates, it is the number of
    epochs for 5 000 updates. If there are many rows, it is 10, or as many as take about as
    long as 10^10 changes of a weight, where each update has a cost of its own.
    """
    n_steps = -(-n_rows // batch_size)
    most = max(20_000, min(10 * n_steps, 10**10 // (n_weights + 20_000)))
    n_updates = min(max(50 * n_steps, 5_000), most)
    return -(-n_updates // n_steps)


def suitable_rate(variances):
    """Return a learning rate at which the persistent chains can follow the model.

    The largest stable rate is inversely proportional to the largest eigenvalue of the
    covariance of the inputs: LeCun, Y., Bottou, L., Orr, G. and Mueller, K.-R. (1998).
    Efficient BackProp. In Neural Networks: Tricks of the Trade, 9-50. Springer. The bias,
    whose input is 1, adds 1 to it.
    """
    return 1 / (1 + variances.largest)


def suitable_gibbs_steps(variances):
    """Return the number of Gibbs steps per minibatch for persistent chains.

    If the rows vary much in one direction, many features change together along it, and
    chains, which change few features at a time, are slow.
    """
    suitable = (n for n, variance in GIBBS_STEPS.items() if variances.largest > variance)
    return next(suitable, 1)


def suitable_decay(variances, n_rows, n_components):
    """Return the weight decay of a normal prior on each weight.

    The precision of the prior is proportional to the number of hidden units, so that their
    total effect does not depend on it: Neal, R. M. (1996). Bayesian Learning for Neural
    Networks. Springer. It is also proportional to the root of the mean squared distance of
    the rows from their mean, by trial on subsets of data sets of 16 to 910 features.
    """
    return PRECISION * n_components * math.sqrt(variances.total) / n_rows
