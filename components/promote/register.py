"""A champion becomes a version in the Model Registry of Vertex AI."""

import re
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions

from kep.artifacts.evaluation import Evaluation
from kep.data.schema import FILE, Manifest
from kep.google import objects
from kep.google.labels import NAME
from kep.google.model_registry import CHALLENGER, CHAMPION, CONTENT, HEALTH, PORT, PREDICT, alias, model_id, versions
from kep.google.once import once
from kep.google.vertex import CHANGE, CREATE, ENDED, LOOK, Vertex, unsure

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as api

_JOB = re.compile(r"projects/([^/]+)/locations/([^/]+)/pipelineJobs/([^/]+)")
_SCHEMA = "gs://google-cloud-aiplatform/schema/modelevaluation"
_METRICS = {
    "roc_auc": "auRoc",
    "pr_auc": "auPrc",
    "rmse": "rootMeanSquaredError",
    "mae": "meanAbsoluteError",
    "r2": "rSquared",
}
"""Metrics by their names in Vertex AI's schemas; a classifier's loss is its logLoss."""


def register(job: str, folder: str, image: str, evaluated: Evaluation, reason: str) -> str | None:
    """Makes an ensemble a version of its run file's model, with the alias `challenger`, test metrics and lineage.

    Doing it again, after a lost answer or in a task that is repeated, makes nothing twice.

    Args:
        job: Resource name of the run.
        folder: gs:// path of the ensemble, whose last part is the hash of its files.
        image: Image that serves it, by digest.
        evaluated: Its evaluation.
        reason: Why it was promoted.

    Returns:
        Resource name of the model with the version's number; None where the run is not on Vertex AI.

    Raises:
        UserError: Vertex AI refuses it.
    """
    match = _JOB.fullmatch(job)
    if match is None or not image:
        return None
    vertex = Vertex(match[1], match[2])
    run = vertex.job(match[3])
    text, _ = objects.read(f"{folder}/{FILE}", "promote.champion")
    manifest = Manifest.model_validate_json(text or "")
    name, content = run.labels[NAME], folder.rpartition("/")[2]
    labels = {
        NAME: name,
        CONTENT: content,
        "kep_job": match[3],
        "kep_data": manifest.fingerprint[:16],
        "kep_image": image.partition("@sha256:")[2][:32],
        "kep_revision": run.labels.get("kep_revision", ""),
    }
    described = {
        "display_name": name,
        "version_description": reason[:1000],
        "artifact_uri": folder,
        "container_spec": {
            "image_uri": image,
            "predict_route": PREDICT,
            "health_route": HEALTH,
            "ports": [{"container_port": PORT}],
        },
        "labels": {key: re.sub(r"[^a-z0-9_-]", "-", value.lower())[:63] for key, value in labels.items() if value},
        "pipeline_job": job,
    }
    with vertex.explained():
        version = _uploaded(vertex, f"{vertex.parent}/models/{model_id(name)}", content, described)
        own = f"{version.name}@{version.version_id}"
        if CHAMPION not in version.version_aliases:
            alias(vertex, own, [CHALLENGER])
        _evaluate(vertex, own, content, manifest.label.task, evaluated)
        _trace(vertex, version, run)
    return own


def _uploaded(vertex: Vertex, parent: str, content: str, described: dict[str, Any]) -> "api.Model":
    """The version of this content, which is made if there is none."""

    def find() -> "api.Model | None":
        # The oldest: after a lost answer there may be two, and whoever looks takes the same.
        return next((one for one in versions(vertex, parent) if one.labels.get(CONTENT) == content), None)

    def send() -> "api.Model":
        request = {"parent": vertex.parent, "model": described}
        request |= {"parent_model": parent} if versions(vertex, parent) else {"model_id": parent.rpartition("/")[2]}
        try:
            done = vertex.models.upload_model(request=request, **CREATE).result(**ENDED)
        except exceptions.AlreadyExists:  # made in between, perhaps by a call whose answer was lost
            if (other := find()) is None:
                raise
            return other
        return vertex.models.get_model(name=f"{done.model}@{done.model_version_id}", **LOOK)

    return find() or once(send, find, CHANGE["retry"], unsure)


def _evaluate(vertex: Vertex, version: str, content: str, task: str, evaluated: Evaluation) -> None:
    """Adds the test metrics to a version, unless they are there."""
    scores = evaluated.ensemble
    plain = {name: score.model_dump(mode="json") for name, score in scores.items()}
    known = _METRICS if task == "regression" else _METRICS | {"loss": "logLoss"}
    kind = "regression" if task == "regression" else "classification"
    evaluation = {
        "display_name": f"test rows of {content}",
        "metrics_schema_uri": f"{_SCHEMA}/{kind}_metrics_1.0.0.yaml",
        "metrics": {known[name]: score.value for name, score in scores.items() if name in known},
        # With all metrics by our names, and their intervals.
        "metadata": {"rows": evaluated.rows, "scores": plain},
    }

    def find() -> "api.ModelEvaluation | None":
        found = vertex.models.list_model_evaluations(parent=version, **LOOK)
        return next((one for one in found if one.display_name == evaluation["display_name"]), None)

    def send() -> "api.ModelEvaluation":
        request = {"parent": version, "model_evaluation": evaluation}
        return vertex.models.import_model_evaluation(request=request, **CREATE)

    if find() is None:
        once(send, find, CHANGE["retry"], unsure)


def _trace(vertex: Vertex, version: "api.Model", run: "api.PipelineJob") -> None:
    """Makes a version an output of the run's task `promote`, whose inputs lead back to the records; it is one once."""
    from google.cloud.aiplatform_v1 import Event

    tasks = [task for task in run.job_detail.task_details if task.task_name == "promote" and task.execution.name]
    if tasks and version.metadata_artifact:
        event = Event(artifact=version.metadata_artifact, type_=Event.Type.OUTPUT)
        vertex.metadata.add_execution_events(execution=tasks[-1].execution.name, events=[event], **CHANGE)
