"""Settings of the prediction pipeline."""

from typing import Annotated

from pydantic import Field

from kep.config.data import DataSettings
from kep.config.section import Count, Section, Switch


class PredictSettings(Section):
    """The prediction pipeline: what is predicted, and by how many tasks."""

    data: DataSettings
    """The source and how to read it; split and label are not looked at."""
    key: str | None = None
    """The column that names a row in the predictions; the row's number in the source when not given."""
    tasks: Annotated[int, Field(ge=1, le=256)] = 1
    """Tasks of the pipeline engine that share the source. What they are told is a parameter, of at most 128 KiB."""
    shard_rows: Count = 65_536
    """Rows of a file of predictions, at least; what is predicted again after a kill is at most one a task."""


class DriftSettings(Section):
    """The comparison of the rows that were predicted with the train rows."""

    threshold: Annotated[float, Field(gt=0)] = 0.2
    """Population stability index beyond which a column has drifted."""
    fail: Switch = False
    """Whether the run fails then."""
