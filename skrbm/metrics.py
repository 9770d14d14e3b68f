"""Scorers for model selection: callables ``(estimator, X, y=None)``, higher is better.

They use only the public methods of an estimator, and accept a pipeline whose last step is
the estimator, and a search over either.
"""

from numbers import Integral

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import check_scalar

__all__ = ["make_pseudo_likelihood_scorer", "pseudo_likelihood_scorer"]


class _PseudoLikelihoodScorer:
    """What `make_pseudo_likelihood_scorer` makes: a callable that can be pickled."""

    def __init__(self, n_flips, normalize):
        self.n_flips = n_flips
        self.normalize = normalize

    def __call__(self, estimator, X, y=None):
        while isinstance(estimator, Pipeline) or hasattr(estimator, "best_estimator_"):
            if isinstance(estimator, Pipeline):
                X = estimator[:-1].transform(X) if len(estimator) > 1 else X
                estimator = estimator[-1]
            else:  # a search
                estimator = estimator.best_estimator_
        if not hasattr(estimator, "score_samples"):
            raise TypeError(
                "A pseudo-likelihood scorer needs a BernoulliRBMEstimator, or a pipeline "
                f"whose last step is one, but got {type(estimator).__name__}."
            )
        score = float(np.mean(estimator.score_samples(X, n_flips=self.n_flips)))
        return score / estimator.n_features_in_ if self.normalize else score

    def __repr__(self):
        return (
            f"make_pseudo_likelihood_scorer(n_flips={self.n_flips}, "
            f"normalize={self.normalize})"
        )


def make_pseudo_likelihood_scorer(*, n_flips=None, normalize=False):
    """Make a scorer of the mean pseudo-log-likelihood.

    Parameters
    ----------
    n_flips : int, default=None
        Number of features to estimate the pseudo-log-likelihood from; None, or as many as
        there are, is exact. See :meth:`skrbm.BernoulliRBMEstimator.score_samples`.

    normalize : bool, default=False
        Whether to divide by the number of features: nats per feature, which compare
        between models of different features, and with ``-log(2)``, which a fair coin
        scores.

    Returns
    -------
    scorer : callable
        Called with a fitted estimator, a pipeline that ends in one or a search over
        either, data `X` of shape (n_samples, n_features) and optionally `y`, which is
        ignored, it returns a float, in nats.

    Raises
    ------
    ValueError
        If `n_flips` is not positive.
    TypeError
        If `n_flips` is not an integer. The scorer raises it for an estimator that does not
        score samples.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.metrics import make_pseudo_likelihood_scorer
    >>> X = load_digits().data > 7
    >>> search = GridSearchCV(
    ...     BernoulliRBMEstimator(n_iter=2, random_state=0),
    ...     {"n_components": [2, 32]},
    ...     scoring=make_pseudo_likelihood_scorer(n_flips=16, normalize=True),
    ... )
    >>> search.fit(X).best_params_
    {'n_components': 32}
    """
    if n_flips is not None:
        check_scalar(n_flips, "n_flips", Integral, min_val=1)
    return _PseudoLikelihoodScorer(n_flips, normalize)


def pseudo_likelihood_scorer(estimator, X, y=None):
    """Score by the mean exact pseudo-log-likelihood.

    The same as the estimator's own `score`, and a `scoring` for a pipeline or a search
    that would use another otherwise.

    Parameters
    ----------
    estimator : BernoulliRBMEstimator, Pipeline or search
        Fitted estimator, or fitted pipeline whose last step is one, or a fitted search
        such as GridSearchCV over either.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows to score.

    y : Ignored
        Not used, present for API consistency.

    Returns
    -------
    score : float
        Mean over the rows, in nats.

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
    return make_pseudo_likelihood_scorer()(estimator, X, y)
