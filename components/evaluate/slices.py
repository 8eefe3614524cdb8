"""Slices of the test rows: metrics by the values of a column, and slices that are significantly worse than the rest."""

import hashlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from kep.artifacts.evaluation import Slice
from kep.artifacts.explanation import WorseSlice, WorseSlices
from kep.artifacts.interval import Interval
from kep.components.evaluate.importance import Drawing
from kep.components.evaluate.raw import as_text
from kep.data.records import Rows
from kep.data.schema import HASH, Manifest
from kep.stats.bootstrap import Bootstrap
from kep.stats.means import Mean, above
from kep.stats.metrics import Truth

_RESAMPLES = 200
"""Most resamples behind the intervals of a slice: there are many slices, and each scores every metric."""
FEWEST = 20
"""Rows of a slice that is tested, and of the rest."""
LEVEL = 0.05


def slices(
    manifest: Manifest, rows: Rows, predictions: np.ndarray, columns: list[str], drawing: Drawing
) -> dict[str, list[Slice]]:
    """Return metrics by column and its values: categories and booleans value by value, numbers by quartile."""
    truth = Truth.of(manifest.label.task, rows, manifest.label.threshold)
    resamples = min(drawing.resamples, _RESAMPLES)

    def of(value: str, mask: np.ndarray) -> Slice:
        drawn = Bootstrap.of(truth.take(mask), predictions[mask], resamples, drawing.seed)
        metrics = {name: Interval.of(found) for name, found in drawn.intervals().items()}
        return Slice(value=value, rows=int(mask.sum()), metrics=metrics)

    return {name: [of(value, mask) for value, mask in parts(manifest, rows, name) if mask.any()] for name in columns}


def parts(manifest: Manifest, rows: Rows, name: str) -> list[tuple[str, np.ndarray]]:
    """Return the slices by one feature column, with the mask of their rows.

    Each row is in one of them. Ranges of numbers hold their lower end, and the last one its upper end too.
    """
    categorical = [column.name for column in manifest.categorical]
    if name in categorical:
        place = categorical.index(name)
        codes, vocabulary = rows.categorical[:, place], manifest.categorical[place].vocabulary or []
        return [(value, codes == i) for i, value in enumerate(["missing", "other", *vocabulary])]
    index = [column.name for column in manifest.numeric].index(name)
    values, column = rows.numeric[:, index], manifest.numeric[index]
    found = [("missing", np.isnan(values))]
    if column.kind == "boolean":
        return [*found, ("false", values == 0), ("true", values == 1)]
    known = values[~np.isnan(values)]
    if not len(known):
        return found
    edges = np.unique(np.percentile(known, [0, 25, 50, 75, 100]))
    if len(edges) == 1:
        return [*found, (as_text(edges[0], column), values == edges[0])]
    for i, (low, high) in enumerate(pairwise(edges)):
        last = i == len(edges) - 2
        inside = (values >= low) & ((values <= high) if last else (values < high))
        found.append((f"{as_text(low, column)} to {'' if last else 'under '}{as_text(high, column)}", inside))
    return found


def worse(manifest: Manifest, rows: Rows, losses: np.ndarray) -> WorseSlices:
    """Return the slices whose mean loss is significantly above that of all other rows.

    All feature columns are looked at: values of categories and booleans, quartiles of numbers and of days, and missing
    values. Hashed words and images have no slices. Each slice of enough rows is held against the rest by Welch's
    t-test of the losses of rows, and the results are adjusted for their number (Benjamini and Hochberg 1995).

    Args:
        manifest: Manifest of the rows.
        rows: The test rows.
        losses: Loss of each, shape [n].
    """
    from scipy.stats import false_discovery_control

    weights = np.ones(len(rows)) if rows.weights is None else rows.weights
    tested = []
    for column, value, mask in _candidates(manifest, rows, weights > 0):
        one, rest = Mean.of(losses[mask], weights[mask]), Mean.of(losses[~mask], weights[~mask])
        tested.append((column, value, one, rest, above(one, rest)))
    adjusted = false_discovery_control([compared.p for *_, compared in tested]) if tested else []
    found = [
        WorseSlice(
            column=column,
            value=value,
            rows=one.rows,
            loss=Interval.of(one.interval()),
            rest=rest.value,
            difference=Interval.of(compared.difference),
            p=float(p),
        )
        for (column, value, one, rest, compared), p in zip(tested, adjusted, strict=True)
        if p <= LEVEL
    ]
    return WorseSlices(
        looked=len(tested), level=LEVEL, slices=sorted(found, key=lambda one: -(one.difference.value or 0.0))
    )


def _candidates(manifest: Manifest, rows: Rows, counted: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield slices of enough rows, each set of rows once: column, value and mask."""
    seen = set()
    for column in manifest.columns:
        part = column.part or ""
        if column.kind == "image" or part.startswith(HASH) or part not in ("", "days"):
            continue
        for value, mask in parts(manifest, rows, column.name):
            many, key = int((mask & counted).sum()), hashlib.blake2b(np.packbits(mask).tobytes()).digest()
            if FEWEST <= many <= counted.sum() - FEWEST and key not in seen:
                seen.add(key)
                yield column.of or column.name, value, mask
