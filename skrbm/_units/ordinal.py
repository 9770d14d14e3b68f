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
    def code(size):
        return np.tri(size + 1, size, -1)

    @staticmethod
    def shares(v):
        reached = np.concatenate(
            [np.ones_like(v[..., :1]), v, np.zeros_like(v[..., :1])], -1
        )
        return reached[..., :-1] - reached[..., 1:]

    @staticmethod
    def bias_of(log_shares):
        return np.diff(log_shares)
