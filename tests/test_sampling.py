"""Plain and tempered chains, conditional draws, and diagnostics."""

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import Enumerated, bars_and_stripes, states, tiny_rbm
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.naive_bayes import BernoulliNB
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.utils import get_tags
from test_likelihood import by_hand, rungs
from test_solvers import assert_distributed, draw, index

from skrbm import BernoulliRBMEstimator, RBMImputer, _training, sampling
from skrbm._annealing import Path, TemperedChains, independent, ladder_of_equal_swaps
from skrbm._ladders import ModelPath, Trajectory, ladder_of, models_of
from skrbm._model import RBM
from skrbm._record import Record
from skrbm.likelihood import log_partition
from skrbm.sampling import (
    ChainDiagnostics,
    ModelLadder,
    diagnose,
    draw_chains,
    effective_sample_size,
    sample_conditional,
    split_r_hat,
)

N_CHAINS = 200_000


@pytest.fixture(scope="module")
def bars():
    X = np.tile(bars_and_stripes(), (20, 1))
    return BernoulliRBMEstimator(8, learning_rate=0.2, n_iter=200, random_state=0).fit(X)


def two_modes(dtype=np.float64):
    """Model with two distant modes, all off and all on, that plain chains rarely leave."""
    model = tiny_rbm(8, 2, dtype, scale=0.0)
    model.weights[:, 0] = 6
    model.visible_bias[...] = -3
    model.hidden_bias[0] = -24
    return model


# No drift -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("thinning", [1, 3])
def test_plain_chains_do_not_drift(thinning, dtype):
    model = tiny_rbm(4, 3, dtype, scale=1.5)
    exact = Enumerated(*model)
    v, _ = draw(exact, dtype)
    chains = draw_chains(
        by_hand(model),
        N_CHAINS,
        2,
        n_gibbs_steps=2,
        thinning=thinning,
        init=v,
        random_state=0,
    )
    assert chains.dtype == dtype
    for number in range(2):
        assert_distributed(index(chains[:, number]), exact.p_v)


def assert_keeps(path, betas, exact):
    """Chains started from the distributions of all rungs keep them."""
    n, n_components = 100_000, len(path.model.hidden_bias)
    rng = np.random.Generator(np.random.SFC64(0))
    tempered = TemperedChains(path, np.array(betas), np.zeros((n, n_components)), rng)
    v = states(len(path.base))
    starts = [v[np.random.default_rng(0).choice(len(v), n, p=p)] for p in exact]
    tempered.v[...] = np.concatenate(starts)
    tempered._hidden_input[...] = path.hidden_input(tempered.v, tempered.beta)
    for _ in range(4):
        accept = tempered.step()
        assert accept.shape == (len(betas) - 1, n)
        assert 0.2 < accept.mean() < 1
        for k, p in enumerate(exact):
            assert_distributed(index(tempered.v[k * n : (k + 1) * n]), p)
        hidden_input = path.hidden_input(tempered.v, tempered.beta)
        assert_allclose(tempered._hidden_input, hidden_input, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("betas", [[0.0, 0.4, 1.0], [0.5, 1.0]])
def test_tempered_chains_do_not_drift(betas):
    model = tiny_rbm(4, 3, scale=1.5)
    mean = np.array([0.2, 0.5, 0.7, 0.4])
    v = states(4)
    p = []
    for beta in betas:
        bias = (1 - beta) * np.log(mean / (1 - mean)) + beta * model.visible_bias
        inputs = beta * (v @ model.weights + model.hidden_bias)
        log_p = v @ bias + np.log1p(np.exp(inputs)).sum(axis=1)
        p.append(np.exp(log_p) / np.exp(log_p).sum())
    assert_keeps(Path(model, mean), betas, p)


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
    exact = [Enumerated(*between[beta]).p_v for beta in betas]
    assert_keeps(ModelPath(models), betas, exact)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_on_a_ladder_do_not_drift(dtype):
    *_, model = models = rungs(4, 3, dtype)
    exact = Enumerated(*model)
    v, _ = draw(exact, dtype)
    settings = {"n_gibbs_steps": 30, "ladder": ladder_of(models), "random_state": 0}
    chains = draw_chains(by_hand(model), 50_000, 2, init=v[:50_000], **settings)
    assert chains.dtype == dtype
    for number in range(2):
        assert_distributed(index(chains[:, number]), exact.p_v)


def test_swaps_move_states_between_temperatures():
    """With equal distributions at all temperatures, every alternating swap is accepted."""
    path = Path(tiny_rbm(3, 2, scale=0.0), np.full(3, 0.5))
    rng = np.random.Generator(np.random.SFC64(0))
    tempered = TemperedChains(path, np.array([0, 0.5, 1.0]), np.zeros((2, 2)), rng)
    moves = []

    def mark(v, *_):
        v[...] = np.arange(6)[:, None]

    tempered.path = type("Marked", (), {"gibbs": staticmethod(mark)})()
    tempered.path.hidden_input, tempered.path.log_ratio = path.hidden_input, path.log_ratio
    for _ in range(2):
        assert_allclose(tempered.step(), 1)
        moves.append(tempered.v[:, 0].astype(int).tolist())
    assert moves == [[2, 3, 0, 1, 4, 5], [0, 1, 4, 5, 2, 3]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_conditional_draws_do_not_drift(dtype):
    """Redrawing some features of rows of the model keeps their distribution."""
    model = tiny_rbm(5, 3, dtype, scale=1.5)
    exact = Enumerated(*model)
    v, _ = draw(exact, dtype)
    mask = np.random.default_rng(1).random(v.shape) < 0.5
    X = np.where(mask, np.nan, v)
    filled = sample_conditional(by_hand(model), X, random_state=0, n_gibbs_steps=50)
    assert filled.dtype == dtype
    assert_array_equal(filled[~mask], v[~mask])
    assert_distributed(index(filled), exact.p_v)


# Chains ---------------------------------------------------------------------------------


@pytest.mark.parametrize("betas", [None, [0.0, 0.5, 1.0]])
def test_probabilities_have_the_mean_of_states(bars, betas):
    settings = {"n_gibbs_steps": 30, "betas": betas, "random_state": 0}
    v = bars.sample(20_000, **settings)
    p = bars.sample(20_000, output="probabilities", **settings)
    assert set(np.unique(v)) == {0, 1}
    assert ((p > 0) & (p < 1)).all()
    assert_allclose(p.mean(axis=0), v.mean(axis=0), atol=0.02)
    assert p.std() < v.std()


def test_rows_come_from_the_chains_by_turns(bars):
    chains = draw_chains(bars, 3, 4, n_gibbs_steps=20, thinning=10, random_state=0)
    rows = bars.sample(10, n_chains=3, n_gibbs_steps=20, thinning=10, random_state=0)
    assert chains.shape == (3, 4, 9)
    assert_array_equal(rows, chains.swapaxes(0, 1).reshape(12, 9)[:10])


@pytest.mark.parametrize("betas", [None, [0.0, 0.5, 1.0]])
def test_burn_in_and_thinning_leave_out_steps(bars, betas):
    settings = {"n_chains": 5, "betas": betas, "random_state": 0}
    every = draw_chains(bars, n_draws=12, n_gibbs_steps=1, **settings)
    some = draw_chains(bars, n_draws=3, n_gibbs_steps=4, thinning=3, **settings)
    assert_array_equal(some, every[:, 3:12:3])


@pytest.mark.parametrize("betas", [None, [0.0, 0.5, 1.0]])
def test_jobs_and_seeds(bars, betas):
    settings = {"n_gibbs_steps": 5, "betas": betas, "random_state": 1}
    one = bars.sample(600, **settings)
    assert_array_equal(one, bars.sample(600, n_jobs=2, **settings))
    assert (one != bars.sample(600, **settings | {"random_state": 2})).any()


def test_sampling_leaves_the_model_as_it_was(bars):
    before = bars.h_samples_.copy()
    bars.sample(50, random_state=0)
    bars.sample(5, betas=4, random_state=0)
    assert_array_equal(bars.h_samples_, before)


@pytest.mark.parametrize("init", ["noise", "rows", sp.csr_array(np.ones((1, 8)))])
def test_starts(init):
    """Chains of a model whose states do not change stay at their start."""
    model = two_modes()
    init = np.ones((1, 8)) if isinstance(init, str) and init == "rows" else init
    v = draw_chains(by_hand(model), 400, 1, init=init, random_state=0)[:, 0]
    share = (v.mean(axis=1) > 0.5).mean()
    assert 0.4 < share < 0.6 if isinstance(init, str) else share > 0.95


@pytest.mark.parametrize("betas", ["auto", 6, [0, 0.3, 0.5, 0.7, 1]])
def test_tempered_chains_mix_where_plain_ones_do_not(betas):
    model = two_modes(np.float32)
    exact = Enumerated(*model)
    expected = (exact.p_v * exact.v.mean(axis=1)).sum()
    settings = {"init": np.ones((1, 8)), "n_gibbs_steps": 200, "random_state": 0}
    plain = draw_chains(by_hand(model), 300, 1, **settings)
    tempered = draw_chains(by_hand(model), 300, 20, betas=betas, thinning=5, **settings)
    assert abs(expected - 0.5) < 0.1
    assert plain.mean() > 0.9
    assert_allclose(tempered.mean(), expected, atol=0.05)
    assert tempered.dtype == np.float32


def test_temperatures_are_chosen_by_acceptance():
    """All neighbors swap about equally often, and more often with more temperatures."""
    model = tiny_rbm(12, 6, scale=2.0)
    path = Path(model, np.full(12, 0.5))
    rng = np.random.Generator(np.random.SFC64(0))
    least = []
    for n_betas in (3, 6):
        betas = ladder_of_equal_swaps(path, np.zeros((4, 6)), rng, n_betas)
        assert len(betas) == n_betas
        assert (betas[0], betas[-1]) == (0, 1)
        assert (np.diff(betas) > 0).all()
        tempered = TemperedChains(path, betas, np.zeros((200, 6)), rng)
        accept = np.mean([tempered.step() for _ in range(200)][100:], axis=(0, 2))
        assert np.ptp(accept) < 0.15
        least.append(accept.min())
    assert least[0] < least[1]


# Ladders of models ----------------------------------------------------------------------


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
    exact = Enumerated(*model)
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
    path = ModelPath(models_of(ladder))
    betas = np.linspace(0, 1, len(ladder))
    tempered = TemperedChains(path, betas, np.zeros((200, 10)), rng)
    accept = np.mean([tempered.step() for _ in range(300)][100:], axis=(0, 2))
    assert abs(accept.mean() - acceptance) < 0.1
    assert np.ptp(accept) < 0.25


def test_jobs_and_seeds_on_a_ladder():
    models = rungs(6, 3)
    settings = {"n_gibbs_steps": 3, "ladder": ladder_of(models), "random_state": 1}
    one = by_hand(models[-1]).sample(600, **settings)
    assert_array_equal(one, by_hand(models[-1]).sample(600, n_jobs=2, **settings))
    p = by_hand(models[-1]).sample(20_000, output="probabilities", **settings)
    v = by_hand(models[-1]).sample(20_000, **settings)
    assert ((p > 0) & (p < 1)).all()
    assert_allclose(p.mean(axis=0), v.mean(axis=0), atol=0.02)


def test_a_ladder_is_pickled():
    models = rungs(6, 3)
    ladder = ladder_of(models)
    again = pickle.loads(pickle.dumps(ladder))
    assert len(again) == 3
    assert repr(again) == "ModelLadder of 3 rungs with 3 x 6 weights"
    for model, other in zip(models, models_of(again), strict=True):
        for a, b in zip(model, other, strict=True):
            assert_array_equal(a, b)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ladder.components = again.components


def test_what_is_no_ladder():
    models = rungs(6, 3)
    with pytest.raises(ValueError, match=r"must have shapes .*\(2, 3, 6\), \(2, 3\) and"):
        ModelLadder(np.zeros((2, 3, 6)), np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"must have shapes .* but have \(3, 6\)"):
        ModelLadder(np.zeros((3, 6)), np.zeros((3, 6)), np.zeros((3, 3)))
    for wrong in (models[:1], models[1:]):
        with pytest.raises(ValueError, match="at least 2 rungs and start at independent"):
            ladder_of(wrong)


@pytest.mark.parametrize("function", [draw_chains, log_partition])
def test_ladders_of_other_models(function):
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


# Conditional draws ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_conditional_probabilities(dtype):
    model = tiny_rbm(5, 3, dtype)
    exact = Enumerated(*model)
    row = np.array([1, np.nan, 0, np.nan, np.nan], dtype=dtype)
    known = ~np.isnan(row)
    p = exact.p_v * (exact.v[:, known] == row[known]).all(axis=1)
    expected = p @ exact.v / p.sum()
    rows = np.tile(row, (500, 1))
    filled = sample_conditional(
        by_hand(model), rows, output="probabilities", random_state=0
    )
    assert filled.dtype == dtype
    assert_allclose(filled.mean(axis=0), expected, atol=0.005)
    assert filled.std(axis=0).max() < 0.05


@pytest.mark.parametrize("n_gibbs_steps", [1, 2, 3, 10])
def test_filled_in_probabilities_are_means_of_the_later_steps(n_gibbs_steps):
    bias = np.array([-1.0, 0.0, 3.0])
    rbm = by_hand(
        RBM.bernoulli(np.zeros((3, 2)), bias, np.zeros(2))
    )  # features are independent
    filled = sample_conditional(
        rbm, [[np.nan] * 3], n_gibbs_steps=n_gibbs_steps, output="probabilities"
    )
    assert_allclose(filled, [1 / (1 + np.exp(-bias))])


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_what_is_unknown_starts_at_the_mean_of_the_data(mean):
    rbm = by_hand(
        RBM.bernoulli(np.full((2, 1), 100.0), np.full(2, -50.0), np.full(1, -100.0))
    )
    rbm.visible_mean_ = np.full(2, mean)  # states of all 0 and all 1 do not change
    filled = sample_conditional(rbm, np.full((20, 2), np.nan), n_gibbs_steps=5)
    assert (filled == mean).all()


def test_rows_without_nan_and_rows_of_nothing_else():
    model = tiny_rbm(4, 3)
    rows = np.array([[0, 1, 1, 0], [np.nan] * 4])
    filled = sample_conditional(by_hand(model), rows, random_state=0)
    assert_array_equal(filled[0], rows[0])
    assert set(filled[1]) <= {0.0, 1.0}
    whole = np.array([[0, 1, 1, 0]], dtype=np.uint8)
    assert_array_equal(sample_conditional(by_hand(model), whole), whole)


def test_conditional_draws_of_jobs_and_seeds(bars):
    X = np.tile(bars_and_stripes(), (40, 1))
    X[:, ::2] = np.nan
    one = sample_conditional(bars, X, random_state=0)
    assert_array_equal(one, sample_conditional(bars, X, n_jobs=2, random_state=0))
    assert (one != sample_conditional(bars, X, random_state=1)).any()


def test_reconstruct(bars):
    X = bars_and_stripes()
    there_and_back = bars.inverse_transform(bars.transform(X))
    assert_array_equal(bars.reconstruct(X), there_and_back)
    X[:, 4] = np.nan
    centre = bars.reconstruct(X, random_state=0)[:, 4]
    assert ((centre > 0.5) == bars_and_stripes()[:, 4]).mean() > 0.9


# Imputer --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gappy():
    """Digits with one fifth of the pixels missing, and the complete digits."""
    X = (load_digits().data > 7).astype(np.float32)
    mask = np.random.default_rng(0).random(X.shape) < 0.2
    return np.where(mask, np.nan, X), X, mask


def test_imputer_beats_the_means(gappy):
    X, truth, mask = gappy
    imputer = RBMImputer(BernoulliRBMEstimator(64, n_iter=20), random_state=0).fit(X)
    p = imputer.transform(X)
    assert_array_equal(p[~mask], truth[~mask])
    mean = np.broadcast_to(np.nanmean(X, axis=0), X.shape)
    error = ((p - truth)[mask] ** 2).mean()
    of_means = ((mean - truth)[mask] ** 2).mean()
    assert error < 0.7 * of_means
    assert_array_equal(p, imputer.transform(X))
    assert np.abs(p[:10] - imputer.transform(X[:10])).mean() < 0.02
    mode = imputer.set_params(strategy="mode").transform(X)
    assert_array_equal(mode, np.where(mask, p > 0.5, truth))
    drawn = imputer.set_params(strategy="draw").transform(X)
    assert set(np.unique(drawn)) == {0, 1}
    assert (drawn != imputer.transform(X)).any()
    assert_allclose(drawn[mask].mean(), p[mask].mean(), atol=0.02)


@pytest.mark.parametrize("n_rounds", [1, 3])
def test_rounds_of_the_imputer_written_out(gappy, n_rounds):
    X = gappy[0][:200]
    rbm = BernoulliRBMEstimator(8, n_iter=3)
    options = {"n_rounds": n_rounds, "n_gibbs_steps": 4, "random_state": 0}
    imputer = RBMImputer(rbm, **options).fit(X)
    seeds = np.random.RandomState(0).randint(np.iinfo(np.int32).max, size=2 + n_rounds)
    _, _, seed, *of_rounds = seeds.tolist()
    expected = clone(rbm).set_params(random_state=seed)
    expected.fit(np.where(np.isnan(X), np.nanmean(X, axis=0), X))
    for seed in of_rounds:
        drawn = sample_conditional(expected, X, n_gibbs_steps=4, random_state=seed)
        assert set(np.unique(drawn)) == {0, 1}
        expected.fit(drawn)
    assert len(of_rounds) == n_rounds - 1
    assert_allclose(imputer.rbm_.components_, expected.components_, rtol=1e-5)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.float64])
def test_what_is_masked_is_missing(dtype, gappy):
    with_nan = gappy[0][:60]
    mask = np.isnan(with_nan)
    masked = np.ma.masked_array(np.where(mask, 1, with_nan).astype(dtype), mask)
    imputer = RBMImputer(BernoulliRBMEstimator(4, n_iter=3), random_state=0)
    double = dtype == np.float64
    expected = imputer.fit_transform(with_nan.astype(np.float64 if double else "f"))
    filled = imputer.fit_transform(masked)
    assert not np.ma.isMaskedArray(filled)
    assert_array_equal(filled, expected)


def test_an_interruption_ends_the_rounds_of_the_imputer(gappy, monkeypatch):
    add, epochs = Record.add, []

    def interrupting(self, *args):
        improved = add(self, *args)
        epochs.append(args)
        if len(epochs) == 9:
            raise KeyboardInterrupt
        return improved

    monkeypatch.setattr(Record, "add", interrupting)
    imputer = RBMImputer(BernoulliRBMEstimator(4, n_iter=6), random_state=0)
    with pytest.warns(UserWarning, match="interrupted by the user after 2 of 6 epochs"):
        imputer.fit(gappy[0][:100])
    assert len(epochs) == 9
    assert imputer.rbm_.n_iter_ == 2
    assert not np.isnan(imputer.transform(gappy[0][:5])).any()


@pytest.mark.parametrize(
    ("module", "name", "rounds"), [(_training, "train", 1), (sampling, "fill", 2)]
)
def test_an_interruption_keeps_the_rounds_of_the_imputer(
    gappy, monkeypatch, module, name, rounds
):
    """This holds even before the first epoch of the next round is finished."""
    function, calls = getattr(module, name), []

    def interrupting(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return function(*args, **options)

    X = gappy[0][:100]
    imputer = RBMImputer(BernoulliRBMEstimator(4, n_iter=6), random_state=0)
    expected = clone(imputer).set_params(n_rounds=rounds).fit(X)
    monkeypatch.setattr(module, name, interrupting)
    with pytest.warns(UserWarning, match=f"interrupted by the user after {rounds} of 3"):
        imputer.fit(X)
    monkeypatch.undo()
    assert_array_equal(imputer.rbm_.components_, expected.rbm_.components_)
    assert_array_equal(imputer.transform(X[:5]), expected.transform(X[:5]))


@pytest.mark.parametrize(
    ("mark", "dtype"),
    [
        (-1, np.int64),
        (255, np.uint8),
        (-1.5, np.float32),
        (np.float64(-0.1), np.float32),
        (None, object),
        (pd.NA, object),
        ("?", object),
        (pd.NA, "Int64"),
        (np.nan, "Int64"),
        (np.nan, object),
    ],
)
def test_marks_of_missing_values(mark, dtype, gappy):
    with_nan = gappy[0][:60]
    mask = np.isnan(with_nan)
    if dtype == "Int64":
        X = pd.DataFrame(with_nan).astype(dtype)
    else:
        X = np.where(mask, 1, with_nan).astype(dtype)
        X[mask] = mark
    rbm = BernoulliRBMEstimator(4, n_iter=3)
    imputer = RBMImputer(rbm, missing_values=mark, random_state=0).fit(X)
    single = dtype in (np.float32, np.uint8)
    expected = RBMImputer(rbm, random_state=0).fit(with_nan.astype("f" if single else "d"))
    filled = imputer.transform(X)
    assert filled.dtype == (np.float32 if single else np.float64)
    assert_array_equal(filled, expected.transform(with_nan.astype(filled.dtype)))
    nan = mark is pd.NA or (isinstance(mark, float) and np.isnan(mark))
    assert get_tags(imputer).input_tags.allow_nan == nan
    if not nan:
        with pytest.raises(ValueError, match="contains NaN"):
            imputer.transform(with_nan)


@pytest.mark.parametrize("form", [np.asarray, np.ndarray.tolist, pd.DataFrame])
def test_marks_among_numbers_in_strings(form):
    strings = np.array([["?", "1"], ["0", "1"], ["1", "0"]])
    imputer = RBMImputer(BernoulliRBMEstimator(2, n_iter=1), missing_values="?")
    filled = imputer.fit_transform(form(strings))
    assert_array_equal(filled.ravel()[1:], [1, 0, 1, 1, 0])
    assert 0 < filled[0, 0] < 1
    mixed = [["?", 1], [0, 1], [1, 0]]
    assert_array_equal(imputer.fit(mixed).transform(mixed)[1:], mixed[1:])


@pytest.mark.parametrize("form", [np.array, pd.DataFrame])
def test_imputer_of_words(form, gappy):
    words = form(np.array([["no", "yes"], ["yes", "no"]] * 20, dtype=object))
    imputer = RBMImputer(BernoulliRBMEstimator(2, n_iter=2), random_state=0)
    for missing_values in (np.nan, None, -1):
        imputer.set_params(missing_values=missing_values)
        with pytest.raises(ValueError, match=r"not numbers: .*'no'.* with .*OrdinalEnc"):
            imputer.fit(words)
    words = np.array(words)
    words[3, 0] = words[8, 1] = np.nan
    imputer.set_params(missing_values=np.nan, strategy="mode")
    filled = make_pipeline(OrdinalEncoder(), imputer).fit_transform(form(words))
    assert_array_equal(np.unique(filled), [0, 1])


@pytest.mark.parametrize("in_context", [False, True])
@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_indicator_and_names_of_the_imputer(output, in_context, gappy):
    if output != "default":
        pytest.importorskip(output, reason=f"{output} is not installed")
    X = pd.DataFrame(gappy[0][:60]).rename(columns="p{}".format)
    X["p5"] = gappy[1][:60, 5]  # without gaps
    rbm = BernoulliRBMEstimator(4, n_iter=3)
    imputer = RBMImputer(rbm, random_state=0, add_indicator=True)
    if in_context:
        with config_context(transform_output=output):
            out = imputer.fit_transform(X)
    else:
        out = imputer.set_output(transform=output).fit_transform(X)
    missing = X.columns[X.isna().any()]
    assert len(missing) == 63
    names = [*X.columns, *(f"missingindicator_{name}" for name in missing)]
    assert_array_equal(imputer.get_feature_names_out(), names)
    if output != "default":
        assert type(out).__module__.startswith(output)
        assert_array_equal(out.columns, names)
    assert_array_equal(np.asarray(out)[:, 64:], X[missing].isna())
    plain = clone(imputer).set_params(add_indicator=False).fit(X)
    assert plain.indicator_ is None
    assert_array_equal(np.asarray(out)[:, :64], np.asarray(plain.transform(X)))
    assert_array_equal(plain.get_feature_names_out(), X.columns)
    assert_array_equal(plain.rbm_.feature_names_in_, X.columns)
    assert plain.rbm_.transform(plain.set_output(transform="pandas").transform(X)).shape
    assert not hasattr(RBMImputer(rbm).fit(gappy[0][:60]).rbm_, "feature_names_in_")


def test_warnings_of_the_imputer_come_once(gappy):
    X = 3 * gappy[0][:60]
    rbm = BernoulliRBMEstimator(4, n_iter=3, learning_rate=1e6)
    imputer = RBMImputer(rbm, random_state=0)
    with pytest.warns() as record:
        imputer.fit(X)
    messages = [str(warning.message).split()[:2] for warning in record]
    assert messages == [["X", "has"], ["Training", "diverged"]]
    assert record[1].category is ConvergenceWarning


def test_imputer_in_a_pipeline(gappy):
    X, y = gappy[0][:300], load_digits().target[:300]
    rbm = BernoulliRBMEstimator(8, n_iter=2)
    pipeline = make_pipeline(RBMImputer(rbm, random_state=0), BernoulliNB())
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.5
    imputer = pipeline[0].fit(X)
    assert rbm.random_state is None
    assert not hasattr(rbm, "components_")
    assert imputer.rbm_.n_components == 8
    assert imputer.get_feature_names_out()[0] == "x0"


def test_imputer_of_a_column_that_is_never_seen():
    X = np.array([[0, np.nan, 1], [1, np.nan, 0]] * 10)
    imputer = RBMImputer(BernoulliRBMEstimator(2, n_iter=2), random_state=0)
    with pytest.warns(UserWarning, match=r"Features \[1\] have no observed values"):
        filled = imputer.fit_transform(X)
    assert filled.shape == X.shape
    assert not np.isnan(filled).any()
    with pytest.raises(ValueError, match="All values of X are missing"):
        imputer.fit(np.full((5, 2), np.nan))


def test_seeds_of_the_imputer_and_of_its_rbm(gappy):
    X = gappy[0][:100]
    rbm = BernoulliRBMEstimator(4, n_iter=2)
    one, two = (RBMImputer(rbm, random_state=0).fit(X).rbm_ for _ in range(2))
    assert_array_equal(one.components_, two.components_)
    rbm.set_params(random_state=7)
    assert RBMImputer(rbm, random_state=0).fit(X).rbm_.random_state == 7


def test_an_imputer_that_fails_to_fit_again_is_as_it_was(gappy):
    X = gappy[0][:100]
    rbm = BernoulliRBMEstimator(4, n_iter=2)
    imputer = RBMImputer(rbm, random_state=0).fit(X)
    before = vars(imputer).copy()
    rbm.set_params(learning_rate=-1)
    with pytest.raises(ValueError, match="learning_rate"):
        imputer.fit(X[:, :20])
    assert vars(imputer) == before
    assert imputer.transform(X).shape == X.shape


# Diagnostics ----------------------------------------------------------------------------


def autoregressive(phi, shape, seed=0):
    x = np.random.default_rng(seed).normal(size=shape)
    x[:, 0] /= np.sqrt(1 - phi**2)
    for t in range(1, shape[1]):
        x[:, t] += phi * x[:, t - 1]
    return x


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.5, 0.9])
def test_effective_sample_size_of_an_autoregression(phi):
    """The autocorrelation time is (1 + phi) / (1 - phi)."""
    x = autoregressive(phi, (8, 20_000))
    expected = x.size * (1 - phi) / (1 + phi)
    assert_allclose(effective_sample_size(x), expected, rtol=0.1)


def test_r_hat():
    x = autoregressive(0.5, (4, 5000))
    assert_allclose(split_r_hat(x), 1, atol=0.005)
    assert split_r_hat(x + np.arange(4)[:, None]) > 1.3
    trend = x + np.linspace(-2, 2, 5000)  # not detected without splitting the chains
    assert split_r_hat(trend) > 1.2


@pytest.mark.parametrize(
    ("phi", "shape", "r_hat", "size"),
    [
        (-0.5, (4, 500), 1.017535, 494.6),
        (-0.5, (2, 1001), 1.027960, 62.1),
        (-0.5, (7, 64), 0.997244, 1187.8),
        (0.0, (4, 500), 0.998972, 2094.3),
        (0.0, (2, 1001), 0.999520, 2060.8),
        (0.0, (7, 64), 1.014146, 424.6),
        (0.7, (4, 500), 1.041814, 199.8),
        (0.7, (2, 1001), 1.068600, 138.2),
        (0.7, (7, 64), 1.193872, 27.9),
        (0.95, (4, 500), 1.067258, 38.8),
        (0.95, (2, 1001), 1.044554, 78.1),
        (0.95, (7, 64), 1.684671, 12.3),
    ],
)
def test_figures_are_those_of_arviz(phi, shape, r_hat, size):
    """Compare with rhat(method="split") and ess(method="mean") of arviz 0.23.4."""
    chain, t = np.indices(shape)
    x = (7919 * chain + 104_729 * (t + 1) ** 2) % 1009 / 1009
    for i in range(1, shape[1]):
        x[:, i] += phi * x[:, i - 1]
    x[0] += 0.3 * phi
    assert_allclose(split_r_hat(x), r_hat, atol=1e-6)
    assert_allclose(effective_sample_size(x), size, atol=0.05)


def test_figures_of_constant_chains():
    for value in (0, 1, 0.1, -37.123, 1e9):
        x = np.full((3, 10), value)
        assert split_r_hat(x) == 1
        assert effective_sample_size(x) == 30
    x[0] = 0
    assert split_r_hat(x) == np.inf
    assert effective_sample_size(x) < 10
    for bad in (np.ones(5), np.ones((2, 3))):
        with pytest.raises(ValueError, match=r"shape \(n_chains, n_draws\)"):
            split_r_hat(bad)


def test_chains_that_agree_roughly():
    figures = {"autocorrelation_time": [9.0], "n_chains": 2, "n_draws": 99, "moving": True}
    some = ChainDiagnostics(["x"], np.array([1.05]), np.array([30.0]), **figures)
    assert not some.trusted
    assert some.verdict.startswith("The chains agree roughly (R-hat 1.050)")


@pytest.mark.parametrize(
    ("r_hat", "size", "trusted"),
    [(1.009, 100.0, True), (1.011, 1000.0, False), (1.0, 99.0, False)],
)
def test_what_is_trusted(r_hat, size, trusted):
    figures = {"autocorrelation_time": [9.0], "n_chains": 4, "n_draws": 999, "moving": True}
    r_hat, size = np.array([1.0, r_hat]), np.array([900.0, size])
    assert ChainDiagnostics(["x", "y"], r_hat, size, **figures).trusted == trusted


def test_diagnose(bars):
    good = diagnose(bars, draw_chains(bars, 20, 2000, thinning=20, random_state=0))
    assert good.trusted
    assert good.verdict.startswith("The chains can be trusted")
    assert good.statistics[:2] == ["free energy", "units on"]
    assert len(good.statistics) == 7
    sizes = good.effective_sample_size
    assert_allclose(good.autocorrelation_time, 20 * 2000 / sizes)
    assert "R-hat" in repr(good)
    assert repr(good).endswith(good.verdict)
    short = diagnose(bars, draw_chains(bars, 4, 30, random_state=0))
    assert not short.trusted
    one = diagnose(bars, draw_chains(bars, 1, 3000, thinning=20, random_state=0))
    assert one.verdict.startswith("One chain cannot be trusted by itself")


def test_diagnose_finds_chains_that_are_stuck():
    rbm = by_hand(two_modes())
    stuck = draw_chains(rbm, 10, 100, init="noise", random_state=0)
    result = diagnose(rbm, stuck, n_features=2)
    assert not result.trusted
    assert "cannot be trusted: they disagree on" in result.verdict
    still = np.tile(stuck[:1, :1], (10, 100, 1))
    result = diagnose(rbm, still)
    assert not result.trusted
    assert result.verdict.startswith("The chains do not move")
    free = draw_chains(rbm, 10, 2000, betas=5, thinning=5, random_state=0)
    assert diagnose(rbm, free).trusted


# Bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_chains": 0}, "n_chains"),
        ({"n_draws": 0}, "n_draws"),
        ({"n_gibbs_steps": 0}, "n_gibbs_steps"),
        ({"thinning": 0}, "thinning"),
        ({"output": "both"}, "output must be one of 'states', 'probabilities'"),
        ({"init": "data"}, "init must be one of 'chains', 'noise'"),
        ({"init": "chains"}, "has none"),
        ({"init": np.ones((2, 3))}, "3 features"),
        ({"init": np.ones((9, 4))}, "9 rows, but the number of chains is only 4"),
        ({"betas": "all"}, "'auto'"),
        ({"betas": 1}, "betas"),
        ({"betas": [0, 0.5]}, "begin with 0 or more, never fall and end"),
        ({"betas": [0.5, 0.2, 1]}, "never fall"),
        ({"betas": "auto", "ladder": "auto"}, "either betas or ladder"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_chains(by_hand(tiny_rbm(4, 3)), **arguments)


def test_bad_rows(bars):
    rbm = by_hand(tiny_rbm(4, 3))
    with pytest.raises(ValueError, match=r"NaN \(for unknown values\).*, such as 0.5:"):
        sample_conditional(rbm, [[0.5, -1, np.nan, 0]])
    with pytest.raises(ValueError, match="3 features"):
        sample_conditional(rbm, [[1, np.nan, 0]])
    with pytest.raises(ValueError, match="infinity"):
        sample_conditional(rbm, [[1, np.nan, np.inf, 0]])
    with pytest.raises(ValueError, match=r"chains must have shape .* got shape \(4, 4\)"):
        diagnose(rbm, np.ones((4, 4)))
    with pytest.raises(ValueError, match="5 features"):
        diagnose(rbm, np.ones((2, 8, 5)))
    with pytest.raises(ValueError, match="at least 4 draws, but got 3: increase n_draws"):
        diagnose(rbm, np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="n_chains"):
        bars.sample(5, n_chains=0)
    for unfitted in (BernoulliRBMEstimator(), BernoulliRBM()):
        with pytest.raises(NotFittedError):
            draw_chains(unfitted)
    with pytest.raises(NotFittedError):
        BernoulliRBMEstimator().reconstruct([[1, 0]])
    with pytest.raises(NotFittedError):
        RBMImputer().transform([[1, 0]])


@pytest.mark.parametrize("scale", [0.0, 80.0])
@pytest.mark.parametrize("shape", [(5, 1), (1, 5)])
def test_extreme_models(shape, scale):
    model = tiny_rbm(*shape, np.float32, scale=scale)
    for betas in (None, "auto"):
        v = draw_chains(by_hand(model), 300, 1, betas=betas, random_state=0)[:, 0]
        assert set(np.unique(v)) <= {0, 1}
        exact = Enumerated(*model)
        expected = exact.p_v @ exact.v
        if scale == 0:
            assert_allclose(v.mean(axis=0), expected, atol=0.15)
