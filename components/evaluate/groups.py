"""Columns of the source in encoded rows: the values that belong together when one column is changed."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kep.data.records import Rows
from kep.data.schema import Manifest

Predict = Callable[[Rows], np.ndarray]
"""Predictions of encoded rows: float [n, classes] or [n]."""


@dataclass(frozen=True)
class Group:
    """One column of the source, with all features that were made of it.

    A date is one group of its days, year, month and weekday; a text is one group of its hashed words; an image is one
    group of its pixels. Any other column is a group of one feature.

    Attributes:
        name: Name of the column in the source.
        kind: Kind of the column.
        numeric: Places in `Rows.numeric`.
        categorical: Places in `Rows.categorical`.
        image: Whether it is the image.
    """

    name: str
    kind: str
    numeric: tuple[int, ...] = ()
    categorical: tuple[int, ...] = ()
    image: bool = False

    @property
    def features(self) -> int:
        """Number of features; 1 for an image."""
        return len(self.numeric) + len(self.categorical) + self.image

    def given(self, rows: Rows, values: Rows) -> Rows:
        """Return rows that have this column's values of other rows.

        Args:
            rows: The rows.
            values: As many rows, whose values of the column are taken.
        """
        numeric, categorical = rows.numeric, rows.categorical
        if self.numeric:
            numeric = numeric.copy()
            numeric[:, self.numeric] = values.numeric[:, self.numeric]
        if self.categorical:
            categorical = categorical.copy()
            categorical[:, self.categorical] = values.categorical[:, self.categorical]
        return replace(
            rows, numeric=numeric, categorical=categorical, image=values.image if self.image else rows.image, same=None
        )


def groups(manifest: Manifest) -> list[Group]:
    """Return the columns of the source that are features, in its order."""
    numeric: dict[str, list[int]] = {}
    categorical: dict[str, list[int]] = {}
    for found, columns in ((numeric, manifest.numeric), (categorical, manifest.categorical)):
        for place, column in enumerate(columns):
            found.setdefault(column.of or column.name, []).append(place)
    return [
        Group(
            column.name,
            column.kind,
            tuple(numeric.get(column.name, ())),
            tuple(categorical.get(column.name, ())),
            column.kind == "image",
        )
        for column in manifest.inputs
    ]


def sample(rows: Rows, most: int, seed: int) -> np.ndarray:
    """Return places of at most so many rows that count, in order: those of weight 0 change nothing.

    Where no row counts, they are of all rows, whose figures are undefined all the same.
    """
    places = np.arange(len(rows))
    if rows.weights is not None and (rows.weights > 0).any():
        places = np.flatnonzero(rows.weights > 0)
    if len(places) <= most:
        return places
    return np.sort(np.random.default_rng(seed).choice(places, most, replace=False))
