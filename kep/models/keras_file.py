"""A Keras file with the same bytes for the same model: without times, and without addresses in memory."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import keras

_DATE = (1980, 1, 1, 0, 0, 0)
"""Date of every part, the first that an archive can hold."""
_SHARED = "shared_object_id"
"""Key of a layer's configuration that Keras fills with an address in memory."""


def save(model: keras.Model, path: Path) -> None:
    """Write a model to a file that ends in .keras.

    A model that is trained again then has the digest of the first one, and an ensemble of it the same version.
    """
    written = path.with_name(f"written-{path.name}")
    model.save(written)
    try:
        with zipfile.ZipFile(written) as archive, zipfile.ZipFile(path, "w") as plain:
            for part in archive.infolist():
                # The sizes in the header tell whether the part needs the 64-bit form.
                info = zipfile.ZipInfo(part.filename, _DATE)
                info.file_size = part.file_size
                if part.filename.endswith(".json"):
                    plain.writestr(info, _plain(part.filename, archive.read(part)))
                    continue
                with archive.open(part) as source, plain.open(info, "w") as target:
                    shutil.copyfileobj(source, target)
    finally:
        written.unlink(missing_ok=True)


def _plain(name: str, content: bytes) -> str:
    """Return the text of a part without its time, and with shared objects numbered in order of appearance."""
    value = json.loads(content)
    if name == "metadata.json":
        value["date_saved"] = "{}-{:02}-{:02}@{:02}:{:02}:{:02}".format(*_DATE)
    return json.dumps(_numbered(value, {}))


def _numbered(value: Any, numbers: dict[int, int]) -> Any:
    if isinstance(value, dict):
        return {
            key: numbers.setdefault(item, len(numbers) + 1) if key == _SHARED else _numbered(item, numbers)
            for key, item in value.items()
        }
    return [_numbered(item, numbers) for item in value] if isinstance(value, list) else value
