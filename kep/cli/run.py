"""Commands of runs on this machine."""

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from kep.cli.options import CLOUD, HERE, LOCK, RESULTS, AnyTarget, Overrides, RunFilePath, Runs, console, quiet
from kep.core.errors import UserError

Runner = Literal["subprocess", "docker"]

app = typer.Typer()


@app.command(rich_help_panel=HERE, epilog="Example: kep run pipelines/configs/digits.yaml --set search.max_trials=6")
def run(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The run file, YAML.")] = None,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    again_from: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="Run this step and all after it again.")
    ] = None,
    cache: Annotated[bool, typer.Option(help="Reuse finished steps of earlier runs.")] = True,
    like: Annotated[Path | None, typer.Option(metavar="RUN", help="Folder of an earlier run to do again.")] = None,
    force: Annotated[bool, typer.Option(help="Promote the ensemble even where a rule says no.")] = False,
    runner: Annotated[
        Runner, typer.Option(help="Run each step in a process, or in a container of the images of `make image`.")
    ] = "subprocess",
    minutes: Annotated[
        float | None, typer.Option(help="Time of the whole run in minutes, in place of the run file's.")
    ] = None,
) -> None:
    """Run the whole pipeline on this machine; after an interruption the same command goes on where it stopped.

    Exit status: 0 the ensemble serves, 1 a step failed, 2 the input is wrong, 4 the ensemble was not promoted.
    """
    began = time.time()
    from kep.config.run_file import load
    from kep.core.errors import nearest
    from kep.engines.local import run as running
    from kep.pipelines.steps import STEPS

    if (file is None) == (like is None):
        raise UserError("give a run file, or --like with the folder of an earlier run, not both")
    if again_from is not None and again_from not in STEPS:
        raise UserError(
            f"--from: {again_from} is not a step{nearest(again_from, STEPS)}; the steps are {', '.join(STEPS)}"
        )
    if minutes is not None:
        overrides = [*(overrides or []), f"minutes={minutes}"]
    if file is not None:
        settings, base = load(file, overrides), file.parent
    if like is not None:
        if overrides:
            raise UserError("--like does an earlier run again as it was; it takes neither --set nor --minutes")
        settings, base = running.like(like, console)
    from_step = again_from if cache else "ingest"
    raise typer.Exit(running.run(settings, base, runs, console, from_step, force, runner, began))


@app.command(rich_help_panel=RESULTS, epilog="Example: kep tensorboard digits --port 6006")
def tensorboard(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or a run file's name for its latest run.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free one.")] = 6006,
    runs: Runs = Path("runs"),
    instance: Annotated[
        str,
        typer.Option(
            "--upload",
            metavar="INSTANCE",
            help="Upload to this TensorBoard instance of Vertex AI instead, projects/P/locations/R/tensorboards/ID.",
        ),
    ] = "",
) -> None:
    """Show a run's learning curves and its search in TensorBoard, until Ctrl-C."""
    from kep.engines.local.runner import enter_step_environment

    enter_step_environment()
    with quiet():
        from kep.delivery.tensorboard import tensorboard, upload

        if instance:
            upload(run, runs, instance, console)
        else:
            tensorboard(run, runs, port, console)


@app.command(rich_help_panel=RESULTS, epilog="Example: kep report digits --open")
def report(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run's folder, or a run file's name for its latest run; the index of all runs without it.",
        ),
    ] = None,
    runs: Runs = Path("runs"),
    browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Print the path of a run's report, or of the index of all runs."""
    import webbrowser

    if name is None:
        from kep.engines.local.index import write_index
        from kep.engines.local.mirror import pull_records

        pull_records(runs)
        path = write_index(runs).resolve()
    else:
        from kep.engines.local.finding import find

        path = (find(name, runs) / "report.html").resolve()
    print(path)
    if browser:
        webbrowser.open(path.as_uri())


@app.command(rich_help_panel=RESULTS, epilog="Example: kep compare churn@previous churn -o compare.html")
def compare(
    old: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="Older run: its folder, a name for its latest, NAME/RUN, NAME@previous, NAME@champion.",
        ),
    ],
    new: Annotated[str, typer.Argument(metavar="B", help="Newer run, in any of these forms.")],
    runs: Runs = Path("runs"),
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="HTML page to write, too.")
    ] = None,
) -> None:
    """Show what differs between two runs, and whether the newer one is better on shared test rows."""
    from kep.engines.local.compare import compare_runs

    compare_runs(old, new, runs, output, console)


@app.command(rich_help_panel=CLOUD, epilog="Example: kep compile pipelines/configs/digits.yaml -o pipeline.yaml")
def compile(
    file: RunFilePath,
    output: Annotated[Path, typer.Option("-o", "--output", help="The YAML to write.")] = Path("pipeline.yaml"),
    overrides: Overrides = None,
    target: Annotated[AnyTarget, typer.Option(help="Where it will run; the cloud takes images by digest.")] = "local",
    images: Annotated[Path, typer.Option(help="Lock file of the images, for vertex and kubeflow.")] = LOCK,
    runs: Runs = Path("runs"),
) -> None:
    """Compile the pipeline to YAML for Kubeflow Pipelines and Vertex AI."""
    from kep.config.run_file import load
    from kep.engines import earlier as searches
    from kep.engines.local import earlier
    from kep.pipelines.compile import compile_training
    from kep.pipelines.images import locked, with_server
    from kep.pipelines.machines import on_kubernetes
    from kep.pipelines.parameters import arguments

    settings = load(file, overrides)
    if target == "local":
        settings = earlier.resolved(settings, file.parent, runs)
    else:
        settings = searches.resolved(settings, file.parent, searches.in_cloud)
    defaults = arguments(settings, file.parent, Path("champions"))
    if target == "local":
        compile_training(output, defaults)
    else:
        named = locked(images)
        defaults = with_server(defaults, named, target)
        console.print(
            "note: `kep submit` names the data and the champion's folder; started another way, the pipeline ingests "
            "each time, and a folder of champions has to be given as its input champion",
            soft_wrap=True,
        )
        spec = compile_training(output, defaults, named, settings.hardware.machines, target)
        if target == "kubeflow" and (given := on_kubernetes(spec)):
            console.print("note: `kep submit` starts it with these inputs; do so where you start it another way")
            for name, value in given.items():
                console.print(f"  {name}: {value}")
    console.print(f"wrote {output}")
