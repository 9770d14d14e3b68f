"""Half-steps on rows of 0 and 1, compared with formulas and reference streams.

They are tests of the build of the core for any processor. All others give the same bits.
"""

import functools
import importlib
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import (
    GROUP_SIZES,
    PLAIN,
    Enumerated,
    assert_groups_distributed,
    bernoulli_rbm,
    core_draws,
    core_words,
    exit_code,
    group_probabilities,
    group_starts,
    means_of_groups,
    needs_core,
    numbers_of_states,
    splitmix64,
    tiny_rbm,
    xoshiro128pp,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from test_solvers import assert_distributed, draw, index

from skrbm import BernoulliRBMEstimator, _binary_rows
from skrbm._binary_rows import Update, aligned_zeros, is_aligned, lists, with_padding
from skrbm._data import DataSet
from skrbm._phases import BinaryPhases, DensePhases
from skrbm._solvers import SOLVERS
from skrbm._step import Counts, Learned, Learner, TrainingState, first_state
from skrbm._training import train
from skrbm._units.bernoulli import BernoulliUnits

pytestmark = needs_core

OTHER_BUILDS = ["_core_avx2", "_core_avx512"]
DTYPES = [np.float32, np.float64]
WIDTHS = [1, 7, 8, 9, 15, 16, 17, 63, 65]
N_UNITS = [1, 7, 15, 16, 17, 63, 64, 65, 130]


def build(name):
    """Return a build of the core, or skip the test where it cannot run."""
    try:
        core = importlib.import_module(f"skrbm.{name}")
        levels = importlib.import_module("skrbm._core").levels()
        can_run = name.removeprefix("_core") in levels
    except ImportError:
        can_run = False
    return core if can_run else pytest.skip(f"{name} is not built or cannot run here")


def compare_builds(name, compute, monkeypatch):
    """Check that this build gives the same bits as the one in use."""
    other, expected = build(name), compute()
    monkeypatch.setattr(_binary_rows, "core", other)
    for array, right in zip(compute(), expected, strict=True):
        assert_array_equal(array, right)


@pytest.fixture(autouse=True)
def core(monkeypatch):
    monkeypatch.setattr(_binary_rows, "core", build("_core"))
    return _binary_rows.core


def use_threads(monkeypatch, n):
    """Use `n` threads however little there is to do."""
    monkeypatch.setattr(_binary_rows, "_n_threads", lambda *_: n)
    monkeypatch.setattr(_binary_rows, "n_threads_allowed", lambda: n)
    monkeypatch.setattr(_binary_rows, "_WORK_PER_THREAD", 1)


def random_states(n_rows, n_units, seed=0, density=0.3):
    rows = np.random.default_rng(seed).random((n_rows, n_units)) < density
    return rows.astype(np.uint8)


def rows_of_all_densities(n_rows, n_units, seed=0):
    """Return rows with no, some and all units on. Those with many are summed otherwise."""
    densities = np.random.default_rng(seed).permutation(np.linspace(0, 1, n_rows))
    return random_states(n_rows, n_units, seed, densities[:, None])


def random_model(n_features, n_components, dtype, scale=0.5):
    return tiny_rbm(n_features, n_components, dtype, scale).align()


def eps(dtype):
    return float(np.finfo(dtype).eps)


# Lists ------------------------------------------------------------------------------------


def units_of(rows):
    """Return the lists as lists of Python."""
    return [rows.indices[a:b].tolist() for a, b in itertools.pairwise(rows.indptr)]


FORMS = {
    "uint8": lambda x: x,
    "bool": lambda x: x.astype(bool),
    "float32": lambda x: x.astype(np.float32),
    "float64": lambda x: x.astype(np.float64),
    "columns first": lambda x: np.asfortranarray(x.astype(np.float32)),
    "CSR": lambda x: sp.csr_array(x.astype(np.float64)),
    "CSR of bool": lambda x: sp.csr_array(x.astype(bool)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("width", WIDTHS)
def test_lists(width, form):
    for n_rows, density in itertools.product((0, 1, 11), (0.0, 0.3, 1.1)):
        x = random_states(n_rows, width, density=density)
        rows = lists(FORMS[form](x))
        assert units_of(rows) == [np.flatnonzero(row).tolist() for row in x]
        assert rows.n_units == width
        assert units_of(rows.rows(3, 7)) == units_of(rows)[3:7]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", WIDTHS)
def test_other_values_are_detected(width, dtype):
    for at in {0, width // 2, width - 1}:
        for value in (0.5, 2, -1, np.nan, np.inf, 1 + eps(dtype), np.finfo(dtype).tiny):
            x = random_states(3, width).astype(dtype)
            assert lists(x) is not None
            x[1, at] = value
            assert lists(x) is None
            assert lists(sp.csr_array(x)) is None
        x[1, at] = -0.0
        assert units_of(lists(x))[1] == np.flatnonzero(x[1]).tolist()
        x = random_states(3, width)
        x[2, at] = 2
        assert lists(x) is None


def test_rows_are_listed_behind_others():
    """Later rows are appended, and the room that is asked for is enough."""
    x = np.ones((5, 17), np.uint8)
    rows = _binary_rows.empty_lists(5, 17)
    assert _binary_rows.list_rows(x[:2], rows.rows(0, 2))
    assert _binary_rows.list_rows(x[2:].astype(np.float32), rows.rows(2, len(x)))
    assert units_of(rows) == [list(range(17))] * 5
    assert len(rows.indices) >= x.size + 8


def test_without_a_core_nothing_is_listed(without_core):
    assert lists(np.zeros((2, 3))) is None


# Memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_units", N_UNITS)
def test_aligned_rows(n_units, dtype):
    rows = aligned_zeros((3, n_units), dtype)
    assert is_aligned(rows)
    assert all(row.ctypes.data % 64 == 0 for row in rows)
    assert rows.strides[0] // rows.itemsize % 64  # or rows compete for places in a cache
    assert_array_equal(rows, np.zeros((3, n_units)))
    contiguous = np.random.default_rng(0).random((3, n_units)).astype(dtype)
    assert not is_aligned(contiguous)
    copy = _binary_rows.align(contiguous)
    assert is_aligned(copy)
    assert_array_equal(copy, contiguous)
    copy[...] = 7
    assert contiguous.max() < 1
    padded = with_padding(copy)
    assert padded.flags.c_contiguous
    assert np.shares_memory(padded, copy)
    assert_array_equal(padded[:, :n_units], copy)
    assert not padded[:, n_units:].any()


# Random bits ------------------------------------------------------------------------------


def test_the_reference_generators():
    """They give the published reference values."""
    words = itertools.islice(xoshiro128pp([[1], [2], [3], [4]]), 10)
    assert [int(word) for (word,) in words] == [
        641,
        1573767,
        3222811527,
        3517856514,
        836907274,
        4247214768,
        3867114732,
        1355841295,
        495546011,
        621204420,
    ]
    assert list(itertools.islice(splitmix64(1234567), 5)) == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def random_words(core, key, tile, n):
    words = np.empty(n, dtype=np.uint32)
    core.random_words(words, key, tile)
    return words


@pytest.mark.parametrize("key", [0, 1, 0x0123456789ABCDEF, 2**64 - 1])
@pytest.mark.parametrize("tile", [0, 1, 2, 1000, 2**40])
def test_streams_are_those_of_the_reference(tile, key, core):
    words = random_words(core, key, tile, 16 * 20)
    assert_array_equal(words, core_words(key, tile, 20).reshape(-1))


def assert_independent(a, b):
    """Assert that pairs of the high and of the low bits of words are uniform."""
    for shift in (0, 13, 28):
        pairs = ((a >> shift) % 16 * 16 + (b >> shift) % 16).astype(int)
        assert_distributed(pairs, np.full(256, 1 / 256))


def test_streams_are_uniform_and_independent(core):
    n = 1 << 16
    words = random_words(core, 12345, 6, n)
    assert_independent(words, random_words(core, 12345, 7, n))  # of another tile
    assert_independent(words, random_words(core, 12346, 6, n))  # with another key
    assert_independent(words[:-1], words[1:])  # the next generator
    assert_independent(words[:-16], words[16:])  # the same generator
    firsts = np.array([random_words(core, key, 0, 16)[0] for key in range(20_000)])
    assert_independent(firsts[:-1], firsts[1:])
    firsts = np.array([random_words(core, 9, tile, 16)[0] for tile in range(20_000)])
    assert_independent(firsts[:-1], firsts[1:])


def test_keys_are_words_of_the_generators():
    a, b = (np.random.Generator(np.random.SFC64(seed)) for seed in (1, 2))
    expected = [np.random.SFC64(seed).random_raw() for seed in (1, 2)]
    keys, stops, _ = _binary_rows.draw_keys([(slice(0, 3), a), (slice(3, 8), b)])
    assert_array_equal(keys, np.array(expected, dtype=np.uint64))
    assert_array_equal(stops, [3, 8])
    keys, stops, _ = _binary_rows.draw_key(np.random.Generator(np.random.SFC64(1)))
    assert (keys.tolist(), stops[0] > 2**60) == (expected[:1], True)
    rng = np.random.Generator(np.random.SFC64(1))
    keys, (stop,), _ = _binary_rows.draw_keys([(slice(None), rng)])
    assert (keys.tolist(), stop > 2**60) == (expected[:1], True)


# Means ------------------------------------------------------------------------------------


def means_of(log_odds, side):
    """Return means of units with these log-odds, computed by the core."""
    model = bernoulli_rbm(
        np.zeros((len(log_odds), 1) if side == "visible" else (1, len(log_odds))),
        log_odds if side == "visible" else np.zeros(1),
        log_odds if side == "hidden" else np.zeros(1),
    ).map(lambda a: a.astype(log_odds.dtype))
    rows = lists(np.zeros((1, 1), np.uint8))
    mean = np.full((1, len(log_odds)), np.nan, dtype=log_odds.dtype)
    half_step = getattr(_binary_rows, side)
    bias = model.hidden_bias if side == "hidden" else model.visible.bias
    half_step(rows, model.align().weights, bias, mean=mean)
    return mean[0]


@pytest.mark.parametrize("side", ["hidden", "visible"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_means_are_accurate_even_where_they_are_tiny(dtype, side):
    lowest = -86 if dtype is np.float32 else -700
    log_odds = np.concatenate(
        [np.linspace(lowest, 90, 5000), np.linspace(-1, 1, 5001), [-80, 80, 0, 1e-30]]
    ).astype(dtype)
    expected = expit(log_odds.astype(np.longdouble))
    tolerance = 4 * eps(dtype) if dtype is np.float32 else 1e-14
    assert_allclose(
        means_of(log_odds, side).astype(np.longdouble), expected, rtol=tolerance, atol=0
    )


@pytest.mark.parametrize("side", ["hidden", "visible"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_means_of_extreme_log_odds(dtype, side):
    large = np.array([90, 1000, np.finfo(dtype).max, np.inf], dtype=dtype)
    assert_array_equal(means_of(large, side), np.ones(4))
    small = means_of(-large[1:], side)
    assert ((small > 0) & (small < 10 * np.finfo(dtype).tiny)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_units", N_UNITS)
def test_hidden(n_units, dtype):
    for n_rows in (0, 1, 9, 300):
        check_hidden(n_units, n_rows, dtype)


def check_hidden(n_units, n_rows, dtype):
    v, model = rows_of_all_densities(n_rows, 37), random_model(37, n_units, dtype)
    rows, (weights, _, bias) = lists(v), model.arrays
    total = np.full((n_rows, n_units), np.nan, dtype=dtype)
    mean, states = total.copy(), np.full(total.shape, 9, np.uint8)
    _binary_rows.hidden(rows, weights, bias, total=total)
    wide = v @ weights.astype(float) + bias
    assert_allclose(total, wide, rtol=0, atol=100 * eps(dtype))
    keys = _binary_rows.draw_key(np.random.Generator(np.random.SFC64(n_units)))
    _binary_rows.hidden(rows, weights, bias, keys=keys, mean=mean, states=states)
    assert_allclose(mean, expit(total.astype(np.longdouble)), rtol=4 * eps(dtype))
    assert_array_equal(states, core_draws(mean, *keys[:2], hidden=True))

    together = aligned_zeros(mean.shape, dtype), aligned_zeros(mean.shape, dtype)
    alone = np.full_like(states, 9)
    _binary_rows.hidden(rows, weights, bias, total=together[0], mean=together[1])
    _binary_rows.hidden(rows, weights, bias, keys=keys, states=alone)
    for result, expected in zip((*together, alone), (total, mean, states), strict=True):
        assert_array_equal(result, expected)
    assert not any(with_padding(array)[:, n_units:].any() for array in together)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_units", N_UNITS)
def test_visible(n_units, dtype):
    for n_rows in (0, 1, 9, 300):
        check_visible(n_units, n_rows, dtype)


def check_visible(n_units, n_rows, dtype):
    h, model = rows_of_all_densities(n_rows, 37), random_model(n_units, 37, dtype)
    rows, (weights, bias, _) = lists(h), model.arrays
    total = np.full((n_rows, n_units), np.nan, dtype=dtype)
    mean, states = total.copy(), np.full(total.shape, 9, np.uint8)
    _binary_rows.visible(rows, weights, bias, total=total)
    wide = h @ weights.T.astype(float) + bias
    assert_allclose(total, wide, rtol=0, atol=100 * eps(dtype))
    keys = _binary_rows.draw_key(np.random.Generator(np.random.SFC64(n_units)))
    _binary_rows.visible(rows, weights, bias, keys=keys, mean=mean, states=states)
    assert_allclose(mean, expit(total.astype(np.longdouble)), rtol=4 * eps(dtype))
    assert_array_equal(states, core_draws(mean, *keys[:2], hidden=False))

    together = np.full_like(total, np.nan), np.full_like(mean, np.nan)
    alone = np.full_like(states, 9)
    _binary_rows.visible(rows, weights, bias, total=together[0], mean=together[1])
    _binary_rows.visible(rows, weights, bias, keys=keys, states=alone)
    for result, expected in zip((*together, alone), (total, mean, states), strict=True):
        assert_array_equal(result, expected)


def inputs(half_step, x, model):
    """Return the inputs of the units of one side, given rows of the other."""
    bias = model.hidden_bias if half_step is _binary_rows.hidden else model.visible.bias
    total = np.empty((len(x), len(bias)), model.dtype)
    half_step(lists(x), model.weights, bias, total=total)
    return total


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_units", [1, 2, 3, 4, 5, 31, 32, 33, 130])
def test_inputs_of_a_row_do_not_depend_on_other_rows(n_units, dtype):
    x = rows_of_all_densities(500, n_units)
    for half_step, model in (
        (_binary_rows.hidden, random_model(n_units, 70, dtype)),
        (_binary_rows.visible, random_model(70, n_units, dtype)),
    ):
        expected = inputs(half_step, x, model)
        bias = model.hidden_bias if half_step is _binary_rows.hidden else model.visible.bias
        weights = model.weights if len(model.weights) == n_units else model.weights.T
        wide = x @ weights.astype(float) + bias
        assert_allclose(expected, wide, rtol=0, atol=100 * eps(dtype))
        for size in (1, 2, 3, 100):
            parts = [inputs(half_step, x[k : k + size], model) for k in range(0, 100, size)]
            assert_array_equal(np.concatenate(parts)[:100], expected[:100])


@pytest.mark.parametrize("form", ["unsorted", "duplicates"])
@pytest.mark.parametrize("density", [0.3, 0.6])
def test_lists_of_sparse_rows_are_in_order(density, form):
    x = random_states(9, 40, density=density)
    sparse = sp.csr_array(x.astype(np.float32))
    if form == "duplicates":  # a one and a zero
        extra = np.zeros(sparse.nnz, np.float32)
        data = np.concatenate([sparse.data, extra])
        rows, columns = sparse.nonzero()
        places = np.tile(rows, 2), np.tile(columns, 2)
        order = np.argsort(places[0], kind="stable")
        sparse = sp.csr_array((data[order], places[1][order], 2 * sparse.indptr), x.shape)
    else:
        sparse.indices[: sparse.indptr[1]] = sparse.indices[: sparse.indptr[1]][::-1].copy()
        sparse.has_sorted_indices = sparse.has_canonical_format = False
    before = sparse.copy()
    assert units_of(lists(sparse)) == [np.flatnonzero(row).tolist() for row in x]
    assert_array_equal(sparse.indices, before.indices)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_components", [1, 3, 5, 8, 9, 16, 33])
def test_visible_units_add_up_all_hidden_units(n_components, dtype):
    h, model = np.ones((1, n_components), np.uint8), random_model(20, n_components, dtype)
    mean = np.empty((1, 20), dtype=dtype)
    _binary_rows.visible(lists(h), model.weights, model.visible.bias, mean=mean)
    expected = expit(model.weights.sum(axis=1, dtype=float) + model.visible.bias)
    assert_allclose(mean[0], expected, rtol=100 * eps(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_inverse_temperatures(dtype):
    """Rows have inverse temperatures and generators of their own."""
    v, h, model = random_states(9, 37), random_states(9, 70, 1), random_model(37, 70, dtype)
    scale = np.linspace(0, 2, 9).astype(dtype)
    base = np.random.default_rng(3).standard_normal(37).astype(dtype)
    generators = [np.random.Generator(np.random.SFC64(seed)) for seed in range(3)]
    slices = slice(0, 2), slice(2, 3), slice(3, 9)
    keys = _binary_rows.draw_keys(list(zip(slices, generators, strict=True)))
    mean, states = np.empty((9, 70), dtype), np.empty((9, 70), np.uint8)
    _binary_rows.hidden(
        lists(v),
        model.weights,
        model.hidden_bias,
        scale=scale,
        keys=keys,
        mean=mean,
        states=states,
    )
    total = v @ model.weights.astype(float) + model.hidden_bias
    assert_allclose(mean, expit(scale[:, None] * total), rtol=100 * eps(dtype))
    assert_array_equal(states, core_draws(mean, *keys[:2], hidden=True))
    total = np.empty((9, 70), dtype)
    _binary_rows.hidden(lists(v), model.weights, model.hidden_bias, total=total)
    again = _binary_rows.draw_hidden(total, model.weights, scale, keys)
    assert_array_equal(again, states)

    total, mean = np.empty((2, 9, 37), dtype)
    states = np.empty((9, 37), np.uint8)
    _binary_rows.visible(
        lists(h),
        model.weights,
        model.visible.bias,
        base=base,
        scale=scale,
        keys=keys,
        total=total,
        mean=mean,
        states=states,
    )
    wide = h @ model.weights.T.astype(float) + model.visible.bias
    assert_allclose(total, wide, rtol=0, atol=100 * eps(dtype))
    log_odds = base + scale[:, None] * wide
    assert_allclose(mean, expit(log_odds), rtol=100 * eps(dtype))
    assert_array_equal(states, core_draws(mean, *keys[:2], hidden=False))


@pytest.mark.parametrize("dtype", DTYPES)
def test_states_of_the_last_rows_only(dtype):
    v, model = random_states(9, 37), random_model(37, 70, dtype)
    mean, states = np.empty((9, 70), dtype), np.full((4, 70), 9, np.uint8)
    keys = np.array([5, 6], np.uint64), np.array([1, 4])
    weights, _, bias = model.arrays
    _binary_rows.hidden(lists(v), weights, bias, keys=keys, mean=mean, states=states)
    assert_array_equal(states, core_draws(mean[5:], *keys[:2], hidden=True))
    everywhere = np.empty_like(mean)
    _binary_rows.hidden(lists(v), weights, bias, mean=everywhere)
    assert_array_equal(mean, everywhere)


# Draws ------------------------------------------------------------------------------------


def draws_of(log_odds, side, n_rows, keys):
    """Return draws of units with these log-odds, by the core."""
    n = len(log_odds)
    rows = lists(np.zeros((n_rows, 1), np.uint8))
    states = np.empty((n_rows, n), np.uint8)
    weights = aligned_zeros((n, 1) if side == "visible" else (1, n), log_odds.dtype)
    getattr(_binary_rows, side)(rows, weights, log_odds, keys=keys, states=states)
    return states


@pytest.mark.parametrize("side", ["hidden", "visible"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_frequencies(dtype, side):
    """The frequencies of units, and those of pairs of units, are those of independence."""
    log_odds = np.linspace(-6, 6, 80).astype(dtype)
    p, n_rows = expit(log_odds.astype(float)), 10_000
    keys = np.array([1], np.uint64), np.array([n_rows])
    assert_frequencies(draws_of(log_odds, side, n_rows, keys), p)


def assert_frequencies(states, p):
    """Assert that bits have these probabilities, and are independent."""
    n_rows = len(states)
    assert states.max() == 1
    z = (states.mean(axis=0) - p) / np.sqrt(p * (1 - p) / n_rows)
    assert abs((z**2).sum() - len(p)) < 5 * np.sqrt(2 * len(p))
    common = (states - p) / np.sqrt(p * (1 - p))
    pairs = np.triu(common.T @ common, 1) / np.sqrt(n_rows)
    n_pairs = len(p) * (len(p) - 1) / 2
    assert abs((pairs**2).sum() - n_pairs) < 8 * np.sqrt(2 * n_pairs)
    after = (common[:-1] * common[1:]).sum(axis=0) / np.sqrt(n_rows)
    assert abs((after**2).sum() - len(p)) < 8 * np.sqrt(2 * len(p))


@pytest.mark.parametrize(
    ("side", "tile", "key"), [("hidden", 0, 21438), ("visible", 1, 378374)]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_certain_units_are_always_drawn(dtype, side, tile, key, core):
    """With these keys, 31 of the random bits of a unit are all 1, which is rare."""
    n_rows = 400
    words = random_words(core, key, tile, 16 * n_rows).reshape(n_rows, 16)
    assert (words % 2**31 == 2**31 - 1).any()
    keys = np.array([key], np.uint64), np.array([n_rows])
    for log_odds in (-1000, -100, 100, 1000):
        log_odds = np.full(16, log_odds, dtype)
        states = draws_of(log_odds, side, n_rows, keys)
        assert_array_equal(states, np.tile(log_odds > 0, (n_rows, 1)))


# Groups -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("thermometer", [False, True])
@pytest.mark.parametrize("sizes", GROUP_SIZES.values(), ids=GROUP_SIZES)
def test_means_of_groups(sizes, thermometer, dtype):
    starts, rng = group_starts(sizes), np.random.default_rng(0)
    total, base = (rng.standard_normal(shape) for shape in ((9, starts[-1]), starts[-1]))
    total, base = total.astype(dtype), base.astype(dtype)
    scale = np.linspace(0, 2, 9).astype(dtype)
    mean = np.full_like(total, np.nan)
    for b, s in itertools.product((None, base), (None, scale)):
        _binary_rows.groups(
            total, starts, thermometer=thermometer, base=b, scale=s, mean=mean
        )
        y = total.astype(float) * (1 if s is None else s[:, None]) + (0 if b is None else b)
        expected = means_of_groups(y, starts, thermometer)
        assert_allclose(mean, expected, rtol=400 * eps(dtype), atol=eps(dtype) ** 2)
    _binary_rows.groups(
        total, starts, thermometer=thermometer, base=base, scale=scale, mean=total
    )
    assert_array_equal(total, mean)

    total = y.astype(dtype)
    assert _binary_rows.group_means(total, starts, thermometer) is total
    assert_allclose(total, expected, rtol=0, atol=400 * eps(dtype))


def group_words(n_rows, n_groups, keys, stops):
    """Return the random words of groups that the compiled core draws, one for each row.

    Each tile of 16 groups has a stream of its own, from which each group takes a batch for
    16 rows with the same key.
    """
    words = np.empty((n_rows, n_groups), np.int64)
    for tile, first in enumerate(range(0, n_groups, 16)):
        groups = slice(first, min(first + 16, n_groups))
        shape = groups.stop - first, 16
        for key, start, stop in zip(keys, [0, *stops[:-1]], stops, strict=True):
            rows = slice(start, min(stop, n_rows))
            n_batches = -(-max(0, rows.stop - start) // 16)
            batches = core_words(key, 2**32 + tile, n_batches * shape[0])
            of_rows = batches.reshape(n_batches, *shape).swapaxes(1, 2)
            words[rows, groups] = of_rows.reshape(-1, shape[0])[: rows.stop - start]
    return words


def group_draws(mean, starts, thermometer, keys):
    """Return the states that the compiled core draws, given the means of their units.

    From the end of a group, the probabilities of its states are added up. The last state
    for which the sum exceeds a number of 31 random bits is drawn.
    """
    u = group_words(len(mean), len(starts) - 1, *keys[:2]) // 2 + np.longdouble(0.5)
    u *= (2**31 - 1) / 2**62
    states = np.empty(mean.shape, np.uint8)
    for k, (start, stop) in enumerate(itertools.pairwise(starts)):
        tails = mean[:, start:stop].astype(np.longdouble)
        if not thermometer:
            tails = tails[:, ::-1].cumsum(axis=1)[:, ::-1]
        on = tails > u[:, k, None]
        if not thermometer:
            on[:, 0] = True
            on[:, :-1] &= ~on[:, 1:]
        states[:, start:stop] = on
    return states


@pytest.mark.parametrize("thermometer", [False, True])
@pytest.mark.parametrize("sizes", GROUP_SIZES.values(), ids=GROUP_SIZES)
def test_draws_of_groups(sizes, thermometer):
    """They are those of the reference, whatever the memory that they are in."""
    starts = group_starts(sizes)
    total = 2 * np.random.default_rng(0).standard_normal((40, starts[-1]))
    generators = [np.random.Generator(np.random.SFC64(seed)) for seed in range(3)]
    slices = slice(0, 2), slice(2, 3), slice(3, 99)
    keys = _binary_rows.draw_keys(list(zip(slices, generators, strict=True)))
    mean, states = np.empty_like(total), np.full(total.shape, 9, np.uint8)
    half_step = functools.partial(
        _binary_rows.groups, starts=starts, thermometer=thermometer, keys=keys
    )
    half_step(total, mean=mean, states=states)
    assert_array_equal(states, group_draws(mean, starts, thermometer, keys))

    wide = np.full((40, starts[-1] + 7), 5.0)
    inner, flags = wide[:, 3:-4], wide.astype(np.uint8)
    inner[...] = total
    half_step(inner, mean=inner, states=flags[:, 3:-4])
    assert_array_equal(inner, mean)
    assert_array_equal(flags[:, 3:-4], states)
    for array in (wide, flags):
        assert (np.delete(array, np.s_[3:-4], axis=1) == 5).all()
    alone = np.empty_like(states)
    half_step(total, states=alone)
    assert_array_equal(alone, states)
    half_step(total[::-1][:7], states=alone[::-1][:7])  # in another order, and fewer
    _binary_rows.groups(total[33:][::-1], starts, thermometer=thermometer, mean=mean[:7])
    assert_array_equal(alone[33:][::-1], group_draws(mean[:7], starts, thermometer, keys))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("thermometer", [False, True])
def test_frequencies_of_groups(thermometer, dtype, rng):
    """Groups have their distributions, and are independent of each other."""
    y = np.array([0.5, -1, 1, 0.3, -0.2, -2], dtype)
    starts = group_starts([3, 1, 2])
    for kind in (bool, np.uint8, "same"):
        total = np.tile(y, (100_000, 1))
        out = total if kind == "same" else np.empty(total.shape, kind)
        assert _binary_rows.draw_groups(total, starts, thermometer, rng, out) is out
        assert_groups_distributed(out, y, starts, thermometer)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
@pytest.mark.parametrize("thermometer", [False, True])
def test_no_rows_or_no_groups(thermometer, shape, rng):
    total, starts = np.empty(shape), group_starts([shape[1]] if shape[1] else [])
    assert _binary_rows.group_means(total, starts, thermometer) is total
    out = np.empty(shape, bool)
    assert _binary_rows.draw_groups(total, starts, thermometer, rng, out) is out


@pytest.mark.parametrize("dtype", DTYPES)
def test_thermometers_of_one_unit_are_bits(dtype):
    log_odds = np.linspace(-6, 6, 80).astype(dtype)
    p, n_rows = expit(log_odds.astype(float)), 10_000
    total, mean = np.tile(log_odds, (n_rows, 1)), np.empty((n_rows, 80), dtype)
    keys = _binary_rows.draw_key(np.random.Generator(np.random.SFC64(0)))
    states = np.empty(total.shape, np.uint8)
    _binary_rows.groups(
        total, np.arange(81), thermometer=True, keys=keys, mean=mean, states=states
    )
    assert_allclose(mean[7], p, rtol=4 * eps(dtype))
    assert_frequencies(states, p)


@pytest.mark.parametrize("key", [68861, 727717])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("thermometer", [False, True])
def test_impossible_states_of_groups_are_not_drawn(thermometer, dtype, key, core):
    """With these keys, 31 of the random bits of a group are all 1 or 0, which is rare."""
    n_rows, starts = 400, group_starts([3] * 16)
    words = random_words(core, key, 2**32, 16 * n_rows) // 2
    assert (words == (2**31 - 1 if key == 68861 else 0)).any()
    keys = np.array([key], np.uint64), np.array([n_rows])
    for y in itertools.product([-2000, 0], [0, 2000], [-2000, -80, 2000]):
        y = np.array(y, dtype)
        (p,) = group_probabilities(y[None], thermometer)
        total, states = np.tile(y, (n_rows, 16)), np.empty((n_rows, 48), np.uint8)
        _binary_rows.groups(
            total, starts, thermometer=thermometer, keys=keys, states=states
        )
        numbers = numbers_of_states(states, starts, thermometer)
        assert (p[numbers] > 2.0**-32).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("thermometer", [False, True])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_groups_of_a_model_that_diverged(thermometer, dtype):
    """The means of these groups are not numbers, and their draws are states."""
    starts = group_starts([3, 1, 2])
    for value, places in itertools.product((np.nan, np.inf, -np.inf), (0, 2, 3, slice(6))):
        total = np.zeros((3, 6), dtype)
        total[1, places] = value
        mean, states = np.empty_like(total), np.empty(total.shape, np.uint8)
        keys = _binary_rows.draw_key(np.random.Generator(np.random.SFC64(0)))
        _binary_rows.groups(
            total, starts, thermometer=thermometer, keys=keys, mean=mean, states=states
        )
        numbers_of_states(states, starts, thermometer)
        if value != -np.inf:  # a single input like this is that of an impossible state
            expected = means_of_groups(total, starts, thermometer)
            assert_allclose(mean, expected, rtol=4 * eps(dtype))


# Scores -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 3.0, 60.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_changes_of_temperature(dtype, scale):
    for n_units in (*N_UNITS, 2500):
        rng = np.random.default_rng(n_units)
        x = (scale * rng.standard_normal((11, n_units))).astype(dtype)
        for betas in ((0.0, 1.0), (0.7, 0.71), rng.random((2, 11, 1)).astype(dtype)):
            before, after = (np.multiply(beta, x, dtype=float) for beta in betas)
            expected = np.logaddexp(0, after) - np.logaddexp(0, before)
            for rows in (x, _binary_rows.align(x)):
                result = _binary_rows.softplus_changes(rows, *betas)
                atol = 2 * eps(dtype) * (n_units + np.abs(x).sum(axis=1).max())
                assert_allclose(result, expected.sum(axis=1), rtol=eps(dtype), atol=atol)
    x[3, -1] = np.nan
    isnan = np.isnan(_binary_rows.softplus_changes(x, 0.0, 1.0))
    assert_array_equal(isnan, np.arange(11) == 3)


def scores_written_out(states, total, weights, bias):
    """Return the sum over bits of the log-probability of each given all others."""
    arrays = states, total, weights, bias
    states, total, weights, bias = (array.astype(float) for array in arrays)
    result = np.zeros(len(states))
    for row, state in enumerate(states):
        for i in np.flatnonzero((state >= 0) & (state <= 1)):
            off = total[row] - state[i] * weights[i]
            log_odds = bias[i] + np.sum(
                np.logaddexp(0, off + weights[i]) - np.logaddexp(0, off)
            )
            of_one, of_zero = -np.logaddexp(0, -log_odds), -np.logaddexp(0, log_odds)
            result[row] += state[i] * of_one + (1 - state[i]) * of_zero
    return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0.1, 3.0])
@pytest.mark.parametrize("n_components", N_UNITS)
def test_scores(n_components, scale, dtype):
    for n_units, n_rows in ((1, 1), (15, 3), (17, 9), (40, 4)):
        model = random_model(n_units, n_components, dtype, scale)
        states = random_states(n_rows, n_units)
        total = model.hidden_input(states.astype(dtype))
        states[:, ::7] = 2
        values = np.random.default_rng(0).random(states.shape).astype(dtype)
        values[:, ::3], values[:, ::5] = states[:, ::3], np.nan
        for rows in (states, states.astype(dtype), values):
            arguments = rows, total, model.weights, model.visible.bias
            expected = scores_written_out(*arguments)
            result = _binary_rows.scores(*arguments)
            assert_allclose(result, expected, rtol=1e-6 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_of_extreme_models(dtype):
    """Products of many large factors neither overflow nor vanish."""
    model = random_model(20, 300, dtype)
    for size, bias in ((20.0, 900.0), (69.0, -1e5), (1e-6, 0.0)):
        model.weights[...] = np.where(random_states(20, 300, density=0.5), size, -size)
        model.visible.bias[...] = bias
        states = random_states(5, 20)
        total = model.hidden_input(states.astype(dtype))
        arguments = states, total, model.weights, model.visible.bias
        expected = scores_written_out(*arguments)
        assert_allclose(_binary_rows.scores(*arguments), expected, rtol=3e-6)
        result = _binary_rows.scores(states.astype(dtype), *arguments[1:])
        assert_allclose(result, expected, rtol=3e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_that_the_core_cannot_compute(dtype):
    for value in (np.nan, np.inf, 1000.0, -1000.0):
        for name in ("weights", "total"):
            arguments = core_arguments("scores", dtype)
            arguments[name][1, 2] = value
            inputs = (arguments[name] for name in ("states", "total", "weights", "bias"))
            finite = np.isfinite(_binary_rows.scores(*inputs))
            if name == "weights":
                assert not finite.any()
            elif np.isnan(value):
                assert_array_equal(finite, np.arange(4) != 1)
            else:
                assert finite.all()


# The gradient -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_of_large_weights_are_right_or_unknown(dtype):
    """A large factor must not meet a probability that should have been 0."""
    largest = 90 if dtype == np.float32 else 720
    for size in np.arange(0.5 * largest, largest, 1):
        model = random_model(1, 64, dtype)
        model.weights[...], model.visible.bias[...] = size, 0
        arguments = np.full((1, 64), -2.3 * size, dtype), model.weights, model.visible.bias
        for states in (np.zeros((1, 1), np.uint8), np.zeros((1, 1), dtype)):
            score = _binary_rows.scores(states, *arguments)[0]
            assert np.isnan(score) or abs(score + np.log(2)) < 1e-6
            assert np.isfinite(score) or size > 0.75 * largest


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_rows", [1, 9])
@pytest.mark.parametrize("n_units", N_UNITS)
def test_weigh_and_combine(n_units, n_rows, dtype):
    rng = np.random.default_rng(0)
    rows, shares = rng.standard_normal((n_rows, n_units)), rng.standard_normal(n_rows)
    rows, shares = _binary_rows.align(rows.astype(dtype)), shares.astype(dtype)
    for array in (rows, rows.copy(order="C")):
        total = _binary_rows.combine(array, shares)
        assert total.dtype == dtype
        assert_allclose(total, shares @ rows.astype(float), atol=30 * eps(dtype))
    expected = rows * shares[:, None]
    model = random_model(3, n_units, dtype)
    Update(_binary_rows.empty_lists(n_rows, 3), model).weigh(rows, shares)
    assert_array_equal(rows, expected)
    assert not with_padding(rows)[:, n_units:].any()


def update(model, v, hidden, shares, offsets):
    """Add the centered gradient to the parameters, by the core."""
    n_rows, n_features = v.shape
    rows = _binary_rows.empty_lists(n_rows + 5, n_features)  # with room for more
    _binary_rows.list_rows(v, rows.rows(0, n_rows))
    core_update = Update(rows, model)
    core_update.weigh(_binary_rows.align(hidden), shares)
    core_update.add_to(model, rows.rows(0, n_rows), offsets)


def update_written_out(model, v, hidden, shares, mu, lam):
    """Return the parameters plus the centered gradient, in float64."""
    v, hidden, shares, mu, lam = (a.astype(float) for a in (v, hidden, shares, mu, lam))
    s = hidden * shares[:, None]
    dv, dh = shares @ v, s.sum(axis=0)
    dw = v.T @ s - np.outer(mu, dh) - np.outer(dv, lam)
    change = dw, dv - dw @ lam, dh - dw.T @ mu
    return [old + new for old, new in zip(model.arrays, change, strict=True)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 16, 127, 128, 129, 150])
@pytest.mark.parametrize("n_units", N_UNITS)
def test_update(n_units, n_features, dtype):
    for n_rows, centering in itertools.product((7, 64, 100), (False, True)):
        check_update(n_units, n_features, n_rows, dtype, centering)


def check_update(n_units, n_features, n_rows, dtype, centering):
    """The first tile of features is dense, and other tiles are not."""
    rng = np.random.default_rng(0)
    densities = np.repeat([0.6, 0.2], 128)
    v = random_states(n_rows, n_features, density=densities[:n_features])
    hidden, mu, lam = (
        rng.random(shape).astype(dtype)
        for shape in ((n_rows, n_units), n_features, n_units)
    )
    if not centering:
        mu[...] = lam[...] = 0
    shares = (rng.standard_normal(n_rows) * 7 / n_rows).astype(dtype)
    contiguous = tiny_rbm(n_features, n_units, dtype)
    expected = update_written_out(contiguous, v, hidden, shares, mu, lam)
    for model in (contiguous.copy().align(), contiguous):
        update(model, v, hidden, shares, (mu, lam))
        for result, right in zip(model.arrays, expected, strict=True):
            assert_allclose(
                result, right, rtol=0, atol=400 * eps(dtype) * (1 + n_units / 16)
            )
        if is_aligned(model.weights):
            assert not with_padding(model.weights)[:, n_units:].any()


# Steps ------------------------------------------------------------------------------------


def negative_rows(phases):
    rows, n_features = phases._negative.lists, phases._negative.lists.n_units
    states = np.zeros((len(rows.indptr) - 1, n_features))
    for row, units in zip(states, units_of(rows), strict=True):
        row[units] = 1
    return states


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_positive", [1, 12])
def test_phases_are_those_of_dense_rows(n_positive, weighted, form, dtype):
    """The same negative rows give the same means and the same parameters."""
    X = random_states(n_positive, 21).astype(dtype)
    chains = random_states(8, 35, seed=1).astype(dtype)
    model, rng = tiny_rbm(21, 35, dtype), np.random.Generator(np.random.SFC64(0))
    binary, dense = (kind(model, 12, 8) for kind in (BinaryPhases, DensePhases))
    row_weights = np.random.default_rng(0).random(n_positive)
    for phases, data in ((binary, form(X)), (dense, X)):
        phases.load(DataSet(data), slice(0, n_positive), lambda _: 8)
        if weighted:
            phases.set_row_weights(row_weights, paired=False)
    before = chains.copy()
    binary.sample_negative(model, chains, rng, infer_positive=True, continue_chains=True)
    dense.negative_visible[...] = negative_rows(binary)
    model.mean_hidden(dense.visible, out=dense.hidden)
    keys = _binary_rows.draw_key(np.random.Generator(np.random.SFC64(0)))
    means = expit(before @ model.weights.T + model.visible.bias)
    assert_array_equal(dense.negative_visible, core_draws(means, *keys[:2], hidden=False))
    assert_array_equal(chains, core_draws(binary.negative_hidden, *keys[:2], hidden=True))

    close = {"rtol": 300 * eps(dtype), "atol": 30 * eps(dtype)}
    assert_allclose(binary.hidden, dense.hidden, **close)
    assert_allclose(binary.mean_visible(), dense.mean_visible(), **close)
    assert_allclose(binary.mean_hidden(), dense.mean_hidden(), **close)
    offsets = [np.random.default_rng(2).random(n).astype(dtype) for n in (21, 35)]
    results = []
    for phases, target in ((binary, model.copy()), (binary, model), (dense, model.copy())):
        if phases is not binary or not results:
            phases.multiply(0.25)
        target = target.copy().align() if not results else target
        phases.add_gradient(target, offsets)
        results.append(target)
    for arrays in zip(*(model.arrays for model in results), strict=True):
        for array in arrays[:2]:
            assert_allclose(array, arrays[2], rtol=0, atol=200 * eps(dtype))


SETTINGS = PLAIN._replace(n_gibbs_steps=2, n_chains=8, centering=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("centering", [False, True])
def test_a_step_is_the_exact_gradient(centering, dtype):
    """Chains in equilibrium give the gradient of the log-likelihood."""
    model = tiny_rbm(5, 3, dtype)
    exact = Enumerated(*model.arrays)
    v = random_states(7, 5).astype(float)
    _, h = draw(exact, dtype)
    hidden_mean = np.full(3, 0.5, dtype)
    solver = SOLVERS["pcd"](h, 1)
    rng = np.random.Generator(np.random.SFC64(0))
    counts = Counts(np.linspace(1, 8, 5), 9)
    state = TrainingState(Learned(model.copy(), hidden_mean), counts, solver, rng)
    settings = SETTINGS._replace(centering=centering)
    learner = Learner(state, settings, DataSet(v.astype(np.uint8)))
    assert isinstance(learner.phases, BinaryPhases)
    learner.steps([slice(0, 7)], [0.25])
    dw, db, dc = exact.gradient(v)
    if centering:
        mu, lam = state.visible_mean, hidden_mean.astype(float)
        dw = dw - np.outer(mu, dc) - np.outer(db, lam)
        db, dc = db - dw @ lam, dc - dw.T @ mu
    for after, before, change in zip(
        state.model.arrays, model.arrays, (dw, db, dc), strict=True
    ):
        noise = 6 / np.sqrt(len(h))
        assert_allclose((after.astype(float) - before) / 0.25, change, atol=noise)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4, 3), (3, 5)])
def test_gibbs_does_not_drift(shape, dtype, rng):
    model = tiny_rbm(*shape, dtype, scale=1.5).align()
    exact = Enumerated(*model.arrays)
    v, h = draw(exact, dtype)
    assert_distributed(index(model.sample_hidden(v, rng)), exact.p_h)
    assert_distributed(index(model.sample_visible(h, rng)), exact.p_v)
    model.gibbs(h, 2, rng)
    assert_distributed(index(h), exact.p_h)


# Training ---------------------------------------------------------------------------------

RICH = SETTINGS._replace(momentum=0.5, weight_decay=0.01, averaging=True)
# Without momentum, the core takes many steps in a call.
AT_ONCE = RICH._replace(momentum=0.0)
BOTH = pytest.mark.parametrize("settings", [RICH, AT_ONCE], ids=["single", "at once"])


def trained(X, dtype=np.float64, n_components=20, settings=RICH, n_epochs=3):
    n_rows, n_features = X.shape
    units = BernoulliUnits(np.zeros(n_features, dtype))
    state = first_state(settings, units, n_rows, n_components, seed=0)
    plan = {"n_epochs": n_epochs, "schedule": "constant", "shuffle": True}
    for _ in train(state, settings, DataSet(X), **plan):
        pass
    return state


def arrays_of(state):
    learned = state.learned
    models = filter(None, (learned.model, learned.velocity, learned.average))
    arrays = itertools.chain(*(model.arrays for model in models))
    return [*arrays, learned.hidden_mean, state.solver.chains, state.counts.visible_sum]


def assert_same(state, other):
    for one, two in zip(arrays_of(state), arrays_of(other), strict=True):
        assert_array_equal(one, two)


@BOTH
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_forms_of_rows_give_the_same_bits(dtype, solver, settings):
    settings, X = settings._replace(solver=solver), random_states(33, 27)
    expected = trained(X, dtype, settings=settings)
    assert is_aligned(expected.model.weights)
    for form in FORMS.values():
        assert_same(trained(form(X), dtype, settings=settings), expected)
    wide = np.zeros((33, 2, 27), dtype)
    wide[:, 1] = X
    assert_same(trained(wide[:, 1], dtype, settings=settings), expected)


@BOTH
def test_gray_rows_give_the_same_bits_dense_or_sparse(settings):
    gray = np.random.default_rng(1).random((33, 27)) * random_states(33, 27, density=0.6)
    settings = settings._replace(binarize=True)
    dense = trained(gray, settings=settings)
    assert is_aligned(dense.model.weights)
    assert_same(trained(sp.csr_array(gray), settings=settings), dense)


@BOTH
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_components", [1, 20, 64, 130])
@pytest.mark.parametrize("n_features", [1, 27])
def test_padding_stays_zero(n_features, n_components, dtype, solver, settings):
    settings = settings._replace(solver=solver)
    state = trained(random_states(33, n_features), dtype, n_components, settings)
    learned = state.learned
    for model in filter(None, (learned.model, learned.velocity, learned.average)):
        assert is_aligned(model.weights)
        assert all(np.isfinite(array).all() for array in model.arrays)
        assert not with_padding(model.weights)[:, n_components:].any()


def half_steps(dtype, n_features=150, n_components=200, n_rows=50):
    """Return results of both half-steps, and their padding where they have some."""
    v, h = (rows_of_all_densities(n_rows, n) for n in (n_features, n_components))
    model, results = random_model(n_features, n_components, dtype), []
    scale = np.linspace(0, 2, n_rows).astype(dtype)
    keys = np.array([7, 8], np.uint64), np.array([n_rows // 3, n_rows])
    for half_step, rows, bias, zeros in (
        (_binary_rows.hidden, v, model.hidden_bias, aligned_zeros),
        (_binary_rows.visible, h, model.visible.bias, np.zeros),
    ):
        shape = n_rows, len(bias)
        outputs = {"total": zeros(shape, dtype), "mean": zeros(shape, dtype)}
        outputs["states"] = np.zeros(shape, np.uint8)
        half_step(lists(rows), model.weights, bias, scale=scale, keys=keys, **outputs)
        results += map(with_padding, outputs.values())
    return results


def groups_of_all_sizes(dtype, n_rows=40):
    """Return means and states of groups of many sizes, at inverse temperatures."""
    results, scale = [], np.linspace(0, 2, n_rows).astype(dtype)
    keys = np.array([7, 8], np.uint64), np.array([n_rows // 3, n_rows])
    for sizes, thermometer in itertools.product(GROUP_SIZES.values(), (False, True)):
        starts, rng = group_starts(3 * sizes), np.random.default_rng(0)
        total = 3 * rng.standard_normal((n_rows, starts[-1])).astype(dtype)
        base = rng.standard_normal(starts[-1]).astype(dtype)
        outputs = {"mean": np.empty_like(total), "states": np.empty(total.shape, np.uint8)}
        _binary_rows.groups(
            total,
            starts,
            thermometer=thermometer,
            base=base,
            scale=scale,
            keys=keys,
            **outputs,
        )
        results += outputs.values()
    return results


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_does_not_matter(dtype, monkeypatch):
    X = random_states(40, 150)
    results, states = [], []
    for n_threads in (1, 2, 3):
        use_threads(monkeypatch, n_threads)
        results.append([*half_steps(dtype), *groups_of_all_sizes(dtype)])
        results[-1] += gradients(dtype, 150, 70, 9)
        states.append([trained(X, dtype, 200, settings) for settings in (RICH, AT_ONCE)])
    for result, some in zip(results[1:], states[1:], strict=True):
        for state, other in zip(some, states[0], strict=True):
            assert_same(state, other)
        for array, other in zip(result, results[0], strict=True):
            assert_array_equal(array, other)


def gradients(dtype, n_features, n_components, n_rows):
    """Return what the core makes of a model, and of rows that it weighs and adds up."""
    v, rng = random_states(n_rows, n_features, density=0.5), np.random.default_rng(0)
    model = random_model(n_features, n_components, dtype)
    hidden, mu, lam, shares = (
        rng.standard_normal(shape).astype(dtype)
        for shape in ((n_rows, n_components), n_features, n_components, n_rows)
    )
    hidden = _binary_rows.align(hidden)
    total = _binary_rows.combine(hidden, shares)
    update(model, v, hidden, shares, (mu, lam))
    a = 20 * rng.standard_normal((n_rows, n_components)).astype(dtype)
    scores = _binary_rows.scores(v, a, model.weights, model.visible.bias)
    gray = rng.random(v.shape).astype(dtype)
    of_gray = _binary_rows.scores(gray, a, model.weights, model.visible.bias)
    changes = _binary_rows.softplus_changes(a, 0.3, 0.4)
    return [*map(with_padding, model.arrays), total, scores, of_gray, changes]


def listed(dtype):
    """Return lists of rows of many widths."""
    arrays = []
    for width, kind in itertools.product(WIDTHS, (np.uint8, dtype)):
        for density in (0.0, 0.3, 1.1):
            x = random_states(11, width, density=density).astype(kind)
            indptr, indices, _ = lists(x)
            arrays += [indptr, indices[: indptr[-1]]]
            x[3, -1] = 2
            assert lists(x) is None
    return arrays


def sums(dtype):
    """Return sums over rows of many lengths, some with values that are not finite."""
    results = []
    for n in (1, 15, 16, 17, 200, 1100):
        x = 20 * np.random.default_rng(n).standard_normal((5, n)).astype(dtype)
        x[1:, 0] = [np.nan, np.inf, -np.inf, 0]
        results += [_binary_rows.softplus_sums(x, x[0]), _binary_rows.log_mean_exps(x)]
    return results


def everything(dtype):
    """Return results of all functions of the core, for many shapes."""
    log_odds = np.linspace(-800, 100, 20_001).astype(dtype)
    log_odds[:5] = [np.nan, np.inf, -np.inf, np.finfo(dtype).max, np.finfo(dtype).min]
    results = [random_words(_binary_rows.core, 3, 5, 320), *listed(dtype)]
    results += [means_of(log_odds, side) for side in ("hidden", "visible")]
    for n_units, n_others in itertools.product(N_UNITS, N_UNITS):
        for n_rows in (1, 9, 70):
            results += gradients(dtype, n_units, n_others, n_rows)
            results += half_steps(dtype, n_units, n_others, n_rows)
    return [
        *results,
        *half_steps(dtype),
        *groups_of_all_sizes(dtype),
        *sums(dtype),
        *arrays_of(trained(random_states(40, 70, density=0.5), dtype, 130)),
        *arrays_of(trained(random_states(40, 70, density=0.5), dtype, 130, AT_ONCE)),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OTHER_BUILDS)
def test_all_builds_give_the_same_bits(name, dtype, monkeypatch):
    compare_builds(name, lambda: everything(dtype), monkeypatch)


def test_callers_in_several_threads(monkeypatch):
    """Only one caller has the threads of the core, and the others do their work alone."""
    use_threads(monkeypatch, 3)
    expected = half_steps(np.float32)
    with ThreadPoolExecutor(4) as executor:
        calls = [executor.submit(half_steps, np.float32) for _ in range(80)]
        for call in calls:
            for array, other in zip(call.result(), expected, strict=True):
                assert_array_equal(array, other)


FORKED = """
import os, sys, threading
import numpy as np
from skrbm import _binary_rows

_binary_rows._n_threads = lambda *_: 3
weights = _binary_rows.align(np.random.default_rng(0).random((150, 200)))
rows = _binary_rows.lists((np.random.default_rng(1).random((50, 150)) < 0.3).astype(float))

def total():
    out = np.empty((50, 200))
    _binary_rows.hidden(rows, weights, np.zeros(200), total=out)
    return out

expected, done = total(), threading.Event()

def work():
    while not done.is_set():
        total()

busy = threading.Thread(target=work)
busy.start()
try:
    for _ in range(8):
        child = os.fork()
        if not child:
            os._exit(0 if all((total() == expected).all() for _ in range(20)) else 3)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code or not (total() == expected).all():
            sys.exit(code or 4)
finally:
    done.set()
    busy.join()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_threads_of_its_own():
    assert exit_code(FORKED) == 0


def test_explicit_zeros_change_nothing():
    dense = random_states(70, 20).astype(np.float64)
    sparse = sp.csr_array(dense)
    with_zero = sparse.copy()
    with_zero.data[3] = 0
    dense[tuple(index[3] for index in sparse.nonzero())] = 0
    rbm = BernoulliRBMEstimator(5, n_iter=1, random_state=0).fit(dense)
    results = []
    for X in (dense, with_zero):
        rbm.random_state_ = np.random.RandomState(0)
        results.append((rbm.gibbs(X), rbm.transform(X)))
    for one, other in zip(*results, strict=True):
        assert_array_equal(one, other)
    assert with_zero.nnz == sparse.nnz


# Arguments of the core --------------------------------------------------------------------


def core_arguments(function, dtype=np.float32):
    """Return valid arguments of a function of the core, by their names, in order."""
    v, h = lists(random_states(4, 9)), lists(random_states(4, 5))
    weights, visible_bias, hidden_bias = random_model(9, 5, dtype).arrays
    hidden, shares = aligned_zeros((4, 5), dtype), np.ones(4, dtype)
    keys = {"keys": np.array([3, 4], np.uint64), "stops": np.array([1, 4])}
    if function == "hidden":
        return {
            "indptr": v.indptr,
            "indices": v.indices,
            "weights": weights,
            "bias": hidden_bias,
            "scale": shares,
            **keys,
            "total": np.empty((4, 5), dtype),
            "mean": np.empty((4, 5), dtype),
            "states": np.empty((4, 5), np.uint8),
            "bits": np.empty(4, np.uint32),
            "n_threads": 1,
        }
    if function == "visible":
        return {
            "indptr": h.indptr,
            "indices": h.indices,
            "weights": weights,
            "bias": visible_bias,
            "base": visible_bias,
            "scale": shares,
            **keys,
            "total": np.empty((4, 9), dtype),
            "mean": np.empty((4, 9), dtype),
            "states": np.empty((4, 9), np.uint8),
            "work": _binary_rows.work_space(weights),
            "bits": np.empty(4, np.uint32),
            "n_threads": 1,
        }
    if function in ("one_hot", "thermometer"):
        return {
            "total": np.zeros((4, 9), dtype),
            "starts": group_starts([2, 3, 4]),
            "base": visible_bias,
            "scale": shares,
            **keys,
            "mean": np.empty((4, 9), dtype),
            "states": np.empty((4, 9), np.uint8),
            "work": np.empty((1, 32 * (9 + 16)), dtype),
            "n_threads": 1,
        }
    if function == "logistic":
        return {
            "total": np.zeros((4, 9), dtype),
            "bias": visible_bias,
            "scale": shares,
            **keys,
            "mean": np.empty((4, 9), dtype),
            "states": np.empty((4, 9), dtype),
            "n_threads": 1,
        }
    if function == "normal":
        return {
            "total": np.zeros((4, 9), dtype),
            "bias": visible_bias,
            "variance": np.ones((4, 9), dtype),
            **keys,
            "states": np.empty((4, 9), dtype),
            "n_threads": 1,
        }
    if function == "update":
        return {
            "indptr": v.indptr,
            "indices": v.indices,
            "starts": np.empty(10, np.int64),
            "rows": np.empty(v.indptr[-1], np.int32),
            "weights": weights,
            "visible_bias": visible_bias,
            "hidden_bias": hidden_bias,
            "hidden": hidden,
            "shares": shares,
            "mu": np.zeros(9, dtype),
            "vectors": aligned_zeros((3, 5), dtype),
            "dv": np.empty(9, dtype),
            "of_rows": np.empty(4, dtype),
            "bits": np.empty(9, np.uint32),
            "n_threads": 1,
        }
    if function == "steps":
        size = _binary_rows.core.size_for_steps(9, 5, 2 + 4, 1, np.dtype(dtype).itemsize)
        memory = np.zeros(size + 64, np.uint8)
        return {
            "X": np.ones((4, 9), np.float32),
            "X_indptr": None,
            "X_indices": None,
            "row_weights": np.ones(4),
            "order": np.array([3, 0, 1]),
            "stops": np.array([2, 3]),
            "schedule": np.array([[0.1, 0.01, 0.5, 0.1, 2], [0.1, 0, 0, 0, 1]]),
            "numbers": np.array([2, 2, 0, 0, 1 << 20]),
            "keys": np.arange(6, dtype=np.uint64),
            "chains": np.zeros((4, 5), dtype),
            "means": np.zeros((10, 5), dtype),
            "weights": weights,
            "visible_bias": visible_bias,
            "hidden_bias": hidden_bias,
            "mu": np.zeros(9, dtype),
            "hidden_mean": np.zeros(5, dtype),
            "average_weights": aligned_zeros((9, 5), dtype),
            "average_visible_bias": np.zeros(9, dtype),
            "average_hidden_bias": np.zeros(5, dtype),
            "work": memory[-memory.ctypes.data % 64 :][:size],
            "n_threads": 1,
        }
    if function == "changes":
        before, after = np.zeros(4, dtype), np.ones(4, dtype)
        sums = np.empty(4)
        return {
            "total": hidden,
            "before": before,
            "after": after,
            "sums": sums,
            "n_threads": 1,
        }
    if function == "scores":
        return {
            "total": np.zeros((4, 5), dtype),
            "weights": weights,
            "bias": visible_bias,
            "states": random_states(4, 9),
            "values": np.zeros((4, 9), dtype),
            "chances": np.empty((8, 5), dtype),
            "work": aligned_zeros((1, 2 * 16 * 16), dtype),
            "logs": np.empty((4, 1)),
            "n_threads": 1,
        }
    return {
        "shrink": {
            "weights": weights,
            "parts": np.zeros(9, dtype),
            "mu": np.zeros(9, dtype),
            "lam": np.zeros(5, dtype),
            "input": np.empty(9, dtype),
            "dc": np.empty(5, dtype),
        },
        "draw_rows": {
            "values": np.ones(7, dtype),
            "indptr": np.array([0, 3, 7]),
            "key": np.array([5], np.uint64),
            "states": np.empty(7, np.uint8),
        },
        "softplus_sums": {"x": hidden, "base": hidden_bias, "out": np.empty(4)},
        "log_mean_exps": {"x": hidden, "base": None, "out": np.empty(4)},
        "weigh": {"hidden": hidden, "shares": shares, "dh": np.empty(5, dtype)},
        "combine": {"rows": hidden, "coefficients": shares, "total": np.empty(5, dtype)},
        "complete": {
            "rows": np.zeros((4, 9)),
            "cells": np.zeros((4, 9)),
            "missing": np.eye(4, 9, dtype=np.uint8),
            "precision": np.eye(9),
            "gaps": np.empty(9, np.int64),
            "work": np.empty(9 * 11),
        },
        "list_rows": {
            "x": np.ones((4, 9), dtype),
            "indptr": np.zeros(5, np.int64),
            "indices": np.empty(44, np.int32),
        },
        "random_words": {"words": np.empty(32, np.uint32), "key": 1, "tile": 2},
    }[function]


HALF_STEPS = ["hidden", "visible", "one_hot", "thermometer"]
SUMS = ["weigh", "combine", "shrink", "draw_rows", "softplus_sums", "log_mean_exps"]
FUNCTIONS = [*HALF_STEPS, "logistic", "normal", "changes", "scores", "update", "steps"]
FUNCTIONS += [*SUMS, "complete", "list_rows", "random_words"]
OPTIONAL = {
    "hidden": {"scale", "keys", "stops", "total", "mean", "states"},
    "visible": {"base", "scale", "keys", "stops", "total", "mean", "states"},
    "one_hot": {"base", "scale", "keys", "stops", "mean", "states"},
    "thermometer": {"base", "scale", "keys", "stops", "mean", "states"},
    "steps": {"X", "row_weights", "means", "average_weights", "average_visible_bias"}
    | {"average_hidden_bias"},
    "softplus_sums": {"base"},
    "scores": {"states", "values"},
    "logistic": {"bias", "scale", "keys", "stops", "mean", "states"},
    "normal": {"bias"},
}
OUTPUTS = {
    "hidden": {"total", "mean", "states", "bits"},
    "visible": {"total", "mean", "states", "work", "bits"},
    "one_hot": {"mean", "states", "work"},
    "thermometer": {"mean", "states", "work"},
    "changes": {"sums"},
    "scores": {"chances", "work", "logs"},
    "logistic": {"mean", "states"},
    "normal": {"states"},
    "update": {"starts", "rows", "weights", "visible_bias", "hidden_bias", "vectors"}
    | {"dv", "of_rows", "bits"},
    "steps": {"chains", "means", "weights", "visible_bias", "hidden_bias", "hidden_mean"}
    | {"average_weights", "average_visible_bias", "average_hidden_bias", "work"},
    "weigh": {"hidden", "dh"},
    "combine": {"total"},
    "shrink": {"weights", "input", "dc"},
    "draw_rows": {"states"},
    "softplus_sums": {"out"},
    "log_mean_exps": {"out"},
    "complete": {"rows", "gaps", "work"},
    "list_rows": {"indptr", "indices"},
    "random_words": {"words"},
}


def call(core, function, **changes):
    """Call a function with valid arguments, or with some that are changed."""
    arguments = core_arguments(function) | changes
    return getattr(core, function)(*arguments.values())


def arrays_among(arguments):
    return {name: a for name, a in arguments.items() if isinstance(a, np.ndarray)}


def views_in_other_types(array):
    """Return the same memory as numbers of other types of the same size."""
    of_size = {1: "?bB", 4: "fiI", 8: "dqQ"}
    types = {np.dtype(code) for code in of_size[array.itemsize]} - {array.dtype}
    if array.itemsize > 1:
        types.add(array.dtype.newbyteorder())
    return [array.view(dtype) for dtype in sorted(types, key=str)]


def unaligned(array):
    """Return a copy that starts in the middle of an element."""
    memory = np.zeros(array.nbytes + array.itemsize, np.uint8)
    copy = memory[1 : array.nbytes + 1].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.parametrize("function", FUNCTIONS)
def test_types_of_arguments_are_checked(function, core):
    call(core, function)
    for name, array in arrays_among(core_arguments(function)).items():
        refused = [*views_in_other_types(array), array.tolist(), 1.0, array.astype(object)]
        if array.itemsize > 1:
            refused += [unaligned(array), memoryview(unaligned(array))]
        if name not in OPTIONAL.get(function, ()):
            refused.append(None)
        for value in refused:
            with pytest.raises(TypeError, match=f"^{name} must be "):
                call(core, function, **{name: value})


@pytest.mark.parametrize("function", FUNCTIONS)
def test_outputs_must_be_writeable(function, core):
    for name, array in arrays_among(core_arguments(function)).items():
        array = array.view()
        array.flags.writeable = False
        if name in OUTPUTS[function]:
            with pytest.raises(TypeError, match=f"^{name} must be .* written to"):
                call(core, function, **{name: array})
        else:
            call(core, function, **{name: array})


@pytest.mark.parametrize(
    "function", sorted({*FUNCTIONS[:-3]} - {"draw_rows", "log_mean_exps"})
)
def test_real_numbers_have_one_type(function, core):
    wide, narrow = core_arguments(function, np.float64), core_arguments(function)
    getattr(core, function)(*wide.values())
    for name, array in arrays_among(wide).items():
        if array.dtype != narrow[name].dtype:
            with pytest.raises(TypeError, match=r" must be .* its format is "):
                call(core, function, **{name: array})


@pytest.mark.parametrize("function", FUNCTIONS)
def test_numbers_of_dimensions_are_checked(function, core):
    for name, array in arrays_among(core_arguments(function)).items():
        for wrong in (array[(0,) * array.ndim + (...,)], array[..., None], array[None]):
            with pytest.raises(ValueError, match=f"^{name} must be "):
                call(core, function, **{name: wrong})


@pytest.mark.parametrize("function", FUNCTIONS)
def test_numbers_of_arguments_are_checked(function, core):
    arguments = [*core_arguments(function).values()]
    for wrong in (arguments[:-1], [*arguments, 1], []):
        with pytest.raises(TypeError, match=f"expected {len(arguments)} arguments"):
            getattr(core, function)(*wrong)


def wrong_for_groups():
    """Return names and values of arguments with wrong shapes and layouts."""
    floats, flags = np.zeros((8, 64), np.float32), np.empty((8, 64), np.uint8)
    return [
        ("total", floats[:4, :18:2]),
        ("total", np.asfortranarray(floats[:4, :9])),
        ("starts", np.arange(0, 12, 3)[::-1]),
        ("starts", np.zeros(0, np.int64)),
        ("starts", group_starts([2, 3, 3])),
        ("starts", group_starts([2, 3, 5])),
        ("starts", group_starts([2, 3, 4])[1:]),
        ("starts", group_starts([2, 0, 7])),
        ("starts", np.array([0, 12, 5, 9])),
        ("starts", np.array([0, -3, 5, 9])),
        ("starts", np.array([-1, 5, 9])),
        ("starts", group_starts([2, 3, 4]).repeat(2)[::2]),
        ("base", floats[0, :8]),
        ("base", floats[0, :18:2]),
        ("scale", floats[0, :3]),
        ("mean", floats[:3, :9]),
        ("mean", floats[:4, :10]),
        ("mean", floats[:4, :18:2]),
        ("states", flags[:5, :9]),
        ("states", flags[:4, 8::-1]),
        ("work", np.empty((1, 799), np.float32)),
        ("work", np.empty((2, 801), np.float32)[:, :800]),
        ("work", np.empty((0, 800), np.float32)),
    ]


def wrong_for_steps():
    """Return names and values of arguments with wrong shapes, layouts and numbers."""
    floats, flags = np.zeros((8, 64), np.float32), np.empty((8, 64), np.uint8)
    aligned = aligned_zeros((9, 64), np.float32)
    return [
        ("X", flags[:4, :8]),
        ("X", flags[:4, :18:2]),
        ("X_indptr", np.arange(5)),
        ("row_weights", np.ones(3)),
        ("order", np.array([3, 0, 4])),
        ("order", np.array([3, 0, -1])),
        ("stops", np.array([2, 4])),
        ("stops", np.array([2])),
        ("stops", np.array([0, 3])),
        ("stops", np.array([3, 3])),
        ("schedule", np.ones((3, 5))),
        ("schedule", np.ones((2, 4))),
        ("numbers", np.array([2, 2, 0, 0])),
        ("numbers", np.array([0, 2, 0, 0, 1])),
        ("numbers", np.array([2, 0, 0, 0, 1])),
        ("numbers", np.array([2, 2, 0, -1, 1])),
        ("numbers", np.array([2, 2, 0, 0, 0])),
        ("numbers", np.array([1 << 60, 2, 0, 0, 1])),
        ("numbers", np.array([2, 1 << 62, 0, 0, 1])),
        ("work", np.zeros(1 << 20, np.uint8)[1:]),
        ("keys", np.arange(5, dtype=np.uint64)),
        ("chains", floats[:4, :5]),
        ("means", floats[:4, :4].copy()),
        ("means", floats[:0, :5].copy()),
        ("weights", aligned[:, :5].copy()),
        ("visible_bias", floats[0, :8]),
        ("hidden_bias", floats[0, :4]),
        ("mu", floats[0, :8]),
        ("hidden_mean", floats[0, :4]),
        ("average_weights", aligned[:, :4]),
        ("average_visible_bias", None),
        ("average_hidden_bias", floats[0, :4]),
        ("work", np.zeros(100, np.uint8)),
    ]


def test_rows_of_steps_are_checked(core):
    sparse = {"X": None, "X_indptr": np.array([0, 1, 9, 9, 10])}
    sparse["X_indices"] = np.arange(10, dtype=np.int32) % 9
    call(core, "steps", **sparse)
    for name, changes in [
        ("X_indptr", {"X": None}),
        ("X_indptr", sparse | {"X_indices": None}),
        ("X_indices", sparse | {"X_indices": np.array(0, np.int32)}),
        ("X_indptr", sparse | {"X_indptr": np.array([0, 1, 9, 9, 11])}),
        ("order", sparse | {"X_indptr": np.array([0, 10, 10, 10, 10])}),
        (
            "X",
            {
                "X": np.ones((4, 9)),
                "numbers": np.array([2, 2, 1, 0, 1]),
                "keys": np.arange(8, dtype=np.uint64),
            },
        ),
        ("work", {"n_threads": 0}),
        ("work", {"n_threads": 2}),
    ]:
        with pytest.raises(ValueError, match=f"^{name} must be "):
            call(core, "steps", **changes)


def test_shapes_and_layouts_of_arguments_are_checked(core):
    floats, flags = np.empty((8, 64), np.float32), np.empty((8, 64), np.uint8)
    doubles = np.empty((8, 64))
    aligned = aligned_zeros((9, 64), np.float32)
    vectors = aligned_zeros((3, 5), np.float32)
    for function, name, wrong in [
        ("hidden", "indices", np.empty(72, np.int32)[::2]),
        ("hidden", "weights", aligned[:, 1:6]),
        ("hidden", "weights", aligned[:, :5].copy()),
        ("hidden", "weights", np.broadcast_to(aligned[0, :5], (9, 5))),
        ("hidden", "bias", floats[0, :4]),
        ("hidden", "bias", floats[0, :10:2]),
        ("hidden", "bias", floats[:3, :5]),
        ("hidden", "scale", floats[0, :3]),
        ("hidden", "total", floats[:3, :5]),
        ("hidden", "total", floats[:4, :4]),
        ("hidden", "mean", floats[:4, 5:0:-1]),
        ("hidden", "mean", floats[:4, :10:2]),
        ("hidden", "states", flags[:5, :5].copy()),
        ("hidden", "states", flags[:4, :5]),
        ("hidden", "states", flags[:4, :4].copy()),
        ("visible", "weights", aligned[:, 1:6]),
        ("visible", "bias", floats[0, :10]),
        ("visible", "base", floats[0, :8]),
        ("visible", "scale", floats[0, :5]),
        ("visible", "total", floats[:4, :9]),
        ("visible", "mean", floats[:4, :9]),
        ("visible", "states", flags[:4, :9]),
        ("hidden", "bits", np.empty(3, np.uint32)),
        ("hidden", "bits", np.empty(8, np.uint32)[::2]),
        ("visible", "bits", np.empty(3, np.uint32)),
        ("visible", "work", aligned_zeros((1, 255), np.float32)),
        ("visible", "work", aligned_zeros((2, 256), np.float32)[:0]),
        ("visible", "work", aligned_zeros((2, 512), np.float32)[:, ::2]),
        ("visible", "work", np.empty((2, 256 + 1), np.float32)[:, 1:]),
        *((function, *rest) for function in HALF_STEPS[2:] for rest in wrong_for_groups()),
        ("changes", "total", floats[:4, :10:2]),
        ("changes", "before", floats[0, :3]),
        ("changes", "after", floats[0, :8:2]),
        ("changes", "sums", np.empty(5)),
        ("scores", "total", floats[:4, :5]),
        ("scores", "total", floats[:4, :4].copy()),
        ("scores", "weights", aligned[:, :5].copy()),
        ("scores", "bias", floats[0, :8]),
        ("scores", "states", flags[:4, :9]),
        ("scores", "states", flags[:3, :9].copy()),
        ("scores", "values", floats[:4, :9]),
        ("scores", "chances", floats[:4, :5].copy()),
        ("scores", "work", aligned_zeros((1, 511), np.float32)),
        ("scores", "logs", np.empty((4, 2))),
        ("logistic", "total", floats[:4, :18:2]),
        ("logistic", "bias", floats[0, :8]),
        ("logistic", "bias", floats[0, :18:2]),
        ("logistic", "scale", floats[0, :3]),
        ("logistic", "mean", floats[:3, :9]),
        ("logistic", "mean", floats[:4, :18:2]),
        ("logistic", "states", floats[:5, :9]),
        ("logistic", "states", floats[:4, :10]),
        ("normal", "total", floats[:4, :18:2]),
        ("normal", "bias", floats[0, :8]),
        ("normal", "variance", floats[0, :8]),
        ("normal", "variance", floats[:3, :9]),
        ("normal", "variance", floats[:4, :18:2]),
        ("normal", "states", floats[:5, :9]),
        ("normal", "states", floats[:4, :18:2]),
        ("update", "starts", np.empty(9, np.int64)),
        ("update", "rows", np.empty(0, np.int32)),
        ("update", "weights", aligned[:, :5].copy()),
        ("update", "visible_bias", floats[0, :8]),
        ("update", "hidden_bias", floats[0, :6]),
        ("update", "hidden", aligned[:3, :5]),
        ("update", "hidden", aligned[:4, :5].copy()),
        ("update", "shares", floats[0, :3]),
        ("update", "mu", floats[0, :8]),
        ("update", "vectors", vectors.copy()),
        ("update", "vectors", vectors[:2]),
        ("update", "vectors", vectors[:, :4]),
        ("update", "dv", floats[0, :8]),
        ("update", "of_rows", floats[0, :3]),
        ("update", "bits", np.empty(8, np.uint32)),
        ("weigh", "hidden", floats[:4, :10:2]),
        ("weigh", "shares", floats[0, :3]),
        ("weigh", "dh", floats[0, :4]),
        ("combine", "coefficients", floats[0, :3]),
        ("combine", "total", floats[0, :4]),
        ("complete", "rows", doubles[:4, :9]),
        ("complete", "rows", np.asfortranarray(doubles[:4, :9])),
        ("complete", "cells", doubles[:4, :9]),
        ("complete", "cells", doubles[:3, :9].copy()),
        ("complete", "missing", flags[:4, :9]),
        ("complete", "missing", flags[:4, :8].copy()),
        ("complete", "precision", doubles[:8, :9].copy()),
        ("complete", "gaps", np.empty(8, np.int64)),
        ("complete", "work", np.empty(9 * 11 - 1)),
        ("list_rows", "x", floats[:4, :9]),
        ("list_rows", "x", np.asfortranarray(floats[:4, :9])),
        ("list_rows", "indptr", np.zeros(6, np.int64)),
        ("list_rows", "indptr", np.full(5, -1)),
        ("list_rows", "indices", np.empty(43, np.int32)),
        ("random_words", "words", np.empty(64, np.uint32)[::2]),
        *(("steps", *rest) for rest in wrong_for_steps()),
        ("shrink", "parts", floats[0, :8]),
        ("shrink", "mu", floats[0, :18:2]),
        ("shrink", "lam", floats[0, :9]),
        ("shrink", "input", floats[0, :5]),
        ("shrink", "dc", floats[0, :9]),
        ("draw_rows", "values", floats[0, :14:2]),
        ("draw_rows", "indptr", np.array([0, 3, 8])),
        ("draw_rows", "key", np.array([5, 6], np.uint64)),
        ("draw_rows", "states", flags[0, :6]),
        ("softplus_sums", "x", floats[:4, :0]),
        ("softplus_sums", "x", floats[:4, :10:2]),
        ("softplus_sums", "base", floats[0, :4]),
        ("softplus_sums", "out", np.empty(5)),
    ]:
        with pytest.raises(ValueError, match=f"^{name} must be "):
            call(core, function, **{name: wrong})
    with pytest.raises(ValueError, match=r"^states must be .* unless there are values"):
        call(core, "scores", states=None, values=None)


@pytest.mark.parametrize("function", ["hidden", "visible", "update"])
def test_lists_are_checked(function, core):
    indptr = core_arguments(function)["indptr"]
    n_indices = len(core_arguments(function)["indices"])
    for wrong in ([-1, 0, 0, 0, 0], [0, 2, 1, 3, 4], [0, 0, 0, 0, n_indices + 1], []):
        with pytest.raises(ValueError, match=r"^indptr must be "):
            call(core, function, indptr=np.array(wrong, dtype=np.int64))
    call(core, function, indptr=indptr)


def test_the_room_for_lists_is_checked(core):
    """It is what is left from where they start, plus what may be written behind them."""
    call(core, "list_rows", indptr=np.ones(5, np.int64), indices=np.empty(45, np.int32))
    for start in (1, 44, 2**63 - 1):
        with pytest.raises(ValueError, match=r"^indices must be "):
            call(core, "list_rows", indptr=np.full(5, start))


@pytest.mark.parametrize("function", [*HALF_STEPS, "logistic", "normal"])
def test_keys_and_stops_are_checked(function, core):
    for stops in ([4], [1, 2, 4], [1, 3], [4, 1], [-1, 4], [5, 4]):
        with pytest.raises(ValueError, match=r"^stops must be "):
            call(core, function, stops=np.array(stops))
    if function != "normal":
        for name, changes in {
            "keys": {"keys": None, "stops": None},
            "stops": {"stops": None},
        }.items():
            with pytest.raises(ValueError, match=f"^{name} must be "):
                call(core, function, **changes)
        call(core, function, keys=None, stops=None, states=None)
    for stops in ([0, 4], [4, 4], [0, 2**63 - 1]):
        call(core, function, stops=np.array(stops))


def test_stops_may_be_large(core):
    """No stop is too large to be added to the number of the first row that is drawn."""
    keys = {"keys": np.array([3], np.uint64), "stops": np.array([2**63 - 1])}
    call(core, "hidden", states=np.empty((2, 5), np.uint8), **keys)


def test_lists_of_an_update_may_start_anywhere(core):
    """The rows of a larger list are those of a list of their own."""
    rows = lists(random_states(8, 9))
    results = []
    for part in (rows.rows(4, 8), lists(random_states(8, 9)[4:])):
        arguments = core_arguments("update")
        arguments |= {"indptr": part.indptr, "indices": part.indices}
        arguments["rows"] = np.zeros(len(rows.indices), np.int32)
        arguments["hidden"][...] = np.random.default_rng(0).random((4, 5))
        core.update(*arguments.values())
        results.append([arguments[name] for name in ("weights", "visible_bias")])
    for one, other in zip(*results, strict=True):
        assert_array_equal(one, other)
