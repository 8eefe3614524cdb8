"""Machines that the tasks of a step ask the pipeline engine for."""

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
    """A taint of nodes that a task may run on all the same, in Kubernetes' words."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for wrong in kubernetes.toleration(self.key, self.operator, self.value):
            raise ValueError(wrong)
        return self


class Alternative(Section):
    """Next machine of a custom job, when Vertex AI has no room for the one before."""

    accelerator: Accelerator | None = None
    accelerators: Count | None = None
    topology: str | None = None
    type: str | None = None
    region: str | None = None
    spot: bool | None = None
    flex_start: bool | None = None
    reservation: str | None = None

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
    """Cores."""
    memory_gb: Annotated[int, Field(ge=1, le=624)] | None = None
    accelerator: Accelerator | None = None
    """A GPU or TPU by its name on GKE, or nvidia: any NVIDIA GPU of a Kubernetes cluster."""
    accelerators: Count = 1
    """GPUs; or chips of a TPU, which follow from its topology."""
    topology: str | None = None
    """Arrangement of a TPU's chips, such as 2x4."""
    spot: Switch = False
    """A cheaper machine that may be taken away; a training is then tried again."""
    machines: Count = 1
    """Vertex AI: machines of each training, with the strategy multi_worker."""
    type: str | None = None
    """Vertex AI: the machine type, such as a3-highgpu-8g; the smallest that fits when not given."""
    disk_gb: Annotated[int, Field(ge=100, le=64_000)] | None = None
    """Vertex AI: size of the boot disk; 100 when not given."""
    flex_start: Switch = False
    """Vertex AI: wait up to a day until there is a machine, which is then cheaper."""
    reservation: str | None = None
    """Vertex AI: a reservation of Compute Engine, projects/P/zones/Z/reservations/R."""
    region: str | None = None
    """Vertex AI: where the machine is; the region of the run when not given."""
    fallback: list[Alternative] = []
    """Vertex AI: what to ask for instead, in this order, when there is no room for the machine."""
    wait_minutes: Annotated[float, Field(gt=0)] = 30
    """Vertex AI: how long a machine may keep a training waiting before the next of `fallback` is asked for."""
    node_selector: dict[str, str] | None = None
    """Kubernetes: labels that the node must have. GKE's for accelerator, topology and spot when not given."""
    tolerations: list[Toleration] = []
    """Kubernetes: taints that don't keep the task away, besides those of the accelerator and of GKE's Spot nodes."""
    volumes: dict[str, str] = {}
    """Kubernetes: the path that each persistent volume claim is mounted at, such as {champions: /champions}."""
    secrets: dict[str, str] = {}
    """The folder that each secret's files are in: of Kubernetes, or on Vertex AI of Secret Manager."""
    secret_variables: dict[str, dict[str, str]] = {}
    """Of each secret, the environment variable that each of its keys goes to."""

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
            raise ValueError(f'topology: "{self.topology}" is none; give one such as 2x4')
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
            raise ValueError(f'reservation: "{self.reservation}" is none; give projects/P/zones/Z/reservations/R')
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
        """Whether it has a TPU."""
        return (self.accelerator or "").startswith("tpu-")

    @property
    def on_gpu(self) -> bool:
        """Whether it has GPUs."""
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
