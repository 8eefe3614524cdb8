"""Commands that make something to start from."""

from pathlib import Path
from typing import Annotated

import typer

from kep.cli.options import console

app = typer.Typer(no_args_is_help=True, help="Make a repository for a team's own project.")


@app.callback()
def _group() -> None:
    """Keep `project` a command of its own: Typer makes a lone command the group itself."""


@app.command(epilog="Example: kep new project churn --images containers/images.lock.yaml")
def project(
    folder: Annotated[Path, typer.Argument(metavar="NAME", help="Folder to make; it names the run file, too.")],
    images: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Lock file of the published images that the project's are built on."),
    ] = None,
) -> None:
    """Make a repository: run files, a family of its own, sample rows, tests, images, Cloud Build."""
    from kep.engines.project import SHORT, make_project

    for path in make_project(folder, images):
        console.print(str(folder / path), markup=False, soft_wrap=True)
    console.print(f"`cd {folder}`, then `kep check {SHORT}.yaml`; README.md has every step", soft_wrap=True)
