"""Models that are stored, moved, and used from several threads or processes."""

import copy
import io
import multiprocessing
import os
import pickle
import threading
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io
from conftest import exit_code
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits

from skrbm import BernoulliRBMEstimator, GaussianRBMEstimator, ParallelRBM, RBMImputer

X = (load_digits().data > 7).astype(np.float32)
SAVED = Path(__file__).parent / "data" / "rbm_0.1.0.pkl"


def make():
    return BernoulliRBMEstimator(6, n_iter=3, momentum=0.5, random_state=0)


def by_pickle(rbm, folder):
    return pickle.loads(pickle.dumps(rbm))


def by_joblib(rbm, folder):
    joblib.dump(rbm, folder / "rbm.joblib")
    return joblib.load(folder / "rbm.joblib")


def by_memory_map(rbm, folder):
    joblib.dump(rbm, folder / "rbm.joblib")
    return joblib.load(folder / "rbm.joblib", mmap_mode="r")


def by_deepcopy(rbm, folder):
    return copy.deepcopy(rbm)


def by_skops(rbm, folder):
    data = skops.io.dumps(rbm)
    untrusted = skops.io.get_untrusted_types(data=data)
    assert untrusted == ["skrbm._bernoulli.BernoulliRBMEstimator"]
    return skops.io.loads(data, trusted=untrusted)


@pytest.mark.parametrize(
    "way", [by_pickle, by_deepcopy, by_joblib, by_memory_map, by_skops]
)
def test_a_model_that_is_kept_is_the_same(way, tmp_path):
    rbm = make().fit(X)
    kept = way(rbm, tmp_path)
    assert_array_equal(kept.transform(X), rbm.transform(X))
    assert_array_equal(kept.score_samples(X), rbm.score_samples(X))
    assert_array_equal(kept.sample(5), rbm.sample(5))
    assert kept.log_partition().value == rbm.log_partition().value
    for estimator in (kept, rbm):
        estimator.partial_fit(X)
    assert_array_equal(kept.components_, rbm.components_)
    kept.set_params(warm_start=True).fit(X)


FEW = X[:300, X[:200].std(axis=0) > 0.2]  # without constant features
RBMS = {
    "pcd": make(),
    "no averaging": BernoulliRBMEstimator(
        6, n_iter=2, n_chains=7, averaging=False, random_state=0
    ),
    "cd": make().set_params(solver="cd", early_stopping=True),
    "pt": make().set_params(solver="pt", n_chains=7, shuffle=False),
    "gaussian": GaussianRBMEstimator(6, n_iter=3, random_state=0),
    "parallel": ParallelRBM(make(), n_shards=2, n_local_steps=5),
}


def with_warm_start(rbm):
    getattr(rbm, "estimator", rbm).set_params(warm_start=True)
    return rbm


CONTINUED = {
    "fit": lambda rbm: with_warm_start(rbm).fit(FEW),
    "partial_fit": lambda rbm: rbm.partial_fit(FEW[:200]).partial_fit(FEW[200:]),
    "both": lambda rbm: with_warm_start(rbm.partial_fit(FEW)).fit(FEW).partial_fit(FEW),
}


@pytest.mark.parametrize("name", RBMS)
@pytest.mark.parametrize("before", ["fit", "partial_fit"])
@pytest.mark.parametrize("then", CONTINUED)
@pytest.mark.parametrize("way", [by_pickle, by_deepcopy, by_joblib, by_memory_map])
def test_training_goes_on_with_the_same_bits(way, then, before, name, tmp_path):
    rbm = clone(RBMS[name])
    CONTINUED[before](rbm)
    kept = way(rbm, tmp_path)
    trained = []
    for estimator in (kept, rbm):
        CONTINUED[then](estimator)
        trained.append(getattr(estimator, "estimator_", estimator))
    names = "components_", "intercept_visible_", "intercept_hidden_", "h_samples_"
    for attribute in names:
        assert_array_equal(*(getattr(one, attribute) for one in trained))
    assert_array_equal(*(one.sample(3) for one in trained))


def modules_in(pickled):
    """Names of modules that a pickle refers to."""
    modules = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            modules.add(module)
            return super().find_class(module, name)

    Unpickler(io.BytesIO(pickled)).load()
    return modules


@pytest.mark.parametrize("name", [*RBMS, "imputer"])
def test_a_pickle_refers_to_no_private_module_but_those_of_estimators(name):
    """Others can then be renamed and divided without losing the models of users."""
    if name == "imputer":
        fitted = RBMImputer(make()).fit(np.where(FEW > 0, np.nan, FEW))
    else:
        fitted = clone(RBMS[name]).fit(FEW).partial_fit(FEW)
    if name != "imputer":
        fitted.score(FEW)  # some estimators keep what the score needs
    classes = type(fitted), BernoulliRBMEstimator
    modules = modules_in(pickle.dumps(fitted)) - {one.__module__ for one in classes}
    assert not [module for module in modules if module.startswith("skrbm")]


@pytest.mark.parametrize("name", RBMS)
def test_a_model_of_an_unknown_format(name):
    fitted = clone(RBMS[name]).fit(FEW)
    rbm = getattr(fitted, "estimator_", fitted)
    state = rbm.__getstate__()
    assert isinstance(state["_format"], int)
    state["_format"] += 1
    other = type(rbm).__new__(type(rbm))
    with pytest.raises(ValueError, match=r"saved by (a later|another) version of skrbm"):
        other.__setstate__(state)


def test_an_imputer_is_kept(tmp_path):
    gappy = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
    imputer = RBMImputer(make(), random_state=0).fit(gappy)
    kept = by_joblib(imputer, tmp_path)
    assert_array_equal(kept.transform(gappy), imputer.transform(gappy))


def test_a_model_of_the_first_version_is_learned_again(without_core):
    """Model saved as below by version 0.1.0, with the oldest supported dependencies."""
    rbm = pickle.loads(SAVED.read_bytes())
    fresh = make().fit(X[:200, 20:36])
    assert_allclose(rbm.components_, fresh.components_, atol=1e-4)
    assert_allclose(rbm.score(X[:, 20:36]), fresh.score(X[:, 20:36]), atol=1e-4)
    use_model_of_the_first_version()


def test_a_model_of_the_first_version_opens():
    use_model_of_the_first_version()


def use_model_of_the_first_version():
    rbm = pickle.loads(SAVED.read_bytes())
    assert rbm.verdict_ is None
    logits = X[:, 20:36] @ rbm.components_.T + rbm.intercept_hidden_
    assert_allclose(rbm.transform(X[:, 20:36]), 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert -16 * np.log(2) < rbm.score(X[:, 20:36]) < 0
    assert rbm.sample(3).shape == (3, 16)
    assert rbm.partial_fit(X[:, 20:36]).n_iter_ == 3
    assert rbm.set_params(warm_start=True).fit(X[:, 20:36]).n_iter_ == 3


@pytest.mark.slow
def test_one_model_in_many_threads():
    rbm = make().fit(X)
    expected = [rbm.transform(X), rbm.score_samples(X), rbm.sample(4, random_state=0)]
    wrong = []

    def use():
        for _ in range(5):
            got = [rbm.transform(X), rbm.score_samples(X), rbm.sample(4, random_state=0)]
            wrong.extend(
                number
                for number, (a, b) in enumerate(zip(got, expected, strict=True))
                if not np.allclose(a, b, rtol=1e-5)
            )

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.slow
def test_fits_in_threads_are_those_of_one():
    expected = make().fit(X).components_
    fitted = joblib.Parallel(4, backend="threading")(
        joblib.delayed(make().fit)(X) for _ in range(8)
    )
    for rbm in fitted:
        assert_array_equal(rbm.components_, expected)


FORKED = """
import os, sys
import joblib, numpy as np
from skrbm import BernoulliRBMEstimator, _data

rbm = BernoulliRBMEstimator(2, n_iter=1).fit(np.eye(4))
with _data._limiting.lock:  # as by a thread that is scoring
    child = os.fork()
    if not child:
        with joblib.parallel_config("threading", n_jobs=2):
            rbm.score_samples(np.eye(4))
        os._exit(0)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_in_the_middle_of_threaded_scoring():
    assert exit_code(FORKED) == 0


# Python 3.12 and later warn of a fork while there are threads, as those of BLAS.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes(method):
    rbm = make().fit(X)
    with multiprocessing.get_context(method).Pool(1) as pool:
        score = pool.apply(rbm.score, [X[:50]])
    assert_allclose(score, rbm.score(X[:50]), rtol=1e-6)
