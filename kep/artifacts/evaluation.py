"""The evaluation on test rows."""

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, field_validator, model_validator

from kep.artifacts.explanation import Explanation
from kep.artifacts.interval import Interval as Interval
from kep.core.json_model import Figure, JsonFolder, JsonModel, is_none
from kep.data.ledger import LedgerLine
from kep.stats.bootstrap import Bootstrap
from kep.stats.operating_point import OperatingPoint

ENSEMBLE = "ensemble"
AVERAGE = "average of members"
"""The plain average of the members, whatever their weights: not that of all candidates, which weigh calls uniform."""
BASELINE = "baseline"
"""Prediction without a model."""


class Difference(Interval):
    """Difference of a metric of two models, paired by row."""

    rows: int
    """Rows that both models predicted."""

    @classmethod
    def between(cls, ours: Bootstrap, theirs: Bootstrap) -> "dict[str, Difference]":
        """Return our metrics minus theirs by name, from bootstraps of the same rows and seed."""
        return {
            name: cls(value=found.value, low=found.low, high=found.high, rows=ours.rows)
            for name, found in ours.minus(theirs).items()
        }


class WithoutMember(Difference):
    """Loss of the ensemble without one member minus that of the ensemble; above 0 the member helps."""

    loss: Figure
    """Loss without the member."""


class CalibrationBin(JsonModel):
    """Rows of similar confidence in the predicted class."""

    confidence: float
    """Mean confidence."""
    accuracy: float
    """Share of rows whose predicted class is right."""
    rows: int
    """Number of rows."""


class Pictures(JsonModel):
    """Numbers behind the report's pictures of the predictions."""

    confusion: list[list[int]] | None = Field(default=None, exclude_if=is_none)
    """Rows by true class (outer) and predicted class (inner); None for a regression."""
    calibration: list[CalibrationBin] | None = Field(default=None, exclude_if=is_none)
    """Reliability in bins; None for a regression."""
    uncalibrated: list[CalibrationBin] | None = Field(default=None, exclude_if=is_none)
    """Reliability of the pooled probabilities; None where the ensemble is not calibrated."""
    roc: list[tuple[float, float, float]] | None = Field(default=None, exclude_if=is_none)
    """Points of (false positive rate, true positive rate, threshold); two classes only."""
    precision_recall: list[tuple[float, float, float]] | None = Field(default=None, exclude_if=is_none)
    """Points of (recall, precision, threshold); two classes only."""
    residuals: list[tuple[float, float]] | None = Field(default=None, exclude_if=is_none)
    """Pairs of (prediction, label) of a regression."""


class Decisions(JsonModel):
    """Decisions of a binary label on the test rows.

    Figures are `precision`, `recall`, `false_positive_rate` and, where costs are given, `cost`, that of a row.
    """

    point: OperatingPoint | None
    """Operating point; None where the most probable class is predicted."""
    at_point: dict[str, Interval]
    """Figures of the ensemble as it decides."""
    at_half: dict[str, Interval]
    """Figures where the most probable class is predicted."""


class Slice(JsonModel):
    """Metrics of the rows with one value, or in one range, of a column."""

    value: str
    """Value, or range of values."""
    rows: int
    """Number of test rows."""
    metrics: dict[str, Interval]
    """The ensemble's metrics on these rows, by name."""

    @field_validator("metrics", mode="before")
    @classmethod
    def _without_intervals(cls, content: Any) -> Any:
        # As evaluations of before slices had intervals have it.
        if isinstance(content, dict):
            return {
                name: {"value": one, "low": None, "high": None} if one is None or isinstance(one, int | float) else one
                for name, one in content.items()
            }
        return content

    def figure(self, metric: str) -> float | None:
        """Return the value of a metric; None where the rows don't define it."""
        return self.metrics[metric].value if metric in self.metrics else None


class Gap(JsonModel):
    """The ensemble's loss, from the rows that its weights were fitted on to rows never seen before."""

    validation_loss: Figure
    """Loss on the rows that the weights were fitted on."""
    cross_fitted_loss: Figure
    """Loss on those rows, each predicted with weights fitted without it."""
    test_loss: Interval
    """Loss on the test rows."""


class Comparison(JsonModel):
    """The ensemble against the champion."""

    champion: str
    """Folder of the champion."""
    unseen: int = 0
    """Test rows that the champion was not trained on."""
    scores: dict[str, Interval] = Field(default_factory=dict)
    """The champion's metrics on those rows, by name."""
    differences: dict[str, Difference] = Field(default_factory=dict)
    """The ensemble's metrics minus the champion's on those rows, by name."""
    problem: str | None = Field(default=None, exclude_if=is_none)
    """Reason why there are no differences."""
    changed: bool = False
    """True if the label, the columns or the rows changed; false if the champion can't be read."""

    @model_validator(mode="before")
    @classmethod
    def _of_the_loss_alone(cls, content: Any) -> Any:
        # As evaluations of before other metrics were compared have it.
        if isinstance(content, dict) and "difference" in content:
            content = {**content, "differences": {"loss": content["difference"]}}
            del content["difference"]
        return content


class LedgerTotal(LedgerLine):
    """Readings of a role by all executions of a step."""

    times: int
    """Number of executions that read the role."""


STORED = "predictions.npz"
"""File beside evaluation.json with the predictions of the test rows, their labels, ids and, if any, weights."""


class Evaluation(JsonFolder):
    """Result of evaluate."""

    FILE: ClassVar[str] = "evaluation.json"
    KIND: ClassVar[str] = "an evaluation"
    REMEDY: ClassVar[str] = "run evaluate again"

    rows: int
    """Test rows."""
    scores: dict[str, dict[str, Interval]]
    """Test metrics by model and metric. Models are members by id, `baseline`, `average of members` and `ensemble`."""
    pictures: Pictures
    """Numbers behind the report's pictures."""
    slices: dict[str, list[Slice]]
    """Metrics of the slices of each column."""
    against: dict[str, dict[str, Difference]]
    """The ensemble's metrics minus those of each other model, by model and metric."""
    without: dict[str, WithoutMember]
    """Result without each member, by member id."""
    reload_difference: float
    """Largest absolute difference of a prediction by the reloaded ensemble."""
    gap: Gap
    """The ensemble's loss on three kinds of rows."""
    champion: Comparison | None
    """Comparison with the champion; None where there is none."""
    ledger: list[LedgerTotal]
    """Readings of each role by each step."""
    calibration: dict[str, Difference] = Field(default_factory=dict, exclude_if=operator.not_)
    """The ensemble's metrics minus those of its pooled probabilities, by name; empty where it is not calibrated."""
    decisions: Decisions | None = Field(default=None, exclude_if=is_none)
    """Decisions of a binary label; None for other labels, and in evaluations of earlier versions."""
    why: Explanation | None = Field(default=None, exclude_if=is_none)
    """Explanations; None in evaluations of earlier versions."""
    openings: int = 1
    """Runs beside this champion that have opened these very test rows, this one included."""
    opened_before: float = Field(default=0.0, exclude_if=operator.not_)
    """Share of the test rows that other runs beside this champion have opened among other test rows."""

    @field_validator("against", mode="before")
    @classmethod
    def _of_the_loss_alone(cls, content: Any) -> Any:
        # As evaluations of before other metrics were compared have it.
        if isinstance(content, dict):
            return {
                name: {"loss": one} if isinstance(one, dict) and "rows" in one else one for name, one in content.items()
            }
        return content

    def stored(self, folder: Path) -> Mapping[str, np.ndarray]:
        """Return the stored predictions of the test rows by model, with their `labels`, `ids` and, if any, `weights`.

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
