"""Custom jobs beside the runs and schedules of tests/servers/vertex.py: what a job's containers would run, does run.

Each replica is a process of this machine, with the variables that Vertex AI documents for it; its image is not looked
at. The bucket that Vertex AI mounts at /gcs is a folder.
"""

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from google.cloud import aiplatform_v1 as api
from google.protobuf import empty_pb2
from google.rpc import code_pb2, status_pb2

from tests.servers.vertex import RefusedError, Server, _field, _find, _handler

State = api.JobState
ENDED = (State.JOB_STATE_SUCCEEDED, State.JOB_STATE_FAILED, State.JOB_STATE_CANCELLED)


@dataclass
class Fate:
    """What becomes of a job.

    Attributes:
        states: that it is seen in, one at a look, before its containers start; the last one for ever with `stuck`.
        stuck: whether they never start.
        waited: how long ago it was made when it is seen first.
        started: whether its machines were there once, and were taken away.
        error: code of gRPC and message that it fails with instead; none when its containers start.
    """

    states: tuple[str, ...] = ("PENDING",)
    stuck: bool = False
    waited: timedelta = timedelta()
    started: bool = False
    error: tuple[str, str] | None = None


@dataclass
class Running:
    """A job's fate, as far as it has come, and its processes: that of the chief first."""

    fate: Fate
    left: list[str]
    processes: list[subprocess.Popen] = field(default_factory=list)


class Jobs:
    """The service; to be made before the server that it is a part of starts.

    Attributes:
        jobs: by resource name.
        fates: of the jobs that are made from now on, in order; of those after them, a good one.
        mount: what /gcs is.
        made: called with each job that is made, before the answer.
        looks: called with a job at each look at it, before the answer.
    """

    def __init__(self, server: Server):
        methods = {
            "CreateCustomJob": (api.CreateCustomJobRequest, self.create),
            "GetCustomJob": (api.GetCustomJobRequest, self.get),
            "ListCustomJobs": (api.ListCustomJobsRequest, self.listing),
            "CancelCustomJob": (api.CancelCustomJobRequest, self.cancel),
        }
        server._server.add_generic_rpc_handlers((_handler("Job", server, methods),))
        self._running: dict[str, Running] = {}
        self.reset(Path())

    def reset(self, mount: Path) -> None:
        """Forgets everything, and ends what runs."""
        for running in self._running.values():
            for process in running.processes:
                process.kill()
                process.wait()
        self.jobs: dict[str, api.CustomJob] = {}
        self.fates: list[Fate] = []
        self.mount = mount
        self.made = self.looks = lambda job: None
        self._running = {}

    def log(self, job: api.CustomJob) -> str:
        """What the job's replicas have printed, the chief's first."""
        return "".join(path.read_text() for path in sorted(self.mount.glob(f"{_id(job)}-*.log")))

    # What the methods do.

    def create(self, server: Server, request: api.CreateCustomJobRequest) -> api.CustomJob:
        job = api.CustomJob(request.custom_job)
        for key, value in job.labels.items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
                raise RefusedError("INVALID_ARGUMENT", f"Illegal label {key}={value}")
        pools = job.job_spec.worker_pool_specs
        if not pools or pools[0].replica_count != 1:
            raise RefusedError("INVALID_ARGUMENT", "The first worker pool must have one replica.")
        for pool in pools:
            if not pool.machine_spec.machine_type or not pool.container_spec.image_uri:
                raise RefusedError("INVALID_ARGUMENT", "A worker pool needs a machine type and an image.")
        job.name = f"{request.parent}/customJobs/{7000 + len(self.jobs)}"
        fate = self.fates.pop(0) if self.fates else Fate()
        job.state, job.create_time = State.JOB_STATE_QUEUED, datetime.now(UTC) - fate.waited
        if fate.started:
            job.start_time = job.create_time
        self.add(job, fate)
        self.made(job)
        return job

    def add(self, job: api.CustomJob, fate: Fate | None = None) -> None:
        """Holds a job."""
        fate = fate or Fate()
        self.jobs[job.name], self._running[job.name] = job, Running(fate, list(fate.states))

    def stop(self, job: api.CustomJob) -> None:
        """Asks a job's replicas to end."""
        job.state = State.JOB_STATE_CANCELLING
        self.take(job)

    def take(self, job: api.CustomJob) -> None:
        """Takes a job's machines away, with notice."""
        for process in self._running[job.name].processes:
            process.terminate()

    def get(self, server: Server, request: api.GetCustomJobRequest) -> api.CustomJob:
        job = _find(self.jobs, request.name)
        if job.state not in ENDED:
            self._move(job, self._running[job.name])
        self.looks(job)
        return job

    def listing(self, server: Server, request: api.ListCustomJobsRequest) -> api.ListCustomJobsResponse:
        match = re.fullmatch(r"(labels\.\w+)=([a-z0-9_-]+)", request.filter)
        if match is None:
            raise RefusedError("INVALID_ARGUMENT", f"Invalid filter {request.filter}")
        mine = [job for job in self.jobs.values() if job.name.startswith(request.parent + "/")]
        return api.ListCustomJobsResponse(custom_jobs=[job for job in mine if _field(job, match[1]) == match[2]])

    def cancel(self, server: Server, request: api.CancelCustomJobRequest) -> empty_pb2.Empty:
        job = _find(self.jobs, request.name)
        if job.state in ENDED:
            raise RefusedError("FAILED_PRECONDITION", "The job has ended.")
        self.stop(job)
        return empty_pb2.Empty()

    def _move(self, job: api.CustomJob, running: Running) -> None:
        codes = [process.poll() for process in running.processes]
        if job.state == State.JOB_STATE_CANCELLING:
            if None not in codes:
                self._end(job, State.JOB_STATE_CANCELLED, "CANCELLED", "The job was cancelled.")
        elif running.left:
            job.state = State[f"JOB_STATE_{running.left[0]}"]
            if len(running.left) > 1 or not running.fate.stuck:
                running.left.pop(0)
        elif running.fate.error:
            self._end(job, State.JOB_STATE_FAILED, *running.fate.error)
        elif not codes:
            self._start(job, running)
        elif bad := next(((number, code) for number, code in enumerate(codes) if code), None):
            pool, index = _replica(bad[0])
            self._end(
                job,
                State.JOB_STATE_FAILED,
                "INTERNAL",
                f"The replica {pool}-{index} exited with a non-zero status of {bad[1]}.\nTermination reason: Error.",
            )
        elif codes[0] == 0:
            # The job is done when its chief is.
            self._end(job, State.JOB_STATE_SUCCEEDED)

    def _end(self, job: api.CustomJob, state: State, code: str = "OK", message: str = "") -> None:
        for process in self._running[job.name].processes:
            process.kill()
        job.state, job.end_time = state, datetime.now(UTC)
        job.error = status_pb2.Status(code=code_pb2.Code.Value(code), message=message)

    def _start(self, job: api.CustomJob, running: Running) -> None:
        job.state, job.start_time = State.JOB_STATE_RUNNING, datetime.now(UTC)
        pools = job.job_spec.worker_pool_specs
        replicas = [pool for pool in pools for _ in range(pool.replica_count)]
        addresses = _addresses(len(replicas))
        for number, pool in enumerate(replicas):
            container = pool.container_spec
            words = [self._mounted(word) for word in [*container.command, *container.args]]
            own = {one.name: self._mounted(one.value) for one in container.env} | _cluster(addresses, number)
            # The step's own Python, as in its image.
            own["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            with open(self.mount / f"{_id(job)}-{number}.log", "wb") as log:
                running.processes.append(subprocess.Popen(words, env=os.environ | own, stdout=log, stderr=log))

    def _mounted(self, word: str) -> str:
        return word.replace("/gcs/", f"{self.mount}/")


def _id(job: api.CustomJob) -> str:
    return job.name.rpartition("/")[2]


def _replica(number: int) -> tuple[str, int]:
    return ("workerpool0", 0) if number == 0 else ("workerpool1", number - 1)


def _cluster(addresses: list[str], number: int) -> dict[str, str]:
    """As Vertex AI's page on distributed training has them; TF_CONFIG is there only where there are several."""
    pool, index = _replica(number)
    spec = {"cluster": {"workerpool0": addresses[:1]}, "task": {"type": pool, "index": index}, "environment": "cloud"}
    if len(addresses) == 1:
        return {"CLUSTER_SPEC": json.dumps(spec)}
    spec["cluster"]["workerpool1"] = addresses[1:]
    kind = "worker" if number else "chief"
    known = {"cluster": {"chief": addresses[:1], "worker": addresses[1:]}, "task": {"type": kind, "index": index}}
    return {"CLUSTER_SPEC": json.dumps(spec), "TF_CONFIG": json.dumps(known | {"environment": "cloud"})}


def _addresses(count: int) -> list[str]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
