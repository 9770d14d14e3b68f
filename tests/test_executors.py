"""Executors: what they call, and in which order they merge."""

import itertools
import operator

import numpy as np
import pytest

from skrbm._executors import GROUP_SIZE, Executor, JoblibExecutor, merge_in_groups


def note(shared, name, data_sets):
    return [(shared, name, data_sets)]


def concatenated(results):
    return list(itertools.chain(*results))


def fail(shared, data_sets):
    raise FileNotFoundError("this block cannot be read")


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_calls_by_joblib(n_jobs):
    calls = [((f"task {i}",), [i % 3, 0]) for i in range(GROUP_SIZE + 1)]
    expected = [("all", f"task {i}", [-(i % 3), 0]) for i in range(GROUP_SIZE + 1)]
    with JoblibExecutor([0, 1, 2], operator.neg, n_jobs, n_shards=5) as executor:
        assert (executor.n_blocks, executor.n_shards) == (3, 5)
        for n in (1, 3, GROUP_SIZE + 1):
            result = executor.reduce(note, "all", calls[:n], concatenated)
            assert result == expected[:n]
        with pytest.raises(FileNotFoundError, match="cannot be read"):
            executor.reduce(fail, None, [((), [0])], concatenated)
        assert executor.reduce(note, "all", calls, concatenated, keep=False) == expected


def test_groups_are_merged_in_order():
    def tree(*sizes):
        numbers = iter(range(sum(sizes)))
        return [[next(numbers) for _ in range(size)] for size in sizes]

    for n, expected in [
        (1, [0]),
        (8, list(range(8))),
        (9, tree(8, 1)),
        (17, tree(8, 8, 1)),
    ]:
        assert merge_in_groups(list, list(range(n))) == expected
    first, second = merge_in_groups(list, list(range(65)))
    assert (first, second) == (tree(*[8] * 8), [[64]])


def test_an_executor_must_run_tasks():
    with pytest.raises(TypeError, match="abstract"):
        Executor([], np.asarray)
