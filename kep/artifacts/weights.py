"""Members of the ensemble, their weights, and how the weights were chosen."""

from typing import Any, ClassVar, Literal

from pydantic import AliasChoices, Field, model_validator

from kep.artifacts.study import Candidate
from kep.core.json_model import Figure, JsonFolder, JsonModel, is_none

Pooling = Literal["arithmetic", "geometric"]


class Member(Candidate):
    """A candidate with weight: an item of the fan-out to retrain."""

    KIND: ClassVar[str] = "a member"
    REMEDY: ClassVar[str] = "run weigh again"

    weight: float
    # Ensembles of before the name was split have one `best`, which is the median.
    median_best: int = Field(validation_alias=AliasChoices("median_best", "best"))
    """Median over fresh trainings of the best epoch or boosting round."""
    trained_rows: int
    """Rows that those trainings were fitted on."""


class MethodScore(JsonModel):
    """Cross-fitted result of a way to weigh."""

    loss: Figure
    error: Figure
    """Standard error of the loss."""
    score: Figure = Field(default=None, exclude_if=is_none)
    """Value of the metric, where that is not the loss."""


class WithoutMember(JsonModel):
    """Cross-fitted result of the ensemble without one member, weights fitted again."""

    loss: Figure
    difference: Figure
    """Loss without the member minus that of the ensemble, paired by row; above 0 the member helps."""
    error: Figure
    """Standard error of the difference."""


class Correlation(JsonModel):
    """Pairwise correlation of the candidates' losses over held-out rows."""

    ids: list[str]
    matrix: list[list[Figure]]


class Weights(JsonFolder):
    """Result of weigh."""

    FILE: ClassVar[str] = "weights.json"
    KIND: ClassVar[str] = "weights"
    REMEDY: ClassVar[str] = "run weigh again"

    method: str
    reason: str
    """Why this method."""
    fitted: bool
    """Whether more than the choice of members was fitted."""
    metric: str
    """Metric that the weights are for."""
    pooling: Pooling
    pooling_reason: str
    chosen: str
    """Key in `methods` of the method with its pooling."""
    methods: dict[str, MethodScore]
    validation_loss: Figure
    """Loss of the ensemble on the rows that the weights were fitted on."""
    gap: Figure
    """Proven bound on how far that loss is above the optimum; None for another metric."""
    correlation: Correlation
    without: dict[str, WithoutMember]
    """By member id."""
    latency_ms: dict[str, float] | None
    """Milliseconds by candidate id; None without a budget."""
    weights: dict[str, float]
    """Weight by candidate id; 0 for those left out."""
    members: list[Member]
    """The heaviest first."""

    @model_validator(mode="before")
    @classmethod
    def _named_as_a_method(cls, content: Any) -> Any:
        # Weights of before the best candidate alone was a method spell it with a space.
        if isinstance(content, dict) and isinstance(methods := content.get("methods"), dict):
            return {
                **content,
                "methods": {name.replace("best single", "best_single"): one for name, one in methods.items()},
            }
        return content

    @property
    def cross_fitted(self) -> MethodScore:
        """Cross-fitted result of the chosen way to weigh."""
        return self.methods[self.chosen]
