"""The process that tasks of a local run are forked from: it imports, takes tasks from a socket, and forks.

It imports TensorFlow and starts none of its threads, so that a fork loses nothing. A search forks its workers in the
same way (kep/components/tune/pool.py). kep/engines/local/warm.py starts it.
"""

import gc
import importlib
import json
import os
import runpy
import selectors
import socket
import struct
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kep.runtime.command import EXECUTOR, FIRST_PROCESS

SIZE = struct.Struct("!Q")
"""Length of a message's JSON, which stands before it; two descriptors come with it, the second for the status."""
STATUS = struct.Struct("!i")
"""Exit status of a process; of one that takes tasks its number stands before it."""


@dataclass(frozen=True)
class Growth:
    """Wish for a fork of this process that imports more modules, and then takes tasks itself."""

    modules: list[str]


@dataclass(frozen=True)
class TaskCommand:
    """Command that kfp.local would have started in a shell.

    Attributes:
        source: Python source of the component.
        arguments: Arguments of kfp's executor.
    """

    source: str
    arguments: list[str]

    @property
    def function(self) -> str:
        """Name of the component's function."""
        return self.arguments[self.arguments.index("--function_to_execute") + 1]

    def run(self) -> None:
        """Runs a task's first process in this one, which does nothing else."""
        program = Path(tempfile.mkdtemp()) / "ephemeral_component.py"
        program.write_text(self.source, encoding="utf-8")
        sys.argv = [FIRST_PROCESS, EXECUTOR, "--component_module_path", str(program), *self.arguments]
        runpy.run_module(FIRST_PROCESS, run_name="__main__", alter_sys=True)


def _received(connection: socket.socket) -> tuple[TaskCommand | Growth, int, int] | None:
    """Return what is wanted next, its own descriptor, and where its status goes; None where the owner has ended.

    The descriptor is the output of a task, or the socket from which a fork takes tasks.
    """
    head, descriptors, _, _ = socket.recv_fds(connection, SIZE.size, 2)
    if not head:
        return None
    message = json.loads(connection.recv(SIZE.unpack(head)[0], socket.MSG_WAITALL))
    own, status = descriptors
    return (Growth(**message) if "modules" in message else TaskCommand(**message)), own, status


def _tell(where: int, status: int) -> None:
    """Hand on a task's exit status; its owner may be gone."""
    with open(where, "wb", buffering=0) as pipe, suppress(BrokenPipeError):
        pipe.write(STATUS.pack(status))


def _serve(connection: socket.socket) -> tuple[TaskCommand | Growth, int] | None:
    """Fork a process for whatever is wanted.

    Returns:
        What to do and its own descriptor, in a process that was forked; None in this one, once its owner has ended.
    """
    running: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as waiting:
        waiting.register(connection, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is not connection:
                    pid, status = running.pop(key.fd)
                    waiting.unregister(key.fd)
                    _tell(status, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    os.close(key.fd)
                    continue
                received = _received(connection)
                if received is None:
                    for pid, status in running.values():
                        _tell(status, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    return None
                wanted, own, status = received
                pid = os.fork()
                if not pid:
                    for handle, (_, other) in running.items():
                        os.close(handle)
                        os.close(other)
                    os.close(status)
                    return wanted, own
                os.close(own)
                if isinstance(wanted, Growth):
                    os.write(status, STATUS.pack(pid))
                handle = os.pidfd_open(pid)
                running[handle] = pid, status
                waiting.register(handle, selectors.EVENT_READ)


def _main(descriptor: int, modules: Sequence[str]) -> None:
    """Import the modules and serve tasks; a forked process comes out of the same call."""
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a forked process collects nothing that is here, and so copies none of these pages
    with socket.socket(fileno=descriptor) as connection:
        asked = _serve(connection)
    match asked:
        case Growth(more), own:
            _main(own, more)
        case TaskCommand() as task, output:
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            task.run()


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
