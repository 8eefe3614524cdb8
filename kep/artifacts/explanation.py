"""Why the ensemble predicts as it does: which columns it uses, where it is worse, and which rows it gets most wrong."""

from pydantic import Field

from kep.artifacts.interval import Interval
from kep.core.json_model import Figure, JsonModel, is_none


class ColumnImportance(JsonModel):
    """Loss of the ensemble when one column of the source is permuted among the test rows."""

    column: str
    """Name of the column."""
    kind: str
    """Kind of the column, such as numeric, categorical, date, text or image."""
    features: int
    """Numbers that the column became, which are permuted together; 1 for an image."""
    loss: Interval
    """Increase of the loss, paired by row; the interval covers rows and repeats."""
    metric: Interval | None = Field(default=None, exclude_if=is_none)
    """Worsening of `Importance.metric`; above 0 the column helps, whichever direction is better."""


class Alike(JsonModel):
    """Two columns that hold nearly the same, so that neither shows its whole importance."""

    columns: tuple[str, str]
    """The two columns."""
    association: float
    """Absolute rank correlation of two numbers, or Cramér's V of two categories."""


class Importance(JsonModel):
    """Permutation importance of columns of the source."""

    rows: int
    """Test rows that it was computed on."""
    of: int
    """All test rows."""
    repeats: int
    """Number of permutations of each column."""
    metric: str | None = Field(default=None, exclude_if=is_none)
    """Metric beside the loss; None where the run is judged by the loss."""
    columns: list[ColumnImportance]
    """The most important first."""
    skipped: list[str] = Field(default_factory=list)
    """Columns that were not reached in the time allowed."""
    alike: list[Alike] = Field(default_factory=list)
    """Pairs of columns that are alike."""


class WorseSlice(JsonModel):
    """Rows of one value, or one range, of a column whose mean loss is significantly above that of all other rows."""

    column: str
    """Name of the column."""
    value: str
    """Value, or range of values."""
    rows: int
    """Number of test rows."""
    loss: Interval
    """Mean loss of these rows."""
    rest: Figure
    """Mean loss of all other rows."""
    difference: Interval
    """Mean loss minus `rest`."""
    p: float
    """P-value, adjusted for the number of slices (Benjamini and Hochberg 1995)."""


class WorseSlices(JsonModel):
    """Slices that were found by themselves among all feature columns."""

    looked: int
    """Slices that were tested."""
    level: float
    """Largest expected share of slices here that are not worse; without any worse slice, the largest chance of one."""
    slices: list[WorseSlice]
    """The largest difference first."""


class WorstRow(JsonModel):
    """A test row that the ensemble gets very wrong."""

    id: str
    """The row's id as in `predictions.npz`, a number of 64 bits."""
    label: str
    """The row's label."""
    prediction: str
    """Most probable class, or the predicted number in label units."""
    probabilities: list[tuple[str, float]] = Field(default_factory=list)
    """Classes with their probability: the most probable first, and the label's; empty for a regression."""
    loss: float
    """The row's loss."""
    weight: float | None = Field(default=None, exclude_if=is_none)
    """Weight of the row; None where all rows count the same."""
    values: list[tuple[str, str | None]]
    """Columns with the raw value, the most important first; None where it is missing."""
    image: str | None = Field(default=None, exclude_if=is_none)
    """Small picture as a `data:` URI."""


class WorstRows(JsonModel):
    """The rows that the ensemble gets most wrong."""

    loss: list[WorstRow]
    """Rows with the greatest loss, the greatest first."""
    confident: list[WorstRow] = Field(default_factory=list)
    """Those with the greatest probability of a wrong class; empty with two classes, where it is the same order, and
    for a regression."""
    columns: int
    """Columns that the source has; rows show some of them where there are many."""


class DependencePoint(JsonModel):
    """Mean prediction where all rows have one value of a column."""

    value: str
    """Value as the source has it; `missing` where there is none."""
    place: float | None = Field(default=None, exclude_if=is_none)
    """Value as a number, of a date the days since 1970-01-01; None for a category or a missing value."""
    predictions: list[float]
    """Mean prediction of each of `Dependence.outputs`."""
    share: float
    """Share of the rows with this value, or nearest to this number."""


class ColumnDependence(JsonModel):
    """Partial dependence on one column."""

    column: str
    """Name of the column."""
    kind: str
    """Kind of the column."""
    points: list[DependencePoint]
    """Mean predictions, by value of the column."""


class Dependence(JsonModel):
    """Partial dependence of the predictions on the most important columns (Friedman 2001)."""

    rows: int
    """Test rows that the means are over."""
    outputs: list[str]
    """The positive class of two, the most frequent classes of several, or the label of a regression."""
    columns: list[ColumnDependence]
    """Dependence on each column, the most important first."""
    skipped: list[str] = Field(default_factory=list)
    """Columns that were not reached in the time allowed."""


class HyperparameterImportance(JsonModel):
    """How much the score of a family's trials depends on each hyperparameter."""

    trials: int
    """Trials with a score."""
    explained: Figure = None
    """Share of the variance of the ranks of the scores that a forest predicts for trials that it did not learn from."""
    shares: list[tuple[str, float]] = Field(default_factory=list)
    """Hyperparameters with their share in what a forest explains, the greatest first; empty where nothing can be
    told."""
    problem: str | None = Field(default=None, exclude_if=is_none)
    """Reason why the importance is unknown."""


class Explanation(JsonModel):
    """Everything that says why."""

    importance: Importance | None = None
    """Importance of columns; None where `evaluate.why_seconds` is 0."""
    worse: WorseSlices | None = None
    """Slices that are significantly worse; None where they were not looked for."""
    worst: WorstRows | None = None
    """Rows that the ensemble gets most wrong; None where `evaluate.worst_rows` is 0."""
    dependence: Dependence | None = None
    """Partial dependence; None where `evaluate.why_seconds` is 0."""
    hyperparameters: dict[str, HyperparameterImportance] = Field(default_factory=dict)
    """Importance of the hyperparameters, by family."""
