"""Convergence diagnostics of chains; public as part of :mod:`skrbm.sampling`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skrbm._attributes import model_of
from skrbm._inputs import check_integer, check_rows, refuse_masked


def split_r_hat(x: ArrayLike) -> float:
    """Compute split R-hat, the potential scale reduction factor.

    Use it to see whether chains agree on the mean of a statistic that :func:`diagnose` does
    not include. If they do, R-hat is close to 1. Vehtari et al. [1]_ recommend a value
    below 1.01.

    Parameters
    ----------
    x : array-like of shape (n_chains, n_draws)
        Value of a statistic for each draw of each chain. Pass several chains: a single one
        is only compared with itself.

    Returns
    -------
    r_hat : float
        Split R-hat. It is 1.0 if all draws are equal, and infinite if the draws are
        constant within each half but differ between halves.

    Raises
    ------
    ValueError
        If `x` is not two-dimensional, or has fewer than 4 draws per chain.

    See Also
    --------
    diagnose : Diagnostics of several statistics at once.

    Notes
    -----
    Each chain is split into halves, without the draw in the middle if their number is odd.
    R-hat is the standard deviation of all draws divided by the standard deviation within
    the halves. With n draws in each half, it is ``sqrt((n - 1) / n + B / W)``. B is the
    variance of the means of the halves, and W is the mean of the variances within them.

    References
    ----------
    .. [1] Vehtari, A., Gelman, A., Simpson, D., Carpenter, B. and Buerkner, P.-C. (2021).
       Rank-normalization, folding, and localization: an improved R-hat for assessing
       convergence of MCMC. Bayesian Analysis, 16(2), 667-718. Equations 1 to 4.

    Examples
    --------
    >>> import numpy as np
    >>> from skrbm.sampling import split_r_hat
    >>> x = np.random.default_rng(0).normal(size=(4, 1000))
    >>> bool(split_r_hat(x) < 1.01)
    True
    >>> bool(split_r_hat(x + [[0], [0], [0], [3]]) > 1.5)
    True
    """
    halves = _halves(x)
    n = halves.shape[1]
    if _is_constant(halves):
        return 1.0
    within = halves.var(axis=1, ddof=1).mean()
    between = halves.mean(axis=1).var(ddof=1)
    if within == 0:
        return np.inf
    return float(np.sqrt((n - 1) / n + between / within))


def effective_sample_size(x: ArrayLike) -> float:
    """Compute the effective sample size of chains for estimating a mean.

    Draws of a chain resemble each other. The effective sample size is the number of
    independent draws whose mean would be as accurate. Use it to decide whether the chains
    are long enough.

    Parameters
    ----------
    x : array-like of shape (n_chains, n_draws)
        Value of a statistic for each draw of each chain. Pass several chains, because
        differences between chains reduce the result.

    Returns
    -------
    n : float
        Effective sample size. It is the number of draws if all draws are equal.

    Raises
    ------
    ValueError
        If `x` is not two-dimensional, or has fewer than 4 draws per chain.

    See Also
    --------
    diagnose : Diagnostics of several statistics at once.

    Notes
    -----
    The result is the number of draws divided by the autocorrelation time ``1 + 2 sum_t
    rho_t``, where rho_t is the autocorrelation at lag t. As in [1]_, chains are split into
    halves, and rho_t also accounts for differences between these. The sum ends where sums
    of consecutive pairs of rho_t are no longer positive. These pair sums are made
    non-increasing (Geyer's initial monotone sequence). The result is at most ``n_draws
    log10(n_draws)``, with the number of draws of all chains together.

    References
    ----------
    .. [1] Vehtari, A., Gelman, A., Simpson, D., Carpenter, B. and Buerkner, P.-C. (2021).
       Rank-normalization, folding, and localization: an improved R-hat for assessing
       convergence of MCMC. Bayesian Analysis, 16(2), 667-718. Section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skrbm.sampling import effective_sample_size
    >>> x = np.random.default_rng(0).normal(size=(4, 1000))
    >>> bool(3000 < effective_sample_size(x) < 5000)
    True
    >>> bool(effective_sample_size(x.cumsum(axis=1)) < 20)
    True
    """
    halves = _halves(x)
    n_halves, n = halves.shape
    if _is_constant(halves):
        return float(halves.size)
    centered = halves - halves.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centered, 2 * n, axis=1)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :n].mean(axis=0) / n
    within = covariance[0] * n / (n - 1)
    total = covariance[0] + halves.mean(axis=1).var(ddof=1)
    n_draws = n_halves * n
    rho = 1 - (within - covariance) / total
    rho[0] = 1
    pairs = rho[: max(1, (n - 1) // 2) * 2].reshape(-1, 2).sum(axis=1)
    end = np.flatnonzero(np.append(pairs[:-1] <= 0, True))[0]
    time = 2 * np.minimum.accumulate(pairs[:end]).sum() - 1 + max(rho[2 * end], 0)
    return float(n_draws / max(time, 1 / np.log10(n_draws)))


def _is_constant(x, relative=1e-15):
    """Return whether numbers differ by rounding errors only."""
    return bool(np.ptp(x) <= relative * np.abs(x).max())


def _halves(x):
    """Return the halves of chains, one in each row."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] < 4:
        raise ValueError(
            "Expected an array of shape (n_chains, n_draws) with at least 4 draws, but got "
            f"shape {x.shape}."
        )
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, -half:]])


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ChainDiagnostics:
    """Convergence diagnostics of chains, as returned by `diagnose`.

    Print the result for a table of all statistics, or read `verdict` for what they mean.

    Parameters
    ----------
    statistics : list of str
        Names of the statistics that were computed along the chains.

    r_hat : float64 ndarray of shape (n_statistics,)
        Split R-hat of each statistic. It is close to 1 if the chains agree.

    effective_sample_size : float64 ndarray of shape (n_statistics,)
        Number of independent draws that all chains together are worth, for the mean of each
        statistic.

    autocorrelation_time : float64 ndarray of shape (n_statistics,)
        Number of draws per effective draw, for each statistic.

    n_chains, n_draws : int
        Number of chains, and of draws per chain.

    moving : bool
        Whether the free energy changes at all, within or between chains. If it does not,
        the chains are stuck.

    free_energy : ndarray of shape (n_chains, n_draws)
        Free energy of each draw, in nats.

    Attributes
    ----------
    trusted : bool
        Whether the chains move, R-hat is below 1.01 and the effective sample size is at
        least 100, both for all statistics. A single chain is only compared with itself.

    verdict : str
        What the diagnostics mean and what to do next: the chains can be trusted, agree
        roughly (R-hat below 1.1), cannot be trusted, or do not move. A single chain cannot
        be trusted.
    """

    statistics: list[str]
    r_hat: np.ndarray
    effective_sample_size: np.ndarray
    autocorrelation_time: np.ndarray
    n_chains: int
    n_draws: int
    moving: bool
    free_energy: np.ndarray

    @property
    def trusted(self) -> bool:
        """Whether chains move, R-hat is below 1.01 and at least 100 draws are effective."""
        enough = (self.effective_sample_size >= 100).all()
        return bool(self.moving and (self.r_hat < 1.01).all() and enough)

    @property
    def verdict(self) -> str:
        """What the diagnostics mean, and what to do next."""
        worst = int(np.argmax(self.r_hat))
        r_hat, least = self.r_hat[worst], self.effective_sample_size.min()
        if not self.moving:
            return (
                "The chains do not move: all draws have the same free energy. Use another "
                "initialization (init='noise') or parallel tempering (betas='auto')."
            )
        if self.trusted and self.n_chains > 1:
            return (
                "The chains can be trusted: they agree with each other, and are worth at "
                f"least {least:.0f} independent draws."
            )
        if self.n_chains == 1:
            return (
                "One chain cannot be trusted by itself: run several chains from different "
                "initial states to see whether they agree. The halves of this chain have "
                f"R-hat {r_hat:.2f}."
            )
        if r_hat < 1.1:
            return (
                f"The chains agree roughly (R-hat {r_hat:.3f}), but are worth only "
                f"{least:.0f} independent draws for some statistics: use more draws or "
                "parallel tempering (betas='auto') for accurate estimates."
            )
        return (
            f"The chains cannot be trusted: they disagree on {self.statistics[worst]} "
            f"(R-hat {r_hat:.2f}), so each has explored only a part of the distribution. "
            "Run longer chains or use parallel tempering (betas='auto')."
        )

    def __repr__(self) -> str:
        lines = [
            f"{self.n_chains} chain{'s' * (self.n_chains != 1)} of {self.n_draws} draws",
            f"{'':24s}R-hat  effective draws  autocorrelation time",
        ]
        lines += [
            f"{name:22s}{r:7.3f}{n:17.0f}{time:22.1f}"
            for name, r, n, time in zip(
                self.statistics,
                self.r_hat,
                self.effective_sample_size,
                self.autocorrelation_time,
                strict=True,
            )
        ]
        return "\n".join([*lines, self.verdict])


def diagnose(rbm: Any, chains: np.ndarray, *, n_features: int = 5) -> ChainDiagnostics:
    """Diagnose whether chains have converged, and what their draws are worth.

    Use it before you rely on draws. It tells whether the chains agree, and how many
    independent draws they are worth. Chains that start far apart, for example at noise,
    tell the most.

    Parameters
    ----------
    rbm : estimator
        A fitted estimator, as for :func:`draw_chains`.

    chains : ndarray of shape (n_chains, n_draws, n_features)
        Draws returned by :func:`draw_chains`, at least 4 per chain. Run several chains,
        because a single one can only be compared with itself.

    n_features : int, default=5
        Number of features among the statistics. Features with larger variances come first.
        Increase it if you use averages of features that vary less.

    Returns
    -------
    result : ChainDiagnostics
        The diagnostics, which print as a table, and what they mean, `verdict`.

    Raises
    ------
    ValueError
        If `chains` is not three-dimensional, has fewer than 4 draws per chain, or differs
        from the model in the number of features. Also if `n_features` is negative.
    TypeError
        If `chains` is a masked array.
    NotFittedError
        If `rbm` has no parameters.

    See Also
    --------
    draw_chains : Draw chains from a model.

    Notes
    -----
    The statistics are the free energy and the features with the largest variance. For a
    model of an array of bits, the number of visible units that are on is another.
    Variances of real values are relative to those of the training data. For a column of
    categories, the statistic is whether the column has the category that varies most.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.sampling import diagnose, draw_chains
    >>> X = load_digits().data > 7
    >>> rbm = BernoulliRBMEstimator(n_components=10, n_iter=1, random_state=0).fit(X)
    >>> chains = draw_chains(rbm, n_chains=10, n_draws=1000, random_state=0)
    >>> diagnose(rbm, chains).trusted
    True
    """
    model = model_of(rbm)
    check_integer(n_features, "n_features", 0)
    refuse_masked(chains, "chains")
    chains = np.asarray(chains)
    if chains.ndim != 3:
        raise ValueError(
            "chains must have shape (n_chains, n_draws, n_features), as returned by "
            f"draw_chains, but got shape {chains.shape}."
        )
    if chains.shape[1] < 4:
        raise ValueError(
            f"chains must have at least 4 draws, but got {chains.shape[1]}: increase "
            "n_draws."
        )
    n_chains, n_draws, _ = chains.shape
    data = check_rows(model, chains.reshape(n_chains * n_draws, -1), name="chains")
    free_energy = data.apply(model.free_energy, model)
    series = {"free energy": free_energy}
    rows = model.visible.cells(data.copy_rows(model.dtype))
    if model.visible.enumerable:
        series["units on"] = rows.sum(axis=1, dtype=np.float64)
    variance = rows.var(axis=0, dtype=np.float64)
    encoder = model.visible.encoder
    feature_of = np.arange(len(variance)) if encoder is None else encoder.feature_of
    most: dict[int, int] = {}  # the unit of each feature that varies most
    for unit in np.argsort(-variance, kind="stable"):
        most.setdefault(feature_of[unit], unit)
    some = list(most.items())[:n_features]
    series |= {f"feature {feature}": rows[:, unit] for feature, unit in some}
    series = {name: x.reshape(n_chains, n_draws) for name, x in series.items()}
    sizes = np.array([effective_sample_size(x) for x in series.values()])
    return ChainDiagnostics(
        statistics=list(series),
        r_hat=np.array([split_r_hat(x) for x in series.values()]),
        effective_sample_size=sizes,
        autocorrelation_time=n_chains * (n_draws // 2 * 2) / sizes,
        n_chains=n_chains,
        n_draws=n_draws,
        moving=not _is_constant(free_energy, 1e-5),
        free_energy=series["free energy"],
    )
