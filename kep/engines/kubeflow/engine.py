"""Kubeflow Pipelines: runs, asked for safely, and what goes wrong as one sentence.

Names of runs are not unique there: a run is looked for by its name before it is made, and again after an answer that
was lost. `kfp.Client` logs in and knows the server's paths; its own calls have no time limit, and repeat none.
"""

import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, TypedDict

import kfp_server_api
import urllib3
import urllib3.exceptions
from google.api_core.exceptions import RetryError
from google.api_core.retry import Retry
from kfp import Client
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

from kep.config.notify import NotifyTask
from kep.core.environment import KUBEFLOW_COOKIES, KUBEFLOW_TOKEN, KUBEFLOW_TOKEN_FILE
from kep.core.errors import UserError, first_line
from kep.core.location import Location
from kep.core.versions import revision
from kep.core.waiting import waiting_for
from kep.engines.base import OURS, Options, Run, Task, champions_of
from kep.engines.kubeflow.logs import decision, reason
from kep.engines.kubeflow.nodes import Node, moment, read
from kep.engines.template import Template, with_cache, with_payer
from kep.google.once import Made, once
from kep.pipelines.machines import on_kubernetes
from kep.pipelines.parameters import kfp_safe
from kep.pipelines.steps import PREDICTION_STEPS, STEPS, step_of
from kep.storage.champions import Champion

LOGIN = f"log in again and set {KUBEFLOW_TOKEN}, or {KUBEFLOW_COOKIES}"
TIMEOUT: dict[str, Any] = {"_request_timeout": 60}
"""Timeout of one call, in seconds."""
FIRST: dict[str, Any] = {"_request_timeout": 15}
"""Timeout of the first call, whose address may be wrong."""
_PAGE = 100
LEAST = (2, 14)
"""Version of Kubeflow Pipelines whose launcher first hands a task every artifact of a loop, and not one alone."""
MARK = "template sha256:"
"""Begin of the description of every schedule that was made here."""
_LONGEST_LOG = 2**26
"""Bytes that are read of a log."""
_END_OF_LOG = 2**16
"""Bytes of a log that are looked at, from its end."""
_SCHEDULED = re.compile(r"(?P<schedule>.*)[a-z0-9]{5}-\d+-\d+")
"""Name of a run of a schedule: Kubernetes's name of the schedule, a number, and a hash."""
_NO_PAGE = re.compile(r"(status )?(404)?\W*(page )?(not found)?", re.IGNORECASE)
"""What is said of an address that is none; of a run or an experiment that is none the server says which."""
_TOO_LARGE = ("larger than max", "ResourceExhausted", "request is too large")
"""Words of gRPC and of etcd, which come with status 500."""


def unsure(error: Exception) -> bool:
    """Return whether after an error nobody knows if the call was done."""
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
"""Patience of the first call, whose address may be wrong."""
LOOK: Patience = {"retry": _RETRY.with_timeout(120)}
"""Patience of a call that only reads, or may be done twice."""
FOLLOW: Patience = {"retry": _RETRY.with_timeout(1800)}
"""Patience while following a run for hours, which survives an outage of minutes."""


class _Client(Client):
    """kfp's, whose own look at the server's health tries for half a minute, with a stack trace each time.

    Attributes:
        version: Version of the server, as it reports it; empty when it reports none.
    """

    version = ""

    def _load_config(self, *given: Any, **named: Any) -> kfp_server_api.Configuration:
        config = super()._load_config(*given, **named)
        # Else urllib3 waits four times as long as a call may take, in silence.
        config.retries = urllib3.Retry(connect=0, read=0, other=0)
        return config

    def get_kfp_healthz(self, sleep_duration: int = 5) -> kfp_server_api.V2beta1GetHealthzResponse:
        answer = self._healthz_api.healthz_service_get_healthz(_preload_content=False, **FIRST)
        told = json.loads(answer.data)
        if not isinstance(told, dict):  # a login page answers with success, too
            raise ValueError("no answer of Kubeflow Pipelines")
        # The server's own answer, or that of the pages in front of it.
        self.version = str(told.get("tag_name") or told.get("apiServerTagName") or "")
        return kfp_server_api.V2beta1GetHealthzResponse(multi_user=bool(told.get("multi_user")))


class Kubeflow:
    """A Kubeflow Pipelines server.

    Args:
        host: Its address, http:// or https://.
        namespace: The user's, on a server that has several.
        experiment: Experiment that runs are made in; one of the run file's name when empty.

    Attributes:
        where: Name of the place, for messages.
        client: Client of kfp, logged in.

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
        self._reasons: dict[str, str] = {}
        self._withheld: dict[str, str] = {}
        # It says of every attempt of its own, on the standard error, what `explained` says once.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        credentials = ServiceAccountTokenVolumeCredentials() if os.environ.get(KUBEFLOW_TOKEN_FILE) else None
        with self.explained(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.client = self.asked(
                lambda: _Client(
                    self._host,
                    # kfp takes its default for none.
                    namespace=namespace or "kubeflow",
                    existing_token=os.environ.get(KUBEFLOW_TOKEN),
                    cookies=os.environ.get(KUBEFLOW_COOKIES),
                    credentials=credentials,
                    ssl_ca_cert=os.environ.get("REQUESTS_CA_BUNDLE"),
                ),
                patience=CONNECT,
            )
            api = self.client.runs.api_client
            api.deserialize = _strictly(api.deserialize)
            several = self.asked(self.client.get_kfp_healthz, patience=CONNECT).multi_user
        if several and not namespace:
            raise UserError(f"--namespace: {host} has one for each user; give yours")

    @property
    def version(self) -> str:
        """The server's version in its own words, such as 2.17.0; empty where it tells none that can be compared."""
        return self.client.version if _number(self.client.version) else ""

    def ready(self, options: Options) -> str:
        """Refuses a server that is too old; everything else is asked for when the run is made.

        Returns:
            A sentence where it does not tell its version.

        Raises:
            UserError: It is too old.
        """
        least, why = ".".join(map(str, LEAST)), "an older one hands on one result of a loop, and drops the rest"
        if not self.version:
            return f"{self._host} does not tell its version; Kubeflow Pipelines {least} or newer is needed, since {why}"
        if _number(self.version) < LEAST:
            raise UserError(
                f"{self._host} runs Kubeflow Pipelines {self.version}; {least} or newer is needed, since {why}; "
                "have it upgraded"
            )
        return ""

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
                call = self.client.runs.run_service_get_run
                told = self.asked(call, self._ids[name], patience=patience, **TIMEOUT)
                return self._with_tasks(told, self._schedule(told))
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
        """The newest runs that were made here, or those of one run file's or schedule's name, without their tasks."""
        pattern = f"{OURS}{re.escape(of) if of else '.+'}-[0-9a-f]{{12}}(-\\d+)?"
        submitted = condition("IS_SUBSTRING", f"{OURS}{of or ''}")
        with self.explained():
            found = self._listed(submitted, limit, lambda run: bool(re.fullmatch(pattern, run.display_name)))
            schedules = {one.recurring_run_id: one for one in self.schedules()}
            started = self._listed(
                condition("NOT_EQUALS", "", "recurring_run_id"), limit, lambda run: _of_schedule(run, schedules, of)
            )
        runs = [self._run(run, schedules.get(run.recurring_run_id)) for run in found + started]
        return sorted(runs, key=lambda run: run.created.timestamp() if run.created else 0.0, reverse=True)[:limit]

    def under_way(self, schedule: str) -> list[str]:
        """Return the names of the runs under way that a schedule started.

        Args:
            schedule: Its id.
        """
        with self.explained():
            of = condition("EQUALS", schedule, "recurring_run_id")
            found = self._listed(of, _PAGE, lambda run: run.state in ("PENDING", "RUNNING", "CANCELING"))
        return [run.display_name for run in found]

    def schedules(self, **more: Any) -> list[kfp_server_api.V2beta1RecurringRun]:
        """Return the schedules of the server, or of the namespace, whoever made them."""
        found: list[kfp_server_api.V2beta1RecurringRun] = []
        token, call = "", self.client.recurring_runs.recurring_run_service_list_recurring_runs
        with self.explained():
            while True:
                answer = self.asked(call, page_size=_PAGE, page_token=token, **more, **self.in_namespace())
                found += answer.recurring_runs or []
                if not (token := answer.next_page_token or ""):
                    return found

    def _listed(
        self, filter: str, limit: int, wanted: Callable[[kfp_server_api.V2beta1Run], bool]
    ) -> list[kfp_server_api.V2beta1Run]:
        found: list[kfp_server_api.V2beta1Run] = []
        token = ""
        while len(found) < limit:
            answer = self.asked(
                self.client.runs.run_service_list_runs,
                filter=filter,
                sort_by="created_at desc",
                page_size=_PAGE,
                page_token=token,
                **self.in_namespace(),
            )
            found += [run for run in answer.runs or [] if wanted(run)]
            if not (token := answer.next_page_token or ""):
                break
        return found[:limit]

    def cancel(self, run: Run) -> None:
        """Asks for the run to be cancelled."""
        with self.explained():
            self.asked(self.client.runs.run_service_terminate_run, run.id, **TIMEOUT)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns what the server answers into one sentence, and says so when it is silent for long.

        Raises:
            UserError: Instead of every error of kfp's client.
        """
        try:
            with waiting_for(f"Kubeflow at {self._host}"):
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
        if status == 404 and _NO_PAGE.fullmatch(said):
            return f"--host: there is no Kubeflow Pipelines at {self._host} ({said})"
        if isinstance(error, Exception) and unsure(error):
            return f"Kubeflow at {self._host} does not answer ({said}); try the same command again later"
        return f"Kubeflow refuses it: {said}"

    def asked(self, call: Callable[..., Made], *given: Any, patience: Patience = LOOK, **more: Any) -> Made:
        """Return the answer of a call that may be done twice, within `explained`."""
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
        """Return the id of the experiment of that name, or the requested one; create it where there is none yet."""
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

    def _schedule(self, run: kfp_server_api.V2beta1Run) -> kfp_server_api.V2beta1RecurringRun | None:
        """The schedule that started a run; None for none, or one that was deleted."""
        if not run.recurring_run_id:
            return None
        try:
            call = self.client.recurring_runs.recurring_run_service_get_recurring_run
            return self.asked(call, run.recurring_run_id, **TIMEOUT)
        except kfp_server_api.ApiException as error:
            if error.status == 404:
                return None
            raise

    def _run(self, run: kfp_server_api.V2beta1Run, schedule: kfp_server_api.V2beta1RecurringRun | None = None) -> Run:
        if not run.run_id:
            raise ValueError("no answer of Kubeflow Pipelines")
        state, message = (run.state or "pending").lower(), (run.error.message if run.error else "") or ""
        match = _SCHEDULED.fullmatch(run.display_name) if run.recurring_run_id else None
        if state == "failed" and _cancelled(run):
            state = "cancelled"
        elif run.recurring_run_id and schedule is None and state in ("pending", "running", "canceling"):
            # Kubernetes removes what belonged to the schedule, and nobody is left to say so to the server.
            state, message = (
                "cancelled",
                "its schedule was deleted, and its tasks with it; Kubeflow still calls it running",
            )
        return Run(
            name=run.display_name,
            id=run.run_id,
            state=state,
            created=moment(run.created_at),
            ended=moment(run.finished_at),
            url=f"{self._pages}{run.run_id}",
            message=message,
            revision=(run.description or "").removeprefix("revision "),
            champions=champions_of((run.runtime_config.parameters if run.runtime_config else None) or {}),
            schedule=schedule.display_name if schedule else match["schedule"] if match else "",
        )

    def _with_tasks(
        self, told: kfp_server_api.V2beta1Run, schedule: kfp_server_api.V2beta1RecurringRun | None = None
    ) -> Run:
        """A run with its tasks, and why those failed that did."""
        run = self._run(told, schedule)
        nodes = read((told.run_details.task_details if told.run_details else None) or [], _cancelled(told))
        failed = any(node.task.state == "FAILED" for node in nodes)
        tasks = tuple(self._task(run, node, failed) for node in nodes)
        if run.state == "failed" and not run.message:
            run = replace(run, message=self._outside(run, tasks))
        promoted = next((node.log for node in nodes if step_of(node.task.name) == STEPS[-1]), "")
        if run.ending == "done" and promoted and not Location(run.champions).is_cloud:
            run = replace(run, decision=decision(self._log(run.id, promoted) or ""))
        return replace(run, tasks=tasks)

    def _task(self, run: Run, node: Node, failed: bool) -> Task:
        """A task of a run, of which a task is known to have `failed`, or none is."""
        state = node.task.state
        if run.ending and state == "RUNNING":
            # The server has not been told of its end.
            ended = {"done": "SUCCEEDED", "failed": "CANCELLED" if failed else "FAILED", "cancelled": "CANCELLED"}
            state = ended[run.ending]
        if state != "FAILED":
            return replace(node.task, state=state)
        who = "Kubeflow's own driver of it failed; " if node.driver else ""
        return replace(node.task, state=state, message=f"{who}{self._reason(run, node.log)}")

    def _outside(self, run: Run, tasks: tuple[Task, ...]) -> str:
        """Why a run failed where no step did."""
        failed = next((task for task in tasks if task.state == "FAILED"), None)
        begun = any(step_of(task.name) in (*STEPS, *PREDICTION_STEPS) for task in tasks)
        if failed:
            return f"{'' if begun else 'no step has begun; '}{failed.name}: {failed.message}"
        namespace = f" -n {self._namespace}" if self._namespace else ""
        return (
            f"Kubeflow {'lists no task that failed' if begun else 'lists no task that has begun'}, and says no reason; "
            f'"kubectl describe workflow{namespace} -l pipeline/runid={run.id}" shows its message'
        )

    def _reason(self, run: Run, node: str) -> str:
        """Why a node failed, by its log; else where to look."""
        if node and node not in self._reasons and (log := self._log(run.id, node)) is not None:
            self._reasons[node] = reason(log)
        if found := self._reasons.get(node):
            return found
        why = self._withheld.get(node, "")
        return f"the server gives no log of it{why}; look at node {node or 'without a pod'} of run {run.id}"

    def _log(self, run: str, node: str) -> str | None:
        """The end of a node's log; None where the server has none, as after its pod is gone."""
        api = self.client.runs.api_client
        try:
            answer = api.call_api(
                "/apis/v1alpha1/runs/{run}/nodes/{node}/log",
                "GET",
                {"run": run, "node": node},
                auth_settings=["Bearer"],
                _return_http_data_only=True,
                _preload_content=False,
                **TIMEOUT,
            )
            end = b""
            for part in answer.stream(_END_OF_LOG):
                end = (end + part)[-_END_OF_LOG:]
                if answer.tell() > _LONGEST_LOG:
                    break
            answer.close()
        except kfp_server_api.ApiException as error:
            self._withheld[node] = "" if error.status in _NO_LOG else f" (it answered {error.status})"
            return None
        except urllib3.exceptions.HTTPError:
            self._withheld[node] = " (it did not answer in time)"
            return None
        log = end.decode(errors="replace")
        if _HTML.match(log):
            self._withheld[node] = " (a login page came in its place)"
            return None
        return log


_NO_LOG = (404, 500)
"""What Kubeflow answers where a node's pod is gone."""
_HTML = re.compile(r"\s*<(!doctype )?html\b", re.IGNORECASE)


def specification(spec: dict[str, Any], platform: dict[str, Any]) -> dict[str, Any]:
    """A compiled pipeline in the one message that takes both of its documents."""
    return {"pipeline_spec": spec, "platform_spec": platform} if platform else spec


def condition(operation: str, value: str, key: str = "display_name") -> str:
    """Return a filter of a list."""
    return json.dumps({"predicates": [{"operation": operation, "key": key, "stringValue": value}]})


def _cancelled(run: kfp_server_api.V2beta1Run) -> datetime | None:
    """When somebody asked for a run's end; its state says that it failed."""
    history = run.state_history or []
    return next((one.update_time for one in history if one.state in ("CANCELING", "CANCELED")), None)


def _of_schedule(
    run: kfp_server_api.V2beta1Run, schedules: Mapping[str, kfp_server_api.V2beta1RecurringRun], of: str | None
) -> bool:
    """Return whether a schedule that was made here started a run: one of a name, or any."""
    match = _SCHEDULED.fullmatch(run.display_name)
    if not (run.recurring_run_id and match):
        return False
    if schedule := schedules.get(run.recurring_run_id):
        return (schedule.description or "").startswith(MARK) and of in (None, schedule.display_name)
    # Of one that was deleted, the run's own arguments tell.
    given = (run.runtime_config.parameters if run.runtime_config else None) or {}
    return {"champion", "source"} <= given.keys() and of in (None, match["schedule"])


def _number(version: str) -> tuple[int, ...]:
    """A version's first two numbers; none of a text that is no version."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else ()


def _strictly(read: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """How kfp's client reads an answer, which takes a login page, or half an answer, for an empty list."""

    def strict(answer: Any, kind: Any) -> Any:
        told = json.loads(answer.data)
        lists = [value for value in told.values() if isinstance(value, list)] if isinstance(told, dict) else [[None]]
        if not all(isinstance(one, dict) for found in lists for one in found):
            raise ValueError("no answer of Kubeflow Pipelines")
        return read(answer, kind)

    return strict


def _said(error: BaseException | None) -> str:
    """Return the message of the server, of what stands before it, or of the operating system under urllib3's errors."""
    if isinstance(error, kfp_server_api.ApiException):
        if not error.status:
            return first_line(str(error.reason))
        said: Any = error.body or ""
        try:
            said = json.loads(said)
        except ValueError:
            said = "" if "<" in said else said  # a page
        while isinstance(said, dict):
            said = said.get("message") or said.get("error")
        return (first_line(said) if isinstance(said, str) else "") or f"status {error.status}"
    inner = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    last = getattr(error, "reason", error)
    if isinstance(last, urllib3.exceptions.TimeoutError):
        return "it took too long"
    return "it closed the connection" if isinstance(last, urllib3.exceptions.ProtocolError) else type(error).__name__
