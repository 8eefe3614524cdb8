"""The first pass: what each column holds, and what follows from it for features and label."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.ingest.unit import Source, Unit
from components.shared import columns
from components.shared.errors import UserError, nearest
from components.shared.schema import ID, Column, Label
from components.shared.settings import DataSettings

log = logging.getLogger("kep.ingest")

_SKETCH = 4096
_MOST_CLASSES = 10_000
_INTEGER_CLASSES = 20
_IDENTIFIER_SHARE, _IDENTIFIER_ROWS = 0.9, 20
_NUMERAL = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$|^\s*[+-]?(?i:inf(inity)?)\s*$"


@dataclass
class ColumnScan:
    """What a column holds; merged over batches in the order of the rows.

    Attributes:
        numbers, words, missing: how many values are of each kind.
        boolean: every word is true or false.
        whole: every number is an integer.
        low, high: of the numbers.
        number_at, word_at, infinite_at: the first of each, as (row from 1, value).
        sketch: the smallest 4096 distinct hashes of the words.
        type: the Arrow type where the source is typed.
    """

    type: pa.DataType
    numbers: int = 0
    words: int = 0
    missing: int = 0
    boolean: bool = True
    whole: bool = True
    low: float = np.inf
    high: float = -np.inf
    number_at: tuple[int, str] | None = None
    word_at: tuple[int, str] | None = None
    infinite_at: tuple[int, str] | None = None
    sketch: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))

    @property
    def rows(self) -> int:
        """Values of all kinds."""
        return self.numbers + self.words + self.missing

    def distinct_words(self) -> float:
        """Distinct words, estimated above 4096 from the k smallest hashes (Bar-Yossef et al. 2002)."""
        if len(self.sketch) < _SKETCH:
            return len(self.sketch)
        return (_SKETCH - 1) / (float(self.sketch[-1]) / 2.0**64)

    def constant(self) -> bool:
        """Whether every row has the same value."""
        if self.missing or (self.numbers and self.words):
            return self.missing == self.rows
        return self.low == self.high if self.numbers else len(self.sketch) == 1

    def merge(self, later: "ColumnScan", start: int) -> None:
        """Adds the scan of rows that begin after `start` rows."""
        for name in ("number_at", "word_at", "infinite_at"):
            found = getattr(later, name)
            if getattr(self, name) is None and found is not None:
                setattr(self, name, (found[0] + start, found[1]))
        self.numbers += later.numbers
        self.words += later.words
        self.missing += later.missing
        self.boolean &= later.boolean
        self.whole &= later.whole
        self.low, self.high = min(self.low, later.low), max(self.high, later.high)
        self.sketch = np.unique(np.concatenate([self.sketch, later.sketch]))[:_SKETCH]


def _scan_numbers(scan: ColumnScan, values: np.ndarray) -> None:
    """Adds float64 [n], NaN where the value is missing or a word."""
    present = np.flatnonzero(~np.isnan(values))
    if not len(present):
        return
    seen = values[present]
    scan.numbers += len(present)
    scan.low, scan.high = float(seen.min()), float(seen.max())
    scan.whole = bool((seen == np.trunc(seen)).all())
    scan.number_at = (int(present[0]) + 1, f"{seen[0]:g}")
    beyond = np.flatnonzero(np.abs(seen) > np.finfo(np.float32).max)
    if len(beyond):
        scan.infinite_at = (int(present[beyond[0]]) + 1, f"{seen[beyond[0]]:g}")


def _scan_words(scan: ColumnScan, indices: np.ndarray, values: list[str]) -> None:
    """Adds texts: indices [n] into the distinct values, -1 where missing or a number."""
    present = np.flatnonzero(indices >= 0)
    if not len(present):
        return
    scan.words += len(present)
    scan.word_at = (int(present[0]) + 1, values[indices[present[0]]])
    scan.boolean = all(value.lower() in ("true", "false") for value in values)
    scan.sketch = np.unique(columns.text_hashes(values))[:_SKETCH]


def scan_array(array: pa.Array, typed: bool, kind: str | None) -> ColumnScan:
    """The scan of one column of one batch; `kind` is the type that the settings give it."""
    scan = ColumnScan(array.type)
    array = columns.plain(array)
    rows = len(array)
    if columns.is_number(array.type) and kind != "categorical":
        _scan_numbers(scan, columns.numbers(array, ""))
    elif columns.is_text(array.type) and not typed and kind != "categorical":
        _scan_untyped(scan, array)
    elif columns.is_text(array.type) or columns.is_number(array.type) or pa.types.is_boolean(array.type):
        _scan_words(scan, *columns.texts(array, ""))
    else:
        scan.words = rows - array.null_count
    scan.missing = rows - scan.numbers - scan.words
    return scan


def _scan_untyped(scan: ColumnScan, array: pa.Array) -> None:
    try:
        _scan_numbers(scan, array.cast(pa.float64()).to_numpy(zero_copy_only=False))
        return
    except pa.ArrowInvalid:
        indices, values = columns.texts(array, "")
    numeral = np.asarray(pc.match_substring_regex(pa.array(values, pa.string()), _NUMERAL), bool)
    parsed = np.full(len(values) + 1, np.nan)
    for place in np.flatnonzero(numeral):
        parsed[place] = float(values[place])
    _scan_numbers(scan, parsed[indices])
    words = [value for value, is_number in zip(values, numeral, strict=True) if not is_number]
    place = np.full(len(values) + 1, -1)
    place[:-1][~numeral] = np.arange(len(words))
    _scan_words(scan, place[indices], words)


@dataclass
class Scan:
    """What a whole source holds."""

    rows: int
    unit_rows: list[int]
    columns: dict[str, ColumnScan]
    label_counts: Counter
    """Rows by label text; cut off beyond 10,000 distinct ones, where only a regression is possible."""


def scan_unit(unit: Unit, names: list[str], label: str, typed: bool, types: dict[str, str]) -> Scan:
    """The scan of one unit."""
    total = Scan(0, [], {}, Counter())
    for batch in unit.read(*unit.args):
        for name in names:
            scan = scan_array(batch[name], typed, types.get(name))
            if name in total.columns:
                total.columns[name].merge(scan, total.rows)
            else:
                total.columns[name] = scan
        if len(total.label_counts) <= _MOST_CLASSES:
            indices, values = columns.texts(batch[label], label)
            counts = np.bincount(indices[indices >= 0], minlength=len(values))
            total.label_counts.update(dict(zip(values, counts.tolist(), strict=True)))
        total.rows += batch.num_rows
    return total


def merge_scans(scans: Iterable[Scan]) -> Scan:
    """The scans of all units, in order."""
    total = Scan(0, [], {}, Counter())
    for scan in scans:
        for name, column in scan.columns.items():
            if name in total.columns:
                total.columns[name].merge(column, total.rows)
            else:
                total.columns[name] = column
        if len(total.label_counts) <= _MOST_CLASSES:
            total.label_counts.update(scan.label_counts)
        total.unit_rows.append(scan.rows)
        total.rows += scan.rows
    return total


@dataclass(frozen=True)
class Plan:
    """Which columns are features, and what the label is."""

    features: list[Column]
    label: Label
    label_counts: list[int]
    """Rows per class; empty for regression."""
    key: str | None
    """The column that the split goes by."""
    key_type: pa.DataType | None
    ignored: list[str]


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
    wanted = {
        "data.label": [label],
        "data.features": settings.features or [],
        "data.exclude": settings.exclude,
    }
    wanted |= {"data.types": list(settings.types), "data.split.column": [settings.split.column or label]}
    for key, names in wanted.items():
        for name in names:
            if name not in source.names:
                raise UserError(
                    f'{key}: column "{name}" not found in {source.description}{nearest(name, source.names)}; '
                    f"the columns are {', '.join(source.names[:20])}"
                )
    if label in settings.exclude:
        raise UserError(f'data.exclude: "{label}" is the label; remove it from data.exclude or name another label')
    features = settings.features
    if features is None:
        left_out = {label, settings.split.column, *settings.exclude}
        features = [name for name in source.names if name not in left_out]
    return features, label


def make_plan(scan: Scan, source: Source, settings: DataSettings) -> Plan:
    """What the scan means for features and label.

    Raises:
        UserError: there are no rows, no feature is left, or the label can't be predicted.
    """
    if scan.rows == 0:
        raise UserError(f"data.source: {source.description} has no rows; give at least a few per class")
    names, label_name = columns_to_read(source, settings)
    label, counts = _label(label_name, scan, settings)
    features = []
    for name in names:
        shape = (source.images or {}).get(name)
        if shape:
            features.append(Column(name=name, kind="image", shape=shape))
            continue
        kind = _kind(name, scan.columns[name], settings.types.get(name), source)
        if kind is not None:
            features.append(Column(name=name, kind=kind))
    if not features:
        raise UserError(
            "data.features: no feature column is left (constant, empty and identifier columns teach "
            "nothing); "
            "give at least one column that varies"
        )
    reserved = [name for name in (label_name, *(column.name for column in features)) if name == ID]
    if reserved:
        raise UserError(f'data.source: the column name "{ID}" is taken by the records; rename the column')
    used = {column.name for column in features} | {label_name}
    key = settings.split.column
    key_type = None
    if key is not None:
        found = scan.columns[key]
        key_type = pa.float64() if found.numbers and not found.words else found.type
    return Plan(features, label, counts, key, key_type, [name for name in source.names if name not in used])


def _kind(name: str, scan: ColumnScan, asked: str | None, source: Source) -> str | None:
    """The type of a feature column, or None where it is left out."""
    if scan.missing == scan.rows or scan.constant():
        log.warning(
            'left out column "%s": %s',
            name,
            "empty" if scan.missing == scan.rows else "the same in every row",
        )
        return None
    if pa.types.is_temporal(scan.type):
        log.warning('left out column "%s": dates are no features as they are', name)
        return None
    if not (columns.is_text(scan.type) or columns.is_number(scan.type) or pa.types.is_boolean(scan.type)):
        raise UserError(f'data.exclude: column "{name}" has type {scan.type}, which is no feature; exclude it')
    if scan.infinite_at and asked != "categorical":
        row, value = scan.infinite_at
        raise UserError(
            f'data.source: column "{name}" is {value} in row {row}, beyond 32-bit floats; rescale it or leave it empty'
        )
    if asked:
        _check_asked(name, scan, asked)
        return asked
    if scan.numbers and scan.words:
        (row, word), (other, number) = scan.word_at, scan.number_at
        raise UserError(
            f'data.types: column "{name}" of {source.description} mixes numbers and words ({number} in row '
            f"{other}, "
            f'"{word}" in row {row}); correct them, or set data.types: {{{name}: categorical}}'
        )
    if scan.numbers:
        return "numeric"
    if scan.boolean:
        return "boolean"
    if scan.words >= _IDENTIFIER_ROWS and scan.distinct_words() > _IDENTIFIER_SHARE * scan.words:
        log.warning('left out column "%s": nearly every value occurs once, so it cannot generalise', name)
        return None
    return "categorical"


def _check_asked(name: str, scan: ColumnScan, asked: str) -> None:
    if asked == "numeric" and scan.words and not scan.boolean:
        row, word = scan.word_at
        raise UserError(
            f'data.types: column "{name}" can\'t be numeric ("{word}" in row {row}); correct it or remove the type'
        )
    if asked == "boolean":
        odd = scan.word_at if scan.words and not scan.boolean else None
        if scan.numbers and not (scan.whole and scan.low >= 0 and scan.high <= 1):
            odd = odd or scan.number_at
        if odd:
            raise UserError(
                f'data.types: column "{name}" can\'t be boolean ("{odd[1]}" in row {odd[0]}); '
                "give true and false, or 0 and 1"
            )


def _label(name: str, scan: Scan, settings: DataSettings) -> tuple[Label, list[int]]:
    """The label's task and classes, and the rows per class."""
    found = scan.columns[name]
    if found.missing == found.rows:
        raise UserError(f'data.label: column "{name}" is empty in every row; name another column or fill it')
    if found.missing:
        raise UserError(
            f'data.label: column "{name}" is empty in {found.missing:,} of {found.rows:,} rows; remove '
            "them or fill them"
        )
    if found.numbers and found.words:
        (row, word), (other, number) = found.word_at, found.number_at
        raise UserError(
            f'data.label: column "{name}" mixes numbers and words ({number} in row {other}, "{word}" in '
            f"row {row}); "
            f"correct them, or set data.types: {{{name}: categorical}}"
        )
    if found.infinite_at:
        row, value = found.infinite_at
        raise UserError(f'data.label: column "{name}" is {value} in row {row}; labels must be finite 32-bit numbers')
    return _label_of(name, found, scan, settings.task)


def _label_of(name: str, found: ColumnScan, scan: Scan, task: str) -> tuple[Label, list[int]]:
    counts: Counter = Counter()
    if found.numbers:
        for text, count in scan.label_counts.items():
            counts[float(text)] += count
        few = found.whole and len(counts) <= _INTEGER_CLASSES
        if task == "regression" or (task == "auto" and not few):
            return _regression(name, found), []
        if not found.whole:
            raise UserError(
                f'data.task: column "{name}" holds fractions ({found.low:g} to {found.high:g}), which are '
                "no classes; "
                "set data.task: regression"
            )
        by_class = {int(value): count for value, count in counts.items()}
    elif found.boolean:
        for text, count in scan.label_counts.items():
            counts[text.lower() == "true"] += count
        by_class = dict(counts)
    else:
        by_class = dict(scan.label_counts)
    if task == "regression":
        raise UserError(
            f'data.task: column "{name}" holds words ("{next(iter(scan.label_counts))}"), which regression '
            "cannot "
            "predict; remove data.task or name a column of numbers"
        )
    if len(by_class) > _MOST_CLASSES:
        raise UserError(f'data.label: column "{name}" has over {_MOST_CLASSES:,} classes; name another column')
    classes = sorted(by_class)
    if len(classes) < 2:
        raise UserError(
            f'data.label: column "{name}" has one class ("{classes[0]}") in all {found.rows:,} rows; '
            "there is nothing to predict, give rows of at least two classes"
        )
    if task == "binary" and len(classes) != 2:
        raise UserError(
            f'data.task: binary needs 2 classes, column "{name}" has {len(classes)} '
            f"({', '.join(map(str, classes[:5]))}); "
            "set data.task: multiclass"
        )
    task = "multiclass" if task == "multiclass" or len(classes) > 2 else "binary"
    return Label(name=name, task=task, classes=classes), [by_class[value] for value in classes]


def _regression(name: str, found: ColumnScan) -> Label:
    if found.low == found.high:
        raise UserError(f'data.label: column "{name}" is {found.low:g} in every row; there is nothing to predict')
    return Label(name=name, task="regression")
