"""The first screen of the report: the result in a sentence, beside what it is held against."""

from collections.abc import Mapping

from kep.artifacts.evaluation import BASELINE, ENSEMBLE, Interval
from kep.artifacts.report import Report
from kep.artifacts.verdict import Verdict
from kep.report.page import count, interval, number
from kep.report.sections.words import View, families_of, member_ids, metric_name, places, plural
from kep.report.summary import sentence
from kep.stats.metrics import TELLING, lower_is_better


def head(report: Report, verdict: Verdict | None) -> View:
    """Return the content of the first screen."""
    members = member_ids(report)
    return {
        "sentence": sentence(report, verdict),
        "run": report.run.folder.rpartition("/")[2] if report.run else None,
        "started": report.run.started[:16].replace("T", " ") if report.run else None,
        "rows": report.evaluation.rows,
        **_table(report, members),
        "figures": _figures(report, members),
    }


def best_member(report: Report, metric: str) -> str | None:
    """Return the id of the member with the best value of a metric on the test rows; None where none has one."""
    scores = report.evaluation.scores
    known = {id: value for id in member_ids(report) if (value := _value(scores[id], metric)) is not None}
    if not known:
        return None
    return (min if lower_is_better(metric) else max)(known, key=lambda id: known[id])


def _value(scores: Mapping[str, Interval], metric: str) -> float | None:
    return scores[metric].value if metric in scores else None


def _table(report: Report, members: list[str]) -> View:
    """Return the ensemble beside its best member, the champion and the baseline, by the metric and the loss."""
    evaluation, label, metric = report.evaluation, report.manifest.label, report.asked.judged_by
    models: dict[str, Mapping[str, Interval]] = {"ensemble": evaluation.scores[ENSEMBLE]}
    if len(members) > 1 and (best := best_member(report, metric)):
        models[f"best member, {best}"] = evaluation.scores[best]
    if evaluation.champion is not None and evaluation.champion.scores:
        unseen = evaluation.champion.unseen
        where = "" if unseen == evaluation.rows else f", on {plural(unseen, 'row', 'rows')}"
        models[f"champion{where}"] = evaluation.champion.scores
    if BASELINE in evaluation.scores:
        models["baseline"] = evaluation.scores[BASELINE]
    columns = [name for name in dict.fromkeys([metric, "loss"]) if name in evaluation.ensemble]
    digits = {name: places(scores[name] for scores in models.values()) for name in columns}
    return {
        "columns": [metric_name(name, label) for name in columns],
        "models": [
            {
                "name": model,
                "strong": model == "ensemble",
                "cells": [
                    {
                        "value": number(scores[name].value, digits[name]),
                        "interval": interval(scores[name], digits[name]),
                    }
                    for name in columns
                ],
            }
            for model, scores in models.items()
        ],
    }


def _figures(report: Report, members: list[str]) -> list[View]:
    label, scores = report.manifest.label, report.evaluation.ensemble
    shown = {report.asked.judged_by, "loss"}
    figures = []
    for name in TELLING[label.task]:
        if name in scores and name not in shown:
            digits = places([scores[name]])
            value, note = number(scores[name].value, digits), f"95 %: {interval(scores[name], digits)}"
            figures.append({"name": f"test {metric_name(name, label)}", "value": value, "note": note})
    families = len({families_of(report).get(id) for id in members})
    note = f"of {plural(families, 'family', 'families')}, weights: {report.weights.method}"
    return [*figures, {"name": "members", "value": count(len(members)), "note": note}]
