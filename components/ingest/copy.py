"""A source that already is a records folder: verified, and copied as it is."""

import logging
import shutil
from pathlib import Path

import numpy as np

from components.ingest.sources import format_of, is_sklearn
from components.shared.errors import UserError
from components.shared.records import FOOTER, HEADER, read_shard
from components.shared.schema import FILE, Manifest
from components.shared.settings import DataSettings
from components.shared.storage import list_files

log = logging.getLogger("kep.ingest")


def is_records(settings: DataSettings, base: Path) -> bool:
    """Whether the source is a folder of TFRecords."""
    if settings.source is None or is_sklearn(settings):
        return False
    return format_of(settings.source, list_files(settings.source, base)[1], settings) == "tfrecord"


def open_records(settings: DataSettings, base: Path) -> tuple[Path, Manifest]:
    """The records folder and its manifest.

    Raises:
        UserError: its manifest is absent or not one that ingest wrote, or the settings ask for another label.
    """
    if settings.source.startswith("gs://"):
        raise UserError(f'data.source: records are read from a local folder; copy "{settings.source}" to one first')
    folder = (base / Path(settings.source).expanduser()).absolute()
    if not (folder / FILE).is_file():
        raise UserError(
            f'data.source: "{settings.source}" holds TFRecords without the {FILE} that ingest writes, so '
            "their columns "
            "are unknown; give the table that they were made from"
        )
    manifest = Manifest.load(folder)
    if settings.label not in (None, manifest.label.name):
        raise UserError(
            f'data.label: the records in "{settings.source}" have the label "{manifest.label.name}", not '
            f'"{settings.label}"; remove data.label or give the original table'
        )
    return folder, manifest


def copy_records(source: Path, manifest: Manifest, folder: Path) -> None:
    """Verifies each shard's CRC32C and copies it.

    Raises:
        UserError: a shard is missing or damaged.
    """
    for info in manifest.roles.values():
        for shard in info.shards:
            read_shard(source, shard, np.empty((shard.rows, HEADER + manifest.record.length + FOOTER), np.uint8))
            shutil.copyfile(source / shard.file, folder / shard.file)
    log.info("copied records with their roles as they are: data.split and the seed do not apply")
