"""An ensemble of Keras members as a TensorFlow.js graph model: for browsers and Node.js.

TensorFlow.js's own converter does not install beside this TensorFlow. What it writes is small: the frozen graph as JSON
and its constants in one file (tfjs-converter's `GraphModel`, and the weights manifest of tfjs-core's `io`).
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

VARIANTS = ("float32", "float16", "uint8")
"""Weights in 32, 16 or 8 bits; TensorFlow.js computes in 32 bits with all of them."""
MODEL, WEIGHTS = "model.json", "group1-shard1of1.bin"
_FEW = 16
"""Constants of fewer numbers, such as an epsilon, keep their 32 bits."""


def save_tfjs(model: keras.Model, variant: str, folder: Path) -> None:
    """Writes `MODEL` and `WEIGHTS`.

    Args:
        model: Model of one float32 input and one output, as `kep.delivery.export.edge.of_features` gives.
        variant: One of `VARIANTS`.
        folder: For both files; it is made.
    """
    (given,), ((output, _),) = model.inputs, model.output.items()
    spec = tf.TensorSpec(given.shape, tf.float32, name=given.name)
    # Variables become constants; what is left of them has no name but its number, hence the signature.
    frozen = convert_variables_to_constants_v2(
        tf.function(lambda rows: model(rows, training=False)[output]).get_concrete_function(spec)
    )
    graph, weights, content = frozen.graph.as_graph_def(), [], []
    for node in graph.node:
        if node.op != "Const":
            continue
        value = tf.make_ndarray(node.attr["value"].tensor)
        if value.dtype == np.int64:  # which JavaScript lacks
            value = value.astype(np.int32)
            node.attr["dtype"].type = tf.int32.as_datatype_enum
        entry, stored = _stored(value, variant)
        weights.append({"name": node.name, "shape": list(value.shape), "dtype": value.dtype.name} | entry)
        content.append(stored.tobytes())
        node.attr["value"].tensor.Clear()
        node.attr["value"].tensor.dtype = node.attr["dtype"].type
    signature = {
        "inputs": {given.name: _described(frozen.inputs[0])},
        "outputs": {output: _described(frozen.outputs[0])},
    }
    folder.mkdir(parents=True)
    whole = {
        "format": "graph-model",
        "generatedBy": tf.__version__,
        "convertedBy": "keras-ensemble-pipelines",
        "signature": signature,
        "modelTopology": MessageToDict(graph),
        "weightsManifest": [{"paths": [WEIGHTS], "weights": weights}],
    }
    (folder / MODEL).write_text(json.dumps(whole), encoding="utf-8")
    (folder / WEIGHTS).write_bytes(b"".join(content))


def _stored(value: np.ndarray, variant: str) -> tuple[dict[str, Any], np.ndarray]:
    """A constant as the file holds it, and what the manifest says of that."""
    if variant == "float32" or value.dtype != np.float32 or value.size < _FEW:
        return {}, value
    how = {"dtype": variant, "original_dtype": "float32"}
    if variant == "float16":
        return {"quantization": how}, value.astype(np.float16)
    low, scale = float(value.min()), float(np.ptp(value)) / 255 or 1.0
    return {"quantization": how | {"min": low, "scale": scale}}, np.round((value - low) / scale).astype(np.uint8)


def _described(tensor: tf.Tensor) -> dict[str, Any]:
    sizes = [{"size": str(-1 if size is None else size)} for size in tensor.shape]
    return {"name": tensor.name, "dtype": "DT_FLOAT", "tensorShape": {"dim": sizes}}
