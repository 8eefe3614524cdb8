"""The search as a page: what was tried, what it reached, and what went on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from kep.artifacts.study import Study
from kep.artifacts.trials import Trial, TrialStore, merged
from kep.core.files import write_file
from kep.report import charts
from kep.report.page import number, render_page
from kep.report.search import SearchView, colours_of, search_view, values_text


@dataclass(frozen=True)
class _Row:
    """Line of a trial: its colour, its state, its best unit and its hyperparameters as texts."""

    trial: Trial
    swatch: Markup
    state: str
    best: str
    hyperparameters: str


def write_summary(folder: Path) -> None:
    """Write `summary.html`.

    Args:
        folder: Folder with study.json and trials/.
    """
    study, trials = Study.load(folder), merged(TrialStore(folder).load().values())
    search = search_view(study, trials)
    page = render_page("summary.html.j2", search=search, sentence=_sentence(search), rows=_rows(study, trials))
    write_file(folder / "summary.html", lambda path: path.write_text(page, encoding="utf-8"))


def _sentence(search: SearchView) -> str:
    winners = [family for family in search.families if family.winner]
    if not winners:
        return f"None of {search.study.trials} trials completed."
    return (
        f"The best validation {search.study.objective.name} of {search.study.trials} trials is "
        f"{number(winners[0].best)}, by {winners[0].name}; {len(search.candidates)} candidates go on."
    )


def _rows(study: Study, trials: Sequence[Trial]) -> list[_Row]:
    colours = colours_of(study, trials)
    return [
        _Row(
            trial=trial,
            swatch=charts.swatch(colours[trial.family]),
            state="candidate" if trial.number in study.chosen else trial.status,
            best=f"{trial.unit} {trial.best}" if trial.complete else number(None),
            hyperparameters=values_text(trial.used),
        )
        for trial in trials
    ]
