"""Image of each step, and the lock that pins the digest of each image."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from kep.config.machine import Machine
from kep.config.promote import PromoteSettings
from kep.core.errors import UserError
from kep.google.custom_jobs import Job, MachineRequest, delegate, job_of
from kep.pipelines.machines import Target, by_job, limits, of_executors
from kep.pipelines.steps import EXIT, step_of

GLUE = ("ingest", "weigh", "promote", EXIT)
"""Components that never import TensorFlow; they run in a smaller image without it."""
LOCAL = {name: f"keras-ensemble-pipelines/{name}" for name in ("cpu", "glue")}
"""The images as `make image` tags them on this machine."""
_BY_DIGEST = re.compile(r"[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}")


def locked(lock: Path) -> dict[str, str]:
    """The images of the lock, by name.

    Raises:
        UserError: There is no lock, it is none, it lacks an image that the pipeline needs, or names one by a tag.
    """
    if not lock.is_file():
        raise UserError(
            f"--images: there is no {lock}; name the lock of the published images, which their build writes"
        )
    try:
        images = yaml.safe_load(lock.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"--images: {lock} is no YAML; let the build write it again") from error
    if not isinstance(images, dict):
        raise UserError(f"--images: {lock} holds no images by name; let the build write it again")
    for name in LOCAL:
        if name not in images:
            raise UserError(f"--images: {lock} has no image {name}; let the build write it again")
    for name, image in images.items():
        check_pinned("--images", name, str(image))
    return {str(name): str(image) for name, image in images.items()}


def check_pinned(option: str, name: str, image: str) -> None:
    """Refuse an image that is not named by its digest.

    Args:
        option: Option that gave it.
        name: Name of the image, for the message.
        image: Name of the image.

    Raises:
        UserError: It is named by a tag, or by nothing.
    """
    if not _BY_DIGEST.fullmatch(image):
        raise UserError(
            f"{option}: {name} is {image}, which is not pinned by its digest (repository@sha256:…), so the cloud "
            "could run other code under the same name tomorrow"
        )


def assign(spec: dict[str, Any], images: Mapping[str, str], machines: Mapping[str, Machine]) -> None:
    """Gives every step of a compiled pipeline its image, and to a custom job where one runs the step.

    Args:
        spec: First YAML document of the compiled file.
        images: Image by name: cpu and glue, and gpu where a machine has GPUs.
        machines: By step.

    Raises:
        UserError: There is no image for a machine's accelerator.
    """
    placed = dict(of_executors(spec, machines))
    for label, executor in spec["deploymentSpec"]["executors"].items():
        if "container" in executor:
            step, machine = step_of(label.removeprefix("exec-")), placed.get(label)
            executor["container"]["image"] = _image(step, machine, images)
            if machine and by_job(machine):
                places = [MachineRequest.of(one, _image(step, one, images)) for one in machine.places]
                job = Job(places=places, wait_minutes=machine.wait_minutes, limits=limits(step, machine))
                delegate(executor["container"], job)
                if job.limits is None:  # the task never does anything but wait
                    executor["container"]["image"] = images["glue"]


def _image(step: str, machine: Machine | None, images: Mapping[str, str]) -> str:
    # Of the search in rounds, `suggest` trains nothing, but its oracles come with TensorFlow.
    name = "glue" if step in GLUE else "cpu"
    if machine and machine.accelerator:
        name = "gpu" if machine.on_gpu else "tpu"
    if name not in images:
        raise UserError(f"--images: the lock has no image {name}, which hardware.{step}.machine needs")
    return images[name]


def with_server(given: dict[str, Any], images: Mapping[str, str], target: Target) -> dict[str, Any]:
    """`given` arguments with the image that serves a winner, where the run file wants that in the Model Registry.

    Raises:
        UserError: There is no such image, or no Model Registry.
    """
    if not PromoteSettings.model_validate_json(given["promote_config"]).registry:
        return given
    if target == "kubeflow":
        raise UserError("promote.registry: Vertex AI has a Model Registry, and Kubeflow has none; remove it")
    if "serve" not in images:
        raise UserError("--images: the lock has no image serve, which promote.registry needs; let the build write it")
    return given | {"server_image": images["serve"]}


def unpinned(spec: dict[str, Any]) -> str | None:
    """An image of a compiled pipeline that is not named by its digest; None when all are."""
    executors = spec["deploymentSpec"]["executors"].values()
    images = [executor["container"]["image"] for executor in executors if "image" in executor.get("container", {})]
    images += [place.image for executor in executors if (job := job_of(executor)) for place in job.places]
    return next((image for image in images if not _BY_DIGEST.fullmatch(image)), None)
