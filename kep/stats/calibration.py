"""Calibration of an ensemble's probabilities: fitted by weigh, applied by every prediction."""

from collections.abc import Callable
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator
from scipy import optimize

from kep.core.json_model import JsonModel, is_none
from kep.stats.metrics import FLOOR

CalibrationMethod = Literal["temperature", "isotonic"]
LOWEST, HIGHEST = 0.05, 20.0
"""Range of temperatures; beyond, probabilities are certain or all the same."""


class Calibration(JsonModel):
    """Map from the pooled probabilities of the classes to calibrated ones: one of two kinds."""

    temperature: float | None = Field(default=None, gt=0, exclude_if=is_none)
    """p ∝ p ** (1 / temperature), with no probability below `FLOOR` (Guo et al. 2017); above 1 they are less sure."""
    isotonic: list[list[float]] | None = Field(default=None, min_length=1, exclude_if=is_none)
    """Points of (probability of the positive class, calibrated one), ascending; linear in between, constant beyond
    (Zadrozny & Elkan 2002). Two classes only."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.temperature is None) == (self.isotonic is None):
            raise ValueError("expected either a temperature or isotonic points")
        return self

    @property
    def method(self) -> CalibrationMethod:
        """Kind of map."""
        return "isotonic" if self.temperature is None else "temperature"

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, float64, of the same shape [..., classes]."""
        if self.temperature is not None:
            return _softmax(_logs(probabilities) / self.temperature)
        given, calibrated = np.array(self.isotonic).T
        positive = np.interp(probabilities[..., 1], given, calibrated)
        return np.stack([1 - positive, positive], axis=-1)


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Calibration:
    """Return the temperature of the lowest log-loss, which is convex in its inverse.

    Args:
        probabilities: Pooled probabilities of held-out rows, [n, classes].
        labels: Class indices, shape [n].
        weights: How much each row counts, shape [n]; None where all count the same.
    """
    logs = _logs(probabilities)
    true = np.average(logs[np.arange(len(labels)), labels], weights=weights)

    def loss(exponent: float) -> float:
        powers = np.exp(exponent * logs).sum(axis=1)
        return float(np.average(np.log(powers), weights=weights) - exponent * true)

    found = optimize.minimize_scalar(
        lambda log: loss(float(np.exp(-log))), bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded"
    )
    return Calibration(temperature=float(np.exp(found.x)))


def fit_isotonic(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Calibration:
    """Return the ascending map of the least squared error, of two classes; arguments as of `fit_temperature`.

    No probability is nearer to 0 or 1 than Laplace's rule of succession allows. Without this limit one row on the wrong
    side of a certain step would cost all that the map gains.
    """
    # Imported here, since scikit-learn takes a second to import and few fits need it.
    from sklearn.isotonic import IsotonicRegression

    counted = np.ones(len(labels), bool) if weights is None else weights > 0
    least = 1 / (counted.sum() + 2)
    fitted = IsotonicRegression(y_min=least, y_max=1 - least).fit(
        probabilities[counted, 1].astype(np.float64), labels[counted], None if weights is None else weights[counted]
    )
    points = np.stack([fitted.X_thresholds_, fitted.y_thresholds_], axis=1)
    return Calibration(isotonic=points.tolist())


FITS: dict[CalibrationMethod, Callable[[np.ndarray, np.ndarray, np.ndarray | None], Calibration]] = {
    "temperature": fit_temperature,
    "isotonic": fit_isotonic,
}


def _logs(probabilities: np.ndarray) -> np.ndarray:
    logs: np.ndarray = np.log(np.maximum(probabilities.astype(np.float64), FLOOR))
    return logs


def _softmax(logs: np.ndarray) -> np.ndarray:
    powers: np.ndarray = np.exp(logs - logs.max(axis=-1, keepdims=True))
    scaled: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return scaled
