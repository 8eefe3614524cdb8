"""The ensemble in the report: members, weights, and how they were chosen."""

import math

from markupsafe import Markup

from kep.artifacts.member import TrainedMember
from kep.artifacts.report import Report
from kep.artifacts.weights import CalibrationChoice, MethodScore, Weights
from kep.config.ensemble import EnsembleSettings
from kep.report import charts
from kep.report.charts import Line
from kep.report.page import DASH, interval, loss, number
from kep.report.search import values_text
from kep.report.sections.words import View, candidate_colours, fine, member_ids, metric_name, places

SINGLE = "best_single"


def ensemble(report: Report) -> View:
    """Return the content of the section."""
    weights, colours = report.weights, candidate_colours(report)
    # Weights for a metric are fitted before an operating point is chosen.
    undecided = report.manifest.label.model_copy(update={"threshold": None})
    trained = {member.id: member for member in report.members}
    order = sorted(weights.methods, key=lambda name: (name != SINGLE, _known(weights.methods[name].loss)))
    return {
        "weights_chart": _weights_chart(weights, colours),
        "members": [_member(trained[id], colours.get(id, charts.MUTED)) for id in member_ids(report) if id in trained],
        "correlation": weights.correlation,
        "retrained": all(member.rule != "off" for member in report.members),
        "without": _without(report),
        "methods": [
            {"name": _way_name(name), "chosen": name == weights.chosen, **_rounded(weights.methods[name])}
            for name in order
        ],
        "methods_chart": charts.intervals(
            "methods",
            "Cross-fitted validation loss of each way to weigh, with its standard error",
            [_line(name, weights) for name in order],
            "validation loss",
        ),
        "metric": None if weights.metric == "loss" else metric_name(weights.metric, undecided),
        "method": _way_name(weights.method),
        "reason": weights.reason,
        "pooling": weights.pooling if len(weights.members) > 1 else None,
        "pooling_reason": weights.pooling_reason,
        "calibration": _calibration(weights.calibration),
        "latency": _latency(weights, report.asked.ensemble),
        "gap": f"{weights.gap:.1e}" if weights.fitted and weights.gap is not None else None,
        "single": loss(weights.methods[SINGLE].loss),
        "loss": loss(weights.cross_fitted.loss),
    }


def _calibration(choice: CalibrationChoice | None) -> View | None:
    """Return how the probabilities are calibrated, with the figures before and after."""
    if choice is None:
        return None
    temperature = choice.fitted.temperature if choice.fitted else None
    found: View = {
        "method": choice.method + ("" if temperature is None else f" {temperature:.3g}"),
        "reason": choice.reason,
        "rows": choice.rows,
    }
    if choice.fitted is not None:
        found["losses"] = [loss(one.loss) for one in (choice.before, choice.after)]
        found["errors"] = [number(one.calibration_error, 4) for one in (choice.before, choice.after)]
    return found


def _known(value: float | None) -> float:
    return math.inf if value is None else value


def _line(name: str, weights: Weights) -> Line:
    method, chosen = weights.methods[name], name == weights.chosen
    value, error = charts.number(method.loss), charts.number(method.error)
    label = _way_name(name) + (" (chosen)" if chosen else "")
    return Line(label, value, value - error, value + error, charts.ROLES["validation"], chosen)


def _weights_chart(weights: Weights, colours: dict[str, str]) -> Markup:
    heaviest = sorted(weights.weights.items(), key=lambda pair: (-pair[1], pair[0]))
    return charts.bars(
        "weights",
        "Weight of each candidate: " + ", ".join(f"{id} {weight:.3f}" for id, weight in heaviest),
        [id for id, _ in heaviest],
        [weight for _, weight in heaviest],
        [colours.get(id, charts.MUTED) for id, _ in heaviest],
        "weight",
        [f"{weight:.3f}" if weight else "0, left out" for _, weight in heaviest],
    )


def _member(member: TrainedMember, colour: str) -> View:
    return {
        "id": member.id,
        "swatch": charts.swatch(colour),
        "weight": member.weight,
        "length": f"{number(member.trained_units)} {member.unit}s",
        "best": f"{member.unit} {member.median_best}",
        "rule": member.rule,
        "rows": member.rows,
        "roles": " + ".join(member.roles),
        "hyperparameters": values_text(member.values),
    }


def _way_name(name: str) -> str:
    """Return the name of a way to weigh, with what an average is over."""
    averages = {"uniform": "uniform (of all)", "greedy_uniform": "uniform (of chosen)", SINGLE: "best single"}
    way, _, pooling = name.partition(", ")
    return ", ".join(part for part in (averages.get(way, way), pooling) if part)


def _without(report: Report) -> list[View]:
    """Return what each member adds, the heaviest first: the loss without it minus that of the ensemble."""
    weights, tested, rows = report.weights, report.evaluation.without, []
    for id in sorted(tested, key=lambda id: (-weights.weights[id], id)):
        own, digits = weights.without.get(id), places([tested[id]])
        rows.append(
            {
                "id": id,
                "weight": weights.weights[id],
                "validation": number(own.difference, fine(own.error)) if own else DASH,
                "error": number(own.error, fine(own.error)) if own else DASH,
                "test": number(tested[id].value, digits),
                "interval": interval(tested[id], digits),
            }
        )
    return rows


def _latency(weights: Weights, asked: EnsembleSettings) -> View | None:
    """Return what the members' predictions cost, where there is a budget."""
    if weights.latency_ms is None:
        return None
    spent = sum(weights.latency_ms[member.id] for member in weights.members)
    return {"spent": number(spent), "budget": number(asked.max_latency_ms), "rows": asked.latency_rows}


def _rounded(method: MethodScore) -> View:
    digits = fine(method.error)
    score = loss(method.score) if method.score is not None else None
    return {"loss": number(method.loss, digits), "error": number(method.error, digits), "score": score}
