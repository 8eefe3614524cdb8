"""Commands of schedules: runs that Vertex AI or Kubeflow start again and again."""

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kep.cli.options import (
    LOCK,
    Account,
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
    Target,
    What,
    Yes,
    console,
)
from kep.core.errors import UserError
from kep.engines.destination import Destination
from kep.engines.progress import lay_out, say

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the schedule.")]
Zone = Annotated[
    str | None,
    typer.Option("--time-zone", metavar="ZONE", help="Time zone of --cron, --start and --end; UTC by default."),
]
Start = Annotated[datetime | None, typer.Option(help="Start no run before this time.")]
End = Annotated[datetime | None, typer.Option(help="Start no run after this time.")]
Concurrent = Annotated[
    int | None, typer.Option("--max-concurrent-runs", min=1, help="Maximum number of concurrent runs.")
]
Queue = Annotated[bool | None, typer.Option("--queue/--skip", help="Queue a run beyond that number, or skip it.")]

if TYPE_CHECKING:
    from kep.engines.template import Template

app = typer.Typer(no_args_is_help=True, help="Start runs on Vertex AI or Kubeflow on a schedule.")


@app.command(
    epilog='Example: kep schedule create weekly churn.yaml --cron "0 4 * * mon" --time-zone Europe/Berlin '
    "--project shop-ml --region europe-west4 --bucket gs://shop-data"
)
def create(
    name: Name,
    file: What,
    cron: Annotated[str, typer.Option(help="Minute, hour, day of the month, month, day of the week.")],
    target: Target = "vertex",
    project: Project = "",
    region: Region = "",
    bucket: Bucket = "",
    host: Host = "",
    namespace: Namespace = "",
    experiment: Experiment = "",
    zone: Zone = "UTC",
    concurrent: Concurrent = 1,
    queue: Queue = False,
    start: Start = None,
    end: End = None,
    service_account: Account = "",
    network: Network = "",
    kms_key: Key = "",
    tensorboard: Board = "",
    labels: Labels = None,
    overrides: Overrides = None,
    images: Images = LOCK,
    failure_policy: Policy = "slow",
    yes: Yes = False,
) -> None:
    """Create a schedule of a run file or a template, which it keeps as it is now."""
    from kep.engines.base import Options
    from kep.engines.timing import Timing

    timing = Timing(cron, zone, concurrent, queue, start, end)
    timing.fields()
    place = Destination(target, project, region, host, namespace, experiment)
    fast = failure_policy == "fast"
    given = Options(bucket, service_account, network, kms_key, fail_fast=fast, tensorboard=tensorboard)
    options = place.checked(given, labels)
    template = place.template(file, overrides, images)
    place.check_cost(template, None, yes)
    if note := place.engine.ready(options):
        say(console, f"note: {note}")
    following = place.schedules.create(place.engine, name, template, options, timing)
    when = f"; next run {following:%Y-%m-%d %H:%M} UTC" if following else ""
    # There the controller's zone holds, which its server does not tell.
    say(console, f"scheduled {name}: {cron}, {'in the zone of its controller' if target == 'kubeflow' else zone}{when}")
    _frozen(template)


@app.command("list", epilog="Example: kep schedule list --project shop-ml --region europe-west4")
def list_schedules(
    target: Target = "vertex", project: Project = "", region: Region = "", host: Host = "", namespace: Namespace = ""
) -> None:
    """List the schedules."""
    place = Destination(target, project, region, host, namespace)
    lay_out(console, place.schedules.listing(place.engine))


@app.command(epilog='Example: kep schedule update weekly --cron "0 5 * * *" --project shop-ml --region us-east1')
def update(
    name: Name,
    target: Target = "vertex",
    project: Project = "",
    region: Region = "",
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="Run file or template of later runs.")] = None,
    cron: Annotated[str | None, typer.Option(help="Minute, hour, day of the month, month, day of the week.")] = None,
    zone: Zone = None,
    concurrent: Concurrent = None,
    queue: Queue = None,
    start: Start = None,
    end: End = None,
    bucket: Annotated[str | None, typer.Option(metavar="GS://…", help="New folder for artifacts.")] = None,
    service_account: Account = "",
    network: Network = "",
    kms_key: Key = "",
    tensorboard: Board = "",
    labels: Labels = None,
    overrides: Overrides = None,
    images: Images = LOCK,
    failure_policy: Annotated[
        Literal["slow", "fast"] | None, typer.Option(help="What to do after a failed step.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Change a schedule on Vertex AI: its times, its run file or its options; the rest stays."""
    from kep.engines.template import check_bucket
    from kep.engines.timing import Timing
    from kep.engines.vertex import schedules as schedule
    from kep.engines.vertex.jobs import check_labels

    if target == "kubeflow":
        raise UserError("Kubeflow can't change a schedule; delete it and make it again")
    timing = Timing(cron, zone, concurrent, queue, start, end)
    timing.fields()
    given = {
        "bucket": check_bucket(bucket) if bucket else None,
        "service_account": service_account or None,
        "network": network or None,
        "kms_key": kms_key or None,
        "tensorboard": tensorboard or None,
        "labels": check_labels(labels) if labels else None,
        "fail_fast": failure_policy and failure_policy == "fast",
    }
    given = {name: value for name, value in given.items() if value is not None}
    place = Destination(target, project, region)
    template = place.template(file, overrides, images) if file is not None else None
    if template is not None:
        place.check_cost(template, None, yes)
    schedule.update(place.vertex, name, template, given, timing)
    say(console, f"updated {name}")
    if template is not None:
        _frozen(template)


@app.command(epilog="Example: kep schedule pause weekly --project shop-ml --region europe-west4")
def pause(
    name: Name,
    target: Target = "vertex",
    project: Project = "",
    region: Region = "",
    host: Host = "",
    namespace: Namespace = "",
) -> None:
    """Start no more runs until the schedule is resumed."""
    place = Destination(target, project, region, host, namespace)
    place.schedules.pause(place.engine, name)
    say(console, f"paused {name}")


@app.command(epilog="Example: kep schedule resume weekly --project shop-ml --region europe-west4")
def resume(
    name: Name,
    target: Target = "vertex",
    project: Project = "",
    region: Region = "",
    host: Host = "",
    namespace: Namespace = "",
    catch_up: Annotated[bool, typer.Option(help="vertex: start the missed runs, too.")] = False,
) -> None:
    """Start runs again."""
    place = Destination(target, project, region, host, namespace)
    place.schedules.resume(place.engine, name, catch_up)
    say(console, f"resumed {name}")


@app.command(epilog="Example: kep schedule delete weekly --project shop-ml --region europe-west4")
def delete(
    name: Name,
    target: Target = "vertex",
    project: Project = "",
    region: Region = "",
    host: Host = "",
    namespace: Namespace = "",
) -> None:
    """Delete a schedule; its runs go on, but on Kubeflow those under way end with it."""
    place = Destination(target, project, region, host, namespace)
    ending = place.schedules.ending(place.engine, name)
    for run in ending:
        say(console, f"warning: {run} is under way, and ends with its schedule")
    if ending and sys.stdin.isatty() and not typer.confirm(f"delete {name} all the same?", default=False):
        say(console, f"{name} is left as it is; `kep schedule pause {name} --target {target}` starts no more runs")
        raise typer.Exit(1)
    place.schedules.delete(place.engine, name)
    say(console, f"deleted {name}")


def _frozen(template: "Template") -> None:
    say(console, f"template {template.address or 'compiled here'}, content sha256:{template.digest}")
