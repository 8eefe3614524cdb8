"""Trainings of models of one structure share what was compiled, and nothing else."""

import numpy as np
import pytest

from kep.data.records import Records
from kep.models.family import Settings
from kep.models.registry import family
from kep.training.monitor import Monitor
from tests.helpers.families import defaults, made

OWN = """
import keras
import numpy as np
from keras import layers

class Twice(layers.Layer):
    def call(self, x):
        return 2 * x

def network(hp, *more):
    model = keras.Sequential([layers.Dense(hp.Int("units", 4, 8), activation="relu"), *more,
                              layers.Dropout(0.4), layers.BatchNormalization(), layers.Dense(2, "softmax")])
    rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
    optimizer = hp.Choice("optimizer", ["rmsprop", "adam"])
    optimizers = {"rmsprop": keras.optimizers.RMSprop, "adam": keras.optimizers.Adam}
    model.compile(optimizers[optimizer](rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

def build(hp):
    return network(hp)

def with_own_layer(hp):
    return network(hp, Twice())

def with_adapted(hp):
    scale = layers.Normalization()
    scale.adapt(np.array([[0.0] * 30, [hp.Choice("end", [4.0, 8.0])] * 30]))
    return network(hp, layers.Dense(30), scale)

def with_own_loss(hp):
    model = network(hp)
    model.compile("adam", lambda y, p: keras.losses.sparse_categorical_crossentropy(y, p))
    return model
"""
BASE = {"units": 4, "learning_rate": 0.01, "optimizer": "adam"}


@pytest.fixture(scope="module")
def data(records):
    return Records(records("cancer"), "tune")


@pytest.fixture(scope="module")
def rows(data):
    return data.load("train"), data.load("validation")


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def fitted(member, rows, seed=0, **values):
    return member.fit(BASE | values, *rows, Settings(3, 3, 16, seed), Monitor())


def same(one, other) -> bool:
    return (
        one.train_curve == other.train_curve
        and np.array_equal(one.predictions, other.predictions)
        and all(
            np.array_equal(a, b) for a, b in zip(one.model().get_weights(), other.model().get_weights(), strict=True)
        )
    )


@pytest.mark.slow
def test_a_training_after_others_has_the_bits_of_one_alone(own, data, rows):
    """Weights, dropout, optimiser and metrics start as a newly built model's do."""
    used = made(own, "build", data.manifest)
    for changes in ({}, {"seed": 1}, {"learning_rate": 0.05}, {"optimizer": "rmsprop"}, {"units": 8}, {}):
        later = fitted(used, rows, **changes)
        assert same(later, fitted(made(own, "build", data.manifest), rows, **changes)), changes


def test_the_seed_and_the_learning_rate_share_what_was_compiled(own, data, rows):
    member = made(own, "build", data.manifest)
    fitted(member, rows)
    (training,) = member._kept.values()
    traces = training.loop._run.experimental_get_tracing_count()
    fitted(member, rows, seed=1)
    fitted(member, rows, learning_rate=0.05)
    fitted(member, (rows[0].take(slice(0, 200)), rows[1]))
    assert list(member._kept.values()) == [training]
    assert training.loop._run.experimental_get_tracing_count() == traces
    fitted(member, rows, optimizer="rmsprop")
    fitted(member, rows, units=8)
    assert len(member._kept) == 3


def test_a_users_own_code_is_compiled_anew(own, data, rows):
    """Its random numbers and constants are not all in its configuration."""
    for function in ("with_own_layer", "with_own_loss"):
        member = made(own, function, data.manifest)
        first = fitted(member, rows)
        assert not member._kept
        assert same(first, fitted(member, rows))


def test_a_layer_that_was_adapted_to_other_values_is_compiled_anew(own, data, rows):
    member, fresh = (made(own, "with_adapted", data.manifest) for _ in range(2))
    fitted(member, rows, end=4.0)
    assert same(fitted(member, rows, end=8.0), fitted(fresh, rows, end=8.0))


def test_a_fit_keeps_its_model_when_the_next_one_trains(own, data, rows, tmp_path):
    member = made(own, "build", data.manifest)
    first = fitted(member, rows)
    refitted = member.refit(BASE, rows[0], 2, Settings(0, 0, 16, 0), Monitor())
    weights = refitted.get_weights()
    fitted(member, rows, seed=1)
    member.refit(BASE, rows[0], 2, Settings(0, 0, 16, 1), Monitor())
    np.testing.assert_array_equal(member.predict(first.model(), rows[1]), first.predictions)
    assert all(np.array_equal(a, b) for a, b in zip(weights, refitted.get_weights(), strict=True))


@pytest.mark.slow
def test_few_compiled_trainings_are_kept(data, rows):
    member = family({"name": "mlp"}, data.manifest)
    for units in (32, 64, 128):
        for layers in (1, 2):
            values = defaults(member) | {"units": units, "layers": layers}
            member.fit(values, *rows, Settings(1, 1, 128, 0), Monitor())
    assert len(member._kept) == 4
