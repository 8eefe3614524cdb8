"""Pages of the commands, from Typer."""

from collections.abc import Iterator

import typer
from typer.cli import get_docs_for_click
from typer.core import TyperCommand, TyperGroup

from docs.generate.words import one_line
from kep.cli.main import app
from kep.cli.options import PANELS

EXAMPLE = "Example: "


def commands() -> Iterator[tuple[str, str, TyperCommand]]:
    """Yield the panel, the full name and the command of each command, in the order of `kep --help`."""
    for panel in PANELS:
        for name, command in main().commands.items():
            if getattr(command, "rich_help_panel", None) == panel:
                yield from ((panel, *one) for one in _flat(name, command))


def main() -> TyperGroup:
    """Return `kep` itself, the group of all commands."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def _flat(name: str, command: object) -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(command, TyperCommand):
        yield name, command
        return
    assert isinstance(command, TyperGroup)
    for inner, subcommand in command.commands.items():
        yield from _flat(f"{name} {inner}", subcommand)


def examples(command: TyperCommand) -> list[str]:
    """Return the command lines that the help of a command ends with."""
    return [part.strip().removeprefix(EXAMPLE) for part in (command.epilog or "").split("\n\n") if part.strip()]


def pages() -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the lines of each page of the commands."""
    listed = list(commands())
    lines = ["# Commands", ""]
    for panel, name in PANELS.items():
        lines += [f"## {panel}", ""]
        for _, full, command in (one for one in listed if one[0] == panel):
            said = command.get_short_help_str(limit=200)
            lines.append(f"- [`kep {full}`](commands-{name}.md#{_anchor(full)}): {said}")
        lines.append("")
    context = typer.Context(main(), info_name="kep")
    lines += ["## Options of every command", "", *_options(context)]
    yield "commands.md", lines
    for panel, name in PANELS.items():
        lines = [f"# Commands: {panel}", ""]
        for _, full, command in (one for one in listed if one[0] == panel):
            lines += _command(full, command)
        yield f"commands-{name}.md", lines


def _options(context: typer.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        if record := parameter.get_help_record(context):
            yield f"- `{record[0]}`: {record[1]}"
    yield ""


def _command(full: str, command: TyperCommand) -> list[str]:
    before, _, last = f"kep {full}".rpartition(" ")
    context = typer.Context(command, info_name=last)
    text = get_docs_for_click(obj=command, ctx=context, indent=1, name=last, call_prefix=before)
    shown = ["**Example**:", "", "```sh", *examples(command), "```", ""]
    said = command.help or ""
    whole = "\n\n".join(one_line(part) for part in said.split("\n\n"))
    text = text.replace(f"{command.epilog}\n\n", "").replace(said, whole)
    return [*text.rstrip("\n").splitlines(), "", *shown]


def _anchor(full: str) -> str:
    return f"kep-{full}".replace(" ", "-")
