"""A scikit-learn compatible imputer."""

from __future__ import annotations

import contextlib
import warnings
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, clone
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted

from skrbm import _frames, _inputs, sampling
from skrbm._attributes import model_of
from skrbm._base import BaseRBM, RangeCheckMixin
from skrbm._bernoulli import BernoulliRBMEstimator
from skrbm._compat.sklearn import (
    Interval,
    MissingValues,
    StrOptions,
    _fit_context,
    in_container,
    is_pandas_na,
    is_scalar_nan,
)
from skrbm._data import DataSet
from skrbm._fitting import Fit, unchanged_on_error
from skrbm._gaussian import GaussianRBMEstimator
from skrbm._mixed import MixedRBMEstimator
from skrbm._random import draw_seeds
from skrbm._tables import Table
from skrbm._typing import MatrixLike, RandomStateLike


class RBMImputer(OneToOneFeatureMixin, RangeCheckMixin, BaseEstimator):
    """Fill in missing values with a model of all columns.

    For data frames with categories, numbers and bits, and for arrays. The model learns from
    the rows with gaps themselves. `transform` then fills in the missing values of a row
    given its observed values: by means and most probable values, or by random draws.
    `impute_draws` returns several completed tables for multiple imputation, and
    `impute_proba` the probabilities of the categories.

    Parameters
    ----------
    rbm : estimator, default=None
        Estimator to train; it is cloned. Pass one to declare ordered answers such as 1 to
        5, by ``MixedRBMEstimator(feature_types=...)``, or to change how the model is
        trained. If None, it has default parameters and suits the data: a
        :class:`MixedRBMEstimator` for data frames, and for arrays a
        :class:`BernoulliRBMEstimator` if all values are in [0, 1], a
        :class:`GaussianRBMEstimator` if all columns are other numbers, and otherwise a
        :class:`MixedRBMEstimator`.

    missing_values : int, float, str, NaN, None or pandas.NA, default=NaN
        Placeholder of missing values, for example -1 in integer data. NaN, None, pandas.NA
        and the masked values of a masked array always count as missing.

    strategy : {"probability", "mode", "draw"}, default="probability"
        Values to fill in. "probability" gives the conditional mean of numbers, the
        probability of a 1 for the bits of an array, and otherwise the most probable
        category. "mode" differs for the bits of an array only: it gives their more probable
        value. Choose "draw" to preserve the spread and the correlations of the data: it
        gives a random draw, which differs between calls of `transform`.

    n_gibbs_steps : int, default=100
        Number of Gibbs steps of the chain that fills in a row by a draw, or of each of the
        16 chains over whose second halves probabilities and means are averaged. Raise it
        for less random error, above all in rows with several gaps.

    random_state : int, RandomState instance or None, default=None
        Controls all draws, and the seed of `rbm` if it has no `random_state` of its own.
        Probabilities, means and modes of a row are the same at each call of `transform`.
        Pass an int for reproducible results across calls of `fit`.

    add_indicator : bool, default=False
        Whether `transform` appends the columns of a
        :class:`~sklearn.impute.MissingIndicator`, one for each feature that had missing
        values in `fit`. Use it if a later model may learn from the absence of a value.

    Attributes
    ----------
    rbm_ : estimator
        Fitted estimator.

    indicator_ : MissingIndicator or None
        Indicator of missing values; None unless `add_indicator` is set.

    random_state_ : RandomState
        Random generator used by ``strategy="draw"`` and `impute_draws`.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if all of them are strings.

    See Also
    --------
    skrbm.sampling.sample_conditional : Imputation with an estimator that is already fitted.
    MixedRBMEstimator : The model of a table, which also scores and draws rows.
    sklearn.impute.IterativeImputer : Imputation by regression on the other features.

    Notes
    -----
    The model is a restricted Boltzmann machine. Training maximizes the likelihood of the
    observed values [1]_. Gibbs sampling estimates the distribution of the missing values of
    a row given its observed values.

    References
    ----------
    .. [1] Younes, L. (1999). On the convergence of Markovian stochastic algorithms with
       rapidly decreasing ergodicity rates. Stochastics and Stochastic Reports, 65(3-4),
       177-228.

    Examples
    --------
    >>> import pandas as pd
    >>> from skrbm import MixedRBMEstimator, RBMImputer
    >>> X = pd.DataFrame({"pet": ["cat", "dog"] * 100, "size": [20.0, 60.0] * 100})
    >>> X.loc[0, "pet"] = X.loc[1, "size"] = None
    >>> rbm = MixedRBMEstimator(n_components=4, n_iter=50)
    >>> RBMImputer(rbm, random_state=0).fit_transform(X)[:2].round(-1)
       pet  size
    0  cat  20.0
    1  dog  60.0
    """

    rbm_: BaseRBM
    indicator_: Any  # MissingIndicator or None, whose module is slow to import
    random_state_: np.random.RandomState
    n_features_in_: int
    feature_names_in_: np.ndarray

    _parameter_constraints: dict = {
        "rbm": [BaseRBM, None],
        "missing_values": [MissingValues()],
        "strategy": [StrOptions({"probability", "mode", "draw"})],
        "n_gibbs_steps": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "add_indicator": ["boolean"],
    }

    def __init__(
        self,
        rbm: BaseRBM | None = None,
        *,
        missing_values: Any = np.nan,
        strategy: Literal["probability", "mode", "draw"] = "probability",
        n_gibbs_steps: int = 100,
        random_state: RandomStateLike = None,
        add_indicator: bool = False,
    ) -> None:
        self.rbm = rbm
        self.missing_values = missing_values
        self.strategy = strategy
        self.n_gibbs_steps = n_gibbs_steps
        self.random_state = random_state
        self.add_indicator = add_indicator

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: MatrixLike, y: Any = None) -> Self:
        """Train the model on the data `X`.

        Parameters
        ----------
        X : {data frame, array-like} of shape (n_samples, n_features)
            Training data, with values that `rbm` takes. Missing values are NaN, None,
            pandas.NA, `missing_values`, and the masked values of a masked array.

        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        self : RBMImputer
            The fitted imputer.

        Raises
        ------
        ValueError
            If a parameter is out of range, if `X` is empty or has infinite values, if a
            feature has no observed values, or for observed values that the `fit` of `rbm`
            refuses.

        Warns
        -----
        UserWarning, ConvergenceWarning
            As for the `fit` of `rbm`, for example if observed values are outside [0, 1]
            although the model is one of binary data, if training diverged, or if it was
            interrupted from the keyboard.
        """
        with unchanged_on_error(self):
            self._fit(X)
        return self

    def _fit(self, X):
        table = self._read(X, reset=True)
        random_state = check_random_state(self.random_state)
        self._seed, later, of_rbm = draw_seeds(3, random_state)
        with _advice_on_strings():
            rbm = (
                suited_to(table, type(self).__name__)
                if self.rbm is None
                else clone(self.rbm)
            )
            if rbm.random_state is None:
                rbm.set_params(random_state=of_rbm)
            rbm._run(Fit(rbm, table, given=_in_memory(X), refuse_constant=False))
        self.rbm_, self.indicator_ = rbm, None
        if self.add_indicator:
            from sklearn.impute import MissingIndicator  # slow to import

            indicator = MissingIndicator(error_on_new=False)
            indicator.set_output(transform="default").fit(_gaps_alone(table))
            self.indicator_ = indicator
        self.random_state_ = np.random.RandomState(later)

    def transform(self, X: MatrixLike) -> Any:
        """Fill in the missing values.

        Parameters
        ----------
        X : {data frame, array-like} of shape (n_samples, n_features)
            Rows to complete, with missing values as in `fit`.

        Returns
        -------
        X_filled : {ndarray, data frame} of shape (n_samples, n_features) or (n_samples, \
n_features + n_indicators)
            Rows with the missing values filled in. Observed values are unchanged. If `rbm_`
            is a :class:`MixedRBMEstimator` that was trained on a data frame, this is a data
            frame with the same dtypes and categories, and with the index of `X`. If
            `add_indicator`, columns of 0 and 1, or of booleans, follow.

        Raises
        ------
        ValueError
            If `X` has infinite values, other columns than in `fit`, or observed values that
            `rbm_` refuses.

        Warns
        -----
        UserWarning
            If observed values are outside [0, 1] although the model is one of binary data.
            They are returned unchanged, but when missing values are filled in, values below
            0 count as 0 and values above 1 as 1.
        """
        return self._transform(X)

    def _transform(self, X, **check):
        table, model, data = self._table_and_model(X, **check)
        draw = self.strategy == "draw"
        rows = sampling.fill_rows(
            *(model, data, self.rbm_.visible_mean_, _dtype_of(data)),
            mode=self.strategy == "mode",
            means=not draw,
            n_gibbs_steps=self.n_gibbs_steps,
            random_state=self.random_state_ if draw else self._seed,
        )
        return self._write(rows, table)

    def impute_draws(
        self,
        X: MatrixLike,
        n_draws: int = 5,
        *,
        random_state: RandomStateLike = None,
    ) -> list:
        """Fill in the missing values several times, by independent draws.

        Compute an estimate, such as a mean or coefficients, from each of the completed
        tables. The estimates differ as far as they depend on what is missing.

        Parameters
        ----------
        X : {data frame, array-like} of shape (n_samples, n_features)
            Rows to complete, as for `transform`.

        n_draws : int, default=5
            Number of tables.

        random_state : int, RandomState instance or None, default=None
            Controls the draws. If None, `random_state_` is used, so that each call gives
            different draws.

        Returns
        -------
        tables : list of {ndarray, data frame}
            Tables as from `transform` with ``strategy="draw"``.

        Raises
        ------
        ValueError
            If `n_draws` is not positive, or as for `transform`.

        Warns
        -----
        UserWarning
            As for `transform`.

        Notes
        -----
        The mean of the estimates is the estimate by multiple imputation. Its variance is
        the mean of their variances, as computed from each table, plus ``1 + 1 / n_draws``
        times the variance between the estimates [1]_.

        References
        ----------
        .. [1] Rubin, D. B. (1987). Multiple Imputation for Nonresponse in Surveys. Wiley.
        """
        table, model, data = self._table_and_model(X)
        _inputs.check_integer(n_draws, "n_draws", 1)
        if random_state is None:
            random_state = self.random_state_
        rows = sampling.fill_rows(
            *(model, DataSet.stack([data] * n_draws)),
            *(self.rbm_.visible_mean_, _dtype_of(data)),
            means=False,
            n_gibbs_steps=self.n_gibbs_steps,
            random_state=random_state,
        )
        return [
            in_container(self, self._write(part, table), X, self.get_feature_names_out)
            for part in np.split(rows, n_draws)
        ]

    def impute_proba(self, X: MatrixLike) -> dict[Any, np.ndarray]:
        """Return the probabilities of the categories of each column.

        Parameters
        ----------
        X : {data frame, array-like} of shape (n_samples, n_features)
            Rows to complete, as for `transform`.

        Returns
        -------
        probabilities : dict of ndarray of shape (n_samples, n_categories)
            The probabilities of the categories of each column given the observed values of
            the row. The keys are the names of the columns, or their indices if there are no
            names; real columns are left out. The categories are in the order of
            `categories_` of a :class:`MixedRBMEstimator`, or 0 and 1. An observed category
            has probability 1.

        Raises
        ------
        ValueError
            If all columns are real, or as for `transform`.

        Warns
        -----
        UserWarning
            As for `transform`.
        """
        _, model, data = self._table_and_model(X)
        of_states, some = model.visible.probabilities, data.gappy()
        p = of_states(np.nan_to_num(data.copy_rows(model.dtype)))
        if not p:
            raise ValueError(
                "All columns are real, so they have no categories. If some are categories "
                "or levels, declare them in feature_types of a MixedRBMEstimator. For the "
                "uncertainty of numbers, use impute_draws."
            )
        if some.size:
            filled = sampling.fill(
                *(model, data, some, self.rbm_.visible_mean_),
                lambda v: list(of_states(v).values()),
                means=True,
                n_gibbs_steps=self.n_gibbs_steps,
                random_state=self._seed,
            )
            for all_rows, rows in zip(p.values(), filled, strict=True):
                all_rows[some] = rows
        names = getattr(self, "feature_names_in_", range(self.n_features_in_))
        return {names[i]: p for i, p in sorted(self.rbm_._probabilities(p).items())}

    # Rows -------------------------------------------------------------------------------

    def _read(self, X, reset=False):
        """Return a frame or an ndarray with NaN, None or NA for all missing values."""
        if isinstance(X, np.ma.MaskedArray):
            X = _unmasked(X)
        X = _inputs.check_table(X, self, reset=reset, accept_sparse=False)
        mark = self.missing_values
        if mark is None or is_pandas_na(mark) or is_scalar_nan(mark):
            return X
        return _frames.with_gaps(X, mark)

    def _table_and_model(self, X, **check):
        """Return a table, the model, and the rows as it needs them."""
        check_is_fitted(self)
        table, rbm = self._read(X), self.rbm_
        with warnings.catch_warnings(), _advice_on_strings():
            # Names were checked as those of the imputer, which are the same.
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            warnings.filterwarnings("ignore", "X has feature names")
            rows = rbm._validate(table, allow_nan=True)
        model = model_of(rbm)
        data = _inputs.fitting_rows(model, rows)
        options = {"clips": True} | check
        _inputs.check_values(model.visible, data, _in_memory(X), rbm, **options)
        return table, model, data

    def _write(self, rows, table):
        """Return complete rows in the form of users, with the indicators of a table."""
        filled = _frames.with_complete_columns(self.rbm_._write(rows, table), table)
        if self.indicator_ is None:
            return filled
        flags = self.indicator_.transform(_gaps_alone(table))
        names = self.indicator_.get_feature_names_out(super().get_feature_names_out())
        return _frames.with_flags(filled, flags, names)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features that `transform` returns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the features. If None, those seen in `fit` are used or, if there were
            none, ``["x0", "x1", ...]``.

        Returns
        -------
        feature_names_out : ndarray of str objects
            The names of the features, followed by those of the `MissingIndicator`, such as
            "missingindicator_x0", if `add_indicator`.
        """
        names = super().get_feature_names_out(input_features)
        if self.indicator_ is None:
            return names
        return np.concatenate([names, self.indicator_.get_feature_names_out(names)])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.rbm or MixedRBMEstimator()).input_tags
        tags.input_tags.sparse, tags.input_tags.allow_nan = False, True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def suited_to(X, owner):
    """Return an estimator that suits the columns of a frame or an array.

    `owner` is the name of the class that asks for it, for errors.
    """
    if sp.issparse(X):
        return BernoulliRBMEstimator()
    if not isinstance(X, np.ndarray):
        return MixedRBMEstimator()
    bits = BernoulliRBMEstimator()
    if X.dtype.kind in "biuf" and bits._units.are_in_range(DataSet(X).summary):
        return bits
    features = Table.learn(X, owner=owner).features
    if all(feature.type == "real" for feature in features):
        return GaussianRBMEstimator()
    return MixedRBMEstimator()


def _dtype_of(data):
    """Return the dtype of the rows of a data set, or a floating one that can hold them."""
    return np.result_type(np.float32, data.X)


def _unmasked(X):
    """Return a masked array as an array with missing values."""
    if X.dtype.kind not in "biuf":
        return X.astype(object).filled(None)
    return _frames.as_floats(X).filled(np.nan)


def _gaps_alone(table):
    """Return an array with NaN where a table has missing values, and 0 elsewhere."""
    return np.where(_frames.missing_cells(table), np.nan, 0.0)


def _in_memory(X):
    """Return `X` as an array in memory, which a memory map becomes in any case."""
    return X.view(np.ndarray) if isinstance(X, np.memmap) else X


@contextlib.contextmanager
def _advice_on_strings():
    """Say what to do with strings in errors of models of numbers."""
    try:
        yield
    except ValueError as error:
        if "could not convert string" not in str(error):
            raise
        raise ValueError(
            f"X has values that are not numbers: {error}. Model them by a "
            "MixedRBMEstimator, which takes strings and categories, or by rbm=None."
        ) from error
