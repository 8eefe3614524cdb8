"""Stored predictions of the prediction pipeline."""

from typing import ClassVar

from kep.core.json_model import JsonFile, JsonModel

SHARDS = "predictions"
"""Folder of the Parquet files in the output of `join`."""


class SourceSlice(JsonFile):
    """Part of the source that one task predicts: whole shards, one after the other."""

    FILE: ClassVar[str] = "slice.json"
    KIND: ClassVar[str] = "a slice of a source"
    REMEDY: ClassVar[str] = "run the prediction again"

    number: int
    """Number of the task, from 0."""
    tasks: int
    """How many there are."""
    model: str
    """Folder of the ensemble under the one that was given: of a version of the champion, or "." for itself."""
    version: str
    """Version of the ensemble, by its content."""
    source: str
    """Fingerprint of the source's content."""
    shards: list[int]
    """Numbers of the first shard and of the one after the last."""
    total: int
    """Shards of all tasks."""
    files: list[int] | None
    """Numbers of the first file of the source and of the one after the last; None to read all of them."""
    unit: int
    """Unit of these files in which the first shard begins."""
    skip: int
    """Chunks of that unit that lie before it."""
    row: int
    """Number of the first row in the source."""
    rows: int
    """Number of rows."""


class PredictingModel(JsonModel):
    """The model that predicted."""

    folder: str
    """Folder under the one that the pipeline was given, or its resource name in the Model Registry."""
    version: str
    """Version of the ensemble, by its content."""


class PredictedColumn(JsonModel):
    """A column of the predictions, with the name of its Arrow type."""

    name: str
    """Name of the column."""
    type: str
    """Arrow type of the column."""


class PredictedShard(JsonModel):
    """A Parquet file of predictions."""

    file: str
    """Path of the file, relative to the folder."""
    rows: int
    """Number of its rows."""


class PredictionSet(JsonFile):
    """Description of a set of predictions, beside the folder of its shards."""

    FILE: ClassVar[str] = "predictions.json"
    KIND: ClassVar[str] = "a set of predictions"
    REMEDY: ClassVar[str] = "predict again"

    model: PredictingModel
    """The model that predicted."""
    data: str
    """The source."""
    source: str
    """Fingerprint of the source's content."""
    key: str | None
    """Column that names the rows; None where their numbers do."""
    rows: int
    """Number of rows."""
    columns: list[PredictedColumn]
    """Columns of the files."""
    shards: list[PredictedShard]
    """Files, in the order of the rows."""
