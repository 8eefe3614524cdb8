"""Identity of a step's code: the modules of ours that it can reach, and the libraries that those import."""

import ast
import hashlib
import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT.name
_SOURCE_DIGITS = 16
_HASH = re.compile(rf"[0-9a-f]{{{_SOURCE_DIGITS}}}\.[0-9a-f]{{8}}")
_TEMPLATES = "templates"
"""Folder beside a module with the pages that it fills, which are code as well."""


@dataclass(frozen=True)
class Closure:
    """The code that a module can reach.

    Attributes:
        files: Source files and templates, relative to the package, sorted.
        libraries: Top-level names of third-party modules, sorted.
    """

    files: tuple[str, ...]
    libraries: tuple[str, ...]

    def source(self) -> str:
        """Return 16 hexadecimal digits of the sha256 over the names and the content of the files as they are now."""
        digest = hashlib.sha256()
        for name in self.files:
            digest.update(f"{name}\0".encode())
            digest.update((ROOT / name).read_bytes())
        return digest.hexdigest()[:_SOURCE_DIGITS]

    def versions(self) -> dict[str, str]:
        """Return the installed versions of the libraries' distributions, by name."""
        known = _distributions()
        names = {name for library in self.libraries for name in known.get(library, [])}
        return {name: _version(name) for name in sorted(names)}

    def hash(self) -> str:
        """Return the source's digits, and 8 of the versions': equal for code that must give equal results."""
        versions = hashlib.sha256(repr(sorted(self.versions().items())).encode()).hexdigest()[:8]
        return f"{self.source()}.{versions}"


def step_closure(step: str) -> Closure:
    """Return what a step's component can reach."""
    return closure(f"{PACKAGE}.components.{step}.component")


@cache
def closure(module: str) -> Closure:
    """Return what a module of this package can reach by its imports, also by those inside functions.

    Imports for type checkers alone don't count.

    Args:
        module: Full name, such as kep.components.ingest.component.
    """
    files: set[str] = set()
    libraries: set[str] = set()
    waiting, seen = [module], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path = _file(name)
        if path is None:
            continue
        files.add(str(path.relative_to(ROOT)))
        files.update(str(page.relative_to(ROOT)) for page in (path.parent / _TEMPLATES).glob("*.j2"))
        waiting.append(name.rpartition(".")[0])  # a package's own file is run before its modules
        for imported in _imports(path):
            if imported.split(".")[0] == PACKAGE:
                waiting.append(imported)
            else:
                libraries.add(imported.split(".")[0])
    # Google's clients carry bytes that are checked; no result depends on their version.
    libraries -= sys.stdlib_module_names | {"google"}
    return Closure(tuple(sorted(files)), tuple(sorted(libraries)))


def differs(given: str, now: str) -> bool:
    """Return whether the source of two hashes of a step's code differs.

    The versions of libraries may: a step that was submitted from a laptop runs in an image with its own. Whatever is no
    such hash, as in a pipeline that was started by hand, says nothing of the source.

    Args:
        given: Hash that the run was started with.
        now: Digits of the source as it is now.
    """
    return _HASH.match(given) is not None and given[:_SOURCE_DIGITS] != now


def _file(name: str) -> Path | None:
    """Return the source file of a module or package of ours; None for a name in a module, and for `kep` itself."""
    base = ROOT.joinpath(*name.split(".")[1:])
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file() and name != PACKAGE:
            return path
    return None


@cache
def _imports(path: Path) -> set[str]:
    """Return the names that a file imports: modules, and the names out of them, which may be modules, too."""
    found: set[str] = set()

    def walk(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                walk(node.orelse)
            else:
                for field in ("body", "orelse", "finalbody"):
                    walk(getattr(node, field, []))
                for handler in [*getattr(node, "handlers", []), *getattr(node, "cases", [])]:
                    walk(handler.body)

    walk(ast.parse(path.read_bytes()).body)
    return found


@cache
def _version(distribution: str) -> str:
    return version(distribution)  # reads and parses a file each time


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())
