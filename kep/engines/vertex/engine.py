"""Vertex AI Pipelines as an engine."""

import os

from google.api_core import exceptions

from kep.core.environment import PAYER
from kep.core.errors import UserError, first_line
from kep.core.location import Location
from kep.engines.base import Options, Run
from kep.engines.template import Template
from kep.engines.vertex.jobs import job_of, run_of
from kep.google.labels import NAME
from kep.google.once import once
from kep.google.pages import run_page
from kep.google.retries import STORAGE
from kep.google.vertex import CHANGE, CREATE, FOLLOW, LOOK, Vertex, unsure


class VertexEngine(Vertex):
    """Runs pipelines in one region of one project."""

    def ready(self, options: Options) -> str:
        """Refuses a bucket that does not exist, which would fail a run in its first step, and such a TensorBoard.

        Returns:
            Nothing: what Google does not tell whoever submits, the service account may know.

        Raises:
            UserError: There is no such bucket or TensorBoard instance, or Google does not say so.
        """
        if options.tensorboard:
            self._look_at_tensorboard(options.tensorboard)
        import requests
        from google.cloud.storage import Client

        name = Location(options.bucket).bucket
        client = Client(self.project, self.credentials)
        bucket = client.bucket(name, user_project=os.environ.get(PAYER) or None)
        try:
            next(iter(client.list_blobs(bucket, max_results=1, **STORAGE)), None)
        except exceptions.NotFound as error:
            command = f"gcloud storage buckets create gs://{name} --location {self.region}"
            raise UserError(f'--bucket: there is no bucket "{name}"; run "{command}"') from error
        except exceptions.Forbidden:
            # Whoever submits needs no right to the bucket; the service account does.
            return ""
        except exceptions.ClientError as error:
            if error.code in (408, 409, 429):
                raise UserError(f'--bucket: Cloud Storage does not answer for "{name}"; try again later') from error
            raise UserError(f'--bucket: Cloud Storage refuses "{name}": {first_line(error.message)}') from error
        except (exceptions.GoogleAPICallError, exceptions.RetryError, requests.RequestException) as error:
            raise UserError(f'--bucket: Cloud Storage does not answer for "{name}"; try again later') from error
        return ""

    def _look_at_tensorboard(self, instance: str) -> None:
        with self.explained():
            try:
                self.tensorboards.get_tensorboard(name=instance, **LOOK)
            except exceptions.NotFound as error:
                command = f"gcloud ai tensorboards create --display-name NAME --region {self.region}"
                raise UserError(f'--tensorboard: there is no {instance}; "{command}" makes one') from error

    def get(self, name: str, patient: bool = False) -> Run | None:
        """The run; None when there is none. A patient look outlasts an outage of minutes."""
        with self.explained():
            try:
                job = self.pipelines.get_pipeline_job(name=self._name(name), **(FOLLOW if patient else LOOK))
            except exceptions.NotFound:
                return None
        return run_of(job, self._url(name))

    def create(self, name: str, template: Template, options: Options, given: dict[str, str]) -> tuple[Run, bool]:
        """Makes the run, once, however often the answer is lost on its way.

        Returns:
            The run, and whether this call has made it: False when somebody else had.
        """
        job = job_of(template, options, given, self.project)

        def send() -> tuple[Run, bool]:
            try:
                made = self.pipelines.create_pipeline_job(
                    parent=self.parent, pipeline_job=job, pipeline_job_id=name, **CREATE
                )
            except exceptions.AlreadyExists:
                found = self.get(name)
                if found is None:  # deleted in between
                    raise
                return found, False
            return run_of(made, self._url(name)), True

        def find() -> tuple[Run, bool] | None:
            found = self.get(name)
            return None if found is None else (found, True)

        with self.explained(options.service_account):
            return once(send, find, CHANGE["retry"], unsure)

    def newest(self, of: str | None, limit: int) -> list[Run]:
        """The newest runs that were made here, or those of one run file's name."""
        from itertools import islice

        condition = f"labels.{NAME}:*" if of is None else f'labels.{NAME}="{of}"'
        request = {"parent": self.parent, "filter": condition, "order_by": "create_time desc", "page_size": limit}
        with self.explained():
            found = list(islice(self.pipelines.list_pipeline_jobs(request=request, **LOOK), limit))
        return [run_of(job, self._url(job.name.rpartition("/")[2])) for job in found]

    def cancel(self, run: Run) -> None:
        """Asks for the run to be cancelled; one that has ended stays as it is."""
        with self.explained():
            try:
                self.pipelines.cancel_pipeline_job(name=self._name(run.id), **CHANGE)
            except exceptions.FailedPrecondition:
                return

    def _url(self, name: str) -> str:
        return run_page(self.project, self.region, name)
