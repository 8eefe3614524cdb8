"""The champion in the report."""

from pathlib import PurePath

from kep.artifacts.evaluation import Comparison
from kep.artifacts.verdict import Verdict
from kep.data.schema import Label
from kep.report import charts
from kep.report.charts import Line
from kep.report.page import interval, number
from kep.report.sections.words import View, metric_name, places, promotion
from kep.stats.metrics import lower_is_better


def champion(compared: Comparison | None, verdict: Verdict | None, metric: str, label: Label) -> View:
    """Return the content of the section.

    Args:
        compared: The comparison with the champion; None where there is none.
        verdict: The decision; None where it is not taken yet.
        metric: Metric that they are compared by.
        label: The label.
    """
    name = metric_name(metric, label)
    found = promotion(verdict) | {
        "compared": compared is not None,
        "problem": compared.problem if compared else None,
        "name": PurePath(compared.champion).name if compared else None,
        "rules": verdict.rules if verdict else [],
        "version": verdict.version if verdict and verdict.promoted else None,
        "metric": name,
        "chart": None,
    }
    if compared is not None and (difference := compared.differences.get(metric)) is not None:
        digits = places([difference])
        side = "below" if lower_is_better(metric) else "above"
        line = Line(
            "this run − champion", difference.value, difference.low, difference.high, charts.ROLES["test"], True
        )
        found |= {
            "difference": number(difference.value, digits),
            "interval": interval(difference, digits),
            "rows": difference.rows,
            "chart": charts.intervals(
                "champion",
                f"Difference of {name} on test rows, this run minus the champion, with its 95 % interval",
                [line],
                f"difference of {name} ({side} 0: this run is better)",
            ),
        }
    return found
