"""Plan of a prediction: the source is cut into shards, and each task gets some consecutive ones.

Shards are the same for any number of tasks, and so are the files of predictions, byte for byte.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from kep.artifacts.member import EnsembleFile
from kep.artifacts.predictions import SourceSlice
from kep.components.predict.read import chunk_rows, chunks, cut, encode_chunk, open_for
from kep.config.prediction import PredictSettings
from kep.core.errors import UserError, nearest
from kep.data.columns import plain
from kep.data.schema import Label, Manifest
from kep.data.sources.fingerprint import fingerprint
from kep.data.sources.open import is_sklearn
from kep.data.sources.unit import Source
from kep.storage import champions
from kep.storage.champions import content_version
from kep.storage.locations import list_files

ROW, VERSION = "row", "model_version"
"""Columns of the predictions: the row's number in the source, where no key is named, and what predicted it."""


@dataclass
class _Shard:
    """Where a shard begins, and how many rows it has; `files` as in SourceSlice."""

    files: list[int] | None
    unit: int
    skip: int
    row: int
    rows: int = 0


def plan(folder: Path, settings: PredictSettings, scratch: Path) -> list[SourceSlice]:
    """Holds a source against a model, counts its rows, and shares them among tasks.

    Args:
        folder: Folder of an ensemble, or of champions.
        settings: Settings of the prediction; paths are absolute.
        scratch: Folder for objects.

    Returns:
        One for each task, at most `settings.tasks` and at least one.

    Raises:
        UserError: There is no model, the source can't be read or has no rows, a column is missing, unknown or of
            another type, or the key can't be one.
    """
    model = ensemble_of(folder)
    manifest = Manifest.load(model)
    source = open_for(manifest.inputs, settings.data, scratch)
    check_columns(source, manifest, settings)
    shards = _shards(source, settings, chunk_rows(manifest.inputs))
    if not shards:
        raise UserError(f"{source.description} has no rows; there is nothing to predict")
    # What a whole column holds shows at the start: the first rows are read as the model reads them.
    names = [column.name for column in manifest.inputs]
    encode_chunk(manifest, next(chunks(source, names, chunk_rows(manifest.inputs))), 0)
    whole = {
        "model": model.relative_to(folder).as_posix(),
        "version": content_version(model),
        "source": fingerprint(settings.data),
        "total": len(shards),
    }
    tasks = min(settings.tasks, len(shards))
    ends = [number * len(shards) // tasks for number in range(tasks + 1)]
    return [_slice(number, tasks, shards, ends[number : number + 2], whole) for number in range(tasks)]


def ensemble_of(folder: Path) -> Path:
    """Return the ensemble that a folder of one, or of champions, serves.

    Raises:
        UserError: There is none, or it is damaged.
    """
    model = champions.serving(folder)
    if not (model / EnsembleFile.FILE).is_file():
        raise UserError(f"{folder} holds no ensemble; give the folder that a run calls ensemble, or one of champions")
    return model


def _slice(number: int, tasks: int, shards: list[_Shard], ends: list[int], whole: dict[str, Any]) -> SourceSlice:
    own = shards[slice(*ends)]
    first, last = own[0], own[-1]
    return SourceSlice(
        number=number,
        tasks=tasks,
        shards=ends,
        files=None if first.files is None or last.files is None else [first.files[0], last.files[1]],
        unit=first.unit,
        skip=first.skip,
        row=first.row,
        rows=sum(shard.rows for shard in own),
        **whole,
    )


def check_columns(source: Source, manifest: Manifest, settings: PredictSettings) -> None:
    """Holds the columns of a source against those that a model was trained on.

    Columns that the model's own source had may be there, the label, the key and an index too.

    Raises:
        UserError: One is unknown, or the key can't be one.
    """
    key = settings.key
    if key is not None:
        if key not in source.names:
            raise UserError(f'key: column "{key}" is not in {source.description}{nearest(key, source.names)}')
        if key in (source.images or {}):
            raise UserError(f'key: column "{key}" holds images, which name no row; name another column')
        if key in [*prediction_columns(manifest.label), VERSION]:
            raise UserError(f'key: the predictions have a column "{key}" of their own; rename it in the source')
    names = [column.name for column in manifest.inputs]
    fine = {*names, *manifest.ignored, manifest.label.name, source.label, key, *settings.data.exclude}
    fine |= source.all_index
    unknown = next((name for name in source.names if name not in fine), None)
    if unknown is not None:
        raise UserError(
            f'column "{unknown}" of {source.description} is unknown to the model{nearest(unknown, names)}; remove it, '
            "exclude it, or make it the key"
        )


def prediction_columns(label: Label) -> list[str]:
    """Names of the columns that say what is predicted: the class, or the number; then probabilities."""
    return ["prediction", *(f"probability_{name}" for name in label.classes or [])]


def _shards(source: Source, settings: PredictSettings, most: int) -> list[_Shard]:
    """Where each shard begins: with the first chunk after `shard_rows` rows."""
    key = settings.key
    # One column is enough to count rows; images would have to be decoded.
    counted = key or next((name for name in source.names if name not in (source.images or {})), source.names[0])
    numbers = {} if is_sklearn(settings.data) else {f.path: i for i, f in enumerate(list_files(settings.data.location))}
    shards: list[_Shard] = []
    row, unit, before, kind = 0, -1, None, None
    for one in source.units([counted]):
        unit = unit + 1 if one.path == before else 0
        before = one.path
        files = [numbers[one.path], numbers[one.path] + 1] if one.path else None
        for skip, chunk in enumerate(cut(one.read(*one.args), most)):
            if key is not None:
                kind = _check_key(plain(chunk.column(0)), key, row, kind, one.file)
            if not shards or shards[-1].rows >= settings.shard_rows:
                shards.append(_Shard(files and list(files), unit, skip, row))
            last = shards[-1]
            last.rows += chunk.num_rows
            row += chunk.num_rows
            if files and last.files:
                last.files[1] = files[1]
    return shards


def _check_key(values: pa.Array, key: str, row: int, before: pa.DataType | None, file: str) -> pa.DataType:
    """The type of a chunk of keys, whose first one has the number `row`."""
    if values.null_count:
        place = row + values.is_null().index(True).as_py()
        raise UserError(f'key: column "{key}" has no value in row {place} of the source, counted from 0; fill it')
    if before not in (None, values.type):
        raise UserError(f'key: column "{key}" is {values.type} in {file} and {before} before; write it with one type')
    return values.type
