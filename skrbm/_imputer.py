"""A scikit-learn compatible imputer."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, clone
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from skrbm import _inputs, sampling
from skrbm._base import BaseRBM, RangeCheckMixin
from skrbm._bernoulli import BernoulliRBMEstimator
from skrbm._compat.sklearn import (
    Interval,
    MissingValues,
    StrOptions,
    _fit_context,
    _get_mask,
    is_pandas_na,
    is_scalar_nan,
)
from skrbm._data import DataSet
from skrbm._fitting import Fit, unchanged_on_error
from skrbm._inputs import feature_names, has_objects, pandas_na, validate
from skrbm._random import draw_seeds
from skrbm._typing import RandomStateLike


class RBMImputer(OneToOneFeatureMixin, RangeCheckMixin, BaseEstimator):
    """Imputation of missing values by a restricted Boltzmann machine.

    An RBM is trained on the data, and the missing values of a row are filled in from their
    conditional distribution given the observed values of the row. During training, they are
    drawn from this distribution as well, whenever the row is presented, by a Gibbs step
    from the last values. This follows the gradient of the likelihood of the observed
    values, as in stochastic approximations of expectation-maximization [1]_.

    Parameters
    ----------
    rbm : BernoulliRBMEstimator or GaussianRBMEstimator, default=None
        Estimator to train, which is cloned: GaussianRBMEstimator for real values. If None,
        a BernoulliRBMEstimator with default parameters is used.

    missing_values : int, float, str, NaN, None or pandas.NA, default=NaN
        Placeholder of missing values, for example -1 in integer data. NaN and pandas.NA
        both stand for the missing values of an array or a data frame, whatever its dtypes:
        NaN, None and pandas.NA. Masked values of a masked array are missing in any case.

    strategy : {"probability", "mode", "draw"}, default="probability"
        Values to fill in. "probability" is the probability of a 1 or, for real values, the
        conditional mean. "mode" is the more probable value, 0 or 1, for binary data only.
        "draw" is a random draw, which differs between calls of `transform` and preserves
        the spread and the correlations of the data.

    n_gibbs_steps : int, default=200
        Number of Gibbs steps for each value that is filled in.

    random_state : int, RandomState instance or None, default=None
        Controls all draws, and the seed of `rbm` if it has no `random_state` of its own.
        Probabilities and modes are the same at each call of `transform` with the same `X`.
        Those of a row may differ by sampling noise if the other rows of `X` change.

    add_indicator : bool, default=False
        Whether `transform` appends the columns of a
        :class:`~sklearn.impute.MissingIndicator`, which tell where the features that had
        missing values in `fit` were missing.

    Attributes
    ----------
    rbm_ : estimator
        Fitted estimator. It has the feature names of the imputer.

    indicator_ : MissingIndicator or None
        Indicator of missing values; None unless `add_indicator` is set.

    random_state_ : RandomState
        Random generator used by ``strategy="draw"``.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if all of them are strings.

    See Also
    --------
    skrbm.sampling.sample_conditional : Imputation with an estimator that is already fitted.
    sklearn.impute.IterativeImputer : Imputation by regression on the other features.

    References
    ----------
    .. [1] Younes, L. (1999). On the convergence of Markovian stochastic algorithms with
       rapidly decreasing ergodicity rates. Stochastics and Stochastic Reports, 65(3-4),
       177-228.

    Examples
    --------
    >>> import numpy as np
    >>> from skrbm import BernoulliRBMEstimator, RBMImputer
    >>> X = np.array([[0, 0, 1], [1, 1, 0]] * 100, dtype=float)
    >>> X[0, 1] = X[1, 0] = np.nan
    >>> rbm = BernoulliRBMEstimator(n_components=2, n_iter=300)
    >>> RBMImputer(rbm, strategy="mode", random_state=0).fit_transform(X)[:2]
    array([[0., 0., 1.],
           [1., 1., 0.]])
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
        n_gibbs_steps: int = 200,
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
    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train the model on the data `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data: binary or with values in [0, 1], or real values if `rbm` is a
            GaussianRBMEstimator. Missing values are `missing_values`, or the masked values
            of a masked array.

        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        self : RBMImputer
            The fitted imputer.

        Raises
        ------
        ValueError
            If a parameter is out of range, or if `X` is empty, has infinite values, values
            that are not numbers, or only missing values. If the model is one of binary
            data, also if observed values are integers other than 0 and 1 of a dtype other
            than int32 and int64.

        Warns
        -----
        UserWarning
            If a feature has no observed values, or if other observed values are outside
            [0, 1] although the model is one of binary data.
        UserWarning, ConvergenceWarning
            As for the `fit` of `rbm`: if training diverged or it was interrupted from the
            keyboard.
        """
        with unchanged_on_error(self):
            self._fit(X)
        return self

    def _fit(self, X):
        rows = self._validate(X, reset=True)
        random_state = check_random_state(self.random_state)
        self._seed, later, of_rbm = draw_seeds(3, random_state)
        rbm, data = self._new_rbm(of_rbm), DataSet(rows)
        Fit(rbm, _in_memory(X), refuse_constant=False).check_values(data, data.ranges)
        rbm._run(Fit(rbm, self._complete(data), warn=False))
        self._name_features(rbm)
        self.rbm_ = rbm
        self.indicator_ = None
        if self.add_indicator:
            from sklearn.impute import MissingIndicator  # slow to import

            indicator = MissingIndicator(error_on_new=False)
            self.indicator_ = indicator.set_output(transform="default").fit(rows)
        self.random_state_ = np.random.RandomState(later)

    def _new_rbm(self, seed):
        """Return the estimator to train, with the seed if it has none of its own."""
        rbm = BernoulliRBMEstimator() if self.rbm is None else clone(self.rbm)
        if self.strategy == "mode" and not rbm._units.has_mode:
            raise ValueError(
                "strategy='mode' is only available for binary data. Use 'probability', the "
                "conditional mean, or 'draw'."
            )
        if rbm.random_state is None:
            rbm.set_params(random_state=seed)
        self._name_features(rbm)
        return rbm

    def _complete(self, data):
        """Return rows in which features without observed values have the overall mean."""
        X = data.X
        if data.has_gaps and len(unseen := data.unseen()):
            warnings.warn(
                f"X has no observed values of {feature_names(self, unseen)}. In training, "
                "they are the overall mean of the observed values, and the model then "
                "fills in values of its own. Drop features without observed values, or do "
                "not rely on the values that are filled in for them."
            )
            X = X.copy()
            X[:, unseen] = np.nanmean(X, dtype=np.float64)
        return X

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Fill in the missing values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to complete. Missing values are `missing_values`, or the masked values of a
            masked array.

        Returns
        -------
        X_filled : ndarray of shape (n_samples, n_features) or (n_samples, n_features + \
n_indicators)
            Rows with the missing values filled in. Observed values are unchanged. If
            `add_indicator`, columns of 0 and 1 follow.

        Raises
        ------
        ValueError
            If `X` has infinite values or values that are not numbers, or if observed values
            are integers that `fit` refuses.

        Warns
        -----
        UserWarning
            If other observed values are outside [0, 1] although the model is one of binary
            data. They are returned unchanged, but when missing values are filled in, values
            below 0 count as 0 and values above 1 as 1.
        """
        return self._transform(X)

    def _transform(self, X, **check):
        check_is_fitted(self)
        rows = self._validate(X, reset=False)
        options = {"clips": True} | check
        _inputs.check_values(
            self.rbm_._units, DataSet(rows), _in_memory(X), self.rbm_, **options
        )
        source = self.random_state_ if self.strategy == "draw" else self._seed
        filled = self._fill(self.rbm_, rows, self.strategy != "draw", source)
        if self.strategy == "mode":
            filled = self.rbm_._units.mode(filled)
        filled = np.where(np.isnan(rows), filled, rows).astype(rows.dtype, copy=False)
        if self.indicator_ is None:
            return filled
        return np.hstack([filled, self.indicator_.transform(rows).astype(rows.dtype)])

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
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

    def _fill(self, rbm, X, probabilities, random_state):
        return sampling.fill(
            rbm,
            X,
            n_gibbs_steps=self.n_gibbs_steps,
            probabilities=probabilities,
            random_state=random_state,
        )

    def _name_features(self, rbm):
        """Give `rbm`, which is fitted to arrays, the feature names of the imputer."""
        if hasattr(self, "feature_names_in_"):
            rbm.feature_names_in_ = self.feature_names_in_

    def _validate(self, X, reset):
        """Return validated rows as a floating array, with NaN for all missing values."""
        options: dict[str, Any] = {
            "ensure_all_finite": "allow-nan" if self._is_nan else True
        }
        if isinstance(X, np.ma.MaskedArray):
            X = _as_floats(X).filled(np.nan)
            options["ensure_all_finite"] = "allow-nan"
        mark = pandas_na() if self._is_nan and has_objects(X) else self.missing_values
        numeric = isinstance(mark, Real)
        if not numeric:  # then it may be among the numbers of an array of objects
            options["dtype"] = None
        try:
            X = validate(self, X, reset=reset, **options)
            if X.dtype.kind not in "fiub":
                X = X.astype(object)  # NaN is no value of a string dtype
                X = np.where(_get_mask(X, mark), np.nan, X)
                X = check_array(
                    X,
                    dtype=np.float64,
                    ensure_all_finite="allow-nan",
                    estimator=self,
                    input_name="X",
                )
        except TypeError as error:
            if "NAType" not in str(error) and "value of NA" not in str(error):
                raise
            raise ValueError(
                f"X has values pandas.NA, but missing_values is {self.missing_values!r}. "
                "Set missing_values=pandas.NA, or replace these values."
            ) from error
        except ValueError as error:
            if "could not convert string" not in str(error):
                raise
            raise ValueError(
                f"X has values that are not numbers: {error}. Encode them before the "
                "imputer, for instance with sklearn.preprocessing.OrdinalEncoder, which "
                "turns the values of a feature of two kinds into 0 and 1 and keeps NaN."
            ) from error
        rows = _as_floats(X)
        if self._is_nan or not numeric:
            return rows
        return np.where(rows == float(self.missing_values), np.float32(np.nan), rows)

    @property
    def _is_nan(self):
        """Whether missing values are NaN once they are validated."""
        return is_scalar_nan(self.missing_values) or is_pandas_na(self.missing_values)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._is_nan
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _as_floats(X):
    """Return an array in float32 if its dtype is float32 or a smaller one, else float64."""
    small = X.dtype in (np.bool_, np.uint8, np.float32)
    return X.astype(np.float32 if small else np.float64, copy=False)


def _in_memory(X):
    """Return `X` as an array in memory, which a memory map becomes in any case."""
    return X.view(np.ndarray) if isinstance(X, np.memmap) else X
