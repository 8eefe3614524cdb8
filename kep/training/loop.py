"""The one loop that trains every Keras model: a compiled function over many steps of the model's own `train_step`.

Keras's `fit` spends most of a small model's time in Python between batches. Here one call runs many steps on a block
of rows that was gathered on the host while the device was busy with the block before. The compiled function holds no
data, so a model of the same structure can use it again.
"""

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from kep.core.errors import RunError, UserError
from kep.training.machine import TrainingMachine

STEPS_PER_CALL = 256
"""Most optimiser steps of one call of the compiled function."""
CALL_SECONDS = 2.0
"""How long a call may take: between calls a training can be stopped and write a checkpoint."""
FIRST_STEPS = 64
"""Steps of a training's first blocks, while the time of a step is not known."""
BLOCK_BYTES = 64 * 2**20
"""Most bytes of the rows of one call; two blocks are in memory at a time."""

ONE_DEVICE = TrainingMachine()

Inputs = dict[str, tf.Tensor]
"""Raw columns of some rows by name, each of shape [n, …]."""
Encode = Callable[[Inputs], Any]
"""From raw columns to what a model takes."""
Compiled = Callable[..., Any]
"""A function that TensorFlow has compiled."""

RowArrays = tuple[Any, ...]
"""Some rows: the model's inputs by name, each of shape [n, …], its targets [n, …] and, where rows count differently,
their weights [n], 1 in the mean. As arrays or as tensors."""
Gather = Callable[[np.ndarray], RowArrays]
"""From indices of rows to these rows."""


_Block = Future[RowArrays]


class Feed:
    """The batches of a training, epoch after epoch, gathered ahead in a thread.

    The order of an epoch is a permutation of all rows that depends on the seed and the epoch's number alone.

    Args:
        gather: Reads rows.
        rows: How many there are.
        batch_size: Rows of a step; the last batch of an epoch is smaller and never dropped.
        seed: Seed of the order.
        machine: Devices of the training.

    Attributes:
        signature: Specifications of the rows of a block, whatever their number.
        steps_per_block: Optimiser steps of the next block.
        waited: Seconds that the loop has waited for blocks.
    """

    def __init__(
        self, gather: Gather, rows: int, batch_size: int, seed: int, machine: TrainingMachine = ONE_DEVICE
    ) -> None:
        self.rows, self.batch_size = rows, batch_size
        self.steps_per_epoch = -(-rows // batch_size)
        self.waited = 0.0
        self._gather, self._seed = gather, seed
        self._limit = None if machine.stall_minutes is None else 60 * machine.stall_minutes
        first = gather(np.zeros(1, np.int64))
        self.signature = tf.nest.map_structure(
            lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), first
        )
        row = sum(array.nbytes for array in tf.nest.flatten(first))
        self.most_steps = machine.steps_per_call or max(1, min(STEPS_PER_CALL, BLOCK_BYTES // (row * batch_size)))
        whole = rows // batch_size
        if machine.jit and not machine.steps_per_call and whole:
            # Blocks of nearly one length: each length is compiled anew, which takes about half a second.
            self.most_steps = -(-whole // -(-whole // self.most_steps))
        # How long a step takes is not known yet; under XLA the length stays.
        fixed = machine.steps_per_call or machine.jit
        self.steps_per_block = self.most_steps if fixed else min(FIRST_STEPS, self.most_steps)
        self._fixed = bool(fixed)
        self._ahead: tuple[tuple[int, int, int], _Block] | None = None
        self._order = (0, np.empty(0, np.int64))

    def order(self, number: int) -> np.ndarray:
        """Indices of all rows in the order of epoch `number`, 1-based."""
        if self._order[0] != number:
            self._order = (number, np.random.default_rng([self._seed, number]).permutation(self.rows))
        return self._order[1]

    def blocks(self, number: int, first: int, last: int) -> Iterator[tuple[int, RowArrays]]:
        """Steps `first` to `last` of an epoch, as blocks of several steps.

        Args:
            number: Number of the epoch, 1-based.
            first: Steps to leave out.
            last: Steps after which the epoch ends.

        Yields:
            The number of steps done after the block, and its rows as tensors.

        Raises:
            RunError: No rows came within the machine's `stall_minutes`.
        """
        while first < last:
            stop = min(first + self.steps_per_block, last)
            rows = self._take((number, first, stop))
            if stop < last:
                following = (number, stop, min(stop + self.steps_per_block, last))
            else:  # the next epoch most probably begins as every epoch does
                following = (number + 1, 0, min(self.steps_per_block, self.steps_per_epoch))
            self._ahead = (following, self._begin(*following))
            yield stop, rows
            first = stop

    def follow(self, seconds: float, steps: int) -> None:
        """Fits the length of blocks to the time that `steps` steps took, so that a call takes about `CALL_SECONDS`."""
        if not self._fixed:
            self.steps_per_block = int(min(self.most_steps, max(1, CALL_SECONDS * steps / max(seconds, 1e-6))))

    def _take(self, wanted: tuple[int, int, int]) -> RowArrays:
        ahead, self._ahead = self._ahead, None
        block = ahead[1] if ahead and ahead[0] == wanted else self._begin(*wanted)
        started = time.perf_counter()
        try:
            return block.result(self._limit)
        except TimeoutError:
            raise RunError(
                f"the input pipeline stalled: no rows for {(self._limit or 0) / 60:g} minutes in epoch {wanted[0]}, "
                f"step {wanted[1]}; check the storage that the records are read from"
            ) from None
        finally:
            self.waited += time.perf_counter() - started

    def _begin(self, *block: int) -> _Block:
        future: _Block = Future()

        def gather() -> None:
            try:
                future.set_result(self._block(*block))
            except BaseException as error:
                future.set_exception(error)

        # A daemon: a thread that hangs in a read must not keep the process.
        threading.Thread(target=gather, daemon=True).start()
        return future

    def _block(self, number: int, first: int, last: int) -> RowArrays:
        rows = self._gather(self.order(number)[first * self.batch_size : last * self.batch_size])
        with tf.device("CPU:0"):
            block: RowArrays = tf.nest.map_structure(tf.constant, rows)
            return block


class Loop:
    """Trains `model`, block after block, on one device or on several replicas.

    On one device the last batch of an epoch is smaller, as in Keras's `fit`. Replicas each take an equal part of every
    batch. The last batch is filled with rows of weight 0, and its other rows weigh more, so that its gradient is that
    of its rows. (Batch normalisation and unweighted metrics still see the filling, which repeats rows of the batch.)

    Args:
        model: Compiled Keras model; its own `train_step` runs, so its loss, metrics and optimiser are honoured.
        encode: Turns a dictionary of raw tensors into what the model takes.
        feed: Feed of the training, or another feed of such rows.
        machine: Devices of the training; the model was built in its scope.

    Raises:
        UserError: The model has a `train_step` of its own, which replicas can't use.
    """

    def __init__(self, model: keras.Model, encode: Encode, feed: Feed, machine: TrainingMachine = ONE_DEVICE) -> None:
        self.model = model
        self.seconds, self.steps = 0.0, 0
        self._machine, self._batch_size = machine, feed.batch_size
        self._encode, self._signature = encode, feed.signature
        self._traced = False
        if machine.strategy is not None:
            if type(model).train_step is not keras.Model.train_step:
                raise UserError(
                    f"{model.name} has a train_step of its own, which can't be told that it sees a part of a batch; "
                    "use strategy: single"
                )
            self.build()
            self._run = _replicated(model, encode, feed, machine.strategy)
            self._totals = _totals(model, machine.strategy)
        elif machine.jit:
            self._run = _whole_under_xla(model, encode)
        else:
            self._run = _on_one_device(model, encode, feed)

    def build(self) -> None:
        """Makes the variables of losses and metrics, which the model would else make in its first step.

        Replicas need them before the step is traced, and a checkpoint has values for them.
        """
        inputs, targets, *weights = tf.nest.map_structure(
            lambda spec: tf.zeros((1, *spec.shape[1:]), spec.dtype), self._signature
        )
        if self._machine.strategy is not None:
            weights = [tf.ones(1)]
        with self._machine.scope():
            # Keras's `fit` does the same; there is no public way.
            self.model._symbolic_build(data_batch=(self._encode(inputs), targets, *weights))

    def epoch(
        self,
        feed: Feed,
        number: int,
        steps: int | None = None,
        first: int = 0,
        after: Callable[[int], None] = lambda step: None,
    ) -> float:
        """Trains one epoch, or its first `steps` steps.

        Args:
            feed: Feed of the rows.
            number: Number of the epoch, 1-based.
            steps: Optimiser steps to stop after.
            first: Steps of the epoch that were done before, by a training that went on from a checkpoint.
            after: Called after each call into TensorFlow with the steps of the epoch that are done.

        Returns:
            The mean training loss of the epoch.
        """
        if not first:
            self.model.reset_metrics()
        loss = 0.0
        last = feed.steps_per_epoch if steps is None else min(steps, feed.steps_per_epoch)
        for done, rows in feed.blocks(number, first, last):
            started = time.perf_counter()
            loss = self._block(rows)
            seconds = time.perf_counter() - started
            # The first call traces and compiles.
            if self._traced:
                self.seconds, self.steps = self.seconds + seconds, self.steps + done - first
                feed.follow(seconds, done - first)
            self._traced = True
            first = done
            after(done)
        return loss

    def _block(self, given: RowArrays) -> float:
        """Trains on a block; returns the epoch's mean loss so far."""
        rows, batch = int(given[1].shape[0]), self._batch_size
        whole = rows // batch * batch
        if self._machine.strategy is None:
            if not self._machine.jit:
                return float(self._run(*given))
            loss = self._run(given, batch) if whole else 0.0
            if whole < rows:
                loss = self._run(tf.nest.map_structure(lambda array: array[whole:], given), rows - whole)
            return float(loss)
        inputs, targets, *own = given
        weights = own[0] if own else tf.ones(rows)
        if whole:
            self._run(*tf.nest.map_structure(lambda array: array[:whole], (inputs, targets, weights)))
        total, count = self._totals()
        if whole == rows:
            return float(total / count)
        # The filled batch counts as its rows.
        short = rows - whole
        fill = np.resize(np.arange(whole, rows), batch)
        factors = np.where(np.arange(batch) < short, batch / short, 0).astype(np.float32)
        filled = tf.nest.map_structure(lambda array: tf.gather(array, fill), (inputs, targets, weights))
        self._run(filled[0], filled[1], filled[2] * factors)
        total_after, count_after = self._totals()
        last = (total_after - total) / (count_after - count)
        return float((total + last * short) / (count + short))

    def reported(self) -> dict[str, float]:
        """The metrics of the epoch that the model itself was compiled with, by name; the loss is not one."""
        return _numbers(self.model.get_metrics_result())


def _on_one_device(model: keras.Model, encode: Encode, feed: Feed) -> Compiled:
    batch_size = feed.batch_size

    @tf.function(input_signature=feed.signature)
    def run(*rows: Any) -> tf.Tensor:
        loss = tf.constant(0.0)
        for start in tf.range(0, tf.shape(rows[1])[0], batch_size):
            inputs, *rest = tf.nest.map_structure(lambda array, at=start: array[at : at + batch_size], rows)
            logs = model.train_step((encode(inputs), *rest))
            loss = tf.cast(logs["loss"], tf.float32)
        return loss

    return cast("Compiled", run)


def _whole_under_xla(model: keras.Model, encode: Encode) -> Compiled:
    """The same, all of it compiled by XLA, which wants every shape known: rows beyond the last batch are left out."""

    @tf.function(jit_compile=True)
    def run(rows: RowArrays, size: int) -> tf.Tensor:
        loss = tf.constant(0.0)
        for start in tf.range(0, rows[1].shape[0] // size * size, size):
            inputs, *rest = tf.nest.map_structure(lambda array, at=start: _part(array, at, size), rows)
            logs = model.train_step((encode(inputs), *rest))
            loss = tf.cast(logs["loss"], tf.float32)
        return loss

    return cast("Compiled", run)


def _replicated(model: keras.Model, encode: Encode, feed: Feed, strategy: tf.distribute.Strategy) -> Compiled:
    """Return a plain loop around `strategy.run`.

    Under several replicas Keras's own loop puts the step into a conditional, where TensorFlow's collectives fail.
    """
    batch_size, share = feed.batch_size, feed.batch_size // strategy.num_replicas_in_sync

    def step(inputs: Inputs, targets: tf.Tensor, weights: tf.Tensor) -> None:
        model.train_step((encode(inputs), targets, weights))

    @tf.function(input_signature=[*feed.signature[:2], tf.TensorSpec((None,), tf.float32)])
    def run(inputs: Inputs, targets: tf.Tensor, weights: tf.Tensor) -> None:
        @tf.function
        def one(start: tf.Tensor) -> None:
            def mine(context: tf.distribute.ReplicaContext) -> tuple[Inputs, tf.Tensor, tf.Tensor]:
                # On the host: a device gets its part of the batch, not the block.
                with tf.device("CPU:0"):
                    own = start + context.replica_id_in_sync_group * share
                    parts = {name: _part(array, own, share) for name, array in inputs.items()}
                    return parts, _part(targets, own, share), _part(weights, own, share)

            strategy.run(lambda rows: step(*rows), args=(strategy.experimental_distribute_values_from_function(mine),))

        for start in tf.range(0, tf.shape(targets)[0], batch_size):
            one(start)

    return cast("Compiled", run)


def _totals(model: keras.Model, strategy: tf.distribute.Strategy) -> Compiled:
    """Sum and count of the epoch's losses over all replicas."""

    def local() -> tuple[tf.Tensor, tf.Tensor]:
        tracker = model._loss_tracker  # the metric behind "loss"; its result alone would not do
        return tf.convert_to_tensor(tracker.total), tf.convert_to_tensor(tracker.count)

    @tf.function
    def totals() -> tuple[tf.Tensor, tf.Tensor]:
        return tuple(strategy.reduce("SUM", value, axis=None) for value in strategy.run(local))

    return cast("Compiled", totals)


def shapeless(model: keras.Model, encode: Encode, feed: Feed) -> str | None:
    """The first operation of the model whose result has no known shape although the batch has one; None where all have.

    XLA compiles such a model anew for every size that it meets, or not at all on a TPU.
    """
    inputs = feed.signature[0]
    batch = {name: tf.TensorSpec((feed.batch_size, *spec.shape[1:]), spec.dtype) for name, spec in inputs.items()}
    graph = tf.function(lambda rows: model(encode(rows), training=True)).get_concrete_function(batch).graph
    unknown = (one for one in graph.get_operations() if not all(out.shape.is_fully_defined() for out in one.outputs))
    return next((one.name for one in unknown), None)


def _part(array: tf.Tensor, start: tf.Tensor, size: int) -> tf.Tensor:
    """`array[start : start + size]` with a shape that is known while tracing."""
    rest = array.shape[1:]
    return tf.slice(array, [start, *[0] * len(rest)], [size, *rest])


def reported(model: keras.Model, encode: Encode, rows: RowArrays, batch_size: int = 2048) -> dict[str, float]:
    """The metrics that the model was compiled with, over all rows, by its own `test_step`.

    Args:
        model: Compiled Keras model.
        encode: Turns a dictionary of raw tensors into what the model takes.
        rows: Arrays of the rows, targets as the model was trained with.
        batch_size: Rows of a step; it does not change the metrics.
    """
    step = tf.function(lambda x, *rest: model.test_step((encode(x), *rest)), reduce_retracing=True)
    model.reset_metrics()
    for start in range(0, len(rows[1]), batch_size):
        part = slice(start, start + batch_size)
        step(*tf.nest.map_structure(lambda array, part=part: tf.constant(array[part]), rows))
    return _numbers(model.get_metrics_result())


def _numbers(logs: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items() if name != "loss" and np.ndim(value) == 0}


def predictor(model: keras.Model, batch_size: int = 2048) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """A compiled function from a dictionary of arrays [n, …] to the model's predictions of inference, float32."""
    predict = fused([model], batch_size)
    return lambda inputs: predict(inputs)[0]


def fused(models: Sequence[keras.Model], batch_size: int = 2048) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
    """One compiled function from a dictionary of arrays [n, …] to the predictions of each model, float32."""

    @tf.function
    def forward(batch: Inputs) -> list[tf.Tensor]:
        return [tf.cast(model(batch, training=False), tf.float32) for model in models]

    @functools.cache
    def traced(given: tuple[tuple[str, tuple[int, ...], np.dtype], ...]) -> Callable[[Inputs], list[tf.Tensor]]:
        # Once for any number of rows: a trace takes longer than many predictions.
        batch = {name: tf.TensorSpec([None, *shape], dtype) for name, shape, dtype in given}
        return cast(Callable[[Inputs], list[tf.Tensor]], forward.get_concrete_function(batch))

    def predict(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        rows = len(next(iter(inputs.values())))
        call = traced(tuple((name, array.shape[1:], array.dtype) for name, array in inputs.items()))
        parts = [
            call({name: tf.constant(array[i : i + batch_size]) for name, array in inputs.items()})
            for i in range(0, rows, batch_size)
        ]
        return [np.concatenate([output.numpy() for output in outputs]) for outputs in zip(*parts, strict=True)]

    return predict
