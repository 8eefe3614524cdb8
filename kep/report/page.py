"""The template environment of the HTML pages, and how they write numbers."""

import math
from pathlib import Path

import jinja2

from kep.artifacts.evaluation import Interval
from kep.report import charts

TEMPLATES = Path(__file__).with_name("templates")
DASH = "–"


def render_page(template: str, **values: object) -> str:
    """Fill a template; everything in it is escaped unless it is a chart.

    Args:
        template: File in `templates`.
        values: Values by the template's names.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "loss": loss, "count": count, "short": charts.short, "seconds": seconds}
    return environment.get_template(template).render(palette=charts.palette(), **values)


def number(value: object, decimals: int | None = None) -> str:
    """Return a number for people: `decimals` places, or four significant digits; a dash for None and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return DASH
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) and decimals is None:
        return count(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-4:
        text = charts.brief(value, 4 if size >= 1e6 else 2)
    elif decimals is None:
        text = f"{value:,.0f}" if size >= 1e4 else f"{value:.4g}"
    else:
        text = f"{value:.2g}" if 0 < size < 10**-decimals else f"{value:,.{decimals}f}"
    return text.replace("-", "−") if "e" not in text else text


def loss(value: float | None) -> str:
    """Return a loss or another score in a table that has no intervals: four decimal places, fewer for a large one."""
    if value is None or not math.isfinite(value):
        return number(value)
    digits = math.floor(math.log10(abs(value))) if value else 0
    return number(float(value), min(4, max(0, 4 - digits)))


def count(value: int) -> str:
    """Return a whole number with thousands separated."""
    return f"{value:,}".replace("-", "−")


def seconds(value: float) -> str:
    """Return a duration: 0.03 s, 18.5 s, 1 min 47 s, 2 h 05 min."""
    if round(value, 1) < 60:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def decimals(width: float | None) -> int:
    """Return the decimal places that show two significant digits of an interval's half width."""
    if width is None or not math.isfinite(width) or width <= 0:
        return 4
    return min(6, max(0, 1 - math.floor(math.log10(width))))


def interval(value: Interval, places: int) -> str:
    """Return `low to high` of a value's 95 % interval; a dash where the rows don't define one."""
    if value.low is None or value.high is None:
        return DASH
    return f"{number(value.low, places)} to {number(value.high, places)}"
