"""The check of a trained model: what must hold if its probability is where the rows are.

Each condition is about the distribution of the model itself, and not about the persistent
chains, which may not know all of it. Nothing here uses the generator of the training.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from scipy.special import rel_entr

from skrbm import _annealing, _gaps
from skrbm._bounds import log_partition_bound
from skrbm._enumeration import exact_draws, exact_log_partition
from skrbm._gaps import mean_of_observed
from skrbm._partition import projections
from skrbm._random import generator
from skrbm._solvers import log_importance, log_odds_of

# Largest excess of log Z over what the chains know, and largest loss of log-likelihood that
# is passed over, in nats.
LARGEST_GAP = 1.0
LARGEST_LOSS = 0.1
# Chance that some difference between rows and draws counts although it is due to chance.
CHANCE = 1e-2
# Numbers of annealed runs, of their temperatures, and of draws of hidden states.
N_RUNS, N_BETAS, N_DRAWS = 100, 500, 1000
# Largest numbers of units that are enumerated, and of terms of the exact sum for log Z,
# which takes no longer than the runs then.
MOST_ENUMERATED, N_TERMS = 16, 1 << 24
# Bounds on the number of rows or exact draws, and of their values.
N_ROWS, N_VALUES = 5000, 5_000_000
# Fewest chains that are compared with the model.
FEWEST_CHAINS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the check at the end of a training has found.

    All numbers but shares are in nats. Those that are not known are NaN.

    Parameters
    ----------
    log_partition_bound : float
        Lower bound on log Z that training rows, and the last states of annealed runs, prove
        (log Z itself for small models).
    log_partition_gap : float
        Estimate of log Z minus the estimate from the persistent chains.
    shortfall : float
        Mean log-likelihood of a training row if all features were independent, minus that
        under the model, which may be lower still where log Z is larger than its estimate.
    imbalance : float
        Loss of log-likelihood per row because a hidden unit is on too often or too seldom.
        It is larger unless the draws are off by chance.
    unit : int
        This hidden unit.
    of_rows, of_draws : float
        Shares of the training rows, and of draws of the model, in which it is on.
    of : tuple of float
        Identifies the model, see `belongs_to`.
    """

    log_partition_bound: float
    log_partition_gap: float = np.nan
    shortfall: float = np.nan
    imbalance: float = np.nan
    unit: int = -1
    of_rows: float = np.nan
    of_draws: float = np.nan
    of: tuple[float, ...] = dataclasses.field(repr=False)

    @property
    def problem(self) -> str | None:
        """Name of the first condition that does not hold, None if there is none."""
        if self.log_partition_gap > LARGEST_GAP:
            return "unvisited modes"
        if self.shortfall > LARGEST_LOSS:
            return "worse than independent features"
        if self.imbalance > LARGEST_LOSS:
            return "wrong proportions"
        return None

    def __str__(self) -> str:
        if self.problem == "unvisited modes":
            worse = ""
            if self.shortfall > LARGEST_LOSS:
                worse = (
                    ", and training rows are on average less probable than if features "
                    f"were independent, by {self.shortfall:.1f} nats or more"
                )
            return (
                "The model has modes that its persistent chains have not visited: log Z "
                f"exceeds their estimate by {self.log_partition_gap:.1f} nats{worse}."
            )
        if self.problem == "worse than independent features":
            return (
                "The model is worse than independent features: its training rows are on "
                f"average less probable, by {self.shortfall:.2f} nats or more."
            )
        if self.problem == "wrong proportions":
            return (
                f"The model has modes in wrong proportions: hidden unit {self.unit} is on "
                f"in {self.of_rows:.1%} of the training rows, but in {self.of_draws:.1%} "
                "of the rows that the model draws. This costs at least "
                f"{self.imbalance:.2f} nats per row."
            )
        if self.log_partition_gap < -LARGEST_GAP:
            return (
                "No problem was found, but annealed runs were too short for this model: "
                f"their estimates of log Z differ by {-self.log_partition_gap:.1f} nats."
            )
        questions = {
            "the persistent chains have visited all modes": self.log_partition_gap,
            "the model is better than independent features": self.shortfall,
            "modes have the proportions of the training rows": self.imbalance,
        }
        unknown = [text for text, value in questions.items() if math.isnan(value)]
        if unknown:
            return (
                "No problem was found, but it is not known whether "
                f"{', nor whether '.join(unknown)}."
            )
        return "No problem was found."


def judge(state, data=None) -> Verdict:
    """Return the verdict on the trained model of a state.

    Four things are compared:

    - log Z, or the largest of estimates that almost never exceed it: its lower bound from
      rows, annealed runs from independent features, less two standard errors, and the draws
      below, both without the largest weight, so that no single run or draw decides;
    - what the persistent chains know of it: the estimate of annealed runs in reverse, which
      start 100 Gibbs steps after the chains. If the chains are draws of the model, this is
      about log Z, or above it if there are too few temperatures;
    - the mean free energy of training rows, and their log-likelihood if all features are
      independent;
    - the means of the hidden units for training rows and for draws of the model. If a unit
      is on in a share q of the rows, but with probability p under the model, the
      log-likelihood is at least the relative entropy of q to p below the best possible one.
      No function of the rows can be further from the data than the rows are. If exact
      draws take too long, they are hidden states of rows with importance weights, which
      know the proportions of all modes that rows are in.

    What is not finite is taken to be unknown.

    Parameters
    ----------
    state : TrainingState
    data : DataSet, default=None
        Encoded training rows, drawn from if they are not states. None if the model was not
        trained on states.
    """
    model = state.result
    path = _annealing.TemperaturePath(model, state.visible_mean)
    betas = _annealing.usual_betas(N_BETAS).tolist()
    rng, rough = generator(0), path.model
    found: dict[str, Any] = {}
    n_states = 1 << model.n_enumerated
    exact = model.n_enumerated <= MOST_ENUMERATED
    exact = exact and n_states * model.weights.size <= N_TERMS * model.n_enumerated
    rows, shares = _rows(rough, data)
    if exact:
        bound = log_z = exact_log_partition(model)
    else:
        weights, draws = _annealing.anneal(path, betas, [(N_RUNS, 1)])
        bound = log_partition_bound(rough, np.concatenate([rows, draws]))
        of_runs = path.base_log_partition + _log_mean(weights)
        log_z = max(bound, of_runs - 2 * _annealing.standard_error(weights))
    if len(rows):
        if exact:
            n_draws = max(N_DRAWS, min(N_ROWS, N_VALUES // len(model.visible)))
            draws = exact_draws(model, n_draws, rng).astype(np.float32)
            hidden, weights = rough.mean_hidden(draws), np.zeros(n_draws)
        else:
            hidden, weights = _weighted_draws(rough, rows, shares, rng)
            log_z = max(log_z, _log_mean(weights))
        found |= _imbalance(shares @ rough.mean_hidden(rows), hidden, weights)
        base = _independent(model.visible, data, state.visible_mean)
        log_z_of_base = base.log_normalizer(np.zeros((1, len(base))))[0]
        surplus = base.minus_energy(rows) + rough.free_energy(rows)
        found["shortfall"] = float(shares @ surplus - log_z_of_base + log_z)
    solver = state.solver
    if not solver.paired and len(solver.chains) >= FEWEST_CHAINS:
        h = solver.chains[:N_RUNS].astype(np.float32)
        rough.gibbs(h, 100, rng)
        v = rough.sample_visible(h, rng)
        reverse, _ = _annealing.anneal(path, betas[::-1], [(len(v), 2)], init=v)
        known = path.base_log_partition - _log_mean(reverse)
        found["log_partition_gap"] = float(log_z - known)
    found = {k: value if math.isfinite(value) else math.nan for k, value in found.items()}
    return Verdict(log_partition_bound=float(bound), of=projections(model), **found)


def _rows(model, data):
    """Return some training rows, with draws in place of what is not a state, and shares."""
    if data is None:
        return np.empty((0, len(model.visible)), np.float32), np.empty(0)
    few, shares = data.draw(min(N_ROWS, max(100, N_VALUES // data.n_encoded)))
    v = few.copy_rows(np.float32)
    v, _ = _gaps.filled(model, v.toarray() if data.is_sparse else v)
    model.visible.draw_states(v, generator(0))
    return v, shares


def _independent(visible, data, visible_mean):
    """Return units that model independent features with the moments of training rows.

    Those that annealed runs start from have means that are kept away from 0 and 1, and
    moments of the rows of the first of several fits. So has what is returned if there
    is only a sample of the rows, to whose moments no model should be compared.
    """
    n_rows = data.effective_size
    if n_rows > 1.01 * len(data):
        return visible.independent(visible_mean, np.float64)
    total, observed = data.sums(clip=visible.clip)
    mean = square = mean_of_observed(total, observed, visible_mean)
    if visible.n_bits < len(visible):
        total, observed = data.sums(clip=np.square)
        square = mean_of_observed(total, observed, np.square(mean))
    return visible.independent_of(visible.mean_of_rows(n_rows * mean, n_rows), square)


def _log_mean(log_weights):
    """Return the log of the mean of weights without the largest."""
    return _annealing.log_mean(np.sort(log_weights)[:-1])


def _weighted_draws(model, rows, shares, rng):
    """Return hidden states drawn given rows, and the logs of their importance weights.

    The mean of the weights estimates Z, without what is far from all rows.
    """
    rows = rows[rng.choice(len(rows), N_DRAWS, p=shares)]
    log_odds = log_odds_of(model.mean_hidden(rows))
    h = model.draw_hidden(log_odds.copy(), rng)
    return h, log_importance(model, h, log_odds)


def _imbalance(q, hidden, log_weights):
    """Return the fields of a verdict on the hidden unit whose means differ most.

    If a unit is on with probability p, the chance that its mean m over n draws differs from
    p at least as much as it does is at most ``exp(-n L)`` in each direction. L is the
    relative entropy of m to p (Chernoff's bound). This holds roughly if draws are weighted,
    and n is their effective number. The loss is that for the p closest to the mean of the
    rows that is not excluded by this. Nothing is said if there are too few draws, or their
    weights are too unequal.
    """
    n_effective = _annealing.effective_number(log_weights)
    by_chance = np.log(2 * len(q) / CHANCE) / n_effective
    if not by_chance <= LARGEST_LOSS:  # or NaN
        return {}
    weights = np.exp(log_weights - log_weights.max())
    q, m = (
        mean.astype(np.float64).clip(0, 1) for mean in (q, weights @ hidden / weights.sum())
    )
    least, most = np.zeros(len(q)), np.ones(len(q))
    for _ in range(50):  # part of the way from m to q
        part = (least + most) / 2
        excluded = _relative_entropy(m, m + part * (q - m)) > by_chance
        least, most = np.where(excluded, least, part), np.where(excluded, part, most)
    loss = _relative_entropy(q, m + most * (q - m))
    unit = int(loss.argmax())
    return {
        "imbalance": float(loss[unit]),
        "unit": unit,
        "of_rows": float(q[unit]),
        "of_draws": float(m[unit]),
    }


def _relative_entropy(q, p):
    """Return the relative entropy of a bit of mean q to one of mean p."""
    return rel_entr(q, p) + rel_entr(1 - q, 1 - p)
