"""Pages of metrics, exit statuses and environment variables, from the constants that define them."""

import ast
import re
from collections.abc import Iterator
from inspect import getsource
from itertools import pairwise
from types import ModuleType

from typer.core import TyperOption

from docs.generate.commands import commands, main
from docs.generate.words import one_line, table
from kep.core import environment, errors
from kep.core.environment import SET_BY_USERS
from kep.core.errors import Status
from kep.stats.metrics import LOSS_MEANINGS, METRICS

STEPS = "Steps read these. The engine that runs a step sets them; nobody has to."
_MOST_OPTIONS = 3
COMMANDS = "These stand in for options of commands; an option that is given wins."


def pages() -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the lines of each page."""
    yield "metrics.md", list(_metrics())
    yield "exit-status.md", list(_statuses())
    yield "environment.md", list(_variables())


def _metrics() -> Iterator[str]:
    yield from ("# Metrics", "")
    yield from ("`loss` is what weights and searches go by where nothing else is asked for:", "")
    yield from table(("task", "loss"), [(f"`{task}`", said) for task, said in LOSS_MEANINGS.items()])
    yield from ("", "The other metrics:", "")
    rows = [
        (f"`{name}`", ", ".join(metric.tasks), "lower" if metric.direction == "min" else "higher", metric.meaning)
        for name, metric in METRICS.items()
    ]
    yield from (*table(("metric", "tasks", "better", "meaning"), rows), "")


def _statuses() -> Iterator[str]:
    yield from ("# Exit statuses", "", one_line(Status.__doc__ or ""), "")
    said = docstrings(errors, "Status")
    yield from (*table(("status", "meaning"), [(f"`{one.value}`", said[one.name]) for one in Status]), "")


def _variables() -> Iterator[str]:
    yield from ("# Environment variables", "", "## Options of commands", "", COMMANDS, "")
    used: dict[str, list[str]] = {}
    of_commands = [(name, parameter) for _, name, command in commands() for parameter in command.params]
    for name, parameter in [*(("", one) for one in main().params), *of_commands]:
        if isinstance(parameter.envvar, str):
            option = parameter.opts[-1] if isinstance(parameter, TyperOption) else str(parameter.metavar)
            used.setdefault(f"`{parameter.envvar}`", []).append(f"`{f'kep {name}'.strip()} {option}`")
    yield from (*table(("variable", "options"), [(name, _shortened(used[name])) for name in sorted(used)]), "")
    said = {getattr(environment, name): meaning for name, meaning in docstrings(environment).items()}
    yield from ("## Logins and payment", "")
    yield from (*table(("variable", "meaning"), [(f"`{name}`", said[name]) for name in SET_BY_USERS]), "")
    yield from ("## Steps", "", STEPS, "")
    others = [(f"`{name}`", meaning) for name, meaning in said.items() if _is_variable(name)]
    yield from (*table(("variable", "meaning"), others), "")


def _shortened(options: list[str]) -> str:
    """Return the options of a variable; one that many commands share stands once."""
    if len(options) <= _MOST_OPTIONS:
        return ", ".join(options)
    return f"`{options[0].rpartition(' ')[2]} of {len(options)} commands"


def _is_variable(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch("[A-Z_]+", name) is not None and name not in SET_BY_USERS


def docstrings(module: ModuleType, name: str = "") -> dict[str, str]:
    """Return the docstring under each constant of a module, or of a class in it, by name."""
    body = ast.parse(getsource(module)).body
    if name:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == name)
    found = {}
    for constant, said in pairwise(body):
        if isinstance(constant, ast.Assign) and isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant):
            (target,) = constant.targets
            if isinstance(target, ast.Name):
                found[target.id] = one_line(str(said.value.value))
    return found
