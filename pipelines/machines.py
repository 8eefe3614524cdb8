"""What the tasks ask the pipeline engine for: cores, memory, accelerators, nodes, volumes, secrets.

It is written into the compiled pipeline where the images are, so that the graph is the same whatever the machines.
Cores, memory and accelerators stand in the first YAML document, the rest in a second one that only Kubeflow takes.
A GPU's model, which Vertex AI and Kubernetes have different names for, is an input of the pipeline, so that the first
document is the same for both.
"""

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Literal

from components.shared.errors import UserError
from components.shared.settings import Machine
from pipelines import custom_jobs
from pipelines.local import step_of

Target = Literal["vertex", "kubeflow"]
_GKE = "cloud.google.com/gke-"
_GPU = "nvidia.com/gpu"
_MODEL = "accelerator_"


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
        own = [key for key in machine.for_job if key not in ("accelerator", "spot")]
        if target == "kubeflow" and own:
            raise UserError(f"{where}.{own[0]}: only Vertex AI has it, in custom jobs; remove it, or run it there")
        for number, place in enumerate(machine.places):
            here = f"{where}.fallback.{number - 1}" if number else where
            if place.accelerator == "tpu-v6e-slice":
                raise UserError(
                    f"{here}.accelerator: TensorFlow, which trains here, does not train on tpu-v6e-slice and later "
                    "(docs/training.md); take tpu-v5-lite-podslice"
                )
            if target == "kubeflow":
                continue
            if place.accelerator == "nvidia":
                raise UserError(f"{here}.accelerator: Vertex AI needs the GPU's name, such as nvidia-tesla-t4")
            if machine.for_job:
                custom_jobs.check(here, place)


def place(spec: dict, machines: Mapping[str, Machine], target: Target) -> list[dict]:
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
        if by_job(machine, target):
            continue  # the task only waits
        if resources := _resources(machine):
            spec["deploymentSpec"]["executors"][label]["container"]["resources"] = resources
        if model := _model(machine):
            _hand_down(spec, label, _input(machine), model)
        if target == "kubeflow" and (config := _kubernetes(machine)):
            configured[label] = config
    if not configured:
        return []
    return [{"platforms": {"kubernetes": {"deploymentSpec": {"executors": configured}}}}]


def by_job(machine: Machine, target: Target) -> bool:
    """Whether a custom job, and not the task itself, runs a step on that machine."""
    return target == "vertex" and bool(machine.for_job)


def of_executors(spec: dict, machines: Mapping[str, Machine]) -> Iterator[tuple[str, Machine]]:
    """The machine of each executor of a compiled pipeline that has one.

    Tasks of a search in rounds that train nothing, the suggestions and their gathering, get no accelerator, and no
    custom job.
    """
    executors = spec["deploymentSpec"]["executors"]
    for label, executor in executors.items():
        task = label.removeprefix("exec-")
        machine = machines.get(step_of(task))
        if machine is None or "container" not in executor:
            continue
        idle = step_of(task) == "tune" and "exec-trial" in executors and not task.startswith("trial")
        yield label, machine.idle() if idle else machine


def on_kubernetes(spec: dict) -> dict[str, str]:
    """What a run on Kubeflow sets of a compiled pipeline's inputs: each GPU's resource, instead of its model."""
    return {name: _GPU for name in spec["root"]["inputDefinitions"]["parameters"] if name.startswith(_MODEL)}


def accelerator_of(spec: dict, executor: dict) -> tuple[str, int] | None:
    """The accelerator that a task of a compiled pipeline asks for, as Vertex AI has it where it does, and how many."""
    asked = executor.get("container", {}).get("resources", {}).get("accelerator")
    if asked is None:
        return None
    name, inputs = asked["resourceType"], spec["root"]["inputDefinitions"]["parameters"]
    models = {_channel(key): inputs[key]["defaultValue"] for key in on_kubernetes(spec)}
    return models.get(name, name), int(asked["resourceCount"])


def _resources(machine: Machine) -> dict[str, Any]:
    """As kfp's `set_cpu_limit`, `set_memory_limit`, `set_accelerator_type` and `set_accelerator_limit` write them."""
    asked: dict[str, Any] = {}
    if machine.cpu:
        asked |= {"cpuLimit": float(machine.cpu), "resourceCpuLimit": str(machine.cpu)}
    if machine.memory_gb:
        asked |= {"memoryLimit": float(machine.memory_gb), "resourceMemoryLimit": f"{machine.memory_gb}G"}
    if machine.accelerator:
        count, name = str(machine.accelerators), _resource(machine)
        kind = {"resourceType": _channel(_input(machine))} if _model(machine) else {"type": name, "resourceType": name}
        asked["accelerator"] = {**kind, "count": count, "resourceCount": count}
    return asked


def _hand_down(spec: dict, executor: str, name: str, model: str) -> None:
    """Makes an input of the pipeline reach the tasks of an executor, through the loops that they are in.

    kfp's `set_accelerator_type` writes a task's inputs like this for a parameter, and of a task in a loop leaves out
    what the loop would need.
    """
    spec["root"]["inputDefinitions"]["parameters"][name] = {
        "parameterType": "STRING",
        "defaultValue": model,
        "isOptional": True,
        "description": f"What a GPU is called: {model} on Vertex AI, {_GPU} on Kubeflow.",
    }
    channel = f"pipelinechannel--{name}"
    reached = {label for label, component in spec["components"].items() if component.get("executorLabel") == executor}
    asked = {"accelerator_type": {"runtimeValue": {"constant": _channel(name)}}}
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


def _model(machine: Machine) -> str:
    """Vertex AI's name of a machine's GPU; empty without one, and for one of any model, which Vertex AI has not."""
    named = machine.on_gpu and machine.accelerator != "nvidia"
    return machine.accelerator.upper().replace("-", "_") if named else ""


def _input(machine: Machine) -> str:
    """The pipeline's input that says what a machine's GPU is called."""
    return f"{_MODEL}{machine.accelerator.replace('-', '_')}"


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
    return task.platform_config.get("kubernetes", {})


def _gke(machine: Machine) -> dict[str, str]:
    labels = {}
    if machine.accelerator and machine.accelerator != "nvidia":
        labels[f"{_GKE}{'tpu-' if machine.on_tpu else ''}accelerator"] = machine.accelerator
    if machine.topology:
        labels[f"{_GKE}tpu-topology"] = machine.topology
    if machine.spot:
        labels[f"{_GKE}spot"] = "true"
    return labels
