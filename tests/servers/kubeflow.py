"""A Kubeflow Pipelines server that answers with recordings, and with faults on request.

What it says of a run is what a real server said (`recorded/kubeflow`): a run that is made here goes through the
recordings that the test names, one for each time that it is looked at. Its other answers are derived from the message
definitions of v2beta1 and the server's sources; nothing runs in it.
"""

import itertools
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.servers import faults
from tests.servers.tunnel import Running, json_handler

RECORDED = Path(__file__).parent / "recorded" / "kubeflow"
FINAL = ("SUCCEEDED", "FAILED")
OWN = ("run_id", "display_name", "experiment_id", "description", "runtime_config", "service_account", "created_at")
"""What a run that was made here keeps when it is told as a recorded one."""
FAILED_INGEST = "mistake-mnk4g-3430982532"
"""Node of the recorded run that failed in ingest, whose log was recorded, too."""


def recorded(name: str) -> dict:
    """A recorded answer to a look at a run."""
    return json.loads((RECORDED / "runs" / f"{name}.json").read_text(encoding="utf-8"))


@dataclass
class Fault:
    """What goes wrong with the requests that match.

    Attributes:
        pattern: Of "METHOD path".
        status: Answered; 0 closes the connection instead.
        body: Of the answer.
        times: Requests that it hits; after that it is spent.
        skip: Requests that it lets pass first.
        lose: Whether the request is done all the same, and only its answer is lost.
    """

    pattern: str
    status: int = 0
    body: Any = None
    times: float = 1
    skip: int = 0
    lose: bool = False
    hits: int = 0


class RefusedError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Server(Running):
    """The server, in threads of this process; a context manager.

    Attributes:
        url: Its address.
        runs: By id, as the API shows them.
        schedules: Recurring runs by id.
        experiments: By id.
        several: Whether it has a namespace for each user.
        frames: Recordings that a run that is made now will go through.
        logs: Text of each node's log that is still there.
        version: Of Kubeflow Pipelines, as the server tells it.
        journal: "METHOD path" of every request, in order.
        headers: Of the latest request.
        faults: Given to `fault`.
        page: Entries in one answer to a list, at most.
    """

    def __init__(self) -> None:
        server = self

        class Handler(json_handler(self._answer)):
            def parse_request(self) -> bool:
                fine = super().parse_request()
                if fine:
                    server.headers = dict(self.headers)
                return fine

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._servers = [self._http]
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.runs: dict[str, dict] = {}
        self.schedules: dict[str, dict] = {}
        self.experiments: dict[str, dict] = {}
        self.several = False
        self.frames = ["succeeded"]
        log = (RECORDED / "log_of_the_failed_ingest.txt").read_text(encoding="utf-8")
        self.logs = {FAILED_INGEST: log}
        self.version = "2.17.0"
        self.journal: list[str] = []
        self.headers: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.page = 100
        self._left: dict[str, list[str]] = {}
        self._numbers = itertools.count(1)

    def fault(self, pattern: str, status: int = 0, body: Any = None, **more: Any) -> Fault:
        """Arranges for a fault and returns it, with its count of hits."""
        self.faults.append(Fault(pattern, status, body, **more))
        return self.faults[-1]

    def replay(self, name: str, **more: Any) -> dict:
        """Adds a run as it was recorded."""
        run = recorded(name) | more
        self.runs[run["run_id"]] = run
        return run

    def now(self) -> str:
        """A clock that moves by a minute with every look at it."""
        moment = datetime(2026, 2, 1, tzinfo=UTC) + timedelta(minutes=next(self._numbers))
        return moment.isoformat().replace("+00:00", "Z")

    def _answer(self, method: str, address: str, body: bytes) -> tuple[int, object]:
        path, query = urlsplit(address).path, parse_qs(urlsplit(address).query)
        self.journal.append(f"{method} {path}")
        fault = faults.due(self.faults, lambda one: re.search(one.pattern, f"{method} {path}") is not None)
        if fault and not fault.lose:
            return self._fail(fault)
        try:
            answered = self._do(method, path, {key: one for key, (one, *_) in query.items()}, body)
        except RefusedError as refused:
            return refused.status, {"error": str(refused), "code": 3, "message": str(refused), "details": []}
        return self._fail(fault) if fault else (200, answered)

    def _fail(self, fault: Fault) -> tuple[int, object]:
        if not fault.status:
            raise ConnectionResetError  # the handler's connection closes without an answer
        return fault.status, {"error": "injected", "message": "injected"} if fault.body is None else fault.body

    def _do(self, method: str, path: str, query: dict[str, str], body: bytes) -> object:
        given = json.loads(body) if body else {}
        if log := re.fullmatch("/apis/v1alpha1/runs/[^/]+/nodes/([^/]+)/log", path):
            if log[1] not in self.logs:
                raise RefusedError(500, "failed to get the logs of the pod")
            return self.logs[log[1]]
        kind, _, rest = path.removeprefix("/apis/v2beta1/").partition("/")
        if kind == "healthz":
            return {"commit_sha": "unknown", "tag_name": self.version, "multi_user": self.several}
        held = {"experiments": self.experiments, "runs": self.runs, "recurringruns": self.schedules}.get(kind)
        if held is None:
            raise RefusedError(404, f"{path} is not found")
        if not rest:
            return getattr(self, f"_make_{kind}")(given) if method == "POST" else self._list(kind, held, query)
        name, _, verb = unquote(rest).partition(":")
        if name not in held:
            raise RefusedError(404, f"{kind} {name} is not found.")
        if method == "DELETE":
            del held[name]
            return {}
        return getattr(self, f"_{verb or 'look'}")(held[name])

    def _make_experiments(self, given: dict) -> dict:
        if any(one["display_name"] == given["display_name"] for one in self.experiments.values()):
            raise RefusedError(409, "Already exist error")
        self._check_namespace(given.get("namespace"))
        return self._keep(self.experiments, "experiment", given)

    def _make_runs(self, given: dict) -> dict:
        _check(given)
        if given["experiment_id"] not in self.experiments:
            raise RefusedError(404, "The experiment is not found.")
        made = self._keep(self.runs, "run", given | {"state": "PENDING"})
        self._left[made["run_id"]] = list(self.frames)
        return made

    def _make_recurringruns(self, given: dict) -> dict:
        _check(given)
        if len(given["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise RefusedError(400, "Schedule cron is not a supported format")
        status = "ENABLED" if given["mode"] == "ENABLE" else "DISABLED"
        return self._keep(self.schedules, "recurring_run", given | {"status": status})

    def _keep(self, held: dict, kind: str, given: dict) -> dict:
        made = given | {f"{kind}_id": f"{kind}-{next(self._numbers)}", "created_at": self.now()}
        held[made[f"{kind}_id"]] = made
        return made

    def _list(self, kind: str, held: dict, query: dict[str, str]) -> dict:
        self._check_namespace(query.get("namespace"))
        chosen = list(held.values())
        if query.get("filter"):
            ((key, predicates),) = json.loads(query["filter"]).items()
            assert key == "predicates"
            for one in predicates:
                wanted, operation = one["stringValue"], one["operation"]
                chosen = [x for x in chosen if _matches(x.get(one["key"], ""), operation, wanted)]
        if query.get("sort_by") == "created_at desc":
            chosen.sort(key=lambda one: one["created_at"], reverse=True)
        start = int(query.get("page_token") or 0)
        end = start + min(int(query.get("page_size") or 10), self.page)
        key = {"recurringruns": "recurringRuns"}.get(kind, kind)
        return {key: chosen[start:end]} | ({"next_page_token": str(end)} if end < len(chosen) else {})

    def _check_namespace(self, given: str | None) -> None:
        if self.several and not given:
            raise RefusedError(400, "Namespace is empty")
        if self.several and given != "team":
            raise RefusedError(403, f"User is not authorized in {given}")

    def _look(self, one: dict) -> dict:
        left = self._left.get(one.get("run_id", ""))
        if left and one["state"] not in FINAL:
            told = recorded(left.pop(0))
            one |= {key: value for key, value in told.items() if key not in OWN}
            if told["state"] in FINAL:
                begun, created, ended = (
                    datetime.fromisoformat(moment)
                    for moment in (one["created_at"], told["created_at"], told["finished_at"])
                )
                one["finished_at"] = (begun + (ended - created)).isoformat()
        return one

    def _terminate(self, run: dict) -> dict:
        run["state"] = "CANCELING"
        self._left[run["run_id"]] = ["cancelled"]
        return {}

    def _enable(self, schedule: dict) -> dict:
        schedule["status"] = "ENABLED"
        return {}

    def _disable(self, schedule: dict) -> dict:
        schedule["status"] = "DISABLED"
        return {}


def _matches(name: str, operation: str, wanted: str) -> bool:
    return {"EQUALS": name == wanted, "NOT_EQUALS": name != wanted, "IS_SUBSTRING": wanted in name}[operation]


def _check(given: dict) -> None:
    """What the server says of a pipeline and its arguments, of which the client says nothing."""
    spec = given["pipeline_spec"]
    first, platform = (spec["pipeline_spec"], spec["platform_spec"]) if "platform_spec" in spec else (spec, {})
    json_format.ParseDict(first, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    wanted = first["root"]["inputDefinitions"]["parameters"]
    for name in given["runtime_config"]["parameters"]:
        if name not in wanted:
            raise RefusedError(400, f"parameter {name} is not defined")
    if not given.get("display_name") or not given.get("experiment_id"):
        raise RefusedError(400, "A name and an experiment are needed.")
