"""Restricted Boltzmann machines for scikit-learn users.

Choose an estimator by the data: `BernoulliRBMEstimator` for rows of 0 and 1,
`GaussianRBMEstimator` for real values, and `MixedRBMEstimator` for tables. `RBMImputer`
fills in missing values, and `RBMClassifier` learns from rows with labels. The submodules
`callbacks`, `dask`, `inspection`, `likelihood`, `metrics`, `plotting` and `sampling` are
imported on first access.
"""

import importlib

from skrbm._bernoulli import BernoulliRBMEstimator
from skrbm._classifier import RBMClassifier
from skrbm._gaussian import GaussianRBMEstimator
from skrbm._groups import exclusive_groups
from skrbm._imputer import RBMImputer
from skrbm._mixed import MixedRBMEstimator
from skrbm._parallel import ParallelRBM
from skrbm._show_versions import show_versions

__all__ = [
    "BernoulliRBMEstimator",
    "GaussianRBMEstimator",
    "MixedRBMEstimator",
    "ParallelRBM",
    "RBMClassifier",
    "RBMImputer",
    "exclusive_groups",
    "show_versions",
]
__version__ = "0.1.0"
_MODULES = {
    "callbacks",
    "dask",
    "inspection",
    "likelihood",
    "metrics",
    "plotting",
    "sampling",
}


def __getattr__(name):
    """Import a public submodule on first access, as scikit-learn does."""
    if name in _MODULES:
        return importlib.import_module(f"skrbm.{name}")
    raise AttributeError(f"module 'skrbm' has no attribute {name!r}")
