"""How a training begins, runs and ends, and what it tells the user.

There is one class for a call of `fit` and one for a call of `partial_fit`. Both work on the
parameters of an estimator and set its fitted attributes. Where the rows are not in memory,
subclasses begin in another way.
"""

import abc
import contextlib
import copy
import dataclasses
import enum
import functools
import math
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skrbm import _inputs, _rules
from skrbm._attributes import attributes_of, model_of
from skrbm._compat.sklearn import CALLBACK_STATE
from skrbm._data import DataSet, with_rows_together
from skrbm._gaps import Gaps, filled, mean_of_observed, places_of_gaps
from skrbm._model import RBM
from skrbm._random import draw_seeds, generator
from skrbm._record import Record, Validation
from skrbm._step import Settings, TrainingState, first_state, is_sound, next_state
from skrbm._training import Training, train_on_chunk
from skrbm._trial import FIRST, best_length, hold_out
from skrbm._units import VisibleUnits
from skrbm._verdict import judge

# Loss of pseudo-log-likelihood during training, in nats per feature, that triggers a
# warning.
_LARGEST_SHORTFALL = 0.1
# Minimum number of updates before a verdict. A verdict takes up to two fifths of the time
# of so many updates, and a smaller part of the time of more.
_UPDATES_FOR_VERDICT = 5_000


class Outcome(enum.Enum):
    """How a training ended."""

    COMPLETED = enum.auto()
    INTERRUPTED = enum.auto()
    DIVERGED = enum.auto()
    WORSE = enum.auto()
    UNSOUND = enum.auto()


@contextlib.contextmanager
def unchanged_on_error(estimator):
    """Restore the attributes of an estimator if the block raises an exception."""
    before = vars(estimator).copy()
    try:
        yield
    except BaseException:
        after = vars(estimator)
        before |= {name: after[name] for name in CALLBACK_STATE if name in after}
        after.clear()
        after.update(before)
        raise


class Call(abc.ABC):
    """What a call of `fit` and one of `partial_fit` have in common.

    Parameters
    ----------
    rbm : BaseRBM
        The estimator to train.
    X, sample_weight : as for `fit`
        The rows.
    given : object, default=None
        The rows as the user passed them, if `X` was made from these.
    **check : dict
        Options of the check of their values, see `VisibleUnits.check`.

    Attributes
    ----------
    warm : bool
        Whether to go on from the model of the estimator, if it has one.
    saved : Training or None
        The training to resume.
    """

    warm = True
    saved: Any = None

    def __init__(self, rbm, X, sample_weight, *, given=None, **check):
        self.rbm, self.X, self.sample_weight, self.check = rbm, X, sample_weight, check
        self.given = X if given is None else given

    def read(self, reset: bool) -> DataSet:
        """Return the validated rows as a data set, with their weights."""
        options = {"reset": reset, "sample_weight": self.sample_weight, "allow_nan": True}
        data = DataSet(with_rows_together(self.rbm._validate(self.X, **options)))
        if self.sample_weight is not None:
            data = data.weigh(_inputs.check_weights(self.sample_weight, data.X))
        self.check_values(data, data.ranges)
        return data

    def check_values(self, data, ranges):
        """Check whether the visible units can have the values of the rows.

        `ranges` returns the ranges of the features in all rows. `data` may be a sample of
        the rows.
        """
        rbm = self.rbm
        options = {"clips": rbm._binarizes, "when": "during training, "}
        options |= {"refuse_constant": True} | self.check
        names_of = functools.partial(_inputs.feature_names, rbm)
        if data.summary.low > data.summary.high:
            raise ValueError("All values of X are missing. At least one must be observed.")
        rbm._units.check(lambda: data.summary, ranges, self.given, names_of, **options)

    def refuse_unseen(self, unseen):
        """Raise an error if there are features without any value in the training rows."""
        if len(unseen):
            names = self.rbm._features(unseen)
            raise ValueError(
                f"X has no observed values of {names} in the rows to train on. Drop "
                "features without observed values, or pass more rows."
            )

    @property
    def needs_all_features(self) -> bool:
        """Whether each feature needs a value in the training rows."""
        return self.is_new and self.rbm._units.needs_moments

    def gaps(self, data: DataSet, state: TrainingState) -> Gaps | None:
        """Return the values of missing cells of encoded rows, not drawn yet."""
        if not data.has_gaps:
            return None
        total, observed = data.sums(clip=self.clip)
        mean = mean_of_observed(total, observed, state.visible_mean)
        places = places_of_gaps(data.select(None))
        return Gaps.at(places, mean.astype(state.model.dtype))

    def units(self, data: DataSet) -> VisibleUnits:
        """Return the visible units, by which the rows of the data set are encoded.

        These are untrained ones, unless there is a model to begin at or to continue.
        """
        rbm = self.rbm
        if self.saved is not None:
            return self.saved.state.model.visible
        if not self.is_new:
            return rbm._learning.model.visible
        if self.is_set_by_hand:
            model = model_of(rbm)
            _inputs.fitting_rows(model, data.X)
            return model.visible
        dtype = np.float64 if data.X.dtype == np.float64 else np.float32
        units = rbm._untrained(data, dtype)
        rbm._warn_of_units(units)
        return units

    def draw_seeds(self) -> int:
        """Return a seed for training, and store those of later draws and of the split."""
        rbm = self.rbm
        random_state = check_random_state(rbm.random_state)
        seeds = draw_seeds(3, random_state)
        seed, later, rbm._split_seed = seeds
        rbm.random_state_ = np.random.RandomState(later)
        return seed

    def settings(self, data: DataSet, units: VisibleUnits) -> Settings:
        """Return the settings for encoded rows, where `choose` gives values of "auto"."""
        rbm = self.rbm
        values = rbm._fixed_settings(data.summary)
        for name in Settings._fields:
            if name not in values:
                value = getattr(rbm, name)
                # A NumPy scalar would decide on the dtype of the arrays it multiplies.
                values[name] = float(value) if isinstance(value, np.floating) else value
        settings = Settings(**values)
        auto = [name for name, value in values.items() if value == "auto"]
        if not auto:
            return settings
        choices = self.choose(data, settings, units)
        chosen: dict[str, Any] = {name: choices[name] for name in auto}
        return settings._replace(**chosen)

    @abc.abstractmethod
    def choose(
        self, data: DataSet, settings: Settings, units: VisibleUnits
    ) -> dict[str, float]:
        """Return the values of "auto"."""

    def first_state(
        self, data: DataSet, settings: Settings, units: VisibleUnits, seed: int
    ) -> TrainingState:
        """Return the state of a training that begins, on rows that are not encoded yet."""
        n_components = self.rbm.n_components
        if not self.is_set_by_hand:
            return first_state(settings, units, len(data), n_components, seed)
        return state_at(model_of(self.rbm), data, settings, seed)

    def count_by_hand(self, encoded, state):
        """Count the rows, if training begins at parameters that the user has set.

        They are not counted in the first epoch, which would move these parameters.
        """
        if self.is_set_by_hand:
            self.count(encoded, state)

    def count(self, encoded, state):
        """Count all rows before the first step."""
        weights = np.ones(len(encoded)) if encoded.weights is None else encoded.weights
        total, observed = encoded.sums(clip=self.clip)
        if encoded.has_gaps:
            mean = mean_of_observed(total, observed, state.visible_mean)
            total = weights.sum() * mean
        state.counts.visible_sum += total
        state.counts.n_rows_seen += weights.sum()

    @property
    def clip(self):
        """What encoded rows are clipped by before they are counted, or None."""
        return self.rbm._units.clip if self.rbm._binarizes else None

    @property
    def is_new(self) -> bool:
        """Whether a training begins, and none is continued or resumed."""
        return self.saved is None and not (self.warm and hasattr(self.rbm, "_learning"))

    @property
    def is_set_by_hand(self) -> bool:
        """Whether it begins at parameters that the user has set."""
        return self.is_new and self.warm and hasattr(self.rbm, "components_")

    def check_can_continue(self):
        """Raise an error if the model to continue is none of this estimator."""
        rbm = self.rbm
        if self.is_set_by_hand:
            model = model_of(rbm)  # checks all shapes
        else:
            model = rbm._learning.model
            if not isinstance(model.visible, rbm._units):
                raise ValueError(
                    f"The model to continue was not trained by a {type(rbm).__name__}, but "
                    "by an estimator of other visible units. To train a new model, clone "
                    "the meta-estimator, or call fit with warm_start=False."
                )
            rbm._check_declared()
        found = model.visible.covariance_type
        if found is not None and found != rbm.covariance_type:
            raise ValueError(
                f"covariance_type is {rbm.covariance_type!r}, but the model to continue "
                f"has covariance_type={found!r}. Set this or, to train a new model, clone "
                "the estimator or call fit with warm_start=False."
            )
        n_components = len(model.hidden_bias)
        if rbm.n_components != n_components:
            raise ValueError(
                f"n_components is {rbm.n_components}, but the model to continue has "
                f"{n_components} components. Reset n_components or, to train a new model, "
                "clone the estimator or call fit with warm_start=False."
            )

    def warn_of_divergence(self, when, kept, data):
        """Warn that training diverged: `when`, and which model is `kept`."""
        rbm = self.rbm
        cause = f"learning_rate (currently {rbm.learning_rate_:.4g})"
        if rbm.weight_decay_:
            cause += f", or weight_decay (currently {rbm.weight_decay_:.3g})"
        if data.mean_weight > 2:
            cause += f", or sample_weight (on average {data.mean_weight:.3g})"
        warnings.warn(
            f"Training diverged {when}: a parameter was not finite, or exceeded "
            f"{rbm._units.largest_parameter:g} in absolute value. {kept} is kept. Lower "
            f"{cause}.",
            ConvergenceWarning,
        )


def state_at(model: RBM, data: DataSet, settings: Settings, seed: int) -> TrainingState:
    """Return the state of a training that begins at a given model.

    The chains start at rows of the data, unless training is on shards, which have chains of
    their own. The rows have yet to be counted.
    """
    data = data.encode(model.visible.encoder)
    state = first_state(settings, model.visible, len(data), len(model.hidden_bias), seed)
    few, shares = data.draw(500)
    v, _ = filled(model, model.visible.clip(few.copy_rows(model.dtype)))
    h = model.mean_hidden(v)
    state.learned.model = model.copy()
    state.learned.hidden_mean[...] = shares @ h
    rows = np.arange(len(state.solver.chains)) % len(h)
    state.solver.chains[...] = state.rng.random((len(rows), h.shape[1])) < h[rows]
    return state


class Fit(Call):
    """One call of `fit`, or of `resume`.

    Parameters
    ----------
    rbm, X, y, sample_weight : as for `fit`
    saved : Training, default=None
        The training to resume.
    **check : dict
        As for `Call`.

    Attributes
    ----------
    training : Training
        The training, once it has begun.
    outcome : Outcome
        How it ended.
    interrupted : bool
        Whether the user interrupted it, whatever the outcome.
    """

    def __init__(self, rbm, X, y=None, sample_weight=None, *, saved=None, **check):
        super().__init__(rbm, X, sample_weight, **check)
        self.y, self.saved, self.interrupted = y, saved, False
        self.warm = saved is None and rbm.warm_start and hasattr(rbm, "components_")

    def run(self):
        """Train the estimator, and set its fitted attributes."""
        if self.warm:
            self.check_can_continue()
        with unchanged_on_error(self.rbm):
            stale = ["validation_scores_", "verdict_", "log_partition_gap_"]
            if self.is_new and not self.is_set_by_hand:
                stale += self.rbm._units.optional_attributes
            for name in stale:
                vars(self.rbm).pop(name, None)
            self.training = self.begin()
            self.rbm._training = self.training  # read by the callbacks during fit
            callbacks = _Callbacks(self)
            self.outcome = self._train(callbacks)
            del self.rbm._training
            self._finish(callbacks)
        if self.outcome in MESSAGES:
            MESSAGES[self.outcome](self)
        self.rbm._warn_of_result(self.training.kept.result)
        return self.rbm

    def _train(self, callbacks):
        """Run the epochs, or what is left of them."""
        training, rbm = self.training, self.rbm
        try:
            for epoch in callbacks.announce(training.epochs(rbm.schedule, rbm.shuffle)):
                if not is_sound(training.state.model):
                    return Outcome.DIVERGED
                training.add(epoch)
                self._print(epoch)
                if callbacks.after_epoch() or training.record.exhausted:
                    break
        except KeyboardInterrupt:  # keep the completed epochs
            if training.n_done == 0:
                raise
            self.interrupted = True
            return Outcome.INTERRUPTED
        return Outcome.COMPLETED

    def _finish(self, callbacks):
        """Set the fitted attributes, and look at the model if training was completed.

        Once they are set, an interrupt does not lose them. It does not hide a divergence.
        """
        training, rbm = self.training, self.rbm
        kept = training.end()
        attributes = _course(training)
        if training.n_done > 0 or not self.warm:
            attributes |= fitted_attributes(kept, average=None)
        vars(rbm).update(attributes)
        try:
            training.complete_record()
            attributes |= _course(training)
            vars(rbm).update(attributes)
            callbacks.after_fit(attributes)
            if self.outcome is Outcome.COMPLETED and _got_worse(training):
                self.outcome = Outcome.WORSE
            long = training.n_updates >= _UPDATES_FOR_VERDICT
            long = long and training.state.model.visible.labels is None
            if self.outcome is Outcome.COMPLETED and long:
                vars(rbm).update(_verdict(training))
                if rbm.verdict_.problem is not None:
                    self.outcome = Outcome.UNSOUND
        except KeyboardInterrupt:
            self.interrupted = True
            if self.outcome is Outcome.COMPLETED:
                self.outcome = Outcome.INTERRUPTED

    # Beginning ------------------------------------------------------------------------

    def begin(self) -> Training:
        """Return the training to run, either new or resumed."""
        data = self.read(reset=self.is_new)
        if self.saved is not None and data.X.shape != self.saved.shape:
            raise ValueError(
                f"The saved training used data of shape {self.saved.shape}, but X has "
                f"shape {data.X.shape}. To resume it, pass the same rows."
            )
        seed = self.draw_seeds() if self.is_new else None
        if data.row_weights is not None:
            data = data.weigh(_inputs.normalize(data.row_weights))
        data, held_out = self._hold_out(data)
        if data.has_gaps:
            self.refuse_unseen(data.unseen())
        units = self.units(data)
        encoded, validation = data.encode(units.encoder), None
        if held_out is not None:
            held_out = held_out.encode(units.encoder)
            validation = self.validation(held_out)
        if self.saved is not None:
            self.saved.attach(encoded, validation)
            self.begun(self.gaps(encoded, self.saved.state))
            return self.saved
        settings = self.settings(encoded, units)
        if seed is not None:
            state = self.first_state(data, settings, units, seed)
            self.count_by_hand(encoded, state)
        else:
            state = next_state(self.rbm._learning, settings, len(data))
        state.learned.average = None  # each call of fit starts a new one
        state.gaps = self.begun(self.gaps(encoded, state))
        n_epochs = self.n_epochs(len(data), encoded.n_encoded)
        settings, n_epochs = self.try_out(data, settings, n_epochs, seed)
        record = Record(encoded, state, n_epochs, validation, binarize=settings.binarize)
        return Training(encoded, state, record, settings, n_epochs)

    needs_all_features = True

    def begun(self, gaps: Gaps | None) -> Gaps | None:
        """Return missing cells with their values if the training is continued.

        A training that is resumed must have the same ones.
        """
        if self.saved is not None:
            before = self.saved.state.gaps
        else:
            before = None if self.is_new else self.rbm._learning.gaps
        same = before is not None and gaps is not None and before.mask == gaps.mask
        if self.saved is not None and not same and not (before is None and gaps is None):
            raise ValueError(
                "The training to resume had other missing values. Pass the same X, in the "
                "same order."
            )
        return before.copy() if same else gaps

    def validation(self, held_out: DataSet) -> Validation:
        """Return the early stopping on held-out rows."""
        return Validation(held_out, self.rbm.tol, self.rbm.n_iter_no_change)

    def choose(
        self, data: DataSet, settings: Settings, units: VisibleUnits
    ) -> dict[str, float]:
        """Return values of "auto" that suit all rows of `fit`."""
        rbm = self.rbm

        def prepare(values):
            if settings.binarize:
                units.draw_states(values, generator(0))
            if data.has_gaps:
                units.predict_gaps(values, np.isnan(values).any(axis=1))

        return _rules.for_fit(
            settings,
            data.variances(prepare),
            data.effective_size,
            rbm.n_components,
            units,
            1.0 if self.is_new else getattr(rbm, "_decay_times", 1.0),
        )

    def n_epochs(self, n_rows: int, n_encoded: int) -> int:
        """Return the number of epochs to train on this many rows."""
        rbm = self.rbm
        if rbm.n_iter != "auto":
            return rbm.n_iter
        return _rules.enough_epochs(n_rows, rbm.batch_size, n_encoded * rbm.n_components)

    def try_out(
        self, data: DataSet, settings: Settings, n_epochs: int, seed: int | None
    ) -> tuple[Settings, int]:
        """Return settings and number of epochs, after a first training if it is due.

        Its units are those of the rows that it trains on. By what factor it changes the
        decay is remembered for warm starts.
        """
        rbm, per_epoch = self.rbm, -(-len(data) // settings.batch_size)
        if seed is None:
            return settings, n_epochs
        rbm._decay_times = 1.0
        n_updates = n_epochs * per_epoch
        n_most = _rules.updates_to_try(data.effective_size, n_epochs, n_updates)
        automatic = rbm.weight_decay == "auto" and settings.weight_decay > 0
        if not automatic or self.is_set_by_hand or n_most < FIRST:
            return settings, n_epochs
        if rbm.verbose:
            print(
                f"[{type(rbm).__name__}] a first training, to find weight_decay", flush=True
            )
        held_out, rest = hold_out(data, generator(seed))
        units = rbm._untrained(
            rest, np.float64 if data.X.dtype == np.float64 else np.float32
        )
        state = first_state(settings, units, len(rest), rbm.n_components, seed)
        data, held_out, rest = (x.encode(units.encoder) for x in (data, held_out, rest))
        state.gaps, before = self.gaps(data, state), state.visible_mean
        self.count(rest, state)
        state.model.visible.follow_mean(before, state.visible_mean)
        length = best_length(state, settings, rest.divide_heavy(), held_out, n_most)
        decay = _rules.decay_after_trial(settings, length, n_most)
        rbm._decay_times = decay / settings.weight_decay
        if rbm.n_iter == "auto":
            n_enough = _rules.updates_after_trial(length)
            n_epochs = math.ceil(min(n_epochs * per_epoch, n_enough) / per_epoch)
        if rbm.verbose:
            print(
                f"[{type(rbm).__name__}] weight_decay = {decay:.3g} and {n_epochs} epochs, "
                "after a first training on some rows",
                flush=True,
            )
        return settings._replace(weight_decay=decay), n_epochs

    def _hold_out(self, data: DataSet) -> tuple[DataSet, DataSet | None]:
        """Return the training rows and, for early stopping, the held-out rows.

        A warm start on the same number of rows holds out the same rows.
        """
        rbm = self.rbm
        if not rbm.early_stopping:
            return data, None
        # Imported here because it is slow to import and most fits do not need it.
        from sklearn.model_selection import train_test_split

        n_held_out = math.ceil(rbm.validation_fraction * len(data))
        if n_held_out >= len(data):
            raise ValueError(
                f"With validation_fraction={rbm.validation_fraction:g}, early stopping "
                f"leaves none of n_samples={len(data)} to train on. Pass more rows, or set "
                "early_stopping=False."
            )
        rows = np.arange(len(data)) if data.rows is None else data.rows
        rows, held_out = train_test_split(
            rows, test_size=n_held_out, random_state=rbm._split_seed
        )
        return data.select(np.sort(rows)), data.select(np.sort(held_out))

    # Messages -------------------------------------------------------------------------

    def _print(self, epoch):
        training, record, held_out = self.training, self.training.record, ""
        if not self.rbm.verbose or not record.is_due(epoch.number):
            return
        if record.validation is not None:
            held_out = f"validation score = {record.validation.scores[-1]:.2f}, "
        print(
            f"[{type(self.rbm).__name__}] Iteration {epoch.number / training.per_epoch:g}, "
            f"{record.name.replace('_', '-')} = {record.history[record.name][-1]:.2f}, "
            f"{held_out}time = {epoch.seconds:.2f}s",
            flush=True,
        )


def _say_interrupted(fit):
    training = fit.training
    kept = "best epoch so far" if fit.rbm.early_stopping else "last completed epoch"
    warnings.warn(
        f"Training was interrupted by the user after {training.epochs_done:g} of "
        f"{training.n_epochs // training.per_epoch} epochs. The model of the {kept} is "
        "kept."
    )


def _say_diverged(fit):
    training = fit.training
    best, last = "the best epoch so far", f"epoch {training.epochs_done:g}"
    kept = f"The model of {best if fit.rbm.early_stopping else last}"
    if training.n_done == 0:
        kept = "The previous model" if fit.warm else "The untrained model"
    when = f"in epoch {training.n_done // training.per_epoch + 1}"
    fit.warn_of_divergence(when, kept, training.data)


def _say_worse(fit):
    warnings.warn(
        f"Training did not converge: after {fit.rbm.n_iter_} epochs the model is worse "
        f"than at the start. {_opening(fit)}lower learning_rate (currently "
        f"{fit.rbm.learning_rate_:.4g}).",
        ConvergenceWarning,
    )


def _say_unsound(fit):
    rbm, data, problem = fit.rbm, fit.training.data, fit.rbm.verdict_.problem
    rate = auto = rbm.learning_rate_
    visible = fit.training.kept.model.visible
    if rbm.learning_rate != "auto":
        auto = fit.choose(data, fit.training.settings, visible)["learning_rate"]
    of_auto = "" if rate == auto else f"; 'auto' is {auto:.4g}"
    current = f"(currently {rate:.4g}{of_auto})"
    lagging = problem == "unvisited modes"
    if rate < auto and not lagging:
        options = ["increase n_iter", f"raise learning_rate {current}"]
    else:
        options = [f"lower learning_rate {current}"]
        if problem == "wrong proportions":
            options.append("increase n_iter")
        better = "pt" if "pt" in rbm._solvers else "pcd"
        chains_fail = rbm.solver == "cd" or problem != "worse than independent features"
        if chains_fail and rbm.solver != better:
            options.append(f"set solver={better!r}")
    nevertheless = ""
    if fit.training.record.name == "pseudo_log_likelihood":
        nevertheless = " The pseudo-log-likelihood may be good nevertheless."
    warnings.warn(
        f"{rbm.verdict_}{nevertheless} {_opening(fit)}{' or to '.join(options)}."
        f"{rbm._advice_on_modes(data)}",
        ConvergenceWarning,
    )


def _opening(fit):
    """Return how an advice begins: real values may be the cause, whatever the settings."""
    visible = fit.training.kept.model.visible
    if visible.n_bits == len(visible):
        return "Try to "
    return "Clip outliers and transform heavy tails, if there are any. Otherwise, try to "


# What to say of an outcome.
MESSAGES = {
    Outcome.INTERRUPTED: _say_interrupted,
    Outcome.DIVERGED: _say_diverged,
    Outcome.WORSE: _say_worse,
    Outcome.UNSOUND: _say_unsound,
}


class PartialFit(Call):
    """One call of `partial_fit`."""

    def run(self):
        """Update the estimator by one pass over the rows."""
        rbm = self.rbm
        fitted = hasattr(rbm, "components_")
        if fitted:
            self.check_can_continue()
        with unchanged_on_error(rbm):
            data, settings, state = self.begin()
            before = None if fitted else state.copy()
            sound = self.train(state, settings, data)
            vars(rbm).pop("log_partition_gap_", None)
            vars(rbm).update(_choices(settings) | {"verdict_": None})
            kept = state if sound else before
            if kept is not None:
                vars(rbm).update(fitted_attributes(kept, kept.learned.average))
        if not sound:
            which = "The previous model" if fitted else "The untrained model"
            self.warn_of_divergence("in this call of partial_fit", which, data)
        return rbm

    def begin(self) -> tuple[DataSet, Settings, TrainingState]:
        """Return encoded rows, settings and the state to train."""
        data = self.read(reset=self.is_new)
        if data.has_gaps and self.needs_all_features:
            self.refuse_unseen(data.unseen())
        units = self.units(data)
        encoded = data.encode(units.encoder)
        settings = self.settings(encoded, units)
        if not self.is_new:
            state = next_state(self.rbm._learning, settings, len(data))
        else:
            state = self.first_state(data, settings, units, self.draw_seeds())
        state.gaps = self.gaps(encoded, state)
        return encoded, settings, state

    def choose(
        self, data: DataSet, settings: Settings, units: VisibleUnits
    ) -> dict[str, float]:
        """Return the values of the previous call, since the rows to come are unknown."""
        first = _rules.for_stream(settings)
        kept = {name: getattr(self.rbm, f"{name}_", first[name]) for name in first}
        return kept | {"decay_ratio": getattr(self.rbm, "_decay_ratio", 1.0)}

    def train(self, state: TrainingState, settings: Settings, data: DataSet) -> bool:
        """Train the state in place, and return whether its model is sound."""
        self.count_by_hand(data, state)
        return train_on_chunk(state, settings, data, follow_mean=not self.is_set_by_hand)


class _Callbacks:
    """Calls of the hooks of scikit-learn's callbacks during one fit."""

    def __init__(self, fit):
        self.estimator, self.training = fit.rbm, fit.training
        # scikit-learn's ScoringMonitor does not score if y is None.
        y = fit.X if fit.y is None else fit.y
        self.task = {"estimator": fit.rbm, "X": fit.X, "y": y}
        if fit.sample_weight is not None:
            self.task["metadata"] = {"sample_weight": fit.sample_weight}
        self.n_left = self.training.n_epochs - self.training.n_done
        self.fit = fit.rbm._init_callback_context(max_subtasks=self.n_left)
        self.fit.call_on_fit_task_begin(**self.task)

    def announce(self, epochs):
        """Yield epochs, notifying the callbacks before each one begins."""
        if self.training.record.exhausted:
            return
        for _ in range(self.n_left):
            epoch = self.fit.subcontext(task_name="epoch")
            self.epoch = epoch.call_on_fit_task_begin(**self.task)
            yield next(epochs)

    def after_epoch(self):
        """Notify the callbacks of the end of an epoch; return whether to stop training."""
        return self.epoch.call_on_fit_task_end(
            **self.task, reconstruction_attributes=self._attributes
        )

    def _attributes(self):
        """Return the attributes of a copy of the estimator, as fitted so far."""
        return {
            **fitted_attributes(self.training.state.copy(), average=None),
            **_course(self.training),
            "random_state_": copy.deepcopy(self.estimator.random_state_),
        }

    def after_fit(self, attributes):
        """Notify the callbacks of the end of the fit, given the fitted attributes."""
        attributes = attributes | {"random_state_": self.estimator.random_state_}
        self.fit.call_on_fit_task_end(
            **self.task, reconstruction_attributes=lambda: copy.deepcopy(attributes)
        )


def fitted_attributes(state, average):
    """Return the fitted attributes for a training state.

    The arrays are copies, so that changing them by hand does not change `_learning`, the
    state from which further training continues. `average` replaces the average of that
    state.
    """
    attributes = attributes_of(state.result)
    attributes |= state.model.visible.data_attributes(state.visible_mean)
    attributes["h_samples_"] = state.solver.chains.copy()
    learned = dataclasses.replace(state.learned, average=average)
    return attributes | {"_learning": dataclasses.replace(state, learned=learned)}


def _got_worse(training):
    """Return whether the model is clearly worse after training than before."""
    in_range = training.kept.model.visible.are_in_range(training.data.summary)
    return in_range and training.record.shortfall(training.kept) > _LARGEST_SHORTFALL


def _verdict(training):
    """Return the fitted attributes that say what the check of the model has found."""
    kept, data = training.kept, training.data
    of_states = kept.model.visible.are_states(data.summary) or training.record.binarize
    verdict = judge(kept, data if of_states else None)
    if math.isnan(verdict.log_partition_gap):
        return {"verdict_": verdict}
    return {"verdict_": verdict, "log_partition_gap_": verdict.log_partition_gap}


def _course(training):
    """Return the fitted attributes that record the progress of a training."""
    history, validation_scores = training.record.course(training.n_done)
    course = {
        "n_iter_": math.ceil(training.epochs_done),
        "history_": history,
        "verdict_": None,  # until the check of the model
        **_choices(training.settings),
    }
    if validation_scores is not None:
        course["validation_scores_"] = validation_scores
    return course


def _choices(settings):
    """Return the fitted attributes that say what was used for "auto"."""
    return {
        "learning_rate_": settings.learning_rate,
        "weight_decay_": settings.weight_decay,
        "n_gibbs_steps_": settings.n_gibbs_steps,
        "_decay_ratio": settings.decay_ratio,
    }
