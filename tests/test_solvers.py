"""No-drift tests: samplers must leave the distribution of the model invariant.

Many chains start exactly from the distribution of the model. For any number of steps, and
however slowly the chains mix, their histogram must not change by more than the Monte Carlo
error. A chi-squared statistic is compared with its mean and standard deviation.
"""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import Enumerated, bars_and_stripes, exact, tiny_rbm
from numpy.testing import assert_array_equal

from skrbm import BernoulliRBMEstimator, _kernels
from skrbm._annealing import Path, TemperedChains
from skrbm._compat.sklearn import StrOptions
from skrbm._data import DataSet
from skrbm._phases import DensePhases, SparsePhases
from skrbm._solvers import SOLVERS, PersistentContrastiveDivergence

N_CHAINS = 200_000


def assert_distributed(index, p):
    """Assert that `index` has distribution `p`, within five standard deviations."""
    expected = p * len(index)
    common = expected >= 5
    counts = np.bincount(index, minlength=len(p))
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], max(expected[~common].sum(), 1e-9))
    if expected[-1] < 5:
        observed, expected = observed[:-1], expected[:-1]
    chi2 = ((observed - expected) ** 2 / expected).sum()
    degrees = len(expected) - 1
    assert chi2 < degrees + 5 * np.sqrt(2 * degrees)


def draw(exact, dtype, seed=0):
    """Return independent draws of pairs (v, h) from the exact joint distribution."""
    rng = np.random.default_rng(seed)
    pair = rng.choice(exact.joint.size, size=N_CHAINS, p=exact.joint.ravel())
    v, h = np.divmod(pair, exact.joint.shape[1])
    return exact.v[v].astype(dtype), exact.h[h].astype(dtype)


def index(h):
    return h.astype(int) @ (2 ** np.arange(h.shape[1] - 1, -1, -1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("shape", [(4, 3), (3, 5)])
def test_gibbs_does_not_drift(shape, n_steps, dtype, rng):
    rbm = tiny_rbm(*shape, dtype, scale=1.5)
    exact = Enumerated(*rbm)
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
    exact = Enumerated(*rbm)
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
    rbm.visible_bias[...] = rbm.hidden_bias[...] = -100
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
    rbm.visible_bias[...] = rbm.hidden_bias[...] = -100
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
        for array in self.fast:
            array *= 0.95
        phases.add_gradient(self.fast, offsets)


class Tempered(PersistentContrastiveDivergence):
    """PCD whose chains swap states with chains of a flatter model.

    Desjardins, G. et al. (2010). Tempered Markov chain Monte Carlo for training of
    restricted Boltzmann machines. AISTATS 2010, 145-152.
    """

    def negative_phase(self, model, phases, rng):
        path = Path(model, np.full(len(model.visible), 0.5))
        betas = np.linspace(0.2, 1, 5)
        if not hasattr(self, "tempered"):
            self.tempered = TemperedChains(path, betas, self.chains, rng)
        self.tempered.path = path
        for _ in range(self.n_gibbs_steps):
            self.tempered.step()
        coldest = self.tempered.coldest().astype(model.dtype)
        model.sample_hidden(coldest, rng, out=self.chains)
        phases.sample_negative(model, self.chains, rng, infer_positive=True)

    def resume(self, settings, n_rows):
        solver = super().resume(settings, n_rows)
        if len(solver.chains) != len(self.chains):
            del solver.tempered
        return solver


def own_arrays(solver):
    """Return the arrays of state that a solver has in addition to its chains."""
    return [*solver.fast] if isinstance(solver, FastPersistent) else [solver.tempered.v]


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("kind", [FastPersistent, Tempered])
def test_a_solver_is_one_class(kind, form, monkeypatch):
    """`fit` uses it, `partial_fit` resumes its state, and it is stored with the model."""
    monkeypatch.setitem(SOLVERS, "new", kind)
    constraint = {"solver": [StrOptions({"pcd", "new"})]}
    constraints = BernoulliRBMEstimator._parameter_constraints | constraint
    monkeypatch.setattr(BernoulliRBMEstimator, "_parameter_constraints", constraints)
    X = form(np.tile(bars_and_stripes(), (10, 1)))
    rbm = BernoulliRBMEstimator(8, solver="new", n_iter=300, random_state=0).fit(X)
    truth = exact(rbm).log_likelihood(bars_and_stripes()).mean()
    assert truth > (9 * np.log(0.5) + np.log(1 / 14)) / 2
    assert isinstance(rbm._learning.solver, kind)
    before, name = rbm._learning.solver, "fast" if kind is FastPersistent else "tempered"
    resumed = before.resume(rbm._settings(DataSet(X)), X.shape[0])
    assert vars(resumed)[name] is not vars(before)[name]
    for own, old in zip(own_arrays(resumed), own_arrays(before), strict=True):
        assert_array_equal(own, old)
    again = pickle.loads(pickle.dumps(rbm)).partial_fit(X)
    assert_array_equal(again.components_, rbm.partial_fit(X).components_)
    rbm.set_params(n_chains=50).partial_fit(X)
    assert len(rbm.h_samples_) == 50
    rbm.set_params(solver="pcd").partial_fit(X)
    assert type(rbm._learning.solver) is PersistentContrastiveDivergence
    assert name not in vars(rbm._learning.solver)
