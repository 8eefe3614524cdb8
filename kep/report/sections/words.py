"""Names, colours and rounding that several sections share."""

from collections.abc import Iterable
from typing import Any

from kep.artifacts.evaluation import Interval
from kep.artifacts.report import Report
from kep.artifacts.verdict import Verdict
from kep.data.schema import Label
from kep.report import charts
from kep.report.page import count, decimals, number
from kep.report.search import colours_of
from kep.stats.metrics import METRICS

View = dict[str, Any]
"""Content of a section by the template's names."""

_ROUNDING = 1e-9
"""Half width of an interval that is nothing but rounding."""
NAMES = {
    "accuracy": "accuracy",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "f1": "F1",
    "calibration_error": "calibration error",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
}


def loss_name(label: Label) -> str:
    """Return the name of the loss with its unit."""
    if label.task == "regression":
        return f"mean squared error (squared units of {label.name})"
    return "log-loss (nats per row)"


def metric_name(name: str, label: Label) -> str:
    """Return the name of a metric for people, with the operating point where it is at one."""
    if name == "loss":
        return "squared error" if label.task == "regression" else "log-loss"
    at = "" if label.threshold is None or not METRICS[name].decides else f" at p ≥ {number(label.threshold, 3)}"
    return NAMES.get(name, name) + at


def plural(number_of: int, one: str, many: str) -> str:
    """Return a number with its noun."""
    return f"{count(number_of)} {one if number_of == 1 else many}"


def places(values: Iterable[Interval]) -> int:
    """Return the decimal places for a column of values with intervals: those of the narrowest."""
    widths = [(value.high - value.low) / 2 for value in values if value.high is not None and value.low is not None]
    # Such as that of the AUC of equal predictions, which rounds in some resamples.
    return max([decimals(width) for width in widths if width > _ROUNDING], default=4)


def fine(error: float | None) -> int:
    """Return the decimal places for a value with a standard error: one more than the error needs."""
    return min(6, decimals(error) + 1)


def member_ids(report: Report) -> list[str]:
    """Return the ids of the members, the heaviest first."""
    return [member.id for member in report.weights.members]


def families_of(report: Report) -> dict[str, str]:
    """Return the family of each candidate, by id."""
    return {result.candidate.id: result.candidate.family for result in report.best_epochs}


def candidate_colours(report: Report) -> dict[str, str]:
    """Return the colour of each candidate's family, by id, the same as in the search."""
    families = colours_of(report.study, report.trials)
    return {id: families.get(family, charts.MUTED) for id, family in families_of(report).items()}


def promotion(verdict: Verdict | None) -> View:
    """Return the decision in words."""
    if verdict is None:
        return {"word": "not yet decided", "reason": "", "forced": False}
    word = "promoted" if verdict.promoted else "not promoted"
    return {"word": word, "reason": verdict.reason, "forced": verdict.forced}
