"""Trainings that write to a TensorBoard instance while they run, with Google's client against a local server."""

import json
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from kep.core.environment import TENSORBOARD, WORK
from kep.google import tensorboards
from kep.google.tensorboards import Board, Sender
from kep.runtime.step import Step, entry
from kep.training.monitor import StepMonitor
from tests.helpers.best_epochs import best_epoch
from tests.helpers.cloud import INSTANCE, assert_sessions
from tests.helpers.retraining import Retraining
from tests.helpers.searches import tune

RUN = "kep-churn-0123456789ab"
METHODS = (
    "CreateTensorboardExperiment",
    "BatchCreateTensorboardRuns",
    "BatchCreateTensorboardTimeSeries",
    "WriteTensorboardExperimentData",
)


@pytest.fixture
def given(boards, monkeypatch, tmp_path) -> Path:
    """An instance in the environment; the folder of a run of Vertex AI in its bucket."""
    monkeypatch.setenv(TENSORBOARD, INSTANCE)
    monkeypatch.setenv(WORK, str(tmp_path / "work"))
    folder = tmp_path / "bucket" / "runs" / "churn" / "1234567" / RUN
    folder.mkdir(parents=True)
    return folder


def events(*steps: int, tag: str = "loss") -> list[Event]:
    return [
        Event(wall_time=5.5, step=n, summary=Summary(value=[Summary.Value(tag=tag, simple_value=n)])) for n in steps
    ]


def curves(folder: Path) -> dict[str, dict[int, float]]:
    """What best_epoch.json says of its trainings: `val_loss` in TensorBoard, of trees after every 20th round."""
    fits = json.loads((folder / "best_epoch.json").read_text())["seeds"]
    return {
        f"best_epoch/boosted_trees-004/seed-{number}-of-{len(fits)}": {
            step: loss for step, loss in enumerate(fit["validation_curve"], 1) if step % 20 == 0
        }
        for number, fit in enumerate(fits, 1)
    }


def until(reached: Callable[[], object]) -> None:
    """Waits until another thread has done it."""
    for _ in range(6000):
        if reached():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it was not done in a minute")


def once(boards) -> bool:
    """Whether no point was written twice."""
    return all(len(steps) == len(set(steps)) for steps in boards.writes.values())


@pytest.mark.slow
def test_a_network_that_is_trained_has_its_epochs_there_once(boards, vertex, given, records, tmp_path):
    """Also where every answer is lost once, and where the task is done again from its beginning."""
    retraining, out = (
        Retraining(tmp_path, records("cancer")),
        str((given / "retrain_-77" / "model").relative_to(tmp_path)),
    )
    (given / "retrain_-77").mkdir()
    faults = [vertex.fault(method, "UNAVAILABLE", lose=True) for method in METHODS]
    for attempt in (1, 2):
        assert retraining.run(out, epochs=3) == 0, retraining.log(out)
        assert "warning" not in retraining.log(out)
        ((run, tags),) = boards.scalars(RUN).items()
        assert re.fullmatch(r"retrain/[a-z0-9_.-]+-001/training", run)
        assert list(tags["loss"]) == [1, 2, 3]
        assert all(np.isfinite(value) for value in tags["loss"].values())
        # Speed and what else the event files have.
        assert {"step_ms", "rows_per_second"} <= set(tags)
        assert [len(boards.runs), len(boards.series)] == [1, len(tags)]
        assert len(boards.experiments) == 1
        shutil.rmtree(given / "retrain_-77" / "model")
        assert all(fault.hits == 1 for fault in faults), attempt
    # Each attempt and each lost answer wrote the same steps, of which one is left.
    for name, steps in boards.writes.items():
        assert sorted(steps) == sorted(list(boards.points[name]) * 3)


def test_every_seed_is_a_run_of_one_experiment(boards, given, records):
    best_epoch(records("cancer"), given / "best-epoch_1" / "result")
    expected = curves(given / "best-epoch_1" / "result")
    found = {run: tags["val_loss"] for run, tags in boards.scalars(RUN).items()}
    assert found == {run: pytest.approx(values) for run, values in expected.items()}
    assert len(found) == 3
    assert once(boards)
    assert boards.experiments == {f"{INSTANCE}/experiments/{RUN}"}


def test_an_instance_out_of_reach_is_a_warning_and_no_failure(boards, vertex, given, records, capsys):
    vertex.fault("CreateTensorboardExperiment", "UNAVAILABLE", "no route to host", times=float("inf"))
    result = best_epoch(records("cancer"), given / "best-epoch_1" / "result")
    assert len(result.seeds) == 3
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert line.startswith(
        "boosted_trees-004: warning: TensorBoard does not get the curves, which the event files have"
    )
    assert line.endswith(f"{INSTANCE} does not answer (503 no route to host)")
    assert boards.points == {}


@pytest.mark.parametrize(
    ("code", "message", "words"),
    [
        ("PERMISSION_DENIED", "denied", f"this login may not write to {INSTANCE}; grant it roles/aiplatform.user"),
        ("NOT_FOUND", "deleted", f"{INSTANCE} does not exist, or its experiment was deleted (deleted)"),
        ("INVALID_ARGUMENT", "Illegal.", f"{INSTANCE} refuses it: Illegal."),
    ],
)
def test_a_refusal_is_a_warning_with_its_reason(boards, vertex, code, message, words):
    vertex.fault("BatchCreateTensorboardRuns", code, message)
    said: list[str] = []
    with Sender(Board(INSTANCE, RUN), said.append) as sender:
        sender.add("a", *events(1))
    (line,) = said
    assert words in line


def test_without_a_login_there_is_a_warning(boards, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/login.json")
    said: list[str] = []
    with Sender(Board(INSTANCE, RUN), said.append) as sender:
        sender.add("a", *events(1))
    assert "there is no usable Google Cloud login for projects/shop-ml" in said[0]


def test_points_come_while_the_training_goes_on(boards, vertex, monkeypatch, tmp_path):
    """One of them late, since the service did not answer for a while."""
    monkeypatch.setattr(tensorboards, "SEND", 0.01)
    fault = vertex.fault("WriteTensorboardExperimentData", "PERMISSION_DENIED", times=2)
    step, said = Step("best_epoch", "mlp-001"), []
    with (
        Sender(Board(INSTANCE, RUN), said.append) as step.sender,
        StepMonitor(step, "", scalars=tmp_path / "seed-1") as monitor,
    ):
        monitor.epoch(1, {"loss": 0.5})
        until(lambda: boards.points)
        assert (fault.hits, len(said)) == (2, 1)
        monitor.epoch(2, {"loss": 0.25})
        until(lambda: [len(points) for points in boards.points.values()] == [2])
    assert boards.scalars(RUN) == {"best_epoch/mlp-001/seed-1": {"loss": {1: 0.5, 2: 0.25}}}
    assert once(boards)


def test_only_the_chief_of_a_training_writes(boards, given, records, monkeypatch):
    cluster = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 1}}))
    seen = []

    @entry("retrain")
    def run(step: Step) -> None:
        seen.append(step.sender)

    run(out=str(given / "retrain_1" / "model"))
    assert seen == [None]


def test_what_is_there_in_part_is_made_whole(boards, vertex):
    """Runs and series in pages, of which another attempt has made some."""
    vertex.page = 2
    Board(INSTANCE, RUN).write({f"run {n}": [*events(1, tag="loss"), *events(1, tag="a/b")] for n in range(5)})
    Board(INSTANCE, RUN).write({f"run {n}": [*events(2), *events(2, tag="c")] for n in range(7)})
    found = boards.scalars(RUN)
    assert found["run 3"] == {"loss": {1: 1.0, 2: 2.0}, "a/b": {1: 1.0}, "c": {2: 2.0}}
    assert found["run 6"] == {"loss": {2: 2.0}, "c": {2: 2.0}}
    assert (len(found), len(boards.series)) == (7, 5 * 3 + 2 * 2)


@pytest.mark.slow
def test_more_than_one_call_holds(boards, vertex):
    names = [f"trials/mlp-{n}" for n in range(1001)]
    Board(INSTANCE, RUN).write({name: events(1) for name in names} | {"long": events(*range(1, 6001))})
    assert vertex.journal.count("BatchCreateTensorboardRuns") == 2
    assert vertex.journal.count("WriteTensorboardExperimentData") == 36
    assert len(boards.runs) == 1002
    assert boards.scalars(RUN)["long"]["loss"] == {n: n for n in range(1, 6001)}


def test_names_that_differ_little_are_two_runs(boards):
    Board(INSTANCE, RUN).write({"a/b": events(1), "a-b": events(2), "x" * 300: events(3)})
    assert boards.scalars(RUN).keys() == {"a/b", "a-b", "x" * 300}


def test_the_search_has_a_session_for_each_trial(boards, given, records):
    (given / "tune_1").mkdir()
    tune(records("cancer"), given / "tune_1" / "study", tuner="random")
    trials = [json.loads(path.read_text()) for path in sorted((given / "tune_1" / "study" / "trials").glob("*.json"))]
    found = boards.scalars(RUN)
    assert found.keys() == {f"trials/boosted_trees-{trial['number']:03d}" for trial in trials}
    for trial in trials:
        own = found[f"trials/boosted_trees-{trial['number']:03d}"]
        assert own["validation loss"] == {trial["best"]: pytest.approx(trial["score"])}
        assert own["val_loss"] == pytest.approx(dict(enumerate(trial["validation_curve"], 1)))
    assert_sessions(boards, {f"trials/boosted_trees-{trial['number']:03d}": trial["values"] for trial in trials})
    assert once(boards)
