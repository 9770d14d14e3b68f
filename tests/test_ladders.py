"""Ladders of models, and chains and annealed runs on them."""

import dataclasses
import pickle

import numpy as np
import pytest
from conftest import (
    Enumerated,
    assert_distributed,
    assert_tempered_chains_keep,
    by_hand,
    draw,
    index,
    rungs,
    tiny_rbm,
    two_modes,
)
from numpy.testing import assert_allclose, assert_array_equal

from skrbm._annealing import TemperedChains, independent
from skrbm._ladders import ModelPath, Trajectory, ladder_of, models_of
from skrbm._units.bernoulli import BernoulliUnits
from skrbm.likelihood import log_partition
from skrbm.sampling import ModelLadder, draw_chains


def test_a_ladder_is_pickled():
    models = rungs(6, 3)
    ladder = ladder_of(models)
    again = pickle.loads(pickle.dumps(ladder))
    assert len(again) == 3
    assert repr(again) == "ModelLadder of 3 rungs with 3 x 6 weights"
    for model, other in zip(models, models_of(again, BernoulliUnits), strict=True):
        for a, b in zip(model.arrays, other.arrays, strict=True):
            assert_array_equal(a, b)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ladder.components = again.components


def test_malformed_ladders_are_refused():
    models = rungs(6, 3)
    with pytest.raises(ValueError, match=r"must have shapes .*\(2, 3, 6\), \(2, 3\) and"):
        ModelLadder(np.zeros((2, 3, 6)), np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"must have shapes .* but have \(3, 6\)"):
        ModelLadder(np.zeros((3, 6)), np.zeros((3, 6)), np.zeros((3, 3)))
    for wrong in (models[:1], models[1:]):
        with pytest.raises(ValueError, match="at least 2 rungs and start at independent"):
            ladder_of(wrong)


@pytest.mark.parametrize("function", [draw_chains, log_partition])
def test_ladders_of_other_models_are_refused(function):
    models = rungs(6, 3)
    rbm, ladder = by_hand(models[-1]), ladder_of(models)
    method = {"method": "ais"} if function is log_partition else {}
    with pytest.raises(TypeError, match=r"must be a ModelLadder, .*, but got \["):
        function(rbm, ladder=models, **method)
    with pytest.raises(ValueError, match=r"\(6, 3\) .* units, but the model has \(6, 4\)"):
        function(by_hand(tiny_rbm(6, 4)), ladder=ladder, **method)
    with pytest.raises(
        ValueError, match="ends with another model, or with this one before"
    ):
        function(by_hand(models[1]), ladder=ladder, **method)


# Chains -------------------------------------------------------------------------------


@pytest.mark.parametrize("betas", [[0.0, 0.5, 1.0], [0.2, 0.7, 1.0]])
def test_chains_on_a_ladder_do_not_drift(betas):
    first, other, last = models = rungs(4, 3)
    between = {
        0.0: first,
        0.2: first.map(lambda a, b: 0.6 * a + 0.4 * b, other),
        0.5: other,
        0.7: other.map(lambda a, b: 0.6 * a + 0.4 * b, last),
        1.0: last,
    }
    exact = [Enumerated(*between[beta].arrays).p_v for beta in betas]
    assert_tempered_chains_keep(ModelPath(models), betas, exact)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_on_a_ladder_do_not_drift(dtype):
    *_, model = models = rungs(4, 3, dtype)
    exact = Enumerated(*model.arrays)
    v, _ = draw(exact, dtype)
    n, settings = (
        20_000,
        {"n_gibbs_steps": 20, "ladder": ladder_of(models), "random_state": 0},
    )
    chains = draw_chains(by_hand(model), n, 2, init=v[:n], **settings)
    assert chains.dtype == dtype
    for number in range(2):
        assert_distributed(index(chains[:, number]), exact.p_v)


def test_chains_on_a_ladder_mix_where_plain_ones_do_not():
    """The rungs are those of a training that moves the two modes apart."""
    model = two_modes(np.float32)
    rng = np.random.Generator(np.random.SFC64(0))
    base = independent(model, model.visible.independent(np.full(8, 0.5), np.float32))
    trajectory = Trajectory([base], 0.25, rng)
    for part in np.linspace(0, 1, 50, dtype=np.float32):
        trajectory.add(base.map(lambda a, b, part=part: a + part * (b - a), model))
    assert 1 < len(trajectory.models) < 10
    ladder = trajectory.ladder(model)
    exact = Enumerated(*model.arrays)
    expected = (exact.p_v * exact.v.mean(axis=1)).sum()
    v = draw_chains(
        by_hand(model),
        300,
        20,
        ladder=ladder,
        init=np.ones((1, 8)),
        n_gibbs_steps=200,
        thinning=5,
        random_state=0,
    )
    assert_allclose(v.mean(), expected, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("acceptance", [0.25, 0.6])
def test_rungs_swap_as_often_as_asked(acceptance):
    """This holds although the models of the training are far apart."""
    models = rungs(30, 10)
    models[1] = models[1].map(lambda a: 2 * a)
    rng = np.random.Generator(np.random.SFC64(0))
    trajectory = Trajectory(models[:1], acceptance, rng)
    for model in models:
        trajectory.add(model)
    assert len(trajectory.models) == 3
    ladder = trajectory.ladder(models[-1])
    path = ModelPath(models_of(ladder, BernoulliUnits))
    betas = np.linspace(0, 1, len(ladder))
    tempered = TemperedChains(path, betas, np.zeros((100, 10)), rng)
    accept = np.mean([tempered.step() for _ in range(250)][50:], axis=(0, 2))
    assert abs(accept.mean() - acceptance) < 0.1
    assert np.ptp(accept) < 0.25


@pytest.mark.slow
def test_jobs_and_seeds_on_a_ladder():
    models = rungs(6, 3)
    settings = {"n_gibbs_steps": 3, "ladder": ladder_of(models), "random_state": 1}
    one = by_hand(models[-1]).sample(600, **settings)
    assert_array_equal(one, by_hand(models[-1]).sample(600, n_jobs=2, **settings))
    p = by_hand(models[-1]).sample(20_000, output="probabilities", **settings)
    v = by_hand(models[-1]).sample(20_000, **settings)
    assert ((p > 0) & (p < 1)).all()
    assert_allclose(p.mean(axis=0), v.mean(axis=0), atol=0.02)


# Annealed runs ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ais", "reverse_ais", "both"])
@pytest.mark.parametrize(("shape", "scale"), [((5, 4), 1.0), ((30, 20), 0.5)])
def test_log_partition_on_a_ladder(shape, scale, method):
    models = rungs(*shape, scale=scale)
    rbm = by_hand(models[-1])
    settings = {"method": method, "betas": 500, "ladder": ladder_of(models)}
    result = log_partition(rbm, random_state=0, **settings)
    assert result.lower < log_partition(rbm).value < result.upper
    assert 0 < result.upper - result.lower < 1
    assert result.effective_sample_size > 20
    assert (result.n_betas, result.n_rungs) == (500, 3)
    assert "500 models on a ladder of 3 rungs" in repr(result)
    assert result.value != rbm.log_partition(random_state=1, **settings).value


@pytest.mark.parametrize("method", ["ais", "reverse_ais"])
def test_importance_weights_on_a_ladder_are_unbiased(method):
    """With few steps weights vary a lot, but their mean is still unbiased."""
    models = rungs(5, 4, scale=0.8)
    expected = np.log(Enumerated(*models[-1].arrays).partition)
    result = log_partition(
        by_hand(models[-1]),
        method=method,
        betas=[0, 0.3, 0.9, 1],
        ladder=ladder_of(models),
        n_runs=20_000,
        random_state=0,
    )
    error = (result.upper - result.lower) / 2
    assert 0.01 < error < 0.2
    assert abs(result.value - expected) < 1.5 * error


@pytest.mark.slow
def test_jobs_on_a_ladder():
    models = rungs(6, 3)
    settings = {"method": "ais", "betas": 20, "n_runs": 60, "random_state": 3}
    settings["ladder"] = ladder_of(models)
    one, two = (log_partition(by_hand(models[-1]), n_jobs=n, **settings) for n in (1, 2))
    assert_allclose(one.log_weights, two.log_weights, atol=1e-5)


def test_a_ladder_has_a_base_of_its_own():
    models = rungs(6, 3)
    with pytest.raises(ValueError, match="base_mean has no effect on a ladder"):
        log_partition(by_hand(models[-1]), base_mean=0.5, ladder=ladder_of(models))
