"""promote on Vertex AI: a winner becomes a version of the Model Registry, once, whatever answers are lost."""

import json
import subprocess
import sys

import pytest
import yaml

from kep.artifacts.engine_run import EngineRun
from kep.artifacts.evaluation import Comparison, Difference, Interval
from kep.artifacts.verdict import Verdict
from kep.components.promote.promote import run
from kep.core.files import read_json
from kep.engines.local.runner import ENTERED
from kep.storage.champions import Champion
from tests.helpers.artifacts import evaluation
from tests.helpers.cloud import BUCKET, job, one_sentence
from tests.helpers.paths import DATA
from tests.servers.vertex import Frame

FOLDER = "gs://data/team/champions/churn"
JOB = "projects/shop-ml/locations/europe-west4/pipelineJobs/"
MODEL = "projects/shop-ml/locations/europe-west4/models/kep-churn"
IMAGE = f"registry.example/team/serve@sha256:{'e' * 64}"
SCORES = {
    "loss": Interval(value=0.3, low=0.2, high=0.4),
    "accuracy": Interval(value=0.9, low=0.85, high=0.95),
    "roc_auc": Interval(value=0.95, low=None, high=None),
}


@pytest.fixture
def submitted(vertex, kep, churn, tmp_path) -> str:
    """Resource name of a run on Vertex AI whose run file wants a version."""
    lock = tmp_path / "containers" / "images.lock.yaml"
    lock.write_text(lock.read_text() + f"serve: {IMAGE}\n")
    churn.write_text(yaml.safe_dump(yaml.safe_load(churn.read_text()) | {"promote": {"registry": True}}))
    vertex.frames = [Frame("RUNNING", {"evaluate": "SUCCEEDED", "promote": "RUNNING"})]
    assert kep("submit", "churn.yaml", *BUCKET, "--no-wait")[0] == 0
    vertex.journal.clear()
    return job(vertex).name


@pytest.fixture
def promote(submitted, vertex, churn_versions, tmp_path):
    """Function that runs the step, or `again`, with what that run hands it; returns the verdict."""

    def of(name: str, again: bool = False, **changes: object) -> Verdict:
        champion = job(vertex).runtime_config.parameter_values["champion"]
        inputs = job(vertex).pipeline_spec["root"]["inputDefinitions"]["parameters"]
        if not again:
            compared = Champion.of_parameter(champion).current
            won = Difference(value=-0.2, low=-0.3, high=-0.1, rows=9)
            against = compared and Comparison(champion=compared, unseen=9, difference=won)
            evaluation(against, rows=120, scores={"ensemble": SCORES}).save(tmp_path / "evaluation")
        given = {"config": '{"registry": true}', "champion": champion, "force": False}
        image = inputs["server_image"]["defaultValue"]
        given |= {"engine": EngineRun(job=submitted, server_image=image)} | changes
        folders = {"ensemble": str(churn_versions[name]), "evaluation": str(tmp_path / "evaluation")}
        run(out=str(tmp_path / "verdict"), **folders, **given)
        return Verdict.load(tmp_path / "verdict")

    return of


def test_the_run_hands_its_name_to_promote_where_vertex_ai_fills_it_in(submitted, vertex):
    tasks = job(vertex).pipeline_spec["root"]["dag"]["tasks"]
    given = tasks["promote"]["inputs"]["parameters"]["job"]["runtimeValue"]["constant"]
    assert given == "{{$.pipeline_job_resource_name}}"


def test_a_winner_is_a_version_with_all_that_is_known_of_it(promote, submitted, vertex, churn_versions):
    verdict = promote("one")
    (version,) = vertex.models.versions[MODEL]
    assert verdict.registered == f"{MODEL}@1"
    assert (version.display_name, version.version_description) == ("churn", "it is the first champion")
    assert version.artifact_uri == f"{FOLDER}/versions/{verdict.version}"
    spec = version.container_spec
    assert (spec.image_uri, spec.predict_route, spec.health_route) == (IMAGE, "/predict", "/health")
    assert [port.container_port for port in spec.ports] == [8080]
    assert (version.pipeline_job, sorted(version.version_aliases)) == (submitted, ["challenger", "default"])
    fingerprint = read_json(churn_versions["one"] / "manifest.json")["fingerprint"]
    expected = {
        "kep_run": "churn",
        "kep_version": verdict.version,
        "kep_job": submitted.rpartition("/")[2],
        "kep_data": fingerprint[:16],
        "kep_image": "e" * 32,
    }
    assert expected.items() <= dict(version.labels).items()
    assert version.labels["kep_revision"] == job(vertex).labels["kep_revision"]
    (evaluation,) = vertex.models.evaluations[f"{MODEL}@1"]
    assert evaluation.metrics_schema_uri.endswith("/classification_metrics_1.0.0.yaml")
    assert dict(evaluation.metrics) == {"logLoss": 0.3, "auRoc": 0.95}
    metadata = json.loads(type(evaluation).to_json(evaluation))["metadata"]
    assert (metadata["rows"], metadata["scores"]) == (120, {name: one.model_dump() for name, one in SCORES.items()})
    (task,) = [task for task in job(vertex).job_detail.task_details if task.task_name == "promote"]
    assert vertex.models.lineage == {(task.execution.name, "OUTPUT", version.metadata_artifact)}


def test_a_run_without_lineage_gets_its_version_all_the_same(promote, vertex):
    vertex._left[job(vertex).name] = [Frame("RUNNING")]
    assert promote("one").registered == f"{MODEL}@1"
    assert vertex.models.lineage == set()


def test_each_winner_is_a_version_and_the_last_is_the_challenger(promote, vertex):
    promote("one")
    assert promote("other").registered == f"{MODEL}@2"
    assert [sorted(one.version_aliases) for one in vertex.models.versions[MODEL]] == [["default"], ["challenger"]]


def test_a_winner_is_deployed_and_asked(promote, vertex, kep, monkeypatch):
    """By the container's description that promote has written."""
    promote("one")
    monkeypatch.setenv(ENTERED, "1")
    assert kep("rollout", "start", "churn", "--machine", "e2-standard-2", *BUCKET[:4])[0] == 0
    out = kep("predict", str(DATA / "churn.csv"), "--endpoint", "churn", *BUCKET[:4])[1]
    assert "600 rows in" in out
    assert "by endpoint churn (version 1: 600 rows)" in out
    assert sorted(vertex.models.versions[MODEL][0].version_aliases) == ["champion", "default"]


@pytest.mark.parametrize(
    ("method", "before"),
    [
        ("UploadModel", 0),
        ("UploadModel", 1),
        ("MergeVersionAliases", 0),
        ("ImportModelEvaluation", 0),
        ("AddExecutionEvents", 0),
    ],
)
@pytest.mark.parametrize("lose", [True, False])
def test_an_answer_that_is_lost_makes_nothing_twice(promote, vertex, method, before, lose):
    if before:
        promote("other")
    fault = vertex.fault(method, "UNAVAILABLE", lose=lose)
    assert promote("one").registered == f"{MODEL}@{1 + before}"
    assert fault.hits == 1
    assert len(vertex.models.versions[MODEL]) == 1 + before
    assert "challenger" in vertex.models.versions[MODEL][-1].version_aliases
    assert len(vertex.models.evaluations[f"{MODEL}@{1 + before}"]) == 1
    assert len(vertex.models.lineage) == 1 + before


@pytest.mark.parametrize("method", ["GetPipelineJob", "ListModelVersions", "GetOperation", "ListModelEvaluations"])
def test_a_look_that_fails_for_a_while_is_repeated(promote, vertex, method):
    vertex.models.looks = 3
    fault = vertex.fault(method, "UNAVAILABLE", times=3)
    assert promote("one").registered == f"{MODEL}@1"
    assert fault.hits == 3


def test_a_task_that_is_repeated_registers_nothing_twice(promote, vertex):
    vertex.fault("ImportModelEvaluation", "PERMISSION_DENIED")
    with pytest.raises(SystemExit):
        promote("one")
    assert promote("one", again=True) == promote("one", again=True)
    assert (len(vertex.models.versions[MODEL]), len(vertex.models.evaluations[f"{MODEL}@1"])) == (1, 1)


def test_a_refusal_is_one_sentence(promote, vertex, capsys):
    vertex.models.failures["UploadModel"] = ("INVALID_ARGUMENT", "The image can't be pulled.")
    with pytest.raises(SystemExit):
        promote("one")
    assert "error: Vertex AI refuses it: " in capsys.readouterr().out


def test_what_is_not_promoted_is_not_registered(promote, vertex):
    promote("one")
    vertex.journal.clear()
    assert promote("other", config='{"registry": true, "margin": 9}').registered is None
    assert promote("other", config="{}").registered is None
    assert promote("alike", engine=EngineRun(job="training-1")).registered is None
    assert vertex.journal == []


def test_registering_needs_nothing_that_the_image_of_promote_lacks():
    program = (
        "import sys\n"
        "class Lacking:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        assert name not in ('tensorflow', 'keras', 'keras_tuner', 'lightgbm', 'matplotlib'), name\n"
        "sys.meta_path.insert(0, Lacking())\n"
        "from kep.components.promote.register import register\n"
        "from kep.google.vertex import Vertex\n"
        "from google.cloud import aiplatform_v1\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_image_that_serves_must_be_known(vertex, kep, churn):
    words = "--images: the lock has no image serve, which promote.registry needs"
    assert words in one_sentence(kep("submit", "churn.yaml", *BUCKET, "--set", "promote.registry=true")[2])
    compile = ("compile", "churn.yaml", "--set", "promote.registry=true", "--target")
    assert words in one_sentence(kep(*compile, "vertex")[2])
    assert "promote.registry: Vertex AI has a Model Registry" in one_sentence(kep(*compile, "kubeflow")[2])
    assert kep(*compile, "local")[0] == 0
