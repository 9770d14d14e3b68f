"""The first training: how long it is, what it scores, and what becomes of it."""

import math

import numpy as np
import pytest
from conftest import (
    DIGITS,
    PLAIN,
    Enumerated,
    assert_same_model,
    bars_and_stripes,
    states,
    tiny_rbm,
    untrained_state,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skrbm import (
    BernoulliRBMEstimator,
    GaussianRBMEstimator,
    MixedRBMEstimator,
    _fitting,
    _rules,
)
from skrbm._data import DataSet
from skrbm._enumeration import exact_log_partition
from skrbm._step import Learner
from skrbm._trial import _peak, _Scores, best_length, hold_out

BITS = np.random.default_rng(0).random((1060, 30)) < 0.4  # independent


def test_the_peak_is_that_of_a_parabola():
    def scores(n, peak):
        return (2 - 0.7 * (np.arange(n) - peak) ** 2).tolist()

    assert_allclose(_peak(scores(7, 3.4)), 3.4)
    assert_allclose(_peak([*scores(4, 3.4), -1e6]), 2.5, atol=0.1)
    assert _peak(scores(4, 3.4)) == 3  # diverged after that
    assert _peak(scores(7, -0.2)) == 0
    assert _peak([1.0]) == 0


def test_scores_are_weighted(rng):
    rows, weights = states(6)[:60], rng.random(60)
    for seed in range(2):
        rbm = tiny_rbm(6, 3, seed=seed)
        of_rows = Enumerated(*rbm.arrays).log_likelihood(rows)
        weighted = _Scores(rbm, DataSet(rows, None, weights), exact_log_partition(rbm))
        assert_allclose(weighted.mean, np.average(of_rows, weights=weights))
        unweighted = _Scores(rbm, DataSet(rows), exact_log_partition(rbm))
        assert_allclose(unweighted.mean, of_rows.mean())


def test_states_are_drawn_from_gray_levels():
    """Always the same ones."""
    rbm, gray = tiny_rbm(6, 3), np.full((4000, 6), 0.3)
    log_partition = exact_log_partition(rbm)
    first, second = (
        _Scores(rbm, DataSet(gray), log_partition, binarize=True) for _ in range(2)
    )
    assert_array_equal(first.of_rows, second.of_rows)
    p = np.prod(np.where(states(6) == 1, 0.3, 0.7), axis=1)
    expected = p @ Enumerated(*rbm.arrays).log_likelihood(states(6))
    assert_allclose(first.of_rows.mean(), expected, atol=4 * first.of_rows.std() / 63)


def with_rows(of_rows, weights=None):
    scores = object.__new__(_Scores)
    scores.of_rows = of_rows
    scores.weights = np.ones(len(of_rows)) if weights is None else weights
    return scores


def test_a_fall_is_clear_if_it_is_not_due_to_a_few_rows():
    """A mean of 100 falls of variance 1 has a standard error of 0.1."""
    before = 10 * np.random.default_rng(0).standard_normal(100)
    wave = np.tile([-1.0, 1.0], 50)
    for fall, weights in (0.19, None), (0.21, None), (0.19, np.full(100, 7.0)):
        after = with_rows(before - fall - wave, weights)
        assert after.is_below(with_rows(before), 2) == (fall > 0.2)
    outlier = before.copy()
    outlier[7] -= 1e3
    assert not with_rows(outlier).is_below(with_rows(before), 2)
    assert with_rows(before - 0.031).is_below(with_rows(before), 2)
    assert not with_rows(before - 0.029).is_below(with_rows(before), 2)
    assert not with_rows(before).is_below(with_rows(before), 2)


def length(X, n_components=8, n_most=600):
    settings = PLAIN._replace(centering=True, learning_rate=0.3)
    state = untrained_state(settings, X, n_components)
    held_out, data = hold_out(DataSet(X), state.rng)
    state.counts.visible_sum += X.sum(axis=0)
    state.counts.n_rows_seen += len(X)
    state.model.visible.follow_mean(np.full(X.shape[1], 0.5), X.mean(axis=0))
    return best_length(state, settings, data, held_out, n_most)


def test_what_cannot_be_learned_is_learned_for_a_short_time():
    patterns = np.tile(bars_and_stripes(), (10, 1))
    assert length(BITS[:100].astype(float)) < 100 < length(patterns)


@pytest.mark.parametrize("n_spoiled", [1, 3, 6])
def test_a_model_that_becomes_worse_does_not_overfit(n_spoiled, monkeypatch):
    """If all rows become less likely, rows to train on as well as held-out ones."""
    steps, calls = Learner.steps, []

    def spoiled_steps(learner, batches, rates):
        steps(learner, batches, rates)
        calls.append(len(batches))
        if sum(calls) > 600 / math.sqrt(2) ** n_spoiled:
            learner.state.result.visible.bias[...] -= 5

    monkeypatch.setattr(Learner, "steps", spoiled_steps)
    assert length(np.tile(bars_and_stripes(), (10, 1)).astype(float)) == math.inf
    assert sum(calls) > 600 / math.sqrt(2) ** n_spoiled


@pytest.mark.parametrize("p", [0.002, 0.01, 0.03])
def test_rare_rows_count(p):
    """Nearly all rows, which are alike, become less likely when they are learned."""
    X = np.zeros((4000, 18))
    X[: round(4000 * p)] = 1
    assert length(X, n_components=32, n_most=2000) > 500


def test_decay_that_ends_learning_where_the_trial_did():
    settings = PLAIN._replace(learning_rate=0.2, weight_decay=0.05)

    def decay(length, **changes):
        return _rules.decay_after_trial(settings._replace(**changes), length, 500)

    assert decay(100) == decay(100, weight_decay=0.9) == 0.075  # 1.5 / (0.2 * 100)
    assert decay(100, decay_ratio=9) == 0.025
    assert decay(77) == 0.097  # two digits
    assert decay(3) == 0.5  # at most a tenth in a step
    assert decay(math.inf) == 0.015  # with 500 updates
    assert decay(math.inf, weight_decay=1.234e-3) == 1.234e-3


def test_how_long_a_trial_and_the_training_after_it_are():
    assert _rules.updates_to_try(1000, 3, 5000) == 2000
    assert _rules.updates_to_try(1000, 2, 5000) == 0  # it would see no row twice
    assert _rules.updates_to_try(10, 9, 5000) == _rules.updates_to_try(30_000, 9, 5000) == 0
    assert _rules.updates_after_trial(300) == 2400
    assert _rules.updates_after_trial(10) == 500


def gappy(X):
    return np.where(np.random.default_rng(1).random(X.shape) < 0.1, np.nan, X)


@pytest.mark.parametrize(
    ("rbm", "X"),
    [
        (BernoulliRBMEstimator(8), DIGITS[:100].astype(np.float32)),
        (BernoulliRBMEstimator(8, solver="pt"), gappy(DIGITS[:100])),
        (GaussianRBMEstimator(8), np.random.default_rng(0).standard_normal((100, 4))),
        (MixedRBMEstimator(8, feature_types=["ordinal"] * 5), gappy(10 * BITS[:200, :5])),
    ],
)
def test_a_trial_changes_nothing_but_the_decay_and_the_length(rbm, X, monkeypatch):
    rbm.set_params(n_iter=20, random_state=0)
    weights = np.random.default_rng(0).integers(0, 3, len(X))
    tried = clone(rbm).fit(X, sample_weight=weights)
    options = {"weight_decay": tried.weight_decay_}
    monkeypatch.setattr(_fitting, "best_length", None)
    assert_same_model(tried, clone(rbm).set_params(**options).fit(X, sample_weight=weights))


def test_warm_starts_keep_the_prior():
    few, twice = BITS[:100], np.tile(BITS[:100], (2, 1))
    rbm = BernoulliRBMEstimator(8, n_iter=100, random_state=0, warm_start=True)
    decay = rbm.fit(few).weight_decay_
    assert_allclose(rbm.fit(few).weight_decay_, decay)
    assert_allclose(rbm.fit(twice).weight_decay_, decay / 2)
    assert rbm.partial_fit(few).weight_decay_ == rbm.weight_decay_
    by_rule = rbm.set_params(warm_start=False, n_iter=1).fit(few).weight_decay_
    assert by_rule < 0.1 * decay
    assert_allclose(rbm.set_params(warm_start=True).fit(twice).weight_decay_, by_rule / 2)


def test_few_rows_of_independent_columns_stay_independent():
    few, new = BITS[:60].astype(float), BITS[60:].astype(float)
    mean = (few.sum(axis=0) + 0.5) / 61
    independent = (new * np.log(mean) + (1 - new) * np.log(1 - mean)).sum(axis=1).mean()
    rbm = BernoulliRBMEstimator(16, random_state=0).fit(few)
    assert rbm.log_likelihood(new).mean() > independent - 0.3
    assert rbm.n_iter_ * 3 < 1000  # of 5000 updates
    assert rbm.set_params(weight_decay=1e-4).fit(few).log_likelihood(new).mean() < (
        independent - 2
    )


def test_an_interrupted_trial_changes_nothing(monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    rbm = BernoulliRBMEstimator(8, n_iter=20, random_state=0).fit(BITS[:100])
    before = vars(rbm).copy()
    monkeypatch.setattr(_fitting, "best_length", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rbm.fit(BITS[:100])
    assert vars(rbm) == before


def test_a_first_training_is_announced(capsys):
    rbm = BernoulliRBMEstimator(4, n_iter=20, verbose=1, random_state=0).fit(BITS[:200])
    first, second, third, *_ = capsys.readouterr().out.splitlines()
    assert first == "[BernoulliRBMEstimator] a first training, to find weight_decay"
    assert f"weight_decay = {rbm.weight_decay_:.3g} and 20 epochs" in second
    assert "Iteration 1," in third
