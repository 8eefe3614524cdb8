"""Charts of the section that says why."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from kep.artifacts.explanation import ColumnDependence, DependencePoint
from kep.report.charts import INK, MUTED, ROLES, chart, family_colours, legend, plain, short

_STRIP = 0.2
"""Share of the height that the distribution of the column takes."""


def partial_dependence(
    found: ColumnDependence, outputs: Sequence[str], limits: tuple[float, float], unit: str
) -> Markup:
    """Draw the mean prediction against the values of a column, with the distribution of the column below.

    Args:
        found: The partial dependence.
        outputs: Names of the predictions.
        limits: Lowest and highest prediction of all charts beside each other.
        unit: Name of the predicted value.
    """
    numbers = [one for one in found.points if one.place is not None]
    others = [one for one in found.points if one.place is None]
    if numbers:
        places = [one.place or 0.0 for one in numbers]
        step = (places[-1] - places[0]) / max(len(places) - 1, 1) or 1.0
        # What is missing has a place of its own, apart from the numbers.
        wide = places[-1] - places[-2] if len(places) > 1 else step
        places += [places[-1] + 0.5 * wide + 1.5 * step * (i + 1) for i in range(len(others))]
    else:
        places, step = [float(i) for i in range(len(others))], 1.0
    points = [*numbers, *others]
    colours = _colours(outputs)

    def draw(axes: Axes) -> None:
        for place, name in enumerate(outputs):
            values = [one.predictions[place] for one in points]
            style = "o-" if numbers else "o"
            axes.plot(
                places[: len(numbers)] or places,
                values[: len(numbers)] or values,
                style,
                color=colours[name],
                ms=4 if numbers else 6,
                label=short(name, 16),
            )
            if numbers and others:
                axes.plot(places[len(numbers) :], values[len(numbers) :], "o", color=colours[name], ms=6, mfc="white")
        low, high = limits
        spread = (high - low) or 1.0
        axes.set_ylim(low - (0.08 + _STRIP * 1.4) * spread, high + 0.08 * spread)
        most = max(one.share for one in points) or 1.0
        heights = [_STRIP * one.share / most for one in points]
        axes.bar(
            places,
            heights,
            width=0.8 * step if not numbers else _widths(places[: len(numbers)], len(others), step),
            color=MUTED,
            alpha=0.35,
            transform=axes.get_xaxis_transform(),
            lw=0,
        )
        axes.set(ylabel=short(unit, 34))
        _name_values(axes, numbers, others, places)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(plain))
        if len(outputs) > 1:
            legend(axes)

    ends = f"{points[0].value} to {points[len(numbers) - 1].value}" if numbers else f"{len(points)} values"
    first = [one.predictions[0] for one in points]
    alt = (
        f"Mean prediction of {outputs[0]} against {found.column}, {ends}: between {min(first):.4g} and {max(first):.4g}"
    )
    return chart(f"dependence-{found.column}", alt, draw, height=250, width=380)


def _widths(places: Sequence[float], others: int, step: float) -> list[float]:
    """Return the width of each bar: as far as half way to its neighbours, so that no two overlap."""
    gaps = np.diff(places) if len(places) > 1 else np.array([step])
    nearest = np.minimum(np.append(gaps, gaps[-1]), np.insert(gaps, 0, gaps[0]))
    return [*(0.9 * nearest).tolist(), *[0.8 * step] * others]


def _name_values(
    axes: Axes, numbers: Sequence[DependencePoint], others: Sequence[DependencePoint], places: Sequence[float]
) -> None:
    axes.tick_params(axis="x", labelcolor=INK)
    if not numbers:
        axes.set_xticks(places, [short(one.value, 12) for one in others], rotation=30 if len(others) > 3 else 0)
        axes.grid(False, axis="x")
        return
    # Some of the points, as the source has them: a date is no number of days to a person.
    shown = sorted({*np.linspace(0, len(numbers) - 1, 4).astype(int).tolist()})
    kept: list[int] = []
    for one in shown:
        if not kept or places[one] - places[kept[-1]] > 0.16 * (places[len(numbers) - 1] - places[0]):
            kept.append(one)
    ticks = [places[one] for one in kept] + list(places[len(numbers) :])
    axes.set_xticks(ticks, [_brief(numbers[one].value) for one in kept] + [short(one.value, 12) for one in others])


def _brief(value: str) -> str:
    try:
        return f"{float(value):.6g}"
    except ValueError:
        return short(value, 12)


def _colours(outputs: Sequence[str]) -> dict[str, str]:
    return {outputs[0]: ROLES["test"]} if len(outputs) == 1 else family_colours(outputs)
