"""Models of estimators, and estimators of models.

Anything with `components_`, `intercept_visible_` and `intercept_hidden_` is accepted as an
estimator: one of this package or of scikit-learn, or one whose arrays were set by hand.
"""

import numpy as np
from sklearn.exceptions import NotFittedError

from skrbm._model import RBM
from skrbm._units import kind_of

_NAMES = "components_", "intercept_visible_", "intercept_hidden_"


def model_of(rbm, n_rows=0):
    """Return the model of an estimator, or of an object with the same attributes.

    It is in float32 if its arrays are, else in float64. If `n_rows` rows to compute with
    are worth it, it is prepared for the compiled core.
    """
    kind, names = kind_of(rbm), _NAMES
    required = *names, *kind.required_attributes
    missing = [name for name in required if not hasattr(rbm, name)]
    if missing:
        _refuse_other_objects(rbm)
        raise NotFittedError(
            f"This {type(rbm).__name__} has no {' and no '.join(missing)}: call fit first, "
            f"or set all of {', '.join(required)}."
        )
    arrays = [np.asarray(getattr(rbm, name)) for name in names]
    components, visible, hidden = arrays
    if components.ndim != 2 or components.T.shape != (visible.size, hidden.size):
        shapes = ", ".join(
            f"{name} {array.shape}" for name, array in zip(names, arrays, strict=True)
        )
        raise ValueError(
            "The shapes of the parameters do not match: expected (n_components, "
            f"n_features), (n_features,) and (n_components,), but got {shapes}."
        )
    model = RBM(
        *kind.from_attributes(rbm, components, visible.reshape(-1), hidden.reshape(-1))
    )
    if not all(np.isfinite(array).all() for array in model.arrays):
        raise ValueError("The parameters of the model have NaN or infinite values.")
    return model.for_rows(n_rows)


def attributes_of(model):
    """Return copies of the parameters of a model, as the attributes of an estimator."""
    return model.visible.to_attributes(model.weights, model.hidden_bias)


def _refuse_other_objects(rbm):
    """Raise a TypeError that says what to pass, unless `rbm` may be an unfitted RBM."""
    if hasattr(rbm, "steps"):
        instead = (
            "pass its last step, pipeline[-1], and the rows transformed by the other "
            "steps, pipeline[:-1].transform(X)"
        )
    elif hasattr(rbm, "best_estimator_"):
        instead = "pass its best_estimator_"
    elif hasattr(rbm, "estimator_"):
        instead = "pass its estimator_"
    elif not hasattr(rbm, "n_components"):
        instead = (
            "pass a BernoulliRBMEstimator, a GaussianRBMEstimator, a MixedRBMEstimator, or "
            "scikit-learn's BernoulliRBM"
        )
    else:
        return
    raise TypeError(f"Expected a fitted RBM, but got a {type(rbm).__name__}: {instead}.")
