"""Networks of several inputs get features by name; what can't be matched is one sentence."""

import numpy as np
import pytest

from kep.core.errors import UserError
from kep.data.records import Records, encode_table, made_up
from kep.data.schema import Column
from kep.delivery.export.edge import encoded, of_features, tflite, whole
from kep.models.encode import Encode, EncodeByName, encoding, inputs_of
from kep.models.ensemble import raw_features
from kep.models.family import Settings
from kep.models.features import Features
from kep.models.registry import family, travelling
from kep.models.wrapped import encode_of
from kep.training.machine import TrainingMachine
from kep.training.monitor import Monitor
from tests.helpers.families import Alone, made

OWN = """
import keras
from keras import Input, layers
from keras_tuner import HyperModel

def ended(inputs, parts, **more):
    rows = layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    model = keras.Model(inputs, layers.Dense(2, "softmax", dtype="float32")(layers.Dense(8, "relu")(rows)))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", **more)
    return model

def by_group(hp, features):
    numbers = Input(features.shapes["numeric"], name="numeric")
    codes = Input(features.shapes["categorical"], name="categorical", dtype="int32")
    table = layers.Embedding(max(features.categorical.values()), hp.Int("width", 2, 4))
    # The order of the list is not that of the names, and only one of the two has this size.
    return ended([numbers, codes], [layers.Reshape((5,))(numbers), layers.Flatten()(table(codes))])

def by_column(hp, features=None):
    months, charge = Input((1,), name="months"), Input((), name="monthly_charge")
    plan, region = (Input(shape, name=name, dtype="int32") for shape, name in (((1,), "plan"), ((), "region")))
    wide, flat = (layers.Embedding(features.categorical[name], 2) for name in ("plan", "region"))
    parts = [months, layers.Reshape((1,))(charge), layers.Flatten()(wide(plan)), flat(region)]
    return ended([months, charge, plan, region], parts, metrics=["accuracy"])

def mixed(hp):
    inputs = {"numeric": Input((5,), name="numeric"), "plan": Input((1,), name="plan")}
    parts = [layers.Normalization(mean=0.5, variance=2.0)(inputs["numeric"]),
             layers.CategoryEncoding(5, output_mode="one_hot")(inputs["plan"])]
    return ended(inputs, parts)

def keyed(hp):
    inputs = {"plan": Input((1,)), "numeric": Input((5,))}
    return ended(inputs, [layers.Flatten()(layers.Embedding(5, 2)(inputs["plan"])), inputs["numeric"]])

def looked_up(hp):
    plan, region = Input((1,), name="plan", dtype="string"), Input((), name="region", dtype="string")
    numbers = Input((5,), name="numeric")
    known = layers.StringLookup(vocabulary=["basic", "plus"], output_mode="one_hot")
    hashed = layers.Embedding(7, 2)(layers.Hashing(7)(region))
    return ended([plan, region, numbers], [known(plan), hashed, layers.Normalization(mean=0.5, variance=2.0)(numbers)])

def one_text(hp):
    plan = Input((1,), name="plan", dtype="string")
    return ended([plan], [layers.StringLookup(vocabulary=["basic"], mask_token="", output_mode="one_hot")(plan)])

def one_group(hp):
    numbers = Input((5,), name="numeric")
    return ended(numbers, [numbers])

def one_column(hp):
    model = keras.Sequential([Input((1,), name="support_calls"), layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model

def one_category(hp):
    plan = Input((1,), name="plan", dtype="int32")
    return ended([plan], [layers.Flatten()(layers.Embedding(5, 2)(plan))])

def all_unnamed(hp):
    rows = Input((16,))
    return ended(rows, [rows])

def all_named(hp):
    rows = Input((16,), name="input_1")
    return ended([rows], [rows])

class Table(HyperModel):
    def __init__(self, features, width=2):
        super().__init__()
        self.features, self.width = features, width

    def build(self, hp):
        return by_group(hp, self.features)

class Own(Table):
    def build(self, hp):
        return by_column(hp, self.features)

    def fit(self, hp, model, x, y, **kwargs):
        assert set(x) == {"months", "monthly_charge", "plan", "region"}
        assert all(array.shape == (len(y), 1) for array in x.values())
        assert str(x["plan"].dtype) == "int32"
        return model.fit(x, y, batch_size=32, **kwargs)

class OwnTexts(HyperModel):
    def build(self, hp):
        return looked_up(hp)

    def fit(self, hp, model, x, y, **kwargs):
        assert set(x["plan"].numpy().ravel()) <= {b"", b"[UNK]", b"basic", b"plus", b"premium"}
        return model.fit(x, y, batch_size=32, **kwargs)

class OwnAlone(HyperModel):
    def build(self, hp):
        return one_group(hp)

    def fit(self, hp, model, x, y, **kwargs):
        assert x.shape == (len(y), 5)
        return model.fit(x, y, batch_size=32, **kwargs)

def two(hp, first, second):
    return ended([first, second], [layers.Flatten()(layers.Identity()(one)) for one in (first, second)])

def wrong(hp): return two(hp, Input((1,), name="months"), Input((1,), name="plann"))
def unnamed(hp): return two(hp, Input((5,), name="numeric"), Input((2,)))
def all_of_them_unnamed(hp): return two(hp, Input((5,)), Input((2,)))
def nested(hp):
    a, b, c = Input((1,), name="months"), Input((1,), name="plan"), Input((5,), name="numeric")
    return ended({"months": a, "more": [b, c]}, [a, b, c])
def shaped(hp): return two(hp, Input((3,), name="months"), Input((5,), name="numeric"))
def shaped_alone(hp):
    rows = Input((16,), name="numeric")
    return ended(rows, [rows])
def whole_numbers(hp): return two(hp, Input((1,), name="months", dtype="int32"), Input((5,), name="numeric"))
def texts_of_group(hp):
    codes, numbers = Input((2,), name="categorical", dtype="string"), Input((5,), name="numeric")
    return ended([codes, numbers], [layers.StringLookup(vocabulary=["basic"], output_mode="multi_hot")(codes), numbers])
def texts_of_numbers(hp): return two(hp, Input((1,), name="months", dtype="string"), Input((5,), name="numeric"))
def boolean(hp): return two(hp, Input((5,), name="numeric"), Input((1,), name="plan", dtype="bool"))
def few(hp):
    plan, numbers = Input((1,), name="plan", dtype="int32"), Input((5,), name="numeric")
    return ended([plan, numbers], [layers.Flatten()(layers.Embedding(3, 2)(plan)), numbers])
def few_of_group(hp):
    codes, months = Input((2,), name="categorical", dtype="int32"), Input((1,), name="months")
    return ended([codes, months], [layers.Flatten()(layers.Embedding(5, 2)(codes)), months])
def halves(hp):
    plan, numbers = Input((1,), name="plan"), Input((5,), name="numeric")
    return ended([plan, numbers], [layers.Flatten()(layers.Embedding(5, 2)(plan)), numbers])
class Careless(HyperModel):
    def build(self, hp): return wrong(hp)
    def fit(self, hp, model, *args, **kwargs): return model.fit(*args, **kwargs)
"""
PICTURES = """
import keras
from keras import Input, layers

def ended(inputs, parts):
    model = keras.Model(inputs, layers.Dense(10, "softmax")(layers.Concatenate()(parts)))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    return model

def by_name(hp, features):
    image = Input(features.shapes["image"], name="image")
    model = keras.Model(image, layers.Dense(10, "softmax")(layers.Flatten()(image)))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    return model

def flat(hp):
    image = Input((8, 8), name="image")
    model = keras.Model([image], layers.Dense(10, "softmax")(layers.Flatten()(image)))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    return model

def with_table(hp):
    image, numbers = Input((8, 8, 1), name="image"), Input((3,), name="numeric")
    return ended([image, numbers], [layers.Flatten()(image), numbers])
"""
SOURCE = "churn"
SETTINGS = Settings(max_epochs=3, patience=3, batch_size=32, seed=1)
TEXTS = ("looked_up", "one_text", "OwnTexts")
BY_NAME = [
    "by_group",
    "by_column",
    "mixed",
    "keyed",
    "one_group",
    "one_column",
    "one_category",
    "looked_up",
    "one_text",
]
OWN_FIT = ["Own", "OwnAlone", "OwnTexts"]


FIRST = ("by_column", "mixed", "looked_up")
NETWORKS = [pytest.param(name, marks=[] if name in FIRST else pytest.mark.slow) for name in (*BY_NAME, *OWN_FIT)]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_named_inputs_keeps_the_contract(own, rows, name, tmp_path):
    manifest, train, validation = rows
    member = made(own, name, manifest)
    member.check(train)
    values = dict(member.space().values)
    fit = member.fit(values, train, validation, SETTINGS, Monitor())
    assert fit.problem is None
    again = member.fit(values, train, validation, SETTINGS, Monitor())
    np.testing.assert_array_equal(again.predictions, fit.predictions)
    model = member.refit(values, train, fit.best, SETTINGS, Monitor())
    assert isinstance(encode_of(model), EncodeByName)
    assert member.reported(model, validation).keys() == ({"accuracy"} if name in ("by_column", "Own") else set())
    expected = member.predict(model, validation)
    member.save(model, tmp_path)
    loaded = member.load(tmp_path)
    np.testing.assert_array_equal(member.predict(loaded, validation), expected)
    # What serving and batch prediction have is the columns as they stood in the source.
    table = encode_table(manifest, raw_features(manifest, validation))
    np.testing.assert_array_equal(member.predict(loaded, table), expected)
    alone, first = Alone(manifest, loaded), validation.take(slice(0, 20))
    for made_of, given in ((whole, inputs_of(first)), (of_features, encoded(alone, first))):
        if made_of is of_features and name in TEXTS:
            with pytest.raises(UserError, match="own-000 takes texts, which TensorFlow Lite and"):
                made_of(alone)
            continue
        found = np.asarray(made_of(alone)(given)["probabilities"])
        np.testing.assert_allclose(found, expected[:20], atol=1e-6)


@pytest.mark.parametrize("name", ["all_unnamed", "all_named"])
def test_one_input_of_another_name_takes_all_features(own, rows, name):
    manifest, train, validation = rows
    member = made(own, name, manifest)
    model = member.refit({}, train, 2, SETTINGS, Monitor())
    assert type(encode_of(model)).__name__ == "Encode"
    assert member.fit({}, train, validation, SETTINGS, Monitor()).problem is None


def test_features_by_name_are_those_of_all_in_one(rows):
    manifest, train, _ = rows
    steps, codes = encoding(manifest), train.categorical
    together = np.asarray(Encode(**steps)(inputs_of(train)))
    parts = {"numeric": ["numeric", None], "months": ["numeric", 0], "categorical": ["categorical", None]}
    layer = EncodeByName(parts | {"region": ["categorical", 1]}, False, **steps)
    width = len(manifest.numeric) + len(steps["indicators"])
    for found in (layer(inputs_of(train)), layer.of_features(together)):
        found = {name: np.asarray(array) for name, array in found.items()}
        np.testing.assert_array_equal(found["numeric"], together[:, :width])
        np.testing.assert_array_equal(found["months"], together[:, :1])
        np.testing.assert_array_equal(found["categorical"], codes)
        np.testing.assert_array_equal(found["region"], codes[:, 1:])
        assert {found[name].dtype.name for name in ("categorical", "region")} == {"int32"}
    again = EncodeByName.from_config(layer.get_config())
    np.testing.assert_array_equal(np.asarray(again(inputs_of(train))["region"]), codes[:, 1:])


def test_a_category_comes_as_its_text(rows):
    manifest, _, _ = rows
    texts = manifest.categorical[1].vocabulary
    layer = EncodeByName({"region": ["categorical", 1]}, True, {"region": texts}, **encoding(manifest))
    again = EncodeByName.from_config(layer.get_config())
    table = encode_table(
        manifest,
        {"region": np.array([None, "nowhere", "north"], object)}
        | {name: np.array([1] * 3) for name in Features(manifest).numeric}
        | {"plan": np.array(["basic"] * 3, object)},
    )
    assert [one.decode() for one in again(inputs_of(table)).numpy().ravel()] == ["", "[UNK]", "north"]


def test_texts_are_refused_under_xla(own, rows):
    (spec,) = travelling(["own.py:looked_up"], own)
    member = family(spec, rows[0], lambda: TrainingMachine(jit=True))
    with pytest.raises(UserError, match='"plan" of own_looked_up is of texts, which XLA does not have; set hardware'):
        member.check(rows[1])


def test_a_build_is_told_the_features(rows):
    features = Features(rows[0])
    assert features.numeric == ["months", "monthly_charge", "paperless", "support_calls"]
    assert features.categorical == {name: len(texts) + 2 for name, texts in features.vocabularies.items()}
    assert list(features.categorical) == ["plan", "region"]
    columns = dict.fromkeys([*features.numeric, *features.categorical], (1,))
    assert features.shapes == columns | {"numeric": (5,), "categorical": (2,)}


NAMES = (
    "call each keras.Input after one of the groups numeric, categorical, or the columns months, monthly_charge, "
    "paperless, support_calls, plan, region"
)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "wrong",
            f'own_wrong has several inputs, and none of the features is called "plann"; did you mean "plan"?; {NAMES}',
        ),
        ("Careless", f'none of the features is called "plann"; did you mean "plan"?; {NAMES}'),
        ("unnamed", f'own_unnamed has several inputs, and none .* "keras_tensor.*"; {NAMES}'),
        ("all_of_them_unnamed", f'several inputs, and none of the features is called "keras_tensor.*"; {NAMES}'),
        ("nested", "the inputs of own_nested are lists or dictionaries within others"),
        (
            "shaped",
            r'the input "months" of own_shaped has the shape \(3,\), and these features have \(1,\) in each row',
        ),
        ("shaped_alone", r'the input "numeric" of own_shaped_alone has the shape \(16,\), .* have \(5,\) in each row'),
        ("whole_numbers", 'the input "months" of own_whole_numbers is of int32, and its features are standardised'),
        ("texts_of_group", 'the input "categorical" of own_texts_of_group is of texts, which come column by column'),
        ("texts_of_numbers", 'the input "months" of own_texts_of_numbers is of string, and its features are standard'),
        ("boolean", 'the input "plan" of own_boolean is of bool, and it gets 5 codes; make it int32'),
        ("few", 'the embedding of "plan" in own_few has an input_dim of 3, and there are 5 codes'),
        ("few_of_group", 'the embedding of "categorical" in own_few_of_group has an input_dim of 5, .* are 6 codes'),
    ],
)
def test_inputs_that_can_not_be_matched_are_refused(own, rows, name, words):
    with pytest.raises(UserError, match=words.replace("?;", r"\?;")) as refused:
        made(own, name, rows[0]).check(made_up(rows[0]))
    assert "\n" not in str(refused.value)


def test_a_column_that_is_called_like_a_group_is_refused(own, rows):
    columns = [Column(name="numeric", kind="numeric", mean=0.0, std=1.0), *rows[0].columns]
    manifest = rows[0].model_copy(update={"columns": columns})
    with pytest.raises(UserError, match='"numeric" of own_one_group is a group and a column of this name; rename'):
        made(own, "one_group", manifest).check(made_up(manifest))


@pytest.mark.parametrize(
    ("jit", "precision"),
    [pytest.param(True, "float32", marks=pytest.mark.slow), (True, "mixed_bfloat16"), (False, "mixed_bfloat16")],
)
def test_named_inputs_train_under_xla_and_in_half_precision(own, rows, jit, precision):
    manifest, train, validation = rows
    (spec,) = travelling(["own.py:by_column"], own)
    member = family(spec, manifest, lambda: TrainingMachine(jit=jit, precision=precision))
    member.check(train)
    fit = member.fit({}, train, validation, SETTINGS, Monitor())
    plain = made(own, "by_column", manifest).fit({}, train, validation, SETTINGS, Monitor())
    np.testing.assert_allclose(fit.predictions, plain.predictions, atol=1e-3 if precision == "float32" else 0.1)


def test_codes_in_floats_are_refused_in_half_precision(own, rows):
    manifest, train, _ = rows
    made(own, "halves", manifest).check(train)
    (spec,) = travelling(["own.py:halves"], own)
    member = family(spec, manifest, lambda: TrainingMachine(precision="mixed_bfloat16"))
    with pytest.raises(UserError, match='"plan" of own_halves is of float32, in which half precision would round'):
        member.check(train)


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_a_network_of_named_inputs_is_a_tflite_file(own, rows, variant):
    from ai_edge_litert.interpreter import Interpreter

    manifest, train, _ = rows
    member = made(own, "by_group", manifest)
    model = member.refit(dict(member.space().values), train, 2, SETTINGS, Monitor())
    alone = Alone(manifest, model)
    features = encoded(alone, train.take(slice(0, 50)))
    running = Interpreter(model_content=tflite(of_features(alone), variant, features))
    (given,), (out,) = running.get_input_details(), running.get_output_details()
    running.resize_tensor_input(given["index"], features.shape)
    running.allocate_tensors()
    if variant == "int8":
        scale, zero = given["quantization"]
        features = np.clip(np.round(features / scale) + zero, -128, 127).astype(np.int8)
    running.set_tensor(given["index"], features)
    running.invoke()
    found = running.get_tensor(out["index"])
    if variant == "int8":
        scale, zero = out["quantization"]
        found = (found.astype(np.float32) - zero) * scale
    np.testing.assert_allclose(found, member.predict(model, train)[:50], atol=1e-5 if variant == "float32" else 0.1)


def test_images_by_name(tmp_path, records):
    data = Records(records("digits"), "tune")
    train, validation = data.load("train"), data.load("validation")
    (tmp_path / "own.py").write_text(PICTURES)
    for name in ("by_name", "flat"):
        member = made(tmp_path, name, data.manifest)
        member.check(train)
        model = member.refit({}, train, 3, SETTINGS, Monitor())
        expected = member.predict(model, validation)
        assert (expected.argmax(axis=1) == validation.labels).mean() > 0.8
        pixels = encoded(Alone(data.manifest, model), validation)
        found = np.asarray(of_features(Alone(data.manifest, model))(pixels)["probabilities"])
        np.testing.assert_allclose(found, expected, atol=1e-5)
    words = r'"numeric"; call each keras.Input after one of image \(records of images hold no other columns\)'
    with pytest.raises(UserError, match=words):
        made(tmp_path, "with_table", data.manifest).check(train)
