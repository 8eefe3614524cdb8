"""The last steps of cloudbuild.yaml, run as Cloud Build runs them, with Google's clients against local servers."""

import os
import subprocess
import sys

import pytest
import yaml

from tests.containers.cloudbuild import substitute
from tests.helpers.paths import ROOT

VALUES = {
    "PROJECT_ID": "shop-ml",
    "LOCATION": "europe-west4",
    "COMMIT_SHA": "c" * 40,
    "_BASE": "python",
    "_BUCKET": "data",
    "_RUN_FILE": "churn.yaml",
    "_TEMPLATES": "",
    "_SCHEDULE": "",
    "_STEPS": "",
}


@pytest.fixture
def build(churn, tmp_path):
    """Runs a step of the build with these substitutions, in the folder of the run file."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    steps = {step["id"]: step for step in yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())["steps"]}

    def run(name: str, **values: str) -> str:
        step = substitute(steps[name], VALUES | values)
        environment = os.environ | dict(line.split("=", 1) for line in step.get("env", []))
        command = [step["entrypoint"], *step["args"]]
        done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_nothing_is_published_or_submitted_unless_asked(build, vertex, registry):
    assert build("publish") == build("submit") == ""
    assert not registry.versions
    assert not vertex.jobs


@pytest.mark.slow
def test_a_commit_is_published_scheduled_and_submitted(build, vertex, registry, kep):
    repository = "https://europe-west4-kfp.pkg.dev/shop/ml"
    assert f"published {repository}/churn/sha256:" in build("publish", _TEMPLATES=repository)
    assert [tag for _, tag in registry.tags] == ["commit-" + "c" * 40]
    place = ("--project", "shop-ml", "--region", "europe-west4")
    kep("schedule", "create", "weekly", "churn.yaml", "--cron", "0 4 * * *", *place, "--bucket", "gs://data")
    out = build("submit", _SCHEDULE="weekly", _STEPS="steps@shop.iam.gserviceaccount.com")
    assert "updated weekly" in out
    (job,) = vertex.jobs.values()
    assert job.service_account == "steps@shop.iam.gserviceaccount.com"
    assert job.runtime_config.gcs_output_directory == "gs://data/runs/churn"
