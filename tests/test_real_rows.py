"""Units of real rows given their inputs, compared with formulas and reference streams.

They are tests of the build of the core for any processor. All others give the same bits.
"""

import itertools

import numpy as np
import pytest
from conftest import core_draws, core_words, needs_core
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, ndtr
from scipy.stats import kstest
from test_binary_rows import (
    DTYPES,
    N_UNITS,
    OTHER_BUILDS,
    build,
    compare_builds,
    eps,
    use_threads,
)

from skrbm import _binary_rows, _real_rows
from skrbm._binary_rows import Keys, draw_keys
from skrbm._random import generator
from skrbm._units.correlated import CorrelatedUnits

pytestmark = needs_core


@pytest.fixture(autouse=True)
def core(monkeypatch):
    monkeypatch.setattr(_binary_rows, "core", build("_core"))


def keys_of(*stops):
    words = generator(len(stops)).bit_generator.random_raw(len(stops))
    return Keys(words, np.array(stops), [])


def arrays(dtype, *shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 2, shape).astype(dtype) for shape in shapes]


# Binary units -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_units", N_UNITS)
def test_hidden(n_units, dtype):
    """Means, and states of the last rows, which may be written into wider arrays."""
    inputs, bias = arrays(dtype, (9, n_units), n_units)
    expected = expit((inputs + bias).astype(float))
    for n_drawn in (0, 4, 9):
        x = np.zeros((9, n_units + 3), dtype)[:, :n_units]
        states = np.full((n_drawn, n_units + 1), 7, dtype)
        x[...] = inputs
        _real_rows.infer_hidden(x, bias, generator(3), states[:, :n_units])
        assert_allclose(x, expected, rtol=12 * eps(dtype))
        key = [generator(3).bit_generator.random_raw()]
        drawn = core_draws(x[9 - n_drawn :], key, [n_drawn], hidden=True)
        assert_array_equal(states[:, :n_units], drawn)
        assert (states[:, n_units:] == 7).all()
    x = inputs.copy()
    _real_rows.infer_hidden(x, bias, generator(3), x)
    assert_array_equal(x, drawn)
    _real_rows.infer_hidden(x := inputs.copy(), bias)
    assert_allclose(x, expected, rtol=12 * eps(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_hidden_at_inverse_temperatures(dtype):
    """Each generator draws its rows."""
    (inputs,) = arrays(dtype, (9, 70))
    for beta in (0.3, np.linspace(0, 1, 9)[:, None]):
        generators = [(slice(0, 4), generator(1)), (slice(4, 9), generator(2))]
        x = inputs.copy()
        _real_rows.draw_hidden(x, beta, generators)
        mean = inputs * np.asarray(beta, dtype)
        _real_rows.infer_hidden(mean, np.zeros(70, dtype))
        words = [generator(seed).bit_generator.random_raw() for seed in (1, 2)]
        assert_array_equal(x, core_draws(mean, words, [4, 9], hidden=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_hidden_is_that_of_numpy(dtype, without_core):
    inputs, bias = arrays(dtype, (9, 70), 70)
    x, states = inputs.copy(), np.empty((4, 70), dtype)
    _real_rows.infer_hidden(x, bias, generator(3), states)
    assert_allclose(x, expit((inputs + bias).astype(float)), atol=4 * eps(dtype))
    assert set(np.unique(states)) == {0, 1}


# Normal units -----------------------------------------------------------------------------


def normal_numbers(key, tile, n_rows, dtype):
    """Return the numbers of a tile of 32 units: vectors by Box and Muller's transform.

    A batch of words has the directions, the next one the lengths, and another one, for
    float64, more bits of these.
    """
    n_batches = 2 if dtype == np.float32 else 3
    words = core_words(key, 2 * tile + 1, n_batches * n_rows).astype(np.int64)
    direction, *bits = words.reshape(n_rows, n_batches, 16).swapaxes(0, 1)
    u = 0.5
    for more in reversed(bits):
        u = (more % 2**31 + u) / 2**31
    length = np.sqrt(-2 * np.log(u))
    exchanged, opposite = direction % 2 == 1, direction // 2 % 2 == 1
    signed = np.where(direction < 2**31, direction, direction - 2**32)
    angle = signed // 4 * 4 * np.pi / 2**33
    along = np.where(opposite, -np.cos(angle), np.cos(angle))
    vector = np.where(exchanged, [np.sin(angle), along], [along, np.sin(angle)])
    return np.hstack(list(length * vector))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_units", N_UNITS)
def test_normal_units(n_units, dtype):
    keys = keys_of(2, 2, 9)
    numbers = [
        [normal_numbers(key, tile, n, dtype) for tile in range(-(-n_units // 32))]
        for key, n in zip(keys.words, (2, 0, 7), strict=True)
    ]
    numbers = np.vstack([np.hstack(rows) for rows in numbers])[:, :n_units]
    x, bias, variances = arrays(dtype, (9, n_units), n_units, (9, n_units))
    variances = np.exp(variances)
    for variance, b in itertools.product((variances, variances[0]), (None, bias)):
        wide = np.full((9, n_units + 3), 7, dtype)
        out = _real_rows.draw_normal(x, b, variance, keys, wide[:, :n_units])
        mean = x.astype(float) * variance + (0 if b is None else b)
        size = np.abs(mean) + np.sqrt(variance) * (1 + np.abs(numbers))
        expected = mean + np.sqrt(variance) * numbers
        assert (np.abs(out - expected) <= 8 * eps(dtype) * size).all()
        assert (wide[:, n_units:] == 7).all()
        in_place = x.copy()
        _real_rows.draw_normal(in_place, b, variance, keys, in_place)
        assert_array_equal(in_place, out)
        other = np.empty(x.shape, np.float64)
        assert_array_equal(_real_rows.draw_normal(x, b, variance, keys, other), out)


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_numbers_are_normal(dtype):
    """By moments, the distribution function, tails and correlations."""
    n_rows, n_units = 40_000, 50
    shape = n_rows, n_units
    z, n = np.zeros(shape, dtype), n_rows * n_units
    _real_rows.draw_normal(z, None, np.ones(n_units, dtype), keys_of(n_rows), z)
    z = z.astype(float)
    for power, mean, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((z**power).mean() - mean) < 4 * np.sqrt(variance / n)
    assert kstest(z.reshape(-1), ndtr).pvalue > 1e-4
    for least in (3, 4, 4.5, 5):
        expected = 2 * n * ndtr(-least)
        assert abs((np.abs(z) > least).sum() - expected) < 4 * np.sqrt(expected) + 4
    for rows in (z, np.square(z) - 1):
        scale = np.square(rows).mean() * np.sqrt(n_rows)
        products = rows.T @ rows / scale
        assert np.abs(products[~np.eye(n_units, dtype=bool)]).max() < 5
        assert np.abs((rows[1:] * rows[:-1]).sum(axis=0) / scale).max() < 5


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_normal_units(dtype):
    """Values that are not finite stay so, and tiny and large variances have their root."""
    x = np.zeros((1, 8), dtype)
    x[0, :3] = np.nan, np.inf, -np.inf
    tiny, large = np.finfo(dtype).tiny, np.finfo(dtype).max / 64
    variance = np.array([1, 1, 1, tiny, large, 1e-3, 1e3, 0], dtype)
    out = _real_rows.draw_normal(x, None, variance, keys_of(1), np.empty_like(x))[0]
    numbers = normal_numbers(keys_of(1).words[0], 0, 1, dtype)[0, :8]
    assert_array_equal(out[:3], x[0, :3])
    assert_allclose(out[3:], numbers[3:] * np.sqrt(variance[3:].astype(float)), rtol=1e-5)


# Gaps of correlated units -----------------------------------------------------------------


@pytest.mark.parametrize("n_units", [1, 2, 7, 40])
def test_rows_are_completed_by_the_regression_on_observed_cells(n_units):
    """Some rows have no gaps, others nothing else, and gaps are repeated or not."""
    rng = np.random.default_rng(n_units)
    factor = rng.normal(size=(n_units, 2 * n_units))
    covariance = factor @ factor.T / n_units + 0.1 * np.eye(n_units)
    missing = rng.random((9, n_units)) < 0.4
    missing[[0, 3]], missing[[1, 8]], missing[5] = False, True, missing[4]
    rows, cells = rng.normal(size=(2, 9, n_units))
    expected = rows.copy()
    for row, of_row, cell in zip(expected, missing, cells, strict=True):
        known, errors = ~of_row, (cell - row)[~of_row]
        of_known = np.linalg.solve(covariance[known][:, known], errors)
        row[of_row] += covariance[of_row][:, known] @ of_known
        row[known] = cell[known]
    cells[missing] = np.nan
    _real_rows.complete(rows, cells, missing.view(np.uint8), np.linalg.inv(covariance))
    assert_allclose(rows, expected, rtol=1e-8, atol=1e-10)
    assert_array_equal(rows[~missing], cells[~missing])


@pytest.mark.parametrize("dtype", DTYPES)
def test_given_is_that_of_numpy(dtype, monkeypatch):
    rng = np.random.default_rng(0)
    b, log_variance = rng.normal(size=(2, 6)).astype(dtype)
    axes = np.eye(6) + 0.3 * rng.normal(size=(6, 6))
    zeros, ones = np.zeros(6), np.ones(6)
    units = CorrelatedUnits(b, log_variance, zeros, ones, axes=axes, added=zeros)
    v, cells = rng.normal(size=(2, 30, 6)).astype(dtype)
    missing = rng.random((30, 6)) < 0.3
    missing[20:] = missing[:10]
    completed = units.given(cells, missing)(v)
    monkeypatch.setattr(_binary_rows, "core", None)
    expected = units.given(cells, missing)(v)
    assert completed.dtype == expected.dtype == dtype
    assert_allclose(completed, expected, atol=100 * eps(dtype))


# All of them ------------------------------------------------------------------------------


def everything(dtype):
    """Return results for many shapes."""
    results = []
    for n_units, n_rows in itertools.product(N_UNITS, (0, 1, 9)):
        x, bias, variance = arrays(dtype, (n_rows, n_units), n_units, (n_rows, n_units))
        x[:1, :1] = np.nan
        results.append(x.copy())
        states = np.empty((n_rows // 2, n_units), dtype)
        _real_rows.infer_hidden(results[-1], bias, generator(1), states)
        results.append(states)
        keys = draw_keys([(slice(0, 4), generator(2)), (slice(4, None), generator(3))])
        for v in (np.exp(variance), np.exp(bias)):
            results.append(_real_rows.draw_normal(x, bias, v, keys, np.empty_like(x)))
    return results


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OTHER_BUILDS)
def test_all_builds_give_the_same_bits(name, dtype, monkeypatch):
    compare_builds(name, lambda: everything(dtype), monkeypatch)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_does_not_matter(dtype, monkeypatch):
    expected = everything(dtype)
    for n_threads in (2, 3):
        use_threads(monkeypatch, n_threads)
        for array, right in zip(everything(dtype), expected, strict=True):
            assert_array_equal(array, right)
