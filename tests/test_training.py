"""The learning step, compared with the exact gradient, and the epoch loop."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import (
    PLAIN,
    Enumerated,
    bars_and_stripes,
    centered,
    core_draws,
    learner_on,
    needs_core,
    run_training,
    state_at,
    states,
    tiny_rbm,
    untrained_state,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

from skrbm import _binary_rows, _rules, _step
from skrbm._data import DataSet
from skrbm._step import Counts
from skrbm._training import train


def chains_of(rbm, n, seed=1):
    """Hidden states drawn from the model."""
    exact = Enumerated(*rbm.arrays)
    rows = np.random.default_rng(seed).choice(len(exact.h), size=n, p=exact.p_h)
    return exact.h[rows]


@pytest.mark.parametrize("form", [np.array, sp.csr_array, np.uint8, "csr_uint8"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("centering", [False, True])
@pytest.mark.parametrize("n_rows", [1, 7, 64])
def test_step_is_the_exact_gradient(n_rows, centering, dtype, form):
    """PCD with many chains in equilibrium gives the gradient for any batch size."""
    rbm = tiny_rbm(5, 3, dtype)
    rows = np.random.default_rng(2).integers(2, size=(n_rows, 5))
    X = {np.uint8: rows.astype(np.uint8), "csr_uint8": sp.csr_array(rows, dtype=np.uint8)}
    X = X[form] if form in X else form(rows.astype(dtype))
    visible_sum = np.linspace(1, 8, 5)
    settings = PLAIN._replace(batch_size=n_rows, centering=centering)
    rate, n_chains, n_repeats = 0.25, 20_000, 4
    change = [0, 0, 0]
    for seed in range(n_repeats):
        state = state_at(rbm, chains_of(rbm, n_chains, seed), seed)
        state.counts = Counts(visible_sum, 9)
        learner_on(X, state, settings).epoch([rate])
        for i, (after, before) in enumerate(
            zip(state.model.arrays, rbm.arrays, strict=True)
        ):
            assert after.dtype == dtype
            change[i] += (after.astype(float) - before) / rate / n_repeats

    exact = Enumerated(*rbm.arrays)
    gradient = exact.gradient(rows.astype(float))
    if centering:
        lam = 0.5 + _step.HIDDEN_MEAN_RATE * (
            exact.mean_h_given_v[exact.index(rows)].mean(axis=0) - 0.5
        )
        assert_allclose(state.learned.hidden_mean, lam, rtol=1e-5)
        gradient = centered(gradient, (visible_sum + 23 / 46) / 10, lam)
    error = 6 / np.sqrt(n_chains * n_repeats)
    for mean_change, expected in zip(change, gradient, strict=True):
        assert_allclose(mean_change, expected, atol=error)


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("n_positive", [1, 3, 8])
def test_two_means_each_by_its_own_count(n_positive, form):
    """If all rows are equal, both means are equal for any number of rows."""
    rbm = tiny_rbm(4, 4, scale=0.0)
    rbm.weights[...] = 200 * np.eye(4)
    rbm.visible.bias[...] = rbm.hidden_bias[...] = -100
    row = np.array([1.0, 0, 1, 0])
    state = state_at(rbm, np.tile(row, (5, 1)))
    X = form(np.tile(row, (n_positive, 1)))
    learner_on(X, state).epoch([1.0])
    for after, before in zip(state.model.arrays, rbm.arrays, strict=True):
        assert_allclose(after, before, atol=1e-12)


@pytest.mark.parametrize("k", [1, 40])
def test_cd_with_many_steps_follows_the_gradient(k):
    rbm = tiny_rbm(4, 3)
    v = states(4)[[1, 3, 3, 12]]
    X = np.tile(v, (20_000, 1))
    settings = PLAIN._replace(solver="cd", n_gibbs_steps=k, batch_size=len(X))
    state = state_at(rbm, np.zeros((len(X), 3)), settings=settings)
    learner_on(X, state, settings).epoch([1.0])
    expected = Enumerated(*rbm.arrays).gradient(v)
    error = max(
        np.abs(after - before - change).max()
        for after, before, change in zip(
            state.model.arrays, rbm.arrays, expected, strict=True
        )
    )
    noise = 6 / np.sqrt(len(X))
    assert error < noise if k == 40 else error > noise


def test_momentum_and_weight_decay():
    """Both steps are written out for chains that cannot move, without randomness."""
    rbm = tiny_rbm(4, 4, scale=0.0)
    rbm.weights[...] = 200 * np.eye(4)
    rbm.visible.bias[...] = rbm.hidden_bias[...] = -100
    X, chain = np.ones((1, 4)), np.array([[1.0, 0, 0, 1]])
    state = state_at(rbm, chain)
    settings = PLAIN._replace(batch_size=1, momentum=0.5, weight_decay=0.01)
    learner = learner_on(X, state, settings)
    gradient = np.outer(X, X) - np.outer(chain, chain)
    learner.epoch([0.1])
    expected = rbm.weights * (1 - 0.001) + 0.1 * gradient
    assert_allclose(state.model.weights, expected)
    assert_allclose(state.model.visible.bias, -100 + 0.1 * (X - chain)[0])
    learner.epoch([0.2])
    expected = expected * (1 - 0.002) + (0.5 * 0.1 + 0.2) * gradient
    assert_allclose(state.model.weights, expected)
    assert_allclose(state.model.hidden_bias, -100 + (0.1 + 0.05 + 0.2) * (X - chain)[0])


@pytest.mark.slow
@pytest.mark.parametrize("centering", [True, False])
def test_weight_decay_is_a_prior_on_the_weights_alone(centering):
    """At the optimum, means match those of the data, and weights are as large as pulled."""
    X = np.repeat([[0.0] * 4, [1.0] * 4], [70, 30], axis=0)
    settings = PLAIN._replace(weight_decay=0.1, averaging=True, centering=centering)
    training, _ = run_training(settings, X=X, n_epochs=600)
    model = training.state.result
    assert np.abs(model.weights).max() > 0.5
    pull, *means = Enumerated(*model.arrays).gradient(X)
    assert_allclose(pull, 0.1 * model.weights, atol=0.02)
    for difference in means:
        assert_allclose(difference, 0, atol=0.02)


def train_written_out(state, settings, X, n_epochs, compiled):
    """Reference implementation of a whole training run, directly from the formulas.

    It draws one number per unit. The package computes the same in different blocks and
    orders: with stacked phases, without explicit probabilities, and with sparse sums. If
    `compiled` is True, the random numbers are those of the compiled core.
    """
    (W, b, c), chains, rng = state.model.arrays, state.solver.chains, state.rng
    n_features = len(b)
    lam, total, n_seen = state.learned.hidden_mean, np.zeros(n_features), 0
    velocity, average = [0 * W, 0 * b, 0 * c], [W, b, c]
    rate, n_steps, recent = settings.learning_rate, 0, []

    def logistic(x):
        return 1 / (1 + np.exp(-x))

    def draw_key():
        return rng.bit_generator.random_raw() if compiled else None

    def draw(p, key=None, hidden=True):
        if key is not None:
            return core_draws(p, [key], [len(p)], hidden=hidden).astype(float)
        # From the low, then the high half of 64 bits, row by row.
        words = rng.bit_generator.random_raw((p.size + 1) // 2).astype("<u8")
        signed = words.view("<i4")[: p.size].reshape(p.shape)
        return ((signed / 2**31 + 1) / 2 < p).astype(float)

    def draw_visible(h, key):
        p = logistic(h @ W.T + b)
        if key is not None:
            return draw(p, key, hidden=False)
        # 1024 features of all rows, then the next ones.
        return np.hstack([draw(p[:, i : i + 1024]) for i in range(0, n_features, 1024)])

    def log_joint_sums(h):  # over the visible states
        x = h @ W.T + b
        return h @ c + np.logaddexp(0, x).sum(axis=1)

    def jump(chains):
        m = np.clip(np.reshape(recent[-200:], (-1, len(c))), 1e-4, 1 - 1e-4)
        drawn = m[rng.integers(len(m), size=len(chains))]
        new = draw(drawn, draw_key())

        def log_ratio(h):
            log_q = np.log(m) @ h.T + np.log(1 - m) @ (1 - h).T
            return log_joint_sums(h) - logsumexp(log_q, axis=0)

        chances = np.exp(log_ratio(new) - log_ratio(chains))
        return np.where((rng.random(len(chains)) < chances)[:, None], new, chains)

    def visible_mean():
        ghost = (total.sum() + 0.5) / (n_seen * n_features + 1)
        return (total + ghost) / (n_seen + 1)

    def log_odds(p):
        return np.log(p) - np.log(1 - p)

    for epoch in range(n_epochs):
        for start in range(0, len(X), settings.batch_size):
            v = X[start : start + settings.batch_size]
            if epoch == 0:
                before = log_odds(visible_mean())
                total, n_seen = total + v.sum(axis=0), n_seen + len(v)
                follow = log_odds(visible_mean()) - before
                b, average[1] = b + follow, average[1] + follow
            if settings.solver == "pcd" and n_steps > 0 and n_steps % 10 == 0:
                chains = jump(chains)
            h = logistic(v @ W + c)
            if settings.solver == "cd":
                chains = draw(h, draw_key())
            recent.extend(h)
            for _ in range(settings.n_gibbs_steps - 1):
                model_v = draw_visible(chains, draw_key())
                chains = draw(logistic(model_v @ W + c), draw_key())
            key = draw_key()
            model_v = draw_visible(chains, key)
            model_h = logistic(model_v @ W + c)
            if settings.solver == "pcd":
                chains = draw(model_h, key)
            lam = lam + 0.01 * (h.mean(axis=0) - lam)
            gradient = centered(
                (
                    v.T @ h / len(v) - model_v.T @ model_h / len(model_v),
                    v.mean(axis=0) - model_v.mean(axis=0),
                    h.mean(axis=0) - model_h.mean(axis=0),
                ),
                visible_mean(),
                lam,
            )
            decay = rate * settings.weight_decay * W
            W, b, c = W - decay, b + decay @ lam, c + visible_mean() @ decay
            velocity = [
                settings.momentum * old + rate * change
                for old, change in zip(velocity, gradient, strict=True)
            ]
            W, b, c = W + velocity[0], b + velocity[1], c + velocity[2]
            n_steps += 1
            average = [
                old + 5 / (n_steps + 4) * (new - old)
                for old, new in zip(average, (W, b, c), strict=True)
            ]
    return average, chains


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_core)])
@pytest.mark.parametrize("momentum", [0.0, 0.5])  # without it, steps are in the core
@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("n_features", [6, 1500])  # the second needs more than one block
@pytest.mark.parametrize("solver", ["cd", "pcd"])
def test_the_same_as_written_out(solver, n_features, form, momentum, compiled, monkeypatch):
    """The model equals that of the reference with the same seed, up to rounding."""
    if not compiled:
        monkeypatch.setattr(_binary_rows, "core", None)
    n_components, n_epochs = 5, 10 if n_features == 6 else 3
    X = (np.random.default_rng(0).random((23, n_features)) < 0.3).astype(float)
    settings = PLAIN._replace(
        solver=solver,
        n_gibbs_steps=2,
        n_chains=6,
        batch_size=6,
        learning_rate=0.2,
        momentum=momentum,
        weight_decay=0.01,
        centering=True,
        averaging=True,
    )
    state, other = (untrained_state(settings, X, n_components) for _ in range(2))
    expected, chains = train_written_out(other, settings, X, n_epochs, compiled)
    plan = {"n_epochs": n_epochs, "schedule": "constant", "shuffle": False}
    for _ in train(state, settings, DataSet(form(X)), **plan):
        pass
    for array, other in zip(state.result.arrays, expected, strict=True):
        assert_allclose(array, other, rtol=1e-9, atol=1e-12)
    assert_array_equal(state.solver.chains[: len(chains)], chains)


def test_averaging():
    """The t-th model has weight t (t + 1) (t + 2) (t + 3) in the average."""
    X = np.tile(bars_and_stripes(), (15, 1))
    settings = PLAIN._replace(averaging=True)
    state = untrained_state(settings, X, 6)
    learner = learner_on(X, state, settings)
    models = []

    def take_steps(n):
        for step in range(n):
            learner.steps([slice(step, step + 10)], [0.1])
            models.append(state.model.weights.copy())

    def count(t):
        return t * (t + 1) * (t + 2) * (t + 3)

    take_steps(59)
    expected = np.average(models, 0, count(np.arange(1, 60)))
    assert_allclose(state.learned.average.weights, expected, rtol=1e-9)
    take_steps(2)  # from now on every second model; this counts as the 30th of 30
    earlier = count(np.arange(1, 30)).sum()
    expected = np.average([expected, models[-2]], 0, [earlier, count(30)])
    assert_allclose(state.learned.average.weights, expected, rtol=1e-9)
    assert state.result is state.learned.average


def test_the_average_is_never_far_behind():
    rbm = tiny_rbm(3, 2)
    state = state_at(rbm, np.zeros((4, 2)))
    X = np.ones((1, 3))
    learner = learner_on(X, state, PLAIN._replace(averaging=True))
    before, behind = state.learned.average.weights.copy(), 0
    for n in range(1, 3000):
        learner.steps([slice(0, 1)], [0.1])
        behind = behind + 1 if np.array_equal(state.learned.average.weights, before) else 0
        assert behind < max(1, n / 30)
        before = state.learned.average.weights.copy()


@pytest.mark.slow
def test_averaging_takes_the_noise_out():
    """At a constant rate, the average is a better model than the last iterate."""
    X = np.tile(bars_and_stripes(), (10, 1))
    scores = []
    for averaging in (True, False):
        settings = PLAIN._replace(averaging=averaging, learning_rate=0.3)
        training, _ = run_training(settings, X=X, n_epochs=200, schedule="constant")
        exact = Enumerated(*training.state.result.arrays)
        scores.append(exact.log_likelihood(X).mean())
    assert scores[0] > scores[1] + 0.1


@pytest.mark.parametrize("n_rows", [1, 4, 10, 23])
def test_visible_mean_follows_the_rows(n_rows):
    rbm = tiny_rbm(3, 2)
    state = state_at(rbm, np.zeros((4, 2)))
    state.model.visible.bias[...] = 0
    X = (np.random.default_rng(0).random((n_rows, 3)) < 0.3).astype(float)
    learner = learner_on(X, state, PLAIN._replace(batch_size=4))
    learner.epoch([1e-300] * -(-n_rows // 4), follow_mean=True)
    mean = (X.sum(axis=0) + (X.sum() + 0.5) / (X.size + 1)) / (n_rows + 1)
    assert state.counts.n_rows_seen == n_rows
    assert_allclose(state.visible_mean, mean)
    assert_allclose(state.model.visible.bias, np.log(mean / (1 - mean)), atol=1e-12)


def test_schedules():
    def rates(schedule):
        return [epoch.learning_rate for epoch, _ in run_training(schedule=schedule)[1]]

    assert_array_equal(rates("constant"), [0.1] * 4)
    # 16 rows make two steps per epoch, so the last of 8 steps has one eighth of the rate.
    assert_allclose(rates("linear"), 0.1 * np.array([7, 5, 3, 1]) / 8)


@pytest.mark.parametrize("shuffle", [False, True])
def test_only_the_rows_asked_for_are_learned(shuffle):
    X = bars_and_stripes()
    rows = np.array([0, 2, 3, 5, 7, 8, 11])
    some, _ = run_training(X=X, rows=rows, shuffle=shuffle)
    alone, _ = run_training(X=X[rows], shuffle=shuffle)
    assert_array_equal(some.state.model.weights, alone.state.model.weights)


@pytest.mark.parametrize(
    ("n_rows", "n_epochs"),
    [(1, 5000), (60, 1667), (1797, 56), (2000, 50), (8000, 50), (40_000, 10)],
)
def test_enough_epochs(n_rows, n_epochs):
    for n_weights in (10, 10**9):
        assert _rules.enough_epochs(n_rows, 20, n_weights) == n_epochs


def test_enough_epochs_of_many_rows():
    assert _rules.enough_epochs(50_000, 20, 784 * 500) == 10
    assert _rules.enough_epochs(60_000, 20, 784 * 10_000) == 7
    assert _rules.enough_epochs(10**7, 20, 10**4) == 1
    assert _rules.enough_epochs(10**6, 20, 10**3) == 10


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["cd", "pcd"])
@pytest.mark.parametrize("centering", [False, True])
def test_learns_bars_and_stripes(solver, centering):
    """Training gains more than half of the possible gain over independent units."""
    X = np.tile(bars_and_stripes(), (10, 1))
    settings = PLAIN._replace(
        solver=solver, centering=centering, n_gibbs_steps=5, n_chains=50, learning_rate=0.3
    )
    training, _ = run_training(settings, X=X, n_epochs=200)
    score = Enumerated(*training.state.model.arrays).log_likelihood(X).mean()
    independent, ceiling = 9 * np.log(0.5), np.log(1 / 14)
    assert score > (independent + ceiling) / 2


def test_copies_share_nothing():
    X = np.tile(bars_and_stripes(), (3, 1))
    settings = PLAIN._replace(averaging=True, momentum=0.5, centering=True)
    training, _ = run_training(settings, X=X)
    state = training.state
    copied, before = state.copy(), pickle.dumps(state)
    learner_on(X, copied, settings).epoch([0.1] * 5, follow_mean=True)
    assert pickle.dumps(state) == before
    again = state.copy()
    learner_on(X, again, settings).epoch([0.1] * 5, follow_mean=True)
    for one, other in zip(again.result.arrays, copied.result.arrays, strict=True):
        assert_array_equal(one, other)
    assert_array_equal(again.solver.chains, copied.solver.chains)
