"""How a Keras network is fitted: the same for the built-in families and for a user's own `build(hp)`."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from kep.artifacts.trials import Declared
from kep.core.errors import RunError, UserError
from kep.core.files import write_file
from kep.data.records import AnyRows, Rows, blank_row
from kep.data.schema import Manifest
from kep.models import keras_file
from kep.models.declared import beyond
from kep.models.encode import encoding, inputs_of
from kep.models.family import Build, Fit, Settings, Values, reason
from kep.models.features import Features
from kep.models.keras_checks import check_outputs, check_saving, check_shapes
from kep.models.keras_seeds import seed_keras
from kep.models.keras_session import clear_session
from kep.models.keras_structure import is_dense, structure
from kep.models.keras_training import Course, KerasTraining
from kep.models.named_inputs import encoder
from kep.models.outputs import activation, limits, takes_one_hot
from kep.models.wrapped import encode_of, network_of, wrapped
from kep.stats.metrics import Truth
from kep.training.horizon import horizon
from kep.training.loop import Feed, Gather, Loop, RowArrays, fused, predictor, reported, shapeless
from kep.training.machine import TrainingMachine
from kep.training.monitor import Monitor

PREDICTED = 8192
"""Rows in memory at a time while predicting."""
REUSED = 4
"""Compiled trainings that a family keeps for models of the same structure."""
FIRST_ROWS = 1024
"""Training rows by which first weights may be drawn."""
LONG = 20_000
"""Optimiser steps from which XLA pays on a CPU: it compiles for a second or two, and saves 0.1 ms a step."""


Predict = Callable[[dict[str, np.ndarray]], np.ndarray]
"""From raw columns to predictions, both [n, …]."""
Begin = Callable[[keras.Model, Any, int], None]
"""What draws the first weights of a network, by its inputs for some rows and a seed."""


class KerasFamily:
    """A family of Keras networks.

    The network sees encoded features (`kep.models.named_inputs`) and, for a regression, a label standardised by the
    train rows' mean and standard deviation; predictions come back in label units.

    Args:
        name: Of the family.
        build: KerasTuner's `build(hp)`, which returns a compiled model. Its output is a softmax over the classes, one
            sigmoid unit for a binary label, logits of either (`kep.models.outputs`), or one linear unit for a
            regression.
        manifest: Of the data.
        machine: Gives what it trains on; called before the first operation of TensorFlow.
        callbacks: Makes Keras callbacks for one training from `hp`; None for none.
        begin: Draws the first weights of a network by its inputs for some training rows, and a seed; None where Keras's
            initial weights are the first.
    """

    unit = "epoch"
    looped = True

    def __init__(
        self,
        name: str,
        build: Build,
        manifest: Manifest,
        machine: Callable[[], TrainingMachine] = TrainingMachine,
        callbacks: Build | None = None,
        begin: Begin | None = None,
    ) -> None:
        self.name = name
        self._build, self._callbacks, self._begin = build, callbacks, begin
        self._open = machine
        self._label = manifest.label
        self._features, self._encoding = Features(manifest), encoding(manifest)
        self._blank = blank_row(manifest)
        self._compiled: tuple[keras.Model, Predict] | None = None
        self._kept: OrderedDict[str, KerasTraining] = OrderedDict()
        # Those of the last model that was built, with what it declared.
        self._hp = keras_tuner.HyperParameters()

    @cached_property
    def _machine(self) -> TrainingMachine:
        return self._open()

    def space(self) -> keras_tuner.HyperParameters:
        """The search space; each conditional scope is entered once, as KerasTuner's own tuner does."""
        hp = keras_tuner.HyperParameters()
        entered: list[list[Any]] = []
        while True:
            clear_session()
            self._declare(hp)
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

    def declared(self, values: Values) -> list[Declared]:
        clear_session()
        hp = keras_tuner.HyperParameters()
        hp.values = dict(values)
        self._declare(hp)
        return beyond(self.name, hp, values)

    def _declare(self, hp: keras_tuner.HyperParameters) -> None:
        """Let the user's functions declare their hyperparameters."""
        self._build(hp)
        if self._callbacks is not None:
            self._callbacks(hp)

    def sample(self) -> str:
        lines: list[str] = []
        _, model = self._models({}, 0)
        model.summary(print_fn=lines.append, expand_nested=True, line_length=80)
        return "\n".join(lines)

    def check(self, train: AnyRows) -> dict[str, float]:
        try:
            batch = train.take(np.arange(min(32, len(train))))
            training, feed = self._start({}, batch, Settings(1, 1, len(batch), seed=0), 1)
            if (schedule := horizon(training.network)) is not None:
                schedule.begin(1)
            training.loop.epoch(feed, 1)
            if self._machine.jit:
                check_shapes(self.name, shapeless(training.network, encode_of(training.model), feed))
            check_outputs(self.name, self._label, training.predict(inputs_of(batch)))
            check_saving(self, training.model, batch)
            return training.loop.reported()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"search.families: {self.name} fails on one batch: {reason(error)}") from error

    def fit(self, values: Values, train: AnyRows, validation: AnyRows, settings: Settings, monitor: Monitor) -> Fit:
        training, feed = self._start(values, train, settings, settings.max_epochs)
        epochs, schedule = settings.max_epochs, horizon(training.network)
        if schedule is not None:
            epochs = min(schedule.epochs, epochs)
            schedule.begin(epochs * feed.steps_per_epoch)
        ends = None if schedule is None else schedule.ends(epochs)
        callbacks = self._own_callbacks(training.network)
        declared = beyond(self.name, self._hp, values)
        fit = Fit(0, np.inf, False, [], [], np.empty(0), lambda: self._with(course.best, values, settings.seed))
        fit.declared = declared
        if schedule is not None:
            fit.horizon, fit.full_epochs = epochs, schedule.epochs
        course = Course(fit)
        training.begin(course, monitor, callbacks)
        for epoch in range(course.epoch, epochs + 1):
            fit.train_curve.append(training.epoch(feed, course, monitor, callbacks))
            weights = training.synchronised()
            predictions = self._predicted(training.predict, validation)
            # Processes on unlike machines may differ in the last bits; they must stop at the same epoch.
            validation_loss = self._machine.agreed(self._loss(validation, predictions), "FIRST")
            fit.validation_curve.append(validation_loss)
            logs = {"loss": fit.train_curve[-1], "val_loss": validation_loss}
            monitor.epoch(epoch, logs | training.extra(feed))
            callbacks.on_epoch_end(epoch - 1, training.loop.reported() | logs)
            if not np.isfinite(validation_loss):
                break
            if (ends is None or epoch in ends) and validation_loss < fit.loss:
                fit.best, fit.loss, fit.predictions = epoch, validation_loss, predictions
                course.best = weights
            elif schedule is None and epoch - fit.best >= settings.patience:
                break
            if training.network.stop_training:  # by a callback
                break
            training.checkpoint(feed, course, monitor, callbacks)
        else:
            fit.at_cap = schedule is None or schedule.epochs > epochs
        callbacks.on_train_end()
        return fit

    def refit(self, values: Values, rows: AnyRows, best: float, settings: Settings, monitor: Monitor) -> keras.Model:
        training, feed = self._start(values, rows, settings, best)
        callbacks = self._own_callbacks(training.network, watched=False)
        steps = max(1, round(best * feed.steps_per_epoch))
        if (schedule := horizon(training.network)) is not None:
            schedule.begin(max(steps, round(steps / settings.share)))
        course = Course()
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

    def predict(self, model: keras.Model, rows: AnyRows) -> np.ndarray:
        # Compiling takes much longer than predicting: once per model.
        if self._compiled is None or self._compiled[0] is not model:
            self._compiled = (model, predictor(model))
        return self._predicted(self._compiled[1], rows)

    def reported(self, model: keras.Model, rows: AnyRows) -> dict[str, float]:
        network = network_of(model)
        rows = rows.take(slice(None))
        return reported(network, encode_of(model), self._whole(rows, network))

    def save(self, model: keras.Model, folder: Path) -> None:
        network = network_of(model)
        compiled, optimizer = network.compiled, getattr(network, "optimizer", None)
        # The file holds what predicts; loss and optimiser have ended their work, and may be a user's own.
        network.compiled, network.optimizer = False, None
        try:
            write_file(folder / "model.keras", lambda path: keras_file.save(model, path))
        finally:
            network.compiled, network.optimizer = compiled, optimizer

    def load(self, folder: Path) -> keras.Model:
        return keras.saving.load_model(folder / "model.keras", compile=False)

    def _models(
        self, values: Values, seed: int, scope: AbstractContextManager[Any] | None = None
    ) -> tuple[keras.Model, keras.Model]:
        """The untrained network as the user builds it, and the model of raw columns around it.

        Args:
            values: Of the hyperparameters.
            seed: Of the initial weights.
            scope: Of the devices that will train it; None for a model that predicts.
        """
        clear_session()
        keras.config.set_dtype_policy(self._machine.precision)
        seed_keras(seed)
        self._hp = keras_tuner.HyperParameters()
        self._hp.values = dict(values)
        with scope or nullcontext():
            network = self._build(self._hp)
            self._check_network(network)
            end = partial(activation, self.name, network, self._label)
            encode = encoder(self.name, network, self._features, self._encoding)
            model = wrapped(network, encode, inputs_of(self._blank), end, limits(self._label), self.name)
            if scope is not None:
                if self._machine.learning_rate != 1:
                    _scale_learning_rate(network, self._machine.learning_rate)
                network.optimizer.build(network.trainable_variables)
        return network, model

    def _check_network(self, network: Any) -> None:
        """Refuse what is no network to train."""
        if not isinstance(network, keras.Model) or not network.compiled:
            given = "a model that is not compiled" if isinstance(network, keras.Model) else f"{network!r:.60}"
            raise UserError(f"search.families: {self.name} must return a compiled Keras model, it returns {given}")

    def _with(self, weights: list[np.ndarray] | None, values: Values, seed: int) -> keras.Model:
        """A model of raw columns with trained weights; None leaves it untrained."""
        network, model = self._models(values, seed)
        if weights is not None:
            network.set_weights(weights)
        return model

    def _start(self, values: Values, rows: AnyRows, settings: Settings, epochs: float) -> "tuple[KerasTraining, Feed]":
        """Return an untrained model with its training of at most so many epochs, and its feed.

        It is compiled already where a model of the same structure was trained.
        """
        machine = self._machine
        network, model = self._models(values, settings.seed, machine.scope())
        if self._begin is not None:
            drawn = np.random.default_rng(settings.seed).permutation(len(rows))[:FIRST_ROWS]
            self._begin(network, encode_of(model)(inputs_of(rows.take(np.sort(drawn)))), settings.seed)
        if machine.jit is None:
            long = epochs * -(-len(rows) // settings.batch_size) >= LONG
            machine = replace(machine, jit=long and is_dense(network))
        feed = Feed(self._gather(rows, network), len(rows), settings.batch_size, settings.seed, machine)
        known = structure(network)
        key = known and f"{settings.batch_size} {machine.jit} {known}"
        if key is not None and key in self._kept:
            self._kept.move_to_end(key)
            self._kept[key].begin_as(network)
            return self._kept[key], feed
        if machine.jit and (texts := encode_of(model).texts):
            raise UserError(
                f'search.families: the input "{next(iter(texts))}" of {self.name} is of texts, which XLA does not '
                "have; set hardware.<step>.jit: off, or take the codes by an input of int32"
            )
        loop = Loop(network, encode_of(model), feed, machine)
        training = KerasTraining(network, model, loop, predictor(model), machine)
        if key is not None:
            self._kept[key] = training
            if len(self._kept) > REUSED:
                self._kept.popitem(last=False)
        return training, feed

    def _own_callbacks(self, network: keras.Model, watched: bool = True) -> keras.callbacks.CallbackList:
        """The user's callbacks as the loop calls them."""
        made = self._made_callbacks(watched)
        return keras.callbacks.CallbackList(made, add_history=False, add_progbar=False, model=network)

    def _made_callbacks(self, watched: bool) -> list[keras.callbacks.Callback]:
        """Return the user's callbacks for the last model.

        Without validation rows those are left out that watch a figure of validation rows.
        """
        if self._callbacks is None:
            return []
        return [one for one in self._callbacks(self._hp) if watched or not _watches_validation(one)]

    def _gather(self, rows: AnyRows, network: keras.Model) -> Gather:
        return lambda index: self._whole(rows.take(index), network)

    def _whole(self, rows: Rows, network: keras.Model) -> RowArrays:
        """Return what the network is fed with, what it learns from it, and how much each row counts."""
        weights = () if rows.weights is None else (rows.weights,)
        return (inputs_of(rows), self._targets(rows, network), *weights)

    def _loss(self, rows: AnyRows, predictions: np.ndarray) -> float:
        """Return the loss of predictions of rows."""
        return Truth.of(self._label.task, rows).loss(predictions)

    def _targets(self, rows: AnyRows, network: keras.Model) -> np.ndarray:
        """Return the targets of the network.

        They are class indices [n], 0 and 1 [n, classes] where its loss takes them, or standardised numbers [n, 1].
        """
        if self._label.task != "regression":
            return (
                np.eye(self._label.class_count, dtype=np.float32)[rows.labels]
                if takes_one_hot(network)
                else rows.labels
            )
        return ((rows.labels - self._label.mean) / (self._label.std or 1)).astype(np.float32)[:, None]

    def _predicted(self, predict: Predict, rows: AnyRows) -> np.ndarray:
        """Predictions in label units, for rows that may be on disk."""
        parts = (rows.take(slice(start, start + PREDICTED)) for start in range(0, len(rows), PREDICTED))
        return self.in_label_units(np.concatenate([predict(inputs_of(part)) for part in parts]))

    def in_label_units(self, outputs: np.ndarray) -> np.ndarray:
        if self._label.task == "regression":
            return outputs[:, 0] * np.float32(self._label.std or 1) + np.float32(self._label.mean)
        return np.concatenate([1 - outputs, outputs], axis=1) if outputs.shape[1] == 1 else outputs


def predict_together(
    families: Sequence[KerasFamily], models: Sequence[keras.Model]
) -> Callable[[Rows], list[np.ndarray]]:
    """Return one compiled function for the predictions of several models: on few rows a call costs more than they.

    Args:
        families: The family of each model, all for the same data.
        models: Models as `KerasFamily.load` returns them.
    """
    forward = fused(models)

    def predict(rows: Rows) -> list[np.ndarray]:
        outputs = forward(inputs_of(rows))
        return [own.in_label_units(output) for own, output in zip(families, outputs, strict=True)]

    return predict


def _scale_learning_rate(network: keras.Model, factor: float) -> None:
    if (schedule := horizon(network)) is not None:
        schedule.peak.assign(schedule.peak * factor)
        return
    try:
        network.optimizer.learning_rate = float(np.asarray(network.optimizer.learning_rate)) * factor
    except TypeError as error:
        raise UserError(
            "scale_learning_rate: the model has a learning rate schedule, which can't be scaled; set it to none"
        ) from error


def _watches_validation(callback: keras.callbacks.Callback) -> bool:
    return str(getattr(callback, "monitor", "")).startswith("val_")
