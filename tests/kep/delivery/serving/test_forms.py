"""A value is one category whatever file or request it comes in: trained on one, predicted through another."""

import datetime as dt
import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from pydantic_core import to_json

from kep.components.ingest.ingest import ingest
from kep.config.data import DataSettings
from kep.data.records import encode_table
from kep.data.schema import Column
from kep.data.values import canonical
from kep.delivery.export.savedmodel import _canonical
from kep.delivery.remote import as_json
from kep.delivery.serving.describe import example, metadata, request_body
from kep.delivery.serving.instances import parse
from kep.delivery.serving.rpc import rows_of

ROWS = 60
DAYS = [dt.date(2024, 1, 5), dt.date(2024, 2, 29)]
TIMES = [dt.datetime(2024, 1, 5, 7, 30), dt.datetime(2024, 1, 6, 0, 0, 1, 500000)]
STAMP = pa.timestamp("us", "UTC")
KINDS = {
    # Two values, spelled for a CSV file, then as Parquet, JSON, NumPy and BigQuery have them; None: has no such type.
    "whole": (["1.0", "2"], pa.array([1, 2]), [1, 2.0], np.array([1, 2]), pa.array([1, 2])),
    "fraction": (
        ["0.50", "1e-07"],
        pa.array([0.5, 1e-7]),
        [0.5, 1e-7],
        np.array([0.5, 1e-7]),
        pa.array([Decimal("0.5"), Decimal("0.0000001")], pa.decimal128(38, 9)),
    ),
    "with gaps": (["1", "", "2"], pa.array([1.0, None, 2.0]), [1, None, 2], np.array([1, np.nan, 2]), None),
    "boolean": (["True", "FALSE"], pa.array([True, False]), [True, False], np.array([True, False]), None),
    "day": (
        ["2024-01-05", "2024-02-29 00:00:00"],
        pa.array(DAYS),
        ["2024-01-05", "2024-02-29T00:00"],
        np.array(DAYS, "datetime64[D]"),
        pa.array(DAYS, pa.date32()).cast(pa.timestamp("us")),
    ),
    "time": (
        ["2024-01-05T08:30+01:00", "2024-01-06 00:00:01.5"],
        pa.array(TIMES),
        ["2024-01-05 07:30:00", "2024-01-06T00:00:01.500Z"],
        np.array(TIMES, "datetime64[us]"),
        pa.array(TIMES, STAMP),
    ),
    "text": (["Rom ", "Köln"], pa.array(["Rom", " Köln"]), ["Rom", "Köln"], np.array(["Rom", "Köln"]), None),
    "code": (["01234", "10001"], pa.array(["01234", "10001"]), [1234, "10001"], np.array([1234, 10001]), None),
}
TRAINED = ("csv", "parquet", "npz", "bigquery")
PREDICTED = ("csv", "parquet", "json", "numpy", "bigquery", "grpc", "url of csv", "url of numpy", "url of bigquery")
NO_NUMBERS = ("boolean", "day", "time", "text", "code")
"""Kinds that an .npz file of numbers can't hold."""


def values_of(kind: str, source: str):
    spelled, parquet, sent, array, bigquery = KINDS[kind]
    forms = {"csv": spelled, "parquet": parquet, "json": sent, "numpy": array, "npz": array, "grpc": spelled}
    return (forms | {"bigquery": parquet if bigquery is None else bigquery})[source]


def trained(folder, kind: str, source: str):
    """The manifest of 60 rows with the kind's values in turn."""
    values = values_of(kind, source)
    turn = [row % len(values) for row in range(ROWS)]
    label = [row // 3 % 2 for row in range(ROWS)]
    if source == "npz":
        np.savez(folder / "rows.npz", x=np.stack([values[turn], range(ROWS)], axis=1), y=label)
        name, label_name = "rows.npz", "y"
    else:
        column = pa.array(values) if source == "csv" else values
        table = pa.table({"x0": column.take(pa.array(turn)), "x1": range(ROWS), "y": label})
        name, label_name = ("rows.csv", "y") if source == "csv" else ("rows.parquet", "y")
        write = pyarrow.csv.write_csv if source == "csv" else pq.write_table
        write(table, folder / name)
    settings = DataSettings(source=name, label=label_name, types={"x0": "categorical"})
    return ingest(settings, 0, folder / "records", folder)


def codes(manifest, kind: str, way: str) -> list[int]:
    """The codes of the kind's values, as they come in some way."""
    values = values_of(kind, way.removeprefix("url of "))
    number = np.zeros(len(values), np.float32)
    others = {column.name: number for column in manifest.columns if column.name != "x0"}
    if way.startswith("url"):  # what `kep predict --url` asks for
        column = next(column for column in manifest.columns if column.name == "x0")
        values = json.loads(to_json(as_json(pa.array(values, from_pandas=True), column)))
    if way == "json" or way.startswith("url"):
        body = {"inputs": {"x0": values} | {name: number.tolist() for name in others}}
        return parse(json.dumps(body).encode(), manifest, ROWS).rows.categorical[:, 0].tolist()
    if way == "grpc":
        sent = {"x0": np.array([text.encode() for text in values], object)} | others
        inputs = {name: tf.make_tensor_proto(array) for name, array in sent.items()}
        return rows_of(inputs, manifest, ROWS).categorical[:, 0].tolist()
    return encode_table(manifest, {"x0": values} | others).categorical[:, 0].tolist()


@pytest.mark.parametrize("source", TRAINED)
@pytest.mark.parametrize("kind", KINDS)
def test_a_value_is_one_category_on_every_way(kind, source, tmp_path):
    if source == "npz" and kind in NO_NUMBERS:
        pytest.skip("an .npz file of features holds numbers")
    manifest = trained(tmp_path, kind, source)
    found = {way: codes(manifest, kind, way) for way in PREDICTED}
    expected = found[{"npz": "numpy"}.get(source, source)]
    assert sorted(set(expected) - {0}) == [2, 3]
    assert found == dict.fromkeys(PREDICTED, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_is_one_label_on_every_way(kind, tmp_path):
    values = [text for text in KINDS[kind][0] if text]
    lines = [f"{row},{values[row // 2 % len(values)]}" for row in range(ROWS)]
    (tmp_path / "rows.csv").write_text("\n".join(["a,y", *lines]) + "\n")
    manifest = ingest(DataSettings(source="rows.csv", label="y", task="auto"), 0, tmp_path / "out", tmp_path)
    if manifest.label.classes is None:
        return  # fractions are numbers
    for way in ("parquet", "numpy", "bigquery"):
        array = pa.array(values_of(kind, way), from_pandas=True).drop_null()
        labels = encode_table(manifest, {"a": np.zeros(len(array)), "y": array}).labels
        assert sorted(labels.tolist()) == [0, 1]


def test_an_exported_model_has_the_same_forms():
    """But for exponents and offsets, which its rules don't hold."""
    spelled = [text for kind in KINDS.values() for text in kind[0] if "e-" not in text and "+01" not in text]
    found = [text.decode() for text in _canonical(tf.constant(spelled)).numpy()]
    assert found == [canonical(text) for text in spelled]


def test_dates_amounts_and_texts_go_through_every_way(tmp_path):
    """What the server says of itself is answered, and gRPC and HTTP read what a file holds."""
    spelled = [
        (f"{row % 28 + 1}.3.2024", f"1.{row:03d},50 €", f"please call {row}", f"{row % 3:02d}") for row in range(ROWS)
    ]
    lines = [";".join([*map('"{}"'.format, row), str(place % 2)]) for place, row in enumerate(spelled)]
    (tmp_path / "rows.csv").write_text("\n".join(["day;fee;note;zip;y", *lines]) + "\n", encoding="utf-8")
    settings = DataSettings(source="rows.csv", label="y", delimiter=";", types={"note": "text"})
    manifest = ingest(settings, 0, tmp_path / "out", tmp_path)
    kinds = {column.name: column.kind for column in manifest.inputs}
    assert kinds == {"day": "date", "fee": "numeric", "note": "text", "zip": "categorical"}
    columns = dict(zip(kinds, map(list, zip(*spelled, strict=True)), strict=True))
    rows = encode_table(manifest, columns)
    asked = parse(json.dumps({"inputs": columns}).encode(), manifest, ROWS).rows
    sent = columns | {"fee": [float(1000 + row) + 0.5 for row in range(ROWS)]}
    types = {"fee": np.float32}
    tensors = {name: tf.make_tensor_proto(np.array(values, types.get(name, object))) for name, values in sent.items()}
    for found in (asked, rows_of(tensors, manifest, ROWS)):
        np.testing.assert_array_equal(found.numeric, rows.numeric)
        np.testing.assert_array_equal(found.categorical, rows.categorical)
    assert len(parse(json.dumps({"instances": [example(manifest)]}).encode(), manifest, 1).rows) == 1
    assert request_body(manifest, 1)["content"]
    told = metadata(manifest, "shop", 1, [], 1)["metadata"]["ensemble"]["columns"]
    client = [Column.model_validate(json.loads(json.dumps(one))) for one in told]
    inputs = {column.name: as_json(pa.array(columns[column.name]), column) for column in client}
    again = parse(json.dumps({"inputs": inputs}).encode(), manifest, ROWS).rows
    np.testing.assert_array_equal(again.numeric, rows.numeric)
    np.testing.assert_array_equal(again.categorical, rows.categorical)
