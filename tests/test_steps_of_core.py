"""Steps in the compiled core, many in a call, and what they are made of."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import needs_core
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skrbm import BernoulliRBMEstimator, GaussianRBMEstimator, _binary_rows, _kernels, _step
from skrbm._solvers import SOLVERS
from skrbm._step import Learner

DTYPES = np.float32, np.float64
BITS = np.random.default_rng(0).random((90, 37)) < 0.3
GRAY = np.random.default_rng(1).random((90, 37)) * BITS
WEIGHTS = np.random.default_rng(2).gamma(0.5, size=len(BITS))


def fitted(X, weights=None, **parameters):
    rbm = BernoulliRBMEstimator(random_state=0, n_iter=4, learning_rate=0.1)
    return rbm.set_params(**parameters).fit(X, sample_weight=weights)


def arrays_of(rbm):
    learned = rbm._learning.learned
    models = filter(None, (learned.model, learned.average))
    arrays = itertools.chain(*(model.arrays for model in models))
    solver = rbm._learning.solver
    others = [solver.means, np.array([solver.n_means])] if solver.means is not None else []
    return [*arrays, learned.hidden_mean, solver.chains, rbm.components_, *others]


CASES = {
    "uint8": (BITS.astype(np.uint8), {}),
    "bool": (BITS, {"n_components": 70}),
    "float32": (BITS.astype(np.float32), {"n_gibbs_steps": 3}),
    "float64": (BITS.astype(np.float64), {"weight_decay": 0.05, "n_components": 17}),
    "columns first": (np.asfortranarray(BITS, np.float32), {"shuffle": False}),
    "CSR": (sp.csr_array(BITS.astype(np.float32)), {}),
    "explicit zeros": (sp.csr_array(BITS.astype(np.float32)) * 1.0, {}),
    "gray": (GRAY.astype(np.float32), {}),
    "gray, float64": (GRAY, {"n_gibbs_steps": 2}),
    "CSR of gray": (sp.csr_array(GRAY), {}),
    "weights": (BITS.astype(np.float32), {"weights": WEIGHTS}),
    "no offsets": (BITS.astype(np.float32), {"centering": False, "weight_decay": 0.05}),
    "no average": (BITS.astype(np.float32), {"averaging": False}),
    "one chain": (BITS.astype(np.float32), {"n_chains": 1, "batch_size": 90}),
    "single rows": (BITS[:30].astype(np.float32), {"batch_size": 1}),
}
CASES["explicit zeros"][0].data[::5] = 0


@needs_core
@pytest.mark.parametrize("solver", ["pcd", "cd"])
@pytest.mark.parametrize("case", CASES)
def test_they_are_those_of_single_calls(case, solver, monkeypatch):
    X, parameters = CASES[case]
    parameters = {"n_components": 21, "n_gibbs_steps": 1, "solver": solver} | parameters
    at_once = fitted(X, **parameters)
    monkeypatch.setattr(Learner, "_steps_of_core", lambda learner: None)
    for one, other in zip(
        arrays_of(at_once), arrays_of(fitted(X, **parameters)), strict=True
    ):
        assert_array_equal(one, other)


@needs_core
def test_the_core_takes_the_steps_that_it_can(monkeypatch):
    """Each of these settings and solvers, and only these."""
    taken = []

    def take(self, batches, *others):
        taken.append(len(batches))
        return original(self, batches, *others)

    original = _binary_rows.Steps.take
    monkeypatch.setattr(_binary_rows.Steps, "take", take)
    for X, parameters in CASES.values():
        taken.clear()
        fitted(X, **{"weight_decay": 0.01} | parameters)  # no first training
        read_by_core = not (sp.issparse(X) and (X.data != 1).any())
        n_steps = 3 * -(-X.shape[0] // parameters.get("batch_size", 20))
        assert sum(taken) == (n_steps if read_by_core else 0)
        assert len(taken) < n_steps / 2 or not read_by_core or n_steps == 3

    class Watched(SOLVERS["pcd"]):
        """A solver that counts its updates."""

        def after_update(self, phases, offsets):
            updates.append(offsets)

    updates: list = []
    monkeypatch.setitem(SOLVERS, "pcd", Watched)
    taken.clear()
    fitted(BITS)
    assert len(updates) == 4 * 5
    fitted(BITS, solver="pt")
    fitted(BITS, solver="cd", momentum=0.5)
    assert not taken


@needs_core
@pytest.mark.parametrize(("work", "longest"), [(10**9, 100), (3 * 2 * 37 * 5, 3), (1, 1)])
def test_calls_are_short_enough_for_an_interrupt(work, longest, monkeypatch):
    taken = []

    def take(self, batches, *others):
        taken.append(len(batches))

    monkeypatch.setattr(_binary_rows.Steps, "take", take)
    monkeypatch.setattr(_step, "WORK_AT_ONCE", work)
    X, settings = np.tile(BITS, (3, 1)), {"batch_size": 1, "n_components": 5}
    fitted(X, solver="cd", n_gibbs_steps=1, weight_decay=0.01, **settings)
    assert max(taken) == longest


@needs_core
def test_rows_in_a_form_that_the_core_does_not_read_give_the_same_model():
    """Also if a first training, of several passes, finds the weight decay."""
    X = (np.random.default_rng(3).random((120, 12)) < 0.3).astype(np.float64)
    wide = sp.csr_array(X)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    for seed in range(3):
        rbm = BernoulliRBMEstimator(8, n_iter=20, random_state=seed)
        dense = rbm.fit(X, sample_weight=WEIGHTS.repeat(2)[:120]).components_
        decay = rbm.weight_decay_
        rbm.fit(wide, sample_weight=WEIGHTS.repeat(2)[:120])
        assert rbm.weight_decay_ == decay
        assert_array_equal(rbm.components_, dense)


@pytest.mark.parametrize("estimator", [BernoulliRBMEstimator, GaussianRBMEstimator])
def test_divergence_between_jumps_is_reported(estimator):
    X = np.tile(BITS, (4, 1)).astype(np.float32)
    rbm = estimator(32, learning_rate=1e6, weight_decay=0.01, n_iter=3, random_state=0)
    with pytest.warns(ConvergenceWarning, match="diverged"):
        rbm.fit(X)
    with pytest.warns(ConvergenceWarning, match="diverged"):
        clone(rbm).partial_fit(X)


def test_a_minibatch_may_be_larger_than_the_data():
    assert fitted(BITS, batch_size=10**9).n_iter_ == 4


@needs_core
@pytest.mark.parametrize("dtype", DTYPES)
def test_shrink(dtype):
    rng = np.random.default_rng(0)
    weights, parts, mu, lam = (
        rng.random(shape).astype(dtype) for shape in ((19, 37), 19, 19, 37)
    )
    expected = weights.copy()
    of_visible = parts * (weights @ lam)
    of_hidden = sum(parts[i] * mu[i] * weights[i] for i in range(19))
    expected -= parts[:, None] * weights
    for shrink in (_binary_rows.shrink, _kernels.shrink):
        shrunk = weights.copy()
        results = shrink(shrunk, parts, mu, lam)
        assert_allclose(shrunk, expected, rtol=1e-5)
        for result, right in zip(results, (of_visible, of_hidden), strict=True):
            assert_allclose(result, right, rtol=1e-5)


@needs_core
@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("dtype", DTYPES)
def test_states_are_drawn_with_the_probabilities_that_values_are(dtype, form, rng):
    p = np.array([0, 0.001, 0.3, 1, 0.5, 0.9999, 1.5, -1], dtype)
    drawn = form(np.tile(p, (50_000, 1)))
    _binary_rows.draw_rows(drawn, rng)
    drawn = drawn.toarray() if sp.issparse(drawn) else drawn
    assert set(np.unique(drawn)) == {0, 1}
    expected = p.clip(0, 1).astype(float)
    error = np.sqrt(expected * (1 - expected) / len(drawn))
    assert_array_equal(drawn.mean(axis=0)[error == 0], expected[error == 0])
    assert (np.abs(drawn.mean(axis=0) - expected) <= 5 * error).all()
    covariance = np.cov(drawn[:, [2, 4]].T)[0, 1]
    assert abs(covariance) < 5 * np.sqrt(0.21 * 0.25 / len(drawn))


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_core)])
@pytest.mark.parametrize("scale", [0.0, 0.1, 30.0])
@pytest.mark.parametrize("n", [1, 15, 16, 17, 512, 513, 1024, 3000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_over_rows(dtype, n, scale, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(_binary_rows, "core", None)
    rng = np.random.default_rng(0)
    x = (scale * rng.standard_normal((7, n))).astype(dtype)
    bias = rng.standard_normal(n).astype(dtype)
    tolerance = {"rtol": 20 * np.finfo(dtype).eps, "atol": 20 * np.finfo(dtype).eps}
    for added, result in (
        (0, _binary_rows.softplus_sums(x)),
        (bias, _binary_rows.softplus_sums(x, bias)),
    ):
        values = (x + added).astype(np.float64)
        assert_allclose(result, np.logaddexp(0, values).sum(axis=1), **tolerance)
    expected = logsumexp(x.astype(np.float64), axis=1) - np.log(n)
    assert_allclose(_binary_rows.log_mean_exps(x), expected, **tolerance)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_core)])
def test_sums_of_values_that_are_not_finite(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(_binary_rows, "core", None)
    x = np.full((3, 20), -np.inf)
    x[0, 3], x[1, 4] = np.nan, np.inf
    assert_array_equal(_binary_rows.softplus_sums(x), [np.nan, np.inf, 0])
