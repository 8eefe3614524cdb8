"""Cloud Build's files: against its own message, and their docker steps against a local registry."""

import os
import shutil
import subprocess

import pytest
import yaml

from kep.pipelines.images import locked
from tests.containers.cloudbuild import problems, substitute
from tests.helpers.commands import kep
from tests.helpers.containers import docker, pushed
from tests.helpers.paths import ROOT

FILES = ("cloudbuild.yaml", "cloudbuild-pr.yaml")
TEXT = (ROOT / "cloudbuild.yaml").read_text()


@pytest.mark.parametrize("file", FILES)
def test_cloud_build_would_take_the_file(file):
    assert problems((ROOT / file).read_text()) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("entrypoint: bash", "entrypiont: bash"), "no build:"),
        (("E2_HIGHCPU_8", "E2_HIGHCPU_9"), "no build:"),
        (("waitFor: [build]", "waitFor: [biuld]"), "start waits for biuld"),
        (("waitFor: [build]", "waitFor: [compile]"), "start waits for compile"),
        (("${_REPOSITORY}", "${_REPOSITROY}"), "_REPOSITROY is used, but neither"),
        (('"BASE=${_BASE}"', "BASE=$_BSAE"), "_BSAE is used, but neither"),
        (("#   _BUCKET  ", "#   _BUKCET  "), "_BUKCET is documented, but not used"),
        (("  _RUN_FILE: ", "  _RUN_FLIE: x\n  _RUN_FILE: "), "_RUN_FLIE has a default, but is not documented"),
        (("name: ${_BASE}", "name: python:3.11-slim"), "not named by its digest"),
        (("id: start", "id: build"), "two steps are called build"),
        (("${COMMIT_SHA}/", "latest/"), "something is called latest"),
    ],
)
def test_what_cloud_build_would_refuse_is_found(change, problem):
    assert change[0] in TEXT
    assert any(problem in found for found in problems(TEXT.replace(*change)))


def test_pull_requests_change_nothing():
    build = yaml.safe_load((ROOT / "cloudbuild-pr.yaml").read_text())
    assert [step["id"] for step in build["steps"]] == ["test", "compile"]
    assert {"images", "artifacts"}.isdisjoint(build)
    assert {step["name"] for step in build["steps"]} == {"${_BASE}"}


@pytest.mark.containers
def test_the_docker_steps_run_and_the_lock_they_write_compiles(registry, tmp_path):
    """Builds, starts and pushes; this machine takes the place of Cloud Build's docker builder."""
    values = {
        "_BASE": pushed("python:3.11-slim", f"{registry}/python:3.11-slim"),
        "_DOCKER": "docker",
        "_REPOSITORY": f"{registry}/team",
        "COMMIT_SHA": "c" * 40,
    }
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for file in filter(None, files.split("\0")):
        (workspace / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, workspace / file, follow_symlinks=False)

    ran = []
    for step in yaml.safe_load(TEXT)["steps"]:
        if step["name"] == "${_DOCKER}":
            step = substitute(step, values)
            environment = os.environ | dict(line.split("=", 1) for line in step.get("env", []))
            command = [step["entrypoint"], *step["args"]]
            done = subprocess.run(command, cwd=workspace, env=environment, check=False, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            ran.append(step["id"])
    assert ran == ["build", "start", "push"]

    lock = workspace / "containers" / "images.lock.yaml"
    images = locked(lock)
    assert set(images) == {"cpu", "glue", "serve"}
    for name, image in images.items():
        assert image.startswith(f"{registry}/team/{name}@sha256:")
        labels = docker("image", "inspect", "--format", "{{json .Config.Labels}}", image)
        assert "c" * 40 in labels
    run_file = ROOT / "pipelines" / "configs" / "digits.yaml"
    compiled = kep("compile", run_file, "--target", "vertex", "--images", lock, "-o", tmp_path / "pipeline.yaml")
    assert compiled.returncode == 0, compiled.stdout
    assert (tmp_path / "pipeline.yaml").read_text().count("@sha256:") == 7


@pytest.mark.containers
def test_images_on_a_tag_are_not_pushed():
    push = [ROOT / "containers" / "push.sh", "registry.invalid/team", "glue"]
    environment = os.environ | {"REVISION": "x"}
    subprocess.run(["make", "image"], cwd=ROOT, check=True, capture_output=True)
    done = subprocess.run(push, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "give BASE by its digest" in done.stderr
