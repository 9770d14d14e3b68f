"""Units of labels, draws of labels and their gradient, against sums written out in full."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import PLAIN
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, softmax

from skrbm import _labels
from skrbm._data import DataSet
from skrbm._model import RBM
from skrbm._step import Learner, first_state
from skrbm._units.bernoulli import BernoulliUnits
from skrbm._units.gaussian import GaussianUnits
from skrbm._units.labelled import LabelledUnits
from skrbm._units.mixed import MixedUnits

N_STATES = [3, 2]
N_HIDDEN = 3


def features_of(kind, dtype):
    """Untrained units of four features."""
    if kind == "bits":
        return BernoulliUnits(np.zeros(4, dtype))
    if kind == "numbers":
        return GaussianUnits.with_moments(
            np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4), np.dtype(dtype), dtype
        )
    types, n_states = ["binary", "categorical", "real", "ordinal"], [2, 3, 0, 3]
    moments = np.zeros(4), np.ones(4)
    return MixedUnits.for_columns(types, n_states, dtype, moments, np.dtype(dtype))


def labelled_model(kind="bits", n_states=N_STATES, dtype=np.float64, scale=1.0):
    """Model with labels whose parameters are drawn."""
    rng = np.random.default_rng(0)
    units = LabelledUnits.with_labels(features_of(kind, dtype), n_states)
    units = units.map(lambda x: rng.normal(size=x.shape).astype(dtype))
    weights = scale * rng.normal(size=(len(units), N_HIDDEN))
    return RBM(weights.astype(dtype), units, rng.normal(size=N_HIDDEN).astype(dtype))


def some_rows(kind, n_states=N_STATES, n=12, seed=1):
    """Rows of codes of labels, followed by features."""
    rng = np.random.default_rng(seed)
    codes = [rng.integers(k, size=n) for k in n_states]
    if kind == "bits":
        features = rng.integers(2, size=(n, 4))
    elif kind == "numbers":
        features = rng.normal([1, 2, 3, 4], size=(n, 4))
    else:
        columns = [rng.integers(2, size=n), rng.integers(3, size=n), rng.normal(size=n)]
        features = np.stack([*columns, rng.integers(3, size=n)], axis=1)
    return np.column_stack([*codes, features]).astype(np.float64)


def encoded(model, rows):
    return DataSet(rows).encode(model.visible.encoder).copy_rows(model.dtype)


def log_p_in_full(model, rows, label, n_states=N_STATES):
    """Log-probabilities of the classes of a label, by sums over hidden states."""
    h = np.array(list(itertools.product([0.0, 1.0], repeat=N_HIDDEN)))
    logs = []
    for code in range(n_states[label]):
        changed = rows.copy()
        changed[:, label] = code
        v = encoded(model, changed).astype(np.float64)
        energy = -(v @ model.weights) @ h.T - h @ model.hidden_bias
        energy -= model.visible.minus_energy(v)[:, None]
        logs.append(logsumexp(-energy, axis=1))
    logs = np.stack(logs, axis=1)
    return logs - logsumexp(logs, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["bits", "numbers", "mixed"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_of_labels(kind, dtype):
    model, rows = labelled_model(kind, dtype=dtype), some_rows(kind)
    v = encoded(model, rows)
    found = model.conditionals(v, np.array([0, 1]))
    for label, conditional in enumerate(found):
        expected = log_p_in_full(model, rows, label)
        assert_allclose(conditional.log_p, expected, atol=1e-5)
        codes = rows[:, label].astype(int)
        own = expected[np.arange(len(rows)), codes]
        assert_allclose(conditional.score, own, atol=1e-5)


@pytest.mark.parametrize("kind", ["bits", "numbers", "mixed"])
def test_rows_are_decoded_to_what_they_were(kind):
    model, rows = labelled_model(kind), some_rows(kind)
    coder = model.visible.encoder
    v = encoded(model, rows)
    assert_allclose(model.visible.decode(v), rows)
    assert_allclose(coder.compress(v), coder.compact(rows, np.float64))
    labels = v[:, : sum(N_STATES)]
    assert_array_equal(labels[:, :3].argmax(axis=1), rows[:, 0])
    assert_array_equal(labels[:, 3:].argmax(axis=1), rows[:, 1])
    assert_array_equal(labels.sum(axis=1), 2)


def in_form(model, rows, form):
    """Encoded rows as a data set of dense or sparse rows."""
    v = encoded(model, rows)
    return DataSet(sp.csr_array(v)) if form == "sparse" else DataSet(v)


def gradient(model, data, offsets=None):
    """Gradient of the mean log-probability of labels, as changes of all arrays."""
    of_labels = _labels.LabelGradient(model.visible)
    v = None if data.is_sparse else data.copy_rows(model.dtype)
    of_labels.load(model, data, slice(0, len(data)), v, None)
    of_labels.multiply(1.0)
    if offsets is None:
        offsets = np.zeros(len(model.visible)), np.zeros(N_HIDDEN)
    changed = model.copy()
    of_labels.add_gradient(changed, offsets)
    pairs = zip(changed.arrays, model.arrays, strict=True)
    return [after - before for after, before in pairs]


@pytest.mark.parametrize(
    ("kind", "form"),
    [("bits", "dense"), ("bits", "sparse"), ("numbers", "dense"), ("mixed", "dense")],
)
@pytest.mark.parametrize("n_states", [[3], [2, 4]])
def test_gradient_by_finite_differences(n_states, kind, form):
    """With row weights, and labels of some rows that are not known."""
    model, rows = labelled_model(kind, n_states), some_rows(kind, n_states)
    data = in_form(model, rows, form)
    rng = np.random.default_rng(2)
    data.row_weights = rng.uniform(0.5, 2, len(rows))
    data.unlabelled = rng.random((len(rows), len(n_states))) < 0.3
    weights = data.row_weights[:, None] * ~data.unlabelled / len(rows)

    def objective(model):
        total = 0.0
        for label in range(len(n_states)):
            log_p = log_p_in_full(model, rows, label, n_states)
            own = log_p[np.arange(len(rows)), rows[:, label].astype(int)]
            total += weights[:, label] @ own
        return total

    found = gradient(model, data)
    for number, array in enumerate(model.arrays):
        for place in np.ndindex(array.shape):
            values = []
            for step in (1e-5, -1e-5):
                changed = model.copy()
                changed.arrays[number][place] += step
                values.append(objective(changed))
            expected = (values[0] - values[1]) / 2e-5
            assert_allclose(found[number][place], expected, atol=1e-8)


def test_centered_gradient():
    """It is the plain gradient in other coordinates, as that of `_phases`."""
    model, rows = labelled_model(), some_rows("bits")
    data, rng = in_form(model, rows, "dense"), np.random.default_rng(3)
    mu, lam = rng.random(len(model.visible)), rng.random(N_HIDDEN)
    dw, db, dc = gradient(model, data)
    centered = dw - np.outer(mu, dc) - np.outer(db, lam)
    found = gradient(model, data, (mu, lam))
    assert_allclose(found[0], centered, atol=1e-12)
    assert_allclose(found[1], db - centered @ lam, atol=1e-12)
    assert_allclose(found[2], dc - mu @ centered, atol=1e-12)


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_draws_of_labels(form):
    """Unknown labels are drawn given everything else, in turn; others stay."""
    n = 40_000
    model, row = labelled_model(), some_rows("bits", n=1)
    rows = np.repeat(row, n, axis=0)
    data = in_form(model, rows, form)
    if form == "dense":
        data = DataSet(rows).encode(model.visible.encoder)
    data.unlabelled = np.tile([True, False], (n, 1))
    v = None if form == "sparse" else data.copy_rows(model.dtype)
    _labels.draw(model, data, np.arange(n), np.random.default_rng(0), v)
    if form == "sparse":
        labels = data.X[:, :5].toarray()
    else:
        labels = v[:, :5]
        assert_array_equal(data.X[:, 0], labels[:, :3].argmax(axis=1))
    assert_array_equal(labels[:, 3:].argmax(axis=1), rows[:, 1])
    p = softmax(log_p_in_full(model, row, 0), axis=1)[0]
    error = np.sqrt(p * (1 - p) / n)
    assert (np.abs(labels[:, :3].mean(axis=0) - p) < 4 * error).all()


def change_by_step(data, units, generative, **settings):
    """Change of all parameters in a step from the same state."""
    units = units.map(np.copy)
    settings = PLAIN._replace(generative=generative, batch_size=len(data), **settings)
    state = first_state(settings, units, len(data), N_HIDDEN, 0)
    state.counts.visible_sum += data.sums()[0]
    state.counts.n_rows_seen += len(data)
    learner = Learner(state, settings, data)
    before = state.model.copy()
    learner.epoch([0.1], data.order())
    return [x - y for x, y in zip(state.model.arrays, before.arrays, strict=True)]


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("options", [{}, {"centering": True}, {"momentum": 0.5}])
def test_a_hybrid_step_is_the_weighted_sum_of_both(options, form):
    rows = some_rows("bits", [3])
    units = LabelledUnits.with_labels(BernoulliUnits(np.zeros(4)), [3])
    data = DataSet(rows).encode(units.encoder)
    if form == "sparse":
        data = DataSet(sp.csr_array(data.copy_rows(np.float64)))
    changes = {g: change_by_step(data, units, g, **options) for g in (0.0, 0.3, 1.0)}
    for hybrid, alone, whole in zip(changes[0.3], changes[0.0], changes[1.0], strict=True):
        assert np.abs(alone).max() > 1e-4
        assert_allclose(hybrid, 0.3 * whole + 0.7 * alone, atol=1e-9)


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_rows_without_label_change_the_generative_part_alone(form):
    rows = some_rows("bits", [3])
    units = LabelledUnits.with_labels(BernoulliUnits(np.zeros(4)), [3])

    def make():
        data = DataSet(rows.copy()).encode(units.encoder)
        if form == "sparse":
            data = DataSet(sp.csr_array(data.copy_rows(np.float64)))
        data.unlabelled = np.ones((len(rows), 1), dtype=bool)
        return data

    for change in change_by_step(make(), units, 0.0):
        assert not change.any()
    whole, half = (change_by_step(make(), units, g) for g in (1.0, 0.5))
    for of_whole, of_half in zip(whole, half, strict=True):
        assert_allclose(of_half, 0.5 * of_whole, atol=1e-12)
    assert np.abs(whole[0]).max() > 1e-4


@pytest.mark.parametrize("solver", ["pcd", "cd"])
def test_sparse_and_dense_rows_have_the_same_gradient(solver):
    rows = some_rows("bits", [3])
    units = LabelledUnits.with_labels(BernoulliUnits(np.zeros(4)), [3])
    dense = DataSet(rows).encode(units.encoder)
    sparse = DataSet(sp.csr_array(dense.copy_rows(np.float64)))
    found = [change_by_step(data, units, 0.0, solver=solver) for data in (dense, sparse)]
    for of_dense, of_sparse in zip(*found, strict=True):
        assert_allclose(of_dense, of_sparse, atol=1e-12)
