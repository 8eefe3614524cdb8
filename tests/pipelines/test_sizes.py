"""A pipeline that an engine would not take is refused when it is compiled, with the number that fits."""

import json
import re
from pathlib import Path

import pytest
import yaml

from kep.config.run_file import validate
from kep.core.errors import UserError
from kep.delivery import batch
from kep.pipelines import sizes
from kep.pipelines.compile import compile_prediction, compile_training
from kep.pipelines.parameters import arguments
from tests.helpers.executor import RECORDINGS, recorded
from tests.helpers.images import PINNED


def compiled(folder: Path, target: str | None, families: str = "", tasks: int = 1, **search) -> dict:
    """Return a compiled training pipeline."""
    settings = {"data": {"source": "gs://b/x.csv", "label": "y", "ingest_tasks": tasks}, "search": search}
    settings |= {"name": "r", "promote": {"champion": "gs://b/c"}}
    given = arguments(validate(settings), folder, Path("c"))
    given |= {"families": families} if families else {}
    compile_training(folder / "p.yaml", given, target and PINNED, {}, target or "vertex")
    return next(yaml.safe_load_all((folder / "p.yaml").read_text()))


@pytest.mark.parametrize(
    ("target", "key", "given", "fits", "words"),
    [
        ("kubeflow", "tasks", {"tasks": 75}, 71, "data.ingest_tasks: with 75 the task ingest-join is told 134 KiB"),
        ("vertex", "tasks", {"tasks": 40}, 32, "ingest-join reads and writes 123 artifacts, and Vertex AI lets a task"),
        (
            "vertex",
            "parallel_trials",
            {"rounds": 2, "parallel_trials": 120},
            97,
            "search.parallel_trials: with 120 the ",
        ),
        # The task suggest would hold one more.
        (
            "kubeflow",
            "parallel_trials",
            {"rounds": 3, "parallel_trials": 500},
            214,
            "search.parallel_trials: with 500 the ",
        ),
        ("vertex", "top_n", {"top_n": 110, "max_trials": 200}, 83, "search.top_n: with 110 the task evaluate"),
    ],
)
def test_the_largest_number_that_fits_is_named_and_fits(target, key, given, fits, words, tmp_path):
    check_limit(target, key, given, fits, words, tmp_path)


@pytest.mark.parametrize(
    ("limit", "most", "fits", "words"),
    [
        ("LARGEST_ARGUMENT", 21_000, 5, "search.rounds: 8 make a graph of 2. KiB, and Kubeflow hands on 21 KiB; at"),
        (
            "LARGEST_WORKFLOW",
            135_000,
            4,
            "search.rounds: 8 make a workflow of 14. KiB, and Kubernetes keeps 132 KiB; at",
        ),
    ],
)
def test_the_largest_number_of_rounds_follows_from_what_one_round_adds(limit, most, fits, words, monkeypatch, tmp_path):
    monkeypatch.setattr(sizes, limit, most)
    check_limit("kubeflow", "rounds", {"rounds": 8, "parallel_trials": 8}, fits, words, tmp_path)


@pytest.mark.slow
def test_a_hundred_rounds_of_eight(tmp_path):
    given = {"rounds": 100, "parallel_trials": 8}
    check_limit("kubeflow", "rounds", given, 84, "search.rounds: 100 make a graph of 150 KiB", tmp_path)
    compiled(tmp_path, "vertex", **given)


def check_limit(target, key, given, fits, words, folder) -> None:
    """Hold a refusal's number against what is compiled."""
    with pytest.raises(UserError, match=f"at most {fits} fit") as told:
        compiled(folder, target, **given)
    assert re.search(words, str(told.value))
    compiled(folder, target, **given | {key: fits})
    with pytest.raises(UserError):
        compiled(folder, target, **given | {key: fits + 1})


@pytest.mark.parametrize(("target", "tasks"), [("kubeflow", 64), (None, 100)])
def test_what_fits_is_compiled(target, tasks, tmp_path):
    compiled(tmp_path, target, tasks=tasks)


@pytest.mark.parametrize(
    ("target", "characters", "words"),
    [
        (
            "kubeflow",
            130_000,
            "parameters of 13. KiB, and Kubeflow hands on 128 KiB; shorten the source of the families",
        ),
        (
            "vertex",
            130_000,
            "the task best-epoch is told 129 KiB, .* with 128 KiB; shorten its parameter families, which has",
        ),
        ("vertex", 210_000, "the parameter families has 205 KiB, and Vertex AI takes 200 KiB; shorten the source of"),
        (None, 130_000, "the task best-epoch is told 129 KiB, and Linux"),
    ],
)
def test_what_does_not_depend_on_a_number_names_what_is_long(target, characters, words, tmp_path):
    families = json.dumps([{"name": "own", "source": "x" * characters}])
    with pytest.raises(UserError, match=words):
        compiled(tmp_path, target, families)


def test_more_tasks_than_vertex_ai_takes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "MOST_TASKS", 100)
    compiled(tmp_path, "vertex", rounds=3, parallel_trials=20)
    with pytest.raises(UserError, match=r"up to 11\d tasks, and Vertex AI takes 100; lower search.rounds"):
        compiled(tmp_path, "vertex", rounds=3, parallel_trials=33)


@pytest.mark.parametrize(("target", "fits"), [("kubeflow", 216), ("vertex", 99)])
def test_the_tasks_of_a_prediction_are_counted(target, fits, tmp_path):
    def compile_with(tasks: int) -> None:
        given = batch.parameters("gs://b/new.csv", "gs://b/model", tmp_path, tasks=tasks)
        compile_prediction(tmp_path / "p.yaml", given, PINNED, engine=target)

    with pytest.raises(UserError, match=f"--tasks: with 256 the task predict-join .* at most {fits} fit"):
        compile_with(256)
    compile_with(fits)


def test_rounds_share_what_they_run(tmp_path):
    """Each further round adds its two tasks and no component, so that the texts stay as long."""
    one, many = (compiled(tmp_path, "vertex", rounds=rounds) for rounds in (1, 9))
    assert len(one["components"]) == len(many["components"])
    assert list(one["deploymentSpec"]["executors"]) == list(many["deploymentSpec"]["executors"])
    tasks = many["root"]["dag"]["tasks"]
    assert len(tasks) == len(one["root"]["dag"]["tasks"]) + 2 * 8
    assert tasks["suggest-9"]["inputs"]["artifacts"]["searched"]["taskOutputArtifact"]["producerTask"] == "suggest-8"
    assert tasks["tune"]["inputs"]["artifacts"]["trials"]["taskOutputArtifact"]["producerTask"] == "trials-9"
    assert len(json.dumps(many)) < 1.3 * len(json.dumps(one))


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_task_is_told_no_more_than_is_counted(name):
    """Held against what a real launcher handed over."""
    given = recorded(name)
    artifacts = [one for each in given["inputs"].get("artifacts", {}).values() for one in each["artifacts"]]
    assert max((len(json.dumps(one)) for one in artifacts), default=0) < sizes._ARTIFACT
    outputs = [one for each in given["outputs"]["artifacts"].values() for one in each["artifacts"]]
    assert max(len(json.dumps(one)) for one in outputs) < sizes._OUTPUT
