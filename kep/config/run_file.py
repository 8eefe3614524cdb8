"""The run file: one YAML file that says everything a run depends on.

`load` is the way in. It refuses a file with mistakes with all of them at once, one sentence each.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from kep.config.data import DataSettings
from kep.config.ensemble import EnsembleSettings
from kep.config.evaluate import EvaluateSettings
from kep.config.export import ExportSettings
from kep.config.fit import BestEpochSettings, RetrainSettings
from kep.config.hardware import HardwareSettings
from kep.config.promote import PromoteSettings
from kep.config.search import SearchSettings
from kep.config.section import Section
from kep.core.errors import UserError, nearest


class RunFile(Section):
    """A whole run. Paths in it are relative to the folder of the run file."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?$")]
    """Lower-case letters, digits and dashes: the name of the runs' folder and of the champion."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Every random choice follows from it."""
    data: DataSettings
    search: SearchSettings = SearchSettings()
    best_epoch: BestEpochSettings = BestEpochSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
    retrain: RetrainSettings = RetrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    promote: PromoteSettings = PromoteSettings()
    export: ExportSettings = ExportSettings()
    hardware: HardwareSettings = HardwareSettings()

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        for taken, what in (("champions", "the champions"), ("batch", "the batch predictions")):
            if name == taken:
                raise ValueError(f'"{taken}" is the folder of {what} beside the runs; choose another name')
        return name

    @model_validator(mode="after")
    def _folds_are_retrained(self) -> Self:
        if self.best_epoch.folds is not None and not self.retrain.enabled:
            raise ValueError(
                "best_epoch.folds needs retrain.enabled: true, since no model of a fold was trained on all rows"
            )
        return self


class _Composer(Composer):
    """Refuses a key that stands twice in one section; beside a merge key, ruamel.yaml would take the last."""

    def compose_mapping_node(self, anchor: str | None) -> MappingNode:
        """Return a section as it stands in the file, before merge keys are replaced.

        Raises:
            ComposerError: A key stands twice; the mark is where it stands first.
        """
        node: MappingNode = super().compose_mapping_node(anchor)
        first: dict[str, Node] = {}
        for key, _ in node.value:
            if isinstance(key, ScalarNode) and first.setdefault(key.value, key) is not key:
                problem = f'the key "{key.value}" stands twice in one section'
                raise ComposerError(None, None, problem, first[key.value].start_mark)
        return node


def _parse(text: str) -> Any:
    """Read YAML 1.2, where only true and false are booleans: `on` is a setting, and `no` may be a class."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer
    return yaml.load(text)


def load(path: str | Path, overrides: list[str] | None = None) -> RunFile:
    """Read and validate a run file.

    Args:
        path: A YAML file.
        overrides: `key.path=value` settings that replace or add to the file's, value as in YAML.

    Raises:
        UserError: The file is missing, is no YAML mapping, or has mistakes: one sentence per mistake, one per line.
    """
    path = Path(path)
    try:
        content = _parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        siblings = [other.name for other in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise UserError(f"no run file {path}, which `kep init DATA` writes{nearest(path.name, siblings)}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is a folder" if path.is_dir() else "it is no text in UTF-8"
        if isinstance(error, PermissionError):
            reason = str(error.strerror)
        raise UserError(f"{path} can't be read: {reason}; give a run file, `kep init DATA` writes one") from error
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{path} is not valid YAML{place}: {getattr(error, 'problem', error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold sections such as name and data, `kep init DATA` writes an example")
    for override in overrides or []:
        _set(content, override)
    return validate(content)


def validate(content: dict[str, Any]) -> RunFile:
    """Return the run file with the given content.

    Raises:
        UserError: One sentence per mistake, one per line.
    """
    try:
        return RunFile.model_validate(content)
    except ValidationError as error:
        # A value that fits no branch of a union is one mistake: the first branch's sentence says it.
        first = {tuple(_path(mistake)): mistake for mistake in reversed(error.errors())}
        raise UserError("\n".join(_sentence(mistake) for mistake in reversed(first.values()))) from None


def _set(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise UserError(f'--set {override}: give key=value, such as "--set search.max_trials=5"')
    *sections, last = key.split(".")
    for section in sections:
        inner = content.get(section, {})
        if not isinstance(inner, dict):
            raise UserError(f'--set {override}: "{section}" is not a section')
        # A copy, since YAML's aliases make one mapping of several sections.
        content[section] = content = dict(inner)
    try:
        content[last] = _parse(value)
    except YAMLError as error:
        raise UserError(f"--set {override}: the value is not valid YAML") from error


def _sentence(mistake: Any) -> str:
    """Return a pydantic error as one sentence with the key's path."""
    *parents, last = _path(mistake) or [""]
    path = ".".join(str(part) for part in [*parents, last])
    given, kind, limits = mistake["input"], mistake["type"], mistake.get("ctx", {})
    shown = json.dumps(given, default=str)
    if kind == "extra_forbidden":
        allowed = _keys(parents)
        near = nearest(str(last), allowed) or f"; the keys are {', '.join(allowed)}"
        return f'{path}: unknown key "{last}"{near}'
    if kind == "missing":
        return f"{path}: is missing"
    if kind == "literal_error":
        allowed = limits["expected"].replace("'", "").replace(" or ", ", ")
        return f"{path}: {shown} is not one of {allowed}{nearest(str(given), allowed.split(', '))}"
    if kind == "value_error":
        return f"{path}: {limits['error']}" if path else str(limits["error"])
    if kind == "string_pattern_mismatch":
        return f"{path}: {shown} must be lower-case letters, digits and dashes, at most 50"
    if kind == "too_short":
        return f"{path}: the list is empty; give at least {limits['min_length']}"
    bounds = {"greater_than": ("gt", "above"), "greater_than_equal": ("ge", "at least")}
    bounds |= {"less_than": ("lt", "below"), "less_than_equal": ("le", "at most")}
    if kind in bounds:
        limit, words = bounds[kind]
        return f"{path}: {shown} must be {words} {limits[limit]}"
    wanted = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "string": "text",
        "list": "a list",
        "dict": "a section with keys",
        "model": "a section with keys",
        "tuple": "a list of two numbers",
    }
    for start, words in wanted.items():
        if kind.startswith(start):
            hint = f", such as [{given}]" if start == "list" and isinstance(given, str) else ""
            return f"{path}: expected {words}{hint}, got {shown}"
    return f"{path}: {mistake['msg'].lower()}, got {shown}"


def _path(mistake: Any) -> list[str | int]:
    return [part for part in mistake["loc"] if not _is_branch(part)]


def _is_branch(part: str | int) -> bool:
    """Return whether the part is a branch of a union, not a key: `literal['auto']`, `constrained-int`, `list[str]`."""
    return isinstance(part, str) and ("[" in part or part in ("constrained-int", "constrained-float", "int", "float"))


def _keys(parents: list[str | int]) -> list[str]:
    """Return the keys of the section at a path of keys."""
    section: Any = RunFile
    for part in parents:
        if isinstance(part, int):  # an index of a list, whose section the key before it names
            continue
        annotation = section.model_fields[part].annotation
        options = [annotation, *get_args(annotation)]
        section = next(o for o in options if isinstance(o, type) and issubclass(o, Section))
    return list(section.model_fields)
