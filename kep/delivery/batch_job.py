"""A BatchPredictionJob of Vertex AI: JSON lines on gs:// in and out, gathered as the Parquet of `kep batch`."""

import hashlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import to_json
from rich.console import Console

from kep.artifacts.predictions import SHARDS, PredictedShard, PredictingModel, PredictionSet
from kep.components.predict.plan import ROW, VERSION, check_columns
from kep.components.predict.predict import as_table, columns_of, shard_names
from kep.components.predict.read import chunk_rows, chunks, open_for
from kep.config.data import DataSettings
from kep.config.prediction import PredictSettings
from kep.core.errors import Status, UserError, first_line
from kep.core.files import new_folder, scratch_folder
from kep.data.columns import plain
from kep.data.schema import Label, Manifest
from kep.data.sources.fingerprint import fingerprint
from kep.delivery.batch import check_output
from kep.delivery.remote import as_json
from kep.delivery.rollout.endpoints import manifest_of
from kep.engines.base import Options
from kep.engines.progress import say
from kep.engines.vertex.engine import VertexEngine
from kep.google import model_registry, objects
from kep.google.once import once
from kep.google.vertex import CHANGE, CREATE, FOLLOW, LOOK, Vertex, moment, unsure
from kep.pipelines.parameters import located

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as api

POLL = 10.0
"""Seconds between two looks at a job, which takes minutes to start."""
LABEL = "kep_batch"
"""Label of a job with the hash of its request, by which it is found again."""
_WHERE = "--bucket"
_GOING = ("QUEUED", "PENDING", "RUNNING", "UPDATING", "PAUSED")


@dataclass(frozen=True)
class Instances:
    """A source as instances.

    Attributes:
        folder: Folder of their files, JSON objects a line.
        names: Column by row: the key's values, or the rows' numbers.
        field: In each object, the row's number.
        digest: Digest of the files.
    """

    folder: Path
    names: pa.ChunkedArray
    field: str
    digest: str


@dataclass(frozen=True)
class JobRequest:
    """A request for a batch prediction job.

    Attributes:
        data: A source, as in `data.source`.
        model: A run file's name, or the id of a model.
        version: Number or alias; the champion when empty, or else the default.
        key: Column that names a row in the predictions; its number when None.
        exclude: Columns of the source that are not looked at.
        shard_rows: Rows of a file of predictions.
        machine: Machine type.
        replicas: Largest number of machines.
    """

    data: str
    model: str
    version: str
    key: str | None
    exclude: list[str]
    shard_rows: int
    machine: str
    replicas: int


def batch(vertex: VertexEngine, options: Options, request: JobRequest, output: Path, console: Console) -> int:
    """Predict a source by a version of the Model Registry. The same again follows the job that is under way.

    Args:
        vertex: Region and project of the job.
        options: Bucket and service account of the job.
        request: The source, the model and the machines.
        output: Folder to write, as `kep.delivery.batch.batch` does.
        console: Takes the progress.

    Returns:
        Exit status: 0 done, 1 failed, 3 cancelled, 130 left running after Ctrl-C.

    Raises:
        UserError: There is no such model, the source does not fit it, or Vertex AI refuses it.
    """
    check_output(output)
    chosen = _chosen(vertex, request)
    manifest = manifest_of(vertex, chosen.name.partition("@")[0], chosen.version_id)
    source = located(DataSettings(source=request.data, exclude=request.exclude), Path())
    settings = PredictSettings(data=source, key=request.key, shard_rows=request.shard_rows)
    vertex.ready(options)
    with scratch_folder() as scratch:
        asked = _instances(manifest, settings, scratch)
        name = f"{chosen.name.partition('@')[0]}@{chosen.version_id}"
        digest = hashlib.sha256(f"{name} {options.service_account} {asked.digest}".encode()).hexdigest()[:16]
        place = f"{options.bucket}/batch/{digest}"
        objects.upload(asked.folder, f"{place}/instances", _WHERE)
        described = _described(request, asked, place) | {
            "display_name": f"{chosen.display_name}-{digest}",
            "model": name,
            "service_account": options.service_account,
            "labels": {LABEL: digest},
        }
        job = _submitted(vertex, described, options.service_account, console)
        try:
            job = _followed(vertex, job, console)
        except KeyboardInterrupt:
            say(console, f"{_short(job)} goes on; the same command follows it again")
            return Status.INTERRUPTED
        state = _state(job)
        if state != "SUCCEEDED":
            message = first_line(job.error.message) or "without a message"
            say(console, f"error: {_short(job)} {state.lower().replace('_', ' ')}: {message}")
            return Status.CANCELLED if state == "CANCELLED" else Status.FAILED
        predictions = _gathered(job, manifest.label, len(asked.names), scratch / "predictions")
    content = chosen.labels.get(model_registry.CONTENT) or chosen.version_id
    predicted = PredictionSet(
        model=PredictingModel(folder=name, version=content),
        data=request.data,
        source=fingerprint(source),
        key=request.key,
        rows=len(predictions),
        columns=[],
        shards=[],
    )
    _deliver(manifest.label, predictions, asked.names, settings, predicted, output)
    rows, by = len(predictions), f"version {chosen.version_id} of {chosen.display_name} ({content})"
    say(console, f"wrote {output}: {rows:,} rows by {by}")
    return 0


def _chosen(vertex: VertexEngine, request: JobRequest) -> "api.Model":
    """Return the version that predicts."""
    found = model_registry.model(vertex, request.model)
    aliases = {alias for one in found for alias in one.version_aliases}
    default = model_registry.CHAMPION if model_registry.CHAMPION in aliases else "default"
    return model_registry.named(found, request.version or default)


def _described(request: JobRequest, instances: Instances, place: str) -> dict[str, Any]:
    """Return the inputs, the outputs and the machines of a job, as Vertex AI takes them."""
    uris = [f"{place}/instances/{one.name}" for one in sorted(instances.folder.iterdir())]
    return {
        "input_config": {"instances_format": "jsonl", "gcs_source": {"uris": uris}},
        "instance_config": {"instance_type": "object", "key_field": instances.field},
        "output_config": {
            "predictions_format": "jsonl",
            "gcs_destination": {"output_uri_prefix": f"{place}/predictions"},
        },
        "dedicated_resources": {
            "machine_spec": {"machine_type": request.machine},
            "max_replica_count": request.replicas,
        },
    }


def _instances(manifest: Manifest, settings: PredictSettings, scratch: Path) -> Instances:
    """Writes a source as JSON lines that the server takes, each with the row's number.

    Raises:
        UserError: The source does not fit the model.
    """
    columns = [column.name for column in manifest.inputs]
    field = "kep_row"
    while field in columns:
        field += "_"
    for name in ("source", "instances"):
        (scratch / name).mkdir()
    source = open_for(manifest.inputs, settings.data, scratch / "source")
    check_columns(source, manifest, settings)
    names = columns if settings.key is None or settings.key in columns else [*columns, settings.key]
    digest, keys, row, file = hashlib.sha256(), [], 0, None
    for chunk in chunks(source, names, chunk_rows(manifest.inputs)):
        values = [as_json(chunk[column.name], column) for column in manifest.inputs]
        if file is None or row >= (int(file.stem[-5:]) + 1) * settings.shard_rows:
            file = scratch / "instances" / f"instances-{row // settings.shard_rows:05d}.jsonl"
        with open(file, "ab") as lines:
            for one in zip(*values, strict=True):
                line = to_json({field: row, **dict(zip(columns, one, strict=True))}) + b"\n"
                digest.update(line)
                lines.write(line)
                row += 1
        keys.append(plain(chunk[settings.key]) if settings.key else pa.array(np.arange(row - len(values[0]), row)))
        if settings.key and keys[-1].null_count:
            raise UserError(f'key: column "{settings.key}" has no value in some rows; fill it')
    if not row:
        raise UserError(f"{settings.data.source}: there are no rows to predict")
    return Instances(scratch / "instances", pa.chunked_array(keys), field, digest.hexdigest())


def _submitted(vertex: Vertex, described: dict[str, Any], account: str, console: Console) -> "api.BatchPredictionJob":
    """The job that predicts this, which is made unless one is under way or done."""
    condition = f'labels.{LABEL}="{described["labels"][LABEL]}"'

    def find() -> "api.BatchPredictionJob | None":
        request = {"parent": vertex.parent, "filter": condition}
        every = vertex.jobs.list_batch_prediction_jobs(request=request, **LOOK)
        good = [one for one in every if _state(one) in (*_GOING, "SUCCEEDED")]
        return max(good, key=_created, default=None)

    def send() -> "api.BatchPredictionJob":
        request = {"parent": vertex.parent, "batch_prediction_job": described}
        return vertex.jobs.create_batch_prediction_job(request=request, **CREATE)

    with vertex.explained(account):
        before = find()
        job = before or once(send, find, CHANGE["retry"], unsure)
    if before is None:
        say(console, f"submitted {_short(job)}")
    else:
        say(console, f"{_short(job)} was submitted before, and is {'under way' if _state(job) in _GOING else 'done'}")
    return job


def _followed(vertex: Vertex, job: "api.BatchPredictionJob", console: Console) -> "api.BatchPredictionJob":
    """The job when it has ended."""
    seen = ""
    while True:
        with vertex.explained():
            job = vertex.jobs.get_batch_prediction_job(name=job.name, **FOLLOW)
        if _state(job) != seen:
            seen = _state(job)
            say(console, f"{_short(job)}: {seen.lower().replace('_', ' ')}")
        if seen not in _GOING:
            return job
        time.sleep(POLL)


def _gathered(job: "api.BatchPredictionJob", label: Label, rows: int, folder: Path) -> np.ndarray:
    """The predictions in the order of the source, [rows, classes] or [rows].

    Raises:
        UserError: Some rows have none, or they can't be read.
    """
    place = job.output_info.gcs_output_directory.rstrip("/")
    if not place:
        raise UserError(f"{_short(job)} has ended without saying where its predictions are; submit it again")
    folder.mkdir()
    objects.download({blob.name.rpartition("/")[2]: blob for blob in objects.find(place, None, _WHERE)}, folder, _WHERE)
    key, shape = ("prediction", (rows,)) if label.classes is None else ("probabilities", (rows, len(label.classes)))
    predictions, problem = np.full(shape, np.nan), ""
    for path in sorted(folder.iterdir()):
        with open(path, encoding="utf-8") as lines:
            for line in map(json.loads, lines):
                if "prediction" in line and isinstance(line["prediction"], dict):
                    predictions[int(line["key"])] = line["prediction"][key]
                else:
                    problem = problem or first_line(str(line.get("error", line)))
    missing = np.flatnonzero(np.isnan(predictions).reshape(rows, -1).any(axis=1))
    if len(missing):
        why = f" ({problem})" if problem else ""
        raise UserError(
            f"{_short(job)}: {len(missing):,} of {rows:,} rows have no prediction, the first is row {missing[0]}, "
            f"counted from 0{why}; {place} has what there is"
        )
    return predictions


def _deliver(
    label: Label,
    predictions: np.ndarray,
    names: pa.ChunkedArray,
    settings: PredictSettings,
    described: PredictionSet,
    output: Path,
) -> None:
    """Writes the folder that `kep batch` writes, without the comparison."""
    rows, size = len(predictions), settings.shard_rows
    total, shards = -(-rows // size), []
    with new_folder(output) as folder:
        (folder / SHARDS).mkdir()
        for number in range(total):
            part = slice(number * size, min((number + 1) * size, rows))
            named = names[part].combine_chunks()
            table = as_table(label, predictions[part]).add_column(0, settings.key or ROW, named)
            table = table.append_column(VERSION, pa.array([described.model.version] * table.num_rows))
            name, _ = shard_names(number, total)
            pq.write_table(table, folder / SHARDS / name)
            shards.append(PredictedShard(file=name, rows=table.num_rows))
        described.model_copy(update={"columns": columns_of(table.schema), "shards": shards}).save(folder)


def _state(job: "api.BatchPredictionJob") -> str:
    return str(job.state.name).removeprefix("JOB_STATE_")


def _created(job: "api.BatchPredictionJob") -> datetime:
    return moment(job.create_time) or datetime.min.replace(tzinfo=UTC)


def _short(job: "api.BatchPredictionJob") -> str:
    return f"batch prediction job {job.name.rpartition('/')[2]}"
