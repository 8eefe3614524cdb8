"""Machines that the tasks of a step request from the pipeline engine."""

import re
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from kep.config import kubernetes
from kep.config.section import Count, Section, Switch

Accelerator = Literal[
    "nvidia-tesla-t4",
    "nvidia-l4",
    "nvidia-tesla-v100",
    "nvidia-tesla-a100",
    "nvidia-a100-80gb",
    "nvidia-h100-80gb",
    "nvidia-h200-141gb",
    "nvidia-b200",
    "nvidia",
    "tpu-v5-lite-podslice",
    "tpu-v5p-slice",
    "tpu-v6e-slice",
]


class Toleration(Section):
    """Taint of nodes that a task tolerates, in the terms of Kubernetes."""

    key: str | None = None
    """Key of the taint."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Equal: the value must be that of the taint | Exists: any value"""
    value: str | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; every effect by default."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for wrong in kubernetes.toleration(self.key, self.operator, self.value):
            raise ValueError(wrong)
        return self


class Alternative(Section):
    """Next machine of a custom job, when Vertex AI has no capacity for the one before."""

    accelerator: Accelerator | None = None
    """Another accelerator, without the number and topology of the one before."""
    accelerators: Count | None = None
    """Another number of accelerators."""
    topology: str | None = None
    """Another topology of a TPU."""
    type: str | None = None
    """Another machine type."""
    region: str | None = None
    """Another region."""
    spot: bool | None = None
    """true: a Spot machine; false: an ordinary one."""
    flex_start: bool | None = None
    """true: wait for a machine by Flex-start; false: an ordinary one."""
    reservation: str | None = None
    """Another reservation of Compute Engine."""

    def of(self, machine: "Machine") -> "Machine":
        """Return the machine with the settings that are named here.

        Another accelerator comes without the old one's number and topology, and another way to get a machine (spot,
        flex_start, reservation) without the old way.

        Raises:
            ValidationError: The two don't fit each other.
        """
        given = self.model_dump(exclude_unset=True)
        left = {"fallback", "wait_minutes"}
        if "accelerator" in given:
            left |= {"accelerators", "topology", "type", "reservation"}
        if "topology" in given:
            left.add("accelerators")
        if "region" in given:
            left.add("reservation")
        if _WAYS & given.keys():
            left |= _WAYS
        return Machine.model_validate(machine.model_dump(exclude_unset=True, exclude=left) | given)


_WAYS = {"spot", "flex_start", "reservation"}


class Machine(Section):
    """Machine that each task of a step requests from Kubeflow or Vertex AI; local runs ignore it."""

    cpu: Annotated[int, Field(ge=1, le=96)] | None = None
    """Number of cores."""
    memory_gb: Annotated[int, Field(ge=1, le=624)] | None = None
    """Memory in GB."""
    accelerator: Accelerator | None = None
    """GPU or TPU by its name on GKE, or nvidia: any NVIDIA GPU of a Kubernetes cluster."""
    accelerators: Count = 1
    """Number of GPUs, or of TPU chips, which follows from the topology."""
    topology: str | None = None
    """Arrangement of a TPU's chips, such as 2x4."""
    spot: Switch = False
    """Use a cheaper machine that may be taken away; a training is then tried again."""
    machines: Count = 1
    """Vertex AI: number of machines of each training, with strategy: multi_worker."""
    type: str | None = None
    """Vertex AI: machine type, such as a3-highgpu-8g; by default the smallest that fits."""
    disk_gb: Annotated[int, Field(ge=100, le=64_000)] | None = None
    """Vertex AI: size of the boot disk in GB; 100 by default."""
    flex_start: Switch = False
    """Vertex AI: wait up to a day until there is a machine, which is then cheaper."""
    reservation: str | None = None
    """Vertex AI: reservation of Compute Engine, projects/P/zones/Z/reservations/R."""
    region: str | None = None
    """Vertex AI: region of the machine; that of the run by default."""
    fallback: list[Alternative] = []
    """Vertex AI: machines to try instead, in this order, when there is no capacity."""
    wait_minutes: Annotated[float, Field(gt=0)] = 30
    """Vertex AI: minutes that a training waits for a machine before the next of `fallback` is tried."""
    node_selector: dict[str, str] | None = None
    """Kubernetes: labels that the node must have. By default those of GKE for accelerator, topology and spot."""
    tolerations: list[Toleration] = []
    """Kubernetes: taints that the task tolerates, in addition to those of the accelerator and of GKE Spot nodes."""
    volumes: dict[str, str] = {}
    """Kubernetes: mount path by persistent volume claim, such as {champions: /champions}."""
    secrets: dict[str, str] = {}
    """Folder for the files of each secret, by its name in Kubernetes, or in Secret Manager on Vertex AI."""
    secret_variables: dict[str, dict[str, str]] = {}
    """Environment variable for each key of each secret, such as {slack: {url: SLACK_WEBHOOK}}."""

    @model_validator(mode="before")
    @classmethod
    def _counted(cls, given: Any) -> Any:
        if (
            not isinstance(given, dict)
            or "accelerators" in given
            or not str(given.get("accelerator")).startswith("tpu-")
        ):
            return given
        chips = _chips(str(given.get("topology")))
        return given | {"accelerators": chips} if chips else given

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for wrong in (
            *kubernetes.mounts(self.volumes, self.secrets),
            *kubernetes.variables(self.secret_variables),
            *kubernetes.labels(self.node_selector or {}),
        ):
            raise ValueError(wrong)
        if self.accelerator is None:
            if given := {"accelerators", "topology"} & self.model_fields_set:
                raise ValueError(f'"{min(given)}" has no meaning without accelerator; name one, or remove it')
        elif self.topology is None:
            if self.on_tpu:
                raise ValueError(f"accelerator: {self.accelerator} needs its topology, such as 2x4")
        elif not self.on_tpu:
            raise ValueError(f"topology is of a TPU's chips, and accelerator is {self.accelerator}; remove it")
        elif not (chips := _chips(self.topology)):
            raise ValueError(f'topology: "{self.topology}" is not a topology; give one such as 2x4')
        elif self.accelerators != chips:
            raise ValueError(f"topology {self.topology} is {chips} chips, all of one task; remove accelerators")
        self._check_job()
        return self

    def _check_job(self) -> None:
        """Refuse what a custom job of Vertex AI can't be."""
        ways = sorted(way for way in _WAYS if getattr(self, way))
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} are different ways to get a machine; keep one of them")
        if self.reservation and not re.fullmatch(r"projects/[^/]+/zones/[^/]+/reservations/[^/]+", self.reservation):
            raise ValueError(
                f'reservation: "{self.reservation}" is not a reservation; give projects/P/zones/Z/reservations/R'
            )
        if self.machines > 1 and self.accelerators > 1:
            raise ValueError(
                f"machines: {self.machines} of {self.accelerators} accelerators each: a training over several machines "
                "has one replica on each of them; give accelerators: 1, or machines: 1"
            )
        if "wait_minutes" in self.model_fields_set and not self.fallback:
            raise ValueError("wait_minutes has no meaning without fallback; name what to ask for then, or remove it")
        try:
            _ = self.places
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"fallback: {first['msg'].removeprefix('Value error, ')}") from None

    @property
    def places(self) -> list["Machine"]:
        """Machines to ask Vertex AI for, one after the other while there is no room."""
        return [self, *(alternative.of(self) for alternative in self.fallback)]

    @property
    def for_job(self) -> list[str]:
        """Settings that need a custom job on Vertex AI; empty where a task will do."""
        named = {key for key in _JOB if getattr(self, key) != type(self).model_fields[key].default}
        return sorted(named | ({"accelerator"} if self.on_tpu else set()))

    @property
    def on_tpu(self) -> bool:
        """True if it has a TPU."""
        return (self.accelerator or "").startswith("tpu-")

    @property
    def on_gpu(self) -> bool:
        """True if it has GPUs."""
        return self.accelerator is not None and not self.on_tpu

    def idle(self) -> "Machine":
        """Return the machine of a task that trains nothing."""
        left = {"accelerator", "accelerators", "topology", "wait_minutes", *_JOB}
        if self.accelerator is not None:
            left |= {"node_selector", "tolerations"}
        return Machine.model_validate(self.model_dump(exclude_unset=True, exclude=left))


def _chips(topology: str) -> int | None:
    """Return the chips of a TPU's topology, such as 8 of 2x4; None for any other text."""
    return prod(map(int, topology.split("x"))) if re.fullmatch(r"\d+(x\d+){1,2}", topology) else None


_JOB = {"machines", "spot", "type", "disk_gb", "flex_start", "reservation", "region", "fallback"}
"""Settings that a task of Vertex AI can't have, so that a custom job runs the step; a TPU needs one too."""
