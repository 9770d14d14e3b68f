"""Units in groups and mixed units, against tables of all rows written out in full."""

import itertools
import pickle

import numpy as np
import pytest
from conftest import assert_distributed, group_states
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

from skrbm import _binary_rows
from skrbm._data import DataSet
from skrbm._enumeration import exact_log_partition
from skrbm._model import RBM
from skrbm._random import generator
from skrbm._units.bernoulli import BernoulliUnits
from skrbm._units.categorical import CategoricalUnits
from skrbm._units.mixed import MixedUnits
from skrbm._units.ordinal import OrdinalUnits

TYPES = ["binary", "categorical", "ordinal", "categorical"]
N_STATES = [2, 3, 4, 2]
ROWS = np.array(list(itertools.product(*map(range, N_STATES))), dtype=np.float64)


def model_of(types=TYPES, n_states=N_STATES, n_hidden=3, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    units = MixedUnits.for_columns(types, n_states, np.float64)
    units = units.map(lambda array: rng.normal(0, 0.7, array.shape))
    weights = rng.normal(0, 0.8, (len(units), n_hidden))
    model = RBM(weights, units, rng.normal(0, 0.5, n_hidden))
    return model.map(lambda array: array.astype(dtype))


class Truth:
    """Distribution of a model over all rows of codes, from the energies of single states.

    `of_states` lists, for each column, the weights of its states, in rows with the bias
    last. The first unit is that of the binary column, the next ones are those of the
    categories, and the last ones those of the levels, which add up.
    """

    def __init__(self, model):
        table = np.column_stack([model.weights, model.visible.bias]).astype(np.float64)
        nothing = np.zeros_like(table[:1])
        levels = np.concatenate([nothing, np.cumsum(table[6:9], axis=0)])
        binary = np.concatenate([nothing, table[:1]])
        self.of_states = [binary, table[1:4], levels, table[4:6]]
        h = np.array(list(itertools.product([0.0, 1.0], repeat=len(model.hidden_bias))))
        terms = np.array(
            [
                sum(of[state] for of, state in zip(self.of_states, row, strict=True))
                for row in ROWS.astype(int)
            ]
        )
        joint = terms[:, :-1] @ h.T + terms[:, -1:] + h @ model.hidden_bias
        self.h, self.log_partition = h, logsumexp(joint)
        self.p = np.exp(joint - self.log_partition)
        self.p_v = self.p.sum(axis=1)
        self.free_energy = -logsumexp(joint, axis=1)

    def pseudo_log_likelihood(self):
        grid = self.p_v.reshape(N_STATES)
        terms = [np.log(grid / grid.sum(axis=k, keepdims=True)) for k in range(grid.ndim)]
        return sum(terms).reshape(-1)


def encoded(model, rows=ROWS):
    return DataSet(rows).encode(model.visible.encoder).copy_rows(model.dtype)


def number(rows):
    return np.ravel_multi_index(np.asarray(rows, dtype=int).T, N_STATES)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


def test_rows_are_encoded_and_decoded():
    units = model_of().visible
    assert_array_equal(units.encoder.feature_of, [0, 1, 1, 1, 3, 3, 2, 2, 2])
    v = encoded(model_of())
    expected = [1, 0, 0, 1, 0, 1, 1, 1, 0]  # binary 1, category 2, category 1, level 2
    assert_array_equal(v[number([[1, 2, 2, 1]])[0]], expected)
    assert_array_equal(units.decode(v), ROWS)
    assert_array_equal(units.encoder.compress(v), ROWS)
    means = [0.4, 0.2, 0.5, 0.3, 0.1, 0.9, 0.8, 0.7, 0.1]
    decoded = units.decode(np.array([means]))
    assert_array_equal(decoded, [[0.4, 1, 2, 1]])
    assert_array_equal(units.mode(decoded), [[0, 1, 2, 1]])


def test_the_density_sums_to_one(dtype):
    model = model_of(dtype=dtype)
    truth = Truth(model)
    assert_allclose(exact_log_partition(model), truth.log_partition, rtol=1e-6)
    assert_allclose(model.free_energy(encoded(model)), truth.free_energy, rtol=1e-4)
    conditional = truth.p @ truth.h / truth.p_v[:, None]
    assert_allclose(model.mean_hidden(encoded(model)), conditional, rtol=1e-4)


def test_pseudo_log_likelihood(dtype):
    model = model_of(dtype=dtype)
    v, expected = encoded(model), Truth(model).pseudo_log_likelihood()
    assert_allclose(model.pseudo_log_likelihood(v), expected, rtol=1e-4)
    one_by_one = [
        model.pseudo_log_likelihood(v, np.array(units)) for units in ([0], [2], [7], [4, 5])
    ]
    assert_allclose(np.mean(one_by_one, axis=0), expected, rtol=1e-4)


def test_pseudo_log_likelihood_with_weights_whose_exponentials_overflow():
    model = model_of(dtype=np.float32)
    model.weights[...] *= 150
    truth = Truth(model)
    values = model.pseudo_log_likelihood(encoded(model))
    with np.errstate(divide="ignore"):
        expected = truth.pseudo_log_likelihood()
    likely = expected > -50
    assert_allclose(values[likely], expected[likely], atol=1e-3)


@pytest.mark.parametrize("aligned", [False, True])
def test_half_steps_keep_the_distribution(dtype, aligned, rng):
    """Gibbs steps from exact draws give exact draws."""
    model = model_of(dtype=dtype)
    model = model.align() if aligned else model
    truth = Truth(model)
    v = encoded(model, ROWS[rng.choice(len(ROWS), 50_000, p=truth.p_v)])
    moved = model.sample_visible(model.sample_hidden(v, rng), rng)
    assert_distributed(number(model.visible.decode(moved)), truth.p_v)


@pytest.mark.parametrize("aligned", [False, True])
def test_means_given_hidden_units(dtype, aligned):
    model = model_of(dtype=dtype)
    model = model.align() if aligned else model
    truth = Truth(model)
    given_h = truth.p / truth.p.sum(axis=0)
    expected = given_h.T @ encoded(model_of())
    assert_allclose(model.mean_visible(truth.h.astype(dtype)), expected, rtol=1e-4)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_draws_between_models(beta, aligned, rng):
    """At an inverse temperature, all terms of the energy are multiplied by it."""
    model = model_of(dtype=np.float32)
    base = model_of(seed=1, dtype=np.float32).visible
    h = np.tile(np.float32([1, 0, 1]), (60_000, 1))
    between = model.map(lambda array: np.float32(beta) * array)
    between.visible.bias[...] += np.float32(1 - beta) * base.bias
    visible = between.visible.map(lambda array: array.astype(np.float64))
    expected = visible.mean(np.float64(h[:1] @ between.weights.T))[0]
    if aligned and model.may_use_core:
        keys, lists = _binary_rows.draw_key(rng), _binary_rows.lists(h)
        v = np.empty((len(h), len(base)), np.uint8)
        scale = np.full(len(h), beta, np.float32)
        model = model.align()
        options = {"base": base, "scale": scale, "keys": keys, "states": v}
        model.visible.from_lists(lists, model.weights, **options)
    else:
        v = h @ model.weights.T
        model.visible.sample_between(base, v, beta, [(slice(None), rng)])
    assert_array_equal(encoded(model, model.visible.decode(v.astype(np.float32))), v)
    assert_allclose(v.mean(axis=0), expected, atol=0.01)


@pytest.mark.parametrize("kind", [CategoricalUnits, OrdinalUnits])
def test_two_states_equal_a_binary_unit(kind, rng):
    """The model of a column with two states is that of a bit, up to the hidden biases."""
    bits = RBM(
        rng.normal(size=(4, 3)), BernoulliUnits(rng.normal(size=4)), rng.normal(size=3)
    )
    units = kind.with_states([2] * 4, np.float64)
    v = np.array(list(itertools.product([0.0, 1.0], repeat=4)))
    weights, units.bias[...], hidden_bias = bits.weights, 0, bits.hidden_bias
    if kind is OrdinalUnits:
        units.bias[...] = bits.visible.bias
    else:  # half of the weights each, and the hidden biases take over the mean
        weights = np.stack([-weights / 2, weights / 2], axis=1).reshape(8, 3)
        half = bits.visible.bias / 2
        units.bias[...] = np.stack([-half, half], axis=1).reshape(-1)
        hidden_bias = hidden_bias + bits.weights.sum(axis=0) / 2
    model = RBM(weights, units, hidden_bias)
    rows = DataSet(v).encode(units.encoder).copy_rows(np.float64)
    one, other = (
        -m.free_energy(x) - exact_log_partition(m) for m, x in [(bits, v), (model, rows)]
    )
    assert_allclose(one, other)
    scores = bits.pseudo_log_likelihood(v), model.pseudo_log_likelihood(rows)
    assert_allclose(*scores)


def test_pickles_and_copies_share_no_memory():
    units = model_of().visible
    for copied in (pickle.loads(pickle.dumps(units)), units.map(np.copy)):
        assert_array_equal(copied.bias, units.bias)
        copied.bias[0] += 1
        assert copied.parts[0].bias[0] == copied.bias[0]
        assert copied.bias[0] != units.bias[0]


def test_independent_columns_have_the_given_frequencies():
    units = model_of().visible
    shares = [
        np.array([0.3, 0.7]),
        np.array([0.2, 0.5, 0.3]),
        np.array([0.1, 0.2, 0.3, 0.4]),
    ]
    binary, categories, levels = shares
    mean = np.concatenate([[0.7], categories, binary, 1 - np.cumsum(levels)[:-1]])
    base = units.independent(mean, np.float64)
    found = base.mean(np.zeros((1, len(units))))[0]
    assert_allclose(found, mean, atol=0.01)
    assert (base.independent(np.zeros(9), np.float64).mean(np.zeros((1, 9))) > 0).all()


def test_draws_are_in_one_stream_for_each_part():
    """Columns of the same kind of different parts do not get the same random numbers."""
    model = model_of(["binary", "ordinal"], [2, 2], n_hidden=2, dtype=np.float32)
    flat = model.map(np.zeros_like).align()
    v = flat.sample_visible(np.zeros((2000, 2), np.float32), generator(0))
    assert abs(np.corrcoef(v.T)[0, 1]) < 0.1


def test_pickles_hold_no_more_than_the_parameters():
    """Shards send the units and their encoder in each round, also after they were used."""
    units = MixedUnits.for_columns(["categorical", "ordinal"], [300, 300], np.float32)
    units.log_normalizer(np.zeros((2, len(units)), np.float32))
    for each in (units, units.encoder):
        assert len(pickle.dumps(each)) < 50 * len(units)
    rows = np.array([[3, 299], [0, 17]], dtype=np.float32)
    v = np.empty((len(rows), len(units)), np.float32)
    pickle.loads(pickle.dumps(units.encoder)).encode(rows, v)
    assert_array_equal(pickle.loads(pickle.dumps(units)).decode(v), rows)


# The contract, against sums over all rows -------------------------------------------------

KINDS = {
    "categories": (CategoricalUnits, ["categorical"] * 3, [3, 2, 3]),
    "levels": (OrdinalUnits, ["ordinal"] * 3, [3, 2, 4]),
    "mixed": (MixedUnits, ["ordinal", "categorical", "binary"], [3, 3, 2]),
}
BETAS = [0.0, 0.3, 1.0]


class AllRows:
    """All encoded rows of units with three features, written out in full."""

    def __init__(self, kind, types, n_states):
        self.kind, self.types, self.n_states = kind, types, n_states
        codes = list(itertools.product(*map(range, n_states)))
        self.codes = np.array(codes, dtype=np.float64)
        tables = [
            group_states(n - (type_ != "categorical"), type_ != "categorical")
            for type_, n in zip(types, n_states, strict=True)
        ]
        # Mixed units have binary columns first, then categories, then levels.
        order = range(3) if kind is not MixedUnits else [2, 1, 0]
        encoded = [np.concatenate([tables[k][row[k]] for k in order]) for row in codes]
        self.v = np.array(encoded)

    def units(self, seed=0, dtype=np.float64):
        if self.kind is MixedUnits:
            units = MixedUnits.for_columns(self.types, self.n_states, dtype)
        else:
            units = self.kind.with_states(self.n_states, dtype)
        rng = np.random.default_rng(seed)
        return units.map(lambda array: rng.normal(0, 0.8, array.shape).astype(dtype))

    def logs(self, units, x):
        """Unnormalized log-probabilities of all rows for each row of inputs."""
        return (x + units.bias) @ self.v.T

    def mean(self, units, x):
        logs = self.logs(units, x)
        return np.exp(logs - logsumexp(logs, axis=-1, keepdims=True)) @ self.v

    def assert_drawn(self, v, logs):
        places = (v[:, None] == self.v).all(axis=2)
        assert (places.sum(axis=1) == 1).all()
        assert_distributed(places.argmax(axis=1), np.exp(logs - logsumexp(logs)))


@pytest.fixture(params=KINDS)
def oracle(request):
    return AllRows(*KINDS[request.param])


def inputs(n_rows, units, seed=2):
    return np.random.default_rng(seed).normal(0, 0.7, (n_rows, len(units)))


def test_normalizers_and_energies(oracle):
    units = oracle.units()
    x, changes = inputs(5, units), inputs(4, units, seed=7)
    before = x.copy()
    total = logsumexp(oracle.logs(units, x), axis=1)
    assert_allclose(units.log_normalizer(x), total)
    assert units.log_normalizers(x).shape == (5, 3)
    assert_allclose(units.log_normalizers(x).sum(axis=1), total)
    changed = logsumexp(oracle.logs(units, x[:, None] + changes), axis=2)
    assert np.abs(changes).max() < units.largest_change
    assert_allclose(units.log_normalizer_changes(x, changes), changed - total[:, None])
    assert_array_equal(x, before)
    assert_allclose(units.minus_energy(oracle.v), oracle.v @ units.bias)
    other = oracle.units(seed=9)
    ratio = units.log_ratio_to(other, oracle.v)
    expected = oracle.v @ (units.bias - other.bias)
    assert_allclose(ratio - ratio[0], expected - expected[0], atol=1e-9)
    assert_array_equal(units.ground_state, 0)


def test_normalizers_of_single_columns(oracle):
    """An input to the units of one feature changes its normalizer only."""
    units, x = oracle.units(), inputs(5, oracle.units())
    for feature in range(3):
        changed = x + (units.encoder.feature_of == feature)
        differs = units.log_normalizers(changed) != units.log_normalizers(x)
        assert_array_equal(differs.all(axis=0), np.arange(3) == feature)
        assert_array_equal(differs.any(axis=0), np.arange(3) == feature)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_means_and_draws(oracle, dtype, rng):
    units, x = oracle.units(dtype=dtype), inputs(3, oracle.units()).astype(dtype)
    expected, logs = oracle.mean(units, x), oracle.logs(units, x)[0]
    rows = np.tile(x[0], (40_000, 1))
    assert units.sample(rows, rng, rows) is rows
    oracle.assert_drawn(rows, logs)
    assert units.mean(x) is x
    assert_allclose(x, expected, rtol=1e-4, atol=1e-6)
    assert [*units.blocks()] == [slice(0, len(units))]


def test_draws_at_several_temperatures(oracle):
    """Each row has an inverse temperature of its own, and a group of rows a generator."""
    n, units, base = 40_000, oracle.units(), oracle.units(seed=9)
    x = inputs(1, units)[0]
    rows, betas = np.tile(x, (3 * n, 1)), np.repeat(BETAS, n)[:, None]
    generators = [(slice(k * n, (k + 1) * n), generator(k)) for k in range(3)]
    units.sample_between(base, rows, betas, generators)
    nothing = np.zeros_like(x)
    for beta, part in zip(BETAS, np.split(rows, 3), strict=True):
        logs = (1 - beta) * oracle.logs(base, nothing) + beta * oracle.logs(units, x)
        oracle.assert_drawn(part, logs)


def test_constant_inputs_and_means(oracle):
    units, x = oracle.units(), inputs(6, oracle.units())
    constant = np.linspace(-1, 1, len(units))
    changed = units.map(np.copy)
    changed.add_input(constant)
    assert_allclose(changed.mean(x.copy()), units.mean(x + constant))
    change = units.log_normalizer(x + constant) - changed.log_normalizer(x)
    assert_allclose(change, change[0], atol=1e-9)
    nothing = units.mean_of_rows(np.zeros(len(units)), 0)
    assert_allclose(nothing, oracle.v.mean(axis=0))
    few = oracle.v[[0, 3, 3, 7]]
    mean = units.mean_of_rows(few.sum(axis=0), 4)
    if oracle.kind is not MixedUnits:  # bits are smoothed in another way
        assert_allclose(mean, (few.sum(axis=0) + nothing) / 5)
    assert_array_equal(units.center(mean), mean)
    units.follow_mean(mean, mean)
    assert_allclose(units.bias, oracle.units().bias)
    independent = units.independent(mean, np.float64)
    followed = independent.map(np.copy)
    followed.follow_mean(mean, few.mean(axis=0) * 0.99 + 0.01 * nothing)
    expected = units.independent(few.mean(axis=0) * 0.99 + 0.01 * nothing, np.float64)
    x = np.zeros((1, len(units)))
    assert_allclose(followed.mean(x.copy()), expected.mean(x), atol=0.02)


def test_first_values_of_gaps(oracle, rng):
    """They are draws of independent features, also if the mean is only guessed."""
    units = oracle.units()
    x = np.zeros(len(units))
    for mean in (oracle.v[[0, 3, 3, 7, 9]].mean(axis=0), 0.5):
        v = units.fill_in(mean, (40_000, len(units)), rng)
        base = units.independent(mean, np.float64)
        # Bits are drawn without the bounds that the base of annealing has.
        if oracle.kind is not MixedUnits:
            oracle.assert_drawn(v, oracle.logs(base, x))
        assert_allclose(v.mean(axis=0), oracle.mean(base, x), atol=0.02)


def test_gaps_are_left_out_of_pseudo_log_likelihoods(oracle):
    units = oracle.units()
    weights = np.random.default_rng(3).normal(0, 0.6, (len(units), 2))
    model = RBM(weights, units, np.zeros(2))
    v = oracle.v
    each = []
    for feature in range(3):
        others = np.arange(3) != feature
        missing = np.tile(others[units.encoder.feature_of], (len(v), 1))
        each.append(model.pseudo_log_likelihood(v, None, missing))
    assert_allclose(np.sum(each, axis=0), model.pseudo_log_likelihood(v))
    p = np.exp(-model.free_energy(v)).reshape(oracle.n_states)
    for feature, terms in enumerate(each):
        expected = np.log(p / p.sum(axis=feature, keepdims=True)).ravel()
        assert_allclose(terms, expected)


def test_the_start_of_training(oracle):
    data = DataSet(oracle.codes)
    kind = oracle.kind
    units = oracle.units(dtype=np.float32)
    if kind is not MixedUnits:
        untrained = kind.untrained(data, np.dtype(np.float32))
        assert_array_equal(untrained.n_states, oracle.n_states)
        assert untrained.bias.dtype == np.float32
        assert not untrained.bias.any()
    weights, hidden_bias, hidden_mean = units.first_weights(7, np.random.default_rng(0))
    assert weights.shape == (len(units), 7)
    assert hidden_bias.shape == (7,)
    assert 0 < hidden_mean < 1
    if kind is CategoricalUnits:
        assert_allclose(weights[:3].sum(axis=0), 0, atol=1e-9)


def test_capabilities(oracle):
    units = oracle.units()
    assert units.rows_are_bits
    assert units.score == "pseudo_log_likelihood"
    assert units.n_features == 3
    assert not units.enumerable
    assert not units.sparse
    assert units.arrays[0] is units.bias
    known = [array.copy() for array in units.arrays_of_partition]
    total = units.map(np.add, oracle.units(seed=9))
    assert_allclose(total.bias, units.bias + oracle.units(seed=9).bias)
    for before, after in zip(known, units.arrays_of_partition, strict=True):
        assert_array_equal(before, after)
    with pytest.raises(NotImplementedError, match="cannot be exchanged"):
        units.exchange(None, None)


def test_mixed_units_are_their_parts():
    """With numbers, of which the columns come first in the data, and last in rows."""
    types, n_states = ["real", "categorical", "real", "binary"], [0, 3, 0, 2]
    rng = np.random.default_rng(0)
    moments = np.array([5.0, 0, -2, 0]), np.array([4.0, 1, 9, 1])
    units, other = (
        MixedUnits.for_columns(
            types, n_states, np.float64, moments, np.dtype(np.float64)
        ).map(lambda array: rng.normal(0, 0.5, array.shape))
        for _ in range(2)
    )
    bits, categories, numbers = units.parts
    assert [len(part) for part in units.parts] == [1, 3, 2]
    of = [slice(0, 1), slice(1, 4), slice(4, 6)]
    x, v = inputs(5, units), inputs(5, units, seed=4)
    pairs = list(zip(units.parts, of, strict=True))

    def joined(function):
        return np.concatenate([function(part, s) for part, s in pairs], axis=-1)

    def summed(function):
        return sum(function(part, s) for part, s in pairs)

    assert_allclose(units.mean(x.copy()), joined(lambda p, s: p.mean(x[:, s].copy())))
    normalizers = units.log_normalizers(x)
    assert_allclose(normalizers[:, 3], bits.log_normalizer(x[:, :1]))
    assert_allclose(normalizers[:, 1], categories.log_normalizer(x[:, 1:4]))
    assert_allclose(normalizers[:, [0, 2]], numbers.log_normalizers(x[:, 4:]))
    assert_allclose(units.log_normalizer(x), normalizers.sum(axis=1))
    changes = units.log_normalizer_changes(x, v)
    expected = summed(lambda p, s: p.log_normalizer_changes(x[:, s], v[:, s]))
    assert_allclose(changes, expected)
    assert_allclose(units.minus_energy(v), summed(lambda p, s: p.minus_energy(v[:, s])))
    ratio = summed(
        lambda p, s: p.log_ratio_to(other.parts[of.index(s)], v[:, s]),
    )
    assert_allclose(units.log_ratio_to(other, v), ratio)
    mean = np.array([0.3, 0.2, 0.3, 0.5, 1.0, -1.0])
    assert_allclose(units.center(mean), [*mean[:4], 0, 0])
    total = units.mean_of_rows(mean, 3)
    assert_allclose(total, joined(lambda p, s: p.mean_of_rows(mean[s], 3)))
    assert_allclose(units.ground_state, joined(lambda p, s: p.ground_state))
    base = units.independent(mean, np.float64)
    drawn = np.zeros((40_000, 6))
    base.sample(drawn, generator(0), drawn)
    assert_allclose(drawn.mean(axis=0), [*mean[:4], 0, 0], atol=0.03)
    assert_allclose(drawn[:, 4:].var(axis=0), 1, atol=0.03)
    between = np.tile(x[0], (40_000, 1))
    units.sample_between(other, between, 0.5, [(slice(None), generator(1))])
    alone = [np.tile(x[0, s], (40_000, 1)) for s in of]
    for place, (part, rows) in enumerate(zip(units.parts, alone, strict=True)):
        part.sample_between(other.parts[place], rows, 0.5, [(slice(None), generator(2))])
    rows = np.concatenate(alone, axis=1)
    assert_allclose(between.mean(axis=0), rows.mean(axis=0), atol=0.03)
    assert_allclose(between.std(axis=0), rows.std(axis=0), rtol=0.03)
    assert units.score == "log_likelihood"
    assert not units.rows_are_bits
    shares = np.array([0.5, 0.5, -0.4, -0.3, -0.3])
    of_v, of_square = units.differences(v, shares)
    assert_allclose(of_v, joined(lambda p, s: p.differences(v[:, s], shares)[0]))
    assert_allclose(of_square, numbers.differences(v[:, 4:], shares)[1])
    X = np.array([[5.0, 2, -2, 1], [7.0, 0, 1, 0]])
    rows = DataSet(X).encode(units.encoder).copy_rows(np.float64)
    assert_allclose(rows, [[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 1]])
    assert_allclose(units.decode(rows), X)
    assert_array_equal(units.encoder.feature_of, [3, 1, 1, 1, 0, 2])
