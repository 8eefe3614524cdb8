"""Images by digest: what the lock must hold, and which image a step gets."""

import pytest
import yaml

from kep.cli.main import app
from kep.core.errors import UserError
from kep.pipelines.images import assign, locked
from tests.helpers.compiled import CONFIG, GOLDEN
from tests.helpers.images import PINNED


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / "images.lock.yaml"
    path.write_text(yaml.safe_dump(PINNED))
    return path


@pytest.mark.parametrize("target", ["vertex", "kubeflow"])
def test_the_cloud_gets_every_image_by_digest(lock, tmp_path, target):
    output = tmp_path / "p.yaml"
    app(
        ["compile", str(CONFIG), "-o", str(output), "--target", target, "--images", str(lock)],
        standalone_mode=False,
    )
    compiled = yaml.safe_load(output.read_text())
    executors = compiled["deploymentSpec"]["executors"]
    used = {label: executor["container"].pop("image") for label, executor in executors.items()}
    glue = {"exec-ingest", "exec-weigh", "exec-promote"}
    assert used == {label: PINNED["glue" if label in glue else "cpu"] for label in used}
    # Nothing else differs from what runs locally, but that without the source's fingerprint ingest has no cache.
    golden = yaml.safe_load(GOLDEN.read_text())
    golden["pipelineInfo"]["name"] = "digits"
    assert golden["root"]["dag"]["tasks"]["ingest"].pop("cachingOptions") == {"enableCache": True}
    for executor in golden["deploymentSpec"]["executors"].values():
        del executor["container"]["image"]
    assert compiled == golden


def test_rounds_of_the_search_need_tensorflow():
    executors = {f"exec-{task}": {"container": {"image": "x"}} for task in ("suggest", "suggest-2", "trial", "weigh")}
    assign({"deploymentSpec": {"executors": executors}}, PINNED, {})
    assert [e["container"]["image"] for e in executors.values()] == [PINNED["cpu"]] * 3 + [PINNED["glue"]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no"),
        ("[", "is no YAML"),
        ("cpu", "holds no images by name"),
        ({"cpu": PINNED["cpu"]}, "has no image glue"),
        (PINNED | {"glue": "registry.example/team/glue:v1"}, "not pinned by its digest"),
        (PINNED | {"glue": "registry.example/team/glue"}, "not pinned by its digest"),
        (PINNED | {"glue": PINNED["glue"][:-1]}, "not pinned by its digest"),
        (PINNED | {"gpu": None}, "not pinned by its digest"),
    ],
)
def test_what_is_no_digest_is_refused_in_one_sentence(lock, content, words):
    lock.unlink()
    if content is not None:
        lock.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(UserError, match=words) as refused:
        locked(lock)
    assert "\n" not in str(refused.value)
