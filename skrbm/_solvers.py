"""Where the negative sample comes from: contrastive divergence, plain and persistent.

A solver fills the two phases of one learning step (`skrbm._phases`) for a model: hidden
means of the data rows, visible states drawn from the chains, and their hidden means. Its
only state is its chains of hidden states. Inside a chain hidden and visible states are
sampled; the hidden statistics of both phases are means, which has the same expectation and
less variance.
"""

from skrbm import _kernels


class ContrastiveDivergence:
    """CD-k: chains start at the rows of the minibatch, one chain to a row.

    Hinton, G. E. (2002). Training products of experts by minimizing contrastive
    divergence. Neural Computation, 14(8), 1771-1800.
    """

    def __init__(self, chains, n_gibbs_steps):
        self.chains = chains
        self.n_gibbs_steps = n_gibbs_steps
        self.n_negative = None  # as many as there are positive rows

    def run(self, model, phases, rng):
        phases.infer_positive(model)
        chains = self.chains[: phases.n_positive]
        _kernels.bernoulli(phases.positive_hidden, rng, out=chains)
        model.gibbs(chains, self.n_gibbs_steps - 1, rng)
        phases.sample_negative(model, chains, rng, infer_positive=False)


class PersistentContrastiveDivergence:
    """PCD-k: chains go on from where the last step left them.

    Tieleman, T. (2008). Training restricted Boltzmann machines using approximations to the
    likelihood gradient. ICML 2008, 1064-1071.
    """

    def __init__(self, chains, n_gibbs_steps):
        self.chains = chains
        self.n_gibbs_steps = n_gibbs_steps
        self.n_negative = len(chains)

    def run(self, model, phases, rng):
        model.gibbs(self.chains, self.n_gibbs_steps - 1, rng)
        phases.sample_negative(model, self.chains, rng, infer_positive=True)
        _kernels.bernoulli(phases.negative_hidden, rng, out=self.chains)


SOLVERS = {"cd": ContrastiveDivergence, "pcd": PersistentContrastiveDivergence}
