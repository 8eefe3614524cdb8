"""The evaluation on Kubeflow's and Vertex AI's own pages."""

import json
import math
import shutil
from pathlib import Path
from typing import Any


def log(done: dict, evaluation: str, metrics: Any, classification: Any, report: Any) -> None:
    """Fills the artifacts that the pipeline pages draw.

    Args:
        done: What `components.evaluate.evaluate.run` returned.
        evaluation: The folder that it wrote.
        metrics: KFP `Metrics`.
        classification: KFP `ClassificationMetrics`; stays empty for a regression.
        report: KFP `HTML`.
    """
    for name, value in done["metrics"].items():
        # A non-finite number in an artifact's metadata breaks the step on every runner.
        if math.isfinite(value):
            metrics.log_metric(name, value)
    pictures = done["pictures"]
    if "confusion" in pictures:
        classification.log_confusion_matrix([str(name) for name in done["classes"]], pictures["confusion"])
    if "roc" in pictures:
        rates = list(zip(*pictures["roc"], strict=True))
        classification.log_roc_curve(fpr=list(rates[0]), tpr=list(rates[1]), threshold=list(rates[2]))
    # kfp.local reuses a cached task only if each of its artifacts has a file.
    for artifact in (metrics, classification):
        Path(artifact.path).parent.mkdir(parents=True, exist_ok=True)
        Path(artifact.path).write_text(json.dumps(artifact.metadata))
    shutil.copyfile(Path(evaluation) / "report.html", report.path)
