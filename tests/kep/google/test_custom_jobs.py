"""Steps on machines that no task of a pipeline can have: their task has a custom job run them."""

import json
import os
import re
import signal
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
from google.cloud import aiplatform_v1 as api

from kep.core.environment import WORK
from kep.google import launch
from kep.google.custom_jobs import MODULE, RUN, MachineRequest, worker_pools
from tests.helpers.cloud import ACCOUNT, SUBMIT
from tests.helpers.jobs import GPU, arguments, only
from tests.helpers.retraining import Retraining
from tests.servers.vertex_jobs import Fate

TWO = "{accelerator: nvidia-l4, fallback: [{accelerator: nvidia-tesla-t4, region: us-central1}]}"
SUBMITTED: dict[tuple, dict] = {}
"""Runs by what they were submitted with: compiling one takes longer than its test."""
NO_ROOM = "Resources are insufficient in region: europe-west4. Please try a different region."

pytestmark = pytest.mark.usefixtures("churn")


@pytest.fixture
def task(vertex, jobs, kep, capsys):
    """Function that submits a run and runs its task `retrain` as Vertex AI would; returns exit status and output."""

    def run(*command: str, machine: str = GPU, options: tuple[str, ...] = ()) -> tuple[int, str]:
        if not vertex.jobs and (machine, options) in SUBMITTED:
            vertex.jobs |= SUBMITTED[machine, options]
        if not vertex.jobs:
            assert kep(*SUBMIT, "--set", f"hardware.retrain.machine={machine}", *options)[0] == 0
            SUBMITTED[machine, options] = vertex.jobs.copy()
        words = arguments(vertex)
        code = launch.main([*words[: words.index("--") + 1], *command])
        return code, capsys.readouterr().out

    return run


def started_by_kfp(words: list[str], given: dict, folder: str) -> list[str]:
    """The command of a task's job that retrains with the arguments `given` and writes to `folder`."""
    names = ("member", "families", "config", "batch_size", "hardware", "seed", "code")

    def artifact(name: str, kind: str, uri: str) -> dict:
        return {"artifacts": [{"name": name, "type": {"schemaTitle": f"system.{kind}"}, "uri": uri, "metadata": {}}]}

    executor_input = {
        "inputs": {
            "parameterValues": {name: given[name] for name in names},
            "artifacts": {
                "records": artifact("records", "Dataset", given["records"]),
                "weights": artifact("weights", "Artifact", f"{folder}/none"),
            },
        },
        "outputs": {
            "artifacts": {"model": artifact("model", "Model", f"{folder}/model")},
            "outputFile": f"{folder}/executor_output.json",
        },
    }
    command = words[words.index("--") + 1 :]
    return [json.dumps(executor_input) if word == "{{$}}" else word for word in command]


def once_running(act):
    """What the server does at a look: `act` with the first job that is seen to run."""
    seen: list = []

    def look(made) -> None:
        if made.state.name == "JOB_STATE_RUNNING" and not seen:
            seen.append(made)
            act(made)

    return look


def states(out: str) -> list[str]:
    return re.findall(r"^custom job \d+: ([a-z ]+)$", out, re.MULTILINE)


def test_a_job_runs_the_command_of_its_task(task, jobs, tmp_path):
    out = tmp_path / "out"
    code, said = task("sh", "-c", 'printf "%s" "$KEP_WORK $TF_CONFIG" > "$0"', str(out), options=("--label", "team=a"))
    assert code == 0
    assert states(said) == ["pending", "running", "succeeded"]
    run = only(jobs).display_name.removesuffix("-step")
    assert out.read_text() == f"{tmp_path}/mounted/data/team/runs/churn/work/{run} "
    assert "n1-standard-4 with 2 nvidia-tesla-t4, Spot, https://console.cloud.google.com/vertex-ai/locations/" in said


def test_what_vertex_ai_is_asked_for(task, jobs):
    key = "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"
    network = "projects/12/global/networks/n"
    options = ("--service-account", ACCOUNT, "--network", network, "--kms-key", key, "--label", "team=a")
    assert task("true", "--function_to_execute", "retrain", options=options)[0] == 0
    made = only(jobs)
    assert re.fullmatch(r"kep-churn-[0-9a-f]{12}-retrain", made.display_name)
    assert (made.labels["team"], made.labels["kep_run"], made.labels["kep_place"]) == ("a", "churn", "0")
    assert made.encryption_spec.kms_key_name == key
    spec = made.job_spec
    assert (spec.service_account, spec.network, "psc_interface_config" in spec) == (ACCOUNT, network, False)
    assert (spec.scheduling.strategy.name, spec.scheduling.restart_job_on_worker_restart) == ("SPOT", False)
    (pool,) = spec.worker_pool_specs
    assert (pool.machine_spec.machine_type, pool.machine_spec.accelerator_type.name) == (
        "n1-standard-4",
        "NVIDIA_TESLA_T4",
    )
    assert (pool.machine_spec.accelerator_count, pool.replica_count, pool.disk_spec.boot_disk_size_gb) == (2, 1, 0)
    assert pool.container_spec.image_uri.startswith("registry.example/team/gpu@sha256:")
    assert list(pool.container_spec.command) == ["true", "--function_to_execute", "retrain"]


def test_a_job_joins_the_network_of_its_run(task, jobs):
    attachment = "projects/shop-ml/regions/europe-west4/networkAttachments/kep-runs"
    assert task("true", options=("--network", attachment))[0] == 0
    assert only(jobs).job_spec.psc_interface_config.network_attachment == attachment


@pytest.mark.parametrize(
    ("machine", "pools", "scheduling"),
    [
        (
            "{accelerator: tpu-v5-lite-podslice, accelerators: 8, topology: 2x4}",
            [("ct5lp-hightpu-8t", "", 0, "2x4", 1, "")],
            "STANDARD",
        ),
        (
            "{cpu: 8, machines: 3, flex_start: true, disk_gb: 500}",
            [("e2-standard-8", "", 0, "", 1, ""), ("e2-standard-8", "", 0, "", 2, "")],
            "FLEX_START",
        ),
        (
            "{accelerator: nvidia-h100-80gb, accelerators: 8, type: a3-highgpu-8g, "
            "reservation: projects/p/zones/z/reservations/r}",
            [("a3-highgpu-8g", "NVIDIA_H100_80GB", 8, "", 1, "projects/p/zones/z/reservations/r")],
            "STANDARD",
        ),
    ],
)
def test_pools_are_a_chief_and_its_workers(task, jobs, machine, pools, scheduling):
    assert task("true", machine=machine)[0] == 0
    spec = only(jobs).job_spec
    found = []
    for pool in spec.worker_pool_specs:
        one = pool.machine_spec
        kind = one.accelerator_type.name if one.accelerator_type else ""
        reserved = "".join(one.reservation_affinity.values)
        found.append((one.machine_type, kind, one.accelerator_count, one.tpu_topology, pool.replica_count, reserved))
        assert pool.disk_spec.boot_disk_size_gb == (500 if "disk_gb" in machine else 0)
    assert found == pools
    assert spec.scheduling.strategy.name == scheduling
    assert spec.scheduling.restart_job_on_worker_restart == (len(pools) > 1)


def test_the_roles_have_the_positions_that_googles_own_class_gives_them():
    """Of the client's training jobs, which is not public and wants no message."""
    from google.cloud.aiplatform.utils.worker_spec_utils import _DistributedTrainingSpec, _WorkerPoolSpec

    known = {
        "chief": MachineRequest(
            type="n1-standard-8", image="i", accelerator="NVIDIA_TESLA_T4", accelerators=2, disk_gb=200
        ),
        "workers": MachineRequest(type="n1-standard-4", image="i", machines=3, disk_gb=100),
        "parameter_servers": MachineRequest(type="e2-standard-4", image="i", machines=2, disk_gb=100),
        "evaluator": MachineRequest(type="e2-standard-8", image="i", disk_gb=100),
    }
    names = {"workers": "worker_spec", "parameter_servers": "server_spec"}
    for roles in ((), ("workers",), ("evaluator",), ("parameter_servers", "evaluator"), tuple(known)[1:]):
        chosen = {role: known[role] for role in ("chief", *roles)}
        theirs = {
            names.get(role, f"{role}_spec"): _WorkerPoolSpec(
                place.machines,
                place.type,
                place.accelerators,
                place.accelerator or "ACCELERATOR_TYPE_UNSPECIFIED",
                boot_disk_type="",
                boot_disk_size_gb=place.disk_gb,
            )
            for role, place in chosen.items()
        }
        ours = worker_pools(["true"], {}, **chosen)
        for pool in ours:
            assert list(pool.container_spec.command) == (["true"] if pool.replica_count else [])
            pool.container_spec = None
        expected = [api.WorkerPoolSpec(pool) for pool in _DistributedTrainingSpec(**theirs).pool_specs]
        assert ours == expected
    with pytest.raises(ValueError, match="one chief, not 3"):
        worker_pools(["true"], {}, chief=known["workers"])


@pytest.mark.slow
def test_two_machines_train_one_model(task, jobs, records, tmp_path, vertex):
    """The step itself, as kfp starts it: the chief alone writes, and the weights are those of one machine."""
    retraining = Retraining(tmp_path, records("cancer"))
    single = retraining.start("single", epochs=2)
    task("true", machine="{machines: 2}")
    given = json.loads(single.args[-1])
    words = started_by_kfp(arguments(vertex), given, f"{jobs.mount}/run/retrain")
    jobs.jobs.clear()
    code, _ = task(*words)
    log = jobs.log(only(jobs))
    assert code == 0, log
    assert only(jobs).display_name.endswith("-retrain")
    assert "multi_worker on CPU: TF_CONFIG names 2 workers" in log
    assert log.count("epochs on") == 2
    written = json.loads((jobs.mount / "run/retrain/executor_output.json").read_text())
    assert list(written["artifacts"]) == ["model"]
    assert single.wait() == 0, retraining.log("single")
    retraining.folder = jobs.mount / "run/retrain"
    assert retraining.member("model")["hardware"] == {"strategy": "multi_worker", "devices": 2, "batch_size": 32}
    for one, other in zip(retraining.weights("../../../single"), retraining.weights("model"), strict=True):
        np.testing.assert_allclose(other, one, atol=2e-6)
    assert not list(jobs.mount.rglob("*.npz"))


@pytest.mark.slow
def test_a_training_whose_machine_is_taken_away_goes_on_from_where_it_was(task, jobs, records, tmp_path, vertex):
    """SIGTERM reaches the step's Python, and not only the shell that kfp starts it by."""
    retraining = Retraining(tmp_path, records("cancer"))
    task("true")
    given = retraining.call("unused", epochs=400)
    words = started_by_kfp(arguments(vertex), given, f"{jobs.mount}/run/retrain")
    jobs.jobs.clear()

    def look(made) -> None:
        if made.state.name == "JOB_STATE_RUNNING" and "epoch 10:" in jobs.log(made):
            jobs.take(made)
            jobs.looks = lambda made: None

    jobs.looks = look
    code, said = task(*words)
    log = jobs.log(only(jobs))
    assert code == 1, log
    assert re.search(r"error: .*told to end: stopped after \d+ steps, start it again to go on there \(custom job", said)
    assert task(*words)[0] == 0
    assert "going on from a checkpoint: epoch" in jobs.log(list(jobs.jobs.values())[-1])


def test_a_job_that_fails_fails_its_task(task, jobs):
    code, said = task("sh", "-c", "exit 3")
    assert code == 1
    *_, last = said.splitlines()
    assert re.fullmatch(
        r"error: the custom job failed: The replica workerpool0-0 exited with a non-zero status of 3 "
        r"\(custom job 7000, logs: https://console\.cloud\.google\.com/vertex-ai/locations/europe-west4/training/\d+\?project=shop-ml\)",
        last,
    )


STEP = """
import sys
from kep.core.errors import AwayError, RunError, UserError
from kep.runtime.step import entry

@entry("retrain")
def run(step):
    raise {failure}

run(out=sys.argv[1])
"""


@pytest.mark.parametrize(
    ("failure", "status", "sentence"),
    [
        ('UserError("data.label: no such column")', 2, "data.label: no such column"),
        ('RunError("the disk is full; make room")', 1, "the disk is full; make room"),
        ('AwayError("Vizier does not answer")', 1, "Vizier does not answer"),
        ('ValueError("x")', 1, "ValueError: x"),
    ],
)
def test_what_the_step_said_is_what_its_task_says(task, gcs, jobs, tmp_path, failure, status, sentence):
    code, said = task(sys.executable, "-c", STEP.format(failure=failure), str(tmp_path / "out"))
    assert code == status
    assert said.splitlines()[-1].startswith(f"error: {sentence} (custom job 7000, logs: https://console.cloud")
    # What the next attempt would only repeat costs no machine.
    again, said_again = task(sys.executable, "-c", STEP.format(failure=failure), str(tmp_path / "out"))
    assert again == status
    assert said_again.splitlines()[-1] == said.splitlines()[-1].replace("7000", "7000" if status == 2 else "7001")
    assert len(jobs.jobs) == (1 if status == 2 else 2)


def test_of_what_a_restarted_step_said_the_last_counts(task, gcs, tmp_path):
    first = STEP.format(failure='RunError("told to end")')
    both = f"import subprocess\nsubprocess.run([sys.executable, '-c', {first!r}, sys.argv[1]])\n"
    then = STEP.format(failure='RunError("the disk is full")').replace("\nrun(", f"\n{both}run(")
    code, said = task(sys.executable, "-c", then, str(tmp_path / "out"))
    assert code == 1
    assert "error: the disk is full (custom job" in said


def test_a_job_that_gets_no_other_machine_for_the_one_that_was_taken_away(task, jobs, tmp_path):
    def look(made) -> None:
        if made.name.endswith("7000") and made.state.name == "JOB_STATE_FAILED":
            made.error.message = NO_ROOM

    jobs.looks = look
    step = STEP.format(failure='RunError("told to end")')
    code, said = task(sys.executable, "-c", step, str(tmp_path / "out"), machine=TWO)
    assert (code, len(jobs.jobs)) == (1, 2)
    assert "no room for g2-standard-4: Resources are insufficient" in said
    assert "error: told to end (custom job 7001" in said


@pytest.mark.parametrize("side", ["step", "task"])
def test_where_the_bucket_is_away_the_message_of_vertex_ai_is_left(task, gcs, jobs, tmp_path, side):
    def away() -> None:
        gcs.fault(".", "status", 403, times=float("inf"))

    if side == "step":
        jobs.made = lambda made: away()
    else:
        jobs.looks = lambda made: away() if made.state.name == "JOB_STATE_FAILED" else None
    code, said = task(sys.executable, "-c", STEP.format(failure='RunError("full")'), str(tmp_path / "out"))
    assert code == 1
    assert "error: the custom job failed: The replica workerpool0-0 exited with a non-zero status of 1" in said
    assert "what the step said can't be read: KEP_FAILURE: " in said
    log = jobs.log(only(jobs))
    assert ("is not told why: KEP_FAILURE: " in log) == (side == "step")


def test_a_worker_that_fails_fails_the_task(task, jobs):
    script = 'case "$TF_CONFIG" in *\'"type": "worker"\'*) exit 4;; esac; exec sleep 600'
    code, said = task("sh", "-c", script, machine="{machines: 2}")
    assert code == 1
    assert "The replica workerpool1-0 exited with a non-zero status of 4" in said


def test_a_job_that_failed_is_done_again(task, jobs, tmp_path):
    mark = tmp_path / "mark"
    command = ("sh", "-c", '[ -e "$0" ] || { touch "$0"; exit 1; }', str(mark))
    assert task(*command)[0] == 1
    assert task(*command)[0] == 0
    first, second = jobs.jobs.values()
    assert first.labels["kep_task"] == second.labels["kep_task"]
    assert first.job_spec.worker_pool_specs[0].container_spec.env[0].name == WORK


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"])
@pytest.mark.parametrize("lose", [True, False])
def test_an_answer_that_is_lost_makes_one_job(task, vertex, jobs, code, lose):
    fault = vertex.fault("CreateCustomJob", code, lose=lose)
    assert task("true")[0] == 0
    assert (len(jobs.jobs), fault.hits) == (1, 1)


def test_after_a_failure_a_lost_answer_is_not_the_failed_job(task, vertex, jobs, tmp_path):
    command = ("sh", "-c", '[ -e "$0" ] || { touch "$0"; exit 1; }', str(tmp_path / "mark"))
    task(*command)
    vertex.fault("CreateCustomJob", "UNAVAILABLE", lose=True)
    assert task(*command)[0] == 0
    assert len(jobs.jobs) == 2


def test_a_storm_is_weathered(task, vertex, jobs):
    for method in ("ListCustomJobs", "CreateCustomJob", "GetCustomJob", "GetPipelineJob"):
        vertex.fault(method, "UNAVAILABLE", times=3)
    assert task("true")[0] == 0
    assert len(jobs.jobs) == 1
    assert all(fault.hits == fault.times for fault in vertex.faults if fault.method != "GetPipelineJob")


def test_another_attempt_goes_on_with_the_job_of_the_first(task, vertex, jobs, tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    command = ("sh", "-c", 'read -r _ < "$0"', str(go))
    fault = vertex.fault("GetCustomJob", "UNAVAILABLE", "Away.", times=float("inf"), skip=3)
    code, said = task(*command)
    assert code == 2
    assert "error: Vertex AI in europe-west4 does not answer (Away)" in said
    vertex.faults.remove(fault)
    jobs.looks = once_running(lambda made: go.write_text("go\n"))
    code, said = task(*command)
    assert (code, len(jobs.jobs)) == (0, 1)
    assert said.startswith("going on with custom job 7000\n")
    jobs.looks = once_running(lambda made: go.write_text("go\n"))
    assert task(*command)[0] == 0
    assert len(jobs.jobs) == 1


def test_another_task_has_another_job(task, jobs):
    assert task("true")[0] == task("true", "other")[0] == 0
    assert len({made.labels["kep_task"] for made in jobs.jobs.values()}) == 2


def test_of_two_jobs_one_goes_on(task, vertex, jobs, tmp_path):
    """The first create was done after all, later than anybody looked. A region that is named twice is one."""
    go = tmp_path / "go"
    os.mkfifo(go)
    command = ("sh", "-c", 'read -r _ < "$0"', str(go))
    fault = vertex.fault("GetCustomJob", "UNAVAILABLE", times=float("inf"), skip=3)
    task(*command, machine="{cpu: 4, fallback: [{region: europe-west4}]}")
    vertex.faults.remove(fault)
    first = only(jobs)
    twin = type(first)(first)
    twin.name = first.name.replace("7000", "7001")
    twin.create_time = first.create_time - timedelta(minutes=1)
    jobs.add(twin)
    jobs.looks = once_running(lambda made: go.write_text("go\n"))
    assert task(*command)[0] == 0
    assert [one.state.name for one in jobs.jobs.values()] == ["JOB_STATE_SUCCEEDED", "JOB_STATE_CANCELLING"]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_task_that_is_cancelled_cancels_its_job(task, jobs, state):
    def look(made) -> None:
        if made.state.name == f"JOB_STATE_{state}":
            os.kill(os.getpid(), signal.SIGTERM)

    jobs.looks = look
    before = signal.getsignal(signal.SIGTERM)
    code, said = task("sleep", "600")
    assert code == 1
    assert said.endswith("error: the task was cancelled, and its custom job with it\n")
    assert only(jobs).state.name == "JOB_STATE_CANCELLING"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_task_that_is_cancelled_while_it_submits_cancels_what_it_has_made(task, vertex, jobs):
    """The answer to the create never arrives."""
    jobs.made = lambda made: os.kill(os.getpid(), signal.SIGTERM)
    assert task("sleep", "600")[0] == 1
    assert only(jobs).state.name == "JOB_STATE_CANCELLING"


def test_a_job_that_somebody_else_cancels(task, vertex, jobs):
    jobs.looks = once_running(jobs.stop)
    code, said = task("sleep", "600")
    assert code == 1
    assert "error: the custom job was cancelled: The job was cancelled (custom job 7000, logs: " in said
    jobs.looks = lambda made: None
    assert task("true")[0] == 0


@pytest.mark.parametrize(
    ("fate", "why"),
    [
        (Fate(error=("INTERNAL", NO_ROOM)), "Resources are insufficient in region: europe-west4"),
        (Fate(error=("RESOURCE_EXHAUSTED", "ZONE_RESOURCE_POOL_EXHAUSTED in the zone.")), "ZONE_RESOURCE_POOL"),
        (Fate(error=("RESOURCE_EXHAUSTED", "Sold out.")), "Sold out"),
        (Fate(stuck=True, waited=timedelta(hours=1)), "no machine in 30 minutes"),
        (None, "The following quota metrics exceed quota limits: custom_model_training_nvidia_l4_gpus"),
    ],
)
def test_where_there_is_no_room_the_next_place_is_asked(task, vertex, jobs, fate, why, tmp_path):
    if fate is None:
        vertex.fault("CreateCustomJob", "RESOURCE_EXHAUSTED", f"{why}.")
    else:
        jobs.fates = [fate]
    code, said = task("sh", "-c", 'touch "$0"', str(tmp_path / "out"), machine=TWO)
    assert code == 0, said
    assert f"no room for g2-standard-4: {why}" in said
    last = list(jobs.jobs.values())[-1]
    assert last.name.startswith("projects/shop-ml/locations/us-central1/customJobs/")
    assert last.job_spec.worker_pool_specs[0].machine_spec.machine_type == "n1-standard-4"
    assert (last.labels["kep_place"], last.state.name) == ("1", "JOB_STATE_SUCCEEDED")
    assert len(jobs.jobs) == (1 if fate is None else 2)
    assert (tmp_path / "out").exists()


def test_another_attempt_goes_on_at_the_place_of_the_first(task, vertex, jobs):
    jobs.fates = [Fate(error=("INTERNAL", NO_ROOM)), Fate(states=("PENDING",) * 5, error=("INTERNAL", NO_ROOM))]
    fault = vertex.fault("GetCustomJob", "UNAVAILABLE", times=float("inf"), skip=4)
    assert task("true", machine=TWO)[0] == 2
    vertex.faults.remove(fault)
    code, said = task("true")
    assert (code, len(jobs.jobs)) == (1, 2)
    assert "(n1-standard-4 with 1 nvidia-tesla-t4, in us-central1: Resources" in said


def test_a_job_that_has_run_has_had_its_machines(task, jobs):
    """One that was taken away and is pending again is waited for."""
    jobs.fates = [Fate(states=("PENDING",) * 3, waited=timedelta(hours=1), started=True)]
    assert task("true", machine=TWO)[0] == 0
    assert len(jobs.jobs) == 1


def test_nowhere_is_room(task, jobs):
    jobs.fates = [Fate(error=("INTERNAL", NO_ROOM))] * 2
    code, said = task("true", machine=TWO)
    assert code == 1
    assert said.splitlines()[-1].startswith(
        "error: there is no room for the custom job (g2-standard-4: Resources are insufficient in region: "
        "europe-west4. Please try a different region; n1-standard-4 with 1 nvidia-tesla-t4, in us-central1: Resources"
    )


def test_memory_that_runs_out_is_no_want_of_room(task, jobs):
    words = "The replica workerpool0-0 ran out-of-memory and exited with a non-zero status of 137."
    jobs.fates = [Fate(error=("RESOURCE_EXHAUSTED", words))]
    code, said = task("true", machine=TWO)
    assert (code, len(jobs.jobs)) == (1, 1)
    assert "error: the custom job failed: The replica workerpool0-0 ran out-of-memory" in said


def test_the_last_place_is_waited_for(task, jobs):
    jobs.fates = [Fate(states=("PENDING",) * 5, waited=timedelta(hours=3))]
    assert task("true", machine=GPU)[0] == 0


@pytest.mark.parametrize(
    ("code", "message", "words"),
    [
        (
            "PERMISSION_DENIED",
            "Needs iam.serviceAccounts.actAs.",
            f"may not run steps as {ACCOUNT}; grant it roles/iam",
        ),
        ("PERMISSION_DENIED", "aiplatform.customJobs.create denied.", "grant it roles/aiplatform.user"),
        ("INVALID_ARGUMENT", "Machine type is not supported.\nmore", "Vertex AI refuses it: Machine type is not supp"),
    ],
)
def test_a_refusal_is_one_sentence(task, vertex, jobs, code, message, words):
    vertex.fault("CreateCustomJob", code, message, times=float("inf"))
    status, said = task("true", options=("--service-account", ACCOUNT))
    assert (status, jobs.jobs) == (2, {})
    assert re.fullmatch(r"error: .+\n", said)
    assert words in said


def test_on_kubeflow_the_task_becomes_the_step(task, vertex, jobs, tmp_path):
    task("true")
    jobs.jobs.clear()
    words = arguments(vertex)
    out, script = tmp_path / "out", 'echo "$*" > "$0"; exit 3'
    # What Kubeflow does with the placeholder: nothing.
    command = [*launch_with(RUN, words), "sh", "-c", script, str(out), "--executor_input", "{}"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "", "")
    assert (out.read_text(), jobs.jobs) == ("--executor_input {}\n", {})


def test_elsewhere_than_on_vertex_ai(task, capsys, vertex):
    task("true", machine=TWO)
    assert launch.main([*launch_with("run-1", arguments(vertex))[3:], "true"]) == 2
    assert 'error: --run: "run-1" is no run of Vertex AI Pipelines' in capsys.readouterr().out


def launch_with(run: str, words: list[str]) -> list[str]:
    """The command of a task, up to that of its step, for another run."""
    return [sys.executable, "-m", MODULE, "--run", run, *words[2 : words.index("--") + 1]]


def test_a_job_reads_the_secrets_of_its_task_and_not_the_task(task, jobs, monkeypatch):
    given = {
        "KEP_SECRETS": '{"files":{"login":"/login"}}',
        "KEP_SECRETS_PROJECT": "shop-ml",
        "KEP_USER_PROJECT": "pays",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert task("true")[0] == 0
    found = {one.name: one.value for one in only(jobs).job_spec.worker_pool_specs[0].container_spec.env}
    assert given.items() <= found.items()
