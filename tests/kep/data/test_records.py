"""Who may read which rows, that damage is found, and that serving encodes as ingest did."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from kep.components.ingest.ingest import ingest
from kep.config.data import DataSettings
from kep.core.errors import RunError, UserError
from kep.core.files import write_json
from kep.data.ledger import LedgerLine
from kep.data.records import READERS, ROLES, Records, Rows, encode_table
from kep.data.schema import Manifest
from tests.helpers.paths import DATA


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records") / "churn"
    ingest(DataSettings(source=str(DATA / "churn.csv"), label="churned"), 1, folder)
    return folder


@pytest.fixture
def copied(churn: Path, tmp_path: Path) -> Path:
    """Records that a test may damage."""
    for path in churn.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def assert_equal(one: Rows, other: Rows) -> None:
    for name in ("numeric", "categorical", "image", "labels", "alike"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        if getattr(one, name) is not None:
            assert getattr(one, name).dtype == getattr(other, name).dtype


@pytest.mark.parametrize("step", READERS)
@pytest.mark.parametrize("role", ROLES)
def test_who_may_read_what(step: str, role: str, churn: Path):
    records = Records(churn, step)
    if role in READERS[step]:
        rows = records.load(role)
        info = records.manifest.roles[role]
        assert len(rows) == info.rows
        assert records.ledger == [LedgerLine(step=step, role=role, rows=info.rows, fingerprint=info.fingerprint)]
    else:
        with pytest.raises(UserError, match=f'step "{step}" may not read {role} rows'):
            records.load(role)
        assert records.ledger == []


def test_test_rows_are_read_after_every_choice_alone():
    assert [step for step, roles in READERS.items() if "test" in roles] == ["evaluate", "export"]
    assert READERS["evaluate"] == ("test",)


@pytest.mark.parametrize("step", ["weigh", "promote", "ingest", ""])
def test_other_steps_read_nothing(step: str, churn: Path):
    with pytest.raises(UserError, match=f'step "{step}" may not read rows'):
        Records(churn, step)


def test_unknown_role(churn: Path):
    with pytest.raises(UserError, match=r'"valid" is not a role; .*did you mean "validation"'):
        Records(churn, "tune").load("valid")


@pytest.mark.parametrize("place", [0, 5, 40, -1])
def test_flipped_byte(place: int, copied: Path):
    shard = copied / Manifest.load(copied).roles["train"].shards[0].file
    data = bytearray(shard.read_bytes())
    data[place] ^= 1
    shard.write_bytes(data)
    with pytest.raises(RunError, match=rf"{shard.name} is damaged \(its CRC32C"):
        Records(copied, "tune").load("train")
    assert len(Records(copied, "tune").load("validation")) == 120


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda _: b""])
def test_wrong_length(change, copied: Path):
    shard = copied / Manifest.load(copied).roles["train"].shards[0].file
    shard.write_bytes(change(shard.read_bytes()))
    with pytest.raises(RunError, match=f"{shard.name} is damaged"):
        Records(copied, "tune").load("train")


def test_missing_shard(copied: Path):
    shard = copied / Manifest.load(copied).roles["test"].shards[0].file
    shard.unlink()
    with pytest.raises(RunError, match=rf"{shard.name} cannot be read \(No such file or directory\); run ingest"):
        Records(copied, "evaluate").load("test")


def test_manifest_must_be_ours(tmp_path: Path):
    with pytest.raises(UserError, match=r"manifest\.json cannot be read \(No such file or directory\)"):
        Records(tmp_path, "tune")
    (tmp_path / "manifest.json").write_text('{"version": 1}')
    with pytest.raises(UserError, match="is not a manifest that ingest wrote"):
        Records(tmp_path, "tune")


def test_manifests_of_version_1_are_read_and_later_ones_are_not(churn: Path, tmp_path: Path):
    content = json.loads((churn / "manifest.json").read_text())
    for part in (*content["columns"], content["label"]):
        del part["edges"], part["counts"]
    content |= {"version": 1}
    named = {name: content[name] for name in ("version", "columns", "label", "roles", "split", "record", "identity")}
    old = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
    write_json(tmp_path / "manifest.json", content | {"fingerprint": old})
    assert [column.counts for column in Manifest.load(tmp_path).columns] == [None] * len(content["columns"])
    write_json(tmp_path / "manifest.json", content | {"version": 4})
    with pytest.raises(UserError, match="has version 4, this code reads up to 3; run ingest again"):
        Manifest.load(tmp_path)


def test_manifest_round_trip(churn: Path, tmp_path: Path):
    manifest = Manifest.load(churn)
    manifest.save(tmp_path)
    assert Manifest.load(tmp_path) == manifest
    assert (tmp_path / "manifest.json").read_bytes() == (churn / "manifest.json").read_bytes()
    assert list(manifest.roles) == list(ROLES)


def table() -> pa.Table:
    return pyarrow.csv.read_csv(DATA / "churn.csv")


@pytest.mark.parametrize("source", ["churn.csv", "houses.csv"])
def test_encode_table_equals_stored_rows(source: str, tmp_path: Path):
    label = {"churn.csv": "churned", "houses.csv": "price"}[source]
    manifest = ingest(DataSettings(source=str(DATA / source), label=label), 1, tmp_path / "out")
    encoded = encode_table(manifest, pyarrow.csv.read_csv(DATA / source))
    place = {value: index for index, value in enumerate(encoded.alike.tolist())}
    for step, role in (("tune", "train"), ("tune", "validation"), ("evaluate", "test")):
        stored = Records(tmp_path / "out", step).load(role)
        assert_equal(encoded.take([place[value] for value in stored.alike.tolist()]), stored)


def test_encode_images(tmp_path: Path):
    manifest = ingest(DataSettings(source="sklearn:digits"), 1, tmp_path / "out")
    stored = Records(tmp_path / "out", "evaluate").load("test")
    for images in (stored.image, stored.image.tolist()):
        encoded = encode_table(manifest, {"image": images})
        np.testing.assert_array_equal(encoded.image, stored.image)
        np.testing.assert_array_equal(encoded.alike, stored.alike)
        assert (encoded.labels == -1).all()
    with pytest.raises(UserError, match=r'column "image": images of shape \[8\] given, \[8, 8, 1\]'):
        encode_table(manifest, {"image": np.zeros((3, 8), np.uint8)})
    with pytest.raises(UserError, match='column "image": images of shape'):
        encode_table(manifest, {"image": np.full((1, 8, 8, 1), 0.5)})


def raw(**changes) -> dict[str, list]:
    """Two customers as a request gives them."""
    row = {
        "months": [3, 40],
        "plan": ["plus", "basic"],
        "monthly_charge": [20.5, None],
        "paperless": [True, False],
        "support_calls": [1, 2],
        "region": ["north", None],
    }
    return {name: value for name, value in (row | changes).items() if value is not ...}


def test_encode_a_request(churn: Path):
    manifest = Manifest.load(churn)
    rows = encode_table(manifest, raw(plan=["plus", "gold"]))
    assert [column.name for column in manifest.numeric] == [
        "months",
        "monthly_charge",
        "paperless",
        "support_calls",
    ]
    np.testing.assert_array_equal(rows.numeric, np.array([[3, 20.5, 1, 1], [40, np.nan, 0, 2]], np.float32))
    assert [column.vocabulary for column in manifest.categorical] == [
        ["basic", "plus", "premium"],
        ["east", "north", "south", "west"],
    ]
    assert rows.categorical.tolist() == [[3, 3], [1, 0]]
    assert rows.labels.tolist() == [-1, -1]


def test_equal_features_have_equal_ids(churn: Path):
    """However a value is written: 3, 3.0, "3", -0.0 and 0, true and "True", empty and None."""
    manifest = Manifest.load(churn)
    forms = [
        raw(),
        raw(
            months=[3.0, 40.0],
            monthly_charge=["20.50", ""],
            paperless=["True", "false"],
            region=["north ", "NA"],
        ),
        raw(months=["3", "40"], monthly_charge=[20.5, float("nan")], paperless=[1, 0]),
    ]
    ids = [encode_table(manifest, form).ids.tolist() for form in forms]
    assert ids[0] == ids[1] == ids[2]
    zero = [encode_table(manifest, raw(months=[value, 1.0])).ids[0] for value in (0.0, -0.0)]
    assert zero[0] == zero[1]
    negative_nan = np.array([0xFFF8000000000001], np.uint64).view(np.float64)[0]
    missing = [encode_table(manifest, raw(months=[value, 1.0])).ids[0] for value in (negative_nan, None)]
    assert missing[0] == missing[1]
    others = [raw(months=[4, 40]), raw(plan=["basic", "basic"]), raw(region=[None, None])]
    assert all(encode_table(manifest, other).ids[0] != ids[0][0] for other in others)
    assert all(encode_table(manifest, other).ids[1] == ids[0][1] for other in others)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"months": ...}, 'column "months" is missing; give every feature column'),
        ({"months": ..., "month": [1, 2]}, 'column "months" is missing; did you mean "month"?'),
        ({"age": [1, 2]}, 'column "age" is unknown; remove it'),
        ({"months": ["three", "4"]}, 'column "months": "three" is not a number; give numbers in this column'),
        ({"months": [[1], [2]]}, 'column "months": values of type list<item: int64> are not numbers'),
        ({"months": [1, "2"]}, 'column "months": its values are of several types; give one type'),
        ({"months": [1]}, 'column "plan" has 2 values, "months" has 1; give one a row'),
        ({"months": [1e39, 1]}, 'column "months": 1e+39 is infinite or beyond 32-bit floats'),
        (
            {"paperless": ["maybe", "true"]},
            'column "paperless": "maybe" is not a boolean; give true or false',
        ),
        ({"plan": [{"a": 1}, {"a": 2}]}, 'column "plan": values of type struct<a: int64> are no texts'),
        ({"churned": ["yes", "perhaps"]}, 'column "churned": "perhaps" is not one of the classes'),
    ],
)
def test_encode_refuses(changes: dict, sentence: str, churn: Path):
    with pytest.raises(UserError) as caught:
        encode_table(Manifest.load(churn), raw(**changes))
    assert sentence in str(caught.value)


def test_encode_ignores_what_ingest_left_out(churn: Path):
    manifest = Manifest.load(churn)
    with_key = encode_table(manifest, raw(customer=["C1", "C2"], churned=["yes", "no"]))
    assert with_key.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(with_key.ids, encode_table(manifest, raw()).ids)


def test_take_and_concat(churn: Path):
    rows = Records(churn, "tune").load("train")
    halves = [rows.take(slice(0, 100)), rows.take(np.arange(100, len(rows)))]
    assert_equal(Rows.concat(halves), rows)
    assert len(rows.take(rows.labels == 1)) == 58


def test_rows_that_do_not_fit_into_memory_are_refused_before_they_are_read(records, monkeypatch):
    class Little:
        available = 10_000

    monkeypatch.setattr("psutil.virtual_memory", lambda: Little)
    with pytest.raises(UserError, match=r"the train rows need about 0\.\d GB of memory, 0\.0 GB are free"):
        Records(records("digits"), "tune").load("train")
