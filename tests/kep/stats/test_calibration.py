"""Maps from pooled probabilities to calibrated ones."""

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.isotonic import IsotonicRegression

from kep.stats.calibration import Calibration, fit_isotonic, fit_temperature
from kep.stats.metrics import loss


def planted(seed: int, temperature: float, rows: int = 4000, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, and probabilities that are right once they are divided by a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (rows, classes))
    right = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (right.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)
    given = np.exp(logits * temperature)
    return labels, given / given.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_planted_temperature_is_found_within_its_error(temperature, classes):
    found = []
    for seed in range(20):
        labels, given = planted(seed, temperature, classes=classes)
        found.append(fit_temperature(given, labels).temperature)
    error = np.std(found, ddof=1)
    assert error < 0.05 * temperature
    assert abs(np.mean(found) - temperature) < 3 * error / np.sqrt(len(found))
    assert max(abs(one - temperature) for one in found) < 4 * error


def test_the_temperature_has_the_lowest_loss_and_powers_say_the_same():
    labels, given = planted(0, 2.0)
    fitted = fit_temperature(given, labels)
    powers = np.maximum(given, 1e-7) ** (1 / fitted.temperature)
    np.testing.assert_allclose(fitted.apply(given), powers / powers.sum(axis=1, keepdims=True), atol=1e-9)
    lowest = loss("multiclass", labels, fitted.apply(given))
    for other in (0.98, 1.02):
        assert lowest < loss("multiclass", labels, Calibration(temperature=fitted.temperature * other).apply(given))
    np.testing.assert_allclose(Calibration(temperature=1.0).apply(given), given, atol=1e-6)


def test_certain_probabilities_have_a_finite_temperature():
    labels, given = np.array([0, 1, 1, 0]), np.array([[1.0, 0], [0, 1], [1, 0], [1, 0]])
    calibrated = fit_temperature(given, labels).apply(given)
    assert np.isfinite(calibrated).all()
    np.testing.assert_allclose(calibrated.sum(axis=1), 1)


@pytest.mark.parametrize("fit", [fit_temperature, fit_isotonic])
def test_weights_count_as_repeats(fit):
    labels, given = planted(1, 2.0, rows=600, classes=2)
    counts = np.random.default_rng(0).integers(0, 4, 600)
    again = np.repeat(np.arange(600), counts)
    weighted = fit(given, labels, counts.astype(np.float32)).apply(given)
    # An isotonic map of more rows may be nearer to certainty.
    np.testing.assert_allclose(weighted, fit(given[again], labels[again]).apply(given), atol=2e-3)


def test_the_isotonic_map_is_scikit_learns_within_what_so_many_rows_can_say():
    labels, given = planted(2, 3.0, rows=2000, classes=2)
    fitted = fit_isotonic(given, labels)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(given[:, 1], labels).predict(given[:, 1])
    calibrated = fitted.apply(given)[:, 1]
    np.testing.assert_allclose(calibrated, np.clip(theirs, 1 / 2002, 1 - 1 / 2002), atol=1e-9)
    assert 0 < calibrated.min() < calibrated.max() < 1


@pytest.mark.parametrize("content", [{}, {"temperature": 2.0, "isotonic": [[0.1, 0.2]]}, {"temperature": 0.0}])
def test_a_map_is_one_of_two_kinds(content):
    with pytest.raises(ValidationError):
        Calibration(**content)
