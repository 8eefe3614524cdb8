"""Permissions of this login, by testIamPermissions, which anybody may call."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from kep.config.data import DataSettings

TIMEOUT = 30
"""Seconds for one answer."""
_SUBMITS = tuple(f"aiplatform.{name}" for name in ("pipelineJobs.create", "pipelineJobs.get", "pipelineJobs.list"))
_READS = ("storage.objects.get", "storage.objects.list")
_QUERIES = ("bigquery.jobs.create",)
_ACTS = ("iam.serviceAccounts.actAs",)


class NotAnsweredError(Exception):
    """The question has no answer: why, in some words."""


@dataclass(frozen=True)
class Right:
    """A role that whoever submits needs.

    Attributes:
        what: It is about.
        role: Role that gives it.
        add: The command that grants roles there, without member and role.
        missing: Permissions of it that the login lacks; None where nobody said.
        reason: Why nobody said.
    """

    what: str
    role: str
    add: str
    missing: tuple[str, ...] | None
    reason: str = ""

    def command(self, member: str) -> str:
        """Return the command that grants the role."""
        return f"{self.add} --member={member} --role={self.role}"


def member(credentials: Any) -> str:
    """This login as a member of a policy; a person's name is known to gcloud alone."""
    email = getattr(credentials, "service_account_email", "")
    return f"serviceAccount:{email}" if email else "user:$(gcloud config get-value account)"


def of_submitter(project: str, data: DataSettings | None, account: str, credentials: Any) -> list[Right]:
    """Ask for what submitting a run needs.

    Args:
        project: Project of the run.
        data: Data that are looked at before the run is submitted; None for none.
        account: Account that the steps run as; empty for none that was named.
        credentials: The login.
    """
    add, ask = f"gcloud projects add-iam-policy-binding {project}", partial(_on_project, project, credentials)
    places = [_right("project", "roles/aiplatform.user", add, _SUBMITS, ask)]
    if data is not None and any(place.scheme == "bq" for place in data.locations.values()):
        places.append(_right("BigQuery", "roles/bigquery.jobUser", add, _QUERIES, ask))
    for bucket in data.buckets if data is not None else []:
        add = f"gcloud storage buckets add-iam-policy-binding gs://{bucket}"
        ask = partial(_on_bucket, project, bucket, credentials)
        places.append(_right(f"bucket {bucket}", "roles/storage.objectViewer", add, _READS, ask))
    if account:
        add = f"gcloud iam service-accounts add-iam-policy-binding {account}"
        ask = partial(_on_account, account, credentials)
        places.append(_right("service account", "roles/iam.serviceAccountUser", add, _ACTS, ask))
    return places


def _right(what: str, role: str, add: str, wanted: tuple[str, ...], ask: Callable[[list[str]], set[str]]) -> Right:
    try:
        held = ask(list(wanted))
    except NotAnsweredError as error:
        return Right(what, role, add, None, str(error))
    return Right(what, role, add, tuple(one for one in wanted if one not in held))


def _on_project(project: str, credentials: Any, wanted: list[str]) -> set[str]:
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.resourcemanager_v3 import ProjectsClient
    from requests import RequestException

    client = ProjectsClient(credentials=credentials, transport="rest")
    try:
        answer = client.test_iam_permissions(
            resource=f"projects/{project}", permissions=wanted, timeout=TIMEOUT, retry=None
        )
    except (GoogleAPICallError, GoogleAuthError, RetryError, RequestException) as error:
        raise NotAnsweredError(f"Resource Manager does not say ({type(error).__name__})") from error
    return set(answer.permissions)


def _on_bucket(project: str, bucket: str, credentials: Any, wanted: list[str]) -> set[str]:
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage import Client
    from requests import RequestException

    try:
        place = Client(project, credentials).bucket(bucket)
        return set(place.test_iam_permissions(wanted, timeout=TIMEOUT, retry=None))
    except (GoogleAPICallError, GoogleAuthError, RetryError, RequestException) as error:
        raise NotAnsweredError(f"Cloud Storage does not say ({type(error).__name__})") from error


def _on_account(account: str, credentials: Any, wanted: list[str]) -> set[str]:
    import requests

    try:
        answer = requests.post(
            f"https://iam.googleapis.com/v1/projects/-/serviceAccounts/{account}:testIamPermissions",
            json={"permissions": wanted},
            headers={"Authorization": f"Bearer {credentials.token}"},
            timeout=TIMEOUT,
        )
    except requests.RequestException as error:
        raise NotAnsweredError(f"IAM does not say ({type(error).__name__})") from error
    if answer.status_code != 200:
        raise NotAnsweredError(f"IAM does not say ({answer.status_code})")
    return set(answer.json().get("permissions", []))
