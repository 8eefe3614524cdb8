"""Metrics that the validation rows don't define: blank where they are shown, refused where they choose."""

import json
from pathlib import Path

import numpy as np
import pytest

from kep.artifacts.trials import TrialStore
from kep.components.ingest.ingest import ingest
from kep.components.tune.rounds import trial
from kep.config.run_file import validate
from kep.core.environment import WORK
from kep.core.errors import UserError
from kep.engines.preflight import survey
from kep.stats.metrics import METRICS, check_defined, metrics
from tests.helpers.searches import TREES, tune
from tests.helpers.trials import asked


@pytest.mark.parametrize(
    ("task", "labels", "undefined"),
    [
        ("binary", [1], {"roc_auc", "pr_auc"}),
        ("binary", [0], {"roc_auc", "pr_auc", "f1"}),
        ("binary", [0, 1], set()),
        ("multiclass", [0, 1, 2], set()),
        ("multiclass", [0, 0], set()),
        ("regression", [7.5, 7.5], {"r2"}),
        ("regression", [0, 1], set()),
    ],
)
def test_what_is_undefined_is_nan_and_can_not_choose(task, labels, undefined):
    given = np.array(labels)
    predictions = given + 0.5 if task == "regression" else np.full((len(given), 3 if task == "multiclass" else 2), 0.5)
    measured = metrics(task, given, predictions)
    assert {name for name, value in measured.items() if np.isnan(value)} == undefined
    for name in ("loss", "of_the_model", *METRICS):
        if name in undefined:
            with pytest.raises(UserError, match=f"^search.objective: {name} is undefined on the validation rows, "):
                check_defined("search.objective", name, task, given)
        else:
            check_defined("search.objective", name, task, given)


def in_time(folder: Path, task: str) -> dict:
    """The data section of rows whose validation rows, a window of time, have one label."""
    lines = ["day,x,label"]
    for day in range(200):
        held = 120 <= day < 160
        number = 7 if held else day % 3
        lines.append(
            f"{day},{(day * 37) % 199},{number / 2 if task == 'regression' else ('yes', 'no')[held or number > 1]}"
        )
    (folder / "d.csv").write_text("\n".join(lines))
    split = {"by": "time", "column": "day", "validation": 0.2, "test": 0.2}
    return {"source": str(folder / "d.csv"), "label": "label", "task": task, "split": split}


@pytest.mark.parametrize(("task", "metric"), [("binary", "roc_auc"), ("regression", "r2")])
def test_an_objective_is_refused_before_anything_trains(task, metric, tmp_path, capsys, monkeypatch):
    data, sentence = in_time(tmp_path, task), f"search.objective: {metric} is undefined on the validation rows"
    settings = validate({"name": "x", "data": data, "search": {"objective": {"name": metric}}})
    with pytest.raises(UserError, match=sentence):
        survey(settings, tmp_path)
    weights = validate({"name": "x", "data": data, "ensemble": {"metric": metric}})
    with pytest.raises(UserError, match=sentence.replace("search.objective", "ensemble.metric")):
        survey(weights, tmp_path)
    survey(validate({"name": "x", "data": data, "ensemble": {"metric": metric}, "best_epoch": {"folds": 2}}), tmp_path)
    ingest(settings.data, 0, tmp_path / "records")
    monkeypatch.setenv(WORK, str(tmp_path / "work"))
    with pytest.raises(SystemExit) as ended:
        tune(tmp_path / "records", tmp_path / "out", objective={"name": metric})
    assert ended.value.code == 2
    assert f"error: {sentence}" in (tmp_path / "out.log").read_text()
    with pytest.raises(SystemExit) as ended:
        trial(
            out=str(tmp_path / "trial"),
            records=str(tmp_path / "records"),
            order=asked(0, "boosted_trees", {}).to_json(),
            families=json.dumps(TREES),
            config=json.dumps({"objective": {"name": metric}}),
            hardware="{}",
            seed=0,
        )
    assert ended.value.code == 2
    assert f"error: {sentence}" in capsys.readouterr().out


@pytest.mark.parametrize(("task", "metric"), [("binary", "roc_auc"), ("regression", "r2")])
def test_another_metric_is_blank(task, metric, tmp_path, monkeypatch):
    settings = validate({"name": "x", "data": in_time(tmp_path, task)})
    survey(settings, tmp_path)
    ingest(settings.data, 0, tmp_path / "records")
    monkeypatch.setenv(WORK, str(tmp_path / "work"))
    assert tune(tmp_path / "records", tmp_path / "out", executions_per_trial=2)
    assert all(one.metrics[metric] is None for one in TrialStore(tmp_path / "out").load().values())
