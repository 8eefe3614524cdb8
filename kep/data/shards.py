"""Shards: TFRecord files of rows of one length, so each is a matrix that can be mapped and gathered in any order.

Our own codec and not tf.data: a shuffled batch costs 59 (table) and 32 (images) times less than parsing one row at a
time, and needs no TensorFlow (`python -m benchmarks.records --full`, docs/explanation/measured-records.md).
"""

import logging
import mmap
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import google_crc32c
import numpy as np
import psutil

from kep.core.errors import RunError, UserError
from kep.data.schema import GROUP, ID, SAME, WEIGHT, Manifest, Shard

log = logging.getLogger("kep.records")

HEADER, FOOTER = 12, 4
"""Bytes that TFRecord puts around a row: its length and that length's CRC before, the row's CRC after."""
BLOCK = 1 << 21
"""Bytes of a shard that are read or decoded at a time."""
_CACHED = 1 << 19
"""Bytes of rows whose columns are decoded one after the other: they stay in a core's cache meanwhile."""
SMALL = 1 << 26
"""Bytes of rows that are taken without asking how much memory is free."""
_COMFORTABLE = 0.25
"""Share of the free memory that rows may take: models, copies of the rows and other tasks need the rest."""
CGROUP = Path("/sys/fs/cgroup")
_NETWORKS = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "lustre"})
"""Types of file systems, beside those that begin with `fuse.`, that a request over a network stands behind."""
_LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.lxcfs"})
_COPIES: list[tempfile.TemporaryDirectory[str]] = []
"""Local copies of shards, for as long as this process may read them."""


@dataclass
class Rows:
    """Rows as arrays of equal length.

    Attributes:
        numeric: float32 [n, numeric and boolean columns], raw values, NaN where missing.
        categorical: int32 [n, categorical columns], codes: 0 missing, 1 other, 2 + i for vocabulary[i].
        image: uint8 [n, height, width, channels], or None.
        labels: int64 [n] class indices, or float32 [n]; -1 or NaN where not known.
        ids: uint64 [n], the identity of each row; of raw columns, which have none, a hash of the features.
        groups: uint64 [n], equal for rows of one group, or ordered as the rows are in time; None where rows were split
            by neither.
        same: uint64 [n], a hash of each row's features: equal for equal features; None in records without it.
        weights: float32 [n], how much each row counts, 1 in the mean over the train rows; None where all count the
            same.
    """

    numeric: np.ndarray
    categorical: np.ndarray
    image: np.ndarray | None
    labels: np.ndarray
    ids: np.ndarray
    groups: np.ndarray | None = None
    same: np.ndarray | None = None
    weights: np.ndarray | None = None

    @property
    def alike(self) -> np.ndarray:
        """uint64 [n], equal for rows of equal features."""
        return self.ids if self.same is None else self.same

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: np.ndarray | slice) -> "Rows":
        """The rows at `index`: indices, a mask or a slice."""
        return Rows(
            self.numeric[index],
            self.categorical[index],
            None if self.image is None else self.image[index],
            self.labels[index],
            self.ids[index],
            None if self.groups is None else self.groups[index],
            None if self.same is None else self.same[index],
            None if self.weights is None else self.weights[index],
        )

    @staticmethod
    def concat(parts: list["Rows"]) -> "Rows":
        """The rows of all parts, in order."""
        return Rows(
            np.concatenate([part.numeric for part in parts]),
            np.concatenate([part.categorical for part in parts]),
            _joined([part.image for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.ids for part in parts]),
            _joined([part.groups for part in parts]),
            _joined([part.same for part in parts]),
            _joined([part.weights for part in parts]),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._arrays() if array is not None)

    def _arrays(self) -> list[np.ndarray | None]:
        of_rows = [self.labels, self.ids, self.groups, self.same, self.weights]
        return [self.numeric, self.categorical, self.image, *of_rows]


class StoredRows:
    """Rows that stay on disk: what `Rows` is, for roles that don't fit comfortably into memory.

    Only what is needed of all rows at once is held: 24 bytes a row, 8 more for groups, 4 for weights. Any number of
    threads may take rows at the same time; another process that gets these rows maps the same files.

    Args:
        manifest: of the records.
        files: the shards, verified, none of them empty.
        held: labels, ids, groups, alike features and weights of the rows; no columns.
    """

    def __init__(self, manifest: Manifest, files: list[Path], held: Rows):
        self._given = manifest, files, held
        self._manifest = manifest
        self._width = HEADER + manifest.record.length + FOOTER
        self._maps = [_mapped(file) for file in files]
        self._views = [memoryview(mapped) for mapped in self._maps]
        self._starts = np.cumsum([0] + [len(view) // self._width for view in self._views])
        # What memory can hold is read once, with what lies around it. Of more than that each row is read for itself:
        # what lies around it would be gone before its turn.
        self._larger_than_memory = sum(map(len, self._views)) > free_memory()
        if self._larger_than_memory:
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_RANDOM)
        self.labels, self.ids, self.groups = held.labels, held.ids, held.groups
        self.same, self.weights = held.same, held.weights

    @property
    def alike(self) -> np.ndarray:
        """uint64 [n], equal for rows of equal features."""
        return self.ids if self.same is None else self.same

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredRows, self._given

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: np.ndarray | slice) -> Rows:
        """The rows at `index`: indices, a mask or a slice; bit for bit what `Rows.take` gives.

        Raises:
            IndexError: an index is out of range.
            UserError: the rows don't fit into memory.
        """
        numbers = self._numbers(index)
        size = len(numbers) * decoded_bytes(self._manifest)
        if size > SMALL:
            check_memory(f"{len(numbers):,}", size)
        rows = empty(self._manifest, len(numbers))
        step = max(1, BLOCK // self._width)
        for start in range(0, len(numbers), step):
            decode(self._manifest, self._gather(numbers[start : start + step]), rows, start)
        return rows

    def _numbers(self, index: np.ndarray | slice) -> np.ndarray:
        """Return `index` as int64 row numbers from 0, as NumPy reads it."""
        if isinstance(index, slice):
            return np.arange(*index.indices(len(self)))
        index = np.asarray(index)
        if index.dtype == bool or not len(index):
            numbers: np.ndarray = np.arange(len(self))[index]
            return numbers
        if index.min() < -len(self) or index.max() >= len(self):
            raise IndexError(f"{index.min()} to {index.max()} taken of {len(self)} rows")
        return np.where(index < 0, index + len(self), index)

    def _gather(self, numbers: np.ndarray) -> np.ndarray:
        """Frames of rows of any shards, in their order."""
        width, views = self._width, self._views
        shards = np.searchsorted(self._starts, numbers, side="right") - 1
        starts = (numbers - self._starts[shards]) * width
        # Row by row: the rows of a batch may lie in as many shards.
        places = list(zip(shards.tolist(), starts.tolist(), strict=True))
        if self._larger_than_memory:  # the disk is asked for all of them before any is waited for
            for shard, start in places:
                page = start - start % mmap.PAGESIZE
                self._maps[shard].madvise(mmap.MADV_WILLNEED, page, start + width - page)
        content = b"".join([views[shard][start : start + width] for shard, start in places])
        return np.frombuffer(content, np.uint8).reshape(len(numbers), width)

    @staticmethod
    def concat(parts: list["StoredRows"]) -> "StoredRows":
        """The rows of all parts, which are of the same records, in order; still on disk."""
        return StoredRows(
            parts[0]._manifest,
            [file for part in parts for file in part._given[1]],
            Rows.concat([part._given[2] for part in parts]),
        )


AnyRows = Rows | StoredRows
"""Rows in memory or on disk."""


@overload
def concat(parts: list[Rows]) -> Rows: ...


@overload
def concat(parts: Sequence[AnyRows]) -> AnyRows: ...


def concat(parts: Sequence[AnyRows]) -> AnyRows:
    """Return the rows of all parts in order, in memory or on disk as the parts are.

    Raises:
        ValueError: Some parts are in memory and some on disk.
    """
    in_memory = [part for part in parts if isinstance(part, Rows)]
    on_disk = [part for part in parts if isinstance(part, StoredRows)]
    if in_memory and on_disk:
        raise ValueError("rows in memory and rows on disk can't be joined")
    return StoredRows.concat(on_disk) if on_disk else Rows.concat(in_memory)


def _joined(arrays: list[np.ndarray | None]) -> np.ndarray | None:
    """Join arrays that either all parts have or none."""
    known = [array for array in arrays if array is not None]
    if len(known) not in (0, len(arrays)):
        raise ValueError("some of the parts lack images or groups that others have")
    return np.concatenate(known) if known else None


def load_rows(folder: Path, manifest: Manifest, role: str) -> Rows:
    """All rows of a role, in memory.

    Raises:
        RunError: a shard is missing or damaged.
    """
    rows, start = empty(manifest, manifest.roles[role].rows), 0
    for shard in manifest.roles[role].shards:
        for frames in read_shard(folder, manifest, shard):
            decode(manifest, frames, rows, start)
            start += len(frames)
    return rows


def near(folder: Path, shards: list[Shard]) -> Path:
    """Where shards are to be read row by row, in any order: where they are, or in copies on this machine's disk.

    On a bucket that is mounted (Cloud Storage FUSE) each row would be a request; one copy reads it from end to end.
    The copies are removed when this process ends. The log says why.
    """
    kind = _file_system(folder)
    if kind not in _NETWORKS and (not kind.startswith("fuse.") or kind in _LOCAL_FUSE):
        return folder
    needed, free = sum(shard.bytes for shard in shards), shutil.disk_usage(tempfile.gettempdir()).free
    place = f"{folder} is on a network ({kind})"
    if needed > free:
        log.info("shards are read where they are: %s, but copies need %.2f of %.2f GB", place, needed / 1e9, free / 1e9)
        return folder
    scratch = tempfile.TemporaryDirectory(prefix="kep-")
    _COPIES.append(scratch)
    for shard in shards:
        if (folder / shard.file).is_file():  # a missing one is told of when it is read
            shutil.copyfile(folder / shard.file, Path(scratch.name) / shard.file)
    log.info("%.2f GB of shards were copied to local disk: %s", needed / 1e9, place)
    return Path(scratch.name)


def _file_system(folder: Path) -> str:
    """Type of the file system that a folder is on, such as ext4 or fuse.gcsfuse."""
    path = folder.resolve()
    mounts = [one for one in psutil.disk_partitions(all=True) if path.is_relative_to(one.mountpoint)]
    return max(mounts, key=lambda one: len(one.mountpoint)).fstype if mounts else ""


def store_rows(folder: Path, manifest: Manifest, role: str) -> StoredRows:
    """All rows of a role, on disk; each shard is read once, to verify it.

    Raises:
        RunError: a shard is missing or damaged.
    """
    info = manifest.roles[role]
    folder = near(folder, info.shards)
    # Without columns a row is its label, its id and its group.
    small = manifest.model_copy(update={"columns": []})
    rows, start = empty(small, info.rows), 0
    for shard in info.shards:
        for frames in read_shard(folder, manifest, shard):
            decode(small, frames, rows, start)
            start += len(frames)
    files = [folder / shard.file for shard in info.shards if shard.rows]
    return StoredRows(manifest, files, rows)


def _mapped(path: Path) -> mmap.mmap:
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_shard(folder: Path, manifest: Manifest, shard: Shard) -> Iterator[np.ndarray]:
    """Yields the shard's frames, uint8 [n, frame bytes], in blocks; each is valid until the next one.

    Nothing that was read counts until the last block has come.

    Raises:
        RunError: the file is missing, of another size, or its CRC32C differs.
    """
    path = folder / shard.file
    frame = HEADER + manifest.record.length + FOOTER
    block = np.empty((max(1, BLOCK // manifest.record.length), frame), np.uint8)
    crc = size = 0
    try:
        with open(path, "rb", buffering=0) as file:
            whole = file.seek(0, 2) == shard.bytes == shard.rows * frame
            file.seek(0)
            while whole and size < shard.bytes:
                frames = block[: (shard.bytes - size) // frame]
                content, filled = frames.reshape(-1).data, 0
                while filled < len(content) and (more := file.readinto(content[filled:])):
                    filled += more
                whole = filled == len(content)
                if whole:
                    crc = google_crc32c.extend(crc, frames.reshape(-1))
                    size += filled
                    yield frames
    except OSError as error:
        raise RunError(f"records: shard {path} cannot be read ({error.strerror}); run ingest again") from error
    if not whole or crc != shard.crc32c:
        raise RunError(f"records: shard {path} is damaged (its CRC32C is not the manifest's); run ingest again")


def empty(manifest: Manifest, count: int) -> Rows:
    """Arrays for `count` rows."""
    shape = manifest.image_shape
    return Rows(
        numeric=np.empty((count, len(manifest.numeric)), np.float32),
        categorical=np.empty((count, len(manifest.categorical)), np.int32),
        image=None if shape is None else np.empty((count, *shape), np.uint8),
        labels=np.empty(count, np.float32 if manifest.label.classes is None else np.int64),
        ids=np.empty(count, np.uint64),
        groups=np.empty(count, np.uint64) if GROUP in manifest.record.slots else None,
        same=np.empty(count, np.uint64) if SAME in manifest.record.slots else None,
        weights=np.empty(count, np.float32) if manifest.weighting is not None else None,
    )


def decode(manifest: Manifest, frames: np.ndarray, into: Rows, start: int = 0) -> None:
    """Fills `into` from `start` on with the rows of TFRecord frames, uint8 [n, frame bytes]."""
    step = max(1, _CACHED // frames.shape[1])
    for first in range(0, len(frames), step):
        part = frames[first : first + step]
        _decode(manifest, part, into.take(slice(start + first, start + first + len(part))))


def _decode(manifest: Manifest, frames: np.ndarray, into: Rows) -> None:
    slots = manifest.record.slots

    def cells(name: str) -> np.ndarray:
        slot = slots[name]
        return frames[:, HEADER + slot.offset : HEADER + slot.offset + slot.bytes]

    def values(name: str, kind: str) -> np.ndarray:
        return cells(name).view(kind)[:, 0]

    if manifest.numeric:
        # One gather of bytes for all columns, which takes a fraction of a copy for each.
        offsets = HEADER + np.array([slots[column.name].offset for column in manifest.numeric])
        places = (offsets[:, None] + np.arange(4)).reshape(-1)
        np.take(frames, places, axis=1, out=into.numeric.view(np.uint8), mode="clip")
    for place, column in enumerate(manifest.categorical):
        into.categorical[:, place] = _varints(cells(column.name))
    if manifest.image is not None and into.image is not None:
        into.image.reshape(len(frames), -1)[:] = cells(manifest.image.name)
    label = manifest.label
    into.labels[:] = values(label.name, "<f4") if label.classes is None else _varints(cells(label.name))
    into.ids[:] = values(ID, "<u8")
    if into.groups is not None:
        into.groups[:] = values(GROUP, "<u8")
    if into.same is not None:
        into.same[:] = values(SAME, "<u8")
    weighting = manifest.weighting
    if into.weights is None or weighting is None:
        return
    if weighting.by_class is not None:
        into.weights[:] = np.array(weighting.by_class, np.float32)[into.labels]
    elif weighting.column is not None:  # without a mean they are as the source has them
        into.weights[:] = values(WEIGHT, "<f4") / np.float32(weighting.mean or 1)
    else:
        into.weights[:] = 1


def _varints(cells: np.ndarray) -> np.ndarray:
    """int64 [n] from padded varints, uint8 [n, bytes]."""
    total = (cells[:, 0] & 0x7F).astype(np.int64)
    for place in range(1, cells.shape[1]):
        total |= (cells[:, place] & 0x7F).astype(np.int64) << (7 * place)
    return total


def decoded_bytes(manifest: Manifest) -> int:
    """Bytes that a decoded row takes."""
    return empty(manifest, 1).nbytes


def check_memory(what: str, needed: int) -> None:
    """Refuses rows that would not fit.

    Args:
        what: which rows, for the message.
        needed: bytes.

    Raises:
        UserError: With both sizes.
    """
    free = free_memory()
    if needed > free:
        raise UserError(
            f"records: the {what} rows need about {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; train "
            "on fewer rows, or on a machine with more memory"
        )


def fits(what: str, needed: int) -> bool:
    """Return whether `needed` bytes of rows are to be held in memory; the log says why."""
    free = free_memory()
    held = needed <= _COMFORTABLE * free
    log.info(
        "%s rows stay %s: %.2f GB, %s than %d %% of the %.1f GB of free memory",
        what,
        "in memory" if held else "on disk",
        needed / 1e9,
        "less" if held else "more",
        100 * _COMFORTABLE,
        free / 1e9,
    )
    return held


def free_memory() -> int:
    """Bytes of memory that this process can still get: of the machine, or of its container where that has a limit."""
    free = psutil.virtual_memory().available
    try:
        limit, used = ((CGROUP / f"memory.{name}").read_text(encoding="utf-8").strip() for name in ("max", "current"))
        pages = dict(line.split() for line in (CGROUP / "memory.stat").read_text(encoding="utf-8").splitlines())
    except OSError:
        return free  # no limit of this kind here
    # What was read of files counts as used, but is given up when memory is needed.
    return free if limit == "max" else min(free, int(limit) - int(used) + int(pages["inactive_file"]))
