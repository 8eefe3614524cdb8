"""The folder of a finished run, by its name or its path."""

from pathlib import Path

from kep.core.errors import UserError
from kep.engines.local import mirror


def find(name: str, runs: Path) -> Path:
    """The folder of a finished run: a path, or the name of a run file for its latest run.

    Raises:
        UserError: There is no such run.
    """
    if not (Path(name) / "report.html").is_file():
        mirror.pull(name, runs)
    for folder in (Path(name), runs / name / "latest", runs / name):
        if (folder / "report.html").is_file():
            return folder
    for folder in (Path(name), runs / name):
        logs = sorted([*folder.glob("log.txt"), *folder.glob("*/log.txt")])
        if logs:
            raise UserError(f"{logs[-1].parent} has not finished, so it has no report; its log is {logs[-1]}")
    known = sorted(path.parent.name for path in runs.glob("*/latest")) if runs.is_dir() else []
    finished = f"; finished runs: {', '.join(known)}" if known else "; no run has finished yet"
    raise UserError(f"no finished run {name} in {runs}{finished}")
