"""What a step may use of its machine, and how parallel trainings share it."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from components.shared.settings import HardwareSettings

WORKER_MEMORY = 1.5e9
"""Bytes that one training process is expected to need beside the data, for the number of workers that `auto` picks."""
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


PARALLEL = "KEP_PARALLEL_TASKS"
"""Environment variable: how many tasks of a loop the runner starts at a time on this machine."""


def limit_threads(config: str) -> None:
    """Limits TensorFlow, OpenMP and BLAS to the threads of one task; to be called before the first of their operations.

    That is `hardware.threads`, or this task's share of the cores: two trainings that both take all cores are slower
    than one after the other.

    Args:
        config: JSON of `HardwareSettings`.
    """
    share = max(1, len(os.sched_getaffinity(0)) // int(os.environ.get(PARALLEL, "1")))
    _set_threads(HardwareSettings.model_validate_json(config).threads or share)


@dataclass(frozen=True)
class Share:
    """How parallel workers share the machine.

    Attributes:
        workers: Number of processes.
        threads: Of each.
        gpus: Ids of the GPUs, one per worker in turn; empty without any.
        reason: Why so, for people.
    """

    workers: int
    threads: int
    gpus: tuple[str, ...]
    reason: str

    @classmethod
    def of_machine(cls, workers: int | str, hardware: HardwareSettings) -> "Share":
        """The share for a number of workers, or for `auto`: one per GPU, else one per core that memory allows."""
        cores, gpus = len(os.sched_getaffinity(0)), visible_gpus()
        if workers != "auto":
            reason = "as set"
        elif gpus:
            workers, reason = len(gpus), f"one for each of {len(gpus)} GPUs"
        else:
            wanted = max(1, cores // (hardware.threads or 1))
            fits = max(1, int(psutil.virtual_memory().total / WORKER_MEMORY))
            workers = min(wanted, fits)
            reason = f"{cores} cores" if workers == wanted else f"memory for {fits} of {wanted}"
        threads = hardware.threads or max(1, cores // workers)
        return cls(workers, threads, gpus, f"{reason}, {threads} threads each")

    def take(self, slot: int) -> None:
        """Limits this process to the share of one worker; to be called before TensorFlow's first operation."""
        _set_threads(self.threads)
        if self.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
            os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"


def visible_gpus() -> tuple[str, ...]:
    """Ids of the NVIDIA GPUs that this process may use, found without starting CUDA."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return tuple(id for id in visible.split(",") if id and id != "-1")
    driver = Path("/proc/driver/nvidia/gpus")
    return tuple(str(number) for number, _ in enumerate(driver.iterdir())) if driver.is_dir() else ()


def _set_threads(threads: int) -> None:
    for name in _THREADS:
        os.environ[name] = str(threads)
