"""scikit-learn's callbacks, where available, and the callbacks of this package."""

import errno
import os
import pickle
import re
import shutil
import signal
import stat
import subprocess
import sys
import warnings
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skrbm import BernoulliRBMEstimator, ParallelRBM, _training
from skrbm._annealing import TemperedChains
from skrbm._data import DataSet
from skrbm._fitting import Fit
from skrbm._ladders import ModelPath, models_of
from skrbm._units.bernoulli import BernoulliUnits
from skrbm.callbacks import (
    Checkpoint,
    LikelihoodMonitor,
    SavedTraining,
    TrajectoryLadder,
    resume,
)
from skrbm.likelihood import LogLikelihoodTracker, mean_log_likelihood
from skrbm.metrics import pseudo_likelihood_scorer

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")

X, y = load_digits(return_X_y=True)
X, y = (X[:200] > 7).astype(float), y[:200]


def make(**parameters):
    defaults = {"n_components": 8, "n_iter": 5, "random_state": 0}
    return BernoulliRBMEstimator(**defaults | parameters)


class Spy:
    """Callback that records its calls and requests a stop or fails after a given epoch."""

    def __init__(self, stop_after=None, fail_after=None):
        self.events, self.snapshots = [], []
        self.stop_after, self.fail_after = stop_after, fail_after

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name} {context.task_id}")

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.events.append(f"end {context.task_name} {context.task_id}")
        self.snapshots.append(fitted_estimator)
        if context.task_name == "epoch":
            if context.task_id == self.fail_after:
                raise OSError("disk full")
            return context.task_id == self.stop_after


@pytest.mark.parametrize("given", [print, Spy, [Spy()]])
def test_what_is_no_callback(given):
    expected = f"methods setup, .* and teardown, but one is {re.escape(repr(given))}.*guide"
    with pytest.raises(TypeError, match=expected):
        make().set_callbacks(Spy(), given)


def test_events_and_snapshots():
    spy = Spy()
    rbm = make().set_callbacks(spy).fit(X)
    epochs = [f"{what} epoch {i}" for i in range(5) for what in ("begin", "end")]
    assert spy.events == ["setup", "begin fit 0", *epochs, "end fit 0", "teardown"]
    scores = [snapshot.score(X) for snapshot in spy.snapshots]
    assert len(set(scores[:5])) == 5
    assert scores[5] == rbm.score(X)
    for name in ("components_", "intercept_visible_", "h_samples_", "visible_mean_"):
        arrays = [getattr(snapshot, name) for snapshot in spy.snapshots]
        assert not any(np.shares_memory(a, getattr(rbm, name)) for a in arrays)
    assert [snapshot.n_iter_ for snapshot in spy.snapshots] == [1, 2, 3, 4, 5, 5]
    assert not hasattr(rbm, "_callback_fit_ctx")


@pytest.mark.parametrize("when", [2, -1])
@pytest.mark.parametrize("before", [False, True])
def test_training_goes_on_from_a_snapshot(before, when):
    spy = Spy()
    rbm = make(schedule="constant")
    if before:  # nothing of this fit may be left in the snapshots
        rbm.set_params(early_stopping=True).fit(1 - X).set_params(early_stopping=False)
    rbm.set_callbacks(spy).fit(X)
    snapshot = spy.snapshots[when].set_callbacks()
    snapshot.sample(3)  # uses its own generator
    assert_array_equal(rbm.sample(3), make(schedule="constant").fit(X).sample(3))
    plain = make(n_iter=snapshot.n_iter_, schedule="constant").fit(X)
    name = "pseudo_log_likelihood"
    assert snapshot.history_[name] == plain.history_[name]
    assert not hasattr(snapshot, "validation_scores_")
    for model in (snapshot, plain):
        model.partial_fit(X[:50])
    assert_array_equal(snapshot.components_, plain.components_)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_watched_and_unwatched_fits_are_the_same(early_stopping):
    plain = make(early_stopping=early_stopping).fit(X)
    scoring = {"pl": lambda rbm, X, y: rbm.score(X)}
    watched = clone(plain).set_callbacks(Spy(), callback.ScoringMonitor(scoring=scoring))
    watched.fit(X)
    for name in ("components_", "intercept_visible_", "intercept_hidden_", "h_samples_"):
        assert_array_equal(getattr(plain, name), getattr(watched, name))
    assert_array_equal(plain.sample(3), watched.sample(3))


def test_a_request_to_stop_is_honoured():
    spy = Spy(stop_after=2)
    rbm = make(n_iter=50, schedule="constant").set_callbacks(spy).fit(X)
    assert rbm.n_iter_ == len(rbm.history_["seconds"]) == 3
    assert spy.events[-2:] == ["end fit 0", "teardown"]
    three = make(n_iter=3, schedule="constant").fit(X)
    assert_array_equal(rbm.components_, three.components_)


def test_a_callback_that_fails_leaves_the_estimator_as_it_was():
    spy = Spy(fail_after=1)
    rbm = make().fit(X)
    before = rbm.components_.copy()
    with pytest.raises(OSError, match="disk full"):
        rbm.set_callbacks(spy).fit(X)
    assert spy.events[-1] == "teardown"
    assert_array_equal(rbm.components_, before)
    assert not hasattr(rbm, "_callback_fit_ctx")
    rbm.set_callbacks().fit(X)
    assert_array_equal(rbm.components_, before)


def test_an_interruption_of_the_last_callback_loses_nothing():
    class Interrupt(Spy):
        def on_fit_task_end(self, estimator, context):
            if context.task_name == "fit":
                raise KeyboardInterrupt

    rbm = make().set_callbacks(Interrupt())
    with pytest.warns(UserWarning, match="interrupted by the user after 5 of 5 epochs"):
        rbm.fit(X)
    assert_array_equal(rbm.components_, make().fit(X).components_)
    assert not hasattr(rbm, "_callback_fit_ctx")


@pytest.mark.parametrize("labels", [None, y])
def test_scoring_monitor(labels):
    monitor = callback.ScoringMonitor(scoring={"pl": lambda rbm, X, y: rbm.score(X)})
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    rbm = make().set_callbacks(monitor).fit(frame, labels)
    log = monitor.get_logs().data
    epochs = [entry["pl"] for entry in log if entry["task_name"] == "epoch"]
    assert len(set(epochs)) == 5
    assert [entry["pl"] for entry in log if entry["task_name"] == "fit"] == [epochs[-1]]
    assert epochs[-1] == rbm.score(frame)


@pytest.mark.parametrize("weights", [None, np.arange(200)])
def test_scoring_monitor_with_the_scorers_of_the_package(weights):
    monitor = callback.ScoringMonitor(scoring={"pl": pseudo_likelihood_scorer})
    rbm = make().set_callbacks(monitor).fit(X, sample_weight=weights)
    scores = [entry["pl"] for entry in monitor.get_logs().data]
    assert scores[-1] == rbm.score(X, sample_weight=weights)


PIPELINE = Pipeline([("rbm", make()), ("clf", LogisticRegression(max_iter=1000))])


@pytest.mark.parametrize(
    "estimator", [make(), PIPELINE, GridSearchCV(make(), {"n_iter": [1, 2]}, cv=2)]
)
def test_progress_bar_of_an_rbm_a_pipeline_and_a_search(estimator, capsys):
    clone(estimator).set_callbacks(callback.ProgressBar()).fit(X, y)
    assert "BernoulliRBMEstimator" in capsys.readouterr().out


@pytest.mark.slow
def test_monitors_of_a_search_in_processes():
    monitor = callback.ScoringMonitor(scoring={"pl": lambda rbm, X, y: rbm.score(X)})
    rbm = make().set_callbacks(monitor)
    search = GridSearchCV(rbm, {"n_iter": [2, 3]}, cv=2, n_jobs=2, refit=False)
    search.fit(X)
    log = monitor.get_logs().data
    scores = [entry["pl"] for entry in log if entry["task_name"] == "epoch"]
    assert len(scores) == 2 * 2 + 2 * 3
    assert np.isfinite(scores).all()


# Own callbacks --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("n_components", [8, 22])
def test_likelihood_monitor(n_components):
    monitor = LikelihoodMonitor(X[150:], every=2, random_state=0)
    rbm = make(n_components=n_components, n_iter=6).set_callbacks(monitor).fit(X[:150])
    history = monitor.history_
    assert history["epoch"] == [2, 4, 6] == rbm.history_["epoch"][1::2]
    assert all(isinstance(number, int) for number in history["epoch"])
    exact = rbm.log_partition(method="exact")
    mean = mean_log_likelihood(rbm, X[150:], log_partition=exact).value
    assert_allclose(
        history["log_likelihood"][-1], mean, atol=1e-9 if n_components == 8 else 0.5
    )
    assert history["lower"][-1] - 1e-9 <= mean <= history["upper"][-1] + 1e-9
    as_many = np.linspace(0, 149, 50).astype(int)
    gap = rbm.free_energy(X[150:]).mean() - rbm.free_energy(X[as_many]).mean()
    assert_allclose(history["free_energy_gap"][-1], gap)
    rbm.fit(X[:150])
    assert history is not monitor.history_
    assert monitor.history_["epoch"] == [2, 4, 6]
    rbm.set_params(n_iter=5).fit(X[:150])
    assert monitor.history_["epoch"] == [2, 4, 5]


def test_likelihood_monitor_is_that_of_the_likelihood_module():
    settings = {"n_betas": 7, "n_runs": 9, "random_state": 3}
    spy, monitor = Spy(), LikelihoodMonitor(X[150:], **settings)
    make(n_components=22).set_callbacks(spy, monitor).fit(X[:150])
    theirs = LogLikelihoodTracker(X[150:], **settings)
    looks = [theirs.update(snapshot) for snapshot in spy.snapshots[:5]]
    for name, attribute in [("log_likelihood", "value"), ("lower",) * 2, ("upper",) * 2]:
        assert monitor.history_[name] == [getattr(look, attribute) for look in looks]
    assert monitor.history_["lower"] < monitor.history_["upper"]


def test_likelihood_monitor_counts_epochs_of_a_training_in_rounds():
    monitor = LikelihoodMonitor(X[150:], every=2, random_state=0)
    rbm = make(n_iter=2).set_callbacks(monitor)
    parallel = ParallelRBM(rbm, n_shards=2, n_local_steps=1).fit(X[:150])
    rounds = parallel.estimator_.history_["epoch"]
    assert len(rounds) > 2
    assert monitor.history_["epoch"] == rounds[1::2]
    assert monitor.history_["epoch"][-1] == 2


def test_likelihood_monitor_draws_from_no_source_of_the_training():
    components = []
    for callbacks in ([], [LikelihoodMonitor(X)]):
        np.random.seed(0)  # noqa: NPY002, this tests the global generator
        rbm = make(n_components=22, n_iter=1, random_state=None).set_callbacks(*callbacks)
        components += [rbm.fit(X).components_, rbm.fit(X).components_]
    assert_array_equal(components[:2], components[2:])
    assert (components[0] != components[1]).any()


def test_the_gap_is_one_of_rows_that_are_trained_on():
    weights = np.random.default_rng(0).exponential(size=200)
    weights[[0, 70, 199]] = 0
    monitor = LikelihoodMonitor(X[:130])
    rbm = make(early_stopping=True, validation_fraction=0.5).set_callbacks(monitor)
    rbm.fit(X, sample_weight=1e300 * weights)
    best = np.argmax(rbm.validation_scores_)
    trained_on = Fit(rbm, X)._hold_out(DataSet(X).weigh(weights))[0].rows
    assert len(trained_on) == 98
    mean = np.average(rbm.free_energy(X[trained_on]), weights=weights[trained_on])
    gap = monitor.history_["free_energy_gap"][best]
    assert_allclose(gap, rbm.free_energy(X[:130]).mean() - mean)


@pytest.mark.parametrize(
    "form", [np.asarray, np.asfortranarray, sp.csr_array, sp.csc_array, pd.DataFrame]
)
@pytest.mark.parametrize("binarization", [True, False])
def test_the_gap_is_one_of_rows_as_training_sees_them(form, binarization):
    gray = load_digits().data[:400] / 16
    binary = (np.random.default_rng(0).random(gray.shape) < gray).astype(float)
    train, judged = form(gray), binary[:200]
    if form is pd.DataFrame:
        train.columns = [f"pixel {i}" for i in range(64)]
        judged = pd.DataFrame(judged, columns=train.columns)
    monitor = LikelihoodMonitor(judged, every=20, random_state=0)
    rbm = make(n_components=64, n_iter=20, stochastic_binarization=binarization)
    weights = np.random.default_rng(1).permutation([1.0, 2.0] * 200)
    rbm.set_callbacks(monitor).fit(train, sample_weight=weights)
    (gap,) = monitor.history_["free_energy_gap"]
    some = np.linspace(0, 399, 200).astype(int)
    trained_on = np.average(rbm.free_energy(train)[some], weights=weights[some])
    as_they_are = rbm.free_energy(judged).mean() - trained_on
    if binarization:
        assert abs(gap) < 0.5 < 0.8 < abs(as_they_are)
    else:
        assert_allclose(gap, as_they_are)


def test_callbacks_of_fits_at_once(tmp_path):
    """Fits of a search in threads share their callbacks."""
    monitor = LikelihoodMonitor(X[150:], random_state=0)
    rbm = make().set_callbacks(monitor, Checkpoint(tmp_path / "rbm.ckpt"))
    grid = {"learning_rate": [0.1, 0.2, 0.3, 0.4]}
    with joblib.parallel_config("threading", n_jobs=4):
        search = GridSearchCV(rbm, grid, cv=2, error_score="raise").fit(X[:150])
    assert monitor.history_["epoch"] == [1, 2, 3, 4, 5]
    assert monitor._fits == {}
    assert [path.name for path in tmp_path.iterdir()] == ["rbm.ckpt"]
    again = resume(tmp_path / "rbm.ckpt", X[:150])
    assert_array_equal(again.components_, search.best_estimator_.components_)


def test_fits_that_begin_at_once_have_histories_of_their_own(monkeypatch):
    monitor, one, two = LikelihoodMonitor(X), *(make(n_iter=1).fit(X) for _ in range(2))
    for rbm in (one, two):
        rbm._training = SimpleNamespace(state=rbm._learning)
    new_tracker = monitor._new_tracker

    def slow():
        monkeypatch.undo()
        monitor.setup(two, None)
        return new_tracker()

    monkeypatch.setattr(monitor, "_new_tracker", slow)
    monitor.setup(one, None)
    histories = [monitor._fits[id(rbm)][1] for rbm in (one, two)]
    assert histories[0] is not histories[1]


def assert_ends_with(ladder, rbm):
    """Assert that a ladder goes from independent features to the fitted model."""
    assert len(ladder) > 1
    assert not ladder.components[0].any()
    mean = 1 / (1 + np.exp(-ladder.intercept_visible[0].astype(np.float64)))
    assert_allclose(mean, rbm.visible_mean_.clip(1e-3, 1 - 1e-3), rtol=1e-5)
    for name in ("components", "intercept_visible", "intercept_hidden"):
        fitted = getattr(rbm, f"{name}_").astype(np.float32)
        assert_array_equal(getattr(ladder, name)[-1], fitted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"solver": "cd", "averaging": False},
        {"n_iter": 20, "early_stopping": True, "learning_rate": 1.0},
    ],
)
def test_a_ladder_does_not_change_the_training(parameters, dtype):
    plain = make(**parameters).fit(X.astype(dtype))
    trajectory = TrajectoryLadder(random_state=0)
    rbm = make(**parameters).set_callbacks(trajectory).fit(X.astype(dtype))
    for name in ("components_", "intercept_visible_", "intercept_hidden_", "h_samples_"):
        assert_array_equal(getattr(plain, name), getattr(rbm, name))
    assert_array_equal(plain.sample(3), rbm.sample(3))
    assert_ends_with(trajectory.ladder_, rbm)
    assert trajectory._fits == {}
    exact = rbm.log_partition()
    result = rbm.log_partition(method="both", betas=1000, ladder=trajectory.ladder_)
    assert abs(result.value - exact.value) < 0.5


def test_a_ladder_draws_from_no_source_of_the_training():
    components = []
    for callbacks in ([], [TrajectoryLadder()]):
        np.random.seed(0)  # noqa: NPY002, this tests the global generator
        rbm = make(n_iter=1, random_state=None).set_callbacks(*callbacks)
        components += [rbm.fit(X).components_, rbm.fit(X).components_]
    assert_array_equal(components[:2], components[2:])


@pytest.mark.slow
def test_the_seed_of_a_ladder():
    trajectories = [TrajectoryLadder(random_state=seed) for seed in (0, 0, 1)]
    make(n_components=40, n_iter=50).set_callbacks(*trajectories).fit(X)
    one, two, other = (trajectory.ladder_.components for trajectory in trajectories)
    assert_array_equal(one, two)
    assert one.shape != other.shape or (one != other).any()


@pytest.mark.slow
@pytest.mark.parametrize("acceptance", [0.25, 0.6])
def test_rungs_of_a_training_swap_as_often_as_asked(acceptance):
    trajectory = TrajectoryLadder(acceptance=acceptance, random_state=0)
    rbm = make(n_components=40, n_iter=200).set_callbacks(trajectory).fit(X)
    path = ModelPath(models_of(trajectory.ladder_, BernoulliUnits))
    rng = np.random.Generator(np.random.SFC64(0))
    betas = np.linspace(0, 1, path.n_rungs)
    tempered = TemperedChains(path, betas, rbm.h_samples_[:50], rng)
    accept = np.mean([tempered.step() for _ in range(400)][200:], axis=(0, 2))
    assert abs(accept.mean() - acceptance) < 0.15
    assert np.ptp(accept) < 0.3


@pytest.mark.slow
def test_a_ladder_goes_on_in_a_warm_start(monkeypatch):
    trajectory, begun = TrajectoryLadder(random_state=0), []
    new_trajectory = trajectory._new_trajectory

    def spying(models):
        begun.append(len(models))
        return new_trajectory(models)

    monkeypatch.setattr(trajectory, "_new_trajectory", spying)
    rbm = make(n_components=40, n_iter=50, warm_start=True).set_callbacks(trajectory)
    rbm.fit(X)
    n_rungs = len(trajectory.ladder_)
    rbm.fit(X)
    assert_ends_with(trajectory.ladder_, rbm)
    rbm.partial_fit(X).fit(X)  # the ladder does not end where this training begins
    assert_ends_with(trajectory.ladder_, rbm)
    rbm.set_params(warm_start=False).fit(X)
    assert begun == [1, n_rungs, 1, 1]
    assert n_rungs > 2


def test_ladders_of_trainings_that_end_early(tmp_path):
    trajectory = TrajectoryLadder(random_state=0)
    rbm = make(n_iter=50).set_callbacks(Spy(stop_after=2), trajectory).fit(X)
    assert_ends_with(trajectory.ladder_, rbm)
    cut = make().set_callbacks(Checkpoint(tmp_path / "rbm.ckpt"), Spy(fail_after=2))
    with pytest.raises(OSError, match="disk full"):
        cut.fit(X)
    rbm = resume(tmp_path / "rbm.ckpt", X, callbacks=[trajectory])
    assert_ends_with(trajectory.ladder_, rbm)
    assert_array_equal(rbm.components_, make().fit(X).components_)


def test_a_ladder_is_saved_with_the_estimator():
    rbm = make().set_callbacks(TrajectoryLadder()).fit(X)
    (trajectory,) = pickle.loads(pickle.dumps(rbm))._skl_callbacks
    assert_ends_with(trajectory.ladder_, rbm)


def test_errors_of_ladders():
    for acceptance in (0.0, 1.0, 2):
        with pytest.raises(ValueError, match="acceptance"):
            TrajectoryLadder(acceptance=acceptance)
    with pytest.raises(ValueError, match="n_chains"):
        TrajectoryLadder(n_chains=0)


CONFIGURATIONS = [
    {},
    {"solver": "cd", "momentum": 0.5},
    {"solver": "pt", "n_chains": 7},
    {"early_stopping": True, "validation_fraction": 0.3},
    {"early_stopping": True, "n_iter_no_change": 1, "tol": 5.0},
    {"averaging": False, "centering": False, "n_chains": 7},
    {  # the best epoch comes before the checkpoint
        "early_stopping": True,
        "n_iter_no_change": 7,
        "learning_rate": 1.0,
        "schedule": "constant",
        "momentum": 0.9,
        "averaging": False,
    },
]


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, lambda X: X.astype(bool)])
@pytest.mark.parametrize("parameters", CONFIGURATIONS)
def test_a_resumed_training_ends_with_the_same_bits(parameters, form, tmp_path):
    data = form(X)
    whole = make(n_iter=9, **parameters).fit(data)
    checkpoint = Checkpoint(tmp_path / "rbm.ckpt", every=2)
    cut = make(n_iter=9, **parameters).set_callbacks(Spy(fail_after=4), checkpoint)
    if whole.n_iter_ > 4:
        with pytest.raises(OSError, match="disk full"):
            cut.fit(data)
    else:
        cut.fit(data)
    spy = Spy()
    done = SavedTraining.load(tmp_path / "rbm.ckpt").training.n_done
    assert 0 < done < whole.n_iter_
    rbm = resume(tmp_path / "rbm.ckpt", data, callbacks=[spy])
    epochs = [event for event in spy.events if event.startswith("end epoch")]
    assert len(epochs) == whole.n_iter_ - done
    assert rbm.n_iter_ == whole.n_iter_
    for name in ("components_", "intercept_visible_", "intercept_hidden_", "h_samples_"):
        assert_array_equal(getattr(rbm, name), getattr(whole, name))
    for name in ("learning_rate", "pseudo_log_likelihood"):
        assert rbm.history_[name] == whole.history_[name]
    assert getattr(rbm, "validation_scores_", 0) == getattr(whole, "validation_scores_", 0)
    assert_array_equal(rbm.sample(4), whole.sample(4))
    after = [estimator.partial_fit(data).components_ for estimator in (rbm, whole)]
    assert_array_equal(*after)
    assert "_training" not in vars(rbm)


@pytest.mark.slow
# Minibatches of one row are noisy. What counts is that both trainings end alike.
@pytest.mark.filterwarnings("ignore:The model has modes in wrong proportions")
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_resumed_training_has_the_same_verdict(early_stopping, tmp_path):
    """The gap between estimates of log Z needs 5000 updates, before and after the cut."""
    given = {"batch_size": 1, "n_iter": 40, "n_iter_no_change": 99}
    rbm = make(**given, early_stopping=early_stopping)
    whole = clone(rbm).fit(X)
    checkpoint = Checkpoint(tmp_path / "rbm.ckpt")
    with pytest.raises(OSError, match="disk full"):
        rbm.set_callbacks(Spy(fail_after=30), checkpoint).fit(X)
    assert resume(tmp_path / "rbm.ckpt", X).log_partition_gap_ == whole.log_partition_gap_


KILLED = """
import os, signal, sys
import numpy as np
from skrbm import BernoulliRBMEstimator
from skrbm._data import DataSet
from skrbm.callbacks import Checkpoint

class Kill:
    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...
    def on_fit_task_begin(self, estimator, context):
        if context.task_name == "epoch" and context.task_id == 6:
            os.kill(os.getpid(), signal.SIGKILL)
    def on_fit_task_end(self, estimator, context): ...

X = np.load(sys.argv[1])
rbm = BernoulliRBMEstimator(8, n_iter=9, random_state=0)
rbm.set_callbacks(Checkpoint(sys.argv[2]), Kill()).fit(X)
"""


@pytest.mark.slow
def test_a_killed_process(tmp_path):
    np.save(tmp_path / "X.npy", X)
    path = tmp_path / "rbm.ckpt"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "X.npy"), str(path)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert [file.name for file in tmp_path.iterdir()] == ["X.npy", "rbm.ckpt"]
    rbm = resume(path, X)
    assert_array_equal(rbm.components_, make(n_iter=9).fit(X).components_)


def test_a_full_disk_loses_neither_the_model_nor_the_previous_checkpoint(
    tmp_path, monkeypatch
):
    """A write that fails midway leaves the previous file unchanged; training goes on."""
    path = tmp_path / "rbm.ckpt"
    dump = pickle.dump

    def failing(value, file, **options):
        dump(value, file, **options)
        if value.training.n_done >= 3:
            file.truncate(100)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pickle, "dump", failing)
    rbm = make().set_callbacks(Checkpoint(path))
    with pytest.warns(UserWarning, match=r"rbm\.ckpt: No space left.* goes on") as caught:
        rbm.fit(X)
    monkeypatch.undo()
    assert len(caught) == 3  # of the same text, which Python shows once
    assert len({str(warning.message) for warning in caught}) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["rbm.ckpt"]
    assert SavedTraining.load(path).training.n_done == 2
    for whole in (rbm, resume(path, X)):
        assert_array_equal(whole.components_, make().fit(X).components_)


def test_a_folder_that_is_gone_does_not_end_the_training(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()

    class Remove(Spy):
        def on_fit_task_begin(self, estimator, context):
            shutil.rmtree(folder, ignore_errors=True)

    rbm = make().set_callbacks(Checkpoint(folder / "rbm.ckpt"), Remove())
    with pytest.warns(UserWarning, match=r"rbm\.ckpt: No such file or directory"):
        rbm.fit(X)
    assert_array_equal(rbm.components_, make().fit(X).components_)


def test_the_file_of_a_checkpoint_is_replaced_at_once(tmp_path, monkeypatch):
    path = tmp_path / "rbm.ckpt"
    steps, fsync, replace = [], os.fsync, os.replace

    def replacing(new, old):
        steps.append("replace")
        number = steps.count("replace")
        assert SavedTraining.load(new).training.n_done == number
        if number > 1:
            assert SavedTraining.load(old).training.n_done == number - 1
        replace(new, old)

    def syncing(file):
        steps.append("fsync folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "fsync")
        fsync(file)

    monkeypatch.setattr(os, "replace", replacing)
    monkeypatch.setattr(os, "fsync", syncing)
    make(n_iter=3).set_callbacks(Checkpoint(path)).fit(X)
    assert steps == ["fsync", "replace", "fsync folder"] * 3
    assert SavedTraining.load(path).training.n_done == 3
    assert [file.name for file in tmp_path.iterdir()] == ["rbm.ckpt"]


@pytest.mark.skipif(os.name != "posix", reason="no permissions of this kind")
def test_a_checkpoint_keeps_the_permissions_of_its_file(tmp_path, monkeypatch):
    new, old = tmp_path / "new.ckpt", tmp_path / "old.ckpt"
    old.touch()
    names, replace = [], os.replace

    def replacing(source, target):
        names.append(source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", replacing)
    for mode in (0o600, 0o664):
        old.chmod(mode)
        make().set_callbacks(Checkpoint(new), Checkpoint(old)).fit(X)
        assert stat.S_IMODE(old.stat().st_mode) == mode
        assert stat.S_IMODE(new.stat().st_mode) == 0o600
    assert len(set(names)) == len(names) == 20  # names must not be predictable


def test_checkpoint_takes_its_path_when_it_is_made(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "rbm.ckpt")
    monkeypatch.chdir(tmp_path)
    checkpoint, through_link = Checkpoint("rbm.ckpt"), Checkpoint("link")
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Checkpoint("~/rbm.ckpt").path == checkpoint.path
    make().set_callbacks(checkpoint, through_link).fit(X)
    assert (tmp_path / "link").is_symlink()
    for path in (tmp_path / "rbm.ckpt", tmp_path / "elsewhere" / "rbm.ckpt"):
        assert resume(path, X).n_iter_ == 5


def test_a_resumed_training_with_weights_labels_and_names(tmp_path):
    path = tmp_path / "rbm.ckpt"
    weights = np.random.default_rng(0).exponential(size=200)
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    whole = make().fit(frame, y, sample_weight=weights)
    cut = make().set_callbacks(Checkpoint(path), Spy(fail_after=2))
    with pytest.raises(OSError, match="disk full"):
        cut.fit(frame, y, sample_weight=weights)

    class Listener(Spy):
        def on_fit_task_end(self, estimator, context, *, y, metadata):
            self.snapshots.append((y, metadata))

    listener = Listener()
    options = {"y": y, "callbacks": [listener]}
    rbm = resume(path, frame, sample_weight=weights, **options)
    assert_array_equal(rbm.components_, whole.components_)
    assert_array_equal(rbm.feature_names_in_, frame.columns)
    assert listener.snapshots[0][0] is y
    assert listener.snapshots[0][1]["sample_weight"] is weights
    with pytest.raises(ValueError, match="feature names should match"):
        resume(path, frame[frame.columns[::-1]], sample_weight=weights)
    for form in (sp.csr_array, np.float32):  # the same rows in another form
        rows = form(frame)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # no feature names
            other = resume(path, rows, sample_weight=weights)
        assert_allclose(other.components_, whole.components_, rtol=1e-9)
    changed = weights.copy()
    changed[17] *= 1.01
    others = [(X, None), (X, changed), (1 - X, weights), (X[::-1], weights)]
    for rows, other_weights in others:
        rows = pd.DataFrame(rows, columns=frame.columns)
        with pytest.raises(ValueError, match="other rows or other weights"):
            resume(path, rows, sample_weight=other_weights)


@pytest.mark.parametrize(
    "content", [b"", b"hello world", b"\x80\x04junk", pickle.dumps(make())]
)
def test_a_file_that_is_no_checkpoint(content, tmp_path):
    path = tmp_path / "rbm.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="was not written by"):
        resume(path, X)
    with pytest.raises(FileNotFoundError):
        resume(tmp_path / "no.ckpt", X)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_refused_before_it_is_unpickled(tmp_path, monkeypatch):
    path = tmp_path / "rbm.ckpt"
    make(n_iter=1).set_callbacks(Checkpoint(path)).fit(X)
    whole = path.read_bytes()
    n_bits = 8 * len(whole)
    monkeypatch.setattr(pickle, "load", pytest.fail)
    for bit in [*range(8 * 80), *range(8 * 80, n_bits, n_bits // 500)]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"is damaged|not written by|another version"):
            resume(path, X)
    for damaged in (whole[:-1], whole[:60], whole[:20], whole + b"0"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged"):
            resume(path, X)


def test_a_checkpoint_of_another_version(tmp_path, monkeypatch):
    path = tmp_path / "rbm.ckpt"
    make().set_callbacks(Checkpoint(path)).fit(X)
    whole = path.read_bytes()
    header, rest = whole.split(b"\n", 1)
    path.write_bytes(header + b"0\n" + rest)
    with pytest.raises(ValueError, match="another version of skrbm"):
        resume(path, X)
    path.write_bytes(whole)
    monkeypatch.delattr(_training, "Training")
    with pytest.raises(ValueError, match="another version of skrbm"):
        resume(path, X)
    monkeypatch.undo()
    assert_array_equal(resume(path, X).components_, make().fit(X).components_)


@pytest.mark.parametrize("estimator", [PIPELINE, GridSearchCV(make(), {"n_iter": [1, 2]})])
def test_callbacks_are_for_rbms(estimator, tmp_path):
    own = Checkpoint(tmp_path / "rbm.ckpt"), LikelihoodMonitor(X), TrajectoryLadder()
    for callbacks in own:
        with pytest.raises(TypeError, match=r"was set on a .*\. Set it on the RBM"):
            clone(estimator).set_callbacks(callbacks).fit(X, y)


def test_the_last_epoch_is_saved_whatever_every_says(tmp_path):
    path = tmp_path / "rbm.ckpt"
    make(n_iter=5).set_callbacks(Checkpoint(path, every=3)).fit(X)
    assert SavedTraining.load(path).training.n_done == 5


def test_errors_of_checkpoints(tmp_path):
    path = tmp_path / "rbm.ckpt"
    make().set_callbacks(Checkpoint(path)).fit(X)
    for rows in (X[:100], X[:, :60]):
        with pytest.raises(ValueError, match=r"features|pass the same rows"):
            resume(path, rows)
    with pytest.raises(FileNotFoundError, match="no directory"):
        make().set_callbacks(Checkpoint(tmp_path / "no" / "rbm.ckpt")).fit(X)
    with pytest.raises(IsADirectoryError, match="it is a directory"):
        make().set_callbacks(Checkpoint(tmp_path)).fit(X)
    with pytest.raises(ValueError, match="every"):
        Checkpoint(path, every=0)


def test_errors_of_likelihood_monitors():
    with pytest.raises(ValueError, match="every"):
        LikelihoodMonitor(X, every=0)
    with pytest.raises(ValueError, match="n_runs"):
        LikelihoodMonitor(X, n_runs=1)
    with pytest.raises(ValueError, match=r"LikelihoodMonitor has 60 features, .* 64"):
        make().set_callbacks(LikelihoodMonitor(X[:, :60])).fit(X)
    frame = pd.DataFrame(X).add_prefix("pixel")
    spy = Spy()
    with pytest.raises(ValueError, match="feature names of X of LikelihoodMonitor should"):
        make().set_callbacks(spy, LikelihoodMonitor(frame.iloc[:, ::-1])).fit(frame)
    assert "begin epoch 0" not in spy.events
    make().set_callbacks(LikelihoodMonitor(X)).fit(frame)  # no warning about feature names
    monitor = LikelihoodMonitor(X)
    monitor.n_runs = 1
    with pytest.raises(ValueError, match="n_runs"):
        make().set_callbacks(monitor).fit(X)
