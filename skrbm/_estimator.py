"""The scikit-learn face: parameters, validation, public methods, tags. No formula."""

import copy
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
from sklearn.utils import check_array, check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data

from skrbm import _batches, _training, likelihood, sampling
from skrbm._compat import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    _fit_context,
)
from skrbm._fitted import (
    DTYPES,
    by_blocks,
    fitting_rows,
    model_of,
    rows_and_weights,
    unchanged_on_error,
)
from skrbm._model import RBM
from skrbm._typing import MatrixLike, RandomStateLike
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
        Whether to print a line for each epoch.

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
        How training went, one entry for each epoch of the last `fit`: "learning_rate" (at
        the end of the epoch), "pseudo_log_likelihood" (nats; mean over up to 64 training
        rows and estimated from up to 64 columns, always the same ones) and "seconds". With
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
        "solver": [StrOptions(set(_training.SOLVERS))],
        "n_gibbs_steps": [Interval(Integral, 1, None, closed="left")],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "schedule": [StrOptions(set(_training.SCHEDULES))],
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

    @_fit_context(prefer_skip_nested_validation=True)
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
        warm = self.warm_start and hasattr(self, "components_")
        if warm:
            self._check_can_go_on()
        # Without y, scikit-learn's ScoringMonitor would not score.
        task = {"estimator": self, "X": X, "y": X if y is None else y}
        if sample_weight is not None:
            task["metadata"] = {"sample_weight": sample_weight}
        with unchanged_on_error(self):
            # By skrbm.callbacks.resume; a copy, as what is popped comes back on an error.
            progress = copy.deepcopy(vars(self).pop("_resume_from", None))
            vars(self).pop("validation_scores_", None)
            new = not warm and progress is None
            X, summary = self._validate_training_data(X, reset=new)
            seed = self._draw_seeds() if new else None
            rows, weights, validation = self._split(X, sample_weight)
            n_rows = X.shape[0] if rows is None else len(rows)
            if progress is None:
                state = self._resume(n_rows) if warm else self._start(X, n_rows, seed)
                record = _training.Record(
                    X, rows, weights, state, validation and validation.rows
                )
                n_epochs = self.n_iter
                if n_epochs == "auto":
                    n_epochs = _training.enough_epochs(n_rows, self.batch_size)
            else:
                state, n_epochs = progress.state, progress.n_epochs
                record = progress.restore(X, rows, weights, validation)
            done = progress.outcome.n_epochs if progress else 0
            context = self._init_callback_context(max_subtasks=n_epochs - done)
            context.call_on_fit_task_begin(**task)

            def save(outcome):
                return _training.Progress.of(
                    state, outcome, n_epochs, X.shape, record, validation
                )

            announce, report = self._reporters(record, validation, context, task, save)
            outcome = _training.train(
                state,
                self._settings(summary),
                X,
                n_epochs=n_epochs,
                schedule=self.schedule,
                shuffle=self.shuffle,
                announce=announce,
                report=report,
                rows=rows,
                weights=weights,
                validation=validation,
                progress=progress and progress.outcome,
            )
            attributes = _course(
                outcome.n_epochs, record.history, validation and validation.scores
            )
            if outcome.n_epochs > 0 or not warm:
                attributes |= _fitted(outcome.state, average=None)
            vars(self).update(attributes)
            self._interrupted = outcome.stopped == "interrupted"
            attributes["random_state_"] = self.random_state_
            try:
                context.call_on_fit_task_end(
                    **task, reconstruction_attributes=lambda: copy.deepcopy(attributes)
                )
            except KeyboardInterrupt:  # no reason to lose what is trained
                self._interrupted = True
        if self._interrupted:
            kept = "best epoch so far" if validation else "last finished epoch"
            warnings.warn(
                f"Training was interrupted by the user after {self.n_iter_} of "
                f"{n_epochs} epochs; the model of the {kept} is kept."
            )
        elif outcome.stopped == "diverged":
            kept = f"The model of epoch {self.n_iter_}"
            if validation:
                kept = "The model of the best epoch so far"
            if self.n_iter_ == 0:
                kept = "The model from before" if warm else "The untrained model"
            self._warn_of_divergence(f"in epoch {self.n_iter_ + 1}", kept, weights)
        elif summary.in_range and record.shortfall(outcome.state) > _LARGEST_SHORTFALL:
            warnings.warn(
                f"Training did not converge: after {self.n_iter_} epochs the model is "
                "worse than it was before. Lower learning_rate, which is "
                f"{self.learning_rate:g}.",
                ConvergenceWarning,
            )
        return self

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
        with unchanged_on_error(self):
            X, summary = self._validate_training_data(X, reset=first)
            rows, weights = rows_and_weights(X, sample_weight)
            n_rows = X.shape[0] if rows is None else len(rows)
            if first:
                state = self._start(X, n_rows, self._draw_seeds())
            else:
                state = self._resume(n_rows)
            untrained = state.copy() if first else None
            settings = self._settings(summary)
            sound = _training.train_on_chunk(state, settings, X, rows, weights)
            if sound or first:
                kept = state if sound else untrained
                vars(self).update(_fitted(kept, kept.average))
        if not sound:
            kept = "The untrained model" if first else "The model from before"
            self._warn_of_divergence("in this call of partial_fit", kept, weights)
        return self

    def _validate_training_data(self, X, reset):
        X = _batches.canonical(self._validate(X, reset=reset))
        summary = _batches.summarize(X)
        consequence = (
            "In training, values below 0 count as 0 and values above 1 as 1."
            if self.stochastic_binarization
            else "In training, they are used as they are."
        )
        self._warn_of_range(summary, consequence)
        return X, summary

    def _warn_of_range(self, summary, consequence):
        if not summary.in_range:
            warnings.warn(
                f"X has values from {summary.low:g} to {summary.high:g}, but "
                f"{type(self).__name__} models values in [0, 1]: binary data, or "
                f"probabilities. {consequence} Scale X with MinMaxScaler(clip=True) "
                "(sparse X with MaxAbsScaler) or make it binary with Binarizer, all of "
                "sklearn.preprocessing."
            )

    def _validate(self, X, reset=False, **options):
        options = {"accept_sparse": "csr", "dtype": DTYPES, "reset": reset} | options
        try:
            return validate_data(self, X, **options)
        except ValueError as error:
            if "contains NaN" not in str(error):
                raise
            raise ValueError(
                "Input X contains NaN. Fill in what is missing, by skrbm.RBMImputer for "
                "instance, or leave those rows out."
            ) from error

    def _settings(self, summary):
        return _training.Settings(
            solver=self.solver,
            n_gibbs_steps=self.n_gibbs_steps,
            batch_size=self.batch_size,
            learning_rate=float(self.learning_rate),
            momentum=float(self.momentum),
            weight_decay=float(self.weight_decay),
            centering=self.centering,
            averaging=self.averaging,
            binarize=self.stochastic_binarization and not summary.binary,
        )

    def _n_chains_for(self, n_rows):
        return min(self.batch_size, n_rows) if self.solver == "cd" else self.n_chains

    def _draw_seeds(self):
        """Return a seed for training; keep those for later draws and for the split."""
        random_state = check_random_state(self.random_state)
        seeds = random_state.randint(np.iinfo(np.int32).max, size=3)
        seed, later, self._split_seed = seeds
        self.random_state_ = np.random.RandomState(later)
        return seed

    def _start(self, X, n_rows, seed):
        """Return the state of an untrained model, for `n_rows` training rows of `X`."""
        return _training.initial_state(
            n_features=X.shape[1],
            n_components=self.n_components,
            n_chains=self._n_chains_for(n_rows),
            dtype=np.float64 if X.dtype == np.float64 else np.float32,
            seed=seed,
        )

    def _split(self, X, sample_weight):
        """Return which rows to train on, None for all, all weights, and the validation.

        The weights are None if none are given; the validation, by rows that are held out,
        without early stopping. A warm start on as many rows holds out the same ones.
        """
        rows, weights = rows_and_weights(X, sample_weight, normalize=True)
        if not self.early_stopping:
            return rows, weights, None
        # Half of what it would take to import this package, and not needed by most fits.
        from sklearn.model_selection import train_test_split

        rows = np.arange(X.shape[0]) if rows is None else rows
        n_held_out = math.ceil(self.validation_fraction * len(rows))
        if n_held_out >= len(rows):
            raise ValueError(
                f"early_stopping holds out a part of {self.validation_fraction:g} "
                f"(validation_fraction), which leaves none of n_samples={len(rows)} to "
                "train on: pass more rows, or set early_stopping=False."
            )
        rows, held_out = train_test_split(
            rows, test_size=n_held_out, random_state=self._split_seed
        )
        validation = _training.Validation(
            X, np.sort(held_out), weights, self.tol, self.n_iter_no_change
        )
        return np.sort(rows), weights, validation

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

    def _resume(self, n_rows):
        """Return a copy of the state that the last training ended in."""
        n_chains = self._n_chains_for(n_rows)
        if self.solver == "cd":  # a short chunk leaves the other chains as they are
            n_chains = max(n_chains, min(self.batch_size, len(self.h_samples_)))
        return _training.TrainingState(
            # Rows are repeated, or left out, where the number of chains has changed.
            chains=np.resize(self.h_samples_, (n_chains, self.n_components)),
            **copy.deepcopy(self._learning),
        )

    def _reporters(self, record, validation, context, task, save):
        """Return what is called before, and after, each epoch.

        They record the epoch, print it if verbose, and tell scikit-learn's callbacks, who
        may ask to stop. `save` makes of an outcome what a killed training goes on from.
        """
        epoch = None

        def announce():
            nonlocal epoch
            epoch = context.subcontext(task_name="epoch").call_on_fit_task_begin(**task)

        def report(state, learning_rate, seconds, outcome):
            record.add(state.result, learning_rate, seconds)
            if self.verbose:
                score = record.history["pseudo_log_likelihood"]
                held_out = ""
                if validation:
                    held_out = f"validation score = {validation.scores[-1]:.2f}, "
                print(
                    f"[{type(self).__name__}] Iteration {len(score)}, "
                    f"pseudo-log-likelihood = {score[-1]:.2f}, {held_out}"
                    f"time = {seconds:.2f}s",
                    flush=True,
                )

            def attributes():
                progress = save(outcome)
                scores = validation and progress.scores
                return {
                    **_fitted(progress.state, average=None),
                    **_course(outcome.n_epochs, progress.history, scores),
                    "random_state_": copy.deepcopy(self.random_state_),
                    "_interrupted": False,
                    "_progress": progress,
                }

            return epoch.call_on_fit_task_end(**task, reconstruction_attributes=attributes)

        return announce, report

    def _warn_of_divergence(self, when, kept, weights):
        cause = f"learning_rate, which is {self.learning_rate:g}"
        if self.weight_decay:
            cause += f", or weight_decay, which is {self.weight_decay:g}"
        if weights is not None:
            cause += f", or the largest weight, which is {weights.max():.3g} usual ones"
        warnings.warn(
            f"Training diverged {when}: a parameter was not finite, or larger than "
            f"{_training.LARGEST_PARAMETER:g}. {kept} is kept. Lower {cause}.",
            ConvergenceWarning,
        )

    # The fitted model -------------------------------------------------------------------

    @property
    def _n_features_out(self):
        return len(self.components_)

    def _model_and_rows(self, X):
        """Return the model, and validated rows for it."""
        check_is_fitted(self)
        model = model_of(self)
        return model, fitting_rows(model, self._validate(X))

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
        model, X = self._model_and_rows(X)
        return by_blocks(
            RBM.mean_hidden,
            model,
            X,
            n_columns=len(model.hidden_bias),
            dtype=_dtype_for(model, X),
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
        model = model_of(self)
        X = check_array(X, dtype=DTYPES, estimator=self)
        if X.shape[1] != len(model.hidden_bias):
            raise ValueError(
                f"X has {X.shape[1]} columns, but this model has {len(model.hidden_bias)} "
                "components: pass hidden states, as transform returns them."
            )
        return by_blocks(
            RBM.mean_visible,
            model,
            X,
            n_columns=len(model.visible_bias),
            dtype=_dtype_for(model, X),
        )

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
        model, X = self._model_and_rows(X)
        return by_blocks(RBM.free_energy, model, X)

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
        model, X = self._model_and_rows(X)
        self._warn_of_range(
            _batches.summarize(X), "Values below 0 count as 0 and values above 1 as 1."
        )
        return likelihood.score_rows(model, X, n_flips)

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
        _, weights = rows_and_weights(X, sample_weight, normalize=True)
        return float(np.average(self.score_samples(X), weights=weights))

    def log_partition(
        self,
        *,
        method: Literal["auto", "exact", "ais", "reverse_ais"] = "auto",
        random_state: RandomStateLike = None,
        **options: Any,
    ) -> LogPartition:
        """Compute or estimate the log partition function.

        Parameters
        ----------
        method : {"auto", "exact", "ais", "reverse_ais"}, default="auto"
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
        _, X = self._model_and_rows(X)
        return likelihood.log_likelihood(
            self, X, log_partition=log_partition, random_state=random_state
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
        model, v = self._model_and_rows(v)
        check_scalar(n_gibbs_steps, "n_gibbs_steps", Integral, min_val=1)
        chains = sampling.draw_chains(
            self,
            v.shape[0],
            1,
            n_burn_in=n_gibbs_steps,
            init=v,
            random_state=self._random_state(random_state),
        )
        return chains[:, 0].astype(_dtype_for(model, v), copy=False)

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
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        check_scalar(n_gibbs_steps, "n_gibbs_steps", Integral, min_val=1)
        if n_chains is None:
            n_chains = n_samples
        check_scalar(n_chains, "n_chains", Integral, min_val=1)
        if init is not None and not isinstance(init, str):
            init = self._validate(init)
        chains = sampling.draw_chains(
            self,
            n_chains,
            -(-n_samples // n_chains),
            n_burn_in=n_gibbs_steps,
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
        X = self._validate(X, ensure_all_finite="allow-nan", accept_sparse=False)
        model = model_of(self)
        X = fitting_rows(model, X)
        filled = sampling.fill(self, X, 200, True, None, self._random_state(random_state))
        return by_blocks(
            lambda model, v: model.mean_visible(model.mean_hidden(v)),
            model,
            filled,
            n_columns=X.shape[1],
            dtype=_dtype_for(model, X),
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


def _fitted(state, average):
    """Return the fitted attributes that a training state has.

    Their arrays are copies, so that to change them by hand is not to change `_learning`,
    what training goes on from, in which `average` stands for the average of the state.
    """
    result = state.result
    learning = {name: value for name, value in vars(state).items() if name != "chains"}
    return {
        "components_": result.weights.copy().T,
        "intercept_visible_": result.visible_bias.copy(),
        "intercept_hidden_": result.hidden_bias.copy(),
        "visible_mean_": state.visible_mean,
        "h_samples_": state.chains,
        "_learning": learning | {"average": average},
    }


def _course(n_iter, history, validation_scores):
    """Return the fitted attributes that say how `n_iter` epochs went."""
    course = {
        "n_iter_": n_iter,
        "history_": {name: entries[:n_iter] for name, entries in history.items()},
    }
    if validation_scores is not None:
        course["validation_scores_"] = validation_scores[:n_iter]
    return course


def _dtype_for(model, X):
    """Return the dtype of results for `X`: its own if it is float, or the model's."""
    return X.dtype if X.dtype.kind == "f" else model.dtype
