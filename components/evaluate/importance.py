"""Permutation importance of the columns of the source, on test rows."""

import time
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from kep.artifacts.explanation import Alike, ColumnImportance, Importance
from kep.artifacts.interval import Interval
from kep.components.evaluate.groups import Group, Predict, groups, sample
from kep.core.seeds import derive
from kep.data.records import Rows
from kep.data.schema import Manifest
from kep.stats.importance import loss_increase, metric_worsening
from kep.stats.metrics import Truth

MOST_ROWS = 1_000
"""Most test rows that columns are permuted on."""
REPEATS = 5
_TOGETHER = 1 << 26
"""Bytes of permuted rows that are predicted in one call."""
_METRIC_RESAMPLES = 200
"""Most resamples behind the interval of a metric, each of which scores every repeat."""
_ALIKE = 0.8
"""Association from which two columns hold nearly the same."""
_MOST_COMPARED = 100
"""Most columns that are compared with each other."""


class Clock:
    """Time that may be spent.

    Args:
        seconds: The most.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        """True if the time is up."""
        return time.monotonic() >= self._end


@dataclass(frozen=True)
class Drawing:
    """How intervals are drawn.

    Attributes:
        resamples: Resamples behind each interval.
        seed: Seed of every draw.
    """

    resamples: int
    seed: int


def importance(
    manifest: Manifest, rows: Rows, predict: Predict, metric: str, drawing: Drawing, clock: Clock
) -> Importance:
    """Permute one column after the other and score the predictions.

    Args:
        manifest: Manifest of the rows.
        rows: The test rows.
        predict: The ensemble.
        metric: Metric that the run is judged by.
        drawing: Resamples of the intervals.
        clock: Columns that are not done when its time is up are named and have no importance.
    """
    chosen = rows.take(sample(rows, MOST_ROWS, derive(drawing.seed, "importance rows")))
    truth, before = Truth.of(manifest.label.task, chosen, manifest.label.threshold), predict(chosen)
    other = None if metric == "loss" else metric
    found, skipped = [], []
    for group in groups(manifest):
        after = _permuted(group, chosen, predict, derive(drawing.seed, "importance", group.name), clock)
        if after is None:
            skipped.append(group.name)
            continue
        increase = loss_increase(truth, before, after, drawing.resamples, drawing.seed)
        worse = other and metric_worsening(
            other, truth, before, after, min(drawing.resamples, _METRIC_RESAMPLES), drawing.seed
        )
        found.append(
            ColumnImportance(
                column=group.name,
                kind=group.kind,
                features=group.features,
                loss=Interval.of(increase),
                metric=Interval.of(worse) if worse else None,
            )
        )
    return Importance(
        rows=len(chosen),
        of=len(rows),
        repeats=REPEATS,
        metric=other,
        columns=sorted(found, key=lambda one: -(one.loss.value or 0.0)),
        skipped=skipped,
        alike=alike(manifest, chosen),
    )


def _permuted(group: Group, rows: Rows, predict: Predict, seed: int, clock: Clock) -> list[np.ndarray] | None:
    """Return the predictions of each repeat; None where the time is up before the last."""
    rng = np.random.default_rng(seed)
    parts = [group.given(rows, rows.take(rng.permutation(len(rows)))) for _ in range(0 if clock.over else REPEATS)]
    if not parts:
        return None
    if rows.nbytes * REPEATS <= _TOGETHER:
        # One call: each has a cost of its own, whatever the number of rows.
        return np.split(predict(Rows.concat(parts)), REPEATS)
    found: list[np.ndarray] = []
    for part in parts:
        if clock.over:
            return None
        found.append(predict(part))
    return found


def alike(manifest: Manifest, rows: Rows) -> list[Alike]:
    """Return pairs of columns of nearly the same content, the closest first.

    Numbers are compared by the rank correlation of Spearman, categories by Cramér's V. A date is its days.
    """
    from scipy.stats import rankdata
    from scipy.stats.contingency import association, crosstab

    named = groups(manifest)[:_MOST_COMPARED]
    # The first feature of a date is its days; a text has none that stands for it.
    ranks = {
        group.name: rankdata(np.nan_to_num(rows.numeric[:, group.numeric[0]], nan=-np.inf))
        for group in named
        if group.numeric and group.kind != "text"
    }
    ranks = {name: own for name, own in ranks.items() if np.ptp(own) > 0}
    codes = {group.name: rows.categorical[:, group.categorical[0]] for group in named if group.categorical}
    codes = {name: own for name, own in codes.items() if 1 < len(np.unique(own)) < len(own) / 2}
    together = np.abs(np.corrcoef([*ranks.values(), np.arange(len(rows))]))  # the last row keeps it a matrix
    found = [(a, b, float(together[i, j])) for (i, a), (j, b) in combinations(enumerate(ranks), 2)]
    for a, b in combinations(codes, 2):
        found.append((a, b, float(association(crosstab(codes[a], codes[b]).count, method="cramer"))))
    close = sorted((pair for pair in found if pair[2] >= _ALIKE), key=lambda pair: -pair[2])
    return [Alike(columns=(a, b), association=value) for a, b, value in close]
