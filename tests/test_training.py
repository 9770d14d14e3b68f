"""The learning step against the exact gradient, and the epoch loop."""

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import Enumerated, bars_and_stripes, states, tiny_rbm
from numpy.testing import assert_allclose, assert_array_equal

from skrbm import _training
from skrbm._training import Learner, Settings, TrainingState, Validation, train

PLAIN = Settings(
    solver="pcd",
    n_gibbs_steps=1,
    batch_size=10,
    learning_rate=0.1,
    momentum=0.0,
    weight_decay=0.0,
    centering=False,
    averaging=False,
    binarize=False,
)


def state_at(rbm, chains, seed=0):
    return TrainingState(
        model=type(rbm)(*(a.copy() for a in rbm)),
        chains=chains.astype(rbm.dtype),
        hidden_mean=np.full(len(rbm.hidden_bias), 0.5, rbm.dtype),
        visible_sum=np.zeros(len(rbm.visible_bias)),
        n_rows_seen=0,
        velocity=None,
        average=None,
        n_averaged=0,
        rng=np.random.Generator(np.random.SFC64(seed)),
    )


def chains_of(rbm, n, seed=1):
    """Hidden states drawn from the model itself."""
    exact = Enumerated(*rbm)
    rows = np.random.default_rng(seed).choice(len(exact.h), size=n, p=exact.p_h)
    return exact.h[rows]


def centred(gradient, mu, lam):
    """The centred gradient, from the plain one: Melchior et al. (2016)."""
    weights, visible, hidden = gradient
    weights = weights - np.outer(mu, hidden) - np.outer(visible, lam)
    return weights, visible - weights @ lam, hidden - weights.T @ mu


@pytest.mark.parametrize("form", [np.array, sp.csr_array, np.uint8, "csr_uint8"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("centering", [False, True])
@pytest.mark.parametrize("n_rows", [1, 7, 64])
def test_step_is_the_exact_gradient(n_rows, centering, dtype, form):
    """PCD with many chains at equilibrium: the gradient, whatever the batch's size."""
    rbm = tiny_rbm(5, 3, dtype)
    rows = np.random.default_rng(2).integers(2, size=(n_rows, 5))
    X = {np.uint8: rows.astype(np.uint8), "csr_uint8": sp.csr_array(rows, dtype=np.uint8)}
    X = X[form] if form in X else form(rows.astype(dtype))
    visible_sum = np.linspace(1, 8, 5)
    settings = PLAIN._replace(batch_size=n_rows, centering=centering)
    rate, n_chains, n_repeats = 0.25, 20_000, 15
    change = [0, 0, 0]
    for seed in range(n_repeats):
        state = state_at(rbm, chains_of(rbm, n_chains, seed), seed)
        state.visible_sum[...], state.n_rows_seen = visible_sum, 9
        Learner(state, settings, X).step(slice(0, n_rows), rate, follow_mean=False)
        for i, (after, before) in enumerate(zip(state.model, rbm, strict=True)):
            assert after.dtype == dtype
            change[i] += (after.astype(float) - before) / rate / n_repeats

    exact = Enumerated(*rbm)
    gradient = exact.gradient(rows.astype(float))
    if centering:
        lam = 0.5 + _training.HIDDEN_MEAN_RATE * (
            exact.mean_h_given_v[exact.index(rows)].mean(axis=0) - 0.5
        )
        assert_allclose(state.hidden_mean, lam, rtol=1e-5)
        gradient = centred(gradient, (visible_sum + 23 / 46) / 10, lam)
    error = 6 / np.sqrt(n_chains * n_repeats)
    for mean_change, expected in zip(change, gradient, strict=True):
        assert_allclose(mean_change, expected, atol=error)


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("n_positive", [1, 3, 8])
def test_two_means_each_by_its_own_count(n_positive, form):
    """With one and the same row everywhere, both means are equal whatever the counts."""
    rbm = tiny_rbm(4, 4, scale=0.0)
    rbm.weights[...] = 200 * np.eye(4)
    rbm.visible_bias[...] = rbm.hidden_bias[...] = -100
    row = np.array([1.0, 0, 1, 0])
    state = state_at(rbm, np.tile(row, (5, 1)))
    X = form(np.tile(row, (n_positive, 1)))
    Learner(state, PLAIN, X).epoch([1.0])
    for after, before in zip(state.model, rbm, strict=True):
        assert_allclose(after, before, atol=1e-12)


@pytest.mark.parametrize("k", [1, 40])
def test_cd_with_many_steps_comes_to_the_gradient(k):
    rbm = tiny_rbm(4, 3)
    v = states(4)[[1, 3, 3, 12]]
    X = np.tile(v, (50_000, 1))
    state = state_at(rbm, np.zeros((len(X), 3)))
    settings = PLAIN._replace(solver="cd", n_gibbs_steps=k, batch_size=len(X))
    Learner(state, settings, X).epoch([1.0])
    expected = Enumerated(*rbm).gradient(v)
    error = max(
        np.abs(after - before - change).max()
        for after, before, change in zip(state.model, rbm, expected, strict=True)
    )
    noise = 6 / np.sqrt(len(X))
    assert error < noise if k == 40 else error > noise


def test_momentum_and_weight_decay():
    """Both steps written out, with chains that cannot move, so that nothing is random."""
    rbm = tiny_rbm(4, 4, scale=0.0)
    rbm.weights[...] = 200 * np.eye(4)
    rbm.visible_bias[...] = rbm.hidden_bias[...] = -100
    X, chain = np.ones((1, 4)), np.array([[1.0, 0, 0, 1]])
    state = state_at(rbm, chain)
    settings = PLAIN._replace(batch_size=1, momentum=0.5, weight_decay=0.01)
    learner = Learner(state, settings, X)
    gradient = np.outer(X, X) - np.outer(chain, chain)
    learner.epoch([0.1])
    expected = rbm.weights * (1 - 0.001) + 0.1 * gradient
    assert_allclose(state.model.weights, expected)
    assert_allclose(state.model.visible_bias, -100 + 0.1 * (X - chain)[0])
    learner.epoch([0.2])
    expected = expected * (1 - 0.002) + (0.5 * 0.1 + 0.2) * gradient
    assert_allclose(state.model.weights, expected)
    assert_allclose(state.model.hidden_bias, -100 + (0.1 + 0.05 + 0.2) * (X - chain)[0])


def train_written_out(state, settings, X, n_epochs):
    """A whole training as the formulas say it, with one draw to a unit and no trick.

    In its place stands what the package does in other words, blocks and orders: stacked
    phases, probabilities that are never formed, sparse sums.
    """
    (W, b, c), chains, rng = state.model, state.chains, state.rng
    n_features = len(b)
    lam, total, n_seen = state.hidden_mean, np.zeros(n_features), 0
    velocity, average = [0 * W, 0 * b, 0 * c], [W, b, c]
    rate, n_steps = settings.learning_rate, 0

    def logistic(x):
        return 1 / (1 + np.exp(-x))

    def draw(p):  # from the low, then the high half of 64 bits, row by row
        words = rng.bit_generator.random_raw((p.size + 1) // 2).astype("<u8")
        signed = words.view("<i4")[: p.size].reshape(p.shape)
        return ((signed / 2**31 + 1) / 2 < p).astype(float)

    def draw_visible(h):  # 1024 features of all rows, then the next ones
        p = logistic(h @ W.T + b)
        return np.hstack([draw(p[:, i : i + 1024]) for i in range(0, n_features, 1024)])

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
            h = logistic(v @ W + c)
            if settings.solver == "cd":
                chains = draw(h)
            for _ in range(settings.n_gibbs_steps - 1):
                chains = draw(logistic(draw_visible(chains) @ W + c))
            model_v = draw_visible(chains)
            model_h = logistic(model_v @ W + c)
            if settings.solver == "pcd":
                chains = draw(model_h)
            lam = lam + 0.01 * (h.mean(axis=0) - lam)
            gradient = centred(
                (
                    v.T @ h / len(v) - model_v.T @ model_h / len(model_v),
                    v.mean(axis=0) - model_v.mean(axis=0),
                    h.mean(axis=0) - model_h.mean(axis=0),
                ),
                visible_mean(),
                lam,
            )
            W = W * (1 - rate * settings.weight_decay)
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


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("n_features", [6, 1500])  # the second is more than one block
@pytest.mark.parametrize("solver", ["cd", "pcd"])
def test_the_same_as_written_out(solver, n_features, form):
    """The same seed gives the same model, up to rounding, as the plain formulas."""
    n_components = 5
    X = (np.random.default_rng(0).random((23, n_features)) < 0.3).astype(float)
    settings = Settings(
        solver=solver,
        n_gibbs_steps=2,
        batch_size=6,
        learning_rate=0.2,
        momentum=0.5,
        weight_decay=0.01,
        centering=True,
        averaging=True,
        binarize=False,
    )

    def start():
        return _training.initial_state(n_features, n_components, 6, np.float64, seed=0)

    expected, chains = train_written_out(start(), settings, X, n_epochs=10)
    outcome = train(
        start(),
        settings,
        form(X),
        n_epochs=10,
        schedule="constant",
        shuffle=False,
        report=lambda *_: None,
    )
    for array, other in zip(outcome.state.average, expected, strict=True):
        assert_allclose(array, other, rtol=1e-9, atol=1e-12)
    assert_array_equal(outcome.state.chains[: len(chains)], chains)


def test_averaging():
    """The weights of the mean, written out: the t-th model counts t (t + 1) .. (t + 3)."""
    X = np.tile(bars_and_stripes(), (15, 1))
    settings = PLAIN._replace(averaging=True)
    state = _training.initial_state(9, 6, 10, np.dtype(float), seed=0)
    learner = Learner(state, settings, X)
    models = []

    def take_steps(n):
        for step in range(n):
            learner.step(slice(step, step + 10), 0.1, follow_mean=False)
            models.append(state.model.weights.copy())

    def count(t):
        return t * (t + 1) * (t + 2) * (t + 3)

    take_steps(59)
    expected = np.average(models, 0, count(np.arange(1, 60)))
    assert_allclose(state.average.weights, expected, rtol=1e-9)
    take_steps(2)  # from here on every second model, which counts as the 30th of 30
    earlier = count(np.arange(1, 30)).sum()
    expected = np.average([expected, models[-2]], 0, [earlier, count(30)])
    assert_allclose(state.average.weights, expected, rtol=1e-9)
    assert state.result is state.average


def test_the_average_is_never_far_behind():
    rbm = tiny_rbm(3, 2)
    state = state_at(rbm, np.zeros((4, 2)))
    X = np.ones((1, 3))
    learner = Learner(state, PLAIN._replace(averaging=True), X)
    before, behind = state.average.weights.copy(), 0
    for n in range(1, 3000):
        learner.step(slice(0, 1), 0.1, follow_mean=False)
        behind = behind + 1 if np.array_equal(state.average.weights, before) else 0
        assert behind < max(1, n / 30)
        before = state.average.weights.copy()


def test_averaging_takes_the_noise_out():
    """At a constant rate, the average is a better model than the last one is."""
    X = np.tile(bars_and_stripes(), (10, 1))
    scores = []
    for averaging in (True, False):
        settings = PLAIN._replace(averaging=averaging, learning_rate=0.3)
        outcome, _ = run(settings, X=X, n_epochs=200, schedule="constant")
        exact = Enumerated(*outcome.state.result)
        scores.append(exact.log_likelihood(X).mean())
    assert scores[0] > scores[1] + 0.1


@pytest.mark.parametrize("n_rows", [1, 4, 10, 23])
def test_visible_mean_follows_the_rows(n_rows):
    rbm = tiny_rbm(3, 2)
    state = state_at(rbm, np.zeros((4, 2)))
    state.model.visible_bias[...] = 0
    X = (np.random.default_rng(0).random((n_rows, 3)) < 0.3).astype(float)
    learner = Learner(state, PLAIN._replace(batch_size=4), X)
    learner.epoch([1e-300] * -(-n_rows // 4), follow_mean=True)
    mean = (X.sum(axis=0) + (X.sum() + 0.5) / (X.size + 1)) / (n_rows + 1)
    assert state.n_rows_seen == n_rows
    assert_allclose(state.visible_mean, mean)
    assert_allclose(state.model.visible_bias, np.log(mean / (1 - mean)), atol=1e-12)


def run(settings=PLAIN, *, X=None, n_epochs=4, schedule="linear", report=None, **options):
    X = bars_and_stripes() if X is None else X
    state = _training.initial_state(X.shape[1], 6, 10, np.dtype(float), seed=0)
    rates = []
    outcome = train(
        state,
        settings,
        X,
        n_epochs=n_epochs,
        schedule=schedule,
        report=report or (lambda state, rate, *_: rates.append(rate)),
        **{"shuffle": True} | options,
    )
    return outcome, rates


def test_schedules():
    assert_array_equal(run(schedule="constant")[1], [0.1] * 4)
    # 16 rows make two steps an epoch, so the last of 8 steps is at an eighth of the rate.
    assert_allclose(run(schedule="linear")[1], 0.1 * np.array([7, 5, 3, 1]) / 8)


def test_early_stopping():
    """More than `patience` epochs without a gain of `tol` end training; the best stays."""
    scores = iter([1.0, 3.0, 3.25, 2.0, 3.1, 3.5, 9.0])

    class Scripted(Validation):
        def score(self, model):
            return next(scores)

    models = []
    validation = Scripted(bars_and_stripes(), np.arange(16), None, tol=0.5, patience=2)
    outcome, _ = run(
        n_epochs=9,
        validation=validation,
        report=lambda state, *_: models.append(state.model.weights.copy()),
    )
    assert validation.scores == [1.0, 3.0, 3.25, 2.0, 3.1]
    assert (outcome.n_epochs, outcome.stopped) == (5, "early")
    assert_array_equal(outcome.state.model.weights, models[2])


def test_validation_scores_are_pseudo_log_likelihoods():
    rbm, v = tiny_rbm(9, 6), bars_and_stripes()
    rows = np.array([1, 4, 5, 9])
    expected = rbm.pseudo_log_likelihood(v[rows]).mean()
    for X in (v, sp.csr_array(v)):
        assert_allclose(Validation(X, rows, None, tol=0, patience=1).score(rbm), expected)


@pytest.mark.parametrize("shuffle", [False, True])
def test_only_the_rows_asked_for_are_learned(shuffle):
    X = bars_and_stripes()
    rows = np.array([0, 2, 3, 5, 7, 8, 11])
    some, _ = run(X=X, rows=rows, shuffle=shuffle)
    alone, _ = run(X=X[rows], shuffle=shuffle)
    assert_array_equal(some.state.model.weights, alone.state.model.weights)


@pytest.mark.parametrize(
    ("n_rows", "n_epochs"),
    [(1, 5000), (60, 1667), (1797, 56), (2000, 50), (8000, 50), (60_000, 7), (10**7, 1)],
)
def test_enough_epochs(n_rows, n_epochs):
    assert _training.enough_epochs(n_rows, batch_size=20) == n_epochs


def test_training_ends_when_asked():
    order = []

    def report(state, *_):
        order.append("report")
        return len(order) == 6

    outcome, _ = run(report=report, announce=lambda: order.append("announce"), n_epochs=9)
    assert order == ["announce", "report"] * 3
    assert (outcome.n_epochs, outcome.stopped) == (3, "asked")


def test_an_interrupt_keeps_the_finished_epochs():
    models = []

    def report(state, *_):
        models.append(state.model.weights.copy())
        if len(models) == 3:
            raise KeyboardInterrupt

    outcome, _ = run(report=report)
    assert (outcome.n_epochs, outcome.stopped) == (2, "interrupted")
    assert_array_equal(outcome.state.model.weights, models[1])


def test_an_interrupt_in_the_first_epoch_is_passed_on(monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Learner, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run()


@pytest.mark.parametrize("solver", ["cd", "pcd"])
@pytest.mark.parametrize("centering", [False, True])
def test_learns_bars_and_stripes(solver, centering):
    """From independent units, more than half of what there is to learn."""
    X = np.tile(bars_and_stripes(), (10, 1))
    settings = PLAIN._replace(
        solver=solver, centering=centering, n_gibbs_steps=5, learning_rate=0.3
    )
    state = _training.initial_state(9, 8, 50, np.dtype(float), seed=0)
    outcome = train(
        state,
        settings,
        X,
        n_epochs=200,
        schedule="linear",
        shuffle=True,
        report=lambda *args: None,
    )
    score = Enumerated(*outcome.state.model).log_likelihood(X).mean()
    independent, ceiling = 9 * np.log(0.5), np.log(1 / 14)
    assert score > (independent + ceiling) / 2
