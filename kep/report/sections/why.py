"""Why the ensemble predicts as it does: the columns that it uses, where it is worse, and its worst rows."""

from kep.artifacts.explanation import ColumnImportance, Dependence, Importance, WorseSlices, WorstRow, WorstRows
from kep.artifacts.report import Report
from kep.data.schema import Label
from kep.report import charts, why_charts
from kep.report.charts import Line
from kep.report.page import DASH, interval, loss, number
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
        "worst": told.worst and _worst(told.worst, label),
        "dependence": told.dependence and _dependence(told.dependence, label),
        "curve": _curve(report),
    }


def _curve(report: Report) -> View | None:
    """Return the learning curve, and whether more rows would help; None where none was asked for."""
    member = next((one for one in report.members if one.learning_curve), None)
    if member is None:
        return None
    points = member.learning_curve
    digits = places(point.loss for point in points)
    unit = "validation squared error" if report.manifest.label.task == "regression" else "validation log-loss (nats)"
    lines = [
        Line(f"{point.rows:,} rows", point.loss.value, point.loss.low, point.loss.high, charts.ROLES["validation"])
        for point in points
    ]
    return {
        "member": member.id,
        "chart": charts.intervals("learning-curve", "Validation loss by the number of train rows", lines, unit),
        "table": [
            {"rows": point.rows, "loss": number(point.loss.value, digits), "interval": interval(point.loss, digits)}
            for point in points
        ],
        "sentence": _more_rows([charts.number(point.loss.value) for point in points], digits),
    }


def _more_rows(losses: list[float], digits: int) -> str:
    """Return what the last doubling of the rows says of the next one."""
    if len(losses) < 2:
        return "Too few shares were trained to tell whether more rows would help."
    gained = losses[-2] - losses[-1]
    told = f"The last doubling of the rows changed the loss by {number(-gained, digits)}"
    if gained <= 0.01 * abs(losses[-2]):
        return f"{told}: more rows of this kind are not likely to help."
    return f"{told}: as many rows again are likely to help by up to as much."


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


def _worst(found: WorstRows, label: Label) -> View:
    told = {"The greatest loss": found.loss, "The greatest probability of a wrong class": found.confident}
    shown = [name for name, _ in found.loss[0].values] if found.loss else []
    return {
        "label": label.name,
        "loss": metric_name("loss", label),
        "columns": shown,
        "left": found.columns - len(shown),
        "pictures": any(row.image for row in found.loss),
        "weighted": any(row.weight is not None for row in found.loss),
        "classes": label.classes is not None,
        "binary": label.task == "binary",
        "tables": [{"title": title, "rows": [_worst_row(row) for row in rows]} for title, rows in told.items() if rows],
    }


def _worst_row(row: WorstRow) -> View:
    return {
        "id": row.id,
        "image": row.image,
        "label": row.label,
        "prediction": row.prediction,
        "probabilities": [f"{name} {probability:.3f}" for name, probability in row.probabilities],
        "loss": loss(row.loss),
        "weight": number(row.weight),
        "values": [DASH if value is None else value for _, value in row.values],
    }


def _dependence(found: Dependence, label: Label) -> View:
    values = [value for column in found.columns for point in column.points for value in point.predictions]
    limits = (min(values), max(values)) if values else (0.0, 1.0)
    unit = "mean prediction" if label.task == "regression" else "mean probability"
    if len(found.outputs) == 1:
        unit = f"{unit} of {found.outputs[0]}"
    return {
        "rows": found.rows,
        "skipped": found.skipped,
        "charts": [
            {"column": one.column, "chart": why_charts.partial_dependence(one, found.outputs, limits, unit)}
            for one in found.columns
            if one.points
        ],
    }
