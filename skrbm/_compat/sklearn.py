"""Private or version-dependent parts of scikit-learn.

Parameter constraints and `_fit_context` are also used by scikit-learn's project template
and are unchanged from 1.6 to 1.9. Callbacks are new and experimental in 1.9.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from sklearn import base
from sklearn.utils import _safe_indexing
from sklearn.utils._mask import _get_mask
from sklearn.utils._missing import is_pandas_na, is_scalar_nan
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import Interval as _Interval
from sklearn.utils._param_validation import MissingValues, StrOptions
from sklearn.utils._set_output import ADAPTERS_MANAGER, _get_output_config
from sklearn.utils.validation import _check_sample_weight

F = TypeVar("F", bound=Callable[..., Any])
# Annotated so that type checkers keep the signatures of the decorated methods.
_fit_context: Callable[..., Callable[[F], F]] = base._fit_context


class Interval(_Interval):
    """Interval of numbers that excludes booleans."""

    def is_satisfied_by(self, val):
        return not isinstance(val, bool | np.bool_) and super().is_satisfied_by(val)


def in_container(estimator, array, like, columns):
    """Return an array in the container that `set_output` or the configuration asks for.

    Parameters
    ----------
    estimator : estimator
        On which `set_output` may have been called.
    array : ndarray
        The rows to return.
    like : object
        Rows as the user passed them. The index of a pandas data frame is taken over.
    columns : list of str, ndarray or callable
        Names of the columns, or a function that returns them.
    """
    container = _get_output_config("transform", estimator)["dense"]
    if container == "default":
        return array
    adapter = ADAPTERS_MANAGER.adapters[container]
    return adapter.create_container(array, like, columns=columns)


try:
    from sklearn import callback

    class _CallbackSupport(callback.CallbackSupportMixin):
        """scikit-learn's mixin, which tells what a callback is if given another object."""

        @functools.wraps(callback.CallbackSupportMixin.set_callbacks)
        def set_callbacks(self, *callbacks):
            for given in callbacks:
                if isinstance(given, type) or not isinstance(given, callback.FitCallback):
                    raise TypeError(
                        "Each callback must be an object with the methods setup, "
                        "on_fit_task_begin, on_fit_task_end and teardown, but one is "
                        f'{given!r}. For an example, see "Monitoring and callbacks" in the '
                        "user guide."
                    )
            return super().set_callbacks(*callbacks)

    CallbackSupportMixin: Any = _CallbackSupport
except ImportError:

    class _NoCallbacks:
        """Callback context without callbacks."""

        def subcontext(self, **task):
            return self

        def call_on_fit_task_begin(self, **arguments):
            return self

        def call_on_fit_task_end(self, **arguments):
            return False

    class _NoCallbackSupport:
        """Replacement for the mixin, without `set_callbacks`."""

        def _init_callback_context(self, **task):
            return _NoCallbacks()

    CallbackSupportMixin = _NoCallbackSupport


__all__ = [
    "CALLBACK_STATE",
    "CallbackSupportMixin",
    "Interval",
    "MissingValues",
    "StrOptions",
    "_check_sample_weight",
    "_fit_context",
    "_get_mask",
    "_safe_indexing",
    "check_matplotlib_support",
    "in_container",
    "is_pandas_na",
    "is_scalar_nan",
]

# Attributes that scikit-learn sets on an estimator during `fit` and needs at its end.
CALLBACK_STATE = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")
