"""Whoever predicts with an ensemble that has an operating point and a temperature decides the same."""

import socket

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from rich.console import Console
from tensorflow_serving.apis import prediction_service_pb2_grpc

import kep
from kep.components.predict.plan import plan
from kep.components.predict.predict import predict_slice
from kep.config.data import DataSettings
from kep.config.prediction import PredictSettings
from kep.core.files import read_json
from kep.delivery.export.export import export
from kep.delivery.export.savedmodel import Served, drawn, tensors
from kep.delivery.predict import predict
from kep.models.ensemble import Ensemble
from tests.helpers.paths import DATA
from tests.helpers.serving import request, running

ROWS = pyarrow.csv.read_csv(DATA / "churn.csv").slice(0, 60)


@pytest.fixture
def folder(ensembles, calibrated):
    """An ensemble whose operating point and temperature change what it predicts."""
    plain = ensembles("churn", "mlp", "mlp")
    own = Ensemble(calibrated(plain, temperature=2.0))
    at = float(np.quantile(own.predict(ROWS.select([column.name for column in own.manifest.inputs]))[:, 1], 0.3))
    return calibrated(plain, threshold=at + 1e-4, temperature=2.0)


@pytest.fixture
def expected(folder):
    """Probabilities and labels of `ROWS`."""
    own = Ensemble(folder)
    found = own.predict(ROWS.select([column.name for column in own.manifest.inputs]))
    labels = [own.manifest.label.classes[int(one >= own.manifest.label.threshold)] for one in found[:, 1]]
    most_probable = [own.manifest.label.classes[best] for best in found.argmax(axis=1)]
    assert 0 < sum(a != b for a, b in zip(labels, most_probable, strict=True)) < len(labels)
    return found, labels


def same(table: pa.Table, expected, classes) -> None:
    found, labels = expected
    assert table["prediction"].to_pylist() == labels
    for place, name in enumerate(classes):
        np.testing.assert_allclose(table[f"probability_{name}"].to_numpy(), found[:, place], atol=1e-5)


def test_in_python_in_a_file_and_in_a_batch(folder, expected, tmp_path):
    model = kep.load(folder)
    same(model.predict(ROWS.select(model.columns)), expected, model.classes)
    pyarrow.csv.write_csv(ROWS, tmp_path / "new.csv")
    predict(str(folder), None, str(tmp_path / "new.csv"), tmp_path / "out.parquet", tmp_path, Console(quiet=True))
    same(pq.read_table(tmp_path / "out.parquet"), expected, model.classes)
    settings = PredictSettings(data=DataSettings(source=str(tmp_path / "new.csv")))
    for name in ("scratch", "work", "slice"):
        (tmp_path / name).mkdir()
    (part,) = plan(folder, settings, tmp_path / "scratch")
    predict_slice(Ensemble(folder), [], part, settings, tmp_path / "work", tmp_path / "slice", lambda *_: None)
    (shard,) = (tmp_path / "slice").glob("*.parquet")
    same(pq.read_table(shard), expected, model.classes)


def test_over_the_wire(folder, expected, tmp_path):
    own = Ensemble(folder)
    features = ROWS.select([column.name for column in own.manifest.inputs])
    rows = drawn(own.manifest)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with running(folder, grpc_port=port) as server:
        told = server.post({"instances": features.to_pylist()}).json()["predictions"]
        assert [row["label"] for row in told] == expected[1]
        np.testing.assert_allclose([row["probabilities"] for row in told], expected[0], atol=1e-5)
        pyarrow.csv.write_csv(ROWS, tmp_path / "new.csv")
        predict(None, server.url, str(tmp_path / "new.csv"), tmp_path / "o.parquet", tmp_path, Console(quiet=True))
        same(pq.read_table(tmp_path / "o.parquet"), expected, own.manifest.label.classes)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            response = stub.Predict(request(tensors(own.manifest, rows)), timeout=60)
    columns = {name: tf.constant(array) for name, array in tensors(own.manifest, rows).items()}
    exported = Served(own).serve(**columns)["label"].numpy().tolist()
    label, found = own.manifest.label, own.predict(rows)
    assert tf.make_ndarray(response.outputs["label"]).tolist() == exported
    assert [name.decode() for name in exported] == [str(label.classes[i]) for i in label.decide(found)]
    assert label.decide(found).tolist() != found.argmax(axis=1).tolist()


@pytest.mark.parametrize("format", ["savedmodel", pytest.param("keras", marks=pytest.mark.slow)])
def test_an_export_is_measured_at_the_operating_point_and_names_it(runs, decided_run, tmp_path, format):
    root, threshold = decided_run("churn", "mlp", "mlp")
    console = Console(record=True, width=200)
    export(str(root / "churn" / "latest"), format, None, tmp_path / "out", root, 0.01, False, console)
    content = read_json(tmp_path / "out" / "export.json")
    assert content["threshold"] == threshold
    whole, made = content["measured"]
    assert made["same"] == 1.0
    assert whole["score"] == made["score"]
    assert ("from 0.2 on, the operating point" in console.export_text()) == (format == "keras")
