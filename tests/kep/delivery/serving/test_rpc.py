"""TensorFlow Serving's gRPC, with its own client stub."""

import socket
import tracemalloc

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from kep.core.errors import UserError
from kep.delivery.export.savedmodel import Served, drawn, tensors
from kep.delivery.serving.rpc import rows_of
from kep.models.ensemble import Ensemble
from tests.helpers.serving import request, running


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_a_tensor_of_more_rows_than_allowed_is_refused_before_it_is_laid_out(ensembles, free_port):
    """One value that stands for twenty million: 200 bytes would become gigabytes."""
    folder = ensembles("churn", "mlp", "boosted_trees")
    manifest = Ensemble(folder).manifest
    bomb = request(tensors(manifest, drawn(manifest)))
    for name in bomb.inputs:
        one = bomb.inputs[name]
        kind = one.dtype
        one.Clear()
        one.dtype = kind
        one.tensor_shape.dim.add().size = 20_000_000
        one.string_val.append(b"x") if kind == tf.string.as_datatype_enum else one.float_val.append(1.0)
    assert bomb.ByteSize() < 1000
    tracemalloc.start()
    with pytest.raises(UserError, match="20000000 rows given, at most 1024 a request"):
        rows_of(bomb.inputs, manifest, 1024)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("source", ["churn", "shapes", "houses"])
def test_it_answers_what_the_exported_model_answers(ensembles, free_port, source):
    families = ("mlp", "cnn") if source == "shapes" else ("mlp", "mlp")
    folder = ensembles(source, *families)
    ensemble = Ensemble(folder)
    arrays = tensors(ensemble.manifest, drawn(ensemble.manifest))
    expected = Served(ensemble).serve(**{name: tf.constant(array) for name, array in arrays.items()})
    with running(folder, grpc_port=free_port), grpc.insecure_channel(f"127.0.0.1:{free_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(request(arrays), timeout=60)
        assert response.model_spec.version.value == 3
        assert set(response.outputs) == set(expected)
        for name, value in expected.items():
            found = tf.make_ndarray(response.outputs[name])
            if name == "label":
                assert found.tolist() == value.numpy().tolist()
            else:
                np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
        (only,) = stub.Predict(request(arrays, output_filter=["members"]), timeout=60).outputs
        assert only == "members"


def test_what_is_wrong_with_a_request_is_named(ensembles, free_port):
    folder = ensembles("churn", "mlp", "boosted_trees")
    arrays = tensors(Ensemble(folder).manifest, drawn(Ensemble(folder).manifest))
    cases = [
        (
            request(arrays | {"months": np.ones(256, np.int64)}),
            "INVALID_ARGUMENT",
            "inputs.months: DT_INT64 [256] ",
        ),
        (request(arrays | {"months": arrays["months"][:, None]}), "INVALID_ARGUMENT", "give DT_FLOAT [rows]"),
        (request(arrays | {"months": arrays["months"][:9]}), "INVALID_ARGUMENT", "the columns differ in length"),
        (request(arrays | {"months": arrays["months"] * np.inf}), "INVALID_ARGUMENT", 'column "months"'),
        (request(arrays | {"paperless": arrays["months"] + 0.5}), "INVALID_ARGUMENT", "is not a boolean"),
        (request(arrays | {"plan": np.array([b"\xff"] * 256, object)}), "INVALID_ARGUMENT", "not a text in UTF-8"),
        (request({"mnths": arrays["months"]}), "INVALID_ARGUMENT", 'did you mean "mnths"?'),
        (request(arrays, output_filter=["lable"]), "INVALID_ARGUMENT", 'did you mean "label"?'),
        (request(arrays, "other"), "NOT_FOUND", 'there is no model "other" here'),
    ]
    with running(folder, grpc_port=free_port), grpc.insecure_channel(f"127.0.0.1:{free_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for asked, code, message in cases:
            with pytest.raises(grpc.RpcError) as caught:
                stub.Predict(asked, timeout=60)
            assert caught.value.code().name == code
            assert message in caught.value.details()


def test_a_model_that_is_not_ready_is_unavailable(ensembles, free_port):
    folder = ensembles("churn", "mlp", "boosted_trees")
    arrays = tensors(Ensemble(folder).manifest, drawn(Ensemble(folder).manifest))
    with running(folder, loads=False, grpc_port=free_port), grpc.insecure_channel(f"127.0.0.1:{free_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request(arrays), wait_for_ready=True, timeout=60)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
