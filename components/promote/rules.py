"""The rules of `promote`: each is judged on its own, with its reason and with what would change it."""

import math
from collections.abc import Iterator

from kep.artifacts.evaluation import BASELINE, Comparison, Difference, Evaluation
from kep.artifacts.verdict import Rule
from kep.config.promote import PromoteSettings
from kep.stats.metrics import lower_is_better

_FEWEST_SLICE = 30
"""Rows below which the metric of a slice is too uncertain to refuse an ensemble by."""


def judge(evaluated: Evaluation, settings: PromoteSettings, metric: str) -> list[Rule]:
    """Return every rule with whether it held, in the order in which they are told.

    Args:
        evaluated: The evaluation of the challenger.
        settings: The rules.
        metric: Metric that the challenger is compared by.
    """
    return [*_required(evaluated, settings, metric), _champion(evaluated.champion, settings, metric)]


def _required(evaluated: Evaluation, settings: PromoteSettings, metric: str) -> Iterator[Rule]:
    for name, bound in settings.require.bounds.items():
        score = evaluated.ensemble.get(name)
        interval = "" if score is None else _between(score.low, score.high)
        yield _bound(f"promote.require.{name}", f"its {name}", name, score.value if score else None, bound, interval)
    for column, bounds in settings.require.slices.items():
        for name, bound in bounds.items():
            yield _slices(evaluated, column, name, bound)
    if settings.require.beats == "baseline":
        yield _baseline(evaluated, metric)


def _bound(rule: str, what: str, metric: str, value: float | None, bound: float, interval: str = "") -> Rule:
    asked = f"at {'most' if lower_is_better(metric) else 'least'} {bound:g}"
    if value is None:
        reason = f"{what} is undefined on these rows, and {rule} asks for {asked}"
        return Rule(rule=rule, held=False, reason=reason, remedy=f"remove {rule}, or give test rows that define it")
    held = value <= bound if lower_is_better(metric) else value >= bound
    told = f"{what} is {value:.4f}{interval}"
    if held:
        return Rule(rule=rule, held=True, reason=f"{told}, {asked} as required")
    remedy = f"{what} would have to be {asked}, {abs(value - bound):.4f} {'less' if value > bound else 'more'}"
    return Rule(rule=rule, held=False, reason=f"{told}, and {rule} asks for {asked}", remedy=remedy)


def _slices(evaluated: Evaluation, column: str, metric: str, bound: float) -> Rule:
    """Judge the worst slice of a column; slices of few rows, or without a value, are counted and not judged."""
    rule = f"promote.require.slices.{column}.{metric}"
    slices = evaluated.slices.get(column, [])
    known = [
        (value, one.value, one.rows)
        for one in slices
        if one.rows >= _FEWEST_SLICE and (value := one.figure(metric)) is not None
    ]
    if not known:
        reason = f"no slice of {column} has {_FEWEST_SLICE} test rows and a {metric}, which {rule} asks for"
        return Rule(rule=rule, held=False, reason=reason, remedy=f"give more test rows, or remove {rule}")
    value, name, rows = (max if lower_is_better(metric) else min)(known)
    small = len(slices) - len(known)
    skipped = f"; {small} slice{'s' * (small > 1)} of under {_FEWEST_SLICE} rows not judged" if small else ""
    worst = _bound(rule, f"the worst {metric} by {column}, of {name},", metric, value, bound, f" on {rows} test rows")
    return worst.model_copy(update={"reason": worst.reason + skipped})


def _baseline(evaluated: Evaluation, metric: str) -> Rule:
    rule = "promote.require.beats"
    # A constant prediction of the class shares is perfectly calibrated.
    name = "loss" if metric == "calibration_error" else metric
    difference = evaluated.against.get(BASELINE, {}).get(name)
    held = difference is not None and _surely_better(difference, name, 0.0)
    remedy = (
        "the ensemble has to predict surely better than the class shares or the mean label: give rows or columns that "
        f"say more of the label, or set {rule}: nothing"
    )
    if difference is None or difference.value is None:
        return Rule(rule=rule, held=False, reason=f"its {name} can't be held against the baseline's", remedy=remedy)
    reason = f"its {name} is {_sure(held, name)} than the baseline's: {_told(difference)}"
    return Rule(rule=rule, held=held, reason=reason, remedy=None if held else remedy)


def _champion(compared: Comparison | None, settings: PromoteSettings, metric: str) -> Rule:
    if compared is None:
        return Rule(rule="promote.champion", held=True, reason="it is the first champion")
    difference = compared.differences.get(metric)
    if difference is None:
        return _incomparable(compared, settings, metric)
    if settings.not_worse_than is not None:
        return _not_worse(difference, metric, settings.not_worse_than)
    return _better(difference, metric, settings.better_by or 0.0)


def _incomparable(compared: Comparison, settings: PromoteSettings, metric: str) -> Rule:
    rule = "promote.when_incomparable"
    problem = compared.problem or f"the champion's {metric} was not computed"
    if not compared.changed:
        # Unread is not incomparable: nobody knows how good it is.
        return Rule(rule=rule, held=False, reason=problem, remedy="mend what keeps the champion from being read")
    if settings.when_incomparable == "replace":
        return Rule(rule=rule, held=True, reason=f"{problem}; {rule}: replace lets the new ensemble take its place")
    remedy = f"set {rule}: replace, or promote once with `kep run … --from evaluate --force`"
    return Rule(rule=rule, held=False, reason=f"{problem}; {rule}: keep keeps it", remedy=remedy)


def _better(difference: Difference, metric: str, by: float) -> Rule:
    rule = "promote.better_by"
    if (undefined := _undefined(rule, difference, metric)) is not None:
        return undefined
    held = _surely_better(difference, metric, by)
    margin = f" by more than {by:g}" if by else ""
    reason = f"its {metric} is {_sure(held, metric)}{margin} than the champion's: {_told(difference)}"
    if held:
        return Rule(rule=rule, held=True, reason=reason)
    return Rule(rule=rule, held=False, reason=reason, remedy=_to_win(difference, metric, by))


def _to_win(difference: Difference, metric: str, by: float) -> str:
    """Return what would have to change for a sure win, with the rows that a difference of this size needs."""
    lower = lower_is_better(metric)
    value, end = difference.value or 0.0, (difference.high if lower else difference.low) or 0.0
    limit = f"{'below' if lower else 'above'} {(-by if lower else by) + 0.0:g}"
    told = f"the {'upper' if lower else 'lower'} end of the interval, {end:+.4f}, would have to be {limit}"
    gained = (-value if lower else value) - by
    if gained <= 0:
        return told
    rows = math.ceil(difference.rows * (abs(end - value) / gained) ** 2)
    return f"{told}: a difference of this size would show on about {rows:,} test rows"


def _not_worse(difference: Difference, metric: str, by: float) -> Rule:
    rule = "promote.not_worse_than"
    if (undefined := _undefined(rule, difference, metric)) is not None:
        return undefined
    worst = (difference.high if lower_is_better(metric) else -(difference.low or 0.0)) or 0.0
    held = worst <= by
    than = f"{'not worse' if held else 'perhaps worse'} than the champion's by more than {by:g}"
    reason = f"its {metric} is {than}: {_told(difference)}"
    remedy = f"the ensemble may be worse by {worst:.4f}: give more test rows, or raise {rule}"
    return Rule(rule=rule, held=held, reason=reason, remedy=None if held else remedy)


def _undefined(rule: str, difference: Difference, metric: str) -> Rule | None:
    if None not in (difference.value, difference.low, difference.high):
        return None
    reason = f"the difference of the {metric} is not a number: one of the two has none for these test rows"
    return Rule(rule=rule, held=False, reason=reason, remedy="compare by another promote.metric")


def _surely_better(difference: Difference, metric: str, by: float) -> bool:
    """Return whether the whole interval is better by more than `by`; False without an interval."""
    if difference.low is None or difference.high is None:
        return False
    return difference.high < -by if lower_is_better(metric) else difference.low > by


def _sure(held: bool, metric: str) -> str:
    return f"{'surely' if held else 'not surely'} {'lower' if lower_is_better(metric) else 'higher'}"


def _told(difference: Difference) -> str:
    return f"{difference.value:+.4f}{_between(difference.low, difference.high, '+')} on {difference.rows} test rows"


def _between(low: float | None, high: float | None, sign: str = "") -> str:
    if low is None or high is None:
        return ""
    return f" (95 % interval {low:{sign}.4f} to {high:{sign}.4f})"
