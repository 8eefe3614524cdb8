"""The best epochs in the report."""

import statistics

from markupsafe import Markup

from kep.artifacts.best_epoch import BestEpoch
from kep.artifacts.report import Report
from kep.report import charts
from kep.report.report_charts import learning_curves
from kep.report.sections.words import View, candidate_colours


def best_epoch(report: Report) -> View:
    """Return the content of the section."""
    results, colours = report.best_epochs, candidate_colours(report)
    return {
        "candidates": [
            _candidate(result, chart, colours[result.candidate.id], searched=report.study.origin is None)
            for result, chart in zip(results, learning_curves(results), strict=True)
        ],
        "trainings": max((len(result.seeds) for result in results), default=0),
        "folds": next((result.folds for result in results), None),
        "capped": [result.candidate.id for result in results if result.at_cap],
    }


def _candidate(result: BestEpoch, chart: Markup, colour: str, searched: bool) -> View:
    bests = [training.best for training in result.seeds]
    losses = [training.loss for training in result.seeds]
    return {
        "id": result.candidate.id,
        "swatch": charts.swatch(colour),
        "unit": result.unit,
        "best": result.median_best,
        "span": str(bests[0]) if len(bests) == 1 else f"{min(bests)} to {max(bests)}",
        "at_cap": result.at_cap,
        # A loss on the rows of another run's search says nothing beside those of today's.
        "searched": result.candidate.loss if searched else None,
        "loss": statistics.fmean(losses) if losses else None,
        "spread": statistics.stdev(losses) if len(losses) > 1 else None,
        "chart": chart,
    }
