"""Modules beside a user's file that it imports: they travel with its source, and are imported from there."""

import ast
import base64
import functools
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
import sysconfig
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType

from kep.core.errors import UserError

log = logging.getLogger("kep")

MOST = 500_000
"""Characters of all modules of a file, compressed: an engine takes a parameter of about a megabyte."""
_CARRIED = "__carried__"
"""Attribute of a module that came with a run: the hash of all modules that came together."""


def packed(source: bytes) -> str:
    """Return a source as text that travels in a parameter."""
    return base64.b64encode(zlib.compress(source, 9)).decode()


def unpacked(text: str) -> bytes:
    """Return the source that `packed` was given."""
    return zlib.decompress(base64.b64decode(text))


def modules_of(path: Path, base: Path) -> dict[str, str]:
    """Return what a file imports from its own folder or the run file's, directly or through such modules.

    Imports are read and not run, also those inside functions. Of a package all files travel. A name that this
    environment has installed, or Python's own library, is taken from there.

    Args:
        path: The user's file.
        base: Folder of the run file, where a module is looked for that is not beside the user's file.

    Returns:
        Packed source by path relative to its folder, such as `helper.py` or `blocks/__init__.py`.

    Raises:
        UserError: A module is not Python, or they are too large together.
    """
    found: dict[str, str] = {}
    waiting = [path]
    while waiting:
        for name in sorted(_imported(waiting.pop())):
            folder = next((one for one in (path.parent, base) if _there(one, name)), None)
            if folder is None:
                continue
            if _installed(name):
                _tell(f"{path.name} imports {name}: the installed one is taken, and not the one in {folder}")
                continue
            for file in _files(folder, name):
                place = file.relative_to(folder).as_posix()
                if place not in found and file != path:
                    found[place] = packed(file.read_bytes())
                    waiting.append(file)
    if sum(map(len, found.values())) > MOST:
        raise UserError(
            f"search.families: what {path.name} imports from {path.parent} is too large to travel with a run "
            f"({len(found)} files); install it as a package"
        )
    return dict(sorted(found.items()))


def install(modules: Mapping[str, str]) -> None:
    """Let imports find the modules that a file came with, in the place of those of the same names before."""
    for finder in [one for one in sys.meta_path if isinstance(one, _Finder)]:
        finder.forget(modules)
    if modules:
        sys.meta_path.insert(0, _Finder(modules))


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds and loads modules from the packed sources of one file."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._files = {_name(place): (place, text) for place, text in modules.items()}
        self._digest = hashlib.sha256(repr(sorted(modules.items())).encode()).hexdigest()
        for name in self._files:
            # All of them: one that is the same may hold something of one that is not.
            if getattr(sys.modules.get(name), _CARRIED, self._digest) != self._digest:
                del sys.modules[name]

    def forget(self, modules: Mapping[str, str]) -> None:
        """Leave names to another file's modules."""
        for place in modules:
            self._files.pop(_name(place), None)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._files:
            inside = any(name.startswith(f"{fullname}.") for name in self._files)
            # A folder without __init__.py.
            return importlib.machinery.ModuleSpec(fullname, None, is_package=True) if inside else None
        return importlib.util.spec_from_loader(fullname, self, is_package=self.is_package(fullname))

    def is_package(self, fullname: str) -> bool:
        return self._files[fullname][0].endswith("/__init__.py")

    def get_source(self, fullname: str) -> str:
        return unpacked(self._files[fullname][1]).decode()

    def get_code(self, fullname: str) -> CodeType:
        place, text = self._files[fullname]
        # Under its relative name, as the file itself: an error names the line in it.
        return compile(unpacked(text), place, "exec")

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, _CARRIED, self._digest)
        super().exec_module(module)


def _name(place: str) -> str:
    """Return the module's name of a file."""
    return place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def parsed(path: Path) -> ast.Module:
    """Return the tree of a user's file, which is not run.

    Raises:
        UserError: It is not Python.
    """
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise UserError(f"search.families: {path.name} is not Python: {error.msg} in line {error.lineno}") from None
    except ValueError as error:
        raise UserError(f"search.families: {path.name} is not Python: {error}") from None


def _imported(path: Path) -> set[str]:
    """Return the first parts of the names that a file imports absolutely; errors as of `parsed`."""
    tree = parsed(path)
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition(".")[0] for name in names if name}


@functools.cache
def _tell(sentence: str) -> None:
    """Say something once: a run file is read several times."""
    log.warning("%s", sentence)


def _there(folder: Path, name: str) -> bool:
    """Return whether a folder holds a module or a package."""
    return (folder / f"{name}.py").is_file() or any((folder / name).glob("**/*.py"))


def _files(folder: Path, name: str) -> list[Path]:
    """Return the files of a module or package in a folder."""
    package, module = folder / name, folder / f"{name}.py"
    if module.is_file() and not (package / "__init__.py").is_file():
        return [module]
    return sorted(package.rglob("*.py"))


def _installed(name: str) -> bool:
    """Return whether Python's own library has a module, or an installed distribution."""
    places = [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    return name in sys.stdlib_module_names or importlib.machinery.PathFinder.find_spec(name, places) is not None
