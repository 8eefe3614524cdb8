"""Whole runs on real files: what they write, who read what, and that they can be done again."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from kep.artifacts.export import Export
from kep.artifacts.report import Report
from kep.artifacts.run import RunRecord
from kep.core.errors import UserError
from kep.engines.local.results import report_export
from kep.models.ensemble import Ensemble
from kep.stats.pooling import pool
from tests.helpers.commands import DONE, Run, command, environment, heed_interrupts, kep, write_run
from tests.helpers.paths import DATA


def test_every_step_ends_and_the_run_ends_with_the_report(churn):
    for step in ("ingest", "tune", "best_epoch", "weigh", "retrain", "evaluate", "promote"):
        assert re.search(rf"\] {step}.*: done in", churn.output), step
    path = re.search(r"done in \d+ s, report: (\S+)", churn.output)[1]
    assert Path(path).resolve() == churn.folder / "report.html"
    assert [step["step"] for step in churn.report["steps"]][-2:] == ["evaluate", "promote"]


def test_the_ledger_says_who_read_which_role(churn):
    readers = {(line["step"], line["role"]) for line in churn.report["evaluation"]["ledger"]}
    assert {step for step, role in readers if role == "test"} == {"evaluate"}
    assert {step for step, role in readers if role == "train"} == {"tune", "best_epoch", "retrain"}
    rows = {role: info["rows"] for role, info in churn.report["manifest"]["roles"].items()}
    for line in churn.report["evaluation"]["ledger"]:
        assert line["rows"] == rows[line["role"].split()[0]]


def test_weights_members_and_models_carry_the_same_ids(churn):
    weights = churn.report["weights"]
    members = {member["id"] for member in weights["members"]}
    assert members == {id for id, weight in weights["weights"].items() if weight > 0}
    ensemble = Path(churn.outcome["ensemble"])
    assert {path.name for path in (ensemble / "members").iterdir()} == members
    assert sum(weights["weights"].values()) == pytest.approx(1)
    for member in churn.report["members"]:
        assert member["roles"] == ["train", "validation"]
        result = next(b for b in churn.report["best_epochs"] if b["candidate"]["id"] == member["id"])
        assert member["trained_units"] == result["median_best"]
        assert result["median_best"] == int(np.median([seed["best"] for seed in result["seeds"]]) + 0.5)


def test_the_ensemble_pools_its_members_by_their_weights(churn):
    stored = np.load(churn.predictions)
    weights = {id: w for id, w in churn.report["weights"]["weights"].items() if w > 0}
    expected = pool([stored[id] for id in weights], list(weights.values()), churn.report["weights"]["pooling"])
    np.testing.assert_allclose(stored["ensemble"], expected, atol=1e-12)
    right = -np.log(stored["ensemble"][np.arange(len(stored["labels"])), stored["labels"]]).mean()
    score = churn.report["evaluation"]["scores"]["ensemble"]["loss"]
    assert score["value"] == pytest.approx(right, rel=1e-6)
    assert score["low"] < score["value"] < score["high"]


def test_the_pipeline_pages_get_the_metrics_the_confusion_matrix_and_the_curve(churn):
    (written,) = (churn.place / "store").glob("*/evaluate/executor_output.json")
    artifacts = json.loads(written.read_text())["artifacts"]
    shown = {name: artifacts[name]["artifacts"][0]["metadata"] for name in ("metrics", "classification")}
    scores = churn.report["evaluation"]["scores"]["ensemble"]
    assert shown["metrics"] == pytest.approx({name: score["value"] for name, score in scores.items()})
    matrix = shown["classification"]["confusionMatrix"]
    assert [spec["displayName"] for spec in matrix["annotationSpecs"]] == ["no", "yes"]
    counts = [row["row"] for row in matrix["rows"]]
    assert counts == churn.report["evaluation"]["pictures"]["confusion"]
    assert len(shown["classification"]["confidenceMetrics"]) == len(churn.report["evaluation"]["pictures"]["roc"])
    assert "<html" in (written.parent / "report").read_text()


def test_slices_add_up_to_the_test_rows(churn):
    for parts in churn.report["evaluation"]["slices"].values():
        assert sum(part["rows"] for part in parts) == churn.report["evaluation"]["rows"]


def test_the_ensemble_predicts_raw_features_in_a_fresh_process(churn, tmp_path):
    program = f"""
import json, numpy as np, pyarrow.csv
from kep.artifacts.export import Export
from kep.artifacts.report import Report
from kep.artifacts.run import RunRecord
from kep.core.errors import UserError
from kep.engines.local.results import report_export
from kep.models.ensemble import Ensemble
ensemble = Ensemble({churn.outcome["ensemble"]!r})
table = pyarrow.csv.read_csv({str(DATA / "churn.csv")!r})
np.savez({str(tmp_path / "p.npz")!r}, predictions=ensemble.predict(table))
"""
    subprocess.run([sys.executable, "-c", program], env=environment(), check=True, capture_output=True)
    predicted = np.load(tmp_path / "p.npz")["predictions"]
    assert predicted.shape == (600, 2)
    evaluated = np.load(churn.predictions)["ensemble"]
    # Every evaluated row is one of the file's rows, with the same probability.
    distance = np.abs(evaluated[:, None, 1] - predicted[None, :, 1]).min(axis=1)
    assert distance.max() < 1e-6


@pytest.mark.parametrize(
    "ending", ["csv", pytest.param("parquet", marks=pytest.mark.slow), pytest.param("jsonl", marks=pytest.mark.slow)]
)
def test_a_file_is_predicted_row_by_row_in_order(churn, tmp_path, ending):
    rows = pyarrow.csv.read_csv(DATA / "churn.csv").slice(0, 50)
    pyarrow.csv.write_csv(rows.drop_columns(["churned"]), tmp_path / "new.csv")
    runs, output = churn.place.parent, tmp_path / f"out.{ending}"
    keys = ("--key", "customer", "--key", "region") if ending == "csv" else ()
    done = kep("predict", tmp_path / "new.csv", "--model", "churn", "--runs", runs, "-o", output, *keys)
    assert done.returncode == 0, done.stdout
    # One line, without TensorFlow's greetings.
    assert re.search(r"wrote \S+: 50 rows in [\d.]+ s, by \S+\n", done.stdout), done.stdout
    reader = {"csv": pyarrow.csv.read_csv, "parquet": pq.read_table, "jsonl": pyarrow.json.read_json}[ending]
    told = reader(output)
    named = ["customer", "region"] if keys else []
    assert told.column_names == [*named, "prediction", "probability_no", "probability_yes"]
    assert all(told[name].to_pylist() == rows[name].to_pylist() for name in named)
    expected = Ensemble(churn.folder / "ensemble").predict({name: rows[name] for name in rows.column_names[:-1]})
    np.testing.assert_allclose(np.stack([told[f"probability_{c}"] for c in ("no", "yes")], axis=1), expected, atol=1e-6)
    assert told["prediction"].to_pylist() == ["yes" if yes > no else "no" for no, yes in expected]


def test_what_can_not_be_predicted_is_one_sentence_and_leaves_nothing(churn, tmp_path):
    table = pyarrow.csv.read_csv(DATA / "churn.csv").slice(0, 5)
    names = [name.replace("months", "month") for name in table.column_names]
    pyarrow.csv.write_csv(table.rename_columns(names), tmp_path / "new.csv")
    runs = churn.place.parent

    def refused(*arguments) -> str:
        done = kep("predict", tmp_path / "new.csv", "--runs", runs, "-o", tmp_path / "out.csv", *arguments)
        assert done.returncode == 2
        assert not (tmp_path / "out.csv").exists()
        return done.stdout

    assert 'column "months" is missing' in refused("--model", "churn")
    assert 'did you mean "month"?' in refused("--model", churn.folder / "ensemble")
    assert "no finished run chrn" in refused("--model", "chrn")
    assert 'the predictions have a column "prediction"' in refused("--model", "churn", "--key", "prediction")
    assert "must end in .csv, .parquet, .jsonl" in refused("--model", "churn", "-o", tmp_path / "out.xlsx")


def test_the_first_ensemble_becomes_champion_and_an_equal_one_does_not_replace_it(churn):
    verdict = json.loads((churn.folder / "verdict.json").read_text())
    assert verdict["promoted"]
    assert "first champion" in verdict["reason"]
    champion = churn.place.parent / "champions" / "churn"
    pointer = (champion / "champion.json").read_text()
    again = kep("run", churn.place.parent.parent / "churn.yaml", "--runs", churn.place.parent)
    assert again.returncode == 0, again.stdout
    assert "Unchanged" in again.stdout
    second = Run(churn.place.parent, "churn", again.stdout)
    comparison = second.report["evaluation"]["champion"]["differences"]["loss"]
    assert comparison["value"] == 0
    assert comparison["rows"] == churn.report["evaluation"]["rows"]
    assert (champion / "champion.json").read_text() == pointer
    # Nothing was trained for it: the steps before the comparison were reused.
    for step in ("ingest", "tune", "best_epoch", "weigh", "retrain"):
        assert f"{step}: reused" in again.stdout
        assert f"{step}: started" not in again.stdout
    forced = kep("run", churn.place.parent.parent / "churn.yaml", "--runs", churn.place.parent, "--force")
    assert "Promoted by force" in forced.stdout
    assert json.loads((champion / "champion.json").read_text())["forced"]


@pytest.mark.slow
def test_a_changed_setting_runs_what_depends_on_it_alone(churn, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(churn.place.parent, runs, symlinks=True)
    file = churn.place.parent.parent / "churn.yaml"
    changed = kep("run", file, "--runs", runs, "--set", "ensemble.method=greedy")
    assert changed.returncode in DONE, changed.stdout
    for step in ("ingest", "tune", "best_epoch"):
        assert f"{step}: reused" in changed.stdout
    assert "weigh: started" in changed.stdout


def test_like_does_a_run_again(churn):
    again = kep("run", "--like", churn.folder, "--runs", churn.place.parent)
    assert again.returncode == 0, again.stdout
    assert "changed since" not in again.stdout
    assert json.loads((Run(churn.place.parent, "churn", "").folder / "run.json").read_text())["code"]


@pytest.mark.slow
def test_a_killed_command_leaves_nothing_running(tmp_path):
    file = write_run(tmp_path, "digits", data={"source": "sklearn:digits"})
    process = subprocess.Popen(
        command("run", file, "--runs", tmp_path / "runs"), env=environment(), stdout=subprocess.DEVNULL
    )
    events, deadline = None, time.monotonic() + 120
    while events is None or "start" not in events.read_text():
        assert process.poll() is None
        assert time.monotonic() < deadline
        events = next(iter((tmp_path / "runs").glob("digits/2*/events.jsonl")), None)
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


def test_ctrl_c_stops_the_steps_and_says_how_to_go_on(tmp_path):
    file = write_run(tmp_path, "digits", data={"source": "sklearn:digits"})
    process = subprocess.Popen(
        command("run", file, "--runs", tmp_path / "runs"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=heed_interrupts,
    )
    for line in process.stdout:
        if "tune: started" in line:
            break
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait() == 130
    assert "goes on where this run stopped" in rest
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


@pytest.mark.slow
def test_a_regression(finished):
    run = finished(
        "houses",
        data={"source": str(DATA / "houses.csv"), "label": "price"},
        retrain={"enabled": False},
        ensemble={"method": "exact"},
    )
    scores = run.report["evaluation"]["scores"]["ensemble"]
    assert set(scores) == {"loss", "mae", "rmse", "r2"}
    assert scores["r2"]["value"] > 0
    assert all(member["roles"] == ["train"] for member in run.report["members"])
    assert run.report["weights"]["gap"] < 1e-3


@pytest.mark.slow
def test_a_folder_of_images(finished):
    run = finished(
        "shapes",
        ends=DONE,  # eight test rows tell little
        data={"source": str(DATA / "shapes")},
        search={"families": ["cnn", "boosted_trees"]},
        retrain={"epochs": "book"},
    )
    assert run.report["manifest"]["label"]["classes"] == ["circle", "square"]
    for member in run.report["members"]:
        best = next(b["median_best"] for b in run.report["best_epochs"] if b["candidate"]["id"] == member["id"])
        assert member["trained_units"] == max(1, int(best * 1.2))
    how = ["--format", "tflite", "--keras-only", "--max-loss", "0.5", "-o", run.folder / "exported"]
    done = kep("export", run.folder, "--runs", run.place.parent, *how)
    assert done.returncode == 0, done.stderr
    page = (run.folder / "report.html").read_text()
    assert "Exports of the ensemble" in page
    assert "largest difference" in page
    assert [page.count(f"<td>{variant}</td>") for variant in ("dynamic", "int8")] == [1, 1]
    assert "One that loses more than 50 % is not written" in page
    assert "Test was opened once, by evaluate; later exports of the ensemble" in page


def test_an_export_takes_the_place_of_the_one_before_in_the_report(churn, tmp_path):
    shutil.copytree(churn.folder, tmp_path / "run", symlinks=True)
    known = {"run": "r", "fingerprint": "f", "members": [], "classes": None, "metric": "accuracy", "measured": []}
    for name, most in (("tflite", 0.1), ("onnx", 0.2), ("tflite", 0.3)):
        report_export(tmp_path / "run", Export(format=name, max_loss=most, **known))
    exports = Report.of_run(tmp_path / "run").exports
    assert [(one.format, one.max_loss) for one in exports] == [("onnx", 0.2), ("tflite", 0.3)]


@pytest.mark.slow
def test_the_report_of_another_run_is_refused(churn, tmp_path):
    shutil.copytree(churn.folder, tmp_path / "run", symlinks=True)
    RunRecord.load(churn.folder).model_copy(update={"started": "2026-01-01T00:00:00+00:00"}).save(tmp_path / "run")
    with pytest.raises(UserError, match=r"run/report\.json is the report of another run than run\.json"):
        Report.of_run(tmp_path / "run")
    assert kep("tensorboard", tmp_path / "run", "--port", "0").returncode == 2


@pytest.mark.slow
def test_a_table_split_by_time_in_folds_without_tensorflow_models(finished):
    run = finished(
        "visits",
        data={"source": str(DATA / "visits.csv"), "label": "outcome", "split": {"by": "time", "column": "day"}},
        search={"families": ["boosted_trees"]},
        best_epoch={"folds": 2},
    )
    assert run.report["manifest"]["split"]["rule"] == "time"
    assert [fit["fold"] for fit in run.report["best_epochs"][0]["seeds"]] == [0, 1] * 2
    ledger = {line["role"] for line in run.report["evaluation"]["ledger"] if line["step"] == "weigh"}
    assert ledger == {f"{role} (stored out-of-fold predictions)" for role in ("train", "validation")}
    assert "in 2 folds of the train and validation rows" in run.page
    assert len(run.report["manifest"]["label"]["classes"]) >= 2
    assert len(run.report["weights"]["members"]) >= 1


def test_bad_data_is_one_sentence_and_status_2(tmp_path):
    file = write_run(tmp_path, "bad", data={"source": str(DATA / "churn.csv"), "label": "churnd"})
    done = kep("run", file, "--runs", tmp_path / "runs")
    assert done.returncode == 2
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert 'did you mean "churned"' in last
    assert "Traceback" not in done.stdout


def test_a_failing_step_is_one_line_with_its_log_and_status_1(churn, tmp_path):
    (tmp_path / "champion").mkdir()
    (tmp_path / "champion" / "versions").touch()  # where promote needs a folder
    shutil.copytree(churn.place.parent, tmp_path / "runs", symlinks=True)
    how = ["--runs", tmp_path / "runs", "--set", f"promote.champion={tmp_path / 'champion'}"]
    done = kep("run", churn.place.parent.parent / "churn.yaml", *how)
    assert done.returncode == 1, done.stdout
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("error: promote failed:")
    log = re.search(r"log: (\S+)\)", last)[1]
    assert Path(log).is_file()


def test_a_champions_folder_that_can_not_be_written_is_told_of_before_anything_starts(tmp_path):
    file = write_run(tmp_path, "x", data={"source": "sklearn:iris"}, promote={"champion": "/proc/no-such-place"})
    done = kep("run", file, "--runs", tmp_path / "runs")
    assert (done.returncode, done.stdout.count("\n")) == (2, 1)
    assert done.stdout.startswith("error: promote.champion: /proc/no-such-place can't be written (")
