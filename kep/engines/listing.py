"""One table of runs, wherever they are."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from rich.table import Table


@dataclass(frozen=True)
class Line:
    """A run in the table.

    Attributes:
        where: local, vertex or kubeflow.
        name: Name in the run file.
        run: Its own name.
        state: State, and why it failed.
        started: When it started, with its time zone.
        seconds: Time that it took, or has taken so far.
        score: Test metric with its interval; empty where it is not known here.
        promoted: Whether its ensemble was promoted, and is the champion.
    """

    where: str
    name: str
    run: str
    state: str
    started: datetime | None
    seconds: float | None
    score: str = ""
    promoted: str = ""


def listed(lines: Iterable[Line], limit: int) -> Table:
    """Return the newest runs as a table, those whose start is not known last."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("where", "name", "run", "state", "started (UTC)", "took", "test metric (95 % interval)", "promoted"):
        table.add_column(column, justify="right" if column == "took" else "left", no_wrap=True)
    ordered = sorted(lines, key=lambda line: line.started.timestamp() if line.started else 0.0, reverse=True)
    for line in ordered[:limit]:
        started = line.started.strftime("%Y-%m-%d %H:%M") if line.started else ""
        took = "" if line.seconds is None else f"{line.seconds / 60:.0f} min"
        if line.seconds is not None and line.seconds < 60:
            took = f"{line.seconds:.0f} s"
        state = line.state if len(line.state) <= _LONGEST else f"{line.state[: _LONGEST - 1]}…"
        table.add_row(line.where, line.name, line.run, state, started, took, line.score, line.promoted)
    return table


_LONGEST = 70
"""Characters of a state with its reason; `kep status` has all of it."""
