"""Tables behind the report's pictures of the predictions, and metrics of slices of the rows."""

from itertools import pairwise

import numpy as np

from kep.artifacts.evaluation import CalibrationBin, Pictures, Slice
from kep.data.records import Rows
from kep.data.schema import Manifest
from kep.stats.divergence import shown
from kep.stats.metrics import Truth, calibration_bins

POINTS = 400
"""Points of a scatter plot or a curve that the report keeps."""


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
