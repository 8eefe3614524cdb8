"""The image that serves answers what was evaluated, hardened as a cluster would run it."""

import json
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
import requests

from kep.data.schema import Manifest
from kep.models.ensemble import raw_features
from tests.helpers.containers import IRIS, docker
from tests.helpers.records import rows_of_test

pytestmark = pytest.mark.containers
IMAGE = "keras-ensemble-pipelines/serve"


@pytest.fixture(scope="module")
def evaluated(finished):
    return finished("iris", **IRIS)


@pytest.fixture
def container(evaluated) -> Iterator[tuple[str, str]]:
    """Id and address of a container that serves the run's ensemble: not as root, read-only, without capabilities."""
    hardening = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    vertex = {
        "AIP_STORAGE_URI": "/model",
        "AIP_HTTP_PORT": "9000",
        "AIP_HEALTH_ROUTE": "/ready",
        "AIP_PREDICT_ROUTE": "/ask",
    }
    variables = [part for name, value in vertex.items() for part in ("--env", f"{name}={value}")]
    model = f"{evaluated.outcome['ensemble']}:/model:ro"
    options = [*hardening, *variables, "--publish", "127.0.0.1::9000", "--volume", model]
    id = docker("run", "--detach", *options, IMAGE).strip()
    try:
        yield id, f"http://{docker('port', id, '9000').splitlines()[0]}"
    finally:
        docker("rm", "--force", id)


def ready(id: str) -> None:
    """Waits for the line of the log that says so."""
    with subprocess.Popen(["docker", "logs", "--follow", id], stdout=subprocess.PIPE, text=True) as log:
        assert any('"message": "ready"' in line for line in log.stdout), docker("logs", id)
        log.kill()


def test_a_container_answers_what_was_evaluated(evaluated, container):
    id, address = container
    ready(id)
    assert requests.get(f"{address}/ready", timeout=60).status_code == 200
    (folder,) = evaluated.place.glob("store/*/ingest/test")
    table = raw_features(Manifest.load(folder), rows_of_test(folder))
    rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    answer = requests.post(f"{address}/ask", json.dumps({"instances": rows}), timeout=60)
    assert answer.status_code == 200, answer.text
    found = [row["probabilities"] for row in answer.json()["predictions"]]
    np.testing.assert_allclose(found, np.load(evaluated.predictions)["ensemble"], rtol=0, atol=1e-6)
    same = requests.post(f"{address}/v1/models/model:predict", json.dumps({"instances": rows}), timeout=60)
    assert same.json() == answer.json()


def test_a_container_ends_when_it_is_told_to(container):
    id, _ = container
    ready(id)
    docker("stop", "--time", "60", id)
    assert json.loads(docker("inspect", id))[0]["State"]["ExitCode"] == 0


def test_the_image_holds_what_serving_needs_and_no_more():
    program = (
        "import os, json, importlib.util as u\n"
        "names = ('tensorflow', 'lightgbm', 'fastapi', 'pip', 'kfp', 'matplotlib')\n"
        "print(json.dumps({'uid': os.getuid()} | {name: u.find_spec(name) is not None for name in names}))"
    )
    seen = json.loads(
        docker("run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", IMAGE, "python", "-c", program)
    )
    assert seen == {
        "uid": 10001, "tensorflow": True, "lightgbm": True, "fastapi": True, "pip": False, "kfp": False,
        "matplotlib": False,
    }  # fmt: skip


def test_a_container_without_a_model_says_so():
    done = subprocess.run(
        ["docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp", IMAGE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Missing argument 'RUN'" in done.stderr
