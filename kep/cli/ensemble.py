"""Commands that use an ensemble: predict, serve, export, compare new data with it."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from kep.cli.options import LOCK, Account, AnyTarget, Bucket, Project, Region, Runs, console, quiet
from kep.core.errors import UserError
from kep.engines.destination import Destination
from kep.engines.progress import say

app = typer.Typer()


@app.command(epilog="Example: kep predict new.csv --model churn --key customer -o predictions.csv")
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
        str | None, typer.Option(help="With --endpoint: the model's version, or the deployed model's id, to answer.")
    ] = None,
    project: Project = "",
    region: Region = "",
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The .csv, .parquet or .jsonl to write, a row for each row.")
    ] = Path("predictions.csv"),
    delimiter: Annotated[
        str | None, typer.Option(help="Between the columns of a CSV file; the run's own where --model names a run.")
    ] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="COLUMN", help="A column that names a row, written first; may be repeated."),
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


@app.command(epilog="Example: kep batch new.parquet --model churn --key customer --tasks 4 -o predictions")
def batch(
    data: Annotated[str, typer.Argument(help="A file, folder or glob of raw features, local or gs://.")],
    model: Annotated[
        str, typer.Option(metavar="RUN", help="A run's name or folder, or the folder of an ensemble or of champions.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder to write; one of an earlier `kep batch` is replaced.")
    ] = Path("predictions"),
    key: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Names a row in the predictions; its number when not given.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A column that is no feature; may be repeated.")
    ] = None,
    tasks: Annotated[int, typer.Option(min=1, max=256, help="Tasks that share the source.")] = 1,
    shard_rows: Annotated[int, typer.Option(min=1, help="Rows of a file of predictions, at least.")] = 65_536,
    drift: Annotated[bool, typer.Option(help="Compare the source with what the model was trained on.")] = True,
    threshold: Annotated[
        float, typer.Option(help="Population stability index beyond which a column has drifted.")
    ] = 0.2,
    fail: Annotated[
        bool, typer.Option("--fail-on-drift/--report-drift", help="Whether drift makes the run fail: exit status 1.")
    ] = False,
    compiled: Annotated[
        Path | None, typer.Option("--compile", metavar="FILE", help="Write the pipeline as YAML, and run nothing.")
    ] = None,
    target: Annotated[AnyTarget, typer.Option(help="With --compile: where it will run.")] = "local",
    images: Annotated[Path, typer.Option(help="With --compile: the lock of the images.")] = LOCK,
    volumes: Annotated[
        list[str] | None,
        typer.Option("--volume", metavar="CLAIM=/PATH", help="kubeflow: a volume with the model or the data."),
    ] = None,
    runs: Runs = Path("runs"),
    on: Annotated[
        Literal["local", "vertex"],
        typer.Option(help="vertex: as a BatchPredictionJob by a model of its registry; no tasks, and no drift."),
    ] = "local",
    version: Annotated[str, typer.Option(help="vertex: number or alias; the champion, or else the default.")] = "",
    project: Project = "",
    region: Region = "",
    bucket: Bucket = "",
    machine: Annotated[str, typer.Option(help="vertex: type of the machines.")] = "n1-standard-4",
    max_replicas: Annotated[int, typer.Option(min=1, help="vertex: machines, at most.")] = 10,
    service_account: Account = "",
) -> None:
    """Predict a source as a pipeline: in tasks, resumable, to Parquet, with the drift of what was predicted."""
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


@app.command(epilog="Example: kep serve churn --port 8080")
def serve(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            envvar="AIP_STORAGE_URI",
            help="A run's name or folder, or the folder of an ensemble or of champions, local or gs://.",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Of the model in paths; the run's when not given.")] = None,
    version: Annotated[int, typer.Option(min=1, help="Of the model in paths.")] = 1,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="AIP_HTTP_PORT", min=0, max=65535, help="0 for any free one.")] = 8080,
    grpc_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of TensorFlow Serving's gRPC; none when not given.")
    ] = None,
    health_route: Annotated[
        str, typer.Option(envvar="AIP_HEALTH_ROUTE", help="Path of the readiness check.")
    ] = "/health",
    predict_route: Annotated[
        str, typer.Option(envvar="AIP_PREDICT_ROUTE", help="Path of predictions, beside /v1/models/NAME:predict.")
    ] = "/predict",
    batch_rows: Annotated[int, typer.Option(min=1, help="Rows of a request, and of a batch.")] = 1024,
    batch_ms: Annotated[float, typer.Option(min=0, help="Milliseconds that an idle model waits for a batch.")] = 0,
    queue_rows: Annotated[int, typer.Option(min=1, help="Rows that may wait; beyond them the answer is 429.")] = 8192,
    body_mb: Annotated[float, typer.Option(min=0.001, help="Largest body of a request, in MB.")] = 16,
    timeout_s: Annotated[
        float, typer.Option(min=0.1, help="Seconds for a request; beyond them the answer is 504.")
    ] = 30,
    drain_s: Annotated[
        float, typer.Option(min=0, help="Seconds after SIGTERM in which requests are taken while the check fails.")
    ] = 5,
    runs: Runs = Path("runs"),
) -> None:
    """Serve a run's ensemble over HTTP: Vertex AI's contract for containers, and TensorFlow Serving's REST paths."""
    from importlib.util import find_spec

    from kep.engines.local.runner import enter_step_environment

    if find_spec("fastapi") is None:
        raise UserError("kep serve needs packages that are not here; install keras-ensemble-pipelines[serve]")
    enter_step_environment()
    with quiet():
        from kep.delivery.serving.app import ServerLimits
        from kep.delivery.serving.command import serve
        from kep.delivery.serving.server import Address

    limits = ServerLimits(batch_rows, batch_ms / 1000, queue_rows, int(body_mb * 1e6), timeout_s)
    place = Address(host, port, grpc_port, health_route, predict_route, drain_s)
    serve(run, runs, name, version, limits, place, console)


@app.command(epilog="Example: kep export digits --format tflite --variant int8 -o digits-model")
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
            help="Of tflite: float32, float16, dynamic, int8; of tfjs: float32, float16, uint8; all when not given.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")] = Path("exported"),
    max_loss: Annotated[
        float | None,
        typer.Option(help="Largest loss of accuracy, or growth of a regression's error; export.max_loss of the run."),
    ] = None,
    keras_only: Annotated[
        bool, typer.Option("--keras-only", help="Leave out boosted trees, and weigh the other members again.")
    ] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Write an ensemble of Keras networks for other programs, measured there on the run's test rows."""
    from importlib.util import find_spec

    from kep.engines.local.runner import enter_step_environment

    if output.exists():
        raise UserError(f"--output: {output} exists; name another folder, or remove it")
    if variants and format not in ("tflite", "tfjs"):
        raise UserError(f"--variant: {format} has none; add --format tflite")
    if format == "tflite" and find_spec("ai_edge_litert") is None:
        raise UserError("--format tflite: needs a package that is not here; install keras-ensemble-pipelines[edge]")
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


@app.command(epilog="Example: kep drift new.csv --against churn -o drift.html")
def drift(
    data: Annotated[str, typer.Argument(help="A file, folder or glob of raw features, local or gs://.")],
    against: Annotated[
        str,
        typer.Option(
            metavar="RUN", help="A run's name or folder, or the folder of an ensemble or of champions, local or gs://."
        ),
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="An HTML page to write.")] = None,
    record: Annotated[Path | None, typer.Option("--json", help="A JSON file to write.")] = None,
    threshold: Annotated[
        float, typer.Option(help="Population stability index beyond which a column has drifted: exit status 1.")
    ] = 0.2,
    runs: Runs = Path("runs"),
) -> None:
    """Compare new data with what a run's model was trained on: columns, missing values, categories, predictions."""
    from kep.engines.local.runner import enter_step_environment

    enter_step_environment()
    with quiet():
        from kep.delivery.drift import drift

        drifted = drift(data, against, runs, threshold, console, output, record)
    raise typer.Exit(int(drifted))
