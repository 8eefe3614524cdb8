"""Whole runs whose run file says who is told."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers.commands import TINY, command, environment, kep, write_run

WEBHOOK = {"webhook": "env:KEP_TEST_WEBHOOK"}
SMALL = TINY["search"] | {"families": ["boosted_trees"], "max_trials": 2, "top_n": 1}


def run_file(folder: Path, notify: dict, **search: object) -> Path:
    return write_run(folder, "iris", data={"source": "sklearn:iris"}, search=SMALL | search, notify=notify)


@pytest.mark.slow
def test_a_run_tells_its_verdict_and_keeps_the_secret(receiver, tmp_path):
    """The webhook stumbles twice; the command starts in the run file's folder."""
    receiver.statuses = [500, 500]
    file = run_file(tmp_path, WEBHOOK | {"command": "cat >> told.jsonl"})
    done = kep("run", file, "--runs", tmp_path / "runs")
    assert done.returncode in (0, 4), done.stdout
    folder = (tmp_path / "runs" / "iris" / "latest").resolve()
    (told,) = receiver.bodies
    assert told["kind"] == {0: "promoted", 4: "not_promoted"}[done.returncode]
    assert told["run"] == str(folder)
    assert Path(told["links"]["report"]).is_file()
    assert (tmp_path / "told.jsonl").read_text().count(told["id"]) == 1
    # Neither the log, the report, the pipeline nor anything else.
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert receiver.SECRET.encode() not in path.read_bytes(), path
    assert receiver.SECRET not in done.stdout
    again = kep("run", file, "--runs", tmp_path / "runs")
    assert len(receiver.bodies) == (1 if done.returncode == 0 else 2), again.stdout


@pytest.mark.slow
def test_a_run_that_fails_is_told_and_a_dead_webhook_changes_nothing(receiver, tmp_path):
    (tmp_path / "broken.py").write_text("import keras\n\ndef build(hp):\n    raise ValueError('no such layer')\n")
    file = run_file(tmp_path, WEBHOOK, families=["broken.py:build"])
    done = kep("run", file, "--runs", tmp_path / "runs")
    assert done.returncode == 2, done.stdout
    (told,) = receiver.bodies
    assert told["kind"] == "failed"
    assert told["text"].startswith("iris: failed: tune failed: search.families: broken")
    assert Path(told["links"]["log"]).is_file()
    assert Path(told["run"]) == Path(told["links"]["log"]).parent
    receiver.statuses = [404]
    done = kep("run", file, "--runs", tmp_path / "runs")
    assert done.returncode == 2, done.stdout
    assert "WARNING: notify.webhook: failed could not be told: 127.0.0.1 answered 404" in done.stdout


@pytest.mark.parametrize(
    ("notify", "options", "words"),
    [
        ({"webhook": "env:KEP_NOT_THERE"}, (), "notify.webhook: the environment variable KEP_NOT_THERE is not set"),
        ({"command": "cat"}, ("--runner", "docker"), "notify: containers without a network reach nobody"),
    ],
)
def test_what_could_tell_nobody_is_refused_before_the_run(tmp_path, notify, options, words):
    done = kep("run", run_file(tmp_path, notify), "--runs", tmp_path / "runs", *options)
    assert done.returncode == 2, done.stdout
    assert words in done.stdout
    assert not list((tmp_path / "runs").glob("iris/2*"))


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_killed_after_promote_and_gone_on_with_tells_once(receiver, tmp_path, when):
    """It is killed before the webhook is told, while the command before it waits, or once that is marked."""
    first, runs = tmp_path / "first", tmp_path / "runs"
    wait = f"test -e {first} || {{ touch {first}; sleep 60; }}"
    notify = {"command": f"cat > /dev/null; {wait}"} if when == "before" else WEBHOOK
    file = run_file(tmp_path, WEBHOOK | notify)
    process = subprocess.Popen(
        command("run", file, "--runs", runs), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 200
    place = runs / "champions" / "iris" / "notices"
    while process.poll() is None and time.monotonic() < deadline:
        if first.exists() if when == "before" else any(place.glob("*-webhook")):
            break
        time.sleep(0.005)
    for pid in [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
    deadline = time.monotonic() + 200
    while "another run is going on" in (done := kep("run", file, "--runs", runs)).stdout:
        assert time.monotonic() < deadline
    assert done.returncode in (0, 4), done.stdout
    assert len(receiver.bodies) == 1
    assert any(place.glob("*-webhook"))
