"""Commands of rollouts: a new version takes over from the champion in stages."""

from typing import Annotated

import typer

from kep.cli.options import Project, Region, console
from kep.core.errors import UserError
from kep.engines.progress import lay_out

Endpoint = Annotated[
    str,
    typer.Argument(
        metavar="ENDPOINT", help="Endpoint of Vertex AI: its name, id or resource name.", show_default=False
    ),
]
Champions = Annotated[
    str, typer.Option(metavar="FOLDER", help="Instead of an endpoint: a folder of champions, local or gs://.")
]
Stages = Annotated[str, typer.Option(help="Traffic percentages of the stages.")]

app = typer.Typer(no_args_is_help=True, help="Move an endpoint's traffic to a new version in stages, with checks.")


@app.command(
    "start",
    epilog="Example: kep rollout start churn --version challenger --project shop-ml --region europe-west4",
)
def start_rollout(
    endpoint: Endpoint = "",
    model: Annotated[str, typer.Option(help="Model in the Model Registry; the endpoint's name by default.")] = "",
    version: Annotated[str, typer.Option(help="Version number or alias.")] = "challenger",
    stages: Stages = "5,25,50,100",
    machine: Annotated[str, typer.Option(help="Machine type that serves it.")] = "n1-standard-2",
    replicas: Annotated[int, typer.Option(min=1, help="Minimum number of machines.")] = 1,
    max_replicas: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of machines; --replicas by default.")
    ] = None,
    service_account: Annotated[
        str, typer.Option(metavar="NAME", help="Service account of the serving container.")
    ] = "",
    champions: Champions = "",
    project: Project = "",
    region: Region = "",
) -> None:
    """Deploy a version beside the champion, with its first share of the traffic."""
    from kep.delivery.rollout import rollout
    from kep.delivery.rollout.endpoints import located

    if champions:
        raise UserError(
            "--champions: a folder has no traffic to share: `kep serve` serves the one version that its pointer names; "
            "`kep rollout advance --champions` checks another one and moves the pointer to it"
        )
    first = rollout.stages(stages)[0]
    vertex, name = located(endpoint, project, region)
    serving = rollout.Serving(machine, (replicas, max(replicas, max_replicas or replicas)), service_account)
    rollout.start(vertex, name, model or name, version, first, serving, console)


@app.command("advance", epilog="Example: kep rollout advance churn --check-data new.csv --to 100")
def advance_rollout(
    endpoint: Endpoint = "",
    data: Annotated[
        str, typer.Option("--check-data", metavar="DATA", help="Rows to send to both versions, local or gs://.")
    ] = "",
    rows: Annotated[
        int, typer.Option("--check-rows", min=1, help="Approximate maximum number of rows to send.")
    ] = 1000,
    stages: Stages = "5,25,50,100",
    to: Annotated[
        int, typer.Option(min=1, max=100, help="Advance up to this percentage; by one stage by default.")
    ] = 1,
    max_errors: Annotated[
        float, typer.Option(min=0, max=1, help="Largest allowed share of requests without an answer.")
    ] = 0.01,
    max_slowdown: Annotated[
        float, typer.Option(min=1, help="Largest allowed p95 latency, as a multiple of the champion's.")
    ] = 2.0,
    fast_ms: Annotated[
        float, typer.Option(min=0, help="Latency (ms) below which a version is never too slow.")
    ] = 100.0,
    threshold: Annotated[
        float, typer.Option(help="Population stability index above which its predictions have drifted.")
    ] = 0.2,
    version: Annotated[str, typer.Option(help="With --champions: version that becomes champion.")] = "",
    champions: Champions = "",
    project: Project = "",
    region: Region = "",
) -> None:
    """Check the new version, then raise its share of the traffic or take it away (exit status 1)."""
    from kep.components.drift.comparison import check_threshold
    from kep.delivery.rollout import folder, rollout
    from kep.delivery.rollout.canary import CanaryLimits
    from kep.delivery.rollout.endpoints import located

    check_threshold(threshold)
    if not data:
        raise UserError("--check-data: is missing; give rows such as the endpoint is asked for")
    limits = CanaryLimits(max_errors, max_slowdown, threshold, fast_ms / 1000)
    if _is_folder(endpoint, champions):
        from kep.engines.local.runner import enter_step_environment

        if not version:
            raise UserError("--version: is missing; `kep rollout status --champions` lists the versions")
        enter_step_environment()
        raise typer.Exit(folder.advance(champions, version, data, rows, limits, console))
    if version:
        raise UserError("--version has no meaning without --champions: `kep rollout start` has named the version")
    steps = rollout.stages(stages)
    vertex, name = located(endpoint, project, region)
    raise typer.Exit(rollout.advance(vertex, name, data, rows, steps, to, limits, console))


@app.command("rollback", epilog="Example: kep rollout rollback churn --project shop-ml --region europe-west4")
def roll_back(endpoint: Endpoint = "", champions: Champions = "", project: Project = "", region: Region = "") -> None:
    """Give the champion all traffic again; for a folder, point to the previous version again."""
    from kep.delivery.rollout import folder, rollout
    from kep.delivery.rollout.endpoints import located

    if _is_folder(endpoint, champions):
        folder.rollback(champions, console)
        return
    rollout.rollback(*located(endpoint, project, region), console)


@app.command("status", epilog="Example: kep rollout status churn --project shop-ml --region europe-west4")
def rollout_status(
    endpoint: Endpoint = "", champions: Champions = "", project: Project = "", region: Region = ""
) -> None:
    """Show the versions and their traffic."""
    from kep.delivery.rollout import folder, rollout
    from kep.delivery.rollout.endpoints import located

    if _is_folder(endpoint, champions):
        lay_out(console, folder.status(champions))
        return
    lay_out(console, rollout.status(*located(endpoint, project, region)))


def _is_folder(endpoint: str, champions: str) -> bool:
    """Return whether a rollout is of a folder of champions."""
    if endpoint and champions:
        raise UserError(f"--champions: give it, or the endpoint {endpoint}, not both")
    return bool(champions)
