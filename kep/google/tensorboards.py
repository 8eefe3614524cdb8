"""TensorBoard instances of Vertex AI: a run's scalars and trials, written to an experiment of one.

Through Google's client of the service. Google's own uploader (`google.cloud.aiplatform.upload_tb_log`) needs Vertex ML
Metadata, where it makes a context for every run. It imports TensorFlow, takes no slash in a run's name, and its thread
ends for good with the first call that fails.
"""

import hashlib
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from google.api_core import exceptions
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError
from google.cloud import aiplatform_v1 as api
from google.protobuf.timestamp_pb2 import Timestamp
from tensorboard import data_compat, dataclass_compat
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.scalar import metadata as scalars
from tensorboard.util import tensor_util

from kep.core.errors import UserError
from kep.google.retries import AGAIN, Call

SEND = 30.0
"""Seconds between two sendings of a training that runs."""
MOST_MADE = 1000
"""Runs or time series that one call may make."""
MOST_POINTS = 200
"""Points per call, which may write 5000. Google's uploader keeps a call below 64 KiB; a run of one point takes 250."""
CALLS: Call = {"retry": Retry(predicate=AGAIN, initial=1, maximum=10, timeout=30), "timeout": 20}
"""For every call: each may be done twice. With one that began before, a step waits a minute at its end, no more."""
_Type = api.TensorboardTimeSeries.ValueType

Key = TypeVar("Key")

log = logging.getLogger("kep")


@dataclass
class _Series:
    """The points of one tag of a run by their step, of which a later one replaces an earlier one, as in the service."""

    type: int
    plugin: str
    content: bytes
    points: dict[int, api.TimeSeriesDataPoint] = field(default_factory=dict)


class Board:
    """One experiment of an instance, which is made when something is written to it.

    Args:
        instance: projects/P/locations/R/tensorboards/ID.
        experiment: Id of it: lower-case letters, digits and dashes.
        credentials: Credentials of a login; those of this machine when not given.
    """

    def __init__(self, instance: str, experiment: str, credentials: Any = None) -> None:
        self._instance, self._id, self._credentials = instance, experiment, credentials
        self._name = f"{instance}/experiments/{experiment}"
        self._made = False
        self._runs: dict[str, str] = {}
        self._series: dict[tuple[str, str], str] = {}

    def write(self, runs: Mapping[str, Iterable[Event]]) -> None:
        """Writes the scalars and the hyperparameters of event files; what is written again stays as it is.

        "Repeated writes to the same step will overwrite the existing value for that step", says
        `WriteTensorboardRunDataRequest`.

        Args:
            runs: Events by the name of the run that they are of, such as best_epoch/mlp-001/training.

        Raises:
            UserError: The instance does not exist, does not answer, or refuses them.
        """
        found = {(run, tag): one for run, events in runs.items() for tag, one in _series(events).items()}
        with self._explained():
            self._make(found)
            points = [(key, point) for key, one in found.items() for point in one.points.values()]
            for part in _parts(points, MOST_POINTS):
                written: dict[str, dict[str, api.TimeSeriesData]] = {}
                for (run, tag), point in part:
                    data = written.setdefault(run, {}).setdefault(
                        tag,
                        api.TimeSeriesData(
                            tensorboard_time_series_id=self._series[run, tag].rpartition("/")[2],
                            value_type=found[run, tag].type,
                        ),
                    )
                    data.values.append(point)
                requests = [
                    api.WriteTensorboardRunDataRequest(
                        tensorboard_run=self._runs[run], time_series_data=list(by_tag.values())
                    )
                    for run, by_tag in written.items()
                ]
                self._client.write_tensorboard_experiment_data(
                    tensorboard_experiment=self._name, write_run_data_requests=requests, **CALLS
                )

    def _make(self, found: Mapping[tuple[str, str], _Series]) -> None:
        """Makes what is not there yet: the experiment, the runs, the time series."""
        if not self._made:
            try:
                self._client.create_tensorboard_experiment(
                    parent=self._instance, tensorboard_experiment_id=self._id, **CALLS
                )
            except exceptions.AlreadyExists:
                log.debug("%s is there", self._name)
            self._made = True
        self._make_runs([run for run in dict.fromkeys(run for run, _ in found) if run not in self._runs])
        self._make_series({key: one for key, one in found.items() if key not in self._series})

    def _make_runs(self, names: list[str]) -> None:
        def make(part: Sequence[str]) -> None:
            requests = [
                api.CreateTensorboardRunRequest(
                    parent=self._name,
                    tensorboard_run=api.TensorboardRun(display_name=name),
                    tensorboard_run_id=_run_id(name),
                )
                for name in part
            ]
            made = self._client.batch_create_tensorboard_runs(parent=self._name, requests=requests, **CALLS)
            self._runs |= {run.display_name: run.name for run in made.tensorboard_runs}

        def look() -> None:
            self._runs |= {
                run.display_name: run.name for run in self._client.list_tensorboard_runs(parent=self._name, **CALLS)
            }

        _made(names, self._runs, make, look)

    def _make_series(self, missing: Mapping[tuple[str, str], _Series]) -> None:
        def make(part: Sequence[tuple[str, str]]) -> None:
            requests = [
                api.CreateTensorboardTimeSeriesRequest(
                    parent=self._runs[run],
                    tensorboard_time_series=api.TensorboardTimeSeries(
                        display_name=tag,
                        value_type=missing[run, tag].type,
                        plugin_name=missing[run, tag].plugin,
                        plugin_data=missing[run, tag].content,
                    ),
                )
                for run, tag in part
            ]
            made = self._client.batch_create_tensorboard_time_series(parent=self._name, requests=requests, **CALLS)
            self._know(made.tensorboard_time_series)

        def look() -> None:
            for run in dict.fromkeys(run for run, _ in missing):
                self._know(self._client.list_tensorboard_time_series(parent=self._runs[run], **CALLS))

        _made(list(missing), self._series, make, look)

    def _know(self, series: Iterable[api.TensorboardTimeSeries]) -> None:
        names = {resource: name for name, resource in self._runs.items()}
        self._series |= {(names[one.name.rpartition("/timeSeries/")[0]], one.display_name): one.name for one in series}

    @cached_property
    def _client(self) -> api.TensorboardServiceClient:
        endpoint = f"{self._instance.split('/')[3]}-aiplatform.googleapis.com"
        return api.TensorboardServiceClient(credentials=self._credentials, client_options={"api_endpoint": endpoint})

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except GoogleAuthError as error:
            raise UserError(f"there is no usable Google Cloud login for {self._instance}") from error
        except exceptions.RetryError as error:
            raise UserError(f"{self._instance} does not answer ({error.cause})") from error
        except exceptions.NotFound as error:
            gone = f"{self._instance} does not exist, or its experiment was deleted ({error.message})"
            raise UserError(gone) from error
        except exceptions.Forbidden as error:
            raise UserError(
                f"this login may not write to {self._instance}; grant it roles/aiplatform.user ({error.message})"
            ) from error
        except exceptions.GoogleAPICallError as error:
            raise UserError(f"{self._instance} refuses it: {error.message}") from error


class Sender:
    """Writes events to a board while the block runs, every `SEND` seconds and at its end.

    What can't be written is kept for the next time; that is said once, and nothing is raised.

    Args:
        board: The experiment.
        say: Gets the warning.
    """

    def __init__(self, board: Board, say: Callable[[str], None]) -> None:
        self._board, self._say = board, say
        self._waiting: dict[str, list[Event]] = {}
        self._lock, self._ended, self._warned = threading.Lock(), threading.Event(), False

    def __enter__(self) -> "Sender":
        self._thread = threading.Thread(target=self._send_often, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def add(self, run: str, *events: Event) -> None:
        """Takes events of a run, to be written soon."""
        with self._lock:
            self._waiting.setdefault(run, []).extend(events)

    def _send_often(self) -> None:
        while not self._ended.wait(SEND):
            self._send()
        self._send()

    def _send(self) -> None:
        with self._lock:
            waiting = {run: list(events) for run, events in self._waiting.items() if events}
        if not waiting:
            return
        try:
            self._board.write(waiting)
        except Exception as error:  # whatever it is, a training goes on without it
            if not self._warned:
                reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                self._say(f"warning: TensorBoard does not get the curves, which the event files have: {reason}")
                self._warned = True
            return
        with self._lock:
            for run, events in waiting.items():
                del self._waiting[run][: len(events)]


def board_of(instance: str, output: Path) -> Board:
    """The experiment of a pipeline's run on Vertex AI: one for all its tasks and their attempts.

    Its id is that of the run, taken from where an output of a task lies: …/<project's number>/<run>/<task>/<output>. As
    an argument of the task it would be another one in each run, and no task were answered from the cache.
    """
    return Board(instance, output.parent.parent.name)


def _run_id(name: str) -> str:
    """A run's id: readable, and another one for every name."""
    slug = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"{slug[:110]}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def _series(events: Iterable[Event]) -> dict[str, _Series]:
    """The scalars and hyperparameters of events by tag; the rest of them is left out."""
    found: dict[str, _Series] = {}
    known: dict[str, Any] = {}
    for event in events:
        for one in dataclass_compat.migrate_event(data_compat.migrate_event(event), known):
            for value in one.summary.value:
                if (point := _point(value, one)) is not None:
                    plugin = value.metadata.plugin_data
                    kind = _Type.SCALAR if plugin.plugin_name == scalars.PLUGIN_NAME else _Type.TENSOR
                    series = found.setdefault(value.tag, _Series(kind, plugin.plugin_name, plugin.content))
                    series.points[one.step] = point
    return found


def _point(value: Summary.Value, event: Event) -> api.TimeSeriesDataPoint | None:
    plugin, given = value.metadata.plugin_data.plugin_name, {}
    if plugin == scalars.PLUGIN_NAME:
        given["scalar"] = api.Scalar(value=tensor_util.make_ndarray(value.tensor).item())
    elif plugin == hparams.PLUGIN_NAME:
        given["tensor"] = api.TensorboardTensor(value=value.tensor.SerializeToString())
    else:
        return None
    time = Timestamp()
    time.FromNanoseconds(int(event.wall_time * 1e9))
    return api.TimeSeriesDataPoint(step=event.step, wall_time=time, **given)


def _made(
    keys: list[Key], known: Mapping[Key, str], make: Callable[[Sequence[Key]], None], look: Callable[[], None]
) -> None:
    """Makes what `keys` name, of which an earlier attempt, or one whose answer was lost, may have made some."""
    for part in _parts(keys, MOST_MADE):
        try:
            make(part)
        except exceptions.GoogleAPICallError as error:
            if not _exists(error):
                raise
            look()
            if missing := [key for key in part if key not in known]:
                make(missing)


def _exists(error: exceptions.GoogleAPICallError) -> bool:
    """Return whether something exists already.

    For a time series the service says INVALID_ARGUMENT, as Google's own uploader expects.
    """
    if isinstance(error, exceptions.AlreadyExists):
        return True
    return isinstance(error, exceptions.InvalidArgument) and "already exist" in error.message


def _parts(items: Sequence[Key], most: int) -> Iterator[Sequence[Key]]:
    return (items[start : start + most] for start in range(0, len(items), most))
