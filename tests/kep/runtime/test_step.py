"""What every step has around its logic: its record, its events, its exit status, its partial work."""

import json
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from kep.core.code import Closure
from kep.core.environment import EVENTS, OWNER, WORK
from kep.core.errors import AwayError, RunError, UserError
from kep.runtime.step import Step, end_with_owner, entry


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (EVENTS, OWNER, WORK):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def events(tmp_path, monkeypatch):
    """Function that reads the events so far."""
    monkeypatch.setenv(EVENTS, str(tmp_path / "events.jsonl"))

    def read() -> list[dict]:
        text = (tmp_path / "events.jsonl").read_text()
        assert text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]

    return read


def kinds(events: list[dict]) -> list[str]:
    return [event["kind"] for event in events]


@entry("tune")
def reads(step: Step, *, records: str) -> str:
    data = step.open(records)
    data.load("train")
    step.label = "mlp-001"
    step.progress("half way", 1, 2)
    data.load("validation")
    (step.out / "result").write_text(str(step.seed))
    return "the result"


def test_a_step_writes_what_it_read_and_what_it_took(records, tmp_path, events):
    assert reads(out=str(tmp_path / "out"), records=str(records("cancer")), seed=7) == "the result"
    assert (tmp_path / "out" / "result").read_text() == "7"
    written = json.loads((tmp_path / "out" / "step.json").read_text())
    manifest = json.loads((records("cancer") / "manifest.json").read_text())
    assert written["ledger"] == [
        {
            "step": "tune",
            "role": role,
            "rows": manifest["roles"][role]["rows"],
            "fingerprint": manifest["roles"][role]["fingerprint"],
        }
        for role in ("train", "validation")
    ]
    assert (written["step"], written["label"], written["seed"]) == ("tune", "mlp-001", 7)
    start, progress, done = events()
    assert written["started"] <= start["time"] <= progress["time"] <= done["time"]
    assert 0 <= written["seconds"] == done["seconds"]
    assert 10 < written["peak_memory_mb"] < 100_000
    assert written["cores"] >= 1
    assert written["versions"]["python"] == sys.version.split()[0]
    assert written["versions"]["numpy"]


def test_events_say_how_far_a_step_is(records, tmp_path, events):
    reads(out=str(tmp_path / "out"), records=str(records("cancer")), seed=7)
    assert kinds(events()) == ["start", "progress", "done"]
    assert {event["step"] for event in events()} == {"tune"}
    progress = events()[1]
    assert (progress["text"], progress["done"], progress["total"]) == ("half way", 1, 2)
    assert [event["label"] for event in events()] == ["", "mlp-001", "mlp-001"]


def test_without_an_events_file_a_step_runs_and_logs(records, tmp_path, capsys):
    reads(out=str(tmp_path / "out"), records=str(records("cancer")), seed=7)
    assert "mlp-001: half way" in capsys.readouterr().out


@entry("ingest")
def refuses(step: Step) -> None:
    (step.out / "half").write_text("x")
    raise UserError('data.label: no column "churnd"')


@entry("ingest")
def crashes(step: Step) -> None:
    (step.out / "half").write_text("x")
    raise ValueError("a bug of ours")


def test_a_users_mistake_is_status_2_and_one_sentence(tmp_path, events, capsys):
    with pytest.raises(SystemExit) as error:
        refuses(out=str(tmp_path / "out"))
    assert error.value.code == 2
    assert capsys.readouterr().out == 'error: data.label: no column "churnd"\n'
    assert kinds(events()) == ["start", "failed"]
    assert events()[-1]["user"] is True
    assert events()[-1]["message"] == 'data.label: no column "churnd"'
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]


def test_a_service_that_is_away_is_nobodys_mistake(tmp_path, events, capsys):
    @entry("tune")
    def asks(step: Step) -> None:
        raise AwayError("Vizier does not answer; try again later")

    with pytest.raises(SystemExit) as error:
        asks(out=str(tmp_path / "out"))
    assert error.value.code == 1
    assert capsys.readouterr().out == "error: Vizier does not answer; try again later\n"
    assert events()[-1]["user"] is False


def test_a_users_mistake_shows_no_stack_trace(tmp_path):
    program = (
        "from kep.runtime.step import entry\n"
        "from kep.core.errors import UserError\n"
        "@entry('ingest')\n"
        "def run(step):\n"
        "    raise UserError('say this')\n"
        f"run(out={str(tmp_path / 'out')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (done.stdout, done.stderr) == ("error: say this\n", "")


def test_a_bug_is_raised_and_is_not_called_the_users(tmp_path, events):
    with pytest.raises(ValueError, match="a bug of ours"):
        crashes(out=str(tmp_path / "out"))
    assert kinds(events()) == ["start", "failed"]
    assert events()[-1]["user"] is False
    assert events()[-1]["message"] == "ValueError: a bug of ours"
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]


def test_a_failed_step_leaves_the_output_of_an_earlier_attempt(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "earlier").write_text("x")
    with pytest.raises(SystemExit):
        refuses(out=str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["earlier"]


def test_a_step_without_a_seed_gets_none(tmp_path):
    @entry("weigh")
    def run(step: Step) -> None:
        pass

    run(out=str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "step.json").read_text())["seed"] is None


def test_partial_work_is_kept_between_attempts(tmp_path, monkeypatch):
    monkeypatch.setenv(WORK, str(tmp_path / "work"))
    (Step("tune").work("study") / "trial").write_text("x")
    assert (Step("tune").work("study") / "trial").read_text() == "x"
    assert not (Step("tune").work("other study") / "trial").exists()
    assert not (Step("best_epoch").work("study") / "trial").exists()


@pytest.mark.parametrize(("name", "kept"), [("retrain", True), ("ingest", False)])
def test_checkpoints_are_kept_beside_an_output_in_the_runs_bucket(tmp_path, monkeypatch, name, kept):
    """An attempt that ends badly leaves them for the next one, which removes them."""
    monkeypatch.setattr("kep.runtime.step.MOUNT", f"{tmp_path}/")
    found = []

    @entry(name)
    def run(step: Step) -> None:
        found.append([path.name for path in step.work("of-this").iterdir()])
        (step.work("of-this") / "checkpoint").write_text("x")
        if len(found) == 1:
            raise RunError("the machine is taken away")

    with pytest.raises(SystemExit):
        run(out=str(tmp_path / "task" / "output"))
    run(out=str(tmp_path / "task" / "output"))
    assert found == [[], ["checkpoint"] if kept else []]
    assert not (tmp_path / "task" / "work" / name / "of-this").exists()


def test_without_a_place_for_it_partial_work_is_new_each_time():
    steps = [Step("tune"), Step("tune")]
    first, second = (step.work("study") for step in steps)
    assert first.is_dir()
    assert second.is_dir()
    assert first != second


@pytest.mark.parametrize("fail", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_without_a_place_for_it_partial_work_is_removed_however_the_step_ends(tmp_path, monkeypatch, keep, fail):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    with pytest.raises(ValueError, match="killed") if fail else nullcontext():
        works(out=str(tmp_path / "out"), keep=keep, fail=fail)
    assert not list((tmp_path / "tmp").iterdir())


@entry("tune")
def works(step: Step, *, keep: bool, fail: bool) -> str:
    folder = step.work("study", keep)
    (folder / "trial").write_text("x")
    if fail:
        raise ValueError("killed")
    return str(folder)


@pytest.mark.parametrize("keep", [True, False])
def test_partial_work_outlives_a_failure_and_a_good_end_only_where_it_is_of_use(tmp_path, monkeypatch, keep):
    monkeypatch.setenv(WORK, str(tmp_path / "work"))
    trial = tmp_path / "work" / "tune" / "study" / "trial"
    with pytest.raises(ValueError, match="killed"):
        works(out=str(tmp_path / "out"), keep=keep, fail=True)
    assert trial.exists()
    assert works(out=str(tmp_path / "out"), keep=keep, fail=False) == str(trial.parent)
    assert trial.exists() is keep


@pytest.mark.parametrize("keep", [True, False])
def test_a_folder_that_no_attempt_can_find_again_is_removed(tmp_path, keep):
    assert not Path(works(out=str(tmp_path / "out"), keep=keep, fail=False)).exists()


def test_a_step_ends_with_the_run_that_owns_it():
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    program = (
        "import threading\n"
        "from kep.runtime.step import end_with_owner\n"
        "end_with_owner()\n"
        "print('up', flush=True)\n"
        "threading.Event().wait()\n"
    )
    step = subprocess.Popen(
        [sys.executable, "-c", program], env={OWNER: str(owner.pid)}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert step.stdout.readline() == "up\n"
        assert step.poll() is None
        owner.kill()
        owner.wait()
        assert step.wait(timeout=60) == 1
    finally:
        for process in (owner, step):
            process.kill()
            process.communicate()


def test_a_step_without_an_owner_watches_nothing():
    import threading

    before = threading.active_count()
    end_with_owner()
    assert threading.active_count() == before


@entry("weigh")
def edited(step: Step, *, source: str, new: str) -> None:
    """Stands for a step during which somebody pulls other code."""
    (step.out / "result").write_text("x")
    if new:
        Path(source).write_text(new)


@pytest.mark.parametrize(
    ("given", "new", "status"),
    [
        ("{now}.01234567", "", None),
        ("{now}.01234567-0123456789ab", "", None),  # other libraries, in an image
        ("", "", None),
        ("0123456789abcdef.01234567", "", 2),
        ("{now}.01234567", "# edited\n", 2),
        ("", "# edited\n", 2),
    ],
)
def test_a_step_whose_code_is_not_that_of_its_cache_key_leaves_nothing(
    tmp_path, monkeypatch, capsys, events, given, new, status
):
    source = tmp_path / "weigh.py"
    source.write_text("# as it was\n")
    monkeypatch.setattr("kep.runtime.step.step_closure", lambda name: Closure((str(source),), ()))
    code = given.format(now=Closure((str(source),), ()).source())
    if status is None:
        edited(out=str(tmp_path / "out"), code=code, source=str(source), new=new)
        assert (tmp_path / "out" / "result").exists()
        return
    with pytest.raises(SystemExit) as ended:
        edited(out=str(tmp_path / "out"), code=code, source=str(source), new=new)
    assert ended.value.code == status
    assert not (tmp_path / "out").exists()
    sentence = "weigh: the code of this step was changed after the run was started; start the run again"
    assert f"error: {sentence}" in capsys.readouterr().out
    assert events()[-1]["message"] == sentence
