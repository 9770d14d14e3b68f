"""Private functions of scipy: in-place products of CSR and CSC arrays with dense arrays.

The public product creates and checks arrays in each call, which takes longer than the
product of a minibatch. These functions are unchanged from scipy 1.12 to 1.17.
"""

from scipy.sparse._sparsetools import csc_matvecs, csr_matvecs

__all__ = ["csc_matvecs", "csr_matvecs"]
