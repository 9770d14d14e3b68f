"""The estimator for tables: its parameters, and how it reads and writes tables."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import assert_all_finite, check_is_fitted

from skrbm import _inputs, likelihood
from skrbm._attributes import model_of
from skrbm._base import BaseRBM
from skrbm._compat.sklearn import StrOptions
from skrbm._data import dtype_for
from skrbm._solvers import SOLVERS
from skrbm._tables import Table
from skrbm._typing import MatrixLike, RandomStateLike
from skrbm._units.mixed import MixedUnits
from skrbm.likelihood import LogPartition


class MixedRBMEstimator(BaseRBM):
    """Restricted Boltzmann machine for tables: categories, numbers, and gaps.

    For a data frame, or an array, whose columns have different types: yes or no,
    categories, ordered answers, and numbers. Nothing needs to be encoded, scaled or filled
    in. As a density model, the estimator scores rows, finds values that do not fit, and
    draws new rows of the same table. As a transformer, it turns rows into features: the
    probabilities of the hidden units. To fill in missing values, use :class:`RBMImputer`.

    Parameters
    ----------
    n_components : int, default=64
        Number of hidden units, the first parameter to tune. More units describe more
        structure, and training takes longer. With up to 20, log-likelihoods are exact.

    feature_types : "infer", array-like of str or dict, default="infer"
        Types of the columns: "binary", "categorical", "ordinal" (ordered categories) or
        "real". By default, they are inferred and stored in `feature_types_`. Declare what
        cannot be inferred (see Notes), such as ordered answers from 1 to 5, by a dict with
        the names or numbers of these columns, or by a list or array with a type or "infer"
        for each column.

    groups : None, "auto" or array-like of array-likes, default=None
        Columns of 0 and 1 that exclude each other, such as the output of
        :class:`~sklearn.preprocessing.OneHotEncoder`: lists of columns, by name or, in an
        array, by number. Each group is modeled as one column (see Notes). "auto" takes the
        groups that :func:`exclusive_groups` finds. None takes columns as they are.

    covariance_type : {"full", "diag"}, default="full"
        Covariance matrix of the real columns given the hidden units. "full" learns how they
        vary together, also where some are functions of others. Choose "diag", which makes
        them independent given the hidden units, for columns with few distinct values, or to
        save time with hundreds of real columns and missing values.

    solver : {"pcd", "cd", "pt"}, default="pcd"
        Start of the Gibbs chains that estimate the gradient. "pcd" (persistent contrastive
        divergence) continues the chains of the previous minibatch and learns the better
        density. "cd" (contrastive divergence) starts one chain at each row of the
        minibatch. Try "pt" (parallel tempering) if `verdict_` finds unvisited modes; a step
        takes about ten times as long.

    n_gibbs_steps : int or "auto", default="auto"
        Number of Gibbs steps per minibatch: the k of PCD-k and CD-k. "auto" is 1, or up to
        5 for rows on which chains are slow (see Notes). Raise it for a better density if
        there is time. The number used is stored in `n_gibbs_steps_`.

    n_chains : int, default=100
        Number of persistent chains, independent of `batch_size`. More of them make the
        gradient less noisy, which pays off in long fits; fewer save time. With
        ``solver="pt"``, this is the number at each temperature. Ignored by ``solver="cd"``,
        which runs one chain per row of the minibatch.

    learning_rate : float or "auto", default="auto"
        Step size for the gradient of the mean log-likelihood of a minibatch. "auto" follows
        from the variance of the rows (see Notes). Lower it if training diverges or if
        `verdict_` finds unvisited modes, and raise `n_iter` with it. The rate used is
        stored in `learning_rate_`.

    schedule : {"linear", "constant"}, default="linear"
        How the learning rate changes during `fit`. "linear" lowers it from `learning_rate`
        to 0 at the end of `n_iter` epochs, which averages out the noise of the chains.
        Choose "constant" if you do not know when training will end; `partial_fit` always
        uses it.

    weight_decay : float or "auto", default="auto"
        Strength of the L2 penalty on the weights; biases are not penalized. "auto" finds it
        by a short first training or by a rule (see Notes). Pass a number to skip the first
        training, or to tune it around `weight_decay_`, where the value used is stored.

    batch_size : int, default=20
        Number of rows per minibatch. Larger minibatches make updates less noisy but slower.

    n_iter : int or "auto", default="auto"
        Number of epochs, that is, passes of `fit` over the training data. "auto" follows
        from the numbers of rows and weights (see Notes). The number run is stored in
        `n_iter_`. Pass more while the score of held-out rows rises.

    shuffle : bool, default=True
        Whether to shuffle the rows in each epoch of `fit`. Turn it off only if they are in
        random order already.

    early_stopping : bool, default=False
        Whether `fit` holds out some rows, stops when their score no longer improves, and
        keeps the model of the best epoch. The default `weight_decay` prevents overfitting
        about as well. Use early stopping to find the number of epochs, with a large
        `n_iter`.

    validation_fraction : float, default=0.1
        Fraction of the rows to hold out for early stopping, in (0, 1).

    n_iter_no_change : int, default=10
        Early stopping ends training when the validation score has improved by less than
        `tol` for more than this many consecutive epochs.

    tol : float, default=1e-4
        Minimum improvement of the best validation score, in nats, for early stopping.

    warm_start : bool, default=False
        If True, `fit` continues from the parameters and chains of the previous fit instead
        of from scratch, with a new schedule, on a table of the same columns. Use it to
        train further, also with other parameters, if they do not change the shape of the
        model. `feature_types` and `groups` may not be changed.

    verbose : int, default=0
        Whether to print a line for each epoch that is recorded in `history_`.

    random_state : int, RandomState instance or None, default=None
        Controls the initial weights, the order of the rows and all draws during training,
        as well as the draws of `gibbs` and `sample` when these are not given a
        `random_state`. Pass an int for reproducible results across calls of `fit`.

    Attributes
    ----------
    feature_types_ : dict or list of str
        Type of each column: a dict by name if all columns have names, else a list.

    categories_ : dict or list
        Categories of each column, in the order of their states; None if the column is real.
        A dict or list, as `feature_types_` is.

    groups_ : list of lists
        The columns of each group, by name or by number; empty if `groups` is None.

    components_ : ndarray of shape (n_components, n_encoded)
        Weights of the encoded columns (see Notes), for real columns in their units. float32
        if the table is a data frame, or an array of float32, bool, uint8 or strings, else
        float64.

    intercept_hidden_ : ndarray of shape (n_components,)
        Biases of the hidden units.

    intercept_visible_ : ndarray of shape (n_encoded,)
        Biases of the encoded columns; for real ones, the means if all hidden units are off.

    noise_variance_ : float64 ndarray of shape (n_real,)
        Variances of the real columns given the hidden units. Only available if there are
        any, with ``covariance_type="diag"`` or if there is only one.

    axes_ : float64 ndarray of shape (n_real, n_real)
        Directions along which the real columns vary independently given the hidden units,
        as for :class:`GaussianRBMEstimator`. Only available with several of them and
        ``covariance_type="full"``.

    axes_variance_ : float64 ndarray of shape (n_real,)
        Variances along the axes given the hidden units, as for
        :class:`GaussianRBMEstimator`. Available with `axes_`.

    visible_mean_ : ndarray of shape (n_encoded,)
        Means of the encoded columns over the training rows and one additional row. In this
        row, all categories or levels of a column are equally probable, and the values of
        binary columns equal their overall mean. It does not count for real columns.

    visible_variance_ : float64 ndarray of shape (n_real,)
        Variances of the real columns in the training data. Only available if there are any.

    h_samples_ : ndarray of shape (n_chains, n_components)
        Hidden states, 0 or 1, of the chains of the negative phase.

    learning_rate_ : float
        Learning rate of the last call of `fit` or `partial_fit`, a number even if
        `learning_rate` is "auto".

    weight_decay_ : float
        Weight decay of the last call of `fit` or `partial_fit`, a number even if
        `weight_decay` is "auto".

    n_gibbs_steps_ : int
        Number of Gibbs steps of the last call of `fit` or `partial_fit`, a number even if
        `n_gibbs_steps` is "auto".

    n_iter_ : int
        Number of epochs run by the last `fit`. With `early_stopping`, the model is that of
        the epoch with the best validation score, which is not necessarily the last one.

    history_ : dict of lists
        Record of the last `fit`, as of a :class:`BernoulliRBMEstimator` or, if there are
        real columns, of a :class:`GaussianRBMEstimator`.

    validation_scores_ : list of float
        Mean score of the held-out rows, in nats, after each epoch of the last `fit`. Only
        available with `early_stopping`.

    verdict_ : object or None
        Result of the check of the model at the end of the last `fit`. ``str(verdict_)``
        says it in words; `problem` is None, "unvisited modes", "worse than independent
        features" or "wrong proportions". See :ref:`verdict`. None if the model was not
        checked: after a fit of fewer than 5000 updates, or one that was interrupted or had
        another problem, and after `partial_fit`.

    log_partition_gap_ : float
        Estimate of log Z minus the estimate from up to 100 persistent chains, 100 Gibbs
        steps after the last `fit`, in nats. Values clearly above 0 show that the model has
        modes that the chains have not visited. Negative values only show that annealed runs
        of 500 temperatures are too short for an exact estimate. Only available if the
        model was checked and has at least 20 persistent chains.

    random_state_ : RandomState
        Random generator that `gibbs` and `sample` use by default.

    n_features_in_ : int
        Number of columns seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of columns seen during fit, if all of them are strings.

    See Also
    --------
    RBMImputer : Fills in missing values.
    RBMClassifier : For rows with labels.
    exclusive_groups : Finds columns of bits that exclude each other.
    BernoulliRBMEstimator : For rows of 0 and 1 alone, which may stay sparse.
    GaussianRBMEstimator : For numbers alone.
    ParallelRBM : Trains one model in several processes.

    Notes
    -----
    The model [1]_ has binary hidden units. Given these, a binary column is 1 with some
    probability, the categories of a column have the probabilities of a softmax, and numbers
    are normally distributed with a covariance matrix, as in :class:`GaussianRBMEstimator`.
    All other columns are independent of each other, so the model is a mixture of
    2^n_components simple tables. See :doc:`/model`.

    **Types of columns.** A column is inferred to be binary if it has two strings or
    categories, booleans, or the numbers 0 and 1 alone. It is categorical if it has other
    strings or unordered categories, ordinal if its categories are ordered, and real if it
    has other numbers. Only numbers and ordered categorical dtypes can be declared as
    ordinal. In `partial_fit`, the first call fixes types and categories, so that numbers
    are binary if it has only 0 and 1 of them. Declare other types in `feature_types`, and
    categories that only come later by a categorical dtype.

    **Encoded columns** are, from left to right: binary columns; softmax units, one for each
    category of a categorical column; one unit for each level but the first of an ordinal
    column; and real columns, in their units. The unit of a level is 1 at this level and
    above. The units of an ordinal column are like a thermometer, so that neighboring levels
    are similar unless the data tell otherwise [1]_.

    **Groups.** In any row, at most one column of a group is 1. A group has a state for each
    of its columns, and one for none of them where that occurs in training. Where it does
    not, rows with none of them are impossible; to allow for them, leave one of the columns
    out of the group. Rows are still read and written as bits. Where a group has missing
    values, all of its columns must be missing, unless the others tell which one is 1.

    **Covariances.** A single real column has a variance of its own, whatever the
    `covariance_type`.

    **Values of "auto"**, with s, the largest variance of the encoded rows in any direction,
    estimated from up to 500 rows. :doc:`/defaults` tells how the rules were found.

    - `learning_rate` is ``1 / (1 + s)``, or half of that if all columns are real.
      `partial_fit` keeps the rate of the previous call, or starts with 0.2.
    - `n_gibbs_steps` is 1. In `fit` with ``solver="pcd"``, if no column or all columns are
      real, it is 2, 3 or 5 if s exceeds 1.2, 5 or 6. `partial_fit` keeps the number of the
      previous call, or starts with 1.
    - `n_iter` and `weight_decay` follow the rules of :class:`BernoulliRBMEstimator`, with
      the score of held-out rows and the total variance of the encoded rows. The weights of
      real columns among others decay 14 / s times as strongly, if that is more, unless
      `weight_decay` is a number.

    References
    ----------
    .. [1] Tran, T., Phung, D. and Venkatesh, S. (2011). Mixed-variate restricted Boltzmann
       machines. ACML 2011, 213-229.

    Examples
    --------
    >>> import pandas as pd
    >>> from skrbm import MixedRBMEstimator
    >>> X = pd.DataFrame({
    ...     "pet": ["cat", "dog", "cat", None] * 50,
    ...     "size": [25.0, 60.0, 24.0, 61.0] * 50,
    ... })
    >>> rbm = MixedRBMEstimator(n_components=4, n_iter=20, random_state=0).fit(X)
    >>> rbm.feature_types_
    {'pet': 'binary', 'size': 'real'}
    >>> rbm.sample(2).columns.tolist()
    ['pet', 'size']
    >>> rbm.transform(X).shape
    (200, 4)
    """

    feature_types_: dict[str, str] | list[str]
    categories_: dict[str, np.ndarray | None] | list[np.ndarray | None]
    groups_: list[list[Any]]
    noise_variance_: np.ndarray
    visible_variance_: np.ndarray

    _units = MixedUnits
    _solvers = SOLVERS
    _of_columns = *BaseRBM._of_columns, "_table", "feature_types_", "categories_"
    _reads_frames = True
    _parameter_constraints: dict = BaseRBM._parameter_constraints | {
        "feature_types": [StrOptions({"infer"}), dict, "array-like"],
        "groups": [StrOptions({"auto"}), "array-like", None],
        "covariance_type": [StrOptions({"full", "diag"})],
        "solver": [StrOptions(set(SOLVERS))],
    }

    def __init__(
        self,
        n_components: int = 64,
        *,
        feature_types: Literal["infer"] | Sequence[str] | Mapping[Any, str] = "infer",
        groups: Literal["auto"] | Sequence[Sequence[Any]] | None = None,
        covariance_type: Literal["full", "diag"] = "full",
        solver: Literal["pcd", "cd", "pt"] = "pcd",
        n_gibbs_steps: int | Literal["auto"] = "auto",
        n_chains: int = 100,
        learning_rate: float | Literal["auto"] = "auto",
        schedule: Literal["linear", "constant"] = "linear",
        weight_decay: float | Literal["auto"] = "auto",
        batch_size: int = 20,
        n_iter: int | Literal["auto"] = "auto",
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        verbose: int = 0,
        random_state: RandomStateLike = None,
    ) -> None:
        self.n_components = n_components
        self.feature_types = feature_types
        self.groups = groups
        self.covariance_type = covariance_type
        self.solver = solver
        self.n_gibbs_steps = n_gibbs_steps
        self.n_chains = n_chains
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    # Tables -----------------------------------------------------------------------------

    def _validate(
        self,
        X,
        reset=False,
        name="X",
        *,
        sample_weight=None,
        targets=(),
        allow_nan=False,
        **options,
    ):
        """Return coded rows, after learning the columns of the table if `reset`.

        Nothing is learned from rows of weight 0, in which unknown values are gaps.
        """
        ignored = None
        if sample_weight is not None:
            ignored = _inputs.check_weights(sample_weight, X) == 0
        if reset:
            self._learn_columns(X, ignored=ignored)
        return self._read(X, name, allow_nan=allow_nan, ignored=ignored, targets=targets)

    def _learn_columns(self, X, **options):
        self._table = Table.learn(
            X,
            feature_types=self.feature_types,
            groups=self.groups,
            owner=type(self).__name__,
            **options,
        )
        self.n_features_in_ = self._table.n_features
        self.__dict__.pop("feature_names_in_", None)
        if self._table.names is not None:
            self.feature_names_in_ = np.array(self._table.names, dtype=object)
        self.feature_types_ = self._table.feature_types
        self.categories_ = self._table.categories
        self.groups_ = self._table.labels_of_groups

    def _check_declared(self):
        self._table.check_declared(self.feature_types, self.groups)

    def _declare(self, meta, reset):
        if reset:
            self._learn_columns(meta, by_dtypes=True)
        else:
            super()._declare(meta, reset)

    def _settle(self, largest_values):
        if self._table.groups:
            self._table.settle(largest_values())

    @property
    def _reader(self):
        return functools.partial(self._table.read, name="a block of X", min_samples=0)

    def _read_to_score(self, X):
        return self._reader(X, impossible="mark")

    def _read(
        self, X, name="X", *, allow_nan=False, to_score=False, ignored=None, targets=()
    ):
        """Return coded rows of a table with the columns of that in `fit`.

        With `to_score`, also return which of them the model cannot have.
        """
        check_is_fitted(self, "_table")
        if to_score:
            return self._table.read(X, name, impossible="mark")
        coded = self._table.read(X, name, ignored=ignored, targets=targets)
        if not allow_nan:
            with _inputs.rows_called(name):
                assert_all_finite(coded, input_name="X")
        return coded

    @property
    def _layout(self):
        """The type and the number of states of each coded column."""
        check_is_fitted(self, "_table")
        fields = self._table.fields
        n_states = [0 if f.categories is None else len(f.categories) for f in fields]
        pairs = zip(fields, n_states, strict=True)
        return ["categorical" if n == 1 else f.type for f, n in pairs], n_states

    @property
    def _columns(self):
        """The labels and the categories of the coded columns."""
        table = self._table
        return table.columns_of_fields, [field.categories for field in table.fields]

    def _untrained(self, data, dtype):
        (types, n_states), dtype = self._layout, self._table.precision
        moments = data.moments() if "real" in types else None
        units = MixedUnits.for_columns(types, n_states, dtype, moments, data.X.dtype)
        return units.with_covariance(data) if self.covariance_type == "full" else units

    def _warn_of_units(self, units):
        if (constant := units.real_columns("constant")).size:
            warnings.warn(
                f"X is constant in {self._features(constant)}. The density of such a "
                "column is arbitrary: drop it, or declare it as categorical in "
                "feature_types."
            )

    def _warn_of_result(self, model):
        if (collapsed := model.visible.real_columns("collapsed")).size:
            warnings.warn(
                f"The variance of {self._features(collapsed)} given the hidden units, or "
                "of a linear combination of these columns, has reached its lower bound, so "
                "likelihoods depend on this bound. Such a column has few distinct values, "
                "an outlier, or is a function of others: declare it as ordinal in "
                "feature_types, clip it, or drop it.",
                ConvergenceWarning,
            )

    def _features(self, places):
        columns = [self._table.fields[place].columns[0] for place in places]
        return _inputs.feature_names(self, np.array(columns))

    def _dtype_of_visible(self, model, h):
        """Return float64, in which numbers far from 0 are precise, if there are any."""
        return dtype_for(model, h) if model.visible.rows_are_bits else np.float64

    def _visible_frame(self, array, like=None):
        """Return coded rows as a table like that in `fit`, with the index of `like`."""
        table = self._write(array, like)
        if self._table.container != "array":
            return table
        return super()._visible_frame(table, like)

    def _write(self, rows, like=None):
        return self._table.write(rows, index=getattr(like, "index", None))

    @property
    def _places(self):
        check_is_fitted(self, "_table")
        return self._table.places

    def _columns_of(self, places):
        return self._table.fields_of(places)

    def _cells(self, scores, data):
        return self._table.divide(scores, data.X)

    def _probabilities(self, of_columns):
        return self._table.probabilities(of_columns)

    def _visible_row(self, array):
        """Return the only coded row as an array of values."""
        table = self._table.write(array)
        return table[0] if self._table.container == "array" else table.to_numpy()[0]

    def __getstate__(self):
        state = super().__getstate__()
        if "_table" in state:
            state["_table"] = self._table.to_plain()
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "_table" in state:
            self._table = Table.from_plain(state["_table"])

    # Scores -----------------------------------------------------------------------------

    def score_samples(self, X: MatrixLike) -> np.ndarray:
        """Compute the score of each row: how probable it is.

        If there are real columns, this is the log-likelihood. Otherwise it is the
        pseudo-log-likelihood: the sum over columns of the log-probability of the value of
        the column given all other columns.

        Parameters
        ----------
        X : {data frame, array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        score : float64 ndarray of shape (n_samples,)
            Scores, in nats; log-likelihoods are logarithms of densities in the units of the
            real columns. -inf for rows with two columns of a group on, or with none on if
            that has not occurred in training.

        Raises
        ------
        ValueError
            If `X` has categories that are not those of training, or other columns.

        Notes
        -----
        The pseudo-log-likelihood is exact. In rows with missing values, the sum is over the
        observed ones. It is a mean over 24 draws of the missing ones given these, with the
        same random numbers for all rows.

        The log-likelihood is exact for models with up to 20 hidden units. For others, the
        partition function is estimated by annealed importance sampling with 100 runs and
        2000 temperatures, always with the same random numbers. The estimate is made once
        and kept until the model changes. For its error, call `log_partition`. Missing
        values are summed out, as in `log_likelihood`.
        """
        return self._score_samples(X)

    def _free_energy(self, X, **check):
        model, data = self._model_and_rows_to_score(X, **check)
        return -likelihood._log_marginals(model, data)

    def _model_and_rows_to_score(self, X, name="X", **check):
        model = model_of(self)
        data = _inputs.check_rows(model, X, self, name=name, to_score=True)
        return model.for_rows(len(data)), data

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
        X : {data frame, array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to evaluate.

        log_partition : LogPartition or float, default=None
            Log partition function, as returned by the method `log_partition`. If None, that
            method is called, which takes a while if there are many units. To evaluate
            several sets of rows, call it once and pass its result.

        random_state : int, RandomState instance or None, default=None
            Controls the draws if the partition function is estimated.

        Returns
        -------
        log_likelihood : float64 ndarray of shape (n_samples,)
            Log-likelihoods, in nats: ``-free_energy(X) - log Z``. If there are real
            columns, these are logarithms of densities in the units of the columns. They are
            -inf for rows with two columns of a group on, or with none on if that has not
            occurred in training.

        Raises
        ------
        ValueError
            If `X` has categories that are not those of training, or other columns.

        Notes
        -----
        With missing values and up to 20 hidden units, the log-likelihood is a sum over all
        states of the hidden units. This takes a minute for 20 units and a few thousand
        rows. With more units, it is estimated by ten annealed runs for each row, always
        with the same random numbers. This sum tends to be too low, by about 0.01 nats on
        average in rows of 64 bits if 30 % of them are missing.
        """
        check_is_fitted(self)
        return likelihood.log_likelihood(
            self, X, log_partition=log_partition, random_state=random_state
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags
