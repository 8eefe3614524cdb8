"""The search of an earlier run, opened wherever it lies and verified against the digest that a run was started with."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kep.artifacts.study import Study
from kep.config.search import EarlierSearch
from kep.core.errors import UserError
from kep.core.files import scratch_folder
from kep.core.location import Location
from kep.data.schema import SplitInfo


@contextmanager
def opened(study: str, where: str) -> Iterator[Path]:
    """A study as a local folder: itself, or a download that is removed when the block ends.

    Args:
        study: Its folder, local or on gs://.
        where: Key of the run file that names it.

    Raises:
        UserError: It can't be read.
    """
    location = Location(study.rstrip("/"))
    if not location.is_cloud:
        yield Path(study)
        return
    from kep.google import objects

    with scratch_folder() as scratch:
        prefix = f"{location.object_name}/"
        found = objects.find(f"{location}/", lambda name: True, where)
        objects.download({blob.name.removeprefix(prefix): blob for blob in found}, scratch, where)
        yield scratch


CANDIDATES, RECORDS = "search.from", "search.warm_start"
"""Keys of the run file that name an earlier search: for its candidates, or for its records."""


def described(folder: Path, run: str, study: str, where: str) -> EarlierSearch:
    """Return what a run file names of a study, once its files are read.

    Args:
        folder: The study as a local folder.
        run: Name of its run for people.
        study: Where it lies.
        where: Key of the run file that names it.

    Raises:
        UserError: It is damaged, has no candidate, or is of a version that did not note its label.
    """
    try:
        found = Study.load(folder)
    except UserError as error:
        raise UserError(f"{where}: the search of {run} can't be used: {error}") from error
    if found.data is None:
        raise UserError(f"{where}: the search of {run} does not say what it predicted, as an earlier version wrote it")
    if not found.candidates:
        raise UserError(f"{where}: the search of {run} has no candidate; give another run")
    return EarlierSearch(
        run=run,
        study=study,
        digest=_digest(folder),
        task=found.data.task,
        classes=found.data.classes,
        families=sorted(found.spaces if where == RECORDS else {candidate.family for candidate in found.candidates}),
    )


def check(folder: Path, earlier: EarlierSearch, where: str) -> Study:
    """Return a study that is the one that the run was started with.

    Raises:
        UserError: It is another one, or damaged.
    """
    if _digest(folder) != earlier.digest:
        raise UserError(
            f"{where}: the search of {earlier.run} in {earlier.study} is gone or was changed after this run was "
            "started; restore it from a copy, or name another run"
        )
    return Study.load(folder)


def check_roles(study: Study, run: str, split: SplitInfo, where: str) -> None:
    """Refuse a search on rows that got their roles in another way: they chose, and may be test rows today.

    Args:
        study: The earlier search.
        run: Name of its run for people.
        split: How today's rows got their roles.
        where: Key of the run file that names it.

    Raises:
        UserError: The seed or the rule of the split differs.
    """
    before = study.data.split if study.data else None
    if before is None or before == split:
        return
    differ = [name for name in SplitInfo.model_fields if getattr(before, name) != getattr(split, name)]
    told = ", ".join(f"{name} {getattr(before, name)} there and {getattr(split, name)} here" for name in differ)
    raise UserError(
        f"{where}: rows got their roles in another way in {run} ({told}), so rows that chose its candidates may be "
        "test rows now; use the same seed and data.split, or search anew"
    )


def check_label(earlier: EarlierSearch, task: str, classes: list[str], where: str) -> None:
    """Refuse a search for another label than that of these data.

    Args:
        earlier: The search.
        task: Task of the label.
        classes: Its classes as texts, sorted; empty for a regression.
        where: Key of the run file that names it.

    Raises:
        UserError: It was for another one.
    """
    if earlier.task != task:
        raise UserError(f"{where}: {earlier.run} searched for a {earlier.task} label, and this one is {task}")
    if earlier.classes != classes:
        changed = sorted(set(earlier.classes) ^ set(classes)) or classes
        raise UserError(
            f'{where}: {earlier.run} searched for other classes than these data have ("{changed[0]}" differs); search '
            "anew"
        )


def check_families(earlier: EarlierSearch, names: list[str], where: str) -> None:
    """Refuse a search whose families are not all there.

    Raises:
        UserError: With the first one that is missing.
    """
    if missing := [name for name in earlier.families if name not in names]:
        raise UserError(
            f"{where}: {earlier.run} searched {missing[0]}, which is not in search.families "
            f"({', '.join(names)}); add it, or name another run"
        )


def _digest(folder: Path) -> str:
    """Return the sha256 over study.json and the trials' records, each of which holds the digest of its predictions."""
    total = hashlib.sha256()
    for path in [folder / Study.FILE, *sorted((folder / "trials").glob("*.json"))]:
        if path.is_file():
            total.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()
