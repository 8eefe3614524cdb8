"""Settings of the evaluation."""

from typing import Annotated

from pydantic import Field

from kep.config.section import Section, Switch


class EvaluateSettings(Section):
    """The one look at the test rows."""

    bootstrap: Annotated[int, Field(ge=100)] = 1000
    """Resamples behind each 95 % interval."""
    slices: list[str] = []
    """Feature columns to report the metrics by, value by value (numeric columns by quartile)."""
    why_seconds: Annotated[float, Field(ge=0)] = 20.0
    """Time limit in seconds for the importance of columns, and as much again for their partial dependence. The report
    names the columns that were not reached. 0 leaves both out."""
    learning_curve: Switch = False
    """Train the heaviest member also on 1/8, 1/4, 1/2 and all of the train rows, and score each on the validation rows:
    would more rows help? It costs about as much as one more seed of best_epoch."""
    worst_rows: Annotated[int, Field(ge=0, le=50)] = 10
    """Number of test rows with the greatest loss that the report shows with their raw values. 0 shows none."""
