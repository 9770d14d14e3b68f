"""Parameters of a restricted Boltzmann machine and the functions computed from them.

With visible states v, hidden states h in {0, 1}, weights W and hidden bias c, the energy
for Bernoulli visible units with bias b is::

    E(v, h) = - b . v - c . h - v . W . h,        p(v, h) = exp(-E(v, h)) / Z

Other kinds of visible units replace the term ``- b . v``, see `skrbm._units`. This module
does not depend on data sets, training or scikit-learn. Rows are samples. Visible rows are
dense or CSR, in the dtype of the model. All random draws use the generator that is passed
in.

There are two engines: products of matrices by NumPy, and sums of rows of the weights by the
compiled core, for rows of 0 and 1, or rows that begin with these. `RBM.given_visible` and
`RBM.given_hidden` choose between them.
"""

import dataclasses
import functools
from typing import Self

import numpy as np
import scipy.sparse as sp

from skrbm import _binary_rows, _kernels, _real_rows
from skrbm._units import VisibleUnits

# From this number of rows on, aligning a model takes less time than it saves. Results may
# differ in the last bits from those for fewer rows.
_MANY_ROWS = 64


@dataclasses.dataclass(frozen=True, eq=False)
class RBM:
    """Parameters of a restricted Boltzmann machine.

    Attributes
    ----------
    weights : ndarray of shape (n_features, n_components)
        Interaction weights, row by row in memory: C-contiguous for matrix products, or
        aligned and padded for the compiled core.
    visible : VisibleUnits
        The visible units, with their parameters.
    hidden_bias : ndarray of shape (n_components,)
        Biases of the hidden units.
    """

    weights: np.ndarray
    visible: VisibleUnits
    hidden_bias: np.ndarray

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All parameter arrays: weights, those of the visible units, hidden bias."""
        return self.weights, *self.visible.arrays, self.hidden_bias

    def map(self, function, *others) -> Self:
        """Apply a function to the arrays of this and other models; return a new model."""
        return type(self)(
            function(self.weights, *(other.weights for other in others)),
            self.visible.map(function, *(other.visible for other in others)),
            function(self.hidden_bias, *(other.hidden_bias for other in others)),
        )

    def copy(self) -> Self:
        return self.map(np.copy)

    def astype(self, dtype) -> Self:
        """Return this model in another dtype, prepared for many rows."""
        if self.is_aligned and self.dtype == dtype:
            return self
        return self.map(lambda array: np.ascontiguousarray(array, dtype=dtype)).align()

    def exchanged(self) -> Self:
        """Return the model whose visible units are the hidden ones, and the reverse."""
        return type(self)(*self.visible.exchange(self.weights, self.hidden_bias))

    def __getstate__(self):
        return self.weights, self.visible, self.hidden_bias, self.is_aligned

    def __setstate__(self, state):
        """Align the arrays again, which pickling stores without padding, and anywhere."""
        *parts, aligned = state
        model = type(self)(*parts).map(lambda array: np.require(array, requirements="A"))
        model = model.align() if aligned else model
        vars(self).update(
            weights=model.weights, visible=model.visible, hidden_bias=model.hidden_bias
        )

    # Engine ---------------------------------------------------------------------------

    @property
    def may_use_core(self) -> bool:
        """Whether the compiled core can compute with rows of this model."""
        return _binary_rows.core is not None and self.visible.n_bits > 0

    @property
    def core_draws(self) -> bool:
        """Whether the compiled core draws hidden units of dense rows.

        The draws for sparse rows, which are those for the same rows if they are dense, are
        made by NumPy.
        """
        return _binary_rows.core is not None and not self.visible.sparse

    @property
    def is_aligned(self) -> bool:
        """Whether the weights are aligned, as the compiled core needs them."""
        return self.may_use_core and self._has_padding

    @functools.cached_property
    def _has_padding(self):
        return _binary_rows.is_aligned(self.weights)

    def align(self) -> Self:
        """Return this model with aligned weights if the compiled core can use them.

        They are copied, unless they are aligned already.
        """
        if not self.may_use_core or self.is_aligned:
            return self
        return dataclasses.replace(self, weights=_binary_rows.align(self.weights))

    def unaligned(self) -> Self:
        """Return this model with weights that are contiguous in memory."""
        return self.copy() if self.is_aligned else self

    def for_rows(self, n_rows: int) -> Self:
        """Return this model, aligned if `n_rows` rows are worth a copy of the weights."""
        return self.align() if n_rows >= _MANY_ROWS else self

    def given_hidden(self, h):
        """Return the engine for hidden rows."""
        lists = _binary_rows.lists(h) if self.is_aligned else None
        return Products(self, h) if lists is None else Sums(self, lists)

    def given_visible(self, v):
        """Return the engine for visible rows."""
        if not self.is_aligned or self.visible.rest is None:
            return self.given_hidden(v)
        n = self.visible.n_bits
        lists = _binary_rows.lists(v[:, :n])
        return Products(self, v) if lists is None else Sums(self, lists, v[:, n:])

    @property
    def dtype(self) -> np.dtype:
        return self.weights.dtype

    @property
    def n_enumerated(self) -> int:
        """Number of units of the smaller layer, of those whose states can be enumerated."""
        n_visible, n_hidden = self.weights.shape
        return min(n_visible, n_hidden) if self.visible.enumerable else n_hidden

    def empty(self, n_rows: int, n_columns: int) -> np.ndarray:
        """Return an array for rows of values."""
        return np.empty((n_rows, n_columns), dtype=self.dtype)

    # Half-steps -----------------------------------------------------------------------

    def hidden_input(self, v, out=None) -> np.ndarray:
        """Return ``v W + c``, the log-odds of each hidden unit."""
        out = self.empty(v.shape[0], len(self.hidden_bias)) if out is None else out
        return self.given_visible(v).hidden_input(out)

    def mean_hidden(self, v, out=None) -> np.ndarray:
        """Return ``p(h_j = 1 | v)``."""
        out = self.empty(v.shape[0], len(self.hidden_bias)) if out is None else out
        return self.given_visible(v).mean_hidden(out)

    def mean_visible(self, h) -> np.ndarray:
        """Return the mean of each visible unit given `h`."""
        return self.given_hidden(h).mean_visible()

    def sample_hidden(self, v, rng, out=None) -> np.ndarray:
        """Draw ``h ~ p(h | v)``."""
        return self.given_visible(v).sample_hidden(rng, out)

    def draw_hidden(self, log_odds, rng) -> np.ndarray:
        """Return hidden states drawn from their log-odds, which they overwrite."""
        _real_rows.draw_hidden(
            log_odds, 1.0, [(slice(None), rng)], compiled=self.is_aligned
        )
        return log_odds

    def sample_visible(self, h, rng, out=None) -> np.ndarray:
        """Draw ``v ~ p(v | h)``."""
        return self.given_hidden(h).sample_visible(rng, out)

    def gibbs(self, h: np.ndarray, n_steps: int, rng: np.random.Generator) -> None:
        """Run `n_steps` Gibbs steps h -> v -> h on the hidden states `h`, in place."""
        bits = self.is_aligned and self.visible.rest is None
        dtype = np.uint8 if bits else self.dtype
        v = np.empty((len(h), len(self.visible)), dtype=dtype) if n_steps else None
        for _ in range(n_steps):
            self.sample_hidden(self.sample_visible(h, rng, out=v), rng, out=h)

    def gibbs_given(self, v, free, n_steps, rng):
        """Run Gibbs steps v -> h -> v that change the rows `v` only where `free`, in place.

        Yields the hidden states of each step, before `v` changes.
        """
        complete = self.visible.given(self.visible.cells(v.copy()), free)
        for _ in range(n_steps):
            h = self.sample_hidden(v, rng)
            yield h
            np.copyto(v, complete(self.sample_visible(h, rng)), casting="unsafe")

    def gibbs_between(self, base, v, hidden_input, beta, generators):
        """Take a Gibbs step v -> h -> v between independent features and this model.

        Parameters
        ----------
        base : VisibleUnits
            The independent features.
        v : ndarray of shape (n_rows, n_encoded)
            Replaced by the new visible rows.
        hidden_input : ndarray of shape (n_rows, n_components)
            Hidden input of the rows, which is overwritten.
        beta : float or ndarray of shape (n_rows, 1)
            Inverse temperatures.
        generators : list of pairs (slice of rows, generator for these rows)
        """
        engine = Sums if self.is_aligned else Products
        engine.gibbs_between(self, base, v, hidden_input, beta, generators)

    # Energies -------------------------------------------------------------------------

    def free_energy(self, v, hidden_input=None) -> np.ndarray:
        """Return ``F(v) = -log sum_h exp(-E(v, h))`` of each row, in nats, as float64.

        For Bernoulli units, ``F(v) = - b . v - sum_j log(1 + exp(c_j + (v W)_j))``. The
        hidden input is computed unless it is given.
        """
        hidden = self.hidden_input(v) if hidden_input is None else hidden_input
        return -self.visible.minus_energy(v) - _binary_rows.softplus_sums(hidden)

    def hidden_free_energy(self, h) -> np.ndarray:
        """Return ``F(h) = -log sum_v exp(-E(v, h))`` of each row, in nats, as float64.

        The energy is linear in `h`, which may contain means as well.
        """
        result = -(h @ self.hidden_bias).astype(np.float64)
        for rows in _kernels.row_blocks(len(h), len(self.weights), _kernels.WORK_SIZE):
            x = self.given_hidden(h[rows]).visible_input()
            result[rows] -= self.visible.log_normalizer(x)
        return result

    def pseudo_log_likelihood(self, v, columns=None, missing=None) -> np.ndarray:
        """Return the pseudo-log-likelihood of each row, in nats, as float64.

        This is the sum over visible units of the log-probability of their value given all
        other units. If `columns` is given, the sum is taken over these units only and
        scaled up to all units. Terms of `missing` values are left out.
        """
        return self.visible.pseudo_log_likelihood(
            v, self.hidden_input(v), self.weights, columns, missing
        )

    def conditionals(self, v, features):
        """Yield the distributions of columns of the data, each given all other columns.

        See `VisibleUnits.conditionals`.
        """
        return self.visible.conditionals(v, self.hidden_input(v), self.weights, features)

    def row_size(self, sparse: bool, gaps: bool = False) -> int:
        """Return the number of values to reserve in memory per row during computations.

        This covers a row of visible or of hidden states, dense or sparse, or with gaps.
        """
        if sparse:
            return max(len(self.hidden_bias), _kernels.FEATURE_BLOCK)
        return max(*self.weights.shape, self.visible.size_of_gaps if gaps else 0)


class Products:
    """Half-steps from dense or CSR rows, by products of matrices.

    Parameters
    ----------
    model : RBM
    rows : {ndarray, CSR array} of shape (n_rows, n_units)
    """

    def __init__(self, model, rows):
        self.model, self.rows = model, rows

    def _multiply(self, out):
        weights, v = self.model.weights, self.rows
        if sp.issparse(v):
            out[...] = 0
            _kernels.SparseRows.from_csr(v).add_product(weights, out)
        else:
            _kernels.product(v, weights, out)
        return out

    def hidden_input(self, out):
        self._multiply(out)
        out += self.model.hidden_bias
        return out

    def mean_hidden(self, out, rng=None, states=None):
        """Write the means, and draws of the last rows if `states` are given."""
        model = self.model
        _real_rows.infer_hidden(
            self._multiply(out), model.hidden_bias, rng, states, compiled=model.core_draws
        )
        return out

    def sample_hidden(self, rng, out):
        model = self.model
        if out is None:
            out = model.empty(self.rows.shape[0], len(model.hidden_bias))
        return self.mean_hidden(out, rng, out)

    def visible_input(self, weights=None, bias=None):
        """Return the products of hidden rows with each row of the weights, plus a bias."""
        h = self.rows
        if weights is not None:
            return _kernels.product(h, weights.T, alone=True) + bias
        weights = self.model.weights
        out = np.empty((len(h), len(weights)), np.result_type(h, weights))
        return _kernels.product_with_transpose(h, weights, out)

    def mean_visible(self):
        return self.model.visible.mean(self.visible_input())

    def sample_visible(self, rng, out):
        model, h = self.model, self.rows
        out = model.empty(len(h), len(model.visible)) if out is None else out
        _kernels.product_with_transpose(h, model.weights, out)
        return model.visible.sample(out, rng, out)

    @staticmethod
    def gibbs_between(model, base, v, hidden_input, beta, generators):
        h = hidden_input
        _real_rows.draw_hidden(h, beta, generators, compiled=model.core_draws)
        _kernels.product_with_transpose(h, model.weights, v)
        model.visible.sample_between(base, v, beta, generators)


class Sums:
    """Half-steps from lists of the units that are on, by the compiled core.

    States are drawn in `out` or in the dtype of the model.

    Parameters
    ----------
    model : RBM
        Aligned.
    lists : Lists
    rest : ndarray, default=None
        Values after the bits of visible rows.
    """

    def __init__(self, model, lists, rest=None):
        self.model, self.lists, self.rest = model, lists, rest
        self.n_rows = len(lists.indptr) - 1

    def hidden_input(self, out):
        self._hidden(total=out)
        return out

    def mean_hidden(self, out):
        return _kernels.logistic(self.hidden_input(out))

    def sample_hidden(self, rng, out):
        n = len(self.model.hidden_bias)
        out = self.model.empty(self.n_rows, n) if out is None else out
        return _draw(self._hidden, _binary_rows.draw_key(rng), out, n)

    def _hidden(self, **options):
        arguments = self.lists, self.model.weights, self.model.hidden_bias
        _binary_rows.hidden(*arguments, rest=self.rest, **options)

    def visible_input(self, weights=None, bias=None):
        weights = self.model.weights if weights is None else _binary_rows.align(weights)
        bias = np.zeros(len(weights), weights.dtype) if bias is None else bias
        total = np.empty((self.n_rows, len(weights)), weights.dtype)
        _binary_rows.visible(self.lists, weights, bias, total=total)
        return total

    def mean_visible(self):
        model = self.model
        mean = model.empty(self.n_rows, len(model.visible))
        model.visible.from_lists(self.lists, model.weights, mean=mean)
        return mean

    def sample_visible(self, rng, out):
        model, visible = self.model, self.model.visible
        out = model.empty(self.n_rows, len(visible)) if out is None else out
        half_step = functools.partial(visible.from_lists, self.lists, model.weights)
        return _draw(half_step, _binary_rows.draw_key(rng), out, visible.n_bits)

    @staticmethod
    def gibbs_between(model, base, v, hidden_input, beta, generators):
        scale = np.empty(len(v), dtype=model.dtype)
        scale[...] = np.asarray(beta).reshape(-1)
        keys = _binary_rows.draw_keys(generators)
        h = _binary_rows.draw_hidden(hidden_input, model.weights, scale, keys)
        half_step = functools.partial(
            model.visible.from_lists,
            _binary_rows.lists(h),
            model.weights,
            base=base,
            scale=scale,
        )
        _draw(half_step, keys, v, model.visible.n_bits)


def _draw(half_step, keys, out, n_bits):
    """Write draws of a half-step into rows, which begin with this number of bits."""
    in_place = out.dtype == np.uint8
    states = out if in_place else np.empty((len(out), n_bits), dtype=np.uint8)
    rest = {"rest": out[:, n_bits:]} if n_bits < out.shape[1] else {}
    half_step(keys=keys, states=states, **rest)
    if not in_place:
        out[:, :n_bits] = states
    return out
