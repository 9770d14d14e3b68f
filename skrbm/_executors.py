"""Executors, which run tasks on the blocks of the data and merge their results.

To add an executor, subclass `Executor`.

This module does not depend on scikit-learn.
"""

import abc
import pickle
from collections.abc import Callable, Sequence
from typing import Any, Self

from joblib import Parallel, delayed

# Largest number of results that are merged at once.
GROUP_SIZE = 8


class Executor(abc.ABC):
    """Base class of executors. An executor owns the blocks of the data.

    It is a context manager, which is entered before its first task, and releases what it
    holds when it is left.

    Parameters
    ----------
    blocks : list
        The blocks of the data.
    load : callable
        Returns the `DataSet` of a block.
    n_shards : int, default=1
        Number of shards to divide the blocks into.
    """

    def __init__(self, blocks: Sequence, load: Callable, n_shards: int = 1):
        self.blocks = blocks
        self.load = load
        self.n_shards = n_shards

    @property
    def n_blocks(self) -> int:
        """Number of blocks, which are numbered from 0."""
        return len(self.blocks)

    def __enter__(self) -> Self:
        return self

    @abc.abstractmethod
    def __exit__(self, *error) -> None:
        """Release workers, blocks and results, also after an error."""

    @abc.abstractmethod
    def reduce(
        self,
        function: Callable,
        shared: Any,
        calls: Sequence[tuple[tuple, Sequence[int]]],
        merge: Callable[[list], Any],
        keep: bool = True,
    ) -> Any:
        """Run tasks on blocks, and return their merged result.

        A task may run on any worker, and again after its worker was lost, as it only
        depends on its arguments. Executors return the same bits: they merge by the tree of
        `merge_in_groups`, and pass an error of a task on to the caller.

        Parameters
        ----------
        function : callable
            Called as ``function(shared, *arguments, data_sets)``. It must not change its
            arguments.
        shared : object
            What all tasks need.
        calls : list of (arguments, blocks)
            The tasks: the arguments of each, and the numbers of its blocks, which are
            loaded as `data_sets`.
        merge : callable
            Returns the result of a list of results, in the order of the calls.
        keep : bool, default=True
            Whether the blocks will soon be needed again.

        Returns
        -------
        result : object
            ``merge_in_groups(merge, results)`` of the results of all calls.
        """


class JoblibExecutor(Executor):
    """Executor on the workers of joblib, which holds all blocks until it is left.

    Parameters
    ----------
    blocks, load, n_shards
        As for `Executor`.
    n_jobs : int or None
        Number of workers, as for joblib.
    """

    def __init__(self, blocks, load, n_jobs, n_shards=1):
        super().__init__(blocks, load, n_shards)
        self.parallel = Parallel(n_jobs=n_jobs, batch_size=1, pre_dispatch="all")

    def __enter__(self):
        self.parallel.__enter__()
        return self

    def __exit__(self, *error):
        self.parallel.__exit__(*error)

    def reduce(self, function, shared, calls, merge, keep=True):
        # In bytes, because joblib would write arrays to a new file in each round.
        shared = pickle.dumps(shared, protocol=pickle.HIGHEST_PROTOCOL)
        results = self.parallel(
            delayed(_call)(
                function, shared, arguments, self.load, [self.blocks[b] for b in blocks]
            )
            for arguments, blocks in calls
        )
        return merge_in_groups(merge, results)


def _call(function, shared, arguments, load, blocks):
    data_sets = [load(block) for block in blocks]
    return function(pickle.loads(shared), *arguments, data_sets)


# Merging ---------------------------------------------------------------------------------


def merge_in_groups(merge: Callable[[list], Any], results: list) -> Any:
    """Merge a list of results by a tree whose shape depends on their number only."""
    while len(results) > GROUP_SIZE:
        results = [merge(group) for group in in_groups(results)]
    return merge(results)


def in_groups(results: list) -> list[list]:
    """Split a list into lists of at most `GROUP_SIZE` elements."""
    starts = range(0, len(results), GROUP_SIZE)
    return [results[start : start + GROUP_SIZE] for start in starts]
