"""Messages to people about a run or about data."""

from typing import ClassVar

from pydantic import Field

from kep.config.notify import Kind
from kep.core.json_model import JsonModel


class Notification(JsonModel):
    """Message to people, as a command, a webhook or a topic gets it."""

    KIND: ClassVar[str] = "a notification"

    id: str
    """Id of the message, the same in every attempt to send it, so that a receiver can drop repeats."""
    kind: Kind
    """Kind of the event: failed, not_promoted, promoted or drift."""
    name: str
    """Name in the run file."""
    text: str
    """Sentences for people."""
    run: str = ""
    """Folder of the run on this machine, or its name on Vertex AI or Kubeflow. For drift, the run that made the
    model."""
    links: dict[str, str] = Field(default_factory=dict)
    """Paths or addresses: of the report, of the page of the run on its engine, of the log."""
    time: str
    """Time in ISO 8601."""
