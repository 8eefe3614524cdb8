"""Checks of what a run needs from this machine, Google Cloud or Kubeflow; each finding says what to do."""

import json
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from packaging.requirements import Requirement
from rich.table import Table
from rich.text import Text

from kep.config.data import DataSettings
from kep.config.run_file import RunFile, load
from kep.core.errors import UserError
from kep.core.location import Location
from kep.engines.base import Options
from kep.engines.costs import tasks
from kep.engines.preflight import devices, guess, survey
from kep.google import rights
from kep.pipelines.images import locked
from kep.pipelines.machines import Target
from kep.pipelines.sizes import workflow

if TYPE_CHECKING:
    from kep.engines.vertex.engine import VertexEngine

PACKAGE = "keras-ensemble-pipelines"
LEAST_DISK, LEAST_MEMORY = 5e9, 3e9
"""Bytes that the demo needs with some to spare."""
LONGEST_TASK, LARGEST_TEMPLATE = 7 * 24 * 3600, 1_000_000
"""Limits of Vertex AI Pipelines: seconds of a task, and bytes of a template that is surely taken. Those that a pipeline
is refused for are in pipelines/sizes.py."""
STEPS_ON_PROJECT = ("roles/aiplatform.user",)
STEPS_ON_BUCKET = ("roles/storage.objectUser",)
STEPS_ON_ITSELF = ("roles/iam.serviceAccountUser",)
"""Roles of the account that steps run as, the last for custom jobs alone.

docs/explanation/trust-and-security.md says why.
"""
_MORE = {
    "roles/storage.objectUser": ("roles/storage.objectAdmin", "roles/storage.admin"),
    "roles/aiplatform.user": ("roles/aiplatform.admin",),
}
_TIMEOUT = 30
"""Seconds for one answer."""


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        status: PASS, WARN (a run may still succeed), FAIL, or SKIP (it could not be checked).
        what: Thing that was checked.
        detail: What was found.
        fix: What to do; empty where there is nothing to do.
    """

    status: str
    what: str
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Cloud:
    """Destination of a run on Google Cloud.

    Attributes:
        vertex: Vertex AI in a region of a project.
        bucket: gs:// path; empty when it was not given.
        account: Service account of the steps; empty when it was not given.
        images: The lock of the images.
    """

    vertex: "VertexEngine"
    bucket: str
    account: str
    images: Path


@dataclass(frozen=True)
class Cluster:
    """A Kubeflow Pipelines server that a run would be submitted to.

    Attributes:
        host: Its address.
        namespace: The user's; empty on a server that has one for all.
        images: The lock of the images.
    """

    host: str
    namespace: str
    images: Path


def examine(file: Path | None, overrides: list[str] | None, place: Cloud | Cluster | None) -> Iterator[Finding]:
    """Looks at everything, one finding after the other; nothing is changed.

    Args:
        file: A run file; what depends on one is left out without it.
        overrides: As of `load`.
        place: Where the run would be submitted; None for one on this machine.
    """
    yield from _machine()
    yield from _packages()
    settings = None
    if file is not None:
        settings, found = _tried("run file", lambda: load(file, overrides))
        yield found or Finding("PASS", "run file", f"{file}: {settings.name}")
    if place is None:
        yield from _engine()
        if settings is not None and file is not None:
            yield from _here(settings, file.parent)
        return
    yield from _images(place)
    if settings is not None and file is not None:
        yield from _template(settings, file, overrides, place)
        yield from _accelerators(settings)
    machines = settings.hardware.machines.values() if settings is not None else ()
    if isinstance(place, Cluster):
        yield from _cluster(place, any(machine.accelerator for machine in machines))
    else:
        data = None if settings is None else settings.data
        yield from _online(place, any(machine.for_job for machine in machines), data)


def table(findings: list[Finding]) -> Table:
    """The findings, for people."""
    colours = {"PASS": "green", "WARN": "yellow", "FAIL": "red", "SKIP": "dim"}
    shown = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    shown.add_column(no_wrap=True)
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for one in findings:
        text = one.detail + (f"\n→ {one.fix}" if one.fix else "")
        shown.add_row(Text(one.status, style=colours[one.status]), one.what, text)
    return shown


def _tried(what: str, look: Callable[[], Any]) -> tuple[Any, Finding | None]:
    """Return the result of `look`, or its error as a finding."""
    try:
        return look(), None
    except UserError as error:
        return None, Finding("FAIL", what, str(error))


def _machine() -> Iterator[Finding]:
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(".")
    for what, free, least, fix in (
        ("memory", memory.available, LEAST_MEMORY, "end other programs, or search with search.workers: 1"),
        ("disk", disk.free, LEAST_DISK, "remove old runs with their artifacts (runs/NAME)"),
    ):
        enough = free >= least
        yield Finding("PASS" if enough else "WARN", what, f"{free / 1e9:.1f} GB free", "" if enough else fix)


def _packages() -> Iterator[Finding]:
    wanted = [Requirement(text) for text in requires(PACKAGE) or []]
    there, wrong = [f"Python {platform.python_version()}"], []
    for one in wanted:
        if one.marker is not None and not one.marker.evaluate({"extra": "cpu"}):
            continue
        try:
            found = version(one.name)
        except PackageNotFoundError:
            # The image for GPUs brings the same TensorFlow under another name.
            if one.name == "tensorflow-cpu" and _installed("tensorflow"):
                continue
            wrong.append(f"{one.name} is missing")
            continue
        if not one.specifier.contains(found, prereleases=True):
            wrong.append(f"{one.name} is {found}, not {one.specifier}")
        elif one.name in ("tensorflow-cpu", "keras-tuner", "kfp", "google-cloud-aiplatform"):
            there.append(f"{one.name} {found}")
    if wrong:
        yield Finding("FAIL", "packages", "; ".join(wrong), "make setup")
    else:
        yield Finding("PASS", "packages", ", ".join(there))


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _engine() -> Iterator[Finding]:
    try:
        import docker

        answered = docker.from_env(timeout=_TIMEOUT).version()["Version"]
        yield Finding("PASS", "container engine", f"Docker {answered}, for --runner docker")
    except Exception:  # of a package that is not installed, or of the many ways not to reach an engine
        yield Finding("SKIP", "container engine", "none answers; only --runner docker needs one")


def _here(settings: RunFile, base: Path) -> Iterator[Finding]:
    told, found = _tried("devices", lambda: devices(settings))
    if found:
        yield found
    else:
        yield Finding("PASS", "devices", "; ".join(f"{step}: {words}" for step, words in told.items()))
    seen, found = _tried("data", lambda: survey(settings, base))
    yield found or Finding("PASS", "data", f"{seen.rows:,} rows, {seen.label} ({seen.task})")


def _images(place: Cloud | Cluster) -> Iterator[Finding]:
    images, found = _tried("images", lambda: locked(place.images))
    yield found or Finding("PASS", "images", f"{', '.join(images)} by digest in {place.images}")


def _template(settings: RunFile, file: Path, overrides: list[str] | None, place: Cloud | Cluster) -> Iterator[Finding]:
    from kep.engines.submit import look
    from kep.engines.template import of_run_file

    target: Target = "kubeflow" if isinstance(place, Cluster) else "vertex"
    template, found = _tried("template", lambda: of_run_file(file, overrides, locked(place.images), target))
    if found:
        yield found
        return
    bytes_, count = len(json.dumps(template.spec)), sum(tasks(settings).values())
    detail = f"{bytes_ / 1e3:.0f} kB, at most {count} tasks"
    if target == "kubeflow":
        size = workflow(template.spec, template.platform)
        yield Finding("PASS", "template", f"{detail}, a workflow of {size / 1e3:.0f} kB")
    elif bytes_ > LARGEST_TEMPLATE:
        yield Finding("WARN", "template", detail, "shorten the own families' source, which travels in it")
    else:
        yield Finding("PASS", "template", detail)
    seen, found = _tried("data", lambda: look(template))
    if found:
        yield found
    elif seen is None:
        yield Finding("PASS", "data", "large, in BigQuery or on a volume, so they were not read")
    else:
        yield Finding("PASS", "data", f"{seen.rows:,} rows, {seen.label} ({seen.task})")
        seconds = max(guess(settings, seen).values())
        if seconds > LONGEST_TASK and target == "vertex":
            fix = "search in rounds (search.rounds), whose trials are tasks of their own"
            yield Finding("WARN", "time", f"about {seconds / 86400:.0f} days; a task may take 7", fix)


def _accelerators(settings: RunFile) -> Iterator[Finding]:
    """Check that the image for TPUs trains on the requested ones, and that machines have what a strategy needs."""
    machines = settings.hardware.machines
    asked = [step for step, machine in machines.items() if any(place.on_tpu for place in machine.places)]
    if asked:
        pair = [one for one in map(Requirement, requires(PACKAGE) or []) if one.name in ("libtpu", "tensorflow-tpu")]
        words = " and ".join(f"{one.name} {str(one.specifier).removeprefix('==')}" for one in pair)
        yield Finding("PASS", "TPU", f"{', '.join(asked)}: the image tpu has {words}, for TPUs up to v5e")
    for step in ("best_epoch", "retrain"):
        if getattr(settings.hardware, step).strategy == "tpu" and step not in asked:
            fix = f"hardware.{step}.machine: {{accelerator: tpu-v5-lite-podslice, topology: 2x4}}"
            yield Finding("WARN", "TPU", f"hardware.{step}.strategy is tpu, and its machine has none", fix)
        where = getattr(settings.hardware, step)
        bare = step not in machines or all(place.accelerator is None for place in machines[step].places)
        if where.strategy == "mirrored" and where.device != "cpu" and bare:
            fix = f"hardware.{step}.machine: {{accelerator: nvidia-l4, accelerators: {where.devices or 2}}}"
            yield Finding("WARN", "GPU", f"hardware.{step}.strategy is mirrored, and its machine has no GPUs", fix)


def _online(cloud: Cloud, jobs: bool, data: DataSettings | None) -> Iterator[Finding]:
    """Check what only Google Cloud knows; skip all of it without a login.

    Args:
        cloud: Where.
        jobs: Whether a step submits custom jobs.
        data: Data of the run; None without a run file.
    """
    vertex = cloud.vertex
    _, found = _tried("login", lambda: vertex.credentials)
    if found:
        yield found
        for what in ("Vertex AI", "bucket", "service account", "images in the registry"):
            yield Finding("SKIP", what, "there is no login to look with")
        return
    yield Finding("PASS", "login", getattr(vertex.credentials, "service_account_email", "") or "of a user")
    _, found = _tried("Vertex AI", lambda: vertex.newest(None, 1))
    yield found or Finding("PASS", "Vertex AI", f"answers in {vertex.region} for project {vertex.project}")
    for right in rights.of_submitter(vertex.project, data, cloud.account, vertex.credentials):
        yield _of_login(right, rights.member(vertex.credentials))
    yield from _bucket(cloud)
    yield from _account(cloud, jobs)
    yield from _registry(cloud)
    yield Finding(
        "SKIP",
        "quotas",
        "not looked at; a run that finds one used up says which",
        f'"gcloud alpha services quota list --service aiplatform.googleapis.com --consumer projects/{vertex.project}"',
    )


def _cluster(cluster: Cluster, accelerators: bool) -> Iterator[Finding]:
    """Check what only the server knows.

    Args:
        cluster: Where.
        accelerators: Whether a step asks for GPUs or TPUs.
    """
    from kep.engines.kubeflow.engine import Kubeflow

    server, found = _tried("Kubeflow Pipelines", lambda: Kubeflow(cluster.host, cluster.namespace))
    if found:
        yield found
        return
    note, found = _tried("Kubeflow Pipelines", lambda: server.ready(Options()))
    if note:
        found = Finding("WARN", "Kubeflow Pipelines", note, "ask whoever installed it")
    yield found or Finding("PASS", "Kubeflow Pipelines", f"{server.version} answers at {cluster.host}")
    runs, found = _tried("runs", lambda: server.newest(None, 1))
    yield found or Finding("PASS", "runs", f"may be looked at; the newest is {runs[0].name if runs else 'none yet'}")
    detail = "not looked at: as installed, Argo starts a task again whose node was lost, not one that was killed"
    yield Finding("SKIP", "retries", detail, "docs/explanation/where-it-runs.md says what changes that")
    yield Finding("SKIP", "images in the registry", "not looked at: the nodes pull them with a login of their own")
    if accelerators:
        fix = '"kubectl get nodes --show-labels" says what they have'
        yield Finding("SKIP", "nodes", "not looked at: Kubeflow Pipelines does not tell of accelerators", fix)


def _bucket(cloud: Cloud) -> Iterator[Finding]:
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, RetryError
    from google.cloud.storage import Client
    from requests import RequestException

    if not cloud.bucket:
        yield Finding("SKIP", "bucket", "none was named", "name it with --bucket or KEP_BUCKET")
        return
    vertex, name = cloud.vertex, Location(cloud.bucket).bucket
    client = Client(vertex.project, vertex.credentials)
    try:
        bucket = client.get_bucket(name, timeout=_TIMEOUT)
    except NotFound:
        command = f"gcloud storage buckets create gs://{name} --location {vertex.region}"
        yield Finding("FAIL", "bucket", f"there is no bucket {name}", f'"{command}"')
        return
    except Forbidden:
        detail = f"this login may not look at {name}; the steps' account must be able to"
        fix = _commands(_on_bucket(name), STEPS_ON_BUCKET, cloud.account) if cloud.account else ""
        yield Finding("SKIP", "bucket", detail, fix)
        return
    except (GoogleAPICallError, RetryError, RequestException) as error:
        yield Finding("FAIL", "bucket", f"Cloud Storage does not answer for {name} ({type(error).__name__})")
        return
    place = (bucket.location or "").lower()
    if place == vertex.region:
        yield Finding("PASS", "bucket", f"{name} in {place}")
    else:
        fix = f"a bucket in {vertex.region} is nearer, and its traffic is free"
        yield Finding("WARN", "bucket", f"{name} is in {place or 'an unknown place'}, the run in {vertex.region}", fix)
    if cloud.account:
        try:
            roles = _roles(bucket.get_iam_policy(timeout=_TIMEOUT).bindings, cloud.account)
        except (GoogleAPICallError, RetryError, RequestException):
            fix = _commands(_on_bucket(name), STEPS_ON_BUCKET, cloud.account)
            yield Finding("SKIP", "roles on the bucket", "this login may not look at them", fix)
            return
        yield _granted("roles on the bucket", roles, STEPS_ON_BUCKET, _on_bucket(name), cloud.account)


def _on_bucket(name: str) -> str:
    return f"gcloud storage buckets add-iam-policy-binding gs://{name}"


def _commands(add: str, roles: tuple[str, ...], account: str) -> str:
    """Return the commands that grant an account its roles."""
    return " and ".join(f'"{add} --member=serviceAccount:{account} --role={role}"' for role in roles)


def _of_login(right: rights.Right, member: str) -> Finding:
    """Check that this login may submit."""
    what = f"this login, {right.what}"
    if right.missing is None:
        return Finding("SKIP", what, right.reason, f'"{right.command(member)}" grants what submitting needs')
    if right.missing:
        return Finding("FAIL", what, f"lacks {', '.join(right.missing)}", f'"{right.command(member)}"')
    return Finding("PASS", what, f"may do what {right.role} is for")


def _account(cloud: Cloud, jobs: bool) -> Iterator[Finding]:
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.resourcemanager_v3 import ProjectsClient
    from requests import RequestException

    vertex = cloud.vertex
    if not cloud.account:
        detail = "none was named: steps run as Compute Engine's default one, which often may do everything"
        yield Finding("WARN", "service account", detail, "name one of its own with --service-account")
        return
    client = ProjectsClient(credentials=vertex.credentials, transport="rest")
    add = f"gcloud projects add-iam-policy-binding {vertex.project}"
    try:
        policy = client.get_iam_policy(resource=f"projects/{vertex.project}", timeout=_TIMEOUT, retry=None)
    except (GoogleAPICallError, GoogleAuthError, RetryError, RequestException):
        fix = _commands(add, STEPS_ON_PROJECT, cloud.account)
        yield Finding("SKIP", "roles on the project", "this login may not look at them", fix)
        roles = set()
    else:
        roles = _roles([{"role": one.role, "members": set(one.members)} for one in policy.bindings], cloud.account)
        yield _granted("roles on the project", roles, STEPS_ON_PROJECT, add, cloud.account)
    if jobs:
        yield _on_itself(cloud, roles)


def _on_itself(cloud: Cloud, on_project: set[str]) -> Finding:
    """Check that the steps' account may submit custom jobs that run as that account."""
    import requests

    what, why = "roles on itself", f"custom jobs need {', '.join(STEPS_ON_ITSELF)} there"
    add = f"gcloud iam service-accounts add-iam-policy-binding {cloud.account}"
    fix = _commands(add, STEPS_ON_ITSELF, cloud.account)
    try:
        answer = requests.post(
            f"https://iam.googleapis.com/v1/projects/-/serviceAccounts/{cloud.account}:getIamPolicy",
            headers={"Authorization": f"Bearer {cloud.vertex.credentials.token}"},
            timeout=_TIMEOUT,
        )
    except requests.RequestException as error:
        return Finding("SKIP", what, f"IAM does not answer ({type(error).__name__}); {why}", fix)
    if answer.status_code != 200:
        return Finding("SKIP", what, f"this login may not look at them; {why}", fix)
    roles = on_project | _roles(answer.json().get("bindings", []), cloud.account)
    return _granted(what, roles, STEPS_ON_ITSELF, add, cloud.account)


def _roles(bindings: list[dict[str, Any]], account: str) -> set[str]:
    member = f"serviceAccount:{account}"
    return {binding["role"] for binding in bindings if member in binding["members"]}


def _granted(what: str, roles: set[str], wanted: tuple[str, ...], add: str, account: str) -> Finding:
    """Check that an account has the roles it needs, and name broader ones."""
    broad = sorted(roles & {"roles/owner", "roles/editor"})
    missing = [role for role in wanted if not roles & {role, *_MORE.get(role, ()), *broad}]
    if missing:
        return Finding("FAIL", what, f"{account} lacks {', '.join(missing)}", _commands(add, tuple(missing), account))
    if broad:
        return Finding("WARN", what, f"{account} has {', '.join(broad)}", f"{', '.join(wanted)} would do")
    return Finding("PASS", what, f"{account} has {', '.join(sorted(roles & {*wanted, *sum(_MORE.values(), ())}))}")


def _registry(cloud: Cloud) -> Iterator[Finding]:
    """Check that the registry has each image of the lock, by its HTTP API."""
    import requests

    images, found = _tried("images", lambda: locked(cloud.images))
    if found:
        yield Finding("SKIP", "images in the registry", "there is no lock that names them")
        return
    for name, image in images.items():
        where, _, digest = image.partition("@")
        host, _, repository = where.partition("/")
        what = f"image {name}"
        try:
            answer = requests.get(
                f"https://{host}/v2/{repository}/manifests/{digest}",
                headers={"Authorization": f"Bearer {cloud.vertex.credentials.token}", "Accept": "*/*"},
                timeout=_TIMEOUT,
            )
        except requests.RequestException as error:
            yield Finding("SKIP", what, f"the registry does not answer ({type(error).__name__})")
            continue
        if answer.status_code == 200:
            yield Finding("PASS", what, f"{digest[:19]}… is there")
        elif answer.status_code in (401, 403):
            yield Finding("SKIP", what, "this login may not look at it; Vertex AI's service agent must be able to")
        else:
            fix = "build and push the images again (cloudbuild.yaml, containers/push.sh)"
            yield Finding("FAIL", what, f"the registry has no {digest[:19]}… ({answer.status_code})", fix)
