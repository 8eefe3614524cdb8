"""An export of an ensemble, and what it loses."""

from pydantic import Field

from kep.core.json_model import Figure, JsonModel, is_none
from kep.data.ledger import LedgerLine


class Measurement(JsonModel):
    """Predictions of test rows beside those that evaluate stored."""

    name: str
    """Name of the measured model or file."""
    bytes: int
    """Size on disk."""
    ms: float
    """Latency of one row in milliseconds."""
    score: Figure
    """Accuracy, or the root mean squared error of a regression."""
    lost: float
    """Accuracy that is lost, or the relative growth of the error; below 0 it is better."""
    loss: Figure
    """Mean test loss."""
    same: float | None
    """Share of rows that get the class that the ensemble predicts; None for a regression."""
    difference: Figure
    """Largest absolute difference of a prediction."""


class ExportedMember(JsonModel):
    """A member with its weight in the export."""

    id: str
    """Id of the member."""
    weight: float
    """Its weight in the export."""


class Export(JsonModel):
    """Measurements of an export in one format."""

    format: str
    """Format: savedmodel, keras, tflite or tfjs."""
    run: str
    """Folder of the run."""
    fingerprint: str
    """Fingerprint of the records."""
    members: list[ExportedMember]
    """The exported members."""
    classes: list[bool | int | str] | None
    """Names of the classes; None for a regression."""
    threshold: float | None = Field(default=None, exclude_if=is_none)
    """Probability of the second class from which it is predicted; None for the most probable class. The label of a
    SavedModel goes by it; the other formats give probabilities alone."""
    metric: str
    """Metric of `Measurement.score`."""
    max_loss: float
    """Largest loss that was allowed."""
    measured: list[Measurement]
    """A measurement of each variant."""
    read: list[LedgerLine] = Field(default_factory=list)
    """Rows that were read to measure."""
