"""The evaluation on Kubeflow's and Vertex AI's own pages."""

from typing import Any

from kep.runtime.kfp_artifacts import keep, log_metrics, show


def log(done: dict, evaluation: str, metrics: Any, classification: Any, report: Any) -> None:
    """Fills the artifacts that the pipeline pages draw.

    Args:
        done: What `kep.components.evaluate.evaluate.run` returned.
        evaluation: The folder that it wrote.
        metrics: KFP `Metrics`.
        classification: KFP `ClassificationMetrics`; stays empty for a regression.
        report: KFP `HTML`.
    """
    log_metrics(metrics, done["metrics"])
    pictures = done["pictures"]
    if "confusion" in pictures:
        classification.log_confusion_matrix([str(name) for name in done["classes"]], pictures["confusion"])
    if "roc" in pictures:
        rates = list(zip(*pictures["roc"], strict=True))
        classification.log_roc_curve(fpr=list(rates[0]), tpr=list(rates[1]), threshold=list(rates[2]))
    keep(classification)
    show(report, f"{evaluation}/report.html")
