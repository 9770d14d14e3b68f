"""Solvers for the negative phase: contrastive divergence, plain, persistent and tempered.

A solver owns its state, in particular its Gibbs chains of hidden states. It defines the
number of chains and of negative rows, whether each negative row belongs to a data row, the
negative phase, and what to do after an update. Within a chain, hidden and visible states
are sampled. The hidden statistics of both phases are means, which have the same expectation
and a smaller variance.

To add a solver, subclass `Solver` and add the subclass to `SOLVERS`.
"""

import abc
import copy
from typing import Self

import numpy as np

from skrbm import _binary_rows
from skrbm._annealing import TemperaturePath, respaced, swap_pairs
from skrbm._model import RBM
from skrbm._phases import Phases

# Number of recent rows to whose hidden states persistent chains may jump, and the smallest
# chance that a hidden unit has of either state.
N_TO_JUMP_TO = 200
SMALLEST_CHANCE = 1e-4
# Numbers of minibatches from one jump to the next, if more than this part of the jumps is
# accepted. If chains of a model with few modes jump half as often, many equal columns can
# run away between jumps.
INTERVALS = {0.1: 10, 0.01: 20, 0.001: 50}
LARGEST_INTERVAL = 100
# Weight of a new jump in the moving average of the accepted part.
ACCEPTED_SHARE = 0.1
# Number of minibatches for solvers that have nothing to do between them.
MANY = 1 << 30
# Number of temperatures of parallel tempering.
N_TEMPERATURES = 10
# Weight of a new swap in the moving averages of rejection rates, and number of minibatches
# after which the temperatures are respaced.
REJECTION_SHARE = 0.02
RESPACING_INTERVAL = 100


class Solver(abc.ABC):
    """Base class of solvers.

    Parameters
    ----------
    chains : ndarray of shape (n_chains, n_components)
        Hidden states of the chains, changed in place.
    n_gibbs_steps : int
        Number of Gibbs steps per minibatch.

    Attributes
    ----------
    paired : bool
        Whether negative row i comes from data row i of the minibatch.
    in_core : bool
        Whether the compiled core may replace `negative_phase` and `after_update`: by Gibbs
        steps of chains that start at the rows of the minibatch if they are `paired`, and
        else of the chains of the previous minibatch. A subclass has to ask for it.
    means : ndarray of shape (n, n_components) or None
        Hidden means of recent rows of minibatches, if the solver remembers them.
    n_means : int
        How many rows have been written there so far, the latest over the oldest.
    """

    paired: bool = False
    in_core: bool = False
    means: np.ndarray | None = None
    n_means: int = 0

    def __init_subclass__(cls, *, in_core=False):
        cls.in_core = in_core

    def __init__(self, chains: np.ndarray, n_gibbs_steps: int):
        self.chains = chains
        self.n_gibbs_steps = n_gibbs_steps

    @classmethod
    def count_chains(cls, settings, n_rows: int, n_before: int = 0) -> int:
        """Return the number of chains for training on `n_rows` rows.

        `n_before` is the number of chains of the training that is continued, if any.
        """
        return settings.n_chains

    def n_negative(self, n_positive: int) -> int:
        """Return the number of negative rows for a minibatch of `n_positive` rows."""
        return len(self.chains)

    def prepare(self, model: RBM, rng: np.random.Generator) -> int:
        """Do what is due before a minibatch; return for how many of them this is enough."""
        return 1

    def have_taken(self, sizes: list[int]) -> None:  # noqa: B027, optional hook
        """Count minibatches of these sizes, after their negative phase."""

    @abc.abstractmethod
    def negative_phase(self, model: RBM, phases: Phases, rng: np.random.Generator) -> None:
        """Draw the negative rows and compute the hidden means of both phases."""

    def after_update(self, phases: Phases, offsets) -> None:  # noqa: B027, optional hook
        """Update the state of the solver after the model was updated from `phases`."""

    def copy(self) -> Self:
        solver = copy.copy(self)
        for name, value in vars(self).items():  # `deepcopy` is slow for arrays
            array = isinstance(value, np.ndarray)
            setattr(solver, name, value.copy() if array else copy.deepcopy(value))
        return solver

    def resume(self, settings, n_rows: int) -> Self:
        """Return a copy that continues the chains in training on `n_rows` rows.

        If the number of chains has changed, chains are repeated or dropped. Override this
        method if other attributes depend on the number of chains or on the settings.
        """
        solver = self.copy()
        n_chains = self.count_chains(settings, n_rows, len(self.chains))
        solver.chains = np.resize(self.chains, (n_chains, self.chains.shape[1]))
        solver.n_gibbs_steps = settings.n_gibbs_steps
        return solver

    @classmethod
    def mix(cls, solvers: list[Self], n_chains: int) -> Self:
        """Return a solver with at most `n_chains` chains, taken from all solvers equally.

        Override this method if other attributes belong to single chains.
        """
        mixed = solvers[0].copy()
        mixed.chains = _in_turn([solver.chains for solver in solvers], 0)[:n_chains]
        return mixed


def _in_turn(arrays, axis):
    """Interleave arrays of the same shape along an axis."""
    stack, shape = np.stack(arrays, axis + 1), list(arrays[0].shape)
    shape[axis] *= len(arrays)
    return stack.reshape(shape)


class ContrastiveDivergence(Solver, in_core=True):
    """CD-k, which starts one chain at each row of the minibatch.

    Hinton, G. E. (2002). Training products of experts by minimizing contrastive
    divergence. Neural Computation, 14(8), 1771-1800.
    """

    paired = True

    @classmethod
    def count_chains(cls, settings, n_rows, n_before=0):
        # A shorter chunk of rows uses only some of the chains. The others are kept.
        return max(min(settings.batch_size, n) for n in (n_rows, n_before))

    def n_negative(self, n_positive):
        return n_positive

    def prepare(self, model, rng):
        return MANY

    def negative_phase(self, model, phases, rng):
        chains = phases.sample_positive(model, rng)
        model.gibbs(chains, self.n_gibbs_steps - 1, rng)
        phases.sample_negative(model, chains, rng, infer_positive=False)
        # With copies of heavy rows, a minibatch can have more rows than there are chains.
        kept = chains[: len(self.chains)]
        self.chains[: len(kept)] = kept


class PersistentContrastiveDivergence(Solver, in_core=True):
    """PCD-k, which continues the chains of the previous step, and lets them jump.

    Gibbs steps rarely lead from one mode of a model to another. Without jumps, the
    chains thus cannot tell how much probability a mode has, and training moves all of it to
    one of them, or to a state that no chain is in. See `jump`.

    Tieleman, T. (2008). Training restricted Boltzmann machines using approximations to the
    likelihood gradient. ICML 2008, 1064-1071.

    Attributes
    ----------
    accepted : float
        Moving average of the part of the jumps that are accepted.
    n_minibatches : int
        Number of minibatches since the last jump.
    """

    n_minibatches = 0
    accepted = 1.0
    means: np.ndarray

    def __init__(self, chains, n_gibbs_steps):
        super().__init__(chains, n_gibbs_steps)
        self.means = np.zeros((N_TO_JUMP_TO, chains.shape[1]), chains.dtype)

    @property
    def _interval(self):
        suitable = (n for part, n in INTERVALS.items() if self.accepted > part)
        return next(suitable, LARGEST_INTERVAL)  # also if training has diverged

    def prepare(self, model, rng):
        if self.n_means and self.n_minibatches >= self._interval:
            accepted = jump(model, self.chains, self.means[: self.n_means], rng)
            self.accepted += ACCEPTED_SHARE * (accepted - self.accepted)
            self.n_minibatches = 0
        return self._interval - self.n_minibatches

    def have_taken(self, sizes):
        self.n_minibatches += len(sizes)
        for size in sizes:
            self.n_means += min(size, N_TO_JUMP_TO - self.n_means % N_TO_JUMP_TO)

    def negative_phase(self, model, phases, rng):
        model.gibbs(self.chains, self.n_gibbs_steps - 1, rng)
        phases.sample_negative(
            model, self.chains, rng, infer_positive=True, continue_chains=True
        )
        place, means = self.n_means % N_TO_JUMP_TO, phases.positive_hidden
        part = means[: N_TO_JUMP_TO - place]
        self.means[place : place + len(part)] = part
        self.have_taken([len(means)])


def jump(model, h, means, rng):
    """Let chains jump to hidden states that rows of data have; return the accepted part.

    The proposals are drawn from the mixture of what such rows with these hidden means have,
    whatever the states `h` of the chains are. They are accepted such that the distribution
    of the model stays as it is, by an independence sampler: Tierney, L. (1994). Markov
    chains for exploring posterior distributions. Annals of Statistics, 22(4), 1701-1728.
    The states are changed in place.

    The hidden states of a perfect model are distributed like those that all rows have, the
    aggregated posterior. Jumps are thus frequent if a few rows represent most others, as in
    data with few clusters, or with many columns that repeat others. They are rare if the
    model has very many states, between which Gibbs steps lead.
    """
    log_odds = log_odds_of(means)
    drawn = log_odds[rng.integers(len(means), size=len(h))]
    both = np.concatenate([h, model.draw_hidden(drawn, rng)])
    before, after = np.split(log_importance(model, both, log_odds), 2)
    chances = np.exp(np.minimum(after - before, 0))
    accept = rng.random(len(h)) < chances
    h[accept] = both[len(h) :][accept]
    return float(chances.mean())


def log_odds_of(means):
    """Return the log-odds of hidden units, from which either state can be drawn."""
    means = means.clip(SMALLEST_CHANCE, 1 - SMALLEST_CHANCE)
    return np.log(means / (1 - means))


def log_importance(model, h, log_odds):
    """Return the logs of the weights of hidden states that rows of data may have.

    They are the unnormalized probabilities of the states under the model, divided by those
    under the mixture of independent states with the log-odds of these rows. For states
    drawn from this mixture, the mean of the weights is an unbiased estimate of Z.
    """
    of_zeros = -_binary_rows.softplus_sums(log_odds).astype(log_odds.dtype)
    of_rows = model.given_hidden(h).visible_input(log_odds, of_zeros)
    return -model.hidden_free_energy(h) - _binary_rows.log_mean_exps(of_rows)


class ParallelTempering(Solver):
    """PCD-k whose chains swap states with chains at higher temperatures.

    At the highest temperature, features are independent with the means of the data. States
    that come from there can reach modes that no chain is in. Swaps compare visible states,
    with the hidden units summed out. The temperatures move so that all neighbors swap
    equally often.

    Desjardins, G., Courville, A., Bengio, Y., Vincent, P. and Delalleau, O. (2010).
    Tempered Markov chain Monte Carlo for training of restricted Boltzmann machines. AISTATS
    2010, 145-152.

    Cho, K., Raiko, T. and Ilin, A. (2010). Parallel tempering is efficient for learning
    restricted Boltzmann machines. IJCNN 2010, 1-8.

    Syed, S., Bouchard-Cote, A., Deligiannidis, G. and Doucet, A. (2022). Non-reversible
    parallel tempering: a scalable highly parallel MCMC scheme. Journal of the Royal
    Statistical Society B, 84(2), 321-350.

    Attributes
    ----------
    betas : ndarray of shape (n_temperatures,)
        Increasing inverse temperatures from 0 to 1.
    rejected : ndarray of shape (n_temperatures - 1,)
        Moving averages of the rejection rates of swaps between neighbors.
    base_mean : ndarray of shape (n_features,), or 0.5 before the first minibatch
        Mean of all minibatches so far and one of even chances.
    v : ndarray of shape (n_temperatures, n_chains, n_encoded)
        Visible states, uint8 if they are bits. None before the first minibatch.
    """

    def __init__(self, chains, n_gibbs_steps):
        super().__init__(chains, n_gibbs_steps)
        self.betas = np.linspace(0, 1, N_TEMPERATURES)
        self.rejected = np.zeros(N_TEMPERATURES - 1)
        self.base_mean: float | np.ndarray = 0.5
        self.v: np.ndarray | None = None
        self.n_minibatches = self.n_swaps = 0

    def negative_phase(self, model, phases, rng):
        self.n_minibatches += 1
        share = 1 / (self.n_minibatches + 1)
        self.base_mean = self.base_mean + share * (phases.mean_visible() - self.base_mean)
        if self.v is None:
            v = model.sample_visible(self.chains, rng)
            dtype = np.uint8 if model.visible.rows_are_bits else np.float32
            self.v = np.tile(v.astype(dtype), (len(self.betas), 1, 1))
        self._step(TemperaturePath(model, self.base_mean), self.v, rng)
        model.sample_hidden(self.v[-1].astype(model.dtype), rng, out=self.chains)
        phases.sample_negative(model, self.chains, rng, infer_positive=True)
        if self.n_minibatches % RESPACING_INTERVAL == 0:
            self._respace()

    def _step(self, path, states, rng):
        """Alternate between swaps of neighbors and a Gibbs step at each temperature.

        `states`, of the shape of `v`, are replaced.
        """
        places, n = path.at(self.betas), len(self.chains)
        v = states.reshape(-1, states.shape[2]).astype(np.float32)
        hidden_input = None
        for _ in range(self.n_gibbs_steps):
            hidden_input = path.hidden_input(v, places, out=hidden_input)
            first = self.n_swaps % 2
            accept = swap_pairs(path, places, v, hidden_input, first, rng)
            rejected = self.rejected[first::2]
            rejected += REJECTION_SHARE * (1 - accept.mean(axis=1) - rejected)
            self.n_swaps += 1
            v[:n] = path.draw_base(n, rng)
            path.gibbs(v[n:], hidden_input[n:], places[1:], [(slice(None), rng)])
        states[...] = v.reshape(states.shape)

    def _respace(self):
        # Without any rejections, the spacing stays as it is.
        little = 0.01 * np.diff(self.betas)
        self.betas = respaced(self.betas, self.rejected + little, len(self.betas))
        self.rejected[:] = self.rejected.mean()

    def resume(self, settings, n_rows):
        solver = super().resume(settings, n_rows)
        if self.v is not None:
            solver.v = self.v[:, np.arange(len(solver.chains)) % len(self.chains)]
        return solver

    @classmethod
    def mix(cls, solvers, n_chains):
        mixed = super().mix(solvers, n_chains)
        if all(solver.v is not None for solver in solvers):
            mixed.v = _in_turn([solver.v for solver in solvers], 1)[:, :n_chains]
        else:
            mixed.v = None
        return mixed


SOLVERS: dict[str, type[Solver]] = {
    "cd": ContrastiveDivergence,
    "pcd": PersistentContrastiveDivergence,
    "pt": ParallelTempering,
}


def first_solver(settings, n_rows, n_components, hidden_mean, dtype, rng) -> Solver:
    """Return the solver for a new training, with independent hidden states as chains."""
    kind = SOLVERS[settings.solver]
    shape = kind.count_chains(settings, n_rows), n_components
    chains = (rng.random(shape) < hidden_mean).astype(dtype)
    return kind(chains, settings.n_gibbs_steps)


def next_solver(before: Solver, settings, n_rows: int) -> Solver:
    """Return the solver for a training that continues the chains of `before`."""
    kind = SOLVERS[settings.solver]
    if type(before) is not kind:  # only the chains are of use
        before = kind(before.chains, settings.n_gibbs_steps)
    return before.resume(settings, n_rows)
