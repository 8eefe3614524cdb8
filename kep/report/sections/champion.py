"""The champion in the report."""

from pathlib import PurePath

from kep.artifacts.evaluation import Comparison
from kep.artifacts.verdict import Verdict
from kep.report import charts
from kep.report.charts import Line
from kep.report.page import interval, number
from kep.report.sections.words import View, places, promotion


def champion(compared: Comparison | None, verdict: Verdict | None) -> View:
    """Return the content of the section."""
    found = promotion(verdict) | {
        "compared": compared is not None,
        "problem": compared.problem if compared else None,
        "name": PurePath(compared.champion).name if compared else None,
        "margin": number(verdict.margin) if verdict else None,
        "version": verdict.version if verdict and verdict.promoted else None,
        "chart": None,
    }
    if compared is not None and (difference := compared.difference) is not None:
        digits = places([difference])
        line = Line(
            "this run − champion", difference.value, difference.low, difference.high, charts.ROLES["test"], True
        )
        found |= {
            "difference": number(difference.value, digits),
            "interval": interval(difference, digits),
            "rows": difference.rows,
            "chart": charts.intervals(
                "champion",
                "Difference of test losses, this run minus the champion, with its 95 % interval",
                [line],
                "difference of test loss (below 0: this run is better)",
            ),
        }
    return found
