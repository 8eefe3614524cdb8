"""Worker processes that train trials: isolated, killable, and recycled before they grow.

Workers are forked from a process that has imported TensorFlow but not started it, and that holds the data: a worker
costs no import and no copy of the rows. (A started TensorFlow or OpenMP runtime does not survive a fork; the parent
starts none.)
"""

import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

RECYCLED_AFTER = 20
"""Jobs after which a worker is replaced: TensorFlow keeps some megabytes of each model."""
ATTEMPTS = 2
"""Starts of a job whose worker was killed; the second death is the job's own."""

_FORK = multiprocessing.get_context("fork")


@dataclass
class Died:
    """Result of a job whose worker ended without an answer.

    Attributes:
        reason: Reason for people.
    """

    reason: str


@dataclass
class _Worker:
    slot: int
    process: BaseProcess
    connection: Connection
    key: int = -1
    job: Any = None
    attempts: int = 0
    started: float = 0.0
    done: int = 0


@dataclass
class Pool:
    """Runs `work(job)` in worker processes; use it as a context manager, which leaves no worker behind.

    Args:
        work: Called in a worker with a job; what it returns must be picklable. It must not raise.
        workers: Number of processes.
        limit: Seconds after which a job's worker is killed; None for no limit.
        prepare: Called once in each worker with its slot, 0 to workers - 1, before its first job.
    """

    work: Callable[[Any], Any]
    workers: int
    limit: float | None = None
    prepare: Callable[[int], None] = lambda slot: None
    _idle: list[_Worker] = field(default_factory=list)
    _busy: list[_Worker] = field(default_factory=list)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *problem: object) -> None:
        for worker in [*self._idle, *self._busy]:
            self._end(worker)
        self._idle, self._busy = [], []

    @property
    def free(self) -> int:
        """Workers without a job."""
        return self.workers - len(self._busy)

    def submit(self, key: int, job: Any, attempts: int = 1) -> None:
        """Gives a job to a free worker; `key` comes back with its result."""
        worker = self._idle.pop() if self._idle else self._start()
        worker.key, worker.job, worker.attempts, worker.started = key, job, attempts, time.monotonic()
        worker.connection.send(job)
        self._busy.append(worker)

    def results(self, until: float = math.inf) -> list[tuple[int, Any]]:
        """Waits for at least one job to end.

        Args:
            until: Time by `time.monotonic` at which it waits no longer.

        Returns:
            Key and result of each ended job; the result is `Died` where the worker was killed, by the limit or
            otherwise. Empty where none has ended in time.
        """
        while self._busy:
            ended = []
            for worker in self._ready(until):
                self._busy.remove(worker)
                try:
                    ended.append((worker.key, worker.connection.recv()))
                    self._put_back(worker)
                except (EOFError, ConnectionResetError):
                    ended += self._after_death(worker)
            for worker in self._overdue():
                self._busy.remove(worker)
                self._end(worker)
                ended.append((worker.key, Died(f"over the limit of {self.limit:g} s")))
            if ended or time.monotonic() >= until:
                return ended
        return []

    def _ready(self, until: float) -> list[_Worker]:
        if self.limit is not None:
            until = min(until, min(worker.started for worker in self._busy) + self.limit)
        timeout = None if until == math.inf else max(0.0, until - time.monotonic())
        ready = wait([worker.connection for worker in self._busy], timeout)
        return [worker for worker in self._busy if worker.connection in ready]

    def _overdue(self) -> list[_Worker]:
        if self.limit is None:
            return []
        return [worker for worker in self._busy if time.monotonic() - worker.started >= self.limit]

    def _after_death(self, worker: _Worker) -> list[tuple[int, Died]]:
        self._end(worker)
        code = worker.process.exitcode
        if worker.attempts < ATTEMPTS:
            self.submit(worker.key, worker.job, worker.attempts + 1)
            return []
        how = f"killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with status {code}"
        hint = ", perhaps because the memory ran out" if code == -signal.SIGKILL else ""
        return [(worker.key, Died(f"the worker was {how}{hint}, {ATTEMPTS} times"))]

    def _put_back(self, worker: _Worker) -> None:
        worker.done += 1
        if worker.done < RECYCLED_AFTER:
            self._idle.append(worker)
        else:
            self._end(worker)

    def _start(self) -> _Worker:
        taken = {worker.slot for worker in [*self._idle, *self._busy]}
        slot = next(slot for slot in range(self.workers) if slot not in taken)
        ours, theirs = _FORK.Pipe()
        # The owner's pid is taken here: a worker that asked for its parent might ask after the owner's death.
        process = _FORK.Process(target=self._serve, args=(slot, ours, theirs, os.getpid()), daemon=True)
        process.start()
        theirs.close()
        return _Worker(slot, process, ours)

    def _serve(self, slot: int, ours: Connection, theirs: Connection, owner: int) -> None:
        """The life of a worker."""
        ours.close()
        # Other workers' pipes came along with the fork; held open here, the end of their owner would go unseen.
        for other in [*self._idle, *self._busy]:
            other.connection.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with, args=(owner,), daemon=True).start()
        self.prepare(slot)
        while True:
            try:
                job = theirs.recv()
            except (EOFError, ConnectionResetError):
                return
            theirs.send(self.work(job))

    @staticmethod
    def _end(worker: _Worker) -> None:
        worker.connection.close()
        worker.process.kill()
        worker.process.join()


def _end_with(owner: int) -> None:
    """Ends this process soon after its owner, which forked it, has ended, however that one was killed."""
    while os.getppid() == owner:
        time.sleep(0.5)
    os._exit(1)
