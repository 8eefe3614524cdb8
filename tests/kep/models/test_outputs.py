"""Heads of networks: logits become probabilities where their meaning is certain, and are refused where it is not."""

import numpy as np
import pytest

from kep.core.errors import UserError
from kep.data.records import Records
from kep.delivery.export.edge import encoded, of_features, tflite, whole
from kep.models.encode import inputs_of
from kep.models.family import Settings
from kep.models.registry import family, travelling
from kep.models.wrapped import network_of
from kep.training.machine import TrainingMachine
from kep.training.monitor import Monitor
from tests.helpers.families import Alone, made

OWN = """
import keras
from keras import layers, losses
from keras_tuner import HyperModel

def made(units, end, loss):
    model = keras.Sequential([layers.Dense(8, "relu"), layers.Dense(units, end)])
    model.compile(keras.optimizers.Adam(0.02), loss)
    return model

def sparse(hp): return made(2, "softmax", "sparse_categorical_crossentropy")
def sparse_logits(hp): return made(2, None, losses.SparseCategoricalCrossentropy(from_logits=True))
def one_hot(hp): return made(2, "softmax", "categorical_crossentropy")
def one_hot_smooth(hp): return made(2, "softmax", losses.CategoricalCrossentropy(label_smoothing=0.1))
def one_hot_logits(hp): return made(2, None, losses.CategoricalCrossentropy(from_logits=True))
def focal(hp): return made(2, "softmax", losses.CategoricalFocalCrossentropy())
def sigmoid(hp): return made(1, "sigmoid", "binary_crossentropy")
def sigmoid_logits(hp): return made(1, None, losses.BinaryCrossentropy(from_logits=True))
def brier(hp): return made(1, "sigmoid", "mse")
def listed(hp): return made(2, None, [losses.SparseCategoricalCrossentropy(from_logits=True)])

def functional(hp):
    rows = keras.Input((30,))
    model = keras.Model(rows, layers.Dense(2)(layers.Dense(8, "relu")(rows)))
    model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True))
    return model

def linear(hp): return made(2, None, "sparse_categorical_crossentropy")
def linear_one(hp): return made(1, None, "binary_crossentropy")
def twice(hp): return made(2, "softmax", losses.SparseCategoricalCrossentropy(from_logits=True))
def twice_one(hp): return made(1, "sigmoid", losses.BinaryCrossentropy(from_logits=True))
def sparse_one(hp): return made(1, "sigmoid", "sparse_categorical_crossentropy")
def binary_two(hp): return made(2, "sigmoid", "binary_crossentropy")
def squares(hp): return made(2, "softmax", "mse")
def hinge(hp): return made(2, None, lambda y, p: keras.ops.mean(p))

def several(hp):
    rows = keras.Input((30,))
    model = keras.Model(rows, [layers.Dense(2, "softmax")(rows), layers.Dense(1)(rows)])
    model.compile("adam", ["sparse_categorical_crossentropy", "mse"])
    return model

class Loop(HyperModel):
    def build(self, hp):
        return keras.Sequential([layers.Dense(2)])
    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, **kwargs)

class OneHot(HyperModel):
    def build(self, hp):
        return one_hot_logits(hp)
    def fit(self, hp, model, x, y, **kwargs):
        assert y.shape == (len(x), 2)
        return model.fit(x, y, **kwargs)
"""
SOURCE = "cancer"
SETTINGS = Settings(max_epochs=8, patience=8, batch_size=32, seed=1)


HEADS = "sparse sparse_logits one_hot one_hot_logits sigmoid sigmoid_logits functional"


LONG = [pytest.param(head, marks=pytest.mark.slow) for head in ("one_hot_smooth", "focal", "brier", "listed")]


@pytest.mark.parametrize("head", [*HEADS.split(), "OneHot", *LONG])
def test_a_head_whose_meaning_is_certain_gives_probabilities(own, rows, head, tmp_path):
    manifest, train, validation = rows
    member = made(own, head, manifest)
    member.check(train)
    fit = member.fit({}, train, validation, SETTINGS, Monitor())
    assert fit.problem is None
    assert fit.predictions.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert fit.loss < 0.4
    member.save(fit.model(), tmp_path)
    loaded = member.load(tmp_path)
    np.testing.assert_array_equal(member.predict(loaded, validation), fit.predictions)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (
            "linear",
            "own_linear are not probabilities, since its last layer is linear; end it in softmax or sigmoid, or",
        ),
        ("several", "own_several must have one output, it has 2"),
        ("linear_one", "own_linear_one are not probabilities, since its last layer is linear"),
        ("hinge", "own_hinge are not probabilities, since its last layer is linear"),
        ("Loop", "own_loop are not probabilities, since its last layer is linear"),
        ("twice", "own_twice ends in softmax, and its loss has from_logits=True; remove one of the two"),
        ("twice_one", "own_twice_one ends in sigmoid, and its loss has from_logits=True"),
        ("sparse_one", r"sparse_categorical_crossentropy and ends in 1 unit; use binary_crossentropy with one unit"),
        ("binary_two", r"binary_crossentropy and ends in 2 units, of which it does not say which is which class"),
        ("squares", r"compiled with mean_squared_error and ends in 2 units, of which it does not say"),
    ],
)
def test_a_head_whose_meaning_is_not_certain_is_refused(own, rows, head, words):
    with pytest.raises(UserError, match=words) as refused:
        made(own, head, rows[0]).check(rows[1])
    assert "\n" not in str(refused.value)


def test_a_loss_for_classes_is_refused_for_a_number(own, records):
    data = Records(records("houses"), "tune")
    with pytest.raises(UserError, match="own_sigmoid is compiled with binary_crossentropy, which is for classes"):
        made(own, "sigmoid", data.manifest).check(data.load("train"))


@pytest.mark.parametrize("head", ["sparse_logits", "one_hot_logits", "sigmoid_logits"])
def test_exports_of_a_model_of_logits_hold_probabilities(own, rows, head):
    manifest, train, _ = rows
    member = made(own, head, manifest)
    model = member.refit({}, train, 2, SETTINGS, Monitor())
    expected, first = member.predict(model, train), train.take(slice(0, 20))
    alone = Alone(manifest, model)
    for made_of, given in ((whole, inputs_of(first)), (of_features, encoded(alone, first))):
        found = np.asarray(made_of(alone)(given)["probabilities"])
        np.testing.assert_allclose(found, expected[:20], atol=1e-6)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("head", ["mlp", "sparse_logits", "functional"])
def test_half_precision_is_exported_in_float32(own, rows, head, precision, tmp_path):
    manifest, train, _ = rows
    (spec,) = travelling([head if head == "mlp" else f"own.py:{head}"], own)
    member = family(spec, manifest, lambda: TrainingMachine(precision=precision))
    member.save(member.refit(member.space().values, train, 2, SETTINGS, Monitor()), tmp_path)
    model = member.load(tmp_path)
    assert {layer.compute_dtype for layer in network_of(model).layers} & {"bfloat16", "float16"}
    alone = Alone(manifest, model)
    features = encoded(alone, train.take(slice(0, 20)))
    plain = of_features(alone)
    content = tflite(plain, "float32", features)
    from ai_edge_litert.interpreter import Interpreter

    running = Interpreter(model_content=content)
    (given,), (out,) = running.get_input_details(), running.get_output_details()
    running.resize_tensor_input(given["index"], features.shape)
    running.allocate_tensors()
    running.set_tensor(given["index"], features)
    running.invoke()
    found = running.get_tensor(out["index"])
    np.testing.assert_allclose(found, np.asarray(plain(features)["probabilities"]), atol=1e-5)
    np.testing.assert_allclose(found, member.predict(model, train)[:20], atol=0.02)
