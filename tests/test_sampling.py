"""Plain and tempered chains, conditional draws, and diagnostics."""

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import (
    N_CHAINS,
    Enumerated,
    assert_distributed,
    bars_and_stripes,
    bernoulli_rbm,
    by_hand,
    draw,
    index,
    tiny_rbm,
    two_modes,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMEstimator, RBMImputer
from skrbm.sampling import (
    ChainDiagnostics,
    diagnose,
    draw_chains,
    effective_sample_size,
    sample_conditional,
    split_r_hat,
)


@pytest.fixture(scope="module")
def bars():
    X = np.tile(bars_and_stripes(), (20, 1))
    return BernoulliRBMEstimator(8, learning_rate=0.2, n_iter=200, random_state=0).fit(X)


# No drift -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("thinning", [1, 3])
def test_plain_chains_do_not_drift(thinning, dtype):
    model = tiny_rbm(4, 3, dtype, scale=1.5)
    exact = Enumerated(*model.arrays)
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_conditional_draws_do_not_drift(dtype):
    """Redrawing some features of rows of the model keeps their distribution."""
    model = tiny_rbm(5, 3, dtype, scale=1.5)
    exact = Enumerated(*model.arrays)
    v = draw(exact, dtype)[0][: N_CHAINS // 4]
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
    v = bars.sample(10_000, **settings)
    p = bars.sample(10_000, output="probabilities", **settings)
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


@pytest.mark.slow
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
def test_starts_of_chains(init):
    """Chains of a model whose states do not change stay at their start."""
    model = two_modes()
    init = np.ones((1, 8)) if isinstance(init, str) and init == "rows" else init
    v = draw_chains(by_hand(model), 400, 1, init=init, random_state=0)[:, 0]
    share = (v.mean(axis=1) > 0.5).mean()
    assert 0.4 < share < 0.6 if isinstance(init, str) else share > 0.95


@pytest.mark.parametrize("betas", ["auto", 6, [0, 0.3, 0.5, 0.7, 1]])
def test_tempered_chains_mix_where_plain_ones_do_not(betas):
    model = two_modes(np.float32)
    exact = Enumerated(*model.arrays)
    expected = (exact.p_v * exact.v.mean(axis=1)).sum()
    settings = {"init": np.ones((1, 8)), "n_gibbs_steps": 200, "random_state": 0}
    plain = draw_chains(by_hand(model), 300, 1, **settings)
    tempered = draw_chains(by_hand(model), 300, 20, betas=betas, thinning=5, **settings)
    assert abs(expected - 0.5) < 0.1
    assert plain.mean() > 0.9
    assert_allclose(tempered.mean(), expected, atol=0.05)
    assert tempered.dtype == np.float32


# Conditional draws ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_conditional_probabilities(dtype):
    model = tiny_rbm(5, 3, dtype)
    exact = Enumerated(*model.arrays)
    row = np.array([1, np.nan, 0, np.nan, np.nan], dtype=dtype)
    known = ~np.isnan(row)
    p = exact.p_v * (exact.v[:, known] == row[known]).all(axis=1)
    expected = p @ exact.v / p.sum()
    rows = np.stack([1 - row, row, row])
    options = {"n_gibbs_steps": 10_000, "output": "probabilities", "random_state": 0}
    filled = sample_conditional(by_hand(model), rows, **options)
    assert filled.dtype == dtype
    assert_allclose(filled[1], expected, atol=0.015)
    assert_allclose(filled[1:], np.tile(filled[1], (2, 1)), rtol=1e-6)


@pytest.mark.parametrize("n_gibbs_steps", [1, 2, 3, 10])
def test_filled_in_probabilities_are_means_of_the_later_steps(n_gibbs_steps):
    bias = np.array([-1.0, 0.0, 3.0])
    rbm = by_hand(
        bernoulli_rbm(np.zeros((3, 2)), bias, np.zeros(2))
    )  # features are independent
    filled = sample_conditional(
        rbm, [[np.nan] * 3], n_gibbs_steps=n_gibbs_steps, output="probabilities"
    )
    assert_allclose(filled, [1 / (1 + np.exp(-bias))])


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_unknown_values_start_at_the_mean_of_the_data(mean):
    rbm = by_hand(
        bernoulli_rbm(np.full((2, 1), 100.0), np.full(2, -50.0), np.full(1, -100.0))
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


@pytest.mark.slow
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
    centre = bars.reconstruct(X)[:, 4]
    assert ((centre > 0.5) == bars_and_stripes()[:, 4]).mean() > 0.9


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
def test_diagnostics_are_those_of_arviz(phi, shape, r_hat, size):
    """Compare with rhat(method="split") and ess(method="mean") of arviz 0.23.4."""
    chain, t = np.indices(shape)
    x = (7919 * chain + 104_729 * (t + 1) ** 2) % 1009 / 1009
    for i in range(1, shape[1]):
        x[:, i] += phi * x[:, i - 1]
    x[0] += 0.3 * phi
    assert_allclose(split_r_hat(x), r_hat, atol=1e-6)
    assert_allclose(effective_sample_size(x), size, atol=0.05)


def test_diagnostics_of_constant_chains():
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
    figures["free_energy"] = np.zeros((2, 99))
    some = ChainDiagnostics(["x"], np.array([1.05]), np.array([30.0]), **figures)
    assert not some.trusted
    assert some.verdict.startswith("The chains agree roughly (R-hat 1.050)")


@pytest.mark.parametrize(
    ("r_hat", "size", "trusted"),
    [(1.009, 100.0, True), (1.011, 1000.0, False), (1.0, 99.0, False)],
)
def test_thresholds_of_trust(r_hat, size, trusted):
    figures = {"autocorrelation_time": [9.0], "n_chains": 4, "n_draws": 999, "moving": True}
    figures["free_energy"] = np.zeros((4, 999))
    r_hat, size = np.array([1.0, r_hat]), np.array([900.0, size])
    assert ChainDiagnostics(["x", "y"], r_hat, size, **figures).trusted == trusted


@pytest.mark.slow
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
    one = diagnose(bars, draw_chains(bars, 1, 1000, thinning=20, random_state=0))
    assert one.verdict.startswith("One chain cannot be trusted by itself")


@pytest.mark.slow
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
    free = draw_chains(rbm, 10, 1000, betas=5, thinning=5, random_state=0)
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
    with pytest.raises(ValueError, match=r"0 and 1, and NaN .*, such as 0.5: bin"):
        sample_conditional(rbm, [[0.5, 1, np.nan, 0]])
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


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0, 80.0])
@pytest.mark.parametrize("shape", [(5, 1), (1, 5)])
def test_extreme_models(shape, scale):
    model = tiny_rbm(*shape, np.float32, scale=scale)
    for betas in (None, "auto"):
        v = draw_chains(by_hand(model), 300, 1, betas=betas, random_state=0)[:, 0]
        assert set(np.unique(v)) <= {0, 1}
        exact = Enumerated(*model.arrays)
        expected = exact.p_v @ exact.v
        if scale == 0:
            assert_allclose(v.mean(axis=0), expected, atol=0.15)
