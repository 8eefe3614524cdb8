"""Rows grouped by a key in memory that does not grow with their number: files by ranges of the key, one at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROWS = 1 << 17
"""Rows held at a time, at some 130 bytes each while they are grouped."""
_SAMPLE = 64
"""Sampled keys behind each range, so that ranges hold about ROWS rows however keys are distributed."""


def _row(kind: type) -> np.dtype[np.void]:
    return np.dtype([("key", "<u8"), ("row", "<i8"), ("label", np.uint64 if kind is np.uint64 else np.int32)])


@dataclass(frozen=True)
class Group:
    """The rows of each key in a range of keys.

    Attributes:
        keys: distinct and ascending, uint64 [n].
        first, last: smallest and largest label of the rows of each key, [n].
        rows: how many there are of each key, [n].
        pair_labels, pair_rows: label of each distinct pair of key and label, and its rows, [m].
        pair_key: which key each pair has, [m].
    """

    keys: np.ndarray
    first: np.ndarray
    last: np.ndarray
    rows: np.ndarray
    pair_labels: np.ndarray
    pair_rows: np.ndarray
    pair_key: np.ndarray


def read(file: Path, kind: np.dtype | type) -> Iterator[np.ndarray]:
    """The values of a file, ROWS at a time."""
    with open(file, "rb") as stream:
        while len(values := np.fromfile(stream, kind, ROWS)):
            yield values


def spill(keys: Path, labels: Path, kind: type) -> list[Path]:
    """Copy rows into files by ranges of their key; the files are in the order of the keys.

    Args:
        keys: uint64 of each row.
        labels: Small integers of each row, or any uint64.
        kind: Type of the labels.
    """
    every = np.memmap(keys, np.uint64, "r")
    ranges = -(-len(every) // ROWS)
    sample = np.sort(every[np.random.default_rng(0).integers(0, len(every), ranges * _SAMPLE)])
    edges = np.unique(sample[_SAMPLE::_SAMPLE])
    files = [keys.with_name(f"{keys.name}-{index}") for index in range(len(edges) + 1)]
    start = 0
    for mine, values in zip(read(keys, np.uint64), read(labels, kind), strict=True):
        rows = np.empty(len(mine), _row(kind))
        rows["key"], rows["row"], rows["label"] = mine, np.arange(start, start + len(mine)), values
        start += len(mine)
        places = np.searchsorted(edges, mine, side="right")
        order = np.argsort(places, kind="stable")
        bounds = np.searchsorted(places[order], np.arange(len(files) + 1))
        for file, low, high in zip(files, bounds, bounds[1:], strict=False):
            if low < high:
                with open(file, "ab") as stream:
                    rows[order[low:high]].tofile(stream)
    return [file for file in files if file.exists()]


def group(file: Path, kind: type = np.int32) -> Group:
    """The rows of one file, with labels of type `kind`, by key; equal rows take no more memory than one."""
    keys, labels, rows = np.empty(0, np.uint64), np.empty(0, _row(kind)["label"]), np.empty(0, np.int64)
    for more in read(file, _row(kind)):
        keys, labels = np.concatenate([keys, more["key"]]), np.concatenate([labels, more["label"]])
        rows = np.concatenate([rows, np.ones(len(more), np.int64)])
        order = np.lexsort((labels, keys))
        keys, labels = keys[order], labels[order]
        starts = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]) | (labels[1:] != labels[:-1])])
        keys, labels, rows = keys[starts], labels[starts], np.add.reduceat(rows[order], starts)
    new = np.r_[True, keys[1:] != keys[:-1]]
    starts = np.flatnonzero(new)
    ends = np.r_[starts[1:], len(keys)] - 1
    return Group(
        keys[starts], labels[starts], labels[ends], np.add.reduceat(rows, starts), labels, rows, np.cumsum(new) - 1
    )


def places(file: Path, grouped: Group, kind: type = np.int32) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Numbers and labels of the rows of one file, and which key of its group each has; ROWS at a time."""
    for rows in read(file, _row(kind)):
        yield rows["row"], rows["label"], np.searchsorted(grouped.keys, rows["key"])
