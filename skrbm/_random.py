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


class Repeated:
    """Generator of the same draws for each of several blocks of rows.

    It has the methods of a generator of NumPy that `VisibleUnits.sample` may use, and draws
    matrices of as many rows as all blocks have, an even number in each. Draws of raw words
    are for such matrices, too, and a single word stands for one of each block.

    Parameters
    ----------
    rng : Generator
    n_blocks, n_rows : int
        Number of blocks, and of rows in each.
    """

    def __init__(self, rng, n_blocks, n_rows):
        self._rng, self.n_blocks, self.n_rows = rng, n_blocks, n_rows

    @property
    def bit_generator(self):
        return self

    def random_raw(self, size=None):
        draw = self._rng.bit_generator.random_raw
        return draw() if size is None else self._repeat(draw(size // self.n_blocks))

    def random(self, shape, **options):
        if self.n_blocks == 1:  # a matrix of any number of rows
            return self._rng.random(shape, **options)
        return self._repeat(self._rng.random((self.n_rows, *shape[1:]), **options))

    def standard_normal(self, shape, **options):
        if self.n_blocks == 1:
            return self._rng.standard_normal(shape, **options)
        return self._repeat(self._rng.standard_normal((self.n_rows, *shape[1:]), **options))

    def _repeat(self, draws):
        return np.tile(draws, (self.n_blocks, *[1] * (draws.ndim - 1)))
