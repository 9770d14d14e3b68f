"""Restricted Boltzmann machines for scikit-learn users."""

from skrbm._estimator import BernoulliRBMEstimator

__all__ = ["BernoulliRBMEstimator"]
__version__ = "0.1.0"
