"""Hardware that a step may use, checked against the machine; nothing here imports TensorFlow."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from kep.config.hardware import TrainingHardware, TrialHardware
from kep.core.environment import CLUSTER, PARALLEL
from kep.core.errors import UserError

WORKER_MEMORY = 1.5e9
"""Bytes that one training process is expected to need beside the data, for the number of workers that `auto` picks."""
_THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_OPERATIONS = "TF_NUM_INTEROP_THREADS"


def limit_threads(hardware: TrialHardware, alone: bool = True) -> None:
    """Limits TensorFlow, OpenMP and BLAS to the threads of one task; to be called before the first of their operations.

    That is `threads`, or this task's share of the cores: two trainings that both take all cores are slower than one
    after the other.

    Args:
        hardware: Hardware of the task.
        alone: Whether one CPU trains, and no replicas.
    """
    share = max(1, len(os.sched_getaffinity(0)) // int(os.environ.get(PARALLEL, "1")))
    _set_threads(hardware.threads or share, alone)


@dataclass(frozen=True)
class Share:
    """How parallel workers share the machine.

    Attributes:
        workers: Number of processes.
        threads: Threads of each training.
        gpus: Ids of the GPUs, one per worker in turn; empty without any.
        reason: Why so, for people.
    """

    workers: int
    threads: int
    gpus: tuple[str, ...]
    reason: str

    @classmethod
    def of_machine(cls, workers: Literal["auto"] | int, hardware: TrialHardware) -> "Share":
        """The share for a number of workers, or for `auto`: one per GPU, else one per core that memory allows."""
        cores, gpus = len(os.sched_getaffinity(0)), visible_gpus()
        if workers != "auto":
            count, reason = workers, "as set"
        elif gpus:
            count, reason = len(gpus), f"one for each of {len(gpus)} GPUs"
        else:
            wanted = max(1, cores // (hardware.threads or 1))
            fits = max(1, int(psutil.virtual_memory().total / WORKER_MEMORY))
            count = min(wanted, fits)
            reason = f"{cores} cores" if count == wanted else f"memory for {fits} of {wanted}"
        threads = hardware.threads or max(1, cores // count)
        return cls(count, threads, gpus, f"{reason}, {threads} threads each")

    def take(self, slot: int) -> None:
        """Limits this process to the share of one worker; to be called before TensorFlow's first operation."""
        _set_threads(self.threads, not self.gpus)
        if self.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]


@dataclass(frozen=True)
class DevicePlan:
    """The devices of one training.

    Attributes:
        strategy: single, mirrored, multi_worker or tpu.
        device: cpu, gpu or tpu.
        devices: Replicas in all processes; 0 where only the TPU can say.
        reason: Why so, for people.
    """

    strategy: str
    device: str
    devices: int
    reason: str


def plan(where: str, hardware: TrainingHardware) -> DevicePlan:
    """Return the devices that `hardware` means on this machine.

    Args:
        where: Path of the settings in the run file, for messages, such as hardware.retrain.
        hardware: The settings.

    Raises:
        UserError: This machine can't do it; the sentence says what there is.
    """
    gpus = () if hardware.device == "cpu" else visible_gpus()
    device, cluster = "gpu" if gpus else "cpu", workers_of_cluster()
    has = f"this machine has {len(gpus) or 'no'} GPU{'s' if len(gpus) != 1 else ''}"
    wanted = hardware.strategy
    if wanted == "auto":
        if len(cluster) > 1:
            return DevicePlan("multi_worker", device, len(cluster), f"{CLUSTER} names {len(cluster)} workers")
        if _tpu():
            return DevicePlan("tpu", "tpu", 0, "this machine has a TPU")
        wanted = "mirrored" if (hardware.devices or len(gpus)) > 1 else "single"
    if hardware.device == "gpu" and not gpus:
        raise UserError(f"{where}.device: gpu was asked for, and {has}")
    if wanted == "tpu":
        if not _tpu():
            raise UserError(f'{where}.strategy: tpu "{hardware.tpu}" was asked for, and this machine has no TPU')
        return DevicePlan("tpu", "tpu", 0, "as set")
    if wanted == "multi_worker":
        workers = len(cluster) or hardware.devices or 0
        if workers < 2:
            raise UserError(
                f"{where}.strategy: multi_worker needs {CLUSTER} with several workers, or devices: N for N processes "
                "on this machine"
            )
        if cluster and hardware.devices not in (None, workers):
            raise UserError(f"{where}.devices: {hardware.devices} was asked for, and {CLUSTER} names {workers} workers")
        return DevicePlan(
            "multi_worker", device, workers, f"{workers} processes{'' if cluster else ' on this machine'}"
        )
    if wanted == "mirrored":
        if not gpus and hardware.device != "cpu":
            raise UserError(
                f"{where}.strategy: mirrored needs GPUs, and {has}; device: cpu tries it on logical CPU devices"
            )
        devices = hardware.devices or len(gpus) or 2
        if gpus and devices > len(gpus):
            raise UserError(f"{where}.devices: {devices} were asked for, and {has}")
        return DevicePlan("mirrored", device, devices, f"{devices} {'GPUs' if gpus else 'logical CPU devices'}")
    why = "as set" if hardware.strategy == "single" else has
    return DevicePlan("single", device, 1, why)


def one_device(where: str, hardware: TrialHardware, name: str, chosen: DevicePlan | None = None) -> DevicePlan:
    """Return the one device of a family whose own `fit` trains it.

    Args:
        where: Path of the settings in the run file, for messages.
        hardware: The settings.
        name: Name of the family.
        chosen: Result of `plan` on this machine; None where the family will train on another one.

    Raises:
        UserError: The settings, or the machine, want what only kep's own loop can do.
    """
    wanted = {key: getattr(hardware, key, "auto") for key in ("strategy", "devices", "steps_per_execution")}
    wanted = {key: value for key, value in wanted.items() if value not in ("auto", "single", None, 1)}
    machine = getattr(hardware, "machine", None)
    if machine and machine.machines > 1:
        wanted["machine.machines"] = machine.machines
    elif machine and (machine.accelerator or "").startswith("tpu"):
        wanted["machine.accelerator"] = machine.accelerator
    elif chosen and chosen.strategy in ("multi_worker", "tpu"):
        wanted["strategy"] = chosen.strategy
    for key, value in wanted.items():
        raise UserError(
            f"{where}.{key}: {value} can't be had for {name}, whose own fit() trains on one device; remove it, set "
            f"strategy: single, or train {name} without a fit() of its own"
        )
    device = chosen.device if chosen else "auto"
    return DevicePlan("single", device, 1, f"fit() of {name} trains on one device")


def global_batch(where: str, hardware: TrainingHardware, searched: int, devices: int) -> tuple[int, float]:
    """Rows of an optimiser step over all replicas, and what the learning rate is multiplied by.

    Args:
        where: Path of the settings in the run file, for messages.
        hardware: The settings.
        searched: search.batch_size.
        devices: Replicas.

    Raises:
        UserError: The batch can't be divided among the replicas.
    """
    batch = hardware.batch_size or searched
    if devices and batch % devices:
        raise UserError(
            f"{where}.batch_size: {batch} rows can't be divided among {devices} replicas; "
            f"give a multiple of {devices}, such as {-(-batch // devices) * devices}"
        )
    ratio = batch / searched
    return batch, {"none": 1.0, "linear": ratio, "sqrt": ratio**0.5}[hardware.scale_learning_rate]


def visible_gpus() -> tuple[str, ...]:
    """Ids of the NVIDIA GPUs that this process may use, found without starting CUDA."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return tuple(id for id in visible.split(",") if id and id != "-1")
    driver = Path("/proc/driver/nvidia/gpus")
    return tuple(str(number) for number, _ in enumerate(driver.iterdir())) if driver.is_dir() else ()


def workers_of_cluster() -> list[str]:
    """Addresses of the training processes that `CLUSTER` names; empty without it.

    Raises:
        UserError: It is not what TensorFlow documents.
    """
    if not (text := os.environ.get(CLUSTER)):
        return []
    try:
        cluster = json.loads(text).get("cluster", {})
        return [*cluster.get("chief", []), *cluster.get("worker", [])]
    except (ValueError, AttributeError) as error:
        raise UserError(f"{CLUSTER}: it is not the JSON that TensorFlow documents ({error})") from None


def worker_number() -> int:
    """This process's place among `workers_of_cluster`; 0 without a cluster."""
    described = json.loads(os.environ.get(CLUSTER) or "{}")
    task, chiefs = described.get("task", {}), len(described.get("cluster", {}).get("chief", []))
    return int(task.get("index", 0)) + (chiefs if task.get("type") == "worker" else 0)


def is_chief() -> bool:
    """Return whether this process is the one of its cluster that writes the result; true without a cluster."""
    return worker_number() == 0


def _tpu() -> bool:
    return any(Path("/dev").glob("accel[0-9]*")) or "TPU_NAME" in os.environ


def _set_threads(threads: int, alone: bool) -> None:
    for name in _THREADS:
        os.environ[name] = str(threads)
    # On one CPU a step's operations follow each other: handing them from thread to thread costs a quarter of the time.
    os.environ[_OPERATIONS] = "1" if alone else str(threads)
