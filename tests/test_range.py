"""Values outside [0, 1]: what is refused, what is warned about, and the advice."""

import functools
import pickle
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline

from skrbm import BernoulliRBMEstimator, GaussianRBMEstimator, ParallelRBM, RBMImputer
from skrbm._data import DataSet
from skrbm.likelihood import pseudo_log_likelihood
from skrbm.sampling import draw_chains

rng = np.random.default_rng(0)
LIKERT = np.vstack([rng.integers(1, 6, (30, 4)), [[1] * 4, [5] * 4]])
GAPS = np.where(LIKERT == 1, -1, LIKERT)
IMAGES = np.vstack([rng.integers(0, 255, (30, 4)), [[0] * 4, [254] * 4]])
MISSING = np.vstack([rng.integers(-1, 2, (30, 4)), [[-1] * 4, [1] * 4]])
COUNTS = np.vstack([rng.poisson(0.5, (30, 4)), [[0] * 4, [6] * 4]])
REAL = rng.standard_normal((30, 4))
POSITIVE = np.abs(REAL) * 3
BINARY = REAL > 0
NAMES = ["a", "b", "c", "d"]


def make(**parameters):
    defaults = {"n_components": 2, "n_iter": 1, "random_state": 0}
    return BernoulliRBMEstimator(**defaults | parameters)


def messages(function):
    """Return the messages of all warnings of a call."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        function()
    assert all(w.category is UserWarning for w in record)
    return [str(w.message) for w in record]


def mapped(X, path):
    np.save(path, X)
    return np.load(path, mmap_mode="r")


def as_polars(X):
    return pytest.importorskip("polars", reason="polars is not installed").DataFrame(X)


def as_map(X):
    return functools.partial(mapped, X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_no_reason_to_warn(dtype):
    """A scaled feature may lie outside [0, 1] by rounding."""
    off = np.finfo(dtype).eps
    X = np.where(rng.random((30, 4)) < 0.5, -off, 1 + off).astype(dtype)
    rbm = make().fit(X)
    assert_allclose(rbm.score_samples(X), rbm.score_samples(X.clip(0, 1)), rtol=1e-5)
    for other in (X * 1.00001, X - 0.00001, (X - 0.5) * 1e-7):
        with pytest.warns(UserWarning, match="the model expects values in"):
            make().fit(other.astype(dtype))


# Advice ----------------------------------------------------------------------------------

MIXED = "ratings and categories with MixedRBMEstimator"
BIN = "bin them with KBinsDiscretizer"
BINARIZE, THRESHOLD = "with Binarizer(threshold=...)", "with a threshold"
IMPUTE, TWO_STATES = "with skrbm.RBMImputer(missing_values=-1)", "pass X > 0"
ENCODE_OTHERS = "encode the other values, and impute the missing ones"
GAUSSIAN, DENSE = "with GaussianRBMEstimator", "needs dense rows"
MIN_MAX, MAX_ABS = "MinMaxScaler(clip=True)", "MaxAbsScaler"
CHUNKS = "partial_fit in chunks"
ADVICE = {
    MIXED,
    ENCODE_OTHERS,
    BIN,
    BINARIZE,
    THRESHOLD,
    IMPUTE,
    TWO_STATES,
    GAUSSIAN,
    DENSE,
    MIN_MAX,
    MAX_ABS,
    CHUNKS,
}


@pytest.mark.parametrize(
    ("X", "seen", "advice", "divisor"),
    [
        (LIKERT, "from 1 to 5 ", [MIXED, BINARIZE, BIN], 5),
        (IMAGES, "from 0 to 254 ", [MIXED, BINARIZE, BIN], 255),
        (100 * LIKERT, "from 100 to 500 ", [MIXED, BINARIZE, BIN], 500),
        (MISSING, "from -1 to 1 ", [IMPUTE, TWO_STATES], None),
        (GAPS, "from -1 to 5 ", [ENCODE_OTHERS, IMPUTE, MIXED, BINARIZE, BIN], 5),
        (sp.csr_array(COUNTS), "from 0 to 6 ", [BINARIZE], 6),
        (sp.csc_matrix(IMAGES), "from 0 to 254 ", [BINARIZE], 255),
        (as_map(IMAGES), "from 0 to 254 ", [THRESHOLD, CHUNKS], 255),
        (REAL, "from -", [GAUSSIAN, MIN_MAX, BINARIZE], None),
        (POSITIVE, "from 0", [GAUSSIAN, MIN_MAX, BINARIZE], None),
        (sp.csr_array(POSITIVE), "from 0", [GAUSSIAN, DENSE, MAX_ABS, BINARIZE], None),
        (sp.csr_array(REAL), "from -", [GAUSSIAN, DENSE, BINARIZE], None),
        (as_map(REAL), "from -", [GAUSSIAN, THRESHOLD, CHUNKS], None),
        (as_map(POSITIVE), "from 0", [GAUSSIAN, THRESHOLD, CHUNKS], None),
        (BINARY * 1.001, "from 0 to 1.001 ", [GAUSSIAN, MIN_MAX, BINARIZE], None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_advice_suits_the_data(X, seen, advice, divisor, tmp_path):
    X = X(tmp_path / "X.npy") if callable(X) else X
    fitted = make().fit(np.eye(X.shape[1]))
    (message,) = messages(lambda: fitted.score_samples(X))
    assert message.startswith(f"X has values {seen}")
    assert f"and dtype {X.dtype}, but" in message
    assert "values in [0, 1]: binary data, or probabilities" in message
    assert {words for words in ADVICE if words in message} == set(advice)
    if divisor is not None:
        assert f"by {divisor}." in message
    if X.dtype.kind == "i":  # in a smaller dtype, the same with an error
        small = X.astype(np.int16)
        if isinstance(X, np.memmap):
            small = mapped(small, tmp_path / "small.npy")
        with pytest.raises(ValueError, match=r"^X has values .* int16, but") as error:
            make().fit(small)
        assert str(error.value)[-60:] == message[-60:]
        assert {words for words in ADVICE if words in str(error.value)} == set(advice)


def test_sums_that_bring_values_of_memory_maps_to_the_range(tmp_path):
    X = mapped(np.array([[-2.5, 0.5], [1.5, 0.5]]), tmp_path / "X.npy")
    (message,) = messages(lambda: make().fit(X))
    assert "add 2.5 and divide by 4, or" in message
    X = mapped(np.array([[2.5, 0.5], [1.5, 0.5]]), tmp_path / "Y.npy")
    (message,) = messages(lambda: make().fit(X))
    assert "frequencies, divide by 2.5, or" in message


# Errors and warnings ---------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, pd.DataFrame, as_polars])
@pytest.mark.parametrize("dtype", ["int8", "uint8", ">i2", "uint16", "uint32", "uint64"])
def test_integers_that_are_refused(dtype, form):
    def cast(X):
        X = X.astype(dtype)
        native = X.dtype.isnative or form is np.asarray
        return form(X if native else X.astype(X.dtype.newbyteorder("=")))

    rbm = make().fit(cast(BINARY))
    before = pickle.dumps(rbm)
    for method in (rbm.fit, rbm.partial_fit, rbm.transform):
        with pytest.raises(ValueError, match=r"from 1 to 5 and dtype u?int"):
            method(cast(LIKERT))
    assert pickle.dumps(rbm) == before


@pytest.mark.parametrize(
    ("X", "given"),
    [
        (LIKERT.astype(np.int32), " and dtype int32"),
        (LIKERT.astype(">i8"), " and dtype int64"),
        (LIKERT.astype(np.float32), " and dtype float32"),
        (LIKERT.astype(object), ""),
        (LIKERT.tolist(), ""),
        (pd.DataFrame(LIKERT), " and dtype int64"),
        (pd.DataFrame(LIKERT).astype("Int64"), " and dtype int64"),
        (pd.DataFrame(LIKERT).astype({0: "int8"}), " and dtype int64"),
        (pd.DataFrame(LIKERT).astype("category"), ""),
        (pd.DataFrame(LIKERT).astype("Sparse[int32]"), " and dtype int32"),
        (functools.partial(as_polars, LIKERT), " and dtype int64"),
    ],
)
def test_types_that_are_warned_about(X, given):
    X = X() if callable(X) else X
    unchanged = make(stochastic_binarization=False, learning_rate=1e-3)
    (message,) = messages(lambda: unchanged.fit(X))
    assert message.startswith(f"X has values from 1 to 5{given}, but")


@pytest.mark.parametrize("dtype", ["Int8", "Sparse[int8]"])
def test_nullable_and_sparse_integers_are_refused(dtype):
    with pytest.raises(ValueError, match="from 1 to 5 and dtype int8, but"):
        make().fit(pd.DataFrame(LIKERT).astype(dtype))


METHODS = [
    ("fit", "During training, values below 0 count as 0 and values above 1 as 1, which"),
    ("partial_fit", "During training, values below 0 count as 0 and values above 1 as 1"),
    ("fit_transform", "During training, values below 0 count as 0 and values above 1 as 1"),
    ("score", "Values below 0 count as 0 and values above 1 as 1, which makes"),
    ("score_samples", "Values below 0 count as 0 and values above 1 as 1, which makes"),
    ("transform", "They are used unchanged."),
    ("free_energy", "They are used unchanged."),
    ("gibbs", "They are used unchanged."),
    ("reconstruct", "They are used unchanged."),
]


IN_PARALLEL = [(*method, True) for method in METHODS if hasattr(ParallelRBM, method[0])]


@pytest.mark.parametrize(
    ("method", "use", "parallel"), [(*method, False) for method in METHODS] + IN_PARALLEL
)
def test_each_method_warns_once_or_refuses(method, use, parallel):
    rbm = ParallelRBM(make(), n_shards=3) if parallel else make()
    rbm.fit(BINARY)
    (message,) = messages(lambda: getattr(rbm, method)(LIKERT * 1.0))
    assert f" {use}" in message
    assert ("constant" in message) == ("count as 0" in use)
    with pytest.raises(ValueError, match="has values from 1 to 5 and dtype uint8"):
        getattr(rbm, method)(LIKERT.astype(np.uint8))
    if method != "reconstruct":
        (message,) = messages(lambda: getattr(rbm, method)(sp.csr_array(COUNTS)))
        assert f" {use[:20]}" in message


def test_starting_points_are_checked_once():
    rbm = make().fit(BINARY)
    for function in (rbm.sample, functools.partial(draw_chains, rbm, n_draws=1)):
        (message,) = messages(lambda f=function: f(40, init=LIKERT * 1.0))
        assert message.startswith("init has values from 1 to 5")
        with pytest.raises(ValueError, match="init has values from 1 to 5"):
            function(40, init=LIKERT.astype(np.int8))


def test_rows_to_reconstruct_may_have_gaps():
    rows = np.where(BINARY, np.nan, 0.0)
    rbm = make().fit(BINARY)
    assert messages(lambda: rbm.reconstruct(rows)) == []
    rows[0] = 3
    (message,) = messages(lambda: rbm.reconstruct(rows))
    assert "from 0 to 3" in message
    (message,) = messages(lambda: rbm.reconstruct(np.where(LIKERT == 1, np.nan, LIKERT)))
    assert "from 2 to 5" in message


def imputer(rbm=None, **parameters):
    defaults = {"n_gibbs_steps": 2, "random_state": 0}
    return RBMImputer(rbm or make(), **defaults | parameters)


def as_frame(X):
    return pd.DataFrame(X, columns=NAMES)


@pytest.mark.parametrize("form", [np.asarray, as_frame, np.ma.asarray])
def test_imputers_check_observed_values_once(form):
    small = form(np.where(BINARY, -1, 0).astype(np.int8))
    fitted = imputer(missing_values=-1).fit(small)
    features = "'a', 'b', 'c', 'd'" if form is as_frame else "0, 1, 2, 3"
    use = f"below 0 count as 0 and values above 1 as 1, which makes features {features} (4"
    for when, method in (
        ("During training, values", fitted.fit),
        ("During training, values", fitted.fit_transform),
        ("Values", fitted.transform),
    ):
        assert messages(lambda m=method: m(small)) == []
        with pytest.raises(ValueError, match="values from 2 to 5 and dtype int8"):
            method(form(GAPS.astype(np.int8)))
        (message,) = messages(lambda m=method: m(form(GAPS)))
        assert message.startswith("X has values from 2 to 5 and dtype int64, but")
        assert f" {when} {use}" in message


def test_imputers_of_values_that_are_used_unchanged():
    X = np.where(LIKERT == 1, np.nan, LIKERT * 0.5)
    rbm = make(stochastic_binarization=False, learning_rate=1e-3)
    fitted = imputer(rbm)
    (message,) = messages(lambda: fitted.fit(X))
    assert len(messages(lambda: fitted.rbm_.transform(LIKERT))) == 1
    assert "from 1 to 2.5 and dtype float64" in message
    assert "During training, they are used unchanged." in message


def test_imputers_of_memory_maps(tmp_path):
    """They are copied, so the advice is that for other arrays."""
    X = mapped(GAPS, tmp_path / "X.npy")
    (message,) = messages(lambda: imputer(missing_values=-1).fit(X))
    assert MIXED in message
    assert CHUNKS not in message


def test_imputers_without_observed_or_with_real_values():
    missing = np.full((3, 4), np.nan)
    fitted = imputer().fit(np.where(BINARY, np.nan, 0.0))
    assert messages(lambda: fitted.transform(missing)) == []
    rbm = GaussianRBMEstimator(2, n_iter=1, random_state=0)
    gaps = GAPS.astype(np.int8)
    assert messages(lambda: imputer(rbm, missing_values=-1).fit_transform(gaps)) == []


def test_models_of_others():
    theirs = BernoulliRBM(2, random_state=0, n_iter=1).fit(
        pd.DataFrame(BINARY * 1.0, columns=NAMES)
    )
    (message,) = messages(
        lambda: pseudo_log_likelihood(theirs, pd.DataFrame(LIKERT, columns=NAMES))
    )
    assert "makes features 'a', 'b', 'c', 'd' (4 of 4) constant" in message


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_values_that_are_used_unchanged_in_training(method):
    rbm = make(stochastic_binarization=False, learning_rate=1e-3)
    (message,) = messages(lambda: getattr(rbm, method)(LIKERT))
    assert "During training, they are used unchanged." in message
    assert "constant" not in message
    assert_allclose(rbm.visible_mean_.mean(), LIKERT.mean(), rtol=1e-3)
    with pytest.raises(ValueError, match="dtype int8"):
        getattr(rbm, method)(LIKERT.astype(np.int8))


@pytest.mark.parametrize("dtype", [bool, "int8", "uint16", "int64", "float32", "float64"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_values_within_the_range(form, dtype):
    X = form(BINARY.astype(dtype))
    rbm = make()
    for method, _ in METHODS[:-1]:
        assert messages(lambda m=method: getattr(rbm, m)(X)) == []


def test_real_values_are_allowed_where_they_are_modeled():
    rbm = GaussianRBMEstimator(2, n_iter=1, random_state=0)
    for X in (REAL, LIKERT.astype(np.int8)):
        assert messages(lambda x=X: rbm.fit_transform(x)) == []
        assert messages(lambda x=X: rbm.gibbs(x)) == []


# Once a call -----------------------------------------------------------------------------


def test_once_in_pipelines_and_once_for_each_fit_and_score_of_a_search():
    y = BINARY[:, 0]
    pipeline = make_pipeline(make(), LogisticRegression())
    (message,) = messages(lambda: pipeline.fit(POSITIVE, y))
    assert "During training" in message
    (message,) = messages(lambda: pipeline.predict(POSITIVE))
    assert "used unchanged" in message
    found = messages(lambda: cross_val_score(make(), POSITIVE, cv=3))
    assert ["During training" in message for message in found] == [True, False] * 3


def test_once_for_many_blocks():
    X = np.tile(POSITIVE, (20_000, 1))  # scored in several blocks
    rbm = make().fit(BINARY)
    for method in (rbm.transform, rbm.score):
        assert len(messages(lambda f=method: f(X))) == 1


# Features that are constant --------------------------------------------------------------


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.csc_array])
@pytest.mark.parametrize("parallel", [False, True])
def test_features_that_clipping_makes_constant(parallel, form):
    """Those that were constant before, and those that still vary, are not named."""
    n = np.arange(60)
    X = np.column_stack(
        [1 + n, n, n % 2, -n, 0 * n, 5 + 0 * n, 0.5 * n, 1 - n, -1 - n, 1.5 + n]
    )  # fmt: skip
    rbm = ParallelRBM(make(), n_shards=4) if parallel else make()
    (message,) = messages(lambda: rbm.fit(form(X * 1.0)))
    assert "which makes features 0, 3, 8, 9 (4 of 10) constant." in message


@pytest.mark.parametrize("frame", [pd.DataFrame, as_polars])
def test_names_of_features(frame):
    X = frame({f"q{i}": LIKERT[:, 0] if i else LIKERT[:, 0] % 2 for i in range(8)})
    some = "'q1', 'q2', 'q3', 'q4', 'q5', ..."
    for rbm in (make(), ParallelRBM(make(), n_shards=2)):
        (message,) = messages(lambda rbm=rbm: rbm.fit(X))
        assert f"which makes features {some} (7 of 8) constant." in message
    one = frame({"a": LIKERT[:, 0], "b": LIKERT[:, 0] % 2})
    (message,) = messages(lambda: make().fit(one))
    assert "which makes feature 'a' (1 of 2) constant." in message


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, "map"])
def test_ranges(form, dtype, tmp_path):
    X = rng.integers(0, 3, (3000, 50)).astype(dtype)
    X[0, :3], X[:, 4], X[:, 5] = 7, 0, 9
    data = DataSet(mapped(X, tmp_path / "X.npy") if form == "map" else form(X))
    ranges = data.ranges()
    assert_array_equal(ranges.low, X.min(axis=0))
    assert_array_equal(ranges.high, X.max(axis=0))
    assert ranges.whole
    if dtype == np.float32:
        X[-1, -1] += 0.5
        assert not DataSet(X if form == "map" else form(X)).ranges().whole


# Results and memory ----------------------------------------------------------------------


def test_hidden_units_of_unchanged_values_are_those_of_scikit_learn():
    rbm = make().fit(BINARY)
    theirs = BernoulliRBM(2)
    for name in ("components_", "intercept_hidden_", "intercept_visible_"):
        setattr(theirs, name, getattr(rbm, name))
    with pytest.warns(UserWarning, match="They are used unchanged"):
        ours = rbm.transform(REAL)
    assert_allclose(ours, theirs.transform(REAL), rtol=1e-5)
    with pytest.warns(UserWarning, match="They are used unchanged"):
        energies = rbm.free_energy(REAL)
    assert_allclose(energies, theirs._free_energy(REAL), rtol=1e-4)


@pytest.mark.parametrize("form", ["map", "sparse"])
def test_data_are_not_copied(form, tmp_path):
    X = rng.random((20_000, 100), dtype=np.float32)
    X = mapped(2 * X, tmp_path / "X.npy") if form == "map" else sp.csr_array(2 * X)
    rbm = make().fit(BINARY[:, :1].repeat(100, axis=1))
    size = X.nbytes if form == "map" else X.data.nbytes
    tracemalloc.start()
    try:
        assert len(messages(lambda: rbm.transform(X))) == 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.75 * size


class WithGraph(np.ndarray):
    """Array with a graph of Dask or, like those of xarray in memory, without one."""

    graph = None

    def __dask_graph__(self):
        return self.graph


def test_only_arrays_with_a_graph_are_of_dask():
    rows = POSITIVE.view(WithGraph)
    (out_of_range,) = messages(lambda: make().fit(rows))
    assert "MinMaxScaler" in out_of_range  # which copies the rows
    rows.graph = {}
    of_dask, out_of_range = messages(lambda: make().fit(rows))
    assert "WithGraph, all of which is loaded into the memory" in of_dask
    assert "MinMaxScaler" not in out_of_range
