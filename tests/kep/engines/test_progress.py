"""What a person sees of a run: lines where nobody looks on, a table of the steps on a terminal."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from kep.artifacts.event import Event
from kep.engines.progress import MARKS, View, lay_out
from kep.pipelines.steps import STEPS


def event(kind: str, step: str = "tune", label: str = "", **more) -> Event:
    return Event(kind=kind, step=step, label=label, **{"time": 1000.0} | more)


def lines(*events: Event) -> list[str]:
    """Output to a file, without the seconds in front."""
    console = Console(file=io.StringIO(), width=60)
    with View(console) as view:
        for one in events:
            view.show(one)
    return [line.partition("] ")[2] for line in console.file.getvalue().splitlines()]


def table(view: View) -> list[str]:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(view.table())
    return captured.get().splitlines()


def row(view: View, step: str) -> str:
    (found,) = [" ".join(line.split()) for line in table(view) if step in line.split()]
    return found


def terminal(steps: tuple[str, ...] = STEPS) -> View:
    return View(Console(file=io.StringIO(), force_terminal=True, width=120), steps)


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        (event("start"), "tune: started"),
        (event("progress", text="training 3/30", done=3, total=30), "tune: training 3/30"),
        (event("done", seconds=12.345), "tune: done in 12.3 s"),
        (event("reused"), "tune: reused from an earlier run"),
        (event("failed", message="disk full", user=False), "tune: failed: disk full"),
        (event("start", "retrain", "mlp-001"), "retrain mlp-001: started"),
    ],
)
def test_an_event_is_one_line_where_nobody_looks_on(shown, line):
    assert lines(shown) == [line]


def test_lines_are_not_wrapped_coloured_or_read_as_markup():
    text = "loss [bold]0.1[/bold] " + "x" * 200
    assert lines(event("progress", text=text)) == [f"tune: {text}"]


def test_lines_begin_with_the_seconds_of_the_run():
    console = Console(file=io.StringIO(), width=60)
    with View(console) as view:
        view.show(event("start"))
    assert console.file.getvalue().startswith("[   0.0 s] tune: started")


def test_a_terminal_shows_every_step_from_the_start():
    shown = table(terminal())
    assert [line.split()[1] for line in shown] == list(STEPS)
    assert all(line.split()[0] == MARKS["waiting"] for line in shown)


def test_a_terminal_gets_the_table_and_no_lines():
    view = terminal()
    with view:
        view.show(event("start"))
        view.show(event("done", seconds=1.0))
    text = view._console.file.getvalue()
    assert all(step in text for step in STEPS)
    assert "started" not in text


def test_a_running_step_shows_how_far_it_is():
    view = terminal()
    view.show(event("start", "best_epoch"))
    view.show(event("start", "best_epoch"))
    view.show(event("progress", "best_epoch", "mlp-001", text="seed 2 of 4", done=1, total=4))
    assert "0/2 25% mlp-001: seed 2 of 4" in row(view, "best_epoch")
    view.show(event("done", "best_epoch", "mlp-001", seconds=3.0))
    assert view.states["best_epoch"].state == "running"
    assert "1/2" in row(view, "best_epoch")
    view.show(event("done", "best_epoch", "mlp-002", seconds=3.0, time=1075.0))
    assert view.states["best_epoch"].state == "done"
    assert row(view, "best_epoch") == "✓ best_epoch 75.0 s 2/2"


def test_progress_without_a_total_shows_its_text():
    view = terminal()
    view.show(event("start"))
    view.show(event("progress", text="checking mlp", done=None, total=None))
    assert "checking mlp" in row(view, "tune")
    assert "%" not in row(view, "tune")


def test_a_step_that_was_reused_says_so():
    view = terminal()
    view.show(Event(kind="reused", step="ingest"))
    assert row(view, "ingest") == "↺ ingest reused"


def test_a_failed_step_stays_failed_whatever_its_neighbours_do():
    view = terminal()
    for label in ("a", "b", "c"):
        view.show(event("start", "retrain", label))
    failed = event("failed", "retrain", "a", message="no memory", user=False)
    view.show(failed)
    view.show(event("progress", "retrain", "b", text="epoch 10", done=None, total=None))
    view.show(event("done", "retrain", "b", seconds=1.0))
    view.show(event("start", "retrain", "d"))
    assert view.failure == failed
    assert view.states["retrain"].state == "failed"
    assert row(view, "retrain").startswith("✗ retrain")


def test_a_task_that_was_started_again_and_ended_well_has_not_failed():
    view = terminal(("predict", "drift"))
    for one in (event("start", "predict"), event("start", "predict")):
        view.show(one)
    view.show(event("failed", "predict", "1", message="machine lost", user=False))
    view.show(event("start", "predict"))
    view.show(event("done", "predict", "2", seconds=1.0))
    assert view.failure is not None
    view.show(event("done", "predict", "1", seconds=1.0, time=1002.0))
    assert view.failure is None
    assert row(view, "predict") == "✓ predict 2.0 s 2/2"


def test_a_run_without_a_failure_has_none():
    view = terminal()
    view.show(event("start"))
    view.show(event("done", seconds=1.0))
    assert view.failure is None


def test_a_table_keeps_its_names_on_a_narrow_terminal():
    table_of_names = Table("schedule", "template", box=None)
    table_of_names.add_row("nightly-for-the-whole-shop", "1a2d62a91c26e892b0fde7b46b98462e")
    console = Console(file=io.StringIO(), width=20)
    lay_out(console, table_of_names)
    assert console.file.getvalue().splitlines()[1].split() == [
        "nightly-for-the-whole-shop",
        "1a2d62a91c26e892b0fde7b46b98462e",
    ]
