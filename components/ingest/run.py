"""The steps around `ingest`, and around its tasks."""

from pathlib import Path

from kep.artifacts.ingest import IngestPart
from kep.components.ingest import tasks
from kep.components.ingest.ingest import ingest
from kep.components.ingest.tasks import IngestTask, Known
from kep.config.data import DataSettings
from kep.core.files import new_folder
from kep.data.schema import Manifest
from kep.data.sealed import seal
from kep.data.sources.fingerprint import unchanged
from kep.runtime.step import Step, entry


@entry("ingest")
def run(step: Step, *, config: str, source: str, test: str) -> Manifest:
    """Ingest by the data section `config`; the sealed test rows go to the folder `test`.

    The source is refused where it is not the one of the fingerprint `source`.
    """
    settings = _settings(config)
    with unchanged(settings, source):
        ingest(settings, step.seed, step.out, scratch=step.work(source))
    with new_folder(test) as sealed:
        return seal(step.out, sealed)


@entry("ingest")
def scan(step: Step, *, part: str, config: str, source: str) -> None:
    """Scans one part of the source."""
    tasks.scan(_task(step, "scan", part, config, source), step.out)


@entry("ingest")
def keys(step: Step, *, part: str, config: str, source: str, scans: list[str]) -> None:
    """Reads what decides about the roles of one part's rows."""
    task, known = _task(step, "keys", part, config, source), _known(scans, config)
    with task.reading(known.states[task.part]):
        tasks.keys(task, known, step.out)


@entry("ingest")
def roles(step: Step, *, config: str, source: str, scans: list[str], keys: list[str]) -> None:
    """Gives each row its role."""
    step.label = "roles"
    known = _known(scans, config)
    known.check(source)
    tasks.roles(known, _paths(keys), _settings(config), step.seed, step.work(f"{source}-roles"), step.out)


@entry("ingest")
def count(step: Step, *, part: str, config: str, source: str, scans: list[str], roles: str) -> None:
    """Counts the categories of one part's train rows."""
    task, known = _task(step, "count", part, config, source), _known(scans, config)
    with task.reading(known.states[task.part]):
        tasks.count_part(task, known, tasks.read_roles(Path(roles)), step.out)


@entry("ingest")
def write(step: Step, *, part: str, config: str, source: str, scans: list[str], roles: str, counts: list[str]) -> None:
    """Writes one part's rows as pieces of the shards."""
    task, known = _task(step, "write", part, config, source), _known(scans, config)
    features = tasks.counted(known, _paths(counts), task.settings)
    with task.reading(known.states[task.part]):
        tasks.write(task, known, tasks.read_roles(Path(roles)), features, step.seed, step.out)


@entry("ingest")
def join(
    step: Step, *, config: str, scans: list[str], roles: str, counts: list[str], pieces: list[str], test: str
) -> Manifest:
    """Makes the records of all pieces."""
    step.label = "join"
    known, settings = _known(scans, config), _settings(config)
    features = tasks.counted(known, _paths(counts), settings)
    tasks.join(known, tasks.read_roles(Path(roles)), features, _paths(pieces), settings, step.seed, step.out)
    with new_folder(test) as sealed:
        return seal(step.out, sealed)


def _settings(config: str) -> DataSettings:
    return DataSettings.model_validate_json(config)


def _task(step: Step, name: str, part: str, config: str, source: str) -> IngestTask:
    """The task of a step; its downloads lie in a folder of its own, since tasks run side by side."""
    number = IngestPart.from_json(part).part
    step.label = f"{name} {number + 1}"
    return IngestTask(_settings(config), number, Path(), step.work(f"{source}-{name}-{number}"))


def _known(scans: list[str], config: str) -> Known:
    return tasks.known(_paths(scans), _settings(config))


def _paths(folders: list[str]) -> list[Path]:
    return [Path(folder) for folder in folders]
