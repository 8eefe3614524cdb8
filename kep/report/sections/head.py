"""The head of the report: the result in a sentence and some figures."""

from kep.artifacts.report import Report
from kep.artifacts.verdict import Verdict
from kep.report.page import count, interval, number
from kep.report.sections.words import View, families_of, member_ids, metric_name, places, plural, promotion

FIRST = {"binary": ("accuracy", "roc_auc"), "multiclass": ("accuracy", "f1"), "regression": ("rmse", "r2")}
"""Metrics beside the loss that the head of the page shows."""


def head(report: Report, verdict: Verdict | None) -> View:
    """Return the content of the head."""
    scores, members = report.evaluation.scores, member_ids(report)
    ours = report.evaluation.ensemble["loss"]
    losses = {id: value for id in members if (value := scores[id]["loss"].value) is not None}
    best = min(losses, key=lambda id: losses[id], default=None)
    digits = places(score["loss"] for score in scores.values())
    return {
        "loss": number(ours.value, digits),
        "interval": interval(ours, digits),
        "rows": report.evaluation.rows,
        "members": plural(len(members), "member", "members"),
        "best": best,
        "best_loss": number(losses[best], digits) if best else None,
        "best_interval": interval(scores[best]["loss"], digits) if best else None,
        "single": len(members) == 1,
        "promotion": promotion(verdict),
        "figures": _figures(report, members),
    }


def _figures(report: Report, members: list[str]) -> list[View]:
    label, scores = report.manifest.label, report.evaluation.ensemble
    figures = []
    for name in ("loss", *FIRST[label.task]):
        if name in scores:
            digits = places([scores[name]])
            value, note = number(scores[name].value, digits), f"95 %: {interval(scores[name], digits)}"
            figures.append({"name": f"test {metric_name(name, label)}", "value": value, "note": note})
    families = len({families_of(report).get(id) for id in members})
    note = f"of {plural(families, 'family', 'families')}, weights: {report.weights.method}"
    return [*figures, {"name": "members", "value": count(len(members)), "note": note}]
