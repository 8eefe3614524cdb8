"""The manifest of a records folder: what columns mean, how rows were split, and where each byte lies."""

import hashlib
import json
import operator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from kep.core.errors import UserError
from kep.core.files import write_file

ROLES = ("train", "validation", "test")
VERSION = 3
"""Version of what is written. Version 1 has no `edges` and `counts`, 2 no identities; they are read all the same."""
FILE = "manifest.json"
ID, SAME, GROUP, WEIGHT = "__id__", "__same__", "__group__", "__weight__"
"""Feature keys of a row's identity, of a hash of its features, of what it was split by, and of its weight."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


HASH = "hash "
"""Begin of the part of a hashed text."""


def _is_none(value: object) -> bool:
    return value is None


class Reading(_Model):
    """How the texts of a column are read, at ingest and at prediction."""

    missing: list[str] | None = Field(default=None, exclude_if=_is_none)
    """Texts that mean a missing value, besides the empty one; None for `kep.data.values.MISSING_TEXTS`."""
    form: str | None = Field(default=None, exclude_if=_is_none)
    """One of `kep.data.values.NUMBER_FORMS` or of `kep.data.dates.DATE_FORMS`; None for plain numbers and for texts."""
    unit: str = Field(default="", exclude_if=operator.not_)
    """Unit of each number, such as € or %."""

    def __str__(self) -> str:
        """Describe it for people."""
        forms = {"point": "1,234.5", "comma": "1.234,5", "iso": "2024-01-31"}
        parts = [forms.get(self.form or "", self.form or ""), self.unit]
        return " ".join(part for part in parts if part)


USUAL = Reading()


class Column(_Model):
    """A feature column; its statistics come from train rows alone."""

    name: str
    kind: Literal["numeric", "categorical", "boolean", "image", "date", "text"]
    """Records hold numbers of a date (`kep.data.dates`) or a text (`kep.data.texts`), each a numeric column; `date` and
    `text` are the columns that they come from."""
    reading: Reading = Field(default=USUAL, exclude_if=USUAL.__eq__)
    of: str | None = Field(default=None, exclude_if=_is_none)
    """Name of the column of dates or texts that this is a number of."""
    part: str | None = Field(default=None, exclude_if=_is_none)
    """Part of the column: one of `kep.data.dates.PARTS`, or the index of a hash."""
    offset: float = Field(default=0.0, exclude_if=operator.not_)
    """Numeric: records hold the value minus it, and so do `mean`, `edges`: 32-bit floats tell such values apart."""
    missing: int = 0
    """Train rows without a value."""
    mean: float | list[float] | None = None
    """Over train rows that have a value; per channel for an image."""
    std: float | list[float] | None = None
    """Population standard deviation over the same rows; 0 where all of them are equal."""
    vocabulary: list[str] | None = None
    """Categorical: code 0 is missing, 1 is any other value, 2 + i is vocabulary[i]."""
    shape: tuple[int, int, int] | None = None
    """Image: height, width, channels."""
    edges: list[float] | None = None
    """Numeric and boolean: where the bins of the train rows' values end; of an image, of its mean over all pixels."""
    counts: list[int] | None = None
    """Train rows in each bin, up to and including its edge and the last one beyond all edges; categorical: of each
    code. None in a manifest of version 1."""

    @property
    def statistics(self) -> tuple[float, float]:
        """Mean and standard deviation of a numeric or boolean column.

        Raises:
            ValueError: The column is of another kind, or its statistics are not known yet.
        """
        if isinstance(self.mean, float) and isinstance(self.std, float):
            return self.mean, self.std
        raise ValueError(f'column "{self.name}" has no mean and standard deviation')


def inputs(columns: list[Column]) -> list[Column]:
    """Return the columns as a source or a request has them: a date or a text as one, not as its numbers."""
    found: dict[str, Column] = {}
    for column in columns:
        if column.of is None:
            found[column.name] = column
        else:
            kind: Literal["date", "text"] = "text" if (column.part or "").startswith(HASH) else "date"
            whole = Column(name=column.of, kind=kind, reading=column.reading, missing=column.missing)
            found.setdefault(column.of, whole)
    return list(found.values())


def decided(probabilities: np.ndarray, threshold: float | None) -> np.ndarray:
    """Return the index of the predicted class, int [n].

    Args:
        probabilities: Shape [n, classes].
        threshold: Probability of class 1 of two from which it is predicted; None for the most probable class.
    """
    given: np.ndarray = probabilities.argmax(axis=1) if threshold is None else probabilities[:, 1] >= threshold
    return given.astype(np.int64, copy=False)


class Label(_Model):
    """The column that is predicted."""

    name: str
    reading: Reading = Field(default=USUAL, exclude_if=USUAL.__eq__)
    task: Literal["binary", "multiclass", "regression"]
    classes: list[bool | int | str] | None = None
    """Sorted, unless the run file names a positive class: index 1 is that of a binary label. None for regression."""
    offset: float = Field(default=0.0, exclude_if=operator.not_)
    """For regression: records, stored predictions, `mean` and `edges` are the label minus it, as of a column."""
    mean: float | None = None
    std: float | None = None
    """Of the train rows, for regression."""
    low: float | None = Field(default=None, exclude_if=_is_none)
    high: float | None = Field(default=None, exclude_if=_is_none)
    """Lowest and highest label of the train rows, for regression; None in the manifest of an earlier version."""
    edges: list[float] | None = None
    counts: list[int] | None = None
    """Bins of the train rows' labels as those of a column, for regression."""
    threshold: float | None = Field(default=None, exclude_if=_is_none)
    """Probability of the positive class from which an ensemble predicts it; None for the most probable class, and in
    the manifest of records."""

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        """Return the index of the predicted class, int [n], of probabilities [n, classes]."""
        return decided(predictions, self.threshold)

    def threshold_of(self, other: "Label") -> float | None:
        """Return the threshold for the positive class of a label with the same two classes, in any order."""
        return self.threshold if self.threshold is None or self.classes == other.classes else 1 - self.threshold

    @property
    def sorted_classes(self) -> list[bool | int | str] | None:
        """The classes in an order that does not depend on which is the positive one."""
        return None if self.classes is None else sorted(self.classes, key=str)

    def restored(self, predictions: np.ndarray) -> np.ndarray:
        """Return predictions as the source has its labels, float64 where they are numbers with an offset."""
        return predictions.astype(np.float64) + self.offset if self.offset else predictions

    @property
    def class_count(self) -> int:
        """Number of classes; 0 for a regression."""
        return len(self.classes or [])


class Shard(_Model):
    """One TFRecord file."""

    file: str
    rows: int
    bytes: int
    crc32c: int
    """CRC32C of the whole file."""


class RoleInfo(_Model):
    """The rows of one role."""

    rows: int
    class_counts: list[int]
    """Rows per class in the order of Label.classes; empty for regression."""
    shards: list[Shard]
    fingerprint: str
    """sha256 over the sha256 of each shard's rows, which is over the id and the CRC32C of each row in order."""


class SplitInfo(_Model):
    """How rows got their roles."""

    rule: str
    seed: int
    columns: list[str] = []
    validation: float
    test: float


class Identity(_Model):
    """Columns that identify a row, whatever its features are."""

    by: Literal["id", "row"]
    """The column of `data.id`, or all columns of the source."""
    columns: list[str]
    """Names of these columns, sorted; an image's with its shape."""


class Weighting(_Model):
    """How much rows count: `data.weight`."""

    column: str | None
    """Column of the source; None where each class counts the same."""
    mean: float | None = None
    """Mean of the column over the train rows; a row's weight is its value divided by it."""
    by_class: list[float] | None = None
    """Weight of the rows of each class, where each class counts the same."""
    shares: list[float] = []
    """Shares of the classes among the train rows, by weight; empty for a regression."""
    label_mean: float | None = None
    """Mean label of the train rows, by weight, for a regression."""


class Slot(_Model):
    """Where a feature's value lies in a serialised row."""

    offset: int
    bytes: int


class RecordLayout(_Model):
    """All rows have one serialised length, so a shard is a matrix of 12 + length + 4 bytes a row."""

    length: int
    slots: dict[str, Slot]
    """By feature key: the columns, the label's name, the row's id, and its group where rows were split by one."""


_FOR_PEOPLE = ("fingerprint", "source", "ignored", "duplicates", "dropped", "hints")


def _fingerprint(content: dict[str, Any]) -> str:
    """sha256 over everything in a manifest that a reader of rows depends on.

    Since version 3 without the shards of test rows, which most readers do not see; the role's own fingerprint is of
    their content.
    """
    kept = {name: value for name, value in content.items() if name not in _FOR_PEOPLE}
    if content["version"] >= 3:
        test = {name: value for name, value in content["roles"]["test"].items() if name in ("rows", "fingerprint")}
        kept["roles"] = content["roles"] | {"test": test}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


class Manifest(_Model):
    """Everything a reader of the records needs to know."""

    version: int = VERSION
    columns: list[Column]
    label: Label
    roles: dict[str, RoleInfo]
    split: SplitInfo
    fingerprint: str
    """sha256 over columns, label, roles, split, layout and identity: equal fingerprints are equal records."""
    source: str
    """Description of where the rows came from, for people."""
    ignored: list[str] = []
    """Columns of the source that are neither features nor the label."""
    duplicates: int = 0
    """Rows whose features occur more than once in the source."""
    dropped: dict[str, int] = {}
    """By role, rows left out because their features occur in a later role."""
    hints: list[str] = Field(default=[], exclude_if=operator.not_)
    """Hints about misleading data, with what to do, one sentence each."""
    record: RecordLayout
    weighting: Weighting | None = Field(default=None, exclude_if=operator.not_)
    """How much rows count; None where all count the same."""
    identity: Identity | None = None
    """Source of the rows' ids; None in a manifest of version 1 or 2, where they are hashes of the features."""

    @property
    def inputs(self) -> list[Column]:
        """The columns that predictions are made from, as a source has them."""
        return inputs(self.columns)

    @property
    def numeric(self) -> list[Column]:
        """Numeric and boolean columns, in the order of Rows.numeric."""
        return [column for column in self.columns if column.kind in ("numeric", "boolean")]

    @property
    def categorical(self) -> list[Column]:
        """Categorical columns, in the order of Rows.categorical."""
        return [column for column in self.columns if column.kind == "categorical"]

    @property
    def image(self) -> Column | None:
        """The image column, if there is one."""
        return next((column for column in self.columns if column.kind == "image"), None)

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Height, width and channels of the image column, if there is one."""
        return None if self.image is None else self.image.shape

    @property
    def sealed(self) -> "Manifest":
        """The manifest for those who may not see test rows: without their shards and what is in them.

        Without hints too, since one of them counts test rows.
        """
        test = self.roles["test"].model_copy(update={"shards": [], "class_counts": []})
        return self.model_copy(update={"roles": self.roles | {"test": test}, "hints": []})

    def with_fingerprint(self) -> "Manifest":
        """The manifest of this version with the fingerprint of its content."""
        own = self.model_copy(update={"version": VERSION})
        content = json.loads(own.model_dump_json())
        return own.model_copy(update={"fingerprint": _fingerprint(content)})

    @classmethod
    def load(cls, folder: str | Path) -> "Manifest":
        """Reads `folder`/manifest.json.

        Raises:
            UserError: there is none, it is not of this version's form, or not what ingest wrote.
        """
        path = Path(folder) / FILE
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"records: {path} cannot be read ({error.strerror}); run ingest first") from error
        try:
            manifest = cls.model_validate_json(text)
        except ValueError as error:
            raise UserError(f"records: {path} is not a manifest that ingest wrote; run ingest again") from error
        if not 1 <= manifest.version <= VERSION:
            raise UserError(
                f"records: {path} has version {manifest.version}, this code reads up to {VERSION}; run ingest again"
            )
        if manifest.fingerprint != _fingerprint(json.loads(text)):
            raise UserError(
                f"records: {path} was changed after ingest wrote it: its fingerprint is not that of its content; run "
                "ingest again, or restore the file"
            )
        return manifest

    def save(self, folder: str | Path) -> None:
        """Writes `folder`/manifest.json atomically."""
        text = self.model_dump_json(indent=1) + "\n"
        write_file(Path(folder) / FILE, lambda temporary: temporary.write_text(text, encoding="utf-8"))
