"""Champions: a folder of versions of an ensemble, local or on gs://, and the pointer to the one that serves.

The pointer is moved in one piece and last, so that a reader finds a whole version or the one before.
"""

import hashlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from kep.core.errors import UserError
from kep.core.files import new_folder, scratch_folder
from kep.core.json_model import JsonFile, JsonModel, is_none
from kep.core.location import Location

OPENINGS = "openings.json"
"""File in the champions' folder: by fingerprint of test rows, the versions that were scored on them."""
SAMPLE = 1000
"""Most ids that are kept of the test rows of an opening."""
POINTER = "champion.json"
"""File in the champions' folder whose `version` names the folder under `versions/` that serves."""
_WHERE = "promote.champion"
_VERSION = re.compile("[0-9a-f]{12}")
"""Names of versions as `content_version` makes them."""


class Promotion(JsonFile):
    """The content of the pointer: the version that serves, and why."""

    FILE: ClassVar[str] = POINTER
    KIND: ClassVar[str] = "a pointer to a champion"
    REMEDY: ClassVar[str] = "restore the file, or remove it to start without a champion"

    version: str
    """Name of the folder under `versions/`."""
    reason: str = ""
    """Why it became champion, for people."""
    forced: bool = False
    """True if it was promoted against the comparison."""
    replaced: str | None = None
    """The version that served before."""


class Champion(JsonModel):
    """The pipeline's parameter `champion`: where champions lie, and the one to compare with."""

    KIND: ClassVar[str] = "a champion"
    REMEDY: ClassVar[str] = "compile the pipeline again"

    folder: str
    """The champions' folder; empty for the one in the bucket that the run is submitted with."""
    version: str | None = None
    """Name of the version to compare with; None for the one that the pointer names when the step runs."""
    run: str | None = Field(default=None, exclude_if=is_none)
    """Name of the run, where evaluate must not be answered from the cache of another."""

    @classmethod
    def of_parameter(cls, text: str) -> "Champion":
        """Parse the parameter.

        Raises:
            UserError: The text is not a champion.
        """
        return cls.from_json(text, "the parameter champion")

    @property
    def lasting(self) -> bool:
        """True if the folder is absolute or on Cloud Storage: any other is lost with the task."""
        return Location(self.folder).is_cloud or Path(self.folder).is_absolute()

    def check_lasting(self) -> None:
        """Refuse a folder that would be lost with the task, as in a pipeline that `kep` did not start.

        Raises:
            UserError: It would be.
        """
        if not self.lasting:
            raise UserError(
                f'promote.champion: "{self.folder}" would be lost with this task; start the run with `kep submit`, or '
                "give the pipeline's input champion a folder on gs:// or on a volume"
            )

    @property
    def current(self) -> str | None:
        """Folder of the version to compare with, read from the pointer where no version is named; None without one.

        Raises:
            UserError: The pointer can't be read.
        """
        return read(self.folder).champion if self.version is None else version_folder(self.folder, self.version)


class Openings(JsonFile):
    """Ensembles that were scored on which test rows, in the champions' folder."""

    FILE: ClassVar[str] = OPENINGS
    KIND: ClassVar[str] = "the openings of test rows"
    REMEDY: ClassVar[str] = "restore it from a copy, or remove it to count anew"

    ensembles: dict[str, list[str]]
    """Versions of ensembles by fingerprint of the test rows."""
    rows: dict[str, list[int]] = Field(default_factory=dict)
    """The `SAMPLE` smallest ids of these test rows, or all of them. Openings of before there were ids have none."""

    def noted(self, fingerprint: str, by: str, ids: Iterable[int]) -> "Openings":
        """Return these openings and one more; the same one again changes nothing."""
        return Openings(
            ensembles=self.ensembles | {fingerprint: sorted({*self.ensembles.get(fingerprint, []), by})},
            rows=self.rows | {fingerprint: sorted(set(ids))[:SAMPLE]},
        )

    def opened(self, fingerprint: str) -> "Opened":
        """Return how often test rows were opened, as a whole and in part."""
        whole = len(self.ensembles[fingerprint])
        # Ids are hashes: the smallest are a sample of the rows, and the same sample of every set of rows.
        bound = min((ids[-1] for ids in self.rows.values() if len(ids) == SAMPLE), default=math.inf)
        own = {id for id in self.rows[fingerprint] if id <= bound}
        others = {id for other, ids in self.rows.items() if other != fingerprint for id in ids}
        return Opened(whole, len(own & others) / len(own) if own else 0.0)


@dataclass(frozen=True)
class Opened:
    """How often test rows were opened.

    Attributes:
        ensembles: Ensembles that were ever scored on these very rows, the last one included.
        before: Share of these rows that were among other test rows before, estimated where there are many.
    """

    ensembles: int
    before: float


@dataclass(frozen=True)
class Pointer:
    """The pointer of a folder as it was read.

    Attributes:
        folder: The champions' folder.
        promotion: Its content; None where there is no champion.
        generation: Generation of the pointer's object on gs://, 0 where there is none; a local one has none.
    """

    folder: str
    promotion: Promotion | None = None
    generation: int = 0

    @property
    def version(self) -> str | None:
        """Name of the version; None where there is no champion."""
        return None if self.promotion is None else self.promotion.version

    @property
    def champion(self) -> str | None:
        """Folder of the version; None where there is no champion."""
        return None if self.promotion is None else version_folder(self.folder, self.promotion.version)


def version_folder(folder: str, version: str) -> str:
    """Return the folder of a version in a folder of champions."""
    return f"{folder}/versions/{version}"


def read(folder: str | Path) -> Pointer:
    """Read the pointer as it is now.

    Raises:
        UserError: It can't be read.
    """
    folder = str(folder).rstrip("/")
    if Location(folder).is_cloud:
        from kep.google import objects

        place = f"{folder}/{POINTER}"
        content, generation = objects.read(place, _WHERE)
        return Pointer(folder, Promotion.from_json(content, place) if content else None, generation)
    return Pointer(folder, Promotion.load(folder) if (Path(folder) / POINTER).exists() else None)


def serving(folder: Path) -> Path:
    """Return the ensemble that a local folder of champions serves; a folder without a pointer is one itself.

    Raises:
        UserError: The pointer can't be read, or the version that it names is gone or damaged.
    """
    champion = read(folder).champion
    if champion is None:
        return folder
    _check(champion, Path(champion))
    return Path(champion)


@contextmanager
def opened(champion: str) -> Iterator[Path]:
    """A version as a local folder: itself, or a download that is removed when the block ends.

    Raises:
        UserError: It can't be read, is gone, or is damaged.
    """
    if not Location(champion).is_cloud:
        _check(champion, Path(champion))
        yield Path(champion)
        return
    from kep.google import objects

    with scratch_folder() as scratch:
        prefix = champion.partition("//")[2].partition("/")[2].rstrip("/") + "/"
        found = objects.find(f"{champion.rstrip('/')}/", lambda name: True, _WHERE)
        objects.download({blob.name.removeprefix(prefix): blob for blob in found}, scratch, _WHERE)
        _check(champion, scratch)
        yield scratch


def _check(champion: str, files: Path) -> None:
    """Verify the files of a version against the hash that names its folder.

    Args:
        champion: Folder of the version.
        files: The folder, or a download of it.

    Raises:
        UserError: They are gone or damaged.
    """
    if not files.is_dir() or not any(files.iterdir()):
        state = "gone"
    elif not _is_whole(files, champion.rstrip("/").rpartition("/")[2]):
        state = "damaged"
    else:
        return
    raise UserError(
        f"the files of the champion in {champion} are {state}; restore them from a copy, or remove the {POINTER} that "
        "names it: `kep run … --from evaluate --force` then writes a champion again"
    )


def _is_whole(files: Path, version: str) -> bool:
    """Return whether files are those of a version; the name of one that kep did not write says nothing."""
    return _VERSION.fullmatch(version) is None or content_version(files) == version


def move(pointer: Pointer, promotion: Promotion, ensemble: Path) -> bool:
    """Add a version and make it the champion.

    Args:
        pointer: The pointer as it was when the promotion was decided.
        promotion: The new content; a version that is there already, and whole, is not written again.
        ensemble: Folder of the version's files.

    Returns:
        Whether it became the champion: another writer may have been first. Then the version stays.

    Raises:
        UserError: It can't be written.
    """
    add(pointer.folder, promotion.version, ensemble)
    return point(pointer, promotion)


def add(folder: str, version: str, ensemble: Path) -> bool:
    """Write the files of a version where they are not there, or are damaged.

    Args:
        folder: The champions' folder.
        version: Name of the version.
        ensemble: Folder of its files.

    Returns:
        Whether anything had to be written.

    Raises:
        UserError: It can't be written.
    """
    target = version_folder(folder, version)
    if Location(folder).is_cloud:
        from kep.google import objects

        return objects.upload(ensemble, target, _WHERE)
    if Path(target).is_dir() and _is_whole(Path(target), version):
        return False
    with new_folder(target) as copy:
        shutil.copytree(ensemble, copy, dirs_exist_ok=True)
    return True


def point(pointer: Pointer, promotion: Promotion) -> bool:
    """Make a version that is there the champion; arguments and result as of `move`."""
    if Location(pointer.folder).is_cloud:
        from kep.google import objects

        text = json.dumps(promotion.with_fingerprint(), indent=1, sort_keys=True) + "\n"
        return objects.replace(f"{pointer.folder}/{POINTER}", text.encode(), pointer.generation, _WHERE)
    with locked(pointer.folder):
        if read(pointer.folder).promotion != pointer.promotion:
            return False
        promotion.save(pointer.folder)
    return True


def versions(folder: str) -> list[str]:
    """Names of the versions in a folder of champions.

    Raises:
        UserError: It can't be read.
    """
    folder = folder.rstrip("/")
    if Location(folder).is_cloud:
        from kep.google import objects

        prefix = f"{folder.partition('//')[2].partition('/')[2]}/versions/"
        found = objects.find(f"{folder}/versions", None, _WHERE)
        return sorted({blob.name.removeprefix(prefix).partition("/")[0] for blob in found})
    place = Path(folder) / "versions"
    return (
        sorted(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
        if place.is_dir()
        else []
    )


def content_version(ensemble: Path) -> str:
    """12 hexadecimal digits of the hash of an ensemble's files: promoting one twice makes one version."""
    digest = hashlib.sha256()
    for path in sorted(path for path in ensemble.rglob("*") if path.is_file()):
        if path.name != "step.json":  # times, which differ between equal ensembles
            digest.update(f"{path.relative_to(ensemble)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def note_opening(folder: str, fingerprint: str, by: str, ids: Iterable[int] = ()) -> Opened:
    """Note beside the champions that test rows were opened, and count by how many.

    Args:
        folder: The champions' folder.
        fingerprint: Fingerprint of the test rows.
        by: Version of the ensemble that was scored on them; the same one again is one opening.
        ids: Ids of the rows.

    Returns:
        How often these rows were opened, this time included.

    Raises:
        UserError: It can't be written.
    """
    location = Location(folder.rstrip("/"))
    if location.is_cloud:
        from kep.google import objects

        place = (location / OPENINGS).text
        while True:
            text, generation = objects.read(place, _WHERE)
            before = Openings.from_json(text, place) if text else Openings(ensembles={})
            now = before.noted(fingerprint, by, ids)
            written = json.dumps(now.with_fingerprint(), indent=1, sort_keys=True).encode()
            if now == before or objects.replace(place, written, generation, _WHERE):
                return now.opened(fingerprint)
    with locked(folder):
        path = Path(folder) / OPENINGS
        now = (Openings.load(folder) if path.exists() else Openings(ensembles={})).noted(fingerprint, by, ids)
        now.save(folder)
    return now.opened(fingerprint)


def check_writable(folder: str | Path) -> None:
    """Make a local folder of champions, if it is not there, and see that it can be written.

    Raises:
        UserError: It can't be.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{_WHERE}: {folder} can't be written ({error.strerror}); choose another folder") from error


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold a local folder of champions alone, whichever run file names it; the lock goes with the process.

    Raises:
        UserError: The folder can't be written.
    """
    check_writable(folder)
    with open(Path(folder) / ".lock", "w", encoding="utf-8") as file:
        flock(file, LOCK_EX)
        yield
