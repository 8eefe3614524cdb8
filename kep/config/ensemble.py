"""Settings of the ensemble: its members and their weights."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kep.config.section import Count, Fraction, Section

Cost = Annotated[float, Field(gt=0)]


class CostSettings(Section):
    """Costs of the two mistakes, in any unit."""

    false_positive: Cost
    """Cost of predicting the positive class wrongly."""
    false_negative: Cost
    """Cost of missing the positive class."""


class OperatingPointSettings(Section):
    """Rule for predicting the positive class of a binary label: give one of the four keys."""

    threshold: Fraction | None = None
    """Predict it from this probability on."""
    cost: CostSettings | None = None
    """Minimise this cost on validation rows, such as {false_positive: 1, false_negative: 5}."""
    precision: Annotated[float, Field(gt=0, le=1)] | None = None
    """Maximise recall with at least this precision on validation rows."""
    recall: Annotated[float, Field(gt=0, le=1)] | None = None
    """Maximise precision with at least this recall on validation rows."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            told = " and ".join(given) or "nothing"
            raise ValueError(f"{told} given; give one of threshold, cost, precision and recall")
        return self


class EnsembleSettings(Section):
    """The choice of members and of their weights."""

    method: Literal[
        "auto",
        "best_single",
        "uniform",
        "greedy_uniform",
        "greedy_bagged",
        "greedy",
        "exact_bagged",
        "exact",
        "nelder_mead",
        "random_search",
    ] = "auto"
    """How members and weights are chosen. auto: the simplest method whose cross-fitted validation loss is within one
    standard error of the best. For another metric than the loss it is greedy_bagged, below 200 validation rows
    greedy_uniform. It is best_single, the best candidate alone, where the ensemble is clearly worse."""
    metric: str = "loss"
    """Metric that the weights optimise: loss (log-loss, or mean squared error for regression), or a metric that
    evaluate reports: accuracy, roc_auc, pr_auc, f1, calibration_error, mae, rmse, r2"""
    pooling: Literal["auto", "arithmetic", "geometric"] = "auto"
    """arithmetic: the weighted average of the probabilities | geometric: of their logarithms, made to sum to 1 |
    auto: geometric where its cross-fitted validation loss is lower by more than one standard error, on at least 200
    validation rows"""
    calibration: Literal["auto", "off", "temperature", "isotonic"] = "auto"
    """temperature: one exponent for all probabilities | isotonic: an ascending map, for two classes | off: as pooled |
    auto: temperature where it lowers the cross-fitted validation loss by more than one standard error, on at least 200
    rows. On at least 1000 rows of two classes it is isotonic where that lowers the loss once more"""
    operating_point: OperatingPointSettings | None = None
    """For a binary label: the probability from which the positive class is predicted, by threshold, cost, precision or
    recall, such as {recall: 0.9}. The most probable class by default."""
    max_members: Count = 8
    """Maximum number of members."""
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Latency budget in milliseconds: all members together, one after the other, predict latency_rows rows within it,
    as measured on the machine that trained them."""
    latency_rows: Count = 1
    """Rows of one call for max_latency_ms."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.metric != "loss" and self.method in ("exact", "exact_bagged"):
            raise ValueError(
                f"method: {self.method} finds the optimum of the loss, and metric is {self.metric}; "
                "use method: greedy_bagged, or auto"
            )
        return self
