"""Layers that Keras lacks, of plain operations: exports spell them out, so that no other program has to know them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


def mish(values: Any) -> Any:
    """Return x * tanh(softplus(x)) (Misra 2020), by operations that take symbolic tensors, too."""
    return values * ops.tanh(ops.softplus(values))


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"selu": ops.selu, "mish": mish}


def concatenated(parts: Sequence[Any]) -> Any:
    """Return one tensor of some, side by side."""
    return keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]


class Spelled(keras.layers.Layer):
    """Layer that can be spelled out as operations of Keras, with its weights as constants."""

    def compute(self, inputs: Any, *weights: Any) -> Any:
        """Return the outputs for the weights, in the order in which they were made."""
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        return self.compute(inputs, *self.weights)

    def spelled(self, inputs: Any) -> Any:
        """Return the outputs of inference from symbolic inputs, through operations of Keras alone."""
        return self.compute(inputs, *[np.asarray(weight) for weight in self.weights])


@keras.saving.register_keras_serializable("kep")
class Scale(Spelled):
    """Multiplies each feature by a number that is learned; 1 at first.

    Input and output: float [n, features].
    """

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def compute(self, inputs: Any, *weights: Any) -> Any:
        return inputs * weights[0]


@keras.saving.register_keras_serializable("kep")
class Blend(Spelled):
    """Parametric activation: x + (f(x) - x) * share, where each unit learns its share; 1 at first.

    Holzmüller et al. 2024, "Better by default". Input and output: float [n, units].

    Args:
        function: Name of f in `ACTIVATIONS`.
    """

    def __init__(self, function: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.blend = self.add_weight(shape=(shape[-1],), initializer="ones", name="blend")

    def compute(self, inputs: Any, *weights: Any) -> Any:
        return inputs + (ACTIVATIONS[self.function](inputs) - inputs) * weights[0]

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        return config | {"function": self.function}


@keras.saving.register_keras_serializable("kep")
class JoinedEmbedding(Spelled):
    """Embeds the codes of several categories at once: one table holds the rows of each category after the other's.

    A network with a layer for each category does the same, and takes seconds longer to compile where there are many.
    Input: int [n, columns]. Output: float [n, columns * width], column after column.

    Args:
        codes: Number of codes of each column.
        width: Outputs of each column.
        embeddings_initializer: Of the first weights, as Keras's Embedding has it.
    """

    def __init__(
        self, codes: Sequence[int], width: int, embeddings_initializer: Any = "uniform", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.codes, self.width = list(codes), width
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        # Subtracted: Keras would add them as a bias, which TensorFlow Lite can't do with integers.
        self.shifts = -np.cumsum([0, *self.codes[:-1]]).astype(np.int32)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.embeddings = self.add_weight(
            shape=(sum(self.codes), self.width), initializer=self.embeddings_initializer, name="embeddings"
        )

    def compute(self, inputs: Any, *weights: Any) -> Any:
        rows = ops.take(weights[0], inputs - self.shifts, axis=0)
        return ops.reshape(rows, (-1, len(self.codes) * self.width))

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        first = keras.initializers.serialize(self.embeddings_initializer)
        return config | {"codes": self.codes, "width": self.width, "embeddings_initializer": first}


@keras.saving.register_keras_serializable("kep")
class PeriodicEmbedding(Spelled):
    """Embeds each number on its own: itself, and linear functions of cosines of frequencies that are learned (PBLD).

    Holzmüller et al. 2024, "Better by default", after Gorishniy et al. 2022, "On embeddings for numerical features".
    Input: float [n, columns]. Output: float32 [n, columns * width], the linear functions before the numbers.

    Args:
        waves: Cosines of each number.
        width: Outputs of each number.
    """

    def __init__(self, waves: int = 16, width: int = 4, **kwargs: Any) -> None:
        # Half precision would make steps of a phase.
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.waves, self.width = waves, width

    def build(self, shape: tuple[int | None, ...]) -> None:
        columns, waves, mixed = shape[-1], self.waves, self.width - 1
        bound = 1 / math.sqrt(waves)
        self.frequency = self.add_weight(shape=(columns, 1, waves), initializer=_normal(), name="frequency")
        self.phase = self.add_weight(shape=(columns, 1, waves), initializer=_uniform(math.pi), name="phase")
        self.mixing = self.add_weight(shape=(columns, waves, mixed), initializer=_uniform(bound), name="mixing")
        self.offset = self.add_weight(shape=(columns, 1, mixed), initializer=_uniform(bound), name="offset")

    def compute(self, inputs: Any, *weights: Any) -> Any:
        frequency, phase, mixing, offset = weights
        numbers = ops.expand_dims(ops.transpose(inputs), -1)  # [columns, n, 1]
        # Tensors first: NumPy's own multiplication takes no symbolic ones.
        waves = ops.cos(numbers * frequency * (2 * math.pi) + phase)
        mixed = ops.transpose(ops.matmul(waves, mixing) + offset, (1, 0, 2))
        return ops.concatenate([ops.reshape(mixed, (-1, mixed.shape[1] * mixed.shape[2])), inputs], axis=1)

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        return config | {"waves": self.waves, "width": self.width}


@keras.saving.register_keras_serializable("kep")
class FadingDropout(Spelled):
    """Dropout whose rate depends on how far the training is.

    Input and output: float [n, units]. Inference leaves them as they are.

    Args:
        rate: Highest share of the numbers that is dropped, to the nearest of 256.

    Attributes:
        fading: Returns the factor of the rate at this step of the training; None for 1.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.fading: Callable[[], Any] | None = None
        self._random = keras.random.SeedGenerator()

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        kept = ops.round(256 * (1 - self.rate * (1.0 if self.fading is None else self.fading())))
        # A byte decides: random numbers are what dropout costs, and XLA has none but slow ones of floats on a CPU.
        rows, width = ops.shape(inputs)[0], inputs.shape[1]
        drawn = keras.random.randint((rows, -(-width // 4)), -(2**31), 2**31 - 1, seed=self._random)
        left = ops.cast(ops.view(drawn, "uint8"), "float32")[:, :width] < kept
        return inputs * ops.cast(ops.where(left, 256 / kept, 0.0), inputs.dtype)

    def spelled(self, inputs: Any) -> Any:
        return inputs

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        return config | {"rate": self.rate}


def spelled_out(network: keras.Model) -> keras.Model:
    """Return a network that predicts the same by Keras's own layers and operations; it shares the others' weights."""
    if not any(isinstance(layer, Spelled) for layer in network.layers):
        return network

    def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(layer, Spelled):
            return layer(*args, **kwargs)
        given = keras.Input(args[0].shape[1:], dtype=args[0].dtype)
        made = layer.spelled(given)
        # A model of its own: new operations may have names that those of the network, read from a file, have.
        return args[0] if made is given else keras.Model(given, made, name=layer.name)(args[0])

    return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=called)


def _normal() -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=1.0)


def _uniform(bound: float) -> keras.initializers.Initializer:
    return keras.initializers.RandomUniform(-bound, bound)
