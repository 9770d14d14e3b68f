"""The scikit-learn face: parameters, validation, public methods, tags. No formula."""

import copy
import dataclasses
import math
import warnings
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from skrbm import _inputs, likelihood, sampling
from skrbm._compat.sklearn import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    _fit_context,
)
from skrbm._data import DataSet
from skrbm._record import Record, Validation
from skrbm._solvers import SOLVERS
from skrbm._step import LARGEST_PARAMETER, Settings, first_state, is_sound, next_state
from skrbm._training import SCHEDULES, Training, enough_epochs, train, train_on_chunk
from skrbm._typing import MatrixLike, RandomStateLike
from skrbm._visible import BernoulliUnits
from skrbm.likelihood import LogPartition

# By how many nats per feature a model may get worse in training before a warning.
_LARGEST_SHORTFALL = 0.1


class BernoulliRBMEstimator(
    CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Bernoulli restricted Boltzmann machine.

    A density model of binary rows with binary hidden units,

    .. math::
        p(v) = \\frac{1}{Z} \\sum_h \\exp(b \\cdot v + c \\cdot h + v W h),

    trained by following the gradient of the mean log-likelihood, whose intractable half is
    estimated from Markov chains (persistent contrastive divergence, or contrastive
    divergence). As a transformer it turns rows into the probabilities of the hidden units;
    as a density model it scores rows by their exact pseudo-log-likelihood and draws new
    ones.

    It can stand wherever :class:`sklearn.neural_network.BernoulliRBM` does.

    Parameters
    ----------
    n_components : int, default=256
        Number of hidden units.

    solver : {"pcd", "cd"}, default="pcd"
        Where the chains of the negative phase start: "pcd", persistent contrastive
        divergence [1]_, goes on from where they were after the last minibatch, and learns
        the better density; "cd", contrastive divergence [2]_, starts them at the rows of
        the minibatch.

    n_gibbs_steps : int, default=1
        Gibbs steps that the chains take for each minibatch: the k of PCD-k and CD-k.

    n_chains : int, default=100
        Number of persistent chains, independent of the minibatches' size. Solver "cd" has
        one chain for each row of the minibatch, whatever this says.

    learning_rate : float, default=0.2
        Step length in the gradient of the mean log-likelihood of a minibatch. Much larger
        values may diverge, smaller ones need more epochs.

    schedule : {"linear", "constant"}, default="linear"
        The learning rate over the updates of `fit`: "linear" goes from `learning_rate` to
        0 at the end of `n_iter` epochs, which averages out the noise of the chains;
        "constant" stays. `partial_fit` cannot know the end and is always constant.

    momentum : float, default=0.0
        The fraction of the last update that is added to the next one, in [0, 1). The step
        length comes to ``learning_rate / (1 - momentum)`` in the long run.

    weight_decay : float, default=0.0
        Strength of the L2 penalty on the weights: at each update they shrink by a factor
        of ``1 - learning_rate * weight_decay``. Biases are not penalised.

    centering : bool, default=True
        Whether to use the centred gradient [3]_, in which visible and hidden units count
        from their means. It learns the same model by a shorter way, and treats data and
        their complement alike.

    averaging : bool, default=True
        Whether the fitted parameters are an average of those that training went through,
        mostly over the last third of its updates [4]_, rather than the very last ones. It
        takes out the noise of the chains: that is what lets a constant learning rate, and
        `partial_fit`, end well. Each `fit` has an average of its own, and so have all the
        calls of `partial_fit` after it; training goes on from the last parameters, not from
        their average.

    batch_size : int, default=20
        Number of rows in a minibatch.

    n_iter : int or "auto", default="auto"
        Number of epochs, passes of `fit` over the training data. "auto" means
        20000 updates, one for each minibatch; 50 epochs where that is fewer; but at least
        5000 updates, and one epoch. `n_iter_` says how many there were.

    shuffle : bool, default=True
        Whether `fit` presents the rows in a new order in each epoch.

    early_stopping : bool, default=False
        Whether `fit` holds out some rows, and stops when their pseudo-log-likelihood no
        longer improves. The model of the best epoch is kept. Scoring the rows takes time
        as well: on wide data, with a tenth of them, up to half of what training takes. A
        warm start on as many rows holds out the same ones.

    validation_fraction : float, default=0.1
        The fraction of the rows that early stopping holds out, in (0, 1).

    n_iter_no_change : int, default=10
        Early stopping ends training after more than this many epochs in succession that
        gained less than `tol`.

    tol : float, default=1e-4
        The gain in the score of the rows held out, in nats, that counts as one for early
        stopping.

    stochastic_binarization : bool, default=True
        Whether values between 0 and 1, grey levels for instance, are taken as
        probabilities and drawn anew, 0 or 1, at each presentation during training. With
        False they enter the learning step as they are. Without effect on binary data, and
        on what is computed after training.

    warm_start : bool, default=False
        Whether `fit` starts from the parameters, chains and momentum of the last fit
        instead of from the beginning. The schedule starts anew; `n_chains`, `batch_size`
        and all that is not the model's shape may have been changed.

    verbose : int, default=0
        Whether to print a line for each epoch that `history_` records.

    random_state : int, RandomState instance or None, default=None
        Source of the initial weights, the order of the rows and all draws of training, and
        of the draws of `gibbs`, `sample` and `reconstruct` where those are given no other.
        An int gives the same model at each call of `fit`.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Weights; float32 where `X` was float32, bool or uint8, else float64. A model whose
        parameters were changed by hand is judged and drawn from as it is; but training
        that goes on does so from its own copy.

    intercept_hidden_ : ndarray of shape (n_components,)
        Biases of the hidden units.

    intercept_visible_ : ndarray of shape (n_features,)
        Biases of the visible units.

    visible_mean_ : float64 ndarray of shape (n_features,)
        Mean of the rows that training has seen, and of one more row all of whose values are
        the mean of all: never 0 or 1 exactly, for data between 0 and 1. A warm start of
        `fit` goes on with that of the data before.

    h_samples_ : ndarray of shape (n_chains, n_components)
        Hidden states, 0 or 1, of the chains of the negative phase. Of solver "cd" there is
        one for each row of a minibatch.

    n_iter_ : int
        Number of epochs that the last `fit` ran. With `early_stopping` the model is that of
        the epoch with the best validation score, which need not be the last.

    history_ : dict of lists
        How the last `fit` went: "epoch", counted from 1, "learning_rate" (at the end of the
        epoch), "pseudo_log_likelihood" (nats; mean over up to 64 training rows and
        estimated from up to 64 columns, always the same ones) and "seconds" (that the epoch
        took). One entry for each epoch; where there are more than 100 and no
        `early_stopping`, for 100 of them, evenly spread, the last included. With
        `early_stopping`, "free_energy_gap" (nats): by how much the mean free energy of the
        rows held out is above that of as many training rows (or of all). Its level depends
        on which rows are held out; over-fitting shows in its growth while
        `validation_scores_` fall.

    validation_scores_ : list of float
        Mean pseudo-log-likelihood, in nats, of the rows held out after each epoch of the
        last `fit`; only with `early_stopping`.

    random_state_ : RandomState
        Where `gibbs`, `sample` and `reconstruct` draw from unless told otherwise.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if all of them are strings.

    See Also
    --------
    sklearn.neural_network.BernoulliRBM : PCD-1 with as many chains as rows in a minibatch.

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

    components_: np.ndarray
    intercept_hidden_: np.ndarray
    intercept_visible_: np.ndarray
    visible_mean_: np.ndarray
    h_samples_: np.ndarray
    n_iter_: int
    history_: dict[str, list[float]]
    validation_scores_: list[float]
    random_state_: np.random.RandomState
    n_features_in_: int
    feature_names_in_: np.ndarray

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "solver": [StrOptions(set(SOLVERS))],
        "n_gibbs_steps": [Interval(Integral, 1, None, closed="left")],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "schedule": [StrOptions(set(SCHEDULES))],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "centering": ["boolean"],
        "averaging": ["boolean"],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "n_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "shuffle": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "stochastic_binarization": ["boolean"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components: int = 256,
        *,
        solver: Literal["pcd", "cd"] = "pcd",
        n_gibbs_steps: int = 1,
        n_chains: int = 100,
        learning_rate: float = 0.2,
        schedule: Literal["linear", "constant"] = "linear",
        momentum: float = 0.0,
        weight_decay: float = 0.0,
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

    # Training ---------------------------------------------------------------------------

    def fit(
        self, X: MatrixLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Fit the model to the data `X`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, binary or with values in [0, 1]. bool, uint8, float32 and
            float64 are used as they are, and cast minibatch by minibatch; other types are
            converted to float64. Sparse data stay sparse (CSR; other formats are
            converted).

        y : Ignored
            Not used, present for API consistency.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative. Only their ratios matter: a row of weight 2
            counts as two rows of weight 1, and one of weight 0 as if it were not there.
            None gives all rows the same weight.

        Returns
        -------
        self : BernoulliRBMEstimator
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter is out of range, `X` is empty, has NaN or infinite values, or
            does not match the model that a warm start goes on from; if a weight is
            negative, or none is above 0.

        Warns
        -----
        UserWarning
            If `X` has values outside [0, 1], or training was interrupted from the
            keyboard: the model of the last finished epoch is kept (with `early_stopping`,
            of the best).
        ConvergenceWarning
            If training diverged: the model of the epoch before is kept (with
            `early_stopping`, of the best). Or if the model at its end is clearly worse than
            at its start.
        """
        return self._fit(X, y, sample_weight)

    @_fit_context(prefer_skip_nested_validation=True)
    def _fit(self, X, y, sample_weight, training=None):
        """Fit, or go on with a training that was saved."""
        warm = training is None and self.warm_start and hasattr(self, "components_")
        if warm:
            self._check_can_go_on()
        with _inputs.unchanged_on_error(self):
            vars(self).pop("validation_scores_", None)
            training = self._begin(X, sample_weight, warm, training)
            self._training = training  # for callbacks, while it lasts
            callbacks = _Callbacks(self, X, y, sample_weight)
            epochs = train(
                training.state,
                self._settings(training.data),
                training.data,
                n_epochs=training.n_epochs,
                schedule=self.schedule,
                shuffle=self.shuffle,
                n_done=training.n_done,
            )
            stopped = None
            try:
                for epoch in callbacks.announce(epochs):
                    if not is_sound(training.state.model):
                        stopped = "diverged"
                        break
                    training.add(epoch)
                    self._print(training, epoch)
                    if callbacks.after_epoch() or training.record.exhausted:
                        break
            except KeyboardInterrupt:  # no reason to lose the epochs that are over
                if training.n_done == 0:
                    raise
                stopped = "interrupted"
            del self._training
            kept = training.end()
            attributes = _course(training)
            if training.n_done > 0 or not warm:
                attributes |= _fitted_attributes(kept, average=None)
            vars(self).update(attributes)
            self._interrupted = stopped == "interrupted"
            try:
                callbacks.after_fit(attributes)
                if stopped is None and _got_worse(training):
                    stopped = "worse"
            except KeyboardInterrupt:
                stopped, self._interrupted = "interrupted", True
        self._warn_at_the_end(stopped, training, warm)
        return self

    def _begin(self, X, sample_weight, warm, training):
        """Return the training that is to be done, new or gone on with."""
        new = not warm and training is None
        data = self._check_training_data(X, reset=new)
        if training is not None and data.X.shape != training.shape:
            raise ValueError(
                f"The training to go on with was on data of shape {training.shape}, but X "
                f"has shape {data.X.shape}: pass the same rows."
            )
        seed = self._draw_seeds() if new else None
        if sample_weight is not None:
            data = data.weigh(
                _inputs.normalize(_inputs.check_weights(sample_weight, data.X))
            )
        data, validation = self._hold_out(data)
        if training is not None:
            training.go_on(data, validation)
            return training
        state = self._next_state(data) if warm else self._first_state(data, seed)
        state.learned.average = None  # each fit has one of its own
        n_epochs = self.n_iter
        if n_epochs == "auto":
            n_epochs = enough_epochs(len(data), self.batch_size)
        binarize = self._settings(data).binarize
        record = Record(data, state, n_epochs, validation, binarize=binarize)
        return Training(data, state, record, n_epochs)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: MatrixLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Update the model with the rows of `X`, once, in order.

        The rows are cut into minibatches of `batch_size`, so that a stream gives the same
        model however it is cut into calls, as long as each but the last has a multiple of
        `batch_size` rows. The learning rate is constant, since the end of the stream is not
        known; lower it with ``set_params(learning_rate=...)`` towards the end for a better
        model. Nothing is held out, printed or entered in `history_`: score rows that you
        hold out yourself to see how it goes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, as for `fit`. The dtype of the model is that of the first call.

        y : Ignored
            Not used, present for API consistency.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative, as for `fit`, but taken as they are, since
            the mean of all that are to come is not known: what a row teaches is multiplied
            by its weight. Divide weights that are far from 1 by what you expect their mean
            to be.

        Returns
        -------
        self : BernoulliRBMEstimator
            The fitted estimator.

        Raises
        ------
        ValueError
            As for `fit`.

        Warns
        -----
        UserWarning
            If `X` has values outside [0, 1].
        ConvergenceWarning
            If training diverged: the model from before the call is kept.
        """
        self._validate_params()  # _fit_context does so before the first call only
        first = not hasattr(self, "components_")
        if not first:
            self._check_can_go_on()
        with _inputs.unchanged_on_error(self):
            data = self._check_training_data(X, reset=first)
            if sample_weight is not None:
                data = data.weigh(_inputs.check_weights(sample_weight, data.X))
            if first:
                state = self._first_state(data, self._draw_seeds())
            else:
                state = self._next_state(data)
            before = state.copy()
            sound = train_on_chunk(state, self._settings(data), data)
            if sound or first:
                kept = state if sound else before
                self.__dict__ |= _fitted_attributes(kept, kept.learned.average)
        if not sound:
            kept = "The untrained model" if first else "The model from before"
            self._warn_of_divergence("in this call of partial_fit", kept, data)
        return self

    def _check_training_data(self, X, reset):
        data = DataSet(self._validate(X, reset=reset))
        consequence = (
            "In training, values below 0 count as 0 and values above 1 as 1."
            if self.stochastic_binarization
            else "In training, they are used as they are."
        )
        _inputs.warn_of_range(data, BernoulliUnits, consequence)
        return data

    def _validate(self, X, reset=False, **options):
        options = {"accept_sparse": "csr"} | options
        try:
            return _inputs.validate(self, X, reset=reset, **options)
        except ValueError as error:
            if "contains NaN" not in str(error):
                raise
            raise ValueError(
                "Input X contains NaN. Fill in what is missing, by skrbm.RBMImputer for "
                "instance, or leave those rows out."
            ) from error

    def _settings(self, data):
        states = BernoulliUnits.are_states(data.summary)
        values = {"binarize": self.stochastic_binarization and not states}
        for name in Settings._fields:
            if name not in values:
                value = getattr(self, name)
                values[name] = float(value) if isinstance(value, np.floating) else value
        return Settings(**values)

    def _draw_seeds(self):
        """Return a seed for training; keep those for later draws and for the split."""
        random_state = check_random_state(self.random_state)
        seeds = random_state.randint(np.iinfo(np.int32).max, size=3)
        seed, later, self._split_seed = seeds
        self.random_state_ = np.random.RandomState(later)
        return seed

    def _first_state(self, data, seed):
        """Return the state of an untrained model."""
        return first_state(
            self._settings(data),
            len(data),
            n_features=data.n_features,
            n_components=self.n_components,
            dtype=np.float64 if data.X.dtype == np.float64 else np.float32,
            seed=seed,
        )

    def _next_state(self, data):
        """Return a copy of the state that the last training ended in."""
        return next_state(self._learning, self._settings(data), len(data))

    def _hold_out(self, data):
        """Return the rows to train on and, for early stopping, those to stop by.

        A warm start on as many rows holds out the same ones.
        """
        if not self.early_stopping:
            return data, None
        # Half of what it would take to import this package, and not needed by most fits.
        from sklearn.model_selection import train_test_split

        n_held_out = math.ceil(self.validation_fraction * len(data))
        if n_held_out >= len(data):
            raise ValueError(
                f"early_stopping holds out a part of {self.validation_fraction:g} "
                f"(validation_fraction), which leaves none of n_samples={len(data)} to "
                "train on: pass more rows, or set early_stopping=False."
            )
        rows = np.arange(len(data)) if data.rows is None else data.rows
        rows, held_out = train_test_split(
            rows, test_size=n_held_out, random_state=self._split_seed
        )
        held_out = data.select(np.sort(held_out))
        validation = Validation(held_out, self.tol, self.n_iter_no_change)
        return data.select(np.sort(rows)), validation

    def _check_can_go_on(self):
        """Refuse to go on from a model that was not trained, or has another size."""
        if not hasattr(self, "_learning"):
            raise ValueError(
                "The parameters of this model were set by hand: it can be judged and drawn "
                "from, but there is no training to go on with. Train a new model: clone "
                "the estimator, or call fit with warm_start=False."
            )
        if self.n_components != len(self.components_):
            raise ValueError(
                f"n_components is {self.n_components}, but the model to go on from has "
                f"{len(self.components_)} components. Set n_components back, or train a "
                "new model: clone the estimator, or call fit with warm_start=False."
            )

    def _print(self, training, epoch):
        record, held_out = training.record, ""
        if not self.verbose or not record.is_due(epoch.number):
            return
        if record.validation is not None:
            held_out = f"validation score = {record.validation.scores[-1]:.2f}, "
        print(
            f"[{type(self).__name__}] Iteration {epoch.number}, pseudo-log-likelihood = "
            f"{record.history['pseudo_log_likelihood'][-1]:.2f}, {held_out}"
            f"time = {epoch.seconds:.2f}s",
            flush=True,
        )

    def _warn_at_the_end(self, stopped, training, warm):
        if stopped == "interrupted":
            kept = "best epoch so far" if self.early_stopping else "last finished epoch"
            warnings.warn(
                f"Training was interrupted by the user after {self.n_iter_} of "
                f"{training.n_epochs} epochs; the model of the {kept} is kept."
            )
        elif stopped == "diverged":
            best = "the best epoch so far"
            kept = (
                f"The model of {best if self.early_stopping else f'epoch {self.n_iter_}'}"
            )
            if self.n_iter_ == 0:
                kept = "The model from before" if warm else "The untrained model"
            when = f"in epoch {self.n_iter_ + 1}"
            self._warn_of_divergence(when, kept, training.data)
        elif stopped == "worse":
            warnings.warn(
                f"Training did not converge: after {self.n_iter_} epochs the model is "
                "worse than it was before. Lower learning_rate, which is "
                f"{self.learning_rate:g}.",
                ConvergenceWarning,
            )

    def _warn_of_divergence(self, when, kept, data):
        cause = f"learning_rate, which is {self.learning_rate:g}"
        if self.weight_decay:
            cause += f", or weight_decay, which is {self.weight_decay:g}"
        if data.row_weights is not None:
            largest = data.row_weights.max()
            cause += f", or the largest weight, which is {largest:.3g} usual ones"
        warnings.warn(
            f"Training diverged {when}: a parameter was not finite, or larger than "
            f"{LARGEST_PARAMETER:g}. {kept} is kept. Lower {cause}.",
            ConvergenceWarning,
        )

    def __getstate__(self):
        """Leave out a training that is under way: a copy has what is fitted."""
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_training"}

    # The fitted model -------------------------------------------------------------------

    @property
    def _n_features_out(self):
        return len(self.components_)

    def _model_and_rows(self, X):
        """Return the model, and a data set of validated rows for it."""
        check_is_fitted(self)
        model = _inputs.model_of(self)
        return model, _inputs.fitting_rows(model, self._validate(X))

    def transform(self, X: MatrixLike) -> np.ndarray:
        """Compute the probabilities of the hidden units, ``p(h = 1 | X)``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The rows to transform.

        Returns
        -------
        H : ndarray of shape (n_samples, n_components)
            Probabilities, of the dtype of `X` if that is float32 or float64, of the model's
            if it is bool or uint8, else float64.
        """
        model, data = self._model_and_rows(X)
        return data.apply(
            model.mean_hidden,
            model,
            n_columns=len(model.hidden_bias),
            dtype=_dtype_for(model, data.X),
        )

    def inverse_transform(self, X: ArrayLike) -> np.ndarray:
        """Compute the probabilities of the visible units, ``p(v = 1 | X)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Hidden states, or probabilities as `transform` returns them.

        Returns
        -------
        V : ndarray of shape (n_samples, n_features)
            Probabilities, of the dtype of `X` if that is float32 or float64, of the model's
            if it is bool or uint8, else float64.
        """
        check_is_fitted(self)
        model = _inputs.model_of(self)
        data = DataSet(check_array(X, dtype=_inputs.DTYPES, estimator=self))
        if data.n_features != len(model.hidden_bias):
            raise ValueError(
                f"X has {data.n_features} columns, but this model has "
                f"{len(model.hidden_bias)} components: pass hidden states, as transform "
                "returns them."
            )
        dtype = _dtype_for(model, data.X)
        n_columns = len(model.visible)
        return data.apply(model.mean_visible, model, n_columns=n_columns, dtype=dtype)

    def free_energy(self, X: MatrixLike) -> np.ndarray:
        """Compute the free energy of each row.

        ``F(v) = - log sum_h exp(-E(v, h))``, the negative log-likelihood less the log
        partition function. Differences of it compare rows under one model; it does not
        compare models.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The rows to score.

        Returns
        -------
        free_energy : float64 ndarray of shape (n_samples,)
            Free energies, in nats.
        """
        model, data = self._model_and_rows(X)
        return data.apply(model.free_energy, model)

    def score_samples(self, X: MatrixLike, *, n_flips: int | None = None) -> np.ndarray:
        """Compute the pseudo-log-likelihood of each row.

        The sum over all features of the log-probability of the feature's value given all
        other features [1]_: exact, without randomness, and for each row the same, up to
        rounding, whatever rows stand around it. On a value v between 0 and 1 it is the mean
        of the two log-probabilities, of weight v and 1 - v. Values below 0 count as 0,
        above 1 as 1.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The rows to score.

        n_flips : int, default=None
            Estimate the sum from this many features, the same for all rows and in every
            call, instead of from all, in less time. None, or as many as there are, is
            exact. From a few only, it may be far off.

        Returns
        -------
        score : float64 ndarray of shape (n_samples,)
            Pseudo-log-likelihoods, in nats.

        Warns
        -----
        UserWarning
            If `X` has values outside [0, 1].

        Notes
        -----
        Under ``joblib.parallel_config("threading", n_jobs=...)`` blocks of rows are scored
        in that many threads; otherwise only its matrix products use more than one.

        References
        ----------
        .. [1] Besag, J. (1975). Statistical analysis of non-lattice data. The
           Statistician, 24(3), 179-195.
        """
        model, data = self._model_and_rows(X)
        return likelihood.score_rows(model, data, n_flips)

    def score(
        self, X: MatrixLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Compute the mean pseudo-log-likelihood of the rows.

        Higher is better: what model selection maximises when it is given no other
        `scoring`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The rows to score.

        y : Ignored
            Not used, present for API consistency.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows in the mean, not negative. None gives all the same.

        Returns
        -------
        score : float
            Mean over the rows of `score_samples`, in nats.

        Raises
        ------
        ValueError
            If a weight is negative, or none is above 0.
        """
        return _inputs.weighted_mean(self.score_samples(X), sample_weight)

    def log_partition(
        self,
        *,
        method: Literal["auto", "exact", "ais", "reverse_ais", "both"] = "auto",
        random_state: RandomStateLike = None,
        **options: Any,
    ) -> LogPartition:
        """Compute or estimate the log partition function.

        Parameters
        ----------
        method : {"auto", "exact", "ais", "reverse_ais", "both"}, default="auto"
            Exact sum, which needs at most 25 hidden or visible units, or annealed
            importance sampling. "auto" takes the sum up to 20.

        random_state : int, RandomState instance or None, default=None
            Source of the draws of annealed importance sampling.

        **options : dict
            Other arguments of :func:`skrbm.likelihood.log_partition`.

        Returns
        -------
        result : LogPartition
            The value and its error, in nats.

        Raises
        ------
        ValueError
            If the machine is too large for an exact sum, or an argument is out of range.
        """
        check_is_fitted(self)
        return likelihood.log_partition(
            self, method=method, random_state=random_state, **options
        )

    def log_likelihood(
        self,
        X: MatrixLike,
        *,
        log_partition: LogPartition | float | None = None,
        random_state: RandomStateLike = None,
    ) -> np.ndarray:
        """Compute the log-likelihood of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The rows to judge, of values 0 and 1.

        log_partition : LogPartition or float, default=None
            What the method `log_partition` returns. None calls it, which, if neither side
            of the machine is small, takes a while: to judge several sets of rows, call it
            once.

        random_state : int, RandomState instance or None, default=None
            Source of the draws, where the partition function is estimated.

        Returns
        -------
        log_likelihood : float64 ndarray of shape (n_samples,)
            Log-likelihoods, in nats: ``-free_energy(X) - log Z``.

        Raises
        ------
        ValueError
            If `X` has other values than 0 and 1.
        """
        _, data = self._model_and_rows(X)
        return likelihood.log_likelihood(
            self, data.X, log_partition=log_partition, random_state=random_state
        )

    # Draws ------------------------------------------------------------------------------

    def gibbs(
        self, v: MatrixLike, *, n_gibbs_steps: int = 1, random_state: RandomStateLike = None
    ) -> np.ndarray:
        """Run one chain from each row of `v`.

        Parameters
        ----------
        v : {array-like, sparse matrix} of shape (n_samples, n_features)
            Visible states to start from.

        n_gibbs_steps : int, default=1
            Number of Gibbs steps, from visible to hidden to visible states.

        random_state : int, RandomState instance or None, default=None
            Source of the draws. None goes on with `random_state_`, so that each call
            draws anew.

        Returns
        -------
        v_new : ndarray of shape (n_samples, n_features)
            Visible states, 0 or 1, in the dtype of `v` if that is float32 or float64, in
            the model's if it is bool or uint8, else in float64.
        """
        model, data = self._model_and_rows(v)
        _inputs.check_integer(n_gibbs_steps, "n_gibbs_steps", 1)
        chains = sampling.draw_chains(
            self,
            len(data),
            1,
            n_gibbs_steps=n_gibbs_steps,
            init=data.X,
            random_state=self._random_state(random_state),
        )
        return chains[:, 0].astype(_dtype_for(model, data.X), copy=False)

    def sample(
        self,
        n_samples: int = 1,
        *,
        n_gibbs_steps: int = 100,
        n_chains: int | None = None,
        thinning: int = 10,
        init: str | MatrixLike | None = None,
        betas: str | int | ArrayLike | None = None,
        output: Literal["states", "probabilities"] = "states",
        n_jobs: int | None = None,
        random_state: RandomStateLike = None,
    ) -> np.ndarray:
        """Draw rows from the model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows to draw.

        n_gibbs_steps : int, default=100
            Number of Gibbs steps that each chain takes from its start to its first row.

        n_chains : int, default=None
            Number of chains that the rows are drawn from by turns. None is one for each
            row. Chains beyond the number of starts begin where others do: where chains mix
            slowly, take ``init="noise"`` or `betas`.

        thinning : int, default=10
            Number of Gibbs steps from one row of a chain to its next.

        init : {"chains", "noise"} or {array-like, sparse matrix} of shape (n_rows, \
n_features), default=None
            Where chains start: "chains", at the hidden states of the training's chains,
            `h_samples_`, in random order, which after persistent contrastive divergence are
            close to the model's distribution already; "noise", at hidden states that are
            fair coins; or at rows of visible states, data for instance, chain i at row
            ``i % n_rows``. None is "chains", or "noise" where there are none.

        betas : "auto", int or array-like of shape (n_betas,), default=None
            Parallel tempering, for models whose chains do not mix: inverse temperatures, or
            how many of them, or "auto". None is plain Gibbs sampling. See
            :func:`skrbm.sampling.draw_chains`.

        output : {"states", "probabilities"}, default="states"
            Visible states, 0 or 1, or the probabilities that they would be drawn from.

        n_jobs : int, default=None
            Number of jobs that share the chains, 256 or more to a job, as for joblib.

        random_state : int, RandomState instance or None, default=None
            Source of the draws. None goes on with `random_state_`, so that each call
            draws anew.

        Returns
        -------
        v : ndarray of shape (n_samples, n_features)
            The rows, in the model's dtype.

        Raises
        ------
        ValueError
            If an argument is out of range, or `init` has more rows than there are chains.
        """
        check_is_fitted(self)
        _inputs.check_integer(n_samples, "n_samples", 1)
        _inputs.check_integer(n_gibbs_steps, "n_gibbs_steps", 1)
        if n_chains is None:
            n_chains = n_samples
        _inputs.check_integer(n_chains, "n_chains", 1)
        if init is not None and not isinstance(init, str):
            init = self._validate(init)
        chains = sampling.draw_chains(
            self,
            n_chains,
            -(-n_samples // n_chains),
            n_gibbs_steps=n_gibbs_steps,
            thinning=thinning,
            init=init,
            betas=betas,
            output=output,
            n_jobs=n_jobs,
            random_state=self._random_state(random_state),
        )
        return chains.swapaxes(0, 1).reshape(-1, chains.shape[2])[:n_samples]

    def reconstruct(
        self, X: ArrayLike, *, random_state: RandomStateLike = None
    ) -> np.ndarray:
        """Compute what the model makes of rows: up to the hidden units, and down again.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows. Features that are NaN are filled first by their probabilities given
            the others, as by the defaults of :func:`skrbm.sampling.sample_conditional`.

        random_state : int, RandomState instance or None, default=None
            Source of the draws that fill in NaN. None goes on with `random_state_`.

        Returns
        -------
        V : ndarray of shape (n_samples, n_features)
            Probabilities of the visible units given the mean hidden units, which are
            ``inverse_transform(transform(X))`` for rows without NaN.
        """
        check_is_fitted(self)
        rows = self._validate(X, ensure_all_finite="allow-nan", accept_sparse=False)
        model = _inputs.model_of(self)
        rows = _inputs.fitting_rows(model, rows).X
        filled = sampling.fill(
            self,
            rows,
            n_gibbs_steps=200,
            probabilities=True,
            random_state=self._random_state(random_state),
        )
        return DataSet(filled).apply(
            lambda v: model.mean_visible(model.mean_hidden(v)),
            model,
            n_columns=rows.shape[1],
            dtype=_dtype_for(model, rows),
        )

    def _random_state(self, random_state):
        """Return the source of draws: `random_state_`, if none is given."""
        if random_state is None:
            random_state = getattr(self, "random_state_", self.random_state)
        return check_random_state(random_state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class _Callbacks:
    """scikit-learn's callbacks, as one fit calls them."""

    def __init__(self, estimator, X, y, sample_weight):
        self.estimator = estimator
        self.training = estimator._training
        # Without y, scikit-learn's ScoringMonitor would not score.
        self.task = {"estimator": estimator, "X": X, "y": X if y is None else y}
        if sample_weight is not None:
            self.task["metadata"] = {"sample_weight": sample_weight}
        self.n_left = self.training.n_epochs - self.training.n_done
        self.fit = estimator._init_callback_context(max_subtasks=self.n_left)
        self.fit.call_on_fit_task_begin(**self.task)

    def announce(self, epochs):
        """Yield epochs, and tell of each before it begins."""
        if self.training.record.exhausted:
            return
        for _ in range(self.n_left):
            epoch = self.fit.subcontext(task_name="epoch")
            self.epoch = epoch.call_on_fit_task_begin(**self.task)
            yield next(epochs)

    def after_epoch(self):
        """Tell of the end of an epoch; return whether training shall stop."""
        return self.epoch.call_on_fit_task_end(
            **self.task, reconstruction_attributes=self._attributes
        )

    def _attributes(self):
        """Return the attributes of a copy of the estimator that is fitted so far."""
        return {
            **_fitted_attributes(self.training.state.copy(), average=None),
            **_course(self.training),
            "random_state_": copy.deepcopy(self.estimator.random_state_),
            "_interrupted": False,
        }

    def after_fit(self, attributes):
        """Tell of the end of the fit, which has given the estimator these attributes."""
        attributes = attributes | {"random_state_": self.estimator.random_state_}
        self.fit.call_on_fit_task_end(
            **self.task, reconstruction_attributes=lambda: copy.deepcopy(attributes)
        )


def _fitted_attributes(state, average):
    """Return the fitted attributes that a training state has.

    Their arrays are copies, so that to change them by hand is not to change `_learning`,
    what training goes on from, in which `average` stands for the average of the state.
    """
    result = state.result
    attributes = {
        "components_": result.weights.copy().T,
        "intercept_visible_": result.visible_bias.copy(),
        "intercept_hidden_": result.hidden_bias.copy(),
        "visible_mean_": state.counts.visible_mean,
        "h_samples_": state.solver.chains.copy(),
    }
    learned = dataclasses.replace(state.learned, average=average)
    return attributes | {"_learning": dataclasses.replace(state, learned=learned)}


def _got_worse(training):
    """Say whether the model is clearly worse at the end of a training than at its start."""
    in_range = BernoulliUnits.are_in_range(training.data.summary)
    return in_range and training.record.shortfall(training.kept) > _LARGEST_SHORTFALL


def _course(training):
    """Return the fitted attributes that say how a training has gone so far."""
    history, validation_scores = training.record.course(training.n_done)
    course = {"n_iter_": training.n_done, "history_": history}
    if validation_scores is not None:
        course["validation_scores_"] = validation_scores
    return course


def _dtype_for(model, X):
    """Return the dtype of results for `X`: its own if it is float, or the model's."""
    return X.dtype if X.dtype.kind == "f" else model.dtype
