"""Runs that are killed, at points that somebody chose and at others, end as the run that was not."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.helpers.commands import Run, command, environment, kep

AT_RANDOM, IN_PROMOTE = 14, 6
"""Kills at any moment of a run, and between the start of promote and the end of the run."""
TIMES = {"seconds", "started", "peak_memory_mb", "speed", "worker"}
"""Keys of a report whose values are measured times, memory and processes."""
PLACES = {"run", "folder", "fingerprint"}
"""Keys whose values differ with the folder of a run."""

pytestmark = pytest.mark.slow


@pytest.fixture
def file(churn: Run, tmp_path) -> Path:
    """A copy of the run file of `churn`."""
    return Path(shutil.copy(churn.place.parent.parent / "churn.yaml", tmp_path))


def killed(file: Path, runs: Path, now: Callable[[Path], bool]) -> bool:
    """Start a run and kill all its processes once `now` holds of its events; return whether it was cut short."""
    before = set((runs / "churn").glob("2*"))
    process = subprocess.Popen(
        command("run", file, "--runs", runs), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        if any(now(folder / "events.jsonl") for folder in set((runs / "churn").glob("2*")) - before):
            break
        time.sleep(0.02)
    alive = process.poll() is None
    if alive:
        for pid in [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    process.wait()
    # The last thing that a run does is to become the latest one.
    return alive and (runs / "churn" / "latest").resolve() in {runs / "churn" / "latest", *before}


def events(path: Path) -> list[dict[str, Any]]:
    """Return the events so far."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def reached(step: str, mark: str) -> Callable[[Path], bool]:
    """Return whether a step has said what holds `mark`."""
    return lambda path: any(event["step"] == step and mark in event.get("text", "") for event in events(path))


def after(seconds: float, step: str | None = None) -> Callable[[Path], bool]:
    """Return whether so many seconds have passed since a run, or a step of it, was started."""
    since: list[float] = []

    def now(path: Path) -> bool:
        if not since and any(step in (None, event["step"]) for event in events(path)):
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] >= seconds

    return now


def timeless(value: Any) -> Any:
    """Return a report or a verdict without what differs between equal runs."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES | PLACES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def check_equal(runs: Path, churn: Run) -> None:
    """Hold what a run left against what the uninterrupted one left: predictions, report and verdict."""
    done = Run(runs, "churn", "")
    ours, theirs = np.load(done.predictions), np.load(churn.predictions)
    assert set(ours) == set(theirs)
    for name in theirs:
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert timeless(done.report) == timeless(churn.report)
    assert timeless(done.read("verdict", "verdict.json")) == timeless(churn.read("verdict", "verdict.json"))


def ended(file: Path, runs: Path) -> str:
    """Run to the end, once the runner of a killed command has ended; return what was said."""
    deadline = time.monotonic() + 60
    while True:
        done = kep("run", file, "--runs", runs)
        if "another run is going on" not in done.stdout or time.monotonic() > deadline:
            assert done.returncode == 0, done.stdout
            return done.stdout


def test_a_run_killed_in_three_steps_ends_with_the_same_bits(churn, file, tmp_path):
    """SIGKILL in tune, best_epoch and retrain; the fourth start goes on from what they left."""
    for step, mark in {"tune": "training 2/", "best_epoch": "seed 2 of", "retrain": "rows (best"}.items():
        assert killed(file, tmp_path / "runs", reached(step, mark)), f"the run ended before {step} could be killed"
    said = ended(file, tmp_path / "runs")
    assert "ingest: reused" in said
    assert "best_epoch: reused" in said
    check_equal(tmp_path / "runs", churn)


def test_runs_killed_at_random_points_end_with_the_same_numbers(churn, file, tmp_path):
    rng, kills, runs = np.random.default_rng(20), 0, tmp_path / "runs"
    while kills < AT_RANDOM:
        if killed(file, runs, after(rng.uniform(0, 12))):
            kills += 1
        else:
            check_equal(runs, churn)
            shutil.rmtree(runs)
    ended(file, runs)
    check_equal(runs, churn)


def test_runs_killed_around_promote_say_what_they_would_have_said(churn, file, tmp_path):
    """Each on a copy of what the steps before left; the pointer may or may not have moved."""
    rng, kills = np.random.default_rng(6), 0
    while kills < IN_PROMOTE:
        runs = tmp_path / f"runs-{kills}"
        shutil.copytree(churn.place, runs / "churn", symlinks=True, ignore=shutil.ignore_patterns("2*", "latest"))
        if killed(file, runs, after(rng.uniform(0, 0.5), "promote")):
            kills += 1
            assert "Promoted: it is the first champion" in ended(file, runs)
            check_equal(runs, churn)
        else:
            shutil.rmtree(runs)
