"""Types of arguments, for the signatures of what is public."""

from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

MatrixLike: TypeAlias = ArrayLike | sp.sparray | sp.spmatrix
RandomStateLike: TypeAlias = int | np.random.RandomState | None
