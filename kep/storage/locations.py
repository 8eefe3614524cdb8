"""Files at a location: a file, a folder or a glob, local or on Cloud Storage."""

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pyarrow import fs

from kep.core.errors import UserError, nearest
from kep.core.files import tree_digest
from kep.core.location import Location

if TYPE_CHECKING:
    from google.cloud.storage import Blob

_GLOB = frozenset("*?[")
_listed: ContextVar[dict[str, dict[str, "Blob"]] | None] = ContextVar("listed", default=None)


@contextmanager
def one_listing() -> Iterator[None]:
    """List each location on Cloud Storage once in the block: what is fingerprinted is then what is read."""
    token = _listed.set({})
    try:
        yield
    finally:
        _listed.reset(token)


def path_of(location: Location, base: Path = Path(".")) -> str:
    """Return the path of a location in its filesystem; local paths are relative to `base`."""
    if location.is_cloud:
        return location.path.rstrip("/")
    return Path(location.absolute(base).text).as_posix()


def folder_of(location: Location, base: Path = Path(".")) -> str:
    """Return the folder that a location names, or that all files of its glob lie in."""
    path = path_of(location, base)
    return _fixed(path) if _is_glob(path) else path


def list_files(location: Location, base: Path = Path(".")) -> list[fs.FileInfo]:
    """The files that a file, folder or glob means, sorted by path; hidden ones are passed over.

    A file that links lead to in several ways is one file, and a link that leads up is not followed twice.

    Raises:
        UserError: there are none, or they cannot be reached.
    """
    if location.is_cloud:
        return [fs.FileInfo(path, fs.FileType.File, size=blob.size) for path, blob in _objects(location).items()]
    path = path_of(location, base)
    system = fs.LocalFileSystem()
    try:
        if _is_glob(path):
            root = _fixed(path)
            infos = [info for info in _under(system, root) if _matches(info.path, path)]
        else:
            root = path
            info = system.get_file_info(path)
            if info.type == fs.FileType.NotFound:
                raise UserError(
                    f'data.source: "{location}" does not exist{_neighbour(system, path) or "; check the path"}'
                )
            infos = [info] if info.type == fs.FileType.File else _under(system, path)
    except OSError as error:
        raise UserError(f'data.source: "{location}" cannot be read: {error}') from error
    files = [info for info in infos if info.type == fs.FileType.File and not _hidden(info.path, root)]
    if not files:
        raise _holds_nothing(location)
    return sorted(_once(files), key=lambda info: info.path)


def fetch(
    location: Location, base: Path, scratch: Path, only: Collection[str] | None = None
) -> tuple[fs.FileSystem, list[fs.FileInfo]]:
    """The files of `list_files` and a filesystem to read them from: objects are downloaded to the folder `scratch`.

    Args:
        location: a file, folder or glob.
        base: what a local path is relative to.
        scratch: folder for objects.
        only: paths of the files that are wanted; all when not given.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    if not location.is_cloud:
        files = list_files(location, base)
        return fs.LocalFileSystem(), [info for info in files if only is None or info.path in only]
    from kep.google import objects  # a second to import, and only gs:// needs it

    found = {path: blob for path, blob in _objects(location).items() if only is None or path in only}
    objects.download(found, scratch)
    system = fs.SubTreeFileSystem(str(scratch), fs.LocalFileSystem())
    return system, system.get_file_info(list(found))


def _objects(location: Location) -> dict[str, "Blob"]:
    """The objects that a location means, by path."""
    listed = _listed.get()
    if listed is None:
        return _list_objects(location)
    if location.text not in listed:
        listed[location.text] = _list_objects(location)
    return listed[location.text]


def _list_objects(location: Location) -> dict[str, "Blob"]:
    from kep.google import objects

    path = path_of(location)
    if not location.bucket or _GLOB & set(location.bucket):
        raise UserError(f'data.source: "{location}" names no bucket; give gs://BUCKET/NAME')
    if _GLOB & set(path):
        root = _fixed(path)
        blobs = objects.find(Location.in_cloud(re.split(r"[*?\[]", path)[0]).text, lambda name: _matches(name, path))
    else:
        root = path
        blobs = objects.find(location.text, None)
    paths = {f"{blob.bucket.name}/{blob.name}": blob for blob in blobs}
    paths = objects.paths_in({path: blob for path, blob in sorted(paths.items()) if not _hidden(path, root)})
    if not paths:
        raise _holds_nothing(location)
    return paths


def _is_glob(path: str) -> bool:
    """Return whether a local path stands for several: one that exists is itself, such as `[a].csv`."""
    return bool(_GLOB & set(path)) and not os.path.lexists(path)


def _fixed(pattern: str) -> str:
    """The folder above the first part of a glob that stands for several."""
    folder = PurePosixPath(pattern)
    while _GLOB & set(str(folder)):
        folder = folder.parent
    return str(folder)


def _hidden(path: str, root: str) -> bool:
    """Return whether a part of the path under the root begins with a dot or an underscore."""
    return any(part[0] in "._" for part in path[len(root) :].split("/") if part)


def _holds_nothing(location: Location) -> UserError:
    return UserError(f'data.source: "{location}" holds no files; check the path')


def _matches(path: str, pattern: str) -> bool:
    """Return whether a glob means the path: as in a shell, * stands for a part of one name and ** for folders."""
    if "**" in pattern:
        return fnmatchcase(path, pattern)
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _under(system: fs.FileSystem, folder: str) -> list[fs.FileInfo]:
    """The files under a folder; a folder that links lead to again is walked once."""
    seen: set[tuple[int, int]] = set()
    paths: list[str] = []
    for root, folders, names in os.walk(folder, followlinks=True):
        place = os.stat(root)
        if (place.st_dev, place.st_ino) in seen:
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        # What is no link comes first, so that a file keeps the path that it really has.
        folders.sort(key=lambda name: (os.path.islink(os.path.join(root, name)), name))
        paths += [os.path.join(root, name) for name in names]
    found: list[fs.FileInfo] = system.get_file_info(paths)
    return found


def _once(files: list[fs.FileInfo]) -> list[fs.FileInfo]:
    """One path of each file: its own before that of a link."""
    kept: dict[str, fs.FileInfo] = {}
    for info in sorted(files, key=lambda info: (os.path.realpath(info.path) != os.path.abspath(info.path), info.path)):
        kept.setdefault(os.path.realpath(info.path), info)
    return list(kept.values())


def _neighbour(system: fs.FileSystem, path: str) -> str:
    parent, _, name = path.rpartition("/")
    selector = fs.FileSelector(parent or "/", allow_not_found=True)
    return nearest(name, [info.base_name for info in system.get_file_info(selector)])


def digests(
    location: Location, base: Path = Path("."), only: Collection[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Yields each file's path under the location, and a digest of its content, in the order of `list_files`.

    The digest is the sha256 of a local file, and what Cloud Storage knows of an object: size and CRC32C.

    Args:
        location: a file, folder or glob.
        base: what a local path is relative to.
        only: paths of the files that are wanted; all when not given.
    """
    if location.is_cloud:
        found = ((path, f"{blob.size} {blob.crc32c}") for path, blob in _objects(location).items())
    else:
        paths = (info.path for info in list_files(location, base) if only is None or info.path in only)
        found = ((path, tree_digest(path)) for path in paths)
    for path, digest in found:
        if only is None or path in only:
            yield _relative(path, location, base), digest


def stamps(location: Location, base: Path = Path("."), only: Collection[str] | None = None) -> list[list[str | int]]:
    """Return stamps that change with the content of each file of a location, without reading it.

    Arguments as of `digests`.

    Returns:
        For each file its path, and generation on gs://, else size, time of the last change in ns, device and inode.
    """
    if location.is_cloud:
        found: list[list[str | int]] = [[path, int(blob.generation)] for path, blob in _objects(location).items()]
    else:
        found = []
        for info in list_files(location, base):
            state = os.stat(info.path)
            found.append([info.path, state.st_size, state.st_mtime_ns, state.st_dev, state.st_ino])
    return [one for one in found if only is None or one[0] in only]


def _relative(path: str, location: Location, base: Path) -> str:
    """The path under the folder that the location names; the base name for a file or a glob."""
    root = path_of(location, base).rstrip("/") + "/"
    return path.removeprefix(root) if path.startswith(root) else path.rpartition("/")[2]
