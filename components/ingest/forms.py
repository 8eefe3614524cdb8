"""Spelling of the numbers or dates of a column, decided from all of its values, never from one."""

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import PlainSerializer, PlainValidator

from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.data.dates import DATE_FORMS, read_date
from kep.data.schema import USUAL, Reading
from kep.data.values import MISSING_TEXTS, NUMBER_FORMS, read_number

if TYPE_CHECKING:
    from kep.components.ingest.scan import ColumnScan

_SHARE = 0.9
"""Share of a column's words that have one form, from which the others are mistakes and the column no category."""
_TRIED = 100
"""Distinct words that decide which forms are tried on all of them."""
_LONGEST = 40
"""Letters of the longest number or date."""
_DIGIT = re.compile("[0-9]")
_FIRST_DAY, _LAST_DAY = 1900_01_01, 2100_12_31


AnyFloat = Annotated[float, PlainValidator(float.fromhex), PlainSerializer(float.hex)]
"""A float that is written by hex: JSON has no infinity, which is what the range of no numbers begins with."""


@dataclass
class FormScan:
    """Words of a column that have one form.

    Attributes:
        rows: How many.
        low, high, whole: Of the numbers that they are.
        timed: Some date has a time of day.
        first, odd: The first word that has the form, and the first that has not, as (row from 1, word).
    """

    rows: int = 0
    low: AnyFloat = np.inf
    high: AnyFloat = -np.inf
    whole: bool = True
    timed: bool = False
    first: tuple[int, str] | None = None
    odd: tuple[int, str] | None = None

    def merge(self, later: "FormScan", start: int) -> None:
        """Add the words of rows that begin after `start` rows."""
        for name in ("first", "odd"):
            found = getattr(later, name)
            if getattr(self, name) is None and found is not None:
                setattr(self, name, (found[0] + start, found[1]))
        self.rows += later.rows
        self.low, self.high = min(self.low, later.low), max(self.high, later.high)
        self.whole &= later.whole
        self.timed |= later.timed


def scan_forms(indices: np.ndarray, words: list[str]) -> tuple[dict[str, FormScan], dict[str, tuple[int, str]]]:
    """Return how many words have each form, and where each unit of numbers comes first.

    Args:
        indices: [n] into the distinct words, -1 where there is none.
        words: The distinct words.
    """
    places, rows = np.unique(indices, return_index=True)
    first = {int(place): int(row) + 1 for place, row in zip(places, rows, strict=True) if place >= 0}
    counts = np.bincount(indices[indices >= 0], minlength=len(words))
    possible = [place for place, word in enumerate(words) if len(word) <= _LONGEST and _DIGIT.search(word)]
    tried = possible[:: max(1, len(possible) // _TRIED)]
    forms, units = {}, dict[str, tuple[int, str]]()
    for form in (*NUMBER_FORMS, *DATE_FORMS):
        scan, found = FormScan(), set[int]()
        if any(_read(words[place], form, scan) for place in tried):
            scan = FormScan()
            found = {place for place in possible if _read(words[place], form, scan)}
        scan.rows = int(sum(counts[place] for place in found))
        one = min(found, key=first.__getitem__, default=None)
        scan.first = None if one is None else (first[one], words[one])
        odd = min((place for place in first if place not in found), key=first.__getitem__, default=None)
        scan.odd = None if odd is None else (first[odd], words[odd])
        forms[form] = scan
        for place in found if form in NUMBER_FORMS else ():
            read = read_number(words[place], form)
            row = first[place]
            if read and row < units.get(read[1], (row + 1, ""))[0]:
                units[read[1]] = (row, words[place])
    return forms, units


def _read(word: str, form: str, scan: FormScan) -> bool:
    """Add one word to the scan of a form; return whether it has it."""
    if form in NUMBER_FORMS:
        if (number := read_number(word, form)) is None:
            return False
        scan.low, scan.high = min(scan.low, number[0]), max(scan.high, number[0])
        scan.whole &= number[0].is_integer()
        return True
    if (when := read_date(word, form)) is None:
        return False
    scan.timed |= (when.hour, when.minute, when.second, when.microsecond) != (0, 0, 0, 0)
    return True


def missing_reading(settings: DataSettings, name: str) -> Reading:
    """Return which texts of a column mean a missing value."""
    if isinstance(settings.missing, dict):
        return Reading(missing=settings.missing[name]) if name in settings.missing else USUAL
    usual = list(MISSING_TEXTS[1:])
    return Reading(missing=[*usual, *(text.strip() for text in settings.missing)]) if settings.missing else USUAL


def number_form(
    name: str, scan: "ColumnScan", settings: DataSettings, asked: str | None, instead: str
) -> tuple[str, str] | None:
    """Return the form and the unit of a column's numbers; None where it holds plain numbers or words.

    Args:
        name: Name of the column.
        scan: Its scan.
        settings: The data section of the run file.
        asked: Its type by the settings.
        instead: Alternative that messages name.

    Raises:
        UserError: Most of the values have a form and some have not, they have several units, or two readings.
    """
    if asked not in (None, "numeric"):
        return None
    if scan.numbers and not scan.words:  # plain ones, unless 1.234 is known to be 1234
        return ("comma", "") if settings.decimal == "," and scan.dotted and not scan.point_at else None
    if not scan.marked and not (asked and scan.forms):  # texts by their own type, such as "1" and "2"
        return None
    fitting = [form for form in NUMBER_FORMS if scan.forms[form].rows == scan.words]
    if fitting == ["comma"] and scan.point_at:
        (row, comma), (other, point) = scan.first_word, scan.point_at
        raise UserError(
            f'data.types: column "{name}" mixes decimal commas and points ("{comma}" in row {row}, {point} in row '
            f"{other}); write them in one way, {instead}"
        )
    if not fitting:
        _refuse_odd(name, scan, NUMBER_FORMS, asked == "numeric", "numbers", instead)
        return None
    form = fitting[0]
    units = dict(scan.units)
    if scan.number_at:
        units[""] = scan.number_at
    if len(units) > 1:
        (row, word), (other, text) = sorted(units.values(), key=lambda first: first[0])[:2]
        raise UserError(
            f'data.types: column "{name}" has numbers of several units ("{word}" in row {row}, "{text}" in row '
            f"{other}); write them in one unit, {instead}"
        )
    if len(fitting) > 1 and not scan.point_at and (scan.commas or scan.dotted):
        row, word = scan.first_word
        if settings.decimal == "auto":
            raise UserError(
                f'data.decimal: column "{name}" can be read in two ways ("{word}" in row {row}: thousands or '
                f'decimals); set data.decimal: "." or ",", {instead}'
            )
        form = {".": "point", ",": "comma"}[settings.decimal]
    return form, next(iter(units))


def _refuse_odd(name: str, scan: "ColumnScan", forms: tuple[str, ...], asked: bool, what: str, instead: str) -> None:
    """Refuse a column most of whose words have a form.

    Raises:
        UserError: With the first word that has it, and the first that has not.
    """
    best = max((scan.forms[form] for form in forms if form in scan.forms), key=lambda form: form.rows)
    if best.first is None or best.odd is None or not (asked or best.rows >= _SHARE * scan.words):
        return
    (row, word), (other, odd) = best.first, best.odd
    raise UserError(
        f'data.types: column "{name}" holds {what} ("{word}" in row {row}), but "{odd}" in row {other} is not one '
        f"({scan.words - best.rows:,} of {scan.rows:,} rows); "
        f'correct it, list "{odd}" in data.missing if it means no value, {instead}'
    )


def as_numbers(scan: "ColumnScan", form: str) -> "ColumnScan":
    """Return the scan of a column as its form reads it: of numbers alone."""
    read = scan.forms.get(form, FormScan())
    return replace(
        scan,
        numbers=scan.numbers + scan.words,
        words=0,
        low=min(scan.low, read.low),
        high=max(scan.high, read.high),
        whole=read.whole and (scan.whole or form == "comma"),  # plain numbers have no decimal comma
        number_at=read.first or scan.number_at,
        word_at=None,
        code_at=None,
    )


@dataclass(frozen=True)
class DateForm:
    """How the dates of a column are read.

    Attributes:
        form: One of `kep.data.dates.DATE_FORMS`; empty where it can't be known.
        timed: Some have a time of day.
        doubt: Why it can't be known.
    """

    form: str
    timed: bool
    doubt: str = ""


def date_form(name: str, scan: "ColumnScan", settings: DataSettings, asked: str | None) -> DateForm | None:
    """Return the form of a column's dates; None where it holds none.

    Raises:
        UserError: Most of the values are dates and some are not, or they are asked for and not there.
    """
    if asked not in (None, "date"):
        return None
    instead = f"or set data.types: {{{name}: categorical}}"
    if asked and scan.numbers and not scan.words:
        if not scan.whole or scan.low < _FIRST_DAY or scan.high > _LAST_DAY:
            row, number = scan.first_number
            raise UserError(
                f'data.types: column "{name}" holds no dates ({number} in row {row}); give dates such as 2024-01-31 or '
                f"20240131, {instead}"
            )
        return DateForm("digits", False)
    if not scan.words or scan.numbers or not scan.forms:
        return None
    fitting = [form for form in DATE_FORMS if form in scan.forms and scan.forms[form].rows == scan.words]
    if not fitting:
        _refuse_odd(name, scan, DATE_FORMS, asked == "date", "dates", instead)
        if asked:
            row, word = scan.first_word
            raise UserError(
                f'data.types: column "{name}" holds no dates ("{word}" in row {row}); give dates such as 2024-01-31, '
                f"{instead}"
            )
        return None
    form = fitting[0]
    if len(fitting) > 1:
        if settings.day_first is None:
            row, word = scan.first_word
            doubt = f'day and month of its dates can\'t be told apart ("{word}" in row {row}); set data.day_first'
            return DateForm("", False, doubt)
        form = "day first" if settings.day_first else "month first"
    return DateForm(form, scan.forms[form].timed)
