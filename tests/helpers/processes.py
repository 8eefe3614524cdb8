"""Processes that begin at once: they are forked from one that has imported what takes seconds.

`command` and `kep_from_nothing` (tests/helpers/commands.py) start them as a shell does.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from kep.engines import rehearsal
from kep.engines.local import modules
from kep.engines.local.runner import ENTERED, step_environment
from kep.engines.local.warm import LARGE, SMALL

# Workers of a search are forked, which a process that has started TensorFlow must not do; the tests' own has. The
# server imports it, and starts none of its threads.
CLEAN = multiprocessing.get_context("forkserver")
CLEAN.set_forkserver_preload(
    [
        "kep.delivery.predict",
        "kep.engines.local.run",
        "kep.models.keras_family",
        "kep.pipelines.compile",
        "kep.report.summary",
        "kfp.local",
        *SMALL,
        *LARGE,
    ]
)
_FORK = multiprocessing.get_context("fork")


class ForkedModule:
    """A process that runs a module, as `subprocess.Popen` starts one; it has all that this one has imported."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: dict[str, str],
        stdin: int,
        stdout: BinaryIO | None = None,
        stderr: int | None = None,
        pass_fds: Sequence[int] = (),
        start_new_session: bool = False,
    ) -> None:
        assert stdin == subprocess.DEVNULL
        assert stderr == (subprocess.STDOUT if stdout else None)
        self._process = _FORK.Process(
            target=_module, args=(command[2:], env, stdout and stdout.fileno(), pass_fds, start_new_session)
        )
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid
        self.kill = self._process.kill

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("module", timeout or 0)
        return self._process.exitcode


def _module(
    command: Sequence[str], environment: dict[str, str], output: int | None, kept: Sequence[int], session: bool
) -> None:
    """Be a process that runs a module; it has none of the open files but those to be kept."""
    if session:
        os.setsid()
    if output is not None:
        os.dup2(output, 1)
        os.dup2(output, 2)
    lowest = 3
    for descriptor in sorted(kept):
        os.closerange(lowest, descriptor)
        lowest = descriptor + 1
    os.closerange(lowest, os.sysconf("SC_OPEN_MAX"))
    _enter(environment)
    sys.argv = list(command)
    # A thread of the process before may have held the old ones.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, encoding="utf-8") for number in (1, 2))
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def _enter(environment: dict[str, str]) -> None:
    """Have this environment, and nothing that was read from the one before."""
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None


def command_line(arguments: list[str], folder: str, environment: dict[str, str], output: Path) -> None:
    """Be `kep` with these arguments; what it prints goes to the file `output`."""
    _enter(environment)
    _enter(step_environment() | {ENTERED: "1"})
    os.chdir(folder)
    written = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(written, 1)
    os.dup2(written, 2)
    sys.argv = ["kep", *arguments]
    from kep.cli.main import main  # its console looks at the environment

    rehearsal.OWN_PROCESS = _FORK
    started: Any = ForkedModule
    modules.BEGIN = started
    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
