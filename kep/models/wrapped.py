"""The model of raw columns around a network: encoding before it, probabilities or bounded numbers after it."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kep.core.errors import UserError
from kep.models.encode import Encode
from kep.models.layers import spelled_out

_HALVES = ("bfloat16", "float16")


@keras.saving.register_keras_serializable("kep")
class Bounded(keras.layers.Layer):
    """Keeps the outputs of a regression within limits, so that no row is predicted far beyond the train labels.

    Input and output: float [n, 1], in standardised label units.

    Args:
        low: Lowest output.
        high: Highest output.
    """

    def __init__(self, low: float, high: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high = low, high

    def call(self, outputs: Any) -> Any:
        return keras.ops.clip(outputs, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        return config | {"low": self.low, "high": self.high}


def wrapped(
    network: keras.Model,
    encode: Encode,
    columns: dict[str, np.ndarray],
    end: Callable[[tuple[int | None, ...]], str | None],
    limits: tuple[float, float] | None,
    name: str,
) -> keras.Model:
    """Return the model of raw columns that predicts.

    Args:
        network: Network of encoded features.
        encode: Layer that encodes.
        columns: Raw columns by name, for shapes and types.
        end: Returns the activation that makes probabilities of outputs of a shape, or None.
        limits: Lowest and highest output of a regression; None for no limits.
        name: Name of the model.

    Raises:
        UserError: The network has several outputs.
    """
    inputs = {key: keras.Input(array.shape[1:], dtype=array.dtype.name, name=key) for key, array in columns.items()}
    output = network(_fed(network, encode(inputs)))
    if isinstance(output, dict | list | tuple):
        raise UserError(f"search.families: {name} must have one output, it has {len(output)}")
    if activation := end(output.shape):
        output = keras.layers.Activation(activation, dtype="float32", name="probabilities")(output)
    if limits is not None:
        output = Bounded(*limits, dtype="float32", name="bounded")(output)
    return keras.Model(inputs, output, name=name)


def _fed(network: keras.Model, given: Any) -> Any:
    """Return symbolic features as a network's inputs are: Keras takes those of a list by place, tensors by name."""
    if not isinstance(given, dict) or isinstance(network.input, dict):
        return given
    return [given[tensor.name] for tensor in network.inputs]


def network_of(model: keras.Model) -> keras.Model:
    """Return the network in a model of raw columns."""
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def encode_of(model: keras.Model) -> Encode:
    """Return the layer that encodes in a model of raw columns."""
    return next(layer for layer in model.layers if isinstance(layer, Encode))


def predicting(
    model: keras.Model, given: keras.KerasTensor | dict[str, keras.KerasTensor], name: str
) -> keras.KerasTensor:
    """Return the predictions of a model of raw columns from encoded features, in float32.

    Layers that compute in half precision do so in float32 here: what an export is for may not have it.

    Args:
        model: Model of raw columns.
        given: Encoded features, by name where the network has several inputs.
        name: Name of the network, which is unique in a larger model.
    """
    network = spelled_out(_in_float32(network_of(model)))
    inputs = network.input if isinstance(given, dict) else network.inputs
    output = keras.Model(inputs, network.outputs[0], name=name)(_fed(network, given))
    output = keras.ops.cast(output, "float32")
    for layer in model.layers:
        if isinstance(layer, keras.layers.Activation):
            output = layer.activation(output)
        if isinstance(layer, Bounded):
            output = layer.call(output)
    return output


def _in_float32(network: keras.Model) -> keras.Model:
    """Return a network of the same weights that computes in float32; the network itself where it does."""
    if all(layer.compute_dtype not in _HALVES for layer in network._flatten_layers()):
        return network
    plain = keras.saving.deserialize_keras_object(_plain(keras.saving.serialize_keras_object(network)))
    plain.set_weights(network.get_weights())
    return plain


def _plain(config: Any) -> Any:
    """Return a serialised configuration with float32 in the place of every policy of half precision."""
    if isinstance(config, str):
        return "float32" if config.removeprefix("mixed_") in _HALVES else config
    if isinstance(config, dict):
        return {key: _plain(value) for key, value in config.items() if key != "compile_config"}
    return [_plain(value) for value in config] if isinstance(config, list | tuple) else config
