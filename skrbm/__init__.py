"""Restricted Boltzmann machines for scikit-learn users."""

from skrbm._estimator import BernoulliRBMEstimator
from skrbm._imputer import RBMImputer

__all__ = ["BernoulliRBMEstimator", "RBMImputer"]
__version__ = "0.1.0"
