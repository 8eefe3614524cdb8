"""Why the ensemble predicts as it does: the columns that it uses, where it is worse, and its worst rows."""

from kep.artifacts.explanation import ColumnImportance, Importance, WorseSlices
from kep.artifacts.report import Report
from kep.data.schema import Label
from kep.report import charts
from kep.report.charts import Line
from kep.report.page import interval, number
from kep.report.sections.words import View, metric_name, places

MOST_SLICES = 15
"""Worse slices that are listed."""
MOST_COLUMNS = 20
"""Columns that are drawn; the others are in the table."""


def why(report: Report) -> View | None:
    """Return the content of the section; None in reports of before there was one."""
    told, label = report.evaluation.why, report.manifest.label
    if told is None:
        return None
    return {
        "importance": told.importance and _importance(told.importance, label),
        "worse": told.worse and _worse(told.worse, label),
    }


def _importance(found: Importance, label: Label) -> View:
    unit = "increase of the squared error" if label.task == "regression" else "increase of the log-loss (nats)"
    drawn, digits = found.columns[:MOST_COLUMNS], places(one.loss for one in found.columns)
    fine = places(one.metric for one in found.columns if one.metric is not None)
    surely = [one for one in found.columns if charts.number(one.loss.low) > 0]
    return {
        "rows": found.rows,
        "of": found.of,
        "repeats": found.repeats,
        "metric": found.metric and metric_name(found.metric, label),
        "chart": charts.intervals("importance", _alt(found), [_line(one) for one in drawn], unit) if drawn else None,
        "table": [
            {
                "name": one.column,
                "kind": one.kind,
                "features": one.features,
                "loss": number(one.loss.value, digits),
                "interval": interval(one.loss, digits),
                "metric": number(one.metric.value, fine) if one.metric else None,
                "metric_interval": interval(one.metric, fine) if one.metric else None,
            }
            for one in found.columns
        ],
        "drawn": len(drawn),
        "surely": len(surely),
        "first": surely[0].column if surely else None,
        "skipped": found.skipped,
        "alike": [
            {"first": one.columns[0], "second": one.columns[1], "association": f"{one.association:.2f}"}
            for one in found.alike
        ],
    }


def _line(one: ColumnImportance) -> Line:
    sure = charts.number(one.loss.low) > 0
    return Line(one.column, one.loss.value, one.loss.low, one.loss.high, charts.ROLES["test"], sure)


def _alt(found: Importance) -> str:
    first = f"; the most important is {found.columns[0].column}" if found.columns else ""
    return f"Increase of the loss when each of {len(found.columns)} columns is permuted{first}"


def _worse(found: WorseSlices, label: Label) -> View:
    digits = places(one.difference for one in found.slices)
    return {
        "looked": found.looked,
        "found": len(found.slices),
        "level": f"{100 * found.level:g}",
        "loss": metric_name("loss", label),
        "rows": [
            {
                "column": one.column,
                "value": one.value,
                "rows": one.rows,
                "loss": number(one.loss.value, digits),
                "interval": interval(one.loss, digits),
                "rest": number(one.rest, digits),
                "difference": number(one.difference.value, digits),
                "difference_interval": interval(one.difference, digits),
                "p": number(one.p, 4),
            }
            for one in found.slices[:MOST_SLICES]
        ],
    }
