"""The folder of a finished run, by its name or its path."""

from pathlib import Path

from kep.core.errors import UserError
from kep.engines.local import mirror

CHAMPION, PREVIOUS = "@champion", "@previous"
"""Ends of a name: the run whose ensemble is the champion, and the one before the latest."""


def find(name: str, runs: Path) -> Path:
    """The folder of a finished run: a path, the name of a run file for its latest run, NAME@champion or NAME@previous.

    Raises:
        UserError: There is no such run.
    """
    for word in (CHAMPION, PREVIOUS):
        if name.endswith(word):
            return _of_word(name.removesuffix(word), word, runs)
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


def _of_word(name: str, word: str, runs: Path) -> Path:
    from kep.engines.local.history import history  # a server that opens a folder needs none of it

    done = [run for run in history(runs, name) if run.state == "done"]
    wanted = [run for run in done if run.champion] if word == CHAMPION else done[1:]
    if not wanted:
        what = "run whose ensemble is the champion" if word == CHAMPION else "run before the latest one"
        raise UserError(f"{name}{word}: {runs / name} holds no {what}; `kep runs --name {name}` lists them")
    return wanted[0].folder
