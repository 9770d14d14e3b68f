"""Draws from a model: Gibbs chains, parallel tempering, conditional draws, diagnostics.

The functions accept any object with `components_`, `intercept_visible_` and
`intercept_hidden_`, like those of :mod:`skrbm.likelihood`.
"""

from __future__ import annotations

import functools
from numbers import Integral
from typing import Any, Literal

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from skrbm import _annealing, _inputs
from skrbm._attributes import model_of
from skrbm._data import DataSet
from skrbm._diagnostics import (
    ChainDiagnostics,
    diagnose,
    effective_sample_size,
    split_r_hat,
)
from skrbm._kernels import BLOCK_SIZE
from skrbm._ladders import ModelLadder, check_ladder
from skrbm._partition import check_base_mean, training_chains
from skrbm._random import Repeated, draw_seeds, generator, new_generator
from skrbm._typing import MatrixLike, RandomStateLike

__all__ = [
    "ChainDiagnostics",
    "ModelLadder",
    "diagnose",
    "draw_chains",
    "effective_sample_size",
    "sample_conditional",
    "split_r_hat",
]

# Maximum number of chains, or rows, per random generator. Draws depend on the seed, but not
# on `n_jobs`.
CHAINS_TO_A_GENERATOR = 256
# Number of hidden states whose means are computed together, which saves time.
ROWS_AT_A_TIME = 512
# Number of chains for each row whose gaps are filled by means. It must be even.
CHAINS_FOR_MEANS = 16


# Chains ---------------------------------------------------------------------------------


def draw_chains(
    rbm: Any,
    n_chains: int = 4,
    n_draws: int = 1000,
    *,
    n_gibbs_steps: int = 100,
    thinning: int = 1,
    init: str | MatrixLike | None = None,
    betas: str | int | ArrayLike | None = None,
    ladder: ModelLadder | None = None,
    output: Literal["states", "probabilities"] = "states",
    n_jobs: int | None = None,
    random_state: RandomStateLike = None,
) -> np.ndarray:
    """Run Gibbs chains and return all their draws.

    Pass the result to :func:`diagnose` to see whether the chains have converged. If they
    have not, try ``betas="auto"``.

    Parameters
    ----------
    rbm : estimator
        A fitted estimator, or any object with `components_`, `intercept_visible_` and
        `intercept_hidden_`.

    n_chains : int, default=4
        Number of independent chains. Use several, so that you can see whether they agree.
        If there are more chains than initial states, several chains start from the same
        state.

    n_draws : int, default=1000
        Number of draws per chain.

    n_gibbs_steps : int, default=100
        Number of Gibbs steps up to the first draw. Use more if the chains start far from
        the model, for example at noise.

    thinning : int, default=1
        Number of Gibbs steps between consecutive draws. Increase it to keep fewer draws
        that are less alike.

    init : {"chains", "noise"} or {array-like, sparse matrix} of shape (n_rows, \
n_features), default=None
        Start of the chains. "chains" continues the persistent chains of training
        (`h_samples_`) in random order. "noise" starts at hidden states that are 0 or 1 with
        equal probability, which shows whether chains find the modes by themselves. With
        rows of visible states, chain i starts at row ``i % n_rows``. None is "chains" if
        the estimator has chains, and "noise" otherwise.

    betas : "auto", int or array-like of shape (n_betas,), default=None
        Inverse temperatures of parallel tempering [1]_, for models whose chains do not mix.
        "auto" chooses them, and an int is their number. None is plain Gibbs sampling,
        unless there is a `ladder`. A tempered step costs one Gibbs step per temperature.

    ladder : ModelLadder, default=None
        Models that take the place of the temperatures, for example the models that training
        passed through [3]_. :class:`skrbm.callbacks.TrajectoryLadder` collects them. The
        ladder must end with the model of `rbm`. A step costs about two Gibbs steps per
        rung.

    output : {"states", "probabilities"}, default="states"
        "states" returns visible states. "probabilities" returns the means that these states
        are drawn from, for binary data ``p(v = 1 | h)`` with hidden states h. Use it to
        estimate averages: the mean is the same, and the variance is smaller.

    n_jobs : int, default=None
        Number of joblib jobs that share the chains, in groups of 256. More than one only
        helps if there are more chains than that. The draws do not depend on it.

    random_state : int, RandomState instance or None, default=None
        Controls the draws. Pass an int for reproducible results across calls.

    Returns
    -------
    v : ndarray of shape (n_chains, n_draws, n_features)
        The draws, in the dtype of the model's parameters. For a MixedRBMEstimator, a draw
        has a number for each column of the table, or group of columns. This is the index of
        a category in `categories_`, the index of a column in its group, or the value of a
        real column. If there are real columns, the draws are float64.

    Raises
    ------
    ValueError
        If an argument is out of range, if `init` has more rows than there are chains, if
        `ladder` belongs to another model, or if both `betas` and `ladder` are given. For a
        model of binary data, also if `init` has integers other than 0 and 1 in a dtype
        other than int32 and int64.
    NotFittedError
        If `rbm` has no parameters.

    Warns
    -----
    UserWarning
        If the model is one of binary data and `init` has floating-point, int32 or int64
        values outside [0, 1]. They are used unchanged.

    Notes
    -----
    In parallel tempering, each chain runs at all inverse temperatures from 0 to 1. At 0 are
    independent features with the means of the training data, and at 1 is the model.
    Adjacent temperatures swap their states. If you do not pass an array of inverse
    temperatures, they are spaced so that all adjacent pairs swap equally often [2]_.

    References
    ----------
    .. [1] Desjardins, G., Courville, A., Bengio, Y., Vincent, P. and Delalleau, O. (2010).
       Tempered Markov chain Monte Carlo for training of restricted Boltzmann machines.
       AISTATS 2010, 145-152.
    .. [2] Syed, S., Bouchard-Cote, A., Deligiannidis, G. and Doucet, A. (2022).
       Non-reversible parallel tempering: a scalable highly parallel MCMC scheme. Journal
       of the Royal Statistical Society B, 84(2), 321-350.
    .. [3] Bereux, N., Decelle, A., Furtlehner, C., Rosset, L. and Seoane, B. (2025). Fast
       training and sampling of restricted Boltzmann machines. ICLR 2025.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.sampling import draw_chains
    >>> X = load_digits().data > 7
    >>> rbm = BernoulliRBMEstimator(n_components=10, n_iter=5, random_state=0).fit(X)
    >>> draw_chains(rbm, n_chains=2, n_draws=5, random_state=0).shape
    (2, 5, 64)
    """
    _inputs.check_integer(n_chains, "n_chains", 1)
    _inputs.check_integer(n_draws, "n_draws", 1)
    _inputs.check_integer(n_gibbs_steps, "n_gibbs_steps", 1)
    _inputs.check_integer(thinning, "thinning", 1)
    _inputs.check_n_jobs(n_jobs)
    _inputs.check_option("output", output, ("states", "probabilities"))
    n_steps = n_gibbs_steps + (n_draws - 1) * thinning
    model = model_of(rbm, n_rows=n_chains * n_steps)
    source = check_random_state(random_state)
    h = _start(rbm, model, init, n_chains, source)
    arguments = n_draws, n_gibbs_steps, thinning, output == "probabilities"
    if betas is not None and ladder is not None:
        raise ValueError("Pass either betas or ladder: a ladder replaces the temperatures.")
    if ladder is not None:
        path = check_ladder(ladder, model)
        run = functools.partial(_run_tempered, path, np.linspace(0, 1, len(ladder)))
    elif betas is not None:
        mean = check_base_mean(rbm, model, None, source)
        path = _annealing.TemperaturePath(model, mean)
        run = functools.partial(
            _run_tempered, path, _tempering_betas(path, betas, h, source)
        )
    else:
        run = functools.partial(_run_plain, model)
    calls = [
        delayed(run)(h[rows], seed, *arguments)
        for rows, seed in _in_groups(n_chains, source)
    ]
    parts = _run_calls(calls, n_jobs)
    return model.visible.decode(np.concatenate(parts))


def gibbs(model, rows, n_gibbs_steps, random_state):
    """Run Gibbs chains from the rows of a small data set; return the last states.

    It replaces `draw_chains`, whose checks take longer than a chain of a few steps.
    """
    rng = generator_from(random_state)
    h = model.sample_hidden(rows.copy_rows(model.dtype), rng)
    model.gibbs(h, n_gibbs_steps - 1, rng)
    return model.visible.decode(model.sample_visible(h, rng))


def generator_from(random_state):
    """Return a random generator with a seed drawn from `random_state`."""
    return new_generator(random_state)


def _in_groups(n, random_state):
    """Return pairs (slice, seed), one for each group of the `n` rows."""
    starts = range(0, n, CHAINS_TO_A_GENERATOR)
    seeds = draw_seeds(len(starts), random_state)
    rows = [slice(start, min(start + CHAINS_TO_A_GENERATOR, n)) for start in starts]
    return list(zip(rows, seeds, strict=True))


def _run_calls(calls, n_jobs):
    """Run calls of joblib's `delayed` in parallel, or without it if there is only one."""
    if len(calls) == 1:
        function, arguments, options = calls[0]
        return [function(*arguments, **options)]
    return Parallel(n_jobs=n_jobs)(calls)


def _start(rbm, model, init, n_chains, random_state):
    """Return the initial hidden states of the chains."""
    rng = generator_from(random_state)
    n_components = len(model.hidden_bias)
    if isinstance(init, str):
        _inputs.check_option("init", init, ("chains", "noise"))
    if init is None or (isinstance(init, str) and init == "chains"):
        h = training_chains(rbm, model, n_chains, rng)
        if h is not None:
            return h
        if init is not None:
            raise ValueError(
                "init='chains' requires the chains of training, but this "
                f"{type(rbm).__name__} has none (h_samples_): pass init='noise' or rows."
            )
        init = "noise"
    if isinstance(init, str):
        return (rng.random((n_chains, n_components)) < 0.5).astype(model.dtype)
    rows = init
    if not isinstance(rows, DataSet):  # passed by an estimator, which has checked it
        rows = _inputs.check_rows_and_values(model, init, rbm, name="init", clips=False)
    if len(rows) > n_chains:
        raise ValueError(
            f"init has {len(rows)} rows, but the number of chains is only {n_chains}: "
            "increase n_chains, or n_samples if each sample has its own chain."
        )
    rows = rows.select(np.resize(np.arange(len(rows)), n_chains))
    v = rows.copy_rows(model.dtype)
    return model.sample_hidden(v, rng)


def _run_plain(model, h, seed, n_draws, n_gibbs_steps, thinning, probabilities):
    """Run Gibbs chains from hidden states and return their draws."""
    rng, h = generator(seed), h.copy()
    draws = np.empty((len(h), n_draws, len(model.visible)), dtype=model.dtype)
    for number in range(n_draws):
        model.gibbs(h, (thinning if number else n_gibbs_steps) - 1, rng)
        v = model.sample_visible(h, rng)
        draws[:, number] = model.mean_visible(h) if probabilities else v
        if number < n_draws - 1:
            model.sample_hidden(v, rng, out=h)
    return draws


# Tempering ------------------------------------------------------------------------------


def _run_tempered(path, betas, h, seed, n_draws, n_gibbs_steps, thinning, probabilities):
    """Run tempered chains from hidden states and return the draws of the model."""
    rng = generator(seed)
    tempered = _annealing.TemperedChains(path, betas, h, rng)
    model = path.model
    draws = np.empty((len(h), n_draws, len(model.visible)), dtype=h.dtype)
    for number in range(n_draws):
        for _ in range(thinning if number else n_gibbs_steps):
            tempered.step()
        v = tempered.coldest()
        if probabilities:
            v = model.mean_visible(model.sample_hidden(v, rng))
        draws[:, number] = v
    return draws


def _tempering_betas(path, betas, h, random_state):
    """Return the given inverse temperatures, or tune them as requested."""
    n_betas = None
    if not (isinstance(betas, str) and betas == "auto"):
        words = "'auto', the number of temperatures"
        n_betas = _inputs.check_betas(betas, from_zero=False, words=words)
        if not isinstance(n_betas, Integral):
            return n_betas
    rng = generator_from(random_state)
    return _annealing.betas_of_equal_swaps(path, h, rng, n_betas)


# Conditional draws ----------------------------------------------------------------------


def sample_conditional(
    rbm: Any,
    X: ArrayLike,
    *,
    n_gibbs_steps: int = 200,
    output: Literal["states", "probabilities"] = "states",
    n_jobs: int | None = None,
    random_state: RandomStateLike = None,
) -> np.ndarray:
    """Sample the unknown features of rows given the known ones.

    Known features keep their values. To fill the gaps of a table as a step of a pipeline,
    use :class:`skrbm.RBMImputer`.

    Parameters
    ----------
    rbm : estimator
        A fitted estimator, as for :func:`draw_chains`.

    X : {data frame, array-like} of shape (n_samples, n_features)
        Rows with NaN for unknown features. For a model of binary data, known values must be
        0 or 1. For a MixedRBMEstimator, pass a table like the one passed to `fit`.

    n_gibbs_steps : int, default=200
        Number of Gibbs steps of each chain. Use more if many features are unknown. Each row
        has one chain, or 16 chains if `output` is "probabilities".

    output : {"states", "probabilities"}, default="states"
        Values to fill in. "states" fills in a draw, and "probabilities" fills in the means
        given the known features. For binary data, these are the probabilities of a 1. For
        columns of other categories, "probabilities" fills in the most probable category.

    n_jobs : int, default=None
        Number of joblib jobs that share the rows, in groups of 256. More than one only
        helps if there are more rows than that. The draws do not depend on it.

    random_state : int, RandomState instance or None, default=None
        Controls the draws. Pass an int for reproducible results across calls.

    Returns
    -------
    X_filled : ndarray of shape (n_samples, n_features)
        The rows without NaN, in the dtype of the model's parameters. If `rbm` is a
        :class:`skrbm.MixedRBMEstimator`, a table like the one passed to `fit`.

    Raises
    ------
    ValueError
        If the model is one of binary data and a known value is neither 0 nor 1, if `X` and
        the model have different numbers of features, or if an argument is out of range.
    NotFittedError
        If `rbm` has no parameters.

    Notes
    -----
    States are those after the last step. Means are averages of ``E[v | h]`` over the second
    half of the steps of 16 chains.

    Examples
    --------
    >>> import numpy as np
    >>> from skrbm import BernoulliRBMEstimator
    >>> from skrbm.sampling import sample_conditional
    >>> X = np.array([[0, 0, 1], [1, 1, 0]] * 100)
    >>> rbm = BernoulliRBMEstimator(n_components=2, n_iter=300, random_state=0).fit(X)
    >>> rows = [[0, np.nan, 1], [1, np.nan, np.nan]]
    >>> sample_conditional(rbm, rows, output="probabilities", random_state=0).round()
    array([[0., 0., 1.],
           [1., 1., 0.]])
    """
    model = model_of(rbm)
    _inputs.check_integer(n_gibbs_steps, "n_gibbs_steps", 1)
    _inputs.check_n_jobs(n_jobs)
    _inputs.check_option("output", output, ("states", "probabilities"))
    data = _inputs.check_rows(model, X, rbm, allow_nan=True, allow_sparse=False)
    if not model.visible.are_states(data.summary):
        known = data.X[~np.isnan(data.X)]
        summaries = (DataSet(value.reshape(1, 1)).summary for value in np.unique(known))
        other = next(one.low for one in summaries if not model.visible.are_states(one))
        raise ValueError(
            f"X must contain only the values {model.visible.states}, and NaN for unknown "
            f"ones, but has others, such as {other:g}: {model.visible.advice_on_states}."
        )
    of_tables = _inputs.reads_frames(rbm)
    rows = fill_rows(
        model,
        data,
        getattr(rbm, "visible_mean_", 0.5),
        np.result_type(model.dtype, data.X) if of_tables else model.dtype,
        n_gibbs_steps=n_gibbs_steps,
        means=output == "probabilities",
        n_jobs=n_jobs,
        random_state=random_state,
    )
    return rbm._write(rows, X) if of_tables else rows


def fill_rows(model, data, mean, dtype, *, mode=False, **options):
    """Return the rows of a data set with values in place of gaps.

    Parameters
    ----------
    model : RBM
    data : DataSet
        Rows of any values, without a selection of rows.
    mean : float or ndarray of shape (n_encoded,)
        Means of the encoded columns in the training data, where the chains begin.
    dtype : dtype
        Dtype of the result.
    mode : bool, default=False
        Whether to fill in the most probable states, given means.
    **options : dict
        Arguments of `fill`.

    Returns
    -------
    rows : ndarray of shape (n_samples, n_features)
    """
    rows, some = data.X.astype(dtype), data.gappy()
    if some.size:
        gappy = rows[some]
        finish = functools.partial(_decoded, model.visible, mode)
        [filled] = fill(model, data, some, mean, finish, **options)
        rows[some] = np.where(np.isnan(gappy), filled, gappy)
    return rows


def _decoded(visible, mode, v):
    rows = visible.decode(v)
    return [visible.mode(rows) if mode else rows]


def fill(
    model,
    data,
    some,
    mean,
    finish,
    *,
    n_gibbs_steps,
    means,
    random_state,
    n_jobs=None,
) -> list[np.ndarray]:
    """Fill the gaps of some rows of a data set, given by their indices.

    `finish` turns encoded rows without gaps into a list of arrays. Each returned array has
    all of the rows. Gaps are filled by means of units if `means`, and by states otherwise.
    """
    model, random_state = model.align(), check_random_state(random_state)
    mean = np.asarray(mean, dtype=model.dtype)
    calls = []
    groups = _in_groups(len(some), random_state)
    for places, seed in groups:
        indices = some[places]
        seed = groups[0][1] if means else seed
        rows = DataSet(data.X[indices]).encode(data.encoder)
        arguments = model, rows, mean, finish, seed, n_gibbs_steps, means
        calls.append(delayed(_fill)(*arguments))
    parts = _run_calls(calls, n_jobs)
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _fill(model, data, mean, finish, seed, n_gibbs_steps, means):
    rows = data.copy_rows(model.dtype)
    if not means:
        return finish(_run_chains(model, rows, mean, generator(seed), n_gibbs_steps))
    # What is drawn for a block of several rows fits into one block of `_kernels`.
    step = max(1, BLOCK_SIZE // (CHAINS_FOR_MEANS * max(model.weights.shape)))
    blocks = [rows[start : start + step] for start in range(0, len(rows), step)]
    arguments = mean, seed, n_gibbs_steps
    return finish(np.concatenate([_mean_of_chains(model, v, *arguments) for v in blocks]))


def _run_chains(model, rows, mean, rng, n_gibbs_steps):
    """Return rows whose gaps hold the last states of a chain of each row."""
    v, unknown = _begin(model, rows, mean, rng)
    for _ in model.gibbs_given(v, unknown, n_gibbs_steps, rng):
        pass
    return v


def _mean_of_chains(model, rows, mean, seed, n_gibbs_steps):
    """Return rows whose gaps hold the means of units over several chains of each row.

    All rows use the same random numbers, so that no row depends on another.
    """
    rng = Repeated(generator(seed), len(rows), CHAINS_FOR_MEANS)
    repeated = np.repeat(rows, CHAINS_FOR_MEANS, axis=0)
    v, unknown = _begin(model, repeated, mean, rng)
    n_kept = (n_gibbs_steps + 1) // 2
    total, kept = np.zeros(rows.shape), []
    chain = model.gibbs_given(v, unknown, n_gibbs_steps, rng)
    for left, h in zip(range(n_gibbs_steps - 1, -1, -1), chain, strict=True):
        if left >= n_kept:
            continue
        kept.append(h)
        if len(kept) * len(h) >= ROWS_AT_A_TIME or left == 0:
            given = model.mean_visible(np.concatenate(kept))
            given = given.reshape(len(kept), len(rows), CHAINS_FOR_MEANS, -1)
            total += given.sum(axis=(0, 2))
            kept = []
    means = (total / (n_kept * CHAINS_FOR_MEANS)).astype(model.dtype)
    return model.visible.given(rows, np.isnan(rows))(means)


def _begin(model, rows, mean, rng):
    """Return rows whose gaps hold first draws, and where the gaps are."""
    unknown, visible = np.isnan(rows), model.visible
    first = visible.fill_in(mean, rows.shape, rng)
    return visible.given(visible.clip(rows), unknown)(first), unknown
