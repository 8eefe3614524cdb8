"""The one loop that trains every Keras model: a compiled function over many steps of the model's own `train_step`.

Keras's `fit` spends most of a small model's time in Python between batches. Here one call runs many steps on a block
of rows that was gathered on the host while the device was busy with the block before. The compiled function holds no
data, so a model of the same structure can use it again.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import keras
import numpy as np
import tensorflow as tf

from components.shared.errors import UserError

STEPS_PER_CALL = 256
"""Most optimiser steps of one call of the compiled function."""
BLOCK_BYTES = 64 * 2**20
"""Most bytes of the rows of one call; two blocks are in memory at a time."""

Gather = Callable[[np.ndarray], tuple[dict[str, np.ndarray], np.ndarray]]
"""From indices of rows to the model's inputs by name, each of shape [n, …], and its targets [n, …]."""


class Feed:
    """The batches of a training, epoch after epoch, gathered ahead in a thread.

    The order of an epoch is a permutation of all rows that depends on the seed and the epoch's number alone.

    Args:
        gather: Reads rows.
        rows: How many there are.
        batch_size: Rows of a step; the last batch of an epoch is smaller and never dropped.
        seed: Of the order.
        stalled_after: Seconds without a block after which the input counts as stalled; None to wait for ever.

    Attributes:
        signature: Specifications of a block's inputs and targets, whatever its number of rows.
        waited: Seconds that the loop has waited for blocks.
    """

    def __init__(
        self, gather: Gather, rows: int, batch_size: int, seed: int, stalled_after: float | None = None
    ) -> None:
        self.rows, self.batch_size = rows, batch_size
        self.steps_per_epoch = -(-rows // batch_size)
        self.waited = 0.0
        self._gather, self._seed, self._stalled_after = gather, seed, stalled_after
        inputs, targets = gather(np.zeros(1, np.int64))
        self.signature = (
            {name: tf.TensorSpec((None, *array.shape[1:]), array.dtype) for name, array in inputs.items()},
            tf.TensorSpec((None, *targets.shape[1:]), targets.dtype),
        )
        row = sum(array.nbytes for array in [*inputs.values(), targets])
        self.steps_per_block = max(1, min(STEPS_PER_CALL, BLOCK_BYTES // (row * batch_size)))
        self._ahead: tuple[tuple, Future] | None = None
        self._order = (0, np.empty(0, np.int64))

    def order(self, number: int) -> np.ndarray:
        """Indices of all rows in the order of epoch `number`, 1-based."""
        if self._order[0] != number:
            self._order = (number, np.random.default_rng([self._seed, number]).permutation(self.rows))
        return self._order[1]

    def blocks(self, number: int, first: int, last: int) -> Iterator[tuple[int, dict, tf.Tensor]]:
        """Steps `first` to `last` of an epoch, as blocks of several steps.

        Args:
            number: Of the epoch, 1-based.
            first: Steps to leave out.
            last: Steps after which the epoch ends.

        Yields:
            The number of steps in the block, and its rows' inputs and targets as tensors.

        Raises:
            UserError: No block came within `stalled_after` seconds.
        """
        starts = range(first, last, self.steps_per_block)
        for start in starts:
            stop = min(start + self.steps_per_block, last)
            inputs, targets = self._take((number, start, stop))
            # The next epoch most probably begins as this one did.
            following = (number, stop, min(stop + self.steps_per_block, last)) if stop < last else None
            following = following or (number + 1, 0, min(self.steps_per_block, self.steps_per_epoch))
            self._ahead = (following, self._begin(*following))
            yield stop - start, inputs, targets

    def _take(self, wanted: tuple[int, int, int]) -> tuple[dict, tf.Tensor]:
        ahead, self._ahead = self._ahead, None
        block = ahead[1] if ahead and ahead[0] == wanted else self._begin(*wanted)
        started = time.perf_counter()
        try:
            return block.result(self._stalled_after)
        except TimeoutError:
            raise UserError(
                f"the input pipeline stalled: no rows for {self._stalled_after / 60:g} minutes in epoch {wanted[0]}, "
                f"step {wanted[1]}; check the storage that the records are read from"
            ) from None
        finally:
            self.waited += time.perf_counter() - started

    def _begin(self, *block: int) -> Future:
        future: Future = Future()

        def gather() -> None:
            try:
                future.set_result(self._block(*block))
            except BaseException as error:
                future.set_exception(error)

        # A daemon: a thread that hangs in a read must not keep the process.
        threading.Thread(target=gather, daemon=True).start()
        return future

    def _block(self, number: int, first: int, last: int) -> tuple[dict, tf.Tensor]:
        inputs, targets = self._gather(self.order(number)[first * self.batch_size : last * self.batch_size])
        return {name: tf.constant(array) for name, array in inputs.items()}, tf.constant(targets)


class Loop:
    """Trains `model`, block after block.

    Args:
        model: Compiled Keras model; its own `train_step` runs, so its loss, metrics and optimiser are honoured.
        encode: Turns a dictionary of raw tensors into what the model takes.
        feed: What it will be fed with, or another feed of such rows.
    """

    def __init__(self, model: keras.Model, encode: Callable, feed: Feed) -> None:
        self.model = model
        batch_size = feed.batch_size

        @tf.function(input_signature=feed.signature)
        def run(inputs: dict, targets: tf.Tensor) -> tf.Tensor:
            loss = tf.constant(0.0)
            for start in tf.range(0, tf.shape(targets)[0], batch_size):
                batch = {name: array[start : start + batch_size] for name, array in inputs.items()}
                logs = model.train_step((encode(batch), targets[start : start + batch_size]))
                loss = tf.cast(logs["loss"], tf.float32)
            return loss

        self._run = run

    def epoch(self, feed: Feed, number: int, steps: int | None = None) -> float:
        """Trains one epoch, or its first `steps` steps.

        Args:
            feed: Of the rows.
            number: Of the epoch, 1-based.
            steps: Optimiser steps to stop after.

        Returns:
            The mean training loss of the epoch.
        """
        self.model.reset_metrics()
        loss = 0.0
        last = feed.steps_per_epoch if steps is None else min(steps, feed.steps_per_epoch)
        for _, inputs, targets in feed.blocks(number, 0, last):
            loss = float(self._run(inputs, targets))
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
