"""Properties that must hold for any data and parameters, tested with hypothesis."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skrbm import BernoulliRBMEstimator, RBMImputer
from skrbm.sampling import draw_chains, sample_conditional

# With a learning rate of 1, some tiny models get worse and training warns about it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Training did not converge"),
    pytest.mark.filterwarnings("ignore:X has no observed values"),
]

settings.register_profile(
    "skrbm",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("skrbm")

LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "every other row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "backwards": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": lambda X: np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape),
    "big-endian": lambda X: X.astype(X.dtype.newbyteorder(">")),
    "csr_array": sp.csr_array,
    "csc_matrix": sp.csc_matrix,
    "coo, entries in pieces": lambda X: in_pieces(X),
    "csr, unsorted": lambda X: unsorted(X),
}


def in_pieces(X):
    """Return a COO array that stores each entry as the sum of two."""
    coo = sp.coo_array(X.astype(np.float64))
    twice = np.tile(coo.coords[0], 2), np.tile(coo.coords[1], 2)
    return sp.coo_array((np.tile(coo.data / 2, 2), twice), shape=X.shape)


def unsorted(X):
    """Return a CSR array with descending column indices and explicit zeros."""
    columns = np.indices(X.shape)[1]
    starts = np.arange(len(X) + 1) * X.shape[1]
    backwards = X[:, ::-1].reshape(-1), columns[:, ::-1].reshape(-1), starts
    return sp.csr_array(backwards, shape=X.shape)


@st.composite
def data(draw, binary=None):
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 9))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.uint8, np.bool_]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    X = rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    if dtype in (np.float32, np.float64) and not binary:
        kind = draw(st.sampled_from(["binary", "gray", "extreme"]))
        if kind == "gray":
            X = X * rng.random(shape)
        elif kind == "extreme":  # denormals, negative zeros, values near 1
            X = X * rng.choice([5e-324, 1e-40, -0.0, np.nextafter(1, 0), 1], shape)
    return X.astype(dtype)


parameters = st.fixed_dictionaries(
    {
        "n_components": st.integers(1, 7),
        "solver": st.sampled_from(["pcd", "cd", "pt"]),
        "n_gibbs_steps": st.integers(1, 2),
        "n_chains": st.integers(1, 9),
        "learning_rate": st.sampled_from([1e-3, 0.2, 1.0]),
        "schedule": st.sampled_from(["linear", "constant"]),
        "momentum": st.sampled_from([0.0, 0.5]),
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "centering": st.booleans(),
        "averaging": st.booleans(),
        "batch_size": st.integers(1, 15),
        "n_iter": st.integers(1, 3),
        "shuffle": st.booleans(),
        "stochastic_binarization": st.booleans(),
        "random_state": st.integers(0, 3),
    }
)


def arrays_of(X):
    return [X.data, X.indices, X.indptr] if sp.issparse(X) and X.format != "coo" else [X]


def assert_finite(*arrays):
    for array in arrays:
        assert np.isfinite(array).all()


@pytest.mark.slow
@given(data(), parameters, st.sampled_from(sorted(LAYOUTS)))
def test_any_data_any_parameters(X, settings_, layout):
    given_X = LAYOUTS[layout](X)
    before = [np.array(a.toarray() if sp.issparse(a) else a) for a in arrays_of(given_X)]
    rbm = BernoulliRBMEstimator(**settings_)
    rbm.fit(given_X)
    assert_finite(
        rbm.components_,
        rbm.intercept_visible_,
        rbm.intercept_hidden_,
        rbm.transform(given_X),
        rbm.score_samples(given_X),
        rbm.free_energy(given_X),
        rbm.sample(3),
    )
    assert rbm.get_params() == BernoulliRBMEstimator(**settings_).get_params()
    for array, copy in zip(arrays_of(given_X), before, strict=True):
        assert_array_equal(array.toarray() if sp.issparse(array) else array, copy)
    if layout not in ("big-endian", "coo, entries in pieces"):  # converted to float64
        plain = BernoulliRBMEstimator(**settings_).fit(X)
        tolerance = 1e-8 if rbm.components_.dtype == np.float64 else 2e-3
        assert rbm.components_.dtype == plain.components_.dtype
        assert_allclose(rbm.components_, plain.components_, tolerance, tolerance)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Training diverged")
@given(data(), parameters, st.data())
def test_any_weights(X, settings_, more):
    """The model is finite for any weights, and rows of weight 0 have no effect."""
    weight = st.sampled_from([0, 0.5, 1, 2, 5e-324, 1e-30, 1e30, 1e308])
    weights = more.draw(st.lists(weight, min_size=len(X), max_size=len(X)))
    weights = np.array(weights)
    before = weights.copy()
    for method in ("fit", "partial_fit"):
        train = getattr(BernoulliRBMEstimator(**settings_), method)
        if not weights.any():
            with pytest.raises(ValueError, match=r"(?i)sample.weight"):
                train(X, sample_weight=weights)
            continue
        rbm = train(X, sample_weight=weights)
        assert_finite(*(a for a in vars(rbm).values() if isinstance(a, np.ndarray)))
        assert_array_equal(weights, before)
        some = weights > 0
        other = getattr(BernoulliRBMEstimator(**settings_), method)
        other = other(X[some], sample_weight=weights[some])
        assert_array_equal(rbm.components_, other.components_)
        assert np.isfinite(rbm.score(X, sample_weight=weights))


@given(data(), parameters, st.data())
def test_chunks(X, settings_, more):
    """`partial_fit` gives the same model for chunks of any multiple of the batch size."""
    size = settings_["batch_size"]
    n_chunks = -(-len(X) // size)
    cuts = more.draw(st.lists(st.integers(0, n_chunks), max_size=3))
    cuts = sorted({0, len(X), *(min(cut * size, len(X)) for cut in cuts)})
    whole, pieces = (BernoulliRBMEstimator(**settings_) for _ in range(2))
    whole.partial_fit(X)
    for start, stop in itertools.pairwise(cuts):
        pieces.partial_fit(X[start:stop])
    assert_finite(whole.components_)
    if settings_["solver"] != "cd":
        assert_array_equal(whole.components_, pieces.components_)
    else:
        assert_allclose(whole.components_, pieces.components_, atol=1e-5)


@given(data(), parameters)
def test_scores_of_rows_alone(X, settings_):
    rbm = BernoulliRBMEstimator(**settings_).fit(X)
    alone = [rbm.score_samples(X[i : i + 1])[0] for i in range(len(X))]
    assert_allclose(rbm.score_samples(X), alone, rtol=1e-5, atol=1e-6)
    assert (rbm.score_samples(X) <= 0).all()


@pytest.mark.slow
@settings(max_examples=30)
@given(data(binary=True), parameters, st.integers(0, 100), st.booleans())
def test_gaps(X, settings_, seed, all_missing):
    """Known values are unchanged and unknown ones become numbers in [0, 1]."""
    rng = np.random.default_rng(seed)
    gaps = rng.random(X.shape) < (1.0 if all_missing else 0.4)
    X = np.where(gaps, np.nan, X.astype(np.float64))
    rbm = BernoulliRBMEstimator(**settings_)
    imputer = RBMImputer(rbm, n_gibbs_steps=3, random_state=0)
    if not gaps.all():
        filled = imputer.fit_transform(X)
        assert_array_equal(filled[~gaps], X[~gaps])
        assert ((filled >= 0) & (filled <= 1)).all()
    rbm.fit(np.nan_to_num(X))
    drawn = sample_conditional(rbm, X, n_gibbs_steps=3, random_state=seed)
    assert_array_equal(drawn[~gaps], X[~gaps])
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    log_z = rbm.log_partition()
    assert (rbm.log_likelihood(drawn, log_partition=log_z) <= 1e-6).all()
    chains = draw_chains(rbm, 2, 3, betas=2, random_state=seed)
    assert set(np.unique(chains)) <= {0.0, 1.0}
