"""The compiled pipeline, one YAML for kfp.local, Kubeflow and Vertex AI.

Imports neither TensorFlow nor a Google client.
"""

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, dsl
from kfp.compiler.pipeline_spec_builder import extract_comments_from_pipeline_spec

from kep.config.data import DataSettings
from kep.config.machine import Machine
from kep.config.notify import NotifyTask
from kep.config.search import SearchTask
from kep.core.errors import UserError
from kep.core.files import write_file
from kep.core.location import Location
from kep.pipelines.images import assign
from kep.pipelines.lint import lint
from kep.pipelines.machines import Target, place
from kep.pipelines.prediction import prediction
from kep.pipelines.shared import share
from kep.pipelines.sizes import check
from kep.pipelines.training import training
from kep.storage.champions import Champion


def compile_training(
    target: Path,
    parameters: dict[str, Any],
    images: Mapping[str, str] | None = None,
    machines: Mapping[str, Machine] | None = None,
    engine: Target = "vertex",
) -> dict[str, Any]:
    """Compiles the training pipeline with `parameters` as the defaults of its inputs.

    `champion` has no default where its folder would be lost with the task: whoever starts the pipeline must give one.

    Equal parameters give equal bytes. The graph follows from `search.rounds` and `data.ingest_tasks`
    among them; in the cloud it has an exit handler where `notify.on` has `failed`.

    Args:
        target: The YAML to write.
        parameters: Parameters of the pipeline.
        images: Image of each kind of step, by name (pipelines/images.py); not looked at where steps are processes.
        machines: Machines of each step (pipelines/machines.py); empty where steps run on this machine.
        engine: Whom they ask.

    Returns:
        Its first YAML document.

    Raises:
        RuntimeError: The compiled file holds a shape that kfp.local runs wrongly.
        UserError: `target` can't be written, an image is missing, or a machine can't be had. Or a task would lack the
            address of the webhook, or the engine does not take a pipeline of this size.
    """
    if not Champion.of_parameter(parameters["champion"]).lasting:
        parameters = {name: value for name, value in parameters.items() if name != "champion"}
    rounds = SearchTask.model_validate_json(parameters["search_config"]).rounds
    tasks = DataSettings.model_validate_json(parameters["data"]).ingest_tasks
    asked = NotifyTask.model_validate_json(config) if (config := parameters.get("notify_config")) else None
    if asked and images:
        _check_secret(asked, machines or {}, engine)
    # On this machine the command that runs the pipeline tells.
    exits = bool(asked and images and asked.asks_for("failed"))
    return _compile(training(rounds, tasks, exits), target, parameters, images, machines, engine)


def _check_secret(asked: NotifyTask, machines: Mapping[str, Machine], engine: Target) -> None:
    """Refuse a webhook whose address no task would find in its environment.

    Raises:
        UserError: It is.
    """
    if asked.variable is None:
        return
    where = f"notify.webhook: {asked.webhook}"
    secrets = machines["promote"].secret_variables if "promote" in machines else {}
    if asked.variable not in {variable for keys in secrets.values() for variable in keys.values()}:
        raise UserError(
            f"{where} is set in no task {'on Vertex AI' if engine == 'vertex' else 'on Kubeflow'}; add "
            f"hardware.promote.machine.secret_variables: {{SECRET: {{KEY: {asked.variable}}}}}"
        )


def compile_prediction(
    target: Path,
    parameters: dict[str, Any],
    images: Mapping[str, str] | None = None,
    machines: Mapping[str, Machine] | None = None,
    engine: Target = "vertex",
) -> None:
    """Compiles the prediction pipeline as `compile_training` does the other.

    Without `drift_config` it ends with the predictions. On Kubeflow the model may be on a volume.
    """
    mounted = engine == "kubeflow" and not Location(parameters["model"]).is_cloud
    _compile(prediction("drift_config" in parameters, mounted), target, parameters, images, machines, engine)


def cache_ingest(spec: dict[str, Any], known: bool) -> None:
    """Let an engine answer ingest from earlier runs, or not.

    It must not where the source's fingerprint is no input: nothing would tell that the data are others by now.

    Args:
        spec: The compiled pipeline, changed in place.
        known: Whether the fingerprint is an input.
    """
    for dag in _dags(spec):
        for task in dag["dag"]["tasks"].values():
            if task["componentRef"]["name"].startswith("comp-ingest"):
                if known:
                    task["cachingOptions"] = {"enableCache": True}
                else:
                    task.pop("cachingOptions", None)


def _fill_in(spec: dict[str, Any], parameters: dict[str, Any], in_cloud: bool) -> None:
    """Let the engine name its run to the tasks that speak of it: kfp.local does not know these names.

    Args:
        spec: The compiled pipeline, changed in place.
        parameters: Arguments of the pipeline.
        in_cloud: Whether it runs on Vertex AI or Kubeflow.
    """
    names = {"job": dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER} if parameters.get("server_image") else {}
    if in_cloud and parameters.get("notify_config"):
        names = {
            "job": dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER,
            "job_name": dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
            "job_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        }
    filled = {name: {"runtimeValue": {"constant": placeholder}} for name, placeholder in names.items()}
    for dag in _dags(spec):
        for task in dag["dag"]["tasks"].values():
            if task["componentRef"]["name"] in ("comp-promote", "comp-notify-failure"):
                task["inputs"]["parameters"] |= filled


def _dags(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the graphs of a compiled pipeline, the root's first."""
    return [spec["root"], *(component for component in spec["components"].values() if "dag" in component)]


def _compile(
    pipeline: Any,
    target: Path,
    parameters: dict[str, Any],
    images: Mapping[str, str] | None,
    machines: Mapping[str, Machine] | None = None,
    engine: Target = "vertex",
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(compiled), pipeline_parameters=parameters)
        text = compiled.read_text(encoding="utf-8")
    spec: dict[str, Any] = yaml.safe_load(text)
    share(spec)
    _fill_in(spec, parameters, bool(images))
    further: list[dict[str, Any]] = []
    if images:
        further = place(spec, machines or {}, engine)
        assign(spec, images, machines or {})
        if "asked" in parameters:
            # By its name a run is found in the console and a template in its repository, and the cache goes by it too.
            spec["pipelineInfo"]["name"] = json.loads(parameters["asked"])["name"]
        cache_ingest(spec, bool(parameters.get("source")))
        text = extract_comments_from_pipeline_spec(spec, pipeline.description) + yaml.dump_all(
            [spec, *further], sort_keys=True
        )
    check(spec, further[0] if further else {}, engine if images else None)
    if problems := lint(spec):
        raise RuntimeError("the pipeline would not run alike everywhere:\n" + "\n".join(problems))
    try:
        write_file(target, lambda path: path.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{target} can't be written: {error.strerror}; choose another --output") from error
    return spec
