"""NumPy .npz files and the scikit-learn sets as units."""

import math
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from typing import IO, Any

import numpy as np
import pyarrow as pa
from pyarrow import fs

from kep.core.errors import UserError, nearest
from kep.data.sources.unit import BLOCK, Source, Unit, given

SKLEARN = ("digits", "breast_cancer", "diabetes", "iris", "wine")
_PAIRS = (
    ("x", "y"),
    ("X", "y"),
    ("X", "labels"),
    ("x", "labels"),
    ("features", "target"),
    ("data", "target"),
)


def sklearn_source(name: str) -> Source:
    """One of the sets that ship with scikit-learn; the label is "target".

    Raises:
        UserError: it is not one of SKLEARN.
    """
    if name not in SKLEARN:
        raise UserError(
            f'data.source: "sklearn:{name}" is not a set; the sets are {", ".join(SKLEARN)}{nearest(name, SKLEARN)}'
        )
    import sklearn.datasets  # half a second that no other source needs

    bunch = getattr(sklearn.datasets, f"load_{name}")()
    if name == "digits":
        features, images = (
            {"image": image_array(bunch.images.astype(np.uint8)[..., None])},
            {"image": (8, 8, 1)},
        )
    else:
        features, images = dict(zip(bunch.feature_names, bunch.data.T, strict=True)), None
    named = name != "digits" and hasattr(bunch, "target_names")
    target = np.asarray(bunch.target_names)[bunch.target] if named else bunch.target
    table = pa.table({key: pa.array(value) for key, value in features.items()} | {"target": pa.array(target)})

    def units(columns: list[str]) -> Iterator[Unit]:
        for batch in table.select(columns).to_batches():
            yield Unit(given, (batch,), f"sklearn:{name}")

    description = f"sklearn:{name} of scikit-learn {version('scikit-learn')}"
    return Source(description, table.column_names, True, bunch.data.nbytes, units, "target", images)


def image_array(images: np.ndarray) -> pa.Array:
    """Images, uint8 [n, h, w, c], as an Arrow column of fixed-size bytes."""
    width = math.prod(images.shape[1:])
    buffer = pa.py_buffer(np.ascontiguousarray(images))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(images), [None, buffer])


def npz_source(location: str, system: fs.FileSystem, info: fs.FileInfo) -> Source:
    """An .npz file with features and labels.

    Features of 2 dimensions are columns x0, x1, …; uint8 features of 3 or 4 dimensions are images.

    Raises:
        UserError: the arrays are absent, of different lengths, or not of numbers.
    """
    with zipfile.ZipFile(system.open_input_file(info.path)) as archive:
        members = [name.removesuffix(".npy") for name in archive.namelist()]
        pair = next((pair for pair in _PAIRS if set(pair) <= set(members)), None)
        if pair is None:
            raise UserError(
                f'data.source: {info.base_name} holds the arrays {", ".join(members) or "none"}; name them "x" and "y"'
            )
        (shape, kind), (label_shape, label_kind) = (_npy_header(archive, name, info)[:2] for name in pair)
    if len(shape) < 1 or len(label_shape) < 1 or shape[0] != label_shape[0]:
        raise UserError(
            f'data.source: "{pair[0]}" of {info.base_name} has {shape[0] if shape else 0} rows, '
            f'"{pair[1]}" has {label_shape[0] if label_shape else 0}; give one label a row'
        )
    if math.prod(label_shape[1:]) != 1 or label_kind.kind not in "biufUS":
        raise UserError(
            f'data.source: "{pair[1]}" of {info.base_name} has shape {list(label_shape)} and type {label_kind}; '
            "give one class or number a row"
        )
    image = _image_shape(shape, kind)
    if image is not None:
        names = ["image"]
    elif len(shape) in (1, 2) and kind.kind in "biuf":
        names = [f"x{index}" for index in range(math.prod(shape[1:]))]
    else:
        raise UserError(
            f'data.source: "{pair[0]}" of {info.base_name} has shape {list(shape)} and type {kind}; give numbers '
            "[rows, columns] or uint8 images [rows, height, width, channels] from 0 to 255"
        )

    def units(columns: list[str]) -> Iterator[Unit]:
        for features, labels in _npz_chunks(system, info, pair):
            if image is not None:
                arrays = {"image": image_array(features.reshape(-1, *image))}
            else:
                flat = features.reshape(len(features), -1)
                arrays = {name: pa.array(flat[:, place]) for place, name in enumerate(names) if name in columns}
            arrays["y"] = _label_array(labels.reshape(-1))
            batch = pa.record_batch({name: arrays[name] for name in columns})
            yield Unit(given, (batch,), info.base_name)

    return Source(location, [*names, "y"], True, info.size, units, "y", image and {"image": image})


def _label_array(labels: np.ndarray) -> pa.Array:
    """Return labels as an Arrow array; bytes, as NumPy's type S has them, are texts in UTF-8."""
    array = pa.array(labels)
    return array.cast(pa.string()) if pa.types.is_binary(array.type) else array


def _image_shape(shape: tuple[int, ...], kind: np.dtype[Any]) -> tuple[int, int, int] | None:
    """Return height, width and channels of an array of images; None for any other array."""
    if kind != np.uint8 or len(shape) not in (3, 4):
        return None
    height, width, channels = shape[1:] if len(shape) == 4 else (*shape[1:], 1)
    return height, width, channels


def _npy_header(
    archive: zipfile.ZipFile, name: str, info: fs.FileInfo
) -> tuple[tuple[int, ...], np.dtype[Any], IO[bytes]]:
    """Shape, type and the stream of a member, at its first byte of data."""
    stream = archive.open(f"{name}.npy")
    magic = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if magic == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = read(stream)
    if kind.hasobject or (fortran and len(shape) > 1):
        raise UserError(
            f'data.source: "{name}" of {info.base_name} '
            f"{'holds Python objects' if kind.hasobject else 'is stored by column'}"
            "; save np.ascontiguousarray of numbers or fixed-length strings"
        )
    return shape, kind, stream


def _npz_chunks(system: fs.FileSystem, info: fs.FileInfo, pair: tuple[str, str]) -> Iterator[list[np.ndarray]]:
    """Features and labels in parts of about BLOCK bytes, without reading an array whole."""
    with zipfile.ZipFile(system.open_input_file(info.path)) as archive:
        parts = [_npy_header(archive, name, info) for name in pair]
        rows = parts[0][0][0]
        step = max(1, BLOCK // max(1, math.prod(parts[0][0][1:]) * parts[0][1].itemsize))
        for start in range(0, rows, step):
            count = min(step, rows - start)
            yield [
                np.frombuffer(stream.read(count * math.prod(shape[1:]) * kind.itemsize), kind).reshape(
                    count, *shape[1:]
                )
                for shape, kind, stream in parts
            ]
