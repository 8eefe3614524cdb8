"""The last pass: rows into unsorted pieces of shards by their hash, then each shard sorted and finished."""

import hashlib
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

from components.ingest.encode import groups
from components.ingest.layout import frame, serialise, template
from components.ingest.plan import Plan
from components.ingest.split import keyed
from components.ingest.unit import Unit
from components.shared.columns import label_indices
from components.shared.errors import UserError
from components.shared.records import FOOTER, HEADER, encode
from components.shared.schema import ID, ROLES, Column, Label, RecordLayout, Shard
from components.shared.settings import Split

_FRAMED = 1 << 23
"""Bytes of rows that are framed at a time."""


@dataclass(frozen=True)
class Target:
    """Where rows go: the folder, the plan with vocabularies, how rows are split, the seed, and each role's shards."""

    folder: Path
    plan: Plan
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
        """Of the serialised rows."""
        return template(self.features, self.label, self.split.by in ("group", "time"))

    @property
    def pieces(self) -> Path:
        """Folder of the unsorted rows of each shard."""
        return self.folder / "pieces"


def shard_counts(rows: list[int], length: int, shard_mb: float) -> tuple[int, int, int]:
    """Shards per role, of about `shard_mb` megabytes each."""
    frame_bytes = HEADER + length + FOOTER
    return tuple(max(1, math.ceil(count * frame_bytes / (shard_mb * 1e6))) for count in rows)


def check_disk(folder: Path, rows: int, length: int) -> None:
    """Refuses to start what the disk can't hold: the shards and their unsorted pieces.

    Raises:
        UserError: with both sizes.
    """
    needed = rows * (2 * length + HEADER + FOOTER) + (1 << 20)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"data: not enough disk: needs about {needed / 1e9:.2f} GB under {folder}, {free / 1e9:.2f} GB "
            "free; "
            "free some or choose another folder"
        )


def write_pieces(unit: Unit, roles: np.ndarray, target: Target) -> None:
    """Appends the rows of one unit to this process's piece of their shards; `roles` are those of its rows."""
    start = 0
    for batch in unit.read(*unit.args):
        chosen = roles[start : start + batch.num_rows]
        start += batch.num_rows
        columns = {name: batch[name] for name in batch.schema.names}
        labels = label_indices(batch[target.label.name], target.label)
        rows = encode(target.features, columns, labels)
        rows.groups = groups(batch, target.plan, target.split)
        payload = serialise(rows, target.features, target.label)
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
                file.write(payload[mine])


def finish_shard(target: Target, role: int, index: int) -> tuple[Shard, str]:
    """Sorts the pieces of one shard by hash and frames them as a TFRecord file.

    Returns:
        the shard, and the sha256 of the file.
    """
    blank, record = target.template
    pieces = sorted(target.pieces.glob(f"{role}-{index}-*"))
    payload = np.concatenate(
        [np.fromfile(piece, np.uint8).reshape(-1, len(blank)) for piece in pieces]
        or [np.empty((0, len(blank)), np.uint8)]
    )
    for piece in pieces:
        piece.unlink()
    slot, label = record.slots[ID], record.slots[target.label.name]
    ids = np.ascontiguousarray(payload[:, slot.offset : slot.offset + 8]).view("<u8")[:, 0]
    # Rows with one id differ in their label at most, so this order is total whatever wrote them.
    ties = np.ascontiguousarray(payload[:, label.offset : label.offset + label.bytes]).T
    order = np.lexsort((*ties, keyed(ids, target.seed, "shuffle")))
    name = f"{ROLES[role]}-{index:05d}-of-{target.shards[role]:05d}.tfrecord"
    crc, digest, size = 0, hashlib.sha256(), 0
    with open(target.folder / name, "wb") as file:
        step = max(1, _FRAMED // len(blank))
        for start in range(0, len(order), step):
            data = frame(payload[order[start : start + step]]).reshape(-1)
            file.write(data)
            crc = google_crc32c.extend(crc, data)
            digest.update(data)
            size += len(data)
    return Shard(file=name, rows=len(order), bytes=size, crc32c=crc), digest.hexdigest()
