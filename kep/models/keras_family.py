"""How a Keras network is fitted: the same for the built-in families and for a user's own `build(hp)`."""

import json
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from kep.core.errors import RunError, UserError
from kep.core.files import write_file
from kep.data.records import Rows, blank_row
from kep.data.schema import Manifest
from kep.models.encode import Encode, encoding, inputs_of
from kep.models.family import Fit, Settings, reason
from kep.stats.metrics import loss
from kep.training.loop import Feed, Gather, Loop, predictor, reported, shapeless
from kep.training.machine import Machine
from kep.training.monitor import Monitor

PREDICTED = 8192
"""Rows in memory at a time while predicting."""
REUSED = 4
"""Compiled trainings that a family keeps for models of the same structure."""
LONG = 20_000
"""Optimiser steps from which XLA pays on a CPU: it compiles for a second or two, and saves 0.1 ms a step."""
_DENSE = frozenset({"InputLayer", "Flatten", "Reshape", "Dense", "Activation", "ReLU"})
"""Layers that XLA makes faster on a CPU (docs/training.md); its convolutions and random numbers are slow there."""


def output_layer(manifest: Manifest) -> keras.layers.Layer:
    """Softmax over the classes, or one linear unit for a regression; float32 under every precision policy."""
    if manifest.label.task == "regression":
        return keras.layers.Dense(1, dtype="float32")
    return keras.layers.Dense(len(manifest.label.classes), activation="softmax", dtype="float32")


def compile_for(manifest: Manifest, model: keras.Model, learning_rate: float) -> keras.Model:
    """Compiles with Adam and the loss of the label's task; returns the model."""
    regression = manifest.label.task == "regression"
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="mean_squared_error" if regression else "sparse_categorical_crossentropy",
    )
    return model


class KerasFamily:
    """A family of Keras networks.

    The network sees encoded features (`Encode`) and, for a regression, a label standardised by the train rows' mean and
    standard deviation; predictions come back in label units.

    Args:
        name: Of the family.
        build: KerasTuner's `build(hp)`, which returns a compiled model. Its output is a softmax over the classes, one
            sigmoid unit for a binary label, or one linear unit for a regression.
        manifest: Of the data.
        machine: Gives what it trains on; called before the first operation of TensorFlow.
        callbacks: Makes Keras callbacks for one training from `hp`; None for none.
    """

    unit = "epoch"

    def __init__(
        self,
        name: str,
        build: Callable,
        manifest: Manifest,
        machine: Callable[[], Machine] = Machine,
        callbacks: Callable | None = None,
    ) -> None:
        self.name = name
        self._build, self._callbacks = build, callbacks
        self._open = machine
        self._label = manifest.label
        self._encoding = encoding(manifest)
        self._blank = blank_row(manifest)
        self._compiled: tuple[keras.Model | None, Callable | None] = (None, None)
        self._kept: OrderedDict[str, _Training] = OrderedDict()

    @cached_property
    def _machine(self) -> Machine:
        return self._open()

    def space(self) -> keras_tuner.HyperParameters:
        """The search space; each conditional scope is entered once, as KerasTuner's own tuner does."""
        hp = keras_tuner.HyperParameters()
        entered: list[list] = []
        while True:
            keras.backend.clear_session()
            self._build(hp)
            found = hp.copy()
            entered += hp.active_scopes
            closed = [scope for scope in hp.inactive_scopes if scope not in entered]
            if not closed:
                return found
            # A scope that can't be entered would otherwise be tried for ever.
            entered.append(closed[0])
            hp = found
            for condition in closed[0]:
                hp.values[condition.name] = condition.values[0]
            hp.ensure_active_values()

    def sample(self) -> str:
        lines: list[str] = []
        _, model = self._models({}, 0)
        model.summary(print_fn=lines.append, expand_nested=True, line_length=80)
        return "\n".join(lines)

    def check(self, train: Rows) -> dict[str, float]:
        try:
            batch = train.take(np.arange(min(32, len(train))))
            training, feed = self._start({}, batch, Settings(1, 1, len(batch), seed=0), 1)
            training.loop.epoch(feed, 1)
            if self._machine.jit:
                self._check_shapes(training, feed)
            self._check_outputs(training.predict(inputs_of(batch)))
            self._check_saving(training.model, batch)
            return training.loop.reported()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"search.families: {self.name} fails on one batch: {reason(error)}") from error

    def fit(self, values: dict, train: Rows, validation: Rows, settings: Settings, monitor: Monitor) -> Fit:
        training, feed = self._start(values, train, settings, settings.max_epochs)
        callbacks = self._own_callbacks(values, training.network)
        fit = Fit(0, np.inf, False, [], [], np.empty(0), lambda: self._with(course.best, values, settings.seed))
        course = _Course(fit)
        training.begin(course, monitor, callbacks)
        for epoch in range(course.epoch, settings.max_epochs + 1):
            fit.train_curve.append(training.epoch(feed, course, monitor, callbacks))
            weights = training.synchronised()
            predictions = self._predicted(training.predict, validation)
            # Processes on unlike machines may differ in the last bits; they must stop at the same epoch.
            validation_loss = self._machine.agreed(loss(self._label.task, validation.labels, predictions), "FIRST")
            fit.validation_curve.append(validation_loss)
            logs = {"loss": fit.train_curve[-1], "val_loss": validation_loss}
            monitor.epoch(epoch, logs | training.extra(feed))
            callbacks.on_epoch_end(epoch - 1, training.loop.reported() | logs)
            if not np.isfinite(validation_loss):
                break
            if validation_loss < fit.loss:
                fit.best, fit.loss, fit.predictions = epoch, validation_loss, predictions
                course.best = weights
            elif epoch - fit.best >= settings.patience:
                break
            if training.network.stop_training:  # by a callback
                break
            training.checkpoint(feed, course, monitor, callbacks)
        else:
            fit.at_cap = True
        callbacks.on_train_end()
        return fit

    def refit(self, values: dict, rows: Rows, best: float, settings: Settings, monitor: Monitor) -> keras.Model:
        training, feed = self._start(values, rows, settings, best)
        callbacks = self._own_callbacks(values, training.network, watched=False)
        steps = max(1, round(best * feed.steps_per_epoch))
        course = _Course()
        training.begin(course, monitor, callbacks)
        for epoch in range(course.epoch, -(-steps // feed.steps_per_epoch) + 1):
            last = min(feed.steps_per_epoch, steps - (epoch - 1) * feed.steps_per_epoch)
            logs = {"loss": training.epoch(feed, course, monitor, callbacks, last)}
            if not np.isfinite(logs["loss"]):
                raise RunError(f"{self.name}: the training loss is not a finite number in epoch {epoch}")
            monitor.epoch(epoch, logs | training.extra(feed))
            callbacks.on_epoch_end(epoch - 1, training.loop.reported() | logs)
            training.checkpoint(feed, course, monitor, callbacks)
        callbacks.on_train_end()
        return self._with(training.synchronised(), values, settings.seed)

    def predict(self, model: keras.Model, rows: Rows) -> np.ndarray:
        # Compiling takes much longer than predicting: once per model.
        if self._compiled[0] is not model:
            self._compiled = (model, predictor(model))
        return self._predicted(self._compiled[1], rows)

    def reported(self, model: keras.Model, rows: Rows) -> dict[str, float]:
        network = next(layer for layer in model.layers if isinstance(layer, keras.Model))
        encode = next(layer for layer in model.layers if isinstance(layer, Encode))
        rows = rows.take(slice(None))
        return reported(network, encode, inputs_of(rows), self._targets(rows))

    def save(self, model: keras.Model, folder: Path) -> None:
        network = next(layer for layer in model.layers if isinstance(layer, keras.Model))
        compiled, optimizer = network.compiled, network.optimizer
        # The file holds what predicts; loss and optimiser have ended their work, and may be a user's own.
        network.compiled, network.optimizer = False, None
        try:
            write_file(folder / "model.keras", model.save)
        finally:
            network.compiled, network.optimizer = compiled, optimizer

    def load(self, folder: Path) -> keras.Model:
        return keras.saving.load_model(folder / "model.keras", compile=False)

    def _models(
        self, values: dict, seed: int, scope: AbstractContextManager | None = None
    ) -> tuple[keras.Model, keras.Model]:
        """The untrained network as the user builds it, and the model of raw columns around it.

        Args:
            values: Of the hyperparameters.
            seed: Of the initial weights.
            scope: Of the devices that will train it; None for a model that predicts.
        """
        keras.backend.clear_session()
        keras.config.set_dtype_policy(self._machine.precision)
        keras.utils.set_random_seed(seed)
        hp = keras_tuner.HyperParameters()
        hp.values = dict(values)
        with scope or nullcontext():
            network = self._build(hp)
            if not isinstance(network, keras.Model) or not network.compiled:
                given = "a model that is not compiled" if isinstance(network, keras.Model) else f"{network!r:.60}"
                raise UserError(f"search.families: {self.name} must return a compiled Keras model, it returns {given}")
            arrays = inputs_of(self._blank)
            inputs = {n: keras.Input(a.shape[1:], dtype=a.dtype.name, name=n) for n, a in arrays.items()}
            model = keras.Model(inputs, network(Encode(**self._encoding)(inputs)), name=self.name)
            if scope is not None:
                if self._machine.learning_rate != 1:
                    _scale_learning_rate(network, self._machine.learning_rate)
                network.optimizer.build(network.trainable_variables)
        return network, model

    def _with(self, weights: list[np.ndarray] | None, values: dict, seed: int) -> keras.Model:
        """A model of raw columns with trained weights; None leaves it untrained."""
        network, model = self._models(values, seed)
        if weights is not None:
            network.set_weights(weights)
        return model

    def _start(self, values: dict, rows: Rows, settings: Settings, epochs: float) -> "tuple[_Training, Feed]":
        """An untrained model and what trains it for at most so many epochs: compiled before, where a model of the same
        structure was trained.
        """
        machine = self._machine
        network, model = self._models(values, settings.seed, machine.scope())
        if machine.jit is None:
            long = epochs * -(-len(rows) // settings.batch_size) >= LONG
            machine = replace(machine, jit=long and _is_dense(network))
        feed = Feed(self._gather(rows), len(rows), settings.batch_size, settings.seed, machine)
        key = _structure(network)
        key = None if key is None else f"{settings.batch_size} {machine.jit} {key}"
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            kept.begin_as(network)
            return kept, feed
        encode = next(layer for layer in model.layers if isinstance(layer, Encode))
        loop = Loop(network, encode, feed, machine)
        training = _Training(network, model, loop, predictor(model), machine)
        if key is not None:
            self._kept[key] = training
            if len(self._kept) > REUSED:
                self._kept.popitem(last=False)
        return training, feed

    def _own_callbacks(self, values: dict, network: keras.Model, watched: bool = True) -> keras.callbacks.CallbackList:
        """The user's callbacks; without validation rows those are left out that watch a figure of theirs."""
        made = []
        if self._callbacks is not None:
            hp = keras_tuner.HyperParameters()
            hp.values = dict(values)
            made = [one for one in self._callbacks(hp) if watched or not _watches_validation(one)]
        return keras.callbacks.CallbackList(made, add_history=False, add_progbar=False, model=network)

    def _gather(self, rows: Rows) -> Gather:
        def gather(index: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
            part = rows.take(index)
            return inputs_of(part), self._targets(part)

        return gather

    def _targets(self, rows: Rows) -> np.ndarray:
        """What the network learns: class indices [n], or standardised numbers [n, 1]."""
        if self._label.task != "regression":
            return rows.labels
        return ((rows.labels - self._label.mean) / (self._label.std or 1)).astype(np.float32)[:, None]

    def _check_outputs(self, outputs: np.ndarray) -> None:
        """Refuses outputs that are no predictions of this label."""
        if self._label.task == "regression":
            if outputs.ndim != 2 or outputs.shape[1] != 1:
                raise UserError(
                    f"search.families: {self.name} must end in one unit for a regression, it gives {_shape(outputs)}"
                )
            return
        classes = len(self._label.classes)
        binary = classes == 2 and outputs.shape[1:] == (1,)
        if outputs.shape[1:] != (classes,) and not binary:
            raise UserError(
                f"search.families: {self.name} must end in {classes} units (softmax over the classes), "
                f"it gives {_shape(outputs)}"
            )
        sums = outputs.sum(axis=1)
        if outputs.min() < 0 or outputs.max() > 1 or (not binary and np.abs(sums - 1).max() > 1e-3):
            raise UserError(
                f"search.families: the outputs of {self.name} are not probabilities; end it in softmax or sigmoid"
            )

    def _check_shapes(self, training: "_Training", feed: Feed) -> None:
        """Refuses shapes that depend on the data."""
        encode = next(layer for layer in training.model.layers if isinstance(layer, Encode))
        operation = shapeless(training.network, encode, feed)
        if operation is not None:
            raise UserError(
                f"search.families: {self.name} has a shape that depends on the data ({operation}), for which XLA "
                "compiles it again and again, and a TPU can't; pad it to a known size, or set jit: off"
            )

    def _check_saving(self, model: keras.Model, batch: Rows) -> None:
        """Refuses a model whose saved form predicts something else, or can't be read again."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                self.save(model, Path(folder))
                again = self.load(Path(folder))
            except Exception as error:
                raise UserError(
                    f"search.families: a saved {self.name} can't be loaded again ({type(error).__name__}); "
                    "decorate its layers with @keras.saving.register_keras_serializable() and give them get_config()"
                ) from error
        if np.abs(self.predict(again, batch) - self.predict(model, batch)).max() > 1e-5:
            raise UserError(f"search.families: a saved and reloaded {self.name} predicts something else")

    def _predicted(self, predict: Callable, rows: Rows) -> np.ndarray:
        """Predictions in label units, for rows that may be on disk."""
        parts = (rows.take(slice(start, start + PREDICTED)) for start in range(0, len(rows), PREDICTED))
        return self._in_label_units(np.concatenate([predict(inputs_of(part)) for part in parts]))

    def _in_label_units(self, outputs: np.ndarray) -> np.ndarray:
        if self._label.task == "regression":
            return outputs[:, 0] * np.float32(self._label.std or 1) + np.float32(self._label.mean)
        return np.concatenate([1 - outputs, outputs], axis=1) if outputs.shape[1] == 1 else outputs


@dataclass
class _Course:
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
class _Training:
    """A network, the model of raw columns around it, and the compiled functions that train it and predict with it."""

    network: keras.Model
    model: keras.Model
    loop: Loop
    predict: Callable[[dict[str, np.ndarray]], np.ndarray]
    machine: Machine

    def begin_as(self, fresh: keras.Model) -> None:
        """Puts the network into the state of a newly built one: weights, random seeds, optimiser."""
        for ours, theirs in ((self.network, fresh), (self.network.optimizer, fresh.optimizer)):
            for variable, value in zip(ours.variables, theirs.variables, strict=True):
                variable.assign(value)
        self.network.reset_metrics()
        self.network.stop_training = False
        self.loop.seconds, self.loop.steps = 0.0, 0

    def begin(self, course: _Course, monitor: Monitor, callbacks: keras.callbacks.CallbackList) -> None:
        """Goes on from the newest checkpoint that all processes of the training have, if there is one."""
        checkpoints = monitor.checkpoints()
        numbers = checkpoints.numbers() if checkpoints else []
        callbacks.on_train_begin()
        number = int(self.machine.agreed(max(numbers, default=0), "MIN"))
        if number == 0:
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
        course: _Course,
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

    def checkpoint(
        self, feed: Feed, course: _Course, monitor: Monitor, callbacks: keras.callbacks.CallbackList
    ) -> None:
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


def _scale_learning_rate(network: keras.Model, factor: float) -> None:
    try:
        network.optimizer.learning_rate = float(np.asarray(network.optimizer.learning_rate)) * factor
    except TypeError as error:
        raise UserError(
            "scale_learning_rate: the model has a learning rate schedule, which can't be scaled; set it to none"
        ) from error


def _watches_validation(callback: keras.callbacks.Callback) -> bool:
    return str(getattr(callback, "monitor", "")).startswith("val_")


def _structure(network: keras.Model) -> str | None:
    """What a compiled training of the network depends on, beside its variables; None where that can't be known.

    It is known of networks of Keras's own layers, losses, metrics and optimisers, which their configuration describes
    whole. The learning rate is a variable, so trainings that differ in it alone share their compiled functions.
    """
    if not type(network).__module__.startswith("keras."):
        return None
    try:
        built, compiled = network.get_config(), network.get_compile_config()
        if _foreign([built, compiled]):
            return None
        rates = compiled["optimizer"]["config"]
        rates |= {name: None for name in ("learning_rate",) if isinstance(rates.get(name), float)}
        return json.dumps([built, compiled, [variable.path for variable in network.variables]], sort_keys=True)
    except Exception:  # a layer or a loss without a configuration
        return None


def _is_dense(network: keras.Model) -> bool:
    """Whether it has none but dense layers and what goes with them, and nothing of a user's own."""
    if _structure(network) is None or network.get_compile_config()["metrics"] not in (None, [], ["accuracy"]):
        return False
    return {type(layer).__name__ for layer in network._flatten_layers(include_self=False)} <= _DENSE


def _foreign(config: Any) -> bool:
    """Whether a part of a serialised configuration is a user's own code."""
    if isinstance(config, dict):
        if config.get("registered_name") or config.get("class_name") == "Lambda":
            return True
        if not f"{config.get('module', 'keras')}.".startswith("keras."):
            return True
        return any(_foreign(value) for value in config.values())
    return isinstance(config, list | tuple) and any(_foreign(value) for value in config)


def _shape(outputs: np.ndarray) -> str:
    return " x ".join(["rows", *(str(size) for size in outputs.shape[1:])])
