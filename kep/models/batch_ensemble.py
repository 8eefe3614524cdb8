"""Layers of a network that holds many: the kernels are shared, and each member scales what goes in and out of them.

Wen, Tran & Ba 2020, "BatchEnsemble", in the form of TabM (Gorishniy, Kotelnikov & Babenko 2025, "TabM: Advancing
tabular deep learning with parameter-efficient ensembling").
"""

import math
from typing import Any

import keras
from keras import ops

from kep.models.layers import Spelled


@keras.saving.register_keras_serializable("kep")
class RandomSigns(keras.initializers.RandomUniform):
    """Draws -1 or 1."""

    def __init__(self, seed: Any = None) -> None:
        super().__init__(-1.0, 1.0, seed)

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        return ops.where(super().__call__(shape, dtype) < 0, -1.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {"seed": super().get_config()["seed"]}


@keras.saving.register_keras_serializable("kep")
class SharedDense(Spelled):
    """Dense layer of several members: s * (W (r * x)) + b, where W is shared, and r, s and b are of each member.

    Input: float [n, features], which all members see, or [n, members, features]. Output: float [n, members, units].

    Args:
        members: Number of members.
        units: Outputs of each.
        signs: Whether each r is drawn from -1 and 1, so that members differ from the start; 1 otherwise.
    """

    def __init__(self, members: int, units: int, signs: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.members, self.units, self.signs = members, units, signs

    def build(self, shape: tuple[int | None, ...]) -> None:
        width = int(shape[-1] or 0)
        drawn = keras.initializers.RandomUniform(-1 / math.sqrt(width), 1 / math.sqrt(width))
        first = RandomSigns() if self.signs else "ones"
        self.before = self.add_weight(shape=(self.members, width), initializer=first, name="before")
        self.kernel = self.add_weight(shape=(width, self.units), initializer=drawn, name="kernel")
        self.after = self.add_weight(shape=(self.members, self.units), initializer="ones", name="after")
        self.bias = self.add_weight(shape=(self.members, self.units), initializer="zeros", name="bias")

    def compute(self, inputs: Any, *weights: Any) -> Any:
        before, kernel, after, bias = weights
        if len(inputs.shape) == 2:
            inputs = ops.expand_dims(inputs, 1)
        # As one product: a product for each row of the batch would take several times as long.
        rows = ops.reshape(inputs * before, (-1, kernel.shape[0]))
        return ops.reshape(ops.matmul(rows, kernel), (-1, *after.shape)) * after + bias

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        return config | {"members": self.members, "units": self.units, "signs": self.signs}


@keras.saving.register_keras_serializable("kep")
class MemberOutputs(Spelled):
    """Last layer: each member has a dense layer of its own, and their mean is the output.

    While training the output is that of each member, [n, members, outputs], so that each has a loss of its own.
    Input: float [n, members, features]. Output: float32 [n, outputs].

    Args:
        outputs: Number of outputs.
        probabilities: Whether a softmax over the outputs follows, before the mean.
    """

    def __init__(self, outputs: int, probabilities: bool, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.outputs, self.probabilities = outputs, probabilities

    def build(self, shape: tuple[int | None, ...]) -> None:
        _, members, width = shape
        bound = 1 / math.sqrt(int(width or 0))
        drawn = keras.initializers.RandomUniform(-bound, bound)
        self.kernel = self.add_weight(shape=(members, width, self.outputs), initializer=drawn, name="kernel")
        self.bias = self.add_weight(shape=(members, self.outputs), initializer=drawn, name="bias")

    def compute(self, inputs: Any, *weights: Any) -> Any:
        return ops.mean(self._each(inputs, *weights), axis=0)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if training:
            return ops.transpose(self._each(inputs, *self.weights), (1, 0, 2))
        return self.compute(inputs, *self.weights)

    def _each(self, inputs: Any, kernel: Any, bias: Any) -> Any:
        """Outputs [members, n, outputs].

        The bias is added before any transpose: TensorFlow Lite can't convert a sum that follows one.
        """
        found = ops.matmul(ops.transpose(inputs, (1, 0, 2)), kernel) + ops.expand_dims(bias, 1)
        return ops.softmax(found, axis=-1) if self.probabilities else found

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        return config | {"outputs": self.outputs, "probabilities": self.probabilities}


@keras.saving.register_keras_serializable("kep")
class MemberLoss(keras.losses.Loss):
    """Mean of the losses of all members: cross-entropy of classes, or squared error.

    Labels are class indices or numbers [n], predictions [n, members, outputs], or [n, outputs] of one member.

    Args:
        regression: Whether labels are numbers.
    """

    def __init__(self, regression: bool, name: str = "member_loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.regression = regression

    def call(self, y_true: Any, y_pred: Any) -> Any:
        if len(y_pred.shape) == 2:
            y_pred = ops.expand_dims(y_pred, 1)
        labels = ops.reshape(y_true, (-1, 1))
        if self.regression:
            return ops.mean(ops.square(y_pred[:, :, 0] - ops.cast(labels, y_pred.dtype)), axis=1)
        labels = ops.repeat(ops.cast(labels, "int32"), y_pred.shape[1], axis=1)
        return ops.mean(ops.sparse_categorical_crossentropy(labels, y_pred), axis=1)

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        return config | {"regression": self.regression}
