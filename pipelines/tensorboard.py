"""A run's learning curves and its search in TensorBoard: `kep tensorboard`."""

import tempfile
from pathlib import Path

from rich.console import Console

from components.shared.errors import UserError
from components.tune.trials import Study, Trial, merged
from pipelines.artifacts import Artifacts
from pipelines.run import find

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
    trials = merged(Study(artifacts.study()).load().values())
    objective = artifacts.report["study"]["objective"]["name"]
    for trial in trials:
        summarise(trial, objective, folder / "trials" / trial.id)
    return curves, len(trials)


def summarise(trial: Trial, objective: str, folder: Path) -> None:
    """Writes a trial as TensorBoard's hyperparameters plugin has it: values, objective, validation loss by epoch.

    Args:
        trial: Of the search.
        objective: What its score is called.
        folder: Where to.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.api_pb2 import Status
    from tensorboard.plugins.hparams.summary import session_end_pb
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    known = {name: value for name, value in trial.values.items() if isinstance(value, bool | int | float | str)}
    # Without a group of its own a trial would be hidden behind one with the same values.
    writer.add_event(Event(summary=hparams_pb({"family": trial.family} | known, trial_id=trial.id, start_time_secs=0)))
    curve = [(step, {"val_loss": value}) for step, value in enumerate(trial.validation_curve, 1)]
    scores = {} if trial.score is None else {f"validation {objective}": trial.score}
    for step, values in [*curve, (trial.best, scores)]:
        scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items() if value is not None]
        writer.add_event(Event(step=step, summary=Summary(value=scalars)))
    status = Status.STATUS_SUCCESS if trial.complete else Status.STATUS_FAILURE
    ended = session_end_pb(status, end_time_secs=trial.seconds)
    # Where TensorFlow is installed, this one is of TensorFlow's class of the same message.
    writer.add_event(Event(summary=Summary.FromString(ended.SerializeToString())))
    writer.close()
