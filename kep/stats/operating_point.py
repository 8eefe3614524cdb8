"""Operating point of a binary label: the probability from which the positive class is predicted."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from kep.core.json_model import Figure, JsonModel, is_none
from kep.stats.metrics import cumulated

Rule = Literal["threshold", "cost", "precision", "recall"]


class DecisionFigures(JsonModel):
    """Precision, recall, false positive rate and cost of decisions."""

    precision: Figure
    """None where nothing is predicted as positive."""
    recall: Figure
    false_positive_rate: Figure
    cost: Figure = Field(default=None, exclude_if=is_none)
    """Cost of a row, the mean; None where no costs are given."""


class Costs(JsonModel):
    """Costs of the two mistakes, in any unit."""

    false_positive: float
    false_negative: float


class OperatingPoint(JsonModel):
    """Threshold of an ensemble, and how it was chosen."""

    threshold: float
    """Probability of the positive class from which it is predicted."""
    rule: Rule
    chosen_by: str
    """The rule in words."""
    costs: Costs | None = Field(default=None, exclude_if=is_none)
    rows: int
    """Held-out rows that it is chosen on."""
    validation: DecisionFigures
    """Cross-fitted figures of these rows at the threshold."""
    validation_default: DecisionFigures
    """The same where the most probable class is predicted."""


@dataclass(frozen=True)
class Thresholds:
    """Decisions at every threshold that matters, from none as positive to all.

    Attributes:
        thresholds: float64 [m + 1], descending, each midway between two neighbouring scores.
        true: Weight of the rows that are rightly predicted as positive, shape [m + 1].
        false: Weight of the rows that are wrongly predicted as positive, shape [m + 1].
    """

    thresholds: np.ndarray
    true: np.ndarray
    false: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> "Thresholds":
        """Count the decisions.

        Args:
            labels: 1 for the positive class, else 0, shape [n].
            scores: Probability of the positive class, shape [n].
            weights: How much each row counts, shape [n]; None where all count the same.
        """
        scores = scores.astype(np.float64)
        true, false = cumulated(labels, scores, weights)
        distinct = np.unique(scores)[::-1]
        above = np.append((1 + distinct[0]) / 2, (distinct[:-1] + distinct[1:]) / 2)
        # Between neighbours without a number in between, the upper one is the threshold.
        upper = np.append(np.nextafter(max(1.0, distinct[0]), 2), distinct[:-1])
        middle = np.where(above > distinct, above, upper)
        return cls(np.append(middle, distinct[-1] / 2), true, false)

    @property
    def positives(self) -> float:
        """Weight of the positive rows."""
        return float(self.true[-1])

    @property
    def negatives(self) -> float:
        """Weight of the negative rows."""
        return float(self.false[-1])

    @property
    def precision(self) -> np.ndarray:
        """Share of the rows predicted as positive that are, shape [m + 1]; NaN where none is."""
        told = self.true + self.false
        precision: np.ndarray = np.divide(self.true, told, out=np.full(len(told), np.nan), where=told > 0)
        return precision

    @property
    def recall(self) -> np.ndarray:
        """Share of the positive rows that are predicted as positive, shape [m + 1]."""
        recall: np.ndarray = self.true / self.positives
        return recall

    def cost(self, costs: Costs) -> np.ndarray:
        """Return the mean cost of a row, shape [m + 1]."""
        total = costs.false_positive * self.false + costs.false_negative * (self.positives - self.true)
        cost: np.ndarray = total / (self.positives + self.negatives)
        return cost


def decision_figures(
    labels: np.ndarray, given: np.ndarray, weights: np.ndarray | None = None, costs: Costs | None = None
) -> dict[str, float]:
    """Return precision, recall, false positive rate and, with costs, the cost of a row; NaN where one is not defined.

    Args:
        labels: 1 for the positive class, else 0, shape [n].
        given: Predicted classes, shape [n].
        weights: How much each row counts, shape [n]; None where all count the same.
        costs: Costs of the mistakes.
    """
    own = np.ones(len(labels)) if weights is None else weights.astype(np.float64)
    positive, told = labels == 1, given == 1
    true, false = float(own[positive & told].sum()), float(own[~positive & told].sum())
    positives, total = float(own[positive].sum()), float(own.sum())
    found = {
        "precision": _share(true, true + false),
        "recall": _share(true, positives),
        "false_positive_rate": _share(false, total - positives),
    }
    if costs is None:
        return found
    return found | {"cost": _share(costs.false_positive * false + costs.false_negative * (positives - true), total)}


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
