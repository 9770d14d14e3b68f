"""Displays, tested by the content of their artists instead of images."""

import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from matplotlib.colors import Normalize, TwoSlopeNorm
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMEstimator, MixedRBMEstimator, plotting
from skrbm._data import spread
from skrbm.inspection import effective_couplings
from skrbm.plotting import (
    ActivationsDisplay,
    ChainsDisplay,
    CouplingsDisplay,
    FiltersDisplay,
    SamplesDisplay,
    TopFeaturesDisplay,
    TrainingDisplay,
)
from skrbm.sampling import diagnose, draw_chains

X = (load_digits().data[:200] > 7).astype(float)


@pytest.fixture(scope="module")
def rbm():
    return BernoulliRBMEstimator(7, n_iter=3, random_state=0).fit(X)


@pytest.fixture(autouse=True)
def _no_windows():
    mpl.use("agg")
    yield
    plt.close("all")


def test_mosaic():
    rows = np.arange(3 * 6).reshape(3, 6)
    image = plotting._mosaic(rows, (2, 3), 2, -1)
    assert_array_equal(
        image,
        [
            [0, 1, 2, -1, 6, 7, 8],
            [3, 4, 5, -1, 9, 10, 11],
            [-1, -1, -1, -1, -1, -1, -1],
            [12, 13, 14, -1, -1, -1, -1],
            [15, 16, 17, -1, -1, -1, -1],
        ],
    )


def test_filters(rbm):
    display = FiltersDisplay.from_estimator(rbm, n_filters=4, cmap="gray")
    shown = np.asarray(display.im_.get_array())
    norms = np.linalg.norm(rbm.components_, axis=1)
    assert_allclose(shown[:8, :8].ravel(), rbm.components_[norms.argmax()])
    assert shown.shape == (17, 17)
    assert np.isnan(shown[8]).all()
    assert np.isnan(shown[:, 8]).all()
    assert display.im_.get_cmap().name == "gray"
    limit = np.abs(display.filters).max()
    assert display.im_.get_clim() == (-limit, limit)
    no_norm = FiltersDisplay.from_estimator(rbm, norm=None, n_filters=4)
    assert no_norm.im_.get_clim() == (-limit, limit)
    norm = TwoSlopeNorm(0)
    assert FiltersDisplay.from_estimator(rbm, norm=norm).im_.norm is norm
    theirs = BernoulliRBM(3, n_iter=1, random_state=0).fit(X)
    wide = FiltersDisplay.from_estimator(theirs, image_shape=(4, 16))
    assert wide.im_.get_array().shape == (9, 33)


def test_samples(rbm):
    display = SamplesDisplay.from_estimator(rbm, X, n_images=9, random_state=0)
    titles = [axes.get_title() for axes in display.axes_]
    assert titles == ["data", "reconstructions", "samples"]
    shown = [np.asarray(im.get_array()) for im in display.ims_]
    assert_array_equal(shown[0][:8, :8].ravel(), X[0])
    assert_allclose(shown[1][:8, :8].ravel(), rbm.reconstruct(X[:1])[0])
    assert_array_equal(shown[2][:8, :8].ravel(), rbm.sample(9, random_state=0)[0])
    assert_array_equal(shown[0][-8:, -8:].ravel(), X[-1])
    for im in display.ims_:
        assert im.get_clim() == (0, 1)
        assert im.get_cmap().name == "gray_r"
    other = SamplesDisplay.from_estimator(rbm, X, cmap="viridis", norm=Normalize(0, 2))
    assert {im.get_cmap().name for im in other.ims_} == {"viridis"}
    assert {im.get_clim() for im in other.ims_} == {(0, 2)}


@pytest.mark.parametrize("form", [sp.csr_array, sp.coo_array, np.ndarray.tolist])
def test_samples_of_other_forms_of_data(rbm, form):
    images = SamplesDisplay.from_estimator(rbm, form(X), random_state=0).images
    expected = SamplesDisplay.from_estimator(rbm, X, random_state=0).images
    for title, rows in images.items():
        assert_array_equal(rows, expected[title])


def test_samples_of_a_frame_and_of_missing_values(rbm):
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    named = clone(rbm).fit(frame)
    display = SamplesDisplay.from_estimator(named, frame, random_state=0)
    assert_array_equal(display.images["data"][-1], X[-1])
    with pytest.raises(ValueError, match="feature names"):
        SamplesDisplay.from_estimator(named, frame[frame.columns[::-1]])
    gappy = X.copy()
    gappy[:, 20:30] = np.nan
    images = SamplesDisplay.from_estimator(rbm, gappy, random_state=0).images
    assert np.isnan(images["data"][:, 20:30]).all()
    assert_array_equal(
        images["reconstructions"],
        rbm.reconstruct(gappy[spread(200, 36)]),
    )


def test_training(rbm):
    display = TrainingDisplay.from_estimator(rbm, ls="--", c="red")
    (line,) = display.lines_
    assert_array_equal(line.get_xdata(), [1, 2, 3])
    assert_array_equal(line.get_ydata(), rbm.history_["pseudo_log_likelihood"])
    assert (line.get_linestyle(), line.get_color()) == ("--", "red")
    assert len(display.ax_.get_legend().get_texts()) == 1
    early = BernoulliRBMEstimator(4, n_iter=2, early_stopping=True, random_state=0).fit(X)
    lines = TrainingDisplay.from_estimator(early).lines_
    assert_array_equal(lines[1].get_ydata(), early.validation_scores_)
    assert_array_equal(lines[2].get_ydata(), early.history_["free_energy_gap"])
    assert lines[2].axes is not lines[1].axes
    with pytest.raises(ValueError, match="no history_"):
        TrainingDisplay.from_estimator(BernoulliRBMEstimator().partial_fit(X))
    with pytest.raises(NotFittedError, match="call fit"):
        TrainingDisplay.from_estimator(BernoulliRBMEstimator())


def test_training_of_several_estimators_on_the_same_axes(rbm):
    figure, (ax, other) = plt.subplots(1, 2, sharex=True)
    early = BernoulliRBMEstimator(4, n_iter=2, early_stopping=True, random_state=0).fit(X)
    first = TrainingDisplay.from_estimator(rbm, ax=ax, name="a")
    second = TrainingDisplay.from_estimator(early, ax=ax)
    second.plot(ax)
    lines = [*ax.lines, *second.lines_[2].axes.lines]
    assert len(figure.axes) == 3  # one second axis for the gaps of all estimators
    assert len({line.get_color() for line in lines}) == len(lines) == 7
    texts = {text.get_text() for text in ax.get_legend().get_texts()}
    assert texts == {line.get_label() for line in lines}
    assert first.lines_[0].get_label() == "a: pseudo-log-likelihood, training rows"
    assert second.plot(other).lines_[2].axes not in (ax, other, lines[-1].axes)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_activations(rbm, form):
    display = ActivationsDisplay.from_estimator(rbm, form(X), bins=10)
    heights = [bar.get_height() for bar in display.bars_]
    mean = rbm.transform(X).mean(axis=0)
    assert_array_equal(heights, np.histogram(mean, 10, (0, 1))[0])
    ends = ActivationsDisplay(np.array([0.001, 0.5, 0.999, 1.0])).plot()
    title = ends.ax_.get_title()
    assert title.startswith("1 of 4 hidden units active below 1%, 2 above")


def test_a_density_of_activations(rbm):
    display = ActivationsDisplay.from_estimator(rbm, X, density=True)
    assert display.ax_.get_ylabel() == "density"


@pytest.mark.parametrize("form", [np.asarray, np.ndarray.tolist])
def test_chains(rbm, form):
    chains = draw_chains(rbm, 3, 20, random_state=0)
    display = ChainsDisplay.from_estimator(rbm, form(chains), lw=2)
    assert len(display.lines_) == 3
    assert_allclose(display.lines_[1].get_ydata(), rbm.free_energy(chains[1]))
    assert display.lines_[1].get_linewidth() == 2
    found = diagnose(rbm, chains)
    assert found.r_hat.max() - found.r_hat.min() > 0.001
    r_hat, least = found.r_hat.max(), found.effective_sample_size.min()
    assert display.ax_.get_title() == (
        f"largest R-hat {r_hat:.3f}, at least {least:.0f} effective draws: "
        "not to be trusted"
    )


def test_chains_that_are_to_be_trusted(rbm):
    free = draw_chains(rbm, 10, 1000, thinning=5, random_state=0)
    display = ChainsDisplay.from_estimator(rbm, free)
    assert display.ax_.get_title().endswith(" effective draws")


def test_top_features(rbm):
    names = [f"pixel {i}" for i in range(64)]
    display = TopFeaturesDisplay.from_estimator(
        rbm, names, units=[5, 2], n_features=4, color="red"
    )
    assert [axes.get_title() for axes in display.axes_] == ["unit 5", "unit 2"]
    for axes, bars, unit in zip(display.axes_, display.bars_, (5, 2), strict=True):
        top = np.argsort(-rbm.components_[unit])[:4]
        lengths = [bar.get_width() for bar in bars]
        assert_array_equal(lengths, rbm.components_[unit, top])
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert labels == [names[i] for i in top]
        assert bars[0].get_facecolor() == (1, 0, 0, 1)
        assert axes.yaxis.get_inverted()


def test_top_features_of_the_units_with_the_largest_weights(rbm):
    display = TopFeaturesDisplay.from_estimator(rbm, units=5)
    order = np.argsort(-np.linalg.norm(rbm.components_, axis=1))
    assert display.units == order[:5].tolist()
    assert len(display.figure_.axes) == 5  # in two lines, the second of which has one
    first = [label.get_text() for label in display.axes_[0].get_yticklabels()]
    top = np.argsort(-rbm.components_[order[0]])[:10]
    assert first == list(map(str, top))
    assert len(TopFeaturesDisplay.from_estimator(rbm).axes_) == 7
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    named = TopFeaturesDisplay.from_estimator(clone(rbm).fit(frame))
    assert named.feature_names[0, 0].startswith("pixel ")


def test_couplings(rbm):
    display = CouplingsDisplay.from_estimator(rbm, X[:5], cmap="gray")
    expected = effective_couplings(rbm, X[:5]).strengths
    assert_array_equal(display.im_.get_array(), expected)
    limit = np.abs(expected).max()
    assert display.im_.get_clim() == (-limit, limit)
    assert display.im_.get_cmap().name == "gray"
    assert len(display.ax_.get_xticks()) < 64
    over_states = CouplingsDisplay(effective_couplings(rbm)).plot()
    assert_array_equal(
        over_states.im_.get_array(), CouplingsDisplay.from_estimator(rbm).im_.get_array()
    )
    few = pd.DataFrame(X[:, 20:23], columns=["a", "b", "c"])
    table = MixedRBMEstimator(2, groups=[["a", "b"]], n_iter=1, random_state=0)
    few["a"] = 1 - few["b"]
    shown = CouplingsDisplay.from_estimator(table.fit(few)).ax_
    for labels in (shown.get_xticklabels(), shown.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["('a', 'b')", "c"]


def test_couplings_without_sign(rbm):
    rng = np.random.default_rng(0)
    letters = rng.choice(list("abc"), 50)
    table = pd.DataFrame({"letter": letters, "other": letters, "bit": letters == "a"})
    table["flag"] = table["bit"]
    for columns, n_dots, low in (
        (["letter", "other"], 0, 0),
        (["letter", "bit"], 0, 0),
        (["bit", "flag"], 0, -1),
        (["letter", "bit", "flag"], 4, -1),
    ):
        model = MixedRBMEstimator(2, n_iter=1, random_state=0).fit(table[columns])
        display = CouplingsDisplay.from_estimator(model)
        low_limit, limit = display.im_.get_clim()
        assert low_limit == low * limit
        dots = [len(marks.get_offsets()) for marks in display.ax_.collections]
        assert sum(dots) == n_dots


def test_dots_of_pairs_without_sign_show_the_colors():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.choice(list("abc"), (30, 60))).add_prefix("letter ")
    table["bit"], table["flag"] = rng.random((2, 30)) < 0.5
    model = MixedRBMEstimator(2, n_iter=1, random_state=0).fit(table)
    display = CouplingsDisplay.from_estimator(model)
    display.figure_.canvas.draw()
    (dots,) = display.ax_.collections
    box = display.ax_.get_window_extent()
    cell = (72 * box.width / display.figure_.dpi / 62) ** 2
    assert 0 < np.pi / 4 * dots.get_sizes().max() < cell / 10


@pytest.mark.parametrize("word", ["column", "the name of a column of a table"])
@pytest.mark.parametrize("n", [12, 30, 38, 40, 64])
def test_names_of_columns_do_not_overlap(n, word):
    names = [f"{word} {i}" for i in range(n)]
    bits = pd.DataFrame(X[:, 64 - n :], columns=names)
    model = BernoulliRBMEstimator(2, n_iter=1, random_state=0).fit(bits)
    display = CouplingsDisplay.from_estimator(model)
    display.figure_.canvas.draw()
    for labels, side in (
        (display.ax_.get_xticklabels(), 0),
        (display.ax_.get_yticklabels(), 1),
    ):
        boxes = [label.get_window_extent() for label in labels]
        ends = np.sort([[box.min[side], box.max[side]] for box in boxes], axis=0)
        assert (ends[1:, 0] >= ends[:-1, 1]).all()
        assert len(labels) == n if n == 12 else len(labels) >= 6


def test_ticks_are_whole_epochs_and_units(rbm):
    axes = TrainingDisplay.from_estimator(rbm).ax_.xaxis
    units = ActivationsDisplay.from_estimator(rbm, X).ax_.yaxis
    for ticks in (axes.get_majorticklocs(), units.get_majorticklocs()):
        assert_array_equal(ticks, np.round(ticks))


def test_axes_that_are_given(rbm):
    figure, axes = plt.subplots(1, 3)
    display = FiltersDisplay.from_estimator(rbm, ax=axes[0])
    assert display.ax_ is axes[0]
    assert display.figure_ is figure
    assert display.plot(axes[1]) is display
    assert display.ax_ is axes[1]
    assert SamplesDisplay.from_estimator(rbm, X, ax=axes).figure_ is figure
    column = SamplesDisplay.from_estimator(rbm, X, ax=axes[:, np.newaxis])
    assert_array_equal(column.axes_, axes)
    with pytest.raises(ValueError, match=r"contain 3 Axes, .* samples, but contains 1"):
        SamplesDisplay.from_estimator(rbm, X, ax=axes[0])
    units = TopFeaturesDisplay.from_estimator(rbm, units=3, ax=axes)
    assert_array_equal(units.axes_, axes)
    with pytest.raises(ValueError, match=r"contain 3 Axes, .* unit 2, but contains 1"):
        TopFeaturesDisplay.from_estimator(rbm, units=[0, 1, 2], ax=axes[0])
    chains = draw_chains(rbm, 2, 10, random_state=0)
    for display in (
        CouplingsDisplay.from_estimator(rbm, ax=axes[2]),
        TrainingDisplay.from_estimator(rbm, ax=axes[2]),
        ActivationsDisplay.from_estimator(rbm, X, ax=axes[2]),
        ChainsDisplay.from_estimator(rbm, chains, ax=axes[2]),
    ):
        assert display.ax_ is axes[2]


def test_errors(rbm):
    with pytest.raises(ValueError, match=r"\(3, 5\) has 15 pixels, but .* has 64"):
        FiltersDisplay.from_estimator(rbm, image_shape=(3, 5))
    for shape in (8, (-8, -8), (8.0, 8), (4, 4, 4)):
        with pytest.raises(ValueError, match=r"must be a pair \(height, width\) of pos"):
            FiltersDisplay.from_estimator(rbm, image_shape=shape)
    odd = BernoulliRBMEstimator(2, n_iter=1).fit(X[:, :50])
    with pytest.raises(ValueError, match="50 features are not square images: pass image_s"):
        SamplesDisplay.from_estimator(odd, X[:, :50])
    with pytest.raises(ValueError, match="n_filters"):
        FiltersDisplay.from_estimator(rbm, n_filters=0)
    with pytest.raises(ValueError, match="units == 0"):
        TopFeaturesDisplay.from_estimator(rbm, units=0)
    for units in ([], [99]):
        with pytest.raises(ValueError, match="units must be a number of hidden units"):
            TopFeaturesDisplay.from_estimator(rbm, units=units)
    with pytest.raises(ValueError, match="n_features == 0"):
        TopFeaturesDisplay.from_estimator(rbm, n_features=0)
    with pytest.raises(ValueError, match=r"must be 64 names, .* has the shape \(2,\)"):
        TopFeaturesDisplay.from_estimator(rbm, ["a", "b"])
    table = MixedRBMEstimator(2, n_iter=1).fit(X[:, 20:22])
    with pytest.raises(TypeError, match="a MixedRBMEstimator has one for each category"):
        TopFeaturesDisplay.from_estimator(table)
    theirs = BernoulliRBM(3, n_iter=1).fit(X)
    with pytest.raises(TypeError, match=r"SamplesDisplay requires .* got a BernoulliRBM"):
        SamplesDisplay.from_estimator(theirs, X)


def test_without_matplotlib(rbm, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"FiltersDisplay\.plot requires matplotlib"):
        FiltersDisplay.from_estimator(rbm)


def test_samples_without_data(rbm):
    display = SamplesDisplay.from_estimator(rbm, n_images=9, random_state=0)
    assert [axes.get_title() for axes in display.axes_] == ["samples"]
    assert_array_equal(display.images["samples"], rbm.sample(9, random_state=0))
    _, ax = plt.subplots()
    assert SamplesDisplay.from_estimator(rbm, n_images=9, ax=ax).axes_[0] is ax


def test_chains_that_the_display_draws(rbm):
    display = ChainsDisplay.from_estimator(rbm, random_state=0, lw=2)
    chains = draw_chains(rbm, n_gibbs_steps=1, init="noise", random_state=0)
    for line, chain in zip(display.lines_, chains, strict=True):
        assert_allclose(line.get_ydata(), rbm.free_energy(chain), rtol=1e-6)
    assert_array_equal(diagnose(rbm, chains).r_hat, display.diagnostics.r_hat)
