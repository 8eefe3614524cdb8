"""How far new rows are from the rows that a model was trained on."""

from typing import ClassVar

from kep.core.json_model import Figure, JsonFile, JsonModel


class Shares(JsonModel):
    """Shares of the train rows and of the new rows, 0 to 1."""

    train: float
    """Share of the train rows."""
    new: float
    """Share of the new rows."""


class ShiftRecord(JsonModel):
    """Shift of a column, or of what is predicted."""

    name: str
    """Name of the column."""
    kind: str
    """Kind of the column, or `prediction`."""
    drifted: bool
    """True if it has drifted."""
    psi: Figure
    """Population stability index."""
    psi_by_chance: Figure
    """Index that two samples of one distribution reach by chance."""
    jensen_shannon: Figure
    """Jensen-Shannon divergence in bits, 0 to 1."""
    missing: Shares | None
    """Rows without a value; None where there can be none."""
    unseen: Shares | None
    """Rows with a category outside the vocabulary; None for a column without categories."""
    unseen_examples: list[str]
    """Some categories outside the vocabulary."""
    bins: list[str]
    """Names of the bins."""
    before: list[int]
    """Rows of each bin that the model knows."""
    after: list[int]
    """New rows of each bin."""


class Drift(JsonFile):
    """Comparison of new rows with the rows that a model was trained on."""

    FILE: ClassVar[str] = "drift.json"
    KIND: ClassVar[str] = "a comparison"
    REMEDY: ClassVar[str] = "compare again"

    data: str
    """Source of the new rows."""
    model: str
    """Folder of the model."""
    records: str
    """Fingerprint of the records that the model was trained on."""
    rows: int
    """Number of new rows."""
    train_rows: int
    """Number of train rows."""
    threshold: float
    """Population stability index above which something has drifted."""
    drifted: list[str]
    """Names of what has drifted."""
    verdict: str
    """The comparison in a sentence."""
    shifts: list[ShiftRecord]
    """Shifts, the most shifted first."""
