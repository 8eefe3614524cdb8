"""Settings of the ensemble: its members and their weights."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kep.config.section import Count, Fraction, Section

Cost = Annotated[float, Field(gt=0)]


class CostSettings(Section):
    """Costs of the two mistakes, in any unit."""

    false_positive: Cost
    false_negative: Cost


class OperatingPointSettings(Section):
    """When the positive class of a label with two is predicted: one of the four."""

    threshold: Fraction | None = None
    """From this probability of the positive class on."""
    cost: CostSettings | None = None
    """At the lowest cost on validation rows, such as {false_positive: 1, false_negative: 5}."""
    precision: Annotated[float, Field(gt=0, le=1)] | None = None
    """At the highest recall with at least this precision on validation rows."""
    recall: Annotated[float, Field(gt=0, le=1)] | None = None
    """At the highest precision with at least this recall on validation rows."""

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
    """auto: the simplest method whose cross-fitted validation loss is within one standard error of the best; for
    another metric than the loss, greedy_bagged; below 200 validation rows, greedy_uniform; and best_single, the one
    best candidate, where the cross-fitted loss of that ensemble is clearly above it"""
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
    rows; isotonic where it lowers that once more, on at least 1000 rows of two classes"""
    operating_point: OperatingPointSettings | None = None
    """For a label with two classes: the probability from which the positive one is predicted, by threshold, cost,
    precision or recall, such as {recall: 0.9}. The most probable class when not given."""
    max_members: Count = 8
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Most milliseconds that all members together may take to predict latency_rows rows, one after the other, as
    measured on the machine that trained them."""
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
