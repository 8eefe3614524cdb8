"""Members of the ensemble, their weights, and how the weights were chosen."""

from typing import Any, ClassVar, Literal

from pydantic import AliasChoices, Field, model_validator

from kep.artifacts.study import Candidate
from kep.core.json_model import Figure, JsonFolder, JsonModel, is_none
from kep.stats.calibration import Calibration
from kep.stats.operating_point import OperatingPoint

Pooling = Literal["arithmetic", "geometric"]


class Member(Candidate):
    """A candidate with weight: an item of the fan-out to retrain."""

    KIND: ClassVar[str] = "a member"
    REMEDY: ClassVar[str] = "run weigh again"

    weight: float
    """Weight in the ensemble."""
    # Ensembles of before the name was split have one `best`, which is the median.
    median_best: int = Field(validation_alias=AliasChoices("median_best", "best"))
    """Median over fresh trainings of the best epoch or boosting round."""
    trained_rows: int
    """Rows that those trainings were fitted on."""
    horizon: int | None = Field(default=None, exclude_if=is_none)
    """Epochs over which the schedule of those trainings spans; None where it has no end."""


class MethodScore(JsonModel):
    """Cross-fitted result of a way to weigh."""

    loss: Figure
    """Cross-fitted loss."""
    error: Figure
    """Standard error of the loss."""
    score: Figure = Field(default=None, exclude_if=is_none)
    """Value of the metric, where that is not the loss."""


class WithoutMember(JsonModel):
    """Cross-fitted result of the ensemble without one member, weights fitted again."""

    loss: Figure
    """Cross-fitted loss without the member."""
    difference: Figure
    """Loss without the member minus that of the ensemble, paired by row; above 0 the member helps."""
    error: Figure
    """Standard error of the difference."""


class CalibrationScore(JsonModel):
    """Cross-fitted result of the ensemble's predictions, calibrated in one way or not."""

    loss: Figure
    """Cross-fitted loss."""
    difference: Figure
    """Loss minus that without calibration, paired by row; below 0 it helps."""
    error: Figure
    """Standard error of the difference."""
    calibration_error: Figure
    """Cross-fitted calibration error."""


class CalibrationChoice(JsonModel):
    """Chosen calibration, and what it is held against."""

    method: Literal["off", "temperature", "isotonic"]
    """Chosen method."""
    reason: str
    """Why this method."""
    rows: int
    """Held-out rows that it is fitted on, each predicted with weights fitted without it."""
    before: CalibrationScore
    """Result without calibration."""
    tried: dict[str, CalibrationScore]
    """Result of each method, each row calibrated by a map that was fitted without it."""
    validation_loss: Figure
    """Loss of the calibrated ensemble on the rows that its weights and the map were fitted on."""
    fitted: Calibration | None
    """Map fitted on all of the rows; None for `off`."""

    @property
    def after(self) -> CalibrationScore:
        """Result of the chosen method."""
        return self.tried.get(self.method, self.before)


class Correlation(JsonModel):
    """Pairwise correlation of the candidates' losses over held-out rows."""

    ids: list[str]
    """Ids of the candidates."""
    matrix: list[list[Figure]]
    """Correlation of each pair, in the order of `ids`."""


class Weights(JsonFolder):
    """Result of weigh."""

    FILE: ClassVar[str] = "weights.json"
    KIND: ClassVar[str] = "weights"
    REMEDY: ClassVar[str] = "run weigh again"

    method: str
    """Chosen method, as in `ensemble.method`."""
    reason: str
    """Why this method."""
    fitted: bool
    """True if more than the choice of members was fitted."""
    metric: str
    """Metric that the weights are for."""
    pooling: Pooling
    """How predictions are combined, as in `ensemble.pooling`."""
    pooling_reason: str
    """Why this pooling."""
    chosen: str
    """Key in `methods` of the method with its pooling."""
    methods: dict[str, MethodScore]
    """Cross-fitted result of each method."""
    validation_loss: Figure
    """Loss of the ensemble on the rows that the weights were fitted on, without calibration."""
    gap: Figure
    """Proven bound on how far that loss is above the optimum; None for another metric."""
    correlation: Correlation
    """Correlation of the candidates' losses."""
    without: dict[str, WithoutMember]
    """Result without each member, by member id."""
    latency_ms: dict[str, float] | None
    """Latency in milliseconds by candidate id; None without a latency budget."""
    weights: dict[str, float]
    """Weight by candidate id; 0 for those left out."""
    members: list[Member]
    """Members, the heaviest first."""
    calibration: CalibrationChoice | None = Field(default=None, exclude_if=is_none)
    """Calibration; None for a regression, and in weights of earlier versions."""
    operating_point: OperatingPoint | None = Field(default=None, exclude_if=is_none)
    """Operating point; None where the most probable class is predicted."""

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
        """Cross-fitted result of the chosen way to weigh, without calibration."""
        return self.methods[self.chosen]

    @property
    def calibrated_losses(self) -> tuple[float | None, float | None]:
        """Loss of the ensemble with its calibration on the rows of the weights: as fitted, and cross-fitted."""
        if self.calibration is None or self.calibration.fitted is None:
            return self.validation_loss, self.cross_fitted.loss
        return self.calibration.validation_loss, self.calibration.after.loss
