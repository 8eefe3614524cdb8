"""Pictures of a search: its progress, and the hyperparameters of each family."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from kep.artifacts.study import Goal
from kep.artifacts.trials import Hyperparameter, Trial
from kep.report.charts import INK, MUTED, brief, chart, legend, log_axis, short, wide_range


def search_progress(name: str, trials: Sequence[Trial], objective: Goal, colours: dict[str, str]) -> Markup:
    """Draw score against trial number, by family, with the best so far and a cross at each infeasible trial."""
    complete = [trial for trial in trials if trial.complete]
    scores = np.array([trial.scores.score for trial in complete], float)
    better = np.minimum if objective.direction == "min" else np.maximum

    def draw(axes: Axes) -> None:
        for family, colour in colours.items():
            own = [trial for trial in complete if trial.family == family]
            numbers = [trial.number + 1 for trial in own]
            axes.plot(numbers, [trial.scores.score for trial in own], "o", color=colour, ms=5, label=short(family))
        if len(scores):
            numbers = [trial.number + 1 for trial in complete]
            steps = [*zip(numbers, better.accumulate(scores), strict=True), (len(trials), better.reduce(scores))]
            axes.step(*zip(*steps, strict=True), where="post", color=INK, lw=1.2, label="best so far")
        failed = [trial.number + 1 for trial in trials if not trial.complete]
        if failed:
            where = axes.get_xaxis_transform()
            axes.plot(failed, [0.97] * len(failed), "x", color=MUTED, ms=6, transform=where, label="infeasible")
        scale = ""
        if wide_range(scores):
            log_axis(axes, "y", scores.min() / 1.15, scores.max() * 1.15)
            scale = ", log scale"
        axes.set(xlabel="trial", ylabel=f"validation {objective.name}{scale}")
        axes.set_xlim(0, max(len(trials), 1) + 1)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        legend(axes)

    best = f"; the best is {better.reduce(scores):.4g}" if len(scores) else ""
    failed = len(trials) - len(complete)
    alt = f"Validation {objective.name} of {len(trials)} trials in order, {failed} infeasible{best}"
    return chart(name, alt, draw, height=320)


@dataclass(frozen=True)
class _Scale:
    """Scale of one hyperparameter, or of the score.

    Attributes:
        name: Name of the hyperparameter.
        low: Text at the left end.
        high: Text at the right end.
        log: True for a logarithmic scale.
        place: Position of a value between 0 and 1.
    """

    name: str
    low: str
    high: str
    log: bool
    place: Callable[[bool | int | float | str], float]


def hyperparameters(
    name: str, trials: Sequence[Trial], space: Sequence[Hyperparameter], objective: Goal, chosen: set[int], colour: str
) -> Markup:
    """Draw parallel coordinates of one family: a scale per hyperparameter, the score below, a line per trial.

    Scales lie side by side on paper; here they lie under each other, so that their names need no turning and a phone
    shows all.

    Args:
        name: Name of the chart.
        trials: Complete trials of the family.
        space: Search space of the family.
        objective: Objective of the search.
        chosen: Numbers of the trials that became candidates; drawn strong.
        colour: Colour of the family.
    """
    found = [scale for entry in reversed(space) if (scale := _scale(entry))]
    scales = list({scale.name: scale for scale in found}.values())[::-1]
    scores = [trial.scores.score for trial in trials]
    worst_first = (max(scores), min(scores)) if objective.direction == "min" else (min(scores), max(scores))
    log = wide_range(np.array(scores))
    scales.append(_numeric(f"validation {objective.name}", *worst_first, log))

    def draw(axes: Axes) -> None:
        for trial in sorted(trials, key=lambda trial: trial.number in chosen):
            values = trial.used | {scales[-1].name: trial.scores.score}
            places = [scale.place(values[scale.name]) if scale.name in values else np.nan for scale in scales]
            width, alpha, size = (2.0, 1.0, 4.5) if trial.number in chosen else (0.9, 0.4, 2.5)
            axes.plot(places, range(len(scales)), "o-", color=colour, lw=width, alpha=alpha, ms=size)
        for row, scale in enumerate(scales):
            axes.annotate(scale.low, (-0.03, row), ha="right", va="center", fontsize=9.5, color=MUTED)
            axes.annotate(scale.high, (1.03, row), ha="left", va="center", fontsize=9.5, color=MUTED)
            axes.plot([0, 1], [row, row], color=MUTED, lw=0.8, zorder=0)
        names = [short(scale.name + (" (log)" if scale.log else ""), 26) for scale in scales]
        axes.set(
            xlim=(-0.22, 1.2), ylim=(len(scales) - 0.5, -0.5), xticks=[], yticks=range(len(scales)), yticklabels=names
        )
        axes.tick_params(axis="y", labelcolor=INK)
        axes.get_yticklabels()[-1].set_fontweight("bold")
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)

    listed = ", ".join(scale.name for scale in scales)
    alt = f"Parallel coordinates of {len(trials)} trials: {listed}; the best score lies at the right end"
    return chart(name, alt, draw, height=24 + 34 * len(scales))


def _scale(entry: Hyperparameter) -> _Scale | None:
    """Return the scale of a hyperparameter; None when it has one value only."""
    kind, config = entry.class_name, entry.config
    if kind in ("Int", "Float") and config["min_value"] < config["max_value"]:
        log = config.get("sampling") in ("log", "reverse_log")
        return _numeric(config["name"], config["min_value"], config["max_value"], log)
    values = {"Choice": config.get("values", []), "Boolean": [False, True]}.get(kind, [])
    if len(values) < 2:
        return None
    places = {str(value): number / (len(values) - 1) for number, value in enumerate(values)}
    return _Scale(
        name=config["name"],
        low=short(values[0], 8),
        high=short(values[-1], 8),
        log=False,
        place=lambda value: places.get(str(value), np.nan),
    )


def _numeric(name: str, low: float, high: float, log: bool) -> _Scale:
    def change(value: bool | int | float | str) -> float:
        return float(np.log(float(value)) if log else value)

    # A family whose trials all scored the same has a scale of no length.
    length = (change(high) - change(low)) or 1.0
    return _Scale(name, brief(low), brief(high), log, lambda value: (change(value) - change(low)) / length)
