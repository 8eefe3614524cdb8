"""Pages of the files that steps write, and of events and messages, from their pydantic models."""

import importlib
from collections.abc import Iterator
from types import ModuleType

from pydantic import BaseModel

from docs.generate.words import default_words, one_line, paragraph, table, type_words
from kep.artifacts.event import Event
from kep.artifacts.notification import Notification
from kep.core.json_model import JsonFile, JsonModel

PAGES = {
    "search": ("Artifacts of the search", ("trials", "study", "best_epoch")),
    "ensemble": ("Artifacts of the ensemble", ("weights", "member", "predictions", "export", "drift")),
    "evaluation": ("Artifacts of the evaluation", ("evaluation", "explanation", "interval", "verdict")),
    "run": ("Artifacts of a run", ("run", "step", "report", "ingest", "engine_run")),
}
"""Title and modules of kep.artifacts of each page, by the end of its name."""
INTRODUCTION = """\
An artifact is a folder with a typed JSON file and, for arrays, NumPy files beside it. Writes are atomic. Each JSON
file holds the fingerprint of its content, and its reader verifies it. None in a field means
that the value does not exist."""


def pages() -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the lines of each page."""
    lines = ["# Artifacts", "", *paragraph(INTRODUCTION)]
    rows = []
    for name, (_, modules) in PAGES.items():
        for model in (one for module in modules for one in _models(_module(module))):
            if issubclass(model, JsonFile) and "FILE" in vars(model):
                link = f"[`{model.__name__}`](artifacts-{name}.md#{model.__name__.lower()})"
                rows.append((f"`{model.FILE}`", link, _meaning(model)))
    yield "artifacts.md", [*lines, *table(("file", "content", "meaning"), rows), ""]
    for name, (title, modules) in PAGES.items():
        lines = [f"# {title}", ""]
        for module in modules:
            for model in _models(_module(module)):
                lines += _model(model)
        yield f"artifacts-{name}.md", lines
    lines = ["# Events and messages", ""]
    lines += [one_line(_module("event").__doc__ or ""), "", *_model(Event), *_model(Notification)]
    yield "events.md", lines


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"kep.artifacts.{name}")


def _models(module: ModuleType) -> Iterator[type[JsonModel]]:
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, JsonModel) and value.__module__ == module.__name__:
            yield value


def _meaning(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").partition("\n\n")[0]


def _model(model: type[JsonModel]) -> list[str]:
    lines = [f"## `{model.__name__}`", ""]
    if issubclass(model, JsonFile) and "FILE" in vars(model):
        lines += [f"File: `{model.FILE}`.", ""]
    lines += [one_line(_meaning(model)), ""]
    rows = [
        (
            f"`{field.alias or name}`",
            type_words(field.annotation, field.metadata),
            "" if field.is_required() else default_words(field),
            field.description or "",
        )
        for name, field in model.model_fields.items()
    ]
    return [*lines, *table(("field", "type", "default", "meaning"), rows), ""]
