"""Machines per step: the same graph whatever they are, in the words of kfp and of kfp-kubernetes."""

from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler, dsl, kubernetes
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec import pipeline_spec_pb2

from kep.config.machine import Machine
from kep.config.run_file import validate
from kep.core.errors import UserError
from kep.google.custom_jobs import MODULE, job_of
from kep.pipelines.compile import compile_training
from kep.pipelines.images import unpinned
from kep.pipelines.lint import lint
from kep.pipelines.machines import asked_of, on_kubernetes
from kep.pipelines.parameters import arguments
from kep.runtime.component import step
from tests.helpers.images import PINNED

IMAGES = PINNED | {name: f"registry.example/team/{name}@sha256:{'c' * 64}" for name in ("gpu", "tpu")}
GPUS = {"cpu": 16, "memory_gb": 60, "accelerator": "nvidia-tesla-t4", "accelerators": 4}
TPU = {"accelerator": "tpu-v5-lite-podslice", "accelerators": 8, "topology": "2x4"}
CHAMPIONS = {"volumes": {"champions": "/champions"}}
PROFILES = {
    "cpu": {"ingest": {"cpu": 8, "memory_gb": 32}, "promote": CHAMPIONS},
    "gpus": {name: GPUS | {"spot": True} for name in ("tune", "best_epoch", "retrain", "evaluate")},
    "tpu": {"retrain": TPU},
}
JOBS = {"retrain": GPUS | {"spot": True}, "tune": GPUS, "best_epoch": TPU}
ASKED = ("_cpu_limit", "_memory_limit", "_accelerator_type", "_accelerator_count")
"""Ends of the inputs that say what tasks ask for."""


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


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_the_graph_is_the_same_whatever_the_machines(tmp_path, target):
    plain, _ = documents(compiled(tmp_path, {}))
    graphs = []
    for machines in PROFILES.values():
        spec, _ = documents(compiled(tmp_path, machines, target))
        for container in executors(spec).values():
            container.pop("resources", None)
            container["image"] = ""
            if container["command"][-1] == MODULE:
                # What the task runs on Kubeflow, its custom job runs on Vertex AI.
                *command, given, asked, function, name = container["args"][container["args"].index("--") + 1 :]
                container.update(command=command, args=[given, asked, function, name])
        for dag in (spec["root"], *spec["components"].values()):
            # What a task asks for is no part of the graph.
            tasks = dag.get("dag", {"tasks": {}})["tasks"].values()
            for inputs in (dag.get("inputDefinitions"), *(task["inputs"] for task in tasks)):
                for name in [name for name in (inputs or {}).get("parameters", {}) if f"_{name}".endswith(ASKED)]:
                    del inputs["parameters"][name]
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


@pytest.mark.parametrize("search", [{}, {"rounds": 2}], ids=["plain", "rounds"])
@pytest.mark.parametrize(
    "machines",
    [
        {},
        {"ingest": {"cpu": 8, "memory_gb": 32}, "evaluate": CHAMPIONS, "promote": CHAMPIONS},
        {"tune": GPUS, "best_epoch": GPUS, "retrain": {"accelerator": "nvidia-l4"}, "evaluate": GPUS},
        JOBS | {"ingest": {"cpu": 2, "spot": True}, "evaluate": {"spot": True}},
        *PROFILES.values(),
    ],
    ids=["none", "volumes", "GPUs", "custom jobs", *PROFILES],
)
def test_the_first_document_is_that_of_vertex_ai(tmp_path, machines, search):
    text = compiled(tmp_path, machines, search=search)
    first, separator, _ = text.partition("\n---\n")
    assert (f"{first}\n" if separator else text) == compiled(tmp_path, machines, "vertex", search=search)
    assert bool(separator) == bool(machines)


def reaching(spec: dict, values: dict[str, str]) -> dict[str, list[str]]:
    """What each task asks for by inputs, as an engine hands them down from the pipeline's to a task's."""
    found = {}

    def walk(dag: dict, values: dict[str, str]) -> None:
        for task in dag["tasks"].values():
            label = task["componentRef"]["name"]
            component, given = spec["components"][label], {}
            for name, source in task["inputs"]["parameters"].items():
                if name.endswith(ASKED) and "componentInputParameter" in source:
                    given[name] = values[source["componentInputParameter"]]
            if "dag" in component:
                assert given.keys() <= component["inputDefinitions"]["parameters"].keys()
                walk(component["dag"], given)
                continue
            resources = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"].get(
                "resources", {}
            )
            written = (resources | resources.get("accelerator", {})).values()
            fields = [value for value in written if isinstance(value, str) and "$" in value]
            assert len(fields) == len(given)
            if given:
                channels = {f"{{{{$.inputs.parameters['{name}']}}}}": value for name, value in given.items()}
                found[label.removeprefix("comp-").rstrip("-0123456789")] = [channels[field] for field in fields]

    walk(spec["root"]["dag"], values)
    return found


@pytest.mark.parametrize("search", [{}, {"rounds": 2}], ids=["plain", "rounds"])
def test_what_differs_between_the_engines_reaches_every_task_that_asks_for_it(tmp_path, search):
    machines = {"tune": GPUS | {"spot": True}, "best_epoch": TPU, "retrain": {"accelerator": "nvidia-l4"}}
    spec, _ = documents(compiled(tmp_path, machines | {"evaluate": GPUS, "ingest": {"cpu": 8}}, search=search))
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    defaults = {name: value.get("defaultValue") for name, value in inputs.items()}
    on_vertex, there = reaching(spec, defaults), reaching(spec, defaults | on_kubernetes(spec))
    trained, gpu, none = "trial" if search else "tune", ["nvidia.com/gpu"], ["0", "ACCELERATOR_TYPE_UNSPECIFIED"]
    assert {task: sorted(values) for task, values in on_vertex.items()} == {
        trained: sorted(["4", "16G", *none]),
        "best-epoch": none,
        "retrain": ["NVIDIA_L4"],
        "evaluate": ["NVIDIA_TESLA_T4"],
    }
    assert {task: sorted(values) for task, values in there.items()} == {
        trained: sorted(["16", "60G", "4", *gpu]),
        "best-epoch": ["8", "google.com/tpu"],
        "retrain": gpu,
        "evaluate": gpu,
    }


def test_resources_are_those_that_kfp_writes(tmp_path):
    @step
    def retrain() -> None:
        pass

    @dsl.pipeline
    def plain(retrain_accelerator_type: str = "NVIDIA_TESLA_T4"):
        task = retrain().set_cpu_limit("16").set_memory_limit("60G")
        task.set_accelerator_type(retrain_accelerator_type).set_accelerator_limit(4)

    @dsl.pipeline
    def spot(
        retrain_cpu_limit: str = "4",
        retrain_memory_limit: str = "16G",
        retrain_accelerator_type: str = "ACCELERATOR_TYPE_UNSPECIFIED",
        retrain_accelerator_count: str = "0",
    ):
        task = retrain().set_cpu_limit(retrain_cpu_limit).set_memory_limit(retrain_memory_limit)
        task.set_accelerator_type(retrain_accelerator_type).set_accelerator_limit(retrain_accelerator_count)

    @dsl.pipeline
    def tpu(retrain_accelerator_type: str = "ACCELERATOR_TYPE_UNSPECIFIED", retrain_accelerator_count: str = "0"):
        retrain().set_accelerator_type(retrain_accelerator_type).set_accelerator_limit(retrain_accelerator_count)

    @dsl.pipeline
    def any_gpu():
        retrain().set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)

    wishes = {plain: GPUS, spot: GPUS | {"spot": True}, tpu: TPU, any_gpu: {"accelerator": "nvidia", "accelerators": 2}}
    for pipeline, machine in wishes.items():
        compiler.Compiler().compile(pipeline, str(tmp_path / "theirs.yaml"))
        written, _ = documents((tmp_path / "theirs.yaml").read_text())
        spec, _ = documents(compiled(tmp_path, {"retrain": machine}))
        assert executors(spec)["exec-retrain"]["resources"] == executors(written)["exec-retrain"]["resources"]
        given = written["root"].get("inputDefinitions", {"parameters": {}})["parameters"]
        own = spec["root"]["inputDefinitions"]["parameters"]
        assert {name for name in own if name.endswith(ASKED)} == given.keys()
        for name, definition in given.items():
            assert own[name] == definition | {"description": own[name]["description"]}
        task = written["root"]["dag"]["tasks"]["retrain"].get("inputs", {"parameters": {}})["parameters"]
        loop = next(
            one for label, one in spec["components"].items() if "retrain" in one.get("dag", {"tasks": ()})["tasks"]
        )
        ours = loop["dag"]["tasks"]["retrain"]["inputs"]["parameters"]
        assert {name: value for name, value in ours.items() if f"_{name}".endswith(ASKED)} == {
            name: {"componentInputParameter": name} if "componentInputParameter" in value else value
            for name, value in task.items()
        }


def test_a_machine_that_vertex_ai_has_not_is_asked_for_as_it_is(tmp_path):
    machines = {
        "retrain": {"accelerator": "nvidia", "spot": True},
        "best_epoch": TPU | {"accelerator": "tpu-v5p-slice"},
    }
    spec, _ = documents(compiled(tmp_path, machines))
    assert on_kubernetes(spec) == {}
    assert not any(job_of(one) for one in spec["deploymentSpec"]["executors"].values())
    asked = {label: one for label, one in asked_of(spec, {}).items() if one}
    assert asked == {
        "exec-retrain": {"accelerator_type": "nvidia.com/gpu", "accelerator_count": "1"},
        "exec-best-epoch": {"accelerator_type": "google.com/tpu", "accelerator_count": "8"},
    }


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
    assert {label for label, one in asked.items() if "accelerator" in one} == {"exec-trial"}
    assert {"exec-suggest", "exec-tune", "exec-trial"} == asked.keys()
    configured = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {label for label, one in configured.items() if "nodeSelector" in one} == {"exec-trial"}
    assert all(one["pvcMount"] for one in configured.values())
    assert executors(spec)["exec-suggest"]["image"] == IMAGES["cpu"]


def test_what_a_task_of_vertex_ai_can_not_have_a_custom_job_has(tmp_path):
    first, *rest = yaml.safe_load_all(compiled(tmp_path, JOBS, "vertex"))
    assert (lint(first), rest) == ([], [])
    found = {label: job for label, one in first["deploymentSpec"]["executors"].items() if (job := job_of(one))}
    assert set(found) == {"exec-retrain", "exec-best-epoch"}
    (gpus,), (tpu,) = found["exec-retrain"].places, found["exec-best-epoch"].places
    assert (gpus.type, gpus.accelerator, gpus.accelerators, gpus.strategy, gpus.image) == (
        "n1-standard-16",
        "NVIDIA_TESLA_T4",
        4,
        "SPOT",
        IMAGES["gpu"],
    )
    assert (tpu.type, tpu.accelerator, tpu.topology, tpu.image) == ("ct5lp-hightpu-8t", "", "2x4", IMAGES["tpu"])
    containers, asked = executors(first), asked_of(first, {})
    assert [containers[f"exec-{name}"]["image"] for name in ("retrain", "best-epoch")] == [IMAGES["gpu"], IMAGES["tpu"]]
    none = {"accelerator_type": "ACCELERATOR_TYPE_UNSPECIFIED", "accelerator_count": "0"}
    assert asked["exec-retrain"] == {"cpu_limit": "4", "memory_limit": "16G"} | none
    assert asked["exec-best-epoch"] == none
    tune = {"cpu_limit": "16", "memory_limit": "60G", "accelerator_type": "NVIDIA_TESLA_T4", "accelerator_count": "4"}
    assert asked["exec-tune"] == tune


@pytest.mark.parametrize("key", [{"region": "us-central1"}, {"disk_gb": 200}, {"fallback": [{"spot": False}]}])
def test_a_task_that_only_waits_asks_for_nothing(tmp_path, key):
    spec, _ = documents(compiled(tmp_path, {"retrain": GPUS | {"spot": True} | key}, "vertex"))
    container = executors(spec)["exec-retrain"]
    assert ("resources" in container, container["image"]) == (False, IMAGES["glue"])
    assert job_of(spec["deploymentSpec"]["executors"]["exec-retrain"]).limits is None


def test_an_image_of_a_custom_job_is_looked_at_too(tmp_path):
    spec, _ = documents(compiled(tmp_path, JOBS, "vertex"))
    assert unpinned(spec) is None
    text = yaml.safe_dump(spec).replace(IMAGES["tpu"], "registry.example/team/tpu:latest")
    assert unpinned(yaml.safe_load(text)) == "registry.example/team/tpu:latest"


def test_in_rounds_only_trials_are_custom_jobs(tmp_path):
    spec, _ = documents(compiled(tmp_path, {"tune": GPUS | {"spot": True}}, "vertex", search={"rounds": 2}))
    found = {label for label, one in spec["deploymentSpec"]["executors"].items() if job_of(one)}
    assert found == {"exec-trial"}


def test_an_alternative_is_the_machine_with_what_it_names(tmp_path):
    names = [
        {"spot": False},
        {"accelerator": "nvidia-l4", "region": "us-central1"},
        {"flex_start": True},
        {"accelerator": "tpu-v5-lite-podslice", "topology": "1x1"},
    ]
    machine = GPUS | {"cpu": 8, "memory_gb": 30, "spot": True, "disk_gb": 200, "fallback": names, "wait_minutes": 5}
    spec, _ = documents(compiled(tmp_path, {"retrain": machine}, "vertex"))
    job = job_of(spec["deploymentSpec"]["executors"]["exec-retrain"])
    assert job.wait_minutes == 5
    assert [place.words for place in job.places] == [
        "n1-standard-8 with 4 nvidia-tesla-t4, Spot",
        "n1-standard-8 with 4 nvidia-tesla-t4",
        "g2-standard-8, Spot, in us-central1",
        "n1-standard-8 with 4 nvidia-tesla-t4, Flex-Start",
        "ct5lp-hightpu-1t, Spot",
    ]
    assert {place.disk_gb for place in job.places} == {200}
    assert [place.image for place in job.places] == [IMAGES["gpu"]] * 4 + [IMAGES["tpu"]]


def test_the_chips_of_a_tpu_follow_from_its_topology():
    machine = Machine(accelerator="tpu-v5-lite-podslice", topology="2x4", fallback=[{"topology": "2x2"}])
    assert [place.accelerators for place in machine.places] == [8, 4]
    assert Machine.model_validate(machine.model_dump(exclude_unset=True)) == machine


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (GPUS | {"spot": True, "flex_start": True}, "flex_start and spot are different ways to get a machine"),
        (GPUS | {"machines": 2}, "machines: 2 of 4 accelerators each"),
        ({"reservation": "r"}, 'reservation: "r" is not a reservation; give projects/P/zones/Z/reservations/R'),
        ({"wait_minutes": 5}, "wait_minutes has no meaning without fallback"),
        ({"fallback": [{"topology": "2x2"}]}, 'machine: fallback: "topology" has no meaning without accelerator'),
        ({"fallback": [{"spott": True}]}, 'fallback.0.spott: unknown key "spott"; did you mean "spot"'),
        ({"disk_gb": 20}, "disk_gb: 20 must be at least 100"),
    ],
)
def test_what_no_custom_job_can_be(machine, words):
    with pytest.raises(UserError, match=words):
        of({"retrain": machine})


@pytest.mark.parametrize(
    ("hardware", "words"),
    [
        ({"tune": {"machine": {"machines": 2}}}, "tune.machine.machines: only a training spans several machines; sear"),
        ({"weigh": {"machine": {"machines": 2}}}, "weigh.machine.machines: only a training spans several machines"),
        ({"retrain": {"machine": {"machines": 2}, "strategy": "mirrored"}}, "machine.machines: 2 need strategy: multi"),
        ({"retrain": {"machine": {"machines": 2}, "devices": 3}}, "devices: 3 are the processes of the training"),
    ],
)
def test_several_machines_are_for_trainings_over_several(hardware, words):
    with pytest.raises(UserError, match=words):
        validate({"name": "x", "data": {"source": "sklearn:iris"}, "hardware": hardware})


V6E = {"accelerator": "tpu-v6e-slice", "accelerators": 8, "topology": "2x4"}
V5P = V6E | {"accelerator": "tpu-v5p-slice"}
H200 = {"accelerator": "nvidia-h200-141gb", "accelerators": 8, "spot": True}
LARGE = TPU | {"accelerators": 16, "topology": "4x4"}


@pytest.mark.parametrize(
    ("target", "machine", "words"),
    [
        ("vertex", {"accelerator": "nvidia"}, "machine.accelerator: Vertex AI needs the GPU's name"),
        ("vertex", GPUS | {"fallback": [{"accelerator": "nvidia"}]}, "fallback.0.accelerator: Vertex AI needs the GPU"),
        ("vertex", V6E, "machine.accelerator: TensorFlow, which trains here, does not train on tpu-v6e-slice"),
        ("kubeflow", V6E, "machine.accelerator: TensorFlow, which trains here, does not train on tpu-v6e-slice"),
        ("vertex", V5P, "machine.accelerator: Vertex AI has no tpu-v5p-slice for custom jobs; take tpu-v5-lite-podsl"),
        ("vertex", LARGE, "machine.topology: 4x4 is more than one machine of TPUs"),
        ("vertex", H200, "no machine type that is known here has 8 nvidia-h200-141gb; give its name"),
        (
            "vertex",
            {"region": "us-centrall"},
            'machine.region: Vertex AI is not in "us-centrall"; did you mean "us-cen',
        ),
        ("kubeflow", {"machines": 2}, "machine.machines: only Vertex AI has it, in custom jobs; remove it"),
        ("kubeflow", {"spot": True, "fallback": [{"spot": False}]}, "machine.fallback: only Vertex AI has it"),
    ],
)
def test_what_can_not_be_had(tmp_path, target, machine, words):
    with pytest.raises(UserError, match=f"hardware.retrain.*{words}"):
        compiled(tmp_path, {"retrain": machine}, target)


def test_an_image_that_the_lock_lacks_is_named(tmp_path):
    settings = of({"retrain": GPUS})
    with pytest.raises(UserError, match=r"the lock has no image gpu, which hardware\.retrain\.machine needs"):
        compile_training(
            tmp_path / "p.yaml", arguments(settings, tmp_path, Path("c")), PINNED, settings.hardware.machines
        )


def test_no_step_gets_its_machine():
    """What a step gets is its key in every cache."""
    bare, *placed = (arguments(of(machines), Path(), Path("c")) for machines in ({}, PROFILES["gpus"], JOBS))
    assert placed == [bare] * 2
    limited = arguments(
        validate({"name": "x", "data": {"source": "sklearn:iris"}, "hardware": {"max_cost": 5}}), Path(), Path("c")
    )
    assert {key for key in bare if bare[key] != limited[key]} == {"asked"}


def test_the_accelerators_are_those_of_the_library():
    from typing import get_args

    from google.cloud.aiplatform_v1 import AcceleratorType

    from kep.config.machine import Accelerator

    named = {name for name in get_args(Accelerator) if name.startswith("nvidia-")}
    assert {name.upper().replace("-", "_") for name in named} <= set(AcceleratorType.__members__)
