"""Exact log Z and exact draws, by enumerating the states of the smaller layer."""

import numpy as np
from scipy.special import logsumexp

from skrbm._kernels import WORK_SIZE


def _bits(numbers, n):
    """Return the lowest `n` bits of each number as a row of float64."""
    return ((numbers[:, None] >> np.arange(n)) & 1).astype(np.float64)


def _by_smaller_side(model):
    """Return the model in float64, its smaller layer hidden, and whether it was swapped."""
    model = model.map(lambda a: np.asarray(a, np.float64))
    if model.n_enumerated == len(model.hidden_bias):
        return model, False
    return model.exchanged(), True


def _log_marginals(model):
    """Yield ``log sum_v exp(-E(v, h))`` for all hidden states h, in blocks.

    State number k consists of the bits of k, the lowest first. If h is split into high and
    low bits, the visible input is the sum of one term for each part, and the log
    normalizers of all sums are computed with matrix products only.
    """
    weights, visible, hidden_bias = model.weights, model.visible, model.hidden_bias
    n_visible, n_hidden = weights.shape
    limit = visible.largest_change
    n_low = min(n_hidden, 12)
    while n_low > 0 and (
        n_visible << n_low > WORK_SIZE
        or np.abs(weights[:, :n_low]).sum(axis=1).max() >= limit
    ):
        n_low -= 1
    low = _bits(np.arange(1 << n_low), n_low)
    of_low = low @ weights[:, :n_low].T
    n_states = 1 << (n_hidden - n_low)
    step = max(1, WORK_SIZE // 2 // max(n_visible, 1 << n_low))
    for start in range(0, n_states, step):
        high = _bits(np.arange(start, min(start + step, n_states)), n_hidden - n_low)
        inputs = high @ weights[:, n_low:].T
        block = visible.log_normalizer_changes(inputs, of_low)
        block += visible.log_normalizer(inputs)[:, None]
        block += (high @ hidden_bias[n_low:])[:, None]
        block += low @ hidden_bias[:n_low]
        yield block.reshape(-1)


def given_observed(model, v, function=lambda h: h):
    """Return the log-marginals of rows, and the means of a function of hidden states.

    `v` are dense encoded rows in which gaps are NaN. The log-marginal of a row is ``log sum
    exp(-E(v, h))`` over all h and all values of the gaps. The means are given the observed
    cells. The terms of the observed cells and those of sums over gaps are added by one
    matrix product. The function returns rows of values; by default, these are the states.
    """
    model = model.map(lambda a: np.asarray(a, np.float64))
    visible, (n_visible, n_hidden) = model.visible, model.weights.shape
    missing = np.isnan(v)
    ground = visible.given(v, missing)(np.tile(visible.ground_state, (len(v), 1)))
    coefficients, terms = visible.gap_terms(v, missing, model.weights)
    rows = np.hstack([ground @ model.weights + model.hidden_bias, coefficients])
    largest, sums = np.full((len(v), 1), -np.inf), np.zeros((len(v), 1))
    step = max(1, WORK_SIZE // max(n_visible, len(v)))
    for start in range(0, 1 << n_hidden, step):
        h = _bits(np.arange(start, min(start + step, 1 << n_hidden)), n_hidden)
        log_p = rows @ np.hstack([h, terms(h)]).T
        before, largest = largest, np.maximum(largest, log_p.max(axis=1, keepdims=True))
        log_p -= largest
        values = np.hstack([function(h), np.ones((len(h), 1))])
        sums = sums * np.exp(before - largest) + np.exp(log_p, out=log_p) @ values
    total = sums[:, -1]
    log_marginals = largest[:, 0] + np.log(total)
    log_marginals += visible.minus_energy(ground)
    return log_marginals, sums[:, :-1] / total[:, None]


def column_given_observed(model, v, feature):
    """Return the distribution of a column that is missing in all rows, given other cells.

    `v` is as for `given_observed`. The distribution is summarized as by
    `VisibleUnits.conditionals`: by probabilities or, if the column has numbers, by their
    mean and standard deviation.
    """
    model = model.map(lambda a: np.asarray(a, np.float64))
    visible, n_hidden = model.visible, len(model.hidden_bias)
    if visible.n_states[feature]:

        def probabilities(h):
            return visible.probabilities(model.mean_visible(h))[feature]

        return given_observed(model, v, probabilities)[1]

    def moments(h):
        products = h[:, :, None] * h[:, None]
        return np.hstack([h, products.reshape(len(h), -1)])

    offset, slopes, variance = visible.number_given(v, np.isnan(v), model.weights, feature)
    h, products = np.split(given_observed(model, v, moments)[1], [n_hidden], axis=1)
    products = products.reshape(-1, n_hidden, n_hidden)
    mean = np.einsum("ij,ij->i", slopes, h)
    variance += np.einsum("ij,ijk,ik->i", slopes, products, slopes) - np.square(mean)
    return np.stack([offset + mean, np.sqrt(variance)], axis=1)


def exact_log_partition(model):
    """Return log Z, summed over all states of the smaller layer."""
    model, _ = _by_smaller_side(model)
    return np.logaddexp.reduce([logsumexp(block) for block in _log_marginals(model)])


def exact_draws(model, n, rng):
    """Draw visible rows from a model whose smaller layer can be enumerated."""
    smaller, turned = _by_smaller_side(model)
    log_p = np.concatenate(list(_log_marginals(smaller)))
    cumulated = np.cumsum(np.exp(log_p - log_p.max()))
    numbers = np.searchsorted(cumulated, rng.random(n) * cumulated[-1], side="right")
    states = _bits(numbers, smaller.weights.shape[1])
    return states if turned else smaller.sample_visible(states, rng)
