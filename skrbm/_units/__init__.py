"""Kinds of visible units, which define the distribution of the data given the hidden units.

To add a kind, write a subclass of `VisibleUnits` in a module of its own, and an estimator
that names it. Only kinds that objects other than estimators of this package may have are in
`KINDS`.
"""

from skrbm._units.base import Encoder, VisibleUnits
from skrbm._units.bernoulli import BernoulliUnits
from skrbm._units.correlated import CorrelatedUnits
from skrbm._units.gaussian import GaussianUnits

__all__ = ["KINDS", "Encoder", "VisibleUnits", "kind_of"]

# Of an object with attributes set by hand, the first kind that it has all attributes of.
KINDS: tuple[type[VisibleUnits], ...] = (CorrelatedUnits, GaussianUnits, BernoulliUnits)


def kind_of(rbm) -> type[VisibleUnits]:
    """Return the kind of visible units of an estimator, or of an object like one."""
    kind = getattr(rbm, "_units", None)
    if kind is not None:
        return kind.kind_of(rbm)
    return next(k for k in KINDS if all(hasattr(rbm, n) for n in k.required_attributes))
