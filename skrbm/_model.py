"""Parameters of a restricted Boltzmann machine and the functions computed from them.

With visible states v, hidden states h in {0, 1}, weights W and hidden bias c, the energy
for Bernoulli visible units with bias b is::

    E(v, h) = - b . v - c . h - v . W . h,        p(v, h) = exp(-E(v, h)) / Z

Other kinds of visible units replace the term ``- b . v``, see `skrbm._visible`. This module
does not depend on data sets, training or scikit-learn. Rows are samples. Visible rows are
dense or CSR, in the dtype of the model. All random draws use the generator that is passed
in.
"""

import dataclasses
import functools
from typing import Self

import numpy as np
import scipy.sparse as sp

from skrbm import _binary_rows, _kernels
from skrbm._visible import BernoulliUnits

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
    visible : BernoulliUnits
        The visible units, with their parameters.
    hidden_bias : ndarray of shape (n_components,)
        Biases of the hidden units.
    """

    weights: np.ndarray
    visible: BernoulliUnits
    hidden_bias: np.ndarray

    @classmethod
    def bernoulli(cls, weights, visible_bias, hidden_bias) -> Self:
        """Return a model with Bernoulli visible units."""
        return cls(weights, BernoulliUnits(visible_bias), hidden_bias)

    @property
    def arrays(self):
        """All parameter arrays: weights, those of the visible units, hidden bias."""
        return self.weights, *self.visible.arrays, self.hidden_bias

    def __iter__(self):
        return iter(self.arrays)

    def map(self, function, *others) -> Self:
        """Apply a function to the arrays of this and other models; return a new model."""
        return type(self)(
            function(self.weights, *(other.weights for other in others)),
            self.visible.map(function, *(other.visible for other in others)),
            function(self.hidden_bias, *(other.hidden_bias for other in others)),
        )

    def copy(self) -> Self:
        return self.map(np.copy)

    def __getstate__(self):
        return self.weights, self.visible, self.hidden_bias, self.is_aligned

    def __setstate__(self, state):
        """Align the weights again, which pickling stores without their padding."""
        weights, visible, hidden_bias, aligned = state
        if aligned and _binary_rows.core is not None:
            weights = _binary_rows.align(weights)
        vars(self).update(weights=weights, visible=visible, hidden_bias=hidden_bias)

    def for_rows(self, n_rows) -> Self:
        """Return this model, aligned if `n_rows` rows are worth a copy of the weights."""
        return self.align() if n_rows >= _MANY_ROWS else self

    def align(self) -> Self:
        """Return this model with aligned weights, which the compiled core needs.

        The weights are copied, unless they are aligned or there is no core.
        """
        if _binary_rows.core is None or self.is_aligned or not self.visible.binary:
            return self
        return dataclasses.replace(self, weights=_binary_rows.align(self.weights))

    @property
    def is_aligned(self):
        """Whether the weights are aligned, so that the compiled core can be used."""
        return _binary_rows.core is not None and self._has_padding

    @functools.cached_property
    def _has_padding(self):
        return _binary_rows.is_aligned(self.weights)

    def _lists(self, x):
        """Return lists of binary rows if the compiled core can be used, else None."""
        return _binary_rows.lists(x) if self.is_aligned else None

    @property
    def dtype(self):
        return self.weights.dtype

    @property
    def n_enumerated(self):
        """Number of units of the smaller layer, of those whose states can be enumerated."""
        return min(self.weights.shape) if self.visible.binary else len(self.hidden_bias)

    @property
    def visible_bias(self):
        return self.visible.bias

    def _empty(self, n_rows, n_columns):
        return np.empty((n_rows, n_columns), dtype=self.dtype)

    def hidden_input(self, v, out=None):
        """Return ``v W + c``, the log-odds of each hidden unit."""
        rows = self._lists(v)
        if rows is None:
            return self._multiply(v, out)
        out = self._empty(v.shape[0], len(self.hidden_bias)) if out is None else out
        _binary_rows.hidden(rows, self.weights, self.hidden_bias, total=out)
        return out

    def _multiply(self, v, out):
        """Compute the hidden input by a matrix product."""
        out = self._empty(v.shape[0], len(self.hidden_bias)) if out is None else out
        if sp.issparse(v):
            out[...] = self.hidden_bias
            _kernels.SparseRows.from_csr(v).add_product(self.weights, out)
        else:
            _kernels.product(v, self.weights, out)
            out += self.hidden_bias
        return out

    def mean_hidden(self, v, out=None):
        """Return ``p(h_j = 1 | v)``."""
        return _kernels.logistic(self.hidden_input(v, out))

    def mean_visible(self, h):
        """Return the mean of each visible unit given `h`."""
        rows = self._lists(h)
        if rows is None:
            return self.visible.mean(h @ self.weights.T)
        mean = self._empty(len(h), len(self.visible))
        self.visible.from_lists(rows, self.weights, mean=mean)
        return mean

    def sample_hidden(self, v, rng, out=None):
        """Draw ``h ~ p(h | v)``."""
        rows = self._lists(v)
        if rows is None:
            mean = _kernels.logistic(self._multiply(v, out))
            return _kernels.bernoulli(mean, rng, out=mean)
        arguments = rows, self.weights, self.hidden_bias
        shape = v.shape[0], len(self.hidden_bias)
        return self._draw(_binary_rows.hidden, arguments, shape, rng, out)

    def _draw(self, half_step, arguments, shape, rng, out):
        """Draw states by the compiled core, in `out` or in the dtype of the model."""
        in_place = out is not None and out.dtype == np.uint8
        states = out if in_place else np.empty(shape, dtype=np.uint8)
        half_step(*arguments, keys=_binary_rows.draw_key(rng), states=states)
        if out is None:
            return states.astype(self.dtype)
        if not in_place:
            out[...] = states
        return out

    def sample_visible(self, h, rng, out=None):
        """Draw ``v ~ p(v | h)``."""
        rows = self._lists(h)
        if rows is None:
            out = self._empty(len(h), len(self.visible)) if out is None else out
            _kernels.product_with_transpose(h, self.weights, out)
            return self.visible.sample(out, rng, out)
        shape = len(h), len(self.visible)
        return self._draw(self.visible.from_lists, (rows, self.weights), shape, rng, out)

    def gibbs(self, h, n_steps, rng):
        """Run `n_steps` Gibbs steps h -> v -> h on the hidden states `h`, in place."""
        dtype = np.uint8 if self.is_aligned else self.dtype
        v = np.empty((len(h), len(self.visible)), dtype=dtype) if n_steps else None
        for _ in range(n_steps):
            self.sample_hidden(self.sample_visible(h, rng, out=v), rng, out=h)

    def free_energy(self, v, hidden_input=None):
        """Return ``F(v) = -log sum_h exp(-E(v, h))`` of each row, in nats, as float64.

        For Bernoulli units, ``F(v) = - b . v - sum_j log(1 + exp(c_j + (v W)_j))``. The
        hidden input is computed unless it is given.
        """
        hidden = self.hidden_input(v) if hidden_input is None else hidden_input
        hidden = _kernels.softplus(hidden)
        return -self.visible.minus_energy(v) - hidden.sum(axis=1, dtype=np.float64)

    def pseudo_log_likelihood(self, v, columns=None):
        """Return the pseudo-log-likelihood of each row, in nats, as float64.

        This is the sum over visible units of the log-probability of their value given all
        other units. If `columns` is given, the sum is taken over these units only and
        scaled up to all units.
        """
        return self.visible.pseudo_log_likelihood(
            v, self.hidden_input(v), self.weights, columns
        )

    def row_size(self, sparse):
        """Return the number of values to reserve in memory per row during computations.

        This covers a row of visible or of hidden states, dense or sparse.
        """
        if sparse:
            return max(len(self.hidden_bias), _kernels.FEATURE_BLOCK)
        return max(self.weights.shape)
