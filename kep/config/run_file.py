"""The run file: one YAML file that says everything a run depends on.

`load` is the way in. It refuses a file with mistakes with all of them at once, one sentence each.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import AliasChoices, Field, StringConstraints, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kep.config.data import DataSettings
from kep.config.ensemble import EnsembleSettings
from kep.config.evaluate import EvaluateSettings
from kep.config.export import ExportSettings
from kep.config.fit import BestEpochSettings, BestEpochTask, RetrainSettings
from kep.config.hardware import HardwareSettings
from kep.config.notify import NotifySettings
from kep.config.promote import SHARES, PromoteSettings
from kep.config.search import SearchSettings, TimeBudget
from kep.config.section import Section
from kep.config.unsupported import unsupported
from kep.core.errors import UserError, nearest

RESERVED = {"champions": "the champions", "batch": "the batch predictions"}
"""Names that no run may have, since they are folders beside the runs, and what those hold."""
WITH_TIME = {"max_trials": 1000, "top_n": 12}
"""Limits of a search that has a time budget, where the run file gives none."""
WHY_SHARE = 0.05
"""Share of a time budget that explanations take at most."""


class RunFile(Section):
    """A whole run. Paths in it are relative to the folder of the run file."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?$")]
    """Name of the folder of runs and of the champion: lower-case letters, digits and dashes."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of every random choice."""
    minutes: Annotated[float | None, Field(gt=0, exclude_if=lambda given: given is None)] = None
    """Time of the whole run in minutes, which its steps share. The search takes what the later steps leave it, and
    search.max_trials is 1000 by default."""
    data: DataSettings
    search: SearchSettings = SearchSettings()
    best_epoch: BestEpochSettings = BestEpochSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
    retrain: RetrainSettings = RetrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    promote: PromoteSettings = PromoteSettings()
    export: ExportSettings = ExportSettings()
    hardware: HardwareSettings = HardwareSettings()
    notify: NotifySettings = NotifySettings()

    @property
    def judged_by(self) -> str:
        """Metric that the ensemble is compared by: `promote.metric`, or else the one that its weights are for."""
        return self.promote.metric or self.ensemble.metric

    @property
    def time(self) -> TimeBudget | None:
        """What the search needs to know of the later steps; None without a time budget."""
        if self.minutes is None:
            return None
        return TimeBudget(
            minutes=self.minutes,
            best_epoch=self.best_epoch_task,
            retrain=self.retrain.enabled,
            members=self.ensemble.max_members,
            why_seconds=self.evaluate.why_seconds,
        )

    @property
    def best_epoch_task(self) -> BestEpochTask:
        """How each candidate is trained, and what is measured of it."""
        # By value: a run that is done again has all of its settings spelled out.
        usual = self.best_epoch.folds is None and self.best_epoch.seeds == BestEpochSettings().seeds
        return BestEpochTask(
            **self.best_epoch.model_dump(),
            latency_rows=None if self.ensemble.max_latency_ms is None else self.ensemble.latency_rows,
            adapts=usual and self.minutes is not None and self.retrain.enabled,
        )

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name in RESERVED:
            raise ValueError(f'"{name}" is the folder of {RESERVED[name]} beside the runs; choose another name')
        return name

    @model_validator(mode="after")
    def _time_is_shared(self) -> Self:
        if self.minutes is None:
            return self
        for key in ("max_minutes", "rounds", "from_run"):
            if getattr(self.search, key) is not None:
                name = "from" if key == "from_run" else key
                raise ValueError(f'"minutes" has no meaning with search.{name}; remove one of them')
        # What nobody asked for is limited by the time alone.
        free = {key: value for key, value in WITH_TIME.items() if key not in self.search.model_fields_set}
        object.__setattr__(self, "search", self.search.model_copy(update=free))
        if "why_seconds" not in self.evaluate.model_fields_set:
            seconds = min(self.evaluate.why_seconds, WHY_SHARE * 60 * self.minutes)
            object.__setattr__(self, "evaluate", self.evaluate.model_copy(update={"why_seconds": seconds}))
        return self

    @model_validator(mode="after")
    def _slices_are_evaluated(self) -> Self:
        for column in self.promote.require.slices:
            if column not in self.evaluate.slices:
                raise ValueError(f'promote.require.slices: "{column}" is not evaluated; add it to evaluate.slices')
        return self

    @model_validator(mode="after")
    def _differences_are_possible(self) -> Self:
        for key in ("better_by", "not_worse_than"):
            difference = getattr(self.promote, key)
            if difference is not None and difference >= 1 and self.judged_by in SHARES:
                raise ValueError(
                    f"promote.{key}: {self.judged_by} is between 0 and 1, and no two differ by {difference:g}; give a "
                    "difference such as 0.005"
                )
        return self

    @model_validator(mode="after")
    def _folds_are_retrained(self) -> Self:
        if self.best_epoch.folds is not None and not self.retrain.enabled:
            raise ValueError(
                "best_epoch.folds needs retrain.enabled: true, since no model of a fold was trained on all rows"
            )
        return self


_LONGEST = 1 << 20
"""Characters of a run file."""
_MOST_VALUES = 20_000
"""Values of a run file, those behind aliases counted each time."""
_LEADING_ZERO = re.compile(r"[-+]?0\d+")


class _Composer(Composer):
    """Refuses what a run file never holds on purpose, and what a reader could take in two ways.

    Of a key that stands twice in one section, ruamel.yaml would take the last beside a merge key.
    """

    def get_single_node(self) -> Node | None:
        """Return the file's nodes, once they are known to be few and to end.

        Raises:
            ComposerError: An alias stands inside of what it names, or aliases multiply the values.
        """
        root: Node | None = super().get_single_node()
        sizes: dict[int, int] = {}
        waiting = [] if root is None else [root]
        while waiting:
            node = waiting[-1]
            children = _children(node)
            if id(node) not in sizes:
                sizes[id(node)] = 0  # under way
                waiting += [child for child in children if sizes.get(id(child)) != 0 and id(child) not in sizes]
                if any(sizes.get(id(child)) == 0 for child in children):
                    raise ComposerError(None, None, "an alias stands inside of what it names", node.start_mark)
                continue
            waiting.pop()
            if sizes[id(node)] == 0:
                sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
                if sizes[id(node)] > _MOST_VALUES:
                    raise ComposerError(
                        None, None, f"it holds more than {_MOST_VALUES:,} values, aliases included", node.start_mark
                    )
        return root

    def compose_scalar_node(self, anchor: str | None) -> ScalarNode:
        """Return a value as it stands in the file.

        Raises:
            ComposerError: A number has leading zeros, which some take for octal.
        """
        node: ScalarNode = super().compose_scalar_node(anchor)
        if node.style is None and _LEADING_ZERO.fullmatch(str(node.value)):
            problem = f'{node.value} begins with a zero; write {int(node.value)}, or "{node.value}" for text'
            raise ComposerError(None, None, problem, node.start_mark)
        return node

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


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _parse(text: str) -> Any:
    """Read YAML 1.2, where only true and false are booleans: `on` is a setting, and `no` may be a class.

    Raises:
        YAMLError: It is not valid YAML, or not what a run file may hold.
    """
    if len(text) > _LONGEST:
        raise YAMLError(f"it has {len(text):,} characters, and a run file at most {_LONGEST:,}")
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer
    try:
        return yaml.load(text)
    except RecursionError:
        raise YAMLError("its values are nested too deeply") from None
    except ValueError as error:  # such as an integer of thousands of digits
        raise YAMLError(f"a value can't be read: {str(error).partition(';')[0]}") from None


def load(path: str | Path, overrides: list[str] | None = None) -> RunFile:
    """Read and validate a run file.

    Args:
        path: A YAML file.
        overrides: `key.path=value` settings that replace or add to the file's, value as in YAML.

    Raises:
        UserError: The file is missing, is no YAML mapping, or has mistakes: one sentence per mistake, one per line.
    """
    return validate(_content(Path(path), overrides))


def renamed(path: str | Path, overrides: list[str] | None = None) -> list[str]:
    """Return a sentence for each key of a run file that has another name today; arguments and errors as of `load`."""
    return list(_renamed(_content(Path(path), overrides), RunFile, ""))


def _renamed(content: dict[str, Any], section: type[Section], before: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if isinstance(field.validation_alias, AliasChoices):
            new, *old = map(str, field.validation_alias.choices)
            for key in content.keys() & set(old):
                yield f"{before}{key} is called {before}{new} today; the old name is still read"
        key, inner = field.alias or name, _section(field.annotation)
        if inner is not None and isinstance(content.get(key), dict):
            yield from _renamed(content[key], inner, f"{before}{key}.")


def _content(path: Path, overrides: list[str] | None) -> dict[str, Any]:
    """Return the content of a run file with the overrides; errors as of `load`, but for mistakes in values."""
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
    return content


def validate(content: dict[str, Any]) -> RunFile:
    """Return the run file with the given content.

    Raises:
        UserError: One sentence per mistake, one per line.
    """
    if wrong := _no_text(content):
        raise UserError(wrong)
    try:
        return RunFile.model_validate(content)
    except ValidationError as error:
        # A value that fits no branch of a union is one mistake: the first branch's sentence says it.
        first = {tuple(_path(mistake)): mistake for mistake in reversed(error.errors())}
        # Nor does the branch of a word say anything of a list with a mistake in it.
        inside = {path[:end] for path in first for end in range(len(path))}
        first = {path: one for path, one in first.items() if one["type"] != "literal_error" or path not in inside}
        raise UserError("\n".join(_sentence(mistake) for mistake in reversed(first.values()))) from None


def _no_text(value: Any, path: str = "") -> str:
    """Return the sentence for the first text that no file or column can bear; empty where all can."""
    if isinstance(value, dict):
        found = (_no_text(inner, f"{path}.{key}".lstrip(".")) or _no_text(key, path) for key, inner in value.items())
        return next(filter(None, found), "")
    if isinstance(value, list):
        return next(filter(None, (_no_text(inner, path) for inner in value)), "")
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value)):
        return f"{path}: {json.dumps(value)} holds a character that is no text; remove it"
    return ""


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
    wish = last if kind == "extra_forbidden" else given
    if (kind == "extra_forbidden" or path == "data.task") and (refused := unsupported(wish)):
        return f"{path}: {refused}"
    if path == "data.label" and isinstance(given, list):
        return f"{path}: {unsupported('labels')}"
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
    if kind == "finite_number":
        return f"{path}: expected a finite number, got {shown}"
    if path == "data.delimiter":
        return f'{path}: {shown} must be one character, such as ";" or "\\t"'
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


def _section(annotation: Any) -> type[Section] | None:
    """Return the first section in an annotation, such as one of the items of a list."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section, get_args(annotation))), None)


def _keys(parents: list[str | int]) -> list[str]:
    """Return the keys of the section at a path of keys."""
    section: Any = RunFile
    for part in parents:
        if isinstance(part, int):  # an index of a list, whose section the key before it names
            continue
        named = {field.alias or name: field for name, field in section.model_fields.items()}
        section = _section(named[part].annotation)
    return [field.alias or name for name, field in section.model_fields.items()]
