"""The learning step and the epoch loop: minibatch -> two means -> update.

One step serves `fit` and `partial_fit`. All that a step changes is in `TrainingState`; how
it changes is in `Settings`. This room knows no scikit-learn: it neither warns nor prints.
"""

import copy
import dataclasses
import functools
import time
from typing import NamedTuple

import joblib
import numpy as np
import scipy.sparse as sp

from skrbm import _batches, _kernels
from skrbm._model import RBM
from skrbm._phases import DensePhases, SparsePhases
from skrbm._solvers import SOLVERS

# Initial bias of the hidden units, which are then on about one time in eight. Units that
# start rarer make features that tell rows apart better, but learn more slowly at first.
# From -1 and -2, the accuracy of a logistic regression on 100 features of nudged digits was
# 0.944 and 0.946 (means of 5 seeds; 0.930 from 0, with an earlier schedule), the test
# log-likelihood of binarised MNIST was -88.0 and -88.2, that of plants -12.58 and -12.42.
INITIAL_HIDDEN_BIAS = -2.0
# Weight of a new minibatch in the moving average of the hidden units' means.
HIDDEN_MEAN_RATE = 0.01
# Models count in the average with this power of the number of steps: the mean of their age
# is a sixth of all steps.
AVERAGING_POWER = 4
# The average takes in every model at first, and then every second, fourth .. of them, so
# that it costs little and is never behind by more than a thirtieth of the steps.
LARGEST_STRIDE = 16
# A parameter beyond this makes its unit deterministic many times over.
LARGEST_PARAMETER = 1e3

# The factor of the learning rate, as a function of the part of the updates that is done.
SCHEDULES = {
    "linear": lambda done: 1.0 - done,
    "constant": lambda done: 1.0,
}


class Settings(NamedTuple):
    """What a learning step needs to know besides the state."""

    solver: str
    n_gibbs_steps: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    centering: bool
    averaging: bool
    binarize: bool


@dataclasses.dataclass
class TrainingState:
    """All that learning changes.

    Attributes
    ----------
    model : RBM
    chains : ndarray of shape (n_chains, n_components)
        Hidden states of the chains.
    hidden_mean : ndarray of shape (n_components,)
        Moving average of the mean hidden units: the hidden offset of centering.
    visible_sum : float64 ndarray of shape (n_features,)
        Sum of the rows seen in `follow_visible_mean`, each times its weight.
    n_rows_seen : float
        Number of these rows: the sum of their weights.
    velocity : RBM or None
        What momentum carries from step to step.
    average : RBM or None
        Average of the models so far, in which the late ones count most.
    n_averaged : int
        Number of steps that this average has seen.
    rng : numpy.random.Generator
    """

    model: RBM
    chains: np.ndarray
    hidden_mean: np.ndarray
    visible_sum: np.ndarray
    n_rows_seen: float
    velocity: RBM | None
    average: RBM | None
    n_averaged: int
    rng: np.random.Generator

    @property
    def result(self):
        """The model that training has come to: the average, if there is one."""
        return self.model if self.average is None else self.average

    @property
    def visible_mean(self):
        """Mean of the rows seen and of one imaginary row: the visible offset of centering.

        All values of that row are the mean of all values seen, so that no mean is 0 or 1,
        and features that have not been on yet are taken to be as rare as others are.
        """
        total, n_features = self.visible_sum.sum(), len(self.visible_sum)
        imaginary = (total + 0.5) / (self.n_rows_seen * n_features + 1)
        return (self.visible_sum + imaginary) / (self.n_rows_seen + 1)

    def copy(self):
        """Return a copy that owns its arrays; the generator is shared."""
        return dataclasses.replace(
            self,
            model=_copy(self.model),
            chains=self.chains.copy(),
            hidden_mean=self.hidden_mean.copy(),
            visible_sum=self.visible_sum.copy(),
            velocity=self.velocity and _copy(self.velocity),
            average=self.average and _copy(self.average),
        )


def _copy(rbm):
    return RBM(*(array.copy() for array in rbm))


def initial_state(n_features, n_components, n_chains, dtype, seed):
    """Return the state before the first step.

    Weights are normal, of variance ``1 / n_features``, so that hidden units differ from the
    start by as much whatever the number of features. From a standard deviation of 0.01, as
    is customary, small data are learned slowly: 20 epochs on 1000 digits ended at a test
    pseudo-log-likelihood of -22.1 instead of -20.9. On 784 pixels there was no difference.
    """
    rng = np.random.Generator(np.random.SFC64(seed))
    weights = rng.standard_normal((n_features, n_components)) / np.sqrt(n_features)
    hidden_mean = 1 / (1 + np.exp(-INITIAL_HIDDEN_BIAS))
    chains = rng.random((n_chains, n_components)) < hidden_mean
    return TrainingState(
        model=RBM(
            weights.astype(dtype),
            np.zeros(n_features, dtype=dtype),
            np.full(n_components, INITIAL_HIDDEN_BIAS, dtype=dtype),
        ),
        chains=chains.astype(dtype),
        hidden_mean=np.full(n_components, hidden_mean, dtype=dtype),
        visible_sum=np.zeros(n_features),
        n_rows_seen=0,
        velocity=None,
        average=None,
        n_averaged=0,
        rng=rng,
    )


class Learner:
    """The learning step, with the work space it needs.

    Parameters
    ----------
    state : TrainingState
        Changed in place.
    settings : Settings
    X : {ndarray, CSR array} of shape (n_samples, n_features)
    weights : ndarray of shape (n_samples,), default=None
        Weights of the rows, above 0 and usually around 1; None is 1 for all.
    """

    def __init__(self, state, settings, X, weights=None):
        self.state = state
        self.settings = settings
        self.X = X
        self.weights = weights
        self.pages = _batches.MappedPages(X)
        self.solver = SOLVERS[settings.solver](state.chains, settings.n_gibbs_steps)
        phases = SparsePhases if sp.issparse(X) else DensePhases
        batch_size = min(settings.batch_size, X.shape[0])
        n_negative = self.solver.n_negative
        self.phases = phases(state.model, batch_size, n_negative or batch_size)
        if not settings.momentum:
            state.velocity = None
        elif state.velocity is None:
            state.velocity = RBM(*(np.zeros_like(array) for array in state.model))
        if not settings.averaging:
            state.average = None
        elif state.average is None:
            state.average, state.n_averaged = _copy(state.model), 0
        self.offsets = tuple(np.zeros_like(bias) for bias in state.model[1:])
        if settings.centering:
            self.offsets = self._visible_offset(), state.hidden_mean

    def _visible_offset(self):
        return self.state.visible_mean.astype(self.state.model.dtype)

    def epoch(self, rates, order=None, follow_mean=False):
        """Take one step for each minibatch, and for each rate.

        `order` holds the rows to present; None presents all as they stand.
        """
        n_rows = self.X.shape[0] if order is None else len(order)
        batches = _batches.minibatches(n_rows, self.settings.batch_size, order)
        with np.errstate(over="ignore", invalid="ignore"):  # is_sound will tell
            for rows, rate in zip(batches, rates, strict=True):
                self.step(rows, rate, follow_mean)
                self.pages.have_read(self.phases.n_positive, scattered=order is not None)
        self.pages.give_back()

    def step(self, rows, rate, follow_mean):
        """Take one step up the gradient of the minibatch's log-likelihood."""
        state, settings, phases = self.state, self.settings, self.phases
        binarizer = state.rng if settings.binarize else None
        phases.load(self.X, rows, self.solver.n_negative, binarizer)
        if self.weights is not None:
            phases.set_weights(self.weights[rows], paired=self.solver.n_negative is None)
        if follow_mean:
            follow_visible_mean(state, phases.mean_visible(), phases.weight)
        self.solver.run(state.model, phases, state.rng)
        if settings.centering:
            share = min(1.0, HIDDEN_MEAN_RATE * phases.weight / phases.n_positive)
            state.hidden_mean += share * (phases.mean_hidden() - state.hidden_mean)
            if follow_mean:
                self.offsets = self._visible_offset(), state.hidden_mean
        dv, dh = phases.weigh(rate)
        if settings.weight_decay:
            weights = state.model.weights
            weights *= 1.0 - rate * settings.weight_decay
        target = state.model
        if settings.momentum:
            target = state.velocity
            for velocity in target:
                velocity *= settings.momentum
        db, dc = phases.add_gradient(target.weights, dv, dh, *self.offsets)
        np.add(target.visible_bias, db, out=target.visible_bias)
        np.add(target.hidden_bias, dc, out=target.hidden_bias)
        if settings.momentum:
            for parameter, velocity in zip(state.model, target, strict=True):
                parameter += velocity
        if settings.averaging:
            self._average()

    def _average(self):
        """Take the model into the average, by polynomial-decay averaging.

        Shamir, O. and Zhang, T. (2013). Stochastic gradient descent for non-smooth
        optimization: convergence results and optimal averaging schemes. ICML 2013, 71-79.
        """
        state = self.state
        state.n_averaged += 1
        doublings = max(1, state.n_averaged // 30).bit_length() - 1
        stride = min(1 << doublings, LARGEST_STRIDE)
        if state.n_averaged % stride:
            return
        n = state.n_averaged / stride
        share = (AVERAGING_POWER + 1) / (n + AVERAGING_POWER)
        for average, parameter in zip(state.average, state.model, strict=True):
            _kernels.move_towards(average, parameter, share)


def _log_odds(mean):
    mean = np.clip(mean, 1e-9, 1 - 1e-9)
    return np.log(mean / (1 - mean))


def follow_visible_mean(state, batch_mean, weight):
    """Count a minibatch into the visible mean, and let the visible bias follow.

    The bias is the log-odds of the visible mean, and what is learned on top: those of the
    first minibatch before the first step, those of all data after the first epoch. No pass
    over the data comes before training, and a stream ends the same however it is cut.
    """
    before = _log_odds(state.visible_mean)
    state.visible_sum += weight * batch_mean
    state.n_rows_seen += weight
    change = _log_odds(state.visible_mean) - before
    for model in filter(None, (state.model, state.average)):
        bias = model.visible_bias
        bias += change


def enough_epochs(n_rows, batch_size):
    """Return the number of epochs that trains a model of most data well.

    As many as make 20 000 updates, but no more than 50, as small data are learned by heart;
    unless those would be fewer than 5 000 updates. From 2 500 to 5 000, the
    pseudo-log-likelihood of held-out digits rose from -19.50 to -18.94, trained on 1000;
    trained on 200, from 2 000 to 5 000, from -21.00 to -20.29.
    """
    n_steps = -(-n_rows // batch_size)
    n_updates = min(max(50 * n_steps, 5_000), 20_000)
    return -(-n_updates // n_steps)


class Outcome(NamedTuple):
    """The state that is kept, the number of epochs, and why there are no more.

    The state is that of the last sound epoch, or of the one with the best validation score.
    """

    state: TrainingState
    n_epochs: int
    stopped: str | None  # None, "early", "asked", "diverged" or "interrupted"


class Progress(NamedTuple):
    """How far a training has got: all that it needs, beside its data, to go on."""

    state: TrainingState
    outcome: Outcome
    n_epochs: int
    shape: tuple
    fingerprint: str
    start: TrainingState
    history: dict
    scores: list
    n_no_change: int

    @classmethod
    def of(cls, state, outcome, n_epochs, shape, record, validation):
        """Take a copy, which later epochs do not change."""
        history, scores, n_no_change = record.history, [], 0
        if validation is not None:
            scores, n_no_change = validation.scores, validation.n_no_change
        # In one go: a state that is kept goes on to share the generator.
        state, outcome = copy.deepcopy((state, outcome))
        return cls(
            state,
            outcome,
            n_epochs,
            shape,
            record.fingerprint,
            record.start,
            {name: list(entries) for name, entries in history.items()},
            list(scores),
            n_no_change,
        )

    def restore(self, X, rows, weights, validation):
        """Return the record as it was, and let the validation be as it was.

        Data that cannot be those of the training are refused.
        """
        if X.shape != self.shape:
            raise ValueError(
                f"The training to go on with was on data of shape {self.shape}, but X has "
                f"shape {X.shape}: pass the same rows."
            )
        record = Record(X, rows, weights, self.start, validation and validation.rows)
        if record.fingerprint != self.fingerprint:
            raise ValueError(
                "The training to go on with was on other rows, or with other weights: pass "
                "the same X and sample_weight, in the same order."
            )
        record.history = self.history
        if validation is not None:
            validation.scores, validation.n_no_change = self.scores, self.n_no_change
        return record


def train(
    state,
    settings,
    X,
    *,
    n_epochs,
    schedule,
    shuffle,
    report,
    announce=lambda: None,
    rows=None,
    weights=None,
    validation=None,
    progress=None,
):
    """Run the epoch loop of `fit`, on all rows of `X` or on those in `rows`.

    The first epoch of a new model follows the visible mean; a model that goes on has it
    already. `announce` is called before each epoch; `report` after it, with the state, the
    learning rate of its last step, the seconds it took and the outcome if training ended
    there, and training ends if it returns True. `KeyboardInterrupt` ends training after the
    last finished epoch; before the first is finished, it is raised. `progress` is the
    outcome that an earlier call got to, which this one goes on from.
    """
    if progress is None:
        state.average = None
    learner = Learner(state, settings, X, weights)
    n_rows = X.shape[0] if rows is None else len(rows)
    n_steps = -(-n_rows // settings.batch_size)
    factor = SCHEDULES[schedule]
    new = state.n_rows_seen == 0
    outcome = progress or Outcome(state.copy(), 0, None)
    try:
        for epoch in range(outcome.n_epochs, n_epochs):
            if validation is not None and validation.exhausted:
                return outcome._replace(stopped="early")
            announce()
            start = time.perf_counter()
            done = (np.arange(n_steps) + epoch * n_steps) / (n_epochs * n_steps)
            rates = [settings.learning_rate * factor(part) for part in done.tolist()]
            order = rows
            if shuffle:
                order = state.rng.permutation(n_rows if rows is None else rows)
            learner.epoch(rates, order, follow_mean=new and epoch == 0)
            seconds = time.perf_counter() - start
            if not is_sound(state.model):
                return outcome._replace(stopped="diverged")
            improved = validation is None or validation.update(state.result)
            kept = state.copy() if improved else outcome.state
            following = Outcome(kept, epoch + 1, None)
            asked = report(state, rates[-1], seconds, following)
            outcome = following
            if asked:
                return outcome._replace(stopped="asked")
    except KeyboardInterrupt:
        if outcome.n_epochs == 0:
            raise
        return outcome._replace(stopped="interrupted")
    return outcome


class Validation:
    """When to stop early: the pseudo-log-likelihood of rows that are held out.

    Not their free energy, from which the log partition function is missing, that moves from
    epoch to epoch.

    Attributes
    ----------
    rows : ndarray of int
        The rows of `X` that are held out.
    scores : list of float
        Their mean pseudo-log-likelihood after each epoch, in nats.
    n_no_change : int
        How many epochs in succession have gained less than `tol`.
    """

    def __init__(self, X, rows, weights, tol, patience):
        self.rows = rows
        self.scores = []
        self._X = X
        self._weights = weights
        self._tol = tol
        self._patience = patience
        self.n_no_change = 0

    def update(self, model):
        """Enter the score of a model; return whether it is the best one so far."""
        best = max(self.scores, default=-np.inf)
        score = self.score(model)
        self.scores.append(score)
        self.n_no_change = 0 if score >= best + self._tol else self.n_no_change + 1
        return score > best

    def score(self, model):
        """Return the mean pseudo-log-likelihood of the rows, in nats."""
        return _mean_of_rows(
            RBM.pseudo_log_likelihood, model, self._X, self.rows, self._weights
        )

    @property
    def exhausted(self):
        """Whether more than `patience` epochs in succession gained less than `tol`."""
        return self.n_no_change > self._patience


def _mean_of_rows(function, model, X, rows, weights):
    """Return the mean of a function of the model and of each row, in bounded memory."""
    values = np.empty(len(rows))
    for block, v in _batches.blocks(X, model.dtype, model.row_size(X), rows):
        values[block] = function(model, _batches.clip(v))
    return _average(values, weights, rows)


def _average(values, weights, rows):
    return float(np.average(values, weights=None if weights is None else weights[rows]))


def train_on_chunk(state, settings, X, rows=None, weights=None):
    """Run one unshuffled pass at a constant rate; return whether the model is sound."""
    n_steps = -(-(X.shape[0] if rows is None else len(rows)) // settings.batch_size)
    rates = [settings.learning_rate] * n_steps
    Learner(state, settings, X, weights).epoch(rates, rows, follow_mean=True)
    return is_sound(state.model)


def is_sound(model):
    """Say whether all parameters are finite and none has exploded."""
    return all(
        max(float(array.max()), -float(array.min())) < LARGEST_PARAMETER for array in model
    )


class Record:
    """What became of the model, epoch by epoch, on a few rows and columns of the data.

    Draws nothing, so that a recorded training is the same as one that is not.

    Attributes
    ----------
    history : dict of lists
        "learning_rate", "pseudo_log_likelihood" (nats) and "seconds" of each epoch. With
        rows that are held out, "free_energy_gap": by how many nats their mean free energy
        is above that of as many training rows (of all, if those are fewer).
    """

    SIZE = 64  # rows, and columns

    def __init__(self, X, rows, weights, state, held_out=None):
        rows = np.arange(X.shape[0]) if rows is None else rows
        self._few = rows[spread(len(rows), self.SIZE)]
        self._v = _batches.clip(X[self._few].astype(state.model.dtype))
        self._columns = spread(X.shape[1], self.SIZE)
        self.start = state.copy()
        self._X = X
        self._weights = weights
        self._held_out = held_out
        names = ["learning_rate", "pseudo_log_likelihood", "seconds"]
        if held_out is not None:
            self._as_many = rows[spread(len(rows), len(held_out))]
            names.append("free_energy_gap")
        self.history = {name: [] for name in names}

    @functools.cached_property
    def fingerprint(self):
        """A digest of the few rows and of all weights, by which to know the data again."""
        v = sp.csr_array(self._v, copy=True)
        v.eliminate_zeros()
        v.sort_indices()
        positions = [array.astype(np.int64) for array in (self._few, v.indptr, v.indices)]
        weights = np.ones(self._X.shape[0]) if self._weights is None else self._weights
        return joblib.hash([*positions, v.data, weights])

    def score(self, model):
        """Return the mean pseudo-log-likelihood of the rows, from the columns."""
        scores = model.pseudo_log_likelihood(self._v, self._columns)
        return _average(scores, self._weights, self._few)

    def add(self, model, learning_rate, seconds):
        """Enter one epoch."""
        entries = [learning_rate, self.score(model), seconds]
        if self._held_out is not None:
            held_out, trained_on = (
                _mean_of_rows(RBM.free_energy, model, self._X, rows, self._weights)
                for rows in (self._held_out, self._as_many)
            )
            entries.append(held_out - trained_on)
        for entered, entry in zip(self.history.values(), entries, strict=True):
            entered.append(entry)

    def shortfall(self, state):
        """Return by how much the model of `state` is worse than the first one was.

        In nats per feature; negative if it is better, as a model should be. The first
        model is taken with the visible bias that the means of the data alone give it.
        """
        start = self.start
        shift = _log_odds(state.visible_mean) - _log_odds(start.visible_mean)
        bias = (start.model.visible_bias + shift).astype(start.model.dtype)
        first = self.score(start.model._replace(visible_bias=bias))
        return (first - self.score(state.result)) / len(bias)


def spread(n, size):
    """Return at most `size` of `n` indices, evenly spread."""
    return np.linspace(0, n - 1, min(n, size)).astype(int)
