import functools
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import tiny_rbm
from numpy.testing import assert_allclose, assert_array_equal

from skrbm import BernoulliRBMEstimator, _data
from skrbm._data import LARGEST_WEIGHT, DataSet


def test_canonical_sums_duplicates_in_a_copy():
    data, indices, indptr = np.ones(3), np.array([2, 0, 2]), np.array([0, 3])
    X = sp.csr_array((data, indices, indptr), shape=(1, 3))
    result = _data.canonical(X)
    assert_array_equal(result.indices, [0, 2])
    assert_array_equal(result.data, [1, 2])
    assert_array_equal(X.indices, [2, 0, 2])


@pytest.mark.parametrize("form", [sp.csr_array, sp.csr_matrix])
def test_canonical_shares_memory(form):
    X = form(np.eye(3))
    result = _data.canonical(X)
    assert isinstance(result, sp.csr_array)
    assert np.shares_memory(result.data, X.data)


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (np.zeros((2, 2), bool), (0, 1, True)),
        (np.array([[0, 1]], np.uint8), (0, 1, True)),
        (np.array([[0, 255]], np.uint8), (0, 255, False)),
        (np.array([[0.25, 0.75]]), (0.25, 0.75, False)),
        (np.array([[-2.0, 1.0]]), (-2, 1, False)),
        (sp.csr_array([[0.0, 3.0]]), (0, 3, False)),
        (sp.csr_array([[2.0, 3.0]]), (2, 3, False)),
        (sp.csr_array((3, 4)), (0, 0, True)),
        (np.vstack([np.zeros((50_000, 2)), [[0.5, 1]]]), (0, 1, False)),
    ],
)
def test_summarize(X, expected):
    assert DataSet(X).summary == (*expected, True)


@pytest.mark.parametrize("order", [None, [4, 1, 0, 3, 2]])
def test_minibatches(order):
    order = None if order is None else np.array(order)
    X = np.arange(10.0).reshape(5, 2)
    batches = [X[rows] for rows in DataSet(X).minibatches(2, order)]
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert_array_equal(np.vstack(batches), X if order is None else X[order])


@pytest.mark.parametrize("rows", [slice(1, 3), np.array([3, 0])])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.float64])
def test_taken_rows_are_copies_in_the_model_dtype(dtype, rows):
    X = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], dtype=dtype)
    sparse = sp.csr_array(X)
    dense = DataSet(X).take_dense(rows, np.empty((3, 2), np.float32))
    taken = DataSet(sparse).take_sparse(rows, np.float32)
    assert dense.dtype == taken.dtype == np.float32
    assert_array_equal(dense, X[rows])
    assert_array_equal(taken.toarray(), X[rows])
    dense[...] = 7
    taken.data[...] = 7
    assert_array_equal(sparse.toarray(), X)
    assert X.max() == 1


def forms(X):
    return [DataSet(X), DataSet(sp.csr_array(X))]


def values(data):
    """Rows of a data set in their order."""
    rows = data.copy_rows(float)
    return rows.toarray() if data.is_sparse else rows


def test_a_data_set_of_some_rows():
    X = np.arange(20.0).reshape(10, 2)
    for data in forms(X):
        some = data.select(np.array([1, 4, 5, 9]))
        assert (len(data), len(some), some.n_features) == (10, 4, 2)
        assert_array_equal(values(some), X[[1, 4, 5, 9]])
        assert_array_equal(values(some.spread(2)), X[[1, 9]])
        assert_array_equal(values(data.spread(3)), X[[0, 4, 9]])
        assert_array_equal(values(data.spread(99)), X)
        assert some.order() is some.rows
        assert data.order() is None
        order = some.order(np.random.default_rng(0))
        assert sorted(order) == [1, 4, 5, 9]


@pytest.mark.parametrize("n", [1, 3, 7, 12])
def test_shards_have_all_rows_once(n):
    X = np.arange(20.0).reshape(10, 2)
    some = np.array([0, 2, 3, 4, 6, 7, 9])
    for data, rows in [(data, np.arange(10)) for data in forms(X)] + [
        (data.select(some), some) for data in forms(X)
    ]:
        for i in range(n):
            assert_array_equal(values(data.shard(i, n)), X[rows[i::n]])


def test_split_draws_rows():
    X = np.arange(20.0).reshape(10, 2)
    some = np.array([0, 2, 3, 4, 6, 7, 9])
    for data in forms(X):
        drawn, others = data.select(some).split(3, np.random.default_rng(0))
        assert (len(drawn), len(others)) == (3, 4)
        assert_array_equal(np.sort([*drawn.rows, *others.rows]), some)
        again, _ = data.select(some).split(3, np.random.default_rng(1))
        assert again.rows.tolist() != drawn.rows.tolist()


def test_stacked_rows_are_copies():
    X = np.arange(20.0).reshape(10, 2)
    weights = np.arange(10.0)
    for data in forms(X):
        parts = [data.select(np.array([5, 1])), data.select(np.array([7]))]
        assert_array_equal(values(DataSet.stack(parts)), X[[5, 1, 7]])
        assert DataSet.stack(parts).weights is None
        parts = [data.weigh(weights).select(part.rows) for part in parts]
        assert_array_equal(DataSet.stack(parts).weights, [5, 1, 7])
    stacked = DataSet.stack([DataSet(X)])
    assert_array_equal(stacked.X, X)


def test_weights_belong_to_rows():
    X = np.arange(8.0).reshape(4, 2)
    weights = np.array([1.0, 0.0, 2.0, 3.0])
    data = DataSet(X).weigh(weights)
    assert_array_equal(data.rows, [0, 2, 3])
    assert_array_equal(data.weights, [1, 2, 3])
    assert_array_equal(data.shard(1, 2).weights, [2])
    assert data.mean(lambda v: v[:, 0], tiny_rbm(2, 3)) == (1 * 0 + 2 * 4 + 3 * 6) / 6
    assert DataSet(X).weights is None


@pytest.mark.parametrize("mean", [1.0, 1e3])
def test_heavy_rows_are_divided_into_even_copies(mean):
    X = np.arange(40.0).reshape(40, 1)
    weights = np.ones(40)
    weights[[0, 7, 30]] = 0, 900, 300
    weights *= mean / weights[1:].mean()
    data = DataSet(X).weigh(weights)
    divided = data.divide_heavy()
    n_copies = np.bincount(divided.rows)
    assert_array_equal(n_copies, np.ceil(weights / (LARGEST_WEIGHT * mean)))
    assert n_copies[7] == 8
    assert divided.weights.max() <= LARGEST_WEIGHT * mean * (1 + 1e-12)
    assert_allclose(np.bincount(divided.rows, divided.weights), weights, rtol=1e-12)
    others = [row for row in divided.rows if row not in (7, 30)]
    assert others == [row for row in data.rows if row not in (7, 30)]
    assert np.diff(np.flatnonzero(divided.rows == 7)).min() >= 4
    # Without a mean weight of 1, as in `partial_fit`, small weights cause small steps.
    light = DataSet(X).weigh(weights / weights.max())
    assert light.divide_heavy() is light
    assert DataSet(X).divide_heavy().weights is None


def test_effective_size_of_a_few_heavy_rows():
    weights = np.ones(1000)
    assert DataSet(np.ones((1000, 1))).weigh(weights).effective_size == 1000
    weights[:500] = 4
    assert_allclose(DataSet(np.ones((1000, 1))).weigh(weights).effective_size, 900)
    weights[:] = 1
    weights[0] = 1e3  # half of all weight: by Kish's formula, 4 rows
    assert DataSet(np.ones((1000, 1))).weigh(weights).effective_size > 500


@pytest.mark.parametrize("rows", [None, np.arange(1, 3000, 2)])
def test_a_function_is_applied_to_all_rows_by_blocks(rows):
    X = (np.random.default_rng(0).random((3000, 700)) < 0.1).astype(np.uint8)
    model = tiny_rbm(700, 3, np.float32)
    for data in forms(X):
        some = data.select(rows)
        sizes = [v.shape[0] for _, v in some.blocks(model)]
        assert len(sizes) > 1
        assert sum(sizes) == len(some)
        means = some.apply(model.mean_hidden, model, n_columns=3, dtype=np.float32)
        expected = model.mean_hidden(X[slice(None) if rows is None else rows].astype("f"))
        assert means.dtype == np.float32
        assert_allclose(means, expected, atol=1e-5)
        assert some.apply(model.free_energy, model).shape == (len(some),)


def resident_part(path):
    """Return the resident fraction of the mapped file, as reported by the kernel."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    next(line for line in lines if line.endswith(str(path)))
    numbers = dict(line.split(":") for line in itertools.islice(lines, 6))
    size, resident = (int(numbers[name].split()[0]) for name in ("Size", "Rss"))
    return resident / size


def read_by_hand(X):
    pages = _data.MappedPages(X)
    for rows in DataSet(X).minibatches(10):
        X[rows].sum()
        pages.have_read(10)


def read_in_blocks(X):
    for rows, v in DataSet(X).blocks(tiny_rbm(784, 2, np.float32)):
        assert_array_equal(v, X[rows])


def read_by_fit(X, shuffle=False):
    BernoulliRBMEstimator(2, n_iter=1, shuffle=shuffle).fit(X)


def read_in_slices(X):
    rbm = BernoulliRBMEstimator(2)
    for start in range(0, len(X), 100):
        rbm.partial_fit(X[start : start + 100])


READERS = {
    "by hand": read_by_hand,
    "summary": lambda X: DataSet(X).summary,
    "blocks": read_in_blocks,
    "fit": read_by_fit,
    "fit, shuffled": functools.partial(read_by_fit, shuffle=True),
    "partial_fit": BernoulliRBMEstimator(2).partial_fit,
    "partial_fit in small slices": read_in_slices,
    "transform": BernoulliRBMEstimator(2, n_iter=1).fit(np.eye(784)[:20]).transform,
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of the map")
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("mode", "given_back"), [("r", True), ("r+", False), ("c", False)])
def test_pages_of_a_large_map_are_given_back(
    tmp_path, monkeypatch, mode, given_back, reader
):
    path = tmp_path / "rows.npy"
    expected = np.random.default_rng(0).integers(0, 2, (4000, 784), dtype=np.uint8)
    np.save(path, expected)
    X = np.load(path, mmap_mode=mode)
    if mode == "c":
        X[5, 5] = expected[5, 5] = 1  # only in memory, must not be lost
    monkeypatch.setattr(_data.MappedPages, "LIMIT", 784 * 1500)
    READERS[reader](X)
    assert (resident_part(path) < 0.6) == given_back
    assert_array_equal(X, expected)


def test_pages_of_other_arrays_are_left_alone():
    _data.MappedPages(np.ones((3, 2))).have_read(1 << 40)
    _data.MappedPages(sp.csr_array(np.ones((3, 2)))).have_read(1 << 40)


def as_they_are(v):
    return v


def trace_and_largest(X, **weights):
    eigenvalues = np.linalg.eigvalsh(np.atleast_2d(np.cov(X.T, bias=True, **weights)))
    return eigenvalues.sum(), eigenvalues[-1]


@pytest.mark.parametrize("form", [np.array, sp.csr_array, np.uint8, bool])
@pytest.mark.parametrize("shape", [(40, 7), (9, 300), (1, 3), (20, 1), (450, 80)])
def test_variances(shape, form):
    """They are the trace and the largest eigenvalue of the covariance matrix."""
    rng = np.random.default_rng(0)
    X = (
        rng.random(shape) < np.linspace(0.1, 0.6, shape[1]) * rng.random((shape[0], 1))
    ) * 1.0
    data = DataSet(X.astype(form) if form in (np.uint8, bool) else form(X))
    found = data.variances(as_they_are)
    assert_allclose(found, trace_and_largest(X), rtol=6e-3, atol=1e-9)
    weights = rng.exponential(size=len(X)) * (np.arange(len(X)) % 3 == 0)
    found = data.weigh(weights).variances(as_they_are)
    assert_allclose(found, trace_and_largest(X, aweights=weights), rtol=6e-3, atol=1e-9)


def test_variances_of_many_rows():
    """Rows are drawn by their weights, whatever their order."""
    X = np.array([[0.0] * 20 + [1.0] * 20, [1.0] * 20 + [0.0] * 20] * 500)
    found = DataSet(X).variances(as_they_are)
    assert_allclose(found, (10, 10), rtol=0.05)
    for form in (np.uint8, sp.csr_array):
        assert DataSet(form(X)).variances(as_they_are) == found
    weights = np.tile([3.0, 1.0], 500)
    found = DataSet(X).weigh(weights).variances(as_they_are)
    assert_allclose(found, (7.5, 7.5), rtol=0.1)
    faint = DataSet(X).weigh(np.where(np.arange(1000) < 100, 1.0, 1e-9))
    assert_allclose(faint.variances(as_they_are), (10, 10), rtol=0.05)
    assert_allclose(faint.effective_size, 100, rtol=1e-3)
    assert DataSet(X).effective_size == 1000


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("rank", [1, 3, 200])
def test_variances_of_dependent_columns(rank, form):
    """The space of powers of a matrix has few dimensions if its rank is low."""
    X = np.tile(np.random.default_rng(0).random((300, rank)) < 0.3, 2) * 1.0
    expected = trace_and_largest(X)
    assert_allclose(DataSet(form(X)).variances(as_they_are), expected, rtol=7e-3)


def test_variances_of_huge_values():
    X = np.array([[0.0, 300], [-5, 0], [1, 1e200]])
    assert DataSet(X).variances(as_they_are) == (0, 0)
