"""The compiled pipeline, one YAML for kfp.local, Kubeflow and Vertex AI.

Imports neither TensorFlow nor a Google client.
"""

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from components.shared.errors import UserError
from components.shared.files import write_file
from pipelines.lint import lint
from pipelines.training import training


def compile_training(target: Path, parameters: dict[str, Any]) -> None:
    """Compiles the training pipeline with `parameters` as the defaults of its inputs.

    Equal parameters give equal bytes. The graph follows from `search.rounds` among them, and from nothing else.

    Raises:
        RuntimeError: The compiled file holds a shape that kfp.local runs wrongly.
        UserError: `target` can't be written.
    """
    pipeline = training(json.loads(parameters["search_config"])["rounds"])
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(compiled), pipeline_parameters=parameters)
        text = compiled.read_text()
    problems = lint(next(yaml.safe_load_all(text)))
    if problems:
        raise RuntimeError("the pipeline would not run alike everywhere:\n" + "\n".join(problems))
    try:
        write_file(target, lambda path: path.write_text(text))
    except OSError as error:
        raise UserError(f"{target} can't be written: {error.strerror}; choose another --output") from error
