"""The estimator for real-valued data: its parameters, and what only it does."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skrbm._base import BaseRBM
from skrbm._compat.sklearn import StrOptions
from skrbm._inputs import feature_names
from skrbm._typing import MatrixLike, RandomStateLike
from skrbm._units.correlated import CorrelatedUnits
from skrbm._units.gaussian import GaussianUnits

# The kinds of units of the covariance types.
COVARIANCE_TYPES: dict[str, type[GaussianUnits]] = {
    "full": CorrelatedUnits,
    "diag": GaussianUnits,
}


class GaussianRBMEstimator(BaseRBM):
    """Gaussian-Bernoulli restricted Boltzmann machine.

    A density model of real-valued data with binary hidden units [1]_,

    .. math::
        p(v) = \\frac{1}{Z} \\sum_h \\exp\\left(-\\tfrac{1}{2} (v - b)^T C^{-1} (v - b)
        + c \\cdot h + v^T C^{-1} W h\\right),

    in which the features are normal given the hidden units, with means ``b + W h`` and a
    covariance matrix C. It is a mixture of 2^n_components Gaussians that share this matrix.
    As a transformer, the estimator maps rows to the probabilities of the hidden units. As a
    density model, it scores rows by their log-likelihood and draws new rows. The scales of
    the features do not matter, so there is no need to standardize them.

    Parameters
    ----------
    n_components : int, default=64
        Number of hidden units. With up to 20, log-likelihoods are exact.

    covariance_type : {"full", "diag"}, default="full"
        The covariance matrix of the features given the hidden units. "full" whitens the
        rows by the covariance matrix of the data, and learns the variances along its axes,
        so that features may be functions of others. The matrix is shrunk to that of
        independent features, with a weight chosen by cross-validation. It is estimated from
        up to 10000 rows or, if values are missing, 1000. Rows with missing values take
        longer, up to n_features^3 operations each. "diag" makes the features independent
        given the hidden units, which is better for features of few distinct values, and
        faster for hundreds of features with missing values.

    solver : {"pcd", "cd"}, default="pcd"
        Initialization of the Gibbs chains in the negative phase. "pcd" (persistent
        contrastive divergence) continues the chains of the previous minibatch, lets them
        jump between modes, and learns the better density, in particular of clusters. "cd"
        (contrastive divergence) starts one chain at each row of the minibatch. It was found
        to learn filters of natural images faster [2]_, but may leave probability far from
        the data.

    n_gibbs_steps : int or "auto", default="auto"
        Number of Gibbs steps per minibatch: the k of PCD-k and CD-k. "auto" is 1, and in
        `fit` with ``solver="pcd"`` 2, 3 or 5 if the largest variance of the standardized
        or whitened rows in any direction exceeds 1.2, 5 or 6. `partial_fit` keeps the
        number of the previous call, or starts with 1. The number used is stored in
        `n_gibbs_steps_`.

    n_chains : int, default=100
        Number of persistent chains, independent of `batch_size`. Ignored by
        ``solver="cd"``, which runs one chain per row of the minibatch.

    learning_rate : float or "auto", default="auto"
        Step size for the gradient of the mean log-likelihood of a minibatch of standardized
        or whitened rows. The logarithms of the variances learn at 0.3 times this rate.
        "auto" is ``0.5 / (1 + s)``, where s is the largest variance of these rows in any
        direction (the largest eigenvalue of their covariance matrix, estimated from up to
        500 rows). `partial_fit` keeps the rate of the previous call, or starts with 0.2.
        The rate used is stored in `learning_rate_`.

    schedule : {"linear", "constant"}, default="linear"
        Learning rate schedule of `fit`. "linear" decreases the learning rate from
        `learning_rate` to 0 at the end of `n_iter` epochs. "constant" keeps it at
        `learning_rate`. `partial_fit` always uses a constant learning rate.

    weight_decay : float or "auto", default="auto"
        Strength of the L2 penalty on the weights: each update multiplies them by
        ``1 - learning_rate * weight_decay``. With 20 to 20000 training rows and at least 3
        epochs, "auto" is found by a short first training, as described for
        :class:`BernoulliRBMEstimator`, by the log-likelihood of held-out rows. If these do
        not show that the model overfits, or with more rows or fewer, or on shards, it is
        0.003 times `n_components` times the root of the number of features, divided by the
        number of training rows (with weights, the effective number), but at most 0.1
        divided by the learning rate. A warm start keeps the ratio of the decay to this
        rule, and `partial_fit` the value of the previous call, or starts with 0. The value
        used is stored in `weight_decay_`.

    batch_size : int, default=20
        Number of rows per minibatch.

    n_iter : int or "auto", default="auto"
        Number of epochs, that is, passes of `fit` over the training data. "auto" runs 50
        epochs, but at most 20000 and at least 5000 updates (minibatches), rounded up to
        whole epochs. With many rows, it runs 10 epochs, or as many as change 10^10 weights
        in total, but at least 20000 updates. If the weight decay is found by a first
        training, it runs at most 8 times as many updates as were best there, or 500. The
        number of epochs run is stored in `n_iter_`.

    shuffle : bool, default=True
        Whether to shuffle the rows in each epoch of `fit`.

    early_stopping : bool, default=False
        Whether `fit` holds out some rows and stops when their log-likelihood, estimated as
        in `history_`, no longer improves. The model of the best epoch is kept.

    validation_fraction : float, default=0.1
        Fraction of the rows to hold out for early stopping, in (0, 1).

    n_iter_no_change : int, default=10
        Early stopping ends training when the validation score has improved by less than
        `tol` for more than this many consecutive epochs.

    tol : float, default=1e-4
        Minimum improvement of the best validation score, in nats, for early stopping.

    warm_start : bool, default=False
        If True, `fit` starts from the parameters and chains of the previous fit instead of
        from scratch, and standardizes and whitens the rows as that did. The schedule starts
        anew. All parameters that do not change the shape of the model, or its covariance
        type, may be changed between the calls.

    verbose : int, default=0
        Whether to print a line for each epoch that is recorded in `history_`.

    random_state : int, RandomState instance or None, default=None
        Controls the initial weights, the order of the rows and all draws during training,
        as well as the draws of `gibbs` and `sample` when these are not given a
        `random_state`. Pass an int for reproducible results across calls of `fit`.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Weights, in the units of the features: by how much a hidden unit changes the means
        of the features. float32 if `X` was float32, bool or uint8, else float64. If the
        fitted parameters are changed by hand, scoring and sampling use the changed values,
        but further training continues from an internal copy of the original ones.

    intercept_hidden_ : float64 ndarray of shape (n_components,)
        Biases of the hidden units.

    intercept_visible_ : float64 ndarray of shape (n_features,)
        Means of the features if all hidden units are off.

    noise_variance_ : float64 ndarray of shape (n_features,)
        Variances of the features given the hidden units, at least 0.001 times
        `visible_variance_`. Only available with ``covariance_type="diag"``.

    axes_ : float64 ndarray of shape (n_features, n_features)
        Directions along which the features vary independently given the hidden units, in
        units of the features. ``axes_.T @ axes_`` is the shrunk covariance matrix of the
        training rows. A warm start of `fit` and further calls of `partial_fit` keep the
        axes of the first call. Only available with ``covariance_type="full"``.

    axes_variance_ : float64 ndarray of shape (n_features,)
        Variances along the axes given the hidden units, as parts of those of the data, at
        least 0.001. The covariance matrix given the hidden units, C above, is
        ``(axes_.T * axes_variance_) @ axes_``. Only available with
        ``covariance_type="full"``.

    visible_mean_ : float64 ndarray of shape (n_features,)
        Means of the training rows, with `sample_weight`. A warm start of `fit` and further
        calls of `partial_fit` keep those of the first call.

    visible_variance_ : float64 ndarray of shape (n_features,)
        Variances of the training rows, likewise. For a constant feature this is 1.

    h_samples_ : ndarray of shape (n_chains, n_components)
        Hidden states, 0 or 1, of the chains of the negative phase. With ``solver="cd"``
        there is one chain per row of a minibatch.

    learning_rate_ : float
        The `learning_rate` of the last call of `fit` or `partial_fit`, a number also if the
        parameter is "auto".

    weight_decay_ : float
        The `weight_decay` of the last call of `fit` or `partial_fit`, likewise.

    n_gibbs_steps_ : int
        The `n_gibbs_steps` of the last call of `fit` or `partial_fit`, likewise.

    n_iter_ : int
        Number of epochs run by the last `fit`. With `early_stopping`, the model is that of
        the epoch with the best validation score, which is not necessarily the last one.

    history_ : dict of lists
        Record of the last `fit`: "epoch" (counted from 1), "learning_rate" (at the end of
        the epoch), "log_likelihood" (in nats, the mean over up to 64 training rows) and
        "seconds" (duration of the epoch). The log partition function is exact for up to 10
        hidden units. For more, it is estimated by 50 annealed runs that follow the model,
        which is less precise than `score`. There is one entry per epoch with
        `early_stopping` and in fits of up to 100 epochs, and at most 100 entries in longer
        fits; without it and with more than 10 hidden units, there are at most 25.
        With it, there is also "free_energy_gap" (in nats): the mean free energy of the
        held-out rows minus that of as many training rows.

    validation_scores_ : list of float
        Mean log-likelihood of the held-out rows, in nats, after each epoch of the last
        `fit`. Only available with `early_stopping`.

    verdict_ : object
        What the check of the model at the end of the last `fit` found. ``str(verdict_)``
        says it in words; `problem` is None, "unvisited modes", "worse than independent
        features" or "wrong proportions". See :ref:`verdict`. Only available after a
        complete fit of at least 5000 updates, and if there was no other problem.

    log_partition_gap_ : float
        Estimate of log Z minus the estimate from up to 100 persistent chains, 100 Gibbs
        steps after the last `fit`, in nats. Values clearly above 0 show that the model has
        modes that the chains have not visited, negative ones only that annealed runs of 500
        temperatures are too short for an exact estimate. Available with `verdict_`, if
        there are at least 20 chains and they are persistent.

    random_state_ : RandomState
        Random generator that `gibbs` and `sample` use by default.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if all of them are strings.

    See Also
    --------
    BernoulliRBMEstimator : The same for binary data.
    sklearn.mixture.GaussianMixture : Mixture of a few Gaussians.
    sklearn.decomposition.FactorAnalysis : The same with Gaussian hidden units.

    References
    ----------
    .. [1] Cho, K., Ilin, A. and Raiko, T. (2011). Improved learning of Gaussian-Bernoulli
       restricted Boltzmann machines. ICANN 2011, 10-17.
    .. [2] Melchior, J., Wang, N. and Wiskott, L. (2017). Gaussian-binary restricted
       Boltzmann machines for modeling natural image statistics. PLoS ONE, 12(2), e0171015.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skrbm import GaussianRBMEstimator
    >>> X = load_wine().data
    >>> rbm = GaussianRBMEstimator(n_components=8, random_state=0).fit(X)
    >>> rbm.transform(X).shape
    (178, 8)
    >>> bool(rbm.score(X) > -20)
    True
    """

    noise_variance_: np.ndarray
    visible_variance_: np.ndarray

    _units = GaussianUnits
    _solvers = "pcd", "cd"
    _parameter_constraints: dict = BaseRBM._parameter_constraints | {
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "solver": [StrOptions(set(_solvers))],
    }

    def __init__(
        self,
        n_components: int = 64,
        *,
        covariance_type: Literal["full", "diag"] = "full",
        solver: Literal["pcd", "cd"] = "pcd",
        n_gibbs_steps: int | Literal["auto"] = "auto",
        n_chains: int = 100,
        learning_rate: float | Literal["auto"] = "auto",
        schedule: Literal["linear", "constant"] = "linear",
        weight_decay: float | Literal["auto"] = "auto",
        batch_size: int = 20,
        n_iter: int | Literal["auto"] = "auto",
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        verbose: int = 0,
        random_state: RandomStateLike = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.solver = solver
        self.n_gibbs_steps = n_gibbs_steps
        self.n_chains = n_chains
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    def _untrained(self, data, dtype):
        return COVARIANCE_TYPES[self.covariance_type].untrained(data, dtype)

    def _warn_of_units(self, units):
        if (constant := np.flatnonzero(units.constant)).size:
            warnings.warn(
                f"X is constant in {feature_names(self, constant)}. The density of such a "
                "feature is arbitrary: drop it, for example with sklearn.feature_selection."
                "VarianceThreshold."
            )

    def _warn_of_result(self, model):
        if (collapsed := np.flatnonzero(model.visible.collapsed)).size:
            names = feature_names(self, collapsed)
            message = model.visible.about_collapsed.format(names=names)
            warnings.warn(message, ConvergenceWarning)

    def score_samples(self, X: MatrixLike) -> np.ndarray:
        """Compute the log-likelihood of each row.

        It is exact for models with up to 20 hidden units. For others, the partition
        function is estimated by annealed importance sampling with 100 runs and 2000
        temperatures, from a Gaussian with the means and covariances or variances of the
        training data, always with the same random numbers. The estimate is made once and
        kept until the model changes. For its error, call `log_partition`. Missing values
        are summed out, as in `log_likelihood`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score, with NaN for missing values.

        Returns
        -------
        score : float64 ndarray of shape (n_samples,)
            Log-likelihoods, in nats: logarithms of densities in the units of the features.
        """
        return self._score_samples(X)
