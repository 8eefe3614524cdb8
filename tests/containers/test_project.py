"""A team's own build: the steps of the cloudbuild.yaml of `kep new project`, in the image that the first one makes."""

import os
import subprocess
import uuid
from pathlib import Path

import pytest
import yaml

from kep.engines.project import make_project
from kep.pipelines.images import LOCAL, locked
from tests.containers.cloudbuild import substitute
from tests.helpers.containers import docker, pushed

pytestmark = pytest.mark.containers


class Build:
    """One build: the folder stands for /workspace, this machine for Cloud Build's docker builder, which is root."""

    def __init__(self, workspace: Path, repository: str) -> None:
        self.workspace = workspace
        content = yaml.safe_load((workspace / "cloudbuild.yaml").read_text())
        self.id = str(uuid.uuid4())
        self.values = content["substitutions"] | {
            "_DOCKER": "docker",
            "_REPOSITORY": repository,
            "_BUCKET": "data",
            "BUILD_ID": self.id,
            "PROJECT_ID": "shop-ml",
            "LOCATION": "europe-west4",
        }
        self.steps = {step["id"]: substitute(step, self.values) for step in content["steps"]}

    def run(self, step: str) -> subprocess.CompletedProcess[str]:
        """Run a step as Cloud Build does: the image's own user, entrypoint, /workspace as the working directory."""
        step = self.steps[step]
        if step["name"] == "docker":
            return self._started([step["entrypoint"], *step["args"]])
        variables = [word for line in step["env"] for word in ("--env", line)]
        place = ["--volume", f"{self.workspace}:/workspace", "--workdir", "/workspace", "--network", "none"]
        given = ["--env", "HOME=/builder/home", *variables, "--entrypoint", step["entrypoint"], step["name"]]
        return self._started(["docker", "run", "--rm", *place, *given, *step["args"]])

    def lock(self) -> dict[str, str]:
        return locked(self.workspace / "containers" / "images.lock.yaml")

    def _started(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.workspace, env=os.environ, capture_output=True, text=True, check=False, timeout=500
        )


@pytest.fixture
def published(registry, tmp_path) -> Path:
    """Lock of the images of `make image`, pushed."""
    images = {name: pushed(image, f"{registry}/published/{name}:v1") for name, image in LOCAL.items()}
    path = tmp_path / "published.yaml"
    path.write_text("# Written by a build.\n" + yaml.safe_dump(images))
    return path


def test_the_steps_run_in_the_image_that_was_just_built(registry, published, tmp_path):
    workspace = tmp_path / "churn"
    make_project(workspace, published)
    (workspace / "families" / "requirements.txt").write_text("six>=1.16\n")  # the image has it: no index is asked
    for path in workspace.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)  # as a strict umask leaves what is uploaded
    build = Build(workspace, f"{registry}/team")
    try:
        for step in build.steps:
            done = build.run(step)
            assert done.returncode == 0, done.stdout + done.stderr
            if step == "check":
                assert "families    wide, mlp, boosted_trees" in done.stdout
                assert "OK" in done.stderr
        images = build.lock()
        assert images["glue"] == yaml.safe_load(published.read_text())["glue"]
        assert images["cpu"].startswith(f"{registry}/team/cpu-churn@sha256:")
        compiled = (workspace / "build" / "pipeline.yaml").read_text()
        assert {image for image in images.values() if image in compiled} == set(images.values())
        user = docker("image", "inspect", "--format", "{{.Config.User}}", images["cpu"]).strip()
        assert user == "10001:10001"
        owners = {path.stat().st_uid for path in (workspace / "build").iterdir()}
        assert owners == {10001}

        again = Build(workspace, f"{registry}/team")
        assert again.run("image").returncode == 0
        assert again.lock() == images  # so that cached steps stay

        (workspace / "families" / "requirements.txt").write_text("six>=1.15\n")
        other = Build(workspace, f"{registry}/team")
        assert other.run("image").returncode == 0
        assert other.lock()["cpu"] != images["cpu"]

        (workspace / "families" / "requirements.txt").write_text("six==1.0.0\n")  # the image has another
        refused = Build(workspace, f"{registry}/team").run("image")
        assert refused.returncode != 0
        assert "six==1.0.0" in refused.stdout + refused.stderr
        assert other.lock()["cpu"] not in images.values()  # the lock is that of the last build that ended well
    finally:
        for name in docker("images", "--format", "{{.Repository}}:{{.Tag}}", "cpu-churn").split():
            docker("rmi", "--no-prune", name)
