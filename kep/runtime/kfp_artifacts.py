"""Metrics that Kubeflow and Vertex AI draw on their own pages."""

import json
import math
import shutil
from pathlib import Path
from typing import Any


def log_metrics(metrics: Any, values: dict[str, float]) -> None:
    """Fills a KFP `Metrics` artifact; a non-finite number in an artifact's metadata breaks the step on every runner."""
    for name, value in values.items():
        if math.isfinite(value):
            metrics.log_metric(name, value)
    keep(metrics)


def keep(artifact: Any) -> None:
    """Gives an artifact of metadata its file: kfp.local reuses a cached task only if each of its artifacts has one."""
    Path(artifact.path).parent.mkdir(parents=True, exist_ok=True)
    Path(artifact.path).write_text(json.dumps(artifact.metadata), encoding="utf-8")


def show(page: Any, file: str) -> None:
    """Makes a file the content of a KFP `HTML` artifact."""
    shutil.copyfile(file, page.path)
