"""Where a run keeps its things, who may use it, and what is dropped when a step runs again."""

import json
import signal
import subprocess
import sys

import psutil
import pytest

from kep.artifacts.event import Event
from kep.core.environment import BEGUN
from kep.core.errors import UserError
from kep.engines.local import modules
from kep.engines.local.runner import RunsFolder, follow, start, stop
from kep.pipelines.steps import STEPS, step_of

COMPONENTS = {
    "ingest": ["records"],
    "tune": ["study"],
    "best_epoch": ["result"],
    "weigh": ["weights"],
    "retrain": ["model"],
    "evaluate": ["metrics", "report", "ensemble", "evaluation"],
    "promote": ["verdict"],
}


@pytest.fixture
def place(tmp_path) -> RunsFolder:
    return RunsFolder(tmp_path / "runs" / "demo")


def fill(place: RunsFolder) -> None:
    """Partial work and cache entries of every step, as kfp.local writes them."""
    place.cache.mkdir(parents=True)
    for step, outputs in COMPONENTS.items():
        (place.work / step / "key").mkdir(parents=True)
        loop = "for-loop-1-iteration-0/" if step in ("best_epoch", "retrain") else ""
        folder = place.store / "training-2026-11-22-02-22-52-577947" / f"{loop}{step.replace('_', '-')}"
        entry = {
            name: {
                "__kfp_artifact__": True,
                "schema_title": "system.Artifact",
                "schema_version": "0.0.1",
                "name": name,
                "uri": str(folder / name),
                "metadata": {},
            }
            for name in outputs
        }
        if step in ("tune", "weigh"):
            entry["Output"] = ['{"id": "mlp-001", "family": "mlp"}']
        (place.cache / f"{step}-0123abcd.json").write_text(json.dumps(entry))


def kept(place: RunsFolder) -> tuple[list[str], list[str]]:
    """Steps with partial work, and steps with a cache entry, in the order of the flow."""
    cached = {path.name.partition("-")[0] for path in place.cache.glob("*.json")}
    return [s for s in STEPS if (place.work / s).exists()], [s for s in STEPS if s in cached]


def test_every_step_is_known_here():
    assert tuple(COMPONENTS) == STEPS


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_forgotten_with_all_after_it_and_nothing_before_it(place, step):
    fill(place)
    place.forget(step)
    before = list(STEPS[: STEPS.index(step)])
    assert kept(place) == (before, before)


@pytest.mark.parametrize("name", ["promote", "evaluate/runs/retrain"])
def test_a_runs_folder_with_a_steps_name_forgets_no_more(tmp_path, name):
    place = RunsFolder(tmp_path / name)
    fill(place)
    place.forget("weigh")
    assert kept(place) == (["ingest", "tune", "best_epoch"], ["ingest", "tune", "best_epoch"])


def test_there_may_be_nothing_to_forget(place):
    place.forget("ingest")


def test_a_second_run_of_the_same_place_is_refused_until_the_first_ends(place):
    with place.locked():
        with pytest.raises(UserError, match=r"another run is going on in .*demo; wait for it") as error, place.locked():
            pass
        assert "\n" not in str(error.value)
        with RunsFolder(place.root.parent / "other").locked():
            pass
    with place.locked():
        pass


def test_the_lock_is_free_after_an_error(place):
    with pytest.raises(ValueError, match="x"), place.locked():
        raise ValueError("x")
    with place.locked():
        pass


def test_the_lock_goes_with_a_killed_run(place):
    program = (
        "from pathlib import Path\n"
        "from kep.engines.local.runner import RunsFolder\n"
        f"with RunsFolder(Path({str(place.root)!r})).locked():\n"
        "    print('locked', flush=True)\n"
        "    input()\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match="another run"), place.locked():
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        with place.locked():
            pass
    finally:
        other.kill()
        other.communicate()


@pytest.mark.parametrize("folder", ["python3/runs", "my-python3.11-project"])
def test_a_path_that_kfp_would_alter_is_refused_before_it_is_made(tmp_path, folder):
    place = RunsFolder(tmp_path / folder / "demo")
    with pytest.raises(UserError, match=r'kfp.local replaces "python3" in paths'), place.locked():
        pass
    assert list(tmp_path.iterdir()) == []


def test_stop_ends_everything_that_a_run_started():
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); input()"
    leader = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {stubborn!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", leader], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout.readline() == b"up\n"
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(family) == 2
    stop(process)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    stop(process)  # nothing is left to stop, and that is no error
    process.communicate()


def test_follow_shows_every_event_and_returns_the_exit_status(tmp_path):
    program = (
        "import json, sys\n"
        f"with open({str(tmp_path / 'events.jsonl')!r}, 'ab', buffering=0) as file:\n"
        "    for number in range(200):\n"
        "        file.write(json.dumps({'kind': 'signal', 'number': number}).encode() + b'\\n')\n"
        "sys.exit(3)\n"
    )
    (tmp_path / "events.jsonl").touch()
    shown = []
    process = subprocess.Popen([sys.executable, "-c", program])
    assert follow(process, tmp_path, shown.append, pause=0.001) == 3
    assert [event.number for event in shown] == list(range(200))


def test_a_mistake_of_the_users_is_not_tried_again(tmp_path):
    program = (
        "import json\n"
        f"file = open({str(tmp_path / 'events.jsonl')!r}, 'ab', buffering=0)\n"
        "for user in (False, True):\n"
        "    file.write(json.dumps({'kind': 'failed', 'user': user}).encode() + b'\\n')\n"
        "    input()\n"
    )
    (tmp_path / "events.jsonl").touch()
    shown = []

    def show(event: Event) -> None:
        shown.append(event.user)
        if not event.user:
            process.stdin.write(b"again\n")
            process.stdin.flush()

    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, start_new_session=True)
    assert follow(process, tmp_path, show) == -signal.SIGTERM
    assert shown == [False, True]
    process.stdin.close()


def test_follow_waits_for_the_rest_of_a_line(tmp_path):
    """A line that crosses a page of the file can be seen before it is whole."""
    events = tmp_path / "events.jsonl"
    parts = ['{"kind": "signal", "number": 1}\n{"num', 'ber": 2, "kind": "signal"}', "\n"]
    events.write_text("")

    class Run:
        """A process that writes one part more whenever the reader waits."""

        returncode = 0

        def poll(self) -> int | None:
            return None if parts else 0

        def wait(self, timeout: float) -> None:
            with open(events, "a") as file:
                file.write(parts.pop(0))

    shown = []
    follow(Run(), tmp_path, shown.append)
    assert [event.number for event in shown] == [1, 2]


def test_tasks_of_a_step_with_several_components_count_as_that_step():
    assert [step_of(task) for task in ("suggest", "suggest-2", "trial", "tune", "best-epoch", "weigh")] == [
        "tune",
        "tune",
        "tune",
        "tune",
        "best_epoch",
        "weigh",
    ]


def test_tasks_of_the_prediction_pipeline_belong_to_its_steps():
    tasks = ("predict-plan", "predict", "predict-join", "drift", "drift-gate")
    assert [step_of(task) for task in tasks] == ["predict"] * 3 + ["drift"] * 2


def test_a_search_in_rounds_is_forgotten_with_its_trials(place):
    fill(place)
    entry = (place.cache / "tune-0123abcd.json").read_text()
    for task in ("suggest", "suggest-2", "for-loop-1-iteration-0/trial"):
        (place.cache / f"{task.rpartition('/')[2]}-x.json").write_text(entry.replace("/tune/", f"/{task}/"))
    place.forget("best_epoch")
    assert len(list(place.cache.glob("suggest*"))) == 2
    place.forget("tune")
    assert not list(place.cache.glob("suggest*")) + list(place.cache.glob("trial*"))


def test_the_time_of_a_run_counts_from_its_command(tmp_path, monkeypatch):
    started = {}
    monkeypatch.setattr(modules, "BEGIN", lambda command, **options: started.update(options))
    folder = tmp_path / "runs" / "churn" / "first"
    folder.mkdir(parents=True)
    start(folder, RunsFolder(folder.parent), {}, tmp_path, None, began=12.5)
    assert started["env"][BEGUN] == "12.5"
