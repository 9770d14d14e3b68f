"""Lower bounds on log Z that follow from states. See also `test_units.py`."""

import numpy as np
import pytest
from conftest import Enumerated, bernoulli_rbm, states, tiny_rbm
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from skrbm import _bounds
from skrbm._bounds import log_partition_bound


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("seed", range(4))
def test_bounds_are_at_most_log_z(seed, scale, dtype):
    model = tiny_rbm(6, 4, dtype, scale=scale, seed=seed)
    log_z, v = np.log(Enumerated(*model.arrays).partition), states(6).astype(dtype)
    bounds = [log_partition_bound(model, row) for row in v[:, None]]
    assert max(bounds) <= log_z + 1e-5
    # The sum over all rows is log Z, however often and in what order they are given.
    assert_allclose(log_partition_bound(model, np.tile(v, (3, 1))[::-1]), log_z, rtol=1e-5)
    half = log_partition_bound(model, v[::2])
    assert logsumexp(-model.free_energy(v[::2])) - 1e-5 <= half <= log_z + 1e-5


def test_rows_are_added_up_once(monkeypatch):
    model, all_rows = tiny_rbm(6, 4, scale=2.0), states(6)
    lowest = all_rows[np.argsort(model.free_energy(all_rows))[:3]]
    v = np.concatenate([lowest[[1, 0, 1]], all_rows[:9], lowest[[2, 0, 2]]])
    monkeypatch.setattr(_bounds, "N_STEPS", -1)  # without the second bound
    monkeypatch.setattr(_bounds, "N_ROWS", 6)  # those of the lowest free energies
    assert_allclose(
        log_partition_bound(model, v), logsumexp(-model.free_energy(lowest)), atol=1e-5
    )


def test_a_row_stands_for_those_around_it():
    """Without weights, the bound of any row is log Z; with strong ones it counts a mode."""
    free = bernoulli_rbm(np.zeros((50, 3)), np.linspace(-3, 3, 50), np.array([1.0, 0, -2]))
    log_z = (
        np.logaddexp(0, free.visible.bias).sum() + np.logaddexp(0, free.hidden_bias).sum()
    )
    assert_allclose(log_partition_bound(free, np.zeros((1, 50))), log_z)
    two = bernoulli_rbm(np.full((50, 1), 8.0), np.full(50, -4.0), np.array([-200.0]))
    on = np.r_[np.ones(45), np.zeros(5)][None]  # 10 % of 50 noisy copies of a bit differ
    assert_allclose(log_partition_bound(two, on), 50 * np.logaddexp(0, 4) - 200)
