"""The search as a page shows it."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from markupsafe import Markup

from kep.artifacts.explanation import HyperparameterImportance
from kep.artifacts.study import Candidate, Study
from kep.artifacts.trials import Hyperparameters, Trial
from kep.report import charts
from kep.report.page import number
from kep.report.search_charts import hyperparameters, search_progress

MOST_HYPERPARAMETERS = 12
"""Hyperparameters of a family whose importance is drawn."""
MOST_REASONS = 20
"""Different reasons of infeasible trials that are listed."""


@dataclass(frozen=True)
class FamilyView:
    """Line of a family in the table of families.

    Attributes:
        name: Name of the family.
        swatch: Its colour.
        trials: Number of its trials.
        infeasible: Number of those that are infeasible.
        best: Best score; None without a complete trial.
        median: Median score.
        candidates: Number of its candidates.
        seconds: Time of its trainings.
        winner: True where no family reached a better score.
    """

    name: str
    swatch: Markup
    trials: int
    infeasible: int
    best: float | None
    median: float | None
    candidates: int
    seconds: float
    winner: bool


@dataclass(frozen=True)
class ParallelView:
    """Chart of a family's hyperparameters."""

    name: str
    trials: int
    chart: Markup


@dataclass(frozen=True)
class ImportanceView:
    """Importance of a family's hyperparameters: a chart, or why there is none."""

    name: str
    trials: int
    explained: str
    chart: Markup | None
    problem: str | None


@dataclass(frozen=True)
class ReasonView:
    """A reason of infeasible trials, the number of trials, and the first of them."""

    text: str
    trials: int
    example: str


@dataclass(frozen=True)
class CandidateView:
    """Line of a candidate: its colour and its hyperparameters as text."""

    candidate: Candidate
    swatch: Markup
    hyperparameters: str


@dataclass(frozen=True)
class SearchView:
    """Content of the search's part of a page."""

    study: Study
    lower: bool
    progress: Markup
    families: list[FamilyView]
    candidates: list[CandidateView]
    parallel: list[ParallelView]
    importance: list[ImportanceView]
    reasons: list[ReasonView]
    more_reasons: int


def search_view(
    study: Study, trials: Sequence[Trial], importance: Mapping[str, HyperparameterImportance] = MappingProxyType({})
) -> SearchView:
    """Return the content of the search's part of a page.

    Args:
        study: The result of the search.
        trials: The trials, in order.
        importance: Importance of hyperparameters by family, where it is known.
    """
    colours = colours_of(study, trials)
    reasons = Counter(trial.reason for trial in trials if not trial.complete).most_common()
    examples = {trial.reason: trial.id for trial in reversed(trials)}
    return SearchView(
        study=study,
        lower=study.objective.direction == "min",
        progress=search_progress("progress", trials, study.objective, colours),
        families=_families(study, trials, colours),
        candidates=[
            CandidateView(candidate, charts.swatch(colours[candidate.family]), values_text(candidate.values))
            for candidate in study.candidates
        ],
        parallel=_parallel(study, trials, colours),
        importance=[_importance(name, one, colours[name]) for name, one in importance.items() if name in colours],
        reasons=[ReasonView(text or "no reason given", n, examples[text]) for text, n in reasons[:MOST_REASONS]],
        more_reasons=max(0, len(reasons) - MOST_REASONS),
    )


def colours_of(study: Study, trials: Sequence[Trial]) -> dict[str, str]:
    """Return the colour of each family of a search."""
    return charts.family_colours([*study.spaces, *(trial.family for trial in trials)])


def values_text(values: Hyperparameters) -> str:
    """Return hyperparameters on one line."""
    return ", ".join(f"{name} {number(value)}" for name, value in values.items()) or "none"


def _families(study: Study, trials: Sequence[Trial], colours: dict[str, str]) -> list[FamilyView]:
    better = min if study.objective.direction == "min" else max
    scores = {
        name: [trial.scores.score for trial in trials if trial.family == name and trial.complete] for name in colours
    }
    best = {name: better(own) for name, own in scores.items() if own}
    lines = []
    for name, colour in colours.items():
        own = [trial for trial in trials if trial.family == name]
        lines.append(
            FamilyView(
                name=name,
                swatch=charts.swatch(colour),
                trials=len(own),
                infeasible=len(own) - len(scores[name]),
                best=best.get(name),
                median=statistics.median(scores[name]) if scores[name] else None,
                candidates=sum(candidate.family == name for candidate in study.candidates),
                seconds=sum(trial.seconds for trial in own),
                winner=name in best and best[name] == better(best.values()),
            )
        )
    return lines


def _parallel(study: Study, trials: Sequence[Trial], colours: dict[str, str]) -> list[ParallelView]:
    drawn = []
    for name, colour in colours.items():
        own = [trial for trial in trials if trial.family == name and trial.complete]
        space = study.spaces.get(name, [])
        if len(own) > 1 and space:
            chart = hyperparameters(f"space-{name}", own, space, study.objective, study.chosen, colour)
            drawn.append(ParallelView(name, len(own), chart))
    return drawn


def _importance(name: str, found: HyperparameterImportance, colour: str) -> ImportanceView:
    drawn = dict(found.shares[:MOST_HYPERPARAMETERS])
    chart = charts.bars(
        f"hyperparameters-{name}",
        f"Importance of the hyperparameters of {name}: "
        + ", ".join(f"{one} {100 * v:.0f} %" for one, v in drawn.items()),
        list(drawn),
        list(drawn.values()),
        [colour] * len(drawn),
        "share of what a forest explains",
        [f"{100 * value:.0f} %" for value in drawn.values()],
    )
    explained = "" if found.explained is None else f"{100 * found.explained:.0f}"
    return ImportanceView(name, found.trials, explained, chart if drawn else None, found.problem)
