"""Champions: a folder of versions of an ensemble, local or on gs://, and the pointer to the one that serves.

The pointer is moved in one piece and last, so that a reader finds a whole version or the one before.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kep.core.files import new_folder, read_json, scratch_folder, write_json

POINTER = "champion.json"
"""File in the champions' folder whose `version` names the folder under `versions/` that serves."""
_WHERE = "promote.champion"
_CLOUD = "gs://"


@dataclass(frozen=True)
class Pointer:
    """What a folder's pointer said when it was read.

    Attributes:
        folder: The champions' folder.
        version: Name of the version; None where there is no champion.
        generation: Of the pointer's object on gs://, 0 where there is none; a local one has none.
        facts: What else it said.
    """

    folder: str
    version: str | None
    generation: int = 0
    facts: dict = field(default_factory=dict)

    @property
    def champion(self) -> str | None:
        """Folder of the version."""
        return None if self.version is None else f"{self.folder}/versions/{self.version}"


def read(folder: str | Path) -> Pointer:
    """The pointer as it is now.

    Raises:
        UserError: It can't be read.
    """
    folder = str(folder).rstrip("/")
    if folder.startswith(_CLOUD):
        from kep.google import objects

        content, generation = objects.read(f"{folder}/{POINTER}", _WHERE)
        facts = json.loads(content or "{}")
        return Pointer(folder, facts.pop("version", None), generation, facts)
    pointer = Path(folder) / POINTER
    facts = read_json(pointer) if pointer.exists() else {}
    return Pointer(folder, facts.pop("version", None), facts=facts)


def serving(folder: Path) -> Path:
    """The ensemble that a local folder of champions serves; a folder without a pointer is one itself."""
    return Path(read(folder).champion or folder)


@contextmanager
def opened(champion: str) -> Iterator[Path]:
    """A version as a local folder: itself, or a download that is removed when the block ends.

    Raises:
        UserError: It can't be read.
    """
    if not champion.startswith(_CLOUD):
        yield Path(champion)
        return
    from kep.google import objects

    with scratch_folder() as scratch:
        prefix = champion.partition("//")[2].partition("/")[2].rstrip("/") + "/"
        found = objects.find(champion, None, _WHERE)
        objects.download({blob.name.removeprefix(prefix): blob for blob in found}, scratch, _WHERE)
        yield scratch


def move(pointer: Pointer, version: str, ensemble: Path, facts: dict) -> bool:
    """Adds a version and makes it the champion.

    Args:
        pointer: As it was when it was decided.
        version: Name of the version; one that is there already is not written again.
        ensemble: Folder of the version's files.
        facts: What else the pointer says.

    Returns:
        Whether it became the champion: on gs:// another writer may have been first. Then the version stays.

    Raises:
        UserError: It can't be written.
    """
    if pointer.folder.startswith(_CLOUD):
        from kep.google import objects

        objects.upload(ensemble, f"{pointer.folder}/versions/{version}", _WHERE)
        return point(pointer, version, facts)
    target = Path(pointer.folder) / "versions" / version
    if not target.exists():
        with new_folder(target) as copy:
            shutil.copytree(ensemble, copy, dirs_exist_ok=True)
    return point(pointer, version, facts)


def point(pointer: Pointer, version: str, facts: dict) -> bool:
    """Makes a version that is there the champion; arguments and result as of `move`."""
    content = {"version": version, **facts}
    if pointer.folder.startswith(_CLOUD):
        from kep.google import objects

        text = json.dumps(content, indent=1, sort_keys=True) + "\n"
        return objects.replace(f"{pointer.folder}/{POINTER}", text.encode(), pointer.generation, _WHERE)
    write_json(Path(pointer.folder) / POINTER, content)
    return True


def versions(folder: str) -> list[str]:
    """Names of the versions in a folder of champions.

    Raises:
        UserError: It can't be read.
    """
    folder = folder.rstrip("/")
    if folder.startswith(_CLOUD):
        from kep.google import objects

        prefix = f"{folder.partition('//')[2].partition('/')[2]}/versions/"
        found = objects.find(f"{folder}/versions", None, _WHERE)
        return sorted({blob.name.removeprefix(prefix).partition("/")[0] for blob in found})
    place = Path(folder) / "versions"
    return sorted(path.name for path in place.iterdir() if path.is_dir()) if place.is_dir() else []


def content_version(ensemble: Path) -> str:
    """12 hexadecimal digits of the hash of an ensemble's files: promoting one twice makes one version."""
    digest = hashlib.sha256()
    for path in sorted(path for path in ensemble.rglob("*") if path.is_file()):
        if path.name != "step.json":  # times, which differ between equal ensembles
            digest.update(f"{path.relative_to(ensemble)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
