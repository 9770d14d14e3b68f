"""Tables as coded rows, and back."""

import datetime
import decimal
import importlib.util
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal as assert_pandas_equal
from polars.testing import assert_frame_equal as assert_polars_equal

from skrbm._tables import Table

nan = np.nan
# The columns of a frame with their types and categories, and the codes of the rows.
SURVEY = {
    "bool": ([True, True, False], "binary", [False, True], [1, 1, 0]),
    "two numbers": ([5, 3, 5], "real", None, [5, 3, 5]),
    "bits": ([0.0, nan, 0.0], "binary", [0, 1], [0, nan, 0]),
    "two words": (["no", None, "yes"], "binary", ["no", "yes"], [0, nan, 1]),
    "one word": (["x", "x", "x"], "categorical", ["x"], [0, 0, 0]),
    "words": (["b", "c", "a"], "categorical", ["a", "b", "c"], [1, 2, 0]),
    "integers": ([4, 2, 9], "real", None, [4, 2, 9]),
    "floats": ([0.5, 1.0, -2.0], "real", None, [0.5, 1, -2]),
    "constant": ([7, 7, 7], "real", None, [7, 7, 7]),
}
PANDAS = {
    "Int64": (pd.array([2, None, 4], dtype="Int64"), "real", None, [2, nan, 4]),
    "boolean": (
        pd.array([True, None, True], dtype="boolean"),
        "binary",
        [False, True],
        [1, nan, 1],
    ),
    "Float32": (pd.array([1, None, 0], dtype="Float32"), "binary", [0, 1], [1, nan, 0]),
    "string": (
        pd.array(["u", None, "v"], dtype="string"),
        "binary",
        ["u", "v"],
        [0, nan, 1],
    ),
    "object": (
        pd.Series(["u", pd.NA, "v"], dtype=object),
        "binary",
        ["u", "v"],
        [0, nan, 1],
    ),
    "object numbers": (
        pd.Series([1, None, 0], dtype=object),
        "binary",
        [0, 1],
        [1, nan, 0],
    ),
    "category": (
        pd.Categorical(["c", None, "a"], ["c", "b", "a"]),
        "categorical",
        ["c", "b", "a"],
        [0, nan, 2],
    ),
    "levels": (
        pd.Categorical(["lo", None, "hi"], ["lo", "mid", "hi"], ordered=True),
        "ordinal",
        ["lo", "mid", "hi"],
        [0, nan, 2],
    ),
    "two levels": (
        pd.Categorical(["lo", "lo", "lo"], ["lo", "hi"], ordered=True),
        "binary",
        ["lo", "hi"],
        [0, 0, 0],
    ),
    "two numbers as categories": (
        pd.Categorical([30, None, 10]),
        "binary",
        [10, 30],
        [1, nan, 0],
    ),
    "numbers as categories": (
        pd.Categorical([30, None, 10], [30, 20, 10]),
        "categorical",
        [30, 20, 10],
        [0, nan, 2],
    ),
    "intervals": (
        pd.cut([0.5, nan, 2.5], [0, 1, 2, 3]),
        "ordinal",
        ["(0, 1]", "(1, 2]", "(2, 3]"],
        [0, nan, 2],
    ),
    "sparse": (pd.arrays.SparseArray([0, 0, 1]), "binary", [0, 1], [0, 0, 1]),
}
POLARS = {
    "Int8": (pl.Series([2, None, 4], dtype=pl.Int8), "real", None, [2, nan, 4]),
    "Boolean": (pl.Series([True, None, True]), "binary", [False, True], [1, nan, 1]),
    "Float32": (
        pl.Series([1, None, 0], dtype=pl.Float32),
        "binary",
        [0, 1],
        [1, nan, 0],
    ),
    "Categorical": (
        pl.Series(["c", None, "a", "b"][:3], dtype=pl.Categorical),
        "binary",
        ["a", "c"],
        [1, nan, 0],
    ),
    "Enum": (
        pl.Series(["lo", None, "hi"], dtype=pl.Enum(["lo", "mid", "hi"])),
        "ordinal",
        ["lo", "mid", "hi"],
        [0, nan, 2],
    ),
}
ARRAYS = {
    "bits": (np.array([0.0, nan, 0.0]), "binary", [0, 1], [0, nan, 0]),
    "booleans": (np.array([True, True, True]), "binary", [False, True], [1, 1, 1]),
    "bytes": (np.array([0, 1, 1], np.uint8), "binary", [0, 1], [0, 1, 1]),
    "two numbers": (np.array([3, 5, 3]), "real", None, [3, 5, 3]),
    "words": (np.array(["b", "c", "a"]), "categorical", ["a", "b", "c"], [1, 2, 0]),
    "objects": (np.array(["b", None, "a"], object), "binary", ["a", "b"], [1, nan, 0]),
    "numbers": (np.array([2, None, 0.5], object), "real", None, [2, nan, 0.5]),
    "truths": (
        np.array([True, nan, pd.NA], object),
        "binary",
        [False, True],
        [1, nan, nan],
    ),
}


def pandas_frame(columns):
    return pd.DataFrame(dict(columns))


def polars_frame(columns):
    return pl.DataFrame([pl.Series(name, values) for name, values in columns.items()])


def array(columns):
    return np.stack(list(columns.values()), axis=1)


CASES = [
    (make, name, case)
    for make, cases in (
        (pandas_frame, SURVEY | PANDAS),
        (polars_frame, SURVEY | POLARS),
        (array, ARRAYS),
    )
    for name, case in cases.items()
]


@pytest.mark.parametrize(
    ("make", "name", "case"),
    CASES,
    ids=[f"{make.__name__}-{name}" for make, name, _ in CASES],
)
def test_inference_and_codes(make, name, case):
    cells, kind, categories, codes = case
    if make is polars_frame and isinstance(cells, list):
        cells = [None if cell is nan else cell for cell in cells]
    X = make({name: cells})
    table = Table.learn(X)
    (field,) = table.fields
    assert field.columns == [0]
    assert field.type == kind
    assert (field.categories is None) == (categories is None)
    if categories is not None:
        assert field.categories.tolist() == categories
    coded = table.read(X)
    assert_array_equal(coded[:, 0], codes)
    if make is array:
        assert table.names is None
        assert table.feature_types == [kind]
    else:
        assert table.names == [name]
        assert table.feature_types == {name: kind}
        assert table.categories == {name: field.categories}
    assert_same(table.write(coded), X)


def assert_same(written, X):
    """They have the same dtypes and values, except that real values are floating."""
    if isinstance(X, pl.DataFrame):
        changed = [
            pl.col(name).cast(dtype)
            for name, dtype in written.schema.items()
            if dtype.is_float()
        ]
        X = X.with_columns(changed).with_columns(pl.selectors.float().fill_nan(None))
        assert written.schema == X.schema
        words = pl.col(pl.Categorical).cast(pl.String)
        assert_polars_equal(written.with_columns(words), X.with_columns(words))
    elif isinstance(X, pd.DataFrame):
        X = X.copy()
        for name, dtype in written.dtypes.items():
            if dtype.kind == "f" and X[name].dtype.kind in "iu":
                assert str(dtype) in ("float64", "Float64", "double[pyarrow]")
                X = X.astype({name: dtype})
        for name in X:
            if X[name].dtype == object:  # all missing values are written as NaN
                X[name] = [nan if pd.isna(cell) else cell for cell in X[name]]
                X[name] = X[name].astype(object)
        assert_pandas_equal(written, X)
    else:
        X = X.astype(object) if X.dtype.kind == "U" else X
        if written.dtype.kind == "f" and X.dtype.kind in "iu":
            X = X.astype(written.dtype)
        assert written.dtype == X.dtype
        gaps = pd.isna(X)
        assert_array_equal(pd.isna(written), gaps)
        assert_array_equal(written[~gaps], X[~gaps])


# All tables ---------------------------------------------------------------------------

words = st.sampled_from(["a", "b", "ab", "", "ä", "1", "True"])
numbers = st.integers(-3, 3) | st.floats(-1e6, 1e6)
COLUMNS = {
    "pandas": {
        "bool": st.booleans(),
        "int64": st.integers(-(2**50), 2**50),
        "uint8": st.integers(0, 255),
        "float64": numbers,
        "float32": st.floats(-9, 9, width=32),
        "object": words,
        "str": words,
        "string[python]": words,
        "string[pyarrow]": words,
        "Int64": st.integers(-(2**50), 2**50),
        "UInt8": st.integers(0, 2),
        "boolean": st.booleans(),
        "Float64": numbers,
        "int64[pyarrow]": st.integers(-4, 4),
        "bool[pyarrow]": st.booleans(),
        "double[pyarrow]": numbers,
        "category": words,
        "ordered": words,
        "ordered numbers": st.integers(-3, 3),
    },
    "polars": {
        "Boolean": st.booleans(),
        "Int64": st.integers(-(2**50), 2**50),
        "UInt8": st.integers(0, 255),
        "Float32": st.floats(-9, 9, width=32),
        "Float64": numbers,
        "String": words,
        "Categorical": words,
        "Enum": words,
    },
}
if importlib.util.find_spec("pyarrow") is None:
    for kind in [kind for kind in COLUMNS["pandas"] if "pyarrow" in kind]:
        del COLUMNS["pandas"][kind]
# Those that cannot hold missing values.
FULL = "bool", "int64", "uint8"


@st.composite
def frames(draw):
    kind = draw(st.sampled_from(["pandas", "polars"]))
    n_rows = draw(st.integers(1, 8))
    columns = []
    for _ in range(draw(st.integers(1, 5))):
        dtype = draw(st.sampled_from(list(COLUMNS[kind])))
        values = COLUMNS[kind][dtype]
        cells = [draw(values)]
        gap = st.nothing() if dtype in FULL else st.none()
        cells += draw(st.lists(values | gap, min_size=n_rows - 1, max_size=n_rows - 1))
        columns.append(series(kind, cells, dtype, draw(st.permutations(WORDS))))
    names = [f"column {place}" for place in range(len(columns))]
    if kind == "polars":
        return pl.DataFrame([s.alias(name) for name, s in zip(names, columns, strict=True)])
    return pd.DataFrame(dict(zip(names, columns, strict=True)))


WORDS = ["a", "b", "ab", "", "ä", "1", "True", "unused"]


def series(kind, cells, dtype, categories):
    if kind == "polars":
        enum = dtype == "Enum"
        return pl.Series(cells, dtype=pl.Enum(categories) if enum else getattr(pl, dtype))
    if dtype == "ordered":
        dtype = pd.CategoricalDtype(categories, ordered=True)
    if dtype == "ordered numbers":
        dtype = pd.CategoricalDtype([2, 1, 3, -3, -2, 0, -1], ordered=True)
    return pd.Series(cells, dtype=dtype)


profile = settings(deadline=None, max_examples=150, derandomize=True)


@profile
@given(frames())
def test_round_trip_of_frames(X):
    table = Table.learn(X)
    coded = table.read(X)
    assert_same(table.write(coded), X)
    assert_same(table.write(coded.astype(np.float64)), X)
    assert_same(Table.from_plain(table.to_plain()).write(coded), X)


ENTRIES = [
    (np.float64, numbers | st.just(nan)),
    (np.float32, st.floats(-9, 9, width=32) | st.just(nan)),
    (np.int64, st.integers(-9, 9)),
    (np.int64, st.integers(0, 1)),
    (np.uint8, st.integers(0, 1)),
    (np.bool_, st.booleans()),
    (np.str_, words),
    (object, words | st.none()),
    (object, st.booleans() | st.none()),
    (object, numbers | st.none()),
]


@st.composite
def arrays(draw):
    dtype, values = draw(st.sampled_from(ENTRIES))
    shape = draw(st.integers(1, 8)), draw(st.integers(1, 5))
    size = shape[0] * shape[1]
    cells = draw(st.lists(values, min_size=size, max_size=size))
    X = np.array(cells, dtype=dtype).reshape(shape)
    columns = (~pd.isna(X)).any(axis=0)
    return X[:, columns] if columns.any() else np.ones((1, 1))


@profile
@given(arrays())
def test_round_trip_of_arrays(X):
    table = Table.learn(X)
    assert_same(table.write(table.read(X)), X)


def test_a_table_is_pickled_and_plain():
    X = pandas_frame({name: case[0] for name, case in (SURVEY | PANDAS).items()})
    table = Table.learn(X, groups=[["bool", "sparse"]])
    again = Table.from_plain(pickle.loads(pickle.dumps(table.to_plain())))
    assert_array_equal(again.read(X), table.read(X))
    assert_same(again.write(again.read(X)), table.write(table.read(X)))
    assert_array_equal(pickle.loads(pickle.dumps(table)).read(X), table.read(X))
    kinds = set()

    def walk(thing):
        kinds.add(type(thing))
        if isinstance(thing, dict):
            thing = [*thing, *thing.values()]
        if isinstance(thing, np.ndarray) and thing.dtype == object:
            thing = thing.tolist()
        if isinstance(thing, list | tuple):
            for part in thing:
                walk(part)

    walk(table.to_plain())
    assert kinds <= {dict, list, tuple, np.ndarray, str, bool, int, float, type(None)}


# Declared types -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "kind", "categories", "codes"),
    [
        ([0, 1, 0], "real", None, [0, 1, 0]),
        ([True, False, True], "real", None, [1, 0, 1]),
        ([5, 1, 3], "ordinal", [1, 3, 5], [2, 0, 1]),
        ([5, 1, 5], "categorical", [1, 5], [1, 0, 1]),
        ([0, 0, 0], "categorical", [0], [0, 0, 0]),
        ([0.5, -1.0, 0.25], "categorical", [-1, 0.25, 0.5], [2, 0, 1]),
        ([False, True, False], "ordinal", [False, True], [0, 1, 0]),
        (["b", "a", "b"], "binary", ["a", "b"], [1, 0, 1]),
        ([2, 7, 2], "binary", [2, 7], [0, 1, 0]),
    ],
)
@pytest.mark.parametrize("make", [pandas_frame, polars_frame, array])
def test_declared_types(make, cells, kind, categories, codes):
    X = make({"a": np.array([0.5, 0.25, 0.75], object), "b": np.array(cells, object)})
    if make is polars_frame:  # makes no numbers of objects
        X = pl.DataFrame({"a": [0.5, 0.25, 0.75], "b": cells})
    named = {1: kind} if make is array else {"b": kind}
    for feature_types in (named, ["real", kind], np.array(["infer", kind])):
        table = Table.learn(X, feature_types=feature_types)
        field = table.fields[1]
        assert field.type == kind
        assert (categories is None) == (field.categories is None)
        if categories is not None:
            assert field.categories.tolist() == categories
        assert_array_equal(table.read(X)[:, 1], codes)


@pytest.mark.parametrize(
    "labels", [[2, 0, 1], [("a", 1), ("a", 2), ("b", 1)], [1.5, 0, 2], [True, 1.5, 0]]
)
def test_columns_of_frames_are_referred_to_by_their_labels(labels):
    X = pd.DataFrame([[0, 1, 5], [1, 0, 6], [1, 0, 7], [0, 1, 9]])
    X.columns = pd.Index(labels, dtype=object, tupleize_cols=False)
    options = {"feature_types": {labels[2]: "ordinal"}, "groups": [[labels[1], labels[0]]]}
    table = Table.learn(X, **options)
    assert table.feature_types == ["binary", "binary", "ordinal"]
    assert table.fields[0].categories.tolist() == [labels[1], labels[0]]
    coded = table.read(X)
    assert_array_equal(coded, [[0, 0], [1, 1], [1, 2], [0, 3]])
    assert_array_equal(table.read(X.to_numpy()), coded)
    with pytest.raises(ValueError, match="at most one may be on in the group of") as caught:
        table.read(X.replace(0, 1))
    assert f"{labels[1]!r}, {labels[0]!r}" in str(caught.value)
    for other in (X.iloc[:, [1, 0, 2]], X.set_axis([*labels[:2], 3], axis=1)):
        with pytest.raises(
            ValueError, match=r"feature names of X_new should match .* in the same order"
        ):
            table.read(other, "X_new")
    with pytest.raises(ValueError, match="names of X should match"):
        table.read(X.set_axis(list("abc"), axis=1))


def test_references_to_no_column():
    X = np.array([[1, 2], [3, 4]])
    frame = pd.DataFrame(X)
    for table, column, known in [
        (X, 2, "indices of columns of X, below 2"),
        (X, -1, "indices of columns of X, below 2"),
        (X, "0", "indices of columns of X, below 2"),
        (X, True, "indices of columns of X, below 2"),
        (frame, True, "labels of columns of X"),
        (frame, 2, "labels of columns of X"),
        (frame.set_axis(["a", "b"], axis=1), 1, "names of columns of X"),
    ]:
        with pytest.raises(ValueError, match=f"must refer to {known}, but has {column!r}"):
            Table.learn(table, feature_types={column: "real"})
    with pytest.raises(ValueError, match=r"groups must refer to .*, but has \{0: 1\}"):
        Table.learn(X % 2, groups=[[0, {0: 1}]])


def test_real_columns_of_categories_of_numbers():
    X = pd.DataFrame({"a": pd.Categorical([10, None, 30, 20], [30, 20, 10])})
    table = Table.learn(X, feature_types=["real"])
    assert_array_equal(table.read(X), [[10], [nan], [30], [20]])
    assert_pandas_equal(table.write(table.read(X)), X.astype("float64"))


@pytest.mark.parametrize("words", [["v", "u", None, "w"], [4, 3, None, 7]])
@pytest.mark.parametrize("ordered", [False, True])
def test_dictionaries_of_arrow_are_categories(words, ordered):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    cells = pyarrow.array(words).dictionary_encode()
    kind = pyarrow.dictionary(pyarrow.int32(), cells.type.value_type, ordered)
    cells = pyarrow.DictionaryArray.from_arrays(
        cells.indices, cells.dictionary, ordered=ordered
    )
    assert cells.type == kind
    X = pd.DataFrame({"a": pd.array(cells, dtype=pd.ArrowDtype(kind))}, index=list("efgh"))
    table = Table.learn(X)
    assert table.feature_types == {"a": "ordinal" if ordered else "categorical"}
    assert_array_equal(table.read(X), [[0], [1], [nan], [2]])
    values = [word for word in words if word is not None]
    expected = pd.Categorical(words, values, ordered=ordered)
    written = table.write(table.read(X), X.index)
    assert_pandas_equal(written, pd.DataFrame({"a": expected}, index=list("efgh")))
    assert_array_equal(table.read(written), table.read(X))


def test_an_ordered_dtype_declares_levels_that_do_not_occur():
    levels = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
    table = Table.learn(pd.DataFrame({"a": ["low", "high", None]}, dtype=levels))
    assert_array_equal(table.read(pd.DataFrame({"a": ["mid", "high"]})), [[1], [2]])


# Rows of other kinds than in training -------------------------------------------------


def test_values_count_and_not_the_dtypes_that_hold_them():
    X = pd.DataFrame({"a": ["u", "v", "w"], "b": [0, 1, 1], "c": [0.5, 1, 2]})
    table = Table.learn(X)
    expected = table.read(X)
    others = pd.CategoricalDtype(["w", "unknown, but unused", "v", "u"])
    forms = [
        X.astype({"a": others, "b": "boolean", "c": "Float32"}),
        X.astype({"a": "object", "b": "float32", "c": "object"}),
        X.astype({"a": "string", "b": pd.CategoricalDtype([1, 0]), "c": "category"}),
        X.set_index([["x", "y", "z"]]),
        pl.DataFrame(X.to_dict("list")),
        pl.DataFrame(X.to_dict("list")).with_columns(pl.col("a").cast(pl.Categorical)),
    ]
    for form in forms:
        assert_array_equal(table.read(form), expected)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but Table"):
        assert_array_equal(table.read(X.to_numpy()), expected)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        assert_array_equal(table.read(X.to_numpy().tolist()), expected)


def test_float32_categories_are_found_in_float64():
    X = np.array([[0.1], [0.2], [0.3]], dtype=np.float32)
    table = Table.learn(X, feature_types=["categorical"])
    assert_array_equal(table.read(np.array([[0.3], [0.1]])), [[2], [0]])


def test_a_column_without_values_is_read():
    X = pd.DataFrame({"a": ["u", "v", "w"], "b": [0.5, 1, 2]})
    table = Table.learn(X)
    for empty in (None, nan, pd.NA):
        rows = pd.DataFrame({"a": [empty], "b": [empty]}, dtype=object)
        assert_array_equal(table.read(rows), [[nan, nan]])
    assert_array_equal(table.read(pl.DataFrame({"a": [None], "b": [None]})), [[nan, nan]])


def test_lists_keep_their_types():
    X = [[1.5, "u", True], [2.5, "v", False], [None, "w", True]]
    table = Table.learn(X)
    assert table.feature_types == ["real", "categorical", "binary"]
    assert_array_equal(table.read(X), [[1.5, 0, 1], [2.5, 1, 0], [nan, 2, 1]])


@pytest.mark.parametrize("index", [pd.RangeIndex(2), pd.Index(["x", "y"], name="row")])
def test_index(index):
    X = pd.DataFrame({"a": ["u", "v"], "b": [0.5, 2.5]})
    table = Table.learn(X)
    assert_pandas_equal(table.write(table.read(X), index), X.set_axis(index, axis=0))


@pytest.mark.parametrize("labels", [[3, 5], [("a", 1), ("a", 2)], [1.5, 2.5]])
def test_labels_that_are_no_strings(labels):
    X = pd.DataFrame([[0, "u"], [1, "v"]])
    X.columns = labels
    table = Table.learn(X)
    assert table.names is None
    assert table.feature_types == ["binary", "binary"]
    assert_pandas_equal(table.write(table.read(X)), X)


@pytest.mark.parametrize(
    "columns",
    [
        pd.Index(["x", "y"], name="variable"),
        pd.Index([3, 5], name="item"),
        pd.MultiIndex.from_tuples([("a", 1), ("a", 2)], names=["wave", "question"]),
        pd.MultiIndex.from_tuples([("a", "b"), ("c", "d")]),
    ],
)
def test_the_index_of_columns_is_kept(columns):
    X = pd.DataFrame([[0, "u"], [1, "v"]]).infer_objects()
    X.columns = columns
    kind = {columns[0]: "categorical"}
    table = Table.learn(X, feature_types=kind)
    for each in (table, Table.from_plain(table.to_plain())):
        assert_pandas_equal(each.write(each.read(X)), X)
    assert table.fields[0].type == "categorical"


# Dtypes -------------------------------------------------------------------------------


def test_dtypes_of_coded_rows():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": list("uvw") * 100, "b": rng.integers(2, size=300)})
    X["many"] = pd.Categorical(np.arange(300) % 256)
    assert Table.learn(X).read(X).dtype == np.uint8
    X["float32"] = rng.random(300, dtype=np.float32)
    assert Table.learn(X).read(X).dtype == np.float32
    X["float64"] = rng.random(300)
    assert Table.learn(X).read(X).dtype == np.float64
    X = X[["a", "b"]]
    table = Table.learn(X)
    assert table.read(X.mask(rng.random(X.shape) < 0.1)).dtype == np.float32
    assert table.read(X).dtype == np.uint8
    X = X.assign(more=pd.Categorical(np.arange(300)))
    coded = Table.learn(X).read(X)
    assert coded.dtype == np.float32
    assert_array_equal(coded[:, 2], np.arange(300))
    for dtype, expected in [
        ("int8", "float32"),
        ("int64", "float64"),
        ("float16", "float32"),
    ]:
        real = pd.DataFrame({"a": np.arange(5, dtype=dtype)})
        assert Table.learn(real).read(real).dtype == expected


def test_missing_values_where_the_dtype_has_none():
    """They are written as pandas would convert."""
    X = pd.DataFrame({"bool": [True, False], "int64": [0, 1], "UInt8": [0, 1]})
    X = X.astype({"UInt8": "UInt8"})
    written = Table.learn(X).write(np.array([[nan, nan, nan], [1, 1, 1]]))
    expected = {
        "bool": pd.Series([nan, True], dtype=object),
        "int64": [nan, 1],
        "UInt8": pd.array([None, 1], dtype="UInt8"),
    }
    assert_pandas_equal(written, pd.DataFrame(expected))
    X = np.array([[0, 1], [1, 0]], dtype=np.uint8)
    written = Table.learn(X).write(np.array([[nan, 1], [1, 0]]))
    assert written.dtype == np.float32
    assert_array_equal(written, [[nan, 1], [1, 0]])


def test_sampled_real_values_of_integer_columns():
    for X in (
        pd.DataFrame({"a": [1, 5, 9]}),
        pl.DataFrame({"a": [1, 5, 9]}),
        np.array([[1], [5], [9]]),
    ):
        written = Table.learn(X).write(np.array([[1.25], [-3.5]]))
        assert np.asarray(written).dtype == np.float64
        assert_array_equal(np.asarray(written), [[1.25], [-3.5]])


# Groups -------------------------------------------------------------------------------

BITS = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 0]], dtype=np.uint8)


@pytest.mark.parametrize(
    "form",
    [np.asarray, sp.csr_array, sp.csc_matrix, pd.DataFrame, lambda X: X.astype(bool)],
)
def test_a_group_is_one_field(form):
    X = form(BITS)
    table = Table.learn(X, groups=[[2, 0]])
    group, *others = table.fields
    assert group.columns == [2, 0]
    assert group.type == "categorical"
    assert group.categories.tolist() == [2, 0]
    assert [field.columns for field in others] == [[1], [3]]
    coded = table.read(X)
    assert coded.dtype == np.uint8
    assert_array_equal(coded, [[1, 0, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert_array_equal(np.asarray(table.write(coded)), BITS)


def test_all_columns_of_a_group_may_be_off():
    X = pd.DataFrame(BITS, columns=list("abcd"))
    table = Table.learn(X, groups=[["a", "b"]])
    assert table.fields[0].categories.tolist() == ["a", "b", None]
    assert_array_equal(table.read(X)[:, 0], [0, 1, 2, 0])
    assert_pandas_equal(table.write(table.read(X)), X)
    assert table.feature_types == dict.fromkeys("abcd", "binary")


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        ([1, nan, 0], 0),
        ([nan, 1, nan], 1),
        ([nan, 0, 0], 0),  # one of them is always on
        ([nan, nan, nan], nan),
    ],
)
def test_gaps_in_a_group(cells, code):
    table = Table.learn(np.eye(3), groups=[[0, 1, 2]])
    coded = table.read(np.array([cells, [0, 0, 1]]))
    assert_array_equal(coded, [[code], [2]])
    written = table.write(coded)
    expected = [nan] * 3 if np.isnan(code) else np.eye(3)[code]
    assert_array_equal(written, [expected, [0, 0, 1]])


def test_gaps_in_a_group_that_may_be_off():
    X = np.array([[1, 0], [0, 1], [0, 0], [nan, nan], [1, nan], [nan, 0]])
    table = Table.learn(X[:5], groups=[[0, 1]])
    assert table.fields[0].categories.tolist() == [0, 1, None]
    assert_array_equal(table.read(X[:5])[:, 0], [0, 1, 2, nan, 0])
    always = Table.learn(X[[0, 1, 5]], groups=[[0, 1]])  # no row shows that both may be off
    assert always.fields[0].categories.tolist() == [0, 1]
    assert_array_equal(always.read(X[[1, 5]])[:, 0], [1, 0])


@pytest.mark.parametrize("impossible", ["error", "mark"])
def test_a_group_that_is_known_in_part_is_refused(impossible):
    """What is known of it would have to be part of the model of the gaps."""
    X = pd.DataFrame(np.eye(3), columns=list("abc"))
    table = Table.learn(X, groups=[list("abc")])
    rows = pd.DataFrame([[1, nan, 0], [nan, 0, nan]], columns=list("abc"))
    assert table.read(rows[:1], impossible="error")[0, 0] == 0
    with pytest.raises(
        ValueError,
        match=r"Row 1 of X_new has missing values of 'a', 'c', so that it is not known "
        r"which column is on in the group of 'a', 'b', 'c'\. Set all columns of the group "
        "to missing, or none, or leave these columns out of the groups",
    ):
        table.read(rows, "X_new", impossible=impossible)
    may_be_off = Table.learn(X, groups=[["a", "b"]])
    with pytest.raises(ValueError, match="Row 0 of X has missing values of 'b', so that"):
        may_be_off.read(X.assign(a=0, b=nan), impossible=impossible)


def test_automatic_groups():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(np.eye(3, dtype=bool)[rng.integers(3, size=900)], columns=list("abc"))
    X.insert(1, "word", rng.choice(["u", "v", "w"], size=900))
    X.insert(2, "free", rng.integers(2, size=900))
    table = Table.learn(X, groups="auto")
    assert [field.columns for field in table.fields] == [[0, 3, 4], [1], [2]]
    assert_pandas_equal(table.write(table.read(X)), X)
    assert Table.learn(X, groups=None).groups == []
    as_words = Table.learn(X, groups="auto", feature_types={"b": "categorical"})
    assert [field.columns for field in as_words.fields] == [[0, 4], [1], [2], [3]]


def test_impossible_rows():
    table = Table.learn(pd.DataFrame(np.eye(3), columns=list("abc")), groups=[list("ab")])
    always = Table.learn(np.eye(3), groups=[[0, 1, 2]])
    rows = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    with pytest.raises(
        ValueError,
        match=r"Row 1 of X_test has the columns 'a', 'b' on, although at most one may be "
        r"on in the group of 'a', 'b'\. Correct the row",
    ):
        table.read(pd.DataFrame(rows, columns=list("abc")), "X_test")
    with pytest.raises(
        ValueError,
        match=r"Row 1 of X has none of the columns 0, 1, 2 on, although one of them was on",
    ):
        always.read(rows[[0, 2]])
    coded, marked = always.read(rows, impossible="mark")
    assert_array_equal(marked, [False, True, True])
    assert coded[0, 0] == 0
    coded, marked = table.read(pd.DataFrame(rows, columns=list("abc")), impossible="mark")
    assert_array_equal(marked, [False, True, False])
    assert_array_equal(coded[[0, 2]], [[0, 0], [2, 0]])
    _, marked = always.read(np.array([[nan, 0, 0], [1, nan, 1]]), impossible="mark")
    assert_array_equal(marked, [False, True])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("all", "groups must be None, \"auto\" or a list of lists, but got 'all'"),
        ([["a", "x"]], "groups must refer to names of columns of X, but has 'x'"),
        ([["a"]], "A group must have at least two columns, but one has 'a'"),
        ([["a", "b"], ["b", "c"]], "Column 'b' of X is in more than one group"),
        ([["a", "a"]], "Column 'a' of X is in more than one group, or twice"),
        ([["a", "d"]], "Column 'd' of X, in the group of 'a', 'd', is not binary with"),
        ([["b", "c"]], "Row 1 of X has the columns 'b', 'c' on"),
    ],
)
def test_refused_groups(groups, message):
    X = pd.DataFrame(BITS, columns=list("abcd")).assign(d=[2, 3, 2, 3])
    with pytest.raises(ValueError, match=message):
        Table.learn(X, groups=groups).read(X)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, lambda X: X.to_numpy()])
def test_ignored_rows(make):
    """The table is that of the other rows, and what these do not know are gaps."""
    columns = {
        "word": ["b", "new", None, "a", "b", "new"],
        "kind": ["u", "w", "u", "v", None, "u"],
        "flag": [0, 1, 0, 1, None, 7],
        "number": [0.5, None, -1, 2, 3, 4],
        "g": [1, 1, 0, 0, None, 1],
        "h": [0, 1, 1, 1, None, None],
    }
    X = pd.DataFrame({name: list(cells) for name, cells in columns.items()}, dtype=object)
    counted = np.array([True, False, True, True, True, False])
    parts = X, X[counted].reset_index(drop=True)
    if make is pl.DataFrame:  # which needs pyarrow for frames of pandas
        parts = tuple(part.to_dict("list") for part in parts)
    X, rest = map(make, parts)
    groups = [[4, 5]] if isinstance(X, np.ndarray) else [["g", "h"]]
    table, expected = (
        Table.learn(X, groups=groups, ignored=~counted),
        Table.learn(rest, groups=groups),
    )
    if make is not pl.DataFrame:  # whose column of numbers has a dtype of its own
        assert str(table.to_plain()) == str(expected.to_plain())
    coded = table.read(X, ignored=~counted)
    assert_array_equal(coded[counted], expected.read(rest))
    assert_array_equal(coded[~counted], [[nan, nan, 1, nan, nan], [nan, 0, nan, 4, 0]])
    for row, message in [(1, "'new'|values"), (5, "'new'|values|7")]:
        ignored = ~counted & (np.arange(6) != row)
        with pytest.raises(ValueError, match=message):
            table.read(X, ignored=ignored)
    with pytest.raises(ValueError, match="has no observed value"):
        Table.learn(X, ignored=np.arange(6) != 2)


# Errors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([None, None], "Column 'a' of X has no observed value. Drop it"),
        ([1.0, np.inf], "Column 'a' of X contains infinity or a value too large"),
        (pd.to_datetime(["2020-01-01", None]), "has dtype datetime64.*dates to numbers"),
        (pd.period_range("2020", periods=2, freq="D"), "has dtype period"),
        ([datetime.date(2020, 1, 1), None], "Column 'a' of X has values of type date"),
        ([decimal.Decimal(1), decimal.Decimal(2)], "has values of type Decimal"),
        ([b"u", b"v"], "Column 'a' of X has values of type bytes"),
        ([["u"], ["v"]], "Column 'a' of X has values that are containers"),
        ([np.ones(2), np.ones(2)], "Column 'a' of X has values that are containers"),
        ([("u", 1), ("v", 2)], "Column 'a' of X has values of type tuple"),
        ([1j, 2j], "Column 'a' of X has"),
        (pd.Series([1, "1"], dtype=object), "Column 'a' of X mixes numbers and strings"),
        (
            pd.Series([1, 2, "?"], dtype=object),
            r"strings, such as '\?'. Replace strings that stand for missing values by None",
        ),
        (pd.Series([True, 1.0], dtype=object), "mixes booleans and numbers"),
        (pd.Categorical([1, "1"]), "Column 'a' of X .its categories. mixes"),
        (
            pd.to_datetime(["2020-01-01"] * 2).astype("category"),
            "its categories. has dtype datetime64",
        ),
    ],
)
def test_refused_columns(cells, message):
    X = pd.DataFrame({"a": cells})
    with pytest.raises(ValueError, match=message):
        Table.learn(X)


@pytest.mark.parametrize(
    "cells",
    [[datetime.date(2020, 1, 1)], [[1, 2]], [{"u": 1}], [decimal.Decimal(1)], [b"u"]],
)
def test_refused_columns_of_polars(cells):
    with pytest.raises(ValueError, match="Column 'a' of X has dtype"):
        Table.learn(pl.DataFrame({"a": cells}))
    with pytest.raises(ValueError, match="Column 'a' of X has no observed value"):
        Table.learn(pl.DataFrame({"a": [None, None]}))


def test_refused_arrays():
    with pytest.raises(ValueError, match="Column 0 of X has dtype datetime64"):
        Table.learn(np.array([["2020-01-01"]], dtype="M8[D]"))
    with pytest.raises(ValueError, match=r"Column 0 of X has dtype \|S1"):
        Table.learn(np.array([[b"u"]]))
    with pytest.raises(ValueError, match="Complex data not supported"):
        Table.learn(np.array([[1j]]))
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        Table.learn(np.arange(3))
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        Table.learn(np.empty((0, 3)))
    with pytest.raises(ValueError, match="0 feature"):
        Table.learn(pd.DataFrame(index=[1, 2]))
    with pytest.raises(
        TypeError, match=r"X is a polars LazyFrame, .*\. Pass X\.collect\(\)"
    ):
        Table.learn(pl.DataFrame({"a": [1, 2]}).lazy())
    with pytest.raises(TypeError, match="X is a masked array"):
        Table.learn(np.ma.masked_less([[1, 2]], 2))
    with pytest.raises(ValueError, match="Column 0 of X contains infinity"):
        Table.learn(np.array([[-np.inf], [1]]))


def test_too_large_for_float32():
    table = Table.learn(np.arange(3, dtype=np.float32)[:, None])
    with pytest.raises(ValueError, match=r"infinity or a value too large for .*float32"):
        table.read(np.array([[1e300]]))


def test_names_and_numbers_of_columns():
    X = pd.DataFrame({"a": [1, 2, 3], "b": ["u", "v", "w"]})
    table = Table.learn(X, owner="SomeRBM")
    with pytest.raises(
        ValueError, match="feature names should match those that were passed"
    ):
        table.read(X[["b", "a"]])
    with pytest.raises(
        ValueError, match=r"feature names should match(.|\n)*missing(.|\n)*- b"
    ):
        table.read(X[["a"]])
    with (
        pytest.raises(ValueError, match="X_new has 3 features, but SomeRBM is expecting 2"),
        pytest.warns(UserWarning, match="X does not have valid feature names"),
    ):
        table.read(np.ones((2, 3)), "X_new")
    with pytest.raises(ValueError, match="different names, but several have the name 'a'"):
        Table.learn(pd.concat([X, X[["a"]]], axis=1))
    twice = pd.DataFrame(np.ones((1, 5)), columns=list("bcabc"))
    with pytest.raises(ValueError, match="several have the name 'b', 'c'"):
        Table.learn(twice)
    X.columns = ["a", 1]
    with pytest.raises(TypeError, match="feature names"):
        Table.learn(X)


def test_unknown_values():
    X = pd.DataFrame({"word": list("abcdefg"), "level": [1, 2, 3, 4, 5, 1, 1], "real": 0.5})
    table = Table.learn(X, feature_types={"level": "ordinal", "real": "real"})
    rows = X.assign(word=["x", "y", "a", "x", None, "b", "c"])
    with pytest.raises(
        ValueError,
        match=r"Column 'word' of X has values that it did not have in training: 'x', 'y'\. "
        r"Those known are 'a', 'b', 'c', 'd', 'e', \.\.\.\. Replace .* missing .* declares",
    ):
        table.read(rows)
    with pytest.raises(
        ValueError,
        match=r"'level' of X .*: 1\.5\. Those known are 1, 2, 3, .* \(NaN or None\), or "
        "train on a column with a categorical dtype that declares them, or with real as "
        "its type in feature_types",
    ):
        table.read(X.assign(level=1.5))
    with pytest.raises(ValueError, match=r": 2\. .* known are 0, 1\. .* real as"):
        Table.learn(X.assign(level=[0, 1] * 3 + [0])).read(X.assign(level=2))
    with pytest.raises(ValueError, match=r"in training: '1'\. Those"):
        table.read(X.assign(level="1"))
    with pytest.raises(ValueError, match=r"in training: 1\. Those"):
        table.read(X.assign(word=1))
    with pytest.raises(
        ValueError, match="'real' of X is real, but has values that are not"
    ):
        table.read(X.assign(real="0.5"))
    many = X.assign(word=list("tuvwxyz"))
    with pytest.raises(ValueError, match=r"'t', 'u', 'v', 'w', 'x', \.\.\.\. Those"):
        table.read(many)


@pytest.mark.parametrize(
    ("feature_types", "message"),
    [
        ("auto", "feature_types must be \"infer\", a list .* but got 'auto'"),
        (["real"], "feature_types has 1 types, but X has 2 columns"),
        (["real", "number"], "must be one of 'binary', .* has 'number' for column 'b'"),
        ({"a": None}, "must be one of"),
        ({"x": "real"}, "feature_types must refer to names of columns of X, but has 'x'"),
        ({2: "real"}, "feature_types must refer to names of columns of X, but has 2"),
        ({"a": "binary"}, "'a' of X is declared as binary, but its values are 1, 2, 3"),
        ({"b": "real"}, "Column 'b' of X is real, but has values .* such as 'u'"),
        ({"b": "ordinal"}, "'b' of X is declared as ordinal, but strings such as 'u' have"),
    ],
)
def test_refused_types(feature_types, message):
    X = pd.DataFrame({"a": [1, 2, 3], "b": ["u", "v", "w"]})
    with pytest.raises(ValueError, match=message):
        Table.learn(X, feature_types=feature_types)


def test_strings_are_only_ordinal_with_an_order():
    words = ["low", "high", "mid"]
    ordered = pd.Categorical(words, ["low", "mid", "high"], ordered=True)
    for column in (words, pd.Categorical(words), pd.array(words, dtype="string")):
        with pytest.raises(ValueError, match="have no order"):
            Table.learn(pd.DataFrame({"a": column}), feature_types=["ordinal"])
    table = Table.learn(pd.DataFrame({"a": ordered[[0, 1]]}), feature_types=["ordinal"])
    assert_array_equal(table.read(pd.DataFrame({"a": words})), [[0], [2], [1]])
    numbers = pd.DataFrame({"a": pd.Categorical([30, 10, 20], [10, 20, 30])})
    assert_array_equal(
        Table.learn(numbers, feature_types={"a": "ordinal"}).read(numbers), [[2], [0], [1]]
    )
