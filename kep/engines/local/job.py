"""Files of the run's folder that a run and the process of its pipeline exchange."""

from pathlib import Path
from typing import Any, ClassVar

from kep.core.json_model import JsonFile
from kep.engines.local.docker import Containers


class Job(JsonFile):
    """Parameters of the process of a pipeline; every path is absolute."""

    FILE: ClassVar[str] = "job.json"
    KIND: ClassVar[str] = "the arguments of a run"
    REMEDY: ClassVar[str] = "remove the run's folder, and start the run again"

    template: str
    """The compiled pipeline."""
    arguments: dict[str, Any]
    """Arguments of the pipeline, of kinds that its parameters say."""
    store: str
    """Folder of the artifacts."""
    cache: str
    """Folder of kfp.local's cache."""
    containers: Containers | None
    """Containers of the steps; None for processes."""


class Outcome(JsonFile):
    """Artifacts of a pipeline that has ended."""

    FILE: ClassVar[str] = "outcome.json"
    KIND: ClassVar[str] = "the outcome of a run"
    REMEDY: ClassVar[str] = "start the run again"

    artifacts: dict[str, str]
    """Folder of each, by its name in the pipeline's outputs."""

    @property
    def folders(self) -> dict[str, Path]:
        """The artifacts as paths."""
        return {name: Path(path) for name, path in self.artifacts.items()}
