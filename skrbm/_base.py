"""The scikit-learn interface that all estimators share: public methods and tags.

This module has no formula, and nothing of training.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skrbm import _gaps, _inputs, likelihood, sampling
from skrbm._attributes import model_of
from skrbm._compat.sklearn import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    _fit_context,
    in_container,
)
from skrbm._data import DataSet, dtype_for
from skrbm._fitting import Fit, PartialFit
from skrbm._partition import N_BETAS_OF_SCORES, belongs_to
from skrbm._plain import FORMAT, from_plain, to_plain
from skrbm._training import SCHEDULES
from skrbm._typing import MatrixLike, RandomStateLike
from skrbm._units import VisibleUnits
from skrbm._verdict import Verdict
from skrbm.likelihood import LogPartition


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
        return self.fit(X, y, **fit_params)._transform(X, warn=False)


class BaseRBM(
    CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, RangeCheckMixin, BaseEstimator
):
    """Base class of all restricted Boltzmann machines, whatever their visible units.

    A subclass has the parameters of `_parameter_constraints` and `solver`, and may have
    others. It names the kind of its units and the solvers that suit them.
    """

    _units: ClassVar[type[VisibleUnits]]
    _solvers: ClassVar[Iterable[str]]
    # Attributes that say what the columns of the training data are.
    _of_columns: ClassVar[tuple[str, ...]] = "n_features_in_", "feature_names_in_"
    # Whether the columns of a data frame may have dtypes that no array has in common.
    _reads_frames: ClassVar[bool] = False
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
    verdict_: Verdict | None
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
            Training data. A BernoulliRBMEstimator takes values in [0, 1], and a
            GaussianRBMEstimator real values, which may not be sparse. A MixedRBMEstimator
            takes a table: a data frame, or an array, also of strings or objects. Missing
            values of dense data are NaN, None or pandas.NA.

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
            If a parameter is out of range. If `X` is empty, has infinite values, a feature
            without observed values, or NaN although it is sparse, or does not match the
            model that a warm start continues. If a weight is negative, or if no weight is
            greater than 0. For a model of binary data, if `X` has integers other than 0 and
            1 of a dtype other than int32 and int64, or integers whose features would all
            become constant. For a model of a table, if a column holds other values than
            numbers, booleans or strings, or does not suit `feature_types` or `groups`.

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
            If training diverged. The model of the previous epoch is kept (of the best epoch
            with `early_stopping`). Also if the model is clearly worse at the end of
            training than at its start, or if the check of the model finds a problem
            (`verdict_`). Also if the variance of a real-valued feature given the hidden
            units has reached its lower bound.

        Notes
        -----
        bool, uint8, float32 and float64 arrays are not converted as a whole but cast
        minibatch by minibatch. Other dtypes are converted to float64, and arrays in Fortran
        order are copied to C order. Sparse data stay sparse; formats other than CSR are
        converted to CSR.

        Missing values are redrawn, given the rest of their row, whenever the row is
        presented. This follows the gradient of the likelihood of the observed values.
        """
        return self._run(Fit(self, X, y, sample_weight))

    @_fit_context(prefer_skip_nested_validation=True)
    def _run(self, fit: Fit) -> Self:
        """Run a `Fit` of this estimator, after its parameters are validated."""
        return fit.run()

    def partial_fit(
        self, X: MatrixLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Update the model with one pass over the rows of `X`, in order.

        Use it for a data stream, or for data that do not fit into memory. The learning rate
        is constant because the end of the stream is unknown. For a better model, lower it
        towards the end with ``set_params(learning_rate=...)``. After `fit`, whose rate ends
        at 0, do so before the first call, which makes the model worse otherwise.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, as for `fit`. The first call determines the dtype of the model.
            For a GaussianRBMEstimator or a MixedRBMEstimator, it should have many rows (see
            Notes).

        y : Ignored
            Not used, present for API consistency.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows, as for `fit`, but not normalized, because the
            mean of all future weights is unknown. If the weights are far from 1, divide
            them by their expected mean.

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

        Notes
        -----
        The rows are split into minibatches of `batch_size`. A data stream therefore gives
        the same model however it is divided into calls, as long as each call but the last
        has a multiple of `batch_size` rows. No rows are held out, and nothing is printed or
        recorded in `history_`. To monitor training, score held-out rows yourself.

        For a GaussianRBMEstimator or a MixedRBMEstimator, the first call must also be the
        same. Its rows set the means and variances that standardize all rows, the
        covariances that whiten their real values, and the types and categories of the
        columns of a table. Declare categories that only come later by a categorical dtype.
        Declare types by `feature_types` if those rows do not tell them, for example if the
        first numbers of a column are 0 and 1 alone.

        The contribution of a row to the gradient is multiplied by its weight. Rows with
        weights above 4, or above 4 times the mean of this call if that exceeds 1, are
        presented several times with a part of their weight.

        Missing values are drawn for a single use, by ten Gibbs steps from independent draws
        with the means of the observed values. A feature may have no observed values in a
        chunk, except in the first one of a GaussianRBMEstimator.
        """
        self._validate_params()
        return PartialFit(self, X, sample_weight).run()

    def _validate(
        self, X, reset=False, name="X", *, sample_weight=None, targets=(), **options
    ):
        """Return validated rows; those of weight 0 will not be trained on.

        In the columns of rows that are `targets`, unknown values may count as missing.
        """
        options = {"accept_sparse": "csr" if self._units.sparse else False} | options
        with _inputs.rows_called(name):
            return _inputs.validate(self, X, reset=reset, name=name, **options)

    def _features(self, places) -> str:
        """Return the names of features in words, given the columns of validated rows."""
        return _inputs.feature_names(self, places)

    def _check_declared(self) -> None:
        """Refuse parameters that declare other columns than those of the model."""
        return

    def _declare(self, meta, reset: bool) -> None:
        """Learn or check the columns of rows that are elsewhere, given none of them."""
        validate_data(self, meta, reset=reset, skip_check_array=True)

    def _settle(self, largest_values: Callable[[], np.ndarray]) -> None:
        """Learn what dtypes do not tell, by the largest value of each column, if needed."""
        return

    @property
    def _reader(self):
        """What validates a block of rows, to be sent elsewhere without the model."""
        return functools.partial(_inputs.read_block, n_features=self.n_features_in_)

    def _read_to_score(self, X):
        """Return the validated rows of a block, and which are impossible, None if none."""
        return self._reader(X), None

    def _fixed_settings(self, summary) -> dict[str, Any]:
        """Return the settings of a learning step that are not parameters.

        `summary` is that of the training rows.
        """
        fixed: dict[str, Any] = {"momentum": 0.0, "centering": True, "averaging": True}
        fixed |= {"binarize": False, "compiled": True, "generative": 1.0}
        fixed["decay_ratio"] = "auto" if self.weight_decay == "auto" else 1.0
        return {name: value for name, value in fixed.items() if not hasattr(self, name)}

    def _untrained(self, data: DataSet, dtype) -> VisibleUnits:
        """Return the visible units before the first step of training on a data set."""
        return self._units.untrained(data, dtype)

    def _warn_of_units(self, units: VisibleUnits) -> None:
        """Warn of training data, given the units before the first step."""
        return

    def _advice_on_modes(self, data: DataSet) -> str:
        """Return what else to do if a model of the data has modes that chains miss."""
        return ""

    def _warn_of_result(self, model) -> None:
        """Warn of a trained model."""
        return

    def __getstate__(self):
        """Return what to copy and pickle: no training in progress, and plain arrays."""
        state = {k: v for k, v in super().__getstate__().items() if k != "_training"}
        if "_learning" in state:
            state["_learning"] = to_plain(state["_learning"])
        if state.get("verdict_") is not None:
            state["verdict_"] = vars(state["verdict_"])
        return state | {"_format": FORMAT}

    def __setstate__(self, state):
        """Set the attributes of a copied or pickled estimator.

        Raises
        ------
        ValueError
            If the state is in a format that this version does not know.
        """
        state = dict(state)
        found = state.pop("_format", None)
        if found != FORMAT:
            raise ValueError(
                f"This {type(self).__name__} was saved by another version of skrbm: its "
                f"format is {found}, but this version reads format {FORMAT}. Load it with "
                "the version that saved it, or fit it again."
            )
        if "_learning" in state:
            state["_learning"] = from_plain(state["_learning"], self._units)
            state.setdefault("verdict_", None)  # as saved by early versions
        if state.get("verdict_") is not None:
            state["verdict_"] = Verdict(**state["verdict_"])
        super().__setstate__(state)

    # The fitted model -------------------------------------------------------------------

    @property
    def _binarizes(self) -> bool:
        """Whether values between states are probabilities, and states drawn in training."""
        return False

    @property
    def _n_features_out(self):
        return len(self.components_)

    def _model_and_rows(self, X, name="X", allow_nan=False, targets=(), **check):
        """Return the model and the validated rows as a data set, after checking values.

        `check` are options of `VisibleUnits.check`.
        """
        model = model_of(self)
        rows = self._validate(X, name=name, allow_nan=allow_nan, targets=targets)
        model = model.for_rows(rows.shape[0])
        data = _inputs.fitting_rows(model, rows, name)
        options = {"clips": False, "name": name} | check
        _inputs.check_values(model.visible, data, X, self, **options)
        return model, data

    def transform(self, X: MatrixLike) -> np.ndarray:
        """Compute the probabilities of the hidden units, ``p(h = 1 | X)``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to transform, with NaN for missing values.

        Returns
        -------
        H : ndarray of shape (n_samples, n_components)
            Probabilities, given the observed values of each row. They have the dtype of `X`
            if it is float32 or float64, that of the model if `X` is bool or uint8, else
            float64. For a MixedRBMEstimator, they have the dtype of the model, or float64
            if a real column has more precision.

        Raises
        ------
        ValueError
            If `X` has integers other than 0 and 1 of a dtype other than int32 and int64,
            although the model is one of binary data, or if its values are so large that
            they overflow.

        Warns
        -----
        UserWarning
            If other `X` has values outside [0, 1] although the model is one of binary data.
            They are used unchanged.

        Notes
        -----
        In rows with missing values, the probabilities are exact for up to 12 hidden units:
        they are sums over all states of these. For more units, they are averages over 24
        Gibbs chains of 40 steps, after 40 others, with a standard error of about 0.01 in
        rows of 64 bits if 30 % are missing. All rows use the same random numbers, so that
        the result of a row does not depend on the other rows.
        """
        return self._transform(X)

    def _transform(self, X, **check):
        model, data = self._model_and_rows(X, allow_nan=True, **check)
        mean = getattr(self, "visible_mean_", 0.5)
        return data.apply(
            lambda v: _gaps.mean_hidden(model, v, mean),
            model,
            n_columns=len(model.hidden_bias),
            dtype=dtype_for(model, data.X),
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
            the dtype of `X` if it is float32 or float64, that of the model if `X` is bool
            or uint8, else float64. For a MixedRBMEstimator, this is a table like that in
            `fit`, with the means of real columns and the most probable values of the
            others.

        Raises
        ------
        ValueError
            If `X` does not have `n_components` columns, or has NaN or infinite values.
        """
        model, data = self._model_and_hidden_rows(X)
        mean = data.apply(
            lambda h: model.visible.decode(model.mean_visible(h)),
            model,
            n_columns=model.visible.n_features,
            dtype=self._dtype_of_visible(model, data.X),
        )
        return self._visible_frame(mean, X)

    def _model_and_hidden_rows(self, h, name="X"):
        """Return the model and validated hidden rows as a data set."""
        model = model_of(self)
        data = DataSet(_inputs.read_rows(h, name, estimator=self))
        if data.n_features != len(model.hidden_bias):
            raise ValueError(
                f"{name} has {data.n_features} columns, but this model has "
                f"{len(model.hidden_bias)} components. Pass hidden states, or "
                "probabilities as returned by transform."
            )
        return model, data

    def _dtype_of_visible(self, model, h):
        """Return the dtype of visible rows that belong to hidden rows."""
        return dtype_for(model, h)

    def _visible_frame(self, array, like=None):
        """Return visible rows in the container chosen by `set_output`.

        A data frame has the names of the features, and the index of `like`.
        """

        def names():
            unnamed = [f"x{i}" for i in range(array.shape[1])]
            return getattr(self, "feature_names_in_", unnamed)

        return in_container(self, array, like, names)

    def _write(self, rows, like=None):
        """Return rows as from `_validate` in the form that users have them, like `like`."""
        return rows

    def _probabilities(self, of_columns):
        """Return the probabilities of the states of the columns that users have.

        They are given, and returned, as by `VisibleUnits.probabilities`.
        """
        return of_columns

    @property
    def _places(self):
        """The places of the columns that users have."""
        n_features = np.shape(self.components_)[1]
        return _inputs.Places(n_features, getattr(self, "feature_names_in_", None))

    def _columns_of(self, places):
        """Return which columns of validated rows these columns of users are."""
        return places

    def _visible_row(self, array):
        """Return the only row of an array of visible rows."""
        return array[0]

    def free_energy(self, X: MatrixLike) -> np.ndarray:
        """Compute the free energy of each row.

        The free energy ``F(v) = - log sum_h exp(-E(v, h))`` is the negative log-likelihood
        minus the log partition function. Use it to compare rows under the same model: it is
        fast, because the partition function is not needed. Free energies of different
        models are not comparable.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score, with NaN for missing values. These are summed out, as in
            `log_likelihood`.

        Returns
        -------
        free_energy : float64 ndarray of shape (n_samples,)
            Free energies, in nats. For a MixedRBMEstimator, they are inf for rows with two
            columns of a group on, or with none on if that has not occurred in training.

        Raises
        ------
        ValueError
            As for `transform`.

        Warns
        -----
        UserWarning
            As for `transform`.
        """
        return self._free_energy(X)

    def _free_energy(self, X, **check):
        model, data = self._model_and_rows(X, allow_nan=True, **check)
        return -likelihood._log_marginals(model, data)

    def score_samples(self, X: MatrixLike) -> np.ndarray:
        """Compute the score of each row, in nats, which depends on the visible units."""
        return self._score_samples(X)

    def _score_samples(self, X, n_flips=None, **check):
        """Return the scores that the visible units have."""
        model, data = self._model_and_rows_to_score(X, **check)
        return self._score_rows(model, data, n_flips)

    def _model_and_rows_to_score(self, X, **check):
        """Return what `_model_and_rows` does, for rows that may be impossible."""
        return self._model_and_rows(X, allow_nan=True, **{"clips": True} | check)

    def _score_rows(self, model, data, n_flips=None):
        """Return the scores of validated rows.

        These are pseudo-log-likelihoods or, if the units have none, log-likelihoods.
        """
        log_z = self._log_z_of_scores(model)
        if log_z is None:
            return likelihood._score_rows(self, model, data, n_flips)
        return likelihood._log_marginals(model, data) - log_z

    def _log_z_of_scores(self, model):
        """Return log Z if the scores are log-likelihoods, else None.

        It is kept until the model changes, as plain numbers, which pickles hold as well.
        """
        if model.visible.score == "pseudo_log_likelihood":
            return None
        value, of = vars(self).get("_log_partition", (None, ()))
        if not belongs_to(of, model):
            found = likelihood.log_partition(self, betas=N_BETAS_OF_SCORES, random_state=0)
            value, of = self._log_partition = found.value, found.of
        return value

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

        The log-likelihood of a row with missing values is the log-probability of its
        observed values.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to evaluate, with values 0 and 1 if the model is one of binary data, and
            with NaN for missing values.

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

        Notes
        -----
        With missing values and up to 20 hidden units, the log-likelihood is a sum over all
        states of the hidden units. This takes a minute for 20 units and a few thousand
        rows. With more units, it is estimated by ten annealed runs for each row, always
        with the same random numbers. This sum tends to be too low, by about 0.01 nats on
        average in rows of 64 bits if 30 % of them are missing. Single rows are off by 0.14
        nats there, and estimates differ by as much if the other rows change.
        """
        check_is_fitted(self)
        model = model_of(self)
        data = _inputs.fitting_rows(model, self._validate(X, allow_nan=True))
        return likelihood._log_likelihood(self, model, data, log_partition, random_state)

    # Columns given others ---------------------------------------------------------------

    def conditional_proba(self, X: MatrixLike, column: Any) -> Any:
        """Compute the distribution of a column given all other columns.

        Use it to predict a column, or to see how a column depends on the others. It is
        exact in rows without other missing values, without draws and without log Z.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows with all columns, as for `score_samples`. The values of the column itself
            do not matter, and may be missing.

        column : str, int or list of these
            Column, or several, each by its name or, if `X` has no names, by its index. Each
            column is given all others, including those in the list.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_states), named tuple, or dict of these
            The probabilities of the states of the column: 0 and 1, or those of
            `categories_` of a :class:`~skrbm.MixedRBMEstimator`, in this order. For a
            column of numbers, a named tuple of `mean` and `std`, two ndarrays of shape
            (n_samples,), in the units of the column. For a list of columns, a dict from
            these to their results. For a column of one of the `groups`, the probability is
            that given all columns outside of its group.

        Raises
        ------
        ValueError
            If `column` is not a column of `X`, or for `X` as for `score_samples`.

        Warns
        -----
        UserWarning
            As for `score_samples`.

        See Also
        --------
        skrbm.RBMImputer.impute_proba : Estimates for missing values, by Gibbs chains.

        Notes
        -----
        In rows with other missing values, the distribution is that given the observed
        values. For up to 12 hidden units it is exact, a sum over all of their states. For
        more units, distributions given all other columns are averaged over the states of 24
        Gibbs chains, at every fourth of 40 steps, after 40 others, always with the same
        random numbers.

        Examples
        --------
        >>> import numpy as np
        >>> from skrbm import BernoulliRBMEstimator
        >>> X = np.array([[0, 0, 0], [1, 1, 0]] * 100)
        >>> rbm = BernoulliRBMEstimator(n_components=2, n_iter=50, random_state=0).fit(X)
        >>> rbm.conditional_proba([[0, np.nan, 0], [1, np.nan, 0]], 1).round()
        array([[1., 0.],
               [0., 1.]])
        """
        check_is_fitted(self, "components_")
        several = hasattr(column, "__len__") and not isinstance(column, str | tuple)
        places, columns = self._places, list(column) if several else [column]
        found = [places.find(each, "column") for each in columns]
        features = list(dict.fromkeys(self._columns_of(found)))
        model, data = self._model_and_rows(X, allow_nan=True, targets=features, clips=True)
        of_features = likelihood._conditionals(self, model, data, features)
        of_columns = self._probabilities(of_features)
        results = [of_columns[place] for place in found]
        return dict(zip(columns, results, strict=True)) if several else results[0]

    def score_cells(self, X: MatrixLike, *, relative: bool = True) -> Any:
        """Compute how probable each cell of a row is, given all other cells of the row.

        Use it to find the values of a row that do not fit the others: they have the lowest
        scores. The probabilities are those of `conditional_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score, with NaN for missing values.

        relative : bool, default=True
            Whether to subtract the log-probability, or log-density, of the most probable
            value of the cell. Scores are then at most 0, and have the same scale in all
            columns (see Notes). If False, they are log-probabilities, or logarithms of
            densities in the units of the column where it has numbers.

        Returns
        -------
        scores : {ndarray, data frame} of shape (n_samples, n_features)
            Scores in nats, as float64, also in a dense array if `X` is sparse; NaN for
            missing values. Where `score_samples` is -inf, all scores of the row are -inf.
            `set_output` chooses the container.

        Raises
        ------
        ValueError
            As for `score_samples`.

        Warns
        -----
        UserWarning
            As for `score_samples`.

        Notes
        -----
        A relative score says by how much the log-probability of the row would increase if
        this cell alone were corrected (for numbers, to within 0.03 nats). With
        ``relative=False``, and if no column has numbers, the sum over the columns is
        `score_samples`.

        In rows with missing values, scores are means over the draws of `score_samples`. The
        score of one of the `groups` of columns is in its column that is 1, and the others
        have 0. If none is 1, all columns of the group have an equal part of the score.

        Examples
        --------
        Columns 0 and 1 are always the same in `X`, and columns 1 and 2, too:

        >>> import numpy as np
        >>> from skrbm import BernoulliRBMEstimator
        >>> X = np.array([[0, 0, 0, 0], [1, 1, 1, 0]] * 100)
        >>> rbm = BernoulliRBMEstimator(n_components=2, n_iter=50, random_state=0).fit(X)
        >>> int(rbm.score_cells([[1, 0, 1, 0]]).argmin())
        1
        """
        check_is_fitted(self, "components_")
        model, data = self._model_and_rows_to_score(X)
        cells = self._cells(likelihood._score_cells(self, model, data, relative), data)
        return BaseRBM._visible_frame(self, likelihood._without_impossible(cells, data), X)

    def _cells(self, scores, data):
        """Return scores of the columns that users have, given those of the columns of rows.

        `data` are the rows, as a data set.
        """
        return scores

    # Sampling ---------------------------------------------------------------------------

    def gibbs(
        self, v: MatrixLike, *, n_gibbs_steps: int = 1, random_state: RandomStateLike = None
    ) -> np.ndarray:
        """Run one Gibbs chain from each row of `v`.

        Parameters
        ----------
        v : {array-like, sparse matrix} of shape (n_samples, n_features) or (n_features,)
            Visible states to start from.

        n_gibbs_steps : int, default=1
            Number of Gibbs steps. Each one goes from visible to hidden to visible states.

        random_state : int, RandomState instance or None, default=None
            Controls the draws. If None, `random_state_` is used, so that each call gives
            different draws.

        Returns
        -------
        v_new : ndarray of shape (n_samples, n_features) or (n_features,)
            Visible states, in the shape of `v`. They have the dtype of `v` if it is float32
            or float64, that of the model if `v` is bool or uint8, else float64. For a
            MixedRBMEstimator, a table like that in `fit`.

        Raises
        ------
        ValueError
            If `n_gibbs_steps` is not positive, or for `v` as for `transform`.

        Warns
        -----
        UserWarning
            As for `transform`.
        """
        row = _inputs.as_matrix(v)
        model, data = self._model_and_rows(v if row is None else row, name="v")
        _inputs.check_integer(n_gibbs_steps, "n_gibbs_steps", 1)
        random_state = self._random_state(random_state)
        if len(data) > sampling.CHAINS_TO_A_GENERATOR:
            states = sampling.draw_chains(
                self,
                len(data),
                1,
                n_gibbs_steps=n_gibbs_steps,
                init=data,
                random_state=random_state,
            )[:, 0]
        else:
            model = model.for_rows(len(data) * n_gibbs_steps)
            states = sampling.gibbs(model, data, n_gibbs_steps, random_state)
        states = states.astype(dtype_for(model, data.X), copy=False)
        return self._visible_frame(states, v) if row is None else self._visible_row(states)

    def sample_hidden(
        self, v: MatrixLike, *, random_state: RandomStateLike = None
    ) -> np.ndarray:
        """Draw states of the hidden units given visible states.

        Parameters
        ----------
        v : {array-like, sparse matrix} of shape (n_samples, n_features) or (n_features,)
            Visible states.

        random_state : int, RandomState instance or None, default=None
            Controls the draws. If None, `random_state_` is used, so that each call gives
            different draws.

        Returns
        -------
        h : ndarray of shape (n_samples, n_components) or (n_components,)
            Hidden states, 0 or 1, drawn with the probabilities that `transform` returns.
            They have the dtype of `v` if it is float32 or float64, that of the model if `v`
            is bool or uint8, else float64.

        Raises
        ------
        ValueError
            As for `transform`.

        Warns
        -----
        UserWarning
            As for `transform`.

        See Also
        --------
        sample_visible : The reverse.
        gibbs : Alternates between the two.
        """
        row = _inputs.as_matrix(v)
        model, data = self._model_and_rows(v if row is None else row, name="v")
        rng = sampling.generator_from(self._random_state(random_state))
        h = data.apply(
            lambda rows: model.sample_hidden(rows, rng),
            model,
            n_columns=len(model.hidden_bias),
            dtype=dtype_for(model, data.X),
        )
        if row is not None:
            return h[0]
        return in_container(self, h, v, self.get_feature_names_out)

    def sample_visible(
        self, h: ArrayLike, *, random_state: RandomStateLike = None
    ) -> np.ndarray:
        """Draw states of the visible units given hidden states.

        Parameters
        ----------
        h : array-like of shape (n_samples, n_components) or (n_components,)
            Hidden states, as returned by `sample_hidden`. Probabilities, as returned by
            `transform`, are used unchanged.

        random_state : int, RandomState instance or None, default=None
            Controls the draws. If None, `random_state_` is used, so that each call gives
            different draws.

        Returns
        -------
        v : ndarray of shape (n_samples, n_features) or (n_features,)
            Visible states, drawn from distributions with the means that `inverse_transform`
            returns. They have the dtype of `h` if it is float32 or float64, that of the
            model if `h` is bool or uint8, else float64. For a MixedRBMEstimator, a table
            like that in `fit`.

        Raises
        ------
        ValueError
            As for `inverse_transform`.

        See Also
        --------
        sample_hidden : The reverse.
        gibbs : Alternates between the two.
        """
        row = _inputs.as_matrix(h)
        model, data = self._model_and_hidden_rows(h if row is None else row, name="h")
        model = model.for_rows(len(data))
        rng = sampling.generator_from(self._random_state(random_state))
        v = data.apply(
            lambda rows: model.visible.decode(model.sample_visible(rows, rng)),
            model,
            n_columns=model.visible.n_features,
            dtype=self._dtype_of_visible(model, data.X),
        )
        return self._visible_frame(v, h) if row is None else self._visible_row(v)

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

        If chains mix slowly, use ``init="noise"`` or `betas`.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows to draw.

        n_gibbs_steps : int, default=100
            Number of Gibbs steps from the start of a chain to its first row.

        n_chains : int, default=None
            Number of chains. The chains take turns in giving a row. If None, there is one
            chain per row. If there are more chains than starting points, several chains
            start at the same point.

        thinning : int, default=10
            Number of Gibbs steps between successive rows of a chain.

        init : {"chains", "noise"} or {array-like, sparse matrix} of shape (n_rows, \
n_features), default=None
            Start of the chains. "chains" uses the hidden states of the training chains,
            `h_samples_`, in random order. After persistent contrastive divergence these are
            already close to the distribution of the model. "noise" uses hidden states that
            are 0 or 1 with equal probability. If rows of visible states are passed, for
            example data, chain i starts at row ``i % n_rows``. None means "chains", or
            "noise" if there are no training chains.

        betas : "auto", int or array-like of shape (n_betas,), default=None
            Inverse temperatures of parallel tempering, the number of them, or "auto", for
            models whose chains do not mix. None means plain Gibbs sampling. See
            :func:`skrbm.sampling.draw_chains`.

        ladder : ModelLadder, default=None
            Models to run each chain at instead of temperatures, from
            :class:`skrbm.callbacks.TrajectoryLadder`.

        output : {"states", "probabilities"}, default="states"
            Whether to return visible states, or the means of the distributions from which
            they would be drawn: for binary data, the probabilities of a 1. For a
            MixedRBMEstimator, columns that are not real have their most probable values
            instead of means.

        n_jobs : int, default=None
            Number of jobs to run in parallel, as for joblib. Chains are distributed in
            groups of 256.

        random_state : int, RandomState instance or None, default=None
            Controls the draws. If None, `random_state_` is used, so that each call gives
            different draws.

        Returns
        -------
        v : ndarray of shape (n_samples, n_features)
            Rows drawn from the model, in the dtype of the model. For a MixedRBMEstimator, a
            table like that in `fit`.

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
        rows = chains.swapaxes(0, 1).reshape(-1, chains.shape[2])[:n_samples]
        return self._visible_frame(rows)

    def reconstruct(self, X: MatrixLike) -> np.ndarray:
        """Reconstruct rows from the mean of their hidden units.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to reconstruct. Rows with NaN are reconstructed from the hidden units given
            their other features, as by `transform`.

        Returns
        -------
        V : ndarray of shape (n_samples, n_features)
            Means of the visible units given the mean of the hidden units,
            ``inverse_transform(transform(X))``.

        Raises
        ------
        ValueError
            As for `transform`.

        Warns
        -----
        UserWarning
            As for `transform`.
        """
        model, data = self._model_and_rows(X, allow_nan=True)
        mean = getattr(self, "visible_mean_", 0.5)

        def reconstructed(v):
            h = _gaps.mean_hidden(model, v, mean)
            return model.visible.decode(model.mean_visible(h))

        n_columns, dtype = data.n_features, dtype_for(model, data.X)
        means = data.apply(reconstructed, model, n_columns=n_columns, dtype=dtype)
        return self._visible_frame(means, X)

    def _random_state(self, random_state):
        """Return the random generator to use, `random_state_` by default."""
        if random_state is None:
            random_state = getattr(self, "random_state_", self.random_state)
        return check_random_state(random_state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self._units.sparse
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
