"""Reading records: the rows of a role for the steps that may see them, verified and counted."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from kep.core.errors import UserError, nearest
from kep.data import columns
from kep.data.data_frames import DataFrame, as_columns
from kep.data.ledger import LedgerLine
from kep.data.schema import ROLES, Column, Manifest
from kep.data.shards import AnyRows, Rows, StoredRows, check_memory, concat, decoded_bytes, fits, load_rows, store_rows

__all__ = ["READERS", "ROLES", "AnyRows", "Records", "Rows", "StoredRows", "concat", "encode_table"]

_Some = TypeVar("_Some", Rows, StoredRows)

READERS = {
    "tune": ("train", "validation"),
    "best_epoch": ("train", "validation"),
    "retrain": ("train", "validation"),
    "evaluate": ("test",),
    "export": ("train", "test"),
}
"""Roles that each step may read; any other step may read none. An export chooses nothing by test rows:
it says how far a file's predictions of them are from those that evaluate stored."""
MADE_UP = 32
"""Rows that `made_up` makes."""


_running: str | None = None
"""The step that this process executes."""


@contextmanager
def running(step: str) -> Iterator[None]:
    """Hold this process, and those that it forks, to what a step may read."""
    global _running
    before, _running = _running, step
    try:
        yield
    finally:
        _running = before


def check_reader(step: str) -> None:
    """Refuse to read as another step than the one that this process executes.

    Raises:
        UserError: This process executes another step.
    """
    if _running not in (None, step):
        raise UserError(f"records: this is {_running}, which may not read what {step} may")


def blank_row(manifest: Manifest) -> Rows:
    """One row of zeros, for shapes."""
    shape = manifest.image_shape
    return Rows(
        numeric=np.zeros((1, len(manifest.numeric)), np.float32),
        categorical=np.zeros((1, len(manifest.categorical)), np.int32),
        image=None if shape is None else np.zeros((1, *shape), np.uint8),
        labels=np.zeros(1, np.float32 if manifest.label.classes is None else np.int64),
        ids=np.zeros(1, np.uint64),
        weights=None if manifest.weighting is None else np.ones(1, np.float32),
    )


def made_up(manifest: Manifest) -> Rows:
    """`MADE_UP` rows of zeros, with labels of every class in turn: to try what trains on such rows."""
    rows = blank_row(manifest).take(np.zeros(MADE_UP, np.int64))
    classes = manifest.label.classes
    return rows if classes is None else replace(rows, labels=np.arange(MADE_UP) % len(classes))


class Records:
    """A records folder as one step may see it.

    Args:
        folder: holds manifest.json and the shards.
        step: the reading step, one of READERS.

    Raises:
        UserError: the step may read no rows, or there is no manifest.
    """

    def __init__(self, folder: str | Path, step: str):
        if step not in READERS:
            raise UserError(f'records: step "{step}" may not read rows; the steps that may are {", ".join(READERS)}')
        check_reader(step)
        self.folder = Path(folder)
        self.step = step
        self.manifest = Manifest.load(folder)
        self.ledger: list[LedgerLine] = []

    def load(self, role: str) -> Rows:
        """All rows of the role in memory, from shards whose CRC32C matches the manifest, with an entry in the ledger.

        Raises:
            UserError: the step may not read the role, or its rows don't fit into memory.
            RunError: a shard is missing or damaged.
        """
        self._check(role)
        self._check_open(role)
        check_memory(role, self._bytes([role]))
        return self._noted(role, load_rows(self.folder, self.manifest, role))

    def open(self, role: str) -> AnyRows:
        """All rows of the role, verified and noted as by `load`: in memory, or on disk where they are too many.

        The roles of one step are either all in memory or all on disk, so that `concat` can join them.

        Raises:
            UserError: the step may not read the role.
            RunError: a shard is missing or damaged.
        """
        self._check(role)
        roles = READERS[self.step]
        if fits(" and ".join(roles), self._bytes(roles)):
            return self._noted(role, load_rows(self.folder, self.manifest, role))
        return self._noted(role, store_rows(self.folder, self.manifest, role))

    def _check(self, role: str) -> None:
        if role not in ROLES:
            raise UserError(f'records: "{role}" is not a role; the roles are {", ".join(ROLES)}{nearest(role, ROLES)}')
        if role not in READERS[self.step]:
            raise UserError(
                f'records: step "{self.step}" may not read {role} rows; it may read {" and ".join(READERS[self.step])}'
            )

    def _check_open(self, role: str) -> None:
        info = self.manifest.roles[role]
        if info.rows and not info.shards:
            raise UserError(f"records: the {role} rows of {self.folder} are sealed in a folder of their own")

    def _bytes(self, roles: Iterable[str]) -> int:
        return decoded_bytes(self.manifest) * sum(self.manifest.roles[role].rows for role in roles)

    def _noted(self, role: str, rows: _Some) -> _Some:
        info = self.manifest.roles[role]
        self.ledger.append(LedgerLine(step=self.step, role=role, rows=info.rows, fingerprint=info.fingerprint))
        return rows


def encode_table(manifest: Manifest, table: pa.Table | pa.RecordBatch | DataFrame | dict[str, Any]) -> Rows:
    """Raw features, as they are in the source, as Rows with the manifest's codes.

    Args:
        manifest: of the records that the model was trained on.
        table: all feature columns; the label, an index, and columns that ingest left out may be there too.

    Raises:
        UserError: a column is missing or unknown, or a value has the wrong type.
    """
    given = as_columns(table, [column.name for column in manifest.columns + manifest.inputs])
    # What records hold of dates and texts stands for them too: rows that were stored have nothing else.
    stored = {column.of for column in manifest.columns if column.of and column.name in given}
    known = [column.name for column in manifest.inputs if column.name not in stored]
    known += [column.name for column in manifest.columns if column.of in stored and column.of]
    absent = [name for name in known if name not in given]
    ignored = {name for name in given if name.partition(" (")[0] in manifest.ignored} | set(manifest.ignored)
    unknown = sorted(set(given) - set(known) - {manifest.label.name} - ignored)
    if absent:
        raise UserError(f'column "{absent[0]}" is missing{nearest(absent[0], unknown)}; give every feature column')
    if unknown:
        raise UserError(f'column "{unknown[0]}" is unknown{nearest(unknown[0], known)}; remove it')
    lengths = {name: len(given[name]) for name in known}
    count = lengths[known[0]]
    for name, length in lengths.items():
        if length != count:
            raise UserError(f'column "{name}" has {length} values, "{known[0]}" has {count}; give one a row')
    label = manifest.label
    if label.name in given:
        labels = columns.label_indices(as_array(given[label.name], label.name), label)
    else:
        labels = np.full(count, np.nan, np.float32) if label.classes is None else np.full(count, -1, np.int64)
    return encode(manifest.columns, given, labels)


def encode(features: list[Column], given: Mapping[str, Any], labels: np.ndarray) -> Rows:
    """Raw columns of equal length as Rows with codes of the features' vocabularies.

    Raises:
        UserError: a value has the wrong type.
    """
    count = len(labels)
    numeric, codes, image, hashes = [], [], None, []
    parts = Parts(given)
    for column in features:
        if column.kind == "image":
            image = columns.pixels(given[column.name], column)
            hashes.append(columns.image_hashes(image))
            continue
        if column.of in given:
            numeric.append(parts.of(column))
            hashes.append(columns.number_hashes(numeric[-1], column.name))
            continue
        array = as_array(given[column.name], column.name)
        if column.kind == "categorical":
            indices, values = columns.texts(array, column.name, column.reading)
            hashes.append(columns.category_hashes(indices, values, column.name))
            codes.append(columns.category_codes(array, column))
        else:
            numeric.append(columns.floats(array, column))
            hashes.append(columns.number_hashes(numeric[-1], column.name))
    return Rows(
        numeric=np.stack(numeric, axis=1) if numeric else np.empty((count, 0), np.float32),
        categorical=np.stack(codes, axis=1) if codes else np.empty((count, 0), np.int32),
        image=image,
        labels=labels,
        ids=columns.row_ids(hashes),
    )


class Parts:
    """Numbers of raw columns of dates and texts, each of which is read once for all of its numbers.

    Args:
        given: Raw columns by name.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._read: dict[str, np.ndarray] = {}

    def of(self, column: Column) -> np.ndarray:
        """Return one of the numbers as float32 [n], NaN where a date is missing.

        Raises:
            UserError: a value is no date, or no text.
        """
        name = column.of or ""
        if name not in self._read:
            self._read[name] = columns.whole(as_array(self._given[name], name), column)
        return columns.part(self._read[name], column)


def as_array(values: Any, name: str) -> pa.Array:
    """A column as an Arrow array.

    Raises:
        UserError: its values are not of one type.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return columns.plain(values)
    try:
        return columns.plain(pa.array(values))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise UserError(f'column "{name}": its values are of several types; give one type') from error
