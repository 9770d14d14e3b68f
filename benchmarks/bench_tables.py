"""The tables of bench_quality.py whose data have categories, levels or gaps.

networks  Categories drawn from five Bayes networks, whose true likelihood is known: mean
          test log-likelihoods in nats per row, forward and reverse (of 16 hidden units
          exact, and the same), and the gap between the truth and the lower of them.
          "independent" is the model of independent columns.
letters   dna as 60 letters of four states, and pumsb_star with the groups of columns that
          exclude each other, which are found in the training rows. Both are one to one with
          the bits, so that likelihoods published for the bits can be compared.
tables    Six tables with numbers and categories, a fifth of whose known cells are held out
          and filled in again: accuracy, and log-loss in nats, of categories, and root mean
          square error of numbers, in standard deviations of the column. Seconds are those
          of the processor, for fitting and filling. A new row takes milliseconds, by the
          clock, if the method can fill one at all.
survey    Answers on a scale from 1 to 6, of which 15 % are missing. All methods predict a
          number, which is rounded to the scale for the absolute error and the exact hits.
gaps      Digits as bits, 30 % of them missing.
anomalies Areas under ROC curves of anomalies against other rows, with their deviation over
          splits: half of the test rows of the six tables, in which a single cell has the
          value of another row; and malignant samples of breast cancer, after training on
          benign ones. "named" is the share of rows with a foreign cell in which this cell
          has the lowest score, and "by chance" that of a draw.
"""

import functools
import time

import numpy as np
import pandas as pd
from results import record
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    IsolationForest,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.metrics import roc_auc_score

from skrbm import (
    BernoulliRBMEstimator,
    GaussianRBMEstimator,
    MixedRBMEstimator,
    RBMImputer,
    exclusive_groups,
)

# Mean test log-likelihoods in nats: of an RBM with 23 hidden units (Larochelle and Murray,
# 2011), MADE (Germain et al., 2015), ID-SPN (Rooshenas and Lowd, 2014) and HCLT (see
# DENSITY_SETS of bench_quality.py).
PUBLISHED = {
    "dna": {"RBM": -96.74, "MADE": -79.66, "ID-SPN": -81.21, "HCLT": -79.06},
    "pumsb_star": {"ID-SPN": -22.40, "HCLT": -23.65},
}


def categories(codes, n_states=None, names=None):
    """Return a data frame of categories from their codes, in which -1 is a gap."""
    n_states = codes.max(axis=0) + 1 if n_states is None else n_states
    names = [f"x{i}" for i in range(codes.shape[1])] if names is None else names
    columns = zip(names, codes.T, n_states, strict=True)
    return pd.DataFrame(
        {name: pd.Categorical.from_codes(x, range(k)) for name, x, k in columns}
    )


class Lines:
    """Print a table and record it, line by line."""

    def __init__(self, table, title, columns, decimals):
        self.table, self.columns, self.decimals = table, columns, decimals
        cells = "".join(f"{column:>12s}" for column in columns)
        print(f"\n{title}\n{'':48s}{cells}", flush=True)

    def add(self, *values, **texts):
        """Add the numbers of a line. None leaves its cell empty."""
        pairs = zip(self.columns, values, strict=True)
        row = {
            x: round(float(value), self.decimals) for x, value in pairs if value is not None
        }
        cells = (
            f"{row[x]:12.{self.decimals}f}" if x in row else " " * 12 for x in self.columns
        )
        print(f"  {', '.join(texts.values()):46s}{''.join(cells)}", flush=True)
        record(self.table, **texts, **row)


# Densities ------------------------------------------------------------------------------


def likelihoods(rbm, X, X_test, quick):
    """Train a model; return the seconds and both mean test log-likelihoods."""
    start = time.perf_counter()
    rbm.fit(X)
    seconds = time.perf_counter() - start
    if rbm.n_components <= 20:
        parts = [rbm.log_partition(method="exact")] * 2
    else:
        betas = 1000 if quick else 3000
        parts = rbm.log_partition(method="both", betas=betas, random_state=0).parts
    means = [rbm.log_likelihood(X_test, log_partition=part).mean() for part in parts]
    return seconds, *map(float, means)


def independent_columns(codes, n_states, codes_test):
    """Return the mean test log-likelihood of smoothed frequencies."""
    total = 0.0
    for x, k, x_test in zip(codes.T, n_states, codes_test.T, strict=True):
        counts = np.bincount(x, minlength=k) + 1.0
        total += np.log(counts / counts.sum())[x_test].mean()
    return total


def networks(data, quick):
    columns = "seconds", "forward", "reverse", "truth", "gap", "independent"
    lines = Lines("networks", "Categories drawn from Bayes networks", columns, 2)
    for path in sorted((data / "networks").glob("*.npz")):
        with np.load(path) as archive:
            codes, codes_test = archive["X_train"], archive["X_test"]
            n_states, names = archive["n_states"], archive["names"]
            truth = float(archive["true_test"])
        X, X_test = (categories(rows, n_states, names) for rows in (codes, codes_test))
        independent = independent_columns(codes, n_states, codes_test)
        for n_components in (16,) if quick else (16, 64):
            rbm = MixedRBMEstimator(n_components, random_state=0)
            seconds, *both = likelihoods(rbm, X, X_test, quick)
            lines.add(
                *(seconds, *both, truth, truth - min(both), independent),
                network=f"{path.stem}, {len(names)} columns",
                model=f"skrbm, {n_components} hidden units",
            )


def letters(data, quick):
    for name, published in PUBLISHED.items():
        with np.load(data / "debd" / f"{name}.npz") as archive:
            X, X_test = archive["X_train"], archive["X_test"]
        if name == "dna":
            n_groups, groups = 60, None
            codes = [rows.reshape(-1, 60, 3) @ [1, 2, 3] for rows in (X, X_test)]
            X, X_test = (categories(rows, [4] * 60) for rows in codes)
        else:
            n_groups, groups = len(exclusive_groups(X)), "auto"
        columns = "seconds", "forward", "reverse", *published
        lines = Lines("letters", f"{name}, {n_groups} groups", columns, 2)
        for n_components in (16,) if quick else (16, 64, 160):
            rbm = MixedRBMEstimator(n_components, groups=groups, random_state=0)
            lines.add(
                *(*likelihoods(rbm, X, X_test, quick), *published.values()),
                data=f"{name}, {n_groups} groups",
                model=f"skrbm, {n_components} hidden units",
            )


# Gaps in mixed tables -------------------------------------------------------------------


def discrete(frame):
    """Return the names of the columns of categories."""
    return list(frame.select_dtypes("category"))


def read_table(data, table):
    """Return a table, the same with gaps at the cells held out, and the mask of these."""
    truth = pd.read_csv(data / "tables" / f"{table}.csv.gz")
    bits = np.load(data / "tables" / f"{table}_held_out.npy")
    held_out = np.unpackbits(bits, axis=1)[:, : truth.shape[1]].astype(bool)
    for name, x in truth.items():
        if not pd.api.types.is_numeric_dtype(x) or x.nunique() <= 2:
            truth[name] = x.astype(str).where(x.notna()).astype("category")
    return truth, truth.mask(held_out), held_out


def scores(truth, filled, held_out, probabilities=None):
    """Return accuracy, log-loss (or None), and error of numbers, of the cells held out."""
    hits, losses, squares = [], [], []
    for (name, x), gaps in zip(truth.items(), held_out.T, strict=True):
        if not gaps.any():
            continue
        x, y = x[gaps], filled[name][gaps]
        if name in discrete(truth):
            hits.extend(x.astype(str) == y.astype(str))
            if probabilities:
                p = np.asarray(probabilities[name])[gaps]
                losses.extend(-np.log(np.maximum(p[range(len(x)), x.cat.codes], 1e-4)))
        else:
            squares.extend(((y.astype(float) - x) / truth[name].std()) ** 2)
    loss = np.mean(losses) if losses else None
    return np.mean(hits), loss, np.sqrt(np.mean(squares))


class Skrbm:
    """RBMImputer at its defaults."""

    def fit_fill(self, frame):
        self.imputer = RBMImputer(random_state=0)
        return self.imputer.fit_transform(frame)

    def fill(self, frame):
        return self.imputer.transform(frame)

    def probabilities(self, frame):
        return self.imputer.impute_proba(frame)


class MostFrequent:
    """The most frequent category, and the mean of numbers."""

    def fit_fill(self, frame):
        names = discrete(frame)
        self.shares = {x: frame[x].value_counts(normalize=True, sort=False) for x in names}
        self.values = dict(frame.drop(columns=names).mean())
        self.values |= {name: shares.idxmax() for name, shares in self.shares.items()}
        return self.fill(frame)

    def fill(self, frame):
        return frame.fillna(self.values)

    def probabilities(self, frame):
        return {name: np.tile(x, (len(frame), 1)) for name, x in self.shares.items()}


class Neighbors:
    """KNNImputer on standardized numbers, and on categories as columns of 0 and 1."""

    def fit_fill(self, frame):
        numbers = frame.drop(columns=discrete(frame))
        self.mean, self.scale = numbers.mean(), numbers.std().replace(0, 1)
        self.imputer = KNNImputer(n_neighbors=15).set_output(transform="pandas")
        self.imputer.fit(self.encode(frame))
        return self.fill(frame)

    def encode(self, frame):
        bits = [
            pd.get_dummies(x, prefix=name, dtype=float).mask(x.isna())
            for name, x in frame[discrete(frame)].items()
        ]
        return pd.concat([(frame[self.mean.index] - self.mean) / self.scale, *bits], axis=1)

    def fill(self, frame):
        encoded = self.imputer.transform(self.encode(frame))
        filled = frame.fillna(encoded[self.mean.index] * self.scale + self.mean)
        for name, p in self.shares(encoded, frame).items():
            best = pd.Categorical.from_codes(p.argmax(axis=1), dtype=frame[name].dtype)
            filled[name] = frame[name].fillna(pd.Series(best, frame.index))
        return filled

    def shares(self, encoded, frame):
        shares = {}
        for name in discrete(frame):
            p = encoded[[f"{name}_{x}" for x in frame[name].cat.categories]] + 1e-3
            shares[name] = p.div(p.sum(axis=1), axis=0).to_numpy()
        return shares

    def probabilities(self, frame):
        return self.shares(self.imputer.transform(self.encode(frame)), frame)


def to_numbers(frame):
    """Return a frame of numbers, with the codes of categories."""
    numbers = dict(frame.items())
    for name in discrete(frame):
        numbers[name] = frame[name].cat.codes.where(frame[name].notna())
    return pd.DataFrame(numbers, dtype=float)


def from_numbers(numbers, like):
    """Return the reverse of `to_numbers`, from predictions rounded to codes."""
    filled = like.copy()
    for name, x in numbers.items():
        if name in discrete(like):
            n_states = len(like[name].cat.categories)
            codes = x.round().clip(0, n_states - 1).astype(int)
            x = pd.Series(pd.Categorical.from_codes(codes, dtype=like[name].dtype), x.index)
        filled[name] = like[name].fillna(x)
    return filled


class Trees:
    """IterativeImputer with extremely randomized trees, on numbers and codes."""

    def fit_fill(self, frame):
        trees = ExtraTreesRegressor(50, min_samples_leaf=3, random_state=0)
        self.imputer = IterativeImputer(trees, max_iter=4, random_state=0)
        self.imputer.set_output(transform="pandas")
        return from_numbers(self.imputer.fit_transform(to_numbers(frame)), frame)

    def fill(self, frame):
        return from_numbers(self.imputer.transform(to_numbers(frame)), frame)


class MissForest:
    """As missForest does: classifiers for categories, regressors for numbers, in rounds."""

    def fit_fill(self, frame):
        codes = to_numbers(frame)
        numbers = to_numbers(MostFrequent().fit_fill(frame))
        self.shares = {}
        for _ in range(4):
            for name in frame.columns[frame.isna().any()]:
                is_category = name in discrete(frame)
                kind = ExtraTreesClassifier if is_category else ExtraTreesRegressor
                forest = kind(100, min_samples_leaf=3, random_state=0)
                gaps, others = frame[name].isna(), numbers.drop(columns=name).to_numpy()
                forest.fit(others[~gaps], codes.loc[~gaps, name])
                numbers.loc[gaps, name] = forest.predict(others[gaps])
                if is_category:
                    p = np.full((len(frame), len(frame[name].cat.categories)), 1e-3)
                    states = forest.classes_.astype(int)
                    p[np.ix_(gaps, states)] += forest.predict_proba(others[gaps])
                    self.shares[name] = p / p.sum(axis=1, keepdims=True)
        return from_numbers(numbers, frame)

    def probabilities(self, frame):
        return self.shares


IMPUTERS = {
    "skrbm": Skrbm,
    "mode and mean": MostFrequent,
    "KNNImputer": Neighbors,
    "IterativeImputer, trees": Trees,
    "missForest, extra trees": MissForest,
}


def milliseconds_a_row(model, frame, n_rows):
    """Return the median time of filling one row that has a gap."""
    rows = [frame.iloc[[i]] for i in np.flatnonzero(frame.isna().any(axis=1))[: n_rows + 1]]
    times = []
    for row in rows:
        start = time.perf_counter()
        model.fill(row)
        times.append(1e3 * (time.perf_counter() - start))
    return np.median(times[1:])


def tables(data, quick):
    columns = "accuracy", "log-loss", "errors", "seconds", "ms a row"
    title = "Mixed tables, a fifth of whose known cells are held out"
    lines = Lines("tables", title, columns, 3)
    for path in sorted((data / "tables").glob("*.csv.gz")):
        table = path.name.removesuffix(".csv.gz")
        truth, gaps, held_out = read_table(data, table)
        for name, make in IMPUTERS.items():
            model = make()
            start = time.process_time()
            filled = model.fit_fill(gaps)
            seconds = time.process_time() - start
            probabilities = ms = None
            if hasattr(model, "probabilities"):
                probabilities = model.probabilities(gaps)
            if hasattr(model, "fill"):
                ms = milliseconds_a_row(model, gaps, 3 if quick else 20)
            lines.add(
                *(*scores(truth, filled, held_out, probabilities), seconds, ms),
                data=f"{table}, {len(truth)} x {truth.shape[1]}",
                imputer=name,
            )


# Gaps in answers and in bits ------------------------------------------------------------


def expected_answers(gaps):
    """Return the means of the conditional distributions of missing answers."""
    levels = pd.CategoricalDtype(range(1, 7), ordered=True)
    frame = pd.DataFrame(gaps).rename(columns=str).astype(levels)
    imputer = RBMImputer(random_state=0).fit(frame)
    filled = gaps.copy()
    for name, p in imputer.impute_proba(frame).items():
        x = filled[:, int(name)]
        missing = np.isnan(x)
        x[missing] = (np.asarray(p) @ np.arange(1, 7))[missing]
    return filled


def survey(data, quick):
    answers = pd.read_csv(data / "bfi.csv.gz").filter(regex="^[ACENO][1-5]$")
    answers = answers.dropna().to_numpy(float)[:800]
    missing = np.random.default_rng(0).random(answers.shape) < 0.15
    gaps = np.where(missing, np.nan, answers)
    methods = {
        "skrbm": expected_answers,
        "mean": SimpleImputer().fit_transform,
        "KNNImputer": KNNImputer(n_neighbors=30).fit_transform,
        "IterativeImputer": IterativeImputer(random_state=0).fit_transform,
    }
    columns = "error", "abs. error", "exact", "seconds"
    lines = Lines("survey", f"{len(answers)} rows of answers, 15 % missing", columns, 3)
    for name, method in methods.items():
        start = time.process_time()
        predicted = method(gaps)[missing]
        seconds = time.process_time() - start
        error = np.sqrt(np.mean((predicted - answers[missing]) ** 2))
        steps = np.abs(predicted.round().clip(1, 6) - answers[missing])
        lines.add(error, steps.mean(), (steps == 0).mean(), seconds, imputer=name)


def missing_bits(data, quick):
    bits = load_digits().data > 7
    missing = np.random.default_rng(0).random(bits.shape) < 0.3
    X = np.where(missing, np.nan, bits).astype(np.float32)
    methods = {
        f"skrbm, {n} hidden units": RBMImputer(
            BernoulliRBMEstimator(n, random_state=0), random_state=0
        )
        for n in (64, 256)
    }
    methods["mean"] = SimpleImputer()
    methods["KNNImputer"] = KNNImputer(n_neighbors=15)
    methods["IterativeImputer"] = IterativeImputer(random_state=0)
    columns = "log-loss", "accuracy", "seconds"
    lines = Lines("gaps", "Digits as bits, 30 % missing", columns, 4)
    for name, imputer in methods.items():
        start = time.process_time()
        p = imputer.fit_transform(X)[missing].astype(float).clip(1e-3, 1 - 1e-3)
        seconds = time.process_time() - start
        on = bits[missing]
        loss = -np.log(np.where(on, p, 1 - p)).mean()
        lines.add(loss, ((p > 0.5) == on).mean(), seconds, imputer=name)


# Anomalies ------------------------------------------------------------------------------


def with_foreign_cells(frame, scale, rng):
    """Return rows, half of them with a foreign cell, and the places of these, or -1.

    The cell has the value of the same column in another row, which differs: if it is a
    number, by half of a standard deviation, as given by `scale`, or more.
    """
    changed, places = frame.copy(), np.full(len(frame), -1)
    for row in rng.permutation(len(frame))[: len(frame) // 2]:
        while places[row] < 0:
            place, other = rng.integers(frame.shape[1]), rng.integers(len(frame))
            old, new = frame.iat[row, place], frame.iat[other, place]
            least = 0.5 * scale.get(frame.columns[place], 0)
            if pd.isna(old) or pd.isna(new) or old == new:
                continue
            if not least or abs(old - new) >= least:
                changed.iat[row, place], places[row] = new, place
    return changed, places


def as_features(frame, scaling):
    """Return standardized numbers, 0 where they are missing, and categories as bits."""
    mean, scale = scaling
    numbers = ((frame[mean.index] - mean) / scale).fillna(0)
    return np.hstack([numbers, pd.get_dummies(frame[discrete(frame)], dtype=float)])


def row_scores(rbm, X):
    """Return scores of rows by name. The lowest are those of anomalies."""
    cells = rbm.score_cells(X)
    return {
        "skrbm, score_samples": rbm.score_samples(X),
        "skrbm, sum of cells": np.nansum(cells, axis=1),
        "skrbm, lowest cell": np.nanmin(cells, axis=1),
        "skrbm, relative=False": np.nansum(rbm.score_cells(X, relative=False), axis=1),
    }


def of_foreign_cells(frame, seed):
    """Return areas under ROC curves by detector, and which shares of cells are named."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(frame))
    train, test = (frame.iloc[part] for part in np.split(order, [int(0.7 * len(order))]))
    numbers = train.drop(columns=discrete(train))
    scaling = numbers.mean(), numbers.std().replace(0, 1)
    test, places = with_foreign_cells(test.reset_index(drop=True), numbers.std(), rng)
    rbm = MixedRBMEstimator(random_state=seed).fit(train)
    forest = IsolationForest(random_state=seed).fit(as_features(train, scaling))
    rows = row_scores(rbm, test)
    rows["IsolationForest"] = forest.score_samples(as_features(test, scaling))
    foreign = places >= 0
    areas = {name: roc_auc_score(foreign, -values) for name, values in rows.items()}
    named = {}
    for name, relative in (("lowest cell", True), ("relative=False", False)):
        cells = rbm.score_cells(test[foreign], relative=relative)
        lowest = np.nanargmin(cells, axis=1)
        named[f"skrbm, {name}"] = (lowest == places[foreign]).mean()
    return areas, named


def of_breast_cancer(seed):
    """Return areas under ROC curves by detector, and nothing."""
    X, benign = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(benign))
    train, test = np.array_split(order, 2)
    malignant = np.flatnonzero(benign == 0)
    X_test = X[np.append(test, malignant)]
    rbm = GaussianRBMEstimator(random_state=seed).fit(X[train])
    rows = row_scores(rbm, X_test)
    rows["IsolationForest"] = (
        IsolationForest(random_state=seed).fit(X[train]).score_samples(X_test)
    )
    labels = np.repeat([0, 1], [len(test), len(malignant)])
    return {name: roc_auc_score(labels, -values) for name, values in rows.items()}, {}


def anomalies(data, quick):
    columns = "AUC", "deviation", "named", "by chance"
    lines = Lines("anomalies", "Anomalies: rows and cells", columns, 3)
    n_splits = 1 if quick else 5
    cases = {}
    for path in sorted((data / "tables").glob("*.csv.gz")):
        table = path.name.removesuffix(".csv.gz")
        frame, _, _ = read_table(data, table)
        name = f"{table}, {len(frame)} x {frame.shape[1]}"
        cases[name] = functools.partial(of_foreign_cells, frame), 1 / frame.shape[1]
    cases["breast cancer, 569 x 30"] = of_breast_cancer, None
    for name, (run, chance) in cases.items():
        areas, named = map(pd.DataFrame, zip(*map(run, range(n_splits)), strict=True))
        for detector, values in areas.items():
            share = named[detector].mean() if detector in named else None
            lines.add(
                *(values.mean(), values.std(ddof=0), share),
                chance if share is not None else None,
                data=name,
                detector=detector,
            )


# The tables and the archives they need.
TABLES = {
    "networks": (networks, ["networks"]),
    "letters": (letters, [f"debd/{name}.npz" for name in PUBLISHED]),
    "tables": (tables, ["tables"]),
    "survey": (survey, ["bfi.csv.gz"]),
    "gaps": (missing_bits, []),
    "anomalies": (anomalies, ["tables"]),
}
