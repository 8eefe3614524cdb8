"""Why the ensemble predicts as it does, from the test rows that evaluate has open."""

import numpy as np

from kep.artifacts.explanation import Explanation
from kep.components.evaluate.groups import Predict
from kep.components.evaluate.importance import Clock, Drawing, importance
from kep.components.evaluate.slices import worse
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
    drawing = Drawing(settings.bootstrap, seed)
    asked = settings.why_seconds > 0
    losses = Truth.of(manifest.label.task, rows).losses(predictions)
    return Explanation(
        importance=importance(manifest, rows, predict, metric, drawing, Clock(settings.why_seconds)) if asked else None,
        worse=worse(manifest, rows, losses),
    )
