"""From a request's bytes to rows: each value is held against the manifest, and what is wrong is named by its place.

Nothing is made to fit: a text is no number, true is no number, and an image of another size is not resized. What stands
for a missing value, and what a category outside the vocabulary means, is as in training.
"""

import base64
import binascii
import io
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image
from pydantic_core import from_json

from kep.core.errors import UserError, nearest
from kep.data.columns import date_of, means_missing, missing_texts, number_of, part, without_missing
from kep.data.pixels import as_pixels, is_grey, upright_size
from kep.data.records import Rows, blank_row
from kep.data.schema import Column, Manifest
from kep.data.texts import hashed
from kep.data.values import places, spelled

SIGNATURE = "serving_default"
"""The one signature there is, by the name that TensorFlow Serving's clients know."""
_KEYS = ("instances", "inputs", "parameters", "signature_name")
_PARAMETERS = ("members",)
_LARGEST = float(np.finfo(np.float32).max)
_NAMES = {
    dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number",
    type(None): "null",
}  # fmt: skip
Locate = Callable[[int, str], str]
"""From a row's index and a column's name to how the request itself would write it, such as `instances[3].age`."""


@dataclass(frozen=True)
class PredictionRequest:
    """Request for predictions.

    Attributes:
        rows: Encoded, in the order of the request.
        columnar: Whether the answer is to be by output, as the request was by column.
        members: Whether each member's own predictions are to be in the answer.
    """

    rows: Rows
    columnar: bool = False
    members: bool = False


def parse(body: bytes, manifest: Manifest, most: int) -> PredictionRequest:
    """Reads a request in JSON.

    Args:
        body: `{"instances": [{column: value, …}, …]}` or, by column, `{"inputs": {column: [value, …], …}}`; where there
            is one column, its values may stand without its name. `parameters` and `signature_name` may be beside it.
        manifest: Manifest of the records that the model was trained on.
        most: Rows that one request may have.

    Raises:
        UserError: With the place of the first value that is not what the manifest says.
    """
    try:
        request = from_json(body)
    except ValueError as error:
        raise UserError(f"the body is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise UserError(f'the body is {_NAMES[type(request)]}; give {{"instances": [ … ]}}')
    for key in request:
        if key not in _KEYS:
            raise UserError(f'"{key}" is not a key of a request{nearest(key, _KEYS)}; give "instances"')
    if ("instances" in request) == ("inputs" in request):
        raise UserError('give either "instances", a list of rows, or "inputs", values by column')
    if request.get("signature_name", SIGNATURE) != SIGNATURE:
        raise UserError(f'signature_name: the one signature is "{SIGNATURE}"')
    columnar = "inputs" in request
    read = _by_column if columnar else _by_row
    table, place = read(request["inputs" if columnar else "instances"], manifest, most)
    return PredictionRequest(encode(table, manifest, place), columnar, _members(request.get("parameters")))


def encode(table: dict[str, list[Any]], manifest: Manifest, place: Locate) -> Rows:
    """Checks each value of a table that has all columns, and encodes it as `kep.data.records.encode` does.

    That one also hashes rows and reads texts as numbers, which a request has no use for: for a single row it takes ten
    times as long.

    Raises:
        UserError: With the place of the first value that is not what the manifest says.
    """
    given = manifest.inputs
    checked = {column.name: _CHECKS[column.kind](table[column.name], column, place) for column in given}
    count, image = len(checked[given[0].name]), manifest.image
    checked |= {column.name: part(checked[column.of], column) for column in manifest.columns if column.of}
    row = blank_row(manifest).take(np.zeros(count, np.int64))
    return replace(
        row,
        numeric=_stacked([checked[column.name] for column in manifest.numeric], row.numeric),
        categorical=_stacked([checked[column.name] for column in manifest.categorical], row.categorical),
        image=None if image is None else checked[image.name],
    )


def _stacked(columns: list[np.ndarray], like: np.ndarray) -> np.ndarray:
    return np.stack(columns, axis=1).astype(like.dtype) if columns else like


def _members(parameters: Any) -> bool:
    """Return whether the parameters ask for each member's predictions.

    Raises:
        UserError: They hold something else.
    """
    if parameters is None:
        return False
    if not isinstance(parameters, dict):
        raise UserError(f"parameters: {_NAMES[type(parameters)]} given; give an object")
    for key in parameters:
        if key not in _PARAMETERS:
            known = ", ".join(_PARAMETERS)
            raise UserError(f'parameters: "{key}" is unknown{nearest(key, _PARAMETERS)}; there is {known}')
    asked = parameters.get("members", False)
    if not isinstance(asked, bool):
        raise UserError(f"parameters.members: {_NAMES[type(asked)]} given; give true or false")
    return asked


def _by_row(instances: Any, manifest: Manifest, most: int) -> tuple[dict[str, list[Any]], Locate]:
    """The columns of a list of rows."""
    if not isinstance(instances, list) or not instances:
        raise UserError("instances: give a list of at least one row")
    check_count("instances", len(instances), most)
    names = [column.name for column in manifest.inputs]
    known, alone = set(names), len(names) == 1
    for index, row in enumerate(instances):
        named = isinstance(row, dict)
        if alone and (not named or row.keys() == {"b64"}):
            instances[index] = {names[0]: row}
            continue
        if not named:
            raise UserError(f"instances[{index}]: {_NAMES[type(row)]} given; give an object with a value by column")
        if row.keys() != known:
            check_names(f"instances[{index}]", row, names)
    return {name: [row[name] for row in instances] for name in names}, lambda i, name: f"instances[{i}].{name}"


def _by_column(inputs: Any, manifest: Manifest, most: int) -> tuple[dict[str, list[Any]], Locate]:
    """The columns of an object of columns."""
    names = [column.name for column in manifest.inputs]
    if len(names) == 1 and isinstance(inputs, list):
        inputs = {names[0]: inputs}
    if not isinstance(inputs, dict):
        raise UserError(f"inputs: {_NAMES[type(inputs)]} given; give an object with a list by column")
    check_names("inputs", inputs, names)
    for name in names:
        if not isinstance(inputs[name], list) or not inputs[name]:
            raise UserError(f"inputs.{name}: give a list of at least one value")
        if len(inputs[name]) != len(inputs[names[0]]):
            counts = f"{len(inputs[name])} values given, {len(inputs[names[0]])} in {names[0]}"
            raise UserError(f"inputs.{name}: {counts}; give one a row")
    check_count("inputs", len(inputs[names[0]]), most)
    return inputs, lambda i, name: f"inputs.{name}[{i}]"


def check_count(where: str, count: int, most: int) -> None:
    """Refuses a request of too many rows.

    Raises:
        UserError: With both numbers.
    """
    if count > most:
        raise UserError(f"{where}: {count} rows given, at most {most} a request are allowed; send several requests")


def check_names(where: str, given: Iterable[str], names: list[str]) -> None:
    """Refuses an object that lacks a column or has one more.

    Raises:
        UserError: With the column, and the nearest spelling that was given.
    """
    unknown = [name for name in given if name not in names]
    for name in names:
        if name not in given:
            raise UserError(f'{where}: "{name}" is missing{nearest(name, unknown)}; give null where there is no value')
    for name in unknown:
        raise UserError(f'{where}: "{name}" is unknown; the columns are {", ".join(names)}')


def _numbers(values: list[Any], column: Column, place: Locate) -> np.ndarray:
    """float64 [n], NaN where missing."""
    for index, value in enumerate(values):
        # By its own type: for Python, true is a number.
        if type(value) is float or type(value) is int:
            if value > _LARGEST or value < -_LARGEST:
                raise UserError(
                    f"{place(index, column.name)}: infinite or beyond 32-bit floats; rescale it or give null"
                )
        elif value is not None and not (isinstance(value, str) and column.reading.form):
            raise UserError(f"{place(index, column.name)}: {_given(value)}; give a number, or null where it is missing")
    if column.reading.form:
        values = [_number(value, column, place, index) for index, value in enumerate(values)]
    numbers = np.array([math.nan if value is None else value for value in values], np.float64)
    return without_missing(numbers, column.reading) - column.offset


def _number(value: Any, column: Column, place: Locate, index: int) -> float:
    """Return a number, of a text where the column's own texts have a form; NaN where missing."""
    if isinstance(value, str):
        if value.strip() in missing_texts(column.reading):
            return math.nan
        with _placed(place(index, column.name)):
            return number_of(value, column.name, column.reading)
    return math.nan if value is None else value


def _dates(values: list[Any], column: Column, place: Locate) -> np.ndarray:
    """datetime64[us] [n], NaT where missing."""
    times = np.full(len(values), np.datetime64("NaT"), "datetime64[us]")
    for index, value in enumerate(values):
        if type(value) is int and column.reading.form == "digits":
            value = str(value)
        if value is None or (isinstance(value, str) and value.strip() in missing_texts(column.reading)):
            continue
        if not isinstance(value, str):
            raise UserError(f'{place(index, column.name)}: {_given(value)}; give a date such as "2024-01-31", or null')
        with _placed(place(index, column.name)):
            times[index] = np.datetime64(date_of(value, column.name, column.reading), "us")
    return times


def _texts(values: list[Any], column: Column, place: Locate) -> np.ndarray:
    """float32 [n, features] of hashed texts."""
    for index, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            raise UserError(f"{place(index, column.name)}: {_given(value)}; give a text, or null where it is missing")
    missing = missing_texts(column.reading)
    return hashed([None if value is None or value.strip() in missing else value for value in values])


@contextmanager
def _placed(where: str) -> Iterator[None]:
    """Name the place of a value in the request, not its column alone."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {str(error).partition(': ')[2]}") from None


def _booleans(values: list[Any], column: Column, place: Locate) -> np.ndarray:
    """float64 [n], 0 and 1, NaN where missing."""
    for index, value in enumerate(values):
        missing = value is None or value != value
        if not missing and not (isinstance(value, bool | int | float) and value in (0, 1)):
            expected = "give true or false, or null where it is missing"
            raise UserError(f"{place(index, column.name)}: {_given(value)}; {expected}")
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _categories(values: list[Any], column: Column, place: Locate) -> np.ndarray:
    """int32 [n], codes as of `kep.data.columns.category_codes`; each value has its one form, 7 as well as "7"."""
    codes, found = np.zeros(len(values), np.int32), dict[tuple[type, Any], int]()
    for index, value in enumerate(values):
        if isinstance(value, dict):
            value = _text(value, place(index, column.name))
        if value is None or value != value:
            continue
        if not isinstance(value, str | bool | int | float):
            raise UserError(f"{place(index, column.name)}: {_given(value)}; give a text, or null where it is missing")
        key = (type(value), value)  # for Python, true is 1
        if key not in found:
            found[key] = _code(value, column)
        codes[index] = found[key]
    return codes


def _code(value: str | bool | int | float, column: Column) -> int:
    """Return the code of a category: 0 missing, 1 not in the vocabulary, 2 + its place in it."""
    form = spelled(value)
    if means_missing(form, column.reading):
        return 0
    place = places(tuple(column.vocabulary or [])).find(form, type(value) in (int, float))
    return 1 if place is None else place + 2


def _images(values: list[Any], column: Column, place: Locate) -> np.ndarray:
    """uint8 [n, height, width, channels]."""
    return np.stack([_image(value, column, place(index, column.name)) for index, value in enumerate(values)])


def _image(value: Any, column: Column, where: str) -> np.ndarray:
    """One image from nested lists, or from the base64 of a PNG or JPEG file."""
    height, width, channels = column.shape or (0, 0, 0)
    expected = f"give [height, width, channels] = {[height, width, channels]} whole numbers from 0 to 255"
    if isinstance(value, dict):
        return _decoded(_bytes(value, where), (height, width, channels), where)
    if not isinstance(value, list):
        raise UserError(f'{where}: {_given(value)}; {expected}, or {{"b64": …}} of a PNG or JPEG')
    try:
        given = np.array(value)
    except ValueError:
        raise UserError(f"{where}: its lists differ in length; {expected}") from None
    if given.dtype.kind not in "iuf":
        raise UserError(f"{where}: its values are not all numbers; {expected}")
    # Images without colour may come without the last axis, as most tools hold them.
    if given.shape != (height, width, channels) and (channels != 1 or given.shape != (height, width)):
        raise UserError(f"{where}: shape {list(given.shape)} given; {expected}")
    if given.min() < 0 or given.max() > 255 or (given.dtype.kind == "f" and not (given == np.floor(given)).all()):
        raise UserError(f"{where}: its values are not all whole numbers from 0 to 255; {expected}")
    return given.astype(np.uint8).reshape(height, width, channels)


def _decoded(data: bytes, shape: tuple[int, int, int], where: str) -> np.ndarray:
    """An image file's pixels; the file must have the model's size, which also bounds what decoding it can cost."""
    height, width, channels = shape
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
    except (OSError, Image.DecompressionBombError):
        raise UserError(f"{where}: the bytes are not a PNG or JPEG image") from None
    shown = upright_size(image)
    if shown != (width, height):
        raise UserError(
            f"{where}: an image of {shown[1]}x{shown[0]} pixels (height x width) given; the model takes "
            f"{height}x{width}; resize it first"
        )
    if channels == 1 and not is_grey(image):
        raise UserError(f"{where}: an image with colours given; the model takes grey ones; convert it first")
    try:
        return as_pixels(image, shape, where)
    except UserError:
        raise UserError(f"{where}: the image is damaged") from None


def _bytes(value: dict[str, Any], where: str) -> bytes:
    """Return the bytes behind TensorFlow Serving's `{"b64": …}`."""
    if value.keys() != {"b64"} or not isinstance(value["b64"], str):
        raise UserError(f'{where}: an object given; one that stands for bytes is {{"b64": "…"}}')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise UserError(f"{where}: b64 is not base64") from None


def _text(value: dict[str, Any], where: str) -> str:
    """The text that `{"b64": …}` stands for."""
    try:
        return _bytes(value, where).decode()
    except UnicodeDecodeError:
        raise UserError(f"{where}: the bytes are not a text in UTF-8") from None


def _given(value: Any) -> str:
    """Return the kind of a value, and the value itself where that is short."""
    if isinstance(value, str):
        return f'the text "{value[:40]}" given'
    if isinstance(value, bool):
        return f"{str(value).lower()} given"
    return f"{value} given" if isinstance(value, int | float) and abs(value) < 1e15 else f"{_NAMES[type(value)]} given"


_CHECKS: dict[str, Callable[[list[Any], Column, Locate], Any]] = {
    "numeric": _numbers,
    "boolean": _booleans,
    "categorical": _categories,
    "image": _images,
    "date": _dates,
    "text": _texts,
}
