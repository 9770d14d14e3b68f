"""What is given to public functions: a fitted estimator, rows for its model, weights.

Anything with `components_`, `intercept_visible_` and `intercept_hidden_` will do: an
estimator of this package, scikit-learn's, or one whose arrays were set by hand.
"""

import contextlib
import warnings
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array, check_scalar
from sklearn.utils.validation import validate_data

from skrbm._annealing import settled_chains
from skrbm._compat.sklearn import CALLBACK_STATE, _check_sample_weight
from skrbm._data import DataSet
from skrbm._model import RBM

# What rows may come in without being converted.
DTYPES = [np.float64, np.float32, np.bool_, np.uint8]


def model_of(rbm):
    """Return the model of a fitted estimator; float64 unless all its arrays are float32."""
    names = "components_", "intercept_visible_", "intercept_hidden_"
    missing = [name for name in names if not hasattr(rbm, name)]
    if missing:
        _refuse_what_is_no_machine(rbm)
        raise NotFittedError(
            f"This {type(rbm).__name__} has no {' and no '.join(missing)}: call fit, or "
            f"set all of {', '.join(names)}."
        )
    arrays = [np.asarray(getattr(rbm, name)) for name in names]
    components, visible, hidden = arrays
    if components.ndim != 2 or components.T.shape != (visible.size, hidden.size):
        shapes = ", ".join(
            f"{name} {array.shape}" for name, array in zip(names, arrays, strict=True)
        )
        raise ValueError(
            "The parameters do not make a machine: expected shapes (n_components, "
            f"n_features), (n_features,) and (n_components,), but got {shapes}."
        )
    dtype = np.result_type(np.float32, *arrays)
    model = RBM.bernoulli(
        np.ascontiguousarray(components.T, dtype=dtype),
        visible.reshape(-1).astype(dtype, copy=False),
        hidden.reshape(-1).astype(dtype, copy=False),
    )
    if not all(np.isfinite(array).all() for array in model):
        raise ValueError("The parameters of the machine have NaN or infinite values.")
    return model


def _refuse_what_is_no_machine(rbm):
    """Raise a TypeError that says what to pass, unless this may be an unfitted machine."""
    name = type(rbm).__name__
    if hasattr(rbm, "steps"):
        instead = (
            "pass its last step, pipeline[-1], and rows as they come to it, from "
            "pipeline[:-1].transform(X)"
        )
    elif hasattr(rbm, "best_estimator_"):
        instead = "pass its best_estimator_"
    elif hasattr(rbm, "training"):
        name, instead = "checkpoint", "go on with it by skrbm.callbacks.resume"
    elif isinstance(rbm, BaseEstimator) and not hasattr(rbm, "n_components"):
        instead = "pass a BernoulliRBMEstimator, or scikit-learn's BernoulliRBM"
    else:
        return
    raise TypeError(f"Expected a fitted machine, but got a {name}: {instead}.")


def validate(estimator, X, *, reset, **options):
    """Return rows as scikit-learn's validation of an estimator's data returns them."""
    options = {"dtype": DTYPES} | options
    refuse_masked(X)
    if not _is_polars(X):
        return validate_data(estimator, X, reset=reset, **options)
    validate_data(estimator, X, reset=reset, skip_check_array=True)  # names
    X = X.to_numpy(order="c")
    return check_array(X, estimator=estimator, input_name="X", **options)


def _is_polars(X):
    """Say whether this is a frame whose types `check_array` cannot ask for."""
    return isinstance(getattr(X, "dtypes", None), list) and hasattr(X, "to_numpy")


def refuse_masked(X):
    """Refuse an array whose mask would be lost without a word."""
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError(
            "X is a masked array, and its mask would be ignored: fill in what is masked, "
            "with skrbm.RBMImputer for instance, or pass X.data."
        )


def check_rows(model, X, rbm=None, allow_nan=False):
    """Return rows for the model as a data set, or say what is wrong.

    A frame must have the columns that the estimator `rbm` was fitted on, in their order.
    """
    check_names(X, rbm)
    refuse_masked(X)
    X = check_array(
        X.to_numpy(order="c") if _is_polars(X) else X,
        accept_sparse=False if allow_nan else "csr",
        dtype=DTYPES,
        ensure_all_finite="allow-nan" if allow_nan else True,
    )
    return fitting_rows(model, X)


def warn_of_range(data, units, consequence):
    """Warn if a data set has values that these visible units do not have."""
    if not units.are_in_range(data.summary):
        warnings.warn(
            f"X has values from {data.summary.low:g} to {data.summary.high:g}, but the "
            f"model is of values in {units.RANGE}: binary data, or probabilities. "
            f"{consequence} Scale X with MinMaxScaler(clip=True) (sparse X with "
            "MaxAbsScaler) or make it binary with Binarizer, all of "
            "sklearn.preprocessing."
        )


def check_names(X, rbm):
    """Refuse a frame of other columns than the estimator `rbm` was fitted on."""
    fitted_on = getattr(rbm, "feature_names_in_", None)
    columns = getattr(X, "columns", None)
    if not (fitted_on is None or columns is None or list(columns) == list(fitted_on)):
        raise ValueError(
            "The feature names of X should match those that were passed during fit, in "
            f"the same order: {_few(fitted_on)}, but X has {_few(columns)}."
        )


def fitting_rows(model, X):
    """Return rows of checked values as a data set, if they fit the model."""
    n_features = len(model.visible)
    if X.shape[1] != n_features:
        raise ValueError(
            f"X has {X.shape[1]} features, but the machine has {n_features} visible units."
        )
    return DataSet(X)


def _few(names):
    return ", ".join(map(str, list(names)[:5])) + (", ..." if len(names) > 5 else "")


def check_weights(sample_weight, X):
    """Return the weights of rows as float64, or say what is wrong with them."""
    row_weights = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    if not row_weights.any():
        raise ValueError(
            "sample_weight must have at least one weight above 0, but all are 0: there is "
            "no row left."
        )
    return row_weights


def normalize(row_weights):
    """Return weights whose mean is 1, over the rows that have any."""
    row_weights = row_weights / row_weights.max()  # their sum is then finite
    row_weights *= np.count_nonzero(row_weights) / row_weights.sum()
    return row_weights


def weighted_mean(values, sample_weight):
    """Return the mean of a value for each row, by weights if there are any."""
    if sample_weight is not None:
        sample_weight = normalize(check_weights(sample_weight, values))
    return float(np.average(values, weights=sample_weight))


def check_integer(value, name, min_val):
    """Refuse what is no integer, a bool included, or is too small."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an instance of int, not bool.")
    return check_scalar(value, name, Integral, min_val=min_val)


def check_n_jobs(n_jobs):
    """Refuse what is no number of jobs."""
    if n_jobs is not None and check_integer(n_jobs, "n_jobs", None) == 0:
        raise ValueError("n_jobs == 0, must be None, or an int other than 0.")


def check_option(name, value, options):
    """Refuse what is none of the options, which are strings."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, options))}, but got {value!r}."
        )


def check_betas(betas, *, from_zero=True, words="how many temperatures to take"):
    """Return how many temperatures to take, or an array of inverse temperatures.

    An array begins with 0, or with more where it need not be `from_zero`, never falls, and
    ends with 1.
    """
    if isinstance(betas, Integral):
        return check_integer(betas, "betas", 2)
    try:
        array = np.asarray(betas, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    right = array.ndim == 1 and len(array) > 1 and (np.diff(array) >= 0).all()
    if not right or array[-1] != 1 or array[0] < 0 or (from_zero and array[0] > 0):
        start = "begin with 0" if from_zero else "begin with 0 or more"
        raise ValueError(
            f"betas must be {words}, or inverse temperatures that {start}, never fall and "
            f"end with 1, but got {betas!r}."
        )
    return array


def check_base_mean(rbm, model, base_mean, random_state):
    """Return means of independent features: those given, or those of the training data.

    Where neither are known, those of chains of the model.
    """
    n_features = len(model.visible)
    if base_mean is None:
        base_mean = getattr(rbm, "visible_mean_", None)
        if base_mean is None:
            base_mean = settled_chains(model, 100, random_state)[1]
        # Training may have taken values outside as they are.
        base_mean = np.clip(base_mean, 0, 1)
    mean = np.asarray(base_mean, dtype=np.float64)
    if mean.shape not in ((), (n_features,)):
        raise ValueError(
            f"base_mean must be a number or have shape ({n_features},), a mean for each "
            f"feature, but has shape {mean.shape}."
        )
    if not ((mean >= 0) & (mean <= 1)).all():
        raise ValueError("base_mean must have values from 0 to 1 only.")
    return np.broadcast_to(mean, n_features)


@contextlib.contextmanager
def unchanged_on_error(estimator):
    """Give an estimator its attributes back if anything in the block goes wrong."""
    before = vars(estimator).copy()
    try:
        yield
    except BaseException:
        after = vars(estimator)
        before |= {name: after[name] for name in CALLBACK_STATE if name in after}
        after.clear()
        after.update(before)
        raise
