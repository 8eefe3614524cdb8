"""Result of the first pass: the features, their types, and the label."""

import logging
from dataclasses import dataclass

import pyarrow as pa

from kep.components.ingest.features import features_of
from kep.components.ingest.forms import missing_reading
from kep.components.ingest.label import label_of
from kep.components.ingest.scan import Scan
from kep.components.ingest.weighting import check_weight, weight_column
from kep.config.data import DataSettings
from kep.core.errors import Mistakes, UserError, nearest
from kep.data.schema import GROUP, ID, SAME, WEIGHT, Column, Identity, Label, Reading, inputs
from kep.data.sources.unit import Source
from kep.data.values import NUMBER_FORMS

log = logging.getLogger("kep.ingest")

_INDEX = "it is the index of a data frame; list the features in data.features, it too, if it is to be one"


@dataclass(frozen=True)
class ColumnPlan:
    """The features and the label."""

    features: list[Column]
    label: Label
    label_counts: list[int]
    """Rows per class; empty for regression."""
    key: str | None
    """The column that the split goes by."""
    key_type: pa.DataType | None
    weight: str | None
    """The column that says how much a row counts."""
    ignored: dict[str, str]
    """Why each column is left out that is neither feature nor label."""
    identity: Identity
    """Source of a row's id."""
    identified_by: list[str]
    """The columns of `identity`."""
    readings: dict[str, Reading]
    """How the texts of each column of the source are read."""

    @property
    def categorical(self) -> list[Column]:
        """The categorical features, without vocabularies."""
        return [column for column in self.features if column.kind == "categorical"]


def columns_to_read(source: Source, settings: DataSettings) -> tuple[list[str], str]:
    """The columns that the settings let in, and the label's name.

    Raises:
        UserError: the settings name a column that is not there, or no label.
    """
    label = settings.label or source.label
    if label is None:
        raise UserError(
            f"data.label: no label is given; name the column to predict, one of {', '.join(source.names[:20])}"
        )
    named = {
        "data.label": [label],
        "data.features": settings.features,
        "data.exclude": settings.exclude,
        "data.id": [settings.id],
        "data.types": settings.types,
        "data.missing": settings.missing if isinstance(settings.missing, dict) else [],
        "data.split.column": [settings.split.column],
        "data.weight": [weight_column(settings)],
    }
    mistakes = Mistakes()
    for key, names in named.items():
        for name in dict.fromkeys(names or []):
            if name is not None and name not in source.names:
                hint = nearest(name, source.names) or f"; the columns are {', '.join(source.names[:20])}"
                with mistakes.noted():
                    raise UserError(f'{key}: column "{name}" not found in {source.description}{hint}')
    mistakes.tell()
    if label in settings.exclude:
        raise UserError(f'data.exclude: "{label}" is the label; remove it from data.exclude or name another label')
    features = settings.features
    if features is None:
        left_out = {label, settings.id, settings.split.column, settings.weight, *settings.exclude, *source.all_index}
        features = [name for name in source.names if name not in left_out]
    return features, label


def make_plan(scan: Scan, source: Source, settings: DataSettings) -> ColumnPlan:
    """Derive the features and the label from the scan.

    Raises:
        UserError: there are no rows, no feature is left, or columns can't be used: one sentence each, one per line.
    """
    if scan.rows == 0:
        raise UserError(f"data.source: {source.description} has no rows; give at least a few per class")
    names, label_name = columns_to_read(source, settings)
    weight = weight_column(settings)
    features, ignored, mistakes = list[Column](), dict[str, str](), Mistakes()
    with mistakes.noted():
        label, counts = label_of(label_name, scan, settings)
        check_weight(settings, source, label, None if weight is None else scan.columns[weight])
    for name in names:
        shape = (source.images or {}).get(name)
        if shape:
            features.append(Column(name=name, kind="image", shape=shape))
            continue
        found: list[Column] | str = []
        with mistakes.noted():
            found = features_of(name, scan.columns[name], settings, source)
        if isinstance(found, str):
            log.warning('left out column "%s": %s', name, found)
            ignored[name] = found
        else:
            features += found
    mistakes.tell()
    if not features:
        raise UserError(
            "data.features: no feature column is left (constant, empty, identifier and index columns teach "
            "nothing); "
            "give at least one column that varies"
        )
    taken = (ID, SAME, GROUP, WEIGHT)
    reserved = [name for name in (label_name, *(column.name for column in features)) if name in taken]
    if reserved:
        raise UserError(f'data.source: the column name "{reserved[0]}" is taken by the records; rename the column')
    key = settings.split.column
    key_type = None
    if key is not None:
        seen = scan.columns[key]
        key_type = pa.float64() if seen.numbers and not seen.words else seen.type
    for name in source.names:
        if name not in names and name != label_name:
            ignored[name] = _not_asked_for(name, source, settings)
            if ignored[name] == _INDEX:
                log.warning('left out column "%s": %s', name, _INDEX)
    named = [settings.id] if settings.id else sorted(set(source.names) - source.unreadable)
    readings = {name: missing_reading(settings, name) for name in source.names}
    readings |= {column.name: column.reading for column in inputs(features)} | {label_name: label.reading}
    identity = Identity(
        by="id" if settings.id else "row",
        columns=[name + _more(name, source, readings) for name in named],
    )
    left = {name: ignored[name] for name in source.names if name in ignored}
    return ColumnPlan(features, label, counts, key, key_type, weight, left, identity, named, readings)


def _more(name: str, source: Source, readings: dict[str, Reading]) -> str:
    """Return what besides its name says which values a column has."""
    shape, reading = (source.images or {}).get(name), readings[name]
    if shape:
        return f" {list(shape)}"
    return f" {reading}" if reading.form in NUMBER_FORMS else ""


def _not_asked_for(name: str, source: Source, settings: DataSettings) -> str:
    if name in settings.exclude:
        return "data.exclude names it"
    if name == settings.id:
        return "data.id names it"
    if name == settings.split.column:
        return "the split goes by it"
    if name == settings.weight:
        return "data.weight names it"
    return _INDEX if settings.features is None and name in source.all_index else "data.features does not name it"
