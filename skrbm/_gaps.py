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

from skrbm import _kernels
from skrbm._enumeration import log_marginals_given
from skrbm._random import generator

# Number of Gibbs steps from draws of independent columns to rows that are scored in
# training, to values of a training that keeps none, and to those of a fitted model.
STEPS_TO_SCORE, STEPS_TO_LEARN, STEPS_OF_MODEL = 10, 10, 200
# Number of states of the gaps that a pseudo-log-likelihood is averaged over, and of Gibbs
# steps from one to the next, at the end of the steps.
N_DRAWS, THINNING = 10, 10
# Largest number of hidden units whose states are enumerated. For more, numbers of annealed
# runs for each row and of their steps, and the number of runs for rows scored in training.
LARGEST_EXACT = 20
N_RUNS, N_BETAS, N_RUNS_TO_SCORE = 10, 100, 2


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

    def read(self, places, data, rows, units, rng):
        """Return the values at the `places` of some rows, after drawing those that are new.

        New values are drawn from independent columns with the observed means.
        """
        values = self.values[places]
        new = np.isnan(values)
        if new.any():
            missing = np.isnan(data.X[rows])
            v = units.fill_in(self.mean, (len(missing), len(units)), rng)
            values = np.where(new, data.coder.compress(v)[missing], values)
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
    rows = _begin(model, v[some], None, rng)
    for _ in model.gibbs_given(rows, missing[some], STEPS_TO_SCORE, rng):
        pass
    v[some] = rows
    return v, missing


def mean_hidden(model, v, mean):
    """Return ``E[h | observed cells]`` of rows.

    This is the mean of ``p(h | v)`` over the second half of the Gibbs steps. They begin at
    draws from independent columns with this `mean`, as for `VisibleUnits.independent`.
    """

    def of_gappy(v):
        missing, rng = np.isnan(v), generator(0)
        v, n_kept = _begin(model, v, mean, rng), STEPS_OF_MODEL // 2
        total = np.zeros((len(v), len(model.hidden_bias)))
        for step, _ in enumerate(model.gibbs_given(v, missing, STEPS_OF_MODEL, rng)):
            if step >= STEPS_OF_MODEL - n_kept:
                total += model.mean_hidden(v)
        return (total / n_kept).astype(model.dtype)

    return _split(v, model.mean_hidden, of_gappy)


def pseudo_log_likelihood(model, v, columns, mean):
    """Return the pseudo-log-likelihood of rows, the sum over their observed cells.

    It is the mean over draws of the gaps, which begin as in `mean_hidden`.
    """

    def of_gappy(v):
        missing, rng = np.isnan(v), generator(0)
        v, total = _begin(model, v, mean, rng), np.zeros(len(v))
        for step, _ in enumerate(model.gibbs_given(v, missing, STEPS_OF_MODEL, rng)):
            left = STEPS_OF_MODEL - 1 - step
            if left % THINNING == 0 and left < N_DRAWS * THINNING:
                total += model.pseudo_log_likelihood(v, columns, missing)
        return total / N_DRAWS

    return _split(v, lambda v: model.pseudo_log_likelihood(v, columns), of_gappy)


def log_marginals(model, v, n_runs=N_RUNS):
    """Return ``log sum exp(-E(v, h))`` of rows, over hidden states and values of gaps.

    For more than `LARGEST_EXACT` hidden units, it is estimated by annealed runs.
    """

    def of_gappy(v):
        if len(model.hidden_bias) <= LARGEST_EXACT:
            return log_marginals_given(model, v)
        return _annealed_marginals(model, v, n_runs)

    return _split(v, lambda v: -model.free_energy(v), of_gappy)


def _annealed_marginals(model, v, n_runs):
    """Estimate `log_marginals` of rows with gaps by annealed importance sampling.

    The inverse temperature multiplies the weights between the hidden units and the missing
    cells. At 0, all of these are independent given the observed cells, and the sum is known
    exactly. The mean of the weights of the runs is an unbiased estimate of its ratio to
    that at 1: Neal, R. M. (2001). Annealed importance sampling. Statistics and Computing,
    11(2), 125-139.
    """
    visible, n_rows, rng = model.visible, len(v), generator(0)
    missing = np.isnan(v)
    of_known = model.hidden_input(np.where(missing, 0, v).astype(model.dtype))
    free, of_known_by_run = np.tile(missing, (n_runs, 1)), np.tile(of_known, (n_runs, 1))
    cells = np.zeros(free.shape, model.dtype)
    of_cells, log_weights = np.zeros_like(of_known_by_run), np.zeros(len(free))
    betas = np.linspace(0, 1, N_BETAS + 1, dtype=model.dtype)
    for beta, after in itertools.pairwise(betas):
        h = _kernels.logistic(of_known_by_run + beta * of_cells)
        x = beta * (_kernels.bernoulli(h, rng, out=h) @ model.weights.T)
        drawn = visible.sample(x, rng, x)
        np.copyto(cells, drawn, where=free)
        np.matmul(cells, model.weights, out=of_cells)
        log_weights += _softplus_sums(of_known_by_run + after * of_cells)
        log_weights -= _softplus_sums(of_known_by_run + beta * of_cells)
    ratio = logsumexp(log_weights.reshape(n_runs, n_rows), axis=0) - np.log(n_runs)
    normalizers = visible.log_normalizers(np.zeros((1, len(visible)), model.dtype))[0]
    independent = missing[:, visible.first_columns] @ normalizers.astype(np.float64)
    independent += visible.minus_energy(np.where(missing, visible.ground_state, v))
    return _softplus_sums(of_known) + independent + ratio


def _softplus_sums(x):
    return _kernels.softplus(x).sum(axis=1, dtype=np.float64)


def _split(v, of_complete, of_gappy):
    """Return the results of one function for rows without gaps, of another for others."""
    gappy = np.isnan(v).any(axis=1) if isinstance(v, np.ndarray) else np.zeros(1, bool)
    if not gappy.any():
        return of_complete(v)
    results = of_gappy(v[gappy])
    if gappy.all():
        return results
    out = np.empty((len(v), *results.shape[1:]), results.dtype)
    out[gappy], out[~gappy] = results, of_complete(v[~gappy])
    return out


def _begin(model, v, mean, rng):
    """Return a copy of rows with first values of the gaps, drawn from independent columns.

    `mean` is that of the columns or, if None, of the observed cells of these rows.
    """
    missing = np.isnan(v)
    if mean is None:
        known = np.where(missing, 0, v)
        overall = known.sum() / max(1, np.count_nonzero(~missing))
        mean = mean_of_observed(known.sum(axis=0), (~missing).sum(axis=0), overall)
    first = model.visible.fill_in(mean, v.shape, rng)
    return np.where(missing, first, v).astype(v.dtype, copy=False)
