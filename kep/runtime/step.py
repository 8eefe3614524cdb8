"""Frame of every step: its log, its progress, the roles it read, its time and its memory.

A component's body calls one function decorated with `entry`; the function gets a `Step`, the component never sees one.
"""

import functools
import logging
import os
import platform
import resource
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeVar

from kep.artifacts.event import Event, StepCall
from kep.artifacts.step import Speed, StepRecord
from kep.core.code import differs, step_closure
from kep.core.environment import ATTEMPTS, EVENTS, FAILURE, MOUNT, OWNER, TENSORBOARD, WORK
from kep.core.errors import AwayError, RunError, Status, UserError, first_line
from kep.core.files import new_folder
from kep.core.versions import version
from kep.data.ledger import LedgerLine
from kep.data.records import Records, running
from kep.data.sealed import unsealed
from kep.runtime.hardware import is_chief

if TYPE_CHECKING:
    from kep.google.tensorboards import Sender

CHECKPOINTING = ("best_epoch", "retrain")
"""Steps whose partial work is some checkpoints, which a bucket takes; that of others is many files, or large ones."""
PACKAGES = ("keras", "keras-tuner", "kfp", "lightgbm", "numpy", "scikit-learn", "scipy")

_CHANGED = "{step}: the code of this step was changed after the run was started; start the run again"
Made = TypeVar("Made")

log = logging.getLogger("kep")


class Step:
    """One execution of one step.

    Attributes:
        name: The step's name, as in the DAG.
        label: Candidate or member that it works on; empty for steps without a fan-out.
        out: Folder of the step's main output while it is being written.
        place: Where it will be.
        code: Hash of the code that the run was started with.
        ledger: Rows that it read, role by role.
        started: Unix time at which it began.
        speeds: Speed of each training, with the keys of `kep.training.monitor.SPEED`.
        call: How other processes of the same training call this step; None before it was entered.
    """

    def __init__(self, name: str, label: str = "", seed: int | None = None, code: str = "") -> None:
        self.name = name
        self.label = label
        self.code = code
        self._seed = seed
        self.out = Path()
        self.place = Path()
        self.ledger: list[LedgerLine] = []
        self.call: StepCall | None = None
        self.speeds: list[dict[str, float]] = []
        self._scratch: list[Path] = []
        self._opened = ExitStack()
        self.started = time.time()

    @property
    def seed(self) -> int:
        """The run's seed, which every random number of the step is derived from.

        Raises:
            TypeError: The step was started without one.
        """
        if self._seed is None:
            raise TypeError(f"{self.name} was started without a seed")
        return self._seed

    def open(self, folder: str | Path) -> Records:
        """Opens the records for this step; what it reads of them lands in the ledger."""
        records = Records(folder, self.name)
        records.ledger = self.ledger
        return records

    @contextmanager
    def open_test(self, folder: str | Path) -> Iterator[Records]:
        """Open the sealed test rows for this step; what it reads of them lands in the ledger."""
        with unsealed(Path(folder), self.name) as clear:
            yield self.open(clear)

    def progress(self, text: str, done: int | None = None, total: int | None = None) -> None:
        """Says how far the step is, in the log and to whoever follows the run."""
        log.info("%s: %s", self.label or self.name, text)
        self._event("progress", text=text, done=done, total=total)

    def work(self, key: str, keep: bool = False) -> Path:
        """The folder that keeps partial work under `key` between attempts; a new one where none is kept.

        It is kept where `WORK` says, and checkpoints otherwise beside an output in the run's bucket, or else as long as
        the task lasts (kep/runtime/task.py). It is removed when
        the step has ended well, unless a later execution can go on from it: `keep`. One that is kept nowhere is removed
        when the step has ended.
        """
        root = os.environ.get(WORK)
        if root is None and self.name in CHECKPOINTING and str(self.place).startswith(MOUNT):
            root = str(self.place.parent / "work")
        root = root or os.environ.get(ATTEMPTS)
        if root is None:
            # Nobody would find it again, so that it goes however the step ends.
            scratch = tempfile.TemporaryDirectory(prefix=f"kep-{self.name}-", ignore_cleanup_errors=True)
            return Path(self._opened.enter_context(scratch))
        folder = Path(root) / self.name / key
        folder.mkdir(parents=True, exist_ok=True)
        if not keep:
            self._scratch.append(folder)
        return folder

    @cached_property
    def sender(self) -> "Sender | None":
        """Takes the events of trainings and trials for a TensorBoard instance; None where none is given.

        It starts when it is first asked for: not before a search, which forks its workers.
        """
        if TENSORBOARD not in os.environ or not is_chief():
            return None
        from kep.google.tensorboards import Sender, board_of

        return self._opened.enter_context(Sender(board_of(os.environ[TENSORBOARD], self.place), self.progress))

    def abort(self, message: str) -> None:
        """Ends the process at once with status 1 and one sentence: for a main thread that can't be reached."""
        print(f"error: {message}", flush=True)
        self._failed(message)
        os._exit(1)

    def _failed(self, message: str, user: bool = False) -> None:
        """Says why to whoever follows the run."""
        self._event("failed", message=message, user=user)
        if place := os.environ.get(FAILURE):
            from kep.google import failures  # a second to import, and only custom jobs need it

            try:
                failures.leave(place, failures.Failure(message=message, user=user))
            except UserError as error:
                print(f"the task that waits for this job is not told why: {error}", flush=True)

    def _event(self, kind: str, **fields: Any) -> None:
        if path := os.environ.get(EVENTS):
            event = Event.model_validate({"kind": kind, "step": self.name, "label": self.label} | fields)
            # One short write to a file opened for appending: lines of parallel tasks don't mix.
            with open(path, "ab", buffering=0) as file:
                file.write(event.to_json().encode() + b"\n")

    def _finish(self, folder: Path) -> None:
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        seconds = time.time() - self.started
        StepRecord(
            step=self.name,
            label=self.label,
            started=self.started,
            seconds=seconds,
            peak_memory_mb=max(own, children) / 1024,
            cores=len(os.sched_getaffinity(0)),
            seed=self._seed,
            speed=self._speed(),
            ledger=self.ledger,
            versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        ).save(folder)
        self._event("done", seconds=seconds)

    def _speed(self) -> Speed | None:
        """Return the mean speed of the trainings that measured one."""
        if not self.speeds:
            return None
        return Speed(**{name: fmean(speed[name] for speed in self.speeds) for name in self.speeds[0]})

    def _clean(self) -> None:
        for folder in self._scratch:
            shutil.rmtree(folder, ignore_errors=True)


def entry(name: str) -> Callable[[Callable[..., Made]], Callable[..., Made]]:
    """Decorates a step's function `run(step, *, out, …)`.

    The decorated function takes the same keyword arguments without `step`, and the run's `seed` and `code`, which the
    step then knows. It logs to standard output, and writes the folder `out` atomically with a `step.json` inside. A
    `UserError` ends the process with one sentence and status 2; a `RunError` or an `AwayError` with one sentence and
    status 1; anything else with its stack trace. `code` is the hash of the step's code when the run was started: a step
    with other code refuses to start, and leaves nothing.
    """

    def decorate(run: Callable[..., Made]) -> Callable[..., Made]:
        @functools.wraps(run)
        def wrapper(*, out: str, label: str = "", seed: int | None = None, code: str = "", **arguments: Any) -> Made:
            logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s", force=True)
            end_with_owner()
            step = Step(name, label, seed, code)
            step.place = Path(out)
            step._event("start")
            step.call = StepCall(
                function=f"{run.__module__}:{run.__name__}", arguments=dict(arguments, seed=seed, code=code)
            )
            try:
                source = _checked_source(name, code)
                # Of the processes that train one model together only the chief leaves anything.
                with new_folder(out) if is_chief() else tempfile.TemporaryDirectory() as folder:
                    step.out = Path(folder)
                    with step._opened, running(name):
                        result = run(step, **arguments)
                    if _source(name) != source:
                        raise UserError(_CHANGED.format(step=name))
                    step._finish(step.out)
                if is_chief():
                    step._clean()
                return result
            except (UserError, RunError) as error:
                user = isinstance(error, UserError) and not isinstance(error, AwayError)
                print(f"error: {error}", flush=True)
                step._failed(str(error), user)
                # SystemExit passes through kfp's executor without a stack trace, which is of no use here.
                sys.exit(Status.MISTAKE if user else Status.FAILED)
            except Exception as error:
                step._failed(first_line(traceback.format_exception_only(error)[-1]))
                raise

        return wrapper

    return decorate


def _source(name: str) -> str:
    """Return the digits of a step's source as it is now."""
    return step_closure(name).source()


def _checked_source(name: str, code: str) -> str:
    """Return the digits of a step's source, once they are those of its cache key.

    Raises:
        UserError: The source was changed after the run was started.
    """
    now = _source(name)
    if differs(code, now):
        raise UserError(_CHANGED.format(step=name))
    return now


def end_with_owner() -> None:
    """Ends this process soon after the process that `OWNER` names has ended, however that one was killed."""
    owner = os.environ.get(OWNER)
    if not owner:
        return

    def watch() -> None:
        while Path(f"/proc/{owner}").exists():
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
