"""The families where TensorFlow on one CPU is not what trains: under XLA, as on TPUs, and under Keras's JAX backend."""

import functools
import json
import subprocess
import sys

import numpy as np
import pytest

from kep.core.errors import UserError
from kep.data.records import Records
from kep.models.family import Settings
from kep.models.registry import PREMADE, family, travelling
from kep.training.machine import TrainingMachine
from kep.training.monitor import Monitor

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("cnn", *PREMADE)]


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_the_whole_training_step_trains_under_xla(name, records):
    """What a TPU asks for: known shapes, and nothing in the step that runs on the host."""
    data = Records(records("digits"), "tune")
    rows = data.load("train").take(np.arange(96))
    plain, compiled = (
        family({"name": name}, data.manifest, lambda jit=jit: TrainingMachine(jit=jit)) for jit in (False, True)
    )
    # Dropout's numbers are others under XLA on a CPU.
    values = dict(plain.space().values) | {"dropout": 0.0}
    fits = [one.fit(values, rows, rows, Settings(2, 2, 32, 0), Monitor()) for one in (plain, compiled)]
    np.testing.assert_allclose(fits[1].predictions, fits[0].predictions, atol=1e-4)


@pytest.mark.parametrize(
    ("dropout", "epochs", "jit", "expected"),
    [
        (0.0, 10_000, None, True),
        (0.1, 10_000, None, False),
        (0.0, 10, None, False),
        (0.0, 10_000, False, False),
        (0.1, 10, True, True),
    ],
)
def test_on_a_cpu_xla_is_for_long_trainings_of_dense_layers(records, dropout, epochs, jit, expected):
    data = Records(records("digits"), "tune")
    member = family({"name": "mlp"}, data.manifest, lambda: TrainingMachine(jit=jit))
    values = member.space().values | {"dropout": dropout}
    training, _ = member._start(values, data.load("train"), Settings(epochs, 1, 128, 0), epochs)
    assert training.loop._machine.jit is expected


@pytest.mark.parametrize(
    ("source", "name"), [("churn", "mlp"), ("houses", "mlp"), ("digits", "mlp"), ("digits", "cnn")]
)
def test_every_shape_is_known_before_there_are_rows(source, name, records):
    data = Records(records(source), "tune")
    family({"name": name}, data.manifest, lambda: TrainingMachine(jit=True)).check(data.load("train"))


@pytest.mark.slow
@pytest.mark.parametrize("name", PREMADE)
def test_the_whole_training_step_is_lowered_to_xla(name, records):
    """XLA takes every operation of a large network; to compile all of it for a CPU takes it up to ten minutes."""
    data = Records(records("digits"), "tune")
    member = family({"name": name}, data.manifest, lambda: TrainingMachine(jit=True))
    rows = data.load("train").take(np.arange(64))
    training, feed = member._start(dict(member.space().values), rows, Settings(1, 1, 32, 0), 1)
    _, block = next(feed.blocks(1, 0, 2))
    lowered = training.loop._run.experimental_get_compiler_ir(block, 32)(stage="hlo")
    assert "while(" in lowered
    assert "convolution" in lowered
    assert "custom-call" not in lowered


@pytest.mark.parametrize(
    "operation",
    ["tf.cast(tf.range(tf.cast(tf.reduce_max(x), tf.int32)), x.dtype)", "tf.py_function(lambda v: v, [x], x.dtype)"],
)
def test_what_xla_can_not_compile_is_found_with_one_batch(operation, records, tmp_path):
    """A shape that depends on the data, and an operation on the host."""
    (tmp_path / "own.py").write_text(f"""
import keras
import tensorflow as tf

@keras.saving.register_keras_serializable("test_backends")
class Own(keras.layers.Layer):
    def call(self, x):
        return x + tf.reduce_mean({operation})

    def compute_output_shape(self, shape):
        return shape

def build(hp):
    model = keras.Sequential([Own(), keras.layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
""")
    data = Records(records("cancer"), "tune")
    (spec,) = travelling(["own.py:build"], tmp_path)
    with pytest.raises(UserError, match="own fails on one batch"):
        family(spec, data.manifest, lambda: TrainingMachine(jit=True)).check(data.load("train"))
    family(spec, data.manifest).check(data.load("train"))


@pytest.fixture(scope="module")
def jax(records):
    """What a training under JAX reports: by family and by how it is spread over four host devices."""

    @functools.cache
    def trained(name: str, how: str) -> dict:
        command = [sys.executable, "-m", "tests.kep.models.under_jax", name, str(records("digits")), how]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return trained


@pytest.mark.parametrize("name", [pytest.param("mlp", marks=pytest.mark.slow), *SLOW])
def test_a_family_trains_under_jax_on_four_devices(name, jax):
    report = jax(name, "data")
    assert report["backend"] == "jax"
    assert report["devices"] == 4
    assert report["moved"]
    assert np.isfinite(report["loss"])


@pytest.mark.slow
def test_data_parallel_training_under_jax_is_that_of_one_device(jax):
    one, four = jax("mlp", "one"), jax("mlp", "data")
    assert one["devices"] == 1
    assert four["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert four["sum"] == pytest.approx(one["sum"], rel=1e-5)


@pytest.mark.slow
def test_a_layer_too_large_for_a_device_is_divided_under_jax(jax):
    """Keras's layout map: the first layer's kernel has a quarter of its columns on each device."""
    one, divided = jax("mlp", "one"), jax("mlp", "sharded")
    rows, columns = divided["whole"]
    assert divided["part"] == [rows, columns // 4]
    assert divided["loss"] == pytest.approx(one["loss"], rel=1e-5)
