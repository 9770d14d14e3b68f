"""Real-valued units, independent or correlated given the hidden units."""

import collections
import dataclasses
import functools
from typing import ClassVar

import numpy as np

from skrbm import _binary_rows, _real_rows
from skrbm._random import generator
from skrbm._units.base import Encoder, VisibleUnits

# Smallest conditional variance of a Gaussian unit, relative to the variance of the data.
SMALLEST_VARIANCE = 1e-3
# Learning rate of the log variances relative to that of the other parameters, and largest
# change of a log variance in a step.
VARIANCE_RATE = 0.3
LARGEST_VARIANCE_STEP = 0.1
# Initial conditional variance of a Gaussian unit, relative to the variance of the data.
# At 1 or above, training can get stuck at a model whose weights are all zero.
INITIAL_VARIANCE = 0.5
# Length of the initial weights of a hidden unit, in units of the deviation s, and the
# initial odds of the component of the mixture in which only this unit is on, to that in
# which none is.
INITIAL_LENGTH, INITIAL_ODDS = 1.5, 0.5
# Covariances: numbers of rows that they are estimated from, without and with gaps, of parts
# of these for cross-validation, and of draws of the gaps.
ROWS_FOR_COVARIANCE, GAPPY_ROWS_FOR_COVARIANCE = 10_000, 1000
N_FOLDS, N_DRAWS_OF_GAPS = 10, 10
# Shrinkage of covariances: the weights of the identity to choose from.
SHRINKAGES = np.logspace(-5, 0, 21)
# Part of the variance in a direction from which a feature is said to belong to it.
LARGE_LOADING = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianUnits(VisibleUnits):
    """Real-valued units with energy ``(v - b)^2 / (2 s^2)`` of the standardized value v.

    The model works on standardized rows ``(X - location) / scale``, so that neither the
    training nor rounding depends on the scales of the features. Energies, free energies and
    densities are those of the data: integrals over v are multiplied by the scales. The
    weights of the model couple the standardized values to the hidden units, so that the
    mean of a unit with input x is ``b + s^2 x`` and its variance is s^2.

    Attributes
    ----------
    bias : ndarray of shape (n_features,)
        Means b of the units without input.
    log_variance : ndarray of shape (n_features,)
        Logarithms of the conditional variances s^2.
    location, scale : float64 ndarray of shape (n_features,)
        Mean and standard deviation of the data. They are not trained.
    constant : bool ndarray of shape (n_features,) or None
        Which features are constant in the data; None if this is not known.
    """

    log_variance: np.ndarray
    location: np.ndarray
    scale: np.ndarray
    constant: np.ndarray | None = None

    trained = "bias", "log_variance"
    largest_parameter = 1e6
    # A value of any size may switch a hidden unit, so that these respond more strongly to
    # changes of the weights than with binary data.
    rate_factor = 0.5
    covariance_type: ClassVar[str] = "diag"
    # What to say of the `names` of features that have collapsed.
    about_collapsed: ClassVar[str] = (
        "The variance of {names} given the hidden units has reached its lower bound, "
        f"{SMALLEST_VARIANCE:g} of the variance in the data, so likelihoods depend on this "
        "bound. Such a feature has few distinct values, or an outlier: drop it, clip it, "
        "or add noise to it."
    )
    needs_moments = True
    required_attributes: ClassVar[tuple[str, ...]] = ("noise_variance_",)
    optional_attributes = "noise_variance_", "axes_", "axes_variance_"

    @property
    def arrays_of_partition(self):
        return *self.arrays, np.log(self.scale)

    @property
    def variance(self):
        """Conditional variances s^2 of the standardized values."""
        return np.exp(self.log_variance)

    @property
    def collapsed(self):
        """Which conditional variances are at their lower bound."""
        return self.variance < 1.01 * SMALLEST_VARIANCE

    # Columns and rows -----------------------------------------------------------------

    @property
    def encoder(self):
        return Standardizer(self.location, self.scale)

    def decode(self, v):
        standard = self.encoder.compress(v)
        return (standard * self.scale + self.location).astype(v.dtype)

    def fill_in(self, mean, shape, rng):
        return rng.standard_normal(shape, dtype=self.bias.dtype)

    def gap_terms(self, cells, missing, weights):
        def terms(h):
            x = h @ weights.T
            return 0.5 * (self.variance * np.square(x) + self._log_volumes)

        return missing, terms

    # Given the hidden units -----------------------------------------------------------

    def mean(self, x):
        x *= self.variance
        x += self.bias
        return x

    def sample(self, x, rng, out, units=slice(None)):
        bias, variance = self.bias[units], self.variance[units]
        if _binary_rows.core is not None:
            key = _binary_rows.draw_key(rng)
            return _real_rows.draw_normal(x, bias, variance, key, out)
        noise = rng.standard_normal(x.shape, dtype=x.dtype)
        noise *= np.sqrt(variance)
        x *= variance
        x += bias
        return np.add(x, noise, out=out)

    def from_inputs(self, x, *, base=None, scale=None, keys=None, mean=None, states=None):
        if states is not None and base is None:
            _real_rows.draw_normal(x, self.bias, self.variance, keys, states)
        elif states is not None:
            variance = self._add_base(base, x, scale[:, None])
            _real_rows.draw_normal(x, None, variance, keys, states)
        if mean is not None:
            mean[...] = self.mean(x)

    def log_normalizers(self, x):
        """Return ``log integral exp(-E_i(v) + x_i v)`` of each unit i and row of input."""
        quadratic = self.bias * x + 0.5 * self.variance * np.square(x)
        return quadratic + 0.5 * self._log_volumes

    @property
    def _log_volumes(self):
        return np.log(2 * np.pi) + self.log_variance + 2 * np.log(self.scale)

    def log_normalizer(self, x):
        quadratic = self.bias * x + 0.5 * self.variance * np.square(x)
        return quadratic.sum(axis=1) + 0.5 * self._log_volumes.sum()

    def log_normalizer_changes(self, x, changes):
        variance = self.variance
        alone = self.bias * changes + 0.5 * variance * np.square(changes)
        return (x * variance) @ changes.T + alone.sum(axis=1)

    @property
    def ground_state(self):
        return self.bias

    def minus_energy(self, v):
        standard = (v - self.bias) * np.exp(-0.5 * self.log_variance)
        return -0.5 * np.square(standard, out=standard).sum(axis=1, dtype=np.float64)

    # Learning, and paths to a model ---------------------------------------------------

    @classmethod
    def untrained(cls, data, dtype):
        """Return units with the means and variances of the data.

        The scale of a constant feature is 1.
        """
        mean, variance = data.moments()
        return cls.with_moments(mean, variance, data.X.dtype, dtype)

    @classmethod
    def with_moments(cls, mean, variance, dtype_of_data, dtype):
        """Return untrained units for data with these means and variances."""
        if not (np.isfinite(mean) & np.isfinite(variance)).all():
            raise ValueError(
                "X has values that are too large: the variance of a feature is not finite. "
                "Scale X."
            )
        constant = is_constant(mean, variance, dtype_of_data)
        scale = np.where(constant, 1.0, np.sqrt(variance))
        zeros = np.zeros(len(mean), dtype=dtype)
        log_variance = np.full(len(mean), np.log(INITIAL_VARIANCE), dtype=dtype)
        return cls(zeros, log_variance, mean, scale, constant)

    def first_weights(self, n_components, rng):
        """Return weights, bias and mean of the hidden units before the first step.

        The weights of hidden units point in pairs of opposite directions, which form sets
        of orthogonal directions as far as possible, so that all directions of the data have
        units. The weights of the second set are half as long as those of the first, and so
        on, so that all of them together do not make the variances large. The biases do not
        let long weights make a unit more probable: Melchior, J., Wang, N. and Wiskott, L.
        (2017). Gaussian-binary restricted Boltzmann machines for modeling natural image
        statistics. PLoS ONE, 12(2), e0171015.
        """
        n_pairs, n_features = -(-n_components // 2), len(self)
        sets = [
            np.linalg.qr(rng.standard_normal((n_features, min(n_features, n_pairs - n))))[0]
            / (1 + n // n_features)
            for n in range(0, n_pairs, n_features)
        ]
        half = INITIAL_LENGTH * np.concatenate(sets, axis=1)
        whitened = np.stack([half, -half], axis=2).reshape(n_features, -1)[:, :n_components]
        bias = np.log(INITIAL_ODDS) - 0.5 * np.square(whitened).sum(axis=0)
        weights = np.ascontiguousarray(whitened / np.sqrt(INITIAL_VARIANCE))
        return weights, bias, INITIAL_ODDS / (1 + INITIAL_ODDS)

    def differences(self, v, shares):
        """Return the differences of the means of v and of v^2."""
        return [v.T @ shares, np.square(v).T @ shares]

    def add_gradient(self, of_bias, differences):
        """Add the gradient of the parameters in place.

        The gradient of the bias is that of ``b / s^2``, the coefficient of v in the energy.
        The log variance changes more slowly than the other parameters, is bounded below,
        and changes little in a step: Melchior et al. (2017), as in `first_weights`, and
        Cho, K., Ilin, A. and Raiko, T. (2011). Improved learning of Gaussian-Bernoulli
        restricted Boltzmann machines. ICANN 2011, 10-17.
        """
        variance = self.variance
        of_v, of_square = differences
        change = of_square / (2 * variance) - self.bias / variance * of_v
        change *= VARIANCE_RATE
        np.clip(change, -LARGEST_VARIANCE_STEP, LARGEST_VARIANCE_STEP, out=change)
        self.bias[...] += variance * of_bias
        self.log_variance[...] += change
        lowest = np.log(SMALLEST_VARIANCE)
        np.maximum(self.log_variance, lowest, out=self.log_variance)

    def add_input(self, x):
        self.bias[...] += self.variance * x

    def center(self, mean):
        """Return the visible offset of centering, 0 because rows are standardized."""
        return np.zeros(len(self))

    def independent(self, mean, dtype):
        """Return units that model independent features with the moments of the data."""
        return self.map(lambda array: np.zeros(len(array), dtype=dtype))

    def independent_of(self, mean, square):
        """Return units that model independent features with these moments.

        The variance of a feature that hardly varies is 1.
        """
        units, variance = self.independent(mean, np.float64), square - np.square(mean)
        units.bias[...] = mean
        varies = variance > SMALLEST_VARIANCE
        units.log_variance[...] = np.log(np.where(varies, variance, 1.0))
        return units

    def _add_base(self, base, x, beta):
        """Make inputs `x` those of `sample_between`, in place; return the variances."""
        precision, of_base = 1 / self.variance, 1 / base.variance
        x += precision * self.bias - of_base * base.bias
        x *= beta
        x += of_base * base.bias
        return (1 / (of_base + beta * (precision - of_base))).astype(x.dtype, copy=False)

    def sample_between(self, base, x, beta, generators):
        variance = self._add_base(base, x, beta)
        if _binary_rows.core is not None:
            keys = _binary_rows.draw_keys(generators)
            _real_rows.draw_normal(x, None, variance, keys, x)
            return
        x *= variance
        deviation = np.broadcast_to(np.sqrt(variance), x.shape)
        for rows, rng in generators:
            noise = rng.standard_normal(x[rows].shape, dtype=x.dtype)
            noise *= deviation[rows]
            x[rows] += noise

    # Attributes of an estimator -------------------------------------------------------

    def to_attributes(self, weights, hidden_bias):
        """Return copies of all parameters of a model, as the attributes of an estimator.

        Biases and variances are float64 because they may be larger or smaller than float32
        can represent to the precision of the weights.
        """
        relative = self.variance.astype(np.float64)
        noise = self.scale**2 * relative
        components = weights * (self.scale * relative)[:, None]
        components = components.astype(weights.dtype)
        # With the rounded weights, so that these give the same hidden bias again.
        of_data = components / noise[:, None]
        return {
            "components_": components.T,
            "intercept_visible_": self.location + self.scale * self.bias,
            "intercept_hidden_": hidden_bias - self.location @ of_data,
            "noise_variance_": noise,
        }

    @classmethod
    def from_attributes(cls, rbm, components, visible_bias, hidden_bias):
        """Return weights, units and hidden bias of the model of an estimator.

        Its rows are standardized with the means and variances of the training data or,
        where these are unknown, with the visible biases and noise variances. The weights
        alone decide on the dtype.
        """
        noise = np.asarray(rbm.noise_variance_, dtype=np.float64)
        location = np.asarray(getattr(rbm, "visible_mean_", visible_bias), np.float64)
        variance = np.asarray(getattr(rbm, "visible_variance_", noise), np.float64)
        _refuse_variances(
            visible_bias.size, noise_variance_=noise, visible_variance_=variance
        )
        scale = np.sqrt(variance)
        weights = components.T / noise[:, None]  # couple the rows to the hidden units
        dtype = np.result_type(np.float32, components)
        arrays = (
            scale[:, None] * weights,
            (visible_bias - location) / scale,
            np.log(noise / variance),
            hidden_bias + location @ weights,
        )
        weights, bias, log_variance, hidden_bias = (
            np.ascontiguousarray(array, dtype=dtype) for array in arrays
        )
        return weights, cls(bias, log_variance, location, scale), hidden_bias

    @classmethod
    def kind_of(cls, rbm):
        names = CorrelatedUnits.required_attributes
        return CorrelatedUnits if any(hasattr(rbm, n) for n in names) else GaussianUnits

    @classmethod
    def from_plain(cls, plain):
        return (CorrelatedUnits if "axes" in plain else GaussianUnits)(**plain)

    def with_attributes(self, rbm, *arrays):
        return self.kind_of(rbm).from_attributes(rbm, *arrays)

    def data_attributes(self, mean):
        return {"visible_mean_": self.location, "visible_variance_": self.scale**2}


@dataclasses.dataclass(frozen=True, eq=False)
class CorrelatedUnits(GaussianUnits):
    """Real-valued units with a covariance matrix given the hidden units.

    The units belong to axes along which the standardized rows are uncorrelated: these are
    ``v @ axes``, where the encoded rows v, which are whitened, have the energy of
    `GaussianUnits`. In rows with gaps, the observed cells are standardized instead, since
    no encoded value is known.

    Attributes
    ----------
    axes : float64 ndarray of shape (n_features, n_features)
        By how much each unit, a row, changes the standardized features. They are not
        trained.
    added : float64 ndarray of shape (n_features,)
        What a shrunk covariance matrix adds to the variances of the encoded rows. Training
        adds it as well, so that variances do not become those of few rows.
    """

    axes: np.ndarray = dataclasses.field(kw_only=True)
    added: np.ndarray = dataclasses.field(kw_only=True)

    covariance_type = "full"
    about_collapsed = (
        "A linear combination of {names} hardly varies given the hidden units. Its "
        "variance has a lower bound, so likelihoods depend on this bound. Some of these "
        "features are functions of others, have few distinct values, or an outlier: drop "
        "or clip them, or add noise to them."
    )
    required_attributes = "axes_", "axes_variance_"

    def __getstate__(self):
        """Return the fields alone: what was computed from them is as large."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def arrays_of_partition(self):
        return *super().arrays_of_partition, np.array([self._log_volume_of_axes])

    @property
    def collapsed(self):
        """Which features have a part in a direction whose variance is at a lower bound."""
        squares = np.square(self.axes)
        lengths = squares.sum(axis=1)
        bounded = (lengths < 1.01 * SHRINKAGES[0]) | super().collapsed
        of_bounded = (squares > LARGE_LOADING * lengths[:, None])[bounded].any(axis=0)
        return of_bounded if self.constant is None else of_bounded & ~self.constant

    @functools.cached_property
    def _inverse(self):
        return np.linalg.inv(self.axes)

    # Columns and rows -----------------------------------------------------------------

    @property
    def encoder(self):
        return Whitener(self.location, self.scale, self.axes, self._inverse)

    # Gaps -----------------------------------------------------------------------------

    @property
    def size_of_gaps(self):
        return len(self) ** 2

    def cells(self, v):
        return self.encoder.compress(v)

    def given(self, cells, missing):
        """Return a function that gives encoded rows the observed cells of others.

        Draws of all cells become draws given some of these, by adding the regression of the
        other cells on their errors: Hoffman, Y. and Ribak, E. (1991). Constrained
        realizations of Gaussian fields: a simple algorithm. The Astrophysical Journal,
        380, L5-L8.
        """
        precision = self._precision
        if _binary_rows.core is not None:
            known = np.require(cells, np.float64, ["C", "A"])
            of_rows = np.ascontiguousarray(missing).view(np.uint8)

            def complete_by_core(v):
                rows = v @ self.axes
                _real_rows.complete(rows, known, of_rows, precision)
                return (rows @ self._inverse).astype(v.dtype, copy=False)

            return complete_by_core
        groups = []
        for pattern, rows in _groups_of(missing):
            gaps, known = np.flatnonzero(pattern), np.flatnonzero(~pattern)
            of_gaps = precision[gaps]
            gains = np.linalg.solve(of_gaps[:, gaps], of_gaps[:, known])
            groups.append((np.ix_(rows, gaps), np.ix_(rows, known), gains.T))

        def complete(v):
            drawn = self.cells(v)
            completed = np.where(missing, drawn, cells)
            for gaps, known, gains in groups:
                completed[gaps] += (drawn[known] - cells[known]) @ gains
            return (completed @ self._inverse).astype(v.dtype, copy=False)

        return complete

    def predict_gaps(self, v, some):
        means = np.tile(self.bias, (int(some.sum()), 1))
        v[some] = self.given(v[some], np.isnan(v[some]))(means)

    def gap_terms(self, cells, missing, weights):
        precision, of_cells = self._precision, self._inverse @ weights
        first, second = np.triu_indices(weights.shape[1])
        coefficients = np.zeros((len(missing), 1 + len(first)))
        for pattern, rows in _groups_of(missing):
            gaps = np.flatnonzero(pattern)
            of_gaps = precision[np.ix_(gaps, gaps)]
            log_volume = len(gaps) * np.log(2 * np.pi) - np.linalg.slogdet(of_gaps)[1]
            coefficients[rows, 0] = 0.5 * log_volume + np.log(self.scale[gaps]).sum()
            products = of_cells[gaps].T @ np.linalg.solve(of_gaps, of_cells[gaps])
            halved = np.where(first == second, 0.5, 1.0)
            coefficients[rows, 1:] = halved * products[first, second]

        def terms(h):
            return np.hstack([np.ones((len(h), 1)), h[:, first] * h[:, second]])

        return coefficients, terms

    @property
    def _precision(self):
        """Inverse of the covariance matrix of standardized cells given the hidden units."""
        return (self._inverse / self.variance) @ self._inverse.T

    # Given the hidden units -----------------------------------------------------------

    @property
    def _log_volumes(self):
        return super()._log_volumes + 2 * self._log_volume_of_axes / len(self)

    @property
    def _log_volume_of_axes(self):
        return np.linalg.slogdet(self.axes)[1]

    # Learning, and paths to a model ---------------------------------------------------

    @classmethod
    def untrained(cls, data, dtype):
        """Return units with the means and the shrunk covariance matrix of the data.

        The covariance matrix is that of up to 10 000 rows or, if cells are missing, of
        1000, whose gaps are drawn from the Gaussian with the present covariance matrix,
        in turn with the estimate of the latter: Tanner, M. A. and Wong, W. H. (1987). The
        calculation of posterior distributions by data augmentation. JASA, 82(398), 528-540.
        """
        plain = GaussianUnits.untrained(data, dtype)
        few, shares = rows_for_covariance(data)
        cells = few.encode(plain.encoder).copy_rows(np.float64)
        return cls.with_covariance(plain, cells, shares)

    @classmethod
    def with_covariance(cls, units, cells, shares):
        """Return units like independent ones, with the covariance matrix of some rows.

        These are standardized, may have gaps, and have shares that sum to 1.
        """
        missing, rng = np.isnan(cells), generator(0)
        rows = np.where(missing, rng.standard_normal(cells.shape), cells)
        fields = vars(units.independent(0, np.float64)) | {"added": np.zeros(len(units))}
        for _ in range(N_DRAWS_OF_GAPS if missing.any() else 0):
            normal = cls(**fields, axes=axes_of(rows, shares, units.constant))
            drawn = normal.given(cells, missing)(rng.standard_normal(cells.shape))
            rows = np.where(missing, normal.cells(drawn), cells)
        axes = axes_of(rows, shares, units.constant)
        added = np.maximum(0, 1 - shares @ np.square(rows @ np.linalg.inv(axes)))
        return cls(**vars(units), axes=axes, added=added)

    def differences(self, v, shares):
        of_v, of_square = super().differences(v, shares)
        of_rows = shares[shares > 0].sum()
        return [of_v, of_square + (of_rows * self.added).astype(of_square.dtype)]

    def independent_of(self, mean, square):
        return super().independent_of(mean, square + self.added)

    # Attributes of an estimator -------------------------------------------------------

    def to_attributes(self, weights, hidden_bias):
        variance = self.variance.astype(np.float64)
        axes = self.axes * self.scale
        components = ((weights.T * variance) @ axes).astype(weights.dtype)
        # With the rounded weights, so that these give the same hidden bias again.
        inverse = self._inverse / self.scale[:, None]
        of_data = (inverse / variance) @ inverse.T @ components.T
        return {
            "components_": components,
            "intercept_visible_": self.location + self.bias @ axes,
            "intercept_hidden_": hidden_bias - self.location @ of_data,
            "axes_": axes,
            "axes_variance_": variance,
        }

    @classmethod
    def from_attributes(cls, rbm, components, visible_bias, hidden_bias):
        """Return weights, units and hidden bias of the model of an estimator.

        Features whose variances are unknown have those that the axes tell.
        """
        noise = np.asarray(rbm.axes_variance_, dtype=np.float64)
        axes = np.asarray(rbm.axes_, dtype=np.float64)
        n = visible_bias.size
        if axes.shape != (n, n):
            raise ValueError(
                f"axes_ must have the shape ({n}, {n}), but has the shape {axes.shape}."
            )
        location = np.asarray(getattr(rbm, "visible_mean_", visible_bias), np.float64)
        of_axes = np.square(axes).sum(axis=0)
        variance = np.asarray(getattr(rbm, "visible_variance_", of_axes), np.float64)
        _refuse_variances(n, axes_variance_=noise, visible_variance_=variance)
        scale = np.sqrt(variance)
        axes = axes / scale
        if np.linalg.matrix_rank(axes) < n:
            raise ValueError("axes_ must be an invertible matrix, but it is singular.")
        inverse = np.linalg.inv(axes) / scale[:, None]
        weights = (components @ inverse).T / noise[:, None]
        dtype = np.result_type(np.float32, components)
        arrays = (
            weights,
            (visible_bias - location) @ inverse,
            np.log(noise),
            hidden_bias + (location @ inverse) @ weights,
        )
        weights, bias, log_variance, hidden_bias = (
            np.ascontiguousarray(array, dtype=dtype) for array in arrays
        )
        visible = cls(bias, log_variance, location, scale, axes=axes, added=np.zeros(n))
        return weights, visible, hidden_bias


class Standardizer(Encoder):
    """Encoder that subtracts a location and divides by a scale."""

    def __init__(self, location, scale):
        self.location, self.scale = location, scale
        self.n_encoded = len(location)
        self.feature_of = np.arange(self.n_encoded)

    def compact(self, rows, dtype):
        values = np.empty(rows.shape, dtype)
        Standardizer.encode(self, rows, values)
        return values

    def expand(self, values, out):
        out[...] = values

    def compress(self, v):
        return v

    def encode(self, rows, out):
        with np.errstate(over="ignore"):
            np.subtract(rows, self.location, out=out, casting="same_kind")
        np.divide(out, self.scale, out=out, casting="same_kind")


class Whitener(Standardizer):
    """Encoder of standardized rows by their coordinates along axes.

    Standardized rows that have gaps remain as they are.
    """

    def __init__(self, location, scale, axes, inverse):
        super().__init__(location, scale)
        self._axes, self._inverse = axes, inverse

    def expand(self, values, out):
        with np.errstate(over="ignore", invalid="ignore"):
            np.matmul(values, self._inverse, out=out, casting="same_kind")

    def expand_observed(self, values, out):
        complete = ~np.isnan(values).any(axis=1)
        out[...] = values
        with np.errstate(over="ignore", invalid="ignore"):
            out[complete] = values[complete] @ self._inverse

    def compress(self, v):
        return (v @ self._axes).astype(np.result_type(v, np.float32), copy=False)

    encode = Encoder.encode


def rows_for_covariance(data):
    """Return the rows of a data set to estimate a covariance matrix from, and shares."""
    return data.draw(GAPPY_ROWS_FOR_COVARIANCE if data.has_gaps else ROWS_FOR_COVARIANCE)


def axes_of(rows, shares, constant):
    """Return axes along which rows with these shares are uncorrelated, times deviations.

    The covariance matrix of the standardized rows is shrunk to the identity, with the
    weight of the largest likelihood in cross-validation.
    """
    varying = rows[:, ~constant]
    weight = _shrinkage(varying, shares) if varying.size else 1.0
    covariance = (1 - weight) * (rows.T * shares) @ rows
    covariance += weight * np.diag(np.where(constant, SMALLEST_VARIANCE, 1.0))
    variances, vectors = np.linalg.eigh(covariance)
    return np.sqrt(variances)[:, None] * vectors.T


def _shrinkage(rows, shares):
    """Return the weight of the identity in the covariance matrix, by cross-validation."""
    n_folds = min(N_FOLDS, len(rows))
    if n_folds == 1:
        return 1.0
    fold = generator(0).permutation(len(rows)) % n_folds
    scores = np.zeros(len(SHRINKAGES))
    for number in range(n_folds):
        inside, outside = fold != number, fold == number
        parts = shares[inside] / shares[inside].sum()
        mean = parts @ rows[inside]
        centered = rows[inside] - mean
        variances, vectors = np.linalg.eigh((centered.T * parts) @ centered)
        squares = shares[outside] @ np.square((rows[outside] - mean) @ vectors)
        for place, weight in enumerate(SHRINKAGES):
            shrunk = (1 - weight) * variances + weight
            logs = shares[outside].sum() * np.log(shrunk)
            scores[place] -= (logs + squares / shrunk).sum()
    return SHRINKAGES[scores.argmax()]


def _groups_of(missing):
    """Yield the patterns of gaps of rows, and the rows that have each of them."""
    rows_with = collections.defaultdict(list)
    for row in np.flatnonzero(missing.any(axis=1)).tolist():
        rows_with[missing[row].tobytes()].append(row)
    for pattern, rows in rows_with.items():
        yield np.frombuffer(pattern, dtype=bool), rows


def _refuse_variances(n_features, **arrays):
    for name, array in arrays.items():
        if array.shape != (n_features,) or not (array > 0).all():
            raise ValueError(
                f"{name} must have one value greater than 0 for each of {n_features} "
                f"features, but got {array!r}."
            )


def is_constant(mean, variance, dtype):
    """Return which features do not vary by more than rounding errors."""
    precision = np.finfo(dtype if dtype.kind == "f" else np.float64).eps
    return np.sqrt(variance) <= 10 * precision * np.abs(mean)
