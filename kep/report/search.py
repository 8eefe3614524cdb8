"""The search as a page shows it."""

import statistics
from collections import Counter

from kep.report import charts
from kep.report.page import number

MOST_REASONS = 20
"""Different reasons of infeasible trials that are listed."""


def search_view(study: dict, trials: list[dict]) -> dict:
    """What the search part of a page shows.

    Args:
        study: study.json.
        trials: The trials' records, in order.
    """
    objective = study["objective"]
    colours = charts.family_colours([*study["spaces"], *(trial["family"] for trial in trials)])
    chosen = _chosen(study)
    families = [_family(name, trials, study, colours[name]) for name in colours]
    reached = [family["best"] for family in families if family["best"] is not None]
    if reached:
        best = (min if objective["direction"] == "min" else max)(reached)
        for family in families:
            family["winner"] = family["best"] == best
    reasons = Counter(trial["reason"] for trial in trials if trial["status"] != "complete").most_common()
    examples = {trial["reason"]: name_of(trial) for trial in reversed(trials)}
    parallel = []
    for name, colour in colours.items():
        own = [trial for trial in trials if trial["family"] == name and trial["status"] == "complete"]
        space = study["spaces"].get(name, [])
        if len(own) > 1 and space:
            drawn = charts.hyperparameters(f"space-{name}", own, space, objective, chosen, colour)
            parallel.append({"name": name, "trials": len(own), "chart": drawn})
    return {
        "objective": objective["name"],
        "lower": objective["direction"] == "min",
        "tuner": study["tuner"],
        "lowest": study["lowest_loss"],
        "corrected": study["corrected_loss"],
        "trials": study["trials"],
        "executions": study["executions"],
        "distinct": study["distinct"],
        "infeasible": study["infeasible"],
        "candidates": [
            c | {"hyperparameters": values_text(c["values"]), "swatch": charts.swatch(colours[c["family"]])}
            for c in study["candidates"]
        ],
        "progress": charts.search_progress("progress", trials, objective, colours),
        "families": families,
        "parallel": parallel,
        "reasons": [
            {"text": t or "no reason given", "trials": n, "example": examples[t]} for t, n in reasons[:MOST_REASONS]
        ],
        "more_reasons": max(0, len(reasons) - MOST_REASONS),
    }


def name_of(trial: dict) -> str:
    """The trial's id, as candidates carry it."""
    return f"{trial['family']}-{trial['number']:03d}"


def values_text(values: dict) -> str:
    """Hyperparameters on one line."""
    return ", ".join(f"{name} {number(value)}" for name, value in values.items()) or "none"


def _chosen(study: dict) -> set[int]:
    return {int(candidate["id"].rsplit("-", 1)[1]) for candidate in study["candidates"]}


def _family(name: str, trials: list[dict], study: dict, colour: str) -> dict:
    own = [trial for trial in trials if trial["family"] == name]
    scores = [trial["score"] for trial in own if trial["status"] == "complete"]
    best = min if study["objective"]["direction"] == "min" else max
    return {
        "name": name,
        "swatch": charts.swatch(colour),
        "trials": len(own),
        "infeasible": len(own) - len(scores),
        "best": best(scores) if scores else None,
        "median": statistics.median(scores) if scores else None,
        "candidates": sum(candidate["family"] == name for candidate in study["candidates"]),
        "seconds": sum(trial["seconds"] for trial in own),
        "winner": False,
    }
