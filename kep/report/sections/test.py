"""The test rows in the report: metrics, intervals, and pictures of the predictions."""

import math
from collections.abc import Mapping, Sequence

from kep.artifacts.evaluation import AVERAGE, BASELINE, ENSEMBLE, Decisions, Difference, Gap, Interval, Pictures, Slice
from kep.artifacts.report import Report
from kep.data.schema import Label
from kep.report import charts, report_charts
from kep.report.charts import Line
from kep.report.page import DASH, interval, number
from kep.report.report_charts import Mark
from kep.report.sections.words import View, candidate_colours, member_ids, metric_name, places
from kep.stats.metrics import METRICS, lower_is_better

MOST_CLASSES_MATRIX = 30
MOST_CONFUSED = 20
MOST_DEPTH = 40
"""Share of a colour in the darkest cell of the matrix, in percent: with more, the number in it is hard to read."""
_FIGURES = {
    "precision": "precision ↑",
    "recall": "recall ↑",
    "false_positive_rate": "false positive rate ↓",
    "cost": "cost per row ↓",
}


def test(report: Report) -> View:
    """Return the content of the section."""
    evaluation, label = report.evaluation, report.manifest.label
    unit = "test squared error" if label.task == "regression" else "test log-loss (nats)"
    # Beside the baseline the differences between models would be too small to see.
    models = [name for name in (ENSEMBLE, AVERAGE, *member_ids(report)) if name in evaluation.scores]
    losses = {name: evaluation.scores[name]["loss"] for name in models}
    colour = charts.ROLES["test"]
    return {
        "rows": evaluation.rows,
        "positive": label.classes[1] if label.task == "binary" and label.classes else None,
        "metrics": [
            {"name": metric_name(metric, label), "lower": lower_is_better(metric)} for metric in _metrics(report)
        ],
        "table": _table(report, models),
        "forest": charts.intervals(
            "forest",
            "Test loss of the ensemble, the average and each member",
            [Line(name, one.value, one.low, one.high, colour, name == ENSEMBLE) for name, one in losses.items()],
            unit,
        ),
        "against": charts.intervals(
            "against",
            "Difference of the ensemble's test loss from each member's and the average's, row by row",
            [
                Line(name, one.value, one.low, one.high, colour)
                for name, one in (
                    (name, evaluation.against[name]["loss"]) for name in models if name in evaluation.against
                )
            ],
            f"ensemble minus the other, {unit.removeprefix('test ')}",
        ),
        "gap": _gap(evaluation.gap, report.weights.cross_fitted.error, unit.removeprefix("test ")),
        "pictures": _pictures(evaluation.pictures, label, evaluation.decisions),
        "decisions": _decisions(evaluation.decisions, label),
        "calibrated": _calibrated(evaluation.calibration),
        "slices": _slices(evaluation.slices, label),
        "reload": f"{evaluation.reload_difference:.1e}" if evaluation.reload_difference else None,
    }


def _metrics(report: Report) -> list[str]:
    return [name for name in ("loss", *METRICS) if name in report.evaluation.ensemble]


def _table(report: Report, models: Sequence[str]) -> list[View]:
    scores, metrics, colours = report.evaluation.scores, _metrics(report), candidate_colours(report)
    label = report.manifest.label
    baseline = "baseline (mean of train)" if label.task == "regression" else "baseline (class shares of train)"
    order = [name for name in (*models, BASELINE) if name in scores]
    digits = {metric: places(scores[name][metric] for name in order) for metric in metrics}
    # Rounded: of two values that look the same, not one alone is bold.
    best = {
        metric: number(_best(metric, [scores[name][metric].value for name in order]), digits[metric])
        for metric in metrics
    }
    rows = []
    for name in order:
        cells = []
        for metric in metrics:
            value = number(scores[name][metric].value, digits[metric])
            found = interval(scores[name][metric], digits[metric])
            cells.append({"value": value, "interval": found, "best": best[metric] == value != DASH})
        rows.append(
            {
                "name": baseline if name == BASELINE else name,
                "strong": name == ENSEMBLE,
                "swatch": charts.swatch(colours[name]) if name in colours else "",
                "cells": cells,
            }
        )
    return rows


def _best(metric: str, values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return (min if lower_is_better(metric) else max)(known) if known else None


def _gap(gap: Gap, error: float | None, unit: str) -> View:
    """Return validation loss as fitted, as cross-fitted, and the loss on rows never seen before."""
    test, amber = gap.test_loss, charts.ROLES["validation"]
    crossed, spread = charts.number(gap.cross_fitted_loss), charts.number(error or None)
    lines = [
        Line("validation, as fitted", gap.validation_loss, None, None, amber),
        Line("validation, cross-fitted", crossed, crossed - spread, crossed + spread, amber, True),
        Line("test", test.value, test.low, test.high, charts.ROLES["test"], True),
    ]
    digits = places([test])
    known = test.value is not None and test.low is not None and test.high is not None
    return {
        "chart": charts.intervals("gap", "Loss of the ensemble on validation rows and on test rows", lines, unit),
        "validation": number(gap.validation_loss, digits),
        "cross_fitted": number(gap.cross_fitted_loss, digits),
        "test": number(test.value, digits),
        "interval": interval(test, digits),
        "inside": charts.number(test.low) <= crossed <= charts.number(test.high) if known else None,
        "lower": charts.number(test.value) < crossed,
    }


def _calibrated(differences: Mapping[str, Difference]) -> str | None:
    """Return the sentence of what calibration changes; None where there is none."""
    if not differences:
        return None

    def told(found: Difference) -> str:
        digits = places([found])
        return f"{number(found.value, digits)} ({interval(found, digits)})"

    loss, error = told(differences["loss"]), told(differences["calibration_error"])
    return f". Calibration changes the log-loss by {loss} and the calibration error by {error}"


def _decisions(decisions: Decisions | None, label: Label) -> View | None:
    """Return the table of the operating point; None where there is none."""
    if decisions is None or decisions.point is None:
        return None
    point, names = decisions.point, [name for name in _FIGURES if name in decisions.at_point]
    digits = {name: places([decisions.at_point[name], decisions.at_half[name]]) for name in names}
    validation = [
        {name: number(getattr(figures, name), digits[name]) for name in names}
        for figures in (point.validation, point.validation_default)
    ]
    sides = zip((number(point.threshold, 3), "0.5"), (decisions.at_point, decisions.at_half), validation, strict=True)
    return {
        "threshold": number(point.threshold, 3),
        "chosen_by": point.chosen_by,
        "rows": point.rows,
        "names": [_FIGURES[name] for name in names],
        "sides": [
            {
                "at": at,
                "cells": [_cell(figures[name], digits[name]) | {"validation": held[name]} for name in names],
            }
            for at, figures, held in sides
        ],
    }


def _value(decisions: Decisions, name: str) -> float:
    return charts.number(decisions.at_point[name].value)


def _mark(decisions: Decisions | None, at: tuple[float, float] | None) -> Mark | None:
    """Return the mark of the decisions on a curve; None where it has no place there."""
    if decisions is None or at is None or not all(math.isfinite(one) for one in at):
        return None
    point = decisions.point
    return Mark(*at, "p ≥ 0.5" if point is None else f"operating point, p ≥ {number(point.threshold, 3)}")


def _pictures(drawn: Pictures, label: Label, decisions: Decisions | None) -> View:
    found: View = {"small": False}
    names = label.classes or []
    if drawn.confusion is not None:
        found |= _confusion(drawn.confusion, names)
    if drawn.calibration is not None:
        found["calibration"] = report_charts.reliability(drawn.calibration, drawn.uncalibrated)
    if drawn.roc is not None:
        marked = None if decisions is None else (_value(decisions, "false_positive_rate"), _value(decisions, "recall"))
        found["roc"] = report_charts.roc(drawn.roc, names[1], _mark(decisions, marked))
        found["positive"] = names[1]
    if drawn.precision_recall is not None:
        marked = None if decisions is None else (_value(decisions, "recall"), _value(decisions, "precision"))
        found["precision_recall"] = report_charts.precision_recall(
            drawn.precision_recall, names[1], _mark(decisions, marked)
        )
    if drawn.residuals is not None:
        found["residuals"] = report_charts.predicted_against_true(drawn.residuals, label.name)
        found["histogram"] = report_charts.residuals(drawn.residuals, label.name)
        found["drawn"] = len(drawn.residuals)
    return found


def _confusion(matrix: Sequence[Sequence[int]], names: Sequence[bool | int | str]) -> View:
    """Return the confusion matrix where it has room, and the most confused pairs of classes."""
    found: View = {}
    if len(names) <= MOST_CLASSES_MATRIX:
        found["small"] = len(names) <= 10
        found["matrix"] = {"names": names, "rows": [_matrix_row(names, row, i) for i, row in enumerate(matrix)]}
    pairs: list[View] = [
        {"rows": n, "true": names[i], "given": names[j], "share": 100 * n / sum(row)}
        for i, row in enumerate(matrix)
        for j, n in enumerate(row)
        if i != j and n
    ]
    found["confused"] = sorted(pairs, key=lambda pair: -pair["rows"])[:MOST_CONFUSED]
    found["wrong"] = sum(pair["rows"] for pair in pairs)
    return found


def _matrix_row(names: Sequence[bool | int | str], row: Sequence[int], true: int) -> View:
    total = sum(row)
    cells = [
        # A single error must be seen beside a full diagonal, hence the root.
        {
            "rows": n,
            "colour": "train" if i == true else "test",
            "depth": round(MOST_DEPTH * math.sqrt(n / total)) if total else 0,
        }
        for i, n in enumerate(row)
    ]
    return {"name": names[true], "cells": cells, "total": total, "recall": 100 * row[true] / total if total else None}


def _slices(slices: Mapping[str, Sequence[Slice]], label: Label) -> list[View]:
    tables = []
    for column, parts in slices.items():
        if parts:
            metrics = [name for name in ("loss", *METRICS) if name in parts[0].metrics]
            digits = {name: places(part.metrics[name] for part in parts) for name in metrics}
            rows = [
                {
                    "value": part.value,
                    "rows": part.rows,
                    "metrics": [_cell(part.metrics[name], digits[name]) for name in metrics],
                }
                for part in parts
            ]
            tables.append({"column": column, "metrics": [metric_name(name, label) for name in metrics], "rows": rows})
    return tables


def _cell(found: Interval, digits: int) -> View:
    return {"value": number(found.value, digits), "interval": interval(found, digits)}
