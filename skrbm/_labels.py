"""Labels of rows: what a model with units of labels says of them, and how it learns them.

The units of labels are the first ones, see `skrbm._units.labelled`. Given everything else
in a row, label y has the log-odds of the differences of ``d_y + sum_j softplus(a_j +
U_yj)``. U are the weights and d the biases of the units of its states, and a is the hidden
input of the rest of the row. So its probabilities and their gradient, the
discriminative one, are exact, without any chain.

Larochelle, H. and Bengio, Y. (2008). Classification using discriminative restricted
Boltzmann machines. ICML 2008, 536-543.

Larochelle, H., Mandel, M., Pascanu, R. and Bengio, Y. (2012). Learning algorithms for the
classification restricted Boltzmann machine. JMLR, 13, 643-669.
"""

import numpy as np
import scipy.sparse as sp

from skrbm import _binary_rows, _kernels


class LabelGradient:
    """Gradient of the sum over labels of the log-probabilities given the rest of the row.

    As those of `skrbm._phases.Phases`, these methods are called in this order for each
    minibatch: `load`, `multiply`, and `add_gradient`.

    Parameters
    ----------
    units : LabelledUnits
    """

    def __init__(self, units):
        self._groups = units.labels.groups

    def load(self, model, data, rows, v, rng):
        """Compute the gradient for some rows of a data set.

        Parameters
        ----------
        model : RBM
        data : DataSet
        rows : slice or ndarray of int
        v : ndarray of shape (n_rows, n_encoded)
            The encoded rows, unless they are sparse.
        rng : numpy.random.Generator or None
            Draws states of sparse rows from values between them, if given.
        """
        if data.is_sparse:
            v = data.take_sparse(rows, model.dtype)
            if rng is not None:
                model.visible.draw_states(v.data, rng)
        row_weights = np.ones((v.shape[0], 1))
        if data.row_weights is not None:
            row_weights = data.row_weights[rows, None]
        if data.unlabelled is not None:
            row_weights = row_weights * ~data.unlabelled[rows]
        self.infer(
            model, v, np.broadcast_to(row_weights, (len(row_weights), len(self._groups)))
        )

    def infer(self, model, v, row_weights):
        """Compute the gradient for encoded rows.

        Parameters
        ----------
        model : RBM
        v : {ndarray, CSR array} of shape (n_rows, n_encoded)
        row_weights : ndarray of shape (n_rows, n_labels)
            Weights of the labels, 0 where they are not known.
        """
        weights = model.weights
        v = v.astype(model.dtype, copy=False)
        n_rows, n_labels = v.shape[0], self._groups[-1].stop
        on, total = _states(v, n_labels), model.hidden_input(v)
        self._of_rows = np.zeros_like(total)
        self._of_labels = np.zeros((n_labels, total.shape[1]), model.dtype)
        self._of_biases = np.zeros(n_labels, model.dtype)
        for number, group in enumerate(self._groups):
            inputs = total - on[:, group] @ weights[group]
            states = inputs[:, None] + weights[group]
            p = _probabilities(states, model.visible.bias[group])
            errors = on[:, group] - p
            errors *= (row_weights[:, number] / n_rows)[:, None]
            states = _kernels.logistic(states)
            self._of_labels[group] += np.einsum("nk,nkj->kj", errors, states)
            of_rows = np.einsum("nk,nkj->nj", errors, states)
            # Other labels are part of the rest of the row, but the label itself is not.
            self._of_labels[group] -= on[:, group].T @ of_rows
            self._of_rows += of_rows
            self._of_biases[group] += errors.sum(axis=0)
        self._v = v

    def multiply(self, rate):
        """Multiply the gradient by the learning rate."""
        for array in (self._of_rows, self._of_labels, self._of_biases):
            array *= rate

    def add_gradient(self, model, offsets):
        """Add the centered gradient, times the rate, to `model` in place."""
        (mu, lam), n_labels = offsets, len(self._of_labels)
        dv = np.zeros_like(mu)
        dv[:n_labels] = self._of_biases
        dh = self._of_rows.sum(axis=0)
        gradient = self._v.T @ self._of_rows
        gradient[:n_labels] += self._of_labels
        gradient -= np.outer(mu, dh)
        gradient -= np.outer(dv, lam)
        weights = model.weights
        weights += gradient
        model.visible.add_input(dv - gradient @ lam)
        hidden_bias = model.hidden_bias
        hidden_bias += dh - mu @ gradient


def draw(model, data, rows, rng, v=None):
    """Draw unknown labels of some rows given everything else, and store them in place.

    Parameters
    ----------
    model : RBM
    data : DataSet
    rows : ndarray of int
    rng : numpy.random.Generator
    v : ndarray of shape (n_rows, n_encoded), default=None
        The encoded rows, unless they are sparse, in which the labels are changed as well.
    """
    some = np.flatnonzero(data.unlabelled[rows].any(axis=1))
    if not some.size:
        return
    places, units = rows[some], model.visible.labels
    drawn = data.take_sparse(places, model.dtype) if v is None else v[some]
    codes = drawn_codes(model, drawn, data.unlabelled[places], rng)
    if v is None:
        entries = data.X.indptr[places, None] + np.arange(codes.shape[1])
        data.X.indices[entries] = codes + units.starts[:-1]
        return
    data.X[places, : codes.shape[1]] = codes
    on = np.zeros((len(some), len(units)), v.dtype)
    on[np.arange(len(some))[:, None], codes + units.starts[:-1]] = 1
    v[some, : len(units)] = on


def drawn_codes(model, v, unknown, rng):
    """Return the codes of all labels of encoded rows, after drawing those `unknown`.

    They are drawn one after another, each given all others.
    """
    groups = model.visible.labels.groups
    on, total = _states(v, groups[-1].stop), model.hidden_input(v)
    codes = np.empty(unknown.shape, dtype=np.intp)
    for number, group in enumerate(groups):
        weights, bias = model.weights[group], model.visible.bias[group]
        inputs = total - on[:, group] @ weights
        p = _probabilities(inputs[:, None] + weights, bias)
        p = p.cumsum(axis=1)
        drawn = (p > rng.random((len(p), 1)) * p[:, -1:]).argmax(axis=1)
        codes[:, number] = np.where(unknown[:, number], drawn, on[:, group].argmax(axis=1))
        total = inputs + weights[codes[:, number]]
    return codes


def log_likelihood(model, v):
    """Return the sum over labels of the log-probabilities given the rest of each row."""
    labels = np.arange(model.visible.labels.n_features)
    return sum(each.score for each in model.conditionals(v, labels))


def _states(v, n):
    """Return the first columns of rows, dense, in their dtype."""
    first = v[:, :n]
    return first.toarray() if sp.issparse(first) else first


def _probabilities(states, bias):
    """Return the probabilities of classes, given the hidden inputs of rows with each."""
    n_rows, n_states, n_components = states.shape
    sums = _binary_rows.softplus_sums(states.reshape(-1, n_components))
    log_p = sums.reshape(n_rows, n_states) + bias
    return np.exp(log_p - _kernels.log_sums(log_p)[:, None]).astype(states.dtype)
