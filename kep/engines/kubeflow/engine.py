"""Kubeflow Pipelines: runs, asked for safely, and what goes wrong as one sentence.

Names of runs are not unique there: a run is looked for by its name before it is made, and again after an answer that
was lost. `kfp.Client` logs in and knows the server's paths; its own calls have no time limit, and repeat none.
"""

import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypedDict

import kfp_server_api
import urllib3.exceptions
from google.api_core.exceptions import RetryError
from google.api_core.retry import Retry
from kfp import Client
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

from kep.config.notify import NotifyTask
from kep.core.errors import UserError, first_line
from kep.core.versions import revision
from kep.engines.base import OURS, Options, Run, Task
from kep.engines.template import Template, with_cache, with_payer
from kep.google.once import Made, once
from kep.pipelines.machines import on_kubernetes
from kep.pipelines.parameters import kfp_safe
from kep.storage.champions import Champion

TOKEN, COOKIES = "KEP_KUBEFLOW_TOKEN", "KEP_KUBEFLOW_COOKIES"
"""Environment variables: what the login of a cluster gave, as a token or as the cookies of a browser."""
TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"
"""Environment variable of kfp: the file of a service account's token, in a cluster."""
LOGIN = f"log in again and set {TOKEN}, or {COOKIES}"
TIMEOUT: dict[str, Any] = {"_request_timeout": 60}
"""Of one call; seconds."""
_PAGE = 100
_TOO_LARGE = ("larger than max", "ResourceExhausted", "request is too large")
"""Words of gRPC and of etcd, which come with status 500."""


def unsure(error: Exception) -> bool:
    """Whether after an error nobody knows if the call was done."""
    if isinstance(error, kfp_server_api.ApiException):
        if any(words in (error.body or "") for words in _TOO_LARGE):  # as large the next time
            return False
        return error.status == 429 or (error.status or 0) >= 500
    return isinstance(error, urllib3.exceptions.HTTPError)


class Patience(TypedDict):
    """How long a call is tried."""

    retry: Retry


_RETRY = Retry(predicate=unsure, initial=1, maximum=30)
CONNECT: Patience = {"retry": _RETRY.with_timeout(15)}
"""Of the first call, whose address may be wrong."""
LOOK: Patience = {"retry": _RETRY.with_timeout(120)}
"""Of a call that only reads, or may be done twice."""
FOLLOW: Patience = {"retry": _RETRY.with_timeout(1800)}
"""Of a look at a run that lasts hours, which an outage of minutes does not end."""


class _Client(Client):
    """kfp's, whose own look at the server's health tries for half a minute, with a stack trace each time."""

    def get_kfp_healthz(self, sleep_duration: int = 5) -> kfp_server_api.V2beta1GetHealthzResponse:
        answer = self._healthz_api.healthz_service_get_healthz(_preload_content=False, **TIMEOUT)
        told = json.loads(answer.data)
        if not isinstance(told, dict):  # a login page answers with success, too
            raise ValueError("no answer of Kubeflow Pipelines")
        return kfp_server_api.V2beta1GetHealthzResponse(multi_user=bool(told.get("multi_user")))


class Kubeflow:
    """A Kubeflow Pipelines server.

    Args:
        host: Its address, http:// or https://.
        namespace: The user's, on a server that has several.
        experiment: That runs are made in; one of the run file's name when empty.

    Attributes:
        where: Which it is, for messages.
        client: Of kfp, logged in.

    Raises:
        UserError: Nothing of the kind answers there, or it does not accept the login.
    """

    def __init__(self, host: str, namespace: str = "", experiment: str = ""):
        if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", host):
            raise UserError(
                f'--host: "{host}" is no address; give that of Kubeflow Pipelines, such as https://HOST/pipeline'
            )
        self._host, self._namespace, self._experiment = host.rstrip("/"), namespace, experiment
        self.where = f"namespace {namespace} of {host}" if namespace else host
        self._ids: dict[str, str] = {}
        # It says of every attempt of its own, on the standard error, what `explained` says once.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        credentials = ServiceAccountTokenVolumeCredentials() if os.environ.get(TOKEN_FILE) else None
        with self.explained(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.client = self.asked(
                lambda: _Client(
                    self._host,
                    # kfp takes its default for none.
                    namespace=namespace or "kubeflow",
                    existing_token=os.environ.get(TOKEN),
                    cookies=os.environ.get(COOKIES),
                    credentials=credentials,
                    ssl_ca_cert=os.environ.get("REQUESTS_CA_BUNDLE"),
                ),
                patience=CONNECT,
            )
            several = self.asked(self.client.get_kfp_healthz, patience=CONNECT).multi_user
        if several and not namespace:
            raise UserError(f"--namespace: {host} has one for each user; give yours")

    def ready(self, options: Options) -> None:
        """Everything is asked for when the run is made."""

    def get(self, name: str, patient: bool = False) -> Run | None:
        """The run; None when there is none. A patient look outlasts an outage of minutes."""
        with self.explained():
            if name not in self._ids:
                found = self._named(name)
                if not found:
                    return None
                self._ids[name] = found[0].run_id
            patience = FOLLOW if patient else LOOK
            try:
                return self._run(
                    self.asked(self.client.runs.run_service_get_run, self._ids[name], patience=patience, **TIMEOUT)
                )
            except kfp_server_api.ApiException as error:
                if error.status == 404:
                    return None
                raise

    def create(self, name: str, template: Template, options: Options, given: dict[str, str]) -> tuple[Run, bool]:
        """Makes the run, once, however often the answer is lost on its way.

        Returns:
            The run, and whether this call has made it: False when somebody else had at the same moment.
        """
        if "champion" in given:
            # One that evaluate finds on its volume may be another than that of an equal run before.
            champion = Champion.of_parameter(given["champion"]).model_copy(update={"run": name})
            given = given | {"champion": champion.to_json()}
        spec = with_payer(with_cache(template.spec, options.cache))
        with self.explained():
            asked = kfp_server_api.V2beta1Run(
                experiment_id=self.experiment_id(template.name),
                display_name=name,
                description=f"revision {found}" if (found := revision()) else None,
                pipeline_spec=specification(spec, template.platform),
                runtime_config=self.runtime(template, given),
                service_account=options.service_account or None,
            )
            made = once(
                lambda: self.client.runs.run_service_create_run(asked, **TIMEOUT),
                lambda: next(iter(self._named(name)), None),
                LOOK["retry"],
                unsure,
            )
            # Whoever came first has made the run; another one of the moment, or of an answer that was lost late, goes.
            first = next(iter(self._named(name)), made)
            if first.run_id != made.run_id:
                self.asked(self.client.runs.run_service_terminate_run, made.run_id, **TIMEOUT)
            self._ids[name] = first.run_id
            return self._run(first), first.run_id == made.run_id

    def newest(self, of: str | None, limit: int) -> list[Run]:
        """The newest runs that were made here, or those of one run file's name, without their tasks."""
        found: list[kfp_server_api.V2beta1Run] = []
        token, pattern = "", f"{OURS}{re.escape(of) if of else '.+'}-[0-9a-f]{{12}}(-\\d+)?"
        with self.explained():
            while len(found) < limit:
                answer = self.asked(
                    self.client.runs.run_service_list_runs,
                    filter=condition("IS_SUBSTRING", f"{OURS}{of or ''}"),
                    sort_by="created_at desc",
                    page_size=_PAGE,
                    page_token=token,
                    **self.in_namespace(),
                )
                found += [run for run in answer.runs or [] if re.fullmatch(pattern, run.display_name)]
                if not (token := answer.next_page_token or ""):
                    break
        return [self._run(run) for run in found[:limit]]

    def cancel(self, run: Run) -> None:
        """Asks for the run to be cancelled."""
        with self.explained():
            self.asked(self.client.runs.run_service_terminate_run, run.id, **TIMEOUT)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns what the server answers into one sentence.

        Raises:
            UserError: Instead of every error of kfp's client.
        """
        try:
            yield
        except RetryError as error:
            raise UserError(self._sentence(error.cause)) from error
        except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise UserError(self._sentence(error)) from error

    def _sentence(self, error: BaseException | None) -> str:
        if isinstance(error, ValueError) and not isinstance(error, kfp_server_api.OpenApiException):
            return (
                f"--host: {self._host} does not answer as Kubeflow Pipelines does, but as a login page might; {LOGIN}"
            )
        status, said = getattr(error, "status", None), _said(error)
        if status == 401:
            return f"{self._host} does not accept the login ({said}); {LOGIN}"
        if status == 403:
            return f"this login may not do that in {self.where} ({said}); ask for the role kubeflow-edit there"
        if status == 404:
            return f"--host: there is no Kubeflow Pipelines at {self._host} ({said})"
        if isinstance(error, Exception) and unsure(error):
            return f"Kubeflow at {self._host} does not answer ({said}); try the same command again later"
        return f"Kubeflow refuses it: {said}"

    def asked(self, call: Callable[..., Made], *given: Any, patience: Patience = LOOK, **more: Any) -> Made:
        """What a call that may be done twice answers, within `explained`."""
        answer: Made = patience["retry"](call)(*given, **more)
        return answer

    def _named(self, name: str) -> list[kfp_server_api.V2beta1Run]:
        """Runs of a name, the first one first."""
        answer = self.asked(
            self.client.runs.run_service_list_runs,
            filter=condition("EQUALS", name),
            page_size=_PAGE,
            **self.in_namespace(),
        )
        return sorted(answer.runs or [], key=lambda run: (run.created_at, run.run_id))

    def experiment_id(self, name: str) -> str:
        """Of the experiment of that name, or the one that was asked for; made where there is none yet."""
        name = self._experiment or name

        def find() -> kfp_server_api.V2beta1Experiment | None:
            answer = self.asked(
                self.client.experiments.experiment_service_list_experiments,
                filter=condition("EQUALS", name),
                **self.in_namespace(),
            )
            return next(iter(answer.experiments or []), None)

        def send() -> kfp_server_api.V2beta1Experiment:
            asked = kfp_server_api.V2beta1Experiment(display_name=name, namespace=self._namespace or None)
            try:
                return self.client.experiments.experiment_service_create_experiment(asked, **TIMEOUT)
            except kfp_server_api.ApiException as error:
                if error.status != 409 or (made := find()) is None:  # somebody else's of that moment
                    raise
                return made

        return str((find() or once(send, find, LOOK["retry"], unsure)).experiment_id)

    def in_namespace(self) -> dict[str, Any]:
        """Arguments of a list."""
        return TIMEOUT | ({"namespace": self._namespace} if self._namespace else {})

    def runtime(self, template: Template, given: dict[str, str]) -> kfp_server_api.V2beta1RuntimeConfig:
        """The inputs of a run that differ from the template's own."""
        if config := template.defaults.get("notify_config"):
            # No task knows where the pages of this server are.
            task = NotifyTask.model_validate_json(config).model_copy(update={"pages": self._pages})
            given = given | {"notify_config": kfp_safe(task.to_json())}
        return kfp_server_api.V2beta1RuntimeConfig(parameters=given | on_kubernetes(template.spec))

    @property
    def _pages(self) -> str:
        """Address of a run's page without its id."""
        return f"{os.environ.get('KF_PIPELINES_UI_ENDPOINT', self._host)}/#/runs/details/"

    def _run(self, run: kfp_server_api.V2beta1Run) -> Run:
        if not run.run_id:
            raise ValueError("no answer of Kubeflow Pipelines")
        details = run.run_details.task_details if run.run_details else None
        tasks = sorted(details or [], key=lambda task: (task.create_time or run.created_at, task.task_id))
        broken = any(task.state in ("FAILED", "CANCELED") for task in tasks)
        return Run(
            name=run.display_name,
            id=run.run_id,
            state=(run.state or "pending").lower(),
            created=run.created_at,
            # An end that is not there yet comes as the beginning of 1970.
            ended=run.finished_at if run.finished_at and run.finished_at.year > 1970 else None,
            url=f"{self._pages}{run.run_id}",
            tasks=tuple(_task(task, broken) for task in tasks),
            message=(run.error.message if run.error else "") or "",
            revision=(run.description or "").removeprefix("revision "),
        )


def specification(spec: dict[str, Any], platform: dict[str, Any]) -> dict[str, Any]:
    """A compiled pipeline in the one message that takes both of its documents."""
    return {"pipeline_spec": spec, "platform_spec": platform} if platform else spec


def condition(operation: str, name: str) -> str:
    """Of a list, on the name that is shown."""
    return json.dumps({"predicates": [{"operation": operation, "key": "display_name", "stringValue": name}]})


def _task(task: kfp_server_api.V2beta1PipelineTaskDetail, broken: bool) -> Task:
    state = {"CANCELED": "CANCELLED", "CANCELING": "RUNNING"}.get(task.state, task.state or "PENDING")
    if state == "SKIPPED" and broken:  # never started, since another task failed
        state = "OMITTED"
    message = (task.error.message if task.error else "") or ""
    return Task(task.task_id, task.display_name, state, task.start_time, task.end_time, message)


def _said(error: BaseException | None) -> str:
    """What the server said, or the operating system from under the exceptions of urllib3."""
    if isinstance(error, kfp_server_api.ApiException):
        try:
            told = json.loads(error.body or "")
            return first_line(told.get("message") or told.get("error") or "") or f"status {error.status}"
        except (ValueError, AttributeError):
            return f"status {error.status}" if error.status else first_line(str(error.reason))
    inner = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    return type(error).__name__
