"""A HyperModel's own `fit` is called as KerasTuner calls it, and what can't be honoured of it is one sentence."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from kep.components.tune.space import discover
from kep.config.hardware import TrainingHardware
from kep.core.errors import UserError
from kep.data.schema import Weighting
from kep.models.family import Settings
from kep.models.placed import Placed
from kep.runtime.hardware import DevicePlan
from kep.runtime.step import Step
from kep.stats.metrics import loss
from kep.training.checkpoints import Checkpoints
from kep.training.machine import TrainingMachine
from kep.training.monitor import Monitor
from tests.helpers.families import defaults, made

SOURCE = "cancer"
SETTINGS = Settings(max_epochs=6, patience=6, batch_size=32, seed=3)
OWN = """
import keras
import keras_tuner
import tensorflow as tf

class Compiled(keras_tuner.HyperModel):
    def build(self, hp):
        model = keras.Sequential([keras.layers.Dense(hp.Choice("units", [4, 8]), "relu"), keras.layers.Dropout(0.2),
                                  keras.layers.Dense(2, "softmax")])
        model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

class Guide(Compiled):
    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, batch_size=hp.Choice("batch_size", [16, 32]), shuffle=hp.Boolean("shuffle"), **kwargs)

class Named(Compiled):
    def fit(self, hp, model, x, y, validation_data=None, batch_size=None, **kwargs):
        weight = hp.Float("weight", 1, 9)
        return model.fit(x, y, batch_size, validation_data=validation_data, class_weight={0: weight, 1: 1.0}, **kwargs)

class Deep(Compiled):
    def fit(self, hp, model, *args, **kwargs):
        if hp.Boolean("clip", default=False):
            model.optimizer.clipnorm = hp.Float("norm", 0.5, 2.0)
        return model.fit(*args, **kwargs)

class Loop(keras_tuner.HyperModel):
    def build(self, hp):
        return keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(2, "softmax")])

    def fit(self, hp, model, x, y, validation_data, epochs, callbacks=None, **kwargs):
        data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(hp.Int("batch_size", 16, 64, step=16))
        optimizer = keras.optimizers.Adam(hp.Float("learning_rate", 1e-3, 1e-1, sampling="log"))
        loss_fn, mean = keras.losses.SparseCategoricalCrossentropy(), keras.metrics.Mean()

        @tf.function
        def train():
            for rows, labels in data:
                with tf.GradientTape() as tape:
                    loss = loss_fn(labels, model(rows, training=True))
                gradients = tape.gradient(loss, model.trainable_variables)
                optimizer.apply_gradients(zip(gradients, model.trainable_variables))
                mean.update_state(loss)

        for callback in callbacks:
            callback.set_model(model)
        for epoch in range(epochs):
            train()
            for callback in callbacks:
                callback.on_epoch_end(epoch, logs={"my_metric": mean.result()})
            mean.reset_state()
        return float(mean.result())

class Metrics(Compiled):
    def fit(self, hp, model, *args, **kwargs):
        history = model.fit(*args, **kwargs)
        return {"val_loss": history.history["loss"][-1], "mine": 0.25}

class Unwatched(Compiled):
    def fit(self, hp, model, x, y, validation_data=None, **kwargs):
        return model.fit(x, y, **kwargs)

class Swallowing(Compiled):
    def fit(self, hp, model, x, y, callbacks, **kwargs):
        try:
            history = model.fit(x, y, epochs=5, callbacks=callbacks, verbose=0)
        except Exception:
            return 0.0

class Deaf(Compiled):
    def fit(self, hp, model, x, y, epochs, **kwargs):
        return model.fit(x, y, epochs=epochs, verbose=0)

class Fixed(Compiled):
    def fit(self, hp, model, x, y, callbacks, **kwargs):
        return model.fit(x, y, epochs=2, callbacks=callbacks, verbose=0)

class Once(Compiled):
    def fit(self, hp, model, x, y, callbacks, **kwargs):
        return model.fit(x, y, callbacks=callbacks, verbose=0)

class Long(Compiled):
    def fit(self, hp, model, x, y, callbacks, **kwargs):
        return model.fit(x, y, epochs=100, callbacks=callbacks, verbose=0)

class Twice(Compiled):
    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, epochs=hp.Int("epochs", 2, 4), **kwargs)

class Silent(Compiled):
    def fit(self, hp, model, *args, **kwargs):
        model.fit(*args, **kwargs)

class Other(Compiled):
    def fit(self, hp, model, *args, **kwargs):
        return self.build(hp).fit(*args, **kwargs)

class Validated(Compiled):
    def fit(self, hp, model, x, y, validation_data, **kwargs):
        x_val, y_val = validation_data
        return model.fit(x, y, validation_data=(x_val, y_val), **kwargs)

class Uncompiled(Loop):
    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, **kwargs)

class Wide(Compiled):
    def build(self, hp):
        model = keras.Sequential([keras.layers.Dense(3, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model
    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, **kwargs)

class Nothing(Guide):
    def build(self, hp):
        return None
"""


@pytest.mark.parametrize(
    "name", ["Loop", *(pytest.param(name, marks=pytest.mark.slow) for name in ("Guide", "Metrics"))]
)
def test_a_fit_of_ones_own_keeps_the_contract_of_families(own, rows, name, tmp_path):
    manifest, train, validation = rows
    member = made(own, name, manifest)
    member.check(train)
    fit = member.fit({}, train, validation, SETTINGS, Monitor())
    assert len(fit.validation_curve) == len(fit.train_curve) == 6
    assert fit.at_cap
    assert fit.best == int(np.argmin(fit.validation_curve)) + 1
    # Measured by us, whatever the fit tells.
    assert fit.loss == pytest.approx(loss("binary", validation.labels, fit.predictions), rel=1e-6)
    np.testing.assert_array_equal(member.predict(fit.model(), validation), fit.predictions)
    assert fit.loss < 0.5
    again = made(own, name, manifest).fit({}, train, validation, SETTINGS, Monitor())
    np.testing.assert_array_equal(again.predictions, fit.predictions)

    model = member.refit({}, train, 2.4, SETTINGS, Monitor())
    two = member.fit({}, train, validation, replace(SETTINGS, max_epochs=2), Monitor())
    if two.best == 2 and name != "Metrics":
        np.testing.assert_array_equal(member.predict(model, validation), two.predictions)
    member.save(model, tmp_path)
    np.testing.assert_array_equal(member.predict(member.load(tmp_path), validation), member.predict(model, validation))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Deaf", r"fit\(\) of own_deaf does not call the callbacks that it is given.* pass callbacks on to model\.fit"),
        ("Fixed", r"fit\(\) of own_fixed trained more than 1 epochs that it was asked for; pass epochs on"),
        ("Once", r"fit\(\) of own_once trained 1 of 2 epochs"),
        ("Long", r"fit\(\) of own_long trained more than 2 epochs"),
        ("Swallowing", r"fit\(\) of own_swallowing trained more than 2 epochs"),
        ("Twice", r"own_twice fails on one batch: TypeError in line \d+ of own.py: .*multiple values .*'epochs'"),
        ("Silent", r"fit\(\) of own_silent returned None; return the History of model\.fit\(\), a number, or a dict"),
        ("Validated", r"fit\(\) of own_validated fails without validation rows.*validation_data=None.*TypeError"),
        ("Uncompiled", r"own_uncompiled fails on one batch: .*compile\(\)"),
        ("Other", r"fit\(\) of own_other trains another model than the one that it is given"),
        ("Wide", "own_wide must end in 2 units"),
        ("Nothing", "own_nothing must return a Keras model, it returns None"),
    ],
)
def test_a_fit_that_breaks_the_contract_is_refused(own, rows, name, words):
    with pytest.raises(UserError, match=words) as refused:
        made(own, name, rows[0]).check(rows[1])
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_hyperparameters_of_a_fit_are_searched(own, rows):
    manifest, train, validation = rows
    assert set(defaults(made(own, "Guide", manifest))) == {"units", "batch_size", "shuffle"}
    assert set(defaults(made(own, "Loop", manifest))) == {"batch_size", "learning_rate"}
    member = made(own, "Deep", manifest)
    space = member.space()
    assert "norm" not in space.values
    whole, failed = discover(member.declared, space, 6, 0)
    assert not failed
    assert whole.space[-1].name == "norm"
    fit = member.fit({"units": 4, "clip": True}, train, validation, replace(SETTINGS, max_epochs=1), Monitor())
    assert [one.config["name"] for one in fit.declared] == ["norm"]


def test_a_search_can_optimise_what_a_fit_tells(own, rows):
    manifest, train, validation = rows
    fits = {
        name: made(own, name, manifest).fit({}, train, validation, replace(SETTINGS, max_epochs=2), Monitor())
        for name in ("Guide", "Loop", "Metrics")
    }
    accuracy = (fits["Guide"].predictions.argmax(axis=1) == validation.labels).mean()
    assert fits["Guide"].reported["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert set(fits["Loop"].reported) == {"my_metric"}
    assert fits["Metrics"].reported["mine"] == 0.25
    assert "loss" not in fits["Metrics"].reported


@pytest.mark.slow
def test_a_metric_of_train_rows_is_no_score(own, rows):
    manifest, train, validation = rows
    member = made(own, "Unwatched", manifest)
    assert "accuracy" in member.check(train)  # measured on the model
    fit = member.fit({}, train, validation, replace(SETTINGS, max_epochs=2), Monitor())
    assert "accuracy" not in fit.reported
    accuracy = (fit.predictions.argmax(axis=1) == validation.labels).mean()
    assert member.reported(fit.model(), validation)["accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_early_stopping_ends_a_fit_and_a_loop_that_does_not_listen_adds_nothing(own, rows):
    manifest, train, validation = rows
    patient = Settings(max_epochs=200, patience=2, batch_size=32, seed=3)
    fit = made(own, "Guide", manifest).fit({}, train, validation, patient, Monitor())
    assert len(fit.validation_curve) == fit.best + 2 < 200
    assert not fit.at_cap
    deaf = made(own, "Loop", manifest).fit({}, train, validation, replace(patient, max_epochs=60), Monitor())
    assert len(deaf.validation_curve) <= deaf.best + 2


def test_a_parameter_called_batch_size_gets_the_searchs(own, rows):
    manifest, train, validation = rows
    member = made(own, "Named", manifest)
    steps = []

    class Counting(Monitor):
        def call(self, epoch, step, steps_, batch):
            steps.append((steps_, batch))

    member.fit({}, train, validation, replace(SETTINGS, max_epochs=1, batch_size=50), Counting())
    assert set(steps) == {(-(-len(train) // 50), -(-len(train) // -(-len(train) // 50)))}


def test_steps_of_a_call_are_refused(own, rows):
    from kep.models.registry import family, travelling

    (spec,) = travelling(["own.py:Guide"], own)
    member = family(spec, rows[0], lambda: TrainingMachine(steps_per_call=4))
    with pytest.raises(UserError, match=r"own_guide has a fit.* set steps_per_execution: auto"):
        member.check(rows[1])


def test_keras_does_not_choose_xla_by_itself(own, rows):
    network, _ = made(own, "Guide", rows[0])._models({}, 0)
    assert network.jit_compile is False
    assert isinstance(network, keras.Model)


COUNTED = """
class Plain(Compiled):
    def fit(self, hp, model, x, y, validation_data, epochs, callbacks, verbose):
        return model.fit(x, y, validation_data=validation_data, epochs=epochs, callbacks=callbacks, verbose=verbose)

class Careless(Compiled):
    def fit(self, hp, model, x, y, validation_data, epochs, callbacks, **kwargs):
        return model.fit(x, y, validation_data=validation_data, epochs=epochs, callbacks=callbacks, verbose=0)
"""


@pytest.fixture
def counted(rows):
    """Rows of which those of class 1 count nothing."""
    manifest, *roles = rows
    weighting = Weighting(column="w", mean=1.0)
    parts = [replace(part, weights=(part.labels == 0).astype(np.float32)) for part in roles]
    return manifest.model_copy(update={"weighting": weighting}), *parts


@pytest.mark.slow
def test_weights_of_rows_reach_a_fit(own, counted):
    manifest, train, validation = counted
    member = made(own, "Guide", manifest)
    member.check(train)
    fit = member.fit(defaults(member), train, validation, SETTINGS, Monitor())
    assert fit.loss == pytest.approx(loss("binary", validation.labels, fit.predictions, validation.weights))
    # Only class 0 was worth anything.
    assert fit.predictions[:, 0].mean() > 0.8


@pytest.mark.parametrize(
    ("name", "words"), [("Plain", "takes no sample_weight"), ("Careless", "takes no notice of sample_weight")]
)
def test_a_fit_that_can_not_count_rows_is_refused(own, counted, name, words):
    (own / "own.py").write_text(OWN + COUNTED)
    with pytest.raises(UserError, match=words):
        made(own, name, counted[0]).check(counted[1])


def test_a_fit_of_ones_own_ends_at_sigterm_since_it_keeps_no_checkpoint(own, rows, tmp_path):
    step, hardware = Step("best_epoch"), TrainingHardware()
    step.out = tmp_path
    kept, plan = Checkpoints(tmp_path / "kept", "x", 60), DevicePlan("single", "cpu", 1, "")
    for family, found in (("Guide", None), ("Compiled", kept)):
        place = Placed(made(own, family, rows[0]), 32, plan, True, TrainingMachine(), hardware)
        assert place.monitor(step, "", kept, 3).checkpoints() is found
