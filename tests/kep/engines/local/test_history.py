"""Local runs in one table, and the steps of one."""

import shutil
import subprocess
import sys
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from kep.engines.local.history import find_run, history
from tests.helpers.runs import begun, champion, done, event


def broken(runs: Path, run: str) -> Path:
    folder = begun(runs, run)
    (folder / "run.json").write_text("{")
    return folder


def edited(runs: Path, run: str) -> Path:
    folder = done(runs, run)
    path = next((runs / "demo" / "store" / run).rglob("evaluation.json"))
    path.write_text(path.read_text().replace('"rows": 100', '"rows": 200'))
    return folder


FAILED = event("failed", message="disk full")


@pytest.mark.parametrize(
    ("make", "state", "problem", "status"),
    [
        (lambda runs, run: done(runs, run), "done", "", 0),
        (lambda runs, run: done(runs, run, promoted=False), "done", "", 4),
        (lambda runs, run: done(runs, run, promoted=False, unchanged=True), "done", "", 0),
        (lambda runs, run: begun(runs, run, event("start"), FAILED), "failed", "tune failed: disk full", 1),
        (lambda runs, run: begun(runs, run, event("failed", message="no", user=True)), "failed", "tune failed: no", 2),
        (lambda runs, run: begun(runs, run, event("start"), FAILED, event("done")), "interrupted", "", 130),
        (lambda runs, run: begun(runs, run, event("signal", "", number=9)), "failed", "it was ended by SIGKILL", 1),
        (lambda runs, run: begun(runs, run, event("signal", "", number=15)), "interrupted", "", 130),
        (lambda runs, run: begun(runs, run), "interrupted", "", 130),
        (broken, "damaged", "run.json", 1),
        (edited, "damaged", "evaluation.json was changed after kep wrote it", 1),
    ],
)
def test_the_state_of_a_run_follows_from_what_it_left(tmp_path, make, state, problem, status):
    make(tmp_path, "20260101-000000")
    (found,) = history(tmp_path)
    assert (found.state, found.status) == (state, status)
    assert problem in found.problem
    assert bool(found.problem) == bool(problem)


def test_the_newest_run_is_under_way_while_its_lock_is_held(tmp_path):
    begun(tmp_path, "20260101-000000", event("start"))
    begun(tmp_path, "20260102-000000", event("start"))
    with open(tmp_path / "demo" / "lock", "w") as file:
        flock(file, LOCK_EX)
        assert [run.state for run in history(tmp_path)] == ["under way", "interrupted"]
    assert [run.state for run in history(tmp_path)] == ["interrupted", "interrupted"]


def test_a_folder_of_runs_can_be_moved(tmp_path):
    done(tmp_path / "one", "20260101-000000", 0.25)
    shutil.move(tmp_path / "one", tmp_path / "two")
    (found,) = history(tmp_path / "two")
    assert (found.state, found.score and found.score.value) == ("done", 0.25)


def test_one_table_newest_first_with_the_champion(tmp_path, kep):
    runs = tmp_path / "runs"
    done(runs, "20260101-000000", 0.5)
    done(runs, "20260103-000000", 0.25, promoted=False)
    begun(runs, "20260102-000000", event("failed", message="disk full"), name="other")
    champion(runs, "20260101-000000"[:12])
    (runs / "batch" / "20260104-000000").mkdir(parents=True)
    code, out, err = kep("runs")
    assert (code, err) == (0, "")
    head, *lines = [" ".join(line.split()) for line in out.splitlines()]
    assert head.startswith("where name run state started (UTC) took test metric")
    assert lines == [
        "local demo 20260103-000000 done 2026-01-03 00:00 10 s loss 0.25 (0.15 to 0.35) not promoted",
        "local other 20260102-000000 failed: tune failed: disk full 2026-01-02 00:00 10 s",
        "local demo 20260101-000000 done 2026-01-01 00:00 10 s loss 0.5 (0.4 to 0.6) promoted, champion",
    ]
    assert len(kep("runs", "--name", "demo")[1].splitlines()) == 3
    assert len(kep("runs", "--limit", "1")[1].splitlines()) == 2
    assert "error: there is no folder nowhere; give the folder of all runs" in kep("runs", "--runs", "nowhere")[2]
    assert "error: there is no run of dem in runs; the runs there are of demo, other" in kep("runs", "--name", "dem")[2]


@pytest.mark.parametrize("given", ["demo", "demo/20260102-000000", "runs/demo/20260102-000000"])
def test_status_shows_the_steps_of_a_local_run(tmp_path, kep, given):
    done(tmp_path / "runs", "20260101-000000")
    events = [event("reused", "ingest"), event("start"), event("failed", message="disk full")]
    begun(tmp_path / "runs", "20260102-000000", *events, event("start", "weigh"))
    code, out, err = kep("status", given)
    assert (code, err) == (1, "")
    words = [" ".join(line.split()) for line in out.splitlines()]
    assert words[0] == "demo/20260102-000000: failed"
    assert "↺ ingest reused" in words
    assert any(line.startswith("✗ tune") for line in words)
    assert any(line.startswith("■ weigh") for line in words)
    assert words[-1].startswith("error: tune failed: disk full (log: ")


def test_status_of_a_run_that_is_done_and_of_none(tmp_path, kep):
    done(tmp_path / "runs", "20260101-000000", promoted=False)
    code, out, _ = kep("status", "demo")
    assert code == 4
    assert "loss 0.5 (0.4 to 0.6), not promoted" in out
    code, _, err = kep("status", "dem")
    assert code == 2
    assert 'there is no run dem in runs; did you mean "demo"?; `kep runs` lists them' in " ".join(err.split())
    assert kep("status", "demo", "--target", "vertex")[0] == 2


def test_a_place_that_can_not_be_asked_is_said_after_the_table(tmp_path, kep, monkeypatch):
    monkeypatch.delenv("GOOGLE_CLOUD_REGION", raising=False)
    done(tmp_path / "runs", "20260101-000000")
    code, out, err = kep("runs", "--project", "shop-ml")
    assert (code, len(out.splitlines())) == (2, 2)
    assert "--region: is missing" in err
    assert kep("runs", "--project", "shop-ml", "--target", "local")[0] == 0


def test_no_machine_learning_library_is_imported(tmp_path):
    done(tmp_path, "20260101-000000")
    program = (
        "import sys; from pathlib import Path; from kep.engines.local.history import history\n"
        f"assert history(Path({str(tmp_path)!r}))[0].state == 'done'\n"
        "print([name for name in ('tensorflow', 'keras', 'matplotlib') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_newest_is_found_by_name(tmp_path):
    done(tmp_path, "20260101-000000")
    begun(tmp_path, "20260102-000000")
    assert find_run("demo", tmp_path).folder.name == "20260102-000000"
