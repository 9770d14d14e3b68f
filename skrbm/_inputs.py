"""Validation of the inputs of public functions: fitted estimators, rows, weights, options.

Anything with `components_`, `intercept_visible_` and `intercept_hidden_` is accepted: an
estimator of this package or of scikit-learn, or one whose arrays were set by hand.
"""

import contextlib
import warnings
from numbers import Integral

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array, check_scalar
from sklearn.utils.validation import validate_data

from skrbm._compat.sklearn import CALLBACK_STATE, _check_sample_weight
from skrbm._data import DataSet
from skrbm._model import RBM
from skrbm._range import check_range, is_dask
from skrbm._visible import GaussianUnits

# The dtypes of rows that are not converted.
DTYPES = [np.float64, np.float32, np.bool_, np.uint8]


def model_of(rbm):
    """Return the model of an estimator, in float32 if all its arrays are, else float64.

    For real-valued features, the weights alone decide.
    """
    names = "components_", "intercept_visible_", "intercept_hidden_"
    gaussian = getattr(rbm, "_units", None) is GaussianUnits
    required = (*names, "noise_variance_") if gaussian else names
    missing = [name for name in required if not hasattr(rbm, name)]
    if missing:
        _refuse_other_objects(rbm)
        raise NotFittedError(
            f"This {type(rbm).__name__} has no {' and no '.join(missing)}: call fit first, "
            f"or set all of {', '.join(required)}."
        )
    arrays = [np.asarray(getattr(rbm, name)) for name in names]
    components, visible, hidden = arrays
    if components.ndim != 2 or components.T.shape != (visible.size, hidden.size):
        shapes = ", ".join(
            f"{name} {array.shape}" for name, array in zip(names, arrays, strict=True)
        )
        raise ValueError(
            "The shapes of the parameters do not match: expected (n_components, "
            f"n_features), (n_features,) and (n_components,), but got {shapes}."
        )
    if hasattr(rbm, "noise_variance_"):
        model = _gaussian_model(rbm, components, visible.reshape(-1), hidden.reshape(-1))
    else:
        dtype = np.result_type(np.float32, *arrays)
        model = RBM.bernoulli(
            np.ascontiguousarray(components.T, dtype=dtype),
            np.ascontiguousarray(visible.reshape(-1), dtype=dtype),
            np.ascontiguousarray(hidden.reshape(-1), dtype=dtype),
        )
    if not all(np.isfinite(array).all() for array in model):
        raise ValueError("The parameters of the model have NaN or infinite values.")
    return model


def _gaussian_model(rbm, components, visible_bias, hidden_bias):
    """Return the model of an estimator of real-valued features.

    Its rows are standardized with the means and variances of the training data or, where
    these are unknown, with the visible biases and noise variances.
    """
    noise = np.asarray(rbm.noise_variance_, dtype=np.float64)
    location = np.asarray(getattr(rbm, "visible_mean_", visible_bias), dtype=np.float64)
    variance = np.asarray(getattr(rbm, "visible_variance_", noise), dtype=np.float64)
    for name, array in [("noise_variance_", noise), ("visible_variance_", variance)]:
        if array.shape != visible_bias.shape or not (array > 0).all():
            raise ValueError(
                f"{name} must have one value greater than 0 for each of "
                f"{visible_bias.size} features, but got {array!r}."
            )
    scale = np.sqrt(variance)
    weights = components.T / noise[:, None]  # couple the rows to the hidden units
    dtype = np.result_type(np.float32, components)
    arrays = (
        scale[:, None] * weights,
        (visible_bias - location) / scale,
        np.log(noise / variance),
        hidden_bias + location @ weights,
    )
    weights, bias, log_variance, hidden_bias = (
        np.ascontiguousarray(array, dtype=dtype) for array in arrays
    )
    units = GaussianUnits(bias, log_variance, location, scale)
    return RBM(weights, units, hidden_bias)


def attributes_of(model):
    """Return copies of the parameters of a model, as the attributes of an estimator.

    Biases and variances of real-valued features are float64 because they may be larger or
    smaller than float32 can represent to the precision of the weights.
    """
    visible = model.visible
    if not visible.binary:
        weights = model.weights.astype(np.float64)
        relative = visible.variance.astype(np.float64)
        of_data = weights / visible.scale[:, None]
        components = weights * (visible.scale * relative)[:, None]
        return {
            "components_": components.astype(model.dtype).T,
            "intercept_visible_": visible.location + visible.scale * visible.bias,
            "intercept_hidden_": model.hidden_bias - visible.location @ of_data,
            "noise_variance_": visible.scale**2 * relative,
        }
    return {
        "components_": model.weights.copy().T,
        "intercept_visible_": model.visible_bias.copy(),
        "intercept_hidden_": model.hidden_bias.copy(),
    }


def _refuse_other_objects(rbm):
    """Raise a TypeError that says what to pass, unless `rbm` may be an unfitted RBM."""
    if hasattr(rbm, "steps"):
        instead = (
            "pass its last step, pipeline[-1], and the rows transformed by the other "
            "steps, pipeline[:-1].transform(X)"
        )
    elif hasattr(rbm, "best_estimator_"):
        instead = "pass its best_estimator_"
    elif hasattr(rbm, "estimator_"):
        instead = "pass its estimator_"
    elif not hasattr(rbm, "n_components"):
        instead = (
            "pass a BernoulliRBMEstimator, a GaussianRBMEstimator, or scikit-learn's "
            "BernoulliRBM"
        )
    else:
        return
    raise TypeError(f"Expected a fitted RBM, but got a {type(rbm).__name__}: {instead}.")


def validate(estimator, X, *, reset, **options):
    """Validate `X` with scikit-learn's `validate_data`; polars frames are supported."""
    options = {"dtype": DTYPES} | options
    _warn_of_dask(X)
    refuse_masked(X)
    refuse_blocks(X)
    refuse_malformed(X)
    if not _is_polars(X):
        return validate_data(estimator, X, reset=reset, **options)
    validate_data(estimator, X, reset=reset, skip_check_array=True)  # names
    X = X.to_numpy(order="c")
    return check_array(X, estimator=estimator, input_name="X", **options)


@contextlib.contextmanager
def advice_on_nan():
    """Add to the error that `X` contains NaN what to do with missing values."""
    try:
        yield
    except ValueError as error:
        if "contains NaN" not in str(error):
            raise
        raise ValueError(
            "Input X contains NaN. Impute the missing values, for example with "
            "skrbm.RBMImputer, or drop the rows that contain them."
        ) from error


def _warn_of_dask(X):
    """Warn if `X` is a Dask collection, which is about to be loaded."""
    if is_dask(X):
        warnings.warn(
            f"X is a {type(X).__module__.split('.')[0]} {type(X).__name__}, all of which "
            "is loaded into the memory of this process. skrbm.dask.DaskRBM trains on its "
            "blocks and transforms them, without gathering them."
        )


def _is_polars(X):
    """Return whether `X` is a data frame whose dtypes `check_array` does not support."""
    return isinstance(getattr(X, "dtypes", None), list) and hasattr(X, "to_numpy")


def refuse_masked(array, name="X"):
    """Raise an error for a masked array, whose mask would be silently ignored."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array, and its mask would be ignored. Impute the masked "
            f"values with skrbm.RBMImputer, pass {name}.filled(np.nan) where missing "
            f"values are accepted, or {name}.data to ignore the mask."
        )


def refuse_blocks(X):
    """Raise an error for a list of blocks of rows, which NumPy would try to stack."""
    first = X[0] if isinstance(X, (list, tuple)) and len(X) else None
    if hasattr(type(first), "__dask_graph__"):
        join = {
            "Array": "dask.array.concatenate(X)",
            "DataFrame": "dask.dataframe.concat(X)",
        }.get(
            type(first).__name__,
            "dask.array.concatenate([dask.array.from_delayed(block, shape, dtype) for "
            "block in X]), where the shape may be (numpy.nan, n_features)",
        )
        join += ", and train on them by skrbm.dask.DaskRBM"
    elif len(getattr(first, "shape", ())) == 2:
        join = "numpy.concatenate, scipy.sparse.vstack or pandas.concat"
    else:
        return
    raise ValueError(
        f"X must be a single array or data frame, but got a {type(X).__name__} of blocks, "
        f"{len(X)} in number, of type {type(first).__name__}. Join them by {join}."
    )


def refuse_malformed(X):
    """Raise an error for a sparse array that refers to entries outside of its memory.

    scipy only checks the structure of arrays when they are made, and not all of it. Its
    compiled functions and those of this package rely on it.
    """
    if not sp.issparse(X) or X.format not in ("csr", "csc", "bsr"):
        return
    try:
        again = type(X)((X.data, X.indices, X.indptr), shape=X.shape)  # shares memory
        again.check_format(full_check=True)
        if (np.diff(X.indptr) < 0).any():  # not checked by scipy if the last is 0
            raise ValueError("indptr must be a non-decreasing sequence")
    except ValueError as error:
        raise ValueError(
            f"X is not a valid sparse array in {X.format.upper()} format: {error}."
        ) from error


def check_rows(model, X, rbm=None, allow_nan=False):
    """Validate rows for the model, and return them as a data set.

    A data frame must have the columns on which the estimator `rbm` was fitted, in the same
    order.
    """
    check_names(X, rbm)
    refuse_masked(X)
    refuse_blocks(X)
    refuse_malformed(X)
    sparse = model.visible.binary and not allow_nan
    X = check_array(
        X.to_numpy(order="c") if _is_polars(X) else X,
        accept_sparse="csr" if sparse else False,
        dtype=DTYPES,
        ensure_all_finite="allow-nan" if allow_nan else True,
    )
    return fitting_rows(model, X)


def check_rows_and_range(model, X, rbm, *, clips, name="X"):
    """Validate rows as `check_rows` does, and check their range if the model is binary.

    `clips` and `name` are those of `check_range`.
    """
    rows = check_rows(model, X, rbm)
    if model.visible.binary:
        check_range(rows.limits(), rows.ranges, X, rbm, clips=clips, name=name)
    return rows


def observed(X):
    """Return a data set with the range of values of an array with NaN, in each feature.

    NaN is replaced by the smallest value of the feature, or of all if there is none.
    """
    low = np.fmin.reduce(X, axis=0)
    low = np.where(np.isnan(low), np.nan_to_num(np.fmin.reduce(low)), low)
    return DataSet(np.where(np.isnan(X), low, X))


def refuse_real_values(model, what):
    """Raise an error if the visible units of the model are not binary."""
    if not model.visible.binary:
        raise ValueError(f"{what} is only available for binary visible units.")


def check_names(X, rbm):
    """Raise an error if the columns of a data frame are not those `rbm` was fitted on."""
    fitted_on = getattr(rbm, "feature_names_in_", None)
    columns = getattr(X, "columns", None)
    if not (fitted_on is None or columns is None or list(columns) == list(fitted_on)):
        raise ValueError(
            "The feature names of X should match those that were passed during fit, in "
            f"the same order. Expected {_few(fitted_on)}, but X has {_few(columns)}."
        )


def fitting_rows(model, X):
    """Return validated rows as a data set, after checking their number of features."""
    n_features = len(model.visible)
    if X.shape[1] != n_features:
        raise ValueError(
            f"X has {X.shape[1]} features, but the model has {n_features} visible units."
        )
    return model.visible.encode(DataSet(X))


def _few(names):
    return ", ".join(map(str, list(names)[:5])) + (", ..." if len(names) > 5 else "")


def check_weights(sample_weight, X):
    """Validate the weights of rows, and return them as float64."""
    refuse_masked(sample_weight, "sample_weight")
    row_weights = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    if not row_weights.any():
        raise ValueError(
            "sample_weight must have at least one value greater than 0, but all values "
            "are 0."
        )
    return row_weights


def normalize(row_weights):
    """Scale weights so that their mean over the rows of nonzero weight is 1."""
    row_weights = row_weights / row_weights.max()  # keeps their sum finite
    row_weights *= np.count_nonzero(row_weights) / row_weights.sum()
    return row_weights


def weighted_mean(values, sample_weight):
    """Return the mean of one value per row, weighted if `sample_weight` is given."""
    if sample_weight is not None:
        sample_weight = normalize(check_weights(sample_weight, values))
    return float(np.average(values, weights=sample_weight))


def check_integer(value, name, min_val):
    """Raise an error unless `value` is an integer, not a bool, of at least `min_val`."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an instance of int, not bool.")
    return check_scalar(value, name, Integral, min_val=min_val)


def check_n_jobs(n_jobs):
    """Raise an error unless `n_jobs` is None or a nonzero integer."""
    if n_jobs is not None and check_integer(n_jobs, "n_jobs", None) == 0:
        raise ValueError("n_jobs == 0, must be None or a nonzero int.")


def check_option(name, value, options):
    """Raise an error unless `value` is one of the options, which are strings."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, options))}, but got {value!r}."
        )


def check_betas(betas, *, from_zero=True, words="the number of temperatures"):
    """Validate `betas`: a number of temperatures, or an array of inverse temperatures.

    An array must begin with 0 (with 0 or more unless `from_zero`), never fall, and end
    with 1.
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
