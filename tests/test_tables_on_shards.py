"""One model of a table, trained by several workers of joblib or Dask."""

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

# Warnings from dask and its dependencies are not ours to fix.
pytestmark = pytest.mark.filterwarnings("default:::(dask|distributed)")


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
    sizes = polars.Series(TABLE["size"].tolist(), dtype=polars.Enum(["S", "M", "L"]))
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
        {"feature_types": {"grade": "ordinal", "count": "binary"}},
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
        types, bits = ["binary"] * 3, (rows % 2).astype(dtype)
        table = Table.learn(rows[:0], feature_types=types, by_dtypes=True)
        assert as_plain(table) == as_plain(Table.learn(bits, feature_types=types))


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


# On a cluster ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    pytest.importorskip("dask.dataframe", reason="dask.dataframe is not installed")
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**settings) as local, distributed.Client(local) as client:
        yield client


def on_dask(**parameters):
    from skrbm.dask import DaskRBM

    return DaskRBM(make(**parameters).estimator, n_shards=3, n_local_steps=2)


def as_blocks(X, n=3):
    """Dask frame whose blocks are those that a joblib executor has for `n` shards."""
    import dask.dataframe

    blocks = [dask.delayed(X.iloc[i::n]) for i in range(n)]
    return dask.dataframe.from_delayed(blocks, meta=X.iloc[:0])


@pytest.mark.parametrize(
    "options", [{}, {"early_stopping": True, "groups": GROUPS}, {"solver": "cd"}]
)
def test_the_same_bits_as_by_joblib(cluster, tmp_path, options):
    expected, path = make(**options).fit(TABLE, sample_weight=WEIGHTS), tmp_path / "ckpt"
    assert_same(expected, on_dask(**options).fit(TABLE, sample_weight=WEIGHTS))
    rows = as_blocks(TABLE.assign(weight=WEIGHTS))
    weights, rows = rows["weight"], rows.drop(columns="weight")
    stopped = with_callbacks(
        on_dask(**options), Checkpoint(path), Watch(lambda number: number == 4)
    )
    stopped.fit(rows, sample_weight=weights)
    parallel = on_dask(**options).resume(path, rows, sample_weight=weights)
    assert_same(expected, parallel)
    for both in (parallel, expected):
        X = rows if both is parallel else TABLE
        both.set_params(estimator__warm_start=True).fit(X).partial_fit(X)
    assert_same(expected, parallel)
    assert parallel.estimator_.feature_types_ == expected.estimator_.feature_types_
    assert list(parallel.feature_names_in_) == list(TABLE)


@pytest.mark.parametrize("columns", [["pet", "size"], ["pet", "age", "tall", "small"]])
def test_gaps_in_some_blocks(cluster, columns):
    """Others may then be coded in bytes, without the same dtype."""
    groups = GROUPS if "tall" in columns else None
    table = TABLE[columns].mask((TABLE.index % 3 == 1) & (TABLE["age"] > 3))
    table = table.astype(TABLE[columns].dtypes.replace("bool", "boolean"))
    expected = make(groups=groups).fit(table)
    parallel = on_dask(groups=groups).fit(as_blocks(table))
    assert_same(expected, parallel)
    hidden = parallel.transform(as_blocks(table))
    assert_allclose(hidden.compute()[:100], expected.transform(table[::3]), rtol=1e-5)
    empty = table.assign(**{columns[-1]: table[columns[-1]].where(TABLE["age"] > 99)})
    with pytest.raises(ValueError, match=f"no observed values of feature '{columns[-1]}'"):
        on_dask().fit(as_blocks(empty))


def test_results_are_lazy_arrays(cluster):
    import dask.array
    import dask.dataframe

    numbers = TABLE.drop(columns="age")
    for table in (TABLE, numbers):
        parallel = on_dask(groups=GROUPS).partial_fit(as_blocks(table))
        rbm = parallel.estimator_
        some = table.assign(pet=table["pet"].astype(str))  # these need no dtype any more
        parts = [some.iloc[:50], some.iloc[:0], some.iloc[50:]]
        parts = dask.dataframe.from_delayed(list(map(dask.delayed, parts)), meta=some)
        for name in ("transform", "score_samples", "free_energy"):
            result, expected = getattr(parallel, name)(parts), getattr(rbm, name)(table)
            assert isinstance(result, dask.array.Array)
            assert_array_equal(result.chunks[0], [np.nan] * 3)
            assert result.chunks[1:] == tuple((n,) for n in expected.shape[1:])
            assert result.dtype == expected.dtype
            assert_allclose(result.compute(), expected, rtol=1e-5)
            assert result.compute().dtype == expected.dtype
        hidden = on_dask(n_iter=1).fit_transform(as_blocks(table))
        assert hidden.compute().shape == (len(table), 4)
        assert_allclose(parallel.score(parts), rbm.score(table), rtol=1e-6)


def test_scores_of_impossible_rows(cluster):
    parallel = on_dask(groups=GROUPS).fit(as_blocks(TABLE))
    impossible = TABLE.assign(tall=True, small=TABLE.index % 5 == 3)
    rows, counted = as_blocks(impossible), impossible.index % 5 != 3
    assert parallel.score(rows) == -np.inf
    weights = as_blocks(pd.Series(counted.astype(float)))
    expected = parallel.estimator_.score(impossible[counted])
    assert_allclose(parallel.score(rows, sample_weight=weights), expected, rtol=1e-6)
    scores = parallel.score_samples(rows).compute()
    assert (scores == -np.inf).sum() == 60
    with pytest.raises(
        ValueError, match=r"^Row \d+ of a block of X has the columns 'tall', "
    ):
        parallel.transform(rows).compute(scheduler="synchronous")


@pytest.mark.parametrize("may_be_off", [False, True])
def test_whether_all_of_a_group_may_be_off_is_learned_from_all_blocks(cluster, may_be_off):
    table = TABLE.assign(small=~TABLE["tall"], wide=TABLE["size"] == "L")
    if may_be_off:
        table.loc[299, ["tall", "small"]] = False  # in the last block
    expected = make(groups=GROUPS).fit(table)
    parallel = on_dask(groups=GROUPS).fit(as_blocks(table))
    assert parallel.estimator_._table.groups == [([3, 4], may_be_off)]
    assert_same(expected, parallel)


def test_arrays(cluster):
    import dask.array

    bits = TABLE[["tall", "small"]].to_numpy()
    numbers = bits + 0.0
    for rows, types in [
        (bits, ["binary", "binary"]),
        (numbers, ["real", "real"]),
        (numbers, ["binary", "binary"]),
    ]:
        given = "infer" if rows is bits else types
        blocks = dask.array.concatenate(
            [dask.array.from_array(rows[i::3]) for i in range(3)]
        )
        parallel = on_dask(feature_types=given).fit(blocks)
        assert parallel.estimator_.feature_types_ == types
        assert_same(make(feature_types=types).fit(rows), parallel)
        hidden = parallel.transform(blocks)
        expected = parallel.transform(rows)
        assert hidden.dtype == expected.dtype
        assert_allclose(hidden.compute()[::-1][:5], expected[2::3][::-1][:5], rtol=1e-5)


def test_errors_reach_the_user(cluster):
    parallel = on_dask(n_iter=1)
    strings = as_blocks(TABLE.assign(pet=TABLE["pet"].astype(str)))
    unknown = strings.assign(pet=strings["pet"].astype("category"))
    for rows in (strings, unknown):
        with pytest.raises(ValueError, match=r"column 'pet' of X .*X\.categorize\(\)"):
            parallel.fit(rows)
    assert not hasattr(parallel, "estimator_")
    assert_same(parallel.fit(strings.categorize()), parallel.fit(as_blocks(TABLE)))
    other = TABLE.assign(pet=TABLE["pet"].cat.rename_categories({"cat": "hamster"}))
    with pytest.raises(ValueError, match=r"'pet' of a block of X has .*: 'hamster'"):
        parallel.partial_fit(as_blocks(other))
    with pytest.raises(ValueError, match="feature names should match"):
        parallel.partial_fit(as_blocks(TABLE[TABLE.columns[::-1]]))
    with pytest.raises(ValueError, match="feature names"):
        parallel.transform(as_blocks(TABLE[TABLE.columns[::-1]]))
    with pytest.raises(ValueError, match=r"^Found array with 0 sample\(s\) \(shape=\(0, 5"):
        parallel.score(as_blocks(TABLE.iloc[:0]))
