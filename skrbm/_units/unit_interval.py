"""The check that rows have values that binary units can have, and the advice if not."""

import warnings

import numpy as np
import scipy.sparse as sp

# How far from 0 or 1 values may be by rounding, for example after scaling, relative to the
# largest value.
ROUNDING = 1e-6


def check_range(
    limits,
    ranges,
    X,
    names_of,
    *,
    clips,
    when="",
    name="X",
    warn=True,
    in_memory=True,
    refuse_constant=False,
):
    """Refuse or warn about values outside [0, 1], the range of binary visible units.

    Integers are refused, except those of the dtypes int32 and int64, which scikit-learn's
    estimator checks use with any values. See `refuse_constant` for these.

    Parameters
    ----------
    limits : callable
        Returns the smallest and the largest value of the rows, and possibly more.
    ranges : callable
        Returns the `Ranges` of their features. Only called if values are out of range.
    X : object
        The rows as the user passed them, or the collection that they belong to.
    names_of : callable
        Returns the names of features in words, given an array of their indices.
    clips : bool
        Whether values below 0 count as 0 and values above 1 as 1. Otherwise, they are used
        unchanged.
    when : str, default=""
        When the values are used or clipped, for example "during training, ".
    name : str, default="X"
        What the user calls the rows.
    warn : bool, default=True
        Whether to warn. Otherwise, values are only refused.
    in_memory : bool, default=True
        Whether the advice may be to copy the rows as a whole, unless `X` is a memory map or
        a Dask collection.
    refuse_constant : bool, default=False
        Whether to refuse integers of any dtype if clipping makes all of more than two
        features constant.
    """
    low, high, *_ = limits()
    if are_in_range(low, high):
        return
    dtype = dtype_of(X)
    refused = dtype.kind in "iu" and dtype.str[1:] not in ("i4", "i8")
    if not (refused or warn):
        return
    ranges = ranges()
    given = "" if dtype.kind == "O" else f" and dtype {dtype}"
    problem = (
        f"{name} has values from {low:g} to {high:g}{given}, but the model expects values "
        "in [0, 1]: binary data, or probabilities."
    )
    advice = _advice(low, high, ranges.whole, X, in_memory)
    if refused:
        raise ValueError(f"{problem} {advice}")
    use = "they are used unchanged"
    if clips:
        lost = (ranges.low < ranges.high) & ((ranges.low >= 1) | (ranges.high <= 0))
        constant = lost | (ranges.low == ranges.high)
        # The tables of scikit-learn's checks have two features.
        none_left = lost.any() and constant.all() and lost.size > 2
        if refuse_constant and none_left and dtype.kind in "iu":
            raise ValueError(f"{problem} All features would become constant. {advice}")
        use = "values below 0 count as 0 and values above 1 as 1"
        if lost.any():
            names = names_of(np.flatnonzero(lost))
            use += f", which makes {names} ({lost.sum()} of {lost.size}) constant"
    use = when + use
    warnings.warn(f"{problem} {use[0].upper()}{use[1:]}. {advice}")


def are_in_range(low, high):
    """Return whether values between these are in [0, 1], but for rounding."""
    return low >= -ROUNDING * high and high <= 1 + ROUNDING


def dtype_of(X):
    """Return the dtype of rows as the user passed them, or object if they have none."""
    if isinstance(getattr(X, "dtypes", None), list):  # a polars frame
        X = X[:0].to_numpy()
    dtypes = X.dtypes if hasattr(X, "dtypes") else [getattr(X, "dtype", object)]
    try:
        return np.result_type(*map(_numpy_dtype, dtypes))
    except TypeError:  # a dtype of another package
        return np.dtype(object)


def _numpy_dtype(dtype):
    """Return the dtype of the values of a nullable or sparse dtype of pandas."""
    return getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", dtype))


def is_dask(X):
    """Return whether `X` is a Dask collection. An array of xarray may have no graph."""
    return hasattr(X, "__dask_graph__") and X.__dask_graph__() is not None


def _advice(low, high, whole, X, in_memory):
    """Return what to do with values outside [0, 1]."""
    # Scalers and encoders copy data as a whole.
    mapped = isinstance(X, np.memmap)
    large = mapped or is_dask(X) or not in_memory
    advise = _advise_on_integers if whole and low >= -1 else _advise_on_reals
    advice = advise(low, high, large, sp.issparse(X))
    if mapped:
        advice.append("Pass the results to partial_fit in chunks, or save them in a file.")
    return " ".join(advice)


def _advise_on_integers(low, high, large, sparse):
    imputer = "with skrbm.RBMImputer(missing_values=-1)."
    if high <= 1:
        return [
            f"If -1 marks missing values, impute them {imputer}",
            "If -1 and 1 are two states, pass X > 0.",
        ]
    white = 255 if 16 < high <= 255 else high
    gray = [f"Divide intensities, such as gray levels, by {white:g}."]
    other = [
        "Model ratings and categories with MixedRBMEstimator, as ordinal and categorical "
        "in feature_types.",
        "Make counts binary with Binarizer(threshold=...), or bin them with "
        "KBinsDiscretizer.",
    ]
    if large:
        other = ["Compare counts with a threshold, and ratings with several."]
    elif sparse:
        other = ["Make counts binary with Binarizer(threshold=...)."]
    advice = gray + other if high > 16 else other + gray
    if low < 0:
        return [
            "If -1 marks missing values, encode the other values, and impute the missing "
            f"ones {imputer}",
            *advice,
        ]
    return advice


def _advise_on_reals(low, high, large, sparse):
    dense = ", which needs dense rows" if sparse else ""
    real = (
        "Model real values, such as standardized features, with "
        f"GaussianRBMEstimator{dense}."
    )
    scale = "use MaxAbsScaler" if sparse else "use MinMaxScaler(clip=True)"
    binarize = "make them binary with Binarizer(threshold=...)"
    if large:
        shift = f"add {-low:g} and " if low < 0 else ""
        scale = f"{shift}divide by {high - min(low, 0):g}"
        binarize = "compare them with a threshold"
    elif sparse and low < 0:
        return [real, f"For other values, {binarize}."]
    other = f"For intensities and frequencies, {scale}, or {binarize}."
    return [real, other] if low < 0 else [other, real]
