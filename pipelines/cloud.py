"""The commands of `kep` that talk to Google Cloud. What they do lives in the modules that they call."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from components.shared.errors import UserError

if TYPE_CHECKING:
    from pipelines.submit import Options
    from pipelines.template import Template
    from pipelines.vertex import Vertex

app = typer.Typer()
schedules = typer.Typer(no_args_is_help=True, help="Start runs on Vertex AI again and again.")
app.add_typer(schedules, name="schedule")
console = Console(highlight=False)

Project = Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_PROJECT", help="The project's id.")]
Region = Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_REGION", help="Such as europe-west4.")]
Bucket = Annotated[
    str,
    typer.Option(metavar="GS://…", envvar="KEP_BUCKET", help="Takes the artifacts and the champions: gs://BUCKET/…."),
]
What = Annotated[
    str, typer.Argument(metavar="FILE", help="A run file, or a published template: https://…-kfp.pkg.dev/…, gs://….")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as search.max_trials=5."),
]
Images = Annotated[Path, typer.Option(help="The lock of the images.")]
Account = Annotated[str, typer.Option(metavar="EMAIL", help="Service account that the steps run as.")]
Network = Annotated[str, typer.Option(help="Network to peer with: projects/NUMBER/global/networks/NAME.")]
Key = Annotated[str, typer.Option("--kms-key", help="Key that encrypts what a run makes: projects/…/cryptoKeys/K.")]
Labels = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; may be repeated.")]
Policy = Annotated[
    Literal["slow", "fast"],
    typer.Option(help="After a failed step: slow runs what still can, fast starts no further step."),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or a run file's name for its newest run.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the schedule.")]
Zone = Annotated[
    str | None, typer.Option("--time-zone", metavar="ZONE", help="Of --cron, --start and --end; UTC when not given.")
]
Start = Annotated[datetime | None, typer.Option(help="No run before this moment.")]
End = Annotated[datetime | None, typer.Option(help="No run after this moment.")]
Concurrent = Annotated[
    int | None, typer.Option("--max-concurrent-runs", min=1, help="Runs that may be under way at once.")
]
Queue = Annotated[bool | None, typer.Option("--queue/--skip", help="Whether a run beyond those waits or is left out.")]

LOCK = Path("containers/images.lock.yaml")
PRICES = Path(__file__).with_name("prices.yaml")


@app.command(epilog="Example: kep submit churn.yaml --project shop-ml --region europe-west4 --bucket gs://shop-data")
def submit(
    file: What,
    project: Project,
    region: Region,
    bucket: Bucket,
    target: Annotated[Literal["vertex"], typer.Option(help="Where it runs.")] = "vertex",
    service_account: Account = "",
    network: Network = "",
    kms_key: Key = "",
    labels: Labels = None,
    overrides: Overrides = None,
    images: Images = LOCK,
    cache: Annotated[bool, typer.Option(help="Reuse finished steps of earlier runs.")] = True,
    failure_policy: Policy = "slow",
    again: Annotated[bool, typer.Option(help="Submit it also when the same run is done or under way.")] = False,
    wait: Annotated[bool, typer.Option(help="Follow the run until it has ended.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would be and cost; submit nothing.")] = False,
    prices: Annotated[Path, typer.Option(help="Prices for --dry-run, YAML.")] = PRICES,
) -> None:
    """Run the pipeline on Vertex AI; the same run is submitted once."""
    from pipelines import submit as submitting

    vertex = _vertex(project, region)
    options = _options(region, bucket, service_account, network, kms_key, labels, failure_policy, cache)
    template = _template(file, overrides, images, vertex)
    if dry_run:
        from pipelines import costs

        console.print(costs.plan(template, options, costs.load(prices)))
        return
    name = submitting.submit(vertex, template, options, console, again)
    if wait:
        raise typer.Exit(submitting.follow(vertex, name, console))


@app.command(epilog="Example: kep doctor churn.yaml --target vertex --project shop-ml --region europe-west4")
def doctor(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A run file to look at, too.")] = None,
    target: Annotated[Literal["local", "vertex"], typer.Option(help="Where it will run.")] = "local",
    project: Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_PROJECT", help="The project's id.")] = "",
    region: Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_REGION", help="Such as europe-west4.")] = "",
    bucket: Annotated[str, typer.Option(metavar="GS://…", envvar="KEP_BUCKET", help="Of the artifacts.")] = "",
    service_account: Account = "",
    overrides: Overrides = None,
    images: Images = LOCK,
) -> None:
    """Look at what a run needs, here or on Google Cloud; exit status 1 if something is missing."""
    from pipelines import doctor as checking

    cloud = None
    if target == "vertex":
        cloud = checking.Cloud(_vertex(project, region), bucket.rstrip("/"), service_account, images)
    findings = list(checking.examine(file, overrides, cloud))
    console.print(checking.table(findings))
    raise typer.Exit(int(any(finding.status == "FAIL" for finding in findings)))


@app.command(epilog="Example: kep status churn --project shop-ml --region europe-west4")
def status(run: Run, project: Project, region: Region) -> None:
    """Show the steps of a run on Vertex AI as they are now."""
    from pipelines import submit as submitting

    raise typer.Exit(submitting.status(_vertex(project, region), run, console))


@app.command(epilog="Example: kep cancel churn --project shop-ml --region europe-west4")
def cancel(run: Run, project: Project, region: Region) -> None:
    """Cancel a run on Vertex AI."""
    from pipelines import submit as submitting

    submitting.cancel(_vertex(project, region), run, console)


@app.command(epilog="Example: kep runs --name churn --project shop-ml --region europe-west4")
def runs(
    project: Project,
    region: Region,
    name: Annotated[str | None, typer.Option(help="Of one run file alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
) -> None:
    """List the newest runs on Vertex AI."""
    from pipelines import submit as submitting

    console.print(submitting.runs(_vertex(project, region), name, limit))


@app.command(epilog="Example: kep publish churn.yaml --repository https://europe-west4-kfp.pkg.dev/shop-ml/ml --tag v1")
def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The run file, YAML.")],
    repository: Annotated[str, typer.Option(metavar="URL", help="https://REGION-kfp.pkg.dev/PROJECT/REPOSITORY")],
    tags: Annotated[list[str] | None, typer.Option("--tag", help="A name for this version; may be repeated.")] = None,
    overrides: Overrides = None,
    images: Images = LOCK,
) -> None:
    """Upload the compiled pipeline to a KFP repository of Artifact Registry."""
    from pipelines import template
    from pipelines.images import locked
    from pipelines.vertex import login

    made = template.of_run_file(file, overrides, locked(images))
    address = template.publish(made, repository.rstrip("/"), tags or [], login())
    _say(f"published {address}")
    _say(f"content sha256:{made.digest}")


@schedules.command(
    epilog='Example: kep schedule create weekly churn.yaml --cron "0 4 * * mon" --time-zone Europe/Berlin '
    "--project shop-ml --region europe-west4 --bucket gs://shop-data"
)
def create(
    name: Name,
    file: What,
    cron: Annotated[str, typer.Option(help="Minute, hour, day of the month, month, day of the week.")],
    project: Project,
    region: Region,
    bucket: Bucket,
    zone: Zone = "UTC",
    concurrent: Concurrent = 1,
    queue: Queue = False,
    start: Start = None,
    end: End = None,
    service_account: Account = "",
    network: Network = "",
    kms_key: Key = "",
    labels: Labels = None,
    overrides: Overrides = None,
    images: Images = LOCK,
    failure_policy: Policy = "slow",
) -> None:
    """Make a schedule of a run file or a template, which is frozen in it."""
    from pipelines import schedule

    timing = schedule.Timing(cron, zone, concurrent, queue, start, end)
    timing.fields()
    vertex = _vertex(project, region)
    options = _options(region, bucket, service_account, network, kms_key, labels, failure_policy)
    template = _template(file, overrides, images, vertex)
    made = schedule.create(vertex, name, template, options, timing)
    _say(f"scheduled {name}: {cron}, {zone}; next run {made.next_run_time:%Y-%m-%d %H:%M} UTC")
    _frozen(template)


@schedules.command("list", epilog="Example: kep schedule list --project shop-ml --region europe-west4")
def list_schedules(project: Project, region: Region) -> None:
    """List the schedules."""
    from pipelines import schedule

    console.print(schedule.listing(_vertex(project, region)))


@schedules.command(epilog='Example: kep schedule update weekly --cron "0 5 * * *" --project shop-ml --region us-east1')
def update(
    name: Name,
    project: Project,
    region: Region,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="A run file or template that later runs are of.")
    ] = None,
    cron: Annotated[str | None, typer.Option(help="Minute, hour, day of the month, month, day of the week.")] = None,
    zone: Zone = None,
    concurrent: Concurrent = None,
    queue: Queue = None,
    start: Start = None,
    end: End = None,
    bucket: Annotated[str | None, typer.Option(metavar="GS://…", help="Another place for artifacts.")] = None,
    service_account: Account = "",
    network: Network = "",
    kms_key: Key = "",
    labels: Labels = None,
    overrides: Overrides = None,
    images: Images = LOCK,
    failure_policy: Annotated[
        Literal["slow", "fast"] | None, typer.Option(help="What happens after a failed step.")
    ] = None,
) -> None:
    """Change a schedule: its times, or what its runs are of; the rest stays as it is."""
    from pipelines import schedule
    from pipelines.submit import check_labels
    from pipelines.template import check_bucket

    timing = schedule.Timing(cron, zone, concurrent, queue, start, end)
    timing.fields()
    given = {
        "bucket": check_bucket(bucket) if bucket else None,
        "service_account": service_account or None,
        "network": network or None,
        "kms_key": kms_key or None,
        "labels": check_labels(labels) if labels else None,
        "fail_fast": failure_policy and failure_policy == "fast",
    }
    given = {name: value for name, value in given.items() if value is not None}
    vertex = _vertex(project, region)
    template = _template(file, overrides, images, vertex) if file is not None else None
    schedule.update(vertex, name, template, given, timing)
    _say(f"updated {name}")
    if template is not None:
        _frozen(template)


@schedules.command(epilog="Example: kep schedule pause weekly --project shop-ml --region europe-west4")
def pause(name: Name, project: Project, region: Region) -> None:
    """Start no more runs until it is resumed."""
    from pipelines import schedule

    schedule.pause(_vertex(project, region), name)
    _say(f"paused {name}")


@schedules.command(epilog="Example: kep schedule resume weekly --project shop-ml --region europe-west4")
def resume(
    name: Name,
    project: Project,
    region: Region,
    catch_up: Annotated[bool, typer.Option(help="Start the runs that were missed, too.")] = False,
) -> None:
    """Start runs again."""
    from pipelines import schedule

    schedule.resume(_vertex(project, region), name, catch_up)
    _say(f"resumed {name}")


@schedules.command(epilog="Example: kep schedule delete weekly --project shop-ml --region europe-west4")
def delete(name: Name, project: Project, region: Region) -> None:
    """Delete a schedule; runs that it started go on."""
    from pipelines import schedule

    schedule.delete(_vertex(project, region), name)
    _say(f"deleted {name}")


def _vertex(project: str, region: str) -> "Vertex":
    from pipelines.vertex import Vertex

    return Vertex(project, region)


def _options(
    region: str,
    bucket: str,
    service_account: str,
    network: str,
    kms_key: str,
    labels: list[str] | None,
    failure_policy: str,
    cache: bool = True,
) -> "Options":
    from pipelines.submit import Options, check_labels, check_options
    from pipelines.template import check_bucket

    named, slow = check_labels(labels or []), failure_policy == "slow"
    options = Options(check_bucket(bucket), service_account, network, kms_key, named, cache, not slow)
    check_options(options, region)
    return options


def _template(file: str, overrides: list[str] | None, images: Path, vertex: "Vertex") -> "Template":
    from pipelines import template
    from pipelines.images import locked

    if "://" not in file:
        return template.of_run_file(Path(file), overrides, locked(images))
    if overrides:
        raise UserError("--set: a template was compiled already; publish one with that setting")
    return template.of_address(file, vertex.credentials)


def _frozen(template: "Template") -> None:
    _say(f"template {template.address or 'compiled here'}, content sha256:{template.digest}")


def _say(text: str) -> None:
    console.print(text, soft_wrap=True, markup=False)
