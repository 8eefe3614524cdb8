"""Regions of Vertex AI, machine types of Compute Engine, and which of these has what a task asks for."""

from dataclasses import dataclass

from kep.config.machine import Machine

# fmt: off
REGIONS = (
    "africa-south1", "asia-east1", "asia-east2", "asia-northeast1", "asia-northeast2", "asia-northeast3",
    "asia-south1", "asia-south2", "asia-southeast1", "asia-southeast2", "australia-southeast1",
    "australia-southeast2", "europe-central2", "europe-north1", "europe-north2", "europe-southwest1",
    "europe-west1", "europe-west12", "europe-west2", "europe-west3", "europe-west4", "europe-west6", "europe-west8",
    "europe-west9", "me-central1", "me-central2", "me-west1", "northamerica-northeast1", "northamerica-northeast2",
    "southamerica-east1", "southamerica-west1", "us-central1", "us-east1", "us-east4", "us-east5", "us-east7",
    "us-south1", "us-west1", "us-west2", "us-west3", "us-west4", "us-west8",
)
# fmt: on
"""Those of google.cloud.aiplatform, whose import takes seconds; a test holds them against it."""


@dataclass(frozen=True)
class Shape:
    """A machine type, as Compute Engine's documentation describes it.

    Attributes:
        cpu: Cores.
        memory_gb: Its memory.
        accelerator: The GPU that it has or takes; empty for none.
        counts: How many of them.
        attached: Whether they are paid for beside the machine.
    """

    cpu: int
    memory_gb: int
    accelerator: str = ""
    counts: tuple[int, ...] = ()
    attached: bool = False

    def fits(self, asked: Machine) -> bool:
        """Return whether a task that asks for so much can run on it."""
        if self.accelerator != (asked.accelerator or "") or (
            asked.accelerator and asked.accelerators not in self.counts
        ):
            return False
        return self.cpu >= (asked.cpu or 0) and self.memory_gb >= (asked.memory_gb or 0)


def _n1(cpu: int, memory_gb: int) -> Shape:
    return Shape(cpu, memory_gb, "nvidia-tesla-t4", (1, 2, 4), attached=True)


DEFAULT_MACHINE = "e2-standard-4"
"""Machine type of a task that requests nothing, by Vertex AI's documentation."""
SHAPES = {
    "e2-standard-4": Shape(4, 16),
    "e2-standard-8": Shape(8, 32),
    "e2-standard-16": Shape(16, 64),
    "e2-standard-32": Shape(32, 128),
    "n1-standard-4": _n1(4, 15),
    "n1-standard-8": _n1(8, 30),
    "n1-highmem-8": _n1(8, 52),
    "n1-standard-16": _n1(16, 60),
    "n1-standard-32": _n1(32, 120),
    "g2-standard-4": Shape(4, 16, "nvidia-l4", (1,)),
    "g2-standard-8": Shape(8, 32, "nvidia-l4", (1,)),
    "g2-standard-12": Shape(12, 48, "nvidia-l4", (1,)),
    "g2-standard-24": Shape(24, 96, "nvidia-l4", (2,)),
    "g2-standard-48": Shape(48, 192, "nvidia-l4", (4,)),
    "a2-highgpu-1g": Shape(12, 85, "nvidia-tesla-a100", (1,)),
    "a2-highgpu-2g": Shape(24, 170, "nvidia-tesla-a100", (2,)),
    "a2-highgpu-4g": Shape(48, 340, "nvidia-tesla-a100", (4,)),
    "a2-highgpu-8g": Shape(96, 680, "nvidia-tesla-a100", (8,)),
    "a2-ultragpu-1g": Shape(12, 170, "nvidia-a100-80gb", (1,)),
    "a2-ultragpu-2g": Shape(24, 340, "nvidia-a100-80gb", (2,)),
    "a2-ultragpu-4g": Shape(48, 680, "nvidia-a100-80gb", (4,)),
    "a2-ultragpu-8g": Shape(96, 1360, "nvidia-a100-80gb", (8,)),
    "a3-highgpu-8g": Shape(208, 1872, "nvidia-h100-80gb", (8,)),
    "ct5lp-hightpu-1t": Shape(24, 48, "tpu-v5-lite-podslice", (1,)),
    "ct5lp-hightpu-4t": Shape(112, 192, "tpu-v5-lite-podslice", (4,)),
    "ct5lp-hightpu-8t": Shape(224, 384, "tpu-v5-lite-podslice", (8,)),
}
"""Among these Vertex AI chooses for a task, which names none; a custom job must name one. Vertex AI knows more."""


def smallest(asked: Machine) -> str | None:
    """The smallest machine type that has what is asked for; None where none here has."""
    fitting = [(shape.cpu, shape.memory_gb, name) for name, shape in SHAPES.items() if shape.fits(asked)]
    return min(fitting)[2] if fitting else None
