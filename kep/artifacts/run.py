"""A run on this machine: what it takes to do it again."""

from typing import ClassVar

from kep.config.run_file import RunFile
from kep.core.json_model import JsonFile, JsonModel


class RunRecord(JsonFile):
    """Record of a run, written before it starts."""

    FILE: ClassVar[str] = "run.json"
    KIND: ClassVar[str] = "the record of a run"
    REMEDY: ClassVar[str] = "give the folder of a run, such as runs/NAME/20260131-120000"

    run_file: RunFile
    """The run file, with every default."""
    base: str
    """Folder of the run file."""
    command: str
    """Command line that started the run."""
    source: str
    """Fingerprint of the data."""
    code: str
    """Hash of the code."""
    images: dict[str, str]
    """Ids of the images that the steps ran in, by name; empty for processes."""
    revision: str | None
    """Git revision; None without one."""
    versions: dict[str, str | None]
    """Version of Python and of libraries by name; None for one that is not installed."""
    platform: str
    """Operating system and processor."""
    started: str
    """Time in ISO 8601."""


class FinishedRun(RunRecord):
    """Record of a run that has ended well."""

    folder: str
    """Folder of the run."""
    seconds: float
    """Duration of the run."""


class LatestRun(JsonModel):
    """Pointer to the latest run of a name, in a folder of runs on gs://."""

    FILE: ClassVar[str] = "latest.json"
    KIND: ClassVar[str] = "a pointer to a run"
    REMEDY: ClassVar[str] = "remove the file; the next run that finishes writes it"

    run: str
