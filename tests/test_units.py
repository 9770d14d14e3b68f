"""What every kind of visible units must do, against sums over all values of a unit.

To test a new kind, add an `Oracle` to `KINDS` that tabulates its energy in full. For real
values, the sums are integrals on a fine grid. Where Bernoulli units override methods of the
base class, these are tested as a kind of their own. The counts are a kind that the package
does not know.
"""

import dataclasses
import itertools
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import assert_distributed, centered, needs_core, states
from count_units import LARGEST, BoundedPoissonUnits
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import factorial, logsumexp

from skrbm import _binary_rows
from skrbm._attributes import attributes_of, model_of
from skrbm._bounds import log_partition_bound
from skrbm._data import DataSet
from skrbm._enumeration import exact_log_partition
from skrbm._model import RBM
from skrbm._phases import DensePhases
from skrbm._units import VisibleUnits
from skrbm._units.bernoulli import SMALLEST_BASE_MEAN, BernoulliUnits
from skrbm._units.correlated import CorrelatedUnits
from skrbm._units.gaussian import VARIANCE_RATE, GaussianUnits

N = 40_000  # draws
BETAS = [0.0, 0.3, 1.0]


@dataclasses.dataclass(frozen=True, eq=False)
class DefaultUnits(BernoulliUnits):
    """Bernoulli units that use all methods of the base class that suit them."""

    fill_in = VisibleUnits.fill_in
    from_lists = VisibleUnits.from_lists
    log_normalizer_changes = VisibleUnits.log_normalizer_changes
    largest_change = VisibleUnits.largest_change
    mean_of_rows = VisibleUnits.mean_of_rows
    follow_mean = VisibleUnits.follow_mean
    log_ratio_to = VisibleUnits.log_ratio_to
    sample_between = VisibleUnits.sample_between


# Oracles --------------------------------------------------------------------------------


class Oracle:
    """Table of all values of units, and of minus their energies, written out in full."""

    values: np.ndarray
    real = False

    def units(self, n=3, dtype=np.float64, seed=0):
        """Units with random parameters."""
        rng = np.random.default_rng(seed)
        return self.kind(rng.normal(0, 0.8, n).astype(dtype))

    def minus_energies(self, units):
        """Minus the energy of each unit, a row, at each value, a column."""
        return np.outer(units.bias, self.values)

    def log_sizes(self, units):
        """Logarithm of what a value of each unit counts in sums over values."""
        return np.zeros((len(units), 1))

    def base_mean(self, mean):
        """Means of independent units that are asked to have these."""
        return mean

    def step(self, units, slopes, mu, lam):
        """Step along the slopes of the log-likelihood: weights, units, hidden bias."""
        return centered(slopes, mu, lam)

    def probabilities(self, logs):
        return np.exp(logs - logsumexp(logs, axis=-1, keepdims=True))

    def given(self, units, x):
        """Probabilities of the values of each unit, given an input, one of each unit."""
        logs = self.minus_energies(units) + np.multiply.outer(x, self.values)
        return self.probabilities(logs)

    def log_normalizer(self, units, x):
        logs = self.minus_energies(units) + np.multiply.outer(x, self.values)
        return logsumexp(logs + self.log_sizes(units), axis=-1).sum(axis=-1)

    def rows(self, n_units, n=None, seed=1):
        """Rows of values: all of them or, if `n` is given, some."""
        if n is None:
            return np.array(list(itertools.product(self.values, repeat=n_units)))
        return np.random.default_rng(seed).choice(self.values, (n, n_units))

    def assert_drawn(self, draws, p):
        """Assert the distribution of each column, one of each row of probabilities."""
        starts = np.arange(len(self.values))
        if self.real:
            starts = starts[:: len(starts) // 60]
        else:
            assert np.isin(draws, self.values).all()
        edges = (self.values[starts[1:] - 1] + self.values[starts[1:]]) / 2
        for column, p_of_unit in zip(np.transpose(draws), p, strict=True):
            cells = np.add.reduceat(p_of_unit, starts)
            assert_distributed(np.searchsorted(edges, column), cells)


class BernoulliOracle(Oracle):
    kind = BernoulliUnits
    values = np.array([0.0, 1.0])

    def base_mean(self, mean):
        return np.clip(mean, SMALLEST_BASE_MEAN, 1 - SMALLEST_BASE_MEAN)


class DefaultOracle(BernoulliOracle):
    kind = DefaultUnits


class CountOracle(Oracle):
    kind = BoundedPoissonUnits
    values = np.arange(LARGEST + 1.0)

    def minus_energies(self, units):
        return np.outer(units.bias, self.values) - np.log(factorial(self.values))

    def base_mean(self, mean):
        return np.clip(mean, 0.01, LARGEST - 0.01)


class GaussianOracle(Oracle):
    kind = GaussianUnits
    values = np.linspace(-9, 9, 3601)
    real = True

    def units(self, n=3, dtype=np.float64, seed=0):
        rng = np.random.default_rng(seed)
        bias, log_variance = rng.uniform(0.2, 0.9, (2, n)).astype(dtype)
        log_variance -= 1
        return GaussianUnits(bias, log_variance, rng.normal(0, 9, n), rng.uniform(1, 9, n))

    def minus_energies(self, units):
        bias, log_variance = units.bias[:, None], units.log_variance[:, None]
        return -((self.values - bias) ** 2) / (2 * np.exp(log_variance))

    def log_sizes(self, units):
        return np.log(units.scale * (self.values[1] - self.values[0]))[:, None]

    def rows(self, n_units, n=20, seed=1):
        return np.random.default_rng(seed).normal(0, 1.2, (n, n_units))

    def base_mean(self, mean):
        """Rows are standardized."""
        return np.zeros_like(mean)

    def step(self, units, slopes, mu, lam):
        """The step is taken in ``b / s^2``, and log variances have a rate of their own."""
        variance = np.exp(units.log_variance)
        of_weights, of_bias, of_log_variance, of_hidden = slopes
        plain = of_weights, variance * of_bias, of_hidden
        of_weights, of_bias, of_hidden = centered(plain, mu, lam)
        return of_weights, variance * of_bias, VARIANCE_RATE * of_log_variance, of_hidden


class CorrelatedOracle(GaussianOracle):
    """Encoded rows are those of independent units, but their volumes are others."""

    kind = CorrelatedUnits

    def units(self, n=3, dtype=np.float64, seed=0):
        units = super().units(n, dtype, seed)
        axes = np.eye(n) + np.random.default_rng(seed).normal(0, 0.3 / n**0.5, (n, n))
        return CorrelatedUnits(**vars(units), axes=axes, added=np.zeros(n))

    def log_sizes(self, units):
        of_axes = np.log(abs(np.linalg.det(units.axes))) / len(units)
        return super().log_sizes(units) + of_axes


KINDS = [
    BernoulliOracle(),
    DefaultOracle(),
    GaussianOracle(),
    CorrelatedOracle(),
    CountOracle(),
]


@pytest.fixture(params=KINDS, ids=lambda oracle: oracle.kind.__name__)
def oracle(request):
    return request.param


def inputs(n_rows, n_units, seed=2):
    return np.random.default_rng(seed).normal(0, 0.7, (n_rows, n_units))


def repeated(x, n=N, dtype=np.float64):
    return np.tile(np.asarray(x, dtype), (n, 1))


def model_with(oracle, n_visible=2, n_hidden=2, seed=3):
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.6, (n_visible, n_hidden))
    return RBM(weights, oracle.units(n_visible), rng.normal(0, 0.5, n_hidden))


def log_joint(oracle, model):
    """Unnormalized log-probabilities of hidden states, and of values of units given them.

    The first has shape (n_states,), and the second (n_states, n_visible, n_values).
    """
    h = states(len(model.hidden_bias))
    x = h @ model.weights.T
    log_h = h @ model.hidden_bias + oracle.log_normalizer(model.visible, x)
    return log_h, np.log(oracle.given(model.visible, x) + 1e-300)


def log_likelihood(oracle, model, v):
    """Log-likelihood of each encoded row, by sums; densities are those of the data."""
    h = states(len(model.hidden_bias))
    x = h @ model.weights.T
    log_z = logsumexp(h @ model.hidden_bias + oracle.log_normalizer(model.visible, x))
    energies = minus_energy(oracle, model.visible, v)
    return energies + logsumexp(h @ model.hidden_bias + v @ x.T, axis=1) - log_z


def minus_energy(oracle, units, v):
    """Sum of the entries of the table, interpolated between the values of the grid."""
    table = oracle.minus_energies(units)
    columns = [np.interp(v[:, i], oracle.values, table[i]) for i in range(len(units))]
    return np.sum(columns, axis=0)


# Given the hidden units -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_means(oracle, dtype):
    units, x = oracle.units(dtype=dtype), inputs(5, 3).astype(dtype)
    expected = oracle.given(units, x) @ oracle.values
    mean = units.mean(x)
    assert mean is x
    assert mean.dtype == dtype
    assert_allclose(mean, expected, rtol=1e-4 if dtype == np.float32 else 1e-9, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws(oracle, rng, dtype):
    units, x = oracle.units(dtype=dtype), inputs(1, 3)[0]
    rows = repeated(x, dtype=dtype)
    assert units.sample(rows, rng, rows) is rows
    oracle.assert_drawn(rows, oracle.given(units, x))


def test_draws_of_a_part_of_the_units(oracle):
    """They are those of units with these parameters only; `out` may be another array."""
    units, x = oracle.units(5), inputs(100, 5)
    for part in (slice(0, 2), slice(2, 5), *units.blocks()):
        few = units.map(lambda array, part=part: array[part])
        expected = np.random.Generator(np.random.SFC64(1)), np.empty_like(x[:, part])
        few.sample(x[:, part].copy(), *expected)
        drawn = np.empty_like(x[:, part])
        rng = np.random.Generator(np.random.SFC64(1))
        units.sample(x[:, part].copy(), rng, drawn, part)
        assert_array_equal(drawn, expected[1])


@pytest.mark.parametrize("n_units", [3, 1500])
def test_blocks_are_all_units_in_order(oracle, n_units):
    blocks = oracle.units(n_units).blocks()
    assert_array_equal(np.r_[tuple(np.r_[block] for block in blocks)], np.arange(n_units))
    assert blocks[0].stop == max(block.stop - block.start for block in blocks)


def test_log_normalizers(oracle):
    units, x = oracle.units(), inputs(5, 3)
    before = x.copy()
    assert_allclose(units.log_normalizer(x), oracle.log_normalizer(units, x), rtol=1e-9)
    assert_array_equal(x, before)


def test_changes_of_log_normalizers(oracle):
    units, x, changes = oracle.units(), inputs(5, 3), inputs(4, 3, seed=7)
    assert np.abs(changes).max() < units.largest_change
    ends = oracle.log_normalizer(units, x[:, None] + changes)
    expected = ends - oracle.log_normalizer(units, x)[:, None]
    got = units.log_normalizer_changes(x, changes)
    assert got.dtype == np.float64
    assert_allclose(got, expected, rtol=1e-7, atol=1e-9)


def test_energies(oracle):
    units, v = oracle.units(), oracle.rows(3)
    expected = minus_energy(oracle, units, v)
    assert_allclose(units.minus_energy(v), expected, atol=1e-4)


def test_likelihoods_of_a_model(oracle):
    """The free energy and the exact partition function are those of all joint states."""
    model, v = model_with(oracle), oracle.rows(2)
    got = -model.free_energy(v) - exact_log_partition(model)
    assert_allclose(got, log_likelihood(oracle, model, v), atol=1e-4)
    h = states(len(model.hidden_bias))
    log_p = -model.hidden_free_energy(h) - exact_log_partition(model)
    assert_allclose(logsumexp(log_p), 0, atol=1e-6)
    joint = h @ model.hidden_bias + oracle.log_normalizer(
        model.visible, h @ model.weights.T
    )
    assert_allclose(model.hidden_free_energy(h), -joint, rtol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_bounds_on_log_z(oracle, scale):
    """They hold for any rows, and are exact without weights."""
    model = model_with(oracle)
    model.weights[...] *= scale
    log_z, v = exact_log_partition(model), oracle.rows(2)
    bounds = [log_partition_bound(model, row) for row in v[:, None]]
    assert max(bounds) <= log_z + 1e-6
    if scale == 0:
        assert_allclose(bounds, log_z)


# Learning -------------------------------------------------------------------------------


def slopes_of(function, arrays):
    """Derivatives of a function of arrays, by finite differences."""
    slopes = []
    for number, array in enumerate(arrays):
        slope = np.empty_like(array)
        for at in np.ndindex(array.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [a.copy() for a in arrays]
                moved[number][at] += step
                ends.append(function(moved))
            slope[at] = (ends[0] - ends[1]) / 2e-5
        slopes.append(slope)
    return slopes


def evenly_drawn(oracle, model, n):
    """Rows of a model of two visible units, each about as often as it is expected.

    The rows of each hidden state are a grid of the quantiles of the two units.
    """
    log_h, log_v = log_joint(oracle, model)
    p_h = np.exp(log_h - logsumexp(log_h))
    rows = []
    for share, logs in zip(p_h, log_v, strict=True):
        side = int(np.sqrt(share * n))
        places = (np.arange(side) + 0.5) / side
        quantiles = []
        for p in np.exp(logs):
            below = np.cumsum(p)
            numbers = np.searchsorted(below, places * below[-1])
            quantiles.append(oracle.values[numbers])
        rows.append(np.array(list(itertools.product(*quantiles))))
    return np.concatenate(rows)


@pytest.mark.parametrize(
    ("mu", "lam"), [([0.0, 0.0], [0.0, 0.0]), ([0.3, 0.6], [0.2, 0.7])]
)
def test_a_step_follows_the_gradient(oracle, mu, lam):
    model, v = model_with(oracle), oracle.rows(2, 30)
    mu, lam = np.array(mu), np.array(lam)
    arrays = model.arrays

    def mean_log_likelihood(arrays):
        weights, *of_units, hidden_bias = arrays
        trained = dict(zip(model.visible.trained, of_units, strict=True))
        units = dataclasses.replace(model.visible, **trained)
        changed = RBM(weights, units, hidden_bias)
        return log_likelihood(oracle, changed, v).mean()

    slopes = slopes_of(mean_log_likelihood, arrays)
    expected = oracle.step(model.visible, slopes, mu, lam)
    negative = evenly_drawn(oracle, model, 200_000)
    phases = DensePhases(model, len(v), len(negative))
    phases.load(DataSet(v), slice(0, len(v)), lambda n_positive: len(negative))
    phases.negative_visible[...] = negative
    model.mean_hidden(phases.visible, out=phases.hidden)
    rate, after = 1e-3, model.copy()
    phases.multiply(rate)
    phases.add_gradient(after, (mu, lam))
    for a, b, slope in zip(after.arrays, arrays, expected, strict=True):
        assert_allclose((a - b) / rate, slope, atol=0.008)


def test_a_constant_input_becomes_a_part_of_the_units(oracle):
    units, x = oracle.units(), inputs(6, 3)
    constant = np.array([0.5, -0.3, 0.2])
    changed = units.map(np.copy)
    changed.add_input(constant)
    assert_allclose(changed.mean(x.copy()), units.mean(x + constant))
    change = units.log_normalizer(x + constant) - changed.log_normalizer(x)
    assert_allclose(change, change[0], atol=1e-9)


def test_means_of_rows(oracle):
    units, v = oracle.units(), oracle.rows(3, 50)
    nothing = units.mean_of_rows(np.zeros(3), 0.0)
    assert nothing.shape == (3,)
    assert np.isfinite(nothing).all()
    many = 1e9
    mean = units.mean_of_rows(many * v.mean(axis=0), many)
    assert_allclose(mean, v.mean(axis=0), rtol=1e-6, atol=1e-6)
    offset = units.center(mean)
    assert offset.shape == (3,)
    low, high = oracle.values[0], oracle.values[-1]
    assert ((offset >= low) & (offset <= high)).all()
    units.follow_mean(mean, mean)
    assert_array_equal(units.bias, oracle.units().bias)


def test_the_start_of_training(oracle):
    X = oracle.rows(4, 60)
    units = oracle.kind.untrained(DataSet(X), np.dtype(np.float32))
    assert len(units) == 4
    assert {array.dtype for array in units.arrays} == {np.dtype(np.float32)}
    weights, hidden_bias, hidden_mean = units.first_weights(7, np.random.default_rng(0))
    assert weights.shape == (4, 7)
    assert hidden_bias.shape == (7,)
    assert np.isfinite(weights).all()
    assert 0 < hidden_mean < 1


# Paths to a model -----------------------------------------------------------------------


@pytest.mark.parametrize("mean", [[0.0, 0.3, 1.0], 0.5])
def test_independent_units_have_the_means(oracle, mean):
    independent = oracle.units().independent(mean, np.float32)
    assert {array.dtype for array in independent.arrays} == {np.dtype(np.float32)}
    got = independent.mean(np.zeros((1, 3), np.float32))[0]
    expected = oracle.base_mean(np.broadcast_to(mean, 3).astype(float))
    assert_allclose(got, expected, rtol=1e-3, atol=1e-6)


def test_independent_units_of_moments(oracle):
    """Also of means that those of `independent` are kept away from."""
    units, v = oracle.units(), oracle.rows(3)
    mean = units.mean_of_rows(1e6 * v.mean(axis=0), 1e6)
    independent = units.independent_of(mean, np.square(v).mean(axis=0))
    assert {array.dtype for array in independent.arrays} == {np.dtype(np.float64)}
    none = np.zeros((1, len(units)))
    assert_allclose(independent.mean(none.copy())[0], mean, rtol=1e-6, atol=1e-8)
    if hasattr(units, "variance"):
        added = getattr(units, "added", 0)
        assert_allclose(independent.variance, v.var(axis=0) + added, rtol=1e-9)


def test_log_ratios(oracle):
    units, base, v = oracle.units(), oracle.units(seed=9), oracle.rows(3)
    expected = minus_energy(oracle, units, v) - minus_energy(oracle, base, v)
    got = units.log_ratio_to(base, v)
    assert_allclose(got - got[0], expected - expected[0], rtol=1e-3, atol=1e-4)


def between(oracle, units, base, x, beta):
    """Probabilities of the values of each unit at an inverse temperature."""
    of_base, of_units = map(oracle.minus_energies, (base, units))
    of_model = of_units + np.multiply.outer(x, oracle.values)
    return oracle.probabilities((1 - beta) * of_base + beta * of_model)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("beta", BETAS)
def test_draws_between_a_base_and_the_units(oracle, rng, beta, dtype):
    units, base = oracle.units(dtype=dtype), oracle.units(dtype=dtype, seed=9)
    x = inputs(1, 3)[0]
    rows = repeated(x, dtype=dtype)
    units.sample_between(base, rows, beta, [(slice(None), rng)])
    oracle.assert_drawn(rows, between(oracle, units, base, x, beta))


def test_draws_at_several_temperatures(oracle):
    """Each row has an inverse temperature of its own, and a group of rows a generator."""
    units, base = oracle.units(), oracle.units(seed=9)
    x = inputs(1, 3)[0]
    rows, betas = repeated(x, 3 * N), np.repeat(BETAS, N)[:, None]
    generators = [
        (slice(start, start + N), np.random.Generator(np.random.SFC64(start)))
        for start in range(0, 3 * N, N)
    ]
    units.sample_between(base, rows, betas, generators)
    for beta, part in zip(BETAS, np.split(rows, 3), strict=True):
        oracle.assert_drawn(part, between(oracle, units, base, x, beta))
    alone = repeated(x)
    rng = np.random.Generator(np.random.SFC64(N))
    units.sample_between(base, alone, BETAS[1], [(slice(None), rng)])
    assert_allclose(rows[N : 2 * N], alone)


def test_gibbs_steps_keep_the_distribution_between(oracle):
    """Started from the distribution at an inverse temperature, chains do not drift."""
    model, base = model_with(oracle), oracle.units(2, seed=9)
    h = states(2)
    rng = np.random.default_rng(4)
    rows, expected = [], []
    for beta in BETAS:
        x = h @ model.weights.T
        logs = (1 - beta) * oracle.minus_energies(base) + beta * (
            oracle.minus_energies(model.visible) + np.multiply.outer(x, oracle.values)
        )
        log_h = beta * h @ model.hidden_bias + logsumexp(logs, axis=-1).sum(axis=-1)
        p_h, p_v = oracle.probabilities(log_h), oracle.probabilities(logs)
        numbers = rng.choice(len(h), N, p=p_h)
        v = np.empty((N, 2))
        for number in range(len(h)):
            chosen = numbers == number
            for i in range(2):
                size, p = chosen.sum(), p_v[number, i]
                v[chosen, i] = rng.choice(oracle.values, size, p=p)
        rows.append(v)
        expected.append(np.tensordot(p_h, p_v, 1))
    v, betas = np.concatenate(rows), np.repeat(BETAS, N)[:, None]
    generators = [(slice(None), np.random.Generator(np.random.SFC64(5)))]
    for _ in range(2):
        model.gibbs_between(base, v, model.hidden_input(v), betas, generators)
    for part, p in zip(np.split(v, len(BETAS)), expected, strict=True):
        oracle.assert_drawn(part, p)


def test_first_values_for_missing_ones(oracle, rng):
    """They are draws of independent units, also if the mean is only guessed."""
    units = oracle.units()
    for mean in (np.array([0.2, 0.5, 0.9]), 0.5):
        v = units.fill_in(mean, (N, 3), rng)
        assert v.dtype == units.bias.dtype
        base = units.independent(mean, np.float64)
        oracle.assert_drawn(v, oracle.given(base, np.zeros(3)))


# Columns and rows -----------------------------------------------------------------------


def test_rows_are_decoded_after_they_are_encoded(oracle):
    units, v = oracle.units(), oracle.rows(3)
    X = units.decode(v)
    assert X.dtype == v.dtype
    data = DataSet(X).encode(units.encoder)
    assert data.n_encoded == len(units)
    assert_allclose(data.copy_rows(np.float64), v, rtol=1e-9, atol=1e-9)


def test_clipping_keeps_states(oracle):
    v = oracle.rows(3)
    assert_array_equal(oracle.kind.clip(v), v)
    wild = np.array([[-1e3, 0.5, 1e3]])
    clipped = oracle.kind.clip(wild)
    assert_array_equal(oracle.kind.clip(clipped), clipped)
    if not oracle.real:
        assert_array_equal(clipped, wild.clip(oracle.values[0], oracle.values[-1]))


def test_states_are_recognized(oracle):
    kind, v = oracle.kind, oracle.rows(3)
    assert kind.are_states(DataSet(v).summary)
    assert kind.are_in_range(DataSet(v).summary)
    if not oracle.real:
        for wild in (-1, oracle.values[-1] + 1):
            summary = DataSet(np.append(v, [[wild] * 3], axis=0)).summary
            assert not kind.are_states(summary)
            assert not kind.are_in_range(summary)


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_is_its_attributes(oracle, described, dtype):
    """The distribution of the data is the same, however rows are encoded."""
    model = model_with(oracle).astype(dtype)
    rbm = SimpleNamespace(_units=oracle.kind, n_components=2, **attributes_of(model))
    if described:
        vars(rbm).update(model.visible.data_attributes(np.full(2, 0.5)))
    again = model_of(rbm)
    assert type(again.visible) is oracle.kind
    assert again.dtype == dtype
    X, h = model.visible.decode(oracle.rows(2)), states(2).astype(dtype)
    energies, means = [], []
    for m in (model, again):
        v = DataSet(X).encode(m.visible.encoder).copy_rows(dtype)
        energies.append(m.free_energy(v))
        means.append(m.visible.decode(m.mean_visible(h)))
    tolerance = {"rtol": 1e-3, "atol": 1e-3} if dtype == np.float32 else {"rtol": 1e-7}
    assert_allclose(*(e - e[0] for e in energies), **tolerance)
    assert_allclose(*means, **tolerance)


def test_attributes_are_copies(oracle):
    model = model_with(oracle)
    for name, array in attributes_of(model).items():
        for parameter in model.arrays:
            assert not np.shares_memory(array, parameter), name


def test_a_model_without_its_attributes_is_refused(oracle):
    for name in ("components_", *oracle.kind.required_attributes):
        attributes = attributes_of(model_with(oracle))
        del attributes[name]
        rbm = SimpleNamespace(_units=oracle.kind, n_components=2, **attributes)
        with pytest.raises(ValueError, match=f"has no {name}"):
            model_of(rbm)


# Arrays ---------------------------------------------------------------------------------


def test_copies_and_pickles_have_the_same_arrays(oracle):
    units = oracle.units()
    assert len(units.arrays) == len(units.trained)
    for again in (units.map(np.copy), pickle.loads(pickle.dumps(units))):
        assert type(again) is oracle.kind
        assert len(again) == len(units) == 3
        for ours, theirs in zip(units.arrays, again.arrays, strict=True):
            assert_array_equal(ours, theirs)
            assert not np.shares_memory(ours, theirs)
        assert_array_equal(
            again.log_normalizer(inputs(2, 3)), units.log_normalizer(inputs(2, 3))
        )


def test_functions_are_mapped_over_the_arrays_of_several_units(oracle):
    units, other = oracle.units(), oracle.units(seed=9)
    total = units.map(np.add, other)
    for name in units.trained:
        expected = getattr(units, name) + getattr(other, name)
        assert_array_equal(getattr(total, name), expected)
    assert_array_equal(units.bias, oracle.units().bias)


def test_the_partition_function_depends_on_all_arrays(oracle):
    """Each of them changes it, and is projected to recognize the model."""
    units, x = oracle.units(), inputs(1, 3)
    for name in units.trained:
        changed = dataclasses.replace(units, **{name: getattr(units, name) + 0.1})
        assert changed.log_normalizer(x) != units.log_normalizer(x)
    known = [id(array) for array in units.arrays_of_partition]
    assert {id(array) for array in units.arrays} <= set(known)


# Capabilities ---------------------------------------------------------------------------


def test_layers_can_be_exchanged_if_the_units_are_enumerable(oracle):
    model = model_with(oracle, 3, 2)
    if not oracle.kind.enumerable:
        assert model.n_enumerated == 2
        with pytest.raises(NotImplementedError, match="cannot be exchanged"):
            model.exchanged()
        return
    turned, h = model.exchanged(), states(2)
    assert type(turned.visible) is oracle.kind
    assert turned.weights.shape == (2, 3)
    log_h, _ = log_joint(oracle, model)
    assert_allclose(-turned.free_energy(h), log_h)
    twice = turned.exchanged()
    for ours, theirs in zip(model.arrays, twice.arrays, strict=True):
        assert_array_equal(ours, theirs)


def test_the_mode_is_the_most_probable_state(oracle):
    """If units have finitely many states, and otherwise the mean."""
    units, x = oracle.units(), inputs(20, 3)
    p, mean = oracle.given(units, x), units.mean(x.copy())
    found = units.probabilities(mean)
    if not found:
        assert_array_equal(units.mode(mean), mean)
        return
    assert_allclose(np.stack([found[i] for i in range(3)], axis=1), p)
    assert_array_equal(units.mode(mean), oracle.values[p.argmax(axis=-1)])


def test_effects_of_states_sum_to_those_of_rows(oracle):
    units, v, x = oracle.units(), oracle.rows(3), inputs(3, 2)
    effects, coordinates = units.effects(x), units.coordinates(v)
    assert not effects or list(effects) == [0, 1, 2]
    if effects:
        total = sum(coordinates[i] @ effects[i] for i in range(3))
        assert_allclose(total, v @ x, atol=1e-12)


def test_pseudo_log_likelihoods_if_they_are_the_score(oracle):
    model, v = model_with(oracle, 3, 2), oracle.rows(3, 10)
    assert oracle.kind.score in ("log_likelihood", "pseudo_log_likelihood")
    if oracle.kind.score == "log_likelihood":
        with pytest.raises(NotImplementedError, match="no pseudo-log-likelihood"):
            model.pseudo_log_likelihood(v)
        return
    expected = np.zeros(len(v))
    for i in range(3):
        logs = []
        for value in oracle.values:
            changed = v.copy()
            changed[:, i] = value
            logs.append(log_likelihood(oracle, model, changed))
        expected += log_likelihood(oracle, model, v) - logsumexp(logs, axis=0)
    assert_allclose(model.pseudo_log_likelihood(v), expected)


def test_capabilities_agree(oracle):
    kind, (low, high) = oracle.kind, (oracle.values[0], oracle.values[-1])
    assert kind.value_limits == (None if oracle.real else (low, high))
    if kind.rows_are_bits or kind.enumerable:
        assert_array_equal(oracle.values, [0, 1])
    if kind.rows_are_bits or kind.sparse:  # others need dense rows
        assert len(oracle.units().differences(oracle.rows(3, 4), np.ones(4))) == 1
    if kind.rows_are_bits or kind.has_ladders:
        assert kind.trained == ("bias",)
    if kind.sparse:
        assert oracle.units().encoder is None
    if not oracle.real:
        assert kind.states
        assert kind.advice_on_states


# From lists -----------------------------------------------------------------------------

LISTING = [oracle for oracle in KINDS if oracle.kind.rows_are_bits]


@needs_core
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("oracle", LISTING, ids=lambda oracle: oracle.kind.__name__)
def test_lists_give_the_means_of_products(oracle, dtype):
    model = model_with(oracle, 20, 6).astype(dtype)
    h = states(6).astype(dtype)
    lists = _binary_rows.lists(h)
    mean = np.empty((len(h), 20), dtype)
    model.visible.from_lists(lists, model.weights, mean=mean)
    expected = model.visible.mean(h @ np.ascontiguousarray(model.weights).T)
    assert_allclose(mean, expected, atol=1e-5)
    states_too = np.empty((len(h), 20), np.uint8)
    key = _binary_rows.draw_key(np.random.Generator(np.random.SFC64(0)))
    mean[...] = 0
    model.visible.from_lists(lists, model.weights, keys=key, mean=mean, states=states_too)
    assert_allclose(mean, expected, atol=1e-5)
    assert set(np.unique(states_too)) == {0, 1}


@needs_core
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("betas", [None, *BETAS, BETAS])
@pytest.mark.parametrize("oracle", LISTING, ids=lambda oracle: oracle.kind.__name__)
def test_lists_give_draws(oracle, betas, dtype):
    """With a base, each group of rows has an inverse temperature and a key of its own."""
    model = model_with(oracle, 3, 2).astype(dtype)
    h = np.array([1.0, 0.0])
    x = h @ model.weights.T
    groups = np.atleast_1d(1.0 if betas is None else betas)
    lists = _binary_rows.lists(repeated(h, N * len(groups), dtype))
    base = oracle.units(dtype=dtype, seed=9)
    options = {}
    if betas is not None:
        options = {"base": base, "scale": np.repeat(groups, N).astype(dtype)}
    generators = [
        (slice(i * N, (i + 1) * N), np.random.Generator(np.random.SFC64(i)))
        for i in range(len(groups))
    ]
    drawn = np.empty((N * len(groups), 3), np.uint8)
    keys = _binary_rows.draw_keys(generators)
    model.visible.from_lists(lists, model.weights, keys=keys, states=drawn, **options)
    for beta, part in zip(groups, np.split(drawn, len(groups)), strict=True):
        oracle.assert_drawn(part, between(oracle, model.visible, base, x, beta))


# Only of Bernoulli units ----------------------------------------------------------------


def test_values_are_drawn_as_probabilities(rng):
    p = np.array([-1, 0, 0.1, 0.5, 0.9, 1, 3])
    values = np.tile(p, (100_000, 1))
    BernoulliUnits.draw_states(values, rng)
    assert set(np.unique(values)) == {0, 1}
    assert_allclose(values.mean(axis=0), p.clip(0, 1), atol=0.01)
    assert_array_equal(values[:, [0, 1, 5, 6]].std(axis=0), 0)


def test_drawing_leaves_the_stream_to_uncertain_values():
    """Zeros, stored or implicit, and ones use no random numbers."""
    X = np.random.default_rng(0).random((30, 8)).round(1)
    dense, sparse = X.copy(), sp.csr_array(X)
    for values in (dense, sparse.data):
        BernoulliUnits.draw_states(values, np.random.Generator(np.random.SFC64(5)))
    assert_array_equal(dense, sparse.toarray())


def test_following_a_mean():
    units = BernoulliUnits(np.array([0.3, -2.0]))
    units.follow_mean(np.array([0.5, 0.5]), np.array([0.25, 0.9]))
    assert_allclose(units.bias, [0.3 + np.log(1 / 3), -2 + np.log(9)])


@pytest.mark.parametrize(
    ("values", "are_states", "are_in_range"),
    [
        ([0, 1], True, True),
        ([0, 0.5], False, True),
        ([0, 2], False, False),
        ([-1, 0], False, False),
    ],
)
def test_allowed_values(values, are_states, are_in_range):
    summary = DataSet(np.array([values], dtype=float)).summary
    assert BernoulliUnits.are_states(summary) == are_states
    assert BernoulliUnits.are_in_range(summary) == are_in_range
    for form in (np.array, sp.csr_array):
        clipped = BernoulliUnits.clip(form(np.array([values], dtype=float)))
        clipped = clipped.toarray() if sp.issparse(clipped) else clipped
        assert_array_equal(clipped, np.clip([values], 0, 1))
