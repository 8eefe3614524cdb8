"""Ingest spread over tasks of the pipeline engine gives the records of ingest in one task, byte for byte."""

from pathlib import Path
from typing import NamedTuple

import pytest
from kfp import dsl, local
from kfp.dsl import Dataset

from kep.config.data import DataSettings, Split
from kep.core.environment import WORK
from kep.engines.local.runner import step_environment
from kep.pipelines.ingest import ingested
from tests.helpers.paths import DATA

VISITS = DATA / "visits.csv"


class Records(NamedTuple):
    one: Dataset
    two: Dataset
    five: Dataset
    test_one: Dataset
    test_two: Dataset
    test_five: Dataset


@dsl.pipeline
def three(one: str, two: str, five: str) -> Records:
    made = {
        "one": ingested(1, one, "source", 3, ""),
        "two": ingested(2, two, "source", 3, ""),
        "five": ingested(5, five, "source", 3, ""),
    }
    records = {name: task.outputs["records"] for name, task in made.items()}
    return Records(**records, **{f"test_{name}": task.outputs["test"] for name, task in made.items()})


def content(folder: str) -> dict[str, bytes]:
    """All files but the one that says how long the step took."""
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.name != "step.json"}


@pytest.mark.slow
def test_one_two_and_five_tasks_write_the_same_records(tmp_path, monkeypatch):
    header, *lines = VISITS.read_text().splitlines()
    (tmp_path / "visits").mkdir()
    for number in range(6):
        mine = lines[number * len(lines) // 6 : (number + 1) * len(lines) // 6]
        (tmp_path / "visits" / f"{number}.csv").write_text("\n".join([header, *mine]) + "\n")
    data = DataSettings(
        source=str(tmp_path / "visits"), label="outcome", split=Split(by="time", column="day"), shard_mb=0.01
    )
    for name, value in step_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(WORK, str(tmp_path / "work"))
    monkeypatch.chdir(tmp_path)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "store"))
    tasks = {"one": 1, "two": 2, "five": 5}
    asked = {name: data.model_copy(update={"ingest_tasks": count}).to_json() for name, count in tasks.items()}
    records = {name: content(artifact.path) for name, artifact in three(**asked).outputs.items()}
    assert len(records["one"]) > 2
    assert len(records["test_one"]) > 1
    for name in ("", "test_"):
        assert records[f"{name}one"] == records[f"{name}two"] == records[f"{name}five"]
    assert not list((tmp_path / "work" / "ingest").iterdir())
