"""The restricted Boltzmann machine itself: pure mathematics on its parameters.

With visible states v, hidden states h in {0, 1}, weights W and hidden bias c, the energy
is, for Bernoulli visible units of bias b::

    E(v, h) = - b . v - c . h - v . W . h,        p(v, h) = exp(-E(v, h)) / Z

What takes the place of ``- b . v`` for other visible units is the business of
`skrbm._visible`. This room knows no data set, no training and no scikit-learn. Rows are
samples; visible rows are dense or CSR, in the model's dtype; random draws come from the
generator that is passed in.
"""

import dataclasses
from typing import Self

import numpy as np
import scipy.sparse as sp

from skrbm import _kernels
from skrbm._visible import BernoulliUnits


@dataclasses.dataclass(frozen=True, eq=False)
class RBM:
    """Parameters of a restricted Boltzmann machine.

    Attributes
    ----------
    weights : ndarray of shape (n_features, n_components)
        C-contiguous, so that dense and sparse products both read it in order.
    visible : BernoulliUnits
        The visible units: their kind, and their parameters.
    hidden_bias : ndarray of shape (n_components,)
    """

    weights: np.ndarray
    visible: BernoulliUnits
    hidden_bias: np.ndarray

    @classmethod
    def bernoulli(cls, weights, visible_bias, hidden_bias) -> Self:
        """Return the model with Bernoulli visible units of this bias."""
        return cls(weights, BernoulliUnits(visible_bias), hidden_bias)

    @property
    def arrays(self):
        """All parameters, each an array: weights, of the visible units, hidden bias."""
        return self.weights, *self.visible.arrays, self.hidden_bias

    def __iter__(self):
        return iter(self.arrays)

    def map(self, function, *others) -> Self:
        """Return a model whose arrays are a function of those of this and other models."""
        return type(self)(
            function(self.weights, *(other.weights for other in others)),
            self.visible.map(function, *(other.visible for other in others)),
            function(self.hidden_bias, *(other.hidden_bias for other in others)),
        )

    def copy(self) -> Self:
        return self.map(np.copy)

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
        """Return the mean of each visible unit given h."""
        return self.visible.mean(h @ self.weights.T)

    def sample_hidden(self, v, rng, out=None):
        """Draw ``h ~ p(h | v)``."""
        mean = self.mean_hidden(v, out)
        return _kernels.bernoulli(mean, rng, out=mean)

    def sample_visible(self, h, rng, out=None):
        """Draw ``v ~ p(v | h)``."""
        out = self._empty(len(h), len(self.visible)) if out is None else out
        _kernels.product_with_transpose(h, self.weights, out)
        return self.visible.sample(out, rng, out)

    def gibbs(self, h, n_steps, rng):
        """Run chains of hidden states through `n_steps` steps h -> v -> h, in place."""
        for _ in range(n_steps):
            self.sample_hidden(self.sample_visible(h, rng), rng, out=h)

    def free_energy(self, v):
        """Return ``F(v) = -log sum_h exp(-E(v, h))`` of each row, in nats, as float64.

        ``F(v) = - b . v - sum_j log(1 + exp(c_j + (v W)_j))`` for Bernoulli units.
        """
        hidden = _kernels.softplus(self.hidden_input(v))
        return -self.visible.minus_energy(v) - hidden.sum(axis=1, dtype=np.float64)

    def pseudo_log_likelihood(self, v, columns=None):
        """Return the pseudo-log-likelihood of each row, in nats, as float64.

        The sum over visible units of the log-probability of their value given all others;
        given `columns`, the sum over those units alone, scaled up to all.
        """
        return self.visible.pseudo_log_likelihood(
            v, self.hidden_input(v), self.weights, columns
        )

    def row_size(self, sparse):
        """Return how many values a row takes in memory, while something is computed of it.

        A row of visible or of hidden states, dense or sparse.
        """
        if sparse:
            return max(len(self.hidden_bias), _kernels.FEATURE_BLOCK)
        return max(self.weights.shape)
