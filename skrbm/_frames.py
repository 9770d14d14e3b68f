"""Columns of data frames and arrays as arrays of values, and frames made of these.

pandas and polars are only imported if there is a frame of theirs. Their dtypes are
described by dicts of strings, booleans and arrays, so that they can be stored without them.
"""

import collections
import dataclasses
import itertools
import sys
from numbers import Real

import numpy as np
import scipy.sparse as sp

from skrbm._compat.sklearn import _get_mask, is_pandas_na

# Columns that are copied at a time from an array, whose rows are contiguous as a rule.
N_COLUMNS = 64


@dataclasses.dataclass(eq=False)
class Column:
    """Values of a column: numbers, booleans or strings.

    Attributes
    ----------
    values : ndarray
        The value of each cell or, if there are codes, the distinct values.
    codes : ndarray of int or None
        For each cell the place of its value in `values`, or -1 where it is missing.
    gaps : ndarray of bool or None
        Which cells are missing. None if none is.
    dtype : dict
        The dtype that it had.
    declared : bool
        Whether `values` are the categories of the dtype. Some of them may not occur.
    ordered : bool
        Whether these are ordered.
    """

    values: np.ndarray
    codes: np.ndarray | None
    gaps: np.ndarray | None
    dtype: dict
    declared: bool = False
    ordered: bool = False

    def select(self, rows) -> "Column":
        """Return the column of some rows, given which these are."""
        gaps = None if self.gaps is None or not self.gaps[rows].any() else self.gaps[rows]
        if self.codes is None:
            return dataclasses.replace(self, values=self.values[rows], gaps=gaps)
        values, codes = self.values, self.codes[rows]
        if not self.declared:  # those of other rows are not among the values
            seen = np.isin(np.arange(len(values)), codes)
            values = values[seen]
            codes = np.where(codes < 0, -1, (seen.cumsum() - 1)[codes])
        return dataclasses.replace(self, values=values, codes=codes, gaps=gaps)

    def distinct(self) -> np.ndarray:
        """Return the values of cells: as declared, or else those seen, sorted."""
        if self.declared:
            return self.values
        if self.codes is not None:
            return np.sort(self.values)
        return np.unique(self.observed())

    def observed(self) -> np.ndarray:
        """Return the values of all cells that are not missing."""
        cells = self.values if self.codes is None else self.codes
        cells = cells if self.gaps is None else cells[~self.gaps]
        return cells if self.codes is None else self.values[cells]


def container_of(X) -> str:
    """Return whether `X` is a frame of "pandas", of "polars", or an "array"."""
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        return "pandas"
    polars = hasattr(X, "to_numpy") and isinstance(getattr(X, "dtypes", None), list)
    return "polars" if polars else "array"


def read_columns(X, where):
    """Yield each `Column` of a frame, an ndarray or a CSR array.

    `where` returns what a column is called in errors, given its index.
    """
    container = container_of(X)
    if container == "pandas":
        columns, read = (column for _, column in X.items()), _of_pandas
    elif container == "polars":
        columns, read = iter(X.get_columns()), _of_polars
    else:
        columns, read = _slices(X), _of_array
    for place, column in enumerate(columns):
        result = read(column, where(place))
        if result.values.dtype.kind == "f" and np.isinf(result.values).any():
            raise ValueError(
                f"{where(place)} contains infinity or a value too large for "
                f"{result.values.dtype!r}."
            )
        yield result


def _slices(X):
    """Yield the columns of an array, contiguous."""
    if sp.issparse(X):
        X = sp.csc_array(X)
        X.sum_duplicates()
        for start, stop in zip(X.indptr[:-1], X.indptr[1:], strict=True):
            column = np.zeros(X.shape[0], X.dtype)
            column[X.indices[start:stop]] = X.data[start:stop]
            yield column
        return
    for start in range(0, X.shape[1], N_COLUMNS):
        yield from np.ascontiguousarray(X[:, start : start + N_COLUMNS].T)


# Reading ------------------------------------------------------------------------------


def _of_array(column, where):
    dtype = {"name": column.dtype.name}
    if column.dtype.kind in "biuf":
        return _numbers(column, None, dtype)
    if column.dtype.kind == "U":
        dtype = {"name": "object"}
    elif column.dtype.kind != "O":
        raise _unsupported(where, f"dtype {column.dtype}")
    return _objects(column.tolist(), dtype, where)


def _of_pandas(column, where):
    dtype = column.dtype
    if _is_dictionary(dtype):  # categories, as Arrow stores them
        column = _decoded(column)
        dtype = column.dtype
    if hasattr(dtype, "categories"):
        values, of = _pandas_labels(dtype.categories, where)
        plain = {"name": "category", "ordered": bool(dtype.ordered), "of": of}
        codes = column.cat.codes.to_numpy()
        return _coded(values, codes, plain, declared=True, ordered=plain["ordered"])
    if hasattr(dtype, "pyarrow_dtype"):
        plain = {"name": str(dtype.pyarrow_dtype), "arrow": True}
    else:
        plain = {"name": _name(dtype)}
    if dtype.type is str:
        codes, values = column.factorize()
        return _coded(np.array(values, dtype=object), codes, plain)
    if dtype.type is np.object_:
        return _objects(column.tolist(), plain, where)
    if dtype.kind not in "biuf":
        raise _unsupported(where, f"dtype {dtype}")
    if isinstance(dtype, np.dtype):
        return _numbers(column.to_numpy(), None, plain)
    numpy_dtype = getattr(dtype, "subtype", None) or dtype.numpy_dtype
    gaps = column.isna().to_numpy()
    numbers = column.to_numpy(dtype=numpy_dtype, na_value=numpy_dtype.type(0))
    return _numbers(numbers, gaps, plain)


def _is_dictionary(dtype):
    return hasattr(getattr(dtype, "pyarrow_dtype", None), "index_type")


def _decoded(column):
    """Return a column of dictionaries of Arrow as one of categories of pandas."""
    return type(column)(column.array.__arrow_array__().to_pandas(), name=column.name)


def _pandas_labels(categories, where):
    """Return the values of an index of categories, intervals as strings, and its dtype."""
    if hasattr(categories, "closed"):
        ends = {"left": categories.left.to_numpy(), "right": categories.right.to_numpy()}
        plain = {"name": "interval", "closed": categories.closed} | ends
        return np.array([str(interval) for interval in categories], dtype=object), plain
    column = _of_pandas(categories.to_series(), f"{where} (its categories)")
    return column.observed(), column.dtype


def _name(dtype):
    """Return the name from which pandas makes the dtype again."""
    name = str(dtype)
    return f"string[{dtype.storage}]" if name == "string" else name


def _of_polars(column, where):
    dtype = column.dtype
    plain = {"name": type(dtype).__name__}
    if plain["name"] == "Enum":
        values = np.array(dtype.categories.to_list(), dtype=object)
        physical = column.to_physical().fill_null(0).to_numpy()
        codes = np.where(column.is_null().to_numpy(), -1, physical.astype(np.intp))
        return _coded(values, codes, plain, declared=True, ordered=True)
    if plain["name"] in ("String", "Categorical", "Object", "Null"):
        return _objects(column.to_list(), plain, where)
    numeric = dtype.is_integer() or dtype.is_float()
    if not numeric and plain["name"] != "Boolean":
        raise _unsupported(where, f"dtype {dtype}")
    filled = column.fill_null(0 if numeric else False).to_numpy()
    return _numbers(filled, column.is_null().to_numpy(), plain)


def _numbers(values, gaps, dtype):
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        gaps = missing if gaps is None else gaps | missing
    return Column(values, None, gaps if gaps is not None and gaps.any() else None, dtype)


def _coded(values, codes, dtype, **declared):
    gaps = codes < 0
    return Column(values, codes, gaps if gaps.any() else None, dtype, **declared)


def _objects(cells, dtype, where):
    """Read a list of objects: numbers, booleans or strings, and None, NaN or NA."""
    try:
        codes_of = {
            value: -1 if _is_missing(value) else 0 for value in dict.fromkeys(cells)
        }
    except (TypeError, ValueError):  # it has no hash, or no truth value
        raise _unsupported(where, "values that are containers") from None
    values = [value for value, code in codes_of.items() if code == 0]
    codes_of.update((value, code) for code, value in enumerate(values))
    codes = np.fromiter(map(codes_of.__getitem__, cells), np.intp, len(cells))
    seen = codes >= 0
    observed = list(itertools.compress(cells, seen))
    families = {_family(cls, where) for cls in set(map(type, observed))}
    if len(families) > 1:
        counts = collections.Counter(_family(type(value), where) for value in observed)
        rarest = min(counts, key=counts.__getitem__)
        example = next(value for value in observed if _family(type(value), where) == rarest)
        raise ValueError(
            f"{where} mixes {' and '.join(sorted(families))}, such as {example!r}. Replace "
            f"{rarest} that stand for missing values by None, or convert all values to one "
            "type."
        )
    if families == {"strings"}:
        return _coded(np.array([str(value) for value in values], object), codes, dtype)
    numbers = np.array(observed)
    if numbers.dtype.kind not in "biuf":  # integers of more than 64 bits
        numbers = numbers.astype(np.float64)
    filled = np.zeros(len(cells), numbers.dtype)
    filled[seen] = numbers
    return _numbers(filled, ~seen, dtype)


def _family(cls, where):
    """Return what values of a type are called, if they are supported."""
    if issubclass(cls, bool | np.bool_):
        return "booleans"
    if issubclass(cls, int | float | np.integer | np.floating):
        return "numbers"
    if issubclass(cls, str):
        return "strings"
    raise _unsupported(where, f"values of type {cls.__name__}")


def _is_missing(value):
    return value is None or is_pandas_na(value) or bool(value != value)


def _unsupported(where, what):
    return ValueError(
        f"{where} has {what}. Columns may hold numbers, booleans or strings, or categories "
        "that are one of these. Convert it, for example dates to numbers of days."
    )


# Missing cells ------------------------------------------------------------------------


def with_gaps(X, mark):
    """Return a frame or an ndarray with missing values where it has a number or a string.

    Columns of integers become floating if they have no missing values otherwise. The mark
    is removed from the categories of a dtype.
    """
    container = container_of(X)
    if container == "pandas":
        marked = [_marked_in_pandas(X.iloc[:, i], mark) for i in range(X.shape[1])]
        X = X.copy(deep=False)
        for place, column in enumerate(marked):
            X.isetitem(place, column)
        return X
    if container == "polars":
        return X.with_columns(
            [_marked_in_polars(column, mark) for column in X.get_columns()]
        )
    if X.dtype.kind in "biuf":
        if not isinstance(mark, Real):
            return X
        X = as_floats(X, copy=True)
        X[_get_mask(X, float(mark))] = np.nan
        return X
    X = X.astype(object)
    X[_get_mask(X, mark)] = np.nan
    return X


def as_floats(X, copy=False):
    """Return an array of numbers in float32, if its dtype is a small one, or in float64."""
    small = X.dtype in (np.bool_, np.uint8, np.float32)
    return X.astype(np.float32 if small else np.float64, copy=copy)


def _marked_in_pandas(column, mark):
    if hasattr(column.dtype, "categories"):
        known = mark in column.cat.categories
        return column.cat.remove_categories([mark]) if known else column
    hits = (column == mark).fillna(False).astype(bool)
    return column.mask(hits) if hits.any() else column


def _marked_in_polars(column, mark):
    import polars

    dtype = column.dtype
    categorical = isinstance(dtype, polars.Enum | polars.Categorical)
    if isinstance(mark, str) != (categorical or dtype == polars.String):
        return column
    if isinstance(dtype, polars.Enum):
        labels = [label for label in dtype.categories.to_list() if label != mark]
        dtype = polars.Enum(labels)
    cells = column.cast(polars.String) if categorical else column
    hits = (cells == mark).fill_null(False)
    nothing = polars.Series([None], dtype=cells.dtype)
    return cells.zip_with(~hits, nothing).cast(dtype).alias(column.name)


def missing_cells(X):
    """Return which cells of a frame or an ndarray are missing: NaN, None or NA."""
    container = container_of(X)
    if container == "pandas":
        return X.isna().to_numpy()
    if container == "polars":
        columns = [
            column.is_null() | (column.is_nan() if column.dtype.is_float() else False)
            for column in X.get_columns()
        ]
        return np.stack([column.to_numpy() for column in columns], axis=1)
    if X.dtype.kind == "O":
        return _get_mask(X, pandas_na())
    return X != X


def pandas_na():
    """Return pandas.NA or, if nothing has imported pandas and so used it, NaN."""
    pandas = sys.modules.get("pandas")
    return np.nan if pandas is None else pandas.NA


# Writing ------------------------------------------------------------------------------


def floating(container, column) -> dict:
    """Return the dtype of a column of real values of the same container.

    It differs from that of the `Column` if that was not a floating one.
    """
    name = column.dtype["name"]
    if column.values.dtype.kind == "f" and name not in ("category", "object", "Object"):
        return column.dtype
    if column.dtype.get("arrow"):
        return {"name": "double", "arrow": True}
    nullable = name.startswith(("Int", "UInt", "boolean"))
    return {"name": "Float64" if nullable or container == "polars" else "float64"}


def levels_of(X) -> list:
    """Return the names of the levels of the columns of a frame of pandas."""
    return list(X.columns.names) if container_of(X) == "pandas" else []


def write_frame(container, labels, levels, columns, index=None):
    """Return a data frame.

    Parameters
    ----------
    container : {"pandas", "polars"}
    labels, levels : list
        Labels of the columns, and the names of their levels as from `levels_of`.
    columns : list of (values, codes, dtype)
        For each column the distinct values, the place of each cell among them or -1 where
        it is missing, and the dtype as in `Column`. Or the values of the cells, with NaN
        where they are missing, and None instead of codes.
    index : Index, default=None
        Index of a frame of pandas.
    """
    if container == "polars":
        import polars

        return polars.DataFrame(
            [
                _polars_series(polars, name, *column)
                for name, column in zip(labels, columns, strict=True)
            ]
        )
    import pandas

    series = [_pandas_series(pandas, *column) for column in columns]
    frame = pandas.DataFrame(dict(enumerate(series)))
    if len(levels) > 1:
        frame.columns = pandas.MultiIndex.from_tuples(labels, names=levels)
    else:
        frame.columns = pandas.Index(labels, name=levels[0], tupleize_cols=False)
    if index is not None:
        frame.index = index
    return frame


def with_complete_columns(filled, X):
    """Return a frame with those columns of another one that have no missing cells.

    They have dtypes, such as integers, that models do not keep. Arrays stay as they are.
    """
    container = container_of(filled)
    if container == "array" or container_of(X) != container:
        return filled
    complete = np.flatnonzero(~missing_cells(X).any(axis=0)).tolist()
    if container == "polars":
        columns = X.get_columns()
        return filled.with_columns([columns[place] for place in complete])
    for place in complete:
        filled.isetitem(place, X.iloc[:, place].set_axis(filled.index))
    return filled


def with_flags(X, flags, names):
    """Return a frame or an ndarray with columns of booleans appended.

    In an array they have its dtype, and no names.
    """
    container = container_of(X)
    if container == "array":
        return np.hstack([X, flags.astype(X.dtype)])
    if container == "polars":
        import polars

        return X.hstack(list(map(polars.Series, names, flags.T)))
    return X.assign(**dict(zip(names, flags.T, strict=True)))


def _pandas_series(pandas, values, codes, dtype):
    if dtype["name"] == "category":
        categories = _pandas_categories(pandas, values, dtype["of"])
        dtype = pandas.CategoricalDtype(categories, dtype["ordered"])
        return pandas.Series(pandas.Categorical.from_codes(codes, dtype=dtype))
    column = pandas.Series(values, dtype=values.dtype).astype(_pandas_dtype(pandas, dtype))
    # A code of -1 becomes a missing value, for which pandas changes the dtype if need be.
    return column if codes is None else column.reindex(codes).reset_index(drop=True)


def _pandas_categories(pandas, values, dtype):
    if dtype["name"] == "interval":
        return pandas.IntervalIndex.from_arrays(
            dtype["left"], dtype["right"], closed=dtype["closed"]
        )
    return pandas.Index(values, dtype=_pandas_dtype(pandas, dtype))


def _pandas_dtype(pandas, dtype):
    if "arrow" in dtype:
        import pyarrow

        return pandas.ArrowDtype(pyarrow.type_for_alias(dtype["name"]))
    return pandas.api.types.pandas_dtype(dtype["name"])


def _polars_series(polars, name, values, codes, dtype):
    made = getattr(polars, dtype["name"])
    if codes is None:
        return polars.Series(name, values).cast(made).fill_nan(None)
    # The code -1 refers to the last one, which is missing.
    values = [*values.tolist(), None]
    if dtype["name"] == "Object":
        return polars.Series(name, [values[code] for code in codes], dtype=made)
    if dtype["name"] == "Enum":
        made = made(values[:-1])
    return polars.Series(name, values).cast(made).gather(codes % len(values))
