"""Lower bounds on log Z that follow from states of a model, without any runs.

They are certain, whatever the states: other states can only add to Z.
"""

import numpy as np
from scipy.special import entr, logsumexp

# Number of rows whose free energies are added up, those of them that bound log Z in a
# second way, and steps that increase these bounds.
N_ROWS, N_REFINED, N_STEPS = 500, 100, 5


def log_partition_bound(model, v):
    """Return the largest lower bound on log Z that rows give.

    Z is a sum over all rows of bits, so it is at least that over the distinct ones among
    `v`. And for any means m of independent hidden units, with entropy H(m), ::

        log Z >= log sum_v exp(-E_units(v) + v . W m) + c . m + H(m)

    This is the variational bound of mean-field theory, which also holds for real values,
    and counts rows around `v`. Alternate updates of m and of the means of the visible units
    increase it: Saul, L. K., Jaakkola, T. and Jordan, M. I. (1996). Mean field theory for
    sigmoid belief networks. Journal of Artificial Intelligence Research, 4, 61-76.

    Parameters
    ----------
    model : RBM
    v : ndarray of shape (n_rows, n_encoded)
        Encoded rows of states. Those with the lowest free energies are used.
    """
    free_energy = model.free_energy(v)
    v = v[np.argsort(free_energy, kind="stable")[:N_ROWS]]
    bound = -np.inf
    if model.visible.rows_are_bits:
        packed = np.packbits(v > 0, axis=1)
        _, first = np.unique(packed, axis=0, return_index=True)
        v = v[np.sort(first)]
        bound = logsumexp(-model.free_energy(v))
    mean = model.mean_hidden(v[:N_REFINED])
    for step in range(N_STEPS + 1):
        if step:
            mean = model.mean_hidden(model.mean_visible(mean))
        of_rows = entr(mean).sum(axis=1) + entr(1 - mean).sum(axis=1)
        of_rows -= model.hidden_free_energy(mean)
        bound = max(bound, of_rows.max())
    return float(bound)
