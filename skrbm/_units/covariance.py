"""The estimate of the covariance matrix of standardized rows."""

import numpy as np

from skrbm._random import generator
from skrbm._units.gaussian import SMALLEST_VARIANCE

# Numbers of rows that a covariance matrix is estimated from, without and with gaps, and of
# parts of these for cross-validation.
ROWS_FOR_COVARIANCE, GAPPY_ROWS_FOR_COVARIANCE = 10_000, 1000
N_FOLDS = 10
# The weights of the identity to choose from.
SHRINKAGES = np.logspace(-5, 0, 21)


def rows_for_covariance(data):
    """Return the rows of a data set to estimate a covariance matrix from, and shares."""
    return data.draw(GAPPY_ROWS_FOR_COVARIANCE if data.has_gaps else ROWS_FOR_COVARIANCE)


def axes_of(rows, shares, constant):
    """Return axes along which rows with these shares are uncorrelated, times deviations.

    The covariance matrix of the standardized rows is shrunk to the identity, with the
    weight of the largest likelihood in cross-validation.
    """
    varying = rows[:, ~constant]
    weight = _shrinkage(varying, shares) if varying.size else 1.0
    covariance = (1 - weight) * (rows.T * shares) @ rows
    covariance += weight * np.diag(np.where(constant, SMALLEST_VARIANCE, 1.0))
    variances, vectors = np.linalg.eigh(covariance)
    return np.sqrt(variances)[:, None] * vectors.T


def _shrinkage(rows, shares):
    """Return the weight of the identity in the covariance matrix, by cross-validation."""
    n_folds = min(N_FOLDS, len(rows))
    if n_folds == 1:
        return 1.0
    fold = generator(0).permutation(len(rows)) % n_folds
    scores = np.zeros(len(SHRINKAGES))
    for number in range(n_folds):
        inside, outside = fold != number, fold == number
        parts = shares[inside] / shares[inside].sum()
        mean = parts @ rows[inside]
        centered = rows[inside] - mean
        variances, vectors = np.linalg.eigh((centered.T * parts) @ centered)
        squares = shares[outside] @ np.square((rows[outside] - mean) @ vectors)
        for place, weight in enumerate(SHRINKAGES):
            shrunk = (1 - weight) * variances + weight
            logs = shares[outside].sum() * np.log(shrunk)
            scores[place] -= (logs + squares / shrunk).sum()
    return SHRINKAGES[scores.argmax()]
