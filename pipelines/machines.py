"""Requests of the tasks to the pipeline engine: cores, memory, accelerators, nodes, volumes, secrets.

It is written into the compiled pipeline where the images are, so that the graph is the same whatever the machines.
Cores, memory and accelerators stand in the first YAML document, the rest in a second one that only Kubeflow takes. The
two engines differ only in inputs of the pipeline, so that the first document is the same for both. These are the name
of a GPU, and the whole request of a task that on Vertex AI waits for a custom job.
"""

import json
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Literal

from kep.config.machine import Machine
from kep.core.environment import SECRETS
from kep.core.errors import UserError
from kep.google import custom_jobs
from kep.google.machine_types import DEFAULT_MACHINE, SHAPES
from kep.pipelines.steps import EXIT, step_of

Target = Literal["vertex", "kubeflow"]
_GKE = "cloud.google.com/gke-"
_GPU = "nvidia.com/gpu"
_CPU, _MEMORY, _TYPE, _COUNT = "cpu_limit", "memory_limit", "accelerator_type", "accelerator_count"
"""Fields of a task's request in kfp: `kfp.dsl.structures.ResourceSpec`."""
_FIELDS = {
    _CPU: ("resourceCpuLimit", "cpuLimit"),
    _MEMORY: ("resourceMemoryLimit", "memoryLimit"),
    _TYPE: ("resourceType", "type"),
    _COUNT: ("resourceCount", "count"),
}
"""Where it is written, and where else for older servers, which take no input of the pipeline there."""
_WAITING = {
    _CPU: str(SHAPES[DEFAULT_MACHINE].cpu),
    _MEMORY: f"{SHAPES[DEFAULT_MACHINE].memory_gb}G",
    _TYPE: "ACCELERATOR_TYPE_UNSPECIFIED",
    _COUNT: "0",
}
"""Request of a task that waits for a custom job: Vertex AI's own default, and its word for no accelerator."""


def check(machines: Mapping[str, Machine], target: Target) -> None:
    """Refuses what can't be had at the target.

    Args:
        machines: By step.
        target: Where they would run.

    Raises:
        UserError: A machine can't be had there.
    """
    for step, machine in machines.items():
        where = f"hardware.{step}.machine"
        if target == "kubeflow" and (own := _only_vertex(machine)):
            raise UserError(f"{where}.{own[0]}: only Vertex AI has it, in custom jobs; remove it, or run it there")
        for number, place in enumerate(machine.places):
            here = f"{where}.fallback.{number - 1}" if number else where
            if place.accelerator == "tpu-v6e-slice":
                raise UserError(
                    f"{here}.accelerator: TensorFlow, which trains here, does not train on tpu-v6e-slice and later "
                    "(docs/explanation/training.md); take tpu-v5-lite-podslice"
                )
            if target == "kubeflow":
                continue
            if place.accelerator == "nvidia":
                raise UserError(f"{here}.accelerator: Vertex AI needs the GPU's name, such as nvidia-tesla-t4")
            if machine.for_job and (why := custom_jobs.refusal(here, place)):
                raise UserError(why)


def place(spec: dict[str, Any], machines: Mapping[str, Machine], target: Target) -> list[dict[str, Any]]:
    """Writes the machines into a compiled pipeline.

    Args:
        spec: Its first YAML document, which is changed.
        machines: By step.
        target: Where it will run.

    Returns:
        Further YAML documents: the one of Kubernetes where Kubeflow needs one.

    Raises:
        UserError: A machine can't be had there.
    """
    check(machines, target)
    configured = {}
    for label, machine in of_executors(spec, machines):
        step, container = step_of(label.removeprefix("exec-")), spec["deploymentSpec"]["executors"][label]["container"]
        inputs = _inputs(machine)
        if resources := _resources(machine, {key: _name(step, key) for key in inputs}):
            container["resources"] = resources
        for key, value in inputs.items():
            _hand_down(spec, label, key, _name(step, key), value)
        if target == "vertex" and (machine.secrets or machine.secret_variables):
            wanted = {"files": machine.secrets, "variables": machine.secret_variables}
            value = json.dumps({name: given for name, given in wanted.items() if given}, sort_keys=True)
            container["env"] = [*container.get("env", []), {"name": SECRETS, "value": value}]
        if target == "kubeflow" and (config := _kubernetes(machine)):
            configured[label] = config
    if not configured:
        return []
    return [{"platforms": {"kubernetes": {"deploymentSpec": {"executors": configured}}}}]


def by_job(machine: Machine) -> bool:
    """Return whether on Vertex AI a custom job runs a step on that machine, and not the task itself."""
    return bool(machine.for_job) and not custom_jobs.refusal("", machine)


def limits(step: str, machine: Machine) -> dict[str, str] | None:
    """Return the inputs of the pipeline on Kubeflow for a step that a custom job runs on Vertex AI.

    Returns:
        Values by name; None for a machine that only Vertex AI has.
    """
    if _only_vertex(machine):
        return None
    return {_name(step, key): value for key, value in _asked(machine).items()}


def of_executors(spec: dict[str, Any], machines: Mapping[str, Machine]) -> Iterator[tuple[str, Machine]]:
    """The machine of each executor of a compiled pipeline that has one.

    Tasks of a search in rounds that train nothing, the suggestions and their gathering, and the exit handler get no
    accelerator, and no custom job.
    """
    executors = spec["deploymentSpec"]["executors"]
    for label, executor in executors.items():
        task = label.removeprefix("exec-")
        step = step_of(task)
        # It needs the champions' volume and the secrets that promote has.
        machine = machines.get("promote" if step == EXIT else step)
        if machine is None or "container" not in executor:
            continue
        idle = step == EXIT or (step == "tune" and "exec-trial" in executors and not task.startswith("trial"))
        yield label, machine.idle() if idle else machine


def on_kubernetes(spec: dict[str, Any]) -> dict[str, str]:
    """Return the inputs of a compiled pipeline that a run on Kubeflow sets."""
    jobs = [job for executor in spec["deploymentSpec"]["executors"].values() if (job := custom_jobs.job_of(executor))]
    there = {name: value for job in jobs for name, value in (job.limits or {}).items()}
    names = [name for name in spec["root"]["inputDefinitions"]["parameters"] if name in there or name.endswith(_TYPE)]
    return {name: there.get(name, _GPU) for name in names}


def asked_of(spec: dict[str, Any], given: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the requests of the tasks of a compiled pipeline: the inverse of `place`.

    Args:
        spec: Its first YAML document.
        given: Inputs that the run sets.

    Returns:
        Of each executor, by its label, those of `cpu_limit`, `memory_limit`, `accelerator_type` and
        `accelerator_count` that it has.
    """
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    values = {_channel(name): given.get(name, definition.get("defaultValue")) for name, definition in inputs.items()}
    asked = {}
    for label, executor in spec["deploymentSpec"]["executors"].items():
        resources = executor.get("container", {}).get("resources", {})
        fields = resources | resources.get("accelerator", {})
        written = {key: fields[field] for key, (field, _) in _FIELDS.items() if field in fields}
        asked[label] = {key: values.get(value, value) for key, value in written.items()}
    return asked


def _only_vertex(machine: Machine) -> list[str]:
    """Return the machine settings that Kubeflow does not support."""
    return [key for key in machine.for_job if key not in ("accelerator", "spot")]


def _asked(machine: Machine) -> dict[str, str]:
    """Return the request of a task to Kubeflow; empty for a machine that only Vertex AI has, whose task only waits."""
    if _only_vertex(machine):
        return {}
    asked = {_CPU: str(machine.cpu)} if machine.cpu else {}
    asked |= {_MEMORY: f"{machine.memory_gb}G"} if machine.memory_gb else {}
    if machine.accelerator:
        asked |= {_TYPE: _resource(machine), _COUNT: str(machine.accelerators)}
    return asked


def _inputs(machine: Machine) -> dict[str, str]:
    """Return the request to Vertex AI instead, which has no GPU of any model."""
    if by_job(machine):
        return {key: _WAITING[key] for key in _asked(machine)}
    if not machine.accelerator or not machine.on_gpu or machine.accelerator == "nvidia":
        return {}
    return {_TYPE: machine.accelerator.upper().replace("-", "_")}


def _resources(machine: Machine, names: Mapping[str, str]) -> dict[str, Any]:
    """As kfp's `set_cpu_limit`, `set_memory_limit`, `set_accelerator_type` and `set_accelerator_limit` write them.

    Args:
        machine: Machine that the task requests.
        names: Names of the inputs that say it instead.
    """
    resources: dict[str, Any] = {}
    for key, value in _asked(machine).items():
        fields = resources.setdefault("accelerator", {}) if key in (_TYPE, _COUNT) else resources
        field, old = _FIELDS[key]
        fields[field] = _channel(names[key]) if key in names else value
        if key not in names:
            fields[old] = value if fields is not resources else float(value.removesuffix("G"))
    return resources


def _hand_down(spec: dict[str, Any], executor: str, key: str, name: str, value: str) -> None:
    """Makes an input of the pipeline reach the tasks of an executor, through the loops that they are in.

    kfp writes a task's inputs like this for a parameter, and of a task in a loop leaves out what the loop would need.

    Args:
        spec: Compiled pipeline, which is changed.
        executor: Label of it.
        key: Field of kfp's request that it fills.
        name: Name of the input.
        value: On Vertex AI.
    """
    spec["root"]["inputDefinitions"]["parameters"][name] = {
        "parameterType": "STRING",
        "defaultValue": value,
        "isOptional": True,
        "description": f"The tasks' {key}, on Vertex AI {value}; kep submit --target kubeflow gives Kubeflow its own.",
    }
    channel = f"pipelinechannel--{name}"
    reached = {label for label, component in spec["components"].items() if component.get("executorLabel") == executor}
    asked = {key: {"runtimeValue": {"constant": _channel(name)}}}
    while reached:
        above = set()
        for label, dag in [("", spec["root"]), *spec["components"].items()]:
            for task in dag.get("dag", {"tasks": {}})["tasks"].values():
                if task["componentRef"]["name"] in reached:
                    given = {channel: {"componentInputParameter": channel if label else name}}
                    task["inputs"]["parameters"] |= given | asked
                    above |= {label} - {""}
        for label in above:
            spec["components"][label]["inputDefinitions"]["parameters"][channel] = {"parameterType": "STRING"}
        reached, asked = above, {}


def _name(step: str, key: str) -> str:
    """The pipeline's input that says what a step's tasks ask for."""
    return f"{step}_{key}"


def _channel(name: str) -> str:
    """An input of the pipeline as an executor names it."""
    return f"{{{{$.inputs.parameters['pipelinechannel--{name}']}}}}"


def _resource(machine: Machine) -> str:
    return "google.com/tpu" if machine.on_tpu else _GPU


def _kubernetes(machine: Machine) -> dict[str, Any]:
    """As the functions of kfp-kubernetes write it, which look at nothing of a task but its `platform_config`."""
    from kfp import kubernetes

    task: Any = SimpleNamespace(platform_config={})
    for label, value in (_gke(machine) if machine.node_selector is None else machine.node_selector).items():
        kubernetes.add_node_selector(task, label, value)
    if machine.accelerator:
        kubernetes.add_toleration(task, key=_resource(machine), operator="Exists", effect="NoSchedule")
    if machine.spot:
        kubernetes.add_toleration(task, key=f"{_GKE}spot", operator="Equal", value="true", effect="NoSchedule")
    for toleration in machine.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump())
    for claim, path in machine.volumes.items():
        kubernetes.mount_pvc(task, claim, path)
    for secret, path in machine.secrets.items():
        kubernetes.use_secret_as_volume(task, secret, path)
    for secret, variables in machine.secret_variables.items():
        kubernetes.use_secret_as_env(task, secret, variables)
    config: dict[str, Any] = task.platform_config.get("kubernetes", {})
    return config


def _gke(machine: Machine) -> dict[str, str]:
    labels: dict[str, str] = {}
    if machine.accelerator and machine.accelerator != "nvidia":
        labels[f"{_GKE}{'tpu-' if machine.on_tpu else ''}accelerator"] = machine.accelerator
    if machine.topology:
        labels[f"{_GKE}tpu-topology"] = machine.topology
    if machine.spot:
        labels[f"{_GKE}spot"] = "true"
    return labels
