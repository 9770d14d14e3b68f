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
    """Restricted Boltzmann machine for real values.

    For measurements, spectra, image patches and other numbers, whatever their scales: there
    is no need to standardize the features. Rows may have missing values. As a density
    model, the estimator scores rows by their log-likelihood, finds anomalies, and draws new
    rows. As a transformer, it turns rows into features: the probabilities of the hidden
    units.

    Parameters
    ----------
    n_components : int, default=64
        Number of hidden units, the first parameter to tune. More units describe more
        structure, and training takes longer. With up to 20, log-likelihoods are exact.

    covariance_type : {"full", "diag"}, default="full"
        Covariance matrix of the features given the hidden units. "full" learns how the
        features vary together, also where some are functions of others. Choose "diag",
        which makes them independent given the hidden units, for features with few distinct
        values, or to save time with hundreds of features and missing values.

    solver : {"pcd", "cd"}, default="pcd"
        Start of the Gibbs chains that estimate the gradient. "pcd" (persistent contrastive
        divergence) continues the chains of the previous minibatch and learns the better
        density, in particular of clusters. "cd" (contrastive divergence) starts one chain
        at each row of the minibatch. Choose it to learn filters of natural images faster
        [2]_; it may leave probability far from the data.

    n_gibbs_steps : int or "auto", default="auto"
        Number of Gibbs steps per minibatch: the k of PCD-k and CD-k. "auto" is 1, or up to
        5 for rows on which chains are slow (see Notes). Raise it for a better density if
        there is time. The number used is stored in `n_gibbs_steps_`.

    n_chains : int, default=100
        Number of persistent chains, independent of `batch_size`. More of them make the
        gradient less noisy, which pays off in long fits; fewer save time. Ignored by
        ``solver="cd"``, which runs one chain per row of the minibatch.

    learning_rate : float or "auto", default="auto"
        Step size for the gradient of the mean log-likelihood of a minibatch. "auto" follows
        from the variance of the rows (see Notes). Lower it if training diverges or if
        `verdict_` finds unvisited modes, and raise `n_iter` with it. The rate used is
        stored in `learning_rate_`.

    schedule : {"linear", "constant"}, default="linear"
        How the learning rate changes during `fit`. "linear" lowers it from `learning_rate`
        to 0 at the end of `n_iter` epochs, which averages out the noise of the chains.
        Choose "constant" if you do not know when training will end; `partial_fit` always
        uses it.

    weight_decay : float or "auto", default="auto"
        Strength of the L2 penalty on the weights; biases are not penalized. "auto" finds it
        by a short first training or by a rule (see Notes). Pass a number to skip the first
        training, or to tune it around `weight_decay_`, where the value used is stored.

    batch_size : int, default=20
        Number of rows per minibatch. Larger minibatches make updates less noisy but slower.

    n_iter : int or "auto", default="auto"
        Number of epochs, that is, passes of `fit` over the training data. "auto" follows
        from the numbers of rows and weights (see Notes). The number run is stored in
        `n_iter_`. Pass more while the score of held-out rows rises.

    shuffle : bool, default=True
        Whether to shuffle the rows in each epoch of `fit`. Turn it off only if they are in
        random order already.

    early_stopping : bool, default=False
        Whether `fit` holds out some rows, stops when their score no longer improves, and
        keeps the model of the best epoch. The default `weight_decay` prevents overfitting
        about as well. Use early stopping to find the number of epochs, with a large
        `n_iter`.

    validation_fraction : float, default=0.1
        Fraction of the rows to hold out for early stopping, in (0, 1).

    n_iter_no_change : int, default=10
        Early stopping ends training when the validation score has improved by less than
        `tol` for more than this many consecutive epochs.

    tol : float, default=1e-4
        Minimum improvement of the best validation score, in nats, for early stopping.

    warm_start : bool, default=False
        If True, `fit` continues from the parameters and chains of the previous fit instead
        of from scratch, with a new schedule, and standardizes and whitens the rows as that
        fit did. Use it to train further, also with other parameters, if they do not change
        the shape of the model or its covariance type.

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
        least 0.001. The covariance matrix given the hidden units is
        ``(axes_.T * axes_variance_) @ axes_``. Only available with
        ``covariance_type="full"``.

    visible_mean_ : float64 ndarray of shape (n_features,)
        Means of the training rows, with `sample_weight`. A warm start of `fit` and further
        calls of `partial_fit` keep those of the first call.

    visible_variance_ : float64 ndarray of shape (n_features,)
        Variances of the training rows, kept in the same way. For a constant feature this is
        1.

    h_samples_ : ndarray of shape (n_chains, n_components)
        Hidden states, 0 or 1, of the chains of the negative phase. With ``solver="cd"``
        there is one chain per row of a minibatch.

    learning_rate_ : float
        Learning rate of the last call of `fit` or `partial_fit`, a number even if
        `learning_rate` is "auto".

    weight_decay_ : float
        Weight decay of the last call of `fit` or `partial_fit`, a number even if
        `weight_decay` is "auto".

    n_gibbs_steps_ : int
        Number of Gibbs steps of the last call of `fit` or `partial_fit`, a number even if
        `n_gibbs_steps` is "auto".

    n_iter_ : int
        Number of epochs run by the last `fit`. With `early_stopping`, the model is that of
        the epoch with the best validation score, which is not necessarily the last one.

    history_ : dict of lists
        Record of the last `fit`, with an entry for each epoch or, in longer fits, for some
        of them: "epoch" (counted from 1), "learning_rate" (at the end of the epoch),
        "log_likelihood" (in nats, the mean over up to 64 training rows) and "seconds"
        (duration of the epoch). With `early_stopping`, also "free_energy_gap" (in nats):
        the mean free energy of the held-out rows minus that of as many training rows.

    validation_scores_ : list of float
        Mean log-likelihood of the held-out rows, in nats, after each epoch of the last
        `fit`. Only available with `early_stopping`.

    verdict_ : object or None
        Result of the check of the model at the end of the last `fit`. ``str(verdict_)``
        says it in words; `problem` is None, "unvisited modes", "worse than independent
        features" or "wrong proportions". See :ref:`verdict`. None if the model was not
        checked: after a fit of fewer than 5000 updates, or one that was interrupted or had
        another problem, and after `partial_fit`.

    log_partition_gap_ : float
        Estimate of log Z minus the estimate from up to 100 persistent chains, 100 Gibbs
        steps after the last `fit`, in nats. Values clearly above 0 show that the model has
        modes that the chains have not visited. Negative values only show that annealed runs
        of 500 temperatures are too short for an exact estimate. Only available if the
        model was checked and has at least 20 persistent chains.

    random_state_ : RandomState
        Random generator that `gibbs` and `sample` use by default.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if all of them are strings.

    See Also
    --------
    BernoulliRBMEstimator : For rows of 0 and 1, and for probabilities.
    MixedRBMEstimator : For tables with categories, numbers and gaps.
    RBMClassifier : For rows with labels.
    RBMImputer : Fills in missing values.
    ParallelRBM : Trains one model in several processes.
    sklearn.mixture.GaussianMixture : Mixture of a few Gaussians.
    sklearn.decomposition.FactorAnalysis : Like "diag", with Gaussian hidden units.

    Notes
    -----
    The model has binary hidden units h [1]_, weights W and biases b and c:

    .. math::
        p(v) = \\frac{1}{Z} \\sum_h \\exp\\left(-\\tfrac{1}{2} (v - b)^T C^{-1} (v - b)
        + c \\cdot h + v^T C^{-1} W h\\right).

    Given the hidden units, the features are normal, with means ``b + W h`` and the
    covariance matrix C. The rows are a mixture of 2^n_components Gaussians that share this
    matrix. See :doc:`/gaussian`.

    **Covariances.** ``covariance_type="full"`` whitens the rows by the covariance matrix of
    the data, and learns the variances along its axes. The matrix is shrunk to that of
    independent features, with a weight chosen by cross-validation. It is estimated from up
    to 10000 rows or, if values are missing, 1000. Rows with missing values take longer, up
    to n_features^3 operations each.

    **Values of "auto"**, with s, the largest variance of the standardized or whitened rows
    in any direction. It is the largest eigenvalue of their covariance matrix, estimated
    from up to 500 rows. :doc:`/defaults` tells how the rules were found.

    - `learning_rate` is ``0.5 / (1 + s)``. It applies to standardized or whitened rows, and
      the logarithms of the variances learn at 0.3 times this rate. `partial_fit` keeps the
      rate of the previous call, or starts with 0.2.
    - `n_gibbs_steps` is 1. In `fit` with ``solver="pcd"``, it is 2, 3 or 5 if s exceeds
      1.2, 5 or 6. `partial_fit` keeps the number of the previous call, or starts with 1.
    - `n_iter` and `weight_decay` follow the rules of :class:`BernoulliRBMEstimator`. The
      score of held-out rows is their log-likelihood, and the total variance of all features
      is their number.

    **History and early stopping.** The log partition function is exact for up to 10 hidden
    units. For more, it is estimated by 50 annealed runs that follow the model, which is
    less precise than `score`. Early stopping uses the same estimate. There is one entry per
    epoch with `early_stopping` and in fits of up to 100 epochs, and at most 100 entries in
    longer fits. Without `early_stopping`, and with more than 10 hidden units, there are at
    most 25.

    References
    ----------
    .. [1] Cho, K., Ilin, A. and Raiko, T. (2011). Improved learning of Gaussian-Bernoulli
       restricted Boltzmann machines. ICANN 2011, 10-17.
    .. [2] Melchior, J., Wang, N. and Wiskott, L. (2017). Gaussian-binary restricted
       Boltzmann machines for modeling natural image statistics. PLoS ONE, 12(2), e0171015.

    Examples
    --------
    Which number of a row does not fit the others? Here it is the first, the percentage of
    alcohol:

    >>> from sklearn.datasets import load_wine
    >>> from skrbm import GaussianRBMEstimator
    >>> X = load_wine().data
    >>> rbm = GaussianRBMEstimator(n_components=8, random_state=0).fit(X)
    >>> wine = X[:1].copy()
    >>> wine[0, 0] = 20
    >>> int(rbm.score_cells(wine).argmin())
    0
    >>> rbm.transform(X).shape
    (178, 8)
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

        It is exact for models with up to 20 hidden units, and for others an estimate, which
        is made once and kept until the model changes. For its error, call `log_partition`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score, with NaN for missing values. These are summed out, as in
            `log_likelihood`.

        Returns
        -------
        score : float64 ndarray of shape (n_samples,)
            Log-likelihoods, in nats: logarithms of densities in the units of the features.

        Notes
        -----
        The partition function is estimated by annealed importance sampling with 100 runs
        and 2000 temperatures, from a Gaussian with the means and covariances or variances
        of the training data, always with the same random numbers.
        """
        return self._score_samples(X)
