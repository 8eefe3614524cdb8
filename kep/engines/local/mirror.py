"""A folder of runs on gs://: it has a local folder, which runs work in and which finished runs are copied from and to.

A run is uploaded whole before the pointer of its name is moved to it, so that a reader finds a whole run. What a run
that was cut short left behind stays in the local folder, where the same command goes on.
"""

import re
from pathlib import Path

from kep.artifacts.run import LatestRun
from kep.core.errors import UserError
from kep.core.files import link, write_file
from kep.core.location import Location
from kep.engines.local.runner import RunsFolder

HERE = Path("runs") / ".gs"
"""Holds the local folders of runs on gs://."""
_ADDRESS = ".address"
"""File of such a folder: where its runs are."""
_RECORDS = {"run.json", "job.json", "outcome.json", "verdict.json", "events.jsonl", "evaluation.json", "report.html"}
"""Files that tell of a run in a list."""
_WHERE = "--runs"
_BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]+(/[^/]+)*")


def folder_of(runs: str | Path) -> Path:
    """The local folder of all runs, for a path or gs://BUCKET/FOLDER.

    Raises:
        UserError: The address is none.
    """
    if not Location(str(runs)).is_cloud:
        return Path(runs)
    address = str(runs).rstrip("/")
    if not _BUCKET.fullmatch(address):
        raise UserError(f'{_WHERE}: "{runs}" is not a gs:// path; give gs://BUCKET/FOLDER')
    folder = HERE / address.removeprefix("gs://")
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / _ADDRESS, lambda path: path.write_text(address, encoding="utf-8"))
    return folder


def address_of(runs: Path) -> str | None:
    """Return the address of the runs in a local folder; None where the folder is no copy."""
    file = runs / _ADDRESS
    return file.read_text(encoding="utf-8") if file.is_file() else None


def checked_address(runs: Path, name: str) -> str | None:
    """The same, before a run of that name is begun whose upload would fail.

    Raises:
        UserError: The place can't be read.
    """
    address = address_of(runs)
    if address is not None:
        _latest(address, name)
    return address


def push(run: Path, runs: Path) -> str | None:
    """Uploads a finished run with the artifacts of its name, then makes it the latest.

    Returns:
        Where it is; None of a folder that is no copy.

    Raises:
        UserError: It can't be written.
    """
    address = address_of(runs)
    if address is None:
        return None
    from kep.google import objects

    place, there = RunsFolder(run.parent), f"{address}/{run.parent.name}/{run.name}"
    for folder in sorted(place.store.iterdir()):
        if folder != place.cache:  # it knows artifacts by their paths on this machine
            objects.upload(folder, f"{address}/{run.parent.name}/{place.store.name}/{folder.name}", _WHERE)
    objects.upload(run / "ensemble", f"{there}/ensemble", _WHERE)
    objects.upload(run, there, _WHERE)
    pointer = f"{address}/{run.parent.name}/{LatestRun.FILE}"
    while True:
        text, generation = objects.read(pointer, _WHERE)
        # A run is called after the time that it began at.
        if text is not None and LatestRun.from_json(text, pointer).run >= run.name:
            return there
        if objects.replace(pointer, LatestRun(run=run.name).to_json().encode(), generation, _WHERE):
            return there


def pull(name: str, runs: Path) -> None:
    """Brings the latest run of a name, or the one that is called NAME/RUN, with its artifacts.

    What is here already with the right checksum is not read again. Nothing is done in a folder that is no copy.

    Raises:
        UserError: It can't be read.
    """
    address, (name, _, run) = address_of(runs), name.partition("/")
    if address is None:
        return
    from kep.google import objects

    latest = _latest(address, name)
    if latest is None:
        return
    wanted = latest if run in ("", "latest") else run
    prefix = f"{address.removeprefix('gs://').partition('/')[2]}/{name}/".lstrip("/")
    (runs / name).mkdir(exist_ok=True)
    for folder in (RunsFolder(runs / name).store.name, wanted):
        blobs = objects.find(f"{address}/{name}/{folder}", None, _WHERE)
        objects.download({blob.name.removeprefix(prefix): blob for blob in blobs}, runs / name, _WHERE)
    link(runs / name / "latest", Path(latest))


def pull_records(runs: Path) -> None:
    """Bring the small files that tell of each run in a folder that is a copy; nothing is done in another.

    Raises:
        UserError: They can't be read.
    """
    if (address := address_of(runs)) is None:
        return
    from kep.google import objects

    prefix = f"{address.removeprefix('gs://').partition('/')[2]}/".lstrip("/")
    blobs = objects.find(f"{address}/", lambda name: name.rpartition("/")[2] in _RECORDS, _WHERE)
    objects.download({blob.name.removeprefix(prefix): blob for blob in blobs}, runs, _WHERE)


def _latest(address: str, name: str) -> str | None:
    from kep.google import objects

    pointer = f"{address}/{name}/{LatestRun.FILE}"
    text, _ = objects.read(pointer, _WHERE)
    return None if text is None else LatestRun.from_json(text, pointer).run
