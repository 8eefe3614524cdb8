"""The result of a run in a sentence, as the terminal and the report's first screen tell it."""

from kep.artifacts.evaluation import BASELINE, Difference, Interval
from kep.artifacts.report import Report
from kep.artifacts.verdict import Verdict
from kep.data.schema import Label
from kep.report.page import interval, number
from kep.report.sections.words import metric_name, places
from kep.stats.metrics import lower_is_better


def sentence(report: Report, verdict: Verdict | None) -> str:
    """Return whether the ensemble is better, the same or worse than what it is held against, and what was decided.

    Args:
        report: Content of the report.
        verdict: Decision of `promote`; None where it is not taken yet.
    """
    evaluation, metric = report.evaluation, report.asked.judged_by
    name = metric_name(metric, report.manifest.label)
    ours = evaluation.ensemble.get(metric)
    told = f"{name} {_told(ours)}" if ours else f"no {name}"
    whole = f"On {evaluation.rows:,} test rows the ensemble has {told}"
    if not (verdict and verdict.unchanged):  # held against itself it is the same
        whole += f": {_against(report, metric)}"
    return f"{whole}. {'Promotion is not yet decided.' if verdict is None else verdict.sentence}"


def better(difference: Difference, metric: str) -> str:
    """Return `better`, `worse` or `the same` by whether the whole interval says so."""
    if difference.low is None or difference.high is None:
        return "the same"
    lower = lower_is_better(metric)
    if difference.low > 0:
        return "worse" if lower else "better"
    if difference.high < 0:
        return "better" if lower else "worse"
    return "the same"


def _against(report: Report, metric: str) -> str:
    compared, label = report.evaluation.champion, report.manifest.label
    if compared is not None and compared.problem:
        return f"it can't be compared with the champion, since {compared.problem}"
    if compared is not None:
        return _compared("the champion", compared.differences.get(metric), metric, label)
    return _compared("the baseline", report.evaluation.against.get(BASELINE, {}).get(metric), metric, label)


def _compared(other: str, difference: Difference | None, metric: str, label: Label) -> str:
    if difference is None or difference.value is None:
        return f"it can't be compared with {other} by its {metric_name(metric, label)}"
    digits = places([difference])
    word = better(difference, metric)
    verb = f"{word} than {other}" if word != "the same" else f"not surely better or worse than {other}"
    return f"{verb} ({number(difference.value, digits)}, 95 % interval {interval(difference, digits)})"


def _told(score: Interval) -> str:
    digits = places([score])
    return f"{number(score.value, digits)} ({interval(score, digits)})"
