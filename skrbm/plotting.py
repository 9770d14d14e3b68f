"""Plots of fitted models, following the conventions of scikit-learn's displays.

``from_estimator`` computes and plots, and ``plot(ax=...)`` plots again without computing.
Afterwards, you can change ``figure_``, ``ax_`` (or ``axes_``) and the artists. matplotlib
is only imported for plotting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

from skrbm._attributes import model_of
from skrbm._compat.sklearn import _safe_indexing, check_matplotlib_support
from skrbm._data import spread
from skrbm._inputs import check_integer, check_rows, reads_frames
from skrbm._typing import MatrixLike, RandomStateLike
from skrbm.inspection import EffectiveCouplings, effective_couplings
from skrbm.sampling import ChainDiagnostics, diagnose, draw_chains

__all__ = [
    "ActivationsDisplay",
    "ChainsDisplay",
    "CouplingsDisplay",
    "FiltersDisplay",
    "SamplesDisplay",
    "TopFeaturesDisplay",
    "TrainingDisplay",
]

# Smallest distance of the names of columns along an image, in points.
N_POINTS = 7


def _image_shape(n_features, image_shape):
    """Return the validated image shape, by default that of a square."""
    if image_shape is None:
        side = round(n_features**0.5)
        if side * side != n_features:
            raise ValueError(
                f"Rows of {n_features} features are not square images: pass "
                "image_shape=(height, width)."
            )
        return side, side
    sides = np.ravel(image_shape)
    if len(sides) != 2 or sides.dtype.kind not in "iu" or (sides < 1).any():
        raise ValueError(
            "image_shape must be a pair (height, width) of positive integers, but got "
            f"{image_shape}."
        )
    height, width = image_shape
    if height * width != n_features:
        raise ValueError(
            f"image_shape={image_shape} has {height * width} pixels, but the model has "
            f"{n_features} features."
        )
    return height, width


def _refuse_table(display, rbm):
    """Raise an error if an estimator models tables, because their rows are not images."""
    if reads_frames(rbm):
        raise TypeError(
            f"{display} shows images, but a {type(rbm).__name__} models tables, whose "
            "columns are no pixels."
        )


def _mosaic(rows, shape, n_columns, border):
    """Arrange rows as the tiles of one image, separated by borders."""
    n_columns = min(n_columns, len(rows))
    n_lines = -(-len(rows) // n_columns)
    height, width = shape
    tiles = np.full((n_lines * n_columns, height + 1, width + 1), border, dtype=float)
    tiles[: len(rows), :-1, :-1] = np.reshape(rows, (-1, height, width))
    tiles = tiles.reshape(n_lines, n_columns, height + 1, width + 1)
    image = tiles.transpose(0, 2, 1, 3).reshape(n_lines * (height + 1), -1)
    return image[:-1, :-1]


def _image_settings(cmap, low, high, im_kw):
    """Return keyword arguments for `imshow`, without limits if a norm is given."""
    limits = {"vmin": low, "vmax": high} if im_kw.get("norm") is None else {}
    return {"cmap": cmap} | limits | im_kw


def _line_settings(defaults, line_kw):
    """Return keyword arguments for `plot`, with aliases such as "lw" resolved."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    return defaults | normalize_kwargs(line_kw, Line2D)


def _whole_ticks(axis):
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def _one_for_each(titles, ax, width, size):
    """Return one Axes for each title: the Axes in `ax`, or else those of a new figure.

    The new figure has up to `width` Axes side by side. Each has the given size.
    """
    import matplotlib.pyplot as plt

    n = len(titles)
    if ax is not None and np.size(ax) != n:
        raise ValueError(
            f"ax must contain {n} Axes, one for each of {', '.join(titles)}, but contains "
            f"{np.size(ax)}."
        )
    if ax is None:
        shape = -(-n // width), min(n, width)
        figsize = size[0] * shape[1], size[1] * shape[0]
        _, ax = plt.subplots(*shape, figsize=figsize, layout="constrained", squeeze=False)
        for empty in ax.flat[n:]:
            empty.remove()
    return np.ravel(ax)[:n]


class _OneAxes:
    """Base class of displays with a single Axes."""

    _draw: Callable[[Any, dict[str, Any]], None]

    def plot(self, ax: Any = None, **artist_kw: Any) -> Self:
        """Plot the display.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.

        **artist_kw : dict
            Keyword arguments passed to matplotlib's `imshow`, `plot` or `hist`, depending
            on the display.

        Returns
        -------
        display : object
            The display itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self._draw(ax, artist_kw)
        return self


class FiltersDisplay(_OneAxes):
    """Weights of hidden units, as images.

    Use it to see what the hidden units respond to, if rows are images.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, n_features)
        Weights, one row per hidden unit.

    image_shape : tuple of (int, int)
        Height and width of a row as an image.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.

    figure_ : matplotlib Figure
        Figure containing the axes.

    im_ : matplotlib AxesImage
        Image with all filters, arranged in a grid.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.plotting import FiltersDisplay
    >>> X = load_digits().data > 7
    >>> rbm = BernoulliRBMEstimator(n_components=16, n_iter=5, random_state=0).fit(X)
    >>> display = FiltersDisplay.from_estimator(rbm)
    """

    def __init__(self, filters: np.ndarray, *, image_shape: tuple[int, int]) -> None:
        self.filters = filters
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        rbm: Any,
        *,
        image_shape: tuple[int, int] | None = None,
        n_filters: int = 100,
        ax: Any = None,
        **im_kw: Any,
    ) -> Self:
        """Plot the filters of a fitted model, beginning with the largest weights.

        Parameters
        ----------
        rbm : estimator
            A fitted estimator, including scikit-learn's BernoulliRBM.

        image_shape : tuple of (int, int), default=None
            Height and width of a row as an image. Pass it unless images are square.

        n_filters : int, default=100
            Maximum number of filters to plot. Filters with small weights are left out.

        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.

        **im_kw : dict
            Keyword arguments passed to matplotlib's `imshow`.

        Returns
        -------
        display : FiltersDisplay
            The display.
        """
        model = model_of(rbm)
        _refuse_table("FiltersDisplay", rbm)
        check_integer(n_filters, "n_filters", 1)
        shape = _image_shape(len(model.visible), image_shape)
        weights = np.asarray(rbm.components_, dtype=model.dtype)
        order = np.argsort(-np.square(weights).sum(axis=1), kind="stable")
        return cls(weights[order[:n_filters]], image_shape=shape).plot(ax, **im_kw)

    def _draw(self, ax, im_kw):
        n_columns = int(np.ceil(np.sqrt(len(self.filters))))
        image = _mosaic(self.filters, self.image_shape, n_columns, np.nan)
        limit = np.abs(self.filters).max()
        self.im_ = ax.imshow(image, **_image_settings("RdBu_r", -limit, limit, im_kw))
        ax.set(xticks=[], yticks=[], title=f"Weights of {len(self.filters)} hidden units")


class SamplesDisplay:
    """Samples of the model, and data with their reconstructions, as images.

    Use it to compare what a model generates with the data, if rows are images.

    Parameters
    ----------
    images : dict of ndarrays of shape (n_rows, n_features)
        Rows of each panel, keyed by its title.

    image_shape : tuple of (int, int)
        Height and width of a row as an image.

    limits : tuple of (float, float), default=(0.0, 1.0)
        Values of the lightest and the darkest color. They are the same in all panels.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        Axes of the panels, one for each entry of `images`.

    figure_ : matplotlib Figure
        Figure containing the axes.

    ims_ : list of matplotlib AxesImage
        Image of each panel.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.plotting import SamplesDisplay
    >>> X = load_digits().data > 7
    >>> rbm = BernoulliRBMEstimator(n_components=16, n_iter=5, random_state=0).fit(X)
    >>> display = SamplesDisplay.from_estimator(rbm, X, random_state=0)
    """

    def __init__(
        self,
        images: dict[str, np.ndarray],
        *,
        image_shape: tuple[int, int],
        limits: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.images = images
        self.image_shape = image_shape
        self.limits = limits

    @classmethod
    def from_estimator(
        cls,
        rbm: Any,
        X: MatrixLike | None = None,
        *,
        image_shape: tuple[int, int] | None = None,
        n_images: int = 36,
        random_state: RandomStateLike = None,
        ax: Any = None,
        **im_kw: Any,
    ) -> Self:
        """Plot samples of the model and, if given, rows of data and reconstructions.

        Colors range from 0 to 1 or, for real-valued features, from the smallest to the
        largest value of all panels.

        Parameters
        ----------
        rbm : BernoulliRBMEstimator or GaussianRBMEstimator
            A fitted estimator. scikit-learn's BernoulliRBM is not supported, because it
            cannot draw samples.

        X : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
            Rows of data. `n_images` evenly spaced rows are plotted, with NaN values left
            blank. None plots samples only.

        image_shape : tuple of (int, int), default=None
            Height and width of a row as an image. Pass it unless images are square.

        n_images : int, default=36
            Number of images per panel.

        random_state : int, RandomState instance or None, default=None
            Controls the samples, and the values that replace NaN in the reconstructions.

        ax : array-like of three matplotlib Axes, or of one without `X`, default=None
            Axes to plot on. If None, a new figure is created.

        **im_kw : dict
            Keyword arguments passed to matplotlib's `imshow`.

        Returns
        -------
        display : SamplesDisplay
            The display.
        """
        check_integer(n_images, "n_images", 1)
        model = model_of(rbm)
        _refuse_table("SamplesDisplay", rbm)
        if not hasattr(rbm, "reconstruct"):
            raise TypeError(
                "SamplesDisplay requires a BernoulliRBMEstimator or a "
                "GaussianRBMEstimator, which can reconstruct rows and draw samples, but "
                f"got a {type(rbm).__name__}."
            )
        shape = _image_shape(len(model.visible), image_shape)
        images = {}
        if X is not None:
            rows_of_X = sp.csr_array(X) if sp.issparse(X) else X
            few = _safe_indexing(rows_of_X, spread(np.shape(X)[0], n_images))
            if sp.issparse(few):
                few = few.toarray()
            images["data"] = check_rows(model, few, rbm, allow_nan=True).X
            reconstructions = rbm.reconstruct(few)
            images["reconstructions"] = np.asarray(reconstructions)
            n_images = len(images["data"])
        samples = rbm.sample(n_images, random_state=random_state)
        images["samples"] = np.asarray(samples)
        limits = model.visible.value_limits
        if limits is None:
            values = np.concatenate([np.ravel(panel) for panel in images.values()])
            limits = float(np.nanmin(values)), float(np.nanmax(values))
        return cls(images, image_shape=shape, limits=limits).plot(ax, **im_kw)

    def plot(self, ax: Any = None, **im_kw: Any) -> Self:
        """Plot the display.

        Parameters
        ----------
        ax : array-like of matplotlib Axes, default=None
            Axes to plot on, one for each entry of `images`. If None, a new figure is
            created.

        **im_kw : dict
            Keyword arguments passed to matplotlib's `imshow`.

        Returns
        -------
        display : SamplesDisplay
            The display itself.
        """
        check_matplotlib_support("SamplesDisplay.plot")
        self.axes_ = _one_for_each(list(self.images), ax, len(self.images), (3.2, 3.5))
        self.figure_ = self.axes_[0].figure
        self.ims_ = []
        low, high = self.limits
        for axes, (title, rows) in zip(self.axes_, self.images.items(), strict=True):
            n_columns = int(np.ceil(np.sqrt(len(rows))))
            image = _mosaic(rows, self.image_shape, n_columns, (low + high) / 2)
            settings = _image_settings("gray_r", low, high, im_kw)
            self.ims_.append(axes.imshow(image, **settings))
            axes.set(xticks=[], yticks=[], title=title)
        return self


class TopFeaturesDisplay:
    """The features with the largest weights of some hidden units, as bars.

    Use it to see what the hidden units respond to, if features have names, such as words.

    Parameters
    ----------
    weights : ndarray of shape (n_units, n_shown)
        Weights, one row per hidden unit, in the order of the bars.

    feature_names : ndarray of shape (n_units, n_shown)
        Names of the features that have these weights.

    units : sequence of int
        Indices of the hidden units, for the titles.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        Axes of the panels, one for each hidden unit.

    figure_ : matplotlib Figure
        Figure containing the axes.

    bars_ : list of matplotlib BarContainer
        The bars of each panel.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.plotting import TopFeaturesDisplay
    >>> digits = load_digits()
    >>> X = digits.data > 7
    >>> rbm = BernoulliRBMEstimator(n_components=16, n_iter=5, random_state=0).fit(X)
    >>> display = TopFeaturesDisplay.from_estimator(rbm, digits.feature_names)
    """

    def __init__(
        self, weights: np.ndarray, *, feature_names: np.ndarray, units: Sequence[int]
    ) -> None:
        self.weights = weights
        self.feature_names = feature_names
        self.units = units

    @classmethod
    def from_estimator(
        cls,
        rbm: Any,
        feature_names: ArrayLike | None = None,
        *,
        units: int | Sequence[int] = 8,
        n_features: int = 10,
        ax: Any = None,
        **bar_kw: Any,
    ) -> Self:
        """Plot the largest weights of hidden units of a fitted model.

        Parameters
        ----------
        rbm : estimator
            A fitted estimator, including scikit-learn's BernoulliRBM.

        feature_names : array-like of shape (n_features,), default=None
            Names of all features, such as the words of a vectorizer. None takes the names
            that the estimator was fitted on. If there are none, it takes the indices.

        units : int or sequence of int, default=8
            Indices of the hidden units to plot. An int is their number, and plots the units
            with the largest weights.

        n_features : int, default=10
            Maximum number of features of each hidden unit.

        ax : array-like of matplotlib Axes, default=None
            Axes to plot on, one for each hidden unit. If None, a new figure is created.

        **bar_kw : dict
            Keyword arguments passed to matplotlib's `barh`.

        Returns
        -------
        display : TopFeaturesDisplay
            The display.
        """
        model = model_of(rbm)
        if reads_frames(rbm):
            raise TypeError(
                "TopFeaturesDisplay shows one weight for each feature, but a "
                f"{type(rbm).__name__} has one for each category. CouplingsDisplay shows "
                "which columns depend on each other."
            )
        check_integer(n_features, "n_features", 1)
        weights = np.asarray(rbm.components_, dtype=model.dtype)
        if feature_names is None:
            feature_names = getattr(rbm, "feature_names_in_", range(weights.shape[1]))
        names = np.asarray(feature_names)
        if names.shape != weights.shape[1:]:
            raise ValueError(
                f"feature_names must be {weights.shape[1]} names, one for each feature of "
                f"the model, but has the shape {names.shape}."
            )
        if isinstance(units, Sequence | np.ndarray):
            chosen = [check_integer(unit, "units", 0) for unit in units]
            if not chosen or max(chosen) >= len(weights):
                raise ValueError(
                    f"units must be a number of hidden units, or indices below "
                    f"{len(weights)}, but got {units!r}."
                )
        else:
            check_integer(units, "units", 1)
            order = np.argsort(-np.square(weights).sum(axis=1), kind="stable")
            chosen = order[:units].tolist()
        weights = weights[chosen]
        top = np.argsort(-weights, axis=1, kind="stable")[:, :n_features]
        weights = np.take_along_axis(weights, top, axis=1)
        return cls(weights, feature_names=names[top], units=chosen).plot(ax, **bar_kw)

    def plot(self, ax: Any = None, **bar_kw: Any) -> Self:
        """Plot the display.

        Parameters
        ----------
        ax : array-like of matplotlib Axes, default=None
            Axes to plot on, one for each hidden unit. If None, a new figure is created.

        **bar_kw : dict
            Keyword arguments passed to matplotlib's `barh`.

        Returns
        -------
        display : TopFeaturesDisplay
            The display itself.
        """
        check_matplotlib_support("TopFeaturesDisplay.plot")
        titles = [f"unit {unit}" for unit in self.units]
        height = 0.9 + 0.2 * np.shape(self.weights)[1]
        self.axes_ = _one_for_each(titles, ax, 4, (2.6, height))
        self.figure_ = self.axes_[0].figure
        self.bars_ = []
        panels = zip(self.axes_, titles, self.weights, self.feature_names, strict=True)
        for axes, title, weights, names in panels:
            places = np.arange(len(weights))
            self.bars_.append(axes.barh(places, weights, **bar_kw))
            axes.set_yticks(places, names)
            axes.invert_yaxis()
            axes.set_title(title, fontsize="medium")
            axes.set_xlabel("weight")
        return self


_GAP = "free-energy gap (nats)"


def _right_axes(ax):
    """Return the twin axes that a display has added to `ax` for the gap, if any."""
    place = ax.get_position().bounds
    return [
        axes
        for axes in ax.get_shared_x_axes().get_siblings(ax)
        if axes.get_ylabel() == _GAP and axes.get_position().bounds == place
    ]


class TrainingDisplay(_OneAxes):
    """Training curves: scores by epoch.

    Use it to see whether more epochs would help, and whether a model overfits.

    Parameters
    ----------
    curves : dict of sequences of float
        Values of each curve in nats, one value per epoch, keyed by the name of the curve.

    epochs : sequence of int, default=None
        Epochs of the values. None counts them from 1.

    name : str, default=None
        Name of the model in the legend, to distinguish several models on the same axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.

    figure_ : matplotlib Figure
        Figure containing the axes.

    lines_ : list of matplotlib Line2D
        The curves. The free-energy gap has a second y-axis on the right. Several displays
        on the same axes share it.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.plotting import TrainingDisplay
    >>> X = load_digits().data > 7
    >>> rbm = BernoulliRBMEstimator(n_components=16, n_iter=5, random_state=0).fit(X)
    >>> display = TrainingDisplay.from_estimator(rbm)
    """

    def __init__(
        self,
        curves: dict[str, Sequence[float]],
        *,
        epochs: Sequence[int] | None = None,
        name: str | None = None,
    ) -> None:
        self.curves = curves
        self.epochs = epochs
        self.name = name

    @classmethod
    def from_estimator(
        cls, rbm: Any, *, name: str | None = None, ax: Any = None, **line_kw: Any
    ) -> Self:
        """Plot the training history of a fitted estimator.

        Parameters
        ----------
        rbm : estimator of skrbm
            A fitted estimator.

        name : str, default=None
            Name of the model in the legend, to distinguish several models on the same axes.

        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.

        **line_kw : dict
            Keyword arguments passed to matplotlib's `plot`.

        Returns
        -------
        display : TrainingDisplay
            The display.
        """
        model_of(rbm)  # raises an informative error if the estimator is not fitted
        if not hasattr(rbm, "history_"):
            raise ValueError(
                f"This {type(rbm).__name__} has no history_: TrainingDisplay requires an "
                "estimator of skrbm after fit."
            )
        score = next(name for name in rbm.history_ if name.endswith("log_likelihood"))
        label = score.replace("_", "-")
        curves = {f"{label}, training rows": rbm.history_[score]}
        if hasattr(rbm, "validation_scores_"):
            curves[f"{label}, held-out rows"] = rbm.validation_scores_
            curves["free-energy gap"] = rbm.history_["free_energy_gap"]
        return cls(curves, epochs=rbm.history_["epoch"], name=name).plot(ax, **line_kw)

    def _draw(self, ax, line_kw):
        self.lines_ = []
        panel = [ax, *_right_axes(ax)]
        for name, values in self.curves.items():
            axes = ax
            if name == "free-energy gap":
                if len(panel) == 1:
                    panel.append(ax.twinx())
                    panel[1].set_ylabel(_GAP)
                axes = panel[1]
            label = name if self.name is None else f"{self.name}: {name}"
            color = f"C{sum(len(axes.lines) for axes in panel)}"
            settings = _line_settings({"color": color, "label": label}, line_kw)
            epochs = np.arange(1, len(values) + 1) if self.epochs is None else self.epochs
            self.lines_ += axes.plot(epochs, values, **settings)
        ax.set(xlabel="epoch", ylabel="nats per row")
        _whole_ticks(ax.xaxis)
        drawn = [line for axes in panel for line in axes.get_legend_handles_labels()[0]]
        ax.legend(handles=drawn)


class ActivationsDisplay(_OneAxes):
    """Histogram of the mean activations of hidden units.

    Use it to see how many hidden units are dead (always off) or saturated (always on).

    Parameters
    ----------
    activations : ndarray of shape (n_components,)
        Mean activation of each hidden unit over the rows.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.

    figure_ : matplotlib Figure
        Figure containing the axes.

    bars_ : matplotlib BarContainer
        The histogram.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.plotting import ActivationsDisplay
    >>> X = load_digits().data > 7
    >>> rbm = BernoulliRBMEstimator(n_components=16, n_iter=5, random_state=0).fit(X)
    >>> display = ActivationsDisplay.from_estimator(rbm, X)
    """

    def __init__(self, activations: np.ndarray) -> None:
        self.activations = activations

    @classmethod
    def from_estimator(
        cls, rbm: Any, X: MatrixLike, *, ax: Any = None, **hist_kw: Any
    ) -> Self:
        """Plot the mean activations of a fitted model on data.

        Parameters
        ----------
        rbm : estimator
            A fitted estimator, including scikit-learn's BernoulliRBM.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of data.

        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.

        **hist_kw : dict
            Keyword arguments passed to matplotlib's `hist`.

        Returns
        -------
        display : ActivationsDisplay
            The display.
        """
        return cls(np.asarray(rbm.transform(X)).mean(axis=0)).plot(ax, **hist_kw)

    def _draw(self, ax, hist_kw):
        settings = {"bins": 50, "range": (0, 1)} | hist_kw
        _, _, self.bars_ = ax.hist(self.activations, **settings)
        _whole_ticks(ax.yaxis)
        dead, saturated = (
            int(ends.sum()) for ends in (self.activations < 0.01, self.activations > 0.99)
        )
        ax.set(
            xlabel="mean activation",
            ylabel="density" if hist_kw.get("density") else "hidden units",
            title=f"{dead} of {len(self.activations)} hidden units active below 1%, "
            f"{saturated} above 99%",
        )
        ax.title.set_fontsize("medium")


class ChainsDisplay(_OneAxes):
    """Free energy of chains over time, with a summary of their diagnostics.

    Use it to see whether chains agree, that is, whether their draws can be trusted.

    Parameters
    ----------
    diagnostics : ChainDiagnostics
        Diagnostics of the chains, from :func:`skrbm.sampling.diagnose`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.

    figure_ : matplotlib Figure
        Figure containing the axes.

    lines_ : list of matplotlib Line2D
        One line per chain.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.plotting import ChainsDisplay
    >>> X = load_digits().data > 7
    >>> rbm = BernoulliRBMEstimator(n_components=16, n_iter=5, random_state=0).fit(X)
    >>> display = ChainsDisplay.from_estimator(rbm, random_state=0)
    """

    def __init__(self, diagnostics: ChainDiagnostics) -> None:
        self.diagnostics = diagnostics

    @classmethod
    def from_estimator(
        cls,
        rbm: Any,
        chains: np.ndarray | None = None,
        *,
        random_state: RandomStateLike = None,
        ax: Any = None,
        **line_kw: Any,
    ) -> Self:
        """Plot the free energy of chains under a fitted model.

        Parameters
        ----------
        rbm : estimator
            A fitted estimator, including scikit-learn's BernoulliRBM.

        chains : ndarray of shape (n_chains, n_draws, n_features), default=None
            Draws returned by :func:`skrbm.sampling.draw_chains`. None runs 4 chains from
            noise for 1000 Gibbs steps and plots each step. This shows how soon chains
            agree, wherever they start.

        random_state : int, RandomState instance or None, default=None
            Controls the draws if there are no `chains`.

        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.

        **line_kw : dict
            Keyword arguments passed to matplotlib's `plot`.

        Returns
        -------
        display : ChainsDisplay
            The display.
        """
        if chains is None:
            chains = draw_chains(
                rbm, n_gibbs_steps=1, init="noise", random_state=random_state
            )
        return cls(diagnose(rbm, chains)).plot(ax, **line_kw)

    def _draw(self, ax, line_kw):
        settings = _line_settings({"linewidth": 0.7, "alpha": 0.8}, line_kw)
        self.lines_ = ax.plot(self.diagnostics.free_energy.T, **settings)
        least = self.diagnostics.effective_sample_size.min()
        title = (
            f"largest R-hat {self.diagnostics.r_hat.max():.3f}, "
            f"at least {least:.0f} effective draws"
        )
        if not self.diagnostics.trusted:
            title += ": not to be trusted"
        ax.set(xlabel="draw", ylabel="free energy (nats)", title=title)
        ax.title.set_fontsize("medium")


class CouplingsDisplay(_OneAxes):
    """Strengths of the couplings of all pairs of columns, as an image.

    Dots mark pairs of columns whose strength has no sign, because one of the columns has
    more than two states. Their color tells how strong the coupling is, not its direction.
    If no pair has a sign, the colors begin at 0. Names that would overlap are left out: of
    many columns, print :meth:`EffectiveCouplings.strongest
    <skrbm.inspection.EffectiveCouplings.strongest>` instead.

    Parameters
    ----------
    couplings : EffectiveCouplings
        Couplings, from :func:`skrbm.inspection.effective_couplings`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.

    figure_ : matplotlib Figure
        Figure containing the axes.

    im_ : matplotlib AxesImage
        Image with a row and a column for each column of the data.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.plotting import CouplingsDisplay
    >>> X = load_digits().data > 7
    >>> rbm = BernoulliRBMEstimator(n_components=16, n_iter=5, random_state=0).fit(X)
    >>> display = CouplingsDisplay.from_estimator(rbm, X[:200])
    """

    def __init__(self, couplings: EffectiveCouplings) -> None:
        self.couplings = couplings

    @classmethod
    def from_estimator(
        cls, rbm: Any, X: MatrixLike | None = None, *, ax: Any = None, **im_kw: Any
    ) -> Self:
        """Plot the couplings of the columns of a fitted model.

        Parameters
        ----------
        rbm : estimator
            A fitted estimator, including scikit-learn's BernoulliRBM.

        X : {data frame, array-like, sparse matrix} of shape (n_samples, n_features), \
default=None
            Rows over which the couplings are averaged. None averages over all states.

        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.

        **im_kw : dict
            Keyword arguments passed to matplotlib's `imshow`.

        Returns
        -------
        display : CouplingsDisplay
            The display.
        """
        return cls(effective_couplings(rbm, X)).plot(ax, **im_kw)

    def _draw(self, ax, im_kw):
        strengths, names = self.couplings.strengths, self.couplings.feature_names
        n_states = np.array([len(self.couplings.states[name]) for name in names])
        pairs = ~np.eye(len(names), dtype=bool)
        has_sign = np.logical_and.outer(n_states == 2, n_states == 2) & pairs
        limit = np.abs(strengths).max()
        cmap, low = ("RdBu_r", -limit) if has_sign.any() else ("Reds", 0)
        self.im_ = ax.imshow(strengths, **_image_settings(cmap, low, limit, im_kw))
        self.figure_.colorbar(self.im_, ax=ax, label="strength (nats)")
        ax.set_title("Couplings of columns")
        self._name_columns(ax, list(map(str, names)), step=1, size=10)
        self.figure_.canvas.figure.draw_without_rendering()  # places the axes
        box = ax.get_window_extent()
        height = 72 * min(box.width, box.height) / self.figure_.dpi  # in points
        step = math.ceil(len(names) * N_POINTS / height)
        size = min(10, height / len(names) / 1.2) if step == 1 else N_POINTS / 1.2
        self._name_columns(ax, list(map(str, names)), step, size)
        if has_sign.any():
            unsigned = np.nonzero(pairs & ~has_sign)
            width = height / len(names) / 4
            ax.scatter(*unsigned, s=width**2, color="0.5", linewidths=0)

    @staticmethod
    def _name_columns(ax, names, step, size):
        """Write every `step`-th name along both sides of the image, in points."""
        places = range(0, len(names), step)
        ax.set_xticks(places, names[::step], rotation=90, fontsize=size)
        ax.set_yticks(places, names[::step], fontsize=size)
