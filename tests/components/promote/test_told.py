"""Whoever the run file names is told of a decision: once, with its reason and what would change it."""

import json
from pathlib import Path

import pytest

from kep.artifacts.engine_run import EngineRun
from kep.artifacts.evaluation import Comparison, Difference
from kep.artifacts.verdict import Verdict
from kep.components.promote.promote import run
from kep.config.notify import NotifyTask
from kep.core.errors import UserError
from kep.runtime import notify
from kep.storage.champions import Champion, read
from tests.helpers.artifacts import evaluation

VERTEX = EngineRun(job="projects/1/locations/europe-west4/pipelineJobs/kep-demo-1", name="kep-demo-1", id="77")
KUBEFLOW = EngineRun(job="training-x7f", name="kep-demo-1", id="0a1b")


class Place:
    """Champions, and challengers that are told of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.champions = f"{folder}/champions"

    def promote(self, content: str, better: float = -0.2, force: bool = False, engine=None, **task) -> None:
        """Promote an ensemble of this content, whose loss is lower than the champion's by so much."""
        ensemble = self.folder / content / "ensemble"
        ensemble.mkdir(parents=True, exist_ok=True)
        (ensemble / "ensemble.json").write_text(json.dumps(content))
        # As on Vertex AI, where the outputs of evaluate lie side by side.
        evaluated = self.folder / content / "evaluate_1" / "evaluation"
        difference = Difference(value=better, low=better - 0.1, high=better + 0.1, rows=100)
        current = read(self.champions).champion
        compared = current and Comparison(champion=current, unseen=100, differences={"loss": difference})
        evaluation(compared).save(evaluated)
        self.again = {
            "out": str(self.folder / "verdict"),
            "ensemble": str(ensemble),
            "evaluation": str(evaluated),
            "config": "{}",
            "champion": Champion(folder=self.champions).to_json(),
            "force": force,
            "engine": engine or EngineRun(),
            "notify": NotifyTask(**{"name": "demo", "webhook": "env:KEP_TEST_WEBHOOK", "run": "/r/1"} | task).to_json(),
        }
        run(**self.again)


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def test_a_promotion_is_told_with_its_reason(place, receiver):
    place.promote("one")
    (told,) = receiver.bodies
    del told["id"], told["time"]
    assert told == {
        "kind": "promoted",
        "name": "demo",
        "text": "demo: Promoted: it is the first champion.\nreport: /r/1/report.html",
        "run": "/r/1",
        "links": {"report": "/r/1/report.html"},
    }


def test_what_is_not_promoted_is_told_with_what_would_change_it(place, receiver):
    place.promote("one")
    place.promote("two", better=0.2)
    told = receiver.bodies[1]
    assert told["kind"] == "not_promoted"
    assert told["text"].startswith("demo: Not promoted: its loss is not surely lower than the champion's")
    assert " To change that: " in told["text"]
    place.promote("three", better=0.2, force=True)
    assert receiver.bodies[2]["kind"] == "promoted"
    assert receiver.bodies[2]["text"].startswith("demo: Promoted by force, although ")


@pytest.mark.parametrize("better", [-0.2, 0.2], ids=["promoted", "not promoted"])
def test_a_task_that_is_repeated_tells_once(place, receiver, better):
    place.promote("one")
    place.promote("two", better=better)
    run(**place.again)
    assert len(receiver.bodies) == 2


def test_the_champion_itself_is_not_told_of(place, receiver):
    place.promote("one")
    place.promote("one", run="/r/2")
    assert len(receiver.bodies) == 1


@pytest.mark.parametrize("first", ["", "/r/2"], ids=["another run", "the same run, gone on with"])
def test_another_run_of_the_same_tells_again_and_one_that_is_gone_on_with_does_not(place, receiver, first):
    place.promote("one")
    place.promote("two", better=0.2, run="/r/2")
    place.promote("two", better=0.2, run="/r/3", first=first)
    assert len(receiver.bodies) == (2 if first else 3)


@pytest.mark.parametrize(
    ("on", "kinds"),
    [(["promoted"], ["promoted"]), (["not_promoted", "drift"], ["not_promoted"]), (["failed"], [])],
)
def test_only_what_is_asked_for_is_told(place, receiver, on, kinds):
    place.promote("one", on=on)
    place.promote("two", better=0.2, on=on)
    assert [body["kind"] for body in receiver.bodies] == kinds


@pytest.mark.parametrize(
    ("engine", "pages", "page"),
    [
        (
            VERTEX,
            "",
            "https://console.cloud.google.com/vertex-ai/locations/europe-west4/pipelines/runs/kep-demo-1?project=1",
        ),
        (KUBEFLOW, "https://kubeflow.example/#/runs/details/", "https://kubeflow.example/#/runs/details/0a1b"),
        (KUBEFLOW, "", None),
    ],
)
def test_a_run_in_the_cloud_is_told_with_its_page(place, receiver, engine, pages, page):
    place.promote("one", engine=engine, pages=pages, run="")
    (told,) = receiver.bodies
    assert told["run"] == "kep-demo-1"
    assert told["links"] == ({"page": page} if page else {})
    assert notify.has_ended(place.champions, engine.job)
    assert notify.left_verdict(place.champions, engine.name) == Verdict.load(place.again["out"])
    place.promote("two", better=0.2, engine=engine, pages=pages, run="")
    run(**place.again)
    assert len(receiver.bodies) == 2


def test_a_run_on_this_machine_leaves_no_decision(place, receiver):
    place.promote("one")
    assert notify.left_verdict(place.champions, "") is None
    assert not list(place.folder.rglob("*-verdict.json"))


def test_where_vertex_ai_mounts_a_bucket_the_report_has_an_address():
    there = "https://storage.cloud.google.com/data/runs/demo/1/evaluate_2/report"
    assert notify.object_page("/gcs/data/runs/demo/1/evaluate_2/report") == there
    assert notify.object_page("/minio/data/report") == ""


@pytest.mark.parametrize("statuses", [[500, 500], [500] * 3, [0] * 3, [404]])
def test_a_webhook_that_does_not_answer_fails_no_promotion(place, receiver, capsys, statuses):
    receiver.statuses = list(statuses)
    place.promote("one")
    assert read(place.champions).version
    out = capsys.readouterr().out
    if len(receiver.journal) == 3 and receiver.bodies:
        assert "told promoted by webhook" in out
    else:
        assert "WARNING: notify.webhook: promoted could not be told: 127.0.0.1 " in out
    assert receiver.SECRET not in out


def test_a_message_that_nobody_can_read_is_refused_before_the_pointer_moves(place, receiver):
    with pytest.raises((SystemExit, UserError, ValueError)):
        place.promote("one", on=["nothing"])
    assert read(place.champions).version is None
