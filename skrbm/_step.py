"""The learning step, which updates the model from one minibatch.

`fit` and `partial_fit` use the same step. It changes a `TrainingState` as specified by
`Settings`. This module does not depend on scikit-learn and neither warns nor prints.
"""

import dataclasses
import itertools
from typing import Any, NamedTuple, Self

import numpy as np

from skrbm import _binary_rows, _kernels, _labels
from skrbm._data import DataSet
from skrbm._gaps import Gaps
from skrbm._model import RBM
from skrbm._phases import BinaryPhases, phases_for
from skrbm._random import generator
from skrbm._solvers import Solver, first_solver, next_solver
from skrbm._units import VisibleUnits

# Weight of a new minibatch in the moving average of the mean hidden units.
HIDDEN_MEAN_RATE = 0.01
# The weight of a model in the average grows with this power of its step number. The mean
# age of the averaged models is then one sixth of all steps.
AVERAGING_POWER = 4
# The average is updated at every step at first, then at every second, fourth, ... step, up
# to this stride. This makes it cheap, and it never lags by more than 1/30 of the steps.
LARGEST_STRIDE = 16
# Largest change of the input of a hidden unit for an outlier in a step, beyond that for
# other rows, if its state changes by 1.
LARGEST_CHANGE = 1.0
# Largest numbers of steps, and of changes of a weight, in a call of the core.
STEPS_AT_ONCE, WORK_AT_ONCE = 100, 10**10
# To save time, weights shrink when the decay of some steps adds up to this part of them.
SMALLEST_DECAY = 1e-3


class Settings(NamedTuple):
    """Settings of a learning step."""

    solver: str
    n_gibbs_steps: int
    n_chains: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    decay_ratio: float  # how much more strongly the weights of `decay_more` decay
    centering: bool
    averaging: bool
    binarize: bool  # whether states are drawn from values between them
    compiled: bool  # whether the compiled core may be used
    generative: float  # share of the likelihood of whole rows, the rest is that of labels


# State ------------------------------------------------------------------------------------


@dataclasses.dataclass
class Learned:
    """The part of a training state that is averaged over shards of the data.

    Attributes
    ----------
    model : RBM
        The last iterate.
    hidden_mean : ndarray of shape (n_components,)
        Moving average of the mean hidden units, used as the hidden offset of centering.
    velocity : RBM, default=None
        Accumulated updates of momentum.
    average : RBM, default=None
        Running average of the models, in which later models have more weight.
    n_averaged : int, default=0
        Number of consecutive steps covered by this average.
    due_decay : float, default=0.0
        Part of the weights by which they have yet to be shrunk.
    """

    model: RBM
    hidden_mean: np.ndarray
    velocity: RBM | None = None
    average: RBM | None = None
    n_averaged: int = 0
    due_decay: float = 0.0

    @property
    def result(self) -> RBM:
        """The trained model: the running average if there is one, else the last iterate."""
        return self.model if self.average is None else self.average

    def copy(self) -> Self:
        return self._map(np.copy)

    def align(self, wanted=True):
        """Align the weights of all models, as the compiled core needs them, or undo it."""
        for name in ("model", "velocity", "average"):
            if (model := getattr(self, name)) is not None:
                setattr(self, name, model.align() if wanted else model.unaligned())

    def _map(self, function, *others):
        """Apply a function to the arrays of this and other parts; return a new part."""

        def mapped(name):
            models = [getattr(part, name) for part in (self, *others)]
            return None if None in models else models[0].map(function, *models[1:])

        hidden_mean = function(self.hidden_mean, *(part.hidden_mean for part in others))
        models = {name: mapped(name) for name in ("model", "velocity", "average")}
        return dataclasses.replace(self, hidden_mean=hidden_mean, **models)

    @classmethod
    def merge(cls, parts, shares) -> Self:
        """Return the weighted mean of `parts`; the shares sum to 1."""

        def mean(*arrays):
            total = sum(share * a for share, a in zip(shares, arrays, strict=True))
            return total.astype(arrays[0].dtype, copy=False)

        merged = parts[0]._map(mean, *parts[1:])
        merged.n_averaged = max(part.n_averaged for part in parts)
        return merged


@dataclasses.dataclass
class Counts:
    """The part of a training state that counts rows.

    Attributes
    ----------
    visible_sum : float64 ndarray of shape (n_encoded,)
        Weighted sum of the encoded rows seen in the first epoch.
    n_rows_seen : float, default=0.0
        Number of these rows, as the sum of their weights.
    """

    visible_sum: np.ndarray
    n_rows_seen: float = 0.0

    def copy(self) -> Self:
        return dataclasses.replace(self, visible_sum=self.visible_sum.copy())


@dataclasses.dataclass
class TrainingState:
    """State of training.

    Attributes
    ----------
    learned : Learned
        Parameters and moving averages.
    counts : Counts
        Sums over rows.
    solver : Solver
        The solver with its chains.
    rng : numpy.random.Generator
        The random generator.
    gaps : Gaps, default=None
        The values of missing cells. None if there are none.
    """

    learned: Learned
    counts: Counts
    solver: Solver
    rng: np.random.Generator
    gaps: Gaps | None = None

    @property
    def model(self) -> RBM:
        return self.learned.model

    @property
    def result(self) -> RBM:
        """The trained model: the running average if there is one, else the last iterate."""
        return self.learned.result

    @property
    def visible_mean(self) -> np.ndarray:
        """Mean of the rows seen, used as visible offset of centering."""
        counts = self.counts
        return self.model.visible.mean_of_rows(counts.visible_sum, counts.n_rows_seen)

    def copy(self) -> Self:
        """Return a deep copy, including the random generator."""
        return dataclasses.replace(
            self,
            learned=self.learned.copy(),
            counts=self.counts.copy(),
            solver=self.solver.copy(),
            rng=_copy_of(self.rng),
            gaps=None if self.gaps is None else self.gaps.copy(),
        )


def _copy_of(rng):
    """Return a copy of a generator; this is much faster than `copy.deepcopy`."""
    bits = type(rng.bit_generator)(0)
    bits.state = rng.bit_generator.state
    return np.random.Generator(bits)


def first_state(
    settings: Settings, visible: VisibleUnits, n_rows: int, n_components: int, seed: int
) -> TrainingState:
    """Return the state before the first step of training these units on `n_rows` rows."""
    rng = generator(seed)
    dtype = visible.bias.dtype
    weights, hidden_bias, hidden_mean = visible.first_weights(n_components, rng)
    solver = first_solver(settings, n_rows, n_components, hidden_mean, dtype, rng)
    model = RBM(weights.astype(dtype), visible, hidden_bias.astype(dtype))
    learned = Learned(model, np.full(n_components, hidden_mean, dtype=dtype))
    return TrainingState(learned, Counts(np.zeros(len(visible))), solver, rng)


def next_state(before: TrainingState, settings: Settings, n_rows: int) -> TrainingState:
    """Return a copy of the final state of another training, adapted to `n_rows` rows.

    It has no gaps, which belong to the rows.
    """
    solver = next_solver(before.solver, settings, n_rows)
    return TrainingState(
        before.learned.copy(), before.counts.copy(), solver, _copy_of(before.rng)
    )


def share_in_average(n):
    """Return the share of the n-th model in the running average of n models."""
    return (AVERAGING_POWER + 1) / (n + AVERAGING_POWER)


def is_sound(model: RBM) -> bool:
    """Return whether all parameters are finite and below `largest_parameter`."""
    limit = model.visible.largest_parameter
    return all(
        max(float(array.max()), -float(array.min())) < limit for array in model.arrays
    )


# Step -------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """A minibatch: rows of a data set.

    Attributes
    ----------
    data : DataSet
    rows : slice or ndarray of int
    missing : bool ndarray of shape (n_rows, n_encoded), default=None
        Which of the encoded values are missing and have been filled in. None if there are
        none.
    """

    data: DataSet
    rows: slice | np.ndarray
    missing: np.ndarray | None = None


class Learner:
    """The learning step, with its work arrays.

    Parameters
    ----------
    state : TrainingState
        State of training, changed in place.
    settings : Settings
        Settings of the learning step.
    data : DataSet
        The training rows. Row weights, if any, are usually around 1.
    drift : RBM, default=None
        What is added to the model in each step, in addition to the update.
    steps_of_gaps : int, default=1
        Number of Gibbs steps of missing cells whenever a row is presented.
    """

    def __init__(self, state, settings, data, drift=None, steps_of_gaps=1):
        self.state = state
        self.settings = settings
        self.data = data
        self.drift = drift
        self.steps_of_gaps = steps_of_gaps
        self._coder = data.coder
        # Rows that are encoded, or have gaps, are read for several minibatches together, as
        # far as they stay in the cache.
        self._n_ahead = 1
        if data.encoder is not None or state.gaps is not None:
            size = settings.batch_size * data.n_encoded
            self._n_ahead = max(1, _kernels.BLOCK_SIZE // size)
        learned = state.learned
        if not settings.momentum:
            learned.velocity = None
        elif learned.velocity is None:
            learned.velocity = learned.model.map(np.zeros_like)
        if not settings.averaging:
            learned.average = None
        elif learned.average is None:
            learned.average, learned.n_averaged = learned.model.copy(), 0
        self.phases = phases_for(learned, settings, data, state.solver)
        if settings.averaging:
            models = learned.average.arrays, learned.model.arrays
            self._averages = [
                tuple(map(_binary_rows.with_padding, pair))
                for pair in zip(*models, strict=True)
            ]
        self._set_offsets()
        self._of_labels = None
        if settings.generative < 1:
            self._of_labels = _labels.LabelGradient(learned.model.visible)
        self._steps_in_core = self._steps_of_core()
        work = self.phases.n_most * learned.model.weights.size * settings.n_gibbs_steps
        self._n_at_once = min(STEPS_AT_ONCE, max(1, WORK_AT_ONCE // work))

    def _steps_of_core(self):
        """Return the steps of the core, or None if it knows none for this training."""
        settings, data, state = self.settings, self.data, self.state
        visible = state.model.visible
        bits = visible.rows_are_bits and visible.enumerable and data.encoder is None
        known = bits and state.gaps is None and self.drift is None
        known = known and state.solver.in_core and not settings.momentum
        if not known or not isinstance(self.phases, BinaryPhases):
            return None
        if not _binary_rows.Steps.suit(data.X, settings.binarize, state.model.dtype):
            return None
        return _binary_rows.Steps(
            data.X,
            data.row_weights,
            settings.binarize,
            min(settings.batch_size, len(data)),
            settings.n_gibbs_steps,
            state.solver.chains,
        )

    def _set_offsets(self):
        learned = self.state.learned
        if self.settings.centering:
            visible = learned.model.visible.center(self.state.visible_mean)
            self.offsets = visible.astype(learned.model.dtype), learned.hidden_mean
        else:
            biases = learned.model.visible.bias, learned.model.hidden_bias
            self.offsets = tuple(np.zeros_like(bias) for bias in biases)

    def epoch(self, rates, order=None, *, follow_mean=False):
        """Take one step per minibatch, with one learning rate of `rates` for each.

        `order` contains the indices of the rows to present, as returned by
        `DataSet.order`. If None, all rows of the array are presented in their order.
        """
        batches = self.data.minibatches(self._n_ahead * self.settings.batch_size, order)
        self.steps(batches, rates, follow_mean=follow_mean, scattered=order is not None)

    def steps(self, batches, rates, *, follow_mean=False, scattered=True):
        """Take gradient ascent steps on the log-likelihoods of minibatches.

        Parameters
        ----------
        batches : iterable of slices or of ndarrays of int
            Rows of minibatches, or of `_n_ahead` of them.
        rates : iterable of float
            Learning rate of each step.
        follow_mean : bool, default=False
            Whether to count the rows.
        scattered : bool, default=True
            Whether rows are not in the order of memory.
        """
        pages = self.data.mapped_pages()
        with np.errstate(over="ignore", invalid="ignore"):  # checked by is_sound
            if self._steps_in_core is None or follow_mean:
                read = itertools.chain.from_iterable(map(self._read, batches))
                for batch, rate in zip(read, rates, strict=True):
                    self._step(batch, rate, follow_mean)
                    pages.have_read(self.phases.n_positive, scattered=scattered)
            else:
                self._take_in_core(iter(batches), iter(rates), pages, scattered)
        pages.give_back()

    def _take_in_core(self, batches, rates, pages, scattered):
        """Take steps in the core, several in a call.

        A call is so short that users can interrupt it, and that pages can be released.
        """
        state, settings, solver = self.state, self.settings, self.state.solver
        learned = state.learned
        follow = HIDDEN_MEAN_RATE if settings.centering else 0.0
        for first in batches:
            n_steps = min(solver.prepare(learned.model, state.rng), self._n_at_once)
            n_left = pages.n_rows_left(scattered) // settings.batch_size
            n_steps = max(1, min(n_steps, n_left))
            some = [first, *itertools.islice(batches, n_steps - 1)]
            schedule = np.array(
                [
                    (rate, self._due_decay(rate), self._due_share(), follow)
                    for rate in itertools.islice(rates, len(some))
                ]
            )
            self._steps_in_core.take(
                some,
                schedule,
                solver,
                learned.model,
                self.offsets,
                learned.average,
                state.rng,
            )
            sizes = [b.stop - b.start if isinstance(b, slice) else len(b) for b in some]
            solver.have_taken(sizes)
            pages.have_read(sum(sizes), scattered=scattered)

    def _read(self, rows):
        """Yield the minibatches of some rows, and store their missing cells afterwards."""
        data, gaps, coder = self.data, self.state.gaps, self._coder
        model, size = self.state.model, self.settings.batch_size
        unlabelled = None if data.unlabelled is None else data.unlabelled[rows]
        if unlabelled is not None and isinstance(rows, slice):
            rows = np.arange(rows.start, rows.stop)
        if data.is_sparse and unlabelled is not None:
            _labels.draw(model, data, rows, self.state.rng)
        if data.is_sparse or (self._n_ahead == 1 and gaps is None and unlabelled is None):
            yield Batch(data, rows)
            return
        n_rows = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        bits = data.encoder is not None and model.visible.rows_are_bits
        bits = bits and model.visible.are_states(data.summary)
        v = np.empty((n_rows, data.n_encoded), np.uint8 if bits else model.dtype)
        missing = np.zeros((n_rows, 1), dtype=bool)
        if gaps is None:
            data.take_dense(rows, v)
        else:
            values, places = coder.compact(data.X[rows], model.dtype), gaps.places(rows)
            cells = np.isnan(values)
            values[cells] = gaps.read(places, values, coder, model.visible, self.state.rng)
            coder.expand(values, v)
            missing = cells[:, coder.feature_of]
        weights = None if data.row_weights is None else data.row_weights[rows]
        read = DataSet(v, None, weights)
        read.unlabelled = unlabelled
        for start in range(0, n_rows, size):
            batch = slice(start, min(start + size, n_rows))
            if unlabelled is not None:
                _labels.draw(model, data, rows[batch], self.state.rng, v[batch])
            some = missing[batch]
            yield Batch(read, batch, some if some.any() else None)
        if gaps is not None:
            gaps.values[places] = coder.compress(v)[cells]

    def _step(self, batch, rate, follow_mean):
        data, rows, missing = batch
        state, settings, phases = self.state, self.settings, self.phases
        learned, solver = state.learned, state.solver
        solver.prepare(learned.model, state.rng)
        rng = state.rng if settings.binarize else None
        phases.load(data, rows, solver.n_negative, rng=rng)
        if data.row_weights is not None:
            phases.set_row_weights(data.row_weights[rows], paired=solver.paired)
        if follow_mean:  # before a model that knows little yet moves the missing cells
            self._follow_visible_mean()
        if missing is not None:
            phases.draw_gaps(learned.model, missing, self.steps_of_gaps, state.rng)
        if settings.generative:
            solver.negative_phase(learned.model, phases, state.rng)
        else:
            phases.infer_positive(learned.model)
        if missing is not None:
            data.X[rows] = phases.positive_visible
        if self._of_labels is not None:
            self._of_labels.load(learned.model, data, rows, phases.positive_visible, rng)
        if settings.centering:
            share = min(1.0, HIDDEN_MEAN_RATE * phases.weight / phases.n_positive)
            # In place, because it is an offset as well.
            learned.hidden_mean += share * (phases.mean_hidden() - learned.hidden_mean)
            if follow_mean:
                self._set_offsets()
        if learned.model.visible.n_bits < len(learned.model.visible):
            rate *= self._damping(min(rate, 1.0))
        parts: list[Any] = []
        if settings.generative:
            phases.multiply(rate * settings.generative)
            parts.append(phases)
        if self._of_labels is not None:
            self._of_labels.multiply(rate * (1 - settings.generative))
            parts.append(self._of_labels)
        if settings.weight_decay:
            self._decay(rate)
        if settings.momentum:
            for velocity in learned.velocity.arrays:
                velocity *= settings.momentum
        changed = learned.velocity if settings.momentum else learned.model
        for part in parts:
            part.add_gradient(changed, self.offsets)
        if settings.momentum:
            _add(learned.velocity, learned.model)
        if self.drift is not None:
            _add(self.drift, learned.model)
        self._average()
        solver.after_update(phases, self.offsets)

    def _damping(self, rate):
        """Return a factor of the rate with which the outliers of this minibatch are stable.

        A step at rate r changes the input of a hidden unit for row v of n by r |v|^2 / n
        times the share of its own state in the gradient. Only bits have a bounded size.
        """
        phases = self.phases
        values = phases.positive_visible[:, self.state.model.visible.n_bits :]
        squares = np.einsum("ij,ij->i", values, values)
        change = rate * float(squares.max() - squares.mean()) / phases.n_positive
        return 1.0 if change < LARGEST_CHANGE else LARGEST_CHANGE / change

    def _decay(self, rate):
        """Shrink the weights by the part that is due, which may be none.

        Seen from the offsets, the decay leaves the biases unchanged: it makes the units
        more independent and keeps their means. The biases therefore take over what the
        weights contribute at the offsets.
        """
        part = self._due_decay(rate)
        if not part:
            return
        model, (mu, lam) = self.state.model, self.offsets
        visible, weights = model.visible, model.weights
        parts = np.full(len(visible), part, dtype=model.dtype)
        if visible.decay_more is not None:
            more = 1 - (1 - part) ** self.settings.decay_ratio
            parts[visible.decay_more] = more
        shrink = _binary_rows.shrink if model.is_aligned else _kernels.shrink
        of_visible, of_hidden = shrink(weights, parts, mu, lam)
        visible.add_input(of_visible)
        hidden_bias = model.hidden_bias
        hidden_bias += of_hidden

    def _due_decay(self, rate):
        """Return the part by which the weights are to shrink in a step at this rate."""
        learned = self.state.learned
        part = rate * self.settings.weight_decay
        learned.due_decay += (1 - learned.due_decay) * part
        if learned.due_decay < SMALLEST_DECAY:
            return 0.0
        part, learned.due_decay = learned.due_decay, 0.0
        return part

    def _follow_visible_mean(self):
        """Add the minibatch to the visible mean and shift the visible units accordingly.

        The visible units model the visible mean, plus a learned part. The mean is that of
        the first minibatch before the first step, and that of all data after the first
        epoch. Thus no extra pass over the data is needed before training, and the final
        mean does not depend on how a stream is split into chunks.
        """
        counts, learned, phases = self.state.counts, self.state.learned, self.phases
        before = self.state.visible_mean
        counts.visible_sum += phases.weight * phases.mean_visible()
        counts.n_rows_seen += phases.weight
        for model in filter(None, (learned.model, learned.average)):
            model.visible.follow_mean(before, self.state.visible_mean)

    def _average(self):
        """Add the model to the average by polynomial-decay averaging.

        Shamir, O. and Zhang, T. (2013). Stochastic gradient descent for non-smooth
        optimization: convergence results and optimal averaging schemes. ICML 2013, 71-79.
        """
        share = self._due_share()
        if share:
            for average, parameter in self._averages:
                _kernels.move_towards(average, parameter, share)

    def _due_share(self):
        """Return the share of the next model in the average, or 0.0 if it is left out."""
        if not self.settings.averaging:
            return 0.0
        learned = self.state.learned
        learned.n_averaged += 1
        doublings = max(1, learned.n_averaged // 30).bit_length() - 1
        stride = min(1 << doublings, LARGEST_STRIDE)
        if learned.n_averaged % stride:
            return 0.0
        return share_in_average(learned.n_averaged / stride)


def _add(change, model):
    """Add the arrays of one model to those of another one, in place."""
    for parameter, part in zip(model.arrays, change.arrays, strict=True):
        parameter += part
