"""The evaluation on test rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from kep.core.json_model import Figure, JsonFolder, JsonModel, is_none
from kep.data.ledger import LedgerLine

ENSEMBLE = "ensemble"
AVERAGE = "average of members"
"""The plain average of the members, whatever their weights: not that of all candidates, which weigh calls uniform."""
BASELINE = "baseline"
"""Prediction without a model."""


class Interval(JsonModel):
    """A value with its 95 % interval; None where the rows don't define it."""

    value: Figure
    low: Figure
    high: Figure


class Difference(Interval):
    """Mean difference of two losses, paired by row."""

    rows: int


class WithoutMember(Difference):
    """Loss of the ensemble without one member minus that of the ensemble; above 0 the member helps."""

    loss: Figure
    """Loss without the member."""


class CalibrationBin(JsonModel):
    """Rows of similar confidence in the predicted class."""

    confidence: float
    """Mean confidence."""
    accuracy: float
    rows: int


class Pictures(JsonModel):
    """Numbers behind the report's pictures of the predictions."""

    confusion: list[list[int]] | None = Field(default=None, exclude_if=is_none)
    """Rows by true class (outer) and predicted class (inner); None for a regression."""
    calibration: list[CalibrationBin] | None = Field(default=None, exclude_if=is_none)
    """None for a regression."""
    roc: list[tuple[float, float, float]] | None = Field(default=None, exclude_if=is_none)
    """Points of (false positive rate, true positive rate, threshold); two classes only."""
    residuals: list[tuple[float, float]] | None = Field(default=None, exclude_if=is_none)
    """Pairs of (prediction, label) of a regression."""


class Slice(JsonModel):
    """Metrics of the rows with one value, or in one range, of a column."""

    value: str
    rows: int
    metrics: dict[str, Figure]


class Gap(JsonModel):
    """The ensemble's loss, from the rows that its weights were fitted on to rows never seen before."""

    validation_loss: Figure
    cross_fitted_loss: Figure
    test_loss: Interval


class Comparison(JsonModel):
    """The ensemble against the champion."""

    champion: str
    """Folder of the champion."""
    unseen: int = 0
    """Test rows that the champion was not trained on."""
    difference: Difference | None = Field(default=None, exclude_if=is_none)
    """The ensemble's loss minus the champion's on those rows."""
    problem: str | None = Field(default=None, exclude_if=is_none)
    """Why there is no difference."""


class LedgerTotal(LedgerLine):
    """Readings of a role by all executions of a step."""

    times: int


STORED = "predictions.npz"
"""File beside evaluation.json with the predictions of the test rows."""


class Evaluation(JsonFolder):
    """Result of evaluate."""

    FILE: ClassVar[str] = "evaluation.json"
    KIND: ClassVar[str] = "an evaluation"
    REMEDY: ClassVar[str] = "run evaluate again"

    rows: int
    """Test rows."""
    scores: dict[str, dict[str, Interval]]
    """By model and metric; the models are the members by id, `BASELINE`, `AVERAGE` and `ENSEMBLE`."""
    pictures: Pictures
    slices: dict[str, list[Slice]]
    """By column."""
    against: dict[str, Difference]
    """The ensemble's loss minus that of each other model."""
    without: dict[str, WithoutMember]
    """By member id."""
    reload_difference: float
    """Largest absolute difference of a prediction by the reloaded ensemble."""
    gap: Gap
    champion: Comparison | None
    """None where there is no champion."""
    ledger: list[LedgerTotal]
    openings: int = 1
    """Runs beside this champion that have opened these very test rows, this one included."""

    def stored(self, folder: Path) -> Mapping[str, np.ndarray]:
        """Return the stored predictions of the test rows by model, with their `labels` and `ids`.

        Args:
            folder: Folder of the file; runs of before there were digests have none.

        Raises:
            UserError: They are missing or damaged.
        """
        self.check(folder)
        arrays: Mapping[str, np.ndarray] = np.load(folder / STORED)
        return arrays

    @property
    def ensemble(self) -> dict[str, Interval]:
        """Scores of the ensemble by metric."""
        return self.scores[ENSEMBLE]
