"""Callbacks for `fit`, beside those of scikit-learn: likelihood, and checkpoints.

scikit-learn has callbacks from 1.9 on, and calls them experimental. Give an estimator its
callbacks by ``set_callbacks(...)`` before ``fit``; scikit-learn's own, `ProgressBar` and
`ScoringMonitor` of :mod:`sklearn.callback`, work as well (as of 1.9.1, the latter wants a
dict of scorers).
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone

from skrbm._estimator import BernoulliRBMEstimator
from skrbm._inputs import check_integer, check_names, check_rows, model_of
from skrbm._record import free_energy_gap
from skrbm._training import Training
from skrbm._typing import MatrixLike, RandomStateLike
from skrbm.likelihood import LogLikelihoodTracker

__all__ = ["Checkpoint", "LikelihoodMonitor", "resume"]


class _FitCallback:
    """The hooks that scikit-learn calls and nothing is to be done in."""

    def setup(self, estimator: Any, context: Any) -> None:
        """Refuse what this is not for; scikit-learn calls it.

        Parameters
        ----------
        estimator : BernoulliRBMEstimator
            The estimator that is about to be fitted.
        context : CallbackContext
            The task of the fit.

        Raises
        ------
        TypeError
            If the estimator is another one, a pipeline or a search for instance.
        """
        if not isinstance(estimator, BernoulliRBMEstimator):
            name = type(self).__name__
            raise TypeError(
                f"{name} follows the training of a BernoulliRBMEstimator, but was set on a "
                f"{type(estimator).__name__}: set it on the machine inside, by "
                f"rbm.set_callbacks({name}(...))."
            )

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing; scikit-learn calls it.

        Parameters
        ----------
        estimator : BernoulliRBMEstimator
            The estimator that is being fitted.
        context : CallbackContext
            The fit or the epoch that begins.
        """

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing; scikit-learn calls it.

        Parameters
        ----------
        estimator : BernoulliRBMEstimator
            The estimator whose fit has ended.
        context : CallbackContext
            The task of the fit.
        """


def _is_due(rbm, context, every):
    """Say whether something is due now: after each `every`-th and after the last epoch."""
    if context.task_name != "epoch":
        return False
    training = rbm._training
    return training.n_done % every == 0 or training.n_done == training.n_epochs


class LikelihoodMonitor(_FitCallback):
    """Follow the log-likelihood of held-out rows, and the free-energy gap, during `fit`.

    The log-likelihood is exact for machines with up to 20 hidden or visible units, and
    else by annealed runs that follow the model, see
    :class:`skrbm.likelihood.LogLikelihoodTracker`.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows to judge by, of values 0 and 1, that the model is not trained on.

    every : int, default=1
        Number of epochs from one look to the next. The last of `n_iter` epochs is looked
        at as well.

    n_betas : int, default=100
        Number of temperatures from one look to the next.

    n_runs : int, default=100
        Number of annealed runs.

    random_state : int, RandomState instance or None, default=None
        Source of the draws, which are none of the training's: None is a new one for each
        fit, and not numpy's global one.

    Attributes
    ----------
    history_ : dict of lists
        One entry for each look of the last `fit`: "epoch", counted from 1;
        "log_likelihood", the mean in nats, with "lower" and "upper" for three standard
        errors of the partition function; "free_energy_gap", as in the estimator's
        `history_`, with these rows as those held out. A gap that grows while the
        log-likelihood falls is over-fitting. Fits in other processes, those of a search
        with `n_jobs` for instance, enter nothing here.

    Examples
    --------
    ::

        monitor = LikelihoodMonitor(X_valid, every=5)
        rbm = BernoulliRBMEstimator().set_callbacks(monitor).fit(X_train)
        plt.plot(monitor.history_["epoch"], monitor.history_["log_likelihood"])
    """

    def __init__(
        self,
        X: MatrixLike,
        *,
        every: int = 1,
        n_betas: int = 100,
        n_runs: int = 100,
        random_state: RandomStateLike = None,
    ) -> None:
        self.every = check_integer(every, "every", 1)
        self.X = X
        self.n_betas = n_betas
        self.n_runs = n_runs
        self.random_state = random_state
        self._new_monitor()  # now as well, so that a bad argument is an error now
        self._fits: dict[int, Any] = {}

    def _new_monitor(self):
        source = self.random_state
        return LogLikelihoodTracker(
            self.X,
            n_betas=self.n_betas,
            n_runs=self.n_runs,
            random_state=np.random.RandomState() if source is None else source,
        )

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin anew; scikit-learn calls it.

        Parameters
        ----------
        estimator : BernoulliRBMEstimator
            The estimator that is about to be fitted.
        context : CallbackContext
            The task of the fit.

        Raises
        ------
        TypeError
            If the estimator is another one, a pipeline or a search for instance.
        ValueError
            If the rows to judge by have other features than those to train on.
        """
        super().setup(estimator, context)
        check_names(self.X, estimator)
        n_features = np.shape(self.X)[1]
        if n_features != estimator.n_features_in_:
            raise ValueError(
                f"The X of LikelihoodMonitor has {n_features} features, but the training "
                f"data have {estimator.n_features_in_}."
            )
        names = "epoch", "log_likelihood", "lower", "upper", "free_energy_gap"
        history: dict[str, list] = {name: [] for name in names}
        # A search may run several fits at once, each on an estimator of its own.
        self._fits[id(estimator)] = self._new_monitor(), history
        self.history_ = history

    def on_fit_task_end(
        self,
        estimator: Any,
        context: Any,
        *,
        fitted_estimator: Any,
    ) -> None:
        """Judge the model; scikit-learn calls it.

        Parameters
        ----------
        estimator : BernoulliRBMEstimator
            The estimator that is being fitted.
        context : CallbackContext
            The fit or the epoch that ends.
        fitted_estimator : BernoulliRBMEstimator
            A copy, fitted so far.
        """
        if not _is_due(estimator, context, self.every):
            return
        training = estimator._training
        monitor, history = self._fits[id(estimator)]
        look = monitor.update(fitted_estimator)
        model = model_of(fitted_estimator)
        gap = free_energy_gap(
            model,
            check_rows(model, self.X, fitted_estimator),
            training.data,
            binarize=training.record.binarize,
        )
        entries = training.n_done, look.value, look.lower, look.upper, gap
        for entered, entry in zip(history.values(), entries, strict=True):
            entered.append(entry)

    def teardown(self, estimator: Any, context: Any) -> None:
        """Let go of the annealed runs; scikit-learn calls it.

        Parameters
        ----------
        estimator : BernoulliRBMEstimator
            The estimator whose fit has ended.
        context : CallbackContext
            The task of the fit.
        """
        self._fits.pop(id(estimator), None)  # none, if setup failed


class Checkpoint(_FitCallback):
    """Save a training to a file, so that one that is killed can go on.

    What is saved is all that changes in training, random numbers included: a training that
    :func:`resume` goes on with ends with the same bits as one that was never interrupted.
    The file is replaced at once: a kill at any moment leaves the new one or the last one,
    and at worst a file beside it whose name ends in ".part", of no more use.

    Parameters
    ----------
    path : str or path-like
        The file, whose folder must exist. A new one can be read by its owner alone; one
        that is replaced keeps its permissions. It is a pickle: load only files that you
        trust. It holds one training: of several, as of a search, that which wrote last.

    every : int, default=1
        Number of epochs from one save to the next. The last of `n_iter` epochs is saved as
        well.

    Examples
    --------
    ::

        rbm = BernoulliRBMEstimator(n_iter=500).set_callbacks(Checkpoint("rbm.ckpt"))
        rbm.fit(X)

        rbm = resume("rbm.ckpt", X)  # after a crash, in another process
    """

    def __init__(self, path: str | os.PathLike, *, every: int = 1) -> None:
        # Made whole now: the working directory may change during the fit.
        self.path = Path(path).expanduser().resolve()
        self.every = check_integer(every, "every", 1)

    def setup(self, estimator: Any, context: Any) -> None:
        """Find out whether the file can be written; scikit-learn calls it.

        Parameters
        ----------
        estimator : BernoulliRBMEstimator
            The estimator that is about to be fitted.
        context : CallbackContext
            The task of the fit.

        Raises
        ------
        OSError
            If it cannot.
        TypeError
            If the estimator is another one, a pipeline or a search for instance.
        """
        super().setup(estimator, context)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"Checkpoint cannot write {self.path}: there is no folder "
                f"{self.path.parent}. Make it first."
            )
        if self.path.is_dir():
            raise IsADirectoryError(
                f"Checkpoint cannot write {self.path}: it is a folder. Name a file in it."
            )
        with self._temporary():
            pass  # a folder that cannot be written to is an error now

    @contextlib.contextmanager
    def _temporary(self):
        """Make a file beside the one to write, of which nothing is left in the end."""
        handle, name = tempfile.mkstemp(
            prefix=f"{self.path.name}.", suffix=".part", dir=self.path.parent
        )
        os.close(handle)
        try:
            yield name
        finally:
            Path(name).unlink(missing_ok=True)

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Save; scikit-learn calls it.

        Parameters
        ----------
        estimator : BernoulliRBMEstimator
            The estimator that is being fitted.
        context : CallbackContext
            The fit or the epoch that ends.
        """
        if not _is_due(estimator, context, self.every):
            return
        saved = SavedTraining.of(estimator)
        with self._temporary() as temporary:
            with open(temporary, "wb") as file:
                joblib.dump(saved, file)
                file.flush()
                os.fsync(file.fileno())
            if self.path.exists():
                shutil.copymode(self.path, temporary)
            os.replace(temporary, self.path)
        if hasattr(os, "O_DIRECTORY"):  # the new name is to outlast a power failure as well
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


class SavedTraining(NamedTuple):
    """What a checkpoint file holds: the settings, and the training so far."""

    estimator: BernoulliRBMEstimator
    training: Training

    @classmethod
    def of(cls, rbm):
        """Return what is to be saved of the training of an estimator."""
        settings = clone(rbm)
        settings.set_callbacks()
        for name in ("n_features_in_", "feature_names_in_", "random_state_", "_split_seed"):
            if hasattr(rbm, name):
                setattr(settings, name, getattr(rbm, name))
        return cls(settings, rbm._training)


def resume(
    path: str | os.PathLike,
    X: MatrixLike,
    y: Any = None,
    *,
    sample_weight: ArrayLike | None = None,
    callbacks: Sequence[Any] = (),
) -> BernoulliRBMEstimator:
    """Go on with a training that was saved by :class:`Checkpoint`.

    The file is unpickled, and a pickle can run any code: resume only from files that you
    trust.

    Parameters
    ----------
    path : str or path-like
        The file that the checkpoint wrote.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The training data, the same as before.

    y : array-like of shape (n_samples,), default=None
        Handed to the callbacks; the estimator does not use it.

    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, the same as before.

    callbacks : sequence of callbacks, default=()
        Callbacks for the rest of the training, :class:`Checkpoint` for instance.

    Returns
    -------
    rbm : BernoulliRBMEstimator
        The fitted estimator.

    Raises
    ------
    ValueError
        If the rows or weights are seen to be others, by the shape of `X`, all weights and
        some of the rows, or the file is not one of a checkpoint.
    """
    not_one = f"{path} was not written by skrbm.callbacks.Checkpoint, or is damaged."
    try:
        saved = joblib.load(path)
    except (OSError, ImportError, MemoryError):
        raise
    except Exception as error:  # whatever unpickling comes to
        raise ValueError(not_one) from error
    if not isinstance(saved, SavedTraining):
        raise ValueError(not_one)
    if callbacks:
        saved.estimator.set_callbacks(*callbacks)
    return saved.estimator._fit(X, y, sample_weight, saved.training)
