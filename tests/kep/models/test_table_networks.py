"""The tabular network: exported, under XLA, and taken up again, it is the network that was trained."""

import numpy as np
import pytest

from kep.core.errors import RunError, UserError
from kep.data.records import Records
from kep.delivery.export.edge import encoded, of_features, tflite, whole
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


def made(manifest, **machine):
    return family({"name": "tabular"}, manifest, lambda: TrainingMachine(**machine))


@pytest.fixture(params=["churn", "houses"])
def data(records, request):
    """With categories and missing values, and with numbers alone."""
    return Records(records(request.param), "tune")


def values(member) -> dict:
    return defaults(member) | {"units": 64, "layers": 2, "epochs": 8}


def test_exports_predict_the_same(data):
    train = data.load("train")
    member = made(data.manifest)
    model = member.refit(values(member), train, 2, SETTINGS, Monitor())
    alone, first = Alone(data.manifest, model), train.take(slice(0, 20))
    expected = member.predict(model, first)
    given, features = whole(alone)(inputs_of(first)), encoded(alone, first)
    found = np.asarray(next(iter(given.values())))
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-5, rtol=1e-5)
    plain = of_features(alone)
    found = np.asarray(next(iter(plain(features).values())))
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-5, rtol=1e-5)
    assert len(tflite(plain, "float32", features)) > 1000


def test_a_fit_that_was_interrupted_goes_on(records, tmp_path):
    data, calls = Records(records("churn"), "tune"), 3
    train, validation = data.load("train"), data.load("validation")
    fits = []
    whole_fit = made(data.manifest)
    fits.append(whole_fit.fit(values(whole_fit), train, validation, SETTINGS, Monitor()))
    kept, member = Checkpoints(tmp_path / "kept", "x", 60), made(data.manifest)
    with pytest.raises(RunError, match="told to end"), Interrupting(kept, calls) as monitor:
        member.fit(values(member), train, validation, SETTINGS, monitor)
    member = made(data.manifest)
    with StepMonitor(Step("best_epoch"), "", checkpoints=kept) as monitor:
        fits.append(member.fit(values(member), train, validation, SETTINGS, monitor))
    assert fits[0].validation_curve == fits[1].validation_curve
    np.testing.assert_array_equal(fits[0].predictions, fits[1].predictions)


def test_xla_trains_the_same_network(records):
    data = Records(records("houses"), "tune")
    train, validation = data.load("train"), data.load("validation")
    found = []
    for jit in (False, True):
        member = made(data.manifest, jit=jit)
        # Its random numbers are others, so no dropout; a high rate would make much of differences in the last bits.
        plain = values(member) | {"dropout": 0.0, "learning_rate": 1e-3}
        found.append(member.fit(plain, train, validation, SETTINGS, Monitor()).predictions)
    np.testing.assert_allclose(found[1], found[0], atol=0.02 * found[0].std())


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_has_its_rates_too(records, precision):
    data = Records(records("churn"), "tune")
    member = made(data.manifest, precision=precision)
    fit = member.fit(values(member), data.load("train"), data.load("validation"), SETTINGS, Monitor())
    assert fit.problem is None
    assert fit.train_curve[-1] < fit.train_curve[0]


def test_embeddings_grow_with_the_codes():
    assert [width_of(codes) for codes in (3, 20, 1000, 10**6)] == [3, 9, 77, 600]


def test_images_are_refused(records):
    with pytest.raises(UserError, match="tabular needs a table, and the data are images; use cnn or mlp"):
        family({"name": "tabular"}, Records(records("digits"), "tune").manifest)
