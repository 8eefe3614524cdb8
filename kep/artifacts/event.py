"""Events of a run's steps, for whoever follows it."""

import time
from typing import Literal

from pydantic import Field

from kep.core.json_model import JsonModel


class Event(JsonModel):
    """Something that happened to a step: one line of a run's `events.jsonl`."""

    kind: Literal["start", "progress", "done", "failed", "reused", "signal"]
    """Kind of the event. `reused`: an earlier execution answers for the step. `signal`: a signal ended a process."""
    step: str = ""
    """Name of the step; empty for a signal, whose step is not known."""
    label: str = ""
    """Candidate, member or part that the step works on."""
    time: float = Field(default_factory=time.time)
    """Unix time of the event."""
    text: str = ""
    """Progress of the step in words."""
    done: int | None = None
    """Parts of the work that are done; None where it has no parts."""
    total: int | None = None
    """All parts of the work."""
    seconds: float = 0.0
    """Time that a finished step took."""
    message: str = ""
    """Reason of a failure."""
    user: bool = False
    """True if a failure is the user's mistake."""
    number: int = 0
    """Number of a signal."""

    @property
    def name(self) -> str:
        """Name of the task for people: the step, and what it works on."""
        return f"{self.step} {self.label}".strip()


class StepCall(JsonModel):
    """A call of a step, for the other processes that train a model with it."""

    function: str
    """`module:name`."""
    arguments: dict[str, object]
