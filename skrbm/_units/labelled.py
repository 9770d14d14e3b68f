"""Units of labels in front of those of features, for models of rows and their labels."""

import functools

import numpy as np

from skrbm._units.base import Encoder
from skrbm._units.categorical import CategoricalUnits
from skrbm._units.mixed import MixedEncoder, MixedUnits


class LabelledUnits(MixedUnits):
    """Softmax units of labels, and units of any kind of the features of a row.

    Rows of the data have the codes of the labels in their first columns. Sparse rows, which
    are never encoded, have a column for each state of a label instead.
    """

    @classmethod
    def with_labels(cls, features, n_states):
        """Return units of labels with these numbers of states and of given features."""
        labels = CategoricalUnits.with_states(n_states, features.bias.dtype)
        parts, columns = [features], [np.arange(features.n_features)]
        if isinstance(features, MixedUnits):
            parts, columns = list(features.parts), list(features.columns)
        columns = [np.arange(len(n_states)), *(each + len(n_states) for each in columns)]
        return cls.of([labels, *parts], columns)

    @property
    def labels(self):
        return self.parts[0]

    @functools.cached_property
    def features(self):
        """The units of the features. Only use what is not trained."""
        parts, first = self.parts[1:], len(self.columns[0])
        if len(parts) == 1:
            return parts[0]
        return MixedUnits.of(parts, [columns - first for columns in self.columns[1:]])

    # What is left to the features -----------------------------------------------------
    # Ignored overrides: other kinds answer as classes, and these only as instances.

    @property
    def sparse(self):  # type: ignore[override]
        return self.features.sparse

    @property
    def rate_factor(self):  # type: ignore[override]
        return self.features.rate_factor

    @property
    def slow_by_variance(self):  # type: ignore[override]
        return self.features.slow_by_variance

    @functools.cached_property
    def decay_more(self):
        more = self.features.decay_more
        return None if more is None else np.append(np.zeros(len(self.labels), bool), more)

    def are_states(self, summary):  # type: ignore[override]
        """Return whether features with this summary are states."""
        return self.features.are_states(summary)

    def are_in_range(self, summary):  # type: ignore[override]
        return self.features.are_in_range(summary)

    def clip(self, v):  # type: ignore[override]
        return self.features.clip(v)

    def draw_states(self, values, rng):  # type: ignore[override]
        self.features.draw_states(values, rng)

    # Columns and rows -----------------------------------------------------------------

    @functools.cached_property
    def encoder(self):
        if self.features.encoder is not None:
            return MixedEncoder(self)
        return LabelEncoder(self.labels.encoder, self.features.n_features)

    # Learning -------------------------------------------------------------------------

    def first_weights(self, n_components, rng):
        """Return first weights as if the states of labels were columns of the features."""
        weights, bias, mean = self.features.first_weights(n_components, rng)
        of_labels, *_ = self.labels.first_weights(n_components, rng)
        of_labels *= np.sqrt(len(self.labels.sizes) / len(self.features))
        return np.concatenate([of_labels, weights]), bias, mean

    @classmethod
    def template(cls, rbm, dtype):
        return rbm._template(dtype)


class LabelEncoder(Encoder):
    """Encoder of codes of labels, followed by features that need none.

    Parameters
    ----------
    labels : Encoder
    n_features : int
    """

    def __init__(self, labels, n_features):
        self._labels, self._n_codes = labels, len(labels.sizes)
        self.n_encoded = labels.n_encoded + n_features
        self.feature_of = np.append(
            labels.feature_of, self._n_codes + np.arange(n_features)
        )

    def expand(self, values, out):
        codes, features = np.split(values, [self._n_codes], axis=1)
        self._labels.expand(codes, out[:, : self._labels.n_encoded])
        out[:, self._labels.n_encoded :] = features

    def compress(self, v):
        labels, features = np.split(v, [self._labels.n_encoded], axis=1)
        return np.hstack([self._labels.compress(labels), features])
