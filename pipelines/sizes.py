"""How large a compiled pipeline becomes where it runs, held against what each engine takes.

Kubeflow makes one Kubernetes object of it, an Argo workflow, which etcd keeps; its drivers and tasks get what they need
as single arguments of a process. Vertex AI limits what a task may read and write, and how long a parameter is.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kep.config.data import DataSettings
from kep.config.ensemble import EnsembleSettings
from kep.config.prediction import PredictSettings
from kep.config.search import SearchTask
from kep.core.errors import UserError
from kep.pipelines.machines import Target

LARGEST_ARGUMENT = 131_072
"""Bytes of one argument of a process: Linux's MAX_ARG_STRLEN."""
LARGEST_WORKFLOW = 1_048_576
"""Bytes of a workflow before it has run: the states of its tasks come to it, and etcd takes 1.5 MiB of both."""
MOST_ARTIFACTS = 100
"""Artifacts that a task on Vertex AI reads and writes."""
LARGEST_PARAMETER = 204_800
"""Bytes of a parameter on Vertex AI: of a field of its ML Metadata."""
MOST_TASKS = 10_000
"""Tasks of a run on Vertex AI."""
_LOOPS = {"orders": "trials", "candidates": "results", "members": "members", "parts": "scans"}
"""List of artifacts that has an element for each item of a loop."""
_WORKFLOW, _TASK, _DAG, _LOOP, _COMPONENT = 12_000, 1_400, 800, 6_000, 150
"""Bytes of a workflow beside the texts of the pipeline: of itself; and for each task, pipeline in it, loop, component.
Within a twentieth of what was measured on Kubeflow Pipelines 2.17, and rather above it."""
_ARTIFACT, _HERE, _OUTPUT, _ITEM = 600, 300, 350, 1_000
"""Bytes of what a task is told of an artifact that it reads, elsewhere and on this machine, and that it writes, and of
an item of a loop. On Kubeflow 520 and 260 were seen."""


@dataclass(frozen=True)
class Listed:
    """How long a list of artifacts gets.

    Attributes:
        key: Key of the run file, or option of `kep batch`, that sets it.
        count: Most elements.
    """

    key: str
    count: int


@dataclass(frozen=True)
class _Task:
    """A task that is a container.

    Attributes:
        name: In the graph that it is in.
        component: Component that it runs.
        given: Its parameters.
        loop: The list that has as many elements as the loop around it, by its name in `_lists`; empty for no loop.
    """

    name: str
    component: dict[str, Any]
    given: dict[str, Any]
    loop: str


def check(spec: dict[str, Any], platform: dict[str, Any], target: Target | None) -> None:
    """Refuses a pipeline that an engine would not take, or of which a task could not start.

    Args:
        spec: First YAML document of a compiled pipeline.
        platform: Second one; empty where there is none.
        target: Where it will run; None for this machine.

    Raises:
        UserError: Something is too large; the sentence says what, and how much fits.
    """
    defaults = {name: one.get("defaultValue", "") for name, one in _inputs(spec["root"]).items()}
    lists, tasks = _lists(defaults), list(_tasks(spec, spec["root"], defaults))
    if target == "kubeflow":
        _check_workflow(spec, platform, defaults)
    if target == "vertex":
        for name, value in defaults.items():
            _check_parameter(name, value)
        _check_number(sum(lists[task.loop].count if task.loop else 1 for task in tasks))
    if refused := [one for task in tasks if (one := _too_much(task, lists, target)) is not None]:
        raise UserError(min(refused)[1])


def workflow(spec: dict[str, Any], platform: dict[str, Any]) -> int:
    """Bytes of the Argo workflow that Kubeflow makes of a compiled pipeline."""
    components = [spec["root"], *spec["components"].values()]
    bytes_ = _WORKFLOW + _length(platform) + sum(_COMPONENT + _length(one) for one in components)
    bytes_ += sum(_length(one) for one in spec["deploymentSpec"]["executors"].values())
    for component in components:
        for task in component.get("dag", {"tasks": {}})["tasks"].values():
            called = spec["components"][task["componentRef"]["name"]]
            bytes_ += _length(task) + (_DAG if "dag" in called else _TASK)
            bytes_ += _length(task) + _LOOP if "parameterIterator" in task else 0
    return bytes_


def _check_workflow(spec: dict[str, Any], platform: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse a workflow, its graph or its parameters that are too large."""
    sizes: list[tuple[str, int, Callable[[dict[str, Any]], int]]] = [
        ("a workflow of {}, and Kubernetes keeps {}", LARGEST_WORKFLOW, lambda spec: workflow(spec, platform)),
        ("a graph of {}, and Kubeflow hands on {}", LARGEST_ARGUMENT, lambda spec: _length(spec["root"])),
        ("parameters of {}, and Kubeflow hands on {}", LARGEST_ARGUMENT, lambda spec: _length(defaults)),
    ]
    rounds, one_round = sum("suggest" in name for name in spec["root"]["dag"]["tasks"]), _of_one_round(spec)
    found, fit = [], rounds
    for words, most, size in sizes:
        bytes_, least = size(spec), size(one_round)
        if bytes_ > most:
            found.append(words.format(_words(bytes_), _words(most)))
            fit = min(fit, 1 + int((most - least) * (rounds - 1) / (bytes_ - least)) if least < most else 0)
    if not found:
        return
    told = " and ".join(found)
    if fit > 0:
        raise UserError(
            f"search.rounds: {rounds} make {told}; at most {fit} fit, and each may have more parallel_trials"
        )
    raise UserError(f"the pipeline makes {told}; shorten the source of the families, which travels in it")


def _of_one_round(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a pipeline without the tasks of its later rounds."""
    tasks = spec["root"]["dag"]["tasks"]
    kept = {name: task for name, task in tasks.items() if not re.fullmatch(r"(suggest|trials)-\d+", name)}
    root = spec["root"] | {"dag": spec["root"]["dag"] | {"tasks": kept}}
    return spec | {"root": root}


def _check_parameter(name: str, value: Any) -> None:
    if (bytes_ := _length(value)) > LARGEST_PARAMETER:
        what = "shorten the source of the families" if name == "families" else f"shorten what {name} holds"
        raise UserError(
            f"the parameter {name} has {_words(bytes_)}, and Vertex AI takes {_words(LARGEST_PARAMETER)}; {what}"
        )


def _check_number(tasks: int) -> None:
    if tasks > MOST_TASKS:
        raise UserError(
            f"the pipeline has up to {tasks:,} tasks, and Vertex AI takes {MOST_TASKS:,}; lower search.rounds or "
            "search.parallel_trials"
        )


def _too_much(task: _Task, lists: Mapping[str, Listed], target: Target | None) -> tuple[int, str] | None:
    """Return how much of its longest list fits, and why, where a task reads too many artifacts or is told too much."""
    name, component, given = task.name, task.component, task.given
    inputs = component.get("inputDefinitions", {}).get("artifacts", {})
    outputs = len(component.get("outputDefinitions", {}).get("artifacts", {}))
    longest = max(
        (lists[key] for key, one in inputs.items() if one.get("isArtifactList")),
        key=lambda one: one.count,
        default=Listed("", 0),
    )
    several = sum(bool(one.get("isArtifactList")) and lists[key] == longest for key, one in inputs.items())
    read = sum(lists[key].count if one.get("isArtifactList") else 1 for key, one in inputs.items())
    others = read - several * longest.count
    told = _length(json.dumps({"parameterValues": given})) + outputs * _OUTPUT
    if target == "vertex" and read + outputs > MOST_ARTIFACTS:
        fit = (MOST_ARTIFACTS - others - outputs) // several
        return fit, (
            f"{longest.key}: with {longest.count} the task {name} reads and writes {read + outputs} artifacts, and "
            f"Vertex AI lets a task have {MOST_ARTIFACTS}; at most {fit} fit"
        )
    each = _ARTIFACT if target else _HERE
    if (bytes_ := told + read * each) <= LARGEST_ARGUMENT:
        return None
    fit = (LARGEST_ARGUMENT - told - others * each) // (several * each) if several else 0
    much = f"the task {name} is told {_words(bytes_)}, and Linux starts a process with {_words(LARGEST_ARGUMENT)}"
    if fit < 1:
        largest = max(given, key=lambda key: _length(given[key]))
        return 0, f"{much}; shorten its parameter {largest}, which has {_words(_length(given[largest]))}"
    return fit, f"{longest.key}: with {longest.count} {much}; at most {fit} fit"


def _tasks(spec: dict[str, Any], dag: dict[str, Any], values: Mapping[str, Any], loop: str = "") -> Iterator[_Task]:
    """Yield the tasks of a graph and of those in it."""
    for name, task in dag["dag"]["tasks"].items():
        component = spec["components"][task["componentRef"]["name"]]
        given = {key: _value(one, values) for key, one in task.get("inputs", {}).get("parameters", {}).items()}
        if "dag" in component:
            items = task.get("parameterIterator", {}).get("items", {}).get("inputParameter", "")
            yield from _tasks(spec, component, given, _LOOPS.get(items.rpartition("--")[2], loop))
        elif "container" in spec["deploymentSpec"]["executors"].get(component["executorLabel"], {}):
            yield _Task(name, component, given, loop)


def _value(source: dict[str, Any], values: Mapping[str, Any]) -> Any:
    """Return what a task's parameter will be; an item's length where only the run will know."""
    if "runtimeValue" in source:
        return source["runtimeValue"].get("constant", "")
    return values.get(source.get("componentInputParameter", ""), "x" * _ITEM)


def _inputs(component: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = component.get("inputDefinitions", {}).get("parameters", {})
    return found


def _lists(defaults: Mapping[str, Any]) -> dict[str, Listed]:
    """Return how long each list of artifacts gets, by the input that takes it."""
    if "predict_config" in defaults:
        settings = PredictSettings.model_validate_json(defaults["predict_config"])
        return dict.fromkeys(("slices", "scans"), Listed("--tasks", settings.tasks))
    search = SearchTask.model_validate_json(defaults["search_config"])
    ensemble = EnsembleSettings.model_validate_json(defaults["ensemble"])
    parts = Listed("data.ingest_tasks", DataSettings.model_validate_json(defaults["data"]).ingest_tasks)
    candidates = Listed("search.top_n", min(search.top_n, search.max_trials))
    return {
        **dict.fromkeys(("scans", "keys", "counts", "pieces"), parts),
        "trials": Listed("search.parallel_trials", search.parallel_trials if search.rounds else 0),
        "results": candidates,
        "members": Listed("ensemble.max_members", min(candidates.count, ensemble.max_members)),
    }


def _length(value: Any) -> int:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return len(text.encode())


def _words(bytes_: int) -> str:
    return f"{bytes_ / 1024:,.0f} KiB"
