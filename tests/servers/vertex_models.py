"""The part of the local Vertex AI server that has models, endpoints, predictions and batch prediction jobs.

What it deploys is really served: by `kep serve` in a process of its own, started with the variables that Vertex AI
gives a container. An endpoint hands requests on by its traffic split, over HTTP.
"""

import json
import random
import re
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

import requests
from google.cloud import aiplatform_v1 as api
from google.cloud.storage import Blob, Client
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.rpc import code_pb2, status_pb2

from tests.helpers.commands import command, environment
from tests.servers.contracts import ContractError, check_json
from tests.servers.tunnel import Tunnel
from tests.servers.vertex import STORE, RefusedError, Server, _find

JobState = api.JobState
FINAL = (JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED, JobState.JOB_STATE_CANCELLED)
ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
SCHEMAS = [
    f"gs://google-cloud-aiplatform/schema/modelevaluation/{kind}_metrics_1.0.0.yaml"
    for kind in ("classification", "regression")
]
LARGEST = 1_500_000
"""Bytes of a request or an answer that a shared public endpoint takes."""
_ENDPOINT = re.compile(r"/v1/(projects/[^/]+/locations/[^/]+/endpoints/[^/:]+):predict")


@dataclass
class Serving:
    """A container: a process of `kep serve`, and where it answers."""

    process: subprocess.Popen
    url: str

    @classmethod
    def start(cls, model: api.Model) -> "Serving":
        """Starts it; `wait` is to be called before it is asked."""
        spec = model.container_spec
        variables = {
            "AIP_STORAGE_URI": model.artifact_uri,
            "AIP_HTTP_PORT": "0",
            "AIP_PREDICT_ROUTE": spec.predict_route,
            "AIP_HEALTH_ROUTE": spec.health_route,
        }
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        return cls(subprocess.Popen(command("serve"), env=environment() | variables, **streams), "")

    def wait(self, model: api.Model) -> None:
        """Returns when the process is ready."""
        lines = iter(self.process.stdout.readline, "")
        address = next(re.search(r"http://[\d.]+:\d+", line)[0] for line in lines if line.startswith("curl "))
        assert any('"ready"' in line for line in lines)
        assert requests.get(address + model.container_spec.health_route, timeout=60).status_code == 200
        self.url = address + model.container_spec.predict_route
        # A line for each request: a pipe that nobody reads would hold the server up.
        threading.Thread(target=lambda: deque(lines, 0), daemon=True).start()


class Models:
    """Models with their versions, endpoints, and batch prediction jobs.

    Args:
        server: That this is a part of.
        tunnel: In front of it.

    Attributes:
        versions: Of each model by the model's resource name, in order.
        evaluations: By the name of the model with the version's number.
        lineage: Execution, INPUT or OUTPUT, and artifact of each event.
        endpoints: By resource name.
        batches: Batch prediction jobs by resource name.
        looks: After which an operation has ended.
        broken: Status that a deployed model answers each request with, by its id.
        failures: Errors that an operation of this method ends with, instead of doing anything.
        rejected: Of a batch prediction job, keys of the rows that can't be predicted.
        answered: Requests that were answered by each deployed model's id.
    """

    def __init__(self, server: Server, tunnel: Tunnel):
        self._server, self._serving = server, {}
        hosts = r"[a-z0-9-]+-aiplatform\.googleapis\.com"
        self._rest = tunnel.https(hosts, _rest(self), beside_grpc=True)
        self.reset()

    def start(self) -> None:
        """Answers predictions."""
        threading.Thread(target=self._rest.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Ends everything that serves."""
        self._rest.shutdown()
        self._rest.server_close()
        for one in self._serving.values():
            one.process.kill()
            one.process.wait()

    def reset(self) -> None:
        """Forgets everything but the processes that serve, which are slow to start."""
        self.versions: dict[str, list[api.Model]] = {}
        self.evaluations: dict[str, list[api.ModelEvaluation]] = {}
        self.lineage: set[tuple[str, str, str]] = set()
        self.endpoints: dict[str, api.Endpoint] = {}
        self.batches: dict[str, api.BatchPredictionJob] = {}
        self.looks = 1
        self.broken: dict[str, int] = {}
        self.failures: dict[str, tuple[str, str]] = {}
        self.rejected: set[object] = set()
        self.answered: dict[str, int] = {}
        self._operations: dict[str, list] = {}
        self._chance = random.Random(0)

    def serve(self, *models: api.Model) -> None:
        """Starts what serves these models, unless it runs; their artifacts' names must tell their contents apart."""
        new = {model.artifact_uri: model for model in models if model.artifact_uri not in self._serving}
        started = {uri: Serving.start(model) for uri, model in new.items()}
        self._serving.update(started)
        for uri, one in started.items():
            one.wait(new[uri])

    def version(self, name: str) -> api.Model:
        """The version that projects/…/models/M, …@VERSION or …@ALIAS means."""
        bare, _, which = name.partition("@")
        of_model = _find(self.versions, bare)
        for one in of_model:
            if which == one.version_id or (which or "default") in one.version_aliases:
                return one
        raise RefusedError("NOT_FOUND", f"{name} is not found.")

    # What the methods do.

    def upload(self, request: api.UploadModelRequest) -> operations_pb2.Operation:
        name = request.parent_model.partition("@")[0] or f"{request.parent}/models/{request.model_id or self._number()}"
        if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,62}|\d+", name.rpartition("/")[2]):
            raise RefusedError("INVALID_ARGUMENT", f"Illegal id {request.model_id!r}")
        if request.parent_model:
            _find(self.versions, name)
        elif name in self.versions:
            raise RefusedError("ALREADY_EXISTS", f"{name} already exists")
        _check_labels(request.model.labels)
        made = api.Model(request.model)
        before = self.versions.setdefault(name, [])
        made.name, made.version_id = name, str(len(before) + 1)
        made.version_create_time = made.create_time = self._server.now()
        made.metadata_artifact = f"{request.parent}/{STORE}/artifacts/model-{len(before) + 1}"
        if not before and "default" not in made.version_aliases:
            made.version_aliases.append("default")
        before.append(made)
        self._alias(made, list(made.version_aliases))
        return self._operation("UploadModel", api.UploadModelResponse(model=name, model_version_id=made.version_id))

    def get_model(self, request: api.GetModelRequest) -> api.Model:
        return self.version(request.name)

    def list_models(self, request: api.ListModelsRequest) -> api.ListModelsResponse:
        page, token = self._server._page({name: of[-1] for name, of in self.versions.items()}, request)
        return api.ListModelsResponse(models=page, next_page_token=token)

    def list_versions(self, request: api.ListModelVersionsRequest) -> api.ListModelVersionsResponse:
        return api.ListModelVersionsResponse(models=_find(self.versions, request.name.partition("@")[0]))

    def merge(self, request: api.MergeVersionAliasesRequest) -> api.Model:
        one = self.version(request.name)
        self._alias(one, list(request.version_aliases))
        return one

    def add_events(self, request: api.AddExecutionEventsRequest) -> api.AddExecutionEventsResponse:
        executions = [task.execution.name for job in self._server.jobs.values() for task in job.job_detail.task_details]
        artifacts = [one.metadata_artifact for of in self.versions.values() for one in of]
        for event in request.events:
            if request.execution not in executions or event.artifact not in artifacts:
                raise RefusedError("NOT_FOUND", f"{request.execution} or {event.artifact} is not found.")
            self.lineage.add((request.execution, event.type_.name, event.artifact))
        return api.AddExecutionEventsResponse()

    def import_evaluation(self, request: api.ImportModelEvaluationRequest) -> api.ModelEvaluation:
        one = self.version(request.parent)
        if request.model_evaluation.metrics_schema_uri not in SCHEMAS:
            raise RefusedError("INVALID_ARGUMENT", "Illegal metrics_schema_uri")
        made = api.ModelEvaluation(request.model_evaluation)
        made.name = f"{one.name}/evaluations/{self._number()}"
        self.evaluations.setdefault(f"{one.name}@{one.version_id}", []).append(made)
        return made

    def list_evaluations(self, request: api.ListModelEvaluationsRequest) -> api.ListModelEvaluationsResponse:
        one = self.version(request.parent)
        found = self.evaluations.get(f"{one.name}@{one.version_id}", [])
        return api.ListModelEvaluationsResponse(model_evaluations=found)

    def create_endpoint(self, request: api.CreateEndpointRequest) -> operations_pb2.Operation:
        name = f"{request.parent}/endpoints/{request.endpoint_id or self._number()}"
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?|\d+", name.rpartition("/")[2]):
            raise RefusedError("INVALID_ARGUMENT", f"Illegal id {request.endpoint_id!r}")
        if name in self.endpoints:
            raise RefusedError("ALREADY_EXISTS", f"{name} already exists")
        _check_labels(request.endpoint.labels)
        made = api.Endpoint(request.endpoint)
        made.name, made.create_time = name, self._server.now()
        self.endpoints[name] = made
        return self._operation("CreateEndpoint", made)

    def get_endpoint(self, request: api.GetEndpointRequest) -> api.Endpoint:
        return _find(self.endpoints, request.name)

    def list_endpoints(self, request: api.ListEndpointsRequest) -> api.ListEndpointsResponse:
        page, token = self._server._page(self.endpoints, request)
        return api.ListEndpointsResponse(endpoints=page, next_page_token=token)

    def update_endpoint(self, request: api.UpdateEndpointRequest) -> api.Endpoint:
        found = _find(self.endpoints, request.endpoint.name)
        for path in request.update_mask.paths:
            if path != "traffic_split":
                raise RefusedError("INVALID_ARGUMENT", f"Illegal path {path}")
            self._split(found, dict(request.endpoint.traffic_split))
        return found

    def deploy(self, request: api.DeployModelRequest) -> operations_pb2.Operation:
        endpoint, asked = _find(self.endpoints, request.endpoint), request.deployed_model
        model = self.version(asked.model)
        if not re.fullmatch(r"\d{0,10}", asked.id):
            raise RefusedError("INVALID_ARGUMENT", f"Illegal id {asked.id!r}")
        if any(one.id == asked.id for one in endpoint.deployed_models):
            raise RefusedError("ALREADY_EXISTS", f"{asked.id} is deployed already")
        if not (asked.dedicated_resources.machine_spec.machine_type and asked.dedicated_resources.min_replica_count):
            raise RefusedError("INVALID_ARGUMENT", "A custom container needs dedicated resources.")
        if "DeployModel" in self.failures:
            return self._operation("DeployModel", None)
        self.serve(model)
        made = api.DeployedModel(asked)
        made.id, made.model, made.model_version_id = asked.id or str(self._number()), model.name, model.version_id
        made.create_time = self._server.now()
        before = list(endpoint.deployed_models)
        endpoint.deployed_models.append(made)
        try:
            self._split(endpoint, {made.id if id == "0" else id: part for id, part in request.traffic_split.items()})
        except RefusedError:
            endpoint.deployed_models = before
            raise
        return self._operation("DeployModel", api.DeployModelResponse(deployed_model=made))

    def undeploy(self, request: api.UndeployModelRequest) -> operations_pb2.Operation:
        endpoint = _find(self.endpoints, request.endpoint)
        if all(one.id != request.deployed_model_id for one in endpoint.deployed_models):
            raise RefusedError("NOT_FOUND", f"{request.deployed_model_id} is not deployed.")
        split = dict(request.traffic_split) or dict(endpoint.traffic_split)
        if len(endpoint.deployed_models) > 1:
            if split.get(request.deployed_model_id):
                raise RefusedError("FAILED_PRECONDITION", "The model gets traffic.")
            self._split(endpoint, split)
        else:
            endpoint.traffic_split = {}
        endpoint.deployed_models = [one for one in endpoint.deployed_models if one.id != request.deployed_model_id]
        return self._operation("UndeployModel", api.UndeployModelResponse())

    def create_batch(self, request: api.CreateBatchPredictionJobRequest) -> api.BatchPredictionJob:
        made = api.BatchPredictionJob(request.batch_prediction_job)
        model = self.version(made.model)
        _check_labels(made.labels)
        if not made.dedicated_resources.machine_spec.machine_type:
            raise RefusedError("INVALID_ARGUMENT", "A custom container needs dedicated resources.")
        made.name = f"{request.parent}/batchPredictionJobs/{self._number()}"
        made.model_version_id, made.create_time = model.version_id, self._server.now()
        made.state = JobState.JOB_STATE_PENDING
        self.batches[made.name] = made
        return made

    def get_batch(self, request: api.GetBatchPredictionJobRequest) -> api.BatchPredictionJob:
        job = _find(self.batches, request.name)
        if job.state == JobState.JOB_STATE_PENDING:
            job.state = JobState.JOB_STATE_RUNNING
        elif job.state == JobState.JOB_STATE_RUNNING:
            if "BatchPredictionJob" in self.failures:
                code, message = self.failures["BatchPredictionJob"]
                job.state, job.error = JobState.JOB_STATE_FAILED, _status(code, message)
            else:
                self._predict_batch(job)
                job.state = JobState.JOB_STATE_SUCCEEDED
            job.end_time = self._server.now()
        return job

    def list_batches(self, request: api.ListBatchPredictionJobsRequest) -> api.ListBatchPredictionJobsResponse:
        page, token = self._server._page(self.batches, request)
        return api.ListBatchPredictionJobsResponse(batch_prediction_jobs=page, next_page_token=token)

    def cancel_batch(self, request: api.CancelBatchPredictionJobRequest) -> empty_pb2.Empty:
        job = _find(self.batches, request.name)
        if job.state not in FINAL:
            job.state = JobState.JOB_STATE_CANCELLED
        return empty_pb2.Empty()

    def get_operation(self, request: operations_pb2.GetOperationRequest) -> operations_pb2.Operation:
        left = _find(self._operations, request.name)
        return left.pop(0) if len(left) > 1 else left[0]

    # What requests to an endpoint are answered.

    def predict(self, path: str, body: bytes, token: str) -> tuple[int, dict]:
        """Hands a request on to one of the endpoint's models; its answer, or one in Google's form for errors."""
        try:
            if token != "Bearer token":
                raise RefusedError("UNAUTHENTICATED", "Request had invalid authentication credentials.")
            match = _ENDPOINT.fullmatch(path)
            if match is None:
                raise RefusedError("NOT_FOUND", f"There is no {path}.")
            fault = self._server.due("Predict")
            if fault is not None:
                raise RefusedError(fault.code, fault.message)
            if len(body) > LARGEST:
                raise RefusedError("INVALID_ARGUMENT", f"Request size {len(body)} is larger than {LARGEST}.")
            with self._server.lock:
                endpoint = _find(self.endpoints, match[1])
                split = {id: part for id, part in endpoint.traffic_split.items() if part}
                if not split:
                    raise RefusedError("FAILED_PRECONDITION", "No model is deployed.")
                (id,) = self._chance.choices(list(split), list(split.values()))
                deployed = next(one for one in endpoint.deployed_models if one.id == id)
                model = self.version(f"{deployed.model}@{deployed.model_version_id}")
            if id in self.broken:
                return self.broken[id], {"error": {"code": self.broken[id], "message": "The model is overloaded."}}
            answer = requests.post(self._serving[model.artifact_uri].url, body, timeout=60)
        except RefusedError as refused:
            codes = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "UNAVAILABLE": 503}
            code = codes.get(refused.code, 400)
            return code, {"error": {"code": code, "message": str(refused), "status": refused.code}}
        if not answer.ok:
            return answer.status_code, {"error": {"code": answer.status_code, "message": answer.text}}
        self.answered[id] = self.answered.get(id, 0) + 1
        facts = {"deployedModelId": id, "model": model.name, "modelDisplayName": model.display_name}
        return 200, answer.json() | facts | {"modelVersionId": model.version_id}

    def _predict_batch(self, job: api.BatchPredictionJob) -> None:
        """As Vertex AI does it for objects of one JSON object a line, with the field that names a line left out."""
        assert job.input_config.instances_format == job.output_config.predictions_format == "jsonl"
        assert job.instance_config.instance_type == "object"
        client, model = Client(), self.version(f"{job.model.partition('@')[0]}@{job.model_version_id}")
        self.serve(model)
        lines = [
            json.loads(line)
            for uri in job.input_config.gcs_source.uris
            for line in Blob.from_uri(uri, client).download_as_text().splitlines()
        ]
        key, found, wrong = job.instance_config.key_field, [], []
        size = job.manual_batch_tuning_parameters.batch_size or 64
        for start in range(0, len(lines), size):
            part = [dict(line) for line in lines[start : start + size]]
            keys = [line.pop(key) for line in part]
            answer = requests.post(self._serving[model.artifact_uri].url, json={"instances": part}, timeout=60)
            assert answer.ok, answer.text
            for name, prediction in zip(keys, answer.json()["predictions"], strict=True):
                if name in self.rejected:
                    wrong.append({"key": name, "error": {"code": 3, "message": "('Post request fails.', 400)"}})
                else:
                    found.append({"key": name, "prediction": prediction})
        self._chance.shuffle(found)
        prefix = job.output_config.gcs_destination.output_uri_prefix
        folder = f"{prefix}/prediction-{model.display_name}-{time.time_ns()}"
        job.output_info.gcs_output_directory = folder
        half = len(found) // 2
        written = {"results-00000-of-00002": found[:half], "results-00001-of-00002": found[half:]}
        written["errors_stats-00000-of-00001"] = wrong
        for name, content in written.items():
            text = "".join(json.dumps(line) + "\n" for line in content)
            Blob.from_uri(f"{folder}/prediction.{name}", client).upload_from_string(text)

    def _alias(self, model: api.Model, changes: list[str]) -> None:
        """Each alias is of one version: given to another, it leaves the first."""
        for change in changes:
            name = change.removeprefix("-")
            if not ALIAS.fullmatch(name):
                raise RefusedError("INVALID_ARGUMENT", f"Illegal alias {name!r}")
            for one in self.versions[model.name]:
                others = [alias for alias in one.version_aliases if alias != name]
                if one is model and change == name:
                    one.version_aliases = [*others, name]
                elif one is model or change == name:
                    one.version_aliases = others

    def _split(self, endpoint: api.Endpoint, split: dict[str, int]) -> None:
        if split and sum(split.values()) != 100:
            raise RefusedError("INVALID_ARGUMENT", f"The traffic adds up to {sum(split.values())}.")
        if unknown := split.keys() - {one.id for one in endpoint.deployed_models}:
            raise RefusedError("INVALID_ARGUMENT", f"{unknown} is not deployed.")
        if split:
            endpoint.traffic_split = split

    def _operation(self, method: str, result: object) -> operations_pb2.Operation:
        """An operation that has ended after `looks` looks at it."""
        name = f"operations/{self._number()}"
        going, done = operations_pb2.Operation(name=name), operations_pb2.Operation(name=name, done=True)
        if method in self.failures:
            done.error.CopyFrom(_status(*self.failures[method]))
        else:
            done.response.Pack(type(result).pb(result))
        self._operations[name] = [*[going] * max(self.looks - 1, 0), done]
        return going if self.looks else done

    def _number(self) -> int:
        return 1000 + next(self._server._numbers)


def _status(code: str, message: str) -> status_pb2.Status:
    return status_pb2.Status(code=code_pb2.Code.Value(code), message=message)


def _check_labels(labels: dict[str, str]) -> None:
    for key, value in labels.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
            raise RefusedError("INVALID_ARGUMENT", f"Illegal label {key}={value}")


def _rest(models: Models) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        """Else the second of two small writes waits 40 ms for the acknowledgement of the first."""

        def log_message(self, *_: object) -> None:
            """Tests look at what was answered."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, told = models.predict(self.path, body, self.headers.get("Authorization", ""))
            try:
                check_json("aiplatform.v1", "POST", self.path, status, told)
            except ContractError as error:
                status, told = 418, str(error)
            content = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


def _method(request: type, act: object) -> tuple:
    return request, lambda server, asked: act(server.models, asked)


SERVICES = {
    "Model": {
        "UploadModel": _method(api.UploadModelRequest, Models.upload),
        "GetModel": _method(api.GetModelRequest, Models.get_model),
        "ListModels": _method(api.ListModelsRequest, Models.list_models),
        "ListModelVersions": _method(api.ListModelVersionsRequest, Models.list_versions),
        "MergeVersionAliases": _method(api.MergeVersionAliasesRequest, Models.merge),
        "ImportModelEvaluation": _method(api.ImportModelEvaluationRequest, Models.import_evaluation),
        "ListModelEvaluations": _method(api.ListModelEvaluationsRequest, Models.list_evaluations),
    },
    "Metadata": {
        "AddExecutionEvents": _method(api.AddExecutionEventsRequest, Models.add_events),
    },
    "Endpoint": {
        "CreateEndpoint": _method(api.CreateEndpointRequest, Models.create_endpoint),
        "GetEndpoint": _method(api.GetEndpointRequest, Models.get_endpoint),
        "ListEndpoints": _method(api.ListEndpointsRequest, Models.list_endpoints),
        "UpdateEndpoint": _method(api.UpdateEndpointRequest, Models.update_endpoint),
        "DeployModel": _method(api.DeployModelRequest, Models.deploy),
        "UndeployModel": _method(api.UndeployModelRequest, Models.undeploy),
    },
    "Job": {
        "CreateBatchPredictionJob": _method(api.CreateBatchPredictionJobRequest, Models.create_batch),
        "GetBatchPredictionJob": _method(api.GetBatchPredictionJobRequest, Models.get_batch),
        "ListBatchPredictionJobs": _method(api.ListBatchPredictionJobsRequest, Models.list_batches),
        "CancelBatchPredictionJob": _method(api.CancelBatchPredictionJobRequest, Models.cancel_batch),
    },
    "google.longrunning.Operations": {
        "GetOperation": _method(operations_pb2.GetOperationRequest, Models.get_operation),
    },
}
