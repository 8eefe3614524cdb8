"""The prediction pipeline on this machine, or compiled for another: `kep batch`."""

import shutil
import tempfile
import time
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from kep.artifacts.drift import Drift
from kep.artifacts.predictions import SHARDS, PredictionSet
from kep.components.drift.comparison import check_comparable
from kep.components.drift.run import PAGE
from kep.config.data import DataSettings
from kep.config.machine import Machine
from kep.config.prediction import DriftSettings, PredictSettings
from kep.core.errors import UserError
from kep.core.files import new_folder
from kep.core.location import Location
from kep.data.schema import Manifest
from kep.delivery.models import named
from kep.delivery.told import tell_drift
from kep.engines.local import run as running
from kep.engines.local import runner
from kep.engines.local.job import Outcome
from kep.engines.progress import say
from kep.pipelines.compile import compile_prediction
from kep.pipelines.machines import Target
from kep.pipelines.parameters import check_path, codes, kfp_safe, located
from kep.pipelines.steps import PREDICTION_STEPS
from kep.storage import champions

FOLDER = "batch"
"""Under the folder of all runs, where those of this pipeline lie."""


def parameters(
    data: str,
    model: str,
    runs: Path,
    exclude: list[str] | None = None,
    drift: DriftSettings | None = None,
    there: bool = False,
    **more: Any,
) -> dict[str, str]:
    """Arguments of the pipeline, without the hash of the code.

    Args:
        data: A source, as in `data.source`.
        model: A run's name or folder, a folder of champions, or an ensemble's folder; or the latter two on gs://.
        runs: Folder of all runs.
        exclude: Columns of the source that are not looked at.
        drift: How to compare the source with what the model was trained on; None not to.
        there: Whether it will run where nothing of this machine is: a path is one of a volume there.
        **more: Of PredictSettings.

    Raises:
        UserError: There is no such model, or kfp.local would alter its path.
    """
    if there or Location(model).is_cloud:
        folder, reading = model.rstrip("/"), DataSettings(source="")
    else:
        path, reading = named(model, runs)
        check_path(path.resolve(), "--model", "copy it elsewhere")
        folder = str(path.resolve())
    reading = located(reading.model_copy(update={"source": data, "exclude": exclude or []}), Path())
    settings = PredictSettings(data=reading, **more)
    given = {"model": folder, "predict_config": kfp_safe(settings.to_json())}
    return given if drift is None else given | {"drift_config": kfp_safe(drift.to_json())}


def check_reachable(given: dict[str, str], target: Target, volumes: Mapping[str, str]) -> None:
    """Refuses what a step on another machine could not read.

    Args:
        given: Result of `parameters`.
        target: Where it will run.
        volumes: Where the steps have volumes, by claim; none on Vertex AI.

    Raises:
        UserError: The model or the source is on this machine, or on no volume.
    """
    from kep.engines.template import check_source, mounted

    data, model = PredictSettings.model_validate_json(given["predict_config"]).data, given["model"]
    for option, source in (("--model", Location(model)), ("DATA", data.location)):
        if target == "kubeflow" and source.is_local and not mounted(source.text, volumes):
            raise UserError(
                f'{option}: "{source}" is on no volume of the cluster; name the claim and where it is mounted with '
                f"--volume CLAIM={Path(source.text).parent}, or give a gs:// path"
            )
    check_source(data, volumes, target)
    if target == "vertex" and not Location(model).is_cloud:
        there = f"gs://BUCKET/models/{Path(model).name}"
        raise UserError(
            f"--model: {model} is on this machine, where no step in the cloud can read it; run "
            f'"gcloud storage cp --recursive {model} {there}" and give {there}'
        )


def machines(volumes: list[str]) -> dict[str, Machine]:
    """Return what each step asks Kubernetes for: the volumes with the model and the source.

    Args:
        volumes: As CLAIM=/PATH texts.

    Raises:
        UserError: One is none, or two are at one path.
    """
    pairs = [text.partition("=")[::2] for text in volumes]
    for text, (claim, path) in zip(volumes, pairs, strict=True):
        if not claim or not path.startswith("/") or not path.strip("/"):
            raise UserError(f'--volume: "{text}" is not CLAIM=/PATH; give such as champions=/champions')
    if len(set(map(itemgetter(0), pairs))) < len(pairs) or len(set(map(itemgetter(1), pairs))) < len(pairs):
        raise UserError(f"--volume: {', '.join(volumes)} names a claim or a path twice; give each once")
    try:
        machine = Machine(volumes=dict(pairs))
    except ValidationError as error:
        raise UserError(f"--volume: {error.errors()[0]['msg']}") from error
    return {"predict": machine} if volumes else {}


def batch(given: dict[str, str], output: Path, runs: Path, console: Console) -> int:
    """Predicts a source through the pipeline, and says how far it has drifted.

    A run whose output folder has the same name goes on where an earlier one stopped: what that one finished of the
    same source by the same model is reused.

    Args:
        given: Result of `parameters`.
        output: Folder to write: Parquet files in predictions/, predictions.json, drift.html and drift.json. It replaces
            one that this command wrote before, when all is done.
        runs: Folder of all runs.
        console: Where to write.

    Returns:
        Exit status: 0 done, 1 a step failed or the source has drifted and that is to fail, 2 the user's mistake, 130
        interrupted.

    Raises:
        UserError: The run can't start.
    """
    check_output(output)
    if Location(given["model"]).is_cloud:
        raise UserError(f"--model: {given['model']} can't be read from here; copy it here first, or add --compile FILE")
    fail = False
    if "drift_config" in given:
        settings, model = DriftSettings.model_validate_json(given["drift_config"]), Path(given["model"])
        check_comparable(Manifest.load(champions.serving(model)), model)
        # kfp.local keeps no outputs of a run that fails: here the command fails, once the predictions are delivered.
        fail = settings.fail
        given = given | {"drift_config": settings.model_copy(update={"fail": False}).to_json()}
    steps = PREDICTION_STEPS if "drift_config" in given else [step for step in PREDICTION_STEPS if step != "drift"]
    given = given | codes(steps)
    place, started = runner.RunsFolder(runs / FOLDER / output.absolute().name), time.time()
    with place.locked():
        folder = running.new_folder(place.root)
        compile_prediction(folder / "pipeline.yaml", given)
        if status := running.execute(folder, place, given, console, steps):
            return status
        outcome = Outcome.load(folder).folders
        deliver(outcome, output)
    told = PredictionSet.load(output)
    by = f"by model {told.model.version} ({given['model']})"
    files, seconds = len(told.shards), time.time() - started
    say(console, f"wrote {output}: {told.rows:,} rows in {files} file{'s' * (files > 1)} in {seconds:.0f} s, {by}")
    if "comparison" not in outcome:
        return 0
    found = Drift.load(output)
    failed = fail and bool(found.drifted)
    say(console, f"{'error: ' * failed}{found.verdict} ({output / PAGE})")
    tell_drift(found, champions.serving(Path(given["model"])), runs, output / PAGE, console)
    return int(failed)


def check_output(output: Path) -> None:
    """Refuse a folder that can't take predictions.

    Raises:
        UserError: The folder can't be written, or holds something else than predictions.
    """
    if (
        output.exists()
        and not (output / PredictionSet.FILE).is_file()
        and not (output.is_dir() and not any(output.iterdir()))
    ):
        raise UserError(
            f"--output: {output} exists, and `kep batch` did not write it; name another folder, or remove it"
        )
    parent = output.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".kep-"):
            pass
    except OSError as error:
        raise UserError(f"--output: {output} can't be written: {error.strerror}; choose another folder") from error


def deliver(outcome: dict[str, Path], output: Path) -> None:
    """Copies what a run made to where the user wants it: all of it, or nothing."""
    with new_folder(output) as folder:
        shutil.copytree(outcome["predictions"] / SHARDS, folder / SHARDS)
        shutil.copyfile(outcome["predictions"] / PredictionSet.FILE, folder / PredictionSet.FILE)
        if "comparison" in outcome:
            for name in (Drift.FILE, PAGE):
                shutil.copyfile(outcome["comparison"] / name, folder / name)
