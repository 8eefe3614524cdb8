"""Choice of the operating point on cross-fitted, calibrated predictions of held-out rows."""

import numpy as np

from kep.components.weigh.calibrate import HeldOut
from kep.config.ensemble import OperatingPointSettings
from kep.core.errors import UserError
from kep.data.schema import decided
from kep.stats.operating_point import Costs, DecisionFigures, OperatingPoint, Rule, Thresholds, decision_figures

_SETTING = "ensemble.operating_point"
_ROUNDING = 1e-9


def choose_point(held: HeldOut, settings: OperatingPointSettings) -> OperatingPoint:
    """Return the threshold that the settings ask for.

    Args:
        held: Cross-fitted predictions of two classes, calibrated as the ensemble is.
        settings: Settings of the operating point.

    Raises:
        UserError: No threshold reaches what is asked for.
    """
    probabilities, labels, counts = held.flat()
    costs = None if settings.cost is None else Costs(**settings.cost.model_dump())
    found = Thresholds.of(labels, probabilities[:, 1], counts)
    threshold, rule, words = _chosen(found, settings, costs, len(held.labels))

    def figures(at: float | None) -> DecisionFigures:
        told = decision_figures(labels, decided(probabilities, at), counts, costs)
        return DecisionFigures(**told)

    return OperatingPoint(
        threshold=threshold,
        rule=rule,
        chosen_by=words,
        costs=costs,
        rows=len(held.labels),
        validation=figures(threshold),
        validation_default=figures(None),
    )


def _chosen(
    found: Thresholds, settings: OperatingPointSettings, costs: Costs | None, rows: int
) -> tuple[float, Rule, str]:
    """Return the threshold, its rule, and the rule in words."""
    if settings.threshold is not None:
        return settings.threshold, "threshold", "as set"
    if not (found.positives > 0 and found.negatives > 0):
        raise UserError(
            f"{_SETTING}: all {rows} validation rows that count are of one class, so no threshold can be chosen on "
            "them; give a threshold, or change data.split"
        )
    if costs is not None:
        return (
            _cheapest(found, costs),
            "cost",
            f"the lowest cost, {costs.false_positive:g} for a false positive and {costs.false_negative:g} for a false "
            "negative",
        )
    if settings.precision is not None:
        words = f"the highest recall with a precision of at least {settings.precision:g}"
        return _precise(found, settings.precision, rows), "precision", words
    least = settings.recall or 0.0
    allowed = found.recall >= least - _ROUNDING
    precision = np.where(allowed, np.nan_to_num(found.precision, nan=-1.0), -1.0)
    # The last of the equal ones has the highest recall.
    place = len(precision) - 1 - int(precision[::-1].argmax())
    words = f"the highest precision with a recall of at least {least:g}"
    return float(found.thresholds[place]), "recall", words


def _cheapest(found: Thresholds, costs: Costs) -> float:
    """Return the cheapest threshold; of equal ones the nearest to that of true probabilities (Elkan 2001)."""
    cost = found.cost(costs)
    ideal = costs.false_positive / (costs.false_positive + costs.false_negative)
    equal = found.thresholds[cost <= cost.min() + _ROUNDING * max(costs.false_positive, costs.false_negative)]
    return float(equal[np.abs(equal - ideal).argmin()])


def _precise(found: Thresholds, least: float, rows: int) -> float:
    """Return the threshold of the highest recall with at least a precision."""
    precision = np.nan_to_num(found.precision, nan=-1.0)
    allowed = np.flatnonzero(precision >= least - _ROUNDING)
    if not len(allowed):
        best = int(precision.argmax())
        # Rounded down, so that asking for it works.
        reached = np.floor(precision[best] * 1000) / 1000
        raise UserError(
            f"{_SETTING}.precision: no threshold gives a precision of {least:g} on the {rows} validation rows; the "
            f"highest is {reached:g}, at a recall of {found.recall[best]:.3g}; ask for at most that, or by recall or "
            "cost"
        )
    recall = found.recall[allowed]
    # The first of the equal ones has the highest precision.
    return float(found.thresholds[allowed[int(recall.argmax())]])
