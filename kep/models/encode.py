"""The first layer of every Keras member: raw columns in, standardised numbers out.

It is trained on nothing: its statistics come from the train rows, by way of the manifest, and are saved with the model.
"""

from itertools import pairwise
from typing import Any

import keras
import numpy as np
from keras import ops

from kep.data.records import Rows
from kep.data.schema import Column, Manifest
from kep.data.texts import place_of

BOUND = 8.0
"""Size that an encoded number approaches and never reaches, in standard deviations of a normal distribution."""
_FARTHEST = 1e15
"""Size of a scaled number beyond which its square would be no float32."""
_SPREAD = 1.6832
"""Distance between the second and the eighth decile of a normal distribution, in standard deviations."""


@keras.saving.register_keras_serializable("kep")
class Encode(keras.layers.Layer):
    """Bring numbers and pixels to one scale, impute missing numbers with the centre, one-hot encode category codes.

    A number becomes z = (value - mean) / std, and then z / sqrt(1 + (z / bound)^2). This is nearly z for what is
    common. A row far outside the train rows can't move a network without limit (robust scaling and smooth clipping:
    Holzmüller et al. 2024, "Better by default").
    A column that has missing values in the train rows gets one more output, 1 where the value is missing.
    Input: a dictionary with `numeric` [n, columns] and/or `categorical` [n, columns], or `image` [n, h, w, c].
    Output: float32 [n, features], or [n, h, w, c] for images.

    Args:
        mean, std: Centre and scale of the train rows; per numeric column, or per channel.
        indicators: Indices of the numeric columns that get a missing-value output.
        sizes: Number of codes of each categorical column.
        bound: Size that a number approaches; None for no limit, as in models of earlier versions.
    """

    def __init__(
        self,
        mean: list[float],
        std: list[float],
        indicators: list[int],
        sizes: list[int],
        bound: float | None = None,
        **kwargs: Any,
    ) -> None:
        # Half precision has 3 digits: a year, cast before the mean is taken off, would be another year.
        super().__init__(autocast=False, **kwargs)
        self.mean, self.std = list(mean), list(std)
        self.texts: dict[str, list[str]] = {}  # all that this one gives are numbers
        self.indicators, self.sizes = list(indicators), list(sizes)
        self.bound = bound

    @property
    def steps(self) -> dict[str, Any]:
        """The arguments that make an equal `Encode`."""
        of_columns = {"mean": self.mean, "std": self.std, "indicators": self.indicators, "sizes": self.sizes}
        return of_columns | {"bound": self.bound}

    def call(self, inputs: dict[str, Any]) -> Any:
        if "image" in inputs:
            return self._pixels(inputs["image"])
        parts = self._numbers(inputs["numeric"]) if self.mean else []
        parts += [ops.one_hot(inputs["categorical"][:, i], size) for i, size in enumerate(self.sizes)]
        return _joined(parts)

    def _pixels(self, image: Any) -> Any:
        return (ops.cast(image, "float32") - np.asarray(self.mean, np.float32)) * self._scale

    def _numbers(self, columns: Any) -> list[Any]:
        """Return the standardised numbers, and the missing-value outputs where there are some."""
        numeric = ops.cast(columns, "float32")
        missing = ops.isnan(numeric)
        scaled = (numeric - np.asarray(self.mean, np.float32)) * self._scale
        if self.bound is not None:
            scaled = ops.clip(scaled, -_FARTHEST, _FARTHEST)
            scaled = scaled / ops.sqrt(1.0 + ops.square(scaled / self.bound))
        parts = [ops.where(missing, 0.0, scaled)]
        if self.indicators:
            parts.append(ops.cast(ops.take(missing, self.indicators, axis=1), "float32"))
        return parts

    @property
    def _scale(self) -> np.ndarray:
        return 1 / np.asarray(self.std, np.float32)

    def compute_output_shape(self, shapes: dict[str, Any]) -> tuple[int | None, ...]:
        if "image" in shapes:
            return tuple(shapes["image"])
        return (None, len(self.mean) + len(self.indicators) + sum(self.sizes))

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        return config | self.steps


@keras.saving.register_keras_serializable("kep")
class EncodeByName(Encode):
    """Gives encoded features by name, as the inputs of a network ask for them.

    Output: a dictionary by input, or its one array. Numbers and pixels are float32 [n, …], codes of categories int32
        [n, columns], and categories as texts [n, 1].

    Args:
        parts: By input, the group and the place of one of its columns, or None for all of them.
        alone: Whether the output is the one array.
        texts: By input that takes texts, the vocabulary of its column.
    """

    def __init__(
        self, parts: dict[str, list[Any]], alone: bool, texts: dict[str, list[str]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.parts = {name: list(part) for name, part in parts.items()}
        self.alone = alone
        self.texts = {name: list(one) for name, one in (texts or {}).items()}
        # Codes are as Keras has them, too: 0 is masked, 1 unknown, 2 + i the text i.
        self._lookups = {
            name: keras.layers.StringLookup(vocabulary=one, mask_token="", invert=True)
            for name, one in self.texts.items()
        }

    def build(self, shapes: Any) -> None:
        for lookup in self._lookups.values():
            lookup.build((None, 1))

    def call(self, inputs: dict[str, Any]) -> Any:
        groups: dict[str, Any] = {}
        if "image" in inputs:
            groups["image"] = self._pixels(inputs["image"])
        if "numeric" in inputs:
            groups["numeric"] = _joined(self._numbers(inputs["numeric"]))
        if "categorical" in inputs:
            groups["categorical"] = inputs["categorical"]
        return self._named(groups)

    def of_features(self, features: Any) -> Any:
        """Return the same from what `Encode` gives for a table, float32 [n, features]."""
        width = len(self.mean) + len(self.indicators)
        ends = np.cumsum([width, *self.sizes]).tolist()
        groups = {"numeric": features[:, :width]}
        if self.sizes:
            # Of integers: what finds the largest float is made of operations that TensorFlow Lite lacks.
            ones = ops.cast(features > 0.5, "int32")
            codes = [ops.argmax(ones[:, start:stop], axis=1) for start, stop in pairwise(ends)]
            groups["categorical"] = ops.cast(ops.stack(codes, axis=1), "int32")
        return self._named(groups)

    def _named(self, groups: dict[str, Any]) -> Any:
        made = {}
        for name, (group, place) in self.parts.items():
            made[name] = groups[group] if place is None else groups[group][:, place : place + 1]
            if name in self.texts:
                made[name] = self._lookups[name](made[name])
        return next(iter(made.values())) if self.alone else made

    def compute_output_spec(self, inputs: dict[str, Any]) -> Any:
        # By tracing: a layer that tells its shapes alone would have one type for all of them.
        return keras.Operation.compute_output_spec(self, inputs)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"parts": self.parts, "alone": self.alone, "texts": self.texts}


def _joined(parts: list[Any]) -> Any:
    return ops.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]


def encoding(manifest: Manifest) -> dict[str, Any]:
    """Return the arguments of `Encode` for the records of `manifest`."""
    if (image := manifest.image) is not None and isinstance(image.mean, list) and isinstance(image.std, list):
        return {"mean": image.mean, "std": _divisors(image.std), "indicators": [], "sizes": []}
    scales = [_centre_and_scale(column) for column in manifest.numeric]
    return {
        "mean": [centre for centre, _ in scales],
        "std": _divisors([scale for _, scale in scales]),
        "indicators": [i for i, column in enumerate(manifest.numeric) if column.missing],
        "sizes": [len(column.vocabulary or []) + 2 for column in manifest.categorical],
        "bound": BOUND,
    }


def _centre_and_scale(column: Column) -> tuple[float, float]:
    """Return a number's centre and scale: the median, and a standard deviation that outliers do not move.

    They are mean and standard deviation where no deciles are known, and where six in ten rows have one value.
    """
    # A hashed text is of length 1 as a whole: scaled one by one, its rare words would outweigh every other column.
    if place_of(column) is not None:
        return 0.0, 1.0
    if not column.edges or not column.counts:
        return column.statistics
    reached = np.cumsum(column.counts)
    low, median, high = np.searchsorted(reached, np.array([0.2, 0.5, 0.8]) * reached[-1])
    if high >= len(column.edges):
        return column.statistics
    # A value that many rows have ends one bin, and the number just below it ends the bin before.
    if column.edges[high] <= np.nextafter(np.float32(column.edges[low]), np.float32(np.inf)):
        return column.statistics
    return column.edges[median], (column.edges[high] - column.edges[low]) / _SPREAD


def inputs_of(rows: Rows) -> dict[str, np.ndarray]:
    """The arrays of `rows` that `Encode` takes."""
    if rows.image is not None:
        return {"image": rows.image}
    arrays = {"numeric": rows.numeric, "categorical": rows.categorical}
    return {name: array for name, array in arrays.items() if array.shape[1]}


def _divisors(std: list[Any]) -> list[float]:
    """A column that does not vary over the train rows is left unscaled."""
    return [value or 1.0 for value in std]
