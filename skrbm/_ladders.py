"""Ladders of models, and paths along them for annealed runs and replica exchange.

Only `ModelLadder` and `check_ladder` validate their arguments.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from skrbm._annealing import Path, betas_of_equal_swaps, interpolate
from skrbm._model import RBM


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ModelLadder:
    """Ladder whose rungs are models, from independent features to a trained model.

    Pass it as `ladder` to :func:`skrbm.sampling.draw_chains` or
    :func:`skrbm.likelihood.log_partition`, so that chains or annealed runs move along it.
    :class:`skrbm.callbacks.TrajectoryLadder` makes a ladder during `fit`. Make one yourself
    only from models that you have kept.

    Parameters
    ----------
    components : ndarray of shape (n_rungs, n_components, n_features)
        Weights of each rung, as in `components_` of an estimator. They must all be 0 at the
        first rung.

    intercept_visible : ndarray of shape (n_rungs, n_features)
        Biases of the visible units of each rung, as in `intercept_visible_`.

    intercept_hidden : ndarray of shape (n_rungs, n_components)
        Biases of the hidden units of each rung, as in `intercept_hidden_`. They must all be
        0 at the first rung.

    Raises
    ------
    ValueError
        If the shapes do not match, numbers are not finite, there are fewer than 2 rungs, or
        the features of the first rung are not independent.

    See Also
    --------
    skrbm.callbacks.TrajectoryLadder : Ladder of the models that a training passes through.

    Notes
    -----
    Ladders are available for models of arrays of bits. ``len(ladder)`` is the number of
    rungs. The last rung must equal the model that the ladder is used for, after both are
    rounded to float32.

    Examples
    --------
    >>> import numpy as np
    >>> from skrbm.sampling import ModelLadder
    >>> weights = np.linspace(0, 1, 5)[:, None, None] * np.ones((3, 4))
    >>> ladder = ModelLadder(weights, np.zeros((5, 4)), np.zeros((5, 3)))
    >>> len(ladder)
    5
    """

    components: np.ndarray
    intercept_visible: np.ndarray
    intercept_hidden: np.ndarray

    def __post_init__(self) -> None:
        """Check the shapes and the first rung."""
        for field in dataclasses.fields(self):
            array = np.asarray(getattr(self, field.name))
            object.__setattr__(self, field.name, array)
            if not np.isfinite(array).all():
                raise ValueError(f"{field.name} of a ladder must be finite numbers.")
        shape = np.shape(self.components)
        visible, hidden = map(np.shape, (self.intercept_visible, self.intercept_hidden))
        if len(shape) != 3 or visible != shape[::2] or hidden != shape[:2]:
            raise ValueError(
                "The parameters of a ladder must have shapes (n_rungs, n_components, "
                f"n_features), (n_rungs, n_features) and (n_rungs, n_components), but have "
                f"{shape}, {visible} and {hidden}."
            )
        if len(self) < 2 or np.any(self.components[0]) or np.any(self.intercept_hidden[0]):
            raise ValueError(
                "A ladder must have at least 2 rungs and start at independent features: "
                "set components[0] and intercept_hidden[0] to 0."
            )

    def __len__(self) -> int:
        return len(self.components)

    def __repr__(self) -> str:
        n_rungs, n_components, n_features = self.components.shape
        return f"ModelLadder of {n_rungs} rungs with {n_components} x {n_features} weights"


def ladder_of(models):
    """Return the ladder of a list of models."""
    weights, visible_bias, hidden_bias = zip(
        *(model.arrays for model in models), strict=True
    )
    components = np.stack([w.T for w in weights])
    return ModelLadder(components, np.stack(visible_bias), np.stack(hidden_bias))


def models_of(ladder, kind):
    """Return the rungs of a ladder as float32 models with visible units of this kind."""
    arrays = ladder.components, ladder.intercept_visible, ladder.intercept_hidden
    rungs = zip(*(np.asarray(a, dtype=np.float32) for a in arrays), strict=True)
    return [
        RBM(np.ascontiguousarray(components.T), kind(visible), hidden)
        for components, visible, hidden in rungs
    ]


class ModelPath(Path):
    """Path of straight lines from model to model, the first with independent features.

    Places are lists of models. The models that the path leads through are at equal
    distances. Parameters are interpolated between neighbors.

    Parameters
    ----------
    models : list of RBM
        In float32. The first has no weights and no hidden biases.
    """

    def __init__(self, models):
        self.models = [model.astype(np.float32) for model in models]
        self.n_rungs = len(models)
        super().__init__(self.models[-1], self.models[0].visible)

    def at(self, fractions):
        return [self._between(fraction) for fraction in np.atleast_1d(fractions)]

    def _between(self, fraction):
        steps = fraction * (len(self.models) - 1)
        number = int(steps + 1e-9)
        part = np.float32(steps - number)
        if part < 1e-6:
            return self.models[number]
        return interpolate(self.models[number], self.models[number + 1], part)

    def hidden_input(self, v, place, out=None):
        out = self.model.empty(len(v), len(self.model.hidden_bias)) if out is None else out
        for rows, model in _shares(place, len(v)):
            model.hidden_input(v[rows], out=out[rows])
        return out

    def log_ratio(self, v, hidden_input, place, after):
        ratio = self._free_energy(v, hidden_input, place)
        self.hidden_input(v, after, out=hidden_input)
        return ratio - self._free_energy(v, hidden_input, after)

    def _free_energy(self, v, hidden_input, place):
        shares = _shares(place, len(v))
        parts = [model.free_energy(v[rows], hidden_input[rows]) for rows, model in shares]
        return np.concatenate(parts)

    def gibbs(self, v, hidden_input, place, generators):
        for rows, model in _shares(place, len(v)):
            model.gibbs_between(self.base, v[rows], hidden_input[rows], 1.0, generators)


def _shares(models, n_rows):
    """Yield each model with the slice of its rows."""
    n = n_rows // len(models)
    for number, model in enumerate(models):
        yield slice(number * n, (number + 1) * n), model


def check_ladder(ladder, model):
    """Return the path along a ladder. Raise an error unless it ends with the model."""
    if not isinstance(ladder, ModelLadder):
        raise TypeError(
            "ladder must be a ModelLadder, for example the ladder_ of a TrajectoryLadder "
            f"after fit, but got {ladder!r}."
        )
    if not model.visible.has_ladders:
        raise ValueError("A ladder of models is only available for binary visible units.")
    path = ModelPath(models_of(ladder, type(model.visible)))
    shapes = path.model.weights.shape, model.weights.shape
    if shapes[0] != shapes[1]:
        raise ValueError(
            "The rungs of the ladder have {} visible and hidden units, but the model has "
            "{}: pass the ladder of this model.".format(*shapes)
        )
    pairs = zip(path.model.arrays, model.arrays, strict=True)
    if not all(np.array_equal(a, b.astype(np.float32)) for a, b in pairs):
        raise ValueError(
            "The ladder ends with another model, or with this one before it was trained "
            "further: pass the ladder of the last fit of this model."
        )
    return path


class Trajectory:
    """Models kept along a training, for a ladder on which chains swap states.

    Chains follow the training with a few Gibbs steps at each of its models. The present
    model is kept when swaps with the last model kept become rare.

    Bereux, N., Decelle, A., Furtlehner, C., Rosset, L. and Seoane, B. (2025). Fast training
    and sampling of restricted Boltzmann machines. ICLR 2025.

    Parameters
    ----------
    models : list of RBM
        Models kept so far, in float32, from independent features on.
    acceptance : float
        Probability of swaps at which a model is kept, and of swaps on the ladder.
    rng : numpy.random.Generator
    n_chains : int, default=100
    """

    def __init__(self, models, acceptance, rng, n_chains=100):
        self.models, self.acceptance, self._rng = models, acceptance, rng
        h = np.zeros((n_chains, len(models[0].hidden_bias)), dtype=np.float32)
        self._v = self._kept = models[0].sample_visible(h, rng)
        for model in models[1:]:
            self._kept = self._follow(model)

    def _follow(self, model):
        """Move the chains to a model and return their states."""
        h = model.sample_hidden(self._v, self._rng)
        model.gibbs(h, 9, self._rng)
        self._v = model.sample_visible(h, self._rng)
        return self._v

    def add(self, model):
        """Keep a float32 model if swaps with the last one are rare."""
        model, last = model.astype(np.float32), self.models[-1]
        v, kept = self._follow(model), self._kept
        log_ratio = model.free_energy(v) - model.free_energy(kept)
        log_ratio += last.free_energy(kept) - last.free_energy(v)
        if np.exp(np.minimum(log_ratio, 0)).mean() <= self.acceptance:
            self.models.append(model)
            self._kept = v

    def ladder(self, model):
        """Return a ladder to a float32 model whose neighbors all swap equally often."""
        path = ModelPath([*self.models, model])
        betas = betas_of_equal_swaps(
            path,
            model.sample_hidden(self._follow(model), self._rng),
            self._rng,
            acceptance=self.acceptance,
            n_first=2 * len(path.models) + 12,
        )
        return ladder_of(path.at(betas))
