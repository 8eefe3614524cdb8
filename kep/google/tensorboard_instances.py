"""TensorBoard instances of Vertex AI: how a pipeline's trainings are told of one, and where it is looked at.

What is written there, and how, is in kep/google/tensorboards.py.
"""

import json
import re
from typing import Any

from kep.core.environment import TENSORBOARD
from kep.core.errors import UserError

TRAINING = ("tune", "best-epoch", "retrain")
"""Tasks that have something to write; the trials of a search in rounds are written by the last of its tasks."""


def check(option: str, instance: str) -> str:
    """The region of an instance.

    Args:
        option: Option that names it, for the message.
        instance: Its resource name.

    Raises:
        UserError: It is none.
    """
    match = re.fullmatch(r"projects/[^/\s]+/locations/([a-z0-9-]+)/tensorboards/[^/\s]+", instance)
    if match is None:
        raise UserError(
            f'{option}: "{instance}" is no TensorBoard instance; give projects/P/locations/R/tensorboards/ID, as '
            '"gcloud ai tensorboards list --region R" shows it'
        )
    return match[1]


def address(instance: str, experiment: str) -> str:
    """Return the address of an experiment's page."""
    name = f"{instance}/experiments/{experiment}".replace("/", "+")
    return f"https://{instance.split('/')[3]}.tensorboard.googleusercontent.com/experiment/{name}"


def written_to(spec: dict[str, Any], instance: str) -> dict[str, Any]:
    """A compiled pipeline whose trainings write to an instance.

    Raises:
        UserError: It trains nothing.
    """
    spec = json.loads(json.dumps(spec))
    found = _trainings(spec)
    if not found:
        raise UserError("--tensorboard: this pipeline trains nothing that TensorBoard could show; remove it")
    for container in found:
        container["env"] = [*container.get("env", []), {"name": TENSORBOARD, "value": instance}]
    return spec


def instance_of(spec: dict[str, Any]) -> str:
    """The instance of a compiled pipeline, empty where it has none: the opposite of `written_to`."""
    variables = [variable for container in _trainings(spec) for variable in container.get("env", [])]
    return next((variable["value"] for variable in variables if variable["name"] == TENSORBOARD), "")


def _trainings(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Containers of the tasks that train."""
    return [
        executor["container"]
        for label, executor in spec.get("deploymentSpec", {}).get("executors", {}).items()
        if "container" in executor and re.sub(r"-\d+$", "", label.removeprefix("exec-")) in TRAINING
    ]
