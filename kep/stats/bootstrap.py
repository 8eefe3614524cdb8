"""Metrics with their 95 % bootstrap intervals, alone and paired by row (Efron & Tibshirani 1993)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kep.stats.metrics import Truth, directions, mean

MOST_ROWS = 5_000
"""Most rows of one resample; above, intervals of this many rows are scaled (m out of n bootstrap)."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % percentile interval; NaN where the rows don't define one."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bootstrap:
    """Metrics of predictions, on their rows and on resamples of these.

    Attributes:
        values: Metrics on all rows, by name; NaN where the rows don't define one.
        draws: Metrics on each resample, shape [resamples], by name. Their spread is that of samples of all n rows.
        rows: Number of rows.
    """

    values: dict[str, float]
    draws: dict[str, np.ndarray]
    rows: int

    @classmethod
    def of(
        cls, truth: Truth, predictions: np.ndarray, resamples: int, seed: int, names: Sequence[str] = ()
    ) -> "Bootstrap":
        """Resample rows with replacement and score each resample.

        Two bootstraps of as many rows and the same seed draw the same rows, so that their difference is paired.

        Args:
            truth: Labels and weights of the rows.
            predictions: Shape [n, classes] or [n].
            resamples: Number of resamples.
            seed: Seed of the draws.
            names: Metrics to compute; all of the task where none is named.
        """
        losses, many = truth.losses(predictions), len(predictions)
        names = names or list(directions(truth.task))

        def scored(rows: np.ndarray) -> dict[str, float]:
            own, weights = truth.take(rows), None if truth.weights is None else truth.weights[rows]
            # Losses of rows are computed once; other metrics are not means over rows.
            return {
                name: mean(losses[rows], weights) if name == "loss" else own.metric(name, predictions[rows])
                for name in names
            }

        return cls.of_rows(scored, many, resamples, seed)

    @classmethod
    def of_rows(
        cls, scored: Callable[[np.ndarray], dict[str, float]], many: int, resamples: int, seed: int
    ) -> "Bootstrap":
        """Resample rows as `of` does, and score each resample by a function.

        Args:
            scored: Function of row numbers, which may repeat, that returns values by name.
            many: Number of rows.
            resamples: Number of resamples.
            seed: Seed of the draws.
        """
        values = scored(np.arange(many))
        drawn = [scored(rows) for rows in resampled(many, resamples, seed)]
        # A smaller resample varies more; its spread is brought back to that of n rows.
        shrink = np.sqrt(min(many, MOST_ROWS) / many) if many else 1.0
        draws = {
            name: value + (np.array([draw[name] for draw in drawn]) - value) * shrink for name, value in values.items()
        }
        return cls(values, draws, many)

    def intervals(self) -> dict[str, Estimate]:
        """Return every metric with its interval; without one where most resamples don't define the metric."""
        return {name: estimate(value, self.draws[name]) for name, value in self.values.items()}

    def minus(self, other: "Bootstrap") -> dict[str, Estimate]:
        """Return the difference of every metric that both have, paired by row.

        Args:
            other: Other of other predictions of the same rows, with the same seed and number of resamples.
        """
        return {
            name: estimate(value - other.values[name], self.draws[name] - other.draws[name])
            for name, value in self.values.items()
            if name in other.values
        }


def resampled(rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the row numbers of each resample, int [min(rows, MOST_ROWS)]."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield rng.integers(0, rows, min(rows, MOST_ROWS))


def estimate(value: float, draws: np.ndarray) -> Estimate:
    """Return a value with the interval of its draws; without one where most draws are not defined.

    The percentiles of a biased metric, such as the calibration error, may leave its value out: the interval then
    reaches as far as the value.
    """
    defined = draws[np.isfinite(draws)]
    low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) > len(draws) / 2 else (np.nan, np.nan)
    # Neither end changes where it is NaN.
    return Estimate(float(value), min(float(low), float(value)), max(float(high), float(value)))
