"""RealMLP's parts: by their definitions, and as the authors' implementation has them."""

import keras
import numpy as np
import pytest

from kep.data.records import Records
from kep.models import categories
from kep.models.encode import inputs_of
from kep.models.family import Settings
from kep.models.layers import (
    Blend,
    FadingDropout,
    JoinedEmbedding,
    PeriodicEmbedding,
    Scale,
    Spelled,
    mish,
    spelled_out,
)
from kep.models.registry import family
from kep.models.wrapped import encode_of, network_of
from kep.training.horizon import horizon
from kep.training.machine import TrainingMachine
from kep.training.monitor import Monitor
from tests.helpers.families import defaults
from tests.helpers.sharing import check_shared

ROWS = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


def test_a_number_is_embedded_by_waves_and_by_itself():
    layer = PeriodicEmbedding(waves=5, width=4)
    found = np.asarray(layer(ROWS))
    frequency, phase, mixing, offset = map(np.asarray, layer.weights)
    for column in range(3):
        waves = np.cos(2 * np.pi * ROWS[:, [column]] * frequency[column] + phase[column])
        np.testing.assert_allclose(
            found[:, 3 * column : 3 * column + 3], waves @ mixing[column] + offset[column], atol=1e-5
        )
    np.testing.assert_array_equal(found[:, 9:], ROWS)
    assert np.abs(phase).max() <= np.pi
    assert np.abs(mixing).max() <= 1 / np.sqrt(5)


@pytest.mark.parametrize(("name", "expected"), [("mish", mish(ROWS)), ("selu", keras.ops.selu(ROWS))])
def test_an_activation_is_blended_with_its_input(name, expected):
    layer = Blend(name, dtype="float32")
    np.testing.assert_allclose(layer(ROWS), expected, atol=1e-6)
    layer.set_weights([np.array([0.0, 0.5, 1.0], np.float32)])
    np.testing.assert_allclose(layer(ROWS)[:, 0], ROWS[:, 0], atol=1e-6)
    np.testing.assert_allclose(layer(ROWS)[:, 1], (ROWS + np.asarray(expected))[:, 1] / 2, atol=1e-6)


@pytest.mark.parametrize("fading", [None, 1.0, 0.5, 0.0])
def test_dropout_fades(fading):
    layer = FadingDropout(0.4, dtype="float32")
    if fading is not None:
        layer.fading = lambda: fading
    ones = np.ones((200, 202), np.float32)
    dropped = 0.4 * (1.0 if fading is None else fading)
    found = np.asarray(layer(ones, training=True))
    assert (found == 0).mean() == pytest.approx(dropped, abs=0.02)
    # A rate is a number of 256.
    assert found.max() == pytest.approx(1 / (1 - dropped), rel=1e-2)
    assert found.mean() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(layer(ones), ones)


CODES = np.random.default_rng(1).integers(0, (4, 9, 6), (50, 3), np.int32)


def test_categories_are_embedded_as_by_a_layer_for_each():
    layer = JoinedEmbedding((4, 9, 6), 5)
    found, table = np.asarray(layer(CODES)), np.asarray(layer.embeddings)
    for column, (start, codes) in enumerate(((0, 4), (4, 9), (13, 6))):
        own = keras.layers.Embedding(codes, 5, weights=table[start : start + codes])
        np.testing.assert_array_equal(found[:, 5 * column : 5 * column + 5], own(CODES[:, column]))


@pytest.mark.parametrize(
    ("layer", "rows"),
    [
        (Scale(), ROWS),
        (Blend("mish"), ROWS),
        (PeriodicEmbedding(), ROWS),
        (FadingDropout(0.2), ROWS),
        (JoinedEmbedding((4, 9, 6), 5), CODES),
    ],
)
def test_a_layer_is_saved_and_spelled_out(layer: Spelled, rows, tmp_path):
    given = keras.Input((3,), dtype=rows.dtype)
    model = keras.Model(given, layer(given))
    expected = model.predict(rows, verbose=0)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras").predict(rows, verbose=0), expected)
    other = keras.Input((3,), dtype=rows.dtype)
    spelled = keras.Model(other, layer.spelled(other))
    np.testing.assert_allclose(spelled.predict(rows, verbose=0), expected, atol=1e-6)


def clipped(value: float) -> float:
    return value / np.sqrt(1 + (value / 3) ** 2)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # Two values, at -1 and 1 of one feature: the median is the first one's, and the quartiles are both.
        ([0, 0, 60, 40], [[clipped(-0.5)], [clipped(-0.5)], [0.0], [-clipped(1.0)]]),
        # Nine rows in ten have one of them, so the quartiles are equal, and half the range divides.
        ([0, 0, 90, 10], [[-clipped(1.0)], [-clipped(1.0)], [0.0], [-clipped(2.0)]]),
        # Other values have a feature where there are some; each is rarer than one row in four.
        ([0, 20, 20, 20, 20, 20], np.vstack([np.zeros(5), np.eye(5) * clipped(2.0)])),
        ([20, 0, 20, 20, 20], np.vstack([np.zeros((2, 3)), np.eye(3) * clipped(2.0)])),
        # A column of nothing but gaps.
        ([20, 0], [[0.0], [clipped(1.0)]]),
    ],
)
def test_small_categories_are_scaled_like_numbers(counts, expected):
    np.testing.assert_allclose(categories.one_hot(np.array(counts, float)), expected, atol=1e-5)


@pytest.fixture
def member(records):
    data = Records(records("churn"), "tune")
    return family({"name": "realmlp"}, data.manifest, TrainingMachine), data


def test_first_weights_are_drawn_by_the_rows(member):
    made, data = member
    train = data.load("train")
    training, _ = made._start(defaults(made), train, Settings(1, 1, 64, 7), 1)
    network = training.network
    given = encode_of(training.model)(inputs_of(train))
    dense = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    for layer in dense[:-1]:
        values = np.asarray(keras.Model(network.inputs, layer.output)(given))
        assert values.std(axis=0) == pytest.approx(1, abs=0.3)
        # The kink lies among the rows: each unit is positive for some and negative for others.
        shares = (values > 0).mean(axis=0)
        assert ((shares > 0) & (shares < 1)).mean() > 0.9
    kept = [np.asarray(weight) for weight in network.weights]
    again, _ = made._start(defaults(made), train, Settings(1, 1, 64, 7), 1)
    assert all(np.array_equal(one, other) for one, other in zip(kept, again.network.get_weights(), strict=True))


def test_networks_of_other_frequencies_and_rates_share_a_compiled_training(member):
    made, data = member
    train, settings = data.load("train"), Settings(2, 1, 64, 1)
    values = defaults(made) | {"units": 64, "layers": 2}
    other = values | {"sigma": 0.4, "learning_rate": 0.1, "epochs": 16}
    check_shared(made, (train, train), settings, values, other)


@pytest.mark.parametrize("operations", range(3))
def test_a_network_from_a_file_is_spelled_out(member, operations, tmp_path):
    """Whatever names its operations have, and however many a session has given: new ones are none of them."""
    made, data = member
    _, model = made._models(defaults(made), 0)
    made.save(model, tmp_path)
    loaded = made.load(tmp_path)
    given = encode_of(loaded)(inputs_of(data.load("train").take(np.arange(9))))
    network = network_of(loaded)
    keras.utils.clear_session()
    for _ in range(operations):
        keras.Input((1,)) * keras.Input((1,))
    spelled = spelled_out(network)
    np.testing.assert_allclose(spelled(given), network(given), atol=1e-6)
    assert not any(isinstance(layer, Spelled) for layer in spelled._flatten_layers())


def test_every_variable_has_a_group_and_every_dropout_the_clock(member):
    made, _ = member
    network, _ = made._models(defaults(made), 0)
    groups = network.optimizer.groups
    assert len(groups) == len(network.trainable_variables)
    units = {
        variable.shape[0]: group.unit
        for variable, group in zip(network.trainable_variables, groups, strict=True)
        if variable.name == "kernel"
    }
    assert units == pytest.approx({size: size**-0.5 for size in units})
    schedule = horizon(network)
    schedule.begin(10)
    network.optimizer.iterations.assign(8)
    drops = [layer for layer in network.layers if isinstance(layer, FadingDropout)]
    assert len(drops) == 3
    assert [float(layer.fading()) for layer in drops] == pytest.approx([(1 + np.cos(0.6 * np.pi)) / 2] * 3, rel=1e-5)


def test_a_large_category_has_an_embedding_that_learns(member, monkeypatch):
    made, data = member
    monkeypatch.setattr(categories, "MOST_ONE_HOT", 0)
    train, values = data.load("train"), defaults(made) | {"units": 64, "layers": 2}
    network, _ = made._models(values, 0)
    (layer,) = [layer for layer in network.layers if isinstance(layer, JoinedEmbedding)]
    first = np.asarray(layer.embeddings)
    assert first.shape[1] == categories.EMBEDDED
    # Codes that no row has add nothing.
    counts = np.concatenate([column.counts for column in data.manifest.categorical])
    np.testing.assert_array_equal((first == 0).all(axis=1), counts == 0)
    fit = made.fit(values, train, train, Settings(2, 1, 64, 0), Monitor())
    trained = next(reversed(made._kept.values())).network
    (moved,) = [layer for layer in trained.layers if isinstance(layer, JoinedEmbedding)]
    assert fit.problem is None
    assert (np.asarray(moved.embeddings) != first).any()


@pytest.mark.parametrize(("best", "share"), [(3, 1.0), (3, 0.25), (0.5, 0.1)])
def test_a_refit_ends_at_its_share_of_the_schedule(member, best, share):
    made, data = member
    train = data.load("train")
    values = defaults(made) | {"units": 64, "layers": 2}
    made.refit(values, train, best, Settings(0, 0, 64, 1, share), Monitor())
    network = next(reversed(made._kept.values())).network
    steps = round(best * -(-len(train) // 64))
    assert int(network.optimizer.iterations) == steps
    assert float(horizon(network).steps) == round(steps / share)


@pytest.mark.parametrize(("epochs", "longest"), [(16, 30), (64, 5)])
def test_a_fit_tells_its_horizon_and_takes_the_best_end_of_a_cycle(member, epochs, longest):
    made, data = member
    train, validation = data.load("train"), data.load("validation")
    values = defaults(made) | {"units": 64, "layers": 2, "epochs": epochs}
    fit = made.fit(values, train, validation, Settings(longest, 1, 64, 0), Monitor())
    assert fit.horizon == len(fit.validation_curve) == min(epochs, longest)  # patience does not end it
    ends = {16: [1, 3, 7, 16], 5: [1, 2, 5]}[fit.horizon]
    assert fit.best == min(ends, key=lambda epoch: fit.validation_curve[epoch - 1])
    assert fit.loss == fit.validation_curve[fit.best - 1]
    assert fit.at_cap == (epochs > longest)


def test_the_train_curve_is_without_smoothing(member):
    made, data = member
    train = data.load("train")
    values = defaults(made) | {"units": 64, "layers": 2, "dropout": 0.0, "epochs": 16, "weight_decay": 0.0}
    fit = made.fit(values | {"label_smoothing": 0.1}, train, train, Settings(16, 1, 64, 0), Monitor())
    # At the end the rate is so low that training and validation on the same rows say the same.
    assert fit.train_curve[-1] == pytest.approx(fit.validation_curve[-1], rel=0.1)
