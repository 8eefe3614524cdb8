"""One way to reach files: a local path or gs://, as an Arrow filesystem and a path in it."""

import hashlib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from pyarrow import fs

from components.shared.errors import UserError, nearest

_GLOB = frozenset("*?[")


def filesystem(location: str, base: Path = Path(".")) -> tuple[fs.FileSystem, str]:
    """The filesystem that holds `location`, and the path in it; local paths are relative to `base`."""
    if location.startswith("gs://"):
        return fs.GcsFileSystem(), location.removeprefix("gs://")
    return fs.LocalFileSystem(), (base / Path(location).expanduser()).absolute().as_posix()


def list_files(location: str, base: Path = Path(".")) -> tuple[fs.FileSystem, list[fs.FileInfo]]:
    """The files that a file, folder or glob means, sorted by path; hidden ones are passed over.

    Raises:
        UserError: there are none, or they cannot be reached.
    """
    system, path = filesystem(location, base)
    try:
        if _GLOB & set(path):
            folder = PurePosixPath(path)
            while _GLOB & set(str(folder)):
                folder = folder.parent
            infos = [info for info in _under(system, str(folder)) if _matches(info.path, path)]
            root = str(folder)
        else:
            info = system.get_file_info(path)
            if info.type == fs.FileType.NotFound:
                raise UserError(
                    f'data.source: "{location}" does not exist{_neighbour(system, path) or "; check the path"}'
                )
            infos = [info] if info.type == fs.FileType.File else _under(system, path)
            root = path
    except OSError as error:
        raise UserError(f'data.source: "{location}" cannot be read: {error}') from error
    files = [
        info
        for info in infos
        if info.type == fs.FileType.File
        and not any(part[0] in "._" for part in PurePosixPath(info.path[len(root) :]).parts if part != "/")
    ]
    if not files:
        raise UserError(f'data.source: "{location}" holds no files; check the path')
    return system, sorted(files, key=lambda info: info.path)


def _matches(path: str, pattern: str) -> bool:
    """Whether a glob means the path: as in a shell, * stands for a part of one name and ** for folders."""
    if "**" in pattern:
        return fnmatchcase(path, pattern)
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _under(system: fs.FileSystem, folder: str) -> list[fs.FileInfo]:
    return system.get_file_info(fs.FileSelector(folder, recursive=True, allow_not_found=True))


def _neighbour(system: fs.FileSystem, path: str) -> str:
    parent, _, name = path.rpartition("/")
    selector = fs.FileSelector(parent or "/", allow_not_found=True)
    return nearest(name, [info.base_name for info in system.get_file_info(selector)])


def digests(location: str, base: Path = Path(".")) -> Iterator[tuple[str, str]]:
    """Yields each file's path under the location, and a digest of its content.

    The digest is the sha256 of a local file, and what Cloud Storage knows of an object: size and CRC32C.
    """
    if location.startswith("gs://"):
        yield from _object_digests(location, base)
        return
    system, files = list_files(location, base)
    for info in files:
        digest = hashlib.sha256()
        with system.open_input_file(info.path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        yield _relative(info.path, location, base), digest.hexdigest()


def _relative(path: str, location: str, base: Path) -> str:
    """The path under the folder that the location names; the base name for a file or a glob."""
    root = filesystem(location, base)[1].rstrip("/") + "/"
    return path.removeprefix(root) if path.startswith(root) else path.rpartition("/")[2]


def _object_digests(location: str, base: Path) -> Iterator[tuple[str, str]]:
    from google.cloud import storage  # a second to import, and only gs:// needs it

    paths = {info.path for info in list_files(location, base)[1]}
    bucket, _, prefix = location.removeprefix("gs://").partition("/")
    prefix = prefix[: next((place for place, mark in enumerate(prefix) if mark in _GLOB), len(prefix))]
    for blob in storage.Client().list_blobs(bucket, prefix=prefix):
        path = f"{bucket}/{blob.name}"
        if path in paths:
            yield _relative(path, location, base), f"{blob.size} {blob.crc32c}"
