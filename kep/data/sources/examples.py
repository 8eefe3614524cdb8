"""TFRecords of tf.train.Example that other tools wrote, as units: each file is one, each feature a column.

TensorFlow is not imported: that takes seconds, and its own reader says neither which record is wrong nor why.
"""

import functools
import gzip
import io
import logging
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from PIL import Image
from pyarrow import fs

from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.data.pixels import as_pixels, unreadable
from kep.data.schema import FILE, ID
from kep.data.sources.arrays import image_array
from kep.data.sources.images import Shapes
from kep.data.sources.unit import BLOCK, Source, Unit

log = logging.getLogger("kep.ingest")

_TYPES = {"bytes_list": pa.string(), "float_list": pa.float32(), "int64_list": pa.int64()}
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
"""How PNG and JPEG files begin."""
_HEADER = struct.Struct("<QI")
"""Header of a record: its length, and the CRC32C of that length."""
_GZIP = b"\x1f\x8b"
_AGAIN = "write the file again, or name another one"
# tensorflow/core/example/example.proto and feature.proto
_EXAMPLE = """
name: "example.proto" package: "kep" syntax: "proto3"
message_type { name: "BytesList" field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED } }
message_type { name: "FloatList" field { name: "value" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED } }
message_type { name: "Int64List" field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED } }
message_type {
  name: "Feature"
  oneof_decl { name: "kind" }
  field { name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: "BytesList" oneof_index: 0 }
  field { name: "float_list" number: 2 type: TYPE_MESSAGE type_name: "FloatList" oneof_index: 0 }
  field { name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: "Int64List" oneof_index: 0 }
}
message_type {
  name: "Features"
  nested_type {
    name: "FeatureEntry"
    options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: "Feature" label: LABEL_OPTIONAL }
  }
  field { name: "feature" number: 1 type: TYPE_MESSAGE type_name: "FeatureEntry" label: LABEL_REPEATED }
}
message_type { name: "Example" field { name: "features" number: 1 type: TYPE_MESSAGE type_name: "Features" } }
"""


@dataclass
class _Found:
    """Features of all records, by name.

    Attributes:
        kinds: which list each has its values in.
        pictures: shapes of those whose every value is a PNG or JPEG file; None once one is not.
        problems: the sentence about those that are no column.
    """

    kinds: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Shapes | None] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, example: Any, where: str) -> None:
        """Adds one record; `where` is its place, for messages."""
        for name, feature in example.features.feature.items():
            kind = feature.WhichOneof("kind")
            values: Sequence[Any] = getattr(feature, kind).value if kind else ()
            if not len(values):
                continue
            if len(values) > 1:
                self._problem(name, f"has {len(values)} values in {where}; a column has one value a row")
            elif self.kinds.setdefault(name, kind) != kind:
                self._problem(name, f"holds {kind} values in {where}, {self.kinds[name]} before; give it one type")
            elif kind == "bytes_list" and values[0]:
                self._picture(name, values[0], where)

    def _problem(self, name: str, text: str) -> None:
        self.kinds.setdefault(name, "")
        self.problems.setdefault(name, f'data.source: feature "{name}" {text}, or name it in data.exclude')

    def _picture(self, name: str, value: bytes, where: str) -> None:
        if not value.startswith(_PICTURES):
            self.pictures[name] = None
        elif (shapes := self.pictures.setdefault(name, Shapes())) is not None:
            shapes.add(_opened(value, where), where)


def example_source(location: str, system: fs.FileSystem, files: list[fs.FileInfo], settings: DataSettings) -> Source:
    """TFRecord files, plain or with GZIP; a feature that a record lacks or has empty is a missing value.

    Where a feature holds PNG or JPEG files, it and the label (`label` unless the settings name one) are the columns.

    Raises:
        UserError: a file is damaged or holds something else, or there are several image features.
    """
    found = _Found()
    filled = []
    for info in files:
        where = None
        for where, example in _examples(system, info.path):
            found.add(example, where)
        if where is not None:
            filled.append(info)
    if ID in found.kinds:
        raise UserError(
            f'data.source: "{location}" holds records that ingest wrote, and their roles and columns are in {FILE}; '
            "give data.source: the folder with it, or the table that they were made from"
        )
    # Features have no order of their own.
    names = [name for name in sorted(found.kinds) if name not in settings.exclude]
    if not names:
        raise UserError(f'data.source: "{location}" holds no records with features; check the path')
    images = {}
    image = _image(found, names, location)
    label = settings.label or ("label" if "label" in names else None)
    if image and (shapes := found.pictures[image]) and label in names:
        images[image] = shapes.shape(settings.image_size)
        kept = {image, label, settings.split.column}
        log.info("left out beside the images: %s", ", ".join(sorted(set(names) - kept)) or "nothing")
        names = [name for name in names if name in kept]

    def units(columns: list[str]) -> Iterator[Unit]:
        wrong = next((name for name in columns if name in found.problems), None)
        if wrong:
            raise UserError(found.problems[wrong])
        kinds = {name: found.kinds[name] for name in columns}
        for info in filled:
            yield Unit(_batches, (system, info.path, kinds, images), info.base_name)

    # Excluded columns stay in the names: the settings may speak of what is there only.
    listed = sorted({*names, *(found.kinds.keys() & set(settings.exclude))})
    return Source(
        location,
        listed,
        True,
        sum(info.size for info in files),
        units,
        label,
        images or None,
        frozenset({*found.problems, *settings.exclude}),
    )


def _image(found: _Found, names: list[str], location: str) -> str | None:
    """The one feature, if any, that holds images."""
    pictures = [name for name in names if found.pictures.get(name) and name not in found.problems]
    if len(pictures) > 1:
        raise UserError(
            f'data.source: "{pictures[0]}" and "{pictures[1]}" of "{location}" hold images; '
            "a row has one, name the others in data.exclude"
        )
    return pictures[0] if pictures else None


def _batches(
    system: fs.FileSystem, path: str, kinds: dict[str, str], images: dict[str, tuple[int, int, int]]
) -> Iterator[pa.RecordBatch]:
    values: dict[str, list[Any]] = {name: [] for name in kinds}
    size = 0
    for where, example in _examples(system, path):
        features = example.features.feature
        for name, kind in kinds.items():
            value = _value(features, name, kind)
            if name in images:
                values[name].append(as_pixels(_opened(value, where), images[name], f"in {where}"))
                size += values[name][-1].nbytes
            else:
                values[name].append(_text(value, name, where) if kind == "bytes_list" else value)
                size += 16 + (len(value or b"") if kind == "bytes_list" else 0)
        if size >= BLOCK:
            yield _batch(values, kinds, images)
            values, size = {name: [] for name in kinds}, 0
    if size:
        yield _batch(values, kinds, images)


def _batch(
    values: dict[str, list[Any]], kinds: dict[str, str], images: dict[str, tuple[int, int, int]]
) -> pa.RecordBatch:
    return pa.record_batch(
        {
            name: image_array(np.stack(values[name])) if name in images else pa.array(values[name], _TYPES[kind])
            for name, kind in kinds.items()
        }
    )


def _value(features: Any, name: str, kind: str) -> Any:
    """Return a record's value of a feature: a number or bytes; None where it has none."""
    if name not in features:
        return None
    values = getattr(features[name], kind).value
    return values[0] if values else None


def _text(value: bytes | None, name: str, where: str) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f'data.source: feature "{name}" holds bytes in {where} that are neither UTF-8 nor an image; '
            "name it in data.exclude"
        ) from error


def _opened(value: bytes | None, where: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(value or b""))
    except OSError as error:
        raise unreadable(f"in {where}", error) from error


def _examples(system: fs.FileSystem, path: str) -> Iterator[tuple[str, Any]]:
    """The records of one file, and the place of each for messages."""
    name = path.rpartition("/")[2]
    parse = _example_type().FromString
    number = 0
    with system.open_input_file(path) as file:
        try:
            for number, record in enumerate(_records(_plain(file), name), start=1):
                where = f"record {number} of {name}"
                example = parse(record)
                # Of a SequenceExample or another message, some would pass for an Example.
                if len(UnknownFieldSet(example)) or not example.features.feature:
                    raise UserError(f"data.source: {where} is not a tf.train.Example with features; {_AGAIN}")
                yield where, example
        except DecodeError as error:
            raise UserError(f"data.source: record {number} of {name} is not a tf.train.Example; {_AGAIN}") from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(
                f"data.source: the GZIP data of {name} are damaged after record {number}; {_AGAIN}"
            ) from error


def _plain(file: pa.NativeFile) -> io.BufferedIOBase:
    """The file's content, decompressed where it is: the ending does not always tell."""
    start = file.read(_HEADER.size)
    file.seek(0)
    if start.startswith(_GZIP) and not _intact(start[:8], start[8:]):
        return gzip.GzipFile(fileobj=file)
    return io.BufferedReader(file, BLOCK)


def _records(stream: io.BufferedIOBase, name: str) -> Iterator[bytes]:
    """The content of each record (tensorflow/core/lib/io/record_writer.h).

    Raises:
        UserError: a checksum is wrong, or the file ends too early.
    """
    number = 0
    while header := stream.read(_HEADER.size):
        number += 1
        if len(header) == _HEADER.size and not _intact(header[:8], header[8:]):
            if number == 1:
                raise UserError(f"data.source: {name} is not a TFRecord file; give files that TFRecordWriter wrote")
            raise UserError(f"data.source: record {number} of {name} is damaged (its length's CRC32C); {_AGAIN}")
        length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else 0
        record, check = stream.read(length), stream.read(4)
        if len(check) < 4:
            raise UserError(f"data.source: {name} ends inside record {number}; {_AGAIN}")
        if not _intact(record, check):
            raise UserError(f"data.source: record {number} of {name} is damaged (its CRC32C); {_AGAIN}")
        yield record


def _intact(data: bytes, check: bytes) -> bool:
    """Return whether `check` is TFRecord's masked CRC32C of the data."""
    crc: int = google_crc32c.value(data)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return check == masked.to_bytes(4, "little")


@functools.cache
def _example_type() -> Any:
    """The class of tf.train.Example."""
    pool = descriptor_pool.DescriptorPool()  # of its own: TensorFlow may have registered the same message
    pool.Add(text_format.Parse(_EXAMPLE, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kep.Example"))
