"""Why the ensemble predicts as it does: which columns it uses, where it is worse, and which rows it gets most wrong."""

from pydantic import Field

from kep.artifacts.interval import Interval
from kep.core.json_model import Figure, JsonModel, is_none


class ColumnImportance(JsonModel):
    """What the ensemble loses when one column of the source is permuted among the test rows."""

    column: str
    kind: str
    """Kind of the column, such as numeric, categorical, date, text or image."""
    features: int
    """Numbers that the column became, which are permuted together; 1 for an image."""
    loss: Interval
    """Increase of the loss, paired by row; the interval covers rows and repeats."""
    metric: Interval | None = Field(default=None, exclude_if=is_none)
    """How much worse `Importance.metric` gets; above 0 the column helps, whichever way is better."""


class Alike(JsonModel):
    """Two columns that hold nearly the same, so that neither shows its whole importance."""

    columns: tuple[str, str]
    association: float
    """Absolute rank correlation of two numbers, or Cramér's V of two categories."""


class Importance(JsonModel):
    """Permutation importance of columns of the source."""

    rows: int
    """Test rows that it was computed on."""
    of: int
    """All test rows."""
    repeats: int
    metric: str | None = Field(default=None, exclude_if=is_none)
    """Metric beside the loss; None where the run is judged by the loss."""
    columns: list[ColumnImportance]
    """The most important first."""
    skipped: list[str] = Field(default_factory=list)
    """Columns that were not reached in the time allowed."""
    alike: list[Alike] = Field(default_factory=list)


class WorseSlice(JsonModel):
    """Rows of one value, or one range, of a column whose mean loss is significantly above that of all other rows."""

    column: str
    value: str
    rows: int
    loss: Interval
    rest: Figure
    """Mean loss of all other rows."""
    difference: Interval
    """Mean loss minus `rest`."""
    p: float
    """Adjusted for the number of slices (Benjamini and Hochberg 1995)."""


class WorseSlices(JsonModel):
    """Slices that were found by themselves among all feature columns."""

    looked: int
    """Slices that were tested."""
    level: float
    """Largest expected share of slices here that are not worse; without any worse slice, the largest chance of one."""
    slices: list[WorseSlice]
    """The largest difference first."""


class Explanation(JsonModel):
    """Everything that says why."""

    importance: Importance | None = None
    """None where `evaluate.why_seconds` is 0."""
    worse: WorseSlices | None = None
