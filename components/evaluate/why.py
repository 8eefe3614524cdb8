"""Why the ensemble predicts as it does, from the test rows that evaluate has open."""

from kep.artifacts.explanation import Explanation
from kep.components.evaluate.groups import Predict
from kep.components.evaluate.importance import Clock, Drawing, importance
from kep.config.evaluate import EvaluateSettings
from kep.data.records import Rows
from kep.data.schema import Manifest


def why(
    manifest: Manifest, rows: Rows, predict: Predict, metric: str, settings: EvaluateSettings, seed: int
) -> Explanation:
    """Return what explains the ensemble.

    Args:
        manifest: Manifest of the rows.
        rows: The test rows.
        predict: The ensemble.
        metric: Metric that the run is judged by.
        settings: Settings of the evaluation.
        seed: Seed of every draw.
    """
    drawing = Drawing(settings.bootstrap, seed)
    asked = settings.why_seconds > 0
    return Explanation(
        importance=importance(manifest, rows, predict, metric, drawing, Clock(settings.why_seconds)) if asked else None
    )
