"""Settings of the ensemble: its members and their weights."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kep.config.section import Count, Section


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
