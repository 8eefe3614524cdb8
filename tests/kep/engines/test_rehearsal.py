"""A user's own families are tried before a run is sent away, under XLA where it will train under XLA."""

import pytest
import yaml

from kep.config.run_file import load
from kep.core.errors import UserError
from kep.engines.rehearsal import rehearse

OWN = """
import keras
import keras_tuner
import tensorflow as tf

class Known(keras.layers.Layer):
    def call(self, x):
        values, index = tf.unique(tf.reshape(x, [-1]))
        return tf.reshape(tf.gather(values, index), tf.shape(x))

def build(hp):
    return made([keras.layers.Dense(4)])

def by_data(hp):
    return made([keras.saving.register_keras_serializable()(Known)()])

class Host(keras.layers.Layer):
    def call(self, x):
        return tf.ensure_shape(tf.numpy_function(lambda v: v, [x], tf.float32), x.shape)

def on_the_host(hp):
    return made([keras.saving.register_keras_serializable()(Host)()])

class Fits(keras_tuner.HyperModel):
    def build(self, hp):
        return build(hp)
    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, **kwargs)

class Deaf(Fits):
    def fit(self, hp, model, x, y, epochs, **kwargs):
        return model.fit(x, y, epochs=epochs)

def ends(hp):
    import os
    os._exit(3)

def exits(hp):
    raise SystemExit(0)

def made(parts):
    model = keras.Sequential([*parts, keras.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""


@pytest.fixture
def tried(tmp_path):
    """Tries a function of the file, with this hardware."""
    (tmp_path / "own.py").write_text(OWN)

    def of(function: str, **hardware: dict) -> None:
        families = {"families": [f"own.py:{function}", "mlp"]}
        asked = {"name": "t", "data": {"source": "sklearn:iris"}, "search": families, "hardware": hardware}
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(asked))
        rehearse(load(tmp_path / "run.yaml"), tmp_path)

    return of


def test_a_family_that_works_is_taken(tried):
    tried("build", retrain={"strategy": "tpu"})


@pytest.mark.slow
def test_shapes_that_depend_on_the_data_are_found_where_xla_will_train(tried):
    tried("by_data")
    begin = r"hardware\.retrain\.strategy: tpu trains under XLA: search\.families: own_"
    with pytest.raises(UserError, match=begin + r"by_data has a shape that depends on the data \(.*known_1/Unique.*\)"):
        tried("by_data", retrain={"strategy": "tpu"})
    with pytest.raises(UserError, match=begin + r"on_the_host fails on one batch: Inv.* operations .*host_1/PyFunc"):
        tried("on_the_host", retrain={"strategy": "tpu"})


@pytest.mark.slow
def test_a_fit_of_ones_own_is_tried_with_the_hardware_that_it_would_have(tried):
    tried("Fits", retrain={"jit": "on"}, best_epoch={"strategy": "single"})
    with pytest.raises(UserError, match=r"fit\(\) of own_deaf does not call the callbacks"):
        tried("Deaf")


@pytest.mark.parametrize(
    ("step", "hardware", "words"),
    [
        (
            "retrain",
            {"strategy": "mirrored"},
            r"hardware\.retrain\.strategy: mirrored can't be had for own_fits, whose",
        ),
        ("best_epoch", {"device": "cpu", "devices": 2}, r"hardware\.best_epoch\.devices: 2 can't be had for own_fits"),
        ("tune", {"steps_per_execution": 8}, r"hardware\.tune\.steps_per_execution: 8 can't be had for own_fits"),
        ("retrain", {"machine": {"machines": 2}}, r"hardware\.retrain\.machine\.machines: 2 can't be had for own_fits"),
    ],
)
def test_what_only_the_one_loop_can_do_is_refused_for_a_fit_of_ones_own(tried, step, hardware, words):
    with pytest.raises(UserError, match=words):
        tried("Fits", **{step: hardware})


def test_a_family_that_takes_its_process_down(tried):
    with pytest.raises(UserError, match="the process that tried the own families on one batch died"):
        tried("ends", tune={"jit": "on"})
    with pytest.raises(UserError, match=r"own_exits ends its process \(sys\.exit\)"):
        tried("exits")
