"""Scorers for model selection: callables ``(estimator, X, y=None, sample_weight=None)``.

Higher is better. The scorers accept an estimator, a pipeline whose last step is an
estimator, and a search over either. The estimator may also be a ParallelRBM or a DaskRBM.
With scikit-learn's metadata routing, the scorers request `sample_weight`.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest
from sklearn.utils.validation import check_is_fitted

from skrbm._inputs import weighted_mean
from skrbm._partition import N_BETAS_OF_SCORES
from skrbm._typing import MatrixLike
from skrbm.likelihood import log_likelihood, log_partition, pseudo_log_likelihood

__all__ = [
    "log_likelihood_scorer",
    "pseudo_likelihood_scorer",
]


def _last_step(estimator, X):
    """Return the RBM at the end of an estimator, and `X` transformed for it."""
    while True:
        if isinstance(estimator, Pipeline):
            X = estimator[:-1].transform(X) if len(estimator) > 1 else X
            estimator = estimator[-1]
        elif hasattr(estimator, "best_estimator_"):  # a search
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "estimator_"):  # trained by several workers
            estimator = estimator.estimator_
        else:
            break
    is_rbm = hasattr(estimator, "score_samples")
    if is_rbm and not hasattr(estimator, "intercept_visible_"):
        check_is_fitted(estimator)  # raises unless fitted: then it is no RBM
        is_rbm = False
    if not is_rbm:
        raise TypeError(
            "Likelihood scorers expect a BernoulliRBMEstimator, a GaussianRBMEstimator or "
            "a MixedRBMEstimator, a ParallelRBM or a DaskRBM of one, or a pipeline whose "
            f"last step is one, but got {type(estimator).__name__}."
        )
    return estimator, X


def _takes_weights(scorer):
    """Add the methods that tell scikit-learn that a scorer accepts `sample_weight`.

    They return constants. State that is set on a function is not pickled with the function,
    so other processes would lack it.
    """

    def get_metadata_routing():
        request = MetadataRequest(owner=scorer.__name__)
        request.score.add_request(param="sample_weight", alias=True)
        return request

    scorer._accept_sample_weight = lambda: True
    scorer.get_metadata_routing = get_metadata_routing
    return scorer


@_takes_weights
def pseudo_likelihood_scorer(
    estimator: Any, X: MatrixLike, y: Any = None, sample_weight: ArrayLike | None = None
) -> float:
    """Score by the mean exact pseudo-log-likelihood.

    The result equals the estimator's own `score`. Pass this scorer as `scoring` if a
    pipeline or a search would use another score. It takes less time than
    :func:`log_likelihood_scorer`, but it evaluates a model only near the rows.

    Parameters
    ----------
    estimator : BernoulliRBMEstimator, MixedRBMEstimator, ParallelRBM, DaskRBM, Pipeline \
or search
        A fitted estimator for data without real values, a fitted pipeline whose last step
        is such an estimator, or a fitted search, such as GridSearchCV, over either.
        scikit-learn's BernoulliRBM is also accepted.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows to score.

    y : Ignored
        Not used, present for API consistency.

    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in the mean. If None, all rows have the same weight.

    Returns
    -------
    score : float
        Mean pseudo-log-likelihood of the rows, in nats.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.metrics import pseudo_likelihood_scorer
    >>> X = load_digits().data > 7
    >>> rbm = BernoulliRBMEstimator(n_components=16, n_iter=2, random_state=0).fit(X)
    >>> pseudo_likelihood_scorer(rbm, X) == rbm.score(X)
    True
    """
    estimator, X = _last_step(estimator, X)
    return weighted_mean(pseudo_log_likelihood(estimator, X), sample_weight)


@_takes_weights
def log_likelihood_scorer(
    estimator: Any, X: MatrixLike, y: Any = None, sample_weight: ArrayLike | None = None
) -> float:
    """Score by the mean log-likelihood.

    Use it to select the model that describes held-out rows best. For other settings than
    those in the notes, write a scorer that calls
    :func:`skrbm.likelihood.mean_log_likelihood`.

    Parameters
    ----------
    estimator : BernoulliRBMEstimator, GaussianRBMEstimator, MixedRBMEstimator, \
ParallelRBM, DaskRBM, Pipeline or search
        A fitted estimator, a fitted pipeline whose last step is an estimator, or a fitted
        search, such as GridSearchCV, over either. scikit-learn's BernoulliRBM is also
        accepted.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows to score. The values that reach a model of binary data must be 0 or 1. A
        GaussianRBMEstimator accepts real values but no sparse data. A MixedRBMEstimator
        accepts tables like the one passed to `fit`.

    y : Ignored
        Not used, present for API consistency.

    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in the mean. If None, all rows have the same weight.

    Returns
    -------
    score : float
        Mean log-likelihood of the rows, in nats. For real values, it is a mean of log
        densities. Compare these only between pipelines whose earlier steps do not change
        the scales, because densities depend on the units of the values.

    Raises
    ------
    ValueError
        If the model is one of binary data and there are values other than 0 and 1.
    TypeError
        If `estimator` is not, or does not end in, an RBM.

    Notes
    -----
    The partition function is computed exactly for models with at most 20 hidden units or,
    for binary data, at most 20 visible units. For other models it is estimated by annealed
    importance sampling with 100 runs and 2000 temperatures. The estimate always uses the
    same random numbers.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.neural_network import BernoulliRBM
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.metrics import log_likelihood_scorer
    >>> X = load_digits().data > 7
    >>> ours = BernoulliRBMEstimator(n_components=12, random_state=0)
    >>> theirs = BernoulliRBM(n_components=12, random_state=0)
    >>> a, b = (
    ...     cross_val_score(rbm, X, scoring=log_likelihood_scorer, cv=2).mean()
    ...     for rbm in (ours, theirs)
    ... )
    >>> bool(a > b + 1)
    True
    """
    estimator, X = _last_step(estimator, X)
    log_z = log_partition(estimator, betas=N_BETAS_OF_SCORES, random_state=0)
    rows = log_likelihood(estimator, X, log_partition=log_z)
    return weighted_mean(rows, sample_weight)
