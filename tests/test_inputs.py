"""What users pass: forms of data, estimators of others, and errors."""

import itertools
import pickle
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import (
    BINARY,
    DIGITS,
    FITTED,
    GRAY,
    SOLVER_NAMES,
    Enumerated,
    assert_same_model,
    by_hand,
    make_rbm,
    states,
    tiny_rbm,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline

from skrbm import BernoulliRBMEstimator, ParallelRBM
from skrbm.likelihood import (
    LogLikelihoodTracker,
    log_likelihood,
    log_partition,
    mean_log_likelihood,
    pseudo_log_likelihood,
)
from skrbm.sampling import diagnose, sample_conditional

# Forms of data ------------------------------------------------------------------------

FORMS = {
    "csr_array": sp.csr_array,
    "csr_matrix": sp.csr_matrix,
    "csc_array": sp.csc_array,
    "coo_matrix": sp.coo_matrix,
    "fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "frame": lambda X: pd.DataFrame(X),
    "list": lambda X: X.tolist(),
    "int": lambda X: X.astype(int),
}


def shifted(array):
    """Copy of an array to an address that is no multiple of its item size."""
    array = np.ascontiguousarray(array)
    copy = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def test_arrays_at_any_address():
    """As in messages of processes to each other, in rows, parameters and pickles."""
    model = tiny_rbm(6, 4, np.float32)
    here = by_hand(model)
    there = by_hand(model.map(shifted))
    rows = states(6).astype(np.float32)
    sparse = sp.csr_array(rows)
    sparse.data, sparse.indices, sparse.indptr = map(
        shifted, (sparse.data, sparse.indices, sparse.indptr)
    )
    buffers = []
    pickled = pickle.dumps(model.align(), protocol=5, buffer_callback=buffers.append)
    moved = [shifted(np.frombuffer(buffer, np.float32)) for buffer in buffers]
    unpickled = pickle.loads(pickled, buffers=moved)
    for v in (rows, shifted(rows), sparse):
        h = here.transform(v)
        assert_array_equal(there.transform(v), h)
        assert_array_equal(unpickled.mean_hidden(v), h)
    assert_array_equal(
        here.gibbs(rows, random_state=0), there.gibbs(shifted(rows), random_state=0)
    )


@pytest.mark.parametrize("solver", SOLVER_NAMES)
@pytest.mark.parametrize("centering", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_input_make_one_model(form, centering, solver):
    parameters = {"solver": solver, "centering": centering, "n_gibbs_steps": 2}
    X = BINARY.astype(float)
    expected = make_rbm(**parameters).fit(X)
    other = FORMS[form](X)
    result = make_rbm(**parameters).fit(other)
    assert_same_model(result, expected, atol=1e-10)
    assert_allclose(result.transform(other), expected.transform(X), atol=1e-10)
    assert_allclose(result.score_samples(other), expected.score_samples(X))
    assert_allclose(result.free_energy(other), expected.free_energy(X))
    assert_array_equal(
        result.gibbs(other, random_state=1), expected.gibbs(X, random_state=1)
    )


@pytest.mark.parametrize("solver", SOLVER_NAMES)
@pytest.mark.parametrize("dtype", [bool, np.uint8])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_bool_and_uint8_are_float32(form, dtype, solver):
    expected = make_rbm(solver=solver).fit(form(BINARY.astype(np.float32)))
    X = form(BINARY.astype(dtype))
    result = make_rbm(solver=solver).fit(X)
    assert result.components_.dtype == np.float32
    assert_same_model(result, expected)
    H = result.transform(X)
    assert H.dtype == np.float32
    assert_array_equal(H, expected.transform(form(BINARY.astype(np.float32))))
    assert_array_equal(result.gibbs(X, random_state=0).dtype, np.float32)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_stochastic_binarization_of_dense_and_sparse(form):
    expected = make_rbm().fit(GRAY)
    assert_same_model(make_rbm().fit(form(GRAY)), expected, atol=1e-10)


@pytest.mark.parametrize("solver", SOLVER_NAMES)
def test_wide_sparse_data_make_the_model_that_dense_data_make(solver):
    """Data with several blocks of features."""
    X = sp.csr_array(sp.random(50, 2501, density=0.02, random_state=0))
    parameters = {"solver": solver, "n_chains": 11, "momentum": 0.5}
    sparse, dense = make_rbm(**parameters).fit(X), make_rbm(**parameters).fit(X.toarray())
    assert_same_model(sparse, dense, atol=1e-10)
    assert_allclose(sparse.score_samples(X), dense.score_samples(X.toarray()))


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_index_types_and_unsorted_indices(dtype, index):
    X = sp.csr_array(BINARY.astype(dtype))
    expected = make_rbm().fit(X)
    messy = X[:, ::-1][:, ::-1]  # unsorted indices
    messy = sp.csr_array((messy.data, messy.indices, messy.indptr), shape=X.shape)
    messy.indices = messy.indices.astype(index)
    messy.indptr = messy.indptr.astype(index)
    before = messy.indices.copy()
    result = make_rbm().fit(messy)
    assert_same_model(result, expected, atol=1e-6)
    assert_allclose(result.transform(messy), expected.transform(X), atol=1e-6)
    assert_array_equal(messy.indices, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_in_and_out(dtype):
    X = GRAY.astype(dtype)
    for rbm in (make_rbm().fit(X), make_rbm().partial_fit(X).partial_fit(X)):
        for name in FITTED:
            assert getattr(rbm, name).dtype == dtype
        for other in (np.float32, np.float64):
            assert rbm.transform(GRAY.astype(other)).dtype == other
            H = rbm.transform(GRAY.astype(other))
            assert rbm.inverse_transform(H).dtype == other
            assert rbm.gibbs(GRAY.astype(other)).dtype == other
        assert rbm.sample(3).dtype == dtype
        assert rbm.score_samples(X).dtype == rbm.free_energy(X).dtype == np.float64


def test_read_only_memory_map(tmp_path):
    np.save(tmp_path / "X.npy", BINARY.astype(np.uint8))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    result = make_rbm().fit(X)
    assert_same_model(result, make_rbm().fit(BINARY))
    assert_array_equal(result.transform(X), result.transform(BINARY))


@pytest.mark.parametrize("solver", SOLVER_NAMES)
@pytest.mark.parametrize("form", [np.array, sp.csr_array])
def test_input_is_not_changed(form, solver):
    X = form(GRAY)
    before = X.copy()
    rbm = make_rbm(solver=solver).fit(X).partial_fit(X)
    for method in (rbm.transform, rbm.score_samples, rbm.free_energy, rbm.gibbs):
        method(X)
    rbm.sample(60, init=X)
    assert_array_equal(*(getattr(Z, "toarray", Z.copy)() for Z in (X, before)))


@pytest.mark.slow
@pytest.mark.parametrize("solver", SOLVER_NAMES)
def test_sparse_input_is_never_made_dense(solver):
    rows, columns = np.random.default_rng(0).integers([[8000], [5000]], size=(2, 4000))
    X = sp.csr_array((np.ones(4000, np.float32), (rows, columns)), shape=(8000, 5000))
    X.data[:] = 1
    few = {"n_chains": 10, "batch_size": 200}
    rbm = make_rbm(n_components=2, n_iter=1, solver=solver, **few)
    tracemalloc.start()
    rbm.fit(X).partial_fit(X)
    rbm.transform(X)
    rbm.free_energy(X)
    rbm.score_samples(X[:50])
    rbm.score_samples(X, n_flips=10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25e6  # dense data would need 160 MB in float32, 40 MB in bool


def peak_of(function):
    """Return the peak of the memory that a call allocates."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_rows_are_copied_only_if_columns_are_contiguous(tmp_path):
    """Neither are rows with gaps between them, nor is a memory map of either order."""
    X = np.zeros((40_000, 100), dtype=np.float32)  # of 16 MB
    rbm = make_rbm(n_components=2, n_iter=1, batch_size=100)
    for rows in (X, np.repeat(X, 2, axis=0)[::2]):
        assert peak_of(lambda rows=rows: rbm.fit(rows).transform(rows)) < 8e6
    columns = np.asfortranarray(X)
    assert peak_of(lambda: rbm.transform(columns)) < 8e6
    assert 16e6 < peak_of(lambda: rbm.fit(columns)) < 24e6
    for name, array in (("rows", X), ("columns", columns)):
        np.save(tmp_path / f"{name}.npy", array)
        mapped = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        assert peak_of(lambda mapped=mapped: rbm.fit(mapped).partial_fit(mapped)) < 8e6


def test_duplicate_entries_count_as_their_sum():
    X = sp.csr_array(([0.5, 0.5, 1.0], [1, 1, 0], [0, 2, 3]), shape=(2, 3))
    assert_same_model(make_rbm().fit(X), make_rbm().fit(X.toarray()), atol=1e-12)


@pytest.mark.parametrize("solver", SOLVER_NAMES)
def test_unsorted_indices_and_duplicates_give_the_same_model(solver):
    sorted_rows = sp.csr_array(BINARY.astype(float))
    unsorted = sorted_rows.copy()
    for start, stop in itertools.pairwise(unsorted.indptr):
        unsorted.indices[start:stop] = unsorted.indices[start:stop][::-1].copy()
    unsorted.has_sorted_indices = unsorted.has_canonical_format = False
    n_entries = np.diff(sorted_rows.indptr)
    halves = sp.csr_array(
        (
            np.full(2 * sorted_rows.nnz, 0.5),
            np.repeat(sorted_rows.indices, 2),
            np.append(0, 2 * np.cumsum(n_entries)),
        ),
        shape=sorted_rows.shape,
    )
    expected = make_rbm(solver=solver).fit(sorted_rows)
    for X in (unsorted, halves):
        before = X.indices.copy()
        assert_same_model(make_rbm(solver=solver).fit(X), expected)
        assert_array_equal(
            make_rbm(solver=solver).fit(X).transform(X), expected.transform(X)
        )
        assert_array_equal(X.indices, before)


def test_object_dtype_with_numbers():
    assert_same_model(
        make_rbm().fit(BINARY.astype(int).astype(object)), make_rbm().fit(BINARY * 1.0)
    )


@pytest.mark.parametrize("solver", SOLVER_NAMES)
@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize(
    "X",
    [
        np.ones((1, 3)),
        np.zeros((5, 3)),
        np.ones((5, 3)),
        np.tile([[0.0, 1.0, 1.0]], (20, 1)),
        np.array([[0.5]]),
    ],
    ids=["one row", "zeros", "ones", "duplicates", "one value"],
)
def test_degenerate_data(X, form, solver):
    for method in ("fit", "partial_fit"):
        rbm = make_rbm(solver=solver, learning_rate=0.2)
        getattr(rbm, method)(form(X))
        for name in FITTED:
            assert np.isfinite(getattr(rbm, name)).all()
        assert np.isfinite(rbm.transform(X)).all()
        assert np.isfinite(rbm.score(X))


# Estimators ---------------------------------------------------------------------------


def test_any_estimator_will_do():
    theirs = BernoulliRBM(6, n_iter=2, random_state=0).fit(DIGITS[:100])
    model = SimpleNamespace(
        components_=theirs.components_.tolist(),
        intercept_visible_=theirs.intercept_visible_.tolist(),
        intercept_hidden_=theirs.intercept_hidden_,
    )
    for rbm in (theirs, model):
        rows = log_likelihood(rbm, DIGITS[:5])
        free = theirs._free_energy(DIGITS[:5])
        assert_allclose(rows, -free - log_partition(rbm).value)
        assert_allclose(rows, log_likelihood(theirs, DIGITS[:5]))
    small = BernoulliRBM(3, n_iter=2, random_state=0).fit(DIGITS[:100, 20:26])
    p = Enumerated(
        small.components_.T, small.intercept_visible_, small.intercept_hidden_
    ).pseudo_log_likelihood(states(6))
    assert_allclose(pseudo_log_likelihood(small, states(6)), p)


def test_an_estimator_with_parameters_set_by_hand():
    rbm = by_hand(tiny_rbm(6, 4))
    assert rbm.transform(states(6)).shape == (64, 4)
    assert rbm.score_samples(states(6)).shape == (64,)
    assert rbm.gibbs(states(6), random_state=0).shape == (64, 6)
    with pytest.raises(ValueError, match="5 features, but the model has 6"):
        rbm.transform(states(5))
    expected = rbm.transform(states(6))
    rbm.components_ = rbm.components_.tolist()
    assert_array_equal(rbm.transform(states(6)), expected)
    with pytest.raises(ValueError, match=r"n_components is 5.* has 4 components"):
        rbm.set_params(n_components=5).partial_fit(states(6))


def test_columns_in_another_order_are_refused():
    frame = pd.DataFrame(states(6), columns=list("abcdef"))
    rbm = BernoulliRBMEstimator(2, n_iter=1, random_state=0).fit(frame)
    expected = rbm.log_likelihood(frame)
    assert_array_equal(log_likelihood(rbm, frame), expected)
    other = frame[list("fedcba")]
    for function in (log_likelihood, pseudo_log_likelihood, sample_conditional):
        with pytest.raises(ValueError, match=r"a, b, c, d, e, \.\.\., but X has f, e"):
            function(rbm, other)


def test_bad_rows_and_bad_models():
    rbm = by_hand(tiny_rbm(4, 3))
    with pytest.raises(ValueError, match=r"values other than 0 and 1.*Binarizer"):
        log_likelihood(rbm, [[0.5, 0, 0, 1]])
    with pytest.raises(ValueError, match="3 features, but the model has 4"):
        log_likelihood(rbm, [[1, 0, 1]])
    with pytest.raises(ValueError, match=r"contains infinity"):
        log_likelihood(rbm, [[np.inf, 0, 0, 1]])
    for function in (log_partition, lambda rbm: log_likelihood(rbm, [[0, 1]])):
        with pytest.raises(NotFittedError, match="no components_"):
            function(clone(rbm))
    with pytest.raises(NotFittedError):
        clone(rbm).log_partition()
    search = GridSearchCV(BernoulliRBMEstimator(2, n_iter=1), {}, cv=2).fit(states(4))
    parallel = ParallelRBM(search.estimator, n_shards=2).fit(states(4))
    others = [
        (
            LogisticRegression(),
            r"LogisticRegression: pass a Bern.*, a GaussianRBMEstimator",
        ),
        (parallel, r"a ParallelRBM: pass its estimator_"),
        (LogisticRegression().fit([[0], [1]], [0, 1]), r"a LogisticRegression: pass a Ber"),
        (search, r"a GridSearchCV: pass its best_estimator_"),
        (SimpleNamespace(training=True), r"a SimpleNamespace: pass a Bern"),  # as of torch
    ]
    for other, match in others:
        with pytest.raises(TypeError, match=match):
            log_partition(other)
    rbm.intercept_visible_ = np.zeros(3)
    with pytest.raises(ValueError, match=r"parameters do not match.*components_ \(3, 4\)"):
        log_partition(rbm)
    rbm.intercept_visible_ = np.full(4, np.inf)
    with pytest.raises(ValueError, match="NaN or infinite"):
        log_partition(rbm)


def test_a_pipeline_is_told_to_pass_its_last_step():
    pipeline = make_pipeline(BernoulliRBMEstimator(2, n_iter=1)).fit(DIGITS)
    with pytest.raises(TypeError, match=r"pipeline\[-1\]"):
        log_partition(pipeline)


# Bad data -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fit", "partial_fit", "transform", "score_samples"])
@pytest.mark.parametrize("form", [np.array, sp.csr_array])
def test_nan_and_inf(method, form):
    rbm = make_rbm().fit(GRAY)
    X = GRAY.copy()
    X[3, 4] = np.inf
    with pytest.raises(ValueError, match="Input X contains infinity"):
        getattr(rbm, method)(form(X))
    X[3, 4] = np.nan
    if form is sp.csr_array:
        with pytest.raises(ValueError, match="Input X contains NaN"):
            getattr(rbm, method)(form(X))


METHODS = ["transform", "score", "score_samples", "free_energy", "gibbs"]


@pytest.mark.parametrize("method", [*METHODS, "inverse_transform", "sample"])
def test_unfitted(method):
    arguments = () if method == "sample" else (GRAY,)
    with pytest.raises(NotFittedError):
        getattr(make_rbm(), method)(*arguments)


@pytest.mark.parametrize("method", METHODS)
def test_wrong_number_of_features(method):
    name = "v" if method == "gibbs" else "X"
    with pytest.raises(ValueError, match=f"{name} has 63 features, but BernoulliRBMEst"):
        getattr(make_rbm().fit(GRAY), method)(GRAY[:, 1:])


def test_wrong_shapes_of_draws():
    rbm = make_rbm().fit(GRAY)
    with pytest.raises(ValueError, match="X has 64 columns, but this model has 8"):
        rbm.inverse_transform(GRAY)
    with pytest.raises(ValueError, match="init has 2 features"):
        rbm.sample(2, init=GRAY[:, :2])
    with pytest.raises(ValueError, match="init has 60 rows, but the number of chains is o"):
        rbm.sample(init=GRAY)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.empty((0, 3)), "Found array with 0 sample"),
        (np.empty((3, 0)), "Found array with 0 feature"),
        (sp.csr_array((0, 3)), "Found array with 0 sample"),
        (np.zeros(3), "Expected 2D array, got 1D array"),
        (np.zeros((2, 2), complex), "Complex data not supported"),
        (np.array([["a", "b"]], dtype=object), "could not convert string to float"),
    ],
)
def test_data_that_cannot_be_used(X, message):
    with pytest.raises(ValueError, match=message):
        make_rbm().fit(X)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_scores_of_values_outside_0_and_1_are_those_of_clipped_values(form):
    rbm = make_rbm().fit(BINARY)
    X = 3 * GRAY - 1 if form is np.asarray else 3 * GRAY
    with pytest.warns(UserWarning, match="Values below 0 count as 0"):
        scores = rbm.score_samples(form(X))
    assert_allclose(scores, rbm.score_samples(X.clip(0, 1)), rtol=1e-5)


@pytest.mark.filterwarnings("ignore:X has values from")  # far beyond 1 on purpose
@pytest.mark.parametrize("form", [np.array, sp.csr_array])
def test_huge_values_overflow_without_a_bare_warning(form):
    X = form(np.full((4, 64), 3e38, dtype=np.float32))
    rbm = make_rbm(n_iter=1).fit(X).partial_fit(X)
    assert np.isfinite(rbm.score_samples(X)).all()
    rbm.components_[...] = 1
    assert (rbm.transform(X) == 1).all()
    if form is np.array:
        rbm.components_[:, ::2] = 1e3  # the sum contains infinity minus infinity
        rbm.components_[:, 1::2] = -1e3
        for method in (rbm.transform, rbm.free_energy):
            with pytest.raises(ValueError, match=r"up to 3e\+38, which are too large"):
                method(X)
    with pytest.raises(ValueError, match=r"up to 1e\+39, which are too large"):
        rbm.free_energy(form(np.full((4, 64), 1e39)))
    with pytest.warns(ConvergenceWarning, match="diverged"):
        make_rbm(n_iter=1, stochastic_binarization=False).fit(X)


@pytest.mark.parametrize(
    "call",
    [
        lambda rbm, X: rbm.fit(X),
        lambda rbm, X: rbm.partial_fit(X),
        lambda rbm, X: rbm.transform(X),
        lambda rbm, X: rbm.sample(60, init=X),
        lambda rbm, X: rbm.reconstruct(X),
        lambda rbm, X: rbm.inverse_transform(X[:, :3]),
        lambda rbm, X: rbm.fit(BINARY, sample_weight=X[:, 0]),
        lambda rbm, X: LogLikelihoodTracker(X),
        lambda rbm, X: diagnose(rbm, np.ma.stack([X, X])),
        pseudo_log_likelihood,
        sample_conditional,
    ],
)
def test_masked_arrays_are_refused(call):
    X = np.ma.masked_array(BINARY, BINARY > 0)
    with pytest.raises(TypeError, match="masked array, and its mask would be ignored"):
        call(make_rbm().fit(BINARY), X)


def set_index(X, at, value):
    X.indices[at] = value


def set_starts(X, starts):
    X.indptr = np.array(starts, dtype=X.indptr.dtype)


MALFORMED = {
    "an index is too large": lambda X: set_index(X, 1, 4),
    "an index is far too large": lambda X: set_index(X, 1, 2**30),
    "an index is negative": lambda X: set_index(X, 0, -1),
    "rows end before they start": lambda X: set_starts(X, [0, 5, 2, 6, 6]),
    "as many entries as none": lambda X: set_starts(X, [0, 5, 2, 1, 0]),
    "the first starts late": lambda X: set_starts(X, [1, 2, 4, 6, 6]),
    "the first starts early": lambda X: set_starts(X, [-1, 2, 4, 6, 6]),
    "the last row ends late": lambda X: set_starts(X, [0, 2, 4, 6, 99]),
    "a row is missing": lambda X: set_starts(X, [0, 2, 4, 6]),
}


@pytest.mark.parametrize("how", MALFORMED)
@pytest.mark.parametrize("form", [sp.csr_array, sp.csr_matrix, sp.csc_array])
def test_malformed_sparse_arrays_are_refused(form, how):
    """They would make compiled functions read or write elsewhere in memory."""
    spoil = MALFORMED[how]
    fitted = BernoulliRBMEstimator(2, n_iter=1).fit(np.eye(4))
    rows = np.array([[1.0, 0, 1, 0], [0, 1, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    for door in (
        BernoulliRBMEstimator(2, n_iter=1).fit,
        BernoulliRBMEstimator(2).partial_fit,
        fitted.partial_fit,
        fitted.transform,
        fitted.score_samples,
        fitted.gibbs,
        lambda X: mean_log_likelihood(fitted, X),
        lambda X: fitted.sample(2, init=X),
    ):
        X = form(rows if form is not sp.csc_array else rows.T)
        spoil(X)
        with pytest.raises(ValueError, match="is not a valid sparse array in CS"):
            door(X)


# Bad parameters and arguments ---------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_components", 0),
        ("n_components", 2.0),
        ("solver", "sgd"),
        ("n_gibbs_steps", 0),
        ("n_chains", 0),
        ("learning_rate", 0),
        ("learning_rate", "0.1"),
        ("schedule", "cosine"),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("weight_decay", -1),
        ("centering", "yes"),
        ("averaging", 0.5),
        ("batch_size", 0),
        ("batch_size", None),
        ("n_iter", 0),
        ("n_iter", "all"),
        ("shuffle", None),
        ("early_stopping", "auto"),
        ("validation_fraction", 0.0),
        ("validation_fraction", 1.0),
        ("n_iter_no_change", 0),
        ("tol", -1.0),
        ("stochastic_binarization", "always"),
        ("warm_start", 2),
        ("verbose", -1),
        ("random_state", "seed"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_parameters_are_named(method, name, value):
    message = f"The '{name}' parameter of BernoulliRBMEstimator must be"
    with pytest.raises(ValueError, match=message):
        getattr(make_rbm(**{name: value}), method)(GRAY)
    rbm = make_rbm().fit(GRAY).set_params(**{name: value})
    with pytest.raises(ValueError, match=message):
        getattr(rbm, method)(GRAY)


@pytest.mark.parametrize("name", ["n_components", "n_chains", "n_iter", "learning_rate"])
def test_booleans_are_not_numbers(name):
    message = f"'{name}' parameter .* must be a.* Got True instead"
    with pytest.raises(ValueError, match=message):
        make_rbm(**{name: True}).fit(BINARY)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda rbm: rbm.score_samples(GRAY, n_flips=0), "n_flips"),
        (lambda rbm: rbm.score_samples(GRAY, n_flips=1.5), "n_flips"),
        (lambda rbm: rbm.score_samples(GRAY, n_flips=True), "n_flips must be .*int, not b"),
        (lambda rbm: rbm.sample(True), "n_samples must be .*int, not bool"),
        (lambda rbm: rbm.sample(2, n_jobs="x"), "n_jobs must be .*int, not str"),
        (lambda rbm: rbm.sample(2, n_jobs=0), "n_jobs"),
        (lambda rbm: rbm.log_partition(method="ais", n_jobs="x"), "n_jobs must be .*int"),
        (lambda rbm: rbm.gibbs(GRAY, n_gibbs_steps=0), "n_gibbs_steps"),
        (lambda rbm: rbm.sample(0), "n_samples"),
        (lambda rbm: rbm.sample(2, n_gibbs_steps="many"), "n_gibbs_steps"),
        (lambda rbm: rbm.sample(2, betas="foo"), "inverse temperatures .* got 'foo'"),
        (lambda rbm: rbm.sample(2, betas=[1, 0]), r"inverse temperatures .* got \[1, 0\]"),
        (lambda rbm: rbm.gibbs(GRAY + np.nan), "Impute .* with skrbm.RBMImputer"),
        (lambda rbm: rbm.fit(GRAY + np.nan), "All values of X are missing"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises((ValueError, TypeError), match=name):
        call(make_rbm().fit(GRAY))
