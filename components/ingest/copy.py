"""A source that already is a records folder: verified, and copied as it is."""

import logging
import shutil
from pathlib import Path

from kep.components.ingest.label import check_positive, is_class
from kep.components.ingest.weighting import BALANCED
from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.core.location import Location
from kep.data.schema import FILE, Manifest
from kep.data.shards import read_shard
from kep.data.sources.open import format_of, is_sklearn
from kep.storage.locations import fetch, list_files, path_of

log = logging.getLogger("kep.ingest")


def own_manifest(settings: DataSettings, base: Path, scratch: Path) -> Manifest | None:
    """The manifest of a source that is a records folder, None for any other source.

    Raises:
        UserError: the manifest is damaged, or the settings ask for another label.
    """
    location = settings.location
    if settings.source is None or is_sklearn(settings) or location.scheme == "bq":
        return None
    files = list_files(location, base)
    if format_of(location, files, settings) != "tfrecord":
        return None
    if f"{path_of(location, base)}/{FILE}" not in [info.path for info in files]:
        return None
    path = _fetched(location / FILE, base, scratch)
    # Other tools call a file so too; one that names roles and shards is ours, and must be whole.
    if b'"shards"' not in path.read_bytes():
        return None
    manifest = Manifest.load(path.parent)
    if settings.label not in (None, manifest.label.name):
        raise UserError(
            f'data.label: the records in "{settings.source}" have the label "{manifest.label.name}", not '
            f'"{settings.label}"; remove data.label or give the original table'
        )
    if settings.positive is not None:
        check_positive(settings.positive, manifest.label)
        if not is_class((manifest.label.classes or [])[1], settings.positive):
            raise UserError(
                f'data.positive: the records in "{settings.source}" were written with the positive class '
                f'"{(manifest.label.classes or [])[1]}"; remove data.positive or give the original table'
            )
    if settings.weight is not None and settings.weight != _weight_of(manifest):
        written = _weight_of(manifest) or "no weights"
        raise UserError(
            f'data.weight: the records in "{settings.source}" were written with {written}; remove data.weight or give '
            "the original table"
        )
    return manifest


def _weight_of(manifest: Manifest) -> str | None:
    """Return the setting `data.weight` that the records were written with."""
    return None if manifest.weighting is None else manifest.weighting.column or BALANCED


def _fetched(location: Location, base: Path, scratch: Path) -> Path:
    """Where the file or folder lies, after a download for gs://."""
    fetch(location, base, scratch)
    return scratch / path_of(location, base)  # a local path is absolute, which leaves nothing of the scratch folder


def copy_records(settings: DataSettings, base: Path, scratch: Path, manifest: Manifest, folder: Path) -> None:
    """Verifies each shard's CRC32C and copies it.

    Raises:
        UserError: a shard is missing or damaged.
    """
    source = _fetched(settings.location, base, scratch)
    for info in manifest.roles.values():
        for shard in info.shards:
            for _ in read_shard(source, manifest, shard):
                pass
            shutil.copyfile(source / shard.file, folder / shard.file)
    log.info("copied records with their roles as they are: data.split and the seed do not apply")
