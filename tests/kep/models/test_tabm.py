"""TabM: a network of many members that share their kernels."""

import keras
import numpy as np
import pytest

from kep.data.records import Records
from kep.models.batch_ensemble import MemberLoss, MemberOutputs, RandomSigns, SharedDense
from kep.models.encode import inputs_of
from kep.models.family import Settings
from kep.models.registry import family
from kep.models.tabm import MEMBERS
from kep.models.wrapped import encode_of, network_of
from kep.stats.metrics import loss
from kep.training.monitor import Monitor
from tests.helpers.families import defaults

SMALL = {"units": 64, "layers": 2, "dropout": 0.0, "learning_rate": 5e-3}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("each", [False, True], ids=["all see the same", "each sees its own"])
def test_a_shared_layer_is_many_dense_layers(each, rng):
    layer = SharedDense(3, 5, signs=True)
    given = rng.normal(size=(7, 3, 4) if each else (7, 4)).astype(np.float32)
    layer(given)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    found = np.asarray(layer(given))
    before, kernel, after, bias = (np.asarray(weight) for weight in layer.weights)
    for member in range(3):
        own = given[:, member] if each else given
        expected = (own * before[member]) @ kernel * after[member] + bias[member]
        np.testing.assert_allclose(found[:, member], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("probabilities", [False, True])
def test_members_are_averaged_unless_they_train(probabilities, rng):
    layer = MemberOutputs(3, probabilities)
    given = rng.normal(size=(5, 4, 6)).astype(np.float32)
    each = np.asarray(layer(given, training=True))
    assert each.shape == (5, 4, 3)
    kernel, bias = (np.asarray(weight) for weight in layer.weights)
    expected = np.einsum("nmf,mfo->nmo", given, kernel) + bias
    if probabilities:
        expected = np.exp(expected) / np.exp(expected).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(each, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer(given), expected.mean(axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("task", "outputs"), [("multiclass", 3), ("regression", 1)])
def test_the_loss_is_the_mean_of_the_members_own(task, outputs, rng):
    each = rng.dirichlet(np.ones(3), (6, 4)) if outputs > 1 else rng.normal(size=(6, 4, 1))
    labels = rng.integers(0, 3, 6) if outputs > 1 else rng.normal(size=6)
    own = [loss(task, labels, each[:, member] if outputs > 1 else each[:, member, 0]) for member in range(4)]
    found = MemberLoss(task == "regression")
    assert float(found(labels, each.astype(np.float32))) == pytest.approx(np.mean(own), rel=1e-5)
    assert float(found(labels, each[:, 0].astype(np.float32))) == pytest.approx(own[0], rel=1e-5)


def test_signs_are_drawn_anew_from_a_seed():
    drawn = [np.asarray(RandomSigns(seed)((40, 50))) for seed in (1, 1, 2)]
    assert set(np.unique(drawn[0])) == {-1.0, 1.0}
    assert abs(drawn[0].mean()) < 0.1
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).mean() > 0.4
    again = keras.initializers.deserialize(keras.initializers.serialize(RandomSigns(1)))
    np.testing.assert_array_equal(again((40, 50)), drawn[0])


@pytest.mark.parametrize("source", ["churn", "houses"])
def test_members_differ_and_their_mean_is_better_than_they_are(source, records):
    data = Records(records(source), "tune")
    train, validation = data.load("train"), data.load("validation")
    member = family({"name": "tabm"}, data.manifest)
    fit = member.fit(defaults(member) | SMALL, train, validation, Settings(20, 5, 32, 1), Monitor())
    model, task = fit.model(), data.manifest.label.task
    encoded, network = encode_of(model)(inputs_of(validation)), network_of(model)
    each = np.asarray(network(encoded, training=True))
    assert each.shape[1] == MEMBERS
    assert each.std(axis=1).mean() > 0
    mean = np.asarray(network(encoded))
    np.testing.assert_allclose(mean, each.mean(axis=1), rtol=1e-4, atol=1e-5)
    truth = validation.labels if task != "regression" else np.zeros(len(validation))
    losses = [loss(task, truth, each[:, one] if task != "regression" else each[:, one, 0]) for one in range(MEMBERS)]
    assert loss(task, truth, mean if task != "regression" else mean[:, 0]) < np.mean(losses)
