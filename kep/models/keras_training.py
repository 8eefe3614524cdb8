"""One training of a Keras network: its epochs, its checkpoints and how it goes on from one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kep.models.family import Fit
from kep.training.horizon import horizon
from kep.training.loop import Feed, Loop
from kep.training.machine import TrainingMachine
from kep.training.monitor import Monitor


@dataclass
class Course:
    """How far one training is.

    Attributes:
        fit: What it found so far; None where it watches no validation rows.
        epoch: The epoch that it is in, 1-based.
        step: Steps of that epoch that are done.
        best: Weights of the best epoch so far.
    """

    fit: Fit | None = None
    epoch: int = 1
    step: int = 0
    best: list[np.ndarray] | None = None


@dataclass
class KerasTraining:
    """A network, the model of raw columns around it, and the compiled functions that train it and predict with it."""

    network: keras.Model
    model: keras.Model
    loop: Loop
    predict: Callable[[dict[str, np.ndarray]], np.ndarray]
    machine: TrainingMachine

    def begin_as(self, fresh: keras.Model) -> None:
        """Puts the network into the state of a newly built one: weights, random seeds, optimiser."""
        for own, new in ((self.network, fresh), (self.network.optimizer, fresh.optimizer)):
            for variable, value in zip(own.variables, new.variables, strict=True):
                variable.assign(value)
        if (schedule := horizon(self.network)) is not None and (theirs := horizon(fresh)) is not None:
            schedule.begin_as(theirs)
        self.network.reset_metrics()
        self.network.stop_training = False
        self.loop.seconds, self.loop.steps = 0.0, 0

    def begin(self, course: Course, monitor: Monitor, callbacks: keras.callbacks.CallbackList) -> None:
        """Goes on from the newest checkpoint that all processes of the training have, if there is one."""
        checkpoints = monitor.checkpoints()
        numbers = checkpoints.numbers() if checkpoints else []
        callbacks.on_train_begin()
        number = int(self.machine.agreed(max(numbers, default=0), "MIN"))
        if checkpoints is None or number == 0:
            return
        kept, arrays = checkpoints.load(number)
        self.loop.build()
        variables = self._variables()
        parts = [[arrays[f"v{i}.{j}"] for j in range(kept["parts"][i])] for i in range(len(variables))]
        self.machine.assign(variables, parts)
        course.epoch, course.step = kept["epoch"], kept["step"]
        monitor.resumed(course.epoch, course.step)
        for callback, state in zip(callbacks.callbacks, kept["callbacks"], strict=True):
            vars(callback).update(state)
        if course.fit is not None:
            fit = course.fit
            fit.best, fit.loss = kept["best"], kept["loss"]
            fit.train_curve[:], fit.validation_curve[:] = kept["train_curve"], kept["validation_curve"]
            if fit.best:
                fit.predictions = arrays["predictions"]
                course.best = [arrays[f"w{i}"] for i in range(len(self.network.weights))]

    def epoch(
        self,
        feed: Feed,
        course: Course,
        monitor: Monitor,
        callbacks: keras.callbacks.CallbackList,
        steps: int | None = None,
    ) -> float:
        """Trains the epoch of `course` to its end, or its first `steps`, with checkpoints on the way.

        Returns:
            Its mean training loss.
        """
        callbacks.on_epoch_begin(course.epoch - 1)
        last = feed.steps_per_epoch if steps is None else steps

        def after(step: int) -> None:
            course.step = step
            monitor.call(course.epoch, step, feed.steps_per_epoch, feed.batch_size)
            callbacks.on_train_batch_end(step - 1)
            if step < last:
                self.checkpoint(feed, course, monitor, callbacks)

        loss = self.loop.epoch(feed, course.epoch, steps, course.step, after)
        course.epoch, course.step = course.epoch + 1, 0
        return loss

    def checkpoint(self, feed: Feed, course: Course, monitor: Monitor, callbacks: keras.callbacks.CallbackList) -> None:
        """Writes a checkpoint if the monitor of any process of the training wants one."""
        if not self.machine.agreed(monitor.due(), "MAX"):
            return
        values = self.machine.values(self._variables())
        arrays = {f"v{i}.{j}": part for i, parts in enumerate(values) for j, part in enumerate(parts)}
        kept: dict[str, Any] = {"epoch": course.epoch, "step": course.step, "parts": [len(parts) for parts in values]}
        # Numbers such as those that early stopping counts; weights that a callback keeps are not among them.
        kept["callbacks"] = [
            {name: value for name, value in vars(callback).items() if isinstance(value, bool | int | float | str)}
            for callback in callbacks.callbacks
        ]
        if course.fit is not None:
            fit = course.fit
            kept |= {"best": fit.best, "loss": fit.loss}
            kept |= {"train_curve": fit.train_curve, "validation_curve": fit.validation_curve}
            arrays |= {f"w{i}": weight for i, weight in enumerate(course.best or [])} | {"predictions": fit.predictions}
        monitor.save((course.epoch - 1) * feed.steps_per_epoch + course.step, (kept, arrays))

    def synchronised(self) -> list[np.ndarray]:
        """The network's weights; on several replicas those that differ, such as moving averages, become their mean."""
        weights = self.machine.weights(self.network)
        if self.machine.strategy is not None:
            self.network.set_weights(weights)
        return weights

    def extra(self, feed: Feed) -> dict[str, float]:
        """What is logged beside the losses: the learning rate and, once there is something to measure, the speed."""
        logs = {"learning_rate": float(np.asarray(self.network.optimizer.learning_rate))}
        if self.loop.steps:
            seconds = self.loop.seconds + feed.waited
            logs["rows_per_second"] = self.loop.steps * feed.batch_size / seconds
            logs["step_ms"] = 1000 * seconds / self.loop.steps
            logs["input_share"] = feed.waited / seconds
        return logs

    def _variables(self) -> list[keras.Variable]:
        return [*self.network.variables, *self.network.optimizer.variables, *self.network.metrics_variables]
