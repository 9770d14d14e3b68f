"""A fitted estimator seen from outside: its model, and what is given to its methods.

Anything with `components_`, `intercept_visible_` and `intercept_hidden_` will do: an
estimator of this package, scikit-learn's, or one whose arrays were set by hand.
"""

import contextlib
import os
import threading

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array
from threadpoolctl import threadpool_limits

from skrbm import _batches
from skrbm._compat import CALLBACK_STATE, _check_sample_weight
from skrbm._model import RBM

_LIMITING = threading.Lock()
if hasattr(os, "register_at_fork"):
    # A child would wait for ever for a lock that another thread of its parent holds.
    os.register_at_fork(after_in_child=_LIMITING._at_fork_reinit)

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
    model = RBM(
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
    elif hasattr(rbm, "_resume_from"):
        name, instead = "checkpoint", "go on with it by skrbm.callbacks.resume"
    elif isinstance(rbm, BaseEstimator) and not hasattr(rbm, "n_components"):
        instead = "pass a BernoulliRBMEstimator, or scikit-learn's BernoulliRBM"
    else:
        return
    raise TypeError(f"Expected a fitted machine, but got a {name}: {instead}.")


def check_rows(model, X, rbm=None, allow_nan=False):
    """Return rows for the model as a plain ndarray or CSR array, or say what is wrong.

    A frame must have the columns that the estimator `rbm` was fitted on, in their order.
    """
    check_names(X, rbm)
    X = check_array(
        X,
        accept_sparse=False if allow_nan else "csr",
        dtype=DTYPES,
        ensure_all_finite="allow-nan" if allow_nan else True,
    )
    return fitting_rows(model, X)


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
    """Return rows of checked values as a plain ndarray or CSR array, if they fit."""
    n_features = len(model.visible_bias)
    if X.shape[1] != n_features:
        raise ValueError(
            f"X has {X.shape[1]} features, but the machine has {n_features} visible units."
        )
    return _batches.canonical(X)


def _few(names):
    return ", ".join(map(str, list(names)[:5])) + (", ..." if len(names) > 5 else "")


def by_blocks(function, model, X, *, n_columns=None, dtype=np.float64, threads=False):
    """Apply a function of model and rows to all rows, in bounded memory.

    Parameters
    ----------
    function : callable
        Called with the model and with a block of rows in the model's dtype.
    model : RBM
    X : {ndarray, CSR array} of shape (n_samples, n_columns_in)
    n_columns : int, default=None
        Length of the result for a row; None is one number.
    dtype : dtype, default=float64
        Of the result.
    threads : bool, default=False
        For functions that do more than multiply matrices: blocks go to as many threads as
        `joblib.parallel_config` asks for, with a thread each for their products.
    """
    out = np.empty((X.shape[0],) if n_columns is None else (X.shape[0], n_columns), dtype)

    def fill(rows, v):
        out[rows] = function(model, v)

    blocks = _batches.blocks(X, model.dtype, model.row_size(X))
    parallel = Parallel(require="sharedmem") if threads else None
    if parallel is None or parallel.n_jobs == 1:
        for block in blocks:
            fill(*block)
    else:  # the limit is one of the process: two calls may not overlap in setting it
        with _LIMITING, threadpool_limits(1, user_api="blas"):
            parallel(delayed(fill)(*block) for block in blocks)
    return out


def rows_and_weights(X, sample_weight, normalize=False):
    """Return which rows have weight, None for all, and the weights, None if not given.

    With `normalize`, the mean weight of these rows is 1.
    """
    if sample_weight is None:
        return None, None
    weights = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    if not weights.any():
        raise ValueError(
            "sample_weight must have at least one weight above 0, but all are 0: there is "
            "no row left."
        )
    if normalize:
        weights = weights / weights.max()  # their sum is then finite
        weights *= np.count_nonzero(weights) / weights.sum()
    rows = np.flatnonzero(weights)
    return (None if len(rows) == len(weights) else rows), weights


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
