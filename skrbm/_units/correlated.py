"""Real-valued units that are correlated given the hidden units."""

import collections
import dataclasses
import functools

import numpy as np

from skrbm import _binary_rows, _real_rows
from skrbm._random import generator
from skrbm._units.base import Encoder
from skrbm._units.covariance import SHRINKAGES, axes_of, rows_for_covariance
from skrbm._units.gaussian import GaussianUnits, Standardizer, refuse_variances

# Number of draws of the gaps, which alternate with estimates of the covariance matrix.
N_DRAWS_OF_GAPS = 10
# Part of the variance in a direction from which a feature is said to belong to it.
LARGE_LOADING = 0.1


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
        "A linear combination of {names} is nearly constant given the hidden units. "
        "Its variance has a lower bound, so likelihoods depend on this bound. Some of "
        "these features are functions of others, have few distinct values, or an outlier: "
        "drop or clip them, or add noise to them."
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
        precision = self.precision
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
        precision, of_cells = self.precision, self._inverse @ weights
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

    def number_given(self, cells, missing, weights, feature):
        precision, of_cells = self.precision, self._inverse @ weights
        center, scale = self.bias @ self.axes, self.scale[feature]
        offset, variance = np.empty((2, len(cells)))
        slopes = np.empty((len(cells), weights.shape[1]))
        for pattern, rows in _groups_of(missing):
            gaps, known = np.flatnonzero(pattern), np.flatnonzero(~pattern)
            place = np.searchsorted(gaps, feature)
            covariances = np.linalg.inv(precision[np.ix_(gaps, gaps)])[place]
            errors = cells[np.ix_(rows, known)] - center[known]
            pull = errors @ precision[np.ix_(known, gaps)]
            offset[rows] = center[feature] - pull @ covariances
            slopes[rows] = covariances @ of_cells[gaps]
            variance[rows] = covariances[place]
        offset = self.location[feature] + scale * offset
        return offset, scale * slopes, scale**2 * variance

    @property
    def precision(self):
        """Inverse of the covariance matrix of standardized cells given the hidden units."""
        return (self._inverse / self.variance) @ self._inverse.T

    # Given the hidden units -----------------------------------------------------------

    @property
    def _log_volumes(self):
        return super()._log_volumes + 2 * self._log_volume_of_axes / len(self)

    @property
    def _log_volume_of_axes(self):
        return np.linalg.slogdet(self.axes)[1]

    def direction(self, feature):
        return self._inverse[feature]

    # Learning, and paths to a model ---------------------------------------------------

    @classmethod
    def untrained(cls, data, dtype):
        """Return units with the means and the shrunk covariance matrix of the data.

        The covariance matrix is that of up to 10 000 rows or, if cells are missing, of
        1000. Draws of their gaps, from the Gaussian with the present covariance matrix,
        then alternate with estimates of this matrix: Tanner, M. A. and Wong, W. H. (1987).
        The calculation of posterior distributions by data augmentation. JASA, 82(398),
        528-540.
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

    # Couplings of columns -------------------------------------------------------------

    def effects(self, x):
        return super().effects(self._inverse @ x)

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
        refuse_variances(n, axes_variance_=noise, visible_variance_=variance)
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


def _groups_of(missing):
    """Yield the patterns of gaps of rows, and the rows that have each of them."""
    rows_with = collections.defaultdict(list)
    for row in np.flatnonzero(missing.any(axis=1)).tolist():
        rows_with[missing[row].tobytes()].append(row)
    for pattern, rows in rows_with.items():
        yield np.frombuffer(pattern, dtype=bool), rows
