"""`kep batch --on vertex`: a BatchPredictionJob that a local Vertex AI really runs, with a server of ours."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from kep.core.errors import UserError
from kep.core.files import read_json
from kep.delivery import batch_job
from kep.delivery.predict import predict
from kep.google import objects
from kep.storage.champions import content_version
from tests.helpers.cloud import BUCKET, one_sentence
from tests.helpers.paths import DATA

ASK = ("batch", str(DATA / "churn.csv"), "--on", "vertex", "--model", "churn", *BUCKET)


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch):
    monkeypatch.setattr(objects, "RETRY", objects.RETRY.with_delay(0.01, 0.05))


def jobs(vertex) -> list:
    return list(vertex.models.batches.values())


def test_a_source_is_predicted_as_locally(vertex, registered, kep, churn_versions, tmp_path):
    registered("one", "other")
    code, out, err = kep(
        *ASK, "--version", "1", "--key", "customer", "--shard-rows", "250", "--machine", "e2-standard-4"
    )
    assert (code, err) == (0, "")
    version, name = content_version(churn_versions["one"]), "batch prediction job " + jobs(vertex)[0].name[-4:]
    assert out.splitlines() == [
        f"submitted {name}",
        f"{name}: running",
        f"{name}: succeeded",
        f"wrote predictions: 600 rows by version 1 of churn ({version})",
    ]
    folder = tmp_path / "predictions" / "predictions"
    files = [f"part-{number:05d}-of-00003.parquet" for number in range(3)]
    assert sorted(path.name for path in folder.iterdir()) == files
    table = pq.read_table(folder)
    predict(str(churn_versions["one"]), None, ASK[1], tmp_path / "here.csv", tmp_path, Console(quiet=True))
    here, source = pyarrow.csv.read_csv(tmp_path / "here.csv"), pyarrow.csv.read_csv(ASK[1])
    assert table.column_names == ["customer", *here.column_names, "model_version"]
    assert table["customer"].to_pylist() == source["customer"].to_pylist()
    assert table["prediction"].to_pylist() == here["prediction"].to_pylist()
    np.testing.assert_allclose(table["probability_yes"], here["probability_yes"], atol=1e-6)
    assert set(table["model_version"].to_pylist()) == {version}
    told = read_json(tmp_path / "predictions" / "predictions.json")
    assert (told["rows"], told["key"], told["model"]["version"]) == (600, "customer", version)
    assert [shard["rows"] for shard in told["shards"]] == [250, 250, 100]


def test_what_vertex_ai_is_asked_for(vertex, registered, kep, gcs):
    vertex.models._alias(registered("one", "alike")[1], ["champion"])
    account = "steps@shop-ml.iam.gserviceaccount.com"
    assert kep(*ASK, "--service-account", account, "--max-replicas", "3", "--exclude", "customer")[0] == 0
    (job,) = jobs(vertex)
    assert (job.model[-2:], job.model_version_id, job.service_account) == ("@2", "2", account)
    assert job.dedicated_resources.max_replica_count == 3
    assert (job.instance_config.key_field, job.input_config.instances_format) == ("kep_row", "jsonl")
    (uri,) = job.input_config.gcs_source.uris
    assert re.fullmatch(rf"gs://data/team/batch/{job.labels['kep_batch']}/instances/instances-00000\.jsonl", uri)
    lines = gcs.objects["data", uri.removeprefix("gs://data/")].data.splitlines()
    columns = {"months", "plan", "monthly_charge", "paperless", "support_calls", "region"}
    assert [json.loads(line)["kep_row"] for line in lines] == list(range(600))
    assert json.loads(lines[0]).keys() == {"kep_row"} | columns


def test_the_same_is_submitted_once(vertex, registered, kep, tmp_path):
    registered("one")
    kep(*ASK)
    first = (tmp_path / "predictions" / "predictions.json").read_bytes()
    code, out, _ = kep(*ASK)
    assert (code, len(jobs(vertex)), "was submitted before, and is done" in out) == (0, 1, True)
    assert (tmp_path / "predictions" / "predictions.json").read_bytes() == first
    assert kep(*ASK, "--exclude", "customer")[0] == 0
    assert len(jobs(vertex)) == 1


@pytest.mark.parametrize("lose", [True, False])
def test_an_answer_that_is_lost_makes_one_job(vertex, registered, kep, lose):
    registered("one")
    fault = vertex.fault("CreateBatchPredictionJob", "UNAVAILABLE", lose=lose)
    vertex.fault("GetBatchPredictionJob", "UNAVAILABLE", times=3)
    vertex.fault("ListBatchPredictionJobs", "UNAVAILABLE", times=3)
    assert kep(*ASK)[0] == 0
    assert (fault.hits, len(jobs(vertex))) == (1, 1)


def test_a_failed_job_is_status_1_and_made_again(vertex, registered, kep, tmp_path):
    registered("one")
    vertex.models.failures["BatchPredictionJob"] = ("RESOURCE_EXHAUSTED", "No machines.\nmore")
    code, out, _ = kep(*ASK)
    assert (code, out.splitlines()[-1].endswith("failed: No machines")) == (1, True)
    assert not (tmp_path / "predictions").exists()
    vertex.models.failures.clear()
    assert kep(*ASK)[0] == 0
    assert len(jobs(vertex)) == 2


def test_rows_without_a_prediction_are_named(vertex, registered, kep, tmp_path):
    registered("one")
    vertex.models.rejected = {7, 30}
    err = one_sentence(kep(*ASK)[2])
    assert "2 of 600 rows have no prediction, the first is row 7, counted from 0" in err
    assert "Post request fails." in err
    assert not (tmp_path / "predictions").exists()


def test_ctrl_c_leaves_it_running(vertex, registered, kep, monkeypatch):
    registered("one")

    def sleep(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batch_job, "time", SimpleNamespace(sleep=sleep))
        code, out, _ = kep(*ASK)
    assert (code, out.endswith("goes on; the same command follows it again\n")) == (130, True)
    code, out, _ = kep(*ASK)
    assert (code, "was submitted before, and is under way" in out, len(jobs(vertex))) == (0, True, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "chrn"], '--model: there is no model "chrn"'),
        (["--version", "champion"], "--version: churn has no version champion; there are 1 default"),
        (["--key", "custmer"], 'key: column "custmer" is not in'),
        (["--bucket", "gs://nobody"], '--bucket: there is no bucket "nobody"'),
        (["--bucket", ""], "--bucket: is missing"),
        (["--compile", "p.yaml"], "--compile has no meaning with --on vertex"),
        (["-o", "containers"], "--output: containers exists, and `kep batch` did not write it"),
    ],
)
def test_a_mistake_is_one_sentence(vertex, registered, churn, kep, arguments, words):
    registered("one")
    code, _, err = kep(*ASK, *arguments)
    assert code == 2
    assert words in one_sentence(err)
    assert jobs(vertex) == []


def test_a_job_that_names_no_folder_of_predictions_is_one_sentence(tmp_path):
    from google.cloud.aiplatform_v1 import BatchPredictionJob

    job = BatchPredictionJob(name="projects/1/locations/europe-west4/batchPredictionJobs/17")
    with pytest.raises(UserError, match="batch prediction job 17 has ended without saying where its predictions are"):
        batch_job._gathered(job, None, 1, tmp_path / "predictions")
