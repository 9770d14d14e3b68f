"""Imputation of missing values by conditional draws."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import assert_distributed
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from sklearn.utils import get_tags
from test_mixed import CODES, COLORS, MOODS, PETS, Truth, number, teacher

from skrbm import (
    BernoulliRBMEstimator,
    GaussianRBMEstimator,
    MixedRBMEstimator,
    RBMImputer,
)
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
    double = clone(imputer).fit(X.astype(np.float64))
    assert double.transform(X).dtype == np.float32
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


# Tables -------------------------------------------------------------------------------


def imputer_of(rbm, X, **parameters):
    """Return an imputer with a given model instead of the one that it has trained."""
    imputer = RBMImputer(make_mixed(), **{"random_state": 0} | parameters).fit(X)
    imputer.rbm_ = rbm
    return imputer


def make_mixed(**parameters):
    return MixedRBMEstimator(**{"n_components": 3, "n_iter": 2} | parameters)


PATTERNS = [
    ["pet"],
    ["mood", "color"],
    ["size", "pet"],
    ["size", "mood", "color"],
    ["size", "pet", "mood", "color"],
]


@pytest.mark.parametrize("real", [False, True], ids=["states", "states and a number"])
@pytest.mark.parametrize("hidden", PATTERNS, ids=", ".join)
def test_probabilities_and_means_are_those_given_the_observed_cells(hidden, real):
    """Longhand: the posterior of the hidden states given what is observed, by their sum."""
    rbm, n = teacher(real), 2
    truth, row = Truth.of(rbm), teacher(real).sample(1, random_state=3)
    hidden = [name for name in hidden if name in row]
    posterior = truth.p_h.copy()
    codes = {"pet": PETS, "mood": MOODS, "color": COLORS}
    for (name, values), p in zip(codes.items(), truth.p_given, strict=True):
        if name not in hidden:
            posterior *= p[:, values.index(row[name][0])]
    if real and "size" not in hidden:
        posterior *= norm.pdf(row["size"][0], truth.mean, np.sqrt(truth.variance))
    posterior /= posterior.sum()
    X = pd.concat([row] * n, ignore_index=True)
    X[hidden] = X[hidden].mask(np.ones((n, len(hidden)), bool))
    imputer = imputer_of(rbm, truth.draw(100), n_gibbs_steps=6000)
    found = imputer.impute_proba(X)
    assert list(found) == ["pet", "mood", "color"]
    filled = imputer.transform(X)
    for (name, values), p in zip(codes.items(), truth.p_given, strict=True):
        assert list(rbm.categories_[name]) == values
        assert found[name].shape == (n, len(values))
        if name in hidden:
            assert_allclose(found[name].mean(axis=0), posterior @ p, atol=0.03)
            best = np.array(values)[found[name].argmax(axis=1)]
        else:
            best = [row[name][0]] * n
            assert_array_equal(
                found[name], np.eye(len(values))[[values.index(best[0])] * n]
            )
        assert_array_equal(filled[name], best)
    if real:
        expected = posterior @ truth.mean if "size" in hidden else row["size"][0]
        assert_allclose(filled["size"].mean(), expected, atol=0.3)
    options = {"output": "probabilities", "n_gibbs_steps": 3000, "random_state": 0}
    of_function = sample_conditional(rbm, X, **options)
    if real and "size" in hidden:
        assert_allclose(of_function["size"].mean(), expected, atol=0.3)
    mode = imputer.set_params(strategy="mode").transform(X)
    pd.testing.assert_frame_equal(mode, filled)


@pytest.mark.parametrize("real", [False, True], ids=["states", "states and a number"])
def test_draws_keep_the_joint_distribution(real):
    rbm = teacher(real)
    truth = Truth.of(rbm)
    X = truth.draw(12_000)
    hidden = np.random.default_rng(0).random(X.shape) < 0.5
    gappy = X.mask(hidden)
    imputer = imputer_of(rbm, X[:100], strategy="draw", n_gibbs_steps=20)
    several = imputer.impute_draws(gappy, n_draws=2, random_state=0)
    drawn = [imputer.transform(gappy), sample_conditional(rbm, gappy), *several]
    for filled in drawn:
        truth.assert_drawn(filled)
        assert (filled.dtypes == X.dtypes).all()
        for name, gaps in zip(X, hidden.T, strict=True):
            assert_array_equal(filled[name][~gaps], X[name][~gaps])
    assert len({tuple(filled["mood"]) for filled in drawn}) == 4
    again = imputer.impute_draws(gappy, n_draws=2, random_state=0)
    pd.testing.assert_frame_equal(again[1], several[1])


def test_several_draws_are_independent():
    rbm = teacher(False)
    X = Truth.of(rbm).draw(1)
    X = pd.concat([X] * 8000, ignore_index=True)
    X[["pet", "color"]] = None
    imputer = imputer_of(rbm, Truth.of(rbm).draw(100), n_gibbs_steps=20)
    one, two = (number(table) for table in imputer.impute_draws(X, 2, random_state=0))
    truth = Truth.of(rbm).p_of_codes
    mood = MOODS.index(X["mood"][0])
    p = np.where(CODES[:, 1] == mood, truth, 0)
    p /= p.sum()
    possible = np.flatnonzero(p)
    places = np.searchsorted(possible, one) * len(possible) + np.searchsorted(possible, two)
    assert_distributed(places, np.outer(p[possible], p[possible]).ravel())


# Columns of each type, of which those that `rbm=None` takes for bits, numbers or others.
COLUMNS = {
    "answer": ["no", "yes", None, "yes"] * 10,
    "grade": pd.Categorical(["a", "b", None, "a"] * 10, ["a", "b", "c"], ordered=True),
    "member": pd.array([True, False, None, True] * 10, dtype="boolean"),
    "number": [0.5, np.nan, 3.25, 1.5] * 10,
    "count": pd.array([7, 9, 4, None] * 10, dtype="Int64"),
}


# Four rows that are repeated are modes, whose proportions a model may miss.
@pytest.mark.filterwarnings("ignore:The model has modes in wrong proportions")
@pytest.mark.parametrize("strategy", ["probability", "mode", "draw"])
def test_frames_remain_frames(strategy):
    X = pd.DataFrame(COLUMNS, index=np.arange(40) + 100)
    imputer = RBMImputer(strategy=strategy, n_gibbs_steps=5, random_state=0)
    filled = imputer.fit_transform(X)
    assert type(imputer.rbm_) is MixedRBMEstimator
    assert not filled.isna().any().any()
    assert_array_equal(filled.index, X.index)
    expected = X.dtypes.astype(object)
    expected["count"] = "Float64"
    assert (filled.dtypes == expected).all()
    for name, x in X.items():
        pd.testing.assert_series_equal(
            filled[name][x.notna()], x.dropna(), check_dtype=name != "count"
        )
    assert set(filled["grade"]) <= set("abc")
    if strategy != "draw":
        p = imputer.impute_proba(X)
        assert list(p) == ["answer", "grade", "member"]
        best = np.array(["a", "b", "c"])[p["grade"].argmax(axis=1)]
        assert_array_equal(filled["grade"], best)
    copy = pickle.loads(pickle.dumps(imputer))
    pd.testing.assert_frame_equal(copy.transform(X), imputer.transform(X))


def test_strings_keep_their_dtype():
    """In a column with gaps and in one without, in the dtype that it has in X."""
    for dtype in (object, "string", "category"):
        strings = pd.Series(["no", "yes", None, "yes"] * 5, dtype=dtype)
        X = pd.DataFrame({"answer": strings, "number": np.arange(20.0)})
        imputer = RBMImputer(make_mixed(), n_gibbs_steps=1, random_state=0).fit(X)
        for rows in (X, X[:2], X[2:3]):
            assert imputer.transform(rows)["answer"].dtype == strings.dtype


def test_frames_of_polars():
    pl = pytest.importorskip("polars", reason="polars is not installed")
    pytest.importorskip(
        "pyarrow", reason="pyarrow is not installed"
    )  # between frames of both libraries
    X = pl.DataFrame(
        {
            "answer": ["no", "yes", None, "yes"] * 10,
            "grade": pl.Series(["a", "b", None, "a"] * 10, dtype=pl.Enum(["a", "b", "c"])),
            "member": [True, False, None, True] * 10,
            "number": [0.5, None, 3.25, float("nan")] * 10,
        }
    )
    imputer = RBMImputer(n_gibbs_steps=5, add_indicator=True, random_state=0)
    filled = imputer.fit_transform(X)
    assert filled.schema.items() >= X.schema.items()
    assert filled.columns == imputer.get_feature_names_out().tolist()
    assert filled.null_count().sum_horizontal()[0] == 0
    assert filled["number"].is_nan().sum() == 0
    for column in X.drop("number"):
        known = column.is_not_null()
        assert filled[column.name].filter(known).equals(column.filter(known))
        flags = filled[f"missingindicator_{column.name}"]
        assert_array_equal(flags, column.is_null())
    assert filled["missingindicator_number"].sum() == 20
    again = imputer.fit_transform(X.to_pandas())
    assert_array_equal(again["grade"].astype(str), filled["grade"].to_list())


@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_output_of_tables(output):
    if output != "default":
        pytest.importorskip(output, reason=f"{output} is not installed")
    if output == "polars":
        pytest.importorskip(
            "pyarrow", reason="pyarrow is not installed"
        )  # from nullable dtypes of pandas
    X = pd.DataFrame(COLUMNS)
    imputer = RBMImputer(make_mixed(), n_gibbs_steps=2, add_indicator=True, random_state=0)
    imputer.set_output(transform=output).fit(X)
    (drawn,) = imputer.impute_draws(X, 1)
    for filled in (imputer.transform(X), drawn):
        module = "pandas" if output == "default" else output
        assert type(filled).__module__.startswith(module)
        names = [*X, *(f"missingindicator_{name}" for name in X)]
        assert_array_equal(filled.columns, names)
        assert_array_equal(
            np.asarray(filled["missingindicator_answer"]), X["answer"].isna()
        )


def test_bits_of_an_array_are_filled_with_probabilities():
    rng = np.random.default_rng(0)
    bits = rng.random((200, 2)) < 0.5
    X = np.column_stack([bits, 10 * bits[:, 0] + rng.standard_normal(200)])
    gappy = np.where(rng.random(X.shape) < 0.2, np.nan, X)
    imputer = RBMImputer(n_gibbs_steps=20, random_state=0)
    filled = imputer.fit_transform(gappy)
    assert imputer.rbm_.feature_types_ == ["binary", "binary", "real"]
    p = imputer.impute_proba(gappy)
    assert list(p) == [0, 1]
    assert_allclose(filled[:, :2], np.stack([p[0][:, 1], p[1][:, 1]], axis=1))
    assert_array_equal(filled[~np.isnan(gappy)], gappy[~np.isnan(gappy)])
    assert ((filled[:, :2] > 0) & (filled[:, :2] < 1)).any()
    mode = imputer.set_params(strategy="mode").transform(gappy)
    assert_array_equal(mode[:, :2], filled[:, :2] > 0.5)
    assert_allclose(mode[:, 2], filled[:, 2])


BITS = [[0, 1], [1, 0], [1, 1], [0, 0]] * 5


@pytest.mark.parametrize(
    ("X", "kind"),
    [
        (np.array(BITS), BernoulliRBMEstimator),
        (np.array(BITS, dtype=bool), BernoulliRBMEstimator),
        (pd.DataFrame(BITS, dtype=bool), MixedRBMEstimator),
        (np.array(BITS) * 0.7, BernoulliRBMEstimator),
        (pd.DataFrame([[0.1, 0.9], [0.5, 0.2], [0.3, 0.4]] * 7), MixedRBMEstimator),
        (np.array(BITS) * 0.7 - 0.5, GaussianRBMEstimator),
        (np.array([[1, 4], [5, 2], [3, 3]] * 7), GaussianRBMEstimator),
        (pd.DataFrame([[1, 4], [5, 2], [3, 3]] * 7), MixedRBMEstimator),
        (pd.DataFrame([[1, 4], [5, 2], [3, 2]] * 7), MixedRBMEstimator),
        (np.column_stack([np.array(BITS), np.arange(20)]), MixedRBMEstimator),
        (np.array(BITS).astype(str), MixedRBMEstimator),
        ([["a", 1], ["b", None]] * 10, MixedRBMEstimator),
    ],
)
def test_the_estimator_suits_the_columns(X, kind, monkeypatch):
    """Answers in numbers are real unless the user says otherwise."""
    monkeypatch.setattr(kind, "_run", lambda rbm, fit: rbm)
    assert type(RBMImputer().fit(X).rbm_) is kind


@pytest.mark.parametrize("mark", [-1, "?"])
def test_marks_in_frames(mark):
    """Columns that cannot have the mark are left alone, and so are their dtypes."""
    X = pd.DataFrame(
        COLUMNS | {"code": [1, 2, 3, 2] * 10, "word": ["x", "y", "z", "x"] * 10}
    )
    X["code"], X["word"] = X["code"].astype("int8"), X["word"].astype("category")
    marked = X.copy()
    if mark == -1:
        marked.loc[::4, "code"] = -1
        X["code"] = X["code"].mask(marked["code"] == -1)
    else:
        marked["word"] = marked["word"].cat.add_categories("?")
        marked.loc[::3, ["answer", "word"]] = "?"
        X.loc[::3, ["answer", "word"]] = None
    rbm = make_mixed(feature_types={"code": "categorical"})
    imputer = RBMImputer(rbm, missing_values=mark, n_gibbs_steps=3, random_state=0)
    filled = imputer.fit_transform(marked)
    assert "?" not in imputer.rbm_.categories_["word"]
    plain = clone(imputer).set_params(missing_values=np.nan)
    pd.testing.assert_frame_equal(filled, plain.fit_transform(X))
    pl = pytest.importorskip("polars", reason="polars is not installed")
    marked = pl.DataFrame(
        {"word": pl.Series(["x", "?", "y"] * 9, dtype=pl.Enum(["x", "y", "?"]))}
    ).with_columns(pl.col("word").cast(pl.Categorical).alias("same"), pl.lit(-1).alias("n"))
    marked = marked.with_columns(n=pl.Series([-1, 4, 5] * 9))
    rbm = make_mixed(feature_types={"n": "ordinal"} if mark == -1 else "infer")
    imputer = RBMImputer(rbm, missing_values=mark, n_gibbs_steps=3, random_state=0)
    table = imputer.fit(marked).transform(marked)
    if mark == "?":
        assert imputer.rbm_.categories_["word"].tolist() == ["x", "y"]
        assert set(table["word"]) == set(table["same"]) == {"x", "y"}
        assert table["n"].dtype == pl.Int64
    else:
        assert set(imputer.rbm_.categories_["n"]) == {4, 5}
        assert table["word"].equals(marked["word"])
        assert set(table["n"]) == {4, 5}


def test_groups_of_columns():
    """Groups are filled as a whole, so that no row has two of its columns on."""
    rng = np.random.default_rng(0)
    state = rng.integers(0, 4, 400)  # 3: none of the columns
    X = pd.DataFrame({name: state == i for i, name in enumerate("abc")})
    X["other"] = state % 2 == 0
    rbm = make_mixed(groups=[["a", "b", "c"]], n_components=4, n_iter=100)
    imputer = RBMImputer(rbm, n_gibbs_steps=300, random_state=0).fit(X)
    gappy, open_ = X[:100].astype(object), X["b"][:100] | (np.arange(100) % 3 == 0)
    gappy.loc[open_, ["a", "b", "c"]] = None
    gappy.loc[X["a"][:100] & ~open_, "b"] = None  # a tells that it is off
    known = gappy.notna().to_numpy()
    p = imputer.impute_proba(gappy)
    shares = np.stack([p[name][open_, 1] for name in "abc"], axis=1)
    exact = imputer.rbm_.log_likelihood
    options = np.eye(4, 3, dtype=bool)
    for other in (False, True):
        odds = np.exp(exact(pd.DataFrame(options, columns=list("abc")).assign(other=other)))
        here = gappy["other"][open_].to_numpy() == other
        assert_allclose(shares[here].mean(axis=0), (odds / odds.sum())[:3], atol=0.04)
    for table in (imputer.transform(gappy), *imputer.impute_draws(gappy, 3)):
        values = table.to_numpy(dtype=bool)
        assert_array_equal(values[known], X[:100].to_numpy()[known])
        assert_array_equal(values[~open_], X[:100].to_numpy()[~open_])
        assert (values[:, :3].sum(axis=1) <= 1).all()
    array = RBMImputer(
        make_mixed(groups=[[0, 1, 2]]), strategy="mode", n_gibbs_steps=2, random_state=0
    ).fit_transform(gappy.astype(float).to_numpy())
    assert_array_equal(array[known], X[:100].to_numpy()[known])
    gappy.loc[7, ["a", "b", "c"]] = None, None, False
    for call in (imputer.transform, imputer.impute_proba, imputer.fit, rbm.fit):
        with pytest.raises(
            ValueError, match=r"Row 7 of X has missing .* 'a', 'b', so that"
        ):
            call(gappy)
    for call in (imputer.rbm_.score_samples, imputer.rbm_.transform):
        with pytest.raises(ValueError, match="Set all columns of the group to missing"):
            call(gappy)


def test_tables_in_pipelines_and_searches():
    X = pd.concat([pd.DataFrame(COLUMNS)] * 3, ignore_index=True)
    y = np.tile([0, 1, 0, 1], 30)
    pipeline = make_pipeline(
        RBMImputer(make_mixed(), n_gibbs_steps=3, random_state=0),
        ColumnTransformer(
            [("categories", OneHotEncoder(handle_unknown="ignore"), ["answer", "grade"])],
            remainder="passthrough",
        ),
        LogisticRegression(),
    )
    grid = {
        "rbmimputer__strategy": ["probability", "mode", "draw"],
        "rbmimputer__rbm__n_components": [2, 3],
    }
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 6
    of_some = ColumnTransformer(
        [("some", RBMImputer(make_mixed(), random_state=0), ["answer", "number"])]
    )
    filled = of_some.set_output(transform="pandas").fit_transform(X)
    assert not filled.isna().any().any()


def test_errors_of_tables():
    X = pd.DataFrame(COLUMNS)
    imputer = RBMImputer(make_mixed(), n_gibbs_steps=2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="'answer' of X has values that it did not have"):
        imputer.transform(X.assign(answer="perhaps"))
    with pytest.raises(ValueError, match="feature names should match"):
        imputer.transform(X[X.columns[::-1]])
    with pytest.raises(ValueError, match=r"n_draws == 0"):
        imputer.impute_draws(X, 0)
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        imputer.fit(sp.csr_array(np.eye(3)))
    with pytest.warns(UserWarning, match="but RBMImputer was fitted with") as record:
        imputer.transform(X.to_numpy(dtype=object))
    assert len(record) == 1
    for method in ("transform", "impute_proba", "impute_draws"):
        with pytest.raises(NotFittedError):
            getattr(RBMImputer(), method)(X)


def test_rows_without_gaps():
    X = pd.DataFrame(COLUMNS).ffill()
    imputer = RBMImputer(make_mixed(), n_gibbs_steps=2, random_state=0).fit(X)
    pd.testing.assert_frame_equal(imputer.transform(X), X)
    p = imputer.impute_proba(X)
    assert_array_equal(p["answer"][:, 1], X["answer"] == "yes")
    pd.testing.assert_frame_equal(imputer.impute_draws(X, 2)[1], imputer.transform(X))


@pytest.mark.parametrize(
    "rbm", [GaussianRBMEstimator(2, n_iter=1), MixedRBMEstimator(2, n_iter=1)]
)
def test_numbers_have_no_probabilities(rbm):
    imputer = RBMImputer(rbm).fit(np.eye(3) + 0.5)
    with pytest.raises(ValueError, match=r"All columns are real.* in feature_types"):
        imputer.impute_proba(np.eye(3))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_without_gaps_are_unchanged(library):
    """Integers remain integers, of any size."""
    ids = 2**53 + 1 + 1000 * np.arange(30)
    columns = {"id": ids, "x": [1.5, None, 0.2] * 10, "n": np.arange(30, dtype=np.int8)}
    X = pytest.importorskip(library, reason=f"{library} is not installed").DataFrame(
        columns
    )
    rbm = MixedRBMEstimator(2, covariance_type="diag", n_iter=1)
    filled = RBMImputer(rbm, random_state=0).fit_transform(X)
    assert type(filled) is type(X)
    assert [filled[name].dtype for name in columns] == [X[name].dtype for name in columns]
    assert_array_equal(filled["id"].to_numpy(), ids)
    assert_array_equal(filled["n"].to_numpy(), columns["n"])
    assert not np.isnan(filled["x"].to_numpy()).any()
