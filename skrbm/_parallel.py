"""The meta-estimator that trains one model on shards of the data, by several workers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, Self

import joblib
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skrbm import _inputs
from skrbm._base import BaseRBM, RangeCheckMixin
from skrbm._compat.sklearn import Interval, StrOptions, _fit_context
from skrbm._data import DataSet
from skrbm._executors import JoblibExecutor
from skrbm._fitting import unchanged_on_error
from skrbm._fitting_shards import FitOnShards, PartialFitOnShards
from skrbm._rounds import RoundsTraining
from skrbm.callbacks import SavedTraining

# Rows are shuffled within blocks of at most this number of rows.
_LARGEST_BLOCK = 1 << 16


class ParallelRBM(MetaEstimatorMixin, RangeCheckMixin, BaseEstimator):
    """Training of one model by several workers of joblib.

    Use it if an epoch takes minutes, see the :doc:`user guide </parallel>`. To search for
    parameters, train one model on each worker instead. For data on a Dask cluster, see
    :class:`skrbm.dask.DaskRBM`.

    Parameters
    ----------
    estimator : BernoulliRBMEstimator, GaussianRBMEstimator or MixedRBMEstimator
        The estimator to train. Its parameters have the same meaning as in its own `fit`,
        except that each shard has minibatches of `batch_size` rows and `n_chains` chains.
        Its callbacks are called after each round, and their `every` counts rounds.

    n_shards : int, default=None
        Number of parts into which the rows are divided. If None, the number of workers. Set
        it to a multiple of that number for results that do not depend on the workers. Keep
        it much smaller than the number of minibatches: more shards learn a slightly worse
        model.

    n_local_steps : int or "auto", default="auto"
        Number of steps of a shard in a round. Increase it if exchanging the model takes
        long. Fewer steps follow the training of a single process more closely.

    n_jobs : int, default=None
        Number of workers, as for joblib. None means 1 unless in a
        :obj:`joblib.parallel_config` context. Use such a context for another backend.

    Attributes
    ----------
    estimator_ : BernoulliRBMEstimator, GaussianRBMEstimator or MixedRBMEstimator
        The fitted estimator. Its `history_` has an entry for each round (at most 100), with
        fractions of epochs in "epoch", and scores at most 500 rows. Its `h_samples_` are
        chains of all shards, one shard after the other.

    n_shards_ : int
        Number of shards of the last call of `fit` or `partial_fit`.

    n_local_steps_ : float
        Mean number of steps of the largest shard in a round of that call.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if all of them are strings.

    Notes
    -----
    In each round, every shard takes `n_local_steps` learning steps from the common model,
    with persistent chains of its own, on a worker that is free. The mean of their models is
    the next common model [1]_. Momentum repeats part of its last change in the steps of the
    next round [2]_. Thus n shards need about an n-th of the successive steps for as many
    passes over the data, and learn almost the same model, see :doc:`/shards`.

    The result depends on `random_state` of the estimator and on `n_shards`, but not on the
    workers. For `n_local_steps`, "auto" is a hundredth of the steps of a shard in all of
    the training, but from 25 to 100.

    With `early_stopping`, rows of all blocks are held out, but not many more than 10000.
    Real values are standardized by the means and variances of all blocks, and whitened by
    the covariances of a sample of 500 rows.

    References
    ----------
    .. [1] Stich, S. U. (2019). Local SGD converges fast and communicates little. ICLR 2019.
    .. [2] Wang, J., Tantia, V., Ballas, N. and Rabbat, M. (2020). SlowMo: improving
       communication-efficient distributed SGD with slow momentum. ICLR 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator, ParallelRBM
    >>> X = load_digits().data > 7
    >>> rbm = BernoulliRBMEstimator(20, n_iter=5, random_state=0)
    >>> parallel = ParallelRBM(rbm, n_shards=2).fit(X)
    >>> parallel.transform(X).shape
    (1797, 20)
    >>> parallel.estimator_
    BernoulliRBMEstimator(n_components=20, n_iter=5, random_state=0)
    """

    estimator_: BaseRBM
    n_shards_: int
    n_local_steps_: float

    _parameter_constraints: dict = {
        "estimator": [BaseRBM],
        "n_shards": [Interval(Integral, 1, None, closed="left"), None],
        "n_local_steps": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        estimator: BaseRBM,
        *,
        n_shards: int | None = None,
        n_local_steps: int | Literal["auto"] = "auto",
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_shards = n_shards
        self.n_local_steps = n_local_steps
        self.n_jobs = n_jobs

    # Training ---------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the model to the data `X`.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Training data, as for the `fit` of the estimator. With joblib's own
            backend, worker processes share them through memory maps. A table is coded once
            before.

        y : Ignored
            Not used, present for API consistency.

        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows, as for the `fit` of the estimator.

        Returns
        -------
        self : ParallelRBM
            The fitted meta-estimator. If training fails, it is unchanged.

        Raises
        ------
        ValueError
            If a parameter is out of range or the data are invalid, as for the `fit` of the
            estimator.

        Warns
        -----
        UserWarning, ConvergenceWarning
            As for the `fit` of the estimator. If training was interrupted from the
            keyboard, the model of the last round is kept.
        """
        rbm = self._next_estimator(warm=self.estimator.warm_start)
        return self._fit(FitOnShards(self, rbm, X, y, sample_weight))

    def resume(
        self,
        path: str | os.PathLike,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        callbacks: Sequence[Any] = (),
    ) -> Self:
        """Resume a training that was saved by :class:`skrbm.callbacks.Checkpoint`.

        Training continues after the last round that was saved, with the parameters of the
        estimator and the shards that it had. The model is bitwise that of a training
        without interruption. The file is unpickled, which can run arbitrary code. Only
        resume from files that you trust.

        Parameters
        ----------
        path : str or path-like
            File written by the callback on the estimator.

        X : as for `fit`
            Training data, the same as before, in the same blocks.

        y : Ignored
            Not used, present for API consistency.

        sample_weight : as for `fit`, default=None
            Weights of the rows, the same as before.

        callbacks : sequence of callbacks, default=()
            Callbacks for the rest of the training.

        Returns
        -------
        self : ParallelRBM
            The fitted meta-estimator.

        Raises
        ------
        ValueError
            If the data are not the same as before, or if the file was not written during
            the `fit` of a meta-estimator.
        """
        saved = SavedTraining.load(path)
        if not isinstance(saved.training, RoundsTraining):
            raise ValueError(
                f"{path} was written by the fit of a {type(saved.estimator).__name__}. "
                "Resume it with skrbm.callbacks.resume."
            )
        if callbacks:
            saved.estimator.set_callbacks(*callbacks)
        fit = FitOnShards(self, saved.estimator, X, y, sample_weight, saved=saved.training)
        return self._fit(fit)

    def _fit(self, fit):
        with unchanged_on_error(self), fit:
            self.estimator_ = fit.rbm._run(fit)
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Update the model with one pass over the rows of `X`.

        The learning rate is constant, as in the `partial_fit` of the estimator. Pass many
        times more rows than a round takes.

        Parameters
        ----------
        X : as for `fit`
            Training data.

        y : Ignored
            Not used, present for API consistency.

        sample_weight : as for `fit`, default=None
            Non-negative weights of the rows, which are not normalized.

        Returns
        -------
        self : ParallelRBM
            The fitted meta-estimator. If training fails, it is unchanged.

        Raises
        ------
        ValueError
            As for `fit`.

        Warns
        -----
        UserWarning, ConvergenceWarning
            As for the `partial_fit` of the estimator.
        """
        self._validate_params()
        rbm = self._next_estimator(warm=True)
        call = PartialFitOnShards(self, rbm, X, sample_weight)
        with unchanged_on_error(self), call:
            self.estimator_ = call.run()
        return self

    def _next_estimator(self, warm):
        """Return an estimator to train: a clone, possibly with what the last one learned.

        Parameters, callbacks and other configuration are always those of `estimator`.
        """
        rbm = clone(self.estimator)
        if warm and hasattr(self, "estimator_"):
            configuration = vars(clone(self.estimator_))
            fitted = vars(self.estimator_).items()
            vars(rbm).update({k: v for k, v in fitted if k not in configuration})
        return rbm

    def _open(self, rbm, stack, X, sample_weight, reset, n_shards):
        """Return an executor on the blocks of the data, to be closed by `stack`."""
        X, row_weights = self._validate_array(rbm, X, sample_weight, reset)
        n_shards = n_shards or joblib.effective_n_jobs(self.n_jobs)
        blocks = split(X, row_weights, n_shards)
        executor = JoblibExecutor(blocks, load, self.n_jobs, n_shards)
        return stack.enter_context(executor)

    def _validate_array(self, rbm, X, sample_weight, reset):
        options = {"reset": reset, "sample_weight": sample_weight, "allow_nan": True}
        X = rbm._validate(X, **options)
        if sample_weight is None:
            return X, None
        return X, _inputs.check_weights(sample_weight, X)

    # The fitted model -------------------------------------------------------------------

    @property
    def n_features_in_(self):
        """Number of features seen during fit."""
        return self._fitted.n_features_in_

    @property
    def feature_names_in_(self):
        """Names of features seen during fit."""
        return self._fitted.feature_names_in_

    @property
    def _fitted(self):
        if "estimator_" not in vars(self):
            raise AttributeError(f"This {type(self).__name__} is not fitted yet.")
        return self.estimator_

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Return the names of the features that `transform` returns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Not used, present for API consistency.

        Returns
        -------
        names : ndarray of str objects
            Names as those of the estimator.
        """
        check_is_fitted(self)
        return self.estimator_.get_feature_names_out(input_features)

    def transform(self, X: Any) -> Any:
        """Compute the probabilities of the hidden units, ``p(h = 1 | X)``.

        Parameters
        ----------
        X : as for `fit`
            Rows to transform.

        Returns
        -------
        H : array of shape (n_samples, n_components)
            Probabilities, as from the `transform` of the estimator.

        Raises
        ------
        ValueError
            As for the estimator.

        Warns
        -----
        UserWarning
            As for the estimator.
        """
        return self._transform(X)

    def _transform(self, X, **check):
        return self._apply("transform", X, **check)

    def free_energy(self, X: Any) -> Any:
        """Compute the free energy of each row.

        Parameters
        ----------
        X : as for `fit`
            Rows to score.

        Returns
        -------
        free_energy : float64 array of shape (n_samples,)
            Free energies, in nats.

        Raises
        ------
        ValueError
            As for the estimator.

        Warns
        -----
        UserWarning
            As for the estimator.
        """
        return self._apply("free_energy", X)

    def score_samples(self, X: Any) -> Any:
        """Compute the score of each row.

        Parameters
        ----------
        X : as for `fit`
            Rows to score.

        Returns
        -------
        score : float64 array of shape (n_samples,)
            Scores as from the estimator, in nats: log-likelihoods if there are real values,
            else pseudo-log-likelihoods.

        Raises
        ------
        ValueError
            As for the estimator.

        Warns
        -----
        UserWarning
            As for the estimator.
        """
        return self._apply("score_samples", X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Compute the mean score of the rows.

        Parameters
        ----------
        X : as for `fit`
            Rows to score.

        y : Ignored
            Not used, present for API consistency.

        sample_weight : as for `fit`, default=None
            Non-negative weights of the rows in the mean.

        Returns
        -------
        score : float
            Mean of `score_samples` over the rows, in nats.

        Raises
        ------
        ValueError
            If a weight is negative, if no weight is greater than 0, or if the weights and
            `X` differ in the number or the chunks of rows. Also as for `score_samples`.

        Warns
        -----
        UserWarning
            As for the estimator.
        """
        check_is_fitted(self)
        return self._score(X, sample_weight)

    def _score(self, X, sample_weight):
        return self.estimator_.score(X, sample_weight=sample_weight)

    def _apply(self, method, X, **check):
        check_is_fitted(self)
        return getattr(self.estimator_, f"_{method}")(X, **check)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def split(X, row_weights, n_shards):
    """Return blocks of rows, as many for each shard, with the same mixture of rows."""
    n_rows = X.shape[0]
    per_shard = -(-n_rows // (n_shards * _LARGEST_BLOCK))
    n_blocks = max(1, min(n_rows, n_shards * per_shard))
    return [
        (X[i::n_blocks], None if row_weights is None else row_weights[i::n_blocks])
        for i in range(n_blocks)
    ]


def load(block):
    """Return the data set of a block of validated rows and their weights."""
    X, row_weights = block
    return DataSet(X) if row_weights is None else DataSet(X).weigh(row_weights)
