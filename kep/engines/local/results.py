"""The end of a run: its report, and a table of its results."""

from pathlib import Path

from rich.table import Table

from kep.artifacts.evaluation import AVERAGE, BASELINE, ENSEMBLE, Evaluation, Interval
from kep.artifacts.export import Export
from kep.artifacts.report import Report
from kep.artifacts.run import FinishedRun, RunRecord
from kep.artifacts.step import StepRecord
from kep.artifacts.verdict import Verdict
from kep.artifacts.weights import Weights
from kep.core.files import write_file
from kep.data.schema import Label
from kep.stats.metrics import TELLING


def finish(folder: Path, outcome: dict[str, Path], seconds: float) -> tuple[Report, Verdict]:
    """Write the report of a run that has ended well, and the verdict, into its folder.

    Args:
        folder: Folder of the run.
        outcome: Artifacts of the pipeline by name.
        seconds: Time of the run.
    """
    report, verdict = Report.load(outcome["evaluation"]), Verdict.load(outcome["verdict"])
    last = [StepRecord.load(outcome[name]) for name in ("evaluation", "verdict")]
    run = FinishedRun(**dict(RunRecord.load(folder)), folder=str(folder), seconds=seconds)
    report = report.model_copy(update={"steps": [*report.steps, *last], "run": run})
    verdict.save(folder)
    _write(folder, report, verdict)
    return report, verdict


def report_export(folder: Path, measured: Export) -> None:
    """Add the measurements of an export to a run's report, in the place of an earlier one in that format."""
    report = Report.of_run(folder)
    others = [export for export in report.exports if export.format != measured.format]
    _write(folder, report.model_copy(update={"exports": [*others, measured]}), Verdict.load(folder))


def _write(folder: Path, report: Report, verdict: Verdict) -> None:
    from kep.report.report import render  # matplotlib, which takes a second to import

    page = render(report, verdict)
    report.save(folder)
    write_file(folder / "report.html", lambda path: path.write_text(page, encoding="utf-8"))


def results_table(label: Label, evaluation: Evaluation, weights: Weights, metric: str) -> Table:
    """Return the telling test metrics of every member and of the ensemble.

    Args:
        label: The label.
        evaluation: Scores of every model.
        weights: The members.
        metric: The metric that was asked for, which comes first, with its interval.
    """
    positive = f", positive class: {label.classes[1]}" if label.task == "binary" and label.classes else ""
    if label.threshold is not None:
        positive += f", predicted from a probability of {_short(label.threshold, 3)} on"
    table = Table(title=f"{evaluation.rows} test rows{positive}", title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("weight", justify="right")
    names = list(dict.fromkeys([metric, "loss", *TELLING[label.task]]))[:3]
    for name in names:
        table.add_column(f"{name} (95 % interval)" if name == metric else name, justify="right", no_wrap=True)
    for model in [BASELINE, *(member.id for member in weights.members), AVERAGE, ENSEMBLE]:
        scores = evaluation.scores[model]
        weight = f"{weights.weights[model]:.3f}" if model in weights.weights else ""
        cells = [score_text(scores[name], name == metric) for name in names]
        table.add_row(model, weight, *cells, style="bold" if model == ENSEMBLE else "")
    return table


def score_text(score: Interval, whole: bool) -> str:
    """Return a score, with its interval where it is to be whole."""
    if score.value is None:
        return "–"
    if whole and score.low is not None and score.high is not None:
        return f"{_short(score.value, 3)} ({_short(score.low, 2)} to {_short(score.high, 2)})"
    return _short(score.value, 3)


def _short(value: float, digits: int) -> str:
    """Return a number with so many significant digits, without an exponent where it is large: 0.0316, 351, 1,070."""
    rounded = float(f"{value:.{digits}g}")
    if abs(rounded) < 1:
        return f"{rounded:.{digits}g}"
    return f"{rounded:,.{max(0, digits - len(str(abs(int(rounded)))))}f}"
