"""Needs of a user's own family beside its file: packages, and arguments of its HyperModel."""

import inspect
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from kep.config.search import OwnFamily
from kep.core.errors import UserError, nearest


def packages_of(family: OwnFamily, base: Path) -> list[str]:
    """Return what a family asks pip for, sorted, each once.

    Args:
        family: The family in the run file.
        base: Folder of the run file, which `requirements` starts from.

    Raises:
        UserError: The file of requirements does not exist, or a line is none.
    """
    lines = [("packages", text) for text in family.packages]
    if family.requirements is not None:
        path = base / family.requirements
        if not path.is_file():
            raise UserError(f"search.families: {family.file}: no file {family.requirements} in {base}")
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            text = line.partition(" #")[0].strip()
            if text and not text.startswith("#"):
                lines.append((path.name, text))
    found = set()
    for where, text in lines:
        try:
            found.add(str(Requirement(text)))
        except InvalidRequirement:
            raise UserError(
                f'search.families: {family.file}: "{text}" in {where} is not a requirement of pip; expected a package '
                "such as einops>=0.8"
            ) from None
    return sorted(found)


def check_packages(specs: Iterable[Mapping[str, Any]]) -> None:
    """Refuse families whose packages this environment lacks.

    Args:
        specs: Families, as `kep.models.registry.travelling` describes them.

    Raises:
        UserError: The first package that is missing, or of another version.
    """
    for spec in specs:
        for text in spec.get("packages", []):
            if (has := _lacks(Requirement(text))) is not None:
                raise UserError(
                    f"search.families: {spec['name']} needs {text}, and this environment has {has}; pip install "
                    f'"{text}", or for an image see `kep dockerfile`'
                )


def _lacks(wanted: Requirement) -> str | None:
    """Return what there is in the place of a requirement that is not met; None where it is."""
    if wanted.marker is not None and not wanted.marker.evaluate():
        return None
    try:
        has = version(wanted.name)
    except PackageNotFoundError:
        return "none"
    return None if wanted.specifier.contains(has, prereleases=True) else f"{wanted.name} {has}"


def check_arguments(where: str, made: type, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that a HyperModel can't be made with.

    Args:
        where: Class and file, for messages.
        made: The class.
        arguments: Arguments by name.

    Raises:
        UserError: A name is unknown, or one without a default is missing.
    """
    known = inspect.signature(made).parameters
    names = [name for name, one in known.items() if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    anything = any(one.kind is one.VAR_KEYWORD for one in known.values())
    for name in arguments:
        if name not in names and not anything:
            raise UserError(
                f'search.families: {where} takes no argument "{name}"{nearest(name, names)}; it takes '
                f"{', '.join(names) or 'none'}"
            )
    for name in names:
        if known[name].default is inspect.Parameter.empty and name not in arguments:
            raise UserError(
                f'search.families: {where} needs the argument "{name}"; give it as '
                f"{{file: …, arguments: {{{name}: …}}}}, or give it a default"
            )
