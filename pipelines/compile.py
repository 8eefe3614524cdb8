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
from kep.config.search import SearchSettings
from kep.core.errors import UserError
from kep.core.files import write_file
from kep.pipelines.images import assign
from kep.pipelines.lint import lint
from kep.pipelines.machines import Target, place
from kep.pipelines.prediction import prediction
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
    among them, and from nothing else.

    Args:
        target: The YAML to write.
        parameters: Of the pipeline.
        images: Image of each kind of step, by name (pipelines/images.py); not looked at where steps are processes.
        machines: What the tasks of each step ask for (pipelines/machines.py); nothing where steps run on this machine.
        engine: Whom they ask.

    Returns:
        Its first YAML document.

    Raises:
        RuntimeError: The compiled file holds a shape that kfp.local runs wrongly.
        UserError: `target` can't be written, an image is missing, or a machine can't be had.
    """
    if not Champion.of_parameter(parameters["champion"]).lasting:
        parameters = {name: value for name, value in parameters.items() if name != "champion"}
    rounds = SearchSettings.model_validate_json(parameters["search_config"]).rounds
    tasks = DataSettings.model_validate_json(parameters["data"]).ingest_tasks
    return _compile(training(rounds, tasks), target, parameters, images, machines, engine)


def compile_prediction(target: Path, parameters: dict[str, Any], images: Mapping[str, str] | None = None) -> None:
    """Compiles the prediction pipeline as `compile_training` does the other; without `drift_config` it ends with the
    predictions."""
    _compile(prediction("drift_config" in parameters), target, parameters, images)


def cache_ingest(spec: dict[str, Any], known: bool) -> None:
    """Let an engine answer ingest from earlier runs, or not.

    It must not where the source's fingerprint is no input: nothing would tell that the data are others by now.

    Args:
        spec: The compiled pipeline, changed in place.
        known: Whether the fingerprint is an input.
    """
    dags = [spec["root"], *(component for component in spec["components"].values() if "dag" in component)]
    for dag in dags:
        for task in dag["dag"]["tasks"].values():
            if task["componentRef"]["name"].startswith("comp-ingest"):
                if known:
                    task["cachingOptions"] = {"enableCache": True}
                else:
                    task.pop("cachingOptions", None)


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
    if parameters.get("server_image"):
        # Only an engine fills this in: kfp.local does not know it.
        given = spec["root"]["dag"]["tasks"]["promote"]["inputs"]["parameters"]
        given["job"] = {"runtimeValue": {"constant": dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER}}
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
    if problems := lint(spec):
        raise RuntimeError("the pipeline would not run alike everywhere:\n" + "\n".join(problems))
    try:
        write_file(target, lambda path: path.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{target} can't be written: {error.strerror}; choose another --output") from error
    return spec
