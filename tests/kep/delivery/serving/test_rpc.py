"""TensorFlow Serving's gRPC, with its own client stub."""

import socket
import tracemalloc

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from kep.core.errors import UserError
from kep.data.records import Records
from kep.data.schema import Manifest
from kep.delivery.export.savedmodel import Served, drawn, tensors
from kep.delivery.serving.rpc import rows_of
from kep.models.ensemble import Ensemble
from tests.helpers.fuzzing import examples
from tests.helpers.serving import request as asking
from tests.helpers.serving import running


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_a_tensor_of_more_rows_than_allowed_is_refused_before_it_is_laid_out(ensembles, free_port):
    """One value that stands for twenty million: 200 bytes would become gigabytes."""
    folder = ensembles("churn", "mlp", "boosted_trees")
    manifest = Ensemble(folder).manifest
    bomb = asking(tensors(manifest, drawn(manifest)))
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


@pytest.mark.parametrize("source", ["churn", "shapes", pytest.param("houses", marks=pytest.mark.slow)])
def test_it_answers_what_the_exported_model_answers(ensembles, free_port, source):
    families = ("mlp", "cnn") if source == "shapes" else ("mlp", "mlp")
    folder = ensembles(source, *families)
    ensemble = Ensemble(folder)
    arrays = tensors(ensemble.manifest, drawn(ensemble.manifest))
    expected = Served(ensemble).serve(**{name: tf.constant(array) for name, array in arrays.items()})
    with running(folder, grpc_port=free_port), grpc.insecure_channel(f"127.0.0.1:{free_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(asking(arrays), timeout=60)
        assert response.model_spec.version.value == 3
        assert set(response.outputs) == set(expected)
        for name, value in expected.items():
            found = tf.make_ndarray(response.outputs[name])
            if name == "label":
                assert found.tolist() == value.numpy().tolist()
            else:
                np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
        (only,) = stub.Predict(asking(arrays, output_filter=["members"]), timeout=60).outputs
        assert only == "members"


def test_what_is_wrong_with_a_request_is_named(ensembles, free_port):
    folder = ensembles("churn", "mlp", "boosted_trees")
    arrays = tensors(Ensemble(folder).manifest, drawn(Ensemble(folder).manifest))
    cases = [
        (
            asking(arrays | {"months": np.ones(256, np.int64)}),
            "INVALID_ARGUMENT",
            "inputs.months: DT_INT64 [256] ",
        ),
        (asking(arrays | {"months": arrays["months"][:, None]}), "INVALID_ARGUMENT", "give DT_FLOAT [rows]"),
        (asking(arrays | {"months": arrays["months"][:9]}), "INVALID_ARGUMENT", "the columns differ in length"),
        (asking(arrays | {"months": arrays["months"] * np.inf}), "INVALID_ARGUMENT", 'column "months"'),
        (asking(arrays | {"paperless": arrays["months"] + 0.5}), "INVALID_ARGUMENT", "is not a boolean"),
        (asking(arrays | {"plan": np.array([b"\xff"] * 256, object)}), "INVALID_ARGUMENT", "not a text in UTF-8"),
        (asking({"mnths": arrays["months"]}), "INVALID_ARGUMENT", 'did you mean "mnths"?'),
        (asking(arrays, output_filter=["lable"]), "INVALID_ARGUMENT", 'did you mean "label"?'),
        (asking(arrays, "other"), "NOT_FOUND", 'there is no model "other" here'),
    ]
    with running(folder, grpc_port=free_port), grpc.insecure_channel(f"127.0.0.1:{free_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for asked, code, message in cases:
            with pytest.raises(grpc.RpcError) as caught:
                stub.Predict(asked, timeout=60)
            assert caught.value.code().name == code
            assert message in caught.value.details()


@pytest.fixture(scope="module")
def asked(records):
    """Function from a source to its manifest, and the tensors of one row."""

    def of(source: str) -> tuple[Manifest, dict[str, TensorProto]]:
        manifest = Records(records(source), "tune").manifest
        arrays = {name: array[:1] for name, array in tensors(manifest, drawn(manifest)).items()}
        return manifest, {name: tf.make_tensor_proto(array) for name, array in arrays.items()}

    return of


_GIVE = {"plan": "string_val", "months": "float_val", "image": "int_val"}
_VALUES = {"string_val": [b"basic"], "float_val": [1.0], "double_val": [1.0], "int_val": [1], "half_val": [1]}


@pytest.mark.parametrize(("source", "column"), [("churn", "plan"), ("churn", "months"), ("shapes", "image")])
@pytest.mark.parametrize("field", _VALUES)
def test_values_in_the_field_of_another_type_are_no_zeros(asked, source, column, field):
    manifest, inputs = asked(source)
    tensor = inputs[column]
    for other in (*_VALUES, "tensor_content"):
        tensor.ClearField(other)
    getattr(tensor, field).extend(_VALUES[field])
    if field == _GIVE[column]:
        assert len(rows_of(inputs, manifest, 9)) == 1
        return
    with pytest.raises(UserError, match=rf"inputs\.{column}: {field} given; give its values in {_GIVE[column]}"):
        rows_of(inputs, manifest, 9)


def test_no_values_are_zeros_and_no_texts(asked):
    manifest, inputs = asked("churn")
    inputs["months"].ClearField("tensor_content")
    inputs["months"].ClearField("float_val")
    assert len(rows_of(inputs, manifest, 9)) == 1
    inputs["plan"].ClearField("string_val")
    with pytest.raises(UserError, match=r"inputs\.plan: nothing given; give its values in string_val"):
        rows_of(inputs, manifest, 9)


@pytest.mark.parametrize("value", [-1, 256])
def test_a_value_beyond_a_pixel_is_refused(asked, value):
    manifest, inputs = asked("shapes")
    inputs["image"].ClearField("tensor_content")
    inputs["image"].int_val.append(value)
    with pytest.raises(UserError, match=r"inputs\.image: a value is none of DT_UINT8: .*out of bounds"):
        rows_of(inputs, manifest, 9)


def test_a_model_that_is_not_ready_is_unavailable(ensembles, free_port):
    folder = ensembles("churn", "mlp", "boosted_trees")
    arrays = tensors(Ensemble(folder).manifest, drawn(Ensemble(folder).manifest))
    with running(folder, loads=False, grpc_port=free_port), grpc.insecure_channel(f"127.0.0.1:{free_port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(asking(arrays), wait_for_ready=True, timeout=60)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


_SIZES = st.sampled_from([-1, 0, 1, 2, 3, 1024, 1025, 2**31, 2**62]) | st.integers(-(2**63), 2**63 - 1)
_NUMBERS = st.floats(allow_nan=True, width=32) | st.sampled_from([0.0, 1.0, 2.0])
_TENSORS = st.builds(
    TensorProto,
    dtype=st.sampled_from(
        [DataType.DT_FLOAT, DataType.DT_DOUBLE, DataType.DT_STRING, DataType.DT_UINT8] * 5 + DataType.values()
    ),
    tensor_shape=st.builds(
        TensorShapeProto,
        dim=st.lists(st.builds(TensorShapeProto.Dim, size=_SIZES), max_size=3),
        unknown_rank=st.sampled_from([False, False, False, True]),
    ),
    tensor_content=st.sampled_from([b"", b"", b"", b"\0" * 4, b"\0" * 8]) | st.binary(max_size=64),
    float_val=st.lists(_NUMBERS, max_size=3),
    double_val=st.lists(st.floats(), max_size=3),
    int_val=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
    string_val=st.lists(st.binary(max_size=8) | st.sampled_from([b"", b"basic"]), max_size=3),
    half_val=st.lists(st.integers(0, 2**16), max_size=3),
)


@pytest.fixture(scope="module", params=["churn", "shapes"])
def valid(records, request):
    """Manifest of a table, or of images, and a request of its columns."""
    manifest = Records(records(request.param), "tune").manifest
    return manifest, asking(tensors(manifest, drawn(manifest)))


def bounded(valid, asked: predict_pb2.PredictRequest) -> None:
    """Whatever is asked becomes rows or one sentence, and takes memory by its bytes and the rows that are allowed."""
    tracemalloc.start()
    try:
        assert 1 <= len(rows_of(asked.inputs, valid[0], 1024)) <= 1024
    except UserError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2_000_000 + 100 * asked.ByteSize()


@pytest.mark.fuzz
@examples(150)
@given(st.data())
def test_any_tensors_are_rows_or_one_sentence(valid, data):
    asked = predict_pb2.PredictRequest()
    asked.CopyFrom(valid[1])
    for name in data.draw(st.lists(st.sampled_from(sorted(asked.inputs)), min_size=1, unique=True)):
        asked.inputs[name].CopyFrom(data.draw(_TENSORS))
    bounded(valid, asked)


@pytest.mark.fuzz
@examples(150)
@given(st.data())
def test_any_bytes_are_no_message_or_rows_or_one_sentence(valid, data):
    sent = bytearray(valid[1].SerializeToString())
    for place in data.draw(st.lists(st.integers(0, len(sent) - 1), min_size=1, max_size=4)):
        sent[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
    try:
        asked = predict_pb2.PredictRequest.FromString(bytes(sent))
    except DecodeError:
        return
    bounded(valid, asked)
