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
    """Most seconds for the importance of columns, and as many for their partial dependence. Columns that are not
    reached are named in the report. 0 leaves both out."""
    learning_curve: Switch = False
    """Whether retrain also trains the heaviest member on 1/8, 1/4, 1/2 and all of the train rows, and scores each on
    the validation rows: would more rows help? It costs about as much as one more seed of best_epoch."""
    worst_rows: Annotated[int, Field(ge=0, le=50)] = 10
    """Test rows of the greatest loss that the report shows with their raw values. 0 shows none."""
