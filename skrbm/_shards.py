"""The rows that are trained on in rounds: a survey of all blocks, and their shards.

An executor, see ``_executors``, owns the blocks of the data. What a block gives depends on
the block and the seed, but not on where and how often it is read.

This module does not depend on scikit-learn.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np

from skrbm._data import DataSet, Ranges, Summary
from skrbm._gaps import mean_of_observed, places_of_gaps
from skrbm._random import generator

# Number of rows from which the variances of the features are estimated.
SAMPLE_SIZE = 500
# What random numbers are used for, as a part of their keys.
CHAINS, STEPS, ROWS, PORTIONS, HELD_OUT = range(5)


# First pass over the data ----------------------------------------------------------------


class Reading(NamedTuple):
    """How the blocks of the data are read.

    Attributes
    ----------
    n_sampled : float
        Average number of rows to sample per block; each block gives at least one.
    held_out : float
        Fraction of the rows of each block to hold out.
    most_held_out : float
        Largest mean number of rows to hold out from a block.
    seed : int
        Seed of the choice of held-out rows.
    clip : callable, default=None
        What encoded rows are clipped by before they are counted.
    moments : bool, default=False
        Whether to compute the moments of the columns.
    encoder : object, default=None
        What rows are encoded by.
    """

    n_sampled: float
    held_out: float
    most_held_out: float
    seed: int
    clip: Callable | None = None
    moments: bool = False
    encoder: Any = None

    def split(self, data, block):
        """Return the held-out rows of a block, and its training rows."""
        data = data.encode(self.encoder)
        if not self.held_out:
            return data.select(np.arange(0)), data
        mean = min(self.held_out * len(data), self.most_held_out)
        n = rounded(mean, block)
        return data.split(n, generator(self.seed, HELD_OUT, block))


def rounded(mean, block):
    """Round a number up or down, so that the sum over blocks 0 to i is rounded up."""
    before, after = (math.ceil(round(mean * n, 6)) for n in (block, block + 1))
    return after - before


class Moments(NamedTuple):
    """Sum of weights, weighted mean of each column, and sum of squared distances to it.

    The weights are those of each column if some cells are missing.
    """

    weight: float | np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def merge(cls, parts) -> Self:
        """Return the moments of all rows.

        Chan, T. F., Golub, G. H. and LeVeque, R. J. (1983). Algorithms for computing the
        sample variance: analysis and recommendations. The American Statistician, 37(3),
        242-247.
        """
        weight = sum(part.weight for part in parts)
        if not np.any(weight):
            return parts[0]
        divisor = np.where(weight == 0, 1.0, weight)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = sum(part.weight / divisor * part.mean for part in parts)
            squares = sum(
                part.squares + part.weight * np.square(part.mean - mean) for part in parts
            )
        return cls(weight, mean, squares)

    def scaled(self, scale) -> Self:
        """Return the moments of rows whose weights are `scale` times as large."""
        return type(self)(scale * self.weight, self.mean, scale * self.squares)


@dataclasses.dataclass
class Survey:
    """What has to be known of the data before training.

    Attributes
    ----------
    summary : Summary
        Range of all values.
    n_rows : list of int
        Number of training rows of each block, without those of weight 0.
    largest_weight, weight_sum, weight_root_sum : float
        Largest weight of a training row, sum of the weights divided by the largest one,
        and of the roots of these.
    visible_sum, observed : float64 ndarray of shape (n_encoded,)
        Sums of the encoded training rows, times their weights, divided by the largest
        weight, and of the weights, as from `DataSet.sums`.
    moments : Moments or None
        Moments of the training rows, with weights divided by the largest weight.
    samples, held_out : list of DataSet
        Some training rows of each block, weighted by what they stand for, and the held-out
        rows of each block. Blocks without any are left out.
    places : list of tuples
        The `places_of_gaps` in the training rows of each block.
    """

    summary: Summary
    n_rows: list
    largest_weight: float
    weight_sum: float
    weight_root_sum: float
    visible_sum: np.ndarray
    observed: np.ndarray
    moments: Moments | None
    samples: list
    held_out: list
    places: list

    @property
    def mean_weight(self):
        """Mean weight of the training rows."""
        return self.largest_weight * (self.weight_sum / sum(self.n_rows))

    @classmethod
    def merge(cls, surveys) -> Self:
        summaries = [survey.summary for survey in surveys]
        largest = max(survey.largest_weight for survey in surveys)
        scales = [survey.largest_weight / (largest or 1.0) for survey in surveys]

        def total(name, power=1):
            pairs = zip(scales, surveys, strict=True)
            return sum(scale**power * getattr(survey, name) for scale, survey in pairs)

        moments = None
        if surveys[0].moments is not None:
            pairs = zip(surveys, scales, strict=True)
            moments = Moments.merge([found.moments.scaled(scale) for found, scale in pairs])
        return cls(
            summary=Summary.merge(summaries),
            n_rows=[n for survey in surveys for n in survey.n_rows],
            largest_weight=largest,
            weight_sum=total("weight_sum"),
            weight_root_sum=total("weight_root_sum", 0.5),
            visible_sum=total("visible_sum"),
            observed=total("observed"),
            moments=moments,
            samples=[
                DataSet(data.X, row_weights=scale * data.row_weights)
                for scale, survey in zip(scales, surveys, strict=True)
                for data in survey.samples
            ],
            held_out=[data for survey in surveys for data in survey.held_out],
            places=[places for survey in surveys for places in survey.places],
        )


def survey(reading, block, data_sets):
    """Return the `Survey` of one block."""
    (data,) = data_sets
    held_out, training = reading.split(data, block)
    largest, shares = _shares(training)
    visible_sum, observed = training.sums(shares, reading.clip)
    found = Survey(
        summary=data.summary,
        n_rows=[len(training)],
        largest_weight=largest,
        weight_sum=float(shares.sum()),
        weight_root_sum=float(np.sqrt(shares).sum()),
        visible_sum=visible_sum,
        observed=observed,
        moments=_moments(training, shares, observed) if reading.moments else None,
        samples=[],
        held_out=[DataSet.stack([held_out])] if len(held_out) else [],
        places=[_places(training)],
    )
    if reading.n_sampled and len(training):
        few, parts = training.draw(max(1, rounded(reading.n_sampled, block)))
        rows = DataSet.stack([few]).X
        found.samples.append(DataSet(rows, row_weights=parts * found.weight_sum))
    return found


def _places(data):
    """Return the places of gaps, without a look at each row where there are none."""
    if data.has_gaps:
        return places_of_gaps(data)
    return np.zeros(len(data) + 1, dtype=np.int64), ""


def _shares(data):
    """Return the largest weight of a row, and all weights divided by it."""
    weights = np.ones(len(data)) if data.weights is None else data.weights
    largest = float(weights.max(initial=0.0))
    return largest, weights / (largest or 1.0)


def _moments(data, weights, observed):
    if not weights.any():
        nothing = np.zeros(data.n_encoded)
        return Moments(0.0, nothing, nothing)
    total = observed if data.has_gaps else float(weights.sum())
    mean, variance = data.moments()
    with np.errstate(over="ignore"):
        return Moments(total, mean, total * variance)


def encoded_sum(reading, block, data_sets):
    """Return largest weight and sums of the encoded training rows of one block."""
    (data,) = data_sets
    _, training = reading.split(data, block)
    largest, shares = _shares(training)
    return largest, np.stack(training.sums(shares, reading.clip))


def merge_sums(parts):
    """Return the largest weight and the sums of all rows, relative to it."""
    largest = max(largest for largest, _ in parts)
    return largest, sum(part / (largest or 1.0) * total for part, total in parts)


def count(found, state, weight=1.0, *, follow_mean=True):
    """Add the surveyed rows to the visible mean, and shift the visible units accordingly.

    A row of this `weight` counts as one. Without `follow_mean`, nothing is shifted.
    """
    counts, scale = state.counts, found.largest_weight / weight
    before, total = state.visible_mean, found.visible_sum
    if not found.summary.complete:
        total = found.weight_sum * mean_of_observed(total, found.observed, before)
    counts.visible_sum += scale * total
    counts.n_rows_seen += scale * found.weight_sum
    if not follow_mean:
        return
    for model in filter(None, (state.model, state.learned.average)):
        model.visible.follow_mean(before, state.visible_mean)


class Sample(DataSet):
    """A sample of rows, weighted by what they stand for, in place of all rows.

    There are at most `SAMPLE_SIZE` rows, also from more blocks.
    """

    mean_weight = 1.0  # all weights are divided by the mean

    def __init__(self, found):
        rows = DataSet.stack(found.samples)
        few, shares = rows.draw(SAMPLE_SIZE)
        few = DataSet.stack([few])
        super().__init__(few.X, row_weights=shares * rows.row_weights.sum())
        self.summary = found.summary
        self._found = found

    @property
    def effective_size(self):
        return self._found.weight_root_sum**2 / self._found.weight_sum

    def moments(self):
        """Return the weighted mean and variance of each column of all rows."""
        weight, mean, squares = self._found.moments
        return mean, squares / np.where(weight == 0, 1.0, weight)


def survey_blocks(executor, n_blocks, reading) -> Survey:
    """Return the survey of all blocks."""
    calls = [((block,), [block]) for block in range(n_blocks)]
    found = executor.reduce(survey, reading, calls, Survey.merge, keep=False)
    _refuse_mixture(found)
    return found


def _refuse_mixture(found):
    """Raise an error if some blocks are sparse and others are not."""
    blocks = [block for block, n_rows in enumerate(found.n_rows) if n_rows]
    kinds = ["sparse" if data.is_sparse else "dense" for data in found.samples]
    for block, kind in zip(blocks, kinds, strict=True):
        if kind != kinds[0]:
            raise ValueError(
                f"Block {block} of X is {kind}, but block {blocks[0]} is {kinds[0]} "
                "(counted from 0). Make all blocks sparse, for example by "
                "X.map_blocks(scipy.sparse.csr_array), or all of them dense."
            )


def survey_encoded(executor, n_blocks, reading):
    """Return the sums of the encoded training rows, as in a `Survey`.

    This takes a pass over the data of its own, because the encoder depends on the survey.
    """
    calls = [((block,), [block]) for block in range(n_blocks)]
    return executor.reduce(encoded_sum, reading, calls, merge_sums, keep=False)[1]


def survey_ranges(executor, n_blocks):
    """Return the `Ranges` of the features in all blocks."""
    calls = [((), [block]) for block in range(n_blocks)]
    return executor.reduce(_ranges, None, calls, Ranges.merge, keep=False)


def _ranges(shared, data_sets):
    (data,) = data_sets
    return data.ranges()


# Shards ----------------------------------------------------------------------------------


class Portion(NamedTuple):
    """Every `n_parts`-th training row of a block, from row `part` on."""

    block: int
    part: int
    n_parts: int
    n_rows: int


class Slice(NamedTuple):
    """Consecutive rows of a portion, after it was shuffled."""

    portion: Portion
    start: int
    stop: int


def make_shards(n_rows, n_shards):
    """Distribute blocks among shards.

    Parameters
    ----------
    n_rows : list of int
        Number of training rows of each block.
    n_shards : int
        Number of shards.

    Returns
    -------
    shards : list of lists of Portion
        Neighboring blocks go to different shards. If there are more shards than blocks,
        the blocks are divided. Shards may be empty.
    """
    n_parts = -(-n_shards // len(n_rows))
    portions = [
        Portion(block, part, n_parts, len(range(part, n, n_parts)))
        for part in range(n_parts)
        for block, n in enumerate(n_rows)
    ]
    shards = [portions[i::n_shards] for i in range(n_shards)]
    return [[portion for portion in shard if portion.n_rows] for shard in shards]


def size(shard):
    return sum(portion.n_rows for portion in shard)


def slices(portions, start, stop):
    """Return the slices of consecutive portions that make up these rows of a shard."""
    found = []
    for portion in portions:
        first, last = max(start, 0), min(stop, portion.n_rows)
        if first < last:
            found.append(Slice(portion, first, last))
        start, stop = start - portion.n_rows, stop - portion.n_rows
    return found
