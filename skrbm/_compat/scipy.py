"""What is private in scipy: products of CSR arrays with dense ones, in place.

The public product makes and checks arrays at each call, which takes longer than the product
of a minibatch. Unchanged from scipy 1.12 to 1.17.
"""

from scipy.sparse._sparsetools import csc_matvecs, csr_matvecs

__all__ = ["csc_matvecs", "csr_matvecs"]
