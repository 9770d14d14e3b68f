"""Solvers for the negative phase: contrastive divergence, plain and persistent.

A solver owns its state, in particular its Gibbs chains of hidden states. It defines the
number of chains and of negative rows, whether each negative row belongs to a data row, the
negative phase, and what to do after an update. Within a chain, hidden and visible states
are sampled. The hidden statistics of both phases are means, which have the same expectation
and a smaller variance.

To add a solver, subclass `Solver` and add the subclass to `SOLVERS`.
"""

import abc
import copy

import numpy as np

from skrbm import _kernels


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
    """

    paired = False

    def __init__(self, chains, n_gibbs_steps):
        self.chains = chains
        self.n_gibbs_steps = n_gibbs_steps

    @classmethod
    def count_chains(cls, settings, n_rows, n_before=0):
        """Return the number of chains for training on `n_rows` rows.

        `n_before` is the number of chains of the training that is continued, if any.
        """
        return settings.n_chains

    def n_negative(self, n_positive):
        """Return the number of negative rows for a minibatch of `n_positive` rows."""
        return len(self.chains)

    @abc.abstractmethod
    def negative_phase(self, model, phases, rng):
        """Draw the negative rows and compute the hidden means of both phases."""

    def after_update(self, phases, offsets):  # noqa: B027, optional hook
        """Update the state of the solver after the model was updated from `phases`."""

    def copy(self):
        return copy.deepcopy(self)

    def resume(self, settings, n_rows):
        """Return a copy that continues the chains in training on `n_rows` rows.

        If the number of chains has changed, chains are repeated or dropped. Override this
        method if other attributes depend on the number of chains or on the settings.
        """
        solver = self.copy()
        n_chains = self.count_chains(settings, n_rows, len(self.chains))
        solver.chains = np.resize(self.chains, (n_chains, self.chains.shape[1]))
        solver.n_gibbs_steps = settings.n_gibbs_steps
        return solver


class ContrastiveDivergence(Solver):
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

    def negative_phase(self, model, phases, rng):
        phases.infer_positive(model)
        chains = self.chains[: phases.n_positive]
        _kernels.bernoulli(phases.positive_hidden, rng, out=chains)
        model.gibbs(chains, self.n_gibbs_steps - 1, rng)
        phases.sample_negative(model, chains, rng, infer_positive=False)


class PersistentContrastiveDivergence(Solver):
    """PCD-k, which continues the chains of the previous step.

    Tieleman, T. (2008). Training restricted Boltzmann machines using approximations to the
    likelihood gradient. ICML 2008, 1064-1071.
    """

    def negative_phase(self, model, phases, rng):
        model.gibbs(self.chains, self.n_gibbs_steps - 1, rng)
        phases.sample_negative(
            model, self.chains, rng, infer_positive=True, continue_chains=True
        )


SOLVERS = {"cd": ContrastiveDivergence, "pcd": PersistentContrastiveDivergence}


def first_solver(settings, n_rows, n_components, hidden_mean, dtype, rng):
    """Return the solver for a new training, with independent hidden states as chains."""
    kind = SOLVERS[settings.solver]
    shape = kind.count_chains(settings, n_rows), n_components
    chains = (rng.random(shape) < hidden_mean).astype(dtype)
    return kind(chains, settings.n_gibbs_steps)


def next_solver(before, settings, n_rows):
    """Return the solver for a training that continues the chains of `before`."""
    kind = SOLVERS[settings.solver]
    if type(before) is not kind:  # only the chains are of use
        before = kind(before.chains, settings.n_gibbs_steps)
    return before.resume(settings, n_rows)
