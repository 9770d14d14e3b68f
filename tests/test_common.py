"""scikit-learn's estimator checks, for every solver and option."""

import pytest
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrbm import (
    BernoulliRBMEstimator,
    GaussianRBMEstimator,
    MixedRBMEstimator,
    ParallelRBM,
    RBMClassifier,
    RBMImputer,
    _imputer,
)
from skrbm._base import BaseRBM

# The checks deliberately use data of any range, constant features, and arrays after data
# frames.
pytestmark = [
    pytest.mark.filterwarnings("ignore:X has values from"),
    pytest.mark.filterwarnings("ignore:X is constant in"),
    pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names"),
]

# Each solver, and each option that leads to other code, at least once.
CONFIGURATIONS = [
    {},
    {
        "solver": "cd",
        "n_gibbs_steps": 2,
        "momentum": 0.5,
        "weight_decay": 1e-4,
        "early_stopping": True,
        "validation_fraction": 0.5,
    },
    {
        "solver": "pt",
        "n_chains": 7,
        "centering": False,
        "schedule": "constant",
        "shuffle": False,
        "stochastic_binarization": False,
        "learning_rate": 1e-3,
    },
]


def make(**parameters):
    return BernoulliRBMEstimator(n_components=4, n_iter=3, **parameters)


def make_gaussian(**parameters):
    return GaussianRBMEstimator(n_components=4, n_iter=3, **parameters)


GAUSSIAN = [
    make_gaussian(),
    make_gaussian(solver="cd", n_gibbs_steps=2, early_stopping=True, schedule="constant"),
]


def make_mixed(**parameters):
    return MixedRBMEstimator(n_components=4, n_iter=3, **parameters)


MIXED = [
    make_mixed(),
    make_mixed(solver="cd", n_gibbs_steps=2, early_stopping=True, schedule="constant"),
    make_mixed(solver="pt", n_chains=7, groups="auto", shuffle=False, learning_rate=1e-3),
]
OTHERS = [
    RBMImputer(make()),
    RBMImputer(make_gaussian(), add_indicator=True),
    RBMImputer(make_mixed(), strategy="draw"),
    RBMImputer(add_indicator=True, n_gibbs_steps=5),
    ParallelRBM(make(random_state=0), n_shards=3, n_local_steps=2),
    RBMClassifier(BernoulliRBMEstimator(10, n_iter=20)),
    RBMClassifier(make_gaussian()),
    RBMClassifier(make_mixed(), generative=1),
]


def expected_failures(estimator):
    """Return the checks that fail because samplers draw random numbers for each row.

    They require the same model to seven digits for weighted and for repeated rows. But
    repeated rows lead to different minibatches and random numbers. test_sample_weight.py
    tests that both learn the same in expectation.
    """
    if not isinstance(estimator, (BaseRBM, ParallelRBM, RBMClassifier)):
        return {}
    kinds = ["dense", "sparse"] if get_tags(estimator).input_tags.sparse else ["dense"]
    names = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in kinds]
    return dict.fromkeys(names, "other random numbers for repeated rows")


@parametrize_with_checks(
    [make(**parameters) for parameters in CONFIGURATIONS] + GAUSSIAN + MIXED + OTHERS,
    expected_failed_checks=expected_failures,
)
def test_estimator_checks(estimator, check, monkeypatch):
    def suited_to(X, owner):
        return choose(X, owner).set_params(n_components=4, n_iter=3)

    # An imputer chooses an estimator of the default size, which takes seconds to train.
    choose = _imputer.suited_to
    monkeypatch.setattr(_imputer, "suited_to", suited_to)
    check(estimator)


# Checks that check_estimator does not run.
MORE_CHECKS = [
    "check_param_validation",
    "check_dataframe_column_names_consistency",
    "check_inplace_ensure_writeable",
]
CHECKS_OF_TRANSFORMERS = [
    "check_get_feature_names_out_error",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_global_output_transform_pandas",
]


@pytest.mark.parametrize("check", MORE_CHECKS + CHECKS_OF_TRANSFORMERS)
@pytest.mark.parametrize(
    "estimator",
    [
        make(),
        make_gaussian(),
        make_mixed(),
        RBMImputer(make()),
        ParallelRBM(make(random_state=0), n_shards=3),
    ],
    ids=str,
)
def test_more_estimator_checks(check, estimator):
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)


@pytest.mark.parametrize("check", MORE_CHECKS)
def test_more_classifier_checks(check):
    getattr(estimator_checks, check)("RBMClassifier", RBMClassifier(make()))
