"""A trial as TensorBoard's hyperparameters plugin has it."""

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.summary import session_end_pb
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from kep.artifacts.trials import Trial


def name_of(trial: Trial) -> str:
    """Return the name of a trial among the runs of TensorBoard."""
    return f"trials/{trial.id}"


def session(trial: Trial, objective: str) -> list[Event]:
    """Return a trial's values, its validation loss by epoch and the objective.

    Args:
        trial: A trial of the search.
        objective: Name of its score.
    """
    # Without a group of its own a trial would be hidden behind one with the same values.
    started = hparams_pb({"family": trial.family} | trial.used, trial_id=trial.id, start_time_secs=0)
    curve: list[tuple[int, dict[str, float | None]]]
    curve = [(step, {"val_loss": value}) for step, value in enumerate(trial.validation_curve, 1)]
    scores: dict[str, float | None] = {} if trial.score is None else {f"validation {objective}": trial.score}
    events = []
    for step, values in [*curve, (trial.best, scores)]:
        scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items() if value is not None]
        events.append(Event(step=step, summary=Summary(value=scalars)))
    status = Status.STATUS_SUCCESS if trial.complete else Status.STATUS_FAILURE
    ended = session_end_pb(status, end_time_secs=trial.seconds)
    # Where TensorFlow is installed, these are of TensorFlow's class of the same message.
    first, last = (Event(summary=Summary.FromString(one.SerializeToString())) for one in (started, ended))
    return [first, *events, last]
