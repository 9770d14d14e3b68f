"""The estimator for binary data: its parameters, and what only it does."""

from __future__ import annotations

from numbers import Real
from typing import Literal

import numpy as np

from skrbm._base import BaseRBM
from skrbm._compat.sklearn import Interval, StrOptions
from skrbm._groups import exclusive_groups
from skrbm._solvers import SOLVERS
from skrbm._typing import MatrixLike, RandomStateLike
from skrbm._units.bernoulli import BernoulliUnits


class BernoulliRBMEstimator(BaseRBM):
    """Restricted Boltzmann machine for rows of 0 and 1.

    For binary data, and for values between 0 and 1 that mean probabilities, such as gray
    levels. Rows may be sparse, and dense rows may have missing values. As a transformer,
    the estimator turns rows into features: the probabilities of the hidden units. As a
    density model, it scores rows, finds values that do not fit, and draws new rows.

    It can be used wherever :class:`sklearn.neural_network.BernoulliRBM` can.

    Parameters
    ----------
    n_components : int, default=256
        Number of hidden units, the first parameter to tune. More units describe more
        structure, and training takes longer. With up to 20, log-likelihoods are exact.

    solver : {"pcd", "cd", "pt"}, default="pcd"
        Start of the Gibbs chains that estimate the gradient. "pcd" (persistent contrastive
        divergence [1]_) continues the chains of the previous minibatch and learns the
        better density. "cd" (contrastive divergence [2]_) starts one chain at each row of
        the minibatch. Try "pt" (parallel tempering [7]_, [8]_) if `verdict_` finds
        unvisited modes; a step takes about ten times as long.

    n_gibbs_steps : int or "auto", default="auto"
        Number of Gibbs steps per minibatch: the k of PCD-k and CD-k. "auto" is 1, or up to
        5 for rows on which chains are slow (see Notes). Raise it for a better density if
        there is time. The number used is stored in `n_gibbs_steps_`.

    n_chains : int, default=100
        Number of persistent chains, independent of `batch_size`. More of them make the
        gradient less noisy, which pays off in long fits; fewer save time. With
        ``solver="pt"``, this is the number at each temperature. Ignored by ``solver="cd"``,
        which runs one chain per row of the minibatch.

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

    momentum : float, default=0.0
        Fraction of the previous update that is added to the current one, in [0, 1). Rarely
        worth changing, because it acts like a larger learning rate: in the long run the
        effective step size is ``learning_rate / (1 - momentum)``.

    weight_decay : float or "auto", default="auto"
        Strength of the L2 penalty on the weights; biases are not penalized. "auto" finds it
        by a short first training or by a rule (see Notes). Pass a number to skip the first
        training, or to tune it around `weight_decay_`, where the value used is stored.

    centering : bool, default=True
        Whether to subtract the means of the units from their states in the gradient [3]_.
        The model is the same, learned on a shorter path, and data and their complement are
        treated alike. Turn it off only to compare with the plain gradient.

    averaging : bool, default=True
        Whether the fitted parameters are a running average of the training iterates, mostly
        over the last third of the updates [4]_, which removes the noise of the chains. Turn
        it off only if you need the last iterate itself.

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

    stochastic_binarization : bool, default=True
        Whether to treat values between 0 and 1 as probabilities, and to redraw them as 0 or
        1 each time a row is presented during training. Turn it off for values that are not
        probabilities: they then enter the gradient unchanged, without the compiled core.
        For binary data, it makes no difference to what is learned.

    warm_start : bool, default=False
        If True, `fit` continues from the parameters, chains and momentum of the previous
        fit instead of from scratch, with a new schedule. Use it to train further, also with
        other parameters, such as `n_chains` and `batch_size`, if they do not change the
        shape of the model.

    verbose : int, default=0
        Whether to print a line for each epoch that is recorded in `history_`.

    random_state : int, RandomState instance or None, default=None
        Controls the initial weights, the order of the rows and all draws during training,
        as well as the draws of `gibbs` and `sample` when these are not given a
        `random_state`. Pass an int for reproducible results across calls of `fit`.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Weights, float32 if `X` was float32, bool or uint8, else float64. If the fitted
        parameters are changed by hand, scoring and sampling use the changed values, but
        further training continues from an internal copy of the original ones.

    intercept_hidden_ : ndarray of shape (n_components,)
        Biases of the hidden units.

    intercept_visible_ : ndarray of shape (n_features,)
        Biases of the visible units.

    visible_mean_ : float64 ndarray of shape (n_features,)
        Mean of the training rows and one additional row whose values all equal the overall
        mean, so that it is never exactly 0 or 1 for data in [0, 1]. A warm start of `fit`
        keeps the mean of the earlier data.

    h_samples_ : ndarray of shape (n_chains, n_components)
        Hidden states, 0 or 1, of the chains of the negative phase. With ``solver="cd"``
        there is one chain per row of a minibatch. With ``solver="pt"`` these are the chains
        at the temperature of the model.

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
        Record of the last `fit`, with an entry for each epoch or, in fits of more than 100
        epochs without `early_stopping`, for up to 100 of them: "epoch" (counted from 1),
        "learning_rate" (at the end of the epoch), "pseudo_log_likelihood" (in nats, the
        mean over up to 64 training rows) and "seconds" (duration of the epoch). With
        `early_stopping`, also "free_energy_gap" (in nats): overfitting shows as a growing
        gap while `validation_scores_` decrease.

    validation_scores_ : list of float
        Mean pseudo-log-likelihood of the held-out rows, in nats, after each epoch of the
        last `fit`. Only available with `early_stopping`.

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
    GaussianRBMEstimator : For real values.
    MixedRBMEstimator : For tables with categories, numbers and gaps.
    RBMClassifier : For rows with labels.
    RBMImputer : Fills in missing values.
    ParallelRBM : Trains one model in several processes.
    sklearn.neural_network.BernoulliRBM : PCD-1 with one chain per row of a minibatch.

    Notes
    -----
    The model is a distribution of rows v, with hidden units h, weights W and biases b and
    c:

    .. math::
        p(v) = \\frac{1}{Z} \\sum_h \\exp(b \\cdot v + c \\cdot h + v W h).

    Training is gradient ascent on the mean log-likelihood. One part of the gradient is
    intractable, and Markov chains estimate it (see :doc:`/model`). With ``solver="pcd"``,
    the chains may also jump to hidden states of other rows [9]_. With ``solver="pt"``, they
    swap states with chains at 9 higher temperatures before each Gibbs step, so that they
    also reach modes that no row is in.

    **Values of "auto"**, with s, the largest variance of the rows in any direction. It is
    the largest eigenvalue of their covariance matrix, estimated from up to 500 rows, which
    makes it too large if there are thousands of features. :doc:`/defaults` tells how the
    rules were found.

    - `learning_rate` is ``(1 - momentum) / (1 + s)``, so that the chains can follow the
      model. Much larger values may diverge, smaller values need more epochs. `partial_fit`,
      which does not know all rows, keeps the rate of the previous call, or starts with
      ``0.2 * (1 - momentum)``.
    - `n_gibbs_steps` is 1. In `fit` with ``solver="pcd"``, it is 2, 3 or 5 if s exceeds
      1.2, 5 or 6, because chains are slow where many features change together.
      `partial_fit` keeps the number of the previous call, or starts with 1.
    - `n_iter` is 50, but at most 20000 and at least 5000 updates (minibatches), rounded up
      to whole epochs. With many rows, it is 10, or as many epochs as change 10^10 weights
      in total, but at least 20000 updates. If the weight decay is found by a first
      training, there are at most 8 times as many updates as were best there, or 500 if that
      is more.
    - `weight_decay` is found by a short first training if there are 20 to 20000 training
      rows and at least 3 epochs. This takes at most two fifths of the updates of `n_iter`,
      without decay, and holds out a fifth of the rows, at most 1000. Their score tells
      which number of updates is best. The decay is 1.5 divided by this number and by the
      learning rate, so that learning ends where the first training should have ended [6]_.
      `partial_fit` keeps the value of the previous call, or starts with 0.
    - Otherwise, that is, if the held-out rows show no overfitting, with other numbers of
      rows or fewer epochs, on shards, or if training begins at parameters set by hand,
      `weight_decay` follows a rule: 0.003 times `n_components` times the root of the total
      variance of all features, divided by the number of training rows (with weights, the
      effective number) and by ``1 - momentum``. This is a normal prior on the weights. It
      is narrower for more hidden units, so that their total effect does not depend on their
      number [5]_. A warm start keeps the ratio of the decay to this rule. In any case, the
      decay is at most 0.1 divided by the learning rate.

    **Weight decay.** Each update multiplies the weights by
    ``1 - learning_rate * weight_decay``. With `centering`, the biases make up for what the
    weights lose at the means of the units.

    **Averaging** removes the noise of the chains. This is why a constant learning rate and
    `partial_fit` also end with a good model. Each call of `fit` starts a new average, and
    all calls of `partial_fit` after it share another one. Further training continues from
    the last iterate, not from the average.

    **Binarization.** With ``stochastic_binarization=False``, values outside [0, 1] are not
    clipped in training either. The parameter does not change what is computed after
    training.

    **Early stopping** holds out the same rows in a warm start on the same number of rows.
    Their scores take time: on wide data, with a tenth of the rows held out, up to half of
    the time of training itself.

    **History.** The pseudo-log-likelihood is estimated from up to 64 columns, always the
    same ones. The epochs of longer fits are evenly spaced over the planned epochs and
    include the last one. The gap is the mean free energy of the held-out rows minus that of
    as many training rows (or of all of them if there are fewer), where values between 0 and
    1 are drawn as in training. Its level depends on which rows are held out.

    References
    ----------
    .. [1] Tieleman, T. (2008). Training restricted Boltzmann machines using approximations
       to the likelihood gradient. ICML 2008, 1064-1071.
    .. [2] Hinton, G. E. (2002). Training products of experts by minimizing contrastive
       divergence. Neural Computation, 14(8), 1771-1800.
    .. [3] Melchior, J., Fischer, A. and Wiskott, L. (2016). How to center deep Boltzmann
       machines. JMLR, 17(99), 1-61.
    .. [4] Shamir, O. and Zhang, T. (2013). Stochastic gradient descent for non-smooth
       optimization. ICML 2013, 71-79.
    .. [5] Neal, R. M. (1996). Bayesian Learning for Neural Networks. Springer.
    .. [6] Bishop, C. M. (1995). Regularization and complexity control in feed-forward
       networks. ICANN 1995, 141-148.
    .. [7] Desjardins, G., Courville, A., Bengio, Y., Vincent, P. and Delalleau, O. (2010).
       Tempered Markov chain Monte Carlo for training of restricted Boltzmann machines.
       AISTATS 2010, 145-152.
    .. [8] Cho, K., Raiko, T. and Ilin, A. (2010). Parallel tempering is efficient for
       learning restricted Boltzmann machines. IJCNN 2010, 1-8.
    .. [9] Tierney, L. (1994). Markov chains for exploring posterior distributions. Annals
       of Statistics, 22(4), 1701-1728.

    Examples
    --------
    Features of the rows, and the last column given the others:

    >>> import numpy as np
    >>> from skrbm import BernoulliRBMEstimator
    >>> X = np.array([[0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]] * 50)
    >>> rbm = BernoulliRBMEstimator(n_components=4, n_iter=100, random_state=0).fit(X)
    >>> rbm.transform(X).shape
    (200, 4)
    >>> rbm.conditional_proba([[0, 0, 1, np.nan], [1, 1, 1, np.nan]], 3).round(1)
    array([[0., 1.],
           [1., 0.]])
    """

    _units = BernoulliUnits
    _solvers = SOLVERS
    _parameter_constraints: dict = BaseRBM._parameter_constraints | {
        "solver": [StrOptions(set(SOLVERS))],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "centering": ["boolean"],
        "averaging": ["boolean"],
        "stochastic_binarization": ["boolean"],
    }

    def __init__(
        self,
        n_components: int = 256,
        *,
        solver: Literal["pcd", "cd", "pt"] = "pcd",
        n_gibbs_steps: int | Literal["auto"] = "auto",
        n_chains: int = 100,
        learning_rate: float | Literal["auto"] = "auto",
        schedule: Literal["linear", "constant"] = "linear",
        momentum: float = 0.0,
        weight_decay: float | Literal["auto"] = "auto",
        centering: bool = True,
        averaging: bool = True,
        batch_size: int = 20,
        n_iter: int | Literal["auto"] = "auto",
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        stochastic_binarization: bool = True,
        warm_start: bool = False,
        verbose: int = 0,
        random_state: RandomStateLike = None,
    ) -> None:
        self.n_components = n_components
        self.solver = solver
        self.n_gibbs_steps = n_gibbs_steps
        self.n_chains = n_chains
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.centering = centering
        self.averaging = averaging
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.stochastic_binarization = stochastic_binarization
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    @property
    def _binarizes(self) -> bool:
        return self.stochastic_binarization

    def _fixed_settings(self, summary):
        # Without binarization, never use the compiled core: it draws different random
        # numbers, and the path must not depend on whether a chunk happens to be binary.
        return {
            "decay_ratio": 1.0,
            "binarize": self._binarizes and not self._units.are_states(summary),
            "compiled": self._binarizes,
            "generative": 1.0,
        }

    def _advice_on_modes(self, data):
        if not self._units.are_states(data.summary):
            return ""
        few, _ = data.draw(5000)
        groups = exclusive_groups(few.copy_rows(data.X.dtype))
        if not groups:
            return ""
        n_columns = sum(map(len, groups))
        return (
            f" {n_columns} of {data.n_features} columns are in {len(groups)} groups of "
            f"which at most one column is 1 in any of {len(few)} rows. If they are the "
            "categories of variables, MixedRBMEstimator(groups='auto') models each group "
            "as one variable, and its chains move between categories."
        )

    def score_samples(self, X: MatrixLike, *, n_flips: int | None = None) -> np.ndarray:
        """Compute the pseudo-log-likelihood of each row.

        This is the sum, over all features, of the log-probability of the value of the
        feature given all other features [1]_. It is exact and deterministic. Up to
        rounding, the score of a row does not depend on the other rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score, with NaN for missing values.

        n_flips : int, default=None
            Number of features from which the sum is estimated, to save time. They are the
            same for all rows and in every call. The score is exact if this is None, or at
            least the number of features. An estimate from few features may be far off.

        Returns
        -------
        score : float64 ndarray of shape (n_samples,)
            Pseudo-log-likelihoods, in nats.

        Raises
        ------
        ValueError
            If `X` has integers other than 0 and 1 of a dtype other than int32 and int64, or
            if `n_flips` is not positive.

        Warns
        -----
        UserWarning
            If other `X` has values outside [0, 1].

        Notes
        -----
        For a value v between 0 and 1, the log-probabilities of 1 and 0 are averaged with
        weights v and 1 - v. Values below 0 count as 0, values above 1 as 1.

        If values of a row are missing, the sum is over its observed values. It is averaged
        over 24 draws of the missing ones given the observed ones: the states of as many
        Gibbs chains after 80 steps. All rows use the same random numbers, so that this
        score does not depend on the other rows, either. Scores of rows with different
        numbers of observed values are not comparable.

        Under ``joblib.parallel_config("threading", n_jobs=...)``, blocks of rows are scored
        in that many threads. Otherwise only the matrix products are multithreaded.

        References
        ----------
        .. [1] Besag, J. (1975). Statistical analysis of non-lattice data. The Statistician,
           24(3), 179-195.
        """
        return self._score_samples(X, n_flips)
