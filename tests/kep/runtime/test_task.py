"""The first process of a task ends soon after SIGTERM, and starts a training that was killed again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kfp.dsl.component_factory import EXECUTOR_MODULE

from kep.core.environment import ATTEMPTS, CLUSTER, FAILURE, OWNER, WORK

SOURCE = """
import os, pathlib, signal, sys

def {function}(folder: str):
    started = pathlib.Path(folder, "started")
    kept = pathlib.Path(os.environ.get("KEP_ATTEMPTS", folder))
    with open(started, "a") as file:
        print(sorted(path.name for path in kept.iterdir() if kept != started.parent), file=file)
    (kept / "checkpoint").touch()
    attempt = len(started.read_text().splitlines())
    {body}
"""
START = "import sys; from kep.runtime import task; task.GRACE = {grace}; sys.exit(task.main(sys.argv.pop(1), sys.argv))"
KILL = "os.kill(os.getpid(), signal.{})"


class Component:
    """A component whose body is one line, under the first process of a task."""

    def __init__(self, folder: Path, function: str, body: str) -> None:
        self.folder, self.started = folder, folder / "started"
        module = folder / "ephemeral_component.py"
        module.write_text(SOURCE.format(function=function, body=body))
        given = {
            "inputs": {"parameterValues": {"folder": str(folder)}},
            "outputs": {"outputFile": str(folder / "out.json")},
        }
        self.arguments = ["--component_module_path", str(module), "--function_to_execute", function]
        self.arguments += ["--executor_input", json.dumps(given)]

    def start(self, *before: str, grace: float = 60, **environment: str) -> subprocess.Popen:
        own = {
            name: value for name, value in os.environ.items() if name not in (WORK, ATTEMPTS, OWNER, CLUSTER, FAILURE)
        }
        return subprocess.Popen(
            [*before, sys.executable, "-c", START.format(grace=grace), EXECUTOR_MODULE, *self.arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=own | {"_KFP_RUNTIME": "true", "TMPDIR": str(self.folder)} | environment,
        )

    @property
    def attempts(self) -> list[str]:
        """What each attempt found."""
        return self.started.read_text().splitlines()


@pytest.mark.parametrize(
    ("function", "body", "status", "attempts"),
    [
        ("best_epoch", f"{KILL.format('SIGKILL')} if attempt < 2 else None", 0, 2),
        ("retrain", f"{KILL.format('SIGSEGV')} if attempt < 3 else None", 0, 3),
        ("tune", KILL.format("SIGKILL"), -signal.SIGKILL, 3),
        ("trial", "os.abort()", -signal.SIGABRT, 3),
        ("ingest", KILL.format("SIGKILL"), -signal.SIGKILL, 1),
        ("retrain", "sys.exit(2)", 2, 1),
        ("retrain", "raise MemoryError('no room')", 1, 1),
        ("evaluate", "pass", 0, 1),
    ],
)
def test_only_a_training_that_was_killed_is_started_again(function, body, status, attempts, tmp_path):
    component = Component(tmp_path, function, body)
    process = component.start()
    said, _ = process.communicate()
    assert process.returncode == status, said
    assert component.attempts == ["[]", "['checkpoint']", "['checkpoint']"][:attempts]
    assert said.count("goes on from what was kept") == attempts - 1
    assert ("error: the process of this task was killed by" in said) == (status < 0)
    assert not list(tmp_path.glob("kep-task-*"))


def test_what_is_kept_elsewhere_is_left_there(tmp_path):
    component = Component(tmp_path, "retrain", f"{KILL.format('SIGKILL')} if attempt < 2 else None")
    process = component.start(**{WORK: str(tmp_path)})
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert (tmp_path / "checkpoint").exists()


def test_one_of_several_processes_that_train_together_is_not_started_again(tmp_path):
    component = Component(tmp_path, "retrain", KILL.format("SIGKILL"))
    process = component.start(**{CLUSTER: "{}"})
    process.communicate()
    assert (process.returncode, len(component.attempts)) == (-signal.SIGKILL, 1)


WAITING = "print('up', flush=True); signal.pause()"
STUBBORN = f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITING}"
SAVING = f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)); {WAITING}"


@pytest.mark.parametrize(
    ("function", "body", "grace", "status"),
    [
        ("ingest", WAITING, 60, 143),
        ("tune", WAITING, 60, 143),
        ("retrain", SAVING, 60, 1),
        ("retrain", STUBBORN, 0.2, 143),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["first of a container", "any process"])
def test_a_task_ends_soon_after_it_was_told_to(function, body, grace, status, first, tmp_path):
    """The first process of a process namespace ignores what it has no handler for, as in a container."""
    alone = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--"] if first else []
    if first and subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine makes no process namespaces")
    component = Component(tmp_path, function, body)
    process = component.start(*alone, grace=grace)
    for line in process.stdout:
        if line == "up\n":
            break
    # unshare passes no signal on: its only child gets it.
    told = (
        int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]) if first else process.pid
    )
    os.kill(told, signal.SIGTERM)
    said, _ = process.communicate(timeout=10)
    assert process.returncode == status, said
    assert len(component.attempts) == 1


def test_a_task_whose_secrets_nobody_knows_does_not_start(tmp_path):
    component = Component(tmp_path, "retrain", "pass")
    process = component.start(KEP_SECRETS='{"files": {"login": "/login"}}')
    said, _ = process.communicate()
    assert process.returncode == 2
    assert "error: secrets: nobody has said of which project they are; submit the pipeline by `kep submit`" in said
    assert not component.started.exists()
