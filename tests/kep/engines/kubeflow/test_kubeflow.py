"""Runs on Kubeflow: submitted once, followed to their end, cancelled, scheduled, refused in one sentence."""

import json
import re
import socket
import time

import pytest
import typer
import yaml

from kep.core import waiting
from kep.core.errors import Status
from kep.engines.kubeflow import engine
from tests.helpers.cloud import interrupted, one_sentence, steps

KUBEFLOW = ("--target", "kubeflow")
SUBMIT = ("submit", "churn.yaml", *KUBEFLOW)
CREATE = ("schedule", "create", "weekly", "churn.yaml", "--cron", "0 4 * * mon", *KUBEFLOW)
VOLUME = {"machine": {"volumes": {"champions": "/champions"}}}


@pytest.fixture(autouse=True)
def _on_a_volume(churn):
    """The run file with a champion that outlives the tasks."""
    settings = yaml.safe_load(churn.read_text())
    settings |= {"promote": {"champion": "/champions/churn"}, "hardware": {"evaluate": VOLUME, "promote": VOLUME}}
    churn.write_text(yaml.safe_dump(settings))


def run(kubeflow, place: int = 0) -> dict:
    return list(kubeflow.runs.values())[place]


def test_a_run_is_submitted_and_followed_to_its_end(kubeflow, kep):
    moments = [f"under_way_{moment:03}" for moment in (1, 7, 10, 16, 25)]
    kubeflow.frames = [*moments, "succeeded_with_cached_steps"]
    code, out, err = kep(*SUBMIT)
    assert (code, err) == (0, "")
    first, url, *_, last = out.splitlines()
    assert re.fullmatch(r"submitted kep-churn-[0-9a-f]{12}", first)
    assert url == f"{kubeflow.url}/#/runs/details/{run(kubeflow)['run_id']}"
    assert steps(out)[:16] == [
        "ingest: reused from an earlier run",
        "tune: started",
        "tune: done in 20.0 s",
        *(
            f"best_epoch {number}: {words}"
            for number, took in ((1, 32), (2, 33), (3, 33))
            for words in ("started", f"done in {took}.0 s")
        ),
        "weigh: started",
        "weigh: done in 20.0 s",
        *(f"retrain {number}: {words}" for number in (1, 2) for words in ("started", "done in 20.0 s")),
        "evaluate: started",
    ]
    assert steps(out)[-2:] == ["promote: started", "promote: done in 10.0 s"]
    assert last == "note: whether its ensemble was promoted is known on the volume of /champions/churn alone"


def test_what_kubeflow_is_asked_for(kubeflow, kep):
    assert kep(*SUBMIT, "--experiment", "nightly", "--service-account", "steps", "--set", "seed=7")[0] == 0
    asked = run(kubeflow)
    ((experiment, described),) = kubeflow.experiments.items()
    assert (asked["experiment_id"], described["display_name"], asked["service_account"]) == (
        experiment,
        "nightly",
        "steps",
    )
    spec = asked["pipeline_spec"]["pipeline_spec"]
    assert spec["root"]["inputDefinitions"]["parameters"]["seed"]["defaultValue"] == 7
    assert all("@sha256:" in one["container"]["image"] for one in spec["deploymentSpec"]["executors"].values())
    executors = asked["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors.keys() == {"exec-evaluate", "exec-promote"}
    given = asked["runtime_config"]["parameters"]
    assert given["source"]
    # Of a run's own, so that a comparison with an earlier champion is never answered from a cache.
    champion = {"folder": "/champions/churn", "version": None, "run": asked["display_name"]}
    assert json.loads(given["champion"]) == champion


@pytest.mark.parametrize(
    ("machine", "given", "words"),
    [
        (
            "{accelerator: nvidia-l4, accelerators: 2}",
            {"accelerator_type": "nvidia.com/gpu"},
            "2 nvidia.com/gpu, gke-accelerator=nvidia-l4",
        ),
        (
            "{cpu: 8, memory_gb: 30, accelerator: nvidia-tesla-t4, accelerators: 2, spot: true}",
            {"cpu_limit": "8", "memory_limit": "30G", "accelerator_type": "nvidia.com/gpu", "accelerator_count": "2"},
            "8 cores, 30 GB, 2 nvidia.com/gpu, gke-accelerator=nvidia-tesla-t4, gke-spot=true",
        ),
        (
            "{accelerator: tpu-v5-lite-podslice, topology: 2x4}",
            {"accelerator_type": "google.com/tpu", "accelerator_count": "8"},
            "8 google.com/tpu, gke-tpu-accelerator=tpu-v5-lite-podslice, gke-tpu-topology=2x4",
        ),
    ],
    ids=["GPUs", "Spot", "TPU"],
)
def test_kubeflow_is_asked_in_words_of_kubernetes(kubeflow, kep, tmp_path, machine, given, words):
    """Of what on Vertex AI are a task's GPUs, and two custom jobs."""
    machine = ["--set", f"hardware.retrain.machine={machine}"]
    given = {f"retrain_{key}": value for key, value in given.items()}
    assert kep(*SUBMIT, *machine)[0] == 0
    assert kep(*CREATE, *machine)[0] == 0
    for asked in (run(kubeflow), *kubeflow.schedules.values()):
        assert given.items() <= asked["runtime_config"]["parameters"].items()
    shown = re.sub(r"\s+", " ", kep(*SUBMIT, *machine, "--dry-run")[1])
    assert f" retrain 4 {words} evaluate " in shown

    compile = ("compile", "churn.yaml", *machine, "-o", "pipeline.yaml", "--target")
    first, wrote = kep(*compile, "vertex")[1].splitlines()
    assert first.startswith("note: `kep submit` names the data and the champion's folder; started another way")
    assert wrote == "wrote pipeline.yaml"
    of_vertex = (tmp_path / "pipeline.yaml").read_bytes()
    same, note, *pairs, wrote = kep(*compile, "kubeflow")[1].splitlines()
    assert same == first
    assert note == "note: `kep submit` starts it with these inputs; do so where you start it another way"
    assert pairs == [f"  {name}: {value}" for name, value in given.items()]
    assert wrote == "wrote pipeline.yaml"
    assert (tmp_path / "pipeline.yaml").read_bytes().startswith(of_vertex + b"---\n")


def test_without_a_cache_no_task_has_one(kubeflow, kep):
    kep(*SUBMIT, "--no-cache")
    kep(*SUBMIT, "--again")
    without, with_cache = (json.dumps(one["pipeline_spec"]) for one in kubeflow.runs.values())
    assert "enableCache" not in without
    assert "enableCache" in with_cache


def test_a_champion_may_be_in_a_bucket(kubeflow, kep):
    bucket = ["--set", "promote.champion=gs://data/champions/churn", "--set", "hardware={}"]
    assert kep(*SUBMIT, *bucket)[0] == 0
    asked = run(kubeflow)
    assert json.loads(asked["runtime_config"]["parameters"]["champion"])["folder"] == "gs://data/champions/churn"
    assert "platform_spec" not in asked["pipeline_spec"]


def test_data_on_a_volume_are_the_steps_own(kubeflow, kep):
    volume = ["--set", "hardware.ingest.machine={volumes: {data: /data}}", "--set", "data.source=/data/churn.csv"]
    assert kep(*SUBMIT, *volume)[0] == 0
    assert run(kubeflow)["runtime_config"]["parameters"]["source"] == ""
    assert "enableCache" not in json.dumps(run(kubeflow)["pipeline_spec"])
    assert 'data.source: "/date/churn.csv" is on this machine, where no step on Kubeflow can read it; give its' in (
        one_sentence(kep(*SUBMIT, *volume, "--set", "data.source=/date/churn.csv")[2])
    )
    assert "/data/../x" in one_sentence(kep(*SUBMIT, *volume, "--set", "data.source=/data/../x")[2])


def test_the_same_run_is_submitted_once(kubeflow, kep):
    kubeflow.frames = ["under_way_001"] * 3 + ["succeeded"]
    assert "submitted kep-churn-" in kep(*SUBMIT, "--no-wait")[1]
    code, out, _ = kep(*SUBMIT)
    assert (code, len(kubeflow.runs)) == (0, 1)
    assert "was submitted before, and is under way\n" in out
    code, out, _ = kep(*SUBMIT)
    assert (code, len(kubeflow.runs)) == (0, 1)
    assert "was submitted before, and is done; nothing is submitted (--again does)\n" in out
    assert kep(*SUBMIT, "--again")[0] == 0
    first, second = (one["display_name"] for one in kubeflow.runs.values())
    assert second == f"{first}-2"


def test_a_failed_run_is_status_1_and_submitted_again(kubeflow, kep):
    kubeflow.frames = ["failed_in_ingest"]
    why = 'data.label: column "left" not found in /data/shop.csv; the columns are age, plan, spend, churned'
    code, out, _ = kep(*SUBMIT)
    assert code == 1
    assert steps(out) == ["ingest: started", f"ingest: failed: {why}"]
    assert f"error: ingest failed: {why} (logs: {kubeflow.url}/#/runs" in out.splitlines()[-1]
    kubeflow.frames = ["succeeded"]
    code, out, _ = kep(*SUBMIT)
    name = run(kubeflow)["display_name"]
    assert (code, len(kubeflow.runs)) == (0, 2)
    assert out.startswith(f"note: {name} failed; submitting it again\nsubmitted {name}-2\n")


def test_a_cancelled_run_is_no_failure_and_submitted_again(kubeflow, kep):
    kubeflow.frames = ["cancelled"]
    code, out, _ = kep(*SUBMIT)
    name = run(kubeflow)["display_name"]
    assert code == Status.CANCELLED
    assert steps(out)[-1] == "tune suggest 1: failed: cancelled"
    assert out.endswith(f"error: {name} was cancelled\n")
    assert "cancelled" in kep("runs", *KUBEFLOW)[1]
    kubeflow.frames = ["succeeded"]
    assert kep(*SUBMIT)[1].startswith(f"note: {name} was cancelled; submitting it again\nsubmitted {name}-2\n")


@pytest.mark.parametrize(
    ("what", "status", "lose"),
    [
        ("runs", 0, True),
        ("runs", 0, False),
        ("runs", 429, False),
        ("runs", 503, True),
        ("runs", 503, False),
        ("experiments", 0, True),
        ("experiments", 503, False),
    ],
)
def test_an_answer_that_is_lost_makes_one_run(kubeflow, kep, what, status, lose):
    fault = kubeflow.fault(f"POST .*/{what}$", status, lose=lose)
    code, out, _ = kep(*SUBMIT)
    assert (code, len(kubeflow.runs), len(kubeflow.experiments), fault.hits) == (0, 1, 1, 1)
    assert out.startswith("submitted ")


def test_a_storm_is_weathered(kubeflow, kep):
    kubeflow.frames = ["under_way_007"] * 3 + ["succeeded_with_cached_steps"]
    kubeflow.fault("healthz", 503, times=2)
    kubeflow.fault("POST .*/runs", 503, times=4)
    kubeflow.fault("GET .*/runs/", 503, times=5)
    kubeflow.fault("GET .*/runs/", 0, times=3, skip=2)
    code, out, err = kep(*SUBMIT)
    assert (code, err, len(kubeflow.runs)) == (0, "", 1)
    assert steps(out)[:3] == ["ingest: reused from an earlier run", "tune: started", "tune: done in 20.0 s"]
    assert all(fault.hits == fault.times for fault in kubeflow.faults)


@pytest.mark.parametrize(
    "words",
    [
        "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2155495 vs. 2097152)",
        "etcdserver: request is too large",
    ],
)
def test_what_is_too_large_is_refused_at_once(kubeflow, kep, words):
    """Of 150 rounds of 4 trials, before they were counted here."""
    fault = kubeflow.fault("POST .*/runs$", 500, {"error": words, "code": 13, "message": words}, times=float("inf"))
    code, _, err = kep(*SUBMIT)
    assert (code, fault.hits) == (2, 1)
    assert f"Kubeflow refuses it: {words}" in one_sentence(err)


def test_an_outage_ends_following_and_not_the_run(kubeflow, kep):
    kubeflow.frames = ["under_way_001"] * 3 + ["succeeded"]
    fault = kubeflow.fault("GET .*/runs/", 503, times=float("inf"), skip=2)
    code, _, err = kep(*SUBMIT)
    assert code == 2
    assert "does not answer (injected); try the same command again later" in one_sentence(err)
    kubeflow.faults.remove(fault)
    code, out, _ = kep(*SUBMIT)
    assert (code, len(kubeflow.runs)) == (0, 1)
    assert "was submitted before, and is under way" in out


def test_a_login_that_ends_meanwhile_is_no_run_that_waits(kubeflow, kep):
    kubeflow.frames = ["under_way_001"] * 3
    kubeflow.fault("GET .*/runs/", 200, "<html>sign in</html>", skip=1)
    code, _, err = kep(*SUBMIT)
    assert code == 2
    assert "does not answer as Kubeflow Pipelines does, but as a login page might" in one_sentence(err)


@pytest.mark.parametrize(
    "body",
    ["<html>sign in</html>", '{"runs": [{"run_id": "a", "displ', "[]", "null", "", '"no"', {"runs": [None]}],
    ids=["page", "half", "list", "null", "nothing", "text", "no run"],
)
@pytest.mark.parametrize(
    ("pattern", "command"),
    [
        ("GET .*/runs$", SUBMIT),
        ("GET .*/runs$", ("status", "digits", *KUBEFLOW)),
        ("GET .*/runs$", ("runs", *KUBEFLOW)),
        ("GET .*/runs$", ("schedule", "delete", "weekly", *KUBEFLOW)),
        ("GET .*/recurringruns$", ("schedule", "list", *KUBEFLOW)),
        ("GET .*/recurringruns$", CREATE),
        ("GET .*/experiments$", SUBMIT),
        (":disable", ("schedule", "pause", "weekly", *KUBEFLOW)),
    ],
    ids=lambda given: given if isinstance(given, str) else " ".join(given[:2]),
)
def test_what_is_no_answer_is_no_empty_one(kubeflow, kep, pattern, command, body):
    weekly = {"recurring_run_id": "1", "display_name": "weekly", "created_at": "2026-02-01T00:00:00Z"}
    kubeflow.schedules = {"1": weekly}
    kubeflow.fault(pattern, 200, body, times=float("inf"))
    code, _, err = kep(*command)
    assert code == 2
    assert "does not answer as Kubeflow Pipelines does, but as a login page might" in one_sentence(err)
    assert (kubeflow.runs, kubeflow.schedules) == ({}, {"1": weekly})


def test_an_experiment_of_the_same_moment_is_shared(kubeflow, kep):
    assert kep(*SUBMIT, "--no-wait")[0] == 0
    kubeflow.fault("GET .*/experiments", 200, {})
    assert kep(*SUBMIT, "--no-wait", "--set", "seed=1")[0] == 0
    assert (len(kubeflow.experiments), len(kubeflow.runs)) == (1, 2)


def test_whoever_submits_the_same_at_the_same_moment_shares_the_run(kubeflow, kep):
    kubeflow.frames = ["under_way_001"]
    kep(*SUBMIT, "--no-wait")
    kubeflow.frames = ["under_way_001"] * 3
    # The other one's run is not seen before this one's is made.
    kubeflow.fault("GET .*/runs$", 200, {})
    code, out, _ = kep(*SUBMIT, "--no-wait")
    assert code == 0
    assert "was submitted before, and is under way" in out
    assert [one["state"] for one in kubeflow.runs.values()] == ["PENDING", "CANCELING"]


def test_a_server_that_is_gone(kubeflow, kep, monkeypatch):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", f"http://127.0.0.1:{held.getsockname()[1]}")
    code, out, err = kep(*SUBMIT)
    assert (code, out) == (2, "")
    assert "does not answer (Connection refused); try the same command again later" in one_sentence(err)


def test_a_server_that_says_nothing_is_waited_for_once(kubeflow, kep, monkeypatch):
    monkeypatch.setitem(engine.FIRST, "_request_timeout", 1)
    monkeypatch.setattr(waiting, "SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        code, out, err = kep("runs", *KUBEFLOW)
    # No table is shown whose only line is its head.
    assert (code, out) == (2, "")
    word, error = err.split("\n", 1)
    assert re.fullmatch(r"still waiting for Kubeflow at http://127.0.0.1:\d+ after 0.2 s", word)
    assert "does not answer (it took too long); try the same command again later" in one_sentence(error)
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize(
    ("pattern", "status", "body", "words"),
    [
        ("healthz", 401, "no", "does not accept the login (no); log in again and set KEP_KUBEFLOW_TOKEN, or"),
        ("healthz", 403, "RBAC: access denied", "(RBAC: access denied); ask for the role kubeflow-edit there"),
        ("healthz", 403, "<html>no</html>", "(status 403); ask for the role kubeflow-edit there"),
        ("healthz", 403, {"error": {"code": 403, "message": "No."}}, "(No); ask for the role kubeflow-edit there"),
        ("healthz", 0, None, "does not answer (it closed the connection); try"),
        ("healthz", 404, "<html>", "--host: there is no Kubeflow Pipelines at http://"),
        ("healthz", 404, "404 page not found", "--host: there is no Kubeflow Pipelines at http://"),
        ("healthz", 404, {"code": 5, "message": "Not Found"}, "--host: there is no Kubeflow Pipelines at http://"),
        ("POST .*/runs$", 404, {"message": "Experiment 7 not found."}, "Kubeflow refuses it: Experiment 7 not found\n"),
        (
            "healthz",
            200,
            "<html>sign in</html>",
            "does not answer as Kubeflow Pipelines does, but as a login page might",
        ),
        ("healthz", 200, "[]", "does not answer as Kubeflow Pipelines does, but as a login page might"),
        ("healthz", 503, None, "does not answer (injected); try the same command again later"),
        ("POST .*/runs$", 400, {"message": "Bad spec.\nmore"}, "Kubeflow refuses it: Bad spec\n"),
        ("POST .*/runs$", 403, {"message": "User is not authorized."}, "ask for the role kubeflow-edit there"),
        ("POST .*/runs$", 503, None, "does not answer (injected); try"),
    ],
)
def test_a_refusal_is_one_sentence(kubeflow, kep, pattern, status, body, words):
    kubeflow.fault(pattern, status, body, times=float("inf"))
    code, out, err = kep(*SUBMIT)
    assert (code, out) == (2, "")
    assert words in one_sentence(err)
    assert kubeflow.runs == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "kubeflow"], '--host: "kubeflow" is no address; give that of Kubeflow Pipelines, such as https://'),
        (["--host", ""], "--host: is missing, and so is the environment variable KF_PIPELINES_ENDPOINT"),
        (["--network", "n"], "--network has no meaning on Kubeflow; remove it"),
        (["--label", "a=b"], "--label has no meaning on Kubeflow; remove it"),
        (["--failure-policy", "fast"], "--failure-policy fast has no meaning on Kubeflow; remove it"),
        (["--set", "data.source=churn.csv"], "is on this machine, where no step on Kubeflow can read it"),
        (["--set", "data.label=chruned"], 'did you mean "churned"'),
        (
            ["--set", "promote.champion=/old/churn"],
            '"/old/churn" is on no volume of evaluate, so that the champ',
        ),
        (["--set", "hardware.promote.machine=null"], '"/champions/churn" is on no volume of promote, so that the'),
        (["--set", "promote.champion=null"], "promote.champion: is not given, so that the champion"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_submitted(kubeflow, kep, arguments, words):
    code, out, err = kep(*SUBMIT, *arguments)
    assert (code, out) == (2, "")
    assert words in one_sentence(err)
    assert [line for line in kubeflow.journal if "POST" in line] == []


def test_a_template_of_vertex_ai_is_none_of_kubeflow(kubeflow, kep):
    code, _, err = kep("submit", "gs://data/pipeline.yaml", *KUBEFLOW)
    assert code == 2
    assert "is a template of Vertex AI; Kubeflow takes a run file" in one_sentence(err)


def test_a_server_for_several_users_needs_a_namespace(kubeflow, kep):
    kubeflow.several = True
    assert "--namespace: http://" in one_sentence(kep(*SUBMIT)[2])
    assert "may not do that in namespace other of http://" in one_sentence(kep(*SUBMIT, "--namespace", "other")[2])
    assert kep(*SUBMIT, "--namespace", "team")[0] == 0
    ((_, experiment),) = kubeflow.experiments.items()
    assert experiment["namespace"] == "team"
    assert kep("status", "churn", *KUBEFLOW, "--namespace", "team")[0] == 0


@pytest.mark.parametrize(
    ("variable", "value", "header", "sent"),
    [
        ("KEP_KUBEFLOW_TOKEN", "secret", "authorization", "Bearer secret"),
        ("KEP_KUBEFLOW_COOKIES", "authservice_session=1", "Cookie", "authservice_session=1"),
        ("KF_PIPELINES_SA_TOKEN_PATH", "token", "authorization", "Bearer of a file"),
    ],
)
def test_logins(kubeflow, kep, monkeypatch, tmp_path, variable, value, header, sent):
    (tmp_path / "token").write_text("of a file")
    monkeypatch.setenv(variable, value)
    assert kep("runs", *KUBEFLOW)[0] == 0
    assert kubeflow.headers[header] == sent


def test_ctrl_c_without_a_terminal_leaves_it_running(kubeflow, kep, monkeypatch):
    kubeflow.frames = ["under_way_001"]
    interrupted(monkeypatch)
    code, out, _ = kep(*SUBMIT)
    name = run(kubeflow)["display_name"]
    assert code == 130
    assert out.endswith(f"{name} goes on; `kep status {name}` looks at it, `kep cancel {name}` ends it\n")
    assert run(kubeflow)["state"] == "RUNNING"


@pytest.mark.parametrize(("answer", "code"), [(True, 3), (False, 130)])
def test_ctrl_c_on_a_terminal_asks(kubeflow, kep, monkeypatch, answer, code):
    kubeflow.frames = ["under_way_016"]
    interrupted(monkeypatch)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda text, default: answer)
    assert kep(*SUBMIT)[0] == code
    assert run(kubeflow)["state"] == ("FAILED" if answer else "RUNNING")


def test_status_cancel_and_runs(kubeflow, kep):
    kubeflow.frames = ["under_way_016"]
    kep(*SUBMIT, "--no-wait", "--set", "seed=1")
    kep(*SUBMIT, "--no-wait")
    kep(*SUBMIT, "--no-wait", "--set", "name=other")
    kubeflow.runs["foreign"] = run(kubeflow) | {"display_name": "kep-something"}
    kubeflow.page = 1
    older, newer, other, _ = (one["display_name"] for one in kubeflow.runs.values())
    code, out, _ = kep("status", "churn", *KUBEFLOW)
    assert code == 0
    assert out.startswith(f"{newer}: running\n")
    assert re.search(r"✓\s+best_epoch .*3/3", out)
    listed = [line.split()[2] for line in kep("runs", *KUBEFLOW)[1].splitlines()[1:]]
    assert listed == [other, newer, older]
    listed = [line.split()[2] for line in kep("runs", *KUBEFLOW, "--name", "churn")[1].splitlines()[1:]]
    assert listed == [newer, older]
    fault = kubeflow.fault(":terminate", 503, lose=True)
    said = f"cancelling {older}; `kep status {older}` says when it has ended\n"
    assert kep("cancel", older, *KUBEFLOW) == (0, said, "")
    assert fault.hits == 1
    assert kep("status", older, *KUBEFLOW)[0] == 3
    assert kep("cancel", older, *KUBEFLOW) == (0, f"{older} has ended: cancelled\n", "")
    code, _, err = kep("status", "chrun", *KUBEFLOW)
    assert code == 2
    assert "there is no run chrun in http://" in one_sentence(err)


def test_a_dry_run_says_what_the_tasks_ask_for(kubeflow, kep):
    machine = "hardware.tune.machine={cpu: 8, memory_gb: 30}"
    code, out, _ = kep(*SUBMIT, "--dry-run", "--set", machine)
    assert code == 0
    assert re.search(r"^tune +1  8 cores, 30 GB *$", out, re.M)
    assert out.splitlines()[-1] == "13 tasks"
    assert kubeflow.journal == []


def test_a_schedule_of_a_run_file(kubeflow, kep):
    code, out, err = kep(*CREATE, "--max-concurrent-runs", "2", "--queue", "--start", "2026-03-01")
    assert (code, err) == (0, "")
    (made,) = kubeflow.schedules.values()
    assert made["trigger"]["cron_schedule"] == {"cron": "0 0 4 * * mon", "start_time": "2026-03-01T00:00:00+00:00"}
    assert (made["max_concurrency"], made["no_catchup"], made["status"]) == ("2", False, "ENABLED")
    # The data of each run are those of its moment, so that no step may be answered from a cache.
    assert made["runtime_config"]["parameters"]["source"] == ""
    assert "enableCache" not in json.dumps(made["pipeline_spec"])
    first, second = out.splitlines()
    assert first == "scheduled weekly: 0 4 * * mon, in the zone of its controller"
    digest = second.removeprefix("template compiled here, content sha256:")[:16]
    row = kep("schedule", "list", *KUBEFLOW)[1].splitlines()[1].split()
    assert row == ["weekly", "active", "0", "4", "*", "*", "mon", digest]


@pytest.mark.parametrize("lose", [True, False])
def test_an_answer_that_is_lost_makes_one_schedule(kubeflow, kep, lose):
    fault = kubeflow.fault("POST .*/recurringruns$", 503, lose=lose)
    assert kep(*CREATE)[0] == 0
    assert (fault.hits, len(kubeflow.schedules)) == (1, 1)
    assert "there is a schedule weekly already; `kep schedule delete weekly`" in one_sentence(kep(*CREATE)[2])


def test_pause_resume_delete(kubeflow, kep):
    kep(*CREATE)
    ((_, made),) = kubeflow.schedules.items()
    kubeflow.fault(":disable", 0, lose=True)
    assert kep("schedule", "pause", "weekly", *KUBEFLOW) == (0, "paused weekly\n", "")
    assert made["status"] == "DISABLED"
    assert kep("schedule", "list", *KUBEFLOW)[1].splitlines()[1].split()[1] == "paused"
    assert "--catch-up has no meaning" in one_sentence(kep("schedule", "resume", "weekly", "--catch-up", *KUBEFLOW)[2])
    assert kep("schedule", "resume", "weekly", *KUBEFLOW) == (0, "resumed weekly\n", "")
    assert made["status"] == "ENABLED"
    assert "no schedule weakly in http" in one_sentence(kep("schedule", "pause", "weakly", *KUBEFLOW)[2])
    kubeflow.fault("DELETE", 503, lose=True)
    assert kep("schedule", "delete", "weekly", *KUBEFLOW) == (0, "deleted weekly\n", "")
    assert kubeflow.schedules == {}


def of_schedule(kubeflow, recording: str, name: str = "weeklylpk68-1-3819988483") -> dict:
    """A run that the schedule has started, as a real one was called."""
    ((schedule, _),) = kubeflow.schedules.items()
    return kubeflow.replay(recording, display_name=name, recurring_run_id=schedule)


def test_runs_of_a_schedule_are_known(kubeflow, kep):
    kep(*CREATE)
    run = of_schedule(kubeflow, "failed_in_ingest")
    kubeflow.replay("succeeded", display_name="otherabcde-1-1", recurring_run_id="of-somebody-else", runtime_config={})
    for name in ("weekly", run["display_name"]):
        code, out, _ = kep("status", name, *KUBEFLOW)
        assert code == 1
        assert f"{run['display_name']}: failed\n" in out
        assert 'error: ingest failed: data.label: column "left" not found' in out
    for given in ([], ["--name", "weekly"]):
        _, *rows = kep("runs", *KUBEFLOW, *given)[1].splitlines()
        assert [row.split()[1:4] for row in rows] == [["weekly", run["display_name"], "failed"]]


@pytest.mark.parametrize(
    ("terminal", "answer", "code", "left"), [(False, None, 0, 0), (True, True, 0, 0), (True, False, 1, 1)]
)
def test_deleting_a_schedule_warns_of_the_run_that_it_ends(kubeflow, kep, monkeypatch, terminal, answer, code, left):
    kep(*CREATE)
    run = of_schedule(kubeflow, "under_way_016")
    of_schedule(kubeflow, "succeeded", "weeklylpk68-2-1")
    monkeypatch.setattr("sys.stdin.isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda text, default: answer)
    found, out, err = kep("schedule", "delete", "weekly", *KUBEFLOW)
    assert (found, err, len(kubeflow.schedules)) == (code, "", left)
    assert out.startswith(f"warning: {run['display_name']} is under way, and ends with its schedule\n")
    if not left:
        code, out, _ = kep("status", "weekly", *KUBEFLOW)
        assert code == Status.CANCELLED
        assert out.endswith("its schedule was deleted, and its tasks with it; Kubeflow still calls it running\n")


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [
        ("2.13.0", "FAIL", "runs Kubeflow Pipelines 2.13.0; 2.14 or newer is needed, since an older one hands on one"),
        ("1.8.22", "FAIL", "runs Kubeflow Pipelines 1.8.22; 2.14 or newer is needed"),
        ("unknown", "WARN", "does not tell its version; Kubeflow Pipelines 2.14 or newer is needed"),
        ("2.14.0-rc.1", "PASS", ""),
        ("v2.20.1", "PASS", ""),
    ],
)
def test_the_least_version(kubeflow, kep, monkeypatch, version, status, words):
    monkeypatch.setenv("COLUMNS", "400")
    kubeflow.version = version
    assert re.search(rf"^{status} +Kubeflow Pipelines .*{re.escape(words)}", kep("doctor", *KUBEFLOW)[1], re.M)
    code, out, err = kep(*SUBMIT, "--no-wait")
    if status == "FAIL":
        assert (code, kubeflow.runs) == (2, {})
        assert words in one_sentence(err)
        assert words in one_sentence(kep(*CREATE)[2])
    else:
        assert code == 0
        assert (f"{words}, since" in out) == (status == "WARN")


def test_a_schedule_can_not_be_changed(kubeflow, kep):
    code, _, err = kep("schedule", "update", "weekly", "--cron", "0 5 * * *", *KUBEFLOW)
    assert code == 2
    assert "Kubeflow can't change a schedule; delete it and make it again" in one_sentence(err)


def test_a_schedule_is_in_the_zone_of_the_cluster(kubeflow, kep):
    code, _, err = kep(*CREATE, "--time-zone", "Europe/Berlin")
    assert code == 2
    assert "--time-zone: Kubeflow reads --cron in the zone that its controller" in one_sentence(err)
    assert kubeflow.schedules == {}


def test_the_doctor_looks_at_the_server_and_at_what_would_be_submitted(kubeflow, kep, churn, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    doctor = ("doctor", "churn.yaml", *KUBEFLOW)

    def found(out: str) -> dict[str, list[str]]:
        lines = [re.split(r" {2,}", line.strip(), maxsplit=2) for line in out.splitlines() if line[:4].isupper()]
        return {what: [status, words] for status, what, words in lines}

    code, out, err = kep(*doctor)
    assert (code, err) == (0, "")
    told = found(out)
    assert told["Kubeflow Pipelines"] == ["PASS", f"2.17.0 answers at {kubeflow.url}"]
    assert told["runs"] == ["PASS", "may be looked at; the newest is none yet"]
    assert "at most" in told["template"][1]
    assert "nodes" not in told
    assert kubeflow.runs == {}
    code, out, _ = kep(*doctor, "--set", "hardware.retrain.machine={accelerator: nvidia}")
    assert found(out)["nodes"][0] == "SKIP"
    code, out, _ = kep(*doctor, "--set", "promote.champion=/elsewhere")
    assert (code, found(out)["template"][0]) == (1, "FAIL")
    assert "is on no volume of evaluate" in found(out)["template"][1]
    code, out, _ = kep(*doctor, "--host", "http://127.0.0.1:9")
    assert (code, found(out)["Kubeflow Pipelines"][0]) == (1, "FAIL")


SLACK = [
    "--set",
    "notify={webhook: 'env:SLACK_WEBHOOK'}",
    "--set",
    "hardware.promote.machine.secret_variables={slack: {address: SLACK_WEBHOOK}}",
]


def test_a_run_in_an_exit_handler_is_followed_and_looked_at_as_any_other(kubeflow, kep, monkeypatch):
    monkeypatch.setenv("SLACK_WEBHOOK", "https://hooks.example.com/T000-s3cr3t")
    kubeflow.frames = ["failed_in_ingest"]
    assert kep(*SUBMIT, *SLACK)[0] == 1
    assert kep("status", "churn", *KUBEFLOW)[0] == 1
    assert re.search(r"churn.*failed", kep("runs", *KUBEFLOW)[1])
    code, out, _ = kep(*SUBMIT, *SLACK, "--dry-run")
    assert (code, "notify" in out, "promote" in out) == (0, False, True)
    assert kep(*CREATE, *SLACK)[0] == 0
    # Who tells knows where the pages of this server are, and the address of the webhook is a secret of the cluster.
    for asked in (run(kubeflow), *kubeflow.schedules.values()):
        config = json.loads(asked["runtime_config"]["parameters"]["notify_config"])
        assert config["pages"] == f"{kubeflow.url}/#/runs/details/"
        assert "T000-s3cr3t" not in json.dumps(asked)
        executors = asked["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        for label in ("exec-promote", "exec-notify-failure"):
            assert executors[label]["secretAsEnv"][0]["keyToEnv"][0]["envVar"] == "SLACK_WEBHOOK"
            assert executors[label]["pvcMount"]
