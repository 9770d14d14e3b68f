"""The values that "auto" stands for, with their sources.

All rules are heuristics, tuned on the data sets of the benchmarks. This module does not
depend on scikit-learn.
"""

import math

# Learning rate for a stream of rows, whose variances are not known.
STREAM_RATE = 0.2
# Numbers of Gibbs steps, and the largest variances above which they are taken.
GIBBS_STEPS = {5: 6.0, 3: 5.0, 2: 1.2}
# Largest part of a weight that the decay removes in a step.
LARGEST_DECAY = 0.1
# Precision of the prior on weights, for one hidden unit and a distance of 1.
PRECISION = 0.003
# Largest variance at which the weights of real columns decay as strongly as others.
STRONGLY_RELATED = 14.0
# Numbers of rows for a first training, and the part of the updates that it may take.
FEWEST_ROWS, MANY_ROWS = 20, 20_000
PART_TO_TRY = 0.4
# Part of a weight that the decay removes in the best length of the first training, and
# numbers of updates that are enough then, in all and in units of this length.
DECAY_TIMES_LENGTH = 1.5
FEWEST_TO_LEARN, LENGTHS_TO_LEARN = 500, 8


def for_fit(settings, variances, n_rows, n_components, units, decay_times=1.0):
    """Return the values of "auto" that suit all rows of `fit`.

    Parameters
    ----------
    settings : Settings
        The other settings.
    variances : Variances
        Of the encoded rows.
    n_rows : float
        Number of rows, of equal weight.
    n_components : int
    units : VisibleUnits
        The visible units, on whose kind some factors depend.
    decay_times : float, default=1.0
        Factor of the weight decay.

    Returns
    -------
    values : dict
        "learning_rate", "weight_decay", "decay_ratio" and "n_gibbs_steps".
    """
    # With momentum, the gradients of many steps add up, but the decay does not.
    single = 1 - settings.momentum
    rate = units.rate_factor * single * suitable_rate(variances)
    decay = decay_times * suitable_decay(variances, n_rows, n_components) / single
    used = rate if settings.learning_rate == "auto" else settings.learning_rate
    persistent = settings.solver == "pcd" and units.slow_by_variance
    return {
        "learning_rate": rate,
        "weight_decay": min(decay, LARGEST_DECAY / used),
        "decay_ratio": 1.0 if units.decay_more is None else suitable_ratio(variances),
        "n_gibbs_steps": suitable_gibbs_steps(variances) if persistent else 1,
    }


def for_stream(settings):
    """Return the values of "auto" for the first rows of a stream of unknown rows."""
    return {
        "learning_rate": (1 - settings.momentum) * STREAM_RATE,
        "weight_decay": 0.0,
        "decay_ratio": 1.0,
        "n_gibbs_steps": 1,
    }


def enough_epochs(n_rows, batch_size, n_weights):
    """Return a number of epochs that works well for most data.

    This is the number of epochs for 20 000 updates, but at most 50, because more would
    overfit small data. If 50 epochs give fewer than 5 000 updates, it is the number of
    epochs for 5 000 updates. If there are many rows, it is 10, or as many as take about as
    long as 10^10 changes of a weight, where each update has a cost of its own.
    """
    n_steps = -(-n_rows // batch_size)
    most = max(20_000, min(10 * n_steps, 10**10 // (n_weights + 20_000)))
    n_updates = min(max(50 * n_steps, 5_000), most)
    return -(-n_updates // n_steps)


def updates_to_try(n_rows, n_epochs, n_updates):
    """Return how many of the updates of all epochs a first training may take, 0 for none.

    Where it would see no row twice, there is none, since such a model cannot overfit.
    """
    suits = FEWEST_ROWS <= n_rows <= MANY_ROWS and PART_TO_TRY * n_epochs > 1
    return int(PART_TO_TRY * n_updates) if suits else 0


def decay_after_trial(settings, length, n_most):
    """Return the weight decay, given the best length of a first training without it.

    Ending a training after t updates from small weights does about the same as a weight
    decay of ``1 / (learning_rate t)``: Bishop, C. M. (1995). Regularization and complexity
    control in feed-forward networks. ICANN 1995, 141-148. The factor is by trial. The
    decay is the geometric mean of those of bits and of real columns. If the model did not
    overfit in `n_most` updates, the decay is that by `suitable_decay`, unless this would
    have ended learning before. Otherwise it is rounded, so that it does not depend on
    rounding errors, which differ between computers.
    """
    rate = math.sqrt(settings.decay_ratio) * settings.learning_rate
    decay = min(DECAY_TIMES_LENGTH / min(length, n_most), LARGEST_DECAY) / rate
    if length > n_most and settings.weight_decay < decay:
        return settings.weight_decay
    return min(float(f"{decay:.2g}"), LARGEST_DECAY / rate)


def updates_after_trial(length):
    """Return how many updates are enough to learn with the decay of `decay_after_trial`."""
    return max(FEWEST_TO_LEARN, LENGTHS_TO_LEARN * length)


def suitable_rate(variances):
    """Return a learning rate at which the persistent chains can follow the model.

    The largest stable rate is inversely proportional to the largest eigenvalue of the
    covariance of the inputs: LeCun, Y., Bottou, L., Orr, G. and Mueller, K.-R. (1998).
    Efficient BackProp. In Neural Networks: Tricks of the Trade, 9-50. Springer. The bias,
    whose input is 1, adds 1 to it.
    """
    return 1 / (1 + variances.largest)


def suitable_gibbs_steps(variances):
    """Return the number of Gibbs steps per minibatch for persistent chains.

    If the rows vary much in one direction, many features change together along it, and
    chains, which change few features at a time, are slow.
    """
    suitable = (n for n, variance in GIBBS_STEPS.items() if variances.largest > variance)
    return next(suitable, 1)


def suitable_decay(variances, n_rows, n_components):
    """Return the weight decay of a normal prior on each weight.

    The precision of the prior is proportional to the number of hidden units, so that their
    total effect does not depend on it: Neal, R. M. (1996). Bayesian Learning for Neural
    Networks. Springer. It is also proportional to the root of the mean squared distance of
    the rows from their mean, by trial on subsets of data sets of 16 to 910 features.
    """
    return PRECISION * n_components * math.sqrt(variances.total) / n_rows


def suitable_ratio(variances):
    """Return how much more strongly the weights of real columns decay than others.

    By trial on eight tables: the less the columns vary together, the more of their weights
    is noise or due to outliers.
    """
    return max(1.0, STRONGLY_RELATED / max(variances.largest, 1.0))
