"""Reading records: rows of a role as NumPy arrays, for the steps that may see them, verified and counted."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import psutil
import pyarrow as pa

from components.shared import columns
from components.shared.errors import UserError, nearest
from components.shared.schema import GROUP, ID, ROLES, Column, Manifest, RecordLayout, Shard

__all__ = ["READERS", "ROLES", "Records", "Rows", "encode_table"]

READERS = {
    "tune": ("train", "validation"),
    "best_epoch": ("train", "validation"),
    "retrain": ("train", "validation"),
    "evaluate": ("test",),
}
"""Which step may read which roles; whoever is not named here may read none."""

HEADER, FOOTER = 12, 4
"""Bytes that TFRecord puts around a row: its length and that length's CRC before, the row's CRC after."""


@dataclass
class Rows:
    """Rows as arrays of equal length.

    Attributes:
        numeric: float32 [n, numeric and boolean columns], raw values, NaN where missing.
        categorical: int32 [n, categorical columns], codes: 0 missing, 1 other, 2 + i for vocabulary[i].
        image: uint8 [n, height, width, channels], or None.
        labels: int64 [n] class indices, or float32 [n]; -1 or NaN where not known.
        ids: uint64 [n], a hash of each row's features: equal for equal features.
        groups: uint64 [n], equal for rows of one group, or ordered as the rows are in time; None where rows were split
            by neither.
    """

    numeric: np.ndarray
    categorical: np.ndarray
    image: np.ndarray | None
    labels: np.ndarray
    ids: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: np.ndarray | slice) -> "Rows":
        """The rows at `index`: indices, a mask or a slice."""
        parts = (getattr(self, field.name) for field in fields(self))
        return Rows(*(None if part is None else part[index] for part in parts))

    @staticmethod
    def concat(parts: list["Rows"]) -> "Rows":
        """The rows of all parts, in order."""
        arrays = ([getattr(part, field.name) for part in parts] for field in fields(Rows))
        return Rows(*(None if array[0] is None else np.concatenate(array) for array in arrays))


def blank_row(manifest: Manifest) -> Rows:
    """One row of zeros, for shapes."""
    image = manifest.image
    return Rows(
        numeric=np.zeros((1, len(manifest.numeric)), np.float32),
        categorical=np.zeros((1, len(manifest.categorical)), np.int32),
        image=None if image is None else np.zeros((1, *image.shape), np.uint8),
        labels=np.zeros(1, np.float32 if manifest.label.classes is None else np.int64),
        ids=np.zeros(1, np.uint64),
    )


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
        self.folder = Path(folder)
        self.step = step
        self.manifest = Manifest.load(folder)
        self.ledger: list[dict] = []

    def load(self, role: str) -> Rows:
        """All rows of the role, from shards whose CRC32C matches the manifest, with an entry in the ledger.

        Raises:
            UserError: the step may not read the role, its rows don't fit into memory, or a shard is missing or damaged.
        """
        if role not in ROLES:
            raise UserError(f'records: "{role}" is not a role; the roles are {", ".join(ROLES)}{nearest(role, ROLES)}')
        if role not in READERS[self.step]:
            raise UserError(
                f'records: step "{self.step}" may not read {role} rows; it may read {" and ".join(READERS[self.step])}'
            )
        info = self.manifest.roles[role]
        frame = HEADER + self.manifest.record.length + FOOTER
        _check_memory(role, 2 * info.rows * frame)
        frames = np.empty((info.rows, frame), np.uint8)
        start = 0
        for shard in info.shards:
            read_shard(self.folder, shard, frames[start : start + shard.rows])
            start += shard.rows
        self.ledger.append({"step": self.step, "role": role, "rows": info.rows, "fingerprint": info.fingerprint})
        return decode(self.manifest, frames[:, HEADER:-FOOTER])


def _check_memory(role: str, needed: int) -> None:
    """Refuses rows that would not fit: their shards and the arrays decoded from them.

    Raises:
        UserError: With both sizes.
    """
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"records: the {role} rows need about {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; train "
            "on fewer rows, or on a machine with more memory"
        )


def read_shard(folder: Path, shard: Shard, into: np.ndarray) -> None:
    """Fills `into`, uint8 [rows, frame bytes], with the shard's content.

    Raises:
        UserError: the file is missing, of another size, or its CRC32C differs.
    """
    path = folder / shard.file
    buffer = into.reshape(-1)
    try:
        with open(path, "rb") as file:
            size = file.readinto(buffer)
            longer = bool(file.read(1))
    except OSError as error:
        raise UserError(f"records: shard {path} cannot be read ({error.strerror}); run ingest again") from error
    if size != shard.bytes or longer or google_crc32c.value(buffer) != shard.crc32c:
        raise UserError(f"records: shard {path} is damaged (its CRC32C is not the manifest's); run ingest again")


def _varints(cells: np.ndarray) -> np.ndarray:
    """int64 [n] from padded varints, uint8 [n, bytes]."""
    shifts = np.arange(cells.shape[1], dtype=np.int64) * 7
    return ((cells & 0x7F).astype(np.int64) << shifts).sum(axis=1)


def decode(manifest: Manifest, payload: np.ndarray) -> Rows:
    """Rows from serialised Examples of one length, uint8 [n, length]."""
    record: RecordLayout = manifest.record

    def cells(name: str) -> np.ndarray:
        slot = record.slots[name]
        return np.ascontiguousarray(payload[:, slot.offset : slot.offset + slot.bytes])

    def stack(chosen: list[Column], read, dtype) -> np.ndarray:
        out = np.empty((len(payload), len(chosen)), dtype)
        for place, column in enumerate(chosen):
            out[:, place] = read(cells(column.name))
        return out

    def read_floats(raw: np.ndarray) -> np.ndarray:
        return raw.view("<f4")[:, 0]

    image = manifest.image
    label = cells(manifest.label.name)
    return Rows(
        numeric=stack(manifest.numeric, read_floats, np.float32),
        categorical=stack(manifest.categorical, _varints, np.int32),
        image=None if image is None else cells(image.name).reshape(-1, *image.shape),
        labels=read_floats(label).copy() if manifest.label.classes is None else _varints(label),
        ids=cells(ID).view("<u8")[:, 0].copy(),
        groups=cells(GROUP).view("<u8")[:, 0].copy() if GROUP in record.slots else None,
    )


def encode_table(manifest: Manifest, table: pa.Table | pa.RecordBatch | dict[str, list]) -> Rows:
    """Raw features, as they are in the source, as Rows with the manifest's codes.

    Args:
        manifest: of the records that the model was trained on.
        table: all feature columns; the label and columns that ingest left out may be there too.

    Raises:
        UserError: a column is missing or unknown, or a value has the wrong type.
    """
    given = table if isinstance(table, dict) else {name: table[name] for name in table.schema.names}
    known = [column.name for column in manifest.columns]
    absent = [name for name in known if name not in given]
    unknown = sorted(set(given) - set(known) - {manifest.label.name} - set(manifest.ignored))
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
    for column in features:
        if column.kind == "image":
            image = columns.pixels(given[column.name], column)
            hashes.append(columns.image_hashes(image))
            continue
        array = as_array(given[column.name], column.name)
        if column.kind == "categorical":
            indices, values = columns.texts(array, column.name)
            hashes.append(columns.category_hashes(indices, values, column.name))
            codes.append(vocabulary_codes(indices, values, column.vocabulary or []))
        else:
            numeric.append(columns.floats(array, column.name, column.kind))
            hashes.append(columns.number_hashes(numeric[-1], column.name))
    return Rows(
        numeric=np.stack(numeric, axis=1) if numeric else np.empty((count, 0), np.float32),
        categorical=np.stack(codes, axis=1) if codes else np.empty((count, 0), np.int32),
        image=image,
        labels=labels,
        ids=columns.row_ids(hashes),
    )


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


def vocabulary_codes(indices: np.ndarray, values: list[str], vocabulary: list[str]) -> np.ndarray:
    """int32 [n] codes: 0 missing, 1 not in the vocabulary, 2 + i for vocabulary[i]."""
    place = {value: index + 2 for index, value in enumerate(vocabulary)}
    return np.array([place.get(value, 1) for value in values] + [0], np.int32)[indices]
