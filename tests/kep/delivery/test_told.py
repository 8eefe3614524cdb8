"""Drift is told where the run that made the model asks for it; the recipes that train anew are those of the page."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest
import yaml
from rich.console import Console

from kep.artifacts.report import Report
from kep.artifacts.run import RunRecord
from kep.config.run_file import RunFile, validate
from kep.delivery.drift import drift
from tests.helpers.commands import TINY
from tests.helpers.paths import DATA, ROOT

WEBHOOK = {"webhook": "env:KEP_TEST_WEBHOOK"}
_PAGE = ROOT / "docs" / "how-to" / "drift-and-retraining.md"
PAGE = _PAGE.read_text(encoding="utf-8").partition("## Train anew on drift")[2]


@pytest.fixture
def asking(runs, tmp_path):
    """Function that makes a folder of runs whose run file asks for messages, and new rows that have drifted."""

    def of(notify: dict, **run_file) -> Path:
        root = tmp_path / "runs"
        shutil.copytree(runs("churn", "boosted_trees"), root, symlinks=True)
        (run,) = root.glob("churn/2*")
        content = {"name": "churn", "data": {"source": "data.csv", "label": "churned"}, "notify": notify} | run_file
        (tmp_path / "churn.yaml").write_text(yaml.safe_dump(content))
        ask(run, validate(content))
        shutil.copy(DATA / "churn.csv", tmp_path / "data.csv")
        new_rows(tmp_path / "new.csv", 30)
        return root

    return of


def ask(run: Path, run_file: RunFile, base: str = "") -> None:
    """Let a run be one of that run file, in the folder of the test or another."""
    changes, report = {"run_file": run_file, "base": base or str(run.parents[2])}, Report.load(run)
    RunRecord.load(run).model_copy(update=changes).save(run)
    report.model_copy(update={"run": report.run.model_copy(update=changes)}).save(run)


def new_rows(path: Path, months: int) -> None:
    table = pyarrow.csv.read_csv(DATA / "churn.csv")
    later = pa.array([value + months for value in table["months"].to_pylist()])
    pyarrow.csv.write_csv(table.set_column(1, "months", later), path)


def compare(root: Path, **more) -> tuple[bool, str]:
    console = Console(record=True, width=300)
    found = drift(str(root.parent / "new.csv"), str(root / "churn" / "latest"), root, 0.2, console, **more)
    return found, console.export_text()


def test_drift_is_told_once_for_the_same_data(asking, receiver, tmp_path):
    root = asking(WEBHOOK | {"command": "cat >> told.jsonl"})
    found, printed = compare(root, page=tmp_path / "drift.html")
    assert found
    assert "told drift by webhook" in printed
    (told,) = receiver.bodies
    assert (told["kind"], told["name"]) == ("drift", "churn")
    assert re.fullmatch(
        r"churn: drift beyond 0.2 in \d of 8 comparisons \(months.*new.csv\npage: .*drift.html", told["text"]
    )
    assert Path(told["run"]).parent == root / "churn"
    assert Path(told["links"]["page"]).is_file()
    assert (tmp_path / "told.jsonl").read_text().count(told["id"]) == 1  # in the run file's folder
    assert list((root / "champions" / "churn" / "notices").glob("*-webhook"))
    assert "is not told again" in compare(root)[1]
    new_rows(tmp_path / "new.csv", 60)
    compare(root)
    assert len({body["id"] for body in receiver.bodies}) == 2


def test_a_dead_webhook_changes_no_comparison(asking, receiver):
    root = asking(WEBHOOK)
    receiver.statuses = [404]
    found, printed = compare(root)
    assert found
    assert "WARNING: notify.webhook: drift could not be told: 127.0.0.1 answered 404; check the address" in printed
    assert receiver.SECRET not in printed


def test_no_drift_and_no_wish_are_not_told(asking, receiver, tmp_path):
    root = asking(WEBHOOK | {"on": ["failed"]})
    assert compare(root)[0]
    (run,) = root.glob("churn/2*")
    settings = RunRecord.load(run).run_file
    ask(run, settings.model_copy(update={"notify": settings.notify.model_copy(update={"on": ["drift"]})}))
    shutil.copy(DATA / "churn.csv", tmp_path / "new.csv")
    assert not compare(root)[0]
    assert receiver.journal == []


def test_a_model_whose_run_is_not_known_tells_nobody(asking, receiver, tmp_path):
    root = asking(WEBHOOK)
    (run,) = root.glob("churn/2*")
    shutil.move(run / "ensemble", tmp_path / "alone")
    shutil.rmtree(root)
    assert drift(str(tmp_path / "new.csv"), str(tmp_path / "alone"), root, 0.2, Console(quiet=True))
    assert receiver.journal == []


@pytest.mark.parametrize("others", [{}, WEBHOOK], ids=["alone", "beside a webhook"])
@pytest.mark.parametrize("where", ["a bucket", "another machine"])
def test_a_command_from_elsewhere_is_not_run(asking, receiver, gcs, tmp_path, where, others):
    root = asking(others | {"command": "touch told", "on": ["drift"]})
    if where == "a bucket":
        (root / ".address").write_text("gs://data/runs")
    else:
        (run,) = root.glob("churn/2*")
        ask(run, RunRecord.load(run).run_file, str(tmp_path / "gone"))
    found, printed = compare(root)
    assert found
    assert f"note: notify.command is not run: {root / 'churn'}" in printed
    assert not list(tmp_path.rglob("told"))
    assert len(receiver.bodies) == bool(others)


@pytest.mark.slow
def test_kep_batch_tells_of_drift(asking, receiver, kep):
    asking(WEBHOOK)
    code, out, _ = kep("batch", "new.csv", "--model", "churn", "--key", "customer", "-o", "predictions")
    assert code == 0, out
    assert "told drift by webhook" in out
    (told,) = receiver.bodies
    assert (told["kind"], Path(told["links"]["page"]).name) == ("drift", "drift.html")


SMALL = {"search": TINY["search"] | {"families": ["boosted_trees"], "max_trials": 2, "top_n": 1}}


def shell(line: str, folder: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def ended(root: Path) -> list[Path]:
    """Runs that have ended, beside the one that was there."""
    return [path.parent for path in root.glob("churn/2*/report.html") if path.parent.name != "20260101-000000"]


@pytest.mark.slow
def test_the_recipe_of_the_page_trains_anew_on_drift_alone(asking, receiver, tmp_path):
    root = asking(WEBHOOK, **TINY | SMALL)
    (recipe,) = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    shutil.copy(DATA / "churn.csv", tmp_path / "kept.csv")
    for data, kinds in (("kept.csv", []), ("missing.csv", []), ("new.csv", ["drift", "promoted"])):
        done = shell(recipe.replace("new.csv", data), tmp_path)
        told = [body["kind"].replace("not_promoted", "promoted") for body in receiver.bodies]
        assert told == kinds, done.stdout + done.stderr
        assert len(ended(root)) == bool(kinds)


@pytest.mark.slow
def test_the_message_of_the_page_trains_anew_once(asking, tmp_path):
    (recipe,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    command = yaml.safe_load(recipe.replace("on:", '"on":'))["notify"]
    root = asking(command, **TINY | SMALL)
    for _ in range(2):
        done = shell("kep drift new.csv --against churn", tmp_path)
        assert done.returncode == 1, done.stdout + done.stderr
    deadline = time.monotonic() + 200
    while not ended(root) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(list(root.glob("churn/2*"))) == 2, (tmp_path / "retrained.log").read_text()
