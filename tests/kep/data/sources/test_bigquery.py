"""bq:// sources with Google's own client, against the servers beside this file."""

import json

import pyarrow as pa
import pyarrow.csv
import pytest
import yaml
from typer.testing import CliRunner

from kep.cli.main import app
from kep.components.ingest.ingest import ingest
from kep.components.ingest.tasks import files_of_tasks
from kep.config.data import DataSettings
from kep.core.errors import AwayError, UserError
from kep.data.sources.fingerprint import fingerprint, size
from tests.helpers.paths import DATA
from tests.servers.bigquery import Fault, Table

CHURN = "bq://shop-ml.sales.churn"
QUERY = "SELECT * FROM `shop-ml.sales.churn` WHERE churned IS NOT NULL"


@pytest.fixture
def bigquery(_bigquery, tunnel, gcs):
    """The table of tests/data/churn.csv; extracts go to the bucket "data"."""
    _bigquery.reset(gcs)
    _bigquery.tables["shop-ml.sales.churn"] = Table(pa.csv.read_csv(DATA / "churn.csv"))
    _bigquery.queries[QUERY] = lambda: _bigquery.tables["shop-ml.sales.churn"].content
    _bigquery.rows_per_file = 400
    return _bigquery


def settings(source: str = CHURN, **more) -> DataSettings:
    return DataSettings(source=source, label="churned", **({"extract_to": "gs://data/extracts"} | more))


def made(gcs) -> set[str]:
    return {name for _, name in gcs.objects}


@pytest.mark.parametrize("source", [CHURN, f"bq://shop-ml {QUERY}"])
def test_a_table_and_a_query_are_the_rows_of_the_same_parquet_files(source, bigquery, gcs, tmp_path):
    pa.parquet.write_table(bigquery.tables["shop-ml.sales.churn"].content, tmp_path / "churn.parquet")
    expected = ingest(settings(str(tmp_path / "churn.parquet")), 0, tmp_path / "expected")
    found = ingest(settings(source), 0, tmp_path / "found")
    assert found.source == source
    for one, other in zip(found.roles.values(), expected.roles.values(), strict=True):
        assert [shard.crc32c for shard in one.shards] == [shard.crc32c for shard in other.shards]
    assert len(made(gcs)) > 1


def test_an_extract_is_made_once_as_long_as_the_table_is_the_same(bigquery, gcs, tmp_path):
    ingest(settings(), 0, tmp_path / "first")
    files = made(gcs)
    ingest(settings(), 0, tmp_path / "second")
    assert made(gcs) == files
    assert bigquery.ran("extract") == 1
    before = fingerprint(settings())
    bigquery.tables["shop-ml.sales.churn"].modified += 1
    assert fingerprint(settings()) != before
    ingest(settings(), 0, tmp_path / "third")
    assert bigquery.ran("extract") == 2


def test_files_that_were_deleted_are_extracted_again(bigquery, gcs, tmp_path):
    ingest(settings(), 0, tmp_path / "first")
    gcs.objects.pop(next(iter(gcs.objects)))
    assert ingest(settings(), 0, tmp_path / "second").roles["train"].rows
    assert bigquery.ran("extract") == 2


def test_a_failed_extract_is_begun_again_once_its_cause_is_gone(bigquery, gcs, tmp_path):
    gcs.buckets.clear()
    with pytest.raises(UserError, match="Not found: Bucket data; check"):
        ingest(settings(), 0, tmp_path / "first")
    gcs.buckets.add("data")
    assert ingest(settings(), 0, tmp_path / "second").roles["train"].rows


def test_a_lost_answer_begins_no_second_job(bigquery, tmp_path):
    bigquery.faults = [Fault("POST .*/jobs", 503, lost=True, skip=1), Fault("GET .*/tables", 503)]
    ingest(settings(f"bq://shop-ml {QUERY}"), 0, tmp_path / "records")
    assert [fault.hits for fault in bigquery.faults] == [1, 1]
    assert bigquery.ran("query") == bigquery.ran("extract") == 1


def test_a_view_is_read_by_a_query(bigquery, tmp_path):
    bigquery.tables["shop-ml.sales.churn"].kind = "VIEW"
    bigquery.queries["SELECT * FROM `shop-ml.sales.churn`"] = lambda: bigquery.tables["shop-ml.sales.churn"].content
    ingest(settings(), 0, tmp_path / "records")
    assert bigquery.ran("query") == 1


def test_tasks_share_the_files_of_an_extract(bigquery, tmp_path):
    shared = files_of_tasks(settings(ingest_tasks=2), tmp_path)
    assert all(shared[number][0] for number in range(2))
    assert bigquery.ran("extract") == 1


def test_looking_starts_nothing(bigquery):
    assert size(settings()) == bigquery.tables["shop-ml.sales.churn"].content.nbytes
    fingerprint(settings(f"bq://shop-ml {QUERY}"))
    assert bigquery.jobs == {}


@pytest.mark.parametrize(
    ("source", "more", "sentence"),
    [
        ("bq://sales.churn", {}, "names no table; give bq://PROJECT.DATASET.TABLE"),
        ("bq://shop-ml.sales.nothing", {}, "Not found: Table shop-ml.sales.nothing; check project, data set and table"),
        ("bq://shop-ml SELEC 1", {}, "BigQuery answered: Syntax error: SELEC 1"),
        (CHURN, {"extract_to": None}, "data.extract_to: give a gs:// folder for the Parquet files"),
        (CHURN, {"format": "csv"}, "data.format"),
    ],
)
def test_what_bigquery_can_not_give_is_one_sentence(source, more, sentence, bigquery, tmp_path):
    with pytest.raises(UserError, match=sentence):
        ingest(settings(source, **more), 0, tmp_path / "records")
    assert not (tmp_path / "records").exists()


def test_a_missing_role_and_an_expired_login_are_named(bigquery, tunnel, tmp_path):
    bigquery.faults = [Fault("POST .*/jobs", 403, message="Access Denied: Project shop-ml")]
    with pytest.raises(UserError, match="Access Denied: Project shop-ml; grant the roles BigQuery Job User"):
        ingest(settings(), 0, tmp_path / "records")
    tunnel.revoked = True
    with pytest.raises(UserError, match="needs valid credentials"):
        ingest(settings(), 0, tmp_path / "records")


def test_a_service_that_fails_may_be_tried_again(bigquery, tmp_path):
    bigquery.faults = [Fault("POST .*/jobs", 501, message="Out of order")]
    with pytest.raises(AwayError, match="BigQuery answered: Out of order; try again later"):
        ingest(settings(), 0, tmp_path / "records")


def test_check_says_the_cost_before_it_reads(bigquery, tmp_path):
    file = tmp_path / "churn.yaml"
    data = {"source": f"bq://shop-ml {QUERY}", "label": "churned", "extract_to": "gs://data/extracts"}
    file.write_text(yaml.safe_dump({"name": "churn", "data": data}))
    result = CliRunner().invoke(app, ["check", str(file)])
    assert result.exit_code == 0, result.output
    told = " ".join(result.output.split())
    assert "BigQuery would read 0.00 GB for SELECT * FROM" in told
    assert "about 0.00 USD (prices of" in told
    assert told.index("BigQuery would read") < told.index("churned")


def test_a_submitted_run_extracts_to_its_bucket(bigquery, vertex, churn, monkeypatch):
    settings = yaml.safe_load(churn.read_text())
    settings["data"]["source"] = CHURN
    churn.write_text(yaml.safe_dump(settings))
    monkeypatch.chdir(churn.parent)
    place = ["--project", "shop-ml", "--region", "europe-west4", "--bucket", "gs://data/team", "--no-wait"]
    result = CliRunner().invoke(app, ["submit", str(churn), *place])
    assert result.exit_code == 0, result.output
    (job,) = vertex.jobs.values()
    given = json.loads(job.runtime_config.parameter_values["data"])
    assert given["extract_to"] == "gs://data/team/extracts"
    assert bigquery.jobs == {}
