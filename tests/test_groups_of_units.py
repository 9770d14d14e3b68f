"""Units in groups and mixed units, against tables of all rows written longhand."""

import itertools
import pickle

import numpy as np
import pytest
from conftest import assert_distributed
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
    expected = between.visible.map(np.float64).mean(np.float64(h[:1] @ between.weights.T))[
        0
    ]
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
