"""A rollout: a version gets an endpoint's traffic in stages, each after checks, and loses it where one fails.

Nothing is kept beside Vertex AI's own state: traffic split, deployed models and aliases say how far a rollout is. A
command that was interrupted, or whose answer was lost, is simply given again.
"""

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.api_core import exceptions
from rich.console import Console
from rich.table import Table

from kep.core.errors import UserError
from kep.delivery.rollout.canary import CanaryLimits, ask_both, check_labels
from kep.delivery.rollout.endpoints import Deployed, deployed, find, get, manifest_of
from kep.engines.progress import say
from kep.google import model_registry
from kep.google.once import once
from kep.google.vertex import CHANGE, CREATE, ENDED, Vertex, unsure

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as api

STAGES = "5,25,50,100"


@dataclass(frozen=True)
class RolloutState:
    """An endpoint in the middle of a rollout, or not.

    Attributes:
        endpoint: As Vertex AI describes it.
        versions: Versions of the model that it serves.
        champion: Version that has the alias, or else serves alone.
        canary: The other version that gets traffic.
        idle: Versions that get none.
    """

    endpoint: "api.Endpoint"
    versions: "list[api.Model]"
    champion: Deployed | None
    canary: Deployed | None
    idle: list[Deployed]


def stages(text: str) -> list[int]:
    """The percentages of `--stages`.

    Raises:
        UserError: They are no growing ones that end with 100.
    """
    parts = [int(part) for part in text.split(",") if re.fullmatch(r"\s*\d{1,3}\s*", part)]
    if len(parts) != text.count(",") + 1 or parts != sorted({*parts}) or not parts or parts[0] < 1 or parts[-1] != 100:
        raise UserError(f'--stages: "{text}" must be growing percentages that end with 100, such as {STAGES}')
    return parts


@dataclass(frozen=True)
class Serving:
    """Machines that serve a version.

    Attributes:
        machine: Machine type.
        replicas: Smallest and largest number of machines.
        service_account: Account that the container runs as; one without rights when empty.
    """

    machine: str
    replicas: tuple[int, int]
    service_account: str = ""


def start(vertex: Vertex, name: str, model: str, version: str, first: int, serving: Serving, console: Console) -> None:
    """Deploys a version beside the champion, with its first share of the traffic; alone, it gets all of it.

    Args:
        vertex: Where.
        name: Name of the endpoint, which is made if there is none.
        model: A run file's name, or the id of a model.
        version: Number or alias.
        first: Percent of the traffic.
        serving: Machines that serve the version.
        console: Takes the outcome.

    Raises:
        UserError: There is no such version, another rollout is under way, the version takes or predicts something
            else than the champion, or Vertex AI refuses it.
    """
    wanted = model_registry.named(model_registry.model(vertex, model), version)
    with vertex.explained(serving.service_account):
        endpoint = find(vertex, name) or _made(vertex, name)
    state = look(vertex, endpoint)
    if any(one.model.rpartition("/")[2] != wanted.name.rpartition("/")[2] for one in deployed(endpoint)):
        raise UserError(f"--model: endpoint {name} serves another model than {model}; name another endpoint")
    known = next((one for one in (state.champion, state.canary) if one and one.version == wanted.version_id), None)
    if known is not None:
        if known.share == 100 and not _has(state, known, model_registry.CHAMPION):
            _crown(vertex, wanted)  # which an earlier start was kept from
        say(console, f"version {known.version} gets {known.share} % of endpoint {name} already")
        return
    if state.canary is not None:
        raise UserError(
            f"a rollout of version {state.canary.version} is under way on endpoint {name}, with {state.canary.share} % "
            "of its traffic; `kep rollout advance` or `kep rollout rollback` ends it"
        )
    share = 100
    if state.champion is not None:
        if first == 100:
            raise UserError("--stages: begin below 100, so that the version can be compared with the champion")
        share = first
        _check_alike(vertex, wanted, state.champion)
        # A version that this command has not deployed may lack the alias.
        if not _has(state, state.champion, model_registry.CHAMPION):
            with vertex.explained():
                champion = f"{state.champion.model}@{state.champion.version}"
                model_registry.alias(vertex, champion, [model_registry.CHAMPION])
    _undeploy(vertex, state.endpoint, state.idle)
    _deploy(vertex, state, wanted, share, serving)
    if share == 100:
        _crown(vertex, wanted)
    say(console, f"version {wanted.version_id} of {wanted.display_name} gets {share} % of endpoint {name}")


def advance(
    vertex: Vertex, name: str, data: str, rows: int, steps: list[int], to: int, limits: CanaryLimits, console: Console
) -> int:
    """Gives the new version its next share of the traffic if its answers pass, and takes it all away if they don't.

    Args:
        vertex: Where.
        name: Name of the endpoint.
        data: A source, as in `data.source`, whose rows are sent as requests to both versions.
        rows: Maximum number of its rows.
        steps: Percentages.
        to: Goes on until the version has so much.
        limits: Limits that it must keep.
        console: Where to say so.

    Returns:
        Exit status: 0, or 1 when it was rolled back.

    Raises:
        UserError: No rollout is under way, the data can't be used, or Vertex AI refuses it.
    """
    while True:
        state = look(vertex, get(vertex, name))
        _undeploy(vertex, state.endpoint, state.idle)
        champion, canary = _under_way(state, name)
        if canary.share < 100:
            line, problems = ask_both(vertex, state.endpoint, champion, canary, data, rows, limits, console)
            say(console, f"{canary.share} %: {line}")
            if problems:
                say(console, f"error: version {canary.version} is rolled back: {'; '.join(problems)}")
                _back(vertex, state, champion, canary)
                return 1
            share = next(step for step in steps if step > canary.share)
            split = {canary.id: share} | ({champion.id: 100 - share} if share < 100 else {})
            _move(vertex, state.endpoint, split)
            say(console, f"version {canary.version} gets {share} % of endpoint {name}")
            if share < min(to, 100):
                continue
            if share < 100:
                return 0
        _crown(vertex, next(one for one in state.versions if one.version_id == canary.version))
        _undeploy(vertex, state.endpoint, [champion])
        say(console, f"version {canary.version} is the champion, and version {champion.version} is undeployed")
        return 0


def rollback(vertex: Vertex, name: str, console: Console) -> None:
    """Gives the champion all traffic again, and undeploys the other version.

    Raises:
        UserError: No rollout is under way, or Vertex AI refuses it.
    """
    state = look(vertex, get(vertex, name))
    _undeploy(vertex, state.endpoint, state.idle)
    champion, canary = _under_way(state, name)
    _back(vertex, state, champion, canary)
    say(console, f"version {champion.version} gets all of endpoint {name}; version {canary.version} is undeployed")


def status(vertex: Vertex, name: str) -> Table:
    """The versions of the model that an endpoint serves, and what traffic they get."""
    state = look(vertex, get(vertex, name))
    serving = {one.version: one for one in deployed(state.endpoint)}
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("version", "traffic", "deployed as", "aliases", "content"):
        table.add_column(column, justify="right" if column == "traffic" else "left", no_wrap=True)
    for one in state.versions:
        own = serving.get(one.version_id)
        cells = (f"{own.share} %", own.id) if own else ("", "")
        aliases = ", ".join(sorted(one.version_aliases))
        table.add_row(one.version_id, *cells, aliases, one.labels.get(model_registry.CONTENT, ""))
    return table


def look(vertex: Vertex, endpoint: "api.Endpoint") -> RolloutState:
    """How far a rollout is.

    Raises:
        UserError: The endpoint serves what no rollout leaves behind.
    """
    serving = deployed(endpoint)
    if len({one.model for one in serving}) > 1:
        raise UserError(f"endpoint {endpoint.display_name} serves several models; a rollout is of versions of one")
    with vertex.explained():
        found = model_registry.versions(vertex, serving[0].model) if serving else []
    numbers = {one.version_id for one in found if model_registry.CHAMPION in one.version_aliases}
    busy = [one for one in serving if one.share]
    champion = next((one for one in serving if one.version in numbers), busy[0] if len(busy) == 1 else None)
    others = [one for one in busy if one is not champion]
    if len(others) > 1 or (others and champion is None):
        versions = ", ".join(one.version for one in others)
        raise UserError(
            f"endpoint {endpoint.display_name} serves versions {versions}, and nobody has said which of them is the "
            "champion; give one all traffic first"
        )
    idle = [one for one in serving if not one.share and one is not champion]
    return RolloutState(endpoint, found, champion, others[0] if others else None, idle)


def _under_way(state: RolloutState, name: str) -> tuple[Deployed, Deployed]:
    if state.champion is None or state.canary is None:
        raise UserError(f"no rollout is under way on endpoint {name}; `kep rollout start {name}` begins one")
    return state.champion, state.canary


def _check_alike(vertex: Vertex, wanted: "api.Model", champion: Deployed) -> None:
    """Refuses a version that does not take the champion's requests, or answers something else."""
    model, number = wanted.name.partition("@")[0], wanted.version_id
    before, after = (manifest_of(vertex, model, version) for version in (champion.version, number))
    check_labels(before, after)
    columns = [{one.name: (one.kind, one.shape) for one in manifest.inputs} for manifest in (before, after)]
    if columns[0] != columns[1]:
        changed = ", ".join(sorted({name for name, _ in columns[0].items() ^ columns[1].items()}))
        raise UserError(
            f"--version: version {number} takes other columns than version {champion.version} ({changed}), so that one "
            "of them would refuse requests; give it an endpoint of its own"
        )


def _made(vertex: Vertex, name: str) -> "api.Endpoint":
    """A new endpoint, made once."""
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name):
        raise UserError(
            f'endpoint: there is no "{name}", and a new one needs a name of at most 63 lower-case letters, digits and '
            "dashes, with a letter first"
        )

    def send() -> "api.Endpoint":
        request = {"parent": vertex.parent, "endpoint": {"display_name": name}, "endpoint_id": name}
        with suppress(exceptions.AlreadyExists):
            vertex.endpoints.create_endpoint(request=request, **CREATE).result(**ENDED)
        return get(vertex, name)

    return once(send, lambda: find(vertex, name), CHANGE["retry"], unsure)


def _deploy(vertex: Vertex, state: RolloutState, wanted: "api.Model", share: int, serving: Serving) -> None:
    """Deploys a version under an id that follows from its name, so that it is there once."""
    path = f"{wanted.name.partition('@')[0]}@{wanted.version_id}"
    id = str(10**9 + int(hashlib.sha256(path.encode()).hexdigest(), 16) % (9 * 10**9))
    resources = {
        "machine_spec": {"machine_type": serving.machine},
        "min_replica_count": serving.replicas[0],
        "max_replica_count": serving.replicas[1],
    }
    request = {
        "endpoint": state.endpoint.name,
        "deployed_model": {
            "id": id,
            "model": path,
            "display_name": f"{wanted.display_name}-{wanted.version_id}",
            "dedicated_resources": resources,
            "service_account": serving.service_account,
        },
        "traffic_split": {"0": share} | ({state.champion.id: 100 - share} if share < 100 and state.champion else {}),
    }

    def there() -> bool | None:
        return any(one.id == id for one in deployed(get(vertex, state.endpoint.name))) or None

    def send() -> bool:
        try:
            vertex.endpoints.deploy_model(request=request, **CREATE).result(**ENDED)
        except exceptions.AlreadyExists:
            if not there():
                raise UserError(f"version {wanted.version_id} is being deployed; try again in some minutes") from None
        return True

    with vertex.explained(serving.service_account):
        once(send, there, CHANGE["retry"], unsure)


def _move(vertex: Vertex, endpoint: "api.Endpoint", split: dict[str, int]) -> None:
    """Sets the traffic split; doing it twice does no harm."""
    from google.cloud import aiplatform_v1 as api
    from google.protobuf.field_mask_pb2 import FieldMask

    changed = api.Endpoint(name=endpoint.name, traffic_split=split)
    with vertex.explained():
        vertex.endpoints.update_endpoint(endpoint=changed, update_mask=FieldMask(paths=["traffic_split"]), **CHANGE)


def _back(vertex: Vertex, state: RolloutState, champion: Deployed, canary: Deployed) -> None:
    _move(vertex, state.endpoint, {champion.id: 100})
    with vertex.explained():
        if _has(state, canary, model_registry.CHALLENGER):
            # Nobody starts it again without naming it.
            model_registry.alias(vertex, f"{canary.model}@{canary.version}", [f"-{model_registry.CHALLENGER}"])
    _undeploy(vertex, state.endpoint, [canary])


def _crown(vertex: Vertex, version: "api.Model") -> None:
    changes = [model_registry.CHAMPION]
    if model_registry.CHALLENGER in version.version_aliases:
        changes.append(f"-{model_registry.CHALLENGER}")
    with vertex.explained():
        model_registry.alias(vertex, f"{version.name.partition('@')[0]}@{version.version_id}", changes)


def _undeploy(vertex: Vertex, endpoint: "api.Endpoint", unused: list[Deployed]) -> None:
    """Frees the machines of versions without traffic."""
    for one in unused:

        def gone(one: Deployed = one) -> bool | None:
            return all(other.id != one.id for other in deployed(get(vertex, endpoint.name))) or None

        def send(one: Deployed = one) -> bool:
            request = {"endpoint": endpoint.name, "deployed_model_id": one.id}
            with suppress(exceptions.NotFound):
                vertex.endpoints.undeploy_model(request=request, **CREATE).result(**ENDED)
            return True

        with vertex.explained():
            once(send, gone, CHANGE["retry"], unsure)


def _has(state: RolloutState, one: Deployed, alias: str) -> bool:
    return any(other.version_id == one.version and alias in other.version_aliases for other in state.versions)
