"""One execution of a step: its time, its memory and what it read."""

from typing import ClassVar

from pydantic import Field

from kep.core.json_model import JsonFile, JsonModel, is_none
from kep.data.ledger import LedgerLine


class Speed(JsonModel):
    """Speed of a network's training, without its first call, which compiles."""

    rows_per_second: float
    """Rows per second."""
    step_ms: float
    """Milliseconds of an optimiser step."""
    input_share: float
    """Share of the time that the training waited for rows."""


class StepRecord(JsonFile):
    """Record of one execution of a step, in its main output."""

    FILE: ClassVar[str] = "step.json"
    KIND: ClassVar[str] = "the record of a step"

    step: str
    """Name of the step."""
    label: str
    """Candidate or member that it worked on; empty for steps without a fan-out."""
    started: float
    """Unix time."""
    seconds: float
    """Duration of the step."""
    peak_memory_mb: float
    """Peak memory of the process, or of the largest of its children."""
    cores: int
    """Number of cores that it could use."""
    seed: int | None
    """Seed of the run; None for a step without random choices."""
    speed: Speed | None = Field(default=None, exclude_if=is_none)
    """Mean over its trainings of networks; None without one."""
    ledger: list[LedgerLine]
    """Roles that it read."""
    versions: dict[str, str | None]
    """Version of Python and of packages by name; None for one that is not installed."""

    @property
    def name(self) -> str:
        """Name for people: the step, and what it worked on."""
        return f"{self.step} {self.label}".strip()
