"""Groups of columns that exclude each other, against the definition written out."""

import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from skrbm import _groups, exclusive_groups


def exclude(X, i, j, max_chance):
    """Whether two columns exclude each other, counted cell by cell."""
    rows = [(row[i], row[j]) for row in X.tolist()]
    rows = [(a, b) for a, b in rows if not (math.isnan(a) or math.isnan(b))]
    if not rows or any(a == b == 1 for a, b in rows):
        return False
    expected = sum(a for a, _ in rows) * sum(b for _, b in rows) / len(rows)
    n_pairs = math.comb(X.shape[1], 2)
    return expected > math.log(n_pairs / max_chance)


def greedy(X, max_chance):
    n_on = np.nansum(X, axis=0)
    free = sorted(range(X.shape[1]), key=lambda i: -n_on[i])
    groups = []
    for first in list(free):
        if first not in free:
            continue
        group = [first]
        for other in free:
            if other != first and all(exclude(X, other, i, max_chance) for i in group):
                group.append(other)
        if len(group) > 1:
            free = [column for column in free if column not in group]
            groups.append(sorted(group))
    return sorted(groups)


@st.composite
def bits(draw):
    """Rows with some groups of columns, in shuffled order, and possibly with gaps."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    parts = []
    for size in sizes:
        n_states = size + draw(st.booleans())
        parts.append(np.eye(n_states)[rng.integers(n_states, size=80)][:, :size])
    X = np.hstack(parts)
    X = X[:, rng.permutation(X.shape[1])]
    if draw(st.booleans()):
        X[rng.random(X.shape) < 0.2] = np.nan
    return X


@settings(deadline=None, max_examples=50, derandomize=True)
@given(bits(), st.sampled_from([1e-6, 0.01, 0.5]))
def test_groups_follow_the_definition(X, max_chance):
    assert exclusive_groups(X, max_chance=max_chance) == greedy(X, max_chance)


def letters(n_rows=600):
    """One-hot letters in columns 0, 3 and 4, and free bits in the others."""
    rng = np.random.default_rng(0)
    X = rng.integers(2, size=(n_rows, 6))
    X[:, [0, 3, 4]] = np.eye(3, dtype=int)[rng.integers(3, size=n_rows)]
    return X


@pytest.mark.parametrize(
    "form",
    [
        np.asarray,
        np.asfortranarray,
        lambda X: X.astype(bool),
        lambda X: X.astype(object),
        lambda X: X.tolist(),
        sp.csr_array,
        sp.csc_matrix,
        sp.coo_array,
        lambda X: sp.csr_array(X.astype(bool)),
        pd.DataFrame,
    ],
)
def test_forms(form):
    assert exclusive_groups(form(letters())) == [[0, 3, 4]]


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_names(frame):
    columns = dict(zip("abcdef", letters().T, strict=True))
    assert exclusive_groups(frame(columns)) == [["a", "d", "e"]]


def test_labels_that_are_no_strings():
    frame = pd.DataFrame(letters(), columns=range(10, 70, 10))
    assert exclusive_groups(frame) == [[10, 40, 50]]


def test_other_columns_are_in_no_group():
    frame = pd.DataFrame(letters(), columns=list("abcdef"))
    frame["a"] = frame["a"].map({0: "no", 1: "yes"})
    frame.insert(0, "number", np.arange(len(frame)) / 7)
    assert exclusive_groups(frame) == [["d", "e"]]
    X = letters()
    X[:, 3] *= 2
    assert exclusive_groups(X) == exclusive_groups(sp.csr_array(X)) == [[0, 4]]
    assert exclusive_groups(X + 0.5) == exclusive_groups(sp.csr_array(X + 0.5)) == []


def test_stored_zeros_and_pieces_of_sparse_arrays():
    X = sp.coo_array(letters())
    pieces = np.tile((X.row, X.col), 2)
    halves = sp.coo_array((np.tile(X.data / 2, 2), pieces), shape=X.shape)
    zeros = sp.csr_array(X)
    zeros.data[zeros.indices == 4] = 0
    assert exclusive_groups(halves) == [[0, 3, 4]]
    assert exclusive_groups(zeros) == [[0, 3]]


def test_constant_columns_are_in_no_group():
    X = np.hstack([letters(), np.ones((600, 1)), np.zeros((600, 1))])
    assert exclusive_groups(X) == [[0, 3, 4]]


def test_few_rows_prove_nothing():
    assert exclusive_groups(letters(20)) == []
    assert exclusive_groups([[1, 0]]) == []


def test_gaps_count_nowhere():
    """Columns that are never observed together are not taken to exclude each other."""
    rng = np.random.default_rng(0)
    X = rng.integers(2, size=(400, 2)).astype(float)
    X[:200, 0] = X[200:, 1] = np.nan
    assert exclusive_groups(X) == []
    X = letters().astype(float)
    X[rng.random(X.shape) < 0.1] = np.nan
    assert exclusive_groups(X) == [[0, 3, 4]]
    assert exclusive_groups(pd.DataFrame(X).astype("Int64")) == [[0, 3, 4]]


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_blocks_change_nothing(monkeypatch, form):
    rng = np.random.default_rng(0)
    X = np.hstack([np.eye(5)[rng.integers(5, size=900)] for _ in range(4)])
    expected = [list(range(start, start + 5)) for start in range(0, 20, 5)]
    assert exclusive_groups(form(X)) == expected
    monkeypatch.setattr(_groups, "N_ROWS", 7)
    monkeypatch.setattr(_groups, "N_COUNTS", 61)
    assert exclusive_groups(form(X)) == expected


def test_independent_columns_are_kept_apart():
    """Of 100 sets of independent columns, none has a group, also of rare columns."""
    rng = np.random.default_rng(0)
    rates = np.geomspace(0.01, 0.5, 30)
    for _ in range(100):
        assert exclusive_groups(rng.random((500, 30)) < rates) == []


@pytest.mark.parametrize("max_chance", [0, 1, -1, 2.0])
def test_refused_chances(max_chance):
    with pytest.raises(ValueError, match="max_chance =="):
        exclusive_groups(letters(), max_chance=max_chance)


def test_refused_rows():
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        exclusive_groups([0, 1])
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        exclusive_groups(pd.DataFrame({"a": [], "b": []}))
