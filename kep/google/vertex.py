"""Vertex AI's pipeline jobs and schedules: asked for safely, and what goes wrong as one sentence.

Google's clients of the service itself are used, not the `PipelineJob` above them. That class creates a misspelt bucket,
prints a stack trace where it may not look at a project, and repeats no call whose answer was lost.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from google.api_core import exceptions
from google.api_core.future.polling import DEFAULT_POLLING
from google.api_core.retry import Retry, if_exception_type

from kep.core.errors import UserError, first_line, nearest
from kep.google.machine_types import REGIONS
from kep.google.retries import AGAIN, UNSURE, Call, SingleCall

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as api

LOGIN = 'run "gcloud auth application-default login"'

_READ = Retry(predicate=AGAIN, initial=1, maximum=30)
CREATE: SingleCall = {"retry": None, "timeout": 60}
"""For a call that `once` repeats where that is safe."""
_AGAIN = Retry(predicate=if_exception_type(*UNSURE), initial=1, maximum=30, timeout=120)
CHANGE: Call = {"retry": _AGAIN, "timeout": 60}
"""For a call that may be done twice."""
LOOK: Call = {"retry": _READ.with_timeout(120), "timeout": 60}
"""For a call that only reads."""
FOLLOW: Call = {"retry": _READ.with_timeout(1800), "timeout": 60}
"""For a look at a run that lasts hours, which an outage of minutes does not end."""
ENDED: dict[str, Any] = {"retry": _READ.with_timeout(120), "polling": DEFAULT_POLLING.with_timeout(3600)}
"""For waiting for what a call has begun: a machine that starts takes minutes."""


class Vertex:
    """Vertex AI in one region of one project.

    Attributes:
        project: Its id or number.
        region: Such as europe-west4.
        parent: Resource name of the two.
        where: The two, for messages.

    Raises:
        UserError: `project` or `region` can't be any.
    """

    def __init__(self, project: str, region: str):
        if not re.fullmatch(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|\d+", project):
            raise UserError(f'--project: "{project}" is no id of a project; "gcloud projects list" shows them')
        if region not in REGIONS:
            raise UserError(f'--region: Vertex AI is not in "{region}"{nearest(region, REGIONS)}')
        self.project, self.region = project, region
        self.parent = f"projects/{project}/locations/{region}"
        self.where = f"{region} of project {project}"

    def job(self, name: str) -> "api.PipelineJob":
        """A run that is there, as the service has it."""
        with self.explained():
            return self.pipelines.get_pipeline_job(name=self._name(name), **LOOK)

    @contextmanager
    def explained(self, account: str = "") -> Iterator[None]:
        """Turns what Google answers into one sentence, and says so when it is silent for long.

        Args:
            account: Service account that the steps are to run as.

        Raises:
            UserError: Instead of every error of Google's clients.
        """
        from kep.core.waiting import waiting_for  # a task that starts a job loads little

        try:
            with waiting_for(f"Vertex AI in {self.region}"):
                yield
        except exceptions.RetryError as error:
            raise UserError(self._sentence(error.cause, account)) from error
        except exceptions.GoogleAPICallError as error:
            raise UserError(self._sentence(error, account)) from error
        except TimeoutError as error:  # of an operation
            late = "has not ended within an hour; the same command looks at it again"
            raise UserError(f"what Vertex AI in {self.region} has begun {late}") from error

    def _sentence(self, error: Exception | None, account: str) -> str:
        said = first_line(getattr(error, "message", None) or str(error))
        if getattr(error, "reason", None) == "SERVICE_DISABLED" or "it is disabled" in said:
            command = f"gcloud services enable aiplatform.googleapis.com --project {self.project}"
            return f'the Vertex AI API is disabled in project {self.project}; run "{command}"'
        if isinstance(error, exceptions.Unauthenticated):
            return f"the Google Cloud login is not accepted ({said}); {LOGIN}"
        if isinstance(error, exceptions.Forbidden):
            if "actAs" in said:
                whom = account or "the default service account of Compute Engine"
                return f"this login may not run steps as {whom}; grant it roles/iam.serviceAccountUser there"
            return f"this login may not do that in project {self.project}; grant it roles/aiplatform.user ({said})"
        if isinstance(error, exceptions.ResourceExhausted):
            return f"a quota of Vertex AI in {self.region} is used up: {said}; wait for other runs, or ask for more"
        if isinstance(error, (*UNSURE, exceptions.Aborted)):
            return f"Vertex AI in {self.region} does not answer ({said}); try the same command again later"
        return f"Vertex AI refuses it: {said}"

    def _name(self, job_id: str) -> str:
        return f"{self.parent}/pipelineJobs/{job_id}"

    @cached_property
    def credentials(self) -> Any:
        """The login of this machine, looked at before anything is asked for with it."""
        return login()

    @cached_property
    def options(self) -> dict[str, Any]:
        """Options of every client of this region."""
        endpoint = f"{self.region}-aiplatform.googleapis.com"
        return {"credentials": self.credentials, "client_options": {"api_endpoint": endpoint}}

    @cached_property
    def pipelines(self) -> "api.PipelineServiceClient":
        """The client of runs."""
        from google.cloud.aiplatform_v1 import PipelineServiceClient

        return PipelineServiceClient(**self.options)

    @cached_property
    def jobs(self) -> "api.JobServiceClient":
        """The client of custom jobs and batch prediction jobs."""
        from google.cloud.aiplatform_v1 import JobServiceClient

        return JobServiceClient(**self.options)

    @cached_property
    def schedules(self) -> "api.ScheduleServiceClient":
        """The client of schedules."""
        from google.cloud.aiplatform_v1 import ScheduleServiceClient

        return ScheduleServiceClient(**self.options)

    @cached_property
    def metadata(self) -> "api.MetadataServiceClient":
        """The client of Vertex ML Metadata, where lineage is."""
        from google.cloud.aiplatform_v1 import MetadataServiceClient

        return MetadataServiceClient(**self.options)

    @cached_property
    def models(self) -> "api.ModelServiceClient":
        """The client of the Model Registry."""
        from google.cloud.aiplatform_v1 import ModelServiceClient

        return ModelServiceClient(**self.options)

    @cached_property
    def endpoints(self) -> "api.EndpointServiceClient":
        """The client of endpoints."""
        from google.cloud.aiplatform_v1 import EndpointServiceClient

        return EndpointServiceClient(**self.options)

    @cached_property
    def tensorboards(self) -> "api.TensorboardServiceClient":
        """The client of TensorBoard instances."""
        from google.cloud.aiplatform_v1 import TensorboardServiceClient

        return TensorboardServiceClient(**self.options)


def login() -> Any:
    """The Application Default Credentials of this machine, tried out before anything is asked for with them.

    Raises:
        UserError: There are none, or they are no longer accepted.
    """
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
    from google.auth.transport.requests import Request

    try:
        found, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        found.refresh(Request())
    except DefaultCredentialsError as error:
        raise UserError(f"there is no usable Google Cloud login on this machine; {LOGIN}") from error
    except TransportError as error:
        raise UserError("Google's login does not answer; check the network and try again") from error
    except GoogleAuthError as error:
        raise UserError(f"the Google Cloud login is no longer accepted; {LOGIN}") from error
    return found


def moment(time: object) -> datetime | None:
    """Return a time of a message as Google's client gives it: a datetime, where its annotation names a message."""
    return cast("datetime | None", time)


def unsure(error: Exception) -> bool:
    """Return whether after an error nobody knows if the call was done."""
    return isinstance(error, UNSURE)
