"""The same run in containers and in processes, and what the containers may do."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import pytest

from kep.core.errors import UserError
from kep.engines.local import docker as containers
from kep.pipelines.images import LOCAL
from tests.helpers.commands import DONE, Run, command, environment, heed_interrupts, kep, write_run
from tests.helpers.containers import IRIS, docker
from tests.helpers.paths import ROOT
from tests.helpers.peeking import peeking, seen

pytestmark = pytest.mark.containers


def in_image(name: str, *command: str, more: Sequence[str] = ()) -> str:
    """Runs a command as a step runs: not as root, read-only, without a network or capabilities."""
    hardening = [
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--network",
        "none",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
    ]
    return docker("run", "--rm", *hardening, *more, LOCAL[name], *command)


@pytest.fixture(scope="module")
def contained(finished) -> Run:
    return finished("iris", "--runner", "docker", **IRIS)


def test_containers_and_processes_predict_the_same(contained, finished):
    processes = finished("iris", **IRIS)
    ours, theirs = np.load(contained.predictions), np.load(processes.predictions)
    assert len(contained.report["weights"]["weights"]) == 2
    assert set(ours.files) == set(theirs.files)
    for name in ours.files:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert contained.report["weights"]["weights"] == processes.report["weights"]["weights"]


def test_the_run_says_which_images_it_ran_in(contained):
    record = json.loads((contained.folder / "run.json").read_text())
    for name, image in LOCAL.items():
        assert record["images"][name] == docker("image", "inspect", "--format", "{{.Id}}", image).strip()
    compiled = (contained.folder / "pipeline.yaml").read_text()
    assert compiled.count(LOCAL["glue"]) == 3
    assert compiled.count(LOCAL["cpu"]) == 4


def test_the_steps_were_not_root(contained):
    owner = (contained.place.parent / "champions" / "iris" / "champion.json").stat().st_uid
    assert owner == (os.getuid() or 10001)


def test_nothing_is_left_running(contained):
    label = f"label=keras-ensemble-pipelines.run={contained.folder}"
    assert docker("ps", "--all", "--quiet", "--filter", label) == ""


def test_components_run_in_their_image_with_the_inputs_of_a_real_kubeflow():
    tests = ["--volume", f"{ROOT / 'tests'}:/checkout/tests:ro", "--env", "PYTHONPATH=/checkout"]
    walked = json.loads(in_image("cpu", "python", "-m", "tests.helpers.walk", "/tmp/walk", more=tests).splitlines()[-1])
    assert len(walked["rounds"]) == 2
    assert walked["verdict"]


def test_a_family_that_looks_for_test_rows_finds_none(tmp_path):
    file = write_run(tmp_path, "cancer", data={"source": "sklearn:breast_cancer"}, search=peeking(tmp_path))
    done = kep("run", file, "--runs", tmp_path / "runs", "--runner", "docker")
    assert done.returncode in DONE, done.stdout
    assert seen(tmp_path / "runs" / "cancer") == []


def test_a_failed_step_fails_the_run(tmp_path):
    broken = tmp_path / "broken.csv"
    broken.write_text("a,label\n1,x\n2,y\n")
    file = write_run(tmp_path, "broken", data={"source": str(broken), "label": "label"})
    # Past the survey, which reads the file before anything starts: here it is the container that can't.
    program = (
        "import kep.engines.local.run; kep.engines.local.run.MOST_SURVEYED = -1; from kep.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "run", str(file), "--runs", str(tmp_path / "runs"), "--runner", "docker"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stdout
    assert "error: ingest failed" in done.stdout


def test_an_interrupted_run_leaves_no_container(tmp_path):
    file = write_run(tmp_path, "stopped", data={"source": "sklearn:iris"})
    run = command("run", str(file), "--runs", str(tmp_path / "runs"), "--runner", "docker")
    process = subprocess.Popen(run, env=environment(), stdout=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
    ours = [
        "ps",
        "--quiet",
        "--filter",
        f"ancestor={LOCAL['cpu']}",
        "--filter",
        "label=keras-ensemble-pipelines.run",
    ]
    deadline = time.time() + 60
    while not docker(*ours) and time.time() < deadline:
        time.sleep(0.2)
    assert docker(*ours)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert docker(*ours) == ""


def test_a_container_that_ends_by_itself_is_no_error():
    ours = containers.Containers(run="ending", events="", store="", writable=(), readable=())
    client = containers.engine()
    for _ in range(8):
        made = client.containers.run(
            LOCAL["glue"], ["true"], detach=True, auto_remove=True, labels={containers.LABEL: ours.run}
        )
        while client.containers.list(all=True, sparse=True, filters={"id": made.id}):
            ours.stop()


@pytest.mark.parametrize("name", LOCAL)
def test_an_image_holds_what_it_needs_and_no_more(name):
    program = (
        "import os, sys, importlib.util as u, json, pathlib\n"
        "import kep.cli.main, numpy\n"
        "cached = {m: pathlib.Path(sys.modules[m].__cached__).is_file() for m in ('json', 'numpy', 'kep.cli.main')}\n"
        "found = {m: u.find_spec(m) is not None for m in ('tensorflow', 'pip')}\n"
        "print(json.dumps({'uid': os.getuid(), 'cached': cached} | found))"
    )
    seen = json.loads(in_image(name, "python", "-c", program))
    assert seen == {
        "uid": 10001,
        "cached": {"json": True, "numpy": True, "kep.cli.main": True},
        "tensorflow": name == "cpu",
        "pip": False,
    }
    config = json.loads(docker("image", "inspect", LOCAL[name]))[0]["Config"]
    assert config["Entrypoint"] is None
    assert config["Labels"]["org.opencontainers.image.revision"]


def test_lightgbm_and_tensorflow_work_in_the_cpu_image():
    program = (
        "import lightgbm, numpy, tensorflow\n"
        "data = lightgbm.Dataset(numpy.random.rand(100, 3), numpy.random.rand(100))\n"
        "lightgbm.train({'verbose': -1}, data, 3)\n"
        "print('sum', float(tensorflow.reduce_sum([1.0, 2.0])))"
    )
    assert in_image("cpu", "python", "-c", program).endswith("sum 3.0\n")


def test_another_codes_image_is_refused(tmp_path, monkeypatch):
    """The steps would run what is in the image, not what is in the checkout."""
    monkeypatch.setattr(containers, "source_hash", lambda: "other")
    with pytest.raises(UserError, match="holds other code than this checkout"):
        containers.image_ids()


def test_an_image_that_is_not_built_is_refused(monkeypatch):
    monkeypatch.setattr(containers, "LOCAL", {"cpu": "keras-ensemble-pipelines/no-such"})
    with pytest.raises(UserError, match="build it with `make image`"):
        containers.image_ids()


@pytest.mark.parametrize("name", LOCAL)
def test_help_is_the_command(name):
    assert "Usage: kep" in in_image(name)
