"""Pages of the run file's keys, from its pydantic models."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from docs.generate.words import default_words, one_line, paragraph, type_words
from kep.config.run_file import RunFile
from kep.config.search import EarlierSearch
from kep.config.section import Section
from kep.core.versions import version

FOLDER = Path(__file__).parents[1] / "reference"
PAGES = {
    "data": ("Run file: data", ("data",)),
    "search": ("Run file: search and training", ("search", "best_epoch", "retrain")),
    "ensemble": ("Run file: ensemble, evaluation, promotion", ("ensemble", "evaluate", "promote", "export", "notify")),
    "hardware": ("Run file: hardware", ("hardware",)),
}
"""Title and sections of each page, by the end of its name."""
INTRODUCTION = """\
A run file is one YAML file that says everything a run depends on. `kep init DATA` writes one, and `kep check FILE`
validates it. Only `name` and `data` are needed: every other key has a default. Unknown keys are refused. YAML 1.2 is
read, so that only `true` and `false` are booleans."""


class UndocumentedError(Exception):
    """A key without a meaning: write a docstring under the field."""


def pages() -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the lines of each page of the run file."""
    fields = RunFile.model_fields
    lines = ["# Run file", "", *paragraph(INTRODUCTION)]
    for key, field in fields.items():
        if _section(field.annotation) is None:
            lines += _key(key, field, "##")
    lines += ["## Sections", ""]
    for name, (_, sections) in PAGES.items():
        for key in sections:
            lines.append(f"- [`{key}`](run-file-{name}.md#{_anchor(key)}): {_meaning(key, fields[key])}")
    yield "run-file.md", lines
    for name, (title, sections) in PAGES.items():
        seen: dict[type[Section], str] = {}
        lines = [f"# {title}", ""]
        for key in sections:
            lines += _of_section(key, fields[key], seen)
        yield f"run-file-{name}.md", lines


def _of_section(path: str, field: FieldInfo, seen: dict[type[Section], str]) -> list[str]:
    section = _section(field.annotation)
    if section is None:
        return _key(path, field)
    lines = [f"## `{path}`", "", _meaning(path, field), ""]
    if isinstance(field.annotation, type):
        given = "required" if field.is_required() else "its keys' defaults"
    else:  # one of several forms, or a list of sections
        given = default_words(field)
        lines += [f"Type: {type_words(field.annotation, field.metadata)}. Default: {given}.", ""]
    if section in seen:
        return [*lines, f"Keys: those of [`{seen[section]}`](#{_anchor(seen[section])}).", ""]
    seen[section] = path
    for name, inner in section.model_fields.items():
        lines += _of_section(f"{path}.{inner.alias or name}", inner, seen)
    return lines


def _key(path: str, field: FieldInfo, level: str = "###") -> list[str]:
    facts = f"Type: {type_words(field.annotation, field.metadata)}. Default: {default_words(field)}. {_since(path)}."
    return [f"{level} `{path}`", "", facts, "", _meaning(path, field), ""]


_SINCE = re.compile(r"^##+ `(?P<key>[^`]+)`\n\nType: .*(?P<since>Since: [0-9.]*[0-9])\.$", re.MULTILINE)


def _since(path: str) -> str:
    """Return the version that brought a key: as its page says, and today's for a key without a place there."""
    return _told().get(path, f"Since: {version('keras-ensemble-pipelines')}")


@cache
def _told() -> dict[str, str]:
    """Return what the pages say of their keys, by key."""
    texts = [page.read_text(encoding="utf-8") for page in FOLDER.glob("run-file*.md")]
    return {match["key"]: match["since"] for text in texts for match in _SINCE.finditer(text)}


def _meaning(path: str, field: FieldInfo) -> str:
    section = _section(field.annotation)
    said = field.description or (section.__doc__ if section is not None else None)
    if not said:
        raise UndocumentedError(f"{path} has no meaning; write a docstring under the field")
    text = one_line(said)
    text = text if text.endswith((".", "?", ":")) else f"{text}."
    if isinstance(field.validation_alias, AliasChoices):
        earlier = ", ".join(f"`{one}`" for one in field.validation_alias.choices[1:])
        text += f" Earlier name, which is still read: {earlier}."
    return text


def _section(annotation: Any) -> type[Section] | None:
    """Return the section that a key holds, also as one of its forms."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return None if annotation is EarlierSearch else annotation
    return next(filter(None, map(_section, get_args(annotation))), None)


def _anchor(path: str) -> str:
    return path.replace(".", "")
