"""Checks of a compiled pipeline: shapes that kfp.local 2.17 runs wrongly, and references that lead nowhere.

kfp.local gives a loop's body wrong values without an error, skips conditions silently, and crashes on some
artifacts; the cloud runs the same shapes rightly. One YAML for both therefore means leaving them out.
"""

import re
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from kep.runtime.command import FIRST_PROCESS


def lint(spec: dict[str, Any]) -> list[str]:
    """Problems of a compiled pipeline, one sentence each; none for a pipeline that runs alike everywhere.

    Args:
        spec: First YAML document of the compiled file.
    """
    try:
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(spec.get("deploymentSpec", {}), pipeline_spec_pb2.PipelineDeploymentConfig())
    except json_format.ParseError as error:
        return [f"the file is no pipeline specification: {error}"]
    problems = [
        f'root: parameter "{name}" is optional without a default, which crashes kfp.local'
        for name, parameter in spec["root"].get("inputDefinitions", {}).get("parameters", {}).items()
        if parameter.get("isOptional") and "defaultValue" not in parameter
    ]
    problems += _graph("root", spec["root"], spec)
    return problems


def _graph(name: str, component: dict[str, Any], spec: dict[str, Any]) -> Iterator[str]:
    tasks = component["dag"]["tasks"]
    for task_name, task in tasks.items():
        where = f"{name}/{task_name}"
        called = spec["components"].get(task["componentRef"]["name"])
        if called is None:
            yield f"{where}: component {task['componentRef']['name']} is not defined"
            continue
        yield from _references(where, task, component, spec)
        yield from _loop(where, task, called)
        yield from _condition(where, task)
        if "executorLabel" in called:
            yield from _executor(where, called, spec)
        if "dag" in called:
            yield from _graph(task["componentRef"]["name"], called, spec)
    for output, artifact in component["dag"].get("outputs", {}).get("artifacts", {}).items():
        if len(artifact["artifactSelectors"]) > 1:
            yield f'{name}: output "{output}" is one of several artifacts, which crashes kfp.local'


def _references(where: str, task: dict[str, Any], component: dict[str, Any], spec: dict[str, Any]) -> Iterator[str]:
    """Inputs that nothing provides; the compiler leaves such behind for resources inside loops."""
    tasks, declared = component["dag"]["tasks"], component.get("inputDefinitions", {})
    for other in task.get("dependentTasks", []):
        if other not in tasks:
            yield f"{where}: depends on {other}, which is not defined"
    for kind, from_task, from_graph in (
        ("parameters", "taskOutputParameter", "componentInputParameter"),
        ("artifacts", "taskOutputArtifact", "componentInputArtifact"),
    ):
        for key, value in task.get("inputs", {}).get(kind, {}).items():
            if from_graph in value and value[from_graph] not in declared.get(kind, {}):
                yield f'{where}: input "{key}" reads "{value[from_graph]}", which its graph does not declare'
            if from_task in value:
                source = value[from_task]
                producer = tasks.get(source["producerTask"])
                produced = spec["components"].get(producer["componentRef"]["name"], {}) if producer else {}
                key_name = "outputParameterKey" if kind == "parameters" else "outputArtifactKey"
                if source[key_name] not in produced.get("outputDefinitions", {}).get(kind, {}):
                    read = f"{source['producerTask']}.{source[key_name]}"
                    yield f'{where}: input "{key}" reads {read}, which does not exist'


def _loop(where: str, task: dict[str, Any], called: dict[str, Any]) -> Iterator[str]:
    iterator = task.get("parameterIterator")
    if not iterator:
        return
    items = iterator["items"].get("inputParameter")
    raw = iterator["items"].get("raw")
    if raw is not None and raw.replace(" ", "") == "[]":
        yield f"{where}: loops over an empty list, whose results kfp.local can't collect"
    for key, value in task.get("inputs", {}).get("parameters", {}).items():
        output = value.get("taskOutputParameter", {}).get("outputParameterKey")
        if key == items:
            if output not in (None, "Output"):
                yield f'{where}: loops over the named output "{output}", which crashes kfp.local; use the unnamed one'
        elif output is not None:
            yield (
                f'{where}: the loop\'s body reads "{key}" of another task, for which kfp.local gives the loop item; '
                "put the loop into a pipeline of its own and pass the value in"
            )
        elif "-loop-item" in value.get("componentInputParameter", ""):
            yield f"{where}: an inner loop reads the outer loop's item, for which kfp.local gives the inner one"
    if any("parameterIterator" in inner for inner in called.get("dag", {}).get("tasks", {}).values()):
        yield f"{where}: a loop inside a loop; its artifacts can't be collected by kfp.local"


def _condition(where: str, task: dict[str, Any]) -> Iterator[str]:
    condition = task.get("triggerPolicy", {}).get("condition", "")
    inputs = task.get("inputs", {}).get("parameters", {})
    for key in re.findall(r"parameter_values\['([^']+)'\]", condition):
        output = inputs.get(key, {}).get("taskOutputParameter", {}).get("outputParameterKey")
        if output not in (None, "Output"):
            yield f'{where}: a condition on the named output "{output}" is skipped by kfp.local; use an unnamed one'
        if "-loop-item" in key:
            yield f"{where}: a condition on the loop item is skipped by kfp.local; decide inside the step"


def _executor(where: str, called: dict[str, Any], spec: dict[str, Any]) -> Iterator[str]:
    executor = spec["deploymentSpec"]["executors"].get(called["executorLabel"])
    if executor is None:
        yield f"{where}: executor {called['executorLabel']} is not defined"
        return
    container = executor.get("container")
    if container is None:
        return
    words = [str(word) for word in [*container.get("command", []), *container.get("args", [])]]
    if not any("kfp.dsl.executor_main" in word for word in words):
        yield f"{where}: a container component, which kfp.local can't run as a process; use a Python component"
    elif words[:3] == ["python3", "-m", "kfp.dsl.executor_main"]:
        yield f"{where}: a containerised Python component, which kfp.local can't run as a process"
    elif not any(f"-m {FIRST_PROCESS} " in word for word in words):
        yield f"{where}: its shell keeps SIGTERM from Python; declare it with kep.runtime.component.step"
    if any("pip install" in word for word in words):
        yield f"{where}: installs packages when it runs; they belong into the image"
