"""Imputation of missing values by conditional draws."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.utils import get_tags

from skrbm import BernoulliRBMEstimator, RBMImputer
from skrbm._record import Record
from skrbm.sampling import sample_conditional


@pytest.fixture(scope="module")
def gappy():
    """Digits with one fifth of the pixels missing, and the complete digits."""
    X = (load_digits().data > 7).astype(np.float32)
    mask = np.random.default_rng(0).random(X.shape) < 0.2
    return np.where(mask, np.nan, X), X, mask


@pytest.mark.slow
def test_imputed_values_are_better_than_means(gappy):
    X, truth, mask = gappy
    imputer = RBMImputer(BernoulliRBMEstimator(64, n_iter=20), random_state=0).fit(X)
    p = imputer.transform(X)
    assert_array_equal(p[~mask], truth[~mask])
    mean = np.broadcast_to(np.nanmean(X, axis=0), X.shape)
    error = ((p - truth)[mask] ** 2).mean()
    of_means = ((mean - truth)[mask] ** 2).mean()
    assert error < 0.7 * of_means
    assert_array_equal(p, imputer.transform(X))
    assert np.abs(p[:10] - imputer.transform(X[:10])).mean() < 0.02
    mode = imputer.set_params(strategy="mode").transform(X)
    assert_array_equal(mode, np.where(mask, p > 0.5, truth))
    drawn = imputer.set_params(strategy="draw").transform(X)
    assert set(np.unique(drawn)) == {0, 1}
    assert (drawn != imputer.transform(X)).any()
    assert_allclose(drawn[mask].mean(), p[mask].mean(), atol=0.02)


def test_written_out(gappy):
    X = gappy[0][:200]
    rbm = BernoulliRBMEstimator(8, n_iter=3)
    imputer = RBMImputer(rbm, n_gibbs_steps=4, random_state=0).fit(X)
    seeds = np.random.RandomState(0).randint(np.iinfo(np.int32).max, size=3).tolist()
    expected = clone(rbm).set_params(random_state=seeds[2]).fit(X)
    assert_array_equal(imputer.rbm_.components_, expected.components_)
    options = {"n_gibbs_steps": 4, "output": "probabilities", "random_state": seeds[0]}
    filled = sample_conditional(expected, X, **options)
    assert_array_equal(imputer.transform(X), filled)
    p = imputer.impute_proba(X)
    assert list(p) == list(range(64))
    assert_array_equal(np.stack([p[i][:, 1] for i in range(64)], axis=1), filled)
    assert_allclose(p[5].sum(axis=1), 1, rtol=1e-6)


def test_imputer_in_a_pipeline(gappy):
    X, y = gappy[0][:300], load_digits().target[:300]
    rbm = BernoulliRBMEstimator(8, n_iter=2)
    pipeline = make_pipeline(RBMImputer(rbm, random_state=0), BernoulliNB())
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.5
    imputer = pipeline[0].fit(X)
    assert rbm.random_state is None
    assert not hasattr(rbm, "components_")
    assert imputer.rbm_.n_components == 8
    assert imputer.get_feature_names_out()[0] == "x0"


def test_random_states(gappy):
    X = gappy[0][:100]
    rbm = BernoulliRBMEstimator(4, n_iter=2)
    one, two = (RBMImputer(rbm, random_state=0).fit(X).rbm_ for _ in range(2))
    assert_array_equal(one.components_, two.components_)
    rbm.set_params(random_state=7)
    assert RBMImputer(rbm, random_state=0).fit(X).rbm_.random_state == 7


@pytest.mark.parametrize("in_context", [False, True])
@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_indicator_and_names_of_features(output, in_context, gappy):
    if output != "default":
        pytest.importorskip(output, reason=f"{output} is not installed")
    X = pd.DataFrame(gappy[0][:60]).rename(columns="p{}".format)
    X["p5"] = gappy[1][:60, 5]  # without gaps
    rbm = BernoulliRBMEstimator(4, n_iter=3)
    imputer = RBMImputer(rbm, random_state=0, add_indicator=True)
    if in_context:
        with config_context(transform_output=output):
            out = imputer.fit_transform(X)
    else:
        out = imputer.set_output(transform=output).fit_transform(X)
    missing = X.columns[X.isna().any()]
    assert len(missing) == 63
    names = [*X.columns, *(f"missingindicator_{name}" for name in missing)]
    assert_array_equal(imputer.get_feature_names_out(), names)
    if output != "default":
        assert type(out).__module__.startswith(output)
        assert_array_equal(out.columns, names)
    assert_array_equal(np.asarray(out)[:, 64:], X[missing].isna())
    plain = clone(imputer).set_params(add_indicator=False).fit(X)
    assert plain.indicator_ is None
    assert_array_equal(np.asarray(out)[:, :64], np.asarray(plain.transform(X)))
    assert_array_equal(plain.get_feature_names_out(), X.columns)
    assert_array_equal(plain.rbm_.feature_names_in_, X.columns)
    assert plain.rbm_.transform(plain.set_output(transform="pandas").transform(X)).shape
    assert not hasattr(RBMImputer(rbm).fit(gappy[0][:60]).rbm_, "feature_names_in_")


# What is missing ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.float64])
def test_masked_values_are_missing(dtype, gappy):
    with_nan = gappy[0][:60]
    mask = np.isnan(with_nan)
    masked = np.ma.masked_array(np.where(mask, 1, with_nan).astype(dtype), mask)
    imputer = RBMImputer(BernoulliRBMEstimator(4, n_iter=3), random_state=0)
    double = dtype == np.float64
    expected = imputer.fit_transform(with_nan.astype(np.float64 if double else "f"))
    filled = imputer.fit_transform(masked)
    assert not np.ma.isMaskedArray(filled)
    assert_array_equal(filled, expected)


@pytest.mark.parametrize(
    ("mark", "dtype"),
    [
        (-1, np.int64),
        (255, np.uint8),
        (-1.5, np.float32),
        (np.float64(-0.1), np.float32),
        (None, object),
        (pd.NA, object),
        ("?", object),
        (pd.NA, "Int64"),
        (np.nan, "Int64"),
        (np.nan, object),
    ],
)
def test_values_that_stand_for_missing_values(mark, dtype, gappy):
    with_nan = gappy[0][:60]
    mask = np.isnan(with_nan)
    if dtype == "Int64":
        X = pd.DataFrame(with_nan).astype(dtype)
    else:
        X = np.where(mask, 1, with_nan).astype(dtype)
        X[mask] = mark
    rbm = BernoulliRBMEstimator(4, n_iter=3)
    imputer = RBMImputer(rbm, missing_values=mark, random_state=0).fit(X)
    single = dtype in (np.float32, np.uint8)
    expected = RBMImputer(rbm, random_state=0).fit(with_nan.astype("f" if single else "d"))
    filled = imputer.transform(X)
    assert filled.dtype == (np.float32 if single else np.float64)
    assert_array_equal(filled, expected.transform(with_nan.astype(filled.dtype)))
    assert get_tags(imputer).input_tags.allow_nan
    assert_allclose(imputer.transform(with_nan), filled, rtol=1e-6)


@pytest.mark.parametrize("form", [np.asarray, np.ndarray.tolist, pd.DataFrame])
def test_numbers_in_strings_and_a_string_for_missing_values(form):
    strings = np.array([["?", "1"], ["0", "1"], ["1", "0"]])
    imputer = RBMImputer(BernoulliRBMEstimator(2, n_iter=1), missing_values="?")
    filled = imputer.fit_transform(form(strings))
    assert_array_equal(filled.ravel()[1:], [1, 0, 1, 1, 0])
    assert 0 < filled[0, 0] < 1
    mixed = [["?", 1], [0, 1], [1, 0]]
    assert_array_equal(imputer.fit(mixed).transform(mixed)[1:], mixed[1:])


@pytest.mark.parametrize("form", [np.array, pd.DataFrame])
def test_strings_that_are_not_numbers_are_refused(form, gappy):
    words = form(np.array([["no", "yes"], ["yes", "no"]] * 20, dtype=object))
    imputer = RBMImputer(BernoulliRBMEstimator(2, n_iter=2), random_state=0)
    for missing_values in (np.nan, None, -1):
        imputer.set_params(missing_values=missing_values)
        with pytest.raises(ValueError, match=r"not numbers: .*'no'.* by a MixedRBM"):
            imputer.fit(words)
    words = np.array(words)
    words[3, 0] = words[8, 1] = np.nan
    imputer.set_params(missing_values=np.nan, strategy="mode")
    filled = make_pipeline(OrdinalEncoder(), imputer).fit_transform(form(words))
    assert_array_equal(np.unique(filled), [0, 1])


def test_columns_without_observed_values():
    X = np.array([[0, np.nan, 1], [1, np.nan, 0]] * 10)
    for imputer in (RBMImputer(), RBMImputer(BernoulliRBMEstimator(2, n_iter=2))):
        with pytest.raises(ValueError, match=r"(feature|Column) 1.* Drop"):
            imputer.fit(X)
        with pytest.raises(ValueError, match=r"no observed value|All values of X"):
            imputer.fit(np.full((5, 2), np.nan))


# Failures and interrupts --------------------------------------------------------------


def test_an_interrupt_keeps_the_finished_epochs(gappy, monkeypatch):
    add, epochs = Record.add, []

    def interrupting(self, *args):
        improved = add(self, *args)
        epochs.append(args)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return improved

    monkeypatch.setattr(Record, "add", interrupting)
    imputer = RBMImputer(BernoulliRBMEstimator(4, n_iter=6), random_state=0)
    with pytest.warns(UserWarning, match="interrupted by the user after 1 of 6 epochs"):
        imputer.fit(gappy[0][:100])
    assert imputer.rbm_.n_iter_ == 1
    assert not np.isnan(imputer.transform(gappy[0][:5])).any()


def test_each_warning_comes_once(gappy):
    X = 3 * gappy[0][:60]
    rbm = BernoulliRBMEstimator(4, n_iter=3, learning_rate=1e6)
    imputer = RBMImputer(rbm, random_state=0)
    with pytest.warns() as record:
        imputer.fit(X)
    messages = [str(warning.message).split()[:2] for warning in record]
    assert messages == [["X", "has"], ["Training", "diverged"]]
    assert record[1].category is ConvergenceWarning


def test_a_failed_fit_leaves_the_imputer_as_it_was(gappy):
    X = gappy[0][:100]
    rbm = BernoulliRBMEstimator(4, n_iter=2)
    imputer = RBMImputer(rbm, random_state=0).fit(X)
    before = vars(imputer).copy()
    rbm.set_params(learning_rate=-1)
    with pytest.raises(ValueError, match="learning_rate"):
        imputer.fit(X[:, :20])
    assert vars(imputer) == before
    assert imputer.transform(X).shape == X.shape


# Missing values in other forms ----------------------------------------------------------


def make_imputer(**parameters):
    rbm = BernoulliRBMEstimator(4, n_iter=3, random_state=0)
    return RBMImputer(rbm, **{"n_gibbs_steps": 20, "random_state": 0} | parameters)


@pytest.mark.parametrize("missing_values", [np.nan, pd.NA])
@pytest.mark.parametrize("form", [lambda frame: frame, pd.DataFrame.to_numpy])
def test_pandas_na_among_objects(form, missing_values):
    frame = pd.DataFrame({"a": [1, 0, pd.NA, None, np.nan], "b": [0, 1, 1, 0.0, 1]})
    frame = pd.concat([frame] * 6, ignore_index=True)
    assert frame["a"].dtype == object
    imputer = make_imputer(missing_values=missing_values)
    filled = imputer.fit_transform(form(frame))
    assert filled.dtype == np.float64
    floats = frame.mask(frame.isna(), np.nan).to_numpy(dtype=float)
    assert_array_equal(filled, imputer.fit_transform(floats))


@pytest.mark.parametrize("missing_values", [np.nan, None, "?"])
def test_infinite_objects_are_refused(missing_values):
    X = np.array([[1, 0], [0, 1]] * 5, dtype=object)
    imputer = make_imputer(missing_values=missing_values).fit(X)
    X[3, 0] = np.inf
    with pytest.raises(ValueError, match="X contains infinity"):
        imputer.transform(X)
