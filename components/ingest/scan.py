"""The first pass: what each column holds."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PlainSerializer, PlainValidator

from kep.components.ingest.forms import AnyFloat, FormScan, scan_forms
from kep.core.errors import UserError
from kep.data import columns
from kep.data.schema import USUAL, Reading
from kep.data.sources.unit import Unit
from kep.data.values import canonical

_SKETCH = 4096
MOST_CLASSES = 10_000
EXACT = 2**53
"""Integers below it are exact in float64."""
LOST = 0.01
"""Share of a column's distinct values that become one float32 with another, above which it is told of."""
_NOISE_BITS = 46
"""Leading bits in which fractions differ that were not meant to be equal: 0.1 + 0.2 is 0.3."""
_NUMERAL = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$|^\s*[+-]?(?i:inf(inity)?)\s*$"
_CODE = r"^\s*[+-]?0[0-9]+\s*$"
_DECIMAL_COMMA = r"^\s*[+-]?([1-9][0-9]{0,2}([.][0-9]{3})+|[0-9]+)([eE][+-]?[0-9]+)?\s*$"
"""A plain number that is one with a decimal comma too, perhaps another one: 1.234, or 7."""
_MARK = "[,.]"
_FEW = 100


_NOT_REPEATED = (1 << 64) - 1
_WAITING = 64
"""Arrays of numbers that wait to be sorted in, at most."""


@dataclass
class Distinct:
    """Distinct numbers of a column: all of up to 4096, of more those with the smallest hashes.

    A value has one hash wherever it occurs, so the values that are kept, and whether one of them repeats, do not depend
    on how the rows were read.

    Attributes:
        values: distinct float64 in ascending order.
        repeat: the smallest hash of a value that occurred twice.
        waiting: values that are not sorted in yet, since many at once take less time.
    """

    values: np.ndarray = field(default_factory=lambda: np.empty(0))
    repeat: int = _NOT_REPEATED
    waiting: list[np.ndarray] = field(default_factory=list)

    def add(self, values: np.ndarray) -> None:
        """Adds float64 [n]."""
        if len(self.values) == _SKETCH:
            values = values[_number_hashes(values) <= _number_hashes(self.values).max()]
        self.waiting.append(values)
        # Late in a long source few values of a part are small enough: arrays of them would be many.
        if len(self.waiting) > _WAITING or sum(map(len, self.waiting)) > 2 * _SKETCH:
            self.settle()

    def merge(self, later: "Distinct") -> None:
        """Adds what another part of the column holds."""
        self.repeat = min(self.repeat, later.repeat)
        for values in (later.values, *later.waiting):
            self.add(values)

    def settle(self) -> np.ndarray:
        """Sorts in the values that wait; returns `values`."""
        if not self.waiting:
            return self.values
        values, counts = np.unique(np.concatenate([self.values, *self.waiting]), return_counts=True)
        hashes = _number_hashes(values)
        if (counts > 1).any():
            self.repeat = min(self.repeat, int(hashes[counts > 1].min()))
        self.values, self.waiting = values[np.sort(np.argsort(hashes)[:_SKETCH])], []
        return self.values

    @property
    def repeated(self) -> bool:
        """True if a value occurs twice, as far as the values that are kept show."""
        values = self.settle()
        return len(values) > 0 and self.repeat <= int(_number_hashes(values).max())


def _number_hashes(values: np.ndarray) -> np.ndarray:
    """uint64 [n] of float64 without -0.0."""
    return columns.mix(values.view(np.uint64))


def _type_text(kind: pa.DataType) -> str:
    text: str = pa.schema([("", kind)]).serialize().to_pybytes().hex()
    return text


def _distinct_lists(distinct: Distinct) -> tuple[list[int], int]:
    return distinct.settle().view(np.uint64).tolist(), distinct.repeat


# How the parts of a scan are written to JSON, and read from it.
_ArrowType = Annotated[
    pa.DataType,
    PlainValidator(lambda text: pa.ipc.read_schema(pa.BufferReader(bytes.fromhex(text))).field(0).type),
    PlainSerializer(_type_text),
]
_Hashes = Annotated[
    np.ndarray,
    PlainValidator(lambda values: np.array(values, np.uint64)),
    PlainSerializer(lambda hashes: hashes.tolist()),
]
_SavedDistinct = Annotated[
    Distinct,
    PlainValidator(lambda saved: Distinct(np.array(saved[0], np.uint64).view(np.float64), saved[1])),
    PlainSerializer(_distinct_lists),
]


@dataclass
class ColumnScan:
    """Content of a column; merged over batches in the order of the rows.

    Attributes:
        numbers, words, missing: how many values are of each kind.
        boolean: every word is true or false.
        forms: words that have each form of numbers and dates.
        units: of numbers among the words, with the first of each.
        marked: words that are no plain numbers.
        commas: some word that is a number, or any other, has a comma or a point.
        prose: words of three parts or more.
        whole: every number is an integer.
        low, high: of the numbers.
        dotted: some number has a decimal point or an exponent.
        number_at, word_at, infinite_at: the first of each, as (row from 1, value).
        code_at: the first number of several digits that begins with zero.
        point_at: the first number that can't be read with a decimal comma.
        sketch: the smallest 4096 distinct hashes of the words.
        distinct: of the numbers.
        offset: of every number from its row, counted from 0; NaN where they differ.
        type: the Arrow type where the source is typed.
    """

    type: _ArrowType
    numbers: int = 0
    words: int = 0
    missing: int = 0
    boolean: bool = True
    forms: dict[str, FormScan] = field(default_factory=dict)
    units: dict[str, tuple[int, str]] = field(default_factory=dict)
    marked: int = 0
    commas: bool = False
    prose: int = 0
    whole: bool = True
    dotted: bool = False
    low: AnyFloat = np.inf
    high: AnyFloat = -np.inf
    number_at: tuple[int, str] | None = None
    word_at: tuple[int, str] | None = None
    infinite_at: tuple[int, str] | None = None
    code_at: tuple[int, str] | None = None
    point_at: tuple[int, str] | None = None
    sketch: _Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    distinct: _SavedDistinct = field(default_factory=Distinct)
    offset: AnyFloat = np.nan

    @property
    def rows(self) -> int:
        """Values of all kinds."""
        return self.numbers + self.words + self.missing

    @property
    def first_number(self) -> tuple[int, str]:
        """Row and text of the first number; there must be one."""
        if self.number_at is None:
            raise ValueError("the column holds no number")
        return self.number_at

    @property
    def first_word(self) -> tuple[int, str]:
        """Row and text of the first word; there must be one."""
        if self.word_at is None:
            raise ValueError("the column holds no word")
        return self.word_at

    @property
    def codes(self) -> bool:
        """True if the numbers are codes, whose leading zeros count, such as 01234."""
        return self.code_at is not None and not self.dotted and not self.words

    def lost(self, offset: float = 0.0) -> float:
        """Return the share of the distinct numbers that become one float32 with another, as far as those kept show.

        Args:
            offset: Number that is subtracted from them in float64 first.
        """
        values = self.distinct.settle()
        if not len(values):  # numbers of some form, which are words here
            return 0.0
        if not self.whole:
            mantissa, exponent = np.frexp(values)
            values = np.unique(np.ldexp(np.round(np.ldexp(mantissa, _NOISE_BITS)), exponent - _NOISE_BITS))
        _, places, counts = np.unique((values - offset).astype(np.float32), return_inverse=True, return_counts=True)
        return float((counts[places] > 1).mean())

    def base(self) -> float:
        """Return what numbers are counted from where 32-bit floats can't tell them apart; 0 where nothing helps."""
        return self.low if self.lost() > LOST and self.lost(self.low) < self.lost() else 0.0

    def distinct_values(self) -> float:
        """Distinct words, or numbers; estimated above 4096 from the k smallest hashes (Bar-Yossef et al. 2002)."""
        hashes = self.sketch if self.words else np.sort(_number_hashes(self.distinct.settle()))
        if len(hashes) < _SKETCH:
            return len(hashes)
        return (_SKETCH - 1) / (float(hashes[-1]) / 2.0**64)

    def constant(self) -> bool:
        """Return whether every row has the same value."""
        if self.missing or (self.numbers and self.words):
            return self.missing == self.rows
        return self.low == self.high if self.numbers else len(self.sketch) == 1

    def merge(self, later: "ColumnScan", start: int) -> None:
        """Adds the scan of rows that begin after `start` rows."""
        for name in ("number_at", "word_at", "infinite_at", "code_at", "point_at"):
            found = getattr(later, name)
            if getattr(self, name) is None and found is not None:
                setattr(self, name, (found[0] + start, found[1]))
        if later.numbers:
            offset = later.offset - start
            self.offset = offset if self.offset == offset or not self.numbers else np.nan
        self.numbers += later.numbers
        self.words += later.words
        self.missing += later.missing
        self.boolean &= later.boolean
        self.marked += later.marked
        self.commas |= later.commas
        self.prose += later.prose
        for form, found in later.forms.items():
            self.forms.setdefault(form, FormScan()).merge(found, start)
        for unit, (row, word) in later.units.items():
            self.units.setdefault(unit, (row + start, word))
        self.whole &= later.whole
        self.dotted |= later.dotted
        self.low, self.high = min(self.low, later.low), max(self.high, later.high)
        self.sketch = np.unique(np.concatenate([self.sketch, later.sketch]))[:_SKETCH]
        self.distinct.merge(later.distinct)


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
    scan.distinct.add(seen + 0.0)  # -0.0 + 0.0 is 0.0
    offsets = seen - present
    scan.offset = float(offsets[0]) if (offsets == offsets[0]).all() else np.nan
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
    rows = np.bincount(indices[present], minlength=len(values))
    numeral = np.asarray(pc.match_substring_regex(pa.array(values, pa.string()), _NUMERAL), bool)
    scan.marked = int(rows[~numeral].sum())
    scan.commas = bool(pc.any(pc.match_substring_regex(pa.array(values, pa.string()), _MARK)).as_py())
    scan.prose = int(rows[[value.count(" ") >= 2 for value in values]].sum())
    scan.forms, scan.units = scan_forms(indices, values)
    scan.sketch = np.unique(columns.text_hashes([canonical(value) for value in values]))[:_SKETCH]


@dataclass(frozen=True)
class Wanted:
    """Settings of a column: its type, and the texts that mean a missing value."""

    kind: str | None = None
    reading: Reading = USUAL


def scan_array(array: pa.Array, typed: bool, wanted: Wanted) -> ColumnScan:
    """The scan of one column of one batch."""
    scan = ColumnScan(array.type)
    array, kind = columns.plain(array), wanted.kind
    rows = len(array)
    if columns.is_number(array.type) and kind != "categorical":
        _scan_numbers(scan, columns.numbers(array, "", wanted.reading))
    elif columns.is_text(array.type) and not typed and kind not in ("categorical", "text"):
        _scan_untyped(scan, array, wanted.reading)
    elif columns.has_texts(array.type) and (kind == "categorical" or not columns.is_date(array.type)):
        _scan_words(scan, *columns.spelled_texts(array, "", wanted.reading))
    elif columns.is_date(array.type):
        _scan_dates(scan, columns.dates(array, "", wanted.reading))
    else:
        scan.words = rows - array.null_count
        scan.boolean = False
    scan.missing = rows - scan.numbers - scan.words
    return scan


def _scan_dates(scan: ColumnScan, times: np.ndarray) -> None:
    present = np.flatnonzero(~np.isnat(times))
    if not len(present):
        return
    seen = times[present]
    first = (int(present[0]) + 1, str(seen[0]))
    scan.words, scan.word_at, scan.boolean = len(present), first, False
    timed = bool((seen != seen.astype("datetime64[D]")).any())
    scan.forms = {"iso": FormScan(rows=len(present), timed=timed, first=first)}
    scan.sketch = np.unique(_number_hashes(seen.astype(np.float64)))[:_SKETCH]


def _scan_untyped(scan: ColumnScan, array: pa.Array, reading: Reading) -> None:
    scan.dotted = bool(pc.any(pc.match_substring(array, ".")).as_py())
    if scan.dotted:
        _find_point(scan, array)
    coded = pc.index(pc.match_substring_regex(array, _CODE), True).as_py()
    if coded >= 0:
        scan.code_at = (coded + 1, array[coded].as_py().strip())
        scan.dotted |= bool(pc.any(pc.match_substring(array, "e", ignore_case=True)).as_py())
    try:
        numbers = columns.as_float64(array, reading).to_numpy(zero_copy_only=False)
        _scan_numbers(scan, columns.without_missing(numbers, reading))
        return
    except pa.ArrowInvalid:
        indices, values = columns.spelled_texts(array, "", reading)
    numeral = np.asarray(pc.match_substring_regex(pa.array(values, pa.string()), _NUMERAL), bool)
    parsed = np.full(len(values) + 1, np.nan)
    for place in np.flatnonzero(numeral):
        parsed[place] = float(values[place])
    _scan_numbers(scan, parsed[indices])
    words = [value for value, is_number in zip(values, numeral, strict=True) if not is_number]
    numbering = np.full(len(values) + 1, -1)
    numbering[:-1][~numeral] = np.arange(len(words))
    _scan_words(scan, numbering[indices], words)


@dataclass
class Scan:
    """Content of a whole source."""

    rows: int
    unit_rows: list[int]
    columns: dict[str, ColumnScan]
    label_counts: Counter[str]
    """Rows by label text; cut off beyond 10,000 distinct ones, where only a regression is possible."""


def _find_point(scan: ColumnScan, array: pa.Array) -> None:
    """Find the first plain number that has no reading with a decimal comma."""
    for start in (0, _FEW):  # mostly one of the first shows it
        some = array.slice(start, _FEW if start == 0 else None)
        matches = [pc.match_substring_regex(some, pattern) for pattern in (_NUMERAL, _DECIMAL_COMMA)]
        place = pc.index(pc.and_(matches[0], pc.invert(matches[1])), True).as_py()
        if place >= 0:
            scan.point_at = (start + place + 1, array[start + place].as_py())
            return


def scan_unit(unit: Unit, wanted: dict[str, Wanted], label: str, typed: bool) -> Scan:
    """The scan of one unit: of the columns that `wanted` names."""
    total = nothing()
    for batch in unit.read(*unit.args):
        if pa.types.is_nested(batch[label].type):
            raise UserError(
                f'data.label: column "{label}" holds lists ({batch[label].type}); several labels a row are not '
                "supported: make a column of yes and no for each label, and a run for each column"
            )
        for name, how in wanted.items():
            scan = scan_array(batch[name], typed, how)
            if name in total.columns:
                total.columns[name].merge(scan, total.rows)
            else:
                total.columns[name] = scan
        if len(total.label_counts) <= MOST_CLASSES:
            reading = wanted[label].reading if label in wanted else USUAL
            indices, values = columns.spelled_texts(batch[label], label, reading)
            counts = np.bincount(indices[indices >= 0], minlength=len(values))
            total.label_counts.update(dict(zip(values, counts.tolist(), strict=True)))
        total.rows += batch.num_rows
    total.unit_rows = [total.rows]
    return total


def nothing() -> Scan:
    """The scan of no rows."""
    return Scan(0, [], {}, Counter())


def merge_scans(scans: Iterable[Scan]) -> Scan:
    """The scans of units or of sources as one; they come in order, and one at a time is held."""
    total = nothing()
    for scan in scans:
        for name, column in scan.columns.items():
            if name in total.columns:
                total.columns[name].merge(column, total.rows)
            else:
                total.columns[name] = column
        if len(total.label_counts) <= MOST_CLASSES:
            total.label_counts.update(scan.label_counts)
        total.unit_rows += scan.unit_rows
        total.rows += scan.rows
    return total
