"""Argument types used in public signatures."""

from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

MatrixLike: TypeAlias = ArrayLike | sp.sparray | sp.spmatrix
RandomStateLike: TypeAlias = int | np.random.RandomState | None
