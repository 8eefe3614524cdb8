"""Charts as inline SVG: one look, one colour per role and per family, the same bytes for the same numbers.

Text stays text and colours are CSS variables of the page, so that a chart follows the page's font and its light or
dark scheme.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

INK, MUTED, GRID = "#1f2a35", "#5f6c79", "#dfe3e8"
ROLES = {"train": "#2f6db3", "validation": "#b8730a", "test": "#c23b32"}
_FAMILIES = ("#0c7c77", "#7b52b9", "#5a8526", "#b0467f", "#8a5a3c", "#55708f")
_DARK = {
    INK: "#e4e8ec",
    MUTED: "#9aa6b2",
    GRID: "#343c45",
    ROLES["train"]: "#6ea8e6",
    ROLES["validation"]: "#e0a146",
    ROLES["test"]: "#ec7a70",
    _FAMILIES[0]: "#45b5af",
    _FAMILIES[1]: "#ad8be6",
    _FAMILIES[2]: "#93c255",
    _FAMILIES[3]: "#e07fb3",
    _FAMILIES[4]: "#c99470",
    _FAMILIES[5]: "#8fabca",
}
_NAMES = {colour: f"--c{number}" for number, colour in enumerate(_DARK)}
WIDTH = 460
"""Width of a chart in its own units: half a desktop page, and still readable when it is scaled down to a phone."""
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 11,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.borderaxespad": 0,
    "legend.columnspacing": 1.2,
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.handletextpad": 0.5,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.5,
    "path.simplify": True,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$a$"
    "xtick.color": MUTED,
    "xtick.labelsize": 10.5,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.color": MUTED,
    "ytick.labelsize": 10.5,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}


def chart(name: str, alt: str, draw: Callable[[Axes], None], height: int = 280, width: int = WIDTH) -> Markup:
    """Draw one chart as an `<svg>` element.

    Args:
        name: Unique on the page; part of the ids inside.
        alt: Description of the chart, for those who don't see it.
        draw: Fills the axes.
        height: In the same units as `WIDTH`.
        width: Width of the chart.
    """
    style: Any = _STYLE | {"svg.hashsalt": name}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # A character that matplotlib's font lacks only makes its width a guess: the browser draws it with a font
        # that has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        layout = ConstrainedLayoutEngine(w_pad=4 / 72, h_pad=4 / 72)
        figure = Figure(figsize=(width / 72, height / 72), layout=layout, facecolor="none")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot(facecolor="none")
        draw(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(file.getvalue(), alt)


def _inline(svg: str, alt: str) -> Markup:
    """Turn a stand-alone SVG into part of a page: no prolog, no ids without a use, the page's font and colours."""
    svg = svg[svg.index("<svg") :]
    box = svg.partition('viewBox="')[2].partition('"')[0]
    body = svg[svg.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", body, flags=re.S)
    body = re.sub(r' id="[a-zA-Z0-9.]+_[0-9]+"', "", body)
    body = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", body)
    body = re.sub(r"<defs>\s*</defs>", "", body)
    body = re.sub(r"\n\s*", "\n", body)
    for colour, variable in _NAMES.items():
        body = body.replace(colour, f"var({variable})")
    body = body.replace("#ffffff", "var(--page)")
    return Markup('<svg class="chart" viewBox="{}" role="img" aria-label="{}">').format(box, alt) + Markup(body.strip())


def palette() -> Markup:
    """Return CSS that defines the charts' colours, and `--ROLE` for each role, in both schemes."""
    light = "".join(f"{variable}:{colour};" for colour, variable in _NAMES.items())
    roles = "".join(f"--{role}:var({_NAMES[colour]});" for role, colour in ROLES.items())
    dark = "".join(f"{_NAMES[colour]}:{other};" for colour, other in _DARK.items())
    ink = f"--ink:var({_NAMES[INK]});--muted:var({_NAMES[MUTED]});--line:var({_NAMES[GRID]});"
    return Markup(f":root{{{light}{roles}{ink}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}")


def family_colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each family, the same wherever the same families occur."""
    return {name: _FAMILIES[number % len(_FAMILIES)] for number, name in enumerate(sorted(set(names)))}


def swatch(colour: str) -> Markup:
    """Return a dot in a chart's colour, to tie a table's line to a chart."""
    return Markup('<span class="dot" style="background:var({})"></span>').format(_NAMES[colour])


def short(text: object, most: int = 24) -> str:
    """Return one line of at most `most` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def brief(value: float, digits: int = 3) -> str:
    """Return a number in little room: 0.001, 20, 1.2e9."""
    return re.sub(r"e([+-])0*", lambda e: "e-" if e[1] == "-" else "e", f"{value:.{digits}g}")


def plain(value: float, _: object = None) -> str:
    """Return a tick as people write it: all its digits unless they are many."""
    return f"{value:.10g}" if 1e-4 <= abs(value) < 1e6 or value == 0 else brief(value)


def log_axis(axes: Axes, which: str, low: float, high: float) -> None:
    """Set a logarithmic axis from `low` to `high` with at least two labelled ticks."""
    axis = getattr(axes, f"{which}axis")
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}lim")(low, high)
    subs = (1.0,) if high / low > 1000 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.set_minor_locator(LogLocator(subs=(), numticks=2))
    axis.set_major_formatter(FuncFormatter(plain))


def wide_range(values: np.ndarray) -> bool:
    """Return whether positive values spread so far that only a logarithmic axis shows them all."""
    return len(values) > 1 and values.min() > 0 and values.max() / values.min() > 5


def legend(axes: Axes) -> None:
    """Draw a legend above the axes, where it hides nothing; in one line if it fits."""
    _, labels = axes.get_legend_handles_labels()
    fits = sum(len(label) + 5 for label in labels) <= 66
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=len(labels) if fits else 3)


def bars(
    name: str,
    alt: str,
    labels: Sequence[str],
    values: Sequence[float],
    colours: Sequence[str],
    unit: str,
    texts: Sequence[str],
) -> Markup:
    """Draw horizontal bars from zero, the first on top, each with its value as text."""

    def draw(axes: Axes) -> None:
        rows = np.arange(len(labels))
        axes.barh(rows, values, color=colours, height=0.62)
        top = max([*values, 0]) or 1
        for row, value, text in zip(rows, values, texts, strict=True):
            axes.annotate(text, (value, row), (5, 0), textcoords="offset points", va="center", fontsize=10.5)
        axes.set(yticks=rows, yticklabels=[short(label, 34) for label in labels], xlim=(0, top * 1.22), xlabel=unit)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(axis="y", labelcolor=INK)
        axes.spines["bottom"].set_visible(False)

    return chart(name, alt, draw, height=62 + 24 * len(labels))


def beside(name: str, alt: str, labels: Sequence[str], sides: dict[str, Sequence[float]]) -> Markup:
    """Draw shares of rows as horizontal bars of two sides beside each other, the first on top."""

    def draw(axes: Axes) -> None:
        rows, colours = np.arange(len(labels)), (ROLES["train"], ROLES["test"])
        for offset, colour, (side, shares) in zip((-0.2, 0.2), colours, sides.items(), strict=True):
            axes.barh(rows + offset, shares, color=colour, height=0.38, label=side)
        axes.set(yticks=rows, yticklabels=[short(label, 26) for label in labels], xlabel="share of rows")
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.tick_params(axis="y", labelcolor=INK)
        legend(axes)

    return chart(name, alt, draw, height=86 + 24 * len(labels))


@dataclass(frozen=True)
class Line:
    """Point with an interval.

    Attributes:
        label: Its name.
        value: The point.
        low: Lower limit; None where there is no interval.
        high: Upper limit.
        colour: Its colour.
        strong: True for a point that stands out.
    """

    label: str
    value: float | None
    low: float | None
    high: float | None
    colour: str
    strong: bool = False


def intervals(name: str, alt: str, lines: Sequence[Line], unit: str) -> Markup:
    """Draw points with their intervals, one line each, the first on top.

    Args:
        name: Name of the chart.
        alt: Its description.
        lines: The points.
        unit: Unit of the axis.
    """

    def draw(axes: Axes) -> None:
        for row, line in enumerate(lines):
            low, high = number(line.low), number(line.high)
            if np.isfinite(low) and np.isfinite(high):
                width = 3 if line.strong else 1.4
                axes.plot([low, high], [row, row], color=line.colour, lw=width, solid_capstyle="butt")
            face, size = (line.colour, 8.0) if line.strong else ("white", 5.5)
            axes.plot([number(line.value)], [row], "o", color=line.colour, ms=size, mfc=face, mew=1.6)
        axes.set(yticks=range(len(lines)), yticklabels=[short(line.label, 26) for line in lines], xlabel=unit)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        if max(abs(end) for end in axes.get_xlim()) >= 1e5:
            axes.xaxis.set_major_formatter(FuncFormatter(plain))
        axes.tick_params(axis="y", labelcolor=INK)
        for label, line in zip(axes.get_yticklabels(), lines, strict=True):
            label.set_fontweight("bold" if line.strong else "normal")

    return chart(name, alt, draw, height=66 + 24 * len(lines))


def number(value: float | None) -> float:
    """Return `value`, NaN for None: JSON has no NaN."""
    return float("nan") if value is None else float(value)
