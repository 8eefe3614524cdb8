"""A family on the devices that the run file asks for."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kep.config.hardware import TrainingHardware
from kep.core.errors import RunError
from kep.data.schema import Manifest
from kep.models.family import Family, step_rows
from kep.models.registry import Spec, family, is_trees
from kep.runtime.hardware import (
    DevicePlan,
    global_batch,
    is_chief,
    limit_threads,
    one_device,
    plan,
    worker_number,
    workers_of_cluster,
)
from kep.runtime.step import Step
from kep.training.checkpoints import Checkpoints
from kep.training.cluster import local_cluster
from kep.training.monitor import StepMonitor


@dataclass(frozen=True)
class Placed:
    """A family that trains on its devices.

    Attributes:
        family: The family.
        batch_size: Rows of an optimiser step over all replicas.
        plan: The devices.
        chief: Whether this process writes the result.
    """

    family: Family
    batch_size: int
    plan: DevicePlan
    chief: bool
    _machine: Any
    _hardware: TrainingHardware

    def agreed(self, value: bool) -> bool:
        """Return the value of the first process of the training."""
        return bool(self._machine.agreed(value, "FIRST")) if self._machine else value

    def monitor(self, step: Step, name: str, checkpoints: Checkpoints | None, epochs: float | None) -> StepMonitor:
        """Who watches one training of this family; `name` goes before each line of its log."""
        return StepMonitor(
            step,
            name,
            self.family.unit,
            checkpoints=checkpoints if self.family.looped else None,
            stall_minutes=self._hardware.stall_minutes,
            scalars=step.out / "tensorboard" / (name.strip(": ").replace(" ", "-") or "training"),
            epochs=epochs,
        )

    def checkpoints(self, folder: Path, identity: str) -> Checkpoints:
        """Where a training keeps its checkpoints; each process has its own."""
        if self.plan.strategy == "multi_worker":
            folder = folder / f"worker-{worker_number()}"
        return Checkpoints(
            folder, f"{identity} {self.plan.strategy} {self.plan.devices}", self._hardware.checkpoint_minutes
        )


@contextmanager
def placed(step: Step, spec: Spec, manifest: Manifest, hardware: str, batch_size: int) -> Iterator[Placed]:
    """A family on the devices of `hardware.<step>`, and the errors of devices as sentences.

    Args:
        step: Step of this execution.
        spec: Spec of the family.
        manifest: Manifest of the data.
        hardware: JSON of `TrainingHardware`.
        batch_size: search.batch_size; 0 lets the number of train rows choose.

    Raises:
        UserError: This machine can't do what was asked for.
        RunError: The memory ran out, or a process of the training was lost.
    """
    asked, where = TrainingHardware.model_validate_json(hardware), f"hardware.{step.name}"
    batch_size = step_rows(batch_size, manifest.roles["train"].rows)
    if is_trees(spec):
        limit_threads(asked)
        yield Placed(
            family(spec, manifest), batch_size, DevicePlan("single", "cpu", 1, "trees"), is_chief(), None, asked
        )
        return
    chosen = plan(where, asked)
    batch, rate = global_batch(where, asked, batch_size, chosen.devices)
    alone = chosen.strategy == "multi_worker" and not workers_of_cluster()
    with local_cluster(step, chosen.devices) if alone else nullcontext():
        limit_threads(asked, chosen.strategy == "single" and chosen.device == "cpu")
        from kep.training.machine import TrainingMachine

        # Before a user's file is read: TensorFlow takes its devices before its first operation.
        machine = TrainingMachine.open(chosen, asked, rate)
        member = family(spec, manifest, lambda: machine)
        if not member.looped:
            chosen = one_device(where, asked, member.name, chosen)
            machine = replace(machine, strategy=None)
            batch, _ = global_batch(where, asked, batch_size, 1)
        rows = batch if member.looped else "its own number of"
        step.progress(
            f"{chosen.strategy} on {chosen.device.upper()}: {chosen.reason}; {rows} rows a step, {machine.precision}"
            + {True: ", XLA", None: ", XLA for long trainings of dense layers"}.get(machine.jit, "")
        )
        try:
            yield Placed(member, batch, chosen, is_chief(), machine, asked)
        except Exception as error:
            # By name: nothing here imports TensorFlow.
            known = _ERRORS.get(type(error).__name__)
            if known is None:
                raise
            raise RunError(f"{step.label}: {known}") from error


_LOST = "another process of the training was lost; start it again, it goes on from its last checkpoint"
_ERRORS = {
    "ResourceExhaustedError": "the memory of the device ran out; use a smaller batch_size or more devices",
    "UnavailableError": _LOST,
    "AbortedError": _LOST,
}
