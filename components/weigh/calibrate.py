"""Calibration of the ensemble: fitted on cross-fitted predictions, and kept only where it surely helps."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from kep.artifacts.weights import CalibrationChoice, CalibrationScore
from kep.components.weigh.weights import Folds
from kep.stats.calibration import FITS, Calibration, CalibrationMethod
from kep.stats.metrics import calibration_error, row_losses
from kep.stats.pooling import pool

FEW_ROWS = 200
"""Below this many validation rows no map is tried by itself: its gain can't be told from noise."""
FEW_ROWS_ISOTONIC = 1_000
"""The same for the isotonic map, which has many steps to fit (Niculescu-Mizil & Caruana 2005)."""


@dataclass(frozen=True)
class HeldOut:
    """Ensemble's predictions of held-out rows, each made with weights that were fitted without the row.

    Attributes:
        probabilities: Shape [seeds, n, classes].
        labels: Class indices, shape [n].
        counts: How much each row counts, 1 in the mean, shape [n]; None where all count the same.
        fold: Fold of each row, shape [n].
    """

    probabilities: np.ndarray
    labels: np.ndarray
    counts: np.ndarray | None
    fold: np.ndarray

    @classmethod
    def of(cls, stored: Mapping[str, Mapping[str, np.ndarray]], folds: Folds, pooling: str) -> "HeldOut":
        """Pool the candidates' stored predictions of each fold with the weights of the other folds.

        Args:
            stored: Stored arrays by candidate id.
            folds: Folds of the rows, and the weights of each.
            pooling: `arithmetic` or `geometric`.
        """
        first = next(iter(stored.values()))
        probabilities = np.empty(first["predictions"].shape)
        for number, weights in enumerate(folds.weights):
            held, used = folds.fold == number, weights > 0
            members = [own["predictions"][:, held] for own, use in zip(stored.values(), used, strict=True) if use]
            probabilities[:, held] = pool(members, weights[used].tolist(), pooling)
        return cls(probabilities, first["labels"], folds.counts, folds.fold)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.probabilities.shape[-1])

    def calibrated(self, calibration: Calibration | None) -> "HeldOut":
        """Return the predictions as a map makes them; None changes nothing."""
        return self if calibration is None else replace(self, probabilities=calibration.apply(self.probabilities))

    def flat(self, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return the probabilities [seeds * n, classes], labels and counts of all trainings of (some of) the rows."""
        rows = np.ones(len(self.labels), bool) if rows is None else rows
        seeds, own = len(self.probabilities), self.probabilities[:, rows]
        counts = None if self.counts is None else np.tile(self.counts[rows], seeds)
        return own.reshape(-1, self.classes), np.tile(self.labels[rows], seeds), counts

    def losses(self) -> np.ndarray:
        """Return the log-loss of each row, the mean over its trainings, times how much it counts, shape [n]."""
        losses: np.ndarray = np.mean([row_losses("multiclass", self.labels, own) for own in self.probabilities], axis=0)
        return losses if self.counts is None else losses * self.counts

    def fit(self, method: CalibrationMethod) -> Calibration:
        """Return the map that all rows give."""
        return FITS[method](*self.flat())

    def cross_fitted(self, method: CalibrationMethod) -> "HeldOut":
        """Return the calibrated predictions, each by the map of the other folds' rows."""
        calibrated = np.empty_like(self.probabilities)
        for number in np.unique(self.fold):
            held = self.fold == number
            calibrated[:, held] = FITS[method](*self.flat(~held)).apply(self.probabilities[:, held])
        return replace(self, probabilities=calibrated)

    def score(self, than: np.ndarray) -> CalibrationScore:
        """Return the figures, the losses paired with those of other predictions [n]."""
        losses = self.losses()
        difference = losses - than
        probabilities, labels, counts = self.flat()
        return CalibrationScore(
            loss=float(losses.mean()),
            difference=float(difference.mean()),
            error=_error(difference),
            calibration_error=calibration_error(labels, probabilities, counts),
        )


def choose_calibration(held: HeldOut, whole: HeldOut, setting: str) -> tuple[CalibrationChoice, HeldOut]:
    """Choose how the ensemble's probabilities are calibrated.

    Args:
        held: Cross-fitted predictions.
        whole: Predictions of the same rows with the ensemble's own weights.
        setting: `ensemble.calibration`.

    Returns:
        The choice, and the predictions as they are calibrated by it, cross-fitted once more.
    """
    rows, plain = len(held.labels), held.losses()
    before = held.score(plain)

    def choice(reason: str, tried: dict[str, CalibrationScore], chosen: Calibration | None) -> CalibrationChoice:
        return CalibrationChoice(
            method="off" if chosen is None else chosen.method,
            reason=reason,
            rows=rows,
            before=before,
            tried=tried,
            validation_loss=float(whole.calibrated(chosen).losses().mean()),
            fitted=chosen,
        )

    if setting == "off":
        return choice("as set", {}, None), held
    methods, refused = _candidates(setting, rows, held.classes)
    if not methods:
        return choice(refused, {}, None), held
    made = {method: held.cross_fitted(method) for method in methods}
    tried: dict[str, CalibrationScore] = {method: own.score(plain) for method, own in made.items()}
    if setting != "auto":
        return choice("as set", tried, held.fit(methods[0])), made[methods[0]]
    best: tuple[CalibrationMethod | None, HeldOut] = (None, held)
    for method in methods:
        difference = made[method].losses() - best[1].losses()
        # Of a map that changes nothing the difference is rounding.
        if difference.mean() < -max(_error(difference), 1e-9):
            best = (method, made[method])
    name, kept = best
    told = "; ".join(f"{method} {_told(score)}" for method, score in tried.items())
    return choice(f"log-loss minus that without: {told}", tried, None if name is None else held.fit(name)), kept


def _candidates(setting: str, rows: int, classes: int) -> tuple[list[CalibrationMethod], str]:
    """Return the maps to try, the simplest first, and why there are none."""
    if setting == "temperature":
        return ["temperature"], ""
    if setting == "isotonic":
        return ["isotonic"], ""
    if rows < FEW_ROWS:
        return [], f"none is tried on {rows} validation rows, too few to tell"
    return (["temperature", "isotonic"] if classes == 2 and rows >= FEW_ROWS_ISOTONIC else ["temperature"]), ""


def _told(score: CalibrationScore) -> str:
    return f"{score.difference:+.4f}, standard error {score.error:.4f}"


def _error(values: np.ndarray) -> float:
    """Return the standard error of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))
