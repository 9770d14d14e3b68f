"""Units of columns whose states have no order."""

import dataclasses

import numpy as np

from skrbm._units.groups import GroupUnits


@dataclasses.dataclass(frozen=True, eq=False)
class CategoricalUnits(GroupUnits):
    """Softmax units: one for each state of a column, and exactly one of them is on.

    Adding the same row to the weights of all states of a column, and subtracting it from
    the hidden biases, changes nothing, and the same number added to their biases changes
    only log Z. Of these many forms of a model, training keeps that in which weights and
    biases sum to 0 over the states of each column: they begin there, and all changes sum
    to 0. For with the means of the data as visible offsets, which sum to 1, the hidden
    biases take over what is common to the states, and both mean rows sum to 1. So weight
    decay only shrinks differences between states.
    """

    thermometer = False

    @staticmethod
    def sizes_of(n_states):
        return n_states

    @staticmethod
    def by_state(x):
        return x

    @staticmethod
    def means_if_even(number, n_states):
        return 1 / n_states

    @staticmethod
    def shares(v):
        return v

    @property
    def n_states(self):
        return self.sizes

    def all_shares(self, mean):
        return mean

    def biases_of(self, log_shares):
        return self._in_gauge(log_shares)

    def _in_gauge(self, values):
        starts, sizes = self.starts[:-1], self.sizes.reshape(-1, *[1] * (values.ndim - 1))
        means = np.add.reduceat(values, starts, axis=0) / sizes
        return values - np.repeat(means, self.sizes, axis=0)
