"""Rows of bits and real values on the compiled core, against sums written out in full."""

import itertools

import numpy as np
import pytest
from conftest import PLAIN, needs_core, state_at, states
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

from skrbm import MixedRBMEstimator, _binary_rows
from skrbm._annealing import TemperaturePath
from skrbm._data import DataSet
from skrbm._gaps import Gaps, places_of_gaps
from skrbm._model import RBM
from skrbm._phases import BinaryPhases, DensePhases
from skrbm._step import Learner
from skrbm._units.mixed import MixedUnits

pytestmark = needs_core

TYPES, N_STATES = ["real", "binary", "categorical", "real", "ordinal"], [0, 2, 3, 0, 3]
# All states of a bit, a category and a level, and the bits that encode them.
CODES = np.array(list(itertools.product(range(2), range(3), range(3))))
BIT, CATEGORY, LEVEL = np.array([[0], [1]]), np.eye(3), np.tri(3, 2, -1)
BITS = np.hstack(
    [table[CODES[:, i]] for i, table in enumerate([BIT, CATEGORY, LEVEL])]
).astype(float)
N = 60_000


def model_of(dtype=np.float64, n_hidden=3, seed=0):
    rng = np.random.default_rng(seed)
    units = MixedUnits.for_columns(TYPES, N_STATES, np.float64)
    units = units.map(lambda array: rng.normal(0, 0.5, array.shape))
    weights = rng.normal(0, 0.7, (len(units), n_hidden))
    model = RBM(weights, units, rng.normal(0, 0.5, n_hidden))
    return model.map(lambda array: array.astype(dtype)).align()


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


def test_functions_of_all_arrays(dtype):
    """The parts have the new arrays, of which the biases are slices of the common one."""
    units = model_of(dtype).visible
    others = units.map(np.exp)
    others.encoder, others.rest  # noqa: B018, computed before
    mapped = units.map(lambda a, b: a - 2 * b, others)
    for array, a, b in zip(mapped.arrays, units.arrays, others.arrays, strict=True):
        assert_array_equal(array, a - 2 * b)
    assert mapped.rest is mapped.parts[-1]
    assert mapped.rest.log_variance is mapped.arrays[1]
    biases = [part.bias for part in mapped.parts]
    assert_array_equal(np.concatenate(biases), mapped.bias)
    assert all(np.shares_memory(bias, mapped.bias) for bias in biases)


class Truth:
    """The distribution of rows at an inverse temperature, as a mixture.

    The components are pairs of a hidden state and a state of the bits. In each of them, the
    real values are normal.
    """

    def __init__(self, model, base=None, beta=1.0):
        def parameters(units):
            bits, real = np.split(units.bias.astype(float), [6])
            variance = np.exp(units.parts[-1].log_variance.astype(float))
            return np.append(bits, real / variance), 1 / variance

        linear, precision = parameters(model.visible)
        of_base, of_precision = parameters(model.visible if base is None else base)
        self.h = states(len(model.hidden_bias))
        coupled = beta * (linear + self.h @ model.weights.T) + (1 - beta) * of_base
        precision = beta * precision + (1 - beta) * of_precision
        bits, real = np.split(coupled, [6], axis=1)
        log_p = bits @ BITS.T + (real**2 / precision / 2).sum(axis=1)[:, None]
        log_p += beta * (self.h @ model.hidden_bias)[:, None]
        self.p = np.exp(log_p - logsumexp(log_p))
        self.mean, self.deviation = real / precision, 1 / np.sqrt(precision)

    def draw(self, n, rng, where=True):
        """Return visible rows and hidden states; `where` chooses states of the bits."""
        p = (self.p * where).ravel()
        h, code = np.divmod(rng.choice(p.size, n, p=p / p.sum()), len(CODES))
        real = self.mean[h] + self.deviation * rng.standard_normal((n, 2))
        return np.hstack([BITS[code], real]), self.h[h]

    def assert_follow(self, v, where=True):
        """Assert that means of products of values are those of the distribution."""
        expected, _ = self.draw(20 * len(v), np.random.default_rng(9), where)
        moments = [products(rows) for rows in (v.astype(float), expected)]
        (mean, error), (right, _) = [
            (x.mean(axis=0), x.std(axis=0) / np.sqrt(len(x))) for x in moments
        ]
        assert_allclose(mean, right, atol=1e-6 + 5 * error.max())
        assert (np.abs(mean - right) <= 5.5 * error + 1e-6).all()


def products(v):
    """Return all values, their squares, and products of pairs of them."""
    pairs = itertools.combinations_with_replacement(range(v.shape[1]), 2)
    return np.hstack([v, np.stack([v[:, i] * v[:, j] for i, j in pairs], axis=1)])


def contiguous(model):
    """Return the same model for the engine of NumPy."""
    return model.unaligned()


# Half-steps -----------------------------------------------------------------------------


def test_both_engines_compute_the_same(dtype):
    model = model_of(dtype, n_hidden=70)
    v, _ = Truth(model_of()).draw(50, np.random.default_rng(0))
    h = (np.random.default_rng(1).random((50, 70)) < 0.3).astype(dtype)
    other, v = contiguous(model), v.astype(dtype)
    assert model.is_aligned
    assert not other.is_aligned
    assert_allclose(model.hidden_input(v), other.hidden_input(v), rtol=1e-4, atol=1e-5)
    assert_allclose(model.mean_visible(h), other.mean_visible(h), rtol=1e-4, atol=1e-5)
    assert_allclose(model.free_energy(v), other.free_energy(v), rtol=1e-5)
    v[:, 0] = 0.5  # a mean, which is in no list
    assert_allclose(model.hidden_input(v), other.hidden_input(v), rtol=1e-4, atol=1e-5)


def test_gibbs_steps_do_not_drift(dtype, rng):
    model = model_of(dtype)
    truth = Truth(model)
    v, h = (x.astype(dtype) for x in truth.draw(N, np.random.default_rng(0)))
    truth.assert_follow(model.sample_visible(h, rng))
    assert_allclose(model.sample_hidden(v, rng).mean(axis=0), h.mean(axis=0), atol=0.015)
    model.gibbs(h, 2, rng)
    truth.assert_follow(model.sample_visible(h, rng))


def test_steps_given_a_part_of_a_row_do_not_drift(dtype, rng):
    model = model_of(dtype)
    truth, where = Truth(model), CODES[:, 0] == 1
    v, _ = truth.draw(N, np.random.default_rng(0), where)
    v, free = v.astype(dtype), np.ones((N, 8), dtype=bool)
    free[:, 0] = False
    for _ in model.gibbs_given(v, free, 2, rng):
        pass
    truth.assert_follow(v, where)


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_steps_between_models_do_not_drift(beta, rng):
    """The features at the start, and the model, have variances of their own."""
    model = model_of(np.float32)
    path = TemperaturePath(model, np.full(8, 0.4))
    path.base.parts[-1].log_variance[...] = [0.7, -0.3]
    truth, place = Truth(model, path.base, beta), path.at(beta)
    v, _ = truth.draw(N, np.random.default_rng(0))
    v = v.astype(np.float32)
    third = [slice(0, N // 3), slice(N // 3, N)]
    generators = [(rows, np.random.default_rng(i)) for i, rows in enumerate(third)]
    path.gibbs(v, path.hidden_input(v, place), place, generators)
    truth.assert_follow(v)


# Steps ----------------------------------------------------------------------------------


def rows_of(truth, n, dtype, seed=0):
    """Draw rows, and return them encoded and as coded rows."""
    v, _ = truth.draw(n, np.random.default_rng(seed))
    codes = [v[:, 0], v[:, 1:4] @ range(3), v[:, 4:6].sum(axis=1)]
    coded = np.column_stack([v[:, 6], codes[0], codes[1], v[:, 7], codes[2]])
    return v.astype(dtype), coded.astype(dtype)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_positive", [1, 12])
def test_phases_are_those_of_dense_rows(n_positive, weighted, dtype):
    """The same negative rows give the same means and the same parameters."""
    model, rng = model_of(dtype, n_hidden=35), np.random.Generator(np.random.SFC64(0))
    v, coded = rows_of(Truth(model_of()), n_positive, dtype)
    data = DataSet(coded).encode(model.visible.encoder)
    chains = (np.random.default_rng(1).random((8, 35)) < 0.3).astype(dtype)
    row_weights = np.random.default_rng(0).random(n_positive)
    lists, dense = (kind(model, 12, 8) for kind in (BinaryPhases, DensePhases))
    for phases in (lists, dense):
        phases.load(data, slice(0, n_positive), lambda _: 8)
        if weighted:
            phases.set_row_weights(row_weights, paired=False)
    lists.sample_negative(model, chains, rng, infer_positive=True, continue_chains=True)
    assert_array_equal(dense.positive_visible, v)
    negative = lists._negative
    dense.negative_visible[...] = np.hstack([negative.states, negative.rest])
    assert len(np.unique(negative.rest)) == 16
    model.mean_hidden(dense.visible, out=dense.hidden)
    close = {"rtol": 1e-4, "atol": 1e-5}
    assert_allclose(lists.hidden, dense.hidden, **close)
    assert_allclose(lists.mean_visible(), dense.mean_visible(), **close)
    assert_allclose(lists.mean_hidden(), dense.mean_hidden(), **close)
    mu, lam = (np.random.default_rng(2).random(n).astype(dtype) for n in (8, 35))
    mu[6:] = 0
    changed = [model.copy().align(), model.copy(), contiguous(model)]
    for phases, target in zip([lists, lists, dense], changed, strict=True):
        if target is not changed[1]:
            phases.multiply(0.25)
        phases.add_gradient(target, (mu, lam))
    for arrays in zip(*(target.arrays for target in changed), strict=True):
        for array in arrays[:2]:
            assert_allclose(array, arrays[2], rtol=1e-4, atol=2e-5)


def learner_of(model, data, solver, batch_size=10):
    settings = PLAIN._replace(solver=solver, centering=True, batch_size=batch_size)
    n_chains = batch_size if solver == "cd" else 20
    chains = np.zeros((n_chains, len(model.hidden_bias)))
    state = state_at(model, chains, settings=settings)
    return Learner(state, settings, data.encode(model.visible.encoder))


@pytest.mark.parametrize("solver", ["pcd", "cd", "pt"])
def test_missing_cells_keep_their_distribution(solver):
    """A bit, a level and a number are missing in all rows, and nothing in the last ones."""
    model, n_complete = model_of(), 8
    truth = Truth(model)
    where = CODES[:, 1] == 2
    v, _ = truth.draw(N, np.random.default_rng(0), where)
    _, coded = rows_of(truth, N + n_complete, np.float64)
    code, level = v[:, 0], v[:, 4:6].sum(axis=1)
    coded[:N] = np.column_stack([v[:, 6], code, np.full(N, 2), v[:, 7], level])
    expected = coded.copy()
    coded[:N, [0, 1, 3, 4]] = np.nan
    data = DataSet(coded)
    learner = learner_of(model, data, solver, N // 5)
    assert isinstance(learner.phases, BinaryPhases)
    gaps = learner.state.gaps = Gaps.at(places_of_gaps(data), np.full(8, 0.5))
    gaps.values[:] = before = expected[np.isnan(coded)]
    for _ in range(2):
        learner.epoch([1e-9] * 6, np.random.default_rng(1).permutation(len(coded)))
    assert (gaps.values != before).mean() > 0.5
    after = gaps.values.reshape(N, 4)
    real, bit, level = after[:, [0, 2]], after[:, 1:2], LEVEL[after[:, 3].astype(int)]
    drawn = np.hstack([bit, np.tile(CATEGORY[2], (N, 1)), level, real])
    truth.assert_follow(drawn, where)


@pytest.mark.parametrize("solver", ["pcd", "cd", "pt"])
@pytest.mark.parametrize("gaps", [False, True])
def test_results_do_not_depend_on_the_number_of_threads(gaps, solver, dtype, monkeypatch):
    _, X = rows_of(Truth(model_of()), 60, dtype)
    if gaps:
        X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
    types = ["real", "binary", "categorical", "real", "ordinal"]
    rbm = MixedRBMEstimator(
        20, feature_types=types, solver=solver, n_iter=3, random_state=0
    )
    results = []
    for n_threads in (1, 3):
        monkeypatch.setattr(_binary_rows, "_n_threads", lambda *_, n=n_threads: n)
        results.append(rbm.fit(X).components_.copy())
    assert_array_equal(*results)


def test_real_values_alone_are_multiplied():
    units = MixedUnits.for_columns(["real", "real"], [0, 0], np.float64)
    model = RBM(np.zeros((2, 3)), units, np.zeros(3))
    data = DataSet(np.random.default_rng(0).standard_normal((9, 2)))
    assert not model.may_use_core
    assert units.rest is None
    assert isinstance(learner_of(model, data, "pcd").phases, DensePhases)
