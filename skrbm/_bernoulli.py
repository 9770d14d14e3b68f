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
    """Bernoulli restricted Boltzmann machine.

    A density model of binary data with binary hidden units,

    .. math::
        p(v) = \\frac{1}{Z} \\sum_h \\exp(b \\cdot v + c \\cdot h + v W h),

    trained by gradient ascent on the mean log-likelihood. The intractable part of the
    gradient is estimated with Markov chains (persistent contrastive divergence or
    contrastive divergence). As a transformer, the estimator maps rows to the probabilities
    of the hidden units. As a density model, it scores rows by their exact
    pseudo-log-likelihood and draws new rows.

    It can be used wherever :class:`sklearn.neural_network.BernoulliRBM` can.

    Parameters
    ----------
    n_components : int, default=256
        Number of hidden units.

    solver : {"pcd", "cd", "pt"}, default="pcd"
        Initialization of the Gibbs chains in the negative phase. "pcd" (persistent
        contrastive divergence [1]_) continues the chains of the previous minibatch, which
        may also jump to hidden states of other rows [9]_, and learns the better density.
        "cd" (contrastive divergence [2]_) starts one chain at each row of the minibatch.
        "pt" (parallel tempering [7]_, [8]_) has chains at 10 temperatures that swap their
        states instead, so that they also reach modes that no row is in. A step takes about
        ten times as long.

    n_gibbs_steps : int or "auto", default="auto"
        Number of Gibbs steps per minibatch: the k of PCD-k and CD-k. With ``solver="pt"``
        the chains swap before each of them. "auto" is 1, and in `fit` with
        ``solver="pcd"`` 2, 3 or 5 if the largest variance of the rows in any direction (see
        `learning_rate`) exceeds 1.2, 5 or 6, because chains are slow where many features
        change together.
        `partial_fit` keeps the number of the previous call, or starts with 1. The number
        used is stored in `n_gibbs_steps_`.

    n_chains : int, default=100
        Number of persistent chains, independent of `batch_size`; with ``solver="pt"``, at
        each temperature. Ignored by ``solver="cd"``, which runs one chain per row of the
        minibatch.

    learning_rate : float or "auto", default="auto"
        Step size for the gradient of the mean log-likelihood of a minibatch. Much larger
        values may diverge, smaller values need more epochs. "auto" is ``1 / (1 + s)``,
        where s is the largest variance of the rows in any direction (the largest eigenvalue
        of their covariance matrix, estimated from up to 500 rows, which makes it too large
        if there are thousands of features), so that the chains can follow the model.
        `partial_fit`, which does not know all rows, keeps the rate of the previous call, or
        starts with 0.2. All are multiplied by ``1 - momentum``. The rate used is stored in
        `learning_rate_`.

    schedule : {"linear", "constant"}, default="linear"
        Learning rate schedule of `fit`. "linear" decreases the learning rate from
        `learning_rate` to 0 at the end of `n_iter` epochs, which averages out the noise of
        the chains. "constant" keeps it at `learning_rate`. `partial_fit` always uses a
        constant learning rate because the end of the training is unknown.

    momentum : float, default=0.0
        Fraction of the previous update that is added to the current one, in [0, 1). In the
        long run the effective step size is ``learning_rate / (1 - momentum)``.

    weight_decay : float or "auto", default="auto"
        Strength of the L2 penalty on the weights: each update multiplies them by
        ``1 - learning_rate * weight_decay``. The biases are not penalized, and with
        `centering` they make up for what the weights lose at the offsets.

        With 20 to 20000 training rows and at least 3 epochs, "auto" is found by a short
        first training, without decay, on four fifths of the rows. It tells after how many
        updates the pseudo-log-likelihood of the other rows is best, and "auto" is 1.5
        divided by this number and by the learning rate, so that learning ends where the
        first training should have ended [6]_. It takes at most two fifths of the updates of
        `n_iter`.

        If the other rows do not show that the model overfits, with more rows or fewer, on
        shards, or if training begins at parameters set by hand, "auto" is 0.003 times
        `n_components` times the root of the total variance of all features, divided by the
        number of training rows (with weights, the effective number) and by
        ``1 - momentum``. This is a normal prior on the weights, narrower for more hidden
        units, so that their total effect does not depend on their number [5]_. In any case,
        it is at most 0.1 divided by the learning rate.

        A warm start keeps the ratio of the decay to this rule, and `partial_fit`, which
        does not know the number of rows, the value of the previous call, or starts with 0.
        The value used is stored in `weight_decay_`.

    centering : bool, default=True
        Whether to use the centered gradient [3]_, which subtracts offsets, the means of the
        units, from the visible and hidden states. It learns the same model on a shorter
        path, and treats data and their complement alike.

    averaging : bool, default=True
        If True, the fitted parameters are a running average of the training iterates,
        mostly over the last third of the updates [4]_. If False, they are the last iterate.
        Averaging removes the noise of the chains, which is why a constant learning rate and
        `partial_fit` also end with a good model. Each call of `fit` starts a new average,
        and all calls of `partial_fit` that follow it share another one. Further training
        continues from the last iterate, not from the average.

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
        Whether `fit` holds out some rows and stops when their pseudo-log-likelihood no
        longer improves. The model of the best epoch is kept. Scoring the held-out rows
        takes time: on wide data, with a tenth of the rows held out, up to half of the time
        of training itself. A warm start on the same number of rows holds out the same rows.

    validation_fraction : float, default=0.1
        Fraction of the rows to hold out for early stopping, in (0, 1).

    n_iter_no_change : int, default=10
        Early stopping ends training when the validation score has improved by less than
        `tol` for more than this many consecutive epochs.

    tol : float, default=1e-4
        Minimum improvement of the best validation score, in nats, for early stopping.

    stochastic_binarization : bool, default=True
        Whether to treat values between 0 and 1, for example gray levels, as probabilities
        and to draw them anew as 0 or 1 each time a row is presented during training. If
        False, the values enter the gradient unchanged, and the compiled core is not used.
        Values outside [0, 1] are then not clipped either.
        This parameter does not change what is learned from binary data, nor anything
        computed after training.

    warm_start : bool, default=False
        If True, `fit` starts from the parameters, chains and momentum of the previous fit
        instead of from scratch. The schedule starts anew. All parameters that do not change
        the shape of the model, for example `n_chains` and `batch_size`, may be changed
        between the calls.

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
        Mean of the training rows and one additional pseudo-row whose values all equal the
        overall mean, so that it is never exactly 0 or 1 for data in [0, 1]. A warm start of
        `fit` keeps the mean of the earlier data.

    h_samples_ : ndarray of shape (n_chains, n_components)
        Hidden states, 0 or 1, of the chains of the negative phase. With ``solver="cd"``
        there is one chain per row of a minibatch. With ``solver="pt"`` these are the chains
        at the temperature of the model.

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
        the epoch), "pseudo_log_likelihood" (in nats, the mean over up to 64 training rows,
        estimated from up to 64 columns, always the same ones) and "seconds" (duration of
        the epoch). There is one entry per epoch with `early_stopping` and in fits of up to
        100 epochs. In longer fits there are at most 100 entries, evenly spaced over
        the planned epochs and including the last one. With `early_stopping`, there is also
        "free_energy_gap" (in nats): the mean free energy of the held-out rows minus that of
        as many training rows (or of all training rows if there are fewer), where values
        between 0 and 1 are drawn as in training. Its level depends on which rows are held
        out. Overfitting shows as a growing gap while `validation_scores_` decrease.

    validation_scores_ : list of float
        Mean pseudo-log-likelihood of the held-out rows, in nats, after each epoch of the
        last `fit`. Only available with `early_stopping`.

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
    sklearn.neural_network.BernoulliRBM : PCD-1 with one chain per row of a minibatch.

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
    >>> import numpy as np
    >>> from skrbm import BernoulliRBMEstimator
    >>> X = np.array([[0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]] * 50)
    >>> rbm = BernoulliRBMEstimator(n_components=2, n_iter=100, random_state=0).fit(X)
    >>> rbm.transform(X).shape
    (200, 2)
    >>> bool(rbm.score(X) > -2)
    True
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
            f"which at most one column is 1 in any of {len(few)} rows, as for the "
            "categories of one variable. MixedRBMEstimator(groups='auto') models each "
            "group as one variable, and its chains move between categories."
        )

    def score_samples(self, X: MatrixLike, *, n_flips: int | None = None) -> np.ndarray:
        """Compute the pseudo-log-likelihood of each row.

        The sum over all features of the log-probability of the value of the feature given
        all other features [1]_. It is exact and deterministic, and up to rounding the score
        of a row does not depend on the other rows. For a value v between 0 and 1, the
        log-probabilities of 1 and 0 are averaged with weights v and 1 - v. Values below 0
        count as 0, values above 1 as 1.

        If values of a row are missing, the sum is over its observed values. It is averaged
        over 24 draws of the missing ones given the observed ones, which are the states of
        as many Gibbs chains after 80 steps. All rows use the same random numbers, so that
        this score does not depend on the other rows, either. Scores of rows with different
        numbers of observed values are not comparable.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score, with NaN for missing values.

        n_flips : int, default=None
            Number of features from which the sum is estimated, to save time. They are the
            same for all rows and in every call. The score is exact if None, or if at least
            the number of features. An estimate from few features may be far off.

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
        Under ``joblib.parallel_config("threading", n_jobs=...)``, blocks of rows are scored
        in that many threads. Otherwise only the matrix products are multithreaded.

        References
        ----------
        .. [1] Besag, J. (1975). Statistical analysis of non-lattice data. The
           Statistician, 24(3), 179-195.
        """
        return self._score_samples(X, n_flips)
