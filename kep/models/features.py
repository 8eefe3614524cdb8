"""The encoded features by name: what the inputs of a network may be called after, and what a build may know of them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from kep.data.schema import Manifest

PARAMETER = "features"
"""Name of the parameter that a function `build`, or the `__init__` of a HyperModel, gets `Features` by."""
GROUPS = ("numeric", "categorical", "image")


@dataclass(frozen=True)
class Feature:
    """Feature or group of features behind one name.

    Attributes:
        group: One of `GROUPS`.
        place: Place of the column in the group; None for all of it.
        shape: Shape of one row.
        codes: Largest number of codes of a column; 0 where the values are no codes.
        texts: Vocabulary of the column; None where the values are no codes of one column.
    """

    group: str
    place: int | None
    shape: tuple[int, ...]
    codes: int = 0
    texts: list[str] | None = None


class Features:
    """The features of the data at hand.

    A group and each of its columns can be asked for by name. A column that is called like a group can't.

    Args:
        manifest: Manifest of the data.

    Attributes:
        numeric: Names of the numeric columns, in the order of the group `numeric`.
        categorical: Number of codes of each categorical column, in the order of the group `categorical`.
        vocabularies: Texts of each categorical column; code 0 is missing, 1 any other text, 2 + i the text i.
        shapes: Shape of one row by name of group and column, for `keras.Input`.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.vocabularies = {column.name: list(column.vocabulary or []) for column in manifest.categorical}
        self.categorical = {name: len(texts) + 2 for name, texts in self.vocabularies.items()}
        self.numeric = [column.name for column in manifest.numeric]
        self.groups, self.columns = _groups(manifest, self.categorical), dict[str, Feature]()
        if manifest.image is not None:
            self.columns[manifest.image.name] = self.groups["image"]
        else:
            for place, name in enumerate(self.numeric):
                self.columns[name] = Feature("numeric", place, (1,))
            for place, (name, codes) in enumerate(self.categorical.items()):
                self.columns[name] = Feature("categorical", place, (1,), codes, self.vocabularies[name])
        self.shapes = {name: feature.shape for name, feature in (self.columns | self.groups).items()}

    def named(self, name: str) -> Feature | None:
        """Return what a name stands for; None where it is no name of a feature."""
        return self.groups.get(name, self.columns.get(name))

    def is_twofold(self, name: str) -> bool:
        """Return whether a name is that of a group and of another column."""
        return name in self.groups and self.columns.get(name, self.groups[name]) != self.groups[name]


def _groups(manifest: Manifest, categorical: Mapping[str, int]) -> dict[str, Feature]:
    if manifest.image_shape is not None:
        return {"image": Feature("image", None, manifest.image_shape)}
    groups = {}
    if manifest.numeric:
        width = sum(1 + bool(column.missing) for column in manifest.numeric)
        groups["numeric"] = Feature("numeric", None, (width,))
    if categorical:
        groups["categorical"] = Feature("categorical", None, (len(categorical),), max(categorical.values()))
    return groups


def asks(function: Callable[..., Any]) -> bool:
    """Return whether a function has a parameter `features`, without a default or with None."""
    one = inspect.signature(function).parameters.get(PARAMETER)
    return (
        one is not None
        and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        and one.default in (one.empty, None)
    )


def told(function: Callable[..., Any], features: Features) -> Callable[..., Any]:
    """Return a function of the hyperparameters alone, which tells a user's function the features if it asks."""
    return partial(function, **{PARAMETER: features}) if asks(function) else function
