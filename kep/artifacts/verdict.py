"""The decision about a new ensemble."""

from typing import ClassVar

from kep.artifacts.evaluation import Comparison
from kep.core.json_model import JsonFile


class Verdict(JsonFile):
    """Result of promote."""

    FILE: ClassVar[str] = "verdict.json"
    KIND: ClassVar[str] = "a verdict"
    REMEDY: ClassVar[str] = "run promote again"

    promoted: bool
    won: bool
    """Whether the comparison was won."""
    forced: bool
    """Whether it was promoted against the comparison."""
    reason: str
    margin: float
    comparison: Comparison | None
    """None where there was no champion."""
    version: str
    """Name of the ensemble's version."""
    folder: str
    """The champions' folder."""
    registered: str | None
    """Resource name in Vertex AI's Model Registry."""
