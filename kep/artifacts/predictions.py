"""Stored predictions of the prediction pipeline."""

from typing import ClassVar

from kep.core.json_model import JsonFile, JsonModel

SHARDS = "predictions"
"""Folder of the Parquet files in the output of `join`."""
OBSERVED = "observed.json"
"""File beside it with counts of the rows that were predicted."""


class PredictingModel(JsonModel):
    """The model that predicted."""

    folder: str
    """Folder under the one that the pipeline was given, or its resource name in the Model Registry."""
    version: str
    """Version of the ensemble, by its content."""


class PredictedColumn(JsonModel):
    """A column of the predictions, with the name of its Arrow type."""

    name: str
    type: str


class PredictedShard(JsonModel):
    """A Parquet file of predictions."""

    file: str
    rows: int


class PredictionSet(JsonFile):
    """Description of a set of predictions, beside the folder of its shards."""

    FILE: ClassVar[str] = "predictions.json"
    KIND: ClassVar[str] = "a set of predictions"
    REMEDY: ClassVar[str] = "predict again"

    model: PredictingModel
    data: str
    """The source."""
    source: str
    """Fingerprint of the source's content."""
    key: str | None
    """Column that names the rows; None where their numbers do."""
    rows: int
    columns: list[PredictedColumn]
    shards: list[PredictedShard]
    """In the order of the rows."""
