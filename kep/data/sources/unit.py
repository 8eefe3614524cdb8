"""Sources as the passes over them see them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from kep.data.data_frames import unnamed_index

BLOCK = 1 << 20
"""Bytes of a source in one record batch, about."""


@dataclass(frozen=True)
class Unit:
    """A piece of a source that one worker reads: `read(*args)` yields its record batches."""

    read: Callable[..., Iterator[pa.RecordBatch]]
    args: tuple[Any, ...]
    file: str
    """For messages."""
    path: str = ""
    """Path of the one file that it is read from, for formats whose files can be read independently."""


@dataclass(frozen=True)
class Part:
    """Part of a source that one of several tasks reads.

    Attributes:
        paths: some of its files.
        shape: height, width and channels of all images of the source; None while they are not known.
    """

    paths: frozenset[str]
    shape: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Source:
    """A table that can be read several times, always in the same units.

    Attributes:
        description: for people.
        names: the columns.
        typed: false where every value is text whose type is to be inferred (CSV).
        bytes: size of the files.
        units: called with the columns to read, yields the units in order.
        label: the column that is the label unless the settings name one.
        images: shapes [height, width, channels] of the image columns.
        unreadable: columns that can only be left out.
        index: columns that hold the index of a data frame that was saved.
    """

    description: str
    names: list[str]
    typed: bool
    bytes: int
    units: Callable[[list[str]], Iterator[Unit]]
    label: str | None = None
    images: dict[str, tuple[int, int, int]] | None = None
    unreadable: frozenset[str] = frozenset()
    index: frozenset[str] = frozenset()

    @property
    def all_index(self) -> frozenset[str]:
        """`index`, and columns that pandas has named like one; none of them is a feature by itself."""
        return self.index | unnamed_index(self.names)


def given(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Reads a unit that holds its batch."""
    yield batch
