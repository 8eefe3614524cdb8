"""Calibration is kept only where it surely helps."""

import numpy as np
import pytest

from kep.components.weigh.calibrate import HeldOut, choose_calibration
from kep.components.weigh.weights import Folds
from kep.stats.metrics import loss


def held(seed: int, temperature: float = 1.0, rows: int = 1500, classes: int = 3, bend: float = 1.0) -> HeldOut:
    """Return predictions of two trainings that are right once a temperature, and a bend to one side, are undone."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (rows, classes))
    right = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (right.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)
    both = np.exp(np.stack([logits, logits]) * temperature)
    probabilities = both / both.sum(axis=2, keepdims=True)
    if bend != 1.0:
        probabilities = np.stack([1 - probabilities[..., 1] ** bend, probabilities[..., 1] ** bend], axis=-1)
    return HeldOut(probabilities, labels, None, np.arange(rows) % 5)


def chosen(own: HeldOut, setting: str = "auto"):
    return choose_calibration(own, own, setting)


def test_a_planted_temperature_is_kept_and_lowers_the_loss():
    for seed in range(5):
        own = held(seed, 2.0)
        choice, calibrated = chosen(own)
        assert choice.method == "temperature"
        assert choice.fitted.temperature == pytest.approx(2.0, rel=0.15)
        assert choice.after.difference < -choice.after.error < 0
        assert choice.after.loss == pytest.approx(calibrated.losses().mean())
        assert choice.before.loss == pytest.approx(own.losses().mean())
        assert choice.after.calibration_error < choice.before.calibration_error
        assert choice.validation_loss <= choice.after.loss


@pytest.mark.parametrize("classes", [2, 3])
def test_calibrated_predictions_are_left_as_they_are(classes):
    """One standard error is all that it takes, and cross-fitting makes that rare by chance."""
    kept = [seed for seed in range(60) if chosen(held(seed, classes=classes, rows=600))[0].method != "off"]
    assert len(kept) <= 4


def test_each_row_is_calibrated_by_a_map_of_other_rows():
    own = held(0, 2.0, rows=300)
    _, calibrated = chosen(own, "temperature")
    changed = HeldOut(own.probabilities.copy(), own.labels.copy(), None, own.fold)
    first = own.fold == 0
    changed.labels[first] = (own.labels[first] + 1) % 3
    _, again = chosen(changed, "temperature")
    np.testing.assert_array_equal(again.probabilities[:, first], calibrated.probabilities[:, first])
    assert not np.allclose(again.probabilities[:, ~first], calibrated.probabilities[:, ~first])


def test_an_isotonic_map_is_for_many_rows_of_two_classes_that_no_temperature_mends():
    bent = held(0, classes=2, rows=3000, bend=3.0)
    choice, _ = chosen(bent)
    assert choice.method == "isotonic"
    assert choice.tried["isotonic"].loss < choice.tried["temperature"].loss
    assert set(chosen(held(0, classes=2, rows=999, bend=3.0))[0].tried) == {"temperature"}
    assert set(chosen(held(0, 2.0, classes=3, rows=3000))[0].tried) == {"temperature"}
    assert chosen(held(0, 2.0, classes=2, rows=3000))[0].method == "temperature"


@pytest.mark.parametrize(
    ("setting", "rows", "method", "words"),
    [
        ("off", 1500, "off", "as set"),
        ("auto", 199, "off", "199 validation rows, too few"),
        ("auto", 200, "temperature", "standard error"),
        ("temperature", 100, "temperature", "as set"),
        ("isotonic", 100, "isotonic", "as set"),
    ],
)
def test_settings(setting, rows, method, words):
    choice, _ = chosen(held(0, 4.0, rows=rows, classes=2), setting)
    assert choice.method == method
    assert words in choice.reason
    assert (choice.fitted is None) == (method == "off")


def test_row_weights_count():
    """Rows of weight 0 are overconfident, the others are right."""
    good, bad = held(0, rows=1000), held(1, 4.0, rows=1000)
    both = np.concatenate([good.probabilities, bad.probabilities], axis=1)
    labels, fold = np.concatenate([good.labels, bad.labels]), np.tile(good.fold, 2)
    weights = np.repeat([2.0, 0.0], 1000)
    assert chosen(HeldOut(both, labels, None, fold))[0].method == "temperature"
    fitted = chosen(HeldOut(both, labels, weights, fold), "temperature")[0]
    assert fitted.fitted.temperature == pytest.approx(chosen(good, "temperature")[0].fitted.temperature, rel=1e-3)
    assert fitted.before.loss == pytest.approx(good.losses().mean())


@pytest.mark.parametrize("pooling", ["arithmetic", "geometric"])
def test_held_out_predictions_are_pooled_with_the_weights_of_the_other_folds(pooling):
    one, other = held(0, rows=10), held(1, rows=10)
    stored = {
        name: {"predictions": own.probabilities, "labels": one.labels} for name, own in {"a": one, "b": other}.items()
    }
    folds = Folds(np.arange(10) % 2, np.array([[1.0, 0.0], [0.0, 1.0]]), None)
    pooled = HeldOut.of(stored, folds, pooling)
    expected = np.where((np.arange(10) % 2 == 0)[None, :, None], one.probabilities, other.probabilities)
    np.testing.assert_allclose(pooled.probabilities, expected, atol=1e-9)
    assert pooled.losses().mean() == pytest.approx(
        np.mean([loss("multiclass", one.labels, own) for own in expected]), rel=1e-6
    )
