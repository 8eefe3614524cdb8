"""What a person sees of each run that a real Kubeflow was asked for, over kfp's own client."""

import re
from types import SimpleNamespace

import pytest
import yaml

from kep.engines.kubeflow.engine import Kubeflow
from kep.engines.kubeflow.logs import LONGEST, reason
from kep.engines.kubeflow.nodes import _hashed, _tree
from kep.engines.submit import events
from tests.helpers.cloud import steps as shown_steps
from tests.servers.kubeflow import RECORDED, recorded

KUBEFLOW = ("--target", "kubeflow")
VOLUME = {"machine": {"volumes": {"champions": "/champions"}}}
UNDER_WAY = [f"under_way_{moment:03}" for moment in (1, 7, 10, 16, 25)]


def tasks(label: str, last: int, kind: str = "done", first: int = 1) -> list[str]:
    return [f"{label}{number}: {kind}" for number in range(first, last + 1)]


END = ["weigh: done", *tasks("retrain ", 2), "evaluate: done"]
REUSED = ["ingest: reused", "tune: reused"]
ROUND = ["tune suggest 1: done", *tasks("tune trial 1.", 2)]
COLUMN = 'data.label: column "left" not found in /data/shop.csv; the columns are age, plan, spend, churned'
GONE = "the server gives no log of it; look at node {} of run {}"
DELETED = "its schedule was deleted, and its tasks with it; Kubeflow still calls it running"
WORKFLOW = '"kubectl describe workflow -l pipeline/runid={1}"'
SAYS_NOTHING = f"Kubeflow lists no task that has begun, and says no reason; {WORKFLOW} shows its message"
NO_DRIVER = f"no step has begun; root: Kubeflow's own driver of it failed; {GONE}"
ON_VOLUME = "note: whether its ensemble was promoted is known on the volume of /champions/"
TABLE = {
    "under_way_001": (0, "running", [], ""),
    "under_way_007": (0, "running", ["ingest: reused", "tune: done"], ""),
    "under_way_010": (0, "running", ["ingest: reused", "tune: done"], ""),
    "under_way_016": (
        0,
        "running",
        ["ingest: reused", "tune: done", *tasks("best_epoch ", 3), "weigh: start"],
        "",
    ),
    "under_way_025": (
        0,
        "running",
        ["ingest: reused", "tune: done", *tasks("best_epoch ", 3), *END[:-1], "evaluate: start"],
        "",
    ),
    "succeeded": (
        0,
        "succeeded",
        ["ingest: done", "tune: done", *tasks("best_epoch ", 4), *END, "promote: done"],
        f"{ON_VOLUME}digits alone",
    ),
    "succeeded_with_cached_steps": (
        0,
        "succeeded",
        [*REUSED, *tasks("best_epoch ", 4), *END, "promote: done"],
        f"{ON_VOLUME}digits alone",
    ),
    # The server's list of its tasks ends four minutes before the run does.
    "succeeded_in_rounds": (
        0,
        "succeeded",
        [
            "ingest: done",
            *ROUND,
            "tune suggest 2: done",
            *tasks("tune trial 2.", 2),
            "tune: done",
            *tasks("best_epoch ", 4),
        ],
        f"{ON_VOLUME}shop alone",
    ),
    "failed_in_ingest": (1, "failed", ["ingest: failed"], f"error: ingest failed: {COLUMN} (logs: {{0}})"),
    "failed_in_suggest_2": (
        1,
        "failed",
        ["ingest: done", *ROUND, "tune suggest 2: failed"],
        f"error: tune suggest 2 failed: {GONE.format('shop-98qph-2813026798', '{1}')} (logs: {{0}})",
    ),
    "pod_lost_then_training_killed": (
        1,
        "failed",
        [
            "ingest: reused",
            "tune: tried again (attempt 2)",
            "tune: done",
            *tasks("best_epoch ", 2),
            "best_epoch 3: failed",
            "best_epoch 4: done",
        ],
        f"error: best_epoch 3 failed: {GONE.format('digits-tmmv8-2731284258', '{1}')} (logs: {{0}})",
    ),
    "cancelled": (3, "cancelled", ["ingest: reused", "tune suggest 1: failed"], "error: {2} was cancelled"),
    "of_a_schedule_that_was_deleted": (
        3,
        "cancelled",
        ["ingest: done"],
        f"error: {{2}} was cancelled: {DELETED}",
    ),
    "no_artifact_store": (
        1,
        "failed",
        [],
        f"error: {{2}} failed: {NO_DRIVER.format('digits-jbf4p-3886143839', '{1}')} (logs: {{0}})",
    ),
    "too_large_for_etcd": (1, "failed", [], f"error: {{2}} failed: {SAYS_NOTHING} (logs: {{0}})"),
}


def told(run, seen=None) -> list[str]:
    """The events of a look at a run; a start is left out where its end is told, too."""
    found = list(events(run, {} if seen is None else seen))
    ended = {event.name for event in found if event.kind in ("done", "failed")}
    return [
        f"{event.name}: {event.text or event.kind}"
        for event in found
        if event.kind != "start" or event.name not in ended
    ]


def test_every_recording_is_in_the_table():
    assert sorted(TABLE) == sorted(path.stem for path in (RECORDED / "runs").glob("*.json"))


@pytest.mark.parametrize("name", TABLE)
def test_what_a_person_sees(kubeflow, kep, name):
    code, state, steps, last = TABLE[name]
    run = kubeflow.replay(name)
    shown = run["display_name"]
    assert told(Kubeflow(kubeflow.url).get(shown)) == steps
    found, out, err = kep("status", shown, *KUBEFLOW)
    assert (found, err, out.splitlines()[0]) == (code, "", f"{shown}: {state}")
    url = f"{kubeflow.url}/#/runs/details/{run['run_id']}"
    assert out.splitlines()[-1] == (last.format(url, run["run_id"], shown) or url)
    assert re.search(rf" {shown} +{state} ", kep("runs", *KUBEFLOW)[1])
    said = kep("cancel", shown, *KUBEFLOW)[1]
    assert said.startswith(f"{shown} has ended: {state}\n" if last else f"cancelling {shown};")


ENDED = [name for name in TABLE if name not in UNDER_WAY]


@pytest.mark.parametrize("name", ENDED)
def test_submit_follows_a_run_to_each_end(kubeflow, kep, churn, name):
    """A recording of an end has the digits' steps under the name of the run that is followed."""
    code, _, steps, last = TABLE[name]
    settings = yaml.safe_load(churn.read_text())
    settings |= {"promote": {"champion": "/champions/churn"}, "hardware": {"evaluate": VOLUME, "promote": VOLUME}}
    churn.write_text(yaml.safe_dump(settings))
    kubeflow.frames = ["under_way_001", name]
    found, out, err = kep("submit", "churn.yaml", *KUBEFLOW)
    (run,) = kubeflow.runs.values()
    url = f"{kubeflow.url}/#/runs/details/{run['run_id']}"
    assert (found, err) == (code, "")
    for step in steps:
        shown, _, kind = step.partition(": ")
        words = {"done": r"done in [\d.]+ s", "reused": "reused from an earlier run"}.get(kind, re.escape(kind))
        assert any(re.match(rf"{re.escape(shown)}: {words}", line) for line in shown_steps(out)), (step, out)
    ended = last.format(url, run["run_id"], run["display_name"]).partition(" (logs: ")[0]
    assert out.splitlines()[-1].startswith(re.sub(r"/champions/\w*", "/champions/churn", ended))


@pytest.mark.parametrize("name", TABLE)
def test_doctor_and_schedule_beside_a_run(kubeflow, kep, name):
    schedules = kep("schedule", "list", *KUBEFLOW)
    shown = kubeflow.replay(name)["display_name"]
    assert f"may be looked at; the newest is {shown} " in kep("doctor", *KUBEFLOW)[1]
    assert kep("schedule", "list", *KUBEFLOW) == schedules


@pytest.mark.parametrize(("status", "words"), [(0, "Promoted: it wins."), (4, "Not promoted: it loses. Why? So.")])
def test_the_decision_is_read_from_the_log_of_promote(kubeflow, kep, status, words):
    name = kubeflow.replay("succeeded")["display_name"]
    kubeflow.logs["digits-4b6zz-1398413863"] = f"promote: won\npromote: exit status {status}: {words}\nI1129 17:46 more"
    code, out, err = kep("status", name, *KUBEFLOW)
    assert (code, err, out.splitlines()[-1]) == (status, "", words)


def test_numbers_are_steady_while_a_run_is_under_way(kubeflow):
    run, seen, lines = kubeflow.replay("under_way_001"), {}, []
    engine = Kubeflow(kubeflow.url)
    for name in UNDER_WAY:
        run.update(recorded(name))
        lines += told(engine.get(run["display_name"]), seen)
    *before, last = TABLE["under_way_016"][2]
    assert lines == [*before, last, *TABLE["under_way_025"][2][len(before) :]]


def unrepeated(details: list[dict]) -> list[dict]:
    """A run's task details as of a controller that repeats nothing, so that no node has attempts under it."""
    named = [one for one in details if one.get("display_name")]
    tree = _tree(
        [
            SimpleNamespace(
                display_name=one["display_name"],
                child_tasks=[SimpleNamespace(**child) for child in one.get("child_tasks", [])],
            )
            for one in named
        ]
    )
    attempt = re.compile(r"\(\d+\)")
    workflow = next(iter(tree.names))
    ids = {old: f"{workflow}-{_hashed(attempt.sub('', path))}" for path, old in tree.ids.items()}
    wrappers = {attempt.sub("", one["display_name"]) for one in named if attempt.search(one["display_name"])}
    return [
        one
        | {"display_name": attempt.sub("", one["display_name"])}
        | {"child_tasks": [{"pod_name": ids[child["pod_name"]]} for child in one.get("child_tasks", [])]}
        for one in named
        if one["display_name"] not in wrappers or not one.get("child_tasks")
    ]


@pytest.mark.parametrize("name", ["succeeded", "succeeded_with_cached_steps", "failed_in_ingest", "under_way_025"])
def test_a_controller_that_repeats_nothing_is_read_alike(kubeflow, name):
    run = kubeflow.replay(name)
    run["run_details"]["task_details"] = unrepeated(run["run_details"]["task_details"])
    assert told(Kubeflow(kubeflow.url).get(run["display_name"])) == TABLE[name][2]


def test_a_list_that_ends_before_its_run_is_said_to(kubeflow, kep):
    name = kubeflow.replay("succeeded_in_rounds")["display_name"]
    out = kep("status", name, *KUBEFLOW)[1]
    assert "note: the server lists no task of weigh, retrain, evaluate, promote; the run has done them" in out
    assert re.search(r"✓ +promote", out)


NEVER = ("1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", None)
"""How Kubeflow writes a moment that is not there."""


@pytest.mark.parametrize("zero", NEVER)
@pytest.mark.parametrize(
    ("field", "took"), [("start_time", "✓  ingest "), ("end_time", "done in"), ("create_time", "30.0 s")]
)
def test_a_moment_of_a_task_that_is_not_there(kubeflow, kep, field, took, zero):
    run = kubeflow.replay("succeeded")
    for one in run["run_details"]["task_details"]:
        one[field] = zero
    code, out, _ = kep("status", run["display_name"], *KUBEFLOW)
    assert code == 0
    assert took in out
    assert not re.search(r" -\d", out)


@pytest.mark.parametrize("zero", NEVER[:2])
def test_a_moment_of_a_run_that_is_not_there(kubeflow, kep, zero):
    name = kubeflow.replay("succeeded", created_at=zero)["display_name"]
    assert "\ndone\n" in kep("status", name, *KUBEFLOW)[1]
    assert re.search(rf" {name} +succeeded +$", kep("runs", *KUBEFLOW)[1], re.M)


@pytest.mark.parametrize("details", [None, {}, {"task_details": None}, {"task_details": [{}, {"display_name": "x"}]}])
def test_a_run_whose_tasks_are_not_listed_says_so(kubeflow, kep, details):
    name = kubeflow.replay("succeeded", run_details=details)["display_name"]
    out = kep("status", name, *KUBEFLOW)[1]
    assert "note: the server lists no task of its steps; the run has done them all the same" in out


def test_a_task_that_is_listed_as_running_in_a_run_that_failed_is_asked_for_its_reason(kubeflow, kep):
    run = kubeflow.replay("under_way_025", state="FAILED", finished_at="2026-11-29T18:42:00Z")
    node = "digits-xpcn6-1711020005"
    assert f"error: evaluate failed: {GONE.format(node, run['run_id'])}" in kep("status", "digits", *KUBEFLOW)[1]
    kubeflow.logs[node] = "error: no space left\n"
    assert "error: evaluate failed: no space left (logs: " in kep("status", "digits", *KUBEFLOW)[1]


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (401, None, " (it answered 401)"),
        (403, None, " (it answered 403)"),
        (429, None, " (it answered 429)"),
        (404, None, ""),
        (500, None, ""),
        (0, None, " (it did not answer in time)"),
        (200, "<!doctype html><html><title>Log in</title></html>", " (a login page came in its place)"),
        (200, "\n<HTML><body>Sign in</body></HTML>", " (a login page came in its place)"),
    ],
)
def test_a_log_that_does_not_come_says_why(kubeflow, kep, status, body, why):
    run = kubeflow.replay("failed_in_ingest")
    kubeflow.fault("GET .*/log$", status, body, times=float("inf"))
    code, out, err = kep("status", run["display_name"], *KUBEFLOW)
    assert code == 1
    assert f"error: ingest failed: the server gives no log of it{why}; look at node " in out + err


KILLED = """I1129 18:04:24.872026      16 main.go:139] Setting log level to: '1'
[KFP Executor 2026-11-29 18:04:26,987 INFO]: Got executor_input:
{
    "inputs": {}
}
{}F1129 18:04:33.618232      16 main.go:130] failed to execute component: signal: killed
"""
SIGNAL = "failed to execute component: signal: killed"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ((RECORDED / "log_of_the_failed_ingest.txt").read_text(), COLUMN),
        ("error: first\nerror: tune: out of memory\n", "tune: out of memory"),
        (KILLED.replace("{}F", "F"), SIGNAL),
        (
            KILLED.replace("{}F", "one\ntwo\n\nthree\nfour\nF"),
            f"two; three; four; {SIGNAL}",
        ),
        ("x" * 2 * LONGEST, "x" * (LONGEST - 1) + "…"),
        ("", ""),
    ],
    ids=["our own", "the last of ours", "killed in silence", "killed", "bounded", "empty"],
)
def test_why_a_task_failed_by_its_log(log, words):
    assert reason(log) == words


def test_a_log_is_read_from_its_end(kubeflow):
    run = kubeflow.replay("pod_lost_then_training_killed")
    kubeflow.logs["digits-tmmv8-2731284258"] = "x" * 2**20 + "\nerror: the last words\n"
    (failed,) = (task for task in Kubeflow(kubeflow.url).get(run["display_name"]).tasks if task.state == "FAILED")
    assert failed.message == "the last words"
