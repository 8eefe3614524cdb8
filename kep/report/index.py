"""The index of a folder of runs: for each name what its runs reached, and which one serves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

from kep.artifacts.evaluation import Interval
from kep.report import charts
from kep.report.page import DASH, interval, number, render_page, seconds
from kep.report.sections.words import plural
from kep.stats.metrics import lower_is_better

MOST_TICKS = 6
"""Dates below a trend."""


@dataclass(frozen=True)
class IndexRun:
    """A run in the index.

    Attributes:
        name: Name in the run file.
        run: Its folder's name.
        state: State in a word or two.
        problem: Why it failed, or can't be read.
        started: When it started; None where that can't be read.
        seconds: Time that it took.
        metric: Metric that it is judged by.
        score: Value of it on the test rows.
        test: Fingerprint of its test rows; empty without any.
        openings: Ensembles that had been scored on these rows when it ended.
        decision: Whether its ensemble was promoted.
        reason: Why.
        champion: Whether its ensemble is the champion now.
        link: Its report, or its log, relative to the index; empty for none.
    """

    name: str
    run: str
    state: str
    problem: str
    started: datetime | None
    seconds: float
    metric: str
    score: Interval | None
    test: str
    openings: int
    decision: str
    reason: str
    champion: bool
    link: str

    @property
    def when(self) -> str:
        """Start in UTC for people."""
        return self.started.strftime("%Y-%m-%d %H:%M") if self.started else DASH

    @property
    def took(self) -> str:
        """Time for people."""
        return seconds(self.seconds) if self.seconds else DASH

    @property
    def told(self) -> str:
        """Test metric for people."""
        return f"{self.metric} {number(self.score.value)}" if self.score else DASH

    @property
    def interval(self) -> str:
        """Its 95 % interval, with as many digits."""
        return f"{number(self.score.low)} to {number(self.score.high)}" if self.score else ""


@dataclass(frozen=True)
class NameView:
    """Runs of one name, the newest first, in a sentence, a picture and a table."""

    name: str
    sentence: str
    trend: Markup | None
    note: str
    runs: list[IndexRun]


def render(runs: Sequence[IndexRun], left_out: int) -> str:
    """Return the page.

    Args:
        runs: Runs, the newest first.
        left_out: Number of older runs that are not shown.
    """
    names = [_of_name(name, [run for run in runs if run.name == name]) for name in dict.fromkeys(r.name for r in runs)]
    return render_page("index.html.j2", names=names, runs=len(runs), left_out=left_out)


def _of_name(name: str, runs: list[IndexRun]) -> NameView:
    done = [run for run in runs if run.score is not None and run.score.value is not None]
    trend, note = None, ""
    if done:
        same = [run for run in done if run.metric == done[0].metric][::-1]
        trend = _trend(name, same)
        arrow = "lower" if lower_is_better(done[0].metric) else "higher"
        note = f"test {done[0].metric}, {arrow} is better, with 95 % intervals"
        if any(run.test != done[0].test for run in same):
            note += "; hollow points are of other test rows than the newest run's"
    return NameView(name, _sentence(runs, done), trend, note, runs)


def _sentence(runs: list[IndexRun], done: list[IndexRun]) -> str:
    serving = next((run for run in runs if run.champion), None)
    champion = f"{serving.run} is the champion" if serving else "None of these runs is the champion"
    if serving and serving.score:
        champion += f", with {serving.told} ({serving.interval})"
    if not done:
        return f"{plural(len(runs), 'run', 'runs')}; none is done. {champion}."
    opened = max(run.openings for run in done if run.test == done[0].test)
    times = "once" if opened == 1 else f"for {opened} ensembles"
    return f"{champion}. The newest run's test rows have been opened {times}."


def _trend(name: str, runs: list[IndexRun]) -> Markup:
    """Draw the metric of runs, the oldest first."""
    places = range(len(runs))

    def draw(axes: Axes) -> None:
        values = [charts.number(run.score.value) for run in runs if run.score]
        axes.plot(places, values, color=charts.MUTED, lw=1)
        for place, run in enumerate(runs):
            if run.score is None:
                continue
            if run.score.low is not None and run.score.high is not None:
                axes.plot([place, place], [run.score.low, run.score.high], color=charts.ROLES["test"], lw=1.6)
            face = charts.ROLES["test"] if run.test == runs[-1].test else "white"
            size = 9.0 if run.champion else 6.0
            axes.plot([place], [charts.number(run.score.value)], "o", color=charts.ROLES["test"], mfc=face, ms=size)
            if run.champion:
                axes.axvline(place, color=charts.MUTED, lw=1, ls=(0, (4, 3)))
                above: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
                axes.annotate("champion", (place, 1.01), fontsize=10.5, **above)
        ticks = sorted({round(i * (len(runs) - 1) / max(1, MOST_TICKS - 1)) for i in range(MOST_TICKS)})
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.set_xticklabels([runs[tick].when[:10] for tick in ticks])
        axes.set(ylabel=charts.short(runs[-1].metric), xlim=(-0.5, len(runs) - 0.5))
        axes.margins(y=0.15)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid(False, axis="x")

    last = runs[-1].score
    alt = f"{runs[-1].metric} of {plural(len(runs), 'run', 'runs')} of {name} over time"
    if last is not None:
        alt += f"; the newest has {number(last.value)} ({interval(last, 4)})"
    return charts.chart(f"trend-{name}", alt, draw, height=230, width=560)
