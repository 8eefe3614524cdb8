"""The fingerprint and the size of a source."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.data.sources.bigquery import look
from kep.data.sources.open import is_sklearn
from kep.storage.locations import digests, list_files, one_listing, stamps

CHANGED_BEFORE = (
    "data.source: the source is not what it was when the run was started; start the run again, on a source that nobody "
    "changes"
)


def fingerprint(settings: DataSettings, base: Path = Path(".")) -> str:
    """sha256 over the content and the relative names of the source's files, read in blocks.

    For gs:// the objects' sizes and CRC32C stand for their content; for bq:// the time of the tables' last change; for
    a scikit-learn set, its name and the version.

    Raises:
        UserError: the source does not exist.
    """
    if is_sklearn(settings):
        return hashlib.sha256(f"{settings.source} {version('scikit-learn')}".encode()).hexdigest()
    return combined(
        [
            look(location).key if location.scheme == "bq" else list(digests(location, base))
            for location in settings.locations.values()
        ]
    )


def combined(parts: Iterable[str | Iterable[Sequence[str]]]) -> str:
    """Return the fingerprint of what is known of each location.

    Args:
        parts: of each location what BigQuery says of it, or relative name and digest of its files in their order.
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            total.update(part.encode())
            continue
        for name, digest in part:
            total.update(f"{name}\0{digest}\n".encode())
        total.update(b"\n")
    return total.hexdigest()


def state(settings: DataSettings, base: Path = Path(".")) -> list[str | list[list[str | int]]]:
    """Return what changes with the content of a source, without reading it.

    Raises:
        UserError: the source does not exist.
    """
    if is_sklearn(settings):
        return []
    return [
        look(location).key if location.scheme == "bq" else stamps(location, base)
        for location in settings.locations.values()
    ]


@contextmanager
def unchanged(settings: DataSettings, given: str, base: Path = Path(".")) -> Iterator[None]:
    """Read a source in the block, which is what it was when the run was started, from the first read to the last.

    Args:
        settings: the data section of the run file.
        given: fingerprint that the run was started with; anything else says nothing of the content.
        base: what local paths are relative to.

    Raises:
        UserError: the source was changed.
    """
    with one_listing():
        before = state(settings, base)
        if is_fingerprint(given) and fingerprint(settings, base) != given:
            raise UserError(CHANGED_BEFORE)
        yield
    if state(settings, base) != before:
        raise UserError("data.source: the source was changed while ingest read it; start the run again")


def is_fingerprint(text: str) -> bool:
    """Return whether a text can be a fingerprint: a pipeline that was started by hand may have none."""
    return re.fullmatch("[0-9a-f]{64}", text) is not None


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
