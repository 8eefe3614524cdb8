"""The reader that a source needs."""

import re
from pathlib import Path

from pyarrow import fs

from kep.config.data import DataSettings
from kep.core.errors import UserError, nearest
from kep.core.location import Location
from kep.data.sources import arrays, examples, images, tables
from kep.data.sources.bigquery import extracted
from kep.data.sources.unit import Part, Source
from kep.storage.locations import fetch, folder_of, list_files, path_of

_ENDINGS = {
    "csv": (".csv", ".csv.gz"),
    "parquet": (".parquet", ".pq"),
    "npz": (".npz",),
    "images": images.ENDINGS,
    "tfrecord": (".tfrecord", ".tfrecords", ".tfrecord.gz", ".tfrecords.gz"),
}
_SHARD = re.compile(r"-\d+-of-\d+$")
"""Suffix that TensorFlow appends to the name of each shard."""


def is_sklearn(settings: DataSettings) -> bool:
    """Return whether the source is a scikit-learn set."""
    if settings.format == "auto":
        return settings.location.scheme == "sklearn"
    return settings.format == "sklearn"


def format_of(location: Location, files: list[fs.FileInfo], settings: DataSettings) -> str:
    """The format that the settings name, or that the files' endings say.

    Raises:
        UserError: no reader knows the endings.
    """
    if settings.format != "auto":
        return settings.format
    for name, endings in _ENDINGS.items():
        if any(_ends(info, endings) for info in files):
            return name
    known = [ending for endings in _ENDINGS.values() for ending in endings]
    ending = Path(files[0].path).suffix
    raise UserError(
        f'data.source: "{location}" ends in "{ending}", which no reader knows{nearest(ending, known)}; '
        f"the known endings are {', '.join(known)}; convert it, or set data.format"
    )


def of_format(kind: str, files: list[fs.FileInfo]) -> list[fs.FileInfo]:
    """The files whose ending says the format; all of them where none does."""
    return [info for info in files if _ends(info, _ENDINGS[kind])] or files


def _ends(info: fs.FileInfo, endings: tuple[str, ...]) -> bool:
    return _SHARD.sub("", info.path.lower()).endswith(endings)


def open_source(
    location: Location, settings: DataSettings, base: Path, scratch: Path, part: Part | None = None
) -> Source:
    """The source at `location`: sklearn:NAME, bq://…, or a file, folder or glob; objects are downloaded to `scratch`.

    Args:
        location: where it is.
        settings: the data section of the run file.
        base: what local paths are relative to.
        scratch: folder for objects.
        part: what to read of it; all when not given.

    Raises:
        UserError: it does not exist or cannot be read.
    """
    if is_sklearn(settings):
        return arrays.sklearn_source(location.path)
    stored = extracted(location, settings)
    system, files = fetch(stored, base, scratch, None if part is None else part.paths)
    listed = list_files(stored, base) if part else files
    kind = format_of(location, listed, settings)
    if kind == "images":
        path = path_of(location, base)
        root = path if system.get_file_info(path).type == fs.FileType.Directory else None
        label, size = settings.label or "label", settings.image_size
        return images.image_source(location.text, root, system, listed, label, size, part)
    matching = of_format(kind, files)
    if kind == "csv":
        return tables.csv_source(location.text, system, matching, settings)
    if kind == "parquet":
        return tables.parquet_source(location.text, folder_of(stored, base), system, matching)
    if kind == "tfrecord":
        return examples.example_source(location.text, system, matching, settings)
    if len(matching) > 1:
        raise UserError(f'data.source: "{location}" holds {len(matching)} .npz files; name the one to read')
    return arrays.npz_source(location.text, system, matching[0])
