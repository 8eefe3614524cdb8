"""Metrics with their uncertainty, and the tables behind the report's pictures."""

from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import numpy as np

from kep.artifacts.evaluation import CalibrationBin, Difference, Interval, Pictures, Slice
from kep.data.records import Rows
from kep.data.schema import Manifest
from kep.stats.divergence import shown
from kep.stats.metrics import Truth, calibration_bins, mean

MOST_ROWS = 5_000
"""Most rows of one bootstrap resample; above, intervals of this many rows are scaled (m out of n bootstrap)."""
Value = TypeVar("Value")
POINTS = 400
"""Points of a scatter plot or a curve that the report keeps."""


def intervals(truth: Truth, predictions: np.ndarray, resamples: int, seed: int) -> dict[str, Interval]:
    """Return every metric with its 95 % percentile bootstrap interval (Efron & Tibshirani 1993), by name.

    Rows are resampled with replacement. An interval has no limits where most resamples don't define the metric.
    """
    values, many = truth.metrics(predictions), len(predictions)
    drawn = resampled(lambda rows: truth.take(rows).metrics(predictions[rows]), many, resamples, seed)
    table = {}
    for name, value in values.items():
        draws = np.array([draw[name] for draw in drawn])
        # A smaller resample varies more; its spread is brought back to that of n rows.
        draws = value + (draws - value) * np.sqrt(min(many, MOST_ROWS) / many)
        defined = draws[np.isfinite(draws)]
        low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) > resamples / 2 else (np.nan, np.nan)
        table[name] = Interval(value=value, low=float(low), high=float(high))
    return table


def resampled(value: Callable[[np.ndarray], Value], rows: int, resamples: int, seed: int) -> list[Value]:
    """Return `value` of each bootstrap resample's row numbers, int [min(rows, MOST_ROWS)]."""
    rng = np.random.default_rng(seed)
    return [value(rng.integers(0, rows, min(rows, MOST_ROWS))) for _ in range(resamples)]


def paired_difference(truth: Truth, ours: np.ndarray, theirs: np.ndarray, resamples: int, seed: int) -> Difference:
    """Return the mean of our row losses minus theirs, with its 95 % bootstrap interval; negative: ours is better."""
    difference, weights = truth.losses(ours) - truth.losses(theirs), truth.weights
    rng, many, draws = np.random.default_rng(seed), len(difference), []
    for _ in range(resamples):
        rows = rng.integers(0, many, many)
        draws.append(mean(difference[rows], None if weights is None else weights[rows]))
    # A resample of few rows may hold none that counts.
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Difference(value=mean(difference, weights), low=float(low), high=float(high), rows=many)


def slices(manifest: Manifest, rows: Rows, predictions: np.ndarray, columns: list[str]) -> dict[str, list[Slice]]:
    """Return metrics by column and its values: categories and booleans value by value, numbers by quartile."""
    return {
        name: [
            Slice(
                value=value,
                rows=int(mask.sum()),
                metrics=Truth.of(manifest.label.task, rows).take(mask).metrics(predictions[mask]),
            )
            for value, mask in _parts(manifest, rows, name)
            if mask.any()
        ]
        for name in columns
    }


def _parts(manifest: Manifest, rows: Rows, name: str) -> list[tuple[str, np.ndarray]]:
    categorical = [column.name for column in manifest.categorical]
    if name in categorical:
        place = categorical.index(name)
        codes, vocabulary = rows.categorical[:, place], manifest.categorical[place].vocabulary or []
        return [(value, codes == i) for i, value in enumerate(["missing", "other", *vocabulary])]
    index = [column.name for column in manifest.numeric].index(name)
    values, offset = rows.numeric[:, index], manifest.numeric[index].offset
    parts = [("missing", np.isnan(values))]
    if manifest.numeric[index].kind == "boolean":
        return [*parts, ("false", values == 0), ("true", values == 1)]
    known = values[~np.isnan(values)]
    if not len(known):
        return parts
    edges = np.unique(np.percentile(known, [0, 25, 50, 75, 100]))
    if len(edges) == 1:
        return [*parts, (shown(edges[0], offset), values == edges[0])]
    for i, (low, high) in enumerate(pairwise(edges)):
        inside = (values >= low) & ((values <= high) if i == len(edges) - 2 else (values < high))
        parts.append((f"{shown(low, offset)} to {shown(high, offset)}", inside))
    return parts


def pictures(manifest: Manifest, truth: Truth, predictions: np.ndarray, seed: int) -> Pictures:
    """Return the numbers that the report draws of the ensemble's predictions.

    Of residuals and of the ROC curve at most `POINTS` points are kept.
    """
    labels, weights = truth.labels, truth.weights
    if manifest.label.classes is None:
        kept = np.random.default_rng(seed).permutation(len(labels))[:POINTS]
        kept, offset = np.sort(kept), manifest.label.offset
        return Pictures(residuals=[(float(predictions[i]) + offset, float(labels[i]) + offset) for i in kept])
    classes = len(manifest.label.classes)
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (labels, predictions.argmax(axis=1)), 1)
    bins = [
        CalibrationBin(confidence=bin.confidence, accuracy=bin.accuracy, rows=bin.rows)
        for bin in calibration_bins(labels, predictions, weights)
    ]
    both = classes == 2 and len(np.unique(labels)) == 2
    roc = _roc(labels, predictions[:, 1], weights) if both else None
    return Pictures(confusion=confusion.tolist(), calibration=bins, roc=roc)


def _roc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> list[tuple[float, float, float]]:
    """Return points of (false positive rate, true positive rate, threshold)."""
    from sklearn.metrics import roc_curve

    points = np.stack(roc_curve(labels, scores, sample_weight=weights), axis=1)
    points[0, 2] = 1.0  # scikit-learn's first threshold is infinite
    kept = np.unique(np.linspace(0, len(points) - 1, min(POINTS, len(points))).astype(int))
    return [(float(false), float(true), float(threshold)) for false, true, threshold in points[kept]]
