"""Commands that use an ensemble: predict, serve, export, compare new data with it."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from kep.cli.options import LOCK, USE, Account, AnyTarget, Bucket, Project, Region, Runs, console, quiet
from kep.core.errors import UserError
from kep.engines.destination import Destination
from kep.engines.progress import say

app = typer.Typer()


@app.command(rich_help_panel=USE, epilog="Example: kep predict new.csv --model churn --key customer -o predictions.csv")
def predict(
    data: Annotated[str, typer.Argument(help="A file, folder or glob of raw features, local or gs://.")],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="A run's name or folder, or the folder of an ensemble or of champions, local or gs://."
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Instead of --model: http://HOST:PORT/v1/models/NAME:predict of `kep serve`.")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Instead of --model: an endpoint of Vertex AI by its name, id or resource."),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(help="With --endpoint: version of the model, or id of the deployed model, that answers."),
    ] = None,
    project: Project = "",
    region: Region = "",
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write, .csv, .parquet or .jsonl: one row per input row.")
    ] = Path("predictions.csv"),
    delimiter: Annotated[
        str | None, typer.Option(help="Column separator of a CSV file; by default that of the run of --model.")
    ] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="COLUMN", help="Column that names a row, copied to the output; may be repeated."),
    ] = None,
    guard: Annotated[
        bool,
        typer.Option("--guard-formulas", help="CSV: put ' before text that a spreadsheet takes for a formula."),
    ] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Predict the rows of a file with a run's ensemble, on this machine or where it is served."""
    from kep.engines.local.runner import enter_step_environment

    if version is not None and endpoint is None:
        raise UserError("--version has no meaning without --endpoint; remove it")
    enter_step_environment()
    asked = None
    if endpoint is not None:
        from kep.delivery.rollout.endpoints import predictor

        asked = predictor(endpoint, version, project, region, partial(say, console))
    with quiet():
        from kep.delivery.predict import SourceOptions, predict

        predict(model, url, data, output, runs, console, asked, SourceOptions(delimiter, keys or [], guard))


@app.command(
    rich_help_panel=USE, epilog="Example: kep batch new.parquet --model churn --key customer --tasks 4 -o predictions"
)
def batch(
    data: Annotated[str, typer.Argument(help="A file, folder or glob of raw features, local or gs://.")],
    model: Annotated[
        str, typer.Option(metavar="RUN", help="A run's name or folder, or the folder of an ensemble or of champions.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to write; an earlier output of `kep batch` is replaced.")
    ] = Path("predictions"),
    key: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column that names a row in the predictions; the row number by default."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Column that is not a feature; may be repeated.")
    ] = None,
    tasks: Annotated[int, typer.Option(min=1, max=256, help="Number of tasks that share the source.")] = 1,
    shard_rows: Annotated[int, typer.Option(min=1, help="Minimum rows per file of predictions.")] = 65_536,
    drift: Annotated[bool, typer.Option(help="Compare the source with the model's training data.")] = True,
    threshold: Annotated[
        float, typer.Option(help="Population stability index above which a column has drifted.")
    ] = 0.2,
    fail: Annotated[
        bool,
        typer.Option(
            "--fail-on-drift/--report-drift", help="Fail the run on drift (exit status 1), or only report it."
        ),
    ] = False,
    compiled: Annotated[
        Path | None, typer.Option("--compile", metavar="FILE", help="Write the pipeline as YAML instead of running it.")
    ] = None,
    target: Annotated[AnyTarget, typer.Option(help="With --compile: where it will run.")] = "local",
    images: Annotated[Path, typer.Option(help="With --compile: lock file of the images.")] = LOCK,
    volumes: Annotated[
        list[str] | None,
        typer.Option(
            "--volume", metavar="CLAIM=/PATH", help="kubeflow: volume with the model or the data; may be repeated."
        ),
    ] = None,
    runs: Runs = Path("runs"),
    on: Annotated[
        Literal["local", "vertex"],
        typer.Option(help="vertex: run a BatchPredictionJob with a registered model, without tasks and drift."),
    ] = "local",
    version: Annotated[
        str, typer.Option(help="vertex: version number or alias; by default the champion, else the default version.")
    ] = "",
    project: Project = "",
    region: Region = "",
    bucket: Bucket = "",
    machine: Annotated[str, typer.Option(help="vertex: machine type.")] = "n1-standard-4",
    max_replicas: Annotated[int, typer.Option(min=1, help="vertex: maximum number of machines.")] = 10,
    service_account: Account = "",
) -> None:
    """Predict a source with a resumable pipeline: Parquet files, and drift against the training data."""
    from kep.components.drift.comparison import check_threshold
    from kep.config.prediction import DriftSettings
    from kep.delivery import batch as batches
    from kep.pipelines.compile import compile_prediction
    from kep.pipelines.images import locked

    if on == "vertex":
        if compiled is not None:
            raise UserError("--compile has no meaning with --on vertex, where no pipeline runs; remove one of them")
        place = Destination("vertex", project, region)
        from kep.delivery.batch_job import JobRequest
        from kep.delivery.batch_job import batch as batch_there
        from kep.engines.base import Options

        options = place.checked(Options(bucket, service_account))
        request = JobRequest(data, model, version, key, exclude or [], shard_rows, machine, max_replicas)
        raise typer.Exit(batch_there(place.vertex, options, request, output, console))
    check_threshold(threshold)
    settings = DriftSettings(threshold=threshold, fail=fail) if drift else None
    if volumes and (compiled is None or target != "kubeflow"):
        raise UserError("--volume has a meaning only with --compile FILE --target kubeflow; remove it")
    there = target == "kubeflow" and compiled is not None
    more = {"key": key, "tasks": tasks, "shard_rows": shard_rows}
    given = batches.parameters(data, model, runs, exclude, settings, there, **more)
    if compiled is None:
        raise typer.Exit(batches.batch(given, output, runs, console))
    if target == "local":
        compile_prediction(compiled, given)
    else:
        machines = batches.machines(volumes or [])
        mounts = machines["predict"].volumes if machines else {}
        batches.check_reachable(given, target, mounts)
        compile_prediction(compiled, given, locked(images), machines, target)
    console.print(f"wrote {compiled}")


@app.command(rich_help_panel=USE, epilog="Example: kep serve churn --port 8080")
def serve(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            envvar="AIP_STORAGE_URI",
            help="A run's name or folder, or the folder of an ensemble or of champions, local or gs://.",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Model name in URL paths; the run's name by default.")] = None,
    version: Annotated[int, typer.Option(min=1, help="Model version in URL paths.")] = 1,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="AIP_HTTP_PORT", min=0, max=65535, help="Port to listen on; 0 for any free one.")
    ] = 8080,
    grpc_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the gRPC API; off by default.")
    ] = None,
    health_route: Annotated[
        str, typer.Option(envvar="AIP_HEALTH_ROUTE", help="Path of the readiness check.")
    ] = "/health",
    predict_route: Annotated[
        str,
        typer.Option(envvar="AIP_PREDICT_ROUTE", help="Path of predictions, in addition to /v1/models/NAME:predict."),
    ] = "/predict",
    batch_rows: Annotated[int, typer.Option(min=1, help="Maximum rows per request and per batch.")] = 1024,
    batch_ms: Annotated[float, typer.Option(min=0, help="Time (ms) that an idle model waits to fill a batch.")] = 0,
    queue_rows: Annotated[
        int, typer.Option(min=1, help="Maximum number of waiting rows; further requests get 429.")
    ] = 8192,
    body_mb: Annotated[float, typer.Option(min=0.001, help="Maximum request body in MB.")] = 16,
    timeout_s: Annotated[
        float, typer.Option(min=0.1, help="Time limit of a request in seconds; after it the answer is 504.")
    ] = 30,
    drain_s: Annotated[
        float, typer.Option(min=0, help="Seconds to go on answering after SIGTERM, while the readiness check fails.")
    ] = 5,
    runs: Runs = Path("runs"),
) -> None:
    """Serve a run's ensemble over HTTP, by the contracts of Vertex AI containers and TensorFlow Serving."""
    from kep.core.extras import need
    from kep.engines.local.runner import enter_step_environment

    need("fastapi", "serve", "kep serve")
    enter_step_environment()
    with quiet():
        from kep.delivery.serving.app import ServerLimits
        from kep.delivery.serving.command import serve
        from kep.delivery.serving.server import Address

    limits = ServerLimits(batch_rows, batch_ms / 1000, queue_rows, int(body_mb * 1e6), timeout_s)
    place = Address(host, port, grpc_port, health_route, predict_route, drain_s)
    serve(run, runs, name, version, limits, place, console)


@app.command(rich_help_panel=USE, epilog="Example: kep export digits --format tflite --variant int8 -o digits-model")
def export(
    model: Annotated[str, typer.Argument(metavar="RUN", help="A run's name or folder, or the folder of an ensemble.")],
    format: Annotated[
        Literal["savedmodel", "keras", "tflite", "tfjs"],
        typer.Option(
            help="A TensorFlow SavedModel of raw columns, one .keras file, TensorFlow Lite, or TensorFlow.js."
        ),
    ] = "savedmodel",
    variants: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            help="tflite: float32, float16, dynamic, int8; tfjs: float32, float16, uint8; all by default.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")] = Path("exported"),
    max_loss: Annotated[
        float | None,
        typer.Option(
            help="Largest accepted loss of accuracy, or growth of error; the run's export.max_loss by default."
        ),
    ] = None,
    keras_only: Annotated[
        bool, typer.Option("--keras-only", help="Leave out boosted trees, and reweight the other members.")
    ] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Export an ensemble of Keras networks for other programs, and measure it there on the run's test rows."""
    from kep.core.extras import need
    from kep.engines.local.runner import enter_step_environment

    if output.exists():
        raise UserError(f"--output: {output} exists; name another folder, or remove it")
    if variants and format not in ("tflite", "tfjs"):
        raise UserError(f"--variant: {format} has none; add --format tflite")
    if format == "tflite":
        need("ai_edge_litert", "edge", "--format tflite")
    enter_step_environment()
    with quiet():
        from kep.delivery.export.runtimes import has_tfjs

        if format == "tfjs" and not has_tfjs():
            raise UserError(
                "--format tfjs: is measured with Node.js and @tensorflow/tfjs, which are not here; install Node.js, "
                "then run `npm install @tensorflow/tfjs` in this folder"
            )
        from kep.delivery.export.export import export
        from kep.engines.local import mirror
        from kep.engines.local.results import report_export

        measured = export(model, format, variants, output, runs, max_loss, keras_only, console)
        if measured:
            run = Path(measured.run)
            report_export(run, measured)
            mirror.push(run.resolve(), runs)


@app.command(rich_help_panel=USE, epilog="Example: kep drift new.csv --against churn -o drift.html")
def drift(
    data: Annotated[str, typer.Argument(help="A file, folder or glob of raw features, local or gs://.")],
    against: Annotated[
        str,
        typer.Option(
            metavar="RUN", help="A run's name or folder, or the folder of an ensemble or of champions, local or gs://."
        ),
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="HTML page to write.")] = None,
    record: Annotated[Path | None, typer.Option("--json", help="JSON file to write.")] = None,
    threshold: Annotated[
        float, typer.Option(help="Population stability index above which a column has drifted (exit status 1).")
    ] = 0.2,
    runs: Runs = Path("runs"),
) -> None:
    """Compare new data with a model's training data: columns, missing values, categories, predictions."""
    from kep.engines.local.runner import enter_step_environment

    enter_step_environment()
    with quiet():
        from kep.delivery.drift import drift

        drifted = drift(data, against, runs, threshold, console, output, record)
    raise typer.Exit(int(drifted))
