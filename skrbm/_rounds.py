"""Training of one model on shards of the data, in rounds, by any executor.

In a round, each shard takes some learning steps from the common model, with Markov chains
of its own, and the mean of their models becomes the common one. Momentum carries part of
the last change of the common model into the steps of the next round. All tasks are pure
functions, whose random numbers depend on the seed, the round and the shard. The trained
model therefore depends on the seed and on the shards, but not on where and how often a task
runs.

Stich, S. U. (2019). Local SGD converges fast and communicates little. ICLR 2019.

Wang, J., Tantia, V., Ballas, N. and Rabbat, M. (2020). SlowMo: improving
communication-efficient distributed SGD with slow momentum. ICLR 2020.

This module does not depend on scikit-learn.
"""

import copy
import dataclasses
import time
from typing import NamedTuple, Self

import numpy as np

from skrbm._data import DataSet, Summary
from skrbm._gaps import Gaps
from skrbm._model import RBM
from skrbm._random import generator
from skrbm._shards import (
    CHAINS,
    PORTIONS,
    ROWS,
    STEPS,
    Reading,
    make_shards,
    size,
    slices,
)
from skrbm._solvers import Solver, first_solver, next_solver
from skrbm._step import (
    Counts,
    Learned,
    Learner,
    Settings,
    TrainingState,
    share_in_average,
)
from skrbm._training import SCHEDULES, Epoch, Training

# How many times as far as without momentum the common model may move in a step, at the
# present learning rate and at the initial one.
LARGEST_FACTOR, LARGEST_SPEED = 7.0, 10 / 3


# Rounds ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class Chains:
    """Hidden states in single bits, as they are kept and sent between rounds."""

    bits: np.ndarray
    n_components: int
    dtype: np.dtype

    @classmethod
    def pack(cls, h) -> Self:
        return cls(np.packbits(h.astype(bool), axis=1), h.shape[1], h.dtype)

    def __len__(self):
        return len(self.bits)

    def unpack(self):
        """Return the states as an array of shape (n_chains, n_components)."""
        return np.unpackbits(self.bits, axis=1, count=self.n_components).astype(self.dtype)


def packed(solver) -> Solver:
    """Return a solver whose chains are packed."""
    solver = copy.copy(solver)
    solver.chains = Chains.pack(solver.chains)
    return solver


def unpacked(solver) -> Solver:
    """Return a deep copy of a packed solver, with its chains as an array."""
    solver = solver.copy()
    solver.chains = solver.chains.unpack()
    return solver


def mixture(solvers, n_chains) -> Solver:
    """Return a solver with chains of as many packed solvers as possible."""
    some = [unpacked(solver) for solver in solvers[:n_chains]]
    return type(some[0]).mix(some, n_chains)


@dataclasses.dataclass
class SharedState(TrainingState):
    """State of training in rounds.

    Attributes
    ----------
    solvers : list of Solver
        The packed solver of each shard. `solver` is a mixture of these.
    change : RBM
        Mean change of the model in a step of the last round.
    seed : int
        Seed of all draws.
    n_rounds : int
        Number of rounds so far.
    """

    solvers: list[Solver] = dataclasses.field(kw_only=True)
    change: RBM = dataclasses.field(kw_only=True)
    seed: int = dataclasses.field(kw_only=True)
    n_rounds: int = dataclasses.field(default=0, kw_only=True)

    def copy(self) -> Self:
        """Return a copy; `solvers` are never changed in place."""
        copied = super().copy()
        copied.solvers = list(self.solvers)
        copied.change = self.change.copy()
        return copied


def first_shared_state(state, settings, sizes, seed) -> SharedState:
    """Return the state before the first round, for shards of these sizes.

    `state` is one before the first step. Of its chains, only the number is used.
    """
    learned, model = state.learned, state.model
    n_components = len(model.hidden_bias)
    solvers = []
    for shard in range(len(sizes)):
        rng = generator(seed, CHAINS, shard)
        kind = max(sizes), n_components, learned.hidden_mean, model.dtype
        solvers.append(packed(first_solver(settings, *kind, rng)))
    return SharedState(
        learned.copy(),
        state.counts.copy(),
        mixture(solvers, len(state.solver.chains)),
        copy.deepcopy(state.rng),
        solvers=solvers,
        change=model.map(np.zeros_like),
        seed=seed,
    )


def next_shared_state(before, settings, sizes) -> SharedState:
    """Return a state that continues a training, for shards of these sizes.

    It has no gaps, as in `next_state`.

    The chains of each shard go on. If there are other shards, or none so far, all of them
    start from the chains of the previous state.
    """
    shared = isinstance(before, SharedState)
    before = before.copy()
    if shared and len(before.solvers) == len(sizes):
        chains = [unpacked(solver) for solver in before.solvers]
    else:
        chains = [before.solver] * len(sizes)
    solvers = [packed(next_solver(solver, settings, max(sizes))) for solver in chains]
    n_chains = type(solvers[0]).count_chains(
        settings, max(sizes), len(before.solver.chains)
    )
    return SharedState(
        before.learned,
        before.counts,
        mixture(solvers, n_chains),
        before.rng,
        solvers=solvers,
        change=before.change if shared else before.model.map(np.zeros_like),
        seed=before.seed if shared else int(before.rng.integers(1 << 31)),
        n_rounds=before.n_rounds if shared else 0,
    )


class Shared(NamedTuple):
    """What all shards need in a round."""

    learned: Learned  # without the average
    drift: RBM | None  # how far momentum moves the model in a step
    counts: Counts
    settings: Settings
    summary: Summary
    reading: Reading
    mean_weight: float
    schedule: str
    shuffle: bool
    seed: int
    number: int  # of the round, among all rounds of the state
    steps_of_gaps: int


class Task(NamedTuple):
    """What a shard needs in a round: its rows, its chains, and its place in training.

    `gaps` are those of the rows, and `begin` and `end` are fractions of all updates.
    """

    shard: int
    slices: list
    epoch: int
    solver: Solver
    gaps: Gaps | None
    begin: float
    end: float


class Part(NamedTuple):
    """Result of the steps of one or several shards: their mean, and all their solvers.

    The values of the missing cells of the rows are in the order of the rows.
    """

    weight: float
    learned: Learned
    solvers: dict  # by shard, packed
    gaps: dict  # values by shard, if any cells are missing

    @classmethod
    def merge(cls, parts) -> Self:
        weight = sum(part.weight for part in parts)
        shares = [part.weight / weight for part in parts]
        with np.errstate(over="ignore", invalid="ignore"):  # checked by is_sound
            learned = Learned.merge([part.learned for part in parts], shares)
        solvers = {shard: s for part in parts for shard, s in part.solvers.items()}
        gaps = {shard: values for part in parts for shard, values in part.gaps.items()}
        return cls(weight, learned, solvers, gaps)


def take_steps(shared, task, data_sets) -> Part:
    """Take the steps of one shard in one round."""
    rows = [
        _rows_of(shared, task, *pair) for pair in zip(task.slices, data_sets, strict=True)
    ]
    data = DataSet.stack(rows)
    weight = float(len(data))
    if data.row_weights is not None:
        data.row_weights /= shared.mean_weight
        weight = float(data.row_weights.sum())
    data = data.divide_heavy()
    data.summary = shared.summary  # these few rows may all be binary by chance
    settings = shared.settings._replace(averaging=False)
    rng = generator(shared.seed, STEPS, shared.number, task.shard)
    gaps = None if task.gaps is None else task.gaps.copy()
    learned, solver = shared.learned.copy(), unpacked(task.solver)
    state = TrainingState(learned, shared.counts, solver, rng, gaps)
    n_steps = -(-len(data) // settings.batch_size)
    rates = _rates(shared, task.begin, task.end, n_steps)
    learner = Learner(state, settings, data, shared.drift, shared.steps_of_gaps)
    learner.epoch(rates, data.order())
    values = {} if gaps is None else {task.shard: gaps.values}
    return Part(weight, state.learned, {task.shard: packed(state.solver)}, values)


def _rows_of(shared, task, piece, data):
    _, data = shared.reading.split(data, piece.portion.block)
    rows = _presented(piece, shared.seed, task.epoch, shared.shuffle)
    return data.select(rows if data.rows is None else data.rows[rows])


def _presented(piece, seed, epoch, shuffle):
    """Return the places of the rows of a slice among the training rows of their block."""
    block, part, n_parts, n_rows = piece.portion
    rows = part + n_parts * np.arange(n_rows)
    if shuffle:
        rows = generator(seed, ROWS, epoch, block, part).permutation(rows)
    return rows[piece.start : piece.stop]


def _rates(shared, begin, end, n_steps):
    factor = SCHEDULES[shared.schedule]
    done = begin + (end - begin) * np.arange(n_steps) / n_steps
    return [shared.settings.learning_rate * factor(part) for part in done.tolist()]


class Rounds:
    """Rounds of training on shards.

    Parameters
    ----------
    executor : Executor
        Runs the tasks on the blocks of the data.
    found : Survey
        The survey of the blocks.
    reading : Reading
        How the blocks are read, as in the survey.
    n_shards : int
        Number of shards.
    batch_size : int
        Number of rows of a minibatch.
    n_local_steps : int or "auto"
        Number of steps of a shard in a round, about.
    n_epochs : int, default=1
        Number of epochs, on which "auto" depends.
    mean_weight : float, default=1.0
        The weight of a row that counts as one row.

    Attributes
    ----------
    per_epoch : int
        Number of rounds in which every row is presented once.
    """

    def __init__(
        self,
        executor,
        found,
        reading,
        n_shards,
        batch_size,
        n_local_steps,
        *,
        n_epochs=1,
        mean_weight=1.0,
    ):
        self.executor = executor
        self.mean_weight = mean_weight
        self.found = found
        self.reading = reading
        self.batch_size = batch_size
        self.shards = make_shards(found.n_rows, n_shards)
        n_batches = self._n_batches(max(self.sizes))
        if n_local_steps == "auto":
            n_local_steps = suitable_local_steps(n_epochs * n_batches)
        self.per_epoch = max(1, round(n_batches / n_local_steps))

    @property
    def sizes(self):
        return [size(shard) for shard in self.shards]

    def _n_batches(self, n_rows):
        return -(-n_rows // self.batch_size)

    @property
    def n_local_steps(self):
        """Mean number of steps in a round of the largest shard."""
        return self._n_batches(max(self.sizes)) / self.per_epoch

    def run(
        self, state, settings, *, n_rounds, schedule, shuffle, n_done=0, steps_of_gaps=1
    ):
        """Train `state` in place, and yield an `Epoch` after each round.

        An exception leaves the state as it was after the last round. `steps_of_gaps` are
        as for `Learner`.
        """
        firsts = np.cumsum([0, *self.found.n_rows])  # rows of the blocks among all rows
        for number in range(n_done, n_rounds):
            start = time.perf_counter()
            rate = SCHEDULES[schedule](number / n_rounds)
            shared = Shared(
                dataclasses.replace(state.learned, average=None),
                self._drift(state, rate, settings.momentum),
                state.counts,
                settings,
                self.found.summary,
                self.reading,
                self.mean_weight,
                schedule,
                shuffle,
                state.seed,
                state.n_rounds,
                steps_of_gaps,
            )
            span = number / n_rounds, (number + 1) / n_rounds
            tasks, rows = [], {}
            for task in self._tasks(state, number % self.per_epoch, span, shuffle):
                if state.gaps is not None:
                    rows[task.shard] = np.concatenate(
                        [
                            firsts[piece.portion.block]
                            + _presented(piece, state.seed, task.epoch, shuffle)
                            for piece in task.slices
                        ]
                    )
                    task = task._replace(gaps=state.gaps.select(rows[task.shard]))
                tasks.append(task)
            calls = [
                ((task,), [piece.portion.block for piece in task.slices]) for task in tasks
            ]
            part = self.executor.reduce(take_steps, shared, calls, Part.merge)
            for shard, values in part.gaps.items():
                state.gaps.values[state.gaps.places(rows[shard])] = values
            with np.errstate(over="ignore", invalid="ignore"):  # checked by is_sound
                follow(state, part, self.n_local_steps, settings.averaging)
            last = _rates(shared, *span, round(self.n_local_steps) or 1)[-1]
            yield Epoch(number + 1, last, time.perf_counter() - start)

    def _drift(self, state, rate, momentum):
        """Return how far momentum of the common model moves it in each local step.

        It is part of the local steps, so that the chains can follow the model.
        """
        n_shards = sum(n > 0 for n in self.sizes)
        part = outer_momentum(n_shards, rate, momentum)
        if not part or not state.n_rounds:
            return None
        return state.change.map(lambda array: array.dtype.type(part) * array)

    def _tasks(self, state, place, span, shuffle):
        """Yield the tasks of a round, which is number `place` of its epoch."""
        epoch = state.n_rounds - place
        for shard, portions in enumerate(self.shards):
            n_rows = size(portions)
            n_batches = self._n_batches(n_rows)
            start, stop = (
                min(n_batches * end // self.per_epoch * self.batch_size, n_rows)
                for end in (place, place + 1)
            )
            if start == stop:
                continue
            if shuffle:
                order = generator(state.seed, PORTIONS, epoch, shard)
                portions = [portions[i] for i in order.permutation(len(portions))]
            pieces = slices(portions, start, stop)
            yield Task(shard, pieces, epoch, state.solvers[shard], None, *span)


def suitable_local_steps(n_steps):
    """Return the number of steps in a round, if a shard takes `n_steps` in the training.

    More than 100 rounds barely make the model better. And 100 steps take much longer than
    all that is done between rounds, unless the model is small.
    """
    return min(100, max(25, n_steps // 100))


def outer_momentum(n_shards, rate, momentum):
    """Return the part of the last change of the model that is repeated in the next round.

    The shards together take as many steps as one process, but fewer successive ones.
    Momentum m makes the model move 1 / (1 - m) times as far in a step, if possible as far
    as one process moves it in the steps of all shards. At a high learning rate, the chains
    could not follow. `rate` is the learning rate as a part of the initial one. `momentum`
    is that of the local steps: the larger it is, the less outer momentum is stable.
    """
    factor = max(2.0, LARGEST_FACTOR * (1 - momentum))
    return 1 - 1 / min(n_shards, LARGEST_SPEED / rate, factor)


def follow(state, part, n_local_steps, averaging):
    """Replace the common model by the mean of the models of the shards."""
    learned, before, model = state.learned, state.model, part.learned.model
    state.change = model.map(
        lambda new, old: (new - old) / new.dtype.type(n_local_steps), before
    )
    average, n_averaged = None, 0
    if averaging:
        n_averaged = learned.n_averaged + 1 if learned.average is not None else 1
        share = share_in_average(n_averaged)
        average = model.map(
            lambda new, old: (old + share * (new - old)).astype(new.dtype, copy=False),
            model if learned.average is None else learned.average,
        )
    state.learned = dataclasses.replace(
        part.learned, average=average, n_averaged=n_averaged
    )
    for shard, solver in part.solvers.items():
        state.solvers[shard] = solver
    state.solver = mixture(state.solvers, len(state.solver.chains))
    state.n_rounds += 1


class RoundsTraining(Training):
    """Progress of a training in rounds. Each round is reported as if it were an epoch.

    Pickling leaves out the data and how they are processed.

    Parameters
    ----------
    data : DataSet
        A sample of the training rows.
    state : SharedState
        The current state, changed by each round.
    record : Record
        The record of this training.
    settings : Settings
        The settings of the learning step.
    n_rounds : int
        Total number of rounds.
    rounds : Rounds
        The rounds on the shards.
    """

    def __init__(self, data, state, record, settings, n_rounds, rounds):
        super().__init__(data, state, record, settings, n_rounds)
        self.per_epoch = rounds.per_epoch
        self.n_local_steps = rounds.n_local_steps
        self.rounds = rounds

    def __getstate__(self):
        return {k: v for k, v in super().__getstate__().items() if k != "rounds"}

    def epochs(self, schedule, shuffle):
        """Run the rounds that are left, and yield an `Epoch` after each."""
        return self.rounds.run(
            self.state,
            self.settings,
            n_rounds=self.n_epochs,
            schedule=schedule,
            shuffle=shuffle,
            n_done=self.n_done,
        )

    @property
    def n_updates(self):
        """Number of updates of each shard so far."""
        return round(self.n_done * self.n_local_steps)
