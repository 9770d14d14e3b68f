"""Units of several kinds, for tables whose columns are of several kinds."""

import dataclasses
import functools
from types import SimpleNamespace
from typing import Any, Self

import numpy as np

from skrbm._units.base import Encoder, VisibleUnits
from skrbm._units.bernoulli import BernoulliUnits
from skrbm._units.categorical import CategoricalUnits
from skrbm._units.correlated import CorrelatedUnits
from skrbm._units.covariance import rows_for_covariance
from skrbm._units.gaussian import GaussianUnits, Standardizer
from skrbm._units.groups import GroupEncoder
from skrbm._units.ordinal import OrdinalUnits

# The kinds of units of columns with states, in the order of the parts.
TYPES: dict[str, Any] = {
    "binary": BernoulliUnits,
    "categorical": CategoricalUnits,
    "ordinal": OrdinalUnits,
}
# What the kinds of the parts are called in pickles: do not change the order.
KINDS_OF_PARTS = [*TYPES.values(), GaussianUnits]
# Streams of random numbers of the parts, from the same key.
_KEY_STEP = 0x9E3779B97F4A7C15


@dataclasses.dataclass(frozen=True, eq=False)
class MixedUnits(VisibleUnits):
    """A sequence of parts. Each part is of one kind and has some columns of the data.

    Those whose rows are bits come first, and there is at most one other. All that is
    computed for a row is the sum over the parts, or has the values of one part after those
    of the other.

    Attributes
    ----------
    bias : ndarray of shape (n_encoded,)
        Biases of all parts. Those of a part are a slice of them.
    parts : tuple of VisibleUnits
        The parts.
    columns : tuple of int ndarray
        The columns of the data that each part has.
    """

    parts: tuple[VisibleUnits, ...]
    columns: tuple[np.ndarray, ...]

    needs_moments = True
    largest_parameter = 1e6

    def __post_init__(self) -> None:
        """Make the biases of the parts slices of the common array."""
        parts = [
            part.with_trained(bias=self.bias[units])
            for part, units in zip(self.parts, self.units, strict=True)
        ]
        object.__setattr__(self, "parts", tuple(parts))

    def __reduce__(self):
        return type(self), (self.bias, self.parts, self.columns)

    @classmethod
    def of(cls, parts, columns) -> Self:
        """Return units with these parts, which have these columns of the data."""
        bias = np.concatenate([part.bias for part in parts])
        return cls(bias, tuple(parts), tuple(columns))

    @classmethod
    def for_columns(cls, types, n_states, dtype, moments=None, dtype_of_data=None) -> Self:
        """Return untrained units.

        Parameters
        ----------
        types : list of str
            The type of each column of the data: one of `TYPES`, or "real".
        n_states : list of int
            The number of states of each column; not used if it is real.
        dtype : dtype
            Of the model.
        moments : tuple of two ndarray, default=None
            Mean and variance of each column. Those of real columns are used. None leaves
            them standardized.
        dtype_of_data : dtype, default=None
            Needed if there are `moments`.
        """
        types, n_states = np.array(types), np.array(n_states)
        parts, columns = [], []
        for name, kind in TYPES.items():
            (of_kind,) = np.nonzero(types == name)
            if of_kind.size:
                parts.append(kind.with_states(n_states[of_kind], dtype))
                columns.append(of_kind)
        (real,) = np.nonzero(types == "real")
        if real.size:
            mean, variance = np.repeat([[0.0], [1.0]], len(types), axis=1)
            if moments is not None:
                mean, variance = moments
            kind = np.dtype(dtype_of_data or dtype)
            part = GaussianUnits.with_moments(mean[real], variance[real], kind, dtype)
            parts.append(part)
            columns.append(real)
        return cls.of(parts, columns)

    @functools.cached_property
    def units(self):
        """Slices of the units of each part."""
        ends = np.cumsum([len(part) for part in self.parts]).tolist()
        return list(map(slice, [0, *ends[:-1]], ends))

    @functools.cached_property
    def _places(self):
        """Number of the part that each column of the data belongs to, and place there."""
        places = np.empty((2, self.n_features), dtype=np.int64)
        for number, columns in enumerate(self.columns):
            places[0, columns], places[1, columns] = number, np.arange(len(columns))
        return places

    def _each(self, *arrays):
        """Yield each part with its columns of arrays of encoded values, which are views."""
        for part, units in zip(self.parts, self.units, strict=True):
            yield part, *(array[..., units] for array in arrays)

    def _by_column(self, of_parts):
        """Return dicts by column of all parts as one, by column of the data."""
        return {
            int(columns[place]): value
            for columns, of_part in zip(self.columns, of_parts, strict=True)
            for place, value in of_part.items()
        }

    # What they can do -----------------------------------------------------------------
    # Ignored overrides: other kinds answer as classes, and these only as instances.

    @functools.cached_property
    def rows_are_bits(self):  # type: ignore[override]
        return self.parts[-1].rows_are_bits

    @functools.cached_property
    def n_bits(self):  # type: ignore[override]
        return len(self) if self.rows_are_bits else self.units[-1].start

    @property
    def rest(self):
        return self.parts[-1] if 0 < self.n_bits < len(self) else None

    @property
    def score(self):  # type: ignore[override]
        """The pseudo-log-likelihood, if all parts have one."""
        scores = {part.score for part in self.parts}
        return scores.pop() if len(scores) == 1 else "log_likelihood"

    @property
    def covariance_type(self):  # type: ignore[override]
        """That of the real columns, if there are several."""
        return self.parts[-1].covariance_type if len(self.parts[-1]) > 1 else None

    @property
    def _all_real(self):
        return self.n_bits == 0

    @property
    def rate_factor(self):  # type: ignore[override]
        return GaussianUnits.rate_factor if self._all_real else 1.0

    @property
    def slow_by_variance(self):  # type: ignore[override]
        """Standardized columns among others vary much in any case."""
        return self.rows_are_bits or self._all_real

    @functools.cached_property
    def decay_more(self):  # type: ignore[override]
        """Real columns among others."""
        if self.rows_are_bits or self._all_real:
            return None
        real = [np.full(len(part), not part.rows_are_bits) for part in self.parts]
        return np.concatenate(real)

    @property
    def n_features(self):
        return sum(map(len, self.columns))

    @property
    def n_states(self):
        n_states = np.empty(self.n_features, dtype=np.int64)
        for part, columns in zip(self.parts, self.columns, strict=True):
            n_states[columns] = part.n_states
        return n_states

    @property
    def arrays(self):
        return self.bias, *(array for part in self.parts for array in part.arrays[1:])

    @property
    def arrays_of_partition(self):
        return tuple(array for part in self.parts for array in part.arrays_of_partition)

    def map(self, function, *others):
        arrays = zip(self.arrays, *(other.arrays for other in others), strict=True)
        bias, *rest = (function(*array) for array in arrays)
        parts = []
        for part, units in zip(self.parts, self.units, strict=True):
            of_part = {name: rest.pop(0) for name in part.trained[1:]}
            parts.append(part.with_trained(bias=bias[units], **of_part))
        return self.with_trained(bias=bias, parts=tuple(parts))

    def with_covariance(self, data) -> Self:
        """Return units like these, but with the covariance matrix of real columns.

        If there are none, or only one, these are returned.
        """
        part, columns = self.parts[-1], self.columns[-1]
        if len(columns) == 1 or not isinstance(part, GaussianUnits):
            return self
        few, shares = rows_for_covariance(data)
        rows = few.copy_rows(np.float64)[:, columns]
        cells = part.encoder.compact(rows, np.float64)
        part = CorrelatedUnits.with_covariance(part, cells, shares)
        return self.of([*self.parts[:-1], part], self.columns)

    def real_columns(self, name):
        """Return the columns of the data with a property of real units, by its name."""
        chosen = [
            columns[getattr(part, name)]
            for part, columns in zip(self.parts, self.columns, strict=True)
            if isinstance(part, GaussianUnits)
        ]
        return np.concatenate([np.empty(0, int), *chosen])

    # Columns and rows -----------------------------------------------------------------

    @functools.cached_property
    def encoder(self):  # type: ignore[override]
        return MixedEncoder(self)

    def decode(self, v):
        """Return rows in the columns of the data, as float64 if there are numbers.

        Numbers may be far from 0. Columns of states have their most probable codes, but the
        means of bits are their probabilities.
        """
        dtype = v.dtype if self.rows_are_bits else np.dtype(np.float64)
        rows = np.empty((*v.shape[:-1], self.n_features), dtype)
        for (part, of_part), columns in zip(self._each(v), self.columns, strict=True):
            rows[..., columns] = part.decode(of_part.astype(dtype))
        return rows

    def mode(self, rows):
        states = rows.copy()
        for part, columns in zip(self.parts, self.columns, strict=True):
            states[..., columns] = part.mode(rows[..., columns])
        return states

    def probabilities(self, v):
        return self._by_column(
            part.probabilities(of_part) for part, of_part in self._each(v)
        )

    def fill_in(self, mean, shape, rng):
        mean = np.broadcast_to(mean, len(self))
        filled = np.empty(shape, self.bias.dtype)
        for part, of_part, out in self._each(mean, filled):
            out[...] = part.fill_in(of_part, out.shape, rng)
        return filled

    # Gaps -----------------------------------------------------------------------------

    def cells(self, v):
        return np.concatenate([part.cells(of_part) for part, of_part in self._each(v)], 1)

    def predict_gaps(self, v, some):
        for part, of_part in self._each(v):
            part.predict_gaps(of_part, some)

    @property
    def size_of_gaps(self):
        return sum(part.size_of_gaps for part in self.parts)

    def given(self, cells, missing):
        functions = [part.given(*arrays) for part, *arrays in self._each(cells, missing)]

        def complete(v):
            parts = zip(functions, self.units, strict=True)
            return np.concatenate([function(v[:, units]) for function, units in parts], 1)

        return complete

    def gap_terms(self, cells, missing, weights):
        parts = [
            part.gap_terms(*arrays, weights[units])
            for (part, *arrays), units in zip(
                self._each(cells, missing), self.units, strict=True
            )
        ]
        coefficients, terms = zip(*parts, strict=True)
        return np.hstack(coefficients), lambda h: np.hstack([f(h) for f in terms])

    def number_given(self, cells, missing, weights, feature):
        number, place = self._places[:, feature]
        units = self.units[number]
        arrays = cells[:, units], missing[:, units], weights[units]
        return self.parts[number].number_given(*arrays, place)

    # Given the hidden units -----------------------------------------------------------

    def mean(self, x):
        for part, of_part in self._each(x):
            part.mean(of_part)
        return x

    def sample(self, x, rng, out, units=slice(None)):
        for part, of_part, drawn in self._each(x, out):
            part.sample(of_part, rng, drawn)
        return out

    def blocks(self):
        """Return the block of all units, since rows are not sparse."""
        return [slice(0, len(self))]

    def constant_input(self, base):
        if self.rest is None:
            return self.bias if base is None else self.bias - base.bias
        others = [None] * len(self.parts) if base is None else base.parts
        parts = zip(self.parts, others, strict=True)
        return np.concatenate([part.constant_input(other) for part, other in parts])

    def from_inputs(
        self, x, *, base=None, scale=None, keys=None, mean=None, states=None, rest=None
    ):
        all_keys = [None] * len(self.parts)
        if keys is not None:
            all_keys = [keys._replace(words=w) for w in keys.words + self._key_steps]
        for number, (part, units) in enumerate(zip(self.parts, self.units, strict=True)):
            drawn = None if states is None else states[:, units]
            part.from_inputs(
                x[:, units],
                base=None if base is None else base.parts[number],
                scale=scale,
                keys=all_keys[number],
                mean=None if mean is None else mean[:, units],
                states=rest if part is self.rest else drawn,
            )

    @functools.cached_property
    def _key_steps(self):
        """What is added to the words of keys, in a row for each part."""
        steps = [number * _KEY_STEP % 2**64 for number in range(len(self.parts))]
        return np.array(steps, dtype=np.uint64)[:, None]

    def log_normalizers(self, x):
        normalizers = np.empty((len(x), self.n_features))
        for (part, of_part), columns in zip(self._each(x), self.columns, strict=True):
            normalizers[:, columns] = part.log_normalizers(of_part)
        return normalizers

    def log_normalizer_changes(self, x, changes):
        return sum(
            part.log_normalizer_changes(of_x, of_changes)
            for part, of_x, of_changes in self._each(x, changes)
        )

    @property
    def largest_change(self):
        return min(part.largest_change for part in self.parts)

    def minus_energy(self, v):
        return sum(part.minus_energy(of_part) for part, of_part in self._each(v))

    @property
    def ground_state(self):
        return np.concatenate([part.ground_state for part in self.parts])

    def conditionals(self, v, hidden_input, weights, features):
        part_of, place_of = self._places
        of_parts = [
            part.conditionals(
                v[:, units],
                hidden_input,
                weights[units],
                place_of[features][part_of[features] == number],
            )
            for number, (part, units) in enumerate(zip(self.parts, self.units, strict=True))
        ]
        for number in part_of[features]:
            yield next(of_parts[number])

    def pseudo_log_likelihood(self, v, hidden_input, weights, columns=None, missing=None):
        """Return the pseudo-log-likelihood of each row, in nats, as float64.

        If `columns` is given, parts without a unit among them are left out, and the sum of
        the others is scaled up to all columns of the data.
        """
        total, n_summed = np.zeros(v.shape[0]), 0
        for (part, of_part), units in zip(self._each(v), self.units, strict=True):
            some = None
            if columns is not None:
                some = columns[(columns >= units.start) & (columns < units.stop)]
                some = some - units.start
                if not some.size:
                    continue
            total += part.pseudo_log_likelihood(
                of_part,
                hidden_input,
                weights[units],
                some,
                None if missing is None else missing[:, units],
            )
            n_summed += part.n_features
        return total * (self.n_features / n_summed)

    # Learning, and paths to a model ---------------------------------------------------

    def first_weights(self, n_components, rng):
        firsts = [part.first_weights(n_components, rng) for part in self.parts]
        weights, biases, means = zip(*firsts, strict=True)
        return np.concatenate(weights), np.mean(biases, axis=0), float(np.mean(means))

    def differences(self, v, shares):
        """Return the differences of the rows, and others that the last part has."""
        _, *others = self.parts[-1].differences(v[:, self.units[-1]], shares)
        return [v.T @ shares, *others]

    def add_gradient(self, of_bias, differences):
        of_v, *others = differences
        for part, of_part, of_values in self._each(of_bias, of_v):
            part.add_gradient(of_part, [of_values, *others])

    def add_input(self, x):
        for part, of_part in self._each(x):
            part.add_input(of_part)

    def mean_of_rows(self, total, n_rows):
        means = [part.mean_of_rows(of_part, n_rows) for part, of_part in self._each(total)]
        return np.concatenate(means)

    def center(self, mean):
        return np.concatenate([part.center(of_part) for part, of_part in self._each(mean)])

    def follow_mean(self, before, after):
        for part, *means in self._each(before, after):
            part.follow_mean(*means)

    def independent(self, mean, dtype):
        mean = np.broadcast_to(mean, len(self))
        parts = [part.independent(of_part, dtype) for part, of_part in self._each(mean)]
        return self.of(parts, self.columns)

    def independent_of(self, mean, square):
        parts = [
            part.independent_of(*of_part) for part, *of_part in self._each(mean, square)
        ]
        return self.of(parts, self.columns)

    def log_ratio_to(self, base, v):
        return sum(
            part.log_ratio_to(other, of_part)
            for (part, of_part), other in zip(self._each(v), base.parts, strict=True)
        )

    def sample_between(self, base, x, beta, generators):
        for (part, of_part), other in zip(self._each(x), base.parts, strict=True):
            part.sample_between(other, of_part, beta, generators)

    # Couplings of columns -------------------------------------------------------------

    def effects(self, x):
        return self._by_column(part.effects(of_part.T) for part, of_part in self._each(x.T))

    def coordinates(self, v):
        return self._by_column(part.coordinates(of_part) for part, of_part in self._each(v))

    @property
    def coefficients(self):
        return np.concatenate([part.coefficients for part in self.parts])

    @property
    def precision(self):
        of_part, columns = self.parts[-1].precision, self.columns[-1]
        if of_part is None:
            return None
        precision = np.zeros((self.n_features, self.n_features))
        precision[np.ix_(columns, columns)] = of_part
        return precision

    # Attributes of an estimator -------------------------------------------------------

    optional_attributes = *GaussianUnits.optional_attributes, "visible_variance_"

    def to_attributes(self, weights, hidden_bias):
        parts = []
        for part, units in zip(self.parts, self.units, strict=True):
            parts.append(part.to_attributes(weights[units], hidden_bias))
            hidden_bias = parts[-1].pop("intercept_hidden_")
        components = np.concatenate([part.pop("components_") for part in parts], axis=1)
        biases = np.concatenate([part.pop("intercept_visible_") for part in parts])
        attributes = {name: array for part in parts for name, array in part.items()}
        return attributes | {
            "components_": components,
            "intercept_visible_": biases,
            "intercept_hidden_": hidden_bias,
        }

    @classmethod
    def template(cls, rbm, dtype):
        """Return units like those of an estimator, by the types of its columns."""
        types, n_states = rbm._layout
        return cls.for_columns(types, n_states, dtype)

    @classmethod
    def from_attributes(cls, rbm, components, visible_bias, hidden_bias):
        dtype = np.result_type(np.float32, components)
        untrained = cls.template(rbm, dtype)
        weights, parts = [], []
        for part, units in zip(untrained.parts, untrained.units, strict=True):
            required = part.kind_of(rbm).required_attributes
            names = (*required, "visible_mean_", "visible_variance_")
            arrays = {name: getattr(rbm, name) for name in names if hasattr(rbm, name)}
            if "visible_mean_" in arrays:
                arrays["visible_mean_"] = arrays["visible_mean_"][units]
            of_part, visible, hidden_bias = part.with_attributes(
                SimpleNamespace(**arrays),
                components[:, units],
                visible_bias[units],
                hidden_bias,
            )
            weights.append(of_part.astype(dtype))
            parts.append(visible.map(lambda array: array.astype(dtype)))
        visible = cls.of(parts, untrained.columns)
        return np.concatenate(weights), visible, hidden_bias.astype(dtype)

    def to_plain(self):
        parts = [part.to_plain() for part in self.parts]
        kinds = [KINDS_OF_PARTS.index(type(part)) for part in self.parts[:-1]]
        last = self.parts[-1]
        kind = GaussianUnits if isinstance(last, GaussianUnits) else type(last)
        kinds.append(KINDS_OF_PARTS.index(kind))
        return {"kinds": kinds, "parts": parts, "columns": list(self.columns)}

    @classmethod
    def from_plain(cls, plain):
        parts = [
            KINDS_OF_PARTS[kind].from_plain(part)
            for kind, part in zip(plain["kinds"], plain["parts"], strict=True)
        ]
        return cls.of(parts, plain["columns"])

    def data_attributes(self, mean):
        parts = [part.data_attributes(of_part) for part, of_part in self._each(mean)]
        means = np.concatenate([part.pop("visible_mean_") for part in parts])
        others = {name: array for part in parts for name, array in part.items()}
        return others | {"visible_mean_": means}


class MixedEncoder(Encoder):
    """Encoder of codes by groups of bits, and of real values, which come after these."""

    def __init__(self, units):
        parts, columns = list(units.parts), list(units.columns)
        self._real = np.empty(0, dtype=int)
        self._standardizer = Standardizer(np.empty(0), np.empty(0))
        if not units.rows_are_bits:
            self._standardizer, self._real = parts.pop().encoder, columns.pop()
        encoders = [part.encoder or GroupEncoder.of_bits(len(part)) for part in parts]
        self._codes = GroupEncoder.join(encoders, columns)
        self.n_encoded, self._n_bits = len(units), self._codes.n_encoded
        self.feature_of = np.append(self._codes.feature_of, self._real)

    def compact(self, rows, dtype):
        with np.errstate(over="ignore"):
            values = rows.astype(dtype)
        if self._real.size:
            real = rows.take(self._real, axis=1)
            values[:, self._real] = self._standardizer.compact(real, dtype)
        return values

    def expand(self, values, out):
        self._codes.expand(values, out[:, : self._n_bits])
        if self._real.size:
            real = values.take(self._real, axis=1)
            self._standardizer.expand(real, out[:, self._n_bits :])

    def expand_observed(self, values, out):
        gappy = np.isnan(values).any(axis=1)
        cells = values[gappy].take(self._real, axis=1)
        super().expand_observed(values, out)
        out[gappy, self._n_bits :] = cells

    def compress(self, v):
        coded = self._codes.columns
        dtype = np.result_type(v, np.float32)
        values = np.empty((len(v), len(coded) + len(self._real)), dtype)
        values[:, coded] = self._codes.compress(v[:, : self._n_bits])
        if self._real.size:
            values[:, self._real] = self._standardizer.compress(v[:, self._n_bits :])
        return values

    def encode(self, rows, out):
        self._codes.expand(rows, out[:, : self._n_bits])
        if self._real.size:
            real = rows.take(self._real, axis=1)
            self._standardizer.encode(real, out[:, self._n_bits :])
