"""A short first training that tells when a model of these rows begins to overfit.

This module does not depend on scikit-learn and neither warns nor prints.
"""

import functools
import itertools
import math

import numpy as np

from skrbm._data import spread
from skrbm._random import generator
from skrbm._record import Record, draw_states, row_scores
from skrbm._step import Learner, is_sound

# Part of the rows that is held out, and largest numbers of these and of columns to score.
HELD_OUT, MOST_HELD_OUT, MOST_COLUMNS = 0.2, 1000, 256
# Smallest number of updates before the held-out rows are scored for the first time, and the
# factor from each score to the next.
FIRST, FACTOR = 10, math.sqrt(2)
# It ends early after this number of consecutive scores below the best one, if the last one
# is lower by `VERY_CLEARLY` standard errors. At the end, `CLEARLY` are enough. Near
# independent columns, where gradients are small, the score may fall before it rises. A fall
# by less than `SMALLEST_FALL` nats does not count: rows that are alike have no error, and
# that of a few rare rows is not known if all of them are among the others by chance.
PATIENCE, CLEARLY, VERY_CLEARLY, SMALLEST_FALL = 4, 2.0, 5.0, 0.03


def hold_out(data, rng):
    """Return the rows to score, and those to train on."""
    return data.split(min(math.ceil(HELD_OUT * len(data)), MOST_HELD_OUT), rng)


def best_length(state, settings, data, held_out, n_most):
    """Return after how many updates without weight decay a model of held-out rows is best.

    The score is that of `Record`: the pseudo-log-likelihood, unless some units are real.

    Parameters
    ----------
    state : TrainingState
        The state before the first step, which is changed. Its rows have been counted.
    settings : Settings
    data, held_out : DataSet
        The rows to train on and to score. Nothing in `state` depends on the rows to score.
    n_most : int
        Largest number of updates, at least `FIRST`.

    Returns
    -------
    length : float
        Number of updates, and infinity if the score does not clearly fall at the end. A
        fall does not count where the score of rows to train on falls, too: the model has
        become worse, at a rate that is too high.
    """
    settings = settings._replace(weight_decay=0.0, averaging=True)
    learner, record = Learner(state, settings, data), Record(data, state, n_most)
    # Orders have a generator of their own, as they may be drawn before earlier steps.
    batches = _batches(data, settings.batch_size, generator(state.rng.integers(1 << 31)))
    n_scores = 1 + int(math.log(n_most / FIRST, FACTOR))
    marks = n_most / FACTOR ** np.arange(n_scores)[::-1]
    seen, _ = data.split(len(held_out), generator(0))
    scores: list[float] = []
    best, has_fallen, n_done, rate = None, False, 0, settings.learning_rate
    for n_next in marks.round().astype(int).tolist():
        some = list(itertools.islice(batches, n_next - n_done))
        learner.steps(some, [rate] * len(some))
        if not is_sound(state.model):
            has_fallen = True
            break
        options = {
            "log_partition": record.log_partition(state.result),
            "binarize": settings.binarize,
        }
        # At several marks, the best model may be asked for the same rows.
        score = functools.cache(functools.partial(_Scores, state.result.copy(), **options))
        last = score(held_out)
        scores.append(last.mean)
        n_done = n_next
        if best is None or last.mean > best.mean:
            best, best_score = last, score
        is_below = last.is_below(best, CLEARLY)
        if not (is_below and score(seen).is_below(best_score(seen), CLEARLY)):
            has_fallen = is_below
        late = len(scores) - np.argmax(scores) > PATIENCE
        if late and last.is_below(best, VERY_CLEARLY):
            break
    if not scores or not has_fallen:
        return math.inf
    return marks[0] * FACTOR ** _peak(scores)


class _Scores:
    """Scores of rows, and their mean.

    If `binarize` is True, states are drawn from the values, always with the same random
    numbers.
    """

    def __init__(self, model, data, log_partition, *, binarize=False):
        rng, columns = generator(0), spread(data.n_encoded, MOST_COLUMNS)

        def score(v):
            v = draw_states(model, v, rng) if binarize else v
            return row_scores(model, v, log_partition, columns)

        self.of_rows = data.apply(score, model)
        self.weights = np.ones(len(data)) if data.weights is None else data.weights
        self.mean = np.average(self.of_rows, weights=self.weights)

    def is_below(self, other, n_errors):
        """Return whether this mean is lower by more than some standard errors."""
        change, weights = other.of_rows - self.of_rows, self.weights
        fall = np.average(change, weights=weights)
        error = np.sqrt(np.sum((weights * (change - fall)) ** 2)) / weights.sum()
        return fall > max(n_errors * error, SMALLEST_FALL)


def _batches(data, size, rng):
    """Yield minibatches without end, reshuffled in each pass."""
    while True:
        yield from data.minibatches(size, data.order(rng))


def _peak(scores):
    """Return the place of the largest score, by a parabola through it and its neighbors."""
    place = int(np.argmax(scores))
    if place in (0, len(scores) - 1):  # the last one before training diverged
        return place
    before, best, after = scores[place - 1 : place + 2]
    return place + (after - before) / (2 * (2 * best - before - after))
