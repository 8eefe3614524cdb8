"""The examples run as they stand."""

from pathlib import Path

import numpy as np
import pytest

from kep.artifacts.evaluation import ENSEMBLE
from kep.artifacts.report import Report
from kep.components.tune.space import discover
from kep.config.run_file import load
from kep.data.records import Records
from kep.models.family import Settings
from kep.models.registry import family, travelling
from kep.training.monitor import Monitor
from tests.helpers.commands import DONE, kep
from tests.helpers.paths import ROOT

EXAMPLES = ROOT / "examples"
SOURCES = {"sklearn:digits": "digits", "sklearn:breast_cancer": "cancer", "sklearn:diabetes": "diabetes"}
HYPERPARAMETERS = {
    "class_weights": {"units", "learning_rate", "batch_size", "weight"},
    "conditional_scopes": {"kind", "units", "filters", "kernel", "learning_rate"},
    "embeddings": {"width", "layers", "units", "learning_rate"},
    "getting_started": {"layers", "units_0", "units_1", "units_2", "activation", "dropout", "rate", "learning_rate"},
    "training_loop": {"units", "rate", "batch_size", "learning_rate"},
}
# The longest path of its own, and of several inputs; the others train in the long tests.
SOME = ("training_loop", "embeddings")
OTHERS = {
    "churn": "test_churn.py",
    "monthly": "test_monthly.py",
    "notebook.ipynb": "test_notebook.py",
    "own_pipeline": "test_own_pipeline.py",
}
"""Test that runs each example which is no family."""
FAMILIES = [pytest.param(name, marks=[] if name in SOME else pytest.mark.slow) for name in HYPERPARAMETERS]


def test_every_example_has_a_run_file_and_is_listed():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(HYPERPARAMETERS)
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name in HYPERPARAMETERS:
        assert f"[{name}.py]({name}.py)" in listed
        assert f"kep run examples/{name}.yaml" in (EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")


def test_every_other_example_is_listed_and_run_by_a_test():
    found = {path.name for path in EXAMPLES.iterdir() if path.suffix not in (".py", ".yaml", ".md")}
    assert found - {"__pycache__"} == set(OTHERS)
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name, test in OTHERS.items():
        assert f"({name}" in listed
        assert f'"examples" / "{name}"' in Path(__file__).with_name(test).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FAMILIES)
def test_an_example_is_a_family(name, records):
    settings = load(EXAMPLES / f"{name}.yaml")
    data = Records(records(SOURCES[settings.data.source]), "tune")
    (spec,) = travelling(settings.search.families, EXAMPLES)
    member, train, validation = family(spec, data.manifest), data.load("train"), data.load("validation")
    member.check(train)
    space, failed = discover(member.declared, member.space(), 10, 0)
    assert ({hp.name for hp in space.space}, failed) == (HYPERPARAMETERS[name], [])
    asked = Settings(settings.search.max_epochs, settings.search.patience, settings.search.batch_size, seed=0)
    fit = member.fit({}, train, validation, asked, Monitor())
    assert fit.problem is None
    if data.manifest.label.task == "regression":
        assert fit.loss < 0.8 * validation.labels.var()
    else:
        assert (fit.predictions.argmax(axis=1) == validation.labels).mean() > 0.75
    model = member.refit({}, train, fit.best, asked, Monitor())
    assert np.isfinite(member.predict(model, validation)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_an_example_runs_through_every_step(name, tmp_path):
    done = kep("run", EXAMPLES / f"{name}.yaml", "--runs", tmp_path)
    assert done.returncode in DONE, done.stdout
    (latest,) = tmp_path.glob("*/latest")
    report = Report.load(Path(latest))
    assert {member.family.partition("_")[0] for member in report.members} == {name.partition("_")[0]}
    scores = report.evaluation.scores[ENSEMBLE]
    assert scores["r2"].value > 0.3 if "r2" in scores else scores["accuracy"].value > 0.85
