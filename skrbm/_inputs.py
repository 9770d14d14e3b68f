"""Validation of the inputs of public functions: rows, weights, options."""

import contextlib
import functools
import re
import warnings
from collections import Counter
from numbers import Integral

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_scalar
from sklearn.utils.validation import validate_data

from skrbm._compat.sklearn import _check_sample_weight, _get_mask
from skrbm._data import DataSet
from skrbm._frames import container_of, pandas_na
from skrbm._kernels import BLOCK_SIZE
from skrbm._units.unit_interval import dtype_of, is_dask

# The dtypes of rows that are not converted.
DTYPES = [np.float64, np.float32, np.bool_, np.uint8]


def validate(estimator, X, *, reset, name="X", allow_nan=False, **options):
    """Validate `X` with scikit-learn's `validate_data`; polars frames are supported.

    With `allow_nan`, missing cells of dense rows are NaN in the result.
    """
    if not reset and _is_sound(X, estimator):
        return X
    options = {"dtype": DTYPES} | options
    _warn_of_dask(X, name)
    array = as_array(X, name)
    if allow_nan:
        array, options = _with_nan(array, options)
    if array is X:
        return validate_data(estimator, X, reset=reset, **options)
    validate_data(estimator, X, reset=reset, skip_check_array=True)  # names
    return check_array(array, estimator=estimator, input_name="X", **options)


def _is_sound(X, estimator):
    """Return whether no check is left to do for a small array, in less time than checking.

    The checks of scikit-learn take longer than a Gibbs step from one row.
    """
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and 0 < X.size <= BLOCK_SIZE
        and X.dtype in DTYPES
        and X.shape[1] == getattr(estimator, "n_features_in_", None)
        and not hasattr(estimator, "feature_names_in_")
        and bool(np.isfinite(X).all())
    )


def _with_nan(X, options):
    """Return rows with NaN for missing objects, and options that allow NaN if dense."""
    if sp.issparse(X):
        return X, options
    if has_objects(X):
        X = np.array(X, dtype=object)
        X[_get_mask(X, pandas_na())] = np.nan
    return X, options | {"ensure_all_finite": "allow-nan"}


def has_objects(X):
    """Return whether `X` is an array or a data frame with values of dtype object."""
    return (hasattr(X, "dtype") or hasattr(X, "dtypes")) and dtype_of(X).kind == "O"


def read_rows(X, name="X", allow_nan=False, **options):
    """Validate rows with scikit-learn's `check_array`, whatever they were fitted on.

    `allow_nan` is as for `validate`.
    """
    array = as_array(X, name)
    if allow_nan:
        array, options = _with_nan(array, options)
    with rows_called(name):
        return check_array(array, input_name="X", **{"dtype": DTYPES} | options)


def read_block(X, n_features):
    """Validate some rows of `X`, dense or sparse ones, or none."""
    X = read_rows(X, allow_nan=True, accept_sparse="csr", ensure_min_samples=0)
    if X.shape[1] != n_features:
        raise ValueError(
            f"A block of X has {X.shape[1]} columns, but {n_features} are expected."
        )
    return X


def as_array(X, name="X"):
    """Refuse rows that scikit-learn would misread, and convert polars frames."""
    refuse_masked(X, name)
    refuse_lazy(X, name)
    refuse_blocks(X, name)
    refuse_malformed(X, name)
    return X.to_numpy(order="c") if container_of(X) == "polars" else X


def stand_in(name):
    """Return an estimator that scikit-learn's checks of columns may use, by class name."""
    return _class_called(name)()


@functools.cache
def _class_called(name):
    """Return a class of estimators; making one takes longer than checking a row."""
    return type(name, (BaseEstimator,), {})


def check_table(X, estimator, *, reset, name="X", accept_sparse="csr", min_samples=1):
    """Validate the shape and the names of a table, and not its values.

    Returns a data frame as it is, and anything else as an ndarray or a CSR array.
    """
    refuse_masked(X, name)
    refuse_lazy(X, name)
    refuse_blocks(X, name)
    refuse_malformed(X, name)
    _warn_of_dask(X, name)
    X = X.compute() if is_dask(X) else X
    with rows_called(name):
        if container_of(X) != "array":
            refuse_duplicates(X, name)
            if 0 in X.shape:  # an error, unless there may be no rows
                check_array(
                    np.empty(X.shape), estimator=estimator, ensure_min_samples=min_samples
                )
            return validate_data(estimator, X, reset=reset, skip_check_array=True)
        X = X if hasattr(X, "dtype") else as_objects(X)
        return validate_data(
            estimator,
            X,
            reset=reset,
            dtype=None,
            accept_sparse=accept_sparse,
            ensure_all_finite=False,
            ensure_min_samples=min_samples,
        )


@contextlib.contextmanager
def rows_called(name):
    """Say `name` for X in errors of scikit-learn, and what to do with missing values."""
    try:
        yield
    except ValueError as error:
        message = re.sub(r"^(Input )?X\b", rf"\1{name}", str(error))
        if "contains NaN" in message:
            message = (
                f"Input {name} contains NaN. Impute the missing values, for example with "
                "skrbm.RBMImputer, or drop the rows that contain them."
            )
        elif "could not convert string to float" in message:
            message += ". MixedRBMEstimator models strings and other categories."
        elif message == str(error):
            raise
        raise ValueError(message) from error


def _warn_of_dask(X, name):
    """Warn if `X` is a Dask collection, which is about to be loaded."""
    if is_dask(X):
        warnings.warn(
            f"{name} is a {type(X).__module__.split('.')[0]} {type(X).__name__}, all of "
            "which is loaded into the memory of this process. skrbm.dask.DaskRBM trains on "
            "its blocks and transforms them, without gathering them."
        )


def refuse_masked(array, name="X"):
    """Raise an error for a masked array, whose mask would be silently ignored."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array, and its mask would be ignored. Impute the masked "
            f"values with skrbm.RBMImputer, pass {name}.filled(np.nan) where missing "
            f"values are accepted, or {name}.data to ignore the mask."
        )


def refuse_lazy(X, name="X"):
    """Raise an error for a lazy frame of polars, which is a query and has no rows."""
    if hasattr(type(X), "collect") and hasattr(type(X), "collect_schema"):
        raise TypeError(
            f"{name} is a polars {type(X).__name__}, whose rows are yet to be computed. "
            f"Pass {name}.collect()."
        )


def refuse_blocks(X, name="X"):
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
        f"{name} must be a single array or data frame, but got a {type(X).__name__} of "
        f"blocks, {len(X)} in number, of type {type(first).__name__}. Join them by {join}."
    )


def refuse_malformed(X, name="X"):
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
            f"{name} is not a valid sparse array in {X.format.upper()} format: {error}."
        ) from error


def refuse_duplicates(X, name="X"):
    """Raise an error for a data frame if several of its columns have the same name."""
    twice = [label for label, count in Counter(X.columns).items() if count > 1]
    if twice:
        raise ValueError(
            f"The columns of {name} must have different names, but several have the name "
            f"{_few([repr(label) for label in twice])}."
        )


def check_rows(
    model, X, rbm=None, *, name="X", allow_nan=False, allow_sparse=True, to_score=False
):
    """Validate rows for the model, and return them as a data set.

    A data frame must have the columns on which the estimator `rbm` was fitted, in the same
    order. `name` is what the user calls the rows. Rows `to_score` may have gaps, and may be
    `impossible`.
    """
    allow_nan = allow_nan or to_score
    if reads_frames(rbm):
        X = rbm._read(X, name, allow_nan=allow_nan, to_score=to_score)
        X, impossible = X if to_score else (X, None)
        data = fitting_rows(model, X, name)
        data.impossible = impossible
        return data
    check_names(X, rbm, name)
    accept_sparse = "csr" if model.visible.sparse and allow_sparse else False
    X = read_rows(X, name, allow_nan, accept_sparse=accept_sparse)
    return fitting_rows(model, X, name)


def check_rows_and_values(model, X, rbm, *, name="X", to_score=False, **options):
    """Validate rows as `check_rows` does, and check their values.

    The options are those of `VisibleUnits.check`.
    """
    rows = check_rows(model, X, rbm, name=name, to_score=to_score)
    check_values(model.visible, rows, X, rbm, name=name, **options)
    return rows


def check_values(units, data, X, rbm, **options):
    """Check whether the units can have the values of a data set, `X` as users passed it."""
    names_of = functools.partial(feature_names, rbm)
    units.check(data.limits, data.ranges, X, names_of, **options)


def feature_names(rbm, features):
    """Return a description of features, given an array of their indices."""
    names = getattr(rbm, "feature_names_in_", None)
    few = [repr(names[i]) if names is not None else str(i) for i in features[:5]]
    more = ", ..." if len(features) > 5 else ""
    return f"feature{'s' if len(features) > 1 else ''} {', '.join(few)}{more}"


def as_matrix(row):
    """Return a single row, that is a vector, as a matrix of one row, or else None."""
    if isinstance(row, list | tuple):
        is_row = len(row) > 0 and np.isscalar(row[0])
    else:
        is_row = getattr(row, "ndim", 0) == 1
    if not is_row:
        return None
    row = as_objects(row) if isinstance(row, list | tuple) else row
    return np.reshape(row, (1, -1))


def as_objects(X):
    """Return a list as an array in which numbers among strings stay numbers."""
    array = np.asarray(X)
    return np.asarray(X, object) if array.dtype.kind == "U" else array


def reads_frames(rbm):
    """Return whether an estimator reads and writes data frames in a way of its own."""
    return getattr(rbm, "_reads_frames", False)


def check_names(X, rbm, name="X"):
    """Raise an error if the columns of a data frame are not those `rbm` was fitted on."""
    fitted_on = getattr(rbm, "feature_names_in_", None)
    if fitted_on is not None:
        check_labels(X, fitted_on, name)


def check_labels(X, fitted_on, name="X"):
    """Raise an error if a data frame has other columns, or others first, than in fit."""
    columns = getattr(X, "columns", None)
    if not (columns is None or list(columns) == list(fitted_on)):
        raise ValueError(
            f"The feature names of {name} should match those that were passed during fit, "
            f"in the same order. Expected {_few(fitted_on)}, but {name} has "
            f"{_few(columns)}."
        )


class Places:
    """The places of columns by their labels or, if they have none, by their indices."""

    def __init__(self, n_columns, labels=None):
        self._labels = labels
        labels = range(n_columns) if labels is None else labels
        self._places = {_key(label): place for place, label in enumerate(labels)}

    def find(self, column, parameter):
        """Return the place of a column to which a parameter refers."""
        with contextlib.suppress(KeyError, TypeError):  # TypeError: it has no hash
            return self._places[_key(column)]
        if self._labels is None:
            known, those = f"indices of columns of X, below {len(self._places)}", ""
        else:
            named = all(isinstance(label, str) for label in self._labels)
            known = f"{'names' if named else 'labels'} of columns of X"
            those = f" X has the columns {_few(self._labels)}."
        raise ValueError(f"{parameter} must refer to {known}, but has {column!r}.{those}")


def _key(label):
    """Return what distinguishes labels of columns: True is not 1."""
    return isinstance(label, bool | np.bool_), label


def fitting_rows(model, X, name="X"):
    """Return validated rows as a data set, after checking their number of features."""
    n_features = model.visible.n_features
    if X.shape[1] != n_features:
        raise ValueError(
            f"{name} has {X.shape[1]} features, but the model has {n_features}."
        )
    return DataSet(X).encode(model.visible.encoder)


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
    if sample_weight is None:
        return float(np.mean(values))
    weights = normalize(check_weights(sample_weight, values))
    values = np.where(weights > 0, values, 0.0)  # those of weight 0 may be infinite
    return float(np.average(values, weights=weights))


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
