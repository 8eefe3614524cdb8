"""Runs on gs://: copied there when they are done, and back where somebody asks for them."""

import json
from pathlib import Path

import pytest

from kep.core.errors import UserError
from kep.core.files import read_json
from kep.engines.local import mirror
from kep.engines.local.artifacts import Artifacts
from kep.engines.local.finding import find
from kep.engines.local.history import history
from tests.helpers.commands import kep, write_run
from tests.helpers.paths import DATA
from tests.helpers.runs import done

RUNS = "gs://data/team/runs"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Function that goes to another folder, as if on another machine."""

    def go(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        return folder

    return go


def made(runs: Path, name: str, content: str = "page") -> Path:
    """A finished run, as far as the copy looks at it."""
    run = runs / "churn" / name
    (run / "ensemble").mkdir(parents=True)
    (run / "ensemble" / "ensemble.json").write_text("{}")
    (run / "report.html").write_text(content)
    (run.parent / "store" / "training-1" / "ingest").mkdir(parents=True, exist_ok=True)
    (run.parent / "store" / "training-1" / "ingest" / "shard").write_text(name)
    (run.parent / "store" / "cache").mkdir(exist_ok=True)
    (run.parent / "store" / "cache" / "entry.json").write_text("{}")
    return run


def test_a_run_is_found_on_another_machine(gcs, elsewhere):
    elsewhere("one")
    runs = mirror.folder_of(RUNS)
    assert mirror.push(made(runs, "20260101-000000"), runs) == f"{RUNS}/churn/20260101-000000"
    assert not any("cache" in name for _, name in gcs.objects)
    elsewhere("two")
    there = mirror.folder_of(RUNS + "/")
    run = find("churn", there)
    assert (run / "report.html").read_text() == "page"
    assert (run / "ensemble" / "ensemble.json").is_file()
    assert run.resolve().name == "20260101-000000"
    assert (run.resolve().parent / "store" / "training-1" / "ingest" / "shard").is_file()


def test_the_latest_run_is_the_last_that_began_whoever_ends_first(gcs, elsewhere):
    elsewhere("one")
    runs = mirror.folder_of(RUNS)
    mirror.push(made(runs, "20260102-000000", "later"), runs)
    mirror.push(made(runs, "20260101-000000", "earlier"), runs)
    elsewhere("two")
    there = mirror.folder_of(RUNS)
    assert (find("churn", there) / "report.html").read_text() == "later"
    assert (find("churn/20260101-000000", there) / "report.html").read_text() == "earlier"
    assert find("churn", there).resolve().name == "20260102-000000"


def test_faults_while_a_run_is_uploaded_leave_the_run_before(gcs, elsewhere):
    elsewhere("one")
    runs = mirror.folder_of(RUNS)
    mirror.push(made(runs, "20260101-000000", "first"), runs)
    second = made(runs, "20260102-000000", "second")
    page = gcs.fault("POST .*upload", "status", 403, skip=2)  # after an artifact and the ensemble
    with pytest.raises(UserError, match="may not be written with these credentials"):
        mirror.push(second, runs)
    assert json.loads(gcs.objects["data", "team/runs/churn/latest.json"].data)["run"] == "20260101-000000"
    pointer = gcs.fault("POST .*upload", "lose", skip=1)  # after the page
    mirror.push(second, runs)
    assert [page.hits, pointer.hits] == [1, 1]
    assert json.loads(gcs.objects["data", "team/runs/churn/latest.json"].data)["run"] == "20260102-000000"


def test_an_address_that_is_none_and_a_run_that_is_not_there_are_one_sentence(gcs, elsewhere):
    elsewhere("one")
    with pytest.raises(UserError, match=r'--runs: "gs://" is not a gs:// path; give gs://BUCKET/FOLDER'):
        mirror.folder_of("gs://")
    with pytest.raises(UserError, match="no finished run churn"):
        find("churn", mirror.folder_of(RUNS))


def test_a_bucket_that_is_not_there_is_told_of_before_anything_runs(gcs, elsewhere):
    file = write_run(elsewhere("one"), "churn", data={"source": str(DATA / "churn.csv"), "label": "churned"})
    done = kep("run", file, "--runs", "gs://no-such-bucket/runs")
    assert done.returncode == 2
    assert done.stdout.startswith('error: --runs: bucket "no-such-bucket" does not exist')


@pytest.mark.slow
def test_a_whole_run_its_report_and_its_champion_are_on_gs(gcs, elsewhere):
    folder = elsewhere("one")
    # An export needs a network among the members.
    search = {"max_per_family": 1}
    file = write_run(folder, "churn", data={"source": str(DATA / "churn.csv"), "label": "churned"}, search=search)
    done = kep("run", file, "--runs", RUNS, folder=folder)
    assert done.returncode == 0, done.stdout
    assert f"uploaded to {RUNS}/churn/" in done.stdout
    assert ("data", "team/runs/champions/churn/champion.json") in gcs.objects
    there = elsewhere("two")
    shown = kep("report", "churn", "--runs", RUNS, folder=there)
    assert shown.returncode == 0, shown.stdout
    run = find("churn", mirror.folder_of(RUNS))
    assert read_json(run / "verdict.json")["promoted"]
    assert Artifacts(run).records().is_dir()
    exported = kep("export", "churn", "--runs", RUNS, "--keras-only", "--max-loss", "1", folder=there)
    assert exported.returncode == 0, exported.stdout
    assert b"Exports of the ensemble" in gcs.objects["data", f"team/runs/churn/{run.resolve().name}/report.html"].data


def test_runs_of_another_machine_are_listed(gcs, elsewhere):
    elsewhere("one")
    runs = mirror.folder_of(RUNS)
    run = done(runs, "20260101-000000", 0.25)
    (run / "ensemble").mkdir()
    (run / "ensemble" / "ensemble.json").write_text("{}")
    (runs / "demo" / "store" / "cache").mkdir()
    mirror.push(run, runs)
    elsewhere("two")
    there = mirror.folder_of(RUNS)
    mirror.pull_records(there)
    (found,) = history(there)
    assert (found.state, found.score and found.score.value) == ("done", 0.25)
