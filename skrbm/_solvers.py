"""Where the negative sample comes from: contrastive divergence, plain and persistent.

A solver owns its state, above all its chains of hidden states, and answers for all that
distinguishes it from other solvers: how many chains and negative rows there are, whether
each negative row belongs to a data row, what happens in a negative phase, and what happens
after an update. Inside a chain hidden and visible states are sampled; the hidden statistics
of both phases are means, which has the same expectation and less variance.

A new solver is a subclass of `Solver`, entered in `SOLVERS`.
"""

import abc
import copy

import numpy as np

from skrbm import _kernels


class Solver(abc.ABC):
    """A negative phase with its state.

    Parameters
    ----------
    chains : ndarray of shape (n_chains, n_components)
        Hidden states of the chains; changed in place.
    n_gibbs_steps : int
        Gibbs steps that they take for each minibatch.

    Attributes
    ----------
    paired : bool
        Whether negative row number i comes from data row number i of the minibatch.
    """

    paired = False

    def __init__(self, chains, n_gibbs_steps):
        self.chains = chains
        self.n_gibbs_steps = n_gibbs_steps

    @classmethod
    def count_chains(cls, settings, n_rows, n_before=0):
        """Return the number of chains for `n_rows` rows to train on.

        Training may go on from `n_before` chains of an earlier training.
        """
        return settings.n_chains

    def n_negative(self, n_positive):
        """Return the number of negative rows beside a minibatch of `n_positive` rows."""
        return len(self.chains)

    @abc.abstractmethod
    def negative_phase(self, model, phases, rng):
        """Draw the negative rows, and fill in the hidden means of both phases."""

    def after_update(self, phases, offsets):  # noqa: B027, as most have nothing to do
        """Follow the update of the model that has just been made from `phases`."""

    def copy(self):
        return copy.deepcopy(self)


class ContrastiveDivergence(Solver):
    """CD-k: chains start at the rows of the minibatch, one chain to a row.

    Hinton, G. E. (2002). Training products of experts by minimizing contrastive
    divergence. Neural Computation, 14(8), 1771-1800.
    """

    paired = True

    @classmethod
    def count_chains(cls, settings, n_rows, n_before=0):
        # After a short chunk of rows the other chains stay as they are.
        return max(min(settings.batch_size, n) for n in (n_rows, n_before))

    def n_negative(self, n_positive):
        return n_positive

    def negative_phase(self, model, phases, rng):
        phases.infer_positive(model)
        chains = self.chains[: phases.n_positive]
        _kernels.bernoulli(phases.positive_hidden, rng, out=chains)
        model.gibbs(chains, self.n_gibbs_steps - 1, rng)
        phases.sample_negative(model, chains, rng, infer_positive=False)


class PersistentContrastiveDivergence(Solver):
    """PCD-k: chains go on from where the last step left them.

    Tieleman, T. (2008). Training restricted Boltzmann machines using approximations to the
    likelihood gradient. ICML 2008, 1064-1071.
    """

    def negative_phase(self, model, phases, rng):
        model.gibbs(self.chains, self.n_gibbs_steps - 1, rng)
        phases.sample_negative(model, self.chains, rng, infer_positive=True)
        _kernels.bernoulli(phases.negative_hidden, rng, out=self.chains)


SOLVERS = {"cd": ContrastiveDivergence, "pcd": PersistentContrastiveDivergence}


def first_solver(settings, n_rows, n_components, hidden_mean, dtype, rng):
    """Return the solver of a new training, its chains at independent hidden states."""
    kind = SOLVERS[settings.solver]
    shape = kind.count_chains(settings, n_rows), n_components
    chains = (rng.random(shape) < hidden_mean).astype(dtype)
    return kind(chains, settings.n_gibbs_steps)


def next_solver(before, settings, n_rows):
    """Return the solver of a training that goes on from another's chains.

    Chains are repeated, or left out, where their number has changed. What a solver of the
    same kind has besides, it keeps.
    """
    kind = SOLVERS[settings.solver]
    n_chains = kind.count_chains(settings, n_rows, len(before.chains))
    chains = np.resize(before.chains, (n_chains, before.chains.shape[1]))
    if type(before) is not kind:
        return kind(chains, settings.n_gibbs_steps)
    solver = before.copy()
    solver.chains, solver.n_gibbs_steps = chains, settings.n_gibbs_steps
    return solver
