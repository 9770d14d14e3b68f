import functools
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from skrbm import BernoulliRBMEstimator, _batches


def test_canonical_sums_duplicates_in_a_copy():
    data, indices, indptr = np.ones(3), np.array([2, 0, 2]), np.array([0, 3])
    X = sp.csr_array((data, indices, indptr), shape=(1, 3))
    result = _batches.canonical(X)
    assert_array_equal(result.indices, [0, 2])
    assert_array_equal(result.data, [1, 2])
    assert_array_equal(X.indices, [2, 0, 2])


@pytest.mark.parametrize("form", [sp.csr_array, sp.csr_matrix])
def test_canonical_shares_memory(form):
    X = form(np.eye(3))
    result = _batches.canonical(X)
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
    assert _batches.summarize(X) == expected


@pytest.mark.parametrize("order", [None, [4, 1, 0, 3, 2]])
def test_minibatches(order):
    order = None if order is None else np.array(order)
    X = np.arange(10.0).reshape(5, 2)
    batches = [X[rows] for rows in _batches.minibatches(5, 2, order)]
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert_array_equal(np.vstack(batches), X if order is None else X[order])


@pytest.mark.parametrize("rows", [slice(1, 3), np.array([3, 0])])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.float64])
def test_taken_rows_are_copies_in_the_model_dtype(dtype, rows):
    X = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], dtype=dtype)
    sparse = sp.csr_array(X)
    dense = _batches.take_dense(X, rows, np.empty((3, 2), np.float32))
    taken = _batches.take_sparse(sparse, rows, np.float32)
    assert dense.dtype == taken.dtype == np.float32
    assert_array_equal(dense, X[rows])
    assert_array_equal(taken.toarray(), X[rows])
    dense[...] = 7
    taken.data[...] = 7
    assert_array_equal(sparse.toarray(), X)
    assert X.max() == 1


def test_binarize_draws_probabilities(rng):
    p = np.array([-1, 0, 0.1, 0.5, 0.9, 1, 3])
    values = np.tile(p, (100_000, 1))
    _batches.binarize(values, rng)
    assert set(np.unique(values)) == {0, 1}
    assert_allclose(values.mean(axis=0), p.clip(0, 1), atol=0.01)
    assert_array_equal(values[:, [0, 1, 5, 6]].std(axis=0), 0)


def test_binarize_leaves_the_stream_to_uncertain_values():
    """Zeros, stored or not, and ones take nothing from the stream."""
    X = np.random.default_rng(0).random((30, 8)).round(1)
    dense, sparse = X.copy(), sp.csr_array(X)
    for values in (dense, sparse.data):
        _batches.binarize(values, np.random.Generator(np.random.SFC64(5)))
    assert_array_equal(dense, sparse.toarray())


def resident_part(path):
    """Return which part of the file's map is in this process's memory, by the kernel."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    next(line for line in lines if line.endswith(str(path)))
    numbers = dict(line.split(":") for line in itertools.islice(lines, 6))
    size, resident = (int(numbers[name].split()[0]) for name in ("Size", "Rss"))
    return resident / size


def read_by_hand(X):
    pages = _batches.MappedPages(X)
    for rows in _batches.minibatches(4000, 10):
        X[rows].sum()
        pages.have_read(10)


def read_in_blocks(X):
    for rows, v in _batches.blocks(X, "f", 784):
        assert_array_equal(v, X[rows])


def read_by_fit(X, shuffle=False):
    BernoulliRBMEstimator(2, n_iter=1, shuffle=shuffle).fit(X)


def read_in_slices(X):
    rbm = BernoulliRBMEstimator(2)
    for start in range(0, len(X), 100):
        rbm.partial_fit(X[start : start + 100])


READERS = {
    "by hand": read_by_hand,
    "summarize": _batches.summarize,
    "blocks": read_in_blocks,
    "fit": read_by_fit,
    "fit, shuffled": functools.partial(read_by_fit, shuffle=True),
    "partial_fit": BernoulliRBMEstimator(2).partial_fit,
    "partial_fit in small slices": read_in_slices,
    "transform": BernoulliRBMEstimator(2, n_iter=1).fit(np.eye(784)[:20]).transform,
}


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
        X[5, 5] = expected[5, 5] = 1  # in memory alone: must not be lost
    monkeypatch.setattr(_batches.MappedPages, "LIMIT", 784 * 1500)
    READERS[reader](X)
    assert (resident_part(path) < 0.6) == given_back
    assert_array_equal(X, expected)


def test_pages_of_other_arrays_are_left_alone():
    _batches.MappedPages(np.ones((3, 2))).have_read(1 << 40)
    _batches.MappedPages(sp.csr_array(np.ones((3, 2)))).have_read(1 << 40)
