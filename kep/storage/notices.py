"""Marks beside the champions: what was told, by which way, so that it is told once; and what a run decided."""

from pathlib import Path

from kep.core.files import write_file
from kep.core.location import Location

FOLDER = "notices"
"""Folder in the champions' folder; a file for each message and way."""
_WHERE = "notify"


def marked(champions: str, key: str) -> str | None:
    """Return the content of a mark; None where there is none.

    Args:
        champions: The champions' folder, local or on gs://.
        key: Name of the mark.

    Raises:
        UserError: It can't be read.
    """
    place = Location(champions.rstrip("/")) / FOLDER / key
    if place.is_cloud:
        from kep.google import objects

        content = objects.read(place.text, _WHERE)[0]
        return None if content is None else content.decode()
    return Path(place.text).read_text(encoding="utf-8") if Path(place.text).exists() else None


def mark(champions: str, key: str, content: str) -> None:
    """Leave a mark; one that is there stays as it is.

    Args:
        champions: The champions' folder, local or on gs://.
        key: Name of the mark.
        content: Content of the mark.

    Raises:
        UserError: It can't be written on gs://.
        OSError: It can't be written here.
    """
    place = Location(champions.rstrip("/")) / FOLDER / key
    if place.is_cloud:
        from kep.google import objects

        objects.replace(place.text, content.encode(), 0, _WHERE)
    elif not Path(place.text).exists():
        write_file(place.text, lambda path: path.write_text(content, encoding="utf-8"))
