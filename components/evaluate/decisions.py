"""Decisions of a binary label on the test rows, at the operating point and at one half."""

import numpy as np

from kep.artifacts.evaluation import Decisions
from kep.artifacts.interval import Interval
from kep.components.evaluate.importance import Drawing
from kep.data.schema import decided
from kep.stats.bootstrap import Bootstrap
from kep.stats.metrics import Truth
from kep.stats.operating_point import OperatingPoint, decision_figures


def decisions(
    truth: Truth, predictions: np.ndarray, point: OperatingPoint | None, drawing: Drawing
) -> Decisions | None:
    """Return the figures of the decisions with their intervals; None unless the label is binary.

    Args:
        truth: Labels and weights of the rows.
        predictions: The ensemble's, shape [n, classes] or [n].
        point: Operating point of the ensemble; None where the most probable class is predicted.
        drawing: Resamples of the intervals.
    """
    if truth.task != "binary":
        return None
    costs = None if point is None else point.costs

    def figures(threshold: float | None) -> dict[str, Interval]:
        given = decided(predictions, threshold)

        def scored(rows: np.ndarray) -> dict[str, float]:
            own = truth.take(rows)
            return decision_figures(own.labels, given[rows], own.weights, costs)

        drawn = Bootstrap.of_rows(scored, len(predictions), drawing.resamples, drawing.seed)
        return {name: Interval.of(found) for name, found in drawn.intervals().items()}

    return Decisions(point=point, at_point=figures(truth.threshold), at_half=figures(None))
