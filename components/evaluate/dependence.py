"""Partial dependence of the predictions on single columns (Friedman 2001), on a sample of test rows."""

from collections.abc import Sequence

import numpy as np

from kep.artifacts.explanation import ColumnDependence, Dependence, DependencePoint
from kep.components.evaluate.groups import Group, Predict, groups, sample
from kep.components.evaluate.importance import Clock
from kep.components.evaluate.raw import raw_value
from kep.core.seeds import derive
from kep.data.records import Rows
from kep.data.schema import Manifest
from kep.stats.metrics import mean

MOST_ROWS = 200
"""Most test rows that a mean prediction is over."""
MOST_COLUMNS = 6
POINTS = 15
"""Points of a number or a date, at quantiles of the test rows."""
MOST_VALUES = 8
"""Categories, the most frequent ones."""
MOST_CLASSES = 5
"""Classes of several that are shown, the most frequent ones."""
_ENDS = 0.02
"""Share of the rows beyond the first and the last point: few rows say little there."""


def dependence(
    manifest: Manifest, rows: Rows, predict: Predict, first: Sequence[str], seed: int, clock: Clock
) -> Dependence:
    """Return the mean prediction where every row has one value of a column, over values of the most important columns.

    A number and a date are set to values that test rows have, at quantiles. All features of a date are set together,
    to those of one row. Texts and images have no order and are left out.

    Args:
        manifest: Manifest of the rows.
        rows: The test rows.
        predict: The ensemble.
        first: Names of columns, the most important first.
        seed: Seed of the sample.
        clock: Columns that are not done when its time is up are named.
    """
    chosen = rows.take(sample(rows, MOST_ROWS, derive(seed, "dependence rows")))
    outputs, names = _outputs(manifest, chosen)
    by_name = {group.name: group for group in groups(manifest) if not group.image and group.kind != "text"}
    found, skipped = [], []
    for name in [name for name in first if name in by_name][:MOST_COLUMNS]:
        if clock.over:
            skipped.append(name)
        else:
            found.append(_of_column(manifest, chosen, rows, predict, by_name[name], outputs))
    return Dependence(rows=len(chosen), outputs=names, columns=found, skipped=skipped)


def _outputs(manifest: Manifest, rows: Rows) -> tuple[list[int] | None, list[str]]:
    """Return which probabilities are shown, None for a regression, and their names."""
    classes = manifest.label.classes
    if classes is None:
        return None, [manifest.label.name]
    if len(classes) == 2:
        return [1], [str(classes[1])]
    counts = np.bincount(rows.labels, minlength=len(classes))
    shown = sorted(int(one) for one in np.argsort(-counts, kind="stable")[:MOST_CLASSES])
    return shown, [str(classes[one]) for one in shown]


def _of_column(
    manifest: Manifest, chosen: Rows, rows: Rows, predict: Predict, group: Group, outputs: list[int] | None
) -> ColumnDependence:
    donors, shares = _values(rows, group)
    # One call of one length: a network is compiled for each length anew.
    parts = [group.given(chosen, rows.take(np.full(len(chosen), donor))) for donor in donors]
    predicted = np.split(predict(Rows.concat(parts)), len(parts))
    points = []
    for donor, share, own in zip(donors, shares, predicted, strict=True):
        restored = manifest.label.restored(own)
        columns = [restored] if outputs is None else [restored[:, one] for one in outputs]
        text = raw_value(manifest, rows, group, donor)
        offset = manifest.numeric[group.numeric[0]].offset if group.numeric else 0.0
        points.append(
            DependencePoint(
                value="missing" if text is None else text,
                place=float(rows.numeric[donor, group.numeric[0]]) + offset
                if group.numeric and text is not None
                else None,
                predictions=[mean(one, chosen.weights) for one in columns],
                share=share,
            )
        )
    return ColumnDependence(column=group.name, kind=group.kind, points=points)


def _values(rows: Rows, group: Group) -> tuple[list[int], list[float]]:
    """Return rows whose values of the column are points, in order, and the share of all rows at each."""
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights.astype(np.float64)
    if group.categorical:
        codes = rows.categorical[:, group.categorical[0]]
        counts = np.bincount(codes, weights=weights)
        order = [int(code) for code in np.argsort(-counts, kind="stable") if counts[code] > 0][:MOST_VALUES]
        donors = [int(np.argmax(codes == code)) for code in order]
        return donors, [float(counts[code] / weights.sum()) for code in order]
    values = rows.numeric[:, group.numeric[0]]
    donors, sums = _quantiles(values, weights)
    missing = np.flatnonzero(np.isnan(values) & (weights > 0))
    if len(missing):
        donors, sums = [*donors, int(missing[0])], [*sums, float(weights[missing].sum())]
    return donors, [one / float(weights.sum()) for one in sums]


def _quantiles(values: np.ndarray, weights: np.ndarray) -> tuple[list[int], list[float]]:
    """Return rows at quantiles of the known values, each value once, and the weight of the rows nearest to each."""
    known = np.flatnonzero(~np.isnan(values) & (weights > 0))
    if not len(known):
        return [], []
    order = known[np.argsort(values[known], kind="stable")]
    picked = order[np.round(np.linspace(_ENDS, 1 - _ENDS, POINTS) * (len(order) - 1)).astype(int)]
    donors = picked[np.unique(values[picked], return_index=True)[1]]
    middles = (values[donors][1:] + values[donors][:-1]) / 2
    nearest = np.searchsorted(middles, values[known])
    sums = np.bincount(nearest, weights=weights[known], minlength=len(donors))
    return donors.tolist(), sums.tolist()
