"""Training of one model on a Dask cluster, and its use with Dask arrays and data frames.

Install the packages ``dask`` and ``distributed`` (extra ``dask``) to use this module. The
rest of skrbm does not need them.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skrbm import _inputs
from skrbm._attributes import model_of
from skrbm._base import BaseRBM
from skrbm._data import DataSet, Ranges, dtype_for
from skrbm._executors import GROUP_SIZE, Executor, in_groups, merge_in_groups
from skrbm._parallel import ParallelRBM, load, split

try:
    import dask
    import dask.array
    import distributed
    from dask.delayed import Delayed
except ImportError as error:
    raise ImportError(
        "skrbm.dask needs the packages dask and distributed. Install them with "
        "pip install 'skrbm[dask]'."
    ) from error

__all__ = ["DaskRBM"]

# Number of times in a row that tasks may be lost with their workers, without any result.
_MOST_LOSSES = 5
# Seconds without any running worker, after which there is a warning and an error.
_WARNED_WAIT, _LONGEST_WAIT = 10, 300
# What to do if workers die.
_ADVICE = (
    "Do the blocks of rows fit into the memory_limit of the workers? If not, use smaller "
    "chunks, workers with more memory, or more of them if X was persisted. The logs of the "
    "workers tell more."
)


class DaskRBM(ParallelRBM):
    """Training of one model by the workers of a Dask cluster.

    This is :class:`skrbm.ParallelRBM` for Dask arrays and data frames: the workers load the
    blocks of rows, and the client never gathers them. If workers are lost, others repeat
    their tasks, and the model is bitwise the same. Workers may also join.

    Use it if an epoch takes minutes, or if the data only fit on the cluster. See
    :doc:`the user guide </parallel>`.

    Parameters
    ----------
    estimator : BernoulliRBMEstimator, GaussianRBMEstimator or MixedRBMEstimator
        The estimator to train, see :class:`skrbm.ParallelRBM`. Pass a MixedRBMEstimator for
        data frames with categories.

    n_shards : int, default=None
        Number of shards of the rows. If None, the number of threads of all workers when
        training begins. Set it for results that do not depend on the number of workers.

    n_local_steps : int or "auto", default="auto"
        Number of steps of a shard in a round, see :class:`skrbm.ParallelRBM`. Increase it
        if the model is large or the network slow.

    client : distributed.Client, default=None
        Client of the cluster. If None, the current one. Set it if there are several. It is
        not pickled.

    Attributes
    ----------
    estimator_ : BernoulliRBMEstimator, GaussianRBMEstimator or MixedRBMEstimator
        The fitted estimator, which needs no Dask.

    n_shards_ : int
        Number of shards of the last call of `fit` or `partial_fit`.

    n_local_steps_ : float
        Mean number of steps of the largest shard in a round of that call.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if all of them are strings.

    See Also
    --------
    skrbm.ParallelRBM : The same training by workers of joblib.

    Notes
    -----
    **Data.** Each block has some rows with all columns. Ways to get such data, with ``da``
    for ``dask.array`` and ``dd`` for ``dask.dataframe``:

    - a stack of ``.npy`` files: ``da.from_npy_stack("pixels")``;
    - Parquet files: ``dd.read_parquet("visits/*.parquet")``;
    - delayed blocks: ``da.concatenate([da.from_delayed(block, shape, dtype) for block in
      blocks])``, where the shape may be ``(numpy.nan, n_features)``;
    - an array with several blocks of columns: ``X.rechunk({1: -1})``.

    Arrays in memory are accepted, too, and are sent to the workers in blocks.

    **Memory.** Workers load a block when they need it, in every pass over the data. If all
    blocks fit into the memory of the workers, call ``X = X.persist()`` before `fit`. The
    client only gathers a sample of at most 500 rows, and the rows that are held out for
    `early_stopping`.

    **Order.** Rows are shuffled within blocks, and blocks within a shard. Shuffle the data
    once before if rows are sorted over many blocks.

    **Tables.** With a MixedRBMEstimator, the blocks of Dask data frames stay data frames,
    and the dtypes tell what the columns are. Categories must be known, as after
    ``X.categorize()``. Columns of booleans are binary. Numbers are real, unless
    `feature_types` declares them as binary with values 0 and 1. `groups` must be lists or
    None. Other estimators read data frames as arrays of numbers.

    **Results.** Given Dask collections, `transform`, `free_energy` and `score_samples`
    return Dask arrays, which are computed when needed. They do not warn of values outside
    [0, 1], since these are only found block by block. Integers that other methods refuse
    raise an error only when the result is computed.

    Examples
    --------
    The cluster of this example is within the process. For another one, pass its address to
    the client.

    >>> import dask.array as da
    >>> from distributed import Client
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.dask import DaskRBM
    >>> client = Client(processes=False, dashboard_address=None)
    >>> X = da.from_array(load_digits().data > 7, chunks=(600, 64))  # rows, all columns
    >>> rbm = BernoulliRBMEstimator(20, n_iter=5, random_state=0)
    >>> parallel = DaskRBM(rbm, n_shards=2, client=client).fit(X)
    >>> parallel.transform(X).compute().shape
    (1797, 20)
    >>> parallel.estimator_
    BernoulliRBMEstimator(n_components=20, n_iter=5, random_state=0)
    >>> client.close()
    """

    _parameter_constraints: dict = {
        name: constraint
        for name, constraint in ParallelRBM._parameter_constraints.items()
        if name != "n_jobs"
    } | {"client": [distributed.Client, None]}

    def __init__(
        self,
        estimator: BaseRBM,
        *,
        n_shards: int | None = None,
        n_local_steps: int | Literal["auto"] = "auto",
        client: distributed.Client | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_shards = n_shards
        self.n_local_steps = n_local_steps
        self.client = client

    def __sklearn_clone__(self):
        without_client = copy.copy(self)  # as it would be pickled
        cloned = super(DaskRBM, without_client).__sklearn_clone__()
        return cloned.set_params(client=self.client)

    def __getstate__(self):
        return super().__getstate__() | {"client": None}

    # Training ---------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the model to the data `X`, by the workers of the cluster.

        Parameters
        ----------
        X : {Dask array, Dask data frame, array-like, sparse matrix} of shape \
                (n_samples, n_features)
            Training data. Each chunk of a Dask array has some rows with all columns, dense
            or sparse, as from ``dask.array.from_npy_stack`` or, for delayed blocks,
            ``dask.array.from_delayed``. Numbers of rows may be unknown, as in data frames
            from ``dask.dataframe.read_parquet``. The workers load the chunks. Other arrays
            are sent to them in blocks. See the Notes of the class.

        y : Ignored
            Not used, present for API consistency.

        sample_weight : Dask array, series or array-like of shape (n_samples,), default=None
            Non-negative weights of the rows, as for the `fit` of the estimator. Weights in
            Dask must have the same chunks of rows as `X`, for example a column of the data
            frame that `X` was taken from.

        Returns
        -------
        self : DaskRBM
            The fitted meta-estimator. If training fails, it is unchanged.

        Raises
        ------
        ValueError
            If a parameter is out of range or the data are invalid, as for the `fit` of the
            estimator, if chunks do not have all columns, or if a MixedRBMEstimator does not
            know the categories of a column.
        RuntimeError
            If the same tasks were lost 5 times in a row because their workers died.
        TimeoutError
            If there is no running worker for 300 seconds.

        Warns
        -----
        UserWarning, ConvergenceWarning
            As for the `fit` of the estimator, and if there is no running worker for 10
            seconds. If training was interrupted from the keyboard, the model of the last
            round is kept.
        """
        return super().fit(X, y, sample_weight)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Update the model with one pass over the rows of `X`, by the workers.

        The learning rate is constant, as in the `partial_fit` of the estimator. Pass many
        times more rows than a round takes.

        Parameters
        ----------
        X : as for `fit`
            Training data, for example one of several Dask arrays.

        y : Ignored
            Not used, present for API consistency.

        sample_weight : as for `fit`, default=None
            Non-negative weights of the rows, which are not normalized.

        Returns
        -------
        self : DaskRBM
            The fitted meta-estimator. If training fails, it is unchanged.

        Raises
        ------
        ValueError, RuntimeError, TimeoutError
            As for `fit`.

        Warns
        -----
        UserWarning, ConvergenceWarning
            As for the `partial_fit` of the estimator, and if there is no running worker for
            10 seconds.
        """
        return super().partial_fit(X, y, sample_weight)

    def resume(
        self,
        path: str | os.PathLike,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        callbacks: Sequence[Any] = (),
    ) -> Self:
        """Resume a training that was saved by :class:`skrbm.callbacks.Checkpoint`.

        Training continues after the last round that was saved, also on another cluster and
        by another client. The model is bitwise that of a training without interruption. The
        file is unpickled, which can run arbitrary code. Only resume from files that you
        trust.

        Parameters
        ----------
        path : str or path-like
            File written by the callback on the estimator, on the computer of the client.

        X : as for `fit`
            Training data, the same as before, in the same chunks.

        y : Ignored
            Not used, present for API consistency.

        sample_weight : as for `fit`, default=None
            Weights of the rows, the same as before.

        callbacks : sequence of callbacks, default=()
            Callbacks for the rest of the training, which the client calls.

        Returns
        -------
        self : DaskRBM
            The fitted meta-estimator.

        Raises
        ------
        ValueError
            If the data are not the same as before, or if the file was not written during
            the `fit` of a meta-estimator.
        RuntimeError, TimeoutError
            As for `fit`.
        """
        return super().resume(path, X, y, sample_weight=sample_weight, callbacks=callbacks)

    def _open(self, rbm, stack, X, sample_weight, reset, n_shards):
        client = stack.enter_context(self._connect())
        _wait_for_workers(client)
        if n_shards is None:
            n_shards = sum(client.nthreads().values())
        if not dask.is_dask_collection(X):
            X, row_weights = self._validate_array(rbm, X, sample_weight, reset)
            values = [Value(block) for block in split(X, row_weights, n_shards)]
            return stack.enter_context(DaskExecutor(values, load, n_shards, client))
        rows = Rows.of(X, rbm)
        rbm._declare(rows.meta, reset)
        blocks = [Loaded(*parts) for parts in rows.parts(sample_weight)]
        check = functools.partial(_load_checked, read=rbm._reader)
        executor = stack.enter_context(DaskExecutor(blocks, check, n_shards, client))
        if reset:
            rbm._settle(functools.partial(_largest_values, executor))
        return executor

    @contextlib.contextmanager
    def _connect(self):
        """Yield the client; in a task, let other tasks run on its thread meanwhile."""
        if self.client is not None:
            yield self.client
            return
        try:
            distributed.get_worker()
        except ValueError:
            yield distributed.default_client()
            return
        with distributed.worker_client() as client:
            yield client

    # The fitted model -------------------------------------------------------------------

    def transform(self, X: Any) -> Any:
        """Compute the probabilities of the hidden units, ``p(h = 1 | X)``.

        Parameters
        ----------
        X : as for `fit`
            Rows to transform.

        Returns
        -------
        H : array or Dask array of shape (n_samples, n_components)
            Probabilities, as from the `transform` of the estimator. For a Dask collection
            `X`, a lazy array with the same chunks of rows.

        Raises
        ------
        ValueError
            As for the estimator. Invalid values in the chunks of a Dask collection are
            only found when the result is computed.

        Warns
        -----
        UserWarning
            As for the estimator, but not for a Dask collection.
        """
        return super().transform(X)

    def free_energy(self, X: Any) -> Any:
        """Compute the free energy of each row.

        Parameters
        ----------
        X : as for `fit`
            Rows to score.

        Returns
        -------
        free_energy : float64 array or Dask array of shape (n_samples,)
            Free energies, in nats. For a Dask collection `X`, a lazy array with the same
            chunks.

        Raises
        ------
        ValueError
            As for the estimator. Invalid values in the chunks of a Dask collection are
            only found when the result is computed.

        Warns
        -----
        UserWarning
            As for the estimator, but not for a Dask collection.
        """
        return super().free_energy(X)

    def score_samples(self, X: Any) -> Any:
        """Compute the score of each row.

        Parameters
        ----------
        X : as for `fit`
            Rows to score.

        Returns
        -------
        score : float64 array or Dask array of shape (n_samples,)
            Scores as from the estimator, in nats: log-likelihoods if there are real values,
            else pseudo-log-likelihoods. For a Dask collection `X`, a lazy array with the
            same chunks. If log Z has to be estimated, the client does this immediately.

        Raises
        ------
        ValueError
            As for the estimator. Invalid values in the chunks of a Dask collection are
            only found when the result is computed.

        Warns
        -----
        UserWarning
            As for the estimator, but not for a Dask collection.
        """
        return super().score_samples(X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Compute the mean score of the rows.

        It is computed at once. The workers score the chunks of a Dask collection, and only
        means, weights and ranges of the chunks are gathered.

        Parameters
        ----------
        X : as for `fit`
            Rows to score.

        y : Ignored
            Not used, present for API consistency.

        sample_weight : as for `fit`, default=None
            Non-negative weights of the rows in the mean.

        Returns
        -------
        score : float
            Mean of `score_samples` over the rows, in nats.

        Raises
        ------
        ValueError
            If a weight is negative, if no weight is greater than 0, or if the weights and
            `X` differ in the number or the chunks of rows. Also as for the estimator.
        TimeoutError
            If there is no running worker for 300 seconds.

        Warns
        -----
        UserWarning
            As for the estimator, and if there is no running worker for 10 seconds.
        """
        return super().score(X, y, sample_weight)

    def _score(self, X, sample_weight):
        if not dask.is_dask_collection(X):
            return super()._score(X, sample_weight)
        rbm = self._estimator_for(X, scores=True)
        rows, rbm = Rows.of(X, rbm), dask.delayed(rbm)
        scored = [dask.delayed(_score)(rbm, *parts) for parts in rows.parts(sample_weight)]
        with self._connect() as client:
            _wait_for_workers(client)
            results = client.gather(client.compute(scored))
        means, totals, n_rows, ranges = zip(*results, strict=True)
        if not sum(n_rows):
            raise ValueError(
                f"Found array with 0 sample(s) (shape={rows.meta.shape}) while a "
                "minimum of 1 is required."
            )
        merged = Ranges.merge(ranges)
        _inputs.check_values(
            self.estimator_._units, Merged(merged), X, self.estimator_, clips=True
        )
        return _inputs.weighted_mean(means, totals)

    def _apply(self, method, X, **check):
        if not dask.is_dask_collection(X):
            return super()._apply(method, X, **check)
        rbm = self._estimator_for(X, method == "score_samples")
        rows = Rows.of(X, rbm)
        shape: tuple[int, ...] = (0,)
        kind: dict[str, Any] = {"dtype": np.float64, "drop_axis": 1}
        if method == "transform":
            n_components = len(rbm.components_)
            dtype = dtype_for(model_of(rbm), rbm._reader(rows.meta))
            shape = (0, n_components)
            kind = {"dtype": dtype, "chunks": (rows.sizes, (n_components,))}
        meta = np.empty(shape, kind["dtype"])
        options = {"rbm": dask.delayed(rbm), "empty": meta, "meta": meta}
        if hasattr(rows.X, "map_partitions"):
            return rows.X.map_partitions(_apply, method, **options)
        return rows.X.map_blocks(_apply, method, **options, **kind)

    def _estimator_for(self, X, scores):
        """Return the estimator for the blocks of `X`, after checking their names.

        If they need log Z for their `scores`, it is computed here, once for all of them.
        """
        check_is_fitted(self)
        _inputs.check_names(X, self.estimator_)
        if scores:
            self.estimator_._log_z_of_scores(model_of(self.estimator_))
        rbm: Any = copy.copy(self.estimator_)
        vars(rbm).pop("_learning", None)  # large, and only needed for further training
        return rbm


def _apply(X, method, rbm, empty):
    """Apply a method to a block, without a warning for each one."""
    if not X.shape[0]:
        return empty
    name = "a block of X" if rbm._reads_frames else "A block of X"
    check = {"warn": False, "name": name, "in_memory": False}
    return getattr(rbm, f"_{method}")(X, **check).astype(empty.dtype, copy=False)


# Blocks ----------------------------------------------------------------------------------


class Rows(NamedTuple):
    """The rows of a Dask collection.

    Attributes
    ----------
    X : Dask array or data frame
        The collection, with all columns in each block.
    blocks : list of Delayed
        The blocks: data frames, if the estimator reads these, and otherwise arrays.
    sizes : tuple of int or float
        Numbers of their rows, NaN if they are unknown.
    meta : ndarray or data frame
        A block without rows.
    """

    X: Any
    blocks: list[Delayed]
    sizes: tuple[float, ...]
    meta: Any

    @classmethod
    def of(cls, X, rbm) -> Self:
        """Return the rows of a collection as the estimator reads them."""
        if rbm._reads_frames and hasattr(X, "columns") and hasattr(X, "npartitions"):
            sizes = (np.nan,) * X.npartitions
            return cls(X, X.to_delayed(), sizes, _without_unknown(X._meta))
        array = _as_array(X)
        meta = X._meta if array is not X else np.empty((0, array.shape[1]), array.dtype)
        return cls(array, array.to_delayed().ravel().tolist(), array.chunks[0], meta)

    def parts(self, sample_weight):
        """Return each block, or pairs of it and its weights, if they are not None."""
        if sample_weight is None:
            return [(block,) for block in self.blocks]
        weights = _aligned(sample_weight, self.sizes)
        return list(zip(self.blocks, weights, strict=True))


def _without_unknown(meta):
    """Return an empty data frame with objects for categories that are not known."""
    from dask.dataframe.utils import UNKNOWN_CATEGORIES

    unknown = [
        label
        for label, dtype in meta.dtypes.items()
        if list(getattr(dtype, "categories", ())) == [UNKNOWN_CATEGORIES]
    ]
    return meta.astype(dict.fromkeys(unknown, object))


def _as_array(X):
    """Return a Dask collection as an array with all columns in each chunk."""
    array = X.to_dask_array() if hasattr(X, "to_dask_array") else X
    if not isinstance(array, dask.array.Array) or array.ndim != 2:
        raise ValueError(
            "X must be a Dask array with two dimensions or a Dask data frame, but got "
            f"{_name_of(X)}. {_way_out(X)}"
        )
    if array.numblocks[1] > 1:
        raise ValueError(
            f"Each chunk of X must have all columns, but there are {array.numblocks[1]} "
            "chunks of columns. Use X.rechunk({1: -1})."
        )
    return array


def _name_of(X):
    if isinstance(X, dask.array.Array):
        return f"an array of shape {X.shape}"
    return "Delayed" if isinstance(X, Delayed) else type(X).__name__


def _way_out(X):
    """Return what to do with a Dask collection that is not an array of rows."""
    join = (
        "dask.array.concatenate([dask.array.from_delayed({}, shape, dtype) for {} in {}])"
    )
    unknown = "where the shape may be (numpy.nan, n_features)"
    if isinstance(X, Delayed):
        blocks = join.format("block", "block", "blocks")
        return f"Join delayed blocks of rows by {blocks}, {unknown}."
    if hasattr(X, "to_dataframe"):  # a bag
        blocks = join.format(
            "dask.delayed(numpy.concatenate)(part)", "part", "X.to_delayed()"
        )
        return (
            "If its items are rows, use X.to_dataframe(). If they are blocks of rows, join "
            f"them by {blocks}, {unknown}."
        )
    return "Pass rows with one column for each feature."


def _aligned(sample_weight, sizes):
    """Return the blocks of the weights of rows in blocks of these sizes."""
    if dask.is_dask_collection(sample_weight):
        weights = sample_weight
        if hasattr(weights, "to_dask_array"):
            weights = weights.to_dask_array()
    else:
        weights = dask.array.asarray(np.asarray(sample_weight))
        if weights.shape == (sum(sizes),):
            weights = weights.rechunk((sizes,))
    same = weights.ndim == 1 and weights.numblocks[0] == len(sizes)
    if not same or not np.array_equal(weights.chunks[0], sizes, equal_nan=True):
        raise ValueError(
            "sample_weight must be one-dimensional, with the same chunks of rows as X, "
            f"{sizes}, but has the chunks {weights.chunks}. Use rechunk, after "
            "to_dask_array(lengths=True) if the chunks of a data frame are unknown (nan)."
        )
    return weights.to_delayed().ravel()


class Merged(NamedTuple):
    """Ranges of the features of all blocks, in place of a data set with these rows."""

    found: Ranges

    def limits(self):
        return self.found.low.min(), self.found.high.max()

    def ranges(self):
        return self.found


def _load_checked(block, read):
    """Return the data set of a block of rows, and possibly their weights."""
    X, *weights = block
    return _weighed(read(X), weights)


def _weighed(X, weights):
    """Return the data set of validated rows, and the weights that the list may have."""
    if not weights:
        return DataSet(X)
    return DataSet(X).weigh(_check_weights(weights[0], X.shape[0]))


def _check_weights(sample_weight, n_rows):
    """Validate the weights of the rows of a block, which may all be 0."""
    row_weights = np.asarray(sample_weight, dtype=np.float64)
    if row_weights.shape != (n_rows,):
        raise ValueError(
            f"A block of X has {n_rows} rows, but its sample_weight has the shape "
            f"{row_weights.shape}."
        )
    if not (np.isfinite(row_weights) & (row_weights >= 0)).all():
        raise ValueError("sample_weight has values that are negative or not finite.")
    return row_weights


def _score(rbm, *block):
    """Return the mean score of a block, its total weight, number of rows, and ranges.

    Values outside [0, 1] are left to the caller, who knows the ranges of all blocks.
    """
    model = model_of(rbm)
    X, *weights = block
    X, impossible = rbm._read_to_score(X)
    data = _weighed(X, weights).encode(model.visible.encoder)
    data.impossible = impossible
    n_rows = data.X.shape[0]
    mean, total = 0.0, float(n_rows)
    if data.weights is not None:
        total = data.weights.sum()
    if total:
        scores = rbm._score_rows(model.for_rows(len(data)), data)
        mean = _inputs.weighted_mean(scores, data.weights)
    return mean, total, n_rows, data.ranges()


def _largest_values(executor):
    """Return the largest value of each column of all validated rows, at least 0."""
    calls = [((), [block]) for block in range(executor.n_blocks)]
    largest = functools.partial(np.max, axis=0)
    return executor.reduce(_largest, None, calls, largest, keep=False)


def _largest(shared, data_sets):
    (data,) = data_sets
    return np.fmax.reduce(data.X, axis=0, initial=0)


class Loaded:
    """Block that the workers load themselves, again if it was lost."""

    def __init__(self, *parts):
        self.parts = parts

    @staticmethod
    def send(client, parts):
        return client.compute(parts, optimize_graph=False)


class Value:
    """Block in the memory of the client, which sends it again if it was lost."""

    def __init__(self, parts):
        self.parts = parts

    @staticmethod
    def send(client, parts):
        return _scatter(client, parts)


# Executor --------------------------------------------------------------------------------


class DaskExecutor(Executor):
    """Executor on the workers of a Dask cluster.

    Arguments are sent to the workers before the tasks that need them. Dask cannot rebuild
    them if their worker is lost, and then cancels these tasks. They are sent again, with
    the tasks that have no result yet.

    Parameters
    ----------
    blocks : list of Loaded or Value
        The blocks of the data. They stay on the workers until a call does not need them.
    load, n_shards
        As for `Executor`.
    client : distributed.Client
        Client of the cluster.
    """

    def __init__(self, blocks, load, n_shards, client):
        super().__init__(blocks, load, n_shards)
        self.client = client
        self._held = {}

    def __exit__(self, *error):
        self._held.clear()

    def reduce(self, function, shared, calls, merge, keep=True):
        unit = 1
        while -(-len(calls) // unit) > GROUP_SIZE:
            unit *= GROUP_SIZE
        units = {start: calls[start : start + unit] for start in range(0, len(calls), unit)}
        results: dict[int, Any] = {}
        n_losses = 0
        while len(results) < len(units):
            left = {start: unit for start, unit in units.items() if start not in results}
            try:
                futures = self._submit(function, shared, left, merge, keep)
                error = self._collect(futures, results)
            except (CancelledError, OSError, TimeoutError) as loss:
                self._held.clear()
                if self.client.status != "running":
                    raise
                stuck = len(left) == len(units) - len(results)
                n_losses = n_losses + 1 if stuck else 1
                if n_losses == _MOST_LOSSES:
                    raise _killed(n_losses) from loss
                _wait_for_workers(self.client, n_losses)
            else:
                if isinstance(error, distributed.KilledWorker):
                    raise _killed(error.allowed_failures + 1) from error
                if error is not None:
                    raise error
        return merge_in_groups(merge, [results[start] for start in units])

    def _collect(self, futures, results):
        """Add all results, by the keys of their futures; or return the error of a task."""
        try:
            for future in distributed.as_completed(futures, loop=self.client.loop):
                if future.status == "error":
                    return future.exception().with_traceback(future.traceback())
                results[futures[future]] = future.result()
        finally:
            for future in futures:
                future.release()  # also if an error refers to this frame
        return None

    def _send(self, numbers):
        """Return the futures of the parts of some blocks, all requested at once."""
        blocks = [self.blocks[number] for number in numbers]
        parts = [part for block in blocks for part in block.parts]
        futures = iter(blocks[0].send(self.client, parts) if blocks else ())
        pairs = zip(numbers, blocks, strict=True)
        return {number: [next(futures) for _ in block.parts] for number, block in pairs}

    def _submit(self, function, shared, units, merge, keep):
        """Submit groups of calls; return the future of each group with its key."""
        arguments = [call[0] for calls in units.values() for call in calls]
        shared, *arguments = _scatter(self.client, [(shared, self.load), *arguments])
        needed = {b for calls in units.values() for _, blocks in calls for b in blocks}
        held = {b: futures for b, futures in self._held.items() if b in needed}
        held |= self._send(sorted(needed - held.keys()))
        self._held = held if keep else {}
        submit = functools.partial(self.client.submit, pure=False)
        futures, arguments = {}, iter(arguments)
        for key, calls in units.items():
            results = [
                submit(_call, function, shared, next(arguments), [held[b] for b in bs])
                for _, bs in calls
            ]
            while len(results) > 1:
                results = [submit(merge, group) for group in in_groups(results)]
            futures[results[0]] = key
        return futures


def _call(function, shared, arguments, blocks):
    shared, load = shared
    return function(shared, *arguments, [load(block) for block in blocks])


def _scatter(client, values):
    """Send values to the workers, and return their futures."""
    try:
        return client.scatter(values, hash=False, timeout=1)  # then wait for workers
    except KeyError as error:  # of the address, which the scheduler does not know any more
        raise OSError("A worker was lost while it received data.") from error


def _killed(n_losses):
    """Return the error that says that workers died again and again."""
    return RuntimeError(
        f"The same tasks were lost {n_losses} times in a row, because the workers that ran "
        f"them, or had their data, died. {_ADVICE}"
    )


def _wait_for_workers(client, n_losses=0):
    """Wait for a running worker, but not without end."""
    lost = ""
    if n_losses:
        lost = f" Workers were lost while they ran tasks (losses in a row: {n_losses})."
    try:
        client.wait_for_workers(1, timeout=_WARNED_WAIT)
        return
    except TimeoutError:
        warnings.warn(
            f"Waiting for workers: the cluster has had none for {_WARNED_WAIT} seconds. "
            f"After {_LONGEST_WAIT} seconds, this is an error.{lost}",
            stacklevel=2,
        )
    try:
        client.wait_for_workers(1, timeout=_LONGEST_WAIT - _WARNED_WAIT)
    except TimeoutError as error:
        raise TimeoutError(
            f"The cluster has had no running worker for {_LONGEST_WAIT} seconds.{lost} "
            f"Start workers, and see why the last ones died or did not start. {_ADVICE}"
        ) from error
