"""Tiny models, for which every quantity can be enumerated, and reference streams.

Models, training states and learners are made here, so that tests depend on few names.
"""

import itertools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits

from skrbm import BernoulliRBMEstimator, _binary_rows, _solvers
from skrbm._annealing import TemperedChains, independent
from skrbm._data import DataSet
from skrbm._model import RBM
from skrbm._record import Record
from skrbm._solvers import SOLVERS
from skrbm._step import Counts, Learned, Learner, Settings, TrainingState, first_state
from skrbm._training import Training, train
from skrbm._units.bernoulli import BernoulliUnits

needs_core = pytest.mark.skipif(
    _binary_rows.core is None, reason="the compiled core is not installed or switched off"
)

PLAIN = Settings(
    solver="pcd",
    n_gibbs_steps=1,
    n_chains=10,
    batch_size=10,
    learning_rate=0.1,
    momentum=0.0,
    weight_decay=0.0,
    decay_ratio=1.0,
    centering=False,
    averaging=False,
    binarize=False,
    compiled=True,
    generative=1.0,
)

N_CHAINS = 100_000
DIGITS = load_digits().data > 7
GRAY = load_digits().data[:60] / 16
BINARY = GRAY > 0.5
SOLVER_NAMES = ["pcd", "cd", "pt"]
FITTED = ["components_", "intercept_visible_", "intercept_hidden_", "h_samples_"]


def states(n):
    """All 2**n binary states, one per row, as float64."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


class Enumerated:
    """Exact distribution of a model, computed from the energy by loops over all states."""

    def __init__(self, weights, visible_bias, hidden_bias):
        weights, visible_bias, hidden_bias = (
            np.asarray(a, dtype=np.float64) for a in (weights, visible_bias, hidden_bias)
        )
        self.v, self.h = states(len(visible_bias)), states(len(hidden_bias))
        self.energy = np.array(
            [
                [-v @ visible_bias - h @ hidden_bias - v @ weights @ h for h in self.h]
                for v in self.v
            ]
        )
        joint = np.exp(-self.energy)
        self.partition = joint.sum()
        self.joint = joint / self.partition
        self.p_v, self.p_h = self.joint.sum(axis=1), self.joint.sum(axis=0)
        self.mean_h_given_v = self.joint @ self.h / self.p_v[:, None]
        self.mean_v_given_h = self.joint.T @ self.v / self.p_h[:, None]

    def index(self, v):
        """Index of each row among the visible states."""
        n = self.v.shape[1]
        return np.asarray(v, dtype=int) @ (2 ** np.arange(n - 1, -1, -1))

    def log_likelihood(self, v):
        return np.log(self.p_v[self.index(v)])

    def pseudo_log_likelihood(self, v):
        total = np.zeros(len(v))
        for i in range(v.shape[1]):
            flipped = v.copy()
            flipped[:, i] = 1 - flipped[:, i]
            p, q = self.p_v[self.index(v)], self.p_v[self.index(flipped)]
            total += np.log(p / (p + q))
        return total

    def gradient(self, v):
        """Exact gradient of the mean log-likelihood: weights, visible and hidden bias."""
        h = self.mean_h_given_v[self.index(v)]
        weights = v.T @ h / len(v) - self.v.T @ self.joint @ self.h
        visible = v.mean(axis=0) - self.p_v @ self.v
        return weights, visible, h.mean(axis=0) - self.p_h @ self.h


def bernoulli_rbm(weights, visible_bias, hidden_bias):
    """Model with these parameters, whose arrays it shares."""
    return RBM(weights, BernoulliUnits(visible_bias), hidden_bias)


def tiny_rbm(n_features, n_components, dtype=np.float64, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return bernoulli_rbm(
        (scale * rng.standard_normal((n_features, n_components))).astype(dtype),
        (0.5 * scale * rng.standard_normal(n_features)).astype(dtype),
        (0.5 * scale * rng.standard_normal(n_components)).astype(dtype),
    )


@pytest.fixture
def rng():
    return np.random.Generator(np.random.SFC64(0))


@pytest.fixture
def without_jumps(monkeypatch):
    """Persistent chains stay in the mode that they are in."""
    monkeypatch.setattr(_solvers, "INTERVALS", {-1.0: _solvers.MANY})


@pytest.fixture
def without_core(monkeypatch):
    """Multiply matrices, as where the compiled core is not installed."""
    monkeypatch.setattr(_binary_rows, "core", None)


def enumerated(estimator):
    """Exact distribution of a fitted estimator."""
    return Enumerated(
        estimator.components_.T,
        estimator.intercept_visible_,
        estimator.intercept_hidden_,
    )


def bars_and_stripes(side=3):
    """All images made of full rows and all images made of full columns."""
    patterns = states(side)
    bars = np.repeat(patterns, side, axis=1)
    stripes = np.tile(patterns, side)
    return np.vstack([bars, stripes])


def splitmix64(state):
    """Generate random numbers of 64 bits, as Steele, Lea and Flood (2014)."""
    while True:
        state = z = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        yield z ^ z >> 31


def xoshiro128pp(state):
    """Generate arrays of random numbers of 32 bits, as Blackman and Vigna (2021).

    `state` has one column for each of several generators side by side.
    """
    s = np.array(state, dtype=np.uint32)
    while True:
        total = s[0] + s[3]
        yield (total << 7 | total >> 25) + s[0]
        t = s[1] << 9
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = s[3] << 11 | s[3] >> 21


def core_words(key, tile, n):
    """Return the first `n` batches of 16 words of the stream of a tile."""
    seeds = splitmix64((next(splitmix64(int(key))) + tile * 0xD1342543DE82EF95) % 2**64)
    words = [word >> shift for word in itertools.islice(seeds, 32) for shift in (0, 32)]
    state = np.reshape([word % 2**32 for word in words], (4, 16))
    batches = itertools.islice(xoshiro128pp(state), n)
    return np.array(list(batches), dtype=np.uint32).reshape(n, 16)


def core_draws(mean, keys, stops, *, hidden):
    """Return the states that the compiled core draws for these means.

    A unit is on if 31 random bits are below its mean, rounded down to as many bits, or if
    its mean is 1. Tiles of hidden units have 256 bytes and tiles of visible units 16 units,
    each with a stream of its own, from which each row takes whole batches.
    """
    n_rows, n_units = mean.shape
    largest = mean.dtype.type(2**31 - 128 if mean.itemsize == 4 else 2**31 - 1)
    threshold = (mean * largest).astype(np.int64)
    size = 256 // mean.itemsize if hidden else 16
    states = np.empty(mean.shape, dtype=bool)
    starts = [0, *stops[:-1]]
    for tile, first in enumerate(range(0, n_units, size)):
        units = slice(first, min(first + size, n_units))
        n_batches = -(-(units.stop - first) // 16)
        for key, start, stop in zip(keys, starts, stops, strict=True):
            rows = slice(start, min(stop, n_rows))
            n = max(0, rows.stop - start)
            words = core_words(key, 2 * tile + (not hidden), n * n_batches)
            words = words.reshape(n, 16 * n_batches)[:, : units.stop - first] % 2**31
            states[rows, units] = words < threshold[rows, units]
    return states | (threshold == largest)


# Sizes of groups of units, with fewer and with more than 16 groups or units in a group.
GROUP_SIZES = {
    "one group": [5],
    "of one": [1] * 17,
    "of two": [2] * 16,
    "of all sizes": [3, 1, 2, 8, 300, 1, 16, 17, 5, 4, 2, 2, 7, 33, 1, 6, 9, 3, 2, 40],
}


def group_starts(sizes):
    """Return the first unit of each group, and the number of units."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def group_states(n_units, thermometer):
    """Return all states of a group, one per row."""
    if thermometer:
        return np.tril(np.ones((n_units + 1, n_units)), -1)
    return np.eye(n_units)


def group_probabilities(y, thermometer):
    """Return the probabilities of the states of a group, given rows of inputs."""
    log_weights = y.astype(np.longdouble) @ group_states(y.shape[1], thermometer).T
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(float)


def means_of_groups(y, starts, thermometer):
    """Return the means of the units of groups, given rows of inputs."""
    groups = np.split(y, starts[1:-1], axis=1)
    means = (
        group_probabilities(group, thermometer) @ group_states(group.shape[1], thermometer)
        for group in groups
    )
    return np.hstack(list(means))


def numbers_of_states(v, starts, thermometer):
    """Return the number of the state of each group, in the order of `group_states`."""
    numbers = []
    for group in np.split(v, starts[1:-1], axis=1):
        equal = group[:, None] == group_states(group.shape[1], thermometer)
        row, number = equal.all(axis=2).nonzero()
        assert_array_equal(row, np.arange(len(v)))  # each row is in one state
        numbers.append(number)
    return np.column_stack(numbers)


def assert_groups_distributed(v, y, starts, thermometer):
    """Assert that groups have the distributions of their inputs, and are independent."""
    numbers = numbers_of_states(v, starts, thermometer)
    index, joint = np.zeros(len(v), int), np.ones(1)
    for group, number in zip(np.split(y, starts[1:-1]), numbers.T, strict=True):
        (p,) = group_probabilities(group[None], thermometer)
        index, joint = index * len(p) + number, np.outer(joint, p).ravel()
    assert_distributed(index, joint)


def exit_code(script):
    """Run a script in a process group of its own; return its code, within five minutes."""
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        return process.wait(timeout=300)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Watch:
    """Callback that calls a function with the number of each finished round."""

    def __init__(self, function):
        self.function = function

    def setup(self, estimator, context):
        pass

    on_fit_task_begin = teardown = setup

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch":
            return self.function(estimator._training.n_done)
        return None


def with_callbacks(parallel, *callbacks):
    """Set callbacks on the estimator of a meta-estimator, or skip the test."""
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")
    parallel.estimator.set_callbacks(*callbacks)
    return parallel


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
    """Number of each row among all states."""
    return h.astype(int) @ (2 ** np.arange(h.shape[1] - 1, -1, -1))


def by_hand(model):
    """Estimator that has only its parameters, set by hand."""
    rbm = BernoulliRBMEstimator()
    rbm.components_ = model.weights.T
    rbm.intercept_visible_, rbm.intercept_hidden_ = model.visible.bias, model.hidden_bias
    return rbm


def rungs(n_features, n_components, dtype=np.float32, scale=1.5):
    """Three models: independent features, another one, and `tiny_rbm`."""
    shape = n_features, n_components
    other = tiny_rbm(*shape, dtype, scale=2 * scale / 3, seed=1)
    model = tiny_rbm(*shape, dtype, scale=scale)
    return [independent(model, other.visible), other, model]


@pytest.fixture(scope="module")
def digits_rbm():
    return BernoulliRBMEstimator(12, n_iter=20, random_state=0).fit(DIGITS)


def two_modes(dtype=np.float64):
    """Model with two distant modes, all off and all on, that plain chains rarely leave."""
    model = tiny_rbm(8, 2, dtype, scale=0.0)
    model.weights[:, 0] = 6
    model.visible.bias[...] = -3
    model.hidden_bias[0] = -24
    return model


def assert_tempered_chains_keep(path, betas, exact):
    """Chains started from the distributions of all rungs keep them."""
    n, n_components = N_CHAINS // 4, len(path.model.hidden_bias)
    rng = np.random.Generator(np.random.SFC64(0))
    tempered = TemperedChains(path, np.array(betas), np.zeros((n, n_components)), rng)
    v = states(len(path.base))
    starts = [v[np.random.default_rng(0).choice(len(v), n, p=p)] for p in exact]
    tempered.v[...] = np.concatenate(starts)
    tempered._hidden_input[...] = path.hidden_input(tempered.v, tempered.places)
    for _ in range(4):
        accept = tempered.step()
        assert accept.shape == (len(betas) - 1, n)
        assert 0.2 < accept.mean() < 1
        for k, p in enumerate(exact):
            assert_distributed(index(tempered.v[k * n : (k + 1) * n]), p)
        hidden_input = path.hidden_input(tempered.v, tempered.places)
        assert_allclose(tempered._hidden_input, hidden_input, rtol=1e-4, atol=1e-6)


def untrained_state(settings, X, n_components):
    """State in which a training on `X` starts."""
    n_rows, n_features = X.shape
    units = BernoulliUnits(np.zeros(n_features))
    return first_state(settings, units, n_rows, n_components, seed=0)


def state_at(rbm, chains, seed=0, settings=PLAIN):
    """State of a training with the parameters of a model and these chains."""
    solver = SOLVERS[settings.solver](chains.astype(rbm.dtype), settings.n_gibbs_steps)
    return TrainingState(
        Learned(rbm.copy(), np.full(len(rbm.hidden_bias), 0.5, rbm.dtype)),
        Counts(np.zeros(len(rbm.visible.bias))),
        solver,
        np.random.Generator(np.random.SFC64(seed)),
    )


def learner_on(X, state, settings=PLAIN, weights=None):
    """Learner that changes the state by steps on these rows."""
    return Learner(state, settings, DataSet(X, None, weights))


def centered(gradient, mu, lam):
    """Centered gradient, from the plain gradient, as in Melchior et al. (2016)."""
    weights, visible, hidden = gradient
    weights = weights - np.outer(mu, hidden) - np.outer(visible, lam)
    return weights, visible - weights @ lam, hidden - weights.T @ mu


def run_training(
    settings=PLAIN,
    *,
    X=None,
    rows=None,
    validation=None,
    n_epochs=4,
    schedule="linear",
    shuffle=True,
):
    """Train as `fit` does; return the training and its epochs."""
    data = DataSet(bars_and_stripes() if X is None else X, rows)
    state = first_state(
        settings, BernoulliUnits(np.zeros(data.n_features)), len(data), 6, seed=0
    )
    record = Record(data, state, n_epochs, validation)
    training = Training(data, state, record, settings, n_epochs)
    epochs = []
    plan = {"n_epochs": n_epochs, "schedule": schedule, "shuffle": shuffle}
    for epoch in train(state, settings, data, **plan):
        training.add(epoch)
        epochs.append((epoch, state.model.weights.copy()))
        if training.record.exhausted:
            break
    return training, epochs


def make_rbm(**parameters):
    """Small estimator that is fitted fast and always in the same way."""
    defaults = {"n_components": 8, "n_iter": 3, "random_state": 0}
    return BernoulliRBMEstimator(**defaults | parameters)


def assert_same_model(a, b, **tolerance):
    """Assert that two estimators have equal models and chains."""
    for name in FITTED:
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == y.dtype
        if tolerance:
            assert_allclose(x, y, err_msg=name, **tolerance)
        else:
            assert_array_equal(x, y, err_msg=name)
