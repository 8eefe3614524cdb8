"""Commands of runs on Vertex AI and Kubeflow."""

from pathlib import Path
from typing import Annotated

import typer

from kep.cli.options import (
    CLOUD,
    HERE,
    LOCK,
    PREPARE,
    Account,
    AnyTarget,
    Anywhere,
    Board,
    Bucket,
    Experiment,
    Host,
    Images,
    Key,
    Labels,
    Namespace,
    Network,
    Overrides,
    Policy,
    Project,
    Region,
    Run,
    Runs,
    Target,
    What,
    Yes,
    console,
)
from kep.core.errors import UserError
from kep.engines.destination import Destination, named
from kep.engines.progress import lay_out, say

app = typer.Typer()


@app.command(
    rich_help_panel=CLOUD,
    epilog="Example: kep submit churn.yaml --project shop-ml --region europe-west4 --bucket gs://shop-data\n\n"
    "Example: kep submit churn.yaml --target kubeflow --host https://kubeflow.example.com/pipeline",
)
def submit(
    file: What,
    target: Target = "vertex",
    project: Project = "",
    region: Region = "",
    bucket: Bucket = "",
    host: Host = "",
    namespace: Namespace = "",
    experiment: Experiment = "",
    service_account: Account = "",
    network: Network = "",
    kms_key: Key = "",
    tensorboard: Board = "",
    labels: Labels = None,
    overrides: Overrides = None,
    images: Images = LOCK,
    cache: Annotated[bool, typer.Option(help="Reuse finished steps of earlier runs.")] = True,
    failure_policy: Policy = "slow",
    again: Annotated[bool, typer.Option(help="Submit even if the same run is done or under way.")] = False,
    wait: Annotated[bool, typer.Option(help="Follow the run until it has ended.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the tasks and the estimated cost; submit nothing.")
    ] = False,
    prices: Annotated[
        Path | None,
        typer.Option(help="Price list for --dry-run and hardware.max_cost, YAML; the built-in one by default."),
    ] = None,
    yes: Yes = False,
) -> None:
    """Run the pipeline on Vertex AI or Kubeflow; the same run is submitted only once."""
    from kep.engines import costs
    from kep.engines import submit as submitting
    from kep.engines.base import Options
    from kep.engines.prices import load
    from kep.pipelines.steps import PREDICTION_STEPS, STEPS

    place = Destination(target, project, region, host, namespace, experiment)
    given = Options(
        bucket,
        service_account,
        network,
        kms_key,
        cache=cache,
        fail_fast=failure_policy == "fast",
        tensorboard=tensorboard,
    )
    options = place.checked(given, labels)
    template = place.template(file, overrides, images)
    if dry_run:
        console.print(costs.plan(template, options, load(prices) if target == "vertex" else None))
        for line in place.rights(template, options):
            console.print(line, soft_wrap=True, markup=False)
    place.check_cost(template, prices, yes)
    if dry_run:
        return
    name = submitting.submit(place.engine, template, options, console, again)
    if wait:
        steps = PREDICTION_STEPS if template.predicts else STEPS
        raise typer.Exit(submitting.follow(place.engine, name, console, steps))


@app.command(
    rich_help_panel=PREPARE,
    epilog="Example: kep doctor churn.yaml --target vertex --project shop-ml --region europe-west4",
)
def doctor(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Run file to check, too.")] = None,
    target: Annotated[AnyTarget, typer.Option(help="Where it will run.")] = "local",
    project: Project = "",
    region: Region = "",
    bucket: Bucket = "",
    service_account: Account = "",
    host: Host = "",
    namespace: Namespace = "",
    overrides: Overrides = None,
    images: Images = LOCK,
) -> None:
    """Check what a run needs here, on Google Cloud or on Kubeflow; exit status 1 if something is missing."""
    from kep.engines import doctor as checking

    place: checking.Cloud | checking.Cluster | None = None
    if target == "vertex":
        place = checking.Cloud(Destination(target, project, region).vertex, bucket.rstrip("/"), service_account, images)
    elif target == "kubeflow":
        place = checking.Cluster(host, namespace, images)
    findings = list(checking.examine(file, overrides, place))
    console.print(checking.table(findings))
    raise typer.Exit(int(any(finding.status == "FAIL" for finding in findings)))


@app.command(
    rich_help_panel=HERE,
    epilog="Example: kep status churn\n\nExample: kep status churn --project shop-ml --region europe-west4",
)
def status(
    run: Run,
    target: Anywhere = None,
    project: Project = "",
    region: Region = "",
    host: Host = "",
    namespace: Namespace = "",
    runs: Runs = Path("runs"),
) -> None:
    """Show the steps of a run on this machine, or in the given project or host."""
    if where := named(target, project, host):
        from kep.engines import submit as submitting

        engine = Destination(where[0], project, region, host, namespace).engine
        raise typer.Exit(submitting.status(engine, run, console))
    from kep.engines.local import history, mirror

    mirror.pull_records(runs)
    raise typer.Exit(history.status(history.find_run(run, runs), console))


@app.command(rich_help_panel=CLOUD, epilog="Example: kep cancel churn --project shop-ml --region europe-west4")
def cancel(
    run: Run,
    target: Target = "vertex",
    project: Project = "",
    region: Region = "",
    host: Host = "",
    namespace: Namespace = "",
) -> None:
    """Cancel a run on Vertex AI or Kubeflow."""
    from kep.engines import submit as submitting

    submitting.cancel(Destination(target, project, region, host, namespace).engine, run, console)


@app.command("runs", rich_help_panel=HERE, epilog="Example: kep runs --name churn")
def list_runs(
    target: Anywhere = None,
    project: Project = "",
    region: Region = "",
    host: Host = "",
    namespace: Namespace = "",
    name: Annotated[str | None, typer.Option(help="Only runs of this run file.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of runs.")] = 20,
    runs: Runs = Path("runs"),
) -> None:
    """List the newest runs of this machine, and those of the given project or host."""
    from kep.engines.listing import listed
    from kep.engines.local import history, mirror

    mirror.pull_records(runs)
    lines = [run.line for run in history.history(runs, name, limit)]
    problem: UserError | None = None
    elsewhere = named(target, project, host)
    for where in elsewhere:
        from kep.engines import submit as submitting

        try:
            engine = Destination(where, project, region, host, namespace).engine
            lines += submitting.runs(engine, where, name, limit)
        except UserError as error:
            problem = problem or error
    if not (lines or elsewhere):
        history.check_known(runs, name)
    # What is known is shown before what went wrong.
    if lines or not problem:
        lay_out(console, listed(lines, limit))
    if problem:
        raise problem


@app.command(
    rich_help_panel=CLOUD,
    epilog="Example: kep publish churn.yaml --repository https://europe-west4-kfp.pkg.dev/shop-ml/ml --tag v1",
)
def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The run file, YAML.")],
    repository: Annotated[str, typer.Option(metavar="URL", help="https://REGION-kfp.pkg.dev/PROJECT/REPOSITORY")],
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Tag of this version; may be repeated.")] = None,
    overrides: Overrides = None,
    images: Images = LOCK,
) -> None:
    """Upload the compiled pipeline to a KFP repository of Artifact Registry."""
    from kep.engines import template
    from kep.google.vertex import login
    from kep.pipelines.images import locked

    made = template.of_run_file(file, overrides, locked(images))
    address = template.publish(made, repository.rstrip("/"), tags or [], login())
    say(console, f"published {address}")
    say(console, f"content sha256:{made.digest}")
