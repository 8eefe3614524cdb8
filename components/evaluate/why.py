"""Why the ensemble predicts as it does, from the test rows that evaluate has open."""

import numpy as np

from kep.artifacts.explanation import Explanation
from kep.components.evaluate.dependence import dependence
from kep.components.evaluate.groups import Predict
from kep.components.evaluate.importance import Clock, Drawing, importance
from kep.components.evaluate.slices import worse
from kep.components.evaluate.worst import worst
from kep.config.evaluate import EvaluateSettings
from kep.data.records import Rows
from kep.data.schema import Manifest
from kep.stats.metrics import Truth


def why(
    manifest: Manifest,
    rows: Rows,
    predictions: np.ndarray,
    predict: Predict,
    metric: str,
    settings: EvaluateSettings,
    seed: int,
) -> Explanation:
    """Return what explains the ensemble.

    Args:
        manifest: Manifest of the rows.
        rows: The test rows.
        predictions: The ensemble's predictions of them.
        predict: The ensemble.
        metric: Metric that the run is judged by.
        settings: Settings of the evaluation.
        seed: Seed of every draw.
    """
    drawing, asked = Drawing(settings.bootstrap, seed), settings.why_seconds > 0
    of_columns = importance(manifest, rows, predict, metric, drawing, Clock(settings.why_seconds)) if asked else None
    first = [one.column for one in of_columns.columns] if of_columns else []
    return Explanation(
        importance=of_columns,
        worse=worse(manifest, rows, Truth.of(manifest.label.task, rows).losses(predictions)),
        worst=worst(manifest, rows, predictions, first, settings.worst_rows) if settings.worst_rows else None,
        dependence=dependence(manifest, rows, predict, first, seed, Clock(settings.why_seconds)) if asked else None,
    )
