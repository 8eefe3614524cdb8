"""A HyperModel with a `fit` of its own, which is called as KerasTuner's tuner calls it.

The fit trains as it likes, on arrays in memory. After each of its epochs `Watch`, one of its callbacks, measures the
loss on the validation rows. So the best epoch is known whatever the fit returns.
"""

import inspect
import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cached_property
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from kep.core.errors import RunError, UserError
from kep.data.records import MADE_UP, AnyRows, Rows
from kep.data.schema import Manifest
from kep.data.shards import check_memory
from kep.models.declared import beyond
from kep.models.encode import inputs_of
from kep.models.family import Build, Fit, Settings, Values, reason
from kep.models.keras_checks import check_outputs, check_saving
from kep.models.keras_family import PREDICTED, KerasFamily
from kep.models.keras_training import Course
from kep.models.named_inputs import encoder
from kep.models.watch import Begun, UntilItBegins, Watch, miscounted, numbers, of_validation
from kep.models.wrapped import network_of
from kep.training.loop import predictor
from kep.training.machine import TrainingMachine
from kep.training.monitor import Monitor

Inputs = np.ndarray | dict[str, np.ndarray]
"""Inputs of a network for some rows, [n, …]; by name where it has several inputs."""
Arrays = tuple[Inputs, np.ndarray]
"""Inputs and targets of a network, [n, …]."""


class OwnFit(KerasFamily):
    """A family of Keras networks that a user's `fit(hp, model, x, y, …)` trains.

    The fit gets the encoded rows as `x` and the targets as `y`, and by name `validation_data`, `epochs`, `callbacks`
    and `verbose`; `batch_size` if it has a parameter of that name. `retrain` gives no validation rows. A model is what
    the network is at the end of an epoch: the best one of `fit`, the last one of `refit`.

    Args:
        name: Name of the family.
        build: As `KerasFamily`'s; the model need not be compiled.
        manifest: Manifest of the data.
        train: `fit` of the HyperModel.
        machine: As `KerasFamily`'s; one device.
        callbacks: As `KerasFamily`'s.
    """

    looped = False

    def __init__(
        self,
        name: str,
        build: Build,
        manifest: Manifest,
        train: Callable[..., Any],
        machine: Callable[[], TrainingMachine] = TrainingMachine,
        callbacks: Build | None = None,
    ) -> None:
        super().__init__(name, build, manifest, machine, callbacks)
        self._train = train
        logging.getLogger("tensorflow").addFilter(_worth_saying)
        self._classes = manifest.label.classes and len(manifest.label.classes)

    @cached_property
    def _machine(self) -> TrainingMachine:
        machine = self._open()
        if machine.steps_per_call is not None:
            raise UserError(
                f"search.families: {self.name} has a fit() of its own, which alone decides on the steps of a call; "
                "set steps_per_execution: auto"
            )
        return machine

    def check(self, train: AnyRows) -> dict[str, float]:
        try:
            return self._rehearsed(train.take(np.arange(min(MADE_UP, len(train)))))
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"search.families: {self.name} fails on one batch: {reason(error)}") from error

    def _rehearsed(self, batch: Rows) -> dict[str, float]:
        """Train two epochs with validation rows and one without, and hold what comes out against the contract."""
        untrained = self._with(None, {}, 0)
        check_outputs(self.name, self._label, predictor(untrained)(inputs_of(batch)))
        before = untrained.get_weights()
        fit = self.fit({}, batch, batch, Settings(2, 2, len(batch), seed=0), Monitor())
        if len(fit.validation_curve) < 2 and np.isfinite(fit.loss):
            raise miscounted(self.name, "1 of 2")
        model = fit.model()
        x, _ = self._arrays(batch, network_of(untrained))
        # Rows that are all zeros may leave weights as they were.
        if any(np.ptp(one, axis=0).any() for one in keras.tree.flatten(x)) and _equal(model.get_weights(), before):
            raise UserError(
                f"search.families: fit() of {self.name} trains another model than the one that it is given; train "
                "that one, which is what predicts"
            )
        check_saving(self, model, batch)
        try:
            last = self.refit({}, batch, 1, Settings(1, 1, len(batch), seed=0), Monitor())
            if batch.weights is not None:
                self._check_weights(batch, last, before)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"search.families: fit() of {self.name} fails without validation rows, which retrain has none of "
                f"(validation_data=None): {reason(error)}"
            ) from error
        return self.reported(model, batch) | fit.reported

    def _check_weights(self, batch: Rows, last: keras.Model, before: list[np.ndarray]) -> None:
        """Refuse a fit that makes the same of other weights.

        Args:
            batch: Rows with weights.
            last: Model that was trained on them.
            before: Weights of the untrained model.
        """
        other = replace(batch, weights=(1 + np.arange(len(batch)) % 2).astype(np.float32))
        again = self.refit({}, other, 1, Settings(1, 1, len(batch), seed=0), Monitor())
        trained = last.get_weights()
        # Rows that are all zeros may leave weights as they were.
        if _equal(trained, again.get_weights()) and not _equal(trained, before):
            raise UserError(
                f"search.families: fit() of {self.name} takes no notice of sample_weight, and data.weight is set; pass "
                "it on to model.fit(), or remove data.weight"
            )

    def fit(self, values: Values, train: AnyRows, validation: AnyRows, settings: Settings, monitor: Monitor) -> Fit:
        network, model = self._models(values, settings.seed)
        predict = predictor(model)
        fit = Fit(0, np.inf, False, [], [], np.empty(0), lambda: self._with(course.best, values, settings.seed))
        course = Course(fit)

        def after(epoch: int, logs: dict[str, float]) -> bool:
            predictions = self._predicted(predict, validation)
            value = self._loss(validation, predictions)
            fit.train_curve.append(logs.get("loss", np.nan))
            fit.validation_curve.append(value)
            monitor.epoch(epoch, {**_loss_of(logs), "val_loss": value})
            if value < fit.loss:
                fit.best, fit.loss, fit.predictions = epoch, value, predictions
                fit.reported = of_validation(logs, _trained_metrics(network))
                course.best = network.get_weights()
                return False
            return not np.isfinite(value) or epoch - fit.best >= settings.patience

        watch = self._watch(network, settings, train, monitor, after)
        told = self._run(network, train, validation, settings, watch)
        watch.check()
        fit.at_cap = watch.epochs == settings.max_epochs and not watch.enough
        fit.declared = beyond(self.name, self._hp, values)
        fit.reported = self._figures(told) | fit.reported
        return fit

    def refit(self, values: Values, rows: AnyRows, best: float, settings: Settings, monitor: Monitor) -> keras.Model:
        network, _ = self._models(values, settings.seed)
        settings = replace(settings, max_epochs=max(1, round(best)))
        course = Course()

        def after(epoch: int, logs: dict[str, float]) -> bool:
            monitor.epoch(epoch, _loss_of(logs))
            course.best = network.get_weights()
            if not all(np.isfinite(weight).all() for weight in course.best):
                raise RunError(f"{self.name}: a weight is not a finite number after epoch {epoch}")
            return False

        watch = self._watch(network, settings, rows, monitor, after)
        self._run(network, rows, None, settings, watch)
        watch.check(whole=True)
        return self._with(course.best, values, settings.seed)

    def reported(self, model: keras.Model, rows: AnyRows) -> dict[str, float]:
        """Return the compiled metrics; a model that is not compiled with a loss has none."""
        return super().reported(model, rows) if getattr(network_of(model), "loss", None) else {}

    def _declare(self, hp: keras_tuner.HyperParameters) -> None:
        """Let the fit declare its hyperparameters too: it is begun, and ended where it would train."""
        model = self._build(hp)
        own = [] if self._callbacks is None else list(self._callbacks(hp))
        rows = self._blank.take(np.zeros(MADE_UP, np.int64))
        if self._classes:
            rows = replace(rows, labels=np.arange(MADE_UP) % self._classes)
        x, y = self._arrays(rows, model)
        model(keras.tree.map_structure(lambda array: array[:1], x))
        named: dict[str, Any] = {"validation_data": (x, y, *_weights(rows)), "callbacks": [*own, UntilItBegins()]}
        try:
            self._train(hp, model, x, y, **named, epochs=1, verbose=0, **self._batch(MADE_UP), **self._counted(rows))
        except Begun:
            return

    def _check_network(self, network: Any) -> None:
        if not isinstance(network, keras.Model):
            raise UserError(f"search.families: {self.name} must return a Keras model, it returns {network!r:.60}")
        # Keras compiles under XLA by itself, on CPUs too; here hardware.*.jit decides.
        if network.compiled:
            network.jit_compile = bool(self._machine.jit)

    def _watch(
        self,
        network: keras.Model,
        settings: Settings,
        rows: AnyRows,
        monitor: Monitor,
        after: Callable[[int, dict[str, float]], bool],
    ) -> Watch:
        return Watch(self.name, network, settings.max_epochs, len(rows), monitor, after)

    def _run(
        self, network: keras.Model, rows: AnyRows, validation: AnyRows | None, settings: Settings, watch: Watch
    ) -> Any:
        """Call the user's fit, and return what it returns."""
        x, y = self._arrays(rows, network)
        own = self._made_callbacks(watched=validation is not None)
        told = self._train(
            self._hp,
            network,
            x,
            y,
            validation_data=None if validation is None else (*self._arrays(validation, network), *_weights(validation)),
            epochs=settings.max_epochs,
            callbacks=[*own, watch],
            verbose=0,
            **self._batch(settings.batch_size),
            **self._counted(rows),
        )
        self._figures(told)
        return told

    def _batch(self, size: int) -> dict[str, int]:
        """Return the size of a batch where the fit has a parameter for it; most choose their own."""
        return {"batch_size": size} if "batch_size" in inspect.signature(self._train).parameters else {}

    def _counted(self, rows: AnyRows) -> dict[str, np.ndarray]:
        """Return the weights of rows for the fit, where they have some.

        Raises:
            UserError: The fit can't take them.
        """
        if rows.weights is None:
            return {}
        parameters = inspect.signature(self._train).parameters
        if "sample_weight" not in parameters and all(one.kind != one.VAR_KEYWORD for one in parameters.values()):
            raise UserError(
                f"search.families: fit() of {self.name} takes no sample_weight, and data.weight is set; let it take "
                "sample_weight, or remove data.weight"
            )
        return {"sample_weight": rows.weights.copy()}

    def _figures(self, told: Any) -> dict[str, float]:
        """Return the metrics among what a fit returned.

        Raises:
            UserError: It is nothing that KerasTuner takes.
        """
        if isinstance(told, dict):
            return of_validation(numbers(told))
        if isinstance(told, list) and told:
            return {name: value for one in told for name, value in self._figures(one).items()}
        if isinstance(told, keras.callbacks.History | int | float | np.floating):
            return {}
        raise UserError(
            f"search.families: fit() of {self.name} returned {told!r:.60}; return the History of model.fit(), a "
            "number, or a dictionary of metrics"
        )

    def _arrays(self, rows: AnyRows, network: keras.Model) -> Arrays:
        """Return all rows as a network sees them.

        Raises:
            UserError: They don't fit into memory.
        """
        encode = encoder(self.name, network, self._features, self._encoding)
        first = _as_arrays(encode(inputs_of(self._blank)))
        check_memory(f"{len(rows):,} encoded", len(rows) * sum(array.nbytes for array in keras.tree.flatten(first)))
        x: Inputs = keras.tree.map_structure(lambda array: np.empty((len(rows), *array.shape[1:]), array.dtype), first)
        for start in range(0, len(rows), PREDICTED):
            part = slice(start, start + PREDICTED)
            encoded = _as_arrays(encode(inputs_of(rows.take(part))))
            for whole, some in zip(keras.tree.flatten(x), keras.tree.flatten(encoded), strict=True):
                whole[part] = some
        # Keras's fit takes texts as tensors alone, and no mixture of tensors and arrays.
        if any(array.dtype == object for array in keras.tree.flatten(x)):
            x = keras.tree.map_structure(tf.convert_to_tensor, x)
        # A copy, as x is: a fit may change what it is given.
        return x, np.array(self._targets(rows, network))


def _as_arrays(encoded: Any) -> Inputs:
    arrays: Inputs = keras.tree.map_structure(np.asarray, encoded)
    return arrays


def _weights(rows: AnyRows) -> tuple[np.ndarray, ...]:
    return () if rows.weights is None else (rows.weights.copy(),)


def _loss_of(logs: dict[str, float]) -> dict[str, float]:
    return {"loss": logs["loss"]} if "loss" in logs else {}


def _worth_saying(record: logging.LogRecord) -> bool:
    """Leave out that functions are traced again: each model's fit has its own."""
    return "triggered tf.function retracing" not in record.getMessage()


def _trained_metrics(network: keras.Model) -> Collection[str]:
    """Return the names of the compiled metrics, which Keras gives to figures of the train rows in an epoch's logs."""
    try:
        return network.get_metrics_result() if network.compiled else ()
    except ValueError:  # not built, so it is not Keras that trains
        return ()


def _equal(ours: list[np.ndarray], theirs: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))
