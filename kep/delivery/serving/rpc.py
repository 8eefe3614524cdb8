"""TensorFlow Serving's gRPC `PredictionService`: the method `Predict`, with the messages that it publishes."""

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from fastapi import HTTPException
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from kep.core.errors import UserError, nearest
from kep.data.records import Rows, encode_table
from kep.data.schema import Manifest
from kep.delivery.serving.app import Service
from kep.delivery.serving.describe import tensor
from kep.delivery.serving.instances import SIGNATURE, PredictionRequest, check_count, check_names

_STATUS = {429: grpc.StatusCode.RESOURCE_EXHAUSTED, 503: grpc.StatusCode.UNAVAILABLE}
_FIELDS = {"DT_STRING": "string_val", "DT_FLOAT": "float_val", "DT_DOUBLE": "double_val", "DT_UINT8": "int_val"}
"""Field of a tensor that the values of each type are in, where they are not packed."""


class PredictionServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Takes and gives the tensors of the model that `kep export` writes.

    Args:
        service: Service that answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def Predict(  # noqa: N802 (TensorFlow Serving's name)
        self, request: predict_pb2.PredictRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> predict_pb2.PredictResponse:
        """Predicts."""
        model = self._service.model
        spec = request.model_spec
        if spec.name != model.name or (spec.HasField("version") and spec.version.value != model.version):
            wanted = f"{spec.name} {spec.version.value}" if spec.HasField("version") else spec.name
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f'there is no model "{wanted}" here; there is "{model.name} {model.version}"'
            )
        try:
            _, found = await self._service.predict(lambda: self._read(request))
            outputs = self._outputs(found, list(request.output_filter))
        except UserError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except HTTPException as error:
            await context.abort(_STATUS[error.status_code], error.detail)
        response = predict_pb2.PredictResponse()
        response.model_spec.name, response.model_spec.signature_name = model.name, SIGNATURE
        response.model_spec.version.value = model.version
        for name, values in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
        return response

    def _read(self, request: predict_pb2.PredictRequest) -> PredictionRequest:
        if request.model_spec.signature_name not in ("", SIGNATURE):
            raise UserError(f'signature_name: the one signature is "{SIGNATURE}"')
        return PredictionRequest(rows_of(request.inputs, self._service.model.manifest, self._service.limits.rows))

    def _outputs(self, found: list[np.ndarray], chosen: list[str]) -> dict[str, np.ndarray]:
        """The outputs by name, as `kep.delivery.export.savedmodel.Served` gives them."""
        label = self._service.model.manifest.label
        outputs = {"members": np.stack(found[1:], axis=1).astype(np.float64)}
        if label.classes is None:
            outputs["prediction"] = found[0]
        else:
            outputs["probabilities"] = found[0]
            outputs["label"] = np.array([str(name) for name in label.classes or []], object)[label.decide(found[0])]
        for name in chosen:
            if name not in outputs:
                raise UserError(f'output_filter: "{name}" is no output{nearest(name, outputs)}')
        return {name: outputs[name] for name in chosen or outputs}


def rows_of(inputs: Mapping[str, TensorProto], manifest: Manifest, most: int) -> Rows:
    """Rows from tensors by column, where NaN and the empty text stand for a missing value.

    Raises:
        UserError: With the input that is missing, unknown, of another type or shape, or holds a value that can't be.
    """
    check_names("inputs", inputs, [column.name for column in manifest.inputs])
    table, counts = {}, {}
    for column in manifest.inputs:
        name, proto, (kind, inner) = column.name, inputs[column.name], tensor(column)
        given, shape = DataType.Name(proto.dtype), [dim.size for dim in proto.tensor_shape.dim]
        if given != kind or not shape or shape[1:] != list(inner) or shape[0] < 1:
            expected = f"[{', '.join(['rows', *map(str, inner)])}]"
            raise UserError(f"inputs.{name}: {given} {shape} given; give {kind} {expected}")
        # Before the values are laid out: one value stands for as many as the shape says.
        check_count(f"inputs.{name}", shape[0], most)
        _check_field(f"inputs.{name}", proto, kind)
        try:
            values = tf.make_ndarray(proto)
            table[name] = [value.decode() for value in values] if kind == "DT_STRING" else values
        except UnicodeDecodeError as error:
            raise UserError(f"inputs.{name}: a value is not a text in UTF-8") from error
        except OverflowError as error:
            raise UserError(f"inputs.{name}: a value is none of {kind}: {error}") from error
        except (TypeError, ValueError) as error:
            raise UserError(f"inputs.{name}: its values are not as many as its shape says") from error
        counts[name] = shape[0]
    if len(set(counts.values())) > 1:
        raise UserError(f"inputs: the columns differ in length ({counts}); give one value a row")
    return encode_table(manifest, table)


def _check_field(where: str, proto: TensorProto, kind: str) -> None:
    """Refuse a tensor whose values are in the field of another type: TensorFlow would read zeros in their place.

    Raises:
        UserError: With the field that is to be filled.
    """
    given = {field.name for field, _ in proto.ListFields()} - {"dtype", "tensor_shape", "version_number"}
    # Zeros may be left out, as TensorFlow does where it sends numbers only; texts may not.
    taken = [{_FIELDS[kind]}] if kind == "DT_STRING" else [{_FIELDS[kind]}, {"tensor_content"}, set()]
    if given not in taken:
        found = ", ".join(sorted(given)) or "nothing"
        raise UserError(f"{where}: {found} given; give its values in {_FIELDS[kind]}")


async def start(service: Service, address: str) -> grpc.aio.Server:
    """Starts answering on `address`, without encryption.

    Raises:
        UserError: The address can't be listened on.
    """
    server = grpc.aio.server(
        # Without the second, another server's port would be shared with it.
        options=[("grpc.max_receive_message_length", service.limits.bytes), ("grpc.so_reuseport", 0)]
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionServicer(service), server)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise UserError(f"--grpc-port: {address} can't be listened on") from error
    await server.start()
    return server
