"""One model of a table, trained by several workers of joblib."""

import pickle

import numpy as np
import pandas as pd
import pytest
from conftest import Watch, with_callbacks
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone
from sklearn.utils import get_tags

from skrbm import MixedRBMEstimator, ParallelRBM
from skrbm._tables import Table
from skrbm.callbacks import Checkpoint


def draw(n, seed=0):
    """Return a table in which all columns depend on a hidden bit."""
    rng = np.random.default_rng(seed)
    bit = rng.random(n) < 0.5
    pets, sizes = np.array(["dog", "cat", "fish"]), np.array(["S", "M", "L"])
    pet = pets[np.where(rng.random(n) < 0.2, 2, bit)]
    size = sizes[np.where(rng.random(n) < 0.2, 1, 2 * bit)]
    return pd.DataFrame(
        {
            "pet": pd.Categorical(pet),
            "age": rng.normal(3.0 * bit, 1.0),
            "size": pd.Categorical(size, categories=sizes, ordered=True),
            "tall": bit,
            "small": ~bit & (rng.random(n) < 0.8),
        }
    )


TABLE = draw(300)
WEIGHTS = np.random.default_rng(1).integers(0, 3, len(TABLE)).astype(float)
GROUPS = [["tall", "small"]]


def make(n_shards=3, n_jobs=None, **parameters):
    parameters = {"n_components": 4, "n_iter": 3, "random_state": 0} | parameters
    rbm = MixedRBMEstimator(**parameters)
    return ParallelRBM(rbm, n_shards=n_shards, n_local_steps=2, n_jobs=n_jobs)


def assert_same(one, other):
    one, other = one.estimator_, other.estimator_
    names = "components_", "intercept_visible_", "intercept_hidden_", "h_samples_"
    for name in (*names, "visible_mean_"):
        assert_array_equal(getattr(one, name), getattr(other, name))


# In memory -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_table_is_learned_as_by_a_single_process():
    """By one shard, which has all rows, but for the noise of seeds; by four, nearly so."""
    train, test = draw(1000), draw(2000, seed=1)
    options = {"n_iter": 30}
    plain, shard, shards = (
        np.mean([fit(seed).score(test) for seed in range(3)])
        for fit in (
            lambda seed: make(random_state=seed, **options).estimator.fit(train),
            lambda seed: make(1, random_state=seed, **options).fit(train),
            lambda seed: make(4, random_state=seed, **options).fit(train),
        )
    )
    age = norm(train.age.mean(), train.age.std()).logpdf(test.age).mean()
    others = [
        np.log(test[name].map(train[name].value_counts(normalize=True)).astype(float))
        for name in ("pet", "size", "tall", "small")
    ]
    gain = plain - age - sum(column.mean() for column in others)
    assert gain > 1
    assert abs(shard - plain) < 0.05 * gain
    assert shards > plain - 0.15 * gain


def test_the_same_bits_in_any_container():
    """The categories of strings are sorted, as those of the table are."""
    expected = make().fit(TABLE, sample_weight=WEIGHTS)
    strings = TABLE.assign(pet=TABLE["pet"].astype(str))
    assert_same(expected, make().fit(strings, sample_weight=4 * WEIGHTS))
    polars = pytest.importorskip("polars", reason="polars is not installed")
    sizes = polars.Series(TABLE["size"].astype(str), dtype=polars.Enum(["S", "M", "L"]))
    frame = polars.DataFrame(strings.drop(columns="size").to_dict("list"))
    frame = frame.insert_column(2, sizes.alias("size"))
    parallel = make().fit(frame, sample_weight=WEIGHTS)
    assert_same(expected, parallel)
    assert_array_equal(parallel.transform(frame), expected.transform(TABLE))
    words = TABLE[["pet", "size"]].astype(object).to_numpy()
    for rows in (words, words.astype(str), words.tolist()):
        parallel = make().fit(rows)
        assert parallel.estimator_.feature_types_ == ["categorical", "categorical"]
        assert set(parallel.estimator_.sample(50)[:, 0]) == {"cat", "dog", "fish"}
        assert_same(make().fit(words), parallel)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"solver": "cd"}, {"early_stopping": True}])
def test_the_same_bits_by_any_workers(options):
    options = {"groups": GROUPS} | options
    first = make(**options).fit(TABLE, sample_weight=WEIGHTS)
    assert_same(first, make(n_jobs=2, **options).fit(TABLE, sample_weight=WEIGHTS))


def test_means_are_those_of_all_rows():
    """With one row in addition: of equal shares, or of the mean of all binary columns."""
    ordered = TABLE.sort_values(["tall", "age"], ignore_index=True)
    parallel = make(4).fit(ordered, sample_weight=WEIGHTS).estimator_
    states = [
        *(ordered["pet"] == pet for pet in ("cat", "dog", "fish")),
        ordered["size"] > "S",
        ordered["size"] > "M",
    ]
    even = [1 / 3, 1 / 3, 1 / 3, 2 / 3, 1 / 3]
    n_rows = np.count_nonzero(WEIGHTS)
    means = n_rows * np.average(np.array(states), axis=1, weights=WEIGHTS)
    tall, small, age = np.average(
        ordered[["tall", "small", "age"]], axis=0, weights=WEIGHTS
    )
    bits = n_rows * np.array([tall, small])
    bits += (bits.sum() + 0.5) / (2 * n_rows + 1)
    expected = [*np.array([*bits, *(means + even)]) / (n_rows + 1), age]
    assert_allclose(parallel.visible_mean_, expected, rtol=1e-5)
    variance = np.average((ordered["age"] - age) ** 2, weights=WEIGHTS)
    assert_allclose(parallel.visible_variance_, variance)
    plain = clone(parallel).fit(ordered, sample_weight=WEIGHTS)
    for name in ("learning_rate_", "weight_decay_"):
        assert_allclose(getattr(parallel, name), getattr(plain, name), rtol=0.02)


def test_results_are_those_of_the_estimator():
    parallel = pickle.loads(pickle.dumps(make(groups="auto").fit(TABLE)))
    rbm = parallel.estimator_
    assert list(parallel.feature_names_in_) == list(TABLE)
    for name in ("transform", "score_samples", "free_energy"):
        assert_array_equal(getattr(parallel, name)(TABLE), getattr(rbm, name)(TABLE))
    impossible = TABLE.assign(tall=True, small=TABLE.index == 3)
    scores = parallel.score_samples(impossible)
    assert_array_equal(np.flatnonzero(scores == -np.inf), [3])
    assert parallel.score(impossible) == -np.inf
    counted = impossible.index != 3
    score = parallel.score(impossible, sample_weight=counted)
    assert_allclose(score, scores[counted].mean())
    assert get_tags(parallel).input_tags == get_tags(rbm).input_tags


def test_streams_and_warm_starts_keep_the_table():
    parallel = make(warm_start=True, n_iter=20).partial_fit(TABLE)
    first = parallel.score(TABLE)
    assert parallel.partial_fit(TABLE.iloc[::-1]).score(TABLE) > first
    others = TABLE.assign(pet=TABLE["pet"].cat.rename_categories({"cat": "hamster"}))
    for call in (parallel.partial_fit, parallel.fit, parallel.transform):
        before = parallel.estimator_
        with pytest.raises(ValueError, match=r"'pet' of X .* not .* training: 'hamster'"):
            call(others)
        assert parallel.estimator_ is before
    part = TABLE[TABLE["pet"] != "fish"].assign(pet=lambda X: X["pet"].astype(str))
    parallel.partial_fit(part, sample_weight=np.ones(len(part)))
    assert_array_equal(parallel.estimator_.categories_["pet"], ["cat", "dog", "fish"])
    mean = parallel.estimator_.visible_mean_[-1]
    assert parallel.fit(TABLE).score(TABLE) > first
    assert_allclose(parallel.estimator_.visible_mean_[-1], mean)


@pytest.mark.parametrize("options", [{}, {"early_stopping": True, "groups": GROUPS}])
def test_checkpoints_are_resumed_with_the_same_bits(tmp_path, options):
    path = tmp_path / "rbm.ckpt"
    whole = make(**options).fit(TABLE)
    stopped = with_callbacks(
        make(**options), Checkpoint(path), Watch(lambda number: number == 4)
    )
    stopped.fit(TABLE)
    assert (stopped.estimator_.components_ != whole.estimator_.components_).any()
    again = make(n_shards=5).resume(path, TABLE)
    assert_same(whole, again)
    assert again.estimator_.feature_types_ == whole.estimator_.feature_types_
    with pytest.raises(ValueError, match="used other rows"):
        make().resume(path, TABLE.iloc[::-1])


def test_warnings_of_columns_name_them():
    with pytest.warns(UserWarning, match="X is constant in feature 'legs'") as record:
        make().fit(TABLE.assign(legs=4.0))
    assert len(record) == 1


# Dtypes that tell what columns are -------------------------------------------------------


def as_plain(table):
    return {name: str(value) for name, value in table.to_plain().items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"feature_types": {"pet": "ordinal", "count": "binary"}},
        {"feature_types": {"grade": "real", "size": "categorical"}},
    ],
)
def test_dtypes_tell_the_same_as_rows(options):
    rows = TABLE.assign(
        grade=pd.Categorical(np.arange(len(TABLE)) % 3 + 1),
        count=np.arange(len(TABLE), dtype=np.int16) % (2 if "count" in str(options) else 9),
        known=pd.array(TABLE["tall"], dtype="boolean"),
        height=pd.array(TABLE["age"], dtype="Float32"),
    )
    table = Table.learn(rows.iloc[:0], by_dtypes=True, **options)
    assert as_plain(table) == as_plain(Table.learn(rows, **options))
    assert_array_equal(table.read(rows), Table.learn(rows, **options).read(rows))
    assert table.read(rows.iloc[:0], min_samples=0).shape == (0, 9)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.float64])
def test_dtypes_of_arrays_tell_whether_they_are_boolean(dtype):
    rows = np.arange(60).reshape(20, 3).astype(dtype)
    if dtype is bool:
        rows[0] = False
    table = Table.learn(rows[:0], by_dtypes=True)
    assert table.feature_types == ["binary" if dtype is bool else "real"] * 3
    assert as_plain(table) == as_plain(Table.learn(rows))
    if dtype is not bool:
        table = Table.learn(rows[:0], feature_types=["binary"] * 3, by_dtypes=True)
        bits = (rows % 2).astype(dtype)
        assert as_plain(table) == as_plain(Table.learn(bits))


def test_dtypes_may_tell_too_little():
    meta = TABLE.iloc[:0].assign(pet=pd.Series(dtype=object), number=pd.Series(dtype=int))

    def refused(message, X=meta, **options):
        with pytest.raises(ValueError, match=message):
            Table.learn(X, by_dtypes=True, **options)

    refused("^The categories of column 'pet' of X must be known before")
    refused("of column 'pet' of X must", meta.assign(pet=pd.Series(dtype="str")))
    refused("of column 0 of X must", np.empty((0, 2), "U3"), feature_types=["real"] * 2)
    refused("of column 0 of X must", np.empty((0, 2), object))
    for given in ("categorical", "ordinal"):
        types = {"number": given}
        refused("of column 'number'", meta.drop(columns="pet"), feature_types=types)
    known = TABLE.iloc[:0]
    refused("is declared as binary, but its", known, feature_types={"pet": "binary"})
    refused(
        "'pet' of X is real, but has values that are not numbers",
        known,
        feature_types={"pet": "real"},
    )
    refused("groups='auto' needs all rows in memory", known, groups="auto")
    refused(
        "'age' of X, in the group of .*, is not binary", known, groups=[["tall", "age"]]
    )
    refused("at least two columns", known, groups=[["tall"]])
