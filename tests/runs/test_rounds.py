"""Trials as tasks of the pipeline engine give the records of the search on one machine."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import pytest
from kfp import dsl, local
from kfp.dsl import Artifact

from kep.artifacts.trials import TrialStore
from kep.components.ingest.component import ingest
from kep.config.data import DataSettings
from kep.config.search import SearchSettings
from kep.core.environment import WORK
from kep.engines.local.runner import step_environment
from kep.pipelines.training import search

FAMILIES = json.dumps([{"name": "boosted_trees"}])


class Both(NamedTuple):
    rounds: Artifact
    pool: Artifact


def settings(**more) -> str:
    small = {"families": "auto", "tuner": "grid", "max_epochs": 1, "batch_size": 32, "top_n": 2, "workers": 1}
    return SearchSettings(**small, **more).to_json()


@dsl.pipeline
def both() -> Both:
    data = DataSettings(source="sklearn:iris").to_json()
    records = ingest(config=data, source="", seed=0, code="").outputs["records"]
    in_rounds = settings(rounds=2, parallel_trials=2)
    return Both(
        rounds=search(2, FAMILIES, in_rounds, "{}", 0, "", records).outputs["study"],
        pool=search(None, FAMILIES, settings(max_trials=4), "{}", 0, "", records).outputs["study"],
    )


def content(study: str) -> list[tuple]:
    """Records without what differs between two runs of the same trial, and their predictions."""
    found = TrialStore(Path(study)).load()
    return [
        (
            t.id,
            t.execution,
            t.values,
            t.seed,
            t.score,
            t.validation_curve,
            TrialStore(Path(study)).predictions(t).tobytes(),
        )
        for t in (found[key] for key in sorted(found))
    ]


@pytest.mark.slow
def test_rounds_find_what_the_search_on_one_machine_finds(tmp_path, monkeypatch):
    for name, value in step_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(WORK, str(tmp_path / "work"))
    monkeypatch.setenv("KEP_PARALLEL_TASKS", "2")
    monkeypatch.chdir(tmp_path)
    assert "KEP_EVENTS" not in os.environ
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "store"))
    studies = both().outputs
    in_rounds, in_pool = content(studies["rounds"].path), content(studies["pool"].path)
    assert len(in_rounds) == 4
    assert in_rounds == in_pool
    candidates = [json.loads(Path(s.path, "study.json").read_text())["candidates"] for s in studies.values()]
    assert candidates[0] == candidates[1]
