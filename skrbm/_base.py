"""The scikit-learn interface that all estimators share: public methods and tags."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import warnings
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from skrbm import _inputs, likelihood, sampling
from skrbm._annealing import generator
from skrbm._compat.sklearn import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    _fit_context,
)
from skrbm._data import DataSet
from skrbm._range import check_range, feature_names
from skrbm._record import Record, Validation, log_partition_gap
from skrbm._step import Settings, first_state, is_sound, next_state
from skrbm._training import (
    LARGEST_DECAY,
    SCHEDULES,
    STREAM_RATE,
    Training,
    enough_epochs,
    suitable_decay,
    suitable_gibbs_steps,
    suitable_rate,
    train_on_chunk,
)
from skrbm._typing import MatrixLike, RandomStateLike
from skrbm.likelihood import LogPartition

# Loss of pseudo-log-likelihood during training, in nats per feature, that triggers a
# warning.
_LARGEST_SHORTFALL = 0.1
# Forward minus reverse estimate of log Z, in nats, that triggers a warning.
_LARGEST_GAP = 1.0
# Number of updates from which the estimates take at most a fifth of the time of training.
_UPDATES_FOR_GAP = 5_000
_CHAINS_FOR_GAP = 20


class RangeCheckMixin(TransformerMixin):
    """Transformers that warn of values outside [0, 1], but once in `fit_transform`."""

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Fit to the data `X`, and transform them.

        Parameters
        ----------
        X : as for `fit`
            Training data.

        y : Ignored
            Not used, present for API consistency.

        **fit_params : dict
            Additional arguments of `fit`.

        Returns
        -------
        X_new : as for `transform`
            Transformed training data.

        Raises
        ------
        ValueError
            As for `fit`.

        Warns
        -----
        UserWarning, ConvergenceWarning
            As for `fit`. The warning of values outside [0, 1] is not repeated.
        """
        return self.fit(X, y, **fit_params)._without_warnings().transform(X)


class BaseRBM(
    CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, RangeCheckMixin, BaseEstimator
):
    """Base class of all restricted Boltzmann machines, whatever their visible units."""

    _units: type  # kind of the visible units
    _accept_sparse: str | bool = False
    _rate_factor = 1.0  # of the automatic learning rate
    _range_options: dict = {}  # of `check_range`, for all rows
    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "n_gibbs_steps": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "schedule": [StrOptions(set(SCHEDULES))],
        "weight_decay": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "n_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "shuffle": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    components_: np.ndarray
    intercept_hidden_: np.ndarray
    intercept_visible_: np.ndarray
    visible_mean_: np.ndarray
    h_samples_: np.ndarray
    learning_rate_: float
    weight_decay_: float
    n_gibbs_steps_: int
    n_iter_: int
    history_: dict[str, list[float]]
    validation_scores_: list[float]
    log_partition_gap_: float
    random_state_: np.random.RandomState
    n_features_in_: int
    feature_names_in_: np.ndarray

    # Training ---------------------------------------------------------------------------

    def fit(
        self, X: MatrixLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Fit the model to the data `X`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data: binary or with values in [0, 1], or real values for a
            GaussianRBMEstimator, which does not accept sparse data. bool, uint8, float32
            and float64 arrays are not converted as a whole but cast minibatch by minibatch.
            Other dtypes are converted to float64. Sparse data stay sparse; formats other
            than CSR are converted to CSR.

        y : Ignored
            Not used, present for API consistency.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows. Only their ratios matter: a row of weight 2
            counts as two rows of weight 1, and a row of weight 0 is ignored. If None, all
            rows have the same weight.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter is out of range, if `X` is empty, has NaN or infinite values or
            does not match the model that a warm start continues, if a weight is negative,
            or if no weight is greater than 0. If the model is one of binary data, also if
            `X` has integers other than 0 and 1 of a dtype other than int32 and int64.

        Warns
        -----
        UserWarning
            If `X` has values outside [0, 1] although the model is one of binary data, of
            any dtype that is not refused. The warning names the features that become
            constant, and says what to do with such data. Also if a feature is constant
            although the model is one of real values, or if training was interrupted from
            the keyboard. In the last case the model of the last completed epoch is kept (of
            the best epoch with `early_stopping`).
        ConvergenceWarning
            If training diverged, in which case the model of the previous epoch is kept (of
            the best epoch with `early_stopping`), if the model is clearly worse at the end
            of training than at its start, if it has modes that the persistent chains have
            not visited (`log_partition_gap_` above 1), or if the variance of a real-valued
            feature given the hidden units has reached its lower bound.
        """
        return self._fit(X, y, sample_weight)

    @_fit_context(prefer_skip_nested_validation=True)
    def _fit(self, X, y, sample_weight, training=None, begin=None):
        """Fit the model, or resume a saved training.

        `begin` replaces `_begin` where the data are not in memory.
        """
        warm = training is None and self.warm_start and hasattr(self, "components_")
        if warm:
            self._check_can_continue()
        with _inputs.unchanged_on_error(self):
            for name in ("validation_scores_", "log_partition_gap_", "_log_partition"):
                vars(self).pop(name, None)
            training = (begin or self._begin)(X, sample_weight, warm, training)
            self._training = training  # read by the callbacks during fit
            callbacks = _Callbacks(self, X, y, sample_weight)
            epochs = training.epochs(self.schedule, self.shuffle)
            stopped = None
            try:
                for epoch in callbacks.announce(epochs):
                    if not is_sound(training.state.model):
                        stopped = "diverged"
                        break
                    training.add(epoch)
                    self._print(training, epoch)
                    if callbacks.after_epoch() or training.record.exhausted:
                        break
            except KeyboardInterrupt:  # keep the completed epochs
                if training.n_done == 0:
                    raise
                stopped = "interrupted"
            del self._training
            stopped = self._finish(training, callbacks, stopped, warm)
        self._warn_at_the_end(stopped, training, warm)
        return self

    def _finish(self, training, callbacks, stopped, warm):
        """Set the fitted attributes and return why training stopped.

        An interrupt does not lose the model, and does not hide a divergence.
        """
        kept = training.end()
        attributes = _course(training)
        if training.n_done > 0 or not warm:
            attributes |= _fitted_attributes(kept, average=None)
        vars(self).update(attributes)
        self._interrupted = stopped == "interrupted"
        try:
            training.complete_record()
            attributes |= _course(training)
            vars(self).update(attributes)
            callbacks.after_fit(attributes)
            if stopped is None and _got_worse(training):
                stopped = "worse"
            if stopped is None and _has_gap(training):
                self.log_partition_gap_ = log_partition_gap(kept)
                if self.log_partition_gap_ > _LARGEST_GAP:
                    stopped = "lagging"
        except KeyboardInterrupt:
            stopped, self._interrupted = stopped or "interrupted", True
        return stopped

    def _begin(self, X, sample_weight, warm, training):
        """Return the training to run, either new or resumed."""
        new = not warm and training is None
        data = self._check_training_data(X, reset=new)
        if training is not None and data.X.shape != training.shape:
            raise ValueError(
                f"The saved training used data of shape {training.shape}, but X has shape "
                f"{data.X.shape}. To resume it, pass the same rows."
            )
        seed = self._draw_seeds() if new else None
        if sample_weight is not None:
            data = data.weigh(
                _inputs.normalize(_inputs.check_weights(sample_weight, data.X))
            )
        data, held_out = self._hold_out(data)
        before = self._learning if warm else None
        visible = self._visible(data, before if training is None else training.state)
        data, validation = visible.encode(data), None
        if held_out is not None:
            held_out = visible.encode(held_out)
            validation = Validation(held_out, self.tol, self.n_iter_no_change)
        if training is not None:
            training.attach(data, validation)
            return training
        settings = self._settings(data, self._choose_for_fit)
        if warm:
            state = self._next_state(data, settings)
        else:
            state = self._first_state(data, settings, seed, visible)
        state.learned.average = None  # each call of fit starts a new one
        n_epochs = self._n_epochs(len(data), data.n_features)
        record = Record(data, state, n_epochs, validation, binarize=settings.binarize)
        return Training(data, state, record, settings, n_epochs)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: MatrixLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Update the model with one pass over the rows of `X`, in order.

        The rows are split into minibatches of `batch_size`. A data stream therefore gives
        the same model however it is divided into calls, as long as each call but the last
        has a multiple of `batch_size` rows. For a GaussianRBMEstimator, the first call must
        be the same as well: its rows, of which there should be many, set the means and
        variances that standardize all rows. The learning rate is constant because the end
        of the stream is unknown. For a better model, lower it towards the end with
        ``set_params(learning_rate=...)``. No rows are held out, and nothing is printed or
        recorded in `history_`. To monitor training, score held-out rows yourself.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, as for `fit`. The first call determines the dtype of the model.

        y : Ignored
            Not used, present for API consistency.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows, as for `fit`, but not normalized, because the
            mean of all future weights is unknown: the contribution of a row to the gradient
            is multiplied by its weight. If the weights are far from 1, divide them by their
            expected mean.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            As for `fit`.

        Warns
        -----
        UserWarning
            If `X` has values outside [0, 1] although the model is one of binary data, as
            for `fit`, or if a feature is constant in the first call although the model is
            one of real values.
        ConvergenceWarning
            If training diverged. The model from before the call is kept.
        """
        return self._partial_fit(X, sample_weight, self._begin_chunk)

    def _partial_fit(self, X, sample_weight, begin):
        """Update the model; `begin` is `_begin_chunk`, unless data are not in memory."""
        self._validate_params()  # _fit_context only validates on the first call
        first = not hasattr(self, "components_")
        if not first:
            self._check_can_continue()
        with _inputs.unchanged_on_error(self):
            data, settings, state, train = begin(X, sample_weight, first)
            untrained = state.copy() if first else state
            sound = train(state, settings, data)
            for name in ("log_partition_gap_", "_log_partition"):
                self.__dict__.pop(name, None)
            self.__dict__ |= _choices(settings)
            if sound or first:
                kept = state if sound else untrained
                self.__dict__ |= _fitted_attributes(kept, kept.learned.average)
        if not sound:
            kept = "The untrained model" if first else "The previous model"
            self._warn_of_divergence("in this call of partial_fit", kept, data)
        return self

    def _begin_chunk(self, X, sample_weight, first):
        """Return data, settings, state and a function that trains on these."""
        data = self._check_training_data(X, reset=first)
        if sample_weight is not None:
            data = data.weigh(_inputs.check_weights(sample_weight, data.X))
        visible = self._visible(data, None if first else self._learning)
        data = visible.encode(data)
        settings = self._settings(data, self._choose_for_stream)
        if first:
            state = self._first_state(data, settings, self._draw_seeds(), visible)
        else:
            state = self._next_state(data, settings)
        return data, settings, state, train_on_chunk

    def _check_training_data(self, X, reset):
        data = DataSet(self._validate(X, reset=reset))
        self._check_training_range(data, X)
        return data

    def _check_training_range(self, data, X, ranges=None):
        """Check the range of training data, `X` as the user passed them.

        By default, all values are in range. `ranges` returns the ranges of the features, if
        the data set is only a sample of the rows.
        """

    def _validate(self, X, reset=False, **options):
        options = {"accept_sparse": self._accept_sparse} | options
        with _inputs.advice_on_nan():
            return _inputs.validate(self, X, reset=reset, **options)

    def _settings(self, data, choose):
        """Return the settings for `data`, where `choose` gives the values of "auto"."""
        values = self._fixed_settings(data)
        for name in Settings._fields:
            if name not in values:
                value = getattr(self, name)
                values[name] = float(value) if isinstance(value, np.floating) else value
        settings = Settings(**values)
        auto = [name for name, value in values.items() if value == "auto"]
        if not auto:
            return settings
        choices = choose(data, settings)
        return settings._replace(**{name: choices[name] for name in auto})

    def _choose_for_fit(self, data, settings):
        """Return values that suit all rows of `fit`."""

        def prepare(v):
            if settings.binarize:
                values = v.data if sp.issparse(v) else v
                self._units.draw_states(values, generator(0))
            return v

        variances = data.variances(prepare)
        # With momentum, the gradients of many steps add up, but the decay does not.
        single = 1 - settings.momentum
        rate = self._rate_factor * single * suitable_rate(variances)
        decay = suitable_decay(variances, data.effective_size, self.n_components) / single
        used = rate if settings.learning_rate == "auto" else settings.learning_rate
        return {
            "learning_rate": rate,
            "weight_decay": min(decay, LARGEST_DECAY / used),
            "n_gibbs_steps": suitable_gibbs_steps(variances) if self.solver == "pcd" else 1,
        }

    def _choose_for_stream(self, data, settings):
        """Return the values of the previous call, since the rows to come are unknown."""
        first = {
            "learning_rate": (1 - settings.momentum) * STREAM_RATE,
            "weight_decay": 0.0,
            "n_gibbs_steps": 1,
        }
        return {name: getattr(self, f"{name}_", value) for name, value in first.items()}

    def _n_epochs(self, n_rows, n_features):
        if self.n_iter != "auto":
            return self.n_iter
        return enough_epochs(n_rows, self.batch_size, n_features * self.n_components)

    def _draw_seeds(self):
        """Return a seed for training, and store those of later draws and of the split."""
        random_state = check_random_state(self.random_state)
        seeds = random_state.randint(np.iinfo(np.int32).max, size=3)
        seed, later, self._split_seed = seeds
        self.random_state_ = np.random.RandomState(later)
        return seed

    def _visible(self, data, before):
        """Return the visible units of a state, or untrained ones if it is None."""
        if before is not None:
            return before.model.visible
        dtype = np.float64 if data.X.dtype == np.float64 else np.float32
        names_of = functools.partial(feature_names, self)
        return self._units.untrained(data, dtype, names_of)

    def _first_state(self, data, settings, seed, visible):
        """Return the state of an untrained model."""
        return first_state(
            settings,
            len(data),
            n_features=data.n_features,
            n_components=self.n_components,
            dtype=visible.bias.dtype,
            seed=seed,
            visible=visible,
        )

    def _next_state(self, data, settings):
        """Return a copy of the final state of the previous training."""
        return next_state(self._learning, settings, len(data))

    def _hold_out(self, data):
        """Return the training rows and, for early stopping, the held-out rows.

        A warm start on the same number of rows holds out the same rows.
        """
        if not self.early_stopping:
            return data, None
        # Imported here because it is slow to import and most fits do not need it.
        from sklearn.model_selection import train_test_split

        n_held_out = math.ceil(self.validation_fraction * len(data))
        if n_held_out >= len(data):
            raise ValueError(
                f"With validation_fraction={self.validation_fraction:g}, early stopping "
                f"leaves none of n_samples={len(data)} to train on. Pass more rows, or set "
                "early_stopping=False."
            )
        rows = np.arange(len(data)) if data.rows is None else data.rows
        rows, held_out = train_test_split(
            rows, test_size=n_held_out, random_state=self._split_seed
        )
        return data.select(np.sort(rows)), data.select(np.sort(held_out))

    def _check_can_continue(self):
        """Raise an error if the model was not trained or has another n_components."""
        if not hasattr(self, "_learning"):
            raise ValueError(
                "The parameters of this estimator were set by hand. It can score and draw "
                "rows, but there is no training to continue. To train a new model, clone "
                "the estimator, or call fit with warm_start=False."
            )
        if self.n_components != len(self.components_):
            raise ValueError(
                f"n_components is {self.n_components}, but the model to continue has "
                f"{len(self.components_)} components. Reset n_components or, to train a "
                "new model, clone the estimator or call fit with warm_start=False."
            )

    def _print(self, training, epoch):
        record, held_out = training.record, ""
        if not self.verbose or not record.is_due(epoch.number):
            return
        if record.validation is not None:
            held_out = f"validation score = {record.validation.scores[-1]:.2f}, "
        print(
            f"[{type(self).__name__}] Iteration {epoch.number / training.per_epoch:g}, "
            f"{record.name.replace('_', '-')} = {record.history[record.name][-1]:.2f}, "
            f"{held_out}time = {epoch.seconds:.2f}s",
            flush=True,
        )

    def _warn_at_the_end(self, stopped, training, warm):
        if stopped == "interrupted":
            kept = "best epoch so far" if self.early_stopping else "last completed epoch"
            warnings.warn(
                f"Training was interrupted by the user after {training.epochs_done:g} of "
                f"{training.n_epochs // training.per_epoch} epochs. The model of the "
                f"{kept} is kept."
            )
        elif stopped == "diverged":
            best = "the best epoch so far"
            last = f"epoch {training.epochs_done:g}"
            kept = f"The model of {best if self.early_stopping else last}"
            if training.n_done == 0:
                kept = "The previous model" if warm else "The untrained model"
            when = f"in epoch {training.n_done // training.per_epoch + 1}"
            self._warn_of_divergence(when, kept, training.data)
        elif stopped == "worse":
            warnings.warn(
                f"Training did not converge: after {self.n_iter_} epochs the model is "
                "worse than at the start. Lower learning_rate (currently "
                f"{self.learning_rate_:.4g}).",
                ConvergenceWarning,
            )
        elif stopped == "lagging":
            solvers = self._parameter_constraints["solver"][0].options
            can_temper = "pt" in solvers and self.solver != "pt"
            tempering = ", or set solver='pt'" if can_temper else ""
            warnings.warn(
                "The model has modes that its persistent chains have not visited: two "
                "estimates of log Z that should agree differ by "
                f"{self.log_partition_gap_:.1f} nats. Likelihoods of this model are "
                "unreliable, although its pseudo-log-likelihood may be good. Lower "
                f"learning_rate (currently {self.learning_rate_:.4g}), or increase "
                f"n_gibbs_steps (currently {self.n_gibbs_steps_}) or weight_decay "
                f"(currently {self.weight_decay_:.3g}){tempering}.",
                ConvergenceWarning,
            )

    def _warn_of_divergence(self, when, kept, data):
        cause = f"learning_rate (currently {self.learning_rate_:.4g})"
        if self.weight_decay_:
            cause += f", or weight_decay (currently {self.weight_decay_:.3g})"
        if (largest := data.largest_weight) is not None:
            cause += f", or the largest sample_weight ({largest:.3g} times the usual one)"
        warnings.warn(
            f"Training diverged {when}: a parameter was not finite, or exceeded "
            f"{self._units.LARGEST_PARAMETER:g} in absolute value. {kept} is kept. Lower "
            f"{cause}.",
            ConvergenceWarning,
        )

    def __getstate__(self):
        """Exclude a training in progress from copies and pickles."""
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_training"}

    # The fitted model -------------------------------------------------------------------

    @property
    def _n_features_out(self):
        return len(self.components_)

    def _model_and_rows(self, X, clips=False, name="X"):
        """Return the model and the validated rows as a data set, after a range check.

        `clips` and `name` are those of `check_range`.
        """
        check_is_fitted(self)
        model = _inputs.model_of(self)
        data = _inputs.fitting_rows(model, self._validate(X))
        self._check_range(data, X, clips=clips, name=name)
        return model.for_rows(len(data)), data

    def _check_range(self, data, X, **options):
        """Check the range of validated rows, `X` as the user passed them."""
        if self._units.binary:
            options |= self._range_options
            check_range(data.limits(), data.ranges, X, self, **options)

    def _without_warnings(self, **options):
        """Return a shallow copy that does not warn of values outside [0, 1].

        It refuses rows with the `options` of `check_range`.
        """
        quiet = copy.copy(self)
        quiet._range_options = {"warn": False} | options
        return quiet

    def transform(self, X: MatrixLike) -> np.ndarray:
        """Compute the probabilities of the hidden units, ``p(h = 1 | X)``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to transform.

        Returns
        -------
        H : ndarray of shape (n_samples, n_components)
            Probabilities. They have the dtype of `X` if it is float32 or float64, that of
            the model if `X` is bool or uint8, else float64.

        Raises
        ------
        ValueError
            If `X` has integers other than 0 and 1 of a dtype other than int32 and int64,
            although the model is one of binary data, or if its values are so large that
            they overflow.

        Warns
        -----
        UserWarning
            If other `X` has values outside [0, 1] although the model is one of binary
            data. They are used unchanged.
        """
        model, data = self._model_and_rows(X)
        return data.apply(
            model.mean_hidden,
            model,
            n_columns=len(model.hidden_bias),
            dtype=_dtype_for(model, data.X),
        )

    def inverse_transform(self, X: ArrayLike) -> np.ndarray:
        """Compute the means of the visible units given the hidden units.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Hidden states, or probabilities as returned by `transform`.

        Returns
        -------
        V : ndarray of shape (n_samples, n_features)
            Means. For binary data these are the probabilities ``p(v = 1 | X)``. They have
            the dtype of `X` if it is float32 or float64, that of
            the model if `X` is bool or uint8, else float64.
        """
        check_is_fitted(self)
        model = _inputs.model_of(self)
        _inputs.refuse_masked(X)
        data = DataSet(check_array(X, dtype=_inputs.DTYPES, estimator=self))
        if data.n_features != len(model.hidden_bias):
            raise ValueError(
                f"X has {data.n_features} columns, but this model has "
                f"{len(model.hidden_bias)} components. Pass hidden states, or "
                "probabilities as returned by transform."
            )
        dtype = _dtype_for(model, data.X)
        return data.apply(
            lambda h: model.visible.decode(model.mean_visible(h)),
            model,
            n_columns=len(model.visible),
            dtype=dtype,
        )

    def free_energy(self, X: MatrixLike) -> np.ndarray:
        """Compute the free energy of each row.

        ``F(v) = - log sum_h exp(-E(v, h))``, the negative log-likelihood minus the log
        partition function. Its differences compare rows under the same model. Free
        energies of different models are not comparable.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        free_energy : float64 ndarray of shape (n_samples,)
            Free energies, in nats.

        Raises
        ------
        ValueError
            As for `transform`.

        Warns
        -----
        UserWarning
            As for `transform`.
        """
        model, data = self._model_and_rows(X)
        return data.apply(model.free_energy, model)

    def score(
        self, X: MatrixLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Compute the mean score of the rows.

        Higher is better. This is the score that model selection maximizes by default.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score.

        y : Ignored
            Not used, present for API consistency.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows in the mean. If None, all rows have the same
            weight.

        Returns
        -------
        score : float
            Mean of `score_samples` over the rows, in nats.

        Raises
        ------
        ValueError
            If a weight is negative, if no weight is greater than 0, or as for
            `score_samples`.

        Warns
        -----
        UserWarning
            As for `score_samples`.
        """
        return _inputs.weighted_mean(self.score_samples(X), sample_weight)

    def log_partition(
        self,
        *,
        method: Literal["auto", "exact", "ais", "reverse_ais", "both"] = "auto",
        random_state: RandomStateLike = None,
        **options: Any,
    ) -> LogPartition:
        """Compute or estimate the log partition function.

        Parameters
        ----------
        method : {"auto", "exact", "ais", "reverse_ais", "both"}, default="auto"
            "exact" sums over all states of the hidden units or of binary visible units,
            whichever are fewer, up to 25 of them. "ais", "reverse_ais" and "both" use
            annealed importance sampling. "auto" means "exact" for up to 20 units, else
            "ais".

        random_state : int, RandomState instance or None, default=None
            Controls the draws of annealed importance sampling.

        **options : dict
            Additional arguments of :func:`skrbm.likelihood.log_partition`.

        Returns
        -------
        result : LogPartition
            Value and error bounds, in nats.

        Raises
        ------
        ValueError
            If the model is too large for an exact sum, or an argument is out of range.
        """
        check_is_fitted(self)
        return likelihood.log_partition(
            self, method=method, random_state=random_state, **options
        )

    def log_likelihood(
        self,
        X: MatrixLike,
        *,
        log_partition: LogPartition | float | None = None,
        random_state: RandomStateLike = None,
    ) -> np.ndarray:
        """Compute the log-likelihood of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to evaluate, with values 0 and 1 if the model is one of binary data.

        log_partition : LogPartition or float, default=None
            Log partition function, as returned by the method `log_partition`. If None, that
            method is called, which takes a while if there are many units. To evaluate
            several sets of rows, call it once and pass its result.

        random_state : int, RandomState instance or None, default=None
            Controls the draws if the partition function is estimated.

        Returns
        -------
        log_likelihood : float64 ndarray of shape (n_samples,)
            Log-likelihoods, in nats: ``-free_energy(X) - log Z``.

        Raises
        ------
        ValueError
            If `X` has values other than 0 and 1 and the model is one of binary data.
        """
        check_is_fitted(self)
        model = _inputs.model_of(self)
        data = _inputs.fitting_rows(model, self._validate(X))
        return likelihood._log_likelihood(self, model, data, log_partition, random_state)

    # Sampling ---------------------------------------------------------------------------

    def gibbs(
        self, v: MatrixLike, *, n_gibbs_steps: int = 1, random_state: RandomStateLike = None
    ) -> np.ndarray:
        """Run one Gibbs chain from each row of `v`.

        Parameters
        ----------
        v : {array-like, sparse matrix} of shape (n_samples, n_features)
            Visible states to start from.

        n_gibbs_steps : int, default=1
            Number of Gibbs steps. Each one goes from visible to hidden to visible states.

        random_state : int, RandomState instance or None, default=None
            Controls the draws. If None, `random_state_` is used, so that each call gives
            different draws.

        Returns
        -------
        v_new : ndarray of shape (n_samples, n_features)
            Visible states. They have the dtype of `v` if it is float32 or float64,
            that of the model if `v` is bool or uint8, else float64.

        Raises
        ------
        ValueError
            If `n_gibbs_steps` is not positive, or for `v` as for `transform`.

        Warns
        -----
        UserWarning
            As for `transform`.
        """
        model, data = self._model_and_rows(v, name="v")
        _inputs.check_integer(n_gibbs_steps, "n_gibbs_steps", 1)
        chains = sampling.draw_chains(
            self,
            len(data),
            1,
            n_gibbs_steps=n_gibbs_steps,
            init=data,
            random_state=self._random_state(random_state),
        )
        return chains[:, 0].astype(_dtype_for(model, data.X), copy=False)

    def sample(
        self,
        n_samples: int = 1,
        *,
        n_gibbs_steps: int = 100,
        n_chains: int | None = None,
        thinning: int = 10,
        init: str | MatrixLike | None = None,
        betas: str | int | ArrayLike | None = None,
        ladder: sampling.ModelLadder | None = None,
        output: Literal["states", "probabilities"] = "states",
        n_jobs: int | None = None,
        random_state: RandomStateLike = None,
    ) -> np.ndarray:
        """Draw rows from the model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows to draw.

        n_gibbs_steps : int, default=100
            Number of Gibbs steps from the start of a chain to its first row.

        n_chains : int, default=None
            Number of chains, from which the rows are taken in turn. If None, there is one
            chain per row. If there are more chains than starting points, several chains
            start at the same point. If chains mix slowly, use ``init="noise"`` or `betas`.

        thinning : int, default=10
            Number of Gibbs steps between successive rows of a chain.

        init : {"chains", "noise"} or {array-like, sparse matrix} of shape (n_rows, \
n_features), default=None
            Initialization of the chains. "chains" uses the hidden states of the training
            chains, `h_samples_`, in random order. After persistent contrastive divergence
            these are already close to the distribution of the model. "noise" uses hidden
            states that are 0 or 1 with equal probability. If rows of visible states are
            passed, for example data, chain i starts at row ``i % n_rows``. None means
            "chains", or "noise" if there are no training chains.

        betas : "auto", int or array-like of shape (n_betas,), default=None
            Inverse temperatures of parallel tempering, the number of them, or "auto", for
            models whose chains do not mix. None means plain Gibbs sampling. See
            :func:`skrbm.sampling.draw_chains`.

        ladder : ModelLadder, default=None
            Models to run each chain at in place of temperatures, from
            :class:`skrbm.callbacks.TrajectoryLadder`.

        output : {"states", "probabilities"}, default="states"
            Whether to return visible states, or the means of the distributions from which
            they would be drawn: for binary data, the probabilities of a 1.

        n_jobs : int, default=None
            Number of jobs to run in parallel, as for joblib. Chains are distributed in
            groups of 256.

        random_state : int, RandomState instance or None, default=None
            Controls the draws. If None, `random_state_` is used, so that each call gives
            different draws.

        Returns
        -------
        v : ndarray of shape (n_samples, n_features)
            Rows drawn from the model, in the dtype of the model.

        Raises
        ------
        ValueError
            If an argument is out of range, `init` has more rows than there are chains,
            `ladder` belongs to another model, or both `betas` and `ladder` are given. Rows
            in `init` are refused as by `transform`.

        Warns
        -----
        UserWarning
            If rows in `init` have values outside [0, 1], as for `transform`.
        """
        check_is_fitted(self)
        _inputs.check_integer(n_samples, "n_samples", 1)
        _inputs.check_integer(n_gibbs_steps, "n_gibbs_steps", 1)
        if n_chains is None:
            n_chains = n_samples
        _inputs.check_integer(n_chains, "n_chains", 1)
        if init is not None and not isinstance(init, str):
            _, init = self._model_and_rows(init, name="init")
        chains = sampling.draw_chains(
            self,
            n_chains,
            -(-n_samples // n_chains),
            n_gibbs_steps=n_gibbs_steps,
            thinning=thinning,
            init=init,
            betas=betas,
            ladder=ladder,
            output=output,
            n_jobs=n_jobs,
            random_state=self._random_state(random_state),
        )
        return chains.swapaxes(0, 1).reshape(-1, chains.shape[2])[:n_samples]

    def reconstruct(
        self, X: ArrayLike, *, random_state: RandomStateLike = None
    ) -> np.ndarray:
        """Reconstruct rows from the mean of their hidden units.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to reconstruct. Values that are NaN are first filled with their means given
            the other features (for binary data, the probabilities of a 1), as by
            :func:`skrbm.sampling.sample_conditional` with ``output="probabilities"``.

        random_state : int, RandomState instance or None, default=None
            Controls the draws that fill in NaN. If None, `random_state_` is used.

        Returns
        -------
        V : ndarray of shape (n_samples, n_features)
            Means of the visible units given the mean of the hidden units. For rows without
            NaN, these are ``inverse_transform(transform(X))``.

        Raises
        ------
        ValueError
            As for `transform`.

        Warns
        -----
        UserWarning
            As for `transform`.
        """
        check_is_fitted(self)
        rows = self._validate(X, ensure_all_finite="allow-nan", accept_sparse=False)
        model = _inputs.model_of(self)
        rows = _inputs.fitting_rows(model, rows).X
        self._check_range(_inputs.observed(rows), X, clips=False)
        filled = sampling.fill(
            self,
            rows,
            n_gibbs_steps=200,
            probabilities=True,
            random_state=self._random_state(random_state),
        )
        return model.visible.encode(DataSet(filled)).apply(
            lambda v: model.visible.decode(model.mean_visible(model.mean_hidden(v))),
            model,
            n_columns=rows.shape[1],
            dtype=_dtype_for(model, rows),
        )

    def _random_state(self, random_state):
        """Return the random generator to use, `random_state_` by default."""
        if random_state is None:
            random_state = getattr(self, "random_state_", self.random_state)
        return check_random_state(random_state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = bool(self._accept_sparse)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class _Callbacks:
    """Calls of the hooks of scikit-learn's callbacks during one fit."""

    def __init__(self, estimator, X, y, sample_weight):
        self.estimator = estimator
        self.training = estimator._training
        # scikit-learn's ScoringMonitor does not score if y is None.
        self.task = {"estimator": estimator, "X": X, "y": X if y is None else y}
        if sample_weight is not None:
            self.task["metadata"] = {"sample_weight": sample_weight}
        self.n_left = self.training.n_epochs - self.training.n_done
        self.fit = estimator._init_callback_context(max_subtasks=self.n_left)
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
            **_fitted_attributes(self.training.state.copy(), average=None),
            **_course(self.training),
            "random_state_": copy.deepcopy(self.estimator.random_state_),
            "_interrupted": False,
        }

    def after_fit(self, attributes):
        """Notify the callbacks of the end of the fit, given the fitted attributes."""
        attributes = attributes | {"random_state_": self.estimator.random_state_}
        self.fit.call_on_fit_task_end(
            **self.task, reconstruction_attributes=lambda: copy.deepcopy(attributes)
        )


def _fitted_attributes(state, average):
    """Return the fitted attributes for a training state.

    The arrays are copies, so that changing them by hand does not change `_learning`, the
    state from which further training continues. `average` replaces the average of that
    state.
    """
    attributes = _inputs.attributes_of(state.result)
    attributes |= state.model.visible.data_attributes(state.counts.visible_mean)
    attributes["h_samples_"] = state.solver.chains.copy()
    learned = dataclasses.replace(state.learned, average=average)
    return attributes | {"_learning": dataclasses.replace(state, learned=learned)}


def _got_worse(training):
    """Return whether the model is clearly worse after training than before."""
    in_range = training.kept.model.visible.are_in_range(training.data.summary)
    return in_range and training.record.shortfall(training.kept) > _LARGEST_SHORTFALL


def _has_gap(training):
    """Return whether the chains can and should be compared with the model."""
    long = training.n_updates >= _UPDATES_FOR_GAP
    solver = training.kept.solver
    return long and not solver.paired and len(solver.chains) >= _CHAINS_FOR_GAP


def _course(training):
    """Return the fitted attributes that record the progress of a training."""
    history, validation_scores = training.record.course(training.n_done)
    course = {"n_iter_": math.ceil(training.epochs_done), "history_": history}
    course |= _choices(training.settings)
    if validation_scores is not None:
        course["validation_scores_"] = validation_scores
    return course


def _choices(settings):
    """Return the fitted attributes that say what was used for "auto"."""
    return {
        "learning_rate_": settings.learning_rate,
        "weight_decay_": settings.weight_decay,
        "n_gibbs_steps_": settings.n_gibbs_steps,
    }


def _dtype_for(model, X):
    """Return the dtype of results for `X`: its own if it is floating, else the model's."""
    return X.dtype if X.dtype.kind == "f" else model.dtype
