"""The best epoch of a candidate, as measured by fresh trainings."""

from typing import ClassVar

from pydantic import Field

from kep.artifacts.study import Candidate
from kep.artifacts.trials import Unit
from kep.core.json_model import Figure, JsonFolder, is_none

PREDICTIONS = "predictions.npz"
"""File beside best_epoch.json with the predictions of the held-out rows."""
TRAINED_ON = "trained_on.npz"
"""File beside best_epoch.json with the ids of the rows that each fold was trained on."""


class Training(JsonFolder):
    """A finished training of a candidate, in the step's partial work."""

    FILE: ClassVar[str] = "fit.json"
    KIND: ClassVar[str] = "a training"
    REMEDY: ClassVar[str] = "run the training again"

    seed: int
    """Seed of this training."""
    best: int
    """1-based epoch or boosting round with the lowest loss on the held-out rows."""
    loss: float
    """Lowest loss on the held-out rows."""
    at_cap: bool
    """True if the training reached its limit before its patience ran out."""
    train_curve: list[Figure]
    """Loss on the train rows after each unit."""
    validation_curve: list[Figure]
    """Loss on the held-out rows after each unit."""
    horizon: int | None = Field(default=None, exclude_if=is_none)
    """Epochs over which the schedule of its learning rate spans; None where it has no end."""


class HeldOutTraining(Training):
    """A training with the fold that it held out."""

    fold: int
    """Number of the fold, from 0; 0 without folds."""
    metrics: dict[str, Figure]
    """Metrics on the held-out rows."""


class BestEpoch(JsonFolder):
    """Result of best_epoch for one candidate."""

    FILE: ClassVar[str] = "best_epoch.json"
    KIND: ClassVar[str] = "a best epoch"
    REMEDY: ClassVar[str] = "run best_epoch again"

    candidate: Candidate
    """The candidate."""
    unit: Unit
    """Unit of `median_best`."""
    median_best: int
    """Median over the trainings of their best unit."""
    at_cap: bool
    """True if any training reached its limit."""
    folds: int | None
    """Number of folds; None where train and validation rows keep their roles."""
    trained_rows: int
    """Rows that a training was fitted on; the mean over folds."""
    fingerprints: dict[str, str]
    """Fingerprints of the train and validation rows, by role."""
    seeds: list[HeldOutTraining]
    """The trainings: seed after seed, fold after fold."""
    latency_ms: float | None = Field(default=None, exclude_if=is_none)
    """Milliseconds of one prediction; None where no budget asks for it."""

    @property
    def horizon(self) -> int | None:
        """Epochs over which the schedule of the trainings spans; None where it has no end."""
        return self.seeds[0].horizon if self.seeds else None
