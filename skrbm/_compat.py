"""The only place with imports from scikit-learn that are private there.

Parameter constraints and `_fit_context` are what scikit-learn's own project template uses;
unchanged from 1.6 to 1.9.
"""

from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

__all__ = ["Interval", "StrOptions", "_fit_context"]
