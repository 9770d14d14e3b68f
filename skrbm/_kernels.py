"""The array primitives that hot loops are made of.

This room knows arrays, random bits and nothing else: no energy, no training, no
scikit-learn. Everything is written into arrays that the caller owns, and chains of
elementwise operations run block by block, so that their temporaries stay in cache.

Why not `scipy.special.expit` and `Generator.random`: in float32 `np.tanh` is vectorised
and about ten times faster than `expit`, and raw 32-bit words cost half of a float draw.
"""

import numpy as np
import scipy.sparse as sp

# Elements in a block of an elementwise chain: 256 kB of float32, a quarter of a common
# L2 cache.
BLOCK_SIZE = 1 << 16


def row_blocks(n_rows, row_size, block_size=BLOCK_SIZE):
    """Cut `n_rows` rows of `row_size` elements into slices of bounded size."""
    step = max(1, block_size // max(1, row_size))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def product(a, b, out):
    """Write ``a @ b`` into the dense array `out`; `a` is dense or sparse."""
    if sp.issparse(a):
        out[...] = a @ b
    else:
        np.matmul(a, b, out=out)
    return out


def logistic(x):
    """Overwrite `x` with ``1 / (1 + exp(-x))``, computed as ``(1 + tanh(x / 2)) / 2``."""
    x *= 0.5
    np.tanh(x, out=x)
    x *= 0.5
    x += 0.5
    return x


def softplus(x):
    """Return ``log(1 + exp(x))`` without overflow."""
    result = np.abs(x)
    np.negative(result, out=result)
    np.exp(result, out=result)
    np.log1p(result, out=result)
    result += np.maximum(x, 0)
    return result


def _signed_uniform(n, dtype, rng):
    """Draw `n` numbers uniform on [-2**31, 2**31), two from each 64-bit word of `rng`.

    The resolution is that of 32 random bits (in float32, of the 24 it can hold).
    """
    bits = rng.bit_generator.random_raw((n + 1) // 2).view(np.int32)[:n]
    return bits.astype(dtype)


def bernoulli(mean, rng, out):
    """Write into `out` a 1 with probability `mean`, else 0, for every element.

    `mean` and `out` are C-contiguous and of one shape; they may be the same array.
    """
    flat_mean, flat_out = mean.reshape(-1), out.reshape(-1)
    for start in range(0, mean.size, BLOCK_SIZE):
        block = slice(start, start + BLOCK_SIZE)
        threshold = flat_mean[block] * 2.0**32
        threshold -= 2.0**31
        draw = _signed_uniform(threshold.size, mean.dtype, rng)
        np.less(draw, threshold, out=flat_out[block])
    return out


def bernoulli_from_log_odds(x, bias, rng, out):
    """Write into `out` a 1 with probability ``logistic(x + bias)``, else 0.

    ``u < logistic(z)`` for u uniform on [0, 1) is ``2 u - 1 < tanh(z / 2)``: the
    probability itself is never formed. `x`, of shape (n_rows, n_columns), is overwritten;
    `out` may be `x`, or an array of bool.
    """
    for rows in row_blocks(*x.shape):
        threshold = x[rows]
        threshold += bias
        threshold *= 0.5
        np.tanh(threshold, out=threshold)
        threshold *= 2.0**31
        draw = _signed_uniform(threshold.size, x.dtype, rng).reshape(threshold.shape)
        np.less(draw, threshold, out=out[rows])
    return out


def csr_from_bool(mask, dtype):
    """Return the 0/1 matrix of a C-contiguous boolean array as CSR.

    Eight times faster than ``csr_array(mask)``: one pass finds the ones, and nothing is
    sorted.
    """
    n_rows, n_columns = mask.shape
    flat = np.flatnonzero(mask)
    starts = np.arange(n_rows + 1) * n_columns
    indptr = np.searchsorted(flat, starts)
    flat -= np.repeat(starts[:-1], np.diff(indptr))
    data = np.ones(flat.size, dtype=dtype)
    index = np.int32 if max(flat.size, n_columns) < 2**31 else np.int64
    return sp.csr_array((data, flat.astype(index), indptr.astype(index)), shape=mask.shape)
