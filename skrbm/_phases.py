"""The two phases of a learning step: their rows, dense or sparse, and their difference.

The gradient of the mean log-likelihood is a difference of two means, one over the
minibatch (positive phase) and one over the chains (negative phase), each with its own
count. `weigh` gives every row its share, so that what follows are plain sums over the rows
of both phases: with visible rows v, weighted hidden rows s, and offsets mu and lambda (of
the visible and the hidden units), the centred gradient is::

    dW = v' s - mu dh' - dv lambda'       dv, dh: differences of the two mean rows
    db = dv - dW lambda                   dc = dh - dW' mu

and the plain gradient is the same with both offsets zero.

Montavon, G. and Mueller, K.-R. (2012). Deep Boltzmann machines and the centering trick.
Neural Networks: Tricks of the Trade, 621-637.

Melchior, J., Fischer, A. and Wiskott, L. (2016). How to center deep Boltzmann machines.
JMLR, 17(99), 1-61.
"""

import numpy as np
import scipy.sparse as sp

from skrbm import _batches, _kernels


def _mean(rows):
    return np.add.reduce(rows, axis=0) / rows.dtype.type(len(rows))


class _Phases:
    """What dense and sparse phases share: the hidden rows, which are dense in both.

    Subclasses hold `visible`, the rows of both phases, and its two parts
    `positive_visible` and `negative_visible`; positive rows come first.
    """

    def __init__(self, model, max_rows):
        self._hidden = np.empty((max_rows, len(model.hidden_bias)), dtype=model.dtype)
        self._gradient = np.empty_like(model.weights)
        self.n_positive = self.n_negative = 0

    def _resize(self, n_positive, n_negative):
        if (n_positive, n_negative) == (self.n_positive, self.n_negative):
            return
        self.n_positive, self.n_negative = n_positive, n_negative
        self.n_rows = n_positive + n_negative
        self.hidden = self._hidden[: self.n_rows]
        self.positive_hidden = self.hidden[:n_positive]
        self.negative_hidden = self.hidden[n_positive:]
        self._shares = np.empty(self.n_rows, dtype=self.hidden.dtype)
        self._shares[:n_positive] = 1 / n_positive
        self._shares[n_positive:] = -1 / n_negative

    def infer_positive(self, model):
        model.mean_hidden(self.positive_visible, out=self.positive_hidden)

    def infer_negative(self, model):
        model.mean_hidden(self.negative_visible, out=self.negative_hidden)

    def infer_both(self, model):
        model.mean_hidden(self.visible, out=self.hidden)

    def mean_visible(self):
        """Return the mean of the positive visible rows."""
        shares = self._shares[: self.n_positive]
        return self.positive_visible.T @ shares

    def mean_hidden(self):
        """Return the mean of the positive hidden rows."""
        return _mean(self.positive_hidden)

    def weigh(self, rate):
        """Weigh the hidden rows by `rate` and by their share in the two means.

        Returns
        -------
        dv, dh : ndarray of shape (n_features,) and (n_components,)
            Positive less negative mean of the visible and the hidden rows, times `rate`.
        """
        shares = self._shares * rate
        self.hidden *= shares[:, None]
        return self.visible.T @ shares, np.add.reduce(self.hidden, axis=0)


class DensePhases(_Phases):
    """All rows in one stack: positive, negative, and two more for the centering.

    Both phases go upwards in one product, and the gradient with its corrections is one
    product too: with few rows, half the products take little more than half the time.
    """

    def __init__(self, model, max_positive, max_negative):
        max_rows = max_positive + max_negative + 2
        super().__init__(model, max_rows)
        self._stack = np.empty((max_rows, len(model.visible_bias)), dtype=model.dtype)

    def load(self, X, rows, n_negative):
        """Copy data rows in, with room for `n_negative` rows (None: as many) beside."""
        loaded = _batches.take_dense(X, rows, out=self._stack)
        self._resize(len(loaded), len(loaded) if n_negative is None else n_negative)
        self.visible = self._stack[: self.n_rows]
        self.positive_visible = self.visible[: self.n_positive]
        self.negative_visible = self.visible[self.n_positive :]

    def binarize(self, rng):
        _batches.binarize(self.positive_visible, rng)

    def sample_negative(self, model, chains, rng):
        model.sample_visible(chains, rng, out=self.negative_visible)

    def gradient(self, dv, dh):
        """Return the plain gradient, times the rate given to `weigh`."""
        return np.matmul(self.visible.T, self.hidden, out=self._gradient), dv, dh

    def centred_gradient(self, dv, dh, mu, lam):
        """Return the centred gradient, times the rate given to `weigh`."""
        corrections = slice(self.n_rows, self.n_rows + 2)
        self._stack[corrections] = mu, dv
        self._hidden[corrections] = -dh, -lam
        v, s = self._stack[: corrections.stop], self._hidden[: corrections.stop]
        dW = np.matmul(v.T, s, out=self._gradient)
        return dW, dv - (s @ lam) @ v, dh - (v @ mu) @ s


class SparsePhases(_Phases):
    """Data rows stay CSR, and the sampled rows, which are sparse as well, become CSR.

    One dense array of sampled rows remains, to draw them in.
    """

    def __init__(self, model, max_positive, max_negative):
        super().__init__(model, max_positive + max_negative)
        shape = max_negative, len(model.visible_bias)
        self._log_odds = np.empty(shape, dtype=model.dtype)
        self._on = np.empty(shape, dtype=bool)

    def load(self, X, rows, n_negative):
        """Copy data rows in, with room for `n_negative` rows (None: as many) beside."""
        self.positive_visible = _batches.take_sparse(X, rows, self._hidden.dtype)
        n_positive = self.positive_visible.shape[0]
        self._resize(n_positive, n_positive if n_negative is None else n_negative)

    def binarize(self, rng):
        _batches.binarize(self.positive_visible.data, rng)

    def sample_negative(self, model, chains, rng):
        on = self._on[: len(chains)]
        model.sample_visible(chains, rng, out=on, work=self._log_odds[: len(chains)])
        self.negative_visible = _kernels.csr_from_bool(on, self.hidden.dtype)
        parts = [self.positive_visible, self.negative_visible]
        self.visible = sp.vstack(parts, format="csr")

    def gradient(self, dv, dh):
        """Return the plain gradient, times the rate given to `weigh`."""
        return self.visible.T @ self.hidden, dv, dh

    def centred_gradient(self, dv, dh, mu, lam):
        """Return the centred gradient, times the rate given to `weigh`."""
        v, s = self.visible, self.hidden
        left, right = np.stack([mu, dv]), np.stack([-dh, -lam])
        dW = np.matmul(left.T, right, out=self._gradient)
        dW += v.T @ s
        db = dv - v.T @ (s @ lam) - (right @ lam) @ left
        dc = dh - (v @ mu) @ s - (left @ mu) @ right
        return dW, db, dc
