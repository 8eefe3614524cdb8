"""The decision about a new ensemble."""

from typing import Any, ClassVar

from pydantic import Field, model_validator

from kep.artifacts.evaluation import Comparison
from kep.core.json_model import JsonFile, JsonModel

NOT_PROMOTED = 4
"""Exit status of a run that ended well and whose ensemble does not serve: whoever schedules runs can tell."""


class Rule(JsonModel):
    """A rule of the run file's `promote`, judged."""

    rule: str
    """Key of the run file that asks for it."""
    held: bool
    reason: str
    """Sentence with the figures."""
    remedy: str | None = None
    """What would have to change; None where it held."""


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
    metric: str = "loss"
    """Metric that the champion was compared by."""
    rules: list[Rule] = Field(default_factory=list)
    """All rules, as told; a verdict of before there were rules has none."""
    comparison: Comparison | None
    """None where there was no champion."""
    version: str
    """Name of the ensemble's version."""
    folder: str
    """The champions' folder."""
    unchanged: bool = False
    """Whether this very ensemble was the champion already."""
    registered: str | None
    """Resource name in Vertex AI's Model Registry."""

    @property
    def serves(self) -> bool:
        """Whether this ensemble is the champion now."""
        return self.promoted or self.unchanged

    @property
    def status(self) -> int:
        """Exit status of a command whose run ended well."""
        return 0 if self.serves else NOT_PROMOTED

    @property
    def sentence(self) -> str:
        """What was decided, by which rule, and what would have to change."""
        if self.unchanged:
            return f"Unchanged: {self.reason}."
        word = "Promoted" if self.promoted else "Not promoted"
        if self.forced:
            word += " by force, although"
        remedy = next((rule.remedy for rule in self.rules if not rule.held), None) if not self.promoted else None
        return f"{word}{'' if self.forced else ':'} {self.reason}.{f' To change that: {remedy}.' if remedy else ''}"

    @model_validator(mode="before")
    @classmethod
    def _without_margin(cls, content: Any) -> Any:
        # The only rule of before there were rules, which the reason names.
        return (
            {key: value for key, value in content.items() if key != "margin"} if isinstance(content, dict) else content
        )
