"""Settings of the data: its source, the meaning of its columns, and the split into roles."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from kep.config.section import Count, Fraction, Section
from kep.core.location import Location


class Files(Section):
    """One source per role, for data that came already split."""

    train: str
    """Source of the train rows."""
    validation: str
    """Source of the validation rows."""
    test: str
    """Source of the test rows."""


class RoleValues(Section):
    """Values of the split column that mean each role."""

    train: list[str] = ["train"]
    """Values of train rows."""
    validation: list[str] = ["validation"]
    """Values of validation rows."""
    test: list[str] = ["test"]
    """Values of test rows."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        roles: dict[str, str] = {}
        for role, values in self.model_dump().items():
            for value in values:
                if roles.setdefault(value, role) != role:
                    raise ValueError(f'"{value}" means {roles[value]} and {role}; give it to one of them')
        return self


class Split(Section):
    """Rule that gives each row its role: train, validation or test."""

    by: Literal["random", "group", "time", "column", "files"] = "random"
    """random (stratified for classes) | group (a group's rows stay together) | time (train before validation
    before test) | column (a column says the role) | files (one source per role)"""
    column: str | None = None
    """The column for by: group, time or column."""
    validation: Fraction = 0.2
    """Share of all rows (of groups for by: group)."""
    test: Fraction = 0.2
    """Share of all rows (of groups for by: group)."""
    roles: RoleValues = RoleValues()
    """For by: column, the values that mean each role."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.by in ("group", "time", "column") and not self.column:
            raise ValueError(f'by: {self.by} needs "column", the name of the column to split by')
        if self.by in ("random", "files") and self.column:
            raise ValueError(f'"column" has no meaning with by: {self.by}; remove it or set by: group, time or column')
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation ({self.validation}) and test ({self.test}) leave no rows to train on; "
                "their sum must be below 1"
            )
        return self


class DataSettings(Section):
    """The source, the meaning of its columns, and the split."""

    source: str | None = None
    """The data set. A file, folder or glob, local or gs://: .csv, .parquet, .npz, or .tfrecord (of tf.train.Example). A
    folder of image folders, one per class. A records folder with its manifest.json. A table or query of BigQuery:
    bq://PROJECT.DATASET.TABLE or bq://PROJECT SELECT …. A set of scikit-learn: sklearn:digits | breast_cancer |
    diabetes | iris | wine"""
    files: Files | None = None
    """For split by: files, one source per role instead of "source"."""
    format: Literal["auto", "csv", "parquet", "npz", "images", "tfrecord", "sklearn"] = "auto"
    """Format of the source; auto tells it by the ending of the file names."""
    label: str | None = None
    """Column to predict. Not needed for images (the folder's name), sklearn sets (target), .npz (y) and TFRecords with
    a feature named "label"."""
    task: Literal["auto", "binary", "multiclass", "regression"] = "auto"
    """auto: binary or multiclass for strings, booleans and integers of at most 20 values, else regression. binary and
    multiclass also make classes of a mix of numbers and words."""
    positive: bool | int | str | None = None
    """Positive class of a binary label, which f1, the AUCs and the ROC curve are about. By default the last one in
    order: true, 1, "yes" of no and yes, but also "ok" of fraud and ok."""
    weight: str | None = None
    """Column with the weight of each row, or "balanced": each class counts the same. Weights go into every loss and
    metric, and into the ensemble's weights. The column is not a feature."""
    id: str | None = None
    """Column that names a row from one run to the next, such as a customer number. It is not a feature. Without it a
    row is identified by all of its values: one more column in the source makes other rows."""
    features: list[str] | None = None
    """Columns to learn from; by default all but the label, the id, the weight and the split column."""
    exclude: list[str] = []
    """Columns to leave out."""
    types: dict[str, Literal["numeric", "categorical", "boolean", "date", "text"]] = {}
    """Types of columns, where the inferred one is wrong, such as {zip_code: categorical}. text (free text) is never
    inferred."""
    image_size: Annotated[tuple[Count, Count] | None, Field(strict=False)] = None
    """Height and width in pixels that images are resized to; needed only when they differ in size."""
    max_categories: Count = 100
    """The most frequent categories of a column that get a code of their own; the others share one."""
    delimiter: Annotated[str, Field(pattern=r"^[\x09\x20-\x7e]$")] = ","
    """Separator of the columns of a CSV file."""
    decimal: Literal["auto", ".", ","] = "auto"
    """The decimal mark of numbers in texts, where a column's values leave it open: 1,234 is 1234 or 1.234."""
    day_first: bool | None = None
    """Read 05/01/2024 as 5 January (true) or 1 May (false), where a column's values leave it open. Without this setting
    such a column is left out."""
    missing: list[str] | dict[str, list[str]] = []
    """Texts that mean a missing value, such as ["?", "-"]. The empty text, #N/A, and NA, N/A, NaN and null in several
    spellings always do. By column they replace all of these but the empty text: {grade: [], age: ["99"]} keeps a grade
    NA."""
    extract_to: str | None = None
    """For bq://: a gs:// folder for the Parquet files that BigQuery writes, in the location of the data. By default
    BUCKET/extracts of `kep submit`."""
    split: Split = Split()
    shard_mb: Annotated[float, Field(gt=0, le=10_000)] = 100
    """Target size of one TFRecord shard in megabytes."""
    workers: Literal["auto"] | Count = "auto"
    """Number of processes that read and write; auto is one per core. The result does not depend on it."""
    ingest_tasks: Count = 1
    """Number of pipeline tasks that share the files of a CSV, Parquet or image source too big for one machine. The
    result does not depend on it."""

    @property
    def locations(self) -> dict[str, Location]:
        """The one source, or one per role, by its key in the run file."""
        if self.files is None:
            return {"data.source": Location(self.source or "")}
        return {f"data.files.{role}": Location(text) for role, text in self.files.model_dump().items()}

    @property
    def buckets(self) -> list[str]:
        """Names of the buckets of Cloud Storage that the data are in."""
        return sorted({place.bucket for place in self.locations.values() if place.is_cloud})

    @property
    def location(self) -> Location:
        """The one source; without meaning for data that come split."""
        return Location(self.source or "")

    @field_validator("extract_to")
    @classmethod
    def _in_a_bucket(cls, folder: str | None) -> str | None:
        if folder is not None and not (Location(folder).is_cloud and Location(folder).bucket):
            raise ValueError(f'"{folder}" is not a folder on Cloud Storage; give gs://BUCKET/FOLDER')
        return folder

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.split.by == "files") != (self.files is not None):
            raise ValueError('"files" and split.by: files belong together; give both or neither')
        if (self.source is None) == (self.files is None):
            raise ValueError('give exactly one of "source" (one data set) and "files" (one per role)')
        if self.label is not None and self.label in (self.features or []):
            raise ValueError(f'"features" holds the label "{self.label}"; a model must not see what it predicts')
        if self.id is not None and self.id in (self.label, *(self.features or [])):
            what = "the label" if self.id == self.label else 'in "features"'
            raise ValueError(f'"id" is "{self.id}", which is {what}; a row\'s name teaches nothing')
        if self.weight is not None and self.weight in (self.label, self.id, *(self.features or [])):
            what = {self.label: "the label", self.id: "the id"}.get(self.weight, 'in "features"')
            raise ValueError(f'"weight" is "{self.weight}", which is {what}; name a column that says no more')
        if self.label in self.types:
            raise ValueError(
                f'"types" has an entry for the label "{self.label}", whose kind is "task"; set that instead'
            )
        twice = [name for name in self.features or [] if (self.features or []).count(name) > 1]
        if twice:
            raise ValueError(f'"features" names "{twice[0]}" more than once')
        both = sorted(set(self.features or []) & set(self.exclude))
        if both:
            raise ValueError(f'"{both[0]}" is in both "features" and "exclude"')
        return self
