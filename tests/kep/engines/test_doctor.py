"""What `kep doctor` finds, on this machine and with Google's clients against local servers."""

import json
import re

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials

from kep.config.data import DataSettings
from kep.google import rights
from tests.servers.iam import STEPS, Google

PLACE = ("--target", "vertex", "--project", "shop-ml", "--region", "europe-west4")
WHERE = ("--bucket", "gs://data/team", "--service-account", STEPS)


@pytest.fixture
def google(tunnel, churn, gcs, tmp_path):
    digests = {"cpu": "a" * 64, "glue": "b" * 64}
    lock = {name: f"europe-docker.pkg.dev/shop/ml/{name}@sha256:{digest}" for name, digest in digests.items()}
    (tmp_path / "containers" / "images.lock.yaml").write_text(yaml.safe_dump(lock))
    gcs.places["data"] = "EUROPE-WEST4"
    gcs.policies["data"] = [{"role": "roles/storage.objectUser", "members": [f"serviceAccount:{STEPS}"]}]
    with Google(tunnel) as server:
        yield server


@pytest.fixture
def doctor(kep, monkeypatch):
    """Exit status and findings of the command: status and detail by what was looked at."""
    monkeypatch.setenv("COLUMNS", "400")

    def run(*arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
        code, out, err = kep("doctor", *arguments)
        assert err == ""
        found: dict[str, tuple[str, str]] = {}
        for line in out.splitlines():
            if match := re.match(r"(PASS|WARN|FAIL|SKIP) {2,}(.+?) {2,}(.*)", line):
                last, found[match[2]] = match[2], (match[1], match[3].strip())
            else:
                found[last] = (found[last][0], f"{found[last][1]} {line.strip()}")
        return code, found

    return run


def test_this_machine(doctor, tmp_path):
    (tmp_path / "run.yaml").write_text("name: d\ndata: {source: sklearn:iris}\nhardware: {retrain: {devices: 3}}\n")
    code, found = doctor("run.yaml")
    assert found["packages"][0] == "PASS"
    assert "kfp 2.17.0" in found["packages"][1]
    assert found["data"] == ("PASS", "150 rows, target (multiclass)")
    assert found["devices"][0] == "FAIL"
    assert "hardware.retrain.strategy: mirrored needs GPUs" in found["devices"][1]
    assert code == 1
    assert doctor()[0] == 0


def test_all_is_well(vertex, google, doctor):
    code, found = doctor("churn.yaml", *PLACE, *WHERE)
    assert {what: status for what, (status, _) in found.items() if status not in ("PASS", "SKIP")} == {}
    assert code == 0
    assert found["bucket"] == ("PASS", "data in europe-west4")
    assert found["image glue"][1].endswith("is there")
    assert "at most" in found["template"][1]
    assert list(vertex.jobs) == []


@pytest.mark.parametrize(
    ("arrange", "what", "status", "words"),
    [
        (
            lambda google, gcs: google.roles.clear(),
            "roles on the project",
            "FAIL",
            f'"gcloud projects add-iam-policy-binding shop-ml --member=serviceAccount:{STEPS} '
            '--role=roles/aiplatform.user"',
        ),
        (lambda google, gcs: google.roles.insert(0, "roles/editor"), "roles on the project", "WARN", "would do"),
        (lambda google, gcs: setattr(google, "status", 403), "roles on the project", "SKIP", "may not look"),
        (
            lambda google, gcs: gcs.policies.clear(),
            "roles on the bucket",
            "FAIL",
            f'"gcloud storage buckets add-iam-policy-binding gs://data --member=serviceAccount:{STEPS} '
            '--role=roles/storage.objectUser"',
        ),
        (lambda google, gcs: gcs.places.update(data="US"), "bucket", "WARN", "data is in us, the run in europe-west4"),
        (lambda google, gcs: google.images.remove("b" * 64), "image glue", "FAIL", "the registry has no sha256:bbbb"),
        (lambda google, gcs: gcs.fault(r"b/data\?", "status", 403), "bucket", "SKIP", "may not look at data"),
    ],
)
def test_what_is_missing_is_found_with_what_mends_it(vertex, google, gcs, doctor, arrange, what, status, words):
    arrange(google, gcs)
    code, found = doctor(*PLACE, *WHERE)
    assert found[what][0] == status
    assert words in found[what][1]
    assert code == (status == "FAIL")


ME = "user:$(gcloud config get-value account)"


@pytest.mark.parametrize(
    ("lacking", "what", "command"),
    [
        (
            "aiplatform.pipelineJobs.create",
            "this login, project",
            f"gcloud projects add-iam-policy-binding shop-ml --member={ME} --role=roles/aiplatform.user",
        ),
        (
            "iam.serviceAccounts.actAs",
            "this login, service account",
            f"gcloud iam service-accounts add-iam-policy-binding {STEPS} --member={ME} "
            "--role=roles/iam.serviceAccountUser",
        ),
        (
            "storage.objects.get",
            "this login, bucket data",
            f"gcloud storage buckets add-iam-policy-binding gs://data --member={ME} --role=roles/storage.objectViewer",
        ),
    ],
)
def test_a_role_that_this_login_lacks_is_told_as_a_command(vertex, google, gcs, doctor, kep, lacking, what, command):
    google.lacking, gcs.lacking = {lacking}, {lacking}
    code, found = doctor("churn.yaml", *PLACE, *WHERE)
    assert (code, found[what][0]) == (1, "FAIL")
    assert f'lacks {lacking} → "{command}"' in found[what][1]
    code, out, err = kep("submit", "churn.yaml", *PLACE[2:], *WHERE, "--dry-run")
    assert (code, err) == (0, "")
    role = command.rpartition("=")[2]
    assert (
        out.splitlines()[-1] == f'rights: {what.removeprefix("this login, ")}: this login lacks {role}; run "{command}"'
    )


@pytest.mark.parametrize(("source", "asked"), [("bq://shop-ml.shop.customers", True), ("gs://data/rows.csv", False)])
def test_a_table_of_bigquery_takes_a_role_more(google, gcs, source, asked):
    google.lacking = {"bigquery.jobs.create"}
    data = DataSettings(source=source, label="y")
    found = {one.what: one for one in rights.of_submitter("shop-ml", data, "", AnonymousCredentials())}
    assert ("BigQuery" in found) == asked
    if asked:
        assert found["BigQuery"].missing == ("bigquery.jobs.create",)
        command = "gcloud projects add-iam-policy-binding shop-ml --member=ME --role=roles/bigquery.jobUser"
        assert found["BigQuery"].command("ME") == command


def test_no_right_is_needed_beyond_those_that_are_looked_at(vertex, google, gcs, doctor, kep):
    """Who submits sees no policies and no buckets: the message says what to grant."""
    google.status, google.own["status"] = 403, 403
    gcs.fault(r"b/data(/iam)?\?", "status", 403, times=99)
    code, found = doctor("churn.yaml", *PLACE, *WHERE, *SPOT)
    assert (code, {what for what, (status, _) in found.items() if status == "FAIL"}) == (0, set())
    grants = {
        "bucket": f"gs://data --member=serviceAccount:{STEPS} --role=roles/storage.objectUser",
        "roles on the project": f"shop-ml --member=serviceAccount:{STEPS} --role=roles/aiplatform.user",
        "roles on itself": f"{STEPS} --member=serviceAccount:{STEPS} --role=roles/iam.serviceAccountUser",
    }
    for what, command in grants.items():
        assert (found[what][0], command in found[what][1]) == ("SKIP", True), found[what]
    assert {found[f"this login, {what}"][0] for what in ("project", "bucket data", "service account")} == {"PASS"}
    assert kep("submit", "churn.yaml", *PLACE[2:], *WHERE, "--dry-run")[1].splitlines()[-1] == (
        "rights: this login may submit it"
    )


def test_a_dry_run_asks_for_rights_alone_and_needs_no_login(vertex, google, gcs, kep, tunnel):
    # The client looks at buckets of its own accord, and does without.
    gcs.fault(r"b/data\?", "status", 403, times=99)
    assert kep("submit", "churn.yaml", *PLACE[2:], *WHERE, "--dry-run")[0] == 0
    # Beside the data, which are read.
    asked = {line.split()[1].partition("?")[0].removeprefix("/storage/v1/b/data") for line in gcs.journal}
    assert {path for path in asked if "/o/" not in path} == {"", "/iam/testPermissions"}
    assert (vertex.journal, tunnel.refused) == ([], [])
    tunnel.revoked = True
    code, out, _ = kep("submit", "churn.yaml", *PLACE[2:], *WHERE, "--dry-run")
    assert code == 0
    assert "rights: not looked at, since the Google Cloud login is no longer accepted" in out


def test_rights_that_nobody_tells_are_not_taken_for_granted(vertex, churn, gcs, kep):
    """Without the servers that would say."""
    code, out, _ = kep("submit", "churn.yaml", *PLACE[2:], *WHERE, "--dry-run")
    assert code == 0
    assert "rights: project: not known, since Resource Manager does not say (" in out
    assert "it takes roles/aiplatform.user" in out


SPOT = ("--set", "hardware.retrain.machine={spot: true}")


@pytest.mark.parametrize(
    ("arrange", "status", "words"),
    [
        (lambda google: None, "PASS", f"{STEPS} has roles/iam.serviceAccountUser"),
        (
            lambda google: google.on_itself.clear(),
            "FAIL",
            f'"gcloud iam service-accounts add-iam-policy-binding {STEPS} --member=serviceAccount:{STEPS} '
            '--role=roles/iam.serviceAccountUser"',
        ),
        (
            lambda google: (google.on_itself.clear(), google.roles.append("roles/iam.serviceAccountUser")),
            "PASS",
            "has roles/iam.serviceAccountUser",
        ),
        (lambda google: google.own.update(status=403), "SKIP", "custom jobs need roles/iam.serviceAccountUser there"),
    ],
)
def test_custom_jobs_need_a_role_on_the_account_itself(vertex, google, doctor, arrange, status, words):
    arrange(google)
    code, found = doctor("churn.yaml", *PLACE, *WHERE, *SPOT)
    assert found["roles on itself"][0] == status
    assert words in found["roles on itself"][1]
    assert code == (status == "FAIL")
    assert "roles on itself" not in doctor("churn.yaml", *PLACE, *WHERE)[1]


def test_a_bucket_that_does_not_exist(vertex, google, doctor):
    code, found = doctor(*PLACE, "--bucket", "gs://none")
    assert (code, found["bucket"][0]) == (1, "FAIL")
    assert '"gcloud storage buckets create gs://none --location europe-west4"' in found["bucket"][1]
    assert found["service account"][0] == "WARN"


def test_a_vertex_that_is_switched_off(vertex, google, doctor):
    vertex.fault("ListPipelineJobs", "PERMISSION_DENIED", "it is disabled", times=9, reason="SERVICE_DISABLED")
    code, found = doctor(*PLACE, *WHERE)
    assert (code, found["Vertex AI"][0]) == (1, "FAIL")
    assert "gcloud services enable aiplatform.googleapis.com" in found["Vertex AI"][1]


def test_without_a_login_the_rest_is_still_looked_at(vertex, google, doctor, tunnel):
    tunnel.revoked = True
    code, found = doctor("churn.yaml", *PLACE, *WHERE)
    assert (code, found["login"][0]) == (1, "FAIL")
    assert {found[what][0] for what in ("Vertex AI", "bucket", "service account")} == {"SKIP"}
    assert found["images"][0] == found["run file"][0] == "PASS"


def test_a_run_file_that_can_not_be_submitted(vertex, google, doctor, tmp_path):
    tpu = {"name": "t", "data": {"source": "sklearn:iris"}, "hardware": {"retrain": {"strategy": "tpu"}}}
    (tmp_path / "tpu.yaml").write_text(json.dumps(tpu))
    _, found = doctor("tpu.yaml", *PLACE, *WHERE)
    assert found["TPU"][0] == "WARN"
    assert "hardware.retrain.strategy is tpu, and its machine has none" in found["TPU"][1]
    machine = ("--set", "hardware.retrain.machine={accelerator: tpu-v5-lite-podslice, topology: 2x4}")
    _, found = doctor("tpu.yaml", *PLACE, *WHERE, *machine)
    pair = "retrain: the image tpu has libtpu 0.0.14 and tensorflow-tpu 2.20.0, for TPUs up to v5e"
    assert found["TPU"] == ("PASS", pair)
    four = ("--set", "hardware.retrain={strategy: mirrored, devices: 4}")
    _, found = doctor("tpu.yaml", *PLACE, *WHERE, *four)
    assert found["GPU"][0] == "WARN"
    assert "hardware.retrain.strategy is mirrored, and its machine has no GPUs" in found["GPU"][1]
    fix = found["GPU"][1].partition("machine: ")[2].rstrip('"')
    assert "GPU" not in doctor("tpu.yaml", *PLACE, *WHERE, *four, "--set", f"hardware.retrain.machine={fix}")[1]
    cpu = ("--set", "hardware.retrain={strategy: mirrored, devices: 4, device: cpu}")
    assert "GPU" not in doctor("tpu.yaml", *PLACE, *WHERE, *cpu)[1]
    _, found = doctor("tpu.yaml", *PLACE, *WHERE, "--set", "search.top_n=150", "--set", "search.max_trials=200")
    assert found["template"][0] == "FAIL"
    assert "search.top_n: with 150 the task evaluate reads and writes" in found["template"][1]
    (tmp_path / "here.yaml").write_text(json.dumps({"name": "h", "data": {"source": "x.csv", "label": "y"}}))
    code, found = doctor("here.yaml", *PLACE, *WHERE)
    assert (code, found["template"][0]) == (1, "FAIL")
    assert "is on this machine" in found["template"][1]
    wants = {"name": "w", "data": {"source": "sklearn:iris"}, "promote": {"registry": True}}
    (tmp_path / "wants.yaml").write_text(json.dumps(wants))
    _, found = doctor("wants.yaml", *PLACE, *WHERE)
    assert "the lock has no image serve, which promote.registry needs" in found["template"][1]
    (tmp_path / "containers" / "images.lock.yaml").unlink()
    _, found = doctor("tpu.yaml", *PLACE, *WHERE)
    assert found["images"][0] == "FAIL"
