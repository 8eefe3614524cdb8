"""Ingest in tasks, without the pipeline engine."""

from collections.abc import Callable
from pathlib import Path

from kep.components.ingest import tasks
from kep.components.ingest.tasks import IngestTask
from kep.config.data import DataSettings


def in_tasks(settings: DataSettings, seed: int, base: Path, out: Path) -> None:
    """What the tasks of the pipeline do (components/ingest/run.py), one after the other."""
    numbers = range(settings.ingest_tasks)

    def each(name: str, work: Callable[[IngestTask, Path], None]) -> list[Path]:
        folders = []
        # In no particular order, as an engine may give them.
        for number in sorted(numbers, key=lambda number: (number * 3) % 5):
            folders.append(out / f"{name}-{number}")
            folders[-1].mkdir(parents=True)
            scratch = out / "scratch" / f"{name}-{number}"
            scratch.mkdir(parents=True)
            work(IngestTask(settings, number, base, scratch), folders[-1])
        return folders

    def found() -> tasks.Known:
        return tasks.known(scans, settings)

    scans = each("scan", tasks.scan)
    keys = each("keys", lambda task, folder: tasks.keys(task, found(), folder))
    (out / "roles").mkdir()
    tasks.roles(found(), keys, settings, seed, out / "scratch" / "roles", out / "roles")
    given = tasks.read_roles(out / "roles")
    counts = each("count", lambda task, folder: tasks.count_part(task, found(), given, folder))

    def features() -> list:
        return tasks.counted(found(), counts, settings)

    pieces = each("write", lambda task, folder: tasks.write(task, found(), given, features(), seed, folder))
    (out / "records").mkdir()
    tasks.join(found(), given, features(), pieces, settings, seed, out / "records")
