"""History, early stopping, and the final check of the model."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import (
    BINARY,
    GRAY,
    SOLVER_NAMES,
    assert_same_model,
    bars_and_stripes,
    make_rbm,
    run_training,
    tiny_rbm,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skrbm._data import DataSet
from skrbm._fitting import Fit
from skrbm._record import Record, Validation
from skrbm._training import Training

# History ------------------------------------------------------------------------------


def test_history():
    rbm = make_rbm(n_iter=5).fit(GRAY)
    names = {"epoch", "learning_rate", "pseudo_log_likelihood", "seconds"}
    assert set(rbm.history_) == names
    assert rbm.history_["epoch"] == [1, 2, 3, 4, 5]
    assert all(len(entries) == rbm.n_iter_ == 5 for entries in rbm.history_.values())
    # The record covers all 60 rows and 64 columns, so that it equals the score.
    assert_allclose(rbm.history_["pseudo_log_likelihood"][-1], rbm.score(GRAY))
    assert np.diff(rbm.history_["learning_rate"]).max() < 0


@pytest.mark.parametrize("n_iter", [9, 10, 11, 25, 123])
def test_a_long_history_is_of_some_epochs(n_iter, capsys, monkeypatch):
    monkeypatch.setattr(Record, "LENGTH", 10)
    rbm = make_rbm(n_components=2, n_iter=n_iter, verbose=1).fit(BINARY[:9])
    epochs = rbm.history_["epoch"]
    assert all(len(entries) == len(epochs) for entries in rbm.history_.values())
    assert len(epochs) == min(n_iter, 10)
    assert epochs[-1] == rbm.n_iter_ == n_iter
    assert np.ptp(np.diff([0, *epochs])) <= 1
    assert len(capsys.readouterr().out.splitlines()) == len(epochs)


def test_a_history_always_has_the_last_epoch(monkeypatch):
    add = Training.add

    def interrupting(self, epoch):
        if epoch.number == 18:
            raise KeyboardInterrupt
        add(self, epoch)

    monkeypatch.setattr(Training, "add", interrupting)
    monkeypatch.setattr(Record, "LENGTH", 10)
    rbm = make_rbm(n_iter=50)
    with pytest.warns(UserWarning, match="after 17 of 50 epochs"):
        rbm.fit(BINARY)
    assert rbm.history_["epoch"] == [5, 10, 15, 17]
    assert_allclose(rbm.history_["pseudo_log_likelihood"][-1], rbm.score(BINARY))


# Early stopping -----------------------------------------------------------------------


def test_early_stopping():
    """Training stops after more than `patience` epochs without gain; the best is kept."""
    scores = iter([1.0, 3.0, 3.25, 2.0, 3.1, 3.5, 9.0])

    class Scripted(Validation):
        def score(self, model, log_partition=None):
            return next(scores)

    validation = Scripted(DataSet(bars_and_stripes()), tol=0.5, patience=2)
    training, epochs = run_training(n_epochs=9, validation=validation)
    assert validation.scores == [1.0, 3.0, 3.25, 2.0, 3.1]
    assert training.n_done == len(epochs) == 5
    assert_array_equal(training.end().model.weights, epochs[2][1])


def test_validation_scores_are_pseudo_log_likelihoods():
    rbm, v = tiny_rbm(9, 6), bars_and_stripes()
    rows = np.array([1, 4, 5, 9])
    expected = rbm.pseudo_log_likelihood(v[rows]).mean()
    for X in (v, sp.csr_array(v)):
        validation = Validation(DataSet(X, rows), tol=0, patience=1)
        assert_allclose(validation.score(rbm), expected)


def over_fitting(**parameters):
    return make_rbm(
        n_components=30, learning_rate=0.3, batch_size=5, early_stopping=True, **parameters
    )


@pytest.mark.slow
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_early_stopping_keeps_the_best_model(form):
    rbm = over_fitting(n_iter=200, n_iter_no_change=5, validation_fraction=0.3)
    rbm.fit(form(BINARY.astype(float)))
    scores = rbm.validation_scores_
    best = int(np.argmax(scores))
    assert 0 < best < len(scores) - 1
    assert len(scores) == rbm.n_iter_ < 200
    assert all(len(entries) == rbm.n_iter_ for entries in rbm.history_.values())
    # The best validation score is the mean score of the held-out rows.
    held_out = held_out_rows(validation_fraction=0.3)
    assert len(held_out) == 18
    assert_allclose(rbm.score(BINARY[held_out]), scores[best], rtol=1e-10)
    gap = rbm.history_["free_energy_gap"]
    assert gap[best] > gap[0]


def held_out_rows(**parameters):
    """Return the rows that have no effect on the model after one epoch."""
    base = over_fitting(n_iter=1, **parameters).fit(BINARY)
    rows = []
    for row in range(len(BINARY)):
        X = BINARY.copy()
        X[row] = ~X[row]
        if np.array_equal(
            over_fitting(n_iter=1, **parameters).fit(X).components_, base.components_
        ):
            rows.append(row)
    return rows


def test_a_warm_start_holds_out_the_same_rows():
    rbm = over_fitting(n_iter=2, warm_start=True).fit(BINARY)

    def held_out(rbm):
        return Fit(rbm, BINARY)._hold_out(DataSet(BINARY))[1].rows

    before = held_out(rbm)
    assert_array_equal(held_out(rbm.fit(BINARY)), before)
    rbm.set_params(random_state=1, warm_start=False).fit(BINARY)
    assert not np.array_equal(held_out(rbm), before)


@pytest.mark.parametrize("solver", SOLVER_NAMES)
def test_early_stopping_with_few_rows(solver):
    rbm = make_rbm(solver=solver, early_stopping=True, n_chains=7).fit(BINARY[:20])
    assert len(rbm.h_samples_) == (18 if solver == "cd" else 7)


@pytest.mark.slow
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_early_stopping_copies_no_rows(form):
    X = form((np.random.default_rng(0).random((100_000, 100)) < 0.2).astype(np.float32))
    size = X.nbytes if form is np.asarray else X.data.nbytes + X.indices.nbytes
    rbm = make_rbm(n_iter=1, batch_size=1000, early_stopping=True, validation_fraction=0.5)
    tracemalloc.start()
    rbm.fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size  # two copies of half of the rows would need more


def test_unshuffled_rows_beside_those_held_out_keep_their_order():
    others = np.delete(BINARY, held_out_rows(shuffle=False), axis=0)
    split = over_fitting(n_iter=1, shuffle=False).fit(BINARY)
    alone = over_fitting(n_iter=1, shuffle=False)
    alone.set_params(early_stopping=False).fit(others)
    assert_same_model(split, alone)


def test_early_stopping_in_other_ways():
    dense = over_fitting(n_iter=4, shuffle=False).fit(GRAY)
    sparse = over_fitting(n_iter=4, shuffle=False).fit(sp.csr_array(GRAY))
    assert_same_model(dense, sparse, rtol=1e-9, atol=1e-12)
    rbm = over_fitting(n_iter=3, warm_start=True, schedule="constant").fit(BINARY)
    scores = rbm.validation_scores_
    assert rbm.fit(BINARY).validation_scores_[0] > scores[0]
    rbm.set_params(early_stopping=False).fit(BINARY)
    assert not hasattr(rbm, "validation_scores_")
    assert "free_energy_gap" not in rbm.history_
    with pytest.raises(ValueError, match="leaves none of n_samples=1 to train on"):
        over_fitting().fit(GRAY[:1])


# Final check --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The model has modes in wrong proportions")
def test_modes_without_chains_are_reported(without_jumps):
    """Single flips hardly lead from all 0 to all 1, so that chains and model part."""
    rng = np.random.default_rng(0)
    X = np.repeat([[0] * 24, [1] * 24], [60, 140], axis=0) ^ (rng.random((200, 24)) < 0.02)
    many = {"n_components": 16, "n_iter": 500, "learning_rate": 0.4, "weight_decay": 0}
    many["n_gibbs_steps"] = 1
    fits = [make_rbm(**many, random_state=seed) for seed in (2, 3)]
    with pytest.warns(ConvergenceWarning, match="modes that its persistent chains"):
        gaps = [rbm.fit(X).log_partition_gap_ for rbm in fits]
    assert max(gaps) > 1
    mixes = make_rbm(**many | {"weight_decay": 0.5}).fit(X)
    assert abs(mixes.log_partition_gap_) < 1
    assert not hasattr(mixes.partial_fit(X), "log_partition_gap_")  # another model now
    mixes.set_params(n_iter=10).fit(X)
    assert not hasattr(mixes, "log_partition_gap_")  # too short a fit


def test_a_model_that_got_worse_is_reported():
    with pytest.warns(ConvergenceWarning, match="the model is worse than at the start"):
        make_rbm(learning_rate=100, n_iter=5).fit(BINARY)
    rbm = make_rbm(warm_start=True, n_iter=20).fit(BINARY)
    with pytest.warns(ConvergenceWarning, match="the model is worse than at the start"):
        rbm.set_params(learning_rate=30, n_iter=2).fit(BINARY)


@pytest.mark.parametrize("learning_rate", [1e-6, 0.1])
@pytest.mark.parametrize("n_features", [2, 20])
def test_data_without_structure_are_no_reason_to_warn(n_features, learning_rate):
    X = np.random.default_rng(0).random((200, n_features))
    for data in (X, X > 0.5, X > 0.98):
        rbm = make_rbm(n_components=64, learning_rate=learning_rate, warm_start=True)
        for _ in range(3):
            rbm.fit(data)
