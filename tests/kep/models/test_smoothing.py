"""Label smoothing is in the gradient, and not in the value."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kep.models.smoothing import SmoothedCrossentropy

LABELS = np.array([0, 2, 1, 2])
LOGITS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def gradient(loss, labels) -> tuple[float, np.ndarray]:
    logits = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        value = loss(labels, keras.ops.softmax(logits))
    return float(value), np.asarray(tape.gradient(value, logits))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None]])
def test_the_value_is_that_of_the_labels_and_the_gradient_that_of_smoothed_ones(smoothing, labels):
    value, found = gradient(SmoothedCrossentropy(smoothing), labels)
    plain, _ = gradient(keras.losses.SparseCategoricalCrossentropy(), LABELS)
    keras_own = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
    smoothed, expected = gradient(keras_own, np.eye(3, dtype=np.float32)[LABELS])
    assert value == pytest.approx(plain, rel=1e-5)
    assert value != pytest.approx(smoothed, rel=1e-3) or not smoothing
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_rows_count_as_much_as_they_weigh():
    weights = np.array([0.0, 1.0, 2.0, 0.0], np.float32)
    loss, outputs = SmoothedCrossentropy(0.1, reduction="sum"), keras.ops.softmax(LOGITS)
    found = float(loss(LABELS, outputs, sample_weight=weights))
    parts = [float(loss(LABELS[i : i + 1], outputs[i : i + 1])) for i in range(4)]
    assert found == pytest.approx(parts[1] + 2 * parts[2], rel=1e-5)
    assert SmoothedCrossentropy.from_config(loss.get_config()).smoothing == 0.1
