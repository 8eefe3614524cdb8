"""The devices that a process trains on, as TensorFlow sees them: strategy, precision, XLA."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from kep.config.hardware import TrainingHardware, TrialHardware
from kep.core.errors import UserError
from kep.runtime.hardware import DevicePlan


@dataclass(frozen=True)
class TrainingMachine:
    """Devices of one training.

    Attributes:
        strategy: TensorFlow's; None for one device.
        precision: Keras's dtype policy of the layers.
        jit: Whether XLA compiles the training; None where that depends on the network and the training's length.
        steps_per_call: Optimiser steps of one call into TensorFlow; None to follow the time of a step.
        learning_rate: Factor of the learning rate of a model.
        stall_minutes: Minutes without rows or a step after which the training ends; None for no limit.
    """

    strategy: tf.distribute.Strategy | None = None
    precision: str = "float32"
    jit: bool | None = False
    steps_per_call: int | None = None
    learning_rate: float = 1.0
    stall_minutes: float | None = None

    @classmethod
    def of_trial(cls, hardware: TrialHardware) -> "TrainingMachine":
        """One device of this process; to be called before TensorFlow's first operation."""
        gpus = _set_memory(hardware)
        return cls(
            precision=_precision(hardware.precision, gpus),
            jit=_jit(hardware, True if gpus else None),
            steps_per_call=_steps(hardware),
        )

    @classmethod
    def open(cls, plan: DevicePlan, hardware: TrainingHardware, learning_rate: float = 1.0) -> "TrainingMachine":
        """The devices of `plan`; to be called before TensorFlow's first operation.

        Raises:
            UserError: TensorFlow can't start them.
        """
        if plan.device == "cpu" and tf.config.list_physical_devices("GPU"):
            tf.config.set_visible_devices([], "GPU")
        gpus = _set_memory(hardware)
        if plan.strategy == "mirrored" and plan.device == "cpu":
            (cpu,) = tf.config.list_physical_devices("CPU")
            logical = [tf.config.LogicalDeviceConfiguration() for _ in range(plan.devices)]
            tf.config.set_logical_device_configuration(cpu, logical)
        # A line for each collective of each trace says nothing to a user.
        logging.getLogger("tensorflow").setLevel(logging.WARNING)
        strategy = _strategy(plan, hardware)
        # On logical CPU devices XLA can't find a replica's variables.
        able = plan.device != "cpu" or strategy is None
        if hardware.jit == "on" and not able:
            raise UserError(f"jit: on can't be had with strategy: {plan.strategy} on CPUs; use jit: auto")
        return cls(
            strategy=strategy,
            precision="mixed_bfloat16"
            if plan.device == "tpu" and hardware.precision == "auto"
            else _precision(hardware.precision, gpus),
            jit=_jit(hardware, True if plan.device != "cpu" else None if strategy is None else False),
            steps_per_call=_steps(hardware),
            learning_rate=learning_rate,
            stall_minutes=hardware.stall_minutes,
        )

    @property
    def replicas(self) -> int:
        """Devices that share each batch."""
        return 1 if self.strategy is None else self.strategy.num_replicas_in_sync

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which models are built."""
        scope: contextlib.AbstractContextManager[Any]
        scope = contextlib.nullcontext() if self.strategy is None else self.strategy.scope()
        return scope

    def values(self, variables: list[keras.Variable]) -> list[list[np.ndarray]]:
        """The values of variables on this process's devices: replicas may differ in what is not trained."""
        return [[np.asarray(part) for part in self._parts(variable)] for variable in variables]

    def assign(self, variables: list[keras.Variable], values: list[list[np.ndarray]]) -> None:
        """Sets variables to what `values` gave."""
        for variable, arrays in zip(variables, values, strict=True):
            for part, array in zip(self._parts(variable), arrays, strict=True):
                part.assign(array)

    def agreed(self, value: float, how: Literal["MAX", "MIN", "FIRST"]) -> float:
        """Return the value that all processes of the training agree on.

        Args:
            value: This process's.
            how: MAX, MIN, or FIRST for the first process's.
        """
        if self.strategy is None or not _several_processes(self.strategy):
            return value
        everybodys = self._gathered(np.asarray(value, np.float64))
        if how == "FIRST":
            return float(everybodys[0])
        return float(everybodys.max() if how == "MAX" else everybodys.min())

    def weights(self, model: keras.Model) -> list[np.ndarray]:
        """The model's weights; what replicas hold different values of, such as moving averages, as their mean."""
        if self.strategy is None:
            weights: list[np.ndarray] = model.get_weights()
            return weights
        return [self._mean(weight) for weight in model.weights]

    def _mean(self, weight: keras.Variable) -> np.ndarray:
        parts = [np.asarray(part) for part in self._parts(weight)]
        if weight.trainable or not np.issubdtype(parts[0].dtype, np.floating):
            return parts[0]
        mean: np.ndarray = np.asarray(np.mean(parts, axis=0, dtype=np.float32))
        if self.strategy is not None and _several_processes(self.strategy):
            mean = np.asarray(self._gathered(mean).mean(axis=0, dtype=np.float32))
        return mean.astype(parts[0].dtype)

    def _gathered(self, value: np.ndarray) -> np.ndarray:
        """The values of all replicas along a new first axis, in the order of processes."""
        gathered: np.ndarray = self._gather(tf.constant(value)).numpy()
        return gathered

    @cached_property
    def _gather(self) -> Callable[[tf.Tensor], tf.Tensor]:
        def mine(value: tf.Tensor) -> tf.Tensor:
            return tf.distribute.get_replica_context().all_gather(value[None], axis=0)

        strategy: Any = self.strategy
        gather: Callable[[tf.Tensor], tf.Tensor] = tf.function(
            lambda value: strategy.experimental_local_results(strategy.run(mine, args=(value,)))[0]
        )
        return gather

    def _parts(self, variable: keras.Variable) -> tuple[Any, ...]:
        value = variable._value  # a distributed variable; Keras has no public way to its parts
        return (value,) if self.strategy is None else self.strategy.experimental_local_results(value)


def _several_processes(strategy: tf.distribute.Strategy) -> bool:
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def _strategy(plan: DevicePlan, hardware: TrainingHardware) -> tf.distribute.Strategy | None:
    if plan.strategy == "single":
        return None
    if plan.strategy == "mirrored":
        names = [f"{plan.device}:{number}" for number in range(plan.devices)]
        known = {"nccl": tf.distribute.NcclAllReduce, "hierarchical": tf.distribute.HierarchicalCopyAllReduce}
        chosen = known.get(hardware.communication)
        return tf.distribute.MirroredStrategy(names, cross_device_ops=chosen and chosen())
    if plan.strategy == "multi_worker":
        collectives = tf.distribute.experimental.CommunicationImplementation
        chosen = {"nccl": collectives.NCCL, "ring": collectives.RING}.get(hardware.communication, collectives.AUTO)
        options = tf.distribute.experimental.CommunicationOptions(implementation=chosen)
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(hardware.tpu)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (tf.errors.OpError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f'strategy: tpu "{hardware.tpu}" does not start: {reason}') from error


def _set_memory(hardware: TrialHardware) -> list[Any]:
    gpus: list[Any] = tf.config.get_visible_devices("GPU")
    for gpu in gpus:
        if hardware.memory_limit_mb is not None:
            limit = tf.config.LogicalDeviceConfiguration(memory_limit=hardware.memory_limit_mb)
            tf.config.set_logical_device_configuration(gpu, [limit])
        else:
            tf.config.experimental.set_memory_growth(gpu, hardware.memory_growth)
    return gpus


def _jit(hardware: TrialHardware, automatic: bool | None) -> bool | None:
    return {"on": True, "off": False}.get(hardware.jit, automatic)


def _steps(hardware: TrialHardware) -> int | None:
    return None if hardware.steps_per_execution == "auto" else hardware.steps_per_execution


def _precision(wanted: str, gpus: list[Any]) -> str:
    if wanted != "auto":
        return wanted
    capable = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
    # bfloat16 came with Ampere.
    return "mixed_bfloat16" if capable and min(capable) >= (8, 0) else "float32"
