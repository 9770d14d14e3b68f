"""No-drift tests: samplers must leave the distribution of the model invariant.

Many chains start exactly from the distribution of the model. For any number of steps, and
however slowly the chains mix, their histogram must not change by more than the Monte Carlo
error. A chi-squared statistic is compared with its mean and standard deviation.
"""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import (
    N_CHAINS,
    PLAIN,
    Enumerated,
    assert_distributed,
    bars_and_stripes,
    bernoulli_rbm,
    draw,
    enumerated,
    index,
    learner_on,
    needs_core,
    state_at,
    states,
    tiny_rbm,
)
from numpy.testing import assert_allclose, assert_array_equal

from skrbm import BernoulliRBMEstimator, _binary_rows, _kernels, _solvers
from skrbm._compat.sklearn import StrOptions
from skrbm._data import DataSet
from skrbm._fitting import PartialFit
from skrbm._model import RBM
from skrbm._phases import BinaryPhases, DensePhases, SparsePhases
from skrbm._solvers import SOLVERS, PersistentContrastiveDivergence
from skrbm._step import Counts
from skrbm._units.gaussian import GaussianUnits


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("shape", [(4, 3), (3, 5)])
def test_gibbs_does_not_drift(shape, n_steps, dtype, rng):
    rbm = tiny_rbm(*shape, dtype, scale=1.5)
    exact = Enumerated(*rbm.arrays)
    v, h = draw(exact, dtype)
    assert_distributed(index(v), exact.p_v)
    assert_distributed(index(rbm.sample_hidden(v, rng)), exact.p_h)
    assert_distributed(index(rbm.sample_visible(h, rng)), exact.p_v)
    rbm.gibbs(h, n_steps, rng)
    assert_distributed(index(h), exact.p_h)


@pytest.mark.parametrize("phases", [DensePhases, SparsePhases])
@pytest.mark.parametrize("n_gibbs_steps", [1, 3])
@pytest.mark.parametrize("solver", ["cd", "pcd"])
def test_solvers_do_not_drift(solver, n_gibbs_steps, phases, rng):
    """Chains started from the model, or from data drawn from it, keep its distribution."""
    rbm = tiny_rbm(4, 3, scale=1.5)
    exact = Enumerated(*rbm.arrays)
    v, h = draw(exact, np.float64)
    X = sp.csr_array(v) if phases is SparsePhases else v
    solver = SOLVERS[solver](h, n_gibbs_steps)
    phases = phases(rbm, N_CHAINS, N_CHAINS)
    phases.load(DataSet(X), slice(0, N_CHAINS), solver.n_negative)
    solver.negative_phase(rbm, phases, rng)
    assert_distributed(index(h), exact.p_h)
    assert_distributed(index(negative_rows(phases)), exact.p_v)
    hidden = exact.mean_h_given_v
    np.testing.assert_allclose(phases.positive_hidden, hidden[index(v)])
    negative = index(negative_rows(phases))
    np.testing.assert_allclose(phases.negative_hidden, hidden[negative])


def negative_rows(phases):
    if isinstance(phases, DensePhases):
        return phases.negative_visible
    blocks = [
        sp.csr_array((block.data, block.indices, block.indptr)).toarray()
        for block in phases._negative
    ]
    return np.hstack(blocks)


def test_cd_starts_at_the_rows():
    """With weights that copy units one to one, the negative rows of CD are the data."""
    rbm = tiny_rbm(4, 4, scale=0.0)
    rbm.weights[...] = 200 * np.eye(4)
    rbm.visible.bias[...] = rbm.hidden_bias[...] = -100
    v = np.random.default_rng(0).integers(2, size=(50, 4)).astype(float)
    rng = np.random.Generator(np.random.SFC64(0))
    for k in (1, 5):
        solver = SOLVERS["cd"](np.zeros((50, 4)), k)
        phases = DensePhases(rbm, 50, 50)
        phases.load(DataSet(v), slice(0, 50), solver.n_negative)
        solver.negative_phase(rbm, phases, rng)
        assert_array_equal(phases.negative_visible, v)


def test_pcd_continues_its_chains():
    rbm = tiny_rbm(4, 4, scale=0.0)
    rbm.weights[...] = 200 * np.eye(4)
    rbm.visible.bias[...] = rbm.hidden_bias[...] = -100
    start = np.random.default_rng(0).integers(2, size=(30, 4)).astype(float)
    chains = start.copy()
    solver = SOLVERS["pcd"](chains, 3)
    phases = DensePhases(rbm, 10, 30)
    phases.load(DataSet(np.ones((10, 4))), slice(0, 10), solver.n_negative)
    solver.negative_phase(rbm, phases, np.random.Generator(np.random.SFC64(0)))
    assert_array_equal(phases.negative_visible, start)
    assert_array_equal(solver.chains, start)


class FastPersistent(PersistentContrastiveDivergence):
    """Fast PCD, whose chains use additional weights that learn fast and decay.

    Tieleman, T. and Hinton, G. (2009). Using fast weights to improve persistent
    contrastive divergence. ICML 2009, 1033-1040.
    """

    def negative_phase(self, model, phases, rng):
        if not hasattr(self, "fast"):
            self.fast = model.map(np.zeros_like)
        phases.infer_positive(model)
        together = model.map(np.add, self.fast)
        together.gibbs(self.chains, self.n_gibbs_steps - 1, rng)
        phases.sample_negative(together, self.chains, rng, infer_positive=False)
        _kernels.bernoulli(phases.negative_hidden, rng, out=self.chains)

    def after_update(self, phases, offsets):
        for array in self.fast.arrays:
            array *= 0.95
        phases.add_gradient(self.fast, offsets)


def settings_of_partial_fit(rbm, X):
    call = PartialFit(rbm, X, None)
    return call.settings(DataSet(X), call.choose)


@pytest.mark.slow
@pytest.mark.parametrize("form", [np.array, sp.csr_array])
def test_a_solver_is_one_class(form, monkeypatch):
    """`fit` uses it, `partial_fit` resumes its state, and it is stored with the model."""
    monkeypatch.setitem(SOLVERS, "new", FastPersistent)
    constraint = {"solver": [StrOptions({"pcd", "new"})]}
    constraints = BernoulliRBMEstimator._parameter_constraints | constraint
    monkeypatch.setattr(BernoulliRBMEstimator, "_parameter_constraints", constraints)
    X = form(np.tile(bars_and_stripes(), (10, 1)))
    rbm = BernoulliRBMEstimator(8, solver="new", n_iter=150, random_state=0).fit(X)
    truth = enumerated(rbm).log_likelihood(bars_and_stripes()).mean()
    assert truth > (9 * np.log(0.5) + np.log(1 / 14)) / 2
    assert isinstance(rbm._learning.solver, FastPersistent)
    before = rbm._learning.solver
    resumed = before.resume(settings_of_partial_fit(rbm, X), X.shape[0])
    assert resumed.fast is not before.fast
    for own, old in zip(resumed.fast.arrays, before.fast.arrays, strict=True):
        assert_array_equal(own, old)
    again = pickle.loads(pickle.dumps(rbm)).partial_fit(X)
    assert_array_equal(again.components_, rbm.partial_fit(X).components_)
    rbm.set_params(n_chains=50).partial_fit(X)
    assert len(rbm.h_samples_) == 50
    rbm.set_params(solver="pcd").partial_fit(X)
    assert type(rbm._learning.solver) is PersistentContrastiveDivergence
    assert "fast" not in vars(rbm._learning.solver)


# Parallel tempering -----------------------------------------------------------------------

BETAS = np.array([0, 0.2, 0.6, 1.0])


def tempered_solver(rbm, base_mean, n_chains, dtype, n_gibbs_steps=1, seed=0):
    """Return a solver with exact draws at each temperature, and their distributions."""
    exact, rng = Enumerated(*rbm.arrays), np.random.default_rng(seed)
    solver = SOLVERS["pt"](np.zeros((n_chains, exact.h.shape[1]), dtype), n_gibbs_steps)
    base = exact.v @ np.log(base_mean / (1 - base_mean))
    p = []
    for beta in BETAS:
        weights = np.exp((1 - beta) * base[:, None] - beta * exact.energy).sum(axis=1)
        p.append(weights / weights.sum())
    assert np.allclose(p[-1], exact.p_v)
    rows = np.array([rng.choice(len(exact.v), n_chains, p=p_beta) for p_beta in p])
    solver.v, solver.betas = exact.v[rows].astype(np.uint8), BETAS
    solver.base_mean, solver.rejected = base_mean, np.zeros(len(BETAS) - 1)
    return solver, p


CORE = [pytest.param(True, marks=needs_core), False]
# The phases of binary rows are those of the core.
PHASES = [(DensePhases, False), (SparsePhases, False)] + [
    pytest.param(phases, True, marks=needs_core)
    for phases in (DensePhases, SparsePhases, BinaryPhases)
]


@pytest.mark.parametrize(("phases", "compiled"), PHASES)
@pytest.mark.parametrize("n_gibbs_steps", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tempering_does_not_drift(dtype, n_gibbs_steps, phases, compiled, monkeypatch, rng):
    """Chains that start from the distribution at each temperature keep it."""
    if not compiled:
        monkeypatch.setattr(_binary_rows, "core", None)
    rbm = tiny_rbm(4, 3, dtype, scale=1.5)
    exact = Enumerated(*rbm.arrays)
    X = np.array([[1, 0, 1, 0], [0, 0, 1, 1], [0, 1, 1, 1.0]])
    mean, n = X.mean(axis=0).clip(0.001, 0.999), N_CHAINS // 4
    solver, p = tempered_solver(rbm, mean, n, dtype, n_gibbs_steps)
    phases = phases(rbm, 3, n)
    form = sp.csr_array if isinstance(phases, SparsePhases) else np.array
    phases.load(DataSet(form(X.astype(dtype))), slice(0, 3), solver.n_negative)
    before = solver.v.copy()
    for n_minibatches in (1, 2):  # all pairs swap
        solver.negative_phase(rbm, phases, rng)
        assert solver.n_minibatches == n_minibatches
        for v, p_beta in zip(solver.v, p, strict=True):
            assert_distributed(index(v), p_beta)
        assert_distributed(index(solver.chains), exact.p_h)
        hidden = exact.mean_h_given_v
        assert_allclose(phases.positive_hidden, hidden[index(X)], rtol=1e-5)
        mean_hidden = phases.negative_hidden.mean(axis=0)
        assert_allclose(mean_hidden, exact.p_h @ exact.h, atol=5 / np.sqrt(n))
    assert (before != solver.v).any(axis=(1, 2)).all()
    assert (solver.rejected > 0).all()


@pytest.mark.parametrize("compiled", CORE)
@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("centering", [False, True])
def test_a_tempered_step_is_the_exact_gradient(centering, form, compiled, monkeypatch):
    """Weighted rows, and chains in equilibrium at all temperatures."""
    if not compiled:
        monkeypatch.setattr(_binary_rows, "core", None)
    rbm, n_chains = tiny_rbm(5, 3), N_CHAINS // 2
    rows = np.random.default_rng(2).integers(2, size=(7, 5)).astype(float)
    weights = np.array([1, 2, 1, 3, 1, 2, 4])
    mean = np.average(rows, axis=0, weights=weights).clip(0.001, 0.999)
    solver, _ = tempered_solver(rbm, mean, n_chains, np.float64)
    settings = PLAIN._replace(solver="pt", centering=centering, batch_size=7)
    state = state_at(rbm, solver.chains, settings=settings)
    state.counts, state.solver = Counts(np.linspace(1, 8, 5), 9), solver
    learner = learner_on(form(rows), state, settings, weights / weights.mean())
    learner.steps([slice(0, 7)], [0.25])
    dw, db, dc = Enumerated(*rbm.arrays).gradient(np.repeat(rows, weights, axis=0))
    if centering:
        mu, lam = state.visible_mean, state.learned.hidden_mean
        dw = dw - np.outer(mu, dc) - np.outer(db, lam)
        db, dc = db - dw @ lam, dc - dw.T @ mu
    for after, before, change in zip(
        state.model.arrays, rbm.arrays, (dw, db, dc), strict=True
    ):
        assert_allclose((after - before) / 0.25, change, atol=6 / np.sqrt(n_chains))


def all_on_or_all_off():
    """Return a model of eight features that are nearly all on or all off."""
    weights = np.full((8, 3), 3.0)
    return bernoulli_rbm(weights, np.full(8, -4.5), np.full(3, -12.0))


@pytest.mark.parametrize("solver", ["pcd", "pt", "without jumps"])
def test_chains_move_between_modes(solver, rng, request):
    """All chains start in the same mode."""
    rbm, X = all_on_or_all_off(), np.repeat([[0.0], [1.0]], 8, axis=1)
    exact = Enumerated(*rbm.arrays)
    share = exact.p_h[0]
    assert 0.3 < share < 0.7
    assert exact.p_h[[0, -1]].sum() > 0.9
    jumps = solver != "without jumps"
    if not jumps:
        request.getfixturevalue("without_jumps")
    solver = SOLVERS[solver if jumps else "pcd"](np.zeros((100, 3)), 1)
    phases = DensePhases(rbm, 2, 100)
    phases.load(DataSet(X), slice(0, 2), solver.n_negative)
    shares = []
    for _ in range(500):
        solver.prepare(rbm, rng)
        solver.negative_phase(rbm, phases, rng)
        shares.append(np.mean(solver.chains.sum(axis=1) < 1.5))
    if jumps:
        expected = exact.p_h[exact.h.sum(axis=1) < 1.5].sum()
        assert abs(np.mean(shares[100:]) - expected) < 0.05
    else:
        assert min(shares) > 0.85


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_jumps_do_not_drift(dtype, rng):
    """The states to jump to need not be those of the model, or all of them."""
    rbm = tiny_rbm(4, 3, dtype, scale=1.5)
    exact = Enumerated(*rbm.arrays)
    _, h = draw(exact, dtype)
    means = np.array([[0.9, 0.2, 0.1], [1.0, 0.8, 0.3], [0.4, 0.7, 0.2]], dtype)
    before = h.copy()
    accepted = _solvers.jump(rbm, h, means, rng)
    assert_distributed(index(h), exact.p_h)
    moved = np.mean((h != before).any(axis=1))
    assert 0.2 < moved < accepted < 0.9  # some proposals are the same state
    h[...] = 0
    for _ in range(60):
        _solvers.jump(rbm, h, means, rng)
    assert_distributed(index(h), exact.p_h)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_jumps_between_clusters_of_real_values(scale, rng):
    """All chains start in the same cluster."""
    model = RBM(
        np.array([[scale, -scale], [0.0, 2 * scale]]),
        GaussianUnits(np.zeros(2), np.zeros(2), np.zeros(2), np.ones(2)),
        np.array([-0.5 * scale**2, -2.5 * scale**2]),
    )
    h = np.zeros((20_000, 2))
    p = np.exp(-model.hidden_free_energy(states(2)))
    for _ in range(40):
        _solvers.jump(model, h, np.array([[0.3, 0.4], [0.8, 0.1], [0.5, 0.9]]), rng)
    assert_distributed(index(h), p / p.sum())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.5, 0.7])
def test_two_modes_are_learned_in_proportion(share, seed):
    X = np.zeros((1000, 10))
    X[: round(1000 * share)] = 1
    rbm = BernoulliRBMEstimator(16, n_iter=60, random_state=seed).fit(X)
    p = np.exp(rbm.log_likelihood([[0] * 10, [1] * 10]))
    assert_allclose(p, [1 - share, share], atol=0.1)


@pytest.mark.parametrize("p", [0.01, 0.03])
def test_rare_equal_columns_are_learned(p):
    """They have little variance, but many weights that change together."""
    X = np.zeros((4000, 18))
    X[: round(4000 * p)] = 1
    rbms = [BernoulliRBMEstimator(32, n_iter=20, random_state=k).fit(X) for k in range(5)]
    best = p * np.log(p) + (1 - p) * np.log(1 - p)
    # With a few seeds of a hundred, the columns are on too often for a while.
    assert np.median([rbm.log_likelihood(X).mean() for rbm in rbms]) > best - 0.1


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["pcd", "pt"])
def test_clusters_are_learned(solver):
    rng = np.random.default_rng(0)
    centers = rng.integers(2, size=(6, 60)) * 0.9 + 0.05
    X = (rng.random((600, 60)) < np.repeat(centers, 100, axis=0)).astype(np.float32)
    settings = {"solver": solver, "n_chains": 30, "n_iter": 60, "random_state": 0}
    rbm = BernoulliRBMEstimator(8, **settings).fit(X)
    best = np.log(1 / 6) + 60 * (0.95 * np.log(0.95) + 0.05 * np.log(0.05))
    assert rbm.log_likelihood(X).mean() > best - 1


def test_few_jumps_are_tried_if_none_is_accepted(rng, monkeypatch):
    """There, they would only cost time."""
    accepted, n_jumps = [], []

    def jump(model, h, means, rng):
        n_jumps.append(len(means))
        return accepted[-1]

    monkeypatch.setattr(_solvers, "jump", jump)
    rbm, X = tiny_rbm(4, 3), np.ones((30, 4))
    solver = SOLVERS["pcd"](np.zeros((10, 3)), 1)
    phases = DensePhases(rbm, 30, 10)
    phases.load(DataSet(X), slice(0, 30), solver.n_negative)
    counts = []
    for chance in (0.5, 0.0, 0.0, 0.0, 0.5):
        accepted.append(chance)
        n_jumps.clear()
        for _ in range(2000):
            assert 1 <= solver.prepare(rbm, rng) <= 100
            solver.negative_phase(rbm, phases, rng)
        counts.append(len(n_jumps))
    assert counts[0] >= 199
    assert counts[-2] <= 20
    assert counts[-1] > 150
    assert set(n_jumps) == {_solvers.N_TO_JUMP_TO}


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["pcd", "pt"])
def test_gray_levels_used_unchanged(solver):
    """Without binarization, rows are real and chains are binary."""
    X = np.tile(bars_and_stripes(), (10, 1)) * 0.8 + 0.1
    settings = {"solver": solver, "n_chains": 40, "n_iter": 50, "random_state": 0}
    rbm = BernoulliRBMEstimator(8, stochastic_binarization=False, **settings).fit(X)
    exact = Enumerated(rbm.components_.T, rbm.intercept_visible_, rbm.intercept_hidden_)
    assert_allclose(exact.p_v @ exact.v, X.mean(axis=0), atol=0.1)
    binary = BernoulliRBMEstimator(8, **settings).fit(X)
    assert not np.allclose(rbm.components_, binary.components_)


@pytest.mark.slow
def test_temperatures_follow_the_rejections():
    """All neighbors swap about equally often, while the model stays as it is."""
    rbm, rng = (
        tiny_rbm(8, 6, np.float32, scale=3.0),
        np.random.Generator(np.random.SFC64(0)),
    )
    solver = SOLVERS["pt"](np.zeros((100, 6), np.float32), 1)
    phases = DensePhases(rbm, 2, 100)
    X = np.repeat([[0.0], [1.0]], 8, axis=1)
    phases.load(DataSet(X.astype(np.float32)), slice(0, 2), solver.n_negative)
    spreads = []
    for number in range(1, 999):
        solver.negative_phase(rbm, phases, rng)
        if number in (99, 998):
            spreads.append(np.ptp(solver.rejected))
    assert spreads[1] < spreads[0] / 2
    assert solver.betas[0] == 0
    assert solver.betas[-1] == 1
    assert (np.diff(solver.betas) > 0).all()
    assert_allclose(solver.base_mean, 0.5)


def test_tempered_chains_are_continued():
    """With their temperatures, by any number of chains, and from other solvers."""
    X = np.tile(bars_and_stripes(), (10, 1))
    rbm = BernoulliRBMEstimator(8, solver="pt", n_iter=20, n_chains=7, random_state=0)
    rbm.fit(X)
    before = rbm._learning.solver
    assert before.v.shape == (10, 7, 9)
    for n_chains in (7, 20, 3):
        rbm.set_params(n_chains=n_chains)
        after = before.resume(settings_of_partial_fit(rbm, X), len(X))
        assert after.v.shape == (10, n_chains, 9)
        assert_array_equal(after.v[:, :3], before.v[:, :3])
        assert not np.shares_memory(after.v, before.v)
        assert_array_equal(after.betas, before.betas)
        rbm.partial_fit(X)
        assert len(rbm.h_samples_) == n_chains
    again = pickle.loads(pickle.dumps(rbm)).partial_fit(X)
    assert_array_equal(again.components_, rbm.partial_fit(X).components_)
    rbm.set_params(solver="pcd").partial_fit(X)
    assert type(rbm._learning.solver) is PersistentContrastiveDivergence
    rbm.set_params(solver="pt", warm_start=True).fit(X)
    assert rbm._learning.solver.v.shape == (10, 3, 9)
    assert len(rbm.h_samples_) == 3
