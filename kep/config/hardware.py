"""Settings of the hardware that each step may use."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kep.config.machine import Machine
from kep.config.section import Count, Section, Switch


class TrialHardware(Section):
    """Resources of one training."""

    threads: Count | None = None
    """Threads of one training; by default its share of the cores."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "auto"] = "float32"
    """Precision of the layers; losses and outputs stay in float32. auto: mixed_bfloat16 on TPUs and on GPUs that
    support it, else float32"""
    jit: Literal["auto", "on", "off"] = "auto"
    """Compile the training with XLA. auto: on GPUs and TPUs; on a CPU for long trainings of dense layers without
    dropout, where it was measured to pay"""
    steps_per_execution: Literal["auto"] | Count = "auto"
    """Optimiser steps per call into TensorFlow; auto: as many as take about two seconds, at most 256. The result does
    not depend on it."""
    memory_growth: Switch = True
    """Take a GPU's memory as it is needed, not all of it at once."""
    memory_limit_mb: Count | None = None
    """Memory limit of a training on each GPU, in MB; instead of memory_growth."""


class TrainingHardware(TrialHardware):
    """Resources of the training of one model, on one or several devices or machines."""

    strategy: Literal["auto", "single", "mirrored", "multi_worker", "tpu", "central_storage", "parameter_server"] = (
        "auto"
    )
    """Distribution of the training. single: one device | mirrored: several GPUs of this machine | multi_worker: several
    processes, as TF_CONFIG names them, or `devices` processes on this machine | tpu | auto: what the machine has.
    Boosted trees are always single."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Devices to use. cpu: no GPUs; mirrored then takes logical CPU devices, to try it without any GPU"""
    devices: Count | None = None
    """Number of replicas: GPUs of mirrored, processes of multi_worker; all by default."""
    communication: Literal["auto", "nccl", "ring", "hierarchical"] = "auto"
    """Algorithm that sums gradients over devices: nccl, hierarchical (mirrored: copies along the GPUs' links) or ring
    (multi_worker: over the network)"""
    tpu: str = "local"
    """Name of the TPU, or local on a TPU VM."""
    batch_size: Count | None = None
    """Rows per optimiser step over all replicas; search.batch_size by default."""
    scale_learning_rate: Literal["none", "linear", "sqrt"] = "none"
    """How the learning rate scales with a batch_size other than that of the search."""
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 5
    """Minutes between checkpoints, from which a killed training goes on."""
    stall_minutes: Annotated[float, Field(gt=0)] = 30
    """Minutes without a step after which a training is stopped as stalled."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.strategy in ("single", "tpu") and self.devices not in (None, 1):
            raise ValueError(f"devices: {self.devices} has no meaning with strategy: {self.strategy}; remove it")
        if self.strategy == "central_storage":
            raise ValueError(
                "strategy: central_storage is not offered: under Keras 3 it refuses layers with state, such as Dropout "
                "and BatchNormalization, and its metrics come out wrong; use mirrored"
            )
        if self.strategy == "parameter_server":
            raise ValueError(
                "strategy: parameter_server is not offered: Keras 3 can't train under it, and stale gradients would "
                "make the result depend on timing; use multi_worker"
            )
        other = {"ring": "multi_worker", "hierarchical": "mirrored"}.get(self.communication, self.strategy)
        if self.strategy not in ("auto", other):
            raise ValueError(f"communication: {self.communication} is for strategy: {other}; use auto or nccl")
        if self.scale_learning_rate != "none" and self.batch_size is None:
            raise ValueError("scale_learning_rate follows batch_size, which is not given; give it or remove both")
        return self


class OnMachine(Section):
    """Machine of one step."""

    # It reaches the compiled pipeline alone: no step gets it, so that a change of it leaves every cached step alone.
    machine: Annotated[Machine | None, Field(exclude=True)] = None
    """Machine that each task of the step requests from Kubeflow or Vertex AI, such as {cpu: 8, memory_gb: 30,
    accelerator: nvidia-tesla-t4, accelerators: 4}; local runs ignore it"""


class TuneHardware(TrialHardware, OnMachine):
    """Resources of the search."""


class StepHardware(TrainingHardware, OnMachine):
    """Resources of a step that trains."""

    @model_validator(mode="after")
    def _several(self) -> Self:
        count = self.machine.machines if self.machine else 1
        if count > 1 and self.strategy not in ("auto", "multi_worker"):
            raise ValueError(
                f"machine.machines: {count} need strategy: multi_worker, and it is {self.strategy}; change one of them"
            )
        if count > 1 and self.devices not in (None, count):
            raise ValueError(
                f"devices: {self.devices} are the processes of the training, and machine.machines are {count}; "
                "remove devices"
            )
        return self


class HardwareSettings(Section):
    """Resources of each step."""

    ingest: Annotated[OnMachine, Field(exclude=True)] = OnMachine()
    tune: TuneHardware = TuneHardware()
    best_epoch: StepHardware = StepHardware()
    weigh: Annotated[OnMachine, Field(exclude=True)] = OnMachine()
    retrain: StepHardware = StepHardware()
    evaluate: Annotated[OnMachine, Field(exclude=True)] = OnMachine()
    promote: Annotated[OnMachine, Field(exclude=True)] = OnMachine()
    max_cost: Annotated[float | None, Field(gt=0, exclude_if=lambda most: most is None)] = None
    """Limit of the estimated cost in USD of a run on Vertex AI (see `kep submit --dry-run`). Above it `kep submit` and
    `kep schedule` require --yes."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for step in ("ingest", "weigh", "promote"):
            machine = getattr(self, step).machine
            if machine and machine.accelerator:
                raise ValueError(f"{step} has no use for an accelerator, since it trains nothing; remove it")
        for step, machine in self.machines.items():
            if machine.machines > 1 and step not in ("best_epoch", "retrain"):
                instead = "; search.rounds makes a task of each trial" if step == "tune" else ""
                raise ValueError(f"{step}.machine.machines: only a training spans several machines{instead}")
        return self

    @property
    def machines(self) -> dict[str, Machine]:
        """Machines of the steps that name one."""
        parts = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: part.machine for name, part in parts.items() if isinstance(part, OnMachine) and part.machine}
