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
        Interaction weights. They are C-contiguous, so that dense and sparse products both
        read them in memory order.
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
        return vars(self) | {"aligned": self.is_aligned}

    def __setstate__(self, state):
        """Align the weights again, which pickling stores without their padding."""
        aligned = state.get("aligned", False)
        vars(self).update(
            {name: value for name, value in state.items() if name != "aligned"}
        )
        if aligned:
            vars(self)["weights"] = self.align().weights

    def for_rows(self, n_rows) -> Self:
        """Return this model, aligned if `n_rows` rows are worth a copy of the weights."""
        return self.align() if n_rows >= _MANY_ROWS else self

    def align(self) -> Self:
        """Return this model with aligned weights, which the compiled core needs.

        The weights are copied, unless they are aligned or there is no core.
        """
        if _binary_rows.core is None or self.is_aligned:
            return self
        return dataclasses.replace(self, weights=_binary_rows.align(self.weights))

    @property
    def is_aligned(self):
        """Whether the weights are aligned, so that the compiled core can be used."""
        return _binary_rows.core is not None and _binary_rows.is_aligned(self.weights)

    def _lists(self, x):
        """Return lists of binary rows if the compiled core can be used, else None."""
        return _binary_rows.lists(x) if self.is_aligned else None

    @property
    def dtype(self):
        return self.weights.dtype

    @property
    def visible_bias(self):
        return self.visible.bias

    def _empty(self, n_rows, n_columns):
        return np.empty((n_rows, n_columns), dtype=self.dtype)

    def hidden_input(self, v, out=None):
        """Return ``v W + c``, the log-odds of each hidden unit."""
        out = self._empty(v.shape[0], len(self.hidden_bias)) if out is None else out
        rows = self._lists(v)
        if rows is not None:
            _binary_rows.hidden(rows, self.weights, self.hidden_bias, total=out)
        elif sp.issparse(v):
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
        _binary_rows.visible(rows, self.weights, self.visible_bias, mean=mean)
        return mean

    def sample_hidden(self, v, rng, out=None):
        """Draw ``h ~ p(h | v)``."""
        rows = self._lists(v)
        if rows is None:
            mean = self.mean_hidden(v, out)
            return _kernels.bernoulli(mean, rng, out=mean)
        states = np.empty((v.shape[0], len(self.hidden_bias)), dtype=np.uint8)
        _binary_rows.hidden(
            rows,
            self.weights,
            self.hidden_bias,
            keys=_binary_rows.draw_key(rng),
            states=states,
        )
        return self._states(states, out)

    def _states(self, states, out):
        """Return drawn states in the dtype of the model, or in `out`."""
        if out is None:
            return states.astype(self.dtype)
        out[...] = states
        return out

    def sample_visible(self, h, rng, out=None):
        """Draw ``v ~ p(v | h)``."""
        rows = self._lists(h)
        if rows is None:
            out = self._empty(len(h), len(self.visible)) if out is None else out
            _kernels.product_with_transpose(h, self.weights, out)
            return self.visible.sample(out, rng, out)
        states = np.empty((len(h), len(self.visible)), dtype=np.uint8)
        _binary_rows.visible(
            rows,
            self.weights,
            self.visible_bias,
            keys=_binary_rows.draw_key(rng),
            states=states,
        )
        return self._states(states, out)

    def gibbs(self, h, n_steps, rng):
        """Run `n_steps` Gibbs steps h -> v -> h on the hidden states `h`, in place."""
        for _ in range(n_steps):
            self.sample_hidden(self.sample_visible(h, rng), rng, out=h)

    def free_energy(self, v):
        """Return ``F(v) = -log sum_h exp(-E(v, h))`` of each row, in nats, as float64.

        For Bernoulli units, ``F(v) = - b . v - sum_j log(1 + exp(c_j + (v W)_j))``.
        """
        hidden = _kernels.softplus(self.hidden_input(v))
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
