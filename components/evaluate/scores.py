"""Metrics with their uncertainty, and the tables behind the report's pictures."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from kep.data.records import Rows
from kep.data.schema import Manifest
from kep.stats.metrics import calibration_bins, metrics, row_losses

MOST_ROWS = 5_000
"""Most rows of one bootstrap resample; above, intervals of this many rows are scaled (m out of n bootstrap)."""
POINTS = 400
"""Points of a scatter plot or a curve that the report keeps."""


def intervals(
    task: str, labels: np.ndarray, predictions: np.ndarray, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Every metric with its 95 % percentile bootstrap interval (Efron & Tibshirani 1993), rows resampled with
    replacement.

    Returns:
        By metric: `value`, `low`, `high`; the limits are NaN where most resamples don't define the metric.
    """
    values = metrics(task, labels, predictions)
    drawn = resampled(lambda rows: metrics(task, labels[rows], predictions[rows]), len(labels), resamples, seed)
    table = {}
    for name, value in values.items():
        draws = np.array([draw[name] for draw in drawn])
        # A smaller resample varies more; its spread is brought back to that of n rows.
        draws = value + (draws - value) * np.sqrt(min(len(labels), MOST_ROWS) / len(labels))
        defined = draws[np.isfinite(draws)]
        low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) > resamples / 2 else (np.nan, np.nan)
        table[name] = {"value": value, "low": float(low), "high": float(high)}
    return table


def resampled(value: Callable[[np.ndarray], object], rows: int, resamples: int, seed: int) -> list:
    """`value` of each bootstrap resample's row numbers: int [min(rows, MOST_ROWS)]."""
    rng = np.random.default_rng(seed)
    return [value(rng.integers(0, rows, min(rows, MOST_ROWS))) for _ in range(resamples)]


def paired_difference(
    task: str, labels: np.ndarray, ours: np.ndarray, theirs: np.ndarray, resamples: int, seed: int
) -> dict[str, float]:
    """Mean of our row losses minus theirs, with its 95 % bootstrap interval; negative: ours is better."""
    difference = row_losses(task, labels, ours) - row_losses(task, labels, theirs)
    rng = np.random.default_rng(seed)
    draws = [difference[rng.integers(0, len(difference), len(difference))].mean() for _ in range(resamples)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return {
        "value": float(difference.mean()),
        "low": float(low),
        "high": float(high),
        "rows": len(difference),
    }


def slices(manifest: Manifest, rows: Rows, predictions: np.ndarray, columns: list[str]) -> dict[str, list[dict]]:
    """Metrics by value of a column: categories and booleans value by value, numbers by quartile.

    Returns:
        By column, one dictionary per part with `value`, `rows` and the metrics.
    """
    table = {}
    for name in columns:
        parts = _parts(manifest, rows, name)
        table[name] = [
            {"value": value, "rows": int(mask.sum())}
            | metrics(manifest.label.task, rows.labels[mask], predictions[mask])
            for value, mask in parts
            if mask.any()
        ]
    return table


def _parts(manifest: Manifest, rows: Rows, name: str) -> list[tuple[str, np.ndarray]]:
    categorical = [column.name for column in manifest.categorical]
    if name in categorical:
        codes, column = (
            rows.categorical[:, categorical.index(name)],
            manifest.categorical[categorical.index(name)],
        )
        return [(value, codes == i) for i, value in enumerate(["missing", "other", *column.vocabulary])]
    index = [column.name for column in manifest.numeric].index(name)
    values = rows.numeric[:, index]
    parts = [("missing", np.isnan(values))]
    if manifest.numeric[index].kind == "boolean":
        return [*parts, ("false", values == 0), ("true", values == 1)]
    known = values[~np.isnan(values)]
    if not len(known):
        return parts
    edges = np.unique(np.percentile(known, [0, 25, 50, 75, 100]))
    if len(edges) == 1:
        return [*parts, (f"{edges[0]:g}", values == edges[0])]
    for i, (low, high) in enumerate(pairwise(edges)):
        inside = (values >= low) & ((values <= high) if i == len(edges) - 2 else (values < high))
        parts.append((f"{low:g} to {high:g}", inside))
    return parts


def pictures(manifest: Manifest, labels: np.ndarray, predictions: np.ndarray, seed: int) -> dict:
    """What the report draws of the ensemble's predictions.

    Returns:
        For classes `confusion` (rows: true class, columns: given class) and `calibration` bins; for two classes
        `roc`, points of (false positive rate, true positive rate, threshold); for a regression `residuals`, at most
        `POINTS` pairs of (prediction, label).
    """
    if manifest.label.task == "regression":
        kept = np.random.default_rng(seed).permutation(len(labels))[:POINTS]
        return {"residuals": [[float(predictions[i]), float(labels[i])] for i in np.sort(kept)]}
    classes = len(manifest.label.classes)
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (labels, predictions.argmax(axis=1)), 1)
    table = {"confusion": confusion.tolist(), "calibration": calibration_bins(labels, predictions)}
    if classes == 2 and len(np.unique(labels)) == 2:
        from sklearn.metrics import roc_curve

        points = np.stack(roc_curve(labels, predictions[:, 1]), axis=1)
        points[0, 2] = 1.0  # scikit-learn's first threshold is infinite
        kept = np.unique(np.linspace(0, len(points) - 1, min(POINTS, len(points))).astype(int))
        table["roc"] = points[kept].tolist()
    return table
