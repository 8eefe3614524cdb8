"""The last pass: rows into unsorted pieces of shards by their hash, then each shard sorted and finished."""

import hashlib
import io
import math
import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

from kep.components.ingest.encode import groups
from kep.components.ingest.layout import frames_of, template
from kep.components.ingest.plan import ColumnPlan
from kep.components.ingest.split import keyed
from kep.config.data import Split
from kep.core.errors import UserError
from kep.data.columns import floats, label_indices
from kep.data.records import encode
from kep.data.schema import ID, ROLES, Column, Label, RecordLayout, Shard
from kep.data.shards import FOOTER, HEADER
from kep.data.sources.unit import Unit

_WRITTEN = 1 << 22
"""Bytes of a shard that are written at a time."""


@dataclass(frozen=True)
class Target:
    """Where rows go: the folder, the plan with vocabularies, how rows are split, the seed, and each role's shards."""

    folder: Path
    plan: ColumnPlan
    split: Split
    seed: int
    shards: tuple[int, int, int]

    @property
    def features(self) -> list[Column]:
        return self.plan.features

    @property
    def label(self) -> Label:
        return self.plan.label

    @property
    def template(self) -> tuple[bytes, RecordLayout]:
        """Template and layout of the serialised rows."""
        return template(self.features, self.label, self.split.by in ("group", "time"), self.plan.weight is not None)

    @property
    def pieces(self) -> Path:
        """Folder of the unsorted rows of each shard."""
        return self.folder / "pieces"


def shard_counts(rows: list[int], length: int, shard_mb: float) -> tuple[int, int, int]:
    """Shards per role, of about `shard_mb` megabytes each."""
    frame_bytes = HEADER + length + FOOTER
    train, validation, test = (max(1, math.ceil(count * frame_bytes / (shard_mb * 1e6))) for count in rows)
    return train, validation, test


def disk_needed(rows: int, length: int) -> int:
    """Bytes of the shards and their unsorted pieces."""
    return 2 * rows * (length + HEADER + FOOTER) + (1 << 20)


def check_disk(folder: Path, rows: int, length: int) -> None:
    """Refuses to start what the disk can't hold: the shards and their unsorted pieces.

    Raises:
        UserError: with both sizes.
    """
    needed, free = disk_needed(rows, length), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"data: not enough disk: needs about {needed / 1e9:.2f} GB under {folder}, {free / 1e9:.2f} GB free; "
            "free some or choose another folder"
        )


def write_pieces(unit: Unit, roles: np.ndarray, ids: np.ndarray, target: Target) -> None:
    """Appends the rows of one unit to this process's piece of their shards.

    Args:
        unit: The rows.
        roles: int8 [n], their roles.
        ids: uint64 [n], their identities.
        target: Where they go.
    """
    start = 0
    for batch in unit.read(*unit.args):
        chosen, known = roles[start : start + batch.num_rows], ids[start : start + batch.num_rows]
        start += batch.num_rows
        columns = {name: batch[name] for name in batch.schema.names}
        labels = label_indices(batch[target.label.name], target.label)
        rows = encode(target.features, columns, labels)
        rows.groups = groups(batch, target.plan, target.split)
        if target.plan.weight is not None:
            rows.weights = floats(batch[target.plan.weight], Column(name=target.plan.weight, kind="numeric"))
        rows.same, rows.ids = rows.ids, known
        frames = frames_of(rows, target.features, target.label)
        kept = np.flatnonzero(chosen >= 0)
        shuffled = keyed(rows.ids[kept], target.seed, "shuffle")
        counts = np.array(target.shards, np.uint64)[chosen[kept]]
        shards = ((shuffled >> np.uint64(32)) * counts >> np.uint64(32)).astype(np.int64)
        places = chosen[kept] * np.int64(max(target.shards)) + shards
        order = np.argsort(places, kind="stable")
        distinct, starts = np.unique(places[order], return_index=True)
        for place, mine in zip(distinct, np.split(kept[order], starts[1:]), strict=True):
            role, index = divmod(int(place), max(target.shards))
            with open(target.pieces / f"{role}-{index}-{os.getpid()}", "ab") as file:
                file.write(frames[mine].reshape(-1).data)


def finish_shard(target: Target, role: int, index: int, folders: Sequence[Path]) -> tuple[Shard, str]:
    """Sorts the pieces of one shard, from all `folders`, by hash into a TFRecord file.

    Returns:
        the shard, and the sha256 of its rows.
    """
    blank, record = target.template
    width = HEADER + len(blank) + FOOTER
    pieces = [piece for folder in folders for piece in sorted(folder.glob(f"{role}-{index}-*"))]
    frames = np.concatenate(
        [np.empty((0, width), np.uint8), *(np.fromfile(piece, np.uint8).reshape(-1, width) for piece in pieces)]
    )

    def cells(name: str) -> np.ndarray:
        slot = record.slots[name]
        return np.ascontiguousarray(frames[:, HEADER + slot.offset : HEADER + slot.offset + slot.bytes])

    # Rows of one id and one checksum of their content are one row twice: this order is total whatever wrote them.
    ties = list(frames[:, -FOOTER:].T)
    order = np.lexsort((*ties, keyed(cells(ID).view("<u8")[:, 0], target.seed, "shuffle")))
    step = max(1, _WRITTEN // width)
    blocks = (frames[order[start : start + step]] for start in range(0, len(order), step))
    name = f"{ROLES[role]}-{index:05d}-of-{target.shards[role]:05d}.tfrecord"
    return write_shard(target.folder / name, blocks, record)


def write_shard(path: Path, blocks: Iterable[np.ndarray], record: RecordLayout) -> tuple[Shard, str]:
    """Writes frames, uint8 [n, frame bytes], to a TFRecord file and onto the disk.

    Returns:
        the shard, and the sha256 over the id and the CRC32C of each of its rows: over all content it would take as long
        as all else.
    """
    rows, size, crc, digest = 0, 0, 0, hashlib.sha256()
    first = HEADER + record.slots[ID].offset
    # The next block is made while one is written, which leaves the interpreter to others.
    with open(path, "wb", buffering=0) as file, ThreadPoolExecutor(1) as behind:
        writing = None
        for frames in blocks:
            content = frames.reshape(-1)
            crc = google_crc32c.extend(crc, content)
            digest.update(np.concatenate([frames[:, first : first + 8], frames[:, -FOOTER:]], axis=1).reshape(-1).data)
            rows, size = rows + len(frames), size + len(content)
            if writing:
                writing.result()
            writing = behind.submit(_write_all, file, content)
        if writing:
            writing.result()
        os.fsync(file.fileno())
    return Shard(file=path.name, rows=rows, bytes=size, crc32c=crc), digest.hexdigest()


def _write_all(file: io.RawIOBase, content: np.ndarray) -> None:
    """Writes all of it: of much at once, a raw file takes a part."""
    rest = content.data
    while rest:
        rest = rest[file.write(rest) or 0 :]
