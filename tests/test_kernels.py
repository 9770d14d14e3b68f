import numpy as np
import pytest
import scipy.sparse as sp
from conftest import (
    GROUP_SIZES,
    assert_groups_distributed,
    group_probabilities,
    group_starts,
    means_of_groups,
    numbers_of_states,
)
from numpy.testing import assert_allclose, assert_array_equal

from skrbm import BernoulliRBMEstimator, _binary_rows, _kernels

DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_logistic_and_softplus(dtype):
    x = np.array([-800, -30, -1, 0, 1e-4, 2, 30, 800], dtype=dtype)
    tolerance = 4 * np.finfo(dtype).eps
    wide = x.astype(np.float64)
    expected = np.exp(-np.logaddexp(0, -wide))
    result = _kernels.logistic(x.copy())
    assert result.dtype == dtype
    assert_allclose(result, expected, atol=tolerance, rtol=0)
    assert_allclose(_kernels.softplus(x), np.logaddexp(0, wide), rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_sums(dtype, rng):
    x = rng.normal(0, 5, (4, 3, 6)).astype(dtype) + 1000
    expected = np.logaddexp.reduce(x.astype(np.float64), axis=-1)
    result = _kernels.log_sums(x)
    assert result.dtype == dtype
    assert_allclose(result, expected, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (200, 300), (3, 100_000)])
def test_row_blocks_cover_all_rows_once(shape):
    blocks = list(_kernels.row_blocks(*shape))
    rows = np.concatenate([np.arange(b.start, b.stop) for b in blocks])
    assert_array_equal(rows, np.arange(shape[0]))
    size = max(b.stop - b.start for b in blocks) * shape[1]
    assert size <= max(_kernels.BLOCK_SIZE, 2 * shape[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_bernoulli_frequencies(dtype, rng):
    p = np.array([0, 1e-3, 0.1, 0.5, 0.9, 1], dtype=dtype)
    n = 200_000
    draws = _kernels.bernoulli(np.tile(p, (n, 1)), rng, np.empty((n, len(p)), dtype))
    assert set(np.unique(draws)) == {0, 1}
    error = np.sqrt(p * (1 - p) / n)
    assert (np.abs(draws.mean(axis=0, dtype=float) - p) <= 5 * error + 1e-12).all()


@pytest.mark.parametrize("out_dtype", [bool, "same"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bernoulli_from_log_odds_frequencies(dtype, out_dtype, rng):
    x = np.array([-200, -6, -1, 0, 2, 200], dtype=dtype)
    bias = np.array([0.0, 1.0, -1.0, 0.5, 0.0, 1.0], dtype=dtype)
    n = 100_000
    z = np.tile(x, (n, 1))
    out = np.empty(z.shape, bool) if out_dtype is bool else z
    _kernels.bernoulli_from_log_odds(z, bias, rng, out=out)
    p = 1 / (1 + np.exp(-(x + bias).astype(float)))
    error = np.sqrt(p * (1 - p) / n)
    assert (np.abs(out.mean(axis=0, dtype=float) - p) <= 5 * error + 1e-7).all()


@pytest.mark.parametrize("n_rows", [1, 7, 60])
def test_draws_of_blocks_of_features_are_those_of_all(n_rows):
    x = np.random.default_rng(0).standard_normal((n_rows, 2501))
    bias = np.random.default_rng(1).standard_normal(2501)
    whole, parts = np.empty(x.shape, bool), np.empty(x.shape, bool)
    rng = np.random.Generator(np.random.SFC64(3))
    _kernels.bernoulli_from_log_odds(x.copy(), bias, rng, out=whole)
    rng = np.random.Generator(np.random.SFC64(3))
    for features in _kernels.feature_blocks(2501):
        _kernels.bernoulli_from_log_odds(
            x[:, features].copy(), bias[features], rng, out=parts[:, features]
        )
    assert_array_equal(whole, parts)


@pytest.mark.parametrize("n_rows", [1, 47, 48, 100])
def test_product_with_transpose(n_rows, rng):
    a, b = rng.random((n_rows, 5)), rng.random((9, 5))
    out = np.empty((n_rows, 9))
    _kernels.product_with_transpose(a, b, out)
    assert_allclose(out, a @ b.T)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse_rows(dtype):
    a = sp.csr_array(sp.random(9, 6, density=0.4, dtype=dtype, random_state=0))
    b = np.random.default_rng(1).standard_normal((6, 4)).astype(dtype)
    c = np.random.default_rng(2).standard_normal((9, 4)).astype(dtype)
    rows = _kernels.SparseRows.from_csr(a)

    out = np.ones((9, 4), dtype)
    rows.add_product(b, out)
    assert_allclose(out, 1 + a.toarray() @ b, rtol=1e-6)
    out = np.ones((6, 4), dtype)
    rows.block(slice(2, 7)).add_transposed_product(c[2:7], out)
    assert_allclose(out, 1 + a.toarray()[2:7].T @ c[2:7], rtol=1e-6)
    out = np.zeros(9, dtype)
    rows.add_product(b[:, 0].copy(), out)
    assert_allclose(out, a.toarray() @ b[:, 0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_sparse_rows_from_bool(density):
    mask = np.random.default_rng(0).random((11, 5)) < density
    rows = _kernels.SparseRows.from_bool(mask, np.float32)
    matrix = sp.csr_array((rows.data, rows.indices, rows.indptr), shape=mask.shape)
    assert rows.data.dtype == np.float32
    assert_array_equal(matrix.toarray(), mask)


@pytest.mark.parametrize("shape", [(3,), (300, 400)])
def test_move_towards(shape):
    rng = np.random.default_rng(0)
    x, target = rng.random((2, *shape))
    expected = 0.75 * x + 0.25 * target
    _kernels.move_towards(x, target, 0.25)
    assert_allclose(x, expected)


@pytest.mark.parametrize("layout", ["padded rows", "columns first", "every second"])
def test_outputs_must_be_contiguous(layout, rng):
    """A result that is written into a copy would be lost."""
    out = {
        "padded rows": np.zeros((6, 16))[:, :4],
        "columns first": np.zeros((6, 4), order="F"),
        "every second": np.zeros((12, 4))[::2],
    }[layout]
    rows = _kernels.SparseRows.from_csr(sp.csr_array(np.ones((6, 6))))
    ones = np.ones((6, 4))
    for write in (
        lambda: rows.add_product(ones, out),
        lambda: rows.add_transposed_product(ones, out),
        lambda: _kernels.move_towards(out, ones, 0.5),
        lambda: _kernels.bernoulli(ones, rng, out),
    ):
        with pytest.raises(ValueError, match=r"^The output must be C-contiguous, but "):
            write()


@pytest.mark.parametrize("n_columns", [1, 4])
def test_inputs_need_not_be_contiguous(n_columns, rng):
    inputs = np.ones((6, 16))[:, :n_columns]
    out = np.zeros((6, n_columns))
    rows = _kernels.SparseRows.from_csr(sp.csr_array(np.ones((6, 6))))
    rows.add_product(inputs, out)
    rows.add_transposed_product(inputs, out)
    assert_array_equal(out, np.full(out.shape, 12))
    _kernels.move_towards(out, inputs, 0.5)
    assert_array_equal(out, np.full(out.shape, 6.5))
    assert_array_equal(_kernels.bernoulli(inputs, rng, out), inputs)


@pytest.mark.parametrize("shape", [(120, 64, 100), (30, 40, 7), (5, 3, 200), (1, 9, 1)])
def test_products_in_pieces(shape, monkeypatch):
    """Pieces of columns or rows give the same result as the whole product."""
    n_rows, depth, n_columns = shape
    rng = np.random.default_rng(0)
    a, b = rng.random((n_rows, depth)), rng.random((depth, n_columns))
    expected = a @ b
    for limit in (8, 300, 5000, 10**6):
        monkeypatch.setattr(_kernels, "_ONE_THREAD", limit)
        out = np.empty(expected.shape)
        assert _kernels.product(a, b, out) is out
        assert_allclose(out, expected)
        out = np.empty(expected.shape)
        _kernels.product_with_transpose(a, b.T.copy(), out)
        assert_allclose(out, expected)
        monkeypatch.setattr(_kernels, "_GAINS_NO_THREAD", 0)
        assert_allclose(_kernels.product(a, b, alone=True), expected)
        monkeypatch.undo()


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("n_chains", [100, 140])
@pytest.mark.parametrize(("n_features", "n_components"), [(64, 100), (100, 64)])
def test_small_products_have_one_thread(
    n_features, n_components, n_chains, form, monkeypatch, without_core
):
    """OpenBLAS uses one thread below 2^19 multiplications."""
    sizes, matmul = [], np.matmul

    def spy(a, b, **options):
        sizes.append(a.size * b.shape[-1])
        return matmul(a, b, **options)

    monkeypatch.setattr(np, "matmul", spy)
    X = form((np.random.default_rng(0).random((60, n_features)) < 0.3).astype(float))
    rbm = BernoulliRBMEstimator(n_components, n_chains=n_chains, n_iter=2, n_gibbs_steps=2)
    rbm.fit(X)
    assert 2**16 < max(sizes) < 2**19


class Words:
    """Generator that always returns the same word."""

    def __init__(self, word):
        self.word = word
        self.bit_generator = self

    def random_raw(self, n):
        return np.full(n, self.word, dtype=np.uint64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_certain_states_are_drawn_for_any_bits(dtype):
    largest, smallest = Words(0x7FFFFFFF_7FFFFFFF), Words(0x80000000_80000000)
    for words in (largest, smallest):
        draws = _kernels.bernoulli(np.array([0, 1], dtype), words, np.empty(2, dtype))
        assert_array_equal(draws, [0, 1])
        x = np.array([-50, 50], dtype)
        draws = _kernels.bernoulli_from_half_log_odds(x, words, np.empty(2, dtype))
        assert_array_equal(draws, [0, 1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("thermometer", [False, True])
@pytest.mark.parametrize("sizes", GROUP_SIZES.values(), ids=GROUP_SIZES)
def test_means_of_groups(sizes, thermometer, dtype):
    starts = group_starts(sizes)
    total = 3 * np.random.default_rng(0).standard_normal((9, starts[-1])).astype(dtype)
    total[0] = 300 * total[1]
    expected = means_of_groups(total, starts, thermometer)
    wide = np.full((9, starts[-1] + 7), np.nan, dtype)
    wide[:, 3:-4] = total
    for x in (total, wide[:, 3:-4]):
        assert _kernels.group_means(x, starts, thermometer) is x
        assert_allclose(x, expected, rtol=0, atol=400 * np.finfo(dtype).eps)
        assert x.min() >= 0
        assert x.max() <= 1
    assert np.isnan(wide[:, [2, -4]]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("thermometer", [False, True])
def test_draws_of_groups(thermometer, dtype, rng):
    """Groups have their distributions, and are independent of each other."""
    starts = group_starts([3, 1, 2])
    y = np.array([0.5, -1, 1, 0.3, -0.2, -2], dtype)
    for kind in (bool, np.uint8, "same"):
        total = np.tile(y, (100_000, 1))
        out = total if kind == "same" else np.empty(total.shape, kind)
        assert _kernels.draw_groups(total, starts, thermometer, rng, out) is out
        assert_groups_distributed(out, y, starts, thermometer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("word", [0, 0x7FFFFFFF_7FFFFFFF, 0x80000000_80000000, 2**64 - 1])
@pytest.mark.parametrize("thermometer", [False, True])
def test_impossible_states_of_groups_are_not_drawn(thermometer, word, dtype):
    """Whatever the random bits, the weight of the state that is drawn is not 0."""
    y = np.zeros((6, 4), dtype)
    y[range(4), range(4)] = 2000
    y[4:] = [[-2000], [2000]]
    starts = group_starts([4])
    out = _kernels.draw_groups(y.copy(), starts, thermometer, Words(word), np.zeros((6, 4)))
    (numbers,) = numbers_of_states(out, starts, thermometer).T
    p = group_probabilities(y, thermometer)
    assert (p[range(6), numbers] > 0).all()


@pytest.mark.parametrize("thermometer", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_groups_of_a_model_that_diverged(value, thermometer, rng):
    """Their means are not numbers, and their draws are states."""
    starts = group_starts([3, 1, 2])
    total = np.full((5, 6), value)
    out = _kernels.draw_groups(total.copy(), starts, thermometer, rng, total.copy())
    numbers_of_states(out, starts, thermometer)
    assert np.isnan(_kernels.group_means(total, starts, thermometer)).any()


@pytest.mark.parametrize("thermometer", [False, True])
def test_groups_without_a_core(thermometer, without_core):
    starts = group_starts([3, 1, 2])
    total = np.random.default_rng(0).standard_normal((5, 6))
    results = []
    for module in (_kernels, _binary_rows):
        rng = np.random.Generator(np.random.SFC64(0))
        out = np.empty(total.shape)
        module.draw_groups(total.copy(), starts, thermometer, rng, out)
        results.append([out, module.group_means(total.copy(), starts, thermometer)])
    for one, other in zip(*results, strict=True):
        assert_array_equal(one, other)
