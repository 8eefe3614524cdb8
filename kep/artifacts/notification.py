"""Messages to people about a run or about data."""

from typing import ClassVar

from pydantic import Field

from kep.config.notify import Kind
from kep.core.json_model import JsonModel


class Notification(JsonModel):
    """A message."""

    KIND: ClassVar[str] = "a notification"

    id: str
    """Equal for every attempt to tell the same: who must not act twice looks at it."""
    kind: Kind
    """Kind of the event: failed, not_promoted, promoted or drift."""
    name: str
    """Name in the run file."""
    text: str
    """Sentences for people."""
    run: str = ""
    """Folder of a run on this machine, or its name on Vertex AI or Kubeflow; of drift, the run that made the model."""
    links: dict[str, str] = Field(default_factory=dict)
    """Paths or addresses by what they lead to: report, page (of the run on its engine), log."""
    time: str
    """Time in ISO 8601."""
