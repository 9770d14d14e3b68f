"""Units of columns whose states are ordered levels."""

import dataclasses

import numpy as np

from skrbm._units.groups import GroupUnits


@dataclasses.dataclass(frozen=True, eq=False)
class OrdinalUnits(GroupUnits):
    """Units of a thermometer: in a column at level l, counted from 0, the first l are on.

    The log-odds of a level and the next one are those of a single unit, so that the
    log-probabilities of the levels are cumulative sums over units. Weight decay therefore
    makes neighboring levels similar, as if the weights of the levels were a random walk.
    """

    thermometer = True

    @staticmethod
    def sizes_of(n_states):
        return n_states - 1

    @staticmethod
    def by_state(x):
        lowest = np.zeros_like(x[..., :1])
        return np.concatenate([lowest, x.cumsum(axis=-1, dtype=x.dtype)], axis=-1)

    @staticmethod
    def means_if_even(number, n_states):
        return 1 - (number + 1) / n_states

    @staticmethod
    def shares(v):
        ends = [np.ones_like(v[..., :1]), v, np.zeros_like(v[..., :1])]
        return -np.diff(np.concatenate(ends, axis=-1))

    @property
    def n_states(self):
        return self.sizes + 1

    def all_shares(self, mean):
        reached = np.insert(mean, self.starts[:-1], 1.0)
        return reached - np.insert(mean, self.starts[1:], 0.0)

    def biases_of(self, log_shares):
        to_previous = np.diff(log_shares, prepend=0.0)
        return np.delete(to_previous, self._first_states)
