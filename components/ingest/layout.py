"""Rows as TFRecord frames of serialised tf.train.Example messages of one length: a matrix made from one template."""

import math
import struct
from itertools import starmap

import google_crc32c
import numpy as np

from kep.data.schema import GROUP, ID, SAME, WEIGHT, Column, Label, RecordLayout, Slot
from kep.data.shards import FOOTER, HEADER, Rows

_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3
"""Field numbers of tf.train.Feature (tensorflow/core/example/feature.proto)."""
_CACHED = 1 << 18
"""Bytes of rows that are written column by column: they stay in a core's cache meanwhile."""


def _varint(value: int, width: int = 1) -> bytes:
    """A base-128 varint, padded with continuation bytes to at least `width` bytes."""
    out = bytearray()
    while value or len(out) < width:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out[-1] &= 0x7F
    return bytes(out)


def _delimited(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def width_of_codes(largest: int) -> int:
    """Bytes of the varints that hold 0 to `largest`."""
    return len(_varint(largest, 1))


def template(features: list[Column], label: Label, grouped: bool, weighted: bool) -> tuple[bytes, RecordLayout]:
    """One serialised Example with zeros for values, and where the values lie in it.

    Args:
        features: The columns, categorical ones with their vocabulary.
        label: Label to predict.
        grouped: Whether rows carry what they were split by.
        weighted: Whether rows carry a weight.
    """
    kinds = [(column.name, *_cell(column)) for column in features]
    if label.classes is None:
        kinds.append((label.name, _FLOAT_LIST, 4))
    else:
        kinds.append((label.name, _INT64_LIST, width_of_codes(len(label.classes) - 1)))
    kinds += [(ID, _BYTES_LIST, 8), (SAME, _BYTES_LIST, 8)]
    if grouped:
        kinds.append((GROUP, _BYTES_LIST, 8))
    if weighted:
        kinds.append((WEIGHT, _FLOAT_LIST, 4))
    entries, slots, position = [], {}, 0
    for name, number, size in kinds:
        blank = _varint(0, size) if number == _INT64_LIST else bytes(size)
        entry = _delimited(1, _delimited(1, name.encode()) + _delimited(2, _delimited(number, _delimited(1, blank))))
        entries.append(entry)
        position += len(entry)
        slots[name] = Slot(offset=position - size, bytes=size)
    body = b"".join(entries)
    example = _delimited(1, body)
    shift = len(example) - len(body)
    placed = {name: Slot(offset=slot.offset + shift, bytes=slot.bytes) for name, slot in slots.items()}
    return example, RecordLayout(length=len(example), slots=placed)


def _cell(column: Column) -> tuple[int, int]:
    if column.kind == "image":
        return _BYTES_LIST, math.prod(column.shape or ())
    if column.kind == "categorical":
        return _INT64_LIST, width_of_codes(len(column.vocabulary or []) + 1)
    return _FLOAT_LIST, 4


def frames_of(rows: Rows, features: list[Column], label: Label) -> np.ndarray:
    """Rows as TFRecord frames, uint8 [n, 12 + length + 4], each around a serialised Example."""
    blank, record = template(features, label, rows.groups is not None, rows.weights is not None)
    size = struct.pack("<Q", len(blank))
    check = _masked(np.array([google_crc32c.value(size)], np.uint32)).astype("<u4").tobytes()
    one = np.frombuffer(size + check + blank + bytes(FOOTER), np.uint8)
    out = np.empty((len(rows), len(one)), np.uint8)
    step = max(1, _CACHED // len(one))
    for start in range(0, len(rows), step):
        part = out[start : start + step]
        part[:] = one
        _fill(part, rows.take(slice(start, start + step)), features, label, record)
        _sign(part)
    return out


def _fill(frames: np.ndarray, rows: Rows, features: list[Column], label: Label, record: RecordLayout) -> None:
    """Writes the rows' values into their slots."""

    def cells(name: str) -> np.ndarray:
        slot = record.slots[name]
        return frames[:, HEADER + slot.offset : HEADER + slot.offset + slot.bytes]

    def put(name: str, kind: str, values: np.ndarray) -> None:
        cells(name).view(kind)[:, 0] = values

    numeric = categorical = 0
    for column in features:
        if column.kind == "image" and rows.image is not None:
            cells(column.name)[:] = rows.image.reshape(len(rows), -1)
        elif column.kind == "categorical":
            _put_codes(cells(column.name), rows.categorical[:, categorical])
            categorical += 1
        else:
            put(column.name, "<f4", rows.numeric[:, numeric])
            numeric += 1
    if label.classes is None:
        put(label.name, "<f4", rows.labels)
    else:
        _put_codes(cells(label.name), rows.labels)
    put(ID, "<u8", rows.ids)
    put(SAME, "<u8", rows.alike)
    if rows.groups is not None:
        put(GROUP, "<u8", rows.groups)
    if rows.weights is not None:
        put(WEIGHT, "<f4", rows.weights)


def _put_codes(cells: np.ndarray, values: np.ndarray) -> None:
    """Writes padded varints into uint8 [n, width]."""
    last = cells.shape[1] - 1
    for place in range(last + 1):
        cells[:, place] = (values >> (7 * place) & 0x7F) | (0x80 if place < last else 0)


def _masked(crc: np.ndarray) -> np.ndarray:
    """TFRecord's masking of CRCs, uint32 (tensorflow/core/lib/hash/crc32c.h)."""
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


def _sign(frames: np.ndarray) -> None:
    """Writes each row's CRC into the footer of its frame."""
    count, width = frames.shape
    # A loop that never enters Python: a checksum takes less time than one turn of a loop that does.
    contents = struct.iter_unpack(f"{HEADER}x{width - HEADER - FOOTER}s{FOOTER}x", frames.reshape(-1).data)
    crcs = np.fromiter(starmap(google_crc32c.value, contents), np.uint32, count)
    frames[:, -FOOTER:].view("<u4")[:, 0] = _masked(crcs)
