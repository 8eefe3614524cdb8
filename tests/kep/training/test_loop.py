"""The one training loop does what Keras's `fit` does with the same batches in the same order."""

import keras
import numpy as np
import pytest

from kep.training import loop as training
from kep.training.loop import Feed, Loop, predictor

ROWS, BATCH = 70, 16  # four batches of 16 and one of 6


@pytest.fixture
def data() -> tuple[dict, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 5)).astype(np.float32)
    return {"numeric": x}, (x.sum(axis=1) > 0).astype(np.int64)


def model(seed: int = 0, dropout: float = 0.0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    network = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(8, "tanh"),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(2, "softmax"),
        ]
    )
    network.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    return network


class Fed:
    """A loop with the feed of all rows."""

    def __init__(self, network: keras.Model, data: tuple[dict, np.ndarray], seed: int = 3) -> None:
        inputs, labels, *weights = data
        self.feed = Feed(
            lambda i: ({n: a[i] for n, a in inputs.items()}, labels[i], *(own[i] for own in weights)),
            len(labels),
            BATCH,
            seed,
        )
        self._loop = Loop(network, lambda batch: batch["numeric"], self.feed)

    def epoch(self, number: int, steps: int | None = None) -> float:
        return self._loop.epoch(self.feed, number, steps)


def loop(network: keras.Model, data: tuple[dict, np.ndarray], seed: int = 3) -> Fed:
    return Fed(network, data, seed)


def order(epoch: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(ROWS)


def same_weights(one: keras.Model, other: keras.Model) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


def test_the_loop_ends_with_the_weights_and_losses_of_keras_fit(data):
    ours, keras_own = model(), model()
    train, (x, labels) = loop(ours, data), (data[0]["numeric"], data[1])
    for epoch in range(1, 4):
        loss = train.epoch(epoch)
        rows = order(epoch)
        history = keras_own.fit(x[rows], labels[rows], batch_size=BATCH, shuffle=False, verbose=0).history
        assert loss == pytest.approx(history["loss"][0], rel=1e-5)
    for a, b in zip(ours.get_weights(), keras_own.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert not same_weights(ours, model())


def test_rows_count_as_in_keras_fit(data):
    ours, keras_own = model(), model()
    x, labels = data[0]["numeric"], data[1]
    weights = np.random.default_rng(1).gamma(1, 1, ROWS).astype(np.float32)
    train = loop(ours, (*data, weights))
    for epoch in range(1, 4):
        loss = train.epoch(epoch)
        rows = order(epoch)
        history = keras_own.fit(
            x[rows], labels[rows], sample_weight=weights[rows], batch_size=BATCH, shuffle=False, verbose=0
        ).history
        assert loss == pytest.approx(history["loss"][0], rel=1e-5)
    for a, b in zip(ours.get_weights(), keras_own.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert not same_weights(ours, model())


@pytest.mark.parametrize("per_call", [1, 2, 5])
def test_an_epoch_in_several_calls_is_the_same_epoch(data, monkeypatch, per_call):
    whole, parts = model(), model()
    loss = loop(whole, data).epoch(1)
    monkeypatch.setattr(training, "STEPS_PER_CALL", per_call)
    assert loop(parts, data).epoch(1) == pytest.approx(loss, rel=1e-6)
    for a, b in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_the_last_batch_is_smaller_and_counts_by_its_rows(data):
    network = model()
    network.optimizer.learning_rate = 0.0
    train = loop(network, data)
    assert train.feed.steps_per_epoch == 5
    loss = train.epoch(1)
    assert int(network.optimizer.iterations) == 5
    # Nothing was learnt, so the epoch's loss is the mean over all rows, each counted once.
    x, labels = data[0]["numeric"], data[1]
    probability = network.predict(x, verbose=0)[np.arange(ROWS), labels]
    assert loss == pytest.approx(-np.log(probability).mean(), rel=1e-5)


def test_every_row_is_trained_on_once_in_an_epoch(data):
    seen = []

    class Watching(keras.Sequential):
        def train_step(self, batch):
            import tensorflow as tf

            tf.py_function(lambda ids: seen.extend(ids.numpy().tolist()), [batch[0][:, 0]], [])
            return super().train_step(batch)

    network = Watching([keras.Input((1,)), keras.layers.Dense(2, "softmax")])
    network.compile("sgd", "sparse_categorical_crossentropy")
    inputs = {"numeric": np.arange(ROWS, dtype=np.float32)[:, None]}
    train = loop(network, (inputs, data[1]))
    train.epoch(1)
    assert sorted(seen) == list(range(ROWS))
    assert seen == order(1).tolist()
    first, seen[:] = list(seen), []
    train.epoch(2)
    assert sorted(seen) == list(range(ROWS))
    assert seen != first


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_an_epoch_of_some_steps_takes_exactly_those(data, steps, monkeypatch):
    monkeypatch.setattr(training, "STEPS_PER_CALL", 2)
    network = model()
    loop(network, data).epoch(1, steps=steps)
    assert int(network.optimizer.iterations) == steps


def test_more_steps_than_an_epoch_has_are_one_epoch(data):
    network = model()
    loop(network, data).epoch(1, steps=99)
    assert int(network.optimizer.iterations) == 5


def test_the_first_steps_of_an_epoch_are_the_epochs_first(data):
    ours, keras_own = model(), model()
    loop(ours, data).epoch(1, steps=2)
    rows = order(1)[: 2 * BATCH]
    keras_own.fit(data[0]["numeric"][rows], data[1][rows], batch_size=BATCH, shuffle=False, verbose=0)
    for a, b in zip(ours.get_weights(), keras_own.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_one_seed_trains_the_same_bits_twice_and_another_does_not(data):
    def trained(seed: int) -> keras.Model:
        network = model(dropout=0.5)
        train = loop(network, data, seed)
        for epoch in (1, 2):
            train.epoch(epoch)
        return network

    first = trained(3)
    assert same_weights(first, trained(3))
    assert not same_weights(first, trained(4))


def test_an_epoch_starts_its_loss_anew(data):
    """The loss is the mean of this epoch's batches, not of all epochs so far."""
    network = model()
    train = loop(network, data)
    first = train.epoch(1)
    network.optimizer = keras.optimizers.SGD(0.0)
    settled = loop(network, data)
    assert settled.epoch(2) == pytest.approx(settled.epoch(3), rel=1e-5)
    assert settled.epoch(4) < first


def test_predictions_do_not_depend_on_the_batch_and_dropout_is_off(data):
    inputs = keras.Input((5,), name="numeric")
    network = keras.Model({"numeric": inputs}, model(dropout=0.9)(inputs))
    whole = predictor(network)(data[0])
    assert whole.dtype == np.float32
    assert whole.shape == (ROWS, 2)
    np.testing.assert_allclose(predictor(network, batch_size=16)(data[0]), whole, atol=1e-6)
    np.testing.assert_allclose(network.predict(data[0], verbose=0), whole, atol=1e-6)
