"""Command lines of `kep` in texts, held against the options of the commands; nothing is run."""

import re
import shlex
from typing import Any, Literal, get_args, get_origin

import typer
from typer.core import TyperGroup

from kep.cli.main import app

USAGE_ERROR = typer.BadParameter.__base__
"""An unknown option, or one without its value."""
_STOPS = {"|", ">", "2>", "&&", "||", ";", "&"}


def lines(text: str) -> list[str]:
    """The command lines of `kep` in a block, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [
        line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
        for line in joined.splitlines()
        if re.match(r"\s*(\$ )?(\.venv/bin/)?kep ", line) and "[OPTIONS]" not in line
    ]


def problem(line: str) -> str | None:
    """Return why a command line would not be taken; None where it would."""
    words: list[str] = []
    for word in shlex.split(line, comments=True)[1:]:
        if word in _STOPS:
            break
        words.append(word)
    command = typer.main.get_command(app)
    while isinstance(command, TyperGroup):
        context = typer.Context(command, info_name=command.name)
        if words and words[0].startswith("-"):
            _, words, _ = command.make_parser(context).parse_args(words)
            if not words:
                return None
        if not words:
            return f"{line}: names no command"
        name, *words = words
        if name not in command.commands:
            return f"{line}: {name} is not a command"
        command = command.commands[name]
    context = typer.Context(command, info_name=command.name)
    if "--help" in words:
        return None
    try:
        given, _, _ = command.make_parser(context).parse_args(words)
    except USAGE_ERROR as error:
        return f"{line}: {error.format_message()}"
    for parameter in command.params:
        value = given.get(parameter.name)
        missing = value is None or value == () or getattr(value, "name", "") == "UNSET"
        if parameter.required and missing and not parameter.envvar:
            return f"{line}: {parameter.name} is missing"
        choices = _choices(parameter.type_descriptor.annotation)
        if choices and isinstance(value, str) and value not in choices and not value.isupper():
            return f"{line}: {value} is not one of {', '.join(choices)}"
    return None


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for one in get_args(annotation) for choice in _choices(one)]
