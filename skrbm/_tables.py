"""Tables as coded rows, and back: types of columns, categories, groups of columns of bits.

A coded row has one value for each field: the code of a category or the value of a real
column, and NaN for a gap. A field is a column, or a group of columns of bits in which at
most one is on.
"""

import dataclasses
import functools
from typing import Any, NamedTuple, Self

import numpy as np

from skrbm import _frames, _groups, _inputs

TYPES = "binary", "categorical", "ordinal", "real", "infer"
# Names of dtypes of arrays, or how they begin, whose models are in single precision.
IN_SINGLE_PRECISION = "bool", "uint8", "float32", "str", "object"
# What to do if a parameter differs from that of the model to continue.
ADVICE_ON_CHANGES = (
    "Reset {} or, to train a new model, clone the estimator or call fit with "
    "warm_start=False."
)
# Values that errors list.
N_SHOWN = 5


@dataclasses.dataclass(eq=False)
class Feature:
    """What a column of a table holds.

    Attributes
    ----------
    type : {"binary", "categorical", "ordinal", "real"}
    categories : ndarray of shape (n_categories,) or None
        The values in the order of their codes. None if they are real.
    dtype : dict
        The dtype in which values are written, see `_frames.Column`.
    precision : str
        Name of the dtype that real values are read in.
    """

    type: str
    categories: Any
    dtype: dict
    precision: str = ""

    @property
    def is_bit(self) -> bool:
        """Whether the values are 0 and 1, or False and True."""
        values = self.categories
        return (
            self.type == "binary" and values.dtype.kind != "O" and (values == [0, 1]).all()
        )

    def read(self, column, where, ignored=None):
        """Return the codes or values of a `_frames.Column`, and its gaps or None.

        Unknown values are gaps in the rows that are `ignored`, if given.
        """
        n_rows = len(column.values if column.codes is None else column.codes)
        if column.gaps is not None and column.gaps.all():
            return np.zeros(n_rows, self._dtype), column.gaps
        if self.type == "real":
            return self._numbers(column, where), column.gaps
        codes = _places(column.values, self.categories)
        if column.codes is not None:
            codes = codes[column.codes]
        unknown, gaps = codes < 0, column.gaps
        if ignored is not None and (unknown & ignored).any():
            gaps = unknown & ignored if gaps is None else gaps | (unknown & ignored)
        if gaps is not None:
            unknown &= ~gaps
            codes[gaps] = 0
        if unknown.any():
            cells = column.values if column.codes is None else column.values[column.codes]
            raise ValueError(
                f"{where} has values that it did not have in training: "
                f"{_listed(np.unique(cells[unknown]))}. Those known are "
                f"{_listed(self.categories)}. Replace the others by missing values (NaN or "
                f"None), or {self._advice}."
            )
        return codes.astype(self._dtype), gaps

    @property
    def _advice(self):
        """What to do in training so that later values are known."""
        advice = "train on a column with a categorical dtype that declares them"
        if self.categories.dtype.kind in "iuf":
            advice += ", or with real as its type in feature_types"
        return advice

    @property
    def _dtype(self):
        if self.type == "real":
            return np.dtype(self.precision)
        return np.min_scalar_type(len(self.categories) - 1)

    def _numbers(self, column, where):
        values = column.values
        if values.dtype.kind == "O":
            raise ValueError(
                f"{where} is real, but has values that are not numbers, such as "
                f"{values[0]!r}. Convert them to numbers, or fit with the column declared "
                "as categorical in feature_types."
            )
        with np.errstate(over="ignore"):
            values = values.astype(self._dtype)
        if np.isinf(values).any():
            raise ValueError(
                f"{where} contains infinity or a value too large for {self._dtype!r}."
            )
        return values if column.codes is None else values[column.codes]

    def write(self, cells):
        """Return a column of coded rows in the form that `_frames.write_frame` takes."""
        if self.type == "real":
            return cells, None, self.dtype
        if cells.dtype.kind == "f":
            cells = np.where(np.isnan(cells), -1, np.rint(cells))
        return self.categories, cells.astype(np.intp), self.dtype


class Field(NamedTuple):
    """What a column of coded rows stands for.

    Attributes
    ----------
    columns : list of int
        Indices of the columns of the table: one, or those of a group.
    type : {"binary", "categorical", "ordinal", "real"}
    categories : ndarray of shape (n_categories,) or None
        The values in the order of their codes. Those of a group are the labels of its
        columns, or else their indices, and None, the last one, where all may be off. None
        if the values are real.
    """

    columns: list[int]
    type: str
    categories: Any

    @property
    def is_group(self) -> bool:
        return len(self.columns) > 1

    @property
    def may_be_off(self) -> bool:
        """Whether all columns of a group may be off."""
        return self.categories[-1] is None


@dataclasses.dataclass(eq=False)
class Table:
    """The columns of a table, learned from training data.

    Attributes
    ----------
    owner : str
        Name of the class of the estimator, for errors.
    container : {"array", "pandas", "polars"}
    labels : list or None
        Labels of the columns of a data frame. Those of an array are referred to by index.
    levels : list
        Names of the levels of the columns of a frame of pandas.
    names : list of str or None
        The same if they are strings.
    features : list of Feature
        One for each column of the table.
    groups : list of (list of int, bool)
        Columns of each group, and whether all of them may be off.
    dtype : str
        Name of the dtype of an array.
    declared : list of str
        Type of each column as declared, or "infer".
    automatic : bool
        Whether the groups were found, and not declared.
    """

    owner: str
    container: str
    labels: list | None
    levels: list
    names: list[str] | None
    features: list[Feature]
    groups: list[tuple[list[int], bool]]
    dtype: str
    declared: list[str]
    automatic: bool

    @classmethod
    def learn(
        cls,
        X,
        *,
        feature_types="infer",
        groups=None,
        owner="Table",
        by_dtypes=False,
        ignored=None,
    ) -> Self:
        """Return the table of training data.

        Parameters
        ----------
        X : data frame, array-like or CSR array of shape (n_samples, n_features)
            Numbers, booleans, strings and categories. NaN, None and NA are gaps.
        feature_types : "infer", dict or list, default="infer"
            Types of all columns, or of some of them by their labels or, in an array, their
            indices. The others are inferred.
        groups : None, "auto" or list of lists, default=None
            Columns of bits in which at most one is on in each row, by labels or indices as
            well. If "auto", they are those of `exclusive_groups`.
        owner : str, default="Table"
            Name of the class of the estimator, for errors.
        by_dtypes : bool, default=False
            Whether the rows are elsewhere, and `X`, without any, has their dtypes. Numbers
            are inferred to be real. All columns of a group may be off until `settle`.
        ignored : ndarray of bool of shape (n_samples,), default=None
            Rows that nothing is learned from.

        Returns
        -------
        table : Table
        """
        container, source = _frames.container_of(X), _inputs.stand_in(owner)
        X = _inputs.check_table(X, source, reset=True, min_samples=0 if by_dtypes else 1)
        names = getattr(source, "feature_names_in_", None)
        table = cls(
            owner=owner,
            container=container,
            labels=None if container == "array" else list(X.columns),
            levels=_frames.levels_of(X),
            names=None if names is None else names.tolist(),
            features=[],
            groups=[],
            dtype=X.dtype.name if container == "array" else "",
            declared=[],
            automatic=isinstance(groups, str),
        )
        types = table.declared = table._declared(feature_types, X.shape[1])
        where = functools.partial(table._where, name="X")
        bits = {}
        for place, column in enumerate(_frames.read_columns(X, where)):
            if by_dtypes:
                column = _with_all_values(column, types[place], where(place))
            if ignored is not None:
                column = column.select(~ignored)
            feature = _learn(column, container, types[place], where(place))
            table.features.append(feature)
            if groups is not None and feature.is_bit:
                bits[place] = feature.read(column, where(place))
        if groups is not None and by_dtypes:
            if isinstance(groups, str):
                raise ValueError(
                    f"groups={groups!r} needs all rows in memory. Pass lists of columns, "
                    "for example those that skrbm.exclusive_groups finds in some rows."
                )
            table.groups = [(columns, True) for columns in table._checked(groups, bits)]
        elif groups is not None:
            n_rows = X.shape[0] if ignored is None else np.count_nonzero(~ignored)
            table._learn_groups(groups, bits, n_rows)
        return table

    def _declared(self, feature_types, n_features):
        """Return the type of each column as declared, or "infer"."""
        types = ["infer"] * n_features
        if isinstance(feature_types, str):
            if feature_types != "infer":
                raise ValueError(
                    'feature_types must be "infer", a list with the type of each column, '
                    f"or a dict from columns to types, but got {feature_types!r}."
                )
        elif isinstance(feature_types, dict):
            places = _inputs.Places(n_features, self.labels)
            for column, given in feature_types.items():
                types[places.find(column, "feature_types")] = given
        else:
            types = np.asarray(feature_types, dtype=object).tolist()
            if len(types) != n_features:
                raise ValueError(
                    f"feature_types has {len(types)} types, but X has {n_features} columns."
                )
        for place, given in enumerate(types):
            if given not in TYPES:
                raise ValueError(
                    f"Types of columns must be one of {', '.join(map(repr, TYPES))}, but "
                    f"feature_types has {given!r} for column {self._label(place)!r}."
                )
        return types

    def check_declared(self, feature_types, groups):
        """Raise an error if these declare other types or groups than those learned."""
        given = self._declared(feature_types, self.n_features)
        trained = zip(given, self.declared, self._types, strict=True)
        changed = [i for i, (new, *old) in enumerate(trained) if new not in old]
        if changed:
            place, advice = changed[0], ADVICE_ON_CHANGES.format("feature_types")
            raise ValueError(
                f"feature_types has {given[place]!r} for column {self._label(place)!r}, "
                "but the model to continue was trained with "
                f"{self.declared[place]!r}. {advice}"
            )
        if isinstance(groups, str):
            same = self.automatic
        else:
            columns = [] if groups is None else list(self._checked(groups, self._bits))
            same = columns == [columns for columns, _ in self.groups]
        if not same:
            raise ValueError(
                "groups has changed since the model to continue was trained, whose groups "
                f"are {[[self._label(i) for i in columns] for columns, _ in self.groups]}. "
                f"{ADVICE_ON_CHANGES.format('groups')}"
            )

    @property
    def _bits(self):
        """Indices of columns that can be in groups."""
        return [place for place, feature in enumerate(self.features) if feature.is_bit]

    def _learn_groups(self, groups, bits, n_rows):
        """Learn the groups, given the values and gaps of the columns of bits by index."""
        if isinstance(groups, str):
            if groups != "auto":
                raise ValueError(
                    f'groups must be None, "auto" or a list of lists, but got {groups!r}.'
                )
            places = list(bits)
            found = _groups.find(*_groups.stacked(bits.values(), n_rows))
            groups = [[self._label(places[column]) for column in group] for group in found]
        for columns in self._checked(groups, bits):
            states = _states([bits[column] for column in columns], True)
            self.groups.append((columns, bool((states.codes == len(columns)).any())))

    def _checked(self, groups, bits):
        """Yield the columns of each group, after checking that they are among the bits."""
        taken, places = set(), self.places
        for group in groups:
            if isinstance(group, str) or not hasattr(group, "__len__"):
                raise ValueError(
                    "groups must be a list of lists of columns, but in place of a list it "
                    f"has {group!r}."
                )
            columns = [places.find(each, "groups") for each in group]
            described = _listed([self._label(column) for column in columns])
            if len(columns) < 2:
                raise ValueError(
                    f"A group must have at least two columns, but one has {described}."
                )
            for column in columns:
                where = self._where(column, "X")
                if column in taken:
                    raise ValueError(
                        f"{where} is in more than one group, or twice in one. Each column "
                        "may be in a single one."
                    )
                if column not in bits:
                    raise ValueError(
                        f"{where}, in the group of {described}, is not binary with values "
                        "0 and 1 or False and True, as columns of groups must be."
                    )
                taken.add(column)
            yield columns

    def settle(self, highest):
        """Learn from the highest code of each field whether all of a group may be off."""
        pairs = zip(self.fields, highest, strict=True)
        highest_of = {field.columns[0]: code for field, code in pairs}
        self.groups = [
            (columns, bool(highest_of[columns[0]] == len(columns)))
            for columns, _ in self.groups
        ]
        del self.fields  # they are computed again

    # Reading and writing --------------------------------------------------------------

    def read(
        self, X, name="X", *, impossible="error", min_samples=1, ignored=None, targets=()
    ):
        """Return coded rows.

        Parameters
        ----------
        X : data frame, array-like or CSR array of shape (n_samples, n_features)
            Rows with the columns of the training data.
        name : str, default="X"
            What the user calls the rows.
        impossible : {"error", "mark"}, default="error"
            Whether a row with a state of a group that is impossible, because more than one
            column is on, or none although in training one always was, is an error.
        min_samples : int, default=1
            Least number of rows.
        ignored : ndarray of bool of shape (n_samples,), default=None
            Rows in which unknown values and impossible states are gaps.
        targets : collection of int, default=()
            Columns of coded rows in which they are gaps in all rows.

        Returns
        -------
        coded : ndarray of shape (n_samples, n_fields)
            Codes, real values, and NaN for gaps. A group is a gap if all of its columns are
            missing. If only some are, the others must tell its state. The dtype is uint8,
            if there is no gap, no real value and no field of more than 256 categories.
            Otherwise it is that of models, or float64 if a real column needs it.
        marked : ndarray of bool of shape (n_samples,)
            Whether rows are impossible. Only returned if `impossible` is "mark". The codes
            of the groups concerned have no meaning.
        """
        cells, n_rows = self._cells(X, name, min_samples, ignored, targets)
        marked = np.zeros(n_rows, dtype=bool)
        fields = []
        for number, field in enumerate(self.fields):
            if not field.is_group:
                fields.append(cells[field.columns[0]])
                continue
            states = _states([cells[column] for column in field.columns], field.may_be_off)
            if number in targets:
                states = states.without(np.ones(n_rows, dtype=bool))
            elif ignored is not None:
                states = states.without(ignored)
            self._refuse_open(field.columns, states, name)
            if impossible == "error":
                self._refuse(field.columns, states, name)
            marked |= states.twice | states.never
            fields.append((states.codes, states.gaps))
        coded = self._assembled(fields, n_rows)
        return (coded, marked) if impossible == "mark" else coded

    def _cells(self, X, name, min_samples, ignored, targets):
        """Return the values and gaps of each column, and the number of rows."""
        if self.names is None and self.labels is not None:
            _inputs.check_labels(X, self.labels, name)
        source = _inputs.stand_in(self.owner)
        source.n_features_in_ = self.n_features
        if self.names is not None:
            source.feature_names_in_ = np.array(self.names, dtype=object)
        X = _inputs.check_table(X, source, reset=False, name=name, min_samples=min_samples)
        where = functools.partial(self._where, name=name)
        lenient = {column for number in targets for column in self.fields[number].columns}
        all_rows = np.ones(X.shape[0], dtype=bool)
        cells = [
            feature.read(column, where(place), all_rows if place in lenient else ignored)
            for place, (feature, column) in enumerate(
                zip(self.features, _frames.read_columns(X, where), strict=True)
            )
        ]
        return cells, X.shape[0]

    def _assembled(self, fields, n_rows):
        """Return coded rows, given the values and gaps of each field."""
        real = [feature._dtype for feature in self.features if feature.type == "real"]
        bytes_do = all(values.dtype == np.uint8 and gaps is None for values, gaps in fields)
        dtype = np.uint8 if bytes_do and not real else np.result_type(self.precision, *real)
        coded = np.empty((n_rows, len(fields)), dtype)
        for place, (values, gaps) in enumerate(fields):
            coded[:, place] = values
            if gaps is not None:
                coded[gaps, place] = np.nan
        return coded

    def _refuse(self, columns, states, name):
        """Raise an error for the first row with an impossible state of a group."""
        described = _listed([self._label(column) for column in columns])
        if states.twice.any():
            row = states.twice.argmax()
            on = _listed([self._label(columns[k]) for k in np.flatnonzero(states.on[row])])
            raise ValueError(
                f"Row {row} of {name} has the columns {on} on, although at most one may be "
                f"on in the group of {described}. Correct the row, or leave these columns "
                "out of the groups."
            )
        if states.never.any():
            raise ValueError(
                f"Row {states.never.argmax()} of {name} has none of the columns "
                f"{described} on, although one of them was on in all rows in training."
            )

    def _refuse_open(self, columns, states, name):
        """Raise an error for the first row with a group that is known in part only."""
        if states.open is None or not states.open.any():
            return
        row = states.open.argmax()
        missing = [self._label(columns[k]) for k in np.flatnonzero(~states.observed[row])]
        raise ValueError(
            f"Row {row} of {name} has missing values of {_listed(missing)}, so that it is "
            "not known which column is on in the group of "
            f"{_listed([self._label(column) for column in columns])}. Set all columns of "
            "the group to missing, or none, or leave these columns out of the groups."
        )

    def write(self, coded, index=None):
        """Return coded rows as a table like that of the training data.

        Parameters
        ----------
        coded : ndarray of shape (n_samples, n_fields)
            As from `read`. Binary columns may have probabilities of a 1. These are what is
            written in an array of numbers 0 and 1, and otherwise the more probable value.
        index : pandas.Index, default=None
            Index of a frame of pandas.

        Returns
        -------
        X : data frame or ndarray of shape (n_samples, n_features)
            Its columns have the dtypes of the training data, except that real values are
            floating. An array has its dtype, or that of objects if it holds strings, or a
            floating one if it could not hold missing or real values.
        """
        columns: list = [None] * self.n_features
        dtype = np.dtype("O" if self.dtype.startswith("str") else self.dtype or None)
        numeric = self.container == "array" and dtype.kind in "biuf"
        for field, cells in zip(self.fields, coded.T, strict=True):
            for place, column in enumerate(field.columns):
                bits = cells if not field.is_group else _bits_of(cells, place)
                feature = self.features[column]
                if numeric and feature.is_bit and _are_fractions(bits):
                    columns[column] = bits, None, feature.dtype
                else:
                    columns[column] = feature.write(bits)
        if self.container != "array":
            names = self.labels, self.levels
            return _frames.write_frame(self.container, *names, columns, index)
        complete = all(codes is not None and codes.min() >= 0 for _, codes, _ in columns)
        if dtype.kind in "biu" and not complete:
            dtype = np.result_type(np.float32, dtype)
        X = np.empty((len(coded), self.n_features), dtype)
        for place, (values, codes, _) in enumerate(columns):
            X[:, place] = values if codes is None else values[codes]
            if codes is not None and codes.min() < 0:
                X[codes < 0, place] = np.nan
        return X

    def probabilities(self, of_fields):
        """Return the probabilities of the categories of columns, given those of fields.

        Both are dicts from indices to arrays of shape (n_samples, n_categories). What is
        given for a real column is returned as it is.
        """
        result = {}
        for number, p in of_fields.items():
            field = self.fields[number]
            for place, column in enumerate(field.columns):
                result[column] = p
                if field.is_group:
                    on = p[:, place]
                    result[column] = np.stack([1 - on, on], axis=1)
        return result

    def divide(self, values, coded):
        """Return values of columns, given those of fields, which are the sums of theirs.

        The column that is on in a group gets the value of the group, and the others get 0.
        If none is on, the value is divided among them.
        """
        of_columns = np.empty((len(coded), self.n_features))
        for field, value, codes in zip(self.fields, values.T, coded.T, strict=True):
            n_columns = len(field.columns)
            on = codes[:, None] == np.arange(n_columns)
            parts = np.where(on.any(axis=1, keepdims=True), on, 1 / n_columns)
            of_columns[:, field.columns] = value[:, None] * (parts if field.is_group else 1)
        return of_columns

    def fields_of(self, columns) -> list[int]:
        """Return the number of the field of each of these columns."""
        number_of = {c: n for n, field in enumerate(self.fields) for c in field.columns}
        return [number_of[column] for column in columns]

    # What was learned -----------------------------------------------------------------

    @property
    def n_features(self) -> int:
        """Number of columns of the table."""
        return len(self.features)

    @property
    def places(self):
        """The `Places` of the columns."""
        return _inputs.Places(self.n_features, self.labels)

    @functools.cached_property
    def fields(self) -> list[Field]:
        """What the columns of coded rows stand for, in the order of first columns."""
        fields = [
            Field([place], feature.type, feature.categories)
            for place, feature in enumerate(self.features)
        ]
        for columns, may_be_off in self.groups:
            states = [self._label(column) for column in columns] + [None] * may_be_off
            categories = np.fromiter(states, object, len(states))  # labels may be tuples
            group = Field(columns, "categorical", categories)
            fields = [each for each in fields if each.columns[0] not in columns] + [group]
        return sorted(fields, key=lambda field: min(field.columns))

    @property
    def columns_of_fields(self) -> list:
        """Label of the column of each field, or the tuple of labels of a group."""
        labels = [tuple(map(self._label, field.columns)) for field in self.fields]
        return [label if len(label) > 1 else label[0] for label in labels]

    @property
    def _types(self):
        return [feature.type for feature in self.features]

    @property
    def precision(self):
        """The dtype of models, and of coded rows with gaps that need no wider one."""
        single = self.container != "array" or self.dtype.startswith(IN_SINGLE_PRECISION)
        return np.dtype(np.float32 if single else np.float64)

    @property
    def labels_of_groups(self):
        """Labels, or indices, of the columns of each group."""
        return [[self._label(column) for column in columns] for columns, _ in self.groups]

    @property
    def feature_types(self):
        """Types of the columns: a dict by name or, if they have no names, a list."""
        return self._by_name(self._types)

    @property
    def categories(self):
        """Categories of the columns, or None, in the same form."""
        return self._by_name([feature.categories for feature in self.features])

    def _by_name(self, values):
        return values if self.names is None else dict(zip(self.names, values, strict=True))

    def _label(self, place):
        return place if self.labels is None else self.labels[place]

    def _where(self, place, name):
        return f"Column {self._label(place)!r} of {name}"

    def to_plain(self) -> dict:
        """Return the table as a dict of arrays, strings, numbers, lists and dicts."""
        features = [dict(vars(feature)) for feature in self.features]
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names} | {"features": features}

    @classmethod
    def from_plain(cls, plain) -> Self:
        """Return the table of such a dict."""
        features = [Feature(**feature) for feature in plain["features"]]
        return cls(**plain | {"features": features})


# Columns ------------------------------------------------------------------------------


def _learn(column, container, declared, where):
    """Return the `Feature` of a column, given its declared type or "infer"."""
    if not len(column.observed()):
        raise ValueError(f"{where} has no observed value. Drop it.")
    bits = _are_bits(column)
    given = _inferred(column, bits) if declared == "infer" else declared
    if given == "real":
        numeric = column.values.dtype.kind != "O"
        precision = np.result_type(np.float32, column.values) if numeric else np.float64
        dtype = _frames.floating(container, column)
        feature = Feature(given, None, dtype, np.dtype(precision).name)
        feature.read(column, where)  # refuses what are not numbers
        return feature
    if given == "ordinal" and column.values.dtype.kind == "O" and not column.ordered:
        raise ValueError(
            f"{where} is declared as ordinal, but strings such as {column.values[0]!r} "
            "have no order. Convert it to an ordered categorical dtype, as by "
            "pandas.Categorical(..., categories=[...], ordered=True), or to numbers."
        )
    categories = column.distinct()
    if given == "binary" and bits:
        categories = np.array([0, 1], dtype=column.values.dtype)
    if given == "binary" and len(categories) != 2:
        raise ValueError(
            f"{where} is declared as binary, but its values are {_listed(categories)}. A "
            "binary column has two. Declare it as categorical, ordinal or real."
        )
    return Feature(given, categories, column.dtype)


def _with_all_values(column, declared, where):
    """Return a column with all values that the dtype of an empty one tells of.

    These are its categories, or 0 and 1 if it is boolean or declared as binary. Real values
    are represented by a few numbers.
    """
    kind = column.values.dtype.kind
    if column.declared:
        codes = np.arange(len(column.values))
        return dataclasses.replace(column, codes=codes, gaps=None)
    number = kind in "iuf" and column.dtype["name"] != "object"
    if kind == "b" or (number and declared == "binary"):
        values = np.arange(2)
    elif number and declared not in ("categorical", "ordinal"):
        values = np.arange(3)
    else:
        raise ValueError(
            f"The categories of {where[0].lower()}{where[1:]} must be known before blocks "
            "of rows are read. Call X.categorize(), a method of Dask data frames for their "
            "columns of strings, or those that you name; or use a categorical dtype."
        )
    return dataclasses.replace(column, values=values.astype(column.values.dtype))


def _are_bits(column):
    """Return whether all numbers of a column are 0 or 1, or they are booleans."""
    if column.declared or column.values.dtype.kind not in "biuf":
        return False
    return bool(np.isin(column.observed(), (0, 1)).all())


def _inferred(column, bits):
    """Return the type of a column that is not declared."""
    if column.codes is not None:
        if len(column.values) == 2:
            return "binary"
        return "ordinal" if column.ordered and len(column.values) > 1 else "categorical"
    return "binary" if bits else "real"


def _places(values, categories):
    """Return the places of values among the categories, or -1 where they are not there."""
    if values.dtype.kind == "O" or categories.dtype.kind == "O":
        places = {category: place for place, category in enumerate(categories)}
        if values.dtype != categories.dtype:  # numbers are no strings
            places = {}
        return np.array([places.get(value, -1) for value in values], dtype=np.intp)
    if categories.dtype.kind == "f":
        values = values.astype(categories.dtype)
    order = np.argsort(categories)
    places = np.searchsorted(categories, values, sorter=order)
    places = order[np.minimum(places, len(categories) - 1)]
    return np.where(categories[places] == values, places, -1)


class States(NamedTuple):
    """States of a group in each row.

    Attributes
    ----------
    codes : ndarray of int
        The column that is on, or the number of columns if all are off.
    gaps : ndarray of bool or None
        Where missing values leave open which it is. None if nothing is missing.
    open : ndarray of bool or None
        Where this is so although some columns are observed.
    twice, never : ndarray of bool
        Where more than one is on, and where all are off, if they may not be.
    on, observed : ndarray of bool of shape (n_samples, n_columns)
        Columns that are on, and those that are not missing, or None if none is.
    """

    codes: np.ndarray
    gaps: np.ndarray | None
    open: np.ndarray | None
    twice: np.ndarray
    never: np.ndarray
    on: np.ndarray
    observed: np.ndarray | None

    def without(self, rows):
        """Return the states with gaps where they are not possible or known in some rows."""
        wrong = self.twice | self.never
        wrong = rows & (wrong if self.open is None else wrong | self.open)
        if not wrong.any():
            return self
        return self._replace(
            gaps=wrong if self.gaps is None else self.gaps | wrong,
            open=None if self.open is None else self.open & ~wrong,
            twice=self.twice & ~wrong,
            never=self.never & ~wrong,
        )


def _states(cells, may_be_off):
    """Return the states of a group, given the values and gaps of its columns."""
    on, observed = _groups.stacked(cells, len(cells[0][0]))
    n_on, codes = on.sum(axis=1), on.argmax(axis=1)
    off, gaps, partly = n_on == 0, None, None
    if observed is not None:
        n_open = (~observed).sum(axis=1)
        codes = np.where(off, observed.argmin(axis=1), codes)
        gaps = off & (n_open + may_be_off > 1) & (n_open > 0)
        partly = gaps & (n_open < len(cells))
        off &= n_open == 0
    if may_be_off:
        codes[off] = len(cells)
    never = np.zeros_like(off) if may_be_off else off
    codes = codes.astype(np.min_scalar_type(len(cells) - 1 + may_be_off))
    return States(codes, gaps, partly, n_on > 1, never, on, observed)


def _bits_of(cells, place):
    """Return the column at a place in a group as a column of coded rows."""
    bits = (cells == place).astype(cells.dtype)
    if cells.dtype.kind == "f":
        bits[np.isnan(cells)] = np.nan
    return bits


def _are_fractions(cells):
    """Return whether probabilities are among the codes of a binary column."""
    if cells.dtype.kind != "f":
        return False
    known = cells[~np.isnan(cells)]
    return bool((known != np.rint(known)).any())


def _listed(values):
    """Return the first few of some values in words."""
    few = values[:N_SHOWN]
    few = map(repr, few.tolist() if isinstance(few, np.ndarray) else few)
    return ", ".join(few) + (", ..." if len(values) > N_SHOWN else "")
