"""Weighted means with their errors, and the difference of two (Welch 1947)."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from kep.stats.bootstrap import Estimate


@dataclass(frozen=True)
class Mean:
    """Mean of some rows.

    Attributes:
        value: The mean, by weight.
        variance: Its squared standard error.
        rows: Number of rows that count.
    """

    value: float
    variance: float
    rows: int

    @classmethod
    def of(cls, values: np.ndarray, weights: np.ndarray | None = None) -> "Mean":
        """Return the mean of [n] by weights [n]; the error is that of a ratio of sums, by linearisation.

        With equal weights it is the usual s / sqrt(n).
        """
        if weights is None:
            weights = np.ones(len(values))
        values, weights = values[weights > 0], weights[weights > 0].astype(np.float64)
        rows, total = len(values), float(weights.sum())
        if rows < 2:
            return cls(float(values.mean()) if rows else float("nan"), float("nan"), rows)
        value = float(weights @ values / total)
        variance = float(np.sum(np.square(weights * (values - value)))) / total**2 * rows / (rows - 1)
        return cls(value, variance, rows)

    def interval(self) -> Estimate:
        """Return the mean with its 95 % interval by Student's t."""
        return _around(self.value, self.variance, self.rows - 1)


@dataclass(frozen=True)
class Compared:
    """Difference of two means of different rows, with the probability of one as large where there is none."""

    difference: Estimate
    p: float


def above(one: Mean, other: Mean) -> Compared:
    """Test whether one mean is above another, by Welch's t-test, one-sided.

    Losses have long tails to the right, for which this side of the test is conservative.
    """
    variance, difference = one.variance + other.variance, one.value - other.value
    if not variance > 0:
        return Compared(Estimate(difference, difference, difference), 1.0)
    freedom = variance**2 / sum(each.variance**2 / (each.rows - 1) for each in (one, other))
    return Compared(_around(difference, variance, freedom), float(stats.t.sf(difference / np.sqrt(variance), freedom)))


def _around(value: float, variance: float, freedom: float) -> Estimate:
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(variance)) if freedom > 0 else float("nan")
    return Estimate(value, value - half, value + half)
