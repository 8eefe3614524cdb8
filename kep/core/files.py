"""Atomic files and folders: a reader sees the whole of a file or none of it."""

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kep.core.errors import UserError


def finite(value: Any) -> Any:
    """Return `value` with every NaN and infinity replaced by None: JSON and KFP metrics have no such numbers."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as readable JSON with non-finite numbers as null, atomically."""
    text = json.dumps(finite(value), indent=1, sort_keys=True, allow_nan=False)
    write_file(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def write_file(path: str | Path, write: Callable[[Path], Any]) -> None:
    """Call `write` with a temporary path beside `path`, syncs what it wrote and renames it to `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: Keras and NumPy choose the format by it.
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def scratch_folder(kept: Path | None = None) -> Iterator[Path]:
    """The folder `kept`, or without one a temporary folder that is removed when the block ends."""
    if kept is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="kep-") as folder:
        yield Path(folder)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder that appears under `path`, replacing what is there, once the block has ended without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            os.replace(temporary, path)
        except OSError:
            _copy(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


_LEFT = re.compile(r"\.(.+-)?[0-9a-f]{32}(\..+)?")
"""Names of the temporary files and folders of `write_file` and `new_folder`."""


def sweep(folder: Path) -> None:
    """Remove the temporary files and folders that killed processes left anywhere under a folder.

    No other process may be writing under it.
    """
    for parent, folders, files in os.walk(folder):
        for name in filter(_LEFT.fullmatch, files):
            with suppress(OSError):
                Path(parent, name).unlink()
        for name in list(filter(_LEFT.fullmatch, folders)):
            shutil.rmtree(Path(parent, name), ignore_errors=True)
            folders.remove(name)


def _copy(folder: Path, path: Path) -> None:
    """For a bucket that is mounted (Cloud Storage FUSE), which may not rename folders.

    Nobody reads a task's output before the task has ended well, so that a copy that was cut short is seen by none.
    """
    path.mkdir()
    try:
        shutil.copytree(folder, path, dirs_exist_ok=True)
    except OSError:
        shutil.rmtree(path)
        raise


def tree_digest(path: str | Path) -> str:
    """Return the sha256 over the names and the content of a file, or of all files under a folder.

    It is empty where there is nothing.
    """
    path = Path(path)
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir():
        return ""
    total = hashlib.sha256()
    for name in sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()):
        total.update(f"{name}\0{tree_digest(path / name)}\n".encode())
    return total.hexdigest()


def file_digests(folder: Path, leave: Collection[str] = ()) -> dict[str, str]:
    """Return the sha256 of each file under a folder by relative path, without files and folders named in `leave`."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {name.as_posix(): tree_digest(folder / name) for name in names if not {*name.parts} & {*leave}}


def check_files(folder: Path, digests: Mapping[str, str], remedy: str) -> None:
    """Verify files that `file_digests` was called for.

    Args:
        folder: Folder of the files.
        digests: The sha256 of each file, or of a folder as `tree_digest` gives it, by relative path.
        remedy: Advice for the message.

    Raises:
        UserError: A file is missing, or is not what was written.
    """
    for name, digest in digests.items():
        path = folder / name
        if not path.exists():
            raise UserError(f"{path} is missing; {remedy}")
        if tree_digest(path) != digest:
            raise UserError(f"{path} is damaged: it is not what was written there; {remedy}")


def link(path: Path, target: Path) -> None:
    """Point a symbolic link at `target`, atomically."""
    temporary = path.with_name(f".{path.name}-new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
