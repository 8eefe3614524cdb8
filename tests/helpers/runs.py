"""Folders of runs that never were."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from kep.artifacts.evaluation import ENSEMBLE, Evaluation, Interval, LedgerTotal
from kep.artifacts.event import Event
from kep.artifacts.verdict import Verdict
from kep.engines.local.job import Job, Outcome
from tests.helpers.artifacts import evaluation, run_record


def event(kind: str, step: str = "tune", **more: Any) -> Event:
    """Return an event; `begun` puts it ten seconds after its run's start."""
    return Event.model_validate({"kind": kind, "step": step} | more)


def begun(runs: Path, run: str, *events: Event, name: str = "demo", **run_file: Any) -> Path:
    """Return the folder of a run that was begun, and whose steps left these events."""
    folder = runs / name / run
    folder.mkdir(parents=True)
    record = run_record(name=name, **run_file)
    started = f"{run[:4]}-{run[4:6]}-{run[6:8]}T00:00:00+00:00"
    record.model_copy(update={"started": started}).save(folder)
    later = {"time": datetime.fromisoformat(started).timestamp() + 10}
    lines = [one.model_copy(update=later).to_json() for one in events]
    (folder / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    store = str((runs / name / "store").absolute())
    Job(template="", arguments={}, store=store, cache=store, containers=None).save(folder)
    return folder


def done(runs: Path, run: str, score: float = 0.5, *, name: str = "demo", **more: Any) -> Path:
    """Return the folder of a run that is done; `more` goes into its verdict."""
    folder = begun(runs, run, event("done"), name=name)
    made = runs / name / "store" / run / "evaluate" / "evaluation"
    scores = {ENSEMBLE: {"loss": Interval(value=score, low=score - 0.1, high=score + 0.1)}}
    line = LedgerTotal(step="evaluate", role="test", rows=100, fingerprint="f" * 64, times=1)
    evaluation(scores=scores, ledger=[line]).save(made)
    Outcome(artifacts={"evaluation": str(made.absolute())}).save(folder)
    known = {"promoted": True, "won": True, "forced": False, "reason": "it won", "comparison": None}
    known |= {"version": f"{run:0>12}"[:12], "folder": "champions", "registered": None}
    Verdict(**known | more).save(folder)
    (folder / "report.html").write_text("page")
    return folder


def champion(runs: Path, version: str, replaced: str | None = None, name: str = "demo") -> None:
    """Name the champion of a run file."""
    folder = runs / "champions" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "champion.json").write_text(json.dumps({"version": version, "replaced": replaced}))


def evaluated(folder: Path) -> Evaluation:
    """Return the evaluation of a run."""
    return Evaluation.load(Outcome.load(folder).artifacts["evaluation"])
