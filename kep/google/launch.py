"""The task of a step that a custom job runs: it submits the job, waits for it, and ends as it ends.

A second attempt of the task finds the job of the first by its label and goes on waiting for it. A task that is
cancelled cancels its job. A place that has no room for it is passed over for the next one. On Kubeflow, which has no
such jobs, the task itself has the machine, and becomes the step.

    python -m kep.google.launch --run RUN --job JSON -- COMMAND …
"""

import argparse
import hashlib
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions

from kep.core.environment import PAYER, SECRETS, SECRETS_PROJECT, TENSORBOARD
from kep.core.errors import RunError, UserError, first_line
from kep.google import failures
from kep.google.custom_jobs import PLACE, TASK, Job, failure_of, function_of, message
from kep.google.once import once
from kep.google.vertex import CHANGE, CREATE, FOLLOW, LOOK, Vertex, moment, unsure

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as api

POLL = 30.0
"""Seconds between two looks at a job."""
_PASSED = (TENSORBOARD, PAYER, SECRETS, SECRETS_PROJECT)
"""Variables of the task that the job gets."""
_VERTEX_RUN = re.compile(r"projects/([^/]+)/locations/([^/]+)/pipelineJobs/([^/]+)")
_ENDED = ("succeeded", "failed", "cancelled", "expired", "partially_succeeded")
_OVER = (*_ENDED, "cancelling")
_NO_ROOM = re.compile(
    r"resources are insufficient|stock-?out|resource_pool_exhausted|does not have enough resources|no capacity"
    r"|exceed quota|quota exceeded",
    re.IGNORECASE,
)
"""How Vertex AI says that there are no machines, or that a quota of them is used up."""
_RESOURCE_EXHAUSTED = 8
"""gRPC's code, which Vertex AI also gives a job whose own memory ran out."""

log = logging.getLogger("kep")


class NoRoomError(Exception):
    """A place has no machine for the job; the text says why."""


class CancelledError(Exception):
    """The task was cancelled."""


class Launch:
    """One attempt of a task.

    Args:
        run: Resource name of the pipeline's run.
        job: Job to submit.
        command: Command that the job runs.

    Raises:
        UserError: `run` is none.
    """

    def __init__(self, run: str, job: Job, command: list[str]) -> None:
        match = _VERTEX_RUN.fullmatch(run)
        if match is None:
            raise UserError(f'--run: "{run}" is no run of Vertex AI Pipelines, where alone custom jobs are submitted')
        self._project, self._region, self._id = match.groups()
        self._job, self._command = job, command
        # The command holds where the outputs go, so that it is another for every task of a run and the same for all
        # attempts of one.
        self._task = hashlib.sha256(json.dumps([run, command]).encode()).hexdigest()[:40]
        self._regions: dict[str, Vertex] = {}
        self._told = self._pausing = False

    def stop(self, *_: Any) -> None:
        """Ends `run` with a `CancelledError` at its next pause: a handler of signals.

        Not in the middle of a call: gRPC's locks don't survive an exception that comes from nowhere.
        """
        self._told = True
        if self._pausing:
            raise CancelledError

    def run(self) -> None:
        """Has the job done, by this attempt or an earlier one.

        Raises:
            UserError: Vertex AI refuses the job, or does not answer, or the step failed for a mistake of the user.
            RunError: The job failed, was cancelled by somebody else, or no place has room for it.
            CancelledError: After `stop`.
        """
        found = self._found()
        first = int(found.labels[PLACE]) if found else 0
        if found:
            log.info("going on with custom job %s", _id(found))
        refused = []
        for number, place in enumerate(self._job.places[first:], start=first):
            try:
                self._wait(found or self._create(number), number)
                return
            except NoRoomError as error:
                refused.append(f"{place.words}: {error}")
                log.info("no room for %s", refused[-1])
                found = None
        raise RunError(f"there is no room for the custom job ({'; '.join(refused)})")

    def cancel(self) -> None:
        """Cancels what this attempt or an earlier one has submitted and has not ended."""
        for vertex, job in self._mine():
            if _state(job) not in _OVER:
                _cancel(vertex, job)

    def _found(self) -> "api.CustomJob | None":
        """The job of an earlier attempt: one that has succeeded, or goes on. One that failed is done again.

        Raises:
            UserError: It failed for a mistake of the user, for which the next would, too.
        """
        jobs = sorted(self._mine(), key=lambda found: _created(found[1]), reverse=True)
        done = [job for _, job in jobs if _state(job) == "succeeded"]
        going = [(vertex, job) for vertex, job in jobs if _state(job) not in _OVER]
        # Two could only be where a create was done twice, since a look did not show the first: they'd write the same.
        for vertex, job in going if done else going[1:]:
            _cancel(vertex, job)
        failed = next((job for _, job in jobs if _state(job) == "failed"), None)
        if failed and not done and not going and (told := _told(failed)) and told.user:
            raise UserError(f"{told.message} {self._where(failed)}")
        return done[0] if done else going[0][1] if going else None

    def _mine(self) -> Iterator[tuple[Vertex, "api.CustomJob"]]:
        """The jobs of this task, at all places."""
        for region in {place.region or self._region for place in self._job.places}:
            vertex = self._vertex(region)
            yield from ((vertex, job) for job in self._listed(vertex))

    def _listed(self, vertex: Vertex) -> list["api.CustomJob"]:
        request = {"parent": vertex.parent, "filter": f"labels.{TASK}={self._task}"}
        with vertex.explained():
            return list(vertex.jobs.list_custom_jobs(request=request, **LOOK))

    def _create(self, number: int) -> "api.CustomJob":
        self._pause(0)
        place = self._job.places[number]
        vertex, known = self._vertex(place.region), {job.name for job in self._listed(self._vertex(place.region))}
        name = f"{self._id}-{function_of(self._command)}"
        passed = {key: os.environ[key] for key in _PASSED if key in os.environ}
        asked = message(place, self._command, self._run, name, {TASK: self._task, PLACE: str(number)}, passed)

        def send() -> "api.CustomJob":
            return vertex.jobs.create_custom_job(parent=vertex.parent, custom_job=asked, **CREATE)

        def find() -> "api.CustomJob | None":
            return next((job for job in self._listed(vertex) if job.name not in known), None)

        with vertex.explained(self._run.service_account):
            try:
                made = once(send, find, CHANGE["retry"], unsure)
            except exceptions.ResourceExhausted as error:
                raise NoRoomError(first_line(error.message)) from error
        log.info("custom job %s: %s, %s", _id(made), place.words, self._url(made))
        return made

    def _wait(self, job: "api.CustomJob", number: int) -> None:
        """Waits until a job has ended well."""
        vertex, more = self._vertex(self._job.places[number].region), number + 1 < len(self._job.places)
        limit, said, left = timedelta(minutes=self._job.wait_minutes), "", False
        while True:
            with vertex.explained():
                job = vertex.jobs.get_custom_job(name=job.name, **FOLLOW)
            if (state := _state(job)) != said:
                log.info("custom job %s: %s", _id(job), state.replace("_", " "))
                said = state
            if state == "succeeded":
                return
            if state in _ENDED:
                break
            # Without a time of start it has never run: one that was restarted has had its machines.
            if more and not left and not job.start_time and datetime.now(UTC) - _created(job) > limit:
                _cancel(vertex, job)
                left = True
            self._pause(POLL)
        if left:
            raise NoRoomError(f"no machine in {self._job.wait_minutes:g} minutes")
        where, why = self._where(job), first_line(job.error.message)
        # Before what the step said, which may have been that its Spot machine was taken away.
        if _without_room(job):
            raise NoRoomError(why)
        if state == "failed" and (told := _told(job)):
            raise (UserError if told.user else RunError)(f"{told.message} {where}")
        how = "failed" if state == "failed" else f"was {state.replace('_', ' ')}"
        raise RunError(f"the custom job {how}{why and ': '}{why} {where}")

    def _pause(self, seconds: float) -> None:
        self._pausing = True
        try:
            if self._told:
                raise CancelledError
            time.sleep(seconds)
        finally:
            self._pausing = False

    @cached_property
    def _run(self) -> "api.PipelineJob":
        """The run of the pipeline, whose account, network, key and labels the job gets."""
        vertex = self._vertex("")
        name = f"{vertex.parent}/pipelineJobs/{self._id}"
        with vertex.explained():
            return vertex.pipelines.get_pipeline_job(name=name, **LOOK)

    def _vertex(self, region: str) -> Vertex:
        region = region or self._region
        return self._regions.setdefault(region, Vertex(self._project, region))

    def _where(self, job: "api.CustomJob") -> str:
        return f"(custom job {_id(job)}, logs: {self._url(job)})"

    def _url(self, job: "api.CustomJob") -> str:
        region = job.name.split("/")[3]
        place = f"https://console.cloud.google.com/vertex-ai/locations/{region}/training/{_id(job)}"
        return f"{place}?project={self._project}"


def _told(job: "api.CustomJob") -> failures.Failure | None:
    """Return what the job's step said when it failed."""
    try:
        return failures.found(failure_of(job))
    except UserError as error:
        log.info("what the step said can't be read: %s", error)
        return None


def _without_room(job: "api.CustomJob") -> bool:
    said = job.error.message
    return bool(_NO_ROOM.search(said)) or (job.error.code == _RESOURCE_EXHAUSTED and "memory" not in said)


def _cancel(vertex: Vertex, job: "api.CustomJob") -> None:
    with vertex.explained():
        try:
            vertex.jobs.cancel_custom_job(name=job.name, **CHANGE)
        except exceptions.FailedPrecondition:  # it has ended
            return
    log.info("cancelled custom job %s", _id(job))


def _state(job: "api.CustomJob") -> str:
    return str(job.state.name).removeprefix("JOB_STATE_").lower()


def _created(job: "api.CustomJob") -> datetime:
    created = moment(job.create_time)
    if created is None:
        raise ValueError(f"custom job {_id(job)} has no time of creation")
    return created


def _id(job: "api.CustomJob") -> str:
    return job.name.rpartition("/")[2]


def main(arguments: list[str]) -> int:
    """Runs the task; returns its exit status: 0 done, 1 failed or cancelled, 2 refused."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s", force=True)
    parser = argparse.ArgumentParser(prog="python -m kep.google.launch")
    parser.add_argument("--run", required=True)
    parser.add_argument("--job", required=True, type=Job.model_validate_json)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    # Kubeflow leaves the placeholder in an argument as it is.
    if given.job.limits is not None and not _VERTEX_RUN.fullmatch(given.run):
        os.execvp(given.command[0], given.command)
    before = signal.getsignal(signal.SIGTERM)
    try:
        launch = Launch(given.run, given.job, given.command)
        signal.signal(signal.SIGTERM, launch.stop)
        try:
            launch.run()
        except CancelledError:
            launch.cancel()
            raise RunError("the task was cancelled, and its custom job with it") from None
    except (UserError, RunError) as error:
        print(f"error: {error}", flush=True)
        return 2 if isinstance(error, UserError) else 1
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
