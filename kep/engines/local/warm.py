"""Interpreters that have imported what steps need; each task of a local run is forked from one.

A task that starts cold spends a second on imports, and with TensorFlow several. Forked, it begins at once. It is still
a process of its own, with its own output, signals and exit status, and runs kfp's own executor on the same source.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict

from kep.engines.local.forked import SIZE, STATUS, Growth, TaskCommand
from kep.engines.local.modules import run_module
from kep.runtime.command import START

SMALL = (
    "kfp.dsl.executor",
    "kep.components.ingest.ingest",
    "kep.components.weigh.weigh",
    "kep.components.promote.promote",
)
"""Modules that steps need which read, write and decide."""
LARGE = ("kep.components.tune.tune", "kep.components.evaluate.evaluate", "lightgbm", "tensorflow")
"""More modules that steps need which train or predict."""
TRAINS = frozenset({"tune", "suggest", "trial", "best_epoch", "retrain", "evaluate", "predict"})
"""Functions of components that need TensorFlow. Others are not forked from what holds it: their memory is told."""


def task_of(command: Sequence[str]) -> TaskCommand | None:
    """Reads the command of a component of ours; None for any other's."""
    match command:
        case ["sh", "-ec", script, source, *arguments] if START.replace("python3", sys.executable) in script:
            return TaskCommand(source, arguments)
    return None


class _Forked:
    """A process that another one forked; its number and its exit status come through a pipe."""

    def __init__(self, status: int) -> None:
        self._status = open(status, "rb", buffering=0)  # noqa: SIM115 (closed in wait)

    def kill(self) -> None:
        """Kill the process, once it is there."""
        if told := self._status.read(STATUS.size):
            with suppress(ProcessLookupError):
                os.kill(STATUS.unpack(told)[0], signal.SIGKILL)

    def wait(self) -> None:
        """Wait for the end of the process, or of the one that forked it."""
        with self._status:
            while self._status.read(STATUS.size):
                pass


class Interpreter:
    """A process that imports `modules` and then forks a process for each task; it ends when its owner ends."""

    def __init__(self, modules: Sequence[str], parent: "Interpreter | None" = None) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._running = 0
        self._process: _Forked | subprocess.Popen[bytes]
        with theirs:
            if parent is not None:
                self._process = parent._fork(modules, theirs)
                return
            self._process = run_module(
                "kep.engines.local.forked",
                str(theirs.fileno()),
                *modules,
                pass_fds=[theirs.fileno()],
                # kfp reads it when it is imported, as it does in a task.
                env=os.environ | {"_KFP_RUNTIME": "true"},
            )

    def grown(self, modules: Sequence[str]) -> "Interpreter":
        """Return an interpreter that was forked from this one and imports more modules; it is to end before this."""
        return Interpreter(modules, self)

    def _fork(self, modules: Sequence[str], theirs: socket.socket) -> _Forked:
        status, its_status = os.pipe()
        try:
            self._send(Growth(list(modules)), [theirs.fileno(), its_status])
        except OSError:
            pass  # nobody forks; who reads the pipe finds that out
        finally:
            os.close(its_status)
        return _Forked(status)

    def _send(self, wanted: TaskCommand | Growth, descriptors: list[int], tasks: int = 0) -> None:
        with self._lock:
            message = json.dumps(asdict(wanted)).encode()
            socket.send_fds(self._socket, [SIZE.pack(len(message))], descriptors)
            self._socket.sendall(message)
            self._running += tasks

    def end(self) -> None:
        """Ends the process: at once, or after the tasks that it runs."""
        with self._lock:
            if not self._running:
                self._process.kill()  # also in the middle of its imports
            self._socket.close()
        self._process.wait()

    def run(self, task: TaskCommand, show: Callable[[str], object]) -> int | None:
        """Runs a task, and calls `show` with each line of its output.

        Returns:
            Its exit status, as `subprocess` gives it: minus the number of the signal that ended it. None where this
            interpreter is gone, so that the task was not started.
        """
        output, its_output = os.pipe()
        status, its_status = os.pipe()
        with open(output, encoding="utf-8", errors="replace") as lines, open(status, "rb") as ended:
            try:
                self._send(task, [its_output, its_status], tasks=1)
            except OSError:
                return None
            finally:
                os.close(its_output)
                os.close(its_status)
            for line in lines:
                show(line)
            told = ended.read()
        with self._lock:
            self._running -= 1
        # Whoever kills the interpreter has killed the task's parent: nobody knows more than that.
        return int(STATUS.unpack(told)[0]) if told else -signal.SIGKILL


class Interpreters:
    """The interpreters of one run; use it as a context manager, which leaves none behind.

    The one with TensorFlow is forked from the other with the first task: a run whose tasks all come from the cache
    needs none.
    """

    def __init__(self) -> None:
        self._small = Interpreter(SMALL)
        self._lock = threading.Lock()
        self._large: Interpreter | None = None

    def __enter__(self) -> "Interpreters":
        return self

    def __exit__(self, *_: object) -> None:
        for interpreter in filter(None, (self._large, self._small)):
            interpreter.end()

    def run(self, task: TaskCommand) -> int | None:
        """Runs a task and prints its output; returns its exit status, or None where it was not started."""
        with self._lock:
            large = self._large = self._large or self._small.grown(LARGE)
        status = (large if task.function in TRAINS else self._small).run(task, lambda line: print(line, end=""))
        # Outputs of tasks are set apart as kfp.local does it.
        print("its interpreter is gone; the task starts cold" if status is None else "\n")
        return status
