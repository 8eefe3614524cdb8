"""Progress of a run for people: a live table on a terminal, one line per event elsewhere."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from kep.core.console import plain_console
from kep.pipelines.steps import STEPS

if TYPE_CHECKING:
    from kep.artifacts.event import Event

MARKS = {"waiting": "·", "running": "▶", "done": "✓", "reused": "↺", "failed": "✗", "stopped": "■"}
STYLES = {"waiting": "dim", "running": "bold", "done": "green", "reused": "cyan", "failed": "bold red"}
STYLES |= {"stopped": "yellow"}


@dataclass
class StepState:
    """One step of the flow; a step with a fan-out counts its tasks."""

    state: str = "waiting"
    started: float = 0.0
    ended: float = 0.0
    tasks: int = 0
    finished: int = 0
    text: str = ""
    share: float | None = None
    running: dict[str, str] = field(default_factory=dict)


class View:
    """Follows a run's events; use it as a context manager around them.

    Args:
        console: Where to show them.
        steps: Steps of the pipeline, in order of the flow.
        began: Unix time from which seconds count; now when not given.

    Attributes:
        states: States of the steps by name, in order of the flow.
        failure: The last event of a step that failed.
    """

    def __init__(self, console: Console, steps: Iterable[str] = STEPS, began: float | None = None) -> None:
        self.states = {step: StepState() for step in steps}
        self.failure: Event | None = None
        self._console = console
        self._begun = began or time.time()
        self._live = Live(console=console, refresh_per_second=5, get_renderable=self.table)

    def __enter__(self) -> "View":
        if self._console.is_terminal:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.__exit__(kind, problem, trace)

    def show(self, event: "Event") -> None:
        """Takes in one event of a step, and prints a line of it where there is no terminal."""
        self.take(event)
        if not self._console.is_terminal:
            self._print(event, self.states[event.step])

    def take(self, event: "Event") -> None:
        """Takes in one event of a step."""
        state, now = self.states.setdefault(event.step, StepState()), event.time
        if event.kind == "reused":
            state.tasks, state.finished, state.state = state.tasks + 1, state.finished + 1, "reused"
            state.ended = state.started = now
        elif event.kind == "start":
            state.tasks = state.tasks + 1
            state.state = "failed" if state.state == "failed" else "running"
            state.started = state.started or now
        elif event.kind == "progress":
            state.text = f"{event.label}: {event.text}" if event.label else event.text
            state.share = event.done / event.total if event.done is not None and event.total else None
        elif event.kind == "done":
            state.finished, state.ended = state.finished + 1, now
            if self.failure is not None and self.failure.name == event.name:
                # The engine has started the task again.
                self.failure, state.state, state.tasks = None, "running", state.tasks - 1
            if state.state != "failed":  # another task of the step
                state.state = "done" if state.finished == state.tasks else "running"
        else:
            state.state, state.ended, self.failure = "failed", now, event

    def end(self, well: bool) -> None:
        """Takes in that the run has ended: one that ended well has done the steps, too, that nothing was told of.

        Args:
            well: Whether it did; else nothing changes.
        """
        if well and any(state.tasks for state in self.states.values()):
            for state in self.states.values():
                state.state = "done" if state.state in ("waiting", "running") else state.state

    def _print(self, event: "Event", state: StepState) -> None:
        words = {
            "start": "started",
            "reused": "reused from an earlier run",
            "done": f"done in {event.seconds:.1f} s",
            "progress": event.text,
            "failed": f"failed: {event.message}",
        }
        seconds = time.time() - self._begun
        self._console.print(Text(f"[{seconds:6.1f} s] {event.name}: {words[event.kind]}"), soft_wrap=True)

    def table(self) -> Group:
        """The steps as they are now."""
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for step, state in self.states.items():
            took = (state.ended if state.state != "running" else time.time()) - state.started if state.started else 0
            mark = Spinner("dots") if state.state == "running" else Text(MARKS[state.state])
            tasks = f"{state.finished}/{state.tasks}" if state.tasks > 1 else ""
            share = f"{state.share:4.0%}" if state.share is not None and state.state == "running" else ""
            text = state.text if state.state in ("running", "failed") else ""
            detail = Text(text, overflow="ellipsis", no_wrap=True)
            clock = "reused" if state.state == "reused" else f"{took:6.1f} s" if took else ""
            table.add_row(mark, Text(step, style=STYLES[state.state]), clock, tasks, share, detail)
        return Group(table)


def lay_out(console: Console, table: Table) -> None:
    """Prints a table with whole names, however wide the terminal."""
    needed = console.measure(table, options=console.options.update(max_width=1000)).maximum
    # `print` has a width, too, but never one above the console's.
    wide = plain_console(console.file, width=max(needed, console.width), terminal=console.is_terminal)
    wide.print(table)


def say(console: Console, text: str) -> None:
    """Prints a line as it is, however wide the terminal."""
    console.print(text, soft_wrap=True)
