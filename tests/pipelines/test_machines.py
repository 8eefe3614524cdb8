"""Machines per step: the same graph whatever they are, in the words of kfp and of kfp-kubernetes."""

from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler, dsl, kubernetes
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec import pipeline_spec_pb2

from components.shared.component import step
from components.shared.errors import UserError
from pipelines.arguments import arguments
from pipelines.compile import compile_training
from pipelines.config import validate
from pipelines.lint import lint
from tests.pipelines.test_images import PINNED

IMAGES = PINNED | {name: f"registry.example/team/{name}@sha256:{'c' * 64}" for name in ("gpu", "tpu")}
GPUS = {"cpu": 16, "memory_gb": 60, "accelerator": "nvidia-tesla-t4", "accelerators": 4}
TPU = {"accelerator": "tpu-v5-lite-podslice", "accelerators": 8, "topology": "2x4"}
CHAMPIONS = {"volumes": {"champions": "/champions"}}
PROFILES = {
    "cpu": {"ingest": {"cpu": 8, "memory_gb": 32}, "promote": CHAMPIONS},
    "gpus": {name: GPUS | {"spot": True} for name in ("tune", "best_epoch", "retrain", "evaluate")},
    "tpu": {"retrain": TPU},
}


def of(machines: dict, **more) -> object:
    hardware = {name: {"machine": machine} for name, machine in machines.items()}
    return validate({"name": "x", "data": {"source": "sklearn:iris"}, "hardware": hardware} | more)


def compiled(folder: Path, machines: dict, target: str = "kubeflow", **more) -> str:
    settings = of(machines, **more)
    given = arguments(settings, folder, Path("c"))
    compile_training(folder / "p.yaml", given, IMAGES, settings.hardware.machines, target)
    return (folder / "p.yaml").read_text()


def documents(text: str) -> tuple[dict, dict]:
    first, *rest = yaml.safe_load_all(text)
    return first, rest[0] if rest else {}


def executors(spec: dict) -> dict[str, dict]:
    return {label: executor["container"] for label, executor in spec["deploymentSpec"]["executors"].items()}


def test_the_graph_is_the_same_whatever_the_machines(tmp_path):
    plain, _ = documents(compiled(tmp_path, {}))
    graphs = []
    for machines in PROFILES.values():
        spec, _ = documents(compiled(tmp_path, machines))
        for container in executors(spec).values():
            container.pop("resources", None)
            container["image"] = ""
        graphs.append(spec)
    for container in executors(plain).values():
        container["image"] = ""
    assert graphs == [plain] * 3


@pytest.mark.parametrize("machines", PROFILES.values(), ids=PROFILES)
def test_both_documents_are_what_kubeflow_reads(tmp_path, machines):
    spec, platform = documents(compiled(tmp_path, machines))
    assert lint(spec) == []
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    configured = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert configured.keys() <= executors(spec).keys()
    for config in configured.values():
        json_format.ParseDict(config, KubernetesExecutorConfig())


def test_the_first_document_is_that_of_vertex_ai(tmp_path):
    machines = {"ingest": {"cpu": 8, "memory_gb": 32}, "evaluate": CHAMPIONS, "promote": CHAMPIONS}
    first, separator, _ = compiled(tmp_path, machines).partition("\n---\n")
    assert separator
    assert f"{first}\n" == compiled(tmp_path, machines, "vertex")
    assert compiled(tmp_path, {}) == compiled(tmp_path, {}, "vertex")


def test_of_accelerators_the_engines_have_their_own_names_and_nothing_else(tmp_path):
    kubeflow, vertex = (compiled(tmp_path, {"retrain": GPUS}, target) for target in ("kubeflow", "vertex"))
    assert kubeflow.partition("\n---\n")[0] + "\n" == vertex.replace("NVIDIA_TESLA_T4", "nvidia.com/gpu")


def test_resources_are_those_that_kfp_writes(tmp_path):
    @step
    def retrain() -> None:
        pass

    @dsl.pipeline
    def theirs():
        task = retrain().set_cpu_limit("16").set_memory_limit("60G")
        task.set_accelerator_type("NVIDIA_TESLA_T4").set_accelerator_limit(4)

    compiler.Compiler().compile(theirs, str(tmp_path / "theirs.yaml"))
    written, _ = documents((tmp_path / "theirs.yaml").read_text())
    spec, _ = documents(compiled(tmp_path, {"retrain": GPUS}, "vertex"))
    assert executors(spec)["exec-retrain"]["resources"] == executors(written)["exec-retrain"]["resources"]


def test_nodes_volumes_and_secrets_are_those_that_kfp_kubernetes_writes(tmp_path):
    @step
    def retrain() -> None:
        pass

    @dsl.pipeline
    def theirs():
        task = retrain()
        kubernetes.add_node_selector(task, "pool", "a")
        kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
        kubernetes.add_toleration(task, key="team", operator="Equal", value="a", effect="NoExecute")
        kubernetes.mount_pvc(task, "data", "/data")
        kubernetes.use_secret_as_volume(task, "login", "/login")
        kubernetes.use_secret_as_env(task, "store", {"key": "STORE_KEY"})

    compiler.Compiler().compile(theirs, str(tmp_path / "theirs.yaml"))
    _, written = documents((tmp_path / "theirs.yaml").read_text())
    machine = {
        "accelerator": "nvidia",
        "node_selector": {"pool": "a"},
        "tolerations": [{"key": "team", "value": "a", "effect": "NoExecute"}],
        "volumes": {"data": "/data"},
        "secrets": {"login": "/login"},
        "secret_variables": {"store": {"key": "STORE_KEY"}},
    }
    assert documents(compiled(tmp_path, {"retrain": machine}))[1] == written


@pytest.mark.parametrize(
    ("machine", "labels"),
    [
        (GPUS, {"accelerator": "nvidia-tesla-t4"}),
        (GPUS | {"spot": True}, {"accelerator": "nvidia-tesla-t4", "spot": "true"}),
        (TPU, {"tpu-accelerator": "tpu-v5-lite-podslice", "tpu-topology": "2x4"}),
        ({"accelerator": "nvidia"}, {}),
        ({"cpu": 2, "spot": True}, {"spot": "true"}),
        (GPUS | {"node_selector": {}}, {}),
    ],
)
def test_labels_of_nodes_are_those_of_gke_unless_others_are_given(tmp_path, machine, labels):
    _, platform = documents(compiled(tmp_path, {"retrain": machine}))
    config = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-retrain"]
    expected = {f"cloud.google.com/gke-{label}": value for label, value in labels.items()}
    assert config.get("nodeSelector", {}).get("labels", {}) == expected


def test_a_step_with_an_accelerator_runs_in_its_image(tmp_path):
    spec, _ = documents(compiled(tmp_path, {"retrain": TPU, "tune": GPUS, "evaluate": {"cpu": 8}}))
    used = {label.removeprefix("exec-"): one["image"] for label, one in executors(spec).items()}
    cpu = IMAGES["cpu"]
    assert (used["tune"], used["retrain"], used["best-epoch"], used["evaluate"]) == (
        IMAGES["gpu"],
        IMAGES["tpu"],
        cpu,
        cpu,
    )


def test_in_rounds_only_trials_get_the_accelerator(tmp_path):
    machine = GPUS | {"volumes": {"data": "/data"}}
    spec, platform = documents(compiled(tmp_path, {"tune": machine}, search={"rounds": 2}))
    asked = {label: one["resources"] for label, one in executors(spec).items() if "resources" in one}
    assert {label for label, one in asked.items() if "accelerator" in one} == {"exec-trial", "exec-trial-2"}
    assert {"exec-suggest", "exec-suggest-2", "exec-tune", "exec-trial", "exec-trial-2"} == asked.keys()
    configured = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {label for label, one in configured.items() if "nodeSelector" in one} == {"exec-trial", "exec-trial-2"}
    assert all(one["pvcMount"] for one in configured.values())
    assert executors(spec)["exec-suggest"]["image"] == IMAGES["cpu"]


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (TPU, "hardware.retrain.machine.accelerator: a task of Vertex AI Pipelines can't have tpu-v5-lite-podslice"),
        (GPUS | {"spot": True}, "hardware.retrain.machine.spot: a task of Vertex AI Pipelines can't ask for Spot"),
        ({"accelerator": "nvidia"}, "hardware.retrain.machine.accelerator: Vertex AI needs the GPU's name"),
    ],
)
def test_what_a_task_of_vertex_ai_can_not_have(tmp_path, machine, words):
    with pytest.raises(UserError, match=words):
        compiled(tmp_path, {"retrain": machine}, "vertex")


def test_an_image_that_the_lock_lacks_is_named(tmp_path):
    settings = of({"retrain": GPUS})
    with pytest.raises(UserError, match=r"the lock has no image gpu, which hardware\.retrain\.machine needs"):
        compile_training(
            tmp_path / "p.yaml", arguments(settings, tmp_path, Path("c")), PINNED, settings.hardware.machines
        )


def test_no_step_gets_its_machine():
    """What a step gets is its key in every cache."""
    bare, placed = (arguments(of(machines), Path(), Path("c")) for machines in ({}, PROFILES["gpus"]))
    assert bare == placed
    limited = arguments(
        validate({"name": "x", "data": {"source": "sklearn:iris"}, "hardware": {"max_cost": 5}}), Path(), Path("c")
    )
    assert {key for key in bare if bare[key] != limited[key]} == {"asked"}


def test_the_accelerators_are_those_of_the_library():
    from typing import get_args

    from google.cloud.aiplatform_v1 import AcceleratorType

    from components.shared.settings import Accelerator

    named = {name for name in get_args(Accelerator) if name.startswith("nvidia-")}
    assert {name.upper().replace("-", "_") for name in named} <= set(AcceleratorType.__members__)
