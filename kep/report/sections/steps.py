"""Time and memory in the report."""

from collections.abc import Sequence

from kep.artifacts.step import StepRecord
from kep.report import charts
from kep.report.page import seconds
from kep.report.sections.words import View

STARVED = 0.2
"""Share of a training's time that it waits for rows, above which the page says so."""


def steps(records: Sequence[StepRecord]) -> View:
    """Return the content of the section."""
    return {
        "rows": records,
        "chart": charts.bars(
            "seconds",
            "Seconds of each step",
            [record.name for record in records],
            [record.seconds for record in records],
            [charts.MUTED] * len(records),
            "seconds",
            [seconds(record.seconds) for record in records],
        ),
        "total": sum(record.seconds for record in records),
        "peak": max((record.peak_memory_mb for record in records), default=0),
        "trained": [record for record in records if record.speed],
        "starved": [record.name for record in records if record.speed and record.speed.input_share > STARVED],
    }
