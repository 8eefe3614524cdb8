"""Write the index of a folder of runs."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from kep.core.errors import UserError
from kep.core.files import write_file
from kep.engines.local.history import LocalRun, folders, history
from kep.engines.progress import say

if TYPE_CHECKING:
    from kep.report.index import IndexRun

INDEX = "index.html"
MOST_RUNS = 200
"""Runs that the index shows; more would make it slow to write."""


def write_index(runs: Path) -> Path:
    """Write the index of a folder of runs, and return its path.

    Raises:
        UserError: There is no such folder.
        OSError: It can't be written.
    """
    if not runs.is_dir():
        raise UserError(f"--runs: there is no folder {runs}; `kep run` makes it")
    from kep.report.index import render  # matplotlib, which takes a second to import

    page = render([_row(run) for run in history(runs, limit=MOST_RUNS)], max(0, len(folders(runs)) - MOST_RUNS))
    write_file(runs / INDEX, lambda path: path.write_text(page, encoding="utf-8"))
    return runs / INDEX


def refresh_index(runs: Path, console: Console) -> None:
    """Write the index at the end of a run, which it never fails: what went wrong is a note."""
    try:
        write_index(runs)
    except Exception as error:  # whatever lies in a folder of old runs
        say(console, f"note: {runs / INDEX} is not written: {error}; `kep report` writes it")


def _row(run: LocalRun) -> "IndexRun":
    from kep.report.index import IndexRun

    evaluation, link = run.evaluation, next((f for f in ("report.html", "log.txt") if (run.folder / f).is_file()), "")
    return IndexRun(
        name=run.name,
        run=run.folder.name,
        state=run.state,
        problem=run.problem,
        started=run.started,
        seconds=run.seconds,
        metric=run.metric,
        score=run.score,
        test=next((line.fingerprint for line in evaluation.ledger if line.role == "test"), "") if evaluation else "",
        openings=evaluation.openings if evaluation else 0,
        decision=run.decision,
        reason=run.verdict.reason if run.verdict else "",
        champion=run.champion,
        link=link and f"{run.name}/{run.folder.name}/{link}",
    )
