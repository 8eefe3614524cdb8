"""The rows of a source as a model takes them: in chunks that are the same for whoever reads them, and however many."""

import logging
import math
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa

from kep.config.data import DataSettings
from kep.core.errors import UserError, nearest
from kep.data.records import Rows, encode_table
from kep.data.schema import Column, Manifest
from kep.data.sources.open import open_source
from kep.data.sources.unit import Part, Source
from kep.storage.locations import list_files

log = logging.getLogger("kep.predict")

ROWS = 1024
"""Rows that are predicted at once. A matrix product's last bits depend on their number: a served model, which gets as
many, predicts to the bit what the same model predicts here."""
_PIXELS = 16 << 20
"""Bytes of images that are predicted at once."""


def chunk_rows(columns: list[Column]) -> int:
    """Rows of a chunk for a model with these columns: `ROWS`, or fewer of large images."""
    shape = next((column.shape for column in columns if column.kind == "image"), None)
    return ROWS if shape is None else max(1, min(ROWS, _PIXELS // math.prod(shape)))


def chunks(source: Source, names: list[str], most: int, first: int = 0) -> Iterator[dict[str, pa.Array]]:
    """The columns `names` of a source by name, at most `most` rows at a time, in order.

    Args:
        source: Source to read.
        names: Names of its columns.
        most: Rows.
        first: Number of the unit that the first chunk begins with.
    """
    for unit in islice(source.units(names), first, None):
        for chunk in cut(unit.read(*unit.args), most):
            yield {name: chunk[name] for name in names}


def cut(batches: Iterator[pa.RecordBatch], most: int) -> Iterator[pa.RecordBatch]:
    """The rows of one unit, `most` at a time and the rest at its end.

    In which batches a unit comes depends on which columns are read; its rows do not, and neither do these chunks.
    """
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        while rows + batch.num_rows >= most:
            yield _joined([*waiting, batch.slice(0, most - rows)])
            batch, waiting, rows = batch.slice(most - rows), [], 0
        if batch.num_rows:
            waiting.append(batch)
            rows += batch.num_rows
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def open_for(columns: list[Column], data: DataSettings, scratch: Path, paths: Collection[str] | None = None) -> Source:
    """A source that has what a model takes.

    Args:
        columns: Columns that the model was trained on.
        data: The source, an absolute path, and how to read it.
        scratch: Folder for objects.
        paths: Paths of the files that are wanted; all when not given.

    Raises:
        UserError: The source can't be read, lacks a column, or its images are of another shape.
    """
    if isinstance(data.missing, list) and data.missing and all(column.reading.missing is None for column in columns):
        log.warning(
            'data.missing: the model was trained before models held which texts mean a missing value, so "%s" is read '
            "as it stands; train it again",
            data.missing[0],
        )
    source = open_source(data.location, data, Path(), scratch, None if paths is None else Part(frozenset(paths)))
    absent = next((column.name for column in columns if column.name not in source.names), None)
    if absent is not None:
        raise UserError(
            f'column "{absent}" is missing in {source.description}{nearest(absent, source.names)}; give every '
            "feature column that the model was trained on"
        )
    for column in columns:
        given = (source.images or {}).get(column.name)
        if given and (*given[:2], 3) == column.shape:
            # Grey images alone, for a model of images that are not all grey.
            every = frozenset(info.path for info in list_files(data.location))
            source = open_source(data.location, data, Path(), scratch, Part(every, column.shape))
            given = (source.images or {}).get(column.name)
        if given and column.shape and given != column.shape:
            sizes = [f"{height}x{width} pixels and {many} channels" for height, width, many in (given, column.shape)]
            raise UserError(
                f'column "{column.name}": images of {sizes[0]} (height x width) in {source.description}, the model '
                f"takes {sizes[1]}; convert them"
            )
    return source


def encode_chunk(manifest: Manifest, chunk: dict[str, pa.Array], row: int) -> Rows:
    """A chunk as the model takes it.

    Args:
        manifest: Manifest of the model.
        chunk: All feature columns, and perhaps others.
        row: Number of the first row in the source.

    Raises:
        UserError: A value is of a wrong type; says in which row.
    """
    features = {column.name: chunk[column.name] for column in manifest.inputs}
    try:
        return encode_table(manifest, features)
    except UserError as error:
        place = next(
            (at for at in range(len(features[manifest.inputs[0].name])) if not _fits(manifest, features, at)), 0
        )
        raise UserError(f"{error} (row {row + place:,} of the source, counted from 0)") from error


def _fits(manifest: Manifest, features: dict[str, pa.Array], at: int) -> bool:
    try:
        encode_table(manifest, {name: values.slice(at, 1) for name, values in features.items()})
    except UserError:
        return False
    return True
