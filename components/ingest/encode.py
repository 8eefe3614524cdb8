"""The later passes: batches of a source as row ids, labels, split keys and serialised rows."""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from kep.components.ingest.plan import ColumnPlan
from kep.config.data import Split
from kep.core.errors import UserError
from kep.data import columns
from kep.data.records import Parts
from kep.data.schema import USUAL, Column
from kep.data.sources.unit import Unit
from kep.data.values import canonical

_NUMBER = r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*"


@dataclass
class Keys:
    """Keys of each row of a unit, kept between the passes: some 20 bytes a row, 28 with a split key.

    Attributes:
        ids: uint64 [n], the rows' identities.
        same: uint64 [n], equal for equal features.
        labels: int32 [n] class indices, or float32 [n].
        split: Values that rows are split by, if any.
    """

    ids: np.ndarray
    same: np.ndarray
    labels: np.ndarray
    split: np.ndarray | None


def read_keys(unit: Unit, plan: ColumnPlan, split: Split) -> Keys:
    """Ids, labels and split keys of the rows of one unit."""
    parts = []
    for batch in unit.read(*unit.args):
        hashes = feature_hashes(batch, plan.features)
        labels = columns.label_indices(batch[plan.label.name], plan.label)
        if plan.label.classes is not None:
            labels = labels.astype(np.int32)
        parts.append((identities(batch, plan), columns.row_ids(hashes), labels, split_keys(batch, plan, split)))
    ids, same, labels, keys = zip(*parts, strict=True)
    split_by = None if plan.key is None else np.concatenate(keys)
    return Keys(np.concatenate(ids), np.concatenate(same), np.concatenate(labels), split_by)


def identities(batch: pa.RecordBatch, plan: ColumnPlan) -> np.ndarray:
    """uint64 [n]: the identity of each row.

    Raises:
        UserError: the column of `data.id` is empty in some rows.
    """
    images = {column.name: column for column in plan.features if column.kind == "image"}
    exact = plan.identity.by == "id"
    hashes = []
    for name in plan.identified_by:
        array = batch[name]
        reading = plan.readings.get(name, USUAL)
        if exact and (empty := int(columns.is_missing(array, reading).sum())):
            raise UserError(f'data.id: column "{name}" is empty in {empty:,} of {len(array):,} rows; fill it')
        if name in images:
            hashes.append(columns.image_hashes(columns.pixels(array, images[name])))
        else:
            hashes.append(columns.identity_hashes(array, name, reading, exact))
    return columns.row_ids(hashes)


def feature_hashes(batch: pa.RecordBatch, features: list[Column]) -> list[np.ndarray]:
    """uint64 [n] of each feature."""
    hashes = []
    given = {name: batch[name] for name in batch.schema.names}
    parts = Parts(given)
    for column in features:
        if column.of:
            hashes.append(columns.number_hashes(parts.of(column), column.name))
        elif column.kind == "image":
            hashes.append(columns.image_hashes(columns.pixels(given[column.name], column)))
        elif column.kind == "categorical":
            found = columns.texts(given[column.name], column.name, column.reading)
            hashes.append(columns.category_hashes(*found, column.name))
        else:
            hashes.append(columns.number_hashes(columns.floats(given[column.name], column), column.name))
    return hashes


def groups(batch: pa.RecordBatch, plan: ColumnPlan, split: Split) -> np.ndarray | None:
    """uint64 [n]: hashes of groups, or times in their order; None where rows are split by neither."""
    if split.by not in ("group", "time"):
        return None
    keys = split_keys(batch, plan, split)
    return keys if keys is None or split.by == "group" else ascending(keys)


def ascending(times: np.ndarray) -> np.ndarray:
    """uint64 [n] in the order of int64 or float64 [n]."""
    top = np.uint64(1 << 63)
    if times.dtype == np.int64:
        return times.view(np.uint64) ^ top
    bits = (times + 0.0).view(np.uint64)  # -0.0 + 0.0 is 0.0
    return np.where(bits & top, ~bits, bits | top)


def split_keys(batch: pa.RecordBatch, plan: ColumnPlan, split: Split) -> np.ndarray | None:
    """Hashes of groups, sortable times, or roles."""
    if plan.key is None:
        return None
    array, reading = columns.plain(batch[plan.key]), plan.readings.get(plan.key, USUAL)
    if split.by == "time":
        array = columns.present(array, reading) if columns.is_text(array.type) else array
        return _times(array, plan.key, plan.key_type)
    indices, values = columns.texts(array, plan.key, reading)
    if (indices < 0).any():
        raise UserError(f'data.split.column: column "{plan.key}" is empty in some rows; fill it')
    if split.by == "group":
        hashes: np.ndarray = columns.text_hashes(values)[indices]
        return hashes
    roles = {canonical(value): role for role, names in enumerate(_role_values(split)) for value in names}
    unknown = [value for value in values if value not in roles]
    if unknown:
        raise UserError(
            f'data.split.roles: column "{plan.key}" holds "{unknown[0]}", which means no role; the values '
            f"that do are {', '.join(roles)}"
        )
    numbers: np.ndarray = np.array([roles[value] for value in values], np.uint64)[indices]
    return numbers


def _role_values(split: Split) -> tuple[list[str], list[str], list[str]]:
    return split.roles.train, split.roles.validation, split.roles.test


def _times(array: pa.Array, name: str, kind: pa.DataType) -> np.ndarray:
    """Return float64 numbers, or int64 microseconds of dates."""
    if columns.is_number(kind):
        times = columns.numbers(array, name)
        missing = np.isnan(times)
    else:
        if columns.is_text(array.type):
            array = _parse_dates(array, name)
        if not pa.types.is_temporal(array.type):
            raise UserError(f'data.split.column: column "{name}" has type {array.type}; give dates or numbers')
        array = array.cast(pa.timestamp("us", getattr(array.type, "tz", None)), safe=False).cast(pa.int64())
        missing = np.asarray(array.is_null())
        times = np.asarray(array.fill_null(0))
    if missing.any():
        raise UserError(f'data.split.column: column "{name}" is empty in some rows; fill it')
    return times


def _parse_dates(array: pa.Array, name: str) -> pa.Array:
    for zone in (None, "UTC"):
        try:
            return array.cast(pa.timestamp("us", zone))
        except pa.ArrowInvalid:
            continue
    raise UserError(
        f'data.split.column: column "{name}" holds {_no_dates(array)}; give dates such as 2024-05-31 or '
        "2024-05-31 12:00:00"
    )


def _no_dates(texts: pa.Array) -> str:
    """Return why texts are not all dates, by the value that is to blame."""
    values: list[str] = texts.drop_null().unique().to_pylist()
    first = {_kind_of_time(value): value for value in reversed(values)}
    if not first.keys() & {"word", "number"}:
        return f'dates with a time zone and without ("{first["zoned"]}" and "{first["local"]}")'
    # One word among numbers is to blame, not the numbers.
    return f'"{first.get("word", first.get("number"))}", which is no date or number'


def _kind_of_time(text: str) -> str:
    for kind, zone in (("local", None), ("zoned", "UTC")):
        try:
            pa.scalar(text).cast(pa.timestamp("us", zone))
        except pa.ArrowInvalid:
            continue
        return kind
    return "number" if re.fullmatch(_NUMBER, text) else "word"


def count_categories(unit: Unit, roles: np.ndarray, categorical: list[Column]) -> dict[str, Counter[str]]:
    """Train rows by category, of each column, in one unit; `roles` are those of its rows."""
    counts: dict[str, Counter[str]] = {column.name: Counter() for column in categorical}
    start = 0
    for batch in unit.read(*unit.args):
        train = roles[start : start + batch.num_rows] == 0
        start += batch.num_rows
        for column in categorical:
            indices, values = columns.texts(batch[column.name], column.name, column.reading)
            seen = np.bincount(indices[train & (indices >= 0)], minlength=len(values))
            pairs = zip(values, seen.tolist(), strict=True)
            counts[column.name].update({value: count for value, count in pairs if count})
    return counts
