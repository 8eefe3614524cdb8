"""An ensemble of Keras members as one SavedModel: raw columns in, probabilities out, without this package.

Preprocessing, members and weights are inside. The batch dimension is free.
"""

import keyword
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kep.core.errors import UserError
from kep.core.files import new_folder
from kep.data.columns import missing_texts
from kep.data.schema import Column, Manifest
from kep.data.values import RULES, canonical
from kep.delivery.export.runtimes import predicted
from kep.models.ensemble import Ensemble
from kep.stats.metrics import FLOOR

ROWS = 256
"""Rows that the exported model and the ensemble are compared on."""


class Served(tf.Module):
    """Content of the SavedModel.

    Args:
        ensemble: All of its members are Keras networks.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__(name="ensemble")
        self._manifest, self._pooling, self._calibration = ensemble.manifest, ensemble.pooling, ensemble.calibration
        self._weights = [member.weight for member in ensemble.members]
        self.members = [model for _, model in ensemble.models]
        self.tables = {column.name: _codes(column) for column in self._manifest.categorical}

    def serve(self, **columns: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts.

        Args:
            **columns: By `input_names`: float32 [n] of numeric and boolean columns (NaN where missing, 0 and 1), string
                [n] of categorical ones (empty where missing), uint8 [n, height, width, channels] of images.

        Returns:
            `members` [n, members, classes] or [n, members]; `probabilities` [n, classes] and `label` [n], or
            `prediction` [n].
        """
        names = input_names(self._manifest)
        label, inputs = self._manifest.label, self._encoded({name: columns[given] for name, given in names.items()})
        outputs = [tf.cast(model(inputs, training=False), tf.float64) for model in self.members]
        if label.task == "regression":
            members = tf.stack([output[:, 0] * (label.std or 1) + label.mean for output in outputs], axis=1)
            return {"prediction": tf.linalg.matvec(members, tf.constant(self._weights, tf.float64)), "members": members}
        outputs = [tf.concat([1 - o, o], axis=1) if o.shape[1] == 1 else o for o in outputs]
        pooled = self._calibrated(self._pool(outputs))
        names = tf.constant([str(name) for name in label.classes or []])
        positive = None if label.threshold is None else tf.cast(pooled[:, 1] >= label.threshold, tf.int64)
        best = tf.gather(names, tf.argmax(pooled, axis=1) if positive is None else positive)
        return {"probabilities": pooled, "label": best, "members": tf.stack(outputs, axis=1)}

    def _encoded(self, columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The members' inputs, as `kep.models.encode.inputs_of` gives them."""
        if self._manifest.image is not None:
            return {"image": columns[self._manifest.image.name]}
        numeric = [columns[column.name] for column in self._manifest.numeric]
        codes = [self.tables[name].lookup(_canonical(columns[name])) for name in self.tables]
        parts = {"numeric": numeric, "categorical": codes}
        return {name: tf.stack(part, axis=1) for name, part in parts.items() if part}

    def _pool(self, outputs: list[tf.Tensor]) -> tf.Tensor:
        """As `kep.stats.pooling.pool`."""
        pairs = list(zip(self._weights, outputs, strict=True))
        if self._pooling == "arithmetic":
            return tf.add_n([weight * output for weight, output in pairs])
        return tf.nn.softmax(tf.add_n([weight * tf.math.log(tf.maximum(output, FLOOR)) for weight, output in pairs]))

    def _calibrated(self, pooled: tf.Tensor) -> tf.Tensor:
        """As `kep.stats.calibration.Calibration.apply`, of a temperature."""
        if self._calibration is None:
            return pooled
        return tf.nn.softmax(tf.math.log(tf.maximum(pooled, FLOOR)) / self._calibration.temperature)


def check_calibration(ensemble: Ensemble, format: str) -> None:
    """Refuse a calibration that no exported model holds.

    Raises:
        UserError: It is isotonic.
    """
    if ensemble.calibration is not None and ensemble.calibration.method == "isotonic":
        raise UserError(
            f"--format {format}: the ensemble is calibrated by an isotonic map, and an exported model holds a "
            "temperature at most; serve it with `kep serve`, or run again with ensemble.calibration: temperature"
        )


def _canonical(texts: tf.Tensor) -> tf.Tensor:
    """As `kep.data.values.canonical`, but for numbers with an exponent and times with an offset."""
    texts = tf.strings.strip(texts)
    for pattern, replacement in RULES:
        texts = tf.strings.regex_replace(texts, pattern, replacement)
    return texts


def _codes(column: Column) -> tf.lookup.StaticHashTable:
    """From a category's text to its code: 0 missing, 1 unknown, 2 + i in the vocabulary."""
    codes = dict.fromkeys(map(canonical, missing_texts(column.reading)), 0)
    for place, text in enumerate(column.vocabulary or []):
        codes.setdefault(canonical(text), 2 + place)
    pairs = tf.lookup.KeyValueTensorInitializer(list(codes), list(codes.values()), tf.string, tf.int32)
    return tf.lookup.StaticHashTable(pairs, default_value=1)


def input_names(manifest: Manifest) -> dict[str, str]:
    """Return the SavedModel's name of each column: TensorFlow takes letters, digits and underscores (`mean_radius`).

    Raises:
        UserError: Two columns would get one name.
    """
    names: dict[str, str] = {}
    for column in manifest.columns:
        name = "".join(letter if letter.isalnum() else "_" for letter in column.name)
        name = name if name[0].isalpha() else f"arg_{name}"
        name = f"{name}_" if keyword.iskeyword(name) else name
        if name in names.values():
            first = next(other for other, given in names.items() if given == name)
            both = f'"{first}" and "{column.name}"'
            raise UserError(f"--format savedmodel: the columns {both} would both be called {name}; rename one")
        names[column.name] = name
    return names


def signature(manifest: Manifest) -> dict[str, tf.TensorSpec]:
    """Shape and type of each raw column, by `input_names`."""
    names = input_names(manifest)
    if manifest.image is not None and manifest.image.shape is not None:
        return {names[manifest.image.name]: tf.TensorSpec([None, *manifest.image.shape], tf.uint8)}
    kinds = {"categorical": tf.string}
    return {
        names[column.name]: tf.TensorSpec([None], kinds.get(column.kind, tf.float32)) for column in manifest.columns
    }


def savedmodel(ensemble: Ensemble, target: Path) -> float:
    """Writes the SavedModel, reads it in a fresh process without this package, and compares.

    Returns:
        Largest absolute difference of its predictions from the ensemble's, on rows drawn from the manifest's statistics
        with missing values and unknown categories among them.

    Raises:
        UserError: A member is no Keras network.
    """
    pairs = zip(ensemble.members, ensemble.models, strict=True)
    others = [member.id for member, (_, model) in pairs if not isinstance(model, keras.Model)]
    if others:
        raise UserError(
            f"--format savedmodel: {', '.join(others)} can't be in a SavedModel, which holds Keras networks; search "
            "without trees, or use the ensemble's folder as it is"
        )
    rows = drawn(ensemble.manifest)
    with new_folder(target) as folder:
        write(ensemble, folder)
        found = predicted("savedmodel", folder, tensors(ensemble.manifest, rows), {"output": output(ensemble.manifest)})
        return float(np.abs(found.predictions - ensemble.predict(rows)).max())


def write(ensemble: Ensemble, folder: Path) -> None:
    """Writes the SavedModel of an ensemble of Keras networks into `folder`."""
    served = Served(ensemble)
    concrete = tf.function(served.serve).get_concrete_function(**signature(ensemble.manifest))
    tf.saved_model.save(served, folder, signatures={"serving_default": concrete})


def output(manifest: Manifest) -> str:
    """Return the name of an exported model's predictions."""
    return "prediction" if manifest.label.classes is None else "probabilities"


def drawn(manifest: Manifest) -> dict[str, Any]:
    """`ROWS` rows of raw features such as the train rows had, and such as they had not."""
    rng = np.random.default_rng(0)
    if manifest.image is not None and manifest.image.shape is not None:
        return {manifest.image.name: rng.integers(0, 256, (ROWS, *manifest.image.shape), dtype=np.uint8)}
    table: dict[str, Any] = {}
    for column in manifest.columns:
        if column.kind == "categorical":
            texts = [*(column.vocabulary or []), "\N{REPLACEMENT CHARACTER} never seen", ""]
            choices: np.ndarray = np.array(texts, object)
            values = rng.choice(choices, ROWS).tolist()
            table[column.name] = [value or None for value in values]
            continue
        mean, std = column.statistics
        numbers = rng.normal(mean, std or 1, ROWS).astype(np.float32)
        gaps = rng.random(ROWS) < 0.1
        if column.kind == "boolean":
            table[column.name] = [None if gap else bool(n > mean) for n, gap in zip(numbers, gaps, strict=True)]
        else:
            table[column.name] = [None if gap else float(n) for n, gap in zip(numbers, gaps, strict=True)]
    return table


def tensors(manifest: Manifest, rows: dict[str, Any]) -> dict[str, np.ndarray]:
    """Raw features as arrays that the signature takes; texts as NumPy's own."""
    names = input_names(manifest)
    if manifest.image is not None:
        return {names[manifest.image.name]: rows[manifest.image.name]}
    arrays = {}
    for column in manifest.columns:
        if column.kind == "categorical":
            arrays[names[column.name]] = np.array([value or "" for value in rows[column.name]], str)
        else:
            arrays[names[column.name]] = np.array([np.nan if v is None else v for v in rows[column.name]], np.float32)
    return arrays
