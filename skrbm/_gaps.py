"""Gaps, that is missing cells: their values in training, and draws and sums over them.

The gradient of the log-probability of the observed cells is the mean of the gradient of
complete rows over the missing cells given the observed ones. The missing cells therefore
belong to the state of a training, as a persistent chain of each row: whenever a row is
presented, they take a Gibbs step given its other cells.

Elsewhere, rows are encoded rows of a data set, in which gaps are NaN. Draws for these have
fixed seeds, so that results depend on the model and on the rows only.
"""

import dataclasses
import hashlib
import itertools
from typing import Self

import numpy as np
from scipy.special import logsumexp

from skrbm import _kernels, _real_rows
from skrbm._enumeration import column_given_observed, given_observed
from skrbm._random import Repeated, generator

# Number of Gibbs steps from draws of independent columns to rows that are scored in
# training, and to values of a training that keeps none.
STEPS_TO_SCORE, STEPS_TO_LEARN = 10, 10
# Log-marginals: largest number of hidden units whose states are enumerated, in general and
# for rows scored in training. For more, numbers of annealed runs for each row, and of their
# steps, in general and for rows scored in training.
LARGEST_EXACT, LARGEST_EXACT_TO_SCORE = 20, 10
RUNS, RUNS_TO_SCORE = (10, 100), (2, 25)
# Means of hidden units: the same, and number of chains for each row, which is even, and
# number of their Gibbs steps, the second half of which counts.
LARGEST_EXACT_MEANS = 12
N_CHAINS, N_STEPS = 24, 80
# Number of steps from one average over the distributions of a column to the next.
STEPS_BETWEEN_CONDITIONALS = 4


# In training ------------------------------------------------------------------------------


@dataclasses.dataclass
class Gaps:
    """The values of all gaps of an array of rows, in training.

    Attributes
    ----------
    starts : int64 ndarray of shape (n_rows + 1,)
        The gaps of row i are those from ``starts[i]`` up to ``starts[i + 1]``.
    values : ndarray of shape (n_gaps,)
        Their compact values, row by row in the order of the features. NaN until a row is
        presented for the first time.
    mean : ndarray of shape (n_encoded,)
        Mean of the observed cells in each encoded column, for the first values.
    mask : str
        Hash of the places of the gaps.
    """

    starts: np.ndarray
    values: np.ndarray
    mean: np.ndarray
    mask: str

    @classmethod
    def at(cls, places, mean) -> Self:
        """Return gaps without values at `places_of_gaps`, in the dtype of `mean`."""
        starts, mask = places
        return cls(starts, np.full(starts[-1], np.nan, mean.dtype), mean, mask)

    def select(self, rows) -> Self:
        """Return copies of the gaps of some rows, given by an array of indices."""
        counts = self.starts[rows + 1] - self.starts[rows]
        starts = np.append(0, counts.cumsum())
        values = self.values[self.places(rows)]
        return dataclasses.replace(self, starts=starts, values=values, mask="")

    def copy(self) -> Self:
        return dataclasses.replace(self, values=self.values.copy())

    def places(self, rows):
        """Return the places in `values` of the gaps of some rows, row by row."""
        if isinstance(rows, slice):
            return slice(self.starts[rows.start], self.starts[rows.stop])
        starts = self.starts[rows]
        counts = self.starts[rows + 1] - starts
        ends = counts.cumsum()
        return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1])

    def read(self, places, rows, coder, units, rng):
        """Return the values at the `places` of some rows, after drawing those that are new.

        New values are drawn without hidden units, from columns with the observed means. The
        rows are compact, with NaN in their gaps.
        """
        values = self.values[places]
        new = np.isnan(values)
        if new.any():
            v = np.empty((len(rows), len(units)), self.values.dtype)
            coder.expand_observed(rows.copy(), v)
            complete = units.given(v, np.isnan(v))
            drawn = complete(units.fill_in(self.mean, v.shape, rng))
            values = np.where(new, coder.compress(drawn)[np.isnan(rows)], values)
        return values


def places_of_gaps(data):
    """Return the fields `starts` and `mask` of `Gaps` in the rows of a data set."""
    counts, mask = [np.zeros(1, dtype=np.int64)], hashlib.sha256()
    for _, rows in data.read_blocks(data.n_features):
        missing = np.isnan(rows)
        counts.append(missing.sum(axis=1))
        mask.update(f"{missing.shape} ".encode() + np.packbits(missing).tobytes())
    return np.concatenate(counts).cumsum(), mask.hexdigest()


def join_places(parts):
    """Return the places of gaps in the rows of several data sets, one after the other."""
    all_starts, masks = zip(*parts, strict=True)
    counts = [np.diff(starts) for starts in all_starts]
    starts = np.concatenate([np.zeros(1, dtype=np.int64), *counts]).cumsum()
    return starts, hashlib.sha256(" ".join(masks).encode()).hexdigest()


def mean_of_observed(total, observed, otherwise):
    """Return means of columns from `DataSet.sums`, or `otherwise` where nothing is seen."""
    seen = observed > 0
    return np.where(seen, total / np.where(seen, observed, 1), otherwise)


# Rows with gaps under a model -------------------------------------------------------------


def filled(model, v):
    """Return rows with draws in place of gaps, and where these are, or None if nowhere."""
    if not isinstance(v, np.ndarray) or not (missing := np.isnan(v)).any():
        return v, None
    some, v = missing.any(axis=1), v.copy()
    rng = generator(0)
    rows = _begin(model, v[some], rng)
    for _ in model.gibbs_given(rows, missing[some], STEPS_TO_SCORE, rng):
        pass
    v[some] = rows
    return v, missing


def mean_hidden(model, v, mean):
    """Return ``E[h | observed cells]`` of rows.

    This is a sum over hidden states or, if there are more than `LARGEST_EXACT_MEANS` units,
    a mean over the steps of chains, which begin at draws from independent columns with this
    `mean`, as for `VisibleUnits.independent`.
    """

    def of_gappy(v):
        if len(model.hidden_bias) <= LARGEST_EXACT_MEANS:
            return given_observed(model, v)[1].astype(model.dtype)
        return _by_chains(model, v, mean, finish)

    def finish(steps, _):
        total = np.zeros(len(model.hidden_bias))
        for _, mean_hidden in itertools.islice(steps, N_STEPS // 2, None):
            total = total + mean_hidden.mean(axis=1)
        return (total / (N_STEPS - N_STEPS // 2)).astype(model.dtype)

    return _split(v, _with_gaps(v), of_gappy, model.mean_hidden)


def conditionals(model, v, features, mean):
    """Return what is known of columns given all other columns, side by side.

    These are the summaries of `VisibleUnits.conditionals`: probabilities of states, or the
    mean and the standard deviation of numbers. In rows with gaps in other columns, they are
    those given the observed cells: by a sum over hidden states or, if there are more than
    `LARGEST_EXACT_MEANS` units, a mean over the steps of chains, which begin as in
    `mean_hidden`.
    """
    visible = model.visible

    def of_complete(v, features=features):
        return np.hstack([each.summary for each in model.conditionals(v, features)])

    def of_gappy(v):
        return np.hstack([of_feature(v, feature) for feature in features])

    def of_feature(v, feature):
        own = visible.feature_of == feature
        v = np.where(own, v.dtype.type(np.nan), v)
        others = np.isnan(v[:, ~own]).any(axis=1)
        return _split(
            v, others, lambda v: given_some(v, feature), lambda v: alone(v, feature)
        )

    def alone(v, feature):
        ground = np.tile(visible.ground_state, (len(v), 1))
        completed = visible.given(v, np.isnan(v))(ground).astype(model.dtype, copy=False)
        return of_complete(completed, [feature])

    def given_some(v, feature):
        if len(model.hidden_bias) <= LARGEST_EXACT_MEANS:
            return column_given_observed(model, v, feature)

        def finish(steps, _):
            some = itertools.islice(steps, N_STEPS // 2, None, STEPS_BETWEEN_CONDITIONALS)
            summaries = []
            for states, _ in some:
                (conditional,) = model.conditionals(states, [feature])
                summaries.append(conditional.summary)
            n_values = summaries[0].shape[1]
            by_row = [each.reshape(-1, N_CHAINS, n_values) for each in summaries]
            return conditional.average(np.concatenate(by_row, axis=1))

        return _by_chains(model, v, mean, finish)

    return _split(v, _with_gaps(v), of_gappy, of_complete)


def pseudo_log_likelihood(model, v, columns, mean):
    """Return the pseudo-log-likelihood of rows, the sum over their observed cells.

    It is the mean over the last states of chains, which begin as in `mean_hidden`.
    """

    def finish(steps, missing):
        *_, (states, _) = steps
        scores = model.pseudo_log_likelihood(states, columns, missing)
        return scores.reshape(-1, N_CHAINS).mean(axis=1)

    return _split(
        v,
        _with_gaps(v),
        lambda v: _by_chains(model, v, mean, finish),
        lambda v: model.pseudo_log_likelihood(v, columns),
    )


def score_cells(model, v, relative, mean):
    """Return the log-probability of each cell given all others.

    In rows with gaps, it is the mean over the last states of chains, as in
    `pseudo_log_likelihood`, and that of a gap has no meaning. With `relative`, the
    log-probability of the most probable value is subtracted.
    """
    features = np.arange(model.visible.n_features)

    def of_complete(v):
        cells = np.empty((v.shape[0], len(features)))
        for i, each in enumerate(model.conditionals(v, features)):
            cells[:, i] = each.score
            if relative:  # the highest may be too low, by rounding or interpolation
                cells[:, i] = np.minimum(each.score - each.highest, 0)
        return cells

    def finish(steps, _):
        *_, (states, _) = steps
        return of_complete(states).reshape(-1, N_CHAINS, len(features)).mean(axis=1)

    def of_gappy(v):
        return _by_chains(model, v, mean, finish)

    return _split(v, _with_gaps(v), of_gappy, of_complete)


def log_marginals(model, v, to_score=False):
    """Return ``log sum exp(-E(v, h))`` of rows, over hidden states and values of gaps.

    For many hidden units, it is estimated by annealed runs. With `to_score`, the sums and
    the runs are for rows that are scored in training.
    """
    largest = LARGEST_EXACT_TO_SCORE if to_score else LARGEST_EXACT

    def of_gappy(v):
        if len(model.hidden_bias) <= largest:
            return given_observed(model, v)[0]
        return _annealed_marginals(model, v, *(RUNS_TO_SCORE if to_score else RUNS))

    return _split(v, _with_gaps(v), of_gappy, lambda v: -model.free_energy(v))


def _by_chains(model, v, mean, finish):
    """Run Gibbs chains given the observed cells of rows, and return results of the rows.

    All rows use the same random numbers, and products of matrices are for one row at a
    time, so that the result of a row depends on this row alone. `finish` makes results from
    the steps of the chains, as from `_run_chains`, and from where the rows have gaps.
    """
    model = model.unaligned()
    first = model.visible.fill_in(mean, (N_CHAINS, len(model.visible)), generator(0))
    # What is drawn for a block of several rows fits into one block of `_kernels`.
    step = max(1, _kernels.BLOCK_SIZE // (N_CHAINS * max(model.weights.shape)))
    blocks = [v[start : start + step] for start in range(0, len(v), step)]
    results = []
    for rows in blocks:
        cells = np.repeat(rows, N_CHAINS, axis=0)
        missing = np.isnan(cells)
        results.append(finish(_run_chains(model, cells, missing, first), missing))
    return np.concatenate(results)


def _run_chains(model, cells, missing, first):
    """Run `N_CHAINS` chains for each row. `cells` has so many copies of each row.

    Yields, for each step, the states of the chains, which then change in place, and the
    means of the hidden units of those before the step, by row and chain.
    """
    n_rows = len(cells) // N_CHAINS
    rng, shape = Repeated(generator(1), n_rows, N_CHAINS), (n_rows, N_CHAINS, -1)
    complete = model.visible.given(cells, missing)
    states = complete(np.tile(first, (n_rows, 1))).astype(model.dtype, copy=False)
    h = np.empty((*shape[:2], len(model.hidden_bias)), model.dtype)
    for _ in range(N_STEPS):
        mean = states.reshape(shape) @ model.weights
        inputs, drawn = (x.reshape(len(states), -1) for x in (mean, h))
        _real_rows.infer_hidden(inputs, model.hidden_bias, rng, drawn)
        x = (h @ model.weights.T).reshape(states.shape)
        states[...] = complete(model.visible.sample(x, rng, x))
        yield states, mean


def _annealed_marginals(model, v, n_runs, n_steps):
    """Estimate `log_marginals` of rows with gaps by annealed importance sampling.

    The inverse temperature multiplies the weights between the hidden units and the missing
    cells, as far as these differ from their ground state. At 0, the two are independent
    given the observed cells, and the sum is known exactly. The mean of the weights of the
    runs is an unbiased estimate of its ratio to that at 1: Neal, R. M. (2001). Annealed
    importance sampling. Statistics and Computing, 11(2), 125-139.
    """
    visible, n_rows, rng = model.visible, len(v), generator(0)
    missing = np.isnan(v)
    ground = visible.given(v, missing)(np.tile(visible.ground_state, (n_rows, 1)))
    ground = ground.astype(model.dtype, copy=False)
    of_ground = model.hidden_input(ground)
    ground_by_run, of_known_by_run = (np.tile(x, (n_runs, 1)) for x in (ground, of_ground))
    complete = visible.given(np.tile(v, (n_runs, 1)), np.tile(missing, (n_runs, 1)))
    of_cells, log_weights = np.zeros_like(of_known_by_run), np.zeros(len(ground_by_run))
    betas = np.linspace(0, 1, n_steps + 1, dtype=model.dtype)
    for beta, after in itertools.pairwise(betas):
        h = of_known_by_run + beta * of_cells
        _real_rows.draw_hidden(h, 1.0, [(slice(None), rng)])
        x = beta * (h @ model.weights.T)
        drawn = complete(visible.sample(x, rng, x)).astype(model.dtype, copy=False)
        np.matmul(drawn - ground_by_run, model.weights, out=of_cells)
        log_weights += _softplus_sums(of_known_by_run + after * of_cells)
        log_weights -= _softplus_sums(of_known_by_run + beta * of_cells)
    ratio = logsumexp(log_weights.reshape(n_runs, n_rows), axis=0) - np.log(n_runs)
    coefficients, terms = visible.gap_terms(v, missing, model.weights)
    h = np.zeros((1, len(model.hidden_bias)), model.dtype)
    independent = coefficients @ terms(h)[0].astype(np.float64)
    independent += visible.minus_energy(ground)
    return _softplus_sums(of_ground) + independent + ratio


def _softplus_sums(x):
    return _kernels.softplus(x).sum(axis=1, dtype=np.float64)


def _with_gaps(v):
    """Return which rows have gaps."""
    if not isinstance(v, np.ndarray):
        return np.zeros(v.shape[0], dtype=bool)
    return np.isnan(v).any(axis=1)


def _split(v, some, of_some, of_others):
    """Return the results of one function for some of the rows, of another for others."""
    if not some.any():
        return of_others(v)
    results = of_some(v[some])
    if some.all():
        return results
    out = np.empty((len(v), *results.shape[1:]), results.dtype)
    out[some], out[~some] = results, of_others(v[~some])
    return out


def _begin(model, v, rng):
    """Return a copy of rows with first values of the gaps, drawn from independent columns.

    Their means are those of the observed cells of these rows.
    """
    missing = np.isnan(v)
    known = np.where(missing, 0, v)
    overall = known.sum() / max(1, np.count_nonzero(~missing))
    mean = mean_of_observed(known.sum(axis=0), (~missing).sum(axis=0), overall)
    first = model.visible.fill_in(mean, v.shape, rng)
    return model.visible.given(v, missing)(first).astype(v.dtype, copy=False)
