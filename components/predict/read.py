"""The rows of a source as a model takes them: in chunks that are the same for whoever reads them, and however many."""

import math
from collections.abc import Iterator
from itertools import islice

import pyarrow as pa

from components.ingest.unit import Source
from components.shared.errors import UserError, nearest
from components.shared.schema import Column

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
        source: What is read.
        names: Of its columns.
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


def check_present(source: Source, columns: list[Column]) -> None:
    """Raises:
    UserError: The source lacks a column that the model was trained on.
    """
    absent = next((column.name for column in columns if column.name not in source.names), None)
    if absent is not None:
        raise UserError(
            f'column "{absent}" is missing in {source.description}{nearest(absent, source.names)}; give every '
            "feature column that the model was trained on"
        )
