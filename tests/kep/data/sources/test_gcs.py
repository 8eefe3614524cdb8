"""Sources on gs://: the same records as from local files, whatever happens on the way, or one sentence."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from kep.components.ingest.ingest import ingest
from kep.components.ingest.inspect import inspect
from kep.components.ingest.run import run
from kep.config.data import DataSettings, Files, Split
from kep.config.run_file import validate
from kep.core.errors import AwayError, RunError, UserError
from kep.core.location import Location
from kep.data.schema import Manifest
from kep.data.sources.fingerprint import fingerprint, size
from kep.engines import example
from kep.engines.preflight import check
from kep.google import objects
from kep.storage.locations import digests, list_files
from tests.helpers.examples import write_examples
from tests.helpers.paths import DATA
from tests.helpers.storage import upload
from tests.helpers.tasks import in_tasks


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """Retries as in use, with shorter pauses."""
    monkeypatch.setattr(objects, "RETRY", objects.RETRY.with_delay(initial=0.05, maximum=0.2))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "manifest.json"}


def make(folder: Path, kind: str) -> tuple[str, dict]:
    """Writes a source; returns its location in the folder, and settings."""
    folder.mkdir()
    churn = pyarrow.csv.read_csv(DATA / "churn.csv")
    rng = np.random.default_rng(0)
    if kind == "csv":
        shutil.copy(DATA / "churn.csv", folder / "churn.csv")
        return "churn.csv", {"label": "churned"}
    if kind == "csv.gz":
        (folder / "churn.csv.gz").write_bytes(gzip.compress((DATA / "churn.csv").read_bytes()))
        return "churn.csv.gz", {"label": "churned"}
    if kind == "glob":
        for place in range(3):
            pyarrow.csv.write_csv(churn.slice(place * 200, 200), folder / f"part-{place}.csv")
        (folder / "other.csv").write_text("a\n1\n")
        return "part-*.csv", {"label": "churned"}
    if kind == "parquet folder":
        for place in range(2):
            (folder / f"day={place}").mkdir()
            pq.write_table(churn.slice(place * 300, 300), folder / f"day={place}" / "rows.parquet", row_group_size=50)
        (folder / "_SUCCESS").touch()
        return "", {"label": "churned"}
    if kind == "npz":
        np.savez(folder / "rows.npz", x=rng.normal(size=(90, 3)), y=np.arange(90) % 3)
        return "rows.npz", {}
    if kind == "tfrecord":
        rows = [{"a": float(index), "b": "uvw"[index % 3], "y": index % 2} for index in range(90)]
        for place in range(2):
            write_examples(folder / f"rows.tfrecord-0000{place}-of-00002", rows[place::2], "GZIP")
        return "", {"label": "y"}
    for index in range(40):
        path = folder / ("cats", "dogs")[index % 2] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (6, 5, 3), np.uint8)).save(path)
    return "", {}


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "glob", "parquet folder", "npz", "tfrecord", "images"])
def test_the_same_records_as_from_local_files(gcs, tmp_path, kind):
    name, settings = make(tmp_path / "set", kind)
    upload(gcs, tmp_path / "set")
    gcs.put("data", "set/empty/", b"")  # what a console leaves behind for an empty folder
    local = ingest(DataSettings(source=str(tmp_path / "set" / name), workers=2, **settings), 1, tmp_path / "local")
    far = DataSettings(source=f"gs://data/set/{name}", workers=2, **settings)
    cloud = ingest(far, 1, tmp_path / "cloud")
    assert content(tmp_path / "local") == content(tmp_path / "cloud")
    assert local.model_copy(update={"source": cloud.source}) == cloud
    assert cloud.source == f"gs://data/set/{name}"
    assert inspect(far, 1).roles == {role: info.rows for role, info in cloud.roles.items()}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("kind", ["glob", "parquet folder", "images"])
def test_tasks_that_share_a_source_download_their_own_objects(gcs, tmp_path, kind):
    name, settings = make(tmp_path / "set", kind)
    upload(gcs, tmp_path / "set")
    far = DataSettings(source=f"gs://data/set/{name}", workers=1, **settings)
    ingest(far, 1, tmp_path / "one")
    in_tasks(far.model_copy(update={"ingest_tasks": 2}), 1, Path(), tmp_path / "tasks")
    records = tmp_path / "tasks" / "records"
    assert content(records) == content(tmp_path / "one")
    assert Manifest.load(records) == Manifest.load(tmp_path / "one")
    folders = [tmp_path / "tasks" / "scratch" / f"write-{number}" for number in range(2)]
    first, second = ({path.relative_to(folder) for path in folder.rglob("*.*")} for folder in folders)
    assert first
    assert second
    assert not first & second


def test_one_source_per_role(gcs, tmp_path):
    header, *rows = (DATA / "churn.csv").read_text().splitlines()
    for place, role in enumerate(("train", "validation", "test")):
        gcs.put("data", f"{role}.csv", "\n".join([header, *rows[place::3]]).encode())
    files = Files(train="gs://data/train.csv", validation="gs://data/validation.csv", test="gs://data/test.csv")
    manifest = ingest(DataSettings(files=files, label="churned", split=Split(by="files")), 1, tmp_path / "out")
    assert sum(info.rows for info in manifest.roles.values()) + sum(manifest.dropped.values()) == len(rows)


def test_an_object_compressed_for_its_way(gcs, tmp_path):
    """As "gcloud storage cp --gzip-local" stores it."""
    data = (DATA / "churn.csv").read_bytes()
    gcs.put("data", "plain.csv", data)
    gcs.put("data", "packed.csv", gzip.compress(data), contentEncoding="gzip")
    manifests = [
        ingest(DataSettings(source=f"gs://data/{name}.csv", label="churned"), 1, tmp_path / name)
        for name in ("plain", "packed")
    ]
    assert manifests[0].fingerprint == manifests[1].fingerprint


def test_a_large_object_comes_in_parts(gcs, tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "PART", 5000)
    data = (DATA / "churn.csv").read_bytes()
    gcs.put("data", "churn.csv", data)
    gcs.fault("alt=media", "flip", 3000)
    gcs.fault("alt=media", "cut", 3000, skip=1)
    gcs.fault("alt=media", "status", 503, skip=2)
    ingest(DataSettings(source="gs://data/churn.csv", label="churned"), 1, tmp_path / "cloud")
    ingest(DataSettings(source=str(DATA / "churn.csv"), label="churned"), 1, tmp_path / "local")
    assert content(tmp_path / "local") == content(tmp_path / "cloud")
    assert all(fault.hits for fault in gcs.faults)


def test_kep_check_and_kep_init(gcs, tmp_path):
    gcs.put("data", "churn.csv", (DATA / "churn.csv").read_bytes())
    settings = validate({"name": "demo", "data": {"source": "gs://data/churn.csv", "label": "churned"}})
    console = Console(width=160)
    with console.capture() as captured:
        console.print(check(settings, tmp_path, tmp_path))
    assert "gs://data/churn.csv  600 rows" in captured.get()
    assert "label: churned" in example.example("gs://data/churn.csv", None, tmp_path)


def test_digests_follow_the_content(gcs):
    settings = DataSettings(source="gs://data/set", label="y")
    for name in ("a.csv", "b/c.csv"):
        gcs.put("data", f"set/{name}", b"a,y\n1,2\n")
    before = fingerprint(settings)
    assert [name for name, _ in digests(Location("gs://data/set"))] == ["a.csv", "b/c.csv"]
    gcs.put("data", "set/a.csv", b"a,y\n1,2\n")
    gcs.put("data", "set.csv", b"a neighbour")
    assert fingerprint(settings) == before
    gcs.put("data", "set/b/c.csv", b"a,y\n1,3\n")
    assert fingerprint(settings) != before
    assert size(settings) == 16


def test_locations(gcs):
    for name in ("a.csv", "a.csv.old", "set/b.csv", "set/c.txt", "set/deep/d.csv", "set/_tmp/e.csv", "set/.f.csv"):
        gcs.put("data", name, b"x")

    def listed(location: str) -> list[str]:
        return [info.path for info in list_files(Location(location))]

    assert listed("gs://data/a.csv") == ["data/a.csv"]
    assert (
        listed("gs://data/set")
        == listed("gs://data/set/")
        == ["data/set/b.csv", "data/set/c.txt", "data/set/deep/d.csv"]
    )
    assert listed("gs://data/set/*.csv") == ["data/set/b.csv"]
    assert listed("gs://data/*/*/?.csv") == ["data/set/deep/d.csv"]
    assert listed("gs://data/set/**.csv") == ["data/set/b.csv", "data/set/deep/d.csv"]
    assert listed("gs://data/set/_tmp") == ["data/set/_tmp/e.csv"]
    assert len(listed("gs://data")) == 5


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("gs://data/chrun.csv", '"gs://data/chrun.csv" does not exist; did you mean "churn.csv"?'),
        ("gs://data/sett/x.csv", '"gs://data/sett/x.csv" does not exist; check the path'),
        ("gs://data/se", '"gs://data/se" does not exist; did you mean "set"?'),
        ("gs://data/*.parquet", '"gs://data/*.parquet" holds no files; check the path'),
        ("gs://dota/churn.csv", 'bucket "dota" does not exist; check "gs://dota/churn.csv"'),
        ("gs://", '"gs://" names no bucket; give gs://BUCKET/NAME'),
        ("gs:///x.csv", '"gs:///x.csv" names no bucket; give gs://BUCKET/NAME'),
        ("gs://da*/x.csv", '"gs://da*/x.csv" names no bucket; give gs://BUCKET/NAME'),
        ("gs://data/odd", 'the object "gs://data/odd//x.csv" has a name that is no path; rename it'),
        ("gs://data/set/x.txt", '"gs://data/set/x.txt" ends in ".txt", which no reader knows; the known'),
    ],
)
def test_what_is_not_there_is_one_sentence(gcs, tmp_path, location, sentence):
    for name in ("churn.csv", "set/x.txt", "odd//x.csv"):
        gcs.put("data", name, b"x")
    for look in (inspect, lambda settings, seed: ingest(settings, seed, tmp_path / "out")):
        with pytest.raises(UserError) as error:
            look(DataSettings(source=location, label="y"), 1)
        assert str(error.value).startswith(f"data.source: {sentence}")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("pattern", "kind", "value", "sentence", "error"),
    [
        ("", "status", 401, "needs valid credentials; run", UserError),
        ("", "status", 403, "may not be read with these credentials; grant", UserError),
        ("", "status", 503, "cannot be read (Cloud Storage answered 503); try again later", AwayError),
        ("alt=media", "status", 503, "cannot be read (Cloud Storage answered 503); try again later", AwayError),
        ("alt=media", "status", 410, "cannot be read (Cloud Storage answered 410); try again later", AwayError),
        ("alt=media", "status", 404, "was changed or deleted while it was read; run again", UserError),
        ("", "reset", 0, "cannot be read (ConnectionError); try again later", AwayError),
        ("alt=media", "flip", 100, "arrived 3 times with a wrong checksum; check the network and run again", AwayError),
    ],
)
def test_a_permanent_fault_is_one_sentence(gcs, tmp_path, monkeypatch, pattern, kind, value, sentence, error):
    monkeypatch.setattr(objects, "RETRY", objects.RETRY.with_timeout(1))
    gcs.put("data", "churn.csv", (DATA / "churn.csv").read_bytes())
    fault = gcs.fault(pattern, kind, value, times=float("inf"))
    with pytest.raises(error) as raised:
        ingest(DataSettings(source="gs://data/churn.csv", label="churned"), 1, tmp_path / "out")
    assert raised.type is error
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)
    assert 1 <= fault.hits < 60
    assert not list(tmp_path.iterdir())


def test_without_credentials_public_buckets_are_read(gcs, monkeypatch):
    """The client that is used where google.auth finds no credentials."""
    from google.auth.exceptions import DefaultCredentialsError

    real = objects.Client

    class Bare(real):
        def __init__(self, project=None, credentials=None, **more):
            if credentials is None:
                raise DefaultCredentialsError
            super().__init__(project=project, credentials=credentials, **more)

    monkeypatch.setattr(objects, "Client", Bare)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    gcs.put("data", "x.csv", b"a")
    assert [info.size for info in list_files(Location("gs://data/x.csv"))] == [1]
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such.json")
    with pytest.raises(UserError, match=r'GOOGLE_APPLICATION_CREDENTIALS: "/no/such\.json" holds no credentials'):
        list_files(Location("gs://data/x.csv"))


def test_a_damaged_gzip_object_is_one_sentence(gcs):
    gcs.put("data", "x.csv", gzip.compress(bytes(9999))[:-9], contentEncoding="gzip")
    gcs.put("data", "y.csv", b"a,y", contentEncoding="gzip")
    for name in "xy":
        with pytest.raises(UserError, match=f'"gs://data/{name}.csv" has Content-Encoding: gzip, but its GZIP data'):
            inspect(DataSettings(source=f"gs://data/{name}.csv", label="y"), 1)


def test_a_full_disk_is_one_sentence(gcs, monkeypatch):
    gcs.put("data", "x.csv", bytes(2000))
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"not enough disk: the download needs .* TMPDIR"):
        inspect(DataSettings(source="gs://data/x.csv", label="y"), 1)


def test_what_an_earlier_attempt_downloaded_is_kept(gcs, tmp_path):
    for name in ("a", "b"):
        gcs.put("data", f"{name}.csv", (DATA / "churn.csv").read_bytes())
    settings = DataSettings(source="gs://data/*.csv", label="churned")
    (tmp_path / "kept").mkdir()
    fault = gcs.fault("b.csv.*alt=media", "status", 403)
    with pytest.raises(UserError, match="credentials"):
        ingest(settings, 1, tmp_path / "out", scratch=tmp_path / "kept")
    assert fault.hits == 1
    gcs.journal.clear()
    ingest(settings, 1, tmp_path / "out", scratch=tmp_path / "kept")
    assert [line for line in gcs.journal if "alt=media" in line and "a.csv" in line] == []


def test_the_step_goes_on_from_what_it_downloaded(gcs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KEP_WORK", str(tmp_path / "work"))
    for name in ("a", "b"):
        gcs.put("data", f"{name}.csv", (DATA / "churn.csv").read_bytes())
    config = DataSettings(source="gs://data/*.csv", label="churned").to_json()
    gcs.fault("b.csv.*alt=media", "status", 403)
    with pytest.raises(SystemExit, match="2"):
        run(out=str(tmp_path / "out"), config=config, source="abc", seed=1, code="", test=str(tmp_path / "test"))
    assert 'error: data.source: "gs://data/b.csv" may not be read' in capsys.readouterr().out
    assert list((tmp_path / "work").rglob("*.csv"))
    run(out=str(tmp_path / "out"), config=config, source="abc", seed=1, code="", test=str(tmp_path / "test"))
    assert not list((tmp_path / "work").rglob("*.csv"))
    assert Manifest.load(tmp_path / "out").source == "gs://data/*.csv"


def test_records_are_copied_with_their_roles(gcs, tmp_path):
    settings = DataSettings(source=str(DATA / "churn.csv"), label="churned", shard_mb=0.01)
    manifest = ingest(settings, 1, tmp_path / "records")
    upload(gcs, tmp_path / "records", "records/")
    far = DataSettings(source="gs://data/records")
    assert inspect(far, 1).rows == 600
    assert not [line for line in gcs.journal if "alt=media" in line and "tfrecord" in line]
    assert ingest(far, 7, tmp_path / "copy") == manifest
    assert content(tmp_path / "records") == content(tmp_path / "copy")
    assert Manifest.load(tmp_path / "copy") == manifest


def test_damaged_records_are_refused(gcs, tmp_path):
    ingest(DataSettings(source=str(DATA / "churn.csv"), label="churned"), 1, tmp_path / "records")
    shard = next((tmp_path / "records").glob("test-*.tfrecord"))
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    upload(gcs, tmp_path / "records", "records/")
    with pytest.raises(RunError, match=f"{shard.name} is damaged"):
        ingest(DataSettings(source="gs://data/records"), 1, tmp_path / "copy")
    del gcs.objects["data", f"records/{shard.name}"]
    with pytest.raises(RunError, match=f"{shard.name} cannot be read"):
        ingest(DataSettings(source="gs://data/records"), 1, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_forty_faults_leave_no_trace(gcs, tmp_path):
    """Every kind of fault, on every page of a list and every object: the same bytes, and few more requests."""
    header, *rows = (DATA / "churn.csv").read_text().splitlines()
    for place in range(24):
        text = "\n".join([header, *rows[place::24]]) + "\n"
        gcs.put("data", f"set/part-{place:02d}.csv", text.encode())
    gcs.page = 5
    settings = DataSettings(source="gs://data/set", label="churned", workers=2)
    ingest(settings, 1, tmp_path / "quiet")
    before = fingerprint(settings)
    quiet = len(gcs.journal)
    gcs.journal.clear()
    kinds = [("status", 503), ("status", 429), ("reset", 0), ("cut", 300), ("flip", 200), ("stall", 0.1), ("lose", 0)]
    for place in range(24):
        gcs.fault(f"part-{place:02d}.csv.*alt=media", *kinds[place % 7])
        gcs.fault(f"part-{place:02d}.csv.*alt=media", *kinds[(place // 7 + place) % 7])
    for kind in (("status", 500), ("status", 503), ("reset", 0), ("cut", 50), ("stall", 0.1), ("lose", 0)):
        gcs.fault(r"/o\?", *kind, skip=len(gcs.faults) % 4)
    ingest(settings, 1, tmp_path / "faulty")
    assert fingerprint(settings) == before
    hits = sum(fault.hits for fault in gcs.faults)
    assert hits >= 40
    assert content(tmp_path / "quiet") == content(tmp_path / "faulty")
    assert Manifest.load(tmp_path / "quiet") == Manifest.load(tmp_path / "faulty")
    assert len(gcs.journal) <= quiet + hits
