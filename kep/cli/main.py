"""The command line, `kep`: one file beside this per group of commands, what they do in the modules that they call."""

import io
import os
import sys
from typing import Annotated

import typer

from kep.cli import ensemble, prepare, rollout, run, schedule, submit
from kep.cli.options import CLOUD, USE, console
from kep.core.console import plain_console
from kep.core.environment import PAYER
from kep.core.errors import Status, UserError
from kep.core.versions import revision, version

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="From a run file and a data set to a tuned, retrained, honestly weighted and evaluated Keras ensemble.",
)
for group in (prepare, run, ensemble, submit):
    app.add_typer(group.app)
app.add_typer(schedule.app, name="schedule", rich_help_panel=CLOUD)
app.add_typer(rollout.app, name="rollout", rich_help_panel=USE)


def _version(asked: bool) -> None:
    if asked:
        source = revision()
        console.print(f"kep {version('keras-ensemble-pipelines')}" + (f" ({source})" if source else ""))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
    user_project: Annotated[
        str,
        typer.Option(metavar="PROJECT", envvar=PAYER, help="Project that pays for requests to requester-pays buckets."),
    ] = "",
) -> None:
    """Options of every command."""
    if user_project:
        os.environ[PAYER] = user_project


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that is not UTF-8 shows "?" where it lacks a letter.
            stream.reconfigure(errors="replace")
    errors = plain_console(stderr=True)
    try:
        app()
    except UserError as error:
        errors.print(f"error: {error}", soft_wrap=True)
        sys.exit(Status.MISTAKE)
    except UnicodeEncodeError as error:
        letter = error.object[error.start : error.end]
        sentence = f'the locale of this terminal has no "{letter}", which a path needs; set PYTHONUTF8=1'
        errors.print(f"error: {sentence}", soft_wrap=True)
        sys.exit(Status.MISTAKE)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        errors.print(f"error: {place}{error.strerror or error}", soft_wrap=True)
        sys.exit(Status.MISTAKE)
    except KeyboardInterrupt:
        sys.exit(Status.INTERRUPTED)


if __name__ == "__main__":
    main()
