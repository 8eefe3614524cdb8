"""The evaluation on Kubeflow's and Vertex AI's own pages."""

from typing import Any

from kep.components.evaluate.evaluate import Evaluated
from kep.runtime.kfp_artifacts import keep, log_metrics, show


def log(done: Evaluated, evaluation: str, metrics: Any, classification: Any, report: Any) -> None:
    """Fills the artifacts that the pipeline pages draw.

    Args:
        done: Result of the step.
        evaluation: The folder that it wrote.
        metrics: KFP `Metrics`.
        classification: KFP `ClassificationMetrics`; stays empty for a regression.
        report: KFP `HTML`.
    """
    log_metrics(metrics, done.metrics)
    if done.pictures.confusion is not None:
        classification.log_confusion_matrix(done.classes, done.pictures.confusion)
    if done.pictures.roc is not None:
        false, true, thresholds = (list(rates) for rates in zip(*done.pictures.roc, strict=True))
        classification.log_roc_curve(fpr=false, tpr=true, threshold=thresholds)
    keep(classification)
    show(report, f"{evaluation}/report.html")
