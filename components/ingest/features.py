"""Features of a column of the source by the first pass, or why it is left out."""

import logging
from typing import Any

import pyarrow as pa

from kep.components.ingest.forms import as_numbers, date_form, missing_reading, number_form
from kep.components.ingest.scan import EXACT, ColumnScan
from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.data import columns
from kep.data.dates import LIKE_DATES, parts
from kep.data.schema import Column
from kep.data.sources.unit import Source
from kep.data.texts import hashes_of

log = logging.getLogger("kep.ingest")

_IDENTIFIER_SHARE, _IDENTIFIER_ROWS = 0.9, 20


def features_of(name: str, scan: ColumnScan, settings: DataSettings, source: Source) -> list[Column] | str:
    """Return the features that a column becomes, or why it is left out."""
    asked = settings.types.get(name)
    reading = missing_reading(settings, name)
    if scan.missing == scan.rows:
        return "empty"
    if scan.constant():
        if scan.numbers and abs(scan.low) >= EXACT:
            return "its integers are too large to be told apart; data.types: categorical takes them as codes"
        return "the same in every row"
    if pa.types.is_temporal(scan.type) and not columns.is_date(scan.type):
        return "times of day and durations are no features as they are; give dates with a time, or numbers"
    if not columns.has_texts(scan.type):
        raise UserError(f'data.exclude: column "{name}" has type {scan.type}, which is no feature; exclude it')
    if asked == "text":
        if not scan.words or not columns.is_text(scan.type):
            raise UserError(
                f'data.types: column "{name}" of type {scan.type} holds no texts; remove it from data.types'
            )
        return hashes_of(Column(name=name, kind="text", reading=reading))
    if (when := date_form(name, scan, settings, asked)) is not None:
        if when.doubt:
            return when.doubt
        reading = reading.model_copy(update={"form": when.form})
        made = parts(Column(name=name, kind="date", reading=reading), when.timed)
        taken = {column.name for column in made} & set(source.names)
        if taken:
            raise UserError(f'data.source: the column name "{min(taken)}" is taken by a date; rename the column')
        named = ", ".join(one.part or "" for one in made)
        log.info('column "%s" holds dates (%s): its features are %s', name, reading, named)
        return made
    instead = f"or set data.types: {{{name}: categorical}}"
    if (form := number_form(name, scan, settings, asked, instead)) is not None:
        reading = reading.model_copy(update={"form": form[0], "unit": form[1]})
        scan = as_numbers(scan, form[0])
        log.info('column "%s" holds numbers such as "%s", read as %s', name, scan.first_number[1], reading)
    kind, reason = _kind(name, scan, asked, source)
    if asked is None and kind in (None, "categorical") and scan.word_at and LIKE_DATES.fullmatch(scan.word_at[1]):
        log.warning(
            'column "%s" looks like dates, but no way to write them reads all of its values ("%s" in row %d): write '
            "dates such as 2024-01-31",
            name,
            scan.word_at[1],
            scan.word_at[0],
        )
    if kind is None:
        return reason
    offset = scan.base() if kind == "numeric" else 0.0
    if offset:
        log.info('column "%s" is counted from %.15g, so that 32-bit floats tell its values apart', name, offset)
    return [Column(name=name, kind=kind, reading=reading, offset=offset)]


def _kind(name: str, scan: ColumnScan, asked: str | None, source: Source) -> tuple[Any, str]:
    """The type of a feature column, or None and why it is left out."""
    if scan.infinite_at and asked != "categorical":
        row, value = scan.infinite_at
        raise UserError(
            f'data.source: column "{name}" is {value} in row {row}, beyond 32-bit floats; rescale it or leave it empty'
        )
    if asked:
        _check_asked(name, scan, asked)
        return asked, ""
    if scan.numbers and scan.words:
        (row, word), (other, number) = scan.first_word, scan.first_number
        raise UserError(
            f'data.types: column "{name}" of {source.description} mixes numbers and words ({scan.numbers:,} and '
            f'{scan.words:,} of {scan.rows:,} rows: {number} in row {other}, "{word}" in row {row}); correct them, '
            f'list "{word}" in data.missing if it means no value, or set data.types: {{{name}: categorical}}'
        )
    if scan.numbers and not scan.codes:
        return "numeric", ""
    if scan.words and scan.boolean:
        return "boolean", ""
    present = scan.numbers + scan.words
    if present >= _IDENTIFIER_ROWS and scan.distinct_values() > _IDENTIFIER_SHARE * present:
        if scan.prose > _IDENTIFIER_SHARE * present / 2:
            return None, f"free text; data.types: {{{name}: text}} makes features of its words"
        return None, "nearly every value occurs once, so it cannot generalise"
    if scan.code_at and scan.codes:
        row, code = scan.code_at
        log.info(
            'column "%s" holds codes, since "%s" in row %d begins with zero: it is categorical; '
            "data.types: {%s: numeric} makes numbers of them",
            name,
            code,
            row,
            name,
        )
    return "categorical", ""


def _check_asked(name: str, scan: ColumnScan, asked: str) -> None:
    if asked == "numeric" and scan.words and not scan.boolean:
        row, word = scan.first_word
        raise UserError(
            f'data.types: column "{name}" can\'t be numeric ("{word}" in row {row}); correct it, or set '
            f"data.types: {{{name}: categorical}}"
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
