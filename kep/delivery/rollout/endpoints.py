"""A Vertex AI endpoint: found by its name, and asked as if its model were an ensemble on this machine."""

import math
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from pydantic_core import to_json
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from kep.artifacts.member import EnsembleFile
from kep.components.predict.read import chunk_rows
from kep.core.errors import UserError, first_line, nearest
from kep.core.location import Location
from kep.data.schema import FILE, Manifest
from kep.delivery.remote import as_json, cause
from kep.engines.destination import Destination
from kep.google.vertex import LOGIN, LOOK, Vertex

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as api

RESOURCE = re.compile(r"projects/([^/]+)/locations/([^/]+)/endpoints/([^/]+)")
NAME = re.compile(r"[^\"\\]{1,128}")
LARGEST = 1_400_000
"""Bytes of a request: an endpoint that is reached by Vertex AI's shared host name takes 1.5 MB."""
TRIES = 6
PAUSE = 0.5
"""Seconds before the second retry, doubled before each further one; a server's Retry-After goes before it."""
_SECONDS = 120
"""Without a byte from the endpoint."""
_SURE = 1e-6
"""Probability that a version with traffic is not met by as many requests as are sent for it."""


@dataclass(frozen=True)
class Deployed:
    """A model version that an endpoint serves.

    Attributes:
        id: Id of the deployed model.
        model: Resource name of the model.
        version: Its number in the Model Registry.
        share: Percent of the endpoint's requests that it gets.
    """

    id: str
    model: str
    version: str
    share: int

    def tries(self, sure: float = _SURE) -> int:
        """Requests after which it has answered one of them, but for the probability `sure`."""
        return 1 if self.share >= 100 else math.ceil(math.log(sure) / math.log1p(-self.share / 100))


@dataclass(frozen=True)
class Answer:
    """Answer of an endpoint to a request.

    Attributes:
        by: Id of the deployed model that did; empty for an error, which does not say.
        predictions: Shape [n, classes] or [n]; None for an error.
        seconds: Until it was there.
        problem: Reason of a failure; empty for an answer.
    """

    by: str
    predictions: np.ndarray | None
    seconds: float
    problem: str = ""


def find(vertex: Vertex, name: str) -> "api.Endpoint | None":
    """An endpoint by its id, its display name, or its full resource name; None where there is none.

    Raises:
        UserError: Several have that display name, or the name can't be any.
    """
    match = RESOURCE.fullmatch(name)
    if match is None and not NAME.fullmatch(name):
        raise UserError(
            f"endpoint: {name!r} is not the name of an endpoint; give its id, its name, or its resource name"
        )
    with vertex.explained():
        if match or re.fullmatch(r"[a-z0-9-]{1,63}", name):
            try:
                path = name if match else f"{vertex.parent}/endpoints/{name}"
                return vertex.endpoints.get_endpoint(name=path, **LOOK)
            except (exceptions.NotFound, exceptions.InvalidArgument):
                if match:
                    return None
        request = {"parent": vertex.parent, "filter": f'display_name="{name}"'}
        found = list(vertex.endpoints.list_endpoints(request=request, **LOOK))
    if len(found) > 1:
        ids = ", ".join(sorted(one.name.rpartition("/")[2] for one in found))
        raise UserError(f'endpoint: {len(found)} endpoints have the name "{name}"; give the id of one: {ids}')
    return found[0] if found else None


def get(vertex: Vertex, name: str) -> "api.Endpoint":
    """An endpoint as `find` finds it.

    Raises:
        UserError: There is none.
    """
    found = find(vertex, name)
    if found is None:
        with vertex.explained():
            every = vertex.endpoints.list_endpoints(request={"parent": vertex.parent}, **LOOK)
            names = [one.display_name for one in every]
        raise UserError(f'endpoint: there is no "{name}" in {vertex.where}{nearest(name, names)}')
    return found


def deployed(endpoint: "api.Endpoint") -> list[Deployed]:
    """The versions that an endpoint serves, the one with the most traffic first."""
    split = dict(endpoint.traffic_split)
    found = [
        Deployed(one.id, one.model.partition("@")[0], one.model_version_id, split.get(one.id, 0))
        for one in endpoint.deployed_models
    ]
    return sorted(found, key=lambda one: -one.share)


def manifest_of(vertex: Vertex, model: str, version: str) -> Manifest:
    """Read the manifest of a version of the Model Registry, from beside its files.

    Raises:
        UserError: It has no files, or is not an ensemble of this package.
    """
    from kep.google import objects

    with vertex.explained():
        uri = vertex.models.get_model(name=f"{model}@{version}", **LOOK).artifact_uri.rstrip("/")
    short = f"version {version} of {model.rpartition('/')[2]}"
    text = objects.read(f"{uri}/{FILE}", short)[0] if Location(uri).is_cloud else None
    if text is None:
        raise UserError(f"{short} is a model, but not one that `kep` made: there is no {FILE} under {uri or 'it'}")
    manifest = Manifest.model_validate_json(text)
    described = objects.read(f"{uri}/{EnsembleFile.FILE}", short)[0]
    return manifest if described is None else EnsembleFile.from_json(described, EnsembleFile.FILE).deciding(manifest)


class Predictor:
    """Client of an endpoint over REST, with the short-lived token of this machine's login.

    An endpoint chooses among its versions by its traffic split, and takes no wish with `:predict`; each answer says
    which version it is of. So a version is asked by sending a request again until that one has answered it.

    Args:
        vertex: Where it is.
        endpoint: As Vertex AI describes it.
        version: Number of the version, or id of the deployed model, that is to answer; any when not given.

    Attributes:
        columns: Columns that it takes.
        label: Label that it predicts.
        rows: Maximum rows of a request.
        note: For people, on what asking for a version costs; empty where that is nothing.
        answers: Rows by the version that predicted them.

    Raises:
        UserError: It serves no model of this package, or not that version.
    """

    def __init__(self, vertex: Vertex, endpoint: "api.Endpoint", version: str | None = None):
        self.name = endpoint.display_name
        every = deployed(endpoint)
        serving = [one for one in every if one.share]
        if not serving:
            raise UserError(f"endpoint: {self.name} serves no model; `kep rollout start` deploys one")
        self._wanted = [one for one in every if version in (None, one.version, one.id)]
        if not self._wanted:
            known = ", ".join(one.version for one in every)
            raise UserError(f"--version: endpoint {self.name} does not serve {version}; it serves {known}")
        first = max(self._wanted, key=lambda one: one.share)
        if not first.share:
            raise UserError(
                f"--version: version {first.version} gets no traffic of endpoint {self.name}, and an endpoint can't be "
                "asked for one version; give it a share with `kep rollout`"
            )
        self.note = ""
        if version is not None and first.share < 100:
            times = round(100 / first.share)
            self.note = f"an endpoint chooses by its traffic split: about {times} requests for each answer of {version}"
        self._any, self._first = version is None, first
        self._versions = {one.id: one.version for one in every}
        manifest = manifest_of(vertex, first.model, first.version)
        self.columns, self.label = manifest.inputs, manifest.label
        self.rows = chunk_rows(self.columns)
        self.answers: Counter[str] = Counter()
        host = endpoint.dedicated_endpoint_dns.removeprefix("https://") or f"{vertex.region}-aiplatform.googleapis.com"
        self._url = f"https://{host}/v1/{endpoint.name}:predict"
        self._session = _session(vertex.credentials, TRIES - 1)
        self._once = _session(vertex.credentials, 0)

    def __str__(self) -> str:
        by = ", ".join(f"version {version}: {rows:,} rows" for version, rows in sorted(self.answers.items()))
        return f"endpoint {self.name} ({by})"

    def predict(self, table: dict[str, pa.Array]) -> np.ndarray:
        """Predicts from raw features, as `kep.models.ensemble.Ensemble.predict` does.

        Args:
            table: Columns by name, of at most `rows` rows.

        Raises:
            UserError: A value is of a wrong type, or the endpoint does not answer.
        """
        wanted = {one.id for one in self._wanted}
        for _ in range(1 if self._any else self._first.tries()):
            found, predictions = [], []
            for body, rows in self.bodies(table):
                answer = self._ask(self._session, body)
                if answer.predictions is None:
                    raise UserError(f"endpoint: {self.name} {answer.problem}")
                if not self._any and answer.by not in wanted:
                    break
                found.append((answer.by, rows))
                predictions.append(answer.predictions)
            else:
                for by, rows in found:
                    # A rollout may have deployed another version since this one was looked at.
                    self.answers[self._versions.get(by, by)] += rows
                return np.concatenate(predictions)
        raise UserError(
            f"--version: version {self._first.version} has not answered one of {self._first.tries()} requests to "
            f"endpoint {self.name}; `kep rollout status` says what traffic it gets now"
        )

    def bodies(self, table: dict[str, pa.Array]) -> list[tuple[bytes, int]]:
        """The requests for some rows, none larger than an endpoint takes, and how many rows each has."""
        columns = [as_json(table[column.name], column) for column in self.columns]
        names = [column.name for column in self.columns]
        return _bodies([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)])

    def ask(self, body: bytes) -> Answer:
        """Sends a request once; what goes wrong is part of the answer."""
        return self._ask(self._once, body)

    def _ask(self, session: requests.Session, body: bytes) -> Answer:
        started = time.perf_counter()
        try:
            answer = session.post(self._url, body, headers={"Content-Type": "application/json"}, timeout=_SECONDS)
        except requests.RequestException as error:
            return Answer("", None, time.perf_counter() - started, f"can't be reached ({cause(error)})")
        except GoogleAuthError:  # of a token that is to be made anew
            return Answer(
                "", None, time.perf_counter() - started, f"is not asked: the login is no longer accepted; {LOGIN}"
            )
        seconds = time.perf_counter() - started
        try:
            told = answer.json()
        except ValueError:
            told = {}
        if not answer.ok:
            said = told.get("error") if isinstance(told, dict) else None
            reason = first_line((isinstance(said, dict) and said.get("message")) or answer.reason)
            return Answer("", None, seconds, f"answered {answer.status_code}: {reason}{_mend(answer.status_code)}")
        key = "prediction" if self.label.classes is None else "probabilities"
        try:
            values = np.array([one[key] for one in told["predictions"]], np.float64)
        except (KeyError, TypeError, ValueError):
            return Answer("", None, seconds, "answered with what is no prediction of an ensemble")
        return Answer(told.get("deployedModelId", ""), values, seconds)


def warn_of_key(credentials: Any, say: Callable[[str], None]) -> None:
    """Says so where the login is the key file of a service account, which whoever copies it can use for ever."""
    from google.oauth2.service_account import Credentials

    if isinstance(credentials, Credentials):
        account = credentials.service_account_email
        command = f"gcloud auth application-default login --impersonate-service-account={account}"
        say(f'warning: this login is a key file of {account}, which does not expire; "{command}" needs none')


def _bodies(instances: list[dict[str, Any]]) -> list[tuple[bytes, int]]:
    body = to_json({"instances": instances})
    if len(body) <= LARGEST or len(instances) == 1:
        return [(body, len(instances))]
    half = len(instances) // 2
    return _bodies(instances[:half]) + _bodies(instances[half:])


def _session(credentials: Any, retries: int) -> requests.Session:
    """A session that keeps its token fresh. Predicting changes nothing, so that a request may be sent again."""
    from google.auth.transport.requests import AuthorizedSession

    session = AuthorizedSession(credentials)
    retry = Retry(
        total=retries,
        backoff_factor=PAUSE,
        status_forcelist=(429, 502, 503, 504) if retries else (),
        allowed_methods=None,
        raise_on_status=False,
    )
    session.mount("https://", HTTPAdapter(max_retries=retry))
    return session


def _mend(status: int) -> str:
    return {
        401: f"; {LOGIN}",
        403: "; grant this login roles/aiplatform.user",
        429: "; a quota is used up, or its machines are busy: try again later",
    }.get(status, "")


def located(endpoint: str, project: str, region: str) -> tuple[Vertex, str]:
    """Return where an endpoint is, and its name; a resource name says its project and region itself.

    Raises:
        UserError: The endpoint, the project or the region is missing.
    """
    if not endpoint:
        raise UserError("ENDPOINT: is missing; name one of Vertex AI, or a folder with --champions")
    if match := RESOURCE.fullmatch(endpoint):
        project, region = match[1], match[2]
    return Destination("vertex", project, region).vertex, endpoint


def predictor(endpoint: str, version: str | None, project: str, region: str, say: Callable[[str], None]) -> Predictor:
    """Return what asks an endpoint for predictions; notes about it go to `say`.

    Raises:
        UserError: There is no such endpoint or version.
    """
    vertex, name = located(endpoint, project, region)
    warn_of_key(vertex.credentials, say)
    found = Predictor(vertex, get(vertex, name), version)
    if found.note:
        say(f"note: {found.note}")
    return found
