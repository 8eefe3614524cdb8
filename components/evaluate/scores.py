"""Tables behind the report's pictures of the predictions."""

import numpy as np

from kep.artifacts.evaluation import CalibrationBin, Pictures
from kep.data.schema import Manifest
from kep.stats.metrics import Truth, calibration_bins

POINTS = 400
"""Points of a scatter plot or a curve that the report keeps."""


def pictures(
    manifest: Manifest, truth: Truth, predictions: np.ndarray, seed: int, uncalibrated: np.ndarray | None = None
) -> Pictures:
    """Return the numbers that the report draws of the ensemble's predictions.

    Of residuals and of each curve at most `POINTS` points are kept.

    Args:
        manifest: Manifest of the rows.
        truth: Labels and weights of the rows.
        predictions: The ensemble's, shape [n, classes] or [n].
        seed: Seed of the choice of points.
        uncalibrated: Its pooled probabilities; None where it is not calibrated.
    """
    labels, weights = truth.labels, truth.weights
    if manifest.label.classes is None:
        kept = np.random.default_rng(seed).permutation(len(labels))[:POINTS]
        kept, offset = np.sort(kept), manifest.label.offset
        return Pictures(residuals=[(float(predictions[i]) + offset, float(labels[i]) + offset) for i in kept])
    classes = len(manifest.label.classes)
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (labels, manifest.label.decide(predictions)), 1)
    both = classes == 2 and len(np.unique(labels)) == 2
    roc = _roc(labels, predictions[:, 1], weights) if both else None
    precision_recall = _precision_recall(labels, predictions[:, 1], weights) if both else None
    return Pictures(
        confusion=confusion.tolist(),
        calibration=_reliability(truth, predictions),
        uncalibrated=None if uncalibrated is None else _reliability(truth, uncalibrated),
        roc=roc,
        precision_recall=precision_recall,
    )


def _reliability(truth: Truth, predictions: np.ndarray) -> list[CalibrationBin]:
    return [
        CalibrationBin(confidence=bin.confidence, accuracy=bin.accuracy, rows=bin.rows)
        for bin in calibration_bins(truth.labels, predictions, truth.weights)
    ]


def _roc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> list[tuple[float, float, float]]:
    """Return points of (false positive rate, true positive rate, threshold)."""
    from sklearn.metrics import roc_curve

    points = np.stack(roc_curve(labels, scores, sample_weight=weights), axis=1)
    points[0, 2] = 1.0  # scikit-learn's first threshold is infinite
    return _thinned(points)


def _precision_recall(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None
) -> list[tuple[float, float, float]]:
    """Return points of (recall, precision, threshold)."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(labels, scores, sample_weight=weights)
    # scikit-learn's last point, of nothing predicted as positive, has no threshold.
    return _thinned(np.stack([recall, precision, np.append(thresholds, 1.0)], axis=1))


def _thinned(points: np.ndarray) -> list[tuple[float, float, float]]:
    kept = np.unique(np.linspace(0, len(points) - 1, min(POINTS, len(points))).astype(int))
    return [(float(x), float(y), float(threshold)) for x, y, threshold in points[kept]]
