"""A Vertex AI server in memory, with faults on request: pipeline jobs and schedules, over gRPC with TLS.

It speaks the library's own messages, each of the type that the client reads, and was never compared with Google.
Nothing runs in it: a job goes through the frames that the test lays out, one for each time that it is looked at.
"""

import itertools
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, timedelta

import grpc
from google.cloud import aiplatform_v1 as api
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from proto.datetime_helpers import DatetimeWithNanoseconds

from tests.servers import faults
from tests.servers.contracts import check_message
from tests.servers.tunnel import Tunnel

State = api.PipelineState
Task = api.PipelineTaskDetail
STORE = "metadataStores/default"
FINAL = (State.PIPELINE_STATE_SUCCEEDED, State.PIPELINE_STATE_FAILED, State.PIPELINE_STATE_CANCELLED)


@dataclass(frozen=True)
class Frame:
    """A moment of a job.

    Attributes:
        state: of the job, without PIPELINE_STATE_.
        tasks: state of each task by name; a name that ends in /2 is the second task of its name, as loops have them.
        errors: message of each task that failed; that of "" is the job's own.
    """

    state: str
    tasks: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


@dataclass
class Fault:
    """What goes wrong with the calls of a method.

    Attributes:
        method: such as CreatePipelineJob.
        code: of gRPC's status.
        message: of it.
        times: calls that it hits; after that it is spent.
        skip: calls that it lets pass first.
        lose: whether the call is done all the same, and only its answer is lost.
        reason: of the status's ErrorInfo, such as SERVICE_DISABLED.
    """

    method: str
    code: str
    message: str = "injected"
    times: float = 1
    skip: int = 0
    lose: bool = False
    reason: str = ""
    hits: int = 0


class RefusedError(Exception):
    """An answer other than success."""

    def __init__(self, code: str, message: str, reason: str = ""):
        super().__init__(message)
        self.code, self.reason = code, reason


class Server:
    """The server, in threads of this process, behind the tunnel; a context manager.

    Attributes:
        jobs: by resource name.
        schedules: by resource name.
        models: and endpoints, predictions and batch jobs.
        frames: what a job that is made now will go through.
        journal: name of the method of every call, in order.
        faults: given to `fault`.
        page: entries in one answer to a list, at most.
    """

    def __init__(self, tunnel: Tunnel):
        self._server = grpc.server(ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers((_handler("Pipeline", self, _PIPELINES),))
        self._server.add_generic_rpc_handlers((_handler("Schedule", self, _SCHEDULES),))
        from tests.servers import vertex_models  # which imports this module

        self.models = vertex_models.Models(self, tunnel)
        for service, methods in vertex_models.SERVICES.items():
            self._server.add_generic_rpc_handlers((_handler(service, self, methods),))
        chain = tunnel.certificate
        keys = [(chain.private_key_pem.bytes(), b"".join(blob.bytes() for blob in chain.cert_chain_pems))]
        port = self._server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(keys))
        tunnel.ports[r"[a-z0-9-]+-aiplatform\.googleapis\.com"] = port
        self.lock = threading.RLock()
        self.reset()

    def __enter__(self) -> "Server":
        self._server.start()
        self.models.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()
        self.models.stop()

    def reset(self) -> None:
        """Forgets everything: starting a server for each test would cost more than the tests."""
        self.jobs: dict[str, api.PipelineJob] = {}
        self.schedules: dict[str, api.Schedule] = {}
        self.frames = [Frame("SUCCEEDED")]
        self.journal: list[str] = []
        self.faults: list[Fault] = []
        self.page = 100
        self.models.reset()
        self._left: dict[str, list[Frame]] = {}
        self._numbers = itertools.count(1)

    def fault(self, method: str, code: str, message: str = "injected", **more) -> Fault:
        """Arranges for a fault and returns it, with its count of hits."""
        self.faults.append(Fault(method, code, message, **more))
        return self.faults[-1]

    def due(self, method: str) -> Fault | None:
        """The fault that hits this call, if any."""
        with self.lock:
            self.journal.append(method)
            return faults.due(self.faults, lambda fault: fault.method == method)

    def now(self) -> DatetimeWithNanoseconds:
        """A clock that moves by a minute with every look at it."""
        return DatetimeWithNanoseconds(2026, 2, 1, tzinfo=UTC) + timedelta(minutes=next(self._numbers))

    # What the methods do.

    def create_job(self, request: api.CreatePipelineJobRequest) -> api.PipelineJob:
        name = f"{request.parent}/pipelineJobs/{request.pipeline_job_id}"
        if not re.fullmatch(r"[a-z][-a-z0-9]{0,127}", request.pipeline_job_id):
            raise RefusedError("INVALID_ARGUMENT", f"Illegal id {request.pipeline_job_id!r}")
        if name in self.jobs:
            raise RefusedError("ALREADY_EXISTS", f"{name} already exists")
        _check(request.pipeline_job)
        job = api.PipelineJob(request.pipeline_job)
        job.name, job.state, job.create_time = name, State.PIPELINE_STATE_PENDING, self.now()
        self.jobs[name], self._left[name] = job, list(self.frames)
        return job

    def get_job(self, request: api.GetPipelineJobRequest) -> api.PipelineJob:
        job = _find(self.jobs, request.name)
        if job.state not in FINAL and self._left[job.name]:
            self._move(job, self._left[job.name].pop(0))
        return job

    def list_jobs(self, request: api.ListPipelineJobsRequest) -> api.ListPipelineJobsResponse:
        page, token = self._page(self.jobs, request)
        return api.ListPipelineJobsResponse(pipeline_jobs=page, next_page_token=token)

    def cancel_job(self, request: api.CancelPipelineJobRequest) -> empty_pb2.Empty:
        job = _find(self.jobs, request.name)
        if job.state in FINAL:
            raise RefusedError("FAILED_PRECONDITION", "The job has ended.")
        job.state = State.PIPELINE_STATE_CANCELLING
        tasks = {task.task_name: "CANCELLED" for task in job.job_detail.task_details if task.state.name == "RUNNING"}
        self._left[job.name] = [Frame("CANCELLED", tasks)]
        return empty_pb2.Empty()

    def delete_job(self, request: api.DeletePipelineJobRequest) -> operations_pb2.Operation:
        del self.jobs[_find(self.jobs, request.name).name]
        return _done()

    def create_schedule(self, request: api.CreateScheduleRequest) -> api.Schedule:
        if len(re.sub(r"^(CRON_)?TZ=\S+ ", "", request.schedule.cron).split()) != 5:
            raise RefusedError("INVALID_ARGUMENT", f"Invalid cron {request.schedule.cron!r}")
        _check(request.schedule.create_pipeline_job_request.pipeline_job)
        made = api.Schedule(request.schedule)
        made.name = f"{request.parent}/schedules/{1000 + next(self._numbers)}"
        made.state, made.create_time = api.Schedule.State.ACTIVE, self.now()
        made.next_run_time = self.now()
        self.schedules[made.name] = made
        return made

    def get_schedule(self, request: api.GetScheduleRequest) -> api.Schedule:
        return _find(self.schedules, request.name)

    def list_schedules(self, request: api.ListSchedulesRequest) -> api.ListSchedulesResponse:
        page, token = self._page(self.schedules, request)
        return api.ListSchedulesResponse(schedules=page, next_page_token=token)

    def pause_schedule(self, request: api.PauseScheduleRequest) -> empty_pb2.Empty:
        _find(self.schedules, request.name).state = api.Schedule.State.PAUSED
        return empty_pb2.Empty()

    def resume_schedule(self, request: api.ResumeScheduleRequest) -> empty_pb2.Empty:
        found = _find(self.schedules, request.name)
        found.state, found.catch_up = api.Schedule.State.ACTIVE, request.catch_up
        return empty_pb2.Empty()

    def update_schedule(self, request: api.UpdateScheduleRequest) -> api.Schedule:
        found = _find(self.schedules, request.schedule.name)
        for path in request.update_mask.paths:
            setattr(found, path, getattr(request.schedule, path))
        return found

    def delete_schedule(self, request: api.DeleteScheduleRequest) -> operations_pb2.Operation:
        del self.schedules[_find(self.schedules, request.name).name]
        return _done()

    def _page(self, held: dict, request: object) -> tuple[list, str]:
        """Of a list, the newest first; it understands `display_name="x"`, `labels.x="y"` and `labels.x:*`."""
        chosen = [one for one in held.values() if one.name.startswith(request.parent + "/")]
        if request.filter:
            match = re.fullmatch(r'(display_name|labels\.\w+)(?:="([^"]*)"|:\*)', request.filter)
            if match is None:
                raise RefusedError("INVALID_ARGUMENT", f"Invalid filter {request.filter}")
            chosen = [one for one in chosen if _field(one, match[1]) and match[2] in (None, _field(one, match[1]))]
        if getattr(request, "order_by", "") not in ("", "create_time desc"):
            raise RefusedError("INVALID_ARGUMENT", f"Invalid order_by {request.order_by}")
        chosen.sort(key=lambda one: one.create_time, reverse=True)
        start = int(request.page_token or 0)
        end = start + min(request.page_size or self.page, self.page)
        return chosen[start:end], str(end) if end < len(chosen) else ""

    def _move(self, job: api.PipelineJob, frame: Frame) -> None:
        job.state = State[f"PIPELINE_STATE_{frame.state}"]
        if job.state in FINAL:
            job.end_time = self.now()
        if message := frame.errors.get(""):
            job.error = status_pb2.Status(code=9, message=message)
        tasks = {(task.task_name, task.task_id): task for task in job.job_detail.task_details}
        for name, state in frame.tasks.items():
            short, _, number = name.partition("/")
            same = [task for (other, _), task in sorted(tasks.items(), key=lambda item: item[0][1]) if other == short]
            place = int(number or 1) - 1
            if place < len(same):
                task = same[place]
            else:
                task = Task(task_name=short, task_id=len(tasks) + 1)
                task.execution = {
                    "name": f"{job.name.partition('/pipelineJobs/')[0]}/{STORE}/executions/{task.task_id}"
                }
                tasks[short, task.task_id] = task
            task.state = Task.State[state]
            if not task.start_time:
                task.start_time = self.now()
            if state not in ("PENDING", "RUNNING"):
                task.end_time = self.now()
            if message := frame.errors.get(name):
                task.error = status_pb2.Status(code=9, message=message)
        job.job_detail.task_details = list(tasks.values())


def _check(job: api.PipelineJob) -> None:
    """What the service says of a job's arguments and labels, of which the client says nothing."""
    wanted = dict(job.pipeline_spec["root"]["inputDefinitions"]["parameters"])
    given = dict(job.runtime_config.parameter_values)
    for name in given:
        if name not in wanted:
            raise RefusedError("INVALID_ARGUMENT", f"Unknown parameter {name}")
    for name, definition in wanted.items():
        if name not in given and "defaultValue" not in definition and not dict(definition).get("isOptional"):
            raise RefusedError("INVALID_ARGUMENT", f"Missing parameter {name}")
    for key, value in job.labels.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
            raise RefusedError("INVALID_ARGUMENT", f"Illegal label {key}={value}")
    if not job.runtime_config.gcs_output_directory.startswith("gs://"):
        raise RefusedError("INVALID_ARGUMENT", "The pipeline root is no gs:// path.")


def _find(held: dict, name: str) -> object:
    if name not in held:
        raise RefusedError("NOT_FOUND", f"{name} is not found.")
    return held[name]


def _field(one: object, path: str) -> str:
    first, _, key = path.partition(".")
    return getattr(one, first).get(key, "") if key else getattr(one, first)


def _done() -> operations_pb2.Operation:
    made = operations_pb2.Operation(name="operations/1", done=True)
    made.response.Pack(empty_pb2.Empty())
    return made


_PIPELINES = {
    "CreatePipelineJob": (api.CreatePipelineJobRequest, Server.create_job),
    "GetPipelineJob": (api.GetPipelineJobRequest, Server.get_job),
    "ListPipelineJobs": (api.ListPipelineJobsRequest, Server.list_jobs),
    "CancelPipelineJob": (api.CancelPipelineJobRequest, Server.cancel_job),
    "DeletePipelineJob": (api.DeletePipelineJobRequest, Server.delete_job),
}
_SCHEDULES = {
    "CreateSchedule": (api.CreateScheduleRequest, Server.create_schedule),
    "GetSchedule": (api.GetScheduleRequest, Server.get_schedule),
    "ListSchedules": (api.ListSchedulesRequest, Server.list_schedules),
    "PauseSchedule": (api.PauseScheduleRequest, Server.pause_schedule),
    "ResumeSchedule": (api.ResumeScheduleRequest, Server.resume_schedule),
    "UpdateSchedule": (api.UpdateScheduleRequest, Server.update_schedule),
    "DeleteSchedule": (api.DeleteScheduleRequest, Server.delete_schedule),
}


def _handler(service: str, server: Server, methods: dict) -> grpc.GenericRpcHandler:
    made = {
        name: grpc.unary_unary_rpc_method_handler(
            _answering(server, service, name, act),
            # The library's own messages, and plain ones.
            request_deserializer=getattr(request, "deserialize", None) or request.FromString,
            response_serializer=_serialized,
        )
        for name, (request, act) in methods.items()
    }
    name = service if "." in service else f"google.cloud.aiplatform.v1.{service}Service"
    return grpc.method_handlers_generic_handler(name, made)


def _answering(server: Server, service: str, name: str, act: Callable) -> Callable:
    def answered_to(request: object, context: grpc.ServicerContext) -> object:
        fault = server.due(name)
        try:
            if fault and not fault.lose:
                raise RefusedError(fault.code, fault.message, fault.reason)
            with server.lock:
                # A copy, since the job may move on while its message is on its way.
                answer = act(server, request)
                check_message(service, name, answer)
                answered = _serialized(answer)
            if fault:
                raise RefusedError(fault.code, fault.message, fault.reason)
            return answered
        except RefusedError as refused:
            return _abort(context, refused)

    return answered_to


def _abort(context: grpc.ServicerContext, refused: RefusedError) -> None:
    status = status_pb2.Status(code=code_pb2.Code.Value(refused.code), message=str(refused))
    if refused.reason:
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=refused.reason, domain="googleapis.com"))
    context.abort_with_status(rpc_status.to_status(status))


def _serialized(message: object) -> bytes:
    if isinstance(message, bytes):
        return message
    pb = message if hasattr(message, "SerializeToString") else type(message).pb(message)
    return pb.SerializeToString()
