"""Networks for tables: exported, under XLA, and taken up again, they are the networks that were trained."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from kep.core.errors import RunError, UserError
from kep.data.records import Records
from kep.delivery.export.edge import encoded, of_features, save_keras, tflite, whole
from kep.models.encode import inputs_of
from kep.models.family import Settings
from kep.models.registry import family
from kep.models.tabular import width_of
from kep.runtime.step import Step
from kep.training.checkpoints import Checkpoints
from kep.training.machine import TrainingMachine
from kep.training.monitor import Monitor, StepMonitor
from tests.helpers.families import Alone, Interrupting, defaults

SETTINGS = Settings(4, 1, 32, 3)


NAMES = ("tabular", "realmlp", "tabm")


def made(name, manifest, **machine):
    return family({"name": name}, manifest, lambda: TrainingMachine(**machine))


def values(member) -> dict:
    return defaults(member) | {"units": 64, "layers": 2, "epochs": 16}


# With categories and missing values, and with numbers alone.
@pytest.mark.parametrize("source", ["churn", pytest.param("houses", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_exports_predict_the_same(name, source, records, tmp_path):
    data = Records(records(source), "tune")
    train = data.load("train")
    member = made(name, data.manifest)
    model = member.refit(values(member), train, 2, SETTINGS, Monitor())
    first = train.take(slice(0, 20))
    expected = member.predict(model, first)
    # As an export meets it: read from a file, whose operations have names that a new process gives again.
    (tmp_path / "member").mkdir()
    member.save(model, tmp_path / "member")
    keras.utils.clear_session()
    alone = Alone(data.manifest, member.load(tmp_path / "member"))
    given, features = whole(alone)(inputs_of(first)), encoded(alone, first)
    found = np.asarray(next(iter(given.values())))
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-5, rtol=1e-5)
    plain = of_features(alone)
    found = np.asarray(next(iter(plain(features).values())))
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-5, rtol=1e-5)
    lite = Interpreter(model_content=tflite(plain, "float32", features))
    (given,), (out,) = lite.get_input_details(), lite.get_output_details()
    lite.resize_tensor_input(given["index"], features.shape)
    lite.allocate_tensors()
    lite.set_tensor(given["index"], features)
    lite.invoke()
    np.testing.assert_allclose(lite.get_tensor(out["index"]).reshape(expected.shape), expected, atol=1e-4, rtol=1e-4)
    save_keras(whole(alone), tmp_path / "model.keras")  # refuses layers that are not Keras's own


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_that_was_interrupted_goes_on(name, records, tmp_path):
    data, calls = Records(records("churn"), "tune"), 3
    train, validation = data.load("train"), data.load("validation")
    fits = []
    whole_fit = made(name, data.manifest)
    fits.append(whole_fit.fit(values(whole_fit), train, validation, SETTINGS, Monitor()))
    kept, member = Checkpoints(tmp_path / "kept", "x", 60), made(name, data.manifest)
    with pytest.raises(RunError, match="told to end"), Interrupting(kept, calls) as monitor:
        member.fit(values(member), train, validation, SETTINGS, monitor)
    member = made(name, data.manifest)
    with StepMonitor(Step("best_epoch"), "", checkpoints=kept) as monitor:
        fits.append(member.fit(values(member), train, validation, SETTINGS, monitor))
    assert fits[0].validation_curve == fits[1].validation_curve
    np.testing.assert_array_equal(fits[0].predictions, fits[1].predictions)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_xla_trains_the_same_network(name, records):
    data = Records(records("houses"), "tune")
    train, validation = data.load("train"), data.load("validation")
    found = []
    for jit in (False, True):
        member = made(name, data.manifest, jit=jit)
        # Its random numbers are others, so no dropout; a high rate would make much of differences in the last bits.
        plain = values(member) | {"dropout": 0.0, "learning_rate": 0.02 if name == "realmlp" else 1e-3}
        found.append(member.fit(plain, train, validation, SETTINGS, Monitor()).predictions)
    np.testing.assert_allclose(found[1], found[0], atol=0.02 * found[0].std())


@pytest.mark.parametrize(
    ("name", "precision"), [("tabular", "mixed_bfloat16"), ("tabular", "mixed_float16"), ("realmlp", "mixed_float16")]
)
def test_half_precision_has_its_rates_too(name, precision, records):
    data = Records(records("churn"), "tune")
    member = made(name, data.manifest, precision=precision)
    fit = member.fit(values(member), data.load("train"), data.load("validation"), SETTINGS, Monitor())
    assert fit.problem is None
    assert fit.train_curve[-1] < fit.train_curve[0]


def test_embeddings_grow_with_the_codes():
    assert [width_of(codes) for codes in (3, 20, 1000, 10**6)] == [3, 9, 77, 600]


@pytest.mark.parametrize("name", NAMES)
def test_images_are_refused(name, records):
    with pytest.raises(UserError, match=f"{name} needs a table, and the data are images; use cnn or mlp"):
        family({"name": name}, Records(records("digits"), "tune").manifest)
