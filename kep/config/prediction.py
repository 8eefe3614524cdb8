"""Settings of the prediction pipeline."""

from typing import Annotated

from pydantic import Field

from kep.config.data import DataSettings
from kep.config.section import Count, Section, Switch


class PredictSettings(Section):
    """The prediction pipeline: its source, and its number of tasks."""

    data: DataSettings
    """The source and how to read it; split and label are ignored."""
    key: str | None = None
    """Column that names a row in the predictions; by default its number in the source."""
    tasks: Annotated[int, Field(ge=1, le=256)] = 1
    """Number of pipeline tasks that share the source. Their parameter is at most 128 KiB."""
    shard_rows: Count = 65_536
    """Minimum rows per file of predictions; after a kill each task predicts at most one file again."""


class DriftSettings(Section):
    """The comparison of the rows that were predicted with the train rows."""

    threshold: Annotated[float, Field(gt=0)] = 0.2
    """Population stability index above which a column has drifted."""
    fail: Switch = False
    """Fail the run on drift."""
