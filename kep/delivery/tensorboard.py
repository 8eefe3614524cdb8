"""A run's learning curves and its search in TensorBoard: `kep tensorboard`."""

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from kep.artifacts.trials import TrialStore, merged
from kep.components.tune.sessions import name_of, session
from kep.core.errors import UserError
from kep.engines.local.artifacts import Artifacts
from kep.engines.local.finding import find
from kep.google import tensorboard_instances

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

EVENTS = "tensorboard"
"""Folder of an artifact that holds event files."""


def tensorboard(run: str, runs: Path, port: int, console: Console) -> None:
    """Starts TensorBoard on a run and waits until it is interrupted.

    Args:
        run: A run's name or folder.
        runs: Folder of all runs.
        port: To listen on; 0 for any free one.
        console: Where to print the address.

    Raises:
        UserError: There is no such run, or the port is taken.
    """
    from tensorboard.program import TensorBoard, TensorBoardServerException

    with tempfile.TemporaryDirectory(prefix="kep-tensorboard-") as folder:
        curves, trials = collect(find(run, runs), Path(folder))
        program = TensorBoard()
        program.configure(argv=[None, "--logdir", folder, "--port", str(port), "--load_fast", "false"])
        try:
            url = program.launch()
        except TensorBoardServerException as error:
            raise UserError(f"--port: {' '.join(str(error).split())}") from error
        console.print(f"{curves} trainings with learning curves, {trials} trials: {url} (Ctrl-C ends it)")
        try:
            _wait()
        except KeyboardInterrupt:
            console.print("ended")


def upload(run: str, runs: Path, instance: str, console: Console) -> None:
    """Writes what `tensorboard` shows of a run to an experiment of its own; done again, it changes nothing.

    Args:
        run: A run's name or folder.
        runs: Folder of all runs.
        instance: Instance of TensorBoard on Vertex AI.
        console: Where to print the experiment's address.

    Raises:
        UserError: There is no such run, `instance` is none, or Vertex AI does not take it.
    """
    from kep.engines.base import OURS
    from kep.google.tensorboards import Board
    from kep.google.vertex import login

    tensorboard_instances.check("--upload", instance)
    found = find(run, runs).resolve()
    with tempfile.TemporaryDirectory(prefix="kep-tensorboard-") as folder:
        curves, trials = collect(found, Path(folder))
        events = _events(Path(folder))
    experiment = re.sub("[^a-z0-9]+", "-", f"{OURS}{found.parent.name}-{found.name}".lower())
    Board(instance, experiment, login()).write(events)
    where = tensorboard_instances.address(instance, experiment)
    console.print(f"{curves} trainings with learning curves, {trials} trials: {where}", soft_wrap=True)


def _events(folder: Path) -> dict[str, list["Event"]]:
    """The content of all event files by their folder, as TensorBoard names runs."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    events: dict[str, list[Event]] = {}
    for place, _, files in os.walk(folder, followlinks=True):
        for file in sorted(files):
            own = events.setdefault(str(Path(place).relative_to(folder)), [])
            own += EventFileLoader(str(Path(place) / file)).Load()
    return events


def _wait() -> None:
    import threading

    threading.Event().wait()


def collect(run: Path, folder: Path) -> tuple[int, int]:
    """Lays out what TensorBoard reads: links to the run's event files, and a summary of each trial.

    Args:
        run: Folder of a run.
        folder: Empty; gets `best_epoch/ID`, `retrain/ID` and `trials/ID`.

    Returns:
        Number of trainings with event files, and of trials.
    """
    artifacts, curves = Artifacts(run), 0
    for step, found in (("best_epoch", artifacts.best_epochs()), ("retrain", artifacts.members())):
        for id, artifact in found.items():
            if (artifact / EVENTS).is_dir():
                (folder / step).mkdir(parents=True, exist_ok=True)
                (folder / step / id).symlink_to((artifact / EVENTS).absolute())
                curves += len(list((artifact / EVENTS).glob("**/events.out.tfevents.*")))
    trials = merged(TrialStore(artifacts.study()).load().values())
    objective = artifacts.report.study.objective.name
    for trial in trials:
        writer = EventFileWriter(str(folder / name_of(trial)))
        for event in session(trial, objective):
            writer.add_event(event)
        writer.close()
    return curves, len(trials)
