"""The decision about a new ensemble."""

from typing import Any, ClassVar

from pydantic import Field, model_validator

from kep.artifacts.evaluation import Comparison
from kep.core.errors import Status
from kep.core.json_model import JsonFile, JsonModel


class Rule(JsonModel):
    """A rule of the run file's `promote`, judged."""

    rule: str
    """Key of the run file that asks for it."""
    held: bool
    """True if the rule held."""
    reason: str
    """Sentence with the figures."""
    remedy: str | None = None
    """Change that would make it hold; None where it held."""


class Verdict(JsonFile):
    """Result of promote."""

    FILE: ClassVar[str] = "verdict.json"
    KIND: ClassVar[str] = "a verdict"
    REMEDY: ClassVar[str] = "run promote again"

    promoted: bool
    """True if the ensemble was promoted."""
    won: bool
    """True if the comparison was won."""
    forced: bool
    """True if it was promoted against the comparison."""
    reason: str
    """Reason with the figures."""
    metric: str = "loss"
    """Metric that the champion was compared by."""
    rules: list[Rule] = Field(default_factory=list)
    """All rules, judged; empty in a verdict of earlier versions."""
    comparison: Comparison | None
    """Comparison with the champion; None where there was none."""
    version: str
    """Name of the ensemble's version."""
    folder: str
    """The champions' folder."""
    unchanged: bool = False
    """True if this very ensemble was the champion already."""
    registered: str | None
    """Resource name in Vertex AI's Model Registry."""

    @property
    def serves(self) -> bool:
        """True if this ensemble is the champion now."""
        return self.promoted or self.unchanged

    @property
    def status(self) -> int:
        """Exit status of a command whose run ended well."""
        return Status.DONE if self.serves else Status.NOT_PROMOTED

    @property
    def sentence(self) -> str:
        """The decision in a sentence: the rule behind it, and what would change it."""
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
