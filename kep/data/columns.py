"""Raw column values -> numbers, texts, pixels, labels and row ids: one meaning at ingest and at serving."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kep.core.errors import UserError
from kep.data import values as spellings
from kep.data.schema import Column, Label
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
    """Whether values of the Arrow type are strings (also as a dictionary)."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether values of the Arrow type are integers, floats or decimals."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_date(kind: pa.DataType) -> bool:
    """Whether values of the Arrow type are days or points in time."""
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def has_texts(kind: pa.DataType) -> bool:
    """Whether values of the Arrow type have a text: all but lists and structures, bytes and times of day."""
    return is_text(kind) or is_number(kind) or is_date(kind) or bool(pa.types.is_boolean(kind))


def plain(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array without chunks or dictionary; a column without any value becomes a string column of nulls."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array


def texts(array: pa.Array, name: str) -> tuple[np.ndarray, list[str]]:
    """A column as texts: int64 [n] indices into the distinct values, -1 where missing.

    Each value has its one form (`kep.data.values`), so that the category 7 is the same in a CSV, a Parquet file and a
    JSON request.

    Raises:
        UserError: the values are lists or structures.
    """
    indices, raw = spelled_texts(array, name)
    raw = [spellings.canonical(value) for value in raw]
    values = sorted(set(raw))
    place = {value: index for index, value in enumerate(values)}
    translate = np.array([place[value] for value in raw] + [-1], np.int64)
    return translate[indices], values


def spelled_texts(array: pa.Array, name: str) -> tuple[np.ndarray, list[str]]:
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
    encoded = array.dictionary_encode()
    raw = [value.strip() for value in encoded.dictionary.cast(pa.string()).to_pylist()]
    if pa.types.is_floating(array.type):
        raw = [spellings.canonical_float(float(value), value) for value in raw]
    elif not is_text(array.type):
        raw = [spellings.canonical(value) for value in raw]
    values = sorted(set(raw) - set(MISSING_TEXTS))
    place = {value: index for index, value in enumerate(values)}
    translate = np.array([place.get(value, -1) for value in raw] + [-1], np.int64)
    return translate[np.asarray(pc.fill_null(encoded.indices, len(raw)))], values


def category_codes(array: pa.Array, column: Column) -> np.ndarray:
    """A categorical column as int32 [n] codes: 0 missing, 1 not in the vocabulary, 2 + i for vocabulary[i].

    Raises:
        UserError: the values are lists or structures.
    """
    indices, values = texts(array, column.name)
    known = spellings.places(tuple(column.vocabulary or []))
    found = [known.find(value, is_number(plain(array).type)) for value in values]
    codes: np.ndarray = np.array([1 if place is None else place + 2 for place in found] + [0], np.int32)[indices]
    return codes


def _parse(array: pa.Array, name: str) -> pa.Array:
    """Texts as float64, with null where missing.

    Raises:
        UserError: a text is neither a number nor one of the texts for missing.
    """
    try:
        return array.cast(pa.float64())
    except pa.ArrowInvalid:
        # Blanks, texts for missing, or real words: only now worth the slower way.
        trimmed = pc.utf8_trim_whitespace(array)
        trimmed = pc.if_else(pc.is_in(trimmed, pa.array(MISSING_TEXTS, trimmed.type)), None, trimmed)
        try:
            return trimmed.cast(pa.float64())
        except pa.ArrowInvalid as error:
            word = next(value for value in trimmed.to_pylist() if value is not None and not is_numeral(value))
            raise UserError(f'column "{name}": "{word}" is not a number; give numbers in this column') from error


def is_numeral(text: str) -> bool:
    """Whether Arrow reads the text as a number."""
    try:
        pa.scalar(text).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def numbers(array: pa.Array, name: str) -> np.ndarray:
    """A column as float64 [n], NaN where missing.

    Raises:
        UserError: the column holds words or values of another type.
    """
    array = plain(array)
    if is_text(array.type):
        array = _parse(array, name)
    elif not is_number(array.type) and not pa.types.is_boolean(array.type):
        raise UserError(f'column "{name}": values of type {array.type} are not numbers; give numbers in this column')
    return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)


def booleans(array: pa.Array, name: str) -> np.ndarray:
    """A column of true/false (any case) or 0/1 as float64 [n], NaN where missing.

    Raises:
        UserError: the column holds any other value.
    """
    indices, values = texts(array, name)
    wrong = [value for value in values if value.lower() not in _BOOLEANS]
    if wrong:
        raise UserError(f'column "{name}": "{wrong[0]}" is not a boolean; give true or false in this column')
    found: np.ndarray = np.array([_BOOLEANS[value.lower()] for value in values] + [np.nan])[indices]
    return found


def floats(array: pa.Array, name: str, kind: str) -> np.ndarray:
    """A numeric or boolean feature as float32 [n], NaN where missing and never infinite.

    Raises:
        UserError: a value is of another type, or beyond what float32 holds.
    """
    values = booleans(array, name) if kind == "boolean" else numbers(array, name)
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
        return numbers(array, label.name).astype(np.float32)
    if isinstance(label.classes[0], str):
        indices, values = texts(array, label.name)
        known = spellings.places(tuple(map(str, label.classes)))
        number = is_number(plain(array).type)
        place: dict[Any, int] = {value: index for value in values if (index := known.find(value, number)) is not None}
    else:
        read = booleans if isinstance(label.classes[0], bool) else numbers
        raw = read(array, label.name)
        distinct, indices = np.unique(raw, return_inverse=True)
        values = distinct.tolist()
        place = {float(value): index for index, value in enumerate(label.classes)}
        place.update({value: -1 for value in values if value != value})
    unknown = [value for value in values if value not in place]
    if unknown:
        raise UserError(f'column "{label.name}": "{unknown[0]}" is not one of the classes {label.classes[:10]}')
    found: np.ndarray = np.array([place[value] for value in values] + [-1], np.int64)[indices]
    return found


def number_hashes(values: np.ndarray, name: str) -> np.ndarray:
    """uint64 [n] of canonical float32 values of one column."""
    return mix(values.view(np.uint32).astype(np.uint64) ^ np.uint64(text_hash(name)))


def is_missing(array: pa.Array) -> np.ndarray:
    """bool [n]: whether a value is missing, or a text that means so."""
    array = plain(array)
    empty = np.asarray(array.is_null(nan_is_null=True))
    if is_text(array.type):
        trimmed = pc.utf8_trim_whitespace(array)
        empty |= np.asarray(pc.fill_null(pc.is_in(trimmed, pa.array(MISSING_TEXTS, trimmed.type)), True))
    return empty


def identity_hashes(array: pa.Array, name: str, exact: bool = False) -> np.ndarray:
    """uint64 [n] of one column's raw values, whatever type the column is given and whatever file they came from.

    The number 7 has one hash, as text or as a number of any type; so have true and True. What is missing has one, too.

    Args:
        array: The column as the source has it.
        name: Its name, part of the hash.
        exact: Whether texts count letter by letter, so that 007 is not 7 and integers beyond 2**53 differ.
    """
    array = plain(array)
    key = hashlib.blake2b(name.encode(), digest_size=16).digest()
    salt, missing = np.uint64(text_hash("number", key)), np.uint64(text_hash("", key))
    if not exact and (is_number(array.type) or pa.types.is_boolean(array.type) or is_text(array.type)):
        try:
            values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            pass  # words: value by value
        else:
            # -0.0 + 0.0 is 0.0
            hashes = mix((np.asarray(values, np.float64) + 0.0).view(np.uint64) ^ salt)
            return np.where(np.isnan(values), missing, hashes)
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
