"""A model that `kep serve` serves somewhere, asked as if it were an ensemble on this machine."""

import base64
import io
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import requests
from PIL import Image
from pydantic_core import to_json
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from kep.core.errors import UserError
from kep.data.columns import dates, floats, is_number, numbers, pixels, plain, spelled_texts, texts
from kep.data.schema import Column, Label

_URL = re.compile(r"(https?://[^/]+(?:/.*)?/v1/models/[^/:]+(?:/versions/\d+)?):predict")
_TRIES = 6
PAUSE = 0.25
"""Seconds before the second retry, doubled before each further one; a server's Retry-After goes before it."""
_SECONDS = 120
"""Without a byte from the server."""


class Remote:
    """A served model.

    Args:
        url: http://HOST/v1/models/NAME:predict.

    Attributes:
        columns: Columns that it takes.
        label: Label that it predicts.
        rows: Maximum rows of a request.

    Raises:
        UserError: The address is of another form, nobody answers there, or it is another kind of model.
    """

    def __init__(self, url: str) -> None:
        match = _URL.fullmatch(url)
        if match is None:
            raise UserError(f'--url: "{url}" is not of the form http://HOST:PORT/v1/models/NAME:predict')
        self._url = url
        self._session = requests.Session()
        # Predicting changes nothing, so that a request that may or may not have arrived can be sent again.
        retry = Retry(
            total=_TRIES - 1,
            backoff_factor=PAUSE,
            status_forcelist=(429, 503),
            allowed_methods=None,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))
        described = self._ask("GET", f"{match[1]}/metadata").get("metadata", {}).get("ensemble")
        if described is None:
            raise UserError(f"--url: {url} is a model, but not one that `kep serve` serves")
        self.columns = [Column.model_validate(column) for column in described["columns"]]
        self.label = Label.model_validate(described["label"])
        self.rows: int = described["max_rows"]

    def predict(self, table: dict[str, pa.Array]) -> np.ndarray:
        """Predicts from raw features, as `kep.models.ensemble.Ensemble.predict` does.

        Args:
            table: Columns by name, of at most `rows` rows.

        Raises:
            UserError: A value is of a wrong type, or the server does not answer.
        """
        inputs = {column.name: as_json(table[column.name], column) for column in self.columns}
        outputs = self._ask("POST", self._url, to_json({"inputs": inputs}))["outputs"]
        return np.array(outputs["prediction" if self.label.classes is None else "probabilities"], np.float64)

    def _ask(self, method: str, url: str, data: bytes | None = None) -> dict[str, Any]:
        try:
            answer = self._session.request(method, url, data=data, timeout=_SECONDS)
        except requests.RequestException as error:
            raise UserError(f"--url: {url} can't be reached ({cause(error)}); tried {_TRIES} times") from error
        told: dict[str, Any]
        try:
            told = answer.json()
        except ValueError:
            told = {}
        if not answer.ok:
            reason = told.get("error", answer.reason)
            raise UserError(f"--url: {url} answered {answer.status_code}: {reason}")
        return told


def cause(error: BaseException) -> str:
    """Return the message of the operating system, from under the exceptions of requests and urllib3."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    return type(error).__name__


def as_json(values: pa.Array, column: Column) -> list[Any]:
    """A column as a request has it, read as training reads it."""
    if column.kind == "image":
        return [_png(image) for image in pixels(values, column)]
    if column.kind == "categorical" and is_number(plain(values).type):
        # A number, which means a code without its leading zeros; as a text it would be another category.
        missing = np.isnan(numbers(values, column.name, column.reading))
        found = [float(one) if isinstance(one, Decimal) else one for one in plain(values).to_pylist()]
        return [None if gap else one for one, gap in zip(found, missing.tolist(), strict=True)]
    if column.kind in ("categorical", "text"):
        read = texts if column.kind == "categorical" else spelled_texts
        indices, names = read(values, column.name, column.reading)
        return [None if index < 0 else names[index] for index in indices]
    if column.kind == "date":
        times = dates(values, column.name, column.reading)
        return [None if np.isnat(time) else str(time) for time in times]
    if column.offset:  # 32-bit floats don't hold them, and the server subtracts it
        exact = numbers(values, column.name, column.reading).tolist()
        return [None if number != number else number for number in exact]
    kind = bool if column.kind == "boolean" else float
    return [None if number != number else kind(number) for number in floats(values, column).tolist()]


def _png(image: np.ndarray) -> dict[str, str]:
    file = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, "PNG", compress_level=1)
    return {"b64": base64.b64encode(file.getvalue()).decode()}
