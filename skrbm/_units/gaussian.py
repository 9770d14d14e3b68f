"""Real-valued units that are independent given the hidden units."""

import dataclasses
from typing import ClassVar

import numpy as np

from skrbm import _binary_rows, _kernels, _real_rows
from skrbm._units.base import ConditionalNumbers, Encoder, VisibleUnits
from skrbm._units.softplus import SoftplusChanges, exponent_limit, sums_of_softplus

# Smallest conditional variance of a Gaussian unit, relative to the variance of the data.
SMALLEST_VARIANCE = 1e-3
# Learning rate of the log variances relative to that of the other parameters, and largest
# change of a log variance in a step.
VARIANCE_RATE = 0.3
LARGEST_VARIANCE_STEP = 0.1
# Initial conditional variance of a Gaussian unit, relative to the variance of the data.
# At 1 or above, training can get stuck at a model whose weights are all zero.
INITIAL_VARIANCE = 0.5
# The density of a number given all others is a mixture of normal distributions. It is
# summed on a grid that extends by this number of deviations beyond their means, and is
# computed at so many points at once.
TAILS, POINTS_AT_ONCE = 8.0, 64
# Length of the initial weights of a hidden unit, in units of the deviation s, and the
# initial odds of the component of the mixture in which only this unit is on, to that in
# which none is.
INITIAL_LENGTH, INITIAL_ODDS = 1.5, 0.5


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

    def number_given(self, cells, missing, weights, feature):
        scale, variance = self.scale[feature], self.variance[feature]
        offset = self.location[feature] + scale * self.bias[feature]
        slopes = scale * variance * weights[feature]
        rows = np.ones(len(cells))
        return rows * offset, np.outer(rows, slopes), rows * scale**2 * variance

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

    def direction(self, feature) -> np.ndarray:
        """Return how an encoded row changes with a standardized value."""
        return np.eye(1, len(self), feature)[0]

    def conditionals(self, v, hidden_input, weights, features):
        """Yield the distribution of each of some columns, given all other columns.

        With the standardized value at a distance of t from where the energy is smallest,
        where the hidden inputs are a, the density is proportional to::

            exp(-q t^2 / 2) prod_j (1 + exp(a_j + t u_j))

        It is a mixture of normal distributions with variance 1 / q, whose means are sums of
        some u_j / q. The trapezoidal rule with a spacing of their deviation has a relative
        error of about ``2 exp(-2 pi^2)``, 5e-9.
        """
        v, hidden_input, weights = (
            np.asarray(array, np.float64) for array in (v, hidden_input, weights)
        )
        pull, variance = (self.bias - v) / self.variance, np.float64(self.variance)
        cells, of_hidden = self.cells(v), _kernels.softplus(hidden_input).sum(axis=1)
        for feature in features:
            direction = self.direction(feature)
            q, u = np.square(direction) @ (1 / variance), direction @ weights
            shift = pull @ direction / q
            inputs = hidden_input + shift[:, None] * u
            score = of_hidden - 0.5 * q * np.square(shift)
            mean, std, highest, log_volume = _sums_on_grid(inputs, q, u)
            scale = self.scale[feature]
            log_volume += np.log(scale)
            yield ConditionalNumbers(
                (cells[:, feature] + shift + mean) * scale + self.location[feature],
                std * scale,
                score - log_volume,
                highest - log_volume,
            )

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
        np.minimum(change, LARGEST_VARIANCE_STEP, out=change)
        np.maximum(change, -LARGEST_VARIANCE_STEP, out=change)
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

        The variance of a feature that barely varies is 1.
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

    # Couplings of columns -------------------------------------------------------------

    def effects(self, x):
        return {i: np.stack([-of_cell, of_cell]) for i, of_cell in enumerate(x)}

    def coordinates(self, v):
        return {i: np.stack([-z, z], axis=1) / 2 for i, z in enumerate(self.cells(v).T)}

    @property
    def coefficients(self):
        return self.bias / self.variance

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
        refuse_variances(
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
        return _variant(lambda kind: any(hasattr(rbm, n) for n in kind.required_attributes))

    @classmethod
    def from_plain(cls, plain):
        names = {field.name for field in dataclasses.fields(GaussianUnits)}
        return _variant(lambda kind: plain.keys() - names)(**plain)

    def with_attributes(self, rbm, *arrays):
        return self.kind_of(rbm).from_attributes(rbm, *arrays)

    def data_attributes(self, mean):
        return {"visible_mean_": self.location, "visible_variance_": self.scale**2}


def _sums_on_grid(inputs, q, u):
    """Return mean, deviation, largest value and integral of densities in `conditionals`.

    The last two are logarithms. The largest value is that of a parabola through the largest
    one on the grid and its neighbors.
    """
    deviation = 1 / np.sqrt(q)
    low = np.minimum(u, 0).sum() / q - TAILS * deviation
    high = np.maximum(u, 0).sum() / q + TAILS * deviation
    n_points = int(np.ceil((high - low) / deviation)) + 1
    t, spacing = np.linspace(low, high, n_points, retstep=True)
    sums, row_size = np.empty((4, len(inputs))), max(n_points, 4 * len(u))
    for rows in _kernels.row_blocks(len(inputs), row_size, _kernels.WORK_SIZE):
        logs = np.empty((len(inputs[rows]), n_points))
        for points in _kernels.row_blocks(n_points, 1, POINTS_AT_ONCE):
            center = t[points].mean()
            a, changes = inputs[rows] + center * u, np.outer(t[points] - center, u)
            if (largest := np.abs(changes).max()) < exponent_limit(a.dtype):
                logs[:, points] = SoftplusChanges(a, largest)(changes)
                logs[:, points] += _kernels.softplus(a).sum(axis=1)[:, None]
            else:
                logs[:, points] = sums_of_softplus(a, changes)
        logs -= 0.5 * q * np.square(t)
        log_sums = _kernels.log_sums(logs)
        p = np.exp(logs - log_sums[:, None])
        mean = p @ t
        variance = np.einsum("ij,ij->i", p, np.square(t - mean[:, None]))
        top = logs.argmax(axis=1).clip(1, n_points - 2)
        at = np.arange(len(logs))
        left, middle, right = (logs[at, top + step] for step in (-1, 0, 1))
        highest = middle - (right - left) ** 2 / (8 * (left - 2 * middle + right))
        sums[:, rows] = mean, np.sqrt(variance), highest, log_sums + np.log(spacing)
    return sums


def _variant(suits):
    """Return the subclass that suits, of those with further attributes, or the class."""
    return next(filter(suits, GaussianUnits.__subclasses__()), GaussianUnits)


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


def refuse_variances(n_features, **arrays):
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
