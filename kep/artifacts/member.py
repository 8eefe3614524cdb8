"""Members as they were trained at last, and the ensemble that they form."""

import operator
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from kep.artifacts.interval import Interval
from kep.artifacts.weights import Member, Pooling
from kep.core.json_model import JsonFolder, JsonModel, is_none
from kep.data.schema import Manifest
from kep.stats.calibration import Calibration
from kep.stats.operating_point import OperatingPoint

Rule = Literal["book", "same", "steps", "off"]
"""Rule for the length of the final training; `off` for none."""


class Placement(JsonModel):
    """Devices of a training."""

    strategy: str
    """Distribution strategy, as in `hardware.retrain.strategy`."""
    devices: int
    """Number of replicas."""
    batch_size: int | None
    """Rows of an optimiser step over all replicas; None where the family has no such batches, or sets them itself."""


class LearningPoint(JsonModel):
    """A training on a share of the train rows."""

    rows: int
    """Number of rows."""
    loss: Interval
    """Validation loss, with its interval over the validation rows."""


class TrainedMember(Member, JsonFolder):
    """Result of retrain, which vouches for the member's model beside it."""

    FILE: ClassVar[str] = "member.json"
    REMEDY: ClassVar[str] = "run retrain again"

    trained_units: float
    """Length of the final training in epochs or boosting rounds."""
    rule: Rule
    """Rule for the length of the final training."""
    seed: int
    """Seed of the final training."""
    roles: list[Literal["train", "validation"]]
    """Roles that it was trained on."""
    rows: int
    """Rows of those roles."""
    spec: dict[str, JsonValue]
    """Its family as it travels with the run, a user's own with its source."""
    hardware: Placement | None
    """Devices of the final training; None where it was not retrained."""
    learning_curve: list[LearningPoint] = Field(default_factory=list, exclude_if=operator.not_)
    """Learning curve of the heaviest member, where it was requested; fewest rows first."""


class EnsembleFile(JsonFolder):
    """Description of an ensemble, in its folder."""

    FILE: ClassVar[str] = "ensemble.json"
    KIND: ClassVar[str] = "an ensemble"
    REMEDY: ClassVar[str] = "restore the ensemble's folder from a copy, or run the pipeline again"

    members: list[TrainedMember]
    """Members, the heaviest first."""
    pooling: Pooling = "arithmetic"
    """How predictions are combined; not named in ensembles of earlier versions."""
    calibration: Calibration | None = Field(default=None, exclude_if=is_none)
    """None where probabilities are as they are pooled, as in ensembles of before there was calibration."""
    operating_point: OperatingPoint | None = Field(default=None, exclude_if=is_none)
    """None where the most probable class is predicted."""
    files: dict[str, str] = Field(default_factory=dict, exclude_if=operator.not_)
    """sha256 of each other file by relative path; empty in ensembles of before there were any.

    Two kinds of files are not here. A member's step.json holds times, and nothing that predicts reads it. Evaluate
    writes predicted.json when the ensemble is already whole; that file has a fingerprint of its own."""

    def deciding(self, manifest: Manifest) -> Manifest:
        """Return the manifest of the members' records with a label that decides as the ensemble does."""
        return at_point(manifest, self.operating_point)


def at_point(manifest: Manifest, point: OperatingPoint | None) -> Manifest:
    """Return a manifest whose label decides at an operating point; None for the most probable class."""
    threshold = None if point is None else point.threshold
    return manifest.model_copy(update={"label": manifest.label.model_copy(update={"threshold": threshold})})
