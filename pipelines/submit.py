"""A run on Vertex AI: submitted once, followed, looked at, cancelled."""

import hashlib
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from components.ingest.inspect import Inspection, fingerprint, size
from components.shared.errors import UserError
from pipelines.arguments import kfp_safe
from pipelines.check import MOST_SURVEYED, survey
from pipelines.local import STEPS, step_of
from pipelines.run import revision
from pipelines.template import STORAGE, Template
from pipelines.vertex import FOLLOW, Vertex, first_line
from pipelines.view import View

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as api

POLL = 10.0
"""Seconds between two looks at a run: steps take minutes."""
CANCELLED = 3
"""Exit status of a run that was cancelled."""
_OURS = "kep_run"
"""Label of every run that was made here; its value is the name in the run file."""


@dataclass(frozen=True)
class Options:
    """What a run is submitted with, beside its template.

    Attributes:
        bucket: gs:// path that takes the artifacts and the champions.
        service_account: That the steps run as; the default one of Compute Engine when empty.
        network: Full name of the network that the steps are peered with.
        kms_key: Full name of the key that encrypts what the run makes.
        labels: Of the user's.
        cache: Whether steps may be answered from earlier runs.
        fail_fast: Whether no further step starts when one has failed; else those that can still run do.
    """

    bucket: str
    service_account: str = ""
    network: str = ""
    kms_key: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    cache: bool = True
    fail_fast: bool = False


def check_options(options: Options, region: str) -> None:
    """Raises:
    UserError: A value can't be what it stands for.
    """
    if options.service_account and not re.fullmatch(r"[^@\s]+@[^@\s]+\.gserviceaccount\.com", options.service_account):
        raise UserError(
            f'--service-account: "{options.service_account}" is none; give NAME@PROJECT.iam.gserviceaccount.com'
        )
    if options.network and not re.fullmatch(r"projects/[^/]+/global/networks/[^/]+", options.network):
        raise UserError(f'--network: "{options.network}" is none; give projects/NUMBER/global/networks/NAME')
    key = re.fullmatch(r"projects/[^/]+/locations/([^/]+)/keyRings/[^/]+/cryptoKeys/[^/]+", options.kms_key)
    if options.kms_key and not key:
        raise UserError(
            f'--kms-key: "{options.kms_key}" is none; give projects/P/locations/{region}/keyRings/R/cryptoKeys/K'
        )
    if key and key[1] != region:
        raise UserError(f"--kms-key: the key is in {key[1]}, and the run in {region}; both must be in one region")


def check_labels(labels: list[str]) -> dict[str, str]:
    """`key=value` texts as a mapping.

    Raises:
        UserError: One is not what Vertex AI takes, or is a name that is given here.
    """
    for label in labels:
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}", label):
            raise UserError(
                f'--label: "{label}" must be KEY=VALUE of lower-case letters, digits, - and _, at most 63 each'
            )
        if label.startswith("kep_"):
            raise UserError(f'--label: "{label}" begins with kep_, as the labels that every run gets do; rename it')
    return dict(label.split("=", 1) for label in labels)


def options_of(job: "api.PipelineJob") -> Options:
    """What a job was submitted with: the opposite of `job_of`."""
    return Options(
        bucket=job.runtime_config.gcs_output_directory.rpartition("/runs/")[0],
        service_account=job.service_account,
        network=job.network,
        kms_key=job.encryption_spec.kms_key_name,
        labels={key: value for key, value in job.labels.items() if not key.startswith("kep_")},
        fail_fast=job.runtime_config.failure_policy.name == "PIPELINE_FAILURE_POLICY_FAIL_FAST",
    )


def parameters(template: Template, options: Options, source: str) -> dict[str, str]:
    """Arguments that the template does not know: the data's fingerprint, and where the champions are."""
    champion = json.loads(template.defaults["champion"])
    if not champion["folder"].startswith("gs://"):
        champion["folder"] = f"{options.bucket}/champions/{template.name}"
    return {"source": source, "champion": kfp_safe(json.dumps(champion))}


def job_id(template: Template, given: dict[str, str]) -> str:
    """Equal for equal pipelines, images, code, data and bucket: submitting twice makes one run."""
    content = json.dumps([template.digest, given], sort_keys=True)
    return f"kep-{template.name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def job_of(template: Template, options: Options, given: dict[str, str]) -> "api.PipelineJob":
    """What is sent to Vertex AI."""
    from google.cloud import aiplatform_v1 as api

    spec = template.spec if options.cache else uncached(template.spec)
    policy = api.PipelineFailurePolicy
    labels = {
        _OURS: template.name,
        "kep_template": template.digest[:16],
        "kep_code": template.defaults.get("code", ""),
        "kep_source": given["source"][:16],
        "kep_revision": re.sub(r"[^a-z0-9_-]", "-", (revision() or "").lower())[:63],
    }
    return api.PipelineJob(
        display_name=template.name,
        pipeline_spec=spec,
        labels=options.labels | {key: value for key, value in labels.items() if value},
        runtime_config=api.PipelineJob.RuntimeConfig(
            gcs_output_directory=f"{options.bucket}/runs/{template.name}",
            parameter_values=given,
            failure_policy=policy.PIPELINE_FAILURE_POLICY_FAIL_FAST
            if options.fail_fast
            else policy.PIPELINE_FAILURE_POLICY_FAIL_SLOW,
        ),
        service_account=options.service_account,
        network=options.network,
        encryption_spec=api.EncryptionSpec(kms_key_name=options.kms_key) if options.kms_key else None,
        template_uri=template.address,
    )


def uncached(spec: dict) -> dict:
    """A compiled pipeline whose steps are never answered from earlier runs."""
    spec = json.loads(json.dumps(spec))
    dags = [spec["root"], *(component for component in spec["components"].values() if "dag" in component)]
    for dag in dags:
        for task in dag["dag"]["tasks"].values():
            task.pop("cachingOptions", None)
    return spec


def check_reachable(vertex: Vertex, bucket: str) -> None:
    """Refuses a bucket that does not exist, which would fail a run in its first step.

    Raises:
        UserError: There is no such bucket, or Cloud Storage does not say so.
    """
    import requests
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, RetryError
    from google.cloud.storage import Client

    name = bucket.removeprefix("gs://").partition("/")[0]
    client = Client(vertex.project, vertex.credentials)
    try:
        next(iter(client.list_blobs(name, max_results=1, **STORAGE)), None)
    except NotFound as error:
        command = f"gcloud storage buckets create gs://{name} --location {vertex.region}"
        raise UserError(f'--bucket: there is no bucket "{name}"; run "{command}"') from error
    except Forbidden:
        # Whoever submits needs no right to the bucket; the service account does.
        return
    except (GoogleAPICallError, RetryError, requests.RequestException) as error:
        raise UserError(f'--bucket: Cloud Storage does not answer for "{name}"; try again later') from error


def look(template: Template) -> Inspection | None:
    """Reads the data before anything is submitted, as a local run does, so that a mistake in them costs no machine.

    Returns:
        What was seen; None of data that are large.

    Raises:
        UserError: The data can't be used.
    """
    if size(template.data) > MOST_SURVEYED:
        return None
    return survey(template.settings, Path())


def submit(vertex: Vertex, template: Template, options: Options, console: Console, again: bool = False) -> str:
    """Submits a run, or finds that it was submitted before.

    Args:
        vertex: Where.
        template: What.
        options: How.
        console: Where to say which.
        again: Submit it also when it is done or under way.

    Returns:
        Id of the job.

    Raises:
        UserError: Vertex AI refuses it.
    """
    check_reachable(vertex, options.bucket)
    look(template)
    given = parameters(template, options, fingerprint(template.data))
    first = job_id(template, given)
    for attempt in count(1):
        name = first if attempt == 1 else f"{first}-{attempt}"
        job, made = vertex.get(name), False
        if job is None:
            job, made = vertex.create(name, job_of(template, options, given))
        if made:
            _say(console, f"submitted {name}")
        elif again or _ending(job) in ("failed", "cancelled"):
            if not again:
                _say(console, f"note: {name} {_ended(job)}; submitting it again")
            continue
        elif _ending(job):
            _say(console, f"{name} was submitted before, and is done; nothing is submitted (--again does)")
        else:
            _say(console, f"{name} was submitted before, and is under way")
        _say(console, vertex.url(name))
        return name
    raise AssertionError  # count() has no end


def follow(vertex: Vertex, name: str, console: Console) -> int:
    """Shows the steps as they change until the run has ended.

    Returns:
        Exit status: 0 done, 1 failed, 3 cancelled, 130 left running after Ctrl-C.

    Raises:
        UserError: Vertex AI does not answer for long; the run goes on.
    """
    while True:
        seen: dict[int, str] = {}
        try:
            with View(console) as view:
                while True:
                    job = _get(vertex, name)
                    for event in events(job, seen):
                        view.show(event)
                    if _ending(job):
                        break
                    time.sleep(POLL)
            return _finish(job, view.failure, vertex, console)
        except KeyboardInterrupt:
            if not (sys.stdin.isatty() and typer.confirm(f"\ncancel {name}? Otherwise it goes on", default=False)):
                _say(console, f"{name} goes on; `kep status {name}` looks at it, `kep cancel {name}` ends it")
                return 130
            vertex.cancel(name)
            _say(console, f"cancelling {name}")


def status(vertex: Vertex, run: str, console: Console) -> int:
    """Shows a run's steps as they are now; returns the exit status that following it would end with, 0 before."""
    job = find(vertex, run)
    name = _id(job)
    view = View(console)
    for event in events(job, {}):
        view.take(event)
    _say(console, f"{name}: {_words(job)}")
    console.print(view.table())
    _say(console, vertex.url(name))
    return _finish(job, view.failure, vertex, console) if _ending(job) else 0


def cancel(vertex: Vertex, run: str, console: Console) -> None:
    """Cancels a run; says so where it has ended already."""
    job = find(vertex, run)
    name = _id(job)
    if _ending(job):
        _say(console, f"{name} has ended: {_words(job)}")
        return
    vertex.cancel(name)
    _say(console, f"cancelling {name}; `kep status {name}` says when it has ended")


def runs(vertex: Vertex, name: str | None, limit: int) -> Table:
    """The newest runs that were submitted from here, or those of one run file's name."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("run", "state", "created (UTC)", "took", "revision"):
        table.add_column(column, justify="right" if column == "took" else "left", no_wrap=True)
    for job in vertex.list(_condition(name), limit):
        created = job.create_time.strftime("%Y-%m-%d %H:%M")
        table.add_row(_id(job), _words(job), created, _took(job), job.labels.get("kep_revision", ""))
    return table


def find(vertex: Vertex, run: str) -> "api.PipelineJob":
    """A job by its id, or the newest of a run file's name.

    Raises:
        UserError: There is none.
    """
    job = None
    if re.fullmatch(r"[a-z0-9][-a-z0-9]{0,127}", run):
        job = vertex.get(run)
        if job is None and (newest := vertex.list(_condition(run), 1)):
            job = vertex.get(_id(newest[0]))
    if job is None:
        raise UserError(f"there is no run {run} in {vertex.region} of project {vertex.project}; `kep runs` lists them")
    return job


def events(job: "api.PipelineJob", seen: dict[int, str]) -> Iterator[dict]:
    """What has changed since an earlier look, as the events that a local run's steps write.

    Args:
        job: As it is now.
        seen: State of each task by its id at the last look; brought up to date.
    """
    numbers: dict[str, int] = {}
    for task in sorted(job.job_detail.task_details, key=lambda task: task.task_id):
        step = step_of(task.task_name)
        if step not in STEPS:  # a loop, or the pipeline in it
            continue
        numbers[step] = numbers.get(step, 0) + 1
        before, now = seen.get(task.task_id, "PENDING"), task.state.name
        if now == before or now in ("PENDING", "NOT_TRIGGERED", "STATE_UNSPECIFIED"):
            continue
        seen[task.task_id] = now
        begun = task.start_time.timestamp() if task.start_time else time.time()
        event = {"step": step, "label": str(numbers[step]) if numbers[step] > 1 else "", "time": begun}
        if now == "SKIPPED":
            yield event | {"kind": "reused"}
            continue
        if before == "PENDING":
            yield event | {"kind": "start"}
        ended = task.end_time.timestamp() if task.end_time else time.time()
        if now == "SUCCEEDED":
            yield event | {"kind": "done", "time": ended, "seconds": ended - begun}
        elif now in ("FAILED", "CANCELLED"):
            message = "cancelled" if now == "CANCELLED" else first_line(task.error.message) or "without a message"
            yield event | {"kind": "failed", "time": ended, "message": message}


def _finish(job: "api.PipelineJob", failure: dict | None, vertex: Vertex, console: Console) -> int:
    name, ending = _id(job), _ending(job)
    if ending == "done":
        _say(console, f"done in {_took(job)}, artifacts under {job.runtime_config.gcs_output_directory}")
        return 0
    if ending == "cancelled":
        _say(console, f"error: {name} was cancelled")
        return CANCELLED
    task = f"{failure['step']} {failure['label']}".strip() if failure else name
    message = failure["message"] if failure else first_line(job.error.message) or "without a message"
    _say(console, f"error: {task} failed: {message} (logs: {vertex.url(name)})")
    return 1


def _get(vertex: Vertex, name: str) -> "api.PipelineJob":
    job = vertex.get(name, FOLLOW)
    if job is None:
        raise UserError(f"{name} was deleted")
    return job


def _id(job: "api.PipelineJob") -> str:
    return job.name.rpartition("/")[2]


def _took(job: "api.PipelineJob") -> str:
    return f"{(job.end_time - job.create_time).total_seconds() / 60:.0f} min" if job.end_time else ""


def _words(job: "api.PipelineJob") -> str:
    return job.state.name.removeprefix("PIPELINE_STATE_").lower()


def _ending(job: "api.PipelineJob") -> str:
    """How the run has ended; empty when it has not."""
    return {"succeeded": "done", "failed": "failed", "cancelled": "cancelled"}.get(_words(job), "")


def _ended(job: "api.PipelineJob") -> str:
    return "failed" if _ending(job) == "failed" else "was cancelled"


def _condition(name: str | None) -> str:
    return f"labels.{_OURS}:*" if name is None else f'labels.{_OURS}="{name}"'


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
