"""The search as a page: what was tried, what it reached, and what went on."""

from dataclasses import asdict
from pathlib import Path

from kep.artifacts.trials import Study, merged
from kep.core.files import read_json, write_file
from kep.report import charts
from kep.report.page import number, render_page
from kep.report.search import _chosen, name_of, search_view, values_text


def write_summary(folder: Path) -> None:
    """Writes `summary.html`.

    Args:
        folder: With study.json and trials/.
    """
    study = read_json(folder / "study.json")
    trials = [asdict(trial) for trial in merged(Study(folder).load().values())]
    search = search_view(study, trials)
    page = render_page("summary.html.j2", search=search, sentence=_sentence(search), rows=_rows(study, trials))
    write_file(folder / "summary.html", lambda path: path.write_text(page, encoding="utf-8"))


def _sentence(search: dict) -> str:
    winners = [family for family in search["families"] if family["winner"]]
    if not winners:
        return f"None of {search['trials']} trials completed."
    return (
        f"The best validation {search['objective']} of {search['trials']} trials is {number(winners[0]['best'])}, by "
        f"{winners[0]['name']}; {len(search['candidates'])} candidates go on."
    )


def _rows(study: dict, trials: list[dict]) -> list[dict]:
    colours = charts.family_colours([*study["spaces"], *(trial["family"] for trial in trials)])
    chosen = _chosen(study)
    rows = []
    for trial in trials:
        complete, candidate = trial["status"] == "complete", trial["number"] in chosen
        rows.append(
            {
                "id": name_of(trial),
                "swatch": charts.swatch(colours[trial["family"]]),
                "state": "candidate" if candidate else trial["status"],
                "chosen": candidate,
                "score": trial["score"],
                "loss": trial["loss"],
                "best": f"{trial['unit']} {trial['best']}" if complete else number(None),
                "seconds": trial["seconds"],
                "hyperparameters": values_text(trial["values"]),
                "reason": trial["reason"],
            }
        )
    return rows
