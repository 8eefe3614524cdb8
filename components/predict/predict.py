"""Predictions of a slice of a source as shards in Parquet, and the shards of all slices as one data set."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kep.artifacts.predictions import (
    SHARDS,
    PredictedColumn,
    PredictedShard,
    PredictingModel,
    PredictionSet,
    SourceSlice,
)
from kep.components.predict.plan import ROW, VERSION, prediction_columns
from kep.components.predict.read import chunk_rows, chunks, encode_chunk, open_for
from kep.config.prediction import PredictSettings
from kep.core.errors import RunError
from kep.core.files import write_file
from kep.data.columns import plain
from kep.data.schema import Label
from kep.stats.observed import Observed, ObservedCounts, PredictionBins
from kep.storage.locations import list_files

if TYPE_CHECKING:
    from kep.models.ensemble import Ensemble


def as_table(label: Label, predictions: np.ndarray) -> pa.Table:
    """Predictions as columns.

    Args:
        label: Label to predict.
        predictions: Shape [n, classes] or [n].
    """
    names = prediction_columns(label)
    if label.classes is None:
        return pa.table({names[0]: predictions.reshape(-1)})
    best = pa.array(label.classes).take(pa.array(label.decide(predictions)))
    return pa.table([best, *(pa.array(column) for column in predictions.T.copy())], names)


@dataclass
class _ShardWriter:
    """One shard of predictions while it is made.

    Attributes:
        ensemble: The model.
        bins: Bins of the predictions; empty to count nothing.
        key: Column that names a row; None for the row's number.
        version: Version of the model.
    """

    ensemble: "Ensemble"
    bins: list[PredictionBins]
    key: str | None
    version: str
    _observed: Observed = field(default_factory=Observed)
    _tables: list[pa.Table] = field(default_factory=list)

    def add(self, chunk: dict[str, pa.Array], row: int, rows: int) -> None:
        """Predict a chunk whose first row has the number `row`."""
        manifest = self.ensemble.manifest
        encoded = encode_chunk(manifest, chunk, row)
        predictions = self.ensemble.combine(self.ensemble.predict_members(encoded))
        if self.bins:
            self._observed.add(manifest, self.bins, chunk, encoded, predictions)
        named = pa.array(np.arange(row, row + rows)) if self.key is None else plain(chunk[self.key])
        table = as_table(manifest.label, manifest.label.restored(predictions)).add_column(0, self.key or ROW, named)
        self._tables.append(table.append_column(VERSION, pa.array([self.version] * rows)))

    def write(self, file: Path, counts: Path) -> None:
        """Write the counts and then the predictions: a shard is whole where its file of predictions is."""
        if self.bins:
            self._observed.record().write(counts)
        table = pa.concat_tables(self._tables).combine_chunks()
        write_file(file, lambda path: pq.write_table(table, path))


def predict_slice(
    ensemble: "Ensemble",
    bins: list[PredictionBins],
    own: SourceSlice,
    settings: PredictSettings,
    work: Path,
    out: Path,
    say: Callable[[str, int, int], None],
) -> None:
    """Predicts the shards of a slice into `out`; those that are whole in `work` are not predicted again.

    Args:
        ensemble: The model.
        bins: Bins of the predictions; empty to count nothing.
        own: The slice.
        settings: Settings of the prediction.
        work: Folder that keeps shards, and objects, between attempts.
        out: Empty folder.
        say: Gets a text, and how many of how many shards are there.

    Raises:
        UserError: A value is none that the model takes.
        RunError: The source is not any more what it was when it was planned.
    """
    manifest = ensemble.manifest
    features = [column.name for column in manifest.inputs]
    names = features if settings.key is None or settings.key in features else [*features, settings.key]
    (work / "source").mkdir(parents=True, exist_ok=True)
    source = open_for(manifest.inputs, settings.data, work / "source", _paths(own, settings))
    read = islice(chunks(source, names, chunk_rows(manifest.inputs), own.unit), own.skip, None)
    first, beyond = own.shards
    row, end = own.row, own.row + own.rows
    for number in range(first, beyond):
        file, counts = (work / name for name in shard_names(number, own.total))
        whole, begun = file.is_file(), row
        shard = _ShardWriter(ensemble, bins, settings.key, own.version)
        while row < end and row - begun < settings.shard_rows:
            chunk = next(read, None)
            rows = 0 if chunk is None else len(chunk[names[0]])
            if chunk is None or not rows or row + rows > end:
                raise RunError(f"{settings.data.source} changed while it was predicted; run it again")
            if not whole:
                shard.add(chunk, row, rows)
            row += rows
        if not whole:
            shard.write(file, counts)
        state = "was predicted before" if whole else f"{row - begun:,} rows"
        say(f"shard {number + 1} of {own.total}: {state}", number + 1 - first, beyond - first)
    for path in work.glob("part-*"):
        shutil.copyfile(path, out / path.name)
    own.save(out)


def _paths(own: SourceSlice, settings: PredictSettings) -> list[str] | None:
    """Return the source's files that a slice needs; None for all."""
    if own.files is None:
        return None
    return [info.path for info in list_files(settings.data.location)][slice(*own.files)]


def shard_names(number: int, total: int) -> tuple[str, str]:
    """Names of a shard's predictions and of the counts of its rows."""
    name = f"part-{number:05d}-of-{total:05d}"
    return f"{name}.parquet", f"{name}.json"


def join(folders: list[Path], settings: PredictSettings, out: Path) -> PredictionSet:
    """Make one data set of all slices: the shards, what they are, and counts of the rows that were predicted.

    Args:
        folders: Outputs of `predict_slice`, in any order.
        settings: Settings of the prediction.
        out: Empty folder.

    Raises:
        RunError: A shard is missing.
    """
    first = SourceSlice.load(folders[0])
    (out / SHARDS).mkdir()
    shards, observed = [], Observed()
    for number in range(first.total):
        name, counts = shard_names(number, first.total)
        folder = next((folder for folder in folders if (folder / name).is_file()), None)
        if folder is None:
            raise RunError(f"{name} is missing in what the tasks wrote; run the prediction again")
        shutil.copyfile(folder / name, out / SHARDS / name)
        shards.append(PredictedShard(file=name, rows=pq.read_metadata(out / SHARDS / name).num_rows))
        if (folder / counts).is_file():
            observed.merge(ObservedCounts.read(folder / counts).observed())
    if observed.rows:
        observed.record().save(out)
    made = PredictionSet(
        model=PredictingModel(folder=first.model, version=first.version),
        data=settings.data.source or "",
        source=first.source,
        key=settings.key,
        rows=sum(shard.rows for shard in shards),
        columns=columns_of(pq.read_schema(out / SHARDS / shards[0].file)),
        shards=shards,
    )
    made.save(out)
    return made


def columns_of(schema: pa.Schema) -> list[PredictedColumn]:
    """Return the columns of a table of predictions."""
    return [PredictedColumn(name=field.name, type=str(field.type)) for field in schema]
