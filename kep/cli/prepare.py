"""Commands before a run: write a run file, look at what it would do."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from kep.cli.options import PREPARE, Overrides, RunFilePath, Runs, console, quiet

app = typer.Typer()
new = typer.Typer(no_args_is_help=True, help="Make a repository for a team's own project.")
app.add_typer(new, name="new", rich_help_panel=PREPARE)


@app.command(rich_help_panel=PREPARE, epilog="Example: kep init churn.csv --label churned")
def init(
    data: Annotated[str, typer.Argument(help="A data file, folder or glob, or sklearn:digits.")],
    label: Annotated[str | None, typer.Option(help="Column to predict; guessed when not given.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The run file to write; NAME.yaml by default.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Write every setting, not only the most used ones.")] = False,
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Write a commented run file for a data set."""
    import yaml

    from kep.engines.example import example, write

    text = example(data, label, Path(), output.parent if output else Path(), full)
    settings = yaml.safe_load(text)
    path = output or Path(f"{settings['name']}.yaml")
    write(path, text, force)
    if label is None and "label" in settings["data"]:
        console.print(f"label: guessed {settings['data']['label']}; change it with --label")
    console.print(f"wrote {path}; `kep check {path}` says what it would do")


@app.command(rich_help_panel=PREPARE, epilog="Example: kep check pipelines/configs/digits.yaml")
def check(file: RunFilePath, overrides: Overrides = None, runs: Runs = Path("runs")) -> None:
    """Show what a run would do: rows, columns, types, classes, trainings, time.

    Your own families are built, and trained on one batch of made-up rows. For BigQuery the cost of reading is shown
    first; on a terminal the command asks before it reads.
    """
    from kep.config.run_file import load, renamed
    from kep.engines import preflight as checking
    from kep.engines.local.earlier import resolved
    from kep.engines.queries import announced

    settings = resolved(load(file, overrides), file.parent, runs)
    for sentence in renamed(file, overrides):
        console.print(f"note: {sentence}", soft_wrap=True)
    told = announced(settings.data)
    for sentence in told:
        console.print(sentence)
    if told and sys.stdin.isatty() and not typer.confirm("read it now?", default=True):
        return
    console.print(checking.check(settings, file.parent, runs))


@app.command(rich_help_panel=PREPARE, epilog="Example: kep space pipelines/configs/digits.yaml")
def space(file: RunFilePath, overrides: Overrides = None) -> None:
    """Show what the search can try: each family's hyperparameters, how many configurations, and a sample model."""
    from kep.config.run_file import load
    from kep.engines.local.runner import enter_step_environment

    settings = load(file, overrides)
    enter_step_environment()
    with quiet():
        from kep.engines.space import show

    console.print(show(settings, file.parent))


@app.command(
    rich_help_panel=PREPARE,
    epilog="Example: kep dockerfile churn.yaml --base europe-docker.pkg.dev/shop/kep/cpu@sha256:…",
)
def dockerfile(
    file: RunFilePath,
    base: Annotated[str, typer.Option(metavar="IMAGE", help="Published image, by digest.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The Dockerfile to write.")] = Path("Dockerfile"),
    overrides: Overrides = None,
) -> None:
    """Write a Dockerfile that adds the packages of your own families to a published image."""
    from kep.config.run_file import load
    from kep.models.registry import travelling
    from kep.pipelines.derived import write_dockerfile

    settings = load(file, overrides)
    packages = write_dockerfile(file, travelling(settings.search.families, file.parent), base, output)
    console.print(f"wrote {output}: {', '.join(packages)}", soft_wrap=True)


@new.callback()
def _group() -> None:
    """Keep `project` a command of its own: Typer makes a lone command the group itself."""


@new.command(epilog="Example: kep new project churn --images containers/images.lock.yaml")
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
