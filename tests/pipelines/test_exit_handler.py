"""The flow in an exit handler: only in the cloud, with the same tasks, machines and images, and no outputs."""

from pathlib import Path

import pytest
import yaml

from kep.config.run_file import validate
from kep.core.errors import UserError
from kep.engines.template import with_cache
from kep.google.custom_jobs import job_of
from kep.pipelines.compile import compile_training
from kep.pipelines.images import unpinned, with_server
from kep.pipelines.lint import lint
from kep.pipelines.machines import on_kubernetes
from kep.pipelines.parameters import arguments
from tests.helpers.images import PINNED

IMAGES = PINNED | {name: f"registry.example/team/{name}@sha256:{'c' * 64}" for name in ("gpu", "tpu")}
TOPIC = {"topic": "projects/shop-ml/topics/kep"}
GPUS = {"cpu": 16, "accelerator": "nvidia-tesla-t4", "accelerators": 4}
SECRET = {"secret_variables": {"slack": {"address": "SLACK_WEBHOOK"}}, "volumes": {"champions": "/champions"}}
HANDLER = "comp-exit-handler-1"


def compiled(folder: Path, notify: dict, machines: dict, images: dict | None, target: str, **more) -> list[dict]:
    hardware = {name: {"machine": machine} for name, machine in machines.items()}
    content = {"name": "x", "data": {"source": "sklearn:iris"}, "hardware": hardware, "notify": notify}
    settings = validate(content | more)
    given = arguments(settings, folder, Path("c"))
    compile_training(folder / "p.yaml", given, images, settings.hardware.machines, target)
    return list(yaml.safe_load_all((folder / "p.yaml").read_text()))


def tasks(spec: dict, component: str = "root") -> set[str]:
    return set((spec["root"] if component == "root" else spec["components"][component])["dag"]["tasks"])


@pytest.mark.parametrize(
    ("notify", "images", "handled"),
    [
        ({}, IMAGES, False),
        (TOPIC, IMAGES, True),
        (TOPIC, None, False),
        (TOPIC | {"on": ["promoted", "drift"]}, IMAGES, False),
        (TOPIC | {"on": ["failed"]}, IMAGES, True),
    ],
)
def test_only_a_cloud_that_is_to_tell_of_failures_has_an_exit_handler(tmp_path, notify, images, handled):
    (plain,) = compiled(tmp_path, {}, {}, images, "vertex")
    (spec,) = compiled(tmp_path, notify, {}, images, "vertex")
    if handled:
        assert tasks(spec) == {"exit-handler-1", "notify-failure"}
        assert tasks(spec, HANDLER) == tasks(plain)
        # kfp takes no outputs out of an exit handler.
        assert ("outputs" in spec["root"]["dag"], "outputs" in plain["root"]["dag"]) == (False, True)
        assert "enableCache" not in spec["root"]["dag"]["tasks"]["notify-failure"].get("cachingOptions", {})
    else:
        assert tasks(spec) == tasks(plain)
        assert spec["components"].keys() == plain["components"].keys()
    assert lint(spec) == []
    assert not (images and unpinned(spec))


@pytest.mark.parametrize("more", [{"search": {"rounds": 2}}, {"data": {"source": "x.csv", "ingest_tasks": 2}}])
def test_the_graphs_that_grow_grow_in_it_too(tmp_path, more):
    (plain,) = compiled(tmp_path, {}, {}, IMAGES, "vertex", **more)
    (spec,) = compiled(tmp_path, TOPIC, {}, IMAGES, "vertex", **more)
    assert tasks(spec, HANDLER) == tasks(plain)
    assert lint(spec) == []


def test_the_engine_names_its_run_to_who_tells(tmp_path):
    (spec,) = compiled(tmp_path, TOPIC, {}, IMAGES, "vertex")
    promote = spec["components"][HANDLER]["dag"]["tasks"]["promote"]
    for task in (promote, spec["root"]["dag"]["tasks"]["notify-failure"]):
        given = task["inputs"]["parameters"]
        assert {name: given[name]["runtimeValue"]["constant"] for name in ("job", "job_name", "job_id")} == {
            "job": "{{$.pipeline_job_resource_name}}",
            "job_name": "{{$.pipeline_job_name}}",
            "job_id": "{{$.pipeline_job_uuid}}",
        }


@pytest.mark.parametrize("target", ["vertex", "kubeflow"])
@pytest.mark.parametrize(
    "machines",
    [
        {"retrain": GPUS, "ingest": {"cpu": 8, "memory_gb": 32}},
        {"retrain": GPUS | {"spot": True}, "tune": GPUS},
        {"promote": {"volumes": {"champions": "/champions"}, "cpu": 2}},
    ],
    ids=["tasks", "custom jobs", "promote"],
)
def test_machines_and_jobs_are_those_of_the_flow_without_it(tmp_path, target, machines):
    plain, *_ = compiled(tmp_path, {}, machines, IMAGES, target)
    spec, *_ = compiled(tmp_path, TOPIC, machines, IMAGES, target)
    assert lint(spec) == []
    assert on_kubernetes(spec) == on_kubernetes(plain)
    ours, theirs = (one["deploymentSpec"]["executors"] for one in (spec, plain))
    own = ours.pop("exec-notify-failure")
    assert job_of(own) is None
    assert own["container"]["image"] == IMAGES["glue"]
    assert {label: job_of(one) for label, one in ours.items()} == {label: job_of(one) for label, one in theirs.items()}
    for label, executor in theirs.items():
        for key in ("image", "resources"):
            assert ours[label]["container"].get(key) == executor["container"].get(key), label
    inputs, others = (one["root"]["inputDefinitions"]["parameters"] for one in (spec, plain))
    assert inputs.keys() == others.keys()


def test_who_tells_of_a_failure_has_the_volume_and_the_secrets_of_promote(tmp_path):
    webhook = {"webhook": "env:SLACK_WEBHOOK"}
    spec, platform = compiled(tmp_path, webhook, {"promote": SECRET}, IMAGES, "kubeflow")
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for key in ("pvcMount", "secretAsEnv"):
        assert executors["exec-notify-failure"][key] == executors["exec-promote"][key]
    assert "SLACK_WEBHOOK" in yaml.safe_dump(spec["root"])


@pytest.mark.parametrize("target", ["vertex", "kubeflow"])
def test_a_secret_that_only_kep_drift_needs_changes_nothing_in_the_cloud(tmp_path, target):
    drift = {"webhook": "env:SLACK_WEBHOOK", "on": ["drift"]}
    assert compiled(tmp_path, drift, {}, IMAGES, target) == compiled(tmp_path, {}, {}, IMAGES, target)


@pytest.mark.parametrize("on", [["failed"], ["promoted"], ["drift"]])
def test_the_model_registry_finds_the_run_in_it_and_without(tmp_path, on):
    content = {"name": "x", "data": {"source": "sklearn:iris"}, "promote": {"registry": True}}
    settings = validate(content | {"notify": TOPIC | {"on": on}})
    images = IMAGES | {"serve": f"registry.example/team/serve@sha256:{'f' * 64}"}
    given = with_server(arguments(settings, tmp_path, Path("c")), images, "vertex")
    spec = compile_training(tmp_path / "p.yaml", given, images, {}, "vertex")
    flow = spec["components"][HANDLER] if on == ["failed"] else spec["root"]
    promote = flow["dag"]["tasks"]["promote"]["inputs"]["parameters"]
    assert promote["job"] == {"runtimeValue": {"constant": "{{$.pipeline_job_resource_name}}"}}
    assert promote["server_image"] != {"runtimeValue": {"constant": ""}}
    assert ("job_id" in promote) == (on != ["drift"])


@pytest.mark.parametrize(
    ("machines", "target", "words"),
    [
        ({}, "kubeflow", "notify.webhook: env:SLACK_WEBHOOK is set in no task on Kubeflow; add hardware.promote"),
        ({"evaluate": SECRET}, "kubeflow", "is set in no task on Kubeflow"),
        ({"evaluate": SECRET}, "vertex", "notify.webhook: env:SLACK_WEBHOOK is set in no task on Vertex AI"),
    ],
)
def test_a_secret_that_no_task_has_is_refused(tmp_path, machines, target, words):
    with pytest.raises(UserError, match=words):
        compiled(tmp_path, {"webhook": "env:SLACK_WEBHOOK"}, machines, IMAGES, target)


def test_the_cache_of_ingest_is_switched_in_it(tmp_path):
    (spec,) = compiled(tmp_path, TOPIC, {}, IMAGES, "vertex")
    for cache in (True, False):
        task = with_cache(spec, cache)["components"][HANDLER]["dag"]["tasks"]["ingest"]
        assert task.get("cachingOptions", {}).get("enableCache", False) == cache
