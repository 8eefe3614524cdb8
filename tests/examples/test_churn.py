"""The messy table that ships: what it holds is read as a person would."""

import runpy
from pathlib import Path

import pytest

from kep.artifacts.evaluation import ENSEMBLE
from kep.artifacts.report import Report
from kep.components.ingest.ingest import ingest
from kep.components.ingest.inspect import inspect
from kep.config.run_file import load
from tests.helpers.commands import DONE, kep
from tests.helpers.paths import ROOT

FOLDER = ROOT / "examples" / "churn"
RUN_FILE = ROOT / "pipelines" / "configs" / "churn.yaml"


def test_the_script_makes_the_table(tmp_path, monkeypatch):
    made = runpy.run_path(str(FOLDER / "make.py"))
    copy = tmp_path / "make.py"
    monkeypatch.setitem(made["main"].__globals__, "__file__", str(copy))
    made["main"]()
    assert (tmp_path / "customers.csv").read_bytes() == (FOLDER / "customers.csv").read_bytes()


def test_the_columns_are_what_they_look_like(tmp_path: Path):
    settings = load(RUN_FILE)
    seen = inspect(settings.data, settings.seed, RUN_FILE.parent)
    assert {column.name: column.kind.split()[0] for column in seen.columns} == {
        "since": "date",
        "plan": "categorical",
        "contract": "categorical",
        "spent": "numeric",
        "discount": "numeric",
        "support_calls": "numeric",
        "postcode": "categorical",
        "paperless": "boolean",
    }
    assert "free text" in seen.ignored["note"]
    assert list(seen.classes) == ["stayed", "left"]
    assert 0.1 < seen.classes["left"] / seen.rows < 0.2
    manifest = ingest(settings.data, settings.seed, tmp_path / "out", RUN_FILE.parent)
    vocabulary = {column.name: column.vocabulary for column in manifest.categorical}
    # A contract "NA" is none without a value, and a postcode keeps its zero.
    assert set(vocabulary["contract"]) == {"NA", "1 year", "2 years"}
    assert "01067" in vocabulary["postcode"]
    assert manifest.weighting.column == "stands_for"


@pytest.mark.slow
def test_the_table_runs_through_every_step_in_its_short_form(tmp_path):
    short = ("search.max_trials=4", "search.max_epochs=5", "best_epoch.max_epochs=5", "best_epoch.seeds=2")
    settings = [word for one in short for word in ("--set", one)]
    done = kep("run", RUN_FILE, "--runs", tmp_path, *settings)
    assert done.returncode in DONE, done.stdout
    report = Report.load(tmp_path / "churn" / "latest")
    assert {member.family for member in report.members} <= {"mlp", "boosted_trees"}
    assert report.evaluation.scores[ENSEMBLE]["roc_auc"].value > 0.55
