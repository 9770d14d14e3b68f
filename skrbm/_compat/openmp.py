"""Number of threads that compiled code may use."""

from sklearn.utils._openmp_helpers import _openmp_effective_n_threads as n_threads_allowed

__all__ = ["n_threads_allowed"]
