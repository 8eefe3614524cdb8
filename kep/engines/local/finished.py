"""A run on this machine, started from Python."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kep.artifacts.report import Report
from kep.artifacts.verdict import Verdict
from kep.config.run_file import RunFile, load, validate
from kep.core.console import plain_console
from kep.core.errors import RunError, Status, UserError
from kep.engines.local import run as running


@dataclass(frozen=True)
class Finished:
    """A run that has ended well.

    Attributes:
        folder: Folder of the run.
    """

    folder: Path

    @cached_property
    def report(self) -> Report:
        """Everything that the run found."""
        return Report.of_run(self.folder)

    @cached_property
    def verdict(self) -> Verdict:
        """The decision, with each rule."""
        return Verdict.load(self.folder)

    @property
    def metrics(self) -> dict[str, float | None]:
        """The ensemble's test metrics by name; None where the rows don't define one."""
        return {name: score.value for name, score in self.report.evaluation.ensemble.items()}

    @property
    def page(self) -> Path:
        """The report as a page."""
        return self.folder / "report.html"


def run(file: str | Path | Mapping[str, Any], runs: Path, overrides: Mapping[str, Any]) -> Finished:
    """Run the pipeline to its end; arguments, result and errors as of `kep.run`."""
    settings, base = _read(file, overrides)
    status = running.run(settings, base, runs, plain_console())
    if status == Status.INTERRUPTED:
        raise KeyboardInterrupt
    if status not in (Status.DONE, Status.NOT_PROMOTED):
        # The step's own sentence is on the screen and in the log.
        words = f"the run {settings.name} failed; its error and its log are named above"
        raise UserError(words) if status == Status.MISTAKE else RunError(words)
    return Finished((runs / settings.name / "latest").resolve())


def _read(file: str | Path | Mapping[str, Any], overrides: Mapping[str, Any]) -> tuple[RunFile, Path]:
    """Return the run file with what replaces parts of it, and the folder that its paths start from."""
    if isinstance(file, Mapping):
        return validate(_merged(dict(file), overrides)), Path()
    # Read twice: the file alone first, whose mistakes have other sentences than those of the overrides.
    content = load(file).model_dump(mode="json", exclude_unset=True)
    return validate(_merged(content, overrides)), Path(file).parent


def _merged(content: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return `content` with the overrides' keys; sections are merged key by key."""
    merged = dict(content)
    for key, value in overrides.items():
        own = merged.get(key)
        merged[key] = _merged(own, value) if isinstance(own, dict) and isinstance(value, Mapping) else value
    return merged
