"""The pictures of the report that no other page has."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from kep.artifacts.best_epoch import BestEpoch
from kep.artifacts.evaluation import CalibrationBin
from kep.report.charts import INK, MUTED, ROLES, chart, legend, log_axis, number, short, wide_range

MOST_POINTS = 12_000
"""Most points of all learning curves of a page together: more make it large, and no one sees them."""


@dataclass(frozen=True)
class Mark:
    """Point on a curve, with its name."""

    x: float
    y: float
    name: str


def learning_curves(results: Sequence[BestEpoch]) -> list[Markup]:
    """Draw one chart per candidate, all with the same scale of losses."""
    curves = 2 * sum(len(result.seeds) for result in results)
    points = max(30, min(150, MOST_POINTS // max(curves, 1)))
    losses = [_floats(training.validation_curve) for result in results for training in result.seeds]
    seen = np.concatenate([*losses, np.array([])])
    seen = seen[np.isfinite(seen)]
    return [_learning_curve(result, points, seen) for result in results]


def _learning_curve(result: BestEpoch, points: int, seen: np.ndarray) -> Markup:
    id, unit, trainings = result.candidate.id, result.unit, result.seeds
    bests = [training.best for training in trainings]

    def draw(axes: Axes) -> None:
        axes.axvspan(min(bests) - 0.5, max(bests) + 0.5, color=MUTED, alpha=0.14, lw=0)
        for place, training in enumerate(trainings):
            for role, values, width, alpha in (
                ("train", training.train_curve, 0.9, 0.45),
                ("validation", training.validation_curve, 1.4, 0.9),
            ):
                curve = _floats(values)
                if len(curve):
                    kept = _thinned(curve, points)
                    label = None if place else role
                    axes.plot(kept + 1, curve[kept], color=ROLES[role], label=label, lw=width, alpha=alpha)
        best = result.median_best
        axes.axvline(best, color=INK, lw=1.2, ls=(0, (4, 3)), label=f"median {best}")
        scale = ""
        if len(seen) and wide_range(seen):
            # The tail of a training curve falls far below what the choice is about.
            log_axis(axes, "y", seen.min() / 3, seen.max() * 1.15)
            scale = ", log scale"
        elif len(seen):
            spread = seen.max() - seen.min() or 1.0
            axes.set_ylim(seen.min() - 0.35 * spread, seen.max() + 0.05 * spread)
        axes.set(xlabel=unit, ylabel=f"loss{scale}")
        axes.set_xlim(0, 1.02 * max([1, *(len(training.validation_curve) for training in trainings)]))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        legend(axes)

    alt = (
        f"Loss of {id} against {unit} for {len(trainings)} seeds; the lowest validation loss lies at {unit} "
        f"{min(bests)} to {max(bests)}, median {result.median_best}"
    )
    return chart(f"curve-{id}", alt, draw, height=270, width=380)


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array([number(value) for value in values])


def _thinned(curve: np.ndarray, points: int) -> np.ndarray:
    """Return the indices of at most `points` + 1 values, the lowest among them; denser where a curve is steep."""
    if len(curve) <= points:
        return np.arange(len(curve))
    spread = np.linspace(0, 1, points) ** 1.5 * (len(curve) - 1)
    lowest = [] if np.isnan(curve).all() else [int(np.nanargmin(curve))]
    return np.unique(np.concatenate([spread.astype(int), lowest])).astype(int)


def class_balance(classes: Sequence[object], shares: dict[str, list[float]]) -> Markup:
    """Draw the share of each class in each role."""

    def draw(axes: Axes) -> None:
        rows = np.arange(len(classes))
        for place, (role, values) in enumerate(shares.items()):
            axes.barh(rows + (place - 1) * 0.26, values, height=0.24, color=ROLES[role], label=role)
        axes.set(yticks=rows, yticklabels=[short(name, 20) for name in classes], xlabel="share of the role's rows")
        axes.set_ylim(len(classes) - 0.45, -0.55)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.tick_params(axis="y", labelcolor=INK)
        axes.grid(False, axis="y")
        legend(axes)

    return chart("classes", "Share of each class in the rows of each role", draw, height=90 + 21 * len(classes))


def class_sizes(counts: dict[str, list[int]]) -> Markup:
    """Draw the rows of each class in each role, the largest class first: for more classes than bars have room."""

    def draw(axes: Axes) -> None:
        for role, values in counts.items():
            ranks = np.arange(1, len(values) + 1)
            axes.plot(ranks, sorted(values, reverse=True), color=ROLES[role], drawstyle="steps-mid", label=role)
        axes.set(xlabel="classes by size", ylabel="rows")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        legend(axes)

    return chart("classes", "Rows of each class in each role, the largest class first", draw, height=260)


def reliability(bins: Sequence[CalibrationBin], uncalibrated: Sequence[CalibrationBin] | None = None) -> Markup:
    """Draw accuracy against confidence of the predicted class, in bins of equal numbers of rows.

    Args:
        bins: Bins of the ensemble.
        uncalibrated: Bins of its probabilities before they are calibrated, where they are.
    """
    points = [*bins, *(uncalibrated or [])]

    def draw(axes: Axes) -> None:
        low = max(0.0, min([min(one.confidence, one.accuracy) for one in points]) - 0.05)
        axes.plot([low, 1], [low, 1], color=MUTED, lw=1, ls=(0, (4, 3)), label="as sure as right")
        for own, name, style, colour in (
            (uncalibrated, "before calibration", "o:", MUTED),
            (bins, "calibrated" if uncalibrated else "test rows", "o-", ROLES["test"]),
        ):
            if own:
                x, y = [one.confidence for one in own], [one.accuracy for one in own]
                axes.plot(x, y, style, color=colour, lw=1.2, ms=5, label=name)
        axes.set(
            xlabel="mean confidence of the most probable class", ylabel="accuracy", xlim=(low, 1.01), ylim=(low, 1.02)
        )
        legend(axes)

    told = f"Accuracy against confidence in {len(bins)} bins of test rows"
    return chart("reliability", told + (", before and after calibration" if uncalibrated else ""), draw, height=320)


def roc(points: Sequence[Sequence[float]], positive: object, mark: Mark | None = None) -> Markup:
    """Draw the receiver operating characteristic, with the decisions marked."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)), label="by chance")
        axes.plot([p[0] for p in points], [p[1] for p in points], color=ROLES["test"], label="ensemble")
        _draw_mark(axes, mark)
        axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        legend(axes)

    alt = f"ROC curve of the ensemble on test rows, positive class {positive}{_told(mark)}"
    return chart("roc", alt, draw, height=320)


def precision_recall(points: Sequence[Sequence[float]], positive: object, mark: Mark | None = None) -> Markup:
    """Draw precision against recall, with the decisions marked."""

    def draw(axes: Axes) -> None:
        x, y = [p[0] for p in points], [p[1] for p in points]
        # Between two thresholds no precision is reached in between.
        axes.plot(x, y, color=ROLES["test"], drawstyle="steps-post", label="ensemble")
        _draw_mark(axes, mark)
        axes.set(xlabel="recall", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        legend(axes)

    alt = f"Precision against recall of the ensemble on test rows, positive class {positive}{_told(mark)}"
    return chart("precision-recall", alt, draw, height=320)


def _draw_mark(axes: Axes, mark: Mark | None) -> None:
    if mark is not None:
        axes.plot([mark.x], [mark.y], "o", color=INK, ms=7, mfc="none", mew=1.6, label=mark.name)


def _told(mark: Mark | None) -> str:
    return "" if mark is None else f"; {mark.name} at {mark.x:.3f}, {mark.y:.3f}"


def predicted_against_true(pairs: Sequence[Sequence[float]], label: str) -> Markup:
    """Draw each test row's prediction and its label, with the line on which both are equal."""
    values = np.array(pairs, float).reshape(-1, 2)

    def draw(axes: Axes) -> None:
        ends = [values.min(), values.max()] if len(values) else [0, 1]
        axes.plot(ends, ends, color=MUTED, lw=1, ls=(0, (4, 3)), label="prediction = truth")
        axes.plot(values[:, 1], values[:, 0], "o", color=ROLES["test"], ms=3.5, alpha=0.55, mew=0, label="test row")
        axes.set(xlabel=f"true {short(label)}", ylabel=f"predicted {short(label)}")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        legend(axes)

    return chart("residuals", f"Predicted against true {label} of {len(values)} test rows", draw, height=320)


def residuals(pairs: Sequence[Sequence[float]], label: str) -> Markup:
    """Draw a histogram of label minus prediction."""
    values = np.array(pairs, float).reshape(-1, 2)
    errors = values[:, 1] - values[:, 0]

    def draw(axes: Axes) -> None:
        axes.hist(errors, bins=min(30, max(5, int(np.sqrt(len(errors))))), color=ROLES["test"], alpha=0.8)
        axes.axvline(0, color=INK, lw=1)
        axes.set(xlabel=f"true minus predicted {short(label)}", ylabel="test rows")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))

    mean = errors.mean() if len(errors) else float("nan")
    return chart("residual-histogram", f"Histogram of {len(errors)} residuals, mean {mean:.3g}", draw, height=320)
