"""Raw column values -> numbers, texts, pixels, labels and row ids: one meaning at ingest and at serving."""

import hashlib
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kep.core.errors import UserError
from kep.data import values as spellings
from kep.data.dates import part_of, read_date
from kep.data.schema import USUAL, Column, Label, Reading
from kep.data.texts import hashed, place_of
from kep.data.values import MISSING_TEXTS

_BOOLEANS = {"false": 0.0, "true": 1.0, "0": 0.0, "1": 1.0}
_LARGEST = float(np.finfo(np.float32).max)


def mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection of uint64 that looks random."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed


def text_hash(text: str | bytes | memoryview, key: bytes = b"") -> int:
    """64 stable bits of a text, the same on every machine and in every process."""
    data = text.encode() if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=key).digest(), "little")


def text_hashes(values: list[str], key: bytes = b"") -> np.ndarray:
    """`text_hash` of each value, uint64 [n]."""
    return np.fromiter((text_hash(value, key) for value in values), np.uint64, len(values))


def is_text(kind: pa.DataType) -> bool:
    """Return whether values of the Arrow type are strings (also as a dictionary)."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Return whether values of the Arrow type are integers, floats or decimals."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_date(kind: pa.DataType) -> bool:
    """Return whether values of the Arrow type are days or points in time."""
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def has_texts(kind: pa.DataType) -> bool:
    """Return whether values of the Arrow type have a text: all but lists and structures, bytes and times of day."""
    return is_text(kind) or is_number(kind) or is_date(kind) or bool(pa.types.is_boolean(kind))


def plain(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array without chunks or dictionary; a column without any value becomes a string column of nulls."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array


def missing_texts(reading: Reading) -> tuple[str, ...]:
    """Return the texts of a column that mean a missing value."""
    return MISSING_TEXTS if reading.missing is None else ("", *reading.missing)


def means_missing(text: str, reading: Reading) -> bool:
    """Return whether a text means a missing value, by its one form: 99.0 does where 99 does."""
    known = missing_texts(reading)
    return text in known or (
        reading.missing is not None and spellings.canonical(text) in map(spellings.canonical, known)
    )


def without_missing(values: np.ndarray, reading: Reading) -> np.ndarray:
    """Return float64 [n] with NaN for numbers that mean a missing value, such as 99."""
    marked = [float(text) for text in reading.missing or () if is_numeral(text)]
    return np.where(np.isin(values, marked), np.nan, values) if marked else values


def texts(array: pa.Array, name: str, reading: Reading = USUAL) -> tuple[np.ndarray, list[str]]:
    """A column as texts: int64 [n] indices into the distinct values, -1 where missing.

    Each value has its one form (`kep.data.values`), so that the category 7 is the same in a CSV, a Parquet file and a
    JSON request.

    Raises:
        UserError: the values are lists or structures.
    """
    indices, raw = spelled_texts(array, name, reading)
    raw = [spellings.canonical(value) for value in raw]
    values = sorted(set(raw))
    place = {value: index for index, value in enumerate(values)}
    translate = np.array([place[value] for value in raw] + [-1], np.int64)
    return translate[indices], values


def spelled_texts(array: pa.Array, name: str, reading: Reading = USUAL) -> tuple[np.ndarray, list[str]]:
    """A column as texts as they are spelled, but for surrounding blanks; else as `texts`.

    Raises:
        UserError: the values are lists or structures.
    """
    array = plain(array)
    if not has_texts(array.type):
        raise UserError(f'column "{name}": values of type {array.type} are no texts; give texts in this column')
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())
    if pa.types.is_timestamp(array.type) and array.type.tz:
        array = array.cast(pa.int64()).cast(pa.timestamp(array.type.unit))  # in UTC
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), None, array)
    encoded = array.dictionary_encode()
    raw = [value.strip() for value in encoded.dictionary.cast(pa.string()).to_pylist()]
    if pa.types.is_floating(array.type):
        raw = [spellings.canonical_float(float(value), value) for value in raw]
    elif not is_text(array.type):
        raw = [spellings.canonical(value) for value in raw]
    values = sorted(value for value in set(raw) if not means_missing(value, reading))
    place = {value: index for index, value in enumerate(values)}
    translate = np.array([place.get(value, -1) for value in raw] + [-1], np.int64)
    return translate[np.asarray(pc.fill_null(encoded.indices, len(raw)))], values


def category_codes(array: pa.Array, column: Column) -> np.ndarray:
    """A categorical column as int32 [n] codes: 0 missing, 1 not in the vocabulary, 2 + i for vocabulary[i].

    Raises:
        UserError: the values are lists or structures.
    """
    indices, values = texts(array, column.name, column.reading)
    known = spellings.places(tuple(column.vocabulary or []))
    found = [known.find(value, is_number(plain(array).type)) for value in values]
    codes: np.ndarray = np.array([1 if place is None else place + 2 for place in found] + [0], np.int32)[indices]
    return codes


def present(array: pa.Array, reading: Reading) -> pa.Array:
    """Return texts without surrounding blanks, null where they mean a missing value."""
    trimmed = pc.utf8_trim_whitespace(array)
    return pc.if_else(pc.is_in(trimmed, pa.array(missing_texts(reading), trimmed.type)), None, trimmed)


def _parse(array: pa.Array, name: str, reading: Reading) -> pa.Array:
    """Texts as float64, with null where missing.

    Raises:
        UserError: a text is neither a number nor one of the texts for missing.
    """
    if reading.form is not None:
        return _parse_form(present(array, reading), name, reading)
    try:
        return as_float64(array, reading)
    except pa.ArrowInvalid as error:
        given = present(array, reading).to_pylist()
        word = next(value for value in given if value is not None and not is_numeral(value))
        raise UserError(f'column "{name}": "{word}" is not a number; give numbers in this column') from error


def as_float64(array: pa.Array, reading: Reading) -> pa.Array:
    """Return numbers, or texts that are plain numbers, as float64 with null where missing.

    Raises:
        pa.ArrowInvalid: a text is something else.
    """
    if is_text(array.type) and reading.missing is not None:
        array = present(array, reading)  # 99 may mean that there is none
    try:
        return array.cast(pa.float64(), safe=False)
    except pa.ArrowInvalid:
        if not is_text(array.type):
            raise
        # Blanks, texts for missing, or real words: only now worth the slower way.
        return present(array, reading).cast(pa.float64())


def _parse_form(array: pa.Array, name: str, reading: Reading) -> pa.Array:
    encoded = array.dictionary_encode()
    numbers = [number_of(text, name, reading) for text in encoded.dictionary.to_pylist()]
    return pa.array(numbers, pa.float64()).take(encoded.indices)


def number_of(text: str, name: str, reading: Reading) -> float:
    """Return the number that a text is in the form of its column.

    Raises:
        UserError: it is none, or one of another unit.
    """
    found = spellings.read_number(text, reading.form or "point")
    if found is None or found[1] != reading.unit:
        raise UserError(f'column "{name}": "{text}" is not a number as in training; give one such as {reading}')
    return found[0]


def dates(array: pa.Array, name: str, reading: Reading) -> np.ndarray:
    """A column of dates as datetime64[us] [n] in UTC, NaT where missing.

    Texts are in the column's form or in ISO 8601.

    Raises:
        UserError: a value is no date.
    """
    array = plain(array)
    if reading.form == "digits" and is_number(array.type):
        array = array.cast(pa.int64()).cast(pa.string())
    if is_text(array.type):
        encoded = present(array, reading).dictionary_encode()
        found = [date_of(text, name, reading) for text in encoded.dictionary.to_pylist()]
        array = pa.array(found, pa.timestamp("us")).take(encoded.indices)
    if not is_date(array.type):
        raise UserError(f'column "{name}": values of type {array.type} are no dates; give dates such as 2024-01-31')
    array = array.cast(pa.timestamp("us", getattr(array.type, "tz", None)), safe=False).cast(pa.int64())
    times = np.asarray(array.fill_null(0)).astype("datetime64[us]")
    return np.where(np.asarray(array.is_null()), np.datetime64("NaT"), times)


def date_of(text: str, name: str, reading: Reading) -> datetime:
    """Return the time that a text is, in UTC, in the form of its column or in ISO 8601.

    Raises:
        UserError: it is none.
    """
    found = read_date(text, reading.form or "iso") or read_date(text, "iso")
    if found is None:
        raise UserError(
            f'column "{name}": "{text}" is no date as in training ({reading}); give one, such as 2024-01-31'
        )
    return found


def is_numeral(text: str) -> bool:
    """Return whether Arrow reads the text as a number."""
    try:
        pa.scalar(text).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def numbers(array: pa.Array, name: str, reading: Reading = USUAL) -> np.ndarray:
    """A column as float64 [n], NaN where missing.

    Raises:
        UserError: the column holds words or values of another type.
    """
    array = plain(array)
    if is_text(array.type):
        array = _parse(array, name, reading)
    elif not is_number(array.type) and not pa.types.is_boolean(array.type):
        raise UserError(f'column "{name}": values of type {array.type} are not numbers; give numbers in this column')
    values = np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
    return without_missing(values, reading)


def booleans(array: pa.Array, name: str, reading: Reading = USUAL) -> np.ndarray:
    """A column of true/false (any case) or 0/1 as float64 [n], NaN where missing.

    Raises:
        UserError: the column holds any other value.
    """
    indices, values = texts(array, name, reading)
    wrong = [value for value in values if value.lower() not in _BOOLEANS]
    if wrong:
        raise UserError(f'column "{name}": "{wrong[0]}" is not a boolean; give true or false in this column')
    found: np.ndarray = np.array([_BOOLEANS[value.lower()] for value in values] + [np.nan])[indices]
    return found


def floats(array: pa.Array, column: Column) -> np.ndarray:
    """A numeric or boolean feature as float32 [n], NaN where missing and never infinite.

    Raises:
        UserError: a value is of another type, or beyond what float32 holds.
    """
    read = booleans if column.kind == "boolean" else numbers
    values = read(array, column.name, column.reading)
    return as_floats(values - column.offset if column.offset else values, column.name)


def as_floats(values: np.ndarray, name: str) -> np.ndarray:
    """Return float64 as float32 with one NaN and one zero.

    Raises:
        UserError: a value is beyond what float32 holds.
    """
    large = np.abs(values) > _LARGEST
    if large.any():
        row = int(np.flatnonzero(large)[0])
        raise UserError(
            f'column "{name}": {values[row]} is infinite or beyond 32-bit floats; rescale it or leave it empty'
        )
    # -0.0 + 0.0 is 0.0, and one NaN pattern for all: equal numbers have equal bits.
    result = values.astype(np.float32) + np.float32(0)
    result[np.isnan(result)] = np.nan
    return result


def pixels(values: Any, column: Column) -> np.ndarray:
    """An image column as uint8 [n, h, w, c], from fixed-size bytes or nested lists.

    Raises:
        UserError: the values don't have the column's shape or aren't whole numbers from 0 to 255.
    """
    shape = tuple(column.shape or ())
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array) and pa.types.is_fixed_size_binary(values.type):
        flat = np.frombuffer(values.buffers()[1], np.uint8)
        width = values.type.byte_width
        flat = flat[values.offset * width : (values.offset + len(values)) * width]
        return flat.reshape(len(values), *shape)
    try:
        given = np.asarray(values.to_pylist() if isinstance(values, pa.Array) else values)
        whole = given.astype(np.uint8)
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f'column "{column.name}": not images of shape {list(shape)} of numbers 0 to 255') from error
    if whole.size != given.shape[0] * int(np.prod(shape)) or not np.array_equal(whole, given):
        raise UserError(
            f'column "{column.name}": images of shape {list(given.shape[1:])} given, '
            f"{list(shape)} of whole numbers 0 to 255 expected"
        )
    return whole.reshape(given.shape[0], *shape)


def label_indices(array: pa.Array, label: Label) -> np.ndarray:
    """The label column as int64 [n] class indices, or float32 [n] for regression; -1 or NaN where missing.

    Raises:
        UserError: a value is not among the classes, or not a number for regression.
    """
    if label.classes is None:
        return (numbers(array, label.name, label.reading) - label.offset).astype(np.float32)
    if isinstance(label.classes[0], str):
        indices, values = texts(array, label.name, label.reading)
        known = spellings.places(tuple(map(str, label.classes)))
        number = is_number(plain(array).type)
        place: dict[Any, int] = {value: index for value in values if (index := known.find(value, number)) is not None}
    else:
        read = booleans if isinstance(label.classes[0], bool) else numbers
        raw = read(array, label.name, label.reading)
        distinct, indices = np.unique(raw, return_inverse=True)
        values = distinct.tolist()
        place = {float(value): index for index, value in enumerate(label.classes)}
        place.update({value: -1 for value in values if value != value})
    unknown = [value for value in values if value not in place]
    if unknown:
        raise UserError(f'column "{label.name}": "{unknown[0]}" is not one of the classes {label.classes[:10]}')
    found: np.ndarray = np.array([place[value] for value in values] + [-1], np.int64)[indices]
    return found


def whole(array: pa.Array, column: Column) -> np.ndarray:
    """Return what the numbers of a raw column come from: its dates, or its hashed texts.

    Args:
        array: The raw column, which is called `column.of`.
        column: One of its numbers.

    Raises:
        UserError: a value is no date, or no text.
    """
    name = column.of or ""
    if place_of(column) is None:
        return dates(array, name, column.reading)
    indices, found = spelled_texts(array, name, column.reading)
    rows: np.ndarray = hashed([*found, None])[indices]
    return rows


def part(read: np.ndarray, column: Column) -> np.ndarray:
    """Return one number of what `whole` read as float32 [n], NaN where a date is missing; `column` says which."""
    place = place_of(column)
    values: np.ndarray = part_of(read, column.part or "") if place is None else read[:, place]
    return as_floats(values, column.name)


def number_hashes(values: np.ndarray, name: str) -> np.ndarray:
    """uint64 [n] of canonical float32 values of one column."""
    return mix(values.view(np.uint32).astype(np.uint64) ^ np.uint64(text_hash(name)))


def is_missing(array: pa.Array, reading: Reading) -> np.ndarray:
    """Return bool [n]: whether a value is missing, or a text that means so."""
    array = plain(array)
    empty = np.asarray(array.is_null(nan_is_null=True))
    if is_text(array.type):
        empty |= np.asarray(present(array, reading).is_null())
    return empty


def identity_hashes(array: pa.Array, name: str, reading: Reading = USUAL, exact: bool = False) -> np.ndarray:
    """uint64 [n] of one column's raw values, whatever type the column is given and whatever file they came from.

    The number 7 has one hash, as text or as a number of any type; so have true and True. What is missing has one, too.

    Args:
        array: The column as the source has it.
        name: Its name, part of the hash.
        reading: How its texts are read.
        exact: Whether texts count letter by letter, so that 007 is not 7 and integers beyond 2**53 differ.
    """
    array = plain(array)
    if reading.form in spellings.NUMBER_FORMS and not exact:
        array = pa.array(numbers(array, name, reading), from_pandas=True)
    key = hashlib.blake2b(name.encode(), digest_size=16).digest()
    salt, missing = np.uint64(text_hash("number", key)), np.uint64(text_hash("", key))
    if not exact and (is_number(array.type) or pa.types.is_boolean(array.type) or is_text(array.type)):
        try:
            values = as_float64(array, reading).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            pass  # words: value by value
        else:
            # -0.0 + 0.0 is 0.0
            hashes = mix((np.asarray(values, np.float64) + 0.0).view(np.uint64) ^ salt)
            return np.where(np.isnan(values), missing, hashes)
    if is_text(array.type):
        array = present(array, reading)
    indices, distinct = _distinct(array)
    hashes = np.array([*(_value_hash(value, key, salt, missing, exact) for value in distinct), missing], np.uint64)
    found: np.ndarray = hashes[indices]
    return found


def _distinct(array: pa.Array) -> tuple[np.ndarray, list[str]]:
    """int64 [n] indices into the distinct texts of values, -1 where missing."""
    if pa.types.is_floating(array.type):
        indices, values = spelled_texts(array, "")
        return indices, values
    if not is_text(array.type):
        try:
            array = array.cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # lists and structures
            array = pa.array([None if value is None else repr(value) for value in array.to_pylist()], pa.string())
    encoded = array.dictionary_encode()
    return np.asarray(pc.fill_null(encoded.indices, -1)).astype(np.int64), encoded.dictionary.to_pylist()


def _value_hash(text: str, key: bytes, salt: np.uint64, missing: np.uint64, exact: bool) -> np.uint64:
    text = text.strip()
    if text in MISSING_TEXTS:
        return missing
    if not exact and "_" not in text:
        try:
            number = _BOOLEANS[text.lower()] if text.lower() in _BOOLEANS else float(text)
        except ValueError:
            pass
        else:
            return np.uint64(mix(np.array([number + 0.0]).view(np.uint64) ^ salt)[0])
    return np.uint64(text_hash(text, key))


def category_hashes(indices: np.ndarray, values: list[str], name: str) -> np.ndarray:
    """uint64 [n] of one column's texts, whatever their codes."""
    key = hashlib.blake2b(name.encode(), digest_size=16).digest()
    missing = np.array([text_hash(name)], np.uint64)
    hashes: np.ndarray = np.concatenate([text_hashes(values, key), missing])[indices]
    return hashes


def image_hashes(values: np.ndarray) -> np.ndarray:
    """uint64 [n] of the bytes of each image."""
    flat = np.ascontiguousarray(values).reshape(len(values), -1)
    return np.fromiter((text_hash(row.data) for row in flat), np.uint64, len(flat))


def row_ids(hashes: list[np.ndarray]) -> np.ndarray:
    """One uint64 per row from the hashes of its columns, whatever their order."""
    total = hashes[0].copy()
    for column in hashes[1:]:
        total += column
    return mix(total)
