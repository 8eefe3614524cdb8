"""The steps of the flow and their components."""

import re

STEPS = ("ingest", "tune", "best_epoch", "weigh", "retrain", "evaluate", "promote")
"""In order of the flow."""
PREDICTION_STEPS = ("predict", "drift")
"""In order of the flow of the prediction pipeline."""
EXIT = "notify_failure"
"""Component that tells of a failed run in the cloud; it is no step, and has the machine of promote."""
PARTS = {
    "ingest": ("ingest", *(f"ingest_{name}" for name in ("scan", "keys", "roles", "count", "write", "join"))),
    "tune": ("tune", "suggest", "trial"),
    "predict": ("predict", "predict_model", "predict_plan", "predict_join"),
    "drift": ("drift", "drift_gate"),
}
"""Components of a step that has several."""


def step_of(task: str) -> str:
    """The step that a task of the compiled pipeline belongs to: tune for suggest-2."""
    name = re.sub(r"-\d+$", "", task).replace("-", "_")
    return next((step for step, parts in PARTS.items() if name in parts), name)
