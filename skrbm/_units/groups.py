"""Units in groups. Each group stands for one column with a few states."""

import abc
import dataclasses
import functools
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from skrbm import _binary_rows, _kernels
from skrbm._units.base import ConditionalStates, Encoder, VisibleUnits
from skrbm._units.bernoulli import INITIAL_HIDDEN_BIAS
from skrbm._units.softplus import (
    SoftplusChanges,
    exponent_limit,
    on_and_off,
    sums_of_softplus,
)

# Share of the uniform distribution in the base of annealing, because importance weights
# cannot correct for states that the base never takes.
UNIFORM_SHARE = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class GroupUnits(VisibleUnits):
    """Base class of units in groups. Each group stands for one column of the data.

    The state of a column, a code from 0 on, decides which units of its group are on. With
    these as a row of 0 and 1 for each state, the energy is ``-b . v`` as of independent
    units, but there are no other rows. A subclass says which code this is.

    Attributes
    ----------
    bias : ndarray of shape (n_encoded,)
        Biases of the units.
    sizes : int ndarray of shape (n_features,)
        Number of units of each group.
    """

    sizes: np.ndarray

    rows_are_bits = True
    score = "pseudo_log_likelihood"
    # Whether it is always the first units of a group that are on, or exactly one of them.
    thermometer: ClassVar[bool]

    def __getstate__(self):
        """Return the fields alone: what was computed from them can be much larger."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    # The code -------------------------------------------------------------------------

    @staticmethod
    @abc.abstractmethod
    def sizes_of(n_states) -> np.ndarray:
        """Return the number of units for columns with these numbers of states."""

    @staticmethod
    @abc.abstractmethod
    def by_state(x) -> np.ndarray:
        """Return the sums of values of the units of a group that are on in each state.

        Units and states are the last axis.
        """

    @staticmethod
    @abc.abstractmethod
    def means_if_even(number, n_states) -> np.ndarray:
        """Return means of units, by their number in the group, if all states are alike."""

    @staticmethod
    @abc.abstractmethod
    def shares(v) -> np.ndarray:
        """Return the probabilities of the states of a group, given its states or means."""

    @property
    @abc.abstractmethod
    def n_states(self) -> np.ndarray:
        """Number of states of each group."""

    @abc.abstractmethod
    def all_shares(self, mean) -> np.ndarray:
        """Return the probabilities of the states of all groups, given means of units."""

    @abc.abstractmethod
    def biases_of(self, log_shares) -> np.ndarray:
        """Return the biases of groups whose states have these log-probabilities."""

    @functools.cached_property
    def starts(self):
        """First unit of each group, followed by the number of units."""
        return np.append(0, np.cumsum(self.sizes, dtype=np.int64))

    @functools.cached_property
    def groups(self):
        """Slices of the units of each group."""
        starts = self.starts.tolist()
        return list(map(slice, starts[:-1], starts[1:]))

    # Columns and rows -----------------------------------------------------------------

    @property
    def n_features(self):
        return len(self.sizes)

    @property
    def encoder(self):
        return GroupEncoder(self.sizes, np.full(self.n_features, self.thermometer))

    def decode(self, v):
        """Return the most probable state of each column, given states or means."""
        states = [self.shares(v[..., group]).argmax(axis=-1) for group in self.groups]
        return np.stack(states, axis=-1).astype(v.dtype)

    def probabilities(self, v):
        return {i: self.shares(v[:, group]) for i, group in enumerate(self.groups)}

    # Given the hidden units -----------------------------------------------------------

    def mean(self, x):
        x += self.bias
        return _binary_rows.group_means(x, self.starts, self.thermometer)

    def sample(self, x, rng, out, units=slice(None)):
        x += self.bias
        return _binary_rows.draw_groups(x, self.starts, self.thermometer, rng, out)

    def blocks(self):
        """Return the block of all units, since rows are not sparse."""
        return [slice(0, len(self))]

    def constant_input(self, base):
        return self.bias if base is None else self.bias - base.bias

    def from_inputs(self, x, *, base=None, **options):
        base_bias = None if base is None else base.bias
        _binary_rows.groups(
            x, self.starts, thermometer=self.thermometer, base=base_bias, **options
        )

    def log_normalizers(self, x):
        x = x + self.bias
        sums = [_kernels.log_sums(self.by_state(x[:, group])) for group in self.groups]
        return np.stack(sums, axis=1)

    def log_normalizer_changes(self, x, changes):
        """Return how the log normalizer of each row of `x` changes with each of `changes`.

        That of a group is the log of a sum over states, of the probability of the state at
        `x` times a factor that depends on the change: a product of matrices.
        """
        x, total = x + self.bias, np.zeros((len(x), len(changes)))
        for group in self.groups:
            logits = self.by_state(x[:, group])
            of_changes = self.by_state(changes[:, group])
            p = np.exp(logits - _kernels.log_sums(logits)[:, None])
            highest = of_changes.max(axis=1)
            factors = np.exp(of_changes - highest[:, None])
            total += np.log(p @ factors.T) + highest
        return total

    @property
    def largest_change(self):
        """Bound that keeps the factors of `log_normalizer_changes` and their sums normal.

        The change of a state is a sum of changes of up to as many units as a group has.
        """
        terms = self.sizes.max(initial=1) if self.thermometer else 1
        return exponent_limit(self.bias.dtype) / (2 * terms)

    def conditionals(self, v, hidden_input, weights, features):
        of_input = on_and_off(hidden_input)
        for number in features:
            group = self.groups[number]
            of_group = v[:, group].toarray() if sp.issparse(v) else v[:, group]
            part = of_group @ weights[group]
            changes = np.ascontiguousarray(self.by_state(weights[group].T).T)
            largest = 2 * float(np.abs(changes).max(initial=0.0))
            if largest < exponent_limit(weights.dtype):
                logits = SoftplusChanges.after(of_input, part, largest)(changes)
            else:
                logits = sums_of_softplus(hidden_input - part, changes).astype(np.float64)
            logits += self.by_state(self.bias[group])
            log_sums = _kernels.log_sums(logits)
            score = (self.shares(of_group) * logits).sum(axis=1) - log_sums
            logits -= log_sums[:, None]
            yield ConditionalStates(logits, score)

    def pseudo_log_likelihood(self, v, hidden_input, weights, columns=None, missing=None):
        """Return the pseudo-log-likelihood of each row, in nats, as float64.

        This is the sum over columns of the log-probability of the state of the column given
        all other columns. Where values are means of units, log-probabilities are averaged.
        If `columns` is given, the groups of these units are summed, and scaled up to all.
        Terms of `missing` values are left out.
        """
        some = np.arange(self.n_features)
        if columns is not None:
            some = np.unique(np.searchsorted(self.starts, columns, side="right") - 1)
        total = np.zeros(v.shape[0])
        conditionals = self.conditionals(v, hidden_input, weights, some)
        for first, (_, score) in zip(self.starts[some], conditionals, strict=True):
            total += score if missing is None else score * ~missing[:, first]
        return total * (self.n_features / len(some))

    # Learning, and paths to a model ---------------------------------------------------

    @classmethod
    def untrained(cls, data, dtype):
        """Return units for columns whose states are all codes up to the largest one."""
        return cls.with_states(data.ranges().high.astype(int) + 1, dtype)

    @classmethod
    def with_states(cls, n_states, dtype):
        """Return units without biases for columns with these numbers of states."""
        sizes = cls.sizes_of(np.asarray(n_states, dtype=np.int64))
        return cls(np.zeros(sizes.sum(), dtype=dtype), sizes)

    def first_weights(self, n_components, rng):
        """Return weights, bias and mean of the hidden units before the first step.

        Weights are normal with variance ``1 / n_features``, in the gauge of the units.
        """
        weights = rng.standard_normal((len(self), n_components)) / np.sqrt(self.n_features)
        hidden_mean = 1 / (1 + np.exp(-INITIAL_HIDDEN_BIAS))
        bias = np.full(n_components, INITIAL_HIDDEN_BIAS)
        return self._in_gauge(weights), bias, hidden_mean

    def _in_gauge(self, weights):
        """Return weights that stand for the same model, up to the hidden biases."""
        return weights

    def mean_of_rows(self, total, n_rows):
        """Return the mean of `n_rows` rows and one imaginary row, given their sum.

        All states of the imaginary row are equally probable. Therefore, no state has
        probability 0, and states that have not occurred yet are assumed to be rare.
        """
        return (total + self.even) / (n_rows + 1)

    @functools.cached_property
    def even(self):
        """Means of the units if all states of a column are equally probable."""
        first = np.repeat(self.starts[:-1], self.sizes)
        return self.means_if_even(
            np.arange(len(self)) - first, np.repeat(self.n_states, self.sizes)
        )

    def follow_mean(self, before, after):
        """Shift the bias in place by the change of the log-probabilities of the states."""
        bias = self.bias
        bias += self._bias_of(after) - self._bias_of(before)

    def independent(self, mean, dtype):
        mean = np.broadcast_to(np.asarray(mean, np.float64), len(self))
        return dataclasses.replace(
            self, bias=self._bias_of(mean, UNIFORM_SHARE).astype(dtype)
        )

    def _bias_of(self, mean, uniform_share=0.0):
        """Return the biases of independent groups with these means of the units.

        The states are mixed with the uniform distribution, which has this share.
        """
        shares = np.maximum(self.all_shares(mean), 1e-12)
        shares /= self._per_state(np.add.reduceat(shares, self._first_states))
        shares *= 1 - uniform_share
        shares += uniform_share / self._per_state(self.n_states)
        return self.biases_of(np.log(shares))

    @functools.cached_property
    def _first_states(self):
        """Position of the first state of each group among the states of all groups."""
        return np.append(0, np.cumsum(self.n_states)[:-1])

    def _per_state(self, values):
        """Repeat a value of each group for all of its states."""
        return np.repeat(values, self.n_states)

    def sample_between(self, base, x, beta, generators):
        x += self.bias - base.bias
        x *= beta
        unbiased = self.with_trained(bias=base.bias)
        for rows, rng in generators:
            unbiased.sample(x[rows], rng, x[rows])

    # Couplings of columns -------------------------------------------------------------

    def effects(self, x):
        return {i: self.by_state(x[group].T).T for i, group in enumerate(self.groups)}

    # Attributes of an estimator -------------------------------------------------------

    def with_attributes(self, rbm, components, visible_bias, hidden_bias):
        weights = np.ascontiguousarray(components.T)
        return weights, dataclasses.replace(self, bias=visible_bias), hidden_bias


class GroupEncoder(Encoder):
    """Encoder of columns of codes by the units of groups.

    A unit is on if the code is in its range. The code is the sum of the values of the units
    of the group, each times a factor.

    Parameters
    ----------
    sizes : int ndarray of shape (n_groups,)
        Number of units of each group.
    thermometer : bool ndarray of shape (n_groups,)
        Whether the group is a thermometer. A bit is one, of a single unit.
    columns : int ndarray of shape (n_groups,), default=None
        The column of the rows that each group encodes. None: they are in order. Compressed
        rows have these columns only, in the order of the groups.
    """

    def __init__(self, sizes, thermometer, columns=None):
        self.columns = np.arange(len(sizes)) if columns is None else columns
        self.sizes, self.thermometer = sizes, thermometer
        self.n_encoded, self._starts = sizes.sum(), np.cumsum(sizes) - sizes
        self.feature_of = np.repeat(self.columns, sizes)
        within = np.arange(self.n_encoded) - np.repeat(self._starts, sizes)
        thermometer = np.repeat(thermometer, sizes)
        self._lowest = (within + thermometer).astype(np.float32)
        self._highest = np.where(thermometer, np.inf, within).astype(np.float32)
        self._factors = np.where(thermometer, 1, within).astype(np.float32)

    @classmethod
    def of_bits(cls, n):
        """Return the encoder of columns that are bits."""
        return cls(np.ones(n, dtype=int), np.ones(n, dtype=bool))

    @classmethod
    def join(cls, encoders, columns):
        """Return the encoder of the columns of several, given which these are."""
        return cls(
            np.concatenate([np.empty(0, int), *(each.sizes for each in encoders)]),
            np.concatenate([np.empty(0, bool), *(each.thermometer for each in encoders)]),
            np.concatenate([np.empty(0, int), *columns]),
        )

    def expand(self, values, out):
        codes = values.take(self.feature_of, axis=1)
        np.logical_and(codes >= self._lowest, codes <= self._highest, out=out)

    def compress(self, v):
        return np.add.reduceat(v * self._factors, self._starts, axis=1)

    def encode(self, rows, out):
        self.expand(rows, out)
