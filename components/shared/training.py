"""The one loop that trains every Keras model: a compiled function over many steps of the model's own `train_step`.

Keras's `fit` spends most of a small model's time in Python between batches. Here an epoch is one call: the data are
tensors, an epoch's order is one permutation, and each step gathers its batch inside the compiled function.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

STEPS_PER_CALL = 256
"""Optimiser steps of one call of the compiled function."""


class Loop:
    """Trains `model` on arrays that stay in memory.

    Args:
        model: Compiled Keras model; its own `train_step` runs, so its loss, metrics and optimiser are honoured.
        encode: Turns a dictionary of raw tensors into what the model takes.
        inputs: Arrays of the rows by name, each of shape [n, …].
        labels: Shape [n].
        batch_size: Rows of a step; the last batch of an epoch is smaller and never dropped.
        seed: Of the order of the rows.
    """

    def __init__(
        self,
        model: keras.Model,
        encode: Callable,
        inputs: dict[str, np.ndarray],
        labels: np.ndarray,
        batch_size: int,
        seed: int,
    ) -> None:
        self.model = model
        self.rows = len(labels)
        self.steps_per_epoch = -(-self.rows // batch_size)
        self._seed = seed
        self._batch_size = batch_size
        data = {name: tf.constant(array) for name, array in inputs.items()}
        targets = tf.constant(labels)

        @tf.function(reduce_retracing=True)
        def run(order: tf.Tensor) -> tf.Tensor:
            total = tf.constant(0.0)
            for start in tf.range(0, tf.size(order), batch_size):
                index = order[start : start + batch_size]
                batch = {name: tf.gather(array, index) for name, array in data.items()}
                logs = model.train_step((encode(batch), tf.gather(targets, index)))
                total = tf.cast(logs["loss"], tf.float32)
            return total

        self._run = run

    def epoch(self, number: int, steps: int | None = None) -> float:
        """Trains one epoch, or its first `steps` steps.

        Args:
            number: 1-based; with the seed it fixes the order of the rows.
            steps: Optimiser steps to stop after.

        Returns:
            The mean training loss of the epoch.
        """
        self.model.reset_metrics()
        order = np.random.default_rng([self._seed, number]).permutation(self.rows).astype(np.int32)
        order = order[: None if steps is None else steps * self._batch_size]
        stride = STEPS_PER_CALL * self._batch_size
        loss = 0.0
        for start in range(0, len(order), stride):
            loss = float(self._run(tf.constant(order[start : start + stride])))
        return loss

    def reported(self) -> dict[str, float]:
        """The metrics of the epoch that the model itself was compiled with, by name; the loss is not one."""
        return _numbers(self.model.get_metrics_result())


def reported(
    model: keras.Model, encode: Callable, inputs: dict[str, np.ndarray], targets: np.ndarray, batch_size: int = 2048
) -> dict[str, float]:
    """The metrics that the model was compiled with, over all rows, by its own `test_step`.

    Args:
        model: Compiled Keras model.
        encode: Turns a dictionary of raw tensors into what the model takes.
        inputs: Arrays by name, each of shape [n, …].
        targets: Shape [n, …], as the model was trained with.
        batch_size: Rows of a step; it does not change the metrics.
    """
    step = tf.function(lambda x, y: model.test_step((encode(x), y)), reduce_retracing=True)
    model.reset_metrics()
    for start in range(0, len(targets), batch_size):
        part = slice(start, start + batch_size)
        step({name: tf.constant(array[part]) for name, array in inputs.items()}, tf.constant(targets[part]))
    return _numbers(model.get_metrics_result())


def _numbers(logs: dict) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items() if name != "loss" and np.ndim(value) == 0}


def predictor(model: keras.Model, batch_size: int = 2048) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """A compiled function from a dictionary of arrays [n, …] to the model's predictions of inference, float32."""

    @tf.function(reduce_retracing=True)
    def forward(batch: dict) -> tf.Tensor:
        return tf.cast(model(batch, training=False), tf.float32)

    def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
        rows = len(next(iter(inputs.values())))
        parts = [
            forward({name: tf.constant(array[i : i + batch_size]) for name, array in inputs.items()}).numpy()
            for i in range(0, rows, batch_size)
        ]
        return np.concatenate(parts)

    return predict
