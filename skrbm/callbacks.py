"""Callbacks for `fit`: monitoring of the log-likelihood, checkpoints, ladders of models.

Register callbacks with ``set_callbacks(...)`` before ``fit``. They require scikit-learn 1.9
or later, where callbacks are experimental. `ProgressBar` and `ScoringMonitor` of
:mod:`sklearn.callback` also work. As of 1.9.1, `ScoringMonitor` needs a dict of scorers.

A meta-estimator, such as :class:`skrbm.ParallelRBM`, calls the callbacks of its estimator
after each round. Their `every` then counts rounds.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import pickle
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils import check_random_state, check_scalar

from skrbm._annealing import independent
from skrbm._attributes import model_of
from skrbm._base import BaseRBM
from skrbm._fitting import Fit
from skrbm._inputs import check_integer, check_rows
from skrbm._ladders import ModelLadder, Trajectory, check_ladder
from skrbm._random import new_generator
from skrbm._record import free_energy_gap
from skrbm._rounds import RoundsTraining
from skrbm._training import Training
from skrbm._typing import MatrixLike, RandomStateLike
from skrbm.likelihood import LogLikelihoodTracker, _check_states

__all__ = ["Checkpoint", "LikelihoodMonitor", "TrajectoryLadder", "resume"]


class _FitCallback:
    """Base class of callbacks, with the type check and hooks that do nothing."""

    def setup(self, estimator: Any, context: Any) -> None:
        """Refuse an estimator of another type, for example a pipeline or a search."""
        if not isinstance(estimator, BaseRBM):
            name = type(self).__name__
            raise TypeError(
                f"{name} only supports the estimators of skrbm, but was set on a "
                f"{type(estimator).__name__}. Set it on the RBM inside, with "
                f"rbm.set_callbacks({name}(...))."
            )

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing."""


def _is_due(rbm, context, every):
    """Return whether the callback is due: after every `every`-th and the last epoch.

    Rounds on shards count as epochs, because that is what scikit-learn is told.
    """
    if context.task_name != "epoch":
        return False
    training = rbm._training
    return training.n_done % every == 0 or training.n_done == training.n_epochs


class LikelihoodMonitor(_FitCallback):
    """Monitor of the log-likelihood of held-out rows and the free-energy gap during `fit`.

    Use it to see when a model stops improving, or begins to overfit.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Held-out rows to evaluate, as for `fit`. Bits must be 0 or 1.

    every : int, default=1
        Number of epochs between evaluations, or of rounds of a meta-estimator. Increase it
        if evaluations take too much of the time. The last of `n_iter` epochs is always
        evaluated.

    n_betas : int, default=100
        Number of temperatures between evaluations. Use more if evaluations are far apart,
        because the model then changes more between them.

    n_runs : int, default=100
        Number of annealed runs. More runs reduce the error of the log-likelihood and take
        more time.

    random_state : int, RandomState instance or None, default=None
        Controls the draws, which are independent of those of training. If None, a new
        random generator is created for each fit. NumPy's global generator is not used.

    Attributes
    ----------
    history_ : dict of lists
        Lists with one entry for each evaluation of the last `fit`. "epoch" is counted from
        1, with fractions after rounds, as in the `history_` of the estimator.
        "log_likelihood" is the mean in nats, and "lower" and "upper" are its bounds from
        three standard errors of the log partition function. "free_energy_gap" is the gap of
        `X`, as in the `history_` of the estimator. A gap that grows while the
        log-likelihood falls indicates overfitting.

    Notes
    -----
    The log-likelihood is exact for models with up to 20 hidden or visible units. For other
    models it is estimated by annealed runs that follow the model, see
    :class:`skrbm.likelihood.LogLikelihoodTracker`.

    Fits in other processes, for example those of a search with `n_jobs`, are not recorded.

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
        self._new_tracker()  # raises now if an argument is invalid
        self._fits: dict[int, Any] = {}

    def _new_tracker(self):
        source = self.random_state
        return LogLikelihoodTracker(
            self.X,
            n_betas=self.n_betas,
            n_runs=self.n_runs,
            random_state=np.random.RandomState() if source is None else source,
        )

    def setup(self, estimator: Any, context: Any) -> None:
        """Check that `X` suits the training data, and start a new history."""
        super().setup(estimator, context)
        model = estimator._training.state.model
        rows = check_rows(model, self.X, estimator, name="X of LikelihoodMonitor")
        _check_states(rows, model.visible)
        names = "epoch", "log_likelihood", "lower", "upper", "free_energy_gap"
        history: dict[str, list] = {name: [] for name in names}
        # A search may run several fits at once, each with its own estimator.
        self._fits[id(estimator)] = self._new_tracker(), history
        self.history_ = history

    def on_fit_task_end(
        self,
        estimator: Any,
        context: Any,
        *,
        fitted_estimator: Any,
    ) -> None:
        """Evaluate the current model if an evaluation is due."""
        if not _is_due(estimator, context, self.every):
            return
        training = estimator._training
        tracker, history = self._fits[id(estimator)]
        look = tracker.update(fitted_estimator)
        model = model_of(fitted_estimator)
        gap = free_energy_gap(
            model,
            check_rows(model, self.X, fitted_estimator),
            training.data,
            binarize=training.record.binarize,
        )
        entries = training.epochs_done, look.value, look.lower, look.upper, gap
        for entered, entry in zip(history.values(), entries, strict=True):
            entered.append(entry)

    def teardown(self, estimator: Any, context: Any) -> None:
        """Discard the annealed runs."""
        self._fits.pop(id(estimator), None)  # missing if setup failed


class TrajectoryLadder(_FitCallback):
    """Ladder of the models that a training passes through.

    Use it for a model of binary data whose modes are far apart, so that its chains do not
    mix. Pass the ladder to :func:`skrbm.sampling.draw_chains` and
    :func:`skrbm.likelihood.log_partition`. It works well after slow training with many
    Gibbs steps.

    Parameters
    ----------
    acceptance : float, default=0.25
        Acceptance probability of swaps between neighboring rungs, between 0 and 1. Higher
        values give more rungs.

    n_chains : int, default=100
        Number of chains that follow the training. They make ten Gibbs steps per epoch or
        round. Reduce it if this takes too much of the time.

    random_state : int, RandomState instance or None, default=None
        Controls the draws, which are independent of those of training. If None, a new
        random generator is created for each fit. NumPy's global generator is not used.

    Attributes
    ----------
    ladder_ : ModelLadder
        The ladder of the last `fit`, in float32. It begins with independent features that
        have the means of the data, and ends with the fitted model.

    Notes
    -----
    If the modes of a model are far apart, its chains still mixed early in its training. In
    parallel tempering, chains swap states with chains of the same model at higher
    temperatures. Here, they swap states with chains of the earlier models [1]_. This works
    well only if the earlier models divide their probability among the modes as the fitted
    model does.

    During training, a model is kept after an epoch or round if swaps with the last model
    kept have become rare. Straight lines connect independent features, all models kept and
    the fitted model. At the end, rungs are placed on these lines so that all neighbors swap
    equally often. With early stopping, only models that were the best so far count.

    A warm start from the last rung continues the ladder. If a training began from another
    model, or is resumed from a checkpoint, the first rungs lead to its first model on a
    straight line. Fits in other processes, for example those of a search with `n_jobs`, are
    not recorded.

    References
    ----------
    .. [1] Bereux, N., Decelle, A., Furtlehner, C., Rosset, L. and Seoane, B. (2025). Fast
       training and sampling of restricted Boltzmann machines. ICLR 2025.

    Examples
    --------
    ::

        trajectory = TrajectoryLadder()
        rbm = BernoulliRBMEstimator().set_callbacks(trajectory).fit(X)
        rbm.sample(10, ladder=trajectory.ladder_)
        rbm.log_partition(method="both", ladder=trajectory.ladder_)
    """

    ladder_: ModelLadder

    def __init__(
        self,
        *,
        acceptance: float = 0.25,
        n_chains: int = 100,
        random_state: RandomStateLike = None,
    ) -> None:
        limits = {"min_val": 0, "max_val": 1, "include_boundaries": "neither"}
        self.acceptance = check_scalar(acceptance, "acceptance", Real, **limits)
        self.n_chains = check_integer(n_chains, "n_chains", 1)
        self.random_state = random_state
        self._fits: dict[int, Trajectory] = {}

    def setup(self, estimator: Any, context: Any) -> None:
        """Check that visible units are binary, and continue the ladder of a warm start."""
        super().setup(estimator, context)
        if not estimator._units.has_ladders:
            raise TypeError(
                "TrajectoryLadder only supports binary visible units, but was set on a "
                f"{type(estimator).__name__}."
            )
        self._fits.pop(id(estimator), None)
        warm = estimator.warm_start and hasattr(estimator, "components_")
        if warm and hasattr(self, "ladder_"):
            with contextlib.suppress(ValueError):  # the ladder of another model
                models = check_ladder(self.ladder_, model_of(estimator)).models
                self._fits[id(estimator)] = self._new_trajectory(models)

    def _new_trajectory(self, models):
        source = self.random_state
        source = np.random.RandomState() if source is None else check_random_state(source)
        rng = new_generator(source)
        return Trajectory(models, self.acceptance, rng, self.n_chains)

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Keep a model, or make the ladder at the end of the fit."""
        ends = context.task_name != "epoch"
        if ends:
            model, mean = model_of(estimator), estimator.visible_mean_
        else:  # with early stopping, the best state so far
            state = estimator._training.kept
            model, mean = state.result, state.visible_mean
        model = model.map(lambda a: np.array(a, dtype=np.float32, order="C"))
        trajectory = self._fits.get(id(estimator))
        if trajectory is None:
            base = model.visible.independent(mean, np.float32)
            trajectory = self._new_trajectory([independent(model, base)])
            self._fits[id(estimator)] = trajectory
        if ends:
            self.ladder_ = trajectory.ladder(model)
        else:
            trajectory.add(model)

    def teardown(self, estimator: Any, context: Any) -> None:
        """Discard the models kept."""
        self._fits.pop(id(estimator), None)  # missing if setup failed


class Checkpoint(_FitCallback):
    """Checkpoints of a training, so that it can be resumed after a crash.

    Use it for fits that take hours, and continue them with :func:`resume`. The result
    is bitwise the same model as without an interruption.

    Parameters
    ----------
    path : str or path-like
        File to write, in an existing directory. It holds a single training. The file
        contains a pickle, so load only files that you trust.

    every : int, default=1
        Number of epochs between checkpoints, or of rounds of a meta-estimator. Increase it
        if writing takes too much of the time. The last of `n_iter` epochs is always saved.

    Notes
    -----
    All state that changes during training is saved, including the random generator.

    The file is replaced atomically. If the process is killed, either the new or the
    previous checkpoint remains. A file whose name ends in ".part" may be left next to it,
    and you can delete this file. If a checkpoint cannot be written, for example because the
    disk is full, training continues with a warning.

    A new file is readable only by its owner. An existing file keeps its permissions. If
    several fits write to the same file, as in a search, the last one to write is kept.

    Examples
    --------
    ::

        rbm = BernoulliRBMEstimator(n_iter=500).set_callbacks(Checkpoint("rbm.ckpt"))
        rbm.fit(X)

        rbm = resume("rbm.ckpt", X)  # after a crash, in another process
    """

    def __init__(self, path: str | os.PathLike, *, every: int = 1) -> None:
        # Resolved now because the working directory may change during fit.
        self.path = pathlib.Path(path).expanduser().resolve()
        self.every = check_integer(every, "every", 1)

    def setup(self, estimator: Any, context: Any) -> None:
        """Check that the file can be written."""
        super().setup(estimator, context)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"Checkpoint cannot write {self.path}: there is no directory "
                f"{self.path.parent}. Create it first."
            )
        if self.path.is_dir():
            raise IsADirectoryError(
                f"Checkpoint cannot write {self.path}: it is a directory. Pass a file name."
            )
        with self._temporary():
            pass  # raises now if the directory is not writable

    @contextlib.contextmanager
    def _temporary(self):
        """Create a temporary file next to the one to write, and remove it at the end."""
        handle, name = tempfile.mkstemp(
            prefix=f"{self.path.name}.", suffix=".part", dir=self.path.parent
        )
        os.close(handle)
        try:
            yield name
        finally:
            pathlib.Path(name).unlink(missing_ok=True)

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Save the training if it is due."""
        if not _is_due(estimator, context, self.every):
            return
        try:
            self._write(SavedTraining.of(estimator))
        except OSError as error:
            warnings.warn(
                f"Checkpoint could not write {self.path}: {error.strerror or error}. The "
                "training goes on. An earlier checkpoint in this file, if any, is kept."
            )

    def _write(self, saved):
        """Replace the file atomically by a file with `saved`."""
        with self._temporary() as temporary:
            with open(temporary, "w+b") as file:
                saved.dump(file)
                file.flush()
                os.fsync(file.fileno())
            if self.path.exists():
                shutil.copymode(self.path, temporary)
            os.replace(temporary, self.path)
        if hasattr(os, "O_DIRECTORY"):  # make the rename survive a power failure
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


# A checkpoint file consists of this header, a hash and a pickle. The hash is that of the
# pickle. Raise the number if `SavedTraining` or anything in it changes.
_KIND = b"skrbm checkpoint "
_HEADER = _KIND + b"1\n"
_HASH_SIZE = 32
_START = len(_HEADER) + _HASH_SIZE


def _hash(file):
    """Return the hash of the pickle in a checkpoint file."""
    file.seek(_START)
    return hashlib.file_digest(file, "sha256").digest()


class SavedTraining(NamedTuple):
    """Content of a checkpoint file: the parameters and the state of the training."""

    estimator: BaseRBM
    training: Training

    @classmethod
    def of(cls, rbm):
        """Return the parts of an estimator and its training that are saved."""
        settings = clone(rbm)
        settings.set_callbacks()
        for name in (*rbm._of_columns, "random_state_", "_split_seed"):
            if hasattr(rbm, name):
                setattr(settings, name, getattr(rbm, name))
        return cls(settings, rbm._training)

    def dump(self, file):
        """Write a checkpoint file. The header comes last, when the rest is complete."""
        file.seek(_START)
        pickle.dump(self, file, protocol=pickle.HIGHEST_PROTOCOL)
        header = _HEADER + _hash(file)
        file.seek(0)
        file.write(header)

    @staticmethod
    def load(path):
        """Return the content of a checkpoint file. A damaged file is not unpickled."""
        with open(path, "rb") as file:
            header, expected = file.read(len(_HEADER)), file.read(_HASH_SIZE)
            if not header.startswith(_KIND):
                raise ValueError(
                    f"{path} was not written by skrbm.callbacks.Checkpoint. If it is a "
                    "saved estimator, load it with what it was saved with."
                )
            other_version = (
                f"{path} was written by another version of skrbm or of its dependencies. "
                "Resume it with the versions that wrote it."
            )
            if header != _HEADER:
                raise ValueError(other_version)
            if _hash(file) != expected:
                raise ValueError(
                    f"{path} is damaged: it does not have the content that was written. "
                    "Resume from a copy of it, or train again."
                )
            file.seek(_START)
            try:
                return pickle.load(file)
            except (OSError, MemoryError):
                raise
            except Exception as error:  # the pickle needs what this version lacks
                raise ValueError(other_version) from error


def resume(
    path: str | os.PathLike,
    X: MatrixLike,
    y: Any = None,
    *,
    sample_weight: ArrayLike | None = None,
    callbacks: Sequence[Any] = (),
) -> BaseRBM:
    """Resume a training that was saved by :class:`Checkpoint`.

    The file is unpickled, and this can run arbitrary code. Only resume from files that you
    trust.

    Parameters
    ----------
    path : str or path-like
        File written by :class:`Checkpoint`.

    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Training data. It must be the same as before.

    y : array-like of shape (n_samples,), default=None
        Labels to pass to the callbacks. The estimator does not use them.

    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows. They must be the same as before.

    callbacks : sequence of callbacks, default=()
        Callbacks for the rest of the training, for example :class:`Checkpoint`.

    Returns
    -------
    rbm : estimator
        The fitted estimator.

    Raises
    ------
    ValueError
        If `X` or `sample_weight` is not the same as before. The shape of `X`, all weights
        and some of the rows are compared. Also if the file was not written by
        :class:`Checkpoint`, was written by another version, or is damaged.
    """
    saved = SavedTraining.load(path)
    if isinstance(saved.training, RoundsTraining):
        raise ValueError(
            f"{path} was written by the fit of a meta-estimator. Resume it with the method "
            "resume of ParallelRBM or DaskRBM."
        )
    if callbacks:
        saved.estimator.set_callbacks(*callbacks)
    return saved.estimator._run(
        Fit(saved.estimator, X, y, sample_weight, saved=saved.training)
    )
