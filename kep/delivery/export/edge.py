"""An ensemble of Keras members as one Keras model, and that as TensorFlow Lite: for phones, browsers and small boards.

Both hold members, weights, pooling and temperature. A `.keras` file takes raw numbers and the codes of categories,
which any backend of Keras computes with. An integer can't say that a number is missing (NaN), and one scale for columns
of unlike size would leave nothing of the small ones. So TensorFlow Lite takes standardised features of a table, by the
recipe of `features`; images it takes as pixels.
"""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kep.core.errors import UserError
from kep.data.records import Rows, blank_row
from kep.data.values import canonical
from kep.models import keras_file
from kep.models.encode import Encode, EncodeByName, inputs_of
from kep.models.ensemble import Ensemble
from kep.models.wrapped import encode_of, predicting
from kep.stats.metrics import FLOOR

VARIANTS = ("float32", "float16", "dynamic", "int8")
"""Variants of TensorFlow Lite: weights in 32 or 16 bits; weights in 8 bits with float activations; all in 8 bits."""
REPRESENTATIVE = 200
"""Train rows that set the ranges of 8 bit activations."""


def whole(ensemble: Ensemble) -> keras.Model:
    """The ensemble as one Keras model of raw numbers, codes of categories, or pixels.

    Returns:
        A model with the inputs `numeric`, float32 [n, columns] (NaN where missing), and `categorical`, int32 [n,
        columns] (0 missing, 1 outside the vocabulary, 2 + its index). For images its input is `image`, uint8 [n,
        height, width, channels]. Its output is `probabilities` [n, classes] or `prediction` [n, 1].
    """
    arrays = inputs_of(blank_row(ensemble.manifest))
    inputs = {name: keras.Input(array.shape[1:], dtype=array.dtype.name, name=name) for name, array in arrays.items()}
    plain = _encoded(ensemble, inputs)
    return keras.Model(inputs, _pooled(ensemble, plain, lambda encode: encode.call(inputs)), name="ensemble")


def of_features(ensemble: Ensemble) -> keras.Model:
    """The ensemble as one Keras model of one float32 input: `features` [n, features], or pixels of `image`.

    Raises:
        UserError: A member takes texts.
    """
    for (_, model), member in zip(ensemble.models, ensemble.members, strict=True):
        if encode_of(model).texts:
            raise UserError(
                f"{member.id} takes texts, which TensorFlow Lite and TensorFlow.js do not have; use --format savedmodel"
            )
    blank = blank_row(ensemble.manifest)
    if blank.image is not None:
        given = keras.Input(blank.image.shape[1:], dtype="float32", name="image")
        plain = _encoded(ensemble, {"image": given})
        pooled = _pooled(ensemble, plain, lambda encode: encode.call({"image": given}))
        return keras.Model(given, pooled, name="ensemble")
    given = keras.Input(encoded(ensemble, blank).shape[1:], dtype="float32", name="features")
    pooled = _pooled(ensemble, given, lambda encode: encode.of_features(given))
    return keras.Model(given, pooled, name="ensemble")


def encoded(ensemble: Ensemble, rows: Rows) -> np.ndarray:
    """What `of_features` takes: float32 [n, features], or pixels float32 [n, height, width, channels]."""
    if rows.image is not None:
        return rows.image.astype(np.float32)
    return np.asarray(Encode(**_steps(ensemble))(inputs_of(rows)))


def features(ensemble: Ensemble) -> list[dict[str, Any]]:
    """Describe how each number of `features` is made of a raw column, in order.

    Returns:
        With `column` and `kind`. `number` is z = (value - mean) / std; where it has a `bound`, it is
        z / sqrt(1 + (z / bound)^2). It is 0 where missing. The others are 1 or 0: `missing` is 1 where there is no
        value, `category` where it is `value`, `other` for any value that no category has.
        Texts are stripped and brought into one form by `kep.data.values.RULES` first. Empty for images.
    """
    manifest = ensemble.manifest
    if manifest.image is not None:
        return []
    steps, recipe = _steps(ensemble), list[dict[str, Any]]()
    bound = {} if steps["bound"] is None else {"bound": steps["bound"]}
    for column, mean, std in zip(manifest.numeric, steps["mean"], steps["std"], strict=True):
        recipe.append({"column": column.name, "kind": "number", "mean": mean, "std": std} | bound)
    recipe += [{"column": manifest.numeric[place].name, "kind": "missing"} for place in steps["indicators"]]
    for column in manifest.categorical:
        recipe += [{"column": column.name, "kind": kind} for kind in ("missing", "other")]
        forms = map(canonical, column.vocabulary or [])
        recipe += [{"column": column.name, "kind": "category", "value": form} for form in forms]
    return recipe


def tflite(model: keras.Model, variant: str, representative: np.ndarray) -> bytes:
    """Converts what `of_features` gives.

    Args:
        model: Model of one input.
        variant: One of `VARIANTS`.
        representative: Rows that the model takes, float32 [n, ...]; int8 sets its ranges by them.

    Raises:
        UserError: TensorFlow Lite can't hold the model.
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if variant != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if variant == "int8":

        def rows() -> Iterator[list[np.ndarray]]:
            for row in representative:
                yield [row[None]]

        converter.representative_dataset = rows
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        with redirect_stdout(io.StringIO()):  # on which Keras describes what it traced
            converted: bytes = converter.convert()
            return converted
    except Exception as error:  # the converter raises what it happens on: RuntimeError, ValueError, its own
        operations = sorted(set(re.findall(r"\btf\.([A-Z]\w+)", str(error))))
        reason = f"it has no {', '.join(operations)}" if operations else " ".join(str(error).split())[:200]
        raise UserError(
            f"--format tflite: TensorFlow Lite can't hold this ensemble as {variant}: {reason}; use --format savedmodel"
        ) from error


def save_keras(model: keras.Model, path: Path) -> None:
    """Writes a .keras file that needs nothing of this package.

    Raises:
        UserError: It would need a user's own layers.
    """
    keras_file.save(model, path)
    for layer in model._flatten_layers(include_self=False):
        if not type(layer).__module__.startswith("keras."):
            raise UserError(
                f"--format keras: {type(layer).__name__} is a layer of your own, which Keras can't load without your "
                "code; use --format savedmodel"
            )


def _encoded(ensemble: Ensemble, inputs: dict[str, Any]) -> keras.KerasTensor:
    # Its call on symbolic inputs leaves Keras's own operations: no layer that another program would have to know.
    return Encode(**_steps(ensemble)).call(inputs)


def _steps(ensemble: Ensemble) -> dict[str, Any]:
    """Return the arguments of `Encode` that the members were trained with; members of one run share them."""
    return encode_of(ensemble.models[0][1]).steps


def _pooled(
    ensemble: Ensemble, plain: keras.KerasTensor, by_name: Callable[[EncodeByName], Any]
) -> dict[str, keras.KerasTensor]:
    """As `kep.models.ensemble.Ensemble.combine`, of the members' networks.

    Args:
        ensemble: The ensemble.
        plain: All encoded features, which most networks take.
        by_name: Returns those that a network asks for by name.
    """
    label, outputs = ensemble.manifest.label, []
    for place, (_, model) in enumerate(ensemble.models):
        encode = encode_of(model)
        given = by_name(encode) if isinstance(encode, EncodeByName) else plain
        # Names are unique in a model, and members of one family share theirs.
        outputs.append(predicting(model, given, f"member_{place}"))
    weights = [member.weight for member in ensemble.members]
    if label.classes is None:
        total = sum(weight * output for weight, output in zip(weights, outputs, strict=True))
        return {"prediction": total * (label.std or 1.0) + label.mean}
    outputs = [ops.concatenate([1 - o, o], axis=1) if o.shape[1] == 1 else o for o in outputs]
    return {"probabilities": _calibrated(ensemble, _averaged(ensemble, weights, outputs))}


def _averaged(ensemble: Ensemble, weights: list[float], outputs: list[keras.KerasTensor]) -> keras.KerasTensor:
    if len(outputs) == 1:
        return outputs[0]
    if ensemble.pooling == "geometric":
        outputs = [ops.log(ops.maximum(output, FLOOR)) for output in outputs]
    total = sum(weight * output for weight, output in zip(weights, outputs, strict=True))
    return ops.softmax(total) if ensemble.pooling == "geometric" else total


def _calibrated(ensemble: Ensemble, pooled: keras.KerasTensor) -> keras.KerasTensor:
    """As `kep.stats.calibration.Calibration.apply`, of a temperature."""
    if ensemble.calibration is None:
        return pooled
    return ops.softmax(ops.log(ops.maximum(pooled, FLOOR)) / ensemble.calibration.temperature)
