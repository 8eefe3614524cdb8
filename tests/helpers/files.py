"""Files of ours as a test edits them, or as damage leaves them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kep.core.files import read_json, write_json
from kep.core.json_model import with_fingerprint


@contextmanager
def edited(path: Path) -> Iterator[dict[str, Any]]:
    """The content of a JSON file, which is written back with the fingerprint of what it became."""
    content = read_json(path)
    yield content
    write_json(path, with_fingerprint(content))


def flip(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    """Leave the first two thirds of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])
