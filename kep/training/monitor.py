"""Who watches a training while it runs: its progress, its checkpoints, and whether it still moves."""

import logging
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from kep.core.errors import RunError
from kep.runtime.step import Step
from kep.training.checkpoints import Checkpoints, TrainingState

SPEED = ("rows_per_second", "step_ms", "input_share")
"""Keys of an epoch's logs for its speed: rows a second, milliseconds of an optimiser step, and the share of the time
that the training waited for rows."""
HEARTBEAT = 30.0
"""Seconds without a line after which an epoch that still runs says how far it is."""
log = logging.getLogger("kep")


class Monitor:
    """Training callbacks; this base class ignores them, `StepMonitor` does not."""

    def epoch(self, number: int, logs: dict[str, float]) -> None:
        """An epoch (or boosting round) has ended.

        Args:
            number: 1-based.
            logs: `loss` of the train rows, `val_loss` where validation rows are watched, and more by name.
        """

    def call(self, epoch: int, step: int, steps: int, batch: int) -> None:
        """A call into TensorFlow has ended.

        Args:
            epoch: 1-based.
            step: Optimiser steps of the epoch that are done.
            steps: Optimiser steps of an epoch.
            batch: Rows of a step.
        """

    def due(self) -> bool:
        """Return whether a checkpoint is to be written now."""
        return False

    def save(self, number: int, state: TrainingState) -> None:
        """Writes a checkpoint after optimiser step `number`.

        Raises:
            RunError: The checkpoint could not be written, or the process was told to end.
        """

    def checkpoints(self) -> Checkpoints | None:
        """Where the training keeps its checkpoints; None where it keeps none."""
        return None

    def resumed(self, epoch: int, step: int) -> None:
        """The training goes on from a checkpoint: in that epoch, of which so many optimiser steps are done."""


class StepMonitor(Monitor):
    """Tells a step's progress, keeps its checkpoints and TensorBoard's scalars, and ends a training that stalls.

    Use it as a context manager, in the main thread: while it is open, SIGTERM asks for a checkpoint and ends the
    training.

    Args:
        step: Step of this execution.
        name: Name of the training, for the log.
        unit: "epoch" or "round".
        checkpoints: Checkpoints of the training; None for none.
        stall_minutes: Minutes without a call after which the process ends with status 1.
        scalars: Folder for TensorBoard's event files; None for none.
        epochs: Most epochs, for the time that is left; None where not known.
    """

    def __init__(
        self,
        step: Step,
        name: str,
        unit: str = "epoch",
        checkpoints: Checkpoints | None = None,
        stall_minutes: float = float("inf"),
        scalars: Path | None = None,
        epochs: float | None = None,
    ) -> None:
        self._step, self._name, self._unit, self._epochs = step, name, unit, epochs
        self._checkpoints, self._stall = checkpoints, 60 * stall_minutes
        self._scalars: Any = None
        self._folder = scalars
        self._started = self._said = self._moved = time.monotonic()
        self._first: tuple[int, int] | None = None
        self._speed: dict[str, float] = {}
        self._stop = False
        self._ended = threading.Event()

    def __enter__(self) -> "StepMonitor":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._on_term)
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._ended.set()
        if self._speed:
            self._step.speeds.append(self._speed)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)
        if self._scalars is not None:
            self._scalars.close()
        if problem[0] is None and self._checkpoints is not None:
            self._checkpoints.remove()

    def epoch(self, number: int, logs: dict[str, float]) -> None:
        self._moved = time.monotonic()
        self._speed = {name: logs[name] for name in SPEED if name in logs}
        self._write(number, logs)
        if number % 10 == 0 or self._moved - self._said > HEARTBEAT:
            shown = {"loss": "training loss", "val_loss": "validation loss"}
            losses = ", ".join(f"{shown[name]} {logs[name]:.4f}" for name in shown if name in logs)
            self._say(f"{self._unit} {number}{losses and f': {losses}'}{self._left(number)}", number)

    def call(self, epoch: int, step: int, steps: int, batch: int) -> None:
        now = time.monotonic()
        self._moved = now
        done = (epoch - 1) * steps + step
        if self._first is None:
            self._first = (done, steps)
            self._started = now
            return
        if now - self._said > HEARTBEAT:
            seconds = (now - self._started) / max(1, done - self._first[0])
            speed = f"{batch / seconds:,.0f} rows/s, {1000 * seconds:.3g} ms a step"
            self._say(f"epoch {epoch}, step {step} of {steps}: {speed}{self._left(done / steps)}", epoch)

    def resumed(self, epoch: int, step: int) -> None:
        self._say(f"going on from a checkpoint: epoch {epoch}, {step} of its steps are done", epoch)

    def due(self) -> bool:
        return self._checkpoints is not None and (self._stop or self._checkpoints.due())

    def save(self, number: int, state: TrainingState) -> None:
        if self._checkpoints is None:
            raise ValueError("this training keeps no checkpoints")
        try:
            self._checkpoints.save(number, state)
        except OSError as error:
            raise RunError(
                f"{self._name}the checkpoint after {number} steps can't be written to {self._checkpoints.folder} "
                f"({error.strerror}); make room and start it again, it goes on from the checkpoint before"
            ) from error
        if self._stop:
            raise RunError(f"{self._name}told to end: stopped after {number} steps, start it again to go on there")

    def checkpoints(self) -> Checkpoints | None:
        return self._checkpoints

    def _left(self, epochs: float) -> str:
        """How long the rest takes at most, once it can be known."""
        if self._epochs is None or self._first is None:
            return ""
        done = epochs - self._first[0] / self._first[1]
        if done <= 0:
            return ""
        seconds = (time.monotonic() - self._started) / done * max(0.0, self._epochs - epochs)
        return f"; at most {seconds / 60:.0f} min left" if seconds >= 90 else f"; at most {seconds:.0f} s left"

    def _say(self, text: str, done: int) -> None:
        self._said = time.monotonic()
        total = None if self._epochs is None else max(1, round(self._epochs))
        self._step.progress(f"{self._name}{text}", done, total)

    def _write(self, number: int, logs: dict[str, float]) -> None:
        if self._folder is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if self._scalars is None:
            self._scalars = EventFileWriter(str(self._folder))
        values = [Summary.Value(tag=name, simple_value=value) for name, value in logs.items()]
        event = Event(wall_time=time.time(), step=number, summary=Summary(value=values))
        self._scalars.add_event(event)
        if self._step.sender is not None:
            # Under the name that `kep tensorboard` shows.
            self._step.sender.add(f"{self._step.name}/{self._step.label}/{self._folder.name}", event)

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        if self._checkpoints is None:
            raise SystemExit(128 + number)
        # The training writes its checkpoint after the call that runs now.
        self._stop = True

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self._stall / 4)):
            if time.monotonic() - self._moved > self._stall:
                self._step.abort(
                    f"{self._name or self._step.label + ': '}no step in {self._stall / 60:g} minutes, so the training "
                    "has stalled; its last checkpoint is kept, start it again to go on"
                )
