"""Schedules on Vertex AI: made once, changed, paused, listed, refused in one sentence."""

import json
from datetime import UTC, datetime

import pytest

from kep.core.errors import UserError
from kep.engines.timing import check_cron
from tests.helpers.cloud import BUCKET, CREATE, PLACE, PUBLISH, REPOSITORY, one_sentence

pytestmark = pytest.mark.usefixtures("churn")


def only(vertex):
    (found,) = vertex.schedules.values()
    return found


def test_a_schedule_of_a_run_file(vertex, kep):
    when = ["--time-zone", "Europe/Berlin", "--start", "2026-03-01", "--end", "2026-07-01T12:00:00"]
    code, out, err = kep(*CREATE, *when, "--max-concurrent-runs", "2", "--queue", "--label", "team=a")
    assert (code, err) == (0, "")
    made = only(vertex)
    assert (made.display_name, made.cron) == ("weekly", "TZ=Europe/Berlin 0 4 * * mon")
    assert (made.max_concurrent_run_count, made.allow_queueing) == (2, True)
    # Winter time at its start, summer time at its end.
    assert made.start_time == datetime(2026, 2, 28, 23, tzinfo=UTC)
    assert made.end_time == datetime(2026, 7, 1, 10, tzinfo=UTC)
    asked = made.create_pipeline_job_request.pipeline_job
    assert asked.labels["team"] == "a"
    given = dict(asked.runtime_config.parameter_values)
    assert json.loads(given["champion"])["folder"] == "gs://data/team/champions/churn"
    # The data of each run are those of its moment, so that no step may be answered from a cache.
    assert given["source"] == ""
    assert "enableCache" not in json.dumps(type(asked).to_dict(asked)["pipeline_spec"])
    first, second = out.splitlines()
    assert first.startswith("scheduled weekly: 0 4 * * mon, Europe/Berlin; next run 2026-02-01 00:")
    assert second.startswith("template compiled here, content sha256:")
    assert second.removeprefix("template compiled here, content sha256:")[:16] == asked.labels["kep_template"]


def test_a_template_is_frozen_by_its_digest(vertex, registry, kep):
    kep(*PUBLISH, "--tag", "v1")
    ((_, version),) = registry.versions
    code, out, _ = kep("schedule", "create", "w", f"{REPOSITORY}/churn/v1", "--cron", "0 4 * * *", *BUCKET)
    assert code == 0
    assert f"template {REPOSITORY}/churn/{version}, content sha256:" in out
    assert only(vertex).create_pipeline_job_request.pipeline_job.template_uri == f"{REPOSITORY}/churn/{version}"


@pytest.mark.parametrize("lose", [True, False])
def test_an_answer_that_is_lost_makes_one_schedule(vertex, kep, lose):
    fault = vertex.fault("CreateSchedule", "UNAVAILABLE", lose=lose)
    vertex.fault("ListSchedules", "UNAVAILABLE", times=3)
    assert kep(*CREATE)[0] == 0
    assert (fault.hits, only(vertex).display_name) == (1, "weekly")


def test_a_name_that_is_taken(vertex, kep):
    kep(*CREATE)
    code, _, err = kep(*CREATE)
    assert code == 2
    assert "there is a schedule weekly already; `kep schedule update weekly` changes it" in one_sentence(err)
    assert len(vertex.schedules) == 1


def test_pause_resume_list_delete(vertex, kep):
    kep(*CREATE)
    vertex.fault("PauseSchedule", "UNAVAILABLE", lose=True)
    assert kep("schedule", "pause", "weekly", *PLACE) == (0, "paused weekly\n", "")
    assert only(vertex).state.name == "PAUSED"
    row = kep("schedule", "list", *PLACE)[1].splitlines()[1].split()
    template = only(vertex).create_pipeline_job_request.pipeline_job.labels["kep_template"]
    assert row == ["weekly", "paused", "0", "4", "*", "*", "mon", "UTC", "0", template]
    assert kep("schedule", "resume", "weekly", "--catch-up", *PLACE) == (0, "resumed weekly\n", "")
    assert (only(vertex).state.name, only(vertex).catch_up) == ("ACTIVE", True)
    vertex.fault("DeleteSchedule", "UNAVAILABLE", lose=True)
    assert kep("schedule", "delete", "weekly", *PLACE) == (0, "deleted weekly\n", "")
    assert vertex.schedules == {}


def test_an_update_changes_what_is_given(vertex, kep):
    kept = ["--service-account", "a@b.iam.gserviceaccount.com", "--label", "team=a", "--failure-policy", "fast"]
    kep(*CREATE, "--time-zone", "Europe/Berlin", "--max-concurrent-runs", "3", *kept)
    update = ("schedule", "update", "weekly", *PLACE)
    assert kep(*update, "--cron", "30 5 * * *")[0] == 0
    assert (only(vertex).cron, only(vertex).max_concurrent_run_count) == ("TZ=Europe/Berlin 30 5 * * *", 3)
    assert kep(*update, "--time-zone", "Asia/Tokyo", "--skip")[0] == 0
    assert only(vertex).cron == "TZ=Asia/Tokyo 30 5 * * *"
    before = only(vertex).create_pipeline_job_request.pipeline_job.labels["kep_template"]
    code, out, _ = kep(*update, "churn.yaml", "--set", "seed=5")
    assert code == 0
    changed = only(vertex).create_pipeline_job_request.pipeline_job
    assert (changed.service_account, changed.labels["team"]) == ("a@b.iam.gserviceaccount.com", "a")
    assert changed.runtime_config.gcs_output_directory == "gs://data/team/runs/churn"
    assert changed.runtime_config.failure_policy.name.endswith("FAIL_FAST")
    assert "enableCache" not in json.dumps(type(changed).to_dict(changed)["pipeline_spec"])
    after = only(vertex).create_pipeline_job_request.pipeline_job.labels["kep_template"]
    assert after != before
    assert f"sha256:{after}" in out
    assert only(vertex).cron == "TZ=Asia/Tokyo 30 5 * * *"
    assert "nothing to change is given" in one_sentence(kep(*update)[2])
    assert kep(*update, "churn.yaml", "--bucket", "gs://data/other", "--failure-policy", "slow")[0] == 0
    changed = only(vertex).create_pipeline_job_request.pipeline_job
    assert changed.runtime_config.gcs_output_directory == "gs://data/other/runs/churn"
    assert changed.runtime_config.failure_policy.name.endswith("FAIL_SLOW")
    assert "can't change without FILE" in one_sentence(kep(*update, "--label", "team=b")[2])


@pytest.mark.parametrize("command", ["pause", "resume", "delete", "update"])
def test_a_schedule_that_is_not_there(vertex, kep, command):
    kep(*CREATE)
    code, _, err = kep("schedule", command, "weakly", *PLACE)
    assert code == 2
    words = 'there is no schedule weakly in europe-west4 of project shop-ml; did you mean "weekly"?'
    assert words in one_sentence(err)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cron", "0 4 * *"], '--cron: "0 4 * *" has 4 fields, not 5: minute, hour, day of the month'),
        (["--cron", "0 24 * * *"], '--cron: "24" is no hour, which goes from 0 to 23'),
        (
            ["--time-zone", "Europe/Belrin"],
            '--time-zone: "Europe/Belrin" is not a time zone; did you mean "Europe/Berlin"?',
        ),
        (["--time-zone", "../x"], '--time-zone: "../x" is not a time zone'),
        (["--start", "2026-03-02", "--end", "2026-03-01"], "--end: it is not after --start"),
        (["--region", "europe"], "--region: "),
        (["--service-account", "me"], "--service-account: "),
        (["--bucket", "gs://nobody"], '--bucket: there is no bucket "nobody"'),
        (["--set", "data.source=churn.csv"], "is on this machine"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_scheduled(vertex, kep, arguments, words):
    code, out, err = kep(*CREATE, *arguments)
    assert (code, out) == (2, "")
    assert words in one_sentence(err)
    assert vertex.journal == []


@pytest.mark.parametrize("name", ['x" OR state="ACTIVE', "a\nb", "x" * 129])
def test_a_name_that_would_be_read_as_a_condition(vertex, kep, name):
    code, _, err = kep("schedule", "delete", name, *PLACE)
    assert code == 2
    assert "NAME: " in one_sentence(err)
    assert vertex.journal == []


def test_what_vertex_ai_refuses(vertex, kep):
    vertex.fault("CreateSchedule", "PERMISSION_DENIED", "No.")
    assert "grant it roles/aiplatform.user (No)" in one_sentence(kep(*CREATE)[2])


@pytest.mark.parametrize("cron", ["* * * * *", "*/15 0-5,22 1,15 jan-mar MON-fri", "0 4 * * 7", "5/10 1 31 12 0"])
def test_a_cron(cron):
    check_cron(cron)


@pytest.mark.parametrize(
    ("cron", "part"),
    [
        ("60 * * * *", "60"),
        ("* * 0 * *", "0"),
        ("* * * 13 *", "13"),
        ("* * * * 8", "8"),
        ("* * * mon *", "mon"),
        ("*/0 * * * *", r"\*/0"),
        ("5-1 * * * *", "5-1"),
        ("1,,2 * * * *", ""),
        ("-1 * * * *", "-1"),
        ("1-2-3 * * * *", "1-2-3"),
        ("*-5 * * * *", r"\*-5"),
        ("x * * * *", "x"),
    ],
)
def test_no_cron(cron, part):
    with pytest.raises(UserError, match=f'--cron: "{part}" is no '):
        check_cron(cron)


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 4 31 2 *", "month 2 has at most 29 days, not 31"),
        ("0 4 30,31 feb *", "month feb has at most 29 days, not 30"),
        ("0 4 31 4,6,sep-sep *", "month 4,6,sep-sep has at most 30 days, not 31"),
    ],
)
def test_a_cron_that_never_comes(cron, words):
    with pytest.raises(UserError, match=f"never comes: {words}"):
        check_cron(cron)


@pytest.mark.parametrize(
    "cron",
    ["0 4 29 2 *", "0 4 31 2 mon", "0 4 31 * *", "0 4 31 */2 *", "0 4 31 2-3 *", "0 4 28-31 2 *", "0 4 31 1/5 *"],
)
def test_a_cron_that_comes_in_some_month(cron):
    check_cron(cron)
