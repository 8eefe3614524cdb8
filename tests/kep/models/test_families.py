"""Every family keeps the one contract: fit, best unit, refit, predict, save, load; and gives the same bits twice."""

import base64
import zlib
from dataclasses import replace

import numpy as np
import pytest

from kep.core.errors import UserError
from kep.data.records import Records
from kep.data.schema import Weighting
from kep.models.ensemble import raw_features
from kep.models.family import Settings
from kep.models.registry import check_fit, family, specs, travelling
from kep.stats.metrics import Truth, loss
from kep.training.monitor import Monitor
from tests.helpers.families import defaults, made

SETTINGS = Settings(max_epochs=15, patience=4, batch_size=32, seed=5)
CASES = [
    ("mlp", "churn"),
    ("mlp", "houses"),
    ("mlp", "digits"),
    ("cnn", "digits"),
    ("boosted_trees", "churn"),
    ("boosted_trees", "houses"),
    ("boosted_trees", "digits"),
    ("tabular", "churn"),
    ("tabular", "houses"),
    ("realmlp", "churn"),
    ("realmlp", "houses"),
    ("tabm", "churn"),
    ("extra_trees", "churn"),
    ("extra_trees", "houses"),
    ("extra_trees", "digits"),
]
LAST = ("tabular", "extra_trees")
"""Families whose last unit is what a fit gives: its one cycle has ended, and more trees never hurt."""
ENDS = {"realmlp": (1, 3, 7, 15)}
"""Epochs at which one of a family's cycles ends; it gives the best of them."""


SMALL = {
    "tabular": {"units": 64, "layers": 1, "dropout": 0.5, "learning_rate": 2e-3},
    "realmlp": {"units": 64, "layers": 2, "dropout": 0.3, "learning_rate": 0.02},
    "tabm": {"units": 64, "layers": 1, "learning_rate": 5e-3},
}
"""Networks small enough for tables as small as these."""


def values_of(member) -> dict:
    return defaults(member) | SMALL.get(member.name, {})


def best_of(fit, name: str) -> float:
    """The loss that a fit gives, by its curve."""
    curve = fit.validation_curve
    units = [len(curve)] if name in LAST else ENDS.get(name, range(1, len(curve) + 1))
    assert fit.best == min(units, key=lambda unit: curve[unit - 1])
    return fit.validation_curve[fit.best - 1]


@pytest.mark.parametrize(("name", "source"), CASES)
def test_a_family_keeps_its_contract(name, source, records, tmp_path):
    data = Records(records(source), "tune")
    train, validation, task = data.load("train"), data.load("validation"), data.manifest.label.task
    member = family({"name": name}, data.manifest)
    values = values_of(member)

    fit = member.fit(values, train, validation, SETTINGS, Monitor())
    assert fit.loss == pytest.approx(best_of(fit, name), rel=1e-4)
    assert loss(task, validation.labels, fit.predictions) == pytest.approx(fit.loss, rel=1e-6)
    constant = np.full(len(validation), train.labels.mean()) if task == "regression" else None
    if constant is None:
        shares = np.bincount(train.labels) / len(train)
        constant = np.tile(shares, (len(validation), 1))
        assert fit.predictions.sum(axis=1) == pytest.approx(1, abs=1e-5)
    # Better than predicting the mean label of the train rows: it has learnt something.
    assert fit.loss < loss(task, validation.labels, constant)
    # The model that comes back is the one of the best unit, not of the last.
    np.testing.assert_allclose(member.predict(fit.model(), validation), fit.predictions, atol=1e-5, rtol=1e-5)

    again = member.fit(values, train, validation, SETTINGS, Monitor())
    np.testing.assert_array_equal(again.predictions, fit.predictions)

    model = member.refit(values, train, fit.best, SETTINGS, Monitor())
    member.save(model, tmp_path)
    loaded = family({"name": name}, data.manifest).load(tmp_path)
    np.testing.assert_array_equal(member.predict(loaded, validation), member.predict(model, validation))


UNWEIGHED = (("mlp", "houses"), ("tabular", "houses"), ("realmlp", "houses"))
WEIGHED = [case for case in CASES if case[1] != "digits" and case not in UNWEIGHED]


def high(predictions: np.ndarray) -> float:
    """Mean probability of the last class, or mean number."""
    return float((predictions if predictions.ndim == 1 else predictions[:, -1]).mean())


@pytest.mark.parametrize(("name", "source"), WEIGHED)
def test_rows_count_as_much_as_they_weigh(name, source, records):
    data = Records(records(source), "tune")
    manifest = data.manifest.model_copy(update={"weighting": Weighting(column="w", mean=1.0)})
    middle = np.median(data.load("train").labels)
    # Rows above the middle, or of the positive class, count little.
    train, validation = (
        replace(rows, weights=np.where(rows.labels > middle, 0.02, 1).astype(np.float32))
        for rows in map(data.load, ("train", "validation"))
    )
    member, plain = family({"name": name}, manifest), family({"name": name}, data.manifest)
    member.check(train)
    fit = member.fit(values_of(member), train, validation, SETTINGS, Monitor())
    same = [replace(rows, weights=None) for rows in (train, validation)]
    other = plain.fit(values_of(member), *same, SETTINGS, Monitor())
    truth = Truth(manifest.label.task, validation.labels, validation.weights)
    assert fit.loss == pytest.approx(truth.loss(fit.predictions), rel=1e-6)
    assert fit.loss == pytest.approx(best_of(fit, name), rel=1e-4)
    assert high(fit.predictions) < high(other.predictions)
    again = member.refit(values_of(member), train, fit.best, SETTINGS, Monitor())
    assert high(member.predict(again, validation)) < high(other.predictions)


def test_another_seed_trains_another_model(records):
    data = Records(records("churn"), "tune")
    train, validation = data.load("train"), data.load("validation")
    member = family({"name": "mlp"}, data.manifest)
    fits = [member.fit(defaults(member), train, validation, Settings(1, 1, 32, seed), Monitor()) for seed in (1, 2)]
    assert not np.array_equal(fits[0].predictions, fits[1].predictions)


def test_raw_features_are_the_rows_again(records):
    from kep.data.records import encode_table

    data = Records(records("churn"), "evaluate")
    test = data.load("test")
    again = encode_table(data.manifest, raw_features(data.manifest, test))
    np.testing.assert_array_equal(again.numeric, test.numeric)
    np.testing.assert_array_equal(again.categorical, test.categorical)


OWN = """
import keras
class Wide(keras.layers.Layer):
    def call(self, x):
        return keras.ops.concatenate([x, x], axis=1)
def build(hp):
    model = keras.Sequential([keras.layers.Dense(hp.Int("units", 4, 8), "relu"), keras.layers.Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy")
    return model
def unbounded(hp):
    model = keras.Sequential([keras.layers.Dense(2, "softplus")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
def wrong_width(hp):
    model = keras.Sequential([keras.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
def uncompiled(hp):
    return keras.Sequential([keras.layers.Dense(2, "softmax")])
def nothing(hp):
    return None
def unregistered(hp):
    model = keras.Sequential([Wide(), keras.layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
def crashes(hp):
    raise RuntimeError("no such layer")
import keras_tuner
class Hyper(keras_tuner.HyperModel):
    def build(self, hp):
        return build(hp)
class Sized(Hyper):
    def __init__(self, units):
        super().__init__()
sized = Sized(4)
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


@pytest.mark.parametrize("function", ["build", "Hyper", "sized"])
def test_a_users_own_build_function_is_a_family(own, records, function, tmp_path):
    data = Records(records("cancer"), "tune")
    train, validation = data.load("train"), data.load("validation")
    member = made(own, function, data.manifest)
    member.check(train)
    assert set(defaults(member)) == {"units"}
    fit = member.fit({"units": 8}, train, validation, Settings(10, 5, 16, 0), Monitor())
    assert fit.predictions.shape == (len(validation), 2)
    assert fit.loss < 0.5
    member.save(fit.model(), tmp_path)
    np.testing.assert_array_equal(member.predict(member.load(tmp_path), validation), fit.predictions)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("unbounded", "are not probabilities; end it in softmax or sigmoid"),
        ("wrong_width", "must end in 2 units"),
        ("uncompiled", "must return a compiled Keras model, it returns a model that is not compiled"),
        ("nothing", "must return a compiled Keras model, it returns None"),
        ("unregistered", "register_keras_serializable"),
        ("crashes", "no such layer"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_after_one_batch(own, records, function, words):
    data = Records(records("cancer"), "tune")
    with pytest.raises(UserError, match=words):
        made(own, function, data.manifest).check(data.load("train"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mpl", 'did you mean "mlp"'),
        ("gone.py:build", "no file gone.py"),
        ("own.py:biuld", 'has no function biuld; did you mean "build"'),
        ("broken.py:build", "broken.py is not Python: .* in line 1"),
        (
            "own.py:Sized",
            r'Sized of own.py needs the argument "units"; give it as \{file: …, arguments: \{units: …\}\}',
        ),
    ],
)
def test_a_family_that_does_not_exist_is_refused(own, records, name, words):
    (own / "broken.py").write_text("def build(hp:")
    with pytest.raises(UserError, match=words):
        family(travelling([name], own)[0], Records(records("cancer"), "tune").manifest)


def test_two_families_of_one_name_are_refused(own):
    with pytest.raises(UserError, match='two families are called "mlp"'):
        travelling(["mlp", "mlp"], own)


def test_a_users_source_travels_with_the_run(own):
    (spec,) = travelling(["own.py:build"], own)
    assert zlib.decompress(base64.b64decode(spec["source"])).decode() == OWN


def test_cnn_refuses_a_table(records):
    with pytest.raises(UserError, match="cnn needs images"):
        family({"name": "cnn"}, Records(records("cancer"), "tune").manifest)


def test_auto_families_follow_the_data(records):
    names = {
        source: [spec["name"] for spec in specs('"auto"', Records(records(source), "tune").manifest)]
        for source in ("digits", "churn")
    }
    assert names == {"digits": ["mlp", "cnn", "boosted_trees"], "churn": ["mlp", "tabular", "realmlp", "boosted_trees"]}


LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("hyperresnet", "hyperefficientnet")]


@pytest.mark.parametrize("name", ["hyperxception", *LARGE])
def test_a_premade_space_learns_from_images_of_any_size_and_channels(name, records, tmp_path):
    """One batch through the real thing, saved and loaded again; nothing is downloaded."""
    data = Records(records("digits"), "tune")
    assert family({"name": name}, data.manifest).check(data.load("train")).keys() == {"accuracy"}


def test_premade_spaces_refuse_tables_and_numbers(records):
    with pytest.raises(UserError, match="hyperresnet needs images"):
        family({"name": "hyperresnet"}, Records(records("cancer"), "tune").manifest)
    with pytest.raises(UserError, match="hyperxception is for classes"):
        check_fit(["hyperxception"], images=True, task="regression")


def test_a_mistake_in_a_users_file_is_named_by_file_and_line(own, records):
    data = Records(records("cancer"), "tune")
    (own / "wide.py").write_text("import keras\n\ndef build(hp):\n    hp.Int('units', 1, 2)\n    return gone(hp)\n")
    member = family(travelling(["wide.py:build"], own)[0], data.manifest)
    with pytest.raises(UserError, match=r"wide fails on one batch: NameError in line 5 of wide\.py: "):
        member.check(data.load("train"))
    (own / "wide.py").write_text(
        "import keras\n\ndef build(hp):\n    model = keras.Sequential([keras.layers.Dense(1, 'sigmoid')])\n"
        "    model.compile('sgd', 'binary_crossentropy', metrics=[keras.metrics.F1Score()])\n    return model\n"
    )
    member = family(travelling(["wide.py:build"], own)[0], data.manifest)
    # Raised in a compiled function, whose trace TensorFlow puts before the words.
    with pytest.raises(UserError, match=r"wide fails on one batch: ValueError: FBetaScore expects 2D inputs"):
        member.check(data.load("train"))
    (own / "wide.py").write_text("import keras\n\nkeras.gone()\ndef build(hp): ...\n")
    with pytest.raises(UserError, match=r"wide does not load: AttributeError in line 3 of wide\.py: "):
        family(travelling(["wide.py:build"], own)[0], data.manifest)
