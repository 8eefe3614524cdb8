"""Runs on Vertex AI: submitted once, followed to their end, cancelled, refused in one sentence."""

import json
import re
from datetime import UTC, date, datetime

import pytest
import typer
import yaml
from google.protobuf import json_format

from kep.artifacts.engine_run import EngineRun
from kep.artifacts.verdict import Verdict
from kep.core.errors import Status
from kep.engines import submit
from kep.engines.vertex.jobs import CACHED_DAYS, cached_since, options_of
from kep.google.vertex import REGIONS
from kep.pipelines.parameters import whole_code
from kep.runtime.notify import leave_verdict
from tests.helpers.cloud import ACCOUNT, PLACE, SUBMIT, interrupted, job, one_sentence, short, steps
from tests.helpers.paths import ROOT
from tests.servers.vertex import Frame

pytestmark = pytest.mark.usefixtures("churn")


def test_a_run_is_submitted_and_followed_to_its_end(vertex, kep, tunnel):
    vertex.frames = [
        Frame("PENDING"),
        Frame("RUNNING", {"training": "RUNNING", "ingest": "SKIPPED", "tune": "RUNNING"}),
        Frame("RUNNING", {"tune": "SUCCEEDED", "best-epochs": "RUNNING", "for-loop-1": "RUNNING"}),
        Frame("RUNNING", {"best-epoch": "RUNNING", "best-epoch/2": "PENDING"}),
        Frame("SUCCEEDED", {"best-epoch": "SUCCEEDED", "best-epoch/2": "SUCCEEDED", "weigh": "SUCCEEDED"}),
    ]
    code, out, err = kep(*SUBMIT)
    assert (code, err) == (0, "")
    first, url, *_, last, undecided = out.splitlines()
    name = short(job(vertex).name)
    assert re.fullmatch(r"submitted kep-churn-[0-9a-f]{12}", first)
    assert (
        url
        == f"https://console.cloud.google.com/vertex-ai/locations/europe-west4/pipelines/runs/{name}?project=shop-ml"
    )
    words = [re.sub(r"in [\d.]+ s", "in … s", line) for line in steps(out)]
    assert words == [
        "ingest: reused from an earlier run",
        "tune: started",
        "tune: done in … s",
        "best_epoch: started",
        "best_epoch: done in … s",
        "best_epoch 2: started",
        "best_epoch 2: done in … s",
        "weigh: started",
        "weigh: done in … s",
    ]
    assert re.fullmatch(r"done in .* min, artifacts under gs://data/team/runs/churn", last)
    assert (
        undecided
        == "note: whether its ensemble was promoted is not known; gs://data/team/champions/churn has no decision of it"
    )
    assert tunnel.refused == []


def verdict(**fields) -> Verdict:
    return Verdict.model_validate(
        {"promoted": False, "won": False, "forced": False, "reason": "it says so", "comparison": None}
        | {"version": "1", "folder": "gs://data/team/champions/churn", "registered": None}
        | fields
    )


@pytest.mark.parametrize(
    ("fields", "code", "last"),
    [
        ({"promoted": True}, 0, "Promoted: it says so."),
        ({}, 4, "Not promoted: it says so."),
        ({"unchanged": True}, 0, "Unchanged: it says so."),
    ],
)
def test_whoever_submits_is_told_the_decision(vertex, kep, gcs, fields, code, last):
    name = kep(*SUBMIT, "--dry-run")[1].split()[0]
    leave_verdict(verdict(**fields), EngineRun(job="any", name=name), print)
    vertex.frames = [Frame("SUCCEEDED", {"promote": "SUCCEEDED"})]
    for command in (SUBMIT, ("status", name, *PLACE)):
        found, out, err = kep(*command)
        assert (found, err, out.splitlines()[-1]) == (code, "", last)


def test_whoever_may_not_read_the_decision_is_told_so(vertex, kep, gcs):
    gcs.fault("notices", "status", 403)
    vertex.frames = [Frame("SUCCEEDED", {"promote": "SUCCEEDED"})]
    code, out, err = kep(*SUBMIT)
    assert (code, err) == (0, "")
    assert "note: whether its ensemble was promoted can't be read: " in out.splitlines()[-1]


def test_a_network_is_joined_by_its_attachment(vertex, kep):
    attachment = "projects/shop-ml/regions/europe-west4/networkAttachments/kep-runs"
    assert kep(*SUBMIT, "--network", attachment)[0] == 0
    asked = job(vertex)
    assert (asked.network, asked.psc_interface_config.network_attachment) == ("", attachment)
    assert options_of(asked).network == attachment


def test_what_vertex_ai_is_asked_for(vertex, kep):
    key = "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"
    network = "projects/12/global/networks/n"
    options = ["--service-account", ACCOUNT, "--network", network, "--kms-key", key, "--label", "team=a"]
    assert kep(*SUBMIT, *options, "--failure-policy", "fast", "--set", "seed=7")[0] == 0
    asked = job(vertex)
    assert asked.display_name == "churn"
    assert (asked.service_account, asked.network, asked.encryption_spec.kms_key_name) == (ACCOUNT, network, key)
    assert not asked.psc_interface_config
    assert asked.runtime_config.gcs_output_directory == "gs://data/team/runs/churn"
    assert asked.runtime_config.failure_policy.name == "PIPELINE_FAILURE_POLICY_FAIL_FAST"
    labels = dict(asked.labels)
    assert (labels["kep_run"], labels["team"]) == ("churn", "a")
    assert {"kep_code", "kep_source", "kep_template"} < set(labels)
    given = dict(asked.runtime_config.parameter_values)
    assert json.loads(given["champion"]) == {"folder": "gs://data/team/champions/churn", "version": None}
    assert given["source"].startswith(labels["kep_source"])
    inputs = asked.pipeline_spec["root"]["inputDefinitions"]["parameters"]
    assert inputs["seed"]["defaultValue"] == 7
    assert labels["kep_code"] == whole_code({name: one.get("defaultValue") for name, one in inputs.items()})
    images = {e["container"]["image"] for e in asked.pipeline_spec["deploymentSpec"]["executors"].values()}
    assert all("@sha256:" in image for image in images)
    tasks = asked.pipeline_spec["root"]["dag"]["tasks"]
    assert tasks["tune"]["cachingOptions"]["enableCache"]


def test_without_a_cache_no_task_has_one(vertex, kep):
    kep(*SUBMIT, "--no-cache")
    kep(*SUBMIT, "--again")
    without, with_cache = (str(type(one).to_dict(one)["pipeline_spec"]) for one in vertex.jobs.values())
    assert "enableCache" not in without
    assert "enableCache" in with_cache


def test_the_same_run_is_submitted_once(vertex, kep):
    vertex.frames = [Frame("RUNNING")] * 2 + [Frame("SUCCEEDED")]
    assert "submitted kep-churn-" in kep(*SUBMIT, "--no-wait")[1]
    code, out, _ = kep(*SUBMIT)
    assert (code, len(vertex.jobs)) == (0, 1)
    assert "was submitted before, and is under way\n" in out
    code, out, _ = kep(*SUBMIT)
    assert (code, len(vertex.jobs)) == (0, 1)
    assert "was submitted before, and is done; nothing is submitted (--again does)\n" in out
    assert kep(*SUBMIT, "--again")[0] == 0
    assert [short(name) for name in vertex.jobs] == [short(job(vertex).name), short(job(vertex).name) + "-2"]


def test_another_setting_image_or_data_is_another_run(vertex, kep, gcs, tmp_path):
    kep(*SUBMIT)
    kep(*SUBMIT, "--set", "ensemble.method=greedy")
    lock = tmp_path / "containers" / "images.lock.yaml"
    lock.write_text(lock.read_text().replace("a" * 64, "c" * 64))
    kep(*SUBMIT)
    header, *rows = gcs.objects["data", "churn.csv"].data.splitlines(keepends=True)
    gcs.put("data", "churn.csv", header + b"".join(rows[1:]))
    kep(*SUBMIT)
    assert len(vertex.jobs) == 4
    kep(*SUBMIT)
    assert len(vertex.jobs) == 4


def test_a_failed_run_is_status_1_and_submitted_again(vertex, kep):
    tasks = {"ingest": "SUCCEEDED", "tune": "FAILED", "weigh": "NOT_TRIGGERED"}
    vertex.frames = [Frame("FAILED", tasks, {"tune": "out of memory.\nTraceback", "": "The DAG failed."})]
    code, out, _ = kep(*SUBMIT)
    assert code == 1
    assert steps(out)[-1] == "tune: failed: out of memory"
    assert "error: tune failed: out of memory (logs: https://console" in out.splitlines()[-1]
    vertex.frames = [Frame("SUCCEEDED")]
    code, out, _ = kep(*SUBMIT)
    name = short(job(vertex).name)
    assert (code, len(vertex.jobs)) == (0, 2)
    assert out.startswith(f"note: {name} failed; submitting it again\nsubmitted {name}-2\n")
    assert kep(*SUBMIT)[1].startswith(f"note: {name} failed; submitting it again\n{name}-2 was submitted before")


def test_a_run_that_fails_outside_of_its_steps_says_why(vertex, kep):
    vertex.frames = [Frame("FAILED", errors={"": "Service account steps@ does not exist."})]
    code, out, _ = kep(*SUBMIT)
    assert code == 1
    assert "failed: Service account steps@ does not exist (logs:" in out


def test_a_cancelled_run_is_no_success(vertex, kep):
    vertex.frames = [Frame("RUNNING", {"ingest": "RUNNING"}), Frame("CANCELLED", {"ingest": "CANCELLED"})]
    code, out, _ = kep(*SUBMIT)
    assert code == Status.CANCELLED == 3
    assert steps(out)[-1] == "ingest: failed: cancelled"
    assert out.endswith("was cancelled\n")


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"])
@pytest.mark.parametrize("lose", [True, False])
def test_an_answer_that_is_lost_makes_one_run(vertex, kep, code, lose):
    fault = vertex.fault("CreatePipelineJob", code, lose=lose)
    status, out, _ = kep(*SUBMIT)
    assert (status, len(vertex.jobs), fault.hits) == (0, 1, 1)
    assert out.startswith("submitted ")
    assert vertex.journal.count("CreatePipelineJob") == (1 if lose else 2)


def test_a_storm_is_weathered(vertex, kep):
    vertex.frames = [Frame("RUNNING", {"ingest": "RUNNING"})] * 3 + [Frame("SUCCEEDED", {"ingest": "SUCCEEDED"})]
    vertex.fault("CreatePipelineJob", "UNAVAILABLE", times=4)
    vertex.fault("GetPipelineJob", "UNAVAILABLE", times=5)
    vertex.fault("GetPipelineJob", "RESOURCE_EXHAUSTED", times=3, skip=2)
    code, out, err = kep(*SUBMIT)
    assert (code, err, len(vertex.jobs)) == (0, "", 1)
    assert len(steps(out)) == 2
    assert all(fault.hits == fault.times for fault in vertex.faults)


def test_an_outage_ends_following_and_not_the_run(vertex, kep):
    vertex.frames = [Frame("RUNNING")] * 3 + [Frame("SUCCEEDED")]
    fault = vertex.fault("GetPipelineJob", "UNAVAILABLE", "Away.", times=float("inf"), skip=2)
    code, out, err = kep(*SUBMIT)
    assert code == 2
    assert "Vertex AI in europe-west4 does not answer (Away); try the same command again later" in one_sentence(err)
    vertex.faults.remove(fault)
    code, out, _ = kep(*SUBMIT)
    assert (code, len(vertex.jobs)) == (0, 1)
    assert "was submitted before, and is under way" in out


def test_whoever_submits_the_same_at_the_same_moment_shares_the_run(vertex, kep):
    kep(*SUBMIT)
    fault = vertex.fault("GetPipelineJob", "NOT_FOUND")
    code, out, _ = kep(*SUBMIT)
    assert (code, fault.hits, len(vertex.jobs)) == (0, 1, 1)
    assert "was submitted before" in out


@pytest.mark.parametrize(
    ("code", "message", "reason", "words"),
    [
        (
            "PERMISSION_DENIED",
            "Permission 'aiplatform.pipelineJobs.create' denied.",
            "",
            "grant it roles/aiplatform.user",
        ),
        (
            "PERMISSION_DENIED",
            f"You do not have permission to act as service_account: {ACCOUNT} (iam.serviceAccounts.actAs)",
            "",
            f"this login may not run steps as {ACCOUNT}; grant it roles/iam.serviceAccountUser there",
        ),
        (
            "PERMISSION_DENIED",
            "Vertex AI API has not been used in project 1 before or it is disabled.",
            "SERVICE_DISABLED",
            'run "gcloud services enable aiplatform.googleapis.com --project shop-ml"',
        ),
        (
            "RESOURCE_EXHAUSTED",
            "Quota exceeded for 'runs'.",
            "",
            "a quota of Vertex AI in europe-west4 is used up",
        ),
        ("INVALID_ARGUMENT", "Bad machine.\nmore", "", "Vertex AI refuses it: Bad machine\n"),
        ("UNAUTHENTICATED", "No.", "", 'run "gcloud auth application-default login"'),
        (
            "UNAVAILABLE",
            "The service is away.",
            "",
            "Vertex AI in europe-west4 does not answer (The service is away); try",
        ),
    ],
)
def test_a_refusal_is_one_sentence(vertex, kep, code, message, reason, words):
    vertex.fault("CreatePipelineJob", code, message, reason=reason, times=float("inf"))
    status, out, err = kep(*SUBMIT, "--service-account", ACCOUNT)
    assert (status, out) == (2, "")
    assert words in one_sentence(err)
    assert vertex.jobs == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--region", "europe-wst4"], '--region: Vertex AI is not in "europe-wst4"; did you mean "europe-west4"?'),
        (["--project", "Shop ML"], '--project: "Shop ML" is no id of a project; "gcloud projects list" shows them'),
        (["--bucket", "data"], '--bucket: "data" is not a gs:// path; give gs://BUCKET or gs://BUCKET/FOLDER'),
        (["--bucket", "gs://"], "--bucket: "),
        (["--service-account", "me@example.com"], "--service-account: "),
        (["--network", "default"], "--network: "),
        (
            ["--network", "projects/shop-ml/global/networks/n"],
            '--network: Vertex AI wants the number of the project "shop-ml"; "gcloud projects describe shop-ml',
        ),
        ([f"--label=l{number}=x" for number in range(58)], "--label: 58 are given, and beside those of"),
        (["--label", "a=x", "--label", "a=y"], "--label: a key is given twice"),
        (["--network", "projects/p/regions/europe-west4/networkAttachments/"], "--network: "),
        (
            ["--network", "projects/p/regions/us-east1/networkAttachments/n"],
            "--network: the attachment is in us-east1, and the run in europe-west4; both must be in one region",
        ),
        (["--kms-key", "k"], "--kms-key: "),
        (
            ["--kms-key", "projects/p/locations/us-east1/keyRings/r/cryptoKeys/k"],
            "--kms-key: the key is in us-east1, and the run in europe-west4; both must be in one region",
        ),
        (["--label", "Team=a"], '--label: "Team=a" must be KEY=VALUE'),
        (["--label", "kep_run=a"], '--label: "kep_run=a" begins with kep_'),
        (["--set", "serch.x=1"], 'did you mean "search"'),
        (["--set", "promote.champion=old"], 'promote.champion: "old" is on this machine'),
        (["--images", "gone.yaml"], "--images: there is no gone.yaml"),
        (
            ["--set", "data.source=../churn.csv"],
            'data.source: "../churn.csv" is on this machine, where no step on Vertex AI can read it; run "gcloud '
            'storage cp --recursive ../churn.csv gs://BUCKET/data/churn.csv" and give gs://BUCKET/data/churn.csv',
        ),
        (["--set", "data.source=gs://data/chrun.csv"], 'did you mean "churn.csv"'),
        (["--set", "data.label=chruned"], 'did you mean "churned"'),
        (["--bucket", "gs://nobody"], 'run "gcloud storage buckets create gs://nobody --location europe-west4"'),
    ],
)
def test_a_mistake_is_refused_before_anything_is_submitted(vertex, kep, arguments, words):
    code, out, err = kep(*SUBMIT, *arguments)
    assert (code, out) == (2, "")
    assert words in one_sentence(err)
    assert vertex.journal == []


@pytest.mark.parametrize("kind", [("reset", 0), ("status", 503)])
def test_a_bucket_that_does_not_answer(vertex, kep, gcs, kind):
    gcs.fault(r"maxResults=1\b", *kind, times=float("inf"))
    assert '--bucket: Cloud Storage does not answer for "data"; try again later' in one_sentence(kep(*SUBMIT)[2])
    assert vertex.journal == []


def test_a_bucket_that_refuses_is_not_said_to_be_away(vertex, kep, gcs):
    gcs.paid_for.add("data")
    said = one_sentence(kep(*SUBMIT)[2])
    assert '--bucket: Cloud Storage refuses "data": ' in said
    assert "no user project provided" in said
    assert "try again" not in said


def test_the_project_that_pays_reaches_the_tasks(vertex, kep, gcs, monkeypatch):
    monkeypatch.setenv("KEP_USER_PROJECT", "")  # the option sets it for the process
    gcs.paid_for.add("data")
    assert kep("--user-project", "shop-billing", *SUBMIT, "--no-wait")[0] == 0
    (job,) = vertex.jobs.values()
    executors = json_format.MessageToDict(type(job).pb(job).pipeline_spec)["deploymentSpec"]["executors"]
    for executor in executors.values():
        assert {"name": "KEP_USER_PROJECT", "value": "shop-billing"} in executor["container"]["env"]


def variables(job) -> set[str]:
    """Return the days since which the tasks of a run may be answered from earlier ones."""
    executors = json_format.MessageToDict(type(job).pb(job).pipeline_spec)["deploymentSpec"]["executors"]
    every = [one for executor in executors.values() for one in executor["container"].get("env", [])]
    return {one["value"] for one in every if one["name"] == "KEP_CACHED_SINCE"}


def test_no_step_is_answered_from_a_run_whose_artifacts_may_be_gone(vertex, kep):
    """The cache goes by variables; the bucket deletes what runs left after 180 days."""
    assert kep(*SUBMIT, "--no-wait")[0] == 0
    (since,) = variables(*vertex.jobs.values())
    assert 0 <= (datetime.now(UTC).date() - date.fromisoformat(since)).days < CACHED_DAYS
    vertex.jobs.clear()
    assert kep(*SUBMIT, "--no-wait", "--no-cache")[0] == 0
    assert variables(*vertex.jobs.values()) == set()
    declared = (ROOT / "infra" / "variables.tf").read_text().partition('variable "keep_runs_days"')[2]
    default, least = (int(re.search(words, declared)[1]) for words in (r"default +=.(\d+)", r"keep_runs_days >= (\d+)"))
    assert default >= 2 * CACHED_DAYS
    assert least >= CACHED_DAYS + 30


@pytest.mark.parametrize(
    ("day", "since"), [("2026-10-01", "2026-10-01"), ("2026-12-29", "2026-10-01"), ("2026-12-30", "2026-12-30")]
)
def test_the_days_of_a_cache_are_the_same_for_all_runs(day, since):
    spec = {"deploymentSpec": {"executors": {"a": {"container": {}}, "b": {"importer": {}}}}}
    found = cached_since(spec, date.fromisoformat(day))["deploymentSpec"]["executors"]
    assert found == {"a": {"container": {"env": [{"name": "KEP_CACHED_SINCE", "value": since}]}}, "b": {"importer": {}}}


def test_a_look_that_was_aborted_is_done_again(vertex, kep):
    vertex.fault("GetPipelineJob", "ABORTED", times=2)
    assert kep(*SUBMIT)[0] == 0


def test_a_bucket_that_answers_late(vertex, kep, gcs):
    fault = gcs.fault(r"maxResults=1\b", "reset", times=2)
    assert kep(*SUBMIT)[0] == 0
    assert fault.hits == 2


def test_large_data_are_not_read_before_they_are_submitted(vertex, kep, gcs, monkeypatch):
    monkeypatch.setattr(submit, "MOST_SURVEYED", 10)
    assert kep(*SUBMIT, "--set", "data.label=chruned")[0] == 0
    assert not [line for line in gcs.journal if "alt=media" in line]


def test_whoever_submits_needs_no_right_to_the_bucket(vertex, kep, gcs):
    fault = gcs.fault(r"maxResults=1\b", "status", 403)
    assert kep(*SUBMIT)[0] == 0
    assert fault.hits == 1


def test_without_a_login(vertex, kep, tunnel, monkeypatch):
    tunnel.revoked = True
    assert 'no longer accepted; run "gcloud auth application-default login"' in one_sentence(kep(*SUBMIT)[2])
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    assert 'there is no usable Google Cloud login on this machine; run "gcloud' in one_sentence(kep(*SUBMIT)[2])
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file.json")
    assert "there is no usable Google Cloud login" in one_sentence(kep(*SUBMIT)[2])
    assert vertex.journal == []


def test_ctrl_c_without_a_terminal_leaves_it_running(vertex, kep, monkeypatch):
    vertex.frames = [Frame("RUNNING")]
    interrupted(monkeypatch)
    code, out, _ = kep(*SUBMIT)
    name = short(job(vertex).name)
    assert code == 130
    assert out.endswith(f"{name} goes on; `kep status {name}` looks at it, `kep cancel {name}` ends it\n")
    assert "CancelPipelineJob" not in vertex.journal


@pytest.mark.parametrize(("answer", "code"), [(True, 3), (False, 130)])
def test_ctrl_c_on_a_terminal_asks(vertex, kep, monkeypatch, answer, code):
    vertex.frames = [Frame("RUNNING", {"ingest": "RUNNING"})]
    interrupted(monkeypatch)
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda text, default: asked.append((text, default)) or answer)
    assert kep(*SUBMIT)[0] == code
    ((text, default),) = asked
    assert default is False
    assert "Otherwise it goes on" in text
    assert ("CancelPipelineJob" in vertex.journal) == answer


def test_status_is_of_a_run_or_of_the_newest_of_its_name(vertex, kep):
    vertex.frames = [Frame("RUNNING", {"ingest": "SUCCEEDED", "tune": "RUNNING"})]
    kep(*SUBMIT, "--no-wait", "--set", "seed=1")
    kep(*SUBMIT, "--no-wait")
    older, newer = (short(name) for name in vertex.jobs)
    code, out, _ = kep("status", "churn", *PLACE)
    assert code == 0
    assert out.startswith(f"{newer}: running\n")
    assert re.search(r"✓\s+ingest", out)
    assert kep("status", older, *PLACE)[1].startswith(f"{older}: running\n")
    vertex.frames = [Frame("FAILED", {"tune": "FAILED"}, {"tune": "no"})]
    kep(*SUBMIT, "--no-wait", "--set", "seed=2")
    code, out, _ = kep("status", "churn", *PLACE)
    assert code == 1
    assert "error: tune failed: no" in out


@pytest.mark.parametrize("command", ["status", "cancel"])
@pytest.mark.parametrize("run", ["chrun", "kep-churn-000", 'x" OR "', "-- "])
def test_a_run_that_is_not_there(vertex, kep, command, run):
    code, _, err = kep(command, *PLACE, "--", run)
    assert code == 2
    assert f"there is no run {run} in europe-west4 of project shop-ml; `kep runs` lists them" in one_sentence(err)


def test_cancel(vertex, kep):
    vertex.frames = [Frame("RUNNING", {"ingest": "RUNNING"})]
    kep(*SUBMIT, "--no-wait")
    name = short(job(vertex).name)
    fault = vertex.fault("CancelPipelineJob", "UNAVAILABLE", lose=True)
    assert kep("cancel", "churn", *PLACE) == (0, f"cancelling {name}; `kep status {name}` says when it has ended\n", "")
    assert fault.hits == 1
    assert kep("status", name, *PLACE)[0] == 3
    assert kep("cancel", name, *PLACE) == (0, f"{name} has ended: cancelled\n", "")


def test_runs_lists_ours_newest_first_over_pages(vertex, kep):
    for seed in range(2):
        kep(*SUBMIT, "--no-wait", "--set", f"seed={seed}")
    kep(*SUBMIT, "--no-wait", "--set", "name=other")
    foreign = type(job(vertex))(job(vertex))
    foreign.name, foreign.labels = f"{foreign.name}x", {}
    vertex.jobs[foreign.name] = foreign
    vertex.page = 1
    names = [short(one.name) for one in vertex.jobs.values()][:-1]

    def listed(*options: str) -> list[str]:
        code, out, _ = kep("runs", *PLACE, *options)
        assert code == 0
        return [line.split()[2] for line in out.splitlines()[1:]]

    assert listed() == names[::-1]
    assert listed("--name", "churn") == names[1::-1]
    assert listed("--limit", "2") == names[:-3:-1]


def test_the_regions_are_those_of_the_library():
    from google.cloud.aiplatform.constants.base import SUPPORTED_REGIONS

    assert set(REGIONS) == SUPPORTED_REGIONS - {"global"}


def test_files_per_role_are_looked_at_one_by_one(vertex, kep, tmp_path):
    files = {"train": "gs://data/a.csv", "validation": "b.csv", "test": "gs://data/c.csv"}
    settings = {"name": "churn", "data": {"files": files, "label": "churned", "split": {"by": "files"}}}
    (tmp_path / "churn.yaml").write_text(yaml.safe_dump(settings))
    assert 'data.files.validation: "b.csv" is on this machine' in one_sentence(kep(*SUBMIT)[2])


def test_a_run_in_an_exit_handler_is_followed_and_looked_at_as_any_other(vertex, kep):
    """Its own tasks, and the graph that the flow is in, are no steps; the failure that is told is the step's."""
    told = ["--set", "notify={topic: projects/shop-ml/topics/kep}"]
    vertex.frames = [
        Frame(
            "RUNNING", {"training": "RUNNING", "exit-handler-1": "RUNNING", "ingest": "SUCCEEDED", "tune": "RUNNING"}
        ),
        Frame(
            "FAILED",
            {"tune": "FAILED", "exit-handler-1": "FAILED", "notify-failure": "SUCCEEDED", "weigh": "NOT_TRIGGERED"},
            {"tune": "out of memory.\nTraceback", "exit-handler-1": "The DAG failed.", "": "The DAG failed."},
        ),
    ]
    code, out, _ = kep(*SUBMIT, *told)
    assert code == 1
    assert [re.sub(r"in [\d.]+ s", "in … s", line) for line in steps(out)] == [
        "ingest: started",
        "ingest: done in … s",
        "tune: started",
        "tune: failed: out of memory",
    ]
    assert "error: tune failed: out of memory (logs: https://console" in out.splitlines()[-1]
    asked = job(vertex)
    assert set(asked.pipeline_spec["root"]["dag"]["tasks"]) == {"exit-handler-1", "notify-failure"}
    config = asked.pipeline_spec["root"]["inputDefinitions"]["parameters"]["notify_config"]["defaultValue"]
    assert json.loads(config)["topic"] == "projects/shop-ml/topics/kep"
    inside = asked.pipeline_spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert inside["ingest"]["cachingOptions"]["enableCache"]
    code, out, _ = kep("status", "churn", *PLACE)
    assert code == 1
    assert "error: tune failed: out of memory" in out
    assert "notify" not in out
    assert re.search(r"churn.*failed", kep("runs", *PLACE)[1])
    code, out, _ = kep(*SUBMIT, *told, "--dry-run")
    assert (code, "notify" in out, "promote" in out) == (0, False, True)


def test_a_secret_that_no_task_of_vertex_ai_gets_is_refused(vertex, kep):
    code, _, err = kep(*SUBMIT, "--set", "notify={webhook: 'env:SLACK_WEBHOOK'}")
    assert code == 2
    assert "notify.webhook: env:SLACK_WEBHOOK is set in no task on Vertex AI; add hardware.promote" in one_sentence(err)
    assert not vertex.jobs


def test_tasks_are_told_which_secrets_they_read_and_of_which_project(vertex, kep):
    machine = "{secrets: {login: /login}, secret_variables: {slack: {address: SLACK_WEBHOOK}}}"
    assert kep(*SUBMIT, "--no-wait", "--set", f"hardware.promote.machine={machine}")[0] == 0
    (job,) = vertex.jobs.values()
    executors = json_format.MessageToDict(type(job).pb(job).pipeline_spec)["deploymentSpec"]["executors"]
    found = {name: {v["name"]: v["value"] for v in one["container"]["env"]} for name, one in executors.items()}
    assert json.loads(found["exec-promote"]["KEP_SECRETS"]) == {
        "files": {"login": "/login"},
        "variables": {"slack": {"address": "SLACK_WEBHOOK"}},
    }
    assert found["exec-promote"]["KEP_SECRETS_PROJECT"] == "shop-ml"
    assert [name for name, variables in found.items() if "KEP_SECRETS" in variables] == ["exec-promote"]
