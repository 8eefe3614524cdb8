"""A value with its interval, in artifacts."""

from kep.core.json_model import Figure, JsonModel
from kep.stats.bootstrap import Estimate


class Interval(JsonModel):
    """A value with its 95 % interval; None where the rows don't define it."""

    value: Figure
    """The value."""
    low: Figure
    """Lower end of the interval."""
    high: Figure
    """Upper end of the interval."""

    @classmethod
    def of(cls, estimate: Estimate) -> "Interval":
        """Return the interval of an estimate."""
        return cls(value=estimate.value, low=estimate.low, high=estimate.high)
