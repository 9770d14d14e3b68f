"""Units given their inputs, in rows of real numbers, by the compiled core or by NumPy.

Products of matrices compute the inputs. The compiled core takes one pass over them for what
takes NumPy several, and draws as described in `skrbm._binary_rows`.
"""

import numpy as np

from skrbm import _binary_rows, _kernels

# A unit takes about as long as this number of multiplications.
_WORK_PER_UNIT = 16


def _n_threads(x):
    return _binary_rows._n_threads(len(x), x.shape[1] * _WORK_PER_UNIT)


def infer_hidden(x, bias, rng=None, states=None, *, compiled=True):
    """Overwrite inputs of hidden units with their means, and draw states from these.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_units)
        The inputs without biases.
    bias : ndarray of shape (n_units,)
    rng : Generator, default=None
        Needed for draws.
    states : ndarray of shape (n, n_units), default=None
        If given, set to draws of the last `n` rows, in the dtype of `x`. It may be `x`
        itself, in place of the means.
    compiled : bool, default=True
        Whether the compiled core may be used.
    """
    if not compiled or _binary_rows.core is None:
        x += bias
        mean = _kernels.logistic(x)
        if states is not None:
            _kernels.bernoulli(mean[len(mean) - len(states) :], rng, out=states)
        return
    keys = (None, None) if states is None else _binary_rows.draw_key(rng)[:2]
    mean = None if states is x else x
    _binary_rows.core.logistic(x, bias, None, *keys, mean, states, _n_threads(x))


def draw_hidden(x, beta, generators, *, compiled=True):
    """Overwrite inputs of hidden units, with biases, with states at inverse temperatures.

    `beta` is a number or a column with one value per row. `generators` are pairs of a slice
    of rows and the generator used to draw them.
    """
    if not compiled or _binary_rows.core is None:
        x *= 0.5 * beta
        for rows, rng in generators:
            _kernels.bernoulli_from_half_log_odds(x[rows], rng, out=x[rows])
        return
    scale = np.empty(len(x), dtype=x.dtype)
    scale[...] = np.reshape(beta, -1)
    keys = _binary_rows.draw_keys(generators)[:2]
    _binary_rows.core.logistic(x, None, scale, *keys, None, x, _n_threads(x))


def draw_normal(x, bias, variance, keys, out):
    """Draw normal units with the means ``variance * x + bias``, by the compiled core.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_units)
        Inputs. As in `out`, rows must be contiguous, but there may be gaps between them.
    bias : ndarray of shape (n_units,), default=None
    variance : ndarray of shape (n_units,) or (n_rows, n_units)
    keys : Keys
    out : ndarray of shape (n_rows, n_units)
        Set to the draws. It may be `x` itself.
    """
    drawn = out if out.dtype == x.dtype else np.empty_like(x)
    _binary_rows.core.normal(x, bias, variance, *keys[:2], drawn, _n_threads(x))
    if drawn is not out:
        out[...] = drawn
    return out


def complete(rows, cells, missing, precision):
    """Give rows of correlated normal units observed cells, by the compiled core.

    The gaps of a row are conditioned on these by a system of linear equations, which rows
    with the same gaps share if they follow one another.

    Parameters
    ----------
    rows : float64 ndarray of shape (n_rows, n_units)
        Rows that are drawn as a whole, or means. They become draws or means given the
        observed cells.
    cells : float64 ndarray of shape (n_rows, n_units)
        What is missing may have any value.
    missing : uint8 ndarray of shape (n_rows, n_units)
        1 where cells are missing, else 0.
    precision : float64 ndarray of shape (n_units, n_units)
        Inverse of the covariance matrix.
    """
    n = rows.shape[1]
    gaps, work = np.empty(n, np.int64), np.empty(n * (n + 2))
    _binary_rows.core.complete(rows, cells, missing, precision, gaps, work)
