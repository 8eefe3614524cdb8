"""The commands of `kep` that talk to Vertex AI and Kubeflow. What they do lives in the modules that they call."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from kep.core.errors import UserError
from kep.engines.progress import lay_out, say

if TYPE_CHECKING:
    from kep.delivery.rollout.endpoints import Predictor
    from kep.engines.base import Engine, Options
    from kep.engines.template import Template
    from kep.engines.vertex.engine import VertexEngine
    from kep.google.vertex import Vertex

app = typer.Typer()
schedules = typer.Typer(no_args_is_help=True, help="Start runs on Vertex AI or Kubeflow again and again.")
app.add_typer(schedules, name="schedule")
rollouts = typer.Typer(no_args_is_help=True, help="Move an endpoint's traffic to a new version in stages, with checks.")
app.add_typer(rollouts, name="rollout")
console = Console(highlight=False)

Target = Annotated[Literal["vertex", "kubeflow"], typer.Option(envvar="KEP_TARGET", help="Where it runs.")]
Project = Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_PROJECT", help="vertex: the project's id.")]
Region = Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_REGION", help="vertex: such as europe-west4.")]
Bucket = Annotated[
    str,
    typer.Option(
        metavar="GS://…", envvar="KEP_BUCKET", help="vertex: takes the artifacts and the champions, gs://BUCKET/…."
    ),
]
Host = Annotated[
    str, typer.Option(metavar="URL", envvar="KF_PIPELINES_ENDPOINT", help="kubeflow: of Kubeflow Pipelines.")
]
Namespace = Annotated[str, typer.Option(help="kubeflow: yours, on a server for several users.")]
Experiment = Annotated[str, typer.Option(help="kubeflow: that runs belong to; one of the run file's name by default.")]
What = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A run file; what `kep batch --compile` wrote; or a template: https://…-kfp.pkg.dev/…, gs://….",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as search.max_trials=5."),
]
Images = Annotated[Path, typer.Option(help="The lock of the images.")]
Account = Annotated[str, typer.Option(metavar="NAME", help="Service account that the steps run as.")]
Network = Annotated[str, typer.Option(help="vertex: to peer with, projects/NUMBER/global/networks/NAME.")]
Key = Annotated[str, typer.Option("--kms-key", help="vertex: encrypts what a run makes, projects/…/cryptoKeys/K.")]
Board = Annotated[
    str,
    typer.Option(
        metavar="INSTANCE", help="vertex: that trainings write to, projects/P/locations/R/tensorboards/ID; none."
    ),
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="vertex: a label; may be repeated.")
]
Policy = Annotated[
    Literal["slow", "fast"],
    typer.Option(help="vertex: after a failed step, slow runs what still can, fast starts no further step."),
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

Yes = Annotated[bool, typer.Option("--yes", help="Also when a run would cost more than hardware.max_cost.")]

Endpoint = Annotated[
    str, typer.Argument(metavar="ENDPOINT", help="Of Vertex AI: its name, id or resource name.", show_default=False)
]
Champions = Annotated[
    str, typer.Option(metavar="FOLDER", help="Instead of an endpoint: a folder of champions, local or gs://.")
]
Stages = Annotated[str, typer.Option(help="Percentages of the traffic, one after the other.")]

LOCK = Path("containers/images.lock.yaml")
PRICES = Path(__file__).parents[1] / "engines" / "prices.yaml"


@app.command(
    epilog="Example: kep submit churn.yaml --project shop-ml --region europe-west4 --bucket gs://shop-data, "
    "or kep submit churn.yaml --target kubeflow --host https://kubeflow.example.com/pipeline"
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
    again: Annotated[bool, typer.Option(help="Submit it also when the same run is done or under way.")] = False,
    wait: Annotated[bool, typer.Option(help="Follow the run until it has ended.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would be and cost; submit nothing.")] = False,
    prices: Annotated[Path, typer.Option(help="Prices for --dry-run and hardware.max_cost, YAML.")] = PRICES,
    yes: Yes = False,
) -> None:
    """Run the pipeline on Vertex AI or Kubeflow; the same run is submitted once."""
    from kep.engines import costs
    from kep.engines import submit as submitting

    place = Place(target, project, region, host, namespace, experiment)
    options = place.options(bucket, service_account, network, kms_key, labels, failure_policy, cache, tensorboard)
    template = place.template(file, overrides, images)
    if dry_run:
        console.print(costs.plan(template, options, costs.load(prices) if target == "vertex" else None))
    place.check_cost(template, prices, yes)
    if dry_run:
        return
    name = submitting.submit(place.engine, template, options, console, again)
    if wait:
        raise typer.Exit(submitting.follow(place.engine, name, console))


@app.command(epilog="Example: kep doctor churn.yaml --target vertex --project shop-ml --region europe-west4")
def doctor(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A run file to look at, too.")] = None,
    target: Annotated[Literal["local", "vertex", "kubeflow"], typer.Option(help="Where it will run.")] = "local",
    project: Project = "",
    region: Region = "",
    bucket: Bucket = "",
    service_account: Account = "",
    host: Host = "",
    namespace: Namespace = "",
    overrides: Overrides = None,
    images: Images = LOCK,
) -> None:
    """Look at what a run needs, here, on Google Cloud or on Kubeflow; exit status 1 if something is missing."""
    from kep.cli import doctor as checking

    place = None
    if target == "vertex":
        place = checking.Cloud(Place(target, project, region).vertex, bucket.rstrip("/"), service_account, images)
    elif target == "kubeflow":
        place = checking.Cluster(host, namespace, images)
    findings = list(checking.examine(file, overrides, place))
    console.print(checking.table(findings))
    raise typer.Exit(int(any(finding.status == "FAIL" for finding in findings)))


@app.command(epilog="Example: kep status churn --project shop-ml --region europe-west4")
def status(
    run: Run,
    target: Target = "vertex",
    project: Project = "",
    region: Region = "",
    host: Host = "",
    namespace: Namespace = "",
) -> None:
    """Show the steps of a run on Vertex AI or Kubeflow as they are now."""
    from kep.engines import submit as submitting

    raise typer.Exit(submitting.status(Place(target, project, region, host, namespace).engine, run, console))


@app.command(epilog="Example: kep cancel churn --project shop-ml --region europe-west4")
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

    submitting.cancel(Place(target, project, region, host, namespace).engine, run, console)


@app.command(epilog="Example: kep runs --name churn --project shop-ml --region europe-west4")
def runs(
    target: Target = "vertex",
    project: Project = "",
    region: Region = "",
    host: Host = "",
    namespace: Namespace = "",
    name: Annotated[str | None, typer.Option(help="Of one run file alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
) -> None:
    """List the newest runs on Vertex AI or Kubeflow."""
    from kep.engines import submit as submitting

    lay_out(console, submitting.runs(Place(target, project, region, host, namespace).engine, name, limit))


@app.command(epilog="Example: kep publish churn.yaml --repository https://europe-west4-kfp.pkg.dev/shop-ml/ml --tag v1")
def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The run file, YAML.")],
    repository: Annotated[str, typer.Option(metavar="URL", help="https://REGION-kfp.pkg.dev/PROJECT/REPOSITORY")],
    tags: Annotated[list[str] | None, typer.Option("--tag", help="A name for this version; may be repeated.")] = None,
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


@schedules.command(
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
    """Make a schedule of a run file or a template, which is frozen in it."""
    from kep.engines.timing import Timing

    timing = Timing(cron, zone, concurrent, queue, start, end)
    timing.fields()
    place = Place(target, project, region, host, namespace, experiment)
    options = place.options(bucket, service_account, network, kms_key, labels, failure_policy, tensorboard=tensorboard)
    template = place.template(file, overrides, images)
    place.check_cost(template, PRICES, yes)
    following = place.schedules.create(place.engine, name, template, options, timing)
    when = f"; next run {following:%Y-%m-%d %H:%M} UTC" if following else ""
    say(console, f"scheduled {name}: {cron}, {zone}{when}")
    _frozen(template)


@schedules.command("list", epilog="Example: kep schedule list --project shop-ml --region europe-west4")
def list_schedules(
    target: Target = "vertex", project: Project = "", region: Region = "", host: Host = "", namespace: Namespace = ""
) -> None:
    """List the schedules."""
    place = Place(target, project, region, host, namespace)
    lay_out(console, place.schedules.listing(place.engine))


@schedules.command(epilog='Example: kep schedule update weekly --cron "0 5 * * *" --project shop-ml --region us-east1')
def update(
    name: Name,
    target: Target = "vertex",
    project: Project = "",
    region: Region = "",
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
    tensorboard: Board = "",
    labels: Labels = None,
    overrides: Overrides = None,
    images: Images = LOCK,
    failure_policy: Annotated[
        Literal["slow", "fast"] | None, typer.Option(help="What happens after a failed step.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Change a schedule on Vertex AI: its times, or what its runs are of; the rest stays as it is."""
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
    place = Place(target, project, region)
    template = place.template(file, overrides, images) if file is not None else None
    if template is not None:
        place.check_cost(template, PRICES, yes)
    schedule.update(place.vertex, name, template, given, timing)
    say(console, f"updated {name}")
    if template is not None:
        _frozen(template)


@schedules.command(epilog="Example: kep schedule pause weekly --project shop-ml --region europe-west4")
def pause(
    name: Name,
    target: Target = "vertex",
    project: Project = "",
    region: Region = "",
    host: Host = "",
    namespace: Namespace = "",
) -> None:
    """Start no more runs until it is resumed."""
    place = Place(target, project, region, host, namespace)
    place.schedules.pause(place.engine, name)
    say(console, f"paused {name}")


@schedules.command(epilog="Example: kep schedule resume weekly --project shop-ml --region europe-west4")
def resume(
    name: Name,
    target: Target = "vertex",
    project: Project = "",
    region: Region = "",
    host: Host = "",
    namespace: Namespace = "",
    catch_up: Annotated[bool, typer.Option(help="vertex: start the runs that were missed, too.")] = False,
) -> None:
    """Start runs again."""
    place = Place(target, project, region, host, namespace)
    place.schedules.resume(place.engine, name, catch_up)
    say(console, f"resumed {name}")


@schedules.command(epilog="Example: kep schedule delete weekly --project shop-ml --region europe-west4")
def delete(
    name: Name,
    target: Target = "vertex",
    project: Project = "",
    region: Region = "",
    host: Host = "",
    namespace: Namespace = "",
) -> None:
    """Delete a schedule; runs that it started go on."""
    place = Place(target, project, region, host, namespace)
    place.schedules.delete(place.engine, name)
    say(console, f"deleted {name}")


@rollouts.command(
    "start",
    epilog="Example: kep rollout start churn --project shop-ml --region europe-west4, for the challenger of the model "
    "`churn` on the endpoint `churn`",
)
def start_rollout(
    endpoint: Endpoint = "",
    model: Annotated[str, typer.Option(help="Of the Model Registry; the endpoint's name when not given.")] = "",
    version: Annotated[str, typer.Option(help="Its number, or an alias.")] = "challenger",
    stages: Stages = "5,25,50,100",
    machine: Annotated[str, typer.Option(help="Type of the machines that serve it.")] = "n1-standard-2",
    replicas: Annotated[int, typer.Option(min=1, help="Machines, at least.")] = 1,
    max_replicas: Annotated[int | None, typer.Option(min=1, help="Machines, at most; --replicas by default.")] = None,
    service_account: Annotated[str, typer.Option(metavar="NAME", help="That it is served as; none by default.")] = "",
    champions: Champions = "",
    project: Project = "",
    region: Region = "",
) -> None:
    """Deploy a version beside the champion, with its first share of the traffic."""
    from kep.delivery.rollout import rollout

    if champions:
        raise UserError(
            "--champions: a folder has no traffic to share: `kep serve` serves the one version that its pointer names; "
            "`kep rollout advance --champions` checks another one and moves the pointer to it"
        )
    first = rollout.stages(stages)[0]
    vertex, name = _endpoint(endpoint, project, region)
    size = (replicas, max(replicas, max_replicas or replicas))
    rollout.start(vertex, name, model or name, version, first, machine, size, service_account, console)


@rollouts.command("advance", epilog="Example: kep rollout advance churn --check-data new.csv --to 100")
def advance_rollout(
    endpoint: Endpoint = "",
    data: Annotated[
        str, typer.Option("--check-data", metavar="DATA", help="Rows that are sent to both versions, local or gs://.")
    ] = "",
    rows: Annotated[int, typer.Option("--check-rows", min=1, help="Of them, about, at most.")] = 1000,
    stages: Stages = "5,25,50,100",
    to: Annotated[
        int, typer.Option(min=1, max=100, help="Go on through the stages to this one; one stage by default.")
    ] = 1,
    max_errors: Annotated[float, typer.Option(min=0, max=1, help="Share of requests without an answer.")] = 0.01,
    max_slowdown: Annotated[float, typer.Option(min=1, help="95th percentile of its times, of the champion's.")] = 2.0,
    fast_ms: Annotated[float, typer.Option(min=0, help="Milliseconds that are never too slow.")] = 100.0,
    threshold: Annotated[
        float, typer.Option(help="Population stability index beyond which its predictions have drifted.")
    ] = 0.2,
    version: Annotated[str, typer.Option(help="With --champions: the version that is to become champion.")] = "",
    champions: Champions = "",
    project: Project = "",
    region: Region = "",
) -> None:
    """Check the new version, and give it its next share or take its traffic away: exit status 1."""
    from kep.components.drift.drift import check_threshold
    from kep.delivery.rollout import folder, rollout
    from kep.delivery.rollout.canary import Limits

    check_threshold(threshold)
    if not data:
        raise UserError("--check-data: is missing; give rows such as the endpoint is asked for")
    limits = Limits(max_errors, max_slowdown, threshold, fast_ms / 1000)
    if _is_folder(endpoint, champions):
        from kep.engines.local.runner import enter_step_environment

        if not version:
            raise UserError("--version: is missing; `kep rollout status --champions` lists the versions")
        enter_step_environment()
        raise typer.Exit(folder.advance(champions, version, data, rows, limits, console))
    if version:
        raise UserError("--version has no meaning without --champions: `kep rollout start` has named the version")
    steps = rollout.stages(stages)
    vertex, name = _endpoint(endpoint, project, region)
    raise typer.Exit(rollout.advance(vertex, name, data, rows, steps, to, limits, console))


@rollouts.command("rollback", epilog="Example: kep rollout rollback churn --project shop-ml --region europe-west4")
def roll_back(endpoint: Endpoint = "", champions: Champions = "", project: Project = "", region: Region = "") -> None:
    """Give the champion all traffic again; of a folder, move the pointer back to the version before."""
    from kep.delivery.rollout import folder, rollout

    if _is_folder(endpoint, champions):
        folder.rollback(champions, console)
        return
    rollout.rollback(*_endpoint(endpoint, project, region), console)


@rollouts.command("status", epilog="Example: kep rollout status churn --project shop-ml --region europe-west4")
def rollout_status(
    endpoint: Endpoint = "", champions: Champions = "", project: Project = "", region: Region = ""
) -> None:
    """Show the versions and what traffic they get."""
    from kep.delivery.rollout import folder, rollout

    if _is_folder(endpoint, champions):
        lay_out(console, folder.status(champions))
        return
    lay_out(console, rollout.status(*_endpoint(endpoint, project, region)))


@dataclass(frozen=True)
class Place:
    """Where a command acts, as its options say.

    Raises:
        UserError: An option is missing.
    """

    target: Literal["vertex", "kubeflow"]
    project: str = ""
    region: str = ""
    host: str = ""
    namespace: str = ""
    experiment: str = ""

    def __post_init__(self) -> None:
        needed = {"host": "KF_PIPELINES_ENDPOINT"}
        if self.target == "vertex":
            needed = {"project": "GOOGLE_CLOUD_PROJECT", "region": "GOOGLE_CLOUD_REGION"}
        for name, variable in needed.items():
            if not getattr(self, name):
                raise UserError(f"--{name}: is missing, and so is the environment variable {variable}")
        if self.target == "vertex":
            _ = self.vertex

    @cached_property
    def engine(self) -> "Engine":
        if self.target == "vertex":
            return self.vertex
        from kep.engines.kubeflow.engine import Kubeflow

        return Kubeflow(self.host, self.namespace, self.experiment)

    @property
    def schedules(self) -> Any:
        """The module whose functions of the same names make schedules there."""
        if self.target == "vertex":
            from kep.engines.vertex import schedules as schedule

            return schedule
        from kep.engines.kubeflow import schedules as recurring

        return recurring

    @cached_property
    def vertex(self) -> "VertexEngine":
        from kep.engines.vertex.engine import VertexEngine

        return VertexEngine(self.project, self.region)

    def options(
        self,
        bucket: str,
        service_account: str,
        network: str,
        kms_key: str,
        labels: list[str] | None,
        failure_policy: str,
        cache: bool = True,
        tensorboard: str = "",
    ) -> "Options":
        from kep.engines.base import Options
        from kep.engines.template import check_bucket
        from kep.engines.vertex.jobs import check_labels, check_options

        if self.target == "kubeflow":
            given = {"--network": network, "--kms-key": kms_key, "--label": labels, "--tensorboard": tensorboard}
            given["--failure-policy fast"] = failure_policy == "fast"
            if useless := next((name for name, value in given.items() if value), None):
                raise UserError(f"{useless} has no meaning on Kubeflow; remove it")
            return Options(service_account=service_account, cache=cache)
        if not bucket:
            raise UserError("--bucket: is missing, and so is the environment variable KEP_BUCKET")
        named, slow = check_labels(labels or []), failure_policy == "slow"
        options = Options(check_bucket(bucket), service_account, network, kms_key, named, cache, not slow, tensorboard)
        check_options(options, self.region)
        return options

    def template(self, file: str, overrides: list[str] | None, images: Path) -> "Template":
        from kep.engines import template
        from kep.pipelines.images import locked

        if "://" not in file:
            if made := template.of_compiled(Path(file), self.target):
                if overrides:
                    raise UserError("--set: a pipeline was compiled already; compile it with that setting")
                return made
            return template.of_run_file(Path(file), overrides, locked(images), self.target)
        if self.target == "kubeflow":
            raise UserError(f"FILE: {file} is a template of Vertex AI; Kubeflow takes a run file")
        if overrides:
            raise UserError("--set: a template was compiled already; publish one with that setting")
        return template.of_address(file, self.vertex.credentials)

    def check_cost(self, template: "Template", prices: Path, yes: bool) -> None:
        """Refuses a run that costs too much on Vertex AI; on Kubeflow machines are the user's own."""
        from kep.engines import costs

        if self.target == "vertex" and not yes:
            costs.check(template, costs.load(prices))


def predictor(endpoint: str, version: str | None, project: str, region: str, console: Console) -> "Predictor":
    """An endpoint of Vertex AI, for `kep predict`."""
    from kep.delivery.rollout import endpoints

    vertex, name = _endpoint(endpoint, project, region)
    endpoints.warn_of_key(vertex.credentials, partial(say, console))
    found = endpoints.Predictor(vertex, endpoints.get(vertex, name), version)
    if found.note:
        say(console, f"note: {found.note}")
    return found


def batch(
    place: "Place",
    options: "Options",
    data: str,
    model: str,
    version: str,
    key: str | None,
    exclude: list[str] | None,
    shard_rows: int,
    machine: str,
    replicas: int,
    output: Path,
) -> int:
    """A BatchPredictionJob, for `kep batch --on vertex`."""
    from kep.delivery.batch_job import batch as batch_there

    given = (data, model, version, key, exclude or [], shard_rows, machine, replicas, output)
    return batch_there(place.vertex, options, *given, console)


def _is_folder(endpoint: str, champions: str) -> bool:
    """Whether a rollout is of a folder of champions."""
    if endpoint and champions:
        raise UserError(f"--champions: give it, or the endpoint {endpoint}, not both")
    return bool(champions)


def _endpoint(endpoint: str, project: str, region: str) -> tuple["Vertex", str]:
    """Where an endpoint is, and its name; a resource name says its project and region itself."""
    from kep.delivery.rollout.endpoints import RESOURCE

    if not endpoint:
        raise UserError("ENDPOINT: is missing; name one of Vertex AI, or a folder with --champions")
    if match := RESOURCE.fullmatch(endpoint):
        project, region = match[1], match[2]
    return Place("vertex", project, region).vertex, endpoint


def _frozen(template: "Template") -> None:
    say(console, f"template {template.address or 'compiled here'}, content sha256:{template.digest}")
