"""The positive and negative phase of a learning step, dense or sparse, and the gradient.

The gradient of the mean log-likelihood is the difference of two means, one over the
minibatch (positive phase) and one over the chains (negative phase), which may differ in
their number of rows. `multiply` multiplies each row by its share, so that only plain sums
over the rows of both phases remain. With visible rows v, weighted hidden rows s, and
offsets mu and lambda of the visible and hidden units, the centered gradient is::

    dW = v' s - mu dh' - dv lambda'       dv, dh: differences of the two mean rows
    db = dv - dW lambda                   dc = dh - dW' mu

The plain gradient is the same with both offsets set to zero.

Montavon, G. and Mueller, K.-R. (2012). Deep Boltzmann machines and the centering trick.
Neural Networks: Tricks of the Trade, 621-637.

Melchior, J., Fischer, A. and Wiskott, L. (2016). How to center deep Boltzmann machines.
JMLR, 17(99), 1-61.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from skrbm import _binary_rows, _kernels
from skrbm._data import DataSet
from skrbm._model import RBM, Products


class Phases(abc.ABC):
    """Base class of all phases, with the hidden rows, which are always dense.

    Subclasses hold the visible rows. In arrays that contain the rows of both phases, the
    positive rows come first. In each step, these methods are called in this order: `load`,
    `set_row_weights` if rows have weights, `draw_gaps` if cells are missing, then by the
    solver `infer_positive` or `sample_negative` or both, `multiply`, and `add_gradient`.
    The means can be asked for between `load` and `multiply`, that of the hidden rows once
    they are inferred.

    Attributes
    ----------
    n_most : int
        Largest number of rows of both phases.
    positive_visible : ndarray of shape (n_positive, n_encoded) or None
        The positive rows. None if they are sparse.
    """

    positive_visible: Any = None

    def __init__(self, model: RBM, max_rows: int, allocate=np.empty):
        self.n_most = max_rows
        self._hidden = allocate((max_rows, len(model.hidden_bias)), dtype=model.dtype)
        self._draw_states = model.visible.draw_states
        self.n_positive = self.n_negative = 0

    @abc.abstractmethod
    def load(
        self,
        data: DataSet,
        rows: slice | np.ndarray,
        n_negative: Callable[[int], int],
        rng: np.random.Generator | None = None,
    ) -> None:
        """Load data rows and reserve space for ``n_negative(n_positive)`` negative rows.

        If `rng` is given, values between 0 and 1 are taken as probabilities and replaced by
        drawn states.
        """

    def draw_gaps(
        self, model: RBM, missing: np.ndarray, n_steps: int, rng: np.random.Generator
    ) -> None:
        """Take Gibbs steps that change the positive rows only where values are `missing`.

        The last of them may be left to what the solver calls.
        """
        for _ in model.gibbs_given(self.positive_visible, missing, n_steps, rng):
            pass

    @abc.abstractmethod
    def infer_positive(self, model: RBM) -> None:
        """Compute the hidden means of the positive rows."""

    def sample_positive(self, model: RBM, rng: np.random.Generator) -> np.ndarray:
        """Compute the hidden means of the positive rows, and return draws of them."""
        self.infer_positive(model)
        states = np.empty_like(self.positive_hidden)
        return _kernels.bernoulli(self.positive_hidden, rng, out=states)

    @abc.abstractmethod
    def sample_negative(
        self,
        model: RBM,
        chains: np.ndarray,
        rng: np.random.Generator,
        infer_positive: bool,
        continue_chains: bool = False,
    ) -> None:
        """Draw the negative rows from the chains and compute their hidden means.

        If `infer_positive` is True, the hidden means of the positive rows are computed as
        well. If `continue_chains` is True, the chains go on to hidden states drawn from the
        means of the negative rows.
        """

    @abc.abstractmethod
    def mean_visible(self) -> np.ndarray:
        """Return the mean of the positive visible rows."""

    def _resize(self, n_positive, n_negative):
        if (n_positive, n_negative) != (self.n_positive, self.n_negative):
            self._have_resized(n_positive, n_negative)

    def _have_resized(self, n_positive, n_negative):
        """Make the views of the arrays that depend on the numbers of rows."""
        self.n_positive, self.n_negative = n_positive, n_negative
        self.n_rows = n_positive + n_negative
        self.hidden = self._hidden[: self.n_rows]
        self.positive_hidden = self.hidden[:n_positive]
        self.negative_hidden = self.hidden[n_positive:]
        self._shares = np.empty(self.n_rows, dtype=self.hidden.dtype)
        self.set_row_weights(np.ones(n_positive), paired=False)

    def set_row_weights(self, row_weights: np.ndarray, paired: bool) -> None:
        """Set the weights of the data rows of this minibatch, which are typically 1.

        The chains get the same total weight, so that the result is the difference of two
        means, times the mean weight. If `paired` is True, each chain started at a data row
        and gets the weight of that row, as chains of repeated rows would.
        """
        self.weight = float(row_weights.sum())
        self._parts = (row_weights / self.weight).astype(self._shares.dtype)  # sum to 1
        shares = row_weights / self.n_positive
        of_chains = shares if paired else self.weight / self.n_positive / self.n_negative
        self._shares[: self.n_positive] = shares
        np.negative(of_chains, out=self._shares[self.n_positive :])

    def mean_hidden(self) -> np.ndarray:
        """Return the mean of the positive hidden rows."""
        return self._parts @ self.positive_hidden

    @abc.abstractmethod
    def multiply(self, rate: float) -> None:
        """Multiply the hidden rows by `rate` and by their share in the two means.

        Afterwards `hidden` may contain these products, the rows s.
        """

    @abc.abstractmethod
    def add_gradient(self, model: RBM, offsets: tuple[np.ndarray, np.ndarray]) -> None:
        """Add the centered gradient, times the rate of `multiply`, to `model` in place.

        `offsets` are the offsets of the visible and of the hidden units.
        """


class ProductPhases(Phases):
    """Base class of phases whose gradient is computed by products of matrices."""

    @abc.abstractmethod
    def _combine_visible(self, shares: np.ndarray) -> list[np.ndarray]:
        """Return the `VisibleUnits.differences` of the rows with these shares."""

    @abc.abstractmethod
    def _add_weights_gradient(
        self, weights: np.ndarray, mu: np.ndarray, lam: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add the gradient of the weights to `weights`; return the bias gradients."""

    def multiply(self, rate):
        # The differences are multiplied as well.
        shares = self._shares * rate
        self.hidden *= shares[:, None]
        self._differences = self._combine_visible(shares)
        self._dv = self._differences[0]
        self._dh = np.add.reduce(self.hidden, axis=0)

    def add_gradient(self, model, offsets):
        db, dc = self._add_weights_gradient(model.weights, *offsets)
        model.visible.add_gradient(db, self._differences)
        np.add(model.hidden_bias, dc, out=model.hidden_bias)


class DensePhases(ProductPhases):
    """Dense phases, stored in one array: positive, negative and two rows for centering.

    The hidden inputs of both phases are computed in a single product, as is the
    gradient including its centering terms. With few rows, this takes little more than half
    the time of separate products.
    """

    def __init__(self, model, max_positive, max_negative):
        max_rows = max_positive + max_negative + 2
        super().__init__(model, max_rows)
        self._stack = np.empty((max_rows, len(model.visible)), dtype=model.dtype)
        self._gradient = np.empty_like(model.weights)
        self._units = model.visible

    def load(self, data, rows, n_negative, rng=None):
        loaded = data.take_dense(rows, self._stack)
        if rng is not None:
            self._draw_states(loaded, rng)
        self._resize(len(loaded), n_negative(len(loaded)))
        self.visible = self._stack[: self.n_rows]
        self.positive_visible = self.visible[: self.n_positive]
        self.negative_visible = self.visible[self.n_positive :]

    def infer_positive(self, model):
        model.mean_hidden(self.positive_visible, out=self.positive_hidden)

    def sample_negative(self, model, chains, rng, infer_positive, continue_chains=False):
        model.sample_visible(chains, rng, out=self.negative_visible)
        v, mean = self.negative_visible, self.negative_hidden
        if infer_positive:
            v, mean = self.visible, self.hidden
        Products(model, v).mean_hidden(mean, rng, chains if continue_chains else None)

    def mean_visible(self):
        return self.positive_visible.T @ self._parts

    def _combine_visible(self, shares):
        return self._units.differences(self.visible, shares)

    def _add_weights_gradient(self, weights, mu, lam):
        n, dv, dh = self.n_rows, self._dv, self._dh
        v, s = self._stack[: n + 2], self._hidden[: n + 2]
        v[n], v[n + 1] = mu, dv
        np.negative(dh, out=s[n])
        np.negative(lam, out=s[n + 1])
        weights += _kernels.product(v.T, s, self._gradient)
        db = dv - (s @ lam) @ v
        return db, dh - (v @ mu) @ s if mu.any() else dh


class SparsePhases(ProductPhases):
    """Sparse phases: the data rows stay sparse and the sampled rows are stored as sparse.

    With many features, the weights do not fit into the cache, and reading them dominates
    the time of a step. A step therefore reads them only twice, in blocks of features: once
    to draw the negative rows and infer the hidden rows of both phases, and once for the
    update. For this, the data rows are stored by feature, in shape (n_features, n_rows),
    and the sampled rows are stored by blocks of features.
    """

    def __init__(self, model, max_positive, max_negative):
        super().__init__(model, max_positive + max_negative)
        self._n_features = len(model.visible)
        self._blocks = model.visible.blocks()
        size = self._blocks[0].stop * max_negative
        self._log_odds = np.empty(size, dtype=model.dtype)
        self._on = np.empty(size, dtype=bool)

    def load(self, data, rows, n_negative, rng=None):
        batch = data.take_sparse(rows, self._hidden.dtype)
        if rng is not None:
            self._draw_states(batch.data, rng)
        self._resize(batch.shape[0], n_negative(batch.shape[0]))
        self._positive = _kernels.SparseRows.from_csr(batch.tocsc().T)

    def infer_positive(self, model):
        self.positive_hidden[...] = model.hidden_bias
        self._positive.add_transposed_product(model.weights, self.positive_hidden)
        _kernels.logistic(self.positive_hidden)

    def sample_negative(self, model, chains, rng, infer_positive, continue_chains=False):
        inferred = self.hidden if infer_positive else self.negative_hidden
        inferred[...] = model.hidden_bias
        self._negative = []
        for features in self._blocks:
            weights = model.weights[features]
            size, shape = len(chains) * len(weights), (len(chains), len(weights))
            log_odds = self._log_odds[:size].reshape(shape)
            on = self._on[:size].reshape(shape)
            _kernels.product_with_transpose(chains, weights, log_odds)
            model.visible.sample(log_odds, rng, on, features)
            on = _kernels.SparseRows.from_bool(on, self.hidden.dtype)
            self._negative.append(on)
            on.add_product(weights, self.negative_hidden)
            if infer_positive:
                block = self._positive.block(features)
                block.add_transposed_product(weights, self.positive_hidden)
        _kernels.logistic(inferred)
        if continue_chains:
            _kernels.bernoulli(self.negative_hidden, rng, out=chains)

    def mean_visible(self):
        mean = np.zeros(self._n_features, dtype=self._hidden.dtype)
        self._positive.add_product(self._parts, mean)
        return mean

    def _combine_visible(self, shares):
        total = np.zeros(self._n_features, dtype=shares.dtype)
        self._positive.add_product(shares[: self.n_positive], total)
        for features, negative in zip(self._blocks, self._negative, strict=True):
            negative.add_transposed_product(shares[self.n_positive :], total[features])
        return [total]

    def _add_weights_gradient(self, weights, mu, lam):
        s, dv, dh = self.hidden, self._dv, self._dh
        left, right = np.stack([mu, dv]), np.stack([-dh, -lam])
        projected = np.zeros(self.n_rows, dtype=s.dtype)
        self._positive.add_transposed_product(mu, projected[: self.n_positive])
        for features, negative in zip(self._blocks, self._negative, strict=True):
            block = weights[features]
            block += left[:, features].T @ right
            self._positive.block(features).add_product(self.positive_hidden, block)
            negative.add_transposed_product(self.negative_hidden, block)
            negative.add_product(mu[features], projected[self.n_positive :])
        db = dv - self._combine_visible(s @ lam)[0] - (right @ lam) @ left
        dc = dh - projected @ s - (left @ mu) @ right
        return db, dc


class _Part(NamedTuple):
    """Views of the arrays of `BinaryPhases` for some of the visible rows.

    Attributes
    ----------
    lists : Lists
        The units of the bits that are on.
    rest : ndarray or None
        The values after the bits.
    given : Lists
        The units that are on in the hidden rows that the rows are drawn from.
    states : uint8 ndarray
        Bits that are drawn.
    """

    lists: _binary_rows.Lists
    rest: np.ndarray | None
    given: _binary_rows.Lists
    states: np.ndarray

    def rows(self, start, stop):
        rest = None if self.rest is None else self.rest[start:stop]
        lists, given = (each.rows(start, stop) for each in (self.lists, self.given))
        return _Part(lists, rest, given, self.states[start:stop])


class BinaryPhases(Phases):
    """Phases of rows that begin with bits, or are sparse, for the compiled core.

    Rows are lists of the units that are on, and instead of matrix products there are sums
    of rows of the weights. Values after the bits are stored in an array. Models whose
    weights are not aligned are copied at each step.

    The last draw of missing cells is left to `infer_positive` or `sample_negative`, which
    makes it together with that of the negative rows.
    """

    def __init__(self, model, max_positive, max_negative):
        n_features, n_components = model.weights.shape
        n_bits, max_rows = model.visible.n_bits, max_positive + max_negative
        super().__init__(model, max_rows, _binary_rows.aligned_zeros)
        self._max_positive, self._n_bits = max_positive, n_bits
        self._values = self._key_of_gaps = None
        rest = None
        if model.visible.rest is not None:
            rest = np.empty((max_rows, n_features - n_bits), model.dtype)
        self._arrays = _Part(
            _binary_rows.empty_lists(max_rows, n_bits),
            rest,
            _binary_rows.empty_lists(max_rows, n_components),
            np.empty((max_rows, n_bits), dtype=np.uint8),
        )
        self._next_hidden = np.empty((max_rows, n_components), dtype=np.uint8)
        self._work = _binary_rows.work_space(model.align().weights)
        self._update = _binary_rows.Update(self._arrays.lists, model)

    def _have_resized(self, n_positive, n_negative):
        super()._have_resized(n_positive, n_negative)
        self._both = self._arrays.rows(0, self.n_rows)
        self._positive = self._arrays.rows(0, n_positive)
        self._negative = self._arrays.rows(n_positive, self.n_rows)

    def load(self, data, rows, n_negative, rng=None):
        dtype = self._hidden.dtype
        n_positive = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        self._resize(n_positive, n_negative(n_positive))
        lists, rest, *_ = self._positive
        if data.is_sparse:
            batch = data.take_sparse(rows, dtype)
            if rng is not None:
                _binary_rows.draw_rows(batch, rng)
            batch.eliminate_zeros()
            lists.indptr[:] = batch.indptr
            lists.indices[: batch.nnz] = batch.indices
            return
        if self._values is None:
            shape = self._max_positive, data.n_encoded
            reals = rng is not None or rest is not None
            self._values = np.empty(shape, dtype if reals else data.X.dtype)
        v = data.take_dense(rows, self._values)
        if rng is not None:
            _binary_rows.draw_rows(v, rng)
        self.positive_visible = v
        self._list_positive()

    def _list_positive(self):
        """Store the positive rows as bits and rest, and list them."""
        lists, rest, _, states = self._positive
        bits = self.positive_visible
        if rest is not None:
            rest[...] = bits[:, self._n_bits :]
            states[...] = bits[:, : self._n_bits]
            bits = states
        _binary_rows.list_rows(bits, lists)

    def draw_gaps(self, model, missing, n_steps, rng):
        model, h = model.align(), self._next_hidden[: self.n_positive]
        self._gaps = missing
        for _ in range(n_steps):
            self._finish_gaps(model)
            self._infer(model, self._positive, keys=_binary_rows.draw_key(rng), states=h)
            _binary_rows.list_rows(h, self._positive.given)
            self._key_of_gaps = _binary_rows.draw_key(rng)

    def _finish_gaps(self, model):
        if self._key_of_gaps is not None:
            self._draw_visible(model, self._positive, self._key_of_gaps)
            self._fill_gaps(model.visible.rest)

    def _fill_gaps(self, units):
        """Change the positive rows to what has been drawn where cells are missing.

        `units` are those after the bits.
        """
        _, rest, _, states = self._positive
        v, gaps, n_bits = self.positive_visible, self._gaps, self._n_bits
        np.copyto(v[:, :n_bits], states, where=gaps[:, :n_bits], casting="unsafe")
        if rest is not None:
            complete = units.given(units.cells(v[:, n_bits:]), gaps[:, n_bits:])
            v[:, n_bits:] = complete(rest)
        self._list_positive()
        self._key_of_gaps = None

    def _draw_visible(self, model, part, key):
        """Draw visible rows from the hidden rows that they are given."""
        rest = {} if part.rest is None else {"rest": part.rest}
        options = {"keys": key, "states": part.states, "work": self._work, **rest}
        model.visible.from_lists(part.given, model.weights, **options)

    def _infer(self, model, part, **options):
        """Compute the hidden units of visible rows."""
        arguments = part.lists, model.weights, model.hidden_bias
        _binary_rows.hidden(*arguments, rest=part.rest, **options)

    def infer_positive(self, model):
        model = model.align()
        self._finish_gaps(model)
        self._infer(model, self._positive, mean=self.positive_hidden)

    def sample_positive(self, model, rng):
        model, states = model.align(), np.empty_like(self.positive_hidden)
        self._finish_gaps(model)
        drawn, key = self._next_hidden[: self.n_positive], _binary_rows.draw_key(rng)
        options = {"keys": key, "mean": self.positive_hidden, "states": drawn}
        self._infer(model, self._positive, **options)
        states[...] = drawn
        return states

    def sample_negative(self, model, chains, rng, infer_positive, continue_chains=False):
        model, key, drawn = model.align(), _binary_rows.draw_key(rng), self._negative
        _binary_rows.list_rows(chains, drawn.given)
        if self._key_of_gaps is not None:
            key, drawn = self._key_of_gaps, self._both
        self._draw_visible(model, drawn, key)
        if drawn is self._both:
            self._fill_gaps(model.visible.rest)
        _binary_rows.list_rows(self._negative.states, self._negative.lists)
        next_chains = self._next_hidden[: len(chains)] if continue_chains else None
        self._infer(
            model,
            self._both if infer_positive else self._negative,
            keys=key,
            mean=self.hidden if infer_positive else self.negative_hidden,
            states=next_chains,
        )
        if continue_chains:
            chains[...] = next_chains

    def mean_visible(self):
        (indptr, indices, n_bits), rest, *_ = self._positive
        parts = np.repeat(self._parts, np.diff(indptr))
        mean = np.bincount(indices[: indptr[-1]], parts, minlength=n_bits)
        return mean if rest is None else np.append(mean, self._parts @ rest)

    def mean_hidden(self):
        return _binary_rows.combine(self.positive_hidden, self._parts)

    def multiply(self, rate):
        self._update.weigh(self.hidden, self._shares * self._shares.dtype.type(rate))

    def add_gradient(self, model, offsets):
        self._update.add_to(model, self._both.lists, offsets, self._both.rest)


def phases_for(learned, settings, data: DataSet, solver) -> Phases:
    """Return the phases for minibatches of a data set, on the engine that suits its rows.

    The models of `learned` are aligned if, and only if, it is the compiled core.
    """
    visible = learned.model.visible
    bits = settings.binarize or visible.are_states(data.summary)
    compiled = bits and settings.compiled and learned.model.may_use_core
    learned.align(compiled)
    of_products = SparsePhases if data.is_sparse else DensePhases
    phases = BinaryPhases if compiled else of_products
    n_positive = min(settings.batch_size, len(data))
    return phases(learned.model, n_positive, solver.n_negative(n_positive))
