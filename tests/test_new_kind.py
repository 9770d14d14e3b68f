"""A kind of units that the package does not know does everything without changes to it.

Counts train, are scored, sampled, annealed, pickled and run on shards. This works because
no module but those of a kind names one, or asks which one it has: the source is read for
that.
"""

import ast
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_distributed, states
from count_units import LARGEST, LOG_FACTORIALS, VALUES, CountRBM
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import skrbm
from skrbm import ParallelRBM, RBMImputer, _gaps
from skrbm._units import KINDS, VisibleUnits
from skrbm.likelihood import LogLikelihoodTracker, log_partition
from skrbm.metrics import log_likelihood_scorer
from skrbm.sampling import sample_conditional

PARAMETERS = ["components_", "intercept_visible_", "intercept_hidden_"]
# All rows of two and of three units.
PAIRS = np.stack(np.meshgrid(VALUES, VALUES, indexing="ij"), axis=-1).reshape(-1, 2)
TRIPLES = np.stack(np.meshgrid(*[VALUES] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


class Truth:
    """Distribution of an estimator of counts, by sums over all of its states."""

    def __init__(self, rbm):
        weights, b, c = (
            np.asarray(getattr(rbm, name), dtype=np.float64) for name in PARAMETERS
        )
        self.h = states(len(c))
        self.v = TRIPLES if len(b) == 3 else PAIRS
        rates = b + self.h @ weights
        logs = rates[..., None] * VALUES - LOG_FACTORIALS
        self.given_h = np.exp(logs - logsumexp(logs, axis=-1, keepdims=True))
        joint = self.v @ b - LOG_FACTORIALS[self.v].sum(axis=1)
        joint = joint[:, None] + self.h @ c + self.v @ weights.T @ self.h.T
        self.log_partition = logsumexp(joint)
        self.p = np.exp(joint - self.log_partition)
        self.p_v = self.p.sum(axis=1)

    def log_likelihood(self, X):
        return np.log(self.p_v[number(X)])

    def mean_hidden(self, X):
        return (self.p @ self.h / self.p_v[:, None])[number(X)]

    def mean_visible(self):
        return self.given_h @ VALUES

    def draw(self, n, seed=0):
        rng = np.random.default_rng(seed)
        return self.v[rng.choice(len(self.v), n, p=self.p_v)].astype(np.float64)

    def divergence(self, other):
        """Divergence of another distribution from this one, in nats."""
        return self.p_v @ (np.log(self.p_v) - np.log(other.p_v))


def number(X):
    """Number of each row among all rows."""
    return np.asarray(X, dtype=int) @ (LARGEST + 1) ** np.arange(np.shape(X)[1])[::-1]


def teacher(scale=1.0, seed=0, n_features=3):
    """Estimator of counts with parameters set by hand."""
    rng = np.random.default_rng(seed)
    rbm = CountRBM(2)
    rbm.components_ = scale * rng.normal(0, 0.9, (2, n_features))
    rbm.intercept_visible_ = rng.normal(0, 0.4, n_features)
    rbm.intercept_hidden_ = rng.normal(0, 0.5, 2)
    rbm.n_features_in_ = n_features
    return rbm


TRUTH = Truth(teacher())
ROWS = TRUTH.draw(2000)


@pytest.fixture(scope="module")
def fitted():
    return CountRBM(2, n_iter=5, random_state=0).fit(ROWS[:400])


def assert_same(one, other):
    for name in PARAMETERS:
        assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


# Training -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["pcd", "cd"])
def test_a_teacher_is_learned(solver):
    """The exact distribution comes close to the truth, from far away."""
    rbm = CountRBM(2, solver=solver, n_gibbs_steps=5, n_iter=1, random_state=0)
    start = TRUTH.divergence(Truth(clone(rbm).set_params(learning_rate=1e-9).fit(ROWS)))
    end = TRUTH.divergence(Truth(clone(rbm).set_params(n_iter=60).fit(ROWS)))
    assert start > 0.3
    assert end < 0.1 * start


def test_training_improves_the_likelihood():
    rbm = CountRBM(2, n_iter=1, learning_rate=1e-9, random_state=0).fit(ROWS)
    before = TRUTH.divergence(Truth(rbm))
    after = TRUTH.divergence(Truth(rbm.set_params(n_iter=10, learning_rate=0.05).fit(ROWS)))
    assert after < 0.5 * before


def test_further_training():
    rbm = CountRBM(2, n_iter=3, random_state=0, warm_start=True).fit(ROWS)
    assert rbm.history_["epoch"] == [1, 2, 3]
    before = TRUTH.divergence(Truth(rbm))
    assert TRUTH.divergence(Truth(rbm.set_params(n_iter=20).fit(ROWS))) < before
    stream = CountRBM(2, random_state=0)
    for part in np.split(ROWS, 4):
        stream.partial_fit(part)
    assert_same(stream, CountRBM(2, random_state=0).partial_fit(ROWS))


@pytest.mark.parametrize("rate", ["auto", 0.1])
def test_options_of_training(rate):
    options = {"learning_rate": rate, "weight_decay": "auto", "n_gibbs_steps": "auto"}
    rbm = CountRBM(2, n_iter=3, random_state=0, **options)
    rbm.fit(ROWS[:200].astype(np.float32))
    assert rbm.components_.dtype == np.float32
    assert rbm.learning_rate_ > 0
    assert rbm.weight_decay_ > 0
    weighted = CountRBM(2, n_iter=3, random_state=0, **options)
    weighted.fit(ROWS[:200], sample_weight=np.repeat([0.0, 1.0], 100))
    assert_same(weighted, clone(weighted).fit(ROWS[100:200], sample_weight=np.ones(100)))


def test_early_stopping():
    rbm = CountRBM(2, n_iter=20, early_stopping=True, random_state=0).fit(ROWS[:300])
    assert len(rbm.validation_scores_) == rbm.n_iter_
    assert len(rbm.history_["log_likelihood"]) == rbm.n_iter_
    assert len(rbm.history_["free_energy_gap"]) == rbm.n_iter_
    held_out_once = clone(rbm).set_params(n_iter_no_change=1, tol=10.0).fit(ROWS[:300])
    assert held_out_once.n_iter_ == 3


@pytest.mark.slow
def test_a_training_that_is_recorded_by_annealed_runs():
    """Those replace the exact partition function, and also compare chains and model."""
    rbm = CountRBM(12, n_iter=55, batch_size=10, learning_rate=0.01, random_state=0)
    rbm.fit(ROWS[:1000])
    exact = rbm.log_likelihood(ROWS[:1000]).mean()
    assert abs(rbm.history_["log_likelihood"][-1] - exact) < 0.5
    assert abs(rbm.log_partition_gap_) < 0.5


def test_values_that_are_no_counts_are_refused(fitted):
    for wild in (-1, LARGEST + 1):
        X = np.append(ROWS[:20], [[wild] * 3], axis=0)
        for call in (clone(fitted).fit, clone(fitted).partial_fit, fitted.transform):
            with pytest.raises(ValueError, match="Expected counts from 0 to"):
                call(X)
    with pytest.raises(ValueError, match="has others, such as 7: use min"):
        sample_conditional(fitted, [[0, 7, np.nan]])


@pytest.mark.parametrize("n_jobs", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_shards(n_jobs):
    rbm = CountRBM(2, n_iter=8, random_state=0)
    parallel = ParallelRBM(rbm, n_shards=2, n_local_steps=5, n_jobs=n_jobs)
    untrained = clone(rbm).set_params(n_iter=1, learning_rate=1e-9).fit(ROWS)
    start = TRUTH.divergence(Truth(untrained))
    model = parallel.fit(ROWS).estimator_
    assert type(model) is CountRBM
    assert model.h_samples_.shape[1] == 2
    assert TRUTH.divergence(Truth(model)) < 0.5 * start
    parallel.partial_fit(ROWS)
    stopping = clone(parallel).set_params(estimator__early_stopping=True).fit(ROWS)
    assert len(stopping.estimator_.validation_scores_) == stopping.estimator_.n_iter_


# The fitted model -----------------------------------------------------------------------


def test_rows_are_transformed_and_scored(fitted):
    truth, X = Truth(fitted), TRIPLES.astype(np.float64)
    assert_allclose(fitted.transform(X), truth.mean_hidden(X), rtol=1e-6)
    assert_allclose(fitted.inverse_transform(truth.h), truth.mean_visible())
    expected = truth.log_likelihood(X)
    assert_allclose(fitted.score_samples(X), expected)
    assert_allclose(fitted.log_likelihood(X), expected)
    assert_allclose(-fitted.free_energy(X) - truth.log_partition, expected)
    assert_allclose(fitted.score(X), expected.mean())
    assert_allclose(log_likelihood_scorer(fitted, X), expected.mean())
    reconstructed = fitted.reconstruct(X)
    assert_allclose(reconstructed, fitted.inverse_transform(fitted.transform(X)))


def test_the_partition_function_is_exact(fitted):
    exact = fitted.log_partition()
    assert exact.method == "exact"
    assert_allclose(exact.value, Truth(fitted).log_partition)
    tracked = LogLikelihoodTracker(ROWS[:50]).update(fitted)
    assert_allclose(tracked.value, fitted.score(ROWS[:50]))


@pytest.mark.parametrize("method", ["ais", "reverse_ais", "both"])
@pytest.mark.parametrize("origin", ["fitted", "by hand"])
def test_annealing_agrees_with_enumeration(fitted, method, origin):
    rbm = fitted if origin == "fitted" else teacher()
    estimate = log_partition(rbm, method=method, betas=200, n_runs=200, random_state=0)
    assert abs(estimate.value - Truth(rbm).log_partition) < 0.05
    with pytest.raises(ValueError, match="base_mean has no effect"):
        log_partition(rbm, method=method, base_mean=0.5)


def test_samples(fitted):
    truth, n = Truth(fitted), 5000
    options = {"n_gibbs_steps": 30, "random_state": 0}
    for others in ({}, {"init": "noise"}, {"init": ROWS[:7]}, {"betas": 3}):
        drawn = fitted.sample(n, **options, **others)
        assert_distributed(number(drawn), truth.p_v)
    means = fitted.sample(n, output="probabilities", **options)
    assert_allclose(means.mean(axis=0), truth.p_v @ truth.v, atol=0.07)


def test_gibbs_steps_keep_the_distribution(fitted):
    truth = Truth(fitted)
    moved = fitted.gibbs(truth.draw(40_000), random_state=0)
    assert_distributed(number(moved), truth.p_v)
    assert (moved != truth.draw(40_000)).any()


@pytest.mark.parametrize("origin", ["fitted", "by hand"])
def test_gaps_are_filled_given_the_other_values(fitted, origin):
    """Also if no means are known to begin with."""
    rbm = fitted if origin == "fitted" else teacher()
    truth = Truth(rbm)
    X = np.tile([2.0, np.nan, np.nan], (20_000, 1))
    filled = sample_conditional(rbm, X, n_gibbs_steps=20, random_state=0)
    assert (filled[:, 0] == 2).all()
    matching = truth.v[:, 0] == 2
    p = np.where(matching, truth.p_v, 0) / truth.p_v[matching].sum()
    assert_distributed(number(filled), p)
    options = {"n_gibbs_steps": 4000, "output": "probabilities", "random_state": 0}
    means = sample_conditional(rbm, X[:1], **options)
    assert_allclose(means[0], p @ truth.v, atol=0.1)


def test_hidden_units_given_the_other_values(fitted, monkeypatch):
    truth = Truth(fitted)
    X = np.array([[2.0, np.nan, np.nan], [np.nan] * 3, [0, 1, np.nan]])
    expected = []
    for row in X:
        p = truth.p[((truth.v == row) | np.isnan(row)).all(axis=1)].sum(axis=0)
        expected.append(p @ truth.h / p.sum())
    assert_allclose(fitted.transform(X), expected, rtol=1e-4)
    monkeypatch.setattr(_gaps, "LARGEST_EXACT_MEANS", 0)
    monkeypatch.setattr(_gaps, "N_CHAINS", 1000)
    means = fitted.transform(X)
    assert_allclose(means, expected, atol=0.02)
    assert_array_equal(fitted.transform(X[2:]), means[2:])


def test_missing_values_are_imputed():
    X = ROWS[:200].copy()
    X[::7, 1] = np.nan
    imputer = RBMImputer(CountRBM(2, n_iter=3), random_state=0)
    filled = imputer.fit_transform(X)
    known = ~np.isnan(X)
    assert_array_equal(filled[known], X[known])
    assert ((filled > 0) & (filled < LARGEST))[~known].all()
    drawn = imputer.set_params(strategy="draw").transform(X)
    assert np.isin(drawn, VALUES).all()
    assert_array_equal(imputer.set_params(strategy="mode").transform(X), filled)


def test_copies_and_pickles(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    assert_same(again, fitted)
    assert_array_equal(again.sample(5, random_state=0), fitted.sample(5, random_state=0))
    again.partial_fit(ROWS[:40])
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        fresh.transform(ROWS)
    assert_same(fresh.fit(ROWS[:400]), fitted)


# No module names a kind ------------------------------------------------------------------

PACKAGE = Path(skrbm.__file__).parent
# Modules that may name kinds, and names that others may have.
OF_KINDS = {"__init__.py", "_bernoulli.py", "_gaussian.py", "_mixed.py", "_joint.py"}
ALLOWED = {  # the estimators that it chooses from
    "_imputer.py": {
        *("BernoulliRBMEstimator", "GaussianRBMEstimator"),
        *("skrbm._bernoulli", "skrbm._gaussian"),
    }
}
OTHERS = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent.name != "_units" and path.name not in OF_KINDS
]
# Names of kinds, and of what only estimators of one kind have.
NAME = re.compile(
    r"\w*(Bernoulli|Gaussian)\w*|(?!Visible)[A-Z]\w*Units|KINDS"
    r"|noise_variance_|visible_variance_"
)
MODULE = re.compile(
    r"skrbm\._units\.(bernoulli|gaussian|correlated)|skrbm\._(bernoulli|gaussian)"
)
# Members of the contract, and others that tell kinds apart.
CONTRACT = {name for name in dir(VisibleUnits) if not name.startswith("__")} | {"bias"}
OF_ONE_KIND = {"binary", "__name__", "__qualname__"}.union(
    *(set(dir(kind)) | set(kind.__dataclass_fields__) for kind in KINDS)
)
OF_ONE_KIND -= set(dir(VisibleUnits)) | CONTRACT


def kinds_named(source):
    """Names of kinds and questions of which kind units are, in the code of a module.

    Docstrings and messages do not count, but a string that is a name does.
    """
    tree = ast.parse(source)
    statements = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    docstrings = {node for node in statements if isinstance(node, ast.Constant)}
    for node in set(ast.walk(tree)) - docstrings:
        for name in names_in(node):
            if NAME.fullmatch(name) or MODULE.fullmatch(name):
                yield name
        match node:
            case ast.Attribute(value=ast.Attribute(attr="visible" | "_units"), attr=name):
                if name not in CONTRACT:
                    yield ast.unparse(node)
            case ast.Attribute(value=owner, attr=name) if is_units(owner):
                if name in OF_ONE_KIND:
                    yield ast.unparse(node)
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, classes]):
                if any(name.endswith("Units") for name in all_names(classes)):
                    yield ast.unparse(node)
            case ast.Compare(left=left, comparators=comparators):
                if any(map(is_kind, (left, *comparators))):
                    yield ast.unparse(node)


def names_in(node):
    """Names that a node of the syntax tree has itself."""
    match node:
        case ast.Import(names=aliases):
            yield from (alias.name for alias in aliases)
        case ast.ImportFrom(module=module, names=aliases):
            yield module
            yield from (alias.name for alias in aliases)
            yield from (f"{module}.{alias.name}" for alias in aliases)
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            yield name
        case ast.keyword(arg=str(name)) | ast.Constant(value=str(name)):
            yield name
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            yield name


def all_names(node):
    return [name for part in ast.walk(node) for name in names_in(part)]


def is_units(node):
    """Whether an expression is called like units, or like their class."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in ("units", "visible", "_units", "kind")
    return is_kind(node)


def is_kind(node):
    """Whether an expression is the class of units."""
    match node:
        case ast.Call(func=ast.Name(id="type"), args=[argument]):
            return is_units(argument)
        case ast.Attribute(attr="__class__", value=owner):
            return is_units(owner)
        case ast.Attribute(attr="_units"):
            return True
    return False


@pytest.mark.parametrize("path", OTHERS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_other_module_names_a_kind(path):
    allowed = ALLOWED.get(path.name, set())
    assert set(kinds_named(path.read_text())) <= allowed


@pytest.mark.parametrize(
    "code",
    [
        "from skrbm._units import GaussianUnits",
        "from skrbm._units.bernoulli import log_odds",
        "from skrbm._units import gaussian",
        "import skrbm._bernoulli",
        "from skrbm._units import KINDS",
        "if isinstance(model.visible, VisibleUnits): pass",
        "issubclass(rbm._units, (int, units.CountUnits))",
        "x = CategoricalUnits",
        "hasattr(rbm, 'noise_variance_')",
        "x = rbm.visible_variance_",
        "f(noise_variance_=1)",
        "def f(noise_variance_): pass",
        "def from_bernoulli(x): return isBernoulli(x)",
        "type(model.visible) is kind",
        "rbm._units == other",
        "model.visible.__class__ in kinds",
        "type(model.visible).__name__",
        "rbm._units.binary",
        "units.binary",
        "model.visible.log_variance",
        "x = 'BernoulliUnits'",
        "match units:\n    case GaussianUnits(): pass",
    ],
)
def test_named_kinds_are_found(code):
    assert list(kinds_named(code))


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    '''GaussianUnits'''",
        "raise ValueError('pass a BernoulliRBMEstimator')",
        "from skrbm._units import VisibleUnits, kind_of",
        "from skrbm._units.unit_interval import is_dask",
        "_kernels.bernoulli(x, rng, out=x)",
        "isinstance(X, np.ndarray)",
        "summary.binary",
        "model.visible.rows_are_bits",
        "model.visible.bias",
        "type(model.visible)(bias)",
        "x: VisibleUnits",
    ],
)
def test_other_code_names_no_kind(code):
    assert not list(kinds_named(code))
