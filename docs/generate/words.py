"""Types, defaults and docstrings of the code in words, as Markdown."""

import json
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from kep.config.search import EarlierSearch
from kep.config.section import Section

_UNSAID = (type(None), EarlierSearch)
"""Forms that nobody writes: no value, and what `kep` notes of a search in run.json."""
_NAMES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Any: "any value",
    object: "any value",
}


def type_words(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Return a type in words, such as "whole number, at least 1".

    Args:
        annotation: Annotation of a field.
        metadata: What the field's `Annotated` says beside its type.
    """
    bounds = list(_bounds(metadata))
    return ", ".join([_plain(annotation), *bounds])


def _plain(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_words(inner[0], inner[1:])
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_plain(one) for one in inner if one not in _UNSAID))
    if origin is list:
        return f"list of {_plain(inner[0])}"
    if origin is tuple:
        return f"list of {len(inner)}: {_plain(inner[0])}"
    if origin is dict:
        return f"mapping of {_plain(inner[0])} to {_plain(inner[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section" if issubclass(annotation, Section) else f"`{annotation.__name__}`"
    return _NAMES.get(annotation, "any value")


_BOUNDS = (
    (Ge, "at least", "ge"),
    (Gt, "above", "gt"),
    (Le, "at most", "le"),
    (Lt, "below", "lt"),
    (MinLen, "at least", "min_length"),
)


def _bounds(metadata: Iterable[Any]) -> Iterable[str]:
    for one in metadata:
        if isinstance(one, FieldInfo):
            yield from _bounds(one.metadata)
        elif getattr(one, "pattern", None):
            yield f"matching `{one.pattern}`"
        else:
            yield from (f"{words} {getattr(one, name):,}" for kind, words, name in _BOUNDS if isinstance(one, kind))


def default_words(field: FieldInfo) -> str:
    """Return what a field is when it is not given: "required", "none", or the value as YAML takes it."""
    if field.is_required():
        return "required"
    if field.default_factory not in (None, list, dict):
        return "made anew"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "none"
    if isinstance(value, BaseModel):
        return "its keys' defaults"
    return f"`{value}`" if isinstance(value, str) and value else f"`{json.dumps(value)}`"


def one_line(text: str) -> str:
    """Return a text with single spaces between its words."""
    return " ".join(text.split())


def paragraph(text: str) -> list[str]:
    """Return the lines of a paragraph: one, and an empty one."""
    return [one_line(text), ""]


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return the lines of a Markdown table; a bar in a cell is escaped where it is not yet."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return lines + ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]


def _cell(text: str) -> str:
    return one_line(text).replace("\\|", "|").replace("|", "\\|")
