"""Random generators and seeds.

Draws use generators of NumPy. Users pass what scikit-learn accepts, from which seeds are
drawn.
"""

import numpy as np

_LARGEST_SEED = np.iinfo(np.int32).max


def generator(*key) -> np.random.Generator:
    """Return the random generator of a key, which consists of integers."""
    return np.random.Generator(np.random.SFC64(key))


def draw_seeds(n: int, random_state: np.random.RandomState) -> list[int]:
    """Draw `n` seeds."""
    return random_state.randint(_LARGEST_SEED, size=n).tolist()


def new_generator(random_state: np.random.RandomState) -> np.random.Generator:
    """Return a random generator with a seed that is drawn."""
    return generator(random_state.randint(_LARGEST_SEED))
