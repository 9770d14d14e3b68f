"""Training on shards, compared with the same rounds written out step by step."""

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import PLAIN, bars_and_stripes
from numpy.testing import assert_allclose, assert_array_equal

from skrbm import _binary_rows, _rounds
from skrbm._data import DataSet
from skrbm._executors import JoblibExecutor, merge_in_groups
from skrbm._rounds import Chains, Part, Rounds, first_shared_state
from skrbm._shards import STEPS, Reading, Sample, Survey, make_shards, survey
from skrbm._solvers import SOLVERS
from skrbm._step import Learner, TrainingState, first_state
from skrbm._units.bernoulli import BernoulliUnits

X = np.tile(bars_and_stripes(), (5, 1)).astype(np.float32)  # 80 rows of 9 features
WEIGHTS = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
READING = Reading(
    n_sampled=10, held_out=0.0, most_held_out=0, clip=BernoulliUnits.clip, seed=0
)
SETTINGS = PLAIN._replace(batch_size=4, centering=True, averaging=True, momentum=0.5)


def load(block):
    X, weights = block
    return DataSet(X) if weights is None else DataSet(X).weigh(weights)


def blocks_of(X, stops, weights=None):
    """Contiguous blocks that end at these rows."""
    starts = [0, *stops[:-1]]
    return [
        (X[start:stop], None if weights is None else weights[start:stop])
        for start, stop in zip(starts, stops, strict=True)
    ]


def surveyed(executor, n_blocks, reading=READING):
    calls = [((block,), [block]) for block in range(n_blocks)]
    return executor.reduce(survey, reading, calls, Survey.merge)


def begin(blocks, n_shards, n_local_steps=5, *, settings=SETTINGS, reading=READING, jobs=1):
    """Executor, rounds and first state for these blocks."""
    executor = JoblibExecutor(blocks, load, jobs)
    found = surveyed(executor, len(blocks), reading)
    rounds = Rounds(executor, found, reading, n_shards, settings.batch_size, n_local_steps)
    untrained = first_state(
        settings, BernoulliUnits(np.zeros(9, np.float32)), len(X), 3, seed=0
    )
    return rounds, first_shared_state(untrained, settings, rounds.sizes, seed=7)


def train(rounds, state, n_epochs=2, *, settings=SETTINGS, shuffle=True, n_done=0):
    options = {"schedule": "linear", "shuffle": shuffle, "n_done": n_done}
    n_rounds = n_epochs * rounds.per_epoch
    return list(rounds.run(state, settings, n_rounds=n_rounds, **options))


def arrays_of(state):
    learned = state.learned
    models = learned.model, learned.velocity, learned.average, state.change
    return [array for model in models if model is not None for array in model.arrays]


# Survey ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, np.uint8])
@pytest.mark.parametrize("weights", [None, WEIGHTS, np.where(WEIGHTS == 2, 1e5, WEIGHTS)])
def test_survey(form, weights):
    whole = DataSet(form(X)) if weights is None else DataSet(form(X)).weigh(weights)
    w = np.ones(len(X)) if weights is None else weights
    executor = JoblibExecutor(blocks_of(form(X), [30, 30, 33, 80], weights), load, None)
    found = surveyed(executor, 4)
    assert found.n_rows == [np.count_nonzero(w[a:b]) for a, b in [(0, 30), (30, 30)]] + [
        np.count_nonzero(w[30:33]),
        np.count_nonzero(w[33:]),
    ]
    assert found.summary == whole.summary
    assert_allclose(found.visible_sum * found.largest_weight, w @ X)
    assert_allclose(found.mean_weight, w.sum() / np.count_nonzero(w))
    assert_allclose(Sample(found).effective_size, whole.effective_size)
    # The sample stands for all rows.
    assert_allclose(Sample(found).row_weights.sum() * found.largest_weight, w.sum())
    assert len(Sample(found)) == 10 + min(10, found.n_rows[2]) + 10


def test_sample_of_all_rows_has_their_variances():
    executor = JoblibExecutor(blocks_of(X, [30, 80], WEIGHTS), load, None)
    sample = Sample(surveyed(executor, 2, READING._replace(n_sampled=100)))
    whole = DataSet(X).weigh(WEIGHTS)
    assert_allclose(sample.variances(lambda v: v), whole.variances(lambda v: v), rtol=0.01)


def test_survey_clips_values_and_keeps_large_weights_finite():
    wild = np.array([[-1.0, 3.0], [0.5, 0.25]])
    blocks = [(wild[:1], np.array([1e300])), (wild[1:], np.array([2e300]))]
    executor = JoblibExecutor(blocks, load, None)
    for clip, row in ((BernoulliUnits.clip, [0, 1]), (None, [-1, 3])):
        found = surveyed(executor, 2, READING._replace(clip=clip))
        assert_allclose(found.visible_sum, 0.5 * np.array(row) + wild[1])
        assert found.largest_weight == 2e300
        assert (found.summary.low, found.summary.high) == (-1, 3)
        assert np.isfinite(Sample(found).row_weights).all()


def test_held_out_rows_are_not_trained_on():
    numbered = np.arange(80.0)[:, None]
    reading = READING._replace(held_out=0.25, most_held_out=6, clip=None)
    executor = JoblibExecutor(blocks_of(numbered, [8, 80]), load, None)
    found = surveyed(executor, 2, reading)
    assert found.n_rows == [6, 66]
    held_out = DataSet.stack(found.held_out).X.ravel()
    assert_allclose(found.visible_sum, numbered.sum() - held_out.sum())
    seen = rows_seen(numbered, [8, 80], 3, reading=reading)
    assert_array_equal(np.sort([*seen[0], *held_out]), numbered.ravel())


@pytest.mark.parametrize("n_blocks", [1, 3, 40, 400])
@pytest.mark.parametrize("most", [10_000, 25])
def test_numbers_of_rows_are_right_in_total(n_blocks, most):
    """Also if a block should give less than a row."""
    numbered = np.arange(1200.0)[:, None]
    reading = READING._replace(
        n_sampled=500 / n_blocks, held_out=0.05, most_held_out=most / n_blocks, clip=None
    )
    stops = [1200 * (i + 1) // n_blocks for i in range(n_blocks)]
    executor = JoblibExecutor(blocks_of(numbered, stops), load, None)
    found = surveyed(executor, n_blocks, reading)
    assert sum(len(data) for data in found.held_out) == min(60, most)
    assert sum(found.n_rows) == 1200 - min(60, most)
    assert len(Sample(found)) == 500


def test_samples_of_many_blocks_are_drawn_by_weight():
    weights = np.where(np.arange(800) < 80, 9.0, 1.0)
    numbered = np.arange(800.0)[:, None]
    blocks = blocks_of(numbered, range(1, 801), weights)
    executor = JoblibExecutor(blocks, load, None)
    found = surveyed(executor, 800, READING._replace(n_sampled=500 / 800))
    sample = Sample(found)
    assert len(sample) == 500
    assert_allclose(sample.row_weights.sum(), found.weight_sum)
    assert 0.4 < (sample.X < 80).mean() < 0.6


# Shards ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_shards", [1, 2, 3, 7])
@pytest.mark.parametrize("n_rows", [[10], [5, 0, 3, 1], [0, 2], [4] * 9])
def test_shards_have_all_rows_once(n_rows, n_shards):
    shards = make_shards(n_rows, n_shards)
    assert len(shards) == n_shards
    rows = [
        (portion.block, row)
        for shard in shards
        for portion in shard
        for row in range(portion.part, n_rows[portion.block], portion.n_parts)
    ]
    assert sorted(rows) == [(b, row) for b, n in enumerate(n_rows) for row in range(n)]


class Spy(JoblibExecutor):
    """Executor that notes the first feature of all rows, in place of training."""

    def __init__(self, blocks):
        super().__init__(blocks, load, None)
        self.seen = []

    def reduce(self, function, shared, calls, merge, keep=True):
        if function is survey:
            return super().reduce(function, shared, calls, merge)
        parts = []
        for (task,), blocks in calls:
            data_sets = [load(self.blocks[block]) for block in blocks]
            pairs = zip(task.slices, data_sets, strict=True)
            rows = [_rounds._rows_of(shared, task, *pair) for pair in pairs]
            values = [data.X[data.rows, 0] for data in rows]
            self.seen.append((task.shard, np.concatenate(values)))
            parts.append(Part(1.0, shared.learned, {task.shard: task.solver}, {}))
        return merge(parts)


def rows_seen(X, stops, n_shards, *, reading=READING, shuffle=True, n_epochs=1):
    """Rows presented in each epoch."""
    spy = Spy(blocks_of(X, stops))
    found = surveyed(spy, len(stops), reading)
    rounds = Rounds(spy, found, reading, n_shards, 2, n_local_steps=3)
    untrained = first_state(PLAIN, BernoulliUnits(np.zeros(1)), len(X), 3, seed=0)
    state = first_shared_state(untrained, PLAIN, rounds.sizes, seed=7)
    epochs = []
    for _ in range(n_epochs):
        train(rounds, state, 1, settings=PLAIN, shuffle=shuffle)
        epochs.append(np.concatenate([rows for _, rows in spy.seen]))
        spy.seen.clear()
    return epochs


@pytest.mark.parametrize("n_shards", [1, 2, 5])
@pytest.mark.parametrize("stops", [[80], [3, 3, 50, 80], [1, 80]])
def test_every_row_is_presented_once_per_epoch(stops, n_shards):
    numbered = np.arange(80.0)[:, None]
    for shuffle in (False, True):
        one, other = rows_seen(numbered, stops, n_shards, shuffle=shuffle, n_epochs=2)
        assert_array_equal(np.sort(one), numbered.ravel())
        assert_array_equal(np.sort(other), numbered.ravel())
        assert (one.tolist() == other.tolist()) is not shuffle


# Rounds ----------------------------------------------------------------------------------


def test_rounds_written_out(monkeypatch):
    """Two shards of two blocks of different sizes, with weights and in order."""
    momentum = {1.0: 0.9, 0.5: 0.25}  # by the learning rate, as a part of the first one
    monkeypatch.setattr(
        _rounds, "outer_momentum", lambda n_shards, rate, of_steps: momentum[rate]
    )
    weights = np.arange(1.0, 81.0)
    rounds, state = begin(blocks_of(X, [24, 80], weights), 2, n_local_steps=7)
    assert rounds.per_epoch == 2  # of 7 steps with the 14 minibatches of the larger block
    start = state.copy()
    solvers = [_rounds.unpacked(solver) for solver in start.solvers]
    epochs = train(rounds, state, 1, shuffle=False)
    assert [epoch.number for epoch in epochs] == [1, 2]
    learned, drift = start.learned, None
    average, rates = None, []
    for number, rows in enumerate(
        [[range(12), range(24, 52)], [range(12, 24), range(52, 80)]]
    ):
        parts, shares = [], []
        for shard, (solver, part) in enumerate(zip(solvers, rows, strict=True)):
            part = np.array(part)
            done = number / 2 + 0.5 * np.arange(len(part) / 4) / (len(part) / 4)
            rng = np.random.Generator(np.random.SFC64((7, STEPS, number, shard)))
            local = TrainingState(learned.copy(), start.counts, solver, rng)
            settings = SETTINGS._replace(averaging=False)
            data = DataSet(X).weigh(weights)
            learner = Learner(local, settings, data)
            for batch, rate in zip(
                np.split(part, len(part) // 4), 0.1 * (1 - done), strict=True
            ):
                learner.steps([batch], [rate])
                if drift is not None:
                    for array, change in zip(local.model.arrays, drift, strict=True):
                        array += change / 7
            parts.append(local.learned)
            shares.append(weights[part].sum())
            rates.append(0.1 * (1 - done[-1]))
        mean = parts[0].merge(parts, np.array(shares) / sum(shares))
        # The first round has no momentum, as there is no last change.
        drift = [
            0.25 * (after - before)
            for before, after in zip(learned.model.arrays, mean.model.arrays, strict=True)
        ]
        learned = mean
        if average is None:
            average = list(mean.model.copy().arrays)
        else:  # the second model has five sixths of the weight
            average = [
                (a + 5 * b) / 6 for a, b in zip(average, mean.model.arrays, strict=True)
            ]
    close = {"rtol": 1e-5, "atol": 1e-6}
    for one, other in zip(state.model.arrays, learned.model.arrays, strict=True):
        assert_allclose(one, other, **close)
    for one, other in zip(state.result.arrays, average, strict=True):
        assert_allclose(one, other, **close)
    for one, other in zip(
        state.learned.velocity.arrays, learned.velocity.arrays, strict=True
    ):
        assert_allclose(one, other, **close)
    assert_allclose(state.learned.hidden_mean, learned.hidden_mean, **close)
    for one, other in zip(state.solvers, solvers, strict=True):
        assert_array_equal(_rounds.unpacked(one).chains, other.chains)
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx([rates[1], rates[3]])


def test_momentum_is_that_of_a_step():
    """A short round repeats as much of the change of a long one as it has steps."""
    settings = SETTINGS._replace(momentum=0.0, averaging=False)
    long, state = begin(blocks_of(X, [40, 80]), 2, n_local_steps=10, settings=settings)
    before = state.model.copy()
    train(long, state, 1, settings=settings)
    step = [
        (new - old) / 10 for new, old in zip(state.model.arrays, before.arrays, strict=True)
    ]
    before, short = state.copy(), begin(blocks_of(X, [4, 8]), 2, 1, settings=settings)[0]
    train(short, state, 1, settings=settings._replace(learning_rate=0.0))
    # Without learning, only momentum moves the model: half of the change in a step.
    for new, old, change in zip(state.model.arrays, before.model.arrays, step, strict=True):
        assert_allclose(new - old, 0.5 * change, rtol=1e-4, atol=1e-6)


def test_empty_shards_give_no_momentum():
    rounds, state = begin(blocks_of(X, [4]), 8, n_local_steps=1)
    state.n_rounds = 1
    assert sum(n > 0 for n in rounds.sizes) == 4
    assert rounds._drift(state, 1.0, 0.0) is not None
    rounds, state = begin(blocks_of(X, [1]), 8, n_local_steps=1)
    state.n_rounds = 1
    assert rounds._drift(state, 1.0, 0.0) is None


@pytest.mark.parametrize("n", [1, 8, 9, 70])
def test_results_are_merged_by_weight(n):
    _, state = begin(blocks_of(X, [80]), 1)
    rng = np.random.default_rng(0)
    weights = rng.random(n)
    parts = []
    for i, weight in enumerate(weights):
        learned = state.learned.copy()
        learned.model.weights[...] = rng.random((9, 3))
        parts.append(Part(weight, learned, {i: state.solvers[0]}, {i: [i]}))
    merged = merge_in_groups(Part.merge, parts)
    expected = np.average([p.learned.model.weights for p in parts], axis=0, weights=weights)
    assert_allclose(merged.learned.model.weights, expected, rtol=1e-5)
    assert list(merged.solvers) == list(range(n))
    assert merged.gaps == {i: [i] for i in range(n)}
    assert_allclose(merged.weight, weights.sum())


@pytest.mark.parametrize("n_components", [1, 8, 13])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_packed_chains(n_components, dtype):
    h = np.random.default_rng(0).integers(0, 2, (5, n_components)).astype(dtype)
    solver = SOLVERS["pcd"](h, n_gibbs_steps=1)
    packed = _rounds.packed(solver)
    assert isinstance(packed.chains, Chains)
    assert packed.chains.bits.nbytes == 5 * -(-n_components // 8)
    assert packed.n_negative(3) == solver.n_negative(3) == 5
    chains = _rounds.unpacked(packed).chains
    assert chains.dtype == dtype
    assert_array_equal(chains, h)
    assert solver.chains is h


@pytest.mark.slow
@pytest.mark.parametrize("solver", SOLVERS)
def test_same_bits_for_all_forms_and_numbers_of_workers(solver):
    settings = SETTINGS._replace(solver=solver, n_gibbs_steps=2)
    results = []
    for form, jobs in [(np.asarray, 1), (np.asarray, 2), (sp.csr_array, 1), (np.uint8, 1)]:
        blocks = blocks_of(form(X), [30, 33, 80], WEIGHTS)
        rounds, state = begin(blocks, 3, settings=settings, jobs=jobs)
        with rounds.executor:
            train(rounds, state, settings=settings)
        results.append(state)
    first, *others = results
    sparse = others.pop(1) if _binary_rows.core is None else first
    for other in others:
        for one, two in zip(arrays_of(first), arrays_of(other), strict=True):
            assert_array_equal(one, two)
        assert_array_equal(first.solver.chains, other.solver.chains)
    for one, two in zip(arrays_of(first), arrays_of(sparse), strict=True):
        assert_allclose(one, two, atol=1e-5)  # sums in another order


@pytest.mark.parametrize("solver", SOLVERS)
def test_chains_of_all_shards_are_mixed(solver):
    settings = SETTINGS._replace(solver=solver)
    rounds, state = begin(blocks_of(X, [80]), 3, settings=settings)
    train(rounds, state, settings=settings)
    solvers = [_rounds.unpacked(solver) for solver in state.solvers]
    assert len(state.solver.chains) == (4 if solver == "cd" else 10)
    for i, chain in enumerate(state.solver.chains):
        assert_array_equal(chain, solvers[i % 3].chains[i // 3])
        if solver == "pt":
            assert_array_equal(state.solver.v[:, i], solvers[i % 3].v[:, i // 3])


def test_an_error_leaves_the_last_round():
    class Failing(JoblibExecutor):
        n_calls = 0

        def reduce(self, *arguments):
            self.n_calls += 1
            if self.n_calls == 3:
                raise KeyboardInterrupt
            return super().reduce(*arguments)

    rounds, state = begin(blocks_of(X, [80]), 2)
    rounds.executor = Failing(rounds.executor.blocks, load, None)
    run = rounds.run(state, SETTINGS, n_rounds=4, schedule="linear", shuffle=True)
    next(run), next(run)
    kept = state.copy()
    with pytest.raises(KeyboardInterrupt):
        next(run)
    for one, two in zip(arrays_of(state), arrays_of(kept), strict=True):
        assert_array_equal(one, two)
    # Training can go on from there, and ends as if nothing had happened.
    train(rounds, kept, n_done=2)
    _, whole = begin(blocks_of(X, [80]), 2)
    train(rounds, whole)
    for one, two in zip(arrays_of(whole), arrays_of(kept), strict=True):
        assert_array_equal(one, two)
