"""The contract of a kind of visible units.

A class of units stores the parameters of the units, but no weights and no hidden units. The
visible units receive their *input* from a hidden state h, the rows ``h W'``, and pass on
their values. All other modules ask the units for what depends on their kind, and none of
them asks which kind it has.
"""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from skrbm import _binary_rows, _kernels


class Encoder(abc.ABC):
    """What rows of the data are encoded by when they are read.

    Between the two are compact rows, with one number for each cell: what is missing in a
    row is stored as these, whatever the number of columns that a cell is encoded by.

    Attributes
    ----------
    n_encoded : int
        Number of columns of encoded rows.
    feature_of : int ndarray of shape (n_encoded,)
        Column of the data that each encoded column belongs to.
    """

    n_encoded: int
    feature_of: np.ndarray

    def compact(self, rows, dtype) -> np.ndarray:
        """Return rows of the data as an array of numbers, in which NaN stays NaN."""
        return rows.astype(dtype)

    @abc.abstractmethod
    def expand(self, values, out) -> None:
        """Write encoded rows, given compact ones."""

    @abc.abstractmethod
    def compress(self, v) -> np.ndarray:
        """Return compact rows, given encoded ones whose values are states."""

    def expand_observed(self, values, out) -> None:
        """Write rows in which gaps are NaN, given compact ones, which are overwritten.

        All encoded columns of a gap are NaN. See also `VisibleUnits.cells`.
        """
        missing = np.isnan(values)
        values[missing] = 0
        self.expand(values, out)
        out[missing[:, self.feature_of]] = np.nan

    def encode(self, rows, out) -> None:
        """Write encoded rows, given rows of the data."""
        dtype = out.dtype if out.dtype.kind == "f" else np.float32
        self.expand(self.compact(rows, dtype), out)


class ConditionalStates(NamedTuple):
    """Distributions of a column with states, given all other columns of each row.

    Attributes
    ----------
    log_p : float64 ndarray of shape (n_rows, n_states)
        Log-probabilities of the states.
    score : float64 ndarray of shape (n_rows,)
        That of the state that the row has, or the mean if it has means of units.
    """

    log_p: np.ndarray
    score: np.ndarray

    @property
    def highest(self) -> np.ndarray:
        """Log-probability of the most probable state."""
        return self.log_p.max(axis=1)

    @property
    def summary(self) -> np.ndarray:
        """Probabilities of the states."""
        return np.exp(self.log_p)

    @staticmethod
    def average(summaries) -> np.ndarray:
        """Return the summary of the mean distribution of each row, a mean over axis 1."""
        return summaries.mean(axis=1)


class ConditionalNumbers(NamedTuple):
    """Distributions of a column of numbers, given all other columns of each row.

    Attributes
    ----------
    mean, std : float64 ndarray of shape (n_rows,)
        Mean and standard deviation, in the units of the data.
    score : float64 ndarray of shape (n_rows,)
        Log-density of the number that the row has, in the units of the data.
    highest : float64 ndarray of shape (n_rows,)
        Largest log-density of any number, in the units of the data.
    """

    mean: np.ndarray
    std: np.ndarray
    score: np.ndarray
    highest: np.ndarray

    @property
    def summary(self) -> np.ndarray:
        """Mean and standard deviation."""
        return np.stack([self.mean, self.std], axis=1)

    @staticmethod
    def average(summaries) -> np.ndarray:
        """Return the summary of the mean distribution of each row, a mean over axis 1."""
        mean, std = summaries[..., 0], summaries[..., 1]
        variance = np.square(std).mean(axis=1) + mean.var(axis=1)
        return np.stack([mean.mean(axis=1), np.sqrt(variance)], axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class VisibleUnits(abc.ABC):
    """Base class of all kinds of visible units.

    What is not abstract suits units whose only parameter is a bias b, and whose energy is
    ``-b . v``. If the energy has another term that depends on v, such as ``log v!`` of
    counts, it is enough to override `minus_energy` as well. A kind with other parameters
    overrides more. Methods that change something in place say so.

    Attributes
    ----------
    bias : ndarray of shape (n_encoded,)
        Biases of the units. Its dtype is that of the model.
    """

    bias: np.ndarray

    # What they can do -----------------------------------------------------------------

    # Names of the arrays that are trained.
    trained: ClassVar[tuple[str, ...]] = ("bias",)
    # Whether all values of an encoded row are 0 or 1, so that it can be stored as the list
    # of the units that are on, which the compiled core works on. Then the gradient of the
    # bias is that of v. See also `n_bits`.
    rows_are_bits: ClassVar[bool] = False
    # Whether rows may be sparse.
    sparse: ClassVar[bool] = False
    # Whether the units are independent bits given the hidden units, like these, so that
    # the layers can be exchanged to enumerate the smaller one.
    enumerable: ClassVar[bool] = False
    # What is recorded during training, decides early stopping, and is the score of rows:
    # "pseudo_log_likelihood" or "log_likelihood".
    score: ClassVar[str] = "log_likelihood"
    # Whether a `ModelLadder`, which has one bias per unit, can describe the models.
    has_ladders: ClassVar[bool] = False
    # Whether users may choose the means of `independent` units, which are in [0, 1] then.
    has_base_mean: ClassVar[bool] = False
    # Range of the values of the data, or None if they have none.
    value_limits: ClassVar[tuple[float, float] | None] = None
    # The values that states have in words, and what to do with others.
    states: ClassVar[str] = ""
    advice_on_states: ClassVar[str] = ""
    # What estimators of several types of covariances call that of the units.
    covariance_type: ClassVar[str | None] = None
    # Whether `untrained` asks for the moments of the data.
    needs_moments: ClassVar[bool] = False
    # Parameters larger than this mean that training has diverged.
    largest_parameter: ClassVar[float] = 1e3
    # Factor of the automatic learning rate.
    rate_factor: ClassVar[float] = 1.0
    # Whether chains are slow if the rows vary much in one direction.
    slow_by_variance: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.bias)

    @property
    def n_bits(self) -> int:
        """Number of the first units that are like those of kinds whose `rows_are_bits`."""
        return len(self) if self.rows_are_bits else 0

    @property
    def rest(self) -> "VisibleUnits | None":
        """The units after `n_bits`, if there are both. Their offsets of centering are 0."""
        return None

    @property
    def labels(self) -> Any:
        """The `GroupUnits` of labels, which come before others; None if there are none."""
        return None

    @property
    def n_features(self) -> int:
        """Number of columns of the data. Each has one unit or more."""
        return len(self)

    @property
    def n_states(self) -> np.ndarray:
        """Number of states of each column of the data, 0 where it has numbers."""
        return np.zeros(self.n_features, dtype=np.int64)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All parameter arrays that are trained."""
        return tuple(getattr(self, name) for name in self.trained)

    @property
    def arrays_of_partition(self) -> tuple[np.ndarray, ...]:
        """All arrays on which the partition function depends."""
        return self.arrays

    def map(self, function, *others) -> Self:
        """Apply a function to the arrays of these and other units; return new units."""
        arrays = zip(self.arrays, *(other.arrays for other in others), strict=True)
        mapped = (function(*array) for array in arrays)
        return self.with_trained(**dict(zip(self.trained, mapped, strict=True)))

    def with_trained(self, **arrays) -> Self:
        """Return units with other trained arrays.

        They keep cached properties, which therefore must not depend on trained arrays. This
        is faster than `dataclasses.replace`, too: models on a path are made at each step.
        """
        units = object.__new__(type(self))
        vars(units).update(vars(self) | arrays)
        return units

    # Columns and rows -----------------------------------------------------------------

    @classmethod
    def check(cls, limits, ranges, X, names_of, **options):
        """Refuse or warn about values that the units cannot have.

        Parameters
        ----------
        limits : callable
            Returns the smallest and the largest value of the rows.
        ranges : callable
            Returns the `Ranges` of their features.
        X : object
            The rows as the user passed them, or the collection that they belong to.
        names_of : callable
            Returns the names of features in words, given an array of their indices.
        options : dict
            See `unit_interval.check_range`.
        """
        return

    @staticmethod
    def are_states(summary) -> bool:
        """Return whether data with this summary contain only states."""
        return True

    @staticmethod
    def are_in_range(summary) -> bool:
        """Return whether data with this summary are states or expectations of states."""
        return True

    @property
    def decay_more(self) -> np.ndarray | None:
        """Which units have weights that may decay more strongly; None if none have."""
        return None

    @property
    def encoder(self):
        """The `Encoder` of rows of the data, or None if they are used as they are."""
        return None

    @property
    def feature_of(self) -> np.ndarray:
        """Column of the data that each unit belongs to."""
        return np.arange(len(self)) if self.encoder is None else self.encoder.feature_of

    @property
    def first_columns(self) -> np.ndarray:
        """First encoded column of each column of the data."""
        return np.unique(self.feature_of, return_index=True)[1]

    def decode(self, v) -> np.ndarray:
        """Return rows of the model in the columns and units of the data.

        Means of units become means of the data, or else the most probable states.
        """
        return v

    def mode(self, rows) -> np.ndarray:
        """Return decoded means with the most probable state in place of probabilities."""
        return rows

    def probabilities(self, v) -> dict[int, np.ndarray]:
        """Return the probabilities of the states of columns, given encoded rows or means.

        The keys are the columns of the data that have states, and the values arrays of
        shape (n_rows, n_states).
        """
        return {}

    @staticmethod
    def clip(v):
        """Return encoded rows with values clipped to those that states can have."""
        return v

    @staticmethod
    def draw_states(values, rng):
        """Replace values that are not states with draws of states, in place.

        By default, all values are states.
        """
        return

    def fill_in(self, mean, shape, rng) -> np.ndarray:
        """Draw encoded rows to begin with where values are missing.

        `mean` is as for `independent`.
        """
        return self.independent(mean, self.bias.dtype).sample(
            np.zeros(shape, self.bias.dtype), rng, np.empty(shape, self.bias.dtype)
        )

    # Gaps -----------------------------------------------------------------------------

    def cells(self, v) -> np.ndarray:
        """Return encoded rows in the form of rows with gaps, in which these are NaN.

        It has a column for each unit, so that some columns can be missing without others.
        """
        return v

    def given(self, cells, missing):
        """Return a function that gives encoded rows the observed cells of others.

        Parameters
        ----------
        cells : ndarray of shape (n_rows, n_encoded)
            As from `cells`. What is missing may have any value.
        missing : bool ndarray of shape (n_rows, n_encoded)
            Which cells are missing.

        Returns
        -------
        complete : callable
            Takes draws of whole rows given their hidden states, one for each of the rows,
            and returns draws given the observed cells as well. Likewise, it takes means and
            returns means.
        """
        return lambda v: np.where(missing, v, cells)

    def predict_gaps(self, v, some):
        """Replace gaps in place that depend on observed cells without hidden units.

        They are replaced by their means, given the observed cells, with hidden units off.
        `some` tells which rows have gaps.
        """
        return

    @property
    def size_of_gaps(self) -> int:
        """Number of values to reserve in memory for sums over the gaps of a row."""
        return len(self)

    def gap_terms(self, cells, missing, weights):
        """Return what sums over gaps add to the log-probabilities of hidden states.

        Together with the energy of rows that have their `ground_state` in the gaps, this is
        ``log sum exp(-E(v) + v W h)`` over the values of the gaps.

        Parameters
        ----------
        cells, missing
            As for `given`.
        weights : ndarray of shape (n_encoded, n_components)

        Returns
        -------
        coefficients : ndarray of shape (n_rows, n_terms)
        terms : callable
            Given hidden states, returns an array of shape (n_states, n_terms), to be
            multiplied by the coefficients.
        """
        return missing[:, self.first_columns], lambda h: self.log_normalizers(h @ weights.T)

    def number_given(self, cells, missing, weights, feature):
        """Return how missing numbers depend on the hidden units, given observed cells.

        Given hidden states h, the number in a row is normally distributed. Its mean is
        ``offset + slopes . h``, in the units of the data.

        Parameters
        ----------
        cells, missing
            As for `given`.
        weights : ndarray of shape (n_encoded, n_components)
        feature : int
            Column of the data, which is missing in all rows.

        Returns
        -------
        offset : ndarray of shape (n_rows,)
        slopes : ndarray of shape (n_rows, n_components)
        variance : ndarray of shape (n_rows,)
        """
        raise NotImplementedError("These units have no numbers.")

    # Given the hidden units -----------------------------------------------------------

    @abc.abstractmethod
    def mean(self, x) -> np.ndarray:
        """Overwrite the input `x` with the mean of each unit."""

    @abc.abstractmethod
    def sample(self, x, rng, out, units=slice(None)) -> np.ndarray:
        """Draw values of all or some units from their input `x`, which is overwritten.

        `units` is one of the `blocks`. `out` may be `x` itself.
        """

    def blocks(self) -> list[slice]:
        """Return the blocks of units that sparse rows are drawn in.

        Units that depend on each other given the hidden units are in the same block. The
        first block is the largest.
        """
        return list(_kernels.feature_blocks(len(self)))

    def from_lists(self, rows, weights, *, base=None, work=None, **options):
        """Compute means or draw states given listed hidden states, by the compiled core.

        If `base` is given, states are drawn at the inverse temperatures `scale`, as in
        `sample_between`, and no means are asked for. For the other arguments, see
        `_binary_rows.visible`. Units that have a `rest` write draws of it to the argument
        `rest`, and those of bits to `states`.
        """
        x = np.empty((len(rows.indptr) - 1, len(self)), self.bias.dtype)
        constant = self.constant_input(base)
        _binary_rows.visible(rows, weights, constant, total=x, work=work)
        self.from_inputs(x, base=base, **options)

    def constant_input(self, base):
        """Return what `from_inputs` expects to be added to the inputs."""
        return np.zeros_like(self.bias)

    def from_inputs(self, x, *, base=None, scale=None, keys=None, mean=None, states=None):
        """Compute means or draw states given inputs `x`, which are overwritten.

        The arguments are those of `from_lists`. `mean` may be `x` itself if there are no
        `states`.
        """
        if states is not None:
            drawn = x.copy() if mean is not None else x
            if base is None:
                for places, rng in keys.generators:
                    self.sample(drawn[places], rng, drawn[places])
            else:
                self.sample_between(base, drawn, scale[:, None], keys.generators)
            states[...] = drawn
        if mean is not None:
            mean[...] = self.mean(x)

    @abc.abstractmethod
    def log_normalizers(self, x) -> np.ndarray:
        """Return ``log sum_v exp(-E_i(v) + x_i v)`` for each row of the input.

        There is one column for each feature i, a column of the data, whose encoded columns
        are those of v and x here.
        """

    def log_normalizer(self, x) -> np.ndarray:
        """Return the sum of the `log_normalizers` for each row of the input."""
        return self.log_normalizers(x).sum(axis=1)

    def exchange(self, weights, hidden_bias):
        """Return weights, units and hidden bias of the model with exchanged layers.

        Only `enumerable` units have it.
        """
        raise NotImplementedError("These units cannot be exchanged with hidden units.")

    def log_normalizer_changes(self, x, changes) -> np.ndarray:
        """Return how the log normalizer of each row of `x` changes with each of `changes`.

        Parameters
        ----------
        x : ndarray of shape (n_rows, n_encoded)
        changes : ndarray of shape (n_changes, n_encoded)
            Rows that are added to the input. Their absolute values are below
            `largest_change`.

        Returns
        -------
        change : float64 ndarray of shape (n_rows, n_changes)
        """
        columns = [self.log_normalizer(x + change) for change in changes]
        return np.stack(columns, axis=1) - self.log_normalizer(x)[:, None]

    @property
    def largest_change(self) -> float:
        """Bound on the changes of `log_normalizer_changes`."""
        return np.inf

    def minus_energy(self, v) -> np.ndarray:
        """Return the negative energy of the visible units alone, for each row."""
        return v @ self.bias

    @property
    def ground_state(self) -> np.ndarray:
        """Encoded values, not necessarily a state, that add nothing to the energy."""
        return np.zeros_like(self.bias)

    def conditionals(self, v, hidden_input, weights, features):
        """Yield the distribution of each of some columns, given all other columns.

        What a row has in the column itself only decides on the score.

        Parameters
        ----------
        v : ndarray of shape (n_rows, n_encoded)
            Complete rows, or CSR rows if the units have them.
        hidden_input : ndarray of shape (n_rows, n_components)
            Hidden input of these rows.
        weights : ndarray of shape (n_encoded, n_components)
        features : int ndarray
            Indices of columns of the data.

        Yields
        ------
        conditional : ConditionalStates or ConditionalNumbers
        """
        raise NotImplementedError(
            f"Conditional distributions are not available: {type(self).__name__}, the kind "
            "of visible units of this model, does not implement `conditionals`."
        )

    def pseudo_log_likelihood(
        self, v, hidden_input, weights, columns=None, missing=None
    ) -> np.ndarray:
        """Return the pseudo-log-likelihood of each row, in nats, as float64.

        Only units whose `score` it is have it. If `columns` is given, the sum is taken over
        these columns only and scaled up to all of them. `missing`, of the shape of `v`,
        says which values have been filled in. Their terms are left out of the sum.
        """
        raise NotImplementedError("These units have no pseudo-log-likelihood.")

    # Learning, and paths to a model ---------------------------------------------------

    @classmethod
    def untrained(cls, data, dtype) -> Self:
        """Return the units before the first step of training on a data set.

        Its rows are not encoded yet. What takes a pass over them, such as
        ``data.moments()``, should only be asked for if it is needed.
        """
        return cls(np.zeros(data.n_features, dtype=dtype))

    @abc.abstractmethod
    def first_weights(self, n_components, rng):
        """Return weights, bias and mean of the hidden units before the first step."""

    def differences(self, v, shares):
        """Return the differences of statistics that the gradient depends on.

        Parameters
        ----------
        v : ndarray of shape (n_rows, n_encoded)
            The rows of both phases.
        shares : ndarray of shape (n_rows,)
            Their shares in the difference of two means. Those of rows of the data are
            positive, those of the others negative.

        Returns
        -------
        differences : list of ndarray
            Sums of statistics of the rows, times `shares`. The first is that of the rows
            themselves, and the only one unless rows are always dense.
        """
        return [v.T @ shares]

    def add_gradient(self, of_bias, differences):
        """Add the gradient of the parameters in place, given the `differences`."""
        np.add(self.bias, of_bias, out=self.bias)

    def add_input(self, x):
        """Add a constant input in place, by changing the parameters."""
        np.add(self.bias, x, out=self.bias)

    def mean_of_rows(self, total, n_rows) -> np.ndarray:
        """Return the mean of `n_rows` encoded rows, given their sum; `n_rows` may be 0."""
        return total / max(n_rows, 1.0)

    def center(self, mean) -> np.ndarray:
        """Return the visible offset of centering, given `mean_of_rows`."""
        return mean

    def follow_mean(self, before, after):
        """Change the parameters in place as the mean of the rows has changed."""
        return

    @abc.abstractmethod
    def independent(self, mean, dtype) -> Self:
        """Return units that model independent features with these means.

        `mean` is one value for each unit, as from `mean_of_rows`, or a number for all of
        them, which is a guess. A kind that knows better may leave it aside.
        """

    def independent_of(self, mean, square) -> Self:
        """Return units that model independent features with moments of rows, in float64.

        Unlike those of `independent`, the means are not kept away from those of constant
        features. `mean` is as from `mean_of_rows`, `square` the mean of the squares of the
        encoded values, which only kinds with variances ask for.
        """
        units = self.independent(mean, np.float64)
        kept = units.mean(np.zeros((1, len(units))))[0]
        units.follow_mean(kept, mean)
        return units

    def log_ratio_to(self, base, v) -> np.ndarray:
        """Return the log-ratio of these units to `base`, up to a constant, per row."""
        return self.minus_energy(v) - base.minus_energy(v)

    def sample_between(self, base, x, beta, generators):
        """Replace the input `x` with values drawn at inverse temperature `beta`, in place.

        The energy is ``(1 - beta) E_base + beta (E - x v)``. `beta` is a number or a column
        with one value per row. `generators` yields pairs of a slice of rows and the
        generator used to draw them.
        """
        x *= beta
        x += beta * (self.bias - base.bias) + base.bias
        unbiased = self.map(np.zeros_like)
        for rows, rng in generators:
            unbiased.sample(x[rows], rng, x[rows])

    # Couplings of columns -------------------------------------------------------------

    def effects(self, x) -> dict[int, np.ndarray]:
        """Return what each state of the columns of the data adds to ``v @ x``.

        The keys are the columns, and the arrays have the shape (n_states, x.shape[1]). Real
        columns have two states, a standard deviation below and above the mean.
        """
        return {}

    def coordinates(self, v) -> dict[int, np.ndarray]:
        """Return factors whose products with `effects` sum to those of encoded rows.

        The keys are the columns, and the arrays have the shape (n_rows, n_states). The
        state of a row has the factor 1, and others have 0.
        """
        return self.probabilities(v)

    @property
    def coefficients(self) -> np.ndarray:
        """Coefficients of v in the negative energy."""
        return self.bias

    @property
    def precision(self) -> np.ndarray | None:
        """Precision matrix of standardized columns given the hidden units.

        None if columns are independent given these. A column without such a part has 0.
        """
        return None

    # Attributes of an estimator -------------------------------------------------------

    # Names of the attributes that a model of these units needs in addition to
    # `components_`, `intercept_visible_` and `intercept_hidden_`.
    required_attributes: ClassVar[tuple[str, ...]] = ()

    # Names of attributes that some models of an estimator have, and others have not.
    optional_attributes: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def kind_of(cls, rbm) -> "type[VisibleUnits]":
        """Return the kind of units of an estimator: this one, or a variant of it."""
        return cls

    def to_attributes(self, weights, hidden_bias) -> dict[str, np.ndarray]:
        """Return copies of all parameters of a model, as the attributes of an estimator."""
        return {
            "components_": weights.copy().T,
            "intercept_visible_": self.bias.copy(),
            "intercept_hidden_": hidden_bias.copy(),
        }

    @classmethod
    def from_attributes(cls, rbm, components, visible_bias, hidden_bias):
        """Return weights, units and hidden bias of the model of an estimator.

        The shapes of the three arrays fit together. Others are taken from `rbm`.
        """
        dtype = np.result_type(np.float32, components, visible_bias, hidden_bias)
        arrays = components.T, visible_bias, hidden_bias
        weights, visible_bias, hidden_bias = (
            _binary_rows.in_order(np.asarray(array, dtype)) for array in arrays
        )
        return weights, cls(visible_bias), hidden_bias

    def with_attributes(self, rbm, components, visible_bias, hidden_bias):
        """Return what `from_attributes` does, for units like these.

        Kinds that have arrays which are not among the attributes override this.
        """
        return type(self).from_attributes(rbm, components, visible_bias, hidden_bias)

    def to_plain(self) -> dict[str, Any]:
        """Return these units as a dict of arrays, numbers, strings, lists and dicts."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @classmethod
    def from_plain(cls, plain) -> Self:
        """Return the units of such a dict."""
        return cls(**plain)

    def data_attributes(self, mean) -> dict[str, np.ndarray]:
        """Return the fitted attributes that describe the data, given `mean_of_rows`."""
        return {"visible_mean_": mean}
