"""Pictures of fitted machines, with the conventions of scikit-learn's displays.

``from_estimator`` computes and draws; ``plot(ax=...)`` draws again; ``figure_``, ``ax_``
(or ``axes_``) and the artists can be changed afterwards. matplotlib is imported when
something is drawn.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import scipy.sparse as sp

from skrbm._compat.sklearn import _safe_indexing, check_matplotlib_support
from skrbm._data import spread
from skrbm._inputs import check_integer, check_rows, model_of
from skrbm._typing import MatrixLike, RandomStateLike
from skrbm.sampling import ChainDiagnostics, diagnose

__all__ = [
    "ActivationsDisplay",
    "ChainsDisplay",
    "FiltersDisplay",
    "SamplesDisplay",
    "TrainingDisplay",
]


def _image_shape(n_features, image_shape):
    """Return the shape of a row as an image: as given, or square."""
    if image_shape is None:
        side = round(n_features**0.5)
        if side * side != n_features:
            raise ValueError(
                f"Rows of {n_features} features are no square images: pass image_shape, "
                "(height, width)."
            )
        return side, side
    sides = np.ravel(image_shape)
    if len(sides) != 2 or sides.dtype.kind not in "iu" or (sides < 1).any():
        raise ValueError(
            "image_shape must be (height, width), two whole numbers above 0, but is "
            f"{image_shape}."
        )
    height, width = image_shape
    if height * width != n_features:
        raise ValueError(
            f"image_shape is {image_shape}, {height * width} pixels, but there are "
            f"{n_features} features."
        )
    return height, width


def _mosaic(rows, shape, n_columns, border):
    """Return rows as one image: tiles beside and below each other, with borders."""
    n_columns = min(n_columns, len(rows))
    n_lines = -(-len(rows) // n_columns)
    height, width = shape
    tiles = np.full((n_lines * n_columns, height + 1, width + 1), border, dtype=float)
    tiles[: len(rows), :-1, :-1] = np.reshape(rows, (-1, height, width))
    tiles = tiles.reshape(n_lines, n_columns, height + 1, width + 1)
    image = tiles.transpose(0, 2, 1, 3).reshape(n_lines * (height + 1), -1)
    return image[:-1, :-1]


def _image_settings(cmap, low, high, im_kw):
    """Return what `imshow` is given: limits, unless there is a norm, which has its own."""
    limits = {"vmin": low, "vmax": high} if im_kw.get("norm") is None else {}
    return {"cmap": cmap} | limits | im_kw


def _line_settings(defaults, line_kw):
    """Return what `plot` is given; short names, such as "lw", are known too."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    return defaults | normalize_kwargs(line_kw, Line2D)


def _whole_ticks(axis):
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


class _OneAxes:
    """What displays of one panel share."""

    _draw: Callable[[Any, dict[str, Any]], None]

    def plot(self, ax: Any = None, **artist_kw: Any) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        **artist_kw : dict
            Handed to the function of matplotlib that draws: `imshow`, `plot` or `hist`.

        Returns
        -------
        display : object
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots()
        self.ax_, self.figure_ = ax, ax.figure
        self._draw(ax, artist_kw)
        return self


class FiltersDisplay(_OneAxes):
    """The weights of hidden units as images: what each of them looks for.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, n_features)
        A row for each hidden unit.

    image_shape : tuple of (int, int)
        Height and width of a row as an image.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it is drawn.

    figure_ : matplotlib Figure
        The figure of the axes.

    im_ : matplotlib AxesImage
        All filters beside and below each other.

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
        """Draw the filters of a fitted machine, those with the largest weights first.

        Parameters
        ----------
        rbm : estimator
            A fitted estimator, scikit-learn's included.

        image_shape : tuple of (int, int), default=None
            Height and width of a row as an image; None is a square.

        n_filters : int, default=100
            How many to draw at most.

        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        **im_kw : dict
            Handed to matplotlib's `imshow`.

        Returns
        -------
        display : FiltersDisplay
            What was drawn.
        """
        model = model_of(rbm)
        check_integer(n_filters, "n_filters", 1)
        shape = _image_shape(len(model.visible), image_shape)
        order = np.argsort(-np.square(model.weights).sum(axis=0), kind="stable")
        return cls(model.weights.T[order[:n_filters]], image_shape=shape).plot(ax, **im_kw)

    def _draw(self, ax, im_kw):
        n_columns = int(np.ceil(np.sqrt(len(self.filters))))
        image = _mosaic(self.filters, self.image_shape, n_columns, np.nan)
        limit = np.abs(self.filters).max()
        self.im_ = ax.imshow(image, **_image_settings("RdBu_r", -limit, limit, im_kw))
        ax.set(xticks=[], yticks=[], title=f"Weights of {len(self.filters)} hidden units")


class SamplesDisplay:
    """Data beside their reconstructions, and beside samples of the model.

    Parameters
    ----------
    images : dict of ndarrays of shape (n_rows, n_features)
        Rows for each panel, by its title.

    image_shape : tuple of (int, int)
        Height and width of a row as an image.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        A panel for each entry of `images`.

    figure_ : matplotlib Figure
        The figure of the axes.

    ims_ : list of matplotlib AxesImage
        What is drawn in each panel.

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
        self, images: dict[str, np.ndarray], *, image_shape: tuple[int, int]
    ) -> None:
        self.images = images
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        rbm: Any,
        X: MatrixLike,
        *,
        image_shape: tuple[int, int] | None = None,
        n_images: int = 36,
        random_state: RandomStateLike = None,
        ax: Any = None,
        **im_kw: Any,
    ) -> Self:
        """Draw rows of the data, their reconstructions, and samples.

        Parameters
        ----------
        rbm : BernoulliRBMEstimator
            A fitted estimator; not scikit-learn's, which cannot draw samples.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of data, of which some are drawn, evenly spread. NaN are left blank.

        image_shape : tuple of (int, int), default=None
            Height and width of a row as an image; None is a square.

        n_images : int, default=36
            How many to draw in each panel.

        random_state : int, RandomState instance or None, default=None
            Source of the samples, and of what fills in NaN for the reconstructions.

        ax : array-like of three matplotlib Axes, default=None
            Where to draw; None makes a figure.

        **im_kw : dict
            Handed to matplotlib's `imshow`.

        Returns
        -------
        display : SamplesDisplay
            What was drawn.
        """
        check_integer(n_images, "n_images", 1)
        model = model_of(rbm)
        if not hasattr(rbm, "reconstruct"):
            raise TypeError(
                "SamplesDisplay needs a BernoulliRBMEstimator, which reconstructs rows and "
                f"draws samples, but got a {type(rbm).__name__}."
            )
        shape = _image_shape(len(model.visible), image_shape)
        rows_of_X = sp.csr_array(X) if sp.issparse(X) else X
        few = _safe_indexing(rows_of_X, spread(np.shape(X)[0], n_images))
        if sp.issparse(few):
            few = few.toarray()
        rows = check_rows(model, few, rbm, allow_nan=True).X
        images = {
            "data": rows,
            "reconstructions": rbm.reconstruct(few, random_state=random_state),
            "samples": rbm.sample(len(rows), random_state=random_state),
        }
        return cls(images, image_shape=shape).plot(ax, **im_kw)

    def plot(self, ax: Any = None, **im_kw: Any) -> Self:
        """Draw.

        Parameters
        ----------
        ax : array-like of matplotlib Axes, default=None
            Where to draw, a panel for each entry of `images`; None makes a figure.

        **im_kw : dict
            Handed to matplotlib's `imshow`.

        Returns
        -------
        display : SamplesDisplay
            Itself.
        """
        check_matplotlib_support("SamplesDisplay.plot")
        import matplotlib.pyplot as plt

        n_given = len(self.images) if ax is None else np.size(ax)
        if n_given != len(self.images):
            raise ValueError(
                f"ax must hold {len(self.images)} Axes, one for each of "
                f"{', '.join(self.images)}, but holds {n_given}."
            )
        if ax is None:
            size = (3.2 * len(self.images), 3.5)
            _, ax = plt.subplots(1, len(self.images), figsize=size, layout="constrained")
        self.axes_ = np.ravel(ax)
        self.figure_ = self.axes_[0].figure
        self.ims_ = []
        for axes, (title, rows) in zip(self.axes_, self.images.items(), strict=True):
            n_columns = int(np.ceil(np.sqrt(len(rows))))
            image = _mosaic(rows, self.image_shape, n_columns, 0.5)
            settings = _image_settings("gray_r", 0, 1, im_kw)
            self.ims_.append(axes.imshow(image, **settings))
            axes.set(xticks=[], yticks=[], title=title)
        return self


_GAP = "free-energy gap, nats"


def _right_axes(ax):
    """Return the axes that a display has put over `ax`, for gaps: one, or none."""
    place = ax.get_position().bounds
    return [
        axes
        for axes in ax.get_shared_x_axes().get_siblings(ax)
        if axes.get_ylabel() == _GAP and axes.get_position().bounds == place
    ]


class TrainingDisplay(_OneAxes):
    """How training went: scores by epoch.

    Parameters
    ----------
    curves : dict of sequences of float
        Nats after some epochs, by what they are.

    epochs : sequence of int, default=None
        Which epochs; None is all, from 1.

    name : str, default=None
        What the legend calls the machine, to tell several on the same axes apart.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it is drawn.

    figure_ : matplotlib Figure
        The figure of the axes.

    lines_ : list of matplotlib Line2D
        The curves; that of the free-energy gap belongs to a second axis at the right,
        which several displays on the same axes share.

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
        """Draw the history of a fitted machine.

        Parameters
        ----------
        rbm : BernoulliRBMEstimator
            An estimator after `fit`.

        name : str, default=None
            What the legend calls the machine, to tell several on the same axes apart.

        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        **line_kw : dict
            Handed to matplotlib's `plot`.

        Returns
        -------
        display : TrainingDisplay
            What was drawn.
        """
        model_of(rbm)  # or an error that says why there is none
        if not hasattr(rbm, "history_"):
            raise ValueError(
                f"This {type(rbm).__name__} has no history_, which the fit of a "
                "BernoulliRBMEstimator makes."
            )
        curves = {
            "pseudo-log-likelihood, training rows": rbm.history_["pseudo_log_likelihood"]
        }
        if hasattr(rbm, "validation_scores_"):
            curves["pseudo-log-likelihood, held-out rows"] = rbm.validation_scores_
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
        ax.set(xlabel="epoch", ylabel="nats a row")
        _whole_ticks(ax.xaxis)
        drawn = [line for axes in panel for line in axes.get_legend_handles_labels()[0]]
        ax.legend(handles=drawn)


class ActivationsDisplay(_OneAxes):
    """How often hidden units are on: dead and saturated units are at the ends.

    Parameters
    ----------
    activations : ndarray of shape (n_components,)
        Mean of each hidden unit over the rows.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it is drawn.

    figure_ : matplotlib Figure
        The figure of the axes.

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
        """Draw the mean activations of a fitted machine on data.

        Parameters
        ----------
        rbm : estimator
            A fitted estimator, scikit-learn's included.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of data.

        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        **hist_kw : dict
            Handed to matplotlib's `hist`.

        Returns
        -------
        display : ActivationsDisplay
            What was drawn.
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
            title=f"{dead} of {len(self.activations)} hidden units on less than 1 %, "
            f"{saturated} more than 99 %",
        )
        ax.title.set_fontsize("medium")


class ChainsDisplay(_OneAxes):
    """Chains over time, by their free energy, and whether they can be trusted.

    Parameters
    ----------
    free_energy : ndarray of shape (n_chains, n_draws)
        Free energy of each draw, in nats.

    diagnostics : ChainDiagnostics
        What :func:`skrbm.sampling.diagnose` says of the chains.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it is drawn.

    figure_ : matplotlib Figure
        The figure of the axes.

    lines_ : list of matplotlib Line2D
        A line for each chain.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.plotting import ChainsDisplay
    >>> from skrbm.sampling import draw_chains
    >>> X = load_digits().data > 7
    >>> rbm = BernoulliRBMEstimator(n_components=16, n_iter=5, random_state=0).fit(X)
    >>> chains = draw_chains(rbm, init="noise", n_gibbs_steps=1, random_state=0)
    >>> display = ChainsDisplay.from_estimator(rbm, chains)
    """

    def __init__(self, free_energy: np.ndarray, diagnostics: ChainDiagnostics) -> None:
        self.free_energy = free_energy
        self.diagnostics = diagnostics

    @classmethod
    def from_estimator(
        cls, rbm: Any, chains: np.ndarray, *, ax: Any = None, **line_kw: Any
    ) -> Self:
        """Draw the free energy of chains under a fitted machine.

        Parameters
        ----------
        rbm : estimator
            A fitted estimator, scikit-learn's included.

        chains : ndarray of shape (n_chains, n_draws, n_features)
            What :func:`skrbm.sampling.draw_chains` returned.

        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        **line_kw : dict
            Handed to matplotlib's `plot`.

        Returns
        -------
        display : ChainsDisplay
            What was drawn.
        """
        diagnostics = diagnose(rbm, chains)
        model = model_of(rbm)
        chains = np.asarray(chains)
        free_energy = np.array(
            [model.free_energy(chain.astype(model.dtype)) for chain in chains]
        )
        return cls(free_energy, diagnostics).plot(ax, **line_kw)

    def _draw(self, ax, line_kw):
        settings = _line_settings({"linewidth": 0.7, "alpha": 0.8}, line_kw)
        self.lines_ = ax.plot(self.free_energy.T, **settings)
        least = self.diagnostics.effective_sample_size.min()
        title = (
            f"largest R-hat {self.diagnostics.r_hat.max():.3f}, "
            f"{least:.0f} effective draws or more"
        )
        if not self.diagnostics.trusted:
            title += ": not to be trusted"
        ax.set(xlabel="draw", ylabel="free energy, nats", title=title)
        ax.title.set_fontsize("medium")
