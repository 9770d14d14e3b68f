"""Argument types used in public signatures.

Modules with public signatures import `annotations` from `__future__`, so that `help` and
`inspect.signature` show these names instead of what they stand for.
"""

from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

MatrixLike: TypeAlias = ArrayLike | sp.sparray | sp.spmatrix
RandomStateLike: TypeAlias = int | np.random.RandomState | None
