"""Groups of columns of bits that exclude each other."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_scalar

from skrbm import _frames, _inputs
from skrbm._typing import MatrixLike

# N_ROWS: so many rows are counted at a time, which is exact in float32. N_COUNTS: bound on
# the number of counts in memory at a time.
N_ROWS = 1 << 12
N_COUNTS = 1 << 22
# If a smaller share of the cells is on, products of sparse arrays are faster.
SPARSE = 0.1


def exclusive_groups(X: MatrixLike, *, max_chance: float = 1e-6) -> list[list[Any]]:
    """Find groups of columns of bits with at most one bit on in each row.

    Such columns are often the categories of one variable. Use this function if your table
    may have one-hot columns, but you do not know which. Pass the result as `groups` to
    :class:`skrbm.MixedRBMEstimator`.

    Parameters
    ----------
    X : data frame, array-like or sparse array of shape (n_samples, n_features)
        Rows. Columns with values other than 0 and 1, or False and True, are in no group.
        Missing values are allowed in dense arrays and data frames. Each pair of columns is
        judged by the rows that have values in both.

    max_chance : float, default=1e-6
        Bound on the chance of finding any group if all columns are independent. Increase it
        to find groups of columns that are rarely on. Decrease it if groups seem to be
        accidental.

    Returns
    -------
    groups : list of lists
        The columns of each group: their labels if `X` is a data frame, and their indices
        otherwise. Columns and groups are in the order of the columns of `X`.

    Notes
    -----
    Two columns are taken to exclude each other if they are never on together, and if this
    would be unlikely for independent columns that are on as often. If independent columns
    are expected to be on together in m rows, they are never on together with a probability
    of about exp(-m). With 100 columns and the default `max_chance`, m must be more than 22.

    The groups are disjoint. Each group grows from its most frequent column. As long as
    there are columns that exclude all columns of the group, the most frequent of them is
    added.

    Examples
    --------
    >>> import numpy as np
    >>> from skrbm import exclusive_groups
    >>> rng = np.random.default_rng(0)
    >>> letters = rng.integers(3, size=1000)
    >>> X = np.eye(3)[letters]
    >>> exclusive_groups(np.hstack([X, rng.integers(2, size=(1000, 2))]))
    [[0, 1, 2]]
    """
    check_scalar(
        max_chance, "max_chance", Real, min_val=0, max_val=1, include_boundaries="neither"
    )
    source = _inputs.stand_in("exclusive_groups")
    X = _inputs.check_table(X, source, reset=True)
    if sp.issparse(X):
        on, places = _sparse_bits(X)
        observed = None
    else:
        columns = enumerate(_frames.read_columns(X, "Column {} of X".format))
        bits = {place: cells for place, column in columns if (cells := _bits(column))}
        places = list(bits)
        on, observed = stacked(bits.values(), X.shape[0])
    groups = find(on, observed, max_chance)
    labels = range(X.shape[1]) if _frames.container_of(X) == "array" else list(X.columns)
    return [[labels[places[column]] for column in group] for group in groups]


def _bits(column):
    """Return the bits of a column and its gaps, or None if it has other values."""
    values = column.values
    if values.dtype.kind == "O" or not np.isin(column.observed(), (0, 1)).all():
        return None
    cells = values if column.codes is None else values[column.codes]
    return cells == 1, column.gaps


def _sparse_bits(X):
    """Return the columns of a CSR array that hold bits only, and their indices."""
    X = sp.csc_array(X)
    X.sum_duplicates()
    others = np.repeat(np.arange(X.shape[1]), np.diff(X.indptr))[~np.isin(X.data, (0, 1))]
    places = np.setdiff1d(np.arange(X.shape[1]), others)
    return (X[:, places] == 1).tocsc(), places


def stacked(bits, n_rows):
    """Return which cells of columns of bits are on, and which are observed.

    What is observed is None if all cells are. `bits` is a collection of pairs: the
    values of a column, and its gaps or None.
    """
    on = np.zeros((n_rows, len(bits)), dtype=bool)
    observed = np.ones((n_rows, len(bits)), dtype=bool)
    for place, (values, gaps) in enumerate(bits):
        on[:, place] = values
        if gaps is not None:
            observed[:, place] = ~gaps
            on[gaps, place] = False
    return on, None if observed.all() else observed


def find(on, observed=None, max_chance=1e-6):
    """Return the groups as lists of indices of columns, see `exclusive_groups`.

    `on` and `observed` are dense or CSC arrays of booleans. `observed` is None if all cells
    are observed.
    """
    n_pairs = max(1, on.shape[1] * (on.shape[1] - 1) / 2)
    min_expected = np.log(n_pairs / max_chance)
    n_on = on.sum(axis=0, dtype=np.int64)
    # Bound on the number of rows in which a column and any other are expected to be on.
    bound = n_on * (n_on.max(initial=0) / on.shape[0] if observed is None else 1)
    order = np.argsort(-n_on, kind="stable")
    order = order[bound[order] > min_expected]
    on, observed = on[:, order], None if observed is None else observed[:, order]
    if observed is None and n_on[order].sum() < SPARSE * on.shape[0] * len(order):
        on = sp.csc_array(on)
    partners = _partners(on, observed, min_expected)
    free = np.ones(len(order), dtype=bool)
    groups = []
    for first, candidates in enumerate(partners):
        group = [first] if free[first] else []
        candidates = candidates[free[candidates]]
        while group and len(candidates):
            group.append(candidates[0])
            candidates = np.intersect1d(candidates, partners[group[-1]], True)
        if len(group) > 1:
            free[group] = False
            groups.append(sorted(order[group].tolist()))
    return sorted(groups)


def _partners(on, observed, min_expected):
    """Return, for each column, the columns that exclude it."""
    n_rows, n_columns = on.shape
    n_on = on.sum(axis=0, dtype=np.float64)
    partners: list[np.ndarray] = []
    size = max(1, N_COUNTS // max(1, n_columns))
    for start in range(0, n_columns, size):
        block = slice(start, start + size)
        if observed is None:
            expected = n_on[block, None] * (n_on / n_rows)
        else:  # count in the rows where both are observed
            expected = _joint(on[:, block], observed) * _joint(observed[:, block], on)
            expected /= np.maximum(_joint(observed[:, block], observed), 1)
        excludes = (_joint(on[:, block], on) == 0) & (expected > min_expected)
        partners.extend(np.flatnonzero(row) for row in excludes)
    return partners


def _joint(left, right):
    """Return in how many rows a column of `left` and one of `right` are both true."""
    if sp.issparse(left):
        return (left.T.astype(np.int64) @ right.astype(np.int64)).toarray()
    total = np.zeros((left.shape[1], right.shape[1]))
    for start in range(0, len(left), N_ROWS):
        rows = slice(start, start + N_ROWS)
        total += left[rows].T.astype(np.float32) @ right[rows].astype(np.float32)
    return total
