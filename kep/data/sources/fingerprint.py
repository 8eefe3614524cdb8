"""The fingerprint and the size of a source."""

import hashlib
from importlib.metadata import version
from pathlib import Path

from kep.config.data import DataSettings
from kep.data.sources.bigquery import look
from kep.data.sources.open import is_sklearn
from kep.storage.locations import digests, list_files


def fingerprint(settings: DataSettings, base: Path = Path(".")) -> str:
    """sha256 over the content and the relative names of the source's files, read in blocks.

    For gs:// the objects' sizes and CRC32C stand for their content; for bq:// the time of the tables' last change; for
    a scikit-learn set, its name and the version.

    Raises:
        UserError: the source does not exist.
    """
    total = hashlib.sha256()
    if is_sklearn(settings):
        total.update(f"{settings.source} {version('scikit-learn')}".encode())
        return total.hexdigest()
    for location in settings.locations.values():
        if location.scheme == "bq":
            total.update(look(location).key.encode())
            continue
        for name, digest in digests(location, base):
            total.update(f"{name}\0{digest}\n".encode())
        total.update(b"\n")
    return total.hexdigest()


def size(settings: DataSettings, base: Path = Path(".")) -> int:
    """Bytes of the source's files; for bq:// those that BigQuery reads; 0 for a scikit-learn set.

    Raises:
        UserError: the source does not exist.
    """
    if is_sklearn(settings):
        return 0
    return sum(
        look(location).bytes if location.scheme == "bq" else sum(info.size for info in list_files(location, base))
        for location in settings.locations.values()
    )
