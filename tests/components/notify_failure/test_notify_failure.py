"""An exit handler tells of a failed run, and of no other, whatever its engine makes of its state."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kfp.dsl.executor import Executor

from kep.artifacts.engine_run import EngineRun
from kep.components.notify_failure.component import notify_failure
from kep.config.notify import NotifyTask
from kep.runtime import notify
from kep.storage.champions import Champion

VERTEX = EngineRun(job="projects/1/locations/europe-west4/pipelineJobs/kep-demo-1", name="kep-demo-1", id="77")
KUBEFLOW = EngineRun(job="training-x7f", name="kep-demo-1", id="0a1b")
PAGES = "https://kubeflow.example/#/runs/details/"
WHY = "The DAG failed because some tasks failed. The failed tasks are: [tune].\nJob (project_id = p) is failed."


def status(engine: EngineRun, state: str, error: dict[str, Any]) -> dict[str, Any]:
    """The status as an engine hands it to a task, from its message definition."""
    return {
        "state": state,
        "pipelineJobResourceName": engine.job,
        "pipelineTaskName": "exit-handler-1",
        "error": error,
    }


def handle(folder: Path, engine: EngineRun, state: str, error: dict[str, Any] | None = None, **task: Any) -> None:
    """Run the component as kfp's executor does."""
    settings = {"name": "demo", "webhook": "env:KEP_TEST_WEBHOOK"} | task
    values = {
        "notify": NotifyTask(**settings).to_json(),
        "champion": Champion(folder=str(folder)).to_json(),
        "status": status(engine, state, error or {}),
        "job": engine.job,
        "job_name": engine.name,
        "job_id": engine.id,
    }
    given = {"inputs": {"parameterValues": values}, "outputs": {"outputFile": str(folder / "out.json")}}
    Executor(given, notify_failure).execute()


def test_a_failed_run_is_told_once_with_its_reason_and_page(receiver, tmp_path):
    for _ in range(2):  # an exit handler that is repeated
        handle(tmp_path, VERTEX, "FAILED", {"code": 9, "message": WHY})
    (told,) = receiver.bodies
    assert (told["kind"], told["run"]) == ("failed", "kep-demo-1")
    assert told["text"] == f"demo: failed: {WHY.splitlines()[0]}\npage: {told['links']['page']}"
    assert told["links"]["page"].endswith("/locations/europe-west4/pipelines/runs/kep-demo-1?project=1")


@pytest.mark.parametrize("state", ["FAILED", "RUNNING"])
def test_kubeflow_tells_no_reason_and_perhaps_that_it_is_running(receiver, tmp_path, state):
    handle(tmp_path, KUBEFLOW, state, pages=PAGES)
    (told,) = receiver.bodies
    assert told["text"] == f"demo: failed: the page of the run says why\npage: {PAGES}0a1b"
    assert told["links"] == {"page": f"{PAGES}0a1b"}


@pytest.mark.parametrize("state", ["RUNNING", "FAILED"])
def test_a_run_whose_last_task_has_ended_well_is_not_told(receiver, tmp_path, state):
    notify.mark_ended(str(tmp_path), KUBEFLOW, print)
    handle(tmp_path, KUBEFLOW, state)
    assert receiver.journal == []
    handle(tmp_path, KUBEFLOW.model_copy(update={"job": "training-y8g"}), state)
    assert len(receiver.bodies) == 1


@pytest.mark.parametrize("state", ["SUCCEEDED", "COMPLETE", "CACHED", "CANCELLED", "CANCELED"])
def test_a_run_that_ended_well_or_was_cancelled_is_not_told(receiver, tmp_path, state):
    handle(tmp_path, VERTEX, state)
    assert receiver.journal == []


@pytest.mark.parametrize("statuses", [[500] * 9, [0] * 9, [404]])
def test_a_dead_webhook_fails_no_exit_handler(receiver, tmp_path, capsys, statuses):
    receiver.statuses = statuses
    handle(tmp_path, VERTEX, "FAILED", {"code": 9, "message": WHY})
    out = capsys.readouterr().out
    assert "WARNING: notify.webhook: failed could not be told: 127.0.0.1 " in out
    assert receiver.SECRET not in out


def test_what_no_exit_handler_can_read_fails_none(receiver, tmp_path, capsys):
    given = {"notify": "{", "champion": "{}", "status": status(VERTEX, "FAILED", {})}
    values = {"inputs": {"parameterValues": given}, "outputs": {"outputFile": str(tmp_path / "out.json")}}
    Executor(json.loads(json.dumps(values)), notify_failure).execute()
    assert "WARNING: notify: nobody was told of the failure" in capsys.readouterr().out


def test_marks_out_of_reach_keep_nobody_from_being_told(receiver, tmp_path, capsys, gcs):
    gcs.fault("GET", "status", 403, times=99)
    values = {
        "notify": NotifyTask(name="demo", webhook="env:KEP_TEST_WEBHOOK").to_json(),
        "champion": Champion(folder="gs://data/champions/demo").to_json(),
        "status": status(VERTEX, "FAILED", {}),
        "job": VERTEX.job,
    }
    given = {"inputs": {"parameterValues": values}, "outputs": {"outputFile": str(tmp_path / "out.json")}}
    Executor(given, notify_failure).execute()
    assert len(receiver.bodies) == 1
    assert "WARNING: notify: whether the last task has ended well is not known" in capsys.readouterr().out


PIPELINE = """
import sys
from kfp import dsl, local
from kep.components.notify_failure.component import notify_failure
from kep.runtime.component import step

@step
def fails() -> None:
    raise ValueError("no such layer")

@dsl.pipeline
def flow(notify: str, champion: str):
    with dsl.ExitHandler(notify_failure(notify=notify, champion=champion)):
        fails()

local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1], raise_on_error=False)
flow(notify=sys.argv[2], champion=sys.argv[3])
"""


def test_kfp_hands_the_component_its_status(receiver, tmp_path):
    """Compiled and run by kfp.local, whose exit handlers get a status as those of Vertex AI do."""
    task = NotifyTask(name="demo", webhook="env:KEP_TEST_WEBHOOK").to_json()
    champion = Champion(folder=str(tmp_path)).to_json()
    program = tmp_path / "flow.py"
    program.write_text(PIPELINE)
    command = [sys.executable, program, tmp_path / "root", task, champion]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False)
    (told,) = receiver.bodies or [done.stdout + done.stderr]
    assert told["text"] == "demo: failed: Task exit-handler-1 failed."
