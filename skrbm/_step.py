"""The learning step: minibatch -> two means -> update, and all that it changes.

One step serves `fit` and `partial_fit`. What a step changes is a `TrainingState`; how it
changes it is in `Settings`. This room knows no scikit-learn: it neither warns nor prints.
"""

import dataclasses
from typing import NamedTuple, Self

import numpy as np

from skrbm import _kernels
from skrbm._model import RBM
from skrbm._phases import DensePhases, SparsePhases
from skrbm._solvers import Solver, first_solver, next_solver

# Initial bias of the hidden units, which are then on about one time in eight. Units that
# start rarer make features that tell rows apart better, but learn more slowly at first.
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


class Settings(NamedTuple):
    """What a learning step needs to know besides the state."""

    solver: str
    n_gibbs_steps: int
    n_chains: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    centering: bool
    averaging: bool
    binarize: bool


# State ------------------------------------------------------------------------------------


@dataclasses.dataclass
class Learned:
    """The part of a training state whose mean over shards of the data makes sense.

    Attributes
    ----------
    model : RBM
    hidden_mean : ndarray of shape (n_components,)
        Moving average of the mean hidden units: the hidden offset of centering.
    velocity : RBM, default=None
        What momentum carries from step to step.
    average : RBM, default=None
        Average of the models so far, in which the late ones count most.
    n_averaged : int, default=0
        Number of steps in a row that this average has seen.
    """

    model: RBM
    hidden_mean: np.ndarray
    velocity: RBM | None = None
    average: RBM | None = None
    n_averaged: int = 0

    @property
    def result(self):
        """The model that training has come to: the average, if there is one."""
        return self.model if self.average is None else self.average

    def copy(self) -> Self:
        return self._map(np.copy)

    def _map(self, function, *others):
        """Return a copy whose arrays are a function of those of this and of other parts."""

        def mapped(name):
            models = [getattr(part, name) for part in (self, *others)]
            return None if None in models else models[0].map(function, *models[1:])

        hidden_mean = function(self.hidden_mean, *(part.hidden_mean for part in others))
        models = {name: mapped(name) for name in ("model", "velocity", "average")}
        return dataclasses.replace(self, hidden_mean=hidden_mean, **models)

    @classmethod
    def merge(cls, parts, shares) -> Self:
        """Return the mean of parts, of which each has a share; the shares sum to 1."""

        def mean(*arrays):
            total = sum(share * a for share, a in zip(shares, arrays, strict=True))
            return total.astype(arrays[0].dtype, copy=False)

        merged = parts[0]._map(mean, *parts[1:])
        merged.n_averaged = max(part.n_averaged for part in parts)
        return merged


@dataclasses.dataclass
class Counts:
    """The part of a training state whose changes add up over shards of the data.

    Attributes
    ----------
    visible_sum : float64 ndarray of shape (n_features,)
        Sum of the rows seen in the first epoch, each times its weight.
    n_rows_seen : float, default=0.0
        Number of these rows: the sum of their weights.
    """

    visible_sum: np.ndarray
    n_rows_seen: float = 0.0

    @property
    def visible_mean(self):
        """Mean of the rows seen and of one imaginary row: the visible offset of centering.

        All values of that row are the mean of all values seen, so that no mean is 0 or 1,
        and features that have not been on yet are taken to be as rare as others are.
        """
        total, n_features = self.visible_sum.sum(), len(self.visible_sum)
        imaginary = (total + 0.5) / (self.n_rows_seen * n_features + 1)
        return (self.visible_sum + imaginary) / (self.n_rows_seen + 1)

    def copy(self) -> Self:
        return dataclasses.replace(self, visible_sum=self.visible_sum.copy())

    def merge(self, parts) -> Self:
        """Return these counts, and all that was added to them in each of `parts`."""
        merged = self.copy()
        for part in parts:
            merged.visible_sum += part.visible_sum - self.visible_sum
            merged.n_rows_seen += part.n_rows_seen - self.n_rows_seen
        return merged


@dataclasses.dataclass
class TrainingState:
    """All that learning changes, in three parts by what becomes of them in shards.

    Attributes
    ----------
    learned : Learned
        Parameters and moving averages, whose mean over shards can be taken.
    counts : Counts
        Sums over rows, which add up.
    solver : Solver
        The chains, which each shard has for itself,
    rng : numpy.random.Generator
        and so the generator.
    """

    learned: Learned
    counts: Counts
    solver: Solver
    rng: np.random.Generator

    @property
    def model(self):
        return self.learned.model

    @property
    def result(self):
        """The model that training has come to: the average, if there is one."""
        return self.learned.result

    def copy(self) -> Self:
        """Return a copy that owns all that it has, its generator included."""
        return type(self)(
            self.learned.copy(),
            self.counts.copy(),
            self.solver.copy(),
            _copy_of(self.rng),
        )

    def merge(self, states, row_weights) -> Self:
        """Return the common state of shards that set out from this one.

        Parameters
        ----------
        states : list of TrainingState
            What the shards have come to.
        row_weights : array-like of shape (n_states,)
            Number of rows, or their total weight, behind each of them.

        Returns
        -------
        state : TrainingState
            With chains and generator of this one: each shard keeps its own.
        """
        shares = np.asarray(row_weights, dtype=np.float64) / np.sum(row_weights)
        return type(self)(
            Learned.merge([state.learned for state in states], shares.tolist()),
            self.counts.merge([state.counts for state in states]),
            self.solver.copy(),
            _copy_of(self.rng),
        )


def _copy_of(rng):
    """Return a generator at the same state: in a tenth of the time of `copy.deepcopy`."""
    bits = type(rng.bit_generator)(0)
    bits.state = rng.bit_generator.state
    return np.random.Generator(bits)


def first_state(settings, n_rows, n_features, n_components, dtype, seed):
    """Return the state before the first step of training on `n_rows` rows.

    Weights are normal, of variance ``1 / n_features``, so that hidden units differ from the
    start by as much whatever the number of features. From a standard deviation of 0.01, as
    is customary, small data are learned slowly.
    """
    rng = np.random.Generator(np.random.SFC64(seed))
    weights = rng.standard_normal((n_features, n_components)) / np.sqrt(n_features)
    hidden_mean = 1 / (1 + np.exp(-INITIAL_HIDDEN_BIAS))
    solver = first_solver(settings, n_rows, n_components, hidden_mean, dtype, rng)
    model = RBM.bernoulli(
        weights.astype(dtype),
        np.zeros(n_features, dtype=dtype),
        np.full(n_components, INITIAL_HIDDEN_BIAS, dtype=dtype),
    )
    learned = Learned(model, np.full(n_components, hidden_mean, dtype=dtype))
    return TrainingState(learned, Counts(np.zeros(n_features)), solver, rng)


def next_state(before, settings, n_rows):
    """Return a copy of the state that another training ended in, for `n_rows` rows."""
    state = before.copy()
    state.solver = next_solver(before.solver, settings, n_rows)
    return state


def is_sound(model):
    """Say whether all parameters are finite and none has exploded."""
    return all(
        max(float(array.max()), -float(array.min())) < LARGEST_PARAMETER for array in model
    )


# Step -------------------------------------------------------------------------------------


class Learner:
    """The learning step, with the work space it needs.

    Parameters
    ----------
    state : TrainingState
        Changed in place.
    settings : Settings
    data : DataSet
        The rows to train on; their weights, if they have any, are usually around 1.
    """

    def __init__(self, state, settings, data):
        self.state = state
        self.settings = settings
        self.data = data
        learned = state.learned
        batch_size = min(settings.batch_size, len(data))
        phases = SparsePhases if data.is_sparse else DensePhases
        self.phases = phases(learned.model, batch_size, state.solver.n_negative(batch_size))
        if not settings.momentum:
            learned.velocity = None
        elif learned.velocity is None:
            learned.velocity = learned.model.map(np.zeros_like)
        if not settings.averaging:
            learned.average = None
        elif learned.average is None:
            learned.average, learned.n_averaged = learned.model.copy(), 0
        self._set_offsets()

    def _set_offsets(self):
        learned = self.state.learned
        if self.settings.centering:
            visible = self.state.counts.visible_mean.astype(learned.model.dtype)
            self.offsets = visible, learned.hidden_mean
        else:
            biases = learned.model.visible_bias, learned.model.hidden_bias
            self.offsets = tuple(np.zeros_like(bias) for bias in biases)

    def epoch(self, rates, order=None, *, follow_mean=False):
        """Take one step for each minibatch, and for each rate.

        `order` holds the rows to present, as by `DataSet.order`; None presents all of the
        array as they stand.
        """
        batches = self.data.minibatches(self.settings.batch_size, order)
        pages = self.data.mapped_pages()
        with np.errstate(over="ignore", invalid="ignore"):  # is_sound will tell
            for rows, rate in zip(batches, rates, strict=True):
                self.step(rows, rate, follow_mean=follow_mean)
                pages.have_read(self.phases.n_positive, scattered=order is not None)
        pages.give_back()

    def step(self, rows, rate, *, follow_mean=False):
        """Take one step up the gradient of the minibatch's log-likelihood."""
        state, settings, phases = self.state, self.settings, self.phases
        learned, solver = state.learned, state.solver
        phases.load(
            self.data, rows, solver.n_negative, rng=state.rng if settings.binarize else None
        )
        if self.data.row_weights is not None:
            phases.set_row_weights(self.data.row_weights[rows], paired=solver.paired)
        if follow_mean:
            self._follow_visible_mean()
        solver.negative_phase(learned.model, phases, state.rng)
        if settings.centering:
            share = min(1.0, HIDDEN_MEAN_RATE * phases.weight / phases.n_positive)
            learned.hidden_mean += share * (phases.mean_hidden() - learned.hidden_mean)
            if follow_mean:
                self._set_offsets()
        phases.weigh(rate)
        if settings.weight_decay:
            weights = learned.model.weights
            weights *= 1.0 - rate * settings.weight_decay
        if settings.momentum:
            for velocity in learned.velocity:
                velocity *= settings.momentum
            phases.add_gradient(learned.velocity, self.offsets)
            for parameter, velocity in zip(learned.model, learned.velocity, strict=True):
                parameter += velocity
        else:
            phases.add_gradient(learned.model, self.offsets)
        if settings.averaging:
            self._average()
        solver.after_update(phases, self.offsets)

    def _follow_visible_mean(self):
        """Count the minibatch into the visible mean, and let the visible units follow.

        Their bias is the log-odds of the visible mean, and what is learned on top: those of
        the first minibatch before the first step, those of all data after the first epoch.
        No pass over the data comes before training, and a stream ends the same however it
        is cut.
        """
        counts, learned, phases = self.state.counts, self.state.learned, self.phases
        before = counts.visible_mean
        counts.visible_sum += phases.weight * phases.mean_visible()
        counts.n_rows_seen += phases.weight
        for model in filter(None, (learned.model, learned.average)):
            model.visible.follow_mean(before, counts.visible_mean)

    def _average(self):
        """Take the model into the average, by polynomial-decay averaging.

        Shamir, O. and Zhang, T. (2013). Stochastic gradient descent for non-smooth
        optimization: convergence results and optimal averaging schemes. ICML 2013, 71-79.
        """
        learned = self.state.learned
        learned.n_averaged += 1
        doublings = max(1, learned.n_averaged // 30).bit_length() - 1
        stride = min(1 << doublings, LARGEST_STRIDE)
        if learned.n_averaged % stride:
            return
        n = learned.n_averaged / stride
        share = (AVERAGING_POWER + 1) / (n + AVERAGING_POWER)
        for average, parameter in zip(learned.average, learned.model, strict=True):
            _kernels.move_towards(average, parameter, share)
