"""What changes where there are few rows."""

from kep.config.fit import BestEpochTask
from kep.data.schema import Manifest

FEW = 100
"""Validation rows below which weights are fitted on folds, if there is time for them."""
FOLDS = 5


def for_rows(task: BestEpochTask, manifest: Manifest) -> BestEpochTask:
    """Return how candidates are trained on these rows: in folds where the validation rows are few, if they may be.

    Rows that were split by group or time keep their one split, since there may be fewer groups than folds. The same
    goes for a class with fewer rows than folds.

    Args:
        task: Settings of the step.
        manifest: Manifest of the records.
    """
    train, validation = manifest.roles["train"], manifest.roles["validation"]
    if not task.adapts or validation.rows >= FEW or manifest.split.rule in ("group", "time"):
        return task
    classes = [sum(counts) for counts in zip(train.class_counts, validation.class_counts, strict=True)]
    if min(classes, default=FOLDS) < FOLDS or train.rows + validation.rows < 2 * FOLDS:
        return task
    return task.model_copy(update={"folds": FOLDS, "seeds": 1})
