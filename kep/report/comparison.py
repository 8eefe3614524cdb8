"""Two runs side by side: what differs between them, and whether the newer ensemble is better."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup

from kep.artifacts.evaluation import ENSEMBLE, Difference, Interval
from kep.artifacts.report import Report
from kep.core.seeds import derive
from kep.data.schema import ROLES, Column, Label, Manifest
from kep.report import charts
from kep.report.page import count, interval, number, render_page, seconds
from kep.report.search import values_text
from kep.report.sections.words import metric_name, places, plural
from kep.report.summary import better
from kep.stats.bootstrap import Bootstrap
from kep.stats.metrics import METRICS, Truth, lower_is_better

FEWEST = 30
"""Shared test rows below which a paired interval would say little."""
SHIFT = 0.1
"""Change of a mean, in standard deviations, from which a column gets a line."""
SHARE = 0.02
"""Change of a share of rows from which it gets a line."""
MOST_LINES = 25
"""Lines of changed statistics."""


@dataclass(frozen=True)
class Side:
    """One of the two runs.

    Attributes:
        name: Name for people, such as churn/20260131-120000.
        report: Content of its report.
        stored: Stored predictions of its test rows by model, with their `labels` and `ids`.
        cost: Price of its machines, with its currency; empty where nobody knows.
        prices: Date and place of the prices.
    """

    name: str
    report: Report
    stored: Mapping[str, np.ndarray]
    cost: str = ""
    prices: str = ""

    @property
    def label(self) -> Label:
        """The label."""
        return self.report.manifest.label


@dataclass(frozen=True)
class Change:
    """Something that differs: its name, and what it was in the older and in the newer run."""

    name: str
    old: str
    new: str


@dataclass(frozen=True)
class MetricLine:
    """A metric of both ensembles on their own test rows, and its difference.

    Attributes:
        metric: Name of the metric.
        name: The same for people.
        lower: Whether lower is better.
        old: Value of the older ensemble with its interval.
        new: Value of the newer one.
        difference: Newer minus older; None where it can't be told.
        word: Whether the newer one is better, the same or worse.
        own: Whether runs are judged by it.
    """

    metric: str
    name: str
    lower: bool
    old: str
    new: str
    difference: Difference | None
    word: str
    own: bool

    @property
    def told(self) -> str:
        """Difference with its interval."""
        if self.difference is None:
            return "–"
        digits = places([self.difference])
        return f"{number(self.difference.value, digits)} ({interval(self.difference, digits)})"


@dataclass(frozen=True)
class MemberLine:
    """A member of an ensemble: its family, weight, length of training and hyperparameters."""

    id: str
    weight: str
    units: str
    hyperparameters: str


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side, as a page or a terminal shows them.

    Attributes:
        old: Name of the older run, the first that was named.
        new: Name of the newer one.
        sentence: Whether the newer ensemble is better, the same or worse, or why it can't be said.
        rows: Whether the test rows are the same, and what the differences are of.
        paired: Whether the differences are of the same rows.
        metrics: Metrics of both.
        chart: Differences in a picture; None without any.
        settings: Settings that differ.
        data: Differences of the data.
        members: Members of both.
        times: Seconds of each step.
        cost: Price of the machines of each; its name says at which prices.
    """

    old: str
    new: str
    sentence: str
    rows: str
    paired: bool
    metrics: list[MetricLine]
    chart: Markup | None
    settings: list[Change]
    data: list[Change]
    members: tuple[list[MemberLine], list[MemberLine]]
    times: list[Change]
    cost: Change


@dataclass(frozen=True)
class _Differences:
    """Differences of metrics by name, or why there are none, and what they are of."""

    rows: str
    paired: bool = False
    found: Mapping[str, Difference] | None = None
    problem: str = ""


def compare(old: Side, new: Side) -> Comparison:
    """Hold a newer run against an older one."""
    found = _differences(old, new)
    metrics = _metrics(old, new, found)
    return Comparison(
        old=old.name,
        new=new.name,
        sentence=_sentence(old, new, metrics, found),
        rows=found.rows,
        paired=found.paired,
        metrics=metrics,
        chart=_chart(metrics, found.paired),
        settings=_settings(old, new),
        data=[*_data(old, new), *_columns(old.report.manifest, new.report.manifest)],
        members=(_members(old.report), _members(new.report)),
        times=_times(old.report, new.report),
        cost=Change(f"machines that the run file asks for, {new.prices}", old.cost or "–", new.cost or "–"),
    )


def render(comparison: Comparison) -> str:
    """Return the page."""
    return render_page("compare.html.j2", compared=comparison)


def _differences(old: Side, new: Side) -> _Differences:
    if problem := _incomparable(old, new):
        return _Differences(_rows_of(old, new, None), problem=problem)
    places_old, places_new, unknown = _shared(old, new)
    told = unknown or _rows_of(old, new, len(places_new))
    resamples = min(old.report.asked.evaluate.bootstrap, new.report.asked.evaluate.bootstrap)
    truth, mine = _truth(new), _predictions(new, new)
    if len(places_new) >= FEWEST:
        truth = truth.take(places_new)
        yours = _predictions(old, new)[places_old]
        changed = int((_labels(old)[places_old] != _labels(new)[places_new]).sum())
        if changed and old.label.classes == new.label.classes:
            told = f"{told} {plural(changed, 'of these has', 'of these have')} another label now, which counts."
        seed = derive(new.report.asked.seed, "compare")
        # Each decides at its own operating point.
        theirs = replace(truth, threshold=old.label.threshold_of(new.label))
        pair = [Bootstrap.of(own, one, resamples, seed) for own, one in ((truth, mine[places_new]), (theirs, yours))]
        return _Differences(told, paired=True, found=Difference.between(*pair))
    other = _truth(old)
    free = [
        Bootstrap.of(one, predicted, resamples, derive(new.report.asked.seed, "compare", place))
        for place, (one, predicted) in enumerate([(truth, mine), (other, _predictions(old, old))])
    ]
    return _Differences(told, found=Difference.between(*free))


def _incomparable(old: Side, new: Side) -> str:
    """Return why no difference of their metrics means anything; empty where it does."""
    ours, theirs = new.label, old.label
    if (ours.name, ours.task, ours.sorted_classes) != (theirs.name, theirs.task, theirs.sorted_classes):
        return f"they predict different things: {_label_change(old, new)}"
    mine, yours = new.report.manifest.weighting, old.report.manifest.weighting
    if (mine and (mine.column or "")) != (yours and (yours.column or "")):
        return "data.weight changed, so their metrics count rows differently"
    if mine is not None and mine.by_class is None and not ("weights" in new.stored and "weights" in old.stored):
        return f'rows count by the column "{mine.column}", and the weights of test rows are not stored'
    return ""


def _labels(side: Side) -> np.ndarray:
    """Return the labels of a run's test rows as the source has them."""
    return side.label.restored(side.stored["labels"])


def _truth(side: Side) -> Truth:
    """Return labels and weights of a run's test rows."""
    weighting = side.report.manifest.weighting
    weights = None
    if "weights" in side.stored:
        weights = side.stored["weights"]
    elif weighting is not None:
        weights = np.array(weighting.by_class)[side.stored["labels"]]
    return Truth(side.label.task, _labels(side), weights, side.label.threshold)


def _predictions(side: Side, like: Side) -> np.ndarray:
    """Return the ensemble's predictions, classes in the order of another run's."""
    predicted = side.label.restored(side.stored[ENSEMBLE])
    own, wanted = side.label.classes, like.label.classes
    return predicted if own is None or wanted is None else predicted[:, [own.index(name) for name in wanted]]


def _shared(old: Side, new: Side) -> tuple[np.ndarray, np.ndarray, str]:
    """Return places of the rows that are test rows in both, and why nobody can tell them; empty where one can."""
    none = np.array([], int)
    ours, theirs = new.report.manifest, old.report.manifest
    same = ours.roles["test"].fingerprint == theirs.roles["test"].fingerprint
    if not same and (ours.identity is None or ours.identity != theirs.identity):
        words = "Nobody can tell whether test rows are shared, since what makes a row's identity changed"
        return none, none, f"{words}; name a key of the rows in data.id."
    first: dict[int, int] = {}
    for place, id in enumerate(old.stored["ids"].tolist()):
        first.setdefault(id, place)
    pairs = [(first[id], place) for place, id in enumerate(new.stored["ids"].tolist()) if id in first]
    return np.array([a for a, _ in pairs], int), np.array([b for _, b in pairs], int), ""


def _rows_of(old: Side, new: Side, shared: int | None) -> str:
    one, two = len(old.stored["labels"]), len(new.stored["labels"])
    if shared is None:
        return f"Each ensemble is scored on its own test rows: {count(one)} and {count(two)}."
    if shared == one == two:
        return f"Both are scored on the same {plural(two, 'test row', 'test rows')}."
    if shared >= FEWEST:
        return (
            f"{count(shared)} of {count(one)} and {count(two)} test rows are the same; differences are of these alone."
        )
    few = f"Only {count(shared)} test rows are shared" if shared else "No test row is shared"
    return f"{few} ({count(one)} and {count(two)}): differences are not paired, and may be those of the rows."


def _label_change(old: Side, new: Side) -> str:
    def told(side: Side) -> str:
        classes = side.label.sorted_classes
        return f'"{side.label.name}" ({side.label.task}{f", {len(classes)} classes" if classes else ""})'

    if told(old) == told(new):
        return f'the classes of "{new.label.name}" changed'
    return f"{told(old)} and {told(new)}"


def _metrics(old: Side, new: Side, found: _Differences) -> list[MetricLine]:
    mine, yours, own = new.report.evaluation.ensemble, old.report.evaluation.ensemble, new.report.asked.judged_by
    names = [name for name in dict.fromkeys([own, "loss", *mine]) if name in mine and name in yours]
    lines = []
    for name in names:
        digits, difference = places([mine[name], yours[name]]), (found.found or {}).get(name)
        lines.append(
            MetricLine(
                metric=name,
                name=_name(name, old, new),
                lower=lower_is_better(name),
                old=_value(yours[name], digits),
                new=_value(mine[name], digits),
                difference=difference,
                word=better(difference, name) if difference and difference.low is not None else "not known",
                own=name == own,
            )
        )
    return lines


def _name(metric: str, old: Side, new: Side) -> str:
    """Return the name of a metric, which may be at another operating point in each run."""
    if old.label.threshold_of(new.label) == new.label.threshold or metric == "loss" or not METRICS[metric].decides:
        return metric_name(metric, new.label)
    undecided = new.label.model_copy(update={"threshold": None})
    return f"{metric_name(metric, undecided)} at each run's operating point"


def _value(score: Interval, digits: int) -> str:
    return f"{number(score.value, digits)} ({interval(score, digits)})"


def _sentence(old: Side, new: Side, metrics: Sequence[MetricLine], found: _Differences) -> str:
    if found.problem:
        return f"It can't be said whether {new.name} is better than {old.name}: {found.problem}."
    line = next((line for line in metrics if line.own), None)
    if line is None or line.difference is None or line.difference.low is None:
        name = metric_name(new.report.asked.judged_by, new.label)
        return (
            f"It can't be said whether {new.name} is better than {old.name}: the test rows don't define their {name}."
        )
    word = {"better": "better than", "worse": "worse than", "the same": "the same as"}[line.word]
    sure = " as far as the rows can tell" if line.word == "the same" else ""
    which = "the same rows" if found.paired else "different rows, not paired"
    rows = f"{count(line.difference.rows)} test rows" if found.paired else "their own test rows"
    return (
        f"{new.name} is {word} {old.name}{sure}: its {line.name} differs by {line.told}, with the 95 % interval in "
        f"brackets, on {rows} ({which}).{_others(line, metrics)}"
    )


def _others(own: MetricLine, metrics: Sequence[MetricLine]) -> str:
    """Return a sentence about the metrics that say otherwise; empty without any."""
    told = []
    for word in ("worse", "better"):
        names = [line.name for line in metrics if line.word == word and line is not own]
        if names and word != own.word:
            told.append(f"{word} by {', '.join(names)}")
    return f" By other metrics it is {', and '.join(told)}." if told else ""


def _chart(metrics: Sequence[MetricLine], paired: bool) -> Markup | None:
    lines = []
    for line in metrics:
        one = line.difference
        if one is not None and one.value is not None and one.low is not None and one.high is not None:
            # To the left the newer one is better, whatever the metric's direction; in units of the interval.
            sign, width = (1 if line.lower else -1), (one.high - one.low) / 2 or 1.0
            low, high = sorted((sign * one.low / width, sign * one.high / width))
            lines.append(charts.Line(line.name, sign * one.value / width, low, high, charts.ROLES["test"], line.own))
    if not lines:
        return None
    kind = "paired " if paired else ""
    alt = f"Differences of {len(lines)} metrics with {kind}95 % intervals; left of 0 the newer ensemble is better"
    return charts.intervals("compare", alt, lines, "difference in half widths of its interval; left of 0: better")


def _settings(old: Side, new: Side) -> list[Change]:
    one, two = (dict(_flat(side.report.asked.model_dump(mode="json"))) for side in (old, new))
    return [
        Change(key, one.get(key, "–"), two.get(key, "–"))
        for key in dict.fromkeys([*one, *two])
        if one.get(key, "–") != two.get(key, "–")
    ]


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield f"{prefix}{key}", ", ".join(str(one) for one in value) or "none"
        else:
            yield f"{prefix}{key}", str(value).lower() if isinstance(value, bool) else number(value)


def _data(old: Side, new: Side) -> list[Change]:
    one, two = old.report.manifest, new.report.manifest
    found = [Change("source", one.source, two.source)]
    for role in ROLES:
        before, now = one.roles[role], two.roles[role]
        rows = [plural(side.rows, "row", "rows") for side in (before, now)]
        if before.fingerprint != now.fingerprint:
            found.append(
                Change(role, *(f"{r}, {s.fingerprint[:12]}" for r, s in zip(rows, (before, now), strict=True)))
            )
    for place, name in enumerate(two.label.classes or []):
        if one.label.classes == two.label.classes:
            shares = [side.roles["train"].class_counts[place] / max(1, side.roles["train"].rows) for side in (one, two)]
            if abs(shares[1] - shares[0]) >= SHARE:
                found.append(Change(f"share of class {name} in train rows", *(f"{share:.1%}" for share in shares)))
    return [change for change in found if change.old != change.new]


def _columns(old: Manifest, new: Manifest) -> list[Change]:
    before, now = ({column.name: column for column in side.columns} for side in (old, new))
    found = [Change(f'column "{name}"', column.kind, "not there") for name, column in before.items() if name not in now]
    found += [
        Change(f'column "{name}"', "not there", column.kind) for name, column in now.items() if name not in before
    ]
    for name, column in now.items():
        if name in before:
            found += _column(before[name], column, old.roles["train"].rows, new.roles["train"].rows)
    more = len(found) - MOST_LINES
    return [*found[:MOST_LINES], *([Change("further columns", "", f"{more} more changes")] if more > 0 else [])]


def _column(one: Column, two: Column, before: int, now: int) -> Iterator[Change]:
    """Yield what is worth a line: another kind, a moved mean, another spread, other gaps, other categories."""
    name = f'column "{two.name}"'
    if one.kind != two.kind:
        yield Change(name, one.kind, two.kind)
        return
    if isinstance(one.mean, float) and isinstance(two.mean, float):
        (m, spread), (n, wider) = one.statistics, two.statistics
        moved = abs(n + two.offset - m - one.offset) > SHIFT * spread
        if moved or not 0.8 * spread <= wider <= 1.25 * spread:
            told = f"{number(m + one.offset)} ± {number(spread)}", f"{number(n + two.offset)} ± {number(wider)}"
            yield Change(f"{name}, mean ± deviation", *told)
    gaps = [one.missing / max(1, before), two.missing / max(1, now)]
    if abs(gaps[1] - gaps[0]) >= SHARE:
        yield Change(f"{name}, missing", *(f"{gap:.1%}" for gap in gaps))
    gone, added = set(one.vocabulary or []), set(two.vocabulary or [])
    if gone != added:
        yield Change(f"{name}, categories", _names(gone - added, "gone"), _names(added - gone, "new"))


def _names(categories: set[str], word: str) -> str:
    shown = ", ".join(charts.short(name, 20) for name in sorted(categories)[:5])
    more = f" and {len(categories) - 5} more" if len(categories) > 5 else ""
    return f"{word}: {shown}{more}" if categories else ""


def _members(report: Report) -> list[MemberLine]:
    trained = {member.id: member for member in report.members}
    lines = []
    for member in report.weights.members:
        units = trained[member.id].trained_units if member.id in trained else member.median_best
        lines.append(
            MemberLine(member.id, f"{member.weight:.3f}", f"{number(units)} {member.unit}s", values_text(member.values))
        )
    return lines


def _times(old: Report, new: Report) -> list[Change]:
    sums: list[dict[str, float]] = [{}, {}]
    for place, report in enumerate((old, new)):
        for step in report.steps:
            sums[place][step.step] = sums[place].get(step.step, 0.0) + step.seconds
        sums[place]["all steps"] = sum(sums[place].values())
    return [
        Change(step, *(seconds(one[step]) if step in one else "–" for one in sums))
        for step in [*(name for name in dict.fromkeys([*sums[0], *sums[1]]) if name != "all steps"), "all steps"]
    ]
