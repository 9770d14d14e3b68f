"""How a training on shards begins, for any executor.

This replaces the parts of `_fitting` that have the rows in memory. The rest, how a training
runs and ends, is the same.
"""

import contextlib
import functools
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skrbm._data import DataSet
from skrbm._fitting import Call, Fit, PartialFit
from skrbm._gaps import STEPS_TO_LEARN, Gaps, join_places, mean_of_observed
from skrbm._record import Record
from skrbm._rounds import (
    Rounds,
    RoundsTraining,
    first_shared_state,
    next_shared_state,
)
from skrbm._shards import (
    SAMPLE_SIZE,
    Reading,
    Sample,
    count,
    survey_blocks,
    survey_encoded,
    survey_ranges,
)
from skrbm._step import is_sound

# Number of successive steps below which models of shards are clearly worse.
FEW_STEPS = 5000
# Largest number of rows that are held out, since they are scored in one place.
_MOST_HELD_OUT = 10_000


class _OnShards(Call):
    """What replaces the parts of `Call` that have the rows in memory.

    As a context manager, it closes the executor that it opens.

    Parameters
    ----------
    parallel : ParallelRBM
        The meta-estimator, which opens the executor.
    arguments, options
        As for `Fit` or `PartialFit`.
    """

    def __init__(self, parallel, *arguments, **options):
        super().__init__(*arguments, **options)
        self.parallel, self._stack = parallel, contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return self._stack.__exit__(*error)

    def survey(self, n_shards, held_out=0.0):
        """Open the executor, and return the survey of its blocks and how they are read."""
        rbm = self.rbm
        executor = self.executor = self.parallel._open(
            rbm, self._stack, self.X, self.sample_weight, self.is_new, n_shards
        )
        reading = Reading(
            n_sampled=SAMPLE_SIZE / executor.n_blocks,
            held_out=held_out,
            most_held_out=_MOST_HELD_OUT / executor.n_blocks,
            seed=int(rbm._split_seed),
            clip=self.clip,
            moments=rbm._units.needs_moments,
        )
        found = survey_blocks(executor, executor.n_blocks, reading)
        if not sum(found.n_rows):
            raise ValueError(
                "There are no rows to train on. Pass some rows with a weight "
                "greater than 0, and hold out fewer of them for early stopping."
            )
        if held_out and not found.held_out:
            raise ValueError(
                f"With validation_fraction={held_out:g}, no rows of {executor.n_blocks} "
                "blocks are held out. Pass more rows, fewer blocks, or a larger fraction."
            )
        sample = Sample(found)
        ranges = functools.partial(survey_ranges, executor, executor.n_blocks)
        self.check_values(sample, ranges)
        if self.needs_all_features:
            self.refuse_unseen(np.flatnonzero(found.observed == 0))
        return found, sample, reading

    def encode(self, found, sample, reading, units):
        """Return the encoded sample, and how blocks of encoded rows are read."""
        if units.encoder is None:
            return sample, reading
        reading = reading._replace(encoder=units.encoder)
        sums = survey_encoded(self.executor, self.executor.n_blocks, reading)
        found.visible_sum, found.observed = sums
        return sample.encode(units.encoder), reading

    def rounds(self, found, reading, n_local_steps, **options):
        """Return the rounds on the shards, and set the attributes that describe them."""
        parallel, n_shards = self.parallel, self.executor.n_shards
        rounds = Rounds(
            self.executor,
            found,
            reading,
            n_shards,
            self.rbm.batch_size,
            n_local_steps,
            **options,
        )
        parallel.n_shards_ = n_shards
        parallel.n_local_steps_ = rounds.n_local_steps
        return rounds

    def gaps(self, found, state):
        """Return the values of missing cells in the training rows of all blocks."""
        if found.summary.complete:
            return None
        mean = mean_of_observed(found.visible_sum, found.observed, state.visible_mean)
        return Gaps.at(join_places(found.places), mean.astype(state.model.dtype))

    def state(self, sample, units, settings, rounds, seed):
        """Return the state to train: a new one, or the continued one if `seed` is None."""
        if seed is None:
            return next_shared_state(self.rbm._learning, settings, rounds.sizes)
        untrained = self.first_state(sample, settings, units, seed)
        return first_shared_state(untrained, settings, rounds.sizes, seed)


class FitOnShards(_OnShards, Fit):
    """One call of `fit`, or of `resume`, on shards of the rows."""

    def begin(self):
        rbm, saved = self.rbm, self.saved
        seed = self.draw_seeds() if self.is_new else None
        n_shards = self.parallel.n_shards if saved is None else len(saved.state.solvers)
        fraction = rbm.validation_fraction if rbm.early_stopping else 0.0
        found, sample, reading = self.survey(n_shards, fraction)
        units = self.units(sample)
        encoded, reading = self.encode(found, sample, reading, units)
        n_local_steps = self.parallel.n_local_steps
        n_epochs = self.n_epochs(sum(found.n_rows), encoded.n_encoded)
        rounds = self.rounds(
            found,
            reading,
            n_local_steps if saved is None else saved.n_local_steps,
            n_epochs=n_epochs,
            mean_weight=found.mean_weight,
        )
        validation = None
        if rbm.early_stopping:
            held_out = DataSet.stack(found.held_out)
            validation = self.validation(held_out.encode(units.encoder))
        if saved is not None:
            saved.attach(encoded, validation)
            self.begun(self.gaps(found, saved.state))
            saved.rounds = rounds
            return saved
        settings = self.settings(encoded, units)
        state = self.state(sample, units, settings, rounds, seed)
        state.learned.average = None  # each call of fit starts a new one
        state.gaps = self.begun(self.gaps(found, state))
        if state.counts.n_rows_seen == 0:
            follow_mean = not self.is_set_by_hand
            count(found, state, found.mean_weight, follow_mean=follow_mean)
        self._warn_of_few_steps(n_epochs, sum(found.n_rows), max(rounds.sizes))
        n_rounds = n_epochs * rounds.per_epoch
        record = Record(
            encoded,
            state,
            n_rounds,
            validation,
            binarize=settings.binarize,
            per_epoch=rounds.per_epoch,
        )
        return RoundsTraining(encoded, state, record, settings, n_rounds, rounds)

    def _warn_of_few_steps(self, n_epochs, n_rows, n_rows_of_shard):
        """Warn if one process would take enough successive steps, but shards do not."""
        size = self.rbm.batch_size
        n_steps, per_epoch = -(-n_rows // size), -(-n_rows_of_shard // size)
        n_steps *= n_epochs
        given, enough = self.rbm.n_iter != "auto", -(-FEW_STEPS // per_epoch)
        if given and n_epochs < enough and n_steps >= FEW_STEPS:
            warnings.warn(
                f"Each of {self.executor.n_shards} shards takes only "
                f"{n_epochs * per_epoch} successive steps, where one process would take "
                f"{n_steps}. The model may be worse by some nats. Set n_iter={enough} or "
                "more, or use fewer shards. It makes little difference after how many "
                "of these steps shards exchange the model (n_local_steps).",
                ConvergenceWarning,
            )


class PartialFitOnShards(_OnShards, PartialFit):
    """One call of `partial_fit` on shards of the rows."""

    def begin(self):
        seed = self.draw_seeds() if self.is_new else None
        found, sample, reading = self.survey(self.parallel.n_shards)
        self._found, units = found, self.units(sample)
        encoded, reading = self.encode(found, sample, reading, units)
        self._rounds = self.rounds(found, reading, self.parallel.n_local_steps)
        settings = self.settings(encoded, units)
        state = self.state(sample, units, settings, self._rounds, seed)
        state.gaps = self.gaps(found, state)
        return encoded, settings, state

    def train(self, state, settings, data):
        count(self._found, state, follow_mean=not self.is_set_by_hand)
        run = self._rounds.run(
            state,
            settings,
            n_rounds=self._rounds.per_epoch,
            schedule="constant",
            shuffle=False,
            steps_of_gaps=STEPS_TO_LEARN,
        )
        sound = all(is_sound(state.model) for _ in run)
        state.gaps = None
        return sound
