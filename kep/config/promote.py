"""Settings of the promotion: the rules by which a new ensemble replaces the champion."""

import math
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from kep.config.section import Section, Switch

MetricName = Literal["loss", "accuracy", "roc_auc", "pr_auc", "f1", "calibration_error", "mae", "rmse", "r2"]
"""Metrics that evaluate reports."""
Difference = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[float, Field(ge=0)]
SHARES = ("accuracy", "roc_auc", "pr_auc", "f1", "calibration_error")
"""Metrics between 0 and 1."""


class RequireSettings(Section):
    """Bounds that the ensemble must reach on test rows, whatever the champion reaches."""

    beats: Literal["baseline", "nothing"] = "baseline"
    """baseline: the whole interval of the paired difference must be better than a model that predicts the class shares,
    or the mean label, of the train rows | nothing: a model that knows nothing may be promoted"""
    loss: Size | None = None
    """Highest log-loss, or mean squared error."""
    accuracy: Share | None = None
    """Lowest accuracy."""
    roc_auc: Share | None = None
    """Lowest area under the ROC curve."""
    pr_auc: Share | None = None
    """Lowest average precision."""
    f1: Share | None = None
    """Lowest F1."""
    calibration_error: Share | None = None
    """Highest calibration error."""
    mae: Size | None = None
    """Highest mean absolute error."""
    rmse: Size | None = None
    """Highest root mean squared error."""
    r2: Annotated[float, Field(le=1)] | None = None
    """Lowest R²."""
    slices: dict[str, dict[MetricName, float]] = {}
    """The same bounds for every slice of a column of evaluate.slices, such as {region: {roc_auc: 0.6}}."""

    @model_validator(mode="after")
    def _slices_can_be_met(self) -> Self:
        for column, bounds in self.slices.items():
            for metric, bound in bounds.items():
                if not _least(metric) <= bound <= _most(metric):
                    raise ValueError(
                        f'slices: "{column}" asks for a {metric} of {bound:g}, which is between {_least(metric):g} and '
                        f"{_most(metric):g}; change the bound"
                    )
        return self

    @property
    def bounds(self) -> dict[str, float]:
        """Bounds by metric, those that are set."""
        found = self.model_dump(exclude={"beats", "slices"})
        return {name: bound for name, bound in found.items() if bound is not None}


def _least(metric: str) -> float:
    return -math.inf if metric == "r2" else 0.0


def _most(metric: str) -> float:
    return 1.0 if metric in (*SHARES, "r2") else math.inf


class PromoteSettings(Section):
    """Rules for replacing the champion; all of them must hold."""

    champion: str | None = None
    """Folder whose `champion` pointer names the ensemble to beat; by default champions/NAME in the folder of runs."""
    metric: MetricName | None = None
    """Test metric for the comparison with the champion; ensemble.metric by default."""
    better_by: Difference | None = Field(default=None, validation_alias=AliasChoices("better_by", "margin"))
    """The whole 95 % interval of the paired difference must be better than the champion by more than this, in units of
    the metric. 0 without this key and not_worse_than."""
    not_worse_than: Difference | None = None
    """Instead of better_by: no part of the interval may be worse than the champion by more than this."""
    require: RequireSettings = RequireSettings()
    when_incomparable: Literal["keep", "replace"] = "keep"
    """What to do where the champion can't be compared, such as after a change of the columns or of the label. keep:
    keep the champion | replace: promote an ensemble that meets promote.require"""
    registry: Annotated[Switch, Field(exclude_if=lambda on: not on)] = False
    """Register each promoted ensemble of a run on Vertex AI as a version in the Model Registry, for `kep rollout`."""

    @model_validator(mode="after")
    def _one_comparison(self) -> Self:
        if self.better_by is not None and self.not_worse_than is not None:
            raise ValueError("better_by and not_worse_than are two rules for one comparison; give one of them")
        return self
