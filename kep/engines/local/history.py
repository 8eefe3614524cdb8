"""The runs in a folder of runs, as what they left there tells; nothing is kept beside it."""

import signal
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fcntl import LOCK_NB, LOCK_SH, flock
from os import SEEK_END
from pathlib import Path
from typing import Literal

from rich.console import Console

from kep.artifacts.evaluation import Evaluation, Interval
from kep.artifacts.event import Event
from kep.artifacts.run import RunRecord
from kep.artifacts.verdict import Verdict
from kep.config.run_file import RESERVED
from kep.core.console import plain_console
from kep.core.errors import Status, UserError, nearest
from kep.core.location import Location
from kep.engines.listing import Line
from kep.engines.local import mirror
from kep.engines.local.job import Job, Outcome
from kep.engines.local.results import score_text
from kep.engines.local.runner import EVENTS_FILE, RunsFolder
from kep.engines.progress import View, say
from kep.storage import champions

State = Literal["done", "failed", "interrupted", "under way", "damaged"]
_TAIL = 20_000
"""Bytes that hold the last event of a run."""
STATUSES: dict[State, Status] = {
    "done": Status.DONE,
    "failed": Status.FAILED,
    "interrupted": Status.INTERRUPTED,
    "under way": Status.DONE,
    "damaged": Status.FAILED,
}


@dataclass(frozen=True)
class LocalRun:
    """A run, as far as its folder tells.

    Attributes:
        name: Name in the run file.
        folder: Folder of the run.
        state: `damaged` is one whose files can't be read.
        started: When it started; None where that can't be read.
        seconds: Time from its start to its last event.
        metric: Metric that it is judged by.
        evaluation: Evaluation of a run that is done.
        verdict: Decision about its ensemble.
        champion: Whether its ensemble is the champion now.
        place: Folder of that champion; empty for the one that the name means.
        problem: Why it failed, or can't be read.
        user: Whether a failure was the user's mistake.
    """

    name: str
    folder: Path
    state: State
    started: datetime | None = None
    seconds: float = 0.0
    metric: str = ""
    evaluation: Evaluation | None = None
    verdict: Verdict | None = None
    champion: bool = False
    place: str = ""
    problem: str = ""
    user: bool = False

    @property
    def score(self) -> Interval | None:
        """Value of the metric on the test rows."""
        return self.evaluation.ensemble.get(self.metric) if self.evaluation else None

    @property
    def status(self) -> int:
        """Exit status that the run ended with; 0 before its end."""
        if self.verdict:
            return self.verdict.status
        return Status.MISTAKE if self.user else STATUSES[self.state]

    @property
    def decision(self) -> str:
        """The decision in a word or two: promoted or not; empty without an ensemble."""
        if self.verdict is None:
            return ""
        word = "promoted" if self.verdict.promoted else "unchanged" if self.verdict.unchanged else "not promoted"
        if not self.champion:
            return word
        return f"{word}, champion{f' of {self.place}' if self.place else ''}"

    @property
    def line(self) -> Line:
        """Return its line in a list of runs."""
        return Line(
            where="local",
            name=self.name,
            run=self.folder.name,
            state=f"{self.state}: {self.problem}" if self.problem else self.state,
            started=self.started,
            seconds=self.seconds or None,
            score=f"{self.metric} {score_text(self.score, whole=True)}" if self.score else "",
            promoted=self.decision,
        )


@dataclass
class Serving:
    """Version of the champion that each folder of champions names, read once.

    Attributes:
        runs: Folder of all runs.
    """

    runs: Path
    _versions: dict[str, str | None] = field(default_factory=dict)

    def version(self, record: RunRecord) -> str | None:
        """Return the champion's version for a run; None without one, or where it can't be read."""
        named, name = record.run_file.promote.champion, record.run_file.name
        folder = f"{self.runs}/champions/{name}"
        if named:
            folder = named if Location(named).is_cloud else str(Path(record.base) / named)
        elif address := mirror.address_of(self.runs):
            folder = f"{address}/champions/{name}"
        if folder not in self._versions:
            try:
                self._versions[folder] = champions.read(folder).version
            except UserError:
                self._versions[folder] = None
        return self._versions[folder]


def history(runs: Path, name: str | None = None, limit: int | None = None) -> list[LocalRun]:
    """Return the runs in a folder of runs, the newest first.

    Args:
        runs: Folder of all runs.
        name: Name of a run file, for its runs alone.
        limit: Most runs.
    """
    found = sorted(folders(runs, name), key=lambda folder: (folder.name, folder.parent.name), reverse=True)
    serving = Serving(runs)
    return [_read(folder, serving) for folder in found[:limit]]


def check_known(runs: Path, name: str | None) -> None:
    """Refuse a folder that is not there, and a name that no run in it has.

    Raises:
        UserError: There is no such folder, or no such run.
    """
    if not runs.is_dir():
        raise UserError(f"there is no folder {runs}; give the folder of all runs, or make a run by `kep run`")
    if not folders(runs, name):
        known = sorted({folder.parent.name for folder in folders(runs)})
        there = f"; the runs there are of {', '.join(known)}" if known else ""
        raise UserError(f"there is no run{f' of {name}' if name else ''} in {runs}{there}")


def find_run(name: str, runs: Path) -> LocalRun:
    """Return a run by its folder, by NAME/RUN, or the newest of a name, whatever its state.

    Raises:
        UserError: There is none.
    """
    found = [path for path in (Path(name), runs / name) if (path / EVENTS_FILE).is_file()]
    found += sorted(folders(runs, name), reverse=True) if "/" not in name else []
    if not found:
        known = sorted({folder.parent.name for folder in folders(runs)})
        raise UserError(f"there is no run {name} in {runs}{nearest(name, known)}; `kep runs` lists them")
    return _read(found[0].resolve(), Serving(runs))


def status(run: LocalRun, console: Console) -> int:
    """Show a run's steps as they are now; returns its exit status, 0 before its end."""
    view = _view(_events(run.folder), console, ended=run.state != "under way")
    say(console, f"{run.name}/{run.folder.name}: {run.state}")
    console.print(view.table())
    if run.problem:
        say(console, f"error: {run.problem} (log: {run.folder / 'log.txt'})")
    elif run.state == "interrupted":
        say(console, f"`kep run` goes on where it stopped (log: {run.folder / 'log.txt'})")
    elif run.verdict:
        say(console, f"{line.score}, {line.promoted}" if (line := run.line).score else line.promoted)
        say(console, f"report: {run.folder / 'report.html'}")
    return run.status


def folders(runs: Path, name: str | None = None) -> list[Path]:
    """Return the folders of runs, whatever became of them."""
    names = [runs / name] if name else [path for path in runs.glob("[!.]*") if path.name not in RESERVED]
    return [path for root in names for path in root.glob("[0-9]*-[0-9]*") if path.is_dir() and not path.is_symlink()]


def _read(folder: Path, serving: Serving) -> LocalRun:
    name = folder.parent.name
    try:
        record, finished = RunRecord.load(folder), (folder / "report.html").is_file()
        # Of a run that is done, the last event says all: there may be many.
        events = _events(folder, _TAIL if finished else None)
        started = datetime.fromisoformat(record.started).astimezone(UTC)
        seconds = max(0.0, events[-1].time - started.timestamp()) if events else 0.0
        run = LocalRun(name, folder, "done", started, seconds, record.run_file.judged_by)
        if finished:
            verdict, evaluation = Verdict.load(folder), Evaluation.load(artifact(folder, "evaluation"))
            champion = verdict.version == serving.version(record)
            place = record.run_file.promote.champion or ""
            return replace(run, evaluation=evaluation, verdict=verdict, champion=champion, place=place)
        state, failure = _ended(folder, events)
        if failure is None:
            return replace(run, state=state)
        problem = f"{failure.name} failed: {failure.message}" if failure.name else failure.message
        return replace(run, state=state, problem=problem, user=failure.user)
    except (UserError, OSError, ValueError, KeyError) as error:
        return LocalRun(name, folder, "damaged", problem=str(error))


def _ended(folder: Path, events: list[Event]) -> tuple[State, Event | None]:
    """Return the state of a run without a report, and the event that says why it failed."""
    newest = max(path.name for path in folders(folder.parents[1], folder.parent.name))
    if folder.name == newest and _is_held(folder.parent):
        return "under way", None
    failure = _view(events, plain_console()).failure
    if failure is None:
        # Whoever interrupts a run ends its processes by other signals.
        polite = (signal.SIGINT, signal.SIGTERM)
        killed = [event for event in events if event.kind == "signal" and event.number not in polite]
        if killed:
            failure = Event(kind="failed", message=f"it was ended by {signal.Signals(killed[-1].number).name}")
    return ("failed" if failure else "interrupted"), failure


def _is_held(root: Path) -> bool:
    """Return whether a run of this name is going on."""
    try:
        # The lock is let go at once: a run that starts at this very moment is the only one that would miss it.
        with open(root / "lock", encoding="utf-8") as file:
            flock(file, LOCK_SH | LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _events(folder: Path, tail: int | None = None) -> list[Event]:
    """Return the events of a run; a line that is just being written is left out.

    Args:
        folder: Folder of the run.
        tail: Bytes at the end of the file to read them from; None for all.
    """
    with open(folder / EVENTS_FILE, "rb") as file:
        skipped = max(0, file.seek(0, SEEK_END) - tail) if tail else 0
        file.seek(skipped)
        lines = file.read().splitlines(keepends=True)
    whole = [line for line in lines[1 if skipped else 0 :] if line.endswith(b"\n")]
    return [Event.from_json(line, str(folder / EVENTS_FILE)) for line in whole]


def _view(events: Iterable[Event], console: Console, ended: bool = True) -> View:
    """Return the steps as the events left them; in a run that has ended, no step is running."""
    view, last = View(console), 0.0
    for event in events:
        last = event.time
        if event.step in view.states:
            view.take(event)
    if ended:
        for state in view.states.values():
            if state.state == "running":
                state.state, state.ended = "stopped", last
    return view


def artifact(folder: Path, name: str) -> Path:
    """Return the folder of an artifact of a finished run, also where the folder of runs was moved or copied.

    Raises:
        UserError: The run has not finished.
    """
    path = Path(Outcome.load(folder).artifacts[name])
    store = RunsFolder(folder.resolve().parent).store
    return store / path.relative_to(Job.load(folder).store)
