"""What a run may believe: its source, its code, its champion; and what nobody sees before evaluate."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kep.engines.local.job import Outcome
from tests.helpers.commands import DONE, command, environment, kep, write_run
from tests.helpers.paths import DATA
from tests.helpers.peeking import peeking, seen

SOURCE = {"source": str(DATA / "churn.csv"), "label": "churned"}


def churn(folder: Path, name: str = "churn", **sections: object) -> Path:
    """A run file over the rows of churn, with trees alone unless the sections say otherwise."""
    data = SOURCE | {"id": "customer"}
    trees = {"families": ["boosted_trees"], "max_trials": 2, "max_epochs": 2, "top_n": 1}
    given = {"data": data, "search": trees, "best_epoch": {"max_epochs": 2, "patience": 1, "seeds": 1}} | sections
    return write_run(folder, name, **given)


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    """The folder of a run file and of the runs folder of its only run."""
    folder = tmp_path_factory.mktemp("first")
    done = kep("run", churn(folder), "--runs", folder / "runs")
    assert done.returncode in DONE, done.stdout
    return folder


@pytest.fixture
def copied(first, tmp_path) -> Path:
    """A copy of that folder."""
    shutil.copytree(first, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


@pytest.mark.slow
def test_a_family_that_looks_for_test_rows_finds_none(tmp_path):
    file = churn(tmp_path, search=peeking(tmp_path))
    done = kep("run", file, "--runs", tmp_path / "runs")
    assert done.returncode in DONE, done.stdout
    assert seen(tmp_path / "runs" / "churn") == []
    compiled = (next((tmp_path / "runs").glob("churn/*/pipeline.yaml"))).read_text()
    assert compiled.count("outputArtifactKey: test") == 1


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
def test_a_champion_is_compared_on_rows_that_it_never_saw_whatever_columns_it_knew(request, tmp_path, named):
    data = SOURCE | ({"id": "customer"} if named else {})
    folder = request.getfixturevalue("copied") if named else tmp_path
    for more in ({"exclude": ["region"]},) if named else ({}, {"exclude": ["region"]}):
        done = kep("run", churn(folder, data=data | more), "--runs", folder / "runs")
        assert done.returncode in DONE, done.stdout
    folders = sorted((folder / "runs" / "churn").glob("2*"))
    reports = [json.loads((folder / "report.json").read_text()) for folder in folders]
    names = [{column["name"] for column in report["manifest"]["columns"]} for report in reports]
    assert names[0] - names[1] == {"region"}
    roles = ("train", "validation", "test")
    rows = [[report["manifest"]["roles"][role]["rows"] for role in roles] for report in reports]
    assert rows[0] == rows[1]
    # What the first run trained on, from the arrays that it stored; what the second one was tested on, likewise.
    outcomes = [Outcome.load(folder).artifacts for folder in folders]
    seen = np.load(Path(outcomes[0]["ensemble"]) / "train_ids.npy")
    tested = np.load(Path(outcomes[1]["evaluation"]) / "predictions.npz")["ids"]
    assert len(seen) == sum(rows[0][:2])
    assert reports[1]["evaluation"]["champion"]["unseen"] == int((~np.isin(tested, seen)).sum()) == rows[1][2]


@pytest.mark.slow
def test_a_champion_with_the_other_positive_class_is_compared(copied):
    done = kep("run", churn(copied, data=SOURCE | {"id": "customer", "positive": "no"}), "--runs", copied / "runs")
    assert done.returncode in DONE, done.stdout
    report = json.loads((copied / "runs" / "churn" / "latest" / "report.json").read_text())
    assert report["manifest"]["label"]["classes"] == ["yes", "no"]
    champion = report["evaluation"]["champion"]
    assert champion["unseen"] == report["manifest"]["roles"]["test"]["rows"]
    # Probabilities in the wrong order would be far off.
    assert abs(champion["differences"]["loss"]["value"]) < 0.2


@pytest.mark.slow
def test_openings_of_the_same_test_rows_are_counted(copied):
    """Another bootstrap scores the same ensemble again; a longer training makes another one."""
    openings = []
    for sections in ({"evaluate": {"bootstrap": 200}}, {"retrain": {"epochs": "book"}}):
        done = kep("run", churn(copied, **sections), "--runs", copied / "runs")
        assert done.returncode in DONE, done.stdout
        report = json.loads((copied / "runs" / "churn" / "latest" / "report.json").read_text())
        openings.append(report["evaluation"]["openings"])
    assert openings == [1, 2]
    page = (copied / "runs" / "churn" / "latest" / "report.html").read_text()
    assert "have been opened in 2 runs" in page


@pytest.mark.slow
def test_a_run_killed_after_promote_says_again_what_it_said(tmp_path):
    file = churn(tmp_path)
    process = subprocess.Popen(
        command("run", file, "--runs", tmp_path / "runs"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if "promote: done" in line:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    (folder,) = (tmp_path / "runs" / "churn").glob("2*")
    if (folder / "verdict.json").exists():
        (folder / "verdict.json").unlink()  # as if the kill had come a moment earlier
    time_out = time.monotonic() + 60
    while True:  # the runner of the killed command ends soon after it
        done = kep("run", file, "--runs", tmp_path / "runs")
        if "another run is going on" not in done.stdout or time.monotonic() > time_out:
            break
    assert done.returncode in DONE, done.stdout
    assert "Promoted: it is the first champion" in done.stdout
    # And a run of the day after is another one.
    assert (
        "Unchanged: this very ensemble is the champion already" in kep("run", file, "--runs", tmp_path / "runs").stdout
    )


def test_a_copy_of_a_runs_folder_is_used_without_the_original(first, copied):
    (first / "runs").rename(first / "away")
    (copied / "runs").rename(copied / "moved")
    try:
        done = kep("run", first / "churn.yaml", "--runs", copied / "moved")
    finally:
        (first / "away").rename(first / "runs")
    assert done.returncode in DONE, done.stdout
    assert "tune: reused from an earlier run" in done.stdout
    assert kep("report", "churn", "--runs", copied / "moved").returncode == 0
    links = [path for path in (copied / "moved").rglob("*") if path.is_symlink()]
    assert any(link.name == "ensemble" for link in links)
    assert [link for link in links if link.readlink().is_absolute()] == []


@pytest.mark.slow
def test_a_relative_folder_of_champions_lies_beside_the_run_file(copied):
    done = kep("run", churn(copied, promote={"champion": "shared"}).name, "--runs", "runs", folder=copied)
    assert done.returncode in DONE, done.stdout
    assert (copied / "shared" / "champion.json").exists()
    assert 'did you mean "shared"' not in done.stdout


@pytest.mark.slow
def test_rows_count_as_much_as_they_weigh_from_the_search_to_the_report(tmp_path):
    """With balanced classes the baseline's loss is that of a coin."""
    both = {"families": ["mlp", "boosted_trees"], "max_trials": 4, "max_epochs": 6, "top_n": 2}
    file = churn(tmp_path, data=SOURCE | {"weight": "balanced"}, search=both, best_epoch={"max_epochs": 6, "seeds": 1})
    done = kep("run", file, "--runs", tmp_path / "runs")
    assert done.returncode in DONE, done.stdout
    folder = tmp_path / "runs" / "churn" / "latest"
    report = json.loads((folder / "report.json").read_text())
    artifacts = Outcome.load(folder).artifacts
    stored = np.load(Path(artifacts["evaluation"]) / "predictions.npz")
    weights = np.array(report["manifest"]["weighting"]["by_class"])[stored["labels"]]
    scores = report["evaluation"]["scores"]
    assert scores["baseline"]["loss"]["value"] == pytest.approx(np.log(2))
    for name in ("ensemble", report["members"][0]["id"]):
        own = stored[name][:, 1]
        expected = roc_auc_score(stored["labels"], own, sample_weight=weights)
        assert scores[name]["roc_auc"]["value"] == pytest.approx(expected)
        given = np.where(stored["labels"] == 1, own, 1 - own)
        assert scores[name]["loss"]["value"] == pytest.approx(np.average(-np.log(given), weights=weights))
    assert report["weights"]["validation_loss"] < np.log(2)
    # The rarer class is predicted with more than its share.
    assert stored["ensemble"][:, 1].mean() > stored["labels"].mean() + 0.05
    assert "Each class counts the same" in (folder / "report.html").read_text()
