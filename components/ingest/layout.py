"""Rows as serialised tf.train.Example messages of one length, made as a matrix from one template."""

import struct

import google_crc32c
import numpy as np

from components.shared.records import FOOTER, HEADER, Rows
from components.shared.schema import GROUP, ID, Column, Label, RecordLayout, Slot

_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3
"""Field numbers of tf.train.Feature (tensorflow/core/example/feature.proto)."""


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


def template(features: list[Column], label: Label, grouped: bool) -> tuple[bytes, RecordLayout]:
    """One serialised Example with zeros for values, and where the values lie in it.

    Args:
        features: The columns, categorical ones with their vocabulary.
        label: What is predicted.
        grouped: Whether rows carry what they were split by.
    """
    kinds = [(column.name, *_cell(column)) for column in features]
    if label.classes is None:
        kinds.append((label.name, _FLOAT_LIST, 4))
    else:
        kinds.append((label.name, _INT64_LIST, width_of_codes(len(label.classes) - 1)))
    kinds.append((ID, _BYTES_LIST, 8))
    if grouped:
        kinds.append((GROUP, _BYTES_LIST, 8))
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
        return _BYTES_LIST, int(np.prod(column.shape))
    if column.kind == "categorical":
        return _INT64_LIST, width_of_codes(len(column.vocabulary or []) + 1)
    return _FLOAT_LIST, 4


def serialise(rows: Rows, features: list[Column], label: Label) -> np.ndarray:
    """Rows as uint8 [n, length], each a serialised Example."""
    blank, record = template(features, label, rows.groups is not None)
    out = np.tile(np.frombuffer(blank, np.uint8), (len(rows), 1))

    def put(name: str, values: np.ndarray) -> None:
        slot = record.slots[name]
        out[:, slot.offset : slot.offset + slot.bytes] = values

    numeric = categorical = 0
    for column in features:
        if column.kind == "image":
            put(column.name, rows.image.reshape(len(rows), -1))
        elif column.kind == "categorical":
            put(column.name, _codes(rows.categorical[:, categorical], record.slots[column.name].bytes))
            categorical += 1
        else:
            put(column.name, _bytes(rows.numeric[:, numeric], "<f4"))
            numeric += 1
    if label.classes is None:
        put(label.name, _bytes(rows.labels, "<f4"))
    else:
        put(label.name, _codes(rows.labels, record.slots[label.name].bytes))
    put(ID, _bytes(rows.ids, "<u8"))
    if rows.groups is not None:
        put(GROUP, _bytes(rows.groups, "<u8"))
    return out


def _bytes(values: np.ndarray, kind: str) -> np.ndarray:
    cells = np.ascontiguousarray(values, kind)
    return cells.view(np.uint8).reshape(len(cells), -1)


def _codes(values: np.ndarray, width: int) -> np.ndarray:
    """Padded varints, uint8 [n, width]."""
    shifts = np.arange(width, dtype=np.int64) * 7
    cells = (values.astype(np.int64)[:, None] >> shifts & 0x7F).astype(np.uint8)
    cells[:, :-1] |= 0x80
    return cells


def _masked(crc: np.ndarray) -> np.ndarray:
    """TFRecord's masking of CRCs, uint32 (tensorflow/core/lib/hash/crc32c.h)."""
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


def frame(payload: np.ndarray) -> np.ndarray:
    """TFRecord frames, uint8 [n, 12 + length + 4], of rows uint8 [n, length]."""
    count, length = payload.shape
    frames = np.empty((count, HEADER + length + FOOTER), np.uint8)
    size = struct.pack("<Q", length)
    check = _masked(np.array([google_crc32c.value(size)], np.uint32)).astype("<u4").tobytes()
    frames[:, :HEADER] = np.frombuffer(size + check, np.uint8)
    frames[:, HEADER:-FOOTER] = payload
    value = google_crc32c.value
    crcs = np.fromiter((value(row) for row in payload), np.uint32, count)
    frames[:, -FOOTER:] = _bytes(_masked(crcs), "<u4")
    return frames
